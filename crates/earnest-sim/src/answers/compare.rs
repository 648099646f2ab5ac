//! Designs against one another, future by future.

use serde::Serialize;

use super::Table;
use crate::outcome::Metric;
use crate::statistics::{Z95, count, mean_and_error, quantile};
use crate::study::Study;

/// Two designs by one metric: the first minus the second in each future.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pair {
    /// Index of the first.
    pub one: usize,
    /// Of the second.
    pub other: usize,
    /// Key.
    pub metric: &'static str,
    /// Futures in which both have it.
    pub count: usize,
    /// Mean difference.
    pub mean: f64,
    /// Monte Carlo interval of 95% around it.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// Part of the futures in which the first has more.
    pub more: f64,
    /// In which the two are equal.
    pub equal: f64,
}

/// How much a design loses against the best in each future, by the metric that decides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Regret {
    /// Index.
    pub design: usize,
    /// Mean.
    pub mean: f64,
    /// Monte Carlo error of it.
    pub error: f64,
    /// Its 95% quantile.
    pub p95: f64,
    /// Part of the futures in which no other is better.
    pub best: f64,
}

pub(super) fn pairs(study: &Study, table: &Table) -> Vec<Pair> {
    let designs = study.designs.len();
    let mut pairs = Vec::new();
    for one in 0..designs {
        for other in one + 1..designs {
            for metric in Metric::ALL {
                let both = table.metric(one, metric).zip(table.metric(other, metric));
                let differences: Vec<f64> = both.map(|(a, b)| a - b).filter(|d| !d.is_nan()).collect();
                let (mean, error) = mean_and_error(&differences);
                let part = |of: fn(&&f64) -> bool| {
                    count(differences.iter().filter(of).count()) / count(differences.len())
                };
                pairs.push(Pair {
                    one,
                    other,
                    metric: metric.meaning().key,
                    count: differences.len(),
                    mean,
                    low: mean - Z95 * error,
                    high: mean + Z95 * error,
                    more: part(|d| **d > 0.0),
                    equal: part(|d| **d == 0.0),
                });
            }
        }
    }
    pairs
}

pub(super) fn regret(study: &Study, table: &Table) -> Vec<Regret> {
    let metric = study.question.decide_by;
    let sign = if metric.meaning().more_is_better == Some(false) { -1.0 } else { 1.0 };
    let columns: Vec<Vec<f64>> = (0..study.designs.len())
        .map(|design| table.metric(design, metric).map(|value| sign * value).collect())
        .collect();
    let best: Vec<f64> = (0..table.paths())
        .map(|path| columns.iter().map(|column| column[path]).fold(f64::NEG_INFINITY, f64::max))
        .collect();
    let of = |(design, column): (usize, &Vec<f64>)| {
        let lost: Vec<f64> = column.iter().zip(&best).map(|(own, best)| best - own).collect();
        let (mean, error) = mean_and_error(&lost);
        let mut sorted = lost.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let best = count(lost.iter().filter(|lost| **lost == 0.0).count()) / count(lost.len());
        Regret { design, mean, error, p95: quantile(&sorted, 0.95), best }
    };
    columns.iter().enumerate().map(of).collect()
}
