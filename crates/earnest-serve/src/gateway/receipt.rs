//! What a holder has in hand for each request: one statement, signed by the gateway, whose signer the chain names.
//! It is checked without asking anyone.

use alloy_primitives::{Address, B256};
use base64::Engine;
use earnest_chain::voucher::{House, SignedReceipt};
use earnest_core::charge::{NoPrice, Rates, Service, Usage};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::journal::Coin;

/// What is stated. Amounts are in base units, as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Of this form: 1.
    pub version: u32,
    /// The request.
    pub id: String,
    /// Milliseconds since 1970.
    pub time: u64,
    /// EIP-155 id.
    pub chain_id: u64,
    /// The offering's Revenue.
    pub revenue: Address,
    /// Whose channel.
    pub channel: B256,
    /// Which key.
    pub key: String,
    /// Who served it.
    pub provider: Address,
    /// The model, as the price list names it.
    pub model: String,
    /// What was sold.
    pub service: Service,
    /// Version of the price list.
    pub price_version: u32,
    /// Its prices, in base units per million model tokens.
    #[serde(with = "rates")]
    pub rates: Rates,
    /// What was used.
    pub usage: Usage,
    /// In which coin.
    pub coin: Coin,
    /// What it cost.
    #[serde(with = "text")]
    pub charge: u128,
    /// The answer was written out whole; otherwise the client left, or it broke off, and this is what was written out.
    pub complete: bool,
    /// Something of the usage was not stated by who served it, and is an estimate in the holder's favour.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
    /// SHA-256 of the request's body.
    pub request_sha256: B256,
    /// SHA-256 of the answer's body, receipt not included; of an answer that was not whole, nothing.
    pub response_sha256: Option<B256>,
}

/// A receipt that is not good.
#[derive(Debug, Error)]
pub enum BadReceipt {
    /// It cannot be read.
    #[error("the receipt cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// It is in no form in which receipts are handed out.
    #[error("the receipt is neither JSON nor base64: {0}")]
    Form(#[from] base64::DecodeError),
    /// Its own numbers give no sum.
    #[error("its usage at its prices gives no sum: {0}")]
    Sum(#[from] NoPrice),
    /// The key that signed is not the gateway's.
    #[error("the signature is not by {expected} but by {}", .found.map_or("nobody".into(), |found| found.to_string()))]
    Signer {
        /// Whose it should be.
        expected: Address,
        /// Whose it is.
        found: Option<Address>,
    },
    /// The sum is wrong.
    #[error("it charges {charged}, and its usage at its prices costs {cost}")]
    Charge {
        /// What it says.
        charged: u128,
        /// What it should say.
        cost: u128,
    },
    /// It is from elsewhere.
    #[error("it is a receipt of another gateway (chain {chain_id}, revenue {revenue})")]
    Elsewhere {
        /// Its chain.
        chain_id: u64,
        /// Its revenue.
        revenue: Address,
    },
}

impl Receipt {
    /// Signs it.
    pub fn sign(&self, house: House, key: &earnest_chain::key::Key) -> SignedReceipt {
        SignedReceipt::sign(house, key, self.text())
    }

    /// The bytes that are signed.
    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("a receipt is JSON")
    }

    /// Checks signature and sum, without asking anyone.
    pub fn verify(signed: &SignedReceipt, house: House, signer: Address) -> Result<Self, BadReceipt> {
        let found = signed.signer(house);
        let receipt: Receipt = serde_json::from_str(&signed.receipt)?;
        if (receipt.chain_id, receipt.revenue) != (house.chain_id, house.revenue) {
            let (chain_id, revenue) = (receipt.chain_id, receipt.revenue);
            return Err(BadReceipt::Elsewhere { chain_id, revenue });
        }
        if found != Some(signer) {
            return Err(BadReceipt::Signer { expected: signer, found });
        }
        let cost = receipt.rates.charge(receipt.service, receipt.usage)?;
        // Never more than it costs; less where the most that the request could cost was less.
        if receipt.charge > cost {
            return Err(BadReceipt::Charge { charged: receipt.charge, cost });
        }
        Ok(receipt)
    }
}

/// Reads one in any form in which it is handed out: JSON, the header `x-earnest-receipt`, a stream's comment.
pub fn read(text: &str) -> Result<SignedReceipt, BadReceipt> {
    let text = text.trim();
    let text = text.strip_prefix(": earnest-receipt").unwrap_or(text).trim();
    let text = text.strip_prefix("x-earnest-receipt:").unwrap_or(text).trim();
    if text.starts_with('{') {
        return Ok(serde_json::from_str(text)?);
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(text)?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// Numbers of 128 bits are text in JSON.
pub(super) mod text {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(number: &u128, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(number)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(de::Error::custom)
    }
}

mod rates {
    use super::Rates;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    #[derive(Serialize, Deserialize)]
    struct Text {
        #[serde(skip_serializing_if = "Option::is_none")]
        input: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cached: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        output: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        embedding: Option<String>,
    }

    pub fn serialize<S: Serializer>(rates: &Rates, to: S) -> Result<S::Ok, S::Error> {
        let text = |price: Option<u128>| price.map(|price| price.to_string());
        Text {
            input: text(rates.input),
            cached: text(rates.cached),
            output: text(rates.output),
            embedding: text(rates.embedding),
        }
        .serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Rates, D::Error> {
        let text = Text::deserialize(from)?;
        let number =
            |text: Option<String>| text.map(|text| text.parse()).transpose().map_err(de::Error::custom);
        Ok(Rates {
            input: number(text.input)?,
            cached: number(text.cached)?,
            output: number(text.output)?,
            embedding: number(text.embedding)?,
        })
    }
}
