//! An answer in pieces (server-sent events). Each event passes as it came, as soon as it came; what is read of it on the
//! way is what a client pays that leaves early. The end carries the receipt in a comment.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use alloy_primitives::B256;
use axum::http::HeaderMap;
use bytes::{Bytes, BytesMut};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::answer::{renamed, sealed_usage, told};
use super::crash;
use super::delivery::{Delivery, Progress};
use super::job::Job;
use super::meter::{Ending, Kept, Meter, ReadOn, State, lacks_usage};
use super::refusal::Refusal;
use super::room::Room;
use super::route::{Body, Served};
use super::tries::Trouble;
use crate::openai::Endpoint;
use crate::openai::answer::{Seen, is_the_model};
use crate::openai::count::Text;
use crate::openai::events::{Events, TooLong, data_of, lines};
use crate::openai::fault::Fault;
use crate::openai::usage::Resolved;
use crate::provider::usage::UsageError;

/// Bytes of a stream that are kept for its `Idempotency-Key` at most.
const KEPT: usize = 16 << 20;
/// Bytes of text that a model token has at most, and that an answer may have beyond: who sends more never ends.
const LONGEST_TOKEN: u64 = 64;
const SLACK: u64 = 64 << 10;
/// How long one waits for what belongs behind the last event: a signature, or just the end.
const END: Duration = Duration::from_millis(1_500);
/// How long for usage, or the end, behind the last word.
const USAGE: Duration = Duration::from_secs(10);
/// How long a stream is read on for its usage where the client left behind the last word.
const READ_ON: Duration = Duration::from_secs(2);
/// Bytes of comments between two events.
const COMMENTS: usize = 256 << 10;
/// Bytes of an answer that is none, for its reason.
const REASON: usize = 64 << 10;

/// The body that a client reads.
pub struct Stream {
    meter: Arc<Meter>,
    delivery: Arc<Delivery>,
    endpoint: Endpoint,
    shows_usage: bool,
    name: String,
    most_bytes: u64,
    upstream: Option<Body>,
    trailers: Option<HeaderMap>,
    events: Events,
    /// What events hold beyond a block.
    room: Room,
    /// Of what goes out.
    sent: Sha256,
    /// Of what came, where who answers seals it.
    came: Option<Sha256>,
    so_far: Progress,
    /// An error, or the last event of a response, and the text before it: it goes out with the receipt.
    held: Option<(Bytes, Text)>,
    /// What came first is no event: it is gathered for its reason.
    other: Option<BytesMut>,
    begun: bool,
    last_event: bool,
    /// Bytes of comments, one behind the other.
    comments: usize,
    broken: bool,
    /// The provider was not waited for any longer behind its last word.
    gave_up: bool,
    trouble: Option<Trouble>,
    outbox: VecDeque<(Bytes, Progress, bool)>,
    finished: bool,
    patience: Duration,
    silence: Pin<Box<Sleep>>,
}

impl Stream {
    /// Over a provider's answer.
    pub fn new(
        job: Job,
        served: Served,
        upstream: Body,
        shows_usage: bool,
        patience: Duration,
    ) -> (Self, Arc<Meter>, Arc<Delivery>) {
        let (endpoint, name) = (job.endpoint, job.model.clone());
        let most_bytes = job.most.usage.output.saturating_mul(LONGEST_TOKEN).saturating_add(SLACK);
        let room = || job.gateway.answers.room(job.key.line.id);
        let kept = job.turn.as_ref().map(|_| Box::new(Kept { bytes: BytesMut::new(), room: room() }));
        let events_room = room();
        let state = State {
            job: Some(job),
            seen: Seen::default(),
            marked: Progress::default(),
            whole: None,
            kept,
            reading: true,
            left: None,
        };
        let came = served.seals().then(Sha256::new);
        let meter = Arc::new(Meter { state: Mutex::new(state), served, delivery: Mutex::default() });
        let ending = meter.clone();
        let delivery = Delivery::new(move |ended| ending.ended(ended));
        *meter.delivery.lock().unwrap_or_else(PoisonError::into_inner) = Some(delivery.clone());
        let stream = Stream {
            meter: meter.clone(),
            delivery: delivery.clone(),
            endpoint,
            shows_usage,
            name,
            most_bytes,
            upstream: Some(upstream),
            trailers: None,
            events: Events::default(),
            room: events_room,
            sent: Sha256::new(),
            came,
            so_far: Progress::default(),
            held: None,
            other: None,
            begun: false,
            last_event: false,
            comments: 0,
            broken: false,
            gave_up: false,
            trouble: None,
            outbox: VecDeque::with_capacity(1),
            finished: false,
            patience,
            silence: Box::pin(sleep_until(Instant::now() + patience)),
        };
        (stream, meter, delivery)
    }

    /// Waits for the first event, and not for ever: comments are none. Where it is none that can be used the job comes back:
    /// another provider may be asked.
    pub async fn begin(&mut self, until: Instant) -> Result<(), (Option<Job>, Trouble)> {
        let first = std::future::poll_fn(|cx| {
            while self.outbox.is_empty() && !self.finished && self.trouble.is_none() {
                match self.turn(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) => {}
                }
            }
            Poll::Ready(())
        });
        if timeout_at(until, first).await.is_err() {
            let why = "the provider's answer did not begin in time".into();
            self.trouble = Some(Trouble::Next(Refusal::Timeout(why)));
        }
        let Some(trouble) = self.trouble.take() else { return Ok(()) };
        self.upstream = None;
        if !matches!(trouble, Trouble::Asked(..) | Trouble::Ours(_)) {
            self.meter.served.strike();
        }
        let mut state = self.meter.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.reading = false;
        Err((state.job.take(), trouble))
    }

    /// One step: something from the provider, its end, or its silence.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(upstream) = &mut self.upstream else {
            self.finish();
            return Poll::Ready(());
        };
        match Pin::new(upstream).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                match frame.into_data() {
                    Ok(data) => self.take(&data),
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                }
                // Behind the last word nothing is worth a long wait.
                let patience = match (self.last_event, self.all_finished()) {
                    (true, _) if self.meter.served.seals() => END,
                    (true, _) => END / 10,
                    (false, true) => self.patience.min(USAGE),
                    (false, false) => self.patience,
                };
                self.silence.as_mut().reset(Instant::now() + patience);
                Poll::Ready(())
            }
            // Everything was said, and nobody seals it.
            Poll::Ready(Some(Err(_))) if self.last_event && !self.meter.served.seals() => {
                self.upstream = None;
                Poll::Ready(())
            }
            Poll::Ready(Some(Err(error))) => {
                self.break_off(&format!("the provider broke off: {error}"));
                Poll::Ready(())
            }
            Poll::Ready(None) => {
                self.ended();
                Poll::Ready(())
            }
            Poll::Pending => match self.silence.as_mut().poll(cx) {
                Poll::Ready(()) => {
                    let secs = self.patience.as_secs();
                    // Everything was said; only its end did not come.
                    match self.last_event || self.all_finished() {
                        true => (self.upstream, self.gave_up) = (None, true),
                        false => self.break_off(&format!("the provider was silent for {secs} s")),
                    }
                    Poll::Ready(())
                }
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn all_finished(&self) -> bool {
        let state = self.meter.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.job.as_ref().is_some_and(|job| state.seen.all_finished(&job.most))
    }

    /// The message of the upstream is over.
    fn ended(&mut self) {
        self.upstream = None;
        if self.broken {
            return;
        }
        if let Some(other) = self.other.take() {
            return self.none(&other);
        }
        // The last event may lack its empty line.
        let rest = self.events.rest();
        if !rest.trim_ascii().is_empty() {
            let mut out = BytesMut::new();
            let whole = [&rest[..], b"\n\n"].concat();
            self.event(&Bytes::from(whole), &mut out);
            self.hand(out.freeze(), false);
        }
        let finished = self.meter.state.lock().unwrap_or_else(PoisonError::into_inner).seen.finished();
        if !self.last_event && !self.broken && !finished {
            self.break_off("the provider's answer ended before its end");
        }
    }

    /// It is no stream: perhaps it says why.
    fn none(&mut self, bytes: &[u8]) {
        let otherwise = "the provider's stream cannot be used";
        self.trouble = Some(Trouble::said(Fault::read(bytes), &self.meter.served, otherwise));
    }

    fn take(&mut self, data: &[u8]) {
        if let Some(came) = &mut self.came {
            came.update(data);
        }
        if let Some(other) = &mut self.other {
            other.extend_from_slice(&data[..data.len().min(REASON - other.len())]);
            return;
        }
        if !self.begun {
            let first = data.trim_ascii_start();
            match first.first() {
                None => return,
                // A body in one piece, whatever it is labelled.
                Some(b'{' | b'[' | b'<') => {
                    self.other = Some(BytesMut::from(&data[..data.len().min(REASON)]));
                    return;
                }
                Some(_) => self.begun = true,
            }
        }
        self.events.push(data);
        if !self.room.grow(self.events.held()) {
            return self.break_off("this gateway holds as many long events as it can at once");
        }
        let mut out = BytesMut::new();
        loop {
            match self.events.take() {
                Ok(Some(event)) => self.event(&event, &mut out),
                Ok(None) => break,
                Err(TooLong) => {
                    self.hand(out.freeze(), false);
                    return self.break_off("the provider sent an event that is too long");
                }
            }
            if self.broken || self.trouble.is_some() {
                break;
            }
        }
        self.hand(out.freeze(), false);
    }

    fn event(&mut self, event: &Bytes, out: &mut BytesMut) {
        if self.last_event || self.broken {
            return; // nothing comes after the end
        }
        let Some(data) = data_of(event) else {
            self.comments += event.len();
            if self.comments > COMMENTS {
                self.hand(std::mem::take(out).freeze(), false);
                return self.break_off("the provider sends comments, and nothing else");
            }
            // A comment keeps the connection alive. It goes out without its empty line: some readers take that for an event
            // without data.
            // Before the first event nothing goes out: another provider may be asked still.
            let begun = self.so_far.bytes > 0 || !out.is_empty();
            for comment in lines(event).filter(|line| begun && line.starts_with(b":") && !is_ours(line)) {
                out.extend_from_slice(comment);
                out.extend_from_slice(b"\n");
            }
            return;
        };
        self.comments = 0;
        if data.as_ref() == b"[DONE]" {
            self.last_event = true; // it goes out with the receipt
            if self.so_far.bytes == 0 && out.is_empty() {
                self.none(b"it ended before it began");
            }
            return;
        }
        if data.as_ref() == b"null" {
            return; // llama.cpp begins so where there are several prompts
        }
        let mut state = self.meter.state.lock().unwrap_or_else(PoisonError::into_inner);
        let read = match state.seen.read(&data) {
            Ok(read) => read,
            // What is no JSON no client could read: it ends in words that every SDK raises.
            Err(error) if self.so_far.bytes > 0 || !out.is_empty() => {
                drop(state);
                self.hand(std::mem::take(out).freeze(), false);
                return self.break_off(&format!("the provider sent what is not JSON: {error}"));
            }
            Err(_) => {
                drop(state);
                return self.none(&data);
            }
        };
        let before = std::mem::replace(&mut self.so_far.text, state.seen.written());
        let over = state.seen.over;
        drop(state);
        if read.error || read.choice_error || lines(event).any(|line| line == b"event: error") {
            if self.so_far.bytes == 0 && out.is_empty() && !read.wrote {
                return self.none(&data);
            }
            if read.wrote {
                write_event(out, event);
            }
            // The reason is told, unless it speaks of the provider's money and keys.
            let fault = Fault::read(&data);
            let own = fault.is_own();
            let reason = fault.message.clone().filter(|_| !own);
            let otherwise = "the provider failed in the middle of its answer";
            let refusal = match Trouble::said(fault, &self.meter.served, otherwise) {
                Trouble::Asked(status, fault) => Refusal::Told(status, fault),
                _ => Refusal::Upstream(reason.map_or(otherwise.into(), |why| format!("{otherwise}: {why}"))),
            };
            self.broken = true;
            self.upstream = None;
            self.meter.served.strike();
            self.hold_error(&refusal);
            return;
        }
        if let Some(said) = &read.model
            && !self.is_the_model(said)
        {
            let why = format!("the provider answered with another model, {said:?}");
            if self.so_far.bytes == 0 {
                self.trouble = Some(Trouble::Next(Refusal::Upstream(why)));
                return;
            }
            self.so_far.text = before;
            self.hand(std::mem::take(out).freeze(), false);
            return self.break_off(&why);
        }
        let text = self.so_far.text;
        if text.bytes - text.data > self.most_bytes {
            self.so_far.text = before;
            self.hand(std::mem::take(out).freeze(), false);
            return self.break_off("the provider does not end its answer");
        }
        if read.only_usage && !self.shows_usage {
            return;
        }
        let renamed = match &data {
            std::borrow::Cow::Borrowed(data)
                if read.model.as_deref().is_some_and(|said| said != self.name) =>
            {
                let from = data.as_ptr() as usize - event.as_ptr() as usize;
                Some(renamed(event, from, &read.model_at, &self.name))
            }
            _ => None,
        };
        let event = renamed.unwrap_or_else(|| event.clone());
        if self.endpoint == Endpoint::Responses && over {
            self.last_event = true;
            self.held = Some((event, before));
            return;
        }
        write_event(out, &event);
    }

    fn is_the_model(&self, said: &str) -> bool {
        let served = &self.meter.served;
        let named = is_the_model(said, served.names.iter().map(String::as_str).chain([self.name.as_str()]));
        if !named {
            served.warn(|| {
                format!(
                    "its server answers as {said:?}; name that: --model {}={},{said}",
                    self.name, served.names[0]
                )
            });
        }
        // The operator's own server may be called as it likes: its name is not the holder's trouble.
        named || !served.seals()
    }

    fn hand(&mut self, bytes: Bytes, last: bool) {
        if bytes.is_empty() && !last {
            return;
        }
        self.sent.update(&bytes);
        self.so_far.bytes += bytes.len() as u64;
        let mut state = self.meter.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = &mut state.kept {
            let length = kept.bytes.len() + bytes.len();
            match length <= KEPT && kept.room.grow(length) {
                true => kept.bytes.extend_from_slice(&bytes),
                false => state.kept = None,
            }
        }
        drop(state);
        self.outbox.push_back((bytes, self.so_far, last));
    }

    /// Ends an answer in the middle, as an event that SDKs raise.
    fn break_off(&mut self, why: &str) {
        self.upstream = None;
        if self.so_far.bytes == 0 {
            self.trouble.get_or_insert(Trouble::Next(Refusal::Upstream(why.into())));
            return;
        }
        self.broken = true;
        self.meter.served.strike();
        self.meter.served.warn_once(|| why.to_owned());
        self.hold_error(&Refusal::Upstream(why.into()));
    }

    /// An error is the last event. Another that was held does not go out, nor does its text.
    fn hold_error(&mut self, refusal: &Refusal) {
        let event = format!("data: {}\n\n", refusal.body()).into();
        if let Some((_, before)) = self.held.replace((event, self.so_far.text)) {
            self.so_far.text = before;
        }
    }

    /// The end: the receipt, and what says that it is the end.
    fn finish(&mut self) {
        if self.finished || self.trouble.is_some() {
            return;
        }
        self.finished = true;
        let sealed = self.sealed();
        if let Err(error) = &sealed {
            let why = format!("the provider's answer is not the one that it sealed: {error}");
            self.hold_error(&Refusal::Upstream(why));
        }
        let whole = !self.broken && sealed.is_ok();
        let mut state = self.meter.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.reading = false;
        let State { job: Some(job), seen, .. } = &*state else { return };
        let failed = seen.failed;
        let counted = match sealed {
            Ok(sealed) if whole => seen.count(&job.most, sealed, self.meter.served.hidden(&job.most)),
            _ => seen.count_part(&job.most, self.so_far.text, self.meter.served.hidden(&job.most)),
        };
        // The usage that is charged is told to who asked for it, where nobody else told it.
        let mut usage = BytesMut::new();
        if whole && counted.estimated && self.shows_usage && self.endpoint != Endpoint::Responses {
            let object =
                if self.endpoint == Endpoint::Chat { "chat.completion.chunk" } else { "text_completion" };
            let event = serde_json::json!({
                "id": job.id, "object": object, "created": super::now_ms() / 1_000, "model": self.name,
                "choices": [], "usage": told(self.endpoint, &counted),
            });
            usage.extend_from_slice(format!("data: {event}\n\n").as_bytes());
        }
        // Within the lines of the last event: some readers take an empty line for an event of its own.
        let before = usage.len();
        let mut end = usage;
        write_event(&mut end, &self.held.take().unwrap_or_default().0);
        if whole && self.endpoint != Endpoint::Responses {
            end.extend_from_slice(b"data: [DONE]\n\n");
        }
        self.sent.update(&end);
        let mut out = end.split_to(before);
        let charged = self.so_far.text.is_some() || (whole && !failed);
        if charged {
            job.learn(&self.meter.served, &counted, seen.stated(&job.most));
            let answer = (whole && !failed).then(|| B256::from_slice(&self.sent.clone().finalize()));
            let charge = job.charge(&self.meter.served, counted, whole && !failed, answer, true);
            let receipt = serde_json::to_string(&charge.receipt).expect("a receipt is JSON");
            out.extend_from_slice(format!(": earnest-receipt {receipt}\n").as_bytes());
            state.whole = Some(charge);
        }
        drop(state);
        out.unsplit(end);
        if whole && !failed {
            self.meter.served.praise();
        }
        self.hand(out.freeze(), true);
    }

    /// What the provider sealed, if it seals and the answer is not broken. Where it does not end in time that is not
    /// known; else what was altered on its way, or lacks the seal, is not to pass for whole.
    fn sealed(&self) -> Result<Option<Resolved>, UsageError> {
        let (Some(came), false) = (self.came.clone(), self.broken) else { return Ok(None) };
        let state = self.meter.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { job: Some(job), seen, .. } = &*state else { return Ok(None) };
        let answer = B256::from_slice(&came.finalize());
        let (trailers, served, stated) = (self.trailers.as_ref(), &self.meter.served, seen.stated(&job.most));
        match sealed_usage(trailers, served, &job.id, answer, stated) {
            Err(UsageError::Missing(_)) if self.gave_up => Ok(None),
            sealed => sealed,
        }
    }
}

/// A comment that only the gateway makes: a receipt is its own.
fn is_ours(line: &[u8]) -> bool {
    line.starts_with(b": earnest-") || line.starts_with(b":earnest-")
}

/// An event as it goes out: its lines end as all readers know, and behind them stands the only empty one. Some readers take
/// each for an event.
fn write_event(out: &mut BytesMut, event: &[u8]) {
    let text = event.strip_suffix(b"\n\n").unwrap_or_default();
    let as_it_came = !text.starts_with(b"\n")
        && !text.ends_with(b"\n")
        && !text.contains(&b'\r')
        && !lines(text).any(is_ours);
    if as_it_came && !text.is_empty() {
        out.extend_from_slice(event);
        return;
    }
    let mut lines = lines(event).filter(|line| !is_ours(line)).peekable();
    if lines.peek().is_none() {
        return;
    }
    for line in lines {
        out.extend_from_slice(line);
        out.extend_from_slice(b"\n");
    }
    out.extend_from_slice(b"\n");
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
        let lacks = {
            let mut state = self.meter.state.lock().unwrap_or_else(PoisonError::into_inner);
            let lacks = !self.finished && state.reading && lacks_usage(&state);
            state.reading = lacks;
            lacks
        };
        let ending = Ending { meter: self.meter.clone(), delivery: self.delivery.clone() };
        // It was told to its last word: what it used comes in a moment, and who left pays what was written of it.
        if let (true, Some(upstream)) = (lacks, self.upstream.take())
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let mut reading = ReadOn { upstream, events: std::mem::take(&mut self.events), ending };
            runtime.spawn(async move {
                let _ = tokio::time::timeout(READ_ON, reading.read()).await;
            });
        }
    }
}
