//! The portal: where a backer reads what is offered, bids with a wallet, and sees what became of it. HTML is made here
//! from the index, scripts are small files without a build step, nothing is loaded from elsewhere. Every transaction
//! is made and tried out here first, and explained in words, before a wallet is asked to sign it.

mod activity;
mod asker;
mod assets;
mod audit;
mod bid;
mod channel;
mod desk;
mod documents;
mod keeper;
mod keys;
mod offering;
mod page;
mod positions;
mod prices;
mod providers;
mod reports;
mod risks;
mod round;
mod signing;
mod transaction;
mod treasury;
mod words;

use std::path::PathBuf;
use std::sync::Arc;

use alloy_primitives::Address;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::map_response;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use earnest_chain::chain::{Chain, ChainError};
use earnest_chain::deploy::Record;
use earnest_chain::embedded::DEV_CHAIN_ID;
use earnest_chain::index::Index;
use earnest_core::plan::Plan;
use earnest_report::figure::Coins;
use serde::Deserialize;
use tokio::sync::{Semaphore, watch};

use keeper::View;
use page::Page;

/// Opens the chain. A chain stays on the thread that opened it, and the portal looks at it from two.
pub type Opener = Box<dyn Fn() -> Result<Chain, ChainError> + Send + Sync>;
/// Gives play money to a wallet; says what it gave, or why not.
pub type Faucet = Box<dyn Fn(&mut Chain, Address) -> Result<String, String> + Send + Sync>;

/// What a portal is made of.
pub struct Portal {
    /// What was agreed.
    pub plan: Plan,
    /// What is deployed.
    pub record: Record,
    /// Where `plan.toml` and the documents lie that the plan names.
    pub folder: PathBuf,
    /// The read model. A thread of the portal keeps it fresh.
    pub index: Index,
    /// Opened twice: to follow it with the index, and to try transactions out without waiting for that.
    pub chain: Opener,
    /// JSON-RPC address that a wallet may add for this chain; `/rpc` and the like count from the portal's own address.
    pub node: Option<String>,
    /// Whether an attester's service answers at `/attester/` of the same address.
    pub attester: bool,
    /// On a development chain with play money.
    pub faucet: Option<Faucet>,
    /// The gateway that sells the offering's service, where there is one that browsers can reach.
    pub gateway: Option<GatewayAt>,
    /// A folder with finished reports of studies.
    pub reports: Option<PathBuf>,
}

/// Where a gateway is, as pages call it: scheme, host and port, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayAt(String);

impl GatewayAt {
    /// Reads a base URL; `/v1` at its end may be there. The words say what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || format!("{text:?} is not like https://gateway.example or http://127.0.0.1:8546");
        let base = text.trim().trim_end_matches('/').trim_end_matches("/v1").trim_end_matches('/');
        let (scheme, place) = base.split_once("://").ok_or_else(expected)?;
        // It stands in a header that says what pages may call: nothing that would end its place there.
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-:".contains(c);
        match matches!(scheme, "http" | "https") && !place.is_empty() && place.chars().all(plain) {
            true => Ok(GatewayAt(base.to_owned())),
            false => Err(expected()),
        }
    }

    /// Its base URL, without an end.
    pub fn url(&self) -> &str {
        &self.0
    }
}

/// Most simulations that wait for the chain at once; more are told to come back.
const MOST_WAITING: usize = 32;
/// Most browsers that listen for new heads at once.
const MOST_LISTENERS: usize = 256;
/// Most bytes of a request, but for evidence to be hashed.
const MOST_BODY: usize = 16 * 1_024;
/// Most bytes of evidence.
const MOST_EVIDENCE: usize = crate::server::BODY;

/// Nothing but what this server itself serves, and no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The same for pages that ask the gateway: it answers pages of anyone, and knows its callers by their key alone.
fn policy_with(gateway: &GatewayAt) -> String {
    POLICY.replace("connect-src 'self'", &format!("connect-src 'self' {}", gateway.url()))
}

/// What every request has at hand.
struct Shared {
    plan: Plan,
    record: Record,
    coins: Coins,
    folder: PathBuf,
    asker: asker::Asker,
    view: watch::Sender<Arc<View>>,
    node: Option<String>,
    attester: bool,
    faucet: Option<Faucet>,
    waiting: Semaphore,
    listeners: Arc<Semaphore>,
    papers: Vec<documents::Paper>,
    gateway: Option<GatewayAt>,
    reports: Option<PathBuf>,
    prices: prices::Shelf,
}

type At = State<Arc<Shared>>;

impl Shared {
    fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    fn is_development(&self) -> bool {
        self.record.chain_id == DEV_CHAIN_ID
    }

    /// The cash is play money that this deployment brought along.
    fn is_play_money(&self) -> bool {
        self.is_development() && self.plan.cash.address.is_none()
    }

    /// Does something with the chain, on the chain's thread.
    async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        what: impl FnOnce(&Shared, &mut Chain) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let Ok(_turn) = self.waiting.try_acquire() else { return Err(Problem::busy()) };
        let shared = Arc::downgrade(self);
        let job = move |chain: &mut Chain| Some(what(&*shared.upgrade()?, chain));
        self.asker.ask(job).await.flatten().ok_or_else(Problem::silent)
    }
}

/// Why a request has no answer.
struct Problem {
    status: StatusCode,
    error: String,
    hint: String,
}

impl Problem {
    fn bad(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Problem { status: StatusCode::BAD_REQUEST, error: error.into(), hint: hint.into() }
    }

    fn missing(error: impl Into<String>) -> Self {
        Problem { status: StatusCode::NOT_FOUND, error: error.into(), hint: "See the menu.".into() }
    }

    fn silent() -> Self {
        Problem {
            status: StatusCode::BAD_GATEWAY,
            error: "The chain\u{2019}s node does not answer.".into(),
            hint: "Nothing was sent. Wait a moment and try again.".into(),
        }
    }

    fn busy() -> Self {
        Problem {
            status: StatusCode::SERVICE_UNAVAILABLE,
            error: "Too many people ask the chain at once.".into(),
            hint: "Try again in a moment.".into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "error": self.error, "hint": self.hint });
        (self.status, axum::Json(body)).into_response()
    }
}

/// The portal's pages and answers. A thread that keeps the index fresh lives as long as they do.
pub fn router(portal: Portal) -> Router {
    let Portal { plan, record, folder, index, chain, node, attester, faucet, gateway, reports } = portal;
    let chain = Arc::new(chain);
    let first = Arc::new(View::of(&plan, &index, record.block));
    let shared = Arc::new(Shared {
        coins: Coins::of(&plan),
        papers: documents::papers(&plan, &folder),
        plan,
        record,
        folder,
        asker: asker::Asker::start(chain.clone()),
        view: watch::Sender::new(first),
        node,
        attester,
        faucet,
        waiting: Semaphore::new(MOST_WAITING),
        listeners: Arc::new(Semaphore::new(MOST_LISTENERS)),
        gateway,
        reports,
        prices: prices::Shelf::default(),
    });
    keeper::keep(&shared, index, chain);
    Router::new()
        .route("/", get(|at: At, look: Query<Look>| async move { shown(at, look, |s, v, _| Some(offering::page(s, v))) }))
        .route("/round/{index}", get(round::get))
        .route("/positions", get(positions::get))
        .route("/prices", get(prices::get))
        .route("/prices.json", get(prices::json))
        .route("/providers", get(providers::get))
        .route("/keys", get(keys::get))
        .route("/treasury", get(|at: At, look: Query<Look>| async move { shown(at, look, |s, v, _| Some(treasury::page(s, v))) }))
        .route("/activity", get(|at: At, look: Query<Look>| async move { shown(at, look, |s, v, _| Some(activity::page(s, v))) }))
        .route("/audit", get(|at: At, look: Query<Look>| async move { shown(at, look, |s, v, _| Some(audit::page(s, v))) }))
        .route("/plain-words", get(|at: At, look: Query<Look>| async move { shown(at, look, |s, _, _| Some(offering::plain_words(s))) }))
        .route("/risks", get(|at: At, look: Query<Look>| async move { shown(at, look, |s, v, _| Some(risks::page(s, v))) }))
        .route("/reports", get(reports::list))
        .route("/report/{name}", get(reports::get))
        .route("/document/{index}", get(documents::get))
        .route("/deployment.json", get(audit::deployment))
        .route("/plan.toml", get(audit::plan_file))
        .route("/asset/{name}", get(assets::get))
        .route("/favicon.ico", get(assets::icon))
        .route("/events", get(keeper::events))
        .route("/preview/bid", post(bid::preview))
        .route("/preview/key", post(desk::preview))
        .route("/tx/{action}", post(transaction::make))
        .route("/faucet", post(transaction::faucet))
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .route("/hash", post(transaction::hash).layer(DefaultBodyLimit::max(MOST_EVIDENCE)))
        .route("/statement", post(providers::check).layer(DefaultBodyLimit::max(MOST_EVIDENCE)))
        .fallback(missing)
        .layer(map_response(guarded))
        .with_state(shared)
}

/// What a page may be asked.
#[derive(Deserialize, Default)]
struct Look {
    /// Only the parts that change: what a script puts in place of those it has.
    parts: Option<String>,
    /// Whose positions.
    wallet: Option<String>,
}

fn shown(
    State(shared): At,
    Query(look): Query<Look>,
    page: impl FnOnce(&Shared, &View, &Look) -> Option<Page>,
) -> Response {
    let view = shared.view();
    match page(&shared, &view, &look) {
        Some(page) if look.parts.is_some() => Html(page.live_parts()).into_response(),
        Some(page) => page.answer(&shared, &view),
        None => not_found(&shared, &view),
    }
}

fn not_found(shared: &Shared, view: &View) -> Response {
    (StatusCode::NOT_FOUND, Html(page::not_found().html(shared, view))).into_response()
}

async fn missing(State(shared): At, headers: HeaderMap) -> Response {
    let wants_page = headers
        .get(header::ACCEPT)
        .is_some_and(|kinds| kinds.to_str().is_ok_and(|kinds| kinds.contains("text/html")));
    match wants_page {
        true => not_found(&shared, &shared.view()),
        false => Problem::missing("There is nothing at this address.").into_response(),
    }
}

/// Headers of every answer. A document served as it is may bring markup of its own, so it gets a box without anything.
async fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    };
    set(header::CONTENT_SECURITY_POLICY, POLICY);
    set(header::CACHE_CONTROL, "no-cache");
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::X_FRAME_OPTIONS, "DENY");
    set(header::REFERRER_POLICY, "no-referrer");
    set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin-allow-popups");
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    set(
        HeaderName::from_static("permissions-policy"),
        "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateways_address_is_an_origin_and_nothing_that_ends_a_policy() {
        for (text, url) in [
            ("http://127.0.0.1:8546", "http://127.0.0.1:8546"),
            ("https://api.example.com/v1", "https://api.example.com"),
            ("https://api.example.com/", "https://api.example.com"),
        ] {
            let at = GatewayAt::parse(text).expect("an address");
            assert_eq!(at.url(), url);
            assert!(policy_with(&at).contains(&format!("connect-src 'self' {url};")));
        }
        for text in [
            "",
            "api.example.com",
            "ftp://a",
            "https://",
            "https://a/b",
            "https://a; script-src *",
            "https://a *",
        ] {
            assert!(GatewayAt::parse(text).is_err(), "{text}");
        }
    }
}
