//! The provider's side: it dials the gateway, serves what comes over the link from its upstream, and dials again when
//! the link is lost.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, StatusCode, header};
use earnest_chain::key::Key;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use reqwest::redirect::Policy;
use reqwest::{Client, Upgraded, Url};
use serde::Deserialize;
use thiserror::Error;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::answer::Desk;
use super::hello::{Challenge, Hello, HelloError, Offer, Realm};
use super::link_key::LinkKey;
use super::served::{Log, LogError};
use super::{CHALLENGE, DOOR, HEADERS, PROTOCOL, PULSE, REQUESTS_WINDOW, RESETS, STREAM_WINDOW};
use crate::once::Once;
use crate::openai::dialect::Dialect;
use crate::upstream::{
    self, NoUpstream, Upstream, hint_of_silence, hint_of_status, innermost, shown, upstream_base,
};

/// What may be under way of one request.
const REQUEST_WINDOW: u32 = 256 << 10;
/// How long one step of dialling may take.
const STEP: Duration = Duration::from_secs(10);
/// The first wait before dialling again; each is twice the last.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait, and how long a link must have held for the first wait to be enough again.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long requests have to end when the provider is told to stop.
const GRACE: Duration = Duration::from_secs(30);
/// Most bytes of an answer while dialling, and of a list of models.
const LONGEST_WORDS: usize = 1 << 20;

/// A model on offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// As the gateway's clients name it.
    pub name: String,
    /// How the upstream takes its requests.
    pub dialect: Dialect,
    /// Another upstream than the others have, and what that is shown.
    pub elsewhere: Option<(Url, HeaderMap)>,
}

/// What a provider is started with.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Where to dial: `https://gateway.example`.
    pub gateway: Url,
    /// Operator key; it is paid at its address.
    pub key: Key,
    /// An OpenAI-compatible server, as its clients name its base: `http://localhost:11434/v1`. A query stays behind
    /// every path.
    pub upstream: Url,
    /// What the upstream wants as a bearer.
    pub upstream_key: Option<String>,
    /// What else it wants to see in every request, such as an `api-key`.
    pub headers: HeaderMap,
    /// What is on offer.
    pub models: Vec<Model>,
    /// Basis points of the listed charge it wants to be paid.
    pub ask: u16,
    /// Requests at once, over all links.
    pub concurrency: u16,
    /// Connections to the gateway, each with a thread of its own at both ends: what waits on one does not hold up the
    /// others.
    pub links: u16,
    /// Where the log of what was served is kept.
    pub folder: PathBuf,
    /// How long the upstream may be silent.
    pub patience: Duration,
}

/// What there is to tell whoever runs it.
#[derive(Debug)]
pub enum News {
    /// It is linked, and is asked from now on.
    Linked(Realm),
    /// It is not, and dials again after a while.
    Lost(DialError, Duration),
    /// What is wrong with its upstream: each thing once.
    Ill(String),
}

/// Why there is no link, or no more.
#[derive(Debug, Error)]
pub enum DialError {
    /// It cannot be reached, or does not speak as it should.
    #[error("no connection to the gateway: {0}")]
    Unreachable(String),
    /// It said no.
    #[error("the gateway says {status}: {message}")]
    Refused {
        /// How.
        status: StatusCode,
        /// Why.
        message: String,
    },
    /// The connection ended.
    #[error("the link to the gateway ended")]
    Ended,
    /// The offer can be made to no gateway.
    #[error(transparent)]
    Offer(#[from] HelloError),
    /// A key or URL that cannot be used.
    #[error("{0}")]
    Unfit(String),
    /// What was served could not be written down.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl From<NoUpstream> for DialError {
    fn from(error: NoUpstream) -> Self {
        DialError::Unfit(error.to_string())
    }
}

impl From<reqwest::Error> for DialError {
    fn from(error: reqwest::Error) -> Self {
        DialError::Unreachable(innermost(&error))
    }
}

fn client(read_timeout: Duration) -> Result<Client, DialError> {
    let builder = Client::builder().redirect(Policy::none()).no_proxy().http1_only();
    Ok(builder.connect_timeout(STEP).read_timeout(read_timeout).build()?)
}

/// A gateway's URL, without `/` at its end, or the `/v1` that its clients add.
fn base(url: &Url) -> Result<String, DialError> {
    let plain = url.query().is_none() && url.fragment().is_none();
    if !["http", "https"].contains(&url.scheme()) || !url.has_host() || !plain {
        let message = format!(
            "{} is not the URL of a gateway\n  hint: http://HOST/PATH or https://HOST/PATH is",
            shown(url)
        );
        return Err(DialError::Unfit(message));
    }
    let url = url.as_str().trim_end_matches('/');
    Ok(url.strip_suffix("/v1").unwrap_or(url).to_string())
}

/// At most so many bytes of an answer.
async fn words(mut response: reqwest::Response) -> Result<Vec<u8>, DialError> {
    let mut words = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        words.extend_from_slice(&chunk);
        if words.len() > LONGEST_WORDS {
            return Err(DialError::Unreachable(format!("an answer has more than {LONGEST_WORDS} bytes")));
        }
    }
    Ok(words)
}

/// For which chain and contract a gateway has its providers sign.
pub async fn realm(gateway: &Url) -> Result<Realm, DialError> {
    let asked = challenge(&client(STEP)?, &base(gateway)?).await?;
    Ok(asked.realm)
}

/// Names of the models that a gateway sells.
pub async fn models_sold(gateway: &Url) -> Result<Vec<String>, DialError> {
    #[derive(Deserialize)]
    struct Terms {
        price_list: List,
    }
    #[derive(Deserialize)]
    struct List {
        models: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        model: String,
    }
    let url = format!("{}/earnest/terms", base(gateway)?);
    let answer = client(STEP)?.get(url).send().await?;
    if answer.status() != StatusCode::OK {
        return Err(refused(answer).await);
    }
    let terms: Terms = serde_json::from_slice(&words(answer).await?)
        .map_err(|error| DialError::Unreachable(format!("its terms cannot be read: {error}")))?;
    Ok(terms.price_list.models.into_iter().map(|entry| entry.model).collect())
}

async fn challenge(client: &Client, gateway: &str) -> Result<Challenge, DialError> {
    let answer = client.get(format!("{gateway}{CHALLENGE}")).send().await?;
    if answer.status() != StatusCode::OK {
        return Err(refused(answer).await);
    }
    serde_json::from_slice(&words(answer).await?).map_err(|error| {
        DialError::Unreachable(format!("its challenge cannot be read, so it is no gateway: {error}"))
    })
}

/// Names of the models that an upstream says it has.
pub async fn upstream_models(
    upstream: &Url,
    key: Option<&str>,
    headers: &HeaderMap,
) -> Result<Vec<String>, DialError> {
    #[derive(Deserialize)]
    struct List {
        data: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        id: String,
    }
    let ask = Upstream::new(&upstream_base(upstream.as_str())?, key, headers)?.models();
    let ask = ask.body(Vec::new()).map_err(|error| DialError::Unfit(error.to_string()))?;
    let unfit = |why: String, hint: &str| {
        let upstream = shown(upstream);
        DialError::Unfit(format!("the upstream {upstream} does not list its models: {why}\n  hint: {hint}"))
    };
    let hint = "is it the base of an OpenAI-compatible server, with /v1 at its end? --model NAME=UPSTREAM asks for no list";
    let ask = reqwest::Request::try_from(ask)?;
    let answer = client(STEP)?.execute(ask).await;
    let answer = answer.map_err(|error| unfit(innermost(&error), hint_of_silence(upstream)))?;
    let status = answer.status();
    if !status.is_success() {
        let refused = [401, 403].contains(&status.as_u16());
        let hint = hint_of_status(status).filter(|_| refused).unwrap_or(hint);
        return Err(unfit(status.to_string(), hint));
    }
    let list: List =
        serde_json::from_slice(&words(answer).await?).map_err(|error| unfit(error.to_string(), hint))?;
    Ok(list.data.into_iter().map(|entry| entry.id).collect())
}

/// Threads that keep links; they end with this, at once.
struct Threads {
    /// True: end what was begun, and then yourself.
    stop: Option<watch::Sender<bool>>,
    handles: Vec<JoinHandle<()>>,
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop = None;
        for handle in self.handles.drain(..) {
            let _ = handle.join();
        }
    }
}

impl Provider {
    /// Dials, serves, and dials again, until it is told to stop; then ends what it has begun. A gateway that refuses the
    /// first time ends it with an error; later it may change its mind.
    ///
    /// A link has a thread with all that it needs, upstream's connections included: what a request wakes is at hand. To
    /// wake another thread takes as long as the system is busy, and a request would do so half a dozen times.
    pub async fn run(self, shutdown: impl Future<Output = ()>, tell: impl Fn(News)) -> Result<(), DialError> {
        self.offer()?;
        let links = self.links.clamp(1, self.concurrency);
        let each = Provider { concurrency: self.concurrency.div_ceil(links), ..self };
        let (log, once) = (Arc::new(Log::open(&each.folder)?), Arc::new(Once::default()));
        let welcome = Arc::new(AtomicBool::new(false));
        let (stop, stopped) = watch::channel(false);
        let (told, mut heard) = mpsc::unbounded_channel();
        let mut threads = Threads { stop: Some(stop), handles: Vec::new() };
        for number in 0..links {
            let (each, log, once, welcome) = (each.clone(), log.clone(), once.clone(), welcome.clone());
            let (told, mut killed, mut stopped) = (told.clone(), stopped.clone(), stopped.clone());
            let thread = std::thread::Builder::new().name(format!("link-{number}"));
            let tell = {
                let told = told.clone();
                move |news| drop(told.send(Ok(news)))
            };
            let live = move |runtime: Runtime| {
                let kept = async {
                    let stopped = async {
                        if stopped.wait_for(|stop| *stop).await.is_err() {
                            std::future::pending().await
                        }
                    };
                    tokio::select! {
                        ended = each.keep(log, once, &welcome, stopped, tell) => ended,
                        () = async { while killed.changed().await.is_ok() {} } => Ok(()),
                    }
                };
                if let Err(error) = runtime.block_on(kept) {
                    let _ = told.send(Err(error));
                }
                // Not waiting for names that are looked up.
                runtime.shutdown_background();
            };
            let unfit = |error: std::io::Error| DialError::Unfit(format!("no thread for a link: {error}"));
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(unfit)?;
            threads.handles.push(thread.spawn(move || live(runtime)).map_err(unfit)?);
        }
        drop((told, log));
        let mut shutdown = pin!(shutdown);
        let mut asked_to_stop = false;
        loop {
            tokio::select! {
                news = heard.recv() => match news {
                    Some(news) => tell(news?),
                    None => return Ok(()),
                },
                () = shutdown.as_mut(), if !asked_to_stop => {
                    asked_to_stop = true;
                    if let Some(stop) = &threads.stop {
                        stop.send_replace(true);
                    }
                }
            }
        }
    }

    /// Keeps one link.
    async fn keep(
        &self,
        log: Arc<Log>,
        once: Arc<Once>,
        welcome: &AtomicBool,
        shutdown: impl Future<Output = ()>,
        tell: impl Fn(News) + Clone + Send + Sync + 'static,
    ) -> Result<(), DialError> {
        let offer = self.offer()?;
        let base_url = upstream_base(self.upstream.as_str())?;
        let upstream = Upstream::new(&base_url, self.upstream_key.as_deref(), &self.headers)?;
        let mut models = BTreeMap::new();
        for Model { name, dialect, elsewhere } in &self.models {
            let own =
                elsewhere.as_ref().map(|(url, headers)| Upstream::new(url, None, headers)).transpose()?;
            models.insert(name.clone(), (dialect.clone(), own));
        }
        let unfit = |error: std::io::Error| DialError::Unfit(error.to_string());
        let desk = Arc::new(Desk {
            client: upstream::client().map_err(unfit)?,
            upstream,
            patience: self.patience,
            models,
            ask: self.ask,
            log,
            unheard: AtomicU64::new(0),
            told: once,
            tell: {
                let tell = tell.clone();
                Box::new(move |ill| tell(News::Ill(ill)))
            },
        });
        let gateway = base(&self.gateway)?;
        let dialler = client(STEP)?;
        let mut shutdown = pin!(shutdown);
        let mut wait = FIRST_WAIT;
        loop {
            let dialled = tokio::select! {
                dialled = self.dial(&dialler, &gateway, &offer) => dialled,
                () = shutdown.as_mut() => return Ok(()),
            };
            let lost = match dialled {
                Ok((stream, realm, key)) => {
                    welcome.store(true, Ordering::Relaxed);
                    tell(News::Linked(realm));
                    let begun = Instant::now();
                    if self.serve(desk.clone(), stream, key, shutdown.as_mut()).await {
                        return Ok(());
                    }
                    if begun.elapsed() > LONGEST_WAIT {
                        wait = FIRST_WAIT;
                    }
                    DialError::Ended
                }
                Err(DialError::Refused { status, message })
                    if status.is_client_error() && !welcome.load(Ordering::Relaxed) =>
                {
                    return Err(DialError::Refused { status, message });
                }
                Err(error) => error,
            };
            let pause = jittered(wait);
            wait = (wait * 2).min(LONGEST_WAIT);
            tell(News::Lost(lost, pause));
            tokio::select! {
                () = sleep(pause) => {}
                () = shutdown.as_mut() => return Ok(()),
            }
        }
    }

    fn offer(&self) -> Result<Offer, DialError> {
        let host = self.gateway.host_str().unwrap_or_default();
        let mut models: Vec<String> = self.models.iter().map(|model| model.name.clone()).collect();
        models.sort();
        let called = |model: &Model| {
            let upstream = model.dialect.upstream(&model.name);
            (upstream != model.name).then(|| (model.name.clone(), upstream.to_owned()))
        };
        let called = self.models.iter().filter_map(called).collect();
        let answering = self.models.iter().filter(|model| !model.dialect.answers.is_empty());
        let answers = answering.map(|model| (model.name.clone(), model.dialect.answers.clone())).collect();
        let mut instance = [0; 8];
        getrandom::fill(&mut instance).expect("the system has randomness");
        let offer = Offer {
            gateway: self.gateway.port().map_or(host.into(), |port| format!("{host}:{port}")),
            models,
            called,
            answers,
            ask: self.ask,
            concurrency: self.concurrency,
            // What JavaScript can read, too.
            instance: u64::from_be_bytes(instance) >> 11,
        };
        offer.check()?;
        Ok(offer)
    }

    async fn dial(
        &self,
        client: &Client,
        gateway: &str,
        offer: &Offer,
    ) -> Result<(Upgraded, Realm, LinkKey), DialError> {
        let dialled = timeout(2 * STEP, async {
            let challenge = challenge(client, gateway).await?;
            let hello = Hello::sign(&self.key, &challenge, offer.clone());
            let none = || DialError::Unreachable("its challenge agrees with no public key".into());
            let (hello, key) = hello.ok_or_else(none)?;
            let ask = client.get(format!("{gateway}{DOOR}")).headers(hello.headers());
            let ask = ask.header(header::CONNECTION, "upgrade").header(header::UPGRADE, PROTOCOL);
            let answer = ask.send().await?;
            if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                return Err(refused(answer).await);
            }
            Ok((answer.upgrade().await?, challenge.realm, key))
        });
        dialled.await.unwrap_or_else(|_| Err(DialError::Unreachable("it took too long".into())))
    }

    /// Answers what comes over a link, until it ends; true: the provider was told to stop.
    async fn serve(
        &self,
        desk: Arc<Desk>,
        stream: Upgraded,
        key: LinkKey,
        shutdown: Pin<&mut impl Future<Output = ()>>,
    ) -> bool {
        let key = Arc::new(key);
        let service = service_fn(move |request| {
            let (desk, key) = (desk.clone(), key.clone());
            async move { Ok::<_, std::convert::Infallible>(desk.answer(key, request).await) }
        });
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(REQUEST_WINDOW)
            .initial_connection_window_size(REQUESTS_WINDOW)
            .max_concurrent_streams(u32::from(self.concurrency) + 1)
            .max_pending_accept_reset_streams(RESETS)
            .max_local_error_reset_streams(RESETS)
            .max_send_buf_size(STREAM_WINDOW as usize)
            .max_header_list_size(HEADERS)
            .keep_alive_interval(PULSE)
            .keep_alive_timeout(PULSE)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        tokio::select! {
            _ = connection.as_mut() => return false,
            () = shutdown => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = timeout(GRACE, connection).await;
        true
    }
}

async fn refused(answer: reqwest::Response) -> DialError {
    #[derive(Deserialize)]
    struct Body {
        error: Error,
    }
    #[derive(Deserialize)]
    struct Error {
        message: String,
    }
    let status = answer.status();
    let words = words(answer).await.unwrap_or_default();
    let message = match serde_json::from_slice::<Body>(&words) {
        Ok(body) => body.error.message,
        Err(_) => String::from_utf8_lossy(&words).into_owned(),
    };
    // It is shown on a terminal.
    let plain = |c: &char| *c == '\n' || !c.is_control();
    DialError::Refused { status, message: message.trim().chars().filter(plain).take(400).collect() }
}

/// Between half and all of it, so that providers that lost one gateway do not all come back at once.
fn jittered(wait: Duration) -> Duration {
    let mut chance = [0; 4];
    getrandom::fill(&mut chance).expect("the system has randomness");
    wait / 2 + wait.mul_f64(f64::from(u32::from_be_bytes(chance)) / f64::from(u32::MAX) / 2.0)
}
