//! Where events come from: a chain, or a file of them that somebody wrote down.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};

use alloy_primitives::{Address, B256, Bytes, Log, LogData, hex};
use earnest_core::plan::Time;
use serde::{Deserialize, Serialize};

use crate::chain::{Chain, ChainError};
use crate::deploy::Deployment;

/// A block, as far as events need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Head {
    /// Height.
    pub number: u64,
    /// Hash.
    pub hash: B256,
    /// Time.
    pub time: Time,
}

/// No block is later: seconds are 40 bits in the contracts.
pub(crate) const LATEST: Time = 1 << 40;

/// A log with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedLog {
    /// Its block.
    pub block: Head,
    /// Its place in the block.
    pub index: u64,
    /// Its transaction.
    pub tx: B256,
    /// What was said.
    pub log: Log,
}

/// What an index follows. A reorganisation shows as another hash at a height.
pub trait History {
    /// The last block.
    fn head(&mut self) -> Result<Head, ChainError>;

    /// A block by height; none if the chain is not that long.
    fn block_at(&mut self, number: u64) -> Result<Option<Head>, ChainError>;

    /// All logs of a deployment's contracts, and of its coin those that touch it, in blocks `from..=to`, in order. They
    /// must be of one chain whose block `to` is still there afterwards.
    fn logs_between(&mut self, at: &Deployment, from: u64, to: u64) -> Result<Vec<PlacedLog>, ChainError>;
}

impl History for Chain {
    fn head(&mut self) -> Result<Head, ChainError> {
        match self {
            Chain::Embedded(chain) => Ok(chain.head()),
            Chain::Node(node) => Ok(node.head().place()),
            Chain::Rpc(rpc) => rpc.head(),
        }
    }

    fn block_at(&mut self, number: u64) -> Result<Option<Head>, ChainError> {
        match self {
            Chain::Embedded(chain) => Ok(chain.head_at(number)),
            Chain::Node(node) => Ok(node.block(number).map(|block| block.place())),
            Chain::Rpc(rpc) => rpc.head_at(number),
        }
    }

    fn logs_between(&mut self, at: &Deployment, from: u64, to: u64) -> Result<Vec<PlacedLog>, ChainError> {
        match self {
            Chain::Embedded(chain) => {
                Ok(chain.placed_logs(from, to).filter(|log| concerns(at, log)).collect())
            }
            Chain::Node(node) => {
                let count = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX).saturating_add(1);
                let blocks = node.blocks_since(from, count);
                Ok(blocks
                    .iter()
                    .flat_map(|block| block.placed_logs())
                    .filter(|log| concerns(at, log))
                    .collect())
            }
            Chain::Rpc(rpc) => rpc.placed_logs(at, from, to),
        }
    }
}

/// Whether a log is of a deployment: of its contracts all, of its coin transfers in and out.
pub fn concerns(at: &Deployment, placed: &PlacedLog) -> bool {
    let log = &placed.log;
    if [at.offering, at.treasury, at.credit].contains(&log.address) {
        return true;
    }
    let ours = |topic: &B256| {
        let account = Address::from_word(*topic);
        account == at.offering || account == at.treasury
    };
    let transfer = <crate::bindings::Credit::Transfer as alloy_sol_types::SolEvent>::SIGNATURE_HASH;
    log.address == at.cash && log.topics().first() == Some(&transfer) && log.topics().iter().skip(1).any(ours)
}

/// Events that somebody wrote down, block by block; what `earnest audit --events` writes and reads.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// Blocks with what they said, and the last block.
    pub blocks: BTreeMap<u64, (Head, Vec<PlacedLog>)>,
}

/// One line of a record.
#[derive(Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Line {
    Log { tx: B256, index: u64, address: Address, topics: Vec<B256>, data: Bytes },
    Block { block: u64, hash: B256, time: Time },
}

impl Recorded {
    /// Adds a block, or replaces it and all after it.
    pub fn put(&mut self, head: Head, logs: Vec<PlacedLog>) {
        self.blocks.split_off(&head.number);
        self.blocks.insert(head.number, (head, logs));
    }

    /// Writes one line a block and one a log.
    pub fn write_block(out: &mut impl Write, head: Head, logs: &[PlacedLog]) -> std::io::Result<()> {
        let Head { number: block, hash, time } = head;
        writeln!(out, "{}", serde_json::to_string(&Line::Block { block, hash, time })?)?;
        for PlacedLog { index, tx, log, .. } in logs {
            let (topics, data) = (log.topics().to_vec(), log.data.data.clone());
            let line = Line::Log { tx: *tx, index: *index, address: log.address, topics, data };
            writeln!(out, "{}", serde_json::to_string(&line)?)?;
        }
        Ok(())
    }

    /// Reads them back.
    pub fn read(from: impl BufRead) -> Result<Self, ChainError> {
        let mut record = Recorded::default();
        let mut open: Option<(Head, Vec<PlacedLog>)> = None;
        for (number, line) in (1usize..).zip(from.lines()) {
            let bad = |what: String| ChainError::Node(format!("line {number} of the events: {what}"));
            let line = line.map_err(|error| bad(error.to_string()))?;
            match serde_json::from_str(&line).map_err(|error| bad(error.to_string()))? {
                Line::Block { block, hash, time } => {
                    if time >= LATEST {
                        return Err(bad(format!("{time} is no time of a block")));
                    }
                    let last = open.as_ref().map(|(head, _)| head.number);
                    if last.is_some_and(|last| last >= block) {
                        return Err(bad(format!("block {block} does not follow {last:?}")));
                    }
                    record.blocks.extend(open.take().map(|(head, logs)| (head.number, (head, logs))));
                    open = Some((Head { number: block, hash, time }, Vec::new()));
                }
                Line::Log { tx, index, address, topics, data } => {
                    let Some((block, logs)) = &mut open else {
                        return Err(bad("a log before the first block".into()));
                    };
                    let data =
                        LogData::new(topics, data).ok_or_else(|| bad("more than four topics".into()))?;
                    logs.push(PlacedLog { block: *block, index, tx, log: Log { address, data } });
                }
            }
        }
        record.blocks.extend(open.map(|(head, logs)| (head.number, (head, logs))));
        Ok(record)
    }
}

impl History for Recorded {
    fn head(&mut self) -> Result<Head, ChainError> {
        let last = self.blocks.last_key_value();
        last.map(|(_, (head, _))| *head).ok_or_else(|| ChainError::Node("there are no events".into()))
    }

    fn block_at(&mut self, number: u64) -> Result<Option<Head>, ChainError> {
        Ok(self.blocks.get(&number).map(|(head, _)| *head))
    }

    fn logs_between(&mut self, at: &Deployment, from: u64, to: u64) -> Result<Vec<PlacedLog>, ChainError> {
        let blocks = self.blocks.range(from..=to).flat_map(|(_, (_, logs))| logs);
        Ok(blocks.filter(|log| concerns(at, log)).cloned().collect())
    }
}

/// A log's topics and data in one line of hex, as canonical texts have it.
pub fn log_text(placed: &PlacedLog) -> String {
    let topics = placed.log.topics().iter().map(hex::encode_prefixed).collect::<Vec<_>>().join(",");
    let PlacedLog { block, index, tx, log } = placed;
    format!("{} {index} {tx} {} {topics} {}", block.number, log.address, log.data.data)
}
