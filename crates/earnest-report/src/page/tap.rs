//! The treasury and its tap: what is in the pots, what may leave them and when.

use earnest_core::money::Cash;
use earnest_core::offering::LIVE;
use earnest_core::plan::date::utc;
use earnest_core::plan::{Plan, Time};
use earnest_core::raise::Raise;

use super::markup::{Cell, escape, facts, figure, heading, paragraph, table};
use super::plot::{Anchor, Plot, Point, Scale, roomier_side};
use super::rounds::chart;
use crate::Summary;
use crate::figure::{Coins, day};
use crate::summary::{Attested, projected, tap_start};
use crate::words::tap_speed;

/// Points of a curve over time.
const SAMPLES: u64 = 160;
const DAY_SECS: u64 = 86_400;
/// No chart looks further ahead.
const LONGEST_SECS: u64 = 20 * 365 * DAY_SECS;

pub(super) fn section(summary: &Summary, plan: &Plan, raise: &Raise, now: Time, coins: &Coins) -> String {
    let mut text = heading(2, "treasury", "Treasury and tap");
    if summary.failed() {
        return text + &paragraph("Nothing has come here and nothing will: the soft cap was missed.");
    }
    text += &paragraph(&speed(summary, raise, coins));
    text += &treasury_facts(summary, coins);
    text += &tap_chart(summary, raise, now, coins);
    text += &pots(summary, coins);
    text + &ceilings(summary, plan, coins)
}

fn speed(summary: &Summary, raise: &Raise, coins: &Coins) -> String {
    if summary.refunding {
        return "The tap is shut: the deadline has passed without a live service. Positions take back what the pots hold."
            .to_owned();
    }
    format!(
        "The tap passes {}, up to the highest ceiling in effect. An attestation raises the ceiling and pays nothing \
         by itself.",
        tap_speed(summary, raise, coins)
    )
}

fn treasury_facts(summary: &Summary, coins: &Coins) -> String {
    let treasury = &summary.treasury;
    let cash = |cash: Cash| figure(&coins.short_cash(cash), &coins.cash(cash));
    let mut rows = vec![
        ("In all pots", cash(treasury.held)),
        ("Released so far", cash(treasury.released)),
        ("Drawn", cash(treasury.tap_paid)),
        ("Can be drawn now", cash(treasury.available)),
        ("Ceiling now", cash(treasury.ceiling)),
    ];
    if let Some(next) = &treasury.next_ceiling {
        let words = format!("{} after {}", coins.short_cash(next.ceiling), next.after);
        rows.push(("Next ceiling", figure(&words, &coins.cash(next.ceiling))));
    }
    if let Some(months) = treasury.pots_last_months.as_ref().filter(|_| treasury.held > Cash::ZERO) {
        rows.push(("Pots last, at full speed", escape(&format!("{months} months"))));
    }
    facts(&rows)
}

/// What may have left in all by each day: as things are attested, and at most.
fn tap_chart(summary: &Summary, raise: &Raise, now: Time, coins: &Coins) -> String {
    let setup = &raise.treasury.setup;
    let highest = setup.ceilings.iter().map(|&(cash, _)| cash).max().unwrap_or(0).max(setup.ceiling_at_start);
    if summary.refunding || setup.tap_per_sec == 0 || highest == 0 {
        return String::new();
    }
    let (start, is_assumed) = tap_start(raise).map_or((now, true), |start| (start, false));
    let full = start.saturating_add(highest / setup.tap_per_sec).min(start + LONGEST_SECS);
    let from = start.min(now);
    let to = full.max(now).max(summary.deadline.min(start + LONGEST_SECS));
    let to = to + (to - from) / 24 + 1;
    let x = |time: Time| (time.saturating_sub(from)) as f64 / (to - from) as f64;
    let y = Scale::up_to(highest.into());

    let live = match raise.offering.attestation(LIVE).effective_at {
        0 => now.max(start),
        at => at,
    };
    let in_effect =
        (0u8..).zip(&setup.ceilings).map(|(subject, _)| (subject, raise.offering.attestation(subject)));
    let mut attested: Vec<(u8, Time)> =
        in_effect.map(|(subject, attestation)| (subject, attestation.effective_at)).collect();
    // A tap that may run before live is drawn as things are, one that waits for live as if that were now.
    if is_assumed {
        attested[usize::from(LIVE)].1 = live;
    }
    let at_most: Vec<(u8, Time)> =
        attested.iter().map(|&(subject, at)| (subject, if at == 0 { live } else { at })).collect();
    let curve = |attested: &[(u8, Time)]| -> Vec<Point> {
        let offering = projected(raise, attested);
        let at = |i| from + (to - from) * i / SAMPLES;
        let released = |time| raise.treasury.released(&offering, time);
        (0..=SAMPLES).map(at).map(|time| (x(time), y.part(released(time).into()))).collect()
    };

    let description = format!(
        "{}The tap needs until {} to reach its highest ceiling, {}. Drawn by now: {}. Deadline for the service: {}.",
        if is_assumed { "As if the service went live now. " } else { "" },
        day(full),
        coins.cash(Cash::from_units(highest)),
        coins.cash(summary.treasury.tap_paid),
        utc(summary.deadline)
    );
    let mut plot = Plot::new("tap", "What the tap may have paid in all, over time", &description, 280.0);
    plot.line((0.0, 0.0), (1.0, 0.0), "axis");
    ceiling_lines(&mut plot, summary, raise, &y, coins);
    plot.path(&curve(&at_most), "possible", false);
    plot.path(&curve(&attested), "curve", false);
    let deadline = x(summary.deadline);
    if deadline <= 1.0 && summary.deadline >= from {
        plot.line((deadline, 0.0), (deadline, 1.0), "dash");
        let (anchor, aside) = roomier_side(deadline);
        plot.words(
            (deadline + aside, 0.0),
            -8.0,
            anchor,
            "",
            &format!("deadline for live {}", day(summary.deadline)),
        );
    }
    if summary.treasury.tap_paid > Cash::ZERO {
        let drawn = (x(now), y.part(summary.treasury.tap_paid.units().into()));
        plot.dot(drawn);
        let (anchor, aside) = roomier_side(drawn.0);
        let words = format!("drawn by now: {}", coins.short_cash(summary.treasury.tap_paid));
        // Below the dot: the curve is never under what was drawn.
        plot.words((drawn.0 + aside, drawn.1), 16.0, anchor, "strong", &words);
    }
    plot.label_x(0.0, Anchor::Start, false, &day(from));
    plot.label_x(0.5, Anchor::Middle, true, &day(from.midpoint(to)));
    plot.label_x(1.0, Anchor::End, false, &day(to));
    let caption = format!(
        "Most that may have been paid in all: as attested (line), were all milestones in effect (dotted){}",
        if is_assumed { "; if the service went live today" } else { "" }
    );
    chart(&caption, plot)
}

fn ceiling_lines(plot: &mut Plot, summary: &Summary, raise: &Raise, y: &Scale, coins: &Coins) {
    let setup = &raise.treasury.setup;
    let mut ceilings = vec![("from the start".to_owned(), setup.ceiling_at_start)];
    ceilings.push((format!("live, {}", word(&summary.live)), setup.ceilings[usize::from(LIVE)].0));
    ceilings.extend(
        summary.milestones.iter().map(|m| (format!("{}, {}", m.name, word(&m.state)), m.ceiling.units())),
    );
    for (name, cash) in ceilings.into_iter().filter(|&(_, cash)| cash > 0) {
        let at = y.part(cash.into());
        plot.line((0.0, at), (1.0, at), "grid");
        let words = format!("{}: {name}", coins.short_cash(Cash::from_units(cash)));
        plot.words((0.0, at), -5.0, Anchor::Start, "tick", &words);
    }
}

fn word(state: &Attested) -> &'static str {
    match state {
        Attested::NotYet { .. } => "not attested",
        Attested::InNotice { .. } => "in notice",
        Attested::Effective { .. } => "in effect",
    }
}

fn pots(summary: &Summary, coins: &Coins) -> String {
    let treasury = &summary.treasury;
    let cash = |cash: Cash| Cell::Figure(coins.short_cash(cash), coins.cash(cash));
    let mut rows: Vec<Vec<Cell>> = treasury
        .pots
        .iter()
        .map(|pot| vec![Cell::words(&pot.round), cash(pot.cash), cash(pot.refunded)])
        .collect();
    rows.push(vec![
        Cell::words("Circulating: behind delivered credits"),
        cash(treasury.circulating),
        Cell::figure(""),
    ]);
    let refunded = Cash::from_units(treasury.pots.iter().map(|pot| pot.refunded.units()).sum());
    rows.push(vec![Cell::words("All"), cash(treasury.held), cash(refunded)]);
    table("Pots of the treasury", &["Pot", "Holds#", "Paid back#"], &rows, true)
}

fn ceilings(summary: &Summary, plan: &Plan, coins: &Coins) -> String {
    let cash = |cash: Cash| Cell::Figure(coins.short_cash(cash), coins.cash(cash));
    let mut rows = vec![vec![
        Cell::words("Service live"),
        Cell::words(format!("by {}, as the certifier attests", utc(summary.deadline))),
        cash(plan.treasury.ceiling_at_live),
        Cell::words(summary.live.words()),
    ]];
    rows.extend(summary.milestones.iter().map(|milestone| {
        let once_live =
            if milestone.counts_only_once_live { " Counts only once the service is live." } else { "" };
        vec![
            Cell::words(&milestone.name),
            Cell::words(format!("{}{once_live}", milestone.statement)),
            cash(milestone.ceiling),
            Cell::words(milestone.state.words()),
        ]
    }));
    let titles = ["Milestone", "What must be true", "Ceiling#", "State"];
    format!("<div class=\"milestones\">{}</div>\n", table("What raises the ceiling", &titles, &rows, false))
}
