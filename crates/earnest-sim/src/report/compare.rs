//! Designs against one another, future by future: paired differences and regret.

use earnest_report::page::markup::{details, heading, paragraph};

use super::figure::{difference, joined, percent, value};
use super::table::{figure, head, table};
use super::view::{View, sign, title};
use crate::outcome::Metric;

/// Metrics by which differences are shown.
const SHOWN: [Metric; 7] = [
    Metric::Funded,
    Metric::Ruin,
    Metric::Mission,
    Metric::PeakNeed,
    Metric::Hours,
    Metric::Kept,
    Metric::Multiple,
];

/// What stands below a difference that may be chance.
const WITHIN: &str = "within error";

/// Against the best design.
pub(super) fn differences(view: &View<'_>) -> String {
    let mut html = heading(2, "differences", "Differences");
    let best = view.best();
    if view.order.len() < 2 {
        return html + &paragraph("There is one design only.");
    }
    html += &paragraph(
        "Each number is the mean, over the same futures, of a design's value less that of the design that comes first. The \
         interval below is its Monte Carlo interval of 95%; where it holds zero, these futures do not tell the two apart.",
    );
    let metrics: Vec<Metric> =
        [view.metric].into_iter().chain(SHOWN.into_iter().filter(|metric| *metric != view.metric)).collect();
    let titles: Vec<String> = ["Design".to_owned()]
        .into_iter()
        .chain(metrics.iter().map(|metric| format!("{}#", title(*metric))))
        .chain(["Better than the first in#".to_owned(), "Equal in#".to_owned()])
        .collect();
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    let row = |&design: &usize| {
        let cells: String = metrics.iter().map(|&metric| cell(view, design, best, metric)).collect();
        let parts = view.difference(design, best, view.metric).map_or([f64::NAN; 2], |pair| {
            [if sign(view.metric) < 0.0 { pair.less } else { pair.more }, pair.equal]
        });
        head(&view.tag(design)) + &cells + &parts.map(|part| figure(&percent(part), "")).concat()
    };
    let rows: Vec<String> = view.order[1..].iter().map(row).collect();
    html += &table(&format!("Differences from {}", view.tag(best)), &titles, &rows);
    html + &details("Every two designs", &every_two(view))
}

fn cell(view: &View<'_>, one: usize, other: usize, metric: Metric) -> String {
    let Some(pair) = view.difference(one, other, metric) else { return figure(super::figure::NONE, "") };
    let range = joined(&difference(metric, pair.low), &difference(metric, pair.high));
    let below = if pair.is_sure() { range } else { format!("{range}, {WITHIN}") };
    figure(&difference(metric, pair.mean), &below)
}

fn every_two(view: &View<'_>) -> String {
    let titles: Vec<String> = ["Less the design above".to_owned()]
        .into_iter()
        .chain(view.designs().map(|design| format!("{}#", view.tag(design))))
        .collect();
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    let row = |one: usize| {
        let cell =
            |other: usize| if one == other { figure("", "") } else { cell(view, one, other, view.metric) };
        head(&view.tag(one)) + &view.designs().map(cell).collect::<String>()
    };
    let rows: Vec<String> = view.designs().map(row).collect();
    table(&format!("Design at the left less design above: {}", title(view.metric)), &titles, &rows)
}

/// How much is lost by having chosen a design.
pub(super) fn regret(view: &View<'_>) -> String {
    let mut html = heading(2, "regret", "Regret");
    html += &paragraph(&format!(
        "In each future: by how much a design falls short of the best design for that very future, by “{}”.",
        title(view.metric)
    ));
    let row = |&design: &usize| {
        let regret = view.answers.regret.iter().find(|regret| regret.design == design)?;
        let say = |by: f64| super::figure::distance(view.metric, by);
        let error = crate::statistics::Z95 * regret.error;
        let interval = if regret.mean.is_finite() && error.is_finite() {
            joined(&say((regret.mean - error).max(0.0)), &say(regret.mean + error))
        } else {
            String::new()
        };
        let cells = figure(&say(regret.mean), &interval)
            + &figure(&say(regret.p95), "")
            + &figure(&value(Metric::Funded, regret.best), "");
        Some(head(&view.tag(design)) + &cells)
    };
    let rows: Vec<String> = view.order.iter().filter_map(row).collect();
    html + &table(
        "Regret, with the Monte Carlo interval of 95% of its mean below",
        &["Design", "Mean#", "95% quantile#", "No other is better in#"],
        &rows,
    )
}
