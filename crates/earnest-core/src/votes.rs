//! One ballot of the backers as a state machine: who may open it, what a vote weighs, when it has passed, and the exit
//! window before it takes effect. It knows weights only; whose they are, and that each is asked once, its caller knows.
//!
//! Each [`Subject::slot`] has a ballot of its own with its own cooldown: with one for all, a few backers who keep it busy
//! with trifles could prevent a wind-down for ever.

use alloy_primitives::Address;
use thiserror::Error;

use crate::bid::Position;
use crate::money::Bps;
use crate::plan::{Time, VotesPlan};

/// Most classes there can be.
pub const CLASSES: usize = 16;

/// What is voted on, with all that takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Another pace of the tap, in cash a second. Ceilings are the plan's and no vote moves them.
    RaiseTap {
        /// Now.
        from: u64,
        /// From its effect on; the time before is not paid again.
        to: u64,
    },
    /// More time for the service to become live.
    Extend {
        /// The deadline as it is.
        from: Time,
        /// As it would be.
        to: Time,
    },
    /// Another guardian.
    Guardian(Address),
    /// The end of a class.
    WindDown(u8),
}

/// How far a ballot has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing is voted on.
    Rest {
        /// End of the cooldown.
        until: Time,
    },
    /// Votes are cast.
    Voting {
        /// On this.
        subject: Subject,
        /// First second in which none is taken.
        ends: Time,
    },
    /// Agreed, and not yet carried out.
    Passed {
        /// This.
        subject: Subject,
        /// End of the exit window, which a wind-down does not have.
        effective_at: Time,
        /// End of the cooldown.
        until: Time,
    },
}

/// The votes of a class, by weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tally {
    /// Frozen at the opening; only what leaves or ends for good is taken off.
    pub total: u64,
    /// For it.
    pub yes: u64,
    /// Against it.
    pub no: u64,
}

/// A ballot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ballot {
    /// Of the last vote; 0: there was none.
    pub number: u32,
    /// How far it has come.
    pub state: State,
    /// Of the last vote, by class; empty for a class that has no say.
    pub tallies: [Tally; CLASSES],
}

/// What happens to a ballot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Positions ask for a vote.
    Open {
        /// On this.
        subject: Subject,
        /// Σ [`weight`] by class, all of whose bids are settled (which anyone may do): positions that are not counted
        /// would make the total too small.
        totals: &'a [u64],
        /// Weight of those who ask, each position once.
        asked: u64,
    },
    /// A position votes. It cannot change its mind, so that a vote seen is a vote that stands.
    Cast {
        /// Its class.
        class: u8,
        /// Its [`weight`] now.
        weight: u64,
        /// For it.
        yes: bool,
        /// Number of the vote in which it last did, in this ballot.
        last: u32,
    },
    /// A position that has a say here takes its share in the exit window of another ballot: its vote is taken back.
    Leave {
        /// Its class.
        class: u8,
        /// Its [`weight`] before it leaves.
        weight: u64,
        /// What it cast here: the side and the weight it had then.
        cast: Option<(bool, u64)>,
    },
    /// A class was closed: its positions have their claims and no say any more, and no rise waits for them.
    End {
        /// This.
        class: u8,
    },
    /// Anyone counts, when the time is over. The exit window begins now and not before, so that nobody loses it to a late
    /// count.
    Close,
    /// Anyone has it carried out, when the exit window is over.
    Enact,
}

/// What is to be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// This.
    pub subject: Subject,
    /// Since then, however late it is noticed.
    pub at: Time,
}

/// Why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each message says it")]
pub enum VotesError {
    #[error("the next vote may open at {until}, it is {now}")]
    Cooldown { until: Time, now: Time },
    #[error("{asked} asked of {total}, {needed} are needed")]
    UnderThreshold { asked: u64, total: u64, needed: u64 },
    #[error("{weight} more would be beyond the total of {total}")]
    OverTotal { weight: u64, total: u64 },
    #[error("there are {classes} classes, at most {CLASSES} can vote")]
    TooManyClasses { classes: usize },
    #[error("the tap runs at {from} a second, {to} is not more")]
    NotARise { from: u64, to: u64 },
    #[error("the deadline is {from}, {to} is not later")]
    NotLater { from: Time, to: Time },
    #[error("it would take effect at {effective_at}, after the deadline {deadline}")]
    AfterDeadline { effective_at: Time, deadline: Time },
    #[error("vote {number} is under way until {ends}")]
    AlreadyVoting { number: u32, ends: Time },
    #[error("vote {number} has passed and is not carried out")]
    NotEnacted { number: u32 },
    #[error("nothing is voted on after vote {number}")]
    NotVoting { number: u32 },
    #[error("vote {number} ended at {ends}, it is {now}")]
    VotingOver { number: u32, ends: Time, now: Time },
    #[error("vote {number} ends at {ends}, it is {now}")]
    StillVoting { number: u32, ends: Time, now: Time },
    #[error("class {class} has no weight in vote {number}")]
    NoWeight { class: u8, number: u32 },
    #[error("this position has cast in vote {number}")]
    AlreadyCast { number: u32 },
    #[error("{weight} cannot be taken back from {counted}")]
    NotCast { weight: u64, counted: u64 },
    #[error("vote {number} has not passed")]
    NotPassed { number: u32 },
    #[error("the exit window ends at {effective_at}, it is {now}")]
    ExitOpen { effective_at: Time, now: Time },
}

use VotesError as Error;
type Result<T> = std::result::Result<T, VotesError>;

/// What a position's vote weighs now, in cash: what it [claims](Position::claim) of its pot. Affiliates have none.
pub fn weight(position: &Position, affiliate: bool) -> u64 {
    if affiliate { 0 } else { position.claim() }
}

/// The deadline as it is, given the one that was last carried out and the ballot on its extension.
pub fn deadline(deadline: Time, extension: &Ballot, now: Time) -> Time {
    match extension.effect(now) {
        Some(Effect { subject: Subject::Extend { to, .. }, .. }) => to,
        _ => deadline,
    }
}

impl Subject {
    /// Which ballot it belongs to.
    pub fn slot(self) -> usize {
        match self {
            Subject::RaiseTap { .. } => 0,
            Subject::Extend { .. } => 1,
            Subject::Guardian(_) => 2,
            Subject::WindDown(class) => 3 + usize::from(class),
        }
    }

    /// A wind-down takes nothing from anyone and so gives no time to leave.
    fn exit_secs(self, terms: &VotesPlan) -> u64 {
        match self {
            Subject::RaiseTap { .. } | Subject::Extend { .. } | Subject::Guardian(_) => {
                terms.exit_secs.into()
            }
            Subject::WindDown(_) => 0,
        }
    }

    fn check(self, terms: &VotesPlan, now: Time) -> Result<()> {
        match self {
            Subject::RaiseTap { from, to } if to <= from => Err(Error::NotARise { from, to }),
            Subject::Extend { from, to } if to <= from => Err(Error::NotLater { from, to }),
            // Refunds that have opened stay open: so its exit window must be over by the deadline that it moves.
            Subject::Extend { from, .. } => {
                let effective_at = now + u64::from(terms.voting_secs) + u64::from(terms.exit_secs);
                if effective_at > from {
                    return Err(Error::AfterDeadline { effective_at, deadline: from });
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A rise of the tap takes every class that has a say, by itself. An extension and a guardian are of all: their weight
    /// counts together, and who is outvoted can leave.
    fn agreed(self, terms: &VotesPlan, tallies: &[Tally; CLASSES]) -> bool {
        match self {
            Subject::RaiseTap { .. } => {
                tallies.iter().all(|tally| tally.total == 0 || tally.agreed(terms)) && sum(tallies).total > 0
            }
            Subject::Extend { .. } | Subject::Guardian(_) | Subject::WindDown(_) => {
                sum(tallies).agreed(terms)
            }
        }
    }
}

impl Tally {
    /// Quorum of the total and majority of the weight cast, both exact: cross-multiplied, nothing is rounded.
    fn agreed(&self, terms: &VotesPlan) -> bool {
        let cast = self.yes + self.no;
        self.yes > 0 && is_part(cast, terms.quorum, self.total) && is_part(self.yes, terms.majority, cast)
    }
}

fn is_part(part: u64, bps: Bps, whole: u64) -> bool {
    u128::from(part) * 10_000 >= u128::from(whole) * u128::from(bps.get())
}

fn sum(tallies: &[Tally]) -> Tally {
    tallies.iter().fold(Tally::default(), |sum, tally| Tally {
        total: sum.total + tally.total,
        yes: sum.yes + tally.yes,
        no: sum.no + tally.no,
    })
}

impl Default for Ballot {
    /// Before the first vote.
    fn default() -> Self {
        Ballot { number: 0, state: State::Rest { until: 0 }, tallies: [Tally::default(); CLASSES] }
    }
}

impl Ballot {
    /// Draws and deliveries wait: from the opening of a wind-down until it is lost or carried out. The tap's clock runs
    /// on, so that a wind-down that is lost costs the issuer time and no cash.
    pub fn suspends(&self) -> bool {
        let (State::Voting { subject, .. } | State::Passed { subject, .. }) = self.state else {
            return false;
        };
        matches!(subject, Subject::WindDown(_))
    }

    /// Any position, but an affiliate's, may take its share and leave.
    pub fn may_leave(&self, now: Time) -> bool {
        matches!(self.state, State::Passed { effective_at, .. } if now < effective_at)
    }

    /// What has passed and is in effect, carried out or not yet.
    pub fn effect(&self, now: Time) -> Option<Effect> {
        match self.state {
            State::Passed { subject, effective_at, .. } if now >= effective_at => {
                Some(Effect { subject, at: effective_at })
            }
            _ => None,
        }
    }

    /// Does one thing, or refuses it and changes nothing. Returns what [`Event::Enact`] has to be carried out.
    pub fn apply(&mut self, terms: &VotesPlan, now: Time, event: Event) -> Result<Option<Effect>> {
        let number = self.number;
        match (&mut self.state, event) {
            (State::Rest { until }, Event::Open { subject, totals, asked }) => {
                if now < *until {
                    return Err(Error::Cooldown { until: *until, now });
                }
                subject.check(terms, now)?;
                self.tallies = open(terms, subject, totals, asked)?;
                self.state = State::Voting { subject, ends: now + u64::from(terms.voting_secs) };
                self.number += 1;
                Ok(None)
            }
            (State::Voting { ends, .. }, Event::Cast { class, weight, yes, last }) => {
                check_ends(number, *ends, now)?;
                if last == number {
                    return Err(Error::AlreadyCast { number });
                }
                let tally = tally_of(&mut self.tallies, class, number)?;
                if weight == 0 {
                    return Err(Error::NoWeight { class, number });
                }
                if weight > tally.total - tally.yes - tally.no {
                    return Err(Error::OverTotal { weight, total: tally.total });
                }
                *(if yes { &mut tally.yes } else { &mut tally.no }) += weight;
                Ok(None)
            }
            (State::Voting { ends, .. }, Event::Leave { class, weight, cast }) => {
                check_ends(number, *ends, now)?;
                let tally = tally_of(&mut self.tallies, class, number)?;
                let mut after = *tally;
                if let Some((yes, weight)) = cast {
                    let side = if yes { &mut after.yes } else { &mut after.no };
                    let counted = *side;
                    *side = counted.checked_sub(weight).ok_or(Error::NotCast { weight, counted })?;
                }
                let (cast, total) = (after.yes + after.no, after.total);
                let rest = total.checked_sub(weight).filter(|&rest| cast <= rest);
                after.total = rest.ok_or(Error::OverTotal { weight: weight.saturating_add(cast), total })?;
                *tally = after;
                Ok(None)
            }
            (State::Voting { .. }, Event::End { class }) => {
                *tally_of(&mut self.tallies, class, number)? = Tally::default();
                Ok(None)
            }
            (&mut State::Voting { subject, ends }, Event::Close) => {
                if now < ends {
                    return Err(Error::StillVoting { number, ends, now });
                }
                let until = now + u64::from(terms.cooldown_secs);
                let effective_at = now + subject.exit_secs(terms);
                let too_late = matches!(subject, Subject::Extend { from, .. } if effective_at > from);
                self.state = if subject.agreed(terms, &self.tallies) && !too_late {
                    State::Passed { subject, effective_at, until }
                } else {
                    State::Rest { until }
                };
                Ok(None)
            }
            (&mut State::Passed { subject, effective_at, until }, Event::Enact) => {
                if now < effective_at {
                    return Err(Error::ExitOpen { effective_at, now });
                }
                self.state = State::Rest { until };
                Ok(Some(Effect { subject, at: effective_at }))
            }
            (State::Voting { ends, .. }, Event::Open { .. }) => {
                Err(Error::AlreadyVoting { number, ends: *ends })
            }
            (State::Passed { .. }, Event::Open { .. }) => Err(Error::NotEnacted { number }),
            (State::Rest { .. } | State::Voting { .. }, Event::Enact) => Err(Error::NotPassed { number }),
            (
                State::Rest { .. } | State::Passed { .. },
                Event::Cast { .. } | Event::Leave { .. } | Event::End { .. } | Event::Close,
            ) => Err(Error::NotVoting { number }),
        }
    }
}

/// The empty tallies of a vote that enough weight asks for.
fn open(terms: &VotesPlan, subject: Subject, totals: &[u64], asked: u64) -> Result<[Tally; CLASSES]> {
    let mut tallies = [Tally::default(); CLASSES];
    if totals.len() > CLASSES {
        return Err(Error::TooManyClasses { classes: totals.len() });
    }
    for (class, (tally, &total)) in tallies.iter_mut().zip(totals).enumerate() {
        if !matches!(subject, Subject::WindDown(only) if usize::from(only) != class) {
            tally.total = total;
        }
    }
    let total = sum(&tallies).total;
    if asked > total {
        return Err(Error::OverTotal { weight: asked, total });
    }
    if asked == 0 || !is_part(asked, terms.threshold, total) {
        let needed = (u128::from(total) * u128::from(terms.threshold.get())).div_ceil(10_000);
        let needed = u64::try_from(needed).expect("a part of the total");
        return Err(Error::UnderThreshold { asked, total, needed });
    }
    Ok(tallies)
}

fn check_ends(number: u32, ends: Time, now: Time) -> Result<()> {
    if now < ends { Ok(()) } else { Err(Error::VotingOver { number, ends, now }) }
}

fn tally_of(tallies: &mut [Tally; CLASSES], class: u8, number: u32) -> Result<&mut Tally> {
    let tally = tallies.get_mut(usize::from(class)).filter(|tally| tally.total > 0);
    tally.ok_or(Error::NoWeight { class, number })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Time = 1_000;
    const RISE: Subject = Subject::RaiseTap { from: 1, to: 2 };

    /// Threshold 10%, quorum 40%, majority two thirds; 100 s of voting, 500 s between votes, 50 s to leave.
    fn terms() -> VotesPlan {
        let bps = |bps| Bps::new(bps).unwrap();
        VotesPlan {
            threshold: bps(1_000),
            quorum: bps(4_000),
            majority: bps(6_667),
            voting_secs: 100,
            cooldown_secs: 500,
            exit_secs: 50,
        }
    }

    fn opened(subject: Subject, totals: &[u64]) -> Ballot {
        let mut ballot = Ballot::default();
        let asked = totals.iter().sum::<u64>() / 5;
        ballot.apply(&terms(), OPEN, Event::Open { subject, totals, asked }).unwrap();
        ballot
    }

    fn cast(ballot: &mut Ballot, class: u8, weight: u64, yes: bool) -> Result<Option<Effect>> {
        ballot.apply(&terms(), OPEN + 1, Event::Cast { class, weight, yes, last: 0 })
    }

    #[test]
    fn opening_takes_the_threshold() {
        let mut ballot = Ballot::default();
        let mut open = |asked| {
            let event = Event::Open { subject: RISE, totals: &[900, 105], asked };
            ballot.apply(&terms(), OPEN, event)
        };
        // 10% of 1,005 is 100.5.
        assert_eq!(open(100), Err(Error::UnderThreshold { asked: 100, total: 1_005, needed: 101 }));
        assert_eq!(open(1_006), Err(Error::OverTotal { weight: 1_006, total: 1_005 }));
        assert_eq!(open(101), Ok(None));
        assert_eq!(open(101), Err(Error::AlreadyVoting { number: 1, ends: OPEN + 100 }));
    }

    #[test]
    fn a_wind_down_is_of_its_class_alone() {
        let totals = [900, 100];
        let mut ballot = Ballot::default();
        let subject = Subject::WindDown(1);
        // A tenth of class 1 is enough.
        ballot.apply(&terms(), OPEN, Event::Open { subject, totals: &totals, asked: 10 }).unwrap();
        assert_eq!(cast(&mut ballot, 0, 5, true), Err(Error::NoWeight { class: 0, number: 1 }));
        assert!(ballot.suspends());
        cast(&mut ballot, 1, 40, true).unwrap();
        ballot.apply(&terms(), OPEN + 100, Event::Close).unwrap();
        // No exit window, and no draw before it is carried out.
        assert!(ballot.suspends() && !ballot.may_leave(OPEN + 100));
        let effect = ballot.apply(&terms(), OPEN + 100, Event::Enact).unwrap();
        assert_eq!(effect, Some(Effect { subject, at: OPEN + 100 }));
        assert!(!ballot.suspends());
    }

    #[test]
    fn quorum_and_majority_are_exact() {
        for (yes, no, passes) in
            [(400, 0, true), (399, 0, false), (267, 133, true), (266, 134, false), (0, 1_000, false)]
        {
            // Quorum: 400 of 1,000. Majority: 267 of 400 is 66.75%, 266 is 66.5%.
            let mut ballot = opened(Subject::Guardian(Address::ZERO), &[600, 400]);
            for (weight, side) in [(yes, true), (no, false)] {
                for (class, part) in [(0, weight * 6 / 10), (1, weight - weight * 6 / 10)] {
                    if part > 0 {
                        cast(&mut ballot, class, part, side).unwrap();
                    }
                }
            }
            ballot.apply(&terms(), OPEN + 100, Event::Close).unwrap();
            assert_eq!(ballot.may_leave(OPEN + 100), passes, "{yes} yes, {no} no");
        }
    }

    #[test]
    fn a_rise_takes_every_class_that_has_a_say() {
        for (small, passes) in [(0, false), (3, false), (4, true)] {
            let mut ballot = opened(RISE, &[990, 0, 10]);
            cast(&mut ballot, 0, 990, true).unwrap();
            if small > 0 {
                cast(&mut ballot, 2, small, true).unwrap();
            }
            ballot.apply(&terms(), OPEN + 100, Event::Close).unwrap();
            assert_eq!(ballot.may_leave(OPEN + 100), passes, "{small} of 10");
        }
    }

    #[test]
    fn a_rise_takes_effect_after_the_exit_window_however_late_it_is_counted() {
        let mut ballot = opened(RISE, &[10]);
        cast(&mut ballot, 0, 10, true).unwrap();
        let early = ballot.apply(&terms(), OPEN + 99, Event::Close);
        assert_eq!(early, Err(Error::StillVoting { number: 1, ends: OPEN + 100, now: OPEN + 99 }));
        ballot.apply(&terms(), OPEN + 300, Event::Close).unwrap();
        assert!(ballot.may_leave(OPEN + 349) && ballot.effect(OPEN + 349).is_none());
        let open = ballot.apply(&terms(), OPEN + 349, Event::Enact);
        assert_eq!(open, Err(Error::ExitOpen { effective_at: OPEN + 350, now: OPEN + 349 }));
        // Since 350, though it is noticed at 400.
        let effect = Some(Effect { subject: RISE, at: OPEN + 350 });
        assert!(!ballot.may_leave(OPEN + 350));
        assert_eq!(ballot.effect(OPEN + 350), effect);
        assert_eq!(ballot.apply(&terms(), OPEN + 400, Event::Enact), Ok(effect));
    }

    #[test]
    fn no_vote_is_run_again_within_the_cooldown() {
        for yes in [true, false] {
            let mut ballot = opened(RISE, &[10]);
            cast(&mut ballot, 0, 10, yes).unwrap();
            ballot.apply(&terms(), OPEN + 100, Event::Close).unwrap();
            let again = Event::Open { subject: RISE, totals: &[10], asked: 10 };
            if yes {
                let early = ballot.apply(&terms(), OPEN + 600, again);
                assert_eq!(early, Err(Error::NotEnacted { number: 1 }));
                ballot.apply(&terms(), OPEN + 200, Event::Enact).unwrap();
            }
            // Counted at 1,100, and 500 s more.
            let early = ballot.apply(&terms(), OPEN + 599, again);
            assert_eq!(early, Err(Error::Cooldown { until: OPEN + 600, now: OPEN + 599 }));
            assert_eq!(ballot.apply(&terms(), OPEN + 600, again), Ok(None));
            assert_eq!((ballot.number, ballot.tallies[0].yes), (2, 0));
        }
    }

    #[test]
    fn delivering_between_two_casts_doubles_nothing() {
        let mut position = Position { credits: 100, delivered: 0, paid: 70 };
        let mut ballot = opened(RISE, &[weight(&position, false)]);
        cast(&mut ballot, 0, weight(&position, false), true).unwrap();
        position.delivered = 50;
        // floor(70 × 50 ÷ 100)
        assert_eq!(weight(&position, false), 35);
        let again = Event::Cast { class: 0, weight: 35, yes: true, last: ballot.number };
        assert_eq!(ballot.apply(&terms(), OPEN + 1, again), Err(Error::AlreadyCast { number: 1 }));
        // Nor by a caller who forgets: the total is frozen.
        assert_eq!(cast(&mut ballot, 0, 35, true), Err(Error::OverTotal { weight: 35, total: 70 }));
        assert_eq!(ballot.tallies[0], Tally { total: 70, yes: 70, no: 0 });
    }

    #[test]
    fn affiliates_and_positions_without_credits_weigh_nothing() {
        let position = Position { credits: 3, delivered: 1, paid: 10 };
        // floor(10 × 2 ÷ 3)
        assert_eq!((weight(&position, false), weight(&position, true)), (6, 0));
        assert_eq!(weight(&Position { credits: 0, delivered: 0, paid: 1 }, false), 0);
        assert_eq!(weight(&position.gone(), false), 0);
        let mut ballot = opened(RISE, &[6]);
        assert_eq!(cast(&mut ballot, 0, 0, true), Err(Error::NoWeight { class: 0, number: 1 }));
    }

    #[test]
    fn who_leaves_takes_the_vote_along() {
        let mut ballot = opened(RISE, &[100]);
        cast(&mut ballot, 0, 60, false).unwrap();
        cast(&mut ballot, 0, 30, true).unwrap();
        let leave = Event::Leave { class: 0, weight: 50, cast: Some((false, 60)) };
        ballot.apply(&terms(), OPEN + 2, leave).unwrap();
        assert_eq!(ballot.tallies[0], Tally { total: 50, yes: 30, no: 0 });
        let again = ballot.apply(&terms(), OPEN + 2, leave);
        assert_eq!(again, Err(Error::NotCast { weight: 60, counted: 0 }));
        // Nor can a caller forget that it had voted.
        let silent = Event::Leave { class: 0, weight: 30, cast: None };
        let refused = ballot.apply(&terms(), OPEN + 2, silent);
        assert_eq!(refused, Err(Error::OverTotal { weight: 60, total: 50 }));
        let late = ballot.apply(&terms(), OPEN + 100, leave);
        assert_eq!(late, Err(Error::VotingOver { number: 1, ends: OPEN + 100, now: OPEN + 100 }));
    }

    #[test]
    fn a_class_that_ends_has_no_say_any_more() {
        let mut ballot = opened(RISE, &[100, 900]);
        cast(&mut ballot, 0, 100, true).unwrap();
        cast(&mut ballot, 1, 900, false).unwrap();
        ballot.apply(&terms(), OPEN + 2, Event::End { class: 1 }).unwrap();
        assert_eq!(cast(&mut ballot, 1, 1, true), Err(Error::NoWeight { class: 1, number: 1 }));
        ballot.apply(&terms(), OPEN + 100, Event::Close).unwrap();
        assert!(ballot.may_leave(OPEN + 100));
    }

    #[test]
    fn only_an_extension_that_is_through_before_the_deadline_moves_it() {
        let open = |from| {
            let subject = Subject::Extend { from, to: from + 1_000 };
            let mut ballot = Ballot::default();
            ballot.apply(&terms(), OPEN, Event::Open { subject, totals: &[10], asked: 10 }).map(|_| ballot)
        };
        // 100 s of voting and 50 s to leave end at 1,150.
        let late = Error::AfterDeadline { effective_at: OPEN + 150, deadline: OPEN + 149 };
        assert_eq!(open(OPEN + 149), Err(late));
        for (counted, moved) in [(OPEN + 100, true), (OPEN + 101, false)] {
            let from = OPEN + 150;
            let mut ballot = open(from).unwrap();
            cast(&mut ballot, 0, 10, true).unwrap();
            ballot.apply(&terms(), counted, Event::Close).unwrap();
            assert_eq!(deadline(from, &ballot, from - 1), from);
            assert_eq!(deadline(from, &ballot, from), if moved { from + 1_000 } else { from });
        }
    }

    #[test]
    fn every_event_out_of_place_is_refused_by_name() {
        let rest = Ballot::default();
        let voting = opened(RISE, &[10]);
        let mut passed = voting;
        cast(&mut passed, 0, 10, true).unwrap();
        passed.apply(&terms(), OPEN + 100, Event::Close).unwrap();
        let leave = Event::Leave { class: 0, weight: 1, cast: None };
        let vote = Event::Cast { class: 0, weight: 1, yes: true, last: 0 };
        for (ballot, event, error) in [
            (rest, vote, Error::NotVoting { number: 0 }),
            (rest, leave, Error::NotVoting { number: 0 }),
            (rest, Event::End { class: 0 }, Error::NotVoting { number: 0 }),
            (rest, Event::Close, Error::NotVoting { number: 0 }),
            (rest, Event::Enact, Error::NotPassed { number: 0 }),
            (voting, Event::Enact, Error::NotPassed { number: 1 }),
            (passed, vote, Error::NotVoting { number: 1 }),
            (passed, leave, Error::NotVoting { number: 1 }),
            (passed, Event::End { class: 0 }, Error::NotVoting { number: 1 }),
            (passed, Event::Close, Error::NotVoting { number: 1 }),
        ] {
            let mut after = ballot;
            assert_eq!(after.apply(&terms(), OPEN + 100, event), Err(error));
            assert_eq!(after, ballot);
        }
        let same = Subject::RaiseTap { from: 2, to: 2 };
        let open = Event::Open { subject: same, totals: &[10], asked: 10 };
        assert_eq!(Ballot::default().apply(&terms(), OPEN, open), Err(Error::NotARise { from: 2, to: 2 }));
    }
}
