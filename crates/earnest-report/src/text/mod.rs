//! A raise as lines of a terminal. Blocks and bars need Unicode and no colour: whatever a glyph says, words say
//! beside it.

mod chart;
mod position;

use earnest_core::money::{Cash, Credits, Price};
use earnest_core::plan::date::{duration, utc};
use earnest_core::plan::{Plan, Time};
use earnest_core::raise::Raise;

use crate::book::AuctionBook;
use crate::figure::{Coins, average, count, grouped, percent, plain, ratio, short_credits};
use crate::lines::{Column, Lines, cut, gauge};
use crate::summary::{Attested, RoundState, RoundSummary, Summary};
use crate::words::{outcomes_words, soft_cap_words, state_and_price, tap_speed};
use chart::{order_book, rising};

pub use position::position;

const DAY_SECS: u64 = 86_400;

/// How the raise stands, for a terminal of so many columns (from 60 on; 80 and more show every column).
pub fn status(summary: &Summary, plan: &Plan, raise: &Raise, now: Time, width: usize) -> String {
    let coins = Coins::of(plan);
    let mut lines = Lines::new(width);
    title(&mut lines, summary);
    headline(&mut lines, summary, &coins);
    rounds(&mut lines, summary, &coins);
    for (index, round) in (0u8..).zip(&summary.rounds) {
        if round.bids == 0 || summary.failed() {
            continue;
        }
        if let Some(book) = AuctionBook::of(&raise.offering, index) {
            order_book(&mut lines, round, &book, &coins);
        }
        if raise.offering.setup.rounds[usize::from(index)].is_rising() {
            rising(&mut lines, round, raise, index, &coins);
        }
    }
    treasury(&mut lines, summary, raise, &coins);
    service(&mut lines, summary, plan, now, &coins);
    lines.finish()
}

fn title(lines: &mut Lines, summary: &Summary) {
    lines.heading(&summary.offering);
    lines.paragraph(&format!("{}, as of {}", summary.issuer, utc(summary.as_of)));
    if let Some(note) = &summary.note {
        lines.paragraph(&format!("Note: {note}"));
    }
    lines.line("");
}

fn headline(lines: &mut Lines, summary: &Summary, coins: &Coins) {
    let totals = &summary.totals;
    let part = percent(totals.raised.units().into(), summary.hard_cap.units().into());
    lines.field(
        "Raised",
        &format!(
            "{} ({}), {part} of the hard cap of {}",
            coins.short_cash(totals.raised),
            coins.cash(totals.raised),
            coins.short_cash(summary.hard_cap)
        ),
    );
    lines.field(
        "Bid",
        &format!(
            "{} in {} of {}",
            coins.short_cash(totals.cash_bid),
            count(totals.bids, "bid"),
            count(totals.backers, "backer")
        ),
    );
    let average = Price::average(totals.raised, totals.sold);
    lines.field(
        "Sold",
        &match totals.sold {
            Credits::ZERO => format!("no {} yet", coins.credits(Credits::ZERO).trim_start_matches("0 ")),
            sold => format!("{}, {} on average", coins.short_credits(sold), coins.average(average)),
        },
    );
    lines.field("Soft cap", &soft_cap_words(summary, coins));
    let owed = match totals.refunds_owed {
        Cash::ZERO => "none owed".to_owned(),
        owed => format!("{} owed and not pulled", coins.cash(owed)),
    };
    lines.field("Refunds", &format!("{} paid, {owed}", coins.cash(totals.refunded)));
    lines.field("Escrow", &format!("{} with the rounds", coins.cash(totals.escrow)));
}

fn rounds(lines: &mut Lines, summary: &Summary, coins: &Coins) {
    lines.heading("Rounds");
    let columns = [
        Column::words("round", 0),
        Column::words("kind", 2),
        Column::words("state", 0),
        Column::figure("bids", 0),
        Column::figure("cash bid", 3),
        Column::figure("raised", 0),
        Column::figure("sold", 1),
        Column::figure("average price", 0),
    ];
    let mut rows: Vec<Vec<String>> = summary.rounds.iter().map(|round| round_row(round, coins)).collect();
    let totals = &summary.totals;
    if summary.rounds.len() > 1 {
        let average = Price::average(totals.raised, totals.sold);
        rows.push(vec![
            "all".to_owned(),
            String::new(),
            String::new(),
            grouped(&totals.bids.to_string()),
            coins.short_cash(totals.cash_bid),
            coins.short_cash(totals.raised),
            short_credits(totals.sold),
            if totals.sold == Credits::ZERO { "-".to_owned() } else { self::average(average) },
        ]);
    }
    lines.table(&columns, &rows);
    lines.line("");
    for round in &summary.rounds {
        lines.field(&round.name, &round_words(round, coins));
    }
}

fn round_row(round: &RoundSummary, coins: &Coins) -> Vec<String> {
    vec![
        cut(&round.name, 24),
        round.kind.to_owned(),
        round.state.word().to_owned(),
        grouped(&round.bids.to_string()),
        coins.short_cash(round.cash_bid),
        coins.short_cash(round.raised_cash),
        short_credits(round.credits_sold),
        round.average_price.map_or("-".to_owned(), average),
    ]
}

/// What a round has come to, in a few sentences.
fn round_words(round: &RoundSummary, coins: &Coins) -> String {
    let mut words = state_and_price(round, coins);
    if round.state == RoundState::Failed {
        return words;
    }
    if round.bids > 0 {
        words += &match round.oversubscription_percent {
            0 => " Bids come to less than a hundredth of what is for sale".to_owned(),
            percent => format!(" Bids come to {} times what is for sale", ratio(percent)),
        };
        words += match round.kind {
            "auction" => " at the floor price.",
            "rising" => " up to its cap.",
            _ => ".",
        };
    }
    if let Some(outcomes) = outcomes_words(&round.outcomes) {
        words += &format!(" Bids: {outcomes}.");
    }
    if round.refunds_owed > Cash::ZERO || round.refunds_pulled > Cash::ZERO {
        let (pulled, owed) = (coins.short_cash(round.refunds_pulled), coins.short_cash(round.refunds_owed));
        words += &format!(" Refunds: {pulled} pulled, {owed} owed.");
    }
    words
}

fn treasury(lines: &mut Lines, summary: &Summary, raise: &Raise, coins: &Coins) {
    let treasury = &summary.treasury;
    lines.heading("Treasury and tap");
    if summary.failed() {
        lines.paragraph("Nothing has come here and nothing will: the soft cap was missed.");
        return;
    }
    lines.field("Held", &format!("{} in all pots", coins.cash(treasury.held)));
    for pot in treasury.pots.iter().filter(|pot| pot.cash > Cash::ZERO || pot.refunded > Cash::ZERO) {
        let refunded = match pot.refunded {
            Cash::ZERO => String::new(),
            refunded => format!(", {} paid back", coins.cash(refunded)),
        };
        lines.field(&format!("  {}", pot.round), &format!("{}{refunded}", coins.cash(pot.cash)));
    }
    if treasury.circulating > Cash::ZERO {
        lines.field(
            "  circulating",
            &format!("{} behind delivered credits", coins.cash(treasury.circulating)),
        );
    }
    lines.field("Tap", &tap_speed(summary, raise, coins));
    let most = treasury.ceiling.units();
    if summary.refunding {
        lines.field(
            "",
            "shut: the deadline has passed without a live service, and positions take their cash back",
        );
    } else if most > 0 {
        let part = percent(treasury.released.units().into(), most.into());
        let gauge = gauge(treasury.released.units().into(), most.into(), 24);
        lines.field(
            "Released",
            &format!("{} {gauge} {part} of the ceiling", coins.short_cash(treasury.released)),
        );
    } else {
        lines.field("Released", "nothing yet");
    }
    lines.field(
        "Drawn",
        &format!("{}; can be drawn now: {}", coins.cash(treasury.tap_paid), coins.cash(treasury.available)),
    );
    let ceiling = match &treasury.next_ceiling {
        None if summary.refunding => coins.short_cash(treasury.ceiling),
        None => format!("{}, the highest", coins.short_cash(treasury.ceiling)),
        Some(next) => {
            format!(
                "{} now, {} after {}",
                coins.short_cash(treasury.ceiling),
                coins.short_cash(next.ceiling),
                next.after
            )
        }
    };
    lines.field("Ceiling", &ceiling);
    if let Some(months) = treasury.pots_last_months.as_ref().filter(|_| treasury.held > Cash::ZERO) {
        lines.field("Pots last", &format!("{months} months at the tap's full speed, ceilings aside"));
    }
}

fn service(lines: &mut Lines, summary: &Summary, plan: &Plan, now: Time, coins: &Coins) {
    lines.heading("Service");
    lines.field("Live", &summary.live.words());
    let deadline = summary.deadline;
    let left = match deadline.checked_sub(now) {
        _ if matches!(summary.live, Attested::Effective { .. }) => "kept".to_owned(),
        Some(secs) if secs > 0 => format!("{} left", duration(secs / DAY_SECS * DAY_SECS)),
        _ => "passed without a live service".to_owned(),
    };
    lines.field("Deadline", &format!("{}: {left}", utc(deadline)));
    for (milestone, written) in summary.milestones.iter().zip(&plan.treasury.milestones) {
        let live = matches!(summary.live, Attested::Effective { .. });
        let waits =
            milestone.counts_only_once_live && !live && !matches!(milestone.state, Attested::NotYet { .. });
        let waits = if waits { ", counts once the service is live" } else { "" };
        let words = milestone.state.words();
        lines.field(
            &plain(&written.name),
            &format!("milestone, ceiling {}: {words}{waits}", coins.short_cash(milestone.ceiling)),
        );
    }
    if summary.totals.sold > Credits::ZERO {
        coverage(lines, summary, coins);
    }
}

fn coverage(lines: &mut Lines, summary: &Summary, coins: &Coins) {
    let coverage = &summary.coverage;
    lines.field("Owed", &format!("{} sold and not delivered", coins.whole_credits(coverage.undelivered)));
    if coverage.vested_undelivered > Credits::ZERO {
        lines.field("", &format!("{} of it vested", coins.whole_credits(coverage.vested_undelivered)));
    }
    let totals = &summary.totals;
    if totals.delivered > Credits::ZERO {
        lines.field(
            "Delivered",
            &format!(
                "{}, of which {} in locked vaults",
                coins.whole_credits(totals.delivered),
                coins.whole_credits(totals.locked_in_vaults)
            ),
        );
    }
    if let (Some(capacity), Some(days), Some(all)) =
        (coverage.capacity_per_day, &coverage.days_for_undelivered, &coverage.days_for_sold)
    {
        lines.field(
            "Capacity",
            &format!(
                "{} a day by the issuer's word: {days} days to serve what is owed, {all} days for all that was sold",
                coins.short_credits(capacity)
            ),
        );
    }
}
