//! Who may buy, how long the credits are locked, and how they vest.

use super::page::{Page, complement, count, grouped, list};
use crate::plan::date::duration;
use crate::plan::{Plan, RegimePlan, SchedulePlan};
use crate::regime;

pub(super) fn buyers(plan: &Plan, page: &mut Page) {
    page.heading(2, "Who may buy, and how long their credits are locked");
    page.paragraph(
        "A regime is one way a buyer may lawfully buy, as the issuer's counsel sees it. This page does \
         not say that counsel is right. Which regime a buyer comes under, and all limits of a regime, \
         are for the attester to keep: the contracts enforce what stands in each permit.",
    );
    for regime in &plan.regimes {
        explain_regime(plan, regime, page);
    }
    if plan.regimes.iter().any(|regime| regime.lock_days > 0) {
        lock(plan, page);
    }
}

fn explain_regime(plan: &Plan, regime: &RegimePlan, page: &mut Page) {
    page.heading(3, &format!("Regime \"{}\"", regime.name));
    page.item(match regime::rule(&regime.rule) {
        Some(rule) => format!("Rule `{}`: {}.", regime.rule, rule.title),
        None => format!("Rule `{}`.", regime.rule),
    });
    page.item(match regime.jurisdictions.as_slice() {
        [] => "Buyers who live anywhere that no other regime names.".to_owned(),
        named => format!("Buyers who live in: {}.", named.join(", ")),
    });
    page.item(match regime.lock_days {
        0 => "No lock: credits are free once delivered.".to_owned(),
        days => {
            format!("Credits are locked for {} from the clearing of the round.", count(days.into(), "day"))
        }
    });
    page.item(match regime.cooling_off_days {
        0 => "No cooling-off: a bid stands.".to_owned(),
        days => format!(
            "Cooling-off: at least {} to withdraw a bid. The issuer's affiliates have none.",
            count(days.into(), "day")
        ),
    });
    if regime.wait_hours > 0 {
        let hours = count(regime.wait_hours.into(), "hour");
        page.item(format!("The first bid may be made {hours} after approval, not sooner."));
    }
    let number = |most: u32| grouped(&most.to_string());
    let limits = [
        regime.max_buyers.map(|most| format!("{} buyers", number(most))),
        regime.max_non_accredited.map(|most| format!("{} buyers not accredited or qualified", number(most))),
        regime.max_raise.map(|most| format!("{} of all buyers together", plan.show(most))),
        regime.max_entity.map(|most| format!("{} of one backer over all rounds", plan.show(most))),
    ];
    let limits: Vec<String> = limits.into_iter().flatten().collect();
    page.item(match limits.as_slice() {
        [] => "The plan bounds neither the number of buyers nor their cash under this regime.".to_owned(),
        some => format!("Under this regime at most: {}.", some.join("; ")),
    });
}

fn lock(plan: &Plan, page: &mut Page) {
    page.heading(3, "What a lock does");
    page.item(
        "The lock counts from the clearing of the round, not from the day the service is live. If it is \
         over before credits are delivered, they are delivered free.",
    );
    page.item(
        "Locked credits are delivered to a vault, a contract that belongs to the position. The vault \
         may spend them on the service. It releases the rest to the owner after the lock. It can send \
         them nowhere else.",
    );
    page.item("A lock is on resale, not on use.");
    if plan.providers.is_some() {
        page.item(
            "One way round it remains: a holder who is also a provider of compute can spend locked \
             credits on its own service and so turn them into a provider's pay, losing the part that is \
             burned.",
        );
    }
}

pub(super) fn vesting(plan: &Plan, page: &mut Page) {
    page.heading(2, "Vesting");
    page.paragraph(
        "Vesting counts from the moment the service is live. Before that nothing vests. The backer \
         chooses a schedule with the first bid and keeps it. Credits exist only once the owner has them \
         delivered.",
    );
    for schedule in &plan.schedules {
        let discount = match schedule.discount.get() {
            0 => "no discount".to_owned(),
            _ => format!(
                "discount {}, so a bid of b weighs b ÷ {}",
                schedule.discount,
                complement(schedule.discount)
            ),
        };
        page.item(format!("\"{}\": {discount}. {}", schedule.name, points(schedule)));
    }
}

fn points(schedule: &SchedulePlan) -> String {
    let points = &schedule.points;
    let after = |secs: u32| match secs {
        0 => "at once".to_owned(),
        secs => format!("{} after live", duration(secs.into())),
    };
    if points.is_empty() {
        return "The plan gives no point at which anything vests.".to_owned();
    }
    if !schedule.linear {
        let steps = points.iter().map(|&(secs, part)| format!("{part} {}", after(secs)));
        return format!("Vested in all, in steps: {}.", list(steps));
    }
    let lines = points.iter().enumerate().map(|(i, &(secs, part))| match (i, secs) {
        (_, 0) => format!("{part} at once"),
        (0, _) => format!("evenly by the second from nothing at live to {part} {}", after(secs)),
        _ => format!("evenly to {part} {}", after(secs)),
    });
    format!("Vested in all: {}.", lines.collect::<Vec<_>>().join(", then "))
}
