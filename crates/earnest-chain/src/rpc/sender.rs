//! One sender for each key. It hands out nonces, signs, and follows a transaction until it has its confirmations: it
//! offers more for gas where nobody includes it, knows any of its versions again, and puts it back where a
//! reorganisation threw it out. What it cannot mend it says.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use alloy_consensus::TypedTransaction;
use alloy_eips::eip2718::Encodable2718;
use alloy_network::{NetworkTransactionBuilder, TransactionBuilder};
use alloy_primitives::{Address, B256, Bytes, TxKind};
use alloy_provider::Provider;
use alloy_provider::transport::TransportError;
use alloy_rpc_types_eth::{TransactionReceipt, TransactionRequest};
use thiserror::Error;

use super::{ATTEMPTS, FIRST_WAIT, Fees, Rpc, call_error, is_passing, node_error, within};
use crate::chain::{ChainError, Receipt};
use crate::embedded::TX_GAS_CAP;
use crate::key::Key;

/// How transactions are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sending {
    /// Blocks that must have it under them, its own included.
    pub confirmations: u64,
    /// The most that is ever offered for a gas, in wei.
    pub most: u128,
    /// How long it may wait for a block before more is offered.
    pub bump_after: Duration,
    /// How long it may wait for a block at all.
    pub patience: Duration,
}

impl Default for Sending {
    fn default() -> Self {
        Sending {
            confirmations: 1,
            most: 500 * GWEI,
            bump_after: Duration::from_secs(60),
            patience: Duration::from_secs(600),
        }
    }
}

/// Wei in a gwei.
pub const GWEI: u128 = 1_000_000_000;
/// How often the node is asked, at first and when it takes longer.
const POLL: Duration = Duration::from_millis(100);
const SLOW_POLL: Duration = Duration::from_secs(1);
/// How often what is not in a block is sent again, for pools forget.
const AGAIN: Duration = Duration::from_secs(30);
/// Gas that sets apart what two processes send at once.
const ODD_GAS: u64 = 1_000;
/// Transactions of a key that are kept for sending again: more than any reorganisation takes back.
const KEPT: usize = 256;
/// Looks in a row at which the nonce was used and no version of ours was in a block: behind one URL there may be nodes
/// that know different things.
const SURE: u32 = 5;

/// A transaction that was signed and did not do what it should.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum SendError {
    #[error(
        "transaction {hash} with nonce {nonce} is in no block after {} s, at {} gwei a gas{}{}\n  hint: it may still be included; a transaction of the same key with nonce {nonce} and a higher fee takes its place (--max-fee-gwei is the most that is offered)",
        .waited.as_secs(), gwei(*.fee), if *.capped { ", which is the most it may offer" } else { "" },
        if *.behind > 0 { format!("; {} before it of the same key are in none either", .behind) } else { String::new() }
    )]
    Stuck { hash: B256, nonce: u64, fee: u128, capped: bool, behind: u64, waited: Duration },
    #[error(
        "{count} earlier transactions of {of} are in no block after {} s\n  hint: the first has nonce {nonce}; a transaction with that nonce and a higher fee takes its place",
        .waited.as_secs()
    )]
    EarlierStuck { of: Address, nonce: u64, count: u64, waited: Duration },
    #[error(
        "another transaction of {of} took nonce {nonce}; {hash} will never be included\n  hint: someone else sends with this key, or it was cancelled; run the command again if it is still wanted"
    )]
    Replaced { of: Address, nonce: u64, hash: B256 },
    #[error("transaction {hash} failed in block {block}: {}", .reason.as_ref().map_or("without a reason".into(), |data| crate::errors::describe(data)))]
    Failed { hash: B256, block: u64, reason: Option<Bytes> },
    #[error(
        "gas costs {} gwei, and at most {} may be offered\n  hint: wait, or raise --max-fee-gwei", gwei(*.fee), gwei(*.most)
    )]
    TooDear { fee: u128, most: u128 },
    #[error("{of} cannot pay for gas: {message}")]
    NoFunds { of: Address, message: String },
    #[error(
        "every nonce of {of} was taken by another process {tries} times over\n  hint: give each process its own key"
    )]
    Contended { of: Address, tries: u32 },
}

/// Wei as gwei, without a float.
pub fn gwei(wei: u128) -> String {
    let text = format!("{}.{:09}", wei / GWEI, wei % GWEI);
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// What each key has on its way from this process.
#[derive(Default)]
pub(super) struct Senders(Mutex<HashMap<Address, Arc<tokio::sync::Mutex<Queue>>>>);

#[derive(Default)]
struct Queue {
    /// The nonce after the last one handed out; the node's word counts while nothing is on its way.
    next: u64,
    flying: Arc<()>,
    /// What was sent last, by nonce, for a reorganisation may throw out more than waits for confirmations, and nothing
    /// that follows is included before it.
    sent: BTreeMap<u64, Vec<u8>>,
}

impl Queue {
    fn keep(&mut self, nonce: u64, raw: &[u8]) {
        self.next = self.next.max(nonce + 1);
        self.sent.insert(nonce, raw.to_vec());
        while self.sent.len() > KEPT {
            self.sent.pop_first();
        }
    }
}

/// A signed transaction in all its versions, the newest last: same nonce, higher fees.
struct Flight {
    request: TransactionRequest,
    nonce: u64,
    fees: Fees,
    versions: Vec<(B256, Vec<u8>)>,
    _flying: Arc<()>,
}

impl Flight {
    fn newest(&self) -> B256 {
        self.versions.last().expect("it was signed").0
    }
}

/// What a node says to a transaction.
enum Answer {
    /// It has it.
    Out,
    /// Its nonce is in a block.
    Low,
    /// Another one with its nonce is on its way and pays as much.
    Underpriced,
    /// Nobody knows whether it arrived.
    Unclear(TransportError),
}

impl Rpc {
    fn queue_of(&self, from: Address) -> Arc<tokio::sync::Mutex<Queue>> {
        self.senders.0.lock().expect("no panic holds it").entry(from).or_default().clone()
    }

    pub(super) async fn sending(&self, key: &Key, kind: TxKind, data: Bytes) -> Result<Receipt, ChainError> {
        let from = key.address();
        let request = TransactionRequest::default().with_from(from).with_kind(kind).with_input(data);
        let flight = {
            // From here to the broadcast one at a time, in the order they came.
            let queue = self.queue_of(from);
            let mut queue = queue.lock().await;
            self.launch(key, request, &mut queue).await?
        };
        self.follow(key, flight).await
    }

    async fn launch(
        &self,
        key: &Key,
        request: TransactionRequest,
        queue: &mut Queue,
    ) -> Result<Flight, ChainError> {
        let from = key.address();
        let gas = self.asking(async |node| node.estimate_gas(request.clone()).await).await?;
        // A fifth more than estimated, within what one transaction may use at all; and a few odd units more, or two
        // processes that say the same with one nonce would sign one and the same transaction and both take it as theirs.
        let odd = RandomState::new().build_hasher().finish() % ODD_GAS;
        let limit = (gas + gas / 5).min(TX_GAS_CAP - ODD_GAS).max(gas) + odd;
        let request = request.with_gas_limit(limit.min(TX_GAS_CAP));
        let mut pause = FIRST_WAIT;
        for _ in 0..2 * ATTEMPTS {
            let mut fees = self.current_fees().await?;
            if fees.now > self.sending.most {
                return Err(SendError::TooDear { fee: fees.now, most: self.sending.most }.into());
            }
            fees.most = fees.most.min(self.sending.most);
            fees.priority = fees.priority.min(fees.most);
            let mut pending = self.pending_of(from).await?;
            if !queue.sent.is_empty() && queue.sent.range(pending..).next().is_some() {
                self.send_again(from, queue, pending..).await;
                pending = self.pending_of(from).await?;
            }
            let alone = Arc::strong_count(&queue.flying) == 1;
            let nonce = if alone { pending } else { pending.max(queue.next) };
            let version = self.sign(key, &request, nonce, &fees).await?;
            let mut answer = self.broadcast(from, &version.1).await?;
            let mut unclear = false;
            for _ in 1..ATTEMPTS {
                let Answer::Unclear(_) = answer else { break };
                unclear = true;
                tokio::time::sleep(pause).await;
                answer = self.broadcast(from, &version.1).await?;
            }
            match answer {
                Answer::Unclear(error) => return Err(node_error(error)),
                // It may be ours that is in a block: following it tells.
                Answer::Low if unclear => {}
                Answer::Out => {}
                // Another process was faster.
                Answer::Low | Answer::Underpriced => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(SLOW_POLL * 4);
                    continue;
                }
            }
            if alone {
                queue.next = 0;
            }
            queue.keep(nonce, &version.1);
            let _flying = queue.flying.clone();
            return Ok(Flight { request, nonce, fees, versions: vec![version], _flying });
        }
        Err(SendError::Contended { of: from, tries: 2 * ATTEMPTS }.into())
    }

    async fn pending_of(&self, from: Address) -> Result<u64, ChainError> {
        self.asking(async |node| node.get_transaction_count(from).pending().await).await
    }

    /// What a reorganisation threw out. What the node says to it shows in what happens next.
    async fn send_again(&self, from: Address, queue: &Queue, nonces: impl std::ops::RangeBounds<u64>) {
        for raw in queue.sent.range(nonces).map(|(_, raw)| raw) {
            let _ = self.broadcast(from, raw).await;
        }
    }

    async fn sign(
        &self,
        key: &Key,
        request: &TransactionRequest,
        nonce: u64,
        fees: &Fees,
    ) -> Result<(B256, Vec<u8>), ChainError> {
        let request = request
            .clone()
            .with_max_fee_per_gas(fees.most)
            .with_max_priority_fee_per_gas(fees.priority)
            .with_nonce(nonce)
            .with_chain_id(self.chain_id);
        let unsigned = request.build_unsigned().map_err(node_error)?;
        let TypedTransaction::Eip1559(transaction) = unsigned else { unreachable!("it has a priority fee") };
        let envelope = key.sign_transaction(transaction);
        Ok((*envelope.tx_hash(), envelope.encoded_2718()))
    }

    /// Hands a signed transaction to the node; as often as one likes, for it can be included only once.
    async fn broadcast(&self, from: Address, raw: &[u8]) -> Result<Answer, ChainError> {
        let sent = within(async { self.provider.send_raw_transaction(raw).await.map(drop) }).await;
        let Err(error) = sent else { return Ok(Answer::Out) };
        if is_passing(&error) {
            return Ok(Answer::Unclear(error));
        }
        let Some(payload) = error.as_error_resp() else { return Err(call_error(error)) };
        // Every client has its own words; there are no codes for them.
        let message = payload.message.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
        if says(&["already known", "already imported", "known transaction", "already exists"]) {
            return Ok(Answer::Out);
        }
        if says(&["nonce too low", "nonce is too low", "old nonce", "oldnonce"]) {
            return Ok(Answer::Low);
        }
        if says(&["replace", "underpriced", "less than block base fee", "feetoolow"]) {
            return Ok(Answer::Underpriced);
        }
        if says(&["insufficient funds"]) {
            return Err(SendError::NoFunds { of: from, message: payload.message.to_string() }.into());
        }
        Err(call_error(error))
    }

    /// From the broadcast to the last confirmation.
    async fn follow(&self, key: &Key, mut flight: Flight) -> Result<Receipt, ChainError> {
        let from = key.address();
        let launched = Instant::now();
        let (mut waiting_since, mut priced_at, mut sent_at) = (launched, launched, launched);
        let mut included = false;
        let mut capped = false;
        let (mut taken, mut behind) = (0, 0);
        loop {
            match self.receipt_of(&flight).await {
                Ok(Some(receipt)) => {
                    (included, taken, waiting_since) = (true, 0, Instant::now());
                    if self.is_confirmed(&receipt).await.unwrap_or(false) {
                        return self.outcome(&flight.request, receipt).await;
                    }
                }
                Ok(None) => {
                    let used = self.asking(async |node| node.get_transaction_count(from).latest().await);
                    let used = used.await.unwrap_or(flight.nonce);
                    // Thrown out with its block, forgotten, or behind others of ours that were: the same again.
                    if included || sent_at.elapsed() >= AGAIN.min(self.sending.patience / 4) {
                        let queue = self.queue_of(from);
                        self.send_again(from, &*queue.lock().await, used..=flight.nonce).await;
                        (included, sent_at) = (false, Instant::now());
                    }
                    behind = flight.nonce.saturating_sub(used);
                    taken = if used > flight.nonce { taken + 1 } else { 0 };
                    if taken >= SURE {
                        let (of, nonce, hash) = (from, flight.nonce, flight.newest());
                        return Err(SendError::Replaced { of, nonce, hash }.into());
                    }
                    if taken == 0 && priced_at.elapsed() >= self.sending.bump_after {
                        capped = !self.bump(key, &mut flight).await.unwrap_or(false);
                        priced_at = Instant::now();
                    }
                }
                // The node is gone for the moment; the transaction is not.
                Err(error) if waiting_since.elapsed() >= self.sending.patience => return Err(error),
                Err(_) => {}
            }
            let waited = waiting_since.elapsed();
            if waited >= self.sending.patience {
                let (hash, nonce, fee) = (flight.newest(), flight.nonce, flight.fees.most);
                return Err(SendError::Stuck { hash, nonce, fee, capped, behind, waited }.into());
            }
            let fresh = launched.elapsed() < Duration::from_secs(5);
            tokio::time::sleep(if fresh { POLL } else { SLOW_POLL }).await;
        }
    }

    /// Offers more: at least an eighth on both fees, more where the node wants more. False where the cap is reached.
    async fn bump(&self, key: &Key, flight: &mut Flight) -> Result<bool, ChainError> {
        let estimate = self.current_fees().await?;
        for (part, of) in [(9, 8), (5, 4), (3, 2), (2, 1)] {
            let raised = |fee: u128| (fee * part).div_ceil(of) + 1;
            let most = raised(flight.fees.most).max(estimate.most.min(self.sending.most));
            let priority = raised(flight.fees.priority).max(estimate.priority).min(most);
            if most > self.sending.most {
                return Ok(false);
            }
            let fees = Fees { most, priority, now: estimate.now };
            let version = self.sign(key, &flight.request, flight.nonce, &fees).await?;
            let answer = self.broadcast(key.address(), &version.1).await?;
            // Where it is unclear whether it arrived, it may be included too.
            if matches!(answer, Answer::Out | Answer::Unclear(_)) {
                self.queue_of(key.address()).lock().await.keep(flight.nonce, &version.1);
                flight.versions.push(version);
                flight.fees = fees;
            }
            if !matches!(answer, Answer::Underpriced) {
                break;
            }
        }
        Ok(true)
    }

    /// Of whichever version is in a block.
    async fn receipt_of(&self, flight: &Flight) -> Result<Option<TransactionReceipt>, ChainError> {
        for (hash, _) in flight.versions.iter().rev() {
            let found = self.asking(async |node| node.get_transaction_receipt(*hash).await).await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Its block is deep enough, and still the block of its height.
    async fn is_confirmed(&self, receipt: &TransactionReceipt) -> Result<bool, ChainError> {
        let block = receipt.block_number.unwrap_or_default();
        let head = self.asking(async |node| node.get_block_number().await).await?;
        Ok(head + 1 >= block.saturating_add(self.sending.confirmations)
            && self.hash_of(block).await? == receipt.block_hash)
    }

    async fn outcome(
        &self,
        request: &TransactionRequest,
        receipt: TransactionReceipt,
    ) -> Result<Receipt, ChainError> {
        let block = receipt.block_number.unwrap_or_default();
        if receipt.status() {
            return Ok(Receipt {
                gas_used: receipt.gas_used,
                created: receipt.contract_address,
                block,
                logs: receipt.logs().iter().map(|log| log.inner.clone()).collect(),
            });
        }
        // What came before it in its block may be why, so that the state after the block is asked first.
        let mut reason = None;
        for at in [block, block.saturating_sub(1)] {
            let replay = self.asking(async |node| node.call(request.clone()).block(at.into()).await).await;
            if let Err(ChainError::Reverted(data)) = replay {
                reason = Some(data);
                break;
            }
        }
        Err(SendError::Failed { hash: receipt.transaction_hash, block, reason }.into())
    }

    pub(super) async fn waiting_for_pending(&self, of: Address) -> Result<(), ChainError> {
        let start = Instant::now();
        loop {
            let used = self.asking(async |node| node.get_transaction_count(of).latest().await).await?;
            let pending = self.asking(async |node| node.get_transaction_count(of).pending().await).await?;
            if pending <= used {
                return Ok(());
            }
            let waited = start.elapsed();
            if waited >= self.sending.patience {
                let count = pending - used;
                return Err(SendError::EarlierStuck { of, nonce: used, count, waited }.into());
            }
            tokio::time::sleep(if waited < SLOW_POLL { POLL } else { SLOW_POLL }).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wei_are_shown_as_gwei_to_the_last_digit() {
        assert_eq!(gwei(0), "0");
        assert_eq!(gwei(1), "0.000000001");
        assert_eq!(gwei(20 * GWEI), "20");
        assert_eq!(gwei(1_500_000_000), "1.5");
    }
}
