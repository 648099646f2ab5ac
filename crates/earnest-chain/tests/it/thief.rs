//! LOCK-1 against one who searches. A thief owns vaults by a plain key and by a contract that signs anything, has session
//! keys, wallets and contracts to call from within, and serves as a provider; it puts together random calls of every
//! public function, with fields swapped, signatures replayed and bytes altered, while holder and gateway go about their
//! business. After each step [`Watch`] counts. `EARNEST_SEED=n` runs one story alone, `EARNEST_STORIES=n` that many.
//! That the search would find a hole is shown by holes: contracts/test/frauds.mjs.

mod tricks;

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, Log, TxKind, U256};
use alloy_sol_types::{Eip712Domain, SolCall, SolConstructor, SolEvent};
use earnest_chain::bindings::{Channels, Credit, DepositCollector, DevCash, Offering, Revenue, Vault};
use earnest_chain::chain::Chain;
use earnest_chain::channel::{coin_domain, domain, sol_config, sol_row, voucher_digest};
use earnest_chain::deploy::Coins;
use earnest_chain::embedded::DEV_CHAIN_ID;
use earnest_chain::key::Key;
use earnest_chain::story::pack;
use earnest_core::bid::BidId;
use earnest_core::channel::{ChannelConfig, LEAST_DELAY, Row};
use earnest_core::money::Bps;
use earnest_core::offering::DAY;
use earnest_core::statement::{Split, leaf};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::accomplice::{Accomplice, recruit};
use crate::frauds::{AWAKE, Crooked, crooked};
use crate::lockstep::{number, over_seeds};
use crate::purse::Watch;
use crate::story::START;
use crate::vault::LOCK;
use crate::world::*;

const STEPS: usize = 60;
const STORIES: u64 = 100;
/// Keys of the thief; the first owns vaults, the second serves as a provider too.
const THIEVES: [&str; 4] = ["alice", "mallory", "session", "other session"];
/// Has a vault and a wallet that pay for the service, and a session key.
const HOLDER: &str = "carol";
const HOLDERS_KEY: &str = "carol's key";
/// When every lock ends, after [`START`].
const UNLOCK: u64 = CLEARABLE + LOCK;

struct Hunt {
    random: ChaCha8Rng,
    world: World,
    settlement: Eip712Domain,
    coin: B256,
    keys: BTreeMap<Address, Key>,
    accomplices: [Address; 2],
    /// Locked positions of the thief, and their vaults with who signs for each.
    positions: [BidId; 3],
    owners: BTreeMap<Address, Address>,
    watch: Watch,
    /// Everything that was ever signed or sent in place of a signature.
    papers: Vec<Bytes>,
    /// What went through, to be sent again.
    past: Vec<(Address, Bytes)>,
    /// The channel that the last call was meant for.
    meant: Option<ChannelConfig>,
    /// Channels that a withdrawal was asked from.
    asked: Vec<ChannelConfig>,
    served: BTreeMap<Address, u128>,
    split: Split,
    refusals: BTreeMap<String, u64>,
}

impl Hunt {
    /// Vaults of alice (delivered, and one that is not there yet), of an accomplice (vesting over 30 days) and of an
    /// honest holder; thieves have 250 free credits, the holder 100.
    fn new(seed: u64) -> Self {
        let x402 = seed.is_multiple_of(2);
        let mut world = World::deploy(|_, _| {}, |_| Coins { x402, ..coins(None) }).expect("deploys");
        let at = world.at.clone();
        let accomplices = [recruit(&mut world), recruit(&mut world)];
        let wallets = [who("alice"), accomplices[0], who("alice"), who(HOLDER), who("bob")];
        let mut ids = Vec::new();
        for (index, &wallet) in wallets.iter().enumerate() {
            let entity = index as u64 + 1;
            world.does(
                "deployer",
                at.cash,
                &DevCash::mintCall { to: wallet, units: U256::from(1_000 * CASH) },
            );
            let approve = DevCash::approveCall { spender: at.offering, value: U256::MAX };
            world.send(wallet, at.cash, &approve).expect("approves");
            let mut permit = world.permit("alice", FIXED, entity);
            (permit.wallet, permit.lock_class) = (wallet, u8::from(index < 4));
            let mut bid = world.order(&permit, if index < 4 { 100 * CASH } else { 500 * CASH }, 0);
            bid.schedule = U256::from(u8::from((1..3).contains(&index)));
            world.send(wallet, at.offering, &bid).expect("bids");
            ids.push(bid_id(FIXED, entity));
        }
        world.go_to(CLEARABLE);
        world.clears(FIXED);
        world.goes_live();
        let now = world.chain.time();
        world.chain.advance_to(now + DAY);
        for index in [0, 1, 3, 4] {
            world.send(wallets[index], at.offering, &deliver(ids[index])).expect("delivers");
        }
        for (to, credits) in
            [(who("mallory"), 150), (accomplices[0], 50), (accomplices[1], 50), (who(HOLDER), 100)]
        {
            let value = U256::from(credits * CREDIT);
            world.does("bob", at.credit, &Credit::transferCall { to, value });
        }
        let mut vault = |id| world.asks(at.offering, &Offering::vaultOfCall { id: pack(id) });
        let vaults = [0, 1, 2].map(|index| vault(ids[index]));
        let holders = vault(ids[3]);
        let honest: Vec<Address> =
            ["bob", HOLDER, HOLDERS_KEY, "provider", "issuer", "gateway"].map(who).into();
        let holders_of = [THIEVES.map(who).to_vec(), accomplices.to_vec()].concat();
        let mut watch = Watch::new(&at, &vaults, &[honest, vec![holders]].concat(), &holders_of, 8_000);
        watch.purse = watch.look(&world.chain).expect("adds up");
        watch.delivered = watch.purse.locked.values().sum();
        let names = THIEVES.iter().chain(&[HOLDER, HOLDERS_KEY]);
        let owners = vaults.iter().copied().zip(wallets).chain([(holders, who(HOLDER))]);
        let mut chain = Chain::Embedded(world.chain);
        let coin = coin_domain(&mut chain, at.credit).expect("a coin");
        let Chain::Embedded(chain) = chain else { unreachable!("embedded") };
        world.chain = chain;
        Hunt {
            random: ChaCha8Rng::seed_from_u64(seed),
            settlement: domain(DEV_CHAIN_ID, at.channels),
            coin,
            keys: names.map(|name| (who(name), key(name))).collect(),
            accomplices,
            positions: [ids[0], ids[1], ids[2]],
            owners: owners.collect(),
            watch,
            papers: Vec::new(),
            past: Vec::new(),
            meant: None,
            asked: Vec::new(),
            served: BTreeMap::new(),
            split: Split::default(),
            refusals: BTreeMap::new(),
            world,
        }
    }

    /// Puts crooked code in place of honest code, with one hole awake in all of it.
    fn open(&mut self, hole: usize, crooked: &Crooked) {
        let at = self.world.at.clone();
        let vault = Vault::constructorCall {
            credit_: at.credit,
            channels_: at.channels,
            collector_: at.collector,
            revenue_: at.revenue,
        };
        let revenue = Revenue::constructorCall {
            setup: Revenue::RevenueSetup {
                issuer: who("issuer"),
                credit: at.credit,
                cash: at.cash,
                channels: at.channels,
                share: 8_000,
                roles: [who("gateway"); 4],
            },
        };
        let collector = DepositCollector::constructorCall { settlement_: at.channels };
        let credit =
            Credit::constructorCall { name_: "Credit".into(), symbol_: "CRED".into(), minter_: at.offering };
        for (place, name, arguments) in [
            (at.vault, "Vault", vault.abi_encode()),
            (at.revenue, "Revenue", revenue.abi_encode()),
            (at.collector, "DepositCollector", collector.abi_encode()),
            (at.credit, "Credit", credit.abi_encode()),
            (at.channels, "Channels", Vec::new()),
        ] {
            let code = [crooked.bytecode[name].as_ref(), &arguments].concat();
            let chain = &mut self.world.chain;
            let made = chain.send(who("deployer"), TxKind::Create, code.into()).expect("deploys").created;
            chain.set_code(place, chain.code(made.expect("a contract")));
            chain.set_storage(place, U256::from(AWAKE), U256::from(hole)).expect("in memory");
        }
        for &vault in self.owners.keys() {
            if !self.world.chain.code(vault).is_empty() {
                self.world.chain.set_storage(vault, U256::from(AWAKE), U256::from(hole)).expect("in memory");
            }
        }
    }

    // ---- what the honest do

    fn business(&mut self) -> Result<(), String> {
        let at = self.world.at.clone();
        match self.random.random_range(0..20) {
            0..3 => {
                let vaults: Vec<Address> = self
                    .owners
                    .iter()
                    .filter(|(_, owner)| **owner == who(HOLDER))
                    .map(|(vault, _)| *vault)
                    .collect();
                let channel = ChannelConfig {
                    payer: self.pick(&[who(HOLDER), vaults[0]]),
                    payer_authorizer: who(HOLDERS_KEY),
                    receiver: at.revenue,
                    receiver_authorizer: at.revenue,
                    token: at.credit,
                    withdraw_delay: LEAST_DELAY,
                    salt: B256::ZERO,
                };
                let amount = self.random.random_range(1..10 * CREDIT);
                let deposit = self.deposit_into(channel, amount);
                let signature = key(HOLDER).sign(deposit.digest(&self.settlement, self.coin, at.collector));
                self.papers.push(signature.clone());
                let from_vault = self.owners.contains_key(&channel.payer);
                let consent = if from_vault { deposit.vault_proof(signature) } else { signature };
                self.sends(who(HOLDER), at.channels, deposit.call(at.collector, consent).abi_encode().into())
            }
            3..5 => {
                let channels: Vec<ChannelConfig> = self
                    .watch
                    .channels
                    .values()
                    .filter(|channel| self.watch.is_honest(channel))
                    .copied()
                    .collect();
                let Some(channel) = channels.choose(&mut self.random).copied() else { return Ok(()) };
                let amount = self.random.random_range(0..=self.left(&channel));
                let config = sol_config(&channel);
                let data = if self.one_in(2) {
                    Channels::initiateWithdrawCall { config, amount }.abi_encode()
                } else {
                    Channels::finalizeWithdrawCall { config }.abi_encode()
                };
                self.sends(who(HOLDERS_KEY), at.channels, data.into())
            }
            5..11 => self.claims(),
            11..14 => {
                let channel = self.known();
                if !self.watch.is_service(&channel) {
                    return Ok(());
                }
                let amount = self.random.random_range(0..=self.left(&channel));
                let call = Channels::refundCall { config: sol_config(&channel), amount };
                self.sends(who("gateway"), at.revenue, call.abi_encode().into())
            }
            14..18 => self.publishes(),
            _ => {
                let provider = who("provider");
                let cumulative = self.split.leaves.get(&provider).copied().unwrap_or_default();
                let proof = self.split.tree().proof(leaf(provider, cumulative)).unwrap_or_default();
                let call = Revenue::claimPayCall { coin: at.credit, provider, cumulative, proof };
                self.sends(provider, at.revenue, call.abi_encode().into())
            }
        }
    }

    /// The gateway claims what was used, and remembers who served.
    fn claims(&mut self) -> Result<(), String> {
        let channels: Vec<ChannelConfig> = self.watch.channels.values().copied().collect();
        let mut rows = Vec::new();
        let mut served = Vec::new();
        for channel in channels {
            let signer = self.keys.get(&channel.voucher_signer()).cloned();
            let Some(signer) = signer.filter(|_| self.watch.is_service(&channel)) else { continue };
            let left = self.left(&channel);
            if left == 0 || !self.one_in(2) {
                continue;
            }
            let part = self.random.random_range(1..=left);
            let claimed = self.watch.state(&self.world.chain, self.id(&channel)).1 + part;
            let ceiling = claimed + self.random.random_range(0..CREDIT);
            let signature = signer.sign(voucher_digest(&self.settlement, self.id(&channel), ceiling));
            self.papers.push(signature.clone());
            rows.push(sol_row(&Row { channel, ceiling, claimed, signed_by: None }, signature));
            let own = self.pick(&[who("mallory"), who("mallory"), self.accomplices[0], who("provider")]);
            served.push((if self.watch.is_honest(&channel) { who("provider") } else { own }, part));
        }
        let call = Channels::claimCall { voucherClaims: rows };
        let before = self.refusals.values().sum::<u64>();
        self.sends(who("gateway"), self.world.at.revenue, call.abi_encode().into())?;
        if self.refusals.values().sum::<u64>() == before {
            for (provider, part) in served {
                *self.served.entry(provider).or_default() += part;
            }
        }
        Ok(())
    }

    fn publishes(&mut self) -> Result<(), String> {
        let at = self.world.at.clone();
        let last = self.world.asks(at.revenue, &Revenue::statementCall { coin: at.credit });
        let receivers = Channels::receiversCall { receiver: at.revenue, token: at.credit };
        let settled = self.world.asks(at.channels, &receivers).totalSettled;
        let share = Bps::new(8_000).expect("a part");
        let Some(split) = Split::new(settled, &self.served, share) else { return Ok(()) };
        let call = Revenue::publishCall {
            coin: at.credit,
            number: last.number + 1,
            settled,
            pay: split.pay,
            root: split.tree().root(),
            document: B256::ZERO,
        };
        let before = self.refusals.values().sum::<u64>();
        self.sends(who("gateway"), at.revenue, call.abi_encode().into())?;
        if self.refusals.values().sum::<u64>() == before {
            self.split = split;
        }
        Ok(())
    }

    // ---- the story

    fn sends(&mut self, from: Address, to: Address, data: Bytes) -> Result<(), String> {
        let sent = self.world.chain.send(from, TxKind::Call(to), data.clone());
        let logs: Vec<Log> = match sent {
            Ok(receipt) => {
                self.past.push((to, data));
                let asked = Channels::WithdrawInitiated::SIGNATURE_HASH;
                let asked = receipt.logs.iter().filter(|log| log.topics().first() == Some(&asked));
                let channels = asked.filter_map(|log| self.watch.channels.get(log.topics().get(1)?));
                self.asked.extend(channels);
                receipt.logs
            }
            Err(error) => {
                *self.refusals.entry(name_of(&error)).or_default() += 1;
                Vec::new()
            }
        };
        self.watch.check(&self.world.chain, &logs)
    }

    fn pass_time(&mut self) {
        let secs = match self.random.random_range(0..100) {
            0..60 => 0,
            60..90 => self.random.random_range(0..2 * LEAST_DELAY),
            90..97 => self.random.random_range(0..3 * DAY),
            97..99 => self.random.random_range(0..40 * DAY),
            _ => LOCK,
        };
        self.wait(secs);
    }

    /// Up to just before the lock is over.
    fn wait(&mut self, secs: u64) {
        let now = self.world.chain.time();
        self.world.chain.advance_to((now + secs).min(START + UNLOCK - 1));
    }

    /// The lock is over: what the vaults have goes to their owners, whoever asks, and no more.
    fn end(&mut self) -> Result<(), String> {
        self.world.go_to(UNLOCK - 1);
        for vault in self.owners.keys().copied().collect::<Vec<_>>() {
            if !self.world.chain.code(vault).is_empty() {
                self.world.refuses("Locked", "stranger", vault, &Vault::releaseCall {});
            }
        }
        self.world.go_to(UNLOCK);
        for (vault, owner) in self.owners.clone() {
            if self.world.chain.code(vault).is_empty() {
                continue;
            }
            let (had, owned) = (self.world.credits_of(vault), self.world.credits_of(owner));
            self.world.does("stranger", vault, &Vault::releaseCall {});
            let after = (self.world.credits_of(vault), self.world.credits_of(owner));
            if after != (0, owned + had) {
                return Err(format!(
                    "{had} of {vault} were released, and {owner} has {} for {owned}",
                    after.1
                ));
            }
        }
        Ok(())
    }

    fn goes_on(&mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            self.pass_time();
            if self.random.random_ratio(7, 20) { self.business()? } else { self.trick()? }
        }
        Ok(())
    }
}

#[test]
fn a_thief_who_tries_everything_gets_no_locked_credit_before_its_time() {
    let stories = number("EARNEST_STORIES").unwrap_or(STORIES);
    let began = std::time::Instant::now();
    let seen = over_seeds(stories, |seed, seen| {
        let mut hunt = Hunt::new(seed);
        hunt.goes_on().and_then(|()| hunt.end()).unwrap_or_else(|broken| panic!("{broken}"));
        let from_within =
            hunt.accomplices.map(|at| hunt.world.asks(at, &Accomplice::madeCall {}).to::<u64>());
        *seen.entry("a call from within".into()).or_default() += from_within.iter().sum::<u64>();
        *seen.entry("refused".into()).or_default() += hunt.refusals.values().sum::<u64>();
        *seen.entry("sent".into()).or_default() += hunt.world.chain.transactions();
        for (what, count) in hunt.watch.seen.iter().map(|(what, count)| (what.to_string(), *count)) {
            *seen.entry(what).or_default() += count;
        }
        for (name, count) in hunt.refusals {
            *seen.entry(name).or_default() += count;
        }
    });
    println!("{seen:#?} in {:?}", began.elapsed());
    if stories >= STORIES && number("EARNEST_SEED").is_none() {
        let rare: Vec<&str> = MUST_BE_SEEN
            .iter()
            .copied()
            .filter(|what| seen.get(*what).is_none_or(|&count| count < 2))
            .collect();
        assert!(rare.is_empty(), "the thief hardly met {rare:?}");
    }
}

/// Every hole is found by the same search, in stories it has not seen.
#[test]
fn a_thief_finds_every_hole() {
    let crooked = crooked();
    assert!(crooked.holes.len() >= 10);
    let find = |hole, name: &str| {
        let found = (0..400).find_map(|seed| {
            let mut hunt = Hunt::new(seed);
            hunt.open(hole, &crooked);
            hunt.goes_on().err().map(|broken| (seed, broken))
        });
        let (seed, broken) = found.unwrap_or_else(|| panic!("{name}: no thief found it"));
        println!("{name}: story {seed}: {broken}");
        let named = ["LOCK-1", "CHAN-1"].iter().any(|invariant| broken.starts_with(invariant));
        assert!(named, "{name} (story {seed}): {broken}");
    };
    std::thread::scope(|scope| {
        for (hole, name) in (1..).zip(&crooked.holes) {
            let find = &find;
            scope.spawn(move || find(hole, name));
        }
    });
}

/// With every hole closed the crooked code is as good as the honest.
#[test]
fn a_thief_finds_no_hole_where_none_is_open() {
    let crooked = crooked();
    for seed in 0..20 {
        let mut hunt = Hunt::new(seed);
        hunt.open(0, &crooked);
        hunt.goes_on().unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
    }
}

/// What has to happen in a full run, or the thief is too tame and nothing was proved.
const MUST_BE_SEEN: &[&str] = &[
    "a call from within",
    "delivered into a vault",
    "deposit for a vault",
    "foreign claim",
    "foreign deposit for a vault",
    "foreign refund to a vault",
    "foreign withdrawal to a vault",
    "given to a vault",
    "honest claim",
    "honest deposit",
    "honest refund",
    "honest withdrawal",
    "into a vault that is not there yet",
    "locked claim",
    "locked deposit",
    "locked refund",
    "locked withdrawal",
    "pay of a thief",
    "published",
    "thief's claim",
    "thief's deposit",
    "thief's refund",
    "thief's withdrawal",
    "BadProof",
    "BadSignature",
    "ERC20InsufficientAllowance",
    "ERC20InvalidReceiver",
    "ERC3009InvalidSignature",
    "ERC3009UsedAuthorization",
    "Locked",
    "NotInRole",
    "NotIssuer",
    "NotPayer",
    "NotReceiver",
    "NotSettlement",
    "OverBalance",
    "TooEarly",
    "WrongDeposit",
    "within: ReentrancyGuardReentrantCall",
    "within: NotSettlement",
];
