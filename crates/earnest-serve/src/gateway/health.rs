//! How well those are who can be asked: three failures in a row earn a rest. Told by operator, so that dialling in again
//! mends nothing, and by what was asked, so that who fails at one thing is not left alone for another.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alloy_primitives::B256;

/// Failures in a row after which a provider is left alone, and for how long at first and at most.
const FAILURES: u32 = 3;
const REST: Duration = Duration::from_secs(2);
const LONGEST_REST: Duration = Duration::from_secs(60);
/// Blames in a row that others refuted, from which on each is a failure. A strike for the first would be unfair: contexts
/// differ in length, and servers in what they take. Who serves something in between was right to be asked.
const REFUTED: u32 = 3;
/// One that said nothing to anyone for so long is asked after the others.
pub(super) const SILENCE: Duration = Duration::from_secs(30);
/// How long it is remembered that a server lacks what was asked for.
const LACKING: Duration = Duration::from_secs(300);
/// Different things that are told of a provider.
const MOST_WARNED: usize = 64;

/// Of one operator, at one endpoint.
#[derive(Default)]
pub(super) struct Health {
    ill: Mutex<Ill>,
    /// Models for which its server does not have the endpoint, and until when that is believed.
    lacks: Mutex<HashMap<String, Instant>>,
    /// What was said of it, once each, to the operator of the gateway.
    warned: Mutex<HashSet<String>>,
}

#[derive(Default)]
struct Ill {
    failures: u32,
    /// Requests that it blamed and another served, since it served one.
    refuted: u32,
    until: Option<Instant>,
    /// Whose requests failed, as far as they were one channel's: it alone goes elsewhere then, for what a holder asks is
    /// not to cost a provider the requests of others.
    by: Option<B256>,
    /// It was asked, and has said nothing to anyone since.
    silent: Option<Instant>,
}

impl Ill {
    fn failed(&mut self, channel: B256) {
        self.by = if self.failures == 0 || self.by == Some(channel) { Some(channel) } else { None };
        self.failures += 1;
        if self.failures >= FAILURES {
            let rest = REST.saturating_mul(1 << (self.failures - FAILURES).min(10)).min(LONGEST_REST);
            self.until = Some(Instant::now() + rest);
        }
    }
}

impl Health {
    fn ill(&self) -> MutexGuard<'_, Ill> {
        self.ill.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it can be asked first: by a channel, or by those whose requests have not failed.
    pub(super) fn well(&self, channel: Option<B256>) -> bool {
        let now = Instant::now();
        let ill = self.ill();
        let silent = ill.silent.is_some_and(|since| now.duration_since(since) > SILENCE);
        let rests = ill.until.is_some_and(|until| until > now) && (ill.by.is_none() || ill.by == channel);
        !rests && !silent
    }

    pub(super) fn asked(&self) {
        self.ill().silent.get_or_insert_with(Instant::now);
    }

    pub(super) fn spoke(&self) {
        self.ill().silent = None;
    }

    pub(super) fn failed(&self, channel: B256) {
        self.ill().failed(channel);
    }

    /// It blamed a request that another served.
    pub(super) fn refuted(&self, channel: B256) {
        let mut ill = self.ill();
        ill.refuted = ill.refuted.saturating_add(1);
        if ill.refuted >= REFUTED {
            ill.failed(channel);
        }
    }

    /// It asks for a rest.
    pub(super) fn busy(&self, secs: u64) {
        let rest = Duration::from_secs(secs).min(LONGEST_REST);
        let mut ill = self.ill();
        ill.until = ill.until.max(Some(Instant::now() + rest));
        ill.by = None;
    }

    pub(super) fn answered(&self) {
        *self.ill() = Ill::default();
    }

    /// Its server does not have the endpoint for this model.
    pub(super) fn lacks(&self, model: &str) {
        let mut lacks = self.lacks.lock().unwrap_or_else(PoisonError::into_inner);
        lacks.insert(model.to_owned(), Instant::now() + LACKING);
    }

    /// It has it.
    pub(super) fn has(&self, model: &str) {
        self.lacks.lock().unwrap_or_else(PoisonError::into_inner).remove(model);
    }

    /// Whether it lacked it a moment ago.
    pub(super) fn is_lacking(&self, model: &str) -> bool {
        let lacks = self.lacks.lock().unwrap_or_else(PoisonError::into_inner);
        lacks.get(model).is_some_and(|until| *until > Instant::now())
    }

    /// Whether this is new of it, and it is not too much.
    pub(super) fn warns(&self, what: &str) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        warned.len() < MOST_WARNED && warned.insert(what.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blame_that_is_refuted_weighs_only_from_the_third_in_a_row() {
        let (health, alice, bob) = (Health::default(), B256::with_last_byte(1), B256::with_last_byte(2));
        for _ in 0..10 {
            health.refuted(alice);
            health.refuted(alice);
            health.answered();
        }
        assert!(health.well(Some(alice)));
        for _ in 0..5 {
            assert!(health.well(Some(alice)));
            health.refuted(alice);
        }
        assert!(
            !health.well(Some(alice)) && health.well(Some(bob)),
            "it rests from whose requests it blamed"
        );
        health.refuted(bob);
        assert!(!health.well(Some(bob)));
        health.answered();
        assert!(health.well(Some(alice)) && health.well(Some(bob)));
    }

    #[test]
    fn what_is_lacking_is_no_illness() {
        let health = Health::default();
        health.lacks("a");
        assert!(health.is_lacking("a") && !health.is_lacking("b") && health.well(None));
        health.has("a");
        assert!(!health.is_lacking("a"));
    }
}
