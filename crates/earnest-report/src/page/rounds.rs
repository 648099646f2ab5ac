//! Every round: what was bid, what sold, at what price.

use earnest_core::money::{Cash, Credits, Price};
use earnest_core::raise::Raise;

use super::markup::{Cell, details, escape, facts, figure, heading, paragraph, table};
use super::plot::{Anchor, Plot, Point, Scale, roomier_side};
use crate::Summary;
use crate::book::{AuctionBook, Level, Window, rising_start, windows};
use crate::figure::{Coins, average, day, grouped, price, ratio, short_credits, whole_credits};
use crate::summary::{RoundState, RoundSummary};
use crate::words::{outcomes_words, state_and_price};

/// Most steps of a demand curve.
const CURVE_LEVELS: u16 = 120;
/// Most rows of a table behind a chart.
const TABLE_ROWS: u16 = 24;
/// Most steps of a chart of windows.
const WINDOW_GROUPS: usize = 120;

pub(super) fn section(summary: &Summary, raise: &Raise, coins: &Coins) -> String {
    let mut text = heading(2, "rounds", "Rounds");
    text += &overview(summary, coins);
    text += &rounds_table(summary, coins);
    for (index, round) in (0u8..).zip(&summary.rounds) {
        text += &heading(3, &format!("round-{index}"), &round.name);
        text += &one(index, round, raise, coins);
    }
    text
}

/// One round without a heading: what it is, its figures, its book.
pub(super) fn one(index: u8, round: &RoundSummary, raise: &Raise, coins: &Coins) -> String {
    let mut text = paragraph(&format!("{}. {}", kind_words(round.kind), state_and_price(round, coins)));
    if round.bids == 0 || round.state == RoundState::Failed {
        return text;
    }
    text += &round_facts(round, coins);
    if let Some(book) = AuctionBook::of(&raise.offering, index) {
        text += &demand(index, round, &book, coins);
    }
    let windows = windows(&raise.offering, index);
    if !windows.is_empty() {
        text += &rising(index, round, raise, &windows, coins);
    }
    text
}

pub(super) fn kind_words(kind: &str) -> &'static str {
    match kind {
        "fixed" => "Fixed price",
        "private" => "Private, at a fixed price",
        "auction" => "Auction at one price",
        _ => "Rising price",
    }
}

/// Bars of what was bid and what was taken, round by round.
pub(super) fn overview(summary: &Summary, coins: &Coins) -> String {
    let most = summary.rounds.iter().map(|round| round.cash_bid).max().unwrap_or_default();
    if most == Cash::ZERO {
        return String::new();
    }
    let described = summary.rounds.iter().map(|round| {
        let (bid, raised) = (coins.short_cash(round.cash_bid), coins.short_cash(round.raised_cash));
        format!("{}: {bid} bid, {raised} raised.", round.name)
    });
    let rows = summary.rounds.len() as f64;
    let mut plot = Plot::new(
        "overview",
        "Cash bid and raised, by round",
        &described.collect::<Vec<_>>().join(" "),
        rows * 54.0 - 10.0,
    );
    let row = 1.0 / (rows - 10.0 / 54.0);
    for (i, round) in summary.rounds.iter().enumerate() {
        let top = 1.0 - i as f64 * row;
        let part = |cash: Cash| cash.units() as f64 / most.units() as f64;
        let (low, high) = (top - row * 0.82, top - row * 0.42);
        plot.bar((0.0, low), (part(round.cash_bid), high), "outline");
        plot.bar((0.0, low), (part(round.raised_cash), high), "fill-0");
        let words = format!(
            "{}: {} raised of {} bid",
            round.name,
            coins.short_cash(round.raised_cash),
            coins.short_cash(round.cash_bid)
        );
        plot.words((0.0, high), -6.0, Anchor::Start, "", &words);
    }
    chart("Cash raised (filled) of cash bid (outlined)", plot)
}

/// A chart with a line above it.
pub(super) fn chart(caption: &str, plot: Plot) -> String {
    format!("<figure>\n<figcaption>{}</figcaption>\n{}</figure>\n", escape(caption), plot.finish())
}

pub(super) fn rounds_table(summary: &Summary, coins: &Coins) -> String {
    let cash = |cash: Cash| Cell::Figure(coins.short_cash(cash), coins.cash(cash));
    let credits = |credits: Credits| Cell::Figure(short_credits(credits), coins.whole_credits(credits));
    let price = |price: Option<Price>| {
        price.map_or(Cell::figure("–"), |price| Cell::Figure(average(price), coins.price(price)))
    };
    let mut rows: Vec<Vec<Cell>> = summary
        .rounds
        .iter()
        .map(|round| {
            vec![
                Cell::words(&round.name),
                Cell::words(round.state.word()),
                Cell::figure(grouped(&round.bids.to_string())),
                cash(round.cash_bid),
                cash(round.raised_cash),
                credits(round.credits_sold),
                credits(round.supply),
                price(round.average_price),
            ]
        })
        .collect();
    let totals = &summary.totals;
    rows.push(vec![
        Cell::words("All"),
        Cell::words(""),
        Cell::figure(grouped(&totals.bids.to_string())),
        cash(totals.cash_bid),
        cash(totals.raised),
        credits(totals.sold),
        credits(Credits::from_units(summary.rounds.iter().map(|round| round.supply.units()).sum())),
        price((totals.sold > Credits::ZERO).then(|| Price::average(totals.raised, totals.sold))),
    ]);
    let titles =
        ["Round", "State", "Bids#", "Cash bid#", "Raised#", "Credits sold#", "For sale#", "Average price#"];
    table("What was bid and sold, round by round", &titles, &rows, true)
}

fn round_facts(round: &RoundSummary, coins: &Coins) -> String {
    let cash = |cash: Cash| figure(&coins.short_cash(cash), &coins.cash(cash));
    let mut rows = vec![
        ("Bids", grouped(&round.bids.to_string())),
        ("Cash bid", cash(round.cash_bid)),
        ("Raised", cash(round.raised_cash)),
        (
            "Credits sold",
            figure(&coins.short_credits(round.credits_sold), &coins.whole_credits(round.credits_sold)),
        ),
    ];
    if let Some(price) = round.clearing_price {
        rows.push(("Clearing price", figure(&coins.price(price), &price.to_string())));
    } else if let Some(price) = round.indicative_price {
        rows.push(("Price as bids stand", figure(&coins.price(price), &price.to_string())));
    }
    if let Some(price) = round.average_price {
        rows.push(("Average price paid", figure(&coins.average(price), &price.to_string())));
    }
    rows.push(("Demand against supply", escape(&format!("{}×", ratio(round.oversubscription_percent)))));
    rows.push(("Refunds pulled", cash(round.refunds_pulled)));
    rows.push(("Refunds owed", cash(round.refunds_owed)));
    if let Some(words) = outcomes_words(&round.outcomes) {
        rows.push(("How bids fared", escape(&words)));
    }
    facts(&rows)
}

/// Demand against price: how many credits the bids want at each price, and where that meets the supply.
fn demand(index: u8, round: &RoundSummary, book: &AuctionBook, coins: &Coins) -> String {
    let levels = book.levels(CURVE_LEVELS);
    let (Some(top), Some(bottom)) = (levels.first(), levels.last()) else { return String::new() };
    let verb = if book.is_final { "cleared" } else { "would clear, as bids stand," };
    let outcome =
        book.price.map_or_else(String::new, |price| format!(" The round {verb} at {}.", coins.price(price)));
    let description = format!(
        "Credits wanted fall from {} at {} to {} at {}. For sale are {}.{outcome}",
        short_credits(bottom.demand()),
        price(bottom.lowest),
        short_credits(top.demand()),
        price(top.lowest),
        coins.short_credits(round.supply)
    );
    let title = format!("Demand in {} by price", round.name);
    let mut plot = Plot::new(&format!("demand-{index}"), &title, &description, 280.0);
    let most = levels.iter().map(|level| level.demand().units()).max().unwrap_or(0).max(round.supply.units());
    let y = Scale::up_to(most);
    let floor = book.at(0).units();
    // One tick beyond the dearest bid, so that its step has a width even where it is the only one.
    let end = top.highest.units().saturating_add(book.prices.step.max(1));
    let x = |price: Price| (price.units().saturating_sub(floor)) as f64 / (end - floor).max(1) as f64;

    let steps = curve_steps(&levels, &y, x);
    if let Some(price) = book.price {
        let (lost, won) = split(&steps, x(price));
        plot.path(&lost, "area-lost", true);
        plot.path(&won, "area-won", true);
    }
    plot.scale_y(&y, |units| short_credits(Credits::from_units(units)));
    plot.path(&steps, "curve", false);
    let supply = y.part(round.supply.units());
    plot.line((0.0, supply), (1.0, supply), "dash");
    let for_sale = format!("for sale: {}", coins.short_credits(round.supply));
    plot.words((1.0, supply), -6.0, Anchor::End, "", &for_sale);
    if let Some(price) = book.price {
        let at = x(price);
        plot.line((at, 0.0), (at, 1.0), "mark");
        plot.dot((at, supply.min(curve_at(&steps, at))));
        let (anchor, aside) = roomier_side(at);
        let words = if book.is_final { "cleared at" } else { "as bids stand" };
        plot.words(
            (at + aside, 1.0),
            4.0,
            anchor,
            "strong",
            &format!("{words} {}", crate::figure::price(price)),
        );
    }
    for i in 0..=4u64 {
        let units = floor + (end - book.prices.step.max(1) - floor) * i / 4;
        let at = x(Price::from_units(units));
        let anchor = match i {
            0 => Anchor::Start,
            4 => Anchor::End,
            _ => Anchor::Middle,
        };
        let label = price(Price::from_units(units));
        // A single price has one label.
        if i == 0 || end - book.prices.step.max(1) > floor {
            plot.label_x(at, anchor, i % 2 == 1, &label);
        }
    }
    let caption = "Credits wanted at a price or more (curve), against price in cash a credit; shaded: bids at or above the price";
    chart(caption, plot) + &demand_table(round, book, coins)
}

/// Corners of the demand curve from the floor to the right, where it falls to nothing.
fn curve_steps(levels: &[Level], y: &Scale, x: impl Fn(Price) -> f64) -> Vec<Point> {
    let mut steps = Vec::new();
    let mut from = 0.0;
    for (i, level) in levels.iter().enumerate().rev() {
        let to = i.checked_sub(1).map_or(1.0, |above| x(levels[above].lowest));
        let height = y.part(level.demand().units());
        steps.extend([(from, height), (to, height)]);
        from = to;
    }
    steps.push((1.0, 0.0));
    steps
}

/// A curve of steps, cut at an x.
fn split(steps: &[Point], at: f64) -> (Vec<Point>, Vec<Point>) {
    let (mut left, mut right): (Vec<_>, Vec<_>) = steps.iter().partition(|(x, _)| *x < at);
    let height = curve_at(steps, at);
    left.push((at, height));
    right.insert(0, (at, height));
    (left, right)
}

/// The height of a curve of steps at an x.
fn curve_at(steps: &[Point], at: f64) -> f64 {
    steps.iter().rev().find(|(x, _)| *x <= at).or(steps.first()).map_or(0.0, |step| step.1)
}

fn demand_table(round: &RoundSummary, book: &AuctionBook, coins: &Coins) -> String {
    let levels = book.levels(TABLE_ROWS);
    let row = |(i, level): (usize, &Level)| {
        let above = i.checked_sub(1).map(|above| &levels[above]);
        let here = book.price.is_some_and(|price| level.holds(price, above));
        vec![
            Cell::Words(price(level.lowest) + if here { " (the price)" } else { "" }),
            Cell::Figure(coins.short_cash(level.cash), coins.cash(level.cash)),
            Cell::Figure(short_credits(level.demand()), coins.whole_credits(level.demand())),
        ]
    };
    let rows: Vec<Vec<Cell>> = levels.iter().enumerate().map(row).collect();
    let caption = format!("Demand in {}, from the dearest limits down", round.name);
    let titles = ["Limit from", "Cash bid here#", "Credits wanted at this price#"];
    details("The same as a table", &table(&caption, &titles, &rows, false))
}

/// Neighbouring windows drawn as one step.
struct Group {
    from: f64,
    to: f64,
    used: Cash,
    cash: Cash,
    sold: Credits,
    price: Option<Price>,
    first_day: String,
}

fn rising(index: u8, round: &RoundSummary, raise: &Raise, windows: &[Window], coins: &Coins) -> String {
    if rising_start(&raise.offering, index).is_none() {
        return paragraph("Windows are priced once the round that this one follows is cleared.");
    }
    let Some((low, high)) = round.window_prices else { return String::new() };
    let is_final = windows.iter().all(|window| window.is_final);
    let so_far = if is_final { "" } else { ", as bids stand" };
    let groups = groups(windows, WINDOW_GROUPS);
    let sold_in = groups.iter().filter(|group| group.price.is_some()).count();
    let description = format!(
        "The price rises from {} to {}{so_far}. {sold_in} of {} steps sold.",
        price(low),
        coins.price(high),
        groups.len()
    );
    let title = format!("Price in {} by window", round.name);
    let mut plot = Plot::new(&format!("windows-{index}"), &title, &description, 280.0);
    let y = Scale::up_to(high.units().into());
    plot.scale_y(&y, |units| price(Price::from_units(u64::try_from(units).unwrap_or(u64::MAX))));
    let most_used = groups.iter().map(|group| group.used).max().unwrap_or_default();
    for group in &groups {
        // Cash takes the lowest quarter of the chart.
        let height = group.used.units() as f64 / most_used.units().max(1) as f64 / 4.0;
        let inset = (group.to - group.from) * 0.12;
        plot.bar((group.from + inset, 0.0), (group.to - inset, height), "fill-2");
    }
    for run in groups.chunk_by(|left, right| left.price.is_some() == right.price.is_some()) {
        let points: Vec<Point> = run
            .iter()
            .filter_map(|group| Some((group, y.part(group.price?.units().into()))))
            .flat_map(|(group, height)| [(group.from, height), (group.to, height)])
            .collect();
        plot.path(&points, "curve", false);
    }
    if let Some(last) = groups.iter().rev().find(|group| group.price.is_some()) {
        let at = (last.to, y.part(high.units().into()));
        plot.dot(at);
        let (anchor, aside) = roomier_side(last.to);
        plot.words((at.0 + aside, at.1), -10.0, anchor, "strong", &format!("last sold at {}", price(high)));
    }
    let (first, last) = (windows.first().map_or(0, |w| w.opens_at), windows.last().map_or(0, |w| w.opens_at));
    plot.label_x(0.0, Anchor::Start, false, &day(first));
    plot.label_x(0.5, Anchor::Middle, true, &day(first.midpoint(last)));
    plot.label_x(1.0, Anchor::End, false, &day(last));
    let caption = format!(
        "Price of each window in cash a credit (line){so_far}; bars: cash taken, {} at most",
        coins.short_cash(most_used)
    );
    chart(&caption, plot) + &windows_table(round, windows, coins)
}

fn groups(windows: &[Window], most: usize) -> Vec<Group> {
    let each = windows.len().div_ceil(most);
    let all = windows.len() as f64;
    let group = |(i, group): (usize, &[Window])| {
        let sum =
            |of: fn(&Window) -> Cash| Cash::from_units(group.iter().map(|window| of(window).units()).sum());
        Group {
            from: (i * each) as f64 / all,
            to: (i * each + group.len()) as f64 / all,
            used: sum(|window| window.used),
            cash: sum(|window| window.cash),
            sold: Credits::from_units(group.iter().map(|window| window.sold.units()).sum()),
            price: group.iter().rev().find_map(|window| window.price),
            first_day: day(group[0].opens_at),
        }
    };
    windows.chunks(each).enumerate().map(group).collect()
}

fn windows_table(round: &RoundSummary, windows: &[Window], coins: &Coins) -> String {
    let row = |group: &Group| {
        vec![
            Cell::words(&group.first_day),
            Cell::Figure(coins.short_cash(group.cash), coins.cash(group.cash)),
            Cell::Figure(coins.short_cash(group.used), coins.cash(group.used)),
            Cell::figure(whole_credits(group.sold)),
            group.price.map_or(Cell::figure("–"), |price| Cell::figure(crate::figure::price(price))),
        ]
    };
    let rows: Vec<Vec<Cell>> = groups(windows, 40).iter().map(row).collect();
    let titles = ["From", "Cash bid#", "Cash taken#", "Credits sold#", "Price#"];
    let caption = format!("What {} sold, by window", round.name);
    details("The same as a table", &table(&caption, &titles, &rows, false))
}
