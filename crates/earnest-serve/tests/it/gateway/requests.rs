//! What a client sends and gets.

use std::time::{Duration, Instant};

use axum::response::IntoResponse;
use earnest_chain::voucher::SignedReceipt;
use earnest_serve::gateway::receipt::Receipt;
use futures_util::{FutureExt, StreamExt};
use serde_json::{Value, json};

use earnest_serve::request_id::uuid_of;

use super::lab::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_costs_its_usage_at_the_listed_price() {
    let lab = Lab::open("costs").await;
    let holder = lab.holder("alice", 1_000_000).await;
    let answer = lab.post(&holder.secret, "/chat/completions", &hello()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let headers = answer.headers().clone();
    let body = answer.bytes().await.unwrap();
    let upstream = serde_json::to_vec(&completion(MODEL, "one two three")).unwrap();
    assert_eq!(body, upstream, "the answer passes byte by byte, but for the name that was asked for");
    assert_eq!(headers["x-earnest-charge"], "0.00001"); // 7 × 0.5 + 3 × 2 = 9.5
    assert_eq!(lab.charged(&holder.secret).await, cost(7, 3));
    // What the upstream was asked is what the client asked, and a bound.
    let asked = lab.oracle.asked.lock().unwrap()[0].clone();
    assert_eq!(asked.body["model"], "tiny");
    assert_eq!(asked.body["max_tokens"], 4_096);
    assert_eq!(asked.id, uuid_of(headers["x-request-id"].to_str().unwrap()), "some servers take only a UUID");

    use base64::Engine;
    let receipt = base64::engine::general_purpose::STANDARD.decode(&headers["x-earnest-receipt"]).unwrap();
    let receipt: SignedReceipt = serde_json::from_slice(&receipt).unwrap();
    let said = Receipt::verify(&receipt, lab.gateway.house, key("gateway").address()).unwrap();
    assert_eq!((said.charge, said.usage.input, said.usage.output), (cost(7, 3), 7, 3));
    assert!(said.complete);
    // A digit changed, another signer, another gateway.
    let forged = SignedReceipt {
        receipt: receipt.receipt.replace("\"charge\":\"10\"", "\"charge\":\"11\""),
        ..receipt.clone()
    };
    assert_ne!(forged.receipt, receipt.receipt);
    assert!(Receipt::verify(&forged, lab.gateway.house, key("gateway").address()).is_err());
    assert!(Receipt::verify(&receipt, lab.gateway.house, key("issuer").address()).is_err());

    let kept = lab.get(&holder.secret, &format!("/earnest/receipts/{}", said.id)).await;
    assert_eq!(kept, (200, json!(receipt)));
    let stranger = lab.holder("mallory", 1_000).await;
    assert_eq!(lab.get(&stranger.secret, &format!("/earnest/receipts/{}", said.id)).await.0, 404);
    let usage = lab.get(&holder.secret, "/earnest/usage?by=model").await.1;
    assert_eq!(
        usage["data"][0],
        json!({"model": MODEL, "requests": 1, "usage": {"input": 7, "cached": 0, "output": 3}, "charge": "0.00001 cash", "units": "10"})
    );
    for by in ["day", "key"] {
        assert_eq!(
            lab.get(&holder.secret, &format!("/earnest/usage?by={by}")).await.1["data"][0]["units"],
            "10"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_passes_as_it_comes_and_ends_with_its_receipt() {
    let lab = Lab::open("streams").await;
    let holder = lab.holder("alice", 1_000_000).await;
    lab.oracle.answers(|body| {
        async move {
            let model = body["model"].as_str().unwrap().to_owned();
            let pieces =
                vec![event(&model, "one "), event(&model, "two "), event(&model, "three"), ending(&model, 3)];
            stream(pieces, Duration::from_millis(60))
        }
        .boxed()
    });
    let began = Instant::now();
    let answer = lab.post(&holder.secret, "/chat/completions", &streamed()).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream; charset=utf-8");
    let mut pieces = answer.bytes_stream();
    let mut text = String::new();
    let mut arrivals = Vec::new();
    while let Some(piece) = pieces.next().await {
        arrivals.push(began.elapsed());
        text += std::str::from_utf8(&piece.unwrap()).unwrap();
    }
    assert!(
        arrivals.len() >= 4 && arrivals[arrivals.len() - 1] - arrivals[0] >= Duration::from_millis(100),
        "{arrivals:?}"
    );
    let expected = [event(MODEL, "one "), event(MODEL, "two "), event(MODEL, "three")].concat();
    assert!(text.starts_with(&expected), "{text}");
    assert!(!text.contains("prompt_tokens"), "who did not ask for usage gets none: {text}");
    let receipt = text.split(": earnest-receipt ").nth(1).unwrap().split('\n').next().unwrap();
    let receipt: SignedReceipt = serde_json::from_str(receipt).unwrap();
    let said = Receipt::verify(&receipt, lab.gateway.house, key("gateway").address()).unwrap();
    assert_eq!(said.charge, cost(7, 3));
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    assert_eq!(lab.charged_at_rest(&holder.secret).await, cost(7, 3));
    let mut with_usage = streamed();
    with_usage["stream_options"] = json!({"include_usage": true});
    let text = lab
        .post(&holder.secret, "/chat/completions", &with_usage)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(text.contains("\"prompt_tokens\":7"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_pays_for_what_was_sent() {
    let lab = Lab::open("leaves").await;
    let holder = lab.holder("alice", 1_000_000).await;
    lab.oracle.answers(|body| {
        async move {
            let model = body["model"].as_str().unwrap().to_owned();
            let pieces = (0..1_000).map(|_| event(&model, "word ")).collect();
            stream(pieces, Duration::from_millis(20))
        }
        .boxed()
    });
    let answer = lab.post(&holder.secret, "/chat/completions", &streamed()).send().await.unwrap();
    let mut pieces = answer.bytes_stream();
    let mut seen = 0;
    while seen < 5 {
        seen += std::str::from_utf8(&pieces.next().await.unwrap().unwrap()).unwrap().matches("word ").count();
    }
    drop(pieces);
    let charged = lab.charged_at_rest(&holder.secret).await;
    let length = serde_json::to_vec(&streamed()).unwrap().len() as u128;
    // An estimate, mostly below the truth: "word " is seven eighths of a model token.
    let (least, most) = (cost(0, seen as u128 * 3 / 4), cost(length / 8, seen as u128 + 4));
    assert!((least..=most).contains(&charged), "{charged} is not in {least}..={most}");
    // The upstream's stream was dropped: it does not go on for nobody.
    let receipts = lab.get(&holder.secret, "/earnest/receipts").await.1;
    let receipt: Value = serde_json::from_str(receipts["data"][0]["receipt"].as_str().unwrap()).unwrap();
    assert_eq!(receipt["complete"], false);
    // Who leaves before anything was sent pays nothing.
    lab.oracle.answers(|_| {
        async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            "".into_response()
        }
        .boxed()
    });
    let hasty =
        lab.post(&holder.secret, "/chat/completions", &streamed()).timeout(Duration::from_millis(200));
    assert!(hasty.send().await.unwrap_err().is_timeout());
    assert_eq!(lab.charged_at_rest(&holder.secret).await, charged);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_makes_two_requests_one() {
    let mut lab = Lab::open("idempotent").await;
    let holder = lab.holder("alice", 1_000_000).await;
    let ask = |lab: &Lab, body: Value, key: &str| {
        lab.post(&holder.secret, "/chat/completions", &body).header("idempotency-key", key.to_owned()).send()
    };
    let first = ask(&lab, hello(), "a").await.unwrap().text().await.unwrap();
    let again = ask(&lab, hello(), "a").await.unwrap();
    assert_eq!(again.headers()["x-earnest-replayed"], "true");
    assert_eq!(again.text().await.unwrap(), first);
    assert_eq!((lab.oracle.count(), lab.charged(&holder.secret).await), (1, cost(7, 3)));
    assert_eq!(ask(&lab, streamed(), "a").await.unwrap().status(), 409, "another body");
    // Streams too.
    let first = ask(&lab, streamed(), "b").await.unwrap().text().await.unwrap();
    lab.charged_at_rest(&holder.secret).await;
    let again = ask(&lab, streamed(), "b").await.unwrap();
    assert_eq!(again.headers()["content-type"], "text/event-stream");
    assert_eq!(again.text().await.unwrap(), first);
    assert_eq!((lab.oracle.count(), lab.charged_at_rest(&holder.secret).await), (2, 2 * cost(7, 3)));
    // After a restart as well.
    lab.restart().await;
    assert_eq!(ask(&lab, streamed(), "b").await.unwrap().text().await.unwrap(), first);
    assert_eq!(lab.oracle.count(), 2);
    // While it runs it is nobody else's.
    lab.oracle.answers(|body| {
        async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            axum::Json(completion(body["model"].as_str().unwrap(), "slow")).into_response()
        }
        .boxed()
    });
    let (one, two) = tokio::join!(ask(&lab, hello(), "c"), ask(&lab, hello(), "c"));
    let mut statuses = [one.unwrap().status().as_u16(), two.unwrap().status().as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    // One that is not plain must not pass unheard: then it would be paid twice.
    for odd in [&b"caf\xc3\xa9"[..], b"\xff"] {
        let odd = axum::http::HeaderValue::from_bytes(odd).unwrap();
        for name in ["idempotency-key", "earnest-price-version"] {
            let told = lab.post(&holder.secret, "/chat/completions", &hello()).header(name, &odd);
            let told = told.send().await.unwrap();
            assert_eq!(told.status(), 400, "{name}");
        }
    }
    let twice = lab.post(&holder.secret, "/chat/completions", &hello());
    let twice = twice.header("idempotency-key", "d").header("idempotency-key", "e").send().await.unwrap();
    assert_eq!(twice.status(), 400);
    // The same bytes for another endpoint are another request.
    let other = lab.post(&holder.secret, "/completions", &hello()).header("idempotency-key", "c");
    let other = other.send().await.unwrap();
    assert_eq!((other.status().as_u16(), other.headers().get("x-earnest-replayed")), (200, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_has_openais_shape() {
    let lab = Lab::open("refusals").await;
    let limits =
        earnest_serve::gateway::order::Wanted { models: Some(vec![MODEL.into()]), ..Default::default() };
    let holder = lab.holder_with("alice", 1_000_000, 1_000_000, limits).await;
    let said = |answer: &Value| {
        let error = &answer["error"];
        assert!(
            error["message"].is_string() && error["type"].is_string() && error.get("param").is_some(),
            "{answer}"
        );
        error["code"].as_str().unwrap_or("").to_owned()
    };
    let (status, answer) = lab.chat("sk-earnest-nobody", &hello()).await;
    assert_eq!((status, said(&answer).as_str()), (401, "invalid_api_key"));
    let (status, answer) = lab.chat(&holder.secret, &json!({"model": "gpt-4o", "messages": []})).await;
    assert_eq!((status, said(&answer).as_str()), (404, "model_not_found"));
    for body in ["", "{", "[1]", r#"{"model":"example-small","model":"x"}"#, r#"{"messages":[]}"#] {
        let request =
            lab.client.post(format!("{}/v1/chat/completions", lab.base)).bearer_auth(&holder.secret);
        let answer = request.body(body).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{body}");
        said(&answer.json().await.unwrap());
    }
    let pinned = lab.post(&holder.secret, "/chat/completions", &hello()).header("earnest-price-version", "9");
    let answer = pinned.send().await.unwrap();
    assert_eq!(answer.status(), 400);
    assert!(answer.text().await.unwrap().contains("version 9 of the price list is not in force: 1 is"));
    let pinned = lab.post(&holder.secret, "/chat/completions", &hello()).header("earnest-price-version", "1");
    assert_eq!(pinned.send().await.unwrap().status(), 200);
    for (path, status) in
        [("/v1/nothing", 404), ("/earnest/receipts/req_none", 404), ("/earnest/usage?by=moon", 400)]
    {
        let (answered, answer) = lab.get(&holder.secret, path).await;
        assert_eq!(answered, status, "{path}: {answer}");
        said(&answer);
    }
    let wrong_method = lab.client.get(format!("{}/v1/chat/completions", lab.base)).send().await.unwrap();
    assert_eq!(wrong_method.status(), 405);
    said(&wrong_method.json().await.unwrap());
    let unsold =
        lab.post(&holder.secret, "/embeddings", &json!({"model": MODEL, "input": "x"})).send().await.unwrap();
    assert_eq!(unsold.status(), 400);
    assert_eq!(lab.oracle.count(), 1, "nothing of this went upstream but what was answered");
}
