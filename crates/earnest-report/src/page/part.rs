//! Parts of the page, for whoever builds pages of their own in the same style and with the same figures.

use earnest_core::bid::BidId;
use earnest_core::money::Price;
use earnest_core::offering::Offering;
use earnest_core::plan::{Plan, Time};
use earnest_core::raise::Raise;

use super::{endings, rounds, tap, vesting};
use crate::Summary;
use crate::figure::Coins;

/// The six figures a reader takes away.
pub fn headline(summary: &Summary, coins: &Coins) -> String {
    super::headline(summary, coins)
}

/// All rounds: bars of what was bid and raised, and a table.
pub fn rounds(summary: &Summary, coins: &Coins) -> String {
    rounds::overview(summary, coins) + &rounds::rounds_table(summary, coins)
}

/// One round: its state and price, its figures, its book.
pub fn round(summary: &Summary, raise: &Raise, index: u8, coins: &Coins) -> String {
    rounds::one(index, &summary.rounds[usize::from(index)], raise, coins)
}

/// The treasury with its heading: pots, tap, ceilings.
pub fn treasury(summary: &Summary, plan: &Plan, raise: &Raise, coins: &Coins) -> String {
    tap::section(summary, plan, raise, summary.as_of, coins)
}

/// When the credits sold vest, with its heading.
pub fn vesting(summary: &Summary, raise: &Raise, coins: &Coins) -> String {
    vesting::section(summary, raise, summary.as_of, coins)
}

/// What a backer gets, ending by ending, with its heading.
pub fn endings(summary: &Summary, plan: &Plan, coins: &Coins) -> String {
    endings::section(summary, plan, coins)
}

/// A round's kind: `Auction at one price`.
pub fn kind_words(kind: &str) -> &'static str {
    rounds::kind_words(kind)
}

/// How one position vests: a curve with a table, and when.
pub fn position_vesting(
    plan: &Plan,
    raise: &Raise,
    id: BidId,
    credits: u128,
    now: Time,
    coins: &Coins,
) -> String {
    super::position::vesting(plan, raise, id, credits, now, coins)
}

/// The most a credit can cost before discount in a window of a rising round, were it bid full.
pub fn worst_window_price(offering: &Offering, round: u8, window: u16) -> Option<Price> {
    crate::book::worst_window_price(offering, round, window)
}
