//! What a study foretold, against what happened: coverage of its intervals and the score of its distributions.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Asked, HINDCAST, Table};
use crate::lab::Prepared;
use crate::outcome::Unit;
use crate::prior::Grade;
use crate::run::Interrupted;
use crate::statistics::{count, crps, quantile};
use crate::study::Observed;

/// All outcomes of a study. What happened or did not is scored and not counted, for between 0 and 1 an interval covers
/// both; nor is what no future had.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hindcast {
    /// One by one.
    pub scores: Vec<Score>,
    /// How many quantities lie within their 50% interval.
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
    /// After so many months.
    pub month: u32,
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

/// `table`: the study's paths to its end. What was seen earlier is compared with the same paths as they stood then.
pub(super) fn score(asked: &Asked<'_>, table: &Table) -> Result<Option<Hindcast>, Interrupted> {
    let study = asked.study;
    let end = study.question.months;
    let months: BTreeSet<u32> = study.outcomes.iter().filter_map(|observed| observed.month).collect();
    let mut tables = BTreeMap::new();
    for (phase, &month) in (HINDCAST..).zip(months.iter().filter(|&&month| month < end)) {
        tables.insert(month, until(asked, phase, month)?);
    }
    let score = |observed: &Observed| {
        let month = observed.month.unwrap_or(end);
        let table = tables.get(&month).unwrap_or(table);
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
            month,
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
    if scores.is_empty() {
        return Ok(None);
    }
    let counted = |which: fn(&Score) -> bool| {
        let quantity = |observed: &Observed| observed.metric.meaning().unit != Unit::Chance;
        let arises = |score: &Score| !score.foretold[2].is_nan();
        let all = scores.iter().zip(&study.outcomes);
        all.filter(|(score, seen)| quantity(seen) && arises(score) && which(score)).count()
    };
    let (within_50, within_90) = (counted(|score| score.within_50), counted(|score| score.within_90));
    Ok(Some(Hindcast { within_50, within_90, cases: counted(|_| true), scores }))
}

/// The study's paths, ending after so many months.
fn until(asked: &Asked<'_>, phase: u32, month: u32) -> Result<Table, Interrupted> {
    let mut study = asked.study.clone();
    study.question.months = month;
    study.question.judged = study.question.judged.min(month);
    let prepared = Prepared::new(&study);
    // The futures are drawn to the study's end, or luck would fall otherwise.
    let short = Asked::new(asked.study, &prepared, asked.workers);
    let chunks = short.futures(phase, "what was seen earlier")?;
    Ok(Table::new(&study, chunks))
}
