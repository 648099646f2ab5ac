//! A raise on stage: a plan, its model, and short ways to act in it.

use alloy_primitives::Address;
use earnest_core::bid::BidId;
use earnest_core::money::{CASH_MAX, Cash};
use earnest_core::offering::{Order, Sale};
use earnest_core::permit::PurchasePermit;
use earnest_core::plan::{Plan, Time};
use earnest_core::raise::{Call, Holder, Raise};
use earnest_core::setup::{Parties, setup};
use earnest_report::{Summary, page, text};

pub(crate) const ISSUER: Address = Address::repeat_byte(1);
const CERTIFIER: Address = Address::repeat_byte(2);
pub(crate) const GUARDIAN: Address = Address::repeat_byte(3);
const ATTESTER: Address = Address::repeat_byte(4);

pub(crate) const DAY: u64 = 86_400;

pub(crate) struct Stage {
    pub(crate) plan: Plan,
    pub(crate) raise: Raise,
    pub(crate) now: Time,
}

/// What a bid is besides its cash.
#[derive(Clone, Copy, Default)]
pub(crate) struct Terms {
    pub(crate) tick: u16,
    pub(crate) schedule: u8,
    pub(crate) lock_class: u8,
    pub(crate) affiliate: bool,
    pub(crate) cooling_off: bool,
}

impl Stage {
    pub(crate) fn new(source: &str) -> Stage {
        let (plan, _) = Plan::read("plan.toml", source).unwrap_or_else(|faults| panic!("{faults}"));
        let parties = Parties {
            issuer: ISSUER,
            certifier: CERTIFIER,
            guardian: GUARDIAN,
            attesters: vec![ATTESTER],
            gateway: ISSUER,
        };
        let (offering, treasury) = setup(&plan, &parties).unwrap();
        let now = plan.rounds.iter().map(|round| round.open).min().unwrap();
        Stage { raise: Raise::new(offering, treasury), plan, now }
    }

    pub(crate) fn openai() -> Stage {
        Stage::new(include_str!("../../../../examples/plans/openai-2018.toml"))
    }

    pub(crate) fn small() -> Stage {
        Stage::new(SMALL_PLAN)
    }

    pub(crate) fn apply(&mut self, caller: Address, call: Call) {
        self.raise.apply(self.now, caller, &call).unwrap_or_else(|refused| panic!("{call:?}: {refused}"));
    }

    /// To the opening of a round.
    pub(crate) fn open(&mut self, round: u8) {
        self.now = self.raise.offering.rounds[usize::from(round)].open;
    }

    /// A bid of whole cash, paid from a fresh balance.
    pub(crate) fn bid(&mut self, round: u8, entity: u64, whole: u64, terms: Terms) -> BidId {
        let cash = Cash::from_whole(whole).unwrap().units();
        let wallet = wallet(entity);
        self.raise.cash.mint(Holder::Account(wallet), cash.into());
        let permit = PurchasePermit {
            entity,
            wallet,
            round,
            min_cash: 0,
            max_cash: CASH_MAX,
            max_total: CASH_MAX,
            first: 0,
            last: u16::MAX,
            not_before: 0,
            expiry: Time::MAX,
            jurisdiction: 840,
            lock_class: terms.lock_class,
            affiliate: terms.affiliate,
            cooling_off: terms.cooling_off,
            generation: 1,
            terms_hash: self.raise.offering.setup.terms_hash,
        };
        let order =
            Order { permit, signed_by: Some(ATTESTER), cash, tick: terms.tick, schedule: terms.schedule };
        self.apply(wallet, Call::Bid(order));
        BidId { round, window: self.window(round), entity }
    }

    /// The window of a rising round, 0 in any other.
    fn window(&self, round: u8) -> u16 {
        match self.raise.offering.setup.rounds[usize::from(round)].sale {
            Sale::Rising { window_secs, .. } => {
                let since = self.now - self.raise.offering.rounds[usize::from(round)].open;
                u16::try_from(since / window_secs).unwrap()
            }
            _ => 0,
        }
    }

    /// Clears a round as soon as it may be.
    pub(crate) fn clear(&mut self, round: u8) {
        self.now = self.now.max(self.raise.offering.clearable_at(round).unwrap());
        self.apply(ISSUER, Call::Clear { round, steps: 1_000_000 });
    }

    /// Settles every bid of a round and pulls every refund.
    pub(crate) fn settle_all(&mut self, round: u8) {
        for id in self.bids(round) {
            let bid = self.raise.offering.bid(id);
            if bid.cash > 0 && !bid.settled {
                self.apply(ISSUER, Call::Settle { id });
            }
            if bid.cash > 0 && self.raise.offering.outcome(id).0.back > 0 {
                self.apply(ISSUER, Call::Refund { id });
            }
        }
    }

    pub(crate) fn bids(&self, round: u8) -> Vec<BidId> {
        let ids = self.raise.offering.bids.keys().copied();
        ids.filter(|id| id.round == round && id.window != BidId::TOTAL).collect()
    }

    pub(crate) fn live(&mut self) {
        self.attest(0);
    }

    /// Attests a subject and waits for it to take effect.
    pub(crate) fn attest(&mut self, subject: u8) {
        self.apply(CERTIFIER, Call::Attest { subject });
        self.now = self.raise.offering.attestation(subject).effective_at;
    }

    pub(crate) fn attest_only(&mut self, subject: u8) {
        self.apply(CERTIFIER, Call::Attest { subject });
    }

    pub(crate) fn summary(&self) -> Summary {
        Summary::of(&self.plan, &self.raise, self.now)
    }

    pub(crate) fn text(&self, width: usize) -> String {
        text::status(&self.summary(), &self.plan, &self.raise, self.now, width)
    }

    pub(crate) fn position(&self, id: BidId) -> String {
        text::position(&self.plan, &self.raise, id, self.now)
    }

    pub(crate) fn html(&self) -> String {
        page::html(&self.summary(), &self.plan, &self.raise, self.now)
    }
}

pub(crate) fn wallet(entity: u64) -> Address {
    Address::left_padding_from(&(entity + 1_000).to_be_bytes())
}

/// The hypothetical raise of 2018 with `backers` bids in the auction, bids in both other rounds, all cleared,
/// settled and swept.
pub(crate) fn cleared(backers: u64) -> Stage {
    let mut stage = Stage::openai();
    for (entity, whole) in
        [(1, 500_000_000), (2, 500_000_000), (3, 500_000_000), (4, 500_000_000), (5, 400_000_000)]
    {
        stage.bid(0, entity, whole, Terms { schedule: 2, lock_class: 1, ..Terms::default() });
    }
    stage.clear(0);
    stage.open(1);
    auction_bids(&mut stage, backers);
    stage.clear(1);
    stage.open(2);
    for (window, opens) in (0..28u64).map(|window| (window, stage.now + window * DAY)).collect::<Vec<_>>() {
        stage.now = opens;
        for i in 0..3 {
            let whole = 20_000_000 + random(window * 3 + i) % 60_000_000;
            stage.bid(
                2,
                50_000 + window * 3 + i,
                whole,
                Terms { schedule: u8::from(i == 0), ..Terms::default() },
            );
        }
    }
    stage.clear(2);
    for round in 0..3 {
        stage.settle_all(round);
        stage.apply(ISSUER, Call::Sweep { round });
    }
    stage
}

/// Limits bunched around the middle of the ladder, 1.4 times what is for sale.
pub(crate) fn auction_bids(stage: &mut Stage, backers: u64) {
    for entity in 100..100 + backers {
        let dice = |n: u64| random(entity * 8 + n);
        let tick = u16::try_from(dice(0) % 1_000 + dice(1) % 1_000 + dice(2) % 1_000).unwrap();
        let mean = 7_000_000_000 / backers;
        let whole = mean / 4 + dice(3) % (mean * 3 / 2);
        stage.bid(1, entity, whole, Terms { tick, schedule: u8::from(dice(4) % 3 == 0), ..Terms::default() });
    }
}

/// The same numbers in every run (splitmix64).
fn random(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// A small plan of its own, so that an edit of the examples does not move these tests.
pub(crate) const SMALL_PLAN: &str = include_str!("small-plan.toml");
