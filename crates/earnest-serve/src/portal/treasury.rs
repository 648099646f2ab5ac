//! The treasury: pots, tap, ceilings, what was drawn and swept, and what those with a role may do.

use earnest_chain::fact::Fact;
use earnest_core::money::Cash;
use earnest_core::plan::date::utc;
use earnest_report::page::markup::{Cell, heading, paragraph, table};
use earnest_report::page::part;
use earnest_report::summary::{Attested, RoundState};

use super::Shared;
use super::keeper::View;
use super::page::{Act, Page, as_of, given, typed};
use super::words::short;

pub(super) fn page(shared: &Shared, view: &View) -> Page {
    Page::new("Treasury", "/treasury")
        .live("standing", as_of(view))
        .live("treasury-now", part::treasury(&view.summary, &shared.plan, &view.raise, &shared.coins))
        .live("acts", acts(shared, view))
        .live("moves", moves(shared, view))
}

fn acts(shared: &Shared, view: &View) -> String {
    let summary = &view.summary;
    let mut html = heading(2, "acts-heading", "What can be done");
    let before = html.len();
    for (i, round) in (0u8..).zip(&summary.rounds) {
        let state = &view.raise.offering.rounds[usize::from(i)];
        if matches!(round.state, RoundState::Cleared { .. }) && state.proceeds + state.dust > state.swept {
            let title = format!("Sweep the proceeds of {}", round.name);
            let words = format!(
                "Moves {} into the pot of the round, once the soft cap is met.",
                shared.coins.cash(Cash::from_units(state.proceeds + state.dust - state.swept))
            );
            html += &Act {
                action: "sweep",
                role: "anyone",
                title: &title,
                words: &words,
                fields: given("round", i),
                button: "Sweep",
            }
            .html();
        }
    }
    if view
        .raise
        .treasury
        .pots
        .iter()
        .zip(&view.raise.offering.rounds)
        .any(|(pot, round)| pot.delivered < round.delivered)
    {
        let words = "Moves the share of delivered credits from the pots of the rounds to the circulating pot. Draws do it too.";
        html += &Act {
            action: "sync",
            role: "anyone",
            title: "Bring the pots up to date",
            words,
            fields: String::new(),
            button: "Sync",
        }
        .html();
    }
    if !summary.refunding && !summary.failed() {
        let words = format!(
            "The tap has released {} that was not drawn.",
            shared.coins.cash(summary.treasury.available)
        );
        let fields = typed(
            "draw-cash",
            "cash",
            "Cash to draw",
            "A plain decimal, such as 1250.5.",
            "inputmode=\"decimal\" required maxlength=\"40\"",
        ) + &typed(
            "draw-to",
            "to",
            "Payee",
            "An address; empty: the connected wallet.",
            "maxlength=\"42\" spellcheck=\"false\"",
        );
        html += &Act {
            action: "draw",
            role: "issuer",
            title: "Draw from the tap",
            words: &words,
            fields,
            button: "Draw",
        }
        .html();
    }
    let subjects = std::iter::once(("that the service is live".to_owned(), summary.live))
        .chain(summary.milestones.iter().map(|m| (format!("the milestone {}", m.name), m.state)));
    for (subject, (name, state)) in (0u8..).zip(subjects) {
        html += &attestation(subject, &name, state);
    }
    if html.len() == before {
        html += &paragraph("Nothing now.");
    } else {
        html += "<p class=\"unacted quiet\">What your wallet may do appears here once it is connected.</p>\n";
    }
    html
}

fn attestation(subject: u8, name: &str, state: Attested) -> String {
    let fields = given("subject", subject);
    match state {
        Attested::NotYet { .. } => {
            let evidence = format!(
                "<div class=\"field\"><label for=\"evidence-file-{subject}\">File that shows it</label>\n\
                 <input type=\"file\" id=\"evidence-file-{subject}\" data-hash-into=\"evidence-{subject}\" \
                 aria-describedby=\"evidence-file-{subject}-hint\">\n<p class=\"hint\" id=\"evidence-file-{subject}-hint\">\
                 Only its hash is used; the file is not kept.</p></div>\n"
            );
            let hash = typed(
                &format!("evidence-{subject}"),
                "evidence",
                "Hash of the evidence",
                "Keccak-256, 0x and 64 digits; filled in when you choose a file.",
                "maxlength=\"66\" required spellcheck=\"false\"",
            );
            let words = "Takes effect after the notice, unless the guardian objects. Anyone can check the hash against the evidence.";
            let title = format!("Attest {name}");
            let fields = fields + &evidence + &hash;
            Act { action: "attest", role: "certifier", title: &title, words, fields, button: "Attest" }.html()
        }
        Attested::InNotice { effective_at, .. } => {
            let words = format!("Voids the attestation, which would take effect {}.", utc(effective_at));
            let title = format!("Object to {name}");
            Act { action: "object", role: "guardian", title: &title, words: &words, fields, button: "Object" }
                .html()
        }
        Attested::Effective { .. } => String::new(),
    }
}

/// Draws and sweeps, newest first.
fn moves(shared: &Shared, view: &View) -> String {
    let coins = &shared.coins;
    let cash = |units: u64| {
        Cell::Figure(coins.short_cash(Cash::from_units(units)), coins.cash(Cash::from_units(units)))
    };
    let name =
        |round: u8| view.summary.rounds.get(usize::from(round)).map_or("", |round| round.name.as_str());
    let small = |units: u128| u64::try_from(units).unwrap_or(u64::MAX);
    let rows: Vec<Vec<Cell>> = view
        .moves
        .iter()
        .filter_map(|event| {
            let (what, units) = match &event.fact {
                Fact::Drawn { cash, to } => (format!("Drawn, paid to {}", short(*to)), small(*cash)),
                Fact::Swept { round, cash } => (format!("Swept from {}", name(*round)), small(*cash)),
                Fact::PotRefunded { payee, cash, .. } => {
                    (format!("Paid back to {}", short(*payee)), small(*cash))
                }
                _ => return None,
            };
            Some(vec![Cell::words(utc(event.time)), Cell::words(what), cash(units)])
        })
        .collect();
    let title = heading(2, "moves-heading", "Draws and sweeps");
    match rows.is_empty() {
        true => title + &paragraph("None among the newest events."),
        false => title + &table("Newest first", &["When", "What", "Cash#"], &rows, false),
    }
}
