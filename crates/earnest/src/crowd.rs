//! A crowd of backers for demos, from a seed: who they are, what they want and when they act. Amounts are heavy-tailed,
//! limits cluster on round prices, some raise, some withdraw. Only integers: the same seed is the same crowd anywhere.

use alloy_primitives::Address;
use earnest_chain::key::Key;
use earnest_core::clearing::{Prices, clear_auction};
use earnest_core::money::{Bps, CASH_MAX, Cash, weight};
use earnest_core::plan::{AuctionPlan, Plan, RegimePlan, RoundKind, RoundPlan, Time};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Someone who may buy.
pub struct Backer {
    /// Signs and owns.
    pub key: Key,
    /// The attester's number of them.
    pub entity: u64,
    /// Index of their regime.
    pub regime: usize,
    /// Affiliate of the issuer.
    pub affiliate: bool,
}

impl Backer {
    /// Their wallet.
    pub fn wallet(&self) -> Address {
        self.key.address()
    }
}

/// What someone does at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deed {
    /// When.
    pub at: Time,
    /// Who.
    pub backer: usize,
    /// Where.
    pub round: usize,
    /// What.
    pub what: What,
}

/// A bid as a total, or its withdrawal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Bid, or raise to, this much at this tick.
    Bid {
        /// In all.
        cash: u64,
        /// Limit in an auction.
        tick: u16,
        /// Index in the plan.
        schedule: u8,
    },
    /// Take the bid back.
    Withdraw,
}

/// Everyone and everything they do, by time.
pub struct Crowd {
    /// Who.
    pub backers: Vec<Backer>,
    /// What, in order.
    pub deeds: Vec<Deed>,
}

/// A bid that stands at the end, for planning.
struct Standing {
    backer: usize,
    at: Time,
    cash: u64,
    tick: u16,
    schedule: u8,
    withdraws: bool,
}

impl Crowd {
    /// A crowd that together bids `demand_percent` of the most each round can take, as far as limits allow.
    pub fn gather(plan: &Plan, seed: u64, count: usize, demand_percent: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let backers = backers(plan, seed, count, &mut random);
        let mut spent = vec![0u64; count];
        let mut deeds = Vec::new();
        for (index, round) in plan.rounds.iter().enumerate() {
            bid_in_round(plan, index, round, demand_percent, &backers, &mut spent, &mut random, &mut deeds);
        }
        deeds.sort_by_key(|deed| (deed.at, deed.backer));
        Crowd { backers, deeds }
    }
}

fn backers(plan: &Plan, seed: u64, count: usize, random: &mut ChaCha8Rng) -> Vec<Backer> {
    let backer = |index: usize| {
        let mut at = random.random_range(0..10_000u16);
        let regime = plan.regimes.iter().position(|regime| {
            let here = at < regime.demand.get();
            at = at.saturating_sub(regime.demand.get());
            here
        });
        Backer {
            key: Key::from_words(&format!("earnest demo {seed} backer {index}")),
            entity: random.random(),
            regime: regime.unwrap_or(0),
            affiliate: random.random_bool(0.01),
        }
    };
    (0..count).map(backer).collect()
}

/// The most cash of an entity over all rounds.
pub fn most_overall(regime: &RegimePlan) -> u64 {
    regime.max_entity.map_or(u64::MAX, Cash::units)
}

#[expect(clippy::too_many_arguments, reason = "one round's part in the making of a crowd")]
fn bid_in_round(
    plan: &Plan,
    index: usize,
    round: &RoundPlan,
    demand_percent: u64,
    backers: &[Backer],
    spent: &mut [u64],
    random: &mut ChaCha8Rng,
    deeds: &mut Vec<Deed>,
) {
    let most = round.most_cash().unwrap_or_default().units();
    let wanted = u64::try_from(u128::from(most) * u128::from(demand_percent) / 100).unwrap_or(CASH_MAX);
    let least = round.min_bid.units();
    let mut bidders: Vec<usize> = (0..backers.len())
        .filter(|&backer| round.regimes.contains(&plan.regimes[backers[backer].regime].name))
        .collect();
    bidders.shuffle(random);
    // So few that an average bid is well above the least; and never everyone in every round.
    let room = usize::try_from(wanted / least.saturating_mul(4).max(1)).unwrap_or(usize::MAX);
    bidders.truncate(room.min(bidders.len() * 3 / 5).max(1).min(bidders.len()));

    let limits: Vec<(u64, bool)> = bidders
        .iter()
        .map(|&bidder| {
            let regime = &plan.regimes[backers[bidder].regime];
            let left = most_overall(regime).saturating_sub(spent[bidder]);
            let limit = left.min(round.max_bid.map_or(CASH_MAX, Cash::units));
            (limit, regime.cooling_off_days > 0 && !backers[bidder].affiliate)
        })
        .collect();
    let withdrawable = round.withdrawable.map_or(u64::MAX, Cash::units) / 10 * 9;
    let amounts = amounts(wanted, least, withdrawable, &limits, random);

    let mut standing = Vec::new();
    for ((&backer, cash), &(_, may_withdraw)) in bidders.iter().zip(amounts).zip(&limits) {
        if cash < least {
            continue;
        }
        let schedules = round.schedules.iter().filter_map(|name| plan.schedule(name)).map(|(at, _)| at);
        let schedules: Vec<usize> = schedules.collect();
        let schedule = schedules[random.random_range(0..schedules.len())];
        spent[backer] += cash;
        standing.push(Standing {
            backer,
            at: random.random_range(round.open..round.close),
            cash,
            tick: match &round.kind {
                RoundKind::Auction(auction) => limit_tick(auction.ticks, random),
                _ => 0,
            },
            schedule: u8::try_from(schedule).expect("at most 16"),
            withdraws: may_withdraw && random.random_bool(0.05),
        });
    }
    if let RoundKind::Auction(auction) = &round.kind
        && demand_percent > 100
    {
        last_raise(plan, round, auction, &mut standing);
    }
    for bid in standing {
        let rising = matches!(round.kind, RoundKind::Rising(_));
        let place = |at, cash, tick| {
            let what = What::Bid { cash, tick, schedule: bid.schedule };
            Deed { at, backer: bid.backer, round: index, what }
        };
        // One in ten starts lower and raises later; in a rising round that would be another window.
        let raises = !rising && bid.cash > 2 * least && random.random_bool(0.1);
        if raises {
            deeds.push(place(bid.at, bid.cash / 2, bid.tick - bid.tick / 8));
            deeds.push(place(random.random_range(bid.at..round.close), bid.cash, bid.tick));
        } else {
            deeds.push(place(bid.at, bid.cash, bid.tick));
        }
        if bid.withdraws {
            let last = deeds.last().map_or(bid.at, |deed| deed.at);
            let at = last + random.random_range(60..86_400);
            deeds.push(Deed { at, backer: bid.backer, round: index, what: What::Withdraw });
        }
    }
}

/// Heavy-tailed amounts that sum to about `wanted`, each within its limit; those that can be withdrawn together
/// within theirs.
fn amounts(
    wanted: u64,
    least: u64,
    withdrawable: u64,
    limits: &[(u64, bool)],
    random: &mut ChaCha8Rng,
) -> Vec<u64> {
    let appetite: Vec<u64> = limits
        .iter()
        .map(|_| {
            let doublings = random.random::<u64>().trailing_zeros().min(9);
            random.random_range(1_000..2_000u64) << doublings
        })
        .collect();
    let mut amounts = vec![0u64; limits.len()];
    let free = |only_withdrawable: bool, amounts: &[u64]| -> u128 {
        (0..limits.len())
            .filter(|&i| limits[i].1 == only_withdrawable && amounts[i] < limits[i].0)
            .map(|i| u128::from(appetite[i]))
            .sum()
    };
    let total_appetite: u128 = appetite.iter().map(|&a| u128::from(a)).sum();
    let retail_appetite = free(true, &amounts);
    let retail = (u128::from(wanted) * retail_appetite / total_appetite.max(1)).min(withdrawable.into());
    let retail = u64::try_from(retail).expect("at most wanted");
    for (kind, mut left) in [(true, retail), (false, wanted - retail)] {
        // What limits cut off goes to those who still have room.
        for _ in 0..12 {
            let room = free(kind, &amounts);
            if room == 0 || left == 0 {
                break;
            }
            let round_of = left;
            for i in (0..limits.len()).filter(|&i| limits[i].1 == kind) {
                if amounts[i] >= limits[i].0 {
                    continue;
                }
                let part = u128::from(round_of) * u128::from(appetite[i]) / room;
                let part = u64::try_from(part).expect("a part").min(limits[i].0 - amounts[i]).min(left);
                amounts[i] += part;
                left -= part;
            }
        }
    }
    for (amount, &(limit, may_withdraw)) in amounts.iter_mut().zip(limits) {
        // Whole cents of cash, and no one below the least (which retail may not afford: then they stay away).
        *amount -= *amount % 10_000;
        if *amount < least && !may_withdraw && limit >= least {
            *amount = least;
        }
    }
    amounts
}

/// Limits cluster on forty-one round prices, with some in between.
fn limit_tick(ticks: u16, random: &mut ChaCha8Rng) -> u16 {
    let top = u32::from(ticks - 1);
    let tick = if random.random_bool(0.8) {
        random.random_range(0..=40) * top / 40
    } else {
        random.random_range(0..=top)
    };
    u16::try_from(tick).expect("at most the top")
}

/// If the book would clear between two ticks, the lowest winner raises by what makes theirs the marginal one, as
/// bidders do who watch the price. Without it one crowd in a hundred would show no bid cut pro rata.
fn last_raise(plan: &Plan, round: &RoundPlan, auction: &AuctionPlan, standing: &mut [Standing]) {
    let (supply, floor, step) = (auction.supply.units(), auction.floor_price.units(), auction.tick.units());
    let prices = Prices { supply, floor, step };
    let discount =
        |bid: &Standing| plan.schedules.get(usize::from(bid.schedule)).map_or(Bps::default(), |s| s.discount);
    let mut book = std::collections::BTreeMap::<u16, (u64, u64)>::new();
    for bid in standing.iter().filter(|bid| !bid.withdraws) {
        let at = book.entry(bid.tick).or_default();
        at.0 += bid.cash;
        at.1 += weight(Cash::from_units(bid.cash), discount(bid));
    }
    let cleared =
        clear_auction(book.iter().rev().map(|(&tick, &(cash, weight))| (tick, cash, weight)), &prices);
    let Some((&lowest, _)) = book.range(cleared.whole_from..).next() else { return };
    if cleared.marginal.is_some() || cleared.whole_from == 0 {
        return;
    }
    let enough = earnest_core::clearing::need(supply, prices.at(lowest));
    let missing = u64::try_from(enough.saturating_sub(cleared.above.weight.into())).unwrap_or(0) + 1_000_000;
    let most = round.max_bid.map_or(CASH_MAX, Cash::units);
    let winner =
        standing.iter_mut().filter(|bid| !bid.withdraws && bid.tick == lowest && bid.cash + missing <= most);
    if let Some(bid) = winner.max_by_key(|bid| bid.cash) {
        bid.cash += missing;
    }
}
