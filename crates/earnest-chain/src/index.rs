//! A deployment's events, kept in SQLite and followed through reorganisations, and the raise that they add up to: the
//! one read model of `status`, portal and audit. The file is a cache: without it everything is read from the chain again
//! and comes out the same to the byte.

use std::io::{self, Write};
use std::path::Path;

use alloy_primitives::{Address, B256, Bytes, LogData};
use earnest_core::plan::Plan;
use earnest_core::raise::Raise;
use earnest_core::setup::setup;
use rusqlite::{Connection, OptionalExtension, params};
use thiserror::Error;

use crate::chain::ChainError;
use crate::deploy::Record;
use crate::fact::{Event, Fact};
use crate::history::{Head, History, PlacedLog, log_text};
use crate::layout;
use crate::ledger::{Difference, Ledger};

/// A reorganisation no deeper than this is undone without reading everything again.
const DEPTH: u64 = 128;
/// Blocks of one step of reading.
const STEP: u64 = 50_000;
/// Changes with the tables and with what is kept in them.
const VERSION: u64 = 2;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS block (number INTEGER PRIMARY KEY, hash BLOB NOT NULL, time INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS seen (number INTEGER PRIMARY KEY, hash BLOB NOT NULL, time INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS event (
        block INTEGER NOT NULL, position INTEGER NOT NULL, tx BLOB NOT NULL, name TEXT NOT NULL, bid TEXT,
        account TEXT, address BLOB NOT NULL, topics BLOB NOT NULL, data BLOB NOT NULL,
        PRIMARY KEY (block, position)
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS event_of_bid ON event (bid) WHERE bid IS NOT NULL;
    CREATE INDEX IF NOT EXISTS event_of_treasury ON event (block, position)
        WHERE name IN ('Drawn', 'Swept', 'PotRefunded');
";

/// Why the index cannot go on.
#[derive(Debug, Error)]
pub enum IndexError {
    /// The chain does not answer.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The file.
    #[error("the index: {0}\n  hint: it is only a cache; delete it, and it is made again from the chain")]
    Store(#[from] rusqlite::Error),
    /// The plan and the record do not fit.
    #[error("{0}")]
    Plan(String),
    /// What it is written to.
    #[error("cannot write: {0}")]
    Write(io::Error),
    /// There is nothing to audit.
    #[error(
        "the deployment is not there by the last block that was read; its record says it came after block {0}"
    )]
    NotThere(u64),
    /// Never two looks at one block.
    #[error(
        "the chain moved on during each of 20 comparisons, and its node knows no earlier state\n  hint: a node that keeps past states, or a quieter moment"
    )]
    Moved,
    /// The chain is another one, or does not go back to the deployment.
    #[error("block {0} was on the chain and is not any more, nor is anything before it")]
    OtherChain(u64),
}

impl IndexError {
    /// Another process has the file.
    pub fn is_busy(&self) -> bool {
        let IndexError::Store(error) = self else { return false };
        matches!(
            error.sqlite_error_code(),
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
        )
    }
}

/// The index of one deployment.
pub struct Index {
    record: Record,
    store: Connection,
    /// Books as of `DEPTH` blocks ago, from which a reorganisation starts again.
    settled: Ledger,
    settled_to: u64,
    /// Books as of the head.
    books: Ledger,
    head: Head,
}

impl Index {
    /// Opens the file, or makes it; `None` keeps everything in memory.
    pub fn open(file: Option<&Path>, plan: &Plan, record: &Record) -> Result<Self, IndexError> {
        record.fits(plan).map_err(IndexError::Plan)?;
        let (offering, treasury) =
            setup(plan, &record.parties()).map_err(|error| IndexError::Plan(error.to_string()))?;
        let store = match file {
            Some(file) => Connection::open(file)?,
            None => Connection::open_in_memory()?,
        };
        Self::over(store, record, Ledger::new(record.contracts.clone(), offering, treasury))
    }

    /// The index over a store, with empty books.
    pub fn over(store: Connection, record: &Record, empty: Ledger) -> Result<Self, IndexError> {
        // One process at a time; what is lost in a crash is read again.
        store.busy_timeout(std::time::Duration::ZERO)?;
        store.execute_batch(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
             BEGIN IMMEDIATE; COMMIT;",
        )?;
        let about = format!("{VERSION} {}", serde_json::to_string(record).expect("plain data"));
        store.execute_batch(TABLES)?;
        let found: Option<String> =
            store.query_row("SELECT value FROM about WHERE name = 'of'", [], |row| row.get(0)).optional()?;
        if found.as_ref() != Some(&about) {
            store.execute_batch(
                "DELETE FROM block; DELETE FROM seen; DELETE FROM event; DELETE FROM about;",
            )?;
            store.execute("INSERT INTO about VALUES ('of', ?)", [about])?;
        }
        let mut index = Index {
            settled: empty.clone(),
            books: empty,
            settled_to: record.block.saturating_sub(1),
            head: Head::default(),
            record: record.clone(),
            store,
        };
        if let Some(head) = index.last_seen(u64::MAX)? {
            index.rebuild(head)?;
        }
        Ok(index)
    }

    /// Takes in what has happened since; true if the head is another.
    pub fn sync(&mut self, chain: &mut impl History) -> Result<bool, IndexError> {
        let before = self.head;
        let mut done = Ok(());
        for _ in 0..5 {
            done = self.advance(chain);
            if !matches!(done, Err(IndexError::Chain(ChainError::Reorganised))) {
                break;
            }
        }
        if self.settled_to == self.head.number {
            self.books = self.settled.clone();
        }
        done.map(|()| self.head != before)
    }

    fn advance(&mut self, chain: &mut impl History) -> Result<(), IndexError> {
        self.revert(chain)?;
        let target = chain.head()?;
        let first = self.record.block;
        let mut from = if self.head.hash.is_zero() { first } else { self.head.number + 1 };
        while from <= target.number {
            let to = target.number.min(from + STEP - 1);
            let at = self.record.contracts.clone();
            let end = chain.block_at(to)?.ok_or(ChainError::Reorganised)?;
            let logs = chain.logs_between(&at, from, to)?;
            // What is before must still be there, or these logs are of another chain than the books.
            let stands = self.head.hash.is_zero() || chain.block_at(self.head.number)? == Some(self.head);
            if !stands || chain.block_at(to)? != Some(end) {
                return Err(ChainError::Reorganised.into());
            }
            self.commit(end, &logs, target.number)?;
            from = to + 1;
        }
        Ok(())
    }

    /// Goes back to the last block that is still on the chain.
    fn revert(&mut self, chain: &mut impl History) -> Result<(), IndexError> {
        if self.head.hash.is_zero() || chain.block_at(self.head.number)? == Some(self.head) {
            return Ok(());
        }
        let gone = self.head.number;
        let mut below = self.head.number;
        let fork = loop {
            let Some(seen) = self.last_seen(below)? else { break None };
            if chain.block_at(seen.number)? == Some(seen) {
                break Some(seen);
            }
            let Some(next) = seen.number.checked_sub(1) else { break None };
            below = next;
        };
        // Where nothing is left it may be a young chain, all of which was replaced; but it must be there.
        if fork.is_none() && chain.head()?.number < self.record.block {
            return Err(IndexError::OtherChain(gone));
        }
        let keep = fork.map_or(-1, |fork| i64::try_from(fork.number).unwrap_or(i64::MAX));
        let change = self.store.unchecked_transaction()?;
        for table in ["block", "seen"] {
            change.execute(&format!("DELETE FROM {table} WHERE number > ?"), [keep])?;
        }
        change.execute("DELETE FROM event WHERE block > ?", [keep])?;
        change.commit()?;
        self.rebuild(fork.unwrap_or_default())
    }

    /// The newest block that is kept, at or below a height.
    fn last_seen(&self, most: u64) -> Result<Option<Head>, IndexError> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let ask = "SELECT number, hash, time FROM (SELECT * FROM block UNION SELECT * FROM seen)
                   WHERE number <= ? ORDER BY number DESC LIMIT 1";
        Ok(self.store.prepare_cached(ask)?.query_row([most], read_head).optional()?)
    }

    /// Makes the books again from the events that are kept.
    fn rebuild(&mut self, head: Head) -> Result<(), IndexError> {
        let depth = head.number.saturating_sub(DEPTH);
        if head.number < self.settled_to || self.settled_to < self.record.block {
            let setups = &self.settled.raise();
            let (offering, treasury) = (setups.offering.setup.clone(), setups.treasury.setup.clone());
            self.settled = Ledger::new(self.record.contracts.clone(), offering, treasury);
            self.settled_to = self.record.block.saturating_sub(1);
        }
        self.settle(depth)?;
        self.books = self.settled.clone();
        let mut books = self.books.clone();
        self.replay(&mut books, self.settled_to, head.number)?;
        self.books = books;
        self.head = head;
        Ok(())
    }

    /// Brings the settled books up to a block.
    fn settle(&mut self, to: u64) -> Result<(), IndexError> {
        if to > self.settled_to {
            let mut settled = self.settled.clone();
            self.replay(&mut settled, self.settled_to, to)?;
            (self.settled, self.settled_to) = (settled, to);
        }
        Ok(())
    }

    fn replay(&self, books: &mut Ledger, after: u64, to: u64) -> Result<(), IndexError> {
        let mut ask = self.store.prepare_cached(
            "SELECT block, position, tx, address, topics, data, hash, time FROM event JOIN block ON number = block
             WHERE block > ? AND block <= ? ORDER BY block, position",
        )?;
        let mut rows = ask.query(params![signed(after), signed(to)])?;
        while let Some(row) = rows.next()? {
            enter(&self.record, books, &read_log(row)?);
        }
        books.close();
        Ok(())
    }

    /// Writes a stretch of blocks and enters it in the books, both or neither.
    fn commit(&mut self, end: Head, logs: &[PlacedLog], target: u64) -> Result<(), IndexError> {
        let change = self.store.unchecked_transaction()?;
        {
            let mut block = change.prepare_cached("INSERT OR REPLACE INTO block VALUES (?, ?, ?)")?;
            let mut event = change.prepare_cached("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")?;
            let mut last = None;
            for placed in logs {
                if last != Some(placed.block.number) {
                    last = Some(placed.block.number);
                    let Head { number, hash, time } = placed.block;
                    block.execute(params![signed(number), hash.as_slice(), signed(time)])?;
                }
                let read = Fact::read(&self.record.contracts, &placed.log);
                let fact = read.as_ref().ok().and_then(Option::as_ref);
                let topics = placed.log.topics().iter().flat_map(|topic| topic.0).collect::<Vec<u8>>();
                event.execute(params![
                    signed(placed.block.number),
                    signed(placed.index),
                    placed.tx.as_slice(),
                    fact.map_or("", Fact::name),
                    fact.and_then(Fact::bid).map(|id| id.pack().to_string()),
                    fact.and_then(Fact::account).map(|account| account.to_string()),
                    placed.log.address.as_slice(),
                    topics,
                    placed.log.data.data.as_ref(),
                ])?;
            }
            let seen = params![signed(end.number), end.hash.as_slice(), signed(end.time)];
            change.execute("INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", seen)?;
            // Blocks without events are only kept to find where the chain forked.
            let old = signed(end.number.saturating_sub(8 * DEPTH));
            change.execute("DELETE FROM seen WHERE number < ?", [old])?;
        }
        change.commit()?;
        // Far below the head there is nothing to be undone soon: only one set of books is kept.
        if end.number + DEPTH <= target {
            self.settle(self.head.number)?;
            for placed in logs {
                enter(&self.record, &mut self.settled, placed);
            }
            self.settled.close();
            self.settled_to = end.number;
        } else {
            if self.settled_to == self.head.number {
                self.books = self.settled.clone();
            }
            for placed in logs {
                enter(&self.record, &mut self.books, placed);
            }
            self.books.close();
            self.head = end;
            return self.settle(end.number.saturating_sub(DEPTH));
        }
        self.head = end;
        Ok(())
    }

    /// The raise as of the head.
    pub fn raise(&self) -> &Raise {
        self.books.raise()
    }

    /// The books as of the head.
    pub fn books(&self) -> &Ledger {
        &self.books
    }

    /// How far it has read.
    pub fn head(&self) -> Head {
        self.head
    }

    /// What is indexed.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// What the audit found first; while there is one, the raise is as of before it.
    pub fn difference(&self) -> Option<&Difference> {
        self.books.difference()
    }

    /// Events kept.
    pub fn events(&self) -> Result<u64, IndexError> {
        Ok(self.store.query_row("SELECT count(*) FROM event", [], |row| row.get::<_, i64>(0))?.unsigned_abs())
    }

    /// Events by name, with how often each came.
    pub fn counts(&self) -> Result<Vec<(String, u64)>, IndexError> {
        let ask = "SELECT name, count(*) FROM event WHERE name <> '' GROUP BY name ORDER BY name";
        let mut ask = self.store.prepare(ask)?;
        let rows = ask.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The newest events that can be read, newest first.
    pub fn newest(&self, most: usize) -> Result<Vec<Event>, IndexError> {
        self.newest_where("name <> ''", most)
    }

    /// The same of what moved cash into the treasury or out of it.
    pub fn newest_of_treasury(&self, most: usize) -> Result<Vec<Event>, IndexError> {
        self.newest_where("name IN ('Drawn', 'Swept', 'PotRefunded')", most)
    }

    fn newest_where(&self, which: &str, most: usize) -> Result<Vec<Event>, IndexError> {
        let ask = format!(
            "SELECT block, position, tx, address, topics, data, hash, time FROM event JOIN block
             ON number = block WHERE {which} ORDER BY block DESC, position DESC LIMIT ?"
        );
        let mut ask = self.store.prepare_cached(&ask)?;
        let mut events = Vec::new();
        for placed in ask.query_map([i64::try_from(most).unwrap_or(i64::MAX)], read_log)? {
            let PlacedLog { block, index, tx, log } = placed?;
            if let Ok(Some(fact)) = Fact::read(&self.record.contracts, &log) {
                events.push(Event { block: block.number, index, time: block.time, tx, fact });
            }
        }
        Ok(events)
    }

    /// Everything the index knows, as text in one order: the head, blocks with events, the events, and the storage that
    /// they add up to, slot by slot as the contracts keep it.
    pub fn dump(&self, out: &mut impl Write) -> Result<(), IndexError> {
        let Head { number, hash, time } = self.head;
        writeln!(out, "head {number} {hash} {time}").map_err(IndexError::Write)?;
        self.dump_events(out)?;
        self.dump_state(out).map_err(IndexError::Write)
    }

    /// Blocks with events, and the events.
    pub fn dump_events(&self, out: &mut impl Write) -> Result<(), IndexError> {
        self.each_block(|Head { number, hash, time }, logs| {
            writeln!(out, "block {number} {hash} {time}")?;
            logs.iter().try_for_each(|log| writeln!(out, "event {}", log_text(log)))
        })
    }

    /// The storage that the events add up to.
    pub fn dump_state(&self, out: &mut impl Write) -> io::Result<()> {
        for (contract, slots) in self.storage() {
            for (slot, value) in slots {
                writeln!(out, "slot {contract} {slot:#066x} {value:#066x}")?;
            }
        }
        match self.difference() {
            Some(difference) => writeln!(out, "difference {difference:?}"),
            None => Ok(()),
        }
    }

    /// Every block with events, in order.
    pub fn each_block(
        &self,
        mut each: impl FnMut(Head, &[PlacedLog]) -> io::Result<()>,
    ) -> Result<(), IndexError> {
        let mut ask = self.store.prepare(
            "SELECT block, position, tx, address, topics, data, hash, time FROM event JOIN block ON number = block
             ORDER BY block, position",
        )?;
        let mut here: Vec<PlacedLog> = Vec::new();
        for placed in ask.query_map([], read_log)? {
            let placed = placed?;
            if let Some(last) = here.last().filter(|last| last.block != placed.block) {
                each(last.block, &here).map_err(IndexError::Write)?;
                here.clear();
            }
            here.push(placed);
        }
        here.last().map_or(Ok(()), |last| each(last.block, &here).map_err(IndexError::Write))
    }

    /// Every slot of the offering and the treasury that must not be zero, in order.
    pub fn storage(&self) -> Vec<(Address, Vec<(alloy_primitives::U256, alloy_primitives::U256)>)> {
        let (raise, at) = (self.raise(), &self.record.contracts);
        let sorted = |slots: layout::Slots| {
            let mut slots: Vec<_> = slots.into_iter().collect();
            slots.sort_unstable();
            slots
        };
        vec![
            (at.offering, sorted(layout::offering(&raise.offering, at))),
            (at.treasury, sorted(layout::treasury(&raise.treasury))),
        ]
    }
}

/// Enters one log in the books.
fn enter(record: &Record, books: &mut Ledger, placed: &PlacedLog) {
    let PlacedLog { block, index, tx, log } = placed;
    let event = |fact| Event { block: block.number, index: *index, time: block.time, tx: *tx, fact };
    match Fact::read(&record.contracts, log) {
        Ok(Some(fact)) => books.take(&event(fact)),
        Ok(None) => {}
        Err(bad) => books.unreadable(block, *index, *tx, &bad),
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn read_head(row: &rusqlite::Row) -> rusqlite::Result<Head> {
    Ok(Head {
        number: row.get::<_, i64>(0)?.unsigned_abs(),
        hash: B256::from(row.get::<_, [u8; 32]>(1)?),
        time: row.get::<_, i64>(2)?.unsigned_abs(),
    })
}

/// block, position, tx, address, topics, data, hash, time
fn read_log(row: &rusqlite::Row) -> rusqlite::Result<PlacedLog> {
    let topics = row.get_ref(4)?.as_blob()?.chunks_exact(32).map(B256::from_slice).collect();
    let data = Bytes::copy_from_slice(row.get_ref(5)?.as_blob()?);
    Ok(PlacedLog {
        block: Head {
            number: row.get::<_, i64>(0)?.unsigned_abs(),
            hash: B256::from(row.get::<_, [u8; 32]>(6)?),
            time: row.get::<_, i64>(7)?.unsigned_abs(),
        },
        index: row.get::<_, i64>(1)?.unsigned_abs(),
        tx: B256::from(row.get::<_, [u8; 32]>(2)?),
        log: alloy_primitives::Log {
            address: Address::from(row.get::<_, [u8; 20]>(3)?),
            data: LogData::new_unchecked(topics, data),
        },
    })
}
