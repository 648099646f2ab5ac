//! LOCK-1, one attack at a time, through the contracts as they are deployed: what a holder of locked credits would try
//! to have them in a wallet before their time, and where they are afterwards.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::SolCall;
use earnest_chain::bindings::{Channels, Credit, DepositCollector, Offering, Revenue, Vault};
use earnest_chain::channel::{
    Deposit, batch_digest, channel_id, domain, refund_digest, sol_config, sol_row, voucher_digest,
};
use earnest_chain::embedded::DEV_CHAIN_ID;
use earnest_chain::story::pack;
use earnest_core::channel::{ChannelConfig, LEAST_DELAY, Row};
use earnest_core::money::Bps;
use earnest_core::statement::Split;

use crate::accomplice::{Accomplice, act, prepare, recruit};
use crate::hostile_channels::{claim, deposit_of, paid_in, refund_call, row};
use crate::vault::{HELD, LOCK, locked};
use crate::world::*;

/// A world with alice's vault, which holds 100 locked credits, and 50 free ones of mallory's.
fn alices() -> (World, Address, ChannelConfig) {
    let mut world = World::new();
    let vault = locked(&mut world, &[who("alice")])[0];
    world.does("bob", world.at.offering, &deliver(bid_id(FIXED, 66)));
    let value = U256::from(50 * CREDIT);
    world.does("bob", world.at.credit, &Credit::transferCall { to: who("mallory"), value });
    let channel = service(&world, vault);
    (world, vault, channel)
}

/// A vault's channel that pays for the service.
fn service(world: &World, vault: Address) -> ChannelConfig {
    ChannelConfig {
        payer: vault,
        payer_authorizer: who("session"),
        receiver: world.at.revenue,
        receiver_authorizer: world.at.revenue,
        token: world.at.credit,
        withdraw_delay: LEAST_DELAY,
        salt: B256::ZERO,
    }
}

/// A deposit of a vault's, as its owner signs it.
fn of_vault(world: &mut World, owner: &str, deposit: &Deposit) -> Channels::depositCall {
    let coin = world.asks(world.at.credit, &Credit::DOMAIN_SEPARATORCall {});
    let digest = deposit.digest(&domain(DEV_CHAIN_ID, world.at.channels), coin, world.at.collector);
    deposit.call(world.at.collector, deposit.vault_proof(key(owner).sign(digest)))
}

fn funded(world: &mut World, channel: ChannelConfig, amount: u128) {
    let call = of_vault(world, "alice", &deposit_of(channel, amount, 0));
    world.does("stranger", world.at.channels, &call);
}

fn balance(world: &mut World, channel: &ChannelConfig) -> (u128, u128) {
    let id = channel_id(&domain(DEV_CHAIN_ID, world.at.channels), channel);
    let state = world.asks(world.at.channels, &Channels::channelsCall { channelId: id });
    (state.balance, state.totalClaimed)
}

#[test]
fn a_foreign_receiver_gets_nothing_from_a_vault() {
    let (mut world, vault, channel) = alices();
    let at = world.at.clone();
    let accomplice = recruit(&mut world);
    for thief in [who("alice"), who("session"), who("mallory"), accomplice, vault, at.vault, at.collector] {
        for changed in [
            ChannelConfig { receiver: thief, ..channel },
            ChannelConfig { receiver_authorizer: thief, ..channel },
            ChannelConfig { receiver: thief, receiver_authorizer: thief, ..channel },
        ] {
            let deposit = deposit_of(changed, CREDIT, 0);
            let call = of_vault(&mut world, "alice", &deposit);
            world.refuses("ERC3009InvalidSignature", "alice", at.channels, &call);
            // With the proof of a good deposit beside it.
            let good = of_vault(&mut world, "alice", &Deposit { channel, ..deposit });
            let mixed = Channels::depositCall { config: sol_config(&changed), ..good };
            world.refuses("ERC3009InvalidSignature", "alice", at.channels, &mixed);
        }
    }
    let other_coin = ChannelConfig { token: accomplice, ..channel };
    let call = of_vault(&mut world, "alice", &deposit_of(other_coin, CREDIT, 0));
    world.does("mallory", accomplice, &prepare(&[], u128::from(u64::MAX), 1));
    assert!(world.send(who("alice"), at.channels, &call).is_err());
    assert_eq!(world.credits_of(vault), HELD);
}

#[test]
fn refunds_and_withdrawals_come_back_to_the_vault() {
    let (mut world, vault, channel) = alices();
    let at = world.at.clone();
    // Whoever's the session key is, a wallet or a contract.
    let accomplice = recruit(&mut world);
    for (salt, session) in [(1, who("session")), (2, who("alice")), (3, accomplice)] {
        let channel = ChannelConfig { payer_authorizer: session, salt: B256::repeat_byte(salt), ..channel };
        funded(&mut world, channel, 30 * CREDIT);
        assert_eq!(world.credits_of(vault), HELD - 30 * CREDIT);
        let initiate = Channels::initiateWithdrawCall { config: sol_config(&channel), amount: 20 * CREDIT };
        let finalize = Channels::finalizeWithdrawCall { config: sol_config(&channel) };
        world.refuses("NotPayer", "mallory", at.channels, &initiate);
        world.send(session, at.channels, &initiate).expect("asks");
        let now = world.chain.time();
        world.chain.advance_to(now + LEAST_DELAY);
        world.send(session, at.channels, &finalize).expect("takes");
        assert_eq!(world.credits_of(vault), HELD - 10 * CREDIT);
        world.does("gateway", at.revenue, &refund_call(&channel, u128::MAX));
        assert_eq!(world.credits_of(vault), HELD);
        assert_eq!([session, who("alice"), who("session")].map(|of| world.credits_of(of)), [0; 3]);
    }
    // What is in a channel when the lock ends comes back to the vault too, and is released from there.
    funded(&mut world, ChannelConfig { salt: B256::repeat_byte(4), ..channel }, 30 * CREDIT);
    world.go_to(CLEARABLE + LOCK);
    world.does("stranger", vault, &Vault::releaseCall {});
    assert_eq!(world.credits_of(who("alice")), HELD - 30 * CREDIT);
    world.does(
        "gateway",
        at.revenue,
        &refund_call(&ChannelConfig { salt: B256::repeat_byte(4), ..channel }, u128::MAX),
    );
    assert_eq!((world.credits_of(vault), world.credits_of(who("alice"))), (30 * CREDIT, HELD - 30 * CREDIT));
    world.does("stranger", vault, &Vault::releaseCall {});
    assert_eq!((world.credits_of(vault), world.credits_of(who("alice"))), (0, HELD));
}

#[test]
fn what_was_signed_for_something_else_moves_nothing_locked() {
    let (mut world, vault, channel) = alices();
    let at = world.at.clone();
    funded(&mut world, channel, 30 * CREDIT);
    let here = domain(DEV_CHAIN_ID, at.channels);
    let id = channel_id(&here, &channel);
    let told = Row { channel, ceiling: CREDIT, claimed: CREDIT, signed_by: None };
    let deposit = deposit_of(channel, CREDIT, 1);
    let digests = [
        voucher_digest(&here, id, CREDIT),
        refund_digest(&here, id, 0, CREDIT),
        batch_digest(&here, &[told]),
        at.deliver_digest(DEV_CHAIN_ID, bid_id(FIXED, 1), CREDIT, u64::MAX >> 30),
        deposit.nonce(&here),
        id,
    ];
    let (rows, config) = (vec![row(channel, CREDIT, CREDIT)], sol_config(&channel));
    for digest in digests {
        for name in ["alice", "session"] {
            let signature = key(name).sign(digest);
            for consent in [signature.clone(), deposit.vault_proof(signature.clone())] {
                let call = deposit.call(at.collector, consent);
                world.refuses("ERC3009InvalidSignature", "alice", at.channels, &call);
            }
            let call = Channels::refundWithSignatureCall {
                config: config.clone(),
                amount: CREDIT,
                nonce: U256::ZERO,
                receiverAuthorizerSignature: signature.clone(),
            };
            world.refuses("BadSignature", "alice", at.channels, &call);
            let call = Channels::claimWithSignatureCall {
                voucherClaims: rows.clone(),
                authorizerSignature: signature,
            };
            world.refuses("BadSignature", "alice", at.channels, &call);
        }
    }
    // The service claims and refunds in person only, and the holder never in its place.
    for name in ["alice", "session"] {
        world.refuses("NotReceiver", name, at.channels, &claim(&rows));
        world.refuses("NotReceiver", name, at.channels, &refund_call(&channel, CREDIT));
        world.refuses("NotInRole", name, at.revenue, &claim(&rows));
        world.refuses("NotInRole", name, at.revenue, &refund_call(&channel, CREDIT));
    }
    // A voucher of a vault that has no session key would be the vault's own, and it signs none.
    let without = ChannelConfig { payer_authorizer: Address::ZERO, ..channel };
    funded(&mut world, without, CREDIT);
    let digest = voucher_digest(&here, channel_id(&here, &without), CREDIT);
    let own = Row { channel: without, ..told };
    let signature = deposit_of(without, CREDIT, 0).vault_proof(key("alice").sign(digest));
    for signature in [signature, key("alice").sign(digest)] {
        world.refuses("BadSignature", "gateway", at.revenue, &claim(&[sol_row(&own, signature)]));
    }
    assert_eq!(world.credits_of(vault), HELD - 31 * CREDIT);
}

#[test]
fn no_one_gets_between_a_vault_and_its_channel() {
    let (mut world, vault, channel) = alices();
    let at = world.at.clone();
    let collector = recruit(&mut world);
    let value = U256::from(20 * CREDIT);
    world.does("mallory", at.credit, &Credit::transferCall { to: collector, value });
    let deposit = deposit_of(channel, 10 * CREDIT, 0);
    let locked = of_vault(&mut world, "alice", &deposit);
    // A deposit of the thief's own, in which the vault's is made and would be counted twice.
    let own = ChannelConfig {
        payer: who("mallory"),
        receiver: who("mallory"),
        receiver_authorizer: who("mallory"),
        ..channel
    };
    let outer = deposit_of(own, 10 * CREDIT, 0).call(collector, Bytes::new());
    let many = Channels::multicallCall { data: vec![locked.abi_encode().into()] };
    let collect = DepositCollector::collectCall {
        payer: vault,
        token: at.credit,
        amount: U256::from(10 * CREDIT),
        channelId: channel_id(&domain(DEV_CHAIN_ID, at.channels), &channel),
        collectorData: locked.collectorData.clone(),
    };
    let pull = Credit::receiveWithAuthorization_0Call {
        from: vault,
        to: at.collector,
        value: U256::from(10 * CREDIT),
        validAfter: U256::ZERO,
        validBefore: U256::from(deposit.valid_before),
        nonce: deposit.nonce(&domain(DEV_CHAIN_ID, at.channels)),
        signature: deposit.vault_proof(key("alice").sign(B256::ZERO)),
    };
    let ways: [(Address, Vec<u8>); 5] = [
        (at.channels, locked.abi_encode()),
        (at.channels, many.abi_encode()),
        (at.collector, collect.abi_encode()),
        (at.credit, pull.abi_encode()),
        (vault, Vault::releaseCall {}.abi_encode()),
    ];
    for (to, data) in ways {
        world.does("mallory", collector, &prepare(&[(to, data.into())], 0, 1));
        world.refuses("WrongDeposit", "mallory", at.channels, &outer);
    }
    assert_eq!(world.asks(collector, &Accomplice::madeCall {}), U256::ZERO);
    // As a collector of a vault's deposit a stranger can only bring its own.
    let theirs = Channels::depositCall { collector, ..locked.clone() };
    world.does("mallory", collector, &prepare(&[], 0, 1));
    world.refuses("WrongDeposit", "mallory", at.channels, &theirs);
    world.does("mallory", at.channels, &locked);
    assert_eq!(balance(&mut world, &channel), (10 * CREDIT, 0));
    assert_eq!(world.credits_of(vault), HELD - 10 * CREDIT);
}

#[test]
fn a_vault_of_a_contract_that_signs_anything_pays_for_service_alone() {
    let mut world = World::new();
    let owner = recruit(&mut world);
    let vault = locked(&mut world, &[owner])[0];
    let at = world.at.clone();
    let channel = service(&world, vault);
    let anything =
        |deposit: Deposit| deposit.call(at.collector, deposit.vault_proof(Bytes::from(vec![7; 3])));
    for thief in [owner, who("mallory")] {
        let foreign = ChannelConfig { receiver: thief, receiver_authorizer: thief, ..channel };
        let call = anything(deposit_of(foreign, CREDIT, 0));
        world.refuses("ERC3009InvalidSignature", "mallory", at.channels, &call);
    }
    let value = U256::from(CREDIT);
    let calls: Vec<(Address, Bytes)> = vec![
        (at.credit, Credit::transferFromCall { from: vault, to: owner, value }.abi_encode().into()),
        (at.credit, Credit::burnFromCall { account: vault, value }.abi_encode().into()),
        (vault, Vault::releaseCall {}.abi_encode().into()),
        (at.credit, Credit::transferCall { to: who("mallory"), value }.abi_encode().into()),
    ];
    let before = world.everything();
    world.does("mallory", owner, &act(&calls));
    assert!(world.everything() == before);
    // Anyone deposits with such an owner; it is in a channel of the service all the same, and comes back.
    world.does("stranger", at.channels, &anything(deposit_of(channel, HELD, 0)));
    assert_eq!((world.credits_of(vault), balance(&mut world, &channel)), (0, (HELD, 0)));
    world.does("gateway", at.revenue, &refund_call(&channel, HELD));
    assert_eq!((world.credits_of(vault), world.credits_of(owner)), (HELD, 0));
}

#[test]
fn what_others_put_in_for_a_vault_is_locked_with_it() {
    let (mut world, vault, channel) = alices();
    let at = world.at.clone();
    let collector = recruit(&mut world);
    let value = U256::from(30 * CREDIT);
    world.does("mallory", at.credit, &Credit::transferCall { to: collector, value });
    let brings = Credit::transferCall { to: at.channels, value: U256::from(10 * CREDIT) };
    let mine = ChannelConfig { receiver: who("mallory"), receiver_authorizer: who("mallory"), ..channel };
    for config in [channel, mine] {
        world.does("mallory", collector, &prepare(&[(at.credit, brings.abi_encode().into())], 0, 1));
        let call = deposit_of(config, 10 * CREDIT, 0).call(collector, Bytes::new());
        world.does("mallory", at.channels, &call);
        assert_eq!(balance(&mut world, &config), (10 * CREDIT, 0));
    }
    assert_eq!(world.credits_of(vault), HELD);
    // Of its own channel the thief claims its own credits back; what it refunds is the vault's.
    world.does("mallory", at.channels, &claim(&[row(mine, 4 * CREDIT, 4 * CREDIT)]));
    world.does("mallory", at.channels, &Channels::settleCall { receiver: who("mallory"), token: at.credit });
    assert_eq!(world.credits_of(who("mallory")), 24 * CREDIT);
    world.does("mallory", at.channels, &refund_call(&mine, u128::MAX));
    world.does("gateway", at.revenue, &refund_call(&channel, u128::MAX));
    assert_eq!(world.credits_of(vault), HELD + 16 * CREDIT);
    world.refuses("Locked", "alice", vault, &Vault::releaseCall {});
    world.go_to(CLEARABLE + LOCK);
    world.does("alice", vault, &Vault::releaseCall {});
    assert_eq!(world.credits_of(who("alice")), HELD + 16 * CREDIT);
}

/// The address of a vault is known before there is one: what comes there waits for the clone, and nobody else can make
/// it or sign for it.
#[test]
fn an_address_that_will_be_a_vault_is_one_already() {
    let mut world = World::new();
    let at = world.at.clone();
    let mut permit = world.permit("carol", AUCTION, 5);
    permit.lock_class = 1;
    let id = world.bids_under("carol", &permit, 600, 0);
    world.bids("bob", FIXED, 66, 600, 0);
    world.go_to(CLEARABLE);
    world.clears(FIXED);
    world.clears(AUCTION);
    world.goes_live();
    let now = world.chain.time();
    world.chain.advance_to(now + 1);
    world.does("bob", at.offering, &deliver(bid_id(FIXED, 66)));
    let vault = world.asks(at.offering, &Offering::vaultOfCall { id: pack(id) });
    assert!(world.chain.code(vault).is_empty());
    let send = |to| Credit::transferCall { to, value: U256::from(20 * CREDIT) };
    world.does("bob", at.credit, &send(vault));
    world.does("bob", at.credit, &send(who("mallory")));

    // Nobody signs for it while it is not there, not even its owner.
    let channel = service(&world, vault);
    for name in ["carol", "mallory"] {
        let deposit = deposit_of(channel, CREDIT, 0);
        for call in [of_vault(&mut world, name, &deposit), paid_in(&mut world, name, &deposit)] {
            world.refuses("ERC3009InvalidSignature", name, at.channels, &call);
        }
    }
    // Others put something in for it, and the gateway gives it back.
    let collector = recruit(&mut world);
    world.does("mallory", at.credit, &send(collector));
    let brings = Credit::transferCall { to: at.channels, value: U256::from(5 * CREDIT) };
    world.does("mallory", collector, &prepare(&[(at.credit, brings.abi_encode().into())], 0, 1));
    world.does("mallory", at.channels, &deposit_of(channel, 5 * CREDIT, 0).call(collector, Bytes::new()));
    world.does("gateway", at.revenue, &refund_call(&channel, u128::MAX));
    assert_eq!(world.credits_of(vault), 25 * CREDIT);

    world.does("carol", at.offering, &deliver(id));
    assert!(!world.chain.code(vault).is_empty());
    assert_eq!(world.asks(vault, &Vault::ownerCall {}), who("carol"));
    let holds = world.credits_of(vault);
    assert!(holds > 25 * CREDIT);
    world.refuses("Locked", "carol", vault, &Vault::releaseCall {});
    let call = of_vault(&mut world, "carol", &deposit_of(channel, CREDIT, 0));
    world.does("carol", at.channels, &call);
    assert_eq!((world.credits_of(vault), world.credits_of(who("carol"))), (holds - CREDIT, 0));
}

/// The residual that is stated: who holds locked credits and is a provider too has the share of what it spends on
/// itself, and the rest is burned.
#[test]
fn a_holder_who_is_a_provider_has_the_share_of_what_it_spends_and_no_more() {
    let (mut world, vault, channel) = alices();
    let at = world.at.clone();
    funded(&mut world, channel, HELD);
    let spent = 40 * CREDIT + 3;
    world.does("gateway", at.revenue, &claim(&[row(channel, HELD, spent)]));
    let supply = world.asks(at.credit, &Credit::totalSupplyCall {}).to::<u128>();
    let served = [(who("alice"), spent)].into();
    let split = Split::new(spent, &served, Bps::new(8_000).expect("a part")).expect("all of it");
    let publish = |pay| Revenue::publishCall {
        coin: at.credit,
        number: 1,
        settled: spent,
        pay,
        root: split.tree().root(),
        document: B256::ZERO,
    };
    world.refuses("OverShare", "gateway", at.revenue, &publish(split.pay + 1));
    world.does("gateway", at.revenue, &publish(split.pay));
    let proof = split.proof(who("alice")).expect("a leaf");
    let call =
        Revenue::claimPayCall { coin: at.credit, provider: who("alice"), cumulative: split.pay, proof };
    world.does("alice", at.revenue, &call);
    world.refuses("NothingToPay", "alice", at.revenue, &call);
    assert_eq!(world.credits_of(who("alice")), spent * 8 / 10);
    assert_eq!(
        world.asks(at.credit, &Credit::totalSupplyCall {}).to::<u128>(),
        supply - (spent - spent * 8 / 10)
    );
    world.does("gateway", at.revenue, &refund_call(&channel, u128::MAX));
    assert_eq!((world.credits_of(vault), world.credits_of(at.revenue)), (HELD - spent, 0));
}
