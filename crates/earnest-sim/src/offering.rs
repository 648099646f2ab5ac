//! An offering lived through at the level of cohorts: one for each round and vesting schedule. Clearing, vesting, tap,
//! pots and refunds are the functions of `earnest-core` that the model of the contracts stands on; only the crowd is
//! coarse. Tests hold a cohort's fate against the full model.

use alloy_primitives::Address;
use earnest_core::bid::Position;
use earnest_core::clearing::{Bucket, Prices, Walk, clear_fixed, clear_window};
use earnest_core::curve::Ladder;
use earnest_core::money::{Bps, Cash};
use earnest_core::offering::{LIVE, OfferingSetup, Sale};
use earnest_core::plan::{Time, VotesPlan};
use earnest_core::setup::{Parties, setup};
use earnest_core::treasury::{self, Pot, TreasurySetup};
use earnest_core::votes::{Ballot, CLASSES, Event, State, Subject};
use earnest_core::wind_down::{Class, Redemption};

use crate::amount::{float, scaled, scaled_credits, whole_credits};
use crate::factor::Factor;
use crate::study::{OfferingTerms, Study};
use crate::world::{Future, NEVER};

#[cfg(test)]
mod tests;

/// A twelfth of 365.25 days.
pub const MONTH_SECS: u64 = 2_629_800;
/// Most prices at which an auction's crowd bids.
const LEVELS: u16 = 64;

/// What of an offering is the same in every future.
#[derive(Debug)]
pub struct Prepared {
    /// As in the study.
    pub terms: OfferingTerms,
    start: Time,
    setup: OfferingSetup,
    treasury: TreasurySetup,
    rounds: Vec<PreparedRound>,
    /// Rules of the backers' votes, where the deployment has them.
    votes: Option<VotesPlan>,
    /// When each milestone is attested.
    milestones: Vec<Milestone>,
    /// Month in which the first round is open.
    opens: u32,
}

#[derive(Debug)]
struct PreparedRound {
    /// Month at whose beginning it has been cleared.
    clears: u32,
    /// Of the plan's, those a buyer may pick here.
    schedules: Vec<u8>,
    /// Auction: ticks from the top down, and the part of the crowd whose limit is there.
    book: Vec<(u16, f64)>,
}

#[derive(Debug, Clone, Copy)]
enum Milestone {
    /// Once the service has come so far, in a part of the way.
    Before(f64),
    /// Seconds after live.
    After(u64),
}

/// Buyers of one round who vest alike.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cohort {
    /// Index.
    pub round: u8,
    /// Index in the plan.
    pub schedule: u8,
    /// What it bought.
    pub position: Position,
}

/// Where an offering stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stand {
    /// Rounds are to come, or the service is.
    Open,
    /// Credits are delivered.
    Live,
    /// Over, with nothing more to draw.
    Ended,
}

/// An offering in one future.
#[derive(Debug)]
pub struct Offering<'p> {
    of: &'p Prepared,
    /// Where it stands.
    pub stand: Stand,
    /// By round and schedule.
    pub cohorts: Vec<Cohort>,
    pots: Vec<Pot>,
    classes: Vec<Class>,
    /// On the end of each class; none without votes.
    ballots: Vec<Ballot>,
    sold: Vec<u128>,
    proceeds: Vec<u64>,
    circulating: u64,
    /// Rounds that are cleared and wait for the soft cap.
    waiting: Vec<usize>,
    /// Cash that rounds took and keep.
    pub raised: u64,
    /// Drawn.
    pub tap_paid: u64,
    /// Cash that went back out of the treasury.
    pub refunded: u64,
    /// Taken as a penalty.
    pub penalty: u64,
    /// What an ending left in the treasury, for nobody.
    pub stranded: u64,
    /// What the coins in which the treasury is held gained or lost.
    pub result: i128,
    /// By subject; 0: not attested.
    effective: Vec<Time>,
    first_clearing: u32,
    hazard: f64,
    /// A regulator stopped it.
    pub enjoined: bool,
    /// In wallets.
    pub held: u128,
    /// Value of the service they bought, at the market's price, base units of cash.
    pub served: u64,
    /// Every bid, by round and, in an auction, by tick; windows in their order: for the full model.
    #[cfg(test)]
    bids: Vec<(usize, u16, Crowd)>,
}

impl Prepared {
    /// Of a checked study.
    pub fn new(terms: &OfferingTerms, study: &Study) -> Self {
        let plan = &terms.plan;
        let nobody = Address::ZERO;
        let parties = Parties {
            issuer: nobody,
            certifier: nobody,
            guardian: nobody,
            attesters: vec![],
            gateway: nobody,
        };
        let (setup, treasury) = setup(plan, &parties).expect("a checked plan");
        let start = study.question.start;
        let rounds = plan.rounds.iter().zip(&setup.rounds).map(|(round, made)| PreparedRound {
            clears: month_of(start, plan.clearing(round)),
            schedules: (0..16).filter(|bit| made.schedules >> bit & 1 == 1).collect(),
            book: match &made.sale {
                Sale::Auction { prices, ticks } => book(prices, *ticks, terms.elasticity),
                _ => Vec::new(),
            },
        });
        let milestones = &plan.treasury.milestones;
        let before = milestones.iter().filter(|milestone| milestone.before_live).count();
        let (mut early, mut late) = (0, 0u64);
        let milestones = milestones.iter().map(|milestone| {
            if milestone.before_live {
                early += 1;
                #[expect(clippy::cast_precision_loss, reason = "at most eight")]
                Milestone::Before(f64::from(early) / (before as f64 + 1.0))
            } else {
                late += 1;
                Milestone::After(late * 12 * MONTH_SECS)
            }
        });
        Prepared {
            start,
            rounds: rounds.collect(),
            milestones: milestones.collect(),
            opens: setup.rounds.iter().map(|round| month_of(start, round.open)).min().unwrap_or(NEVER),
            votes: plan.votes.clone().filter(|_| terms.votes),
            terms: terms.clone(),
            setup,
            treasury,
        }
    }

    fn time(&self, month: u32) -> Time {
        self.start + u64::from(month) * MONTH_SECS
    }
}

/// The first month that begins at or after a time.
fn month_of(start: Time, time: Time) -> u32 {
    u32::try_from(time.saturating_sub(start).div_ceil(MONTH_SECS)).unwrap_or(NEVER)
}

/// Limits of an auction's crowd: of its cash, `(floor ÷ p)^elasticity` is bid at p or more.
fn book(prices: &Prices, ticks: u16, elasticity: f64) -> Vec<(u16, f64)> {
    let levels = ticks.min(LEVELS);
    let tick = |level: u16| {
        let tick = u32::from(level) * u32::from(ticks - 1) / u32::from((levels - 1).max(1));
        u16::try_from(tick).expect("below ticks")
    };
    let above = |tick: u16| libm::pow(float(prices.floor) / float(prices.at(tick)), elasticity);
    let mut last = 0.0;
    let mut book = Vec::new();
    for level in (0..levels).rev() {
        let at = tick(level);
        let share = above(at);
        book.push((at, share - last));
        last = share;
    }
    book
}

impl<'p> Offering<'p> {
    /// Before its first round.
    pub fn new(of: &'p Prepared) -> Self {
        let rounds = of.rounds.len();
        Offering {
            of,
            stand: Stand::Open,
            cohorts: Vec::with_capacity(8),
            pots: vec![Pot::default(); rounds],
            classes: vec![Class::default(); rounds],
            ballots: vec![Ballot::default(); if of.votes.is_some() { rounds } else { 0 }],
            sold: vec![0; rounds],
            proceeds: vec![0; rounds],
            circulating: 0,
            waiting: Vec::new(),
            raised: 0,
            tap_paid: 0,
            refunded: 0,
            penalty: 0,
            stranded: 0,
            result: 0,
            effective: vec![0; of.treasury.ceilings.len()],
            first_clearing: NEVER,
            hazard: 0.0,
            enjoined: false,
            held: 0,
            served: 0,
            #[cfg(test)]
            bids: Vec::new(),
        }
    }

    /// Cash in the treasury.
    pub fn cash(&self) -> u64 {
        let waiting = self.waiting.iter().map(|&index| self.proceeds[index]).sum::<u64>();
        treasury::held(&self.pots, self.circulating) + waiting
    }

    /// What happens to it in a month, before the lab spends anything. `live`: the service is.
    /// `progress`: how far the service has come, from 0 to 1.
    pub fn month(&mut self, month: u32, future: &Future, live: bool, progress: f64) {
        if self.stand == Stand::Ended {
            return;
        }
        let now = self.of.time(month);
        self.reserve(month, future);
        self.clear(month, now, future);
        if self.stand == Stand::Ended {
            return;
        }
        // An ordinary token sale hands over when the last round has been cleared; it is no sign of a service.
        self.attest(now, live || (self.of.terms.at_close && self.is_raised(month)), progress);
        if month >= self.of.opens && self.is_enjoined(future) {
            self.enjoined = true;
            self.end(future.of(Factor::Penalty));
            return;
        }
        if self.stand == Stand::Open && now >= self.of.setup.deadline {
            self.end(0.0);
            return;
        }
        self.vote(month, now, future);
        if self.stand != Stand::Ended && !self.suspended() {
            self.deliver(now);
        }
    }

    /// In a run those who run ask for the end of every class and vote for it; the others vote against it. They try again
    /// whenever they may. Without votes they spend what they hold: see `spend`.
    fn vote(&mut self, month: u32, now: Time, future: &Future) {
        let Some(terms) = &self.of.votes else { return };
        if !self.is_raised(month) {
            return;
        }
        let mut closed = false;
        for class in 0..self.classes.len() {
            let ballot = &mut self.ballots[class];
            let counted = ballot.apply(terms, now, Event::Close);
            if counted.is_ok() && matches!(ballot.state, State::Passed { .. }) {
                ballot.apply(terms, now, Event::Enact).expect("a wind-down has no exit window");
                self.close(class);
                closed = true;
            }
        }
        if closed && self.classes.iter().all(Class::is_over) {
            self.redeem();
            return;
        }
        if !self.runs(month, future) {
            return;
        }
        let mut totals = [0; CLASSES];
        for (total, class) in totals.iter_mut().zip(&self.classes) {
            *total = class.weight();
        }
        for (class, ballot) in (0u8..).zip(&mut self.ballots) {
            let total = totals[usize::from(class)];
            let yes = scaled(total, future.of(Factor::RunShare)).min(total);
            let subject = Subject::WindDown(class);
            // Refused: too few ask, or it is too early to ask again, or the class is over.
            let opened = ballot.apply(
                terms,
                now,
                Event::Open { subject, totals: &totals[..self.classes.len()], asked: yes },
            );
            if opened.is_err() {
                continue;
            }
            for (weight, yes) in [(yes, true), (total - yes, false)] {
                if weight > 0 {
                    let cast = ballot.apply(terms, now, Event::Cast { class, weight, yes, last: 0 });
                    cast.expect("a vote that was opened with this weight");
                }
            }
        }
    }

    /// The end of a class is being voted on: nothing is drawn or delivered until that is over.
    fn suspended(&self) -> bool {
        self.ballots.iter().any(Ballot::suspends)
    }

    /// Every round is cleared, and what they took is in the treasury.
    fn is_raised(&self, month: u32) -> bool {
        self.waiting.is_empty() && self.of.rounds.iter().all(|round| round.clears <= month)
    }

    fn runs(&self, month: u32, future: &Future) -> bool {
        self.first_clearing != NEVER && month >= self.first_clearing.saturating_add(future.run)
    }

    /// Gains and losses of what the treasury is held in: the crypto part is brought back to its size each month.
    fn reserve(&mut self, month: u32, future: &Future) {
        let crypto = f64::from(self.of.terms.crypto.get()) / 1e4;
        let mut change = 0.0;
        if crypto > 0.0 && month > 0 {
            let at = |month: u32| future.crypto[month as usize];
            change += crypto * (at(month) / at(month - 1) - 1.0);
        }
        if month == future.cash_break {
            change -= (1.0 - crypto) * future.of(Factor::CashLoss);
        }
        if change == 0.0 {
            return;
        }
        for cash in self.pots.iter_mut().map(|pot| &mut pot.cash).chain([&mut self.circulating]) {
            let after = scaled(*cash, 1.0 + change);
            self.result += i128::from(after) - i128::from(*cash);
            *cash = after;
        }
    }

    fn clear(&mut self, month: u32, now: Time, future: &Future) {
        let of = self.of;
        for (index, round) in of.rounds.iter().enumerate().filter(|(_, round)| round.clears == month) {
            self.first_clearing = self.first_clearing.min(month);
            let demand = scaled(of.terms.demand[index].units(), future.of(Factor::OfferingDemand));
            let (proceeds, sold) = self.sell(index, round, demand);
            (self.proceeds[index], self.sold[index]) = (proceeds, sold);
            self.raised += proceeds;
            self.waiting.push(index);
        }
        let cap = of.setup.soft_cap;
        if self.raised >= cap {
            for index in self.waiting.drain(..) {
                self.circulating += self.pots[index].deposit(self.proceeds[index], self.sold[index]);
            }
        } else if now >= of.setup.soft_cap_date {
            // Every bid returns in full: nothing was raised.
            self.raised = 0;
            self.waiting.clear();
            self.cohorts.clear();
            self.stand = Stand::Ended;
        }
    }

    /// Clears a round for a crowd with so much cash; returns cash used and credits sold.
    fn sell(&mut self, index: usize, round: &PreparedRound, demand: u64) -> (u64, u128) {
        let made = &self.of.setup.rounds[index];
        match &made.sale {
            Sale::Fixed { supply, price, .. } => {
                let crowd = Crowd::new(self.of, round, demand);
                let (cash, weight) = crowd.sum();
                if cash == 0 {
                    return (0, 0);
                }
                #[cfg(test)]
                self.bids.push((index, 0, crowd.clone()));
                let (sold, used) = clear_fixed(cash, weight, *supply, *price);
                let bucket = closed(cash, weight, sold, used);
                self.settle(index, round, &[(bucket, crowd)]);
                (used, sold)
            }
            Sale::Auction { prices, .. } => {
                let mut walk = Walk::default();
                let mut above = Crowd::empty(round);
                let mut cleared = None;
                for &(tick, share) in &round.book {
                    let here = Crowd::new(self.of, round, scaled(demand, share));
                    let (cash, weight) = here.sum();
                    if weight == 0 {
                        continue;
                    }
                    #[cfg(test)]
                    self.bids.push((index, tick, here.clone()));
                    if let Some(found) = walk.step(prices, tick, cash, weight) {
                        cleared = Some((found, here));
                        break;
                    }
                    above.add(&here);
                }
                let (cleared, marginal) = match cleared {
                    Some((cleared, here)) => (cleared, Some(here)),
                    None => (walk.finish(prices), None),
                };
                let mut buckets = Vec::with_capacity(2);
                if cleared.above.cash > 0 {
                    let Walk { cash, weight } = cleared.above;
                    buckets.push((closed(cash, weight, cleared.sold_above, cash), above));
                }
                if let (Some((sold, used)), Some(here)) = (cleared.marginal, marginal) {
                    let (cash, weight) = here.sum();
                    buckets.push((closed(cash, weight, sold, used), here));
                }
                self.settle(index, round, &buckets);
                (cleared.proceeds(), cleared.sold())
            }
            Sale::Rising { windows, window_cap, cap, start, follows, ladder, .. } => {
                let before = follows.map_or(0, |index| self.proceeds[usize::from(index)]);
                let from = (start + before).min(ladder.last_weight());
                let end = (from + cap).min(ladder.last_weight());
                let first = price_near(ladder, from, *window_cap);
                let (mut x, mut used_in_all, mut sold_in_all) = (from, 0, 0);
                let mut buckets = Vec::new();
                for _ in 0..*windows {
                    let willing =
                        libm::pow(first / price_near(ladder, x, *window_cap), self.of.terms.elasticity);
                    let crowd = Crowd::new(self.of, round, scaled(demand, willing / f64::from(*windows)));
                    let (cash, weight) = crowd.sum();
                    if weight == 0 || x >= end {
                        break;
                    }
                    let (most, sold, used) =
                        clear_window(ladder, x, (*window_cap).min(end - x), cash, weight);
                    x += most;
                    used_in_all += used;
                    sold_in_all += sold;
                    #[cfg(test)]
                    self.bids.push((index, 0, crowd.clone()));
                    buckets.push((closed(cash, weight, sold, used), crowd));
                }
                self.settle(index, round, &buckets);
                (used_in_all, sold_in_all)
            }
        }
    }

    /// Makes the positions of a round's cohorts.
    fn settle(&mut self, index: usize, round: &PreparedRound, buckets: &[(Bucket, Crowd)]) {
        for (place, &schedule) in round.schedules.iter().enumerate() {
            let round = u8::try_from(index).expect("at most eight rounds");
            let mut cohort = Cohort { round, schedule, ..Cohort::default() };
            for (bucket, crowd) in buckets {
                let (cash, weight) = crowd.parts[place];
                if cash > 0 {
                    let share = bucket.share(cash, weight);
                    cohort.position.paid += share.paid;
                    cohort.position.credits += share.credits;
                }
            }
            if cohort.position.credits > 0 {
                self.classes[index].add(&cohort.position, false);
                self.cohorts.push(cohort);
            }
        }
    }

    fn attest(&mut self, now: Time, live: bool, progress: f64) {
        if self.effective[usize::from(LIVE)] != 0 {
            return;
        }
        let at = now + self.of.setup.notice_secs;
        let live = live && at <= self.of.setup.deadline && self.raised >= self.of.setup.soft_cap;
        if live {
            self.effective[usize::from(LIVE)] = at;
        }
        for (milestone, effective) in self.of.milestones.iter().zip(&mut self.effective[1..]) {
            match milestone {
                Milestone::Before(part) if *effective == 0 && (live || progress >= *part) => *effective = at,
                Milestone::After(secs) if live => *effective = at + secs,
                _ => {}
            }
        }
    }

    /// The rate of injunctions counts from the first round's opening on, while backers wait for something.
    fn is_enjoined(&mut self, future: &Future) -> bool {
        if self.undelivered() == 0 && self.stand == Stand::Live {
            return false;
        }
        self.hazard += self.of.terms.exposure * future.of(Factor::Injunction) / 12.0;
        self.hazard > future.injunction
    }

    fn undelivered(&self) -> u128 {
        self.cohorts.iter().map(|cohort| cohort.position.undelivered()).sum()
    }

    fn deliver(&mut self, now: Time) {
        let at = self.effective[usize::from(LIVE)];
        if at == 0 || now < at {
            return;
        }
        self.stand = Stand::Live;
        for Cohort { round, schedule, position } in &mut self.cohorts {
            let (round, schedule) = (usize::from(*round), &self.of.setup.schedules[usize::from(*schedule)]);
            if self.classes[round].closed.is_some() {
                continue;
            }
            let new = schedule.vested(position.credits, now - at) - position.delivered;
            let moved = self.classes[round].deliver(&mut self.pots[round], position, false, new);
            self.circulating += moved.expect("an open class delivers what has vested");
            self.held += new;
        }
    }

    /// What the lab may draw now.
    pub fn available(&self, month: u32) -> u64 {
        if self.stand == Stand::Ended || self.suspended() {
            return 0;
        }
        let now = self.of.time(month);
        let released =
            treasury::released(&self.of.treasury, now, |subject| self.effective[usize::from(subject)]);
        (released - self.tap_paid.min(released)).min(treasury::held(&self.pots, self.circulating))
    }

    /// Draws what is available, at most so much.
    pub fn draw(&mut self, month: u32, most: u64) -> u64 {
        let cash = self.available(month).min(most);
        treasury::draw(&mut self.pots, &mut self.circulating, cash).expect("at most what is held");
        self.tap_paid += cash;
        cash
    }

    /// Holders spend: a part of what they hold, or what runs, as far as these hours go. Returns the hours it took and the
    /// value of what was served at the start's prices, in base units of cash.
    pub fn spend(&mut self, month: u32, future: &Future, hours_per_cash: f64, capacity: f64) -> Spent {
        if self.held == 0 || self.stand == Stand::Ended {
            return Spent::default();
        }
        let service = future.service[month as usize];
        let follows = f64::from(self.of.terms.follows.get()) / 1e4;
        let list = if service < 1.0 { 1.0 - follows * (1.0 - service) } else { 1.0 };
        let rate = future.of(Factor::SpendRate);
        let rate = if self.runs(month, future) { rate.max(future.of(Factor::RunShare)) } else { rate };
        let wanted = scaled_credits(self.held, rate);
        // Service at the start's prices, in cash.
        let each = float(self.of.terms.worth.units()) / 1e6 / list;
        let hours = whole_credits(wanted) * each * hours_per_cash;
        let part = if hours > capacity { capacity / hours } else { 1.0 };
        let spent = scaled_credits(wanted, part);
        self.held -= spent;
        let volume = whole_credits(spent) * each;
        self.served = self.served.saturating_add(scaled(1_000_000, volume * service));
        Spent { hours: hours * part, volume: scaled(1_000_000, volume), waiting: hours * (1.0 - part) }
    }

    /// It ends and cash goes back: the pots to positions, then the circulating pot to those who hold credits. A penalty
    /// comes first.
    fn end(&mut self, penalty: f64) {
        // Bids of rounds that wait for the soft cap return whole, whatever the penalty: nothing was raised by them.
        for index in std::mem::take(&mut self.waiting) {
            self.raised -= self.proceeds[index];
            self.cohorts.retain(|cohort| usize::from(cohort.round) != index);
            self.classes[index] = Class::default();
        }
        let held = treasury::held(&self.pots, self.circulating);
        self.penalty = scaled(self.raised, penalty).min(held);
        treasury::draw(&mut self.pots, &mut self.circulating, self.penalty).expect("at most what is held");
        for class in 0..self.classes.len() {
            if self.classes[class].closed.is_none() {
                self.close(class);
            }
        }
        self.redeem();
    }

    /// A class ends: its positions are paid by what they paid for what was not delivered.
    fn close(&mut self, index: usize) {
        let class = &mut self.classes[index];
        self.circulating += class.close(&mut self.pots[index]).expect("a class ends once");
        for Cohort { round, position, .. } in &mut self.cohorts {
            if usize::from(*round) == index && position.claim() > 0 {
                let (back, dust) = class.claim(position, false).expect("the class is closed");
                self.refunded += back;
                self.circulating += dust;
            }
        }
    }

    /// Every class is over: all who hold credits burn them for the circulating pot.
    fn redeem(&mut self) {
        let redemption =
            Redemption::open(&mut self.classes, &mut self.pots, &mut self.circulating, self.held);
        let mut redemption = redemption.expect("every class is closed");
        if self.held > 0 {
            self.refunded += redemption.burn(self.held).expect("all of the supply");
        }
        self.stranded += redemption.held();
        self.held = 0;
        self.stand = Stand::Ended;
    }

    /// The lab is gone. Backers get back what the endings give them: before live by the deadline, afterwards by vote.
    /// Without votes what the tap still releases is the estate's; returns that.
    pub fn abandon(&mut self, month: u32) -> u64 {
        match self.stand {
            Stand::Ended => 0,
            Stand::Live if self.of.votes.is_none() => {
                let cash = self.draw(month, u64::MAX);
                self.stranded += treasury::held(&self.pots, self.circulating);
                self.pots.iter_mut().for_each(|pot| pot.cash = 0);
                (self.circulating, self.held) = (0, 0);
                self.stand = Stand::Ended;
                cash
            }
            _ => {
                self.end(0.0);
                0
            }
        }
    }

    /// What backers hold in a month, at the market's price of the service, in base units of cash.
    pub fn outstanding(&self, month: u32, future: &Future) -> u64 {
        if self.stand == Stand::Ended {
            return 0;
        }
        let last = future.service[month as usize];
        let follows = f64::from(self.of.terms.follows.get()) / 1e4;
        let list = if last < 1.0 { 1.0 - follows * (1.0 - last) } else { 1.0 };
        let each = float(self.of.terms.worth.units()) / 1e6 * last / list;
        // What cannot be delivered any more is worth its refund.
        if self.stand == Stand::Open {
            return self.cash();
        }
        scaled(1_000_000, whole_credits(self.held + self.undelivered()) * each)
    }

    /// Everything that came in went out or is there.
    pub fn holds(&self) -> bool {
        let came = i128::from(self.raised) + self.result;
        let went = u128::from(self.tap_paid)
            + u128::from(self.refunded)
            + u128::from(self.penalty)
            + u128::from(self.stranded);
        came == i128::try_from(went + u128::from(self.cash())).expect("64 bits each")
    }

    /// Of what holders spend, what they would have bought for cash.
    pub fn replaces(&self) -> Bps {
        self.of.terms.replaces
    }
}

/// What holders spent in a month.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// Of compute.
    pub hours: f64,
    /// Served, at the start's prices, base units of cash.
    pub volume: u64,
    /// Hours that were wanted and not there.
    pub waiting: f64,
}

/// Cash and weight of a crowd, by schedule of its round.
#[derive(Clone, Debug)]
struct Crowd {
    parts: [(u64, u64); 16],
    count: usize,
}

impl Crowd {
    fn empty(round: &PreparedRound) -> Self {
        Crowd { parts: [(0, 0); 16], count: round.schedules.len() }
    }

    /// Evenly over the schedules, the first taking the remainder.
    fn new(of: &Prepared, round: &PreparedRound, cash: u64) -> Self {
        let mut crowd = Crowd::empty(round);
        let count = crowd.count as u64;
        for (place, &schedule) in round.schedules.iter().enumerate() {
            let cash = cash / count + if place == 0 { cash % count } else { 0 };
            let discount = of.setup.discounts[usize::from(schedule)];
            let weight = if discount.get() == 0 {
                cash
            } else {
                earnest_core::money::weight(Cash::from_units(cash), discount)
            };
            crowd.parts[place] = (cash, weight);
        }
        crowd
    }

    fn sum(&self) -> (u64, u64) {
        self.parts[..self.count].iter().fold((0, 0), |(c, w), (cash, weight)| (c + cash, w + weight))
    }

    fn add(&mut self, other: &Crowd) {
        for (to, from) in self.parts.iter_mut().zip(&other.parts) {
            *to = (to.0 + from.0, to.1 + from.1);
        }
    }
}

fn closed(cash: u64, weight: u64, sold: u128, used: u64) -> Bucket {
    let mut bucket = Bucket { cash, weight, ..Bucket::default() };
    bucket.close(sold, used, cash);
    bucket
}

/// Cash per credit around a place of a ladder, for what a crowd is willing to do; not an amount.
fn price_near(ladder: &Ladder, x: u64, window_cap: u64) -> f64 {
    let span = (window_cap / 8).max(1).min(ladder.last_weight() - x.min(ladder.last_weight()));
    let at = |x| ladder.credits_at(x).unwrap_or_default();
    let credits = at(x + span).saturating_sub(at(x));
    if span == 0 || credits == 0 { f64::INFINITY } else { float(span) / 1e6 / whole_credits(credits) }
}
