//! The attester over HTTP: what is asked, what is answered, and to whose pages.

use alloy_primitives::{Address, Bytes};
use axum::body::Bytes as Body;
use axum::extract::{DefaultBodyLimit, Request as Incoming, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use earnest_core::plan::{RegimePlan, RoundKind, RoundPlan, instant};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::refusal::Refusal;
use super::{Attester, Request};

/// Longest request.
const LONGEST_BYTES: usize = 16 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskChallenge {
    wallet: Address,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskPermit {
    wallet: Address,
    round: Round,
    message: String,
    signature: Bytes,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Round {
    Number(u8),
    Name(String),
}

/// `GET /`, `GET /rounds`, `POST /challenge`, `POST /permit`: to be served by itself or under a path.
pub fn router(attester: Attester) -> Router {
    Router::new()
        .route("/", get(health))
        .route("/rounds", get(rounds))
        .route("/challenge", post(challenge))
        .route("/permit", post(permit))
        .layer(DefaultBodyLimit::max(LONGEST_BYTES))
        .layer(from_fn_with_state(attester.clone(), guard))
        .with_state(attester)
}

/// Pages of the configured origins may ask and read the answer; those of others may do neither.
async fn guard(State(attester): State<Attester>, request: Incoming, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    if let Some(origin) = &origin {
        let named = String::from_utf8_lossy(origin.as_bytes());
        if let Err(refusal) = attester.0.sign_in.origin(Some(&named)) {
            return refusal.into_response();
        }
    }
    let mut response = match *request.method() {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type"));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    }
    response
}

fn parse<T: DeserializeOwned>(body: &Body) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::Malformed(error.to_string()))
}

async fn health(State(attester): State<Attester>) -> Result<Json<Value>, Refusal> {
    let (key, generation) = attester.active_key().await?;
    let desk = &attester.0;
    Ok(Json(json!({
        "offering": desk.plan.offering.name,
        "chain_id": desk.record.chain_id,
        "contract": desk.record.contracts.offering,
        "terms_hash": desk.record.terms_hash,
        "attester": key,
        "generation": generation,
    })))
}

async fn rounds(State(attester): State<Attester>) -> Json<Value> {
    let plan = &attester.0.plan;
    let regime = |regime: &RegimePlan| {
        json!({
            "name": regime.name,
            "jurisdictions": regime.jurisdictions,
            "wait_hours": regime.wait_hours,
            "cooling_off_days": regime.cooling_off_days,
            "lock_days": regime.lock_days,
            "max_total": regime.max_entity,
        })
    };
    let round = |(number, round): (usize, &RoundPlan)| {
        let regimes = round.regimes.iter().filter_map(|name| plan.regime(name));
        json!({
            "number": number,
            "name": round.name,
            "kind": match round.kind {
                RoundKind::Fixed(_) => "fixed",
                RoundKind::Private(_) => "private",
                RoundKind::Auction(_) => "auction",
                RoundKind::Rising(_) => "rising",
            },
            "open": instant::show(round.open),
            "close": instant::show(round.close),
            "min_bid": round.min_bid,
            "max_bid": round.max_bid,
            "regimes": regimes.map(|(_, plan)| regime(plan)).collect::<Vec<_>>(),
        })
    };
    let rounds: Vec<Value> = plan.rounds.iter().enumerate().map(round).collect();
    let needed = "sign in with the wallet that will bid: POST challenge, sign its message, POST permit";
    Json(json!({ "rounds": rounds, "needed": needed }))
}

async fn challenge(
    State(attester): State<Attester>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Refusal> {
    let AskChallenge { wallet } = parse(&body)?;
    let origin =
        headers.get(header::ORIGIN).map(|origin| String::from_utf8_lossy(origin.as_bytes()).into_owned());
    let (message, expires) = attester.challenge(wallet, origin).await?;
    Ok(Json(json!({ "message": message, "expires": instant::show(expires) })))
}

async fn permit(State(attester): State<Attester>, body: Body) -> Result<Response, Refusal> {
    let AskPermit { wallet, round, message, signature } = parse(&body)?;
    let round = match round {
        Round::Number(number) => number.to_string(),
        Round::Name(name) => name,
    };
    let request = Request { wallet, round, message, signature: signature.to_vec() };
    Ok(Json(attester.permit(request).await?).into_response())
}
