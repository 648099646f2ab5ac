//! How single values are written in a plan: quoted decimals with their unit, dates with their offset, bare
//! integers for counts only. Every reader takes one TOML value and says precisely what is wrong with it.

use alloy_primitives::{Address, B256};
use toml::de::DeValue;

use super::fault::Wrong;
use super::instant;
use super::{DocumentKind, Time};
use crate::money::{Bps, Cash, Credits, Price};

const CASH_EXAMPLE: &str = "10_000 cash";
const CREDITS_EXAMPLE: &str = "5_000 credits";
const PRICE_EXAMPLE: &str = "0.25 cash per credit";
const PERCENT_EXAMPLE: &str = "7.5%";
const DURATION_EXAMPLE: &str = "14 days";
const RATE_EXAMPLE: &str = "100_000 cash per day";
const PER_DAY_EXAMPLE: &str = "5_000 credits per day";

/// Names and lengths of the units of time.
const TIME_UNITS: [(&str, &str, u64); 4] =
    [("second", "seconds", 1), ("minute", "minutes", 60), ("hour", "hours", 3_600), ("day", "days", 86_400)];

/// `"10_000 cash"`
pub fn cash(value: &DeValue<'_>) -> Result<Cash, Wrong> {
    let number = amount(quoted(value, CASH_EXAMPLE)?, &["cash"], CASH_EXAMPLE)?;
    cash_number(number, CASH_EXAMPLE)
}

/// `"5_000 credits"`
pub fn credits(value: &DeValue<'_>) -> Result<Credits, Wrong> {
    let number = amount(quoted(value, CREDITS_EXAMPLE)?, &["credits", "credit"], CREDITS_EXAMPLE)?;
    credits_number(number, CREDITS_EXAMPLE)
}

/// `"0.377561 cash per credit"`
pub fn price(value: &DeValue<'_>) -> Result<Price, Wrong> {
    let number = amount(quoted(value, PRICE_EXAMPLE)?, &["cash per credit"], PRICE_EXAMPLE)?;
    Price::parse(number).ok_or_else(|| number_fault(number, 12, "18_000_000 cash per credit", PRICE_EXAMPLE))
}

/// `"7.5%"`: whole basis points, at most 100%.
pub fn percent(value: &DeValue<'_>) -> Result<Bps, Wrong> {
    let text = quoted(value, PERCENT_EXAMPLE)?;
    let Some(number) = text.strip_suffix('%').map(str::trim_end) else {
        return Err(unit_fault(text, PERCENT_EXAMPLE));
    };
    let wrong = || number_fault(number, 2, "100%", PERCENT_EXAMPLE);
    // Cash has six decimals, so a hundredth of a percent is ten thousand of its units.
    let millionths = Cash::parse(number).ok_or_else(wrong)?.units();
    if !millionths.is_multiple_of(10_000) {
        return Err(wrong());
    }
    u16::try_from(millionths / 10_000).ok().and_then(Bps::new).ok_or_else(wrong)
}

/// `"14 days"`, `"1 hour"`, `"30 minutes"`, `"1 second"`, in seconds.
pub fn duration_secs(value: &DeValue<'_>) -> Result<u32, Wrong> {
    let text = quoted(value, DURATION_EXAMPLE)?;
    let (number, unit) = split(text);
    let unit = match time_unit(unit) {
        Some(unit) => unit,
        None if unit.is_empty() => return Err(unit_fault(text, DURATION_EXAMPLE)),
        None => {
            let message = format!("`{}` is not a unit of time", shown(unit));
            return Err(Wrong::new(message, "write seconds, minutes, hours or days, such as \"14 days\""));
        }
    };
    whole(number)
        .and_then(|count| count.checked_mul(unit))
        .and_then(|secs| u32::try_from(secs).ok())
        .ok_or_else(|| number_fault(number, 0, "49_710 days", DURATION_EXAMPLE))
}

/// A duration that must be whole days.
pub fn days<T: TryFrom<u32> + TryFrom<u64>>(value: &DeValue<'_>) -> Result<T, Wrong> {
    whole_units(value, 86_400, "days")
}

/// A duration that must be whole hours.
pub fn hours<T: TryFrom<u32> + TryFrom<u64>>(value: &DeValue<'_>) -> Result<T, Wrong> {
    whole_units(value, 3_600, "hours")
}

/// `"100_000 cash per day"` (or hour, minute, second) as cash a second, rounded down: the tap never releases
/// more than was agreed.
pub fn cash_per_sec(value: &DeValue<'_>) -> Result<Cash, Wrong> {
    let text = quoted(value, RATE_EXAMPLE)?;
    let (number, unit) = split(text);
    let secs = unit.strip_prefix("cash per ").and_then(time_unit);
    let Some(secs) = secs else { return Err(unit_fault(text, RATE_EXAMPLE)) };
    let a_second = Cash::from_units(cash_number(number, RATE_EXAMPLE)?.units() / secs);
    if a_second == Cash::ZERO && secs > 1 && cash_number(number, RATE_EXAMPLE)? != Cash::ZERO {
        let message = "less than 0.000001 cash a second, which rounds down to nothing";
        return Err(Wrong::new(message, "write at least \"0.0864 cash per day\""));
    }
    Ok(a_second)
}

/// `"5_000 credits per day"`
pub fn credits_per_day(value: &DeValue<'_>) -> Result<Credits, Wrong> {
    let text = quoted(value, PER_DAY_EXAMPLE)?;
    let number = amount(text, &["credits per day", "credit per day"], PER_DAY_EXAMPLE)?;
    credits_number(number, PER_DAY_EXAMPLE)
}

/// `"2 credits per million"`: model tokens are priced by the million.
pub fn credits_per_million(value: &DeValue<'_>) -> Result<Credits, Wrong> {
    let example = "2.5 credits per million";
    credits_each(value, ["credits per million", "credit per million"], example)
}

/// `"0.04 credits per image"`
pub fn credits_per_image(value: &DeValue<'_>) -> Result<Credits, Wrong> {
    credits_each(value, ["credits per image", "credit per image"], "0.04 credits per image")
}

/// `"0.006 credits per second"`
pub fn credits_per_second(value: &DeValue<'_>) -> Result<Credits, Wrong> {
    credits_each(value, ["credits per second", "credit per second"], "0.006 credits per second")
}

/// The number of a quoted decimal whose unit is one of `units`; the caller reads and bounds it.
pub fn quantity<'v>(value: &'v DeValue<'_>, units: &[&str], example: &str) -> Result<&'v str, Wrong> {
    amount(quoted(value, example)?, units, example)
}

/// A bare number, whole or not, as factors and exponents are written. Finite.
pub fn number(value: &DeValue<'_>) -> Result<f64, Wrong> {
    let text = match value {
        DeValue::Integer(integer) => integer.as_str(),
        DeValue::Float(float) => float.as_str(),
        _ => {
            return Err(Wrong::new(
                format!("expected a number, found {}", named(value)),
                "write it bare: 0.25",
            ));
        }
    };
    let number = text.replace('_', "").parse::<f64>().ok().filter(|number| number.is_finite());
    number.ok_or_else(|| {
        Wrong::new(format!("`{}` is not a decimal number", shown(text)), "write it bare: 0.25")
    })
}

/// Any text that is not blank.
pub fn text(value: &DeValue<'_>) -> Result<String, Wrong> {
    let DeValue::String(text) = value else {
        return Err(Wrong::new(format!("expected text, found {}", named(value)), "put it in quotes"));
    };
    if text.trim().is_empty() {
        return Err(Wrong::new("empty text", "write something, or leave the key out if it is optional"));
    }
    // Names end up on terminals, where an escape sequence could rewrite what the reader sees.
    match text.chars().find(|c| c.is_control() && *c != '\n' && *c != '\t') {
        Some(c) => Err(Wrong::new(format!("a control character, U+{:04X}", u32::from(c)), "remove it")),
        None => Ok(text.to_string()),
    }
}

/// A bare integer: a count of something.
pub fn count<T: TryFrom<u64>>(value: &DeValue<'_>) -> Result<T, Wrong> {
    match value {
        DeValue::Integer(integer) if integer.as_str().starts_with('-') => {
            Err(Wrong::new("a count cannot be negative", "write it bare: 20"))
        }
        DeValue::Integer(integer) => u64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .and_then(|count| T::try_from(count).ok())
            .ok_or_else(|| {
                let message = format!("{} is too large", shown(integer.as_str()));
                Wrong::new(message, format!("at most {}", largest::<T>()))
            }),
        DeValue::String(text) if whole(text).is_some() => {
            Err(Wrong::new("a count is written without quotes", format!("write {text}")))
        }
        _ => Err(Wrong::new(format!("expected a whole number, found {}", named(value)), "write it bare: 20")),
    }
}

/// `true` or `false`.
pub fn flag(value: &DeValue<'_>) -> Result<bool, Wrong> {
    match value {
        DeValue::Boolean(flag) => Ok(*flag),
        _ => {
            Err(Wrong::new(format!("expected true or false, found {}", named(value)), "write it bare: true"))
        }
    }
}

/// A date with time and offset.
pub fn instant(value: &DeValue<'_>) -> Result<Time, Wrong> {
    match value {
        DeValue::Datetime(date_time) => instant::read(date_time),
        DeValue::String(text) if text.parse::<toml::value::Datetime>().is_ok() => {
            Err(Wrong::new("a date is written without quotes", format!("write {}", shown(text))))
        }
        _ => Err(Wrong::new(
            format!("expected a date, found {}", named(value)),
            "write it bare, with its offset: 2026-09-01T00:00:00Z",
        )),
    }
}

/// An address: checksummed (EIP-55), or all lower case; not the zero address.
pub fn address(value: &DeValue<'_>) -> Result<Address, Wrong> {
    let example = "an address is 0x and 40 hexadecimal digits, in quotes";
    let DeValue::String(text) = value else {
        return Err(Wrong::new(format!("expected an address, found {}", named(value)), example));
    };
    let digits = text.strip_prefix("0x").unwrap_or_default();
    if digits.len() != 40 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Wrong::new(format!("`{}` is not an address", shown(text)), example));
    }
    let address: Address = text.parse().map_err(|_| Wrong::new("not an address", example))?;
    if address.is_zero() {
        return Err(Wrong::new("the zero address is nobody's", "leave the key out instead"));
    }
    if digits.bytes().any(|b| b.is_ascii_uppercase()) && address.to_checksum(None) != **text {
        let message = "the checksum of this address is wrong: a digit may have been mistyped";
        return Err(Wrong::new(message, format!("if it is the right one, write \"{address}\"")));
    }
    Ok(address)
}

/// 64 hexadecimal digits.
pub fn sha256(value: &DeValue<'_>) -> Result<B256, Wrong> {
    let hint = "64 hexadecimal digits in quotes, as `sha256sum FILE` prints them";
    let DeValue::String(text) = value else {
        return Err(Wrong::new(format!("expected a SHA-256, found {}", named(value)), hint));
    };
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Wrong::new(format!("`{}` is not a SHA-256", shown(text)), hint));
    }
    match text.parse::<B256>() {
        Ok(hash) if hash.is_zero() => Err(Wrong::new("no document has a hash of zeros", hint)),
        Ok(hash) => Ok(hash),
        Err(_) => Err(Wrong::new(format!("`{}` is not a SHA-256", shown(text)), hint)),
    }
}

/// One of a few words, each standing for something.
pub fn choice<T: Clone>(value: &DeValue<'_>, choices: &[(&str, T)]) -> Result<T, Wrong> {
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    let all = || format!("one of \"{}\"", words.join("\", \""));
    let DeValue::String(text) = value else {
        return Err(Wrong::new(format!("expected a word, found {}", named(value)), all()));
    };
    if let Some((_, meaning)) = choices.iter().find(|(word, _)| word == text) {
        return Ok(meaning.clone());
    }
    let hint = match nearest(text, &words) {
        Some(word) => format!("did you mean \"{word}\"?"),
        None => all(),
    };
    Err(Wrong::new(format!("`{}` is not known here", shown(text)), hint))
}

/// `purchase-agreement` and so on.
pub fn document_kind(value: &DeValue<'_>) -> Result<DocumentKind, Wrong> {
    choice(value, &DocumentKind::ALL.map(|kind| (kind.word(), kind)))
}

/// `true` for `linear`, `false` for `steps`.
pub fn vesting(value: &DeValue<'_>) -> Result<bool, Wrong> {
    choice(value, &[("linear", true), ("steps", false)])
}

/// `true` for `first-come`, `false` for `pro-rata`.
pub fn allocation(value: &DeValue<'_>) -> Result<bool, Wrong> {
    choice(value, &[("pro-rata", false), ("first-come", true)])
}

/// The word most likely meant by a mistyped one; `None` when nothing is near.
pub fn nearest<'w>(word: &str, known: &[&'w str]) -> Option<&'w str> {
    let distance = |other: &str| strsim::damerau_levenshtein(word, other);
    let allowed = (word.chars().count() / 3).clamp(1, 4);
    if word.chars().count() > 64 {
        return None;
    }
    known.iter().copied().filter(|other| distance(other) <= allowed).min_by_key(|other| distance(other))
}

/// An exact decimal with `_` between thousands, as one would write it in a plan.
pub fn grouped(decimal: &str) -> String {
    let (whole, part) = decimal.split_once('.').unwrap_or((decimal, ""));
    let mut shown = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            shown.push('_');
        }
        shown.push(digit);
    }
    if !part.is_empty() {
        shown.push('.');
        shown.push_str(part);
    }
    shown
}

/// `10_000 cash`
pub fn show_cash(cash: Cash) -> String {
    format!("{} cash", grouped(&cash.to_string()))
}

/// `14 days`, in the largest unit that is exact.
pub fn show_duration(secs: u64) -> String {
    let exact = TIME_UNITS.iter().rev().find(|(_, _, unit)| secs.is_multiple_of(*unit));
    let (one, many, unit) = exact.unwrap_or(&TIME_UNITS[0]);
    let count = secs / unit;
    format!("{count} {}", if count == 1 { one } else { many })
}

/// What kind of TOML value this is, with its article.
pub fn named(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a floating-point number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// A piece of the plan short enough to repeat, and unable to play tricks on a terminal.
pub fn shown(text: &str) -> String {
    let mut shown: String = text.chars().filter(|c| !c.is_control()).take(48).collect();
    if text.chars().count() > 48 {
        shown.push('…');
    }
    shown
}

/// The text of an amount; a bare number is refused here, once for all units.
fn quoted<'v>(value: &'v DeValue<'_>, example: &str) -> Result<&'v str, Wrong> {
    let bare = |digits: &str| {
        let unit = split(example).1;
        let space = if unit.is_empty() || unit == "%" { "" } else { " " };
        let unit = if example.ends_with('%') { "%" } else { unit };
        Wrong::new(
            "a bare number has no unit: amounts are quoted decimals with their unit",
            format!("write \"{}{space}{unit}\"", grouped(&shown(digits))),
        )
    };
    match value {
        DeValue::String(text) => Ok(text.trim()),
        DeValue::Integer(integer) => Err(bare(integer.as_str())),
        DeValue::Float(float) => Err(bare(float.as_str())),
        _ => Err(Wrong::new(
            format!("expected an amount, found {}", named(value)),
            format!("write it like \"{example}\""),
        )),
    }
}

/// The number and the unit of an amount.
fn split(text: &str) -> (&str, &str) {
    match text.split_once(char::is_whitespace) {
        Some((number, unit)) => (number, unit.trim()),
        None => (text, ""),
    }
}

/// The number of an amount whose unit is one of `units`.
fn amount<'t>(text: &'t str, units: &[&str], example: &str) -> Result<&'t str, Wrong> {
    let (number, unit) = split(text);
    if units.contains(&unit) { Ok(number) } else { Err(unit_fault(text, example)) }
}

fn unit_fault(text: &str, example: &str) -> Wrong {
    let hint = format!("write it like \"{example}\"");
    let (number, unit) = split(text);
    if text.is_empty() {
        Wrong::new("empty", hint)
    } else if unit.is_empty() && number.bytes().all(|b| b.is_ascii_digit() || b == b'_' || b == b'.') {
        Wrong::new(format!("`{}` has no unit", shown(text)), hint)
    } else if unit.is_empty() {
        Wrong::new(format!("`{}` is not an amount", shown(text)), hint)
    } else {
        Wrong::new(format!("`{}` is not the unit here", shown(unit)), hint)
    }
}

/// Why a decimal could not be read.
fn number_fault(number: &str, decimals: usize, most: &str, example: &str) -> Wrong {
    let hint = format!("write it like \"{example}\"");
    let plain = |s: &str| {
        s.bytes().all(|b| b.is_ascii_digit() || b == b'_')
            && s.bytes().next().is_some_and(|b| b.is_ascii_digit())
            && s.bytes().last().is_some_and(|b| b.is_ascii_digit())
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    if number.starts_with(['-', '+', '−']) {
        return Wrong::new(format!("`{}`: amounts carry no sign", shown(number)), hint);
    }
    if number.contains(',') {
        return Wrong::new(
            format!("`{}`: no commas in numbers", shown(number)),
            "group digits with _ and write decimals after a point",
        );
    }
    if !plain(whole) || !plain(part) {
        return Wrong::new(format!("`{}` is not a plain decimal", shown(number)), hint);
    }
    if part.trim_end_matches(['0', '_']).bytes().filter(|&b| b != b'_').count() > decimals {
        let allowed = match decimals {
            0 => "whole numbers only".to_owned(),
            _ => format!("at most {decimals} decimals"),
        };
        return Wrong::new(format!("`{}` has too many decimals", shown(number)), allowed);
    }
    Wrong::new(format!("`{}` is too large", shown(number)), format!("at most \"{most}\""))
}

fn cash_number(number: &str, example: &str) -> Result<Cash, Wrong> {
    Cash::parse(number).ok_or_else(|| number_fault(number, 6, "1_152_921_504_606.846975 cash", example))
}

fn credits_number(number: &str, example: &str) -> Result<Credits, Wrong> {
    Credits::parse(number).ok_or_else(|| number_fault(number, 18, "79_228_162_514 credits", example))
}

fn credits_each(value: &DeValue<'_>, units: [&str; 2], example: &str) -> Result<Credits, Wrong> {
    let number = amount(quoted(value, example)?, &units, example)?;
    credits_number(number, example)
}

fn whole_units<T: TryFrom<u32> + TryFrom<u64>>(
    value: &DeValue<'_>,
    unit_secs: u32,
    unit: &str,
) -> Result<T, Wrong> {
    let secs = duration_secs(value)?;
    if !secs.is_multiple_of(unit_secs) {
        return Err(Wrong::new(format!("not a whole number of {unit}"), format!("write \"2 {unit}\"")));
    }
    T::try_from(secs / unit_secs)
        .map_err(|_| Wrong::new("too long", format!("at most \"{} {unit}\"", largest::<T>())))
}

/// The largest whole number a type holds, for types as small as counts are.
fn largest<T: TryFrom<u64>>() -> u64 {
    [u64::from(u8::MAX), u64::from(u16::MAX), u64::from(u32::MAX), u64::MAX]
        .into_iter()
        .rfind(|&most| T::try_from(most).is_ok())
        .unwrap_or(0)
}

fn time_unit(word: &str) -> Option<u64> {
    TIME_UNITS.iter().find(|(one, many, _)| word == *one || word == *many).map(|(_, _, secs)| *secs)
}

/// A whole number with `_` between digits.
fn whole(text: &str) -> Option<u64> {
    let edges =
        text.starts_with(|c: char| c.is_ascii_digit()) && text.ends_with(|c: char| c.is_ascii_digit());
    let digits: String = text.chars().filter(|&c| c != '_').collect();
    (edges && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_value(text: &str) -> DeValue<'_> {
        DeValue::String(text.into())
    }

    #[test]
    fn amounts_are_read_with_their_units_only() {
        assert_eq!(cash(&text_value("1_000.5 cash")), Ok(Cash::from_units(1_000_500_000)));
        assert_eq!(percent(&text_value("7.5%")).unwrap().get(), 750);
        assert_eq!(percent(&text_value("100 %")), Ok(Bps::ONE));
        assert_eq!(duration_secs(&text_value("1 hour")), Ok(3_600));
        assert_eq!(days::<u16>(&text_value("48 hours")), Ok(2));
        assert_eq!(cash_per_sec(&text_value("1 cash per day")), Ok(Cash::from_units(11)));
        for text in ["1", "1 credits", "-1 cash", "1,000 cash", "1e3 cash", "0.0000001 cash", "", " cash"] {
            assert!(cash(&text_value(text)).is_err(), "{text}");
        }
        for text in ["7.555%", "100.01%", "7.5", "%", "0.000001%"] {
            assert!(percent(&text_value(text)).is_err(), "{text}");
        }
        for text in ["1.5 days", "1 week", "days", "1", "50_000 days", "-1 days"] {
            assert!(duration_secs(&text_value(text)).is_err(), "{text}");
        }
        assert!(days::<u16>(&text_value("36 hours")).is_err());
        assert!(cash_per_sec(&text_value("0.01 cash per day")).is_err());
    }

    #[test]
    fn the_message_says_what_is_wrong_with_a_number() {
        let message = |text: &str| cash(&text_value(text)).unwrap_err().message;
        assert_eq!(message("5"), "`5` has no unit");
        assert_eq!(message("5 dollars"), "`dollars` is not the unit here");
        assert_eq!(message("1.0000001 cash"), "`1.0000001` has too many decimals");
        assert_eq!(message("99999999999999 cash"), "`99999999999999` is too large");
        assert_eq!(message("-5 cash"), "`-5`: amounts carry no sign");
    }

    #[test]
    fn decimals_are_grouped_by_thousands() {
        assert_eq!(grouped("1"), "1");
        assert_eq!(grouped("1234567.891"), "1_234_567.891");
    }

    #[test]
    fn a_near_word_is_suggested_and_a_far_one_is_not() {
        assert_eq!(nearest("suply", &["supply", "price"]), Some("supply"));
        assert_eq!(nearest("colour", &["supply", "price"]), None);
    }
}
