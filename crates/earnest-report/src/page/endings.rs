//! How it can end for a backer.

use earnest_core::money::Cash;
use earnest_core::plan::Plan;
use earnest_core::plan::date::{duration, utc};
use earnest_core::plan::explain::most_before_live;

use super::markup::{Cell, heading, table};
use crate::Summary;
use crate::figure::Coins;
use crate::summary::{Attested, SoftCapState};

pub(super) fn section(summary: &Summary, plan: &Plan, coins: &Coins) -> String {
    let mut rows = vec![soft_cap(summary, coins), lost(summary, coins)];
    rows.extend(withdrawn(plan));
    rows.push(live(summary));
    rows.push(never_live(summary, plan, coins));
    rows.extend(locked(plan));
    rows.push([
        "A vote of backers".to_owned(),
        "Nothing changes: this deployment has no votes, and none can be added.".to_owned(),
        "cannot happen".to_owned(),
    ]);
    let rows: Vec<Vec<Cell>> =
        rows.into_iter().map(|row| row.map(Cell::words).into_iter().collect()).collect();
    let text = heading(2, "endings", "How it can end");
    let table = table("What a backer gets, ending by ending", &["If", "A backer gets", "Now"], &rows, false);
    text + &format!("<div class=\"prose\">{table}</div>\n")
}

fn soft_cap(summary: &Summary, coins: &Coins) -> [String; 3] {
    let soft_cap = &summary.soft_cap;
    let by = soft_cap.date.map_or_else(String::new, |date| format!(" by {}", utc(date)));
    let now = match soft_cap.state {
        SoftCapState::None => "cannot happen: there is no soft cap",
        SoftCapState::NotYet => "open",
        SoftCapState::Met => "cannot happen any more: it is met",
        SoftCapState::Missed => "this has happened",
    };
    let what = match soft_cap.cap {
        Cash::ZERO => "The soft cap is missed".to_owned(),
        cap => format!("Cleared rounds take less than {}{by}", coins.short_cash(cap)),
    };
    [what, "All cash of every bid, settled or not.".to_owned(), now.to_owned()]
}

fn lost(summary: &Summary, coins: &Coins) -> [String; 3] {
    let now = match summary.totals.refunds_owed {
        Cash::ZERO => "nothing owed".to_owned(),
        owed => format!("{} owed", coins.short_cash(owed)),
    };
    [
        "The bid loses or is cut".to_owned(),
        "The cash that did not buy, as soon as the round is cleared.".to_owned(),
        now,
    ]
}

fn withdrawn(plan: &Plan) -> Option<[String; 3]> {
    let days = plan.regimes.iter().map(|regime| regime.cooling_off_days).max().filter(|&days| days > 0)?;
    Some([
        "The bid is withdrawn in cooling-off".to_owned(),
        format!("The whole bid, at once. Some regimes of the plan allow it, for at most {days} days."),
        "while the round is not cleared".to_owned(),
    ])
}

fn live(summary: &Summary) -> [String; 3] {
    [
        "The service is live in time".to_owned(),
        "Credits as they vest. From then on neither a position nor a credit turns back into cash.".to_owned(),
        match summary.live {
            Attested::Effective { .. } => "this has happened".to_owned(),
            state if summary.refunding || summary.failed() => {
                format!("cannot happen any more: {}", state.words())
            }
            state => state.words(),
        },
    ]
}

fn never_live(summary: &Summary, plan: &Plan, coins: &Coins) -> [String; 3] {
    let gone = match most_before_live(plan) {
        Cash::ZERO => "all of it, for nothing can have left before".to_owned(),
        most => format!("less its part of what the tap had paid, at most {} in all", coins.short_cash(most)),
    };
    let now = match (summary.live, summary.deadline.checked_sub(summary.as_of)) {
        (Attested::Effective { .. }, _) => "cannot happen any more".to_owned(),
        _ if summary.failed() => "does not matter any more".to_owned(),
        _ if summary.refunding => "this has happened".to_owned(),
        (_, Some(secs)) => format!("{} left", duration(secs / 86_400 * 86_400)),
        (_, None) => "open".to_owned(),
    };
    [
        format!("The service is not live by {}", utc(summary.deadline)),
        format!("The cash paid, {gone}. No credits. No vote is needed."),
        now,
    ]
}

fn locked(plan: &Plan) -> Option<[String; 3]> {
    let days = plan.regimes.iter().map(|regime| regime.lock_days).max().filter(|&days| days > 0)?;
    Some([
        "Credits are locked".to_owned(),
        format!(
            "Credits in a vault, to be spent on service at once and to be sold only after the lock, at most {days} days \
             from clearing."
        ),
        "by regime".to_owned(),
    ])
}
