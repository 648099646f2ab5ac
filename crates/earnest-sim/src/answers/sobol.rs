//! Where the variance of an answer comes from: Sobol's first and total indices, by the estimators of Saltelli et al. 2010
//! (first) and Jansen 1999 (total), with bootstrap intervals. The factors are taken as independent here, whatever the
//! study's correlations say: with correlated ones the indices would depend on the order of the factors. The luck of the
//! months is a factor of its own.

use serde::Serialize;

use super::{Asked, SOBOL};
use crate::dice::{Dice, Purpose};
use crate::lab::{Costs, Prepared};
use crate::run::{Interrupted, Workers};
use crate::statistics::{count, quantile};
use crate::study::Study;
use crate::world::{Copula, Future, quantiles, values};

/// Base samples of a chunk.
const BLOCK: u32 = 16;
/// Times that the samples are drawn again for an interval.
const BOOTSTRAPS: u32 = 200;

/// One design.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Variance {
    /// Index of the design.
    pub design: usize,
    /// Of the metric that decides.
    pub variance: f64,
    /// By factor, luck last.
    pub indices: Vec<Index>,
}

/// One factor's part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Index {
    /// Key, or `luck`.
    pub factor: &'static str,
    /// What it explains by itself.
    pub first: f64,
    /// Bootstrap interval of 95%.
    pub first_low: f64,
    /// Its upper end.
    pub first_high: f64,
    /// What would be left to explain if all others were known.
    pub total: f64,
    /// Bootstrap interval of 95%.
    pub total_low: f64,
    /// Its upper end.
    pub total_high: f64,
}

/// A function's values at the points of a design of experiments: at A, at B, and at A with one column of B.
#[derive(Clone, Debug)]
pub struct Samples {
    /// At A.
    pub a: Vec<f64>,
    /// At B.
    pub b: Vec<f64>,
    /// By factor: at A with that column of B.
    pub ab: Vec<Vec<f64>>,
}

/// First and total index of each factor and the variance, of samples picked by `of` (all of them, or those of a bootstrap).
pub fn indices(samples: &Samples, of: &[usize]) -> (Vec<(f64, f64)>, f64) {
    let n = count(of.len());
    let both = of.iter().flat_map(|&i| [samples.a[i], samples.b[i]]);
    let mean = both.clone().sum::<f64>() / (2.0 * n);
    let variance = both.map(|y| (y - mean) * (y - mean)).sum::<f64>() / (2.0 * n);
    let index = |ab: &Vec<f64>| {
        let first = of.iter().map(|&i| (samples.b[i] - mean) * (ab[i] - samples.a[i])).sum::<f64>() / n;
        let total =
            of.iter().map(|&i| (samples.a[i] - ab[i]) * (samples.a[i] - ab[i])).sum::<f64>() / (2.0 * n);
        (first / variance, total / variance)
    };
    (samples.ab.iter().map(index).collect(), variance)
}

/// The same with intervals: low and high of the first, low and high of the total.
pub fn with_intervals(samples: &Samples, seed: u64) -> (Vec<[f64; 6]>, f64) {
    let n = samples.a.len();
    let all: Vec<usize> = (0..n).collect();
    let (points, variance) = indices(samples, &all);
    let mut drawn: Vec<Vec<(f64, f64)>> = vec![Vec::new(); points.len()];
    for again in 0..BOOTSTRAPS {
        let mut dice = Dice::new(seed, Purpose::Bootstrap, again.into());
        let most = u32::try_from(n).expect("fewer than four billion");
        let of: Vec<usize> = (0..n).map(|_| dice.below(most) as usize).collect();
        for (factor, index) in drawn.iter_mut().zip(indices(samples, &of).0) {
            factor.push(index);
        }
    }
    let interval = |values: Vec<f64>| {
        let mut values = values;
        values.sort_unstable_by(f64::total_cmp);
        (quantile(&values, 0.025), quantile(&values, 0.975))
    };
    let with = |((first, total), drawn): (&(f64, f64), &Vec<(f64, f64)>)| {
        let (first_low, first_high) = interval(drawn.iter().map(|(first, _)| *first).collect());
        let (total_low, total_high) = interval(drawn.iter().map(|(_, total)| *total).collect());
        [*first, first_low, first_high, *total, total_low, total_high]
    };
    (points.iter().zip(&drawn).map(with).collect(), variance)
}

/// The metric that decides at as many base points, by design; a column for each factor that varies, and luck the last.
pub fn sample(study: &Study, bases: u32, workers: &Workers<'_>) -> Result<Vec<Samples>, Interrupted> {
    samples(&Asked::new(study, &Prepared::new(study), workers), bases)
}

/// Splits the variance of the metric that decides, for every design.
pub(super) fn variance(asked: &Asked<'_>, bases: u32) -> Result<Vec<Variance>, Interrupted> {
    let samples = samples(asked, bases)?;
    let study = asked.study;
    let factors = study.varied();
    let names: Vec<&'static str> =
        factors.iter().map(|factor| factor.meaning().key).chain(["luck"]).collect();
    let of = |(design, samples): (usize, &Samples)| {
        let (indices, variance) = with_intervals(samples, study.question.seed);
        let index = |(factor, numbers): (&&'static str, &[f64; 6])| {
            let &[first, first_low, first_high, total, total_low, total_high] = numbers;
            Index { factor, first, first_low, first_high, total, total_low, total_high }
        };
        Variance { design, variance, indices: names.iter().zip(&indices).map(index).collect() }
    };
    Ok(samples.iter().enumerate().map(of).collect())
}

/// The metric that decides at the points, by design.
fn samples(asked: &Asked<'_>, bases: u32) -> Result<Vec<Samples>, Interrupted> {
    let (study, designs) = (asked.study, asked.study.designs.len());
    let factors = study.varied();
    let (independent, seed) = (Copula::independent(), study.question.seed);
    let metric = study.question.decide_by.index();
    let points = factors.len() + 3;
    let block = |number: u32| number * BLOCK..((number + 1) * BLOCK).min(bases);
    let chunk = |number: u32| {
        let mut numbers = Vec::new();
        let (mut future, mut costs) = (Future::empty(), Costs::default());
        for base in block(number) {
            let a = quantiles(seed, Purpose::Factors, base.into());
            let b = quantiles(seed, Purpose::Again, base.into());
            let mut at = |z: &_, luck: Purpose| {
                let values = values(study, &independent, z, &[]);
                Future::draw(study, values, &mut Dice::new(seed, luck, base.into()), &mut future);
                asked.prepared.costs(&future, &mut costs);
                for design in 0..designs {
                    numbers.push(asked.prepared.live(design, &future, &costs).metrics[metric]);
                }
            };
            at(&a, Purpose::Months);
            at(&b, Purpose::MonthsAgain);
            for factor in &factors {
                let mut mixed = a;
                mixed[factor.index()] = b[factor.index()];
                at(&mixed, Purpose::Months);
            }
            at(&a, Purpose::MonthsAgain);
        }
        numbers
    };
    let length = |number: u32| block(number).len() * points * designs;
    let chunks = asked.workers.chunks(SOBOL, "variance", bases.div_ceil(BLOCK), length, chunk)?;
    let numbers: Vec<f64> = chunks.into_iter().flatten().collect();
    let of = |design: usize| {
        let column = |point: usize| -> Vec<f64> {
            numbers.iter().skip(point * designs + design).step_by(points * designs).copied().collect()
        };
        Samples { a: column(0), b: column(1), ab: (2..points).map(column).collect() }
    };
    Ok((0..designs).map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ishigami and Homma 1990, whose indices are known in closed form.
    fn ishigami(x: [f64; 3]) -> f64 {
        let [x1, x2, x3] = x.map(|u| std::f64::consts::PI * (2.0 * u - 1.0));
        x1.sin() + 7.0 * x2.sin().powi(2) + 0.1 * x3.powi(4) * x1.sin()
    }

    #[test]
    fn the_indices_of_ishigami_are_those_of_its_closed_form() {
        let mut dice = Dice::new(2018, Purpose::Factors, 0);
        let mut samples = Samples { a: vec![], b: vec![], ab: vec![vec![]; 3] };
        for _ in 0..100_000 {
            let (a, b): ([f64; 3], [f64; 3]) =
                (std::array::from_fn(|_| dice.uniform()), std::array::from_fn(|_| dice.uniform()));
            samples.a.push(ishigami(a));
            samples.b.push(ishigami(b));
            for i in 0..3 {
                let mut mixed = a;
                mixed[i] = b[i];
                samples.ab[i].push(ishigami(mixed));
            }
        }
        // V = a²/8 + b·π⁴/5 + b²·π⁸/18 + 1/2, V₁ = ½·(1 + b·π⁴/5)², V₂ = a²/8, V₁₃ = b²·π⁸·8/225, with a = 7, b = 0.1.
        let pi4 = std::f64::consts::PI.powi(4);
        let (v1, v2, v13) =
            (0.5 * (1.0 + 0.1 * pi4 / 5.0).powi(2), 49.0 / 8.0, 0.01 * pi4 * pi4 * 8.0 / 225.0);
        let v = v1 + v2 + v13;
        let (found, variance) = with_intervals(&samples, 1);
        assert!((variance / v - 1.0).abs() < 0.02, "{variance} {v}");
        for (found, (first, total)) in
            found.iter().zip([(v1 / v, (v1 + v13) / v), (v2 / v, v2 / v), (0.0, v13 / v)])
        {
            assert!(
                (found[0] - first).abs() < 0.02 && (found[3] - total).abs() < 0.02,
                "{found:?} {first} {total}"
            );
            assert!(
                found[1] <= found[0] && found[0] <= found[2] && found[4] <= found[3] && found[3] <= found[5]
            );
        }
    }
}
