//! The gateway is killed in the middle of everything, at named points and at random ones. Afterwards an auditor, who
//! knows nothing but the journal's tables, the chain, the upstream's own log and what clients hold in their hands, finds
//! that CHAN-1, CHAN-2 and PAY-1 hold: nobody paid for what did not arrive, and what was served and forgotten is within
//! a lease for each crash.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy_primitives::B256;
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use earnest_chain::bindings::{Channels, Revenue};
use earnest_chain::chain::Chain;
use earnest_chain::deploy::Record;
use earnest_chain::rpc::Rpc;
use earnest_serve::gateway::crash::POINTS;
use earnest_serve::gateway::statement::Document;
use earnest_serve::request_id::uuid_of;
use futures_util::StreamExt;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::folder;
use crate::openai::Lab;

/// Base units of cash per million model tokens.
const INPUT: u128 = 500_000;
const OUTPUT: u128 = 2_000_000;
/// What the upstream reads and writes in each answer.
const READ: u64 = 7;
const WRITTEN: u64 = 6;

fn cost(input: u64, output: u64) -> u128 {
    (u128::from(input) * INPUT + u128::from(output) * OUTPUT).div_ceil(1_000_000).max(1)
}

/// Ids of requests that the upstream answered.
type Log = Arc<Mutex<Vec<String>>>;

/// JSON in 3 ms, or a stream of six words, 4 ms apart.
async fn upstream(State(log): State<Log>, request: Request) -> Response {
    if request.uri().path().ends_with("/models") {
        return axum::Json(json!({"object": "list", "data": [{"id": "echo"}]})).into_response();
    }
    let id = request.headers()["x-request-id"].to_str().expect("text").to_owned();
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.expect("a body");
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    log.lock().expect("no panic").push(id);
    let usage = json!({"prompt_tokens": READ, "completion_tokens": WRITTEN, "total_tokens": READ + WRITTEN});
    if body["stream"] != json!(true) {
        tokio::time::sleep(Duration::from_millis(3)).await;
        let choice = json!({"index": 0, "message": {"role": "assistant", "content": "w w w w w w"}, "finish_reason": "stop"});
        return axum::Json(json!({"id": "c", "object": "chat.completion", "model": "echo", "choices": [choice], "usage": usage})).into_response();
    }
    let words = (0..WRITTEN)
        .map(|_| json!({"id": "c", "model": "echo", "choices": [{"index": 0, "delta": {"content": "w "}}]}));
    let last = json!({"id": "c", "model": "echo", "choices": [], "usage": usage});
    let events: Vec<String> = words
        .chain([last])
        .map(|event| format!("data: {event}\n\n"))
        .chain(["data: [DONE]\n\n".into()])
        .collect();
    let body = futures_util::stream::iter(events).then(|event| async move {
        tokio::time::sleep(Duration::from_millis(4)).await;
        Ok::<_, std::io::Error>(event)
    });
    ([("content-type", "text/event-stream")], axum::body::Body::from_stream(body)).into_response()
}

/// What a client holds in its hands of one request.
#[derive(Clone, Debug)]
struct Held {
    words: u64,
    whole: bool,
    stream: bool,
}

/// What clients got, by request.
type Hands = Arc<Mutex<HashMap<String, Held>>>;

async fn ask(client: &reqwest::Client, url: &str, key: &str, number: u64, hands: &Hands) -> Option<u16> {
    let stream = number.is_multiple_of(3);
    let body = json!({"model": "echo", "stream": stream, "max_tokens": 16, "messages": [{"role": "user", "content": "w"}]});
    let answer =
        client.post(format!("{url}/chat/completions")).bearer_auth(key).json(&body).send().await.ok()?;
    let status = answer.status().as_u16();
    if status != 200 {
        return Some(status);
    }
    let id = answer.headers()["x-request-id"].to_str().expect("text").to_owned();
    let mut pieces = answer.bytes_stream();
    let mut text = Vec::new();
    let mut broke = false;
    while let Some(piece) = pieces.next().await {
        match piece {
            Ok(piece) => text.extend_from_slice(&piece),
            Err(_) => {
                broke = true;
                break;
            }
        }
    }
    let text = String::from_utf8_lossy(&text);
    let words = text.matches("\"content\":\"w ").count() as u64;
    let whole = !broke
        && if stream {
            text.ends_with("data: [DONE]\n\n")
        } else {
            serde_json::from_str::<Value>(&text).is_ok()
        };
    hands.lock().expect("no panic").insert(id, Held { words, whole, stream });
    Some(status)
}

struct Stage {
    folder: PathBuf,
    upstream: String,
    log: Log,
    hands: Hands,
    runtime: tokio::runtime::Runtime,
    numbers: AtomicU64,
}

impl Stage {
    fn new(name: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("it");
        let log = Log::default();
        let app = Router::new().fallback(upstream).with_state(log.clone());
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        let url = format!("http://{}/v1", listener.local_addr().expect("it"));
        runtime.spawn(async move { axum::serve(listener, app).await });
        let (hands, numbers) = (Hands::default(), AtomicU64::new(0));
        Stage { folder: folder(name), upstream: url, log, hands, runtime, numbers }
    }

    fn lab(&self, crash: Option<&str>) -> Lab {
        Lab::start_with(&self.folder, &["--upstream", &self.upstream, "--model", "echo"], crash)
    }

    /// Asks in parallel until the gateway is gone, or so many were answered.
    fn load(&self, lab: &Lab, requests: u64, at_once: usize) {
        let client =
            reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().expect("a client");
        let first = self.numbers.fetch_add(requests, Ordering::Relaxed);
        let gone = std::cell::Cell::new(false);
        let asks = futures_util::stream::iter(first..first + requests)
            .take_while(|_| std::future::ready(!gone.get()))
            .map(|number| ask(&client, &lab.url, &lab.key, number, &self.hands))
            .buffer_unordered(at_once);
        self.runtime.block_on(async {
            let mut asks = std::pin::pin!(asks);
            // Those that are still reading read on: what has arrived counts.
            while let Some(answered) = asks.next().await {
                gone.set(gone.get() || answered.is_none());
            }
        });
    }

    /// The auditor. `crashes`: how often the gateway died.
    fn audit(&self, lab: &Lab, crashes: u128) -> u64 {
        let (journal, record) =
            (Connection::open(self.folder.join(".earnest/gateway.db")).expect("the journal"), self.record());
        let charges = charges(&journal);
        let (channel, charged, ceiling): (B256, u128, u128) = journal
            .query_row("SELECT id, charged, ceiling FROM channels", [], |row| {
                let id: Vec<u8> = row.get(0)?;
                let number = |index| {
                    Ok::<u128, rusqlite::Error>(row.get::<_, String>(index)?.parse().expect("a number"))
                };
                Ok((B256::from_slice(&id), number(1)?, number(2)?))
            })
            .expect("one channel");
        assert_eq!(charges.iter().map(|charge| charge.charge).sum::<u128>(), charged, "the sum is the sum");

        let rpc = lab.rpc.clone();
        let mut chain = Chain::Rpc(Rpc::connect(&rpc).expect("the chain"));
        let state = chain
            .call(record.contracts.channels, &Channels::channelsCall { channelId: channel })
            .expect("it");
        // CHAN-1
        assert!(
            state.totalClaimed <= charged && charged <= ceiling && ceiling <= state.balance,
            "{charged} of {ceiling}"
        );

        let (log, hands) = (self.log.lock().expect("no panic"), self.hands.lock().expect("no panic"));
        let served: HashSet<&String> = log.iter().collect();
        let mut seen = HashSet::new();
        for charge in &charges {
            // CHAN-2: once, and only what was served and arrived.
            assert!(seen.insert(charge.id.clone()), "{} is charged twice", charge.id);
            assert!(served.contains(&uuid_of(&charge.id)), "{} was never served", charge.id);
            let held = hands.get(&charge.id);
            if charge.complete {
                assert_eq!(charge.charge, cost(READ, WRITTEN));
                // What was given to the system arrives, unless the client's own side is cut.
                assert!(
                    held.is_some_and(|held| held.whole),
                    "{} is charged and did not arrive: {held:?}",
                    charge.id
                );
            } else {
                let held = held.unwrap_or_else(|| panic!("{} is charged and nothing arrived", charge.id));
                assert!(
                    held.stream && charge.output <= held.words,
                    "{}: {} words, {held:?}",
                    charge.id,
                    charge.output
                );
                assert_eq!(charge.charge, cost(charge.input, charge.output));
            }
        }
        // What arrived and is not charged: at most a lease for each crash.
        let unpaid = hands.iter().filter(|(id, held)| held.whole && !seen.contains(*id)).count() as u128;
        let reserve = cost(300, 16);
        let lease = 64 * reserve + 32 * reserve;
        assert!(unpaid * cost(READ, WRITTEN) <= crashes * lease, "{unpaid} unpaid after {crashes} crashes");
        if crashes == 0 {
            assert_eq!(unpaid, 0);
        }

        // PAY-1
        let cash = record.contracts.cash;
        let said = chain.call(record.contracts.revenue, &Revenue::statementCall { coin: cash }).expect("it");
        assert!(said.settled <= state.totalClaimed);
        if said.number > 0 {
            let text: String = journal
                .query_row(
                    "SELECT document FROM statements WHERE coin = 'cash' AND number = ?",
                    [said.number],
                    |row| row.get(0),
                )
                .expect("the statement");
            let document: Document = serde_json::from_str(&text).expect("JSON");
            assert_eq!(
                (document.settled, document.pay, document.tree().root()),
                (said.settled, said.pay, said.root)
            );
            assert_eq!(document.providers.iter().map(|earned| earned.cumulative).sum::<u128>(), said.pay);
            assert_eq!(document.channels.iter().map(|paid| paid.claimed).sum::<u128>(), said.settled);
        }
        u64::try_from(unpaid).expect("few")
    }

    fn record(&self) -> Record {
        let text =
            std::fs::read_to_string(self.folder.join(".earnest/deployment.json")).expect("the deployment");
        serde_json::from_str(&text).expect("JSON")
    }
}

struct Charge {
    id: String,
    input: u64,
    output: u64,
    charge: u128,
    complete: bool,
}

fn charges(journal: &Connection) -> Vec<Charge> {
    let mut select =
        journal.prepare("SELECT id, input, output, charge, complete FROM charges").expect("a table");
    let rows = select.query_map([], |row| {
        Ok(Charge {
            id: row.get(0)?,
            input: row.get(1)?,
            output: row.get(2)?,
            charge: row.get::<_, String>(3)?.parse().expect("a number"),
            complete: row.get(4)?,
        })
    });
    rows.expect("rows").map(|row| row.expect("a row")).collect()
}

/// Nothing is in flight and everything is on the disk.
fn settle(_: &Path) {
    std::thread::sleep(Duration::from_millis(300));
}

#[test]
fn a_crash_at_every_named_point_charges_nobody_for_what_did_not_arrive() {
    let stage = Stage::new("crash-points");
    drop(stage.lab(None)); // deploys, and makes the key
    for (number, point) in POINTS.iter().enumerate() {
        let visit = [7, 23][number % 2];
        // Batches of the journal are fewer than requests.
        let visit = match *point {
            point if point.starts_with("claim") => 1,
            point if point.starts_with("journal") => 3,
            _ => visit,
        };
        let lab = stage.lab(Some(&format!("{point}:{visit}")));
        stage.load(&lab, 400, 16);
        lab.wait_for_end(); // claims come by themselves
        assert!(lab.ended(), "the gateway did not die at {point}");
        drop(lab);
        let lab = stage.lab(None);
        settle(&stage.folder);
        stage.audit(&lab, number as u128 + 2);
    }
    let lab = stage.lab(None);
    stage.load(&lab, 100, 16);
    std::thread::sleep(Duration::from_secs(5)); // a claim and a statement
    let unpaid = stage.audit(&lab, POINTS.len() as u128 + 1);
    println!("{} points, {unpaid} answers served and forgotten", POINTS.len());
}

#[test]
fn random_kills_charge_nobody_for_what_did_not_arrive() {
    let kills: u64 =
        std::env::var("EARNEST_GATEWAY_KILLS").map_or(8, |kills| kills.parse().expect("a number"));
    let stage = Stage::new("crash-random");
    for kill in 0..kills {
        let lab = stage.lab(None);
        let wait = Duration::from_millis(40 + kill * 37 % 400);
        std::thread::scope(|scope| {
            let load = scope.spawn(|| stage.load(&lab, 5_000, 32));
            std::thread::sleep(wait);
            lab.kill();
            load.join().expect("no panic");
        });
        drop(lab);
        if kill % 10 == 9 || kill + 1 == kills {
            let lab = stage.lab(None);
            settle(&stage.folder);
            stage.audit(&lab, u128::from(kill) + 2);
        }
    }
    let lab = stage.lab(None);
    settle(&stage.folder);
    let unpaid = stage.audit(&lab, u128::from(kills) + 1);
    let answered = stage.hands.lock().expect("no panic").len();
    println!("{kills} kills, {answered} answers begun, {unpaid} served and forgotten");
}
