//! One position as lines of a terminal.

use earnest_core::bid::{Bid, BidId, Position};
use earnest_core::money::{Cash, Credits, Price};
use earnest_core::offering::{LIVE, Sale};
use earnest_core::plan::date::utc;
use earnest_core::plan::{Plan, Time};
use earnest_core::raise::Raise;
use earnest_core::schedule::Schedule;

use crate::figure::{Coins, day, percent, plain, whole_credits};
use crate::lines::{Column, Lines, gauge};
use crate::position::{Fate, fate, position as position_of};
use crate::vesting::live_from;

const DAY_SECS: u64 = 86_400;
/// Most rows of a calendar of straight lines, besides the schedule's own points.
const CALENDAR_ROWS: u64 = 12;
/// Width of a position's text.
const WIDTH: usize = 80;

/// One bid and the position it became: what was paid, what comes back, when credits vest. The raise must be one of
/// this plan; of a bid that was never made it says so.
pub fn position(plan: &Plan, raise: &Raise, id: BidId, now: Time) -> String {
    let coins = Coins::of(plan);
    let offering = &raise.offering;
    let mut lines = Lines::new(WIDTH);
    let bid = offering.bid(id);
    let Some(round) = plan.rounds.get(usize::from(id.round)) else {
        lines.line(&format!("The plan has no round {}.", id.round));
        return lines.finish();
    };
    lines.heading(&format!("Entity {} in {}", id.entity, plain(&round.name)));
    if bid.is_empty() || id.window == BidId::TOTAL {
        lines.line("There is no such bid.");
        return lines.finish();
    }
    bid_made(&mut lines, plan, raise, id, &bid, &coins);
    outcome(&mut lines, raise, id, &bid, now, &coins);
    let Some(position) = position_of(offering, id, &bid, now).filter(|position| position.credits > 0) else {
        return lines.finish();
    };
    if raise.treasury.refunding(offering, now) {
        past_deadline(&mut lines, raise, id, &bid, &coins);
        return lines.finish();
    }
    lock(&mut lines, plan, raise, id, &bid, now);
    vesting(&mut lines, plan, raise, &bid, &position, now, &coins);
    lines.finish()
}

fn bid_made(lines: &mut Lines, plan: &Plan, raise: &Raise, id: BidId, bid: &Bid, coins: &Coins) {
    let mut words = match bid.refunded {
        true => format!("{} stands after the refund", coins.cash(Cash::from_units(bid.cash))),
        false => coins.cash(Cash::from_units(bid.cash)),
    };
    match &raise.offering.setup.rounds[usize::from(id.round)].sale {
        Sale::Auction { prices, .. } => {
            words += &format!(", limit {}", coins.price(Price::from_units(prices.at(bid.tick))));
        }
        Sale::Rising { window_secs, .. } => {
            let opens =
                raise.offering.rounds[usize::from(id.round)].open + u64::from(id.window) * window_secs;
            words += &format!(", in window {} from {}", id.window, utc(opens));
        }
        Sale::Fixed { price, .. } => words += &format!(", at {}", coins.price(Price::from_units(*price))),
    }
    lines.field("Bid", &words);
    lines.field("Wallet", &bid.wallet.to_string());
    if let Some(regime) = plan.regimes.get(usize::from(bid.lock_class)) {
        let affiliate = if bid.affiliate { ", affiliate of the issuer" } else { "" };
        lines.field("Regime", &format!("{}{affiliate}", plain(&regime.name)));
    }
}

fn outcome(lines: &mut Lines, raise: &Raise, id: BidId, bid: &Bid, now: Time, coins: &Coins) {
    let offering = &raise.offering;
    let fate = fate(offering, id, bid);
    if offering.failed(now) && fate != Some(Fate::Withdrawn) {
        let state = if bid.cash == 0 { "and was pulled" } else { "and is there to be pulled" };
        lines.field("Outcome", &format!("the soft cap was missed: the whole bid goes back {state}"));
        return;
    }
    let words = match fate {
        None => "open: the round is not cleared",
        Some(Fate::Withdrawn) => "withdrawn in cooling-off, cash returned",
        Some(Fate::Whole) => "filled whole",
        Some(Fate::ProRata) => "cut pro rata",
        Some(Fate::Lost) => "lost: all its cash goes back",
    };
    lines.field("Outcome", words);
    let Some(position) = position_of(offering, id, bid, now) else { return };
    if matches!(fate, Some(Fate::ProRata | Fate::Lost)) {
        let back = match bid.refunded {
            true => "pulled".to_owned(),
            false => format!("{} to be pulled", coins.cash(Cash::from_units(offering.outcome(id).0.back))),
        };
        lines.field("Refund", &back);
    }
    if position.credits > 0 {
        let (paid, credits) = (Cash::from_units(position.paid), Credits::from_units(position.credits));
        let average = coins.average(Price::average(paid, credits));
        lines.field("Position", &format!("{} for {}, {average}", coins.credits(credits), coins.cash(paid)));
        if !bid.settled {
            lines.field("", "not settled yet: anyone may settle it");
        }
    }
}

fn past_deadline(lines: &mut Lines, raise: &Raise, id: BidId, bid: &Bid, coins: &Coins) {
    let left = match raise.treasury.refund_of(&raise.offering, id) {
        _ if !bid.settled => "to be known once the bid is settled".to_owned(),
        Ok(cash) => format!("{} to be taken", coins.cash(Cash::from_units(cash))),
        Err(error) => error.to_string(),
    };
    let taken = Cash::from_units(raise.treasury.refunded.get(&id).copied().unwrap_or(0));
    lines.field("Treasury", "the deadline has passed without a live service: no credits, cash goes back");
    lines.field("", &format!("{left}, {} taken", coins.cash(taken)));
}

fn lock(lines: &mut Lines, plan: &Plan, raise: &Raise, id: BidId, bid: &Bid, now: Time) {
    let until = raise.offering.unlock_at(id);
    let days = plan.regimes.get(usize::from(bid.lock_class)).map_or(0, |regime| regime.lock_days);
    let words = match days {
        0 => "none: delivered credits are free".to_owned(),
        _ if now >= until => format!("over since {}", utc(until)),
        _ => format!(
            "until {}: credits delivered before lie in a vault, to be spent on service only",
            utc(until)
        ),
    };
    lines.field("Lock", &words);
}

fn vesting(
    lines: &mut Lines,
    plan: &Plan,
    raise: &Raise,
    bid: &Bid,
    position: &Position,
    now: Time,
    coins: &Coins,
) {
    let index = usize::from(bid.schedule);
    let schedule = &raise.offering.setup.schedules[index];
    let is_live = raise.offering.is_effective(LIVE, now);
    let (from, is_assumed) = live_from(raise, now);
    let name = plan.schedules.get(index).map_or_else(String::new, |schedule| plain(&schedule.name));
    let shape = if schedule.linear { "in straight lines" } else { "in steps" };
    lines.heading(&format!("Vesting: {name}"));
    lines.paragraph(&match (is_live, is_assumed) {
        (true, _) => format!("Vests {shape} from {}, when the service went live.", utc(from)),
        (false, false) => format!("Vests {shape} from {}, when the service counts as live unless objected to.", utc(from)),
        (false, true) => format!(
            "Vests {shape} once the service is live. It is not: the dates below are as if it went live now, {}.",
            utc(now)
        ),
    });
    lines.line("");
    let elapsed = if is_live { now - from } else { 0 };
    let vested = if is_live { schedule.vested(position.credits, elapsed) } else { 0 };
    let part = if is_live { part_of(schedule, elapsed) } else { "0%".to_owned() };
    lines.field("Vested", &format!("{} {part}", gauge(vested, position.credits, 40)));
    lines.field("", &coins.credits(Credits::from_units(vested)));
    lines.field("Delivered", &coins.credits(Credits::from_units(position.delivered)));
    lines.field("Deliverable", &coins.credits(Credits::from_units(vested - position.delivered)));
    lines.line("");
    calendar(lines, schedule, position, from, is_live.then_some(now));
}

fn calendar(lines: &mut Lines, schedule: &Schedule, position: &Position, from: Time, live_now: Option<Time>) {
    let columns = [
        Column::words("date", 0),
        Column::figure("vests", 0),
        Column::figure("in all", 0),
        Column::figure("part", 0),
        Column::words("", 0),
    ];
    let dates: Vec<Time> = calendar_secs(schedule).into_iter().map(|secs| from + secs).collect();
    let next = dates.iter().copied().find(|&date| live_now.is_none_or(|now| date > now));
    let mut before = 0;
    let row = |&date: &Time| {
        let vested = schedule.vested(position.credits, date - from);
        let new = vested - std::mem::replace(&mut before, vested);
        let mark = match next {
            Some(next) if date == next => "◀ next",
            Some(next) if date > next => "",
            _ => "vested",
        };
        vec![
            day(date),
            whole_credits(Credits::from_units(new)),
            whole_credits(Credits::from_units(vested)),
            part_of(schedule, date - from),
            mark.to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = dates.iter().map(row).collect();
    lines.table(&columns, &rows);
}

/// The part vested by then, of the schedule itself: amounts are rounded down and would show 24.9% for a quarter.
fn part_of(schedule: &Schedule, elapsed: u64) -> String {
    percent(schedule.vested(1_000, elapsed), 1_000)
}

/// Seconds after live at which a calendar has its rows: the points of a schedule; of straight lines also times evenly
/// between.
fn calendar_secs(schedule: &Schedule) -> Vec<u64> {
    let mut secs: Vec<u64> = schedule.points.iter().map(|&(secs, _)| secs.into()).collect();
    let length = u64::from(schedule.length_secs());
    if schedule.linear && length > 0 {
        let rows = length.div_ceil(DAY_SECS).min(CALENDAR_ROWS);
        secs.extend((1..rows).map(|i| length * i / rows));
        secs.sort_unstable();
        secs.dedup();
    }
    secs
}
