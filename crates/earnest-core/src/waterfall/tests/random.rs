//! Random waterfalls under random stories, watched by rules that know nothing of how cash is split.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::claim::part_of;
use super::super::rank::Flow;
use super::super::terms::Kind;
use super::*;

const CLAIMANTS: u16 = 5;
const STRUCTURES: u64 = 100_000;

/// Small amounts, where rounding shows, and large ones, where products do.
fn amount(random: &mut ChaCha8Rng) -> u64 {
    let digits = random.random_range(0..17);
    random.random_range(0..=10u64.pow(digits))
}

fn a_cap(random: &mut ChaCha8Rng) -> Cap {
    match random.random_range(0..4) {
        0 => Cap::Multiple(Multiple::fixed(random.random_range(1..1_000_000))),
        1 => {
            let steps =
                vec![(0, random.random_range(1..50_000)), (YEAR_SECS, random.random_range(1..50_000))];
            let growth = Some(Growth { bps: random.random_range(0..3_000), from: YEAR_SECS });
            Cap::Multiple(Multiple { steps, growth })
        }
        2 => Cap::Amount(Cash::from_units(amount(random) + 1)),
        _ => Cap::Irr(random.random_range(0..5_000)),
    }
}

/// Mostly valid; what is not is refused and not used.
fn claims(random: &mut ChaCha8Rng) -> Vec<Claim> {
    let mut claims = Vec::new();
    let ranks = random.random_range(0..5);
    for rank in 0..ranks {
        let kind = if rank + 1 == ranks { random.random_range(0..3) } else { random.random_range(0..2) };
        let first = random.random_range(1..CLAIMANTS);
        for place in 0..random.random_range(1..4) {
            let claimant = Claimant(1 + (first + place) % (CLAIMANTS - 1));
            let part = random.random_range(1..=10_000 / (place + 1));
            let lead = format!("{rank}/0");
            let take = match (kind, random.random_range(0..3)) {
                (0, _) => Take::Due,
                (1, 0) if place > 0 => beside(part, &lead),
                (1, 1) => Take::CatchUp { share: bps(part), of_profit: bps(part / 2) },
                (1, _) => share(part),
                (_, any) => {
                    Take::Common { shares: random.random_range(1..1_000_000_000), converting: any > 0 }
                }
            };
            let mut claim = Claim::new(&format!("{rank}/{place}"), claimant, rank, take);
            if kind == 0 || random.random_range(0..2) == 0 {
                claim = claim.cap(a_cap(random));
            }
            if kind < 2 && random.random_range(0..3) == 0 {
                claim = claim.out_of(&Source::ALL[random.random_range(0..3)..]);
            }
            if random.random_range(0..6) == 0 {
                claim = claim.ends(random.random_range(0..4 * YEAR_SECS));
            }
            claims.push(claim);
        }
    }
    claims
}

fn a_version(random: &mut ChaCha8Rng, version: u32, effective: Time) -> Terms {
    loop {
        if let Ok(terms) = try_terms(version, effective, claims(random)) {
            return terms;
        }
    }
}

/// What a claim could take just before and after.
fn room(terms: &Terms, state: &State, source: Source, time: Time, claim: usize) -> u64 {
    Flow { terms, state: &mut state.clone(), source, time }.room(claim)
}

fn watch(terms: &Terms, before: &State, after: &State, source: Source, time: Time, cash: u64, paid: &[u64]) {
    assert_eq!(paid.iter().sum::<u64>(), cash, "the sum");
    assert_eq!(after.total_paid(), before.total_paid() + cash);
    let mut by_claimant = [0; CLAIMANTS as usize];
    // A cap binds its claim; other claims of the claimant, paid later, may have higher ones.
    for (claim, paid) in terms.claims().iter().zip(paid) {
        by_claimant[usize::from(claim.claimant.0)] += paid;
        let ended = claim.ends.is_some_and(|ends| time >= ends);
        assert!(*paid == 0 || !ended && claim.sources.has(source), "{} was closed", claim.name);
        let total = before.paid(claim.claimant) + by_claimant[usize::from(claim.claimant.0)];
        if let Take::CatchUp { of_profit, .. } = claim.take
            && *paid > 0
        {
            // Whoever had less than its part of profit has no more than it, were all of this profit.
            let own = u128::from(total.saturating_sub(after.invested(claim.claimant))) * 10_000;
            let all = u128::from(after.total_paid() - after.total_invested());
            assert!(own <= u128::from(of_profit.get()) * all, "{} caught up too far", claim.name);
        }
        for cap in claim.caps.iter().filter(|_| *paid > 0) {
            match cap {
                Cap::Multiple(multiple) => {
                    assert!(total <= multiple.limit(after.invested(claim.claimant), time), "{}", claim.name);
                }
                Cap::Amount(most) => assert!(total <= most.units(), "{}", claim.name),
                Cap::Irr(_) => {} // By its room, below.
            }
        }
    }
    for (claimant, paid) in (0..CLAIMANTS).zip(by_claimant) {
        assert_eq!(
            after.paid(Claimant(claimant)),
            before.paid(Claimant(claimant)) + paid,
            "what stays counted"
        );
    }
    let mut left = cash;
    for rank in &terms.ranks {
        let got: u64 = paid[rank.claims.clone()].iter().sum();
        for claim in rank.claims.clone() {
            let open = room(terms, after, source, time, claim);
            let name = &terms.claims()[claim].name;
            // Catching up has no fixed goal, and what one is paid beside this claim counts, too.
            let catching_up = matches!(terms.claims()[claim].take, Take::CatchUp { .. });
            if !catching_up {
                let allowed = room(terms, before, source, time, claim);
                assert!(paid[claim] <= allowed, "{name} had {} of {allowed}", paid[claim]);
            }
            let filled = match &terms.claims()[claim].take {
                Take::Due | Take::Common { .. } => left == got || open == 0,
                Take::Share(share) => paid[claim] == part_of(left, *share) || open == 0,
                Take::CatchUp { share, .. } => paid[claim] <= part_of(left, *share),
                Take::Beside { share, .. } => paid[claim] <= part_of(left, *share),
                Take::Rest => got == left,
            };
            assert!(filled, "{name} could take {open} more of {left}");
        }
        if rank.kind == Kind::Rest {
            assert_eq!(got, left);
        }
        left -= got;
    }
    assert_eq!(left, 0);
}

fn story(random: &mut ChaCha8Rng) -> usize {
    let mut waterfall = Waterfall::new(a_version(random, 1, 0));
    if random.random_range(0..3) == 0 {
        let effective = random.random_range(1..3 * YEAR_SECS);
        // A claim's name may have moved.
        let _ = waterfall.amend(a_version(random, 2, effective));
    }
    let mut state = State::new(&waterfall);
    let (mut time, mut paid) = (0, Vec::new());
    let distributions = random.random_range(1..5);
    for _ in 0..distributions {
        time += random.random_range(0..YEAR_SECS);
        for _ in 0..random.random_range(0..4) {
            let claimant = Claimant(random.random_range(0..CLAIMANTS));
            waterfall.contribute(&mut state, time, claimant, amount(random)).unwrap();
        }
        let (cash, source) = (amount(random), Source::ALL[random.random_range(0..3)]);
        let terms = waterfall.in_force(time).unwrap();
        // Nothing but time and amendments.
        waterfall.distribute(&mut state, time, source, 0).unwrap();
        let before = state.clone();
        paid.resize(terms.claims().len(), 0);
        waterfall.distribute_into(&mut state, time, source, cash, &mut paid).unwrap();
        watch(terms, &before, &state, source, time, cash, &paid);
    }
    distributions
}

#[test]
fn every_distribution_of_every_waterfall_keeps_the_rules() {
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for seed in (thread..STRUCTURES).step_by(usize::try_from(threads).unwrap()) {
                    let kept = std::panic::catch_unwind(|| story(&mut ChaCha8Rng::seed_from_u64(seed)));
                    assert!(kept.is_ok(), "seed {seed}");
                }
            });
        }
    });
}
