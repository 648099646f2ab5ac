//! Figures of what was measured: percentiles, medians, and how they are written.

use serde_json::{Value, json};

/// The value that so many hundredths of all do not exceed.
pub fn percentile(sorted: &[u64], hundredths: usize) -> u64 {
    let rank = (sorted.len() * hundredths).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds to be read")]
pub fn millis(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

pub fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

/// The middle one and the ends.
pub fn spread(values: &[f64], digits: i32) -> Value {
    let ends = [f64::min, f64::max].map(|pick| values.iter().copied().fold(f64::NAN, pick));
    let [median, least, most] = [median(values.to_vec()), ends[0], ends[1]].map(|it| rounded(it, digits));
    json!({"median": median, "min": least, "max": most})
}
