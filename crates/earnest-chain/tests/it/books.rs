//! The index and its books over random histories: honest ones add up to just what the contracts keep, whatever people do
//! beside the rules and whichever blocks are replaced. `EARNEST_HISTORIES=n` runs that many.

use alloy_primitives::{Address, B256, U256, keccak256};
use earnest_chain::bindings::{Credit, DevCash};
use earnest_chain::chain::Chain;
use earnest_chain::deploy::Record;
use earnest_chain::embedded::Embedded;
use earnest_chain::fact::{Coin, Event, Fact};
use earnest_chain::history::{Head, History, PlacedLog, Recorded};
use earnest_chain::index::Index;
use earnest_chain::key::Key;
use earnest_chain::layout::Slots;
use earnest_chain::ledger::Ledger;
use earnest_core::bid::{Bid, BidId};
use earnest_core::offering::Consent;
use earnest_core::raise::{Call, Holder};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::lockstep::{number, over_seeds};
use crate::story::{START, Story};

const STEPS: usize = 200;

fn begin(seed: u64) -> Story {
    let mut chain = Embedded::new(START);
    chain.keep_history();
    Story::on(seed, Chain::Embedded(chain))
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
        gateway: Key::from_words("gateway").address(),
        terms_hash: setup.terms_hash,
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
    let known: Vec<BidId> = story.raise.offering.bids.keys().copied().collect();
    let bid = (!known.is_empty()).then(|| known[random.random_range(0..known.len())]);
    let _ = match random.random_range(0..9) {
        5 | 6 => {
            // Back to where it came from, or into the treasury, as the owner wishes.
            let Some(id) = bid else { return };
            let (owner, payee) = (story.raise.offering.bid(id).wallet, ours);
            let consent = Consent { expiry: u64::MAX >> 24, by_owner: true };
            let call = if random.random_bool(0.7) {
                Call::RefundTo { id, payee, consent }
            } else {
                Call::PotRefundTo { id, payee, consent }
            };
            return drop(story.act(owner, &call));
        }
        7 => {
            let cash = random.random_range(1..1_000);
            return drop(story.act(story.cast.issuer, &Call::Draw { cash, to: ours }));
        }
        8 => {
            // To a vault, whether or not it is there yet.
            let Some(id) = bid else { return };
            let to = story.at.vault_of(&story.raise.offering, id);
            let value = some(random);
            story.chain.send(&key, credit, &Credit::transferCall { to, value }).map(drop)
        }
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

pub(crate) fn differences(seed: u64, index: &Index, story: &Story) {
    for (contract, slots) in index.storage() {
        let slots: Slots = slots.into_iter().collect();
        let has = story.slots(contract);
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
    let histories = number("EARNEST_HISTORIES").unwrap_or(1_000);
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
    over_seeds(number("EARNEST_HISTORIES").unwrap_or(1_000) / 10, |seed, _| {
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

/// The events of a story, as the ledger takes them.
fn events(story: &mut Story) -> Vec<Event> {
    let head = story.chain.head().expect("embedded").number;
    let logs = story.chain.logs_between(&story.at, 0, head).expect("embedded");
    let read = logs.into_iter().filter_map(|PlacedLog { block, index, tx, log }| {
        let fact = Fact::read(&story.at, &log).expect("readable")?;
        Some(Event { block: block.number, index, time: block.time, tx, fact })
    });
    read.collect()
}

/// One amount or time of a fact, off by a little; none where it has no such thing.
fn off_by_a_little(fact: &mut Fact, random: &mut ChaCha8Rng) -> bool {
    let nudge = |value: &mut u128, random: &mut ChaCha8Rng| {
        *value = if *value > 0 && random.random_bool(0.5) { *value - 1 } else { *value + 1 };
    };
    let mut small = 0;
    match fact {
        Fact::BidPlaced { bid, .. } => bid.cash ^= 1 << random.random_range(0..59),
        Fact::BidWithdrawn { cash, .. }
        | Fact::Refunded { cash, .. }
        | Fact::Swept { cash, .. }
        | Fact::Deposited { cash, .. }
        | Fact::Drawn { cash, .. }
        | Fact::PotRefunded { cash, .. } => nudge(cash, random),
        Fact::Cleared { sold, proceeds, .. } => nudge([sold, proceeds][random.random_range(0..2)], random),
        Fact::WindowCleared { sold, used, .. } => nudge([sold, used][random.random_range(0..2)], random),
        Fact::Settled { credits, paid, refund, .. } => {
            nudge([credits, paid, refund][random.random_range(0..3)], random);
        }
        Fact::Delivered { credits, .. } => nudge(credits, random),
        Fact::Synced { moved, .. } => nudge(moved, random),
        Fact::Transfer { amount, .. } => nudge(amount, random),
        Fact::Attested { effective_at, .. } => *effective_at += 1,
        _ => small = 1,
    }
    small == 0
}

/// Anything at all, as long as it is a fact.
fn garbage(random: &mut ChaCha8Rng, known: &[Event]) -> Fact {
    let id = |random: &mut ChaCha8Rng| BidId {
        round: random.random_range(0..6),
        window: if random.random_bool(0.8) { random.random_range(0..4) } else { random.random() },
        entity: random.random_range(0..12),
    };
    let amount = |random: &mut ChaCha8Rng| random.random::<u128>() >> random.random_range(0..128);
    let someone = |random: &mut ChaCha8Rng| match random.random_range(0..4) {
        0 => Address::ZERO,
        1 => Address::repeat_byte(random.random()),
        _ => known.iter().rev().find_map(|event| event.fact.account()).unwrap_or_default(),
    };
    match random.random_range(0..19) {
        0 => Fact::AttesterChanged { attester: someone(random), generation: random.random_range(0..4) },
        1 | 2 => {
            let mut bid = Bid::unpack(U256::from_be_bytes(random.random::<[u8; 32]>()));
            if random.random_bool(0.7) {
                bid.wallet = someone(random);
                (bid.settled, bid.refunded, bid.lock_class) = (false, false, random.random_range(0..3));
            }
            Fact::BidPlaced { id: id(random), bid, jurisdiction: random.random() }
        }
        3 => Fact::BidWithdrawn { id: id(random), cash: amount(random), payee: someone(random) },
        4 => Fact::CoolingOffLapsed { id: id(random) },
        5 => {
            Fact::Paused { round: random.random_range(0..6), until: START + random.random_range(0..1 << 40) }
        }
        6 => Fact::ClearingAdvanced { round: random.random_range(0..6), cursor: random.random() },
        7 => {
            Fact::Cleared { round: random.random_range(0..6), sold: amount(random), proceeds: amount(random) }
        }
        8 => Fact::WindowCleared {
            round: random.random_range(0..6),
            window: random.random(),
            sold: amount(random),
            used: amount(random),
        },
        9 => Fact::Settled {
            id: id(random),
            credits: amount(random),
            paid: amount(random),
            refund: amount(random),
        },
        10 => Fact::Refunded { id: id(random), cash: amount(random), payee: someone(random) },
        11 => Fact::Swept { round: random.random(), cash: amount(random) },
        12 => Fact::Attested {
            subject: random.random_range(0..5),
            evidence: B256::ZERO,
            effective_at: random.random(),
        },
        13 => Fact::Objected { subject: random.random_range(0..5) },
        14 => Fact::Delivered { id: id(random), credits: amount(random), to: someone(random) },
        15 => Fact::Deposited { class: random.random(), cash: amount(random) },
        16 => Fact::Drawn { cash: amount(random), to: someone(random) },
        17 => Fact::Synced { class: random.random(), moved: amount(random) },
        _ => Fact::Transfer {
            coin: if random.random_bool(0.5) { Coin::Cash } else { Coin::Credits },
            from: someone(random),
            to: someone(random),
            amount: amount(random),
        },
    }
}

#[test]
fn one_amount_off_by_one_is_a_difference_and_garbage_is_never_a_crash() {
    over_seeds(number("EARNEST_HISTORIES").unwrap_or(1_000) / 10, |seed, _| {
        let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x0ff);
        let mut story = begin(seed);
        for _ in 0..STEPS {
            story.pass_time();
            let (caller, call) = story.next();
            let _ = story.act(caller, &call);
        }
        let honest = events(&mut story);
        let (offering, treasury) = (story.raise.offering.setup.clone(), story.raise.treasury.setup.clone());
        let empty = Ledger::new(story.at.clone(), offering, treasury);
        for _ in 0..40 {
            let at = random.random_range(0..honest.len());
            let mut ledger = empty.clone();
            honest[..at].iter().for_each(|event| ledger.take(event));
            assert_eq!(ledger.difference(), None, "seed {seed}: before {at}");
            let mut wrong = honest[at].clone();
            let nudged = random.random_bool(0.5) && off_by_a_little(&mut wrong.fact, &mut random);
            if !nudged {
                wrong.fact = garbage(&mut random, &honest[..at]);
            }
            ledger.take(&wrong);
            honest[at + 1..].iter().take(30).for_each(|event| ledger.take(event));
            ledger.close();
            if nudged {
                assert!(ledger.difference().is_some(), "seed {seed}: {wrong:?} for {:?}", honest[at]);
            }
        }
    });
}
