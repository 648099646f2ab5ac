//! Answers in one piece that were left in the middle. Who leaves pays for the part that the system took; for some minutes
//! the same key and body are given the same answer for what is not paid yet, so that a dropped connection pays once.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use alloy_primitives::B256;
use bytes::Bytes;
use earnest_core::charge::{Rates, Usage};

use super::job::Job;
use super::journal::Charge;
use super::route::Served;
use super::serve::SHORT;
use crate::openai::Endpoint;
use crate::openai::answer::{Counted, Seen};
use crate::openai::count::Text;
use crate::openai::mend::ended;

/// How long an answer is kept.
const KEEP: Duration = Duration::from_secs(300);
/// How many are kept in all, and of one key; and their bytes.
const MOST: usize = 1_024;
const MOST_OF_ONE: usize = 64;
const MOST_BYTES: usize = 256 << 20;
const MOST_BYTES_OF_ONE: usize = 64 << 20;

/// Whose answer, to what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The key's name.
    pub key: String,
    /// What was asked for.
    pub endpoint: Endpoint,
    /// SHA-256 of the body.
    pub asked: B256,
}

/// An answer, and how much of it is paid.
pub struct Left {
    place: Place,
    served: Served,
    counted: Counted,
    /// Version of the price list at admission.
    pub price_version: u32,
    /// Its prices.
    pub rates: Rates,
    /// The answer.
    pub bytes: Bytes,
    /// Bytes of it that are paid.
    paid_bytes: u64,
    /// Its text: what else is in it, such as log-probabilities, is beside the answer.
    text: Text,
    paid_usage: Usage,
    paid: u128,
    cost: u128,
    until: Instant,
}

/// All that are kept.
#[derive(Default)]
pub struct Kept(Mutex<HashMap<Place, Left>>);

impl Left {
    /// Of an answer that is about to go out.
    pub fn new(job: &Job, served: Served, counted: Counted, text: Text, bytes: Bytes) -> Self {
        let cost =
            job.rates.charge(job.endpoint.service(), counted.usage).unwrap_or(job.reserve).min(job.reserve);
        Left {
            place: Place { key: job.key.row_id(), endpoint: job.endpoint, asked: job.asked },
            served,
            counted,
            price_version: job.price_version,
            rates: job.rates,
            text,
            bytes,
            paid_bytes: 0,
            paid_usage: Usage::default(),
            paid: 0,
            cost,
            until: Instant::now() + KEEP,
        }
    }

    /// What the rest of it costs at most.
    pub fn rest(&self) -> u128 {
        (self.cost - self.paid).max(1)
    }

    /// The charge for all that is not paid yet.
    pub fn charge_rest(&self, job: &Job) -> Charge {
        let (all, paid) = (self.counted.usage, self.paid_usage);
        let usage = Usage {
            input: all.input - paid.input,
            cached: all.cached - paid.cached,
            output: all.output - paid.output,
        };
        job.charge(&self.served, Counted { usage, ..self.counted }, true, None, true)
    }

    /// What of a count so many bytes of the answer are, rounded up: by the text in them or by the bytes, whichever is more, for
    /// what stands behind the text weighs nothing, and log-probabilities before it are the text.
    fn part(&self, taken: u64) -> impl Fn(u64) -> u64 + use<> {
        let begin = &self.bytes[..usize::try_from(taken).unwrap_or(usize::MAX).min(self.bytes.len())];
        let mut seen = Seen::default();
        let _ = seen.read(&ended(begin));
        let words = |text: Text| text.bytes - text.data;
        let begun = seen.written();
        let by_text = match words(self.text) {
            0 => (begun.bytes, self.text.bytes),
            of => (words(begun), of),
        };
        let by_bytes = (taken, self.bytes.len() as u64);
        move |count| {
            let part = |(part, of): (u64, u64)| {
                let part = (u128::from(count) * u128::from(part)).div_ceil(u128::from(of.max(1)));
                u64::try_from(part).unwrap_or(count).min(count)
            };
            part(by_text).max(part(by_bytes))
        }
    }

    /// Its reader has left, when so many bytes were taken: that part is charged, rounded up, and the answer is kept. A long one is
    /// looked through beside the threads that serve.
    pub fn leave(self, job: Job, taken: u64) {
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if self.bytes.len() > SHORT => {
                drop(runtime.spawn_blocking(move || self.go(job, taken)));
            }
            _ => self.go(job, taken),
        }
    }

    fn go(mut self, job: Job, taken: u64) {
        let gateway = job.gateway.clone();
        if taken <= self.paid_bytes {
            job.forget();
        } else {
            let part = self.part(taken);
            let (all, paid) = (self.counted.usage, self.paid_usage);
            // What was read was read, however little of the answer was taken; and what is paid stays paid, whatever stands in what
            // came since.
            let now = Usage { output: part(all.output).max(paid.output), ..all };
            let usage = Usage {
                input: now.input - paid.input,
                cached: now.cached - paid.cached,
                output: now.output - paid.output,
            };
            let charge = job.charge(&self.served, Counted { usage, ..self.counted }, false, None, true);
            self.paid += charge.charge;
            (self.paid_bytes, self.paid_usage) = (taken, now);
            job.record(charge);
        }
        if self.paid < self.cost {
            gateway.left.put(self.place.clone(), self);
        }
    }
}

impl Kept {
    /// Takes one out.
    pub fn take(&self, place: &Place) -> Option<Left> {
        let mut kept = self.0.lock().expect("no panic holds it");
        if kept.is_empty() {
            return None;
        }
        kept.remove(place).filter(|left| left.until > Instant::now())
    }

    /// Keeps one. Where there is no room, whoever holds most makes room.
    pub fn put(&self, place: Place, left: Left) {
        let mut kept = self.0.lock().expect("no panic holds it");
        kept.insert(place, left);
        loop {
            let mut keys: HashMap<&str, (usize, usize)> = HashMap::new();
            for (place, left) in kept.iter() {
                let (count, bytes) = keys.entry(&place.key).or_default();
                *count += 1;
                *bytes += left.bytes.len();
            }
            let all: usize = keys.values().map(|(_, bytes)| bytes).sum();
            let most = keys.iter().max_by_key(|(_, (_, bytes))| *bytes);
            let Some((key, (count, bytes))) = most.map(|(key, held)| ((*key).to_owned(), *held)) else {
                return;
            };
            if all <= MOST_BYTES && bytes <= MOST_BYTES_OF_ONE && kept.len() <= MOST && count <= MOST_OF_ONE {
                return;
            }
            let oldest = kept.iter().filter(|(place, _)| place.key == key).min_by_key(|(_, left)| left.until);
            let Some(oldest) = oldest.map(|(place, _)| place.clone()) else { return };
            kept.remove(&oldest);
        }
    }

    /// Lets go of what is old.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.0.lock().expect("no panic holds it").retain(|_, left| left.until > now);
    }
}
