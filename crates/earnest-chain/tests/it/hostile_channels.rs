//! Channels and their collector against those who would take more: other signatures, other forms of them, other callers,
//! other times, other coins. What is refused has its name and changes nothing.

use alloy_primitives::{Address, B256, Bytes, TxKind, U256, uint};
use alloy_sol_types::{Eip712Domain, SolCall, SolEvent};
use earnest_chain::bindings::{Channels, Credit};
use earnest_chain::chain::Receipt;
use earnest_chain::channel::{
    Deposit, batch_digest, channel_id, domain, refund_digest, sol_config, sol_row, voucher_digest,
};
use earnest_chain::deploy::X402_SETTLEMENT;
use earnest_chain::embedded::DEV_CHAIN_ID;
use earnest_core::channel::{ChannelConfig, LEAST_DELAY, MOST_DELAY, Row};

use crate::story::START;
use crate::world::*;

/// Order of the curve that signatures are made on.
const ORDER: U256 = uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);

fn settlement() -> Eip712Domain {
    domain(DEV_CHAIN_ID, X402_SETTLEMENT)
}

/// Alice pays a seller in cash.
pub(crate) fn channel(world: &World) -> ChannelConfig {
    ChannelConfig {
        payer: who("alice"),
        payer_authorizer: who("session"),
        receiver: who("seller"),
        receiver_authorizer: who("seller's key"),
        token: world.at.cash,
        withdraw_delay: LEAST_DELAY,
        salt: B256::ZERO,
    }
}

/// A deposit that is good for long.
pub(crate) fn deposit_of(channel: ChannelConfig, amount: u128, salt: u64) -> Deposit {
    let valid_before = START + 2 * DEADLINE;
    Deposit { channel, amount, salt: U256::from(salt), valid_after: 0, valid_before }
}

fn digest_of(world: &mut World, deposit: &Deposit) -> B256 {
    let coin = world.asks(deposit.channel.token, &Credit::DOMAIN_SEPARATORCall {});
    deposit.digest(&settlement(), coin, world.at.collector)
}

/// A deposit that someone signed.
pub(crate) fn paid_in(world: &mut World, name: &str, deposit: &Deposit) -> Channels::depositCall {
    let signature = key(name).sign(digest_of(world, deposit));
    deposit.call(world.at.collector, signature)
}

/// Alice's channel with so much in it.
fn open(world: &mut World, amount: u128) -> ChannelConfig {
    let channel = channel(world);
    let call = paid_in(world, "alice", &deposit_of(channel, amount, 0));
    world.does("stranger", world.at.channels, &call);
    channel
}

fn row_of(channel: ChannelConfig, ceiling: u128, claimed: u128) -> Row {
    Row { channel, ceiling, claimed, signed_by: None }
}

/// A row with a voucher that the session key signed.
pub(crate) fn row(channel: ChannelConfig, ceiling: u128, claimed: u128) -> Channels::VoucherClaim {
    let digest = voucher_digest(&settlement(), channel_id(&settlement(), &channel), ceiling);
    sol_row(&row_of(channel, ceiling, claimed), key("session").sign(digest))
}

pub(crate) fn claim(rows: &[Channels::VoucherClaim]) -> Channels::claimCall {
    Channels::claimCall { voucherClaims: rows.to_vec() }
}

fn initiate(channel: &ChannelConfig, amount: u128) -> Channels::initiateWithdrawCall {
    Channels::initiateWithdrawCall { config: sol_config(channel), amount }
}

fn finalize(channel: &ChannelConfig) -> Channels::finalizeWithdrawCall {
    Channels::finalizeWithdrawCall { config: sol_config(channel) }
}

pub(crate) fn refund_call(channel: &ChannelConfig, amount: u128) -> Channels::refundCall {
    Channels::refundCall { config: sol_config(channel), amount }
}

fn settle_call(receiver: &str, token: Address) -> Channels::settleCall {
    Channels::settleCall { receiver: who(receiver), token }
}

/// What is in it, and what of that was claimed.
fn state(world: &mut World, channel: &ChannelConfig) -> (u128, u128) {
    let id = channel_id(&settlement(), channel);
    let state = world.asks(world.at.channels, &Channels::channelsCall { channelId: id });
    (state.balance, state.totalClaimed)
}

fn said<E: SolEvent>(receipt: &Receipt) -> bool {
    receipt.logs.iter().any(|log| E::decode_log(log).is_ok())
}

/// Forms of one signature, the good one not among them.
fn other_forms(good: &[u8]) -> Vec<Bytes> {
    let (r, s, v) = (&good[..32], &good[32..64], good[64]);
    let high = (ORDER - U256::from_be_slice(s)).to_be_bytes::<32>();
    let mut compact = [r, s].concat();
    compact[32] |= (v - 27) << 7;
    let with_v = |v: u8| [r, s, &[v]].concat();
    let forms = [
        [r, &high, &[55 - v]].concat(),
        [r, &high, &[v]].concat(),
        with_v(v - 27),
        with_v(55 - v),
        with_v(0xff),
        good[..64].to_vec(),
        good[..32].to_vec(),
        [good, &[0]].concat(),
        compact,
        Vec::new(),
        vec![0; 65],
    ];
    forms.into_iter().map(Bytes::from).collect()
}

#[test]
fn a_voucher_has_one_form_and_one_place() {
    let mut world = World::new();
    let channel = open(&mut world, 100);
    let channels = world.at.channels;
    let (here, id) = (settlement(), channel_id(&settlement(), &channel));
    let good = key("session").sign(voucher_digest(&here, id, 50));
    let row = row_of(channel, 50, 50);
    for form in other_forms(&good) {
        world.refuses("BadSignature", "seller", channels, &claim(&[sol_row(&row, form)]));
    }
    for name in ["alice", "seller", "seller's key", "stranger", "gateway"] {
        let signature = key(name).sign(voucher_digest(&here, id, 50));
        world.refuses("BadSignature", "seller", channels, &claim(&[sol_row(&row, signature)]));
    }
    let elsewhere = ChannelConfig { salt: B256::repeat_byte(1), ..channel };
    let others = [
        voucher_digest(&domain(1, channels), id, 50),
        voucher_digest(&domain(DEV_CHAIN_ID, world.at.revenue), id, 50),
        voucher_digest(&domain(DEV_CHAIN_ID, channels), channel_id(&domain(1, channels), &channel), 50),
        voucher_digest(&here, channel_id(&here, &elsewhere), 50),
        voucher_digest(&here, id, 49),
        voucher_digest(&here, id, 51),
        refund_digest(&here, id, 0, 50),
        batch_digest(&here, &[row]),
        id,
        B256::ZERO,
    ];
    for other in others {
        let signature = key("session").sign(other);
        world.refuses("BadSignature", "seller", channels, &claim(&[sol_row(&row, signature)]));
    }
    world.does("seller", channels, &claim(&[sol_row(&row, good)]));
    assert_eq!(state(&mut world, &channel), (100, 50));
}

#[test]
fn a_lower_or_equal_claim_does_nothing_and_a_higher_one_needs_its_voucher() {
    let mut world = World::new();
    let channel = open(&mut world, 100);
    let channels = world.at.channels;
    world.does("seller", channels, &claim(&[row(channel, 60, 50)]));
    let before = world.everything();
    for (ceiling, claimed) in [(60, 50), (60, 49), (60, 0), (0, 0), (50, 50)] {
        let receipt = world.does("seller", channels, &claim(&[row(channel, ceiling, claimed)]));
        assert!(receipt.logs.is_empty());
    }
    // The same row twice in a batch, and one that nobody signed but which claims nothing.
    let unsigned = sol_row(&row_of(channel, 50, 50), Bytes::new());
    world.does("seller", channels, &claim(&[row(channel, 60, 50), unsigned, row(channel, 60, 50)]));
    assert!(world.everything() == before);
    world.refuses("OverVoucher", "seller", channels, &claim(&[row(channel, 60, 61)]));
    world.refuses("OverBalance", "seller", channels, &claim(&[row(channel, 101, 101)]));
    world.refuses("OverBalance", "seller", channels, &claim(&[row(channel, u128::MAX, u128::MAX)]));
    // One bad row, and none counts.
    world.refuses("OverBalance", "seller", channels, &claim(&[row(channel, 70, 70), row(channel, 101, 101)]));
    let receipt = world.does("seller", channels, &claim(&[row(channel, 70, 60), row(channel, 80, 80)]));
    assert_eq!((receipt.logs.len(), state(&mut world, &channel)), (2, (100, 80)));
    world.does("stranger", channels, &settle_call("seller", world.at.cash));
    world.does("stranger", channels, &settle_call("seller", world.at.cash));
    assert_eq!(world.cash_of(who("seller")), 80);
}

#[test]
fn only_the_receiver_or_its_authorizer_claims_and_refunds() {
    let mut world = World::new();
    let channel = open(&mut world, 100);
    let channels = world.at.channels;
    for name in ["alice", "session", "gateway", "issuer", "stranger"] {
        world.refuses("NotReceiver", name, channels, &claim(&[row(channel, 50, 50)]));
        world.refuses("NotReceiver", name, channels, &claim(&[row(channel, 0, 0)]));
        world.refuses("NotReceiver", name, channels, &refund_call(&channel, 1));
    }
    world.refuses("NothingToClaim", "seller", channels, &claim(&[]));
    let others = ChannelConfig { receiver: who("other"), receiver_authorizer: who("other"), ..channel };
    let call = paid_in(&mut world, "alice", &deposit_of(others, 100, 0));
    world.does("alice", channels, &call);
    let both = [row(channel, 50, 50), row(others, 50, 50)];
    world.refuses("NotReceiver", "seller", channels, &claim(&both));
    world.does("seller's key", channels, &claim(&both[..1]));
    world.does("other", channels, &claim(&both[1..]));
    world.refuses("ZeroAmount", "seller", channels, &refund_call(&channel, 0));
    world.does("seller's key", channels, &refund_call(&channel, 20));
    world.does("seller", channels, &refund_call(&channel, u128::MAX));
    assert_eq!(state(&mut world, &channel), (50, 50));
    // Of one receiver and coin all is moved at once, to it, whoever asks.
    world.does("stranger", channels, &settle_call("seller", world.at.cash));
    assert_eq!([who("seller"), who("other"), who("stranger")].map(|of| world.cash_of(of)), [50, 0, 0]);
}

#[test]
fn a_signed_batch_is_claimed_as_it_was_signed() {
    let mut world = World::new();
    let first = open(&mut world, 100);
    let channels = world.at.channels;
    let here = settlement();
    let second = ChannelConfig { salt: B256::repeat_byte(1), ..first };
    let others = ChannelConfig { receiver_authorizer: who("other"), salt: B256::repeat_byte(2), ..first };
    for channel in [second, others] {
        let call = paid_in(&mut world, "alice", &deposit_of(channel, 100, 0));
        world.does("alice", channels, &call);
    }
    let signed =
        |by: &str, here: &Eip712Domain, rows: &[Row], told: &[Row]| Channels::claimWithSignatureCall {
            voucherClaims: told.iter().map(|told| row(told.channel, told.ceiling, told.claimed)).collect(),
            authorizerSignature: key(by).sign(batch_digest(here, rows)),
        };
    let rows = [row_of(first, 50, 40), row_of(second, 50, 30)];
    let bad = "BadSignature";
    for name in ["seller", "session", "alice", "stranger", "other"] {
        world.refuses(bad, "stranger", channels, &signed(name, &here, &rows, &rows));
    }
    for elsewhere in [domain(1, channels), domain(DEV_CHAIN_ID, world.at.collector)] {
        world.refuses(bad, "stranger", channels, &signed("seller's key", &elsewhere, &rows, &rows));
    }
    let good = signed("seller's key", &here, &rows, &rows);
    for form in other_forms(&good.authorizerSignature) {
        let call = Channels::claimWithSignatureCall { authorizerSignature: form, ..good.clone() };
        world.refuses(bad, "stranger", channels, &call);
    }
    let changed: [&[Row]; 7] = [
        &rows[..1],
        &[rows[1], rows[0]],
        &[rows[0], rows[1], rows[1]],
        &[rows[0], row_of(second, 50, 31)],
        &[rows[0], row_of(second, 50, 29)],
        &[rows[0], row_of(second, 51, 30)],
        &[rows[0], row_of(others, 50, 30)],
    ];
    for told in changed {
        world.refuses(bad, "stranger", channels, &signed("seller's key", &here, &rows, told));
    }
    let mixed = [rows[0], row_of(others, 50, 30)];
    world.refuses("OtherAuthorizer", "stranger", channels, &signed("seller's key", &here, &mixed, &mixed));
    world.refuses("NothingToClaim", "stranger", channels, &signed("seller's key", &here, &[], &[]));
    world.does("stranger", channels, &good);
    let before = world.everything();
    world.does("stranger", channels, &good);
    assert!(world.everything() == before, "a batch counts once");
    assert_eq!([first, second].map(|of| state(&mut world, &of).1), [40, 30]);
}

#[test]
fn a_signed_refund_is_good_once() {
    let mut world = World::new();
    let channel = open(&mut world, 100);
    let channels = world.at.channels;
    let (here, id) = (settlement(), channel_id(&settlement(), &channel));
    let signed = |by: &str, digest: B256, amount, nonce: u64| Channels::refundWithSignatureCall {
        config: sol_config(&channel),
        amount,
        nonce: U256::from(nonce),
        receiverAuthorizerSignature: key(by).sign(digest),
    };
    let bad = "BadSignature";
    for name in ["seller", "alice", "session", "stranger"] {
        world.refuses(bad, "alice", channels, &signed(name, refund_digest(&here, id, 0, 10), 10, 0));
    }
    let others = [
        refund_digest(&here, id, 0, 11),
        refund_digest(&here, id, 1, 10),
        refund_digest(&here, B256::ZERO, 0, 10),
        refund_digest(&domain(1, channels), id, 0, 10),
        refund_digest(&domain(DEV_CHAIN_ID, world.at.revenue), id, 0, 10),
        voucher_digest(&here, id, 10),
        batch_digest(&here, &[row_of(channel, 10, 10)]),
    ];
    for other in others {
        world.refuses(bad, "alice", channels, &signed("seller's key", other, 10, 0));
    }
    let good = signed("seller's key", refund_digest(&here, id, 0, 10), 10, 0);
    for form in other_forms(&good.receiverAuthorizerSignature) {
        let call = Channels::refundWithSignatureCall { receiverAuthorizerSignature: form, ..good.clone() };
        world.refuses(bad, "alice", channels, &call);
    }
    world.refuses(
        "ZeroAmount",
        "alice",
        channels,
        &signed("seller's key", refund_digest(&here, id, 0, 0), 0, 0),
    );
    world.does("stranger", channels, &good);
    world.refuses("WrongNonce", "stranger", channels, &good);
    assert_eq!(world.cash_of(who("alice")), 100_000 * CASH - 90);
    // One that was signed and not sent dies of any other refund.
    let second = signed("seller's key", refund_digest(&here, id, 1, 10), 10, 1);
    world.does("seller", channels, &refund_call(&channel, 5));
    world.refuses("WrongNonce", "stranger", channels, &second);
    // A refund of more than there is gives what there is, and of nothing uses its number up.
    let third = signed("seller's key", refund_digest(&here, id, 2, u128::MAX), u128::MAX, 2);
    let receipt = world.does("stranger", channels, &third);
    assert!(said::<Channels::ChannelClosed>(&receipt));
    assert_eq!(world.cash_of(who("alice")), 100_000 * CASH);
    let fourth = signed("seller's key", refund_digest(&here, id, 3, 1), 1, 3);
    assert!(world.does("stranger", channels, &fourth).logs.is_empty());
    world.refuses("WrongNonce", "stranger", channels, &fourth);
}

#[test]
fn a_withdrawal_is_the_payers_after_its_delay_and_once() {
    let mut world = World::new();
    let channel = open(&mut world, 100);
    let channels = world.at.channels;
    for name in ["seller", "seller's key", "gateway", "stranger"] {
        world.refuses("NotPayer", name, channels, &initiate(&channel, 10));
    }
    world.refuses("NoWithdrawal", "alice", channels, &finalize(&channel));
    world.refuses("ZeroAmount", "alice", channels, &initiate(&channel, 0));
    world.refuses("TooMuch", "alice", channels, &initiate(&channel, 101));
    world.does("session", channels, &initiate(&channel, 90));
    for name in ["alice", "session"] {
        world.refuses("WithdrawalPending", name, channels, &initiate(&channel, 100));
    }
    world.go_to(LEAST_DELAY - 1);
    world.refuses("TooEarly", "alice", channels, &finalize(&channel));
    // What is claimed until the end comes first.
    world.does("seller", channels, &claim(&[row(channel, 30, 30)]));
    world.go_to(LEAST_DELAY);
    for name in ["seller", "seller's key", "stranger"] {
        world.refuses("NotPayer", name, channels, &finalize(&channel));
    }
    world.does("session", channels, &finalize(&channel));
    assert_eq!(state(&mut world, &channel), (30, 30));
    assert_eq!(world.cash_of(who("alice")), 100_000 * CASH - 30);
    world.refuses("NoWithdrawal", "alice", channels, &finalize(&channel));
    world.refuses("TooMuch", "alice", channels, &initiate(&channel, 1));

    // A refund in between counts towards what was asked for.
    let call = paid_in(&mut world, "alice", &deposit_of(channel, 100, 1));
    world.does("alice", channels, &call);
    world.does("alice", channels, &initiate(&channel, 60));
    world.does("seller", channels, &refund_call(&channel, 50));
    world.go_to(3 * LEAST_DELAY);
    world.does("alice", channels, &finalize(&channel));
    assert_eq!(state(&mut world, &channel), (70, 30));
    // Claimed to the last unit: the withdrawal ends and moves nothing.
    world.does("alice", channels, &initiate(&channel, 40));
    world.does("seller", channels, &claim(&[row(channel, 70, 70)]));
    world.go_to(5 * LEAST_DELAY);
    world.does("alice", channels, &finalize(&channel));
    assert_eq!((state(&mut world, &channel), world.cash_of(who("alice"))), ((70, 70), 100_000 * CASH - 70));
}

#[test]
fn old_vouchers_of_a_channel_that_was_emptied_still_count() {
    let mut world = World::new();
    let channel = open(&mut world, 100);
    let channels = world.at.channels;
    world.does("seller", channels, &claim(&[row(channel, 60, 60)]));
    world.does("seller", channels, &refund_call(&channel, 100));
    let call = paid_in(&mut world, "alice", &deposit_of(channel, 30, 1));
    let receipt = world.does("alice", channels, &call);
    assert!(!said::<Channels::ChannelCreated>(&receipt), "claimed is for ever");
    assert_eq!(state(&mut world, &channel), (90, 60));
    world.does("seller", channels, &claim(&[row(channel, 60, 60)]));
    world.refuses("OverVoucher", "seller", channels, &claim(&[row(channel, 60, 61)]));
    world.does("seller", channels, &claim(&[row(channel, 70, 70)]));
    world.does("stranger", channels, &settle_call("seller", world.at.cash));
    assert_eq!(world.cash_of(who("seller")), 70);

    // A voucher that was never shown outlives an emptying: it is good for what comes in later.
    let other = ChannelConfig { salt: B256::repeat_byte(1), ..channel };
    for salt in 0..2 {
        let call = paid_in(&mut world, "alice", &deposit_of(other, 50, salt));
        let receipt = world.does("alice", channels, &call);
        assert!(said::<Channels::ChannelCreated>(&receipt));
        if salt == 0 {
            let receipt = world.does("seller", channels, &refund_call(&other, 50));
            assert!(said::<Channels::ChannelClosed>(&receipt));
            world.refuses("OverBalance", "seller", channels, &claim(&[row(other, 50, 50)]));
        }
    }
    world.does("seller", channels, &claim(&[row(other, 50, 50)]));
}

#[test]
fn a_channel_that_cannot_be_is_not_opened() {
    let mut world = World::new();
    let good = channel(&world);
    let channels = world.at.channels;
    let bad = [
        ChannelConfig { payer: Address::ZERO, ..good },
        ChannelConfig { receiver: Address::ZERO, ..good },
        ChannelConfig { receiver_authorizer: Address::ZERO, ..good },
        ChannelConfig { token: Address::ZERO, ..good },
        ChannelConfig { withdraw_delay: 0, ..good },
        ChannelConfig { withdraw_delay: LEAST_DELAY - 1, ..good },
        ChannelConfig { withdraw_delay: MOST_DELAY + 1, ..good },
        ChannelConfig { withdraw_delay: (1 << 40) - 1, ..good },
    ];
    for channel in bad {
        let call = deposit_of(channel, 1, 0).call(world.at.collector, Bytes::new());
        world.refuses("BadChannel", "alice", channels, &call);
    }
    let call = paid_in(&mut world, "alice", &deposit_of(good, 0, 0));
    world.refuses("ZeroAmount", "alice", channels, &call);
    // Not a coin at all, and no one at home.
    for token in [who("stranger"), world.at.offering] {
        let call = deposit_of(ChannelConfig { token, ..good }, 1, 0).call(world.at.collector, Bytes::new());
        let before = world.everything();
        assert!(world.send(who("alice"), channels, &call).is_err());
        assert!(world.everything() == before);
    }
    let call = deposit_of(good, 1, 0).call(who("stranger"), Bytes::new());
    assert!(world.send(who("alice"), channels, &call).is_err());
    // Without a session key the payer itself signs.
    let own = ChannelConfig { payer_authorizer: Address::ZERO, ..good };
    let call = paid_in(&mut world, "alice", &deposit_of(own, 100, 0));
    world.does("alice", channels, &call);
    world.refuses("BadSignature", "seller", channels, &claim(&[row(own, 10, 10)]));
    let digest = voucher_digest(&settlement(), channel_id(&settlement(), &own), 10);
    let by_payer = sol_row(&row_of(own, 10, 10), key("alice").sign(digest));
    world.does("seller", channels, &claim(&[by_payer]));
}

/// Every word of a config with bits above what its type has, in every call that takes one.
#[test]
fn words_with_too_many_bits_open_claim_and_move_nothing() {
    let mut world = World::new();
    let channel = open(&mut world, 100);
    let channels = world.at.channels;
    let next = deposit_of(channel, 10, 1);
    let in_deposit = paid_in(&mut world, "alice", &next).abi_encode();
    // Where the config stands behind the selector: a row of a claim has three offsets before it.
    let calls: [(&str, usize, Vec<u8>); 6] = [
        ("alice", 4, in_deposit),
        ("alice", 4, initiate(&channel, 10).abi_encode()),
        ("alice", 4, finalize(&channel).abi_encode()),
        ("seller", 4, refund_call(&channel, 10).abi_encode()),
        ("seller", 4 + 96, claim(&[row(channel, 50, 50)]).abi_encode()),
        ("seller", 4 + 96, claim(&[row(channel, 0, 0)]).abi_encode()),
    ];
    for (name, start, data) in calls {
        assert_eq!(data[start + 12..start + 32], channel.payer[..], "the config starts there");
        for word in 0..6 {
            for bit in [0x01u8, 0x80] {
                let mut dirty = data.clone();
                // The lowest and the highest bit that are too many.
                let byte = if bit == 0x80 {
                    0
                } else if word == 5 {
                    26
                } else {
                    11
                };
                dirty[start + 32 * word + byte] ^= bit;
                let sent = world.chain.send(who(name), TxKind::Call(channels), dirty.into());
                // A refund or a row of nothing may pass for a channel that never is; nothing comes of it.
                assert!(sent.is_err() || name == "seller", "word {word} of {name}'s call");
                assert!(!sent.is_ok_and(|receipt| !receipt.logs.is_empty()), "word {word} of {name}'s call");
                assert_eq!((state(&mut world, &channel), world.cash_of(channels)), ((100, 0), 100));
            }
        }
    }
    assert_eq!(state(&mut world, &channel), (100, 0));
}
