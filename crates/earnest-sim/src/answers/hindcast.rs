//! What a study foretold, against what happened: coverage of its intervals and the score of its distributions.

use serde::Serialize;

use super::Table;
use crate::prior::Grade;
use crate::statistics::{count, crps, quantile};
use crate::study::Study;

/// All outcomes of a study.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hindcast {
    /// One by one.
    pub scores: Vec<Score>,
    /// How many lie within their 50% interval.
    pub within_50: usize,
    /// Within their 90% interval.
    pub within_90: usize,
    /// Of how many.
    pub cases: usize,
}

/// One outcome.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// What.
    pub name: String,
    /// Design that it is compared with.
    pub design: usize,
    /// Key.
    pub metric: &'static str,
    /// As it was.
    pub value: f64,
    /// As another account has it.
    pub disputed: Option<f64>,
    /// Quantiles of 5, 25, 50, 75 and 95% that were foretold.
    pub foretold: [f64; 5],
    /// Part of the futures below it, those that hit it counted half.
    pub place: f64,
    /// Continuous ranked probability score, in the unit of the metric.
    pub crps: f64,
    /// That of a forecaster who is sure of the median.
    pub crps_of_median: f64,
    /// Within the 50% interval.
    pub within_50: bool,
    /// Within the 90% interval.
    pub within_90: bool,
    /// Source of the outcome.
    pub source: String,
    /// Its grade.
    pub grade: Grade,
}

pub(super) fn score(study: &Study, table: &Table) -> Option<Hindcast> {
    if study.outcomes.is_empty() {
        return None;
    }
    let score = |observed: &crate::study::Observed| {
        let values = table.metric(observed.design, observed.metric).filter(|value| !value.is_nan());
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let foretold = crate::statistics::QUANTILES.map(|p| quantile(&sorted, p));
        let value = observed.value;
        let below = sorted.partition_point(|x| *x < value);
        let upto = sorted.partition_point(|x| *x <= value);
        Score {
            name: observed.name.clone(),
            design: observed.design,
            metric: observed.metric.meaning().key,
            value,
            disputed: observed.disputed,
            foretold,
            place: (count(below) + count(upto)) / 2.0 / count(sorted.len()),
            crps: crps(&sorted, value),
            crps_of_median: (foretold[2] - value).abs(),
            within_50: (foretold[1]..=foretold[3]).contains(&value),
            within_90: (foretold[0]..=foretold[4]).contains(&value),
            source: observed.source.clone(),
            grade: observed.grade,
        }
    };
    let scores: Vec<Score> = study.outcomes.iter().map(score).collect();
    Some(Hindcast {
        within_50: scores.iter().filter(|score| score.within_50).count(),
        within_90: scores.iter().filter(|score| score.within_90).count(),
        cases: scores.len(),
        scores,
    })
}
