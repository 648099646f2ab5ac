//! The answers in a terminal: designs side by side, what decides, and where the answer turns.

use std::fmt::Write;

use earnest_report::figure::plain as clean;

use crate::answers::{Answers, DesignAnswer, MetricAnswer};
use crate::outcome::{Metric, Unit};

/// Metrics shown, in order.
const SHOWN: [Metric; 13] = [
    Metric::Funded,
    Metric::Mission,
    Metric::Ruin,
    Metric::Runway,
    Metric::PeakNeed,
    Metric::Raised,
    Metric::HoursPerCash,
    Metric::Control,
    Metric::Kept,
    Metric::Multiple,
    Metric::Loss,
    Metric::Refunded,
    Metric::Owed,
];

/// The whole summary.
pub fn terminal(answers: &Answers) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}", clean(&answers.name));
    if let Some(note) = &answers.note {
        let _ = writeln!(text, "{}", clean(note));
    }
    let _ = writeln!(
        text,
        "{} futures of {} months, seed {}; means, and quantiles of 5 and 95%. No forecast: it follows from the study.\n",
        answers.paths, answers.months, answers.seed
    );
    for metric in SHOWN {
        table(&mut text, answers, metric);
    }
    table(&mut text, answers, Metric::Cut);
    decision(&mut text, answers);
    flips(&mut text, answers);
    variance(&mut text, answers);
    hindcast(&mut text, answers);
    text
}

fn table(text: &mut String, answers: &Answers, metric: Metric) {
    let meaning = metric.meaning();
    let of = |design: &DesignAnswer| -> Option<MetricAnswer> {
        design.metrics.iter().find(|answer| answer.metric == meaning.key).cloned()
    };
    let rows: Vec<(String, MetricAnswer)> = answers
        .designs
        .iter()
        .filter_map(|design| Some((clean(&design.name), of(design)?)))
        .filter(|(_, answer)| {
            answer.summary.count > 0 && (metric != Metric::Cut || answer.summary.mean > 0.0)
        })
        .collect();
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(text, "{}", meaning.title);
    for (name, answer) in rows {
        let (mean, [low, .., high]) = (answer.summary.mean, answer.summary.quantiles);
        let line = match meaning.unit {
            Unit::Chance => format!("{:>9}  ± {}", percent(mean), percent(1.96 * answer.summary.error)),
            unit => format!("{:>9}  {} to {}", show(mean, unit), show(low, unit), show(high, unit)),
        };
        let _ = writeln!(text, "  {name:<26} {line}");
    }
}

fn decision(text: &mut String, answers: &Answers) {
    let _ = writeln!(
        text,
        "\nRegret by `{}`: what a design loses, on the mean, against the best in each future",
        answers.decide_by
    );
    for regret in &answers.regret {
        let name = clean(&answers.designs[regret.design].name);
        let _ = writeln!(
            text,
            "  {name:<26} {:>9.3}  best, or as good, in {}",
            regret.mean,
            percent(regret.best)
        );
    }
}

fn flips(text: &mut String, answers: &Answers) {
    let _ = writeln!(text, "\nWhere the best design changes, one factor at a time");
    if answers.flips.is_empty() {
        let _ = writeln!(text, "  nowhere between the 1% and the 99% quantile of any prior");
    }
    for flip in &answers.flips {
        let name = |design: usize| clean(&answers.designs[design].name);
        let _ = writeln!(
            text,
            "  {} at {:.3} ({:.3} to {:.3}): {} below, {} above; {} of the prior is below",
            flip.factor,
            flip.at,
            flip.low,
            flip.high,
            name(flip.below),
            name(flip.above),
            percent(flip.probability)
        );
    }
}

fn variance(text: &mut String, answers: &Answers) {
    let _ = writeln!(text, "\nWhat the answer hangs on most (total Sobol index)");
    for variance in &answers.variance {
        let mut indices: Vec<_> = variance.indices.iter().filter(|index| index.total > 0.0).collect();
        indices.sort_by(|a, b| b.total.total_cmp(&a.total));
        let most: Vec<String> =
            indices.iter().take(3).map(|index| format!("{} {:.2}", index.factor, index.total)).collect();
        let most = if most.is_empty() {
            "nothing: it is the same in every future".to_owned()
        } else {
            most.join(", ")
        };
        let _ = writeln!(text, "  {:<26} {most}", clean(&answers.designs[variance.design].name));
    }
}

fn hindcast(text: &mut String, answers: &Answers) {
    let Some(hindcast) = &answers.hindcast else { return };
    let _ = writeln!(
        text,
        "\nAgainst what happened: {} of {} within the 50% interval, {} within the 90% interval",
        hindcast.within_50, hindcast.cases, hindcast.within_90
    );
    for score in &hindcast.scores {
        let unit = Metric::ALL.into_iter().find(|metric| metric.meaning().key == score.metric);
        let unit = unit.map_or(Unit::Ratio, |metric| metric.meaning().unit);
        let [low, .., high] = score.foretold;
        let _ = writeln!(
            text,
            "  {:<44} {:>9}, foretold {}{}",
            clean(&score.name),
            show(score.value, unit),
            if low.is_nan() {
                "in no future".to_owned()
            } else {
                format!("{} to {}", show(low, unit), show(high, unit))
            },
            if score.disputed.is_some() { " (disputed)" } else { "" }
        );
    }
}

/// A value in its unit, short.
fn show(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Chance | Unit::Part => percent(value),
        Unit::Months => format!("{value:.0} mo"),
        Unit::Cash | Unit::Hours => large(value),
        Unit::Ratio => format!("{value:.2}"),
    }
}

fn percent(value: f64) -> String {
    format!("{:.1}%", 100.0 * value)
}

fn large(value: f64) -> String {
    let (size, word) = match value.abs() {
        v if v >= 1e15 => return format!("{value:.1e}"),
        v if v >= 1e9 => (1e9, " B"),
        v if v >= 1e6 => (1e6, " M"),
        v if v >= 1e3 => (1e3, " k"),
        _ => (1.0, ""),
    };
    format!("{:.1}{word}", value / size)
}
