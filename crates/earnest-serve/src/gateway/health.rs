//! How well those are who can be asked: three failures in a row earn a rest, from the channel whose requests failed or, where
//! there were several, from all. Told by operator, so that dialling in again mends nothing, and by what was asked, so that who
//! fails at one thing is not left alone for another. What a channel has seen fail only its own requests mend: one who is
//! served well cannot speak for another who is not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alloy_primitives::B256;

use crate::once::Once;

/// Failures in a row after which a provider is left alone, and for how long at first and at most.
const FAILURES: u32 = 3;
const REST: Duration = Duration::from_secs(2);
const LONGEST_REST: Duration = Duration::from_secs(60);
/// Blames in a row that others refuted, from which on each is a failure. A strike for the first would be unfair: contexts
/// differ in length, and servers in what they take. Who serves something in between was right to be asked.
const REFUTED: u32 = 3;
/// One that said nothing for so long, to anyone or to the channel that asks, is asked after the others, and first again once as
/// long has passed twice more.
pub(super) const SILENCE: Duration = Duration::from_secs(30);
/// The longest rest from a channel whose client left after such a silence. It is as long as was waited, then twice that.
const LONGEST_OF_SILENCE: Duration = Duration::from_secs(600);
/// How long it is remembered that a server lacks what was asked for.
const LACKING: Duration = Duration::from_secs(300);
/// Channels whose failures are remembered.
const MOST_CHANNELS: usize = 4_096;

/// Of one operator, at one endpoint.
#[derive(Default)]
pub(super) struct Health {
    ill: Mutex<Ill>,
    /// Models for which its server does not have the endpoint, and until when that is believed.
    lacks: Mutex<HashMap<String, Instant>>,
    /// What was said of it, once each, to the operator of the gateway.
    pub(super) warned: Once,
}

#[derive(Default)]
struct Ill {
    /// Failures in a row, whoever asked.
    all: Row,
    /// Whose was the first of them, and whether there were others.
    first: Option<B256>,
    several: bool,
    /// Of each channel whose requests failed: what a holder asks is not to cost a provider the requests of others.
    channels: HashMap<B256, Row>,
    /// Times in a row that it asked for a rest.
    busy: u32,
    /// Asked for, by it.
    until: Option<Instant>,
    /// It was asked, and has said nothing to anyone since: by whom first, and since when by another.
    silent: Option<(B256, Instant)>,
    silent_to_others: Option<Instant>,
}

/// Failures in a row, and the rest that they earned.
#[derive(Default)]
struct Row {
    failures: u32,
    /// Requests that it blamed and another served.
    refuted: u32,
    until: Option<Instant>,
    /// It was asked by the channel, and has said nothing to it since.
    silent: Option<Instant>,
}

/// It was asked at some time.
fn asked_at(silent: &mut Option<Instant>, since: Instant) {
    if silent.is_none_or(|before| since.duration_since(before) >= 3 * SILENCE) {
        *silent = Some(since);
    }
}

impl Row {
    fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES {
            let rest = REST.saturating_mul(1 << (self.failures - FAILURES).min(10)).min(LONGEST_REST);
            self.until = Some(Instant::now() + rest);
        }
    }

    /// Whoever asked waited for so long, and left.
    fn hung(&mut self, waited: Duration) {
        let rest = waited.saturating_mul(1 << self.failures.min(10)).min(LONGEST_OF_SILENCE);
        self.failures = self.failures.saturating_add(1);
        self.until = self.until.max(Some(Instant::now() + rest));
    }
}

impl Ill {
    fn channel(&mut self, channel: B256) -> &mut Row {
        if self.channels.len() >= MOST_CHANNELS && !self.channels.contains_key(&channel) {
            let now = Instant::now();
            self.channels.retain(|_, row| row.until.is_some_and(|until| until > now));
            if self.channels.len() >= MOST_CHANNELS {
                self.channels.clear();
            }
        }
        self.channels.entry(channel).or_default()
    }

    fn failed(&mut self, channel: B256) {
        self.channel(channel).failed();
        self.several |= *self.first.get_or_insert(channel) != channel;
        self.all.failed();
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
        let silent = |since: Option<Instant>| {
            let age = since.map(|since| now.duration_since(since));
            age.is_some_and(|age| age > SILENCE && age < 3 * SILENCE)
        };
        let rests = |until: Option<Instant>| until.is_some_and(|until| until > now);
        let own = channel.and_then(|channel| ill.channels.get(&channel));
        let all = ill.several && rests(ill.all.until);
        let own = own.is_some_and(|row| rests(row.until) || silent(row.silent));
        // One long request is no silence to the others.
        let silent_to_all = silent(ill.silent.map(|(_, since)| since)) && silent(ill.silent_to_others);
        !own && !all && !silent_to_all && !rests(ill.until)
    }

    /// It is asked, for a channel. `soon`: it should say something at once; else it may take long over an answer, and that says
    /// nothing to others.
    pub(super) fn asked(self: &Arc<Self>, channel: B256, soon: bool) -> Waiting {
        let since = Instant::now();
        let mut ill = self.ill();
        match ill.silent {
            _ if !soon => {}
            Some((first, before)) if since.duration_since(before) < 3 * SILENCE => {
                if first != channel {
                    asked_at(&mut ill.silent_to_others, since);
                }
            }
            _ => (ill.silent, ill.silent_to_others) = (Some((channel, since)), None),
        }
        asked_at(&mut ill.channel(channel).silent, since);
        Waiting { health: self.clone(), channel, since, over: false }
    }

    pub(super) fn failed(&self, channel: B256) {
        self.ill().failed(channel);
    }

    /// It blamed a request that another served. What the issuer's own served counts like any failure; another stranger's word
    /// is worth no more than the blame, and counts for this channel alone.
    pub(super) fn refuted(&self, channel: B256, by_own: bool) {
        let mut ill = self.ill();
        let row = ill.channel(channel);
        row.refuted = row.refuted.saturating_add(1);
        match row.refuted >= REFUTED {
            true if by_own => ill.failed(channel),
            true => row.failed(),
            false => {}
        }
    }

    /// It asks for a rest: as long as it says, and longer each time that it has nothing else to say.
    pub(super) fn busy(&self, secs: u64) {
        let now = Instant::now();
        let mut ill = self.ill();
        if ill.until.is_none_or(|until| until <= now) {
            ill.busy = ill.busy.saturating_add(1);
        }
        let least = 1 << (ill.busy.max(1) - 1).min(5);
        let rest = Duration::from_secs(secs.max(least)).min(LONGEST_REST);
        ill.until = ill.until.max(Some(now + rest));
    }

    pub(super) fn answered(&self, channel: B256) {
        let mut ill = self.ill();
        ill.channels.remove(&channel);
        let channels = std::mem::take(&mut ill.channels);
        *ill = Ill { channels, ..Ill::default() };
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
}

/// One that was asked and has not answered yet.
pub(super) struct Waiting {
    health: Arc<Health>,
    channel: B256,
    since: Instant,
    over: bool,
}

impl Waiting {
    /// It said something, or the time for it is over.
    pub(super) fn over(mut self, spoke: bool) {
        self.over = true;
        let mut ill = self.health.ill();
        if spoke {
            (ill.silent, ill.silent_to_others) = (None, None);
            if let Some(row) = ill.channels.get_mut(&self.channel) {
                row.silent = None;
            }
        } else if self.since.elapsed() >= SILENCE {
            let waited = self.since.elapsed();
            ill.channel(self.channel).hung(waited);
        }
    }
}

impl Drop for Waiting {
    /// Whoever asked has left. Before it was silent for long that says nothing of it.
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let (mut ill, waited) = (self.health.ill(), self.since.elapsed());
        if waited >= SILENCE {
            return ill.channel(self.channel).hung(waited);
        }
        let since = Some(self.since);
        ill.silent = ill.silent.filter(|(_, first)| Some(*first) != since);
        ill.silent_to_others = ill.silent_to_others.filter(|_| ill.silent_to_others != since);
        let row = ill.channel(self.channel);
        row.silent = row.silent.filter(|_| row.silent != since);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: B256 = B256::repeat_byte(1);
    const BOB: B256 = B256::repeat_byte(2);
    const CAROL: B256 = B256::repeat_byte(3);

    #[test]
    fn a_blame_that_is_refuted_weighs_only_from_the_third_in_a_row() {
        let health = Health::default();
        for _ in 0..10 {
            health.refuted(ALICE, true);
            health.refuted(ALICE, true);
            health.answered(ALICE);
        }
        assert!(health.well(Some(ALICE)));
        for _ in 0..5 {
            assert!(health.well(Some(ALICE)));
            health.refuted(ALICE, true);
        }
        assert!(
            !health.well(Some(ALICE)) && health.well(Some(BOB)),
            "it rests from whose requests it blamed"
        );
    }

    #[test]
    fn strangers_refute_for_the_channel_alone() {
        for (by_own, others) in [(true, false), (false, true)] {
            let health = Health::default();
            for _ in 0..20 {
                health.refuted(ALICE, by_own);
                health.refuted(BOB, by_own);
            }
            assert!(!health.well(Some(ALICE)) && !health.well(Some(BOB)));
            assert_eq!(health.well(Some(CAROL)), others);
        }
    }

    #[test]
    fn who_is_served_well_does_not_speak_for_another() {
        let health = Health::default();
        for _ in 0..3 {
            health.failed(ALICE);
            health.answered(BOB);
        }
        assert!(!health.well(Some(ALICE)) && health.well(Some(BOB)));
        health.answered(ALICE);
        assert!(health.well(Some(ALICE)));
    }

    #[test]
    fn who_leaves_soon_says_nothing_of_whom_it_asked() {
        let health = Arc::new(Health::default());
        drop(health.asked(ALICE, true));
        assert_eq!(health.ill().silent, None);
        let waiting = health.asked(ALICE, true);
        drop(health.asked(BOB, true));
        assert!(health.ill().silent.is_some(), "Alice waits still");
        waiting.over(true);
        assert_eq!(health.ill().silent, None);
        // Silent for long, it is asked last; and first again, once, after as long twice more.
        let ago = |secs| Instant::now().checked_sub(Duration::from_secs(secs));
        for (secs, well) in [(29_u64, true), (31, false), (89, false), (91, true)] {
            health.ill().silent = ago(secs).map(|since| (ALICE, since));
            health.ill().silent_to_others = None;
            assert!(health.well(None), "to one only");
            health.ill().silent_to_others = ago(secs);
            assert_eq!(health.well(None), well, "{secs}");
        }
        let waiting = health.asked(ALICE, true);
        assert_eq!(health.ill().silent, Some((ALICE, waiting.since)));
        waiting.over(true);
        // One that may take long over an answer says nothing to others by that.
        let waiting = health.asked(ALICE, false);
        assert_eq!(health.ill().silent, None);
        waiting.over(true);
        // Who left after a long silence leaves it alone for as long, and then for twice that; others do not.
        for (waited, rest) in [(40, 40), (40, 80), (400, 600)] {
            let mut waiting = health.asked(ALICE, true);
            waiting.since = ago(waited).unwrap();
            drop(waiting);
            let until = health.ill().channels[&ALICE].until.unwrap();
            assert_eq!(until.duration_since(Instant::now()).as_secs_f64().round(), f64::from(rest));
            assert!(!health.well(Some(ALICE)) && health.well(Some(BOB)));
        }
        // Who is waiting still asks another meanwhile, and others do not.
        health.answered(ALICE);
        let waiting = health.asked(ALICE, true);
        health.asked(BOB, true).over(true);
        health.ill().channels.get_mut(&ALICE).unwrap().silent = ago(31);
        assert!(!health.well(Some(ALICE)) && health.well(Some(BOB)));
        waiting.over(true);
        assert!(health.well(Some(ALICE)));
    }

    #[test]
    fn who_only_ever_asks_for_a_rest_has_longer_ones() {
        let health = Health::default();
        let left = || health.ill().until.unwrap().duration_since(Instant::now()).as_secs_f64().ceil();
        let mut found = Vec::new();
        for _ in 0..8 {
            health.busy(0);
            health.busy(0); // of the same moment
            found.push(left());
            health.ill().until = Some(Instant::now());
        }
        assert_eq!(found, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 32.0, 32.0]);
        health.answered(ALICE);
        health.busy(40);
        assert_eq!(left(), 40.0);
    }

    #[test]
    fn only_so_many_channels_are_remembered() {
        let health = Health::default();
        for number in 0..10_000_u64 {
            health.failed(B256::left_padding_from(&number.to_be_bytes()));
        }
        assert!(health.ill().channels.len() <= MOST_CHANNELS);
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
