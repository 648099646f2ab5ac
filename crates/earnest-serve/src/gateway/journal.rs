//! What the gateway must not forget, in SQLite: channels and their vouchers, keys, leases, charges with their receipts,
//! answers that may be asked for again, claims and statements. One thread writes; what comes within a flush interval
//! shares one transaction and one sync. Nothing is read back but at the start, by pages and by claims.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes};
use anyhow::{Context, Result, bail};
use earnest_chain::voucher::{Channel, SignedReceipt};
use earnest_core::account::{Account, Budget, State};
use earnest_core::charge::Usage;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::crash;

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
    /// What the holder has in hand.
    pub receipt: SignedReceipt,
}

/// An answer that is given again to the same `Idempotency-Key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
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
    /// The answer. Empty: it broke off, and the charge says how far it came.
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

/// The journal.
pub struct Journal {
    queue: Arc<Queue>,
    durable: watch::Receiver<u64>,
    reader: Mutex<Connection>,
    writer: Mutex<Option<JoinHandle<()>>>,
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

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS channels (id BLOB PRIMARY KEY, channel TEXT NOT NULL, coin TEXT NOT NULL,
  deposited TEXT NOT NULL DEFAULT '0', ceiling TEXT NOT NULL DEFAULT '0', signature BLOB NOT NULL DEFAULT x'',
  leased TEXT NOT NULL DEFAULT '0', charged TEXT NOT NULL DEFAULT '0', claimed TEXT NOT NULL DEFAULT '0',
  state INTEGER NOT NULL DEFAULT 0, ordered INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS keys (id TEXT PRIMARY KEY, hash BLOB NOT NULL UNIQUE, channel BLOB NOT NULL, name TEXT NOT NULL,
  models TEXT, per_day TEXT, total TEXT, created INTEGER NOT NULL, revoked INTEGER NOT NULL,
  spent TEXT NOT NULL DEFAULT '0', day INTEGER NOT NULL DEFAULT 0, spent_today TEXT NOT NULL DEFAULT '0') WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS charges (id TEXT PRIMARY KEY, channel BLOB NOT NULL, key TEXT NOT NULL, provider BLOB NOT NULL,
  model TEXT NOT NULL, price_version INTEGER NOT NULL, input INTEGER NOT NULL, cached INTEGER NOT NULL,
  output INTEGER NOT NULL, charge TEXT NOT NULL, pay TEXT NOT NULL, time INTEGER NOT NULL, complete INTEGER NOT NULL,
  receipt TEXT NOT NULL, signature BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS charges_of ON charges (channel);
CREATE TABLE IF NOT EXISTS marks (id TEXT PRIMARY KEY, channel BLOB NOT NULL, key TEXT NOT NULL, provider BLOB NOT NULL,
  model TEXT NOT NULL, price_version INTEGER NOT NULL, input INTEGER NOT NULL, cached INTEGER NOT NULL,
  output INTEGER NOT NULL, charge TEXT NOT NULL, pay TEXT NOT NULL, time INTEGER NOT NULL, complete INTEGER NOT NULL,
  receipt TEXT NOT NULL, signature BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS usage (day INTEGER NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL, requests INTEGER NOT NULL,
  input INTEGER NOT NULL, cached INTEGER NOT NULL, output INTEGER NOT NULL, charge TEXT NOT NULL,
  PRIMARY KEY (key, day, model)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS earned (channel BLOB NOT NULL, provider BLOB NOT NULL, pay TEXT NOT NULL,
  claimed TEXT NOT NULL DEFAULT '0', PRIMARY KEY (channel, provider)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS claiming (channel BLOB NOT NULL, total TEXT NOT NULL, pays TEXT NOT NULL,
  PRIMARY KEY (channel, total)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answers (key TEXT NOT NULL, idempotency TEXT NOT NULL, asked BLOB NOT NULL, id TEXT NOT NULL,
  content_type TEXT NOT NULL, body BLOB NOT NULL, time INTEGER NOT NULL, PRIMARY KEY (key, idempotency));
CREATE TABLE IF NOT EXISTS statements (coin TEXT NOT NULL, number INTEGER NOT NULL, document TEXT NOT NULL,
  PRIMARY KEY (coin, number)) WITHOUT ROWID;
";
/// Raised where the tables change.
const VERSION: i64 = 1;
/// How long an answer is kept for its `Idempotency-Key`.
const KEEP_ANSWERS_MS: u64 = 24 * 3_600 * 1_000;
/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 3_600 * 1_000;

/// The day of a time in milliseconds, UTC.
pub fn day_of(time: u64) -> u64 {
    time / DAY_MS
}

impl Journal {
    /// Opens a file, or makes it. A second process is refused. `sign` gives a signature to the receipts of streams that a
    /// crash cut off.
    pub fn open(path: &Path, sign: impl Fn(String) -> SignedReceipt) -> Result<(Self, Kept)> {
        let lock = File::create(path.with_extension("lock"))
            .with_context(|| format!("cannot write beside {}", path.display()))?;
        if lock.try_lock().is_err() {
            bail!("another gateway has {} open\n  hint: only one may write a journal", path.display());
        }
        let connect = || -> Result<Connection> {
            let connection = Connection::open(path)?;
            connection.busy_timeout(Duration::from_secs(10))?;
            connection.pragma_update(None, "journal_mode", "wal")?;
            connection.pragma_update(None, "synchronous", "full")?;
            connection.set_prepared_statement_cache_capacity(64);
            Ok(connection)
        };
        let open = || -> Result<(Connection, Kept, Totals)> {
            let mut connection = connect()?;
            let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
            if version > VERSION {
                bail!(
                    "it was written by a later version of Earnest ({version}, and this one knows {VERSION})"
                );
            }
            connection.execute_batch(SCHEMA)?;
            connection.pragma_update(None, "user_version", VERSION)?;
            let mut totals = Totals::default();
            let cut_off = close_marks(&mut connection, &mut totals, &sign)?;
            let kept = Kept { cut_off, ..read(&connection)? };
            Ok((connection, kept, totals))
        };
        let (connection, kept, totals) = open().with_context(|| format!("{}", path.display()))?;
        let queue = Arc::new(Queue::default());
        let (told, durable) = watch::channel(0);
        let entries = queue.clone();
        let writer = std::thread::Builder::new().name("journal".into()).spawn(move || {
            write(connection, totals, &entries, &told);
            entries.close();
        })?;
        let journal = Journal {
            queue,
            durable,
            reader: Mutex::new(connect()?),
            writer: Mutex::new(Some(writer)),
            lock: Mutex::new(Some(lock)),
        };
        Ok((journal, kept))
    }

    /// Hands in an entry and says its number. Entries are written in the order of their numbers.
    pub fn write(&self, entry: Entry) -> u64 {
        self.queue.put(entry)
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
        drop(self.lock.lock().expect("no panic holds it").take());
    }

    fn read<T>(&self, question: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        question(&self.reader.lock().expect("no panic holds it"))
    }

    /// A receipt of a key's channel.
    pub fn receipt(&self, id: &str, channel: B256) -> Result<Option<SignedReceipt>> {
        self.read(|reader| {
            let mut select = reader
                .prepare_cached("SELECT receipt, signature FROM charges WHERE id = ? AND channel = ?")?;
            let found = select.query_row(params![id, channel.as_slice()], |row| {
                Ok(SignedReceipt { receipt: row.get(0)?, signature: row.get::<_, Vec<u8>>(1)?.into() })
            });
            Ok(found.optional()?)
        })
    }

    /// Charges of a channel, the latest first.
    pub fn charges(&self, channel: B256, most: u32) -> Result<Vec<Charge>> {
        self.read(|reader| {
            let mut select = reader
                .prepare_cached("SELECT * FROM charges WHERE channel = ? ORDER BY rowid DESC LIMIT ?")?;
            let rows = select.query_map(params![channel.as_slice(), most], |row| Ok(charge(row)))?;
            rows.map(|row| row?).collect()
        })
    }

    /// Usage by day, key and model of some keys: requests, usage, charge.
    pub fn usage(&self, keys: &[String], from_day: u64) -> Result<Vec<UsageRow>> {
        self.read(|reader| {
            let mut select = reader.prepare_cached(
                "SELECT day, key, model, requests, input, cached, output, charge FROM usage WHERE key = ? AND day >= ? ORDER BY day, model",
            )?;
            let mut all = Vec::new();
            for key in keys {
                let rows = select.query_map(params![key, from_day], |row| {
                    Ok(UsageRow {
                        day: row.get(0)?,
                        key: row.get(1)?,
                        model: row.get(2)?,
                        requests: row.get(3)?,
                        usage: Usage { input: row.get(4)?, cached: row.get(5)?, output: row.get(6)? },
                        charge: row.get::<_, String>(7)?.parse().unwrap_or(0),
                    })
                })?;
                for row in rows {
                    all.push(row?);
                }
            }
            Ok(all)
        })
    }

    /// The answer kept for an `Idempotency-Key`.
    pub fn answer(&self, key: &str, idempotency: &str) -> Result<Option<Answer>> {
        self.read(|reader| {
            let mut select = reader.prepare_cached(
                "SELECT asked, id, content_type, body, time FROM answers WHERE key = ? AND idempotency = ?",
            )?;
            let found = select.query_row(params![key, idempotency], |row| {
                Ok(Answer {
                    key: key.into(),
                    idempotency: idempotency.into(),
                    asked: hash(row, 0)?,
                    id: row.get(1)?,
                    content_type: row.get(2)?,
                    body: row.get::<_, Vec<u8>>(3)?.into(),
                    time: row.get(4)?,
                })
            });
            Ok(found.optional()?)
        })
    }

    /// What can be claimed of each of these channels, as of one moment.
    pub fn claimable(&self, channels: &[B256]) -> Result<Vec<Claimable>> {
        self.read(|reader| {
            let moment = reader.unchecked_transaction()?;
            let mut charged = moment.prepare_cached("SELECT charged FROM channels WHERE id = ?")?;
            let mut pays = moment.prepare_cached("SELECT provider, pay FROM earned WHERE channel = ?")?;
            let mut all = Vec::new();
            for channel in channels {
                let charged = charged.query_row([channel.as_slice()], |row| number(row, 0)).optional()?;
                let Some(charged) = charged else { continue };
                let pays =
                    pays.query_map([channel.as_slice()], |row| Ok((address(row, 0)?, number(row, 1)?)))?;
                let pays = pays.collect::<Result<_, _>>()?;
                all.push(Claimable { channel: *channel, charged, pays });
            }
            Ok(all)
        })
    }

    /// What of the claims that stand is whose, by coin and provider, and their sum with what is nobody's.
    pub fn standing(&self, coin: Coin) -> Result<(u128, BTreeMap<Address, u128>)> {
        self.read(|reader| {
            let moment = reader.unchecked_transaction()?;
            let mut claimed = moment.prepare_cached("SELECT claimed FROM channels WHERE coin = ?")?;
            let sum = claimed.query_map([coin.word()], |row| number(row, 0))?.sum::<Result<u128, _>>()?;
            let mut earned = moment.prepare_cached(
                "SELECT provider, earned.claimed FROM earned JOIN channels ON channels.id = earned.channel WHERE coin = ?",
            )?;
            let mut pays = BTreeMap::new();
            for row in earned.query_map([coin.word()], |row| Ok((address(row, 0)?, number(row, 1)?)))? {
                let (provider, pay) = row?;
                *pays.entry(provider).or_default() += pay;
            }
            Ok((sum, pays))
        })
    }

    /// What each channel has paid, as far as claims stand.
    pub fn claimed(&self, coin: Coin) -> Result<Vec<(B256, u128)>> {
        self.read(|reader| {
            let mut select =
                reader.prepare_cached("SELECT id, claimed FROM channels WHERE coin = ? ORDER BY id")?;
            let rows = select.query_map([coin.word()], |row| Ok((hash(row, 0)?, number(row, 1)?)))?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?.into_iter().filter(|(_, claimed)| *claimed > 0).collect())
        })
    }

    /// A statement, or the last.
    pub fn statement(&self, coin: Coin, number: Option<u32>) -> Result<Option<StatementRow>> {
        self.read(|reader| {
            let mut select = reader.prepare_cached(
                "SELECT number, document FROM statements WHERE coin = ?1 AND (?2 IS NULL OR number = ?2) ORDER BY number DESC LIMIT 1",
            )?;
            let found = select.query_row(params![coin.word(), number], |row| {
                Ok(StatementRow { coin, number: row.get(0)?, document: row.get(1)? })
            });
            Ok(found.optional()?)
        })
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

/// Sums that change with every charge: held here while a batch is written, so that each is written once.
#[derive(Default)]
struct Totals {
    channels: HashMap<B256, u128>,
    keys: HashMap<String, Budget>,
    usage: HashMap<(u64, String, String), (u64, Usage, u128)>,
    earned: HashMap<(B256, Address), u128>,
}

fn write(mut connection: Connection, mut totals: Totals, entries: &Queue, told: &watch::Sender<u64>) {
    loop {
        let (batch, last) = entries.batch();
        if batch.is_empty() {
            return;
        }
        crash::point("journal-before");
        let written = (|| -> Result<()> {
            let transaction = connection.transaction()?;
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

fn put(to: &Transaction<'_>, totals: &mut Totals, entry: &Entry) -> Result<()> {
    match entry {
        Entry::Open(id, channel, coin) => {
            let channel = serde_json::to_string(channel)?;
            to.prepare_cached("INSERT OR IGNORE INTO channels (id, channel, coin) VALUES (?, ?, ?)")?
                .execute(params![id.as_slice(), channel, coin.word()])?;
        }
        Entry::Voucher(id, ceiling, signature) => {
            to.prepare_cached("UPDATE channels SET ceiling = ?, signature = ? WHERE id = ?")?
                .execute(params![ceiling.to_string(), signature.as_ref(), id.as_slice()])?;
        }
        Entry::Ordered(id, time) => {
            to.prepare_cached("UPDATE channels SET ordered = ? WHERE id = ?")?
                .execute(params![time, id.as_slice()])?;
        }
        Entry::Chain(id, deposited, claimed, state) => {
            to.prepare_cached("UPDATE channels SET deposited = ?, claimed = ?, state = ? WHERE id = ?")?
                .execute(params![deposited.to_string(), claimed.to_string(), *state as u8, id.as_slice()])?;
        }
        Entry::Lease(id, upto) => {
            to.prepare_cached("UPDATE channels SET leased = ? WHERE id = ?")?
                .execute(params![upto.to_string(), id.as_slice()])?;
        }
        Entry::Key(key) => {
            let models = key.limits.models.as_ref().map(serde_json::to_string).transpose()?;
            to.prepare_cached(
                "INSERT INTO keys (id, hash, channel, name, models, per_day, total, created, revoked) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name, models = excluded.models, per_day = excluded.per_day,
                 total = excluded.total, revoked = excluded.revoked",
            )?
            .execute(params![
                key.id,
                key.hash.as_slice(),
                key.channel.as_slice(),
                key.name,
                models,
                key.limits.per_day.map(|amount| amount.to_string()),
                key.limits.total.map(|amount| amount.to_string()),
                key.created,
                key.revoked,
            ])?;
        }
        // A stream may end between the making of its mark and the mark's place in the queue: the charge is the truth.
        Entry::Mark(mark) if is_charged(to, &mark.id)? => {}
        Entry::Mark(mark) => insert(to, "INSERT OR REPLACE INTO marks", mark)?,
        Entry::Charge(charge) => add(to, totals, charge)?,
        Entry::Answer(answer) => {
            to.prepare_cached(
                "INSERT OR REPLACE INTO answers (key, idempotency, asked, id, content_type, body, time) VALUES (?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                answer.key,
                answer.idempotency,
                answer.asked.as_slice(),
                answer.id,
                answer.content_type,
                answer.body.as_ref(),
                answer.time
            ])?;
            to.prepare_cached("DELETE FROM answers WHERE time < ?")?
                .execute([answer.time.saturating_sub(KEEP_ANSWERS_MS)])?;
        }
        Entry::Claiming(id, total, pays) => {
            let pays: Vec<(Address, String)> =
                pays.iter().map(|(provider, pay)| (*provider, pay.to_string())).collect();
            to.prepare_cached("INSERT OR REPLACE INTO claiming (channel, total, pays) VALUES (?, ?, ?)")?
                .execute(params![id.as_slice(), total.to_string(), serde_json::to_string(&pays)?])?;
        }
        Entry::Claimed(id, total) => {
            to.prepare_cached("UPDATE channels SET claimed = ? WHERE id = ?")?
                .execute(params![total.to_string(), id.as_slice()])?;
            let pays = to
                .prepare_cached("SELECT pays FROM claiming WHERE channel = ? AND total = ?")?
                .query_row(params![id.as_slice(), total.to_string()], |row| row.get::<_, String>(0))
                .optional()?;
            // A claim by another gateway: what is whose comes with the next one of our own, for sums are since the beginning.
            let pays: Vec<(Address, String)> =
                pays.map_or(Ok(Vec::new()), |pays| serde_json::from_str(&pays))?;
            let mut earned =
                to.prepare_cached("UPDATE earned SET claimed = ? WHERE channel = ? AND provider = ?")?;
            for (provider, pay) in pays {
                earned.execute(params![pay, id.as_slice(), provider.as_slice()])?;
            }
            // Shorter numbers are smaller ones; of one length they stand in their order.
            to.prepare_cached(
                "DELETE FROM claiming WHERE channel = ?1 AND (length(total) < length(?2) OR (length(total) = length(?2) AND total <= ?2))",
            )?
            .execute(params![id.as_slice(), total.to_string()])?;
        }
        Entry::Forget(key, idempotency) => {
            to.prepare_cached("DELETE FROM answers WHERE key = ? AND idempotency = ?")?
                .execute([key, idempotency])?;
        }
        Entry::Flush => {}
        Entry::Statement(statement) => {
            to.prepare_cached("INSERT OR REPLACE INTO statements (coin, number, document) VALUES (?, ?, ?)")?
                .execute(params![statement.coin.word(), statement.number, statement.document])?;
        }
    }
    Ok(())
}

fn insert(to: &Transaction<'_>, into: &str, charge: &Charge) -> Result<()> {
    let sql = format!(
        "{into} (id, channel, key, provider, model, price_version, input, cached, output, charge, pay, time, complete, receipt, signature)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    );
    to.prepare_cached(&sql)?.execute(params![
        charge.id,
        charge.channel.as_slice(),
        charge.key,
        charge.provider.as_slice(),
        charge.model,
        charge.price_version,
        charge.usage.input,
        charge.usage.cached,
        charge.usage.output,
        charge.charge.to_string(),
        charge.pay.to_string(),
        charge.time,
        charge.complete,
        charge.receipt.receipt,
        charge.receipt.signature.as_ref(),
    ])?;
    Ok(())
}

fn is_charged(to: &Transaction<'_>, id: &str) -> Result<bool> {
    Ok(to.prepare_cached("SELECT 1 FROM charges WHERE id = ?")?.exists([id])?)
}

/// A request is charged once: its id is the key of its row.
fn add(to: &Transaction<'_>, totals: &mut Totals, charge: &Charge) -> Result<()> {
    insert(to, "INSERT INTO charges", charge)?;
    to.prepare_cached("DELETE FROM marks WHERE id = ?")?.execute([&charge.id])?;
    totals.add(to, charge)
}

impl Totals {
    fn add(&mut self, from: &Transaction<'_>, charge: &Charge) -> Result<()> {
        let overflow = || format!("a sum with request {} does not fit", charge.id);
        let charged = match self.channels.entry(charge.channel) {
            Slot::Occupied(known) => known.into_mut(),
            Slot::Vacant(new) => new.insert(
                from.prepare_cached("SELECT charged FROM channels WHERE id = ?")?
                    .query_row([charge.channel.as_slice()], |row| number(row, 0))?,
            ),
        };
        *charged = charged.checked_add(charge.charge).with_context(overflow)?;

        if !self.keys.contains_key(&charge.key) {
            let budget = from
                .prepare_cached("SELECT spent, day, spent_today FROM keys WHERE id = ?")?
                .query_row([&charge.key], |row| {
                    let (spent, day, spent_today) = (number(row, 0)?, row.get(1)?, number(row, 2)?);
                    Ok(Budget { spent, day, spent_today, ..Budget::default() })
                })?;
            self.keys.insert(charge.key.clone(), budget);
        }
        let day = day_of(charge.time);
        let budget = self.keys.get_mut(&charge.key).expect("it was read");
        budget.settle(0, charge.charge, day);

        let place = (day, charge.key.clone(), charge.model.clone());
        if !self.usage.contains_key(&place) {
            let kept = from
                .prepare_cached("SELECT requests, input, cached, output, charge FROM usage WHERE day = ? AND key = ? AND model = ?")?
                .query_row(params![day, charge.key, charge.model], |row| {
                    let usage = Usage { input: row.get(1)?, cached: row.get(2)?, output: row.get(3)? };
                    Ok((row.get(0)?, usage, number(row, 4)?))
                })
                .optional()?;
            self.usage.insert(place.clone(), kept.unwrap_or_default());
        }
        let (requests, usage, sum) = self.usage.get_mut(&place).expect("it was read");
        *requests += 1;
        usage.input += charge.usage.input;
        usage.cached += charge.usage.cached;
        usage.output += charge.usage.output;
        *sum = sum.checked_add(charge.charge).with_context(overflow)?;

        let place = (charge.channel, charge.provider);
        let pay = match self.earned.entry(place) {
            Slot::Occupied(known) => known.into_mut(),
            Slot::Vacant(new) => {
                let kept = from
                    .prepare_cached("SELECT pay FROM earned WHERE channel = ? AND provider = ?")?
                    .query_row(params![place.0.as_slice(), place.1.as_slice()], |row| number(row, 0))
                    .optional()?;
                new.insert(kept.unwrap_or(0))
            }
        };
        *pay = pay.checked_add(charge.pay).with_context(overflow)?;
        Ok(())
    }

    /// Writes the sums and forgets them: the tables have them.
    fn put(&mut self, to: &Transaction<'_>) -> Result<()> {
        for (id, charged) in self.channels.drain() {
            to.prepare_cached("UPDATE channels SET charged = ? WHERE id = ?")?
                .execute(params![charged.to_string(), id.as_slice()])?;
        }
        for (id, budget) in self.keys.drain() {
            to.prepare_cached("UPDATE keys SET spent = ?, day = ?, spent_today = ? WHERE id = ?")?
                .execute(params![budget.spent.to_string(), budget.day, budget.spent_today.to_string(), id])?;
        }
        for ((day, key, model), (requests, usage, charge)) in self.usage.drain() {
            to.prepare_cached(
                "INSERT OR REPLACE INTO usage (day, key, model, requests, input, cached, output, charge) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![day, key, model, requests, usage.input, usage.cached, usage.output, charge.to_string()])?;
        }
        for ((channel, provider), pay) in self.earned.drain() {
            to.prepare_cached(
                "INSERT INTO earned (channel, provider, pay) VALUES (?, ?, ?)
                 ON CONFLICT (channel, provider) DO UPDATE SET pay = excluded.pay",
            )?
            .execute(params![channel.as_slice(), provider.as_slice(), pay.to_string()])?;
        }
        Ok(())
    }
}

/// Streams that a crash cut off cost what their last mark says: that much had been written out.
fn close_marks(
    connection: &mut Connection,
    totals: &mut Totals,
    sign: &impl Fn(String) -> SignedReceipt,
) -> Result<usize> {
    let transaction = connection.transaction()?;
    let marks: Vec<Charge> = {
        let mut select = transaction.prepare("SELECT * FROM marks")?;
        let rows = select.query_map([], |row| Ok(charge(row)))?;
        rows.map(|row| row?).collect::<Result<_>>()?
    };
    let count = marks.len();
    for mut mark in marks {
        mark.receipt = sign(mark.receipt.receipt);
        add(&transaction, totals, &mark)?;
    }
    totals.put(&transaction)?;
    // A stream that had not begun was not bought.
    transaction.execute("DELETE FROM answers WHERE body = x'' AND id NOT IN (SELECT id FROM charges)", [])?;
    transaction.commit()?;
    Ok(count)
}

fn read(connection: &Connection) -> Result<Kept> {
    let mut select = connection.prepare(
        "SELECT id, channel, coin, deposited, ceiling, signature, leased, charged, claimed, state, ordered FROM channels",
    )?;
    let rows = select.query_map([], |row| {
        Ok((|| -> Result<ChannelRow> {
            let state = match row.get(9)? {
                0 => State::Open,
                1 => State::Closing,
                _ => State::Closed,
            };
            let account = Account {
                deposited: number(row, 3)?,
                ceiling: number(row, 4)?,
                leased: number(row, 6)?,
                charged: number(row, 7)?,
                claimed: number(row, 8)?,
                state,
                ..Account::default()
            };
            Ok(ChannelRow {
                id: hash(row, 0)?,
                channel: serde_json::from_str(&row.get::<_, String>(1)?)?,
                coin: Coin::read(&row.get::<_, String>(2)?)?,
                account,
                signature: row.get::<_, Vec<u8>>(5)?.into(),
                ordered: row.get(10)?,
            })
        })())
    })?;
    let channels = rows.map(|row| row?).collect::<Result<_>>()?;
    let mut select = connection.prepare(
        "SELECT id, hash, channel, name, models, per_day, total, created, revoked, spent, day, spent_today FROM keys",
    )?;
    let rows = select.query_map([], |row| {
        Ok((|| -> Result<(KeyRow, Budget)> {
            let amount = |index| -> Result<Option<u128>> {
                row.get::<_, Option<String>>(index)?.map(|text| Ok(text.parse()?)).transpose()
            };
            let models =
                row.get::<_, Option<String>>(4)?.map(|text| serde_json::from_str(&text)).transpose()?;
            let limits = Limits { models, per_day: amount(5)?, total: amount(6)? };
            let budget = Budget {
                total: limits.total,
                per_day: limits.per_day,
                spent: number(row, 9)?,
                day: row.get(10)?,
                spent_today: number(row, 11)?,
                reserved: 0,
            };
            let key = KeyRow {
                id: row.get(0)?,
                hash: hash(row, 1)?,
                channel: hash(row, 2)?,
                name: row.get(3)?,
                limits,
                created: row.get(7)?,
                revoked: row.get(8)?,
            };
            Ok((key, budget))
        })())
    })?;
    let keys = rows.map(|row| row?).collect::<Result<_>>()?;
    Ok(Kept { channels, keys, cut_off: 0 })
}

/// A row of `charges` or `marks`.
fn charge(row: &Row<'_>) -> Result<Charge> {
    Ok(Charge {
        id: row.get("id")?,
        channel: hash(row, 1)?,
        key: row.get("key")?,
        provider: address(row, 3)?,
        model: row.get("model")?,
        price_version: row.get("price_version")?,
        usage: Usage { input: row.get("input")?, cached: row.get("cached")?, output: row.get("output")? },
        charge: number(row, 9)?,
        pay: number(row, 10)?,
        time: row.get("time")?,
        complete: row.get("complete")?,
        receipt: SignedReceipt {
            receipt: row.get("receipt")?,
            signature: row.get::<_, Vec<u8>>("signature")?.into(),
        },
    })
}

fn number(row: &Row<'_>, index: usize) -> rusqlite::Result<u128> {
    let text: String = row.get(index)?;
    text.parse().map_err(|error| wrong(index, error))
}

fn hash(row: &Row<'_>, index: usize) -> rusqlite::Result<B256> {
    let bytes: Vec<u8> = row.get(index)?;
    B256::try_from(bytes.as_slice()).map_err(|error| wrong(index, error))
}

fn address(row: &Row<'_>, index: usize) -> rusqlite::Result<Address> {
    let bytes: Vec<u8> = row.get(index)?;
    Address::try_from(bytes.as_slice()).map_err(|error| wrong(index, error))
}

fn wrong(index: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_that_comes_after_its_charge_is_dropped() {
        let folder = std::env::temp_dir().join(format!("earnest-journal-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("gateway.db");
        let sign = |receipt: String| SignedReceipt { receipt, signature: Bytes::new() };
        let (id, key) = (B256::repeat_byte(1), "key_1".to_owned());
        let channel = Channel {
            payer: Address::ZERO,
            payer_authorizer: Address::ZERO,
            receiver: Address::ZERO,
            receiver_authorizer: Address::ZERO,
            token: Address::ZERO,
            withdraw_delay: 0,
            salt: B256::ZERO,
        };
        let row = KeyRow {
            id: key.clone(),
            hash: B256::ZERO,
            channel: id,
            name: "laptop".into(),
            limits: Limits::default(),
            created: 0,
            revoked: false,
        };
        let charge = Charge {
            id: "req_1".into(),
            channel: id,
            key,
            provider: Address::ZERO,
            model: "echo".into(),
            price_version: 1,
            usage: Usage::default(),
            charge: 16,
            pay: 0,
            time: 0,
            complete: true,
            receipt: sign("{}".into()),
        };

        let (journal, _) = Journal::open(&path, sign).unwrap();
        journal.write(Entry::Open(id, channel, Coin::Cash));
        journal.write(Entry::Key(row));
        journal.write(Entry::Mark(Box::new(Charge { charge: 9, ..charge.clone() })));
        journal.write(Entry::Charge(Box::new(charge.clone())));
        let late = journal.write(Entry::Mark(Box::new(Charge { charge: 15, ..charge.clone() })));
        journal.write(Entry::Flush);
        assert!(journal.durable_blocking(late));
        journal.close();

        let (journal, kept) = Journal::open(&path, sign).unwrap();
        assert_eq!((kept.cut_off, kept.channels[0].account.charged), (0, 16));
        assert_eq!(journal.charges(id, 9).unwrap(), [charge]);
        journal.close();
        std::fs::remove_dir_all(folder).unwrap();
    }
}
