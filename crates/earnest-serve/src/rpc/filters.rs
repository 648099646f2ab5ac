//! Filters that clients poll. They are few and forgotten when nobody asks, so that no client can fill the memory.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use alloy_rpc_types_eth::Filter;

use super::Failure;

/// Most at once.
const MOST: usize = 1_000;
/// How long one is kept that nobody polls.
const IDLE: Duration = Duration::from_secs(300);

/// What is polled.
#[derive(Clone)]
pub(super) enum Kind {
    Blocks,
    Logs(Box<Filter>),
}

struct Polled {
    kind: Kind,
    /// The first block that was not told yet.
    next: u64,
    used: Instant,
}

#[derive(Default)]
pub(super) struct Filters {
    last: u64,
    all: HashMap<u64, Polled>,
}

impl Filters {
    /// Makes one that tells of blocks from `next` on.
    pub(super) fn make(&mut self, kind: Kind, next: u64) -> Result<u64, Failure> {
        self.all.retain(|_, polled| polled.used.elapsed() < IDLE);
        if self.all.len() >= MOST {
            return Err(Failure::new(-32_005, format!("there are {MOST} filters, and no more can be made")));
        }
        self.last += 1;
        self.all.insert(self.last, Polled { kind, next, used: Instant::now() });
        Ok(self.last)
    }

    /// What is polled and from which block on; the next time, from `next` on.
    pub(super) fn poll(&mut self, id: u64, next: Option<u64>) -> Result<(Kind, u64), Failure> {
        let polled = self.all.get_mut(&id).filter(|polled| polled.used.elapsed() < IDLE);
        let polled = polled.ok_or_else(|| Failure::server("filter not found"))?;
        polled.used = Instant::now();
        let from = polled.next;
        polled.next = next.unwrap_or(from).max(from);
        Ok((polled.kind.clone(), from))
    }

    pub(super) fn remove(&mut self, id: u64) -> bool {
        self.all.remove(&id).is_some()
    }
}
