//! The gateway's channels and keys in memory. What is spoken for is counted under a channel's lock; what a crash may
//! not forget goes to the journal before the lock's owner tells anyone.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use alloy_primitives::{B256, Bytes, hex};
use earnest_chain::voucher::Channel;
use earnest_core::account::{Account, Budget, OverLimit, Refused};
use sha2::{Digest, Sha256};

use super::journal::{ChannelRow, Coin, Entry, Journal, Kept, KeyRow, Limits};

/// One channel.
pub struct Line {
    /// Its id.
    pub id: B256,
    /// Its identity.
    pub channel: Channel,
    /// Its coin.
    pub coin: Coin,
    /// Its books.
    pub account: Mutex<Account>,
    /// Signature of its highest voucher.
    pub signature: Mutex<Bytes>,
    /// Time of the last order that was followed, in milliseconds.
    pub ordered: AtomicU64,
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

/// All of them.
#[derive(Default)]
pub struct Books {
    lines: RwLock<HashMap<B256, Arc<Line>>>,
    keys: RwLock<HashMap<B256, Arc<ApiKey>>>,
}

/// A request that is not let in.
#[derive(Debug)]
pub enum NotAdmitted {
    /// The channel.
    Channel(Refused),
    /// The key's limit.
    Key(OverLimit),
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
    /// As they were kept.
    pub fn of(kept: Kept) -> Self {
        let books = Books::default();
        for row in kept.channels {
            books.add_line(row);
        }
        for (row, budget) in kept.keys {
            // A key's channel is written before it, and channels are never deleted.
            if let Some(line) = books.line(row.channel) {
                books.put_key(line, row, budget);
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

    /// Adds a channel, unless it is there.
    pub fn add_line(&self, row: ChannelRow) -> Arc<Line> {
        let ChannelRow { id, channel, coin, account, signature, ordered } = row;
        let line = || {
            let (account, signature) = (Mutex::new(account), Mutex::new(signature));
            Arc::new(Line { id, channel, coin, account, signature, ordered: AtomicU64::new(ordered) })
        };
        self.lines.write().expect("no panic holds it").entry(id).or_insert_with(line).clone()
    }

    /// The key with this secret, taken back or not.
    pub fn key(&self, hash: B256) -> Option<Arc<ApiKey>> {
        self.keys.read().expect("no panic holds it").get(&hash).cloned()
    }

    /// Keys of a channel, the oldest first.
    pub fn keys_of(&self, channel: B256) -> Vec<Arc<ApiKey>> {
        let keys = self.keys.read().expect("no panic holds it");
        let mut found: Vec<_> = keys.values().filter(|key| key.line.id == channel).cloned().collect();
        drop(keys);
        found.sort_by_key(|key| {
            let row = key.row.read().expect("no panic holds it");
            (row.created, row.id.clone())
        });
        found
    }

    /// Adds a key.
    pub fn put_key(&self, line: Arc<Line>, row: KeyRow, budget: Budget) -> Arc<ApiKey> {
        let hash = row.hash;
        let key = Arc::new(ApiKey {
            line,
            row: RwLock::new(row),
            budget: Mutex::new(budget),
            in_flight: AtomicU32::new(0),
        });
        self.keys.write().expect("no panic holds it").insert(hash, key.clone());
        key
    }
}

impl ApiKey {
    /// Its public name.
    pub fn row_id(&self) -> String {
        self.row.read().expect("no panic holds it").id.clone()
    }

    /// Takes a request in: what it reserves, and the journal's number that must be on the disk before its first byte.
    pub fn admit(
        &self,
        journal: &Journal,
        reserve: u128,
        lease: u128,
        day: u64,
    ) -> Result<Option<u64>, NotAdmitted> {
        let mut budget = self.budget.lock().expect("no panic holds it");
        budget.admit(reserve, day).map_err(NotAdmitted::Key)?;
        let mut account = self.line.account.lock().expect("no panic holds it");
        match account.admit(reserve, lease) {
            Ok(lease) => {
                self.in_flight.fetch_add(1, Ordering::Relaxed);
                // Under the lock, so that leases are written in the order in which they rise.
                Ok(lease.map(|upto| journal.write(Entry::Lease(self.line.id, upto))))
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
    pub fn limit(&self, limits: Limits) -> KeyRow {
        let mut budget = self.budget.lock().expect("no panic holds it");
        (budget.total, budget.per_day) = (limits.total, limits.per_day);
        drop(budget);
        let mut row = self.row.write().expect("no panic holds it");
        row.limits = limits;
        row.clone()
    }
}
