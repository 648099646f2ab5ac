//! How transactions go to a real node: confirmations, and what may be paid for gas.

use std::time::Duration;

use clap::Args;
use earnest_chain::rpc::sender::{GWEI, Sending as Settings};

/// Beside `--state` on every command. The embedded chain has no use for them.
#[derive(Args, Clone)]
#[command(next_help_heading = "Transactions on a real node")]
pub struct Sending {
    /// Blocks that must have a transaction under them, its own included, before it counts.
    #[arg(long, value_name = "N", env = "EARNEST_CONFIRMATIONS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    confirmations: u64,
    /// The most to offer for a gas, such as 40 or 0.25.
    #[arg(long, value_name = "GWEI", env = "EARNEST_MAX_FEE_GWEI", default_value = "500", value_parser = wei)]
    max_fee_gwei: u128,
    /// Offer more where a transaction is in no block for so long.
    #[arg(long, value_name = "SECONDS", env = "EARNEST_BUMP_SECS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    bump_secs: u64,
    /// Give up where it is in no block for so long.
    #[arg(long, value_name = "SECONDS", env = "EARNEST_PATIENCE_SECS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    patience_secs: u64,
}

impl Sending {
    /// As the sender takes them.
    pub fn settings(&self) -> Settings {
        Settings {
            confirmations: self.confirmations,
            most: self.max_fee_gwei,
            bump_after: Duration::from_secs(self.bump_secs),
            patience: Duration::from_secs(self.patience_secs),
        }
    }
}

/// A plain decimal of gwei, in wei.
fn wei(text: &str) -> Result<u128, String> {
    let expected = "a plain decimal with at most nine places, such as 40 or 0.25, is expected";
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let plain = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !plain(whole) || !plain(part) || whole.len() > 12 || part.len() > 9 {
        return Err(expected.into());
    }
    let whole: u128 = whole.parse().map_err(|_| expected)?;
    let part: u128 = format!("{part:0<9}").parse().map_err(|_| expected)?;
    Ok(whole * GWEI + part)
}
