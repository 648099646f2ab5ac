//! The rules of `Treasury.sol` as a model: a pot for each round (a class), the circulating pot behind delivered
//! credits, the tap, and refunds past the deadline.

use std::collections::BTreeMap;

use alloy_primitives::Address;
use thiserror::Error;

use crate::bid::BidId;
use crate::clearing::mul_div;
use crate::offering::{Consent, LIVE, Offering, OfferingError};
use crate::plan::Time;

/// Everything fixed at deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreasurySetup {
    /// Draws.
    pub issuer: Address,
    /// Live by then.
    pub deadline: Time,
    /// When the tap starts counting; 0: once live.
    pub tap_start: Time,
    /// Cash a second.
    pub tap_per_sec: u64,
    /// Before anything is attested.
    pub ceiling_at_start: u64,
    /// By subject: cash, and whether it counts before live.
    pub ceilings: Vec<(u64, bool)>,
}

/// A class's money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Pot {
    /// In it now.
    pub cash: u64,
    /// Paid out of it in refunds.
    pub refunded: u64,
    /// Delivered credits that have moved their share.
    pub delivered: u128,
}

/// What a class's positions can claim of its pot, in cash: what they paid for what was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Claims {
    /// Of all but affiliates.
    pub others: u64,
    /// Of affiliates, who come last.
    pub affiliates: u64,
}

/// The tap's pace, which a vote may raise. It counts in pieces, so that a rise releases nothing for the time before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tap {
    /// Cash a second.
    pub per_sec: u64,
    /// Since when at this pace; 0: from the start.
    pub since: Time,
    /// Cash for the time before, no ceiling regarded.
    pub accrued: u128,
}

/// The whole state of a treasury.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Treasury {
    /// What was agreed.
    pub setup: TreasurySetup,
    /// By class.
    pub pots: Vec<Pot>,
    /// Behind delivered credits.
    pub circulating: u64,
    /// Paid to the issuer.
    pub tap_paid: u64,
    /// Paid back to backers.
    pub refunds_paid: u64,
    /// By bid.
    pub refunded: BTreeMap<BidId, u64>,
}

/// Why something was refused. The names are the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each message says it")]
pub enum TreasuryError {
    #[error("{0} is not the issuer")]
    NotIssuer(Address),
    #[error("the deadline {0} has passed without a live service")]
    PastDeadline(Time),
    #[error("the treasury is not refunding")]
    NotRefunding,
    #[error("{asked} was asked and the tap has {available} available")]
    OverTap { asked: u64, available: u64 },
    #[error("{asked} was asked and the pots hold {held}")]
    OverPots { asked: u64, held: u64 },
    #[error("nothing was asked")]
    NothingToDraw,
    #[error("{0} bids of affiliates are to be settled first")]
    AffiliatesUnsettled(u32),
    #[error("{0:?} has nothing to be refunded")]
    NothingToRefund(BidId),
    #[error(transparent)]
    Consent(#[from] OfferingError),
}

use TreasuryError as Error;
type Result<T> = std::result::Result<T, TreasuryError>;

impl Pot {
    /// Takes proceeds in; returns what stands behind credits delivered before, `floor(cash × delivered ÷ sold)`, which
    /// is the circulating pot's.
    pub fn deposit(&mut self, cash: u64, sold: u128) -> u64 {
        let part = if self.delivered == 0 { 0 } else { mul_div(cash.into(), self.delivered, sold) };
        let part = u64::try_from(part).expect("at most the cash");
        self.cash += cash - part;
        part
    }

    /// Gives `floor(pot × Δ ÷ undelivered)` for what was delivered since the last time; returns it for the circulating
    /// pot. Down: what rounding leaves stays behind the credits still to be delivered.
    pub fn sync(&mut self, delivered: u128, sold: u128) -> u64 {
        if delivered == self.delivered {
            return 0;
        }
        let part = mul_div(self.cash.into(), delivered - self.delivered, sold - self.delivered);
        let part = u64::try_from(part).expect("at most the pot");
        self.delivered = delivered;
        self.cash -= part;
        part
    }
}

impl Claims {
    /// A claim's share, rounded down, of all the cash there is and ever was for them: the others first, up to their
    /// claims; affiliates of what is left. Never more than the claim.
    pub fn share(self, all: u64, claim: u64, affiliate: bool) -> u64 {
        if claim == 0 {
            return 0;
        }
        let (part, claims) = if affiliate {
            (all.saturating_sub(self.others), self.affiliates)
        } else {
            (all.min(self.others), self.others)
        };
        let share = u128::from(part) * u128::from(claim) / u128::from(claims);
        // Dust may make a pot larger than what was paid.
        u64::try_from(share.min(claim.into())).expect("at most the claim")
    }
}

impl Tap {
    /// At a pace from the start.
    pub fn new(per_sec: u64) -> Self {
        Tap { per_sec, ..Tap::default() }
    }

    /// Cash for all the time until now, no ceiling regarded; `start` as from [`tap_start`].
    pub fn accrued(&self, start: Option<Time>, now: Time) -> u128 {
        let Some(start) = start else { return 0 };
        self.accrued + u128::from(self.per_sec) * u128::from(now.saturating_sub(start.max(self.since)))
    }

    /// The same tap with another pace from `at` on, which must not lie before the last such change.
    #[must_use]
    pub fn at_pace(&self, start: Option<Time>, at: Time, per_sec: u64) -> Self {
        Tap { per_sec, since: at, accrued: self.accrued(start, at) }
    }
}

/// The deadline has passed and the service is not live: refunds are open and the tap has stopped.
pub fn refunding(deadline: Time, live: bool, now: Time) -> bool {
    now >= deadline && !live
}

/// Cash in these pots and the circulating one.
pub fn held(pots: &[Pot], circulating: u64) -> u64 {
    circulating + pots.iter().map(|pot| pot.cash).sum::<u64>()
}

/// Takes cash from all pots in proportion: each in turn gives `floor(rest × pot ÷ rest of pots)`, and the last,
/// circulating, the remainder.
pub fn draw(pots: &mut [Pot], circulating: &mut u64, cash: u64) -> Result<()> {
    let mut held = held(pots, *circulating);
    if cash > held {
        return Err(Error::OverPots { asked: cash, held });
    }
    let mut rest = cash;
    for pot in pots {
        if pot.cash == 0 {
            continue;
        }
        let part = u128::from(rest) * u128::from(pot.cash) / u128::from(held);
        let part = u64::try_from(part).expect("at most the pot");
        held -= pot.cash;
        pot.cash -= part;
        rest -= part;
    }
    *circulating -= rest;
    Ok(())
}

/// When the tap began to count; `None`: not yet. `effective_at` says of a subject from when on it is effective; 0:
/// not attested.
pub fn tap_start(setup: &TreasurySetup, now: Time, effective_at: impl Fn(u8) -> Time) -> Option<Time> {
    let start = if setup.tap_start == 0 { effective_at(LIVE) } else { setup.tap_start };
    (start != 0 && now >= start).then_some(start)
}

/// The highest ceiling that is in force, in cash; `effective_at` as for [`tap_start`].
pub fn ceiling(setup: &TreasurySetup, now: Time, effective_at: impl Fn(u8) -> Time) -> u64 {
    let is_effective = |subject| (1..=now).contains(&effective_at(subject));
    let live = is_effective(LIVE);
    let mut most = setup.ceiling_at_start;
    for (subject, &(cash, before_live)) in (0u8..).zip(&setup.ceilings) {
        if cash > most && (live || before_live) && is_effective(subject) {
            most = cash;
        }
    }
    most
}

/// What the tap may have paid in all by now: by the second up to the ceiling; `effective_at` as for [`tap_start`].
pub fn released(setup: &TreasurySetup, now: Time, effective_at: impl Fn(u8) -> Time) -> u64 {
    let accrued = Tap::new(setup.tap_per_sec).accrued(tap_start(setup, now, &effective_at), now);
    u64::try_from(accrued.min(ceiling(setup, now, effective_at).into())).expect("at most the ceiling")
}

impl Treasury {
    /// Empty, with a pot for each round.
    pub fn new(setup: TreasurySetup, classes: usize) -> Self {
        let pots = vec![Pot::default(); classes];
        Treasury { setup, pots, circulating: 0, tap_paid: 0, refunds_paid: 0, refunded: BTreeMap::new() }
    }

    /// Cash in all pots.
    pub fn held(&self) -> u64 {
        held(&self.pots, self.circulating)
    }

    /// Proceeds of a class have arrived. What stands behind credits that were delivered before goes to the circulating
    /// pot.
    pub fn deposit(&mut self, offering: &Offering, class: u8, cash: u64) {
        let sold = offering.rounds[usize::from(class)].sold;
        self.circulating += self.pots[usize::from(class)].deposit(cash, sold);
    }

    /// Moves `floor(pot × Δ ÷ undelivered)` to the circulating pot for what was delivered since the last time.
    pub fn sync(&mut self, offering: &Offering) {
        for (pot, round) in self.pots.iter_mut().zip(&offering.rounds) {
            self.circulating += pot.sync(round.delivered, round.sold);
        }
    }

    /// What the tap may have paid in all by now.
    pub fn released(&self, offering: &Offering, now: Time) -> u64 {
        released(&self.setup, now, |subject| offering.attestation(subject).effective_at)
    }

    /// The deadline has passed and the service is not live.
    pub fn refunding(&self, offering: &Offering, now: Time) -> bool {
        refunding(self.setup.deadline, offering.is_effective(LIVE, now), now)
    }

    /// The issuer takes what the tap released, from all pots in proportion: see [`draw`].
    pub fn draw(&mut self, offering: &Offering, now: Time, caller: Address, cash: u64) -> Result<()> {
        if caller != self.setup.issuer {
            return Err(Error::NotIssuer(caller));
        }
        if self.refunding(offering, now) {
            return Err(Error::PastDeadline(self.setup.deadline));
        }
        if cash == 0 {
            return Err(Error::NothingToDraw);
        }
        let available = self.released(offering, now) - self.tap_paid;
        if cash > available {
            return Err(Error::OverTap { asked: cash, available });
        }
        let held = self.held();
        if cash > held {
            return Err(Error::OverPots { asked: cash, held });
        }
        // Checked before, so that a draw refused has moved nothing.
        self.sync(offering);
        draw(&mut self.pots, &mut self.circulating, cash)?;
        self.tap_paid += cash;
        Ok(())
    }

    /// What a settled position can take from its pot, were it refunding: by cash paid, affiliates last.
    pub fn refund_of(&self, offering: &Offering, id: BidId) -> Result<u64> {
        let Some(position) = offering.positions.get(&id).filter(|position| position.paid > 0) else {
            return Ok(0);
        };
        let round = &offering.rounds[usize::from(id.round)];
        if round.affiliates_left != 0 {
            return Err(Error::AffiliatesUnsettled(round.affiliates_left));
        }
        let pot = self.pots[usize::from(id.round)];
        let all = pot.cash + pot.refunded;
        let claims =
            Claims { others: round.proceeds - round.affiliate_paid, affiliates: round.affiliate_paid };
        let share = claims.share(all, position.paid, offering.bid(id).affiliate);
        Ok(share - self.refunded.get(&id).copied().unwrap_or(0))
    }

    /// Pays a position its share, past the deadline without a live service.
    pub fn refund(
        &mut self,
        offering: &Offering,
        now: Time,
        caller: Address,
        id: BidId,
        consent: Option<Consent>,
    ) -> Result<u64> {
        if let Some(consent) = consent
            && caller != offering.bid(id).wallet
        {
            consent.check(now)?;
        }
        if !self.refunding(offering, now) {
            return Err(Error::NotRefunding);
        }
        let cash = self.refund_of(offering, id)?;
        if cash == 0 {
            return Err(Error::NothingToRefund(id));
        }
        let pot = &mut self.pots[usize::from(id.round)];
        pot.cash -= cash;
        pot.refunded += cash;
        *self.refunded.entry(id).or_default() += cash;
        self.refunds_paid += cash;
        Ok(cash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pots(cash: [u64; 2]) -> [Pot; 2] {
        cash.map(|cash| Pot { cash, ..Pot::default() })
    }

    #[test]
    fn a_draw_takes_in_proportion_and_the_circulating_pot_the_remainder() {
        let (mut pots, mut circulating) = (pots([100, 50]), 7);
        draw(&mut pots, &mut circulating, 10).unwrap();
        // floor(10 × 100 ÷ 157) = 6; of the rest floor(4 × 50 ÷ 57) = 3; the circulating pot gives 1.
        assert_eq!((pots.map(|pot| pot.cash), circulating), ([94, 47], 6));
        let refused = draw(&mut pots, &mut circulating, 148);
        assert_eq!(refused, Err(TreasuryError::OverPots { asked: 148, held: 147 }));
        draw(&mut pots, &mut circulating, 147).unwrap();
        assert_eq!(held(&pots, circulating), 0);
    }

    #[test]
    fn what_is_delivered_takes_its_part_of_the_pot_along() {
        let mut pot = Pot { cash: 100, ..Pot::default() };
        // floor(100 × 1 ÷ 3) = 33; then floor(67 × 1 ÷ 2) = 33; then all that is left.
        assert_eq!([1, 1, 2, 3].map(|delivered| pot.sync(delivered, 3)), [33, 0, 33, 34]);
        // What is swept late stands behind all that was delivered.
        assert_eq!((pot.deposit(5, 3), pot.cash), (5, 0));
    }

    #[test]
    fn affiliates_share_what_the_others_leave() {
        let claims = Claims { others: 90, affiliates: 10 };
        // The pot holds less than the others paid: floor(80 × 45 ÷ 90) = 40.
        assert_eq!((claims.share(80, 45, false), claims.share(80, 10, true)), (40, 0));
        assert_eq!((claims.share(95, 45, false), claims.share(95, 4, true)), (45, 2));
        // Dust pays nobody more than the claim.
        assert_eq!((claims.share(103, 45, false), claims.share(103, 10, true)), (45, 10));
    }

    #[test]
    fn the_tap_runs_by_the_second_up_to_the_highest_ceiling_in_force() {
        let setup = TreasurySetup {
            issuer: Address::ZERO,
            deadline: 1_000,
            tap_start: 100,
            tap_per_sec: 2,
            ceiling_at_start: 50,
            ceilings: vec![(500, false), (80, true), (900, false)],
        };
        // Live from 300, the first milestone from 200, the second from 250: that one counts only once live.
        let at = |now| released(&setup, now, |subject| [300, 200, 250][usize::from(subject)]);
        assert_eq!([99, 110, 199, 200, 299, 300, 1_000].map(at), [0, 20, 50, 80, 80, 400, 900]);
        let from_live = TreasurySetup { tap_start: 0, ..setup };
        let at = |now| released(&from_live, now, |subject| if subject == LIVE { 300 } else { 0 });
        assert_eq!([299, 300, 310, 1_000].map(at), [0, 0, 20, 500]);
    }

    #[test]
    fn a_rise_of_the_tap_releases_nothing_for_the_time_before_it() {
        let tap = Tap::new(2).at_pace(Some(100), 150, 10);
        // 50 s × 2; from then on 10 a second.
        assert_eq!([150, 151, 160].map(|now| tap.accrued(Some(100), now)), [100, 110, 200]);
        // Raised before it runs: from its start at the new pace.
        let early = Tap::new(2).at_pace(None, 150, 10);
        assert_eq!([150, 300, 301].map(|now| early.accrued(Some(300), now)), [0, 0, 10]);
    }
}
