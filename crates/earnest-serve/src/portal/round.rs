//! One round: its book and price, and the form to bid in it.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::Response;
use earnest_core::money::Cash;
use earnest_core::plan::date::duration;
use earnest_core::plan::{RoundKind, RoundPlan};
use earnest_report::page::markup::{escape, facts, heading, paragraph};
use earnest_report::page::part;
use earnest_report::summary::RoundState;

use super::keeper::View;
use super::page::{Act, Page, as_of, given, quoted, typed, until};
use super::{At, Look, Shared, shown};

pub(super) async fn get(at: At, Path(index): Path<u8>, look: Query<Look>) -> Response {
    let State(shared): &State<Arc<Shared>> = &at;
    let exists = usize::from(index) < shared.plan.rounds.len();
    shown(at.clone(), look, |shared, view, _| exists.then(|| page(shared, view, index)))
}

fn page(shared: &Shared, view: &View, index: u8) -> Page {
    let plan = &shared.plan.rounds[usize::from(index)];
    let round = &view.summary.rounds[usize::from(index)];
    Page::new(&plan.name, "/")
        .live("standing", as_of(view) + &standing(view, index))
        .live("book", book(shared, view, index))
        .live("bid", bid(shared, view, index))
        .live("acts", acts(view, index, &round.state))
        .fixed("rules", rules(shared, plan))
}

fn standing(view: &View, index: u8) -> String {
    let round = &view.summary.rounds[usize::from(index)];
    let next = match round.state {
        RoundState::NotOpenYet { opens_at } => format!("Opens {}.", until(opens_at, view.now)),
        RoundState::Open { closes_at } => format!("Closes {}.", until(closes_at, view.now)),
        RoundState::Paused { until: end, closes_at } => format!(
            "Bids are paused by the guardian until {}; the round closes {}.",
            until(end, view.now),
            until(closes_at, view.now)
        ),
        RoundState::Closed { clearable_at } => {
            format!("Closed. May be cleared {}, once all cooling-off is over.", until(clearable_at, view.now))
        }
        _ => escape(&earnest_report::words::capital(&round.state_words)) + ".",
    };
    format!("<p class=\"standing\"><span class=\"tag\">{}</span> {next}</p>\n", round.state.word())
}

fn book(shared: &Shared, view: &View, index: u8) -> String {
    // Figures of every bid change often; a reader who listens hears one sentence, and only when it is another.
    let round = &view.summary.rounds[usize::from(index)];
    let words = format!("{} bid in {} bids.", shared.coins.short_cash(round.cash_bid), round.bids);
    heading(2, "book-heading", "Price and book")
        + &part::round(&view.summary, &view.raise, index, &shared.coins)
        + &format!("<p class=\"unseen\" aria-live=\"polite\">{}</p>\n", escape(&words))
}

/// The form, or why there is none now.
fn bid(shared: &Shared, view: &View, index: u8) -> String {
    let round = &view.summary.rounds[usize::from(index)];
    let title = heading(2, "bid-heading", "Bid");
    match round.state {
        RoundState::Open { .. } => title + &form(shared, index),
        RoundState::NotOpenYet { opens_at } => {
            title + &format!("<p>The round takes no bids yet. It opens {}.</p>\n", until(opens_at, view.now))
        }
        RoundState::Paused { until: end, .. } => {
            title + &format!("<p>Bids are paused until {}.</p>\n", until(end, view.now))
        }
        _ => {
            title
                + &paragraph(
                    "The round takes no more bids. What became of yours is under \u{201c}Your positions\u{201d}.",
                )
        }
    }
}

fn form(shared: &Shared, index: u8) -> String {
    let plan = &shared.plan.rounds[usize::from(index)];
    let coins = &shared.coins;
    let symbol = earnest_report::figure::plain(&shared.plan.cash.symbol);
    let most = plan.max_bid.map_or_else(String::new, |most| format!(", at most {}", coins.cash(most)));
    let limits = format!(
        "In all for this round, at least {}{most}. Your permit may say otherwise.",
        coins.cash(plan.min_bid)
    );
    let mut fields = given("round", index);
    fields += &typed(
        "bid-cash",
        "cash",
        &format!("Cash, in {symbol}"),
        &limits,
        "inputmode=\"decimal\" required maxlength=\"40\"",
    );
    if let RoundKind::Auction(auction) = &plan.kind {
        let top = auction.price(auction.ticks - 1).unwrap_or(auction.floor_price);
        fields += &typed(
            "bid-limit",
            "limit",
            &format!("Most you would pay for a credit, in {symbol}"),
            &format!(
                "From {} to {} in steps of {}. Everybody who gets in pays the same price, never more than their limit.",
                auction.floor_price, top, auction.tick
            ),
            "inputmode=\"decimal\" required maxlength=\"40\"",
        );
    }
    fields += &schedules(shared, plan);
    fields += "<div id=\"preview\" data-local class=\"preview\" aria-live=\"polite\"><p class=\"quiet\">What the bid can come to shows here as you type.</p></div>\n";
    format!(
        "<noscript><p>To bid from this page, turn JavaScript on. The command line does the same: \
         <code>earnest offering bid</code>.</p></noscript>\n{}{}",
        permit(shared, index),
        Act {
            action: "bid",
            role: "anyone",
            title: "Your bid",
            words: "Nothing is sent before you have seen what it does and your wallet has asked you.",
            fields,
            button: "Check the bid",
        }
        .html()
        .replace(" Anyone may do this.", "")
    )
}

fn schedules(shared: &Shared, round: &RoundPlan) -> String {
    let option = |(i, name): (usize, &String)| {
        let found = shared.plan.schedule(name).map(|(_, schedule)| schedule);
        let discount = found
            .filter(|schedule| schedule.discount.get() > 0)
            .map_or_else(String::new, |schedule| format!(", at a discount of {}", schedule.discount));
        let length = found.and_then(|schedule| schedule.points.last()).map_or_else(
            String::new,
            |&(secs, _)| match secs {
                0 => "all at once when live".to_owned(),
                secs => format!("in full {} after live", duration(secs.into())),
            },
        );
        format!(
            "<div class=\"choice\"><input type=\"radio\" name=\"schedule\" id=\"schedule-{i}\" value=\"{}\"{}>\
             <label for=\"schedule-{i}\">{}: {length}{discount}</label></div>\n",
            escape(name),
            if i == 0 { " checked" } else { "" },
            quoted(name)
        )
    };
    let options: String = round.schedules.iter().enumerate().map(option).collect();
    format!("<fieldset class=\"choices\"><legend>Vesting schedule</legend>\n{options}</fieldset>\n")
}

/// Where the purchase permit comes from: the attester's service, or a file.
fn permit(shared: &Shared, index: u8) -> String {
    let ask = match shared.attester {
        true => "<button type=\"button\" id=\"permit-ask\">Ask the attester</button>\n",
        false => "",
    };
    format!(
        "<section id=\"permit\" class=\"act\" data-local aria-labelledby=\"permit-heading\" data-round=\"{index}\">\n\
         <h3 id=\"permit-heading\">Purchase permit</h3>\n\
         <p>A bid needs an attester\u{2019}s word that this wallet may buy here: a purchase permit. It holds limits, a lock \
         and the terms it was given under, and moves no money.</p>\n\
         <p id=\"permit-state\" class=\"standing\" role=\"status\">No permit yet.</p>\n\
         <div class=\"buttons\">{ask}<button type=\"button\" id=\"permit-forget\" class=\"quiet-button\" hidden>Forget this permit</button></div>\n\
         <details id=\"permit-load\"><summary>Load a permit that you were given</summary>\n\
         <div class=\"field\"><label for=\"permit-file\">Permit file</label>\n\
         <input id=\"permit-file\" type=\"file\" accept=\"application/json,.json\"></div>\n\
         <div class=\"field\"><label for=\"permit-text\">Or paste it here</label>\n\
         <textarea id=\"permit-text\" rows=\"4\" spellcheck=\"false\" autocomplete=\"off\" maxlength=\"6000\"></textarea></div>\n\
         <button type=\"button\" id=\"permit-take\" class=\"quiet-button\">Use it</button></details>\n\
         <p class=\"problem\" id=\"permit-problem\" role=\"alert\" hidden></p>\n</section>\n"
    )
}

/// What anyone, or a role, may do with the round as it is.
fn acts(view: &View, index: u8, state: &RoundState) -> String {
    let mut html = String::new();
    let round = &view.raise.offering.rounds[usize::from(index)];
    let fields = given("round", index);
    match state {
        RoundState::Clearable | RoundState::Clearing => {
            let words =
                "Finds the price by the rules and fixes who bought. It may take several transactions.";
            html += &Act {
                action: "clear",
                role: "anyone",
                title: "Clear the round",
                words,
                fields,
                button: "Clear",
            }
            .html();
        }
        RoundState::Cleared { .. } if round.proceeds + round.dust > round.swept => {
            let words =
                "Moves what the round sold for into its pot of the treasury, once the soft cap is met.";
            html += &Act {
                action: "sweep",
                role: "anyone",
                title: "Sweep the proceeds",
                words,
                fields,
                button: "Sweep",
            }
            .html();
        }
        RoundState::Open { .. } | RoundState::Paused { .. } => {
            let left = round.pause_left + round.paused_until.saturating_sub(view.now);
            let words = format!(
                "Stops bids for a while, never withdrawals or refunds, and moves the close by as much. Left in this round: \
                 {}.",
                duration(left)
            );
            let hours = typed(
                "pause-hours",
                "hours",
                "Hours from now on",
                "Whole hours; 0 ends a pause.",
                "inputmode=\"numeric\" required maxlength=\"6\"",
            );
            let fields = fields + &hours;
            html += &Act {
                action: "pause",
                role: "guardian",
                title: "Pause bids",
                words: &words,
                fields,
                button: "Pause",
            }
            .html();
        }
        _ => {}
    }
    html
}

fn rules(shared: &Shared, plan: &RoundPlan) -> String {
    let coins = &shared.coins;
    let mut rows = vec![
        ("Bids from", escape(&earnest_core::plan::date::utc(plan.open))),
        ("Bids until", escape(&earnest_core::plan::date::utc(plan.close))),
        ("Least bid", escape(&coins.cash(plan.min_bid))),
    ];
    if let Some(most) = plan.max_bid {
        rows.push(("Most for one buyer", escape(&coins.cash(most))));
    }
    let days = shared.plan.cooling_off_days(plan);
    let cooling_off = match days {
        0 => "none: a bid stands".to_owned(),
        1 => "1 day, where the permit says so".to_owned(),
        days => format!("{days} days, where the permit says so"),
    };
    rows.push(("Cooling-off", escape(&cooling_off)));
    let regimes: Vec<String> = plan
        .regimes
        .iter()
        .filter_map(|name| shared.plan.regime(name))
        .map(|(_, regime)| match regime.lock_days {
            0 => format!("{}: no lock", quoted(&regime.name)),
            days => format!("{}: credits locked {days} days from clearing", quoted(&regime.name)),
        })
        .collect();
    rows.push(("Who may buy", regimes.join("<br>")));
    let how = match &plan.kind {
        RoundKind::Fixed(fixed) | RoundKind::Private(fixed) if fixed.first_come => {
            "First come: a bid beyond what is left is refused.".to_owned()
        }
        RoundKind::Fixed(_) | RoundKind::Private(_) => {
            "If more is asked for than is for sale, every bid is cut by the same part, and the rest of the cash comes back."
                .to_owned()
        }
        RoundKind::Auction(_) => "Bids are filled from the highest limit down. All who get in pay the lowest price that sells \
                                  everything; at that very limit bids are cut by the same part. Those below lose and get \
                                  all their cash back."
            .to_owned(),
        RoundKind::Rising(rising) => format!(
            "The price climbs with what was sold. Bids of one window of {} pay one price; a window takes at most {}, and \
             the rest comes back.",
            duration(rising.window_secs.into()),
            coins.cash(Cash::from_units(rising.window_cap.units()))
        ),
    };
    heading(2, "rules-heading", "Rules of this round") + &paragraph(&how) + &facts(&rows)
}
