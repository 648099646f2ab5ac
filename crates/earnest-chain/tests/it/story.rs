//! Random raises: a setup over all kinds of rounds, a cast of people, and what they try next, honest or not.

use alloy_primitives::{Address, B256, U256};
use earnest_chain::chain::Chain;
use earnest_chain::deploy::{Blueprint, Coins, Deployment, approve_cash, deploy, mint_cash};
use earnest_chain::embedded::Embedded;
use earnest_chain::key::Key;
use earnest_chain::layout::{self, Slots};
use earnest_chain::story::{Keys, tell};
use earnest_core::bid::BidId;
use earnest_core::clearing::Prices;
use earnest_core::curve::{Knot, Ladder};
use earnest_core::money::{Bps, CASH_MAX};
use earnest_core::offering::{Consent, DAY, OfferingSetup, Order, RoundSetup, Sale, Status};
use earnest_core::permit::PurchasePermit;
use earnest_core::raise::{Call, Holder, Raise};
use earnest_core::schedule::Schedule;
use earnest_core::setup::ServiceSetup;
use earnest_core::statement::RevenueSetup;
use earnest_core::treasury::TreasurySetup;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Start of every story.
pub(crate) const START: u64 = 1_700_000_000;

/// Model and chain, side by side.
pub(crate) struct Story {
    pub(crate) random: ChaCha8Rng,
    pub(crate) raise: Raise,
    pub(crate) chain: Chain,
    pub(crate) at: Deployment,
    pub(crate) keys: Keys,
    pub(crate) cast: Cast,
    /// What all amounts of cash are multiplied by.
    scale: u64,
}

/// Everyone in a story.
pub(crate) struct Cast {
    pub(crate) issuer: Address,
    pub(crate) certifier: Address,
    pub(crate) guardian: Address,
    pub(crate) attesters: Vec<Address>,
    pub(crate) backers: Vec<Address>,
    pub(crate) stranger: Address,
}

/// A random setup. Times are short and amounts lumpy, so that every rule is met often.
pub(crate) fn random_setup(random: &mut ChaCha8Rng, cast: &Cast) -> (OfferingSetup, TreasurySetup) {
    let count = random.random_range(1..=4usize);
    let mut rounds: Vec<RoundSetup> = Vec::new();
    let schedules = vec![
        Schedule { linear: false, points: vec![(1, 10_000)] },
        Schedule { linear: true, points: vec![(random.random_range(1..40) * 86_400, 10_000)] },
        Schedule { linear: false, points: vec![(86_400, 2_500), (3 * 86_400, 2_501), (20 * 86_400, 10_000)] },
        Schedule { linear: true, points: vec![(86_400, 1), (5 * 86_400, 3_333), (9 * 86_400, 10_000)] },
    ];
    let discounts = [0u16, 750, 2_000, random.random_range(0..=9_000)];
    for index in 0..count {
        let open = START + random.random_range(0..3 * DAY);
        let close = open + random.random_range(1..4 * DAY);
        // Supplies from far too small to far too large for what is bid.
        let supply = random.random_range(1..=2_000u128) * 10u128.pow(random.random_range(15..=21));
        let price = random.random_range(1..=3_000_000_000_000u64);
        let sale = match random.random_range(0..4) {
            kind @ 0..=1 => Sale::Fixed {
                supply: supply.max(10u128.pow(19)),
                price: price.max(1_000_000_000),
                first_come: random.random_bool(0.3),
                private: kind == 1,
            },
            2 => Sale::Auction {
                prices: Prices {
                    supply: supply.max(10u128.pow(19)),
                    floor: price.max(1_000_000_000),
                    step: random.random_range(0..=price / 2),
                },
                ticks: if random.random_bool(0.5) {
                    random.random_range(1..=4096)
                } else {
                    random.random_range(1..=6)
                },
            },
            _ => {
                let (mut weight, mut credits) = (0u64, 0u128);
                let knots = (0..random.random_range(2..20)).map(|_| {
                    let knot = Knot { weight, credits };
                    weight += random.random_range(1..=400_000_000u64);
                    credits += random.random_range(0..=1_000u128) * 10u128.pow(random.random_range(0..=18));
                    knot
                });
                let ladder = Ladder::new(knots.collect()).expect("rising");
                let window_secs = random.random_range(1_800..=DAY);
                let end = ladder.last_weight();
                Sale::Rising {
                    window_secs,
                    windows: u16::try_from((close - open).div_ceil(window_secs)).unwrap(),
                    window_cap: random.random_range(1..=end),
                    cap: random.random_range(1..=2 * end),
                    start: random.random_range(0..=end / 2),
                    follows: (index > 0 && random.random_bool(0.5)).then(|| u8::try_from(index - 1).unwrap()),
                    ladder,
                }
            }
        };
        rounds.push(RoundSetup {
            sale,
            open,
            close,
            pause_limit: random.random_range(0..DAY),
            cooling_off_days: if random.random_bool(0.5) { random.random_range(1..3) } else { 0 },
            withdrawable_most: if random.random_bool(0.5) {
                u64::MAX
            } else {
                random.random_range(0..2_000_000_000)
            },
            schedules: random.random_range(1..16),
        });
    }
    let soft_cap = if random.random_bool(0.5) { 0 } else { random.random_range(1..=3_000_000_000) };
    let offering = OfferingSetup {
        issuer: cast.issuer,
        certifier: cast.certifier,
        guardian: cast.guardian,
        attesters: cast.attesters[..2].to_vec(),
        terms_hash: B256::repeat_byte(0x11),
        soft_cap,
        soft_cap_date: START + random.random_range(8..14) * DAY,
        deadline: START + random.random_range(14..30) * DAY,
        notice_secs: random.random_range(0..2 * DAY),
        objections: random.random_range(0..3),
        milestones: 2,
        schedules,
        discounts: discounts.iter().map(|&bps| Bps::new(bps).unwrap()).collect(),
        lock_days: vec![0, random.random_range(0..30), random.random_range(0..4_096)],
        rounds,
    };
    let treasury = TreasurySetup {
        issuer: cast.issuer,
        deadline: offering.deadline,
        tap_start: if random.random_bool(0.5) { 0 } else { START + random.random_range(0..20) * DAY },
        tap_per_sec: random.random_range(1..=100_000),
        ceiling_at_start: if random.random_bool(0.5) { 0 } else { random.random_range(0..1_000_000_000) },
        ceilings: vec![
            (random.random_range(0..2_000_000_000), false),
            (random.random_range(0..3_000_000_000), random.random_bool(0.5)),
            (random.random_range(0..4_000_000_000), random.random_bool(0.5)),
        ],
    };
    (offering, treasury)
}

fn coins() -> Coins {
    Coins {
        cash: None,
        cash_name: ("Play Dollar".into(), "pUSD".into()),
        credit_name: ("Credit".into(), "CRED".into()),
        x402: true,
    }
}

fn service(offering: &OfferingSetup) -> ServiceSetup {
    let gateway = Key::from_words("gateway").address();
    let revenue = RevenueSetup { issuer: offering.issuer, gateway, share: Bps::new(8_000).expect("a part") };
    ServiceSetup { revenue, price_list: None }
}

/// Gives backers the cash that the model says they have, and lets the offering take it.
fn hand_out(chain: &mut Chain, at: &Deployment, raise: &Raise, keys: &Keys, cast: &Cast) {
    let deployer = Key::from_words("deployer");
    for &backer in &cast.backers {
        let units = u64::try_from(raise.cash.of(Holder::Account(backer))).expect("below 2⁶⁰");
        mint_cash(chain, &deployer, at.cash, backer, units).expect("mints");
        approve_cash(chain, keys.of(backer), at.cash, at.offering).expect("approves");
    }
}

impl Story {
    /// A story begins: contracts deployed, backers with cash.
    pub(crate) fn new(seed: u64) -> Self {
        Self::begin(seed, Chain::Embedded(Embedded::new(START)), 1, |_, _, _| {})
    }

    /// The same on a chain that is already there.
    pub(crate) fn on(seed: u64, chain: Chain) -> Self {
        Self::begin(seed, chain, 1, |_, _, _| {})
    }

    /// The same with amounts of another size and a changed setup.
    pub(crate) fn with(
        seed: u64,
        scale: u64,
        change: impl FnOnce(&mut ChaCha8Rng, &mut OfferingSetup, &mut TreasurySetup),
    ) -> Self {
        Self::begin(seed, Chain::Embedded(Embedded::new(START)), scale, change)
    }

    fn begin(
        seed: u64,
        mut chain: Chain,
        scale: u64,
        change: impl FnOnce(&mut ChaCha8Rng, &mut OfferingSetup, &mut TreasurySetup),
    ) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut keys = Keys::default();
        let mut person = |name: &str| keys.add(Key::from_words(name));
        let cast = Cast {
            issuer: person("issuer"),
            certifier: person("certifier"),
            guardian: person("guardian"),
            attesters: (0..3).map(|i| person(&format!("attester {i}"))).collect(),
            backers: (0..8).map(|i| person(&format!("backer {i}"))).collect(),
            stranger: person("stranger"),
        };
        let deployer = Key::from_words("deployer");
        let (mut offering, mut treasury) = random_setup(&mut random, &cast);
        change(&mut random, &mut offering, &mut treasury);
        let at = deploy(&mut chain, &deployer, &offering, &treasury, &service(&offering), &coins())
            .expect("deploys");
        let mut raise = Raise::new(offering, treasury);
        for &backer in &cast.backers {
            let units = if random.random_bool(0.1) { 5_000_000 } else { 100_000_000_000u64 };
            // An eighth of what a slot holds, so that all of them together have no more than it.
            let units = units.saturating_mul(scale).min(CASH_MAX / 8);
            raise.cash.mint(Holder::Account(backer), units.into());
        }
        hand_out(&mut chain, &at, &raise, &keys, &cast);
        Story { random, raise, chain, at, keys, cast, scale }
    }

    /// The story's beginning once more on another chain, with a changed deployment.
    pub(crate) fn begin_again(&self, chain: Embedded, change: impl FnOnce(&mut Blueprint)) -> Chain {
        let mut chain = Chain::Embedded(chain);
        let deployer = Key::from_words("deployer");
        let (offering, treasury) = (&self.raise.offering.setup, &self.raise.treasury.setup);
        let mut blueprint =
            Blueprint::new(deployer.address(), 0, offering, treasury, &service(offering), &coins());
        change(&mut blueprint);
        for step in blueprint.steps {
            chain.send_data(&deployer, step.to, step.data).expect("deploys");
        }
        hand_out(&mut chain, &self.at, &self.raise, &self.keys, &self.cast);
        chain
    }

    pub(crate) fn now(&self) -> u64 {
        self.chain.time().expect("embedded")
    }

    fn anyone(&mut self) -> Address {
        let cast = &self.cast;
        let mut all = vec![cast.issuer, cast.certifier, cast.guardian, cast.stranger, cast.attesters[0]];
        all.extend(&cast.backers);
        *all.choose(&mut self.random).unwrap()
    }

    /// Mostly one that exists.
    fn some_bid(&mut self) -> BidId {
        let known: Vec<BidId> = self.raise.offering.bids.keys().copied().collect();
        match known.choose(&mut self.random) {
            Some(&id) if self.random.random_bool(0.95) => id,
            _ => BidId {
                round: self.random.random_range(0..5),
                window: 0,
                entity: self.random.random_range(0..12),
            },
        }
    }

    fn some_round(&mut self) -> u8 {
        let count = u8::try_from(self.raise.offering.rounds.len()).unwrap();
        if self.random.random_bool(0.98) { self.random.random_range(0..count) } else { count }
    }

    /// A bid, sometimes wrong in one way or another.
    fn some_order(&mut self) -> (Address, Call) {
        let round = self.some_round();
        let index = usize::from(round).min(self.raise.offering.rounds.len() - 1);
        let setup = self.raise.offering.setup.rounds[index].clone();
        let random = &mut self.random;
        // An entity mostly uses the wallet of its number; sometimes another's.
        let entity = random.random_range(0..10u64);
        let wallet = self.cast.backers[usize::try_from(entity).unwrap() % self.cast.backers.len()];
        let wallet =
            if random.random_bool(0.03) { *self.cast.backers.choose(random).unwrap() } else { wallet };
        let ticks = setup.ticks();
        let tick = if setup.is_rising() { 0 } else { random.random_range(0..ticks) };
        let known = self.raise.offering.bids.range(
            BidId { round, window: 0, entity: 0 }..=BidId { round, window: u16::MAX, entity: u64::MAX },
        );
        let mine: Vec<_> = known.filter(|(id, bid)| id.entity == entity && bid.cash > 0).collect();
        let standing = mine.first().map(|(_, bid)| **bid);
        let (mut cash, mut schedule) =
            (random.random_range(1..=900_000_000 * self.scale), random.random_range(0..4u8));
        let mut lock_class = random.random_range(0..3u8);
        let mut affiliate = entity >= 8;
        let mut tick = tick;
        if let Some(bid) = standing {
            if random.random_bool(0.7) {
                cash = bid.cash + random.random_range(0..=500_000_000 * self.scale);
                tick = tick.max(bid.tick);
            }
            if random.random_bool(0.9) {
                (schedule, lock_class, affiliate) = (bid.schedule, bid.lock_class, bid.affiliate);
            }
        }
        let now = self.chain.time().expect("embedded");
        let mut permit = PurchasePermit {
            entity,
            wallet,
            round,
            min_cash: 1,
            max_cash: CASH_MAX,
            max_total: if random.random_bool(0.5) { u64::MAX } else { 1_200_000_000 * self.scale },
            first: 0,
            last: u16::MAX,
            not_before: 0,
            expiry: now + 1_000,
            jurisdiction: 840,
            lock_class,
            affiliate,
            cooling_off: !affiliate && random.random_bool(0.4),
            generation: 1,
            terms_hash: B256::repeat_byte(0x11),
        };
        let attester = self.cast.attesters[random.random_range(0..2)];
        if let Some(&(current, _)) = self.raise.offering.generations.get(&attester)
            && random.random_bool(0.95)
        {
            permit.generation = current;
        }
        let mut signed_by = Some(attester);
        let mut caller = wallet;
        if random.random_bool(0.15) {
            match random.random_range(0..14) {
                0 => permit.terms_hash = B256::ZERO,
                1 => permit.expiry = now - 1,
                2 => permit.not_before = now + 1,
                3 => permit.max_cash = cash - 1,
                4 => permit.min_cash = cash + 1,
                5 => permit.max_total = cash,
                6 => permit.last = tick.saturating_sub(1),
                7 => permit.first = tick + 1,
                8 => signed_by = None,
                9 => signed_by = Some(self.cast.stranger),
                10 => caller = self.cast.stranger,
                11 => permit.generation += 1,
                12 => permit.cooling_off = true,
                _ => tick = ticks,
            }
        }
        if random.random_bool(0.02) {
            schedule = 15;
        }
        if random.random_bool(0.02) {
            permit.lock_class = 16;
        }
        if random.random_bool(0.01) {
            cash = 0;
        }
        (caller, Call::Bid(Order { permit, signed_by, cash, tick, schedule }))
    }

    fn some_consent(&mut self) -> Consent {
        let now = self.now();
        let expiry = if self.random.random_bool(0.8) { now + 60 } else { now - 1 };
        Consent { expiry, by_owner: self.random.random_bool(0.8) }
    }

    /// What someone tries next.
    pub(crate) fn next(&mut self) -> (Address, Call) {
        let offering = &self.raise.offering;
        let bidding = offering.rounds.iter().any(|r| r.status == Status::Open && r.close > self.now());
        let id = self.some_bid();
        let owner = self.raise.offering.bid(id).wallet;
        let owner = if owner.is_zero() || self.random.random_bool(0.05) { self.anyone() } else { owner };
        let anyone = self.anyone();
        let weights: &[(u32, u32)] = if bidding {
            &[
                (0, 60),
                (1, 8),
                (2, 3),
                (3, 4),
                (4, 3),
                (5, 3),
                (6, 1),
                (7, 1),
                (8, 2),
                (9, 1),
                (10, 2),
                (11, 2),
                (12, 1),
            ]
        } else {
            &[
                (0, 2),
                (1, 3),
                (2, 2),
                (4, 14),
                (5, 18),
                (6, 14),
                (7, 4),
                (8, 8),
                (9, 5),
                (10, 3),
                (11, 16),
                (12, 4),
                (13, 3),
                (14, 8),
                (15, 6),
                (16, 2),
                (17, 3),
            ]
        };
        let mut at = self.random.random_range(0..weights.iter().map(|(_, weight)| weight).sum());
        let past = weights.iter().find(|(_, weight)| {
            let here = at < *weight;
            at = at.saturating_sub(*weight);
            here
        });
        let pick = past.expect("below the sum").0;
        let payee = self.anyone();
        match pick {
            0 => self.some_order(),
            1 => (owner, Call::Withdraw { id, payee }),
            2 => (anyone, Call::Lapse { id }),
            3 => {
                let caller = if self.random.random_bool(0.9) { self.cast.guardian } else { anyone };
                let (round, secs) = (self.some_round(), self.random.random_range(0..20_000));
                (caller, Call::Pause { round, secs })
            }
            4 => {
                let steps =
                    if self.random.random_bool(0.3) { 10_000 } else { self.random.random_range(0..6) };
                (anyone, Call::Clear { round: self.some_round(), steps })
            }
            5 => (anyone, Call::Settle { id }),
            6 => (anyone, Call::Refund { id }),
            7 => {
                let consent = self.some_consent();
                let caller = if self.random.random_bool(0.5) { owner } else { anyone };
                (caller, Call::RefundTo { id, payee, consent })
            }
            8 => (anyone, Call::Sweep { round: self.some_round() }),
            9 => {
                let caller = if self.random.random_bool(0.9) { self.cast.certifier } else { anyone };
                (caller, Call::Attest { subject: self.random.random_range(0..4) })
            }
            10 => {
                let caller = if self.random.random_bool(0.9) { self.cast.guardian } else { anyone };
                (caller, Call::Object { subject: self.random.random_range(0..4) })
            }
            11 => (owner, Call::Deliver { id }),
            12 => {
                let attester = self.cast.attesters[self.random.random_range(0..3)];
                let caller = if self.random.random_bool(0.8) { self.cast.issuer } else { anyone };
                (caller, Call::SetAttester { attester, generation: self.random.random_range(0..6) })
            }
            13 => (anyone, Call::Sync),
            14 => {
                let available = self.raise.treasury.released(&self.raise.offering, self.now());
                let available =
                    available.saturating_sub(self.raise.treasury.tap_paid).min(self.raise.treasury.held());
                let cash = if self.random.random_bool(0.8) {
                    self.random.random_range(0..=available)
                } else {
                    available + self.random.random_range(0..3)
                };
                let caller = if self.random.random_bool(0.95) { self.cast.issuer } else { anyone };
                (caller, Call::Draw { cash, to: payee })
            }
            15 => (anyone, Call::PotRefund { id }),
            16 => {
                let consent = self.some_consent();
                (anyone, Call::PotRefundTo { id, payee, consent })
            }
            _ if self.random.random_bool(0.4) => {
                let consent = self.some_consent();
                (anyone, Call::DeliverFor { id, consent })
            }
            _ => {
                let vaults = self.raise.credits.balances.keys();
                let vaults: Vec<BidId> = vaults
                    .filter_map(|holder| match holder {
                        Holder::Vault(id) => Some(*id),
                        _ => None,
                    })
                    .collect();
                match vaults.choose(&mut self.random) {
                    Some(&id) => (anyone, Call::Release { id }),
                    None => (anyone, Call::Sync),
                }
            }
        }
    }

    /// Time passes: mostly seconds, sometimes days, so that a story of 200 steps reaches its end.
    pub(crate) fn pass_time(&mut self) {
        let secs = match self.random.random_range(0..100) {
            0..60 => self.random.random_range(0..600),
            60..94 => self.random.random_range(0..8 * 3_600),
            _ => self.random.random_range(0..3 * DAY),
        };
        let to = self.now() + secs;
        self.chain.advance_to(to).expect("embedded");
    }

    /// Does a call on both sides. Returns the name of the refusal, the same on both.
    pub(crate) fn act(&mut self, caller: Address, call: &Call) -> Result<(), String> {
        let now = self.now();
        let (owner, delivered) = self.consent_of(call);
        let call = honest_consents(call, owner);
        let model = self.raise.apply(now, caller, &call).map_err(|refused| refused.name());
        let chain = tell(&mut self.chain, &self.at, &self.keys, caller, &call, owner, delivered);
        let chain = chain.map(drop).map_err(|error| match error.name().as_deref() {
            Some("ECDSAInvalidSignature") => "BadSignature".to_string(),
            Some(name) => name.to_string(),
            None => format!("{error}"),
        });
        assert_eq!(model, chain, "model and contract differ on {call:?} by {caller} at {now}");
        model
    }

    /// Whose consent a call needs, and how much of the position was delivered.
    pub(crate) fn consent_of(&self, call: &Call) -> (Address, u128) {
        match call {
            Call::RefundTo { id, .. } | Call::PotRefundTo { id, .. } | Call::DeliverFor { id, .. } => {
                let delivered =
                    self.raise.offering.positions.get(id).map_or(0, |position| position.delivered);
                (self.raise.offering.bid(*id).wallet, delivered)
            }
            _ => (Address::ZERO, 0),
        }
    }

    fn storage(&self, at: Address, slot: U256) -> U256 {
        self.chain.storage(at, slot).expect("in this process")
    }

    pub(crate) fn slots(&self, at: Address) -> Slots {
        match &self.chain {
            Chain::Embedded(chain) => chain.slots(at).collect(),
            Chain::Node(node) => node.slots(at).into_iter().collect(),
            Chain::Rpc(_) => unreachable!("stories run in this process"),
        }
    }

    /// What one call touched, slot by slot.
    pub(crate) fn compare_touched(&self, call: &Call) {
        let mut slots = Slots::new();
        let offering = &self.raise.offering;
        for (index, ladder) in (0u8..).zip(&self.at.ladders) {
            layout::round(&mut slots, offering, index, *ladder);
        }
        let id = match call {
            Call::Bid(order) => {
                let of = BidId { round: order.permit.round, window: 0, entity: order.permit.entity };
                for (&id, bid) in offering.bids.range(of..).take(40).filter(|(id, _)| id.entity == of.entity)
                {
                    layout::bid(&mut slots, id, bid);
                }
                if usize::from(of.round) < offering.rounds.len() {
                    layout::place(&mut slots, offering, of.round, order.tick);
                }
                None
            }
            Call::Withdraw { id, .. }
            | Call::Lapse { id }
            | Call::Settle { id }
            | Call::Refund { id }
            | Call::RefundTo { id, .. }
            | Call::Deliver { id }
            | Call::DeliverFor { id, .. }
            | Call::PotRefund { id }
            | Call::PotRefundTo { id, .. }
            | Call::Release { id } => Some(*id),
            _ => None,
        };
        if let Some(id) = id {
            layout::bid(&mut slots, id, &offering.bid(id));
            layout::bid(&mut slots, id.total(), &offering.bid(id.total()));
            layout::position(&mut slots, id, &offering.positions.get(&id).copied().unwrap_or_default());
        }
        for (slot, expected) in slots {
            assert_eq!(self.storage(self.at.offering, slot), expected, "offering slot {slot:#x}, {call:?}");
        }
        for (slot, expected) in layout::treasury(&self.raise.treasury) {
            assert_eq!(self.storage(self.at.treasury, slot), expected, "treasury slot {slot:#x}, {call:?}");
        }
    }

    /// The whole state: every slot the contracts have, and no other.
    pub(crate) fn compare_whole(&mut self) {
        let has = |at| self.slots(at);
        differences("offering", &has(self.at.offering), &layout::offering(&self.raise.offering, &self.at));
        differences("treasury", &has(self.at.treasury), &layout::treasury(&self.raise.treasury));
        let vaults: Vec<BidId> = self
            .raise
            .credits
            .balances
            .keys()
            .filter_map(|holder| match holder {
                Holder::Vault(id) => Some(*id),
                _ => None,
            })
            .collect();
        let mut vault_at = std::collections::HashMap::new();
        for id in vaults {
            let call = earnest_chain::bindings::Offering::vaultOfCall { id: earnest_chain::story::pack(id) };
            vault_at.insert(id, self.chain.call(self.at.offering, &call).expect("a view"));
        }
        let place = |holder| match holder {
            Holder::Account(at) => at,
            Holder::Vault(id) => vault_at[&id],
            Holder::Offering => self.at.offering,
            Holder::Treasury => self.at.treasury,
        };
        for (what, at, coin) in
            [("cash", self.at.cash, &self.raise.cash), ("credits", self.at.credit, &self.raise.credits)]
        {
            for (slot, expected) in layout::coin(coin, 0, place) {
                assert_eq!(self.storage(at, slot), expected, "{what} slot {slot:#x}");
            }
        }
    }
}

/// A consent is only as good as its owner: of a bid that does not exist, no one's.
pub(crate) fn honest_consents(call: &Call, owner: Address) -> Call {
    let mut call = call.clone();
    if let Call::RefundTo { consent, .. }
    | Call::PotRefundTo { consent, .. }
    | Call::DeliverFor { consent, .. } = &mut call
    {
        consent.by_owner &= !owner.is_zero();
    }
    call
}

fn differences(what: &str, chain: &Slots, model: &Slots) {
    for (slot, value) in chain {
        assert_eq!(model.get(slot), Some(value), "{what}: slot {slot:#x} as the chain has it");
    }
    for (slot, value) in model {
        assert_eq!(chain.get(slot), Some(value), "{what}: slot {slot:#x} as the model has it");
    }
}
