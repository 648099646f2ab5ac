//! Who serves, and how what the service earned is split. What the chain has of the statements is asked of the chain;
//! who has dialled in is the gateway's word; a statement's document is the gateway's too, and is held against its root.

use alloy_primitives::{Address, B256};
use axum::Json;
use axum::body::Bytes as Body;
use axum::extract::{Query, State};
use axum::response::Response;
use earnest_chain::bindings::Revenue;
use earnest_chain::chain::{Chain, ChainError};
use earnest_core::money::{Cash, Credits};
use earnest_report::page::markup::{escape, facts, figure, heading, paragraph};
use serde::Serialize;

use super::page::{Page, as_of};
use super::transaction::{Check, read};
use super::{At, Look, Problem, Shared, prices, shown};
use crate::gateway::journal::Coin;
use crate::gateway::statement::Document;

/// Most providers of a statement that the chain is asked about at once.
const MOST_ASKED: usize = 200;
/// Number of the role that signs receipts, as the contract counts.
const RECEIPT_SIGNER: u8 = 3;

/// A coin's statement as Revenue has it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stated {
    number: u32,
    settled: u128,
    pay: u128,
    paid: u128,
    root: B256,
    /// Burned, or paid to the issuer.
    rest: u128,
}

/// What Revenue says of itself.
struct House {
    share_bps: u16,
    receipt_signer: Address,
    stated: [Stated; 2],
}

const COINS: [Coin; 2] = [Coin::Credits, Coin::Cash];

fn token(shared: &Shared, coin: Coin) -> Address {
    match coin {
        Coin::Credits => shared.record.contracts.credit,
        Coin::Cash => shared.record.contracts.cash,
    }
}

/// An amount of either coin, exact.
pub(super) fn amount(shared: &Shared, coin: Coin, units: u128) -> String {
    match coin {
        Coin::Credits => shared.coins.credits(Credits::from_units(units)),
        Coin::Cash => shared.coins.cash(Cash::from_units(u64::try_from(units).unwrap_or(u64::MAX))),
    }
}

fn stated(shared: &Shared, chain: &mut Chain, coin: Coin) -> Result<Stated, ChainError> {
    let (at, coin) = (shared.record.contracts.revenue, token(shared, coin));
    let last = chain.call(at, &Revenue::statementCall { coin })?;
    let rest = chain.call(at, &Revenue::restPaidCall { coin })?;
    Ok(Stated {
        number: last.number,
        settled: last.settled,
        pay: last.pay,
        paid: last.paid,
        root: last.root,
        rest,
    })
}

fn house(shared: &Shared, chain: &mut Chain) -> Result<House, ChainError> {
    let at = shared.record.contracts.revenue;
    Ok(House {
        share_bps: chain.call(at, &Revenue::shareCall {})?.saturating_to(),
        receipt_signer: chain.call(at, &Revenue::roleCall(RECEIPT_SIGNER))?,
        stated: [stated(shared, chain, Coin::Credits)?, stated(shared, chain, Coin::Cash)?],
    })
}

pub(super) async fn get(State(shared): At, Query(look): Query<Look>) -> Response {
    let house = shared.ask(house).await;
    let house = house.and_then(|house| house.map_err(|_| Problem::silent()));
    shown(State(shared), Query(look), move |shared, view, _| {
        let page =
            Page::new("Providers", "/providers").with_gateway("providers.js").live("standing", as_of(view));
        Some(match &house {
            Err(problem) => page.live("statements", prices::silent(problem)),
            Ok(house) => page
                .fixed("who", who(shared))
                .live("statements", statements(shared, house))
                .fixed("words", words(shared)),
        })
    })
}

/// Filled in by a script from the gateway.
fn who(shared: &Shared) -> String {
    let mut html = heading(2, "who-heading", "Who serves now");
    html += &match &shared.gateway {
        None => paragraph("This portal knows of no gateway, so it cannot say who serves."),
        Some(at) => format!(
            "<p><span class=\"tag\">The gateway\u{2019}s word</span> Asked of <code>{0}</code> by your browser.</p>\n\
             <div id=\"gateway-providers\" data-local><noscript><p>Without JavaScript: \
             <a href=\"{0}/earnest/providers\">the list as the gateway gives it</a>.</p></noscript></div>\n",
            escape(at.url())
        ),
    };
    html
}

fn statements(shared: &Shared, house: &House) -> String {
    let mut html = heading(2, "statements-heading", "What was earned, and whose it is");
    html += &format!(
        "<p><span class=\"tag\">The chain\u{2019}s figures</span> Of what is settled, at most {} goes to providers. Of credits the \
         rest is burned; of cash it goes to the issuer.</p>\n",
        percent(house.share_bps)
    );
    for (coin, stated) in COINS.into_iter().zip(&house.stated) {
        html += &one(shared, coin, stated);
    }
    html += &facts(&[
        ("Revenue", format!("<code>{}</code>", shared.record.contracts.revenue)),
        ("Signs receipts", format!("<code>{}</code>", house.receipt_signer)),
    ]);
    html
}

/// `80%`, `7.5%`
fn percent(bps: u16) -> String {
    let text = format!("{}.{:02}", bps / 100, bps % 100);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

fn one(shared: &Shared, coin: Coin, stated: &Stated) -> String {
    let (word, title, rest) = match coin {
        Coin::Credits => ("credits", "In credits", "Burned"),
        Coin::Cash => ("cash", "In cash", "Paid to the issuer"),
    };
    let id = format!("statement-{word}");
    let mut html = heading(3, &id, title);
    if stated.number == 0 {
        return html + &paragraph("Nothing was settled yet: there is no statement.");
    }
    let shown = |units: u128| escape(&amount(shared, coin, units));
    html += &facts(&[
        ("Statement", format!("number {}", stated.number)),
        ("Settled in all", shown(stated.settled)),
        ("Of that for providers", shown(stated.pay)),
        ("Taken by them so far", shown(stated.paid)),
        (rest, shown(stated.rest)),
        (
            "Merkle root",
            figure(&format!("{}\u{2026}", &stated.root.to_string()[..10]), &stated.root.to_string()),
        ),
    ]);
    let held = match (stated.settled - stated.pay).cmp(&stated.rest) {
        std::cmp::Ordering::Equal => {
            "Settled is what providers have and what is burned or paid on, to the last unit."
        }
        _ => "Part of the issuer\u{2019}s share could not be paid yet: the next statement tries again.",
    };
    html += &paragraph(held);
    if let Some(at) = &shared.gateway {
        html += &format!(
            "<div class=\"document\" data-coin=\"{word}\" data-number=\"{0}\"><div data-local><noscript><p>Without JavaScript: \
             <a href=\"{1}/earnest/statements/{word}/{0}\">the document behind it, as the gateway gives it</a>.</p></noscript></div></div>\n",
            stated.number,
            escape(at.url())
        );
    }
    html
}

fn words(shared: &Shared) -> String {
    let mut html = heading(2, "words-heading", "What is whose word");
    html += "<ul>\n<li>The chain\u{2019}s: how much was settled, paid, burned; what each provider has taken; the root of what each \
             has earned.</li>\n<li>The gateway\u{2019}s, and held against the chain: the document of a statement. This portal builds \
             its tree again and compares the root, so an amount that was changed afterwards shows.</li>\n\
             <li>The gateway\u{2019}s alone: who has dialled in, with which models, whether they are well, and who served which \
             request. Receipts name the provider, and holders can compare.</li>\n</ul>\n";
    let line = "earnest provider --gateway URL --upstream http://localhost:11434/v1";
    let at = shared.gateway.as_ref().map_or("URL", |at| at.url());
    html + &format!(
        "<p>To serve yourself, where the gateway takes you:</p>\n<pre tabindex=\"0\"><code>{}</code></pre>\n",
        escape(&line.replace("URL", at))
    )
}

/// A provider's part of a statement.
#[derive(Serialize)]
struct Part {
    provider: Address,
    earned: String,
    /// Asked of the chain; none for those beyond the most that are asked about.
    taken: Option<String>,
    due: Option<String>,
}

/// What came out of holding a document against the chain.
#[derive(Serialize)]
pub(super) struct Checked {
    checks: Vec<Check>,
    parts: Vec<Part>,
}

/// Holds a statement's document against the chain. Nothing of it is kept.
pub(super) async fn check(State(shared): At, body: Body) -> Result<Json<Checked>, Problem> {
    let document: Document = read(&body)?;
    let answer = move |shared: &Shared, chain: &mut Chain| held(shared, chain, &document);
    shared.ask(answer).await?.map(Json).map_err(|_| Problem::silent())
}

fn held(shared: &Shared, chain: &mut Chain, document: &Document) -> Result<Checked, ChainError> {
    let coin = document.coin;
    let on_chain = stated(shared, chain, coin)?;
    let sum = document.providers.iter().try_fold(0u128, |sum, part| sum.checked_add(part.cumulative));
    let root = document.tree().root();
    let check = |ok: bool, words: String| Check { ok, words };
    let shown = |units: u128| amount(shared, coin, units);
    let checks = vec![
        check(
            document.number == on_chain.number,
            format!("It is statement {}, the last on the chain.", document.number),
        ),
        check(
            (document.settled, document.pay) == (on_chain.settled, on_chain.pay),
            format!(
                "It splits {} and gives {} to providers, as the chain says.",
                shown(document.settled),
                shown(document.pay)
            ),
        ),
        check(
            root == on_chain.root && document.root == root,
            "The tree over its providers, built here again, has the root that is on the chain.".to_owned(),
        ),
        check(
            sum == Some(on_chain.pay),
            "What providers have earned adds up to their pay, to the last unit.".to_owned(),
        ),
    ];
    let (at, token) = (shared.record.contracts.revenue, token(shared, coin));
    let mut parts = Vec::new();
    // The chain is asked only about what its root stands for: a made-up list costs nothing.
    let is_real = root == on_chain.root;
    for (place, part) in document.providers.iter().enumerate() {
        let taken = match is_real && place < MOST_ASKED {
            true => Some(chain.call(at, &Revenue::paidToCall { coin: token, provider: part.provider })?),
            false => None,
        };
        parts.push(Part {
            provider: part.provider,
            earned: shown(part.cumulative),
            taken: taken.map(shown),
            due: taken.map(|taken| shown(part.cumulative.saturating_sub(taken))),
        });
    }
    Ok(Checked { checks, parts })
}
