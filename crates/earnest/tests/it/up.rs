//! `earnest up`: other commands beside it, and being killed in the middle of everything.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use alloy_consensus::TxEip1559;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, U256};
use alloy_sol_types::SolCall;
use earnest_chain::bindings::Offering;
use earnest_chain::chain::Chain;
use earnest_chain::deploy::{Record, approve_cash};
use earnest_chain::key::Key;
use earnest_chain::permit::SignedPermit;
use earnest_chain::rpc::Rpc;
use earnest_chain::story::sol_permit;
use serde_json::{Value, json};

use crate::{earnest, folder, said};

const PLAN: &str = "examples/plans/quickstart.toml";

/// A running `earnest up`, killed with the test.
pub(crate) struct Up {
    child: Child,
    pub(crate) url: String,
}

impl Up {
    pub(crate) fn start(folder: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_earnest"))
            .args(["up", PLAN, "--port", "0"])
            .current_dir(folder)
            .env_remove("EARNEST_STATE")
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(folder.join("up.err")).expect("a file"))
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let line = lines.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("rpc ")));
        let line = line.unwrap_or_else(|| {
            panic!(
                "it does not serve: {}",
                std::fs::read_to_string(folder.join("up.err")).unwrap_or_default()
            )
        });
        let line = line.expect("text");
        Up { child, url: line.split_whitespace().nth(1).expect("a URL").to_string() }
    }

    fn address(&self) -> &str {
        self.url.trim_start_matches("http://").trim_end_matches('/')
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill(); // SIGKILL: no chance to tidy up
        let _ = self.child.wait();
    }
}

/// One call on a connection; none: the node is gone.
fn ask(stream: &mut TcpStream, body: &Value) -> Option<Value> {
    let body = body.to_string();
    let host = stream.peer_addr().ok()?;
    let request = format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    let mut buffer = [0; 16_384];
    loop {
        let read = stream.read(&mut buffer).ok().filter(|&read| read > 0)?;
        answer.extend_from_slice(&buffer[..read]);
        let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
        if answer.len() >= end + 4 + length.parse::<usize>().ok()? {
            return serde_json::from_slice(&answer[end + 4..]).ok();
        }
    }
}

fn request(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

fn number(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().expect("hex").trim_start_matches("0x"), 16).expect("a number")
}

/// A backer who may bid, and where.
struct Bidder {
    key: Key,
    offering: Address,
    permit: SignedPermit,
}

impl Bidder {
    /// The bid after so many transactions: a unit more each time.
    fn bid(&self, nonce: u64) -> TxEip1559 {
        let call = Offering::bidCall {
            permit: sol_permit(&self.permit.permit()),
            signature: self.permit.signature.clone(),
            cash_: U256::from(1_000_000_000 + nonce),
            tick: U256::ZERO,
            schedule: U256::ZERO,
        };
        TxEip1559 {
            chain_id: 31_337,
            nonce,
            gas_limit: 500_000,
            to: self.offering.into(),
            input: call.abi_encode().into(),
            ..TxEip1559::default()
        }
    }
}

/// Backers with cash, an approval and a permit for the first round, which is open.
fn bidders(folder: &Path, up: &Up, count: u64) -> Vec<Bidder> {
    said(folder, &["clock", "--forward", "30 hours"]);
    let text = std::fs::read_to_string(folder.join(".earnest/deployment.json")).expect("the deployment");
    let record: Record = serde_json::from_str(&text).expect("a record");
    let mut chain = Chain::Rpc(Rpc::connect(&up.url).expect("connects"));
    let bidder = |index: u64| {
        let (name, entity) = (format!("bidder-{index}"), (index + 1).to_string());
        said(folder, &["faucet", &name, "50_000 cash"]);
        let sign = [
            "permit", "sign", "--as", "attester", "--round", "early", "--wallet", &name, "--entity", &entity,
        ];
        let permit = serde_json::from_str(&said(folder, &sign)).expect("a permit");
        let key = Key::from_words(&format!("earnest dev {name}"));
        approve_cash(&mut chain, &key, record.contracts.cash, record.contracts.offering).expect("approves");
        Bidder { key, offering: record.contracts.offering, permit }
    };
    (0..count).map(bidder).collect()
}

/// Sends one raise after the other, until the node is gone; the hashes that were acknowledged.
fn send_until_killed(address: &str, bidder: &Bidder) -> Vec<String> {
    let key = &bidder.key;
    let mut acknowledged = Vec::new();
    let Ok(mut stream) = TcpStream::connect(address) else { return acknowledged };
    let count = request("eth_getTransactionCount", json!([key.address(), "latest"]));
    let Some(answer) = ask(&mut stream, &count) else { return acknowledged };
    for nonce in number(&answer["result"]).. {
        let transaction = bidder.bid(nonce);
        let raw = alloy_primitives::hex::encode_prefixed(key.sign_transaction(transaction).encoded_2718());
        match ask(&mut stream, &request("eth_sendRawTransaction", json!([raw]))) {
            Some(answer) => {
                acknowledged.push(answer["result"].as_str().unwrap_or_else(|| panic!("{answer}")).into())
            }
            None => return acknowledged,
        }
    }
    acknowledged
}

#[test]
fn what_was_acknowledged_survives_a_kill_at_any_moment() {
    let kills: u64 = std::env::var("EARNEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(5);
    let folder = folder("kills");
    let bidders = bidders(&folder, &Up::start(&folder), 8);
    let mut all: Vec<String> = Vec::new();
    let mut last_head = 0;
    for kill in 0..=kills {
        let mut up = Up::start(&folder);
        let mut stream = TcpStream::connect(up.address()).expect("connects");
        let head =
            number(&ask(&mut stream, &request("eth_blockNumber", json!([]))).expect("an answer")["result"]);
        assert!(head >= last_head, "the head went back from {last_head} to {head}");
        last_head = head;
        // What the last one acknowledged; in the end, everything.
        let since = if kill == kills { 0 } else { all.len().saturating_sub(500) };
        for hashes in all[since..].chunks(500) {
            let batch: Vec<Value> =
                hashes.iter().map(|hash| request("eth_getTransactionReceipt", json!([hash]))).collect();
            let answers = ask(&mut stream, &json!(batch)).expect("an answer");
            for (hash, answer) in hashes.iter().zip(answers.as_array().expect("one each")) {
                assert_eq!(
                    answer["result"]["status"], "0x1",
                    "kill {kill}: {hash} was acknowledged and is lost"
                );
            }
        }
        let audit = said(&folder, &["audit", "--storage"]);
        assert!(audit.starts_with("match"), "kill {kill}: {audit}");
        if kill == kills {
            break;
        }
        let acknowledged = Mutex::new(Vec::new());
        std::thread::scope(|threads| {
            for bidder in &bidders {
                let (address, acknowledged) = (up.address().to_string(), &acknowledged);
                threads.spawn(move || {
                    let hashes = send_until_killed(&address, bidder);
                    acknowledged.lock().expect("no panic holds it").extend(hashes);
                });
            }
            // From before the first block to the midst of many.
            std::thread::sleep(Duration::from_millis(kill * 37 % 400));
            up.child.kill().expect("killed");
            up.child.wait().expect("gone");
        });
        all.extend(acknowledged.into_inner().expect("no panic holds it"));
    }
    println!("{kills} kills, {} acknowledged transactions, none lost", all.len());
    assert!(all.len() > 50, "only {} transactions were acknowledged", all.len());
}

#[test]
fn a_start_that_is_killed_at_any_moment_goes_on_where_it_was() {
    for round in 0..6u64 {
        let folder = folder(&format!("starts-{round}"));
        for kill in 0..4 {
            let mut child = Command::new(env!("CARGO_BIN_EXE_earnest"))
                .args(["up", PLAN, "--port", "0"])
                .current_dir(&folder)
                .env_remove("EARNEST_STATE")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("it starts");
            std::thread::sleep(Duration::from_millis(5 + round * 9 + kill * 13));
            child.kill().expect("killed");
            child.wait().expect("gone");
        }
        let _up = Up::start(&folder);
        let audit = said(&folder, &["audit", "--storage"]);
        assert!(audit.starts_with("match"), "{audit}");
    }
}

#[test]
fn other_commands_work_beside_it_and_after_it() {
    let folder = folder("beside");
    // Left behind by one that was killed: nobody has the file, and it is not looked at.
    std::fs::create_dir_all(folder.join(".earnest")).expect("a folder");
    std::fs::write(folder.join(".earnest/up.url"), "http://127.0.0.1:9/").expect("a file");
    let up = Up::start(&folder);
    said(&folder, &["faucet", "alice", "1_000 cash"]);
    let before = said(&folder, &["clock"]);
    said(&folder, &["clock", "--forward", "2 days"]);
    assert_ne!(said(&folder, &["clock"]), before);
    assert!(said(&folder, &["status"]).contains("Quickstart"));
    let permit =
        ["permit", "sign", "--as", "attester", "--round", "early", "--wallet", "alice", "--entity", "1"];
    std::fs::write(folder.join("permit.json"), said(&folder, &permit)).expect("a file");
    said(&folder, &["offering", "bid", "--permit", "permit.json", "--cash", "500 cash", "--as", "alice"]);
    let chain = Chain::Rpc(Rpc::connect(&up.url).expect("connects"));
    let head = chain.block().expect("a head");
    assert!(head > 6);

    let second = earnest(&folder, &["up", PLAN, "--port", "0"]);
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use"), "{second:?}");
    drop(up);
    assert!(folder.join(".earnest/up.url").exists(), "it was killed");
    assert!(said(&folder, &["position", "show", "0/1"]).contains("500"));
    let other = earnest(&folder, &["up", "examples/plans/openai-2018.toml", "--port", "0"]);
    assert!(String::from_utf8_lossy(&other.stderr).contains("another plan"), "{other:?}");
}

#[cfg(unix)]
#[test]
fn it_stops_when_told_and_takes_its_url_with_it() {
    let folder = folder("stops");
    let mut up = Up::start(&folder);
    assert!(folder.join(".earnest/up.url").exists());
    let killed = Command::new("kill").arg(up.child.id().to_string()).status().expect("kill");
    assert!(killed.success());
    assert!(up.child.wait().expect("it ends").success());
    assert!(!folder.join(".earnest/up.url").exists());
}
