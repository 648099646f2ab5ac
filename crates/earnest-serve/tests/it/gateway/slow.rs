//! Clients that take their time, and bytes that no HTTP client sends: each costs a socket for a while and nothing more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::response::IntoResponse;
use earnest_serve::server::{Limits, raise_file_limit};
use futures_util::{FutureExt, StreamExt};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use super::lab::*;

/// With 700 ms where production has 60 s or 75 s.
async fn quick(name: &str) -> (Lab, Holder) {
    patient(name, 4 << 20, Duration::from_millis(700)).await
}

/// The same, with room for so many bytes of what is long, and so long for a client that takes nothing.
async fn patient(name: &str, bytes: usize, stall: Duration) -> (Lab, Holder) {
    let limits = Limits { headers: Duration::from_millis(700), stall, ..Limits::for_gateway() };
    let lab = Lab::within(name, limits, |settings| {
        settings.body_time = Duration::from_millis(700);
        settings.bodies = bytes;
    })
    .await;
    let holder = lab.holder("alice", 50_000_000).await;
    (lab, holder)
}

async fn connect(lab: &Lab) -> TcpStream {
    TcpStream::connect(lab.base.trim_start_matches("http://")).await.unwrap()
}

fn head(holder: &Holder, more: &str) -> String {
    let secret = &holder.secret;
    format!("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\n{more}\r\n")
}

/// Writes this at once, and then one byte after the other, until the other side has enough; what it said, and when.
async fn dribble(lab: &Lab, at_once: &str, then: &str) -> (String, Duration) {
    let (began, stream) = (Instant::now(), connect(lab).await);
    let (mut reader, mut writer) = stream.into_split();
    let (at_once, then) = (at_once.to_owned(), then.to_owned());
    let writing = tokio::spawn(async move {
        let _ = writer.write_all(at_once.as_bytes()).await;
        for byte in then.bytes() {
            sleep(Duration::from_millis(50)).await;
            if writer.write_all(&[byte]).await.is_err() {
                return;
            }
        }
        sleep(Duration::from_secs(20)).await;
    });
    let mut all = Vec::new();
    let read = timeout(Duration::from_secs(10), reader.read_to_end(&mut all)).await;
    writing.abort();
    let said = String::from_utf8_lossy(&all).into_owned();
    assert!(read.is_ok(), "it stays open: {said}");
    (said, began.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_dribbles_or_is_silent_is_cut_off() {
    let (lab, holder) = quick("dribble").await;
    let long = "x".repeat(1_000);
    let healthy = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    for (what, at_once, then, status) in [
        ("silence", String::new(), "", ""),
        ("a header that never ends", "GET /healthz HTTP/1.1\r\nHost: x\r\nA: ".into(), long.as_str(), ""),
        ("silence after an answer", healthy.into(), "", "200"),
        ("a second header that never ends", format!("{healthy}GET /healthz HTTP/1.1\r\nA: "), &long, "200"),
        ("a body that never ends", head(&holder, "Content-Length: 1000\r\n"), &long, "408"),
        ("a body that never begins", head(&holder, "Content-Length: 1000\r\n"), "", "408"),
        (
            "a chunk that never ends",
            head(&holder, "Transfer-Encoding: chunked\r\n") + "3e8\r\n",
            &long,
            "408",
        ),
        (
            "an order that never ends",
            "POST /earnest/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n".into(),
            &long,
            "408",
        ),
    ] {
        let (said, took) = dribble(&lab, &at_once, then).await;
        let expected = if status.is_empty() { String::new() } else { format!("HTTP/1.1 {status}") };
        assert!(said.starts_with(&expected) && said.is_empty() == status.is_empty(), "{what}: {said}");
        assert!(took > Duration::from_millis(500) && took < Duration::from_secs(4), "{what}: {took:?}");
    }
    assert_eq!(lab.oracle.count(), 0);
    assert_eq!(lab.charged(&holder.secret).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_reading_is_let_go_of_and_pays_for_what_was_written_out() {
    let (lab, holder) = quick("stalls").await;
    let made = Arc::new(AtomicU64::new(0));
    let counter = made.clone();
    // A hundred megabytes, as fast as they are taken.
    let piece = event("tiny", &format!("word{}", "-".repeat(1_000)));
    let size = piece.len() as u64;
    lab.oracle.answers(move |_| {
        let (counter, piece) = (counter.clone(), piece.clone());
        let pieces = futures_util::stream::iter(0..100_000).map(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::io::Error>(piece.clone())
        });
        let body = axum::body::Body::from_stream(pieces);
        async move { ([("content-type", "text/event-stream")], body).into_response() }.boxed()
    });
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let mut stream = socket.connect(lab.base.trim_start_matches("http://").parse().unwrap()).await.unwrap();
    let mut body = streamed();
    body["max_tokens"] = json!(1_000_000);
    let body = body.to_string();
    let began = Instant::now();
    let request = head(&holder, &format!("Content-Length: {}\r\n", body.len())) + &body;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut first = vec![0; 1_000];
    stream.read_exact(&mut first).await.unwrap();
    // From here on it reads nothing. What is on its way fills up, and stands still.
    sleep(Duration::from_millis(400)).await;
    let standing = made.load(Ordering::Relaxed);
    assert_eq!(lab.gateway.metrics.in_flight.get(), 1);
    let reserved = lab.get(&holder.secret, "/earnest/balance").await.1["units"]["reserved"].clone();
    assert_ne!(reserved, "0");
    let charged = lab.charged_at_rest(&holder.secret).await;
    let took = began.elapsed();
    assert!(took > Duration::from_millis(600) && took < Duration::from_secs(4), "{took:?}");
    assert_eq!(lab.gateway.metrics.in_flight.get(), 0);
    let all = made.load(Ordering::Relaxed);
    assert!(all - standing <= 64, "it went on while nobody read: {standing}, then {all}");
    // Buffers of three sockets on this machine, and the gateway's own.
    println!("{} KiB stood between a provider and a client that did not read", all * size / 1_024);
    assert!(all * size < 24 << 20, "{all} pieces of {size} bytes were held");
    // All that the system took can still be read, and that is the most that was charged.
    let mut rest = Vec::new();
    let _ = timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await.expect("it was closed");
    let written = String::from_utf8_lossy(&[first, rest].concat()).matches("word-").count() as u128;
    let length = body.len() as u128;
    assert!(
        written > 0 && charged <= cost(length / 8, 5 * written),
        "{charged} for {written} words and their lines"
    );
    let receipts = lab.get(&holder.secret, "/earnest/receipts").await.1;
    if charged > 0 {
        assert!(
            receipts["data"][0]["receipt"].as_str().unwrap().contains("\"complete\":false"),
            "{receipts}"
        );
    }
    // Who reads slowly, but reads, is served to the end.
    lab.oracle.answers(|_| {
        let mut pieces = vec![event("tiny", &"word".repeat(25_000)); 35];
        pieces.push(ending("tiny", 35));
        async move { super::lab::stream(pieces, Duration::ZERO) }.boxed()
    });
    // More than the system would hold for it, at a pace at which it would not ask for more in time.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let mut stream = socket.connect(lab.base.trim_start_matches("http://").parse().unwrap()).await.unwrap();
    let request = head(&holder, &format!("Connection: close\r\nContent-Length: {}\r\n", body.len())) + &body;
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut all, mut some) = (Vec::new(), vec![0; 100_000]);
    loop {
        sleep(Duration::from_millis(80)).await;
        match stream.read(&mut some).await.unwrap() {
            0 => break,
            read => all.extend_from_slice(&some[..read]),
        }
    }
    assert!(String::from_utf8_lossy(&all).contains("[DONE]"));
}

/// Bytes of memory that this process has.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1_024
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_idle_connections_are_in_nobodys_way() {
    const IDLE: usize = 3_000;
    raise_file_limit();
    let (lab, holder) = quick("idle").await;
    lab.chat(&holder.secret, &hello()).await;
    let before = resident();
    let mut idle = Vec::new();
    for number in 0..IDLE {
        let mut stream = connect(&lab).await;
        if number % 2 == 0 {
            stream.write_all(b"POST /v1/chat/completions HTTP/1.1\r\nHost: ").await.unwrap();
        }
        idle.push(stream);
    }
    let began = Instant::now();
    assert_eq!(lab.chat(&holder.secret, &hello()).await.0, 200);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let each = resident().saturating_sub(before) / IDLE as u64;
    println!("an idle connection takes {each} bytes, client's side included");
    assert!(each < 64 << 10, "an idle connection takes {each} bytes");
    let closed = async {
        for stream in &mut idle {
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    };
    timeout(Duration::from_secs(8), closed).await.expect("all are closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_bodies_take_turns() {
    let (lab, holder) = quick("bodies").await;
    // Each says that it has 3 MiB, and stops short of it; there is room for 4 MiB.
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut stream = connect(&lab).await;
        stream.write_all(head(&holder, "Content-Length: 3145728\r\n").as_bytes()).await.unwrap();
        stream.write_all(&vec![b' '; 3_000_000]).await.unwrap();
        held.push(stream);
    }
    sleep(Duration::from_millis(100)).await;
    // A short one needs no room.
    assert_eq!(lab.chat(&holder.secret, &hello()).await.0, 200);
    let mut long = hello();
    long["user"] = "x".repeat(3 << 20).into();
    let refused = lab.post(&holder.secret, "/chat/completions", &long).send().await.unwrap();
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (429, "1"));
    assert!(refused.text().await.unwrap().contains("rate_limit_exceeded"));
    // Those who held the room did not go on, and it is free again.
    let mut statuses = Vec::new();
    for mut stream in held {
        let mut answer = vec![0; 12];
        timeout(Duration::from_secs(5), stream.read_exact(&mut answer)).await.expect("in time").unwrap();
        statuses.push(String::from_utf8_lossy(&answer[9..]).into_owned());
    }
    assert!(statuses.iter().all(|status| status == "408"), "{statuses:?}");
    assert_eq!(lab.chat(&holder.secret, &long).await.0, 200);
    // Many long ones, one after the other: none keeps its room.
    for _ in 0..4 {
        assert_eq!(lab.chat(&holder.secret, &long).await.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_answers_take_turns() {
    let (lab, holder) = patient("answers", 16 << 20, Duration::from_secs(4)).await;
    // 12 MiB come at once, more than sockets hold, and their end when it is let go; there is room for 16 MiB of such.
    let (come, mut has_come) = tokio::sync::watch::channel(false);
    let (let_go, end) = tokio::sync::watch::channel(false);
    lab.oracle.answers(move |asked| {
        let long = asked["user"] == "long";
        let text = if long { "x".repeat(12 << 20) } else { "short".into() };
        let answer = completion(asked["model"].as_str().unwrap(), &text).to_string();
        let head = answer[..answer.len() - 1].to_owned();
        let (come, mut end) = (come.clone(), end.clone());
        let tail = async move {
            if long {
                come.send_replace(true);
                end.wait_for(|end| *end).await.unwrap();
            }
            Ok("}".to_owned())
        };
        let head = futures_util::stream::iter([Ok::<_, std::io::Error>(head)]);
        let body = axum::body::Body::from_stream(head.chain(futures_util::stream::once(tail)));
        async move { ([("content-type", "application/json")], body).into_response() }.boxed()
    });
    let mut long = hello();
    long["user"] = "long".into();
    let ask = || lab.post(&holder.secret, "/chat/completions", &long).send();
    let first = tokio::spawn(ask());
    has_come.wait_for(|come| *come).await.unwrap();
    sleep(Duration::from_millis(500)).await;
    let refused = ask().await.unwrap();
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (429, "1"));
    assert!(refused.text().await.unwrap().contains("as many long answers as it can"));
    // A short one needs no room.
    assert_eq!(lab.chat(&holder.secret, &hello()).await.0, 200);
    let_go.send_replace(true);
    let first = first.await.unwrap().unwrap();
    assert_eq!(first.status().as_u16(), 200);
    assert!(first.bytes().await.unwrap().len() > 12 << 20);
    let charged = lab.charged_at_rest(&holder.secret).await;
    // Nothing was charged for what was refused, and one after the other all are served: none keeps its room.
    for turn in 1..=3 {
        let answer = ask().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "turn {turn}");
        answer.bytes().await.unwrap();
    }
    // Nor when it is told again: while one does not read it, there is no room for another.
    let again = |key: &'static str| {
        lab.post(&holder.secret, "/chat/completions", &long).header("idempotency-key", key).send()
    };
    let bought = again("once").await.unwrap();
    assert_eq!(bought.status().as_u16(), 200);
    bought.bytes().await.unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let mut unread = socket.connect(lab.base.trim_start_matches("http://").parse().unwrap()).await.unwrap();
    let body = long.to_string();
    let more = format!("Idempotency-Key: once\r\nContent-Length: {}\r\n", body.len());
    unread.write_all((head(&holder, &more) + &body).as_bytes()).await.unwrap();
    unread.read_exact(&mut [0; 1_000]).await.unwrap();
    assert_eq!(again("once").await.unwrap().status().as_u16(), 429);
    // It is cut off when it has taken nothing for too long.
    let free = timeout(Duration::from_secs(20), async {
        loop {
            let answer = again("once").await.unwrap();
            if answer.status() == 200 {
                return answer;
            }
            sleep(Duration::from_millis(200)).await;
        }
    });
    let free = free.await.expect("there is room again");
    assert!(free.bytes().await.unwrap().len() > 12 << 20);
    let each = (lab.charged_at_rest(&holder.secret).await - charged) / 4;
    assert_eq!(
        charged,
        2 * each,
        "two were served before: a long one and a short one, stated as one word each"
    );
}

/// Sends bytes, and reads until the other side closes or has said nothing for a while.
async fn raw(lab: &Lab, bytes: &[u8]) -> String {
    let (mut reader, mut writer) = connect(lab).await.into_split();
    let bytes = bytes.to_vec();
    let writing = tokio::spawn(async move {
        let _ = writer.write_all(&bytes).await;
        sleep(Duration::from_secs(3)).await;
    });
    let (mut all, mut some) = (Vec::new(), vec![0; 64 << 10]);
    while let Ok(Ok(read @ 1..)) = timeout(Duration::from_millis(1_500), reader.read(&mut some)).await {
        all.extend_from_slice(&some[..read]);
    }
    writing.abort();
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_a_row_are_answered_in_their_order() {
    let (lab, holder) = quick("pipelined").await;
    let mut bytes = String::new();
    for number in 0..20 {
        let mut body = hello();
        body["user"] = number.into();
        let body = body.to_string();
        bytes += &head(&holder, &format!("Content-Length: {}\r\n", body.len()));
        bytes += &body;
    }
    let said = raw(&lab, bytes.as_bytes()).await;
    assert_eq!(said.matches("HTTP/1.1 200").count(), 20, "{said}");
    let asked = lab.oracle.asked.lock().unwrap().clone();
    let order: Vec<_> = asked.iter().map(|asked| asked.body["user"].as_u64().unwrap()).collect();
    assert_eq!(order, (0..20).collect::<Vec<_>>());
    assert_eq!(lab.charged_at_rest(&holder.secret).await, 20 * cost(7, 3));
    // Who sends a hundred and reads nothing of the answers has them made one at a time, as they are taken.
    let many = "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    assert_eq!(raw(&lab, many.as_bytes()).await.matches("HTTP/1.1 200").count(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_http_client_sends_is_refused_and_nothing_is_charged() {
    let (lab, holder) = quick("smuggled").await;
    let chunked = |body: &str| head(&holder, "Transfer-Encoding: chunked\r\nConnection: close\r\n") + body;
    let text = hello().to_string();
    let good = format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len());
    let many = |header: &str, times: usize| {
        "GET /healthz HTTP/1.1\r\nHost: x\r\n".to_owned() + &header.repeat(times) + "\r\n"
    };
    for (what, bytes, statuses) in [
        (
            "a chunk shorter than it says",
            chunked(&good.replacen(&format!("{:x}", text.len()), "ff", 1)),
            &["", "400", "408"][..],
        ),
        (
            "a chunk longer than it says",
            chunked(&good.replacen(&format!("{:x}", text.len()), "5", 1)),
            &["", "400"],
        ),
        ("a size that is no number", chunked("zz\r\n{}\r\n0\r\n\r\n"), &["", "400"]),
        ("a negative size", chunked("-1\r\n{}\r\n0\r\n\r\n"), &["", "400"]),
        ("a size beyond 64 bits", chunked("fffffffffffffffff\r\n{}\r\n0\r\n\r\n"), &["", "400"]),
        ("a size of 64 bits", chunked("ffffffffffffffff\r\n{}"), &["", "400", "408"]),
        ("an endless size", chunked(&"0".repeat(100_000)), &["", "400", "408"]),
        (
            "an endless chunk extension",
            chunked(&format!("1;{}\r\n", "x".repeat(1 << 20))),
            &["", "400", "408"],
        ),
        (
            "endless trailers",
            chunked(&format!(
                "{}\r\n0\r\n{}\r\n",
                good.trim_end_matches("0\r\n\r\n"),
                "a: b\r\n".repeat(100_000)
            )),
            &["", "400"],
        ),
        ("an unknown encoding", head(&holder, "Transfer-Encoding: gzip, bzip2\r\n"), &["400"]),
        ("chunked, but not last", head(&holder, "Transfer-Encoding: chunked, gzip\r\n"), &["400"]),
        ("a length with a sign", head(&holder, "Content-Length: +2\r\n") + "{}", &["400"]),
        ("two lengths", head(&holder, "Content-Length: 2\r\nContent-Length: 3\r\n") + "{}", &["400"]),
        ("two lengths in one", head(&holder, "Content-Length: 2, 3\r\n") + "{}", &["400"]),
        ("a space before the colon", head(&holder, "Content-Length : 2\r\n") + "{}", &["400"]),
        ("a folded header", head(&holder, "A: b\r\n c\r\n"), &["400"]),
        ("a header of 100 KB", many(&format!("A: {}\r\n", "x".repeat(100_000)), 1), &["431"]),
        ("10,000 headers", many("A: b\r\n", 10_000), &["431"]),
        ("65 headers", many("A: b\r\n", 65), &["431"]),
        (
            "a path of 100 KB",
            format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(100_000)),
            &["414", "431"],
        ),
        (
            "HTTP/2 with prior knowledge",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned() + &"\0\0\0\u{4}\0\0\0\0\0".repeat(1_000),
            &["", "400", "505"],
        ),
        ("HTTP/3.7", "GET /healthz HTTP/3.7\r\n\r\n".into(), &["", "400", "505"]),
        ("a null in a header", "GET /healthz HTTP/1.1\r\nA: b\0c\r\n\r\n".into(), &["400"]),
        ("TLS", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}".into(), &["", "400"]),
    ] {
        let said = raw(&lab, bytes.as_bytes()).await;
        let status = said.split(' ').nth(1).unwrap_or_default();
        assert!(statuses.contains(&status), "{what}: {:?}", said.get(..300).unwrap_or(&said));
    }
    // HTTP/2 is not offered: who asks to change to it is answered in HTTP/1.
    let upgrade = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    let said = raw(&lab, upgrade.as_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 200") && said.ends_with("ok\n"), "{said}");
    assert_eq!(lab.oracle.count(), 0, "nothing of this was a request");
    // With a length and chunks, the chunks count, and the connection ends: what comes after them is no request.
    let both = head(&holder, "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n")
        + &good
        + "GET /earnest/balance HTTP/1.1\r\nHost: x\r\n\r\n";
    let said = raw(&lab, both.as_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 200") && !said.contains("HTTP/1.1 401"), "{said}");
    assert_eq!(lab.charged_at_rest(&holder.secret).await, cost(7, 3));
}
