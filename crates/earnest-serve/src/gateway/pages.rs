//! What can be looked up: models, the terms under which channels are taken, and, for who has a key, its balance, usage and
//! receipts.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use earnest_core::charge::{Rates, Usage};
use serde::Deserialize;
use serde_json::{Value, json};

use super::journal::{Coin, Entry, day_of};
use super::refusal::Refusal;
use super::{Gateway, amount, now_ms};

/// The API's description.
const OPENAPI: &str = include_str!("../../../../docs/openapi.json");
/// Receipts of one answer.
const RECEIPTS: u32 = 100;

type Answer = Result<Json<Value>, Refusal>;
/// What stands in a path, if it can stand there.
type Named<T> = Result<Path<T>, PathRejection>;

fn named<T>(name: Named<T>) -> Result<T, Refusal> {
    name.map(|Path(name)| name).map_err(|why| Refusal::Bad(why.body_text(), None))
}

fn internal(error: impl std::fmt::Display) -> Refusal {
    Refusal::Internal(error.to_string())
}

/// Reads the journal beside the threads that serve, with what was charged a moment ago: for who has a key.
async fn read<T: Send + 'static>(
    gateway: &Arc<Gateway>,
    question: impl FnOnce(&Gateway) -> anyhow::Result<T> + Send + 'static,
) -> Result<T, Refusal> {
    let last = gateway.journal.write(Entry::Flush);
    gateway.journal.durable(last).await;
    read_kept(gateway, question).await
}

/// The same as it is on the disk: anyone may ask, and must not cause a sync.
async fn read_kept<T: Send + 'static>(
    gateway: &Arc<Gateway>,
    question: impl FnOnce(&Gateway) -> anyhow::Result<T> + Send + 'static,
) -> Result<T, Refusal> {
    let gateway = gateway.clone();
    let answer = tokio::task::spawn_blocking(move || question(&gateway)).await;
    answer.map_err(internal)?.map_err(internal)
}

fn described(gateway: &Gateway, model: &str) -> Value {
    json!({"id": model, "object": "model", "created": 0, "owned_by": gateway.house.revenue.to_string()})
}

/// `GET /v1/models`: what this key could use now.
pub async fn models(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Answer {
    let key = gateway.authenticate(&headers)?;
    let prices = gateway.prices();
    let allowed = key.row.read().expect("no panic holds it").limits.models.clone();
    let sold = prices.models().filter(|model| {
        let priced = prices.rates(model, key.line.coin).is_some_and(|rates| *rates != Rates::default());
        let may = allowed.as_ref().is_none_or(|allowed| allowed.iter().any(|name| name == model));
        priced && may && gateway.routes.serves(model)
    });
    let data: Vec<Value> = sold.map(|model| described(&gateway, model)).collect();
    Ok(Json(json!({"object": "list", "data": data})))
}

/// `GET /v1/models/{id}`
pub async fn model(State(gateway): State<Arc<Gateway>>, headers: HeaderMap, id: Named<String>) -> Answer {
    let key = gateway.authenticate(&headers)?;
    let id = named(id)?;
    let prices = gateway.prices();
    let known = prices.rates(&id, key.line.coin).is_some() && gateway.routes.serves(&id);
    if !known {
        return Err(Refusal::Missing(format!("the model {id:?} does not exist"), "model_not_found"));
    }
    Ok(Json(described(&gateway, &id)))
}

fn rates(rates: &Rates) -> Value {
    let text = |price: Option<u128>| price.map(|price| price.to_string());
    json!({
        "input": text(rates.input),
        "cached": text(rates.cached),
        "output": text(rates.output),
        "embedding": text(rates.embedding),
    })
}

/// `GET /earnest/terms`: all that is needed to open a channel.
pub async fn terms(State(gateway): State<Arc<Gateway>>) -> Json<Value> {
    let place = &gateway.place;
    let prices = gateway.prices();
    let coin = |index: usize, name: &str| {
        let (at, domain, version) = &place.coins[index];
        json!({"coin": name, "token": at, "name": domain, "version": version})
    };
    let models: Vec<Value> = prices
        .models()
        .map(|model| {
            let of = |coin| prices.rates(model, coin).map(rates);
            let serves = gateway.routes.serves(model);
            json!({"model": model, "credits": of(Coin::Credits), "cash": of(Coin::Cash), "served": serves})
        })
        .collect();
    Json(json!({
        "chain_id": place.house.chain_id,
        "settlement": place.settlement.at,
        "collector": place.collector,
        "revenue": place.house.revenue,
        "receipt_signer": gateway.key.address(),
        "withdraw_delay": gateway.settings.withdraw_delay,
        "coins": [coin(0, "credits"), coin(1, "cash")],
        "price_list": {"version": prices.version, "valid_until": prices.valid_until, "per_model_tokens": 1_000_000, "models": models},
    }))
}

/// `GET /earnest/balance`
pub async fn balance(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Answer {
    let key = gateway.authenticate(&headers)?;
    let account = key.line.account.lock().expect("no panic holds it").clone();
    let coin = key.line.coin;
    Ok(Json(json!({
        "coin": coin,
        "left": amount(coin, account.left()),
        "signed": amount(coin, account.ceiling),
        "charged": amount(coin, account.charged),
        "reserved": amount(coin, account.reserved),
        "deposited": amount(coin, account.deposited),
        "units": {
            "left": account.left().to_string(),
            "signed": account.ceiling.to_string(),
            "charged": account.charged.to_string(),
            "reserved": account.reserved.to_string(),
            "deposited": account.deposited.to_string(),
        },
        "key": super::order::key_stands(&key, coin),
    })))
}

/// What usage is asked for.
#[derive(Deserialize)]
pub struct By {
    #[serde(default)]
    by: Option<String>,
    #[serde(default)]
    days: Option<u64>,
}

/// `GET /earnest/usage?by=day|model|key&days=30`: of this key; of all keys of its channel with `by=key`.
pub async fn usage(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    by: Result<Query<By>, QueryRejection>,
) -> Answer {
    let key = gateway.authenticate(&headers)?;
    let Query(by) = by.map_err(|why| Refusal::Bad(why.body_text(), None))?;
    let by_word = by.by.unwrap_or_else(|| "day".into());
    if !["day", "model", "key"].contains(&by_word.as_str()) {
        return Err(Refusal::Bad(
            format!("usage goes by day, model or key, not by {by_word:?}"),
            Some("by".into()),
        ));
    }
    let from = day_of(now_ms()).saturating_sub(by.days.unwrap_or(30));
    let coin = key.line.coin;
    let own = key.row.read().expect("no panic holds it").id.clone();
    let ids = match by_word.as_str() {
        "key" => {
            let keys = gateway.books.keys_of(key.line.id);
            keys.iter().map(|key| key.row.read().expect("no panic holds it").id.clone()).collect()
        }
        _ => vec![own],
    };
    let rows = read(&gateway, move |gateway| gateway.journal.usage(&ids, from)).await?;
    let mut sums: std::collections::BTreeMap<String, (u64, Usage, u128)> = Default::default();
    for row in rows {
        let name = match by_word.as_str() {
            "day" => date(row.day),
            "model" => row.model,
            _ => row.key,
        };
        let (requests, usage, charge) = sums.entry(name).or_default();
        *requests += row.requests;
        usage.input += row.usage.input;
        usage.cached += row.usage.cached;
        usage.output += row.usage.output;
        *charge += row.charge;
    }
    let data: Vec<Value> = sums
        .into_iter()
        .map(|(name, (requests, usage, charge))| {
            json!({by_word.as_str(): name, "requests": requests, "usage": usage, "charge": amount(coin, charge), "units": charge.to_string()})
        })
        .collect();
    Ok(Json(json!({"by": by_word, "coin": coin, "data": data})))
}

/// A day as people write it.
pub fn date(day: u64) -> String {
    let text = earnest_core::plan::date::utc(day * 86_400);
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// `GET /earnest/receipts/{id}`
pub async fn receipt(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    id: Named<String>,
) -> Result<Response, Refusal> {
    let key = gateway.authenticate(&headers)?;
    let id = named(id)?;
    let channel = key.line.id;
    let name = id.clone();
    let found = read(&gateway, move |gateway| gateway.journal.receipt(&name, channel)).await?;
    let found =
        found.ok_or_else(|| Refusal::Missing(format!("there is no receipt {id:?}"), "unknown_receipt"))?;
    Ok(Json(found).into_response())
}

/// `GET /earnest/receipts`: the last ones.
pub async fn receipts(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Answer {
    let channel = gateway.authenticate(&headers)?.line.id;
    let charges = read(&gateway, move |gateway| gateway.journal.charges(channel, RECEIPTS)).await?;
    let data: Vec<_> = charges.into_iter().map(|charge| charge.receipt).collect();
    Ok(Json(json!({"data": data})))
}

fn coin_named(word: &str) -> Result<Coin, Refusal> {
    match word {
        "credits" => Ok(Coin::Credits),
        "cash" => Ok(Coin::Cash),
        other => Err(Refusal::Missing(format!("there is no coin {other:?}"), "unknown_coin")),
    }
}

async fn statement_of(gateway: &Arc<Gateway>, coin: Coin, number: Option<u32>) -> Result<Response, Refusal> {
    let found = read_kept(gateway, move |gateway| gateway.journal.statement(coin, number)).await?;
    let found =
        found.ok_or_else(|| Refusal::Missing("there is no such statement".into(), "unknown_statement"))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], found.document).into_response())
}

/// `GET /earnest/statements/{coin}`
pub async fn last_statement(
    State(gateway): State<Arc<Gateway>>,
    coin: Named<String>,
) -> Result<Response, Refusal> {
    statement_of(&gateway, coin_named(&named(coin)?)?, None).await
}

/// `GET /earnest/statements/{coin}/{number}`
pub async fn statement(
    State(gateway): State<Arc<Gateway>>,
    path: Named<(String, u32)>,
) -> Result<Response, Refusal> {
    let (coin, number) = named(path)?;
    statement_of(&gateway, coin_named(&coin)?, Some(number)).await
}

/// `GET /earnest/providers`
pub async fn providers(State(gateway): State<Arc<Gateway>>) -> Json<Value> {
    Json(json!({"data": gateway.routes.providers()}))
}

/// `GET /readyz`: 503 where a load balancer should send nobody.
pub async fn ready(State(gateway): State<Arc<Gateway>>) -> (StatusCode, &'static str) {
    if gateway.draining.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "about to stop\n");
    }
    if !gateway.journal.alive() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the disk failed\n");
    }
    (StatusCode::OK, "ready\n")
}

/// `GET /openapi.json`
pub async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}
