//! `earnest up`: other commands beside it, and being killed in the middle of everything.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use alloy_primitives::{Address, U256};
use earnest_chain::chain::Chain;
use earnest_chain::key::Key;
use earnest_chain::rpc::Rpc;
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

/// Sends one transfer after the other, until the node is gone; the hashes that were acknowledged.
fn send_until_killed(address: &str, key: &Key) -> Vec<String> {
    use alloy_consensus::TxEip1559;
    use alloy_eips::eip2718::Encodable2718;
    let mut acknowledged = Vec::new();
    let Ok(mut stream) = TcpStream::connect(address) else { return acknowledged };
    let count = request("eth_getTransactionCount", json!([key.address(), "latest"]));
    let Some(answer) = ask(&mut stream, &count) else { return acknowledged };
    for nonce in number(&answer["result"]).. {
        let transaction = TxEip1559 {
            chain_id: 31_337,
            nonce,
            gas_limit: 21_000,
            to: Address::repeat_byte(0x77).into(),
            value: U256::ONE,
            ..TxEip1559::default()
        };
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
    let keys: Vec<Key> = (0..8).map(|index| Key::from_words(&format!("sender {index}"))).collect();
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
        if kill == kills {
            break;
        }
        let acknowledged = Mutex::new(Vec::new());
        std::thread::scope(|threads| {
            for key in &keys {
                let (address, acknowledged) = (up.address().to_string(), &acknowledged);
                threads.spawn(move || {
                    let hashes = send_until_killed(&address, key);
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
    let header = chain.header(head).expect("an answer").expect("a block");
    let before = chain.header(head - 1).expect("an answer").expect("a block");
    assert_eq!(header.parent, before.hash);

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
