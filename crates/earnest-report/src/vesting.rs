//! When credits vest: a calendar over all positions, by round, from the day the service is live, or as if that were
//! today.

use std::collections::BTreeMap;

use earnest_core::money::Credits;
use earnest_core::offering::LIVE;
use earnest_core::plan::Time;
use earnest_core::raise::Raise;

use crate::figure::day;
use crate::position::{bids, position};

const DAY_SECS: u64 = 86_400;

/// Credits that vest in each stretch of calendar months.
pub(crate) struct Calendar {
    /// Vesting counts from here.
    pub(crate) from: Time,
    /// The service is not live and nothing is attested: `from` is the time of the report.
    pub(crate) is_assumed: bool,
    /// Months in a stretch.
    pub(crate) months: u64,
    /// In order; the first begins with the month of `from`.
    pub(crate) stretches: Vec<Stretch>,
}

/// One bar of the calendar.
pub(crate) struct Stretch {
    /// First second.
    pub(crate) from: Time,
    /// Vesting in it, by round.
    pub(crate) by_round: Vec<Credits>,
}

impl Stretch {
    pub(crate) fn total(&self) -> Credits {
        Credits::from_units(self.by_round.iter().map(|credits| credits.units()).sum())
    }
}

/// When vesting counts from, and whether that is only assumed.
pub(crate) fn live_from(raise: &Raise, now: Time) -> (Time, bool) {
    match raise.offering.attestation(LIVE).effective_at {
        0 => (now, true),
        at => (at, false),
    }
}

/// The calendar, in at most `bars` stretches; `None` while nothing was sold.
pub(crate) fn calendar(raise: &Raise, now: Time, bars: u64) -> Option<Calendar> {
    let holdings = holdings(raise, now);
    if holdings.is_empty() || raise.treasury.refunding(&raise.offering, now) {
        return None;
    }
    let schedules = &raise.offering.setup.schedules;
    let (from, is_assumed) = live_from(raise, now);
    let length = holdings
        .keys()
        .map(|&(_, schedule)| schedules[usize::from(schedule)].length_secs())
        .max()
        .unwrap_or(0);
    let end = from + u64::from(length);
    let starts = months(from, end);
    let months_each =
        [1, 3, 6, 12, 24, 60].into_iter().find(|each| starts.len() as u64 <= each * bars).unwrap_or(120);
    let starts: Vec<Time> = starts.into_iter().step_by(usize::try_from(months_each).unwrap_or(120)).collect();

    let vested_by = |round: u8, time: Time| -> u128 {
        let elapsed = time.saturating_sub(from);
        let of_round = holdings.range((round, 0)..=(round, u8::MAX));
        of_round
            .map(|(&(_, schedule), &credits)| schedules[usize::from(schedule)].vested(credits, elapsed))
            .sum()
    };
    let rounds = u8::try_from(raise.offering.rounds.len()).unwrap_or(u8::MAX);
    let mut before: Vec<u128> = vec![0; usize::from(rounds)];
    let stretches = (0..starts.len()).map(|i| {
        // The end of a stretch belongs to it: what vests in its last second is not the next month's.
        let last = starts.get(i + 1).map_or(end, |next| next - 1);
        let by_round = (0..rounds).zip(&mut before).map(|(round, before)| {
            let vested = vested_by(round, last);
            Credits::from_units(vested - std::mem::replace(before, vested))
        });
        Stretch { from: starts[i], by_round: by_round.collect() }
    });
    Some(Calendar { from, is_assumed, months: months_each, stretches: stretches.collect() })
}

/// Credits of positions by round and schedule. Sums are vested as one, which differs from vesting each position by
/// less than a base unit each.
fn holdings(raise: &Raise, now: Time) -> BTreeMap<(u8, u8), u128> {
    let offering = &raise.offering;
    let mut holdings = BTreeMap::new();
    for (id, bid) in bids(offering) {
        if let Some(position) = position(offering, id, bid, now).filter(|position| position.credits > 0) {
            *holdings.entry((id.round, bid.schedule)).or_default() += position.credits;
        }
    }
    holdings
}

/// The first seconds of the calendar months from that of `from` to that of `to`.
fn months(from: Time, to: Time) -> Vec<Time> {
    let mut starts = vec![month_start(from)];
    loop {
        let next = next_month(starts[starts.len() - 1]);
        if next > to {
            return starts;
        }
        starts.push(next);
    }
}

fn month_start(time: Time) -> Time {
    let days: u64 = day(time)[8..].parse().expect("a day of the month");
    time / DAY_SECS * DAY_SECS - (days - 1) * DAY_SECS
}

/// From the first of a month to the first of the next: 31 days on lies in it, whatever the month.
fn next_month(first: Time) -> Time {
    month_start(first + 31 * DAY_SECS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_follow_the_calendar() {
        // 2020-01-31 to 2020-04-01
        let starts: Vec<String> = months(1_580_428_800, 1_585_699_200).into_iter().map(day).collect();
        assert_eq!(starts, ["2020-01-01", "2020-02-01", "2020-03-01", "2020-04-01"]);
    }
}
