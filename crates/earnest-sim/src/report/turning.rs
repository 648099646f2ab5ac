//! What moves the answer and where it turns over: tornado, thresholds, parts of the variance, maps.

use earnest_report::page::markup::{details, escape, heading, paragraph};

use super::chart::{Mark, Row, Rows, Scale};
use super::designs::framed;
use super::figure::{distance, joined, of_factor, percent, plain, tick, value};
use super::table::{boxed, figure, head, key, table, text, words};
use super::view::{View, in_words, letter, title};
use crate::answers::{Index, Map, Sweep};

/// Places of a sweep at which its factor is held at the 5% and at the 95% quantile of its prior.
const LOW: usize = 1;
const HIGH: usize = 7;
/// Rows of a chart; a table beside it has them all.
const SHOWN: usize = 8;
/// Backgrounds of designs on a map, after which they begin again; the letter tells.
const COLOURS: usize = 8;

/// By design: the mean with one factor low and high.
pub(super) fn tornado(view: &View<'_>) -> String {
    let mut html = heading(2, "tornado", "What moves each design");
    let sweeps = &view.answers.sweeps;
    if sweeps.is_empty() {
        return html + &paragraph("No factor varies in this study.");
    }
    html += &paragraph(&format!(
        "“{}” on average with one factor held at the 5% quantile of its prior (hollow) and at the 95% quantile (filled), \
         everything else varying as believed. The dashed line is the mean of all futures. The factors that move a design \
         most are drawn, the table has all.",
        title(view.metric)
    ));
    html += "<div class=\"pair\">\n";
    let scale = || {
        let ends = sweeps.iter().flat_map(|sweep| [LOW, HIGH].map(|place| &sweep.means[place]));
        Scale::over(ends.flatten().copied())
    };
    for &design in &view.order {
        let gap = |sweep: &Sweep| (sweep.means[HIGH][design] - sweep.means[LOW][design]).abs();
        let mut moving: Vec<&Sweep> = sweeps.iter().filter(|sweep| gap(sweep) > 0.0).collect();
        moving.sort_by(|a, b| gap(b).total_cmp(&gap(a)));
        let heading = format!("What moves {}", view.tag(design));
        if moving.is_empty() {
            html += &framed(&heading, &paragraph("No factor by itself moves its mean."));
            continue;
        }
        let rows: Vec<Row> =
            moving.iter().take(SHOWN).map(|sweep| tornado_row(view, sweep, design)).collect();
        let described = rows.iter().map(|row| format!("{}: {}", row.name, row.figure)).collect::<Vec<_>>();
        let chart = Rows {
            id: format!("tornado-{design}"),
            description: described.join("; "),
            title: heading,
            scale: scale(),
            label: &|value| tick(view.metric, value),
            rows,
            line: Some(view.mean(design, view.metric)),
        };
        html += &framed(&chart.title, &chart.svg());
    }
    html += "</div>\n";
    html + &details("All factors and designs", &tornado_table(view))
}

fn tornado_row(view: &View<'_>, sweep: &Sweep, design: usize) -> Row {
    let (low, high) = (sweep.means[LOW][design], sweep.means[HIGH][design]);
    Row {
        name: sweep.factor.to_owned(),
        figure: format!("{} → {}", value(view.metric, low), value(view.metric, high)),
        marks: vec![
            Mark::Bar { from: low, to: high, height: 10.0, down: 0.0, class: "fill-2" },
            Mark::Dot { at: low, class: "hollow" },
            Mark::Dot { at: high, class: "dot" },
        ],
    }
}

fn tornado_table(view: &View<'_>) -> String {
    let titles: Vec<String> = ["Factor", "5% quantile#", "95% quantile#"]
        .map(str::to_owned)
        .into_iter()
        .chain(view.designs().map(|design| format!("{}#", view.tag(design))))
        .collect();
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    let row = |sweep: &Sweep| {
        let at = |place: usize| figure(&of_factor(sweep.factor, sweep.values[place]), "");
        let cell = |design: usize| {
            let [low, high] = [LOW, HIGH].map(|place| value(view.metric, sweep.means[place][design]));
            figure(&if low == high { low } else { format!("{low} → {high}") }, "")
        };
        key(sweep.factor, in_words(sweep.factor))
            + &at(LOW)
            + &at(HIGH)
            + &view.designs().map(cell).collect::<String>()
    };
    let rows: Vec<String> = view.answers.sweeps.iter().map(row).collect();
    table(&format!("{}: mean with a factor low and high", title(view.metric)), &titles, &rows)
}

/// Where the first place changes.
pub(super) fn thresholds(view: &View<'_>) -> String {
    let mut html = heading(2, "thresholds", "Where the answer turns over");
    if view.answers.flips.is_empty() {
        return html
            + &paragraph(
                "No single factor changes which design comes first, anywhere from the 1% to the 99% quantile of its prior.",
            );
    }
    html += &paragraph(
        "As one factor rises and everything else varies as believed, the first place goes from one design to another at \
         these values. The interval is the Monte Carlo interval of 95%, cut off at the neighbouring values held.",
    );
    let row = |flip: &crate::answers::Flip| {
        key(flip.factor, in_words(flip.factor))
            + &words(&view.tag(flip.below), "")
            + &figure(
                &of_factor(flip.factor, flip.at),
                &joined(&of_factor(flip.factor, flip.low), &of_factor(flip.factor, flip.high)),
            )
            + &words(&view.tag(flip.above), "")
            + &figure(&percent(flip.probability), "")
    };
    let rows: Vec<String> = view.answers.flips.iter().map(row).collect();
    html + &table(
        "Thresholds",
        &["Factor", "First below", "Threshold#", "First above", "Part of the prior below#"],
        &rows,
    )
}

/// Sobol's indices.
pub(super) fn variance(view: &View<'_>) -> String {
    let mut html = heading(2, "variance", "Where the uncertainty comes from");
    html += &paragraph(&format!(
        "Sobol’s indices of “{}”, with intervals of 95%. Dark bar: the part of the variance that a factor explains by \
         itself (first). Light bar: the part that would be left if all others were known (total). Where the interval is \
         wide, more base samples are needed before anything is read from it.",
        title(view.metric)
    ));
    html += "<div class=\"pair\">\n";
    for variance in &view.answers.variance {
        let design = variance.design;
        let heading = format!("Variance under {}", view.tag(design));
        let mut moving: Vec<&Index> = variance.indices.iter().filter(|index| index.total > 0.0).collect();
        moving.sort_by(|a, b| b.total.total_cmp(&a.total));
        if moving.is_empty() {
            html += &framed(
                &heading,
                &paragraph("The answer is the same in every future sampled: there is no variance to split."),
            );
            continue;
        }
        moving.truncate(SHOWN);
        let ends = moving.iter().flat_map(|index| [index.total_high, index.first_low, index.first_high]);
        let scale = Scale::over(ends.chain([1.0]));
        let rows: Vec<Row> = moving.iter().map(|index| variance_row(index)).collect();
        let described = rows.iter().map(|row| format!("{}: {}", row.name, row.figure)).collect::<Vec<_>>();
        let chart = Rows {
            id: format!("variance-{design}"),
            description: described.join("; "),
            title: heading,
            scale,
            label: &percent,
            rows,
            line: None,
        };
        html += &framed(&chart.title, &chart.svg());
    }
    html += "</div>\n";
    html + &details("All indices", &variance_tables(view))
}

fn variance_row(index: &Index) -> Row {
    Row {
        name: index.factor.to_owned(),
        figure: format!("first {}, total {}", percent(index.first), percent(index.total)),
        marks: vec![
            Mark::Bar { from: 0.0, to: index.first, height: 7.0, down: -4.0, class: "fill-0" },
            Mark::Whisker { low: index.first_low, high: index.first_high, down: -4.0 },
            Mark::Bar { from: 0.0, to: index.total, height: 7.0, down: 6.0, class: "fill-2" },
            Mark::Whisker { low: index.total_low, high: index.total_high, down: 6.0 },
        ],
    }
}

fn variance_tables(view: &View<'_>) -> String {
    let one = |variance: &crate::answers::Variance| {
        let cell = |at: f64, low: f64, high: f64| {
            let below =
                if at.is_finite() { format!("{} to {}", percent(low), percent(high)) } else { String::new() };
            figure(&percent(at), &below)
        };
        let row = |index: &Index| {
            key(index.factor, in_words(index.factor))
                + &cell(index.first, index.first_low, index.first_high)
                + &cell(index.total, index.total_low, index.total_high)
        };
        let rows: Vec<String> = variance.indices.iter().map(row).collect();
        let caption = format!(
            "Sobol’s indices under {}; variance {}",
            view.tag(variance.design),
            plain(variance.variance)
        );
        table(&caption, &["Factor", "First#", "Total#"], &rows)
    };
    view.answers.variance.iter().map(one).collect()
}

/// Winners over two factors.
pub(super) fn maps(view: &View<'_>) -> String {
    if view.answers.maps.is_empty() {
        return String::new();
    }
    let mut html = heading(2, "maps", "Where each design comes first");
    html += &paragraph(
        "Two factors held at values across their priors, everything else varying as believed. The letter is the design that \
         comes first; ? marks a place where its lead over the second is within Monte Carlo error; below it stands the lead.",
    );
    html += "<p class=\"key\">";
    for design in view.designs() {
        html += &format!(
            "<span><b class=\"win-{}\">{}</b> {}</span> ",
            design % COLOURS,
            letter(design),
            text(&view.name(design))
        );
    }
    html += "</p>\n";
    html + &view.answers.maps.iter().map(|one| map(view, one)).collect::<String>()
}

fn map(view: &View<'_>, map: &Map) -> String {
    let column = |x: &f64| format!("<th scope=\"col\">{}</th>", text(&of_factor(map.x, *x)));
    let mut body = format!(
        "<thead><tr><td></td><th scope=\"colgroup\" colspan=\"{}\"><code>{}</code></th></tr>\n<tr><th scope=\"col\"><code>{}</code></th>{}</tr></thead>\n<tbody>\n",
        map.xs.len(),
        escape(map.x),
        escape(map.y),
        map.xs.iter().map(column).collect::<String>()
    );
    for (row, y) in map.ys.iter().enumerate().rev() {
        body += &format!("<tr>{}", head(&of_factor(map.y, *y)));
        for (place, &best) in map.best[row].iter().enumerate() {
            let (mark, words) = if map.sure[row][place] {
                ("", String::new())
            } else {
                ("<b>?</b>", ", within Monte Carlo error".to_owned())
            };
            let lead = distance(view.metric, map.lead[row][place]);
            body += &format!(
                "<td class=\"win-{}\" title=\"{}\">{}{mark}<small>{}</small></td>",
                best % COLOURS,
                text(&format!("{} leads by {lead}{words}", view.name(best))),
                letter(best),
                text(lead.trim_end_matches(" points").trim_end_matches(" point"))
            );
        }
        body += "</tr>\n";
    }
    body += "</tbody>";
    let unit =
        if distance(view.metric, 0.5).ends_with("points") { " (lead in percentage points)" } else { "" };
    boxed(&format!("{} across, {} upward{unit}", map.x, map.y), "map", &body)
}
