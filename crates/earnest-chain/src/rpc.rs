//! A real node over JSON-RPC. Transactions are signed here, one at a time, and waited for.

use std::time::Duration;

use alloy_network::{EthereumWallet, NetworkTransactionBuilder, TransactionBuilder};
use alloy_primitives::{Address, Bytes, TxKind, U256};
use alloy_provider::{Provider, ProviderBuilder, RootProvider};
use alloy_rpc_types_eth::{BlockNumberOrTag, Header, TransactionRequest};
use earnest_core::plan::Time;
use tokio::runtime::Runtime;

use crate::chain::{ChainError, Receipt};
use crate::embedded::DEV_CHAIN_ID;
use crate::key::Key;

/// The node.
pub struct Rpc {
    pub(crate) provider: RootProvider,
    pub(crate) runtime: Runtime,
    chain_id: u64,
}

/// How often the node is asked for a receipt.
const POLL: Duration = Duration::from_millis(100);
/// How long a transaction may take to be included.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) fn node_error(error: impl std::fmt::Display) -> ChainError {
    ChainError::Node(error.to_string())
}

/// A revert comes back as an error of the node that carries the contract's bytes.
fn call_error(error: alloy_provider::transport::TransportError) -> ChainError {
    let data = error.as_error_resp().and_then(|response| response.as_revert_data());
    data.map_or_else(|| node_error(error), ChainError::Reverted)
}

impl Rpc {
    /// Connects and asks for the chain id.
    pub fn connect(url: &str) -> Result<Self, ChainError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(node_error)?;
        let url = url.parse().map_err(|error| ChainError::Node(format!("{url:?} is not a URL: {error}")))?;
        let provider = ProviderBuilder::default().connect_http(url);
        let chain_id = runtime.block_on(provider.get_chain_id()).map_err(node_error)?;
        Ok(Rpc { provider, runtime, chain_id })
    }

    /// EIP-155 id.
    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// Time of the latest block; on a development chain of the next one, for there may be none for days.
    pub fn time(&self) -> Result<Time, ChainError> {
        if self.chain_id == DEV_CHAIN_ID
            && let Some(pending) = self.block_at(BlockNumberOrTag::Pending)?
        {
            return Ok(pending.timestamp);
        }
        let latest = self.block_at(BlockNumberOrTag::Latest)?;
        latest.map(|header| header.timestamp).ok_or_else(|| ChainError::Node("no latest block".into()))
    }

    fn block_at(&self, at: BlockNumberOrTag) -> Result<Option<Header>, ChainError> {
        let block = self.runtime.block_on(async { self.provider.get_block_by_number(at).await });
        Ok(block.map_err(node_error)?.map(|block| block.header))
    }

    /// Asks a development node (anvil, hardhat) to put its next block at this time.
    pub fn advance_to(&mut self, time: Time) -> Result<(), ChainError> {
        if time <= self.time()? {
            return Ok(());
        }
        self.runtime.block_on(async {
            let set = self
                .provider
                .raw_request::<_, serde_json::Value>("evm_setNextBlockTimestamp".into(), (time,));
            set.await.map_err(node_error)?;
            let mine = self.provider.raw_request::<_, serde_json::Value>("evm_mine".into(), ());
            mine.await.map_err(node_error)
        })?;
        Ok(())
    }

    /// Next nonce of an account.
    pub fn nonce(&self, of: Address) -> Result<u64, ChainError> {
        self.runtime
            .block_on(async { self.provider.get_transaction_count(of).pending().await })
            .map_err(node_error)
    }

    /// A storage slot.
    pub fn storage(&self, at: Address, slot: U256) -> Result<U256, ChainError> {
        self.runtime.block_on(async { self.provider.get_storage_at(at, slot).await }).map_err(node_error)
    }

    /// Height of the last block.
    pub fn block(&self) -> Result<u64, ChainError> {
        self.runtime.block_on(self.provider.get_block_number()).map_err(node_error)
    }

    /// Code of an account.
    pub fn code(&self, at: Address) -> Result<Bytes, ChainError> {
        self.runtime.block_on(async { self.provider.get_code_at(at).await }).map_err(node_error)
    }

    /// Asks a contract as an account would.
    pub fn call(&self, from: Address, to: Address, data: Bytes) -> Result<Bytes, ChainError> {
        let request = TransactionRequest::default().with_from(from).with_to(to).with_input(data);
        self.runtime.block_on(async { self.provider.call(request).await }).map_err(call_error)
    }

    /// Signs, sends and waits. What would revert is found out by the estimate, before it costs anything.
    pub fn send(&self, key: &Key, kind: TxKind, data: Bytes) -> Result<Receipt, ChainError> {
        self.runtime.block_on(async {
            let from = key.address();
            let request = TransactionRequest::default().with_from(from).with_kind(kind).with_input(data);
            let gas = self.provider.estimate_gas(request.clone()).await.map_err(call_error)?;
            let fees = self.provider.estimate_eip1559_fees().await.map_err(node_error)?;
            let nonce = self.provider.get_transaction_count(from).pending().await.map_err(node_error)?;
            // A fifth more than estimated, within what one transaction may use at all.
            let gas = (gas + gas / 5).min(crate::embedded::TX_GAS_CAP);
            let request = request
                .with_gas_limit(gas)
                .with_max_fee_per_gas(fees.max_fee_per_gas)
                .with_max_priority_fee_per_gas(fees.max_priority_fee_per_gas)
                .with_nonce(nonce)
                .with_chain_id(self.chain_id);
            let wallet = EthereumWallet::from(key.0.clone());
            let envelope = request.build(&wallet).await.map_err(node_error)?;
            let pending = self.provider.send_tx_envelope(envelope).await.map_err(call_error)?;
            let hash = *pending.tx_hash();
            let receipt = tokio::time::timeout(PATIENCE, async {
                loop {
                    match self.provider.get_transaction_receipt(hash).await {
                        Ok(Some(receipt)) => return Ok(receipt),
                        Ok(None) => tokio::time::sleep(POLL).await,
                        Err(error) => return Err(node_error(error)),
                    }
                }
            })
            .await
            .map_err(|_| {
                ChainError::Node(format!("transaction {hash} is not in a block after {PATIENCE:?}"))
            })??;
            if !receipt.status() {
                return Err(ChainError::Halted(format!("transaction {hash} failed in its block")));
            }
            Ok(Receipt {
                gas_used: receipt.gas_used,
                created: receipt.contract_address,
                block: receipt.block_number.unwrap_or_default(),
                logs: receipt.logs().iter().map(|log| log.inner.clone()).collect(),
            })
        })
    }
}
