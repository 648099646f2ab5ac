//! What happens after the sale: the tap and its ceilings, votes, prices, providers.

use super::Check;
use crate::money::{Cash, Credits, Price};
use crate::plan::instant::{self, DAY_SECS};
use crate::plan::units::show_cash;
use crate::plan::{PriceListPlan, ProvidersPlan, VotesPlan};
use crate::price_list::{ENTRIES_MAX, MODEL_MAX, cash_price, is_model_name};

impl Check<'_, '_> {
    pub(super) fn treasury(&mut self) {
        let treasury = &self.plan.treasury;
        let deadline = self.plan.service.deadline;
        if treasury.tap_per_sec == Cash::ZERO {
            self.refuse(
                "treasury.tap",
                &[],
                "the tap releases nothing",
                "write how fast, such as \"10_000 cash per day\"",
            );
        }
        if treasury.tap_start.is_some_and(|start| start >= deadline) {
            let hint = format!(
                "before {}, or leave it out: then it starts when the service is live",
                instant::show(deadline)
            );
            self.refuse(
                "treasury.tap_start",
                &["service.deadline"],
                "not before the deadline of the service",
                hint,
            );
        }
        if treasury.ceiling_at_start > Cash::ZERO && treasury.tap_start.is_none() {
            let hint = "write tap_start, or remove this line";
            let message = "cash before the service is live, but the tap starts only then";
            self.refuse("treasury.ceiling_at_start", &["treasury.tap_start"], message, hint);
        }
        if treasury.ceiling_at_live < treasury.ceiling_at_start {
            let message = "below ceiling_at_start";
            let hint = format!("at least \"{}\"", show_cash(treasury.ceiling_at_start));
            self.refuse("treasury.ceiling_at_live", &["treasury.ceiling_at_start"], message, hint);
        }
        self.milestones();
        let highest = treasury.milestones.iter().map(|milestone| milestone.ceiling).max().unwrap_or_default();
        let hard_cap = self.plan.offering.hard_cap;
        if highest.max(treasury.ceiling_at_live) < hard_cap {
            let at = match treasury.milestones.iter().position(|milestone| milestone.ceiling == highest) {
                Some(index) if highest > treasury.ceiling_at_live => {
                    format!("treasury.milestones[{index}].ceiling")
                }
                _ => "treasury.ceiling_at_live".to_owned(),
            };
            let message =
                "the highest ceiling is below the hard cap: the rest of the cash could never be released";
            let hint = format!("let the last milestone reach \"{}\"", show_cash(hard_cap));
            self.refuse(&at, &["treasury", "offering.hard_cap"], message, hint);
        }
    }

    fn milestones(&mut self) {
        let treasury = &self.plan.treasury;
        for (index, milestone) in treasury.milestones.iter().enumerate() {
            let path = format!("treasury.milestones[{index}]");
            let ceiling = format!("{path}.ceiling");
            let (key, below) = match milestone.before_live {
                true => ("ceiling_at_start", treasury.ceiling_at_start),
                false => ("ceiling_at_live", treasury.ceiling_at_live),
            };
            if milestone.ceiling <= below {
                let message = format!("not above {key}: reaching it would change nothing");
                let from = [format!("{path}.before_live"), format!("treasury.{key}")];
                let from: Vec<&str> = from.iter().map(String::as_str).collect();
                self.refuse(&ceiling, &from, message, format!("above \"{}\"", show_cash(below)));
            }
            if milestone.before_live && treasury.tap_start.is_none() {
                let message = "may be attested before the service is live, but the tap starts only then";
                let hint = "write tap_start in [treasury], or remove this line";
                self.refuse(&format!("{path}.before_live"), &["treasury.tap_start"], message, hint);
            }
        }
    }

    pub(super) fn votes_and_prices(&mut self) {
        if let Some(votes) = &self.plan.votes {
            self.votes(votes);
        }
        if let Some(list) = &self.plan.price_list {
            self.price_list(list);
        }
        if let Some(providers) = &self.plan.providers {
            self.providers(providers);
        }
    }

    fn votes(&mut self, votes: &VotesPlan) {
        for (key, part) in [("threshold", votes.threshold), ("quorum", votes.quorum)] {
            if part.get() == 0 {
                self.refuse(
                    &format!("votes.{key}"),
                    &[],
                    "nobody would have to ask or come",
                    "write a part above 0%",
                );
            }
        }
        if votes.majority.get() <= 5_000 {
            let hint = "more than half, such as \"66.67%\"";
            self.refuse("votes.majority", &[], "both sides could win", hint);
        }
        for (key, secs) in [("voting", votes.voting_secs), ("exit", votes.exit_secs)] {
            if u64::from(secs) < DAY_SECS {
                self.refuse(&format!("votes.{key}"), &[], "too short", "at least \"1 day\"");
            }
        }
    }

    fn price_list(&mut self, list: &PriceListPlan) {
        if u64::from(list.notice_secs) < DAY_SECS {
            self.refuse("price_list.notice", &[], "too short", "at least \"1 day\" before any rise");
        }
        if list.models.is_empty() {
            self.refuse("price_list.models", &[], "empty", "write [[price_list.models]] at least once");
        }
        for (index, model) in list.models.iter().enumerate() {
            let path = format!("price_list.models[{index}]");
            let prices = model.prices();
            if !is_model_name(&model.name) {
                self.refuse(
                    &format!("{path}.name"),
                    &[],
                    "no name that requests could carry",
                    format!("1 to {MODEL_MAX} letters, digits and signs of ASCII, without spaces"),
                );
            }
            if prices.iter().all(|(_, price)| price.is_none()) {
                self.refuse(
                    &path,
                    &[],
                    "has no price",
                    "write at least one, such as output = \"2 credits per million\"",
                );
            }
            for (unit, _) in prices.iter().filter(|(_, price)| *price == Some(Credits::ZERO)) {
                self.refuse(
                    &format!("{path}.{}", unit.key()),
                    &[],
                    "free service",
                    "write a price above zero, or leave it out",
                );
            }
        }
        let prices = list.models.iter().flat_map(|model| model.prices()).filter_map(|(_, price)| price);
        let count = prices.clone().count();
        if count > ENTRIES_MAX {
            let hint = format!("at most {ENTRIES_MAX} in all");
            self.refuse("price_list.models", &[], format!("there are {count} prices"), hint);
        }
        if let Some(rate) = list.cash {
            if rate == Price::default() {
                let hint = "write a price above zero, or leave it out: then service is not sold for cash";
                self.refuse("price_list.cash", &[], "free service", hint);
            } else if prices.clone().any(|price| cash_price(price, rate).is_none()) {
                let message = "a price in cash would be larger than there can be";
                self.refuse("price_list.cash", &["price_list.models"], message, "lower it");
            }
        }
        let Some(covenant) = &list.covenant else { return };
        if let Some(name) = &covenant.model {
            let named = list.models.iter().find(|model| model.name == *name);
            match named.map(|model| model.output) {
                None => self.refuse(
                    "price_list.covenant.model",
                    &["price_list.models"],
                    "no model of the list has this name",
                    "name one, or leave it out: then it is the cheapest by output",
                ),
                Some(output) if output.is_none_or(|price| price > covenant.output) => self.refuse(
                    "price_list.covenant.model",
                    &["price_list.models", "price_list.covenant.output"],
                    "this model is not offered at or below the covenant's price",
                    "name one that is",
                ),
                Some(_) => {}
            }
        }
        if covenant.output == Credits::ZERO {
            self.refuse("price_list.covenant.output", &[], "the price is zero", "write a price above zero");
        } else if covenant.model.is_none()
            && !list.models.iter().any(|model| model.output.is_some_and(|price| price <= covenant.output))
        {
            let message = "no model of the list is offered at or below this price";
            let hint = "raise it, or offer such a model";
            self.refuse("price_list.covenant.output", &["price_list.models"], message, hint);
        }
    }

    fn providers(&mut self, providers: &ProvidersPlan) {
        if providers.share.get() == 0 {
            self.refuse("providers.share", &[], "providers would work for nothing", "write a part above 0%");
        }
        if providers.held_back.get() == 10_000 {
            self.refuse("providers.held_back", &[], "all of the pay", "write a part below 100%");
        }
        if providers.min_stake == Credits::ZERO {
            self.refuse(
                "providers.min_stake",
                &[],
                "a provider with nothing to lose",
                "write a stake above zero",
            );
        }
        if providers.epoch_secs < 3_600 {
            self.refuse("providers.epoch", &[], "too short", "at least \"1 hour\"");
        }
        if providers.thawing_secs < providers.epoch_secs {
            let message = "shorter than an epoch: a stake could leave before its work is judged";
            self.refuse("providers.thawing", &["providers.epoch"], message, "at least as long as epoch");
        }
    }
}
