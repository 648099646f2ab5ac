//! LOCK-1: locked credits leave their vault into a channel of the service or, after the lock, to the owner. Whatever
//! else is tried reverts or is answered no.

use alloy_primitives::aliases::U40;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, hex, keccak256};
use alloy_sol_types::{Eip712Domain, SolConstructor, SolStruct, SolValue, eip712_domain, sol};
use earnest_chain::bindings::{Credit, DevCash, Offering, Vault};
use earnest_chain::deploy::{Deployment, X402_COLLECTOR, X402_SETTLEMENT};
use earnest_chain::embedded::DEV_CHAIN_ID;
use earnest_chain::story::pack;
use earnest_core::bid::BidId;
use earnest_core::offering::DAY;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::story::START;
use crate::world::*;

sol! {
    #[derive(Debug, PartialEq)]
    struct ChannelConfig {
        address payer;
        address payerAuthorizer;
        address receiver;
        address receiverAuthorizer;
        address token;
        uint40 withdrawDelay;
        bytes32 salt;
    }

    #[derive(Debug, PartialEq)]
    struct DepositProof {
        ChannelConfig channel;
        uint256 salt;
        uint256 value;
        uint256 validAfter;
        uint256 validBefore;
        bytes ownerSignature;
    }

    #[derive(Debug)]
    struct ReceiveWithAuthorization {
        address from;
        address to;
        uint256 value;
        uint256 validAfter;
        uint256 validBefore;
        bytes32 nonce;
    }

    #[derive(Debug)]
    struct TransferWithAuthorization {
        address from;
        address to;
        uint256 value;
        uint256 validAfter;
        uint256 validBefore;
        bytes32 nonce;
    }

    #[derive(Debug)]
    struct CancelAuthorization {
        address authorizer;
        bytes32 nonce;
    }

    #[derive(Debug)]
    struct Permit {
        address owner;
        address spender;
        uint256 value;
        uint256 nonce;
        uint256 deadline;
    }
}

/// How long the lock of class 1 is.
pub(crate) const LOCK: u64 = 365 * DAY;
/// What each vault holds.
pub(crate) const HELD: u128 = 100 * CREDIT;

/// A locked position of 100 credits for each owner, delivered into its vault.
pub(crate) fn locked(world: &mut World, owners: &[Address]) -> Vec<Address> {
    let at = world.at.clone();
    let mut ids: Vec<BidId> = Vec::new();
    for (entity, &owner) in (1..).zip(owners) {
        world.does("deployer", at.cash, &DevCash::mintCall { to: owner, units: U256::from(100 * CASH) });
        let approve = DevCash::approveCall { spender: at.offering, value: U256::MAX };
        world.send(owner, at.cash, &approve).expect("approves");
        let mut permit = world.permit("alice", FIXED, entity);
        (permit.wallet, permit.lock_class) = (owner, 1);
        let bid = world.order(&permit, 100 * CASH, 0);
        world.send(owner, at.offering, &bid).expect("bids");
        ids.push(bid_id(FIXED, entity));
    }
    world.bids("bob", FIXED, 66, 1_000 - 100 * owners.len() as u64, 0); // all is sold, and none pro rata
    world.go_to(CLEARABLE);
    world.clears(FIXED);
    world.goes_live();
    let now = world.chain.time();
    world.chain.advance_to(now + 1);
    let vaults = ids.iter().zip(owners).map(|(&id, &owner)| {
        world.send(owner, at.offering, &deliver(id)).expect("delivers");
        let vault = world.asks(at.offering, &Offering::vaultOfCall { id: pack(id) });
        assert_eq!(world.credits_of(vault), HELD);
        vault
    });
    vaults.collect()
}

/// A world, and alice's vault.
fn alices() -> (World, Address) {
    let mut world = World::new();
    let vault = locked(&mut world, &[who("alice")])[0];
    (world, vault)
}

fn credit_domain(at: &Deployment) -> Eip712Domain {
    eip712_domain! {
        name: "Credit", version: "1", chain_id: DEV_CHAIN_ID, verifying_contract: at.credit,
    }
}

/// A deposit of 10 credits into a channel of the service, not signed yet.
fn deposit(at: &Deployment, vault: Address) -> DepositProof {
    DepositProof {
        channel: ChannelConfig {
            payer: vault,
            payerAuthorizer: who("alice"),
            receiver: at.revenue,
            receiverAuthorizer: at.revenue,
            token: at.credit,
            withdrawDelay: U40::from(DAY),
            salt: B256::repeat_byte(3),
        },
        salt: U256::from(5),
        value: U256::from(10 * CREDIT),
        validAfter: U256::ZERO,
        validBefore: U256::from(START + 2 * LOCK),
        ownerSignature: Bytes::new(),
    }
}

fn nonce(deposit: &DepositProof) -> B256 {
    let channel = deposit.channel.eip712_signing_hash(&eip712_domain! {
        name: "x402 Batch Settlement",
        version: "1",
        chain_id: DEV_CHAIN_ID,
        verifying_contract: X402_SETTLEMENT,
    });
    keccak256((channel, deposit.salt).abi_encode())
}

/// What the collector asks the credit to move for a deposit.
fn authorization(from: Address, deposit: &DepositProof) -> ReceiveWithAuthorization {
    ReceiveWithAuthorization {
        from,
        to: X402_COLLECTOR,
        value: deposit.value,
        validAfter: deposit.validAfter,
        validBefore: deposit.validBefore,
        nonce: nonce(deposit),
    }
}

fn digest(at: &Deployment, from: Address, deposit: &DepositProof) -> B256 {
    authorization(from, deposit).eip712_signing_hash(&credit_domain(at))
}

fn signed(at: &Deployment, name: &str, vault: Address, deposit: DepositProof) -> DepositProof {
    DepositProof { ownerSignature: key(name).sign(digest(at, vault, &deposit)), ..deposit }
}

/// What the vault says to a digest and a proof. A revert is a no.
fn answers(world: &mut World, vault: Address, hash: B256, proof: Vec<u8>) -> bool {
    let call = Vault::isValidSignatureCall { digest: hash, proof: proof.into() };
    let answer = world.chain.call(X402_COLLECTOR, vault, alloy_sol_types::SolCall::abi_encode(&call).into());
    match answer {
        Ok(answer) => {
            assert!(answer[4..].iter().all(|&byte| byte == 0) && answer.len() == 32);
            match answer[..4] {
                [0x16, 0x26, 0xba, 0x7e] => true,
                [0xff, 0xff, 0xff, 0xff] => false,
                _ => panic!("neither yes nor no: {answer}"),
            }
        }
        Err(_) => false,
    }
}

/// The deposit collector's pull.
fn pull(from: Address, deposit: &DepositProof, signature: Vec<u8>) -> Credit::receiveWithAuthorization_0Call {
    let ReceiveWithAuthorization { from, to, value, validAfter, validBefore, nonce } =
        authorization(from, deposit);
    Credit::receiveWithAuthorization_0Call {
        from,
        to,
        value,
        validAfter,
        validBefore,
        nonce,
        signature: signature.into(),
    }
}

/// A contract of a few bytes.
pub(crate) fn contract(world: &mut World, code: &[u8]) -> Address {
    let size = u8::try_from(code.len()).expect("a few bytes");
    let init = [&[0x60, size, 0x80, 0x60, 9, 0x5f, 0x39, 0x5f, 0xf3], code].concat();
    world
        .chain
        .send(who("deployer"), TxKind::Create, init.into())
        .expect("deploys")
        .created
        .expect("a contract")
}

/// Wallets by code: what each answers to EIP-1271.
pub(crate) const SAYS_YES: &[u8] = &hex!("631626ba7e60e01b5f5260205ff3");
const SAYS_NO: [(&str, &[u8]); 6] = [
    ("no", &hex!("63ffffffff60e01b5f5260205ff3")),
    ("a yes of four bytes", &hex!("631626ba7e60e01b5f5260045ff3")),
    ("a yes in the wrong place", &hex!("631626ba7e5f5260205ff3")),
    ("nothing", &hex!("00")),
    ("by reverting", &hex!("5f5ffd")),
    ("never", &hex!("5b5f56")),
];

#[test]
fn a_deposit_that_the_owner_signed_goes_into_the_channel_once() {
    let (mut world, vault) = alices();
    let at = world.at.clone();
    let credit = at.credit;
    let good = signed(&at, "alice", vault, deposit(&at, vault));
    assert!(answers(&mut world, vault, digest(&at, vault, &good), good.abi_encode()));
    let call = pull(vault, &good, good.abi_encode());
    for name in ["alice", "issuer", "gateway", "stranger"] {
        world.refuses("ERC20InvalidReceiver", name, credit, &call);
    }
    world.send(X402_COLLECTOR, credit, &call).expect("pulls");
    assert_eq!(world.credits_of(vault), HELD - 10 * CREDIT);
    assert_eq!(world.credits_of(X402_COLLECTOR), 10 * CREDIT);
    world.refuses_from("ERC3009UsedAuthorization", X402_COLLECTOR, credit, &call);

    let next = DepositProof { salt: U256::from(6), ..deposit(&at, vault) };
    world.refuses_from(
        "ERC3009InvalidSignature",
        X402_COLLECTOR,
        credit,
        &pull(vault, &next, good.abi_encode()),
    );
    let too_much = DepositProof { value: U256::from(HELD), ..next.clone() };
    let too_much = signed(&at, "alice", vault, too_much);
    let call = pull(vault, &too_much, too_much.abi_encode());
    world.refuses_from("ERC20InsufficientBalance", X402_COLLECTOR, credit, &call);
    for (after, before) in [(START + 2 * LOCK, START + 3 * LOCK), (0, START)] {
        let late =
            DepositProof { validAfter: U256::from(after), validBefore: U256::from(before), ..next.clone() };
        let late = signed(&at, "alice", vault, late);
        let call = pull(vault, &late, late.abi_encode());
        world.refuses_from("ERC3009InvalidAuthorizationTime", X402_COLLECTOR, credit, &call);
    }
    let next = signed(&at, "alice", vault, next);
    world.send(X402_COLLECTOR, credit, &pull(vault, &next, next.abi_encode())).expect("pulls the next");
    assert_eq!(world.credits_of(vault), HELD - 20 * CREDIT);
}

#[test]
fn no_one_but_the_owner_signs_for_a_vault() {
    let (mut world, vault) = alices();
    let at = world.at.clone();
    for name in ["bob", "issuer", "gateway", "attester", "certifier", "stranger", "deployer"] {
        let proof = signed(&at, name, vault, deposit(&at, vault));
        let call = pull(vault, &proof, proof.abi_encode());
        world.refuses_from("ERC3009InvalidSignature", X402_COLLECTOR, at.credit, &call);
    }
    let unsigned = deposit(&at, vault);
    let call = pull(vault, &unsigned, unsigned.abi_encode());
    world.refuses_from("ERC3009InvalidSignature", X402_COLLECTOR, at.credit, &call);
}

/// A part of a deposit that is set wrong.
type Change = (&'static str, fn(&mut DepositProof, &Deployment));

/// Channels that are not the service's, or not the vault's.
const WRONG_CHANNELS: [Change; 10] = [
    ("paid by the owner", |proof, _| proof.channel.payer = who("alice")),
    ("paid by no one", |proof, _| proof.channel.payer = Address::ZERO),
    ("to the owner", |proof, _| proof.channel.receiver = who("alice")),
    ("to no one", |proof, _| proof.channel.receiver = Address::ZERO),
    ("claimed by the owner", |proof, _| proof.channel.receiverAuthorizer = who("alice")),
    ("claimed by no one", |proof, _| proof.channel.receiverAuthorizer = Address::ZERO),
    ("in cash", |proof, at| proof.channel.token = at.cash),
    ("in nothing", |proof, _| proof.channel.token = Address::ZERO),
    ("paid by the service", |proof, at| proof.channel.payer = at.revenue),
    ("to the vault's code", |proof, at| {
        (proof.channel.receiver, proof.channel.receiverAuthorizer) = (at.vault, at.vault);
    }),
];

#[test]
fn a_channel_that_is_not_the_services_is_refused_whoever_signs() {
    let mut world = World::new();
    let at = world.at.clone();
    let yes = contract(&mut world, SAYS_YES);
    let vaults = locked(&mut world, &[who("alice"), yes]);
    for vault in vaults {
        let good = signed(&at, "alice", vault, deposit(&at, vault));
        assert!(answers(&mut world, vault, digest(&at, vault, &good), good.abi_encode()));
        for (what, change) in WRONG_CHANNELS {
            let mut wrong = deposit(&at, vault);
            change(&mut wrong, &at);
            let wrong = signed(&at, "alice", vault, wrong);
            assert!(!answers(&mut world, vault, digest(&at, vault, &wrong), wrong.abi_encode()), "{what}");
            // The same in a digest that names the wrong payer.
            let from = wrong.channel.payer;
            assert!(!answers(&mut world, vault, digest(&at, from, &wrong), wrong.abi_encode()), "{what}");
            let call = pull(vault, &wrong, wrong.abi_encode());
            world.refuses_from("ERC3009InvalidSignature", X402_COLLECTOR, at.credit, &call);
        }
    }
}

#[test]
fn a_proof_of_one_deposit_is_none_of_another() {
    let mut world = World::new();
    let at = world.at.clone();
    let yes = contract(&mut world, SAYS_YES);
    let vaults = locked(&mut world, &[who("alice"), yes]);
    let changes: [Change; 10] = [
        ("salt", |proof, _| proof.salt += U256::ONE),
        ("value", |proof, _| proof.value += U256::ONE),
        ("less", |proof, _| proof.value -= U256::ONE),
        ("validAfter", |proof, _| proof.validAfter += U256::ONE),
        ("validBefore", |proof, _| proof.validBefore += U256::ONE),
        ("payerAuthorizer", |proof, _| proof.channel.payerAuthorizer = who("bob")),
        ("withdrawDelay", |proof, _| proof.channel.withdrawDelay = U40::from(1)),
        ("channel salt", |proof, _| proof.channel.salt = B256::ZERO),
        ("receiver", |proof, _| proof.channel.receiver = who("alice")),
        ("token", |proof, at| proof.channel.token = at.cash),
    ];
    for (index, &vault) in vaults.iter().enumerate() {
        let good = signed(&at, "alice", vault, deposit(&at, vault));
        for (what, change) in changes {
            let mut other = good.clone();
            change(&mut other, &at);
            let (of_good, of_other) = (digest(&at, vault, &good), digest(&at, vault, &other));
            assert!(!answers(&mut world, vault, of_other, good.abi_encode()), "{what}");
            assert!(!answers(&mut world, vault, of_good, other.abi_encode()), "{what}");
        }
        let other_vault = vaults[1 - index];
        assert!(!answers(&mut world, other_vault, digest(&at, vault, &good), good.abi_encode()));
        assert!(!answers(&mut world, other_vault, digest(&at, other_vault, &good), good.abi_encode()));
    }
}

#[test]
fn a_vault_says_yes_to_no_other_digest() {
    let mut world = World::new();
    let at = world.at.clone();
    let yes = contract(&mut world, SAYS_YES);
    let vault = locked(&mut world, &[yes])[0];
    let good = deposit(&at, vault);
    let domain = credit_domain(&at);
    let moved = authorization(vault, &good);
    let elsewhere = |to| ReceiveWithAuthorization { to, ..authorization(vault, &good) };
    let transfer = TransferWithAuthorization {
        from: vault,
        to: X402_COLLECTOR,
        value: moved.value,
        validAfter: moved.validAfter,
        validBefore: moved.validBefore,
        nonce: moved.nonce,
    };
    let permit = Permit {
        owner: vault,
        spender: X402_COLLECTOR,
        value: moved.value,
        nonce: U256::ZERO,
        deadline: moved.validBefore,
    };
    let cancel = CancelAuthorization { authorizer: vault, nonce: moved.nonce };
    let mut on_mainnet = domain.clone();
    on_mainnet.chain_id = Some(U256::from(1));
    let mut of_cash = domain.clone();
    of_cash.verifying_contract = Some(at.cash);
    let mut others = vec![
        B256::ZERO,
        B256::repeat_byte(0xff),
        moved.nonce,
        moved.eip712_hash_struct(),
        good.channel.eip712_hash_struct(),
        transfer.eip712_signing_hash(&domain),
        permit.eip712_signing_hash(&domain),
        cancel.eip712_signing_hash(&domain),
        moved.eip712_signing_hash(&on_mainnet),
        moved.eip712_signing_hash(&of_cash),
    ];
    for to in [yes, who("alice"), at.revenue, X402_SETTLEMENT, vault, at.credit, Address::ZERO] {
        others.push(elsewhere(to).eip712_signing_hash(&domain));
    }
    assert!(answers(&mut world, vault, digest(&at, vault, &good), good.abi_encode()));
    for other in others {
        assert!(!answers(&mut world, vault, other, good.abi_encode()));
    }
}

#[test]
fn the_owners_own_signatures_move_nothing() {
    let (mut world, vault) = alices();
    let at = world.at.clone();
    let credit = at.credit;
    let (domain, alice) = (credit_domain(&at), who("alice"));
    #[expect(non_snake_case, reason = "the fields' names")]
    let (value, validAfter, validBefore, nonce) =
        (U256::from(CREDIT), U256::ZERO, U256::from(START + 2 * LOCK), B256::repeat_byte(9));
    for (from, to) in [(vault, alice), (vault, X402_COLLECTOR)] {
        let transfer = TransferWithAuthorization { from, to, value, validAfter, validBefore, nonce };
        let receive = ReceiveWithAuthorization { from, to, value, validAfter, validBefore, nonce };
        let [transfer_signature, receive_signature] =
            [transfer.eip712_signing_hash(&domain), receive.eip712_signing_hash(&domain)]
                .map(|hash| key("alice").sign(hash));
        let parts = |signature: &Bytes| {
            (signature[64], B256::from_slice(&signature[..32]), B256::from_slice(&signature[32..64]))
        };
        let bad = "ERC3009InvalidSignature";
        let (v, r, s) = parts(&transfer_signature);
        let call = Credit::transferWithAuthorization_1Call {
            from,
            to,
            value,
            validAfter,
            validBefore,
            nonce,
            v,
            r,
            s,
        };
        world.refuses_from(bad, to, credit, &call);
        let (v, r, s) = parts(&receive_signature);
        let call = Credit::receiveWithAuthorization_1Call {
            from,
            to,
            value,
            validAfter,
            validBefore,
            nonce,
            v,
            r,
            s,
        };
        world.refuses_from(bad, to, credit, &call);
        let mut proof = deposit(&at, vault);
        proof.ownerSignature = transfer_signature.clone();
        for signature in [transfer_signature, proof.abi_encode().into()] {
            let call = Credit::transferWithAuthorization_0Call {
                from,
                to,
                value,
                validAfter,
                validBefore,
                nonce,
                signature,
            };
            world.refuses_from(bad, to, credit, &call);
        }
        proof.ownerSignature = receive_signature.clone();
        for signature in [receive_signature, proof.abi_encode().into()] {
            let call = Credit::receiveWithAuthorization_0Call {
                from,
                to,
                value,
                validAfter,
                validBefore,
                nonce,
                signature,
            };
            world.refuses_from(bad, to, credit, &call);
        }
    }
    let permit = Permit { owner: vault, spender: alice, value, nonce: U256::ZERO, deadline: validBefore };
    let signature = key("alice").sign(permit.eip712_signing_hash(&domain));
    let call = Credit::permitCall {
        owner: vault,
        spender: alice,
        value,
        deadline: validBefore,
        v: signature[64],
        r: B256::from_slice(&signature[..32]),
        s: B256::from_slice(&signature[32..64]),
    };
    world.refuses("ERC2612InvalidSigner", "alice", credit, &call);
    let transfer = Credit::transferFromCall { from: vault, to: alice, value };
    let burn = Credit::burnFromCall { account: vault, value };
    for name in ["alice", "issuer", "deployer"] {
        world.refuses("ERC20InsufficientAllowance", name, credit, &transfer);
        world.refuses("ERC20InsufficientAllowance", name, credit, &burn);
    }
    world.refuses_from("ERC20InsufficientAllowance", at.offering, credit, &transfer);
    world.refuses_from("ERC20InsufficientAllowance", at.vault, credit, &transfer);
    world.refuses_from("ERC20InsufficientAllowance", X402_SETTLEMENT, credit, &transfer);
}

#[test]
fn a_vault_has_no_other_door() {
    let (mut world, vault) = alices();
    let at = world.at.clone();
    let signatures = [
        "initialize()",
        "initialize(address)",
        "initialize(address,uint256)",
        "upgradeTo(address)",
        "upgradeToAndCall(address,bytes)",
        "setOwner(address)",
        "transferOwnership(address)",
        "execute(address,uint256,bytes)",
        "call(address,bytes)",
        "multicall(bytes[])",
        "approve(address,uint256)",
        "transfer(address,uint256)",
        "withdraw(address,uint256)",
        "sweep(address)",
        "burn(uint256)",
        "release(address)",
    ];
    let argument = who("alice").into_word();
    let mut selectors: Vec<[u8; 4]> =
        signatures.iter().map(|text| keccak256(text)[..4].try_into().unwrap()).collect();
    let mut random = ChaCha8Rng::seed_from_u64(1);
    selectors.extend((0..100).map(|_| random.random::<u32>().to_be_bytes()));
    for place in [vault, at.vault] {
        for selector in &selectors {
            let data = [&selector[..], &argument[..], &argument[..], &argument[..]].concat();
            assert!(world.chain.send(who("alice"), TxKind::Call(place), data.into()).is_err());
        }
        assert!(world.chain.send(who("alice"), TxKind::Call(place), Bytes::new()).is_err());
        assert_eq!(world.chain.slots(place).count(), 0);
    }
    assert_eq!(world.credits_of(vault), HELD);
}

#[test]
fn the_vaults_code_itself_signs_for_nothing() {
    let (mut world, _) = alices();
    let at = world.at.clone();
    let code = at.vault;
    for payer in [code, who("alice")] {
        let proof = signed(&at, "alice", code, deposit(&at, payer));
        assert!(!answers(&mut world, code, digest(&at, code, &proof), proof.abi_encode()));
    }
}

#[test]
fn without_a_revenue_contract_no_channel_can_be_funded() {
    let mut world = World::new();
    let at = world.at.clone();
    let yes = contract(&mut world, SAYS_YES);
    let constructor = Vault::constructorCall {
        credit_: at.credit,
        channels_: X402_SETTLEMENT,
        collector_: X402_COLLECTOR,
        revenue_: Address::ZERO,
    };
    let code = [Vault::BYTECODE.as_ref(), &constructor.abi_encode()].concat();
    let code = world.chain.send(who("deployer"), TxKind::Create, code.into()).expect("deploys").created;
    let code = code.expect("a contract");
    for owner in [who("alice"), yes] {
        // The clone that an offering makes of a vault's code, for an owner and the end of a lock.
        let until = (START + LOCK).to_be_bytes();
        let clone = [
            &hex!("363d3d373d3d3d363d73")[..],
            code.as_slice(),
            &hex!("5af43d82803e903d91602b57fd5bf3"),
            owner.as_slice(),
            &until[3..],
        ];
        let vault = contract(&mut world, &clone.concat());
        assert_eq!(world.asks(vault, &Vault::ownerCall {}), owner);
        for receiver in [Address::ZERO, at.revenue, who("alice")] {
            let mut proof = deposit(&at, vault);
            (proof.channel.receiver, proof.channel.receiverAuthorizer) = (receiver, receiver);
            let proof = signed(&at, "alice", vault, proof);
            assert!(!answers(&mut world, vault, digest(&at, vault, &proof), proof.abi_encode()));
        }
    }
}

#[test]
fn a_release_waits_for_the_lock_and_goes_to_the_owner() {
    let (mut world, vault) = alices();
    let at = world.at.clone();
    let end = CLEARABLE + LOCK;
    assert_eq!(world.asks(vault, &Vault::unlockAtCall {}), U256::from(START + end));
    assert_eq!(world.asks(vault, &Vault::ownerCall {}), who("alice"));
    for name in ["alice", "stranger", "issuer"] {
        world.refuses("Locked", name, vault, &Vault::releaseCall {});
    }
    world.go_to(end - 1);
    world.refuses("Locked", "alice", vault, &Vault::releaseCall {});
    world.go_to(end);
    world.does("stranger", vault, &Vault::releaseCall {});
    assert_eq!([vault, who("stranger"), who("alice")].map(|of| world.credits_of(of)), [0, 0, HELD]);
    world.does("stranger", vault, &Vault::releaseCall {}); // nothing is left; what comes later can go too
    let back = Credit::transferCall { to: vault, value: U256::from(CREDIT) };
    world.does("alice", at.credit, &back);
    world.does("stranger", vault, &Vault::releaseCall {});
    assert_eq!(world.credits_of(who("alice")), HELD);
}

#[test]
fn a_contract_wallet_signs_for_its_vault_only_with_a_plain_yes() {
    let mut world = World::new();
    let at = world.at.clone();
    let wallets: Vec<Address> = [SAYS_YES]
        .into_iter()
        .chain(SAYS_NO.map(|(_, code)| code))
        .map(|code| contract(&mut world, code))
        .collect();
    let vaults = locked(&mut world, &wallets);
    let good = deposit(&at, vaults[0]);
    world.send(X402_COLLECTOR, at.credit, &pull(vaults[0], &good, good.abi_encode())).expect("pulls");
    assert_eq!(world.credits_of(vaults[0]), HELD - 10 * CREDIT);
    for (&vault, (what, _)) in vaults[1..].iter().zip(SAYS_NO) {
        let proof = signed(&at, "alice", vault, deposit(&at, vault));
        let call = pull(vault, &proof, proof.abi_encode());
        let refused = world.send(X402_COLLECTOR, at.credit, &call);
        assert!(refused.is_err(), "a wallet that answers {what} has signed");
        assert_eq!(world.credits_of(vault), HELD);
    }
}

#[test]
fn a_proof_that_is_cut_off_or_points_far_away_is_no_proof() {
    let (mut world, vault) = alices();
    let at = world.at.clone();
    let good = signed(&at, "alice", vault, deposit(&at, vault));
    let (hash, blob) = (digest(&at, vault, &good), good.abi_encode());
    for end in 0..blob.len() - 31 {
        assert!(!answers(&mut world, vault, hash, blob[..end].to_vec()), "cut at {end}");
    }
    let far: [U256; 9] = [
        U256::ZERO,
        U256::from(1),
        U256::from(31),
        U256::from(blob.len()),
        U256::from(u32::MAX),
        U256::from(u64::MAX),
        U256::from(1) << 64,
        U256::from(1) << 255,
        U256::MAX,
    ];
    for place in (0..blob.len() - 96).step_by(32) {
        for value in far {
            let mut wrong = blob.clone();
            wrong[place..place + 32].copy_from_slice(&value.to_be_bytes::<32>());
            if wrong != blob {
                assert!(!answers(&mut world, vault, hash, wrong), "word {} as {value}", place / 32);
            }
        }
    }
}

/// Up to three bytes, bits or words of a blob are set wrong, moved, lost or added.
pub(crate) fn alter(random: &mut ChaCha8Rng, blob: &mut Vec<u8>) {
    for _ in 0..random.random_range(1..4) {
        let place = random.random_range(0..blob.len());
        let word = |random: &mut ChaCha8Rng| random.random_range(0..blob.len() / 32) * 32;
        match random.random_range(0..5) {
            0 => blob[place] ^= 1 << random.random_range(0..8),
            1 => blob[place] = random.random(),
            2 => {
                let (from, to) = (word(random), word(random));
                blob.copy_within(from..from + 32, to);
            }
            3 => drop(blob.remove(place)),
            _ => blob.insert(place, random.random()),
        }
    }
}

#[test]
fn of_thousands_of_altered_proofs_only_the_signed_deposit_passes() {
    let mut world = World::new();
    let at = world.at.clone();
    let yes = contract(&mut world, SAYS_YES);
    let vaults = locked(&mut world, &[who("alice"), yes]);
    let mut passed = 0;
    for seed in 0..4_000u64 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let any_signature = random.random_bool(0.5);
        let vault = vaults[usize::from(any_signature)];
        let good = signed(&at, "alice", vault, deposit(&at, vault));
        let hash = digest(&at, vault, &good);
        let mut blob = good.abi_encode();
        alter(&mut random, &mut blob);
        let read = DepositProof::abi_decode(&blob).ok();
        if answers(&mut world, vault, hash, blob.clone()) {
            // Another encoding of the deposit that was signed, or another signature of one who takes any.
            let mut read = read.clone().unwrap_or_else(|| panic!("seed {seed}: {}", hex::encode(&blob)));
            if any_signature {
                read.ownerSignature = good.ownerSignature.clone();
            }
            assert_eq!(read, good, "seed {seed}");
            passed += 1;
        }
        // What the altered blob itself asks for, as far as it can be read, is granted only by one who signs anything,
        // and for channels of the service.
        let Some(read) = read else { continue };
        let theirs = digest(&at, vault, &read);
        if theirs != hash && answers(&mut world, vault, theirs, blob) {
            let channel = &read.channel;
            let of_service = (channel.payer, channel.receiver, channel.receiverAuthorizer, channel.token)
                == (vault, at.revenue, at.revenue, at.credit);
            assert!(any_signature && of_service, "seed {seed}: {read:?}");
        }
    }
    assert!(passed < 1_500, "{passed} of 4,000 altered proofs passed");
    assert_eq!(vaults.iter().map(|&vault| world.credits_of(vault)).sum::<u128>(), 2 * HELD);
}
