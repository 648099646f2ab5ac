//! Blocks: how transactions become one, the same when they are new and when the journal is read again, and how wallets
//! are shown it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use alloy_consensus::constants::{EMPTY_OMMER_ROOT_HASH, EMPTY_WITHDRAWALS};
use alloy_consensus::proofs::{calculate_receipt_root, calculate_transaction_root};
use alloy_consensus::transaction::{Recovered, Transaction as _, TransactionInfo};
use alloy_consensus::{Header, ReceiptEnvelope, ReceiptWithBloom, TxEnvelope};
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_primitives::{Address, B256, Keccak256, U256, keccak256};
use alloy_rpc_types_eth as rpc;
use earnest_core::plan::Time;
use revm::context::result::EVMError;
use revm::context::{BlockEnv, CfgEnv, TxEnv};
use revm::database::CacheDB;
use revm::handler::{MainBuilder, MainContext};
use revm::primitives::hardfork::SpecId;
use revm::state::{AccountInfo, Bytecode, EvmState};
use revm::{Context, DatabaseCommit, DatabaseRef, ExecuteEvm};

use super::refused::Refused;
use crate::deploy::GENESIS;
use crate::embedded::SPEC;
use crate::history::{Head, PlacedLog};

/// Most gas of one block, as on mainnet.
pub const BLOCK_GAS: u64 = 60_000_000;

/// What a database answers that knows nothing: play money for everyone. It depends on nothing, so that a replay meets
/// the same balances. No account is ever empty here; what mainnet charges for waking one up is not charged.
#[derive(Clone, Debug, Default)]
pub struct Play;

impl DatabaseRef for Play {
    type Error = Infallible;

    fn basic_ref(&self, _: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(Some(AccountInfo::from_balance(play_ether())))
    }

    fn code_by_hash_ref(&self, _: B256) -> Result<Bytecode, Infallible> {
        Ok(Bytecode::default())
    }

    fn storage_ref(&self, _: Address, _: U256) -> Result<U256, Infallible> {
        Ok(U256::ZERO)
    }

    fn block_hash_ref(&self, _: u64) -> Result<B256, Infallible> {
        Ok(B256::ZERO)
    }
}

/// What every account starts with: 10,000 ether of play money.
fn play_ether() -> U256 {
    U256::from(10_000) * U256::from(10).pow(U256::from(18))
}

/// The state that transactions run on.
pub type State = CacheDB<Play>;

/// A transaction in its block.
#[derive(Clone, Debug)]
pub struct Included {
    /// It and who signed it.
    pub transaction: Recovered<TxEnvelope>,
    /// Whether it went through and what it emitted.
    pub receipt: ReceiptEnvelope,
    /// Gas it used.
    pub gas_used: u64,
    /// The contract it created.
    pub created: Option<Address>,
    /// How many logs of the block are before its own.
    first_log: u64,
}

/// A block.
#[derive(Clone, Debug)]
pub struct Block {
    /// Its header. The state root is no Merkle root but a running digest over every block's changes, sorted: it makes
    /// any difference in execution another block hash, and cannot be proved from, so there is no `eth_getProof`.
    pub header: Header,
    /// Hash of the header.
    pub hash: B256,
    /// In order.
    pub transactions: Vec<Included>,
}

impl Block {
    /// The first block of a chain.
    pub(super) fn genesis(chain_id: u64, time: Time) -> Self {
        let header = Header {
            extra_data: format!("earnest {chain_id}").into_bytes().into(),
            state_root: genesis_root(),
            ..header(0, time)
        };
        Block { hash: header.hash_slow(), header, transactions: Vec::new() }
    }

    /// What the next one would be with nothing in it: what `pending` shows.
    pub(super) fn pending(&self, time: Time) -> Self {
        let header = self.next_header(time);
        Block { hash: header.hash_slow(), header, transactions: Vec::new() }
    }

    fn next_header(&self, time: Time) -> Header {
        Header {
            parent_hash: self.hash,
            state_root: self.header.state_root,
            mix_hash: keccak256(self.hash),
            ..header(self.header.number + 1, time)
        }
    }

    /// Where it is.
    pub fn place(&self) -> Head {
        Head { number: self.header.number, hash: self.hash, time: self.header.timestamp }
    }

    /// All its logs, in order.
    pub fn placed_logs(&self) -> impl Iterator<Item = PlacedLog> {
        let block = self.place();
        self.transactions.iter().flat_map(move |included| {
            let tx = *included.transaction.tx_hash();
            let logs = (included.first_log..).zip(included.receipt.logs());
            logs.map(move |(index, log)| PlacedLog { block, index, tx, log: log.clone() })
        })
    }

    /// Its logs that a filter matches.
    pub fn logs(&self, filter: &rpc::Filter, into: &mut Vec<rpc::Log>) {
        if !filter.matches_bloom(self.header.logs_bloom) {
            return;
        }
        for (index, included) in self.transactions.iter().enumerate() {
            let logs = self.logs_of(index).zip(included.receipt.logs());
            into.extend(logs.filter(|(_, log)| filter.matches(log)).map(|(log, _)| log));
        }
    }

    fn logs_of(&self, index: usize) -> impl Iterator<Item = rpc::Log> {
        let included = &self.transactions[index];
        (included.first_log..).zip(included.receipt.logs()).map(move |(log_index, log)| rpc::Log {
            inner: log.clone(),
            block_hash: Some(self.hash),
            block_number: Some(self.header.number),
            block_timestamp: Some(self.header.timestamp),
            transaction_hash: Some(*included.transaction.tx_hash()),
            transaction_index: Some(index as u64),
            log_index: Some(log_index),
            removed: false,
        })
    }

    /// A receipt as wallets read it.
    pub fn receipt(&self, index: usize) -> rpc::TransactionReceipt {
        let included = &self.transactions[index];
        let mut logs = self.logs_of(index);
        rpc::TransactionReceipt {
            inner: included.receipt.clone().map_logs(|_| logs.next().expect("as many")),
            transaction_hash: *included.transaction.tx_hash(),
            transaction_index: Some(index as u64),
            block_hash: Some(self.hash),
            block_number: Some(self.header.number),
            gas_used: included.gas_used,
            effective_gas_price: included.transaction.effective_gas_price(self.header.base_fee_per_gas),
            blob_gas_used: None,
            blob_gas_price: None,
            from: included.transaction.signer(),
            to: included.transaction.to(),
            contract_address: included.created,
        }
    }

    /// A transaction as wallets read it.
    pub fn transaction(&self, index: usize) -> rpc::Transaction {
        let transaction = self.transactions[index].transaction.clone();
        let info = TransactionInfo {
            hash: Some(*transaction.tx_hash()),
            index: Some(index as u64),
            block_hash: Some(self.hash),
            block_number: Some(self.header.number),
            base_fee: self.header.base_fee_per_gas,
            block_timestamp: Some(self.header.timestamp),
        };
        rpc::Transaction::from_transaction(transaction, info)
    }

    /// The block as wallets read it, with whole transactions or their hashes.
    pub fn shown(&self, whole: bool) -> rpc::Block {
        let transactions = if whole {
            rpc::BlockTransactions::Full(
                (0..self.transactions.len()).map(|index| self.transaction(index)).collect(),
            )
        } else {
            rpc::BlockTransactions::Hashes(
                self.transactions.iter().map(|it| *it.transaction.tx_hash()).collect(),
            )
        };
        let header = rpc::Header::from_consensus(self.header.clone().seal(self.hash), None, None);
        rpc::Block::new(header, transactions).with_withdrawals(Some(Default::default()))
    }
}

/// Digest of what stands before the first block.
pub(super) fn genesis_root() -> B256 {
    let mut digest = Keccak256::new();
    for (at, code) in GENESIS.iter() {
        digest.update(at);
        digest.update(keccak256(code));
    }
    digest.finalize()
}

/// What every header of this chain has.
fn header(number: u64, time: Time) -> Header {
    Header {
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        number,
        timestamp: time,
        gas_limit: BLOCK_GAS,
        base_fee_per_gas: Some(0),
        withdrawals_root: Some(EMPTY_WITHDRAWALS),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        requests_hash: Some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    }
}

/// What is published: nothing here is lost when the machine stops.
pub(super) struct Ledger {
    pub(super) state: State,
    pub(super) blocks: Vec<Arc<Block>>,
    pub(super) numbers: HashMap<B256, u64>,
    /// Block and place of every transaction.
    pub(super) places: HashMap<B256, (u64, usize)>,
}

impl Ledger {
    pub(super) fn new(chain_id: u64, time: Time) -> Self {
        let mut state = State::default();
        for (at, code) in GENESIS.iter() {
            let account = AccountInfo::from_bytecode(Bytecode::new_raw(code.clone()));
            state.insert_account_info(*at, account.with_balance(play_ether()));
        }
        let mut ledger =
            Ledger { state, blocks: Vec::new(), numbers: HashMap::new(), places: HashMap::new() };
        ledger.publish(Block::genesis(chain_id, time), Vec::new());
        ledger
    }

    pub(super) fn head(&self) -> &Arc<Block> {
        self.blocks.last().expect("a genesis block")
    }

    /// Next nonce of an account by what is published.
    pub(super) fn nonce(&self, of: Address) -> u64 {
        self.state.cache.accounts.get(&of).map_or(0, |account| account.info.nonce)
    }

    pub(super) fn publish(&mut self, block: Block, changes: Vec<EvmState>) -> Arc<Block> {
        for change in changes {
            self.state.commit(change);
        }
        let number = block.header.number;
        self.state.cache.block_hashes.insert(U256::from(number), block.hash);
        self.numbers.insert(block.hash, number);
        for (index, included) in block.transactions.iter().enumerate() {
            self.places.insert(*included.transaction.tx_hash(), (number, index));
        }
        self.blocks.push(Arc::new(block));
        self.head().clone()
    }
}

/// The rules, all of them checked.
pub(super) fn rules(chain_id: u64) -> CfgEnv<SpecId> {
    let mut cfg = CfgEnv::new_with_spec(SPEC);
    cfg.chain_id = chain_id;
    cfg
}

/// Where a block's transactions run.
pub(super) fn environment(header: &Header) -> BlockEnv {
    BlockEnv {
        number: U256::from(header.number),
        timestamp: U256::from(header.timestamp),
        gas_limit: header.gas_limit,
        prevrandao: Some(header.mix_hash),
        ..BlockEnv::default()
    }
}

/// A block that is worked out and not yet published.
pub(super) struct Built {
    pub(super) block: Block,
    /// What each transaction changed.
    pub(super) changes: Vec<EvmState>,
    /// What cannot be in any block, by its hash.
    pub(super) refused: Vec<(B256, Refused)>,
}

/// Runs transactions over the published state, in order, until the block is full; the state stays as it is. No system
/// contracts are called (EIP-2935, EIP-4788): there is no beacon chain behind this one.
pub(super) fn build(
    ledger: &Ledger,
    chain_id: u64,
    time: Time,
    transactions: impl IntoIterator<Item = Recovered<TxEnvelope>>,
) -> Built {
    let mut header = ledger.head().next_header(time);
    let mut overlay = CacheDB::new(&ledger.state);
    let mut evm = Context::mainnet()
        .with_db(&mut overlay)
        .with_cfg(rules(chain_id))
        .with_block(environment(&header))
        .build_mainnet();
    let mut digest = Keccak256::new();
    digest.update(header.state_root);
    let (mut included, mut changes, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    let (mut cumulative, mut first_log) = (0, 0);
    for transaction in transactions {
        if cumulative + transaction.gas_limit() > BLOCK_GAS {
            break;
        }
        let outcome = match evm.transact(environment_of(&transaction)) {
            Ok(outcome) => outcome,
            Err(EVMError::Transaction(why)) => {
                refused.push((*transaction.tx_hash(), Refused::Invalid(why)));
                continue;
            }
            Err(other) => {
                refused.push((*transaction.tx_hash(), Refused::Failed(other.to_string())));
                continue;
            }
        };
        digest_changes(&mut digest, &outcome.state);
        evm.ctx.journaled_state.database.commit(outcome.state.clone());
        changes.push(outcome.state);
        let result = outcome.result;
        let gas_used = result.tx_gas_used();
        cumulative += gas_used;
        let success = result.is_success();
        let created = result.created_address().filter(|_| success);
        let receipt = alloy_consensus::Receipt {
            status: success.into(),
            cumulative_gas_used: cumulative,
            // What a refused transaction emitted never happened.
            logs: if success { result.into_logs() } else { Vec::new() },
        };
        let logs_bloom = receipt.bloom_slow();
        header.logs_bloom |= logs_bloom;
        let logs = receipt.logs.len() as u64;
        let receipt = ReceiptWithBloom { receipt, logs_bloom };
        let receipt = ReceiptEnvelope::from_typed(transaction.tx_type(), receipt);
        included.push(Included { transaction, receipt, gas_used, created, first_log });
        first_log += logs;
    }
    header.gas_used = cumulative;
    header.state_root = digest.finalize();
    let envelopes: Vec<&TxEnvelope> = included.iter().map(|it| it.transaction.inner()).collect();
    header.transactions_root = calculate_transaction_root(&envelopes);
    let receipts: Vec<&ReceiptEnvelope> = included.iter().map(|it| &it.receipt).collect();
    header.receipts_root = calculate_receipt_root(&receipts);
    let block = Block { hash: header.hash_slow(), header, transactions: included };
    Built { block, changes, refused }
}

/// A signed transaction as the EVM takes it.
fn environment_of(transaction: &Recovered<TxEnvelope>) -> TxEnv {
    TxEnv {
        tx_type: transaction.tx_type() as u8,
        caller: transaction.signer(),
        gas_limit: transaction.gas_limit(),
        gas_price: transaction.max_fee_per_gas(),
        gas_priority_fee: transaction.max_priority_fee_per_gas(),
        kind: transaction.kind(),
        value: transaction.value(),
        data: transaction.input().clone(),
        nonce: transaction.nonce(),
        chain_id: transaction.chain_id(),
        access_list: transaction.access_list().cloned().unwrap_or_default(),
        ..TxEnv::default()
    }
}

/// Takes in what a transaction changed, sorted, and with counts so that no two stories read the same.
fn digest_changes(digest: &mut Keccak256, state: &EvmState) {
    let mut accounts: Vec<_> = state.iter().filter(|(_, account)| account.is_touched()).collect();
    accounts.sort_unstable_by_key(|(address, _)| **address);
    digest.update((accounts.len() as u64).to_be_bytes());
    for (address, account) in accounts {
        digest.update(address);
        digest.update([u8::from(account.is_selfdestructed()), u8::from(account.is_created())]);
        digest.update(account.info.nonce.to_be_bytes());
        digest.update(account.info.balance.to_be_bytes::<32>());
        digest.update(account.info.code_hash);
        let changed = account.storage.iter().filter(|(_, slot)| slot.is_changed());
        let mut slots: Vec<_> = changed.map(|(key, slot)| (*key, slot.present_value())).collect();
        slots.sort_unstable();
        digest.update((slots.len() as u64).to_be_bytes());
        for (key, value) in slots {
            digest.update(key.to_be_bytes::<32>());
            digest.update(value.to_be_bytes::<32>());
        }
    }
}
