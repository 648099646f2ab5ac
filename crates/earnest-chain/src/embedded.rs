//! A chain in this process: revm over a database in memory, one transaction a block, and a clock that moves when told
//! to. Whoever can call it may send from any address: nothing here is signed.

use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_sol_types::SolValue;
use earnest_core::plan::Time;
use revm::context::result::{ExecutionResult, Output};
use revm::context::{BlockEnv, CfgEnv, TxEnv};
use revm::database::InMemoryDB;
use revm::handler::{MainBuilder, MainContext, MainnetContext, MainnetEvm};
use revm::primitives::hardfork::SpecId;
use revm::{Context, ExecuteCommitEvm, ExecuteEvm};

use crate::chain::{ChainError, Receipt};

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
    block: u64,
    time: Time,
    transactions: u64,
}

impl Embedded {
    /// An empty chain whose first block is at `time`.
    pub fn new(time: Time) -> Self {
        let mut cfg = CfgEnv::new_with_spec(SPEC);
        cfg.chain_id = DEV_CHAIN_ID;
        cfg.disable_nonce_check = true;
        cfg.disable_balance_check = true;
        cfg.disable_base_fee = true;
        cfg.disable_eip3607 = true;
        let block = BlockEnv { gas_limit: 60_000_000, ..BlockEnv::default() };
        let evm =
            Context::mainnet().with_db(InMemoryDB::default()).with_cfg(cfg).with_block(block).build_mainnet();
        Embedded { evm, block: 0, time, transactions: 0 }
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

    fn transaction(from: Address, kind: TxKind, data: Bytes) -> TxEnv {
        TxEnv {
            caller: from,
            kind,
            data,
            gas_limit: TX_GAS_CAP,
            chain_id: Some(DEV_CHAIN_ID),
            ..TxEnv::default()
        }
    }

    /// Runs a transaction in a block of its own.
    pub fn send(&mut self, from: Address, kind: TxKind, data: Bytes) -> Result<Receipt, ChainError> {
        self.environment();
        let result = self
            .evm
            .transact_commit(Self::transaction(from, kind, data))
            .map_err(|error| ChainError::Node(error.to_string()))?;
        self.block += 1;
        self.transactions += 1;
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
        self.environment();
        let result = self
            .evm
            .transact(Self::transaction(from, TxKind::Call(to), data))
            .map_err(|error| ChainError::Node(error.to_string()))?;
        match result.result {
            ExecutionResult::Success { output, .. } => Ok(output.into_data()),
            ExecutionResult::Revert { output, .. } => Err(ChainError::Reverted(output)),
            ExecutionResult::Halt { reason, .. } => Err(ChainError::Halted(format!("{reason:?}"))),
        }
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

/// Slot of a value in a Solidity mapping.
pub fn mapping_slot(key: impl SolValue, slot: u64) -> U256 {
    let mut bytes = key.abi_encode();
    bytes.extend_from_slice(&U256::from(slot).to_be_bytes::<32>());
    U256::from_be_bytes(alloy_primitives::keccak256(bytes).0)
}
