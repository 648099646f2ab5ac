//! Why a transaction is not taken, in the words that wallets look for.

use alloy_consensus::transaction::{Recovered, SignerRecoverable, Transaction};
use alloy_consensus::{TxEnvelope, TxType};
use alloy_eips::eip2718::Decodable2718;
use revm::context::result::InvalidTransaction;
use thiserror::Error;

use crate::embedded::TX_GAS_CAP;

/// The reason. The first words are those of geth, which wallets and libraries know.
#[derive(Clone, Debug, Error)]
pub enum Refused {
    /// Not a transaction.
    #[error("rlp: the transaction cannot be decoded: {0}")]
    Undecodable(String),
    /// EIP-4844, EIP-7702 and what comes after.
    #[error(
        "transaction type not supported: {0}; this node takes legacy, EIP-2930 and EIP-1559 transactions"
    )]
    Type(u8),
    /// Signed for another chain, or for any.
    #[error("invalid chain id: the transaction is signed for {}, and this is chain {this}", .signed.map_or("any chain".into(), |id| id.to_string()))]
    ChainId {
        /// The transaction's.
        signed: Option<u64>,
        /// The node's.
        this: u64,
    },
    /// Nobody can have signed it.
    #[error("invalid sender: the signature is not valid")]
    Signature,
    /// No transaction may use so much.
    #[error(
        "exceeds block gas limit: {0} is over the {TX_GAS_CAP} gas that one transaction may use (EIP-7825)"
    )]
    Gas(u64),
    /// It was there before.
    #[error("already known")]
    Known,
    /// The nonce was used.
    #[error("nonce too low: next nonce {next}, tx nonce {nonce}")]
    NonceTooLow {
        /// The account's.
        next: u64,
        /// The transaction's.
        nonce: u64,
    },
    /// Those before it did not come.
    #[error("nonce too high: next nonce {next}, tx nonce {nonce}; this node waits {} seconds for those between", super::pool::PATIENCE.as_secs())]
    NonceTooHigh {
        /// The account's.
        next: u64,
        /// The transaction's.
        nonce: u64,
    },
    /// Another with this nonce waits.
    #[error(
        "replacement transaction underpriced: one with nonce {0} is waiting, and this node replaces none"
    )]
    Replacement(u64),
    /// Too many wait.
    #[error("txpool is full: {0} transactions are waiting")]
    Full(usize),
    /// The EVM's rules.
    #[error("{}", invalid(.0))]
    Invalid(InvalidTransaction),
    /// The file does not take it.
    #[error("the chain's file cannot be written: {0}")]
    NotWritten(String),
    /// The clock only goes forward.
    #[error("timestamp {asked} is before the chain's time {now}")]
    Past {
        /// Asked for.
        asked: u64,
        /// Now.
        now: u64,
    },
    /// The node is being stopped.
    #[error("the node is stopping")]
    Stopping,
    /// Something else.
    #[error("{0}")]
    Failed(String),
}

fn invalid(why: &InvalidTransaction) -> String {
    use InvalidTransaction as Why;
    match why {
        Why::NonceTooLow { tx, state } => format!("nonce too low: next nonce {state}, tx nonce {tx}"),
        Why::NonceTooHigh { tx, state } => format!("nonce too high: next nonce {state}, tx nonce {tx}"),
        Why::LackOfFundForMaxFee { fee, balance } => {
            format!("insufficient funds for gas * price + value: have {balance}, want {fee}")
        }
        Why::CallGasCostMoreThanGasLimit { initial_gas: needed, gas_limit } => {
            format!("intrinsic gas too low: have {gas_limit}, want {needed}")
        }
        Why::GasFloorMoreThanGasLimit { gas_floor: needed, gas_limit } => {
            format!("insufficient gas for floor data gas cost: have {gas_limit}, want {needed}")
        }
        Why::PriorityFeeGreaterThanMaxFee => "max priority fee per gas higher than max fee per gas".into(),
        Why::GasPriceLessThanBasefee => "max fee per gas less than block base fee".into(),
        Why::CreateInitCodeSizeLimit => "max initcode size exceeded".into(),
        Why::RejectCallerWithCode => "sender not an eoa".into(),
        other => other.to_string(),
    }
}

/// Reads a signed transaction and finds who signed it.
pub(super) fn read(raw: &[u8], chain_id: u64) -> Result<Recovered<TxEnvelope>, Refused> {
    // Refused by its first byte, for a blob's sidecar would not decode.
    if let Some(&kind @ 3..=0x7f) = raw.first() {
        return Err(Refused::Type(kind));
    }
    let envelope =
        TxEnvelope::decode_2718_exact(raw).map_err(|error| Refused::Undecodable(error.to_string()))?;
    if !matches!(envelope.tx_type(), TxType::Legacy | TxType::Eip2930 | TxType::Eip1559) {
        return Err(Refused::Type(envelope.tx_type() as u8));
    }
    if envelope.chain_id() != Some(chain_id) {
        return Err(Refused::ChainId { signed: envelope.chain_id(), this: chain_id });
    }
    if envelope.gas_limit() > TX_GAS_CAP {
        return Err(Refused::Gas(envelope.gas_limit()));
    }
    let signer = envelope.recover_signer().map_err(|_| Refused::Signature)?;
    Ok(Recovered::new_unchecked(envelope, signer))
}
