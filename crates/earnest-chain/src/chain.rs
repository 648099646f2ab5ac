//! One small face for every chain, so that all above it is the same in this process and on a real node.

use std::sync::Arc;

use alloy_primitives::{Address, Bytes, Log, TxKind, U256};
use alloy_sol_types::SolCall;
use earnest_core::plan::Time;
use thiserror::Error;

use crate::embedded::Embedded;
use crate::key::Key;
use crate::node::Node;
use crate::rpc::Rpc;
use crate::rpc::sender::SendError;

/// Where the contracts are.
#[expect(clippy::large_enum_variant, reason = "there is one of them")]
pub enum Chain {
    /// revm in this process, for as long as it runs; nothing is signed.
    Embedded(Embedded),
    /// A development chain of one node, kept in a file.
    Node(Arc<Node>),
    /// Any JSON-RPC node.
    Rpc(Rpc),
}

/// A transaction that went through.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// Gas it used.
    pub gas_used: u64,
    /// What it emitted.
    pub logs: Vec<Log>,
    /// The contract it created.
    pub created: Option<Address>,
    /// Where it stands.
    pub block: u64,
}

/// Why a transaction or call failed.
#[derive(Debug, Error)]
pub enum ChainError {
    /// The contract refused.
    #[error("refused: {}", crate::errors::describe(.0))]
    Reverted(Bytes),
    /// The EVM stopped.
    #[error("stopped: {0}")]
    Halted(String),
    /// The node, or the way there, failed.
    #[error("node: {0}")]
    Node(String),
    /// Blocks were replaced by others while they were read; reading again helps.
    #[error("the chain was reorganised while it was read")]
    Reorganised,
    /// It was signed and sent, and did not do what it should.
    #[error(transparent)]
    Send(Box<SendError>),
    /// The answer was not what the contract gives.
    #[error("the answer cannot be read: {0}")]
    Answer(#[from] alloy_sol_types::Error),
}

impl From<SendError> for ChainError {
    fn from(error: SendError) -> Self {
        ChainError::Send(Box::new(error))
    }
}

impl ChainError {
    /// Name of the contract's error, such as `NotOpen`.
    pub fn name(&self) -> Option<String> {
        match self {
            ChainError::Reverted(data) => crate::errors::name(data),
            ChainError::Send(error) => match &**error {
                SendError::Failed { reason: Some(data), .. } => crate::errors::name(data),
                _ => None,
            },
            _ => None,
        }
    }
}

impl Chain {
    /// EIP-155 id.
    pub fn id(&self) -> u64 {
        match self {
            Chain::Embedded(chain) => chain.chain_id(),
            Chain::Node(node) => node.chain_id(),
            Chain::Rpc(rpc) => rpc.chain_id(),
        }
    }

    /// Time of the next block, or of the last one on a real node.
    pub fn time(&self) -> Result<Time, ChainError> {
        match self {
            Chain::Embedded(chain) => Ok(chain.time()),
            Chain::Node(node) => Ok(node.time()),
            Chain::Rpc(rpc) => rpc.time(),
        }
    }

    /// Moves the clock of a development chain forward.
    pub fn advance_to(&mut self, time: Time) -> Result<(), ChainError> {
        match self {
            Chain::Embedded(chain) => {
                chain.advance_to(time);
                Ok(())
            }
            Chain::Node(node) => Ok(node.advance_to(time)?),
            Chain::Rpc(rpc) => rpc.advance_to(time),
        }
    }

    fn transact(&mut self, key: &Key, kind: TxKind, data: Bytes) -> Result<Receipt, ChainError> {
        match self {
            Chain::Embedded(chain) => chain.send(key.address(), kind, data),
            Chain::Node(node) => node.send(key, kind, data),
            Chain::Rpc(rpc) => rpc.send(key, kind, data),
        }
    }

    /// Sends a call to a contract and waits until it is in a block.
    pub fn send(&mut self, key: &Key, to: Address, call: &impl SolCall) -> Result<Receipt, ChainError> {
        self.transact(key, TxKind::Call(to), call.abi_encode().into())
    }

    /// The same with data as it goes out.
    pub fn send_data(&mut self, key: &Key, to: Address, data: Bytes) -> Result<Receipt, ChainError> {
        self.transact(key, TxKind::Call(to), data)
    }

    /// Asks a contract.
    pub fn call<C: SolCall>(&mut self, to: Address, call: &C) -> Result<C::Return, ChainError> {
        let answer = self.call_from(Address::ZERO, to, call.abi_encode().into())?;
        Ok(C::abi_decode_returns(&answer)?)
    }

    /// Tries out what a transaction of this account would do, and keeps nothing of it.
    pub fn call_from(&mut self, from: Address, to: Address, data: Bytes) -> Result<Bytes, ChainError> {
        match self {
            Chain::Embedded(chain) => chain.call(from, to, data),
            Chain::Node(node) => node.call(from, to, data),
            Chain::Rpc(rpc) => rpc.call(from, to, data),
        }
    }

    /// Asks a contract that anyone may have written: it gets so much gas and no more.
    pub fn call_within<C: SolCall>(
        &mut self,
        gas: u64,
        to: Address,
        call: &C,
    ) -> Result<C::Return, ChainError> {
        let data = call.abi_encode().into();
        let answer = match self {
            Chain::Embedded(chain) => chain.call_within(gas, Address::ZERO, to, data),
            Chain::Node(node) => node.call_within(gas, Address::ZERO, to, data),
            Chain::Rpc(rpc) => rpc.call_within(gas, to, data),
        }?;
        Ok(C::abi_decode_returns(&answer)?)
    }

    /// Asks a contract as of a block; a chain in this process knows only the last.
    pub fn call_in<C: SolCall>(
        &mut self,
        block: u64,
        to: Address,
        call: &C,
    ) -> Result<C::Return, ChainError> {
        let Chain::Rpc(rpc) = self else { return self.call(to, call) };
        Ok(C::abi_decode_returns(&rpc.call_in(block, to, call.abi_encode().into())?)?)
    }

    /// A storage slot as of a block; a chain in this process knows only the last.
    pub fn storage_in(&self, block: u64, at: Address, slot: U256) -> Result<U256, ChainError> {
        match self {
            Chain::Rpc(rpc) => rpc.storage_in(block, at, slot),
            _ => self.storage(at, slot),
        }
    }

    /// Next nonce of an account, out of which the addresses of what it deploys follow.
    pub fn nonce(&mut self, of: Address) -> Result<u64, ChainError> {
        match self {
            Chain::Embedded(chain) => Ok(chain.nonce(of)),
            Chain::Node(node) => Ok(node.pending_nonce(of)),
            Chain::Rpc(rpc) => rpc.nonce(of),
        }
    }

    /// A storage slot.
    pub fn storage(&self, at: Address, slot: U256) -> Result<U256, ChainError> {
        match self {
            Chain::Embedded(chain) => Ok(chain.storage(at, slot)),
            Chain::Node(node) => Ok(node.storage(at, slot)),
            Chain::Rpc(rpc) => rpc.storage(at, slot),
        }
    }

    /// Height of the last block.
    pub fn block(&self) -> Result<u64, ChainError> {
        match self {
            Chain::Embedded(chain) => Ok(chain.block()),
            Chain::Node(node) => Ok(node.head().header.number),
            Chain::Rpc(rpc) => rpc.block(),
        }
    }

    /// Code of an account.
    pub fn code(&self, at: Address) -> Result<Bytes, ChainError> {
        match self {
            Chain::Embedded(chain) => Ok(chain.code(at)),
            Chain::Node(node) => Ok(node.code(at)),
            Chain::Rpc(rpc) => rpc.code(at),
        }
    }
}
