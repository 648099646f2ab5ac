//! What a wallet has bid, what became of it, and what can be done with it now.

use alloy_primitives::{Address, U256};
use axum::extract::{Query, State};
use axum::response::Response;
use earnest_chain::bindings::DevCash;
use earnest_chain::chain::Chain;
use earnest_core::bid::{Bid, BidId};
use earnest_core::money::{Cash, Credits, Price};
use earnest_core::offering::{LIVE, Offering, Sale, Status};
use earnest_core::raise::Holder;
use earnest_report::figure::{day, plain};
use earnest_report::page::markup::{escape, facts, figure, paragraph};
use earnest_report::page::part;
use earnest_report::position::{Fate, bids, fate, is_withdrawn, position};

use super::keeper::View;
use super::page::{Act, Page, as_of, given, quoted, until};
use super::{At, Look, Shared, shown};

/// What a wallet holds itself.
#[derive(Clone, Copy)]
struct Purse {
    cash: Cash,
    credits: Credits,
}

pub(super) async fn get(State(shared): At, Query(look): Query<Look>) -> Response {
    let asked = look.wallet.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let wallet = asked.map(|text| text.parse::<Address>());
    let mut purse = None;
    if let Some(Ok(wallet)) = wallet {
        let found = shared.ask(move |shared, chain| self::purse(shared, chain, wallet)).await;
        purse = found.ok().flatten();
    }
    shown(State(shared), Query(look), move |shared, view, _| {
        Some(match wallet {
        None => page("").live("standing", as_of(view)).live("bids", paragraph("No wallet is chosen.")),
        Some(Err(_)) => page("").live("standing", as_of(view)).live(
            "bids",
            "<p class=\"problem\" role=\"alert\">This is not an address: 0x and 40 digits are expected.</p>\n".to_owned(),
        ),
        Some(Ok(wallet)) => page(&wallet.to_string())
            .live("standing", as_of(view))
            .live("bids", all(shared, view, wallet, purse)),
    })
    })
}

fn page(wallet: &str) -> Page {
    let form = format!(
        "<form class=\"lookup\" method=\"get\" action=\"/positions\">\n<div class=\"field\"><label for=\"wallet-address\">Wallet</label>\n\
         <input id=\"wallet-address\" name=\"wallet\" value=\"{}\" maxlength=\"42\" autocomplete=\"off\" spellcheck=\"false\" \
         aria-describedby=\"wallet-hint\"><p class=\"hint\" id=\"wallet-hint\">Filled in when you connect. Anyone may look: all of \
         this is on the chain.</p></div>\n<button type=\"submit\">Show</button>\n</form>\n",
        escape(wallet)
    );
    Page::new("Your positions", "/positions").fixed("lookup", form)
}

fn purse(shared: &Shared, chain: &mut Chain, wallet: Address) -> Option<Purse> {
    let contracts = &shared.record.contracts;
    let mut of =
        |coin| -> Option<U256> { chain.call(coin, &DevCash::balanceOfCall { account: wallet }).ok() };
    Some(Purse {
        cash: Cash::from_units(of(contracts.cash)?.saturating_to()),
        credits: Credits::from_units(of(contracts.credit)?.saturating_to()),
    })
}

fn all(shared: &Shared, view: &View, wallet: Address, purse: Option<Purse>) -> String {
    let coins = &shared.coins;
    let mut html = format!("<div data-owner=\"{wallet}\">\n");
    if let Some(Purse { cash, credits }) = purse {
        html += &facts(&[
            ("In the wallet", escape(&coins.cash(cash))),
            ("Credits in the wallet", figure(&coins.whole_credits(credits), &coins.credits(credits))),
        ]);
    }
    if shared.record.contracts.price_list.is_some() {
        html += &format!(
            "<p>Credits, locked ones too, pay for service: <a href=\"/keys?wallet={wallet}\">API keys of this wallet</a>.</p>\n"
        );
    }
    let mine: Vec<(BidId, Bid)> = bids(&view.raise.offering)
        .filter(|(_, bid)| bid.wallet == wallet)
        .map(|(id, bid)| (id, *bid))
        .collect();
    if mine.is_empty() {
        html +=
            "<p>This wallet has not bid. Rounds that are open are on <a href=\"/\">the first page</a>.</p>\n";
    }
    for (id, bid) in mine {
        html += &one(shared, view, id, &bid);
    }
    html + "</div>\n"
}

fn one(shared: &Shared, view: &View, id: BidId, bid: &Bid) -> String {
    let name = &shared.plan.rounds[usize::from(id.round)].name;
    let (key, window) = (
        show(id).replace('/', "-"),
        match id.window {
            0 => String::new(),
            window => format!(", window {window}"),
        },
    );
    format!(
        "<section class=\"position\" aria-labelledby=\"bid-{key}\">\n<h2 id=\"bid-{key}\">{}{window}</h2>\n{}{}{}</section>\n",
        quoted(name),
        outcome(shared, view, id, bid),
        vesting(shared, view, id, bid),
        acts(shared, view, id, bid)
    )
}

/// The round as if it were cleared now, by the rules that will clear it; `None` while that cannot be known.
fn as_if_cleared(offering: &Offering, round: u8) -> Option<Offering> {
    let mut trial = offering.clone();
    let at = trial.clearable_at(round).ok()?;
    trial.clear(at, round, u64::MAX).ok()?;
    (trial.rounds[usize::from(round)].status == Status::Cleared).then_some(trial)
}

fn outcome(shared: &Shared, view: &View, id: BidId, bid: &Bid) -> String {
    let coins = &shared.coins;
    let offering = &view.raise.offering;
    let cash = |units: u64| escape(&coins.cash(Cash::from_units(units)));
    let credits = |units: u128| {
        let credits = Credits::from_units(units);
        figure(&coins.whole_credits(credits), &coins.credits(credits))
    };
    let mut rows: Vec<(&str, String)> = Vec::new();
    let fate = fate(offering, id, bid);
    if fate == Some(Fate::Withdrawn) {
        return paragraph("Withdrawn in cooling-off; the cash went back. That is final for this round.");
    }
    rows.push((if bid.refunded { "Bid that stands after the refund" } else { "Bid" }, cash(bid.cash)));
    if let Sale::Auction { prices, .. } = &offering.setup.rounds[usize::from(id.round)].sale {
        rows.push(("Limit", escape(&coins.price(Price::from_units(prices.at(bid.tick))))));
    }
    let state = match fate {
        _ if offering.failed(view.now) => "The soft cap was missed: the whole bid goes back.",
        None => "The round is not cleared.",
        Some(Fate::Whole) => "Filled whole.",
        Some(Fate::ProRata) => "Cut pro rata.",
        Some(Fate::Lost) => "Lost: all its cash goes back.",
        Some(Fate::Withdrawn) => "",
    };
    rows.push(("Outcome", escape(state)));
    match fate {
        None if !offering.failed(view.now) => match as_if_cleared(offering, id.round) {
            Some(trial) => {
                let (share, _) = trial.outcome(id);
                rows.push(("If cleared now it would get", credits(share.credits)));
                rows.push(("and back", cash(share.back)));
            }
            None => {
                rows.push(("If cleared now", "Not known until the round before it is cleared.".to_owned()))
            }
        },
        _ => {
            if let Some(position) = position(offering, id, bid, view.now) {
                rows.push(("Position", credits(position.credits)));
                rows.push(("Paid", cash(position.paid)));
                if position.credits > 0 {
                    let average = Price::average(
                        Cash::from_units(position.paid),
                        Credits::from_units(position.credits),
                    );
                    rows.push(("That is", escape(&coins.average(average))));
                }
            }
            let back = due(view, id, bid);
            rows.push((
                "Refund",
                match (bid.refunded, back) {
                    (true, _) => "taken".to_owned(),
                    (false, 0) => "none".to_owned(),
                    (false, back) => format!("{} to be taken", cash(back)),
                },
            ));
        }
    }
    rows.push(("Settled", if bid.settled { "yes" } else { "no" }.to_owned()));
    rows.push(("Bid number", format!("<code>{}</code>", show(id))));
    facts(&rows) + &lock(shared, view, id, bid)
}

/// Cash that a refund would pay now.
fn due(view: &View, id: BidId, bid: &Bid) -> u64 {
    let offering = &view.raise.offering;
    match offering.rounds[usize::from(id.round)].status {
        _ if bid.cash == 0 => 0,
        _ if offering.failed(view.now) => bid.cash,
        Status::Cleared if !bid.refunded => offering.outcome(id).0.back,
        _ => 0,
    }
}

fn lock(shared: &Shared, view: &View, id: BidId, bid: &Bid) -> String {
    let offering = &view.raise.offering;
    let regime = shared.plan.regimes.get(usize::from(bid.lock_class));
    let days = regime.map_or(0, |regime| regime.lock_days);
    let cleared = offering.rounds[usize::from(id.round)].status == Status::Cleared;
    let got = position(offering, id, bid, view.now).map_or(0, |position| position.credits);
    let ends = offering.unlock_at(id);
    match (days, cleared) {
        _ if offering.failed(view.now) || (cleared && got == 0) => String::new(),
        (0, _) => paragraph("No lock: delivered credits are free."),
        (_, false) => paragraph(&format!(
            "Lock: {days} days from clearing. Credits can be spent on service all the while."
        )),
        _ if view.now >= ends => paragraph(&format!("The lock is over since {}.", day(ends))),
        _ => format!(
            "<p>Locked until {}. Credits delivered before go to the position\u{2019}s vault <code>{}</code>, to be spent on \
             service only. In it: {}.</p>\n",
            until(ends, view.now),
            shared.record.contracts.vault_of(offering, id),
            escape(&shared.coins.credits(Credits::from_units(view.raise.credits.of(Holder::Vault(id)))))
        ),
    }
}

fn vesting(shared: &Shared, view: &View, id: BidId, bid: &Bid) -> String {
    let (offering, now) = (&view.raise.offering, view.now);
    let refunding = view.raise.treasury.refunding(offering, now);
    let Some(position) = position(offering, id, bid, now).filter(|position| position.credits > 0) else {
        return String::new();
    };
    if refunding {
        let share = view.raise.treasury.refund_of(offering, id).map_or(0, |share| share);
        return paragraph(&format!(
            "The deadline has passed without a live service: no credits, the cash goes back. To be taken from the treasury: \
             {}.",
            shared.coins.cash(Cash::from_units(share))
        ));
    }
    let vested = vested(view, bid, position.credits);
    let credits = |units: u128| {
        let credits = Credits::from_units(units);
        figure(&shared.coins.whole_credits(credits), &shared.coins.credits(credits))
    };
    format!(
        "<h3>Vesting</h3>\n{}",
        part::position_vesting(&shared.plan, &view.raise, id, position.credits, now, &shared.coins)
    ) + &facts(&[
        ("Vested", credits(vested)),
        ("Delivered", credits(position.delivered)),
        ("To be delivered now", credits(vested - position.delivered.min(vested))),
    ])
}

fn vested(view: &View, bid: &Bid, credits: u128) -> u128 {
    let offering = &view.raise.offering;
    match offering.is_effective(LIVE, view.now) {
        true => offering.setup.schedules[usize::from(bid.schedule)]
            .vested(credits, view.now - offering.attestation(LIVE).effective_at),
        false => 0,
    }
}

fn acts(shared: &Shared, view: &View, id: BidId, bid: &Bid) -> String {
    let (offering, now) = (&view.raise.offering, view.now);
    let round = &offering.rounds[usize::from(id.round)];
    let failed = offering.failed(now);
    let cash = |units: u64| shared.coins.cash(Cash::from_units(units));
    let fields = || given("bid", show(id));
    let mut html = String::new();
    if is_withdrawn(bid) {
        return html;
    }
    if !failed && now >= round.open && now < round.close && now >= round.paused_until {
        html += &format!(
            "<p><a href=\"/round/{}#bid\">Raise this bid<span class=\"unseen\"> in {}</span></a>: in cash or in its limit; a bid \
             never falls.</p>\n",
            id.round,
            quoted(&shared.plan.rounds[usize::from(id.round)].name)
        );
    }
    let clearable = offering.clearable_at(id.round).unwrap_or(0);
    let ends = offering.cooling_off_ends(id.round, bid);
    if bid.cooling_off && now < ends && now < clearable && round.status == Status::Open && bid.cash > 0 {
        html += &format!("<p>Cooling-off ends {}.</p>\n", until(ends.min(clearable), now));
        let words = format!(
            "Takes back all of {}. It is final: no more bids of yours in this round.",
            cash(bid.cash)
        );
        html += &Act {
            action: "withdraw",
            role: "owner",
            title: "Withdraw",
            words: &words,
            fields: fields(),
            button: "Withdraw the bid",
        }
        .html();
    }
    let cleared = round.status == Status::Cleared;
    if cleared && !failed && !bid.settled && bid.cash > 0 {
        let words = "Makes the position that the bid has bought.";
        html += &Act {
            action: "settle",
            role: "anyone",
            title: "Settle",
            words,
            fields: fields(),
            button: "Settle",
        }
        .html();
    }
    let back = due(view, id, bid);
    if back > 0 && (failed || cleared) {
        let words =
            format!("Pays {} to the wallet that bid, and settles the bid if that was not done.", cash(back));
        html += &Act {
            action: "refund",
            role: "anyone",
            title: "Refund",
            words: &words,
            fields: fields(),
            button: "Take the refund",
        }
        .html();
    }
    let Some(position) = position(offering, id, bid, now) else { return html };
    if view.raise.treasury.refunding(offering, now) {
        if bid.settled && view.raise.treasury.refund_of(offering, id).is_ok_and(|share| share > 0) {
            let words = "Pays the position\u{2019}s share of its pot to the wallet that bid.";
            html += &Act {
                action: "pot-refund",
                role: "anyone",
                title: "Refund from the treasury",
                words,
                fields: fields(),
                button: "Take the share",
            }
            .html();
        }
        return html;
    }
    let deliverable = vested(view, bid, position.credits).saturating_sub(position.delivered);
    if deliverable > 0 {
        let to = if now < offering.unlock_at(id) { "the position\u{2019}s vault" } else { "your wallet" };
        let words = format!("Mints {} to {to}.", shared.coins.credits(Credits::from_units(deliverable)));
        html += &Act {
            action: "deliver",
            role: "owner",
            title: "Deliver",
            words: &words,
            fields: fields(),
            button: "Deliver the credits",
        }
        .html();
    }
    let kept = view.raise.credits.of(Holder::Vault(id));
    if cleared && kept > 0 && now >= offering.unlock_at(id) {
        let words = format!(
            "The lock is over: moves {} from the vault to the wallet.",
            shared.coins.credits(Credits::from_units(kept))
        );
        html += &Act {
            action: "release",
            role: "anyone",
            title: "Open the vault",
            words: &words,
            fields: fields(),
            button: "Open the vault",
        }
        .html();
    }
    html
}

/// A bid as people write it: round/entity, or round/window/entity in a rising round.
pub(super) fn show(id: BidId) -> String {
    match id.window {
        0 => format!("{}/{}", id.round, id.entity),
        window => format!("{}/{window}/{}", id.round, id.entity),
    }
}

/// The other way round.
pub(super) fn read(text: &str) -> Option<BidId> {
    let parts: Vec<&str> = text.split('/').collect();
    match parts[..] {
        [round, entity] => {
            Some(BidId { round: round.parse().ok()?, window: 0, entity: entity.parse().ok()? })
        }
        [round, window, entity] => Some(BidId {
            round: round.parse().ok()?,
            window: window.parse().ok()?,
            entity: entity.parse().ok()?,
        }),
        _ => None,
    }
}

/// A name in a sentence.
pub(super) fn name(shared: &Shared, round: u8) -> String {
    let found = shared.plan.rounds.get(usize::from(round));
    found.map_or_else(String::new, |round| format!("\u{201c}{}\u{201d}", plain(&round.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bid_is_written_as_it_is_read() {
        for id in [
            BidId { round: 0, window: 0, entity: 7 },
            BidId { round: 7, window: 0, entity: u64::MAX },
            BidId { round: 2, window: 311, entity: 1 },
        ] {
            assert_eq!(read(&show(id)), Some(id));
        }
        for text in ["", "1", "1/", "/1", "1/2/3/4", "256/1", "1/-1", "1/1/18446744073709551616"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
