//! An answer in one piece: it is read, counted and charged before a byte of it goes out.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use alloy_primitives::B256;
use axum::body::Body as AxumBody;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::answer::{TOO_MANY_ANSWERS, durable, encoded, renamed, sealed_usage, text, told};
use super::delivery::{Connection, Delivery, Ended, Progress};
use super::job::Job;
use super::journal::{Answer, Entry};
use super::left::Left;
use super::refusal::Refusal;
use super::room::Room;
use super::route::{Begun, Body, Served};
use super::serve::{ANSWER, Failed, SHORT};
use super::tries::Trouble;
use super::{crash, decimal};
use crate::openai::Endpoint;
use crate::openai::answer::{Counted, Event, NotJson, Seen, is_the_model};
use crate::openai::events::begins_as_events;
use crate::openai::fault::Fault;
use crate::openai::request::Asked;

/// An answer in one piece.
pub async fn whole(
    job: Job,
    asked: &Asked,
    begun: Begun,
    connection: &Arc<Connection>,
) -> Result<Response, Failed> {
    let gateway = job.gateway.clone();
    let Begun { served, body, waiting, until } = begun;
    let mut room = gateway.answers.room(job.key.line.id);
    let read = read_whole(body, ANSWER, &mut room, until).await;
    waiting.over(!matches!(read, Err(Refusal::Timeout(_))));
    let (came, trailers) = match read {
        Ok(read) => read,
        Err(busy @ Refusal::Busy(..)) => return Err(Box::new((Some(job), Trouble::Ours(busy)))),
        Err(refusal) => {
            served.strike();
            return Err(Box::new((Some(job), Trouble::Next(refusal))));
        }
    };
    crash::point("answered");
    let reading = |bytes: &Bytes| {
        let mut seen = Seen::default();
        let event = seen.read(bytes);
        (seen, event)
    };
    let (mut seen, event) = beside(&came, reading).await;
    let event = match readable(&came, &mut seen, event, asked, &served) {
        Ok(event) => event,
        Err(trouble) => {
            if matches!(trouble, Trouble::Next(_)) {
                served.strike();
            }
            return Err(Box::new((Some(job), trouble)));
        }
    };
    let sha256 = |bytes: &Bytes| B256::from_slice(&Sha256::digest(bytes));
    let mut hash = None;
    let sealed = if served.seals() {
        let sha = beside(&came, sha256).await;
        hash = Some(sha);
        let stated = seen.stated(&job.most);
        match sealed_usage(trailers.as_ref(), &served, &job.id, sha, stated) {
            Ok(sealed) => sealed,
            // Nothing of it has gone out: whoever altered it on its way, another may be asked.
            Err(error) => {
                let why = format!("the provider's answer is not the one that it sealed: {error}");
                return Err(Box::new((Some(job), Trouble::Next(Refusal::Upstream(why)))));
            }
        }
    } else {
        None
    };
    let counted = seen.count(&job.most, sealed, served.hidden(&job.most));
    job.learn(&served, &counted, seen.stated(&job.most));
    if !seen.failed {
        served.praise();
    }
    let mut bytes = came;
    if event.model.as_deref().is_some_and(|said| said != asked.model) {
        bytes = renamed(&bytes, 0, &event.model_at, &asked.model);
        hash = None;
    }
    if counted.estimated {
        let endpoint = asked.endpoint;
        bytes = beside(&bytes, move |bytes| with_usage(bytes.clone(), endpoint, &counted)).await;
        hash = None;
    }
    let sha = match hash {
        Some(sha) => sha,
        None => beside(&bytes, sha256).await,
    };
    let complete = !seen.failed;
    let charge = job.charge(&served, counted, complete, Some(sha).filter(|_| complete), true);
    let receipt = encoded(&charge.receipt);
    let mut response = Response::new(AxumBody::empty());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("x-earnest-charge", text(decimal(job.key.line.coin, charge.charge)));
    headers.insert("x-earnest-receipt", text(receipt));
    let head = head_length(headers);
    let lease = job.lease;
    let answer = bytes.clone();
    let (entry, delivery) = match job.turn.as_ref().map(|turn| turn.idempotency().to_owned()) {
        // What is kept is charged: whoever did not get it asks again, and is told it for nothing.
        Some(idempotency) => {
            gateway.journal.write(Entry::Answer(Box::new(Answer {
                channel: charge.channel,
                key: charge.key.clone(),
                idempotency,
                asked: job.asked,
                id: charge.id.clone(),
                content_type: "application/json".into(),
                body: bytes.into(),
                time: charge.time,
            })));
            job.record(charge);
            (Some(gateway.journal.write(Entry::Flush)), Delivery::new(move |_| drop(room)))
        }
        None => {
            let left = Left::new(&job, served, counted, seen.written(), bytes);
            (
                lease,
                Delivery::new(move |ended| {
                    match ended {
                        Ended::Whole => {
                            crash::point("written");
                            job.record(charge);
                        }
                        Ended::After(written) => left.leave(job, written.bytes),
                    }
                    drop(room);
                }),
            )
        }
    };
    durable(&gateway, entry).await.map_err(|refusal| Box::new((None, Trouble::Ours(refusal))))?;
    connection.carry(delivery.clone(), head);
    *response.body_mut() = AxumBody::new(Whole::new(answer, delivery));
    Ok(response)
}

/// Does what takes as long as the bytes are many: of long ones beside the threads that serve.
async fn beside<T: Send + 'static>(bytes: &Bytes, work: impl FnOnce(&Bytes) -> T + Send + 'static) -> T {
    if bytes.len() <= SHORT {
        return work(bytes);
    }
    let bytes = bytes.clone();
    tokio::task::spawn_blocking(move || work(&bytes)).await.expect("it does not panic")
}

/// What is left of an answer whose reader was cut off.
pub async fn the_rest(job: Job, left: Left, connection: &Arc<Connection>) -> Result<Response, Refusal> {
    let (gateway, lease, answer) = (job.gateway.clone(), job.lease, left.bytes.clone());
    let charge = left.charge_rest(&job);
    let mut response = Response::new(AxumBody::empty());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("x-earnest-charge", text(decimal(job.key.line.coin, charge.charge)));
    headers.insert("x-earnest-receipt", text(encoded(&charge.receipt)));
    headers.insert("x-earnest-replayed", HeaderValue::from_static("true"));
    let head = head_length(headers);
    let delivery = Delivery::new(move |ended| match ended {
        Ended::Whole => job.record(charge),
        Ended::After(written) => left.leave(job, written.bytes),
    });
    durable(&gateway, lease).await?;
    connection.carry(delivery.clone(), head);
    *response.body_mut() = AxumBody::new(Whole::new(answer, delivery));
    Ok(response)
}

/// Bytes of a head with these headers and those that every answer gets: rather too many than too few.
fn head_length(headers: &HeaderMap) -> u64 {
    let fields = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>();
    fields as u64 + 384
}

/// Reads a JSON answer, or says why it is none.
fn readable(
    bytes: &Bytes,
    seen: &mut Seen,
    event: Result<Event, NotJson>,
    asked: &Asked,
    served: &Served,
) -> Result<Event, Trouble> {
    let next = |why: String| Trouble::Next(Refusal::Upstream(why));
    if begins_as_events(bytes) {
        return Err(next("the provider answered with a stream where JSON was asked for".into()));
    }
    let event = event.map_err(|error| next(format!("the provider's answer is not JSON: {error}")))?;
    // What a choice came to before it failed was made, and is given as it is.
    seen.failed |= event.choice_error && seen.wrote();
    if event.error || event.choice_error && !seen.failed || !seen.is_answer {
        let otherwise = "the provider answered with something else than an answer";
        return Err(Trouble::said(Fault::read(bytes), served, otherwise));
    }
    if let Some(said) = &event.model
        && !is_the_model(said, served.names.iter().map(String::as_str).chain([asked.model.as_str()]))
    {
        let name = || {
            format!(
                "its server answers as {said:?}; name that: --model {}={},{said}",
                asked.model, served.names[0]
            )
        };
        served.warn(name);
        // It is the operator's own server: its name is not the holder's trouble.
        if served.seals() {
            return Err(next(format!("the provider answered with another model, {said:?}")));
        }
    }
    Ok(event)
}

/// An answer with the usage that is charged in place of what it said.
fn with_usage(bytes: Bytes, endpoint: Endpoint, counted: &Counted) -> Bytes {
    #[derive(serde::Deserialize)]
    struct Top<'b> {
        #[serde(borrow, default, deserialize_with = "there")]
        usage: Option<&'b RawValue>,
    }
    /// `null` is there, too.
    fn there<'d, D: serde::Deserializer<'d>>(from: D) -> Result<Option<&'d RawValue>, D::Error> {
        serde::Deserialize::deserialize(from).map(Some)
    }
    let usage = told(endpoint, counted).to_string();
    let Ok(top) = serde_json::from_slice::<Top<'_>>(&bytes) else { return bytes };
    match top.usage {
        Some(raw) => {
            let at = raw.get().as_ptr() as usize - bytes.as_ptr() as usize;
            [&bytes[..at], usage.as_bytes(), &bytes[at + raw.get().len()..]].concat().into()
        }
        None => {
            let Some(open) = bytes.iter().position(|&byte| byte == b'{') else { return bytes };
            let more = if bytes[open + 1..].trim_ascii_start().starts_with(b"}") { "" } else { "," };
            [&bytes[..=open], b"\"usage\":", usage.as_bytes(), more.as_bytes(), &bytes[open + 1..]]
                .concat()
                .into()
        }
    }
}

/// A JSON answer, which goes out in one piece.
pub struct Whole {
    bytes: Option<Bytes>,
    delivery: Arc<Delivery>,
}

impl Whole {
    /// Over an answer that was made.
    pub fn new(bytes: Bytes, delivery: Arc<Delivery>) -> Self {
        Whole { bytes: Some(bytes), delivery }
    }
}

impl HttpBody for Whole {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(bytes) = self.bytes.take() else { return Poll::Ready(None) };
        let so_far = Progress { bytes: bytes.len() as u64, ..Progress::default() };
        self.delivery.hand(so_far, true);
        crash::point("handed");
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        self.delivery.dropped();
    }
}

/// Reads a JSON answer whole: its bytes and what the provider signed, or why not.
async fn read_whole(
    mut body: Body,
    most: usize,
    room: &mut Room,
    until: Instant,
) -> Result<(Bytes, Option<HeaderMap>), Refusal> {
    let unreadable = |why: &str| Refusal::Upstream(format!("the provider's answer cannot be read: {why}"));
    let reading = async {
        let (mut bytes, mut trailers) = (BytesMut::new(), None);
        while let Some(frame) = body.frame().await {
            match frame.map_err(|error| unreadable(&error.to_string()))?.into_data() {
                Ok(data) if bytes.len() + data.len() > most => {
                    return Err(unreadable(&format!("it is longer than {most} bytes")));
                }
                Ok(data) if !room.grow(bytes.len() + data.len()) => {
                    return Err(Refusal::Busy(TOO_MANY_ANSWERS.into(), 1));
                }
                Ok(data) => bytes.extend_from_slice(&data),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        Ok((bytes.freeze(), trailers))
    };
    let late = || Refusal::Timeout("the provider's answer was not there in time".into());
    tokio::time::timeout_at(until.into(), reading).await.unwrap_or_else(|_| Err(late()))
}
