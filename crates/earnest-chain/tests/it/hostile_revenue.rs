//! Revenue against whoever has one of its keys, or none: roles, the order and the bounds of statements, proofs of pay,
//! an issuer who cannot be paid, and coins that come from nowhere.

use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use alloy_sol_types::{SolCall, SolValue};
use earnest_chain::bindings::{Channels, Credit, DevCash, Revenue};
use earnest_chain::chain::Chain;
use earnest_core::channel::ChannelConfig;
use earnest_core::money::Bps;
use earnest_core::statement::{Split, Tree, leaf};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::accomplice::{prepare, recruit};
use crate::hostile_cash::HostileCash;
use crate::hostile_channels::{channel, claim, deposit_of, paid_in, refund_call, row};
use crate::vault::alter;
use crate::world::*;

const ROLES: [&str; 4] = ["claimer", "refunder", "publisher", "signer"];

/// A world in which each role has a key of its own, and a channel of alice's that pays for the service in cash.
fn world() -> (World, ChannelConfig) {
    let mut world = World::new();
    let revenue = world.at.revenue;
    for (which, name) in (0..).zip(ROLES) {
        world.does("issuer", revenue, &Revenue::rotateCall { which, holder: who(name) });
    }
    let channel = ChannelConfig { receiver: revenue, receiver_authorizer: revenue, ..channel(&world) };
    (world, channel)
}

/// The same with 1,000 of cash settled.
fn settled() -> (World, ChannelConfig) {
    let (mut world, channel) = world();
    let call = paid_in(&mut world, "alice", &deposit_of(channel, 5_000, 0));
    world.does("alice", world.at.channels, &call);
    world.does("claimer", world.at.revenue, &claim(&[row(channel, 1_000, 1_000)]));
    (world, channel)
}

fn publish(coin: Address, number: u32, settled: u128, pay: u128, root: B256) -> Revenue::publishCall {
    Revenue::publishCall { coin, number, settled, pay, root, document: B256::ZERO }
}

fn claim_pay(coin: Address, provider: &str, cumulative: u128, proof: Vec<B256>) -> Revenue::claimPayCall {
    Revenue::claimPayCall { coin, provider: who(provider), cumulative, proof }
}

/// What each provider served.
fn split(settled: u128, served: &[(&str, u128)]) -> Split {
    let served = served.iter().map(|(name, part)| (who(name), *part)).collect();
    Split::new(settled, &served, Bps::new(8_000).expect("a part")).expect("no more than was settled")
}

#[test]
fn a_role_is_its_holders_alone() {
    let (mut world, channel) = world();
    let (revenue, cash) = (world.at.revenue, world.at.cash);
    let call = paid_in(&mut world, "alice", &deposit_of(channel, 5_000, 0));
    world.does("alice", world.at.channels, &call);
    let everyone: Vec<&str> =
        ROLES.into_iter().chain(["issuer", "gateway", "alice", "seller", "stranger", "certifier"]).collect();
    for name in &everyone {
        if *name != "claimer" {
            world.refuses("NotInRole", name, revenue, &claim(&[row(channel, 10, 10)]));
            world.refuses("NotInRole", name, revenue, &claim(&[]));
        }
        if *name != "refunder" {
            world.refuses("NotInRole", name, revenue, &refund_call(&channel, 1));
        }
        if *name != "publisher" {
            world.refuses("NotInRole", name, revenue, &publish(cash, 1, 0, 0, B256::ZERO));
        }
        if *name != "issuer" {
            for which in 0..4 {
                let call = Revenue::rotateCall { which, holder: who(name) };
                world.refuses("NotIssuer", name, revenue, &call);
            }
        }
    }
    // There are four roles.
    let before = world.everything();
    assert!(
        world.send(who("issuer"), revenue, &Revenue::rotateCall { which: 4, holder: who("issuer") }).is_err()
    );
    assert!(world.everything() == before);
    // A role that nobody has is nobody's until the issuer gives it again.
    world.does("issuer", revenue, &Revenue::rotateCall { which: 0, holder: Address::ZERO });
    for name in &everyone {
        world.refuses("NotInRole", name, revenue, &claim(&[row(channel, 10, 10)]));
    }
    world.does("issuer", revenue, &Revenue::rotateCall { which: 0, holder: who("gateway") });
    world.refuses("NotInRole", "claimer", revenue, &claim(&[row(channel, 10, 10)]));
    world.does("gateway", revenue, &claim(&[row(channel, 10, 10)]));
    assert_eq!(world.cash_of(revenue), 10);
}

#[test]
fn only_its_own_channels_and_coins_are_claimed() {
    let (mut world, own) = settled();
    let at = world.at.clone();
    let coin = recruit(&mut world);
    let odd = ChannelConfig { payer: who("mallory"), token: coin, ..own };
    world.does("mallory", coin, &prepare(&[], 100, 1));
    world.does("mallory", at.channels, &deposit_of(odd, 100, 0).call(coin, Bytes::new()));
    world.refuses("UnknownCoin", "claimer", at.revenue, &claim(&[row(odd, 10, 10)]));
    world.refuses("UnknownCoin", "claimer", at.revenue, &claim(&[row(own, 1_010, 1_010), row(odd, 10, 10)]));
    world.refuses("NothingToClaim", "claimer", at.revenue, &claim(&[]));
    let others = ChannelConfig { receiver: who("seller"), receiver_authorizer: who("seller"), ..own };
    let call = paid_in(&mut world, "alice", &deposit_of(others, 100, 0));
    world.does("alice", at.channels, &call);
    world.refuses("NotReceiver", "claimer", at.revenue, &claim(&[row(others, 10, 10)]));
    world.refuses("NotReceiver", "refunder", at.revenue, &refund_call(&others, 10));
    // Who is authorizer of a channel whose coins go elsewhere claims for that one, and has nothing of it.
    let served = ChannelConfig { receiver_authorizer: at.revenue, ..others };
    let call = paid_in(&mut world, "alice", &deposit_of(served, 100, 0));
    world.does("alice", at.channels, &call);
    world.does("claimer", at.revenue, &claim(&[row(served, 10, 10)]));
    assert_eq!(world.cash_of(at.revenue), 1_000);
    world.refuses("OverSettled", "publisher", at.revenue, &publish(at.cash, 1, 1_001, 0, B256::ZERO));
    // Odd coins cannot be split, whatever was settled of them.
    world.refuses("UnknownCoin", "publisher", at.revenue, &publish(coin, 1, 0, 0, B256::ZERO));
    world.refuses("BadProof", "mallory", at.revenue, &claim_pay(coin, "mallory", 10, Vec::new()));
}

/// Revenue reads the coins of rows by hand, and the channels read them as Solidity does: whatever bytes both take, they
/// have read the same, for all that was claimed has moved.
#[test]
fn of_thousands_of_altered_claims_none_is_claimed_and_not_settled() {
    let (mut world, channel) = world();
    let at = world.at.clone();
    let call = paid_in(&mut world, "alice", &deposit_of(channel, 1_000_000, 0));
    world.does("alice", at.channels, &call);
    let mut taken = 0;
    for seed in 0..4_000u64 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let claimed = 1 + u128::from(seed) * 10;
        let rows: Vec<_> =
            (0..random.random_range(1..4)).map(|more| row(channel, claimed + more, claimed + more)).collect();
        let mut data = claim(&rows).abi_encode();
        let mut altered = data.split_off(4);
        match random.random_range(0..3) {
            0 => alter(&mut random, &mut altered),
            1 => {
                // An offset that points back, far away or around the end of all numbers.
                let place = 32 * random.random_range(0..4);
                let far =
                    [U256::MAX, U256::MAX - U256::from(31), U256::ZERO, U256::from(1) << 255, U256::from(64)];
                let to = far[random.random_range(0..far.len())];
                altered[place..place + 32].copy_from_slice(&to.to_be_bytes::<32>());
            }
            _ => altered.extend(std::iter::repeat_n(7, random.random_range(0..70))),
        }
        let data = [data, altered].concat();
        if world.chain.send(who("claimer"), TxKind::Call(at.revenue), data.into()).is_ok() {
            taken += 1;
        }
        let receivers = Channels::receiversCall { receiver: at.revenue, token: at.cash };
        let came = world.asks(at.channels, &receivers);
        assert_eq!(came.totalClaimed, came.totalSettled, "seed {seed}");
        assert_eq!(u128::from(world.cash_of(at.revenue)), came.totalSettled, "seed {seed}");
    }
    assert!((500..3_500).contains(&taken), "{taken} of 4,000 altered claims were taken");
}

#[test]
fn statements_go_up_one_by_one_and_within_what_came() {
    let (mut world, channel) = settled();
    let (revenue, cash) = (world.at.revenue, world.at.cash);
    let mut refuses = |error: &str, number, settled, pay| {
        world.refuses(error, "publisher", revenue, &publish(cash, number, settled, pay, B256::ZERO));
    };
    for number in [0, 2, 3, u32::MAX] {
        refuses("WrongNumber", number, 500, 0);
    }
    refuses("OverSettled", 1, 1_001, 0);
    refuses("OverSettled", 1, u128::MAX, 0);
    for (settled, pay) in [(1_000, 801), (1_000, 1_000), (1_000, u128::MAX), (1, 1), (999, 800), (0, 1)] {
        refuses("OverShare", 1, settled, pay);
    }
    world.refuses("UnknownCoin", "publisher", revenue, &publish(channel.payer, 1, 0, 0, B256::ZERO));
    world.does("publisher", revenue, &publish(cash, 1, 500, 300, B256::ZERO));
    assert_eq!(world.cash_of(who("issuer")), 200);
    let mut refuses = |error: &str, number, settled, pay| {
        world.refuses(error, "publisher", revenue, &publish(cash, number, settled, pay, B256::ZERO));
    };
    refuses("WrongNumber", 1, 500, 300);
    refuses("WrongNumber", 3, 500, 300);
    refuses("Falls", 2, 499, 300); // settled
    refuses("Falls", 2, 600, 299); // pay
    refuses("Falls", 2, 600, 401); // rest: it was 200
    refuses("Falls", 2, 500, 301);
    // Each coin has its own numbers.
    refuses("OverShare", 2, 500, 401);
    world.refuses("WrongNumber", "publisher", revenue, &publish(world.at.credit, 2, 0, 0, B256::ZERO));
    world.does("publisher", revenue, &publish(world.at.credit, 1, 0, 0, B256::ZERO));
    world.does("publisher", revenue, &publish(cash, 2, 500, 300, B256::ZERO));
    world.does("publisher", revenue, &publish(cash, 3, 1_000, 800, B256::ZERO));
    assert_eq!((world.cash_of(who("issuer")), world.cash_of(revenue)), (200, 800));
}

#[test]
fn pay_is_paid_as_the_last_statement_proves_it_and_once() {
    let (mut world, _) = settled();
    let (revenue, cash) = (world.at.revenue, world.at.cash);
    let first = split(500, &[("one", 100), ("two", 200), ("three", 50)]);
    let proof = |split: &Split, name| split.proof(who(name)).expect("a leaf");
    let pay = |split: &Split, name: &str| split.leaves[&who(name)];
    world.refuses("BadProof", "one", revenue, &claim_pay(cash, "one", 80, proof(&first, "one")));
    world.does("publisher", revenue, &publish(cash, 1, 500, first.pay, first.tree().root()));

    let bad = "BadProof";
    let of_one = proof(&first, "one");
    let mut longer = of_one.clone();
    longer.push(B256::ZERO);
    let tampered = [
        claim_pay(cash, "one", 81, of_one.clone()),
        claim_pay(cash, "one", 79, of_one.clone()),
        claim_pay(cash, "two", 80, of_one.clone()),
        claim_pay(cash, "mallory", 80, of_one.clone()),
        claim_pay(cash, "one", 160, proof(&first, "two")),
        claim_pay(cash, "one", 80, proof(&first, "two")),
        claim_pay(cash, "one", 80, of_one[..of_one.len() - 1].to_vec()),
        claim_pay(cash, "one", 80, longer),
        claim_pay(cash, "one", 80, Vec::new()),
        claim_pay(world.at.credit, "one", 80, of_one.clone()),
        claim_pay(Address::ZERO, "one", 80, of_one.clone()),
    ];
    for call in tampered {
        world.refuses(bad, "one", revenue, &call);
    }
    // Anyone may ask; it goes to the provider.
    world.does("stranger", revenue, &claim_pay(cash, "one", 80, of_one.clone()));
    assert_eq!([who("one"), who("stranger")].map(|of| world.cash_of(of)), [80, 0]);
    world.refuses("NothingToPay", "one", revenue, &claim_pay(cash, "one", 80, of_one.clone()));

    // The next root counts alone: what was proved by the last one is proved no more.
    let second = split(1_000, &[("one", 300), ("two", 400), ("three", 50)]);
    world.does("publisher", revenue, &publish(cash, 2, 1_000, second.pay, second.tree().root()));
    world.refuses(bad, "two", revenue, &claim_pay(cash, "two", pay(&first, "two"), proof(&first, "two")));
    for name in ["one", "two", "three"] {
        world.does(name, revenue, &claim_pay(cash, name, pay(&second, name), proof(&second, name)));
        assert_eq!(u128::from(world.cash_of(who(name))), pay(&second, name));
    }
    assert_eq!(world.cash_of(revenue), 0);
}

#[test]
fn a_statement_that_says_less_of_a_provider_takes_nothing_back_and_pays_nothing() {
    let (mut world, _) = settled();
    let (revenue, cash) = (world.at.revenue, world.at.cash);
    let statements = [split(500, &[("one", 300)]), split(1_000, &[("one", 200), ("two", 800)])];
    for ((number, pay), split) in [(1, 240), (2, 740)].into_iter().zip(&statements) {
        world.does("publisher", revenue, &publish(cash, number, split.settled, pay, split.tree().root()));
        let proof = split.proof(who("one")).expect("a leaf");
        let call = claim_pay(cash, "one", split.leaves[&who("one")], proof);
        if number == 1 {
            world.does("one", revenue, &call);
        } else {
            world.refuses("NothingToPay", "one", revenue, &call);
        }
    }
    // And what it has had is out of what all of them have: the last one asks for more than is left.
    let two = &statements[1];
    let call = claim_pay(cash, "two", two.leaves[&who("two")], two.proof(who("two")).expect("a leaf"));
    world.refuses("OverPay", "two", revenue, &call);
    assert_eq!([who("one"), revenue].map(|of| world.cash_of(of)), [240, 500]);
}

#[test]
fn a_root_that_promises_more_than_the_pay_pays_no_more() {
    let (mut world, _) = settled();
    let (revenue, cash) = (world.at.revenue, world.at.cash);
    let greedy = [("one", 100u128), ("two", u128::MAX), ("three", 701)];
    let leaves: Vec<B256> = greedy.iter().map(|(name, pay)| leaf(who(name), *pay)).collect();
    let tree = Tree::new(leaves.clone());
    world.does("publisher", revenue, &publish(cash, 1, 1_000, 800, tree.root()));
    let call = |index: usize| {
        let proof = tree.proof(leaves[index]).expect("a leaf");
        claim_pay(cash, greedy[index].0, greedy[index].1, proof)
    };
    world.does("one", revenue, &call(0));
    world.refuses("OverPay", "two", revenue, &call(1));
    world.refuses("OverPay", "three", revenue, &call(2));
    assert_eq!(world.cash_of(revenue), 700);
}

/// Leaves are hashed twice: what is hashed once, as an inner node or a leaf of another library, proves nothing.
#[test]
fn an_inner_node_is_no_leaf() {
    let (mut world, _) = settled();
    let (revenue, cash) = (world.at.revenue, world.at.cash);
    let once = |name: &str, pay: u128| keccak256((who(name), U256::from(pay)).abi_encode());
    // The two words of a leaf are the two children of a node that is the root.
    let root = once("mallory", 800);
    world.does("publisher", revenue, &publish(cash, 1, 1_000, 800, root));
    world.refuses("BadProof", "mallory", revenue, &claim_pay(cash, "mallory", 800, Vec::new()));
    let tree = Tree::new(vec![once("mallory", 800), once("one", 10)]);
    world.does("publisher", revenue, &publish(cash, 2, 1_000, 800, tree.root()));
    let proof = tree.proof(once("mallory", 800)).expect("in it");
    world.refuses("BadProof", "mallory", revenue, &claim_pay(cash, "mallory", 800, proof));
    // The root itself, and none at all.
    world.does("publisher", revenue, &publish(cash, 3, 1_000, 800, B256::ZERO));
    world.refuses("BadProof", "mallory", revenue, &claim_pay(cash, "mallory", 0, Vec::new()));
    let only = leaf(who("one"), 800);
    world.does("publisher", revenue, &publish(cash, 4, 1_000, 800, only));
    world.does("one", revenue, &claim_pay(cash, "one", 800, Vec::new()));
}

#[test]
fn of_credits_exactly_the_rest_is_burned() {
    let (mut world, _) = world();
    let at = world.at.clone();
    world.sold_out();
    world.goes_live();
    let now = world.chain.time();
    world.chain.advance_to(now + 1);
    world.does("alice", at.offering, &deliver(bid_id(FIXED, 1)));
    let channel = ChannelConfig {
        receiver: at.revenue,
        receiver_authorizer: at.revenue,
        token: at.credit,
        ..channel(&world)
    };
    let call = paid_in(&mut world, "alice", &deposit_of(channel, 100 * CREDIT, 0));
    world.does("alice", at.channels, &call);
    world.does("claimer", at.revenue, &claim(&[row(channel, 7 * CREDIT, 7 * CREDIT)]));
    let supply = |world: &mut World| world.asks(at.credit, &Credit::totalSupplyCall {}).to::<u128>();
    let before = supply(&mut world);
    let split = split(7 * CREDIT, &[("one", 5 * CREDIT + 3)]);
    world.does("publisher", at.revenue, &publish(at.credit, 1, 7 * CREDIT, split.pay, split.tree().root()));
    assert_eq!(supply(&mut world), before - split.rest());
    assert_eq!(world.credits_of(at.revenue), split.pay);
    assert_eq!(world.credits_of(who("issuer")), 0);
    // Given to it, not settled: neither paid nor burned by any statement.
    world.does("alice", at.credit, &Credit::transferCall { to: at.revenue, value: U256::from(CREDIT) });
    world.refuses(
        "OverSettled",
        "publisher",
        at.revenue,
        &publish(at.credit, 2, 7 * CREDIT + 1, split.pay, B256::ZERO),
    );
    let proof = split.proof(who("one")).expect("a leaf");
    world.does("one", at.revenue, &claim_pay(at.credit, "one", split.pay, proof.clone()));
    world.does("publisher", at.revenue, &publish(at.credit, 2, 7 * CREDIT, split.pay, split.tree().root()));
    world.refuses("NothingToPay", "one", at.revenue, &claim_pay(at.credit, "one", split.pay, proof));
    assert_eq!((supply(&mut world), world.credits_of(at.revenue)), (before - split.rest(), CREDIT));
    // Cash that was given to it goes nowhere either.
    world.does("alice", at.cash, &DevCash::transferCall { to: at.revenue, value: U256::from(CASH) });
    world.refuses("OverSettled", "publisher", at.revenue, &publish(at.cash, 1, 1, 0, B256::ZERO));
}

#[test]
fn an_issuer_that_the_coin_refuses_keeps_no_provider_from_its_pay() {
    let deployer = key("deployer");
    let coin = deployer.address().create(0);
    let mut world = World::deploy(
        |_, _| {},
        |chain| {
            let Chain::Embedded(chain) = chain else { unreachable!("made embedded") };
            let made = chain.send(deployer.address(), TxKind::Create, HostileCash::BYTECODE.clone());
            coins(made.expect("deploys").created)
        },
    )
    .expect("deploys");
    let at = world.at.clone();
    let collector = recruit(&mut world);
    world.does("mallory", coin, &HostileCash::mintCall { to: collector, units: U256::from(2_000) });
    let channel = ChannelConfig { receiver: at.revenue, receiver_authorizer: at.revenue, ..channel(&world) };
    let pays = DevCash::transferCall { to: at.channels, value: U256::from(2_000) };
    world.does("mallory", collector, &prepare(&[(coin, pays.abi_encode().into())], 0, 1));
    world.does("alice", at.channels, &deposit_of(channel, 2_000, 0).call(collector, Bytes::new()));
    world.does("gateway", at.revenue, &claim(&[row(channel, 1_000, 1_000)]));

    world.does("mallory", coin, &HostileCash::refuseCall { payee: who("issuer") });
    let told = split(1_000, &[("one", 500)]);
    world.does("gateway", at.revenue, &publish(coin, 1, 1_000, told.pay, told.tree().root()));
    let rest_paid = Revenue::restPaidCall { coin };
    assert_eq!((world.cash_of(who("issuer")), world.asks(at.revenue, &rest_paid)), (0, 0));
    let proof = told.proof(who("one")).expect("a leaf");
    world.does("one", at.revenue, &claim_pay(coin, "one", told.pay, proof));
    assert_eq!([who("one"), at.revenue].map(|of| world.cash_of(of)), [400, 600]);
    // Nothing of what is the issuer's becomes pay in between.
    let more = split(1_000, &[("one", 1_000)]);
    world.refuses("Falls", "gateway", at.revenue, &publish(coin, 2, 1_000, more.pay, more.tree().root()));

    world.does("mallory", coin, &HostileCash::refuseCall { payee: Address::ZERO });
    world.does("gateway", at.revenue, &publish(coin, 2, 1_000, told.pay, told.tree().root()));
    assert_eq!((world.cash_of(who("issuer")), world.asks(at.revenue, &rest_paid)), (600, 600));
    world.does("gateway", at.revenue, &publish(coin, 3, 1_000, told.pay, told.tree().root()));
    assert_eq!([who("issuer"), at.revenue].map(|of| world.cash_of(of)), [600, 0]);

    // The coin calls back while it pays the issuer: the statement that is being published already counts.
    world.does("gateway", at.revenue, &claim(&[row(channel, 2_000, 2_000)]));
    let last = split(2_000, &[("one", 500), ("two", 500)]);
    let call = claim_pay(coin, "two", last.leaves[&who("two")], last.proof(who("two")).expect("a leaf"));
    world.does(
        "mallory",
        coin,
        &HostileCash::callBackCall { callee_: at.revenue, data_: call.abi_encode().into() },
    );
    world.does("gateway", at.revenue, &publish(coin, 4, 2_000, last.pay, last.tree().root()));
    assert_eq!([who("two"), who("issuer"), at.revenue].map(|of| world.cash_of(of)), [400, 1_200, 0]);
}
