//! A request's way: who asks, what it may cost, whether that is covered, who answers, what was used. Nothing is sent
//! upstream that is not covered, and no byte of an answer leaves before what covers it is on the disk.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use alloy_primitives::B256;
use axum::body::Body as AxumBody;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};

use super::again::Again;
use super::answer::{durable, text};
use super::books::{ApiKey, NotAdmitted, hash_of};
use super::delivery::Connection;
use super::job::{Admitted, Job};
use super::journal::{Answer, Coin, Entry, day_of};
use super::left::Place;
use super::pace::Pace;
use super::refusal::Refusal;
use super::room::{BLOCK, Room};
use super::route::Begun;
use super::stream::Stream;
use super::tries::Trouble;
use super::whole::{the_rest, whole};
use super::{Gateway, amount, crash, decimal, now_ms};
use crate::openai::Endpoint;
use crate::openai::dialect::Dialect;
use crate::openai::request::Asked;
use crate::packing::{Unread, unpacked};

/// Bytes of a request's body at most.
pub const BODY: usize = 16 << 20;
/// Bytes of a body that is too long, and read to its end so that the client hears of it.
const OVERLONG: usize = 256 << 20;
/// Bytes of a body, or of an answer, that is read at once.
pub(super) const SHORT: usize = 256 << 10;
/// Why a long body is not held.
const TOO_MANY_BODIES: &str = "this gateway reads as many long requests as it can at once";
/// Bytes of a JSON answer at most.
pub const ANSWER: usize = 64 << 20;
/// Entries that the journal may be behind before nothing more is taken in.
const BEHIND: u64 = 50_000;

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
                Some("earnest-price-version".into()),
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
            return Err(Refusal::Bad(why, Some("model".into())));
        }
        let row = key.row.read().expect("no panic holds it");
        if row.limits.models.as_ref().is_some_and(|models| !models.contains(model)) {
            return Err(Refusal::Forbidden(format!("this API key may not use the model {model:?}")));
        }
        let reserve = rates.charge(endpoint.service(), asked.most.usage);
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

/// A header that must not pass unheard: once, and in plain ASCII.
fn plain_header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Refusal> {
    let mut all = headers.get_all(name).iter();
    let Some(first) = all.next() else { return Ok(None) };
    let plain = first.to_str().ok().filter(|_| all.next().is_none());
    let why = || Refusal::Bad(format!("the header {name} has to stand once, in plain ASCII"), None);
    plain.map(Some).ok_or_else(why)
}

/// `/v1/chat/completions` and its kin.
pub async fn answer(gateway: Arc<Gateway>, endpoint: Endpoint, request: Request) -> Response {
    match answered(&gateway, endpoint, request).await {
        Ok(response) => response,
        Err(refusal) => {
            gateway.metrics.refused(endpoint, refusal.status());
            axum::response::IntoResponse::into_response(refusal)
        }
    }
}

async fn answered(gateway: &Arc<Gateway>, endpoint: Endpoint, request: Request) -> Result<Response, Refusal> {
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
    // Who cannot pay holds no room for a body.
    if !key.could_pay() {
        let state = key.line.account.lock().expect("no panic holds it").state;
        return Err(match state {
            earnest_core::account::State::Open => Refusal::Quota(
                "you exceeded your current quota: nothing is left of what is signed for; sign for more: earnest key renew, or deposit more: earnest key top-up".into(),
            ),
            _ => gateway.refused(key.line.coin, NotAdmitted::Channel(earnest_core::account::Refused::Stopped)),
        });
    }
    let length = header_text(&headers, "content-length").and_then(|length| length.parse().ok());
    let (body, mut room) = gateway.read_body(&key, length, body).await?;
    let sha = B256::from_slice(&Sha256::digest(&body));
    let coding = header_text(&headers, "content-encoding").map(str::to_owned);
    let (asked, _room) = match coding {
        None if body.len() <= SHORT => (gateway.read_request(endpoint, body)?, room),
        // Beside the threads that serve: a little may become much, and much takes long to read.
        coding => {
            let stopped = |_| Refusal::Internal("the gateway stops".into());
            let own = key.line.long_body.clone().acquire_owned().await.map_err(stopped)?;
            let turn = gateway.long_bodies.clone().acquire_owned().await.map_err(stopped)?;
            let gateway = gateway.clone();
            let reading = tokio::task::spawn_blocking(move || {
                // Whoever leaves meanwhile has its turns until this is over.
                let _turns = (own, turn);
                let coding = coding.unwrap_or_default();
                let plain =
                    unpacked(&coding, body, BODY, |bytes| room.grow(bytes)).map_err(|why| match why {
                        Unread::TooLong(most) => Refusal::TooLarge(most),
                        Unread::NoRoom => Refusal::Busy(TOO_MANY_BODIES.into(), 1),
                        Unread::Broken => Refusal::Bad(why.to_string(), None),
                        Unread::Unknown(_) => Refusal::Coding(why.to_string()),
                    })?;
                Ok::<_, Refusal>((gateway.read_request(endpoint, plain)?, room))
            });
            reading.await.map_err(|error| Refusal::Internal(error.to_string()))??
        }
    };
    let pinned = plain_header(&headers, "earnest-price-version")?;
    let (price_version, rates, reserve) = gateway.price(&key, endpoint, &asked, pinned)?;
    let idempotency = plain_header(&headers, "idempotency-key")?.map(str::to_owned);
    let key_id = || key.row.read().expect("no panic holds it").id.clone();
    let (turn, left) = match idempotency {
        Some(idempotency) => {
            let again = gateway.clone().again(key_id(), key.line.id, endpoint, idempotency, sha, &connection);
            // In a box: without, it would be half of what is moved about for every request.
            match Box::pin(again).await? {
                Again::Known(response) => return Ok(response),
                Again::Turn(turn) => (Some(turn), None),
            }
        }
        // Whoever was cut off in the middle of an answer is given the same one, for what it has not paid yet.
        None => (None, gateway.left.take(&Place { key: key.row_id(), endpoint, asked: sha })),
    };

    let (price_version, rates, reserve) = match &left {
        Some(left) => (left.price_version, left.rates, left.rest()),
        None => (price_version, rates, reserve),
    };
    let lease = gateway.settings.lease(reserve);
    let lease = match key.admit(&gateway.journal, reserve, lease, day_of(now_ms())) {
        Ok(lease) => lease,
        Err(why) => {
            if let Some(left) = left {
                gateway.left.put(Place { key: key.row_id(), endpoint, asked: sha }, left);
            }
            return Err(gateway.refused(key.line.coin, why));
        }
    };
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
    };
    let span = gateway.trace.begin(endpoint, &asked.model, &headers);
    let trace = span.parent();
    let job = Job::new(gateway.clone(), key, id.clone(), admitted, lease, turn, span);
    let answered = match left {
        Some(left) => Box::pin(the_rest(job, left, &connection)).await,
        None => go(job, &asked, connection, trace).await,
    };
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
    /// A request as its model's settings take it.
    fn read_request(&self, endpoint: Endpoint, body: Bytes) -> Result<Asked, Refusal> {
        #[derive(serde::Deserialize)]
        struct Named<'b> {
            #[serde(borrow)]
            model: std::borrow::Cow<'b, str>,
        }
        let (settings, plain) = (&self.settings, Dialect::default());
        // The name may stand behind what the settings decide.
        let named = (!settings.dialects.is_empty())
            .then(|| serde_json::from_slice::<Named<'_>>(&body).ok())
            .flatten();
        let dialect = named.and_then(|named| settings.dialects.get(named.model.as_ref())).unwrap_or(&plain);
        Ok(Asked::read(endpoint, body.clone(), dialect, settings.most_written)?)
    }
}

impl Gateway {
    /// A body, and the room that it takes until it is let go of.
    async fn read_body(
        &self,
        key: &ApiKey,
        length: Option<usize>,
        mut body: AxumBody,
    ) -> Result<(Bytes, Room), Refusal> {
        let owner = key.line.id;
        let reading = async {
            let mut bytes = bytes::BytesMut::with_capacity(length.unwrap_or(0).min(BLOCK));
            let (mut room, mut length, mut refusal) = (self.bodies.room(owner), 0, None);
            let mut pace = Pace::new(self.settings.body_time);
            while let Some(frame) = pace.wait(body.frame()).await.map_err(|_| Refusal::TooSlow)? {
                let Ok(frame) = frame else { return Err(Refusal::Bad("the body broke off".into(), None)) };
                let Ok(data) = frame.into_data() else { continue };
                pace.moved(data.len());
                length += data.len();
                if length > OVERLONG {
                    return Err(Refusal::TooLarge(BODY));
                }
                if length > BODY {
                    refusal = Some(Refusal::TooLarge(BODY));
                }
                if refusal.is_none() && !room.grow(length) {
                    refusal = Some(Refusal::Busy(TOO_MANY_BODIES.into(), 1));
                }
                if refusal.is_none() {
                    bytes.extend_from_slice(&data);
                } else {
                    // Read on, and forget: a client that is still sending would not hear the answer.
                    (bytes, room) = (bytes::BytesMut::new(), self.bodies.room(owner));
                }
            }
            refusal.map_or(Ok((bytes.freeze(), room)), Err)
        };
        if length.is_some_and(|length| length > OVERLONG) {
            return Err(Refusal::TooLarge(BODY));
        }
        // At the least pace the longest would take hours.
        let time = self.settings.body_time * 15;
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
    let id = job.id.clone();
    let mut tries =
        gateway.routes.tries(asked, job.key.line.id, &id, gateway.settings.share_bps, trace.as_deref());
    loop {
        crash::point("sent");
        let begun = match tries.next().await {
            Ok(begun) => begun,
            Err(refusal) => return Err(job.refused(refusal)),
        };
        crash::point("headed");
        let answered = match asked.stream {
            true => stream(job, asked, begun, &connection).await,
            false => whole(job, asked, begun, &connection).await,
        };
        let (back, trouble) = match answered {
            Ok(response) => {
                tries.served();
                return Ok(response);
            }
            Err(failed) => *failed,
        };
        let Some(back) = back else {
            return Err(tries.told(trouble));
        };
        job = back;
        if let Err(refusal) = tries.failed(trouble) {
            return Err(job.refused(refusal));
        }
    }
}

/// How an answer failed before a byte of it went out: with the job, if another provider may have it.
pub(super) type Failed = Box<(Option<Job>, Trouble)>;

/// An answer in pieces.
async fn stream(job: Job, asked: &Asked, begun: Begun, connection: &Connection) -> Result<Response, Failed> {
    let gateway = job.gateway.clone();
    let (coin, reserve, mut lease) = (job.key.line.coin, job.reserve, job.lease);
    let bought = job.turn.as_ref().map(|turn| Answer {
        key: job.key.row_id(),
        channel: job.key.line.id,
        idempotency: turn.idempotency().to_owned(),
        asked: job.asked,
        id: job.id.clone(),
        content_type: "text/event-stream".into(),
        body: Default::default(),
        time: now_ms(),
    });
    let (mut stream, meter, delivery) =
        Stream::new(job, begun.served, begun.body, asked.shows_usage, gateway.settings.patience.piece);
    let first = stream.begin(begun.until.into()).await;
    begun.waiting.over(!matches!(&first, Err((_, trouble)) if trouble.is_silence()));
    first.map_err(Box::new)?;
    if let Some(bought) = bought {
        // From the first byte on it is bought: whatever happens, it is not run again.
        lease = Some(gateway.journal.write(Entry::Answer(Box::new(bought))));
    }
    durable(&gateway, lease).await.map_err(|refusal| Box::new((None, Trouble::Ours(refusal))))?;
    gateway.streams.lock().expect("no panic holds it").push(Arc::downgrade(&meter));
    connection.carry(delivery, 0);
    let mut response = Response::new(AxumBody::new(stream));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    headers.insert("x-earnest-reserve", text(decimal(coin, reserve)));
    Ok(response)
}
