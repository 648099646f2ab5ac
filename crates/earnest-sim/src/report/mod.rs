//! Answers as a board and as an analyst read them: one page, and tables of every future. The page is one file without
//! script, font or image from elsewhere, light and dark, on paper too. It says what follows from the study and how sure
//! that is; it recommends nothing.

mod chart;
mod compare;
mod designs;
mod figure;
mod paths;
mod table;
mod terminal;
#[cfg(test)]
mod tests;
mod trial;
mod turning;
mod view;
mod words;

use earnest_report::page::{STYLE, STYLE_HASH};

use crate::answers::Answers;
use table::text;
use view::View;

pub use paths::{ParquetError, write_csv, write_parquet};
pub use terminal::terminal;

/// What the page adds to the style of all of them.
const OWN_STYLE: &str = include_str!("style.css");
/// SHA-256 of it in base64: the page forbids itself everything else. A test keeps it true.
const OWN_STYLE_HASH: &str = "sha256-G6C+d5J9PqrSAC7ao53atSA003RVJLX5PyBrNCJu124=";

/// How the answers were found, in short.
const METHOD: [&str; 10] = [
    "Common random numbers: every design lives through the same futures, so that a difference between two is of the designs.",
    "Every draw is a function of the seed, the path and its purpose, so that the same study gives the same bits on any number of threads.",
    "The rules of an offering (rounds, clearing, tap, refunds) are those of the contracts’ own model, exact to the unit.",
    "Intervals of means and differences are normal, of probabilities Wilson’s; both are Monte Carlo error only, of 95%. They say nothing about whether the priors are right.",
    "Differences are paired: one design less another in each future, then averaged.",
    "Quantiles lie between neighbours of the sorted sample in proportion. A question that does not arise in a future leaves that future out.",
    "Tornado and thresholds: one factor is held at nine values from its 1% to its 99% quantile; a threshold is where straight lines between two values held cross.",
    "Sobol’s first indices by the estimator of Saltelli and others (2010), total ones by Jansen’s (1999), with bootstrap intervals. They take the factors as independent, whatever the study’s correlations say.",
    "Hindcasts are scored by coverage and by the continuous ranked probability score (Gneiting and Raftery 2007), in the metric’s unit.",
    "Money is whole cash of the study; the simulation itself reckons in integers of its base units.",
];

/// The page.
pub fn html(answers: &Answers) -> String {
    let view = View::new(answers);
    let sections = [
        answer(&view),
        designs::side_by_side(&view),
        designs::courses(&view),
        designs::spread(&view),
        designs::instruments(&view),
        compare::differences(&view),
        compare::regret(&view),
        turning::tornado(&view),
        turning::thresholds(&view),
        turning::variance(&view),
        turning::maps(&view),
        trial::stresses(&view),
        trial::hindcast(&view),
        trial::priors(&view),
        method(&view),
    ];
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src '{STYLE_HASH}' '{OWN_STYLE_HASH}'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}: ways to fund the lab</title>\n\
         <style>{STYLE}</style>\n<style>{OWN_STYLE}</style>\n</head>\n<body>\n{}<main>\n{}{}</main>\n{}</body>\n</html>\n",
        text(&answers.name),
        opening(answers),
        contents(&sections),
        sections.concat(),
        FOOTER
    )
}

const FOOTER: &str = "<footer><div>\n<p>Unaudited. Not legal, tax or investment advice, not a forecast, and no \
    recommendation to sell or to buy anything. What stands here follows from the study’s priors and from nothing else.</p>\n\
    </div></footer>\n";

fn opening(answers: &Answers) -> String {
    let note = answers.note.as_ref().map_or_else(String::new, |note| {
        format!("<p class=\"note\" role=\"note\">{}</p>\n", text(&earnest_report::words::capital(note)))
    });
    format!(
        "<header>\n<h1>{}</h1>\n<p class=\"byline\">Ways to fund the lab, under the same futures. Unaudited; not legal \
         advice; not a forecast.</p>\n{note}</header>\n",
        text(&answers.name)
    )
}

/// Links to the sections, from their headings.
fn contents(sections: &[String]) -> String {
    let link = |section: &String| {
        let (id, rest) = section.strip_prefix("<h2 id=\"")?.split_once("\">")?;
        let title = rest.split_once("</h2>")?.0;
        Some(format!("<li><a href=\"#{id}\">{title}</a></li>\n"))
    };
    let links: String = sections.iter().filter_map(link).collect();
    format!("<nav aria-label=\"Contents\"><ul>\n{links}</ul></nav>\n")
}

fn answer(view: &View<'_>) -> String {
    let mut html = earnest_report::page::markup::heading(2, "answer", "The answer in words");
    let paragraphs =
        |sentences: Vec<String>| sentences.iter().map(|one| format!("<p>{one}</p>\n")).collect::<String>();
    let items = |sentences: Vec<String>| {
        let items: String = sentences.iter().map(|one| format!("<li>{one}</li>\n")).collect();
        if items.is_empty() { items } else { format!("<ul>\n{items}</ul>\n") }
    };
    html += "<h3>What was asked</h3>\n";
    html += &paragraphs(words::asked(view));
    html += "<h3>What comes out</h3>\n<div class=\"answer\">\n";
    html += &paragraphs(words::answer(view));
    html += "</div>\n";
    let turning = words::thresholds(view);
    if !turning.is_empty() {
        html += "<h3>Where it turns over</h3>\n<p>One factor at a time, everything else varying as believed:</p>\n";
        html += &items(turning);
    }
    html += &items(words::stresses(view));
    html + &format!(
        "<p class=\"quiet\">Designs: {}. Intervals in brackets are Monte Carlo error alone: how far a number would move \
         with other random numbers, not how wrong the priors may be.</p>\n",
        words::letters(view)
    )
}

fn method(view: &View<'_>) -> String {
    let mut html = earnest_report::page::markup::heading(2, "method", "How it was reckoned");
    html += "<ol class=\"quiet\">\n";
    for line in METHOD {
        html += &format!("<li>{}</li>\n", text(line));
    }
    html += "</ol>\n";
    let (depth, count) =
        (view.answers.depth, |of: u32, what: &str| earnest_report::figure::count(of as usize, what));
    html + &format!(
        "<p class=\"quiet\">Seed {}, {}, {} of {}; {} for each stress, {} for each value of a factor, {} for each place of a \
         map, {} for the indices.</p>\n",
        view.answers.seed,
        count(view.answers.paths, "future"),
        count(view.answers.months, "month"),
        earnest_report::figure::count(view.answers.designs.len(), "design"),
        count(depth.stress, "future"),
        count(depth.sweep, "future"),
        count(depth.map, "future"),
        count(depth.sobol, "base sample"),
    )
}
