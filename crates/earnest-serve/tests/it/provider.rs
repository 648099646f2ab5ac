//! Providers over real sockets: dialling in, answering through the link, and what happens when one side leaves.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use earnest_chain::key::Key;
use earnest_serve::guard::Guard;
use earnest_serve::openai::dialect::Dialect;
use earnest_serve::provider::counted::Counted;
use earnest_serve::provider::dial::{DialError, Model, News, Provider};
use earnest_serve::provider::doors::{Admission, Doors, accept};
use earnest_serve::provider::hello::Realm;
use earnest_serve::provider::name::Names;
use earnest_serve::provider::roster::{Answer, Link, LinkError, Roster};
use earnest_serve::provider::served::{self, End, Entry, Line};
use earnest_serve::provider::usage::{Usage, UsageClaim};
use earnest_serve::request_id::uuid_of;
use earnest_serve::server::{Limits, serve_within};
use futures_util::StreamExt;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const REALM: Realm = Realm { chain_id: 31_337, revenue: Address::repeat_byte(9) };

/// A gateway that does nothing but let providers in.
pub(crate) struct Gate {
    pub(crate) address: String,
    pub(crate) roster: Arc<Roster>,
    pub(crate) serving: JoinHandle<()>,
}

impl Gate {
    pub(crate) async fn open(admission: Admission) -> Self {
        Self::at("127.0.0.1:0", admission).await
    }

    pub(crate) async fn at(address: &str, admission: Admission) -> Self {
        Self::named(address, admission, &[]).await
    }

    pub(crate) async fn named(address: &str, admission: Admission, names: &[String]) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("it");
        let roster = Arc::new(Roster::default());
        let own = Names::of(names).expect("names");
        own.listens_at(address);
        let app = accept(Doors::new(REALM, own.into(), admission, 9_000, roster.clone()));
        let guard = Guard::new(address.port(), names);
        let serving =
            tokio::spawn(serve_within(Limits::default(), listener, app, guard, std::future::pending()));
        Gate { address: address.to_string(), roster, serving }
    }

    /// Waits until so many links are there.
    pub(crate) async fn links(&self, count: usize) -> Vec<Arc<Link>> {
        let mut changes = self.roster.changes();
        let there = async {
            while self.roster.links().len() != count {
                let _ = tokio::time::timeout(Duration::from_millis(50), changes.changed()).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), there).await.expect("links come and go");
        self.roster.links()
    }

    pub(crate) async fn link(&self) -> Arc<Link> {
        self.links(1).await.remove(0)
    }
}

pub(crate) async fn upstream(app: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it");
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}/v1")
}

pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("provider-{name}"));
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

pub(crate) fn provider(name: &str, gate: &Gate, upstream: &str) -> Provider {
    Provider {
        gateway: format!("http://{}", gate.address).parse().expect("a URL"),
        key: Key::from_words(name),
        upstream: upstream.parse().expect("a URL"),
        upstream_key: None,
        headers: HeaderMap::new(),
        models: vec![Model { name: "small".into(), dialect: called("vendor's \"small\""), elsewhere: None }],
        ask: 8_000,
        concurrency: 200,
        links: 1,
        folder: folder(name),
        patience: Duration::from_secs(20),
    }
}

/// A provider at work; told to stop, or killed.
pub(crate) struct Working {
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) task: JoinHandle<Result<(), DialError>>,
    pub(crate) news: Arc<Mutex<Vec<String>>>,
}

pub(crate) fn start(provider: Provider) -> Working {
    let (stop, stopped) = oneshot::channel();
    let news = Arc::new(Mutex::new(Vec::new()));
    let heard = news.clone();
    let task = tokio::spawn(provider.run(
        async move {
            let _ = stopped.await;
        },
        move |told| {
            let text = match told {
                News::Linked(realm) => format!("linked {}", realm.chain_id),
                News::Lost(error, _) => format!("lost: {error}"),
                News::Ill(why) => format!("ill: {why}"),
            };
            heard.lock().expect("not held").push(text);
        },
    ));
    Working { stop: Some(stop), task, news }
}

pub(crate) fn ask(path: &str, body: impl Into<Bytes>) -> Request<Bytes> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let id = format!("req_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let request = Request::post(path).header("content-type", "application/json").header("x-request-id", id);
    request.body(body.into()).expect("a request")
}

pub(crate) const CHAT: &str = "/v1/chat/completions";
pub(crate) const BODY: &str = r#"{ "model" : "small", "messages":[], "temperature":1.00 }"#;

/// Status, bytes and trailers of a whole answer.
pub(crate) async fn whole(answer: axum::http::Response<Answer>) -> (StatusCode, Bytes, HeaderMap) {
    let status = answer.status();
    let body = answer.into_body().collect().await.expect("a whole answer");
    let trailers = body.trailers().cloned().unwrap_or_default();
    (status, body.to_bytes(), trailers)
}

fn lines(folder: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(folder.join(served::FILE)).unwrap_or_default();
    let entries = text.lines().map(|line| Entry::read(line.as_bytes()).expect("a line"));
    entries.filter_map(|entry| if let Entry::Served(line) = entry { Some(line) } else { None }).collect()
}

/// Waits until the provider's log has so many lines.
pub(crate) async fn logged(folder: &Path, count: usize) -> Vec<Line> {
    for _ in 0..400 {
        if lines(folder).len() >= count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let lines = lines(folder);
    assert_eq!(lines.len(), count);
    lines
}

/// A stream of pieces of a chat, one every so often; `dropped` counts those that were not read to the end.
fn pieces(count: usize, pause: Duration, dropped: Arc<AtomicUsize>) -> Response {
    struct Reader(Arc<AtomicUsize>, usize);
    impl Drop for Reader {
        fn drop(&mut self) {
            self.0.fetch_add(usize::from(self.1 > 0), Ordering::SeqCst);
        }
    }
    let pieces = futures_util::stream::unfold(Reader(dropped, count + 1), move |mut reader| async move {
        reader.1 = reader.1.checked_sub(1)?;
        let text = match reader.1 {
            0 => "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":9}}\n\ndata: [DONE]\n\n".into(),
            left => {
                tokio::time::sleep(pause).await;
                let at = EPOCH.elapsed().as_micros();
                format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{at}\"}}}}],\"left\":{left}}}\n\n")
            }
        };
        Some((Ok::<_, std::convert::Infallible>(text), reader))
    });
    ([("content-type", "text/event-stream")], Body::from_stream(pieces)).into_response()
}

static EPOCH: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_dials_in_answers_and_signs_for_it() {
    type Seen = Arc<Mutex<Vec<(Method, Uri, HeaderMap, Bytes)>>>;
    let seen: Seen = Arc::default();
    let heard = seen.clone();
    let answer = r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}"#;
    let app = Router::new().fallback(move |request: axum::extract::Request| async move {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        heard.lock().expect("not held").push((parts.method, parts.uri, parts.headers, body));
        ([("content-type", "application/json"), ("set-cookie", "a=b"), ("server", "secret")], answer)
    });
    let upstream = upstream(app).await;
    let key = Key::from_words("answers");
    let gate = Gate::open(Admission::Only([key.address()].into())).await;
    let mut provider = provider("answers", &gate, &format!("{upstream}?api-version=2024-10-21"));
    provider.upstream_key = Some("sk-upstream".into());
    provider.headers.insert("api-key", "k".parse().expect("a value"));
    let folder = provider.folder.clone();
    let mut working = start(provider);
    let link = gate.link().await;
    assert_eq!((link.provider, link.offer.ask, link.offer.concurrency), (key.address(), 8_000, 200));
    assert_eq!(link.offer.models, ["small"]);

    for path in ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"] {
        let mut request = ask(path, BODY);
        let headers = request.headers_mut();
        headers.insert("authorization", "Bearer sk-earnest-client".parse().expect("a value"));
        headers.insert("accept", "application/json".parse().expect("a value"));
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        headers.insert("traceparent", trace.parse().expect("a value"));
        headers.insert("x-forwarded-host", "internal".parse().expect("a value"));
        let id = headers["x-request-id"].to_str().expect("text").to_string();
        let response = link.send(request).await.expect("an answer");
        let mut names: Vec<&str> = response.headers().keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-type", "date"], "nothing else of the upstream's");
        let (status, body, trailers) = whole(response).await;
        assert_eq!((status, &body[..]), (StatusCode::OK, answer.as_bytes()));
        let claim = UsageClaim::verify(&trailers, &link.key).expect("a sealed claim");
        let expected = UsageClaim {
            request: id.clone(),
            model: "small".into(),
            status: 200,
            usage: Some(Usage { prompt: 7, cached: 0, completion: 2 }),
            chunks: 0,
            request_sha256: B256::from_slice(&Sha256::digest(BODY)),
            response_sha256: B256::from_slice(&Sha256::digest(answer)),
        };
        assert_eq!(claim, expected);
        let (method, uri, headers, body) = seen.lock().expect("not held").pop().expect("it was asked");
        assert_eq!((method, uri.to_string()), (Method::POST, format!("{path}?api-version=2024-10-21")));
        assert_eq!(&body[..], BODY.replace("\"small\"", r#""vendor's \"small\"""#).as_bytes());
        let mut names: Vec<&str> = headers.keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        let passed = [
            "accept",
            "accept-encoding",
            "api-key",
            "authorization",
            "content-length",
            "content-type",
            "host",
            "traceparent",
            "x-request-id",
        ];
        assert_eq!(names, passed, "nothing else of the gateway's");
        assert_eq!(headers["authorization"], "Bearer sk-upstream");
        assert!(headers["api-key"] == "k" && headers["accept-encoding"] == "identity");
        assert_eq!(headers["x-request-id"], uuid_of(&id).as_str());
    }
    let request = Request::get("/v1/models").body(Bytes::new()).expect("a request");
    let (status, body, trailers) = whole(link.send(request).await.expect("an answer")).await;
    assert_eq!((status, &body[..], trailers.len()), (StatusCode::OK, answer.as_bytes(), 0));

    let lines = logged(&folder, 4).await;
    assert!(lines.iter().all(|line| line.end == End::Whole && line.ask == 8_000 && line.time > 0));
    let days = served::sums(&folder).expect("a log").days;
    assert_eq!((days.iter().map(|day| day.requests).sum::<u64>(), days[0].answered), (4, 4));

    working.stop.take().expect("running").send(()).expect("running");
    working.task.await.expect("no panic").expect("it ends well");
    gate.links(0).await;
    assert!(matches!(link.send(ask(CHAT, BODY)).await, Err(LinkError::Gone)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_hears_what_was_counted_less() {
    let answer = || async { axum::Json(json!({"usage": {"prompt_tokens": 7, "completion_tokens": 2}})) };
    let upstream = upstream(Router::new().route("/v1/chat/completions", post(answer))).await;
    let gate = Gate::open(Admission::Anyone).await;
    let mut provider = provider("counted", &gate, &upstream);
    provider.concurrency = 3;
    let folder = provider.folder.clone();
    let _working = start(provider);
    let link = gate.link().await;
    let counted = |number: usize| Counted {
        request: format!("req_{number}"),
        model: "small".into(),
        stated: Some(Usage { prompt: 7, cached: 0, completion: 2 }),
        counted: Usage { prompt: 7, cached: 0, completion: 1 },
        why: if number == 0 { "bounded" } else { "cut off" }.into(),
    };
    // Nothing was served yet: nothing can have been counted less.
    link.tell(counted(99));
    for _ in 0..3 {
        whole(link.send(ask(CHAT, BODY)).await.expect("an answer")).await;
    }
    logged(&folder, 3).await;
    // It is told at once, and more than can wait is dropped.
    let begun = Instant::now();
    for number in 0..10_000 {
        link.tell(counted(number));
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let sums = async {
        loop {
            let sums = served::sums(&folder).expect("a log");
            if sums.days[0].less_requests == 3 {
                break sums;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let sums = tokio::time::timeout(Duration::from_secs(5), sums).await.expect("it hears of it");
    assert_eq!((sums.days[0].requests, sums.days[0].less), (3, 3));
    assert_eq!(sums.reasons, [("bounded".to_owned(), 1), ("cut off".to_owned(), 2)].into());
    // As many requests at once as before, and one line for each that was served, whatever the gateway says.
    whole(link.send(ask(CHAT, BODY)).await.expect("an answer")).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(served::sums(&folder).expect("a log").days[0].less_requests <= 4);
    assert_eq!(link.inflight(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_shares_its_requests_between_its_links() {
    let app = Router::new().route(
        "/v1/chat/completions",
        post(|| async { pieces(20, Duration::from_millis(10), Arc::default()) }),
    );
    let upstream = upstream(app).await;
    let gate = Gate::open(Admission::Anyone).await;
    let mut provider = provider("links", &gate, &upstream);
    (provider.concurrency, provider.links) = (7, 3);
    let folder = provider.folder.clone();
    let mut working = start(provider);
    let links = gate.links(3).await;
    assert!(links.iter().all(|link| link.offer.concurrency == 3));
    let begun = links.iter().map(|link| link.send(ask(CHAT, BODY)));
    let answers = futures_util::future::join_all(begun).await;
    working.stop.take().expect("running").send(()).expect("running");
    for answer in answers {
        let (status, _, trailers) = whole(answer.expect("an answer")).await;
        assert_eq!((status, trailers.len()), (StatusCode::OK, 2), "what was begun is ended, on every link");
    }
    working.task.await.expect("no panic").expect("it ends well");
    // It is all in the log by then, and the log is free.
    assert_eq!(lines(&folder).len(), 3);
    gate.links(0).await;
    // One that would like more links than requests has as many as requests.
    let mut few = self::provider("links", &gate, &upstream);
    (few.concurrency, few.links) = (2, 16);
    let working = start(few);
    assert_eq!(gate.links(2).await[0].offer.concurrency, 1);
    working.task.abort();
    gate.links(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_comes_through_as_it_is_written() {
    let app = Router::new().route(
        "/v1/chat/completions",
        post(|| async { pieces(100, Duration::from_millis(20), Arc::default()) }),
    );
    let upstream = upstream(app).await;
    let gate = Gate::open(Admission::Anyone).await;
    let _working = start(provider("latency", &gate, &upstream));
    let link = gate.link().await;
    let response = link.send(ask(CHAT, BODY)).await.expect("an answer");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let (mut body, mut late, mut hash) = (response.into_body(), Vec::new(), Sha256::new());
    let mut trailers = HeaderMap::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.expect("no break");
        let Some(data) = frame.data_ref() else {
            trailers = frame.into_trailers().expect("data or trailers");
            continue;
        };
        let now = EPOCH.elapsed().as_micros();
        hash.update(data);
        let text = std::str::from_utf8(data).expect("text");
        assert_eq!(text.matches("content").count(), usize::from(late.len() < 100), "one at a time: {text}");
        if let Some((_, rest)) = text.split_once("\"content\":\"") {
            let sent: u128 = rest.split('"').next().expect("a piece").parse().expect("a time");
            late.push(now - sent);
        }
    }
    late.sort_unstable();
    eprintln!("through the link: p50 {} µs, p90 {} µs, most {} µs", late[50], late[90], late[99]);
    assert!(late[50] < 5_000, "{late:?}");
    let claim = UsageClaim::verify(&trailers, &link.key).expect("a sealed claim");
    assert_eq!((claim.chunks, claim.usage), (100, Some(Usage { prompt: 5, cached: 0, completion: 9 })));
    assert_eq!(claim.response_sha256, B256::from_slice(&hash.finalize()));
    assert_eq!(link.inflight(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_stops_the_upstream() {
    let (dropped, waiting) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, waited) = (dropped.clone(), waiting.clone());
    let app = Router::new()
        .route(
            "/v1/chat/completions",
            post(move || async move { pieces(10_000, Duration::from_millis(5), counted) }),
        )
        .route(
            "/v1/completions",
            post(move || async move {
                struct Here(Arc<AtomicUsize>);
                impl Drop for Here {
                    fn drop(&mut self) {
                        self.0.fetch_sub(1, Ordering::SeqCst);
                    }
                }
                waited.fetch_add(1, Ordering::SeqCst);
                let _here = Here(waited);
                std::future::pending::<()>().await;
            }),
        );
    let upstream = upstream(app).await;
    let gate = Gate::open(Admission::Anyone).await;
    let provider = provider("leaves", &gate, &upstream);
    let folder = provider.folder.clone();
    let _working = start(provider);
    let link = gate.link().await;
    let soon = async |what: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !what() {
            assert!(begun.elapsed() < Duration::from_secs(5), "it goes on");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        begun.elapsed()
    };
    // In the middle of a stream.
    let mut body = link.send(ask(CHAT, BODY)).await.expect("an answer").into_body();
    body.frame().await.expect("a piece").expect("no break");
    assert_eq!(link.inflight(), 1);
    drop(body);
    assert_eq!(link.inflight(), 0);
    eprintln!("stopped within {:?}", soon(&|| dropped.load(Ordering::SeqCst) == 1).await);
    let line = logged(&folder, 1).await.remove(0);
    assert_eq!((line.end, line.status), (End::Left, 200));
    assert!(line.chunks >= 1);
    // Before the answer began.
    let mut asked = Box::pin(link.send(ask("/v1/completions", BODY)));
    let began = tokio::time::timeout(Duration::from_millis(300), asked.as_mut()).await;
    assert!(began.is_err() && waiting.load(Ordering::SeqCst) == 1 && link.inflight() == 1);
    drop(asked);
    soon(&|| waiting.load(Ordering::SeqCst) == 0).await;
    let line = logged(&folder, 2).await.remove(1);
    assert_eq!((line.end, line.status, link.inflight()), (End::Left, 0, 0));
    assert!(!link.is_closed());
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_hold_back_only_themselves() {
    slow_readers("slow", 8_000).await;
}

/// HTTP/2's libraries count what small pieces cost beyond their bytes, too, and end a connection that holds many.
#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_of_small_pieces_hold_back_only_themselves() {
    slow_readers("slow-small", 50).await;
}

async fn slow_readers(name: &str, size: usize) {
    let produced = Arc::new(AtomicU64::new(0));
    let counter = produced.clone();
    let app = Router::new()
        .route(
            "/v1/chat/completions",
            post(move || async move {
                let piece = Bytes::from(format!("data: {}\n\n", "x".repeat(size)));
                let endless = futures_util::stream::repeat(piece).map(move |piece| {
                    counter.fetch_add(piece.len() as u64, Ordering::Relaxed);
                    Ok::<_, std::convert::Infallible>(piece)
                });
                ([("content-type", "text/event-stream")], Body::from_stream(endless)).into_response()
            }),
        )
        .route(
            "/v1/completions",
            post(|| async { ([("content-type", "application/json")], vec![b' '; 4 << 20]) }),
        );
    let upstream = upstream(app).await;
    let gate = Gate::open(Admission::Anyone).await;
    let _working = start(provider(name, &gate, &upstream));
    let link = gate.link().await;
    let mut stalled = Vec::new();
    for _ in 0..100 {
        let mut body = link.send(ask(CHAT, BODY)).await.expect("an answer").into_body();
        body.frame().await.expect("a piece").expect("no break");
        stalled.push(body);
    }
    let mut before = u64::MAX;
    while before != produced.load(Ordering::Relaxed) {
        before = produced.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // Most of it is in the buffers of sockets: at the upstream's connections, which are the system's.
    eprintln!("{} KB produced for each of 100 who do not read", before / 100 / 1_024);
    assert!(before / 100 < 8 << 20, "{before}");
    // Someone who does is served at full speed past all of them.
    let begun = Instant::now();
    let (status, body, _) = whole(link.send(ask("/v1/completions", BODY)).await.expect("an answer")).await;
    assert_eq!((status, body.len()), (StatusCode::OK, 4 << 20));
    eprintln!("4 MB past them in {:?}", begun.elapsed());
    // And the slow ones lost nothing: what was held back comes when it is asked for.
    for body in &mut stalled {
        let mut read = 0;
        while read < 200_000 {
            read += body.frame().await.expect("more").expect("no break").into_data().expect("data").len();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_streams_share_a_link() {
    let app = Router::new().route(
        "/v1/chat/completions",
        post(|| async { pieces(20, Duration::from_millis(10), Arc::default()) }),
    );
    let upstream = upstream(app).await;
    let gate = Gate::open(Admission::Anyone).await;
    let mut provider = provider("hundred", &gate, &upstream);
    provider.concurrency = 100;
    let folder = provider.folder.clone();
    let _working = start(provider);
    let link = gate.link().await;
    let begun = Instant::now();
    let one = |link: Arc<Link>| async move {
        let answer = link.send(ask(CHAT, BODY)).await?;
        let (_, body, trailers) = whole(answer).await;
        let claim = UsageClaim::verify(&trailers, &link.key).expect("a sealed claim");
        assert_eq!(claim.response_sha256, B256::from_slice(&Sha256::digest(&body)));
        Ok::<_, LinkError>(claim.chunks)
    };
    let all = futures_util::future::join_all((0..101).map(|_| tokio::spawn(one(link.clone())))).await;
    let (mut served, mut busy) = (0, 0);
    for result in all {
        match result.expect("no panic") {
            Ok(chunks) => {
                assert_eq!(chunks, 20);
                served += 1;
            }
            Err(LinkError::Busy(100)) => busy += 1,
            Err(error) => panic!("{error}"),
        }
    }
    eprintln!("{served} streams of 20 pieces in {:?}", begun.elapsed());
    assert_eq!((served, busy, link.inflight()), (100, 1, 0));
    let lines = logged(&folder, 100).await;
    let ids: std::collections::BTreeSet<&str> = lines.iter().map(|line| line.request.as_str()).collect();
    assert_eq!(ids.len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_was_killed_comes_back_and_so_does_a_gateway() {
    let app = Router::new()
        .route("/v1/chat/completions", post(|| async { axum::Json(json!({"ok": true})) }))
        .route("/v1/models", get(|| async { axum::Json(json!({"data": []})) }));
    let upstream = upstream(app).await;
    let gate = Gate::open(Admission::Anyone).await;
    let again = provider("killed", &gate, &upstream);
    let working = start(again.clone());
    let first = gate.link().await;
    working.task.abort();
    assert!(working.task.await.is_err(), "killed");
    gate.links(0).await;
    assert!(first.is_closed());
    let mut working = start(again.clone());
    let second = gate.link().await;
    assert_ne!(first.number, second.number);
    whole(second.send(ask(CHAT, BODY)).await.expect("an answer")).await;
    // Another process with the same key stands beside it.
    let mut beside = again;
    beside.folder = folder("killed-beside");
    let beside = start(beside);
    gate.links(2).await;
    beside.task.abort();
    gate.links(1).await;
    // The gateway stops and comes back at the same address; the provider dials until it is there.
    let Gate { address, serving, roster } = gate;
    roster.close();
    serving.abort();
    let _ = serving.await;
    drop((roster, second));
    tokio::time::sleep(Duration::from_millis(600)).await;
    let gate = Gate::at(&address, Admission::Anyone).await;
    let third = gate.link().await;
    whole(third.send(ask(CHAT, BODY)).await.expect("an answer")).await;
    let news = working.news.lock().expect("not held").clone();
    assert_eq!((news[0].as_str(), news[1].as_str()), ("linked 31337", "lost: the link to the gateway ended"));
    assert!(news[2].starts_with("lost: no connection to the gateway: "), "{news:?}");
    assert_eq!(news.last().map(String::as_str), Some("linked 31337"));
    working.stop.take().expect("running").send(()).expect("running");
    working.task.await.expect("no panic").expect("it ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_told_to_stop_ends_what_it_began() {
    let app = Router::new().route(
        "/v1/chat/completions",
        post(|| async { pieces(50, Duration::from_millis(20), Arc::default()) }),
    );
    let upstream = upstream(app).await;
    let gate = Gate::open(Admission::Anyone).await;
    let mut working = start(provider("stops", &gate, &upstream));
    let link = gate.link().await;
    let mut body = link.send(ask(CHAT, BODY)).await.expect("an answer").into_body();
    body.frame().await.expect("a piece").expect("no break");
    working.stop.take().expect("running").send(()).expect("running");
    gate.links(0).await;
    assert!(matches!(link.send(ask(CHAT, BODY)).await, Err(LinkError::Gone)), "nothing new");
    let rest = body.collect().await.expect("all of what was begun");
    let claim = UsageClaim::verify(rest.trailers().expect("a claim"), &link.key).expect("sealed");
    assert_eq!(claim.chunks, 50);
    working.task.await.expect("no panic").expect("it ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_dismisses_a_link_lets_it_end_what_it_began() {
    let app = Router::new().route(
        "/v1/chat/completions",
        post(|| async { pieces(30, Duration::from_millis(20), Arc::default()) }),
    );
    let upstream = upstream(app).await;
    let gate = Gate::open(Admission::Anyone).await;
    let working = start(provider("dismissed", &gate, &upstream));
    let link = gate.link().await;
    let mut body = link.send(ask(CHAT, BODY)).await.expect("an answer").into_body();
    body.frame().await.expect("a piece").expect("no break");
    gate.roster.close();
    assert!(link.is_closed() && gate.roster.links().is_empty());
    let rest = body.collect().await.expect("all of what was begun");
    assert!(rest.trailers().is_some());
    drop(link);
    // It dials in again.
    gate.link().await;
    working.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_told_once_what_is_wrong_with_its_upstream() {
    let app = Router::new().fallback(|request: axum::extract::Request| async move {
        let body = request.into_body().collect().await.expect("a body").to_bytes();
        let said: Value = serde_json::from_slice(&body).expect("JSON");
        let status = said["status"].as_u64().and_then(|status| u16::try_from(status).ok());
        (StatusCode::from_u16(status.expect("a number")).expect("a status"), said["says"].to_string())
    });
    let gate = Gate::open(Admission::Anyone).await;
    let url = upstream(app).await;
    let mut provider =
        provider("ill", &gate, &format!("{}?key=secret", url.replace("//", "//name:password@")));
    provider.links = 2;
    provider.models[0].dialect.answers = vec!["big".into()];
    let mut working = start(provider);
    let links = gate.links(2).await;
    let error = |why: &str| json!({"error": {"message": why}});
    let answer = |model: &str| json!({"model": model, "choices": []});
    for (status, says) in [
        (200, answer("small")),
        (200, answer("vendor's \"small\"")),
        (200, answer("big-2026")),
        (503, error("no room, try again in 27 s")),
        (400, error("too long")),
        (401, error("no key")),
        (503, error("no room, try again in 28 s")),
        (422, error("too long")),
        (401, error("no key")),
        (500, error("CUDA out of memory")),
        (200, answer("noise")),
        (200, error("an engine died")),
        (200, answer("noise")),
        (400, error("Invalid model name passed in model=small")),
    ] {
        for link in &links {
            let body = json!({"model": "small", "messages": [], "status": status, "says": says}).to_string();
            whole(link.send(ask(CHAT, body)).await.expect("an answer")).await;
        }
    }
    working.stop.take().expect("once").send(()).expect("it listens");
    working.task.await.expect("no panic").expect("it stops");
    let news = working.news.lock().expect("not held");
    let ill: Vec<&str> = news.iter().filter_map(|told| told.strip_prefix("ill: ")).collect();
    let at = format!("{url}/chat/completions");
    let hint = "\n  hint: --upstream-key-env names the variable with its key; key_env does for a model with a url of its own";
    assert_eq!(
        ill,
        [
            format!("the upstream answered 503 Service Unavailable at {at}: no room, try again in 27 s"),
            format!("the upstream answered 401 Unauthorized at {at}: no key{hint}"),
            format!("the upstream answered 500 Internal Server Error at {at}: CUDA out of memory"),
            "its server answers as \"noise\"; name that: --model small=vendor's \"small\",noise".into(),
            format!("the upstream answered 200 OK at {at}: an engine died"),
            format!(
                "the upstream answered 400 Bad Request at {at}: Invalid model name passed in model=small"
            ),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_told_where_its_upstream_is_not() {
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("it");
    let gate = Gate::open(Admission::Anyone).await;
    let mut working = start(provider("gone", &gate, &format!("http://{gone}/v1")));
    let (status, body, _) = whole(gate.link().await.send(ask(CHAT, BODY)).await.expect("an answer")).await;
    let told: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    // The gateway hears no more than that.
    assert_eq!(told["error"]["message"], "the provider's upstream cannot be reached");
    working.stop.take().expect("once").send(()).expect("it listens");
    working.task.await.expect("no panic").expect("it stops");
    let news = working.news.lock().expect("not held");
    let ill = news.iter().find_map(|told| told.strip_prefix("ill: ")).expect("it is told");
    let expected = format!("the upstream http://{gone}/v1 cannot be reached: Connection refused");
    assert!(ill.starts_with(&expected) && ill.contains("hint: does its server run there?"), "{ill}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_refusal_ends_a_provider_and_says_why() {
    let gate = Gate::open(Admission::Only([Key::from_words("someone else").address()].into())).await;
    let refused = provider("unlisted", &gate, "http://127.0.0.1:9/v1");
    let error = start(refused.clone()).task.await.expect("no panic").expect_err("not listed");
    let Value::String(address) = json!(refused.key.address()) else { unreachable!() };
    let text = error.to_string().to_ascii_lowercase();
    assert!(text.contains("403") && text.contains(&address) && text.contains("hint: "), "{text}");
    // A name that no gateway can use, a server that is none, and an address where nobody is.
    let mut bad = refused.clone();
    bad.models[0].name = "a model".into();
    let error = start(bad).task.await.expect("no panic").expect_err("no name");
    assert!(error.to_string().contains("\"a model\" is no name of a model"), "{error}");
    let mut elsewhere = refused;
    elsewhere.gateway = upstream(Router::new()).await.replace("/v1", "").parse().expect("a URL");
    let error = start(elsewhere).task.await.expect("no panic").expect_err("no gateway");
    assert!(error.to_string().contains("404"), "{error}");
}

fn called(upstream: &str) -> Dialect {
    Dialect { upstream: upstream.into(), ..Dialect::default() }
}
