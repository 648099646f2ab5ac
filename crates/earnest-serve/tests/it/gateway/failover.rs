//! Two providers, and one of them is sick: every request is served by the other, the sick one is left alone after three,
//! and nobody pays twice.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use earnest_serve::gateway::route::Upstream;
use futures_util::StreamExt;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

use super::lab::*;
use super::upstreams::{PLAN, called};
use earnest_serve::server::Limits;

/// How an upstream is sick.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ill {
    Status(u16),
    Silent,
    /// It sends the head of an answer, and nothing more.
    HeadOnly,
    /// Behind the head come signs of life for ever.
    SignsOfLife,
    /// The head comes at once, and the first word after a second.
    SlowWord,
    Garbage,
    Page,
    Empty,
    ErrorFirst,
    ErrorInStead,
    CutAtOnce,
    CutInTheHead,
    Redirect,
    OtherShape,
    Nothing,
}

const ILLS: [Ill; 29] = [
    Ill::Status(401),
    Ill::Status(402),
    Ill::Status(403),
    Ill::Status(404),
    Ill::Status(405),
    Ill::Status(408),
    Ill::Status(409),
    Ill::Status(424),
    Ill::Status(425),
    Ill::Status(429),
    Ill::Status(451),
    Ill::Status(498),
    Ill::Status(499),
    Ill::Status(500),
    Ill::Status(502),
    Ill::Status(503),
    Ill::Status(529),
    Ill::Silent,
    Ill::HeadOnly,
    Ill::SignsOfLife,
    Ill::Garbage,
    Ill::Page,
    Ill::Empty,
    Ill::ErrorFirst,
    Ill::ErrorInStead,
    Ill::CutAtOnce,
    Ill::CutInTheHead,
    Ill::Redirect,
    Ill::OtherShape,
];

impl Ill {
    fn is_silent(self) -> bool {
        [Ill::Silent, Ill::HeadOnly, Ill::SignsOfLife].contains(&self)
    }
}

struct Server {
    ill: Mutex<Ill>,
    asked: AtomicUsize,
}

async fn answer(State(server): State<Arc<Server>>, request: Request) -> Response {
    server.asked.fetch_add(1, Ordering::SeqCst);
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let ill = *server.ill.lock().unwrap();
    let streams = asked["stream"] == true;
    let kind = [("content-type", if streams { "text/event-stream" } else { "application/json" })];
    let cut = |start: &'static str| {
        let pieces = futures_util::stream::iter([Ok(start), Err(std::io::Error::other("cut"))]);
        (
            kind,
            Body::from_stream(pieces.then(async |piece| {
                tokio::time::sleep(Duration::from_millis(5)).await;
                piece
            })),
        )
            .into_response()
    };
    match ill {
        Ill::Nothing if streams => (kind, event("m", "well ") + &ending("m", 1)).into_response(),
        Ill::Nothing => axum::Json(completion("m", "well")).into_response(),
        Ill::Status(status) => {
            let status = axum::http::StatusCode::from_u16(status).unwrap();
            (status, axum::Json(json!({"error": {"message": "its own trouble"}}))).into_response()
        }
        Ill::Silent => std::future::pending().await,
        Ill::HeadOnly => {
            let nothing = futures_util::stream::pending::<Result<&str, std::io::Error>>();
            (kind, Body::from_stream(nothing)).into_response()
        }
        Ill::SlowWord => {
            let late = futures_util::stream::once(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let whole = if streams {
                    event("m", "well ") + &ending("m", 1)
                } else {
                    completion("m", "well").to_string()
                };
                Ok::<_, std::io::Error>(whole)
            });
            (kind, Body::from_stream(late)).into_response()
        }
        Ill::SignsOfLife => {
            let sign = if streams { ": still here\n\n" } else { " " };
            let signs = futures_util::stream::repeat(sign).then(async |sign| {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Ok::<_, std::io::Error>(sign)
            });
            (kind, Body::from_stream(signs)).into_response()
        }
        Ill::Garbage => (kind, "data data data").into_response(),
        Ill::Page => ([("content-type", "text/html")], "<html><body>log in</body></html>").into_response(),
        Ill::Empty => (kind, "").into_response(),
        Ill::ErrorFirst if streams => (kind, "data: {\"error\":{\"message\":\"boom\"}}\n\n").into_response(),
        Ill::ErrorFirst | Ill::ErrorInStead => {
            (kind, "{\"error\":{\"message\":\"boom\",\"code\":500}}").into_response()
        }
        Ill::CutAtOnce => cut(""),
        Ill::CutInTheHead => cut("{\"choices\":[{\"mess"),
        Ill::Redirect => (axum::http::StatusCode::FOUND, [("location", "/elsewhere")]).into_response(),
        Ill::OtherShape => (kind, "{\"status\":\"ok\"}").into_response(),
    }
}

/// A gateway with two upstreams; the first is asked first.
async fn two(name: &str) -> (Lab, [Arc<Server>; 2], Holder) {
    two_with(name, Duration::from_millis(400), Duration::from_secs(30)).await
}

async fn two_with(name: &str, patience: Duration, soon: Duration) -> (Lab, [Arc<Server>; 2], Holder) {
    let mut servers = Vec::new();
    let mut upstreams = Vec::new();
    for _ in 0..2 {
        let server = Arc::new(Server { ill: Mutex::new(Ill::Nothing), asked: AtomicUsize::new(0) });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        upstreams.push(Upstream {
            url: format!("http://{}/v1", listener.local_addr().unwrap()),
            key: None,
            headers: Default::default(),
            models: vec![("chat".into(), called("m"))],
            concurrency: 100,
            provider: key("gateway").address(),
        });
        let app = Router::new().fallback(answer).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        servers.push(server);
    }
    let lab = Lab::on(PLAN, name, Limits::for_gateway(), |settings| {
        settings.upstreams = upstreams;
        settings.patience.head = patience;
        settings.patience.piece = patience;
        settings.patience.soon = soon;
    })
    .await;
    let holder = lab.holder("alice", 1_000_000_000).await;
    (lab, servers.try_into().unwrap_or_else(|_| unreachable!()), holder)
}

fn asks(stream: bool) -> Value {
    json!({"model": "chat", "stream": stream, "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_ails_the_first_the_second_serves() {
    let (lab, [sick, well], holder) = two("sick").await;
    let each = 7 + 4;
    for ill in ILLS {
        *sick.ill.lock().unwrap() = ill;
        for stream in [false, true] {
            // An answer in one piece may take its time: whoever waits for one has waited for all.
            if !stream && ill.is_silent() {
                continue;
            }
            lab.gateway.routes.forget();
            let before = (sick.asked.load(Ordering::SeqCst), well.asked.load(Ordering::SeqCst));
            let charged = lab.charged_at_rest(&holder.secret).await;
            for turn in 0..5 {
                let answer =
                    lab.post(&holder.secret, "/chat/completions", &asks(stream)).send().await.unwrap();
                let (status, text) = (answer.status(), answer.text().await.unwrap());
                assert_eq!(status, 200, "{ill:?} {stream} {turn}: {text}");
                assert!(text.contains("well") && !text.contains("error"), "{ill:?} {stream}: {text}");
            }
            let asked = sick.asked.load(Ordering::SeqCst) - before.0;
            assert!((1..=3).contains(&asked), "{ill:?} {stream}: the sick one was asked {asked} times");
            assert_eq!(well.asked.load(Ordering::SeqCst) - before.1, 5, "{ill:?} {stream}");
            assert_eq!(lab.charged_at_rest(&holder.secret).await - charged, 5 * each, "{ill:?} {stream}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_troubles_charge_only_what_is_delivered() {
    let (lab, servers, holder) = two("troubles").await;
    let mut dice = rand_chacha::ChaCha8Rng::seed_from_u64(11);
    let mut served = 0;
    for turn in 0..300 {
        for server in &servers {
            let ill = ILLS[dice.random_range(0..ILLS.len())];
            *server.ill.lock().unwrap() =
                if ill.is_silent() || dice.random_ratio(1, 2) { Ill::Nothing } else { ill };
        }
        let stream = dice.random_ratio(1, 2);
        let before: usize = servers.iter().map(|server| server.asked.load(Ordering::SeqCst)).sum();
        let answer = lab.post(&holder.secret, "/chat/completions", &asks(stream)).send().await.unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        let somebody = servers.iter().any(|server| *server.ill.lock().unwrap() == Ill::Nothing);
        assert_eq!(status == 200, somebody, "turn {turn}: {status} {text}");
        assert!(status == 200 || [429, 502, 503].contains(&status), "turn {turn}: {status}");
        assert!(!text.contains("its own trouble"), "{text}");
        let asked = servers.iter().map(|server| server.asked.load(Ordering::SeqCst)).sum::<usize>() - before;
        assert!(asked <= 2, "turn {turn}: {asked} were asked");
        served += u128::from(status == 200);
        assert_eq!(lab.charged_at_rest(&holder.secret).await, served * 11, "turn {turn}");
    }
    assert!((100..300).contains(&served), "{served}");
}

/// Whoever waited in vain for an answer in one piece is told so, and asks another next time.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_alone_is_no_answer() {
    let (lab, [sick, well], holder) = two("head-alone").await;
    for ill in [Ill::HeadOnly, Ill::SignsOfLife] {
        *sick.ill.lock().unwrap() = ill;
        lab.gateway.routes.forget();
        for turn in 0..5 {
            let (status, answer) = lab.chat(&holder.secret, &asks(false)).await;
            assert_eq!(status, if turn < 3 { 504 } else { 200 }, "{ill:?} {turn}: {answer}");
        }
        assert_eq!(well.asked.swap(0, Ordering::SeqCst), 2);
    }
}

/// Where all are slow the last one is waited for: nobody is given up by whom another could have served.
#[tokio::test(flavor = "multi_thread")]
async fn where_all_are_slow_the_last_is_waited_for() {
    let (lab, servers, holder) =
        two_with("all-slow", Duration::from_secs(5), Duration::from_millis(300)).await;
    for server in &servers {
        *server.ill.lock().unwrap() = Ill::SlowWord;
    }
    for stream in [true, false] {
        let answer = lab.post(&holder.secret, "/chat/completions", &asks(stream)).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status == 200 && text.contains("well"), "{stream}: {status} {text}");
    }
    // The stream was asked of the second meanwhile.
    let asked: usize = servers.iter().map(|server| server.asked.load(Ordering::SeqCst)).sum();
    assert_eq!((asked, lab.charged_at_rest(&holder.secret).await), (3, 22));
}
