//! Who can answer a request: providers that dialled in and upstreams of the issuer's own, the cheapest healthy one first;
//! and what is learnt of each of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256};
use anyhow::Result;
use axum::http::HeaderMap;
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use serde_json::{Value, json};
use thread_local::ThreadLocal;

use super::health::{Health, Waiting};
use crate::openai::Endpoint;
use crate::openai::dialect::Dialect;
use crate::openai::request::{Added, Asked, Most};
use crate::provider::roster::{Link, Roster};
use crate::upstream::{self, Client, client, upstream_base};

/// An answer's body, whoever gives it.
pub type Body = UnsyncBoxBody<Bytes, BrokeOff>;

/// An answer broke off.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BrokeOff(String);

pub(super) fn broke_off(error: impl std::fmt::Display) -> BrokeOff {
    BrokeOff(error.to_string())
}

/// An OpenAI-compatible server of the issuer's own.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Base URL, such as `http://localhost:11434/v1`, perhaps with a query.
    pub url: String,
    /// Its API key.
    pub key: Option<String>,
    /// Headers that it wants beside.
    pub headers: HeaderMap,
    /// Names in the price list, and how the server takes their requests.
    pub models: Vec<(String, Dialect)>,
    /// Requests at once.
    pub concurrency: usize,
    /// In whose name it serves.
    pub provider: Address,
}

/// How long providers may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From the request to the first byte of the answer.
    pub head: Duration,
    /// The same of a stream, where another operator can be asked; twice that to the first word.
    pub soon: Duration,
    /// Between two pieces of an answer.
    pub piece: Duration,
}

/// All that can be asked.
pub struct Routes {
    roster: Arc<Roster>,
    own: Vec<Arc<Own>>,
    /// One for each thread, so that a connection is used by the thread that it is served by.
    clients: ThreadLocal<Client>,
    pub(super) patience: Patience,
    health: RwLock<HashMap<(Name, Endpoint), Arc<Health>>>,
    /// What of the gateway's additions a server has refused, by model.
    refused: RwLock<HashMap<(Name, String), Added>>,
}

pub(super) struct Own {
    pub(super) upstream: Upstream,
    pub(super) asked: upstream::Upstream,
    taken: AtomicUsize,
}

/// By position, one's own; by operator, whoever dialled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Name {
    Own(usize),
    Operator(Address),
}

/// Who answered, for what is charged and for what is learnt.
#[derive(Clone)]
pub struct Served {
    /// Operator key.
    pub provider: Address,
    /// Its asking price, in basis points of the charge.
    pub ask: u16,
    /// Names that its answers may carry.
    pub names: Vec<String>,
    /// Where it dialled in from, if it did; then it seals what it served.
    pub link: Option<Arc<Link>>,
    /// SHA-256 of the request's body as it was sent, where it seals.
    pub asked: Option<B256>,
    health: Arc<Health>,
    channel: B256,
    /// It broke its word in this answer.
    struck: Arc<AtomicBool>,
    /// What was wrong with this answer has been told.
    told: Arc<AtomicBool>,
}

impl Served {
    /// Whether reasoning that it states and does not show is charged.
    pub fn hidden(&self, most: &Most) -> bool {
        most.hidden.unwrap_or(!self.seals())
    }

    /// It seals what it served.
    pub fn seals(&self) -> bool {
        self.link.is_some()
    }

    /// It broke its word: a strike.
    pub fn strike(&self) {
        if !self.struck.swap(true, Ordering::Relaxed) {
            self.health.failed(self.channel);
        }
    }

    /// It kept it.
    pub fn praise(&self) {
        if !self.struck.load(Ordering::Relaxed) {
            self.health.answered(self.channel);
        }
    }

    /// It found fault with a request that another then served.
    pub(super) fn refuted(&self, by_own: bool) {
        self.health.refuted(self.channel, by_own);
    }

    /// Tells the gateway's operator, each thing once and not too many.
    pub fn warn(&self, what: impl FnOnce() -> String) {
        let what = what();
        self.warn_of(&what, || what.clone());
    }

    /// The same, where the words are others each time.
    pub(super) fn warn_of(&self, which: &str, what: impl FnOnce() -> String) {
        self.told.store(true, Ordering::Relaxed);
        if self.health.warned.is_new(which) {
            eprintln!("warning: {}: {}", self.provider, what());
        }
    }

    /// Tells it of an answer of which nothing was told yet.
    pub(super) fn warn_once(&self, what: impl FnOnce() -> String) {
        if !self.told.load(Ordering::Relaxed) {
            self.warn(what);
        }
    }

    /// The same in another answer, to a body with this hash.
    pub(super) fn again(&self, asked: Option<B256>) -> Self {
        Served { asked, struck: Arc::default(), ..self.clone() }
    }

    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    /// It is asked now. `soon`: it should say something at once.
    pub(super) fn waiting(&self, soon: bool) -> Waiting {
        self.health.asked(self.channel, soon)
    }

    /// Whether this channel's requests go to it before others.
    pub(super) fn is_well(&self) -> bool {
        self.health.well(Some(self.channel))
    }
}

/// One that can be tried.
pub(super) struct Candidate {
    pub(super) name: Name,
    pub(super) at: At,
    pub(super) served: Served,
    pub(super) dialect: Dialect,
    busy: usize,
}

pub(super) enum At {
    Own(Arc<Own>),
    Link(Arc<Link>),
}

/// Counts a request of an upstream of one's own until its answer is let go of.
pub(super) struct Turn(Arc<Own>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer that has begun.
pub struct Begun {
    /// By whom.
    pub served: Served,
    /// What follows.
    pub body: Body,
    /// A head is no word yet: until when one waits for one.
    pub(super) waiting: Waiting,
    pub(super) until: Instant,
}

impl Own {
    /// A turn, if it takes one more request at once.
    pub(super) fn turn(self: &Arc<Self>) -> Option<Turn> {
        let turn = Turn(self.clone());
        (self.taken.fetch_add(1, Ordering::Relaxed) < self.upstream.concurrency).then_some(turn)
    }

    fn of(upstream: Upstream) -> Result<Self> {
        let base = upstream_base(&upstream.url)?;
        let asked = upstream::Upstream::new(&base, upstream.key.as_deref(), &upstream.headers)?;
        Ok(Own { upstream, asked, taken: AtomicUsize::new(0) })
    }
}

impl Routes {
    /// Over those who dial in, and upstreams of one's own.
    pub fn new(roster: Arc<Roster>, own: Vec<Upstream>, patience: Patience) -> Result<Self> {
        let own = own.into_iter().map(|upstream| Own::of(upstream).map(Arc::new)).collect::<Result<_>>()?;
        let (clients, health, refused) = (ThreadLocal::new(), RwLock::default(), RwLock::default());
        Ok(Routes { roster, own, clients, patience, health, refused })
    }

    fn health(&self, name: Name, endpoint: Endpoint) -> Arc<Health> {
        if let Some(health) = self.health.read().expect("no panic holds it").get(&(name, endpoint)) {
            return health.clone();
        }
        self.health.write().expect("no panic holds it").entry((name, endpoint)).or_default().clone()
    }

    /// Whether it is well wherever it was asked.
    fn is_well(&self, name: Name) -> bool {
        let health = self.health.read().expect("no panic holds it");
        let of = |endpoint: &Endpoint| health.get(&(name, *endpoint));
        Endpoint::ALL.iter().filter_map(of).all(|health| health.well(None))
    }

    /// The client of the thread that asks.
    pub(super) fn client(&self) -> std::io::Result<&Client> {
        self.clients.get_or_try(client)
    }

    /// Models that somebody serves now.
    pub fn serves(&self, model: &str) -> bool {
        let own = self.own.iter().any(|own| own.upstream.models.iter().any(|(name, _)| name == model));
        own || self.roster.links().iter().any(|link| link.offer.models.iter().any(|name| name == model))
    }

    /// Who is there, each operator once: asking price, models, links, requests in flight and at most, whether it is well.
    pub fn providers(&self) -> Vec<Value> {
        let own = self.own.iter().enumerate().map(|(index, own)| {
            let models: Vec<&str> = own.upstream.models.iter().map(|(name, _)| name.as_str()).collect();
            json!({
                "provider": own.upstream.provider, "ask_bps": 0, "models": models, "own": true, "links": 0,
                "in_flight": own.taken.load(Ordering::Relaxed), "concurrency": own.upstream.concurrency,
                "well": self.is_well(Name::Own(index)),
            })
        });
        let mut dialled: BTreeMap<Address, Vec<Arc<Link>>> = BTreeMap::new();
        for link in self.roster.links() {
            dialled.entry(link.provider).or_default().push(link);
        }
        let dialled = dialled.iter().map(|(provider, links)| {
            let models: BTreeSet<&str> =
                links.iter().flat_map(|link| link.offer.models.iter().map(String::as_str)).collect();
            json!({
                "provider": provider, "models": models, "own": false, "links": links.len(),
                "ask_bps": links.iter().map(|link| link.offer.ask).min(),
                "in_flight": links.iter().map(|link| link.inflight()).sum::<usize>(),
                "concurrency": links.iter().map(|link| usize::from(link.offer.concurrency)).sum::<usize>(),
                "well": self.is_well(Name::Operator(*provider)),
            })
        });
        own.chain(dialled).collect()
    }

    /// Those that serve a model, the best first: well, cheap, least busy.
    pub(super) fn candidates(&self, asked: &Asked, most_ask: u16, channel: B256) -> Vec<Candidate> {
        let (model, endpoint) = (asked.model.as_str(), asked.endpoint);
        let mut all = Vec::new();
        for (index, own) in self.own.iter().enumerate() {
            let Some((_, dialect)) = own.upstream.models.iter().find(|(name, _)| name == model) else {
                continue;
            };
            let name = Name::Own(index);
            let mut names = vec![dialect.upstream(model).to_owned()];
            names.extend(dialect.answers.iter().cloned());
            let served = Served {
                provider: own.upstream.provider,
                ask: 0,
                names,
                link: None,
                asked: None,
                health: self.health(name, endpoint),
                channel,
                struck: Arc::default(),
                told: Arc::default(),
            };
            let busy = own.taken.load(Ordering::Relaxed);
            all.push(Candidate { name, at: At::Own(own.clone()), served, dialect: dialect.clone(), busy });
        }
        for link in self.roster.links() {
            if link.offer.ask > most_ask || !link.offer.models.iter().any(|name| name == model) {
                continue;
            }
            let name = Name::Operator(link.provider);
            let served = Served {
                provider: link.provider,
                ask: link.offer.ask,
                names: link.offer.names_of(model).map(str::to_owned).collect(),
                link: Some(link.clone()),
                asked: None,
                health: self.health(name, endpoint),
                channel,
                struck: Arc::default(),
                told: Arc::default(),
            };
            // What its server takes is the provider's to know.
            let dialect = Dialect::default();
            all.push(Candidate { name, busy: link.inflight(), at: At::Link(link), served, dialect });
        }
        // One that rests is tried only where nobody else is there.
        // Of an operator's links, the one whose connection this thread serves, unless it has clearly more to do.
        let away = |at: &At| matches!(at, At::Link(link) if !link.is_here());
        all.sort_by_key(|candidate| {
            let busy = candidate.busy + usize::from(away(&candidate.at)) * 2;
            (!candidate.served.health.well(Some(channel)), candidate.served.ask, busy)
        });
        all
    }

    /// Forgets what was learnt of everyone: all are well, and nothing was refused.
    pub fn forget(&self) {
        self.health.write().expect("no panic holds it").clear();
        self.refused.write().expect("no panic holds it").clear();
    }

    /// What of the gateway's additions it has refused.
    pub(super) fn refused(&self, name: Name, model: &str) -> Added {
        let refused = self.refused.read().expect("no panic holds it");
        if refused.is_empty() {
            return Added::default();
        }
        refused.get(&(name, model.to_owned())).copied().unwrap_or_default()
    }

    /// That it has refused them, and served without.
    pub(super) fn remember(&self, name: Name, model: &str, added: Added) {
        self.refused.write().expect("no panic holds it").insert((name, model.to_owned()), added);
    }
}
