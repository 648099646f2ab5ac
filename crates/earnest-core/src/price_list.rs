//! A plan's price list as it is deployed: one entry for every price, in both coins, and the model that keeps the
//! covenant. What was published since is the contract's to say.

use alloy_primitives::{Address, U256};
use serde::Serialize;

use crate::money::{Credits, PRICE_SCALE, Price};
use crate::plan::{ModelPrice, Plan, PriceListPlan};

/// Most entries of a version: what a transaction can carry.
pub const ENTRIES_MAX: usize = 96;
/// Most bytes of a model's name.
pub const MODEL_MAX: usize = 64;

/// What a price is for. The numbers are the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A million model tokens read.
    Input,
    /// A million model tokens read from cache.
    Cached,
    /// A million model tokens written.
    Output,
    /// A million model tokens embedded.
    Embedding,
    /// An image.
    Image,
    /// A second of audio.
    AudioSecond,
    /// A second of compute.
    ComputeSecond,
}

impl Unit {
    /// In the order of their numbers.
    pub const ALL: [Unit; 7] = [
        Unit::Input,
        Unit::Cached,
        Unit::Output,
        Unit::Embedding,
        Unit::Image,
        Unit::AudioSecond,
        Unit::ComputeSecond,
    ];

    /// Its number in the contract.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The unit of a number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Its key in the plan.
    pub fn key(self) -> &'static str {
        match self {
            Unit::Input => "input",
            Unit::Cached => "cached",
            Unit::Output => "output",
            Unit::Embedding => "embedding",
            Unit::Image => "image",
            Unit::AudioSecond => "audio_second",
            Unit::ComputeSecond => "compute_second",
        }
    }
}

/// A price of one unit of one model, in base units of each coin; zero: not sold for that coin.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the type says it")]
pub struct Entry {
    pub model: String,
    pub unit: Unit,
    pub credits: u128,
    pub cash: u64,
}

/// What the contract's constructor is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceListSetup {
    /// Publishes versions.
    pub issuer: Address,
    /// Between publishing a rise and its effect.
    pub notice_secs: u32,
    /// Name of the covenant's tier; empty: there is none.
    pub tier: String,
    /// Most credits for a million model tokens written by the model that meets it, in base units.
    pub tier_output: u128,
    /// That model.
    pub tier_model: String,
    /// The first version.
    pub entries: Vec<Entry>,
}

impl PriceListSetup {
    /// As a checked plan says; none where it has no price list.
    pub fn from_plan(plan: &Plan, issuer: Address) -> Option<Self> {
        let list = plan.price_list.as_ref()?;
        let covenant = list.covenant.as_ref();
        Some(PriceListSetup {
            issuer,
            notice_secs: list.notice_secs,
            tier: covenant.map_or(String::new(), |covenant| covenant.tier.clone()),
            tier_output: covenant.map_or(0, |covenant| covenant.output.units()),
            tier_model: list.tier_model().unwrap_or_default().to_owned(),
            entries: list.entries(),
        })
    }
}

impl PriceListPlan {
    /// One entry for every price of a checked plan, in its order.
    pub fn entries(&self) -> Vec<Entry> {
        let entries = self.models.iter().flat_map(|model| {
            let prices = model.prices().into_iter().filter_map(|(unit, price)| Some((unit, price?)));
            prices.map(|(unit, price)| {
                let cash = self.cash.map(|rate| cash_price(price, rate).expect("a checked price"));
                Entry { model: model.name.clone(), unit, credits: price.units(), cash: cash.unwrap_or(0) }
            })
        });
        entries.collect()
    }

    /// The model that meets the covenant: the one it names, or the cheapest by output, the first of those.
    pub fn tier_model(&self) -> Option<&str> {
        let covenant = self.covenant.as_ref()?;
        let cheapest = || {
            let priced = self.models.iter().filter(|model| model.output.is_some());
            priced.min_by_key(|model| model.output).map(|model| model.name.as_str())
        };
        covenant.model.as_deref().or_else(cheapest)
    }
}

impl ModelPrice {
    /// Its price for each unit.
    pub fn prices(&self) -> [(Unit, Option<Credits>); 7] {
        Unit::ALL.map(|unit| {
            let price = match unit {
                Unit::Input => self.input,
                Unit::Cached => self.cached,
                Unit::Output => self.output,
                Unit::Embedding => self.embedding,
                Unit::Image => self.image,
                Unit::AudioSecond => self.audio_second,
                Unit::ComputeSecond => self.compute_second,
            };
            (unit, price)
        })
    }
}

/// A price in cash, rounded up to a base unit. `None` where it does not fit.
pub(crate) fn cash_price(price: Credits, rate: Price) -> Option<u64> {
    let exact = U256::from(price.units()) * U256::from(rate.units());
    u64::try_from(exact.div_ceil(U256::from(PRICE_SCALE))).ok()
}

/// Whether the contract takes a model's name: printable ASCII without spaces, not longer than [`MODEL_MAX`].
pub fn is_model_name(name: &str) -> bool {
    (1..=MODEL_MAX).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Covenant;

    fn model(name: &str, output: &str, input: Option<&str>) -> ModelPrice {
        ModelPrice {
            name: name.into(),
            input: input.and_then(Credits::parse),
            cached: None,
            output: Credits::parse(output),
            embedding: None,
            image: None,
            audio_second: None,
            compute_second: None,
        }
    }

    fn list(rate: &str) -> PriceListPlan {
        PriceListPlan {
            notice_secs: 86_400,
            cash: Price::parse(rate),
            models: vec![model("large", "20", None), model("small", "2", Some("0.000000000000000001"))],
            covenant: Some(Covenant {
                tier: "small".into(),
                benchmark: "any".into(),
                output: Credits::parse("30").unwrap(),
                model: None,
            }),
        }
    }

    #[test]
    fn a_price_in_cash_is_the_price_in_credits_times_the_rate_rounded_up() {
        let entries = list("0.8").entries();
        let cash: Vec<_> =
            entries.iter().map(|entry| (entry.model.as_str(), entry.unit, entry.cash)).collect();
        let expected = [
            ("large", Unit::Output, 16_000_000),
            ("small", Unit::Input, 1),
            ("small", Unit::Output, 1_600_000),
        ];
        assert_eq!(cash, expected);
        let unsold = PriceListPlan { cash: None, ..list("1") };
        assert!(unsold.entries().iter().all(|entry| entry.cash == 0));
        assert_eq!(cash_price(Credits::from_units(u128::MAX), Price::from_units(u64::MAX)), None);
    }

    #[test]
    fn the_covenant_is_met_by_the_model_it_names_or_the_cheapest() {
        let mut list = list("1");
        assert_eq!(list.tier_model(), Some("small"));
        list.covenant.as_mut().unwrap().model = Some("large".into());
        assert_eq!(list.tier_model(), Some("large"));
        list.covenant = None;
        assert_eq!(list.tier_model(), None);
    }

    #[test]
    fn units_have_the_contracts_numbers() {
        for (number, unit) in (0..).zip(Unit::ALL) {
            assert_eq!((unit.number(), Unit::from_number(number)), (number, Some(unit)));
        }
        assert_eq!(Unit::from_number(7), None);
    }
}
