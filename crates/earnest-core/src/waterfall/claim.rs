//! One claim as it is written: whose, at which rank, out of what, how it takes and where it ends.

use crate::money::{Bps, Cash, Price};
use crate::plan::Time;

use super::YEAR_SECS;

/// Who is paid, by the place in the list of claimants. What one was paid through all of its claims counts as one:
/// investments that are capped apart are claimants apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claimant(pub u16);

/// What is being distributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Source {
    Revenue,
    Profit,
    Liquidation,
}

impl Source {
    /// Every one.
    pub const ALL: [Source; 3] = [Source::Revenue, Source::Profit, Source::Liquidation];
}

/// A set of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sources(u8);

impl Sources {
    /// Whatever is distributed.
    pub const ALL: Sources = Sources::of(&Source::ALL);

    /// Only these.
    pub const fn of(sources: &[Source]) -> Self {
        let (mut set, mut at) = (0, 0);
        while at < sources.len() {
            set |= 1 << sources[at] as u8;
            at += 1;
        }
        Sources(set)
    }

    /// Whether one of them is in it.
    pub const fn has(self, source: Source) -> bool {
        self.0 & 1 << source as u8 != 0
    }

    /// Whether none is.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the two have one in common.
    pub const fn overlap(self, other: Sources) -> bool {
        self.0 & other.0 != 0
    }
}

/// A right to be paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// By which an amendment knows it again.
    pub name: String,
    /// Whose.
    pub claimant: Claimant,
    /// Lower ranks are paid first. Claims are written in the order of their ranks.
    pub rank: u16,
    /// What it takes from.
    pub sources: Sources,
    /// How.
    pub take: Take,
    /// The least of them binds.
    pub caps: Vec<Cap>,
    /// From then on it takes nothing.
    pub ends: Option<Time>,
    /// Paid in compute, at this price in cash per unit of compute; in cash where there is none. Amounts and caps
    /// are in cash either way.
    pub in_kind: Option<Price>,
}

impl Claim {
    /// Out of every source, without caps or end, in cash.
    pub fn new(name: &str, claimant: Claimant, rank: u16, take: Take) -> Self {
        let (sources, caps, ends, in_kind) = (Sources::ALL, Vec::new(), None, None);
        Claim { name: name.to_owned(), claimant, rank, sources, take, caps, ends, in_kind }
    }

    /// Only out of these.
    pub fn out_of(self, sources: &[Source]) -> Self {
        Claim { sources: Sources::of(sources), ..self }
    }

    /// One cap more.
    pub fn cap(mut self, cap: Cap) -> Self {
        self.caps.push(cap);
        self
    }

    /// A cap of this multiple of the investment, in basis points.
    pub fn cap_multiple(self, bps: u32) -> Self {
        self.cap(Cap::Multiple(Multiple::fixed(bps)))
    }

    /// An end.
    pub fn ends(self, ends: Time) -> Self {
        Claim { ends: Some(ends), ..self }
    }

    /// Paid in compute at a price.
    pub fn in_kind(self, price: Price) -> Self {
        Claim { in_kind: Some(price), ..self }
    }
}

/// How a claim takes from what reaches its rank. A rank has claims of one kind: due, shares, common or rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Take {
    /// Everything, up to its caps. Beside others of its rank in proportion to what each may still take, rounded
    /// down; the units that rounding leaves go one each to those written first.
    Due,
    /// A part, rounded down, up to its caps. What its rank does not take flows on.
    Share(Bps),
    /// As `Share`, but only of what flows until another share or catch-up of the rank, named here, is
    /// filled. One that is closed to the source, or has ended, counts as filled.
    #[expect(missing_docs, reason = "as said")]
    Beside { share: Bps, lead: String },
    /// A part, until the claimant's profit is this part of all profit. Profit is what was paid beyond what was
    /// invested: of the claimant, and of all together. All that reaches this rank counts as profit.
    #[expect(missing_docs, reason = "as said")]
    CatchUp { share: Bps, of_profit: Bps },
    /// Everything, with others of its rank, to one level of cash per equity share over all distributions. A converting
    /// claim's level counts whatever else its claimant was paid: it has the better of its preference and its
    /// shares. Any other participates beside its preference.
    #[expect(missing_docs, reason = "as said")]
    Common { shares: u64, converting: bool },
    /// Whatever is left. The last claim, and only that, is of this kind.
    Rest,
}

/// A bound: the claim takes nothing that would bring all that its claimant was paid above it. Another claim of the
/// claimant may have another bound. Beyond what 64 bits hold it cannot bind, as totals are 64 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cap {
    /// Of what the claimant invested.
    Multiple(Multiple),
    /// Cash.
    Amount(Cash),
    /// Until the claimant's investment has earned this much a year, in basis points: see [`super::hurdle`].
    Irr(u32),
}

/// A multiple of an investment that may change with time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multiple {
    /// From when on which multiple, in basis points of the investment (1x is 10 000), in rising order. The first
    /// holds before its time, too.
    pub steps: Vec<(Time, u32)>,
    /// What it grows by.
    pub growth: Option<Growth>,
}

/// Yearly growth, compounded. A year is 365 days, and a year that has not ended adds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// A year, in basis points.
    pub bps: u32,
    /// When the first year begins.
    pub from: Time,
}

impl Multiple {
    /// One that stays: in basis points of the investment.
    pub fn fixed(bps: u32) -> Self {
        Multiple { steps: vec![(0, bps)], growth: None }
    }

    /// At a time, in basis points, rounded down in each year. `None` beyond 64 bits.
    pub fn at(&self, time: Time) -> Option<u64> {
        let begun = self.steps.partition_point(|&(from, _)| from <= time).max(1);
        let mut bps = u64::from(self.steps[begun - 1].1);
        let Some(growth) = self.growth else { return Some(bps) };
        for _ in 0..time.saturating_sub(growth.from) / YEAR_SECS {
            bps = bps.checked_mul(10_000 + u64::from(growth.bps))? / 10_000;
        }
        Some(bps)
    }

    /// The most of an investment at a time, rounded down.
    pub fn limit(&self, invested: u64, time: Time) -> u64 {
        // floor(i·m ÷ 10⁴) without a 128-bit division.
        let limit = || {
            let bps = self.at(time)?;
            let (whole, part) = (invested / 10_000, invested % 10_000);
            whole.checked_mul(bps)?.checked_add(part.checked_mul(bps)? / 10_000)
        };
        limit().unwrap_or(u64::MAX)
    }
}

/// `floor(cash × bps ÷ 10⁴)`
pub(super) fn part_of(cash: u64, share: Bps) -> u64 {
    let share = u64::from(share.get());
    cash / 10_000 * share + cash % 10_000 * share / 10_000
}
