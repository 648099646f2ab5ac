//! One request, as a provider answers it: handed to the upstream, and the upstream's answer handed back as it comes,
//! with a sealed claim behind it. Nothing but the five paths, the body, and what kind of answer is wanted goes through.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use alloy_primitives::B256;
use axum::http::request::Builder;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::{Body, Frame, Incoming};
use serde_json::json;
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::counted::{self, COUNTED};
use super::link_key::LinkKey;
use super::meter::Meter;
use super::served::{CountedLine, End, Line, Log, now};
use super::usage::{UsageClaim, is_request_id};
use super::{PATHS, READY};
use crate::once::Once;
use crate::openai::Endpoint;
use crate::openai::answer::is_the_model;
use crate::openai::dialect::Dialect;
use crate::openai::fault::Whose;
use crate::openai::request::{Added, Asked, Most};
use crate::packing::{Packing, Unpacked};
use crate::request_id::{is_traceparent, uuid_of};
use crate::upstream::{Client, Upstream};

/// Longest body of a request.
const LONGEST_REQUEST: usize = 32 << 20;
/// Longest answer: an upstream that never ends is stopped there.
const LONGEST_ANSWER: u64 = 256 << 20;
/// What of an upstream's headers passes: what its answer is, and when to ask again.
fn passes(name: &HeaderName) -> bool {
    let known =
        ["content-type", "llm_provider-retry-after", "retry-after", "retry-after-ms", "x-should-retry"];
    known.contains(&name.as_str()) || name.as_str().contains("ratelimit")
}
/// How long a request's body may take.
const BODY_PATIENCE: Duration = Duration::from_secs(60);
/// How long a refusal may take to come.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(10);

/// What a provider answers with.
pub(super) struct Desk {
    pub(super) client: Client,
    pub(super) upstream: Upstream,
    /// How long the upstream may be silent.
    pub(super) patience: Duration,
    /// How each model's requests are taken, and the upstream of one that has its own.
    pub(super) models: BTreeMap<String, (Dialect, Option<Upstream>)>,
    pub(super) ask: u16,
    pub(super) log: Arc<Log>,
    /// Requests that were served, and of which the gateway has not said that it counted less.
    pub(super) unheard: AtomicU64,
    /// What was told of the upstream, over all links.
    pub(super) told: Arc<Once>,
    /// Tells whoever runs it that the upstream is ill.
    pub(super) tell: Box<dyn Fn(String) + Send + Sync>,
}

pub(super) type AnswerBody = Either<Full<Bytes>, Passing>;

/// Why there is no answer from the upstream.
#[derive(Debug)]
struct Refusal(StatusCode, &'static str, String);

impl Refusal {
    fn response(self) -> Response<AnswerBody> {
        let Refusal(status, code, message) = self;
        let kind = if status.is_server_error() { "server_error" } else { "invalid_request_error" };
        let body = json!({"error": {"message": message, "type": kind, "param": null, "code": code}});
        let mut response = Response::new(Either::Left(Full::from(body.to_string())));
        *response.status_mut() = status;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

/// A line of the log that is written when the request is over, however it ends.
struct Serving {
    line: Line,
    desk: Arc<Desk>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.line.time = now();
        self.desk.unheard.fetch_add(1, Ordering::Relaxed);
        self.desk.log.write(&self.line);
    }
}

impl Desk {
    /// Answers one request of a gateway.
    pub(super) async fn answer(
        self: Arc<Self>,
        key: Arc<LinkKey>,
        request: Request<Incoming>,
    ) -> Response<AnswerBody> {
        if request.uri().path() == READY {
            let mut ready = Response::new(Either::Left(Full::default()));
            *ready.status_mut() = StatusCode::NO_CONTENT;
            return ready;
        }
        if request.uri().path() == COUNTED && request.method() == Method::POST {
            let mut heard = Response::new(Either::Left(Full::default()));
            *heard.status_mut() = self.hear(request.into_body()).await;
            return heard;
        }
        self.pass(key, request).await.unwrap_or_else(Refusal::response)
    }

    /// Writes down what the gateway counted less than was stated: at most one line for each request that was served, so
    /// that no gateway fills the disk.
    async fn hear(&self, body: Incoming) -> StatusCode {
        let body = timeout(BODY_PATIENCE, Limited::new(body, counted::LONGEST).collect()).await;
        let told = body.ok().and_then(Result::ok).and_then(|body| counted::read(&body.to_bytes()));
        let Some(told) = told else { return StatusCode::BAD_REQUEST };
        for counted in told {
            let less = |unheard: u64| unheard.checked_sub(1);
            if self.unheard.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_err() {
                return StatusCode::TOO_MANY_REQUESTS;
            }
            self.log.write_counted(&CountedLine { time: now(), counted });
        }
        StatusCode::NO_CONTENT
    }

    async fn pass(
        self: Arc<Self>,
        key: Arc<LinkKey>,
        request: Request<Incoming>,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let asked = request.uri().path();
        let found = PATHS.iter().find(|(path, _)| *path == asked);
        let (path, method) = found.ok_or_else(|| {
            Refusal(StatusCode::NOT_FOUND, "unknown_path", "providers do not serve this path".into())
        })?;
        if request.method() != method {
            let message = format!("providers take {method} {path}");
            return Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", message));
        }
        let (parts, body) = request.into_parts();
        if method == Method::GET {
            let ask = self.upstream.models();
            let answer = self.ask(&self.upstream, path, ask, &parts.headers, Bytes::new()).await?;
            return Ok(Passing::response(answer, None, self.patience));
        }
        let id = parts.headers.get("x-request-id").and_then(|id| id.to_str().ok());
        let id = id.filter(|id| is_request_id(id)).ok_or_else(|| {
            let message = "the gateway gave no x-request-id that can be used".into();
            Refusal(StatusCode::BAD_REQUEST, "bad_request_id", message)
        })?;
        let body = received(body).await?;
        let request_sha256 = B256::from_slice(&Sha256::digest(&body));
        let (asked, dialect, upstream) = self.read(path, body)?;
        let line = Line {
            time: 0,
            request: id.into(),
            model: asked.model.clone(),
            status: 0,
            end: End::Left,
            usage: None,
            chunks: 0,
            ask: self.ask,
            request_sha256,
            response_sha256: B256::from_slice(&Sha256::digest(b"")),
        };
        // A gateway sets the bound; here it only goes by the name that the server knows.
        let bound = if asked.is_bounded() { 0 } else { u8::MAX };
        let body = asked.body(dialect, Added { bound, no_stream: true, ..Added::default() });
        let mut entry = Serving { line, desk: self.clone() };
        let json = HeaderValue::from_static("application/json");
        let kind = parts.headers.get(header::CONTENT_TYPE).cloned().unwrap_or(json);
        let ask = upstream.post(asked.endpoint).header(header::CONTENT_TYPE, kind);
        let ask = ask.header("x-request-id", uuid_of(id));
        let answer = self.ask(upstream, path, ask, &parts.headers, body).await;
        let answer = answer.inspect_err(|_| entry.line.end = End::Broken)?;
        entry.line.status = answer.status().as_u16();
        let entry = Entry { serving: entry, key, most: asked.most, endpoint: asked.endpoint };
        Ok(Passing::response(answer, Some(entry), self.patience))
    }

    fn tell_of(&self, ill: String) {
        if self.told.is_new(&ill) {
            (self.tell)(ill);
        }
    }

    /// A refusal, once for each status and path, whatever its reason: that may have the words of whoever asked.
    fn tell_of_refusal(&self, upstream: &Upstream, path: &str, status: StatusCode, reason: Option<&str>) {
        if self.told.is_new(&upstream.refused(path, status, None)) {
            (self.tell)(upstream.refused(path, status, reason));
        }
    }

    /// Tells of an answer what is wrong with the upstream. The gateway does not use such an answer, and does not say so.
    fn tell_of_answer(&self, line: &Line, endpoint: Endpoint, meter: &Meter) {
        let Some((dialect, own)) = self.models.get(&line.model) else { return };
        let Ok(status) = StatusCode::from_u16(line.status) else { return };
        let upstream = own.as_ref().unwrap_or(&self.upstream);
        if let Some(fault) = meter.refusal() {
            // Under 200 it may name another.
            let named = fault.status.and_then(|named| StatusCode::from_u16(named).ok());
            let whose = match status.is_success() {
                true => named.map_or(Whose::Server, |named| fault.whose(named)),
                false => fault.whose(status),
            };
            if whose != Whose::Request {
                self.tell_of_refusal(upstream, endpoint.path(), status, fault.message.as_deref());
            }
        }
        let (name, called) = (line.model.as_str(), dialect.upstream(&line.model));
        let names = [called, name].into_iter().chain(dialect.answers.iter().map(String::as_str));
        if let Some(said) = meter.model().filter(|said| status.is_success() && !is_the_model(said, names)) {
            let said: String = said.chars().take(128).collect();
            self.tell_of(format!(
                "its server answers as {said:?}; name that: --model {name}={called},{said}"
            ));
        }
    }

    /// A request, as the settings of its model take it.
    fn read(&self, path: &str, body: Bytes) -> Result<(Asked, &Dialect, &Upstream), Refusal> {
        #[derive(serde::Deserialize)]
        struct Named {
            model: String,
        }
        let endpoint =
            Endpoint::ALL.into_iter().find(|endpoint| path.strip_prefix("/v1") == Some(endpoint.path()));
        let endpoint = endpoint.ok_or_else(|| {
            Refusal(StatusCode::NOT_FOUND, "unknown_path", "providers do not serve this path".into())
        })?;
        let bad = |why: String| Refusal(StatusCode::BAD_REQUEST, "bad_request", why);
        let named: Named = serde_json::from_slice(&body).map_err(|error| bad(error.to_string()))?;
        let (dialect, own) = self.models.get(&named.model).ok_or_else(|| {
            let shown: String = named.model.chars().take(128).collect();
            let message = format!("this provider does not offer the model {shown:?}");
            Refusal(StatusCode::NOT_FOUND, "model_not_found", message)
        })?;
        // The gateway has set a bound already.
        let asked =
            Asked::read(endpoint, body, dialect, u64::from(u32::MAX)).map_err(|refused| bad(refused.why))?;
        Ok((asked, dialect, own.as_ref().unwrap_or(&self.upstream)))
    }

    /// Asks the upstream. Of what the gateway says in headers, it hears what kind of answer is wanted, and what its log
    /// and its traces can be joined by. What it answers is for the gateway to read: nothing is made of it here but
    /// what lies between a provider and its upstream.
    async fn ask(
        &self,
        upstream: &Upstream,
        path: &str,
        mut ask: Builder,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, Refusal> {
        if let Some(accept) = headers.get(header::ACCEPT) {
            ask = ask.header(header::ACCEPT, accept);
        }
        if let Some(trace) = headers.get("traceparent").filter(|trace| is_traceparent(trace.as_bytes())) {
            ask = ask.header("traceparent", trace);
        }
        let bad = |code, message: String| Err(Refusal(StatusCode::BAD_GATEWAY, code, message));
        let Ok(ask) = ask.body(Full::new(body)) else {
            return bad("upstream_unreachable", "the upstream cannot be asked like this".into());
        };
        let answer = match timeout(self.patience, self.client.request(ask)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                self.tell_of(upstream.unanswered(&error));
                return match error.is_connect() {
                    true => bad("upstream_unreachable", "the provider's upstream cannot be reached".into()),
                    false => bad("upstream_broken", "the provider's upstream broke off or is no HTTP".into()),
                };
            }
            Err(_) => {
                self.tell_of(upstream.silent(self.patience));
                let message = "the provider's upstream took too long".into();
                return Err(Refusal(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", message));
            }
        };
        let status = answer.status();
        // That is between the provider and its upstream; a client would take it for its own key's fault.
        if [401, 407].contains(&status.as_u16()) {
            let path = path.strip_prefix("/v1").unwrap_or(path);
            self.tell_of_refusal(upstream, path, status, reason(answer).await.as_deref());
            return bad("upstream_key", format!("the provider's upstream refuses the provider: {status}"));
        }
        if status.is_informational() {
            let message = format!("the provider's upstream answered {status} and nothing more");
            self.tell_of(message.clone());
            return bad("upstream_broken", message);
        }
        if Packing::of(answer.headers()).is_none() {
            let message = "the provider's upstream packed its answer though it was asked not to";
            self.tell_of(message.into());
            return bad("upstream_encoding", message.into());
        }
        Ok(answer)
    }
}

/// Why an upstream refuses, as far as it says so.
async fn reason(answer: Response<Incoming>) -> Option<String> {
    let (parts, body) = answer.into_parts();
    let mut body = Unpacked::of(&parts.headers, body)?;
    let mut meter = Meter::of_refusal();
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            if let Some(data) = frame.data_ref()
                && !meter.read_refusal(data)
            {
                break;
            }
        }
    };
    let _ = timeout(REFUSAL_PATIENCE, reading).await;
    meter.refusal()?.message
}

async fn received(body: Incoming) -> Result<Bytes, Refusal> {
    match timeout(BODY_PATIENCE, Limited::new(body, LONGEST_REQUEST).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let message = format!("the body has more than {LONGEST_REQUEST} bytes");
            Err(Refusal(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message))
        }
        Ok(Err(_)) => Err(Refusal(StatusCode::BAD_REQUEST, "bad_request", "the body broke off".into())),
        Err(_) => Err(Refusal(StatusCode::REQUEST_TIMEOUT, "slow_request", "the body took too long".into())),
    }
}

/// What is sealed and written down when an answer is over.
struct Entry {
    serving: Serving,
    key: Arc<LinkKey>,
    most: Most,
    endpoint: Endpoint,
}

/// An answer on its way: metered and hashed as it goes, sealed when it is over. The upstream is read as fast as the
/// gateway takes, and let go when the gateway does.
pub(super) struct Passing {
    upstream: Incoming,
    silence: Silence,
    packing: Packing,
    meter: Meter,
    hash: Sha256,
    left: u64,
    /// None: nothing to seal, or sealed.
    entry: Option<Entry>,
}

/// An answer broke off; the reader sees the stream reset.
#[derive(Debug, Error)]
pub(super) enum BrokenAnswer {
    #[error("the upstream broke off: {0}")]
    Upstream(#[from] hyper::Error),
    #[error("the upstream was silent for too long")]
    Silent,
    #[error("the upstream's answer cannot be unpacked: {0}")]
    Packed(#[from] std::io::Error),
    #[error("the upstream's answer has more than {LONGEST_ANSWER} bytes")]
    TooLong,
}

impl Passing {
    fn response(
        answer: Response<Incoming>,
        entry: Option<Entry>,
        patience: Duration,
    ) -> Response<AnswerBody> {
        let (parts, upstream) = answer.into_parts();
        let refused = !parts.status.is_success();
        let meter = if refused { Meter::of_refusal() } else { Meter::default() };
        let (hash, left) = (Sha256::new(), LONGEST_ANSWER);
        let silence = Silence { patience, since: None, timer: None };
        let packing = Packing::of(&parts.headers).unwrap_or(Packing::None);
        let passing = Passing { upstream, silence, packing, meter, hash, left, entry };
        let mut response = Response::new(Either::Right(passing));
        *response.status_mut() = parts.status;
        let passed = parts.headers.iter().filter(|(name, _)| passes(name));
        response.headers_mut().extend(passed.map(|(name, value)| (name.clone(), value.clone())));
        response
    }

    fn count(&mut self) {
        if let Some(Entry { serving, most, endpoint, .. }) = &mut self.entry {
            self.meter.end();
            serving.desk.tell_of_answer(&serving.line, *endpoint, &self.meter);
            serving.line.usage = self.meter.usage(most);
            serving.line.chunks = self.meter.chunks();
            serving.line.response_sha256 = B256::from_slice(&self.hash.clone().finalize());
        }
    }

    fn sealed(&mut self) -> Option<Frame<Bytes>> {
        self.count();
        let Entry { serving: mut entry, key, .. } = self.entry.take()?;
        entry.line.end = End::Whole;
        let Line { request, model, status, usage, chunks, request_sha256, response_sha256, .. } =
            entry.line.clone();
        let claim = UsageClaim { request, model, status, usage, chunks, request_sha256, response_sha256 };
        Some(Frame::trailers(claim.seal(&key)))
    }

    fn broken(&mut self, error: BrokenAnswer) -> BrokenAnswer {
        self.count();
        if let Some(mut entry) = self.entry.take() {
            entry.serving.line.end = End::Broken;
        }
        error
    }
}

impl Passing {
    fn poll_upstream(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenAnswer>>> {
        match Pin::new(&mut self.upstream).poll_frame(context) {
            Poll::Ready(frame) => {
                self.silence.ends();
                Poll::Ready(frame.map(|frame| frame.map_err(BrokenAnswer::from)))
            }
            Poll::Pending => self.silence.poll(context).map(|()| Some(Err(BrokenAnswer::Silent))),
        }
    }
}

/// How long nothing came.
struct Silence {
    patience: Duration,
    /// None: something came last time.
    since: Option<Instant>,
    /// Kept from one silence to the next.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Silence {
    fn ends(&mut self) {
        self.since = None;
    }

    /// Ready when it has lasted too long.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(self.patience)));
        if self.since.is_none() {
            let now = Instant::now();
            self.since = Some(now);
            timer.as_mut().reset(now + self.patience);
        }
        timer.as_mut().poll(context)
    }
}

impl Body for Passing {
    type Data = Bytes;
    type Error = BrokenAnswer;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenAnswer>>> {
        loop {
            let bytes = match self.packing.next() {
                Some(Ok(bytes)) => bytes,
                Some(Err(error)) => return Poll::Ready(Some(Err(self.broken(error.into())))),
                None => match std::task::ready!(self.poll_upstream(context)) {
                    None => match self.packing.end() {
                        Ok(()) => return Poll::Ready(self.sealed().map(Ok)),
                        Err(error) => return Poll::Ready(Some(Err(self.broken(error.into())))),
                    },
                    Some(Err(error)) => return Poll::Ready(Some(Err(self.broken(error)))),
                    // What else the upstream sends behind its answer is not passed on.
                    Some(Ok(frame)) => match frame.into_data().map(|data| self.packing.put(data)) {
                        Ok(Some(plain)) => plain,
                        Ok(None) | Err(_) => continue,
                    },
                },
            };
            let length = bytes.len() as u64;
            if length > self.left {
                return Poll::Ready(Some(Err(self.broken(BrokenAnswer::TooLong))));
            }
            self.left -= length;
            self.meter.read(&bytes);
            self.hash.update(&bytes);
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.count();
    }
}
