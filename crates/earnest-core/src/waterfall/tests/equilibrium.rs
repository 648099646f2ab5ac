//! Conversion against every choice that the holders could make: what is paid is what no one would rather have changed.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

/// One class of shares.
#[derive(Clone, Copy, Debug)]
struct Class {
    /// Put in, and due once.
    preference: u64,
    rank: u16,
    shares: u64,
    participating: bool,
}

/// An amount as a fraction.
type Exact = (u128, u128);

/// What each gets of an exit if those of the set convert: preferences by rank, pro rata, and what is left by share.
/// The last is common.
fn payoffs(classes: &[Class], exit: u64, converted: u32) -> Vec<Exact> {
    let keeps = |index: usize| converted >> index & 1 == 0;
    let mut left = u128::from(exit);
    let mut paid = vec![(0, 1); classes.len()];
    for rank in 0..4 {
        let of_rank = |index: &usize| classes[*index].rank == rank && keeps(*index);
        let members: Vec<usize> = (0..classes.len()).filter(of_rank).collect();
        let due = |index: usize| u128::from(classes[index].preference);
        let all: u128 = members.iter().map(|&index| due(index)).sum();
        let pot = left.min(all);
        for index in members.into_iter().filter(|&index| due(index) > 0) {
            paid[index] = (due(index) * pot, all);
        }
        left -= pot;
    }
    let shares = |index: usize| {
        let class = classes[index];
        if class.participating || !keeps(index) { u128::from(class.shares) } else { 0 }
    };
    let all: u128 = (0..classes.len()).map(shares).sum();
    for (index, paid) in paid.iter_mut().enumerate().filter(|_| left > 0) {
        *paid = (paid.0 * all + shares(index) * left * paid.1, paid.1 * all);
    }
    paid
}

fn less((a, b): Exact, (c, d): Exact) -> bool {
    a * d < c * b
}

/// No one alone would rather do the other thing.
fn is_equilibrium(classes: &[Class], exit: u64, converted: u32) -> bool {
    let paid = payoffs(classes, exit, converted);
    let content = |index: usize| {
        let otherwise = payoffs(classes, exit, converted ^ 1 << index)[index];
        classes[index].participating || !less(paid[index], otherwise)
    };
    (0..classes.len()).all(content)
}

fn within(units: u128, paid: u64, (numerator, denominator): Exact) -> bool {
    (u128::from(paid) * denominator).abs_diff(numerator) <= units * denominator
}

#[test]
fn what_is_paid_is_an_equilibrium_of_conversions() {
    let mut conversions = 0;
    for seed in 0..4_000 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut classes: Vec<Class> = (0..random.random_range(1..5))
            .map(|_| Class {
                preference: random.random_range(1..1_000),
                rank: random.random_range(1..4),
                shares: random.random_range(1..200),
                participating: random.random_range(0..4) == 0,
            })
            .collect();
        classes.sort_by_key(|class| class.rank);
        // Common stock.
        classes.push(Class {
            preference: 0,
            rank: 0,
            shares: random.random_range(1..300),
            participating: true,
        });
        let claimants: Vec<String> = (0..=classes.len()).map(|index| index.to_string()).collect();
        let claimant = |index: usize| Claimant(u16::try_from(index + 1).unwrap());
        let due = classes.iter().enumerate().filter(|(_, class)| class.preference > 0);
        let mut claims: Vec<Claim> =
            due.map(|(index, class)| preference(&format!("p{index}"), claimant(index), class.rank)).collect();
        for (index, class) in classes.iter().enumerate() {
            let take = Take::Common { shares: class.shares, converting: !class.participating };
            claims.push(equity(&format!("c{index}"), claimant(index), take));
        }
        claims.push(Claim::new("residual", FOUNDATION, 10, Take::Rest));
        let waterfall = Waterfall::new(Terms::new(1, 0, claimants, claims).unwrap());
        let mut state = State::new(&waterfall);
        for (index, class) in classes.iter().enumerate() {
            waterfall.contribute(&mut state, 0, claimant(index), class.preference).unwrap();
        }
        // In up to three parts: the same exit, but for a unit of rounding in each.
        let exit = random.random_range(1..6_000);
        let parts = random.random_range(1..4);
        let mut left = exit;
        for part in 1..=parts {
            let cash = if part == parts { left } else { random.random_range(0..=left) };
            waterfall.distribute(&mut state, 0, Source::Liquidation, cash).unwrap();
            left -= cash;
        }
        let paid: Vec<u64> = (0..classes.len()).map(|index| state.paid(claimant(index))).collect();
        let agrees = |converted: &u32| {
            let exact = payoffs(&classes, exit, *converted);
            let near = paid.iter().zip(exact).all(|(&paid, exact)| within(parts, paid, exact));
            near && is_equilibrium(&classes, exit, *converted)
        };
        let found = (0..1u32 << classes.len()).find(agrees);
        let found = found.unwrap_or_else(|| panic!("seed {seed}: {classes:?} paid {paid:?} of {exit}"));
        conversions += found.count_ones();
    }
    assert!(conversions > 1_000, "{conversions} conversions are too few to say anything");
}
