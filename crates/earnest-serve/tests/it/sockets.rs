//! WebSockets: subscriptions, a thousand idle ones, and one that never reads.

use std::time::{Duration, Instant};

use alloy_primitives::TxKind;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::{NOBODY, Server, fresh_key, shouter, signed};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(server: &Server) -> Socket {
    connect_async(format!("ws://{}/", server.address)).await.expect("connects").0
}

async fn says(socket: &mut Socket, method: &str, params: Value) {
    let body = json!({"jsonrpc": "2.0", "id": method, "method": method, "params": params});
    socket.send(Message::text(body.to_string())).await.expect("sent");
}

async fn hears(socket: &mut Socket) -> Value {
    loop {
        let message = tokio::time::timeout(Duration::from_secs(10), socket.next()).await;
        match message.expect("in time").expect("open").expect("a message") {
            Message::Text(text) => return serde_json::from_str(&text).expect("JSON"),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other}"),
        }
    }
}

/// The answer to what was said. A block may be told late: after whoever asked for its receipt has it.
async fn answers(socket: &mut Socket) -> Value {
    loop {
        let heard = hears(socket).await;
        if heard["method"] != "eth_subscription" {
            return heard;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_hears_of_blocks_and_logs_until_it_unsubscribes() {
    let server = Server::start("subscriptions").await;
    let key = fresh_key();
    let hash =
        server.call("eth_sendRawTransaction", json!([signed(&key, 0, TxKind::Create, shouter())])).await;
    let at = server.call("eth_getTransactionReceipt", json!([hash])).await["contractAddress"].clone();
    let mut socket = connect(&server).await;
    says(&mut socket, "eth_chainId", json!([])).await;
    assert_eq!(answers(&mut socket).await["result"], "0x7a69");
    says(&mut socket, "eth_subscribe", json!(["newHeads"])).await;
    let heads = answers(&mut socket).await["result"].clone();
    says(&mut socket, "eth_subscribe", json!(["logs", {"address": at}])).await;
    let logs = answers(&mut socket).await["result"].clone();
    says(&mut socket, "eth_subscribe", json!(["logs", {"address": NOBODY}])).await;
    answers(&mut socket).await;
    says(&mut socket, "eth_subscribe", json!(["syncing"])).await;
    assert_eq!(answers(&mut socket).await["error"]["code"], -32_602);

    let to = TxKind::Call(at.as_str().expect("an address").parse().expect("one"));
    let hash = server.call("eth_sendRawTransaction", json!([signed(&key, 1, to, Default::default())])).await;
    let mut head = hears(&mut socket).await["params"].clone();
    if head["result"]["number"] == "0x1" {
        head = hears(&mut socket).await["params"].clone();
    }
    assert_eq!((&head["subscription"], &head["result"]["number"]), (&heads, &json!("0x2")));
    let log = hears(&mut socket).await["params"].clone();
    assert_eq!((&log["subscription"], &log["result"]["transactionHash"]), (&logs, &hash));

    says(&mut socket, "eth_unsubscribe", json!([heads])).await;
    assert_eq!(hears(&mut socket).await["result"], true);
    says(&mut socket, "eth_unsubscribe", json!([heads])).await;
    assert_eq!(hears(&mut socket).await["result"], false);
    server.call("evm_mine", json!([])).await;
    says(&mut socket, "eth_blockNumber", json!([])).await;
    assert_eq!(hears(&mut socket).await["result"], "0x3");
    socket.send(Message::text("{")).await.expect("sent");
    assert_eq!(hears(&mut socket).await["error"]["code"], -32_700);
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_may_come_out_of_order_on_one_socket() {
    let server = Server::start("pipelined").await;
    let (key, mut socket) = (fresh_key(), connect(&server).await);
    for nonce in (0..30).rev() {
        let raw = signed(&key, nonce, TxKind::Call(NOBODY), Default::default());
        says(&mut socket, "eth_sendRawTransaction", json!([raw])).await;
    }
    for _ in 0..30 {
        let answer = hears(&mut socket).await;
        assert!(answer["result"].is_string(), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_idle_sockets_are_harmless() {
    earnest_serve::server::raise_file_limit();
    let server = Server::start("idle").await;
    let mut sockets = Vec::new();
    for _ in 0..1_000 {
        sockets.push(connect(&server).await);
    }
    let mut slowest = Duration::ZERO;
    for _ in 0..50 {
        let start = Instant::now();
        server.call("eth_blockNumber", json!([])).await;
        slowest = slowest.max(start.elapsed());
    }
    println!("slowest of 50 answers beside 1,000 sockets: {slowest:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    // All of them are still served.
    for socket in sockets.iter_mut().step_by(100) {
        says(socket, "eth_chainId", json!([])).await;
        assert_eq!(hears(socket).await["result"], "0x7a69");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_never_reads_is_dropped_and_holds_up_nobody() {
    let server = Server::start("slow").await;
    let mut slow = connect(&server).await;
    for _ in 0..100 {
        says(&mut slow, "eth_subscribe", json!(["newHeads"])).await;
        hears(&mut slow).await;
    }
    let start = Instant::now();
    // 100 heads of 2 KB for every block: 60 MB that nobody reads.
    server.call("anvil_mine", json!([300])).await;
    let mined = start.elapsed();
    assert!(mined < Duration::from_secs(5), "{mined:?}");
    tokio::time::sleep(Duration::from_secs(8)).await;
    // What was in the pipe is still there, and then the end.
    let mut read = 0;
    let next = async |slow: &mut Socket| {
        tokio::time::timeout(Duration::from_secs(5), slow.next()).await.expect("closed by now")
    };
    while let Some(Ok(_)) = next(&mut slow).await {
        read += 1;
    }
    assert!(read < 30_000, "everything was kept for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_closes_the_socket() {
    let server = Server::start("large").await;
    let mut socket = connect(&server).await;
    let _ = socket.send(Message::text(" ".repeat(5 << 20))).await;
    let end = tokio::time::timeout(Duration::from_secs(5), async {
        while let Some(Ok(message)) = socket.next().await {
            assert!(!message.is_text(), "it was answered");
        }
    });
    end.await.expect("closed");
    assert_eq!(server.call("eth_blockNumber", json!([])).await, "0x0");
}
