//! What happened, newest first, in words.

use earnest_chain::fact::{Coin, Event, Fact};
use earnest_core::bid::BidId;
use earnest_core::money::{Cash, Credits};
use earnest_core::offering::LIVE;
use earnest_core::plan::date::utc;
use earnest_report::figure::plain;
use earnest_report::page::markup::{escape, paragraph};

use super::Shared;
use super::keeper::View;
use super::page::{Page, as_of};
use super::words::short;

pub(super) fn page(shared: &Shared, view: &View) -> Page {
    Page::new("Activity", "/activity").live("standing", as_of(view)).live("events", list(shared, view))
}

fn list(shared: &Shared, view: &View) -> String {
    let told: Vec<String> = view.newest.iter().filter_map(|event| item(shared, view, event)).collect();
    if told.is_empty() {
        return paragraph("Nothing has happened yet.");
    }
    format!(
        "<p class=\"quiet\">The newest of {} events. Transfers between wallets are left out.</p>\n<ol class=\"events\">\n{}</ol>\n",
        view.events.max(told.len() as u64),
        told.concat()
    )
}

fn item(shared: &Shared, view: &View, event: &Event) -> Option<String> {
    let words = words(shared, view, &event.fact)?;
    Some(format!(
        "<li><time>{}</time> <span>{}</span> <span class=\"quiet\">block {}, transaction <code>{}</code></span></li>\n",
        utc(event.time),
        escape(&words),
        event.block,
        event.tx
    ))
}

/// An event in a sentence; `None` for what follows from another one.
fn words(shared: &Shared, view: &View, fact: &Fact) -> Option<String> {
    let cash = |units: u128| shared.coins.cash(Cash::from_units(u64::try_from(units).unwrap_or(u64::MAX)));
    let credits = |units: u128| shared.coins.whole_credits(Credits::from_units(units));
    let round = |index: u8| {
        let name = view.summary.rounds.get(usize::from(index)).map_or("a round", |round| round.name.as_str());
        format!("\u{201c}{name}\u{201d}")
    };
    let who = |id: &BidId| format!("Entity {}", id.entity);
    let subject =
        |subject: u8| match shared.plan.treasury.milestones.get(usize::from(subject).wrapping_sub(1)) {
            Some(milestone) if subject != LIVE => {
                format!("the milestone \u{201c}{}\u{201d}", plain(&milestone.name))
            }
            _ => "that the service is live".to_owned(),
        };
    Some(match fact {
        Fact::AttesterChanged { attester, generation: 0 } => {
            format!("The issuer removed the attester {}.", short(*attester))
        }
        Fact::AttesterChanged { attester, generation } => {
            format!("Attester {} signs with generation {generation}.", short(*attester))
        }
        Fact::BidPlaced { id, bid, .. } => format!(
            "{} bids {} in {}, from {}.",
            who(id),
            cash(bid.cash.into()),
            round(id.round),
            short(bid.wallet)
        ),
        Fact::BidWithdrawn { id, cash: back, .. } => {
            format!("{} withdrew its bid from {} and got {} back.", who(id), round(id.round), cash(*back))
        }
        Fact::CoolingOffLapsed { id } => {
            format!("The cooling-off of {} in {} is over.", who(id), round(id.round))
        }
        Fact::Paused { round: index, until } => {
            format!("The guardian paused bids in {} until {}.", round(*index), utc(*until))
        }
        Fact::ClearingAdvanced { round: index, .. } => format!("Clearing of {} went on.", round(*index)),
        Fact::Cleared { round: index, sold, proceeds } => {
            format!("{} was cleared: {} sold for {}.", round(*index), credits(*sold), cash(*proceeds))
        }
        Fact::WindowCleared { round: index, window, sold, used } => {
            format!("Window {window} of {} sold {} for {}.", round(*index), credits(*sold), cash(*used))
        }
        Fact::Settled { id, credits: got, paid, refund } => format!(
            "{} settled in {}: {} for {}, {} back.",
            who(id),
            round(id.round),
            credits(*got),
            cash(*paid),
            cash(*refund)
        ),
        Fact::Refunded { id, cash: back, payee } => {
            format!(
                "{} took back {} from {}, paid to {}.",
                who(id),
                cash(*back),
                round(id.round),
                short(*payee)
            )
        }
        Fact::Swept { round: index, cash: swept } => {
            format!("{} of {} went to the treasury.", cash(*swept), round(*index))
        }
        Fact::Attested { subject: about, effective_at, .. } => {
            format!(
                "The certifier attested {}; in effect {} unless objected to.",
                subject(*about),
                utc(*effective_at)
            )
        }
        Fact::Objected { subject: about } => format!("The guardian objected to {}.", subject(*about)),
        Fact::Delivered { id, credits: got, to } => {
            format!("{} had {} delivered to {}.", who(id), credits(*got), short(*to))
        }
        Fact::Drawn { cash: drawn, to } => {
            format!("The issuer drew {}, paid to {}.", cash(*drawn), short(*to))
        }
        Fact::Synced { class, moved } => {
            format!("{} moved from the pot of {} to the circulating pot.", cash(*moved), round(*class))
        }
        Fact::PotRefunded { id, cash: back, payee } => format!(
            "{} took its share of the pot of {}, {}, paid to {}.",
            who(id),
            round(id.round),
            cash(*back),
            short(*payee)
        ),
        Fact::Deposited { .. } | Fact::Transfer { coin: Coin::Cash | Coin::Credits, .. } => return None,
    })
}
