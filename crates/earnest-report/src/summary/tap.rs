//! The treasury in figures: the pots, what the tap has released, the ceilings and what they wait for.

use earnest_core::money::Cash;
use earnest_core::offering::{Attestation, LIVE, Offering};
use earnest_core::plan::{Plan, Time};
use earnest_core::raise::Raise;

use super::{Attested, NextCeiling, PotSummary, TreasurySummary};
use crate::figure::{plain, tenths};

/// Seconds in an average month of the Gregorian calendar.
const MONTH_SECS: u128 = 2_629_746;

pub(super) fn treasury(plan: &Plan, raise: &Raise, now: Time) -> TreasurySummary {
    let (treasury, offering) = (&raise.treasury, &raise.offering);
    let released = treasury.released(offering, now);
    let held = treasury.held();
    let is_over = treasury.refunding(offering, now) || offering.failed(now);
    let available = if is_over { 0 } else { released.saturating_sub(treasury.tap_paid).min(held) };
    let ceiling = ceiling(raise, now);
    let pots = plan.rounds.iter().zip(&treasury.pots).map(|(round, pot)| PotSummary {
        round: plain(&round.name),
        cash: Cash::from_units(pot.cash),
        refunded: Cash::from_units(pot.refunded),
    });
    let month = u128::from(treasury.setup.tap_per_sec) * MONTH_SECS;
    TreasurySummary {
        pots: pots.collect(),
        circulating: Cash::from_units(treasury.circulating),
        held: Cash::from_units(held),
        tap_paid: Cash::from_units(treasury.tap_paid),
        released: Cash::from_units(released),
        available: Cash::from_units(available),
        ceiling: Cash::from_units(ceiling),
        next_ceiling: next_ceiling(plan, raise, now, ceiling).filter(|_| !is_over),
        tap_per_sec: Cash::from_units(treasury.setup.tap_per_sec),
        pots_last_months: (u128::from(held) * 10).checked_div(month).map(tenths).filter(|_| !is_over),
    }
}

/// When the tap started counting, or will.
pub(crate) fn tap_start(raise: &Raise) -> Option<Time> {
    match (raise.treasury.setup.tap_start, raise.offering.attestation(LIVE).effective_at) {
        (0, 0) => None,
        (0, live) => Some(live),
        (start, _) => Some(start),
    }
}

/// Most that the tap may have released in all, as things are attested now.
fn ceiling(raise: &Raise, now: Time) -> u64 {
    if tap_start(raise).is_none_or(|start| now < start) {
        return 0;
    }
    let setup = &raise.treasury.setup;
    let counting = (0u8..).zip(&setup.ceilings).filter(|&(subject, _)| counts(raise, subject, now));
    counting.map(|(_, &(cash, _))| cash).max().unwrap_or(0).max(setup.ceiling_at_start)
}

/// Whether a subject's ceiling counts: attested, and live or allowed before.
fn counts(raise: &Raise, subject: u8, now: Time) -> bool {
    let before_live = raise.treasury.setup.ceilings[usize::from(subject)].1;
    raise.offering.is_effective(subject, now) && (before_live || raise.offering.is_effective(LIVE, now))
}

fn next_ceiling(plan: &Plan, raise: &Raise, now: Time, ceiling: u64) -> Option<NextCeiling> {
    let setup = &raise.treasury.setup;
    let starts_later = tap_start(raise).is_some_and(|start| now < start) && setup.tap_start != 0;
    let start = starts_later.then(|| ("start of the tap".to_owned(), setup.ceiling_at_start));
    let subjects = (0u8..).zip(&setup.ceilings).filter(|&(subject, _)| !counts(raise, subject, now));
    let waiting = subjects.map(|(subject, &(cash, _))| (subject_name(plan, subject), cash));
    start
        .into_iter()
        .chain(waiting)
        .filter(|&(_, cash)| cash > ceiling)
        .min_by_key(|&(_, cash)| cash)
        .map(|(after, cash)| NextCeiling { after, ceiling: Cash::from_units(cash) })
}

fn subject_name(plan: &Plan, subject: u8) -> String {
    match subject.checked_sub(1).and_then(|index| plan.treasury.milestones.get(usize::from(index))) {
        None => "service live".to_owned(),
        Some(milestone) => format!("milestone \"{}\"", plain(&milestone.name)),
    }
}

pub(super) fn attested(raise: &Raise, subject: u8, now: Time) -> Attested {
    let attestation = raise.offering.attestation(subject);
    match (attestation.effective_at, attestation.objections) {
        (0, objections) => Attested::NotYet { objections },
        (since, _) if now >= since => Attested::Effective { since },
        (effective_at, objections) => Attested::InNotice { effective_at, objections },
    }
}

/// The offering as the tap sees it, were these subjects to take effect at these times.
pub(crate) fn projected(raise: &Raise, attested: &[(u8, Time)]) -> Offering {
    let mut offering = Offering::new(raise.offering.setup.clone());
    for &(subject, effective_at) in attested {
        offering.attestations.insert(subject, Attestation { effective_at, objections: 0 });
    }
    offering
}
