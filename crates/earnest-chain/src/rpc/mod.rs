//! A real node over JSON-RPC. Reading is tried again where the way to the node failed; sending is [`sender`]'s.

mod follow;
pub mod sender;

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_provider::transport::{TransportError, TransportErrorKind};
use alloy_provider::{Provider, ProviderBuilder, RootProvider};
use alloy_rpc_types_eth::{BlockNumberOrTag, TransactionRequest};
use earnest_core::plan::Time;
use tokio::runtime::Runtime;

use crate::chain::{ChainError, Receipt};
use crate::embedded::DEV_CHAIN_ID;
use crate::key::Key;
use sender::{Senders, Sending};

/// The node. Clones share its senders, so that their transactions do not take each other's nonces.
#[derive(Clone)]
pub struct Rpc {
    provider: RootProvider,
    runtime: Arc<Background>,
    chain_id: u64,
    sending: Sending,
    senders: Arc<Senders>,
}

/// A runtime that may be dropped anywhere, inside another one too.
struct Background(Option<Runtime>);

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// What gas costs now, in wei.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fees {
    /// The most a transaction offers in all.
    pub most: u128,
    /// What of it goes to the block's builder.
    pub priority: u128,
    /// What would be paid in the next block.
    pub now: u128,
}

/// How often something is asked before the node counts as gone, and how long the first wait is; each is twice the last.
const ATTEMPTS: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);

fn node_error(error: impl std::fmt::Display) -> ChainError {
    ChainError::Node(error.to_string())
}

/// A revert comes back as an error of the node that carries the contract's bytes.
fn call_error(error: TransportError) -> ChainError {
    let response = error.as_error_resp();
    if let Some(data) = response.and_then(|response| response.as_revert_data()) {
        return ChainError::Reverted(data);
    }
    match response {
        // Nodes leave the data out where a contract gave none.
        Some(response) if response.code == 3 || response.message == "execution reverted" => {
            ChainError::Reverted(Bytes::new())
        }
        _ => node_error(error),
    }
}

/// An error that says nothing about what was asked: the way there failed, or the node is busy.
fn is_passing(error: &TransportError) -> bool {
    match error {
        TransportError::Transport(kind) => match kind.as_http_error() {
            Some(http) => matches!(http.status, 408 | 425 | 429 | 500 | 502 | 503 | 504),
            None => !kind.is_non_retryable(),
        },
        TransportError::ErrorResp(payload) => payload.is_retry_err(),
        TransportError::NullResp => true,
        _ => false,
    }
}

/// Nothing listens there.
fn is_refused(error: &TransportError) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// One answer, within bounds.
async fn within<T>(answer: impl Future<Output = Result<T, TransportError>>) -> Result<T, TransportError> {
    let late = || TransportErrorKind::custom_str(&format!("no answer within {} s", ANSWER.as_secs()));
    tokio::time::timeout(ANSWER, answer).await.unwrap_or_else(|_| Err(late()))
}

impl Rpc {
    /// Connects and asks for the chain id.
    pub fn connect(url: &str) -> Result<Self, ChainError> {
        Self::connect_with(url, Sending::default())
    }

    /// The same, with how to send.
    pub fn connect_with(url: &str, sending: Sending) -> Result<Self, ChainError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(node_error)?;
        let parsed =
            url.parse().map_err(|error| ChainError::Node(format!("{url:?} is not a URL: {error}")))?;
        let provider = ProviderBuilder::default().connect_http(parsed);
        let runtime = Arc::new(Background(Some(runtime)));
        let mut rpc = Rpc { provider, runtime, chain_id: 0, sending, senders: Arc::default() };
        let unknown = |error: String| {
            ChainError::Node(format!("{error}\n  hint: {url} must be the JSON-RPC of a node that is running"))
        };
        // Nobody waits for a node where none listens; that it stops while it is needed is another matter.
        let first = rpc.wait(within(async { rpc.provider.get_chain_id().await }));
        rpc.chain_id = match first {
            Ok(id) => id,
            Err(error) if is_refused(&error) => return Err(unknown(error.to_string())),
            Err(_) => {
                rpc.ask(async |node| node.get_chain_id().await).map_err(|error| unknown(error.to_string()))?
            }
        };
        Ok(rpc)
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.0.as_ref().expect("until it is dropped").block_on(future)
    }

    /// Asks, and asks again where that may help: reading twice does no harm.
    async fn asking<T>(
        &self,
        ask: impl AsyncFn(&RootProvider) -> Result<T, TransportError>,
    ) -> Result<T, ChainError> {
        let mut pause = FIRST_WAIT;
        for _ in 1..ATTEMPTS {
            match within(ask(&self.provider)).await {
                Err(error) if is_passing(&error) => {
                    let wanted = match &error {
                        TransportError::Transport(TransportErrorKind::HttpErrorWithRetryAfter {
                            retry_after,
                            ..
                        }) => *retry_after,
                        _ => pause,
                    };
                    tokio::time::sleep(wanted.clamp(pause, ANSWER)).await;
                    pause *= 2;
                }
                result => return result.map_err(call_error),
            }
        }
        let gone = |error: TransportError| match is_passing(&error) {
            true => ChainError::Node(format!("{error} (asked {ATTEMPTS} times)")),
            false => call_error(error),
        };
        within(ask(&self.provider)).await.map_err(gone)
    }

    fn ask<T>(&self, ask: impl AsyncFn(&RootProvider) -> Result<T, TransportError>) -> Result<T, ChainError> {
        self.wait(self.asking(ask))
    }

    /// EIP-155 id.
    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// Time of the latest block; on a development chain of the next one, for there may be none for days.
    pub fn time(&self) -> Result<Time, ChainError> {
        if self.chain_id == DEV_CHAIN_ID
            && let Some(pending) =
                self.ask(async |node| node.get_block_by_number(BlockNumberOrTag::Pending).await)?
        {
            return Ok(pending.header.timestamp);
        }
        let block = self.ask(async |node| node.get_block_by_number(BlockNumberOrTag::Latest).await)?;
        block.map(|block| block.header.timestamp).ok_or_else(|| ChainError::Node("no latest block".into()))
    }

    /// Asks a development node (anvil, hardhat) to put its next block at this time.
    pub fn advance_to(&mut self, time: Time) -> Result<(), ChainError> {
        if time <= self.time()? {
            return Ok(());
        }
        type Answer = serde_json::Value;
        self.ask(async |node| {
            node.raw_request::<_, Answer>("evm_setNextBlockTimestamp".into(), (time,)).await
        })?;
        self.ask(async |node| node.raw_request::<_, Answer>("evm_mine".into(), ()).await)?;
        Ok(())
    }

    /// Puts code at an address of a development node (anvil), as no real one lets itself be told.
    pub fn set_code(&self, at: Address, code: &Bytes) -> Result<(), ChainError> {
        type Answer = serde_json::Value;
        let ask = async |node: &RootProvider| {
            node.raw_request::<_, Answer>("anvil_setCode".into(), (at, code)).await
        };
        self.ask(ask).map(drop)
    }

    /// Next nonce of an account, with what is on its way.
    pub fn nonce(&self, of: Address) -> Result<u64, ChainError> {
        self.ask(async |node| node.get_transaction_count(of).pending().await)
    }

    /// What an account has for gas, in wei.
    pub fn balance(&self, of: Address) -> Result<U256, ChainError> {
        self.ask(async |node| node.get_balance(of).await)
    }

    /// What gas costs.
    pub fn fees(&self) -> Result<Fees, ChainError> {
        self.wait(self.current_fees())
    }

    async fn current_fees(&self) -> Result<Fees, ChainError> {
        let estimate = self.asking(async |node| node.estimate_eip1559_fees().await).await?;
        let latest = self.asking(async |node| node.get_block_by_number(BlockNumberOrTag::Latest).await);
        let base = latest.await?.and_then(|block| block.header.base_fee_per_gas).unwrap_or_default();
        let (most, priority) = (estimate.max_fee_per_gas, estimate.max_priority_fee_per_gas);
        Ok(Fees { most, priority, now: (u128::from(base) + priority).min(most) })
    }

    /// A storage slot.
    pub fn storage(&self, at: Address, slot: U256) -> Result<U256, ChainError> {
        self.ask(async |node| node.get_storage_at(at, slot).await)
    }

    /// A storage slot as of a block.
    pub fn storage_in(&self, block: u64, at: Address, slot: U256) -> Result<U256, ChainError> {
        self.ask(async |node| node.get_storage_at(at, slot).number(block).await)
    }

    /// Height of the last block.
    pub fn block(&self) -> Result<u64, ChainError> {
        self.ask(async |node| node.get_block_number().await)
    }

    /// Code of an account.
    pub fn code(&self, at: Address) -> Result<Bytes, ChainError> {
        self.ask(async |node| node.get_code_at(at).await)
    }

    /// The block that first has code at an address, found by halving; a node that has forgotten old states fails.
    pub fn first_block_with_code(&self, at: Address) -> Result<u64, ChainError> {
        let (mut without, mut with) = (0, self.block()?);
        while without < with {
            let middle = without + (with - without) / 2;
            let code = self.ask(async |node| node.get_code_at(at).number(middle).await)?;
            if code.is_empty() { without = middle + 1 } else { with = middle }
        }
        Ok(with)
    }

    /// Asks a contract as an account would.
    pub fn call(&self, from: Address, to: Address, data: Bytes) -> Result<Bytes, ChainError> {
        let request =
            TransactionRequest { from: Some(from), to: Some(TxKind::Call(to)), ..Default::default() };
        let request = TransactionRequest { input: data.into(), ..request };
        self.ask(async |node| node.call(request.clone()).await)
    }

    /// Asks a contract, which gets so much gas.
    pub fn call_within(&self, gas: u64, to: Address, data: Bytes) -> Result<Bytes, ChainError> {
        let request = TransactionRequest { to: Some(TxKind::Call(to)), gas: Some(gas), ..Default::default() };
        let request = TransactionRequest { input: data.into(), ..request };
        self.ask(async |node| node.call(request.clone()).await)
    }

    /// Asks a contract as of a block.
    pub fn call_in(&self, block: u64, to: Address, data: Bytes) -> Result<Bytes, ChainError> {
        let request = TransactionRequest { to: Some(TxKind::Call(to)), ..Default::default() };
        let request = TransactionRequest { input: data.into(), ..request };
        self.ask(async |node| node.call(request.clone()).number(block).await)
    }

    /// Hash of the block of a height, where there is one.
    async fn hash_of(&self, number: u64) -> Result<Option<B256>, ChainError> {
        let block = self.asking(async |node| node.get_block_by_number(number.into()).await).await?;
        Ok(block.map(|block| block.header.hash))
    }

    /// Signs, sends and waits. What would revert is found out by the estimate, before it costs anything.
    pub fn send(&self, key: &Key, kind: TxKind, data: Bytes) -> Result<Receipt, ChainError> {
        self.wait(self.sending(key, kind, data))
    }

    /// Waits until nothing of an account is on its way, such as what an earlier run left behind.
    pub fn wait_for_pending(&self, of: Address) -> Result<(), ChainError> {
        self.wait(self.waiting_for_pending(of))
    }
}
