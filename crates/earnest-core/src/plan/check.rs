//! The rules across keys of a plan. A fault means that the plan cannot run as it is written: a round that cannot
//! clear, cash that could never be released or returned, a role that would watch over itself. Every fault stands
//! at the key it is about, and nothing is concluded from a key that could not be read.

mod buyers;
mod rounds;
mod treasury;

use std::collections::BTreeMap;

use alloy_primitives::{U256, hex};

use super::fault::{Fault, Source, Warning};
use super::instant::{self, DAY_SECS};
use super::units::{show_cash, shown};
use super::{DocumentKind, Plan, RoundKind, RoundPlan, Time};
use crate::money::{CASH_MAX, Cash, Credits, PRICE_SCALE, Price};
use crate::regime;

/// Rounds: contracts keep one class of cash for each.
pub const ROUNDS_MAX: usize = 8;
/// Schedules: four bits of a bid's slot.
pub const SCHEDULES_MAX: usize = 16;
/// Regimes.
pub const REGIMES_MAX: usize = 16;
/// Points of a schedule: one slot holds them.
pub const POINTS_MAX: usize = 5;
/// Milestones.
pub const MILESTONES_MAX: usize = 8;
/// Ticks of an auction: twelve bits of a bid's slot.
pub const TICKS_MAX: u16 = 4_096;
/// Windows of a rising round.
pub const WINDOWS_MAX: u64 = 4_000;
/// Knots of a price ladder.
pub const KNOTS_MAX: u16 = 512;
/// Largest discount, in basis points: the weight of the largest bid still fits 64 bits.
pub const DISCOUNT_MAX_BPS: u16 = 9_000;
/// Longest lock: twelve bits of days.
pub const LOCK_DAYS_MAX: u16 = 4_095;
/// Longest cooling-off.
pub const COOLING_OFF_DAYS_MAX: u8 = 30;
/// Longest the guardian may pause one round.
pub const PAUSE_SECS_MAX: u32 = 30 * 86_400;
/// Most objections of the guardian to one attestation.
pub const OBJECTIONS_MAX: u8 = 3;
/// Time to clear and settle after the last round, before the soft cap is looked at.
pub const SETTLING_SECS: u64 = 7 * DAY_SECS;

/// SHA-256 of an empty file, which the plan that `earnest init` writes stands on until documents exist.
const EMPTY_SHA256: [u8; 32] = hex!("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");

impl RoundPlan {
    /// The most cash this round can take, before discounts, which only lower it: a fixed price `ceil(S·p)`, an
    /// auction `ceil(S·p_top)`, a rising price the cap or all its windows full. `None` beyond 60 bits, or where a
    /// ladder is too long.
    pub fn most_cash(&self) -> Option<Cash> {
        let units = match &self.kind {
            RoundKind::Fixed(fixed) | RoundKind::Private(fixed) => cost_ceil(fixed.supply, fixed.price),
            RoundKind::Auction(auction) if auction.ticks > TICKS_MAX => return None,
            RoundKind::Auction(auction) => {
                cost_ceil(auction.supply, auction.price(auction.ticks.checked_sub(1)?)?)
            }
            RoundKind::Rising(rising) => {
                let windows = if self.close > self.open { self.windows() } else { 0 };
                U256::from(rising.cap.units())
                    .min(U256::from(windows) * U256::from(rising.window_cap.units()))
            }
        };
        u64::try_from(units).ok().filter(|&units| units <= CASH_MAX).map(Cash::from_units)
    }
}

impl Plan {
    /// When a round can be cleared: at its close, or after the longest cooling-off of its regimes and one day
    /// more (withdrawals are counted by the day).
    pub fn clearing(&self, round: &RoundPlan) -> Time {
        match self.cooling_off_days(round) {
            0 => round.close,
            days => round.close + (u64::from(days) + 1) * DAY_SECS,
        }
    }

    /// When a round can be cleared if the guardian pauses it for as long as the plan allows.
    pub fn latest_clearing(&self, round: &RoundPlan) -> Time {
        self.clearing(round) + u64::from(self.offering.pause_limit_secs)
    }
}

/// What is wrong with a plan across its keys.
pub(super) fn check(plan: &Plan, source: &Source<'_>) -> Vec<Fault> {
    let mut check = Check { plan, source, faults: Vec::new() };
    check.offering();
    check.documents();
    check.roles();
    check.service();
    check.names();
    check.schedules();
    check.regimes();
    check.rounds();
    check.treasury();
    check.votes_and_prices();
    check.faults
}

/// What a reader of a valid plan should know.
pub(super) fn warnings(plan: &Plan, source: &Source<'_>) -> Vec<Warning> {
    let plain = |path: String, message: &str| Warning {
        place: source.place(&path),
        message: message.to_owned(),
        rule: None,
        parameter: None,
    };
    let mut warnings = Vec::new();
    for (index, document) in plan.documents.iter().enumerate() {
        if document.sha256 == EMPTY_SHA256 {
            let message = "this is the hash of an empty file: put the document's own in its place";
            warnings.push(plain(format!("documents[{index}].sha256"), message));
        }
    }
    for (list, unused) in unused(plan) {
        for index in unused {
            warnings.push(plain(format!("{list}[{index}]"), "no round names it"));
        }
    }
    warnings.extend(regime::review(plan).into_iter().map(|concern| Warning {
        place: source.place(&concern.path),
        message: concern.message,
        rule: Some(concern.rule),
        parameter: Some(concern.parameter),
    }));
    warnings.sort_by(|a, b| a.place.cmp(&b.place));
    warnings
}

struct Check<'p, 's> {
    plan: &'p Plan,
    source: &'p Source<'s>,
    faults: Vec<Fault>,
}

impl Check<'_, '_> {
    /// Notes a fault at a key, unless that key or one of those it was concluded from could not be read.
    fn refuse(&mut self, at: &str, from: &[&str], message: impl Into<String>, hint: impl Into<String>) {
        if self.source.is_read(at) && from.iter().all(|path| self.source.is_read(path)) {
            let concluded_from = from.iter().map(|&path| path.to_owned()).collect();
            let (place, message, hint) = (self.source.place(at), message.into(), hint.into());
            self.faults.push(Fault { place, message, hint, concluded_from });
        }
    }

    fn offering(&mut self) {
        let offering = &self.plan.offering;
        if offering.hard_cap == Cash::ZERO {
            self.refuse(
                "offering.hard_cap",
                &[],
                "nothing could be raised",
                "write the most the rounds may take",
            );
        }
        if offering.soft_cap > offering.hard_cap {
            let message = format!("above the hard cap of {}", show_cash(offering.hard_cap));
            self.refuse(
                "offering.soft_cap",
                &["offering.hard_cap"],
                message,
                "a soft cap is the least to be raised",
            );
        }
        if offering.pause_limit_secs > PAUSE_SECS_MAX {
            self.refuse(
                "offering.pause_limit",
                &[],
                "the guardian may not pause for longer",
                "at most \"30 days\"",
            );
        }
        self.most_cash_of_rounds();
        match (offering.soft_cap, offering.soft_cap_date) {
            (Cash::ZERO, Some(_)) => {
                let hint = "write soft_cap, or remove this line";
                self.refuse("offering.soft_cap_date", &["offering.soft_cap"], "there is no soft cap", hint);
            }
            (Cash::ZERO, None) => {}
            (_, None) => {
                let hint = "write soft_cap_date = the day everything goes back if the soft cap was missed";
                self.refuse(
                    "offering.soft_cap",
                    &["offering.soft_cap_date"],
                    "no date for the soft cap",
                    hint,
                );
            }
            (_, Some(date)) => self.soft_cap_date(date),
        }
    }

    fn soft_cap_date(&mut self, soft_cap_date: Time) {
        let Some((round, cleared)) = self.last_cleared() else { return };
        let earliest = cleared + SETTLING_SECS;
        if soft_cap_date < earliest {
            let message = format!(
                "too early: round `{}` can clear as late as {}, and bids need 7 days to settle",
                shown(round),
                instant::show(cleared)
            );
            let from = ["rounds", "regimes", "offering.pause_limit"];
            self.refuse(
                "offering.soft_cap_date",
                &from,
                message,
                format!("at the earliest {}", instant::show(earliest)),
            );
        }
    }

    /// The round that clears last, and when at the latest.
    fn last_cleared(&self) -> Option<(&str, Time)> {
        let cleared = |round: &RoundPlan| self.plan.latest_clearing(round);
        let last = self.plan.rounds.iter().max_by_key(|round| cleared(round))?;
        Some((&last.name, cleared(last)))
    }

    fn most_cash_of_rounds(&mut self) {
        let rounds = &self.plan.rounds;
        let Some(each) = rounds.iter().map(RoundPlan::most_cash).collect::<Option<Vec<Cash>>>() else {
            return;
        };
        let most: u128 = each.iter().map(|cash| u128::from(cash.units())).sum();
        if most <= u128::from(self.plan.offering.hard_cap.units()) {
            return;
        }
        let parts: Vec<String> = rounds
            .iter()
            .zip(&each)
            .map(|(round, cash)| format!("`{}` {}", shown(&round.name), show_cash(*cash)))
            .collect();
        let hint = match u64::try_from(most) {
            Ok(units) if units <= CASH_MAX => {
                let least = show_cash(Cash::from_units(units));
                format!("write at least \"{least}\", or let the rounds sell less")
            }
            _ => "let the rounds sell less".to_owned(),
        };
        let message = format!("the rounds can take more than this: {}", parts.join(", "));
        self.refuse("offering.hard_cap", &["rounds"], message, hint);
    }

    fn documents(&mut self) {
        for kind in [DocumentKind::PurchaseAgreement, DocumentKind::RiskDisclosure] {
            if !self.plan.documents.iter().any(|document| document.kind == kind) {
                let message = format!("no document of kind `{}`", kind.word());
                let hint = "every permit and bid signs to the purchase agreement and the risk disclosure";
                self.refuse("documents", &[], message, hint);
            }
        }
    }

    fn roles(&mut self) {
        let roles = &self.plan.roles;
        let pairs = [
            ("roles.certifier", roles.certifier, "roles.issuer", roles.issuer),
            ("roles.guardian", roles.guardian, "roles.issuer", roles.issuer),
            ("roles.guardian", roles.guardian, "roles.certifier", roles.certifier),
        ];
        for (at, watcher, other, watched) in pairs {
            if watcher.is_some() && watcher == watched {
                let role = other.trim_start_matches("roles.");
                let message = format!("this is the {role}, who would watch over itself");
                self.refuse(at, &[other], message, "name someone independent");
            }
        }
        for (index, attester) in roles.attesters.iter().enumerate() {
            let at = format!("roles.attesters[{index}]");
            if roles.attesters[..index].contains(attester) {
                self.refuse(&at, &["roles.attesters"], "named twice", "remove one of them");
            }
            if roles.certifier == Some(*attester) {
                let hint = "whoever lets buyers in should not also attest what their cash is released for";
                self.refuse(&at, &["roles"], "this is the certifier", hint);
            }
        }
    }

    fn service(&mut self) {
        let service = &self.plan.service;
        if u64::from(service.notice_secs) < DAY_SECS {
            let hint = "at least \"1 day\": the guardian must have time to object";
            self.refuse("service.notice", &[], "too short", hint);
        }
        if service.objections > OBJECTIONS_MAX {
            let hint = "at most 3: the guardian may delay, not prevent";
            self.refuse("service.objections", &[], "too many", hint);
        }
        if service.capacity_per_day == Some(Credits::ZERO) {
            self.refuse(
                "service.capacity",
                &[],
                "nothing could be served",
                "write what can be, or remove this line",
            );
        }
        if let Some((round, cleared)) = self.last_cleared() {
            let earliest = cleared + u64::from(service.notice_secs);
            if service.deadline <= earliest {
                let message = format!(
                    "too early: round `{}` can clear as late as {}, and an attestation takes effect a notice later",
                    shown(round),
                    instant::show(cleared)
                );
                let from = ["rounds", "regimes", "offering.pause_limit", "service.notice"];
                self.refuse("service.deadline", &from, message, format!("after {}", instant::show(earliest)));
            }
        }
        if let Some(soft_cap_date) = self.plan.offering.soft_cap_date.filter(|&date| date >= service.deadline)
        {
            let message = "not after the date of the soft cap".to_owned();
            let hint = format!("after {}", instant::show(soft_cap_date));
            self.refuse("service.deadline", &["offering.soft_cap_date"], message, hint);
        }
    }

    /// Names that others refer to, or that people know things by, are used once.
    fn names(&mut self) {
        let plan = self.plan;
        fn of<T>(list: &[T], name: impl Fn(&T) -> &str) -> Vec<&str> {
            list.iter().map(name).collect()
        }
        let models = plan.price_list.as_ref().map(|list| of(&list.models, |model| &model.name));
        let lists = [
            ("documents", of(&plan.documents, |document| &document.name)),
            ("schedules", of(&plan.schedules, |schedule| &schedule.name)),
            ("regimes", of(&plan.regimes, |regime| &regime.name)),
            ("rounds", of(&plan.rounds, |round| &round.name)),
            ("treasury.milestones", of(&plan.treasury.milestones, |milestone| &milestone.name)),
            ("price_list.models", models.unwrap_or_default()),
        ];
        for (list, names) in lists {
            for (index, name) in names.iter().enumerate() {
                if let Some(first) = names[..index].iter().position(|other| other == name) {
                    let message = format!("`{}` is already the name of {list}[{first}]", shown(name));
                    let other = format!("{list}[{first}].name");
                    self.refuse(&format!("{list}[{index}].name"), &[&other], message, "names are unique");
                }
            }
        }
        let counts = [
            ("schedules", plan.schedules.len(), SCHEDULES_MAX),
            ("regimes", plan.regimes.len(), REGIMES_MAX),
            ("rounds", plan.rounds.len(), ROUNDS_MAX),
        ];
        for (list, count, most) in counts {
            if count == 0 {
                self.refuse(list, &[], "empty", format!("write [[{list}]] at least once"));
            } else if count > most {
                let at = format!("{list}[{most}]");
                self.refuse(&at, &[], format!("there are {count} of these"), format!("at most {most}"));
            }
        }
        let milestones = plan.treasury.milestones.len();
        if milestones > MILESTONES_MAX {
            let at = format!("treasury.milestones[{MILESTONES_MAX}]");
            let message = format!("there are {milestones} of these");
            self.refuse(&at, &[], message, format!("at most {MILESTONES_MAX}"));
        }
    }
}

/// Schedules and regimes that no round names.
fn unused(plan: &Plan) -> BTreeMap<&'static str, Vec<usize>> {
    let named = |pick: fn(&RoundPlan) -> &Vec<String>, name: &str| {
        plan.rounds.iter().any(|round| pick(round).iter().any(|other| other == name))
    };
    let schedules = plan.schedules.iter().enumerate();
    let regimes = plan.regimes.iter().enumerate();
    BTreeMap::from([
        ("schedules", schedules.filter(|(_, s)| !named(|r| &r.schedules, &s.name)).map(|(i, _)| i).collect()),
        ("regimes", regimes.filter(|(_, s)| !named(|r| &r.regimes, &s.name)).map(|(i, _)| i).collect()),
    ])
}

/// What `credits` cost at a price, rounded up.
fn cost_ceil(credits: Credits, price: Price) -> U256 {
    let exact = U256::from(credits.units()) * U256::from(price.units());
    exact.div_ceil(U256::from(PRICE_SCALE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::template::template;

    fn plan() -> Plan {
        Plan::read("plan.toml", &template("Example", 0)).unwrap().0
    }

    #[test]
    fn the_most_cash_of_a_round_is_at_its_highest_price_and_rounds_up() {
        let mut plan = plan();
        assert_eq!(plan.rounds[0].most_cash(), Cash::from_whole(2_500_000));
        assert_eq!(plan.rounds[1].most_cash(), Cash::from_whole(5_000_000));
        if let RoundKind::Fixed(fixed) = &mut plan.rounds[0].kind {
            fixed.supply = Credits::from_units(1);
        }
        assert_eq!(plan.rounds[0].most_cash(), Some(Cash::from_units(1)));
    }

    #[test]
    fn a_round_clears_a_day_after_the_longest_cooling_off_and_later_when_paused() {
        let mut plan = plan();
        let close = plan.rounds[0].close;
        assert_eq!(plan.clearing(&plan.rounds[0]), close);
        plan.regimes[1].cooling_off_days = 14;
        assert_eq!(plan.clearing(&plan.rounds[0]), close + 15 * DAY_SECS);
        assert_eq!(plan.latest_clearing(&plan.rounds[0]), close + (15 + 7) * DAY_SECS);
    }
}
