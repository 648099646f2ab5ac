//! Who leaves in the middle of an answer pays for what the system took of it, and nothing twice.

use std::time::Duration;

use axum::response::IntoResponse;
use futures_util::{FutureExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::lab::*;

/// A connection with small buffers, so that much of a long answer stays behind.
async fn narrow(lab: &Lab) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    socket.connect(lab.base.trim_start_matches("http://").parse().unwrap()).await.unwrap()
}

fn request(holder: &Holder, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
        holder.secret,
        body.len()
    )
    .into_bytes()
}

/// What every receipt of a key says it cost, the latest first.
async fn charges(lab: &Lab, holder: &Holder) -> Vec<u128> {
    let receipts = lab.get(&holder.secret, "/earnest/receipts").await.1;
    let all = receipts["data"].as_array().unwrap().iter();
    let read =
        |receipt: &Value| -> Value { serde_json::from_str(receipt["receipt"].as_str().unwrap()).unwrap() };
    all.map(|receipt| read(receipt)["charge"].as_str().unwrap().parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_a_long_answer_pays_in_proportion_and_gets_the_same_one_for_the_rest() {
    let lab = Lab::open("left").await;
    let holder = lab.holder("alice", 1_000_000_000).await;
    let mut body = hello();
    body["max_tokens"] = json!(3_000_000);
    // Two words of eight bytes make a model token or more: nothing of it is an estimate.
    let text = "eightby ".repeat(1 << 20);
    lab.oracle.answers(move |_| {
        let mut answer = completion("tiny", "");
        answer["choices"][0]["message"]["content"] = text.clone().into();
        answer["usage"] = json!({"prompt_tokens": 7, "completion_tokens": 2_000_000});
        async move { axum::Json(answer).into_response() }.boxed()
    });
    let whole = cost(7, 2_000_000);
    let mut stream = narrow(&lab).await;
    stream.write_all(&request(&holder, &body)).await.unwrap();
    let mut taken = vec![0; 2 << 20];
    stream.read_exact(&mut taken).await.unwrap();
    drop(stream);
    let paid = lab.charged_at_rest(&holder.secret).await;
    // A quarter was read; what the system held beside is a few megabytes at most.
    assert!(paid > whole / 5 && paid < whole * 9 / 10, "{paid} of {whole}");
    // The same question brings the same answer, and costs what is left.
    let (status, again) = lab.chat(&holder.secret, &body).await;
    assert_eq!((status, lab.oracle.count()), (200, 1), "the provider is not asked again");
    assert_eq!(again["choices"][0]["message"]["content"].as_str().unwrap().len(), 8 << 20);
    let all = lab.charged_at_rest(&holder.secret).await;
    assert!(all.abs_diff(whole) <= 1, "{all} for {whole}");
    assert_eq!(charges(&lab, &holder).await.len(), 2);
    // It is paid: from now on the question is a new one.
    assert_eq!(lab.chat(&holder.secret, &body).await.0, 200);
    assert_eq!(lab.oracle.count(), 2);
}

/// What stands behind the text weighs nothing: whoever leaves there has had all of it.
#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_behind_the_text_pays_for_all_of_it() {
    let lab = Lab::open("left-behind").await;
    let holder = lab.holder("alice", 1_000_000_000).await;
    let mut body = hello();
    body["max_tokens"] = json!(3_000_000);
    let answer = json!({
        "id": "c", "object": "chat.completion", "model": "tiny",
        "choices": [{"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": "eightby ".repeat(1 << 16)}}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 120_000},
        "prompt_logprobs": "-0.125, ".repeat(3 << 20),
    });
    let answer = answer.to_string();
    // The map is sorted by name: what is beside is to stand behind.
    let (at, beside) = (answer.find("\"prompt_logprobs\"").unwrap(), answer.find("\"usage\"").unwrap());
    let (before, behind) = (&answer[..at], &answer[beside..answer.len() - 1]);
    let answer = format!("{before}{behind},{}}}", answer[at..beside].trim_end_matches(','));
    assert!(serde_json::from_str::<Value>(&answer).is_ok());
    lab.oracle.says(200, "application/json", answer);
    let mut stream = narrow(&lab).await;
    stream.write_all(&request(&holder, &body)).await.unwrap();
    let mut taken = vec![0; (512 << 10) + 2_000];
    stream.read_exact(&mut taken).await.unwrap();
    drop(stream);
    assert_eq!(lab.charged_at_rest(&holder.secret).await, cost(7, 120_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_before_the_first_byte_pays_nothing_and_who_leaves_at_the_last_pays_all() {
    let lab = Lab::open("edges").await;
    let holder = lab.holder("alice", 1_000_000_000).await;
    let each = cost(7, 3);
    for read in [0, 1, 10, 300, 600, 2_000] {
        let mut body = hello();
        body["user"] = json!(format!("reader of {read}"));
        let before = lab.charged_at_rest(&holder.secret).await;
        let mut stream = narrow(&lab).await;
        stream.write_all(&request(&holder, &body)).await.unwrap();
        if read > 0 {
            let mut some = vec![0; read];
            let _ = tokio::time::timeout(Duration::from_millis(500), stream.read_exact(&mut some)).await;
        }
        drop(stream);
        let paid = lab.charged_at_rest(&holder.secret).await - before;
        // A short answer is the system's as a whole, or not at all.
        assert!(paid == each || (read == 0 && paid == 0), "{read} bytes for {paid}");
    }
    // Who leaves while the provider is at work is counted, too.
    lab.oracle.answers(|_| std::future::pending().boxed());
    let mut stream = narrow(&lab).await;
    stream.write_all(&request(&holder, &hello())).await.unwrap();
    let asked = lab.oracle.count();
    while lab.oracle.count() == asked {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let left = || {
        let text = lab.gateway.metrics.text();
        let line = text.lines().find(|line| line.contains("status=\"left\""));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
    };
    let before: u64 = left();
    drop(stream);
    for _ in 0..200 {
        if left() == before + 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody has left, say the metrics");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_at_the_last_word_pays_what_the_stream_used() {
    let lab = Lab::open("last word").await;
    let holder = lab.holder("alice", 1_000_000_000).await;
    lab.oracle.answers(|_| {
        let chunk = |delta: Value, finish: Value| {
            let chunk =
                json!({"model": "tiny", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
            format!("data: {chunk}\n\n")
        };
        // One event carries what 2,200 model tokens make; usage comes a moment after the last word.
        let text = chunk(json!({"content": "some words ".repeat(1_000)}), Value::Null);
        let pieces = vec![text + &chunk(json!({}), json!("stop")), ending("tiny", 2_200)];
        async move { stream(pieces, Duration::from_millis(700)) }.boxed()
    });
    let answer = lab.post(&holder.secret, "/chat/completions", &streamed()).send().await.unwrap();
    let mut pieces = answer.bytes_stream();
    let mut seen = String::new();
    while !seen.contains("\"stop\"") {
        seen += std::str::from_utf8(&pieces.next().await.unwrap().unwrap()).unwrap();
    }
    drop(pieces);
    assert_eq!(lab.charged_at_rest(&holder.secret).await, cost(7, 2_200));
    let receipts = lab.get(&holder.secret, "/earnest/receipts").await.1;
    let receipt: Value = serde_json::from_str(receipts["data"][0]["receipt"].as_str().unwrap()).unwrap();
    assert_eq!((&receipt["complete"], receipt.get("estimated")), (&json!(false), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_stream_brought_no_byte_is_free_again() {
    let lab = Lab::open("free again").await;
    let holder = lab.holder("alice", 1_000_000).await;
    let ask =
        || lab.post(&holder.secret, "/chat/completions", &streamed()).header("idempotency-key", "k1").send();
    lab.oracle.says(
        200,
        "text/event-stream",
        "data: {\"error\":{\"message\":\"too long\",\"code\":400}}\n\n",
    );
    assert_eq!(ask().await.unwrap().status(), 400);
    lab.oracle.says(500, "text/plain", "no");
    assert_eq!(ask().await.unwrap().status(), 503);
    lab.oracle.says(200, "text/event-stream", event("tiny", "hello") + &ending("tiny", 1));
    let answer = ask().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.unwrap().contains("hello"));
    assert_eq!(lab.charged_at_rest(&holder.secret).await, cost(7, 1));
}
