//! Providers, gateways and upstreams that mean no good: forged hellos, garbage on the link, and upstreams that are
//! down, slow, endless or no servers at all.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use alloy_primitives::B256;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::{IntoResponse, Redirect};
use axum::routing::post;
use bytes::Bytes;
use earnest_chain::key::Key;
use earnest_serve::provider::doors::Admission;
use earnest_serve::provider::hello::{
    AGREES, Challenge, Hello, NONCE, OFFER, Offer, PROVIDER, Realm, SIGNATURE,
};
use earnest_serve::provider::link_key::Agreement;
use earnest_serve::provider::roster::{Link, MOST_OF_ONE};
use earnest_serve::provider::served::End;
use earnest_serve::provider::usage::UsageClaim;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::StreamExt;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::provider::{BODY, CHAT, Gate, REALM, ask, logged, provider, start, upstream, whole};

async fn challenge(gate: &Gate) -> Challenge {
    let url = format!("http://{}/earnest/provider/challenge", gate.address);
    let answer = reqwest::get(url).await.expect("an answer");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    answer.json().await.expect("a challenge")
}

fn offer(gate: &Gate, instance: u64) -> Offer {
    let models = vec!["small".into()];
    Offer {
        gateway: gate.address.clone(),
        models,
        called: Default::default(),
        answers: Default::default(),
        ask: 8_000,
        concurrency: 4,
        instance,
    }
}

/// Dials by hand; what the gateway answered, and the connection.
async fn dial(gate: &Gate, headers: &HeaderMap, more: &str) -> (String, TcpStream) {
    let mut stream = TcpStream::connect(&gate.address).await.expect("connects");
    let mut head = format!("GET /earnest/provider HTTP/1.1\r\nHost: {}\r\n{more}", gate.address).into_bytes();
    for (name, value) in headers {
        head.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    head.extend(b"\r\n");
    stream.write_all(&head).await.expect("sent");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => answer.push(byte),
            Err(_) => break,
        }
    }
    let mut text = String::from_utf8_lossy(&answer).into_owned();
    let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    if let Some(Ok(length)) = length.map(str::parse::<usize>) {
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.expect("a body");
        text += &String::from_utf8_lossy(&body);
    }
    (text, stream)
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: earnest-provider\r\n";

/// A link by hand, for one who signs well and then does what it likes.
async fn linked(gate: &Gate, key: &Key, offer: Offer) -> TcpStream {
    let (hello, _) = Hello::sign(key, &challenge(gate).await, offer).expect("a public key");
    let (answer, stream) = dial(gate, &hello.headers(), UPGRADE).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    stream
}

fn refusal(answer: &str) -> (u16, String) {
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    (status, body["error"]["code"].as_str().unwrap_or_default().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_is_taken_once_from_those_who_are_listed() {
    let (key, other) = (Key::from_words("listed"), Key::from_words("unlisted"));
    let gate = Gate::open(Admission::Only([key.address()].into())).await;
    let said = |expected: (u16, &str), answer: String| {
        assert_eq!(refusal(&answer), (expected.0, expected.1.to_string()), "{answer}");
    };
    let signed = |key: &Key, challenge: &Challenge, offer: Offer| {
        Hello::sign(key, challenge, offer).expect("a public key").0.headers()
    };
    let fresh = async |key: &Key| signed(key, &challenge(&gate).await, offer(&gate, 1));
    let put = |mut headers: HeaderMap, name: &'static str, value: &str| {
        headers.insert(name, value.parse().expect("a value"));
        headers
    };

    // No upgrade, or half of one.
    for more in [
        "",
        "Connection: Upgrade\r\n",
        "Upgrade: earnest-provider\r\n",
        "Connection: Upgrade\r\nUpgrade: h2c\r\n",
    ] {
        let (answer, _) = dial(&gate, &fresh(&key).await, more).await;
        assert!(answer.to_ascii_lowercase().contains("\r\nupgrade: earnest-provider\r\n"), "{answer}");
        said((426, "no_upgrade"), answer);
    }
    said((403, "not_listed"), dial(&gate, &fresh(&other).await, UPGRADE).await.0);
    // Another's name, another's signature, another offer, another chain, another gateway.
    let headers = put(fresh(&other).await, PROVIDER, &key.address().to_string());
    said((401, "bad_signature"), dial(&gate, &headers, UPGRADE).await.0);
    let dearer = Offer { ask: 9_000, ..offer(&gate, 1) }.canonical();
    said((401, "bad_signature"), dial(&gate, &put(fresh(&key).await, OFFER, &dearer), UPGRADE).await.0);
    let mut elsewhere = challenge(&gate).await;
    elsewhere.realm = Realm { chain_id: 1, ..REALM };
    let headers = signed(&key, &elsewhere, offer(&gate, 1));
    said((401, "bad_signature"), dial(&gate, &headers, UPGRADE).await.0);
    // Who stands between shows a key of its own: to the provider, or to the gateway.
    let relay = Agreement::default().public();
    let mut shown = challenge(&gate).await;
    shown.agrees = relay;
    said((401, "bad_signature"), dial(&gate, &signed(&key, &shown, offer(&gate, 1)), UPGRADE).await.0);
    let headers = put(fresh(&key).await, AGREES, &relay.to_string());
    said((401, "bad_signature"), dial(&gate, &headers, UPGRADE).await.0);
    let passed_on = Offer { gateway: "evil.example".into(), ..offer(&gate, 1) };
    let headers = signed(&key, &challenge(&gate).await, passed_on);
    said((421, "other_gateway"), dial(&gate, &headers, UPGRADE).await.0);
    let dear = Offer { ask: 9_001, ..offer(&gate, 1) };
    let headers = signed(&key, &challenge(&gate).await, dear);
    said((422, "asks_too_much"), dial(&gate, &headers, UPGRADE).await.0);
    // Nonces of nobody's, of another gateway's, and used ones.
    let made_up = Challenge { nonce: B256::repeat_byte(1), ..challenge(&gate).await };
    said((401, "bad_nonce"), dial(&gate, &signed(&key, &made_up, offer(&gate, 1)), UPGRADE).await.0);
    let neighbour = Gate::open(Admission::Anyone).await;
    let headers = signed(&key, &challenge(&neighbour).await, offer(&gate, 1));
    said((401, "bad_nonce"), dial(&gate, &headers, UPGRADE).await.0);
    let headers = fresh(&key).await;
    let (answer, _stream) = dial(&gate, &headers, UPGRADE).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    said((401, "bad_nonce"), dial(&gate, &headers, UPGRADE).await.0);
    // Headers that say nothing.
    for name in [PROVIDER, OFFER, NONCE, AGREES, SIGNATURE] {
        let mut fewer = fresh(&key).await;
        fewer.remove(name);
        said((400, "bad_hello"), dial(&gate, &fewer, UPGRADE).await.0);
        said((400, "bad_hello"), dial(&gate, &put(fresh(&key).await, name, "nothing"), UPGRADE).await.0);
        let mut twice = fresh(&key).await;
        let value = twice[name].clone();
        twice.append(name, value);
        said((400, "bad_hello"), dial(&gate, &twice, UPGRADE).await.0);
    }
    assert!(gate.roster.links().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_link_ends_the_link_and_nothing_else() {
    let gate = Gate::open(Admission::Anyone).await;
    let app = Router::new().route("/v1/chat/completions", post(|| async { axum::Json(json!({"ok": 1})) }));
    let upstream = upstream(app).await;
    let _working = start(provider("honest", &gate, &upstream));
    let honest = gate.link().await;
    let mut random = ChaCha8Rng::seed_from_u64(5);
    // SETTINGS, then frames of every kind with anything in them.
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    for round in 0..200 {
        let mut stream = linked(&gate, &Key::from_words("garbler"), offer(&gate, round)).await;
        let mut garbage = vec![];
        match round % 4 {
            0 => garbage.extend(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            1 => {
                garbage.resize(random.random_range(1..4_096), 0);
                random.fill_bytes(&mut garbage);
            }
            _ => {
                garbage.extend(settings);
                for _ in 0..random.random_range(1..12) {
                    let length: u8 = random.random_range(0..64);
                    garbage.extend([0, 0, length, random.random_range(0..11), random.random()]);
                    garbage.extend([0, 0, 0, random.random_range(0..4)]);
                    garbage.extend((0..length).map(|_| random.random::<u8>()));
                }
            }
        }
        let _ = stream.write_all(&garbage).await;
        if round % 3 == 0 {
            drop(stream);
            continue;
        }
        // The gateway hangs up, or waits for a sign of life: then we do.
        let mut sink = vec![0; 4_096];
        let hangs_up = async { while stream.read(&mut sink).await.is_ok_and(|read| read > 0) {} };
        let _ = tokio::time::timeout(Duration::from_millis(100), hangs_up).await;
    }
    whole(honest.send(ask(CHAT, BODY)).await.expect("an answer")).await;
    assert_eq!(gate.link().await.number, honest.number);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_fills_the_door_alone() {
    let gate = Gate::open(Admission::Anyone).await;
    let (silent, other) = (Key::from_words("silent"), Key::from_words("other"));
    let mut held = Vec::new();
    let mut full = 0;
    for instance in 0..80 {
        let (hello, _) =
            Hello::sign(&silent, &challenge(&gate).await, offer(&gate, instance)).expect("a key");
        let (answer, stream) = dial(&gate, &hello.headers(), UPGRADE).await;
        full += usize::from(refusal(&answer).0 == 503);
        held.push(stream);
    }
    assert_eq!(full, 72);
    let _stream = linked(&gate, &other, offer(&gate, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_provider_is_not_let_in() {
    let gate = Gate::open(Admission::Anyone).await;
    let begun = Instant::now();
    let mut stream = linked(&gate, &Key::from_words("silent"), offer(&gate, 1)).await;
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await.expect("it hangs up");
    assert!(heard.starts_with(b"PRI * HTTP/2.0"), "the gateway is the client");
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(8) && took < Duration::from_secs(15), "{took:?}");
    assert!(gate.roster.links().is_empty());
}

/// A provider of our own making that is ready, and then answers as `service` does.
async fn wicked<F, R>(gate: &Gate, instance: u64, service: F) -> Arc<Link>
where
    F: Fn(Request<hyper::body::Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = axum::response::Response> + Send + 'static,
{
    let stream = linked(gate, &Key::from_words("wicked"), offer(gate, instance)).await;
    tokio::spawn(async move {
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let service = service.clone();
            async move {
                if request.uri().path() == "/earnest/ready" {
                    return Ok::<_, std::convert::Infallible>(StatusCode::NO_CONTENT.into_response());
                }
                Ok(service(request).await)
            }
        });
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service)
            .await;
    });
    loop {
        let found = gate.roster.links().into_iter().find(|link| link.offer.instance == instance);
        if let Some(link) = found {
            return link;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_never_answers_costs_only_the_wait() {
    let gate = Gate::open(Admission::Anyone).await;
    let link = wicked(&gate, 1, |_| std::future::pending()).await;
    let asked = tokio::time::timeout(Duration::from_millis(100), link.send(ask(CHAT, BODY))).await;
    assert!(asked.is_err());
    assert_eq!((link.inflight(), link.is_closed()), (0, false));
    // Headers beyond any measure end the request, and not the gateway.
    let link = wicked(&gate, 2, |_| async {
        let mut response = StatusCode::OK.into_response();
        for number in 0..64 {
            let name: axum::http::HeaderName = format!("x-{number}").parse().expect("a name");
            response.headers_mut().insert(name, "x".repeat(4_000).parse().expect("a value"));
        }
        response
    })
    .await;
    assert!(link.send(ask(CHAT, BODY)).await.is_err());
    assert_eq!(link.inflight(), 0);
    // Trailers beyond any measure.
    let link = wicked(&gate, 3, |_| async {
        let mut trailers = HeaderMap::new();
        trailers.insert("earnest-usage", "x".repeat(200_000).parse().expect("a value"));
        let body = Full::new(Bytes::from_static(b"{}")).with_trailers(async { Some(Ok(trailers)) });
        axum::response::Response::new(Body::new(body))
    })
    .await;
    let answer = link.send(ask(CHAT, BODY)).await.expect("it begins");
    assert!(answer.into_body().collect().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_provider_has_so_many_links_and_one_process_has_one() {
    let gate = Gate::open(Admission::Anyone).await;
    for instance in 0..MOST_OF_ONE as u64 {
        wicked(&gate, instance, |_| std::future::pending()).await;
    }
    let before = gate.links(MOST_OF_ONE).await;
    // The same process again: its earlier link goes. Another one: the oldest goes.
    for (instance, gone) in [(3, 3), (99, 0)] {
        let stream = linked(&gate, &Key::from_words("wicked"), offer(&gate, instance)).await;
        tokio::spawn(async move {
            let service = service_fn(|_| async {
                Ok::<_, std::convert::Infallible>(StatusCode::NO_CONTENT.into_response())
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
        let begun = Instant::now();
        while !before[gone].is_closed() {
            assert!(begun.elapsed() < Duration::from_secs(5));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let closed = before.iter().filter(|link| link.is_closed()).count();
    assert_eq!((closed, gate.links(MOST_OF_ONE).await.len()), (2, MOST_OF_ONE));
    // Another provider is not touched, and touches nobody.
    let other = Key::from_words("other");
    let _stream = linked(&gate, &other, offer(&gate, 4)).await;
    assert_eq!(gate.roster.links().len(), MOST_OF_ONE);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_the_five_paths_reaches_the_upstream() {
    let asked = Arc::new(AtomicU64::new(0));
    let counter = asked.clone();
    let app = Router::new().fallback(move || async move {
        counter.fetch_add(1, Ordering::SeqCst);
        axum::Json(json!({"ok": true}))
    });
    let upstream = upstream(app).await;
    let gate = Gate::open(Admission::Anyone).await;
    let _working = start(provider("closed", &gate, &upstream));
    let link = gate.link().await;
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v1/files",
        "/v1/chat/completions/",
        "/v1/chat/completions/x",
        "/v1/chat/completions/../../admin",
        "/v1/%63hat/completions",
        "/V1/chat/completions",
        "//evil.example/v1/chat/completions",
        "/admin",
        "/v1/models/small",
        "/earnest/counted/",
        "http://169.254.169.254/latest/meta-data",
    ] {
        let (status, body, _) = whole(link.send(ask(path, BODY)).await.expect("an answer")).await;
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(
            (status, &body["error"]["code"]),
            (StatusCode::NOT_FOUND, &json!("unknown_path")),
            "{path}"
        );
    }
    for (method, path) in [("GET", CHAT), ("DELETE", CHAT), ("POST", "/v1/models"), ("OPTIONS", CHAT)] {
        let mut request = ask(path, BODY);
        *request.method_mut() = method.parse().expect("a method");
        let (status, ..) = whole(link.send(request).await.expect("an answer")).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
    }
    let mut connect = ask("evil.example:443", "");
    *connect.method_mut() = axum::http::Method::CONNECT;
    if let Ok(answer) = link.send(connect).await {
        assert!(answer.status().is_client_error());
    }
    // Bodies that are none, and ids that are none.
    for (body, status) in [
        ("", 400),
        ("[]", 400),
        ("{\"model\":\"small\"", 400),
        ("{\"model\":\"small\",\"model\":\"other\"}", 400),
        ("{\"model\":\"other\"}", 404),
        ("{\"model\":\"vendor's \\\"small\\\"\"}", 404),
    ] {
        let (found, ..) = whole(link.send(ask(CHAT, body)).await.expect("an answer")).await;
        assert_eq!(found.as_u16(), status, "{body}");
    }
    for id in ["", "a b", "a\"b", &"x".repeat(200)] {
        let mut request = ask(CHAT, BODY);
        request.headers_mut().insert("x-request-id", id.parse().expect("a value"));
        let (found, body, _) = whole(link.send(request).await.expect("an answer")).await;
        assert_eq!(found, StatusCode::BAD_REQUEST, "{}", String::from_utf8_lossy(&body));
    }
    let (status, ..) = whole(link.send(ask(CHAT, vec![b' '; 33 << 20])).await.expect("an answer")).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    // A query is nobody's business.
    let (status, ..) =
        whole(link.send(ask("/v1/chat/completions?x=y", BODY)).await.expect("an answer")).await;
    assert_eq!((status, asked.load(Ordering::SeqCst)), (StatusCode::OK, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_upstream_is_a_clear_error() {
    let asked = |request: Request<Body>| async move {
        let body = request.into_body().collect().await.expect("a body").to_bytes();
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        let json = [("content-type", "application/json")];
        match body["mode"].as_str().expect("a mode") {
            "key" => (StatusCode::UNAUTHORIZED, json, "{}").into_response(),
            "html" => (StatusCode::OK, [("content-type", "text/html")], "<html>").into_response(),
            "nothing" => StatusCode::OK.into_response(),
            "redirect" => Redirect::temporary("/v1/models").into_response(),
            "packed" => {
                ([("content-type", "application/json"), ("content-encoding", "br")], "x").into_response()
            }
            "gzip" => {
                let mut packed = GzEncoder::new(Vec::new(), Compression::default());
                packed.write_all(b"{\"packed\":true}").expect("memory");
                let headers = [("content-type", "application/json"), ("content-encoding", "gzip")];
                (headers, packed.finish().expect("memory")).into_response()
            }
            "missing" => (StatusCode::NOT_FOUND, "no such deployment").into_response(),
            "down" => (StatusCode::SERVICE_UNAVAILABLE, [("x-should-retry", "false")], "").into_response(),
            "slow" => std::future::pending().await,
            "busy" => (
                StatusCode::TOO_MANY_REQUESTS,
                [("content-type", "application/json"), ("retry-after", "7"), ("retry-after-ms", "6500")],
                "{}",
            )
                .into_response(),
            "lies" => (json, r#"{"usage":{"prompt_tokens":-1,"completion_tokens":1e99}}"#).into_response(),
            "garbage" => (json, vec![0xff; 1_000]).into_response(),
            other => unreachable!("{other}"),
        }
    };
    let upstream = upstream(Router::new().route("/v1/chat/completions", post(asked))).await;
    let gate = Gate::open(Admission::Anyone).await;
    let mut provider = provider("bad-upstream", &gate, &upstream);
    provider.patience = Duration::from_millis(400);
    let folder = provider.folder.clone();
    let _working = start(provider);
    let link = gate.link().await;
    let cases = [
        ("key", 502, "upstream_key"),
        ("packed", 502, "upstream_encoding"),
        ("slow", 504, "upstream_timeout"),
        ("busy", 429, ""),
        // What else an upstream says is for the gateway to read.
        ("html", 200, ""),
        ("nothing", 200, ""),
        ("redirect", 307, ""),
        ("gzip", 200, ""),
        ("missing", 404, ""),
        ("down", 503, ""),
        ("lies", 200, ""),
        ("garbage", 200, ""),
    ];
    for (mode, status, code) in cases {
        let body = json!({"model": "small", "mode": mode}).to_string();
        let answer = link.send(ask(CHAT, body)).await.expect("an answer");
        let headers = answer.headers().clone();
        assert!(!headers.contains_key("content-encoding") && !headers.contains_key("location"));
        let (found, body, trailers) = whole(answer).await;
        assert_eq!(found.as_u16(), status, "{mode}");
        match mode {
            "html" => assert!(body == "<html>" && headers["content-type"] == "text/html"),
            "gzip" => assert_eq!(&body[..], b"{\"packed\":true}"),
            "missing" => assert_eq!(&body[..], b"no such deployment"),
            "down" => assert_eq!(headers["x-should-retry"], "false"),
            "busy" => {
                assert!(headers["retry-after"] == "7" && headers["retry-after-ms"] == "6500");
            }
            _ => {}
        }
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        assert_eq!(body["error"]["code"].as_str().unwrap_or_default(), code, "{mode}: {body}");
        // Signed for is what the upstream said, not what the provider made up.
        assert_eq!(trailers.len(), if code.is_empty() { 2 } else { 0 }, "{mode}");
        assert_eq!(headers.contains_key("retry-after"), mode == "busy");
    }
    let lines = logged(&folder, cases.len()).await;
    assert!(lines.iter().all(|line| line.usage.is_none()));
    assert_eq!(lines.iter().filter(|line| line.end == End::Broken).count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_breaks_off_or_never_ends_is_a_break_for_the_gateway() {
    // What comes over a bare socket, whatever was asked.
    let bare = async |answer: &'static [u8], stays: bool| {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/v1", listener.local_addr().expect("it"));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 4_096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer).await;
                if stays {
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_secs(5)).await;
                        drop(stream);
                    });
                }
            }
        });
        url
    };
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let none = format!("http://127.0.0.1:{}/v1", {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        listener.local_addr().expect("it").port()
    });
    let cases = [
        ("down", none, Err("upstream_unreachable")),
        ("hangs up", bare(b"", false).await, Err("upstream_broken")),
        ("no HTTP", bare(b"SSH-2.0-OpenSSH_9.6\r\n", false).await, Err("upstream_broken")),
        ("long headers", bare(LONG_HEADERS.as_bytes(), false).await, Err("upstream_broken")),
        ("breaks off", bare(head, false).await, Ok(5)),
        ("falls silent", bare(head, true).await, Ok(5)),
        (
            "half an answer",
            bare(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{}", false)
                .await,
            Ok(2),
        ),
    ];
    for (name, url, expected) in cases {
        let gate = Gate::open(Admission::Anyone).await;
        let mut provider = provider(&format!("breaks {name}"), &gate, &url);
        provider.patience = Duration::from_millis(400);
        let folder = provider.folder.clone();
        let working = start(provider);
        let link = gate.link().await;
        let answer = link.send(ask(CHAT, BODY)).await;
        match expected {
            Err(code) => {
                let answer = answer.expect("an answer");
                let (status, body, _) = whole(answer).await;
                let body: Value = serde_json::from_slice(&body).expect("JSON");
                assert_eq!((status.as_u16(), &body["error"]["code"]), (502, &json!(code)), "{name}");
            }
            Ok(expected) => {
                // A break may overtake what came just before it.
                let (mut broken, mut read) = (answer.is_err(), 0);
                if let Ok(mut body) = answer.map(axum::http::Response::into_body) {
                    broken = loop {
                        match body.frame().await {
                            Some(Ok(frame)) => read += frame.into_data().expect("no trailers").len(),
                            Some(Err(_)) => break true,
                            None => break false,
                        }
                    };
                }
                let all = name == "falls silent";
                assert!(broken && read <= expected && (read == expected || !all), "{name}: {read} bytes");
            }
        }
        assert_eq!(logged(&folder, 1).await[0].end, End::Broken, "{name}");
        assert!(!link.is_closed(), "only this request is lost");
        working.task.abort();
    }

    // Without end: the provider stops it, and holds none of it.
    let stopped = Arc::new(AtomicBool::new(false));
    let flag = stopped.clone();
    let endless = move || async move {
        struct Flag(Arc<AtomicBool>);
        impl Drop for Flag {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let flag = Flag(flag);
        let pieces = futures_util::stream::repeat(Bytes::from(vec![b'x'; 1 << 20])).map(move |piece| {
            let _held = &flag;
            Ok::<_, std::convert::Infallible>(piece)
        });
        ([("content-type", "text/event-stream")], Body::from_stream(pieces)).into_response()
    };
    let upstream = upstream(Router::new().route("/v1/chat/completions", post(endless))).await;
    let gate = Gate::open(Admission::Anyone).await;
    let _working = start(provider("endless", &gate, &upstream));
    let link = gate.link().await;
    let mut body = link.send(ask(CHAT, BODY)).await.expect("an answer").into_body();
    let (mut read, begun) = (0, Instant::now());
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.into_data().expect("no trailers").len();
    }
    assert!(read <= 256 << 20 && read > 200 << 20, "{read}");
    eprintln!("{} MB through the link in {:?}", read >> 20, begun.elapsed());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(stopped.load(Ordering::SeqCst));
}

static LONG_HEADERS: std::sync::LazyLock<String> =
    std::sync::LazyLock::new(|| format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(4 << 20)));

#[tokio::test(flavor = "multi_thread")]
async fn bytes_changed_on_the_way_end_a_link_and_the_provider_dials_again() {
    let text = "x".repeat(20_000);
    let app = Router::new().route(
        "/v1/chat/completions",
        post(move || async move { axum::Json(json!({"text": text, "usage": {"prompt_tokens": 1}})) }),
    );
    let upstream = upstream(app).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let between = listener.local_addr().expect("it").to_string();
    let gate = Gate::named("127.0.0.1:0", Admission::Anyone, std::slice::from_ref(&between)).await;
    let (inside, changing) = (gate.address.clone(), Arc::new(AtomicBool::new(false)));
    let change = changing.clone();
    tokio::spawn(async move {
        for seed in 0.. {
            let (outer, _) = listener.accept().await.expect("a connection");
            let (outer_read, outer_write) = outer.into_split();
            let (inner_read, inner_write) = TcpStream::connect(&inside).await.expect("the gate").into_split();
            for (turn, mut from, mut to) in [(0, outer_read, inner_write), (1, inner_read, outer_write)] {
                let change = change.clone();
                let mut random = ChaCha8Rng::seed_from_u64(2 * seed + turn);
                tokio::spawn(async move {
                    let mut bytes = vec![0; 16_384];
                    while let Ok(read @ 1..) = from.read(&mut bytes).await {
                        if change.load(Ordering::Relaxed) && random.random_range(0..4) == 0 {
                            bytes[random.random_range(0..read.min(64))] = random.random();
                        }
                        if to.write_all(&bytes[..read]).await.is_err() {
                            break;
                        }
                    }
                });
            }
        }
    });
    let mut provider = provider("between", &gate, &upstream);
    provider.gateway = format!("http://{between}").parse().expect("a URL");
    let working = start(provider);
    let (mut lost, mut numbers) = (0, std::collections::BTreeSet::new());
    for _ in 0..5 {
        changing.store(false, Ordering::Relaxed);
        let link = gate.link().await;
        numbers.insert(link.number);
        let (status, body, trailers) = whole(link.send(ask(CHAT, BODY)).await.expect("an answer")).await;
        assert_eq!((status, body.len() > 20_000, trailers.len()), (StatusCode::OK, true, 2));
        changing.store(true, Ordering::Relaxed);
        for _ in 0..20 {
            let asked = async {
                let answer = link.send(ask(CHAT, BODY)).await.ok()?;
                let body = answer.into_body().collect().await.ok()?;
                UsageClaim::verify(body.trailers()?, &link.key).ok()
            };
            // A frame whose header says more than comes is waited for: gateways have a limit, and so has this test.
            lost += usize::from(!matches!(
                tokio::time::timeout(Duration::from_secs(1), asked).await,
                Ok(Some(_))
            ));
            if link.is_closed() {
                break;
            }
        }
        link.dismiss();
        gate.roster.close();
    }
    eprintln!("{lost} requests lost, {} links", numbers.len());
    assert!(lost >= 3 && numbers.len() == 5);
    working.task.abort();
}

/// A relay that a provider dialled reads what is asked and writes what is answered, unless the gateway knows its own
/// names: it sends on whatever `Host` the gateway wants to hear.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_is_refused_whatever_host_it_names() {
    let gate = Gate::open(Admission::Anyone).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let between = listener.local_addr().expect("it").to_string();
    let (inside, from) = (gate.address.clone(), format!("host: {between}"));
    tokio::spawn(async move {
        while let Ok((outer, _)) = listener.accept().await {
            let (mut asks, mut hears) = outer.into_split();
            let inner = TcpStream::connect(&inside).await.expect("the gate");
            let (mut answers, mut told) = inner.into_split();
            let (from, to) = (from.clone(), format!("host: {inside}"));
            tokio::spawn(async move { tokio::io::copy(&mut answers, &mut hears).await });
            tokio::spawn(async move {
                let mut bytes = vec![0; 16_384];
                while let Ok(read @ 1..) = asks.read(&mut bytes).await {
                    let said = match std::str::from_utf8(&bytes[..read]) {
                        Ok(head) => head.replace(&from, &to).into_bytes(),
                        Err(_) => bytes[..read].to_vec(),
                    };
                    told.write_all(&said).await.expect("sent");
                }
            });
        }
    });
    let mut provider = provider("relayed", &gate, "http://127.0.0.1:9/v1");
    provider.gateway = format!("http://{between}").parse().expect("a URL");
    let ended = tokio::time::timeout(Duration::from_secs(5), start(provider).task).await;
    let refused = ended.expect("it is not let in").expect("no panic").expect_err("it is refused");
    let text = refused.to_string();
    assert!(text.contains("421") && text.contains(&between) && text.contains(&gate.address), "{text}");
    assert!(text.contains("hint: ") && text.contains("--name"), "{text}");
    assert!(gate.roster.links().is_empty());
}

/// Whoever has a key can begin requests and leave, as fast as the gateway takes them, and pays nothing for it. Each is a
/// stream of the link that is reset, and HTTP/2 has limits for those: the link must outlive them all.
#[tokio::test(flavor = "multi_thread")]
async fn thousands_who_come_and_go_at_once_do_not_take_the_link_with_them() {
    let app = Router::new().route(
        "/v1/chat/completions",
        post(|body: String| async move {
            // The hasty leave with much of their answers on the way.
            let pause = Duration::from_millis(if body.contains("patient") { 30 } else { 1 });
            let pieces = futures_util::stream::iter(0..100).then(move |_| async move {
                tokio::time::sleep(pause).await;
                Ok::<_, std::convert::Infallible>("data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n")
            });
            ([("content-type", "text/event-stream")], Body::from_stream(pieces)).into_response()
        }),
    );
    let upstream = upstream(app).await;
    let gate = Gate::open(Admission::Anyone).await;
    let working = start(provider("resets", &gate, &upstream));
    let link = gate.link().await;
    let patient = BODY.replace("temperature", "patient");
    let answer = link.send(ask(CHAT, patient)).await.expect("an answer");
    let reading = tokio::spawn(whole(answer));
    let mut gone = 0;
    for round in 0..40 {
        let hasty = (0..150).map(|_| {
            let link = link.clone();
            tokio::spawn(async move { drop(link.send(ask(CHAT, BODY)).await) })
        });
        let hasty: Vec<_> = hasty.collect();
        // From before they are sent to after they are being answered.
        tokio::time::sleep(Duration::from_micros(round * 250)).await;
        gone += hasty.len();
        hasty.iter().for_each(tokio::task::JoinHandle::abort);
        futures_util::future::join_all(hasty).await;
    }
    let (status, body, _) = reading.await.expect("who is patient is answered whole");
    assert_eq!((status, body.iter().filter(|byte| **byte == b'x').count()), (StatusCode::OK, 100));
    assert!(
        working.news.lock().expect("not held").iter().all(|told| !told.contains("lost")),
        "{gone} took it"
    );
    for _ in 0..100 {
        if link.inflight() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(link.inflight(), 0);
}
