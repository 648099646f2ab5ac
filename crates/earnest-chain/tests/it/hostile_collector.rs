//! What brings coins into channels, and the coins themselves, when they cheat: authorizations used elsewhere, collectors
//! that bring less or call back, coins that take a fee, lie, refuse a payee or exceed all numbers.

use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_sol_types::SolCall;
use earnest_chain::bindings::{Channels, Credit, DepositCollector, DevCash};
use earnest_chain::chain::ChainError;
use earnest_chain::channel::{Deposit, channel_id, domain, sol_config};
use earnest_chain::deploy::X402_SETTLEMENT;
use earnest_chain::embedded::DEV_CHAIN_ID;
use earnest_core::channel::{ChannelConfig, LEAST_DELAY};

use crate::accomplice::{Accomplice, prepare, recruit};
use crate::hostile_cash::HostileCash;
use crate::hostile_channels::{channel, claim, deposit_of, paid_in, refund_call, row};
use crate::world::*;

fn id(channel: &ChannelConfig) -> B256 {
    channel_id(&domain(DEV_CHAIN_ID, X402_SETTLEMENT), channel)
}

fn state(world: &mut World, channel: &ChannelConfig) -> (u128, u128) {
    let state = world.asks(world.at.channels, &Channels::channelsCall { channelId: id(channel) });
    (state.balance, state.totalClaimed)
}

fn withdrawal(channel: &ChannelConfig, amount: u128) -> [Vec<u8>; 2] {
    let config = sol_config(channel);
    [
        Channels::initiateWithdrawCall { config: config.clone(), amount }.abi_encode(),
        Channels::finalizeWithdrawCall { config }.abi_encode(),
    ]
}

#[test]
fn an_authorization_pays_into_its_channel_once_whoever_sends_it() {
    let mut world = World::new();
    let channel = channel(&world);
    let at = world.at.clone();
    let deposit = deposit_of(channel, 100, 7);
    let good = paid_in(&mut world, "alice", &deposit);
    let told = |told: Deposit| Channels::depositCall {
        config: sol_config(&told.channel),
        amount: told.amount,
        collectorData: told.call(at.collector, Bytes::new()).collectorData,
        ..good.clone()
    };
    // A stranger saw it on its way, and takes it for a channel of its own, or for another sum, salt or time.
    let mine = ChannelConfig { receiver: who("mallory"), receiver_authorizer: who("mallory"), ..channel };
    let signature = {
        let coin = world.asks(at.cash, &Credit::DOMAIN_SEPARATORCall {});
        key("alice").sign(deposit.digest(&domain(DEV_CHAIN_ID, at.channels), coin, at.collector))
    };
    let changed = [
        Deposit { channel: mine, ..deposit },
        Deposit { channel: ChannelConfig { payer_authorizer: who("mallory"), ..channel }, ..deposit },
        Deposit { channel: ChannelConfig { salt: B256::repeat_byte(1), ..channel }, ..deposit },
        Deposit { channel: ChannelConfig { withdraw_delay: LEAST_DELAY + 1, ..channel }, ..deposit },
        Deposit { channel: ChannelConfig { payer: who("bob"), ..channel }, ..deposit },
        Deposit { amount: 99, ..deposit },
        Deposit { amount: 101, ..deposit },
        Deposit { salt: U256::from(8), ..deposit },
        Deposit { valid_after: 1, ..deposit },
        Deposit { valid_before: deposit.valid_before + 1, ..deposit },
    ];
    for changed in changed {
        let call = Channels::depositCall {
            collectorData: changed.call(at.collector, signature.clone()).collectorData,
            ..told(changed)
        };
        world.refuses("ERC3009InvalidSignature", "mallory", at.channels, &call);
    }
    for form in [vec![0; 65], signature[..64].to_vec(), Vec::new()] {
        let call = deposit.call(at.collector, form.into());
        world.refuses("ERC3009InvalidSignature", "mallory", at.channels, &call);
    }
    // Nor can it be used past the channels.
    let collect = DepositCollector::collectCall {
        payer: channel.payer,
        token: channel.token,
        amount: U256::from(100),
        channelId: id(&channel),
        collectorData: good.collectorData.clone(),
    };
    for name in ["alice", "mallory", "seller", "gateway"] {
        world.refuses("NotSettlement", name, at.collector, &collect);
    }
    let pull = Credit::receiveWithAuthorization_0Call {
        from: channel.payer,
        to: at.collector,
        value: U256::from(100),
        validAfter: U256::ZERO,
        validBefore: U256::from(deposit.valid_before),
        nonce: deposit.nonce(&domain(DEV_CHAIN_ID, at.channels)),
        signature: signature.clone(),
    };
    world.refuses("ERC20InvalidReceiver", "mallory", at.cash, &pull);
    let push = Credit::transferWithAuthorization_0Call {
        from: pull.from,
        to: pull.to,
        value: pull.value,
        validAfter: pull.validAfter,
        validBefore: pull.validBefore,
        nonce: pull.nonce,
        signature,
    };
    world.refuses("ERC3009InvalidSignature", "mallory", at.cash, &push);
    // Sent by the stranger as it is, it does what alice wanted.
    world.does("mallory", at.channels, &good);
    assert_eq!((state(&mut world, &channel), world.cash_of(who("mallory"))), ((100, 0), 100_000 * CASH));
    for name in ["mallory", "alice"] {
        world.refuses("ERC3009UsedAuthorization", name, at.channels, &good);
    }
    let poor = Deposit { amount: u128::from(200_000 * CASH), salt: U256::from(9), ..deposit };
    let call = paid_in(&mut world, "alice", &poor);
    world.refuses("ERC20InsufficientBalance", "alice", at.channels, &call);
    let late = Deposit { valid_before: world.chain.time(), salt: U256::from(9), ..deposit };
    let call = paid_in(&mut world, "alice", &late);
    world.refuses("ERC3009InvalidAuthorizationTime", "alice", at.channels, &call);
}

#[test]
fn a_collector_is_believed_what_it_brings_to_the_unit() {
    let mut world = World::new();
    let collector = recruit(&mut world);
    let at = world.at.clone();
    let channel = ChannelConfig { payer: who("mallory"), ..channel(&world) };
    let fund = DevCash::mintCall { to: collector, units: U256::from(1_000) };
    world.does("deployer", at.cash, &fund);
    let deposit = deposit_of(channel, 100, 0).call(collector, Bytes::new());
    for brought in [0, 1, 99, 101, 200] {
        let brings = DevCash::transferCall { to: at.channels, value: U256::from(brought) };
        let prepared = prepare(&[(at.cash, brings.abi_encode().into())], 0, 1);
        world.does("mallory", collector, &prepared);
        world.refuses("WrongDeposit", "mallory", at.channels, &deposit);
    }
    for collector in [at.channels, at.cash, at.credit] {
        let call = Channels::depositCall { collector, ..deposit.clone() };
        let before = world.everything();
        assert!(world.send(who("mallory"), at.channels, &call).is_err());
        assert!(world.everything() == before);
    }
    let brings = DevCash::transferCall { to: at.channels, value: U256::from(100) };
    let prepared = prepare(&[(at.cash, brings.abi_encode().into())], 0, 1);
    world.does("mallory", collector, &prepared);
    world.does("mallory", at.channels, &deposit);
    assert_eq!(state(&mut world, &channel), (100, 0));
    // What lies there beyond all channels is nobody's.
    world.does("bob", at.cash, &DevCash::transferCall { to: at.channels, value: U256::from(50) });
    world.does("mallory", collector, &prepare(&[], 0, 1));
    world.refuses("WrongDeposit", "mallory", at.channels, &deposit);
}

/// From within a deposit nothing of the channels can be called, and another's deposit is not counted as this one's.
#[test]
fn nothing_is_called_from_within_a_deposit() {
    let mut world = World::new();
    let collector = recruit(&mut world);
    let at = world.at.clone();
    let channel = channel(&world);
    let opened = paid_in(&mut world, "alice", &deposit_of(channel, 100, 0));
    world.does("alice", at.channels, &opened);
    // The accomplice is payer, session, receiver and authorizer of a channel that has something to move.
    let own = ChannelConfig {
        payer: collector,
        payer_authorizer: who("session"),
        receiver: collector,
        receiver_authorizer: collector,
        ..channel
    };
    world.does("deployer", at.cash, &DevCash::mintCall { to: collector, units: U256::from(1_000) });
    let brings = |units: u64| {
        let call = DevCash::transferCall { to: at.channels, value: U256::from(units) };
        (at.cash, Bytes::from(call.abi_encode()))
    };
    world.does("mallory", collector, &prepare(&[brings(100)], 0, 1));
    let call = deposit_of(own, 100, 0).call(collector, Bytes::new());
    world.does("mallory", at.channels, &call);
    world.does("seller", at.channels, &claim(&[row(channel, 10, 10)]));
    world.send(collector, at.channels, &claim(&[row(own, 10, 10)])).expect("claims");
    let [initiate, finalize] = withdrawal(&own, 10);
    world.chain.send(collector, TxKind::Call(at.channels), initiate.clone().into()).expect("asks");
    world.go_to(2 * LEAST_DELAY);

    let others = paid_in(&mut world, "alice", &deposit_of(channel, 50, 1));
    let inner: Vec<Bytes> = [
        others.abi_encode(),
        Channels::multicallCall { data: vec![others.abi_encode().into()] }.abi_encode(),
        claim(&[row(own, 20, 20)]).abi_encode(),
        Channels::settleCall { receiver: collector, token: at.cash }.abi_encode(),
        Channels::settleCall { receiver: who("seller"), token: at.cash }.abi_encode(),
        refund_call(&own, 10).abi_encode(),
        initiate,
        finalize,
    ]
    .into_iter()
    .map(Bytes::from)
    .collect();
    for data in inner {
        world.does("mallory", collector, &prepare(&[(at.channels, data.clone())], 0, 1));
        let outer = deposit_of(ChannelConfig { salt: B256::repeat_byte(9), ..own }, 50, 0);
        world.refuses("WrongDeposit", "mallory", at.channels, &outer.call(collector, Bytes::new()));
        // With what it should bring beside the call: the deposit counts, and the call did not go through.
        let (made, before) = (world.asks(collector, &Accomplice::madeCall {}), world.cash_of(at.channels));
        world.does("mallory", collector, &prepare(&[(at.channels, data.clone()), brings(50)], 0, 1));
        world.does("mallory", at.channels, &outer.call(collector, Bytes::new()));
        assert_eq!(world.asks(collector, &Accomplice::madeCall {}), made + U256::ONE);
        let why = world.asks(collector, &Accomplice::whyCall {});
        assert_eq!(name_of(&ChainError::Reverted(why)), "ReentrancyGuardReentrantCall");
        assert_eq!(world.cash_of(at.channels), before + 50);
    }
    world.does("alice", at.channels, &others);
    assert_eq!(state(&mut world, &channel), (150, 10));
}

/// The accomplice as a coin: it is called in every transfer, and calls back.
#[test]
fn nothing_is_called_from_within_a_transfer() {
    let mut world = World::new();
    let coin = recruit(&mut world);
    let at = world.at.clone();
    let own = ChannelConfig {
        payer: coin,
        receiver: coin,
        receiver_authorizer: coin,
        token: coin,
        ..channel(&world)
    };
    let deposit = deposit_of(own, 100, 0).call(at.collector, Bytes::new());
    world.does("mallory", coin, &prepare(&[], 50, 1));
    world.does("mallory", at.channels, &deposit); // 50 at the collector's pull, 50 at its transfer
    world.send(coin, at.channels, &claim(&[row(own, 30, 30)])).expect("claims");
    let [initiate, finalize] = withdrawal(&own, 20);
    world.chain.send(coin, TxKind::Call(at.channels), initiate.into()).expect("asks");
    world.go_to(LEAST_DELAY);

    let settle = Channels::settleCall { receiver: coin, token: coin }.abi_encode();
    let refund = refund_call(&own, 20).abi_encode();
    let all = [
        settle.clone(),
        refund.clone(),
        finalize.clone(),
        deposit.abi_encode(),
        claim(&[row(own, 40, 40)]).abi_encode(),
    ];
    for outer in [settle, finalize, refund] {
        let calls: Vec<(Address, Bytes)> =
            all.iter().map(|data| (at.channels, data.clone().into())).collect();
        world.does("mallory", coin, &prepare(&calls, 0, 1));
        let made = world.asks(coin, &Accomplice::madeCall {});
        world.chain.send(coin, TxKind::Call(at.channels), outer.into()).expect("goes through");
        assert_eq!(world.asks(coin, &Accomplice::madeCall {}), made);
        let why = world.asks(coin, &Accomplice::whyCall {});
        assert_eq!(name_of(&ChainError::Reverted(why)), "ReentrancyGuardReentrantCall");
    }
    assert_eq!(state(&mut world, &own), (60, 30));
}

#[test]
fn a_coin_that_says_no_moves_nothing() {
    let mut world = World::new();
    let coin = recruit(&mut world);
    let at = world.at.clone();
    let own = ChannelConfig { payer: who("mallory"), token: coin, ..channel(&world) };
    let deposit = deposit_of(own, 100, 0).call(at.collector, Bytes::new());
    // It shows the coins and answers false: the collector's own transfer has failed.
    world.does("mallory", coin, &prepare(&[], 50, 0));
    world.refuses("SafeERC20FailedOperation", "mallory", at.channels, &deposit);
    world.does("mallory", coin, &prepare(&[], 50, 1));
    world.does("mallory", at.channels, &deposit);
    world.does("seller", at.channels, &claim(&[row(own, 30, 30)]));
    world.does("mallory", coin, &prepare(&[], 0, 0));
    let settle = Channels::settleCall { receiver: who("seller"), token: coin };
    world.refuses("SafeERC20FailedOperation", "seller", at.channels, &settle);
    world.refuses("SafeERC20FailedOperation", "seller", at.channels, &refund_call(&own, 10));
    world.does("mallory", coin, &prepare(&[], 0, 1));
    world.does("seller", at.channels, &settle);
}

/// Only a made-up coin has so many; its totals end at 2¹²⁸ − 1 and no other coin's are touched.
#[test]
fn totals_end_where_their_numbers_end() {
    let mut world = World::new();
    let coin = recruit(&mut world);
    let at = world.at.clone();
    let first = ChannelConfig { payer: who("mallory"), token: coin, ..channel(&world) };
    let second = ChannelConfig { salt: B256::repeat_byte(1), ..first };
    let gains = |world: &mut World, units: u128| {
        world.does("mallory", coin, &prepare(&[], units, 1));
    };
    let call = |channel, amount| deposit_of(channel, amount, 0).call(coin, Bytes::new());
    gains(&mut world, u128::MAX);
    world.does("mallory", at.channels, &call(first, u128::MAX));
    gains(&mut world, 1);
    world.refuses("TooMuch", "mallory", at.channels, &call(first, 1));
    world.does("seller", at.channels, &claim(&[row(first, u128::MAX, u128::MAX - 1)]));
    gains(&mut world, 10);
    world.does("mallory", at.channels, &call(second, 10));
    let over = claim(&[row(second, 10, 2)]);
    world.refuses("TooMuch", "seller", at.channels, &over);
    let both = claim(&[row(first, u128::MAX, u128::MAX), row(second, 10, 1)]);
    world.refuses("TooMuch", "seller", at.channels, &both);
    world.does("seller", at.channels, &claim(&[row(first, u128::MAX, u128::MAX)]));
    world.does("seller", at.channels, &refund_call(&second, 10));
    gains(&mut world, 0);
    world.does("seller", at.channels, &Channels::settleCall { receiver: who("seller"), token: coin });
    let good = channel(&world);
    let call = paid_in(&mut world, "alice", &deposit_of(good, 100, 0));
    world.does("alice", at.channels, &call);
    world.does("seller", at.channels, &claim(&[row(good, 40, 40)]));
    assert_eq!(state(&mut world, &good), (100, 40));
}

/// Brought by a collector, for the coin knows no authorizations.
fn with_hostile_cash() -> (World, Address, ChannelConfig) {
    let mut world = World::new();
    let made = world.chain.send(who("mallory"), TxKind::Create, HostileCash::BYTECODE.clone());
    let coin = made.expect("deploys").created.expect("a coin");
    let collector = recruit(&mut world);
    world.does("mallory", coin, &HostileCash::mintCall { to: collector, units: U256::from(1_000) });
    let channel = ChannelConfig { token: coin, ..channel(&world) };
    (world, collector, channel)
}

fn brings(world: &mut World, collector: Address, coin: Address, units: u64) {
    let pays = DevCash::transferCall { to: world.at.channels, value: U256::from(units) };
    world.does("mallory", collector, &prepare(&[(coin, pays.abi_encode().into())], 0, 1));
}

#[test]
fn a_coin_that_takes_a_fee_is_not_taken_for_the_whole() {
    let (mut world, collector, channel) = with_hostile_cash();
    let (coin, channels) = (channel.token, world.at.channels);
    world.does("mallory", coin, &HostileCash::setFeeCall { bps: U256::from(100) });
    brings(&mut world, collector, coin, 100);
    let deposit = deposit_of(channel, 100, 0).call(collector, Bytes::new());
    world.refuses("WrongDeposit", "alice", channels, &deposit);
    // 99 arrive of 100; who says 99 has 99.
    let deposit = deposit_of(channel, 99, 0).call(collector, Bytes::new());
    world.does("alice", channels, &deposit);
    assert_eq!(
        (state(&mut world, &channel).0, world.asks(coin, &DevCash::balanceOfCall { account: channels })),
        (99, U256::from(99))
    );
}

#[test]
fn a_payee_that_the_coin_refuses_blocks_no_one_else() {
    let (mut world, collector, channel) = with_hostile_cash();
    let (coin, channels) = (channel.token, world.at.channels);
    let other = ChannelConfig { receiver: who("other"), payer: who("bob"), ..channel };
    for channel in [channel, other] {
        brings(&mut world, collector, coin, 100);
        world.does("alice", channels, &deposit_of(channel, 100, 0).call(collector, Bytes::new()));
    }
    world.does("mallory", coin, &HostileCash::refuseCall { payee: who("seller") });
    let rows = [row(channel, 40, 40), row(other, 30, 30)];
    world.does("seller's key", channels, &claim(&rows));
    let settle = |receiver| Channels::settleCall { receiver: who(receiver), token: coin };
    let before = world.everything();
    assert!(world.send(who("seller"), channels, &settle("seller")).is_err());
    assert!(world.everything() == before);
    world.does("stranger", channels, &settle("other"));
    // It may go on claiming, and has it all once the coin lets it.
    world.does("seller", channels, &claim(&[row(channel, 50, 50)]));
    world.does("mallory", coin, &HostileCash::refuseCall { payee: who("alice") });
    assert!(world.send(who("seller"), channels, &refund_call(&channel, 10)).is_err());
    world.does("seller's key", channels, &refund_call(&other, 70));
    world.does("stranger", channels, &settle("seller"));
    let mut has = |name| world.asks(coin, &DevCash::balanceOfCall { account: who(name) }).to::<u64>();
    assert_eq!([has("seller"), has("other"), has("bob"), has("alice")], [50, 30, 70, 0]);
}

#[test]
fn a_multicall_is_its_senders_and_counts_whole_or_not_at_all() {
    let mut world = World::new();
    let channel = channel(&world);
    let channels = world.at.channels;
    let deposit = paid_in(&mut world, "alice", &deposit_of(channel, 100, 0)).abi_encode();
    let [initiate, finalize] = withdrawal(&channel, 60);
    let settle = Channels::settleCall { receiver: who("seller"), token: world.at.cash }.abi_encode();
    let claims = claim(&[row(channel, 30, 30)]).abi_encode();
    let many = |calls: &[&Vec<u8>]| Channels::multicallCall {
        data: calls.iter().map(|&data| data.clone().into()).collect(),
    };
    world.refuses("NotReceiver", "alice", channels, &many(&[&deposit, &claims]));
    world.refuses("NotPayer", "seller", channels, &many(&[&deposit, &initiate]));
    world.refuses("NotPayer", "stranger", channels, &many(&[&many(&[&deposit, &initiate]).abi_encode()]));
    world.does("alice", channels, &many(&[&deposit, &initiate]));
    world.refuses("WithdrawalPending", "session", channels, &many(&[&initiate]));
    world.does("seller", channels, &many(&[&claims, &settle, &claims, &settle]));
    world.go_to(LEAST_DELAY);
    // Taken and asked for again at once, so that nobody with the session key comes in between.
    let [again, _] = withdrawal(&channel, 10);
    world.does("alice", channels, &many(&[&finalize, &again]));
    assert_eq!((state(&mut world, &channel), world.cash_of(who("seller"))), ((40, 30), 30));
    world.does("stranger", channels, &many(&[]));
    // Nothing can be sent with it that other contracts would take for the channels' own word.
    let call = DevCash::transferCall { to: who("mallory"), value: U256::ONE }.abi_encode();
    assert!(world.send(who("mallory"), channels, &many(&[&call])).is_err());
}
