//! The designs under stress, and the study against what happened.

use earnest_report::figure::count as counted;
use earnest_report::page::markup::{heading, paragraph};

use super::figure::{between, of_factor, percent, plain, value};
use super::table::{figure, head, key, prose, table, words};
use super::view::{View, in_words, interval, metric, sample, title};
use super::words::calendar;
use crate::answers::{Hindcast, Score, StressAnswer};
use crate::outcome::{Metric, Unit};
use crate::statistics::Summary;

/// What is shown of a stress.
const SHOWN: [Metric; 3] = [Metric::Funded, Metric::Ruin, Metric::Refunded];

/// Futures by themselves.
pub(super) fn stresses(view: &View<'_>) -> String {
    if view.answers.stresses.is_empty() {
        return String::new();
    }
    let mut html = heading(2, "stress", "Under stress");
    html += &paragraph(
        "Each case holds some factors at a harsh value and lets the others vary as believed. How likely a case is, is not \
         said: it is asked what would follow.",
    );
    let own = (!SHOWN.contains(&view.metric)).then_some(view.metric);
    let metrics = SHOWN.into_iter().chain(own);
    html + &metrics.map(|metric| of_metric(view, metric)).collect::<String>()
}

fn of_metric(view: &View<'_>, metric: Metric) -> String {
    let titles: Vec<String> = ["Case".to_owned()]
        .into_iter()
        .chain(view.designs().map(|design| format!("{}#", view.tag(design))))
        .collect();
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    let cell = |summary: &Summary| {
        let (low, high) = interval(metric, summary);
        let below = match metric.meaning().unit {
            Unit::Chance if summary.count > 0 => between(metric, low, high),
            _ => String::new(),
        };
        figure(&value(metric, summary.mean), &below)
    };
    let as_believed = view.designs().map(|design| cell(view.sample(design, metric))).collect::<String>();
    let case = |stress: &StressAnswer| {
        let held: Vec<String> =
            stress.held.iter().map(|(factor, at)| format!("{factor} {}", of_factor(factor, *at))).collect();
        let name = format!(
            "<th scope=\"row\">{}<small>{}</small></th>",
            super::table::text(&stress.name),
            super::table::text(&held.join(", "))
        );
        name + &stress.designs.iter().map(|metrics| cell(sample(metrics, metric))).collect::<String>()
    };
    let rows: Vec<String> = [head("As believed") + &as_believed]
        .into_iter()
        .chain(view.answers.stresses.iter().map(case))
        .collect();
    let how = if metric.meaning().unit == Unit::Chance { "probability" } else { "mean" };
    table(&format!("{}: {how}", title(metric)), &titles, &rows)
}

/// What was foretold against what happened.
pub(super) fn hindcast(view: &View<'_>) -> String {
    let Some(hindcast) = &view.answers.hindcast else { return String::new() };
    let mut html = heading(2, "hindcast", "Against what happened");
    html += &paragraph(&coverage(hindcast));
    html += &paragraph(
        "The place is the part of the futures below what happened, those equal to it counted half. The score is the continuous ranked probability score, in \
         the unit of the outcome: less is better, and that of the median alone is beside it.",
    );
    let rows: Vec<String> = hindcast.scores.iter().map(|score| row(view, score)).collect();
    html + &table(
        "Outcomes",
        &[
            "Outcome",
            "Compared with",
            "Happened#",
            "Foretold, middle half#",
            "Foretold, nine of ten#",
            "Within",
            "Place#",
            "Score#",
            "Source",
        ],
        &rows,
    )
}

/// How many fell within their intervals, and how little so few cases say.
fn coverage(hindcast: &Hindcast) -> String {
    let cases = hindcast.cases;
    let uncounted = match hindcast.scores.len().saturating_sub(cases) {
        0 => "",
        _ => " What happened or did not is scored and not counted: an interval from 0 to 1 would cover both.",
    };
    if cases == 0 {
        return format!("No outcome is a quantity that an interval could miss.{uncounted}");
    }
    let (half, most) = (usual(cases, 0.5), usual(cases, 0.9));
    let few = if cases < 20 {
        " So few cases, which one history ties together, cannot show that a study is right."
    } else {
        ""
    };
    format!(
        "Of {}, {} fell within the 50% interval and {} within the 90% interval. A forecaster whose intervals are right would \
         find between {} and {} within the one and between {} and {} within the other (in 95 of 100 such studies).{few}{uncounted}",
        counted(cases, "case"),
        hindcast.within_50,
        hindcast.within_90,
        half.0,
        half.1,
        most.0,
        most.1
    )
}

/// The central 95% of a binomial.
fn usual(cases: usize, chance: f64) -> (usize, usize) {
    let (mut term, mut below) = (libm::pow(1.0 - chance, crate::statistics::count(cases)), 0.0);
    let (mut low, mut high) = (None, cases);
    for hits in 0..=cases {
        below += term;
        if low.is_none() && below >= 0.025 {
            low = Some(hits);
        }
        if below >= 0.975 {
            high = hits;
            break;
        }
        term *= crate::statistics::count(cases - hits) / crate::statistics::count(hits + 1) * chance
            / (1.0 - chance);
    }
    (low.unwrap_or(0), high)
}

fn row(view: &View<'_>, score: &Score) -> String {
    let by = metric(score.metric);
    let disputed = score.disputed.map_or_else(String::new, |other| format!("disputed: {}", value(by, other)));
    let within = match (score.within_50, score.within_90) {
        _ if by.meaning().unit == Unit::Chance => "not counted",
        (true, _) => "both",
        (false, true) => "nine of ten",
        (false, false) => "neither",
    };
    head(&score.name)
        + &words(
            title(by),
            &format!(
                "{}, to {}",
                view.tag(score.design),
                calendar(view.answers.start, score.month.max(1) - 1)
            ),
        )
        + &figure(&value(by, score.value), &disputed)
        + &figure(
            &between(by, score.foretold[1], score.foretold[3]),
            &format!("median {}", value(by, score.foretold[2])),
        )
        + &figure(&between(by, score.foretold[0], score.foretold[4]), "")
        + &words(within, "")
        + &figure(&percent(score.place), "")
        + &figure(&value(by, score.crps), &format!("the median alone: {}", value(by, score.crps_of_median)))
        + &prose(&score.source, &format!("grade {:?}", score.grade))
}

/// What was believed, and what stands still.
pub(super) fn priors(view: &View<'_>) -> String {
    let mut html = heading(2, "priors", "What was believed");
    html += &paragraph(
        "Before the fact, and the same for every design. Low, mid and high are the 5%, the 50% and the 95% quantile (of a \
         uniform prior its ends). Grade A: audited accounts, court records, the contract itself; B: published by the party \
         concerned, or a reputable data set; C: comparable cases, press; D: judgement.",
    );
    let row = |shown: &crate::answers::PriorShown| {
        let prior = &shown.prior;
        let at = |value: f64| {
            let said = of_factor(shown.factor, value);
            let (number, unit) = said.split_once(' ').unwrap_or((&said, ""));
            figure(number, unit)
        };
        key(shown.factor, in_words(shown.factor))
            + &[prior.low, prior.mid, prior.high].map(at).concat()
            + &words(&format!("{:?}", prior.shape).to_lowercase(), &format!("grade {:?}", prior.grade))
            + &prose(&prior.source, "")
    };
    let rows: Vec<String> = view.answers.priors.iter().map(row).collect();
    html += &table("Priors", &["Factor", "Low#", "Mid#", "High#", "Shape", "Source"], &rows);
    html += &correlations(&view.answers.correlations);
    if view.answers.at_rest.is_empty() {
        return html + &paragraph("No factor is at rest: each one has a prior.");
    }
    html += &paragraph(
        "At rest: these factors have no prior in the study and stand at their neutral value in every future.",
    );
    html += "<ul class=\"quiet\">\n";
    for factor in &view.answers.at_rest {
        let neutral = crate::factor::Factor::of(factor).map_or(f64::NAN, |factor| factor.meaning().neutral);
        html += &format!(
            "<li><code>{}</code>: {}, {}</li>\n",
            super::table::text(factor),
            super::table::text(in_words(factor)),
            super::table::text(&of_factor(factor, neutral))
        );
    }
    html + "</ul>\n"
}

fn correlations(correlations: &[(&str, &str, f64)]) -> String {
    if correlations.is_empty() {
        return paragraph("The factors are drawn independently of one another.");
    }
    let mut html =
        paragraph("Drawn together, by the correlation of their normal quantiles:") + "<ul class=\"quiet\">\n";
    for (one, other, rho) in correlations {
        let rho = plain(*rho);
        html += &format!("<li><code>{one}</code> and <code>{other}</code>: {rho}</li>\n");
    }
    html + "</ul>\n" + &paragraph("All others are drawn independently.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_cases_say_little() {
        assert_eq!((usual(1, 0.5), usual(1, 0.9)), ((0, 1), (0, 1)));
        assert_eq!((usual(10, 0.5), usual(10, 0.9)), ((2, 8), (7, 10)));
    }
}
