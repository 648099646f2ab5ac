//! The methods, one line each where that is enough.

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, U64, U256, keccak256};
use alloy_rpc_types_eth::state::StateOverride;
use alloy_rpc_types_eth::{
    BlockId, BlockNumberOrTag, FeeHistory, Filter, FilterBlockOption, Log, TransactionRequest,
};
use earnest_chain::chain::ChainError;
use earnest_chain::node::{Block, Node, Refused};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::filters::Kind;
use super::params::{Params, number};
use super::{Failure, Rpc};

/// Most logs of one answer.
const LOGS: usize = 10_000;
/// Blocks whose logs are looked through at a time.
const PIECE: usize = 1_000;
/// Most blocks that are mined at once.
const MINED: u64 = 1_000;
/// What wallets are told to offer for gas, though 0 would do: some take 0 for a failure.
const TIP: u128 = 1_000_000_000;
/// Most blocks of a fee history.
const FEES: u64 = 1_024;

impl Rpc {
    /// Runs one method.
    pub(super) async fn call(&self, method: &str, mut params: Params) -> Result<Value, Failure> {
        let node = &self.node;
        Ok(match method {
            "web3_clientVersion" => json!(concat!("earnest/", env!("CARGO_PKG_VERSION"))),
            "web3_sha3" => json!(keccak256(params.next::<Bytes>()?)),
            "net_version" => json!(node.chain_id().to_string()),
            "net_listening" => json!(true),
            "net_peerCount" => json!("0x0"),
            "eth_chainId" => json!(U64::from(node.chain_id())),
            "eth_syncing" | "eth_mining" => json!(false),
            "eth_accounts" => json!([]),
            "eth_blockNumber" => json!(U64::from(node.head().header.number)),
            "eth_gasPrice" | "eth_maxPriorityFeePerGas" => json!(U256::from(TIP)),
            "eth_blobBaseFee" => json!("0x1"),
            "eth_feeHistory" => json!(self.fee_history(&mut params)?),

            "eth_getBlockByNumber" => {
                let block = self.block(params.next::<BlockNumberOrTag>()?);
                let whole = params.optional()?.unwrap_or(false);
                json!(block.map(|block| block.shown(whole)))
            }
            "eth_getBlockByHash" => {
                let block = node.block_by_hash(params.next()?);
                let whole = params.optional()?.unwrap_or(false);
                json!(block.map(|block| block.shown(whole)))
            }
            "eth_getBlockTransactionCountByNumber" | "eth_getBlockTransactionCountByHash" => {
                let block = self.block_named(&mut params)?;
                json!(block.map(|block| U64::from(block.transactions.len())))
            }
            "eth_getUncleCountByBlockNumber" | "eth_getUncleCountByBlockHash" => {
                json!(self.block_named(&mut params)?.map(|_| "0x0"))
            }
            "eth_getBlockReceipts" => json!(self.block_named(&mut params)?.map(|block| {
                (0..block.transactions.len()).map(|index| block.receipt(index)).collect::<Vec<_>>()
            })),
            "eth_getTransactionByHash" => {
                json!(node.place(params.next()?).map(|(block, index)| block.transaction(index)))
            }
            "eth_getTransactionByBlockNumberAndIndex" | "eth_getTransactionByBlockHashAndIndex" => {
                let block = self.block_named(&mut params)?;
                let index = usize::try_from(params.next::<U64>()?.to::<u64>()).unwrap_or(usize::MAX);
                json!(block.filter(|it| index < it.transactions.len()).map(|block| block.transaction(index)))
            }
            "eth_getTransactionReceipt" => {
                json!(node.place(params.next()?).map(|(block, index)| block.receipt(index)))
            }

            "eth_getTransactionCount" => {
                let of: Address = params.next()?;
                let at: BlockId = params.optional()?.unwrap_or_default();
                let pending = at == BlockId::pending();
                self.at_head(at)?;
                json!(U64::from(if pending { node.pending_nonce(of) } else { node.nonce(of) }))
            }
            "eth_getBalance" => {
                let of = params.next()?;
                self.at_head(params.optional()?.unwrap_or_default())?;
                json!(node.balance(of))
            }
            "eth_getCode" => {
                let of = params.next()?;
                self.at_head(params.optional()?.unwrap_or_default())?;
                json!(node.code(of))
            }
            "eth_getStorageAt" => {
                let (of, slot) = (params.next()?, params.next::<U256>()?);
                self.at_head(params.optional()?.unwrap_or_default())?;
                json!(B256::from(node.storage(of, slot)))
            }
            "eth_call" => {
                let (request, on) = self.question(&mut params)?;
                json!(self.heavy(move |node| node.ask(request, on)).await?)
            }
            "eth_estimateGas" => {
                let (request, on) = self.question(&mut params)?;
                json!(U64::from(self.heavy(move |node| node.estimate(request, on)).await?))
            }
            "eth_sendRawTransaction" => {
                let (hash, receiver) = node.submit(&params.next::<Bytes>()?)?;
                // Answered when it is in a block on the disk, and not before.
                receiver.await.map_err(|_| Refused::Stopping)??;
                json!(hash)
            }

            "eth_getLogs" => {
                let filter = params.next()?;
                json!(self.logs(filter).await?)
            }
            "eth_newFilter" => {
                let filter: Filter = params.optional()?.unwrap_or_default();
                self.make_filter(Kind::Logs(Box::new(filter)))?
            }
            "eth_newBlockFilter" => self.make_filter(Kind::Blocks)?,
            "eth_getFilterChanges" => self.changes(params.next::<U64>()?.to()).await?,
            "eth_getFilterLogs" => {
                let (kind, _) = self.filters().poll(params.next::<U64>()?.to(), None)?;
                let Kind::Logs(filter) = kind else { return Err(Failure::server("filter not found")) };
                json!(self.logs(*filter).await?)
            }
            "eth_uninstallFilter" => json!(self.filters().remove(params.next::<U64>()?.to())),
            "eth_subscribe" | "eth_unsubscribe" => {
                return Err(Failure::new(
                    -32_601,
                    "notifications not supported: subscribe over WebSocket, one request a message",
                ));
            }

            "eth_sendTransaction"
            | "eth_sign"
            | "eth_signTransaction"
            | "eth_signTypedData_v4"
            | "personal_sign" => {
                return Err(Failure::server(format!(
                    "{method}: this node holds no keys: sign in a wallet and use eth_sendRawTransaction"
                )));
            }

            "evm_increaseTime" | "anvil_increaseTime" => {
                let secs = params
                    .number()?
                    .ok_or_else(|| Failure::params("missing value for required argument 0"))?;
                done(node.set_clock(node.time() + secs, false)).await?;
                json!(node.clock_offset())
            }
            "evm_setTime" | "anvil_setTime" => {
                let to = params
                    .number()?
                    .ok_or_else(|| Failure::params("missing value for required argument 0"))?;
                done(node.set_clock(to, false)).await?;
                json!(node.clock_offset())
            }
            "evm_setNextBlockTimestamp" | "anvil_setNextBlockTimestamp" => {
                let to = params
                    .number()?
                    .ok_or_else(|| Failure::params("missing value for required argument 0"))?;
                done(node.set_clock(to, true)).await?;
                Value::Null
            }
            "evm_mine" => {
                let (at, blocks) = match params.optional::<Value>()? {
                    None => (None, 1),
                    Some(Value::Object(options)) => {
                        let at =
                            options.get("timestamp").filter(|at| !at.is_null()).map(number).transpose()?;
                        (at, options.get("blocks").map(number).transpose()?.unwrap_or(1))
                    }
                    Some(at) => (Some(number(&at)?), 1),
                };
                if let Some(at) = at {
                    done(node.set_clock(at, true)).await?;
                }
                self.mine(blocks, 0).await?;
                json!("0x0")
            }
            "anvil_mine" | "hardhat_mine" => {
                let (blocks, apart) = (params.number()?.unwrap_or(1), params.number()?.unwrap_or(0));
                self.mine(blocks, apart).await?;
                Value::Null
            }
            _ => return Err(Failure::new(-32_601, format!("the method {method} does not exist"))),
        })
    }

    async fn mine(&self, blocks: u64, apart: u64) -> Result<(), Failure> {
        if blocks > MINED {
            return Err(Failure::params(format!("at most {MINED} blocks can be mined at once")));
        }
        for block in 0..blocks {
            if block > 0 && apart > 0 {
                done(self.node.set_clock(self.node.time() + apart, true)).await?;
            }
            done(self.node.mine()).await?;
        }
        Ok(())
    }

    fn block(&self, at: BlockNumberOrTag) -> Option<Arc<Block>> {
        match at {
            BlockNumberOrTag::Pending => Some(Arc::new(self.node.pending())),
            BlockNumberOrTag::Earliest => self.node.block(0),
            BlockNumberOrTag::Number(number) => self.node.block(number),
            // There is one node: what it says is final.
            BlockNumberOrTag::Latest | BlockNumberOrTag::Safe | BlockNumberOrTag::Finalized => {
                Some(self.node.head())
            }
        }
    }

    /// By height, tag or hash.
    fn block_named(&self, params: &mut Params) -> Result<Option<Arc<Block>>, Failure> {
        Ok(match params.next()? {
            BlockId::Hash(hash) => self.node.block_by_hash(hash.block_hash),
            BlockId::Number(number) => self.block(number),
        })
    }

    /// Only the state of the head is kept.
    fn at_head(&self, at: BlockId) -> Result<(), Failure> {
        let head = self.node.head();
        let older = |block: String| {
            Failure::server(format!(
                "the state of block {block} is not kept: this node knows that of its head alone, block {}",
                head.header.number
            ))
        };
        match at {
            BlockId::Hash(hash) if hash.block_hash == head.hash => Ok(()),
            BlockId::Hash(hash) => match self.node.block_by_hash(hash.block_hash) {
                Some(block) => Err(older(block.header.number.to_string())),
                None => Err(Failure::server("header not found")),
            },
            BlockId::Number(tag) => match self.block(tag) {
                Some(block) if block.header.number >= head.header.number => Ok(()),
                Some(block) => Err(older(block.header.number.to_string())),
                None => Err(Failure::server("header not found")),
            },
        }
    }

    fn question(&self, params: &mut Params) -> Result<(TransactionRequest, Option<StateOverride>), Failure> {
        let request = params.next()?;
        self.at_head(params.optional()?.unwrap_or_default())?;
        Ok((request, params.optional()?))
    }

    /// Runs what takes long beside those who only look something up, a few at a time.
    async fn heavy<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Node) -> Result<T, ChainError> + Send + 'static,
    ) -> Result<T, Failure> {
        let _permit = self.heavy.acquire().await.expect("never closed");
        let node = self.node.clone();
        let done = tokio::task::spawn_blocking(move || work(&node)).await;
        done.map_err(|_| Failure::new(-32_603, "internal error"))?.map_err(Failure::from)
    }

    async fn logs(&self, filter: Filter) -> Result<Vec<Log>, Failure> {
        let number = |at: Option<BlockNumberOrTag>| {
            let block = match at.unwrap_or_default() {
                BlockNumberOrTag::Number(number) => return number,
                tag => self.block(tag).expect("there is a head"),
            };
            block.header.number
        };
        let (from, to) = match filter.block_option {
            FilterBlockOption::Range { from_block, to_block } => (number(from_block), number(to_block)),
            FilterBlockOption::AtBlockHash(hash) => {
                let block = self.node.block_by_hash(hash).ok_or_else(|| Failure::server("unknown block"))?;
                (block.header.number, block.header.number)
            }
        };
        if from > to {
            return Err(Failure::params(format!("invalid block range params: from {from} to {to}")));
        }
        self.logs_between(filter, from, to).await
    }

    async fn logs_between(&self, filter: Filter, from: u64, to: u64) -> Result<Vec<Log>, Failure> {
        let found = self.heavy(move |node| {
            let mut logs = Vec::new();
            let mut next = from;
            while next <= to {
                let piece = node.blocks_since(next, PIECE);
                if piece.is_empty() {
                    break;
                }
                next += piece.len() as u64;
                for block in piece.iter().filter(|block| block.header.number <= to) {
                    block.logs(&filter, &mut logs);
                    if logs.len() > LOGS {
                        return Ok(None);
                    }
                }
            }
            Ok(Some(logs))
        });
        let too_many = || {
            Failure::new(-32_005, format!("query returned more than {LOGS} results: ask for fewer blocks"))
        };
        found.await?.ok_or_else(too_many)
    }

    fn filters(&self) -> std::sync::MutexGuard<'_, super::filters::Filters> {
        self.filters.lock().expect("no panic holds it")
    }

    fn make_filter(&self, kind: Kind) -> Result<Value, Failure> {
        let next = self.node.head().header.number + 1;
        Ok(json!(U64::from(self.filters().make(kind, next)?)))
    }

    async fn changes(&self, id: u64) -> Result<Value, Failure> {
        let head = self.node.head().header.number;
        let (kind, from) = self.filters().poll(id, Some(head + 1))?;
        if from > head {
            return Ok(json!([]));
        }
        Ok(match kind {
            Kind::Blocks => {
                let count = usize::try_from(head - from + 1).unwrap_or(LOGS).min(LOGS);
                json!(self.node.blocks_since(from, count).iter().map(|block| block.hash).collect::<Vec<_>>())
            }
            Kind::Logs(filter) => json!(self.logs_between(*filter, from, head).await?),
        })
    }

    fn fee_history(&self, params: &mut Params) -> Result<FeeHistory, Failure> {
        let count =
            params.number()?.ok_or_else(|| Failure::params("missing value for required argument 0"))?;
        let newest = params.optional::<BlockNumberOrTag>()?.unwrap_or_default();
        let percentiles: Option<Vec<f64>> = params.optional()?;
        let newest = self.block(newest).ok_or_else(|| Failure::server("header not found"))?;
        let newest = newest.header.number.min(self.node.head().header.number);
        let count = count.clamp(1, FEES).min(newest + 1);
        let oldest = newest + 1 - count;
        let blocks = self.node.blocks_since(oldest, usize::try_from(count).expect("few"));
        #[expect(clippy::cast_precision_loss, reason = "a ratio")]
        let used = |block: &Block| block.header.gas_used as f64 / block.header.gas_limit as f64;
        Ok(FeeHistory {
            base_fee_per_gas: vec![0; blocks.len() + 1],
            gas_used_ratio: blocks.iter().map(|block| used(block)).collect(),
            base_fee_per_blob_gas: vec![1; blocks.len() + 1],
            blob_gas_used_ratio: vec![0.0; blocks.len()],
            oldest_block: oldest,
            reward: percentiles.map(|of| vec![vec![TIP; of.len().min(100)]; blocks.len()]),
        })
    }
}

async fn done(receiver: oneshot::Receiver<Result<(), Refused>>) -> Result<(), Failure> {
    Ok(receiver.await.map_err(|_| Refused::Stopping)??)
}
