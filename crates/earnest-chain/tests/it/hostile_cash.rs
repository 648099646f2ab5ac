//! A coin that turns bad: calls back in the middle of a transfer, takes a fee, refuses a payee.

use std::collections::BTreeMap;

use alloy_primitives::{Address, Bytes, TxKind, U256};
use alloy_sol_types::{SolCall, sol};
use earnest_chain::bindings::{DevCash, Offering, Treasury};
use earnest_chain::chain::{Chain, ChainError};
use earnest_chain::story::pack;
use earnest_core::bid::BidId;

use crate::world::*;

sol!(
    #[allow(missing_docs)]
    #[sol(all_derives)]
    HostileCash,
    "../../contracts/artifacts/HostileCash.json"
);

/// A world whose cash is hostile, and whose issuer and one backer (entity 66) the coin itself is.
fn world() -> World {
    let deployer = key("deployer");
    let coin = deployer.address().create(0);
    let mut world = World::deploy(
        |offering, treasury| (offering.issuer, treasury.issuer) = (coin, coin),
        |chain| {
            let Chain::Embedded(chain) = chain else { unreachable!("made embedded") };
            let made = chain.send(deployer.address(), TxKind::Create, HostileCash::BYTECODE.clone());
            coins(made.expect("deploys").created)
        },
    )
    .expect("deploys");
    assert_eq!(world.at.cash, coin);
    world.does("deployer", coin, &DevCash::mintCall { to: coin, units: U256::from(100_000 * CASH) });
    let approve = DevCash::approveCall { spender: world.at.offering, value: U256::MAX };
    world.send(coin, coin, &approve).expect("approves");
    world
}

/// A bid by the coin, which may be withdrawn, of so much in all.
fn own_bid(world: &World, round: u8, cash: u64) -> Offering::bidCall {
    let mut permit = world.permit("alice", round, 66);
    (permit.wallet, permit.cooling_off) = (world.at.cash, true);
    world.order(&permit, cash * CASH, 0)
}

fn draws(cash: u64, to: Address) -> Treasury::drawCall {
    Treasury::drawCall { amount: U256::from(cash), to }
}

/// A call made by the coin.
#[derive(Clone)]
struct Inner {
    name: &'static str,
    to: Address,
    data: Bytes,
}

fn inners(world: &World) -> Vec<Inner> {
    let at = &world.at;
    let inner = |name, to, data: Vec<u8>| Inner { name, to, data: data.into() };
    let own = bid_id(FIXED, 66);
    let mut all = vec![
        inner("bid", at.offering, own_bid(world, FIXED, 700).abi_encode()),
        inner("other bid", at.offering, own_bid(world, AUCTION, 700).abi_encode()),
        inner("withdraw", at.offering, Offering::withdrawCall { id: pack(own), payee: at.cash }.abi_encode()),
        inner("lapse", at.offering, Offering::lapseCall { id: pack(own) }.abi_encode()),
        inner("set attester", at.offering, set_attester("mallory", 1).abi_encode()),
        inner("draw", at.treasury, draws(1_000, at.cash).abi_encode()),
        inner("draw all", at.treasury, draws(100 * CASH, at.cash).abi_encode()),
        inner("sync", at.treasury, Treasury::syncCall {}.abi_encode()),
        inner(
            "deposit",
            at.treasury,
            Treasury::depositCall { class: U256::ZERO, amount: U256::ONE }.abi_encode(),
        ),
    ];
    for id in [own, bid_id(FIXED, 1)] {
        let refund_to = Offering::refundToCall {
            id: pack(id),
            payee: at.cash,
            expiry: U256::MAX,
            signature: Bytes::new(),
        };
        let pot_refund_to = Treasury::refundToCall {
            id: pack(id),
            payee: at.cash,
            expiry: U256::MAX,
            signature: Bytes::new(),
        };
        all.push(inner("settle", at.offering, settle(id).abi_encode()));
        all.push(inner("refund", at.offering, refund(id).abi_encode()));
        all.push(inner("refund to", at.offering, refund_to.abi_encode()));
        all.push(inner("pot refund", at.treasury, pot_refund(id).abi_encode()));
        all.push(inner("pot refund to", at.treasury, pot_refund_to.abi_encode()));
    }
    for round in [FIXED, AUCTION] {
        all.push(inner("sweep", at.offering, sweep(round).abi_encode()));
        all.push(inner("clear", at.offering, clear(round, 10).abi_encode()));
    }
    all
}

/// Moments at which the coin is moved, each with the call that moves it.
const OUTER: [&str; 7] = ["bid", "withdraw", "refund", "failed refund", "sweep", "draw", "pot refund"];

/// A world up to that moment, and the call: who, where, what.
fn moment(outer: &str) -> (World, Address, Address, Bytes) {
    let mut world = world();
    let at = world.at.clone();
    let alice = world.bids("alice", FIXED, 1, if outer == "failed refund" { 100 } else { 600 }, 0);
    let own = own_bid(&world, FIXED, if outer == "failed refund" { 100 } else { 600 });
    world.send(at.cash, at.offering, &own).expect("bids");
    let auction = own_bid(&world, AUCTION, if outer == "failed refund" { 100 } else { 600 });
    if outer != "bid" {
        world.send(at.cash, at.offering, &auction).expect("bids");
    }
    let own = bid_id(FIXED, 66);
    match outer {
        "bid" => return (world, at.cash, at.offering, auction.abi_encode().into()),
        "withdraw" => {
            let call = Offering::withdrawCall { id: pack(own), payee: who("alice") };
            return (world, at.cash, at.offering, call.abi_encode().into());
        }
        "failed refund" => {
            world.go_to(SOFT_CAP_DATE);
            return (world, who("stranger"), at.offering, refund(alice).abi_encode().into());
        }
        _ => {}
    }
    world.go_to(CLEARABLE);
    world.clears(FIXED);
    world.clears(AUCTION);
    match outer {
        "refund" => return (world, who("stranger"), at.offering, refund(alice).abi_encode().into()),
        "sweep" => {
            world.sweeps(AUCTION);
            world.go_to(TAP_START + 10);
            return (world, who("stranger"), at.offering, sweep(FIXED).abi_encode().into());
        }
        _ => {}
    }
    world.sweeps(FIXED);
    world.go_to(TAP_START + 100);
    if outer == "draw" {
        return (world, at.cash, at.treasury, draws(5_000, who("carol")).abi_encode().into());
    }
    for id in [alice, own] {
        world.does("stranger", at.offering, &settle(id));
    }
    world.go_to(DEADLINE);
    (world, who("stranger"), at.treasury, pot_refund(alice).abi_encode().into())
}

fn raw(world: &mut World, from: Address, to: Address, data: Bytes) -> Result<(), ChainError> {
    world.chain.send(from, TxKind::Call(to), data).map(drop)
}

/// The books of offering, treasury and credit, and who has how much cash.
fn books(world: &mut World) -> (Everything, Vec<u64>) {
    let at = world.at.clone();
    let books = world.everything().into_iter().filter(|((of, _), _)| *of != at.cash).collect();
    let holders = [at.offering, at.treasury, at.cash].into_iter().chain(BACKERS.map(who));
    (books, holders.map(|of| world.cash_of(of)).collect())
}

/// Whatever the coin calls in the middle of a transfer is refused by name, or comes to the same as if it had been
/// called before or after it.
#[test]
fn calls_from_within_a_transfer_gain_nothing() {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for outer in OUTER {
        for inner in inners(&moment(outer).0) {
            let (mut world, from, to, data) = moment(outer);
            let coin = world.at.cash;
            let call = HostileCash::callBackCall { callee_: inner.to, data_: inner.data.clone() };
            world.does("mallory", coin, &call);
            raw(&mut world, from, to, data.clone()).unwrap_or_else(|error| panic!("{outer}: {error}"));
            let reentered = world.asks(coin, &HostileCash::reenteredCall {});
            let returned = world.asks(coin, &HostileCash::returnedCall {});
            let during = books(&mut world);

            if !reentered {
                let name = name_of(&ChainError::Reverted(returned));
                assert!(!name.contains(' '), "{} within {outer}: {name}", inner.name);
                *seen.entry(name).or_default() += 1;
            }
            let one_after_the_other = |inner_first: bool| {
                let (mut world, ..) = moment(outer);
                let outer_call = (from, to, data.clone());
                let mut calls = vec![outer_call];
                if reentered {
                    calls.insert(usize::from(!inner_first), (coin, inner.to, inner.data.clone()));
                }
                let all = calls.into_iter().try_for_each(|(from, to, data)| raw(&mut world, from, to, data));
                all.map(|()| books(&mut world)).ok()
            };
            let same =
                [false, true].into_iter().any(|first| one_after_the_other(first).as_ref() == Some(&during));
            assert!(same, "{} within {outer}", inner.name);
        }
    }
    assert!(seen.get("ReentrancyGuardReentrantCall").is_some_and(|count| *count > 50), "{seen:?}");
}

#[test]
fn a_bid_in_a_coin_that_takes_a_fee_is_refused() {
    let mut world = world();
    world.does("mallory", world.at.cash, &HostileCash::setFeeCall { bps: U256::from(1) });
    for round in [FIXED, AUCTION, RISING] {
        let call = world.order(&world.permit("alice", round, 1), 600 * CASH, 0);
        world.refuses("WrongCash", "alice", world.at.offering, &call);
    }
}

#[test]
fn a_fee_that_starts_later_stops_the_sweep_and_nothing_is_lost() {
    let mut world = world();
    let at = world.at.clone();
    let id = world.bids("alice", FIXED, 1, 600, 0);
    world.go_to(CLEARABLE);
    world.clears(FIXED);
    world.does("mallory", at.cash, &HostileCash::setFeeCall { bps: U256::from(100) });
    world.refuses("CashMissing", "stranger", at.offering, &sweep(FIXED));
    world.does("mallory", at.cash, &HostileCash::setFeeCall { bps: U256::ZERO });
    world.sweeps(FIXED);
    assert_eq!(world.cash_of(at.treasury), 600 * CASH);
    world.does("stranger", at.offering, &settle(id));
    world.go_to(DEADLINE);
    world.does("stranger", at.treasury, &pot_refund(id));
    assert_eq!(world.cash_of(who("alice")), 100_000 * CASH);
}

/// A coin that will not pay alice.
fn refuse_alice(world: &mut World) {
    world.does("mallory", world.at.cash, &HostileCash::refuseCall { payee: who("alice") });
}

/// Refused because the coin refuses; nothing changes.
fn blocked(world: &mut World, name: &str, to: Address, call: &impl SolCall) {
    let before = world.everything();
    let error = world.send(who(name), to, call).expect_err("the coin refuses");
    let ChainError::Reverted(data) = error else { panic!("{error}") };
    assert_eq!(data[..4], <HostileCash::Refused as alloy_sol_types::SolError>::SELECTOR);
    assert!(world.everything() == before);
}

fn to_carol(id: BidId) -> Offering::refundToCall {
    Offering::refundToCall { id: pack(id), payee: who("carol"), expiry: U256::ZERO, signature: Bytes::new() }
}

#[test]
fn a_wallet_that_the_coin_refuses_blocks_no_one_and_is_paid_elsewhere() {
    let mut world = world();
    let at = world.at.clone();
    let mut cooling = world.permit("alice", AUCTION, 1);
    cooling.cooling_off = true;
    let withdrawn = world.bids_under("alice", &cooling, 50, 0);
    let [alice, bob] = [world.bids("alice", FIXED, 1, 600, 0), world.bids("bob", FIXED, 2, 900, 0)];
    refuse_alice(&mut world);
    blocked(&mut world, "alice", at.offering, &withdraw(withdrawn, "alice"));
    world.does("alice", at.offering, &withdraw(withdrawn, "carol"));
    world.go_to(CLEARABLE);
    world.clears(FIXED);

    blocked(&mut world, "stranger", at.offering, &refund(alice));
    world.does("stranger", at.offering, &refund(bob));
    world.sweeps(FIXED);
    world.does("alice", at.offering, &to_carol(alice));
    assert_eq!(world.cash_of(at.offering), 0);

    world.go_to(DEADLINE);
    blocked(&mut world, "stranger", at.treasury, &pot_refund(alice));
    world.does("stranger", at.treasury, &pot_refund(bob));
    let expiry = world.chain.time();
    let digest = earnest_chain::deploy::Deployment::payout_digest(
        &at.treasury_domain(earnest_chain::embedded::DEV_CHAIN_ID),
        alice,
        who("carol"),
        expiry,
    );
    let call = Treasury::refundToCall {
        id: pack(alice),
        payee: who("carol"),
        expiry: U256::from(expiry),
        signature: key("alice").sign(digest),
    };
    world.does("stranger", at.treasury, &call);
    assert_eq!((world.cash_of(at.treasury), world.cash_of(who("bob"))), (0, 100_000 * CASH));
    assert_eq!(world.cash_of(who("carol")), 100_650 * CASH);
}

#[test]
fn a_refused_wallet_still_gets_a_missed_soft_cap_back_elsewhere() {
    let mut world = world();
    let id = world.bids("alice", FIXED, 1, 100, 0);
    refuse_alice(&mut world);
    world.go_to(SOFT_CAP_DATE);
    let offering = world.at.offering;
    blocked(&mut world, "stranger", offering, &refund(id));
    world.does("alice", offering, &to_carol(id));
    assert_eq!(world.cash_of(who("carol")), 100_100 * CASH);
}

#[test]
fn an_issuer_that_the_coin_refuses_draws_elsewhere() {
    let mut world = world();
    let at = world.at.clone();
    world.sold_out();
    world.go_to(TAP_START + 1_000);
    refuse_alice(&mut world);
    let before = world.everything();
    assert!(world.send(at.cash, at.treasury, &draws(CASH, who("alice"))).is_err());
    assert!(world.everything() == before);
    world.send(at.cash, at.treasury, &draws(CASH, who("carol"))).expect("draws");
}
