//! Upstreams that lie, break off or never end, and clients that send what no SDK would. Each gets a clear error in
//! OpenAI's shape; nothing is charged beyond what was delivered, and nothing stays reserved.

use std::time::{Duration, Instant};

use axum::response::IntoResponse;
use futures_util::{FutureExt, StreamExt};
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::lab::*;

async fn impatient(name: &str) -> (Lab, Holder) {
    let lab = Lab::with(name, |settings| {
        settings.patience.head = Duration::from_millis(700);
        settings.patience.piece = Duration::from_millis(300);
    })
    .await;
    let holder = lab.holder("alice", 1_000_000).await;
    (lab, holder)
}

/// A refusal, and nothing charged or reserved for it.
async fn costs_nothing(lab: &Lab, holder: &Holder, body: &Value, expected: &[u16]) {
    let before = lab.charged_at_rest(&holder.secret).await;
    let answer = lab.post(&holder.secret, "/chat/completions", body).send().await.unwrap();
    let status = answer.status().as_u16();
    let answer: Value = answer.json().await.unwrap();
    assert!(expected.contains(&status), "{status}: {answer}");
    assert!(answer["error"]["message"].is_string(), "{answer}");
    assert_eq!(lab.charged_at_rest(&holder.secret).await, before, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_cannot_be_used_costs_nothing() {
    let (lab, holder) = impatient("unusable").await;
    for (status, body, expected) in [
        (500, "oops", 503),
        (503, r#"{"error":{"message":"overloaded"}}"#, 503),
        (401, r#"{"error":{"message":"bad key of the gateway's own"}}"#, 503),
        (302, "elsewhere", 503),
        (429, r#"{"error":{"message":"slow down"}}"#, 429),
        (
            400,
            r#"{"error":{"message":"too long","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
            400,
        ),
        (422, "not JSON", 422),
        (404, "no such path", 503),
        (200, "garbage", 502),
        (200, "{}", 502),
        (200, r#"{"error":{"message":"an error with status 200"}}"#, 502),
        (200, "[1,2,3]", 502),
    ] {
        lab.oracle.says(status, "application/json", body);
        costs_nothing(&lab, &holder, &hello(), &[expected]).await;
    }
    for body in ["data: [DONE]\n\n", "data: nonsense\n\n", ": nothing\n\n", ""] {
        lab.oracle.says(200, "text/event-stream", body);
        // An empty stream is an answer, if a short one.
        let before = lab.charged_at_rest(&holder.secret).await;
        let text = lab
            .post(&holder.secret, "/chat/completions", &streamed())
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let charged = lab.charged_at_rest(&holder.secret).await - before;
        assert!(text.contains("error") || charged <= 1 + 250, "{body}: {text} for {charged}");
        costs_nothing(&lab, &holder, &hello(), &[502, 503]).await; // a stream where JSON was asked for
    }
    lab.oracle.says(200, "text/html", "<html>");
    costs_nothing(&lab, &holder, &streamed(), &[502, 503]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_and_slowness_end() {
    let (lab, holder) = impatient("silence").await;
    lab.oracle.answers(|_| {
        async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            "".into_response()
        }
        .boxed()
    });
    let began = Instant::now();
    costs_nothing(&lab, &holder, &hello(), &[504]).await;
    assert!(began.elapsed() < Duration::from_secs(5));
    // Two words, and then nothing more.
    lab.oracle.answers(|_| {
        let pieces = [event("tiny", "one "), event("tiny", "two "), ending("tiny", 2)];
        async move { stream(vec![pieces[0].clone() + &pieces[1], pieces[2].clone()], Duration::from_secs(60)) }.boxed()
    });
    let text = lab
        .post(&holder.secret, "/chat/completions", &streamed())
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(text.contains("the provider was silent") && !text.contains("[DONE]"), "{text}");
    let length = serde_json::to_vec(&streamed()).unwrap().len() as u128;
    let charged = lab.charged_at_rest(&holder.secret).await;
    assert!(charged <= cost(length / 8, 2) && charged >= cost(0, 1), "{charged}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_stream_is_cut_at_what_was_asked_for() {
    let (lab, holder) = impatient("endless").await;
    lab.oracle.answers(|_| {
        async { stream((0..100_000).map(|_| event("tiny", "more ")).collect(), Duration::ZERO) }.boxed()
    });
    let mut body = streamed();
    body["max_tokens"] = json!(100);
    let text =
        lab.post(&holder.secret, "/chat/completions", &body).send().await.unwrap().text().await.unwrap();
    assert!(text.contains("does not end its answer"), "{text}");
    let charged = lab.charged_at_rest(&holder.secret).await;
    let length = serde_json::to_vec(&body).unwrap().len() as u128;
    assert!(charged <= cost(length, 100), "never more than was reserved: {charged}");
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_that_cannot_be_true_is_cut_down() {
    let (lab, holder) = impatient("lies").await;
    for (input, output) in [(7u64, 1_000_000_000u64), (u64::MAX, u64::MAX), (1_000_000, 1)] {
        let before = lab.charged_at_rest(&holder.secret).await;
        let mut answer = completion("tiny", "two words");
        answer["usage"] = json!({"prompt_tokens": input, "completion_tokens": output, "prompt_tokens_details": {"cached_tokens": input}});
        lab.oracle.says(200, "application/json", answer.to_string());
        assert_eq!(lab.chat(&holder.secret, &hello()).await.0, 200);
        let length = serde_json::to_vec(&hello()).unwrap().len() as u128;
        let charged = lab.charged_at_rest(&holder.secret).await - before;
        assert!(charged <= cost(length + 64, "two words".len() as u128 + 32), "{charged} for two words");
    }
    // Negative, fractional, text: not stated, and no reason to keep the answer back.
    for usage in [
        json!({"prompt_tokens": -1, "completion_tokens": 1}),
        json!({"prompt_tokens": 1.5}),
        json!("lots"),
        json!(null),
    ] {
        let mut answer = completion("tiny", "two words");
        answer["usage"] = usage;
        lab.oracle.says(200, "application/json", answer.to_string());
        let before = lab.charged_at_rest(&holder.secret).await;
        let (status, told) = lab.chat(&holder.secret, &hello()).await;
        assert_eq!((status, &told["usage"]["estimated"]), (200, &json!(true)), "{told}");
        let charged = lab.charged_at_rest(&holder.secret).await - before;
        assert!(charged >= 1 && charged <= cost(8, "two words".len() as u128), "{charged} for two words");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_mutated_and_nothing_stays_reserved() {
    let (lab, holder) = impatient("mutated").await;
    let plain = completion("tiny", "one two three").to_string();
    let streams = [event("tiny", "one "), event("tiny", "two"), ending("tiny", 2)].concat();
    let mut dice = rand_chacha::ChaCha8Rng::seed_from_u64(4);
    let length = serde_json::to_vec(&hello()).unwrap().len() as u128;
    for turn in 0..300 {
        let (text, kind, body) = if turn % 2 == 0 {
            (&plain, "application/json", hello())
        } else {
            (&streams, "text/event-stream", streamed())
        };
        let mut bytes = text.clone().into_bytes();
        for _ in 0..dice.random_range(1..6) {
            let at = dice.random_range(0..bytes.len());
            match dice.random_range(0..4) {
                0 => bytes[at] = dice.random(),
                1 if bytes.len() > 1 => drop(bytes.remove(at)),
                2 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, dice.random()),
            }
        }
        lab.oracle.answers(move |_| {
            let bytes = bytes.clone();
            async move { ([("content-type", kind)], bytes).into_response() }.boxed()
        });
        let before = lab.charged_at_rest(&holder.secret).await;
        let answer = lab.post(&holder.secret, "/chat/completions", &body).send().await.unwrap();
        drop(answer.bytes().await);
        let charged = lab.charged_at_rest(&holder.secret).await - before;
        assert!(charged <= cost(length + 80, 200), "turn {turn}: {charged}");
    }
}

/// Sends bytes and reads what comes within a second.
async fn raw(lab: &Lab, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(lab.base.trim_start_matches("http://")).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(2), stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_no_sdk_sends_are_refused() {
    let lab = Lab::open("raw").await;
    let holder = lab.holder("alice", 1_000_000).await;
    let head = |more: &str| {
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n{more}\r\n",
            holder.secret
        )
    };
    let mut hundred = head("Content-Length: 104857600\r\n").into_bytes();
    hundred.resize(hundred.len() + 104_857_600, b' ');
    let huge = raw(&lab, &hundred).await;
    assert!(huge.contains("413") && huge.contains("request_too_large"), "{huge}");
    // Without a length: cut off where it gets too large.
    let mut chunked = head("Transfer-Encoding: chunked\r\n").into_bytes();
    for _ in 0..20 {
        chunked.extend(b"100000\r\n");
        chunked.extend(vec![b' '; 1 << 20]);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    let cut = raw(&lab, &chunked).await;
    assert!(cut.contains("413"), "{cut}");
    for (header, status) in [
        ("Authorization: Bearer x\r\n", "40"),
        ("Content-Length: -1\r\n", "400"),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", "400"),
        ("Idempotency-Key: \r\nContent-Length: 2\r\n", "400"),
        ("Bad Header: x\r\n", "400"),
    ] {
        let answer = raw(&lab, (head(header) + "{}").as_bytes()).await;
        assert!(answer.contains(&format!("HTTP/1.1 {status}")), "{header}: {answer}");
    }
    for bytes in [
        &b"\0\0\0"[..],
        b"GET",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: \xff\xfe\r\n\r\n",
    ] {
        let answer = raw(&lab, bytes).await;
        assert!(answer.is_empty() || answer.contains("40"), "{answer}");
    }
    assert_eq!(lab.oracle.count(), 0);
    assert_eq!(lab.charged(&holder.secret).await, 0);
    let mut dice = rand_chacha::ChaCha8Rng::seed_from_u64(8);
    let good = serde_json::to_vec(&hello()).unwrap();
    for _ in 0..300 {
        let mut bytes = good.clone();
        for _ in 0..dice.random_range(1..4) {
            let at = dice.random_range(0..bytes.len());
            bytes[at] = dice.random();
        }
        let request =
            lab.client.post(format!("{}/v1/chat/completions", lab.base)).bearer_auth(&holder.secret);
        let status = request.body(bytes).send().await.unwrap().status().as_u16();
        assert!([200, 400, 404].contains(&status), "{status}");
    }
    lab.charged_at_rest(&holder.secret).await;
}

/// What a client hears of a stream of such pieces, after which the upstream ends badly.
async fn heard(lab: &Lab, holder: &Holder, pieces: Vec<String>) -> String {
    lab.oracle.answers(move |_| {
        let pieces = futures_util::stream::iter(pieces.clone().into_iter().map(Ok));
        // What came before has gone out by then.
        let gone = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Err(std::io::Error::other("gone"))
        };
        let body = axum::body::Body::from_stream(pieces.chain(futures_util::stream::once(gone)));
        async move { ([("content-type", "text/event-stream")], body).into_response() }.boxed()
    });
    let answer = lab.post(&holder.secret, "/chat/completions", &streamed()).send().await.unwrap();
    answer.text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_hangs_up_behind_the_last_event_has_said_all() {
    let (lab, holder) = impatient("hangs-up").await;
    let text = heard(&lab, &holder, vec![event("tiny", "one two three"), ending("tiny", 3)]).await;
    assert!(text.ends_with("data: [DONE]\n\n") && !text.contains("\"error\""), "{text}");
    assert_eq!(lab.charged_at_rest(&holder.secret).await, cost(7, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_is_the_gateways_alone() {
    let (lab, holder) = impatient("false-receipt").await;
    for line in [": earnest-receipt {\"receipt\":\"{}\"}", ":earnest-receipt {}", ": earnest-anything"] {
        let first = format!("{line}\n{}", event("tiny", "one two three"));
        let text = heard(&lab, &holder, vec![first, format!("{line}\n\n"), ending("tiny", 3)]).await;
        assert_eq!((text.matches("earnest-").count(), text.matches("two").count()), (1, 1), "{text}");
    }
}

/// Little that unpacks to much: it is unpacked one by one, in room of its own, and nobody waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn packed_bodies_hold_up_nobody() {
    use std::io::Write;
    let lab = Lab::open("packed").await;
    let (thief, honest) = (lab.holder("thief", 1_000_000).await, lab.holder("honest", 1_000_000).await);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let head = br#"{"model":"tiny","messages":[],"max_tokens":1,"x":""#;
    encoder.write_all(head).unwrap();
    for _ in 0..15 {
        encoder.write_all(&vec![b' '; 1 << 20]).unwrap();
    }
    let packed = encoder.finish().unwrap();
    assert!(packed.len() < 32 << 10);
    let asks = (0..60).map(|_| {
        let ask = lab.client.post(format!("{}/v1/chat/completions", lab.base)).bearer_auth(&thief.secret);
        let ask = ask.header("content-encoding", "gzip").body(packed.clone());
        async move { ask.send().await.unwrap().status().as_u16() }
    });
    let question = hello();
    let (told, served) =
        tokio::join!(futures_util::future::join_all(asks), lab.chat(&honest.secret, &question));
    assert_eq!(served.0, 200);
    assert!(told.iter().all(|status| [400, 429].contains(status)), "{told:?}");
    assert_eq!(lab.charged_at_rest(&thief.secret).await, 0);
}
