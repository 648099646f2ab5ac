//! The page under way, and numbers in words. Whatever a plan says itself stands inside a line and cannot pass for
//! a heading or an item of the page.

use crate::money::{Bps, Cash, Credits, Price};
use crate::plan::Plan;

/// Lines are broken at this many columns.
pub(super) const COLUMNS: usize = 90;

/// Text in the making: blank lines between blocks, none between the items of a list.
#[derive(Default)]
pub(super) struct Page {
    pub(super) text: String,
    in_list: bool,
}

impl Page {
    pub(super) fn heading(&mut self, level: usize, text: &str) {
        let words: Vec<&str> = text.split_whitespace().collect();
        self.block(&format!("{} {}", "#".repeat(level), words.join(" ")));
        self.in_list = false;
    }

    pub(super) fn paragraph(&mut self, text: impl AsRef<str>) {
        self.block(&wrapped(text.as_ref(), "", ""));
        self.in_list = false;
    }

    pub(super) fn item(&mut self, text: impl AsRef<str>) {
        let item = wrapped(text.as_ref(), "- ", "  ");
        if self.in_list {
            self.text.push_str(&item);
            self.text.push('\n');
        } else {
            self.block(&item);
        }
        self.in_list = true;
    }

    fn block(&mut self, text: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(text);
        self.text.push('\n');
    }
}

impl Plan {
    /// `1,250.5 USDC`
    pub(super) fn show(&self, cash: Cash) -> String {
        format!("{} {}", grouped(&cash.to_string()), self.cash.symbol)
    }

    /// `0.95 USDC a credit`
    pub(super) fn price(&self, price: Price) -> String {
        format!("{} {} a credit", grouped(&price.to_string()), self.cash.symbol)
    }
}

/// `1,250.5 credits`
pub(super) fn show_credits(credits: Credits) -> String {
    let number = grouped(&credits.to_string());
    let plural = if number == "1" { "" } else { "s" };
    format!("{number} credit{plural}")
}

/// Rounded down to whole credits.
pub(super) fn whole_credits(credits: Credits) -> String {
    let text = credits.to_string();
    let whole = text.split_once('.').map_or(text.as_str(), |(whole, _)| whole);
    format!("{} credits", grouped(whole))
}

/// Rounded down to six decimals.
pub(super) fn six_decimals(price: Price) -> Price {
    Price::from_units(price.units() / 1_000_000 * 1_000_000)
}

/// `1 − d` as a decimal.
pub(super) fn complement(discount: Bps) -> String {
    let rest = format!("0.{:04}", 10_000 - discount.get());
    rest.trim_end_matches('0').to_owned()
}

/// A part of a whole in percent with two decimals, rounded up and at most 100%.
pub(super) fn part_up(part: Cash, whole: Cash) -> Bps {
    let bps = (u128::from(part.units()) * 10_000).div_ceil(u128::from(whole.units().max(1)));
    u16::try_from(bps).ok().and_then(Bps::new).unwrap_or(Bps::ONE)
}

/// `1 round`, `2 rounds`
pub(super) fn count(number: u64, unit: &str) -> String {
    format!("{} {unit}{}", grouped(&number.to_string()), if number == 1 { "" } else { "s" })
}

/// As many as a list has: `1 round`, `2 rounds`.
pub(super) fn count_of<T>(items: &[T], unit: &str) -> String {
    count(items.len() as u64, unit)
}

/// Commas between thousands, before the decimal point only.
pub(super) fn grouped(number: &str) -> String {
    let (whole, part) = number.split_at(number.find('.').unwrap_or(number.len()));
    let mut text = String::new();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + part
}

/// Names in quotes, or "none".
pub(super) fn names(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        some => list(some.iter().map(|name| format!("\"{name}\""))),
    }
}

/// "a", "a and b", "a, b and c".
pub(super) fn list(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().collect();
    match items.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// With one full stop at the end: "Example Lab Inc." has its own.
pub(super) fn sentence(text: &str) -> String {
    format!("{}.", text.trim_end_matches('.'))
}

/// Breaks lines between words. The first line begins with `first`, the others with `other`. Line breaks in the
/// text are not kept, and no line begins with a mark of Markdown.
fn wrapped(text: &str, first: &str, other: &str) -> String {
    let mut lines = Vec::new();
    let mut line = String::from(first);
    let mut is_empty = true;
    for word in text.split_whitespace() {
        let is_full = line.chars().count() + 1 + word.chars().count() > COLUMNS;
        if !is_empty && is_full && !is_mark(word) {
            lines.push(std::mem::replace(&mut line, String::from(other)));
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    lines.push(line);
    lines.join("\n")
}

/// What would begin a heading, an item, a rule or a quotation if it stood first in a line.
fn is_mark(word: &str) -> bool {
    let number = word.strip_suffix(['.', ')']).unwrap_or("-");
    word.starts_with(['>', '|'])
        || word.chars().all(|c| "#-+*=_~`".contains(c))
        || number.bytes().all(|digit| digit.is_ascii_digit())
}
