//! A million bids cleared and allocated, against nothing but the clock: the median of nine runs.

use std::time::Instant;

use earnest_core::clearing::{Limit, Prices, allocate};
use rand::{RngExt, SeedableRng};

fn main() {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let bids: Vec<Limit> = (0..1_000_000)
        .map(|_| {
            let cash = random.random_range(100_000_000..1_000_000_000_000u64);
            let discount = [0, 750, 1_500, 2_000][random.random_range(0..4)];
            Limit { cash, weight: cash * 10_000 / (10_000 - discount), tick: random.random_range(0..4_096) }
        })
        .collect();
    let prices =
        Prices { supply: 300_000_000_000 * 10u128.pow(18), floor: 500_000_000_000, step: 1_000_000_000 };
    let mut millis: Vec<u128> = Vec::new();
    let mut last = None;
    for _ in 0..9 {
        let started = Instant::now();
        let (cleared, shares) = allocate(&bids, 4_096, &prices);
        millis.push(started.elapsed().as_micros());
        let credits: u128 = shares.iter().map(|share| share.credits).sum();
        let cash: u128 = shares.iter().map(|share| u128::from(share.paid) + u128::from(share.back)).sum();
        let bid: u128 = bids.iter().map(|bid| u128::from(bid.cash)).sum();
        assert!(credits <= cleared.sold() && cleared.sold() <= prices.supply, "never oversold");
        assert!(cash <= bid && bid - cash <= bids.len() as u128, "no more than a unit of dust a bid");
        last = Some(cleared);
    }
    millis.sort_unstable();
    let cleared = last.expect("nine runs");
    let marginal = cleared.marginal.is_some();
    if std::env::args().any(|arg| arg == "--json") {
        println!(
            "{{\"name\": \"clear and allocate\", \"bids\": {}, \"median_ms\": {}.{:03}, \"fastest_ms\": {}.{:03}}}",
            bids.len(),
            millis[4] / 1_000,
            millis[4] % 1_000,
            millis[0] / 1_000,
            millis[0] % 1_000
        );
    } else {
        println!(
            "{} bids over 4,096 ticks cleared at tick {} (pro rata: {marginal}) and allocated in {} ms (median of 9)",
            bids.len(),
            cleared.whole_from,
            millis[4] / 1_000
        );
    }
}
