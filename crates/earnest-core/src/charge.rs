//! What a request costs: metered usage times the rates of one version of the price list, in one coin. A charge is
//! rounded up once, over the sum, and is at least one base unit; a reserve is the charge of the most that may be used.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Model tokens that a unit price is for.
pub const PER: u128 = 1_000_000;

/// What a model read and wrote, in model tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Read, those from cache included.
    pub input: u64,
    /// Of those, read from cache.
    #[serde(default)]
    pub cached: u64,
    /// Written.
    pub output: u64,
}

/// What is sold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// A model reads and writes.
    Text,
    /// A model turns text into vectors.
    Embedding,
}

/// Prices of one model in base units of one coin per million model tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    /// Read.
    pub input: Option<u128>,
    /// Read from cache; none: as read.
    pub cached: Option<u128>,
    /// Written.
    pub output: Option<u128>,
    /// Embedded.
    pub embedding: Option<u128>,
}

/// A request that has no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoPrice {
    /// The list does not sell that.
    #[error("the price list does not sell {0:?} of this model")]
    NotSold(Service),
    /// The number is too large for any coin.
    #[error("the charge does not fit 128 bits")]
    TooMuch,
}

impl Usage {
    /// Cut down to what can have been used: a provider's word is taken up to there.
    pub fn at_most(self, most: Usage) -> Usage {
        let input = self.input.min(most.input);
        // What was cut away cannot have been cached.
        Usage { input, cached: self.cached.min(input), output: self.output.min(most.output) }
    }
}

impl Rates {
    /// Whether that is for sale.
    pub fn sell(&self, service: Service) -> bool {
        match service {
            Service::Text => self.input.is_some() && self.output.is_some(),
            Service::Embedding => self.embedding.is_some(),
        }
    }

    /// `max(1, ceil(Σ model tokens × price ÷ 10⁶))`.
    pub fn charge(&self, service: Service, usage: Usage) -> Result<u128, NoPrice> {
        let not_sold = NoPrice::NotSold(service);
        let parts = match service {
            Service::Text => {
                let input = self.input.ok_or(not_sold)?;
                let cached = usage.cached.min(usage.input);
                [
                    (usage.input - cached, input),
                    (cached, self.cached.unwrap_or(input)),
                    (usage.output, self.output.ok_or(not_sold)?),
                ]
            }
            Service::Embedding => [(usage.input, self.embedding.ok_or(not_sold)?), (0, 0), (0, 0)],
        };
        let sum = parts
            .iter()
            .try_fold(0u128, |sum, &(tokens, price)| sum.checked_add(u128::from(tokens).checked_mul(price)?));
        Ok(sum.ok_or(NoPrice::TooMuch)?.div_ceil(PER).max(1))
    }
}

/// A provider's pay for a request it asked `ask` basis points of the charge for, rounded down.
pub fn pay(charge: u128, ask_bps: u16) -> u128 {
    let ask = u128::from(ask_bps.min(10_000));
    charge / 10_000 * ask + charge % 10_000 * ask / 10_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: Rates =
        Rates { input: Some(400_000), cached: Some(100_000), output: Some(1_600_000), embedding: None };

    #[test]
    fn a_charge_is_rounded_up_once_and_is_never_nothing() {
        let charge = |input, cached, output| RATES.charge(Service::Text, Usage { input, cached, output });
        assert_eq!(charge(0, 0, 0), Ok(1));
        assert_eq!(charge(1, 0, 0), Ok(1)); // 0.4
        assert_eq!(charge(3, 1, 1), Ok(3)); // 0.8 + 0.1 + 1.6 = 2.5
        assert_eq!(charge(10, 10, 0), Ok(1));
        assert_eq!(charge(1_000_000, 0, 1_000_000), Ok(2_000_000));
        assert_eq!(charge(1, 5, 0), Ok(1), "no more is cached than was read");
        let dear = Rates { input: Some(u128::MAX), output: Some(0), ..Rates::default() };
        assert_eq!(dear.charge(Service::Text, Usage { input: 2, ..Usage::default() }), Err(NoPrice::TooMuch));
        assert_eq!(
            RATES.charge(Service::Embedding, Usage::default()),
            Err(NoPrice::NotSold(Service::Embedding))
        );
    }

    #[test]
    fn pay_is_rounded_down_and_never_overflows() {
        assert_eq!(pay(9_999, 8_000), 7_999);
        assert_eq!(pay(u128::MAX, 10_000), u128::MAX);
        assert_eq!(pay(100, 20_000), 100);
        for charge in 0..30_000u128 {
            assert_eq!(pay(charge, 7_777), charge * 7_777 / 10_000);
        }
    }
}
