//! A development chain of one node, kept in a file: signed transactions only, real blocks, and nothing acknowledged that
//! is not on the disk. It is for trying out and for tests; there is one writer and no consensus.
//!
//! The base fee is 0 and so may the tip be: a transaction costs what its sender offers. Blocks may share a second, for
//! there can be hundreds in one.

mod ask;
mod block;
mod journal;
mod pool;
mod refused;
mod sequencer;

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;

use alloy_consensus::transaction::Recovered;
use alloy_consensus::{TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_rpc_types_eth::{Filter, Log};
use earnest_core::plan::Time;
use revm::DatabaseRef;
use tokio::sync::{broadcast, oneshot};

pub use block::{BLOCK_GAS, Block, Included};
pub use journal::OpenError;
pub use pool::Place;
pub use refused::Refused;

use self::block::Ledger;
use self::journal::{Journal, Line};
use self::sequencer::{Inbox, Wish};
use crate::chain::{ChainError, Receipt};
use crate::embedded::TX_GAS_CAP;
use crate::key::Key;

/// Blocks a listener may fall behind before it misses some.
const HEADS: usize = 1_024;

/// The chain.
pub struct Node {
    shared: Arc<Shared>,
    sequencer: Option<JoinHandle<()>>,
    /// Held while a nonce is chosen for a transaction that is signed here.
    signing: Mutex<()>,
}

/// What the sequencer shares with everyone who reads.
struct Shared {
    chain_id: u64,
    clock: Clock,
    ledger: RwLock<Ledger>,
    inbox: Mutex<Inbox>,
    wake: Condvar,
    heads: broadcast::Sender<Arc<Block>>,
}

/// This machine's clock and what is added to it.
struct Clock {
    wall: Box<dyn Fn() -> Time + Send + Sync>,
    offset: AtomicI64,
}

impl Clock {
    fn read(&self) -> Time {
        (self.wall)().saturating_add_signed(self.offset.load(Ordering::Relaxed))
    }

    fn set(&self, offset: i64) {
        self.offset.store(offset, Ordering::Relaxed);
    }

    /// The offset with which it would show `time` now.
    fn offset_to(&self, time: Time) -> i64 {
        time.cast_signed().saturating_sub((self.wall)().cast_signed())
    }
}

impl Shared {
    fn ledger(&self) -> RwLockReadGuard<'_, Ledger> {
        self.ledger.read().expect("no panic holds it")
    }

    /// Time of the next block.
    fn time(&self) -> Time {
        self.clock.read().max(self.ledger().head().header.timestamp)
    }
}

/// Seconds since 1970 by this machine.
pub fn wall_clock() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

impl Node {
    /// Opens a chain's file, or makes it with a clock that starts at `genesis`. Every transaction in it runs again, and
    /// every block must come out with the hash it had.
    pub fn open(path: &Path, chain_id: u64, genesis: Time) -> Result<Self, OpenError> {
        Self::open_with_clock(path, chain_id, genesis, wall_clock)
    }

    /// The same by another clock than this machine's, such as one that stands still.
    pub fn open_with_clock(
        path: &Path,
        chain_id: u64,
        genesis: Time,
        wall: impl Fn() -> Time + Send + Sync + 'static,
    ) -> Result<Self, OpenError> {
        let clock = Clock { wall: Box::new(wall), offset: AtomicI64::new(0) };
        let mut ledger: Option<Ledger> = None;
        let fresh = (genesis, clock.offset_to(genesis));
        let journal = Journal::open(
            path,
            chain_id,
            || fresh,
            |head, line| {
                match (line, &mut ledger) {
                    (None, ledger) => {
                        clock.set(clock.offset_to(head.genesis_time));
                        *ledger = Some(Ledger::new(chain_id, head.genesis_time));
                    }
                    (Some(line), Some(ledger)) => replay(ledger, &clock, chain_id, line)?,
                    (Some(_), None) => unreachable!("the head is first"),
                }
                Ok(())
            },
        )?;
        let ledger = ledger.expect("the head was read or made");
        let shared = Arc::new(Shared {
            chain_id,
            clock,
            ledger: RwLock::new(ledger),
            inbox: Mutex::default(),
            wake: Condvar::new(),
            heads: broadcast::channel(HEADS).0,
        });
        let sequencer = std::thread::Builder::new()
            .name("sequencer".into())
            .spawn({
                let shared = shared.clone();
                move || sequencer::run(&shared, journal)
            })
            .map_err(|error| OpenError::File(path.to_path_buf(), error))?;
        Ok(Node { shared, sequencer: Some(sequencer), signing: Mutex::new(()) })
    }

    /// EIP-155 id.
    pub fn chain_id(&self) -> u64 {
        self.shared.chain_id
    }

    /// Time of the next block, and what a call sees.
    pub fn time(&self) -> Time {
        self.shared.time()
    }

    /// The last block.
    pub fn head(&self) -> Arc<Block> {
        self.shared.ledger().head().clone()
    }

    /// What the next block would be with nothing in it.
    pub fn pending(&self) -> Block {
        self.head().pending(self.time())
    }

    /// A block by height.
    pub fn block(&self, number: u64) -> Option<Arc<Block>> {
        self.shared.ledger().blocks.get(usize::try_from(number).ok()?).cloned()
    }

    /// A block by hash.
    pub fn block_by_hash(&self, hash: B256) -> Option<Arc<Block>> {
        let ledger = self.shared.ledger();
        let number = *ledger.numbers.get(&hash)?;
        ledger.blocks.get(usize::try_from(number).ok()?).cloned()
    }

    /// Block of a transaction, and its place there.
    pub fn place(&self, transaction: B256) -> Option<(Arc<Block>, usize)> {
        let ledger = self.shared.ledger();
        let (number, index) = *ledger.places.get(&transaction)?;
        Some((ledger.blocks.get(usize::try_from(number).ok()?)?.clone(), index))
    }

    /// Blocks from a height on, as many as there are and at most so many.
    pub fn blocks_since(&self, from: u64, most: usize) -> Vec<Arc<Block>> {
        let ledger = self.shared.ledger();
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(ledger.blocks.len());
        ledger.blocks[from..].iter().take(most).cloned().collect()
    }

    /// Logs of a range of blocks that a filter matches; its own range is not looked at.
    pub fn logs(&self, filter: &Filter, from: u64, to: u64) -> Vec<Log> {
        let count = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX).saturating_add(1);
        let mut logs = Vec::new();
        if from <= to {
            self.blocks_since(from, count).iter().for_each(|block| block.logs(filter, &mut logs));
        }
        logs
    }

    /// Hears of every block from now on, after it is durable.
    pub fn heads(&self) -> broadcast::Receiver<Arc<Block>> {
        self.shared.heads.subscribe()
    }

    /// Next nonce of an account by the last block.
    pub fn nonce(&self, of: Address) -> u64 {
        self.shared.ledger().nonce(of)
    }

    /// The same, counting what waits.
    pub fn pending_nonce(&self, of: Address) -> u64 {
        let inbox = self.shared.inbox.lock().expect("no panic holds it");
        let next = self.shared.ledger().nonce(of);
        inbox.pool.pending_nonce(of, next)
    }

    /// Ether of an account.
    pub fn balance(&self, of: Address) -> U256 {
        self.shared.ledger().state.basic_ref(of).ok().flatten().map_or(U256::ZERO, |info| info.balance)
    }

    /// Code of an account.
    pub fn code(&self, at: Address) -> Bytes {
        let ledger = self.shared.ledger();
        let account = ledger.state.cache.accounts.get(&at);
        let code = account.and_then(|account| ledger.state.cache.contracts.get(&account.info.code_hash));
        code.map(|code| code.original_bytes()).unwrap_or_default()
    }

    /// A storage slot.
    pub fn storage(&self, at: Address, slot: U256) -> U256 {
        let ledger = self.shared.ledger();
        let account = ledger.state.cache.accounts.get(&at);
        account.and_then(|account| account.storage.get(&slot)).copied().unwrap_or_default()
    }

    /// Every slot of an account that was ever written and is not zero.
    pub fn slots(&self, at: Address) -> Vec<(U256, U256)> {
        let ledger = self.shared.ledger();
        let slots =
            ledger.state.cache.accounts.get(&at).into_iter().flat_map(|account| account.storage.iter());
        slots.map(|(slot, value)| (*slot, *value)).filter(|(_, value)| !value.is_zero()).collect()
    }

    /// Takes in a signed transaction. The receiver hears where it is once its block is on the disk.
    pub fn submit(&self, raw: &[u8]) -> Result<(B256, oneshot::Receiver<Result<Place, Refused>>), Refused> {
        self.submit_read(refused::read(raw, self.chain_id())?)
    }

    fn submit_read(
        &self,
        transaction: Recovered<TxEnvelope>,
    ) -> Result<(B256, oneshot::Receiver<Result<Place, Refused>>), Refused> {
        let hash = *transaction.tx_hash();
        let mut inbox = self.shared.inbox.lock().expect("no panic holds it");
        if inbox.stop {
            return Err(Refused::Stopping);
        }
        let ledger = self.shared.ledger();
        if ledger.places.contains_key(&hash) {
            return Err(Refused::Known);
        }
        let next = ledger.nonce(transaction.signer());
        drop(ledger);
        let receiver = inbox.pool.insert(transaction, next)?;
        drop(inbox);
        self.shared.wake.notify_one();
        Ok((hash, receiver))
    }

    /// Signs a transaction with a key of this process, and waits until it is durable. What would be refused is found
    /// out before it costs a nonce.
    pub fn send(&self, key: &Key, kind: TxKind, input: Bytes) -> Result<Receipt, ChainError> {
        let from = key.address();
        self.try_out(from, kind, input.clone())?;
        let (_, receiver) = {
            let _signing = self.signing.lock().expect("no panic holds it");
            let transaction = TxEip1559 {
                chain_id: self.chain_id(),
                nonce: self.pending_nonce(from),
                gas_limit: TX_GAS_CAP,
                to: kind,
                input,
                ..TxEip1559::default()
            };
            self.submit_read(Recovered::new_unchecked(key.sign_transaction(transaction), from))?
        };
        let (number, index) = receiver.blocking_recv().map_err(|_| Refused::Stopping)??;
        let block = self.block(number).ok_or_else(|| ChainError::Node(format!("block {number} is gone")))?;
        let included = &block.transactions[index];
        if !included.receipt.status() {
            let hash = included.transaction.tx_hash();
            return Err(ChainError::Halted(format!("transaction {hash} failed in its block")));
        }
        Ok(Receipt {
            gas_used: included.gas_used,
            logs: included.receipt.logs().to_vec(),
            created: included.created,
            block: number,
        })
    }

    /// Moves the clock forward for good; back is not possible and does nothing.
    pub fn advance_to(&self, time: Time) -> Result<(), Refused> {
        if time <= self.time() {
            return Ok(());
        }
        match wait(self.set_clock(time, false)) {
            Err(Refused::Past { .. }) => Ok(()), // it got there by itself
            other => other,
        }
    }

    /// The clock shows `to` from now on; `exactly`: the next block has this time, however late it comes.
    pub fn set_clock(&self, to: Time, exactly: bool) -> oneshot::Receiver<Result<(), Refused>> {
        self.wish(Wish::Clock { to, exactly })
    }

    /// Makes a block now, of what waits or of nothing.
    pub fn mine(&self) -> oneshot::Receiver<Result<(), Refused>> {
        self.wish(Wish::Mine)
    }

    /// Seconds that are added to this machine's clock.
    pub fn clock_offset(&self) -> i64 {
        self.shared.clock.offset.load(Ordering::Relaxed)
    }

    fn wish(&self, wish: Wish) -> oneshot::Receiver<Result<(), Refused>> {
        let (reply, receiver) = oneshot::channel();
        self.shared.inbox.lock().expect("no panic holds it").wishes.push((wish, reply));
        self.shared.wake.notify_one();
        receiver
    }
}

fn wait(receiver: oneshot::Receiver<Result<(), Refused>>) -> Result<(), Refused> {
    receiver.blocking_recv().map_err(|_| Refused::Stopping)?
}

impl From<Refused> for ChainError {
    fn from(why: Refused) -> Self {
        ChainError::Node(why.to_string())
    }
}

impl From<OpenError> for ChainError {
    fn from(why: OpenError) -> Self {
        ChainError::Node(why.to_string())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shared.inbox.lock().expect("no panic holds it").stop = true;
        self.shared.wake.notify_all();
        if let Some(sequencer) = self.sequencer.take() {
            let _ = sequencer.join();
        }
    }
}

/// Does what a line of the journal says again.
fn replay(ledger: &mut Ledger, clock: &Clock, chain_id: u64, line: Line) -> Result<(), String> {
    let (number, time, transactions, senders, hash) = match line {
        Line::Clock { offset, check } if check == Line::clock_check(offset) => {
            clock.set(offset);
            return Ok(());
        }
        Line::Clock { offset, check } => return Err(format!("clock offset {offset} does not fit {check}")),
        Line::Block { number, time, transactions, senders, hash } => {
            (number, time, transactions, senders, hash)
        }
    };
    let head = &ledger.head().header;
    if number != head.number + 1 || time < head.timestamp {
        return Err(format!(
            "block {number} at {time} does not follow block {} at {}",
            head.number, head.timestamp
        ));
    }
    if transactions.len() != senders.len() {
        return Err(format!("{} transactions and {} senders", transactions.len(), senders.len()));
    }
    // The senders are not worked out again, which would take longer than all else: a wrong one gives another hash.
    let read = transactions.iter().zip(senders).map(|(raw, sender)| {
        let envelope = TxEnvelope::decode_2718_exact(raw).map_err(|error| error.to_string())?;
        Ok(Recovered::new_unchecked(envelope, sender))
    });
    let read = read.collect::<Result<Vec<_>, String>>()?;
    let built = block::build(ledger, chain_id, time, read);
    if let Some((_, why)) = built.refused.first() {
        return Err(format!("block {number} does not replay: {why}"));
    }
    if built.block.hash != hash {
        return Err(format!("block {number} replays to {}, and {hash} is written", built.block.hash));
    }
    ledger.publish(built.block, built.changes);
    Ok(())
}
