//! When the service counts as live, what leaves the treasury and when, and votes.

use super::page::{Page, count, show_credits};
use crate::money::Cash;
use crate::plan::date::{duration, utc};
use crate::plan::instant::DAY_SECS;
use crate::plan::{Milestone, Plan};

/// The most cash that can have left the treasury by the tap if the service is not live by the deadline. Zero
/// where the tap starts only once it is live.
pub fn most_before_live(plan: &Plan) -> Cash {
    let treasury = &plan.treasury;
    let Some(start) = treasury.tap_start else { return Cash::ZERO };
    let milestones = treasury.milestones.iter().filter(|milestone| milestone.before_live);
    let ceiling = milestones.map(|m| m.ceiling).max().unwrap_or(Cash::ZERO).max(treasury.ceiling_at_start);
    let secs = plan.service.deadline.saturating_sub(start);
    let dripped = u128::from(treasury.tap_per_sec.units()) * u128::from(secs);
    let bound = ceiling.min(most_raised(plan));
    u64::try_from(dripped).map_or(bound, |dripped| bound.min(Cash::from_units(dripped)))
}

/// The most cash that all rounds together can take, which the hard cap bounds.
pub(super) fn most_raised(plan: &Plan) -> Cash {
    let units = plan.rounds.iter().try_fold(0u64, |sum, round| sum.checked_add(round.most_cash()?.units()));
    units.map_or(plan.offering.hard_cap, |units| plan.offering.hard_cap.min(Cash::from_units(units)))
}

/// "nothing", or the amount.
pub(super) fn leaves(plan: &Plan) -> String {
    match most_before_live(plan) {
        Cash::ZERO => "nothing".to_owned(),
        most => plan.show(most),
    }
}

pub(super) fn live(plan: &Plan, page: &mut Page) {
    let service = &plan.service;
    let notice = service.notice_secs.into();
    page.heading(2, "When the service is live");
    page.item(format!(
        "The certifier attests it, with the hash of evidence: the price list, the receipt of a paid \
         test, the capacity. It takes effect after a notice of {}.",
        duration(notice)
    ));
    page.item(format!(
        "It must have taken effect by {}, the deadline. So {} is the last moment to attest it.",
        utc(service.deadline),
        utc(service.deadline.saturating_sub(notice))
    ));
    if plan.offering.soft_cap > Cash::ZERO {
        page.item("It can be attested only once the soft cap is met.");
    }
    page.item(match service.objections {
        0 => "The guardian may not object.".to_owned(),
        times => {
            format!("The guardian may object within the notice, at most {}.", count(times.into(), "time"))
        }
    });
    page.item("The issuer cannot attest it.");
    if let Some(capacity) = service.capacity_per_day {
        page.item(format!(
            "The issuer says it can then serve {} worth of service a day. The contracts do not check this.",
            show_credits(capacity)
        ));
    }
}

pub(super) fn tap(plan: &Plan, page: &mut Page) {
    page.heading(2, "The tap: what leaves the treasury, and when");
    let until_met = match plan.offering.soft_cap {
        Cash::ZERO => "",
        _ => " and the soft cap is met",
    };
    page.paragraph(format!(
        "What a round takes stays with the round until it is cleared{until_met}; then anyone may move \
         it into the treasury. The treasury keeps one pot for each round. The issuer can draw from it \
         only by the tap."
    ));
    page.paragraph(format!(
        "Before the service is live, this much may leave the treasury in all: **{}**.{}",
        leaves(plan),
        bounds(plan)
    ));
    page.paragraph(speed(plan));
    page.paragraph(
        "What may have been drawn in all at any moment is the smaller of two: the highest ceiling \
         reached so far, and the speed times the seconds since the tap started.",
    );
    ceilings(plan, page);
    page.paragraph(
        "An attestation pays nothing: it lets the tap run on at its speed up to a higher ceiling. No \
         ceiling is ever lowered. A draw is taken from all pots in proportion to what they hold. When \
         credits are delivered, the part of the pot behind them moves to a common pot for credits in \
         circulation, from which the tap draws in the same way.",
    );
    page.paragraph(format!(
        "From {} on the tap releases nothing unless the service is live by then.",
        utc(plan.service.deadline)
    ));
}

/// Why no more can leave before live.
fn bounds(plan: &Plan) -> String {
    let Some(start) = plan.treasury.tap_start else {
        return " The tap starts only once the service is live.".to_owned();
    };
    if most_before_live(plan) == Cash::ZERO {
        return String::new();
    }
    let secs = plan.service.deadline.saturating_sub(start);
    format!(
        " This is the smallest of three: the most that the rounds can take, the highest ceiling that \
         can be reached before live, and what the tap passes from {} to the deadline ({}).",
        utc(start),
        duration(secs)
    )
}

fn speed(plan: &Plan) -> String {
    let treasury = &plan.treasury;
    if treasury.tap_per_sec == Cash::ZERO {
        return "The speed of the tap is zero: it never releases anything.".to_owned();
    }
    let a_day = treasury.tap_per_sec.units().checked_mul(DAY_SECS);
    let a_day = a_day
        .map_or_else(String::new, |units| format!(", which is {} a day", plan.show(Cash::from_units(units))));
    let start = match treasury.tap_start {
        None => "It starts when the service is live.".to_owned(),
        Some(start) => format!("It starts at {}, whether the service is live or not.", utc(start)),
    };
    format!("Speed: at most {} a second{a_day}. {start}", plan.show(treasury.tap_per_sec))
}

fn ceilings(plan: &Plan, page: &mut Page) {
    let treasury = &plan.treasury;
    if let Some(start) = treasury.tap_start {
        let from = format!("From {}, with nothing attested", utc(start));
        page.item(match treasury.ceiling_at_start {
            Cash::ZERO => format!("{from}: nothing."),
            ceiling => format!("{from}: {}.", ceiling_in_words(plan, ceiling)),
        });
    }
    let milestones = |before_live| treasury.milestones.iter().filter(move |m| m.before_live == before_live);
    milestones(true).for_each(|m| page.item(milestone(plan, m, "before live or after")));
    let live = treasury.ceiling_at_live.max(treasury.ceiling_at_start);
    page.item(format!("Once the service is live: {}.", ceiling_in_words(plan, live)));
    milestones(false).for_each(|m| page.item(milestone(plan, m, "counts only once the service is live")));

    let highest = treasury.milestones.iter().map(|m| m.ceiling).max().unwrap_or(Cash::ZERO).max(live);
    page.paragraph(match most_raised(plan).units().checked_sub(highest.units()) {
        None | Some(0) => {
            "The highest ceiling is not below what the rounds can take: in the end all the cash may leave."
                .to_owned()
        }
        Some(rest) => format!(
            "The highest ceiling is {}. If the rounds take all they can, {} can never leave by the tap.",
            plan.show(highest),
            plan.show(Cash::from_units(rest))
        ),
    });
}

fn milestone(plan: &Plan, milestone: &Milestone, when: &str) -> String {
    format!(
        "Milestone \"{}\" ({when}): {}. What must be true: \"{}\"",
        milestone.name,
        ceiling_in_words(plan, milestone.ceiling),
        milestone.statement
    )
}

/// A ceiling and how long the tap needs to reach it.
fn ceiling_in_words(plan: &Plan, ceiling: Cash) -> String {
    let in_all = format!("{} in all", plan.show(ceiling));
    match plan.treasury.tap_per_sec.units() {
        0 => in_all,
        speed => {
            let secs = ceiling.units().div_ceil(speed);
            format!("{in_all}, reached no sooner than {} after the tap starts", duration(secs))
        }
    }
}

pub(super) fn votes(plan: &Plan, page: &mut Page) {
    page.heading(2, "Votes");
    let Some(votes) = &plan.votes else {
        page.paragraph("The plan has no votes. Nobody can change the tap, the ceilings or the deadline.");
        return;
    };
    page.paragraph(format!(
        "The plan writes down votes: {} of the weight may ask for one; it lasts {}; {} of the weight \
         must vote, and {} of the weight cast must agree; {} pass between two votes; a change leaves {} \
         in which a position may leave on the old terms.",
        votes.threshold,
        duration(votes.voting_secs.into()),
        votes.quorum,
        votes.majority,
        duration(votes.cooldown_secs.into()),
        duration(votes.exit_secs.into())
    ));
    page.paragraph(
        "**None of this can be carried out.** This deployment's treasury has no Votes contract, and \
         none can be added later. Backers cannot vote to change the tap, to move the deadline or to \
         close the treasury, and nobody else can either.",
    );
}
