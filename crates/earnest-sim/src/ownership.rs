//! Who owns what the lab is worth at the end: notes, capped returns, preferences, shares, and the nonprofit last, as a
//! waterfall of `earnest-core`.

use earnest_core::money::Cash;
use earnest_core::waterfall::{Cap, Claim, Claimant, Source, Sources, State, Take, Terms, Waterfall};

use crate::study::{Design, Kind};

/// What came of an instrument until the end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Holding {
    /// Put in.
    pub paid: u64,
    /// Paid back out of revenue.
    pub recouped: u64,
    /// Shares.
    pub shares: u64,
    /// On a note that never converted.
    pub owed: u64,
}

/// What each gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// By instrument.
    pub instruments: Vec<u64>,
    /// For those who held shares at the start, the nonprofit among them.
    pub common: u64,
}

/// Shares out a value among a design's instruments and the `common` shares of the start, exact to the unit.
pub fn share_out(design: &Design, holdings: &[Holding], common: u64, value: u64) -> Shared {
    let mut instruments = vec![0; holdings.len()];
    let mut claims: Vec<Claim> = Vec::new();
    let claim = |index: usize, rank: u16, take: Take, cap: Option<u64>| Claim {
        name: format!("{index}.{rank}"),
        claimant: Claimant(u16::try_from(index).expect("a study has at most 16 instruments")),
        rank,
        sources: Sources::ALL,
        take,
        caps: cap.map(|cap| Cap::Amount(Cash::from_units(cap))).into_iter().collect(),
        ends: None,
        in_kind: None,
    };
    let each = || holdings.iter().zip(&design.instruments).enumerate();
    claims.extend(
        each()
            .filter(|(_, (holding, _))| holding.owed > 0)
            .map(|(index, (holding, _))| claim(index, 0, Take::Due, Some(holding.owed))),
    );
    for (index, (holding, instrument)) in each() {
        if let Kind::Capped(capped) | Kind::Strategic(crate::study::Strategic { capped, .. }) =
            &instrument.kind
            && holding.paid > 0
            && capped.share.get() > 0
        {
            let most = u128::from(holding.paid) * u128::from(capped.multiple_bps) / 10_000;
            let most = u64::try_from(most).unwrap_or(u64::MAX).saturating_sub(holding.recouped);
            // One rank each, in the order of the study: the later take their part of what the earlier leave.
            let rank = 1 + u16::try_from(index).expect("few");
            if most > 0 {
                claims.push(claim(index, rank, Take::Share(capped.share), Some(most)));
            }
        }
    }
    for (index, (holding, instrument)) in each() {
        if let Kind::Equity(equity) = &instrument.kind
            && holding.shares > 0
            && equity.preference_bps > 0
        {
            let preference = u128::from(holding.paid) * u128::from(equity.preference_bps) / 10_000;
            claims.push(claim(index, 50, Take::Due, Some(u64::try_from(preference).unwrap_or(u64::MAX))));
        }
    }
    let last = 100;
    for (index, (holding, instrument)) in each() {
        if holding.shares > 0 {
            let converting = matches!(&instrument.kind, Kind::Equity(equity) if !equity.participating && equity.preference_bps > 0);
            claims.push(claim(index, last, Take::Common { shares: holding.shares, converting }, None));
        }
    }
    if claims.is_empty() {
        return Shared { instruments, common: value };
    }
    let owners = holdings.len();
    claims.push(claim(owners, last, Take::Common { shares: common, converting: false }, None));
    claims.push(claim(owners, last + 1, Take::Rest, None));
    let claimants = (0..=owners).map(|index| index.to_string()).collect();
    let terms = Terms::new(1, 0, claimants, claims).expect("made of a checked study");
    let waterfall = Waterfall::new(terms);
    let mut state = State::new(&waterfall);
    let mut paid = vec![0; waterfall.versions()[0].claims().len()];
    waterfall
        .distribute_into(&mut state, 0, Source::Liquidation, value, &mut paid)
        .expect("a value of 60 bits");
    for (index, paid) in instruments.iter_mut().enumerate() {
        *paid = state.paid(Claimant(u16::try_from(index).expect("few")));
    }
    let common = state.paid(Claimant(u16::try_from(owners).expect("few")));
    Shared { instruments, common }
}
