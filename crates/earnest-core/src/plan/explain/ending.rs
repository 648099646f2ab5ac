//! What a backer gets, ending by ending.

use super::page::{Page, count, list, part_up};
use super::tap::{most_before_live, most_raised};
use crate::money::Cash;
use crate::plan::date::utc;
use crate::plan::{Plan, RegimePlan, RoundKind};

pub(super) fn endings(plan: &Plan, page: &mut Page) {
    page.heading(2, "What a backer gets, ending by ending");
    page.paragraph(
        "Payments are rounded down, to a base unit of cash or of credits. What rounding leaves of a \
         round's refunds goes to its pot. Each refund is paid by itself, and one that fails holds up no \
         other.",
    );
    soft_cap_missed(plan, page);
    lost_or_cut(plan, page);
    withdrawn(plan, page);
    live_in_time(plan, page);
    never_live(plan, page);
    keys_lost(plan, page);
    locked(plan, page);
}

/// The regimes that grant cooling-off.
pub(super) fn cooling_regimes(plan: &Plan) -> impl Iterator<Item = &RegimePlan> {
    plan.regimes.iter().filter(|regime| regime.cooling_off_days > 0)
}

fn soft_cap_missed(plan: &Plan, page: &mut Page) {
    page.heading(3, "The soft cap is missed");
    let offering = &plan.offering;
    if offering.soft_cap == Cash::ZERO {
        page.paragraph(
            "There is no soft cap, so this cannot happen. A sale that takes little stands, and bids do not \
             return for it.",
        );
        return;
    }
    let by = offering.soft_cap_date.map_or_else(|| "its date, which the plan does not give".to_owned(), utc);
    page.paragraph(format!(
        "If the rounds together have not taken {} by {by}, every backer gets back all the cash of every \
         bid, settled or not. Only rounds that are cleared by then count; anyone may clear them. No \
         credits are ever delivered. Nothing can have left before: until the soft cap is met no cash \
         goes to the treasury.",
        plan.show(offering.soft_cap)
    ));
}

fn lost_or_cut(plan: &Plan, page: &mut Page) {
    page.heading(3, "The bid loses, or is cut pro rata");
    let kinds = || plan.rounds.iter().map(|round| &round.kind);
    if kinds().any(is_auction) {
        page.item("In an auction, a bid limited below the price gets all its cash back and no credits.");
    }
    let groups: Vec<String> = [
        ("the whole round at a fixed price", kinds().any(|kind| is_fixed(kind) && is_pro_rata(kind))),
        ("the bids limited exactly at the price in an auction", kinds().any(is_auction)),
        ("the window in a rising round", kinds().any(|kind| matches!(kind, RoundKind::Rising(_)))),
    ]
    .into_iter()
    .filter(|&(_, is_here)| is_here)
    .map(|(group, _)| group.to_owned())
    .collect();
    if !groups.is_empty() {
        page.item(format!(
            "A bid is cut together with all bids of its group: {}. If the group bid cash C, of which U was \
             used, a bid of b gets back b × (C − U) ÷ C. If the group weighs W and gets T credits, a bid of \
             weight w gets w × T ÷ W.",
            list(groups)
        ));
        page.item(
            "Example: a group bids twice what is used. Half of each bid returns. The other half buys \
             credits at the same price for all.",
        );
    }
    if !kinds().all(is_pro_rata) {
        page.item("In a first-come round no bid is cut: a bid beyond what is left is refused when made.");
    }
    page.item("The refund is due once the round is cleared. It does not wait for the service.");
}

fn is_fixed(kind: &RoundKind) -> bool {
    matches!(kind, RoundKind::Fixed(_) | RoundKind::Private(_))
}

fn is_auction(kind: &RoundKind) -> bool {
    matches!(kind, RoundKind::Auction(_))
}

fn is_pro_rata(kind: &RoundKind) -> bool {
    match kind {
        RoundKind::Fixed(fixed) | RoundKind::Private(fixed) => !fixed.first_come,
        RoundKind::Auction(_) | RoundKind::Rising(_) => true,
    }
}

fn withdrawn(plan: &Plan, page: &mut Page) {
    page.heading(3, "The bid is withdrawn in cooling-off");
    let regimes = list(
        cooling_regimes(plan)
            .map(|regime| format!("\"{}\" ({})", regime.name, count(regime.cooling_off_days.into(), "day"))),
    );
    if regimes.is_empty() {
        page.paragraph("No regime of this plan has cooling-off. A bid cannot be withdrawn.");
        return;
    }
    page.paragraph(format!(
        "Under {regimes}: all the cash of the bid returns at once, without deduction, and no credits. \
         The backer may not bid again in that round; other rounds stay open to it. A part of a bid \
         cannot be withdrawn. The issuer's affiliates cannot withdraw."
    ));
}

fn live_in_time(plan: &Plan, page: &mut Page) {
    page.heading(3, "The service is live in time");
    page.paragraph(format!(
        "The position's credits vest by the schedule chosen, and the owner has them delivered. They buy \
         service from {} and from whoever else accepts them. Credits not yet delivered do not lapse.",
        plan.offering.issuer
    ));
    page.paragraph(
        "From then on a position or a credit cannot be turned back into cash. If the service stops later, the contracts pay no \
         refund to a position or a credit, and the tap runs on within its ceilings. What protects the \
         backer then is the speed of the tap, its ceilings, and the law.",
    );
}

fn never_live(plan: &Plan, page: &mut Page) {
    page.heading(3, "The service is never live");
    page.paragraph(format!(
        "If the service is not live by {}, the tap stops for good and refunds open. No vote is needed \
         and nobody can prevent it. Each position gets its share of its round's pot, by cash paid: the \
         cash it paid, less its part of what the tap had released. No credits are ever delivered.",
        utc(plan.service.deadline)
    ));
    page.paragraph(
        "The issuer's affiliates come last. The pot first pays all other positions of the round, up to \
         the cash they paid; affiliates share what is left, up to the cash they paid. What affiliates \
         paid therefore bears the tap's part first.",
    );
    page.paragraph(what_is_left(plan));
}

/// How much of the cash paid is gone at the deadline at worst, in numbers.
fn what_is_left(plan: &Plan) -> String {
    let gone = most_before_live(plan);
    if gone == Cash::ZERO {
        return "Nothing can have left by then. So each position gets back all the cash it paid.".to_owned();
    }
    let most = most_raised(plan);
    let at_most = format!(
        "By then the tap may have released at most {}. If the rounds took the {} they can at most, that \
         is {} of it (rounded up), and the rest is paid back.",
        plan.show(gone),
        plan.show(most),
        part_up(gone, most)
    );
    let at_least = match plan.offering.soft_cap {
        Cash::ZERO => format!(
            "The less is raised, the larger the part: if {} or less is raised, all of it may be gone.",
            plan.show(gone)
        ),
        soft_cap if soft_cap <= gone => format!(
            "The less is raised, the larger the part: the soft cap of {} does not exceed that amount, \
             so a sale that just meets it may lose all its cash.",
            plan.show(soft_cap)
        ),
        soft_cap => format!(
            "The less is raised, the larger the part: if just the soft cap of {} is raised, it is {} \
             (rounded up).",
            plan.show(soft_cap),
            part_up(gone, soft_cap)
        ),
    };
    let pots = match plan.rounds.len() {
        0 | 1 => "",
        _ => {
            " Each draw is shared by the pots that hold cash at that moment. So the pot of an early \
             round may bear more than that of a later one."
        }
    };
    format!("{at_most} {at_least}{pots}")
}

fn keys_lost(plan: &Plan, page: &mut Page) {
    page.heading(3, "A key is lost");
    page.item(
        "The issuer's: the tap cannot be drawn and attesters cannot be changed. Rounds still clear, \
         bids settle, refunds are paid. If the service is not live by the deadline, refunds open as \
         above. If it is, credits are still delivered, but what is in the treasury then stays there: \
         nobody else can draw it. A thief of this key can draw what the tap has released, and can name \
         attesters.",
    );
    page.item(format!(
        "{} Bids made stay good and refunds need no permit. A thief of this key can let buyers in, on \
         limits and locks of its own, but can take no cash.",
        match plan.roles.attesters.len() {
            0 | 1 => "The attester's: no new purchase permits until the issuer names another.",
            _ => "An attester's: the other attesters go on, and the issuer may name a new one.",
        }
    ));
    let idle = match (plan.offering.pause_limit_secs, plan.service.objections) {
        (0, 0) => "nothing changes, for it has no power in this plan.",
        (_, 0) => "nobody can pause bids. All else goes on. A thief of this key can pause bids.",
        (0, _) => "nobody can object to an attestation. All else goes on. A thief of this key can object.",
        _ => {
            "nobody can pause bids or object to an attestation. All else goes on. A thief of this key \
             can do both, and so delay, even past the deadline; it can take nothing."
        }
    };
    page.item(format!("The guardian's: {idle}"));
    let checked = match plan.service.objections {
        0 => "nobody can object".to_owned(),
        times => format!("the guardian can object, at most {} to each", count(times.into(), "time")),
    };
    page.item(format!(
        "The certifier's: nothing more can be attested, and nobody can take its place. If the service \
         is not live yet, it cannot become so, and refunds open at the deadline. A thief of this key \
         can attest what is untrue; {checked}."
    ));
    page.item(format!(
        "The gateway's: nothing more is claimed until the issuer names another key, and what is not claimed \
         can be withdrawn. A thief of this key can claim what was signed for{}.",
        match plan.providers {
            None => String::new(),
            Some(ref providers) => format!(
                " and, until the issuer names another, can name itself as a provider: {} of what is claimed",
                providers.share
            ),
        }
    ));
    page.item(
        "The backer's own: a position cannot be transferred, and only its owner can have credits \
         delivered. Without the key they stay undelivered. A refund still goes to the bidding wallet, \
         which the backer then cannot open, unless another payee was signed for before.",
    );
}

fn locked(plan: &Plan, page: &mut Page) {
    page.heading(3, "The credits are locked");
    let locks = list(plan.regimes.iter().filter(|regime| regime.lock_days > 0).map(|regime| {
        format!("\"{}\" ({} from clearing)", regime.name, count(regime.lock_days.into(), "day"))
    }));
    if locks.is_empty() {
        page.paragraph("No regime of this plan locks credits.");
        return;
    }
    page.paragraph(format!(
        "Under {locks}: credits delivered during the lock lie in the position's vault. They may be \
         spent on the service at once, while locked. They may not be sold or sent. What is not spent is \
         the owner's own after the lock. What comes back from an unused payment for service comes back \
         to the vault."
    ));
}
