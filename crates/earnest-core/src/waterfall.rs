//! A waterfall: who gets what of revenue, profit or an exit, by ranks, caps, catch-up, recoupment and conversion,
//! down to a residual. Every distribution sums to the base unit, no cap is passed, and what was paid stays counted
//! through amendments. [`Waterfall`] is what was agreed, [`State`] what happened.
//!
//! Amounts are cash base units (10⁻⁶). Whatever rounding leaves has a recipient: within a rank the claims written first,
//! else the next rank. What is known elsewhere by other names:
//! - *preference:* `Due` with a multiple of 1x, from `Liquidation`; the claimant's `Common` converts or participates;
//! - *preferred return:* `Due` with an IRR cap, which asks for the investment and the return on it;
//! - *recoupment:* a `Share` of `Revenue` with a multiple of 1x; *revenue share:* one with another cap or none;
//! - *capped return:* a `Share` with the cap's multiple, and the nonprofit as the residual.

pub mod claim;
pub mod hurdle;
mod rank;
pub mod terms;
#[cfg(test)]
mod tests;

use alloy_primitives::U256;
use thiserror::Error;

use crate::money::Price;
use crate::offering::DAY;
use crate::plan::Time;
use crate::plan::instant::LAST;

pub use claim::{Cap, Claim, Claimant, Growth, Multiple, Source, Sources, Take};
pub use terms::{Terms, TermsError};

use hurdle::Hurdle;
use rank::Flow;

/// A year of 365 days.
pub const YEAR_SECS: u64 = 365 * DAY;

/// Everything agreed so far: terms and their amendments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waterfall {
    versions: Vec<Terms>,
}

/// What happened so far, to be used with one waterfall. Payments only rise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Of the terms in force at the last event.
    version: usize,
    /// Of the last event.
    time: Time,
    invested: u64,
    paid: u64,
    stakes: Vec<Stake>,
    /// By claim of the terms in force.
    lines: Vec<Line>,
    hurdles: Vec<Hurdle>,
    /// Up to which common shares were filled: cash over shares.
    level: (u64, u64),
}

/// A claimant's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct Stake {
    invested: u64,
    paid: u64,
    /// First contribution.
    first: Option<Time>,
}

/// A claim's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct Line {
    paid: u64,
    /// On common shares.
    counted: u64,
}

/// What one claim gets of one distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payment {
    /// By its place in the terms in force.
    pub claim: usize,
    /// Whose.
    pub claimant: Claimant,
    /// Its value, cash base units.
    pub cash: u64,
    /// Paid in compute, at this price.
    pub in_kind: Option<Price>,
}

impl Payment {
    /// Units of compute (10⁻¹⁸) that are delivered in place of cash, rounded down.
    pub fn compute(&self) -> Option<U256> {
        self.in_kind?.credits_for(self.cash)
    }
}

/// Why something was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each message says it")]
pub enum WaterfallError {
    #[error("version {version} does not come after version {before}")]
    VersionNotLater { version: u32, before: u32 },
    #[error("version {version} is effective at {effective}, not after {before}")]
    DateNotLater { version: u32, effective: Time, before: Time },
    #[error("claimant {claimant} was {before} and may not be another or none")]
    ClaimantChanged { claimant: usize, before: String },
    #[error("{claim} was of claimant {before} and is of {now}")]
    ClaimMoved { claim: String, before: u16, now: u16 },
    #[error(
        "version {version} is effective at {effective}, and by the one before something happened at {last}"
    )]
    Retroactive { version: u32, effective: Time, last: Time },
    #[error("no terms are in force at {time}, the first are from {effective} on")]
    NotInForce { time: Time, effective: Time },
    #[error("{time} is before the last event, {last}")]
    BackInTime { time: Time, last: Time },
    #[error("{time} is after the last instant, {LAST}")]
    TooLate { time: Time },
    #[error("claimant {claimant} is unknown, there are {claimants}")]
    UnknownClaimant { claimant: u16, claimants: usize },
    #[error("{slots} slots for payments of {claims} claims")]
    WrongLength { slots: usize, claims: usize },
    #[error("{cash} more than the {total} until now is more than 64 bits")]
    Overflow { cash: u64, total: u64 },
    #[error("the balance behind the IRR cap of {claim} does not fit")]
    HurdleOverflow { claim: String },
}

use WaterfallError as Error;
type Result<T> = std::result::Result<T, WaterfallError>;

impl Waterfall {
    /// Of its first terms.
    pub fn new(terms: Terms) -> Self {
        Waterfall { versions: vec![terms] }
    }

    /// Adds terms that are in force from a later time on. Claimants keep their numbers; a claim of the same name
    /// goes on, with what it was paid and, from then on at its new rate, what it has earned. A new IRR cap begins
    /// with what was invested and not paid back; new common shares begin where the others stand.
    pub fn amend(&mut self, terms: Terms) -> Result<()> {
        let last = self.versions.last().expect("never empty");
        if terms.version() <= last.version() {
            return Err(Error::VersionNotLater { version: terms.version(), before: last.version() });
        }
        let (version, effective, before) = (terms.version(), terms.effective(), last.effective());
        if effective <= before {
            return Err(Error::DateNotLater { version, effective, before });
        }
        for (claimant, before) in last.claimants().iter().enumerate() {
            if terms.claimants().get(claimant) != Some(before) {
                return Err(Error::ClaimantChanged { claimant, before: before.clone() });
            }
        }
        for claim in terms.claims() {
            let same = last.claims().iter().find(|other| other.name == claim.name);
            if let Some(same) = same.filter(|same| same.claimant != claim.claimant) {
                let (before, now) = (same.claimant.0, claim.claimant.0);
                return Err(Error::ClaimMoved { claim: claim.name.clone(), before, now });
            }
        }
        self.versions.push(terms);
        Ok(())
    }

    /// Every version, from the first.
    pub fn versions(&self) -> &[Terms] {
        &self.versions
    }

    /// The terms in force at a time.
    pub fn in_force(&self, time: Time) -> Result<&Terms> {
        let begun = self.versions.partition_point(|terms| terms.effective() <= time);
        let effective = self.versions[0].effective();
        self.versions[..begun].last().ok_or(Error::NotInForce { time, effective })
    }

    /// A claimant puts in cash.
    pub fn contribute(&self, state: &mut State, time: Time, claimant: Claimant, cash: u64) -> Result<()> {
        let claimants = self.in_force(time)?.claimants().len();
        if usize::from(claimant.0) >= claimants {
            return Err(Error::UnknownClaimant { claimant: claimant.0, claimants });
        }
        let total = state.invested;
        let invested = total.checked_add(cash).ok_or(Error::Overflow { cash, total })?;
        let terms = self.advance(state, time)?;
        let index = usize::from(claimant.0);
        state.invested = invested;
        state.stakes[index].invested += cash;
        state.stakes[index].first.get_or_insert(time);
        for (hurdle, &(claim, _)) in state.hurdles.iter_mut().zip(&terms.hurdles) {
            if terms.claimant(claim) == index {
                hurdle.add(cash);
            }
        }
        Ok(())
    }

    /// Distributes all of the cash and writes what each claim of the terms in force gets into `paid`, in their
    /// order. Allocates nothing but where an amendment comes into force. Pays nothing when it refuses.
    pub fn distribute_into(
        &self,
        state: &mut State,
        time: Time,
        source: Source,
        cash: u64,
        paid: &mut [u64],
    ) -> Result<()> {
        let (slots, claims) = (paid.len(), self.in_force(time)?.claims().len());
        if slots != claims {
            return Err(Error::WrongLength { slots, claims });
        }
        let total = state.paid;
        if total.checked_add(cash).is_none() {
            return Err(Error::Overflow { cash, total });
        }
        let terms = self.advance(state, time)?;
        paid.fill(0);
        let mut flow = Flow { terms, state, source, time };
        let mut left = cash;
        for rank in &terms.ranks {
            if left == 0 {
                break;
            }
            left = flow.pay(rank, left, paid);
        }
        Ok(())
    }

    /// As [`Waterfall::distribute_into`], as a list of those who get something.
    pub fn distribute(
        &self,
        state: &mut State,
        time: Time,
        source: Source,
        cash: u64,
    ) -> Result<Vec<Payment>> {
        let claims = self.in_force(time)?.claims();
        let mut paid = vec![0; claims.len()];
        self.distribute_into(state, time, source, cash, &mut paid)?;
        let payment = |(claim, (terms, cash)): (usize, (&Claim, u64))| Payment {
            claim,
            claimant: terms.claimant,
            cash,
            in_kind: terms.in_kind,
        };
        let payments = claims.iter().zip(paid).enumerate().map(payment);
        Ok(payments.filter(|payment| payment.cash > 0).collect())
    }

    /// Goes to a time: amendments come into force, hurdles earn.
    fn advance(&self, state: &mut State, time: Time) -> Result<&Terms> {
        if time > LAST {
            return Err(Error::TooLate { time });
        }
        if time < state.time {
            return Err(Error::BackInTime { time, last: state.time });
        }
        while let Some(next) = self.versions.get(state.version + 1)
            && next.effective() <= time
        {
            let (version, effective, last) = (next.version(), next.effective(), state.time);
            if effective <= last {
                return Err(Error::Retroactive { version, effective, last });
            }
            let terms = &self.versions[state.version];
            state.accrue(terms, effective)?;
            state.carry(terms, next);
        }
        let terms = &self.versions[state.version];
        state.accrue(terms, time)?;
        state.time = time;
        Ok(terms)
    }
}

impl State {
    /// Before anything happened.
    pub fn new(waterfall: &Waterfall) -> Self {
        let (stakes, lines, hurdles) = (Vec::new(), Vec::new(), Vec::new());
        let mut state =
            State { version: 0, time: 0, invested: 0, paid: 0, stakes, lines, hurdles, level: (0, 1) };
        state.reset(waterfall);
        state
    }

    /// As new, in the memory that it has.
    pub fn reset(&mut self, waterfall: &Waterfall) {
        let terms = &waterfall.versions[0];
        (self.version, self.time, self.invested, self.paid, self.level) = (0, 0, 0, 0, (0, 1));
        refill(&mut self.stakes, terms.claimants().len());
        refill(&mut self.lines, terms.claims().len());
        refill(&mut self.hurdles, terms.hurdles.len());
    }

    /// What a claimant put in, cash base units.
    pub fn invested(&self, claimant: Claimant) -> u64 {
        self.stakes[usize::from(claimant.0)].invested
    }

    /// What a claimant was paid through all its claims, cash base units.
    pub fn paid(&self, claimant: Claimant) -> u64 {
        self.stakes[usize::from(claimant.0)].paid
    }

    /// What was paid through a claim of the terms in force at the last event, cash base units.
    pub fn paid_by(&self, claim: usize) -> u64 {
        self.lines[claim].paid
    }

    /// All that was put in, cash base units.
    pub fn total_invested(&self) -> u64 {
        self.invested
    }

    /// All that was paid, cash base units.
    pub fn total_paid(&self) -> u64 {
        self.paid
    }

    fn accrue(&mut self, terms: &Terms, time: Time) -> Result<()> {
        for (hurdle, &(claim, rate)) in self.hurdles.iter_mut().zip(&terms.hurdles) {
            let Some(first) = self.stakes[terms.claimant(claim)].first else { continue };
            if hurdle.accrue(rate, first, time).is_none() {
                return Err(Error::HurdleOverflow { claim: terms.claims()[claim].name.clone() });
            }
        }
        Ok(())
    }

    /// Into the next version.
    fn carry(&mut self, terms: &Terms, next: &Terms) {
        let was = |claim: &Claim| terms.claims().iter().position(|other| other.name == claim.name);
        self.stakes.resize(next.claimants().len(), Stake::default());
        let line = |claim: &Claim| {
            let before = was(claim).map(|index| self.lines[index]).unwrap_or_default();
            let Take::Common { .. } = claim.take else { return Line { counted: 0, ..before } };
            // Only what each has beyond the level matters from now on, so that no one catches up with the past.
            let shares = was(claim).and_then(|index| match terms.claims()[index].take {
                Take::Common { shares, .. } => Some(shares),
                _ => None,
            });
            let filled =
                u128::from(shares.unwrap_or(0)) * u128::from(self.level.0) / u128::from(self.level.1);
            let filled = u64::try_from(filled).unwrap_or(u64::MAX);
            Line { counted: before.counted.saturating_sub(filled), ..before }
        };
        let lines: Vec<Line> = next.claims().iter().map(line).collect();
        let hurdle = |&(claim, _): &(usize, u32)| {
            let before = was(&next.claims()[claim]).and_then(|index| terms.hurdle_of[index]);
            let stake = self.stakes[next.claimant(claim)];
            let first = stake.first.unwrap_or(next.effective());
            before.map_or_else(
                || Hurdle::new(stake.invested, stake.paid, first, next.effective()),
                |index| self.hurdles[index],
            )
        };
        self.hurdles = next.hurdles.iter().map(hurdle).collect();
        self.lines = lines;
        self.level = (0, 1);
        self.version += 1;
    }
}

fn refill<T: Clone + Default>(list: &mut Vec<T>, len: usize) {
    list.clear();
    list.resize(len, T::default());
}
