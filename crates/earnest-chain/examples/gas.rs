//! Gas of what backers, clearers, holders, the gateway and providers do, on the embedded EVM, as one JSON object. Permit check and ERC-20 pull are
//! included; wallets keep some cash and have approved once; permits carry a limit over all three rounds.

use alloy_primitives::{Address, B256};
use earnest_chain::chain::{Chain, Receipt};
use earnest_chain::deploy::{Coins, Deployment, approve_cash, deploy, mint_cash};
use earnest_chain::embedded::Embedded;
use earnest_chain::key::Key;
use earnest_chain::story::{Keys, tell};
use earnest_core::bid::BidId;
use earnest_core::channel::{ChannelConfig, Row};
use earnest_core::clearing::Prices;
use earnest_core::curve::{Knot, Ladder};
use earnest_core::money::{Bps, CASH_MAX};
use earnest_core::offering::{DAY, OfferingSetup, Order, RoundSetup, Sale};
use earnest_core::permit::PurchasePermit;
use earnest_core::raise::Call;
use earnest_core::schedule::Schedule;
use earnest_core::setup::ServiceSetup;
use earnest_core::spend::{self, Spend, Vault};
use earnest_core::statement::{Publication, Revenue, RevenueSetup, Split};
use earnest_core::treasury::TreasurySetup;

const START: u64 = 1_800_000_000;
const CREDIT: u128 = 10u128.pow(18);
const DOLLAR: u64 = 1_000_000;

struct Bench {
    chain: Chain,
    at: Deployment,
    keys: Keys,
    attester: Address,
    certifier: Address,
    anyone: Address,
    terms: B256,
}

fn setup(cast: [Address; 4], supply: u128) -> (OfferingSetup, TreasurySetup) {
    let [issuer, certifier, guardian, attester] = cast;
    // One after the other, as plans have them: during the auction a limit over all rounds looks at one other.
    let round = |(index, sale): (u64, Sale)| RoundSetup {
        sale,
        open: START + index * 12 * DAY,
        close: START + index * 12 * DAY + 10 * DAY,
        pause_limit: DAY,
        cooling_off_days: 0,
        withdrawable_most: 0,
        schedules: 0b111,
    };
    let fixed = Sale::Fixed { supply, price: 1_000_000_000_000, first_come: false, private: true };
    let prices = Prices { supply, floor: 500_000_000_000, step: 500_000_000 };
    let knots = [0u64, 1_000_000].map(|k| Knot { weight: k * DOLLAR, credits: u128::from(k) * CREDIT });
    let rising = Sale::Rising {
        window_secs: DAY,
        windows: 10,
        window_cap: 100_000 * DOLLAR,
        cap: 1_000_000 * DOLLAR,
        start: 0,
        follows: None,
        ladder: Ladder::new(knots.to_vec()).expect("rises"),
    };
    let offering = OfferingSetup {
        issuer,
        certifier,
        guardian,
        attesters: vec![attester],
        terms_hash: B256::repeat_byte(1),
        soft_cap: 1,
        soft_cap_date: START + 50 * DAY,
        deadline: START + 100 * DAY,
        notice_secs: DAY,
        objections: 1,
        milestones: 1,
        schedules: vec![Schedule { linear: true, points: vec![(30 * 86_400, 10_000)] }; 3],
        discounts: [0, 750, 1_500].map(|bps| Bps::new(bps).expect("a part")).to_vec(),
        lock_days: vec![0, 365],
        rounds: (0..).zip([fixed, Sale::Auction { prices, ticks: 4_096 }, rising]).map(round).collect(),
    };
    let treasury = TreasurySetup {
        issuer,
        deadline: offering.deadline,
        tap_start: 0,
        tap_per_sec: DOLLAR,
        ceiling_at_start: 0,
        ceilings: vec![(1_000_000 * DOLLAR, false); 2],
    };
    (offering, treasury)
}

impl Bench {
    fn new(supply: u128) -> Self {
        let mut keys = Keys::default();
        let mut person = |name: &str| keys.add(Key::from_words(name));
        let cast = ["issuer", "certifier", "guardian", "attester"].map(&mut person);
        let anyone = person("anyone");
        let (offering, treasury) = setup(cast, supply);
        let mut chain = Chain::Embedded(Embedded::new(START));
        let gateway = Key::from_words("gateway").address();
        let revenue = RevenueSetup { issuer: cast[0], gateway, share: Bps::new(8_000).expect("a part") };
        let service = ServiceSetup { revenue, price_list: None };
        let coins = Coins {
            cash: None,
            cash_name: ("Play Dollar".into(), "pUSD".into()),
            credit_name: ("Credit".into(), "CRED".into()),
            x402: true,
        };
        let at = deploy(&mut chain, &Key::from_words("deployer"), &offering, &treasury, &service, &coins)
            .expect("deploys");
        let [_, certifier, _, attester] = cast;
        Bench { chain, at, keys, attester, certifier, anyone, terms: offering.terms_hash }
    }

    fn backer(&mut self, entity: u64) -> Address {
        let wallet = self.keys.add(Key::from_words(&format!("backer {entity}")));
        let deployer = Key::from_words("deployer");
        mint_cash(&mut self.chain, &deployer, self.at.cash, wallet, 1_000_000 * DOLLAR).expect("mints");
        approve_cash(&mut self.chain, self.keys.of(wallet), self.at.cash, self.at.offering)
            .expect("approves");
        wallet
    }

    fn bid(&mut self, entity: u64, round: u8, tick: u16, dollars: u64, lock_class: u8) -> u64 {
        let wallet = self.keys.add(Key::from_words(&format!("backer {entity}")));
        let permit = PurchasePermit {
            // A full-width entity, as a random number would be: its bytes cost calldata.
            entity: full_width(entity),
            wallet,
            round,
            min_cash: DOLLAR,
            max_cash: 900_000 * DOLLAR,
            max_total: CASH_MAX - 1,
            first: 0,
            last: 4_095,
            not_before: START,
            expiry: START + 40 * DAY,
            jurisdiction: 840,
            lock_class,
            affiliate: false,
            cooling_off: false,
            generation: 1,
            terms_hash: self.terms,
        };
        let order =
            Order { permit, signed_by: Some(self.attester), cash: dollars * DOLLAR, tick, schedule: 1 };
        self.tell(wallet, &Call::Bid(order)).gas_used
    }

    fn tell(&mut self, caller: Address, call: &Call) -> Receipt {
        tell(&mut self.chain, &self.at, &self.keys, caller, call, caller, 0)
            .unwrap_or_else(|error| panic!("{call:?}: {error}"))
    }

    fn anyone(&mut self, call: &Call) -> u64 {
        self.tell(self.anyone, call).gas_used
    }

    fn wait_for_day(&mut self, day: u64) {
        self.chain.advance_to(START + day * DAY).expect("embedded");
    }
}

/// A service with 40 payers, each with a channel; amounts are odd numbers of base units, as charges are.
struct Service {
    bench: Bench,
    spend: Spend,
}

const PROVIDERS: u64 = 100;

impl Service {
    fn new() -> Self {
        let mut bench = Bench::new(1_000_000 * CREDIT);
        // Credits come from a round, 1 for 1 cash; the first payer's are locked.
        for entity in 0..41u64 {
            bench.backer(entity);
            bench.bid(entity, 0, 0, 1_000, u8::from(entity == 0));
        }
        bench.wait_for_day(11);
        bench.anyone(&Call::Clear { round: 0, steps: 1 });
        let certifier = bench.certifier;
        bench.tell(certifier, &Call::Attest { subject: 0 });
        bench.wait_for_day(60);
        for entity in 0..41u64 {
            bench.anyone(&Call::Settle { id: id(entity, 0) });
            let wallet = Key::from_words(&format!("backer {entity}")).address();
            bench.tell(wallet, &Call::Deliver { id: id(entity, 0) });
            bench.keys.add(Key::from_words(&format!("session {entity}")));
        }
        for name in ["gateway", "issuer"] {
            bench.keys.add(Key::from_words(name));
        }
        let setup = RevenueSetup {
            issuer: Key::from_words("issuer").address(),
            gateway: Key::from_words("gateway").address(),
            share: Bps::new(8_000).expect("a part"),
        };
        let mut spend = Spend::new(bench.at.places(), Revenue::new(setup, bench.at.credit, bench.at.cash));
        let vault = bench.chain.call(
            bench.at.offering,
            &earnest_chain::bindings::Offering::vaultOfCall { id: earnest_chain::story::pack(id(0, 0)) },
        );
        let owner = Key::from_words("backer 0").address();
        let vault_of = Vault { owner, unlock_at: u64::MAX, delivered: 0, released: 0 };
        spend.vaults.insert(vault.expect("a view"), vault_of);
        Service { bench, spend }
    }

    fn channel(&self, payer: u64) -> ChannelConfig {
        let (revenue, at) = (self.bench.at.revenue, &self.bench.at);
        let vault = *self.spend.vaults.keys().next().expect("one");
        ChannelConfig {
            payer: if payer == 0 { vault } else { Key::from_words(&format!("backer {payer}")).address() },
            payer_authorizer: Key::from_words(&format!("session {payer}")).address(),
            receiver: revenue,
            receiver_authorizer: revenue,
            token: at.credit,
            withdraw_delay: 24 * 3_600,
            salt: B256::repeat_byte(0x5a),
        }
    }

    fn tell(&mut self, name: &str, call: &spend::Call) -> u64 {
        let caller = Key::from_words(name).address();
        let Service { bench, spend } = self;
        let told = earnest_chain::spend::tell(&mut bench.chain, &bench.at, &bench.keys, caller, call, spend);
        told.unwrap_or_else(|error| panic!("{call:?}: {error}")).gas_used
    }

    fn deposit(&mut self, payer: u64, salt: u64) -> u64 {
        let now = self.bench.chain.time().expect("embedded");
        let signed_by = Some(Key::from_words(&format!("backer {payer}")).address());
        let authorization =
            spend::Authorization { salt, valid_after: now - 600, valid_before: now + 3_600, signed_by };
        let amount = 123_456_789_012_345_678_901;
        self.tell("anyone", &spend::Call::Deposit { channel: self.channel(payer), amount, authorization })
    }

    /// The gateway claims from so many channels, the n-th time.
    fn claim(&mut self, payers: std::ops::Range<u64>, time: u128) -> u64 {
        let rows = payers.map(|payer| Row {
            channel: self.channel(payer),
            ceiling: 23_456_789_012_345_678_901 * time,
            claimed: 12_345_678_901_234_567_891 * time,
            signed_by: Some(Key::from_words(&format!("session {payer}")).address()),
        });
        let rows = rows.collect();
        self.tell("gateway", &spend::Call::RevenueClaim { rows })
    }

    /// The next statement: of all that was settled four fifths go to a hundred providers alike.
    fn publish(&mut self, number: u32, settled: u128) -> (Split, u64) {
        let providers = (0..PROVIDERS).map(|index| Key::from_words(&format!("provider {index}")).address());
        let served = providers.map(|provider| (provider, settled / u128::from(PROVIDERS))).collect();
        let split = Split::new(settled, &served, Bps::new(8_000).expect("a part")).expect("all of it");
        let (coin, pay, root) = (self.bench.at.credit, split.pay, split.tree().root());
        let gas =
            self.tell("gateway", &spend::Call::Publish(Publication { coin, number, settled, pay, root }));
        (split, gas)
    }

    fn claim_pay(&mut self, split: &Split, index: u64) -> u64 {
        let provider = Key::from_words(&format!("provider {index}")).address();
        let (cumulative, proof) = (split.leaves[&provider], split.proof(provider).expect("a leaf"));
        let coin = self.bench.at.credit;
        self.tell("anyone", &spend::Call::ClaimPay { coin, provider, cumulative, proof })
    }
}

/// What holders, the gateway and providers pay for.
fn service(put: &mut impl FnMut(&str, u64)) {
    let mut service = Service::new();
    service.deposit(1, 1);
    put("deposit", service.deposit(2, 1));
    put("deposit_more", service.deposit(2, 2));
    put("deposit_locked", service.deposit(0, 1));
    for payer in 3..40 {
        service.deposit(payer, 1);
    }
    // What was empty is written once; from then on it is as it will always be.
    put("claim_first", service.claim(0..10, 1));
    let (one, eleven) = (service.claim(0..1, 2), service.claim(0..11, 3));
    put("claim_row", (eleven - one).div_ceil(10));
    put("claim_10_rows", service.claim(0..10, 4));
    put("claim_40_rows", service.claim(0..40, 5));
    let channels = (service.bench.at.channels, service.bench.at.revenue, service.bench.at.credit);
    let call = earnest_chain::bindings::Channels::receiversCall { receiver: channels.1, token: channels.2 };
    let settled = service.bench.chain.call(channels.0, &call).expect("a view").totalSettled;
    put("publish_first", service.publish(1, settled / 2).1);
    let (split, publish) = service.publish(2, settled / 4 * 3);
    put("publish", publish);
    put("claim_pay_first", {
        service.claim_pay(&split, 0);
        service.claim_pay(&split, 1)
    });
    let (split, _) = service.publish(3, settled);
    put("claim_pay", service.claim_pay(&split, 1));
    let channel = service.channel(2);
    let amount = 1_000_000_000_000_000_001;
    put("refund", service.tell("gateway", &spend::Call::RevenueRefund { channel, amount }));
    put("initiate_withdraw", service.tell("session 2", &spend::Call::InitiateWithdraw { channel, amount }));
    service.bench.wait_for_day(70);
    put("finalize_withdraw", service.tell("session 2", &spend::Call::FinalizeWithdraw { channel }));
}

fn full_width(entity: u64) -> u64 {
    entity.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 << 63
}

fn id(entity: u64, round: u8) -> BidId {
    BidId { round, window: 0, entity: full_width(entity) }
}

fn main() {
    let mut out = serde_json::Map::new();
    let mut put = |name: &str, gas: u64| drop(out.insert(name.into(), gas.into()));

    // A book of 40 ticks: bids above, on and below the marginal tick.
    let mut bench = Bench::new(1_000 * CREDIT);
    for entity in 0..44 {
        bench.backer(entity);
    }
    put("bid_fixed", {
        bench.bid(30, 0, 0, 100, 0);
        bench.bid(31, 0, 0, 100, 1)
    });
    bench.wait_for_day(12);
    for entity in 0..20u64 {
        let tick = 1_000 + 10 * u16::try_from(entity).expect("small");
        let gas = bench.bid(entity, 1, tick, 100, 0);
        if entity == 1 {
            put("bid_new_tick", gas);
        }
    }
    put("bid_existing_tick", bench.bid(20, 1, 1_100, 100, 0));
    put("raise_bid", bench.bid(20, 1, 1_100, 150, 0));
    put("raise_bid_and_tick", bench.bid(20, 1, 1_110, 200, 0));
    bench.wait_for_day(24);
    put("bid_rising", {
        bench.bid(30, 2, 0, 100, 0);
        bench.bid(31, 2, 0, 100, 1)
    });
    bench.wait_for_day(35);
    put("clear_whole_round", bench.anyone(&Call::Clear { round: 1, steps: 10_000 }));
    bench.anyone(&Call::Clear { round: 0, steps: 1 });
    put("settle_winner", bench.anyone(&Call::Settle { id: id(19, 1) }));
    put("refund_loser_unsettled", bench.anyone(&Call::Refund { id: id(1, 1) }));
    put("settle_loser", bench.anyone(&Call::Settle { id: id(0, 1) }));
    // The marginal tick is where a bid gets something back and something sold.
    let marginal = (0..21).find(|&entity| {
        if entity == 19 || entity < 2 {
            return false;
        }
        let gas = bench.anyone(&Call::Settle { id: id(entity, 1) });
        let position = bench.chain.call(
            bench.at.offering,
            &earnest_chain::bindings::Offering::getPositionCall {
                id: earnest_chain::story::pack(id(entity, 1)),
            },
        );
        let paid = position.expect("a view").paid;
        let cash = if entity == 20 { 200 * DOLLAR } else { 100 * DOLLAR };
        let marginal = paid > 0 && paid < cash;
        if marginal {
            put("settle_marginal", gas);
        }
        marginal
    });
    put("refund_marginal", bench.anyone(&Call::Refund { id: id(marginal.expect("a marginal bid"), 1) }));
    put("sweep", bench.anyone(&Call::Sweep { round: 1 }));
    let certifier = bench.certifier;
    bench.tell(certifier, &Call::Attest { subject: 0 });
    bench.chain.advance_to(START + 60 * DAY).expect("embedded");
    let winner = Key::from_words("backer 19").address();
    put("deliver", bench.tell(winner, &Call::Deliver { id: id(19, 1) }).gas_used);
    bench.anyone(&Call::Settle { id: id(31, 0) });
    let locked = Key::from_words("backer 31").address();
    put("deliver_first_locked", bench.tell(locked, &Call::Deliver { id: id(31, 0) }).gas_used);

    // The marginal cost of a tick: a whole book of 4,096 ticks, of which the floor is the clearing one.
    let mut bench = Bench::new(409_600 * CREDIT * 2);
    let entities: Vec<u64> = (0..4_096).collect();
    bench.wait_for_day(12);
    for &entity in &entities {
        bench.backer(entity);
        bench.bid(entity, 1, u16::try_from(entity).expect("a tick"), 100, 0);
    }
    bench.wait_for_day(23);
    // The first piece writes slots that were empty; from the second on pieces differ by their ticks alone.
    bench.anyone(&Call::Clear { round: 1, steps: 1 });
    let first = bench.anyone(&Call::Clear { round: 1, steps: 1 });
    let next_100 = bench.anyone(&Call::Clear { round: 1, steps: 101 });
    put("clear_per_tick_full_book", (next_100 - first.min(next_100)).div_ceil(100));
    let mut bench_full = bench;
    let rest = bench_full.anyone(&Call::Clear { round: 1, steps: 10_000 });
    put("clear_rest_of_full_book", rest);

    let mut bench = Bench::new(409_600 * CREDIT * 2);
    bench.wait_for_day(12);
    for &entity in &entities {
        bench.backer(entity);
        bench.bid(entity, 1, u16::try_from(entity).expect("a tick"), 100, 0);
    }
    bench.wait_for_day(23);
    put("clear_full_book", bench.anyone(&Call::Clear { round: 1, steps: 10_000 }));
    // The marginal cost where ticks are far apart: 120 of them, 34 apart, each in a slot of its own.
    let mut bench = Bench::new(409_600 * CREDIT * 2);
    bench.wait_for_day(12);
    for entity in 0..120u64 {
        bench.backer(entity);
        bench.bid(entity, 1, u16::try_from(entity * 34).expect("a tick"), 100, 0);
    }
    bench.wait_for_day(23);
    // The first piece writes slots that were empty; from the second on pieces differ by their ticks alone.
    bench.anyone(&Call::Clear { round: 1, steps: 1 });
    let first = bench.anyone(&Call::Clear { round: 1, steps: 1 });
    let next_100 = bench.anyone(&Call::Clear { round: 1, steps: 101 });
    put("clear_per_tick", (next_100 - first.min(next_100)).div_ceil(100));
    service(&mut put);
    println!("{}", serde_json::to_string_pretty(&out).expect("numbers"));
}
