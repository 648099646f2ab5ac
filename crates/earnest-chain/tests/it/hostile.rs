//! What must not work. Every call here is refused by an error with a name and changes no slot of any contract.

use alloy_primitives::aliases::{U24, U40, U96};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, uint};
use alloy_sol_types::{SolConstructor, SolStruct};
use earnest_chain::bindings::{Credit, Deliver, DevCash, LadderData, Offering, Payout, Treasury};
use earnest_chain::deploy::DeployError;
use earnest_chain::embedded::DEV_CHAIN_ID;
use earnest_chain::story::pack;
use earnest_core::bid::BidId;
use earnest_core::curve::{Knot, Ladder};
use earnest_core::money::{Bps, CASH_MAX};
use earnest_core::offering::{DAY, OfferingSetup, Sale};
use earnest_core::permit::PurchasePermit;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::story::START;
use crate::world::*;

// ---- permits

/// Alice's bid of 10 cash in the fixed round with this permit and signature.
fn bid_is_refused(error: &str, world: &mut World, permit: &PurchasePermit, signature: Bytes) {
    world.refuses(error, "alice", world.at.offering, &order(permit, signature, 10 * CASH, 0));
}

#[test]
fn a_permit_signed_by_a_stranger_is_refused() {
    let mut world = World::new();
    let permit = world.permit("alice", FIXED, 1);
    for signer in ["stranger", "alice", "issuer", "certifier", "guardian"] {
        let signature = world.signed_by(signer, &permit);
        bid_is_refused("OldGeneration", &mut world, &permit, signature);
    }
}

#[test]
fn a_permit_of_another_wallet_is_refused() {
    let mut world = World::new();
    let permit = world.permit("alice", FIXED, 1);
    let call = world.order(&permit, 10 * CASH, 0);
    world.refuses("NotPermitted", "bob", world.at.offering, &call);
    world.does("alice", world.at.offering, &call);
    world.refuses("NotPermitted", "bob", world.at.offering, &call);
}

#[test]
fn a_permit_used_again_buys_nothing_more() {
    let mut world = World::new();
    let permit = world.permit("alice", FIXED, 1);
    let call = world.order(&permit, 10 * CASH, 0);
    world.does("alice", world.at.offering, &call);
    world.refuses("OnlyUp", "alice", world.at.offering, &call);
    let less = world.order(&permit, 10 * CASH - 1, 0);
    world.refuses("OnlyUp", "alice", world.at.offering, &less);
}

#[test]
fn an_entity_bids_with_one_wallet_in_a_round() {
    let mut world = World::new();
    for round in [FIXED, AUCTION, RISING] {
        world.bids("alice", round, 1, 10, 0);
        let call = world.order(&world.permit("bob", round, 1), 20 * CASH, 0);
        world.refuses("OtherWallet", "bob", world.at.offering, &call);
    }
    world.go_to(DAY); // the next window
    let call = world.order(&world.permit("bob", RISING, 1), 20 * CASH, 0);
    world.refuses("OtherWallet", "bob", world.at.offering, &call);
}

#[test]
fn a_permit_holds_only_in_its_time() {
    let mut world = World::new();
    world.go_to(DAY);
    let permit = world.permit("alice", FIXED, 1);
    for (not_before, expiry) in [(0, START + DAY - 1), (START + DAY + 1, START + 9 * DAY)] {
        let permit = PurchasePermit { not_before, expiry, ..permit.clone() };
        let signature = world.signed_by("attester", &permit);
        bid_is_refused("PermitNotValidNow", &mut world, &permit, signature);
    }
    let just = PurchasePermit { not_before: START + DAY, expiry: START + DAY, ..permit };
    world.bids_under("alice", &just, 10, 0);
}

#[test]
fn a_permit_for_another_chain_or_contract_is_refused() {
    let mut world = World::new();
    let permit = world.permit("alice", FIXED, 1);
    let at = world.at.clone();
    for (chain, contract) in
        [(1, at.offering), (0, at.offering), (DEV_CHAIN_ID, at.treasury), (DEV_CHAIN_ID, Address::ZERO)]
    {
        let signature = key("attester").sign(World::permit_digest(&permit, chain, contract));
        bid_is_refused("OldGeneration", &mut world, &permit, signature);
    }
}

#[test]
fn a_permit_for_other_terms_is_refused() {
    let mut world = World::new();
    let permit = PurchasePermit { terms_hash: [0x12; 32].into(), ..world.permit("alice", FIXED, 1) };
    let signature = world.signed_by("attester", &permit);
    bid_is_refused("OtherTerms", &mut world, &permit, signature);
}

#[test]
fn a_permit_changed_in_any_field_after_it_was_signed_is_refused() {
    let mut world = World::new();
    let signed = world.permit("alice", FIXED, 1);
    let signature = world.signed_by("attester", &signed);
    let changes: [fn(&mut PurchasePermit); 14] = [
        |permit| permit.entity = 2,
        |permit| permit.round = AUCTION,
        |permit| permit.min_cash = 0,
        |permit| permit.max_cash += 1,
        |permit| permit.max_total -= 1,
        |permit| permit.last -= 1,
        |permit| permit.not_before = 1,
        |permit| permit.expiry += 1,
        |permit| permit.jurisdiction = 0,
        |permit| permit.lock_class = 1,
        |permit| permit.affiliate = true,
        |permit| permit.cooling_off = true,
        |permit| permit.generation = 2,
        |permit| permit.entity = u64::MAX,
    ];
    for change in changes {
        let mut permit = signed.clone();
        change(&mut permit);
        bid_is_refused("OldGeneration", &mut world, &permit, signature.clone());
    }
}

#[test]
fn a_signature_has_one_form_only() {
    let mut world = World::new();
    let permit = world.permit("alice", FIXED, 1);
    let good = world.signed_by("attester", &permit).to_vec();
    let (r, s, v) = (&good[..32], &good[32..64], good[64]);
    let order_of_curve = uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);
    let high = (order_of_curve - U256::from_be_slice(s)).to_be_bytes::<32>();
    let mut compact = [r, s].concat();
    compact[32] |= (v - 27) << 7;
    let with_v = |v: u8| [r, s, &[v]].concat();
    let forms: [(&str, Vec<u8>); 11] = [
        ("ECDSAInvalidSignatureS", [r, &high, &[55 - v]].concat()),
        ("ECDSAInvalidSignature", with_v(v - 27)),
        ("ECDSAInvalidSignature", with_v(v + 8)),
        ("ECDSAInvalidSignature", with_v(0xff)),
        ("OldGeneration", with_v(55 - v)),
        ("ECDSAInvalidSignatureLength", good[..64].to_vec()),
        ("ECDSAInvalidSignatureLength", [&good[..], &[0]].concat()),
        ("ECDSAInvalidSignatureLength", [&good[..], &good[..]].concat()),
        ("ECDSAInvalidSignatureLength", compact),
        ("ECDSAInvalidSignatureLength", Vec::new()),
        ("ECDSAInvalidSignature", vec![0; 65]),
    ];
    for (error, form) in forms {
        bid_is_refused(error, &mut world, &permit, form.into());
    }
    world.does("alice", world.at.offering, &order(&permit, good.into(), 10 * CASH, 0));
}

#[test]
fn limits_count_over_the_windows_of_a_round() {
    let mut world = World::new();
    let permit =
        PurchasePermit { min_cash: 5 * CASH, max_cash: 100 * CASH, ..world.permit("alice", RISING, 1) };
    let few = world.order(&permit, 4 * CASH, 0);
    world.refuses("OutsideLimits", "alice", world.at.offering, &few);
    world.bids_under("alice", &permit, 60, 0);
    world.go_to(DAY);
    let much = world.order(&permit, 41 * CASH, 0);
    world.refuses("OutsideLimits", "alice", world.at.offering, &much);
    world.bids_under("alice", &permit, 40, 0);
    world.go_to(2 * DAY);
    let one = world.order(&permit, 1, 0);
    world.refuses("OutsideLimits", "alice", world.at.offering, &one);
}

#[test]
fn limits_count_over_all_rounds_and_wallets() {
    let mut world = World::new();
    let capped =
        |world: &World, name, round| PurchasePermit { max_total: 100 * CASH, ..world.permit(name, round, 1) };
    world.bids_under("alice", &capped(&world, "alice", FIXED), 40, 0);
    world.bids_under("bob", &capped(&world, "bob", RISING), 20, 0);
    world.go_to(DAY);
    world.bids_under("bob", &capped(&world, "bob", RISING), 20, 0);
    for (name, round, cash) in [("carol", AUCTION, 21), ("alice", FIXED, 61), ("bob", RISING, 41)] {
        let call = world.order(&capped(&world, name, round), cash * CASH, 0);
        world.refuses("OverTotal", name, world.at.offering, &call);
    }
    world.bids_under("carol", &capped(&world, "carol", AUCTION), 20, 0);
    let call = world.order(&capped(&world, "carol", AUCTION), 20 * CASH + 1, 0);
    world.refuses("OverTotal", "carol", world.at.offering, &call);
}

#[test]
fn more_cash_than_a_slot_holds_is_refused() {
    let mut world = World::new();
    for round in [FIXED, AUCTION, RISING] {
        let mut call = world.order(&world.permit("alice", round, 1), 0, 0);
        for cash in [U256::from(CASH_MAX) + U256::ONE, U256::from(1) << 64, U256::from(1) << 160, U256::MAX] {
            call.cash_ = cash;
            world.refuses("OutsideLimits", "alice", world.at.offering, &call);
        }
        call.cash_ = U256::from(CASH_MAX);
        world.refuses("ERC20InsufficientBalance", "alice", world.at.offering, &call);
    }
}

#[test]
fn a_tick_window_or_schedule_that_was_not_offered_is_refused() {
    let mut world = World::new();
    let permit = PurchasePermit { first: 2, last: 3, ..world.permit("alice", AUCTION, 1) };
    for (error, tick) in [("OutsidePermit", 1), ("OutsidePermit", 4)] {
        let call = world.order(&permit, CASH, tick);
        world.refuses(error, "alice", world.at.offering, &call);
    }
    for (round, tick) in [(FIXED, 1), (AUCTION, 64), (RISING, 1)] {
        let call = world.order(&world.permit("alice", round, 1), CASH, tick);
        world.refuses("NoSuchTick", "alice", world.at.offering, &call);
    }
    let windows = PurchasePermit { first: 1, last: 1, ..world.permit("alice", RISING, 1) };
    let call = world.order(&windows, CASH, 0);
    world.refuses("OutsidePermit", "alice", world.at.offering, &call);
    world.go_to(2 * DAY);
    world.refuses("OutsidePermit", "alice", world.at.offering, &call);
    for schedule in [2, 15, 16, 256] {
        let mut call = world.order(&world.permit("alice", FIXED, 1), CASH, 0);
        call.schedule = U256::from(schedule);
        world.refuses("ScheduleNotOffered", "alice", world.at.offering, &call);
    }
}

#[test]
fn an_old_generation_never_comes_back() {
    let mut world = World::new();
    let permit = world.permit("alice", FIXED, 1);
    let of = |generation| PurchasePermit { generation, ..permit.clone() };
    let refused = |world: &mut World, generation| {
        let signature = world.signed_by("attester", &of(generation));
        bid_is_refused("OldGeneration", world, &of(generation), signature);
    };
    world.does("issuer", world.at.offering, &set_attester("attester", 2));
    refused(&mut world, 1);
    world.does("issuer", world.at.offering, &set_attester("attester", 0));
    (0..=2).for_each(|generation| refused(&mut world, generation));
    for generation in [1, 2] {
        world.refuses("OldGeneration", "issuer", world.at.offering, &set_attester("attester", generation));
    }
    world.does("issuer", world.at.offering, &set_attester("attester", 3));
    (0..=2).for_each(|generation| refused(&mut world, generation));
    world.bids_under("alice", &of(3), 10, 0);
    world.does("issuer", world.at.offering, &set_attester("attester", u32::MAX));
    world.refuses("OldGeneration", "issuer", world.at.offering, &set_attester("attester", u32::MAX));
    refused(&mut world, 3);
}

#[test]
fn a_bid_stands_as_it_was_made() {
    let mut world = World::new();
    let permit = world.permit("alice", AUCTION, 1);
    world.bids_under("alice", &permit, 10, 5);
    let lower = world.order(&permit, 20 * CASH, 4);
    world.refuses("OnlyUp", "alice", world.at.offering, &lower);
    let mut other_schedule = world.order(&permit, 20 * CASH, 5);
    other_schedule.schedule = U256::ONE;
    world.refuses("BidChanged", "alice", world.at.offering, &other_schedule);
    for changed in
        [PurchasePermit { lock_class: 1, ..permit.clone() }, PurchasePermit { affiliate: true, ..permit }]
    {
        let call = world.order(&changed, 20 * CASH, 5);
        world.refuses("BidChanged", "alice", world.at.offering, &call);
    }
}

// ---- bids, clearing, withdrawing

#[test]
fn bids_are_taken_only_while_the_round_is_open() {
    let mut world = World::with(|offering, _| offering.rounds[usize::from(AUCTION)].open += DAY);
    let call = world.order(&world.permit("alice", AUCTION, 1), 10 * CASH, 0);
    world.refuses("NotOpen", "alice", world.at.offering, &call);
    world.go_to(CLOSE);
    world.refuses("NotOpen", "alice", world.at.offering, &call);
    let call = world.order(&world.permit("alice", 3, 1), 10 * CASH, 0);
    world.refuses("NoSuchRound", "alice", world.at.offering, &call);
}

#[test]
fn clearing_before_its_time_is_refused() {
    let mut world = World::new();
    world.bids("alice", FIXED, 1, 600, 0);
    for (round, last) in [(FIXED, CLEARABLE - 1), (AUCTION, CLOSE - 1), (RISING, CLOSE - 1)] {
        let mut world = World::new();
        world.go_to(last);
        world.refuses("TooEarlyToClear", "stranger", world.at.offering, &clear(round, 1));
    }
    world.go_to(CLEARABLE);
    world.refuses("NotCleared", "stranger", world.at.offering, &clear(RISING, 1)); // it follows another
    world.clears(FIXED);
    world.refuses("AlreadyCleared", "stranger", world.at.offering, &clear(FIXED, 1));
    world.refuses("NoSuchRound", "stranger", world.at.offering, &clear(3, 1));
}

#[test]
fn between_pieces_of_a_clearing_nothing_else_moves() {
    let mut world = World::new();
    let cooling =
        |world: &World, round| PurchasePermit { cooling_off: true, ..world.permit("alice", round, 1) };
    let mut ids = vec![world.bids("bob", FIXED, 2, 600, 0)];
    ids.push(world.bids_under("alice", &cooling(&world, AUCTION), 100, 9));
    ids.extend((3..9).map(|entity| world.bids("bob", AUCTION, entity, 100, u16::try_from(entity).unwrap())));
    for day in 0..9 {
        world.go_to(day * DAY);
        ids.push(world.bids("carol", RISING, 20, 10, 0));
    }
    ids.push(world.bids_under("alice", &cooling(&world, RISING), 10, 0));
    world.go_to(CLEARABLE);
    world.clears(FIXED);
    for round in [AUCTION, RISING] {
        for _ in 0..4 {
            world.does("stranger", world.at.offering, &clear(round, 1));
            let raised = world.order(&world.permit("bob", round, 3), 200 * CASH, 8);
            let late = world.order(&world.permit("mallory", round, 50), 200 * CASH, 0);
            world.refuses("NotOpen", "bob", world.at.offering, &raised);
            world.refuses("NotOpen", "mallory", world.at.offering, &late);
            world.refuses("NotOpen", "guardian", world.at.offering, &pause(round, 60));
            world.refuses("NotCleared", "stranger", world.at.offering, &sweep(round));
            for &id in ids.iter().filter(|id| id.round == round) {
                world.refuses("NotCleared", "stranger", world.at.offering, &settle(id));
                world.refuses("NotCleared", "stranger", world.at.offering, &refund(id));
                let alices = id.entity == 1;
                let error = if alices { "CoolingOffOver" } else { "NoCoolingOff" };
                let owner = if alices {
                    "alice"
                } else if round == AUCTION {
                    "bob"
                } else {
                    "carol"
                };
                world.refuses(error, owner, world.at.offering, &withdraw(id, owner));
            }
        }
        world.clears(round);
    }
    for id in ids {
        world.does("stranger", world.at.offering, &settle(id));
    }
}

#[test]
fn a_withdrawal_is_the_owners_in_time_and_once() {
    let mut world = World::new();
    let cooling = PurchasePermit { cooling_off: true, ..world.permit("alice", FIXED, 1) };
    let id = world.bids_under("alice", &cooling, 100, 0);
    let affiliate = PurchasePermit { affiliate: true, ..world.permit("bob", FIXED, 2) };
    let affiliate = world.bids_under("bob", &affiliate, 100, 0);
    let plain = world.bids("carol", FIXED, 3, 100, 0);
    let offering = world.at.offering;
    for name in ["bob", "issuer", "guardian", "attester"] {
        world.refuses("NotOwner", name, offering, &withdraw(id, name));
    }
    world.refuses("NoCoolingOff", "bob", offering, &withdraw(affiliate, "bob"));
    world.refuses("NoCoolingOff", "carol", offering, &withdraw(plain, "carol"));
    world.refuses("CoolingOffNotOver", "stranger", offering, &Offering::lapseCall { id: pack(id) });
    world.refuses("NoBid", "alice", offering, &withdraw(bid_id(FIXED, 9), "alice"));
    world.does("alice", offering, &withdraw(id, "alice"));
    world.refuses("NoBid", "alice", offering, &withdraw(id, "alice"));
    world.refuses("NothingToRefund", "alice", offering, &refund(id));
    let again = world.order(&world.permit("alice", FIXED, 1), 200 * CASH, 0);
    world.refuses("Withdrawn", "alice", offering, &again);
    world.go_to(CLEARABLE);
    world.clears(FIXED);
    world.refuses("NoBid", "stranger", offering, &settle(id));
}

#[test]
fn a_withdrawal_after_the_cooling_off_is_refused() {
    let mut world = World::new();
    let cooling = PurchasePermit { cooling_off: true, ..world.permit("alice", FIXED, 1) };
    let early = world.bids_under("alice", &cooling, 100, 0);
    world.go_to(2 * DAY);
    world.refuses("CoolingOffOver", "alice", world.at.offering, &withdraw(early, "alice"));
    let last_second = PurchasePermit { entity: 2, ..cooling.clone() };
    world.go_to(CLOSE - 1);
    let late = world.bids_under("alice", &last_second, 100, 0);
    world.go_to(CLEARABLE);
    world.refuses("CoolingOffOver", "alice", world.at.offering, &withdraw(late, "alice"));
    // Whoever got a permit with cooling-off in a round that has none may withdraw until it may be cleared.
    let mut world = World::new();
    let cooling = PurchasePermit { cooling_off: true, ..world.permit("alice", AUCTION, 1) };
    world.go_to(CLOSE - 1);
    let id = world.bids_under("alice", &cooling, 100, 0);
    world.go_to(CLOSE);
    world.refuses("CoolingOffOver", "alice", world.at.offering, &withdraw(id, "alice"));
}

#[test]
fn who_withdraws_from_one_window_may_not_come_back_in_the_next() {
    let mut world = World::new();
    let cooling = PurchasePermit { cooling_off: true, ..world.permit("alice", RISING, 1) };
    let id = world.bids_under("alice", &cooling, 100, 0);
    world.does("alice", world.at.offering, &withdraw(id, "alice"));
    world.go_to(DAY);
    let again = world.order(&cooling, 100 * CASH, 0);
    world.refuses("Withdrawn", "alice", world.at.offering, &again);
    for call in [withdraw(id.total(), "alice"), withdraw(BidId { window: 3, ..id }, "alice")] {
        world.refuses("NoBid", "alice", world.at.offering, &call);
    }
}

#[test]
fn no_more_may_be_withdrawable_at_once_than_the_plan_says() {
    let mut world = World::new();
    let cooling = |world: &World, name, entity| PurchasePermit {
        cooling_off: true,
        ..world.permit(name, FIXED, entity)
    };
    world.bids_under("alice", &cooling(&world, "alice", 1), 900, 0);
    for (cash, entity, name) in [(101, 2, "bob"), (1_001, 1, "alice")] {
        let call = world.order(&cooling(&world, name, entity), cash * CASH, 0);
        world.refuses("TooMuchWithdrawable", name, world.at.offering, &call);
    }
    let both = PurchasePermit { affiliate: true, ..cooling(&world, "bob", 2) };
    let call = world.order(&both, CASH, 0);
    world.refuses("AffiliateCoolingOff", "bob", world.at.offering, &call);
}

// ---- settling and refunds

#[test]
fn a_bid_is_settled_and_refunded_once() {
    let mut world = World::new();
    let offering = world.at.offering;
    let [alice, bob] = world.sold_out();
    world.does("stranger", offering, &settle(alice));
    world.refuses("AlreadySettled", "stranger", offering, &settle(alice));
    let before = world.cash_of(who("alice"));
    world.does("stranger", offering, &refund(alice));
    assert_eq!(world.cash_of(who("alice")) - before, 200 * CASH);
    world.refuses("NothingToRefund", "alice", offering, &refund(alice));
    world.does("stranger", offering, &refund(bob)); // settles on the way
    world.refuses("AlreadySettled", "stranger", offering, &settle(bob));
    world.refuses("NothingToRefund", "bob", offering, &refund(bob));
    world.refuses("NothingToSweep", "stranger", offering, &sweep(FIXED));
    assert_eq!(world.cash_of(offering), 0);
}

#[test]
fn an_entitys_total_is_no_bid() {
    let mut world = World::new();
    let offering = world.at.offering;
    let total = world.bids("alice", RISING, 1, 600, 0).total();
    world.go_to(CLEARABLE);
    world.clears(FIXED);
    world.clears(RISING);
    world.refuses("NoBid", "alice", offering, &settle(total));
    world.refuses("NothingToRefund", "alice", offering, &refund(total));
    world.refuses("NoCoolingOff", "alice", offering, &Offering::lapseCall { id: pack(total) });
    world.goes_live();
    world.refuses("NoBid", "alice", offering, &deliver(total));
    world.refuses("NotRefunding", "alice", world.at.treasury, &pot_refund(total));
}

#[test]
fn a_missed_soft_cap_returns_each_bid_once_and_nothing_else_works() {
    let mut world = World::new();
    let offering = world.at.offering;
    let id = world.bids("alice", FIXED, 1, 499, 0);
    let open = world.bids("bob", AUCTION, 2, 499, 0);
    world.go_to(CLEARABLE);
    world.clears(FIXED);
    world.does("stranger", offering, &settle(id));
    world.refuses("SoftCapNotMet", "issuer", offering, &sweep(FIXED));
    world.refuses("SoftCapNotMet", "certifier", offering, &attest(0));
    world.go_to(SOFT_CAP_DATE);
    world.refuses("SoftCapNotMet", "issuer", offering, &sweep(FIXED));
    world.refuses("SoftCapNotMet", "certifier", offering, &attest(0));
    world.refuses("Failed", "stranger", offering, &clear(AUCTION, 10));
    world.does("stranger", offering, &refund(id));
    world.does("stranger", offering, &refund(open));
    for id in [id, open] {
        world.refuses("NothingToRefund", "stranger", offering, &refund(id));
    }
    assert_eq!((world.cash_of(offering), world.cash_of(who("alice"))), (0, 100_000 * CASH));
}

/// The owner's signature for a payout, in the domain of the contract at `at` that calls itself `domain`.
fn payout(
    signer: &str,
    domain: &'static str,
    chain: u64,
    at: Address,
    id: BidId,
    payee: &str,
    expiry: u64,
) -> Bytes {
    let domain = alloy_sol_types::eip712_domain! {
        name: domain, version: "1", chain_id: chain, verifying_contract: at,
    };
    let payout = Payout { bid: pack(id), payee: who(payee), expiry: U40::from(expiry) };
    key(signer).sign(payout.eip712_signing_hash(&domain))
}

#[test]
fn a_refund_goes_elsewhere_only_as_the_owner_signed() {
    let mut world = World::new();
    let at = world.at.clone();
    let [alice, bob] = world.sold_out();
    let expiry = START + CLEARABLE + 60;
    let name = "Earnest Offering";
    let to = |id, payee, expiry, signature| Offering::refundToCall {
        id: pack(id),
        payee: who(payee),
        expiry: U256::from(expiry),
        signature,
    };
    let good = payout("alice", name, DEV_CHAIN_ID, at.offering, alice, "carol", expiry);
    let wrong = [
        payout("stranger", name, DEV_CHAIN_ID, at.offering, alice, "carol", expiry),
        payout("issuer", name, DEV_CHAIN_ID, at.offering, alice, "carol", expiry),
        payout("alice", name, 1, at.offering, alice, "carol", expiry),
        payout("alice", name, DEV_CHAIN_ID, at.treasury, alice, "carol", expiry),
        payout("alice", "Earnest Treasury", DEV_CHAIN_ID, at.treasury, alice, "carol", expiry),
        payout("alice", name, DEV_CHAIN_ID, at.offering, bob, "carol", expiry),
        payout("alice", name, DEV_CHAIN_ID, at.offering, alice, "mallory", expiry),
        payout("alice", name, DEV_CHAIN_ID, at.offering, alice, "carol", expiry + 1),
        good[..64].to_vec().into(),
        Bytes::new(),
    ];
    for signature in wrong {
        world.refuses("BadSignature", "mallory", at.offering, &to(alice, "carol", expiry, signature));
    }
    world.refuses("BadSignature", "mallory", at.offering, &to(bob, "carol", expiry, good.clone()));
    world.refuses("BadSignature", "mallory", at.offering, &to(alice, "mallory", expiry, good.clone()));
    world.refuses(
        "BadSignature",
        "mallory",
        at.offering,
        &to(bid_id(FIXED, 77), "mallory", expiry, good.clone()),
    );
    let before = world.cash_of(who("carol"));
    world.does("stranger", at.offering, &to(alice, "carol", expiry, good.clone()));
    assert_eq!(world.cash_of(who("carol")) - before, 200 * CASH);
    world.refuses("NothingToRefund", "mallory", at.offering, &to(alice, "carol", expiry, good.clone()));
    world.go_to(CLEARABLE + 61);
    world.refuses("Expired", "mallory", at.offering, &to(alice, "carol", expiry, good));
}

#[test]
fn the_treasury_refunds_as_it_should_and_once() {
    let mut world = World::new();
    let at = world.at.clone();
    let [alice, bob] = world.sold_out();
    world.refuses("NotRefunding", "alice", at.treasury, &pot_refund(alice));
    world.go_to(DEADLINE);
    world.refuses("NothingToRefund", "alice", at.treasury, &pot_refund(alice)); // not settled
    world.does("stranger", at.offering, &settle(alice));
    let expiry = START + DEADLINE + 60;
    let to = |id, payee, signature| Treasury::refundToCall {
        id: pack(id),
        payee: who(payee),
        expiry: U256::from(expiry),
        signature,
    };
    let name = "Earnest Treasury";
    for signature in [
        payout("alice", "Earnest Offering", DEV_CHAIN_ID, at.offering, alice, "carol", expiry),
        payout("alice", name, 1, at.treasury, alice, "carol", expiry),
        payout("alice", name, DEV_CHAIN_ID, at.treasury, bob, "carol", expiry),
        payout("stranger", name, DEV_CHAIN_ID, at.treasury, alice, "carol", expiry),
    ] {
        world.refuses("BadSignature", "mallory", at.treasury, &to(alice, "carol", signature));
    }
    let good = payout("alice", name, DEV_CHAIN_ID, at.treasury, alice, "carol", expiry);
    world.does("stranger", at.treasury, &to(alice, "carol", good.clone()));
    world.refuses("NothingToRefund", "mallory", at.treasury, &to(alice, "carol", good));
    world.refuses("NothingToRefund", "alice", at.treasury, &pot_refund(alice));
    world.refuses("NothingToRefund", "alice", at.treasury, &pot_refund(bid_id(FIXED, 77)));
    world.refuses("NothingToRefund", "alice", at.treasury, &pot_refund(bid_id(9, 1)));
}

#[test]
fn affiliates_are_not_paid_before_all_are_counted() {
    let mut world = World::new();
    let affiliate = PurchasePermit { affiliate: true, ..world.permit("carol", FIXED, 3) };
    let carol = world.bids_under("carol", &affiliate, 600, 0);
    let [alice, _] = world.sold_out();
    world.does("stranger", world.at.offering, &settle(alice));
    world.go_to(DEADLINE);
    world.refuses("AffiliatesUnsettled", "alice", world.at.treasury, &pot_refund(alice));
    world.does("stranger", world.at.offering, &settle(carol));
    world.does("stranger", world.at.treasury, &pot_refund(alice));
}

// ---- live and delivery

#[test]
fn nothing_is_delivered_before_live() {
    let mut world = World::new();
    let offering = world.at.offering;
    let [alice, bob] = world.sold_out();
    world.refuses("NotLive", "alice", offering, &deliver(alice));
    world.does("certifier", offering, &attest(0));
    let now = world.chain.time();
    world.chain.advance_to(now + NOTICE - 1);
    world.refuses("NotLive", "alice", offering, &deliver(alice));
    world.chain.advance_to(now + NOTICE);
    world.refuses("NothingToDeliver", "alice", offering, &deliver(alice)); // nothing has vested in this second
    world.chain.advance_to(now + NOTICE + 1);
    for name in ["bob", "issuer", "certifier", "stranger"] {
        world.refuses("NotOwner", name, offering, &deliver(alice));
    }
    world.refuses("NotOwner", "alice", offering, &deliver(bid_id(FIXED, 9)));
    world.does("alice", offering, &deliver(alice));
    assert_eq!(world.credits_of(who("alice")), 400 * CREDIT);
    world.refuses("NothingToDeliver", "alice", offering, &deliver(alice));
    world.does("bob", offering, &deliver(bob));
    world.refuses("NotRefunding", "alice", world.at.treasury, &pot_refund(alice));
}

#[test]
fn a_signed_delivery_is_good_for_one() {
    let mut world = World::new();
    let at = world.at.clone();
    let mut linear = world.order(&world.permit("alice", FIXED, 1), 600 * CASH, 0);
    linear.schedule = U256::ONE;
    world.does("alice", at.offering, &linear);
    let bob = world.bids("bob", FIXED, 2, 100, 0);
    let alice = bid_id(FIXED, 1);
    world.go_to(CLEARABLE);
    world.clears(FIXED);
    world.goes_live();
    let now = world.chain.time();
    world.chain.advance_to(now + 10 * DAY);
    let expiry = now + 20 * DAY;
    let sign = |signer: &str, name: &'static str, chain: u64, contract, id, delivered: u64, expiry: u64| {
        let domain = alloy_sol_types::eip712_domain! {
            name: name, version: "1", chain_id: chain, verifying_contract: contract,
        };
        let deliver = Deliver { bid: pack(id), delivered: U96::from(delivered), expiry: U40::from(expiry) };
        key(signer).sign(deliver.eip712_signing_hash(&domain))
    };
    let call =
        |id, signature| Offering::deliverForCall { id: pack(id), expiry: U256::from(expiry), signature };
    let name = "Earnest Offering";
    let good = sign("alice", name, DEV_CHAIN_ID, at.offering, alice, 0, expiry);
    for wrong in [
        sign("stranger", name, DEV_CHAIN_ID, at.offering, alice, 0, expiry),
        sign("issuer", name, DEV_CHAIN_ID, at.offering, alice, 0, expiry),
        sign("alice", name, 1, at.offering, alice, 0, expiry),
        sign("alice", name, DEV_CHAIN_ID, at.treasury, alice, 0, expiry),
        sign("alice", "Earnest Treasury", DEV_CHAIN_ID, at.offering, alice, 0, expiry),
        sign("alice", name, DEV_CHAIN_ID, at.offering, bob, 0, expiry),
        sign("alice", name, DEV_CHAIN_ID, at.offering, alice, 1, expiry),
        sign("alice", name, DEV_CHAIN_ID, at.offering, alice, 0, expiry + 1),
        payout("alice", name, DEV_CHAIN_ID, at.offering, alice, "mallory", expiry),
    ] {
        world.refuses("BadSignature", "mallory", at.offering, &call(alice, wrong));
    }
    world.refuses("BadSignature", "mallory", at.offering, &call(bob, good.clone()));
    world.does("mallory", at.offering, &call(alice, good.clone()));
    assert!(world.credits_of(who("alice")) > 0 && world.credits_of(who("mallory")) == 0);
    world.refuses("BadSignature", "mallory", at.offering, &call(alice, good.clone()));
    let now = world.chain.time();
    world.chain.advance_to(now + DAY); // more has vested, and the signature is still in its time
    world.refuses("BadSignature", "mallory", at.offering, &call(alice, good.clone()));
    world.chain.advance_to(expiry + 1);
    world.refuses("Expired", "mallory", at.offering, &call(alice, good));
}

// ---- those with a role

#[test]
fn an_issuer_cannot_help_itself() {
    let mut world = World::new();
    let at = world.at.clone();
    let id = world.bids("alice", FIXED, 1, 499, 0);
    world.refuses("NotGuardian", "issuer", at.offering, &pause(FIXED, 60));
    world.refuses("NotGuardian", "issuer", at.offering, &object(0));
    world.refuses("NotCertifier", "issuer", at.offering, &attest(0));
    world.refuses("NotCertifier", "issuer", at.offering, &attest(1));
    world.refuses("NotOwner", "issuer", at.offering, &withdraw(id, "issuer"));
    world.refuses(
        "NotMinter",
        "issuer",
        at.credit,
        &Credit::mintCall { to: who("issuer"), credits: U256::ONE },
    );
    world.refuses("NotCleared", "issuer", at.offering, &sweep(FIXED));
    world.go_to(CLEARABLE);
    world.clears(FIXED);
    world.refuses("SoftCapNotMet", "issuer", at.offering, &sweep(FIXED));
}

#[test]
fn an_issuer_that_is_its_own_attester_cannot_use_an_old_generation() {
    let mut world = World::new();
    for name in ["attester", "certifier", "guardian", "alice", "stranger"] {
        world.refuses("NotIssuer", name, world.at.offering, &set_attester("issuer", 1));
    }
    world.does("issuer", world.at.offering, &set_attester("issuer", 5));
    for generation in [0, 1, 4] {
        let permit = PurchasePermit { generation, ..world.permit("alice", FIXED, 1) };
        let signature = world.signed_by("issuer", &permit);
        bid_is_refused("OldGeneration", &mut world, &permit, signature);
    }
    for generation in [1, 4, 5] {
        world.refuses("OldGeneration", "issuer", world.at.offering, &set_attester("issuer", generation));
    }
}

#[test]
fn the_tap_gives_what_has_run_and_no_more() {
    let mut world = World::new();
    let treasury = world.at.treasury;
    world.sold_out();
    for name in ["alice", "guardian", "certifier", "stranger"] {
        world.refuses("NotIssuer", name, treasury, &draw(1, name));
    }
    world.refuses("NothingToDraw", "issuer", treasury, &draw(0, "issuer"));
    world.go_to(TAP_START - 1);
    world.refuses("OverTap", "issuer", treasury, &draw(1, "issuer"));
    world.go_to(TAP_START + 1_000);
    world.refuses("OverTap", "issuer", treasury, &draw(CASH + 1, "issuer"));
    world.does("issuer", treasury, &draw(CASH, "issuer"));
    world.refuses("OverTap", "issuer", treasury, &draw(1, "issuer"));
    // The ceiling is 100 until the milestone counts, then 300, and 1,000 only once live.
    world.go_to(DEADLINE - 10 * DAY);
    world.refuses("OverTap", "issuer", treasury, &draw(99 * CASH + 1, "issuer"));
    world.does("certifier", world.at.offering, &attest(1));
    world.refuses("OverTap", "issuer", treasury, &draw(99 * CASH + 1, "issuer"));
    world.go_to(DEADLINE - 8 * DAY);
    world.does("issuer", treasury, &draw(299 * CASH, "issuer"));
    world.refuses("OverTap", "issuer", treasury, &draw(1, "issuer"));
    world.go_to(DEADLINE);
    world.refuses("PastDeadline", "issuer", treasury, &draw(1, "issuer"));
}

#[test]
fn the_tap_gives_no_more_than_there_is() {
    let mut world = World::with(|_, treasury| treasury.ceiling_at_start = 5_000 * CASH);
    world.sold_out();
    world.go_to(DEADLINE - 1);
    world.refuses("OverPots", "issuer", world.at.treasury, &draw(1_000 * CASH + 1, "issuer"));
    world.does("issuer", world.at.treasury, &draw(1_000 * CASH, "issuer"));
    world.go_to(DEADLINE);
    world.refuses("PastDeadline", "issuer", world.at.treasury, &draw(1, "issuer"));
}

#[test]
fn the_guardian_pauses_within_its_budget_and_only_an_open_round() {
    let mut world = World::with(|offering, _| offering.rounds[usize::from(AUCTION)].open += DAY);
    let offering = world.at.offering;
    world.refuses("NotOpen", "guardian", offering, &pause(AUCTION, 60));
    world.refuses("NoSuchRound", "guardian", offering, &pause(3, 60));
    for name in ["issuer", "certifier", "attester", "alice"] {
        world.refuses("NotGuardian", name, offering, &pause(FIXED, 60));
    }
    world.go_to(3 * DAY);
    for secs in [U256::from(DAY + 1), U256::from(1) << 40, U256::MAX - U256::from(START), U256::MAX] {
        let call = Offering::pauseCall { index: U256::ZERO, secs };
        world.refuses("PauseTooLong", "guardian", offering, &call);
    }
    world.does("guardian", offering, &pause(FIXED, DAY / 2));
    let call = world.order(&world.permit("alice", FIXED, 1), CASH, 0);
    world.refuses("BidsPaused", "alice", offering, &call);
    world.go_to(3 * DAY + DAY / 4);
    world.refuses("PauseTooLong", "guardian", offering, &pause(FIXED, DAY / 2 + DAY / 4 + 1));
    world.does("guardian", offering, &pause(FIXED, DAY / 2 + DAY / 4));
    world.refuses("PauseTooLong", "guardian", offering, &pause(FIXED, DAY / 2 + DAY / 4 + 1));
    world.go_to(4 * DAY);
    world.does("alice", offering, &call);
    world.refuses("PauseTooLong", "guardian", offering, &pause(FIXED, 1));
    // The close has moved by the day that was used, and clearing with it.
    world.go_to(CLEARABLE);
    world.refuses("NotOpen", "guardian", offering, &pause(FIXED, 0));
    world.refuses("TooEarlyToClear", "stranger", offering, &clear(FIXED, 1));
    world.go_to(CLEARABLE + DAY);
    world.clears(FIXED);
}

#[test]
fn a_pause_ends_early_however_early_it_began() {
    let mut world = World::new();
    let offering = world.at.offering;
    world.go_to(60);
    world.does("guardian", offering, &pause(FIXED, DAY));
    world.go_to(3_660);
    world.does("guardian", offering, &pause(FIXED, 0));
    world.bids("alice", FIXED, 1, 10, 0);
    let round = world.asks(offering, &Offering::getRoundCall { index: U256::ZERO });
    assert_eq!((round.open.to::<u64>(), round.close.to::<u64>()), (START + 3_600, START + CLOSE + 3_600));
    assert_eq!(round.pauseLeft.to::<u64>(), DAY - 3_600);
}

/// Random pauses, prolonged, cut short and begun anew: a bid stands in the window of the time that bids were taken.
#[test]
fn the_clock_of_windows_stands_still_while_bids_are_paused() {
    const HOURS: u64 = 3_600;
    for seed in 0..40 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut world = World::with(|offering, _| {
            let round = &mut offering.rounds[usize::from(RISING)];
            round.pause_limit = 4 * DAY;
            let Sale::Rising { window_secs, windows, .. } = &mut round.sale else { unreachable!() };
            (*window_secs, *windows) = (4 * HOURS, 60);
        });
        let offering = world.at.offering;
        let (mut paused, mut until, mut left) = (0, START, 4 * DAY);
        for entity in 0..60 {
            let now = world.chain.time() + random.random_range(1..6 * HOURS);
            world.chain.advance_to(now);
            let close = START + CLOSE + paused;
            if now >= close {
                world.refuses("NotOpen", "guardian", offering, &pause(RISING, 0));
                break;
            }
            let call = world.order(&world.permit("alice", RISING, entity), CASH, 0);
            if now < until {
                world.refuses("BidsPaused", "alice", offering, &call);
            } else {
                world.does("alice", offering, &call);
                let window = u16::try_from((now - START - paused) / (4 * HOURS)).unwrap();
                let id = BidId { round: RISING, window, entity };
                let slot = world.asks(offering, &Offering::getBidCall { id: pack(id) });
                assert!(!slot.is_zero(), "seed {seed}: {id:?} at {now}");
            }
            if random.random_bool(0.3) {
                let unused = until.saturating_sub(now);
                let secs = random.random_range(0..=left + unused) / random.random_range(1..5);
                world.does("guardian", offering, &pause(RISING, secs));
                (paused, left, until) = (paused + secs - unused, left + unused - secs, now + secs);
            }
        }
        assert!(paused <= 4 * DAY);
    }
}

#[test]
fn the_guardian_objects_in_time_and_not_for_ever() {
    let mut world = World::new();
    let offering = world.at.offering;
    world.sold_out();
    world.refuses("NothingToObject", "guardian", offering, &object(0));
    world.refuses("NothingToObject", "guardian", offering, &object(200));
    for _ in 0..2 {
        world.does("certifier", offering, &attest(0));
        for name in ["issuer", "certifier", "alice"] {
            world.refuses("NotGuardian", name, offering, &object(0));
        }
        world.does("guardian", offering, &object(0));
        world.refuses("NothingToObject", "guardian", offering, &object(0));
    }
    world.does("certifier", offering, &attest(0));
    world.refuses("NoObjectionsLeft", "guardian", offering, &object(0));
    let now = world.chain.time();
    world.does("certifier", offering, &attest(1));
    world.chain.advance_to(now + NOTICE);
    world.refuses("NothingToObject", "guardian", offering, &object(1));
    for (error, call) in [("NotCertifier", attest(0)), ("NotCertifier", attest(1))] {
        world.refuses(error, "guardian", offering, &call);
    }
    world.refuses("NotIssuer", "guardian", offering, &set_attester("guardian", 1));
    world.refuses("NotIssuer", "guardian", world.at.treasury, &draw(1, "guardian"));
}

#[test]
fn the_certifier_attests_once_in_time_and_only_what_there_is() {
    let mut world = World::new();
    let offering = world.at.offering;
    world.sold_out();
    for subject in [2, 255] {
        world.refuses("NoSuchSubject", "certifier", offering, &attest(subject));
    }
    world.go_to(DEADLINE - NOTICE + 1);
    world.refuses("AfterDeadline", "certifier", offering, &attest(0));
    world.go_to(DEADLINE);
    world.refuses("AfterDeadline", "certifier", offering, &attest(0));

    let mut world = World::new();
    world.sold_out();
    world.does("certifier", offering, &attest(0));
    world.refuses("AlreadyAttested", "certifier", offering, &attest(0));
    world.go_to(DEADLINE + DAY);
    world.refuses("AlreadyAttested", "certifier", offering, &attest(0));
    world.refuses("NotRefunding", "alice", world.at.treasury, &pot_refund(bid_id(FIXED, 1)));
}

// ---- around the doors

#[test]
fn contracts_take_orders_only_from_each_other() {
    let mut world = World::new();
    let at = world.at.clone();
    let [alice, _] = world.sold_out();
    for name in ["issuer", "certifier", "guardian", "attester", "alice", "deployer"] {
        let deposit = Treasury::depositCall { class: U256::ZERO, amount: U256::ZERO };
        world.refuses("NotOffering", name, at.treasury, &deposit);
        world.refuses("NotMinter", name, at.credit, &Credit::mintCall { to: who(name), credits: U256::ONE });
    }
    world.goes_live();
    let now = world.chain.time();
    world.chain.advance_to(now + 1);
    world.does("alice", at.offering, &deliver(alice));
    let value = U256::from(CREDIT);
    for (error, from) in
        [("ERC20InsufficientAllowance", who("alice")), ("ERC20InsufficientAllowance", at.offering)]
    {
        world.refuses(error, "mallory", at.credit, &Credit::burnFromCall { account: from, value });
        world.refuses(
            error,
            "mallory",
            at.credit,
            &Credit::transferFromCall { from, to: who("mallory"), value },
        );
    }
    world.refuses("ERC20InsufficientBalance", "mallory", at.credit, &Credit::burnCall { value });
}

/// The whole raise with three backers, with or without gifts to the contracts on the way.
fn raise_to_the_end(gifts: bool) -> (World, Everything) {
    let mut world = World::new();
    let at = world.at.clone();
    let give = |world: &mut World, coin: Address, units: u64| {
        for to in [at.offering, at.treasury, at.vault, at.credit, at.cash] {
            if gifts {
                world.does("mallory", coin, &DevCash::transferCall { to, value: U256::from(units) });
            }
        }
    };
    give(&mut world, at.cash, 777);
    let carol = world.bids("carol", AUCTION, 3, 2_000, 5);
    give(&mut world, at.cash, 777 * CASH);
    let mallory = world.bids("mallory", FIXED, 4, 100, 0);
    let [alice, bob] = world.sold_out();
    world.clears(AUCTION);
    world.clears(RISING);
    give(&mut world, at.cash, 777 * CASH);
    world.sweeps(AUCTION);
    world.goes_live();
    let now = world.chain.time();
    world.chain.advance_to(now + 1);
    world.does("mallory", at.offering, &deliver(mallory));
    give(&mut world, at.credit, 777);
    for (name, id) in [("alice", alice), ("bob", bob), ("carol", carol)] {
        world.does(name, at.offering, &deliver(id));
        if name != "carol" {
            world.does(name, at.offering, &refund(id));
        }
    }
    world.go_to(DEADLINE);
    world.does("issuer", at.treasury, &draw(900 * CASH, "issuer"));
    let everything = world.everything();
    let ours =
        everything.into_iter().filter(|((of, _), _)| [at.offering, at.treasury].contains(of)).collect();
    (world, ours)
}

#[test]
fn gifts_to_the_contracts_change_nothing_in_their_books() {
    let (mut with, gifted) = raise_to_the_end(true);
    let (mut without, plain) = raise_to_the_end(false);
    assert!(gifted == plain);
    let names = ["alice", "bob", "carol", "issuer"];
    let ends = |world: &mut World| names.map(|name| (world.cash_of(who(name)), world.credits_of(who(name))));
    assert_eq!(ends(&mut with), ends(&mut without));
}

#[test]
fn a_setup_that_cannot_work_is_not_deployed() {
    let ladder = |knots: &[(u64, u128)]| {
        Ladder::new(knots.iter().map(|&(weight, credits)| Knot { weight, credits }).collect())
            .expect("rising")
    };
    fn rising(setup: &mut OfferingSetup, change: impl FnOnce(&mut u64, &mut Option<u8>, &mut Ladder)) {
        let Sale::Rising { window_secs, follows, ladder, .. } = &mut setup.rounds[usize::from(RISING)].sale
        else {
            unreachable!("the third round rises")
        };
        change(window_secs, follows, ladder);
    }
    fn auction(setup: &mut OfferingSetup) -> (&mut earnest_core::clearing::Prices, &mut u16) {
        match &mut setup.rounds[usize::from(AUCTION)].sale {
            Sale::Auction { prices, ticks } => (prices, ticks),
            _ => unreachable!("the second round is an auction"),
        }
    }
    type Change = Box<dyn FnOnce(&mut OfferingSetup)>;
    let cases: Vec<(u64, Change)> = vec![
        (0, Box::new(|setup| setup.rounds.clear())),
        (0, Box::new(|setup| setup.rounds = vec![setup.rounds[0].clone(); 9])),
        (1, Box::new(|setup| setup.certifier = setup.issuer)),
        (2, Box::new(|setup| setup.discounts[1] = Bps::new(9_001).unwrap())),
        (100, Box::new(|setup| setup.rounds[0].close = setup.rounds[0].open)),
        (101, Box::new(|setup| *auction(setup).1 = 0)),
        (101, Box::new(|setup| *auction(setup).1 = 4_097)),
        (201, Box::new(|setup| auction(setup).0.floor = 0)),
        (201, Box::new(|setup| auction(setup).0.supply = 0)),
        (202, Box::new(|setup| rising(setup, |window_secs, _, _| *window_secs = 0))),
        (202, Box::new(|setup| rising(setup, |window_secs, _, _| *window_secs = DAY - 1))),
        (202, Box::new(|setup| setup.rounds[usize::from(RISING)].close += 1)),
        (302, Box::new(|setup| rising(setup, |_, follows, _| *follows = Some(2)))),
        (302, Box::new(|setup| rising(setup, |_, follows, _| *follows = Some(254)))),
        (401, Box::new(|setup| auction(setup).0.step = u64::MAX / 63)),
        (600, Box::new(|setup| setup.rounds[0].schedules = 0b111)),
        (602, Box::new(|setup| setup.rounds[2].schedules = 0x8000)),
        (502, Box::new(move |setup| rising(setup, |_, _, at| *at = ladder(&[(1, 0), (2, 1)])))),
    ];
    for (place, change) in cases {
        let made = World::deploy(|offering, _| change(offering), |_| coins(None));
        let error = made.err().unwrap_or_else(|| panic!("BadSetup({place}) was deployed"));
        let DeployError::Chain(step, error) = error else { panic!("{error}") };
        assert_eq!(step, "offering");
        assert_eq!(error.to_string(), format!("refused: BadSetup {{ place: {place} }}"));
    }
}

/// A rising round whose ladder is not there could never be cleared.
#[test]
fn a_rising_round_without_a_ladder_is_not_deployed() {
    let mut world = World::new();
    let empty = world.chain.send(
        who("deployer"),
        TxKind::Create,
        [LadderData::BYTECODE.as_ref(), &LadderData::constructorCall { knots: Bytes::new() }.abi_encode()]
            .concat()
            .into(),
    );
    let empty = empty.expect("deploys").created.expect("a contract");
    for ladder in [Address::ZERO, who("issuer"), empty] {
        let setup = bare_setup(ladder);
        let code = [Offering::BYTECODE.as_ref(), &Offering::constructorCall { setup }.abi_encode()].concat();
        let error = world.chain.send(who("deployer"), TxKind::Create, code.into()).expect_err("is refused");
        assert_eq!(error.to_string(), "refused: BadSetup { place: 500 }");
    }
}

/// One rising round of a day.
fn bare_setup(ladder: Address) -> Offering::OfferingSetup {
    let round = Offering::RoundSetup {
        kind: 3,
        firstCome: false,
        coolingOffDays: 0,
        follows: 255,
        ticks: 1,
        schedules: 1,
        open: U40::from(START),
        close: U40::from(START + DAY),
        pauseLimit: U24::ZERO,
        supply: U96::ZERO,
        price: 0,
        step: 0,
        windowSecs: u32::try_from(DAY).unwrap(),
        windowCap: 1,
        cap: 1,
        start: 0,
        withdrawableMost: 0,
        ladder,
    };
    Offering::OfferingSetup {
        cash: Address::ZERO,
        credit: Address::ZERO,
        treasury: Address::ZERO,
        vault: Address::ZERO,
        issuer: who("issuer"),
        certifier: who("certifier"),
        guardian: who("guardian"),
        termsHash: B256::ZERO,
        softCap: 0,
        softCapDate: U40::ZERO,
        deadline: U40::ZERO,
        notice: 0,
        objections: 0,
        milestones: 0,
        discounts: U256::ZERO,
        locks: U256::ZERO,
        schedules: vec![U256::ZERO],
        attesters: Vec::new(),
        rounds: vec![round],
    }
}
