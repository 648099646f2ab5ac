//! How long an index of a million events takes from nothing, and a reorganisation of 100 blocks at its end: the raise is
//! honest, made by the model, and its events are encoded as the contracts would. `--json` prints one object.

use std::time::Instant;

use alloy_primitives::aliases::U88;
use alloy_primitives::{Address, B256, Log, LogData, U256, keccak256};
use alloy_sol_types::SolEvent;
use earnest_chain::bindings::{Credit, Offering};
use earnest_chain::deploy::{Deployment, Record};
use earnest_chain::history::{Head, PlacedLog, Recorded};
use earnest_chain::index::Index;
use earnest_chain::ledger::Ledger;
use earnest_core::bid::BidId;
use earnest_core::clearing::Prices;
use earnest_core::money::{Bps, CASH_MAX};
use earnest_core::offering::{DAY, OfferingSetup, Order, RoundSetup, Sale};
use earnest_core::permit::PurchasePermit;
use earnest_core::raise::{Call, Holder, Raise};
use earnest_core::schedule::Schedule;
use earnest_core::treasury::TreasurySetup;

const START: u64 = 1_800_000_000;
const BIDS: u64 = 260_000;
const TICKS: u16 = 1_024;
/// Events of one block.
const FULL: usize = 200;
const RUNS: usize = 5;

fn someone(number: u8) -> Address {
    Address::repeat_byte(number)
}

fn setups() -> (OfferingSetup, TreasurySetup) {
    let sale = Sale::Auction {
        prices: Prices { supply: 100_000_000 * 10u128.pow(18), floor: 500_000_000_000, step: 1_000_000_000 },
        ticks: TICKS,
    };
    let round = RoundSetup {
        sale,
        open: START,
        close: START + 30 * DAY,
        pause_limit: 0,
        cooling_off_days: 0,
        withdrawable_most: 0,
        schedules: 1,
    };
    let offering = OfferingSetup {
        issuer: someone(1),
        certifier: someone(2),
        guardian: someone(3),
        attesters: vec![someone(4)],
        terms_hash: B256::ZERO,
        soft_cap: 0,
        soft_cap_date: 0,
        deadline: START + 1_000 * DAY,
        notice_secs: 0,
        objections: 0,
        milestones: 0,
        schedules: vec![Schedule { linear: false, points: vec![(1, 10_000)] }],
        discounts: vec![Bps::default()],
        lock_days: vec![0],
        rounds: vec![round],
    };
    let treasury = TreasurySetup {
        issuer: someone(1),
        deadline: offering.deadline,
        tap_start: 0,
        tap_per_sec: 1,
        ceiling_at_start: 0,
        ceilings: vec![(0, false)],
    };
    (offering, treasury)
}

/// Blocks as they fill up.
struct Blocks {
    record: Recorded,
    here: Vec<Log>,
    number: u64,
    events: u64,
}

fn block(number: u64, salt: u64, time: u64) -> Head {
    Head { number, hash: keccak256([number.to_be_bytes(), salt.to_be_bytes()].concat()), time }
}

impl Blocks {
    /// The events of one transaction.
    fn put(&mut self, now: u64, logs: impl IntoIterator<Item = (Address, LogData)>) {
        self.here.extend(logs.into_iter().map(|(address, data)| Log { address, data }));
        if self.here.len() >= FULL {
            self.seal(now);
        }
    }

    fn seal(&mut self, now: u64) {
        let head = block(self.number, 0, now);
        self.events += self.here.len() as u64;
        let logs = (0u64..).zip(self.here.drain(..));
        // The books only ask whether two events are of one transaction; here pairs are.
        let tx = |index: u64| keccak256([self.number.to_be_bytes(), (index / 2).to_be_bytes()].concat());
        let placed = logs.map(|(index, log)| PlacedLog { block: head, index, tx: tx(index), log });
        self.record.put(head, placed.collect());
        self.number += 1;
    }
}

fn history(at: &Deployment) -> Blocks {
    let (offering, treasury) = setups();
    let mut raise = Raise::new(offering, treasury);
    let mut blocks = Blocks { record: Recorded::default(), here: Vec::new(), number: 1, events: 0 };
    let born = Offering::AttesterChanged { attester: someone(4), generation: 1 };
    blocks.put(START - DAY, [(at.offering, born.encode_log_data()), (at.credit, LogData::default())]);
    let transfer = |from, to, cash: u64| {
        (at.cash, Credit::Transfer { from, to, value: U256::from(cash) }.encode_log_data())
    };
    let id_of = |entity| BidId { round: 0, window: 0, entity };
    let word = |id: BidId| U88::from(id.pack());
    let wallet_of = |entity: u64| Address::from_word(keccak256(entity.to_be_bytes()));
    for entity in 0..BIDS {
        let wallet = wallet_of(entity);
        let spread = entity.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let cash = 50_000_000 + spread % 1_000_000_000;
        let permit = PurchasePermit {
            entity,
            wallet,
            round: 0,
            min_cash: 1,
            max_cash: CASH_MAX,
            max_total: u64::MAX,
            first: 0,
            last: u16::MAX,
            not_before: 0,
            expiry: u64::MAX,
            jurisdiction: 0,
            lock_class: 0,
            affiliate: false,
            cooling_off: false,
            generation: 1,
            terms_hash: B256::ZERO,
        };
        let tick = u16::try_from(spread % u64::from(TICKS)).expect("a tick");
        let order = Order { permit, signed_by: Some(someone(4)), cash, tick, schedule: 0 };
        raise.cash.mint(Holder::Account(wallet), cash.into());
        let now = START + entity / 100;
        raise.apply(now, wallet, &Call::Bid(order)).expect("an honest bid");
        let slot = raise.offering.bid(id_of(entity)).pack();
        let placed = Offering::BidPlaced { id: word(id_of(entity)), slot, jurisdiction: U256::ZERO };
        blocks.put(now, [(at.offering, placed.encode_log_data()), transfer(wallet, at.offering, cash)]);
    }
    blocks.seal(START + BIDS / 100);
    let now = START + 31 * DAY;
    raise.apply(now, someone(9), &Call::Clear { round: 0, steps: u64::MAX }).expect("clears");
    let round = &raise.offering.rounds[0];
    let cleared = Offering::Cleared {
        round: U256::ZERO,
        sold: U256::from(round.sold),
        proceeds: U256::from(round.proceeds),
    };
    blocks.put(now, [(at.offering, cleared.encode_log_data())]);
    blocks.seal(now);
    for entity in 0..BIDS {
        let id = id_of(entity);
        raise.apply(now, someone(9), &Call::Settle { id }).expect("settles");
        let (share, _) = raise.offering.outcome(id);
        let settled = Offering::Settled {
            id: word(id),
            credits: U256::from(share.credits),
            paid: U256::from(share.paid),
            refund: U256::from(share.back),
        };
        // A log of the credit that the books pass over keeps events in pairs.
        blocks.put(now, [(at.offering, settled.encode_log_data()), (at.credit, LogData::default())]);
        if share.back > 0 {
            raise.apply(now, someone(9), &Call::Refund { id }).expect("refunds");
            let wallet = wallet_of(entity);
            let refunded = Offering::Refunded { id: word(id), cash: U256::from(share.back), payee: wallet };
            blocks.put(
                now,
                [(at.offering, refunded.encode_log_data()), transfer(at.offering, wallet, share.back)],
            );
        }
    }
    blocks.seal(now);
    blocks
}

fn main() {
    let at = Deployment {
        cash: someone(0xa1),
        credit: someone(0xa2),
        offering: someone(0xa3),
        treasury: someone(0xa4),
        vault: someone(0xa5),
        ladders: vec![None],
        ..Deployment::default()
    };
    let mut blocks = history(&at);
    let (offering, treasury) = setups();
    let record = Record {
        chain_id: 1,
        block: 1,
        deployer: someone(8),
        salt: 0,
        issuer: offering.issuer,
        certifier: offering.certifier,
        guardian: offering.guardian,
        attesters: offering.attesters.clone(),
        gateway: someone(9),
        terms_hash: offering.terms_hash,
        contracts: at.clone(),
    };
    let folder = std::env::temp_dir().join(format!("earnest-index-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let (mut whole, mut reorganised, mut opened) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..RUNS {
        let file = folder.join(format!("{run}.db"));
        let open = || {
            let empty = Ledger::new(at.clone(), offering.clone(), treasury.clone());
            Index::over(rusqlite::Connection::open(&file).expect("opens"), &record, empty).expect("opens")
        };
        let mut index = open();
        let start = Instant::now();
        index.sync(&mut blocks.record).expect("syncs");
        whole.push(start.elapsed().as_secs_f64());
        assert_eq!(index.difference(), None);
        // The last 100 blocks are replaced by others with the same events.
        let from = blocks.number - 100;
        let moved: Vec<_> = blocks.record.blocks.range(from..).map(|(_, block)| block.clone()).collect();
        for (old, logs) in moved {
            let head = block(old.number, run as u64 + 1, old.time);
            let logs = logs.into_iter().map(|log| PlacedLog { block: head, ..log });
            let logs: Vec<_> = logs.collect();
            blocks.record.blocks.insert(head.number, (head, logs));
        }
        let start = Instant::now();
        index.sync(&mut blocks.record).expect("syncs");
        reorganised.push(start.elapsed().as_secs_f64());
        assert_eq!(index.difference(), None);
        let raise = index.raise().clone();
        drop(index);
        let start = Instant::now();
        let index = open();
        opened.push(start.elapsed().as_secs_f64());
        assert!(*index.raise() == raise);
    }
    std::fs::remove_dir_all(&folder).expect("its own folder");
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let (whole, reorganised, opened) = (median(&mut whole), median(&mut reorganised), median(&mut opened));
    if std::env::args().any(|argument| argument == "--json") {
        println!(
            "{{\"name\":\"index\",\"events\":{},\"secs\":{whole:.2},\"reorganise_100_blocks_secs\":{reorganised:.2},\"open_secs\":{opened:.2},\"runs\":{RUNS}}}",
            blocks.events
        );
    } else {
        println!(
            "{} events indexed in {whole:.2} s (median of {RUNS}, {:.0} a second)",
            blocks.events,
            blocks.events as f64 / whole
        );
        println!("100 blocks replaced in {reorganised:.2} s, a kept index opened in {opened:.2} s");
    }
}
