//! How often anyone may ask, by the clock of this machine: a development chain's stands still.

use std::collections::HashMap;
use std::time::Instant;

use alloy_primitives::Address;

use super::refusal::Refusal;

/// Wallets that are watched at once.
const MOST_WALLETS: usize = 65_536;

/// A bucket that fills evenly, up to what a minute gives.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Thousandths of a request.
    left: u64,
    at: Instant,
}

/// Buckets of all and of each wallet.
#[derive(Debug)]
pub(super) struct Pace {
    per_wallet: u32,
    overall: u32,
    all: Bucket,
    wallets: HashMap<Address, Bucket>,
}

impl Bucket {
    fn full(a_minute: u32, now: Instant) -> Self {
        Bucket { left: u64::from(a_minute) * 1_000, at: now }
    }

    fn fill(&mut self, a_minute: u32, now: Instant) {
        let millis = u64::try_from(now.saturating_duration_since(self.at).as_millis()).unwrap_or(u64::MAX);
        let more = millis.min(60_000) * u64::from(a_minute) / 60;
        if more > 0 {
            (self.left, self.at) = ((self.left + more).min(u64::from(a_minute) * 1_000), now);
        }
    }

    fn is_empty(&self) -> bool {
        self.left < 1_000
    }

    /// Whole seconds until there is one more, rounded up.
    fn wait_secs(&self, a_minute: u32) -> u64 {
        ((1_000 - self.left.min(1_000)) * 60).div_ceil(u64::from(a_minute) * 1_000).max(1)
    }
}

impl Pace {
    pub(super) fn new(per_wallet: u32, overall: u32, now: Instant) -> Self {
        Pace { per_wallet, overall, all: Bucket::full(overall, now), wallets: HashMap::new() }
    }

    /// Takes one request of a wallet, where there is one left.
    pub(super) fn admit(&mut self, wallet: Address, now: Instant) -> Result<(), Refusal> {
        let Pace { per_wallet, overall, all, wallets } = self;
        if wallets.len() >= MOST_WALLETS {
            wallets.retain(|_, bucket| now.saturating_duration_since(bucket.at).as_secs() < 60);
        }
        if wallets.len() >= MOST_WALLETS {
            return Err(Refusal::TooOften { wait_secs: 60 });
        }
        let own = wallets.entry(wallet).or_insert_with(|| Bucket::full(*per_wallet, now));
        own.fill(*per_wallet, now);
        all.fill(*overall, now);
        if own.is_empty() {
            return Err(Refusal::TooOften { wait_secs: own.wait_secs(*per_wallet) });
        }
        if all.is_empty() {
            return Err(Refusal::TooOften { wait_secs: all.wait_secs(*overall) });
        }
        own.left -= 1_000;
        all.left -= 1_000;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_wallet_and_all_together_have_so_many_a_minute() {
        let start = Instant::now();
        let mut pace = Pace::new(2, 3, start);
        let [a, b] = [1, 2].map(Address::repeat_byte);
        assert_eq!([a, a, b].map(|wallet| pace.admit(wallet, start)), [Ok(()), Ok(()), Ok(())]);
        assert_eq!(pace.admit(a, start), Err(Refusal::TooOften { wait_secs: 30 }));
        assert_eq!(pace.admit(b, start), Err(Refusal::TooOften { wait_secs: 20 }));
        assert_eq!(pace.admit(b, start + Duration::from_secs(20)), Ok(()));
        assert_eq!(pace.admit(a, start + Duration::from_secs(60)), Ok(()));
    }
}
