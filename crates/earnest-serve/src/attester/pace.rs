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

/// Buckets of all and of each wallet. Strangers have half of what all have, so that they never use up the turn of those
/// whom the service knows.
#[derive(Debug)]
pub(super) struct Pace {
    per_wallet: u32,
    overall: u32,
    all: Bucket,
    strangers: Bucket,
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

/// What strangers have of what all have, rounded up: someone has to be the first.
fn half(overall: u32) -> u32 {
    overall.div_ceil(2)
}

impl Pace {
    pub(super) fn new(per_wallet: u32, overall: u32, now: Instant) -> Self {
        let [all, strangers] = [overall, half(overall)].map(|a_minute| Bucket::full(a_minute, now));
        Pace { per_wallet, overall, all, strangers, wallets: HashMap::new() }
    }

    /// Takes one request of a wallet, where there is one left. `known`: the service has approved it, or given it a permit.
    pub(super) fn admit(&mut self, wallet: Address, known: bool, now: Instant) -> Result<(), Refusal> {
        let Pace { per_wallet, overall, all, strangers, wallets } = self;
        let theirs = half(*overall);
        all.fill(*overall, now);
        strangers.fill(theirs, now);
        // Before a stranger takes a place among the wallets that are watched.
        if !known && strangers.is_empty() {
            return Err(Refusal::TooOften { wait_secs: strangers.wait_secs(theirs) });
        }
        if wallets.len() >= MOST_WALLETS {
            wallets.retain(|_, bucket| now.saturating_duration_since(bucket.at).as_secs() < 60);
        }
        if !known && wallets.len() >= MOST_WALLETS {
            return Err(Refusal::TooOften { wait_secs: 60 });
        }
        let own = wallets.entry(wallet).or_insert_with(|| Bucket::full(*per_wallet, now));
        own.fill(*per_wallet, now);
        if own.is_empty() {
            return Err(Refusal::TooOften { wait_secs: own.wait_secs(*per_wallet) });
        }
        if all.is_empty() {
            return Err(Refusal::TooOften { wait_secs: all.wait_secs(*overall) });
        }
        own.left -= 1_000;
        all.left -= 1_000;
        if !known {
            strangers.left -= 1_000;
        }
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
        assert_eq!([a, a, b].map(|wallet| pace.admit(wallet, true, start)), [Ok(()), Ok(()), Ok(())]);
        assert_eq!(pace.admit(a, true, start), Err(Refusal::TooOften { wait_secs: 30 }));
        assert_eq!(pace.admit(b, true, start), Err(Refusal::TooOften { wait_secs: 20 }));
        assert_eq!(pace.admit(b, true, start + Duration::from_secs(20)), Ok(()));
        assert_eq!(pace.admit(a, true, start + Duration::from_secs(60)), Ok(()));
    }

    #[test]
    fn strangers_never_use_up_the_turn_of_those_who_are_known() {
        let start = Instant::now();
        let mut pace = Pace::new(10, 100, start);
        let stranger = |number: u32| Address::left_padding_from(&(1_000 + number).to_be_bytes());
        let served = (0..100_000).filter(|number| pace.admit(stranger(*number), false, start).is_ok());
        assert_eq!(served.count(), 50);
        assert_eq!(pace.wallets.len(), 50, "who is not served takes no place");
        let known = |number: u8| Address::repeat_byte(number);
        let served = (0..200).filter(|number| pace.admit(known(*number), true, start).is_ok());
        assert_eq!(served.count(), 50);
        // And those who are known keep a stranger waiting, but not for ever.
        assert!(pace.admit(stranger(0), false, start).is_err());
        assert_eq!(pace.admit(stranger(0), false, start + Duration::from_secs(60)), Ok(()));
    }
}
