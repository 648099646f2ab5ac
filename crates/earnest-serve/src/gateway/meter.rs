//! What is known of a stream under way: what it costs if it ends now, and what is read of it once its client has left.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use super::delivery::{Delivery, Ended, Progress};
use super::job::Job;
use super::journal::{Answer, Charge, Entry};
use super::room::Room;
use super::route::{Body, Served};
use crate::openai::answer::Seen;
use crate::openai::events::{Events, data_of};

/// What is known of a stream, shared by its body, its connection and whoever writes marks.
pub struct Meter {
    pub(super) state: Mutex<State>,
    /// Who answers.
    pub served: Served,
    pub(super) delivery: Mutex<Option<Arc<Delivery>>>,
}

pub(super) struct State {
    pub(super) job: Option<Job>,
    pub(super) seen: Seen,
    pub(super) marked: Progress,
    /// The charge of the whole answer, once it is known.
    pub(super) whole: Option<Charge>,
    pub(super) kept: Option<Box<Kept>>,
    /// The stream is read, and may tell more.
    pub(super) reading: bool,
    /// The client left while it was, with so much.
    pub(super) left: Option<Progress>,
}

/// What an `Idempotency-Key` is told again.
pub(super) struct Kept {
    pub(super) bytes: BytesMut,
    pub(super) room: Room,
}

impl Meter {
    /// The answer is over.
    pub(super) fn ended(&self, ended: Ended) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ended::After(written) = ended
            && state.reading
            && lacks_usage(&state)
        {
            // It is read on for a moment.
            state.left = Some(written);
            return;
        }
        state.reading = false;
        let Some(job) = state.job.take() else { return };
        let (whole, kept) = (state.whole.take(), state.kept.take());
        let written = match ended {
            Ended::Whole => self.progress(),
            Ended::After(written) => written,
        };
        let (charge, body) = match (ended, whole) {
            (Ended::Whole, Some(charge)) => {
                drop(state);
                (charge, kept.as_ref().map(|kept| kept.bytes.clone().freeze()).unwrap_or_default())
            }
            // Nothing left this machine: nothing is paid, and it may be asked again.
            _ if !written.text.is_some() => {
                drop(state);
                job.forget();
                return;
            }
            _ => {
                let counted = state.seen.count_part(&job.most, written.text, self.served.hidden(&job.most));
                drop(state);
                (job.charge(&self.served, counted, false, None, true), Bytes::new())
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
        let delivery = self.delivery.lock().unwrap_or_else(PoisonError::into_inner);
        delivery.as_ref().map_or(Progress::default(), |delivery| delivery.progress())
    }

    /// What it costs if nothing more is heard of it; none where that was said already.
    pub fn mark(&self) -> Option<Charge> {
        let written = self.progress();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if written == state.marked || !written.text.is_some() {
            return None;
        }
        state.marked = written;
        let job = state.job.as_ref()?;
        let counted = state.seen.count_part(&job.most, written.text, self.served.hidden(&job.most));
        Some(job.charge(&self.served, counted, false, None, false))
    }
}

/// Its last word was read, and not yet what it used.
pub(super) fn lacks_usage(state: &State) -> bool {
    let Some(job) = &state.job else { return false };
    state.seen.finished() && state.seen.stated(&job.most).output.is_none()
}

/// Ends an answer that nobody reads any more, however its reading ends.
pub(super) struct Ending {
    pub(super) meter: Arc<Meter>,
    pub(super) delivery: Arc<Delivery>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let left = {
            let mut state = self.meter.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.reading = false;
            state.left.take()
        };
        match left {
            Some(written) => self.meter.ended(Ended::After(written)),
            None => self.delivery.dropped(),
        }
    }
}

/// The rest of a stream whose client has left.
pub(super) struct ReadOn {
    pub(super) upstream: Body,
    pub(super) events: Events,
    pub(super) ending: Ending,
}

impl ReadOn {
    pub(super) async fn read(&mut self) {
        while let Some(Ok(frame)) = self.upstream.frame().await {
            let Ok(data) = frame.into_data() else { continue };
            self.events.push(&data);
            while let Ok(Some(event)) = self.events.take() {
                let Some(data) = data_of(&event) else { continue };
                let mut state = self.ending.meter.state.lock().unwrap_or_else(PoisonError::into_inner);
                if data.as_ref() == b"[DONE]" {
                    return;
                }
                let _ = state.seen.read(&data);
                if !lacks_usage(&state) {
                    return;
                }
            }
        }
    }
}

/// Writes marks of all streams under way.
pub fn write_marks(gateway: &super::Gateway) {
    let mut streams = gateway.streams.lock().unwrap_or_else(PoisonError::into_inner);
    streams.retain(|meter| {
        let Some(meter) = meter.upgrade() else { return false };
        if let Some(mark) = meter.mark() {
            gateway.journal.write(Entry::Mark(Box::new(mark)));
        }
        true
    });
}
