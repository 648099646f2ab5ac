//! What is believed of a factor before the fact: three quantiles, a shape between them, the grade of the evidence and
//! where it comes from.

use serde::Serialize;

use crate::normal;

/// Standard normal quantile of 95%: `low` and `high` are the 5% and the 95% quantile.
const Z: f64 = 1.644_853_626_951_472_7;

/// A factor's distribution.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prior {
    /// 5% quantile.
    pub low: f64,
    /// Median.
    pub mid: f64,
    /// 95% quantile.
    pub high: f64,
    /// Between and beyond them.
    pub shape: Shape,
    /// How good the evidence is.
    pub grade: Grade,
    /// Where it comes from.
    pub source: String,
}

/// The scale on which a prior is a normal of two halves: each side of the median has the spread that its own quantile
/// asks for, so that all three are met exactly. `Uniform` runs evenly from the low to the high as its very ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// As it is.
    Normal,
    /// Its logarithm: factors and prices.
    Lognormal,
    /// Its log odds: probabilities and parts.
    Logit,
    /// From end to end.
    Uniform,
    /// Always the median.
    Fixed,
}

/// How good the evidence for a prior is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Grade {
    /// Audited accounts, court records, the contract itself.
    A,
    /// Published by the party concerned, or a reputable data set.
    B,
    /// Comparable cases, press.
    C,
    /// Judgement.
    D,
}

impl Prior {
    /// One value for sure.
    pub fn fixed(value: f64) -> Self {
        Prior {
            low: value,
            mid: value,
            high: value,
            shape: Shape::Fixed,
            grade: Grade::D,
            source: String::new(),
        }
    }

    /// The value at a standard normal quantile `z`; never falls in `z`.
    pub fn at(&self, z: f64) -> f64 {
        let between = |to: fn(f64) -> f64, back: fn(f64) -> f64| {
            let (low, mid, high) = (to(self.low), to(self.mid), to(self.high));
            let spread = if z < 0.0 { mid - low } else { high - mid };
            back(mid + z / Z * spread)
        };
        match self.shape {
            Shape::Normal => between(|x| x, |x| x),
            Shape::Lognormal => between(libm::log, libm::exp),
            Shape::Logit => between(|p| libm::log(p / (1.0 - p)), |x| 1.0 / (1.0 + libm::exp(-x))),
            Shape::Uniform => self.low + normal::below(z) * (self.high - self.low),
            Shape::Fixed => self.mid,
        }
    }
}

impl Prior {
    /// Probability of a value below this, between 0 and 1.
    pub fn below(&self, value: f64) -> f64 {
        let (mut low, mut high) = (-8.0, 8.0);
        for _ in 0..60 {
            let z = f64::midpoint(low, high);
            if self.at(z) < value { low = z } else { high = z }
        }
        normal::below(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_quantiles_are_met() {
        for shape in [Shape::Normal, Shape::Lognormal, Shape::Logit] {
            let prior =
                Prior { low: 0.02, mid: 0.1, high: 0.7, shape, grade: Grade::C, source: String::new() };
            for (z, value, below) in [(-Z, 0.02, 0.05), (0.0, 0.1, 0.5), (Z, 0.7, 0.95)] {
                assert!((prior.at(z) - value).abs() < 1e-12, "{shape:?}");
                assert!((prior.below(value) - below).abs() < 1e-9, "{shape:?}");
            }
            let mut last = f64::NEG_INFINITY;
            for step in -400..400 {
                let value = prior.at(f64::from(step) / 100.0);
                assert!(value >= last);
                last = value;
            }
        }
        let even = Prior { shape: Shape::Uniform, low: 2.0, mid: 3.0, high: 4.0, ..Prior::fixed(0.0) };
        assert!((even.at(0.0) - 3.0).abs() < 1e-12 && (even.at(-9.0) - 2.0).abs() < 1e-9);
    }
}
