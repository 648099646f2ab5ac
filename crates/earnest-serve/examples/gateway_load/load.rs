//! Load at a fixed rate, and the most of it that a target bears.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::client::{Client, question};
use crate::figures::percentile;
use crate::target::Target;

/// What the 99th percentile may be at a rate that is still borne.
const BORNE: Duration = Duration::from_millis(200);
/// Requests that may be under way before a rate counts as too much.
const MOST_OPEN: usize = 2_000;

/// What came of asking at a fixed rate for a while.
pub struct Load {
    /// From when a request was due to when its answer was there, in microseconds, sorted.
    pub latencies: Vec<u64>,
    pub asked: u64,
    pub failed: Option<anyhow::Error>,
    /// More requests were under way than any rate that is borne has.
    pub swamped: bool,
}

impl Load {
    fn borne(&self) -> bool {
        self.failed.is_none()
            && !self.swamped
            && u128::from(percentile(&self.latencies, 99)) <= BORNE.as_micros()
    }
}

/// Asks at a fixed rate, whatever the answers do: a request that is late is late, and none waits for another.
pub async fn load(target: &Target, rate: u32, seconds: f64) -> Load {
    let (send, mut due) = mpsc::unbounded_channel();
    let warm = Duration::from_millis(500);
    let (begin, end) = (Instant::now(), warm + Duration::from_secs_f64(seconds));
    // Its own thread sleeps to some 50 µs; tokio would send them in heaps, one a millisecond.
    std::thread::spawn(move || {
        let period = Duration::from_secs(1) / rate;
        for number in 0.. {
            let at = period * number;
            std::thread::sleep((begin + at).saturating_duration_since(Instant::now()));
            if at >= end || send.send((begin + at, at >= warm)).is_err() {
                return;
            }
        }
    });
    let (client, body) = (Client::new(target), question("How much?", 8, false));
    let mut running = JoinSet::new();
    let mut load = Load { latencies: Vec::new(), asked: 0, failed: None, swamped: false };
    let take = |load: &mut Load, done: Result<(Result<Bytes>, u64, bool), tokio::task::JoinError>| match done
    {
        Ok((Ok(_), latency, true)) => load.latencies.push(latency),
        Ok((Err(error), ..)) => load.failed = Some(error),
        Ok(_) => {}
        Err(error) => load.failed = Some(error.into()),
    };
    while let Some((at, counted)) = due.recv().await {
        let (client, body) = (client.clone(), body.clone());
        running.spawn(async move {
            let answer = client.ask(&body).await;
            (answer, u64::try_from(at.elapsed().as_micros()).unwrap_or(u64::MAX), counted)
        });
        load.asked += 1;
        while let Some(done) = running.try_join_next() {
            take(&mut load, done);
        }
        if running.len() > MOST_OPEN || load.failed.is_some() {
            load.swamped = running.len() > MOST_OPEN;
            break;
        }
    }
    if load.swamped || load.failed.is_some() {
        running.abort_all();
    }
    while let Some(done) = running.join_next().await {
        if !done.as_ref().is_err_and(tokio::task::JoinError::is_cancelled) {
            take(&mut load, done);
        }
    }
    load.latencies.sort_unstable();
    load
}

/// The most requests a second that it bears, to some 5%, looked for from a rate on.
pub async fn saturation(target: &Target, mut rate: u32, seconds: f64) -> Result<u32> {
    let (mut borne, mut too_much) = (0, None);
    loop {
        // A hiccup of the machine is not the proxy's: it has to fail twice.
        let mut failed = None;
        let mut holds = false;
        for _ in 0..2 {
            let load = load(target, rate, seconds).await;
            holds = load.borne();
            if holds {
                break;
            }
            failed = load.failed;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        if holds {
            borne = rate;
        } else if rate < 4 {
            let slow = || anyhow!("{} does not bear {rate} requests a second", target.name);
            return Err(failed.unwrap_or_else(slow));
        } else {
            too_much = Some(rate);
        }
        rate = match too_much {
            None => borne * 2,
            Some(most) if borne == 0 => most / 2,
            // The root of the product: between them by the same factor.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate")]
            Some(most) => (f64::from(borne) * f64::from(most)).sqrt() as u32,
        };
        if rate == borne || too_much.is_some_and(|most| borne > 0 && most - borne <= most / 20) {
            return Ok(borne);
        }
    }
}
