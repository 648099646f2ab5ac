use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::{earnest, folder, said};

/// A real node, stopped with the test.
pub(crate) struct Anvil(Child, pub(crate) String);

impl Anvil {
    pub(crate) fn start(binary: &str, more: &[&str]) -> Self {
        let mut child = Command::new(binary)
            .args(["--port", "0", "--timestamp", "1788134400", "--code-size-limit", "24576"])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("anvil starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let line =
            lines.by_ref().find(|line| line.as_ref().is_ok_and(|line| line.starts_with("Listening on ")));
        let address = line.expect("anvil listens").expect("UTF-8").replace("Listening on ", "http://");
        // Someone has to read on, or anvil stops when the pipe is full.
        std::thread::spawn(move || lines.for_each(drop));
        Anvil(child, address)
    }
}

/// Asks over HTTP without any library between.
pub(crate) fn post(url: &str, path: &str, body: &Value) -> Value {
    let address = url.trim_start_matches("http://");
    let body = body.to_string();
    let mut stream = TcpStream::connect(address).expect("it is there");
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .expect("it listens");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (start, end) = (answer.find('{').expect("JSON"), answer.rfind('}').expect("JSON") + 1);
    serde_json::from_str(&answer[start..end]).expect("JSON")
}

/// Asks a node.
pub(crate) fn ask(url: &str, method: &str, params: Value) -> Value {
    let answer = post(url, "/", &json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }));
    assert!(answer.get("error").is_none(), "{method}: {answer}");
    answer["result"].clone()
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// anvil's first account, which has ether.
pub(crate) const RICH: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

pub(crate) const RICH_ADDRESS: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

/// A plan in which one key plays nearly every part: on a real node whoever sends needs ether.
pub(crate) fn rich_plan(folder: &std::path::Path) {
    let plan = std::fs::read_to_string(folder.join("examples/plans/quickstart.toml")).expect("the plan");
    let certifier = earnest_chain::key::Key::from_words("earnest dev certifier").address();
    let roles = format!(
        "[roles]\nissuer = \"{RICH_ADDRESS}\"\nattesters = [\"{RICH_ADDRESS}\"]\ncertifier = \"{certifier}\"\n\n[service]"
    );
    let plan = plan.replace("[service]", &roles);
    let plan = plan.replace("soft_cap = \"100_000 cash\"", "soft_cap = \"1 cash\"");
    std::fs::write(folder.join("plan.toml"), plan).expect("a plan");
}

#[test]
fn the_same_commands_work_on_a_real_node() {
    let Ok(binary) = std::env::var("EARNEST_ANVIL") else {
        println!("skipped: EARNEST_ANVIL does not name an anvil; cargo xtask test does");
        return;
    };
    let anvil = Anvil::start(&binary, &[]);
    let folder = folder("anvil");
    std::fs::write(folder.join("key"), RICH).expect("a file");
    let rich = RICH_ADDRESS;
    let key = ["--key-file", "key"];
    rich_plan(&folder);
    said(&folder, &[&["deploy", "plan.toml", "--rpc", &anvil.1], &key[..]].concat());
    said(&folder, &["clock", "--forward", "30 hours"]);
    let wallet = rich.to_string();
    let sign = ["permit", "sign", "--round", "early", "--wallet", &wallet, "--entity", "1"];
    std::fs::write(folder.join("permit.json"), said(&folder, &[&sign[..], &key[..]].concat()))
        .expect("a file");
    said(&folder, &[&["faucet", &wallet, "5_000 cash"][..], &key[..]].concat());
    said(
        &folder,
        &[&["offering", "bid", "--permit", "permit.json", "--cash", "5_000 cash"], &key[..]].concat(),
    );
    let early = earnest(&folder, &[&["offering", "clear", "early"], &key[..]].concat());
    assert!(String::from_utf8_lossy(&early.stderr).contains("TooEarlyToClear"));
    said(&folder, &["clock", "--forward", "15 days"]);
    for args in
        [&["offering", "clear", "early"][..], &["offering", "settle", "0/1"], &["offering", "sweep", "early"]]
    {
        said(&folder, &[args, &key[..]].concat());
    }
    let shown = said(&folder, &["position", "show", "0/1", "--json"]);
    let position: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!((&position["credits"], &position["paid"]), (&"10000".into(), &"5000".into()));
    assert!(said(&folder, &["treasury", "show"]).contains("5000"));
    assert!(said(&folder, &["status"]).contains("Cleared"));
}
