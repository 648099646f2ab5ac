//! How cash that reaches a rank is split among its claims. Everything is looked at before anything is paid, and
//! nothing is allocated: the caller's slice holds what each claim gets.

use std::ops::Range;

use crate::plan::Time;

use super::State;
use super::claim::{Cap, Claimant, Source, Take, part_of};
use super::terms::{Kind, Rank, Terms};

/// One distribution on its way down.
pub(super) struct Flow<'a> {
    pub(super) terms: &'a Terms,
    pub(super) state: &'a mut State,
    pub(super) source: Source,
    pub(super) time: Time,
}

impl Flow<'_> {
    /// Pays a rank out of what reaches it; returns what flows on.
    pub(super) fn pay(&mut self, rank: &Rank, cash: u64, paid: &mut [u64]) -> u64 {
        let claims = rank.claims.clone();
        match rank.kind {
            Kind::Due => self.due(claims.clone(), cash, paid),
            Kind::Share => self.shares(claims.clone(), cash, paid),
            Kind::Common => self.common(claims.clone(), cash, paid),
            Kind::Rest => paid[claims.start] = cash,
        }
        cash - claims.map(|claim| self.book(claim, paid[claim])).sum::<u64>()
    }

    /// What a claim may still take.
    pub(super) fn room(&self, claim: usize) -> u64 {
        let (terms, index) = (self.terms, claim);
        let claim = &terms.claims()[index];
        if !claim.sources.has(self.source) || claim.ends.is_some_and(|ends| self.time >= ends) {
            return 0;
        }
        let stake = self.state.stakes[terms.claimant(index)];
        let mut room = u64::MAX;
        for cap in &claim.caps {
            room = room.min(match cap {
                // An amendment may set a cap below what was paid: nothing is paid back, and nothing more is paid.
                Cap::Multiple(multiple) => {
                    multiple.limit(stake.invested, self.time).saturating_sub(stake.paid)
                }
                Cap::Amount(cash) => cash.units().saturating_sub(stake.paid),
                Cap::Irr(_) => {
                    self.state.hurdles[terms.hurdle_of[index].expect("each IRR cap has one")].due()
                }
            });
        }
        match claim.take {
            Take::CatchUp { share, of_profit } => {
                room.min(self.to_catch_up(claim.claimant, share.get(), of_profit.get()))
            }
            _ => room,
        }
    }

    /// What is missing to a part of all profit while a share of all further cash comes in. Of a flow F the claimant
    /// gets x·F, and q + x·F = y·(P + F), so x·F = x·(y·P − q) ÷ (x − y), rounded down.
    fn to_catch_up(&self, claimant: Claimant, share: u16, of_profit: u16) -> u64 {
        let stake = self.state.stakes[usize::from(claimant.0)];
        // A loss is no profit.
        let own = stake.paid.saturating_sub(stake.invested);
        let all = self.state.paid.saturating_sub(self.state.invested);
        let missing = (u128::from(of_profit) * u128::from(all)).saturating_sub(10_000 * u128::from(own));
        let room = u128::from(share) * missing / (10_000 * u128::from(share - of_profit));
        u64::try_from(room).unwrap_or(u64::MAX)
    }

    /// Pro rata by room.
    fn due(&self, claims: Range<usize>, cash: u64, paid: &mut [u64]) {
        let mut all = 0u128;
        for claim in claims.clone() {
            paid[claim] = self.room(claim);
            all += u128::from(paid[claim]);
        }
        if all <= u128::from(cash) {
            return;
        }
        let mut left = cash;
        for paid in &mut paid[claims.clone()] {
            // Below its room, as not all rooms can be filled: one unit more always fits where there is any room.
            *paid = u64::try_from(u128::from(*paid) * u128::from(cash) / all).expect("below its room");
            left -= *paid;
        }
        for claim in claims {
            if left > 0 && paid[claim] < self.room(claim) {
                paid[claim] += 1;
                left -= 1;
            }
        }
    }

    fn shares(&self, claims: Range<usize>, cash: u64, paid: &mut [u64]) {
        for claim in claims {
            let (share, cash) = match &self.terms.claims()[claim].take {
                Take::Share(share) | Take::CatchUp { share, .. } => (*share, cash),
                Take::Beside { share, .. } => {
                    let lead = self.terms.leads[claim].expect("each has one");
                    (*share, self.until_filled(lead, cash))
                }
                Take::Due | Take::Common { .. } | Take::Rest => unreachable!("one kind a rank"),
            };
            paid[claim] = part_of(cash, share).min(self.room(claim));
        }
    }

    /// The first part of a flow, until it fills a claim: the least cash of which the claim's share is its room.
    fn until_filled(&self, lead: usize, cash: u64) -> u64 {
        let (Take::Share(share) | Take::CatchUp { share, .. }) = self.terms.claims()[lead].take else {
            unreachable!("a lead takes a share")
        };
        let room = self.room(lead);
        if part_of(cash, share) < room {
            return cash;
        }
        let cash = (u128::from(room) * 10_000).div_ceil(u128::from(share.get()));
        u64::try_from(cash).expect("at most the flow")
    }

    /// Fills the holders up to one level of cash per share, those that stand lowest first: a converting claim,
    /// which stands at its preference per share, begins to share when the others have as much per share, which is
    /// when converting becomes worth it. Unlike a choice, this does not depend on how an exit is cut into
    /// distributions.
    ///
    /// With all in, the level is (cash + Σ counted) ÷ Σ shares. Whoever stands at or above it is left out, which
    /// lowers it, until no one is. Whoever would pass its cap gets its room, which raises it for the others, and
    /// again from the start. Rounded down; the units that rounding leaves go one each to those written first.
    fn common(&mut self, claims: Range<usize>, mut cash: u64, paid: &mut [u64]) {
        let first = claims.start;
        let mut open = 0u128;
        for claim in claims {
            paid[claim] = 0;
            if self.room(claim) > 0 {
                open |= 1 << (claim - first);
            }
        }
        while open != 0 && cash > 0 {
            let (active, level) = self.level(first, open, cash);
            let part = |flow: &Self, claim: usize| {
                let (shares, counted) = flow.holding(claim);
                // Fits: the level was above what is counted, and the parts sum to the cash at most.
                let upto = u128::from(shares) * u128::from(level.0) / u128::from(level.1);
                u64::try_from(upto).expect("at most the cash and what was paid") - counted
            };
            let full =
                set(active).map(|at| first + at).filter(|&claim| part(self, claim) >= self.room(claim));
            let full = full.fold(0u128, |full, claim| full | 1 << (claim - first));
            if full != 0 {
                for claim in set(full).map(|at| first + at) {
                    paid[claim] = self.room(claim);
                    cash -= paid[claim];
                }
                open &= !full;
                continue;
            }
            let mut left = cash;
            for claim in set(active).map(|at| first + at) {
                paid[claim] = part(self, claim);
                left -= paid[claim];
            }
            for claim in set(active).map(|at| first + at).take(usize::try_from(left).expect("few")) {
                paid[claim] += 1;
            }
            self.state.level = level;
            return;
        }
    }

    /// Who shares, and up to which level of cash per share.
    fn level(&self, first: usize, open: u128, cash: u64) -> (u128, (u64, u64)) {
        let mut active = open;
        loop {
            let (mut sum, mut shares) = (cash, 0);
            for claim in set(active).map(|at| first + at) {
                let (held, counted) = self.holding(claim);
                // What is counted was paid, to different claimants, and with the cash that fits 64 bits.
                sum += counted;
                shares += held;
            }
            let below = |at: &usize| {
                let (held, counted) = self.holding(first + at);
                u128::from(counted) * u128::from(shares) < u128::from(held) * u128::from(sum)
            };
            let stay = set(active).filter(below).fold(0, |stay, at| stay | 1 << at);
            if stay == active {
                return (active, (sum, shares));
            }
            active = stay;
        }
    }

    /// A common claim's shares, and what counts as paid on them.
    fn holding(&self, claim: usize) -> (u64, u64) {
        let Take::Common { shares, .. } = self.terms.claims()[claim].take else {
            unreachable!("one kind a rank")
        };
        (shares, self.state.lines[claim].counted)
    }

    /// Writes a payment down.
    fn book(&mut self, claim: usize, cash: u64) -> u64 {
        if cash == 0 {
            return 0;
        }
        let (terms, state) = (self.terms, &mut *self.state);
        let claimant = terms.claimant(claim);
        // No sum of payments passes the total, which was looked at first.
        state.paid += cash;
        state.stakes[claimant].paid += cash;
        state.lines[claim].paid += cash;
        for (hurdle, &(of, _)) in state.hurdles.iter_mut().zip(&terms.hurdles) {
            if terms.claimant(of) == claimant {
                hurdle.pay(cash);
            }
        }
        if let Some(common) = terms.common_of[claimant] {
            let converting = matches!(terms.claims()[common].take, Take::Common { converting: true, .. });
            if converting || common == claim {
                state.lines[common].counted += cash;
            }
        }
        cash
    }
}

/// The places of a set, from the first.
fn set(mut bits: u128) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = bits.trailing_zeros();
        bits &= bits.checked_sub(1)?;
        Some(at as usize)
    })
}
