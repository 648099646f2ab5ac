//! A request's way: who asks, what it may cost, whether that is covered, who answers, what was used. Nothing is sent
//! upstream that is not covered, and no byte of an answer leaves before what covers it is on the disk.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use alloy_primitives::B256;
use axum::body::Body as AxumBody;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine;
use bytes::Bytes;
use earnest_chain::voucher::SignedReceipt;
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};

use super::books::{ApiKey, NotAdmitted, hash_of};
use super::delivery::{Connection, Delivery, Ended};
use super::job::{Admitted, Job};
use super::journal::{Answer, Coin, Entry, day_of};
use super::refusal::Refusal;
use super::room::{BLOCK, Room};
use super::route::{Begun, Served};
use super::stream::{Stream, TOO_MANY_ANSWERS, Whole, read_whole, signed_usage};
use super::wire::{Asked, Endpoint, Told, is_the_model};
use super::{Gateway, amount, crash, decimal, now_ms};
use crate::provider::hello::Realm;

/// Bytes of a request's body at most.
pub const BODY: usize = 16 << 20;
/// Bytes of a body that is too long, and read to its end so that the client hears of it.
const OVERLONG: usize = 256 << 20;
/// Bytes of a JSON answer at most.
const ANSWER: usize = 64 << 20;
/// Entries that the journal may be behind before nothing more is taken in.
const BEHIND: u64 = 50_000;
/// Times that a stream that breaks off before its first event is tried with others.
const STREAM_TRIES: u32 = 2;

/// The secret in `Authorization: Bearer …`.
fn secret(headers: &HeaderMap) -> Result<&str, Refusal> {
    let missing = "you did not provide an API key: send it as Authorization: Bearer sk-earnest-…";
    let header = headers.get(header::AUTHORIZATION).ok_or_else(|| Refusal::Key(missing.into()))?;
    let text =
        header.to_str().map_err(|_| Refusal::Key("the Authorization header is not plain text".into()))?;
    let (scheme, secret) = text.split_once(' ').ok_or_else(|| Refusal::Key(missing.into()))?;
    if !scheme.eq_ignore_ascii_case("bearer") || secret.trim().is_empty() {
        return Err(Refusal::Key(missing.into()));
    }
    Ok(secret.trim())
}

impl Gateway {
    /// Whose key it is.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<ApiKey>, Refusal> {
        let secret = secret(headers)?;
        // Word for word as OpenAI says it: libraries look for it.
        let incorrect = |more: &str| {
            let shown: String = secret.chars().take(14).collect();
            Refusal::Key(format!("Incorrect API key provided: {shown}…{more}"))
        };
        let key = self.books.key(hash_of(secret)).ok_or_else(|| incorrect(""))?;
        if key.row.read().expect("no panic holds it").revoked {
            return Err(incorrect(" was revoked by its holder"));
        }
        Ok(key)
    }

    /// What a request may cost at most, if this key may ask it.
    fn price(
        &self,
        key: &ApiKey,
        endpoint: Endpoint,
        asked: &Asked,
        pinned: Option<&str>,
    ) -> Result<(u32, earnest_core::charge::Rates, u128), Refusal> {
        let prices = self.prices();
        if let Some(pinned) = pinned
            && pinned != prices.version.to_string()
        {
            return Err(Refusal::Bad(
                format!("version {pinned} of the price list is not in force: {} is", prices.version),
                Some("earnest-price-version"),
            ));
        }
        let model = &asked.model;
        let missing = || Refusal::Missing(format!("the model {model:?} does not exist"), "model_not_found");
        let rates = *prices.rates(model, key.line.coin).ok_or_else(missing)?;
        if !rates.sell(endpoint.service()) {
            let why = format!(
                "the price list does not sell {} of {model:?} for {}",
                endpoint.path(),
                key.line.coin.word()
            );
            return Err(Refusal::Bad(why, Some("model")));
        }
        let row = key.row.read().expect("no panic holds it");
        if row.limits.models.as_ref().is_some_and(|models| !models.contains(model)) {
            return Err(Refusal::Forbidden(format!("this API key may not use the model {model:?}")));
        }
        let reserve = rates.charge(endpoint.service(), asked.most);
        let reserve = reserve.map_err(|error| Refusal::Bad(error.to_string(), None))?;
        Ok((prices.version, rates, reserve))
    }

    fn refused(&self, coin: Coin, why: NotAdmitted) -> Refusal {
        use earnest_core::account::Refused as R;
        let shown = |units| amount(coin, units);
        let (reserve, left, of, remedy) = match why {
            NotAdmitted::Key(over) => (
                over.reserve,
                over.left,
                format!("of this key's limit {}", over.which),
                "ask for fewer tokens (max_tokens), or raise the limit",
            ),
            NotAdmitted::Channel(R::Ceiling { reserve, left }) => (
                reserve,
                left,
                "of what is signed for".into(),
                "ask for fewer tokens (max_tokens), or sign for more: earnest key renew",
            ),
            NotAdmitted::Channel(R::Deposit { reserve, left }) => (
                reserve,
                left,
                "of the deposit".into(),
                "ask for fewer tokens (max_tokens), or deposit more: earnest key top-up",
            ),
            NotAdmitted::Unseen => {
                let why =
                    "the gateway has not seen the chain for too long, and gives no credit until it does";
                return Refusal::NoProvider(why.into(), 15);
            }
            NotAdmitted::NoSpace => {
                return Refusal::NoProvider("the gateway's disk is full".into(), 60);
            }
            NotAdmitted::Channel(_) => {
                return Refusal::Quota(
                    "the channel behind this key is closed: earnest key create opens another".into(),
                );
            }
        };
        Refusal::Quota(format!(
            "you exceeded your current quota: this request may cost {} and {} is left {of}; {remedy}",
            shown(reserve),
            shown(left)
        ))
    }
}

/// A header as text, if it is there once and plain.
fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// `/v1/chat/completions` and its kin.
pub async fn answer(
    gateway: Arc<Gateway>,
    endpoint: Endpoint,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let connection = parts.extensions.get::<Arc<Connection>>().cloned().unwrap_or_default();
    let headers = parts.headers;
    let key = gateway.authenticate(&headers)?;
    if gateway.draining.load(Ordering::Relaxed) {
        return Err(Refusal::NoProvider("this gateway is about to stop".into(), 1));
    }
    if gateway.journal.behind() > BEHIND {
        return Err(Refusal::Busy("the gateway's disk is behind".into(), 1));
    }
    if !gateway.journal.alive() {
        return Err(Refusal::Internal("the gateway's disk failed".into()));
    }
    let most = gateway.settings.concurrency_per_key;
    if key.in_flight.load(Ordering::Relaxed) >= most {
        return Err(Refusal::Busy(format!("this key has {most} requests in flight, as many as it may"), 1));
    }
    let length = header_text(&headers, "content-length").and_then(|length| length.parse().ok());
    let (body, _room) = gateway.read_body(length, body).await?;
    let asked = Asked::read(endpoint, &body, gateway.settings.most_written)?;
    let sha = B256::from_slice(&Sha256::digest(&body));
    let length = body.len() as u64;
    drop(body);

    let idempotency = header_text(&headers, "idempotency-key").map(str::to_owned);
    let turn = match idempotency {
        Some(idempotency) => {
            let key_id = key.row.read().expect("no panic holds it").id.clone();
            let again = gateway.clone().again(key_id, key.line.id, endpoint, idempotency, sha, &connection);
            // In a box: without, it would be half of what is moved about for every request.
            match Box::pin(again).await? {
                Again::Known(response) => return Ok(response),
                Again::Turn(turn) => Some(turn),
            }
        }
        None => None,
    };

    let pinned = header_text(&headers, "earnest-price-version");
    let (price_version, rates, reserve) = gateway.price(&key, endpoint, &asked, pinned)?;
    let lease = gateway.settings.lease(reserve);
    let admitted = key.admit(&gateway.journal, reserve, lease, day_of(now_ms()));
    let lease = admitted.map_err(|why| gateway.refused(key.line.coin, why))?;
    crash::point("admitted");
    let id = super::new_id();
    let admitted = Admitted {
        endpoint,
        model: asked.model.clone(),
        price_version,
        rates,
        most: asked.most,
        reserve,
        asked: sha,
        length,
    };
    let job = Job::new(gateway.clone(), key, id.clone(), admitted, lease, turn);
    let mut span = gateway.trace.begin(endpoint, &asked.model, &headers);
    let answered = go(job, &asked, connection, span.parent()).await;
    span.end(&id, answered.as_ref().map(Response::status).map_err(Refusal::status));
    let mut response = match answered {
        Ok(response) => response,
        Err(refusal) => {
            gateway.metrics.refused(endpoint, refusal.status());
            axum::response::IntoResponse::into_response(refusal)
        }
    };
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-request-id", id);
    }
    Ok(response)
}

impl Gateway {
    /// A body, and the room that it takes until it is let go of.
    async fn read_body(&self, length: Option<usize>, mut body: AxumBody) -> Result<(Bytes, Room), Refusal> {
        let reading = async {
            let mut bytes = bytes::BytesMut::with_capacity(length.unwrap_or(0).min(BLOCK));
            let (mut room, mut length, mut refusal) = (self.bodies.room(), 0, None);
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return Err(Refusal::Bad("the body broke off".into(), None)) };
                let Ok(data) = frame.into_data() else { continue };
                length += data.len();
                if length > OVERLONG {
                    return Err(Refusal::TooLarge(BODY));
                }
                if length > BODY {
                    refusal = Some(Refusal::TooLarge(BODY));
                }
                if refusal.is_none() && !room.grow(length) {
                    let why = "this gateway reads as many long requests as it can at once";
                    refusal = Some(Refusal::Busy(why.into(), 1));
                }
                if refusal.is_none() {
                    bytes.extend_from_slice(&data);
                } else {
                    // Read on, and forget: a client that is still sending would not hear the answer.
                    (bytes, room) = (bytes::BytesMut::new(), self.bodies.room());
                }
            }
            refusal.map_or(Ok((bytes.freeze(), room)), Err)
        };
        if length.is_some_and(|length| length > OVERLONG) {
            return Err(Refusal::TooLarge(BODY));
        }
        let time = self.settings.body_time;
        tokio::time::timeout(time, reading).await.unwrap_or(Err(Refusal::TooSlow))
    }
}

/// A body of a few lines.
pub async fn read_small(body: AxumBody, time: Duration) -> Result<Bytes, Refusal> {
    const MOST: usize = 64 << 10;
    let limited = http_body_util::Limited::new(body, MOST);
    match tokio::time::timeout(time, limited.collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(Refusal::TooLarge(MOST)),
        Ok(Err(_)) => Err(Refusal::Bad("the body broke off".into(), None)),
        Err(_) => Err(Refusal::TooSlow),
    }
}

/// From admission to the head of the answer.
async fn go(
    mut job: Job,
    asked: &Asked,
    connection: Arc<Connection>,
    trace: Option<String>,
) -> Result<Response, Refusal> {
    let gateway = job.gateway.clone();
    let patience = gateway.settings.patience;
    let mut tries = 0;
    loop {
        crash::point("sent");
        let (most_ask, trace) = (gateway.settings.share_bps, trace.as_deref());
        let begun = gateway.routes.ask(job.endpoint, asked, &job.id, most_ask, trace).await?;
        crash::point("headed");
        let Begun { served, status, headers, body } = begun;
        if !status.is_success() {
            return refused_upstream(status, body, gateway.answers.room(), patience.piece).await;
        }
        let streams = content_type(&headers).starts_with("text/event-stream");
        if asked.stream != streams {
            served.strike();
            return Err(Refusal::Upstream(format!(
                "the provider answered with {:?} where {} was asked for",
                content_type(&headers),
                if asked.stream { "a stream" } else { "JSON" },
            )));
        }
        if !streams {
            return whole(job, asked, served, body, &connection).await;
        }
        let reserve = job.reserve;
        let (coin, mut lease) = (job.key.line.coin, job.lease);
        if let Some(turn) = &job.turn {
            // From the first byte on it is bought: whatever happens, it is not run again.
            lease = Some(gateway.journal.write(Entry::Answer(Box::new(Answer {
                channel: job.key.line.id,
                key: job.key.row.read().expect("no panic holds it").id.clone(),
                idempotency: turn.idempotency().to_owned(),
                asked: job.asked,
                id: job.id.clone(),
                content_type: "text/event-stream".into(),
                body: Default::default(),
                time: now_ms(),
            }))));
        }
        let (mut stream, meter, delivery) = Stream::new(job, served, asked.shows_usage, body, patience.piece);
        match stream.begin().await {
            Ok(()) => {}
            Err((Some(again), _)) if tries < STREAM_TRIES => {
                tries += 1;
                job = again;
                continue;
            }
            Err((_, refusal)) => return Err(refusal),
        }
        durable(&gateway, lease).await?;
        gateway.streams.lock().expect("no panic holds it").push(Arc::downgrade(&meter));
        connection.carry(delivery);
        let mut response = Response::new(AxumBody::new(stream));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        headers.insert("x-earnest-reserve", text(decimal(coin, reserve)));
        return Ok(response);
    }
}

fn content_type(headers: &HeaderMap) -> &str {
    header_text(headers, "content-type").unwrap_or_default()
}

/// A receipt as a header has it.
fn encoded(receipt: &SignedReceipt) -> String {
    let json = serde_json::to_vec(receipt).expect("a receipt is JSON");
    base64::engine::general_purpose::STANDARD.encode(json)
}

fn text(text: String) -> HeaderValue {
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

async fn durable(gateway: &Gateway, entry: Option<u64>) -> Result<(), Refusal> {
    if let Some(entry) = entry
        && !gateway.journal.durable(entry).await
    {
        return Err(Refusal::Internal("the gateway's disk failed; nothing was charged".into()));
    }
    crash::point("leased");
    Ok(())
}

/// What the upstream found wrong with the request: it goes to the client as it came, if it is in OpenAI's shape.
async fn refused_upstream(
    status: StatusCode,
    body: super::route::Body,
    mut room: Room,
    patience: Duration,
) -> Result<Response, Refusal> {
    let (bytes, _) = read_whole(body, 1 << 20, &mut room, patience).await?;
    let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let status = match status {
        // A path that this provider does not have is none of the client's business.
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_FOUND if !value["error"].is_object() => {
            return Err(Refusal::Upstream("the provider does not offer this endpoint".into()));
        }
        status => status,
    };
    if !value["error"].is_object() {
        let why = value["detail"].as_str().or(value["message"].as_str()).or(value["error"].as_str());
        return Err(Refusal::Bad(
            why.unwrap_or("the provider refused the request and did not say why").into(),
            None,
        ));
    }
    // Its message is its own; the shape is OpenAI's, whatever it left out.
    let said = &value["error"];
    let text = |name: &str| said[name].as_str().map(str::to_owned);
    let error = serde_json::json!({"error": {
        "message": text("message").unwrap_or_else(|| "the provider refused the request and did not say why".into()),
        "type": text("type").unwrap_or_else(|| "invalid_request_error".into()),
        "param": text("param"),
        "code": text("code"),
    }});
    let mut response = Response::new(AxumBody::from(error.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// An answer in one piece.
async fn whole(
    job: Job,
    asked: &Asked,
    served: Served,
    body: super::route::Body,
    connection: &Connection,
) -> Result<Response, Refusal> {
    let gateway = job.gateway.clone();
    let mut room = gateway.answers.room();
    let (bytes, trailers) = match read_whole(body, ANSWER, &mut room, gateway.settings.patience.head).await {
        Ok(read) => read,
        Err(busy @ Refusal::Busy(..)) => return Err(busy),
        Err(refusal) => {
            served.strike();
            return Err(refusal);
        }
    };
    crash::point("answered");
    let told = Told::read(&bytes).map_err(|error| {
        served.strike();
        Refusal::Upstream(format!("the provider's answer is not JSON: {error}"))
    })?;
    if let Some(model) = &told.model
        && !is_the_model(model, [&asked.model, &served.model])
    {
        served.strike();
        return Err(Refusal::Upstream(format!("the provider answered with another model, {model:?}")));
    }
    if told.failed {
        served.strike();
        return Err(Refusal::Upstream("the provider answered with an error in place of an answer".into()));
    }
    let usage = match told.usage {
        Some(stated) if served.signs => {
            let realm = Realm { chain_id: gateway.house.chain_id, revenue: gateway.house.revenue };
            signed_usage(trailers.as_ref(), &served, &realm, &job.id, stated)
        }
        Some(stated) => stated,
        None => {
            served.strike();
            return Err(Refusal::Upstream("the provider's answer does not say what was used".into()));
        }
    };
    let usage = job.bounded(usage, told.text);
    served.praise();
    let sha = B256::from_slice(&Sha256::digest(&bytes));
    let charge = job.charge(&served, usage, true, Some(sha), true);
    let receipt = encoded(&charge.receipt);
    let shown = decimal(job.key.line.coin, charge.charge);
    let lease = job.lease;
    let delivery = match job.turn.as_ref().map(|turn| turn.idempotency().to_owned()) {
        // What is kept is charged: whoever did not get it asks again, and is told it for nothing.
        Some(idempotency) => {
            gateway.journal.write(Entry::Answer(Box::new(Answer {
                channel: charge.channel,
                key: charge.key.clone(),
                idempotency,
                asked: job.asked,
                id: charge.id.clone(),
                content_type: "application/json".into(),
                body: bytes.clone().into(),
                time: charge.time,
            })));
            job.record(charge);
            let kept = gateway.journal.write(Entry::Flush);
            durable(&gateway, Some(kept)).await?;
            Delivery::new(move |_| drop(room))
        }
        None => {
            durable(&gateway, lease).await?;
            Delivery::new(move |ended| {
                if ended == Ended::Whole {
                    crash::point("written");
                    job.record(charge);
                }
                drop(room);
            })
        }
    };
    connection.carry(delivery.clone());
    let mut response = Response::new(AxumBody::new(Whole::new(bytes, delivery)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("x-earnest-charge", text(shown));
    headers.insert("x-earnest-receipt", text(receipt));
    Ok(response)
}

/// What is known of an `Idempotency-Key`.
enum Again {
    /// It was answered.
    Known(Response),
    /// It is this request's.
    Turn(Turn),
}

/// Holds an `Idempotency-Key` while its request runs.
pub struct Turn(Arc<Gateway>, (String, String));

impl Turn {
    /// The header.
    pub fn idempotency(&self) -> &str {
        &self.1.1
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.running.lock().expect("no panic holds it").remove(&self.1);
    }
}

impl Gateway {
    async fn again(
        self: Arc<Self>,
        key: String,
        channel: B256,
        endpoint: Endpoint,
        idempotency: String,
        asked: B256,
        connection: &Connection,
    ) -> Result<Again, Refusal> {
        if idempotency.is_empty() || idempotency.len() > 255 {
            return Err(Refusal::Bad("an Idempotency-Key has 1 to 255 characters".into(), None));
        }
        // The same bytes mean something else to another endpoint.
        let name = (key, format!("{} {idempotency}", endpoint.path()));
        if !self.running.lock().expect("no panic holds it").insert(name.clone()) {
            return Err(Refusal::Conflict("a request with this Idempotency-Key is still running".into()));
        }
        let turn = Turn(self.clone(), name.clone());
        // What the last one wrote may not be on the disk yet.
        let flush = self.journal.write(Entry::Flush);
        durable(&self, Some(flush)).await?;
        let mut room = self.answers.room();
        let gateway = self;
        let found = tokio::task::spawn_blocking(move || {
            let Some(kept) = gateway.journal.answer(&name.0, &name.1)? else { return Ok(None) };
            let receipt = gateway.journal.receipt(&kept.id, channel)?;
            anyhow::Ok(Some((kept, receipt)))
        });
        let found = found.await.map_err(|error| Refusal::Internal(error.to_string()))?;
        let Some((kept, receipt)) = found.map_err(|error| Refusal::Internal(error.to_string()))? else {
            return Ok(Again::Turn(turn));
        };
        if kept.asked != asked {
            return Err(Refusal::Conflict("this Idempotency-Key was used with another body".into()));
        }
        if kept.body.is_empty() {
            return Err(Refusal::Conflict(format!(
                "the answer to this Idempotency-Key broke off or was too long to keep, and was charged as far as it came (receipt {}); use another key to ask again",
                kept.id
            )));
        }
        if !room.grow(kept.body.len()) {
            return Err(Refusal::Busy(TOO_MANY_ANSWERS.into(), 1));
        }
        let delivery = Delivery::new(move |_| drop(room));
        connection.carry(delivery.clone());
        let mut response = Response::new(AxumBody::new(Whole::new(kept.body.into(), delivery)));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, text(kept.content_type));
        headers.insert("x-request-id", text(kept.id));
        headers.insert("x-earnest-replayed", HeaderValue::from_static("true"));
        if let Some(receipt) = receipt {
            headers.insert("x-earnest-receipt", text(encoded(&receipt)));
        }
        Ok(Again::Known(response))
    }
}
