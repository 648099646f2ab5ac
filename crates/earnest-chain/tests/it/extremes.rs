//! Numbers at the ends of their ranges: nothing overflows, divides by zero or runs out of gas in a way that keeps
//! anyone's cash.

use alloy_primitives::U256;
use earnest_chain::bindings::Offering;
use earnest_chain::embedded::TX_GAS_CAP;
use earnest_core::bid::BidId;
use earnest_core::clearing::Prices;
use earnest_core::curve::{Knot, Ladder};
use earnest_core::money::{Bps, CASH_MAX, CREDITS_MAX};
use earnest_core::offering::{OfferingSetup, RoundSetup, Sale};
use earnest_core::permit::PurchasePermit;
use earnest_core::treasury::TreasurySetup;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::lockstep::{number, over_seeds};
use crate::lost_keys::{as_a_checked_plan, lose_the_keys};
use crate::story::{START, Story};
use crate::world::*;

/// All sizes are as likely, the smallest and the largest included.
fn of_any_size(random: &mut ChaCha8Rng, most: u128) -> u128 {
    let bits = random.random_range(0..=128 - most.leading_zeros());
    match random.random_range(0..4) {
        0 => (1u128 << bits).saturating_sub(1).clamp(1, most),
        1 => (1u128 << bits.min(127)).clamp(1, most),
        _ => random.random_range(0..=(1u128 << bits.min(127))).clamp(1, most),
    }
}

fn small(random: &mut ChaCha8Rng, most: u64) -> u64 {
    u64::try_from(of_any_size(random, most.into())).expect("at most a u64")
}

/// Supply and price of which the whole costs at least one unit.
fn supply_and_price(random: &mut ChaCha8Rng, highest: u64) -> (u128, u64) {
    loop {
        let (supply, price) = (of_any_size(random, CREDITS_MAX), small(random, highest));
        if earnest_core::clearing::need(supply, price) > 0 {
            return (supply, price);
        }
    }
}

fn extreme_round(random: &mut ChaCha8Rng, round: &mut RoundSetup) {
    match &mut round.sale {
        Sale::Fixed { supply, price, .. } => (*supply, *price) = supply_and_price(random, u64::MAX - 1),
        Sale::Auction { prices, ticks } => {
            *ticks = [1, 2, 511, 512, 513, 4_096][random.random_range(0..6)];
            let (supply, floor) = supply_and_price(random, u64::MAX / 2);
            let step = small(random, (u64::MAX - floor) / u64::from(*ticks));
            *prices = Prices { supply, floor, step: if random.random_bool(0.2) { 0 } else { step } };
        }
        Sale::Rising { window_cap, cap, start, ladder, .. } => {
            let count = [2, 3, 20, 512][random.random_range(0..4)];
            let mut knots = vec![Knot { weight: 0, credits: 0 }];
            while knots.len() < count {
                let last = knots[knots.len() - 1];
                let room = (CASH_MAX - last.weight) / (count - knots.len()) as u64;
                let credits = of_any_size(random, (CREDITS_MAX - last.credits) / 4);
                let weight = last.weight + small(random, room);
                knots.push(Knot {
                    weight,
                    credits: last.credits + if random.random_bool(0.2) { 0 } else { credits },
                });
            }
            *ladder = Ladder::new(knots).expect("rising");
            let end = ladder.last_weight();
            (*window_cap, *cap) = (small(random, u64::MAX / 4), small(random, u64::MAX / 4));
            *start = if random.random_bool(0.5) { 0 } else { small(random, end) };
        }
    }
}

/// A plan with the right dates and numbers of any size.
fn extreme(random: &mut ChaCha8Rng, offering: &mut OfferingSetup, treasury: &mut TreasurySetup) {
    as_a_checked_plan(random, offering, treasury);
    for round in &mut offering.rounds {
        extreme_round(random, round);
        if random.random_bool(0.8) {
            round.withdrawable_most = u64::MAX;
        }
    }
    offering.discounts[3] = Bps::new(9_000).unwrap();
    if offering.soft_cap != 0 {
        offering.soft_cap = small(random, CASH_MAX);
    }
    treasury.tap_per_sec = small(random, u64::MAX);
    treasury.ceiling_at_start = small(random, u64::MAX / 2);
}

#[test]
fn numbers_of_any_size_keep_no_ones_cash() {
    let stories = number("EARNEST_STORIES").unwrap_or(200);
    let seen = over_seeds(stories, |seed, seen| {
        let scale = [1, 1_000, 200_000_000][usize::try_from(seed % 3).unwrap()];
        lose_the_keys(Story::with(seed, scale, extreme), seen);
    });
    println!("{seen:#?}");
}

#[test]
fn dust_reaches_the_pot_even_if_no_one_is_refunded() {
    let mut world = World::new();
    let offering = world.at.offering;
    let alice = world.bids("alice", FIXED, 1, 1_000, 0);
    let one_unit = world.order(&world.permit("bob", FIXED, 2), 1, 0);
    world.does("bob", offering, &one_unit);
    world.go_to(CLEARABLE);
    world.clears(FIXED);
    world.sweeps(FIXED);
    for id in [alice, bid_id(FIXED, 2)] {
        world.refuses("NothingToRefund", "stranger", offering, &refund(id));
        world.does("stranger", offering, &settle(id));
        world.refuses("NothingToRefund", "stranger", offering, &refund(id));
    }
    world.sweeps(FIXED);
    assert_eq!((world.cash_of(offering), world.cash_of(world.at.treasury)), (0, 1_000 * CASH + 1));
}

/// Gas of clearing a round in pieces; the chain refuses a transaction beyond its cap.
fn gas_of_pieces(world: &mut World, round: u8, steps: u64) -> Vec<u64> {
    let mut gas = Vec::new();
    loop {
        gas.push(world.does("stranger", world.at.offering, &clear(round, steps)).gas_used);
        let call = Offering::getRoundCall { index: U256::from(round) };
        if world.asks(world.at.offering, &call).status == 2 {
            return gas;
        }
    }
}

fn book_of(world: &mut World, change: impl Fn(&mut PurchasePermit)) -> Vec<BidId> {
    let every_tick = (0..4_096u16).map(|tick| {
        let mut permit = world.permit("alice", AUCTION, tick.into());
        change(&mut permit);
        world.bids_under("alice", &permit, 1, tick)
    });
    every_tick.collect()
}

fn with_4096_ticks() -> World {
    World::with(|offering, _| {
        let round = &mut offering.rounds[usize::from(AUCTION)];
        let Sale::Auction { prices, ticks } = &mut round.sale else { unreachable!("an auction") };
        (*ticks, prices.step, prices.supply) = (4_096, 1, 10_000 * CREDIT); // all are needed, so all are looked at
        round.withdrawable_most = u64::MAX;
    })
}

#[test]
fn a_book_with_bids_at_every_tick_clears_in_pieces() {
    let mut world = with_4096_ticks();
    book_of(&mut world, |_| {});
    world.go_to(CLOSE);
    let gas = gas_of_pieces(&mut world, AUCTION, 1_000);
    assert_eq!(gas.len(), 5);
    assert!(gas.iter().all(|&gas| gas < TX_GAS_CAP / 4), "{gas:?}");
}

/// A bid that is withdrawn leaves its tick behind; passing all of them must fit in one step of one transaction.
#[test]
fn a_book_of_ticks_that_were_all_left_clears_in_one_step() {
    let mut world = with_4096_ticks();
    let ids = book_of(&mut world, |permit| permit.cooling_off = true);
    for id in ids {
        world.does("alice", world.at.offering, &withdraw(id, "alice"));
    }
    world.go_to(CLOSE);
    let gas = gas_of_pieces(&mut world, AUCTION, 1);
    assert!(gas.len() == 1 && gas[0] < TX_GAS_CAP / 2, "{gas:?}");
}

/// Four thousand windows over the longest ladder, each with a bid and each cut.
#[test]
fn a_rising_round_with_a_bid_in_every_window_clears_in_pieces() {
    let mut world = World::with(|offering, _| {
        let round = &mut offering.rounds[usize::from(RISING)];
        round.close = START + 4_000 * 60;
        let Sale::Rising { window_secs, windows, window_cap, ladder, .. } = &mut round.sale else {
            unreachable!("the third round rises")
        };
        (*window_secs, *windows, *window_cap) = (60, 4_000, CASH / 2);
        let knots = (0..512u64).map(|i| Knot { weight: i * 4 * CASH, credits: u128::from(i) * CREDIT });
        *ladder = Ladder::new(knots.collect()).expect("rising");
    });
    for window in 0..4_000 {
        world.go_to(window * 60);
        let permit = world.permit("alice", RISING, 1);
        let call = world.order(&permit, CASH, 0);
        world.does("alice", world.at.offering, &call);
    }
    world.go_to(CLEARABLE);
    world.clears(FIXED);
    let gas = gas_of_pieces(&mut world, RISING, 150);
    assert!(gas.iter().all(|&gas| gas < TX_GAS_CAP), "{gas:?}");
}

#[test]
fn eight_rounds_are_bid_drawn_and_synced_within_a_small_part_of_a_transaction() {
    let mut world = World::with(|offering, treasury| {
        let first = offering.rounds[usize::from(FIXED)].clone();
        offering.rounds = vec![RoundSetup { cooling_off_days: 0, ..first }; 8];
        treasury.ceiling_at_start = 1_000 * CASH;
    });
    let at = world.at.clone();
    let mut gas = Vec::new();
    for round in 0..8 {
        let permit = PurchasePermit { max_total: 5_000 * CASH, ..world.permit("alice", round, 1) };
        let call = world.order(&permit, 100 * CASH, 0);
        gas.push(world.does("alice", at.offering, &call).gas_used);
    }
    world.go_to(CLOSE);
    (0..8).for_each(|round| world.clears(round));
    (0..8).for_each(|round| world.sweeps(round));
    world.goes_live();
    let now = world.chain.time();
    world.chain.advance_to(now + 1);
    for round in 0..8 {
        world.does("alice", at.offering, &deliver(bid_id(round, 1)));
    }
    world.go_to(TAP_START + 5_000);
    gas.push(world.does("issuer", at.treasury, &draw(CASH, "issuer")).gas_used);
    assert!(gas.iter().all(|&gas| gas < TX_GAS_CAP / 20), "{gas:?}");
}
