//! The least pace at which a client must take what is there for it, or give what it said it would. One byte a minute is a
//! sign of life, too, and would hold a connection, and whatever its answer holds, for as long as the client likes.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// Bytes in each span of time; who is at the end of what there is needs no more.
pub const LEAST: usize = 64 << 10;

/// Someone who moves bytes, and how fast. Only time in which there is something to move counts.
#[derive(Debug)]
pub struct Pace {
    every: Duration,
    /// When the running span ends; none: nothing waits.
    ends: Option<Instant>,
    moved: usize,
}

/// Less was moved than is the least.
#[derive(Debug, PartialEq, Eq)]
pub struct TooSlow;

impl Pace {
    /// At least `LEAST` bytes in each span of so long.
    pub fn new(every: Duration) -> Self {
        Pace { every, ends: None, moved: 0 }
    }

    /// So many bytes were moved.
    pub fn moved(&mut self, bytes: usize) {
        self.moved = self.moved.saturating_add(bytes);
    }

    /// Nothing is left to be moved: the clock stands until something waits again.
    pub fn rests(&mut self) {
        self.ends = None;
    }

    /// Something waits to be moved: when to look again.
    pub fn waits(&mut self, now: Instant) -> Result<Instant, TooSlow> {
        match self.ends {
            Some(ends) if now < ends => return Ok(ends),
            Some(_) if self.moved < LEAST => return Err(TooSlow),
            _ => {}
        }
        self.moved = 0;
        // A clock does not reach for ever; a year is as good.
        let ends = now.checked_add(self.every).unwrap_or(now + Duration::from_secs(31_536_000));
        self.ends = Some(ends);
        Ok(ends)
    }

    /// Waits for what moves bytes, such as the next frame of a body; whoever calls says afterwards how many they were.
    pub async fn wait<F: Future>(&mut self, moves: F) -> Result<F::Output, TooSlow> {
        let mut moves = pin!(moves);
        loop {
            let ends = self.waits(Instant::now())?;
            if let Ok(output) = timeout_at(ends, moves.as_mut()).await {
                return Ok(output);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(60);

    #[test]
    fn a_byte_now_and_then_is_too_slow() {
        let (start, mut pace) = (Instant::now(), Pace::new(EVERY));
        let ends = start + EVERY;
        assert_eq!(pace.waits(start), Ok(ends));
        for second in 1..60 {
            pace.moved(1);
            assert_eq!(pace.waits(start + Duration::from_secs(second)), Ok(ends));
        }
        assert_eq!(pace.waits(ends), Err(TooSlow));
    }

    #[test]
    fn the_least_is_enough_for_as_long_as_it_goes_on() {
        let (mut now, mut pace) = (Instant::now(), Pace::new(EVERY));
        for _ in 0..100 {
            let ends = pace.waits(now).unwrap();
            assert_eq!(ends, now + EVERY);
            pace.moved(LEAST / 2);
            pace.moved(LEAST / 2);
            now = ends;
        }
        // What was moved earlier does not count for later.
        pace.moved(10 * LEAST);
        now = pace.waits(now).unwrap();
        assert_eq!(pace.waits(now), Err(TooSlow));
    }

    #[test]
    fn who_has_taken_all_has_time() {
        let (start, mut pace) = (Instant::now(), Pace::new(EVERY));
        pace.waits(start).unwrap();
        pace.moved(1);
        pace.rests();
        let much_later = start + 100 * EVERY;
        assert_eq!(pace.waits(much_later), Ok(much_later + EVERY));
        assert!(Pace::new(Duration::MAX).waits(start).is_ok());
    }

    #[tokio::test]
    async fn a_body_that_dribbles_is_given_up() {
        let mut pace = Pace::new(Duration::from_millis(50));
        assert_eq!(pace.wait(std::future::ready(7)).await, Ok(7));
        let mut bytes = 0;
        let too_slow = loop {
            match pace.wait(tokio::time::sleep(Duration::from_millis(5))).await {
                Ok(()) => pace.moved(1),
                Err(too_slow) => break too_slow,
            }
            bytes += 1;
            assert!(bytes < 100);
        };
        assert_eq!(too_slow, TooSlow);
    }
}
