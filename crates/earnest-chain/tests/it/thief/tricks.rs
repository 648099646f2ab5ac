//! What the thief can think of: channels with fields swapped, papers signed for something else, calls of everything that is
//! public, and ways to put them together.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::{SolCall, SolStruct};
use earnest_chain::bindings::{Channels, Credit, DepositCollector, Offering, Revenue, Vault, signed};
use earnest_chain::chain::ChainError;
use earnest_chain::channel::{
    Deposit, batch_digest, channel_id, refund_digest, sol_config, sol_row, voucher_digest,
};
use earnest_chain::embedded::DEV_CHAIN_ID;
use earnest_chain::story::pack;
use earnest_core::channel::{ChannelConfig, LEAST_DELAY, MOST_DELAY, Row};
use earnest_core::offering::DAY;
use earnest_core::statement::leaf;
use rand::RngExt;
use rand::seq::IndexedRandom;

use super::{HOLDER, HOLDERS_KEY, Hunt, THIEVES};
use crate::accomplice::{Accomplice, act, prepare};
use crate::story::START;
use crate::vault::{LOCK, alter};
use crate::world::*;

impl Hunt {
    // ---- chance

    pub(super) fn one_in(&mut self, number: u32) -> bool {
        self.random.random_ratio(1, number)
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        *of.choose(&mut self.random).expect("some")
    }

    pub(super) fn thief(&mut self) -> Address {
        let [one, other] = self.accomplices;
        let [alice, mallory, session, second] = THIEVES.map(who);
        self.pick(&[alice, alice, mallory, mallory, session, second, one, other])
    }

    pub(super) fn vault(&mut self) -> Address {
        let vaults: Vec<Address> = self.watch.purse.locked.keys().copied().collect();
        self.pick(&vaults)
    }

    pub(super) fn amount(&mut self) -> u128 {
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
    pub(super) fn config(&mut self) -> ChannelConfig {
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
    pub(super) fn known(&mut self) -> ChannelConfig {
        let known: Vec<ChannelConfig> = self.watch.channels.values().copied().collect();
        let mut channel = if known.is_empty() || self.one_in(8) { self.config() } else { self.pick(&known) };
        for _ in 0..3 {
            if self.left(&channel) == 0 && !known.is_empty() {
                channel = self.pick(&known);
            }
        }
        self.meant = Some(channel);
        channel
    }

    pub(super) fn id(&self, channel: &ChannelConfig) -> B256 {
        channel_id(&self.settlement, channel)
    }

    pub(super) fn left(&self, channel: &ChannelConfig) -> u128 {
        let (balance, claimed) = self.watch.state(&self.world.chain, self.id(channel));
        balance.saturating_sub(claimed)
    }

    // ---- signatures

    /// A signature of the right one, where the thief or the holder has the key; else, or now and then, some other paper.
    pub(super) fn signature(&mut self, by: Address, digest: B256) -> Bytes {
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

    pub(super) fn random_paper(&mut self) -> Bytes {
        self.papers.choose(&mut self.random).cloned().unwrap_or_default()
    }

    /// What a payer gives with a deposit. Sometimes it was given for another deposit.
    pub(super) fn consent(&mut self, deposit: &Deposit) -> Bytes {
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

    pub(super) fn deposit_into(&mut self, channel: ChannelConfig, amount: u128) -> Deposit {
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

    pub(super) fn deposit(&mut self) -> (Address, Bytes) {
        let (channel, amount) = (self.config(), self.amount());
        let deposit = self.deposit_into(channel, amount);
        let consent = self.consent(&deposit);
        let (real, accomplice) = (self.world.at.collector, self.accomplices[0]);
        let collector = self.pick(&[real, real, real, real, real, real, real, accomplice, channel.token]);
        (self.world.at.channels, deposit.call(collector, consent).abi_encode().into())
    }

    /// Rows that a thief would like to claim, or have the service claim.
    pub(super) fn rows(&mut self) -> Vec<Channels::VoucherClaim> {
        let rows = (0..self.random.random_range(1..3)).map(|_| self.row()).collect::<Vec<_>>();
        rows.into_iter()
            .map(|row| {
                let digest = voucher_digest(&self.settlement, self.id(&row.channel), row.ceiling);
                let signature = self.signature(row.channel.voucher_signer(), digest);
                sol_row(&row, signature)
            })
            .collect()
    }

    pub(super) fn row(&mut self) -> Row {
        let channel = self.known();
        let (balance, claimed) = self.watch.state(&self.world.chain, self.id(&channel));
        let more = self.random.random_range(0..=balance.saturating_sub(claimed));
        let beyond = if self.one_in(6) { self.random.random_range(0..CREDIT) } else { 0 };
        let claimed = claimed + more + beyond;
        Row { channel, ceiling: claimed, claimed, signed_by: None }
    }

    // ---- what a thief does

    /// One call: where, what.
    pub(super) fn call(&mut self) -> (Address, Bytes) {
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
    pub(super) fn signed_transfer(&mut self) -> Bytes {
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
        let plain = self.signature(owner, keccak256(parts));
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
    pub(super) fn trick(&mut self) -> Result<(), String> {
        let channels = self.world.at.channels;
        if self.one_in(4)
            && let Some((from, to, data)) = self.behaves()
        {
            return self.sends(from, to, data);
        }
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

    pub(super) fn is_thief(&self, who_: Address) -> bool {
        THIEVES.map(who).contains(&who_) || self.accomplices.contains(&who_)
    }

    /// What an honest holder would do with a vault, so that there is something to get at: a deposit, a withdrawal.
    pub(super) fn behaves(&mut self) -> Option<(Address, Address, Bytes)> {
        let channels = self.world.at.channels;
        let sessions = ["session", "other session", "alice", "mallory"].map(who);
        if self.one_in(2) {
            let channel = ChannelConfig {
                payer: self.vault(),
                payer_authorizer: self.pick(&sessions),
                receiver: self.world.at.revenue,
                receiver_authorizer: self.world.at.revenue,
                token: self.world.at.credit,
                withdraw_delay: LEAST_DELAY,
                salt: B256::ZERO,
            };
            let amount = self.random.random_range(1..3 * CREDIT);
            let deposit = self.deposit_into(channel, amount);
            let call = deposit.call(self.world.at.collector, self.consent(&deposit));
            return Some((self.thief(), channels, call.abi_encode().into()));
        }
        let paid: Vec<ChannelConfig> = self.watch.channels.values().copied().collect();
        let paid = paid.into_iter().filter(|channel| {
            self.watch.purse.locked.contains_key(&channel.payer)
                && sessions.contains(&channel.payer_authorizer)
                && self.left(channel) > 0
        });
        let channel = *paid.collect::<Vec<_>>().choose(&mut self.random)?;
        let config = sol_config(&channel);
        let data = if self.asked.contains(&channel) {
            self.asked.retain(|asked| *asked != channel);
            self.wait(channel.withdraw_delay);
            Channels::finalizeWithdrawCall { config }.abi_encode()
        } else {
            Channels::initiateWithdrawCall { config, amount: self.left(&channel) }.abi_encode()
        };
        Some((channel.payer_authorizer, channels, data.into()))
    }

    /// An accomplice is told what to do when it is called, and then is called: as collector, or as the coin.
    pub(super) fn ambush(&mut self) -> Result<(Address, Bytes), String> {
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
}
