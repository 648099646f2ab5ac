//! The purchase permit: an attester's word that this entity may bid with this wallet, within these limits, under
//! these terms. Signing and recovering it is the chain's business; the rules only need what it says.

use alloy_primitives::{Address, B256};

use crate::plan::Time;

/// What an attester signs (EIP-712 `PurchasePermit`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurchasePermit {
    /// Who buys: the same number in every round and from every attester.
    pub entity: u64,
    /// Who bids.
    pub wallet: Address,
    /// Where.
    pub round: u8,
    /// Least cash of the entity in this round.
    pub min_cash: u64,
    /// Most cash of the entity in this round.
    pub max_cash: u64,
    /// Most cash of the entity over all rounds; [`crate::money::CASH_MAX`] or more: no such limit.
    pub max_total: u64,
    /// First tick of an auction, or window of a rising round, in which it may bid.
    pub first: u16,
    /// The last one.
    pub last: u16,
    /// Good from.
    pub not_before: Time,
    /// Good to.
    pub expiry: Time,
    /// ISO 3166-1 alpha-2, its two letters in 16 bits; 0: not stated.
    pub jurisdiction: u16,
    /// Index of the regime.
    pub lock_class: u8,
    /// Affiliate of the issuer: paid last, no cooling-off.
    pub affiliate: bool,
    /// May withdraw within the round's cooling-off.
    pub cooling_off: bool,
    /// The attester's generation.
    pub generation: u32,
    /// Hash of the terms it was given under.
    pub terms_hash: B256,
}
