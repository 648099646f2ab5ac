//! Sentences that the terminal and the page share.

use earnest_core::money::Cash;
use earnest_core::plan::date::utc;
use earnest_core::raise::Raise;

use crate::figure::{Coins, grouped, percent, price};
use crate::summary::{Outcomes, RoundState, RoundSummary, SoftCapState, Summary, tap_start};

const DAY_SECS: u64 = 86_400;

/// Whether the soft cap was met, in a sentence.
pub fn soft_cap_words(summary: &Summary, coins: &Coins) -> String {
    let soft_cap = &summary.soft_cap;
    let by = soft_cap.date.map_or_else(String::new, |date| format!(" by {}", utc(date)));
    let cap = coins.short_cash(soft_cap.cap);
    match soft_cap.state {
        SoftCapState::None => "none: the sale stands however little it takes".to_owned(),
        SoftCapState::Met => format!("met: {cap} were needed{by}"),
        SoftCapState::Missed => {
            format!("missed: {} of {cap}{by}; every bid goes back whole", coins.short_cash(soft_cap.raised))
        }
        SoftCapState::NotYet => {
            let part = percent(soft_cap.raised.units().into(), soft_cap.cap.units().into());
            format!(
                "not met yet: {} of {cap} ({part}) in cleared rounds, to be met{by}",
                coins.short_cash(soft_cap.raised)
            )
        }
    }
}

/// What is going on in a round, and at what price it sells.
pub fn state_and_price(round: &RoundSummary, coins: &Coins) -> String {
    let state = capital(&round.state_words);
    match round.state {
        RoundState::Failed => format!("{state}."),
        _ => format!("{state}. {}", prices(round, coins)),
    }
}

fn prices(round: &RoundSummary, coins: &Coins) -> String {
    let for_sale = format!("up to {}", coins.short_credits(round.supply));
    if let Some(clearing) = round.clearing_price {
        return format!("One price for all: {}, for {for_sale}.", coins.price(clearing));
    }
    match (round.kind, round.list_price, round.indicative_price, round.window_prices) {
        ("auction", Some(floor), Some(now), _) => {
            format!("Would clear at {} as bids stand; floor {}, {for_sale}.", coins.price(now), price(floor))
        }
        ("auction", Some(floor), ..) => format!("Floor {}, {for_sale}.", coins.price(floor)),
        (_, Some(list), ..) => format!("{}, {for_sale}.", coins.price(list)),
        (_, None, _, Some((low, high))) if low < high => {
            format!("Windows at {} to {}, {for_sale}.", price(low), coins.price(high))
        }
        (_, None, _, Some((only, _))) => format!("Windows at {}, {for_sale}.", coins.price(only)),
        _ => format!("For sale: {for_sale}."),
    }
}

/// How many bids fared how; `None` while none is known.
pub fn outcomes_words(outcomes: &Outcomes) -> Option<String> {
    let parts = [
        (outcomes.filled_whole, "filled whole"),
        (outcomes.pro_rata, "cut pro rata"),
        (outcomes.lost, "lost"),
        (outcomes.withdrawn, "withdrawn"),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|&(number, _)| number > 0)
        .map(|(number, what)| format!("{} {what}", grouped(&number.to_string())))
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// How fast the tap runs and from when.
pub fn tap_speed(summary: &Summary, raise: &Raise, coins: &Coins) -> String {
    let per_sec = summary.treasury.tap_per_sec;
    // A day's rate in the plan was rounded down to a base unit a second, which this makes up for.
    let a_day =
        Cash::from_units((per_sec.units() + u64::from(per_sec > Cash::ZERO)).saturating_mul(DAY_SECS));
    let start = match tap_start(raise) {
        None => "from the day the service is live".to_owned(),
        Some(start) => format!("counting from {}", utc(start)),
    };
    format!("at most {} a second, about {} a day, {start}", coins.cash(per_sec), coins.short_cash(a_day))
}

/// The first letter large.
pub fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
