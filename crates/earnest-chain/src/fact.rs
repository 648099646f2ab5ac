//! What the contracts said happened: their events, read once and for all into the model's words.

use alloy_primitives::{Address, B256, Log, U256};
use alloy_sol_types::{SolEvent, SolEventInterface};
use earnest_core::bid::{Bid, BidId};
use earnest_core::plan::Time;
use serde::Serialize;
use thiserror::Error;

use crate::bindings::{Credit, Offering, Treasury};
use crate::deploy::Deployment;

/// Which coin moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Coin {
    /// The coin raised.
    Cash,
    /// The coin delivered.
    Credits,
}

/// One event of a deployment. The fields are the event's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the interfaces in contracts/src say it")]
pub enum Fact {
    AttesterChanged { attester: Address, generation: u32 },
    BidPlaced { id: BidId, bid: Bid, jurisdiction: u16 },
    BidWithdrawn { id: BidId, cash: u128, payee: Address },
    CoolingOffLapsed { id: BidId },
    Paused { round: u8, until: Time },
    ClearingAdvanced { round: u8, cursor: u16 },
    Cleared { round: u8, sold: u128, proceeds: u128 },
    WindowCleared { round: u8, window: u16, sold: u128, used: u128 },
    Settled { id: BidId, credits: u128, paid: u128, refund: u128 },
    Refunded { id: BidId, cash: u128, payee: Address },
    Swept { round: u8, cash: u128 },
    Attested { subject: u8, evidence: B256, effective_at: Time },
    Objected { subject: u8 },
    Delivered { id: BidId, credits: u128, to: Address },
    Deposited { class: u8, cash: u128 },
    Drawn { cash: u128, to: Address },
    Synced { class: u8, moved: u128 },
    PotRefunded { id: BidId, cash: u128, payee: Address },
    Transfer { coin: Coin, from: Address, to: Address, amount: u128 },
}

/// An event with its place on the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Height of its block.
    pub block: u64,
    /// Its place in the block.
    pub index: u64,
    /// Time of its block.
    pub time: Time,
    /// Its transaction.
    pub tx: B256,
    /// What it says.
    pub fact: Fact,
}

/// A log of a contract of ours that is none of its events, or one with a value that no honest contract gives.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the log cannot be read: {0}")]
pub struct BadLog(pub String);

fn small<T: TryFrom<U256>>(what: &str, value: U256) -> Result<T, BadLog> {
    T::try_from(value).map_err(|_| BadLog(format!("{what} is {value}")))
}

impl Fact {
    /// Reads a log. `None`: one that the books do not keep, such as an approval.
    pub fn read(at: &Deployment, log: &Log) -> Result<Option<Fact>, BadLog> {
        let bad = |error: alloy_sol_types::Error| BadLog(error.to_string());
        if log.address == at.offering {
            use Offering::OfferingEvents as Said;
            return Ok(match Said::decode_log(log).map_err(bad)?.data {
                Said::AttesterChanged(e) => {
                    Some(Fact::AttesterChanged { attester: e.attester, generation: e.generation })
                }
                Said::BidPlaced(e) => Some(Fact::BidPlaced {
                    id: BidId::unpack(e.id.to()),
                    bid: Bid::unpack(e.slot),
                    // For information only, and as wide as an attester likes.
                    jurisdiction: u16::try_from(e.jurisdiction).unwrap_or(0),
                }),
                Said::BidWithdrawn(e) => Some(Fact::BidWithdrawn {
                    id: BidId::unpack(e.id.to()),
                    cash: small("cash", e.cash)?,
                    payee: e.payee,
                }),
                Said::CoolingOffLapsed(e) => Some(Fact::CoolingOffLapsed { id: BidId::unpack(e.id.to()) }),
                Said::Paused(e) => {
                    Some(Fact::Paused { round: small("round", e.round)?, until: small("until", e.until)? })
                }
                Said::ClearingAdvanced(e) => Some(Fact::ClearingAdvanced {
                    round: small("round", e.round)?,
                    cursor: small("cursor", e.cursor)?,
                }),
                Said::Cleared(e) => Some(Fact::Cleared {
                    round: small("round", e.round)?,
                    sold: small("sold", e.sold)?,
                    proceeds: small("proceeds", e.proceeds)?,
                }),
                Said::WindowCleared(e) => Some(Fact::WindowCleared {
                    round: small("round", e.round)?,
                    window: small("window", e.window)?,
                    sold: small("sold", e.sold)?,
                    used: small("used", e.used)?,
                }),
                Said::Settled(e) => Some(Fact::Settled {
                    id: BidId::unpack(e.id.to()),
                    credits: small("credits", e.credits)?,
                    paid: small("paid", e.paid)?,
                    refund: small("refund", e.refund)?,
                }),
                Said::Refunded(e) => Some(Fact::Refunded {
                    id: BidId::unpack(e.id.to()),
                    cash: small("cash", e.cash)?,
                    payee: e.payee,
                }),
                Said::Swept(e) => {
                    Some(Fact::Swept { round: small("round", e.round)?, cash: small("cash", e.cash)? })
                }
                Said::Attested(e) => Some(Fact::Attested {
                    subject: small("subject", e.subject)?,
                    evidence: e.evidence,
                    effective_at: small("effectiveAt", e.effectiveAt)?,
                }),
                Said::Objected(e) => Some(Fact::Objected { subject: small("subject", e.subject)? }),
                Said::Delivered(e) => Some(Fact::Delivered {
                    id: BidId::unpack(e.id.to()),
                    credits: small("credits", e.credits)?,
                    to: e.to,
                }),
                Said::EIP712DomainChanged(_) => None,
            });
        }
        if log.address == at.treasury {
            use Treasury::TreasuryEvents as Said;
            return Ok(match Said::decode_log(log).map_err(bad)?.data {
                Said::Deposited(e) => {
                    Some(Fact::Deposited { class: small("class", e.class)?, cash: small("cash", e.cash)? })
                }
                Said::Drawn(e) => Some(Fact::Drawn { cash: small("cash", e.cash)?, to: e.to }),
                Said::Synced(e) => {
                    Some(Fact::Synced { class: small("class", e.class)?, moved: small("moved", e.moved)? })
                }
                Said::PotRefunded(e) => Some(Fact::PotRefunded {
                    id: BidId::unpack(e.id.to()),
                    cash: small("cash", e.cash)?,
                    payee: e.payee,
                }),
                Said::EIP712DomainChanged(_) => None,
            });
        }
        let coin = match log.address {
            cash if cash == at.cash => Coin::Cash,
            credit if credit == at.credit => Coin::Credits,
            _ => return Ok(None),
        };
        if log.topics().first() != Some(&Credit::Transfer::SIGNATURE_HASH) {
            return Ok(None);
        }
        let e = Credit::Transfer::decode_log(log).map_err(bad)?;
        Ok(Some(Fact::Transfer { coin, from: e.from, to: e.to, amount: small("value", e.value)? }))
    }

    /// The round it is about, where it is about a whole one.
    pub fn round(&self) -> Option<u8> {
        match self {
            Fact::Paused { round, .. }
            | Fact::ClearingAdvanced { round, .. }
            | Fact::Cleared { round, .. }
            | Fact::WindowCleared { round, .. }
            | Fact::Swept { round, .. } => Some(*round),
            _ => None,
        }
    }

    /// The bid it is about.
    pub fn bid(&self) -> Option<BidId> {
        match self {
            Fact::BidPlaced { id, .. }
            | Fact::BidWithdrawn { id, .. }
            | Fact::CoolingOffLapsed { id }
            | Fact::Settled { id, .. }
            | Fact::Refunded { id, .. }
            | Fact::Delivered { id, .. }
            | Fact::PotRefunded { id, .. } => Some(*id),
            _ => None,
        }
    }

    /// The account that it names: who bid, or who gets something.
    pub fn account(&self) -> Option<Address> {
        match self {
            Fact::AttesterChanged { attester: account, .. }
            | Fact::BidPlaced { bid: Bid { wallet: account, .. }, .. }
            | Fact::BidWithdrawn { payee: account, .. }
            | Fact::Refunded { payee: account, .. }
            | Fact::Delivered { to: account, .. }
            | Fact::Drawn { to: account, .. }
            | Fact::PotRefunded { payee: account, .. }
            | Fact::Transfer { to: account, .. } => Some(*account),
            _ => None,
        }
    }

    /// Its name in the contracts.
    pub fn name(&self) -> &'static str {
        match self {
            Fact::AttesterChanged { .. } => "AttesterChanged",
            Fact::BidPlaced { .. } => "BidPlaced",
            Fact::BidWithdrawn { .. } => "BidWithdrawn",
            Fact::CoolingOffLapsed { .. } => "CoolingOffLapsed",
            Fact::Paused { .. } => "Paused",
            Fact::ClearingAdvanced { .. } => "ClearingAdvanced",
            Fact::Cleared { .. } => "Cleared",
            Fact::WindowCleared { .. } => "WindowCleared",
            Fact::Settled { .. } => "Settled",
            Fact::Refunded { .. } => "Refunded",
            Fact::Swept { .. } => "Swept",
            Fact::Attested { .. } => "Attested",
            Fact::Objected { .. } => "Objected",
            Fact::Delivered { .. } => "Delivered",
            Fact::Deposited { .. } => "Deposited",
            Fact::Drawn { .. } => "Drawn",
            Fact::Synced { .. } => "Synced",
            Fact::PotRefunded { .. } => "PotRefunded",
            Fact::Transfer { .. } => "Transfer",
        }
    }
}
