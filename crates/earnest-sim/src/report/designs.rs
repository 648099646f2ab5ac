//! Designs side by side: figures, chances, the course of their cash, how wide their outcomes are, what became of each
//! instrument.

use earnest_report::figure::count as counted;
use earnest_report::page::markup::{details, heading, paragraph};

use super::chart::{Mark, Row, Rows, Scale, fan};
use super::figure::{between, tick, value};
use super::table::{figure, head, key, table, text, words};
use super::view::{View, interval, title};
use super::words::calendar;
use crate::outcome::{Metric, Unit};

/// What the first table shows.
const MAIN: [Metric; 8] = [
    Metric::Funded,
    Metric::Ruin,
    Metric::Mission,
    Metric::PeakNeed,
    Metric::Raised,
    Metric::Kept,
    Metric::Multiple,
    Metric::Loss,
];
/// Of which the width is shown.
const SPREAD: [Metric; 8] = [
    Metric::Mission,
    Metric::PeakNeed,
    Metric::Raised,
    Metric::HoursPerCash,
    Metric::Multiple,
    Metric::Kept,
    Metric::Owed,
    Metric::Runway,
];

/// The table and the chances.
pub(super) fn side_by_side(view: &View<'_>) -> String {
    let mut html = heading(2, "designs", "Designs side by side");
    let about = |design: usize| {
        let about = view.answers.designs[design].about.as_ref()?;
        Some(format!("<li><b>{}</b>: {}</li>\n", text(&view.tag(design)), text(about)))
    };
    let abouts: String = view.designs().filter_map(about).collect();
    if !abouts.is_empty() {
        html += &format!("<ul class=\"plain\">\n{abouts}</ul>\n");
    }
    html += &paragraph(
        "By rank. Below a probability stands its Monte Carlo interval of 95%, below a mean the 5% and the 95% quantile.",
    );
    let titles: Vec<String> =
        ["Design".to_owned()].into_iter().chain(MAIN.map(|metric| format!("{}#", title(metric)))).collect();
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    let row = |&design: &usize| {
        let cells = MAIN.map(|metric| cell(view, design, metric));
        head(&view.tag(design)) + &cells.concat()
    };
    let rows: Vec<String> = view.order.iter().map(row).collect();
    html += &table("The designs by what matters most", &titles, &rows);
    html += &details("All metrics of all designs", &all_metrics(view));
    html + &chances(view)
}

fn cell(view: &View<'_>, design: usize, metric: Metric) -> String {
    let summary = view.sample(design, metric);
    let (low, high) = match metric.meaning().unit {
        Unit::Chance => interval(metric, summary),
        _ => (summary.quantiles[0], summary.quantiles[4]),
    };
    figure(&value(metric, summary.mean), &between(metric, low, high))
}

fn all_metrics(view: &View<'_>) -> String {
    let titles: Vec<String> = ["Metric".to_owned()]
        .into_iter()
        .chain(view.designs().map(|design| format!("{}#", view.tag(design))))
        .collect();
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    let row = |metric: Metric| {
        let cell = |design: usize| {
            let summary = view.sample(design, metric);
            let missing = view.answers.paths as usize - summary.count.min(view.answers.paths as usize);
            let below = match metric.meaning().unit {
                Unit::Chance => String::new(),
                _ => between(metric, summary.quantiles[0], summary.quantiles[4]),
            };
            let below = match missing {
                0 => below,
                _ => format!("{below} in {}", counted(summary.count, "future")),
            };
            figure(&value(metric, summary.mean), &below)
        };
        let meaning = metric.meaning();
        key(meaning.key, title(metric)) + &view.designs().map(cell).collect::<String>()
    };
    let rows: Vec<String> = Metric::ALL.map(row).into();
    table(
        "Means; the 5% and the 95% quantile below, and the number of futures where a question does not arise in all",
        &titles,
        &rows,
    )
}

/// Probability of funding and of ruin, with intervals.
fn chances(view: &View<'_>) -> String {
    let mut html = String::from("<div class=\"pair\">\n");
    for metric in [Metric::Funded, Metric::Ruin] {
        let titled = format!("Probability: {}", title(metric).to_lowercase());
        let row = |&design: &usize| {
            let summary = view.sample(design, metric);
            let (low, high) = interval(metric, summary);
            Row {
                name: view.tag(design),
                figure: format!("{} ({})", value(metric, summary.mean), between(metric, low, high)),
                marks: vec![
                    Mark::Bar { from: 0.0, to: summary.mean, height: 12.0, down: 0.0, class: "fill-1" },
                    Mark::Whisker { low, high, down: 0.0 },
                ],
            }
        };
        let chart = Rows {
            id: format!("chance-{}", metric.meaning().key),
            description: described(view, metric),
            title: titled,
            scale: Scale::parts(),
            label: &|part| tick(metric, part),
            rows: view.order.iter().map(row).collect(),
            line: None,
        };
        html += &framed(&chart.title, &chart.svg());
    }
    html + "</div>\n"
}

/// A chart under its title.
pub(super) fn framed(title: &str, svg: &str) -> String {
    format!("<figure>\n<figcaption>{}</figcaption>\n{svg}</figure>\n", text(title))
}

fn described(view: &View<'_>, metric: Metric) -> String {
    let one = |&design: &usize| {
        let summary = view.sample(design, metric);
        let (low, high) = interval(metric, summary);
        format!("{}: {} ({})", view.tag(design), value(metric, summary.mean), between(metric, low, high))
    };
    view.order.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Cash over the months.
pub(super) fn courses(view: &View<'_>) -> String {
    let mut html = heading(2, "cash", "Cash over the months");
    html += &paragraph(
        "Cash on hand and in the treasury. In nine futures of ten it lies within the light band, in one of two within the \
         dark one; the line is the median. Each chart has a scale of its own.",
    );
    html += "<div class=\"pair\">\n";
    let label = |value: f64| tick(Metric::Raised, value);
    for design in view.designs() {
        let course = &view.answers.designs[design].course;
        let said = |place: usize, when: &str| {
            let five = course.get(place).copied().unwrap_or([f64::NAN; 5]);
            format!(
                "{when}: median {}, {} in nine of ten futures",
                value(Metric::Raised, five[2]),
                between(Metric::Raised, five[0], five[4])
            )
        };
        let last = course.len().saturating_sub(1);
        let description =
            [said(0, "At the start"), said(last / 2, "half way"), said(last, "at the end")].join("; ");
        let title = format!("Cash under {}", view.tag(design));
        let svg = fan(&format!("cash-{design}"), &title, &description, course, &label, &times(view));
        html += &framed(&title, &svg);
    }
    html + "</div>\n"
}

/// Labels of the time: the beginning, the middle and the end.
fn times(view: &View<'_>) -> Vec<(f64, String)> {
    let last = view.answers.months.max(1) - 1;
    let at = |quarter: u32| (f64::from(quarter) / 4.0, calendar(view.answers.start, last * quarter / 4));
    [0, 2, 4].map(at).into()
}

/// Quantile strips.
pub(super) fn spread(view: &View<'_>) -> String {
    let mut html = heading(2, "spread", "How wide the outcomes are");
    html += &paragraph(
        "From the 5% to the 95% quantile, the middle half darker, the upright line at the median. These are differences \
         between futures, not errors of the simulation.",
    );
    html += "<div class=\"pair\">\n";
    for metric in SPREAD {
        let meaning = metric.meaning();
        let row = |&design: &usize| {
            let five = view.sample(design, metric).quantiles;
            Row {
                name: view.tag(design),
                figure: format!("{} ({})", value(metric, five[2]), between(metric, five[0], five[4])),
                marks: vec![
                    Mark::Bar { from: five[0], to: five[4], height: 6.0, down: 0.0, class: "fill-3" },
                    Mark::Bar { from: five[1], to: five[3], height: 12.0, down: 0.0, class: "fill-1" },
                    Mark::Tick(five[2]),
                ],
            }
        };
        let rows: Vec<Row> = view.order.iter().map(row).collect();
        let description = rows.iter().map(|row| format!("{}: median {}", row.name, row.figure));
        let chart = Rows {
            id: format!("spread-{}", meaning.key),
            title: title(metric).to_owned(),
            description: description.collect::<Vec<_>>().join("; "),
            scale: Scale::over(view.designs().flat_map(|design| view.sample(design, metric).quantiles)),
            label: &|value| tick(metric, value),
            rows,
            line: None,
        };
        html += &framed(title(metric), &chart.svg());
    }
    html + "</div>\n"
}

/// Dilution and what each class of backers got.
pub(super) fn instruments(view: &View<'_>) -> String {
    let mut html = heading(2, "instruments", "What each instrument brings and gets");
    html += &paragraph(
        "Medians, with the 5% and the 95% quantile below. The multiple is what backers got or hold at the end for each unit \
         paid, in futures in which anything was paid.",
    );
    let mut rows = Vec::new();
    for design in view.designs() {
        for stake in &view.answers.designs[design].stakes {
            let range = |metric: Metric, summary: &crate::statistics::Summary| {
                figure(
                    &value(metric, summary.quantiles[2]),
                    &between(metric, summary.quantiles[0], summary.quantiles[4]),
                )
            };
            rows.push(
                head(&view.tag(design))
                    + &words(&stake.name, "")
                    + &range(Metric::Raised, &stake.paid)
                    + &range(Metric::Multiple, &stake.multiple)
                    + &range(Metric::Control, &stake.shares),
            );
        }
    }
    html += &table(
        "Instruments",
        &["Design", "Instrument", "Paid in#", "Multiple#", "Part of the shares at the end#"],
        &rows,
    );
    html
}
