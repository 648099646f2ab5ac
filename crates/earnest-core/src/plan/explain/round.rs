//! The rounds: when, how much, at what price, and what happens when too many or too few want to buy.

use super::page::{Page, count, grouped, list, names, show_credits, six_decimals, whole_credits};
use crate::curve::{Ladder, price_at};
use crate::money::{Cash, Credits, Price};
use crate::plan::date::{duration, utc};
use crate::plan::{AuctionPlan, CurvePlan, FixedPlan, Plan, RisingPlan, RoundKind, RoundPlan};

pub(super) fn round(plan: &Plan, round: &RoundPlan, page: &mut Page) {
    page.heading(2, &format!("Round \"{}\" ({})", round.name, round.kind.word()));
    page.item(format!("Open for bids from {} until just before {}.", utc(round.open), utc(round.close)));
    limits(plan, round, page);
    page.item(format!("Buyers come under: {}.", names(&round.regimes)));
    page.item(format!("Vesting schedules to choose from: {}.", names(&round.schedules)));
    match &round.kind {
        RoundKind::Fixed(sale) => fixed(plan, round, sale, page),
        RoundKind::Private(sale) => {
            page.item("Offered in private: without general solicitation.");
            fixed(plan, round, sale, page);
        }
        RoundKind::Auction(sale) => auction(plan, round, sale, page),
        RoundKind::Rising(sale) => rising(plan, round, sale, page),
    }
    cooling_off(plan, round, page);
}

fn limits(plan: &Plan, round: &RoundPlan, page: &mut Page) {
    let least = plan.show(round.min_bid);
    page.item(match round.max_bid {
        Some(most) => format!(
            "One backer bids at least {least} and at most {} in this round. The attester writes these \
             limits, or narrower ones, into the permit; the contracts enforce the permit.",
            plan.show(most)
        ),
        None => format!(
            "One backer bids at least {least} in this round. The plan sets no most. The attester writes \
             the limits into the permit; the contracts enforce the permit."
        ),
    });
}

/// What all bids together can pay at most.
fn takes(plan: &Plan, round: &RoundPlan) -> String {
    match round.most_cash() {
        Some(most) => format!("It takes at most {}.", plan.show(most)),
        None => "What it may take is more than the contracts can count.".to_owned(),
    }
}

fn fixed(plan: &Plan, round: &RoundPlan, sale: &FixedPlan, page: &mut Page) {
    let (supply, price) = (show_credits(sale.supply), plan.price(sale.price));
    page.item(format!("Sells at most {supply} at {price}. {}", takes(plan, round)));
    page.item(
        "Undersubscribed: every bid is filled in full at that price. Credits that nobody bought are not \
         created.",
    );
    if sale.first_come {
        page.item(
            "First come, first served: a bid beyond what is left is refused, and nothing is taken for \
             it. The round cannot be oversubscribed.",
        );
    } else {
        page.item(
            "Oversubscribed: the credits are shared out in proportion to weight. The same part of every \
             bid is used, the rest returns. It does not matter who bid first.",
        );
    }
}

fn auction(plan: &Plan, round: &RoundPlan, sale: &AuctionPlan, page: &mut Page) {
    let top = sale.ticks.checked_sub(1).and_then(|top| sale.price(top)).unwrap_or(sale.floor_price);
    page.item(format!(
        "Sells at most {} at one price for all. A bid names a limit, the most it would pay: from {} to \
         {} in steps of {}, which makes {}. {}",
        show_credits(sale.supply),
        plan.price(sale.floor_price),
        plan.price(top),
        plan.price(sale.tick),
        count(sale.ticks.into(), "possible limit"),
        takes(plan, round)
    ));
    page.item(
        "The price is the highest at which the bids limited at that price or above buy all the credits. \
         It is one of the limits, or lies between two of them: then it is the weight of the bids above \
         it divided by the credits.",
    );
    page.item(
        "Oversubscribed: bids limited above the price are used in full. Bids limited exactly at the \
         price share what is left in proportion to weight, and the rest of their cash returns. Bids \
         limited below the price get all their cash back. Nobody pays more than the limit.",
    );
    page.item(
        "Undersubscribed, that is if all bids together do not buy all the credits at the lowest price: \
         every bid is filled in full at the lowest price. Credits that nobody bought are not created.",
    );
}

fn rising(plan: &Plan, round: &RoundPlan, sale: &RisingPlan, page: &mut Page) {
    let window = u64::from(sale.window_secs.max(1));
    let last = match round.close.saturating_sub(round.open) % window {
        0 => String::new(),
        secs => format!(" (the last of {})", duration(secs)),
    };
    page.item(format!(
        "Bidding is cut into {} of {}{last}, counted from the opening. Each window takes bids of its \
         own. All bids of one window pay one price: the average along the curve over what that window \
         sells. It is fixed by the bids that stand when the window ends.",
        count(round.windows(), "window"),
        duration(window)
    ));
    page.item(format!(
        "One window sells weight of at most {}, the round of at most {}. {}",
        plan.show(sale.window_cap),
        plan.show(sale.cap),
        takes(plan, round)
    ));
    page.item(format!("The curve: {}.", curve(plan, &sale.curve)));
    page.item(start(plan, round, sale));
    page.item(
        "The worst price of a window is the curve's price after all that was sold before it and this \
         window's cap. It is known when bidding, once it is known where the curve starts.",
    );
    page.item(
        "Undersubscribed: every bid of the window is filled in full, and the price rises less for the next \
         window. Credits that nobody bought are not created.",
    );
    page.item(
        "Oversubscribed: what the window may sell is shared out in proportion to weight. The same part \
         of every bid of the window is used, the rest returns. Once the round's cap is sold, later bids \
         return whole.",
    );
}

/// The curve in words.
pub(super) fn curve(plan: &Plan, curve: &CurvePlan) -> String {
    match curve {
        CurvePlan::Exponential { first_price, e_fold } => format!(
            "it starts at {}, and the price grows by the factor e (about 2.718) with every {} sold",
            plan.price(*first_price),
            show_credits(*e_fold)
        ),
        CurvePlan::Proportional { floor_price, divisor } => format!(
            "the price of a credit is the weight sold so far divided by {}, and at least {}",
            grouped(&divisor.to_string()),
            plan.price(*floor_price)
        ),
        CurvePlan::Linear { first_price, last_price, .. } if first_price == last_price => {
            format!("flat, at {}", plan.price(*first_price))
        }
        CurvePlan::Linear { first_price, last_price, over } => format!(
            "it starts at {} and rises in a straight line to {} after {}, and on along the same line",
            plan.price(*first_price),
            plan.price(*last_price),
            show_credits(*over)
        ),
        CurvePlan::Points(points) => {
            let points = points.iter().map(|&(weight, credits)| {
                format!("{} after weight of {}", show_credits(credits), plan.show(weight))
            });
            format!("straight lines between these amounts of credits sold: {}", list(points))
        }
    }
}

/// Where on the curve the round starts and ends.
fn start(plan: &Plan, round: &RoundPlan, sale: &RisingPlan) -> String {
    let counted = match sale.start {
        Cash::ZERO => "The round starts at the beginning of the curve".to_owned(),
        start => format!("The round starts as if weight of {} had been sold before", plan.show(start)),
    };
    let price = |weight: u128| {
        let at = u64::try_from(weight).ok().and_then(|weight| price_at(&sale.curve, weight).ok());
        at.map_or_else(|| "a price beyond the curve".to_owned(), |price| plan.price(price))
    };
    // All that the windows together may sell, where that is less than the cap.
    let most = round.most_cash().unwrap_or(sale.cap);
    let (from, sold) = (u128::from(sale.start.units()), u128::from(most.units()));
    let followed = sale.follows.as_deref().and_then(|name| plan.rounds.iter().find(|r| r.name == name));
    let Some(followed) = followed else {
        return format!(
            "{counted}: the first price is {}. If the round sells all it can, the last price is {}. {}",
            price(from),
            price(from + sold),
            sold_out(plan, sale, Cash::ZERO, most)
        );
    };
    let added = followed.most_cash().unwrap_or(Cash::ZERO);
    let upper = from + u128::from(added.units());
    format!(
        "{counted}, and further on by the cash that round \"{}\" takes (at most {}), which is known \
         once that round is cleared; this round cannot be cleared sooner. So the first price lies \
         between {} and {}; if this round sells all it can, the last price lies between {} and {}. {}",
        followed.name,
        plan.show(added),
        price(from),
        price(upper),
        price(from + sold),
        price(upper + sold),
        sold_out(plan, sale, added, most)
    )
}

/// What the round sells in all if it, and the round it follows, sell all they can.
fn sold_out(plan: &Plan, sale: &RisingPlan, added: Cash, most: Cash) -> String {
    let Ok(ladder) = Ladder::from_plan(sale, added) else { return String::new() };
    let from = sale.start.units() + added.units();
    let ends = ladder.credits_at(from).zip(ladder.credits_at(from + most.units()));
    let Some(sold) = ends.and_then(|(before, after)| after.checked_sub(before)) else { return String::new() };
    let sold = Credits::from_units(sold);
    format!(
        "{}, this round sells {} for weight of {}, on average at {} (credits and price rounded down).",
        if added > Cash::ZERO { "If both sell all they can" } else { "Then" },
        whole_credits(sold),
        plan.show(most),
        plan.price(six_decimals(Price::average(most, sold)))
    )
}

fn cooling_off(plan: &Plan, round: &RoundPlan, page: &mut Page) {
    let moved =
        if plan.offering.pause_limit_secs > 0 { ", later by as long as bids were paused" } else { "" };
    let clearing = utc(plan.clearing(round));
    let days = plan.cooling_off_days(round);
    if days == 0 {
        page.item(format!("No cooling-off. Clearing may begin at {clearing}{moved}."));
        return;
    }
    let origin = plan.rounds.iter().map(|round| round.open).min().unwrap_or(round.open);
    page.item(format!(
        "Cooling-off: a bid whose permit grants it may be withdrawn for {0} after the day on which it \
         was last changed. Days are counted from {1}, the first opening of the plan. The contracts know \
         one length for all these buyers of a round: the longest of its regimes.",
        count(days.into(), "day"),
        utc(origin)
    ));
    page.item(format!(
        "Clearing may begin at {clearing}{moved}: the close, {} and one day. From then on nobody may \
         bid, raise or withdraw.",
        count(days.into(), "day")
    ));
    page.item(match round.withdrawable {
        Some(most) => format!(
            "Bids that may still be withdrawn add up to at most {} at any time. A bid that would exceed \
             this is refused.",
            plan.show(most)
        ),
        None => "The plan does not bound how much may be withdrawn at once.".to_owned(),
    });
    if matches!(round.kind, RoundKind::Rising(_)) {
        page.item(
            "A bid withdrawn before its window ends counts for nothing. One withdrawn later still \
             counts for the price: its cash returns in full, its credits go unsold, and no other bid \
             pays or gets more or less.",
        );
    }
}
