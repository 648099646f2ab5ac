//! The gateway: an OpenAI-compatible API paid in credits. A key stands for a channel on the chain and a standing voucher;
//! requests spend from it in memory, charges reach the disk within a flush interval, and claims reach the chain in
//! batches. What is durable before which byte leaves is written in `docs/gateway.md`.

mod again;
mod answer;
pub mod books;
mod clock;
pub mod crash;
pub mod delivery;
mod health;
pub mod job;
pub mod journal;
mod left;
mod meter;
mod metrics;
pub mod order;
pub mod pace;
pub mod pages;
pub mod prices;
pub mod receipt;
pub mod refusal;
mod room;
pub mod route;
pub mod serve;
pub mod statement;
pub mod stream;
pub mod till;
mod trace;
pub mod tries;
mod whole;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock, Weak};
use std::time::Duration;

use alloy_primitives::{Address, hex};
use anyhow::Result;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use earnest_chain::key::Key;
use earnest_chain::voucher::{House, Settlement};
use earnest_core::money::{Cash, Credits};

use self::books::Books;
pub use self::clock::now_ms;
use self::journal::{Bounds, Coin, Journal};
use self::meter::Meter;
use self::metrics::Metrics;
use self::prices::PriceBook;
use self::refusal::Refusal;
use self::room::Rooms;
use self::route::{Patience, Routes, Upstream};
use self::trace::Trace;
use crate::openai::Endpoint;
use crate::openai::dialect::Dialect;
use crate::provider::doors::{Admission, Doors, accept};
use crate::provider::hello::Realm;
use crate::provider::name::Names;
use crate::provider::roster::Roster;

/// How the gateway is run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folder of the journal.
    pub folder: PathBuf,
    /// How much of its disk may be taken.
    pub bounds: Bounds,
    /// Upstreams of the issuer's own.
    pub upstreams: Vec<Upstream>,
    /// Settings of models, by their names in the price list.
    pub dialects: BTreeMap<String, Dialect>,
    /// Who may dial in.
    pub providers: Admission,
    /// What the gateway is called, HOST or HOST:PORT, beside where it listens: providers sign the name that they dial.
    pub names: Vec<String>,
    /// The most of a charge that a provider may ask, in basis points: what Revenue pays out.
    pub share_bps: u16,
    /// How long providers may take.
    pub patience: Patience,
    /// How long a request's body may take to come.
    pub body_time: Duration,
    /// Bytes of long requests that are held at once, and as many of long answers; of each a channel has a quarter at most.
    pub bodies: usize,
    /// Requests of one key at once.
    pub concurrency_per_key: u32,
    /// Model tokens that are written at most where a request does not say.
    pub most_written: u64,
    /// A lease is for so many requests like the one that asks for it.
    pub lease_requests: u64,
    /// How often charges are claimed.
    pub claim_every: Duration,
    /// Charges of a channel, in base units by coin, under which they are not worth a claim yet.
    pub claim_least: [u128; 2],
    /// Blocks that a deposit must be under.
    pub confirmations: u64,
    /// Seconds between the start of a channel's withdrawal and its end.
    pub withdraw_delay: u64,
}

impl Settings {
    /// As `earnest gateway` has them.
    pub fn new(folder: PathBuf) -> Self {
        Settings {
            folder,
            bounds: Bounds::default(),
            upstreams: Vec::new(),
            dialects: BTreeMap::new(),
            providers: Admission::Only(Default::default()),
            names: Vec::new(),
            share_bps: 0,
            patience: Patience {
                head: Duration::from_secs(300),
                soon: Duration::from_secs(30),
                piece: Duration::from_secs(120),
            },
            body_time: Duration::from_secs(60),
            bodies: 512 << 20,
            concurrency_per_key: 4_096,
            most_written: 4_096,
            lease_requests: 64,
            claim_every: Duration::from_secs(600),
            claim_least: [1, 1],
            confirmations: 0,
            withdraw_delay: 86_400,
        }
    }

    fn lease(&self, reserve: u128) -> u128 {
        reserve.saturating_mul(self.lease_requests.into())
    }
}

/// Where the gateway stands on the chain.
#[derive(Clone, Debug)]
pub struct Place {
    /// Where orders, receipts and providers' words count.
    pub house: House,
    /// Where vouchers count.
    pub settlement: Settlement,
    /// The x402 deposit collector.
    pub collector: Address,
    /// The credit and the cash: address, EIP-712 name and version.
    pub coins: [(Address, String, String); 2],
}

impl Place {
    /// Address of a coin.
    pub fn coin(&self, coin: Coin) -> Address {
        self.coins[usize::from(coin == Coin::Cash)].0
    }
}

/// The gateway.
pub struct Gateway {
    /// How it is run.
    pub settings: Settings,
    /// Where it stands.
    pub place: Place,
    /// Where its signatures count.
    pub house: House,
    /// Signs receipts.
    pub key: Key,
    /// What must not be forgotten.
    pub journal: Journal,
    /// Channels and keys.
    pub books: Books,
    /// Who answers.
    pub routes: Routes,
    /// Who dialled in.
    pub roster: Arc<Roster>,
    /// What it is called. Whoever binds its socket says here where.
    pub names: Arc<Names>,
    /// What an operator watches.
    pub metrics: Metrics,
    trace: Trace,
    prices: RwLock<Arc<PriceBook>>,
    /// Takes in nothing more.
    pub draining: AtomicBool,
    /// Streams under way.
    streams: Mutex<Vec<Weak<Meter>>>,
    /// Idempotency keys whose requests run.
    running: Mutex<HashSet<(String, String)>>,
    /// Charges since the last claim.
    unclaimed: AtomicU64,
    /// Claims wait for this.
    pub(crate) claim_now: tokio::sync::Notify,
    /// The chain, where there is one.
    till: Option<till::Till>,
    /// Whoever claims, states or sends back has this: what one has sent must be on the chain before the next looks.
    sending: Mutex<()>,
    /// The day on which whatever was left was claimed last.
    swept: AtomicU64,
    /// Looks at single channels at once.
    looks: tokio::sync::Semaphore,
    /// The same for channels that are not known here: anyone can ask for them, and keeps no holder waiting.
    strangers: tokio::sync::Semaphore,
    /// Long bodies that are unpacked and read at once.
    long_bodies: Arc<tokio::sync::Semaphore>,
    /// For long requests.
    bodies: Rooms,
    /// For long answers that are held whole.
    answers: Rooms,
    /// Answers that were left in the middle.
    left: left::Kept,
}

/// Looks at once.
const LOOKS: usize = 8;
/// Looks at channels that are not known, at once.
const STRANGERS: usize = 4;
/// How often marks of streams are written.
const MARKS: Duration = Duration::from_millis(200);
/// Every so many marks the disk's room is looked at.
const DISK_MARKS: u64 = 5;

/// A request's name: in the order of time, so that the journal's index grows at its end.
fn new_id() -> String {
    format!("req_{:012x}{}", now_ms(), hex::encode(rand::random::<[u8; 10]>()))
}

/// An amount as a plain decimal of whole coins.
pub fn decimal(coin: Coin, units: u128) -> String {
    match coin {
        Coin::Credits => Credits::from_units(units).to_string(),
        Coin::Cash => Cash::from_units(u64::try_from(units).unwrap_or(u64::MAX)).to_string(),
    }
}

/// An amount as people read it.
pub fn amount(coin: Coin, units: u128) -> String {
    format!("{} {}", decimal(coin, units), coin.word())
}

impl Gateway {
    /// Opens the journal and takes up what it says.
    pub fn open(
        settings: Settings,
        place: Place,
        key: Key,
        prices: PriceBook,
        till: Option<till::Till>,
    ) -> Result<Arc<Self>> {
        let (house, signer) = (place.house, key.clone());
        make_private(&settings.folder)?;
        let sign = move |receipt| earnest_chain::voucher::SignedReceipt::sign(house, &signer, receipt);
        let (journal, kept) = Journal::open(&settings.folder.join("gateway.db"), settings.bounds, sign)?;
        if kept.cut_off > 0 {
            eprintln!("{} streams that were cut off are charged up to their last mark", kept.cut_off);
        }
        let roster = Arc::new(Roster::default());
        let routes = Routes::new(roster.clone(), settings.upstreams.clone(), settings.patience)?;
        let gateway = Arc::new(Gateway {
            house,
            key,
            journal,
            books: Books::of(kept, till.is_some()),
            routes,
            roster,
            names: Arc::new(Names::of(&settings.names)?),
            metrics: Metrics::default(),
            trace: Trace::from_environment()?,
            prices: RwLock::new(Arc::new(prices)),
            draining: AtomicBool::new(false),
            streams: Mutex::default(),
            running: Mutex::default(),
            unclaimed: AtomicU64::new(0),
            claim_now: tokio::sync::Notify::new(),
            till,
            sending: Mutex::default(),
            swept: AtomicU64::new(0),
            looks: tokio::sync::Semaphore::new(LOOKS),
            strangers: tokio::sync::Semaphore::new(STRANGERS),
            long_bodies: Arc::new(tokio::sync::Semaphore::new(
                std::thread::available_parallelism().map_or(1, usize::from),
            )),
            bodies: Rooms::new(settings.bodies, serve::BODY),
            answers: Rooms::new(settings.bodies, serve::ANSWER),
            left: left::Kept::default(),
            settings,
            place,
        });
        gateway.check_vouchers()?;
        // Until the first look that succeeds nothing is admitted.
        if let Err(error) = gateway.look_round() {
            eprintln!("warning: the gateway does not see the chain yet: {error:#}");
        }
        Ok(gateway)
    }

    /// The version of the price list that is in force.
    pub fn prices(&self) -> Arc<PriceBook> {
        self.prices.read().expect("no panic holds it").clone()
    }

    /// Another version comes into force.
    pub fn set_prices(&self, prices: PriceBook) {
        *self.prices.write().expect("no panic holds it") = Arc::new(prices);
    }

    /// The chain, where there is one.
    pub fn till(&self) -> Option<&till::Till> {
        self.till.as_ref()
    }

    /// Everything that goes on beside requests, until the gateway is let go of.
    pub fn background(self: &Arc<Self>) {
        let marks = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(MARKS);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            for tick in 0_u64.. {
                ticks.tick().await;
                let Some(gateway) = marks.upgrade() else { return };
                meter::write_marks(&gateway);
                gateway.left.sweep();
                if tick.is_multiple_of(DISK_MARKS) {
                    gateway.journal.look_at_disk();
                }
                gateway
                    .metrics
                    .journal_behind
                    .set(i64::try_from(gateway.journal.behind()).unwrap_or(i64::MAX));
            }
        });
        if self.till.is_some() {
            till::watch(self);
        }
    }

    /// Takes in nothing more and waits for what is under way, but not for ever.
    pub async fn drain(&self, most: Duration) {
        self.draining.store(true, Ordering::Relaxed);
        let end = tokio::time::Instant::now() + most;
        while self.metrics.in_flight.get() > 0 && tokio::time::Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.roster.close();
    }

    /// Writes what there is. What is under way still is cut off.
    pub fn close(&self) {
        self.journal.close();
        self.trace.close();
    }
}

/// Makes a folder for its owner's eyes alone; one that is there stays as it is.
fn make_private(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// All that the gateway serves. Layers cost a request two allocations each and copies of what it carries: what is paid
/// for has none.
pub fn router(gateway: Arc<Gateway>) -> Router {
    let realm = Realm { chain_id: gateway.house.chain_id, revenue: gateway.house.revenue };
    let Settings { providers, share_bps, .. } = &gateway.settings;
    let doors =
        Doors::new(realm, gateway.names.clone(), providers.clone(), *share_bps, gateway.roster.clone());
    let mut router = Router::new()
        .route("/v1/models", get(pages::models))
        .route("/v1/models/{*id}", get(pages::model))
        .route("/earnest/terms", get(pages::terms))
        .route("/earnest/orders", post(order::post))
        .route("/earnest/balance", get(pages::balance))
        .route("/earnest/usage", get(pages::usage))
        .route("/earnest/receipts", get(pages::receipts))
        .route("/earnest/receipts/{id}", get(pages::receipt))
        .route("/earnest/statements/{coin}", get(pages::last_statement))
        .route("/earnest/statements/{coin}/{number}", get(pages::statement))
        .route("/earnest/providers", get(pages::providers))
        .route("/metrics", get(|State(gateway): State<Arc<Gateway>>| async move { gateway.metrics.text() }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(pages::ready))
        .route("/openapi.json", get(pages::openapi))
        .merge(accept(doors).with_state(()))
        .layer(map_response(async |response: Response| for_browsers(response)));
    for endpoint in Endpoint::ALL {
        let handler = move |State(gateway): State<Arc<Gateway>>, request: Request| async move {
            for_browsers(serve::answer(gateway, endpoint, request).await)
        };
        router = router.route(&format!("/v1{}", endpoint.path()), post(handler));
    }
    let missing = |uri: &Uri| {
        let path = uri.path().trim_end_matches('/');
        let of_the_base = Endpoint::ALL.iter().any(|endpoint| path.ends_with(endpoint.path()));
        let hint = if of_the_base { ": the base URL ends in /v1, and the path follows it" } else { "" };
        Refusal::Missing(format!("there is no such page{hint}"), "unknown_url")
    };
    router
        .fallback(async move |method: Method, uri: Uri| preflight_or(&method, missing(&uri)))
        .method_not_allowed_fallback(async |method: Method| preflight_or(&method, Refusal::Method))
        .with_state(gateway)
}

/// Pages of anyone may call the API: what counts is the key, which a browser does not add by itself.
fn for_browsers(mut response: Response) -> Response {
    const SHOWN: &str = "x-request-id, x-earnest-charge, x-earnest-receipt, x-earnest-reserve, x-earnest-replayed, retry-after";
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(SHOWN));
    response
}

/// A browser asks first whether a page may call.
fn preflight_or(method: &Method, refusal: Refusal) -> Response {
    if method != Method::OPTIONS {
        return for_browsers(refusal.into_response());
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*, authorization"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}
