//! A real node that does what real nodes do: blocks that take their time, transactions that nobody includes, blocks
//! that are taken back, two processes with one key, a process that is killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use earnest_chain::key::Key;
use serde_json::{Value, json};

use crate::anvil::{Anvil, ask, post};
use crate::{folder, root, said};

/// A node that mines when the test says so, or every fifth of a second while `mining`.
struct Node {
    anvil: Anvil,
    mining: Arc<Mutex<bool>>,
    folder: PathBuf,
}

fn address(name: &str) -> String {
    Key::from_words(&format!("earnest dev {name}")).address().to_string()
}

impl Node {
    fn start(name: &str) -> Option<Self> {
        let Ok(binary) = std::env::var("EARNEST_ANVIL") else {
            println!("skipped: EARNEST_ANVIL does not name an anvil; cargo xtask test does");
            return None;
        };
        let anvil = Anvil::start(&binary, &["--no-mining"]);
        for name in ["deployer", "issuer", "attester", "certifier", "alice", "bob", "carol"] {
            ask(&anvil.1, "anvil_setBalance", json!([address(name), "0x8ac7230489e80000"]));
        }
        let mining = Arc::new(Mutex::new(false));
        let (url, on) = (anvil.1.clone(), Arc::downgrade(&mining));
        std::thread::spawn(move || {
            while let Some(on) = on.upgrade() {
                // Held while a block is made, so that whoever switches it off knows that the last one is done.
                let mines = on.lock().expect("no panic holds it");
                if *mines {
                    ask(&url, "anvil_mine", json!([1]));
                }
                drop(mines);
                drop(on);
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        let folder = folder(name);
        let plan = std::fs::read_to_string(root().join("examples/plans/quickstart.toml")).expect("the plan");
        let plan = plan.replace("soft_cap = \"100_000 cash\"", "soft_cap = \"1 cash\"");
        std::fs::write(folder.join("plan.toml"), plan).expect("a plan");
        std::fs::write(folder.join("evidence"), "it runs").expect("a file");
        Some(Node { anvil, mining, folder })
    }

    fn ask(&self, method: &str, params: Value) -> Value {
        ask(&self.anvil.1, method, params)
    }

    fn mine(&self, blocks: u64) {
        self.ask("anvil_mine", json!([blocks]));
    }

    fn set_mining(&self, on: bool) {
        *self.mining.lock().expect("no panic holds it") = on;
    }

    /// `EARNEST_RPC` is only read by `deploy`.
    fn command(&self, args: &[&str], env: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_earnest"));
        command.args(args).current_dir(&self.folder).env("EARNEST_RPC", &self.anvil.1);
        command.envs(env.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn start_running(&self, args: &[&str], env: &[(&str, &str)]) -> Child {
        self.command(args, env).spawn().expect("earnest starts")
    }

    /// What it printed, on stdout or, where it failed, on stderr.
    fn finish(child: Child) -> Result<String, String> {
        let output = child.wait_with_output().expect("it ends");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() { Ok(out.into_owned()) } else { Err(err.into_owned()) }
    }

    fn said(&self, args: &[&str]) -> String {
        let child = self.start_running(args, &[("EARNEST_CONFIRMATIONS", "3")]);
        Self::finish(child).unwrap_or_else(|error| panic!("{args:?}: {error}"))
    }

    fn refused(&self, args: &[&str], env: &[(&str, &str)]) -> String {
        Self::finish(self.start_running(args, env)).expect_err("it is refused")
    }

    fn nonce(&self, name: &str, when: &str) -> u64 {
        number(&self.ask("eth_getTransactionCount", json!([address(name), when])))
    }

    fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < Duration::from_secs(120), "waited too long until {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The pending transaction of a name.
    fn pending(&self, name: &str) -> Option<Value> {
        let pool = self.ask("txpool_content", json!([]));
        let of =
            &pool["pending"].as_object()?.iter().find(|(of, _)| of.eq_ignore_ascii_case(&address(name)))?.1;
        Some(of.as_object()?.values().next()?.clone())
    }

    fn deployment(&self, state: &str) -> Value {
        let text = std::fs::read_to_string(self.folder.join(state).join("deployment.json"));
        serde_json::from_str(&text.expect("a deployment")).expect("JSON")
    }
}

fn number(hex: &Value) -> u64 {
    let digits = hex.as_str().expect("hex").trim_start_matches("0x").trim_start_matches('0');
    if digits.is_empty() { 0 } else { u64::from_str_radix(digits, 16).expect("hex") }
}

const DEPLOY: [&str; 4] = ["deploy", "plan.toml", "--as", "deployer"];

#[test]
fn a_deployment_killed_after_any_step_goes_on_and_sends_nothing_twice() {
    let Some(node) = Node::start("killed") else { return };
    let shown: Value =
        serde_json::from_str(&node.said(&[&DEPLOY[..], &["--dry-run", "--json"]].concat())).expect("JSON");
    let steps = shown["steps"].as_array().expect("steps");
    assert_eq!(node.nonce("deployer", "pending"), 0, "a dry run sends nothing");
    assert!(shown["cost_ether"].as_str().expect("a cost").starts_with("0.0"), "{shown}");

    let mut killed = 0;
    for sent in 1..=steps.len() as u64 {
        let mut child = node.start_running(&DEPLOY, &[]);
        if sent > 1 && sent % 2 == 1 {
            // The step before is still on its way: the new run must wait for it, not send it again.
            std::thread::sleep(Duration::from_millis(600));
            assert_eq!(node.nonce("deployer", "pending"), sent - 1);
            node.mine(1);
        }
        node.until("the next step is on its way", || node.nonce("deployer", "pending") == sent);
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        killed += 1;
        assert!(!node.folder.join(".earnest/deployment.json").exists());
        if sent % 2 == 1 {
            node.mine(1);
        }
    }
    node.mine(1);
    let before = node.nonce("deployer", "latest");
    assert_eq!((before, killed), (steps.len() as u64, steps.len()));
    node.said(&DEPLOY);
    // Another machine finds the same, and where it begins.
    node.said(&[&DEPLOY[..], &["--state", "other"]].concat());
    assert_eq!(node.nonce("deployer", "pending"), before, "nothing was left to send");
    let (here, there) = (node.deployment(".earnest"), node.deployment("other"));
    assert_eq!(here, there);
    let first = here["block"].as_u64().expect("a block");
    assert!((1..=3).contains(&first), "{first}");
    for step in steps {
        assert_eq!(step["stands"], false);
    }
}

#[test]
fn a_deployment_that_cannot_end_well_does_not_begin() {
    let Some(node) = Node::start("refused") else { return };
    let poor = node.refused(&["deploy", "plan.toml", "--as", "nobody"], &[]);
    assert!(poor.contains("ether are missing"), "{poor}");
    let dear = node.refused(&[&DEPLOY[..], &["--max-fee-gwei", "0.000000001"]].concat(), &[]);
    assert!(dear.contains("raise --max-fee-gwei"), "{dear}");
    let shown = node.said(&[&DEPLOY[..], &["--salt", "7", "--dry-run", "--json"]].concat());
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    let credit = shown["steps"].as_array().expect("steps").iter().find(|step| step["name"] == "credit");
    node.ask("anvil_setCode", json!([credit.expect("a credit")["address"], "0x6001"]));
    let foreign = node.refused(&[&DEPLOY[..], &["--salt", "7"]].concat(), &[]);
    assert!(foreign.contains("other code"), "{foreign}");
    assert_eq!(node.nonce("deployer", "pending"), 0);
    ask(&node.anvil.1, "anvil_setChainId", json!([10]));
    let roles = node.refused(&["deploy", "plan.toml", "--key-file", "evidence"], &[]);
    assert!(roles.contains("[roles]") && roles.contains("hint: write"), "{roles}");
}

#[test]
fn transactions_are_followed_through_dear_blocks_taken_nonces_and_rivals() {
    let Some(node) = Node::start("followed") else { return };
    node.set_mining(true);
    node.said(&DEPLOY);
    let faucet = ["faucet", "alice", "1 cash", "--as", "deployer"];

    // Two and more processes with one key at once.
    let running: Vec<Child> = (0..4).map(|_| node.start_running(&faucet, &[])).collect();
    for child in running {
        Node::finish(child).expect("every one goes through");
    }
    let of_alice = format!("0x70a08231{:0>64}", address("alice")[2..].to_lowercase());
    let cash = &node.deployment(".earnest")["contracts"]["cash"];
    let balance = node.ask("eth_call", json!([{ "to": cash, "data": of_alice }, "latest"]));
    assert_eq!(number(&balance), 4_000_000, "each of them counted");

    // Nobody includes it: more is offered, and the newest version goes through.
    node.set_mining(false);
    let child = node.start_running(&faucet, &[("EARNEST_BUMP_SECS", "1")]);
    let fee = |key: &str| node.pending("deployer").map(|pending| number(&pending[key]));
    node.until("it is on its way", || fee("maxFeePerGas").is_some());
    let keys = ["maxFeePerGas", "maxPriorityFeePerGas"];
    let first = keys.map(|key| fee(key).expect("pending"));
    node.until("more is offered, twice", || fee("maxFeePerGas").is_some_and(|now| now > first[0] * 5 / 4));
    for (key, first) in keys.into_iter().zip(first) {
        let now = fee(key).expect("pending");
        assert!(now * 64 >= first * 81, "{key}: {first}, then {now}");
    }
    node.mine(1);
    Node::finish(child).expect("the newest version went through");

    // Nobody ever includes it.
    let stuck = node.refused(&faucet, &[("EARNEST_PATIENCE_SECS", "2")]);
    assert!(stuck.contains("is in no block after 2 s") && stuck.contains("nonce 13"), "{stuck}");
    node.ask("anvil_dropAllTransactions", json!([]));

    // Another transaction takes the nonce.
    let child = node.start_running(&faucet, &[]);
    node.until("it is on its way", || node.pending("deployer").is_some());
    node.ask("anvil_dropAllTransactions", json!([]));
    node.ask("anvil_setNonce", json!([address("deployer"), "0xe"]));
    let replaced = Node::finish(child).expect_err("it can never be included");
    assert!(replaced.contains("took nonce 13"), "{replaced}");

    // Both would go through, and only one can: the other says why it failed.
    node.said_while_mining(&["clock", "--forward", "30 days"]);
    let clear = |who| node.start_running(&["offering", "clear", "early", "--as", who], &[]);
    let (alice, bob) = loop {
        let mut both = [clear("alice"), clear("bob")];
        let mut ended = false;
        node.until("both are on their way, or one has ended", || {
            ended = both.iter_mut().any(|child| child.try_wait().expect("a child").is_some());
            ended || (node.pending("alice").is_some() && node.pending("bob").is_some())
        });
        if !ended {
            let [alice, bob] = both;
            break (alice, bob);
        }
        // One was tried out when the other's was on its way already, and was not sent: they start again.
        for mut child in both {
            let _ = child.kill();
            let _ = child.wait();
        }
        node.ask("anvil_dropAllTransactions", json!([]));
    };
    node.mine(1);
    let results = [Node::finish(alice), Node::finish(bob)];
    let failed: Vec<&String> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert!(failed.len() == 1 && failed[0].contains("failed in block"), "{results:?}");
    assert!(failed[0].contains("AlreadyCleared") || failed[0].contains("Cleared"), "{results:?}");
}

impl Node {
    fn said_while_mining(&self, args: &[&str]) -> String {
        self.set_mining(true);
        let said = self.said(args);
        self.set_mining(false);
        said
    }
}

/// A way to the node on which every third request goes wrong: told to come back, lost on the way there, or its answer
/// lost on the way back.
fn bad_way(node: &Node) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let to = node.anvil.1.clone();
    std::thread::spawn(move || {
        let mut count = 0;
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            let (mut line, mut length) = (String::new(), 0);
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                if let Some(text) = line.to_lowercase().strip_prefix("content-length:") {
                    length = text.trim().parse().expect("a number");
                }
                line.clear();
            }
            let mut body = vec![0; length];
            if reader.read_exact(&mut body).is_err() {
                continue;
            }
            count += 1;
            if count % 9 == 3 {
                continue;
            }
            let body: Value = serde_json::from_slice(&body).expect("JSON");
            let (status, answer) = match count % 9 {
                6 => ("429 Too Many Requests", json!({})),
                _ => ("200 OK", post(&to, "/", &body)),
            };
            if count % 9 == 0 {
                continue;
            }
            let answer = answer.to_string();
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}",
                answer.len()
            );
            let _ = write!(reader.into_inner(), "{head}\r\nConnection: close\r\n\r\n{answer}");
        }
    });
    url
}

#[test]
fn on_a_bad_way_to_the_node_everything_arrives_once() {
    let Some(node) = Node::start("bad-way") else { return };
    node.set_mining(true);
    let url = bad_way(&node);
    node.said(&[&DEPLOY[..], &["--rpc", &url]].concat());
    let steps = node.nonce("deployer", "latest");
    assert_eq!(steps, 8);
    for _ in 0..6 {
        node.said(&["faucet", "alice", "1 cash", "--as", "deployer"]);
    }
    assert_eq!(node.nonce("deployer", "latest"), steps + 6);
}

/// A service that runs as long as this lives.
struct Served(Child, String);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Node {
    fn serve_permits(&self) -> Served {
        let rules = root().join("examples/attester/open.toml").display().to_string();
        let args = ["attester", "--rules", &rules, "--as", "attester", "--listen", "127.0.0.1:0"];
        let mut child = self.start_running(&args, &[]);
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
        Served(child, line.trim().to_string())
    }
}

#[test]
fn a_wallet_gets_its_permit_over_http_and_bids_with_it() {
    let Some(node) = Node::start("attester") else { return };
    node.set_mining(true);
    node.said(&DEPLOY);
    let served = node.serve_permits();
    let alice = Key::from_words("earnest dev alice");
    let challenge = post(&served.1, "/challenge", &json!({ "wallet": alice.address() }));
    let message = challenge["message"].as_str().expect("a message");
    let signature = alice.sign(alloy_primitives::eip191_hash_message(message));
    let question =
        json!({ "wallet": alice.address(), "round": "early", "message": message, "signature": signature });
    let permit = post(&served.1, "/permit", &question);
    std::fs::write(node.folder.join("permit"), permit.to_string()).expect("a file");
    assert_eq!(post(&served.1, "/permit", &question)["code"], "replayed");
    node.said(&["clock", "--forward", "1 day"]);
    node.said(&["faucet", "alice", "500 cash", "--as", "deployer"]);
    node.said(&["offering", "bid", "--permit", "permit", "--cash", "500 cash", "--as", "alice"]);

    let log = ["attester", "verify-log", ".earnest/attester.jsonl"];
    assert!(node.said(&log).starts_with("2 lines fit together: 1 permits, 0 refusals"));
    drop(served);
    let file = node.folder.join(".earnest/attester.jsonl");
    let text = std::fs::read_to_string(&file).expect("the log");
    std::fs::write(&file, text.replacen("31337", "31338", 1)).expect("changed");
    let said = node.refused(&log, &[]);
    assert!(said.contains("attester.jsonl:2: it does not carry the hash"), "{said}");
}

fn sign(node: &Node, name: &str, entity: &str) {
    let args =
        ["permit", "sign", "--as", "attester", "--round", "auction", "--wallet", name, "--entity", entity];
    std::fs::write(node.folder.join(name), node.said(&args)).expect("a file");
}

#[test]
fn a_raise_with_an_auction_is_delivered_across_a_reorganisation_of_ten_blocks() {
    let Some(node) = Node::start("reorganised") else { return };
    node.set_mining(true);
    node.said(&DEPLOY);
    node.said(&["clock", "--forward", "31 days"]);
    for (entity, (name, limit)) in
        [("alice", "0.80"), ("bob", "0.75"), ("carol", "0.70")].into_iter().enumerate()
    {
        node.said(&["faucet", name, "5_000 cash", "--as", "deployer"]);
        sign(&node, name, &(entity + 1).to_string());
        let limit = format!("{limit} cash per credit");
        node.said(&[
            "offering",
            "bid",
            "--permit",
            name,
            "--cash",
            "5_000 cash",
            "--limit",
            &limit,
            "--as",
            name,
        ]);
    }
    node.said(&["clock", "--forward", "15 days"]);
    node.mine(10);

    let before = node.nonce("bob", "latest");
    let clearing = node.start_running(
        &["offering", "clear", "auction", "--steps", "1", "--as", "bob"],
        &[("EARNEST_CONFIRMATIONS", "3")],
    );
    node.until("clearing is under way", || node.nonce("bob", "latest") >= before + 2);
    node.set_mining(false);
    let head = number(&node.ask("eth_blockNumber", json!([])));
    node.ask("anvil_reorg", json!([10, []]));
    assert!(number(&node.ask("eth_blockNumber", json!([]))) <= head);
    assert!(node.nonce("bob", "latest") <= before, "the reorganisation took the clearing back");
    node.set_mining(true);
    Node::finish(clearing).expect("clearing goes on");
    let status: Value = serde_json::from_str(&node.said(&["status", "--json"])).expect("JSON");
    assert!(status.to_string().to_lowercase().contains("cleared"), "{status}");

    for entity in 1..=3 {
        node.said(&["offering", "settle", &format!("1/{entity}"), "--as", "bob"]);
    }
    node.said(&["offering", "sweep", "auction", "--as", "bob"]);
    node.said(&["offering", "attest", "live", "--evidence", "evidence", "--as", "certifier"]);
    node.said(&["clock", "--forward", "184 days"]);
    node.said(&["position", "deliver", "1/1", "--as", "alice"]);
    let shown: Value =
        serde_json::from_str(&node.said(&["position", "show", "1/1", "--json"])).expect("JSON");
    assert_eq!(shown["credits"], shown["delivered"]);
    assert!(shown["credits"].as_str().expect("an amount").starts_with("8333.33"), "{shown}");
    audit(&node.folder);
}

/// Here `earnest audit` reads the chain back and finds no difference.
fn audit(folder: &Path) {
    let report = said(folder, &["audit", "--storage"]);
    assert!(report.starts_with("match"), "{report}");
}
