//! A raise in figures: one value, built once from the plan, the state and a time, which the terminal, the page and
//! `--json` all show. Amounts serialize as decimal strings in whole coins, times as seconds since the Unix epoch.

mod tap;

use std::collections::BTreeSet;

use earnest_core::clearing::need;
use earnest_core::money::{Cash, Credits, Price};
use earnest_core::offering::{ABOVE, LIVE, Sale, Status};
use earnest_core::plan::date::utc;
use earnest_core::plan::{Plan, RoundKind, Time};
use earnest_core::raise::{Holder, Raise};
use earnest_core::terms::terms_hash;
use serde::Serialize;

use crate::book::{AuctionBook, rising_start, windows};
use crate::figure::{plain, tenths};
use crate::position::{Fate, bids, fate, is_withdrawn, position};
use tap::{attested, treasury};

pub(crate) use tap::{projected, tap_start};

/// A raise at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The moment.
    pub as_of: Time,
    /// Name of the offering.
    pub offering: String,
    /// Legal name of the issuer.
    pub issuer: String,
    /// What the plan wants said everywhere.
    pub note: Option<String>,
    /// Symbol of the coin raised.
    pub cash_symbol: String,
    /// Symbol of the coin delivered.
    pub credits_symbol: String,
    /// What every permit and bid is bound to.
    pub terms_hash: String,
    /// The most all rounds together may take.
    pub hard_cap: Cash,
    /// The least.
    pub soft_cap: SoftCap,
    /// In the order of the plan.
    pub rounds: Vec<RoundSummary>,
    /// Over all rounds.
    pub totals: Totals,
    /// The pots and the tap.
    pub treasury: TreasurySummary,
    /// Credits owed against what can be served.
    pub coverage: Coverage,
    /// Whether the service is live.
    pub live: Attested,
    /// Live by then, or refunds open.
    pub deadline: Time,
    /// The deadline has passed without a live service: the tap is shut and positions take their cash back.
    pub refunding: bool,
    /// In the order of the plan.
    pub milestones: Vec<MilestoneSummary>,
}

/// How far the soft cap is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SoftCap {
    /// Zero: there is none.
    pub cap: Cash,
    /// When it must be met.
    pub date: Option<Time>,
    /// Proceeds of cleared rounds.
    pub raised: Cash,
    /// Whether it was met.
    pub state: SoftCapState,
}

/// Whether a soft cap was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SoftCapState {
    /// The plan has no soft cap.
    None,
    /// Not yet, and there is time.
    NotYet,
    /// For good.
    Met,
    /// Too late: every bid goes back whole.
    Missed,
}

/// One round.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RoundSummary {
    /// Name.
    pub name: String,
    /// `fixed`, `private`, `auction` or `rising`.
    pub kind: &'static str,
    /// What is going on in it.
    pub state: RoundState,
    /// The same, for people.
    pub state_words: String,
    /// Bids that were not withdrawn.
    pub bids: usize,
    /// Cash bid and not withdrawn, whether or not it was returned since.
    pub cash_bid: Cash,
    /// Cash sold for; zero before clearing and after a failure.
    pub raised_cash: Cash,
    /// Credits sold; zero before clearing and after a failure.
    pub credits_sold: Credits,
    /// Credits delivered.
    pub credits_delivered: Credits,
    /// Most credits the round can sell.
    pub supply: Credits,
    /// What buyers paid on average, discounts included.
    pub average_price: Option<Price>,
    /// The price of a fixed-price round; an auction's floor.
    pub list_price: Option<Price>,
    /// An auction's price, before discount, rounded down; once cleared.
    pub clearing_price: Option<Price>,
    /// What an auction would clear at, and what the last window with bids would pay, if cleared as bids stand.
    pub indicative_price: Option<Price>,
    /// Lowest and highest price of a rising round's windows so far.
    pub window_prices: Option<(Price, Price)>,
    /// Cash due back and not pulled yet.
    pub refunds_owed: Cash,
    /// Cash pulled back.
    pub refunds_pulled: Cash,
    /// Left over from rounding refunds, the treasury's.
    pub dust: Cash,
    /// Weight bid for each 100 that the whole supply costs: at the fixed price, at an auction's floor, at a rising
    /// round's cap. Over 100: more was wanted than is for sale.
    pub oversubscription_percent: u64,
    /// How bids fared, once cleared.
    pub outcomes: Outcomes,
}

/// What is going on in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the words say it")]
pub enum RoundState {
    NotOpenYet { opens_at: Time },
    Open { closes_at: Time },
    Paused { until: Time, closes_at: Time },
    Closed { clearable_at: Time },
    Clearable,
    Clearing,
    Cleared { at: Time },
    Failed,
}

/// Bids by how they fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Outcomes {
    /// All their cash bought.
    pub filled_whole: usize,
    /// A part of it bought.
    pub pro_rata: usize,
    /// All of it goes back.
    pub lost: usize,
    /// Taken back in cooling-off; counted in every state.
    pub withdrawn: usize,
}

/// Over all rounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Bids that were not withdrawn.
    pub bids: usize,
    /// Different entities that bid.
    pub backers: usize,
    /// Cash bid.
    pub cash_bid: Cash,
    /// Cash raised by cleared rounds.
    pub raised: Cash,
    /// Paid back, by the rounds and by the treasury.
    pub refunded: Cash,
    /// Due back from the rounds and not pulled yet.
    pub refunds_owed: Cash,
    /// Cash in the offering.
    pub escrow: Cash,
    /// Cash that went to the treasury.
    pub swept: Cash,
    /// Credits sold.
    pub sold: Credits,
    /// Credits delivered.
    pub delivered: Credits,
    /// Delivered credits that lie in vaults whose lock is not over.
    pub locked_in_vaults: Credits,
}

/// The pots and the tap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TreasurySummary {
    /// By round.
    pub pots: Vec<PotSummary>,
    /// Behind delivered credits.
    pub circulating: Cash,
    /// All pots together.
    pub held: Cash,
    /// Paid to the issuer.
    pub tap_paid: Cash,
    /// What may have been paid by now, in all.
    pub released: Cash,
    /// What the issuer can draw now.
    pub available: Cash,
    /// Most that may be released in all as things are attested; zero before the tap starts.
    pub ceiling: Cash,
    /// The next higher one; `None` at the highest, and once the tap is shut for good.
    pub next_ceiling: Option<NextCeiling>,
    /// Cash a second.
    pub tap_per_sec: Cash,
    /// How long the pots last at the tap's full rate, ceilings aside: average months, one decimal, rounded down.
    /// `None` if the tap is shut for good or has no speed.
    pub pots_last_months: Option<String>,
}

/// A round's pot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PotSummary {
    /// Name of the round.
    pub round: String,
    /// In it.
    pub cash: Cash,
    /// Paid out of it in refunds.
    pub refunded: Cash,
}

/// A ceiling that waits for something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NextCeiling {
    /// What must happen: a milestone's name, `service live`, `start of the tap`.
    pub after: String,
    /// The ceiling then.
    pub ceiling: Cash,
}

/// Credits owed against what can be served. Nothing is owed after a failure or while refunding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Sold in cleared rounds.
    pub sold: Credits,
    /// Sold and not delivered.
    pub undelivered: Credits,
    /// Of these, vested: their owners may have them delivered now.
    pub vested_undelivered: Credits,
    /// What the issuer says it can serve in a day.
    pub capacity_per_day: Option<Credits>,
    /// Days of that capacity to serve what is undelivered, one decimal, rounded up.
    pub days_for_undelivered: Option<String>,
    /// Days of that capacity to serve all that was sold.
    pub days_for_sold: Option<String>,
}

/// What became of an attestation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the words say it")]
pub enum Attested {
    NotYet { objections: u8 },
    InNotice { effective_at: Time, objections: u8 },
    Effective { since: Time },
}

/// One milestone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MilestoneSummary {
    /// Name.
    pub name: String,
    /// What must be true.
    pub statement: String,
    /// Ceiling of the tap that it unlocks.
    pub ceiling: Cash,
    /// Whether it was attested.
    pub state: Attested,
    /// Attested or not, it raises the ceiling only once the service is live.
    pub counts_only_once_live: bool,
}

impl Summary {
    /// The figures of a raise at a moment. The raise must be one of this plan.
    pub fn of(plan: &Plan, raise: &Raise, now: Time) -> Summary {
        let rounds: Vec<RoundSummary> =
            (0u8..).zip(&plan.rounds).map(|(index, _)| round(plan, raise, index, now)).collect();
        let offering = &raise.offering;
        Summary {
            as_of: now,
            offering: plain(&plan.offering.name),
            issuer: plain(&plan.offering.issuer),
            note: plan.offering.note.as_deref().map(plain),
            cash_symbol: plain(&plan.cash.symbol),
            credits_symbol: plain(&plan.credits.symbol),
            terms_hash: terms_hash(plan).to_string(),
            hard_cap: plan.offering.hard_cap,
            soft_cap: soft_cap(plan, raise, now),
            totals: totals(raise, &rounds, now),
            treasury: treasury(plan, raise, now),
            coverage: coverage(plan, raise, &rounds, now),
            rounds,
            live: attested(raise, LIVE, now),
            deadline: plan.service.deadline,
            refunding: raise.treasury.refunding(offering, now),
            milestones: (1u8..)
                .zip(&plan.treasury.milestones)
                .map(|(subject, milestone)| MilestoneSummary {
                    name: plain(&milestone.name),
                    statement: plain(&milestone.statement),
                    ceiling: milestone.ceiling,
                    state: attested(raise, subject, now),
                    counts_only_once_live: !milestone.before_live,
                })
                .collect(),
        }
    }

    /// The soft cap was missed: everything goes back.
    pub fn failed(&self) -> bool {
        self.soft_cap.state == SoftCapState::Missed
    }
}

impl RoundState {
    /// As a sentence would say it: `open until 2018-02-22 00:00 UTC`.
    pub fn words(&self) -> String {
        match *self {
            RoundState::NotOpenYet { opens_at } => format!("not open yet: opens {}", utc(opens_at)),
            RoundState::Open { closes_at } => format!("open until {}", utc(closes_at)),
            RoundState::Paused { until, closes_at } => {
                format!("paused until {}, then open until {}", utc(until), utc(closes_at))
            }
            RoundState::Closed { clearable_at } => {
                format!("closed, may be cleared from {}", utc(clearable_at))
            }
            RoundState::Clearable => "closed, may be cleared now".to_owned(),
            RoundState::Clearing => "clearing has begun".to_owned(),
            RoundState::Cleared { at } => format!("cleared {}", utc(at)),
            RoundState::Failed => "failed: every bid goes back whole".to_owned(),
        }
    }

    /// In a word, for a column.
    pub fn word(&self) -> &'static str {
        match self {
            RoundState::NotOpenYet { .. } => "not open",
            RoundState::Open { .. } => "open",
            RoundState::Paused { .. } => "paused",
            RoundState::Closed { .. } | RoundState::Clearable => "closed",
            RoundState::Clearing => "clearing",
            RoundState::Cleared { .. } => "cleared",
            RoundState::Failed => "failed",
        }
    }
}

impl Attested {
    /// As a sentence would say it.
    pub fn words(&self) -> String {
        let objected = |objections: u8| match objections {
            0 => String::new(),
            1 => " (objected to once)".to_owned(),
            times => format!(" (objected to {times} times)"),
        };
        match *self {
            Attested::NotYet { objections } => format!("not attested{}", objected(objections)),
            Attested::InNotice { effective_at, objections } => {
                format!(
                    "attested, in effect from {} unless objected to{}",
                    utc(effective_at),
                    objected(objections)
                )
            }
            Attested::Effective { since } => format!("in effect since {}", utc(since)),
        }
    }
}

fn round(plan: &Plan, raise: &Raise, index: u8, now: Time) -> RoundSummary {
    let offering = &raise.offering;
    let (round_plan, round) = (&plan.rounds[usize::from(index)], &offering.rounds[usize::from(index)]);
    let state = state(raise, index, now);
    let failed = state == RoundState::Failed;
    let cleared = round.status == Status::Cleared && !failed;
    let (raised, sold) = if failed { (0, 0) } else { (round.proceeds, round.sold) };

    let (cash_bid, weight_bid) = demand(raise, index);
    let outcomes = outcomes(raise, index, failed);
    let here = || bids(offering).filter(|(id, _)| id.round == index);
    let kept: u64 = here().map(|(_, bid)| bid.cash).sum();
    // A refund takes what it pays off the bid, so what is missing from the bids was pulled.
    let pulled = cash_bid - kept;
    let due = match (failed, round.status) {
        (true, _) => cash_bid,
        (false, Status::Cleared) => cash_bid - round.proceeds - round.dust,
        (false, _) => pulled,
    };

    let book = AuctionBook::of(offering, index);
    let windows = windows(offering, index);
    let clearing_price = book.as_ref().filter(|_| cleared).and_then(|book| book.price);
    let would_pay = book.as_ref().and_then(|book| book.price);
    let last_window = windows.iter().rev().find_map(|window| window.price);
    let prices = || windows.iter().filter_map(|window| window.price);
    let average = Price::average(Cash::from_units(raised), Credits::from_units(sold));
    RoundSummary {
        name: plain(&round_plan.name),
        kind: round_plan.kind.word(),
        state,
        state_words: state.words(),
        bids: here().filter(|(_, bid)| !is_withdrawn(bid)).count(),
        cash_bid: Cash::from_units(cash_bid),
        raised_cash: Cash::from_units(raised),
        credits_sold: Credits::from_units(sold),
        credits_delivered: Credits::from_units(round.delivered),
        supply: Credits::from_units(supply(raise, index)),
        average_price: (sold > 0).then_some(average),
        list_price: match &round_plan.kind {
            RoundKind::Fixed(fixed) | RoundKind::Private(fixed) => Some(fixed.price),
            RoundKind::Auction(auction) => Some(auction.floor_price),
            RoundKind::Rising(_) => None,
        },
        clearing_price,
        indicative_price: would_pay.or(last_window).filter(|_| !cleared && !failed),
        window_prices: prices().min().zip(prices().max()).filter(|_| !failed),
        refunds_owed: Cash::from_units(due - pulled),
        refunds_pulled: Cash::from_units(pulled),
        dust: Cash::from_units(round.dust),
        oversubscription_percent: oversubscription(raise, index, weight_bid),
        outcomes,
    }
}

fn state(raise: &Raise, index: u8, now: Time) -> RoundState {
    let offering = &raise.offering;
    let round = &offering.rounds[usize::from(index)];
    let clearable_at = offering.clearable_at(index).expect("a round of the plan");
    match round.status {
        _ if offering.failed(now) => RoundState::Failed,
        Status::Cleared => RoundState::Cleared { at: round.cleared_at },
        Status::Clearing => RoundState::Clearing,
        Status::Open if now < round.paused_until => {
            RoundState::Paused { until: round.paused_until, closes_at: round.close }
        }
        Status::Open if now < round.open => RoundState::NotOpenYet { opens_at: round.open },
        Status::Open if now < round.close => RoundState::Open { closes_at: round.close },
        Status::Open if now < clearable_at => RoundState::Closed { clearable_at },
        Status::Open => RoundState::Clearable,
    }
}

/// Cash bid and its weight, withdrawn bids left out. The bucket above an auction's marginal tick holds the same bids
/// once more.
fn demand(raise: &Raise, index: u8) -> (u64, u64) {
    let buckets = raise.offering.buckets.range((index, 0)..(index, ABOVE));
    buckets.fold((0, 0), |(cash, weight), (_, bucket)| {
        (cash + bucket.cash - bucket.withdrawn_cash, weight + bucket.weight - bucket.withdrawn_weight)
    })
}

fn supply(raise: &Raise, index: u8) -> u128 {
    let setup = &raise.offering.setup.rounds[usize::from(index)];
    let Sale::Rising { start, cap, ladder, .. } = &setup.sale else { return setup.supply() };
    // The higher up the curve, the fewer credits: until the start is known, count from the lowest.
    let from = rising_start(&raise.offering, index).unwrap_or(*start);
    let to = (from + cap).min(ladder.last_weight());
    let at = |weight| ladder.credits_at(weight).unwrap_or(0);
    at(to) - at(from)
}

fn oversubscription(raise: &Raise, index: u8, weight: u64) -> u64 {
    let cost = match &raise.offering.setup.rounds[usize::from(index)].sale {
        Sale::Fixed { supply, price, .. } => need(*supply, *price),
        Sale::Auction { prices, .. } => need(prices.supply, prices.floor),
        Sale::Rising { cap, .. } => u128::from(*cap),
    };
    let percent = (u128::from(weight) * 100).checked_div(cost).unwrap_or(0);
    u64::try_from(percent).unwrap_or(u64::MAX)
}

fn outcomes(raise: &Raise, index: u8, failed: bool) -> Outcomes {
    let mut outcomes = Outcomes::default();
    for (id, bid) in bids(&raise.offering).filter(|(id, _)| id.round == index) {
        match fate(&raise.offering, id, bid) {
            Some(Fate::Withdrawn) => outcomes.withdrawn += 1,
            _ if failed => {}
            Some(Fate::Whole) => outcomes.filled_whole += 1,
            Some(Fate::ProRata) => outcomes.pro_rata += 1,
            Some(Fate::Lost) => outcomes.lost += 1,
            None => {}
        }
    }
    outcomes
}

fn soft_cap(plan: &Plan, raise: &Raise, now: Time) -> SoftCap {
    let (cap, raised) = (plan.offering.soft_cap, Cash::from_units(raise.offering.total_proceeds));
    let state = match cap {
        Cash::ZERO => SoftCapState::None,
        _ if raise.offering.failed(now) => SoftCapState::Missed,
        cap if raised >= cap => SoftCapState::Met,
        _ => SoftCapState::NotYet,
    };
    SoftCap { cap, date: plan.offering.soft_cap_date, raised, state }
}

fn totals(raise: &Raise, rounds: &[RoundSummary], now: Time) -> Totals {
    let cash = |of: fn(&RoundSummary) -> Cash| rounds.iter().map(|round| of(round).units()).sum::<u64>();
    let backers: BTreeSet<u64> =
        bids(&raise.offering).filter(|(_, bid)| !is_withdrawn(bid)).map(|(id, _)| id.entity).collect();
    let locked = raise
        .credits
        .balances
        .iter()
        .filter(|(holder, _)| matches!(holder, Holder::Vault(id) if now < raise.offering.unlock_at(*id)));
    let escrow = u64::try_from(raise.cash.of(Holder::Offering)).unwrap_or(u64::MAX);
    Totals {
        bids: rounds.iter().map(|round| round.bids).sum(),
        backers: backers.len(),
        cash_bid: Cash::from_units(cash(|round| round.cash_bid)),
        raised: Cash::from_units(cash(|round| round.raised_cash)),
        refunded: Cash::from_units(cash(|round| round.refunds_pulled) + raise.treasury.refunds_paid),
        refunds_owed: Cash::from_units(cash(|round| round.refunds_owed)),
        escrow: Cash::from_units(escrow),
        swept: Cash::from_units(raise.offering.rounds.iter().map(|round| round.swept).sum()),
        sold: Credits::from_units(rounds.iter().map(|round| round.credits_sold.units()).sum()),
        delivered: Credits::from_units(rounds.iter().map(|round| round.credits_delivered.units()).sum()),
        locked_in_vaults: Credits::from_units(locked.map(|(_, credits)| credits).sum()),
    }
}

fn coverage(plan: &Plan, raise: &Raise, rounds: &[RoundSummary], now: Time) -> Coverage {
    let over = raise.offering.failed(now) || raise.treasury.refunding(&raise.offering, now);
    let sum = |of: fn(&RoundSummary) -> Credits| rounds.iter().map(|round| of(round).units()).sum::<u128>();
    let (sold, delivered) = (sum(|round| round.credits_sold), sum(|round| round.credits_delivered));
    let undelivered = if over { 0 } else { sold - delivered };
    let capacity = plan.service.capacity_per_day;
    let days = |credits: u128| {
        let capacity = capacity?.units();
        (capacity > 0).then(|| tenths((credits * 10).div_ceil(capacity)))
    };
    Coverage {
        sold: Credits::from_units(sold),
        undelivered: Credits::from_units(undelivered),
        vested_undelivered: Credits::from_units(if over { 0 } else { vested_undelivered(raise, now) }),
        capacity_per_day: capacity,
        days_for_undelivered: days(undelivered),
        days_for_sold: days(sold),
    }
}

fn vested_undelivered(raise: &Raise, now: Time) -> u128 {
    let offering = &raise.offering;
    if !offering.is_effective(LIVE, now) {
        return 0;
    }
    let elapsed = now - offering.attestation(LIVE).effective_at;
    let positions = bids(offering).filter_map(|(id, bid)| Some((bid, position(offering, id, bid, now)?)));
    positions
        .map(|(bid, position)| {
            let schedule = &offering.setup.schedules[usize::from(bid.schedule)];
            schedule.vested(position.credits, elapsed) - position.delivered
        })
        .sum()
}
