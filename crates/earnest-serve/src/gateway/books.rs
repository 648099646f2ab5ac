//! The gateway's channels and keys in memory. What is spoken for is counted under a channel's lock; what a crash may
//! not forget goes to the journal under the lock of what it changes, so that the journal's order is the memory's.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use alloy_primitives::{B256, Bytes, hex};
use earnest_chain::voucher::Channel;
use earnest_core::account::{Account, Budget, OverLimit, Refused, State};
use sha2::{Digest, Sha256};

use tokio::sync::Semaphore;

use super::journal::{ChannelRow, Coin, Entry, Journal, Kept, KeyRow, Limits, Space};

/// One channel.
pub struct Line {
    /// Its id.
    pub id: B256,
    /// Its identity.
    pub channel: Channel,
    /// Its coin.
    pub coin: Coin,
    /// How old the last look at it may be while it gives credit; none: there is no chain to look at.
    pub sight: Option<Duration>,
    /// Its books, and what changes with them.
    pub account: Mutex<Held>,
    /// One long body of it is read at a time: others' are read meanwhile.
    pub long_body: Arc<Semaphore>,
}

/// What is under one channel's lock.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// Its books.
    pub books: Account,
    /// Signature of the voucher whose ceiling is in the books.
    pub signature: Bytes,
    /// Time of the last order that was followed, in milliseconds.
    pub ordered: u64,
    /// When the chain was last asked about it and answered.
    pub seen: Option<Instant>,
    /// The settlement contract refuses its claim: it does not hold up those of others again.
    pub refused: bool,
    /// How far the lease on the disk reaches.
    on_disk: u128,
    /// Leases that may not be there yet: how far they reach, and their entries.
    leases: VecDeque<(u128, u64)>,
}

impl Held {
    /// The entry that must be on the disk before a byte leaves of what was admitted last; none: it is there.
    fn lease(&mut self, is_durable: impl Fn(u64) -> bool, write: impl FnOnce(u128) -> u64) -> Option<u64> {
        while let Some((upto, entry)) = self.leases.front().copied()
            && is_durable(entry)
        {
            self.on_disk = upto;
            self.leases.pop_front();
        }
        let needed = self.books.spoken_for();
        if needed <= self.on_disk {
            return None;
        }
        if let Some((_, entry)) = self.leases.iter().find(|(upto, _)| *upto >= needed) {
            return Some(*entry);
        }
        // The books have room that the disk does not know: the chain had claimed more than was charged.
        let entry = write(needed);
        self.leases.push_back((needed, entry));
        Some(entry)
    }
}

impl Deref for Held {
    type Target = Account;

    fn deref(&self) -> &Account {
        &self.books
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut Account {
        &mut self.books
    }
}

/// One API key.
pub struct ApiKey {
    /// What it pays from.
    pub line: Arc<Line>,
    /// What it is and may do.
    pub row: RwLock<KeyRow>,
    /// What it has spent.
    pub budget: Mutex<Budget>,
    /// Its requests in flight.
    pub in_flight: AtomicU32,
}

/// By hash of the secret, and the public names, which are shorter: whoever knows one can make a hash that begins alike.
#[derive(Default)]
struct Keys {
    by_hash: HashMap<B256, Arc<ApiKey>>,
    names: HashSet<String>,
}

/// All of them.
pub struct Books {
    lines: RwLock<HashMap<B256, Arc<Line>>>,
    keys: RwLock<Keys>,
    watched: bool,
}

/// A request that is not let in.
#[derive(Debug)]
pub enum NotAdmitted {
    /// The channel.
    Channel(Refused),
    /// The key's limit.
    Key(OverLimit),
    /// The chain was not seen for too long: a withdrawal may have begun, and nobody knows.
    Unseen,
    /// The journal's disk is all but full.
    NoSpace,
}

/// How a secret is kept.
pub fn hash_of(secret: &str) -> B256 {
    B256::from_slice(&Sha256::digest(secret.as_bytes()))
}

/// The public name of a key.
pub fn key_id(hash: B256) -> String {
    format!("key_{}", hex::encode(&hash[..8]))
}

impl Books {
    /// As they were kept. `watched`: there is a chain, and without its word there is no credit.
    pub fn of(kept: Kept, watched: bool) -> Self {
        let books = Books { lines: RwLock::default(), keys: RwLock::default(), watched };
        for row in kept.channels {
            books.add_line(row, |_| {});
        }
        for (row, budget) in kept.keys {
            // A key's channel is written before it, and channels are never deleted.
            if let Some(line) = books.line(row.channel) {
                books.add_key(line, row, budget, |_| {});
            }
        }
        books
    }

    /// A channel.
    pub fn line(&self, id: B256) -> Option<Arc<Line>> {
        self.lines.read().expect("no panic holds it").get(&id).cloned()
    }

    /// All channels.
    pub fn lines(&self) -> Vec<Arc<Line>> {
        self.lines.read().expect("no panic holds it").values().cloned().collect()
    }

    /// Adds a channel, unless it is there. `write` is told of a new one, under the lock.
    pub fn add_line(&self, row: ChannelRow, write: impl FnOnce(&Line)) -> Arc<Line> {
        let ChannelRow { id, channel, coin, account, signature, ordered } = row;
        let line = || {
            let on_disk = account.leased;
            let held = Held { books: account, signature, ordered, on_disk, ..Held::default() };
            // A third of the time that a withdrawal takes, rounded down: what is left is for claiming.
            let sight = self.watched.then(|| Duration::from_secs(channel.withdraw_delay) / 3);
            let line = Arc::new(Line {
                id,
                channel,
                coin,
                sight,
                account: Mutex::new(held),
                long_body: Arc::new(Semaphore::new(1)),
            });
            write(&line);
            line
        };
        self.lines.write().expect("no panic holds it").entry(id).or_insert_with(line).clone()
    }

    /// The key with this secret, taken back or not.
    pub fn key(&self, hash: B256) -> Option<Arc<ApiKey>> {
        self.keys.read().expect("no panic holds it").by_hash.get(&hash).cloned()
    }

    /// Keys of a channel, the oldest first.
    pub fn keys_of(&self, channel: B256) -> Vec<Arc<ApiKey>> {
        let keys = self.keys.read().expect("no panic holds it");
        let mut found: Vec<_> = keys.by_hash.values().filter(|key| key.line.id == channel).cloned().collect();
        drop(keys);
        found.sort_by_key(|key| {
            let row = key.row.read().expect("no panic holds it");
            (row.created, row.id.clone())
        });
        found
    }

    /// Adds a key, unless there is or was one with its secret or its public name, whoever's. `write` is told of a new one,
    /// under the lock.
    pub fn add_key(&self, line: Arc<Line>, row: KeyRow, budget: Budget, write: impl FnOnce(&KeyRow)) -> bool {
        let mut keys = self.keys.write().expect("no panic holds it");
        if keys.by_hash.contains_key(&row.hash) || !keys.names.insert(row.id.clone()) {
            return false;
        }
        write(&row);
        let (hash, row, budget) = (row.hash, RwLock::new(row), Mutex::new(budget));
        keys.by_hash.insert(hash, Arc::new(ApiKey { line, row, budget, in_flight: AtomicU32::new(0) }));
        true
    }
}

impl Line {
    /// Whether the chain was seen lately enough for credit.
    fn in_sight(&self, held: &Held) -> bool {
        self.sight.is_none_or(|most| held.seen.is_some_and(|seen| seen.elapsed() <= most))
    }
}

impl ApiKey {
    /// Its public name.
    pub fn row_id(&self) -> String {
        self.row.read().expect("no panic holds it").id.clone()
    }

    /// Whether any request could be paid, before more is known of it.
    pub fn could_pay(&self) -> bool {
        let held = self.line.account.lock().expect("no panic holds it");
        held.state == State::Open && held.left() > 0
    }

    /// Takes a request in: what it reserves, and the journal's number that must be on the disk before its first byte.
    pub fn admit(
        &self,
        journal: &Journal,
        reserve: u128,
        lease: u128,
        day: u64,
    ) -> Result<Option<u64>, NotAdmitted> {
        if journal.space() == Space::None {
            return Err(NotAdmitted::NoSpace);
        }
        let mut budget = self.budget.lock().expect("no panic holds it");
        let mut held = self.line.account.lock().expect("no panic holds it");
        // A channel that is closed is told so, whatever is seen of the chain.
        if held.state == State::Open && !self.line.in_sight(&held) {
            return Err(NotAdmitted::Unseen);
        }
        budget.admit(reserve, day).map_err(NotAdmitted::Key)?;
        match held.admit(reserve, lease) {
            Ok(lease) => {
                self.in_flight.fetch_add(1, Ordering::Relaxed);
                let write = |upto| journal.write(Entry::Lease(self.line.id, upto));
                held.leases.extend(lease.map(|upto| (upto, write(upto))));
                Ok(held.lease(|entry| journal.is_durable(entry), write))
            }
            Err(refused) => {
                budget.settle(reserve, 0, day);
                Err(NotAdmitted::Channel(refused))
            }
        }
    }

    /// A request is over.
    pub fn settle(&self, reserve: u128, charge: u128, day: u64) {
        self.budget.lock().expect("no panic holds it").settle(reserve, charge, day);
        self.line.account.lock().expect("no panic holds it").settle(reserve, charge);
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Its holder sets other limits.
    pub fn limit(&self, journal: &Journal, limits: Limits) {
        let mut row = self.row.write().expect("no panic holds it");
        let mut budget = self.budget.lock().expect("no panic holds it");
        (budget.total, budget.per_day) = (limits.total, limits.per_day);
        row.limits = limits;
        journal.write(Entry::Key(row.clone()));
    }

    /// Its holder takes it back.
    pub fn revoke(&self, journal: &Journal) {
        let mut row = self.row.write().expect("no panic holds it");
        row.revoked = true;
        journal.write(Entry::Key(row.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_spends_from_a_lease_waits_until_it_is_on_the_disk() {
        let books = Account { deposited: 1_000, ceiling: 1_000, ..Account::default() };
        let mut held = Held { books, ..Held::default() };
        // What is admitted, its lease's entry in the journal, and what of that is on the disk.
        let mut admit = |reserve, entry, durable| {
            if let Some(upto) = held.admit(reserve, 100).unwrap() {
                held.leases.push_back((upto, entry));
            }
            held.lease(|entry| entry <= durable, |_| entry)
        };
        assert_eq!(admit(10, 1, 0), Some(1));
        assert_eq!(admit(10, 2, 0), Some(1), "it found the lease of another, which is not there yet");
        assert_eq!(admit(10, 2, 1), None);
        assert_eq!(admit(50, 2, 1), None, "the next lease is on its way, and not needed yet");
        assert_eq!(admit(50, 3, 1), Some(2));
        assert_eq!(admit(10, 3, 2), None);
        assert_eq!(held.leases, [(240, 3)], "what is on the disk is forgotten");
        // The chain shows a claim that these books do not have; what was in flight then costs little.
        held.books.leased = 500;
        held.books.reserved = 300;
        assert_eq!(held.lease(|entry| entry <= 3, |upto| u64::try_from(upto).unwrap()), Some(300));
    }
}
