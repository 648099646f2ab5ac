//! The version of the price list that is in force, as the gateway charges by it.

use std::collections::BTreeMap;

use earnest_core::charge::Rates;
use earnest_core::plan::Time;
use serde::Serialize;

use super::journal::Coin;

/// Units of the price list, as the contract numbers them.
const INPUT: u8 = 0;
const CACHED: u8 = 1;
const OUTPUT: u8 = 2;
const EMBEDDING: u8 = 3;

/// One line of the price list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The model.
    pub model: String,
    /// What of it.
    pub unit: u8,
    /// In base units of the credit; 0: not sold for credits.
    pub credits: u128,
    /// In base units of cash; 0: not sold for cash.
    pub cash: u64,
}

/// A version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriceBook {
    /// Its number.
    pub version: u32,
    /// When it ends, if that is known.
    pub valid_until: Option<Time>,
    models: BTreeMap<String, [Rates; 2]>,
}

/// What `/earnest/terms` says of a model.
#[derive(Serialize)]
pub struct Listed<'a> {
    model: &'a str,
    credits: &'a Rates,
    cash: &'a Rates,
}

impl PriceBook {
    /// Out of the lines of a version.
    pub fn new(version: u32, valid_until: Option<Time>, lines: impl IntoIterator<Item = Line>) -> Self {
        let mut models: BTreeMap<String, [Rates; 2]> = BTreeMap::new();
        for line in lines {
            let rates = models.entry(line.model).or_default();
            for (rates, price) in rates.iter_mut().zip([line.credits, line.cash.into()]) {
                let place = match line.unit {
                    INPUT => &mut rates.input,
                    CACHED => &mut rates.cached,
                    OUTPUT => &mut rates.output,
                    EMBEDDING => &mut rates.embedding,
                    _ => continue, // sold by other doors
                };
                *place = (price > 0).then_some(price);
            }
        }
        PriceBook { version, valid_until, models }
    }

    /// Prices of a model in a coin; none: it is not on the list.
    pub fn rates(&self, model: &str, coin: Coin) -> Option<&Rates> {
        self.models.get(model).map(|rates| &rates[usize::from(coin == Coin::Cash)])
    }

    /// The models on it.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        self.models.keys().map(String::as_str)
    }

    /// Everything, for people and programs to read.
    pub fn listed(&self) -> Vec<Listed<'_>> {
        self.models.iter().map(|(model, [credits, cash])| Listed { model, credits, cash }).collect()
    }
}
