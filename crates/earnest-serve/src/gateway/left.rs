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
use super::room::Room;
use super::route::Served;
use crate::openai::Endpoint;
use crate::openai::answer::Counted;

/// How long an answer is kept.
const KEEP: Duration = Duration::from_secs(300);
/// How many are kept in all, and of one key.
const MOST: usize = 4_096;
const MOST_OF_ONE: usize = 64;

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
    paid_usage: Usage,
    paid: u128,
    cost: u128,
    until: Instant,
    _room: Room,
}

/// All that are kept.
#[derive(Default)]
pub struct Kept(Mutex<HashMap<Place, Left>>);

impl Left {
    /// Of an answer that is about to go out.
    pub fn new(job: &Job, served: Served, counted: Counted, bytes: Bytes, room: Room) -> Self {
        let cost =
            job.rates.charge(job.endpoint.service(), counted.usage).unwrap_or(job.reserve).min(job.reserve);
        Left {
            place: Place { key: job.key.row_id(), endpoint: job.endpoint, asked: job.asked },
            served,
            counted,
            price_version: job.price_version,
            rates: job.rates,
            bytes,
            paid_bytes: 0,
            paid_usage: Usage::default(),
            paid: 0,
            cost,
            until: Instant::now() + KEEP,
            _room: room,
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

    /// Its reader has left, when so many bytes were taken: that part is charged, rounded up, and the answer is kept.
    pub fn go(mut self, job: Job, taken: u64) {
        let gateway = job.gateway.clone();
        if taken <= self.paid_bytes {
            job.forget();
        } else {
            let part = |count: u64| {
                let part =
                    (u128::from(count) * u128::from(taken)).div_ceil((self.bytes.len() as u128).max(1));
                u64::try_from(part).unwrap_or(count).min(count)
            };
            let (all, paid) = (self.counted.usage, self.paid_usage);
            let now = Usage { input: part(all.input), cached: part(all.cached), output: part(all.output) };
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

    /// Keeps one, where there is room for it.
    pub fn put(&self, place: Place, left: Left) {
        let now = Instant::now();
        let mut kept = self.0.lock().expect("no panic holds it");
        if kept.len() >= MOST || kept.keys().filter(|other| other.key == place.key).count() >= MOST_OF_ONE {
            kept.retain(|_, left| left.until > now);
        }
        if kept.len() < MOST && kept.keys().filter(|other| other.key == place.key).count() < MOST_OF_ONE {
            kept.insert(place, left);
        }
    }

    /// Lets go of what is old.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.0.lock().expect("no panic holds it").retain(|_, left| left.until > now);
    }
}
