//! A provider that finds fault with a request may be wrong, or worse: another is heard before the client is told. And one
//! that does not have a path serves the others.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use earnest_serve::openai::dialect::Dialect;
use earnest_serve::provider::doors::Admission;
use serde_json::{Value, json};

use super::lab::*;
use super::upstreams::dialling;

fn dialect() -> Dialect {
    Dialect { upstream: "tiny".into(), ..Dialect::default() }
}

/// A gateway with so many providers, the cheapest first, and behind them, if it has one, an upstream of its own.
async fn crowd<const N: usize>(name: &str, own: bool) -> (Lab, Holder, [Arc<Oracle>; N], Arc<Oracle>) {
    let lab = Lab::with(name, |settings| {
        settings.providers = Admission::Anyone;
        settings.share_bps = 8_000;
        if !own {
            settings.upstreams = Vec::new();
        }
    })
    .await;
    let mut servers = Vec::new();
    for number in 0..N {
        let (oracle, url) = Oracle::start().await;
        let ask = 1_000 * u16::try_from(number + 1).unwrap();
        let provider = dialling(&lab, &format!("provider {number}"), &url, ask, [(MODEL, dialect())]);
        tokio::spawn(provider.run(std::future::pending(), |_| {}));
        let mut changes = lab.gateway.roster.changes();
        while lab.gateway.roster.links().len() <= number {
            changes.changed().await.unwrap();
        }
        servers.push(oracle);
    }
    let holder = lab.holder("alice", 100_000_000).await;
    let own = lab.oracle.clone();
    (lab, holder, servers.try_into().unwrap_or_else(|_| unreachable!()), own)
}

fn counts<const N: usize>(servers: &[Arc<Oracle>; N]) -> [usize; N] {
    std::array::from_fn(|index| servers[index].count())
}

async fn asks(lab: &Lab, holder: &Holder, path: &str, body: &Value) -> (u16, String) {
    let answer = lab.post(&holder.secret, path, body).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn blame(message: &str) -> String {
    json!({"error": {"message": message, "type": "invalid_request_error", "code": 400}}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_blames_every_request_does_not_take_the_model_away() {
    let (lab, holder, servers, _) = crowd::<2>("blames", false).await;
    let json = "application/json";
    let first = format!("data: {}\n\n", blame("too long"));
    for (status, kind, said) in [
        (400, json, blame("too long")),
        (422, json, blame("no")),
        (413, "text/plain", "too large".into()),
        (403, json, blame("it was flagged")),
        (200, json, blame("too long")),
        (200, "text/event-stream", first),
    ] {
        servers[0].says(status, kind, said.clone());
        for ask in [hello(), streamed()] {
            lab.gateway.routes.forget();
            let (before, charged) = (counts(&servers), lab.charged_at_rest(&holder.secret).await);
            for turn in 0..12 {
                let (got, text) = asks(&lab, &holder, "/chat/completions", &ask).await;
                assert_eq!(got, 200, "{turn}: {status} {said}: {text}");
                assert!(text.contains("three") && !text.contains("error"), "{said}: {text}");
            }
            let after = counts(&servers);
            let asked = after[0] - before[0];
            // Not for nothing left alone at once, and not asked for ever.
            assert!((3..=8).contains(&asked), "{status} {said}: it was asked {asked} times");
            assert_eq!(after[1] - before[1], 12, "{status} {said}");
            assert_eq!(lab.charged_at_rest(&holder.secret).await - charged, 12 * cost(7, 3));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_refuses_what_it_has_no_room_for_is_not_left_alone() {
    let (lab, holder, servers, _) = crowd::<2>("small", false).await;
    servers[0].answers(|body| {
        Box::pin(async move {
            match body.to_string().len() {
                300.. => (StatusCode::BAD_REQUEST, blame("the context has 100 tokens")).into_response(),
                _ => axum::Json(completion("tiny", "one two three")).into_response(),
            }
        })
    });
    let mut long = hello();
    long["messages"][0]["content"] = json!("word ".repeat(100));
    for turn in 0..10 {
        for ask in [&long, &long, &hello()] {
            let (status, text) = asks(&lab, &holder, "/chat/completions", ask).await;
            assert_eq!(status, 200, "{turn}: {text}");
        }
    }
    assert_eq!(counts(&servers), [30, 20]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_blame_is_told_and_nobody_is_the_worse_for_it() {
    let (lab, holder, servers, _) = crowd::<3>("two", false).await;
    servers[0].says(400, "application/json", blame("no"));
    let telling = json!({"error": {"message": "seed is no number", "param": "seed", "code": "invalid_type"}});
    servers[1].says(422, "application/json", telling.to_string());
    for ask in [hello(), streamed()] {
        for _ in 0..10 {
            let (status, text) = asks(&lab, &holder, "/chat/completions", &ask).await;
            assert_eq!(status, 422, "{text}");
            assert!(text.contains("seed is no number") && text.contains("invalid_type"), "{text}");
        }
    }
    assert_eq!(counts(&servers), [20, 20, 0], "one more opinion, and of those who are well");
    assert_eq!(lab.charged_at_rest(&holder.secret).await, 0);
    // Where the other cannot say, the first one's word stands.
    servers[1].says(429, "application/json", "{}");
    servers[2].says(500, "application/json", "{}");
    let (status, text) = asks(&lab, &holder, "/chat/completions", &hello()).await;
    assert_eq!((status, text.contains("\"no\"")), (400, true), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_alone_is_believed() {
    let (lab, holder, servers, _) = crowd::<1>("alone", false).await;
    servers[0].says(400, "application/json", blame("no"));
    for ask in [hello(), streamed()] {
        let (status, text) = asks(&lab, &holder, "/chat/completions", &ask).await;
        assert_eq!((status, text.contains("\"no\"")), (400, true), "{text}");
    }
    assert_eq!(counts(&servers), [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_issuers_own_word_is_believed_at_once_and_told() {
    let (lab, holder, servers, own) = crowd::<1>("own", true).await;
    own.says(400, "application/json", blame("its own reason"));
    let (status, text) = asks(&lab, &holder, "/chat/completions", &hello()).await;
    assert_eq!((status, text.contains("its own reason")), (400, true), "{text}");
    assert_eq!((own.count(), counts(&servers)), (1, [0]));
    // Where it rests, the other is asked before it, and not believed alone.
    own.says(500, "application/json", "{}");
    for _ in 0..3 {
        assert_eq!(asks(&lab, &holder, "/chat/completions", &hello()).await.0, 200);
    }
    let before = own.count();
    own.says(400, "application/json", blame("its own reason"));
    servers[0].says(422, "application/json", blame("a stranger's"));
    let (status, text) = asks(&lab, &holder, "/chat/completions", &hello()).await;
    assert_eq!((status, text.contains("its own reason")), (400, true), "{text}");
    assert_eq!(own.count(), before + 1);
}

fn response(text: &str) -> Response {
    axum::Json(json!({
        "id": "r", "object": "response", "model": "tiny", "status": "completed",
        "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}],
        "usage": {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10},
    }))
    .into_response()
}

/// Answers chats, and to responses this status, or three words.
fn has_no_responses(server: &Oracle, status: u16, said: &'static str) {
    server.answers(move |body| {
        Box::pin(async move {
            match (body.get("input"), status) {
                (None, _) => axum::Json(completion("tiny", "one two three")).into_response(),
                (_, 200) => response("one two three"),
                (_, status) => (StatusCode::from_u16(status).unwrap(), said).into_response(),
            }
        })
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn one_without_a_path_is_left_out_there_and_serves_the_others() {
    let (lab, holder, servers, _) = crowd::<2>("paths", false).await;
    let ask = json!({"model": MODEL, "input": "hello"});
    let llama = r#"{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}"#;
    for (status, said) in [(404, r#"{"detail":"Not Found"}"#), (404, llama), (405, ""), (501, "no such path")]
    {
        lab.gateway.routes.forget();
        has_no_responses(&servers[0], status, said);
        has_no_responses(&servers[1], 200, "");
        let before = counts(&servers);
        for _ in 0..5 {
            let (got, text) = asks(&lab, &holder, "/responses", &ask).await;
            assert_eq!((got, text.contains("three")), (200, true), "{status}: {text}");
        }
        assert_eq!(counts(&servers), [before[0] + 1, before[1] + 5], "{status}: it is asked once");
        for _ in 0..5 {
            assert_eq!(asks(&lab, &holder, "/chat/completions", &hello()).await.0, 200);
        }
        assert_eq!(counts(&servers), [before[0] + 6, before[1] + 5], "{status}: it is well");
        // And where nobody has it, that is said, and not that all are ill.
        has_no_responses(&servers[1], status, said);
        for turn in 0..2 {
            let (got, text) = asks(&lab, &holder, "/responses", &ask).await;
            assert_eq!(got, 404, "{text}");
            assert!(text.contains("unsupported_endpoint") && text.contains("/responses"), "{text}");
            // One of them may have it by the next time.
            assert_eq!(counts(&servers), [before[0] + 6 + turn, before[1] + 6 + turn]);
        }
        assert_eq!(asks(&lab, &holder, "/chat/completions", &hello()).await.0, 200);
    }
    // A model that a server does not have is the server's trouble.
    lab.gateway.routes.forget();
    let missing =
        r#"{"error":{"message":"The model `tiny` does not exist.","type":"NotFoundError","code":404}}"#;
    servers.iter().for_each(|server| has_no_responses(server, 404, missing));
    assert_eq!(asks(&lab, &holder, "/responses", &ask).await.0, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_at_lists_of_prompts_is_not_ill_for_chats() {
    let (lab, holder, servers, _) = crowd::<2>("lists", false).await;
    servers[0].answers(|body| {
        Box::pin(async move {
            match body.get("prompt") {
                Some(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
                None => axum::Json(completion("tiny", "one two three")).into_response(),
            }
        })
    });
    servers[1].says(
        200,
        "application/json",
        json!({"id": "c", "object": "text_completion", "model": "tiny",
            "choices": [{"index": 0, "text": "one"}, {"index": 1, "text": "two"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}})
        .to_string(),
    );
    let lists = json!({"model": MODEL, "prompt": ["a", "b"], "max_tokens": 5});
    for _ in 0..5 {
        assert_eq!(asks(&lab, &holder, "/completions", &lists).await.0, 200);
    }
    assert_eq!(counts(&servers), [3, 5], "it rests there");
    for _ in 0..5 {
        assert_eq!(asks(&lab, &holder, "/chat/completions", &hello()).await.0, 200);
    }
    assert_eq!(counts(&servers), [8, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_operators_are_asked_however_many_links_they_have() {
    let lab = Lab::with("three", |settings| {
        settings.upstreams = Vec::new();
        settings.providers = Admission::Anyone;
        settings.share_bps = 8_000;
    })
    .await;
    let mut servers = Vec::new();
    for number in 0..3 {
        let (oracle, url) = Oracle::start().await;
        let ask = 1_000 * (number + 1);
        let mut provider = dialling(&lab, &format!("provider {number}"), &url, ask, [(MODEL, dialect())]);
        provider.links = 4;
        tokio::spawn(provider.run(std::future::pending(), |_| {}));
        let mut changes = lab.gateway.roster.changes();
        while lab.gateway.roster.links().len() < 4 * usize::from(number + 1) {
            changes.changed().await.unwrap();
        }
        servers.push(oracle);
    }
    let holder = lab.holder("alice", 100_000_000).await;
    servers[1].says(429, "application/json", blame("too many"));
    for status in [500, 400] {
        servers[0].says(status, "application/json", blame("no"));
        for ask in [hello(), streamed()] {
            lab.gateway.routes.forget();
            let (got, text) = asks(&lab, &holder, "/chat/completions", &ask).await;
            assert_eq!(got, 200, "{status}: {text}");
        }
    }
    assert_eq!([0, 1, 2].map(|index| servers[index].count()), [4, 4, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_listed_once_whatever_it_dialled() {
    let lab = Lab::with("listed", |settings| {
        settings.providers = Admission::Anyone;
        settings.share_bps = 8_000;
    })
    .await;
    let (_oracle, url) = Oracle::start().await;
    let mut provider = dialling(&lab, "provider", &url, 1_000, [(MODEL, dialect())]);
    provider.links = 2;
    tokio::spawn(provider.run(std::future::pending(), |_| {}));
    let mut changes = lab.gateway.roster.changes();
    while lab.gateway.roster.links().len() < 2 {
        changes.changed().await.unwrap();
    }
    let together: u64 = lab.gateway.roster.links().iter().map(|link| u64::from(link.offer.concurrency)).sum();
    let (_, listed) = lab.get("", "/earnest/providers").await;
    let theirs: Vec<&Value> =
        listed["data"].as_array().unwrap().iter().filter(|one| one["own"] == false).collect();
    assert_eq!(theirs.len(), 1, "{listed}");
    assert_eq!((&theirs[0]["links"], &theirs[0]["concurrency"]), (&json!(2), &json!(together)));
    assert_eq!((&theirs[0]["ask_bps"], &theirs[0]["models"]), (&json!(1_000), &json!([MODEL])));
}
