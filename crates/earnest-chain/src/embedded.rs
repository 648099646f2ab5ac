//! A chain in this process: revm over a database in memory, one transaction a block, and a clock that moves when told
//! to. Whoever can call it may send from any address: nothing here is signed.

use alloy_primitives::{Address, B256, Bytes, Log, TxKind, U256};
use alloy_sol_types::SolValue;
use earnest_core::plan::Time;
use revm::context::result::{ExecutionResult, Output};
use revm::context::{BlockEnv, CfgEnv, TxEnv};
use revm::database::InMemoryDB;
use revm::handler::{MainBuilder, MainContext, MainnetContext, MainnetEvm};
use revm::primitives::hardfork::SpecId;
use revm::state::{AccountInfo, Bytecode};
use revm::{Context, ExecuteCommitEvm, ExecuteEvm};

use crate::chain::{ChainError, Receipt};
use crate::deploy::GENESIS;
use crate::history::{Head, PlacedLog};

/// The rules every embedded chain runs by. Osaka caps a transaction at 16,777,216 gas, so that what works here works
/// on mainnet.
pub const SPEC: SpecId = SpecId::OSAKA;
/// Chain id of development chains, as anvil has it.
pub const DEV_CHAIN_ID: u64 = 31_337;
/// Most gas of one transaction.
pub const TX_GAS_CAP: u64 = 16_777_216;

/// The chain.
pub struct Embedded {
    evm: MainnetEvm<MainnetContext<InMemoryDB>>,
    chain_id: u64,
    block: u64,
    time: Time,
    transactions: u64,
    /// Blocks with what they said, if asked for.
    history: Option<Vec<(Head, Vec<Log>)>>,
}

impl Embedded {
    /// A chain with nothing on it but [`GENESIS`], whose first block is at `time`.
    pub fn new(time: Time) -> Self {
        Self::like(DEV_CHAIN_ID, time)
    }

    /// The same with another chain's id, to see what would be there.
    pub fn like(chain_id: u64, time: Time) -> Self {
        let mut chain = Self::empty(chain_id, time);
        for (at, code) in GENESIS.iter() {
            let account = AccountInfo::from_bytecode(Bytecode::new_raw(code.clone()));
            chain.evm.ctx.journaled_state.database.insert_account_info(*at, account);
        }
        chain
    }

    pub(crate) fn empty(chain_id: u64, time: Time) -> Self {
        let mut cfg = CfgEnv::new_with_spec(SPEC);
        cfg.chain_id = chain_id;
        cfg.disable_nonce_check = true;
        cfg.disable_balance_check = true;
        cfg.disable_base_fee = true;
        cfg.disable_eip3607 = true;
        let block = BlockEnv { gas_limit: 60_000_000, ..BlockEnv::default() };
        let database = InMemoryDB::default();
        let evm = Context::mainnet().with_db(database).with_cfg(cfg).with_block(block).build_mainnet();
        Embedded { evm, chain_id, block: 0, time, transactions: 0, history: None }
    }

    /// Takes code of any size, as no real chain does.
    pub fn take_large_code(&mut self) {
        self.evm.ctx.modify_cfg(|cfg| cfg.limit_contract_code_size = Some(usize::MAX / 4));
    }

    /// Writes a storage slot past every contract, as no chain can.
    pub fn set_storage(&mut self, at: Address, slot: U256, value: U256) -> Result<(), ChainError> {
        let database = &mut self.evm.ctx.journaled_state.database;
        database.insert_account_storage(at, slot, value).map_err(|error| ChainError::Node(error.to_string()))
    }

    /// Puts code where other code is, past every rule, as no chain can; storage stays.
    pub fn set_code(&mut self, at: Address, code: Bytes) {
        let account =
            AccountInfo { nonce: self.nonce(at), ..AccountInfo::from_bytecode(Bytecode::new_raw(code)) };
        self.evm.ctx.journaled_state.database.insert_account_info(at, account);
    }

    /// From now on remembers what every block said.
    pub fn keep_history(&mut self) {
        self.history.get_or_insert_default();
    }

    /// The last block. Hashes are made up from height and time: nothing here can be reorganised.
    pub fn head(&self) -> Head {
        self.head_at(self.block).unwrap_or_default()
    }

    /// A block that is remembered, or the last.
    pub fn head_at(&self, number: u64) -> Option<Head> {
        let kept = self.history.as_ref().and_then(|history| {
            let at = history.binary_search_by_key(&number, |(head, _)| head.number).ok()?;
            Some(history[at].0)
        });
        kept.or_else(|| (number == self.block).then(|| made_up(number, 0)))
    }

    /// What blocks have said.
    pub fn placed_logs(&self, from: u64, to: u64) -> impl Iterator<Item = PlacedLog> {
        let blocks =
            self.history.iter().flatten().filter(move |(head, _)| (from..=to).contains(&head.number));
        blocks.flat_map(|(head, logs)| {
            let placed = |(index, log): (u64, &Log)| PlacedLog {
                block: *head,
                index,
                tx: head.hash,
                log: log.clone(),
            };
            (0u64..).zip(logs).map(placed)
        })
    }

    /// Time of the next block.
    pub fn time(&self) -> Time {
        self.time
    }

    /// Moves the clock forward; back is not possible and does nothing.
    pub fn advance_to(&mut self, time: Time) {
        self.time = self.time.max(time);
    }

    /// Height of the last block.
    pub fn block(&self) -> u64 {
        self.block
    }

    /// Transactions so far, refused ones included.
    pub fn transactions(&self) -> u64 {
        self.transactions
    }

    fn environment(&mut self) {
        let (number, time) = (self.block + 1, self.time);
        self.evm.ctx.modify_block(|block| {
            block.number = U256::from(number);
            block.timestamp = U256::from(time);
        });
    }

    fn transaction(&self, from: Address, kind: TxKind, data: Bytes) -> TxEnv {
        TxEnv {
            caller: from,
            kind,
            data,
            gas_limit: TX_GAS_CAP,
            chain_id: Some(self.chain_id),
            ..TxEnv::default()
        }
    }

    /// Runs a transaction in a block of its own.
    pub fn send(&mut self, from: Address, kind: TxKind, data: Bytes) -> Result<Receipt, ChainError> {
        self.environment();
        let transaction = self.transaction(from, kind, data);
        let result =
            self.evm.transact_commit(transaction).map_err(|error| ChainError::Node(error.to_string()))?;
        self.block += 1;
        self.transactions += 1;
        if let Some(history) = &mut self.history {
            history.push((made_up(self.block, self.time), result.logs().to_vec()));
        }
        match result {
            ExecutionResult::Success { gas, logs, output, .. } => Ok(Receipt {
                gas_used: gas.tx_gas_used(),
                logs,
                created: match output {
                    Output::Create(_, created) => created,
                    Output::Call(_) => None,
                },
                block: self.block,
            }),
            ExecutionResult::Revert { output, .. } => Err(ChainError::Reverted(output)),
            ExecutionResult::Halt { reason, .. } => Err(ChainError::Halted(format!("{reason:?}"))),
        }
    }

    /// Runs a call against the latest state and keeps nothing of it.
    pub fn call(&mut self, from: Address, to: Address, data: Bytes) -> Result<Bytes, ChainError> {
        self.call_within(TX_GAS_CAP, from, to, data)
    }

    /// The same with so much gas.
    pub fn call_within(
        &mut self,
        gas: u64,
        from: Address,
        to: Address,
        data: Bytes,
    ) -> Result<Bytes, ChainError> {
        self.environment();
        let transaction = TxEnv { gas_limit: gas, ..self.transaction(from, TxKind::Call(to), data) };
        let result = self.evm.transact(transaction).map_err(|error| ChainError::Node(error.to_string()))?;
        match result.result {
            ExecutionResult::Success { output, .. } => Ok(output.into_data()),
            ExecutionResult::Revert { output, .. } => Err(ChainError::Reverted(output)),
            ExecutionResult::Halt { reason, .. } => Err(ChainError::Halted(format!("{reason:?}"))),
        }
    }

    /// EIP-155 id.
    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// Next nonce of an account.
    pub fn nonce(&self, of: Address) -> u64 {
        let account = self.evm.ctx.journaled_state.database.cache.accounts.get(&of);
        account.map_or(0, |account| account.info.nonce)
    }

    /// Code of an account.
    pub fn code(&self, at: Address) -> Bytes {
        let database = &self.evm.ctx.journaled_state.database;
        let account = database.cache.accounts.get(&at);
        let hash = account.map_or(B256::ZERO, |account| account.info.code_hash);
        database.cache.contracts.get(&hash).map(|code| code.original_bytes()).unwrap_or_default()
    }

    /// A storage slot, straight from the database.
    pub fn storage(&self, at: Address, slot: U256) -> U256 {
        let account = self.evm.ctx.journaled_state.database.cache.accounts.get(&at);
        account.and_then(|account| account.storage.get(&slot)).copied().unwrap_or_default()
    }

    /// Every slot of an account that was ever written and is not zero.
    pub fn slots(&self, at: Address) -> impl Iterator<Item = (U256, U256)> {
        let account = self.evm.ctx.journaled_state.database.cache.accounts.get(&at);
        let slots = account.into_iter().flat_map(|account| account.storage.iter());
        slots.map(|(slot, value)| (*slot, *value)).filter(|(_, value)| !value.is_zero())
    }
}

fn made_up(number: u64, time: Time) -> Head {
    let hash = alloy_primitives::keccak256((U256::from(number), U256::from(time)).abi_encode());
    Head { number, hash, time }
}

/// Slot of a value in a Solidity mapping.
pub fn mapping_slot(key: impl SolValue, slot: u64) -> U256 {
    slot_in(key, U256::from(slot))
}

/// Slot of a value in a mapping of mappings.
pub fn nested_slot(outer: impl SolValue, inner: impl SolValue, slot: u64) -> U256 {
    slot_in(inner, mapping_slot(outer, slot))
}

fn slot_in(key: impl SolValue, mapping: U256) -> U256 {
    let mut bytes = key.abi_encode();
    bytes.extend_from_slice(&mapping.to_be_bytes::<32>());
    U256::from_be_bytes(alloy_primitives::keccak256(bytes).0)
}
