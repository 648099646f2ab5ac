//! A provider written by hand, which seals its answers as it likes: what is not sealed, or is not what was sealed, does not
//! pass for whole, and of what did not go out nothing is charged.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use alloy_primitives::B256;
use axum::http::{Request, Response, StatusCode, header};
use bytes::Bytes;
use earnest_serve::provider::doors::Admission;
use earnest_serve::provider::hello::{Challenge, Hello, Offer};
use earnest_serve::provider::link_key::LinkKey;
use earnest_serve::provider::usage::UsageClaim;
use futures_util::stream::iter;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::lab::{Holder, Lab, MODEL, completion, cost, ending, event, hello, key, streamed};

/// What it seals at the end of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seals {
    What,
    Nothing,
    OtherBytes,
    AnotherRequest,
    /// What it says, and that it is packed.
    Packed,
}

/// What it answers everybody: pieces, and what it seals.
type Says = Arc<Mutex<(Vec<String>, Seals)>>;

fn sha(bytes: &[u8]) -> B256 {
    B256::from_slice(&Sha256::digest(bytes))
}

/// The frames of an answer, and behind them what is sealed.
fn frames((pieces, seals): (Vec<String>, Seals), id: &str, body: &[u8], key: &LinkKey) -> Vec<Frame<Bytes>> {
    let claim = UsageClaim {
        request: if seals == Seals::AnotherRequest { "req_other" } else { id }.into(),
        model: MODEL.into(),
        status: 200,
        usage: None,
        chunks: 0,
        request_sha256: sha(body),
        response_sha256: if seals == Seals::OtherBytes {
            B256::ZERO
        } else {
            sha(pieces.concat().as_bytes())
        },
    };
    let mut frames: Vec<_> = pieces.into_iter().map(|piece| Frame::data(Bytes::from(piece))).collect();
    if seals != Seals::Nothing {
        frames.push(Frame::trailers(claim.seal(key)));
    }
    frames
}

/// Dials in, and serves what it is told to say.
async fn provider(lab: &Lab) -> Says {
    let challenge = lab.client.get(format!("{}/earnest/provider/challenge", lab.base)).send().await.unwrap();
    let challenge: Challenge = challenge.json().await.unwrap();
    let offer = Offer {
        gateway: lab.base.trim_start_matches("http://").into(),
        models: vec![MODEL.into()],
        called: Default::default(),
        answers: Default::default(),
        ask: 0,
        concurrency: 9,
        instance: 1,
    };
    let (hello, link_key) = Hello::sign(&key("by hand"), &challenge, offer).unwrap();
    let dialled = lab.client.get(format!("{}/earnest/provider", lab.base)).headers(hello.headers());
    let dialled = dialled.header(header::CONNECTION, "upgrade").header(header::UPGRADE, "earnest-provider");
    let link = dialled.send().await.unwrap().upgrade().await.unwrap();
    let says: Says = Arc::new(Mutex::new((Vec::new(), Seals::What)));
    let told = says.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (told, link_key) = (told.clone(), link_key.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let id = head.headers.get("x-request-id").map_or("", |id| id.to_str().unwrap());
            let said = told.lock().unwrap().clone();
            let kind =
                if said.0.concat().starts_with('{') { "application/json" } else { "text/event-stream" };
            let ready = head.uri.path() == "/earnest/ready";
            let packed = said.1 == Seals::Packed;
            let frames = if ready { Vec::new() } else { frames(said, id, &body, &link_key) };
            let mut response =
                Response::new(StreamBody::new(iter(frames.into_iter().map(Ok::<_, Infallible>))));
            *response.status_mut() = if ready { StatusCode::NO_CONTENT } else { StatusCode::OK };
            response.headers_mut().insert(header::CONTENT_TYPE, kind.parse().unwrap());
            if packed {
                response.headers_mut().insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
            }
            Ok::<_, Infallible>(response)
        }
    });
    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    tokio::spawn(server.serve_connection(TokioIo::new(link), service));
    let mut changes = lab.gateway.roster.changes();
    while lab.gateway.roster.links().is_empty() {
        changes.changed().await.unwrap();
    }
    says
}

async fn open(name: &str) -> (Lab, Holder, Says) {
    let lab = Lab::with(name, |settings| {
        settings.upstreams = Vec::new();
        settings.providers = Admission::Anyone;
    })
    .await;
    let holder = lab.holder("alice", 1_000_000).await;
    let says = provider(&lab).await;
    (lab, holder, says)
}

/// Asks; the status, all that was heard, and what it cost.
async fn asks(lab: &Lab, holder: &Holder, path: &str, body: &Value) -> (u16, String, u128) {
    lab.gateway.routes.forget();
    let before = lab.charged_at_rest(&holder.secret).await;
    let answer = lab.post(&holder.secret, path, body).send().await.unwrap();
    let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
    (status, text, lab.charged_at_rest(&holder.secret).await - before)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_sealed_does_not_pass_for_whole() {
    let (lab, holder, says) = open("signed").await;
    for seals in [Seals::What, Seals::Nothing, Seals::OtherBytes, Seals::AnotherRequest] {
        let pieces = vec![event(MODEL, "one two three"), ending(MODEL, 3)];
        *says.lock().unwrap() = (pieces, seals);
        let (status, text, charged) = asks(&lab, &holder, "/chat/completions", &streamed()).await;
        let whole = seals == Seals::What;
        assert_eq!(
            (status, text.contains("[DONE]"), text.contains("\"error\"")),
            (200, whole, !whole),
            "{seals:?} {text}"
        );
        assert_eq!(text.contains("\\\"complete\\\":true"), whole, "{seals:?} {text}");
        assert!((1..=cost(7, 3)).contains(&charged), "{seals:?}: {charged}");

        *says.lock().unwrap() = (vec![completion(MODEL, "one two three").to_string()], seals);
        let (status, text, charged) = asks(&lab, &holder, "/chat/completions", &hello()).await;
        assert_eq!(
            (status == 200, text.contains("three"), charged > 0),
            (whole, whole, whole),
            "{seals:?} {status} {text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_did_not_go_out_is_not_charged() {
    let (lab, holder, says) = open("held").await;
    let long = "word ".repeat(20_000);
    // A response whose text stands in its last event alone, which does not go out where it is not signed for.
    let data = |event: Value| format!("data: {event}\n\n");
    let whole = json!({"id": "r", "object": "response", "model": MODEL, "status": "completed",
        "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "one two three"}]}],
        "usage": {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}});
    let created = json!({"type": "response.created", "response": {"id": "r", "model": MODEL, "status": "in_progress", "output": []}});
    let pieces = vec![data(created), data(json!({"type": "response.completed", "response": whole}))];
    let ask = json!({"model": MODEL, "stream": true, "input": "hello"});
    for (seals, heard) in [(Seals::What, true), (Seals::OtherBytes, false)] {
        *says.lock().unwrap() = (pieces.clone(), seals);
        let (_, text, charged) = asks(&lab, &holder, "/responses", &ask).await;
        assert_eq!((text.contains("three"), charged > 0), (heard, heard), "{seals:?} {charged} {text}");
    }
    // The second event says another model, or is longer than what was asked for can be.
    let mut ask = streamed();
    ask["max_tokens"] = json!(1_000);
    for second in [event("another", &long), event(MODEL, &long)] {
        *says.lock().unwrap() = (vec![event(MODEL, "one "), second, ending(MODEL, 900)], Seals::What);
        let mut ask = ask.clone();
        if !says.lock().unwrap().0[1].contains("another") {
            ask["max_tokens"] = json!(100);
        }
        let (_, text, charged) = asks(&lab, &holder, "/chat/completions", &ask).await;
        assert!(text.contains("one ") && !text.contains("word") && text.contains("\"error\""), "{text}");
        let length = serde_json::to_vec(&ask).unwrap().len() as u128;
        assert!((1..=cost(length, 8)).contains(&charged), "{charged} for \"one \"");
    }
}

/// Its provider unpacks: packed, a little would be much to read. Comments are no answer, however many.
#[tokio::test(flavor = "multi_thread")]
async fn packed_answers_and_endless_comments_are_none() {
    let (lab, holder, says) = open("comments").await;
    let answers = |pieces: Vec<String>, seals| *says.lock().unwrap() = (pieces, seals);
    answers(vec![completion(MODEL, "one two three").to_string()], Seals::Packed);
    let (status, _, charged) = asks(&lab, &holder, "/chat/completions", &hello()).await;
    assert_eq!((status, charged), (502, 0));
    let comments = vec![format!(": {}\n\n", "x".repeat(1_000)); 400];
    let answer = vec![event(MODEL, "one two three"), ending(MODEL, 3)];
    answers([comments.clone(), answer.clone()].concat(), Seals::What);
    let (status, _, charged) = asks(&lab, &holder, "/chat/completions", &streamed()).await;
    assert_eq!((status, charged), (502, 0));
    answers([answer[..1].to_vec(), comments, answer[1..].to_vec()].concat(), Seals::What);
    let (status, text, charged) = asks(&lab, &holder, "/chat/completions", &streamed()).await;
    assert!(status == 200 && text.contains("comments") && !text.contains("[DONE]"), "{text}");
    assert!((1..=cost(7, 3)).contains(&charged));
}
