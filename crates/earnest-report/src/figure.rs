//! How figures are written: exact ones with separators, short ones in millions and billions. Short figures are
//! rounded down, so that none overstates what was raised, but for a millionth, so that 399,999,999.99 reads 400M;
//! the exact one always stands nearby.

use earnest_core::money::{CASH_DECIMALS, CREDIT_DECIMALS, Cash, Credits, Price};
use earnest_core::plan::Plan;
use earnest_core::plan::Time;
use earnest_core::plan::date::utc;

/// Prices at least this large are shown to six decimals; below, every digit counts.
const SMALL_PRICE: u64 = 10_000_000_000;

/// The symbols of a plan's coins, cleaned.
pub struct Coins {
    cash: String,
    credits: String,
}

impl Coins {
    /// Of this plan.
    pub fn of(plan: &Plan) -> Self {
        Coins { cash: plain(&plan.cash.symbol), credits: plain(&plan.credits.symbol) }
    }

    /// `9,940,000,000.5 USDC`
    pub fn cash(&self, cash: Cash) -> String {
        format!("{} {}", grouped(&cash.to_string()), self.cash)
    }

    /// `$9.94B`; `9.94B XYZ` where the coin is not a dollar.
    pub fn short_cash(&self, cash: Cash) -> String {
        let number = short(cash.units().into(), CASH_DECIMALS);
        if self.cash.contains("USD") { format!("${number}") } else { format!("{number} {}", self.cash) }
    }

    /// `SVC`
    pub fn credits_symbol(&self) -> &str {
        &self.credits
    }

    /// `1,250.5 SVC`
    pub fn credits(&self, credits: Credits) -> String {
        format!("{} {}", grouped(&credits.to_string()), self.credits)
    }

    /// `1,250 SVC`, rounded down.
    pub fn whole_credits(&self, credits: Credits) -> String {
        format!("{} {}", whole_credits(credits), self.credits)
    }

    /// `9.94B SVC`
    pub fn short_credits(&self, credits: Credits) -> String {
        format!("{} {}", short_credits(credits), self.credits)
    }

    /// `0.985 USDC a credit`
    pub fn price(&self, price: Price) -> String {
        format!("{} {} a credit", self::price(price), self.cash)
    }

    /// As [`Coins::price`], of an average.
    pub fn average(&self, price: Price) -> String {
        format!("{} {} a credit", average(price), self.cash)
    }
}

/// `9.94B`
pub fn short_credits(credits: Credits) -> String {
    short(credits.units(), CREDIT_DECIMALS)
}

/// `1,250`, rounded down.
pub fn whole_credits(credits: Credits) -> String {
    grouped(&(credits.units() / 10u128.pow(CREDIT_DECIMALS)).to_string())
}

/// A price, rounded down to six decimals unless it is very small.
pub fn price(price: Price) -> String {
    let units = price.units();
    let shown = if units >= SMALL_PRICE { units / 1_000_000 * 1_000_000 } else { units };
    grouped(&Price::from_units(shown).to_string())
}

/// An average, to the nearest sixth decimal: its parts were rounded already, and 0.8 shall not read 0.799999.
pub fn average(average: Price) -> String {
    let units = average.units();
    price(if units >= SMALL_PRICE { Price::from_units(units.saturating_add(500_000)) } else { average })
}

/// Three digits and a scale, rounded down but for a millionth: `9.94B`, `12.5K`, `0.98`.
fn short(units: u128, decimals: u32) -> String {
    let units = units + units / 1_000_000;
    let one = 10u128.pow(decimals);
    let scales = [(1_000_000_000_000, "T"), (1_000_000_000, "B"), (1_000_000, "M"), (1_000, "K")];
    let (scale, letter) = scales.into_iter().find(|&(scale, _)| units / one >= scale).unwrap_or((1, ""));
    let one = one * scale;
    let (whole, hundredths) = (units / one, units % one * 100 / one);
    let part = match whole {
        0 if hundredths == 0 && units > 0 => return "<0.01".to_owned(),
        0..10 => format!("{hundredths:02}"),
        10..100 => (hundredths / 10).to_string(),
        _ => String::new(),
    };
    let part = part.trim_end_matches('0');
    let dot = if part.is_empty() { "" } else { "." };
    format!("{}{dot}{part}{letter}", grouped(&whole.to_string()))
}

/// Commas between thousands, before the decimal point only.
pub fn grouped(number: &str) -> String {
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

/// A part of a whole in percent with one decimal, rounded down; `0%` of nothing.
pub fn percent(part: u128, whole: u128) -> String {
    let Some(per_mille) = part.saturating_mul(1_000).checked_div(whole) else { return "0%".to_owned() };
    tenths(per_mille) + "%"
}

/// An amount of tenths: `57.3`, `8`.
pub fn tenths(tenths: u128) -> String {
    let (whole, part) = (grouped(&(tenths / 10).to_string()), tenths % 10);
    if part == 0 { whole } else { format!("{whole}.{part}") }
}

/// An amount of hundredths as a ratio: `1.25`.
pub fn ratio(hundredths: u64) -> String {
    format!("{}.{:02}", grouped(&(hundredths / 100).to_string()), hundredths % 100)
}

/// `1 bid`, `2,000 bids`
pub fn count(number: usize, unit: &str) -> String {
    format!("{} {unit}{}", grouped(&number.to_string()), if number == 1 { "" } else { "s" })
}

/// The day alone, `2018-01-29`.
pub fn day(time: Time) -> String {
    utc(time)[..10].to_owned()
}

/// What someone else wrote, made fit for one line: no control characters (a terminal would obey them) and none
/// that change the direction of writing.
pub fn plain(text: &str) -> String {
    let unsafe_here = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let clean: String = text.chars().map(|c| if unsafe_here(c) { ' ' } else { c }).collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_figures_have_three_digits_and_overstate_by_a_millionth_at_most() {
        for (units, shown) in [
            (0, "0"),
            (1, "<0.01"),
            (980_000, "0.98"),
            (12_599_900, "12.5"),
            (12_599_999, "12.6"),
            (999_900_000, "999"),
            (999_999_999, "1K"),
            (1_000_000_000, "1K"),
            (9_949_900_000_000_000, "9.94B"),
            (399_999_999_999_998, "400M"),
            (10_000_000_000_000_000, "10B"),
            (12_345_000_000_000_000_000_000, "12,345T"),
        ] {
            assert_eq!(short(units, 6), shown, "{units}");
        }
    }

    #[test]
    fn prices_keep_the_digits_that_count() {
        for (given, shown) in [
            ("0.985", "0.985"),
            ("1.2345678", "1.234567"),
            ("0.000001234567", "0.000001234567"),
            ("1500", "1,500"),
        ] {
            assert_eq!(price(Price::parse(given).unwrap()), shown);
        }
    }

    #[test]
    fn what_others_wrote_cannot_steer_a_terminal() {
        assert_eq!(plain("a\u{1b}[31m\n b\u{202e}c"), "a [31m b c");
    }
}
