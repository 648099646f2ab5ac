use earnest_core::money::{Cash, Credits, Price};
use earnest_core::raise::Call;
use earnest_report::summary::{Attested, Outcomes, RoundState, SoftCapState, Summary};

use crate::stage::{DAY, GUARDIAN, ISSUER, SMALL_PLAN, Stage, Terms, auction_bids, cleared, wallet};

fn cash(whole: u64) -> Cash {
    Cash::from_whole(whole).unwrap()
}

fn price(text: &str) -> Price {
    Price::parse(text).unwrap()
}

/// What was bid is with the rounds, with the treasury or back with the backers.
fn assert_balanced(summary: &Summary) {
    let totals = &summary.totals;
    let refunded_by_rounds: u64 = summary.rounds.iter().map(|round| round.refunds_pulled.units()).sum();
    assert_eq!(
        totals.cash_bid.units(),
        totals.escrow.units() + totals.swept.units() + refunded_by_rounds,
        "{summary:?}"
    );
    for round in summary.rounds.iter().filter(|round| matches!(round.state, RoundState::Cleared { .. })) {
        let back = round.refunds_owed.units() + round.refunds_pulled.units() + round.dust.units();
        assert_eq!(round.cash_bid.units(), round.raised_cash.units() + back, "{}", round.name);
        let Outcomes { filled_whole, pro_rata, lost, .. } = round.outcomes;
        assert_eq!(round.bids, filled_whole + pro_rata + lost, "{}", round.name);
    }
    let treasury = &summary.treasury;
    assert_eq!(
        totals.swept.units(),
        treasury.held.units() + treasury.tap_paid.units() + totals.refunded.units() - refunded_by_rounds
    );
}

#[test]
fn cash_is_accounted_for_at_every_stage() {
    let mut stage = Stage::small();
    assert_balanced(&stage.summary());
    stage.bid(0, 1, 400_000, Terms::default());
    stage.bid(0, 2, 200_001, Terms { schedule: 1, ..Terms::default() });
    assert_balanced(&stage.summary());
    stage.clear(0);
    assert_balanced(&stage.summary());
    stage.open(1);
    let ids = [(3, 90_000, 20), (4, 260_000, 7), (5, 100_000, 7), (6, 50_000, 1)]
        .map(|(entity, whole, tick)| stage.bid(1, entity, whole, Terms { tick, ..Terms::default() }));
    stage.clear(1);
    assert_balanced(&stage.summary());
    stage.apply(ISSUER, Call::Refund { id: ids[3] });
    assert_balanced(&stage.summary());
    for round in 0..2 {
        stage.settle_all(round);
        assert_balanced(&stage.summary());
        stage.apply(ISSUER, Call::Sweep { round });
        assert_balanced(&stage.summary());
    }
    stage.live();
    stage.now += 60 * DAY;
    stage.apply(wallet(1), Call::Deliver { id: stage.bids(0)[0] });
    stage.apply(ISSUER, Call::Draw { cash: cash(70_000).units(), to: ISSUER });
    let summary = stage.summary();
    assert_balanced(&summary);
    assert_eq!(summary.treasury.tap_paid, cash(70_000));
    assert_eq!(summary.totals.locked_in_vaults, summary.totals.delivered);
    assert!(summary.coverage.vested_undelivered > Credits::ZERO);
}

#[test]
fn settling_and_refunding_leave_the_outcomes_as_they_are() {
    let stage = cleared(300);
    let mut fresh = Stage::openai();
    for round in 0..3 {
        let summary = stage.summary();
        let Outcomes { filled_whole, pro_rata, lost, withdrawn } = summary.rounds[round].outcomes;
        assert_eq!(filled_whole + pro_rata + lost, summary.rounds[round].bids);
        assert_eq!(withdrawn, 0);
    }
    fresh.open(1);
    auction_bids(&mut fresh, 300);
    fresh.clear(1);
    assert_eq!(fresh.summary().rounds[1].outcomes, stage.summary().rounds[1].outcomes);
}

#[test]
fn the_price_as_bids_stand_is_the_price_they_clear_at() {
    let mut stage = Stage::openai();
    stage.open(1);
    auction_bids(&mut stage, 500);
    let before = stage.summary().rounds[1].indicative_price;
    stage.clear(1);
    let after = stage.summary();
    assert!(before.is_some());
    assert_eq!(before, after.rounds[1].clearing_price);
    assert_eq!(after.rounds[1].indicative_price, None);

    stage.open(2);
    for (days, whole) in [(0, 250_000_000), (1, 350_000_000), (5, 100_000_000)] {
        stage.open(2);
        stage.now += days * DAY;
        stage.bid(2, days + 1, whole, Terms::default());
    }
    let before = stage.summary().rounds[2].window_prices;
    stage.now = stage.raise.offering.clearable_at(2).unwrap();
    stage.apply(ISSUER, Call::Clear { round: 2, steps: 2 });
    assert_eq!(stage.summary().rounds[2].state, RoundState::Clearing);
    assert_eq!(before, stage.summary().rounds[2].window_prices, "half cleared");
    stage.clear(2);
    let after = stage.summary();
    assert!(before.is_some_and(|(low, high)| low < high));
    assert_eq!(before, after.rounds[2].window_prices);
}

#[test]
fn an_auction_clears_at_a_tick_between_ticks_or_at_the_floor() {
    let clearing_price = |bids: &[(u64, u16)]| {
        let mut stage = Stage::small();
        stage.open(1);
        for (entity, &(whole, tick)) in (1..).zip(bids) {
            stage.bid(1, entity, whole, Terms { tick, ..Terms::default() });
        }
        stage.clear(1);
        stage.summary().rounds[1].clearing_price
    };
    assert_eq!(clearing_price(&[]), None);
    assert_eq!(clearing_price(&[(100_000, 20)]), Some(price("0.6")), "undersubscribed");
    assert_eq!(clearing_price(&[(100_000, 20), (400_000, 5)]), Some(price("0.65")), "marginal tick");
    assert_eq!(clearing_price(&[(333_333, 20), (1_000, 5)]), Some(price("0.666666")), "cash ÷ supply");
    assert_eq!(clearing_price(&[(302_500, 20)]), Some(price("0.605")), "book exhausted above the floor");
}

#[test]
fn a_round_goes_through_its_states() {
    let mut stage = Stage::small();
    let at = |stage: &Stage| stage.summary().rounds[0].state;
    let (open, close) = (stage.now, stage.plan.rounds[0].close);
    stage.now -= 1;
    assert_eq!(at(&stage), RoundState::NotOpenYet { opens_at: open });
    stage.now += 1;
    assert_eq!(at(&stage), RoundState::Open { closes_at: close });
    stage.apply(GUARDIAN, Call::Pause { round: 0, secs: DAY });
    assert_eq!(at(&stage), RoundState::Paused { until: open + DAY, closes_at: close + DAY });
    stage.now = close + DAY;
    assert_eq!(at(&stage), RoundState::Clearable);
    stage.apply(ISSUER, Call::Clear { round: 0, steps: 1 });
    assert_eq!(at(&stage), RoundState::Cleared { at: close + DAY });

    let mut cooling = Stage::openai();
    cooling.now = cooling.plan.rounds[1].close;
    let RoundState::Closed { clearable_at } = cooling.summary().rounds[1].state else { panic!() };
    assert_eq!(clearable_at, cooling.plan.rounds[1].close + 15 * DAY);
    assert_eq!(cooling.summary().rounds[1].state_words, "closed, may be cleared from 2018-04-03 00:00 UTC");
    cooling.open(1);
    auction_bids(&mut cooling, 50);
    cooling.now = clearable_at;
    cooling.apply(ISSUER, Call::Clear { round: 1, steps: 1 });
    assert_eq!(cooling.summary().rounds[1].state, RoundState::Clearing);
    assert!(cooling.summary().rounds[1].indicative_price.is_some());
}

#[test]
fn a_missed_soft_cap_returns_every_bid_and_sells_nothing() {
    let mut stage = Stage::small();
    let ids = [stage.bid(0, 1, 40_000, Terms::default()), stage.bid(0, 2, 9_000, Terms::default())];
    stage.clear(0);
    stage.now = stage.plan.offering.soft_cap_date.unwrap();
    let summary = stage.summary();
    assert_eq!(summary.soft_cap.state, SoftCapState::Missed);
    assert_eq!(summary.soft_cap.raised, cash(49_000));
    assert_eq!((summary.totals.raised, summary.totals.sold), (Cash::ZERO, Credits::ZERO));
    assert_eq!(summary.totals.refunds_owed, cash(49_000));
    stage.apply(ISSUER, Call::Refund { id: ids[1] });
    let summary = stage.summary();
    assert_eq!((summary.totals.refunds_owed, summary.totals.refunded), (cash(40_000), cash(9_000)));
    assert_eq!(summary.totals.bids, 2, "a refunded bid was not withdrawn");
}

#[test]
fn a_withdrawn_bid_counts_as_such_and_as_nothing_else() {
    let mut stage = Stage::openai();
    stage.open(1);
    let id = stage.bid(1, 1, 1_000, Terms { cooling_off: true, lock_class: 2, ..Terms::default() });
    stage.bid(1, 2, 2_000, Terms::default());
    stage.apply(wallet(1), Call::Withdraw { id, payee: wallet(1) });
    let round = &stage.summary().rounds[1];
    assert_eq!((round.bids, round.outcomes.withdrawn, round.cash_bid), (1, 1, cash(2_000)));
    assert_eq!(round.refunds_pulled, Cash::ZERO);
}

#[test]
fn the_ceiling_is_what_a_boundless_tap_would_have_released() {
    let mut stage = cleared(50);
    let check = |stage: &Stage| {
        let mut boundless = stage.raise.treasury.clone();
        boundless.setup.tap_per_sec = u64::MAX;
        let now = stage.now + 1;
        let summary = Summary::of(&stage.plan, &stage.raise, now);
        assert_eq!(summary.treasury.ceiling.units(), boundless.released(&stage.raise.offering, now));
        summary.treasury.next_ceiling.map(|next| next.after)
    };
    assert_eq!(check(&stage).unwrap(), "service live");
    stage.attest_only(0);
    assert!(matches!(stage.summary().live, Attested::InNotice { .. }));
    assert_eq!(check(&stage).unwrap(), "service live");
    stage.now += 14 * DAY;
    assert_eq!(check(&stage).unwrap(), "milestone \"compute\"");
    stage.attest(2);
    assert_eq!(check(&stage).unwrap(), "milestone \"breadth\"");
    stage.attest(3);
    assert_eq!(check(&stage), None);
}

#[test]
fn past_the_deadline_the_tap_is_shut_and_nothing_is_owed_in_credits() {
    let mut stage = cleared(50);
    stage.now = stage.plan.service.deadline;
    let summary = stage.summary();
    assert!(summary.refunding);
    assert_eq!(summary.treasury.available, Cash::ZERO);
    assert_eq!(summary.coverage.undelivered, Credits::ZERO);
    let held = summary.treasury.held.units();
    let id = stage.bids(0)[0];
    stage.apply(ISSUER, Call::PotRefund { id });
    let summary = stage.summary();
    assert_balanced(&summary);
    assert!(summary.treasury.held.units() < held);
}

#[test]
fn amounts_serialize_as_decimals_in_strings() {
    let mut stage = Stage::small();
    stage.bid(0, 1, 400_000, Terms { schedule: 1, ..Terms::default() });
    stage.clear(0);
    let json = serde_json::to_value(stage.summary()).unwrap();
    let round = &json["rounds"][0];
    assert_eq!(round["raised_cash"], "400000");
    assert_eq!(round["credits_sold"], "888888.888888");
    assert_eq!(round["average_price"], "0.45");
    assert_eq!(round["state"]["is"], "cleared");
    assert_eq!(round["oversubscription_percent"], 88);
    assert_eq!(json["live"]["is"], "not-yet");
    assert_eq!(json["coverage"]["days_for_sold"], "88.9");
}

#[test]
fn a_ladder_of_one_tick_is_a_fixed_price() {
    let mut stage = Stage::new(&SMALL_PLAN.replace("ticks = 21", "ticks = 1"));
    stage.open(1);
    stage.bid(1, 1, 500_000, Terms::default());
    stage.clear(1);
    let round = &stage.summary().rounds[1];
    assert_eq!(round.clearing_price, Some(price("0.6")));
    assert_eq!(round.outcomes.pro_rata, 1);
    assert!(stage.text(80).contains("cleared at 0.6 USDC"));
    assert!(stage.html().contains("cleared at 0.6<"));
}
