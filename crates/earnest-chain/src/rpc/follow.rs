//! What a real node says of its blocks and logs: asked in ranges that it allows, and checked to be of one chain.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256};
use alloy_provider::Provider;
use alloy_rpc_types_eth::{BlockNumberOrTag, Filter, Log as RpcLog};
use alloy_sol_types::SolEvent;

use super::Rpc;
use crate::bindings::Credit;
use crate::chain::ChainError;
use crate::deploy::Deployment;
use crate::history::{Head, LATEST, PlacedLog};

/// Least blocks of one request for logs; a node that does not give even that is given up.
const LEAST_RANGE: u64 = 1;
/// Most at first.
const MOST_RANGE: u64 = 10_000;

impl Rpc {
    /// The last block.
    pub fn head(&self) -> Result<Head, ChainError> {
        let head = self.wait(header(self, BlockNumberOrTag::Latest))?;
        head.ok_or_else(|| ChainError::Node("no latest block".into()))
    }

    /// A block by height.
    pub fn head_at(&self, number: u64) -> Result<Option<Head>, ChainError> {
        self.wait(header(self, BlockNumberOrTag::Number(number)))
    }

    /// Logs that concern a deployment, in order.
    pub fn placed_logs(&self, at: &Deployment, from: u64, to: u64) -> Result<Vec<PlacedLog>, ChainError> {
        self.wait(async {
            let before = header(self, BlockNumberOrTag::Number(to)).await?;
            let mut found = BTreeMap::new();
            let (mut start, mut range) = (from, MOST_RANGE);
            while start <= to {
                let end = to.min(start + range - 1);
                match logs_in(self, at, start, end).await {
                    Ok(logs) => {
                        for log in logs {
                            // A transfer from one of our contracts to another is found twice.
                            found.insert((log.block_number, log.log_index), log);
                        }
                        start = end + 1;
                        range = (range * 2).min(MOST_RANGE);
                    }
                    // Nodes limit blocks, results or time, each in its own words.
                    Err(error) if range <= LEAST_RANGE => return Err(error),
                    Err(_) => range = (range / 4).max(LEAST_RANGE),
                }
            }
            let placed = place(self, found.into_values().collect()).await?;
            if header(self, BlockNumberOrTag::Number(to)).await? != before {
                return Err(ChainError::Reorganised);
            }
            Ok(placed)
        })
    }
}

async fn header(rpc: &Rpc, number: BlockNumberOrTag) -> Result<Option<Head>, ChainError> {
    let block = rpc.asking(async |node| node.get_block_by_number(number).await).await?;
    if let Some(late) = block.as_ref().filter(|block| block.header.timestamp >= LATEST) {
        return Err(ChainError::Node(format!("{} is no time of a block", late.header.timestamp)));
    }
    Ok(block.map(|block| Head {
        number: block.header.number,
        hash: block.header.hash,
        time: block.header.timestamp,
    }))
}

async fn logs_in(rpc: &Rpc, at: &Deployment, from: u64, to: u64) -> Result<Vec<RpcLog>, ChainError> {
    let range = Filter::new().from_block(from).to_block(to);
    let contracts = range.clone().address(vec![at.offering, at.treasury, at.credit]);
    let transfers = range.address(at.cash).event_signature(Credit::Transfer::SIGNATURE_HASH);
    let ours: Vec<B256> = [at.offering, at.treasury].iter().map(Address::into_word).collect();
    let (out, into) = (transfers.clone().topic1(ours.clone()), transfers.topic2(ours));
    let ask = |filter: Filter| async move { rpc.asking(async |node| node.get_logs(&filter).await).await };
    let (contracts, out, into) = tokio::try_join!(ask(contracts), ask(out), ask(into))?;
    Ok([contracts, out, into].concat())
}

/// Puts logs in their blocks; times are asked for where the node does not send them along.
async fn place(rpc: &Rpc, logs: Vec<RpcLog>) -> Result<Vec<PlacedLog>, ChainError> {
    let mut blocks: BTreeMap<u64, Head> = BTreeMap::new();
    let mut placed = Vec::with_capacity(logs.len());
    for log in logs {
        let (Some(number), Some(hash), Some(index), Some(tx)) =
            (log.block_number, log.block_hash, log.log_index, log.transaction_hash)
        else {
            return Err(ChainError::Node("a log without its place".into()));
        };
        let block = match (blocks.get(&number), log.block_timestamp) {
            (Some(block), _) => *block,
            (None, Some(time)) if time < LATEST => Head { number, hash, time },
            (None, _) => {
                header(rpc, BlockNumberOrTag::Number(number)).await?.ok_or(ChainError::Reorganised)?
            }
        };
        if block.hash != hash || log.removed {
            return Err(ChainError::Reorganised);
        }
        blocks.insert(number, block);
        placed.push(PlacedLog { block, index, tx, log: log.inner });
    }
    Ok(placed)
}
