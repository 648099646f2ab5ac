//! Who answers a request: providers that dialled in and upstreams of the issuer's own, the cheapest healthy one first.
//! One that fails is left out of the request and rested after three; a request goes on to the next one until a byte of an
//! answer has gone out.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant, SystemTime};

use alloy_primitives::{Address, B256};
use anyhow::Result;
use axum::http::{HeaderMap, Request, StatusCode, header};
use bytes::{Bytes, BytesMut};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use thread_local::ThreadLocal;

use super::refusal::Refusal;
use crate::openai::dialect::Dialect;
use crate::openai::fault::{self, Fault, Whose};
use crate::openai::request::{Added, Asked, Most};
use crate::packing::Unpacked;
use crate::provider::roster::{Link, LinkError, Roster};
use crate::request_id::uuid_of;
use crate::upstream::{self, Client, client, upstream_base};

/// An answer's body, whoever gives it.
pub type Body = UnsyncBoxBody<Bytes, BrokeOff>;

/// An answer broke off.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BrokeOff(String);

fn broke_off(error: impl std::fmt::Display) -> BrokeOff {
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
    /// Between two pieces of an answer.
    pub piece: Duration,
}

/// All that can be asked.
pub struct Routes {
    roster: Arc<Roster>,
    own: Vec<Arc<Own>>,
    /// One for each thread, so that a connection is used by the thread that it is served by.
    clients: ThreadLocal<Client>,
    patience: Patience,
    /// By operator; by position of one's own.
    health: RwLock<HashMap<Name, Arc<Health>>>,
    /// What of the gateway's additions a server has refused, by model.
    refused: RwLock<HashMap<(Name, String), Added>>,
}

struct Own {
    upstream: Upstream,
    asked: upstream::Upstream,
    taken: AtomicUsize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Name {
    Own(usize),
    // Health is the operator's, so that dialling in again does not mend it.
    Operator(Address),
}

#[derive(Default)]
struct Health {
    ill: Mutex<Ill>,
    /// What was said of it, once each, to the operator of the gateway.
    warned: Mutex<HashSet<String>>,
}

#[derive(Default)]
struct Ill {
    failures: u32,
    until: Option<Instant>,
    /// Whose requests failed, as far as they were one channel's: it alone goes elsewhere then, for what a holder asks is
    /// not to cost a provider the requests of others.
    by: Option<B256>,
    /// It was asked, and has said nothing to anyone since.
    silent: Option<Instant>,
}

/// Failures in a row after which a provider is left alone, and for how long at first and at most.
const FAILURES: u32 = 3;
const REST: Duration = Duration::from_secs(2);
const LONGEST_REST: Duration = Duration::from_secs(60);
/// One that said nothing to anyone for so long is asked after the others.
const SILENCE: Duration = Duration::from_secs(30);
/// Providers that a request is tried with.
const TRIES: usize = 3;
/// Different things that are told of a provider.
const MOST_WARNED: usize = 64;
/// Bytes of a refusal that are read.
const REFUSAL: usize = 64 << 10;
/// How long a refusal may take to come.
const REFUSAL_TIME: Duration = Duration::from_secs(10);

impl Health {
    fn well(&self, channel: Option<B256>) -> bool {
        let now = Instant::now();
        let ill = self.ill.lock().expect("no panic holds it");
        let silent = ill.silent.is_some_and(|since| now.duration_since(since) > SILENCE);
        let rests = ill.until.is_some_and(|until| until > now) && (ill.by.is_none() || ill.by == channel);
        !rests && !silent
    }

    fn asked(&self) {
        self.ill.lock().expect("no panic holds it").silent.get_or_insert_with(Instant::now);
    }

    fn spoke(&self) {
        self.ill.lock().expect("no panic holds it").silent = None;
    }

    fn failed(&self, channel: B256) {
        let mut ill = self.ill.lock().expect("no panic holds it");
        ill.by = if ill.failures == 0 || ill.by == Some(channel) { Some(channel) } else { None };
        ill.failures += 1;
        if ill.failures >= FAILURES {
            let rest = REST.saturating_mul(1 << (ill.failures - FAILURES).min(10)).min(LONGEST_REST);
            ill.until = Some(Instant::now() + rest);
        }
    }

    /// It asks for a rest.
    fn busy(&self, secs: u64) {
        let rest = Duration::from_secs(secs).min(LONGEST_REST);
        let mut ill = self.ill.lock().expect("no panic holds it");
        ill.until = ill.until.max(Some(Instant::now() + rest));
        ill.by = None;
    }

    fn answered(&self) {
        *self.ill.lock().expect("no panic holds it") = Ill::default();
    }
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
            self.health.answered();
        }
    }

    /// Tells the gateway's operator, each thing once and not too many.
    pub fn warn(&self, what: impl FnOnce() -> String) {
        let mut warned = self.health.warned.lock().expect("no panic holds it");
        if warned.len() < MOST_WARNED {
            let what = what();
            if warned.insert(what.clone()) {
                eprintln!("warning: {}: {what}", self.provider);
            }
        }
    }
}

/// One that can be tried.
struct Candidate {
    name: Name,
    at: At,
    served: Served,
    dialect: Dialect,
    busy: usize,
}

enum At {
    Own(Arc<Own>),
    Link(Arc<Link>),
}

/// Counts a request of an upstream of one's own until its answer is let go of.
struct Turn(Arc<Own>);

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
}

impl Own {
    fn of(upstream: Upstream) -> Result<Self> {
        let base = upstream_base(&upstream.url)?;
        let asked = upstream::Upstream::new(&base, upstream.key.as_deref(), &upstream.headers)?;
        Ok(Own { upstream, asked, taken: AtomicUsize::new(0) })
    }
}

/// An error with all that is behind it: the outermost says only that something failed.
fn in_full(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// How one try went wrong.
pub enum Trouble {
    /// The request's own fault: every provider would say so.
    Asked(Refusal),
    /// Another may do better.
    Next(Refusal),
    /// It has too much to do; seconds it asks to wait.
    Full(u64),
    /// It cannot now, and says when to come again.
    Later(Refusal),
    /// It could not be asked on this connection.
    Link(Refusal),
}

impl Trouble {
    /// Of what a server says in place of an answer, under a 200.
    pub fn said(fault: Fault, served: &Served, otherwise: &str) -> Self {
        let status = fault.status.and_then(|status| StatusCode::from_u16(status).ok());
        let whose = status.map(|status| (status, fault.whose(status)));
        match whose {
            Some((status, Whose::Request)) => Trouble::Asked(Refusal::Told(status, Box::new(fault))),
            Some((StatusCode::TOO_MANY_REQUESTS, Whose::Busy)) => {
                Trouble::Full(fault::wait(&HeaderMap::new(), Some(&fault), SystemTime::now()).unwrap_or(1))
            }
            _ => {
                let why = fault.message.unwrap_or_else(|| "it said nothing that can be read".into());
                served.warn(|| format!("{otherwise}: {why}"));
                Trouble::Next(Refusal::Upstream(otherwise.into()))
            }
        }
    }
}

impl Routes {
    /// Over those who dial in, and upstreams of one's own.
    pub fn new(roster: Arc<Roster>, own: Vec<Upstream>, patience: Patience) -> Result<Self> {
        let own = own.into_iter().map(|upstream| Own::of(upstream).map(Arc::new)).collect::<Result<_>>()?;
        let (clients, health, refused) = (ThreadLocal::new(), RwLock::default(), RwLock::default());
        Ok(Routes { roster, own, clients, patience, health, refused })
    }

    fn health(&self, name: Name) -> Arc<Health> {
        if let Some(health) = self.health.read().expect("no panic holds it").get(&name) {
            return health.clone();
        }
        self.health.write().expect("no panic holds it").entry(name).or_default().clone()
    }

    /// Models that somebody serves now.
    pub fn serves(&self, model: &str) -> bool {
        let own = self.own.iter().any(|own| own.upstream.models.iter().any(|(name, _)| name == model));
        own || self.roster.links().iter().any(|link| link.offer.models.iter().any(|name| name == model))
    }

    /// Who is there: operator, asking price, models, requests in flight, whether it is well.
    pub fn providers(&self) -> Vec<serde_json::Value> {
        let mut all = Vec::new();
        for (index, own) in self.own.iter().enumerate() {
            let models: Vec<&str> = own.upstream.models.iter().map(|(name, _)| name.as_str()).collect();
            all.push(serde_json::json!({
                "provider": own.upstream.provider, "ask_bps": 0, "models": models, "own": true,
                "in_flight": own.taken.load(Ordering::Relaxed), "well": self.health(Name::Own(index)).well(None),
            }));
        }
        for link in self.roster.links() {
            all.push(serde_json::json!({
                "provider": link.provider, "ask_bps": link.offer.ask, "models": link.offer.models, "own": false,
                "in_flight": link.inflight(), "well": self.health(Name::Operator(link.provider)).well(None),
            }));
        }
        all
    }

    /// Those that serve a model, the best first: well, cheap, least busy.
    fn candidates(&self, model: &str, most_ask: u16, channel: B256) -> Vec<Candidate> {
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
                health: self.health(name),
                channel,
                struck: Arc::default(),
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
                health: self.health(name),
                channel,
                struck: Arc::default(),
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

    /// The tries of one request.
    pub fn tries<'r>(
        &'r self,
        asked: &'r Asked,
        channel: B256,
        id: &'r str,
        most_ask: u16,
        trace: Option<&'r str>,
    ) -> Tries<'r> {
        let mut candidates = self.candidates(&asked.model, most_ask, channel);
        // Of one operator's links two at most: another operator may do better.
        let mut of: HashMap<Name, usize> = HashMap::new();
        candidates.retain(|candidate| {
            let count = of.entry(candidate.name).or_default();
            *count += 1;
            *count <= 2
        });
        candidates.truncate(TRIES);
        // Where there is but one, it may have failed for a moment only.
        let left = if candidates.len() == 1 { 2 } else { candidates.len() };
        Tries {
            routes: self,
            asked,
            id,
            trace,
            candidates,
            turn: 0,
            left,
            done: Vec::new(),
            last: None,
            wait: None,
        }
    }

    /// Forgets what was learnt of everyone: all are well, and nothing was refused.
    pub fn forget(&self) {
        self.health.write().expect("no panic holds it").clear();
        self.refused.write().expect("no panic holds it").clear();
    }

    fn refused(&self, name: Name, model: &str) -> Added {
        let refused = self.refused.read().expect("no panic holds it");
        if refused.is_empty() {
            return Added::default();
        }
        refused.get(&(name, model.to_owned())).copied().unwrap_or_default()
    }
}

/// One request, and whom it may still be tried with.
pub struct Tries<'r> {
    routes: &'r Routes,
    asked: &'r Asked,
    id: &'r str,
    trace: Option<&'r str>,
    candidates: Vec<Candidate>,
    turn: usize,
    left: usize,
    /// Operators whose server has answered, and not well.
    done: Vec<Name>,
    last: Option<Refusal>,
    wait: Option<u64>,
}

impl Tries<'_> {
    /// Asks one after the other until one begins to answer, or says that the request is at fault.
    pub async fn next(&mut self) -> Result<Begun, Refusal> {
        if self.candidates.is_empty() {
            let why = format!("nobody serves {} at the moment", self.asked.model);
            return Err(Refusal::NoProvider(why, 5));
        }
        while self.left > 0 {
            self.left -= 1;
            let candidate = &self.candidates[self.turn % self.candidates.len()];
            self.turn += 1;
            if self.done.contains(&candidate.name) && !self.is_alone() {
                continue;
            }
            candidate.served.health.asked();
            let begun = self.one(candidate).await;
            if !matches!(begun, Err(Trouble::Next(Refusal::Timeout(_)))) {
                candidate.served.health.spoke();
            }
            match begun {
                Ok(begun) => return Ok(begun),
                Err(trouble) => self.failed(trouble)?,
            }
        }
        Err(match (self.last.take(), self.wait) {
            (_, Some(secs)) => Refusal::Busy("all providers of this model are busy".into(), secs),
            (Some(refusal), None) => refusal,
            (None, None) => Refusal::NoProvider("no provider could be reached".into(), 5),
        })
    }

    /// There is but one operator.
    fn is_alone(&self) -> bool {
        self.candidates.iter().all(|candidate| candidate.name == self.candidates[0].name)
    }

    /// The last one failed after all. An error ends the request; else the next one may be asked.
    pub fn failed(&mut self, trouble: Trouble) -> Result<(), Refusal> {
        let last = (self.turn.max(1) - 1) % self.candidates.len();
        if !matches!(trouble, Trouble::Link(_)) {
            self.done.push(self.candidates[last].name);
        }
        // Where it has just said when to come again, nobody else of it is asked.
        let later = matches!(trouble, Trouble::Full(_) | Trouble::Later(_));
        match trouble {
            Trouble::Asked(refusal) => return Err(refusal),
            Trouble::Full(secs) => self.wait = Some(self.wait.map_or(secs, |other| other.min(secs))),
            // Whoever was slow has taken the time that the client has; a stream's head should come at once.
            Trouble::Next(refusal @ Refusal::Timeout(_)) if !self.asked.stream => {
                self.last = Some(refusal);
                (self.left, self.wait) = (0, None);
            }
            Trouble::Next(refusal) | Trouble::Later(refusal) | Trouble::Link(refusal) => {
                self.last = Some(refusal)
            }
        }
        if later && self.is_alone() {
            self.left = 0;
        }
        Ok(())
    }

    async fn one(&self, candidate: &Candidate) -> Result<Begun, Trouble> {
        let known = self.routes.refused(candidate.name, &self.asked.model);
        let mut added = known;
        // Each refusal that names what was added takes something away.
        loop {
            let (answered, body) = self.send(candidate, added).await?;
            let (parts, answer) = answered.into_parts();
            // What is accepted only, or has no content, is no answer.
            if matches!(parts.status, StatusCode::OK | StatusCode::CREATED) {
                let asked = candidate
                    .served
                    .link
                    .as_ref()
                    .map(|_| B256::from_slice(&<sha2::Sha256 as sha2::Digest>::digest(&body)));
                let served = Served { asked, struck: Arc::default(), ..candidate.served.clone() };
                let answer = Unpacked::of(&parts.headers, answer).ok_or_else(|| {
                    candidate.served.strike();
                    Trouble::Next(Refusal::Upstream(
                        "the provider's answer is packed, and nobody asked for it".into(),
                    ))
                })?;
                // Only what then worked is remembered, and never that there is no bound at all.
                if added != known && added.is_kept() {
                    let place = (candidate.name, self.asked.model.clone());
                    self.routes.refused.write().expect("no panic holds it").insert(place, added);
                }
                return Ok(Begun { served, body: answer.map_err(broke_off).boxed_unsync() });
            }
            let fault = said(&parts.headers, answer).await;
            match fault.whose(parts.status) {
                Whose::Request => match self.asked.without(&candidate.dialect, added, &fault) {
                    Some(less) => added = less,
                    None => return Err(Trouble::Asked(Refusal::Told(parts.status, Box::new(fault)))),
                },
                Whose::Busy => {
                    let wait = fault::wait(&parts.headers, Some(&fault), SystemTime::now());
                    candidate.served.health.busy(wait.unwrap_or(1));
                    if parts.status == StatusCode::TOO_MANY_REQUESTS {
                        return Err(Trouble::Full(wait.unwrap_or(1)));
                    }
                    candidate.served.strike();
                    let why = format!("the provider answered {}", parts.status);
                    return Err(match wait {
                        Some(secs) => Trouble::Later(Refusal::NoProvider(why, secs)),
                        None => Trouble::Next(Refusal::NoProvider(why, 2)),
                    });
                }
                Whose::Server => {
                    let why = match parts.status {
                        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                            format!("the provider was refused by its upstream ({status})")
                        }
                        status => format!("the provider answered {}", status.as_u16()),
                    };
                    candidate.served.warn(|| {
                        format!("{why}: {}", fault.message.as_deref().unwrap_or("it did not say why"))
                    });
                    return Err(self.next_one(candidate, why));
                }
            }
        }
    }

    fn next_one(&self, candidate: &Candidate, why: String) -> Trouble {
        candidate.served.strike();
        Trouble::Next(Refusal::NoProvider(why, 2))
    }

    /// Sends the request, and waits for the head of the answer; what was sent comes back with it.
    async fn send(
        &self,
        candidate: &Candidate,
        added: Added,
    ) -> Result<(axum::http::Response<UnsyncBoxBody<Bytes, BrokeOff>>, Bytes), Trouble> {
        let endpoint = self.asked.endpoint;
        let next = |why: String| self.next_one(candidate, why);
        // A provider knows its models by the price list's names: its dialect here has no other.
        let body = self.asked.body(&candidate.dialect, added);
        let sent = async {
            let mut request = match &candidate.at {
                At::Own(own) => own.asked.post(endpoint).header("x-request-id", uuid_of(self.id)),
                At::Link(_) => {
                    Request::post(format!("/v1{}", endpoint.path())).header("x-request-id", self.id)
                }
            };
            request = request.header(header::CONTENT_TYPE, "application/json");
            if let Some(trace) = self.trace {
                request = request.header("traceparent", trace);
            }
            match &candidate.at {
                At::Own(own) => {
                    if own.taken.fetch_add(1, Ordering::Relaxed) >= own.upstream.concurrency {
                        own.taken.fetch_sub(1, Ordering::Relaxed);
                        return Err(Trouble::Full(1));
                    }
                    let turn = Turn(own.clone());
                    let request = request.body(Full::from(body.clone()));
                    let request = request.map_err(|error| next(error.to_string()))?;
                    let client =
                        self.routes.clients.get_or_try(client).map_err(|error| next(error.to_string()))?;
                    let sent = client.request(request).await;
                    let response = sent
                        .map_err(|error| next(format!("the upstream did not answer: {}", in_full(&error))))?;
                    Ok(response.map(|body| {
                        body.map_err(broke_off)
                            .map_frame(move |frame| {
                                let _ = &turn;
                                frame
                            })
                            .boxed_unsync()
                    }))
                }
                At::Link(link) => {
                    let request = request.body(body.clone()).map_err(|error| next(error.to_string()))?;
                    match link.send(request).await {
                        Ok(response) => Ok(response.map(|body| body.map_err(broke_off).boxed_unsync())),
                        Err(LinkError::Busy(_)) => {
                            let why = "all providers of this model are busy";
                            Err(Trouble::Link(Refusal::Busy(why.into(), 1)))
                        }
                        Err(error) => {
                            candidate.served.strike();
                            Err(Trouble::Link(Refusal::NoProvider(error.to_string(), 2)))
                        }
                    }
                }
            }
        };
        // A stream should begin soon: where others are there, they are asked before the client gives up.
        let head = self.routes.patience.head;
        let patience = if self.asked.stream && self.left > 0 && self.candidates.len() > 1 {
            head.min(SILENCE)
        } else {
            head
        };
        match tokio::time::timeout(patience, sent).await {
            Ok(response) => Ok((response?, body)),
            Err(_) => {
                candidate.served.strike();
                let secs = patience.as_secs();
                Err(Trouble::Next(Refusal::Timeout(format!(
                    "the provider did not begin to answer in {secs} s"
                ))))
            }
        }
    }
}

/// What a refusal says, as far as it can be read.
async fn said(headers: &HeaderMap, body: UnsyncBoxBody<Bytes, BrokeOff>) -> Fault {
    let Some(mut body) = Unpacked::of(headers, body) else { return Fault::default() };
    let mut bytes = BytesMut::new();
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            if let Ok(data) = frame.into_data() {
                bytes.extend_from_slice(&data[..data.len().min(REFUSAL - bytes.len())]);
            }
            if bytes.len() == REFUSAL {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(REFUSAL_TIME, reading).await;
    Fault::read(&bytes)
}
