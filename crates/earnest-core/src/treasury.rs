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

impl Treasury {
    /// Empty, with a pot for each round.
    pub fn new(setup: TreasurySetup, classes: usize) -> Self {
        let pots = vec![Pot::default(); classes];
        Treasury { setup, pots, circulating: 0, tap_paid: 0, refunds_paid: 0, refunded: BTreeMap::new() }
    }

    /// Cash in all pots.
    pub fn held(&self) -> u64 {
        self.circulating + self.pots.iter().map(|pot| pot.cash).sum::<u64>()
    }

    /// Proceeds of a class have arrived. What stands behind credits that were delivered before goes to the circulating
    /// pot.
    pub fn deposit(&mut self, offering: &Offering, class: u8, cash: u64) {
        let pot = &mut self.pots[usize::from(class)];
        let sold = offering.rounds[usize::from(class)].sold;
        let part = if pot.delivered == 0 { 0 } else { mul_div(cash.into(), pot.delivered, sold) };
        let part = u64::try_from(part).expect("at most the cash");
        pot.cash += cash - part;
        self.circulating += part;
    }

    /// Moves `floor(pot × Δ ÷ undelivered)` to the circulating pot for what was delivered since the last time.
    pub fn sync(&mut self, offering: &Offering) {
        for (pot, round) in self.pots.iter_mut().zip(&offering.rounds) {
            if round.delivered == pot.delivered {
                continue;
            }
            let part =
                mul_div(u128::from(pot.cash), round.delivered - pot.delivered, round.sold - pot.delivered);
            let part = u64::try_from(part).expect("at most the pot");
            pot.delivered = round.delivered;
            pot.cash -= part;
            self.circulating += part;
        }
    }

    /// What the tap may have paid in all by now.
    pub fn released(&self, offering: &Offering, now: Time) -> u64 {
        let live = offering.is_effective(LIVE, now);
        let mut start = self.setup.tap_start;
        if start == 0 {
            if !live {
                return 0;
            }
            start = offering.attestation(LIVE).effective_at;
        }
        if now < start {
            return 0;
        }
        let mut most = self.setup.ceiling_at_start;
        for (subject, &(cash, before_live)) in (0u8..).zip(&self.setup.ceilings) {
            if cash > most && (live || before_live) && offering.is_effective(subject, now) {
                most = cash;
            }
        }
        let accrued = u128::from(self.setup.tap_per_sec) * u128::from(now - start);
        u64::try_from(accrued.min(u128::from(most))).expect("at most the ceiling")
    }

    /// The deadline has passed and the service is not live.
    pub fn refunding(&self, offering: &Offering, now: Time) -> bool {
        now >= self.setup.deadline && !offering.is_effective(LIVE, now)
    }

    /// The issuer takes from all pots in proportion: each in turn gives `floor(rest × pot ÷ rest of pots)`, and the
    /// last, circulating, the remainder.
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
        let mut held = self.held();
        if cash > held {
            return Err(Error::OverPots { asked: cash, held });
        }
        self.sync(offering);
        self.tap_paid += cash;
        let mut rest = cash;
        for pot in &mut self.pots {
            if pot.cash == 0 {
                continue;
            }
            let part = u128::from(rest) * u128::from(pot.cash) / u128::from(held);
            let part = u64::try_from(part).expect("at most the pot");
            held -= pot.cash;
            pot.cash -= part;
            rest -= part;
        }
        self.circulating -= rest;
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
        let others_paid = round.proceeds - round.affiliate_paid;
        let (part, paid) = if offering.bid(id).affiliate {
            (all.saturating_sub(others_paid), round.affiliate_paid)
        } else {
            (all.min(others_paid), others_paid)
        };
        let share = u128::from(part) * u128::from(position.paid) / u128::from(paid);
        // Dust may make a pot larger than what was paid.
        let share = u64::try_from(share).expect("at most the pot").min(position.paid);
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
