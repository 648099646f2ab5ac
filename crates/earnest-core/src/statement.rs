//! How what the service earned is split: numbered cumulative statements of each coin, out of which providers are paid
//! and the rest is burned or goes to the issuer (PAY-1).

use alloy_primitives::Address;

use crate::money::Bps;

/// What the contract's constructor is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevenueSetup {
    /// Rotates the roles; gets the rest of cash.
    pub issuer: Address,
    /// Has every role at first.
    pub gateway: Address,
    /// Most of what is settled that may go to providers.
    pub share: Bps,
}
