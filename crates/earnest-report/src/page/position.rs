//! How one position vests.

use earnest_core::bid::BidId;
use earnest_core::money::Credits;
use earnest_core::offering::LIVE;
use earnest_core::plan::date::utc;
use earnest_core::plan::{Plan, Time};
use earnest_core::raise::Raise;
use earnest_core::schedule::Schedule;

use super::markup::{Cell, details, paragraph, table};
use super::plot::{Anchor, Plot, Point, Scale, roomier_side};
use super::rounds::chart;
use crate::figure::{Coins, day, percent, plain, short_credits, whole_credits};
use crate::vesting::live_from;

const DAY_SECS: u64 = 86_400;
/// Points of a curve of straight lines between those of the schedule.
const SAMPLES: u64 = 24;
/// Most rows of the table besides the schedule's own points.
const ROWS: u64 = 12;

pub(super) fn vesting(
    plan: &Plan,
    raise: &Raise,
    id: BidId,
    credits: u128,
    now: Time,
    coins: &Coins,
) -> String {
    let index = usize::from(raise.offering.bid(id).schedule);
    let schedule = &raise.offering.setup.schedules[index];
    let name = plan.schedules.get(index).map_or_else(String::new, |schedule| plain(&schedule.name));
    let is_live = raise.offering.is_effective(LIVE, now);
    let (from, is_assumed) = live_from(raise, now);
    let shape = if schedule.linear { "in straight lines" } else { "in steps" };
    let words = match (is_live, is_assumed) {
        (true, _) => {
            format!("Schedule {name}: vests {shape} from {}, when the service went live.", utc(from))
        }
        (false, false) => format!(
            "Schedule {name}: vests {shape} from {}, when the service counts as live unless objected to.",
            utc(from)
        ),
        (false, true) => format!(
            "Schedule {name}: vests {shape} once the service is live. It is not: the dates below are as if it went live \
             now, {}.",
            utc(now)
        ),
    };
    paragraph(&words)
        + &curve(id, schedule, credits, from, is_live.then_some(now), coins)
        + &dates(id, schedule, credits, from, coins)
}

fn curve(
    id: BidId,
    schedule: &Schedule,
    credits: u128,
    from: Time,
    live_now: Option<Time>,
    coins: &Coins,
) -> String {
    let length = u64::from(schedule.length_secs()).max(1);
    let end = length + length / 20 + 1;
    let y = Scale::up_to(credits);
    let at = |secs: u64| (secs as f64 / end as f64, y.part(schedule.vested(credits, secs)));
    let mut points: Vec<Point> = vec![(0.0, 0.0)];
    for secs in moments(schedule, SAMPLES) {
        if !schedule.linear {
            points.push((secs as f64 / end as f64, y.part(schedule.vested(credits, secs.saturating_sub(1)))));
        }
        points.push(at(secs));
    }
    points.push((1.0, y.part(credits)));
    let description = format!(
        "From nothing on {} to {} on {}.",
        day(from),
        coins.whole_credits(Credits::from_units(credits)),
        day(from + length)
    );
    let key = format!("vests-{}-{}-{}", id.round, id.window, id.entity);
    let mut plot = Plot::new(&key, "Credits vested over time", &description, 150.0);
    plot.scale_y(&y, |units| short_credits(Credits::from_units(units)));
    plot.path(&points, "curve", false);
    if let Some(elapsed) = live_now.map(|now| now - from).filter(|&elapsed| elapsed <= end) {
        let dot = at(elapsed);
        plot.dot(dot);
        let (anchor, aside) = roomier_side(dot.0);
        let words = format!("now: {}", short_credits(Credits::from_units(schedule.vested(credits, elapsed))));
        plot.words((dot.0 + aside, dot.1), 16.0, anchor, "strong", &words);
    }
    plot.label_x(0.0, Anchor::Start, false, &day(from));
    plot.label_x(1.0, Anchor::End, false, &day(from + end));
    chart("Credits vested in all", plot)
}

fn dates(id: BidId, schedule: &Schedule, credits: u128, from: Time, coins: &Coins) -> String {
    let row = |secs: u64| {
        let vested = Credits::from_units(schedule.vested(credits, secs));
        vec![
            Cell::words(day(from + secs)),
            Cell::Figure(whole_credits(vested), coins.credits(vested)),
            // Of the schedule itself: amounts are rounded down and would show 24.9% for a quarter.
            Cell::figure(percent(schedule.vested(1_000, secs), 1_000)),
        ]
    };
    let rows: Vec<Vec<Cell>> = moments(schedule, ROWS).into_iter().map(row).collect();
    let caption = format!("Dates on which credits of bid {}/{} vest", id.round, id.entity);
    details("The same as a table", &table(&caption, &["Date", "Vested in all#", "Part#"], &rows, false))
}

/// Seconds after live: the points of a schedule; of straight lines also times evenly between.
fn moments(schedule: &Schedule, most: u64) -> Vec<u64> {
    let mut secs: Vec<u64> = schedule.points.iter().map(|&(secs, _)| secs.into()).collect();
    let length = u64::from(schedule.length_secs());
    if schedule.linear && length > 0 {
        let steps = length.div_ceil(DAY_SECS).min(most);
        secs.extend((1..steps).map(|i| length * i / steps));
        secs.sort_unstable();
        secs.dedup();
    }
    secs
}
