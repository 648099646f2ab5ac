//! Small things about how values are shown and read on the command line.

use anyhow::Result;
use earnest_chain::chain::Receipt;
use earnest_core::bid::BidId;
use earnest_core::money::{Bps, Cash, Price};
use serde::Serialize;

/// Thousands set apart by commas, decimals left alone.
pub fn grouped(number: &str) -> String {
    let (whole, part) = number.split_once('.').map_or((number, None), |(whole, part)| (whole, Some(part)));
    let mut out = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    part.map_or(out.clone(), |part| format!("{out}.{part}"))
}

/// A transaction that went through.
#[derive(Serialize)]
pub struct Done {
    block: u64,
    gas_used: u64,
}

impl Done {
    /// Of a receipt.
    pub fn of(receipt: &Receipt) -> Self {
        Done { block: receipt.block, gas_used: receipt.gas_used }
    }

    /// In words on stderr, or as JSON on stdout.
    pub fn print(&self, json: bool) -> Result<()> {
        if json {
            println!("{}", serde_json::to_string(self)?);
        } else {
            eprintln!("done in block {}, {} gas", self.block, grouped(&self.gas_used.to_string()));
        }
        Ok(())
    }
}

/// `250.5 cash`
pub fn cash(text: &str) -> Result<Cash, String> {
    let amount =
        text.strip_suffix("cash").map(str::trim_end).ok_or("an amount such as \"250.5 cash\" is expected")?;
    Cash::parse(amount).ok_or_else(|| format!("{amount:?} is not a plain decimal with at most six places"))
}

/// `0.75 cash per credit`
pub fn price(text: &str) -> Result<Price, String> {
    let amount = text.strip_suffix("cash per credit").map(str::trim_end);
    let amount = amount.ok_or("a price such as \"0.75 cash per credit\" is expected")?;
    Price::parse(amount)
        .ok_or_else(|| format!("{amount:?} is not a plain decimal with at most twelve places"))
}

/// `7.5%`
pub fn percent(text: &str) -> Result<Bps, String> {
    let expected = "a part such as \"80%\" or \"7.5%\" is expected, to two places and at most 100%";
    let number = text.strip_suffix('%').map(str::trim_end).and_then(Cash::parse).ok_or(expected)?;
    // Cash has six decimals, so a hundredth of a percent is ten thousand of its units.
    let fits = number.units().is_multiple_of(10_000);
    let bps = u16::try_from(number.units() / 10_000).ok().filter(|_| fits);
    bps.and_then(Bps::new).ok_or_else(|| expected.into())
}

/// `3 days`, `2 hours`, `90 seconds`
pub fn seconds(text: &str) -> Result<u64, String> {
    let expected = "a length such as \"3 days\", \"2 hours\" or \"90 seconds\" is expected";
    let (number, unit) = text.split_once(' ').ok_or(expected)?;
    let unit = match unit.trim_end_matches('s') {
        "day" => 86_400,
        "hour" => 3_600,
        "minute" => 60,
        "second" => 1,
        _ => return Err(expected.into()),
    };
    let number: u64 = number.parse().map_err(|_| expected)?;
    number
        .checked_mul(unit)
        .filter(|&secs| secs < 1 << 36)
        .ok_or_else(|| "that is longer than any plan".into())
}

/// `round/entity` or `round/window/entity`
pub fn bid_id(text: &str) -> Result<BidId, String> {
    let expected = "round/entity, or round/window/entity, is expected, in numbers";
    let parts: Vec<&str> = text.split('/').collect();
    let (round, window, entity) = match parts.as_slice() {
        [round, entity] => (round, &"0", entity),
        [round, window, entity] => (round, window, entity),
        _ => return Err(expected.into()),
    };
    Ok(BidId {
        round: round.parse().map_err(|_| expected)?,
        window: window.parse().map_err(|_| expected)?,
        entity: entity.parse().map_err(|_| expected)?,
    })
}
