//! One distribution through six claims and a residual, against nothing but the clock: the median of nine runs.

use std::hint::black_box;
use std::time::Instant;

use earnest_core::money::Bps;
use earnest_core::waterfall::{Cap, Claim, Claimant, Source, State, Take, Terms, Waterfall, YEAR_SECS};

const ROUNDS: u64 = 20_000;
/// Distributions of one story.
const YEARS: u64 = 20;
const MILLION: u64 = 1_000_000_000_000;

fn main() {
    let share = |bps| Take::Share(Bps::new(bps).unwrap());
    let [nonprofit, first, second, manager] = [0, 1, 2, 3].map(Claimant);
    let catch_up = Take::CatchUp { share: Bps::ONE, of_profit: Bps::new(2_000).unwrap() };
    let claims = vec![
        Claim::new("capital", first, 1, Take::Due).cap_multiple(10_000),
        Claim::new("preferred", second, 1, Take::Due).cap(Cap::Irr(800)),
        Claim::new("catch-up", manager, 2, catch_up),
        Claim::new("first", first, 3, share(4_900)).cap_multiple(1_000_000),
        Claim::new("second", second, 3, share(3_000)).cap_multiple(30_000),
        Claim::new("manager", manager, 3, share(2_000)),
        Claim::new("rest", nonprofit, 4, Take::Rest),
    ];
    let names = ["nonprofit", "first", "second", "manager"].map(String::from).to_vec();
    let waterfall = Waterfall::new(Terms::new(1, 0, names, claims).unwrap());
    let mut state = State::new(&waterfall);
    let mut paid = [0; 7];
    let mut nanos: Vec<u128> = Vec::new();
    for _ in 0..9 {
        let started = Instant::now();
        for round in 0..ROUNDS {
            state.reset(&waterfall);
            waterfall.contribute(&mut state, 0, first, 10 * MILLION).unwrap();
            waterfall.contribute(&mut state, 0, second, 100 * MILLION).unwrap();
            for year in 1..=YEARS {
                let cash = year * MILLION * (round % 10);
                let time = year * YEAR_SECS;
                waterfall.distribute_into(&mut state, time, Source::Profit, cash, &mut paid).unwrap();
                black_box(&paid);
            }
        }
        nanos.push(started.elapsed().as_nanos() / u128::from(ROUNDS * YEARS));
    }
    nanos.sort_unstable();
    println!("one distribution: {} ns, fastest {} ns", nanos[4], nanos[0]);
}
