//! The index and its books over random histories: honest ones add up to just what the contracts keep, whatever people do
//! beside the rules and whichever blocks are replaced. `EARNEST_HISTORIES=n` runs that many.

use alloy_primitives::{Address, U256, keccak256};
use earnest_chain::bindings::{Credit, DevCash};
use earnest_chain::chain::Chain;
use earnest_chain::deploy::Record;
use earnest_chain::embedded::Embedded;
use earnest_chain::history::{Head, History, PlacedLog, Recorded};
use earnest_chain::index::Index;
use earnest_chain::key::Key;
use earnest_chain::layout::Slots;
use earnest_chain::ledger::Ledger;
use earnest_core::raise::Holder;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::lockstep::{number, over_seeds};
use crate::story::{START, Story};

const STEPS: usize = 200;

fn begin(seed: u64) -> Story {
    let mut chain = Embedded::new(START);
    chain.keep_history();
    Story::on(seed, chain)
}

pub(crate) fn record(story: &Story) -> Record {
    let setup = &story.raise.offering.setup;
    Record {
        chain_id: story.chain.id(),
        block: 0,
        deployer: Key::from_words("deployer").address(),
        salt: 0,
        issuer: setup.issuer,
        certifier: setup.certifier,
        guardian: setup.guardian,
        attesters: setup.attesters.clone(),
        terms_hash: setup.terms_hash,
        revenue: Address::ZERO,
        contracts: story.at.clone(),
    }
}

pub(crate) fn empty_index(story: &Story) -> Index {
    let (offering, treasury) = (story.raise.offering.setup.clone(), story.raise.treasury.setup.clone());
    let empty = Ledger::new(story.at.clone(), offering, treasury);
    let store = rusqlite::Connection::open_in_memory().expect("in memory");
    Index::over(store, &record(story), empty).expect("opens")
}

fn dump(index: &Index) -> String {
    let mut text = Vec::new();
    index.dump(&mut text).expect("in memory");
    String::from_utf8(text).expect("text")
}

/// What anyone can do beside the rules: give cash away, move or burn credits, have a coin say that nothing moved.
fn beside_the_rules(story: &mut Story, random: &mut ChaCha8Rng) {
    let backers = story.cast.backers.clone();
    let backer = backers[random.random_range(0..backers.len())];
    let key = story.keys.of(backer).clone();
    let (cash, credit) = (story.at.cash, story.at.credit);
    let ours = [story.at.offering, story.at.treasury][random.random_range(0..2)];
    let held = story.chain.call(credit, &Credit::balanceOfCall { account: backer }).expect("a view");
    let some = |random: &mut ChaCha8Rng| held / U256::from(random.random_range(1..5u8));
    // Refusals are fine: whoever has nothing gives nothing.
    let _ = match random.random_range(0..5) {
        0 => {
            story.chain.send(&key, cash, &DevCash::transferCall { to: ours, value: U256::from(7) }).map(drop)
        }
        1 => {
            let to = backers[random.random_range(0..backers.len())];
            story
                .chain
                .send(&key, cash, &DevCash::transferFromCall { from: ours, to, value: U256::ZERO })
                .map(drop)
        }
        2 => {
            let to = [story.at.offering, story.cast.stranger][random.random_range(0..2)];
            let value = some(random);
            story.chain.send(&key, credit, &Credit::transferCall { to, value }).map(drop)
        }
        3 => {
            let value = some(random);
            story.chain.send(&key, credit, &Credit::burnCall { value }).map(drop)
        }
        _ => {
            let vaults = story.raise.credits.balances.keys();
            let vaults: Vec<_> = vaults.filter(|holder| matches!(holder, Holder::Vault(_))).collect();
            let Some(Holder::Vault(id)) = vaults.first() else { return };
            let from = story.at.vault_of(&story.raise.offering, *id);
            let call = Credit::transferFromCall { from, to: backer, value: U256::ZERO };
            story.chain.send(&key, credit, &call).map(drop)
        }
    };
}

fn differences(seed: u64, index: &Index, story: &Story) {
    let Chain::Embedded(chain) = &story.chain else { unreachable!("stories run embedded") };
    for (contract, slots) in index.storage() {
        let slots: Slots = slots.into_iter().collect();
        let has: Slots = chain.slots(contract).collect();
        for slot in slots.keys().chain(has.keys()) {
            assert_eq!(slots.get(slot), has.get(slot), "seed {seed}: slot {slot:#x} of {contract}");
        }
    }
    let (mut offering, mut ruled) = (index.raise().offering.clone(), story.raise.offering.clone());
    // The model remembers buckets that are empty again.
    offering.buckets.retain(|_, bucket| *bucket != Default::default());
    ruled.buckets.retain(|_, bucket| *bucket != Default::default());
    assert_eq!(offering, ruled, "seed {seed}");
    assert_eq!(index.raise().treasury, story.raise.treasury, "seed {seed}");
}

#[test]
fn honest_histories_add_up_to_what_the_contracts_keep() {
    let histories = number("EARNEST_HISTORIES").unwrap_or(150);
    over_seeds(histories, |seed, _| {
        let mut story = begin(seed);
        let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0xb00c);
        let mut index = empty_index(&story);
        // Half of the histories have people who do as they like beside the rules; their coins are not the model's then.
        let lively = seed % 2 == 1;
        for _ in 0..STEPS {
            story.pass_time();
            let (caller, call) = story.next();
            if lively && random.random_bool(0.1) {
                beside_the_rules(&mut story, &mut random);
            }
            let _ = story.act(caller, &call);
            if random.random_bool(0.1) {
                index.sync(&mut story.chain).expect("syncs");
            }
        }
        index.sync(&mut story.chain).expect("syncs");
        assert_eq!(index.difference(), None, "seed {seed}: a false alarm");
        index.books().check(story.now()).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        differences(seed, &index, &story);
    });
}

/// The blocks of a story.
pub(crate) fn recorded(story: &mut Story) -> Recorded {
    let mut record = Recorded::default();
    let head = story.chain.head().expect("embedded");
    let mut logs =
        story.chain.logs_between(&story.at, 0, head.number).expect("embedded").into_iter().peekable();
    for number in 0..=head.number {
        let block = story.chain.block_at(number).expect("embedded");
        let block = block.unwrap_or(Head { number, hash: keccak256(number.to_be_bytes()), time: START });
        let mut here = Vec::new();
        while let Some(log) = logs.next_if(|log| log.block.number == number) {
            here.push(log);
        }
        record.put(block, here);
    }
    record
}

/// The same logs in a block of another hash and height.
fn moved(logs: &[PlacedLog], to: Head) -> Vec<PlacedLog> {
    logs.iter().map(|log| PlacedLog { block: to, ..log.clone() }).collect()
}

#[test]
fn a_reorganisation_of_any_depth_comes_out_as_if_it_had_never_been() {
    over_seeds(number("EARNEST_HISTORIES").unwrap_or(150) / 3, |seed, _| {
        let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0xf0);
        let mut story = begin(seed);
        for _ in 0..STEPS {
            story.pass_time();
            let (caller, call) = story.next();
            let _ = story.act(caller, &call);
        }
        // What happened, block by block; the chain then loses its last blocks again and again, gets empty ones in their
        // place, and the same things happen after them.
        let blocks: Vec<_> = recorded(&mut story).blocks.into_values().collect();
        let mut chain = Recorded::default();
        let mut index = empty_index(&story);
        let (mut next, mut height, mut salt) = (0, 0u64, 0u64);
        let mut included: Vec<usize> = Vec::new();
        while next < blocks.len() {
            for _ in 0..random.random_range(1..60) {
                let Some((old, logs)) = blocks.get(next) else { break };
                let hash = keccak256([height.to_be_bytes(), salt.to_be_bytes()].concat());
                let head = Head { number: height, hash, time: old.time };
                chain.put(head, moved(logs, head));
                included.push(next);
                (next, height) = (next + 1, height + 1);
            }
            if random.random_bool(0.7) {
                index.sync(&mut chain).expect("syncs");
            }
            let deep = if random.random_bool(0.2) { 150 } else { 100 };
            if random.random_bool(0.4) && height > 1 && next < blocks.len() {
                let depth = random.random_range(1..=deep.min(height - 1));
                salt += 1;
                let kept = included.len() - usize::try_from(depth).unwrap();
                next = included[kept];
                included.truncate(kept);
                height -= depth;
                chain.blocks.split_off(&height);
                if random.random_bool(0.3) && height > 0 {
                    index.sync(&mut chain).expect("a shorter chain");
                }
            }
        }
        index.sync(&mut chain).expect("syncs");
        let mut fresh = empty_index(&story);
        fresh.sync(&mut chain).expect("syncs");
        assert!(dump(&index) == dump(&fresh), "seed {seed}: the dumps differ");
        assert_eq!(index.difference(), None, "seed {seed}");
        assert_eq!(index.raise(), fresh.raise(), "seed {seed}");
    });
}
