//! What pages and claims ask the journal.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256};
use anyhow::Result;
use earnest_chain::voucher::SignedReceipt;
use earnest_core::charge::Usage;
use rusqlite::{Connection, OptionalExtension, params};

use super::tables::{address, charge, hash, number};
use super::{Answer, Charge, Claimable, Coin, Journal, StatementRow, UsageRow};

impl Journal {
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
                "SELECT asked, id, content_type, body, time, channel FROM answers WHERE key = ? AND idempotency = ?",
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
                    channel: hash(row, 5)?,
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
