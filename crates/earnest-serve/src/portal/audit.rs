//! Whether what the chain holds is what the rules give, and how to find out for oneself.

use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use earnest_core::plan::date::utc;
use earnest_report::page::markup::{escape, facts, heading, paragraph};

use super::keeper::View;
use super::page::{Page, as_of};
use super::{At, Problem, Shared};

pub(super) fn page(shared: &Shared, view: &View) -> Page {
    Page::new("Audit", "/audit")
        .live("standing", as_of(view))
        .live("result", result(view))
        .fixed("repeat", repeat(shared))
}

fn result(view: &View) -> String {
    let verdict = match &view.difference {
        None if !view.is_read => "<p class=\"verdict\">The chain is being read. There is no result yet.</p>\n".to_owned(),
        None => "<p class=\"verdict good\"><span class=\"tag\">No difference</span> Every event that was read is what the rules \
                 give, to the last unit.</p>\n"
            .to_owned(),
        Some(difference) => {
            let place = format!(
                "Block {}, transaction {}, event {}: {}.",
                difference.block, difference.tx, difference.index, difference.event
            );
            format!(
                "<p class=\"verdict bad\" role=\"alert\"><span class=\"tag\">A difference</span> {}. {} All figures of these pages \
                 are as of before it.</p>\n",
                escape(&earnest_report::words::capital(&difference.what)),
                escape(&place)
            )
        }
    };
    verdict
        + &facts(&[
            ("Events read", escape(&earnest_report::figure::grouped(&view.events.to_string()))),
            ("Head", format!("{}, {}", view.head.number, escape(&utc(view.head.time)))),
            ("Hash of the head", format!("<code>{}</code>", view.head.hash)),
        ])
}

fn repeat(shared: &Shared) -> String {
    let record = &shared.record;
    let mut html = heading(2, "repeat-heading", "Do it yourself");
    html += &paragraph(
        "Two files are all that is needed: they say what was agreed and where it is. Let your own \
         program read the chain through a node that you trust.",
    );
    html += "<ul>\n<li><a href=\"/plan.toml\" download>plan.toml</a>: the plan</li>\n\
             <li><a href=\"/deployment.json\" download>deployment.json</a>: addresses and parties</li>\n</ul>\n\
             <pre tabindex=\"0\"><code>earnest audit plan.toml --deployment deployment.json --rpc URL</code></pre>\n";
    html += &heading(2, "addresses", "Addresses");
    let code = |address: &dyn std::fmt::Display| format!("<code>{address}</code>");
    let attesters: Vec<String> = record.attesters.iter().map(|attester| code(attester)).collect();
    html + &facts(&[
        ("Chain", record.chain_id.to_string()),
        ("From block", record.block.to_string()),
        ("Offering", code(&record.contracts.offering)),
        ("Treasury", code(&record.contracts.treasury)),
        ("Cash", code(&record.contracts.cash)),
        ("Credits", code(&record.contracts.credit)),
        ("Channels", code(&record.contracts.channels)),
        ("Revenue", code(&record.contracts.revenue)),
        ("Price list", record.contracts.price_list.map_or("none".into(), |at| code(&at))),
        ("Issuer", code(&record.issuer)),
        ("Certifier", code(&record.certifier)),
        ("Guardian", code(&record.guardian)),
        ("First attesters", attesters.join("<br>")),
        ("Deployed by", code(&record.deployer)),
        ("Terms hash", code(&record.terms_hash)),
    ])
}

/// The record, as `earnest deploy` writes it, without the node's address.
pub(super) async fn deployment(State(shared): At) -> Response {
    let text = serde_json::to_string_pretty(&shared.record).unwrap_or_default();
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CONTENT_DISPOSITION, "attachment; filename=\"deployment.json\""),
    ];
    (headers, text).into_response()
}

/// The plan file, byte for byte.
pub(super) async fn plan_file(State(shared): At) -> Response {
    let headers = [
        (CONTENT_TYPE, "application/toml; charset=utf-8"),
        (CONTENT_DISPOSITION, "attachment; filename=\"plan.toml\""),
    ];
    match std::fs::read(shared.folder.join("plan.toml")) {
        Ok(bytes) => (headers, bytes).into_response(),
        Err(_) => Problem::missing("The plan file is not here.").into_response(),
    }
}
