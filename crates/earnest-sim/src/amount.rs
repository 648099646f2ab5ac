//! From the numbers of a future, which are floating, to amounts, which are not: one function each way that rounds, and
//! its rounding is named. All that is done with amounts afterwards is exact.

use earnest_core::money::Bps;

/// The most that a single amount comes to, a little over a trillion of cash. Studies with larger ones are refused; where a
/// future's prices lead to one it is cut, and [`crate::outcome::Metric::Cut`] says so.
pub const MOST: u64 = 1 << 60;

/// `floor(amount × factor)` in double precision, exact below 2⁵³ base units; at most [`MOST`].
#[expect(clippy::cast_possible_truncation, reason = "cut to what fits; a factor below zero gives nothing")]
pub fn scaled(amount: u64, factor: f64) -> u64 {
    // By way of signed numbers, which processors convert in one step.
    ((float(amount) * factor).clamp(0.0, float(MOST)) as i64).cast_unsigned()
}

/// `floor(amount × part)`
pub fn part(amount: u64, part: Bps) -> u64 {
    let part = u64::from(part.get());
    let in_two = || amount / 10_000 * part + amount % 10_000 * part / 10_000;
    amount.checked_mul(part).map_or_else(in_two, |product| product / 10_000)
}

/// `floor(amount × part)` of credits.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a part is between 0 and 1, and more than there is is cut"
)]
pub fn scaled_credits(amount: u128, part: f64) -> u128 {
    ((amount as f64 * part).max(0.0) as u128).min(amount)
}

/// Base units of cash (or hours) as a number to reckon with.
#[expect(clippy::cast_precision_loss, reason = "for what is not an amount any more")]
pub fn float(units: u64) -> f64 {
    i64::try_from(units).map_or(units as f64, |units| units as f64)
}

/// The same of sums.
#[expect(clippy::cast_precision_loss, reason = "for what is not an amount any more")]
pub fn float_sum(units: u128) -> f64 {
    units as f64
}

/// Credits as whole ones.
#[expect(clippy::cast_precision_loss, reason = "for what is not an amount any more")]
pub fn whole_credits(units: u128) -> f64 {
    units as f64 / 1e18
}
