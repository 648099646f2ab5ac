//! What a contract means by the bytes it reverts with.

use alloy_sol_types::{Panic, Revert, SolError, SolInterface};

use crate::bindings::{Channels, Credit, DepositCollector, Offering, PriceList, Revenue, Treasury, Vault};

/// The error in words: its name and values.
pub fn describe(data: &[u8]) -> String {
    if let Ok(Revert { reason }) = Revert::abi_decode(data) {
        return reason;
    }
    if let Ok(panic) = Panic::abi_decode(data) {
        return panic.to_string();
    }
    let debug = Offering::OfferingErrors::abi_decode(data)
        .map(|error| format!("{error:?}"))
        .or_else(|_| Treasury::TreasuryErrors::abi_decode(data).map(|error| format!("{error:?}")))
        .or_else(|_| Credit::CreditErrors::abi_decode(data).map(|error| format!("{error:?}")))
        .or_else(|_| Vault::VaultErrors::abi_decode(data).map(|error| format!("{error:?}")))
        .or_else(|_| Channels::ChannelsErrors::abi_decode(data).map(|error| format!("{error:?}")))
        .or_else(|_| Revenue::RevenueErrors::abi_decode(data).map(|error| format!("{error:?}")))
        .or_else(|_| PriceList::PriceListErrors::abi_decode(data).map(|error| format!("{error:?}")))
        .or_else(|_| {
            DepositCollector::DepositCollectorErrors::abi_decode(data).map(|error| format!("{error:?}"))
        });
    match debug {
        // "NotOpen(NotOpen { round: 0, … })" says its name twice.
        Ok(text) => {
            let inner = text.split_once('(').map_or(text.as_str(), |(_, inner)| inner);
            inner.strip_suffix(')').unwrap_or(inner).to_string()
        }
        Err(_) if data.is_empty() => "without a reason".into(),
        Err(_) => format!("unknown error {}", alloy_primitives::hex::encode_prefixed(data)),
    }
}

/// The name alone; `None` where it is not one of ours.
pub fn name(data: &[u8]) -> Option<String> {
    let text = describe(data);
    let name: String = text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    (!text.starts_with("unknown") && !text.starts_with("without")).then_some(name)
}
