//! What is told to whoever runs it once, and not again with every request.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Different things that are told within the time.
const MOST: usize = 64;
/// How long it is remembered that a thing was told.
const KEPT: Duration = Duration::from_secs(3_600);

/// What was told, and when.
#[derive(Debug, Default)]
pub struct Once(Mutex<HashMap<String, Instant>>);

impl Once {
    /// Whether this was not told lately, and it is not too much.
    pub fn is_new(&self, what: &str) -> bool {
        self.is_new_at(what, Instant::now())
    }

    fn is_new_at(&self, what: &str, now: Instant) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let old = |when: &Instant| now.saturating_duration_since(*when) >= KEPT;
        if told.get(what).is_some_and(|when| !old(when)) {
            return false;
        }
        if told.len() >= MOST {
            told.retain(|_, when| !old(when));
        }
        told.len() < MOST && told.insert(what.to_owned(), now).is_none_or(|when| old(&when))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_told_once_an_hour_and_not_too_many() {
        let (once, now) = (Once::default(), Instant::now());
        assert!(once.is_new_at("a", now) && !once.is_new_at("a", now + KEPT / 2));
        assert!(once.is_new_at("a", now + KEPT));
        let news = (0..200).filter(|number| once.is_new_at(&number.to_string(), now + KEPT)).count();
        assert_eq!(news, MOST - 1);
        assert!(!once.is_new_at("b", now + KEPT) && once.is_new_at("b", now + 2 * KEPT));
    }
}
