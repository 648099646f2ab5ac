//! A statement as the gateway publishes it: the chain has its hash and root.

use alloy_primitives::{Address, B256};
use earnest_core::statement::{Tree, leaf};
use serde::{Deserialize, Serialize};

use super::journal::Coin;

/// What a statement says, as providers and auditors read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Of which coin.
    pub coin: Coin,
    /// Its number, from 1.
    pub number: u32,
    /// All that was settled so far, in base units.
    #[serde(with = "super::receipt::text")]
    pub settled: u128,
    /// Of that, for providers.
    #[serde(with = "super::receipt::text")]
    pub pay: u128,
    /// Merkle root of `providers`.
    pub root: B256,
    /// What each has earned so far.
    pub providers: Vec<Earned>,
    /// What each channel has paid so far.
    pub channels: Vec<Paid>,
}

/// A leaf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earned {
    /// Operator key.
    pub provider: Address,
    /// In base units, since the beginning.
    #[serde(with = "super::receipt::text")]
    pub cumulative: u128,
}

impl Earned {
    /// As the tree has it.
    pub fn leaf(&self) -> B256 {
        leaf(self.provider, self.cumulative)
    }
}

/// A channel's part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paid {
    /// Its id.
    pub channel: B256,
    /// In base units, since the beginning.
    #[serde(with = "super::receipt::text")]
    pub claimed: u128,
}

impl Document {
    /// The tree over its providers.
    pub fn tree(&self) -> Tree {
        Tree::new(self.providers.iter().map(Earned::leaf).collect())
    }
}
