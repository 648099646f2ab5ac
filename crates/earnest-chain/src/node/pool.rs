//! Transactions that wait for the next block, by sender and nonce. One whose predecessors are missing waits a moment for
//! them, so that senders may send in parallel; then it is refused, for nothing here is durable.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use alloy_consensus::TxEnvelope;
use alloy_consensus::transaction::{Recovered, Transaction};
use alloy_primitives::{Address, B256};
use tokio::sync::oneshot;

use super::refused::Refused;

/// How long one waits for the nonces before its own.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// Most that wait in all, and of one sender.
const MOST: usize = 16_384;
const MOST_OF_ONE: usize = 1_024;

/// Where a transaction ended up: block and place in it.
pub type Place = (u64, usize);

struct Waiting {
    transaction: Recovered<TxEnvelope>,
    /// In what order they came.
    arrived: u64,
    until: Instant,
    reply: oneshot::Sender<Result<Place, Refused>>,
}

#[derive(Default)]
pub(super) struct Pool {
    senders: HashMap<Address, BTreeMap<u64, Waiting>>,
    hashes: HashSet<B256>,
    arrived: u64,
}

impl Pool {
    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Takes one in. `next` is the sender's next nonce by what is published.
    pub(super) fn insert(
        &mut self,
        transaction: Recovered<TxEnvelope>,
        next: u64,
    ) -> Result<oneshot::Receiver<Result<Place, Refused>>, Refused> {
        let (hash, nonce) = (*transaction.tx_hash(), transaction.nonce());
        if self.hashes.contains(&hash) {
            return Err(Refused::Known);
        }
        if nonce < next {
            return Err(Refused::NonceTooLow { next, nonce });
        }
        if self.hashes.len() >= MOST {
            return Err(Refused::Full(self.hashes.len()));
        }
        let own = self.senders.entry(transaction.signer()).or_default();
        if own.contains_key(&nonce) {
            return Err(Refused::Replacement(nonce));
        }
        if own.len() >= MOST_OF_ONE {
            return Err(Refused::Full(own.len()));
        }
        let (reply, receiver) = oneshot::channel();
        self.arrived += 1;
        let until = Instant::now() + PATIENCE;
        own.insert(nonce, Waiting { transaction, arrived: self.arrived, until, reply });
        self.hashes.insert(hash);
        Ok(receiver)
    }

    /// The sender's next nonce, counting what waits without a gap.
    pub(super) fn pending_nonce(&self, of: Address, next: u64) -> u64 {
        let own = self.senders.get(&of);
        (next..).find(|nonce| !own.is_some_and(|own| own.contains_key(nonce))).expect("an end")
    }

    /// Those whose turn it is, in the order they came, but never before a lower nonce of their sender.
    pub(super) fn ready(&self, next: impl Fn(Address) -> u64) -> Vec<Recovered<TxEnvelope>> {
        let mut ready = Vec::new();
        for (&sender, own) in &self.senders {
            let (mut expected, mut turn) = (next(sender), 0);
            for (&nonce, waiting) in own {
                if nonce > expected {
                    break;
                }
                // One that is too low by now goes along, to be refused.
                expected = expected.max(nonce + 1);
                turn = waiting.arrived.max(turn);
                ready.push((turn, &waiting.transaction));
            }
        }
        ready.sort_by_key(|(turn, _)| *turn);
        ready.into_iter().map(|(_, transaction)| transaction.clone()).collect()
    }

    /// Answers one that waits.
    pub(super) fn settle(&mut self, transaction: &Recovered<TxEnvelope>, answer: Result<Place, Refused>) {
        let Some(own) = self.senders.get_mut(&transaction.signer()) else { return };
        if let Some(waiting) = own.remove(&transaction.nonce()) {
            self.hashes.remove(waiting.transaction.tx_hash());
            let _ = waiting.reply.send(answer); // whoever asked may have gone
        }
        if own.is_empty() {
            self.senders.remove(&transaction.signer());
        }
    }

    /// Refuses those that have waited long enough.
    pub(super) fn expire(&mut self, now: Instant, next: impl Fn(Address) -> u64) {
        let all = self.senders.values().flat_map(BTreeMap::values);
        let late: Vec<_> = all.filter(|one| one.until < now).map(|one| one.transaction.clone()).collect();
        for transaction in late {
            let (nonce, next) = (transaction.nonce(), next(transaction.signer()));
            if nonce > self.pending_nonce(transaction.signer(), next) {
                self.settle(&transaction, Err(Refused::NonceTooHigh { next, nonce }));
            }
        }
    }

    /// Refuses everything.
    pub(super) fn clear(&mut self, why: &Refused) {
        for waiting in self.senders.drain().flat_map(|(_, own)| own.into_values()) {
            let _ = waiting.reply.send(Err(why.clone()));
        }
        self.hashes.clear();
    }
}
