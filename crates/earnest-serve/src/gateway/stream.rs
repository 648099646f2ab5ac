//! An answer in pieces (server-sent events). Each event passes as it came, as soon as it came; what is counted on the
//! way is what a client pays that leaves early. The end carries the receipt in a comment.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use alloy_primitives::B256;
use axum::http::HeaderMap;
use bytes::{Bytes, BytesMut};
use earnest_core::charge::Usage;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, Sleep, sleep_until};

use super::crash;
use super::delivery::{Delivery, Ended, Progress};
use super::job::Job;
use super::journal::{Answer, Charge, Entry};
use super::refusal::Refusal;
use super::room::Room;
use super::route::{Body, Served};
use super::wire::{Endpoint, Told, is_the_model};
use crate::provider::hello::Realm;
use crate::provider::usage::UsageClaim;

/// Bytes of one event at most.
const EVENT: usize = 4 << 20;
/// Bytes of a stream that are kept for its `Idempotency-Key` at most.
const KEPT: usize = 16 << 20;

/// Why a long answer is not held.
pub const TOO_MANY_ANSWERS: &str = "this gateway holds as many long answers as it can at once";

/// Cuts what comes into events. A byte is looked at once.
#[derive(Default)]
pub struct Events {
    buffer: BytesMut,
    seen: usize,
}

/// An event is too long: it is none.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

impl Events {
    /// More bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes the next whole event, its empty line included.
    pub fn take(&mut self) -> Result<Option<Bytes>, TooLong> {
        while let Some(at) = self.buffer[self.seen..].iter().position(|&byte| byte == b'\n') {
            let line = self.seen + at;
            // An empty line ends an event: a second line feed, perhaps with its carriage return.
            let rest = &self.buffer[line + 1..];
            let end = match rest {
                [b'\n', ..] => line + 2,
                [b'\r', b'\n', ..] => line + 3,
                [] | [b'\r'] => break, // what follows decides
                _ => {
                    self.seen = line + 1;
                    continue;
                }
            };
            self.seen = 0;
            return Ok(Some(self.buffer.split_to(end).freeze()));
        }
        if self.buffer.len() > EVENT { Err(TooLong) } else { Ok(None) }
    }

    /// What came after the last event.
    pub fn rest(&self) -> &[u8] {
        &self.buffer
    }
}

/// The data of an event: its `data:` lines, joined. None: a comment, or an event without.
pub fn data_of(event: &[u8]) -> Option<Vec<u8>> {
    let mut data: Option<Vec<u8>> = None;
    for line in event.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(value) = line.strip_prefix(b"data:") {
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match &mut data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => data = Some(value.to_vec()),
            }
        }
    }
    data
}

/// What is known of a stream, shared by its body, its connection and whoever writes marks.
pub struct Meter {
    state: Mutex<State>,
    /// Who answers.
    pub served: Served,
    delivery: Mutex<Option<Arc<Delivery>>>,
}

struct State {
    job: Option<Job>,
    stated: Option<Usage>,
    marked: Progress,
    /// The charge of the whole answer, once it is known.
    whole: Option<Charge>,
    kept: Option<Kept>,
}

/// What an `Idempotency-Key` is told again.
struct Kept {
    bytes: BytesMut,
    room: Room,
}

impl Meter {
    /// The answer is over.
    fn ended(&self, ended: Ended) {
        let mut state = self.state.lock().expect("no panic holds it");
        let Some(job) = state.job.take() else { return };
        let (stated, whole, kept) = (state.stated, state.whole.take(), state.kept.take());
        drop(state);
        let written = match ended {
            Ended::Whole => self.progress(),
            Ended::After(written) => written,
        };
        let (charge, body) = match (ended, whole) {
            (Ended::Whole, Some(charge)) => {
                (charge, kept.as_ref().map(|kept| kept.bytes.clone().freeze()).unwrap_or_default())
            }
            // Nothing left this machine: nothing is paid, and it may be asked again.
            _ if written.pieces == 0 => {
                if let Some(turn) = &job.turn {
                    let key = job.key.row.read().expect("no panic holds it").id.clone();
                    job.gateway.journal.write(Entry::Forget(key, turn.idempotency().to_owned()));
                }
                return;
            }
            _ => {
                let usage = job.cut_off(written, stated);
                (job.charge(&self.served, usage, false, None, true), Bytes::new())
            }
        };
        if let Some(turn) = &job.turn {
            job.gateway.journal.write(Entry::Answer(Box::new(Answer {
                channel: charge.channel,
                key: charge.key.clone(),
                idempotency: turn.idempotency().to_owned(),
                asked: job.asked,
                id: charge.id.clone(),
                content_type: "text/event-stream".into(),
                body: body.into(),
                time: charge.time,
            })));
        }
        job.record(charge);
    }

    fn progress(&self) -> Progress {
        let delivery = self.delivery.lock().expect("no panic holds it");
        delivery.as_ref().map_or(Progress::default(), |delivery| delivery.progress())
    }

    /// What it costs if nothing more is heard of it; none where that was said already.
    pub fn mark(&self) -> Option<Charge> {
        let written = self.progress();
        let mut state = self.state.lock().expect("no panic holds it");
        if written.pieces == state.marked.pieces {
            return None;
        }
        state.marked = written;
        let job = state.job.as_ref()?;
        Some(job.charge(&self.served, job.cut_off(written, state.stated), false, None, false))
    }
}

/// The body that a client reads.
pub struct Stream {
    meter: Arc<Meter>,
    delivery: Arc<Delivery>,
    realm: Realm,
    endpoint: Endpoint,
    shows_usage: bool,
    name: String,
    most_pieces: u64,
    upstream: Option<Body>,
    trailers: Option<HeaderMap>,
    events: Events,
    sent: Sha256,
    counted: Counted,
    outbox: VecDeque<(Bytes, Progress, bool)>,
    finished: bool,
    patience: std::time::Duration,
    silence: Pin<Box<Sleep>>,
}

#[derive(Default)]
struct Counted {
    so_far: Progress,
    last_event: bool,
    broken: bool,
}

impl Stream {
    /// Over a provider's answer.
    pub fn new(
        job: Job,
        served: Served,
        shows_usage: bool,
        upstream: Body,
        patience: std::time::Duration,
    ) -> (Self, Arc<Meter>, Arc<Delivery>) {
        let house = job.gateway.house;
        let realm = Realm { chain_id: house.chain_id, revenue: house.revenue };
        let (endpoint, name, most_pieces) = (job.endpoint, job.model.clone(), job.most.output);
        let room = || job.gateway.answers.room();
        let kept = job.turn.as_ref().map(|_| Kept { bytes: BytesMut::new(), room: room() });
        let state = State { job: Some(job), stated: None, marked: Progress::default(), whole: None, kept };
        let meter = Arc::new(Meter { state: Mutex::new(state), served, delivery: Mutex::default() });
        let ending = meter.clone();
        let delivery = Delivery::new(move |ended| ending.ended(ended));
        *meter.delivery.lock().expect("no panic holds it") = Some(delivery.clone());
        let stream = Stream {
            meter: meter.clone(),
            delivery: delivery.clone(),
            realm,
            endpoint,
            shows_usage,
            name,
            most_pieces,
            upstream: Some(upstream),
            trailers: None,
            events: Events::default(),
            sent: Sha256::new(),
            counted: Counted::default(),
            outbox: VecDeque::new(),
            finished: false,
            patience,
            silence: Box::pin(sleep_until(Instant::now() + patience)),
        };
        (stream, meter, delivery)
    }

    /// Waits for the first event. Where it is none, the job comes back: another provider may be asked.
    pub async fn begin(&mut self) -> Result<(), (Option<Job>, Refusal)> {
        std::future::poll_fn(|cx| {
            while self.outbox.is_empty() && !self.finished {
                match self.turn(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) => {}
                }
            }
            Poll::Ready(())
        })
        .await;
        if self.counted.broken && self.counted.so_far.pieces == 0 {
            // Whatever it was, nothing of it has gone out.
            let why = self.outbox.iter().find_map(|(event, ..)| message(event));
            let why = why.unwrap_or_else(|| "it said nothing that can be read".into());
            self.upstream = None;
            let job = self.meter.state.lock().expect("no panic holds it").job.take();
            return Err((job, Refusal::Upstream(format!("the provider's stream cannot be used: {why}"))));
        }
        Ok(())
    }

    /// One step: something from the provider, its end, or its silence.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(upstream) = &mut self.upstream else {
            self.finish();
            return Poll::Ready(());
        };
        match Pin::new(upstream).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.silence.as_mut().reset(Instant::now() + self.patience);
                match frame.into_data() {
                    Ok(data) => self.take(&data),
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                }
                Poll::Ready(())
            }
            Poll::Ready(Some(Err(error))) => {
                self.break_off(&format!("the provider broke off: {error}"));
                Poll::Ready(())
            }
            Poll::Ready(None) => {
                self.upstream = None;
                if !self.counted.last_event && !self.counted.broken {
                    self.break_off("the provider's answer ended before its end");
                }
                self.finish();
                Poll::Ready(())
            }
            Poll::Pending => match self.silence.as_mut().poll(cx) {
                Poll::Ready(()) => {
                    let secs = self.patience.as_secs();
                    // Everything was said; only its end did not come.
                    match self.counted.last_event {
                        true => self.upstream = None,
                        false => self.break_off(&format!("the provider was silent for {secs} s")),
                    }
                    Poll::Ready(())
                }
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn take(&mut self, data: &[u8]) {
        self.events.push(data);
        let mut out = BytesMut::new();
        loop {
            match self.events.take() {
                Ok(Some(event)) => {
                    if let Err(why) = self.event(&event, &mut out) {
                        self.hand(out.freeze(), false);
                        return self.break_off(&why);
                    }
                }
                Ok(None) => break,
                Err(TooLong) => {
                    self.hand(out.freeze(), false);
                    return self.break_off("the provider sent an event that is too long");
                }
            }
        }
        self.hand(out.freeze(), false);
    }

    fn event(&mut self, event: &Bytes, out: &mut BytesMut) -> Result<(), String> {
        if self.counted.last_event {
            return Ok(()); // nothing comes after the end
        }
        let Some(data) = data_of(event) else {
            out.extend_from_slice(event); // a comment: it keeps the connection alive
            return Ok(());
        };
        if data == b"[DONE]" {
            self.counted.last_event = true;
            return Ok(()); // it goes out with the receipt
        }
        let told =
            Told::read(&data).map_err(|error| format!("the provider sent what is not JSON: {error}"))?;
        if let Some(model) = &told.model
            && !is_the_model(model, [&self.name, &self.meter.served.model])
        {
            return Err(format!("the provider answered with another model, {model:?}"));
        }
        let so_far = &mut self.counted.so_far;
        so_far.pieces += u64::from(told.pieces > 0);
        so_far.text += told.text;
        if let Some(usage) = told.usage {
            self.meter.state.lock().expect("no panic holds it").stated = Some(usage);
        }
        // A bound on model tokens is a bound on pieces; a little more is the provider's own way of ending.
        if so_far.pieces > self.most_pieces.saturating_add(64) {
            return Err("the provider does not end its answer".into());
        }
        if told.failed {
            self.counted.broken = true;
        }
        if self.endpoint == Endpoint::Responses && ends_response(&data) {
            self.counted.last_event = true;
        }
        if told.only_usage && !self.shows_usage {
            return Ok(());
        }
        out.extend_from_slice(event);
        Ok(())
    }

    fn hand(&mut self, bytes: Bytes, last: bool) {
        if bytes.is_empty() && !last {
            return;
        }
        self.sent.update(&bytes);
        self.counted.so_far.bytes += bytes.len() as u64;
        let mut state = self.meter.state.lock().expect("no panic holds it");
        if let Some(kept) = &mut state.kept {
            let length = kept.bytes.len() + bytes.len();
            match length <= KEPT && kept.room.grow(length) {
                true => kept.bytes.extend_from_slice(&bytes),
                false => state.kept = None,
            }
        }
        drop(state);
        self.outbox.push_back((bytes, self.counted.so_far, last));
    }

    /// Ends an answer in the middle, as an event that SDKs raise.
    fn break_off(&mut self, why: &str) {
        self.upstream = None;
        self.counted.broken = true;
        self.meter.served.strike();
        let event = format!("data: {}\n\n", Refusal::Upstream(why.into()).body());
        self.hand(event.into(), false);
    }

    /// The end: the receipt, and what says that it is the end.
    fn finish(&mut self) {
        if self.finished {
            return;
        }
        self.finished = true;
        let mut state = self.meter.state.lock().expect("no panic holds it");
        let Some(job) = &state.job else { return };
        let whole = !self.counted.broken;
        let so_far = self.counted.so_far;
        let usage = match (whole, state.stated) {
            (true, Some(stated)) => job.bounded(self.claimed(job, stated), so_far.text),
            (_, stated) => job.cut_off(so_far, stated),
        };
        let answer = whole.then(|| B256::from_slice(&self.sent.clone().finalize()));
        let charged = so_far.pieces > 0 || whole;
        let mut out = String::new();
        if charged {
            let charge = job.charge(&self.meter.served, usage, whole, answer, true);
            let receipt = serde_json::to_string(&charge.receipt).expect("a receipt is JSON");
            out = format!(": earnest-receipt {receipt}\n\n");
            state.whole = Some(charge);
        }
        drop(state);
        if whole {
            self.meter.served.praise();
            if self.endpoint != Endpoint::Responses {
                out += "data: [DONE]\n\n";
            }
        }
        self.hand(out.into(), true);
    }

    /// Stated usage, cut down to what the provider signed for, if it signs.
    fn claimed(&self, job: &Job, stated: Usage) -> Usage {
        if !self.meter.served.signs {
            return stated;
        }
        signed_usage(self.trailers.as_ref(), &self.meter.served, &self.realm, &job.id, stated)
    }
}

/// What a provider signed for at the end of an answer, and no more than it stated in it. What is missing or does not fit
/// costs it a strike, and is taken at its lowest.
pub fn signed_usage(
    trailers: Option<&HeaderMap>,
    served: &Served,
    realm: &Realm,
    id: &str,
    stated: Usage,
) -> Usage {
    let claim = trailers.and_then(|trailers| UsageClaim::verify(trailers, served.provider, realm).ok());
    match claim.filter(|claim| claim.request == id).and_then(|claim| claim.usage) {
        Some(usage) => {
            let signed = Usage { input: usage.prompt, cached: usage.cached, output: usage.completion };
            if signed != stated {
                served.strike();
            }
            stated.at_most(signed)
        }
        None => {
            served.strike();
            stated
        }
    }
}

fn ends_response(data: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Kind<'a> {
        #[serde(borrow, rename = "type")]
        kind: std::borrow::Cow<'a, str>,
    }
    serde_json::from_slice::<Kind<'_>>(data).is_ok_and(|event| {
        ["response.completed", "response.incomplete", "response.failed"].contains(&event.kind.as_ref())
    })
}

/// The message of an error event.
fn message(event: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(&data_of(event)?).ok()?;
    value["error"]["message"].as_str().map(str::to_owned)
}

impl HttpBody for Stream {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        loop {
            if let Some((bytes, progress, last)) = self.outbox.pop_front() {
                self.delivery.hand(progress, last);
                crash::point("handed");
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if self.finished {
                return Poll::Ready(None);
            }
            match self.turn(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => {}
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.delivery.dropped();
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
        let so_far = Progress { pieces: 1, text: 0, bytes: bytes.len() as u64 };
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
pub async fn read_whole(
    mut body: Body,
    most: usize,
    room: &mut Room,
    patience: std::time::Duration,
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
    let late =
        || Refusal::Timeout(format!("the provider's answer took longer than {} s", patience.as_secs()));
    tokio::time::timeout(patience, reading).await.unwrap_or_else(|_| Err(late()))
}

/// Writes marks of all streams under way.
pub fn write_marks(gateway: &super::Gateway) {
    let mut streams = gateway.streams.lock().expect("no panic holds it");
    streams.retain(|meter| {
        let Some(meter) = meter.upgrade() else { return false };
        if let Some(mark) = meter.mark() {
            gateway.journal.write(Entry::Mark(Box::new(mark)));
        }
        true
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_cut_wherever_the_pieces_end() {
        let text = b"data: a\n\n: comment\n\ndata: b\r\n\r\nevent: x\ndata: c\ndata: d\n\ndata: rest";
        for size in 1..text.len() {
            let mut events = Events::default();
            let mut all = Vec::new();
            for piece in text.chunks(size) {
                events.push(piece);
                while let Some(event) = events.take().unwrap() {
                    all.push(event);
                }
            }
            assert_eq!(all.concat(), &text[..text.len() - 10], "pieces of {size}");
            let data: Vec<_> = all.iter().map(|event| data_of(event)).collect();
            let some = |text: &str| Some(text.as_bytes().to_vec());
            assert_eq!(data, [some("a"), None, some("b"), some("c\nd")]);
            assert_eq!(events.rest(), b"data: rest");
        }
    }

    #[test]
    fn an_event_without_an_end_is_not_kept_for_ever() {
        let mut events = Events::default();
        events.push(&vec![b'x'; EVENT + 1]);
        assert_eq!(events.take(), Err(TooLong));
    }
}
