//! The same random story of what is spent through the model and through the contracts: deposits of plain payers and of
//! vaults, claims, withdrawals, refunds, statements and pay. Every refusal has the same name, every slot of channels
//! and revenue the same value. `EARNEST_SEED=n` runs one story alone, `EARNEST_STORIES=n` that many.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, TxKind, U256};
use alloy_sol_types::SolConstructor;
use earnest_chain::bindings::{Credit, DevCash};
use earnest_chain::chain::Chain;
use earnest_chain::deploy::Deployment;
use earnest_chain::layout::{self, Slots};
use earnest_chain::spend::tell;
use earnest_chain::story::Keys;
use earnest_core::channel::{ChannelConfig, LEAST_DELAY, MOST_DELAY, Row};
use earnest_core::money::Bps;
use earnest_core::offering::DAY;
use earnest_core::spend::{Authorization, Call, Spend, Vault};
use earnest_core::statement::{Publication, Revenue, RevenueSetup, Role, Split, leaf};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::lockstep::{number, over_seeds};
use crate::story::START;
use crate::vault::{HELD, LOCK, locked};
use crate::world::*;

const STEPS: usize = 150;
/// Who may act. Providers are the first three of them.
const CAST: [&str; 12] = [
    "alice",
    "bob",
    "carol",
    "mallory",
    "gateway",
    "issuer",
    "clerk",
    "session",
    "other session",
    "seller",
    "seller's key",
    "stranger",
];

struct Story {
    random: ChaCha8Rng,
    chain: Chain,
    at: Deployment,
    keys: Keys,
    spend: Spend,
    /// A coin that revenue does not know.
    foreign: Address,
    /// By coin: what providers served in all, and the last split that was published.
    served: [BTreeMap<Address, u128>; 2],
    splits: [Split; 2],
}

impl Story {
    fn new(seed: u64) -> Self {
        let mut world = World::new();
        let vaults = locked(&mut world, &[who("alice"), who("bob")]);
        world.does("bob", world.at.offering, &deliver(bid_id(FIXED, 66)));
        let constructor = DevCash::constructorCall {
            name_: "Other".into(),
            symbol_: "OTH".into(),
            minter_: who("deployer"),
        };
        let code = [DevCash::BYTECODE.as_ref(), &constructor.abi_encode()].concat();
        let made = world.chain.send(who("deployer"), TxKind::Create, code.into()).expect("deploys");
        let foreign = made.created.expect("a contract");
        let at = world.at.clone();
        let mut keys = Keys::default();
        for name in CAST {
            keys.add(key(name));
        }
        let setup = RevenueSetup {
            issuer: who("issuer"),
            gateway: who("gateway"),
            share: Bps::new(8_000).expect("a part"),
        };
        let mut spend = Spend::new(at.places(), Revenue::new(setup, at.credit, at.cash));
        for name in ["alice", "carol", "mallory"] {
            let value = U256::from(100 * CREDIT);
            world.does("bob", at.credit, &Credit::transferCall { to: who(name), value });
            world.does("deployer", foreign, &DevCash::mintCall { to: who(name), units: U256::from(CASH) });
            spend.mint(foreign, who(name), CASH.into());
        }
        for name in CAST {
            spend.mint(at.credit, who(name), world.credits_of(who(name)));
            spend.mint(at.cash, who(name), world.cash_of(who(name)).into());
        }
        for (&vault, name) in vaults.iter().zip(["alice", "bob"]) {
            let (owner, unlock_at) = (who(name), START + CLEARABLE + LOCK);
            spend.vaults.insert(vault, Vault { owner, unlock_at, delivered: HELD, released: 0 });
            spend.mint(at.credit, vault, HELD);
        }
        Story {
            random: ChaCha8Rng::seed_from_u64(seed),
            chain: Chain::Embedded(world.chain),
            at,
            keys,
            spend,
            foreign,
            served: Default::default(),
            splits: Default::default(),
        }
    }

    fn now(&self) -> u64 {
        self.chain.time().expect("embedded")
    }

    fn one_in(&mut self, number: u32) -> bool {
        self.random.random_ratio(1, number)
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        *of.choose(&mut self.random).expect("some")
    }

    fn anyone(&mut self) -> Address {
        who(self.pick(&CAST))
    }

    /// Mostly the right one.
    fn mostly(&mut self, right: Address) -> Address {
        if self.one_in(8) { self.anyone() } else { right }
    }

    /// Mostly signed by the right one, sometimes by another or by nobody.
    fn signer(&mut self, right: Address) -> Option<Address> {
        match self.random.random_range(0..20) {
            0 => None,
            1 => Some(self.anyone()),
            _ => CAST.iter().map(|name| who(name)).find(|known| *known == right),
        }
    }

    fn coin(&mut self) -> Address {
        let (credit, cash, foreign) = (self.at.credit, self.at.cash, self.foreign);
        self.pick(&[credit, credit, credit, cash, cash, foreign])
    }

    /// One of a few channels, so that much happens to each.
    fn channel(&mut self) -> ChannelConfig {
        let vaults: Vec<Address> = self.spend.vaults.keys().copied().collect();
        let payer = self.pick(&[who("carol"), who("mallory"), vaults[0], vaults[1]]);
        let sessions = [who("session"), who("session"), who("other session"), payer, Address::ZERO];
        let revenue = self.at.revenue;
        let (receiver, receiver_authorizer) = match self.random.random_range(0..20) {
            0..16 => (revenue, revenue),
            16..18 => (who("seller"), who("seller's key")),
            18 => (revenue, who("seller's key")),
            _ => (who("seller"), revenue),
        };
        let token = if vaults.contains(&payer) && !self.one_in(10) { self.at.credit } else { self.coin() };
        let mut channel = ChannelConfig {
            payer,
            payer_authorizer: self.pick(&sessions),
            receiver,
            receiver_authorizer,
            token,
            withdraw_delay: self.pick(&[LEAST_DELAY, LEAST_DELAY, DAY, MOST_DELAY]),
            salt: B256::repeat_byte(u8::from(self.one_in(4))),
        };
        if self.one_in(60) {
            match self.random.random_range(0..5) {
                0 => channel.receiver = Address::ZERO,
                1 => channel.receiver_authorizer = Address::ZERO,
                2 => channel.token = Address::ZERO,
                3 => channel.withdraw_delay = LEAST_DELAY - 1,
                _ => channel.withdraw_delay = MOST_DELAY + 1,
            }
        }
        channel
    }

    /// Mostly one that has something.
    fn some_channel(&mut self) -> ChannelConfig {
        let known: Vec<ChannelConfig> = self.spend.channels.channels.keys().copied().collect();
        if known.is_empty() || self.one_in(12) { self.channel() } else { self.pick(&known) }
    }

    /// An amount up to about what there is, sometimes beyond, sometimes nothing.
    fn amount(&mut self, most: u128) -> u128 {
        match self.random.random_range(0..20) {
            0 => 0,
            1 => most.saturating_add(1),
            2 => most,
            _ => self.random.random_range(0..=most),
        }
    }

    fn row(&mut self) -> Row {
        let channel = self.some_channel();
        let state = self.spend.channels.of(&channel);
        let part = self.amount(state.unclaimed());
        let claimed = if self.one_in(10) { state.claimed } else { state.claimed.saturating_add(part) };
        let ceiling = if self.one_in(20) { claimed.saturating_sub(1) } else { claimed.saturating_add(5) };
        Row { channel, ceiling, claimed, signed_by: self.signer(channel.voucher_signer()) }
    }

    /// Rows, mostly of one receiver and good ones, else nearly every batch would fail.
    fn rows(&mut self, fits: impl Fn(&ChannelConfig) -> bool) -> Vec<Row> {
        if self.one_in(40) {
            return Vec::new();
        }
        let count = self.random.random_range(1..5);
        let mut rows = Vec::new();
        for _ in 0..40 {
            let row = self.row();
            let signed = row.signed_by == Some(row.channel.voucher_signer());
            let balance = self.spend.channels.of(&row.channel).balance();
            let good = signed && fits(&row.channel) && row.claimed <= row.ceiling.min(balance);
            if good || self.one_in(25) {
                rows.push(row);
            }
            if rows.len() == count {
                break;
            }
        }
        rows
    }

    fn publication(&mut self) -> (Address, Call) {
        let index = self.random.random_range(0..2);
        let coin = self.spend.revenue.coins[index];
        let settled = self.spend.channels.receiver(self.at.revenue, coin).settled;
        let last = self.spend.revenue.statements[index].clone();
        // Providers served a part of what is new.
        let served: u128 = self.served[index].values().sum();
        let new = settled.saturating_sub(served).saturating_sub(self.splits[index].settled - served);
        let part = self.random.random_range(0..=new);
        let mut after = self.served[index].clone();
        *after.entry(who(CAST[self.random.random_range(0..3)])).or_default() += part;
        let split = Split::new(settled, &after, self.spend.revenue.setup.share).expect("no more than came");
        let mut publication =
            Publication { coin, number: last.number + 1, settled, pay: split.pay, root: split.tree().root() };
        let mut honest = true;
        match self.random.random_range(0..24) {
            0 => publication.number = self.random.random_range(0..5),
            1 => publication.settled += 1,
            2 => publication.pay = publication.settled,
            3 => publication.settled = last.settled.saturating_sub(1),
            4 => publication.pay = last.pay.saturating_sub(1),
            5 => publication.coin = self.foreign,
            // Less pay than the leaves add up to: some provider gets it, and the last ones do not.
            6 => publication.pay -= (publication.pay - last.pay) / 2,
            7 => publication.root = B256::ZERO,
            _ => honest = true,
        }
        honest &= publication.settled == settled && publication.coin == coin;
        let caller = self.mostly(self.spend.revenue.roles[Role::Publisher as usize]);
        let takes = self.spend.clone().apply(self.now(), caller, &Call::Publish(publication)).is_ok();
        if takes && honest {
            (self.served[index], self.splits[index]) = (after, split);
        }
        (caller, Call::Publish(publication))
    }

    fn claim_pay(&mut self) -> Call {
        let index = self.random.random_range(0..2);
        let coin = self.spend.revenue.coins[index];
        let split = self.splits[index].clone();
        let provider = who(CAST[self.random.random_range(0..3)]);
        let cumulative = split.leaves.get(&provider).copied().unwrap_or(7);
        let mut proof = split.tree().proof(leaf(provider, cumulative)).unwrap_or_default();
        let (mut coin, mut cumulative) = (coin, cumulative);
        match self.random.random_range(0..12) {
            0 => cumulative += 1,
            1 => proof.push(B256::ZERO),
            2 => coin = self.foreign,
            _ => {}
        }
        Call::ClaimPay { coin, provider, cumulative, proof }
    }

    fn next(&mut self) -> (Address, Call) {
        match self.random.random_range(0..100) {
            0..24 => {
                let channel = self.channel();
                let most = self.spend.balance(channel.token, channel.payer) / 3;
                let amount = if self.one_in(40) { 4 * most + 3 } else { self.amount(most) };
                let signer = self.spend.vaults.get(&channel.payer).map_or(channel.payer, |vault| vault.owner);
                let now = self.now();
                let authorization = Authorization {
                    salt: if self.one_in(8) { 1 } else { self.random.random() },
                    valid_after: if self.one_in(20) { now } else { now - 1 },
                    valid_before: if self.one_in(20) { now } else { now + DAY },
                    signed_by: self.signer(signer),
                };
                (self.anyone(), Call::Deposit { channel, amount, authorization })
            }
            24..44 => {
                let revenue = self.at.revenue;
                let coins = self.spend.revenue.coins;
                let rows = self.rows(|channel| {
                    [channel.receiver, channel.receiver_authorizer].contains(&revenue)
                        && coins.contains(&channel.token)
                });
                let claimer = self.spend.revenue.roles[Role::Claimer as usize];
                (self.mostly(claimer), Call::RevenueClaim { rows })
            }
            44..49 => {
                let seller = self.pick(&[who("seller"), who("seller's key")]);
                let rows =
                    self.rows(|channel| [channel.receiver, channel.receiver_authorizer].contains(&seller));
                (self.mostly(seller), Call::Claim { rows })
            }
            49..54 => {
                let seller = who("seller's key");
                let rows = self.rows(|channel| channel.receiver_authorizer == seller);
                let signed_by = self.signer(seller);
                (self.anyone(), Call::ClaimSigned { rows, signed_by })
            }
            54..58 => {
                let (revenue, coin) = (self.at.revenue, self.coin());
                let receiver = self.pick(&[revenue, who("seller"), who("stranger")]);
                (self.anyone(), Call::Settle { receiver, coin })
            }
            58..66 => {
                let channel = self.some_channel();
                let amount = self.amount(self.spend.channels.of(&channel).unclaimed());
                let caller = self.payer_of(&channel);
                (caller, Call::InitiateWithdraw { channel, amount })
            }
            66..73 => {
                let channel = self.some_channel();
                (self.payer_of(&channel), Call::FinalizeWithdraw { channel })
            }
            73..77 => {
                let channel = self.some_channel();
                let amount = self.amount(self.spend.channels.of(&channel).unclaimed());
                let caller = self.pick(&[who("seller"), who("seller's key")]);
                (caller, Call::Refund { channel, amount })
            }
            77..81 => {
                let channel = self.some_channel();
                let state = self.spend.channels.of(&channel);
                let amount = self.amount(state.unclaimed());
                let nonce = if self.one_in(6) { state.refunds + 1 } else { state.refunds };
                let signed_by = self.signer(channel.receiver_authorizer);
                (self.anyone(), Call::RefundSigned { channel, amount, nonce, signed_by })
            }
            81..86 => {
                let channel = self.some_channel();
                let amount = self.amount(self.spend.channels.of(&channel).unclaimed());
                let refunder = self.spend.revenue.roles[Role::Refunder as usize];
                (self.mostly(refunder), Call::RevenueRefund { channel, amount })
            }
            86..92 => self.publication(),
            92..97 => (self.anyone(), self.claim_pay()),
            97..99 => {
                let role = self.pick(&Role::ALL);
                let holder = self.pick(&[who("gateway"), who("gateway"), who("clerk")]);
                let issuer = who("issuer");
                (self.mostly(issuer), Call::Rotate { role, holder })
            }
            _ => {
                let vaults: Vec<Address> = self.spend.vaults.keys().copied().collect();
                (self.anyone(), Call::Release { vault: self.pick(&vaults) })
            }
        }
    }

    /// Someone with a key who may withdraw, mostly.
    fn payer_of(&mut self, channel: &ChannelConfig) -> Address {
        let known = CAST.map(who);
        let may = [channel.payer, channel.payer_authorizer].into_iter().find(|one| known.contains(one));
        let anyone = self.anyone();
        self.mostly(may.unwrap_or(anyone))
    }

    fn pass_time(&mut self) {
        let now = self.now();
        let secs = match self.random.random_range(0..300) {
            0..180 => 0,
            180..285 => self.random.random_range(0..LEAST_DELAY),
            285..296 => self.random.random_range(0..2 * DAY),
            296..299 => 40 * DAY,
            _ => 400 * DAY,
        };
        self.chain.advance_to(now + secs).expect("embedded");
    }

    /// Through both; the outcome's name.
    fn act(&mut self, caller: Address, call: &Call) -> Result<(), String> {
        let model = {
            let mut after = self.spend.clone();
            let result = after.apply(self.now(), caller, call).map_err(|refused| refused.name());
            if result.is_ok() {
                self.spend = after;
            }
            result
        };
        let told = tell(&mut self.chain, &self.at, &self.keys, caller, call, &self.spend);
        let contracts = told.map(drop).map_err(|error| name_of(&error));
        assert_eq!(contracts, model, "{caller} {call:?}");
        model
    }

    fn slots(&self, at: Address) -> Slots {
        let Chain::Embedded(chain) = &self.chain else { unreachable!("made embedded") };
        chain.slots(at).collect()
    }

    fn compare(&mut self) {
        let channels = layout::channels(&self.spend.channels, self.chain.id(), self.at.channels);
        assert_eq!(self.slots(self.at.channels), channels, "channels");
        assert_eq!(self.slots(self.at.revenue), layout::revenue(&self.spend.revenue), "revenue");
        for coin in [self.at.credit, self.at.cash, self.foreign] {
            for (&account, &balance) in &self.spend.coins[&coin].balances {
                let slot = earnest_chain::embedded::mapping_slot(account, 0);
                let has = self.chain.storage(coin, slot).expect("embedded");
                let ruled = if account.is_zero() { 0 } else { balance };
                assert_eq!(has, U256::from(ruled), "{coin} of {account}");
            }
        }
        self.spend.check().unwrap_or_else(|broken| panic!("{broken}"));
    }
}

fn run(seed: u64, seen: &mut BTreeMap<String, u64>) {
    let mut story = Story::new(seed);
    story.compare();
    for _ in 0..STEPS {
        story.pass_time();
        let (caller, call) = story.next();
        let what: String = format!("{call:?}").chars().take_while(char::is_ascii_alphanumeric).collect();
        let outcome = story.act(caller, &call);
        *seen.entry(outcome.err().unwrap_or(what)).or_default() += 1;
        story.compare();
    }
}

#[test]
fn model_and_contracts_of_the_service_agree_to_the_last_unit() {
    let stories = number("EARNEST_STORIES").unwrap_or(100);
    let seen = over_seeds(stories, run);
    println!("{seen:#?}");
    if stories >= 100 && number("EARNEST_SEED").is_none() {
        let missing: Vec<&str> =
            MUST_BE_SEEN.iter().copied().filter(|name| !seen.contains_key(*name)).collect();
        assert!(missing.is_empty(), "the stories never met {missing:?}");
    }
}

/// Outcomes that a full run has to meet, or the stories have become too tame.
const MUST_BE_SEEN: &[&str] = &[
    "BadChannel",
    "BadProof",
    "BadSignature",
    "Claim",
    "ClaimPay",
    "ClaimSigned",
    "Deposit",
    "ERC20InsufficientBalance",
    "ERC3009InvalidAuthorizationTime",
    "ERC3009InvalidSignature",
    "ERC3009UsedAuthorization",
    "Falls",
    "FinalizeWithdraw",
    "InitiateWithdraw",
    "Locked",
    "NoWithdrawal",
    "NotInRole",
    "NotIssuer",
    "NotPayer",
    "NotReceiver",
    "NothingToClaim",
    "NothingToPay",
    "OtherAuthorizer",
    "OverBalance",
    "OverPay",
    "OverSettled",
    "OverShare",
    "OverVoucher",
    "Publish",
    "Refund",
    "RefundSigned",
    "Release",
    "RevenueClaim",
    "RevenueRefund",
    "Rotate",
    "Settle",
    "TooEarly",
    "TooMuch",
    "UnknownCoin",
    "WithdrawalPending",
    "WrongNonce",
    "WrongNumber",
    "ZeroAmount",
];
