//! The historical sales, replayed through the rules with the figures of the time.

use alloy_primitives::Address;
use earnest_core::bid::BidId;
use earnest_core::curve::price_at;
use earnest_core::money::{CASH_MAX, Cash, Credits, Price};
use earnest_core::offering::{Order, Sale};
use earnest_core::permit::PurchasePermit;
use earnest_core::plan::{Plan, RoundKind};
use earnest_core::raise::{Call, Holder, Raise};
use earnest_core::setup::{Parties, setup};

const ATTESTER: Address = Address::repeat_byte(4);

fn raise_of(name: &str) -> (Plan, Raise) {
    let path = format!("{}/../../examples/plans/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    let (plan, _) = Plan::read(name, &std::fs::read_to_string(path).unwrap()).unwrap();
    let [issuer, certifier, guardian] = [1, 2, 3].map(Address::repeat_byte);
    let parties = Parties { issuer, certifier, guardian, attesters: vec![ATTESTER], gateway: issuer };
    let (offering, treasury) = setup(&plan, &parties).unwrap();
    (plan, Raise::new(offering, treasury))
}

/// Entity `entity` bids so much on the first schedule of a round that has no discount.
fn bid(plan: &Plan, raise: &mut Raise, entity: u64, round: u8, at: u64, cash: Cash) {
    let wallet = Address::left_padding_from(&entity.to_be_bytes());
    raise.cash.mint(Holder::Account(wallet), cash.units().into());
    let schedules = &plan.rounds[usize::from(round)].schedules;
    let plain = schedules.iter().filter_map(|name| plan.schedule(name)).find(|(_, s)| s.discount.get() == 0);
    let permit = PurchasePermit {
        entity,
        wallet,
        round,
        min_cash: 1,
        max_cash: CASH_MAX,
        max_total: u64::MAX,
        first: 0,
        last: u16::MAX,
        not_before: 0,
        expiry: u64::MAX,
        jurisdiction: 0,
        lock_class: 0,
        affiliate: false,
        cooling_off: false,
        generation: 1,
        terms_hash: raise.offering.setup.terms_hash,
    };
    let schedule = u8::try_from(plain.expect("a schedule without discount").0).unwrap();
    let order = Order { permit, signed_by: Some(ATTESTER), cash: cash.units(), tick: 0, schedule };
    raise.apply(at, wallet, &Call::Bid(order)).unwrap();
}

fn clear(raise: &mut Raise, round: u8) -> (Cash, Credits) {
    let at = raise.offering.clearable_at(round).unwrap();
    raise.apply(at, Address::ZERO, &Call::Clear { round, steps: 10_000 }).unwrap();
    let round = &raise.offering.rounds[usize::from(round)];
    (Cash::from_units(round.proceeds), Credits::from_units(round.sold))
}

fn dollars(millions: &str) -> Cash {
    Cash::from_units(Cash::parse(millions).unwrap().units() * 1_000_000)
}

/// To the nearest whole one.
fn nearest(credits: Credits) -> u128 {
    (credits.units() + 5 * 10u128.pow(17)) / 10u128.pow(18)
}

/// To six decimals, to the nearest.
fn six(price: Price) -> u64 {
    (price.units() + 500_000) / 1_000_000
}

#[test]
fn telegram_sells_what_it_sold_at_the_prices_of_2018() {
    let (plan, mut raise) = raise_of("telegram-2018");
    for (round, sold, price) in [(0, 2_251_291_799, 377_561), (1, 639_079_959, 1_330_037)] {
        let open = plan.rounds[usize::from(round)].open;
        bid(&plan, &mut raise, 1, round, open, dollars("850"));
        let (cash, credits) = clear(&mut raise, round);
        assert_eq!(cash, dollars("850"));
        assert_eq!(nearest(credits), sold);
        assert_eq!(six(Price::average(cash, credits)), price);
    }
}

#[test]
fn filecoin_averages_and_ends_where_it_did_with_the_advisers_counted() {
    let (plan, mut raise) = raise_of("filecoin-2017");
    bid(&plan, &mut raise, 1, 0, plan.rounds[0].open, dollars("52"));
    let (advisers, _) = clear(&mut raise, 0);
    assert_eq!(advisers, dollars("52"));

    let open = plan.rounds[1].open;
    bid(&plan, &mut raise, 2, 1, open, dollars("186"));
    for hour in 1..=20 {
        bid(&plan, &mut raise, 2 + hour, 1, open + hour * 3_600, dollars("0.99"));
    }
    let (public, _) = clear(&mut raise, 1);
    assert_eq!(public, dollars("205.8"));

    let first_hour = raise.offering.bucket(1, 0);
    let average = Price::average(dollars("186"), Credits::from_units(first_hour.sold));
    assert_eq!((average.units() + 500_000_000) / 1_000_000_000, 3_057, "thousandths of a dollar");
    assert_eq!(first_hour.sold / 10u128.pow(22), 6_084, "60.84 million FIL in the first hour");

    let RoundKind::Rising(rising) = &plan.rounds[1].kind else { panic!("the public round rises") };
    assert!(matches!(raise.offering.setup.rounds[1].sale, Sale::Rising { .. }));
    let end = price_at(&rising.curve, raise.offering.rounds[1].proceeds + dollars("52").units()).unwrap();
    assert_eq!(end, Price::parse("6.445").unwrap());
    let last = BidId { round: 1, window: 20, entity: 22 };
    assert!(raise.offering.bid(last).cash > 0);
}
