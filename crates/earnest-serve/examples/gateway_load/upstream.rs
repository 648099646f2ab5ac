//! The server behind all that is measured. It answers in exactly 20 ms, on a thread of its own, and each piece of a
//! stream says when it left.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// What the upstream takes for an answer, and between two model tokens of a stream.
pub const TICK: Duration = Duration::from_millis(20);
pub const MODEL: &str = "bench";

/// One clock for the upstream and the clients: microseconds since the start.
pub static START: LazyLock<Instant> = LazyLock::new(Instant::now);

pub fn micros() -> u64 {
    u64::try_from(START.elapsed().as_micros()).expect("not for ages")
}

/// Wakes up 20 ms after it was asked, to some 50 µs; tokio's own timers go by whole milliseconds, which would be more
/// than what is measured.
#[derive(Clone)]
struct Ticker(std::sync::mpsc::Sender<(Instant, oneshot::Sender<()>)>);

impl Ticker {
    fn start() -> Self {
        let (send, asked) = std::sync::mpsc::channel::<(Instant, oneshot::Sender<()>)>();
        std::thread::spawn(move || {
            // All wait for equally long: whoever came first is due first.
            while let Ok((due, wake)) = asked.recv() {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                let _ = wake.send(());
            }
        });
        Ticker(send)
    }

    async fn tick(&self) {
        let (wake, woken) = oneshot::channel();
        let _ = self.0.send((Instant::now() + TICK, wake));
        let _ = woken.await;
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

fn answer(body: String, kind: &str) -> Response<Body> {
    let response = Response::builder().header("content-type", kind);
    response.body(Full::new(Bytes::from(body)).boxed_unsync()).expect("a response")
}

/// Chat completions with usage. A stream has as many model tokens as are asked for, each saying when it left; one that is
/// asked for in the words "stay idle" says one and then nothing more.
async fn serve(request: Request<Incoming>, ticker: Ticker) -> Result<Response<Body>, hyper::Error> {
    let head = format!("\"id\":\"chatcmpl-bench\",\"created\":1700000000,\"model\":\"{MODEL}\"");
    if request.method() != Method::POST {
        let one = json!({"id": MODEL, "object": "model", "created": 1_700_000_000, "owned_by": "bench"});
        let list = json!({"object": "list", "data": [one]});
        return Ok(answer(list.to_string(), "application/json"));
    }
    let body = request.into_body().collect().await?.to_bytes();
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let tokens = asked["max_tokens"].as_u64().unwrap_or(8);
    let usage =
        format!("{{\"prompt_tokens\":12,\"completion_tokens\":{tokens},\"total_tokens\":{}}}", 12 + tokens);
    if asked["stream"] != true {
        ticker.tick().await;
        let message =
            "{\"role\":\"assistant\",\"content\":\"An answer of a usual length, for what it is worth.\"}";
        let choice = format!("{{\"index\":0,\"message\":{message},\"finish_reason\":\"stop\"}}");
        let text =
            format!("{{{head},\"object\":\"chat.completion\",\"choices\":[{choice}],\"usage\":{usage}}}");
        return Ok(answer(text, "application/json"));
    }
    let idle = body.windows(9).any(|words| words == b"stay idle");
    let event = move |choices: &str, more: &str| {
        format!("data: {{{head},\"object\":\"chat.completion.chunk\",\"choices\":[{choices}]{more}}}\n\n")
    };
    let events = stream::unfold(0, move |number| {
        let (ticker, event, usage) = (ticker.clone(), event.clone(), usage.clone());
        async move {
            let text = if number < tokens {
                if idle && number > 0 {
                    std::future::pending::<()>().await;
                }
                ticker.tick().await;
                let delta = format!("{{\"content\":\"{} \"}}", micros());
                event(&format!("{{\"index\":0,\"delta\":{delta},\"finish_reason\":null}}"), "")
            } else if number == tokens {
                let last = event("{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}", "");
                last + &event("", &format!(",\"usage\":{usage}")) + "data: [DONE]\n\n"
            } else {
                return None;
            };
            Some((Ok::<_, Infallible>(Frame::data(Bytes::from(text))), number + 1))
        }
    });
    let response = Response::builder().header("content-type", "text/event-stream");
    Ok(response.body(StreamBody::new(events).boxed_unsync()).expect("a response"))
}

/// The upstream, on a thread of its own.
pub fn upstream(port: u16) -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ticker = Ticker::start();
    std::thread::spawn(move || {
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("it listens");
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let ticker = ticker.clone();
                let service = service_fn(move |request| serve(request, ticker.clone()));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
    });
    Ok(address)
}
