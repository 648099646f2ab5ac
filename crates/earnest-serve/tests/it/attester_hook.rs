//! The identity vendor behind the attester: one that approves, and every way in which one can fail.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy_primitives::hex;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect};
use axum::routing::post;
use earnest_serve::attester::vendor::hmac;
use serde_json::{Value, json};

use crate::attester::{SECRET, World, entity, listen, who};

/// What the vendor does next, and what it was told last.
type Script = Arc<Mutex<(&'static str, Value)>>;

const YES: &str = r#"{"approved":true,"entity":40,"regime":"us","affiliate":false,"max_cash":"250 cash"}"#;

async fn vendor(script: Script) -> (String, tokio::task::JoinHandle<()>) {
    let answer = move |headers: HeaderMap, body: Bytes| {
        let script = script.clone();
        async move {
            let expected = format!("sha256={}", hex::encode(hmac(SECRET.as_bytes(), &body)));
            assert_eq!(headers["earnest-signature"], expected.as_str());
            let mode = {
                let mut script = script.lock().expect("not held");
                script.1 = serde_json::from_slice(&body).expect("JSON");
                script.0
            };
            match mode {
                "approve" => YES.into_response(),
                "refuse" => r#"{"approved":false,"reason":"the passport has expired"}"#.into_response(),
                "fail" => (StatusCode::INTERNAL_SERVER_ERROR, YES).into_response(),
                "slow" => {
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    YES.into_response()
                }
                "garbage" => "<html>approved</html>".into_response(),
                "oversized" => format!("{YES}{}", " ".repeat(100_000)).into_response(),
                "redirect" => Redirect::temporary("/yes").into_response(),
                "known number" => YES.replace("40", "1").into_response(),
                "other number" => YES.replace("40", "41").into_response(),
                "other regime" => YES.replace("\"us\"", "\"nowhere\"").into_response(),
                "misfit" => {
                    YES.replace("\"affiliate\"", "\"jurisdiction\":\"FR\",\"affiliate\"").into_response()
                }
                other => unreachable!("{other}"),
            }
        }
    };
    listen(axum::Router::new().route("/ask", post(answer)).route("/yes", post(|| async { YES }))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_clear_yes_of_the_vendor_is_a_yes() {
    let world = World::new("hook");
    let script: Script = Arc::new(Mutex::new(("approve", Value::Null)));
    let (url, serving) = vendor(script.clone()).await;
    let hook = format!(
        "{}[hook]\nurl = \"{url}/ask\"\ntimeout_ms = 400\nsecret_env = \"X\"\n[limits]\nper_wallet_a_minute = 100\n",
        entity(1, &["known"], "")
    );
    let service = world.serve(&hook).await;
    let permit = service.granted("alice", "early").await;
    assert_eq!((permit.entity, permit.max_cash), (40, 250_000_000));
    let told = script.lock().expect("not held").1.clone();
    let mut keys: Vec<&String> = told.as_object().expect("an object").keys().collect();
    keys.sort();
    assert_eq!(keys, ["chain_id", "offering", "round", "time", "wallet"], "nothing else about anyone");
    assert_eq!((&told["wallet"], &told["round"]), (&json!(who("alice")), &json!("early")));

    for (mode, expected) in [
        ("refuse", (403, "declined")),
        ("fail", (503, "vendor_down")),
        ("slow", (503, "vendor_down")),
        ("garbage", (503, "vendor_down")),
        ("oversized", (503, "vendor_down")),
        ("redirect", (503, "vendor_down")),
        ("known number", (503, "vendor_down")),
        ("other number", (403, "other_entity")),
        ("other regime", (403, "unfit")),
        ("misfit", (403, "unfit")),
    ] {
        script.lock().expect("not held").0 = mode;
        let (status, code) = service.refused("alice", "early").await;
        assert_eq!((status, code.as_str()), expected, "{mode}");
    }
    serving.abort();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(service.refused("alice", "early").await, (503, "vendor_down".into()));
    service.granted("known", "early").await;
    let granted = world.decisions().iter().filter(|line| line["event"] == "granted").count();
    assert_eq!((granted, world.decisions().len()), (2, 13));
}
