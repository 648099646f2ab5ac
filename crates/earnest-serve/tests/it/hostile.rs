//! Forged names, other people's pages, and clients that are slow, large or deep.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{Server, quick};

const CALL: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn only_our_names_and_our_pages_are_answered() {
    let server = Server::start("names").await;
    let port = server.address.rsplit(':').next().expect("a port");
    for (headers, status) in [
        (String::new(), 200),
        (format!("Host: localhost:{port}\r\n"), 200),
        (format!("Host: [::1]:{port}\r\n"), 200),
        ("Host: earnest.example\r\n".into(), 200),
        ("Host: evil.example\r\n".into(), 403),
        (format!("Host: rebound.evil.example:{port}\r\n"), 403),
        ("Host: localhost:1\r\n".into(), 403),
        (format!("Host: localhost:{port}\r\nHost: evil.example\r\n"), 403),
        (format!("Origin: http://localhost:{port}\r\n"), 200),
        ("Origin: https://earnest.example\r\n".into(), 200),
        ("Origin: chrome-extension://nkbihfbeogaeaoehlefnkodbefgpgknn\r\n".into(), 200),
        ("Origin: moz-extension://2a5c1e1f\r\n".into(), 200),
        ("Origin: https://evil.example\r\n".into(), 403),
        ("Origin: http://localhost:1\r\n".into(), 403),
        ("Origin: null\r\n".into(), 403),
    ] {
        assert_eq!(server.post(&headers, CALL).await.0, status, "{headers}");
    }
    // No Host at all, as HTTP/1.0 allows.
    assert!(server.raw(b"GET / HTTP/1.0\r\n\r\n").await.contains(" 403 "));
    // The same for WebSockets, which no browser guards.
    let upgrade = |origin: &str| {
        format!(
            "GET / HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: {origin}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
    };
    assert!(server.raw(upgrade("https://evil.example").as_bytes()).await.contains(" 403 "));
    let mut socket = TcpStream::connect(&server.address).await.expect("connects");
    socket.write_all(upgrade(&format!("http://localhost:{port}")).as_bytes()).await.expect("sent");
    let mut first = [0; 12];
    socket.read_exact(&mut first).await.expect("an answer");
    assert_eq!(&first, b"HTTP/1.1 101");
    // A page that asks before it asks.
    let ask = |origin: &str| {
        format!(
            "OPTIONS / HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: POST\r\nConnection: close\r\n\r\n"
        )
    };
    let allowed = server.raw(ask("https://earnest.example").as_bytes()).await;
    assert!(
        allowed.contains(" 204 ") && allowed.contains("access-control-allow-origin: https://earnest.example"),
        "{allowed}"
    );
    assert!(server.raw(ask("https://evil.example").as_bytes()).await.contains(" 403 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn large_deep_and_many_are_refused() {
    let server = Server::start("sizes").await;
    // By its length, and by its bytes where none is told.
    let claimed = format!("POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: 99999999\r\n\r\n", server.address);
    assert!(server.raw(claimed.as_bytes()).await.contains(" 413 "));
    let mut chunked =
        format!("POST / HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n", server.address)
            .into_bytes();
    for _ in 0..6 {
        chunked.extend(format!("{:x}\r\n", 1 << 20).bytes());
        chunked.extend(vec![b' '; 1 << 20]);
        chunked.extend(b"\r\n");
    }
    assert!(server.raw(&chunked).await.contains(" 413 "));
    let long = format!("GET / HTTP/1.1\r\nHost: {}\r\nX: {}\r\n\r\n", server.address, "x".repeat(100_000));
    // Closed with bytes unread, the connection may be gone before the answer is there.
    let answer = server.raw(long.as_bytes()).await;
    assert!(answer.is_empty() || answer.contains(" 431 "), "{answer}");
    let many = format!("GET / HTTP/1.1\r\nHost: {}\r\n{}\r\n", server.address, "X: y\r\n".repeat(200));
    assert!(server.raw(many.as_bytes()).await.contains(" 431 "));

    for deep in ["[".repeat(1_000_000), "{\"a\":".repeat(500_000)] {
        assert_eq!(server.asks(&deep).await["error"]["code"], -32_700);
    }
    let call = std::str::from_utf8(CALL).expect("text");
    let batch = |count: usize| format!("[{}]", vec![call; count].join(","));
    assert_eq!(server.asks(&batch(1_000)).await.as_array().map(Vec::len), Some(1_000));
    let refused = server.asks(&batch(1_001)).await;
    assert_eq!(refused["error"]["code"], -32_600, "{refused}");
    // Filters that nobody takes back.
    for _ in 0..1_000 {
        server.call("eth_newFilter", json!([{}])).await;
    }
    assert!(server.refusal("eth_newFilter", json!([{}])).await.1.contains("no more can be made"));
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_let_go_and_hold_up_nobody() {
    let server = Server::within("slowness", quick()).await;
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(&server.address).await.expect("connects");
        stream.write_all(b"POST / HTTP/1.1\r\nHo").await.expect("sent");
        slow.push(stream);
        // Says nothing at all.
        slow.push(TcpStream::connect(&server.address).await.expect("connects"));
    }
    let mut body = TcpStream::connect(&server.address).await.expect("connects");
    let head = format!("POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: 100\r\n\r\n{{", server.address);
    body.write_all(head.as_bytes()).await.expect("sent");
    // Kept open after an answer, and then silent.
    let mut idle = TcpStream::connect(&server.address).await.expect("connects");
    let head = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    idle.write_all(head.as_bytes()).await.expect("sent");

    let start = Instant::now();
    server.call("eth_blockNumber", json!([])).await;
    assert!(start.elapsed() < Duration::from_millis(500));

    let ends = async |stream: &mut TcpStream| {
        let mut answer = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(9), stream.read_to_end(&mut answer)).await;
        assert!(end.is_ok(), "it was never let go");
        String::from_utf8_lossy(&answer).into_owned()
    };
    for stream in &mut slow {
        ends(stream).await;
    }
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert!(ends(&mut idle).await.contains("a page"));
    assert!(ends(&mut body).await.contains(" 408 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_connections_than_allowed_are_served_at_once() {
    let limits = earnest_serve::server::Limits { connections: 4, ..quick() };
    let server = Server::within("connections", limits).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(TcpStream::connect(&server.address).await.expect("connects"));
    }
    // It waits until one of the silent is let go, and is served then.
    let start = Instant::now();
    server.call("eth_blockNumber", json!([])).await;
    assert!(start.elapsed() > Duration::from_millis(200), "{:?}", start.elapsed());
}
