//! The services over real sockets: JSON-RPC as wallets speak it, the attester, and what hostile clients try.

mod attester;
mod attester_hook;
mod attester_rules;
mod echo;
mod gateway;
mod hostile;
mod methods;
mod parsers;
mod provider;
mod provider_hostile;
mod sockets;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alloy_consensus::TxEip1559;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, Bytes, TxKind, hex};
use axum::Router;
use axum::routing::get;
use earnest_chain::embedded::DEV_CHAIN_ID;
use earnest_chain::key::Key;
use earnest_chain::node::Node;
use earnest_serve::guard::Guard;
use earnest_serve::rpc;
use earnest_serve::server::{Limits, serve_within};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// When every chain starts.
pub(crate) const START: u64 = 1_788_134_400;

/// A server that stops with the test.
pub(crate) struct Server {
    pub(crate) node: Arc<Node>,
    pub(crate) address: String,
}

pub(crate) fn quick() -> Limits {
    Limits {
        headers: Duration::from_millis(500),
        request: Duration::from_secs(4),
        connection: Duration::from_secs(6),
        ..Limits::default()
    }
}

impl Server {
    pub(crate) async fn start(name: &str) -> Self {
        Self::within(name, Limits::default()).await
    }

    pub(crate) async fn within(name: &str, limits: Limits) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.log"));
        let _ = std::fs::remove_file(&path);
        let node = Arc::new(Node::open(&path, DEV_CHAIN_ID, START).expect("a new chain"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it").to_string();
        let guard = Guard::new(listener.local_addr().expect("it").port(), &["earnest.example".into()]);
        let app = rpc::router(node.clone(), Router::new().route("/", get(|| async { "a page" })));
        tokio::spawn(serve_within(limits, listener, app, guard, std::future::pending()));
        Server { node, address }
    }

    /// Sends bytes and reads until the server closes, or for a while.
    pub(crate) async fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).await.expect("connects");
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// POSTs a body with further headers; status and body.
    pub(crate) async fn post(&self, headers: &str, body: &[u8]) -> (u16, String) {
        let host =
            if headers.starts_with("Host:") { String::new() } else { format!("Host: {}\r\n", self.address) };
        let head = format!(
            "POST / HTTP/1.1\r\n{host}{headers}Connection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let answer = self.raw(&[head.as_bytes(), body].concat()).await;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status, body.to_string())
    }

    /// What a body of JSON-RPC is answered.
    pub(crate) async fn asks(&self, body: &str) -> Value {
        let (status, answer) = self.post("", body.as_bytes()).await;
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    /// The result of a method.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Value {
        let answer = self.answer(method, params).await;
        answer.get("result").unwrap_or_else(|| panic!("{method}: {answer}")).clone()
    }

    /// The error of a method: code and message.
    pub(crate) async fn refusal(&self, method: &str, params: Value) -> (i64, String) {
        let answer = self.answer(method, params).await;
        let error = answer.get("error").unwrap_or_else(|| panic!("{method} went through: {answer}"));
        (error["code"].as_i64().expect("a code"), error["message"].as_str().expect("words").to_string())
    }

    pub(crate) async fn answer(&self, method: &str, params: Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": "x", "method": method, "params": params}).to_string();
        let answer = self.asks(&body).await;
        assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!("x")));
        answer
    }
}

/// A signed transaction in hex.
pub(crate) fn signed(key: &Key, nonce: u64, to: TxKind, input: Bytes) -> String {
    let transaction = TxEip1559 {
        chain_id: DEV_CHAIN_ID,
        nonce,
        gas_limit: 200_000,
        max_fee_per_gas: 10,
        max_priority_fee_per_gas: 10,
        to,
        input,
        ..TxEip1559::default()
    };
    hex::encode_prefixed(key.sign_transaction(transaction).encoded_2718())
}

/// Code that emits one log with a topic, and returns a word; called with data it reverts with that data.
pub(crate) fn shouter() -> Bytes {
    // CALLDATASIZE PUSH1 revert JUMPI; LOG1(0, 0, 0x07); MSTORE(0, 42); RETURN(0, 32); revert: CALLDATACOPY; REVERT
    let code = hex!("36601557600760005fa1602a5f5260205ff3000000 5b365f5f37365ff3");
    let mut runtime = code.to_vec();
    // The last instruction is REVERT, not RETURN.
    *runtime.last_mut().expect("code") = 0xfd;
    let length = u8::try_from(runtime.len()).expect("short");
    // PUSH1 length DUP1 PUSH1 10 PUSH0 CODECOPY PUSH0 RETURN
    let mut init = vec![0x60, length, 0x80, 0x60, 0x0a, 0x5f, 0x39, 0x5f, 0xf3, 0x00];
    init.extend(runtime);
    init.into()
}

/// A name of its own for each account.
pub(crate) fn fresh_key() -> Key {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    Key::from_words(&format!("test {}", NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// Nobody in particular.
pub(crate) const NOBODY: Address = Address::repeat_byte(0x77);
