//! A plan in plain words, for a backer's lawyer to read before the sale: who may do what and when, each
//! round, the locks, the tap, and what a backer gets, ending by ending. Every number is the plan's own or
//! computed from it exactly; whatever is rounded says so.

mod buyer;
mod ending;
mod page;
mod round;
mod tap;
#[cfg(test)]
mod tests;

use alloy_primitives::Address;

use self::ending::cooling_regimes;
use self::page::{Page, count, count_of, list, sentence, show_credits};
use super::date::{duration, utc};
use super::{ModelPrice, Plan, PriceListPlan};
use crate::money::Cash;
use crate::price_list::Unit;
use crate::terms::terms_hash;

pub use self::tap::most_before_live;

/// The whole plan as Markdown.
pub fn explain(plan: &Plan) -> String {
    let mut page = Page::default();
    opening(plan, &mut page);
    in_short(plan, &mut page);
    parties(plan, &mut page);
    for round in &plan.rounds {
        round::round(plan, round, &mut page);
    }
    buyer::buyers(plan, &mut page);
    buyer::vesting(plan, &mut page);
    tap::live(plan, &mut page);
    tap::tap(plan, &mut page);
    tap::votes(plan, &mut page);
    what_a_credit_buys(plan, &mut page);
    papers(plan, &mut page);
    ending::endings(plan, &mut page);
    page.text
}

fn opening(plan: &Plan, page: &mut Page) {
    page.heading(1, &plan.offering.name);
    if let Some(note) = &plan.offering.note {
        page.paragraph(format!("Note of the plan: \"{note}\""));
    }
    page.paragraph(
        "This page says in words what the plan file says, and what the contracts make of it. The \
         contracts and this page are unaudited. It is not legal advice. Nothing here states that a \
         position or a credit is, or is not, a security under any law. A credit carries no yield, no \
         share of revenue and no promise that anyone buys it back at par.",
    );
    let cash = plan.cash.address.map_or_else(
        || {
            "The plan names no coin on a chain, so it runs only on a development chain, with a test coin"
                .to_owned()
        },
        |address| format!("It is the coin at {address}"),
    );
    page.paragraph(format!(
        "*Cash* is the coin raised: {}, {}. {cash}. *Credits* are the coin delivered: {}, {}. A \
         *position* is what a settled bid becomes: a right to credits that cannot be transferred. A \
         *base unit* is the smallest part of a coin: 0.000001 {1}, or 10^-18 of a credit.",
        plan.cash.name, plan.cash.symbol, plan.credits.name, plan.credits.symbol
    ));
    if plan.schedules.iter().any(|schedule| schedule.discount.get() > 0) {
        page.paragraph(
            "*Weight* is what a bid counts for. A bid of cash b on a vesting schedule with discount d \
             weighs b ÷ (1 − d), rounded down to a base unit; without discount it weighs b. Weight is \
             given in units of cash. Prices and limits are before discount.",
        );
    } else {
        page.paragraph(
            "*Weight* is what a bid counts for. No schedule of this plan has a discount, so a bid \
             weighs its cash.",
        );
    }
}

fn in_short(plan: &Plan, page: &mut Page) {
    page.heading(2, "In short");
    let offering = &plan.offering;
    page.item(sentence(&format!("Issuer: {}", offering.issuer)));
    let rounds = count_of(&plan.rounds, "round");
    page.item(format!("Sale: {rounds}, together at most {} (the hard cap).", plan.show(offering.hard_cap)));
    page.item(match (offering.soft_cap, offering.soft_cap_date) {
        (Cash::ZERO, _) => "Soft cap: none. The sale stands however little it takes.".to_owned(),
        (cap, Some(date)) => {
            format!("Soft cap: {} by {}, or every bid returns in full.", plan.show(cap), utc(date))
        }
        (cap, None) => format!("Soft cap: {}, for which the plan gives no date.", plan.show(cap)),
    });
    page.item(format!("The service must be live by {}, or refunds open.", utc(plan.service.deadline)));
    page.item(format!(
        "Before the service is live at most this may leave the treasury: {}.",
        tap::leaves(plan)
    ));
    page.item("Once the service is live no position and no credit can be turned back into cash.");
    page.item("Votes of backers: none in this deployment.");
}

fn parties(plan: &Plan, page: &mut Page) {
    page.heading(2, "Who may do what, and when");
    page.paragraph(
        "Nobody has more power over the cash of bids or over the treasury than is listed here. There is no \
         administrator. The code of the contracts cannot be replaced.",
    );
    issuer(plan, page);
    backer(plan, page);
    attester(plan, page);
    certifier(plan, page);
    guardian(plan, page);
    gateway(plan, page);
    anyone(page);
}

fn issuer(plan: &Plan, page: &mut Page) {
    page.heading(3, "The issuer");
    page.paragraph(format!("{} {}", sentence(&plan.offering.issuer), keys(plan.roles.issuer.as_slice())));
    page.item("May draw what the tap has released, never more. See \"The tap\".");
    if plan.price_list.is_some() {
        page.item("May publish prices: lower ones at once, higher ones after the notice.");
    }
    page.item("May name and remove attesters, and void the permits that an attester has signed.");
    page.item(
        "May not take cash out of a round, attest a milestone or that the service is live, or take or \
         move a backer's credits.",
    );
}

fn backer(plan: &Plan, page: &mut Page) {
    page.heading(3, "A backer");
    page.item(
        "May bid while a round is open, with a *purchase permit*: an attester's signature that binds \
         the backer, one wallet, the round, the limits, the lock and the hash of the terms. Holding a \
         permit obliges to nothing, and a refund needs none.",
    );
    page.item("Uses one wallet in a round. May raise a bid; may not lower it.");
    if cooling_regimes(plan).next().is_some() {
        page.item(
            "May withdraw a bid in cooling-off where the permit says so. Withdrawal is of the whole \
             bid, is final, and bars the backer from that round.",
        );
    } else {
        page.item("May not withdraw a bid: no regime of this plan has cooling-off.");
    }
    page.item("May sign for another payee of its refund.");
    page.item(
        "Once the service is live may have vested credits delivered, at any time. Only the owner of a \
         position may: by calling, or by signing for someone who calls.",
    );
    page.item(
        "If the service is not live by the deadline, gets a share of the cash left. See the endings below.",
    );
}

fn attester(plan: &Plan, page: &mut Page) {
    page.heading(3, "The attester");
    page.paragraph(keys(&plan.roles.attesters));
    page.item(
        "Signs purchase permits after its own checks of identity and status. Its documents never touch \
         the chain.",
    );
    page.item("May refuse a buyer. Can neither take nor hold back any cash.");
}

fn certifier(plan: &Plan, page: &mut Page) {
    page.heading(3, "The certifier");
    page.paragraph(format!("{} Never the issuer.", keys(plan.roles.certifier.as_slice())));
    let milestones = &plan.treasury.milestones;
    page.item(format!(
        "Attests that the service is live{}. Each attestation takes effect {} after it is made, unless the \
         guardian objects.",
        if milestones.is_empty() {
            String::new()
        } else {
            format!(", and {}", count_of(milestones, "milestone"))
        },
        duration(plan.service.notice_secs.into())
    ));
    page.item(
        "Is paid nothing for it by the contracts. An attestation raises what the tap may release; it \
         releases nothing.",
    );
}

fn guardian(plan: &Plan, page: &mut Page) {
    page.heading(3, "The guardian");
    page.paragraph(format!(
        "{} It may stop some things for a while. It can take nothing.",
        keys(plan.roles.guardian.as_slice())
    ));
    page.item(match plan.offering.pause_limit_secs {
        0 => "May not pause bids.".to_owned(),
        limit => format!(
            "May pause bids: bids only, never withdrawals or refunds. The round's close, and with it the \
             clearing, moves by as much as the pause lasted, at most {} in a round.",
            duration(limit.into())
        ),
    });
    page.item(match plan.service.objections {
        0 => "May not object to an attestation.".to_owned(),
        times => format!(
            "May object to an attestation within its notice. That voids it. The certifier may attest \
             the same again, with a new notice. The guardian may object at most {} to the service being \
             live, and as often to each milestone. An objection does not move the deadline, so a late \
             one can make the service miss it.",
            count(times.into(), "time")
        ),
    });
}

fn gateway(plan: &Plan, page: &mut Page) {
    page.heading(3, "The gateway");
    let key = match (plan.roles.gateway, plan.roles.issuer) {
        (None, Some(issuer)) => format!("Key: the issuer's, {issuer}, at first."),
        (gateway, _) => keys(gateway.as_slice()),
    };
    page.paragraph(format!("{key} The issuer may give each of its powers to another key."));
    page.item(
        "Claims from the deposits of those who use the service, never more than each has signed for, and \
         gives back what is not claimed, to whoever deposited it.",
    );
    page.item(match &plan.providers {
        None => {
            "Publishes statements of what was claimed. Of credits all of it is burned; cash goes to the issuer."
                .to_owned()
        }
        Some(providers) => format!(
            "Publishes statements that split what was claimed: at most {} to the providers it names, and the \
             rest is burned where it is credits and goes to the issuer where it is cash.",
            providers.share
        ),
    });
}

fn anyone(page: &mut Page) {
    page.heading(3, "Anyone");
    page.item("May clear a round once clearing may begin, and settle any bid after that.");
    page.item("May move a cleared round's proceeds into the treasury. See \"The tap\".");
    page.item(
        "May trigger a refund, of a bid or, after the deadline, of a position. It goes to the bidding \
         wallet, or to a payee the backer signed for.",
    );
    page.item(
        "Needs nobody's leave for this: if every named party disappears, rounds still clear and refunds \
         are still paid.",
    );
}

fn keys(addresses: &[Address]) -> String {
    match addresses {
        [] => {
            "No key named: a development key on a development chain, and no deployment elsewhere.".to_owned()
        }
        [key] => format!("Key: {key}."),
        several => format!("Keys: {}.", list(several.iter().map(ToString::to_string))),
    }
}

fn what_a_credit_buys(plan: &Plan, page: &mut Page) {
    page.heading(2, "What a credit buys");
    page.paragraph(format!("In the words of the terms: \"{}\"", plan.terms.credit));
    match &plan.price_list {
        None => {
            page.paragraph("The plan has no price list: how much service a credit buys is not said in it.")
        }
        Some(prices) => price_list(plan, prices, page),
    }
    if let Some(providers) = &plan.providers {
        page.paragraph(format!(
            "By the plan, of credits spent on independent providers {} go to the provider and the rest \
             is burned; burned credits never return. Besides the credits sold, the plan allows others \
             to be created as providers' pay: at most as many as were burned, and {} more.",
            providers.share,
            show_credits(providers.cold_start)
        ));
    }
}

fn price_list(plan: &Plan, prices: &PriceListPlan, page: &mut Page) {
    page.paragraph(format!(
        "The price list at the start. A price may rise after a notice of {}.",
        duration(prices.notice_secs.into())
    ));
    for model in &prices.models {
        page.item(format!("`{}`: {}.", model.name, model_prices(model)));
    }
    page.paragraph(match prices.cash {
        None => "Service is sold for credits only.".to_owned(),
        Some(rate) => {
            format!("Service is sold for cash as well, at {}.", plan.price(rate))
        }
    });
    page.paragraph(match &prices.covenant {
        None => "No covenant holds any price down.".to_owned(),
        Some(covenant) => format!(
            "Covenant for the tier \"{}\": at all times a model that meets \"{}\" is offered at {} or \
             less per million model tokens written. At the start that is `{}`.",
            covenant.tier,
            covenant.benchmark,
            show_credits(covenant.output),
            prices.tier_model().unwrap_or_default()
        ),
    });
}

fn model_prices(model: &ModelPrice) -> String {
    let prices = model.prices().into_iter().filter_map(|(unit, price)| {
        let unit = match unit {
            Unit::Input => "million model tokens read",
            Unit::Cached => "million model tokens read from cache",
            Unit::Output => "million model tokens written",
            Unit::Embedding => "million model tokens embedded",
            Unit::Image => "image",
            Unit::AudioSecond => "second of audio",
            Unit::ComputeSecond => "second of compute",
        };
        Some(format!("{} per {unit}", show_credits(price?)))
    });
    list(prices)
}

fn papers(plan: &Plan, page: &mut Page) {
    let terms = &plan.terms;
    page.heading(2, "Papers behind the plan");
    page.paragraph(sentence(&format!("Terms: \"{}\". Governing law: {}", terms.title, terms.governing_law)));
    page.paragraph(format!("A position, in the words of the terms: \"{}\"", terms.position));
    for promise in &terms.promises {
        page.item(format!("Promise: \"{promise}\""));
    }
    for document in &plan.documents {
        page.item(format!(
            "Document: \"{}\" ({}), SHA-256 {:x}.",
            document.name,
            document.kind.word(),
            document.sha256
        ));
    }
    page.paragraph(format!(
        "The hash of the terms and of these documents is {}. Every purchase permit and so every bid is \
         bound to it. The contracts hold this hash only and read no paper: compare the papers with this \
         page.",
        terms_hash(plan)
    ));
}
