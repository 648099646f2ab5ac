//! Answers as a report looks at them: designs in order of merit, samples and differences by name, intervals.

use earnest_report::figure::plain;
use earnest_report::page::markup::escape;

use crate::answers::{Answers, MetricAnswer, Pair};
use crate::factor::Factor;
use crate::outcome::{Metric, Unit};
use crate::statistics::{Summary, Z95, count};

/// Answers and what follows from them.
pub(super) struct View<'a> {
    pub(super) answers: &'a Answers,
    /// That by which designs are ranked.
    pub(super) metric: Metric,
    /// Designs, the best first; the earlier where two are equal.
    pub(super) order: Vec<usize>,
}

/// One design minus another, future by future.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Difference {
    pub(super) mean: f64,
    /// Monte Carlo interval of 95%.
    pub(super) low: f64,
    pub(super) high: f64,
    /// Parts of the futures in which the one has more, as much, less.
    pub(super) more: f64,
    pub(super) equal: f64,
    pub(super) less: f64,
}

impl Difference {
    /// Beyond Monte Carlo error.
    pub(super) fn is_sure(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

impl<'a> View<'a> {
    pub(super) fn new(answers: &'a Answers) -> Self {
        let metric = metric(answers.decide_by);
        let mut view = View { answers, metric, order: Vec::new() };
        view.order = view.ranked(metric);
        view
    }

    /// Designs by the mean of a metric, the best first, those without one last.
    pub(super) fn ranked(&self, metric: Metric) -> Vec<usize> {
        let merit = |design: usize| {
            let mean = self.mean(design, metric);
            if mean.is_nan() { f64::NEG_INFINITY } else { sign(metric) * mean }
        };
        let mut order: Vec<usize> = self.designs().collect();
        order.sort_by(|&a, &b| merit(b).total_cmp(&merit(a)));
        order
    }

    pub(super) fn designs(&self) -> std::ops::Range<usize> {
        0..self.answers.designs.len()
    }

    /// The design that comes first.
    pub(super) fn best(&self) -> usize {
        self.order[0]
    }

    pub(super) fn sample(&self, design: usize, metric: Metric) -> &'a Summary {
        sample(&self.answers.designs[design].metrics, metric)
    }

    pub(super) fn mean(&self, design: usize, metric: Metric) -> f64 {
        self.sample(design, metric).mean
    }

    /// Name as it was written, made fit for one line; not escaped.
    pub(super) fn name(&self, design: usize) -> String {
        plain(&self.answers.designs[design].name)
    }

    /// Name in quotation marks, as markup.
    pub(super) fn quoted(&self, design: usize) -> String {
        format!("“{}”", escape(&self.name(design)))
    }

    /// Letter and name, not escaped.
    pub(super) fn tag(&self, design: usize) -> String {
        format!("{} {}", letter(design), self.name(design))
    }

    /// One minus the other by a metric, or nothing where there is no future to compare.
    pub(super) fn difference(&self, one: usize, other: usize, metric: Metric) -> Option<Difference> {
        let key = metric.meaning().key;
        let is = |pair: &&Pair| {
            pair.metric == key && [(one, other), (other, one)].contains(&(pair.one, pair.other))
        };
        let pair = self.answers.pairs.iter().find(is).filter(|pair| pair.count > 0)?;
        let less = (1.0 - pair.more - pair.equal).max(0.0);
        let (more, equal) = (pair.more, pair.equal);
        Some(if pair.one == one {
            Difference { mean: pair.mean, low: pair.low, high: pair.high, more, equal, less }
        } else {
            Difference { mean: -pair.mean, low: -pair.high, high: -pair.low, more: less, equal, less: more }
        })
    }
}

/// What a metric is called on the page, by itself.
pub(super) fn title(metric: Metric) -> &'static str {
    match metric {
        Metric::Runway => "Months until people could not be paid",
        metric => metric.meaning().title,
    }
}

/// 1 where more is better or neither, −1 where less is.
pub(super) fn sign(metric: Metric) -> f64 {
    if metric.meaning().more_is_better == Some(false) { -1.0 } else { 1.0 }
}

/// Of that key.
pub(super) fn metric(key: &str) -> Metric {
    Metric::ALL.into_iter().find(|metric| metric.meaning().key == key).expect("a key of the answers")
}

pub(super) fn sample(metrics: &[MetricAnswer], metric: Metric) -> &Summary {
    let key = metric.meaning().key;
    &metrics.iter().find(|answer| answer.metric == key).expect("every metric is answered").summary
}

/// A design's letter; those of a study are at most sixteen.
pub(super) fn letter(design: usize) -> String {
    let place = u32::try_from(design).ok().filter(|place| *place < 26);
    place.and_then(|place| char::from_u32('A' as u32 + place)).map_or(format!("#{design}"), String::from)
}

/// Monte Carlo interval of 95% around a mean. That of a probability is Wilson's, which is honest near 0 and 1.
pub(super) fn interval(metric: Metric, summary: &Summary) -> (f64, f64) {
    if metric.meaning().unit == Unit::Chance && !summary.mean.is_nan() {
        return wilson(summary.mean, count(summary.count));
    }
    (summary.mean - Z95 * summary.error, summary.mean + Z95 * summary.error)
}

/// Wilson's score interval of 95% for a part seen in so many cases.
pub(super) fn wilson(part: f64, cases: f64) -> (f64, f64) {
    let z = Z95 * Z95 / cases;
    let middle = (part + z / 2.0) / (1.0 + z);
    let half = libm::sqrt(part * (1.0 - part) * z + z * z / 4.0) / (1.0 + z);
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

/// A factor in words: what its number is.
pub(super) fn in_words(key: &str) -> &'static str {
    Factor::of(key).map_or("what the months bring by chance", |factor| factor.meaning().about)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_of_nothing_seen_is_not_nothing() {
        let (low, high) = wilson(0.0, 1_000.0);
        assert!(low == 0.0 && (0.003..0.005).contains(&high), "{high}");
        let (low, high) = wilson(0.5, 100.0);
        assert!((low - 0.404).abs() < 1e-3 && (high - 0.596).abs() < 1e-3);
    }
}
