//! A purchase permit with its signature, as attesters hand it out and buyers bid with it: one JSON object.

use alloy_primitives::{Address, B256, Bytes};
use earnest_core::money::{CASH_MAX, Cash};
use earnest_core::permit::PurchasePermit;
use earnest_core::plan::{Plan, Time};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::deploy::Record;
use crate::key::Key;

/// A permit with its signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields of `PurchasePermit`, and where it is good")]
pub struct SignedPermit {
    pub chain_id: u64,
    pub offering: Address,
    #[serde(with = "wide")]
    pub entity: u64,
    pub wallet: Address,
    pub round: u8,
    #[serde(with = "wide")]
    pub min_cash: u64,
    #[serde(with = "wide")]
    pub max_cash: u64,
    #[serde(with = "wide")]
    pub max_total: u64,
    pub first: u16,
    pub last: u16,
    pub not_before: Time,
    pub expiry: Time,
    pub jurisdiction: u16,
    pub lock_class: u8,
    pub affiliate: bool,
    pub cooling_off: bool,
    pub generation: u32,
    pub terms_hash: B256,
    /// 65 bytes.
    pub signature: Bytes,
}

/// Numbers of 64 bits are text in JSON: JavaScript would round them, and the signature would be of another permit.
mod wide {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(number: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Wide {
            Number(u64),
            Text(String),
        }
        match Wide::deserialize(from)? {
            Wide::Number(number) => Ok(number),
            Wide::Text(text) if !text.starts_with('+') => text.parse().map_err(de::Error::custom),
            Wide::Text(text) => Err(de::Error::custom(format!("{text:?} is not a whole number"))),
        }
    }
}

/// What an attester says of a buyer; what it leaves out is as in the plan.
#[derive(Clone, Debug, Default)]
pub struct Approval {
    /// The same number in every round.
    pub entity: u64,
    /// The regime the buyer comes under; none: the round's first.
    pub regime: Option<String>,
    /// Least cash in this round.
    pub min: Option<Cash>,
    /// Most cash in this round.
    pub max: Option<Cash>,
    /// Most cash over all rounds.
    pub max_total: Option<Cash>,
    /// ISO 3166-1 alpha-2.
    pub jurisdiction: Option<String>,
    /// Of the issuer.
    pub affiliate: bool,
    /// For how long it is good, the regime's waiting time included.
    pub valid_secs: u64,
}

/// The approval does not fit the plan.
#[derive(Debug, Error)]
#[error("round {round} does not sell under regime {regime:?}\n  hint: {offered}")]
pub struct RegimeNotOffered {
    round: String,
    regime: String,
    offered: String,
}

/// An ISO 3166-1 alpha-2 code as a permit carries it: its two letters in 16 bits; 0 for anything else.
pub fn jurisdiction_code(code: &str) -> u16 {
    match code.as_bytes() {
        [first, second] => u16::from_be_bytes([*first, *second]),
        _ => 0,
    }
}

impl SignedPermit {
    /// Makes and signs one at time `now`, with the attester's current generation.
    pub fn issue(
        plan: &Plan,
        record: &Record,
        (key, generation): (&Key, u32),
        wallet: Address,
        round: u8,
        approval: &Approval,
        now: Time,
    ) -> Result<Self, RegimeNotOffered> {
        let sale = &plan.rounds[usize::from(round)];
        let name = approval.regime.as_deref().unwrap_or(&sale.regimes[0]);
        let found = plan.regime(name).filter(|_| sale.regimes.iter().any(|regime| regime == name));
        let (lock_class, regime) = found.ok_or_else(|| RegimeNotOffered {
            round: sale.name.clone(),
            regime: name.to_string(),
            offered: sale.regimes.join(", "),
        })?;
        let code = approval.jurisdiction.as_deref().or(regime.jurisdictions.first().map(String::as_str));
        let mut signed = SignedPermit {
            chain_id: record.chain_id,
            offering: record.contracts.offering,
            entity: approval.entity,
            wallet,
            round,
            min_cash: approval.min.unwrap_or(sale.min_bid).units(),
            max_cash: approval.max.or(sale.max_bid).map_or(CASH_MAX, Cash::units),
            max_total: approval.max_total.or(regime.max_entity).map_or(u64::MAX, Cash::units),
            first: 0,
            last: u16::MAX,
            not_before: now + u64::from(regime.wait_hours) * 3_600,
            expiry: now + approval.valid_secs,
            jurisdiction: code.map_or(0, jurisdiction_code),
            lock_class: u8::try_from(lock_class).expect("at most 16 regimes"),
            affiliate: approval.affiliate,
            cooling_off: regime.cooling_off_days > 0 && !approval.affiliate,
            generation,
            terms_hash: record.terms_hash,
            signature: Bytes::new(),
        };
        signed.signature = key.sign(signed.digest(record));
        Ok(signed)
    }

    /// What is signed.
    pub fn digest(&self, record: &Record) -> B256 {
        record.contracts.permit_digest(record.chain_id, &self.permit())
    }

    /// What it says.
    pub fn permit(&self) -> PurchasePermit {
        PurchasePermit {
            entity: self.entity,
            wallet: self.wallet,
            round: self.round,
            min_cash: self.min_cash,
            max_cash: self.max_cash,
            max_total: self.max_total,
            first: self.first,
            last: self.last,
            not_before: self.not_before,
            expiry: self.expiry,
            jurisdiction: self.jurisdiction,
            lock_class: self.lock_class,
            affiliate: self.affiliate,
            cooling_off: self.cooling_off,
            generation: self.generation,
            terms_hash: self.terms_hash,
        }
    }
}
