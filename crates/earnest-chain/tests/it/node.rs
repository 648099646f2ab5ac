//! The kept chain: what it refuses, what survives, and what a damaged file is met with.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alloy_consensus::TxEip1559;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, TxKind, U256};
use earnest_chain::embedded::{DEV_CHAIN_ID, TX_GAS_CAP};
use earnest_chain::key::Key;
use earnest_chain::node::{Node, OpenError};

use crate::story::START;

fn path(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("node-{name}.log"));
    let _ = std::fs::remove_file(&path);
    path
}

fn open(path: &Path) -> Result<Node, OpenError> {
    Node::open_with_clock(path, DEV_CHAIN_ID, START, || 0)
}

fn transfer(nonce: u64) -> TxEip1559 {
    TxEip1559 {
        chain_id: DEV_CHAIN_ID,
        nonce,
        gas_limit: 21_000,
        to: TxKind::Call(Address::repeat_byte(0x77)),
        value: U256::from(5),
        ..TxEip1559::default()
    }
}

fn signed(key: &Key, transaction: TxEip1559) -> Vec<u8> {
    key.sign_transaction(transaction).encoded_2718()
}

/// Sends and waits until it is in a block.
fn sends(node: &Node, raw: &[u8]) -> Result<B256, String> {
    let (hash, receiver) = node.submit(raw).map_err(|why| why.to_string())?;
    receiver.blocking_recv().expect("an answer").map_err(|why| why.to_string())?;
    Ok(hash)
}

/// A chain with a few blocks and a moved clock.
fn small_chain(path: &Path) -> (B256, String) {
    let node = open(path).expect("a new chain");
    let key = Key::from_words("alice");
    for nonce in 0..3 {
        sends(&node, &signed(&key, transfer(nonce))).expect("goes through");
    }
    node.advance_to(START + 100).expect("forward");
    sends(&node, &signed(&key, transfer(3))).expect("goes through");
    let head = node.head().hash;
    drop(node);
    (head, std::fs::read_to_string(path).expect("the journal"))
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart() {
    let path = path("restart");
    let (head, _) = small_chain(&path);
    let node = open(&path).expect("the same chain");
    assert_eq!(node.head().hash, head);
    assert_eq!(node.time(), START + 100);
    assert_eq!(node.nonce(Key::from_words("alice").address()), 4);
    assert_eq!(node.balance(Address::repeat_byte(0x77)) % U256::from(10).pow(U256::from(18)), U256::from(20));
    for block in node.blocks_since(1, 10) {
        let parent = node.block(block.header.number - 1).expect("its parent");
        assert_eq!((block.header.parent_hash, block.transactions.len()), (parent.hash, 1));
        assert!(block.transactions[0].receipt.status());
        assert_eq!(block.header.hash_slow(), block.hash);
        let (found, place) = node.place(*block.transactions[0].transaction.tx_hash()).expect("its place");
        assert_eq!((found.hash, place), (block.hash, 0));
    }
    assert!(matches!(open(&path), Err(OpenError::InUse(_))));
}

#[test]
fn a_last_line_cut_off_anywhere_is_dropped() {
    let path = path("torn");
    let (_, text) = small_chain(&path);
    let last = text[..text.len() - 1].rfind('\n').expect("lines") + 1;
    for end in last..text.len() {
        std::fs::write(&path, &text[..end]).expect("torn");
        let node = open(&path).unwrap_or_else(|error| panic!("cut at {end}: {error}"));
        assert_eq!(node.head().header.number, 3);
        // It goes on, and the file is whole again.
        sends(&node, &signed(&Key::from_words("alice"), transfer(3))).expect("goes through");
        drop(node);
        assert_eq!(std::fs::read_to_string(&path).expect("healed"), text);
    }
}

#[test]
fn a_first_line_cut_off_anywhere_is_a_new_chain() {
    let path = path("unborn");
    let (_, text) = small_chain(&path);
    let end = text.find('\n').expect("lines");
    for end in 0..end {
        std::fs::write(&path, &text[..end]).expect("torn");
        assert_eq!(open(&path).expect("a new chain").head().header.number, 0);
    }
}

#[test]
fn a_flipped_byte_in_the_middle_is_refused_and_the_line_named() {
    let path = path("flipped");
    let (_, text) = small_chain(&path);
    let last = text[..text.len() - 1].rfind('\n').expect("lines") + 1;
    // What revm it was is for information alone.
    let note = text.find("\"revm\":\"").expect("it") + 8..text.find("\"}").expect("its end");
    for at in (0..last).filter(|at| !note.contains(at)) {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).expect("flipped");
        let line = text[..at].matches('\n').count() + 1;
        match open(&path) {
            Ok(_) => panic!("byte {at} of line {line} was flipped, and nobody saw it"),
            // What a wrong genesis is, shows in the first block.
            Err(OpenError::Line { line: named, .. }) => {
                assert!(named == line || (line == 1 && named == 3), "byte {at} of {line}: {named} named");
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn other_rules_another_chain_and_another_format_are_refused() {
    let path = path("others");
    let (_, text) = small_chain(&path);
    let root = text.find("\"genesis_root\"").expect("it");
    let root = &text[root..=root + text[root..].find(',').expect("an end")];
    for (from, to, said) in [
        ("\"OSAKA\"", "\"PRAGUE\"", "runs by the rules of PRAGUE, and this version by OSAKA"),
        ("31337", "1", "the chain has id 1"),
        ("\"earnest_chain\":2", "\"earnest_chain\":1", "format 1 is not 2"),
        (root, "", "began with other contracts"),
    ] {
        std::fs::write(&path, text.replacen(from, to, 1)).expect("changed");
        let error = open(&path).err().expect("refused").to_string();
        assert!(error.contains(said) && error.contains(":1: ") && error.contains("hint: "), "{error}");
    }
}

#[test]
fn transactions_are_refused_in_the_words_that_wallets_know() {
    let node = open(&path("refused")).expect("a new chain");
    let key = Key::from_words("alice");
    sends(&node, &signed(&key, transfer(0))).expect("goes through");
    let ether = U256::from(10).pow(U256::from(18));
    let mut blob = vec![3];
    blob.extend(signed(&key, transfer(1)));
    let late = signed(&key, TxEip1559 { value: U256::from(7), ..transfer(0) });
    for (raw, said) in [
        (late, "nonce too low: next nonce 1, tx nonce 0"),
        (signed(&key, transfer(0)), "already known"),
        (signed(&key, transfer(3)), "nonce too high: next nonce 1, tx nonce 3"),
        (
            signed(&key, TxEip1559 { value: U256::from(10_000) * ether, ..transfer(1) }),
            "insufficient funds for gas * price + value",
        ),
        (
            signed(&key, TxEip1559 { max_fee_per_gas: u128::MAX / 21_000, ..transfer(1) }),
            "insufficient funds",
        ),
        (signed(&key, TxEip1559 { chain_id: 1, ..transfer(1) }), "invalid chain id"),
        (
            signed(&key, TxEip1559 { gas_limit: 20_999, ..transfer(1) }),
            "intrinsic gas too low: have 20999, want 21000",
        ),
        (signed(&key, TxEip1559 { gas_limit: TX_GAS_CAP + 1, ..transfer(1) }), "exceeds block gas limit"),
        (
            signed(&key, TxEip1559 { max_priority_fee_per_gas: 1, ..transfer(1) }),
            "max priority fee per gas higher than max fee per gas",
        ),
        (blob, "transaction type not supported: 3"),
        (vec![4, 1], "transaction type not supported: 4"),
        (vec![0xc0], "cannot be decoded"),
        (Vec::new(), "cannot be decoded"),
    ] {
        let error = sends(&node, &raw).expect_err(said);
        assert!(error.contains(said), "{error:?} is not {said:?}");
    }
    // None of them left a trace.
    assert_eq!((node.head().header.number, node.nonce(key.address())), (1, 1));
}

#[test]
fn nonces_that_arrive_out_of_order_from_many_threads_all_go_through() {
    const EACH: u64 = 200;
    let node = open(&path("parallel")).expect("a new chain");
    let keys: Vec<Key> = (0..4).map(|i| Key::from_words(&format!("sender {i}"))).collect();
    let turn = AtomicU64::new(0);
    std::thread::scope(|threads| {
        for _ in 0..16 {
            threads.spawn(|| {
                loop {
                    let turn = turn.fetch_add(1, Ordering::Relaxed);
                    let (key, nonce) = (&keys[usize::try_from(turn % 4).unwrap()], turn / 4);
                    if nonce >= EACH {
                        return;
                    }
                    // Pairs swapped: the higher nonce comes first.
                    sends(&node, &signed(key, transfer(nonce ^ 1))).expect("goes through");
                }
            });
        }
    });
    for key in &keys {
        assert_eq!((node.nonce(key.address()), node.pending_nonce(key.address())), (EACH, EACH));
    }
    let blocks = node.head().header.number;
    assert!(blocks < 4 * EACH, "{blocks} blocks: nothing was committed together");
}

#[test]
fn keys_in_this_process_may_send_from_many_threads() {
    let node = open(&path("own-keys")).expect("a new chain");
    let key = Key::from_words("deployer");
    std::thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| {
                for _ in 0..10 {
                    let to = TxKind::Call(Address::repeat_byte(0x77));
                    node.send(&key, to, Default::default()).expect("goes through");
                }
            });
        }
    });
    assert_eq!(node.nonce(key.address()), 80);
}

#[test]
fn time_goes_on_by_itself_and_forward_only_also_over_a_restart() {
    let path = path("time");
    let wall = Arc::new(AtomicU64::new(1_000));
    let clock = || {
        let wall = wall.clone();
        move || wall.load(Ordering::Relaxed)
    };
    let node = Node::open_with_clock(&path, DEV_CHAIN_ID, START, clock()).expect("a new chain");
    assert_eq!(node.time(), START);
    wall.store(1_010, Ordering::Relaxed);
    assert_eq!(node.time(), START + 10);
    node.advance_to(START + 5).expect("does nothing");
    assert_eq!(node.time(), START + 10);
    assert!(node.set_clock(START + 9, false).blocking_recv().expect("an answer").is_err());
    node.advance_to(START + 1_000).expect("forward");
    drop(node);
    wall.store(1_030, Ordering::Relaxed);
    let node = Node::open_with_clock(&path, DEV_CHAIN_ID, START, clock()).expect("the same chain");
    assert_eq!(node.time(), START + 1_020);
    // Just this time for the next block, however late it comes; then the clock goes on.
    node.set_clock(START + 2_000, true).blocking_recv().expect("an answer").expect("forward");
    wall.store(1_040, Ordering::Relaxed);
    node.mine().blocking_recv().expect("an answer").expect("mined");
    assert_eq!(node.head().header.timestamp, START + 2_000);
    assert_eq!(node.time(), START + 2_010);
    // A machine's clock that is set back does not set back the chain's.
    wall.store(10, Ordering::Relaxed);
    assert_eq!(node.time(), START + 2_000);
}
