//! What real upstreams answer, and what is right: each folder of `tests/upstreams` is an answer as it came, a question, and
//! the reading. Prices are 1, 0.1 and 4 base units a model token read, cached and written.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use earnest_serve::gateway::route::Upstream;
use earnest_serve::openai::dialect::Dialect;
use earnest_serve::provider::dial::{Model, Provider};
use earnest_serve::provider::doors::Admission;
use earnest_serve::server::Limits;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::lab::*;

pub(super) const PLAN: &str = include_str!("../../upstreams/plan.toml");

/// What is right.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Right {
    about: String,
    status: u16,
    usage: Option<Used>,
    estimated: bool,
    complete: bool,
    /// What the client must be told.
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    retry_after: Option<u64>,
    /// What the client must not be told.
    #[serde(default)]
    never: Option<String>,
    /// More than one reading can be defended.
    #[serde(default)]
    note: Option<String>,
    /// How the truth was counted where nobody stated it.
    #[serde(default)]
    #[expect(dead_code, reason = "for who reads the fixture")]
    counted: Option<Value>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
struct Used {
    input: u64,
    cached: u64,
    output: u64,
}

/// A server that answers every POST with the same bytes, and closes.
#[derive(Clone, Default)]
pub(super) struct Canned(Arc<Mutex<Vec<u8>>>);

impl Canned {
    pub(super) fn says(&self, answer: &[u8]) {
        let split = answer.windows(2).position(|pair| pair == b"\n\n").expect("a head and a body");
        let head = String::from_utf8_lossy(&answer[..split]).replace("\r\n", "\n").replace('\n', "\r\n");
        *self.0.lock().unwrap() =
            [head.as_bytes(), b"\r\nconnection: close\r\n\r\n", &answer[split + 2..]].concat();
    }

    pub(super) async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let canned = self.0.clone();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let canned = canned.clone();
                tokio::spawn(async move {
                    let mut asked = Vec::new();
                    let mut piece = [0; 1 << 16];
                    loop {
                        let Ok(read @ 1..) = socket.read(&mut piece).await else { return };
                        asked.extend_from_slice(&piece[..read]);
                        let Some(end) = asked.windows(4).position(|four| four == b"\r\n\r\n") else {
                            continue;
                        };
                        let head = String::from_utf8_lossy(&asked[..end]).to_ascii_lowercase();
                        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
                        let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
                        if asked.len() >= end + 4 + length {
                            break;
                        }
                    }
                    let answer = canned.lock().unwrap().clone();
                    let _ = socket.write_all(&answer).await;
                    let _ = socket.shutdown().await;
                });
            }
        });
        url
    }
}

fn folders(of: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(of)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    all.sort();
    all
}

/// As an operator would set it who knows the model: its reasoning is not shown, and one proxy tells another name.
pub(super) fn called(upstream: &str) -> Dialect {
    Dialect {
        upstream: upstream.into(),
        answers: vec!["noise".into(), "gpt-4.1-2025-04-14".into()],
        hidden: Some(true),
        ..Dialect::default()
    }
}

/// A gateway before a canned upstream, its own or a provider's that dialled in.
pub(super) async fn canned_lab(name: &str, dialled: bool) -> (Lab, Canned) {
    let canned = Canned::default();
    let url = canned.serve().await;
    let lab = Lab::on(PLAN, name, Limits::for_gateway(), |settings| {
        settings.upstreams = Vec::new();
        settings.providers = Admission::Anyone;
        settings.share_bps = 8_000;
        settings.dialects = ["chat", "embed"].map(|name| (name.into(), called("m"))).into();
        if !dialled {
            settings.upstreams = vec![Upstream {
                url: url.clone(),
                key: None,
                headers: Default::default(),
                models: vec![("chat".into(), called("m")), ("embed".into(), called("m"))],
                concurrency: 100,
                provider: key("gateway").address(),
            }];
        }
    })
    .await;
    if dialled {
        let provider =
            dialling(&lab, "provider", &url, 8_000, ["chat", "embed"].map(|name| (name, called("m"))));
        tokio::spawn(provider.run(std::future::pending(), |_| {}));
        let mut changes = lab.gateway.roster.changes();
        while lab.gateway.roster.links().is_empty() {
            changes.changed().await.unwrap();
        }
    }
    (lab, canned)
}

/// A provider that dials in to a gateway, with an upstream behind it.
pub(super) fn dialling<const N: usize>(
    lab: &Lab,
    who: &str,
    url: &str,
    ask: u16,
    models: [(&str, Dialect); N],
) -> Provider {
    let models = models.map(|(name, dialect)| Model { name: name.into(), dialect, elsewhere: None });
    Provider {
        gateway: lab.base.parse().unwrap(),
        key: key(who),
        upstream: url.parse().unwrap(),
        upstream_key: None,
        headers: Default::default(),
        models: models.into(),
        ask,
        concurrency: 100,
        links: 1,
        folder: lab.settings.folder.join(who),
        patience: Duration::from_secs(60),
    }
}

/// The last receipt of a key, and how many there are.
pub(super) async fn last_receipt(lab: &Lab, secret: &str) -> (usize, Value) {
    let (_, receipts) = lab.get(secret, "/earnest/receipts").await;
    let all = receipts["data"].as_array().unwrap();
    let last = all
        .first()
        .map_or(Value::Null, |last| serde_json::from_str(last["receipt"].as_str().unwrap()).unwrap());
    (all.len(), last)
}

/// What of an answer is not right.
async fn differences(lab: &Lab, canned: &Canned, folder: &Path) -> Vec<String> {
    let file = |name: &str| std::fs::read(folder.join(name));
    let right: Right = serde_json::from_slice(&file("right.json").unwrap())
        .unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let path = file("path")
        .map_or("/chat/completions".into(), |path| format!("/{}", String::from_utf8_lossy(&path).trim()));
    canned.says(&file("answer.http").unwrap());
    let name = format!(
        "{}/{}",
        folder.parent().unwrap().file_name().unwrap().display(),
        folder.file_name().unwrap().display()
    );
    let holder = lab.holder(&name, 1_000_000_000).await;
    let ask: Value = serde_json::from_slice(&file("ask.json").unwrap()).unwrap();
    let answer = lab.post(&holder.secret, &path, &ask).send().await.unwrap();
    let status = answer.status().as_u16();
    let wait = answer.headers().get("retry-after").and_then(|wait| wait.to_str().ok()?.parse::<u64>().ok());
    let body = String::from_utf8_lossy(&answer.bytes().await.unwrap_or_default()).into_owned();
    let charged = lab.charged_at_rest(&holder.secret).await;
    let (_, receipt) = last_receipt(lab, &holder.secret).await;
    let mut wrong = Vec::new();
    let mut differs = |what: &str, found: String, right: String| {
        if found != right {
            wrong.push(format!("{what} is {found}, and right is {right}"));
        }
    };
    // Of a request's own fault the server's status is kept; of a server's it is 502, 503 or 504 as it failed.
    let kind = |status: u16| match status {
        413 | 422 => 400,
        502 | 504 => 503,
        status => status,
    };
    differs("status", kind(status).to_string(), kind(right.status).to_string());
    if let Some(reason) = &right.reason {
        differs("the reason", format!("{:?}", body.contains(reason)), "true".into());
    }
    if let Some(never) = &right.never {
        differs("what must not be told", body.contains(never).to_string(), "false".into());
    }
    if let Some(after) = right.retry_after {
        differs("the wait", format!("{wait:?}"), format!("{:?}", Some(after)));
    }
    match (right.usage, right.status) {
        (Some(usage), 200) => {
            let found: Used = serde_json::from_value(receipt["usage"].clone()).unwrap_or(Used {
                input: 0,
                cached: 0,
                output: 0,
            });
            let estimated = receipt["estimated"] == true;
            differs("complete", receipt["complete"].to_string(), right.complete.to_string());
            if right.estimated || estimated && right.note.is_some() {
                // Told as an estimate, near the truth and mostly below it; or read where it stands all the same.
                let near = |found: u64, truth: u64| found <= truth + truth / 3 + 8;
                differs("input", near(found.input, usage.input).to_string(), "true".into());
                let enough = found.output >= usage.output / 8;
                differs("output", (enough && near(found.output, usage.output)).to_string(), "true".into());
                // What is not the truth is told.
                if found != usage && right.note.is_none() {
                    differs("estimated", estimated.to_string(), "true".into());
                }
            } else {
                differs("usage", format!("{found:?}"), format!("{usage:?}"));
                differs("estimated", estimated.to_string(), "false".into());
            }
            let tenths = match path.as_str() {
                "/embeddings" => found.input,
                _ => 10 * (found.input - found.cached) + found.cached + 40 * found.output,
            };
            let cost = tenths.div_ceil(10);
            differs("the charge", charged.to_string(), u128::from(cost.max(1)).to_string());
            if !wrong.is_empty() {
                wrong.push(format!("found {found:?} for {usage:?}"));
            }
        }
        _ => differs("the charge", charged.to_string(), "0".into()),
    }
    if !wrong.is_empty() {
        wrong.push(format!(
            "{}; note: {:?}; told: {}",
            right.about,
            right.note,
            body.chars().take(300).collect::<String>()
        ));
    }
    wrong
}

async fn all_are_right(name: &str, dialled: bool) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/upstreams");
    let only = std::env::var("EARNEST_UPSTREAM").unwrap_or_default();
    let mut failed = Vec::new();
    let mut count = 0;
    let (lab, canned) = canned_lab(name, dialled).await;
    for server in folders(&root) {
        for case in folders(&server) {
            if !case.to_string_lossy().contains(&only) {
                continue;
            }
            count += 1;
            lab.gateway.routes.forget();
            let wrong = differences(&lab, &canned, &case).await;
            if !wrong.is_empty() {
                failed.push(format!(
                    "{}:\n  {}",
                    case.strip_prefix(&root).unwrap().display(),
                    wrong.join("\n  ")
                ));
            }
        }
    }
    assert!(failed.is_empty(), "{} of {count} are wrong:\n{}", failed.len(), failed.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_upstreams_answer_is_read_as_they_mean_it() {
    all_are_right("upstreams", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_upstreams_answer_is_read_as_they_mean_it_behind_a_provider() {
    all_are_right("upstreams-dialled", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_told_no_bound_is_asked_once_more_and_the_next_time_at_once() {
    let lab = Lab::open("learnt").await;
    let holder = lab.holder("alice", 1_000_000).await;
    lab.oracle.answers(|body| {
        use axum::response::IntoResponse;
        let refused = json!({"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model.",
            "type": "invalid_request_error", "param": "max_tokens", "code": "unsupported_parameter"}});
        Box::pin(async move {
            match body.get("max_tokens") {
                Some(_) => (axum::http::StatusCode::BAD_REQUEST, axum::Json(refused)).into_response(),
                None => axum::Json(completion("tiny", "one two three")).into_response(),
            }
        })
    });
    for (asked, calls) in [(hello(), 2), (hello(), 3), (hello(), 4)] {
        assert_eq!(lab.chat(&holder.secret, &asked).await.0, 200);
        assert_eq!(lab.oracle.count(), calls);
    }
    let bodies: Vec<Value> =
        lab.oracle.asked.lock().unwrap().iter().map(|asked| asked.body.clone()).collect();
    assert_eq!(bodies[3]["max_completion_tokens"], 4_096);
    // What the client asked for is the client's: its refusal is told.
    let mut bounded = hello();
    bounded["max_tokens"] = json!(5);
    let (status, refused) = lab.chat(&holder.secret, &bounded).await;
    assert_eq!((status, refused["error"]["param"].as_str()), (400, Some("max_tokens")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_an_upstream_is_no_clients_to_know() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let lab = Lab::on(PLAN, "unreached", Limits::for_gateway(), |settings| {
        settings.upstreams = vec![Upstream {
            url: format!("http://{gone}/v1"),
            key: None,
            headers: Default::default(),
            models: vec![("chat".into(), called("m"))],
            concurrency: 100,
            provider: key("gateway").address(),
        }];
    })
    .await;
    let holder = lab.holder("alice", 1_000_000_000).await;
    let mut asked = hello();
    asked["model"] = json!("chat");
    let (status, told) = lab.chat(&holder.secret, &asked).await;
    assert_eq!((status, told["error"]["message"].as_str()), (503, Some("the upstream cannot be reached")));
}
