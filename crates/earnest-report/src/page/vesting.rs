//! When the credits sold vest.

use earnest_core::money::Credits;
use earnest_core::plan::Time;
use earnest_core::plan::date::utc;
use earnest_core::raise::Raise;

use super::markup::{Cell, details, escape, facts, figure, heading, paragraph, table};
use super::plot::{Anchor, Plot, Scale, roomier_side};
use super::rounds::chart;
use crate::Summary;
use crate::figure::{Coins, day, short_credits, whole_credits};
use crate::vesting::{Calendar, calendar};

/// Most bars.
const BARS: u64 = 60;
/// Part of the width at the left that is kept for labels: bars would hide them.
const GUTTER: f64 = 0.09;

pub(super) fn section(summary: &Summary, raise: &Raise, now: Time, coins: &Coins) -> String {
    let mut text = heading(2, "vesting", "When credits vest");
    let Some(calendar) = calendar(raise, now, BARS) else {
        let why = match (summary.failed(), summary.refunding) {
            (true, _) => "The soft cap was missed. No credits will vest.",
            (_, true) => "The deadline has passed without a live service. No credits will vest.",
            _ => "No round is cleared yet.",
        };
        return text + &paragraph(why);
    };
    text += &paragraph(&match calendar.is_assumed {
        true => format!(
            "Credits vest from the day the service is live. It is not yet: the calendar is as if it went live now, {}.",
            utc(calendar.from)
        ),
        false => format!("Credits vest from {}, when the service is live.", utc(calendar.from)),
    });
    text += &coverage(summary, coins);
    text += &bars(summary, &calendar, now, coins);
    text + &calendar_table(summary, &calendar, coins)
}

fn coverage(summary: &Summary, coins: &Coins) -> String {
    let coverage = &summary.coverage;
    let credits = |credits: Credits| figure(&coins.short_credits(credits), &coins.whole_credits(credits));
    let mut rows = vec![
        ("Sold", credits(coverage.sold)),
        ("Delivered", credits(summary.totals.delivered)),
        ("Of it locked in vaults", credits(summary.totals.locked_in_vaults)),
        ("Vested, not delivered", credits(coverage.vested_undelivered)),
        ("Owed in all", credits(coverage.undelivered)),
    ];
    if let (Some(capacity), Some(owed), Some(sold)) =
        (coverage.capacity_per_day, &coverage.days_for_undelivered, &coverage.days_for_sold)
    {
        rows.push(("Capacity a day, by the issuer's word", credits(capacity)));
        rows.push(("Days of capacity that serve what is owed", escape(owed)));
        rows.push(("Days that serve all that was sold", escape(sold)));
    }
    facts(&rows)
}

fn bars(summary: &Summary, calendar: &Calendar, now: Time, coins: &Coins) -> String {
    let stretches = &calendar.stretches;
    let most = stretches.iter().max_by_key(|stretch| stretch.total()).expect("a calendar has a month");
    let description = format!(
        "From {} to {}. The most that vests in one bar is {}, from {}.",
        day(stretches[0].from),
        day(stretches[stretches.len() - 1].from),
        coins.short_credits(most.total()),
        day(most.from)
    );
    let mut plot = Plot::new("calendar", "Credits vesting over time, by round", &description, 240.0);
    let y = Scale::up_to(most.total().units());
    plot.scale_y(&y, |units| short_credits(Credits::from_units(units)));
    let width = (1.0 - GUTTER) / stretches.len() as f64;
    for (i, stretch) in stretches.iter().enumerate() {
        let (left, mut low) = (GUTTER + i as f64 * width, 0.0);
        for (round, credits) in stretch.by_round.iter().enumerate().filter(|(_, credits)| credits.units() > 0)
        {
            let high = low + y.part(credits.units());
            plot.bar((left + width * 0.1, low), (left + width * 0.9, high), &format!("fill-{}", round % 8));
            low = high;
        }
    }
    if let Some(at) = today(calendar, now) {
        let x = GUTTER + at * (1.0 - GUTTER);
        plot.line((x, 0.0), (x, 1.0), "dash");
        let (anchor, aside) = roomier_side(x);
        plot.words((x + aside, 1.0), -4.0, anchor, "", &format!("today, {}", day(now)));
    }
    let last = stretches.len() - 1;
    for (quarter, anchor) in
        [Anchor::Start, Anchor::Middle, Anchor::Middle, Anchor::Middle, Anchor::End].iter().enumerate()
    {
        let i = last * quarter / 4;
        if quarter == 0 || last >= 4 {
            let bar = match quarter {
                0 => 0.0,
                4 => 1.0,
                _ => 0.5,
            };
            let x = GUTTER + (i as f64 + bar) * width;
            plot.label_x(x, *anchor, quarter % 2 == 1, &day(stretches[i].from)[..7]);
        }
    }
    let caption = match calendar.months {
        1 => "Credits that vest in each calendar month".to_owned(),
        months => format!("Credits that vest in each {months} calendar months"),
    };
    chart(&caption, plot) + &legend(summary, calendar)
}

/// Where in the row of bars a time lies, if the service is live and the time is within the calendar.
fn today(calendar: &Calendar, now: Time) -> Option<f64> {
    if calendar.is_assumed {
        return None;
    }
    let starts: Vec<Time> = calendar.stretches.iter().map(|stretch| stretch.from).collect();
    let at = starts.partition_point(|&start| start <= now).checked_sub(1)?;
    // The last bar has no next one to measure by.
    let length = starts.get(at + 1)? - starts[at];
    Some((at as f64 + (now - starts[at]) as f64 / length as f64) / starts.len() as f64)
}

fn legend(summary: &Summary, calendar: &Calendar) -> String {
    let sells = |round: usize| calendar.stretches.iter().any(|stretch| stretch.by_round[round].units() > 0);
    let item = |(i, round): (usize, &crate::summary::RoundSummary)| {
        sells(i).then(|| format!("<li><i class=\"fill-{}\"></i>{}</li>", i % 8, escape(&round.name)))
    };
    let items: String = summary.rounds.iter().enumerate().filter_map(item).collect();
    format!("<ul class=\"legend\" aria-label=\"Rounds, from the bottom of each bar up\">{items}</ul>\n")
}

fn calendar_table(summary: &Summary, calendar: &Calendar, coins: &Coins) -> String {
    let mut titles: Vec<String> = vec!["From".to_owned()];
    titles.extend(summary.rounds.iter().map(|round| format!("{}#", round.name)));
    titles.push("All#".to_owned());
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    let row = |stretch: &crate::vesting::Stretch| {
        let mut cells = vec![Cell::words(&day(stretch.from)[..7])];
        cells.extend(stretch.by_round.iter().map(|&credits| Cell::figure(whole_credits(credits))));
        cells.push(Cell::figure(whole_credits(stretch.total())));
        cells
    };
    let rows: Vec<Vec<Cell>> = calendar.stretches.iter().map(row).collect();
    let caption = format!("Vesting, in whole {}, rounded down", coins.credits_symbol());
    details("The same as a table", &table(&caption, &titles, &rows, false))
}
