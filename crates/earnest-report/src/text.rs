//! A raise as lines of a terminal. Blocks and bars need Unicode and no colour: whatever a glyph says, words say
//! beside it.

use earnest_core::bid::{Bid, BidId, Position};
use earnest_core::money::{Cash, Credits, Price};
use earnest_core::offering::{LIVE, Sale};
use earnest_core::plan::date::{duration, utc};
use earnest_core::plan::{Plan, Time};
use earnest_core::raise::Raise;
use earnest_core::schedule::Schedule;

use crate::book::{AuctionBook, Level, Window, rising_start, windows};
use crate::figure::{
    Coins, average, count, day, grouped, percent, plain, price, ratio, short_credits, whole_credits,
};
use crate::lines::{Column, Lines, bar, cut, gauge, spark};
use crate::position::{Fate, fate, position as position_of};
use crate::summary::{Attested, Outcomes, RoundState, RoundSummary, SoftCapState, Summary, tap_start};
use crate::vesting::live_from;

/// Most rows of an order book.
const BOOK_ROWS: u16 = 16;
/// Most rows of a position's calendar.
const CALENDAR_ROWS: u64 = 12;
const DAY_SECS: u64 = 86_400;
/// Width of a position's text.
const POSITION_WIDTH: usize = 80;

/// How the raise stands, for a terminal of so many columns (from 60 on; 80 and more show every column).
pub fn status(summary: &Summary, plan: &Plan, raise: &Raise, now: Time, width: usize) -> String {
    let coins = Coins::of(plan);
    let mut lines = Lines::new(width);
    title(&mut lines, summary);
    headline(&mut lines, summary, &coins);
    rounds(&mut lines, summary, &coins);
    for (index, round) in (0u8..).zip(&summary.rounds) {
        if round.bids == 0 || summary.failed() {
            continue;
        }
        if let Some(book) = AuctionBook::of(&raise.offering, index) {
            order_book(&mut lines, round, &book, &coins);
        }
        if raise.offering.setup.rounds[usize::from(index)].is_rising() {
            rising(&mut lines, round, raise, index, &coins);
        }
    }
    treasury(&mut lines, summary, raise, &coins);
    service(&mut lines, summary, plan, now, &coins);
    lines.finish()
}

fn title(lines: &mut Lines, summary: &Summary) {
    lines.heading(&summary.offering);
    lines.paragraph(&format!("{}, as of {}", summary.issuer, utc(summary.as_of)));
    if let Some(note) = &summary.note {
        lines.paragraph(&format!("Note: {note}"));
    }
    lines.line("");
}

fn headline(lines: &mut Lines, summary: &Summary, coins: &Coins) {
    let totals = &summary.totals;
    let part = percent(totals.raised.units().into(), summary.hard_cap.units().into());
    lines.field(
        "Raised",
        &format!(
            "{} ({}), {part} of the hard cap of {}",
            coins.short_cash(totals.raised),
            coins.cash(totals.raised),
            coins.short_cash(summary.hard_cap)
        ),
    );
    lines.field(
        "Bid",
        &format!(
            "{} in {} of {}",
            coins.short_cash(totals.cash_bid),
            count(totals.bids, "bid"),
            count(totals.backers, "backer")
        ),
    );
    let average = Price::average(totals.raised, totals.sold);
    lines.field(
        "Sold",
        &match totals.sold {
            Credits::ZERO => format!("no {} yet", coins.credits(Credits::ZERO).trim_start_matches("0 ")),
            sold => format!("{}, {} on average", coins.short_credits(sold), coins.average(average)),
        },
    );
    lines.field("Soft cap", &soft_cap_words(summary, coins));
    let owed = match totals.refunds_owed {
        Cash::ZERO => "none owed".to_owned(),
        owed => format!("{} owed and not pulled", coins.cash(owed)),
    };
    lines.field("Refunds", &format!("{} paid, {owed}", coins.cash(totals.refunded)));
    lines.field("Escrow", &format!("{} with the rounds", coins.cash(totals.escrow)));
}

/// Whether the soft cap was met, in a sentence.
pub(crate) fn soft_cap_words(summary: &Summary, coins: &Coins) -> String {
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

fn rounds(lines: &mut Lines, summary: &Summary, coins: &Coins) {
    lines.heading("Rounds");
    let columns = [
        Column::words("round", 0),
        Column::words("kind", 2),
        Column::words("state", 0),
        Column::figure("bids", 0),
        Column::figure("cash bid", 3),
        Column::figure("raised", 0),
        Column::figure("sold", 1),
        Column::figure("average price", 0),
    ];
    let mut rows: Vec<Vec<String>> = summary.rounds.iter().map(|round| round_row(round, coins)).collect();
    let totals = &summary.totals;
    if summary.rounds.len() > 1 {
        let average = Price::average(totals.raised, totals.sold);
        rows.push(vec![
            "all".to_owned(),
            String::new(),
            String::new(),
            grouped(&totals.bids.to_string()),
            coins.short_cash(totals.cash_bid),
            coins.short_cash(totals.raised),
            short_credits(totals.sold),
            if totals.sold == Credits::ZERO { "-".to_owned() } else { self::average(average) },
        ]);
    }
    lines.table(&columns, &rows);
    lines.line("");
    for round in &summary.rounds {
        lines.field(&round.name, &round_words(round, coins));
    }
}

fn round_row(round: &RoundSummary, coins: &Coins) -> Vec<String> {
    vec![
        cut(&round.name, 24),
        round.kind.to_owned(),
        round.state.word().to_owned(),
        grouped(&round.bids.to_string()),
        coins.short_cash(round.cash_bid),
        coins.short_cash(round.raised_cash),
        short_credits(round.credits_sold),
        round.average_price.map_or("-".to_owned(), average),
    ]
}

/// What a round has come to, in a few sentences.
fn round_words(round: &RoundSummary, coins: &Coins) -> String {
    let mut words = state_and_price(round, coins);
    if round.state == RoundState::Failed {
        return words;
    }
    if round.bids > 0 {
        words += &format!(" Bids come to {} times what is for sale", ratio(round.oversubscription_percent));
        words += match round.kind {
            "auction" => " at the floor price.",
            "rising" => " up to its cap.",
            _ => ".",
        };
    }
    if let Some(outcomes) = outcomes_words(&round.outcomes) {
        words += &format!(" Bids: {outcomes}.");
    }
    if round.refunds_owed > Cash::ZERO || round.refunds_pulled > Cash::ZERO {
        let (pulled, owed) = (coins.short_cash(round.refunds_pulled), coins.short_cash(round.refunds_owed));
        words += &format!(" Refunds: {pulled} pulled, {owed} owed.");
    }
    words
}

/// What is going on in a round, and at what price it sells.
pub(crate) fn state_and_price(round: &RoundSummary, coins: &Coins) -> String {
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
pub(crate) fn outcomes_words(outcomes: &Outcomes) -> Option<String> {
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

fn order_book(lines: &mut Lines, round: &RoundSummary, book: &AuctionBook, coins: &Coins) {
    let levels = book.levels(BOOK_ROWS);
    let is_single = levels.iter().all(|level| level.lowest == level.highest);
    lines.heading(&format!("Demand by price: {}", round.name));
    if let Some(at) = book.price {
        let verb = if book.is_final { "cleared" } else { "would clear, as bids stand," };
        let above = if is_single { "limits above it" } else { "rows above it" };
        lines.paragraph(&format!(
            "▶ marks the row of the price: the round {verb} at {}. Bids in {above} fill whole (█); in the rows below, \
             drawn ░, they go back.",
            coins.price(at)
        ));
    }
    lines.line("");
    let labels = same_decimals(levels.iter().map(|level| level.lowest));
    let head = if is_single { "limit" } else { "limit from" };
    let label_width = labels.iter().map(String::len).max().unwrap_or(0).max(head.len());
    let bar_width = lines.width.saturating_sub(label_width + 24).clamp(8, 48);
    let most = levels.iter().map(|level| level.cash).max().unwrap_or_default();
    lines.line(&format!("  {head:>label_width$}  {:bar_width$}  {:>8}  {:>8}", "", "bid", "in all"));
    let mut is_below = false;
    for (i, (level, label)) in levels.iter().zip(&labels).enumerate() {
        let above = i.checked_sub(1).map(|above| &levels[above]);
        let here = book.price.is_some_and(|price| level.holds(price, above));
        let mut bar = bar(level.cash.units().into(), most.units().into(), bar_width);
        if is_below {
            bar = bar.chars().map(|_| '░').collect();
        }
        let mark = if here { '▶' } else { ' ' };
        let (cash, up) = (coins.short_cash(level.cash), coins.short_cash(weight_of(level)));
        lines.line(&format!("{mark} {label:>label_width$}  {bar:bar_width$}  {cash:>8}  {up:>8}"));
        is_below |= here;
    }
    lines.line("");
    lines.paragraph(&format!(
        "\"In all\" adds up the bids of a row and of all rows above it. All of the supply, {}, costs {} at the floor of {}.",
        coins.short_credits(round.supply),
        coins.short_cash(cost(round.supply, book.at(0))),
        price(book.at(0))
    ));
}

/// Weight is counted in units of cash.
fn weight_of(level: &Level) -> Cash {
    Cash::from_units(level.weight_from_here_up)
}

fn cost(credits: Credits, price: Price) -> Cash {
    Cash::from_units(u64::try_from(credits.cost_floor(price)).unwrap_or(u64::MAX))
}

/// Prices with as many decimals as the longest of them has, so that they stand in a column.
fn same_decimals(prices: impl Iterator<Item = Price>) -> Vec<String> {
    let labels: Vec<String> = prices.map(price).collect();
    let decimals = |label: &str| label.split_once('.').map_or(0, |(_, part)| part.len());
    let most = labels.iter().map(|label| decimals(label)).max().unwrap_or(0);
    let padded = labels.into_iter().map(|label| {
        let missing = most - decimals(&label);
        let dot = if decimals(&label) == 0 && missing > 0 { "." } else { "" };
        format!("{label}{dot}{}", "0".repeat(missing))
    });
    padded.collect()
}

fn rising(lines: &mut Lines, round: &RoundSummary, raise: &Raise, index: u8, coins: &Coins) {
    let windows = windows(&raise.offering, index);
    let Sale::Rising { window_secs, window_cap, .. } = &raise.offering.setup.rounds[usize::from(index)].sale
    else {
        return;
    };
    lines.heading(&format!("Price by window: {}", round.name));
    let each = windows.len().div_ceil(lines.width - 20).max(1);
    if rising_start(&raise.offering, index).is_none() {
        lines.paragraph("Windows are priced once the round that this one follows is cleared.");
        lines.line("");
        let bid = |group: &[Window]| group.iter().map(|window| window.cash.units()).sum::<u64>();
        lines.field("cash bid", &sparks(&windows.chunks(each).map(bid).collect::<Vec<_>>(), 0));
        return;
    }
    // Prices only rise, so the last of several windows speaks for all of them.
    let price_of =
        |group: &[Window]| group.iter().rev().find_map(|window| window.price).unwrap_or_default().units();
    let used = |group: &[Window]| group.iter().map(|window| window.used.units()).sum::<u64>();
    let prices: Vec<u64> = windows.chunks(each).map(price_of).collect();
    let lowest = prices.iter().copied().filter(|&price| price > 0).min().unwrap_or(0);
    lines.field("price", &sparks(&prices, lowest));
    lines.field("cash taken", &sparks(&windows.chunks(each).map(used).collect::<Vec<_>>(), 0));
    let (first, last) = (windows.first().map_or(0, |w| w.opens_at), windows.last().map_or(0, |w| w.opens_at));
    lines.field("", &format!("{} to {}, · is a stretch without sale", day(first), day(last)));
    if let Some((low, high)) = round.window_prices {
        let is_final = windows.iter().all(|window| window.is_final);
        let as_bids_stand = if is_final { "" } else { ", as bids stand" };
        lines.field("lowest", &format!("{}{as_bids_stand}", coins.price(low)));
        lines.field("highest", &format!("{}{as_bids_stand}", coins.price(high)));
    }
    let a_character = if each > 1 { format!("; a character is {each} windows") } else { String::new() };
    lines.field(
        "window",
        &format!(
            "{}, at most {} each{a_character}",
            duration(*window_secs),
            coins.short_cash(Cash::from_units(*window_cap))
        ),
    );
}

/// A character for each value, from `least` to the most of them; a dot for nothing.
fn sparks(values: &[u64], least: u64) -> String {
    let most = values.iter().copied().max().unwrap_or(0);
    values.iter().map(|&value| if value == 0 { '·' } else { spark(value, least, most) }).collect()
}

fn treasury(lines: &mut Lines, summary: &Summary, raise: &Raise, coins: &Coins) {
    let treasury = &summary.treasury;
    lines.heading("Treasury and tap");
    lines.field("Held", &format!("{} in all pots", coins.cash(treasury.held)));
    for pot in treasury.pots.iter().filter(|pot| pot.cash > Cash::ZERO || pot.refunded > Cash::ZERO) {
        let refunded = match pot.refunded {
            Cash::ZERO => String::new(),
            refunded => format!(", {} paid back", coins.cash(refunded)),
        };
        lines.field(&format!("  {}", pot.round), &format!("{}{refunded}", coins.cash(pot.cash)));
    }
    if treasury.circulating > Cash::ZERO {
        lines.field(
            "  circulating",
            &format!("{} behind delivered credits", coins.cash(treasury.circulating)),
        );
    }
    lines.field("Tap", &tap_speed(summary, raise, coins));
    let most = treasury.ceiling.units();
    if summary.refunding {
        lines.field(
            "",
            "shut: the deadline has passed without a live service, and positions take their cash back",
        );
    } else if most > 0 {
        let part = percent(treasury.released.units().into(), most.into());
        let gauge = gauge(treasury.released.units().into(), most.into(), 24);
        lines.field(
            "Released",
            &format!("{} {gauge} {part} of the ceiling", coins.short_cash(treasury.released)),
        );
    } else {
        lines.field("Released", "nothing yet");
    }
    lines.field(
        "Drawn",
        &format!("{}; can be drawn now: {}", coins.cash(treasury.tap_paid), coins.cash(treasury.available)),
    );
    let ceiling = match &treasury.next_ceiling {
        None => format!("{}, the highest", coins.short_cash(treasury.ceiling)),
        Some(next) => {
            format!(
                "{} now, {} after {}",
                coins.short_cash(treasury.ceiling),
                coins.short_cash(next.ceiling),
                next.after
            )
        }
    };
    lines.field("Ceiling", &ceiling);
    if let Some(months) = treasury.pots_last_months.as_ref().filter(|_| treasury.held > Cash::ZERO) {
        lines.field("Pots last", &format!("{months} months at the tap's full speed, ceilings aside"));
    }
}

/// How fast the tap runs and from when.
pub(crate) fn tap_speed(summary: &Summary, raise: &Raise, coins: &Coins) -> String {
    let per_sec = summary.treasury.tap_per_sec;
    let a_day = Cash::from_units(per_sec.units().saturating_mul(DAY_SECS));
    let start = match tap_start(raise) {
        None => "from the day the service is live".to_owned(),
        Some(start) => format!("counting from {}", utc(start)),
    };
    format!("at most {} a second, about {} a day, {start}", coins.cash(per_sec), coins.short_cash(a_day))
}

fn service(lines: &mut Lines, summary: &Summary, plan: &Plan, now: Time, coins: &Coins) {
    lines.heading("Service");
    lines.field("Live", &summary.live.words());
    let deadline = summary.deadline;
    let left = match deadline.checked_sub(now) {
        _ if matches!(summary.live, Attested::Effective { .. }) => "kept".to_owned(),
        Some(secs) if secs > 0 => format!("{} left", duration(secs / DAY_SECS * DAY_SECS)),
        _ => "passed without a live service".to_owned(),
    };
    lines.field("Deadline", &format!("{}: {left}", utc(deadline)));
    for (milestone, written) in summary.milestones.iter().zip(&plan.treasury.milestones) {
        let live = matches!(summary.live, Attested::Effective { .. });
        let waits =
            milestone.counts_only_once_live && !live && !matches!(milestone.state, Attested::NotYet { .. });
        let waits = if waits { ", counts once the service is live" } else { "" };
        let words = milestone.state.words();
        lines.field(
            &plain(&written.name),
            &format!("milestone, ceiling {}: {words}{waits}", coins.short_cash(milestone.ceiling)),
        );
    }
    let coverage = &summary.coverage;
    lines.field("Owed", &format!("{} sold and not delivered", coins.whole_credits(coverage.undelivered)));
    if coverage.vested_undelivered > Credits::ZERO {
        lines.field("", &format!("{} of it vested", coins.whole_credits(coverage.vested_undelivered)));
    }
    let totals = &summary.totals;
    if totals.delivered > Credits::ZERO {
        lines.field(
            "Delivered",
            &format!(
                "{}, of which {} in locked vaults",
                coins.whole_credits(totals.delivered),
                coins.whole_credits(totals.locked_in_vaults)
            ),
        );
    }
    if let (Some(capacity), Some(days), Some(all)) =
        (coverage.capacity_per_day, &coverage.days_for_undelivered, &coverage.days_for_sold)
    {
        lines.field(
            "Capacity",
            &format!(
                "{} a day by the issuer's word: {days} days to serve what is owed, {all} days for all that was sold",
                coins.short_credits(capacity)
            ),
        );
    }
}

/// One bid and the position it became: what was paid, what comes back, when credits vest. The raise must be one of
/// this plan; of a bid that was never made it says so.
pub fn position(plan: &Plan, raise: &Raise, id: BidId, now: Time) -> String {
    let coins = Coins::of(plan);
    let offering = &raise.offering;
    let mut lines = Lines::new(POSITION_WIDTH);
    let bid = offering.bid(id);
    let Some(round) = plan.rounds.get(usize::from(id.round)) else {
        lines.line(&format!("The plan has no round {}.", id.round));
        return lines.finish();
    };
    lines.heading(&format!("Entity {} in {}", id.entity, plain(&round.name)));
    if bid.is_empty() || id.window == BidId::TOTAL {
        lines.line("There is no such bid.");
        return lines.finish();
    }
    bid_made(&mut lines, plan, raise, id, &bid, &coins);
    outcome(&mut lines, raise, id, &bid, now, &coins);
    let Some(position) = position_of(offering, id, &bid, now).filter(|position| position.credits > 0) else {
        return lines.finish();
    };
    if raise.treasury.refunding(offering, now) {
        past_deadline(&mut lines, raise, id, &bid, &coins);
        return lines.finish();
    }
    lock(&mut lines, plan, raise, id, &bid, now);
    vesting(&mut lines, plan, raise, &bid, &position, now, &coins);
    lines.finish()
}

fn bid_made(lines: &mut Lines, plan: &Plan, raise: &Raise, id: BidId, bid: &Bid, coins: &Coins) {
    let mut words = match bid.refunded {
        true => format!("{} stands after the refund", coins.cash(Cash::from_units(bid.cash))),
        false => coins.cash(Cash::from_units(bid.cash)),
    };
    match &raise.offering.setup.rounds[usize::from(id.round)].sale {
        Sale::Auction { prices, .. } => {
            words += &format!(", limit {}", coins.price(Price::from_units(prices.at(bid.tick))));
        }
        Sale::Rising { window_secs, .. } => {
            let opens =
                raise.offering.rounds[usize::from(id.round)].open + u64::from(id.window) * window_secs;
            words += &format!(", in window {} from {}", id.window, utc(opens));
        }
        Sale::Fixed { price, .. } => words += &format!(", at {}", coins.price(Price::from_units(*price))),
    }
    lines.field("Bid", &words);
    lines.field("Wallet", &bid.wallet.to_string());
    if let Some(regime) = plan.regimes.get(usize::from(bid.lock_class)) {
        let affiliate = if bid.affiliate { ", affiliate of the issuer" } else { "" };
        lines.field("Regime", &format!("{}{affiliate}", plain(&regime.name)));
    }
}

fn outcome(lines: &mut Lines, raise: &Raise, id: BidId, bid: &Bid, now: Time, coins: &Coins) {
    let offering = &raise.offering;
    let fate = fate(offering, id, bid);
    if offering.failed(now) && fate != Some(Fate::Withdrawn) {
        let state = if bid.cash == 0 { "and was pulled" } else { "and is there to be pulled" };
        lines.field("Outcome", &format!("the soft cap was missed: the whole bid goes back {state}"));
        return;
    }
    let words = match fate {
        None => "open: the round is not cleared",
        Some(Fate::Withdrawn) => "withdrawn in cooling-off, cash returned",
        Some(Fate::Whole) => "filled whole",
        Some(Fate::ProRata) => "cut pro rata",
        Some(Fate::Lost) => "lost: all its cash goes back",
    };
    lines.field("Outcome", words);
    let Some(position) = position_of(offering, id, bid, now) else { return };
    if matches!(fate, Some(Fate::ProRata | Fate::Lost)) {
        let back = match bid.refunded {
            true => "pulled".to_owned(),
            false => format!("{} to be pulled", coins.cash(Cash::from_units(offering.outcome(id).0.back))),
        };
        lines.field("Refund", &back);
    }
    if position.credits > 0 {
        let (paid, credits) = (Cash::from_units(position.paid), Credits::from_units(position.credits));
        let average = coins.average(Price::average(paid, credits));
        lines.field("Position", &format!("{} for {}, {average}", coins.credits(credits), coins.cash(paid)));
        if !bid.settled {
            lines.field("", "not settled yet: anyone may settle it");
        }
    }
}

fn past_deadline(lines: &mut Lines, raise: &Raise, id: BidId, bid: &Bid, coins: &Coins) {
    let left = match raise.treasury.refund_of(&raise.offering, id) {
        _ if !bid.settled => "to be known once the bid is settled".to_owned(),
        Ok(cash) => format!("{} to be taken", coins.cash(Cash::from_units(cash))),
        Err(error) => error.to_string(),
    };
    let taken = Cash::from_units(raise.treasury.refunded.get(&id).copied().unwrap_or(0));
    lines.field("Treasury", "the deadline has passed without a live service: no credits, cash goes back");
    lines.field("", &format!("{left}, {} taken", coins.cash(taken)));
}

fn lock(lines: &mut Lines, plan: &Plan, raise: &Raise, id: BidId, bid: &Bid, now: Time) {
    let until = raise.offering.unlock_at(id);
    let days = plan.regimes.get(usize::from(bid.lock_class)).map_or(0, |regime| regime.lock_days);
    let words = match days {
        0 => "none: delivered credits are free".to_owned(),
        _ if now >= until => format!("over since {}", utc(until)),
        _ => format!(
            "until {}: credits delivered before lie in a vault, to be spent on service only",
            utc(until)
        ),
    };
    lines.field("Lock", &words);
}

fn vesting(
    lines: &mut Lines,
    plan: &Plan,
    raise: &Raise,
    bid: &Bid,
    position: &Position,
    now: Time,
    coins: &Coins,
) {
    let index = usize::from(bid.schedule);
    let schedule = &raise.offering.setup.schedules[index];
    let is_live = raise.offering.is_effective(LIVE, now);
    let (from, is_assumed) = live_from(raise, now);
    let name = plan.schedules.get(index).map_or_else(String::new, |schedule| plain(&schedule.name));
    let shape = if schedule.linear { "in straight lines" } else { "in steps" };
    lines.heading(&format!("Vesting: {name}"));
    lines.paragraph(&match (is_live, is_assumed) {
        (true, _) => format!("Vests {shape} from {}, when the service went live.", utc(from)),
        (false, false) => format!("Vests {shape} from {}, when the service counts as live unless objected to.", utc(from)),
        (false, true) => format!(
            "Vests {shape} once the service is live. It is not: the dates below are as if it went live now, {}.",
            utc(now)
        ),
    });
    lines.line("");
    let elapsed = if is_live { now - from } else { 0 };
    let vested = if is_live { schedule.vested(position.credits, elapsed) } else { 0 };
    let part = if is_live { part_of(schedule, elapsed) } else { "0%".to_owned() };
    lines.field("Vested", &format!("{} {part}", gauge(vested, position.credits, 40)));
    lines.field("", &coins.credits(Credits::from_units(vested)));
    lines.field("Delivered", &coins.credits(Credits::from_units(position.delivered)));
    lines.field("Deliverable", &coins.credits(Credits::from_units(vested - position.delivered)));
    lines.line("");
    calendar(lines, schedule, position, from, is_live.then_some(now));
}

fn calendar(lines: &mut Lines, schedule: &Schedule, position: &Position, from: Time, live_now: Option<Time>) {
    let columns = [
        Column::words("date", 0),
        Column::figure("vests by then", 0),
        Column::figure("in all", 0),
        Column::figure("part", 0),
        Column::words("", 0),
    ];
    let dates: Vec<Time> = calendar_secs(schedule).into_iter().map(|secs| from + secs).collect();
    let next = dates.iter().copied().find(|&date| live_now.is_none_or(|now| date > now));
    let mut before = 0;
    let row = |&date: &Time| {
        let vested = schedule.vested(position.credits, date - from);
        let new = vested - std::mem::replace(&mut before, vested);
        let mark = match next {
            Some(next) if date == next => "◀ next",
            Some(next) if date > next => "",
            _ => "vested",
        };
        vec![
            day(date),
            whole_credits(Credits::from_units(new)),
            whole_credits(Credits::from_units(vested)),
            part_of(schedule, date - from),
            mark.to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = dates.iter().map(row).collect();
    lines.table(&columns, &rows);
}

/// The part vested by then, of the schedule itself: amounts are rounded down and would show 24.9% for a quarter.
fn part_of(schedule: &Schedule, elapsed: u64) -> String {
    percent(schedule.vested(1_000, elapsed), 1_000)
}

/// Seconds after live at which a calendar has its rows: the points of a schedule by steps; of straight lines also
/// whole days between, evenly.
fn calendar_secs(schedule: &Schedule) -> Vec<u64> {
    let mut secs: Vec<u64> = schedule.points.iter().map(|&(secs, _)| secs.into()).collect();
    let length = u64::from(schedule.length_secs());
    if schedule.linear && length > 0 {
        let step = length.div_ceil(CALENDAR_ROWS * DAY_SECS) * DAY_SECS;
        secs.extend((1..).map(|i| i * step).take_while(|&at| at < length));
        secs.sort_unstable();
        secs.dedup();
    }
    secs
}

/// The first letter large.
pub(crate) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
