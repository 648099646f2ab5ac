//! A searching adversary at the gateway's doors: orders and vouchers with bytes changed, leavers at any byte, replays, slow
//! readers, upstreams in trouble. Beside it an honest holder asks, and is served every time. `EARNEST_RUNS` says how many
//! runs (100, where it does not): `cargo xtask campaign gateway`.

use std::time::{Duration, Instant};

use axum::response::IntoResponse;
use earnest_serve::gateway::order::{Order, Voucher};
use futures_util::FutureExt;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::lab::*;
use super::mixes;

fn runs() -> usize {
    std::env::var("EARNEST_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(100)
}

/// The upstream answers what the question's `user` says: so many words, in so many pieces, well or not.
fn answers(lab: &Lab) {
    lab.oracle.answers(|asked| {
        let wish: Value = serde_json::from_str(asked["user"].as_str().unwrap_or("{}")).unwrap_or_default();
        let words = wish["words"].as_u64().unwrap_or(3);
        let text = vec!["word"; usize::try_from(words).unwrap()].join(" ");
        let streams = asked["stream"] == true;
        async move {
            match (wish["ill"].as_u64().unwrap_or(0), streams) {
                (1, _) => (axum::http::StatusCode::PAYMENT_REQUIRED, "no money").into_response(),
                (2, _) => ([("content-type", "application/json")], "nonsense").into_response(),
                (3, true) => stream(vec![event("tiny", &text)], Duration::ZERO),
                (_, true) => {
                    let mut pieces: Vec<String> = (0..words).map(|_| event("tiny", "word ")).collect();
                    pieces.push(ending("tiny", words));
                    stream(pieces, Duration::ZERO)
                }
                (_, false) => axum::Json(completion("tiny", &text)).into_response(),
            }
        }
        .boxed()
    });
}

fn question(dice: &mut ChaCha8Rng) -> Value {
    let words = [1, 3, 50, 3_000][dice.random_range(0..4)];
    let wish = json!({
        "words": words,
        "ill": if dice.random_ratio(1, 6) { dice.random_range(1..4) } else { 0 },
        "turn": dice.random_range(0..40),
    });
    let mut body = json!({"model": MODEL, "stream": dice.random_ratio(1, 2), "max_tokens": 4_000, "user": wish.to_string(),
        "messages": [{"role": "user", "content": "hello"}]});
    if dice.random_ratio(1, 4) {
        let (name, value) = [
            ("n", json!(2)),
            ("max_tokens", json!(0)),
            ("n_predict", json!(9_000)),
            ("options", json!({"num_predict": -1})),
            ("max_tokens", json!(u64::MAX)),
            ("Max_Tokens", json!(1)),
            ("previous_response_id", json!("r")),
            ("stream_options", json!({"include_usage": true})),
        ][dice.random_range(0..8)]
        .clone();
        body[name] = value;
    }
    body
}

/// Asks over a socket, reads so many bytes, perhaps slowly, and leaves.
async fn leaves(lab: &Lab, holder: &Holder, body: &Value, dice: &mut ChaCha8Rng) {
    let mut stream = TcpStream::connect(lab.base.trim_start_matches("http://")).await.unwrap();
    let body = body.to_string();
    let key = if dice.random_ratio(1, 3) {
        format!("Idempotency-Key: k{}\r\n", dice.random_range(0..20))
    } else {
        String::new()
    };
    let mut request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n{key}Content-Length: {}\r\n\r\n{body}",
        holder.secret,
        body.len()
    )
    .into_bytes();
    if dice.random_ratio(1, 8) {
        request.truncate(dice.random_range(0..request.len()));
    }
    let _ = stream.write_all(&request).await;
    let most = [0, 1, 100, 600, 2_000, 100_000][dice.random_range(0..6)];
    let mut read = 0;
    let mut some = vec![0; if dice.random_ratio(1, 4) { 7 } else { 4_096 }];
    while read < most {
        match tokio::time::timeout(Duration::from_millis(150), stream.read(&mut some)).await {
            Ok(Ok(count @ 1..)) => read += count,
            _ => break,
        }
    }
}

/// A voucher with a byte of its signature changed, or of another ceiling.
async fn forges(lab: &Lab, holder: &Holder, dice: &mut ChaCha8Rng) {
    let mut voucher = lab.voucher(holder, 1_000_000_000);
    let mut signature = voucher.signature.to_vec();
    match dice.random_range(0..4) {
        0 => signature[64] = dice.random(),
        1 => {
            let at = dice.random_range(0..65);
            signature[at] = dice.random();
        }
        2 => signature.truncate(dice.random_range(0..65)),
        _ => voucher.ceiling = dice.random_range(0..2_000_000_000),
    }
    voucher = Voucher { signature: signature.into(), ..voucher };
    let _ = lab.order(holder, &Order::Renew { voucher }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_tried_what_was_served_can_be_claimed() {
    let lab = Lab::open("campaign").await;
    answers(&lab);
    let honest = lab.holder("honest", 1_000_000_000).await;
    let mut thieves = Vec::new();
    for number in 0..4 {
        thieves.push(lab.holder(&format!("thief {number}"), 1_000_000_000).await);
    }
    let mut dice = ChaCha8Rng::seed_from_u64(20_261_127);
    let (runs, began) = (runs(), Instant::now());
    let mut paid = 0;
    for run in 0..runs {
        let thief = &thieves[dice.random_range(0..thieves.len())];
        let body = question(&mut dice);
        match dice.random_range(0..8) {
            0 => forges(&lab, thief, &mut dice).await,
            1 => {
                let answer = lab.post(&thief.secret, "/chat/completions", &body).send().await.unwrap();
                drop(answer.bytes().await);
            }
            _ => leaves(&lab, thief, &body, &mut dice).await,
        }
        if run % 10 == 0 {
            let mut asks = hello();
            asks["user"] = json!(format!("{{\"words\":3,\"turn\":\"honest {run}\"}}"));
            let (status, answer) = lab.chat(&honest.secret, &asks).await;
            assert_eq!(status, 200, "run {run}: the honest holder is refused: {answer}");
            paid += cost(7, 3);
        }
        if run % 50 == 49 || run + 1 == runs {
            for holder in thieves.iter().chain([&honest]) {
                lab.charged_at_rest(&holder.secret).await;
            }
            lab.round().await.unwrap_or_else(|error| panic!("run {run}: {error:#}"));
            let mut claimed = 0;
            for holder in thieves.iter().chain([&honest]) {
                let charged = lab.charged(&holder.secret).await;
                let (_, on_chain) = lab.on_chain(holder);
                assert_eq!(on_chain, charged, "run {run}: what was charged is not what the chain gave");
                claimed += on_chain;
            }
            assert_eq!(lab.statement().1, claimed, "run {run}: not all is stated");
            assert_eq!(lab.charged(&honest.secret).await, paid, "run {run}");
            assert_eq!(lab.gateway.metrics.in_flight.get(), 0);
        }
    }
    // Nothing that was asked for is forgotten: what the upstream made, less what nobody took, was charged.
    eprintln!(
        "{runs} runs in {:.1} s, {} questions went upstream",
        began.elapsed().as_secs_f64(),
        lab.oracle.count()
    );
}

#[test]
fn mixes_of_all_fixtures() {
    mixes::mix(2, runs());
}
