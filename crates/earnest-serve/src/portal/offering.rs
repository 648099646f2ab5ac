//! The first page: what is offered, by whom, under which terms, how it stands and how it can end.

use earnest_core::plan::Plan;
use earnest_core::plan::explain::explain;
use earnest_report::page::markup::{escape, facts, heading, paragraph};
use earnest_report::page::part;
use earnest_report::summary::{Attested, RoundState, SoftCapState};
use earnest_report::words::state_and_price;

use super::keeper::View;
use super::page::{Page, as_of, prose, quoted, sentence, until};
use super::{Shared, documents};

pub(super) fn page(shared: &Shared, view: &View) -> Page {
    let Shared { plan, coins, .. } = shared;
    let summary = &view.summary;
    let rounds = heading(2, "rounds", "Rounds") + &cards(shared, view) + &part::rounds(summary, coins);
    Page::new(&summary.offering, "/")
        .fixed("what", what(plan))
        .live("standing", as_of(view) + &part::headline(summary, coins) + &dates(view))
        .live("rounds-now", rounds)
        .live("vesting-now", part::vesting(summary, &view.raise, coins))
        .live("endings-now", part::endings(summary, plan, coins))
        .fixed("terms", terms(shared))
}

fn what(plan: &Plan) -> String {
    format!(
        "<p class=\"lead\">{} sells positions in this offering. The cash is held in a treasury with rules of its own; once the \
         service is live, a position delivers credits that pay for the service, and nothing else. Until then the cash can \
         come back.</p>\n",
        quoted(&plan.offering.issuer)
    )
}

fn dates(view: &View) -> String {
    let summary = &view.summary;
    let mut rows = Vec::new();
    // How much is missing stands above; here is how long there is.
    if let (SoftCapState::NotYet, Some(date)) = (summary.soft_cap.state, summary.soft_cap.date) {
        rows.push(("Soft cap to be met by", until(date, view.now)));
    }
    let live = match summary.live {
        Attested::Effective { .. } => escape(&sentence(&summary.live.words())),
        Attested::InNotice { effective_at, .. } => {
            format!("Attested, in effect {} unless the guardian objects.", until(effective_at, view.now))
        }
        Attested::NotYet { .. } if summary.refunding => "The deadline has passed: cash goes back.".to_owned(),
        Attested::NotYet { .. } => {
            format!("Not yet. By {}, or the cash goes back.", until(summary.deadline, view.now))
        }
    };
    rows.push(("Service live", live));
    facts(&rows)
}

/// One card for each round, with what can be done there now.
fn cards(shared: &Shared, view: &View) -> String {
    let card = |(i, round): (usize, &earnest_report::summary::RoundSummary)| {
        let next = match round.state {
            RoundState::NotOpenYet { opens_at } => format!("Opens {}", until(opens_at, view.now)),
            RoundState::Open { closes_at } => format!("Closes {}", until(closes_at, view.now)),
            RoundState::Paused { until: end, .. } => format!("Paused until {}", until(end, view.now)),
            RoundState::Closed { clearable_at } => {
                format!("May be cleared {}", until(clearable_at, view.now))
            }
            RoundState::Clearable => "Closed. Anyone may clear it now.".to_owned(),
            RoundState::Clearing => "Clearing has begun. Anyone may go on with it.".to_owned(),
            RoundState::Cleared { .. } => "Cleared. Bids can be settled.".to_owned(),
            RoundState::Failed => "The soft cap was missed: every bid goes back.".to_owned(),
        };
        let link = match round.state {
            RoundState::Open { .. } => "Read and bid",
            _ => "Read",
        };
        format!(
            "<li class=\"card\"><h3><a href=\"/round/{i}\">{}</a> <span class=\"tag\">{}</span></h3>\n<p>{}</p>\n<p>{next}</p>\n\
             <p><a href=\"/round/{i}\">{link}<span class=\"unseen\"> about {}</span></a></p></li>\n",
            escape(&round.name),
            round.state.word(),
            escape(&price(shared, i, round)),
            escape(&round.name)
        )
    };
    let cards: String = view.summary.rounds.iter().enumerate().map(card).collect();
    format!("<ul class=\"cards\">\n{cards}</ul>\n")
}

fn price(shared: &Shared, index: usize, round: &earnest_report::summary::RoundSummary) -> String {
    let kind = part::kind_words(shared.plan.rounds.get(index).map_or("", |round| round.kind.word()));
    let words = state_and_price(round, &shared.coins);
    // The state stands beside it, in a word and with its time.
    let price = words.split_once(". ").map_or(words.as_str(), |(_, price)| price);
    format!("{kind}. {price}")
}

fn terms(shared: &Shared) -> String {
    let plan = &shared.plan;
    let mut html = heading(2, "terms-heading", "Terms and documents");
    html += &format!(
        "<p>What every purchase permit and bid is bound to: <cite>{}</cite>, under the law of {}. Its hash is \
         <code>{}</code>; it covers the texts below and the documents.</p>\n",
        quoted(&plan.terms.title),
        quoted(&plan.terms.governing_law),
        shared.record.terms_hash
    );
    html += &facts(&[("A position", quoted(&plan.terms.position)), ("A credit", quoted(&plan.terms.credit))]);
    if !plan.terms.promises.is_empty() {
        let promises: String =
            plan.terms.promises.iter().map(|text| format!("<li>{}</li>\n", quoted(text))).collect();
        html += &format!("<h3>Promises</h3>\n<ul>\n{promises}</ul>\n");
    }
    html += "<h3>Documents</h3>\n";
    html += &documents::list(shared);
    html += &heading(2, "words-heading", "In plain words");
    html += &in_short(plan);
    html + "<p><a href=\"/plain-words\">The whole plan in plain words</a>: who may do what and when, each round, the locks, \
            the tap, every ending.</p>\n"
}

/// The section of that name of the explanation.
fn in_short(plan: &Plan) -> String {
    let text = explain(plan);
    let section = text.split_once("## In short").map_or("", |(_, after)| after);
    prose(section.split_once("\n## ").map_or(section, |(section, _)| section), 2)
}

/// All that the plan says, for a backer's lawyer.
pub(super) fn plain_words(shared: &Shared) -> Page {
    let text = explain(&shared.plan);
    // The page has a heading of its own.
    let body = text.split_once('\n').map_or(text.as_str(), |(_, body)| body);
    let note = paragraph("Made from the plan file. It says the same as earnest check --explain.");
    Page::new("The plan in plain words", "/")
        .fixed("words", format!("<div class=\"prose-text\">{note}{}</div>\n", prose(body, 0)))
}
