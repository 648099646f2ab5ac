//! One version of what was agreed: checked once, never changed.

use std::collections::BTreeSet;
use std::ops::Range;

use thiserror::Error;

use crate::plan::Time;

use super::claim::{Cap, Claim, Claimant, Source, Sources, Take};

/// Claims of one rank, at most.
pub const RANK_MAX: usize = 128;

/// One version, in force from a time on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    version: u32,
    effective: Time,
    claimants: Vec<String>,
    claims: Vec<Claim>,
    pub(super) ranks: Vec<Rank>,
    /// By claim: the one that it is beside.
    pub(super) leads: Vec<Option<usize>>,
    /// By claim: its hurdle.
    pub(super) hurdle_of: Vec<Option<usize>>,
    /// The claim and the rate of each, in basis points a year.
    pub(super) hurdles: Vec<(usize, u32)>,
    /// By claimant: its common claim.
    pub(super) common_of: Vec<Option<usize>>,
}

/// Claims that are paid together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rank {
    pub(super) kind: Kind,
    pub(super) claims: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Due,
    Share,
    Common,
    Rest,
}

/// Why terms are refused. Claims are named as they were written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each message says it")]
pub enum TermsError {
    #[error("no claim takes the rest")]
    NoResidual,
    #[error("{first} and {second} both take the rest")]
    TwoResiduals { first: String, second: String },
    #[error("{claim} takes the rest, and {after} comes after it")]
    ResidualNotLast { claim: String, after: String },
    #[error("{claim} takes the rest, so it may have no cap and no end, a rank of its own, and every source")]
    ResidualBound { claim: String },
    #[error("claim {claim} is there twice")]
    ClaimTwice { claim: String },
    #[error("claimant {claimant} is there twice")]
    ClaimantTwice { claimant: String },
    #[error("{claim} is of claimant {claimant}, and there are {claimants}")]
    UnknownClaimant { claim: String, claimant: u16, claimants: usize },
    #[error("{claim} of rank {rank} comes after rank {before}")]
    RankOutOfOrder { claim: String, rank: u16, before: u16 },
    #[error("rank {rank} has {claims} claims, more than {RANK_MAX}")]
    TooManyClaims { rank: u16, claims: usize },
    #[error("{claim} takes in another way than the other claims of rank {rank}")]
    MixedRank { claim: String, rank: u16 },
    #[error("{claimant} has two claims of rank {rank} on one source")]
    TwiceInRank { claimant: String, rank: u16 },
    #[error("{claim} takes from no source")]
    NoSources { claim: String },
    #[error("{claim} takes a share of nothing")]
    ZeroShare { claim: String },
    #[error("shares of rank {rank} in {source_of_cash:?} come to {bps} basis points, more than 10000")]
    SharesOver { rank: u16, source_of_cash: Source, bps: u32 },
    #[error("{claim} takes everything and has no cap, so nothing would flow on")]
    Uncapped { claim: String },
    #[error("{claim} has a cap of nothing")]
    ZeroCap { claim: String },
    #[error("{claim} has a multiple without steps")]
    NoSteps { claim: String },
    #[error("{claim}: the multiple of {from} comes after that of {before}")]
    StepsOutOfOrder { claim: String, from: Time, before: Time },
    #[error("{claim} has two IRR caps")]
    TwoIrrCaps { claim: String },
    #[error("{claim} takes {share} basis points and so never has {of_profit} of all profit")]
    CatchUpNever { claim: String, share: u16, of_profit: u16 },
    #[error("{claim} is beside {lead}, which is no share or catch-up of its rank")]
    UnknownLead { claim: String, lead: String },
    #[error("{claim} is paid in kind at a price of nothing")]
    ZeroPrice { claim: String },
    #[error("{claim} has common shares of rank {rank}, others are of rank {other}")]
    TwoCommonRanks { claim: String, rank: u16, other: u16 },
    #[error("{claim} has common shares that take from other sources than the rest of them")]
    CommonSources { claim: String },
    #[error("the common shares are more than 64 bits")]
    CommonOverflow,
    #[error("{claim} takes a share between a preference and the shares that it converts into")]
    ShareBeforeCommon { claim: String },
}

type Result<T> = std::result::Result<T, TermsError>;

impl Terms {
    /// Checks everything. Claims are written from the first rank to the last, the residual.
    pub fn new(version: u32, effective: Time, claimants: Vec<String>, claims: Vec<Claim>) -> Result<Self> {
        check_names(&claimants, &claims)?;
        check_residual(&claims)?;
        for claim in &claims {
            check_claim(claim, claimants.len())?;
        }
        let ranks = ranks(&claims)?;
        for rank in &ranks {
            check_rank(&claims[rank.claims.clone()], &claimants)?;
        }
        check_common(&claims, &ranks)?;
        let leads = leads(&claims, &ranks)?;
        let mut hurdle_of = vec![None; claims.len()];
        let mut hurdles = Vec::new();
        let mut common_of = vec![None; claimants.len()];
        for (index, claim) in claims.iter().enumerate() {
            if let Some(rate) = irr(claim) {
                hurdle_of[index] = Some(hurdles.len());
                hurdles.push((index, rate));
            }
            if matches!(claim.take, Take::Common { .. }) {
                common_of[usize::from(claim.claimant.0)] = Some(index);
            }
        }
        Ok(Terms { version, effective, claimants, claims, ranks, leads, hurdle_of, hurdles, common_of })
    }

    /// Rises with each amendment.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// In force from then on.
    pub fn effective(&self) -> Time {
        self.effective
    }

    /// By number.
    pub fn claimants(&self) -> &[String] {
        &self.claimants
    }

    /// In the order of payment.
    pub fn claims(&self) -> &[Claim] {
        &self.claims
    }

    /// Who takes the rest.
    pub fn residual(&self) -> Claimant {
        self.claims[self.claims.len() - 1].claimant
    }

    pub(super) fn claimant(&self, claim: usize) -> usize {
        usize::from(self.claims[claim].claimant.0)
    }
}

fn irr(claim: &Claim) -> Option<u32> {
    claim.caps.iter().find_map(|cap| if let Cap::Irr(rate) = cap { Some(*rate) } else { None })
}

fn kind(take: &Take) -> Kind {
    match take {
        Take::Due => Kind::Due,
        Take::Share(_) | Take::Beside { .. } | Take::CatchUp { .. } => Kind::Share,
        Take::Common { .. } => Kind::Common,
        Take::Rest => Kind::Rest,
    }
}

/// In basis points, of what reaches the rank.
fn share(take: &Take) -> Option<u16> {
    match take {
        Take::Share(share) | Take::Beside { share, .. } | Take::CatchUp { share, .. } => Some(share.get()),
        Take::Due | Take::Common { .. } | Take::Rest => None,
    }
}

fn check_names(claimants: &[String], claims: &[Claim]) -> Result<()> {
    let mut seen = BTreeSet::new();
    if let Some(claimant) = claimants.iter().find(|name| !seen.insert(*name)) {
        return Err(TermsError::ClaimantTwice { claimant: claimant.clone() });
    }
    seen.clear();
    match claims.iter().find(|claim| !seen.insert(&claim.name)) {
        Some(claim) => Err(TermsError::ClaimTwice { claim: claim.name.clone() }),
        None => Ok(()),
    }
}

fn check_residual(claims: &[Claim]) -> Result<()> {
    let mut rests = claims.iter().enumerate().filter(|(_, claim)| claim.take == Take::Rest);
    let (index, rest) = rests.next().ok_or(TermsError::NoResidual)?;
    let claim = rest.name.clone();
    if let Some((_, second)) = rests.next() {
        return Err(TermsError::TwoResiduals { first: claim, second: second.name.clone() });
    }
    if let Some(after) = claims.get(index + 1) {
        return Err(TermsError::ResidualNotLast { claim, after: after.name.clone() });
    }
    let alone = index == 0 || claims[index - 1].rank != rest.rank;
    if !alone || !rest.caps.is_empty() || rest.ends.is_some() || rest.sources != Sources::ALL {
        return Err(TermsError::ResidualBound { claim });
    }
    Ok(())
}

fn check_claim(claim: &Claim, claimants: usize) -> Result<()> {
    let name = || claim.name.clone();
    if usize::from(claim.claimant.0) >= claimants {
        return Err(TermsError::UnknownClaimant { claim: name(), claimant: claim.claimant.0, claimants });
    }
    if claim.sources.is_empty() {
        return Err(TermsError::NoSources { claim: name() });
    }
    if share(&claim.take) == Some(0) || matches!(claim.take, Take::Common { shares: 0, .. }) {
        return Err(TermsError::ZeroShare { claim: name() });
    }
    if let Take::CatchUp { share, of_profit } = claim.take
        && share <= of_profit
    {
        let (share, of_profit) = (share.get(), of_profit.get());
        return Err(TermsError::CatchUpNever { claim: name(), share, of_profit });
    }
    if claim.take == Take::Due && claim.caps.is_empty() {
        return Err(TermsError::Uncapped { claim: name() });
    }
    if claim.in_kind.is_some_and(|price| price.units() == 0) {
        return Err(TermsError::ZeroPrice { claim: name() });
    }
    if claim.caps.iter().filter(|cap| matches!(cap, Cap::Irr(_))).count() > 1 {
        return Err(TermsError::TwoIrrCaps { claim: name() });
    }
    for cap in &claim.caps {
        match cap {
            Cap::Multiple(multiple) => {
                if multiple.steps.is_empty() {
                    return Err(TermsError::NoSteps { claim: name() });
                }
                if let Some(pair) = multiple.steps.windows(2).find(|pair| pair[1].0 <= pair[0].0) {
                    let (from, before) = (pair[1].0, pair[0].0);
                    return Err(TermsError::StepsOutOfOrder { claim: name(), from, before });
                }
                if multiple.steps.iter().any(|&(_, bps)| bps == 0) {
                    return Err(TermsError::ZeroCap { claim: name() });
                }
            }
            Cap::Amount(cash) if cash.units() == 0 => {
                return Err(TermsError::ZeroCap { claim: name() });
            }
            Cap::Amount(_) | Cap::Irr(_) => {}
        }
    }
    Ok(())
}

fn ranks(claims: &[Claim]) -> Result<Vec<Rank>> {
    if let Some(pair) = claims.windows(2).find(|pair| pair[1].rank < pair[0].rank) {
        let (claim, rank, before) = (pair[1].name.clone(), pair[1].rank, pair[0].rank);
        return Err(TermsError::RankOutOfOrder { claim, rank, before });
    }
    let mut from = 0;
    let rank = |claims: &[Claim]| {
        let rank = Rank { kind: kind(&claims[0].take), claims: from..from + claims.len() };
        from += claims.len();
        rank
    };
    Ok(claims.chunk_by(|one, next| one.rank == next.rank).map(rank).collect())
}

fn check_rank(claims: &[Claim], claimants: &[String]) -> Result<()> {
    let rank = claims[0].rank;
    if claims.len() > RANK_MAX {
        return Err(TermsError::TooManyClaims { rank, claims: claims.len() });
    }
    if let Some(claim) = claims.iter().find(|claim| kind(&claim.take) != kind(&claims[0].take)) {
        return Err(TermsError::MixedRank { claim: claim.name.clone(), rank });
    }
    let common = kind(&claims[0].take) == Kind::Common;
    for (index, claim) in claims.iter().enumerate() {
        // Two caps of one claimant are looked at before either is paid, and common shares count all of its payments.
        let twice = |other: &Claim| {
            other.claimant == claim.claimant && (common || other.sources.overlap(claim.sources))
        };
        if claims[..index].iter().any(twice) {
            let claimant = claimants[usize::from(claim.claimant.0)].clone();
            return Err(TermsError::TwiceInRank { claimant, rank });
        }
    }
    for source in Source::ALL {
        let taking = claims.iter().filter(|claim| claim.sources.has(source));
        let bps = taking.filter_map(|claim| share(&claim.take)).map(u32::from).sum();
        if bps > 10_000 {
            return Err(TermsError::SharesOver { rank, source_of_cash: source, bps });
        }
    }
    Ok(())
}

/// Conversion comes to the same as filling up to one level because no cash that it frees goes anywhere but to those
/// whose preferences are filled first: so nothing may take a share in between.
fn check_common(claims: &[Claim], ranks: &[Rank]) -> Result<()> {
    let mut common = ranks.iter().filter(|rank| rank.kind == Kind::Common);
    let Some(rank) = common.next() else { return Ok(()) };
    if let Some(second) = common.next() {
        let (claim, other) = (&claims[second.claims.start], claims[rank.claims.start].rank);
        return Err(TermsError::TwoCommonRanks { claim: claim.name.clone(), rank: claim.rank, other });
    }
    let mut all = 0u64;
    let mut senior = claims.len();
    for claim in &claims[rank.claims.clone()] {
        let Take::Common { shares, converting } = claim.take else { unreachable!("one kind a rank") };
        // One level over all distributions has a meaning only where all take part in the same.
        if claim.sources != claims[rank.claims.start].sources {
            return Err(TermsError::CommonSources { claim: claim.name.clone() });
        }
        all = all.checked_add(shares).ok_or(TermsError::CommonOverflow)?;
        let preference = |other: &Claim| other.claimant == claim.claimant && other.take == Take::Due;
        if converting && let Some(preference) = claims.iter().position(preference) {
            senior = senior.min(preference);
        }
    }
    let between = claims.get(senior..rank.claims.start).unwrap_or_default();
    match between.iter().find(|claim| kind(&claim.take) == Kind::Share) {
        Some(claim) => Err(TermsError::ShareBeforeCommon { claim: claim.name.clone() }),
        None => Ok(()),
    }
}

fn leads(claims: &[Claim], ranks: &[Rank]) -> Result<Vec<Option<usize>>> {
    let mut leads = vec![None; claims.len()];
    for rank in ranks {
        for index in rank.claims.clone() {
            let Take::Beside { lead, .. } = &claims[index].take else { continue };
            let is_lead = |&other: &usize| {
                claims[other].name == *lead && !matches!(claims[other].take, Take::Beside { .. })
            };
            let (claim, lead) = (claims[index].name.clone(), lead.clone());
            let found = rank.claims.clone().find(is_lead);
            leads[index] = Some(found.ok_or(TermsError::UnknownLead { claim, lead })?);
        }
    }
    Ok(leads)
}
