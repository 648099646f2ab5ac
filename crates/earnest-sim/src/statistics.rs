//! Numbers about samples. Values that are no number are left out and counted as such; sums are in the order of the
//! paths, so that they have the same bits always.

use serde::Serialize;

/// Standard normal quantile of 97.5%.
pub const Z95: f64 = 1.959_963_984_540_054;

/// A sample in brief.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Paths in which the question arose.
    pub count: usize,
    /// Mean.
    pub mean: f64,
    /// Monte Carlo standard error of the mean.
    pub error: f64,
    /// Quantiles of 5, 25, 50, 75 and 95%.
    pub quantiles: [f64; 5],
}

/// The quantiles of a [`Summary`].
pub const QUANTILES: [f64; 5] = [0.05, 0.25, 0.5, 0.75, 0.95];

impl Summary {
    /// Of a sample; all not a number where it is empty.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().filter(|value| !value.is_nan()).collect();
        let (mean, error) = mean_and_error(&values);
        values.sort_unstable_by(f64::total_cmp);
        Summary { count: values.len(), mean, error, quantiles: QUANTILES.map(|p| quantile(&values, p)) }
    }
}

/// Mean and its standard error.
pub fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let count = count(values.len());
    let mean = values.iter().sum::<f64>() / count;
    let squares = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>();
    (mean, libm::sqrt(squares / (count - 1.0).max(1.0) / count))
}

/// Of sorted values, between neighbours in proportion.
pub fn quantile(sorted: &[f64], p: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = p * count(last);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and last")]
    let below = libm::floor(place) as usize;
    let part = place - count(below);
    let above = sorted[(below + 1).min(last)];
    if part == 0.0 { sorted[below] } else { sorted[below] + part * (above - sorted[below]) }
}

/// A count as a number to divide by.
#[expect(clippy::cast_precision_loss, reason = "counts are small")]
pub fn count(count: usize) -> f64 {
    count as f64
}

/// Continuous ranked probability score of a sample for what happened: `E|X − y| − ½·E|X − X′|` (Gneiting and Raftery
/// 2007). Less is better; in the unit of the values.
pub fn crps(sorted: &[f64], happened: f64) -> f64 {
    let n = count(sorted.len());
    let away = sorted.iter().map(|x| (x - happened).abs()).sum::<f64>() / n;
    // Σ|xᵢ − xⱼ| over pairs, from the sorted sample in one pass.
    let spread: f64 = sorted.iter().enumerate().map(|(i, x)| (2.0 * count(i) - n + 1.0) * x).sum();
    away - spread / (n * n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_summed_up() {
        let summary = Summary::of([3.0, f64::NAN, 1.0, 2.0, 4.0, 5.0]);
        assert_eq!((summary.count, summary.mean, summary.quantiles[2]), (5, 3.0, 3.0));
        assert!((summary.error - (2.5_f64 / 5.0).sqrt()).abs() < 1e-15);
        assert!(Summary::of([]).mean.is_nan());
    }

    #[test]
    fn the_score_is_the_sum_over_all_pairs() {
        let sorted: [f64; 4] = [1.0, 2.0, 4.0, 8.0];
        let pairs: f64 = sorted.iter().flat_map(|a| sorted.map(|b| (a - b).abs())).sum();
        let away: f64 = sorted.iter().map(|a| (a - 3.0).abs()).sum();
        assert!((crps(&sorted, 3.0) - (away / 4.0 - pairs / 32.0)).abs() < 1e-12);
        assert_eq!(crps(&[5.0], 2.0), 3.0);
    }
}
