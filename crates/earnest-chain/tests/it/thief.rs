//! LOCK-1 against one who searches. A thief owns vaults by a plain key and by a contract that signs anything, has session
//! keys, wallets and contracts to call from within, and serves as a provider; it puts together random calls of every
//! public function, with fields swapped, signatures replayed and bytes altered, while holder and gateway go about their
//! business. After each step [`Watch`] counts. `EARNEST_SEED=n` runs one story alone, `EARNEST_STORIES=n` that many.
//! That the search would find a hole is shown by holes: contracts/test/frauds.mjs.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, Log, TxKind, U256};
use alloy_sol_types::{Eip712Domain, SolCall, SolConstructor, SolStruct};
use earnest_chain::bindings::{
    Channels, Credit, DepositCollector, DevCash, Offering, Revenue, Vault, signed,
};
use earnest_chain::chain::{Chain, ChainError};
use earnest_chain::channel::{
    Deposit, batch_digest, channel_id, coin_domain, domain, refund_digest, sol_config, sol_row,
    voucher_digest,
};
use earnest_chain::embedded::DEV_CHAIN_ID;
use earnest_chain::key::Key;
use earnest_chain::story::pack;
use earnest_core::bid::BidId;
use earnest_core::channel::{ChannelConfig, LEAST_DELAY, MOST_DELAY, Row};
use earnest_core::money::Bps;
use earnest_core::offering::DAY;
use earnest_core::statement::{Split, leaf};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::accomplice::{Accomplice, act, prepare, recruit};
use crate::frauds::{AWAKE, Crooked, crooked};
use crate::lockstep::{number, over_seeds};
use crate::purse::Watch;
use crate::story::START;
use crate::vault::{LOCK, alter};
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
        let mut world = World::deploy(|_, _| {}, |_| earnest_chain::deploy::Coins { x402, ..coins(None) })
            .expect("deploys");
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

    // ---- chance

    fn one_in(&mut self, number: u32) -> bool {
        self.random.random_ratio(1, number)
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        *of.choose(&mut self.random).expect("some")
    }

    fn thief(&mut self) -> Address {
        let [one, other] = self.accomplices;
        let [alice, mallory, session, second] = THIEVES.map(who);
        self.pick(&[alice, alice, mallory, mallory, session, second, one, other])
    }

    fn vault(&mut self) -> Address {
        let vaults: Vec<Address> = self.watch.purse.locked.keys().copied().collect();
        self.pick(&vaults)
    }

    fn amount(&mut self) -> u128 {
        match self.random.random_range(0..12) {
            0 => 1,
            1 => 100 * CREDIT,
            2 => u128::MAX,
            3 => 0,
            4..8 => CREDIT,
            _ => self.random.random_range(1..20 * CREDIT),
        }
    }

    /// A channel: mostly a good one of the service, paid by a vault or a thief; sometimes with fields swapped.
    fn config(&mut self) -> ChannelConfig {
        let known: Vec<ChannelConfig> = self.watch.channels.values().copied().collect();
        let mut channel = if !known.is_empty() && self.one_in(2) {
            self.pick(&known)
        } else {
            let (vault, thief, revenue) = (self.vault(), self.thief(), self.world.at.revenue);
            let payer = self.pick(&[vault, vault, vault, thief]);
            let sessions =
                [who("session"), who("session"), who("other session"), who("alice"), payer, Address::ZERO];
            ChannelConfig {
                payer,
                payer_authorizer: self.pick(&sessions),
                receiver: revenue,
                receiver_authorizer: revenue,
                token: self.world.at.credit,
                withdraw_delay: self.pick(&[LEAST_DELAY, LEAST_DELAY, DAY, MOST_DELAY]),
                salt: B256::repeat_byte(self.random.random_range(0..3)),
            }
        };
        if self.one_in(3) {
            let (thief, vault, cash) = (self.thief(), self.vault(), self.world.at.cash);
            match self.random.random_range(0..9) {
                0..2 => channel.receiver = thief,
                2..4 => channel.receiver_authorizer = thief,
                4 => (channel.receiver, channel.receiver_authorizer) = (thief, thief),
                5 => channel.payer = self.pick(&[vault, thief]),
                6 => channel.token = self.pick(&[cash, self.accomplices[0]]),
                7 => channel.payer_authorizer = thief,
                _ => channel.withdraw_delay = self.pick(&[0, LEAST_DELAY, MOST_DELAY]),
            }
        }
        channel
    }

    /// A channel that had something.
    fn known(&mut self) -> ChannelConfig {
        let known: Vec<ChannelConfig> = self.watch.channels.values().copied().collect();
        let channel = if known.is_empty() || self.one_in(8) { self.config() } else { self.pick(&known) };
        self.meant = Some(channel);
        channel
    }

    fn id(&self, channel: &ChannelConfig) -> B256 {
        channel_id(&self.settlement, channel)
    }

    fn left(&self, channel: &ChannelConfig) -> u128 {
        let (balance, claimed) = self.watch.state(&self.world.chain, self.id(channel));
        balance.saturating_sub(claimed)
    }

    // ---- signatures

    /// A signature of the right one, where the thief or the holder has the key; else, or now and then, some other paper.
    fn signature(&mut self, by: Address, digest: B256) -> Bytes {
        let known = self.keys.get(&by).filter(|_| by != who(HOLDER) && by != who(HOLDERS_KEY));
        let right = known.map(|key| key.sign(digest));
        let paper = match right {
            Some(right) if !self.one_in(10) => right,
            _ if self.one_in(2) && !self.papers.is_empty() => self.random_paper(),
            _ => key("mallory").sign(digest),
        };
        self.papers.push(paper.clone());
        paper
    }

    fn random_paper(&mut self) -> Bytes {
        self.papers.choose(&mut self.random).cloned().unwrap_or_default()
    }

    /// What a payer gives with a deposit. Sometimes it was given for another deposit.
    fn consent(&mut self, deposit: &Deposit) -> Bytes {
        let mut said = *deposit;
        if self.one_in(8) {
            match self.random.random_range(0..3) {
                0 => said.channel = self.config(),
                1 => said.amount = self.amount(),
                _ => said.salt = U256::from(self.random.random_range(0..9u8)),
            }
        }
        let digest = said.digest(&self.settlement, self.coin, self.world.at.collector);
        let Some(&owner) = self.owners.get(&deposit.channel.payer) else {
            return self.signature(deposit.channel.payer, digest);
        };
        let signature = self.signature(owner, digest);
        let mut proof = said.vault_proof(signature).to_vec();
        if self.one_in(12) {
            alter(&mut self.random, &mut proof);
        }
        self.papers.push(proof.clone().into());
        if self.one_in(15) { self.random_paper() } else { proof.into() }
    }

    fn deposit_into(&mut self, channel: ChannelConfig, amount: u128) -> Deposit {
        let now = self.world.chain.time();
        Deposit {
            channel,
            amount,
            salt: if self.one_in(6) {
                U256::from(self.random.random_range(0..9u8))
            } else {
                U256::from(self.random.random::<u64>())
            },
            valid_after: if self.one_in(20) { now + DAY } else { 0 },
            valid_before: if self.one_in(20) { now } else { START + 2 * LOCK },
        }
    }

    fn deposit(&mut self) -> (Address, Bytes) {
        let (channel, amount) = (self.config(), self.amount());
        let deposit = self.deposit_into(channel, amount);
        let consent = self.consent(&deposit);
        let (real, accomplice) = (self.world.at.collector, self.accomplices[0]);
        let collector = self.pick(&[real, real, real, real, real, real, real, accomplice, channel.token]);
        (self.world.at.channels, deposit.call(collector, consent).abi_encode().into())
    }

    /// Rows that a thief would like to claim, or have the service claim.
    fn rows(&mut self) -> Vec<Channels::VoucherClaim> {
        let rows = (0..self.random.random_range(1..3)).map(|_| self.row()).collect::<Vec<_>>();
        rows.into_iter()
            .map(|row| {
                let digest = voucher_digest(&self.settlement, self.id(&row.channel), row.ceiling);
                let signature = self.signature(row.channel.voucher_signer(), digest);
                sol_row(&row, signature)
            })
            .collect()
    }

    fn row(&mut self) -> Row {
        let channel = self.known();
        let (balance, claimed) = self.watch.state(&self.world.chain, self.id(&channel));
        let more = self.random.random_range(0..=balance.saturating_sub(claimed));
        let beyond = if self.one_in(6) { self.random.random_range(0..CREDIT) } else { 0 };
        let claimed = claimed + more + beyond;
        Row { channel, ceiling: claimed, claimed, signed_by: None }
    }

    // ---- what a thief does

    /// One call: where, what.
    fn call(&mut self) -> (Address, Bytes) {
        let at = self.world.at.clone();
        let (channels, credit, revenue) = (at.channels, at.credit, at.revenue);
        let (thief, vault, paper) = (self.thief(), self.vault(), self.random_paper());
        let value = U256::from(self.amount());
        let channel = self.known();
        let amount = self.random.random_range(0..=self.left(&channel)) + u128::from(self.one_in(9));
        let role = self.random.random_range(0..4);
        let id = pack(self.pick(&self.positions.clone()));
        match self.random.random_range(0..100) {
            0..26 => self.deposit(),
            26..30 => {
                let (channel, amount) = (self.config(), self.amount());
                let deposit = self.deposit_into(channel, amount);
                let data = deposit.call(at.collector, self.consent(&deposit)).collectorData;
                let call = DepositCollector::collectCall {
                    payer: channel.payer,
                    token: channel.token,
                    amount: U256::from(amount),
                    channelId: self.id(&channel),
                    collectorData: data,
                };
                (at.collector, call.abi_encode().into())
            }
            30..40 => (credit, self.signed_transfer()),
            40..44 => {
                let [from, to] = [self.pick(&[vault, thief]), self.thief()];
                let data = match self.random.random_range(0..3) {
                    0 => Credit::transferFromCall { from, to, value }.abi_encode(),
                    1 => Credit::burnFromCall { account: from, value }.abi_encode(),
                    _ => Credit::approveCall { spender: to, value }.abi_encode(),
                };
                (credit, data.into())
            }
            44..46 => {
                let to = self.pick(&[vault, vault, channels, revenue, at.collector, thief]);
                let value = U256::from(self.random.random_range(0..CREDIT));
                (credit, Credit::transferCall { to, value }.abi_encode().into())
            }
            46..53 => {
                self.asked.push(channel);
                let call = Channels::initiateWithdrawCall { config: sol_config(&channel), amount };
                (channels, call.abi_encode().into())
            }
            53..61 => {
                let channel = self.asked.choose(&mut self.random).copied().unwrap_or(channel);
                self.meant = Some(channel);
                if self.one_in(2) {
                    self.wait(channel.withdraw_delay);
                }
                let call = Channels::finalizeWithdrawCall { config: sol_config(&channel) };
                (channels, call.abi_encode().into())
            }
            61..65 => {
                let call = Channels::refundCall { config: sol_config(&channel), amount };
                (self.pick(&[channels, channels, revenue]), call.abi_encode().into())
            }
            65..69 => {
                let id = self.id(&channel);
                let next = self.world.asks(channels, &Channels::refundNonceCall { channelId: id });
                let digest = refund_digest(&self.settlement, id, next.to(), amount);
                let call = Channels::refundWithSignatureCall {
                    config: sol_config(&channel),
                    amount,
                    nonce: next,
                    receiverAuthorizerSignature: self.signature(channel.receiver_authorizer, digest),
                };
                (channels, call.abi_encode().into())
            }
            69..76 => {
                let call = Channels::claimCall { voucherClaims: self.rows() };
                (self.pick(&[channels, channels, channels, revenue]), call.abi_encode().into())
            }
            76..79 => {
                let row = self.row();
                let digest = voucher_digest(&self.settlement, self.id(&row.channel), row.ceiling);
                let voucher = self.signature(row.channel.voucher_signer(), digest);
                let batch = batch_digest(&self.settlement, &[row]);
                let call = Channels::claimWithSignatureCall {
                    voucherClaims: vec![sol_row(&row, voucher)],
                    authorizerSignature: self.signature(row.channel.receiver_authorizer, batch),
                };
                (channels, call.abi_encode().into())
            }
            79..83 => {
                let receiver = self.pick(&[revenue, thief, thief, channel.receiver]);
                (channels, Channels::settleCall { receiver, token: channel.token }.abi_encode().into())
            }
            83..90 => {
                let provider = self.pick(&[who("mallory"), self.accomplices[0], thief]);
                let cumulative = self.split.leaves.get(&provider).copied().unwrap_or(amount);
                let proof = self.split.tree().proof(leaf(provider, cumulative)).unwrap_or_default();
                let call = Revenue::claimPayCall { coin: credit, provider, cumulative, proof };
                (revenue, call.abi_encode().into())
            }
            90 => (revenue, Revenue::rotateCall { which: role, holder: thief }.abi_encode().into()),
            91 => {
                let call = Revenue::publishCall {
                    coin: credit,
                    number: self.random.random_range(0..4),
                    settled: amount,
                    pay: amount,
                    root: leaf(thief, amount),
                    document: B256::ZERO,
                };
                (revenue, call.abi_encode().into())
            }
            92..94 => (at.offering, Offering::deliverCall { id }.abi_encode().into()),
            94..96 => {
                let position = self.pick(&self.positions.clone());
                let digest = at.deliver_digest(DEV_CHAIN_ID, position, amount, START + 2 * LOCK);
                let call = Offering::deliverForCall {
                    id,
                    expiry: U256::from(START + 2 * LOCK),
                    signature: self.signature(who("alice"), digest),
                };
                (at.offering, call.abi_encode().into())
            }
            96..98 => (vault, Vault::releaseCall {}.abi_encode().into()),
            _ => {
                let mut data = paper.to_vec();
                data.splice(0..0, Vault::isValidSignatureCall::SELECTOR);
                (self.pick(&[vault, at.vault, credit, channels]), data.into())
            }
        }
    }

    /// Everything of the credit that goes by signature, from a vault or a thief.
    fn signed_transfer(&mut self) -> Bytes {
        let (vault, thief, collector) = (self.vault(), self.thief(), self.world.at.collector);
        let from = self.pick(&[vault, vault, thief]);
        let to = self.pick(&[thief, thief, collector, self.world.at.channels]);
        let (channel, amount) = (self.config(), self.amount());
        let mut deposit = self.deposit_into(ChannelConfig { payer: from, ..channel }, amount);
        deposit.valid_after = 0;
        let consent = self.consent(&deposit);
        let nonce = deposit.nonce(&self.settlement);
        let (after, before) = (U256::ZERO, U256::from(deposit.valid_before));
        let authorization = signed::ReceiveWithAuthorization {
            from,
            to,
            value: U256::from(amount),
            validAfter: after,
            validBefore: before,
            nonce,
        };
        let parts =
            [&[0x19, 0x01], self.coin.as_slice(), authorization.eip712_hash_struct().as_slice()].concat();
        let owner = self.owners.get(&from).copied().unwrap_or(from);
        let plain = self.signature(owner, alloy_primitives::keccak256(parts));
        let signature = if self.one_in(2) { consent } else { plain };
        let (value, valid_after, valid_before) = (U256::from(amount), after, before);
        let split = |bytes: &Bytes| {
            let mut padded = bytes.to_vec();
            padded.resize(65, 0);
            (padded[64], B256::from_slice(&padded[..32]), B256::from_slice(&padded[32..64]))
        };
        let (v, r, s) = split(&signature);
        #[expect(non_snake_case, reason = "the fields' names")]
        let (validAfter, validBefore) = (valid_after, valid_before);
        match self.random.random_range(0..6) {
            0..2 => Credit::receiveWithAuthorization_0Call {
                from,
                to,
                value,
                validAfter,
                validBefore,
                nonce,
                signature,
            }
            .abi_encode()
            .into(),
            2 => Credit::receiveWithAuthorization_1Call {
                from,
                to,
                value,
                validAfter,
                validBefore,
                nonce,
                v,
                r,
                s,
            }
            .abi_encode()
            .into(),
            3 => Credit::transferWithAuthorization_0Call {
                from,
                to,
                value,
                validAfter,
                validBefore,
                nonce,
                signature,
            }
            .abi_encode()
            .into(),
            4 => Credit::permitCall { owner: from, spender: to, value, deadline: validBefore, v, r, s }
                .abi_encode()
                .into(),
            _ => Credit::cancelAuthorizationCall { authorizer: from, nonce, v, r, s }.abi_encode().into(),
        }
    }

    /// One transaction of the thief's.
    fn trick(&mut self) -> Result<(), String> {
        let channels = self.world.at.channels;
        self.meant = None;
        let mut ambushed = false;
        let (mut to, mut data) = self.call();
        let mut from = self.thief();
        match self.random.random_range(0..20) {
            0..2 => {
                let calls = (0..self.random.random_range(1..4)).map(|_| self.call()).collect::<Vec<_>>();
                (to, data) = (self.pick(&self.accomplices.clone()), act(&calls).abi_encode().into());
            }
            2..4 => {
                let mut calls =
                    (0..6).map(|_| self.call()).filter(|(to, _)| *to == channels).collect::<Vec<_>>();
                calls.truncate(self.random.random_range(1..3));
                let all = calls.into_iter().map(|(_, data)| data).collect();
                (to, data) = (channels, Channels::multicallCall { data: all }.abi_encode().into());
            }
            4..8 => {
                (to, data) = self.ambush()?;
                ambushed = true;
            }
            _ => {}
        }
        if self.one_in(12)
            && let Some(past) = self.past.choose(&mut self.random)
        {
            (to, data) = past.clone();
        }
        // Mostly someone who may.
        if let Some(channel) = self.meant
            && !self.one_in(4)
        {
            let may =
                [channel.payer, channel.payer_authorizer, channel.receiver, channel.receiver_authorizer];
            let able: Vec<Address> = may.into_iter().filter(|who| self.is_thief(*who)).collect();
            from = able.choose(&mut self.random).copied().unwrap_or(from);
        }
        if data.len() >= 64 && self.one_in(20) {
            let mut altered = data.to_vec();
            alter(&mut self.random, &mut altered);
            data = altered.into();
        }
        self.sends(from, to, data)?;
        let why = self.world.asks(self.accomplices[0], &Accomplice::whyCall {});
        if ambushed && !why.is_empty() {
            *self.refusals.entry(format!("within: {}", name_of(&ChainError::Reverted(why)))).or_default() +=
                1;
        }
        Ok(())
    }

    fn is_thief(&self, who_: Address) -> bool {
        THIEVES.map(who).contains(&who_) || self.accomplices.contains(&who_)
    }

    /// An accomplice is told what to do when it is called, and then is called: as collector, or as the coin.
    fn ambush(&mut self) -> Result<(Address, Bytes), String> {
        let [accomplice, _] = self.accomplices;
        let (credit, channels) = (self.world.at.credit, self.world.at.channels);
        let amount = self.pick(&[1, CREDIT, 3 * CREDIT]);
        let mut calls: Vec<(Address, Bytes)> = Vec::new();
        for _ in 0..self.random.random_range(0..3) {
            calls.push(self.call());
        }
        self.meant = None;
        if self.one_in(2) {
            // Another's deposit of the same amount, to be counted twice.
            let inner = ChannelConfig { payer: self.vault(), ..self.config() };
            let inner = self.deposit_into(inner, amount);
            let call = inner.call(self.world.at.collector, self.consent(&inner));
            calls.push((channels, call.abi_encode().into()));
        }
        let paid = if calls.is_empty() { 5 } else { 2 };
        if !self.one_in(paid) {
            let pays = Credit::transferCall { to: channels, value: U256::from(amount) };
            calls.push((credit, pays.abi_encode().into()));
        }
        let (thief, vault) = (self.thief(), self.vault());
        let mut outer = ChannelConfig { payer: self.pick(&[thief, thief, vault]), ..self.config() };
        outer.token = self.pick(&[credit, credit, credit, accomplice]);
        if self.one_in(2) {
            (outer.receiver, outer.receiver_authorizer) = (thief, thief);
        }
        let gain = if outer.token == accomplice { amount } else { 0 };
        let prepared = prepare(&calls, gain, 1).abi_encode().into();
        self.sends(who("mallory"), accomplice, prepared)?;
        let deposit = self.deposit_into(outer, amount);
        Ok((channels, deposit.call(accomplice, Bytes::new()).abi_encode().into()))
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
            .filter(|what| seen.get(*what).is_none_or(|&count| count < 3))
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
