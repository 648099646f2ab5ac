//! Charts of a terminal: an auction's order book, a rising round's windows.

use earnest_core::money::{Cash, Credits, Price};
use earnest_core::offering::Sale;
use earnest_core::plan::date::duration;
use earnest_core::raise::Raise;

use crate::book::{AuctionBook, Level, Window, rising_start, windows};
use crate::figure::{Coins, day, price};
use crate::lines::{Lines, bar, spark};
use crate::summary::RoundSummary;

/// Most rows of an order book.
const BOOK_ROWS: u16 = 16;

/// Demand by price as bars, with the price marked.
pub(super) fn order_book(lines: &mut Lines, round: &RoundSummary, book: &AuctionBook, coins: &Coins) {
    let levels = book.levels(BOOK_ROWS);
    let is_single = levels.iter().all(|level| level.lowest == level.highest);
    lines.heading(&format!("Demand by price: {}", round.name));
    if let Some(at) = book.price {
        let verb = if book.is_final { "cleared" } else { "would clear, as bids stand," };
        let above = if is_single { "limits above it" } else { "rows above it" };
        lines.paragraph(&format!(
            "▶ marks the row of the price: the round {verb} at {}. Bids in {above} fill whole (█); in the rows below, \
             drawn ░, they go back.",
            coins.price(at)
        ));
    }
    lines.line("");
    let labels = same_decimals(levels.iter().map(|level| level.lowest));
    let head = if is_single { "limit" } else { "limit from" };
    let label_width = labels.iter().map(String::len).max().unwrap_or(0).max(head.len());
    let bar_width = lines.width.saturating_sub(label_width + 24).clamp(8, 48);
    let most = levels.iter().map(|level| level.cash).max().unwrap_or_default();
    lines.line(&format!("  {head:>label_width$}  {:bar_width$}  {:>8}  {:>8}", "", "bid", "in all"));
    let mut is_below = false;
    for (i, (level, label)) in levels.iter().zip(&labels).enumerate() {
        let above = i.checked_sub(1).map(|above| &levels[above]);
        let here = book.price.is_some_and(|price| level.holds(price, above));
        let mut bar = bar(level.cash.units().into(), most.units().into(), bar_width);
        if is_below {
            bar = bar.chars().map(|_| '░').collect();
        }
        let mark = if here { '▶' } else { ' ' };
        let (cash, up) = (coins.short_cash(level.cash), coins.short_cash(weight_of(level)));
        lines.line(&format!("{mark} {label:>label_width$}  {bar:bar_width$}  {cash:>8}  {up:>8}"));
        is_below |= here;
    }
    lines.line("");
    lines.paragraph(&format!(
        "\"In all\" adds up the bids of a row and of all rows above it. All of the supply, {}, costs {} at the floor of {}.",
        coins.short_credits(round.supply),
        coins.short_cash(cost(round.supply, book.at(0))),
        price(book.at(0))
    ));
}

/// Weight is counted in units of cash.
fn weight_of(level: &Level) -> Cash {
    Cash::from_units(level.weight_from_here_up)
}

fn cost(credits: Credits, price: Price) -> Cash {
    Cash::from_units(u64::try_from(credits.cost_floor(price)).unwrap_or(u64::MAX))
}

/// Prices with as many decimals as the longest of them has, so that they stand in a column.
fn same_decimals(prices: impl Iterator<Item = Price>) -> Vec<String> {
    let labels: Vec<String> = prices.map(price).collect();
    let decimals = |label: &str| label.split_once('.').map_or(0, |(_, part)| part.len());
    let most = labels.iter().map(|label| decimals(label)).max().unwrap_or(0);
    let padded = labels.into_iter().map(|label| {
        let missing = most - decimals(&label);
        let dot = if decimals(&label) == 0 && missing > 0 { "." } else { "" };
        format!("{label}{dot}{}", "0".repeat(missing))
    });
    padded.collect()
}

/// Price and cash of each window, a character each.
pub(super) fn rising(lines: &mut Lines, round: &RoundSummary, raise: &Raise, index: u8, coins: &Coins) {
    let windows = windows(&raise.offering, index);
    let Sale::Rising { window_secs, window_cap, .. } = &raise.offering.setup.rounds[usize::from(index)].sale
    else {
        return;
    };
    lines.heading(&format!("Price by window: {}", round.name));
    let each = windows.len().div_ceil(lines.width - 20).max(1);
    if rising_start(&raise.offering, index).is_none() {
        lines.paragraph("Windows are priced once the round that this one follows is cleared.");
        lines.line("");
        let bid = |group: &[Window]| group.iter().map(|window| window.cash.units()).sum::<u64>();
        lines.field("cash bid", &sparks(&windows.chunks(each).map(bid).collect::<Vec<_>>(), 0));
        return;
    }
    // Prices only rise, so the last of several windows speaks for all of them.
    let price_of =
        |group: &[Window]| group.iter().rev().find_map(|window| window.price).unwrap_or_default().units();
    let used = |group: &[Window]| group.iter().map(|window| window.used.units()).sum::<u64>();
    let prices: Vec<u64> = windows.chunks(each).map(price_of).collect();
    let lowest = prices.iter().copied().filter(|&price| price > 0).min().unwrap_or(0);
    lines.field("price", &sparks(&prices, lowest));
    lines.field("cash taken", &sparks(&windows.chunks(each).map(used).collect::<Vec<_>>(), 0));
    let (first, last) = (windows.first().map_or(0, |w| w.opens_at), windows.last().map_or(0, |w| w.opens_at));
    lines.field("", &format!("{} to {}, · is a stretch without sale", day(first), day(last)));
    if let Some((low, high)) = round.window_prices {
        let is_final = windows.iter().all(|window| window.is_final);
        let as_bids_stand = if is_final { "" } else { ", as bids stand" };
        lines.field("lowest", &format!("{}{as_bids_stand}", coins.price(low)));
        lines.field("highest", &format!("{}{as_bids_stand}", coins.price(high)));
    }
    let a_character = if each > 1 { format!("; a character is {each} windows") } else { String::new() };
    lines.field(
        "window",
        &format!(
            "{}, at most {} each{a_character}",
            duration(*window_secs),
            coins.short_cash(Cash::from_units(*window_cap))
        ),
    );
}

/// A character for each value, from `least` to the most of them; a dot for nothing.
fn sparks(values: &[u64], least: u64) -> String {
    let most = values.iter().copied().max().unwrap_or(0);
    values.iter().map(|&value| if value == 0 { '·' } else { spark(value, least, most) }).collect()
}
