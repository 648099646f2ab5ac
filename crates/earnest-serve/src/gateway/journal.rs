//! What the gateway must not forget, in SQLite: channels and their vouchers, keys, leases, charges with their receipts,
//! answers that may be asked for again, claims and statements. One thread writes; what comes within a flush interval
//! shares one transaction and one sync. Nothing is read back but at the start, by pages and by claims.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes};
use anyhow::{Context, Result, bail};
use earnest_chain::voucher::{Channel, SignedReceipt};
use earnest_core::account::{Account, Budget, State};
use earnest_core::charge::Usage;
use rusqlite::{Connection, TransactionBehavior};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::crash;
use checkpoint::Checkpoints;
use tables::{Totals, VERSION, close_marks, make, put, read};

mod checkpoint;
mod questions;
mod tables;
#[cfg(test)]
mod tests;

/// How long a charge waits for others to share a sync with.
const FLUSH: Duration = Duration::from_millis(50);
/// So many entries do not wait for more.
const BATCH: usize = 4_096;

/// Which coin a channel is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Coin {
    /// The offering's credit.
    Credits,
    /// The cash it raised.
    Cash,
}

impl Coin {
    /// As it is written down.
    pub fn word(self) -> &'static str {
        match self {
            Coin::Credits => "credits",
            Coin::Cash => "cash",
        }
    }

    fn read(word: &str) -> Result<Self> {
        match word {
            "credits" => Ok(Coin::Credits),
            "cash" => Ok(Coin::Cash),
            other => bail!("no coin is called {other:?}"),
        }
    }
}

/// What a key may do, as its holder ordered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Only these models; none: all.
    pub models: Option<Vec<String>>,
    /// Most in a day.
    pub per_day: Option<u128>,
    /// Most in all.
    pub total: Option<u128>,
}

/// A key as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// Public name of the key, made from its hash.
    pub id: String,
    /// SHA-256 of the secret.
    pub hash: B256,
    /// Its channel.
    pub channel: B256,
    /// What its holder calls it.
    pub name: String,
    /// What it may do.
    pub limits: Limits,
    /// Seconds since 1970.
    pub created: u64,
    /// Taken back.
    pub revoked: bool,
}

/// What one request cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The request.
    pub id: String,
    /// Whose channel.
    pub channel: B256,
    /// Which key.
    pub key: String,
    /// Who served it.
    pub provider: Address,
    /// The model, as the price list names it.
    pub model: String,
    /// Version of the price list.
    pub price_version: u32,
    /// What was used.
    pub usage: Usage,
    /// What it cost.
    pub charge: u128,
    /// What of it is the provider's.
    pub pay: u128,
    /// Milliseconds since 1970.
    pub time: u64,
    /// The answer was written out whole.
    pub complete: bool,
    /// Not all of the usage was stated; the receipt says so, too, and only it is kept.
    pub estimated: bool,
    /// What the holder has in hand.
    pub receipt: SignedReceipt,
}

/// An answer that is given again to the same `Idempotency-Key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whose channel.
    pub channel: B256,
    /// Whose.
    pub key: String,
    /// The header.
    pub idempotency: String,
    /// SHA-256 of the body that was asked.
    pub asked: B256,
    /// The request that was answered.
    pub id: String,
    /// `application/json` or `text/event-stream`.
    pub content_type: String,
    /// The answer. Empty: it broke off or could not be kept, and the charge says how far it came.
    pub body: Bytes,
    /// Milliseconds since 1970.
    pub time: u64,
}

/// A statement as it was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementRow {
    /// Of which coin.
    pub coin: Coin,
    /// Its number, from 1.
    pub number: u32,
    /// What it says, as JSON.
    pub document: String,
}

/// Something to be written down.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A channel is used for the first time.
    Open(B256, Channel, Coin),
    /// A voucher: ceiling and signature.
    Voucher(B256, u128, Bytes),
    /// The time of the last order that was followed, in milliseconds.
    Ordered(B256, u64),
    /// What the chain says: deposited, claimed, and where the channel is in its life.
    Chain(B256, u128, u128, State),
    /// The chain had claimed more than was charged, and this is charged now.
    Restored(B256, u128),
    /// What may be charged before more is written.
    Lease(B256, u128),
    /// A key, or new limits of one, or that it is taken back.
    Key(KeyRow),
    /// How far a stream has come: what it costs if nothing more is heard of it.
    Mark(Box<Charge>),
    /// A request is over.
    Charge(Box<Charge>),
    /// An answer to be given again.
    Answer(Box<Answer>),
    /// Nothing was given for an `Idempotency-Key`: a key and the header.
    Forget(String, String),
    /// A claim is about to be sent: the running total, and what of it is whose.
    Claiming(B256, u128, Vec<(Address, u128)>),
    /// The chain shows this running total.
    Claimed(B256, u128),
    /// A statement stands on the chain.
    Statement(StatementRow),
    /// Nothing: whoever waits for it waits for all before it.
    Flush,
}

impl Entry {
    /// Someone waits for it.
    fn urgent(&self) -> bool {
        !matches!(self, Entry::Mark(_) | Entry::Charge(_) | Entry::Chain(..))
    }
}

/// A channel as it was kept.
#[derive(Clone, Debug)]
pub struct ChannelRow {
    /// Its id.
    pub id: B256,
    /// Its identity.
    pub channel: Channel,
    /// Its coin.
    pub coin: Coin,
    /// Its books.
    pub account: Account,
    /// Signature of its highest voucher.
    pub signature: Bytes,
    /// Time of the last order that was followed.
    pub ordered: u64,
}

/// What was kept.
#[derive(Default)]
pub struct Kept {
    /// Channels.
    pub channels: Vec<ChannelRow>,
    /// Keys and what they have spent.
    pub keys: Vec<(KeyRow, Budget)>,
    /// Streams that a crash cut off, charged up to their last mark.
    pub cut_off: usize,
}

/// What of a channel can be claimed: the running total on the disk, and what of it is whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimable {
    /// The channel.
    pub channel: B256,
    /// Charged, on the disk.
    pub charged: u128,
    /// By provider.
    pub pays: Vec<(Address, u128)>,
}

/// How much of the disk may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of one channel's answers that are kept for their `Idempotency-Key`.
    pub answers_of_channel: u64,
    /// Bytes of all of them.
    pub answers: u64,
    /// Free bytes under which no more answers are kept.
    pub free_for_answers: u64,
    /// Free bytes under which nothing more is admitted.
    pub free: u64,
    /// Days for which receipts can be asked for.
    pub receipts_days: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            answers_of_channel: 256 << 20,
            answers: 8 << 30,
            free_for_answers: 1 << 30,
            free: 128 << 20,
            receipts_days: 100,
        }
    }
}

/// What room the disk has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Space {
    /// Enough.
    Enough,
    /// Not for answers that may be asked for again.
    Little,
    /// Not for charges either.
    None,
}

/// The room that the disk had when it was looked at last.
#[derive(Default)]
struct Room(AtomicU8);

impl Room {
    fn get(&self) -> Space {
        match self.0.load(Ordering::Relaxed) {
            0 => Space::Enough,
            1 => Space::Little,
            _ => Space::None,
        }
    }
}

/// Free bytes of a file's disk for who is not its administrator; none where that cannot be asked.
fn free_bytes(path: &Path) -> Option<u64> {
    #[cfg(unix)]
    let free = rustix::fs::statvfs(path).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    #[cfg(not(unix))]
    let free = None;
    free
}

/// Makes a file, or takes what is there, for its owner's eyes alone: what the gateway knows of its holders is in it.
fn private(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(file)
}

/// The journal.
pub struct Journal {
    path: PathBuf,
    bounds: Bounds,
    room: Arc<Room>,
    queue: Arc<Queue>,
    durable: watch::Receiver<u64>,
    reader: Mutex<Connection>,
    writer: Mutex<Option<JoinHandle<()>>>,
    checkpoints: Mutex<Option<Checkpoints>>,
    lock: Mutex<Option<File>>,
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.close();
    }
}

/// Where entries wait. The writer is woken for the first of a batch and for those that someone waits for, not for each:
/// waking it would cost more than writing them down.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
}

#[derive(Default)]
struct Waiting {
    entries: Vec<Entry>,
    /// Number of the last one.
    given: u64,
    urgent: bool,
    /// Nothing more is taken in.
    closed: bool,
}

impl Queue {
    fn put(&self, entry: Entry) -> u64 {
        let mut waiting = self.waiting.lock().expect("no panic holds it");
        // Where nothing waits there is nothing to sync: strangers can ask for this.
        if matches!(entry, Entry::Flush) {
            if !waiting.entries.is_empty() && !waiting.urgent {
                waiting.urgent = true;
                self.arrived.notify_one();
            }
            return waiting.given;
        }
        waiting.given += 1;
        let number = waiting.given;
        // Whoever waits for a number that comes too late hears that the writer is gone.
        if !waiting.closed {
            let urgent = entry.urgent() && !waiting.urgent;
            waiting.urgent |= urgent;
            waiting.entries.push(entry);
            if urgent || waiting.entries.len() == 1 || waiting.entries.len() == BATCH {
                drop(waiting);
                self.arrived.notify_one();
            }
        }
        number
    }

    /// What comes within a flush interval, or until someone waits for it, and the number of the last one. Nothing, once
    /// the queue is closed.
    fn batch(&self) -> (Vec<Entry>, u64) {
        let waiting = self.waiting.lock().expect("no panic holds it");
        let idle = |waiting: &mut Waiting| waiting.entries.is_empty() && !waiting.closed;
        let waiting = self.arrived.wait_while(waiting, idle).expect("no panic holds it");
        let filling =
            |waiting: &mut Waiting| !waiting.urgent && !waiting.closed && waiting.entries.len() < BATCH;
        let (mut waiting, _) =
            self.arrived.wait_timeout_while(waiting, FLUSH, filling).expect("no panic holds it");
        waiting.urgent = false;
        (std::mem::take(&mut waiting.entries), waiting.given)
    }

    fn close(&self) {
        self.waiting.lock().expect("no panic holds it").closed = true;
        self.arrived.notify_one();
    }
}

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 3_600 * 1_000;

/// The day of a time in milliseconds, UTC.
pub fn day_of(time: u64) -> u64 {
    time / DAY_MS
}

impl Journal {
    /// Opens a file, or makes it. A second process is refused. `sign` gives a signature to the receipts of streams that a
    /// crash cut off.
    pub fn open(path: &Path, bounds: Bounds, sign: impl Fn(String) -> SignedReceipt) -> Result<(Self, Kept)> {
        let beside = || format!("cannot write beside {}", path.display());
        let lock = private(&path.with_extension("lock")).with_context(beside)?;
        if lock.try_lock().is_err() {
            bail!("another gateway has {} open\n  hint: only one may write a journal", path.display());
        }
        // SQLite gives the files beside it the same mode; those of an earlier version have another.
        private(path).with_context(beside)?;
        for ending in ["-wal", "-shm"] {
            let mut file = path.as_os_str().to_owned();
            file.push(ending);
            if Path::new(&file).exists() {
                private(Path::new(&file)).with_context(beside)?;
            }
        }
        let connect = || -> Result<Connection> {
            let connection = Connection::open(path)?;
            connection.busy_timeout(Duration::from_secs(10))?;
            connection.pragma_update(None, "journal_mode", "wal")?;
            connection.pragma_update(None, "synchronous", "full")?;
            connection.pragma_update(None, "wal_autocheckpoint", checkpoint::LONGEST)?;
            // A log that grew longer, because somebody read all the time, is cut where it begins anew.
            connection.pragma_update(None, "journal_size_limit", checkpoint::LONGEST << 12)?;
            connection.set_prepared_statement_cache_capacity(64);
            Ok(connection)
        };
        let room = Arc::new(Room::default());
        let open = || -> Result<(Connection, Kept, Totals)> {
            let mut connection = connect()?;
            let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
            if version > VERSION {
                bail!(
                    "it was written by a later version of Earnest ({version}, and this one knows {VERSION})"
                );
            }
            make(&mut connection)?;
            let mut totals = Totals::of(&connection, bounds, room.clone())?;
            let cut_off = close_marks(&mut connection, &mut totals, &sign)?;
            let kept = Kept { cut_off, ..read(&connection)? };
            Ok((connection, kept, totals))
        };
        let (connection, kept, totals) = open().with_context(|| format!("{}", path.display()))?;
        let queue = Arc::new(Queue::default());
        let (told, durable) = watch::channel(0);
        let entries = queue.clone();
        // Before there is a thread that would have to be stopped.
        let (reader, copier) = (connect()?, connect()?);
        let writer = std::thread::Builder::new().name("journal".into()).spawn(move || {
            write(connection, totals, &entries, &told);
            entries.close();
        })?;
        let checkpoints = Checkpoints::start(copier)?;
        let journal = Journal {
            path: path.to_path_buf(),
            bounds,
            room,
            queue,
            durable,
            reader: Mutex::new(reader),
            writer: Mutex::new(Some(writer)),
            checkpoints: Mutex::new(Some(checkpoints)),
            lock: Mutex::new(Some(lock)),
        };
        journal.look_at_disk();
        Ok((journal, kept))
    }

    /// What room the disk had when it was looked at last.
    pub fn space(&self) -> Space {
        self.room.get()
    }

    /// Looks how much room the disk has, and says so where that changed.
    pub fn look_at_disk(&self) {
        let Some(free) = free_bytes(&self.path) else { return };
        let (space, words) = if free < self.bounds.free {
            (Space::None, "nothing more is admitted")
        } else if free < self.bounds.free_for_answers {
            (Space::Little, "answers are not kept for their Idempotency-Key")
        } else {
            (Space::Enough, "there is room again")
        };
        if self.room.0.swap(space as u8, Ordering::Relaxed) != space as u8 {
            eprintln!("warning: the journal's disk has {} MiB left: {words}", free >> 20);
        }
    }

    /// Hands in an entry and says its number. Entries are written in the order of their numbers.
    pub fn write(&self, entry: Entry) -> u64 {
        self.queue.put(entry)
    }

    /// Whether an entry, and all before it, are on the disk.
    pub fn is_durable(&self, number: u64) -> bool {
        *self.durable.borrow() >= number
    }

    /// Waits until an entry, and all before it, are on the disk. False: the disk failed, and nothing may go out.
    pub async fn durable(&self, number: u64) -> bool {
        self.durable.clone().wait_for(|durable| *durable >= number).await.is_ok()
    }

    /// The same for a thread that may block.
    pub fn durable_blocking(&self, number: u64) -> bool {
        let mut durable = self.durable.clone();
        loop {
            if *durable.borrow_and_update() >= number {
                return true;
            }
            if durable.has_changed().is_err() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Entries that are not on the disk yet.
    pub fn behind(&self) -> u64 {
        let given = self.queue.waiting.lock().expect("no panic holds it").given;
        given.saturating_sub(*self.durable.borrow())
    }

    /// False once the disk failed.
    pub fn alive(&self) -> bool {
        self.durable.has_changed().is_ok()
    }

    /// Writes what there is and lets go of the file.
    pub fn close(&self) {
        self.queue.close();
        if let Some(writer) = self.writer.lock().expect("no panic holds it").take() {
            let _ = writer.join();
        }
        drop(self.checkpoints.lock().expect("no panic holds it").take());
        drop(self.lock.lock().expect("no panic holds it").take());
    }
}

/// Usage of one key on one day with one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// Days since 1970, UTC.
    pub day: u64,
    /// The key.
    pub key: String,
    /// The model.
    pub model: String,
    /// How many.
    pub requests: u64,
    /// What was used.
    pub usage: Usage,
    /// What it cost.
    pub charge: u128,
}

fn write(mut connection: Connection, mut totals: Totals, entries: &Queue, told: &watch::Sender<u64>) {
    loop {
        let (batch, last) = entries.batch();
        if batch.is_empty() {
            return;
        }
        crash::point("journal-before");
        let written = (|| -> Result<()> {
            // At once: one that only later comes to write does not wait for another, but fails.
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for entry in &batch {
                put(&transaction, &mut totals, entry)?;
            }
            totals.put(&transaction)?;
            Ok(transaction.commit()?)
        })();
        if let Err(error) = written {
            // What was promised cannot be kept: nobody who waits is told otherwise, and nothing more is taken in.
            eprintln!("error: the gateway's journal cannot be written: {error:#}");
            return;
        }
        crash::point("journal-after");
        let _ = told.send(last);
    }
}
