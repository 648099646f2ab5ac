//! Numbers at the ends of their ranges: nothing overflows, divides by zero or runs out of gas in a way that keeps
//! anyone's cash.

use earnest_core::clearing::Prices;
use earnest_core::curve::{Knot, Ladder};
use earnest_core::money::{Bps, CASH_MAX, CREDITS_MAX};
use earnest_core::offering::{OfferingSetup, RoundSetup, Sale};
use earnest_core::treasury::TreasurySetup;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::lockstep::{number, over_seeds};
use crate::lost_keys::{as_a_checked_plan, lose_the_keys};
use crate::story::Story;

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
