//! Questions to the published state: calls that keep nothing, and how much gas a transaction needs.

use alloy_primitives::{Address, Bytes, TxKind, U256};
use alloy_rpc_types_eth::TransactionRequest;
use alloy_rpc_types_eth::state::{AccountOverride, StateOverride};
use revm::context::TxEnv;
use revm::context::result::{EVMError, ExecutionResult, HaltReason};
use revm::database::CacheDB;
use revm::handler::{MainBuilder, MainContext};
use revm::state::Bytecode;
use revm::{Context, DatabaseRef, ExecuteEvm};

use super::Node;
use super::block::{Play, environment, rules};
use super::refused::Refused;
use crate::chain::ChainError;
use crate::embedded::TX_GAS_CAP;

impl Node {
    /// Runs a call on the state as it is now and keeps nothing of it.
    pub fn call(&self, from: Address, to: Address, data: Bytes) -> Result<Bytes, ChainError> {
        self.call_within(TX_GAS_CAP, from, to, data)
    }

    /// The same with so much gas.
    pub fn call_within(
        &self,
        gas: u64,
        from: Address,
        to: Address,
        data: Bytes,
    ) -> Result<Bytes, ChainError> {
        let transaction = TxEnv { caller: from, kind: TxKind::Call(to), data, ..TxEnv::default() };
        output(self.run(self.with_gas(transaction, gas), None)?)
    }

    /// The same as a wallet asks it, on a state that may be changed for it.
    pub fn ask(&self, request: TransactionRequest, on: Option<StateOverride>) -> Result<Bytes, ChainError> {
        let gas = request.gas.unwrap_or(TX_GAS_CAP).min(TX_GAS_CAP);
        output(self.run(self.with_gas(read(request), gas), on.as_ref())?)
    }

    /// Gas with which a transaction goes through, found by trying: what it uses is not enough where calls keep a 64th
    /// part back, or where a refund comes only at the end.
    pub fn estimate(
        &self,
        request: TransactionRequest,
        on: Option<StateOverride>,
    ) -> Result<u64, ChainError> {
        let most = request.gas.unwrap_or(TX_GAS_CAP).min(TX_GAS_CAP);
        let transaction = read(request);
        let goes = |gas: u64| self.run(self.with_gas(transaction.clone(), gas), on.as_ref());
        let whole = goes(most)?;
        let spent = whole.gas().total_gas_spent().max(whole.tx_gas_used());
        output(whole)?;
        let enough = |gas: u64| match goes(gas) {
            Ok(result) => Ok(result.is_success()),
            Err(Refused::Invalid(_)) => Ok(false),
            Err(other) => Err(other),
        };
        let (mut fails, mut works) = (spent.saturating_sub(1), most);
        let guess = ((spent + 2_300) * 64 / 63).min(most);
        if enough(spent)? {
            return Ok(spent);
        }
        if enough(guess)? {
            works = guess;
        }
        // As near as a hundredth part.
        while works - fails > works / 100 + 1 {
            let middle = fails.midpoint(works);
            if enough(middle)? {
                works = middle;
            } else {
                fails = middle;
            }
        }
        Ok(works)
    }

    /// Whether a transaction that is about to be signed would go through.
    pub(super) fn try_out(&self, from: Address, kind: TxKind, data: Bytes) -> Result<(), ChainError> {
        let transaction = TxEnv { caller: from, kind, data, ..TxEnv::default() };
        output(self.run(self.with_gas(transaction, TX_GAS_CAP), None)?).map(drop)
    }

    fn with_gas(&self, transaction: TxEnv, gas_limit: u64) -> TxEnv {
        TxEnv { gas_limit, chain_id: Some(self.chain_id()), ..transaction }
    }

    fn run(&self, transaction: TxEnv, on: Option<&StateOverride>) -> Result<ExecutionResult, Refused> {
        let time = self.time();
        let ledger = self.shared.ledger();
        let header = ledger.head().pending(time).header;
        let mut cfg = rules(self.chain_id());
        // A question is asked in anyone's name, contracts included, and out of turn.
        cfg.disable_nonce_check = true;
        cfg.disable_eip3607 = true;
        let mut overlay = CacheDB::new(&ledger.state);
        for (address, change) in on.into_iter().flatten() {
            change_account(&mut overlay, *address, change).map_err(Refused::Failed)?;
        }
        let mut evm = Context::mainnet()
            .with_db(overlay)
            .with_cfg(cfg)
            .with_block(environment(&header))
            .build_mainnet();
        match evm.transact(transaction) {
            Ok(outcome) => Ok(outcome.result),
            Err(EVMError::Transaction(why)) => Err(Refused::Invalid(why)),
            Err(other) => Err(Refused::Failed(other.to_string())),
        }
    }
}

fn change_account(
    state: &mut CacheDB<&CacheDB<Play>>,
    address: Address,
    change: &AccountOverride,
) -> Result<(), String> {
    if change.move_precompile_to.is_some() {
        return Err("movePrecompileToAddress is not supported".into());
    }
    let mut info = state.basic_ref(address).ok().flatten().unwrap_or_default();
    info.balance = change.balance.unwrap_or(info.balance);
    info.nonce = change.nonce.unwrap_or(info.nonce);
    if let Some(code) = &change.code {
        let code = Bytecode::new_raw_checked(code.clone()).map_err(|error| error.to_string())?;
        info.code_hash = code.hash_slow();
        info.code = Some(code);
    }
    state.insert_account_info(address, info);
    let word = |word: alloy_primitives::B256| U256::from_be_bytes(word.0);
    if let Some(all) = &change.state {
        let all = all.iter().map(|(slot, value)| (word(*slot), word(*value))).collect();
        let Ok(()) = state.replace_account_storage(address, all);
    }
    for (slot, value) in change.state_diff.iter().flatten() {
        let Ok(()) = state.insert_account_storage(address, word(*slot), word(*value));
    }
    Ok(())
}

/// A wallet's request as the EVM takes it; gas and chain are set by the caller.
fn read(request: TransactionRequest) -> TxEnv {
    let price = request.max_fee_per_gas.or(request.gas_price).unwrap_or_default();
    TxEnv {
        tx_type: if request.max_fee_per_gas.is_some() || request.max_priority_fee_per_gas.is_some() {
            2
        } else {
            1
        },
        caller: request.from.unwrap_or_default(),
        gas_price: price,
        gas_priority_fee: request.max_priority_fee_per_gas.map(|tip| tip.min(price)),
        kind: request.to.unwrap_or(TxKind::Create),
        value: request.value.unwrap_or_default(),
        data: request.input.into_input().unwrap_or_default(),
        access_list: request.access_list.unwrap_or_default(),
        ..TxEnv::default()
    }
}

fn output(result: ExecutionResult) -> Result<Bytes, ChainError> {
    match result {
        ExecutionResult::Success { output, .. } => Ok(output.into_data()),
        ExecutionResult::Revert { output, .. } => Err(ChainError::Reverted(output)),
        ExecutionResult::Halt { reason: HaltReason::OutOfGas(_), .. } => {
            Err(ChainError::Halted("out of gas".into()))
        }
        ExecutionResult::Halt { reason, .. } => Err(ChainError::Halted(format!("{reason:?}"))),
    }
}
