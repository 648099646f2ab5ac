//! Who answers a request: providers that dialled in and upstreams of the issuer's own, the cheapest healthy one first.
//! One that fails is left alone for a while; a request goes on to the next one until the first byte of an answer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use alloy_primitives::Address;
use anyhow::{Context, Result, bail};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use thread_local::ThreadLocal;

use super::refusal::Refusal;
use super::wire::{Asked, Endpoint};
use crate::provider::roster::{Link, Roster};
use crate::upstream_url::{upstream_base, upstream_url};

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
    /// Base URL, such as `http://localhost:11434/v1`.
    pub url: String,
    /// Its API key.
    pub key: Option<String>,
    /// What else it wants to see in every request.
    pub headers: HeaderMap,
    /// Names in the price list, and what the server calls them.
    pub models: Vec<(String, String)>,
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
    /// By address and number of a link; by position of one's own.
    health: RwLock<std::collections::HashMap<Name, Arc<Health>>>,
}

struct Own {
    upstream: Upstream,
    urls: [Uri; Endpoint::ALL.len()],
    authorization: Option<HeaderValue>,
    taken: AtomicUsize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Name {
    Own(usize),
    // Health is the operator's, so that dialling in again does not mend it.
    Operator(Address),
}

#[derive(Default)]
struct Health(Mutex<Ill>);

#[derive(Default)]
struct Ill {
    failures: u32,
    until: Option<Instant>,
}

/// Failures in a row after which a provider is left alone, and for how long at first and at most.
const FAILURES: u32 = 3;
const REST: Duration = Duration::from_secs(2);
const LONGEST_REST: Duration = Duration::from_secs(60);
/// Providers that a request is tried with.
const TRIES: usize = 3;

impl Health {
    fn well(&self) -> bool {
        let ill = self.0.lock().expect("no panic holds it");
        ill.until.is_none_or(|until| until <= Instant::now())
    }

    fn failed(&self) {
        let mut ill = self.0.lock().expect("no panic holds it");
        ill.failures += 1;
        if ill.failures >= FAILURES {
            let rest = REST.saturating_mul(1 << (ill.failures - FAILURES).min(10)).min(LONGEST_REST);
            ill.until = Some(Instant::now() + rest);
        }
    }

    fn answered(&self) {
        *self.0.lock().expect("no panic holds it") = Ill::default();
    }
}

/// Who answered, for what is charged and for what is learnt.
#[derive(Clone)]
pub struct Served {
    /// Operator key.
    pub provider: Address,
    /// Its asking price, in basis points of the charge.
    pub ask: u16,
    /// What it calls the model.
    pub model: String,
    /// It signs what it served.
    pub signs: bool,
    health: Arc<Health>,
}

impl Served {
    /// It broke its word: a strike.
    pub fn strike(&self) {
        self.health.failed();
    }

    /// It kept it.
    pub fn praise(&self) {
        self.health.answered();
    }
}

/// One that can be tried.
struct Candidate {
    at: At,
    served: Served,
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
    /// Its head.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// What follows.
    pub body: Body,
}

impl Own {
    fn of(upstream: Upstream) -> Result<Self> {
        let base = upstream_base(&upstream.url)?;
        let url = |endpoint: Endpoint| upstream_url(&base, endpoint.path()).as_str().parse::<Uri>().ok();
        let [Some(chat), Some(completions), Some(embeddings), Some(responses)] = Endpoint::ALL.map(url)
        else {
            bail!("the upstream {base} cannot be asked");
        };
        let authorization = upstream.key.as_ref().map(|key| {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}"))?;
            value.set_sensitive(true);
            anyhow::Ok(value)
        });
        let authorization = authorization.transpose().context("the upstream's API key is no header")?;
        let urls = [chat, completions, embeddings, responses];
        Ok(Own { upstream, urls, authorization, taken: AtomicUsize::new(0) })
    }
}

type Client = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

fn client() -> Result<Client> {
    let mut http = HttpConnector::new();
    http.set_nodelay(true);
    http.set_connect_timeout(Some(Duration::from_secs(5)));
    http.enforce_http(false); // or it would refuse to be the lower half of https
    let https = HttpsConnectorBuilder::new().try_with_platform_verifier()?.https_or_http().enable_http1();
    let mut client = legacy::Client::builder(TokioExecutor::new());
    client.pool_timer(TokioTimer::new()).pool_max_idle_per_host(1_024);
    Ok(client.build(https.wrap_connector(http)))
}

/// An error with all that is behind it: the outermost says only that something failed.
fn in_full(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// How one try went wrong.
enum Failed {
    /// Another may do better.
    Next(Refusal),
    /// It has too much to do; seconds it asks to wait.
    Full(u64),
}

impl Routes {
    /// Over those who dial in, and upstreams of one's own.
    pub fn new(roster: Arc<Roster>, own: Vec<Upstream>, patience: Patience) -> Result<Self> {
        let own = own.into_iter().map(|upstream| Own::of(upstream).map(Arc::new)).collect::<Result<_>>()?;
        Ok(Routes { roster, own, clients: ThreadLocal::new(), patience, health: RwLock::default() })
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
                "in_flight": own.taken.load(Ordering::Relaxed), "well": self.health(Name::Own(index)).well(),
            }));
        }
        for link in self.roster.links() {
            all.push(serde_json::json!({
                "provider": link.provider, "ask_bps": link.offer.ask, "models": link.offer.models, "own": false,
                "in_flight": link.inflight(), "well": self.health(Name::Operator(link.provider)).well(),
            }));
        }
        all
    }

    /// Those that serve a model, the best first: well, cheap, least busy.
    fn candidates(&self, model: &str, most_ask: u16) -> Vec<Candidate> {
        let mut all = Vec::new();
        for (index, own) in self.own.iter().enumerate() {
            let Some((_, upstream)) = own.upstream.models.iter().find(|(name, _)| name == model) else {
                continue;
            };
            let health = self.health(Name::Own(index));
            let provider = own.upstream.provider;
            let served = Served { provider, ask: 0, model: upstream.clone(), signs: false, health };
            all.push(Candidate { at: At::Own(own.clone()), served, busy: own.taken.load(Ordering::Relaxed) });
        }
        for link in self.roster.links() {
            if link.offer.ask > most_ask || !link.offer.models.iter().any(|name| name == model) {
                continue;
            }
            let (provider, ask) = (link.provider, link.offer.ask);
            let health = self.health(Name::Operator(provider));
            let called = link.offer.called.get(model).map_or(model, String::as_str);
            let served = Served { provider, ask, model: called.to_owned(), signs: true, health };
            all.push(Candidate { busy: link.inflight(), at: At::Link(link), served });
        }
        // One that rests is tried only where nobody else is there.
        all.sort_by_key(|candidate| (!candidate.served.health.well(), candidate.served.ask, candidate.busy));
        all
    }

    /// Asks one after the other until one begins to answer. What is the request's own fault is an answer, too.
    pub async fn ask(
        &self,
        endpoint: Endpoint,
        asked: &Asked,
        id: &str,
        most_ask: u16,
        trace: Option<&str>,
    ) -> Result<Begun, Refusal> {
        let mut candidates = self.candidates(&asked.model, most_ask);
        if candidates.is_empty() {
            return Err(Refusal::NoProvider(format!("nobody serves {} at the moment", asked.model), 5));
        }
        // Where there is but one, it may have failed for a moment only.
        candidates.truncate(TRIES);
        let mut last = None;
        let mut wait = None;
        let only = candidates.len() == 1;
        let tries = if only { 2 } else { candidates.len() };
        for turn in 0..tries {
            match self.try_one(&candidates[turn % candidates.len()], endpoint, asked, id, trace).await {
                Ok(begun) => return Ok(begun),
                Err(Failed::Full(secs)) => {
                    wait = Some(wait.map_or(secs, |other: u64| other.min(secs)));
                    if only {
                        break;
                    }
                }
                // Whoever was slow once has taken the time that the client has.
                Err(Failed::Next(refusal @ Refusal::Timeout(_))) => {
                    last = Some(refusal);
                    break;
                }
                Err(Failed::Next(refusal)) => last = Some(refusal),
            }
        }
        Err(match (last, wait) {
            (_, Some(secs)) => Refusal::Busy("all providers of this model are busy".into(), secs),
            (Some(refusal), None) => refusal,
            (None, None) => Refusal::NoProvider("no provider could be reached".into(), 5),
        })
    }

    async fn try_one(
        &self,
        candidate: &Candidate,
        endpoint: Endpoint,
        asked: &Asked,
        id: &str,
        trace: Option<&str>,
    ) -> Result<Begun, Failed> {
        let Candidate { at, served, .. } = candidate;
        let next = |why: String| {
            served.health.failed();
            Failed::Next(Refusal::NoProvider(why, 2))
        };
        let sent = async {
            match at {
                At::Own(own) => {
                    if own.taken.fetch_add(1, Ordering::Relaxed) >= own.upstream.concurrency {
                        own.taken.fetch_sub(1, Ordering::Relaxed);
                        return Err(Failed::Full(1));
                    }
                    let turn = Turn(own.clone());
                    let mut request = Request::post(own.urls[endpoint as usize].clone())
                        .header(header::CONTENT_TYPE, "application/json")
                        .header("x-request-id", id);
                    if let Some(authorization) = &own.authorization {
                        request = request.header(header::AUTHORIZATION, authorization);
                    }
                    if let Some(trace) = trace {
                        request = request.header("traceparent", trace);
                    }
                    let request = request.body(Full::from(asked.body_for(&served.model)));
                    let mut request = request.map_err(|error| next(error.to_string()))?;
                    request.headers_mut().extend(own.upstream.headers.clone());
                    let client = self.clients.get_or_try(client).map_err(|error| next(error.to_string()))?;
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
                    let mut request = Request::post(format!("/v1{}", endpoint.path()))
                        .header(header::CONTENT_TYPE, "application/json")
                        .header("x-request-id", id);
                    if let Some(trace) = trace {
                        request = request.header("traceparent", trace);
                    }
                    let request = request.body(Bytes::from(asked.body.clone()));
                    let request = request.map_err(|error| next(error.to_string()))?;
                    match link.send(request).await {
                        Ok(response) => Ok(response.map(|body| body.map_err(broke_off).boxed_unsync())),
                        Err(crate::provider::roster::LinkError::Busy(_)) => Err(Failed::Full(1)),
                        Err(error) => Err(next(error.to_string())),
                    }
                }
            }
        };
        let response = match tokio::time::timeout(self.patience.head, sent).await {
            Ok(response) => response?,
            Err(_) => {
                served.health.failed();
                let secs = self.patience.head.as_secs();
                return Err(Failed::Next(Refusal::Timeout(format!(
                    "the provider did not begin to answer in {secs} s"
                ))));
            }
        };
        let (parts, body) = response.into_parts();
        match parts.status {
            StatusCode::TOO_MANY_REQUESTS => {
                let wait =
                    parts.headers.get(header::RETRY_AFTER).and_then(|wait| wait.to_str().ok()?.parse().ok());
                Err(Failed::Full(wait.unwrap_or(1)))
            }
            status if status.is_server_error() => Err(next(format!("the provider answered {status}"))),
            // Its own credentials, or a redirect: nothing that the client could mend.
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                Err(next(format!("the provider was refused by its upstream ({status})")))
            }
            status if status.is_redirection() || status.is_informational() => {
                Err(next(format!("the provider answered {status}")))
            }
            status => Ok(Begun { served: served.clone(), status, headers: parts.headers, body }),
        }
    }
}
