//! The journal's tables: what an entry changes in them, and what is read back at the start.

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use alloy_primitives::{Address, B256};
use anyhow::{Context, Result};
use earnest_chain::voucher::SignedReceipt;
use earnest_core::account::{Account, Budget, State};
use earnest_core::charge::Usage;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::{
    Answer, Bounds, ChannelRow, Charge, Coin, DAY_MS, Entry, Kept, KeyRow, Limits, Room, Space, day_of,
};

pub(super) const SCHEMA: &str = "
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
  content_type TEXT NOT NULL, body BLOB NOT NULL, time INTEGER NOT NULL, channel BLOB NOT NULL,
  PRIMARY KEY (key, idempotency));
CREATE INDEX IF NOT EXISTS answers_by_time ON answers (time);
CREATE INDEX IF NOT EXISTS answers_with_body ON answers (channel, time) WHERE body <> x'';
CREATE TABLE IF NOT EXISTS statements (coin TEXT NOT NULL, number INTEGER NOT NULL, document TEXT NOT NULL,
  PRIMARY KEY (coin, number)) WITHOUT ROWID;
";
/// What version 1 did not know: whose channel an answer is of.
const FROM_1: &str = "
ALTER TABLE answers ADD COLUMN channel BLOB NOT NULL
  DEFAULT x'0000000000000000000000000000000000000000000000000000000000000000';
UPDATE answers SET channel = keys.channel FROM keys WHERE keys.id = answers.key;
";
/// Raised where the tables change.
pub(super) const VERSION: i64 = 2;
/// How long an answer is kept for its `Idempotency-Key`.
const KEEP_ANSWERS_MS: u64 = 24 * 3_600 * 1_000;

/// The greater of an amount in a column and a parameter. Amounts are text: longer numbers are greater ones, and of one
/// length they stand in their order.
macro_rules! greater {
    ($column:literal, $new:literal) => {
        concat!(
            "CASE WHEN length(",
            $new,
            ") > length(",
            $column,
            ") OR (length(",
            $new,
            ") = length(",
            $column,
            ") AND ",
            $new,
            " > ",
            $column,
            ") THEN ",
            $new,
            " ELSE ",
            $column,
            " END"
        )
    };
}

/// Makes the tables, or brings those of an earlier version up to this one.
pub(super) fn make(connection: &mut Connection) -> Result<()> {
    let to = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let columns =
        "SELECT count(*), count(*) FILTER (WHERE name = 'channel') FROM pragma_table_info('answers')";
    let (columns, of_channel): (u32, u32) =
        to.query_row(columns, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if columns > 0 && of_channel == 0 {
        to.execute_batch(FROM_1)?;
    }
    to.execute_batch(SCHEMA)?;
    to.pragma_update(None, "user_version", VERSION)?;
    Ok(to.commit()?)
}

/// Bytes of answers that are kept, by channel.
struct Answers {
    bounds: Bounds,
    room: Arc<Room>,
    channels: HashMap<B256, u64>,
    all: u64,
}

impl Answers {
    fn of(&self, channel: B256) -> u64 {
        self.channels.get(&channel).copied().unwrap_or(0)
    }

    fn count(&mut self, channel: B256, bytes: u64) {
        if bytes > 0 {
            *self.channels.entry(channel).or_default() += bytes;
            self.all += bytes;
        }
    }

    fn let_go(&mut self, channel: B256, bytes: u64) {
        let left = self.of(channel).saturating_sub(bytes);
        self.all = self.all.saturating_sub(bytes);
        if left > 0 {
            self.channels.insert(channel, left);
        } else {
            self.channels.remove(&channel);
        }
    }

    /// Keeps an answer, or, where it cannot be kept, that it was given: whoever asks again is not charged again.
    fn keep(&mut self, to: &Transaction<'_>, answer: &Answer) -> Result<()> {
        self.forget_old(to, answer.time.saturating_sub(KEEP_ANSWERS_MS))?;
        self.forget(to, &answer.key, &answer.idempotency)?;
        let fits = self.make_room(to, answer.channel, answer.body.len() as u64)?;
        let body = if fits { answer.body.as_ref() } else { &[] };
        to.prepare_cached(
            "INSERT INTO answers (key, idempotency, asked, id, content_type, body, time, channel) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            answer.key,
            answer.idempotency,
            answer.asked.as_slice(),
            answer.id,
            answer.content_type,
            body,
            answer.time,
            answer.channel.as_slice(),
        ])?;
        self.count(answer.channel, body.len() as u64);
        Ok(())
    }

    fn forget(&mut self, to: &Transaction<'_>, key: &str, idempotency: &str) -> Result<()> {
        let found = to
            .prepare_cached(
                "DELETE FROM answers WHERE key = ? AND idempotency = ? RETURNING channel, length(body)",
            )?
            .query_row([key, idempotency], |row| Ok((hash(row, 0)?, row.get(1)?)))
            .optional()?;
        if let Some((channel, bytes)) = found {
            self.let_go(channel, bytes);
        }
        Ok(())
    }

    fn forget_old(&mut self, to: &Transaction<'_>, before: u64) -> Result<()> {
        let mut delete =
            to.prepare_cached("DELETE FROM answers WHERE time < ? RETURNING channel, length(body)")?;
        let old = delete.query_map([before], |row| Ok((hash(row, 0)?, row.get(1)?)))?;
        for (channel, bytes) in old.collect::<Result<Vec<_>, _>>()? {
            self.let_go(channel, bytes);
        }
        Ok(())
    }

    /// Makes room for so many bytes of a channel: first its own oldest answers go, then, where all together hold too much,
    /// the oldest of whichever channel holds most. False: they cannot be kept.
    fn make_room(&mut self, to: &Transaction<'_>, channel: B256, bytes: u64) -> Result<bool> {
        let Bounds { answers_of_channel, answers, .. } = self.bounds;
        if bytes == 0 {
            return Ok(true);
        }
        if bytes > answers_of_channel.min(answers) || self.room.get() != Space::Enough {
            return Ok(false);
        }
        while self.of(channel) + bytes > answers_of_channel {
            if !self.empty_oldest(to, channel)? {
                return Ok(false);
            }
        }
        while self.all + bytes > answers {
            let most = self.channels.iter().max_by_key(|(channel, held)| (**held, **channel));
            let Some((&most, _)) = most else { return Ok(false) };
            if !self.empty_oldest(to, most)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Its row stays: it says that the answer was given and charged.
    fn empty_oldest(&mut self, to: &Transaction<'_>, channel: B256) -> Result<bool> {
        let found = to
            .prepare_cached(
                "SELECT rowid, length(body) FROM answers WHERE channel = ? AND body <> x'' ORDER BY time LIMIT 1",
            )?
            .query_row([channel.as_slice()], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)))
            .optional()?;
        let Some((row, bytes)) = found else { return Ok(false) };
        to.prepare_cached("UPDATE answers SET body = x'' WHERE rowid = ?")?.execute([row])?;
        self.let_go(channel, bytes);
        Ok(true)
    }
}

/// Sums that change with every charge: held here while a batch is written, so that each is written once.
pub(super) struct Totals {
    /// What is kept for its `Idempotency-Key`; unlike the others, it stays here.
    answers: Answers,
    /// Requests whose charge has a mark to delete.
    marked: HashSet<String>,
    channels: HashMap<B256, u128>,
    keys: HashMap<String, Budget>,
    usage: HashMap<(u64, String, String), (u64, Usage, u128)>,
    earned: HashMap<(B256, Address), u128>,
    /// Charges that came, and the time of the last.
    came: (u64, u64),
    receipts_days: u64,
}

pub(super) fn put(to: &Transaction<'_>, totals: &mut Totals, entry: &Entry) -> Result<()> {
    match entry {
        Entry::Open(id, channel, coin) => {
            let channel = serde_json::to_string(channel)?;
            to.prepare_cached("INSERT OR IGNORE INTO channels (id, channel, coin) VALUES (?, ?, ?)")?
                .execute(params![id.as_slice(), channel, coin.word()])?;
        }
        Entry::Voucher(id, ceiling, signature) => {
            to.prepare_cached(
                "UPDATE channels SET ceiling = ?2, signature = ?3 WHERE id = ?1
                 AND (length(ceiling) < length(?2) OR (length(ceiling) = length(?2) AND ceiling <= ?2))",
            )?
            .execute(params![id.as_slice(), ceiling.to_string(), signature.as_ref()])?;
        }
        Entry::Ordered(id, time) => {
            to.prepare_cached("UPDATE channels SET ordered = max(ordered, ?) WHERE id = ?")?
                .execute(params![time, id.as_slice()])?;
        }
        Entry::Chain(id, deposited, claimed, state) => {
            to.prepare_cached(concat!(
                "UPDATE channels SET deposited = ?2, state = max(state, ?4), claimed = ",
                greater!("claimed", "?3"),
                " WHERE id = ?1"
            ))?
            .execute(params![
                id.as_slice(),
                deposited.to_string(),
                claimed.to_string(),
                *state as u8
            ])?;
        }
        Entry::Restored(id, charged) => {
            let known = totals.charged(to, *id)?;
            *known = (*known).max(*charged);
        }
        Entry::Lease(id, upto) => {
            to.prepare_cached(concat!(
                "UPDATE channels SET leased = ",
                greater!("leased", "?2"),
                " WHERE id = ?1"
            ))?
            .execute(params![id.as_slice(), upto.to_string()])?;
        }
        Entry::Key(key) => {
            let models = key.limits.models.as_ref().map(serde_json::to_string).transpose()?;
            to.prepare_cached(
                "INSERT INTO keys (id, hash, channel, name, models, per_day, total, created, revoked) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name, models = excluded.models, per_day = excluded.per_day,
                 total = excluded.total, revoked = excluded.revoked
                 WHERE hash = excluded.hash AND channel = excluded.channel",
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
        Entry::Mark(mark) => {
            insert(to, "INSERT OR REPLACE INTO marks", mark)?;
            totals.marked.insert(mark.id.clone());
        }
        Entry::Charge(charge) => add(to, totals, charge)?,
        Entry::Answer(answer) => totals.answers.keep(to, answer)?,
        Entry::Claiming(id, total, pays) => {
            let pays: Vec<(Address, String)> =
                pays.iter().map(|(provider, pay)| (*provider, pay.to_string())).collect();
            to.prepare_cached("INSERT OR REPLACE INTO claiming (channel, total, pays) VALUES (?, ?, ?)")?
                .execute(params![id.as_slice(), total.to_string(), serde_json::to_string(&pays)?])?;
        }
        Entry::Claimed(id, total) => {
            to.prepare_cached(concat!(
                "UPDATE channels SET claimed = ",
                greater!("claimed", "?2"),
                " WHERE id = ?1"
            ))?
            .execute(params![id.as_slice(), total.to_string()])?;
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
        Entry::Forget(key, idempotency) => totals.answers.forget(to, key, idempotency)?,
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
    if totals.marked.remove(&charge.id) {
        to.prepare_cached("DELETE FROM marks WHERE id = ?")?.execute([&charge.id])?;
    }
    totals.add(to, charge)
}

impl Totals {
    /// Reads what is kept of answers.
    pub(super) fn of(connection: &Connection, bounds: Bounds, room: Arc<Room>) -> Result<Self> {
        let mut answers = Answers { bounds, room, channels: HashMap::new(), all: 0 };
        let mut select = connection
            .prepare("SELECT channel, sum(length(body)) FROM answers WHERE body <> x'' GROUP BY channel")?;
        let sums = select.query_map([], |row| Ok((hash(row, 0)?, row.get(1)?)))?;
        for (channel, bytes) in sums.collect::<Result<Vec<_>, _>>()? {
            answers.count(channel, bytes);
        }
        let (marked, channels, keys) = (HashSet::new(), HashMap::new(), HashMap::new());
        let (usage, earned, receipts_days) = (HashMap::new(), HashMap::new(), bounds.receipts_days);
        Ok(Totals { answers, marked, channels, keys, usage, earned, came: (0, 0), receipts_days })
    }

    /// What a channel was charged.
    fn charged(&mut self, from: &Transaction<'_>, channel: B256) -> Result<&mut u128> {
        Ok(match self.channels.entry(channel) {
            Slot::Occupied(known) => known.into_mut(),
            Slot::Vacant(new) => new.insert(
                from.prepare_cached("SELECT charged FROM channels WHERE id = ?")?
                    .query_row([channel.as_slice()], |row| number(row, 0))?,
            ),
        })
    }

    fn add(&mut self, from: &Transaction<'_>, charge: &Charge) -> Result<()> {
        let overflow = || format!("a sum with request {} does not fit", charge.id);
        let charged = self.charged(from, charge.channel)?;
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
        self.came = (self.came.0 + 1, self.came.1.max(charge.time));
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

    /// Once a charge is in the sums, by which is claimed and paid, only who asks for its receipt needs its row. Twice as many go
    /// as came: so a backlog shrinks, and no batch is long at it.
    fn forget_receipts(&mut self, to: &Transaction<'_>) -> Result<()> {
        let (came, now) = std::mem::take(&mut self.came);
        let before = now.saturating_sub(self.receipts_days.saturating_mul(DAY_MS));
        if came == 0 {
            return Ok(());
        }
        let oldest: Option<(i64, u64)> = to
            .prepare_cached("SELECT rowid, time FROM charges ORDER BY rowid LIMIT 1")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        if let Some((row, time)) = oldest
            && time < before
        {
            to.prepare_cached("DELETE FROM charges WHERE rowid >= ?1 AND rowid < ?1 + ?2 AND time < ?3")?
                .execute(params![row, 2 * came, before])?;
        }
        Ok(())
    }

    /// Writes the sums and forgets them: the tables have them.
    pub(super) fn put(&mut self, to: &Transaction<'_>) -> Result<()> {
        self.forget_receipts(to)?;
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
pub(super) fn close_marks(
    connection: &mut Connection,
    totals: &mut Totals,
    sign: &impl Fn(String) -> SignedReceipt,
) -> Result<usize> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let marks: Vec<Charge> = {
        let mut select = transaction.prepare("SELECT * FROM marks")?;
        let rows = select.query_map([], |row| Ok(charge(row)))?;
        rows.map(|row| row?).collect::<Result<_>>()?
    };
    let count = marks.len();
    for mut mark in marks {
        mark.receipt = sign(mark.receipt.receipt);
        totals.marked.insert(mark.id.clone());
        add(&transaction, totals, &mark)?;
    }
    totals.put(&transaction)?;
    // A stream that had not begun was not bought.
    transaction.execute("DELETE FROM answers WHERE body = x'' AND id NOT IN (SELECT id FROM charges)", [])?;
    transaction.commit()?;
    Ok(count)
}

pub(super) fn read(connection: &Connection) -> Result<Kept> {
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
pub(super) fn charge(row: &Row<'_>) -> Result<Charge> {
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
        estimated: false,
        receipt: SignedReceipt {
            receipt: row.get("receipt")?,
            signature: row.get::<_, Vec<u8>>("signature")?.into(),
        },
    })
}

pub(super) fn number(row: &Row<'_>, index: usize) -> rusqlite::Result<u128> {
    let text: String = row.get(index)?;
    text.parse().map_err(|error| wrong(index, error))
}

pub(super) fn hash(row: &Row<'_>, index: usize) -> rusqlite::Result<B256> {
    let bytes: Vec<u8> = row.get(index)?;
    B256::try_from(bytes.as_slice()).map_err(|error| wrong(index, error))
}

pub(super) fn address(row: &Row<'_>, index: usize) -> rusqlite::Result<Address> {
    let bytes: Vec<u8> = row.get(index)?;
    Address::try_from(bytes.as_slice()).map_err(|error| wrong(index, error))
}

fn wrong(index: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(error))
}
