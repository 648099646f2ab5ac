//! What can go wrong, said before anyone pays.

use earnest_core::money::Cash;
use earnest_core::plan::date::utc;
use earnest_core::plan::explain::most_before_live;
use earnest_report::page::markup::{escape, paragraph};
use earnest_report::page::part;

use super::Shared;
use super::keeper::View;
use super::page::Page;

pub(super) fn page(shared: &Shared, view: &View) -> Page {
    let intro = paragraph(
        "Each of these can happen. What the contracts make of it stands beside it; what they cannot help with is said too.",
    );
    let risks = risks(shared);
    let list: String = risks
        .iter()
        .map(|(what, then)| format!("<dt>{}</dt>\n<dd>{}</dd>\n", escape(what), escape(then)))
        .collect();
    Page::new("What can go wrong", "/risks")
        .fixed("risks", format!("{intro}<dl class=\"risks\">\n{list}</dl>\n"))
        .live("endings-now", part::endings(&view.summary, &shared.plan, &shared.coins))
}

fn risks(shared: &Shared) -> Vec<(&'static str, String)> {
    let plan = &shared.plan;
    let coins = &shared.coins;
    let early = match most_before_live(plan) {
        Cash::ZERO => "Nothing can have left the treasury before that.".to_owned(),
        most => format!("At most {} can have left the treasury before that, and is gone.", coins.cash(most)),
    };
    let capacity = match plan.service.capacity_per_day {
        Some(capacity) => format!(
            "The issuer says it can serve {} a day. If many spend at once, service may be slow. ",
            coins.whole_credits(capacity)
        ),
        None => "The issuer has not said how much it can serve in a day. ".to_owned(),
    };
    vec![
        (
            "The service never comes",
            format!(
                "If it is not live by {}, refunds open without a vote: each position takes its share of what its pot still \
                 holds. {early}",
                utc(plan.service.deadline)
            ),
        ),
        (
            "The service is attested live and is poor",
            "The certifier named in the plan says when it is live, and the guardian may object for a time. From then on no \
             position and no credit turns back into cash. The contracts cannot judge quality."
                .to_owned(),
        ),
        (
            "A credit buys less than you thought",
            "Prices may rise after the notice that the plan gives. A credit carries no yield, no share of revenue and no promise \
             that anyone buys it back."
                .to_owned(),
        ),
        ("Service is short", capacity + "Coverage, on the first page, sets what is owed against what can be served."),
        (
            "You cannot sell",
            "A position cannot be transferred at all. Credits under a lock can be spent on service and not be sold until the \
             lock is over. Whether anyone wants to buy them then is open."
                .to_owned(),
        ),
        (
            "Your bid loses or is cut",
            "Its cash, or the part that did not buy, comes back once the round is cleared. You must take it: nobody sends it on \
             their own. Anyone can start that for you, and it can only go to your wallet."
                .to_owned(),
        ),
        (
            "You lose your key",
            "Anyone can settle and refund for you, and the cash goes to the wallet that bid. If its key is lost, so is what it \
             holds. Nobody can change the wallet of a position."
                .to_owned(),
        ),
        (
            "The issuer disappears",
            "Everyone can still clear, settle and refund. No administrator can take what the rounds hold, and there is no key \
             that changes the code."
                .to_owned(),
        ),
        (
            "The certifier and the issuer work together",
            "They could attest what is not so. The guardian may object as often as the plan says, and not for ever. Read who they \
             are before you bid."
                .to_owned(),
        ),
        (
            "The attester refuses you",
            "Then you cannot bid. It can neither take nor hold back cash, and a refund needs no permit.".to_owned(),
        ),
        (
            "The cash coin fails",
            "Its issuer may freeze an account or lose its peg. A frozen payee blocks nobody else; its owner may sign for another \
             payee."
                .to_owned(),
        ),
        (
            "The contracts have a fault",
            "They are unaudited. They are tested against a second implementation of the same rules, which finds mistakes and \
             does not prove that there are none."
                .to_owned(),
        ),
        (
            "This page lies to you",
            "Pages are served by someone. Your wallet shows what you sign: compare the addresses with those in the deployment \
             file, and repeat the audit with a node that you trust."
                .to_owned(),
        ),
        (
            "The law",
            "What you buy may be a security where you live, and the sale may be limited or forbidden to you. Nothing here says \
             otherwise. Ask your own counsel."
                .to_owned(),
        ),
    ]
}
