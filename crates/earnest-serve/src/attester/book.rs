//! Who was given what: read back from the log, asked before every permit. Pure rules over plain data; the clock, the
//! chain and the disk are elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;
use earnest_chain::permit::Approval;
use earnest_core::money::{CASH_MAX, Cash};
use earnest_core::plan::{Plan, Time};

use super::log::Grant;
use super::refusal::Refusal;
use super::rules::{Admission, Rules, misfit};

/// Who was given what.
#[derive(Debug, Default)]
pub struct Book {
    /// A wallet belongs to one entity.
    entities: BTreeMap<Address, u64>,
    /// Wallets of an entity in a round.
    seats: BTreeMap<(u64, u8), BTreeSet<Address>>,
    /// When an entity was first approved under a regime: its waiting time runs from then, however often it asks.
    since: BTreeMap<(String, u64), Time>,
    highest: u64,
}

/// A yes, ready to be signed.
#[derive(Debug)]
pub struct Yes {
    /// What the permit shall say.
    pub approval: Approval,
    /// When its waiting time began.
    pub since: Time,
}

impl Book {
    /// Takes in a permit that was given.
    pub fn take(&mut self, plan: &Plan, grant: &Grant) {
        self.entities.insert(grant.wallet, grant.entity);
        self.seats.entry((grant.entity, grant.round)).or_default().insert(grant.wallet);
        let wait = plan.regime(&grant.regime).map_or(0, |(_, regime)| u64::from(regime.wait_hours) * 3_600);
        let since = grant.not_before.saturating_sub(wait);
        self.since.entry((grant.regime.clone(), grant.entity)).or_insert(since);
        self.highest = self.highest.max(grant.entity);
    }

    /// The number of a wallet that was given a permit.
    pub fn entity_of(&self, wallet: Address) -> Option<u64> {
        self.entities.get(&wallet).copied()
    }

    /// What may be signed for a wallet that was admitted, in a round that closes at `close`.
    pub fn decide(
        &self,
        plan: &Plan,
        rules: &Rules,
        admission: &Admission,
        (wallet, round): (Address, u8),
        (now, close): (Time, Time),
    ) -> Result<Yes, Refusal> {
        let sale = &plan.rounds[usize::from(round)];
        let named = || sale.name.clone();
        if admission.rounds.as_ref().is_some_and(|rounds| !rounds.contains(&round)) {
            return Err(Refusal::OtherRounds(named()));
        }
        if let Some(ended) = admission.expires.filter(|expires| *expires <= now) {
            return Err(Refusal::Ended(ended));
        }
        if now >= close {
            return Err(Refusal::Closed { round: named(), at: close });
        }
        let entity = self.number(rules, admission, wallet)?;
        let seats = self.seats.get(&(entity, round));
        if !admission.several_wallets && seats.is_some_and(|seats| !seats.contains(&wallet)) {
            return Err(Refusal::OtherWallet(named()));
        }
        let name = admission.regime.as_ref().unwrap_or(&sale.regimes[0]);
        let offered = plan.regime(name).filter(|_| sale.regimes.contains(name));
        let Some((_, regime)) = offered else {
            let offers = sale.regimes.join(", ");
            return Err(Refusal::Unfit(format!(
                "round {} sells under {offers}, and not under {name}",
                sale.name
            )));
        };
        if let Some(why) = admission.jurisdiction.as_ref().and_then(|code| misfit(plan, name, code)) {
            return Err(Refusal::Unfit(why));
        }
        let known = self.since.get(&(name.clone(), entity));
        if let (Some(most), None) = (regime.max_buyers, known) {
            // Who was approved may buy, so that approvals are counted, not bids.
            let buyers = self.since.keys().filter(|(of, _)| of == name).count();
            if buyers >= usize::try_from(most).unwrap_or(usize::MAX) {
                return Err(Refusal::Full { regime: name.clone(), most });
            }
        }
        let least_of = |a: Option<Cash>, b: Option<Cash>| a.into_iter().chain(b).min();
        let max_total = least_of(admission.max_total, regime.max_entity);
        let max = least_of(least_of(admission.max_cash, sale.max_bid), max_total);
        if let Some(most) = max.filter(|most| *most < sale.min_bid) {
            return Err(Refusal::TooLittle { round: named(), least: sale.min_bid, most });
        }
        let since = known.copied().unwrap_or(now);
        let end = admission.expires.unwrap_or(Time::MAX).min(now + rules.permit_valid_secs);
        let approval = Approval {
            entity,
            regime: Some(name.clone()),
            min: None,
            max: max.or(Some(Cash::from_units(CASH_MAX))),
            max_total,
            jurisdiction: admission.jurisdiction.clone(),
            affiliate: admission.affiliate,
            valid_secs: end - now,
        };
        Ok(Yes { approval, since })
    }

    /// The buyer's number, which no other buyer has.
    fn number(&self, rules: &Rules, admission: &Admission, wallet: Address) -> Result<u64, Refusal> {
        match (admission.entity, self.entity_of(wallet)) {
            (Some(number), Some(known)) if number != known => Err(Refusal::OtherEntity),
            (Some(number), _) => Ok(number),
            // Numbers that the file has since given to others stay theirs.
            (None, Some(known)) if rules.names(known) => Err(Refusal::OtherEntity),
            (None, Some(known)) => Ok(known),
            (None, None) => Ok(rules.first_number.max(self.highest.saturating_add(1))),
        }
    }
}
