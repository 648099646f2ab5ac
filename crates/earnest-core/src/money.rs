//! Amounts and prices. Integers only, made by named constructors, with the unit in the type;
//! every conversion that divides says which way it rounds, and overflow is an error.

use std::fmt;

use alloy_primitives::U256;
use serde::{Serialize, Serializer};

/// Decimals of the cash coin (USDC and the like).
pub const CASH_DECIMALS: u32 = 6;
/// Decimals of the credit coin.
pub const CREDIT_DECIMALS: u32 = 18;
/// A price is in cash base units per whole credit, times ten to this power.
pub const PRICE_DECIMALS: u32 = 6;
/// Largest amount of cash a bid slot can hold: 60 bits of base units.
pub const CASH_MAX: u64 = (1 << 60) - 1;
/// Largest amount of credits a position can hold: 96 bits of base units.
pub const CREDITS_MAX: u128 = (1 << 96) - 1;
/// `credits base units × price ÷ PRICE_SCALE = cash base units`.
pub const PRICE_SCALE: u128 = 10u128.pow(CREDIT_DECIMALS + PRICE_DECIMALS);

/// Cash in base units (10⁻⁶).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Cash(u64);

/// Credits in base units (10⁻¹⁸).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Credits(u128);

/// Cash per credit, in 10⁻¹² cash per whole credit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Price(u64);

/// Basis points: ten-thousandths.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Bps(u16);

impl Cash {
    /// Nothing.
    pub const ZERO: Cash = Cash(0);

    /// From base units.
    pub const fn from_units(units: u64) -> Self {
        Cash(units)
    }

    /// From whole units of the coin. `None` when it does not fit.
    pub fn from_whole(whole: u64) -> Option<Self> {
        whole.checked_mul(10u64.pow(CASH_DECIMALS)).filter(|&units| units <= CASH_MAX).map(Cash)
    }

    /// Base units.
    pub const fn units(self) -> u64 {
        self.0
    }

    /// Reads `"1_250.5"`. `None` for anything but a plain decimal that fits exactly.
    pub fn parse(text: &str) -> Option<Self> {
        let units = u64::try_from(parse_decimal(text, CASH_DECIMALS)?).ok()?;
        (units <= CASH_MAX).then_some(Cash(units))
    }
}

impl Credits {
    /// Nothing.
    pub const ZERO: Credits = Credits(0);

    /// From base units.
    pub const fn from_units(units: u128) -> Self {
        Credits(units)
    }

    /// From whole credits. `None` when it does not fit.
    pub fn from_whole(whole: u64) -> Option<Self> {
        u128::from(whole)
            .checked_mul(10u128.pow(CREDIT_DECIMALS))
            .filter(|&units| units <= CREDITS_MAX)
            .map(Credits)
    }

    /// Base units.
    pub const fn units(self) -> u128 {
        self.0
    }

    /// Reads `"1_250.5"`. `None` for anything but a plain decimal that fits exactly.
    pub fn parse(text: &str) -> Option<Self> {
        let units = parse_decimal(text, CREDIT_DECIMALS)?;
        (units <= CREDITS_MAX).then_some(Credits(units))
    }

    /// What these credits cost at a price, rounded down.
    pub fn cost_floor(self, price: Price) -> U256 {
        U256::from(self.0) * U256::from(price.0) / U256::from(PRICE_SCALE)
    }
}

impl Price {
    /// From 10⁻¹² cash per whole credit.
    pub const fn from_units(units: u64) -> Self {
        Price(units)
    }

    /// In 10⁻¹² cash per whole credit.
    pub const fn units(self) -> u64 {
        self.0
    }

    /// Reads `"0.377561"`. `None` for anything but a plain decimal that fits exactly.
    pub fn parse(text: &str) -> Option<Self> {
        u64::try_from(parse_decimal(text, CASH_DECIMALS + PRICE_DECIMALS)?).ok().map(Price)
    }

    /// Credits that an amount of cash (or weight) buys, rounded down. `None` at price zero.
    pub fn credits_for(self, cash: u64) -> Option<U256> {
        (self.0 > 0).then(|| U256::from(cash) * U256::from(PRICE_SCALE) / U256::from(self.0))
    }

    /// The price at which `credits` cost `cash`, rounded down, for showing; zero where no credits were sold.
    pub fn average(cash: Cash, credits: Credits) -> Self {
        if credits.0 == 0 {
            return Price(0);
        }
        let units = U256::from(cash.0) * U256::from(PRICE_SCALE) / U256::from(credits.0);
        Price(u64::try_from(units).unwrap_or(u64::MAX))
    }
}

impl Bps {
    /// All of it.
    pub const ONE: Bps = Bps(10_000);

    /// From basis points; `None` above 100%.
    pub const fn new(bps: u16) -> Option<Self> {
        if bps <= 10_000 { Some(Bps(bps)) } else { None }
    }

    /// In basis points.
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// The weight of a bid of `cash` whose buyer takes a schedule at `discount`: `floor(b ÷ (1 − d))`.
/// Zero at a discount of 100%, which no plan may have.
pub fn weight(cash: Cash, discount: Bps) -> u64 {
    let rest = 10_000 - u128::from(discount.0);
    if rest == 0 {
        return 0;
    }
    u64::try_from(u128::from(cash.0) * 10_000 / rest).unwrap_or(u64::MAX)
}

/// A plain decimal (`_` allowed between digits) as an integer of `decimals` places. No sign, no exponent, no
/// silent rounding: more places than there are is `None`.
fn parse_decimal(text: &str, decimals: u32) -> Option<u128> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |s: &str| -> Option<String> {
        let starts_and_ends = s.bytes().next()?.is_ascii_digit() && s.bytes().last()?.is_ascii_digit();
        let clean: String = s.chars().filter(|&c| c != '_').collect();
        (starts_and_ends && clean.bytes().all(|b| b.is_ascii_digit())).then_some(clean)
    };
    let (whole, mut part) = (digits(whole)?, digits(part)?);
    let kept = part.trim_end_matches('0').len();
    if kept > decimals as usize {
        return None;
    }
    part.truncate(kept);
    while part.len() < decimals as usize {
        part.push('0');
    }
    let unit = 10u128.checked_pow(decimals)?;
    let part = if part.is_empty() { 0 } else { part.parse().ok()? };
    whole.parse::<u128>().ok()?.checked_mul(unit)?.checked_add(part)
}

fn decimal(units: u128, decimals: u32) -> String {
    let unit = 10u128.pow(decimals);
    let (whole, part) = (units / unit, units % unit);
    if part == 0 {
        return whole.to_string();
    }
    let part = format!("{part:0width$}", width = decimals as usize);
    format!("{whole}.{}", part.trim_end_matches('0'))
}

macro_rules! shown {
    ($type:ty, $decimals:expr) => {
        /// The exact decimal, without unit or separators.
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&decimal(u128::from(self.0), $decimals))
            }
        }
        /// The exact decimal, as a string.
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}
shown!(Cash, CASH_DECIMALS);
shown!(Credits, CREDIT_DECIMALS);
shown!(Price, CASH_DECIMALS + PRICE_DECIMALS);

/// A percentage, such as `7.5%`.
impl fmt::Display for Bps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}%", decimal(u128::from(self.0), 2)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_and_shown_exactly() {
        for (text, units) in [("0", 0), ("1", 1_000_000), ("1_250.5", 1_250_500_000), ("0.000001", 1)] {
            assert_eq!(Cash::parse(text), Some(Cash(units)), "{text}");
        }
        for text in ["", ".", "1.", ".5", "-1", "+1", "1e3", "0.0000001", "1,000", "_1", "1_", "２", "1.2.3"]
        {
            assert_eq!(Cash::parse(text), None, "{text}");
        }
        assert_eq!(Cash(1_250_500_000).to_string(), "1250.5");
        assert_eq!(Price::parse("0.377561").unwrap().to_string(), "0.377561");
        assert_eq!(Credits::parse("0.000000000000000001"), Some(Credits(1)));
        assert_eq!(Bps(750).to_string(), "7.5%");
    }

    #[test]
    fn a_slower_schedule_weighs_more_and_rounds_down() {
        assert_eq!(weight(Cash(1_000_000), Bps(0)), 1_000_000);
        assert_eq!(weight(Cash(1_000_000), Bps(2_000)), 1_250_000);
        assert_eq!(weight(Cash(1), Bps(750)), 1);
        assert_eq!(weight(Cash(1), Bps(10_000)), 0);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(Cash::from_whole(u64::MAX), None);
        assert_eq!(Cash::parse("1152921504606.846976"), None);
        assert_eq!(Cash::parse("1152921504606.846975"), Some(Cash(CASH_MAX)));
    }
}
