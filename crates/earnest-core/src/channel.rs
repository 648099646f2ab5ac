//! Payment channels as x402's `batch-settlement` scheme has them: a payer deposits, signs running totals, and the
//! receiver claims the last one. Never is more claimed than was signed, nor than is there (CHAN-1).

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::plan::Time;

/// Least seconds between asking for a withdrawal and having it.
pub const LEAST_DELAY: u64 = 15 * 60;
/// Most.
pub const MOST_DELAY: u64 = 30 * 24 * 3_600;

/// What a channel is, for ever: its hash is its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelConfig {
    /// Where refunds and withdrawals go.
    pub payer: Address,
    /// The plain key that signs vouchers; zero: the payer itself.
    pub payer_authorizer: Address,
    /// Whom the claimed coins go to.
    pub receiver: Address,
    /// Claims and refunds.
    pub receiver_authorizer: Address,
    /// The coin.
    pub token: Address,
    /// Seconds.
    pub withdraw_delay: u64,
    /// Sets apart channels that are alike.
    pub salt: B256,
}

impl ChannelConfig {
    /// Whose signature vouchers need.
    pub fn voucher_signer(&self) -> Address {
        if self.payer_authorizer.is_zero() { self.payer } else { self.payer_authorizer }
    }

    /// The first field, from 0, that no channel can have.
    pub fn bad_field(&self) -> Option<u8> {
        let zeros = [(0, self.payer), (2, self.receiver), (3, self.receiver_authorizer), (4, self.token)];
        let zero = zeros.into_iter().find(|(_, address)| address.is_zero()).map(|(field, _)| field);
        zero.or_else(|| (!(LEAST_DELAY..=MOST_DELAY).contains(&self.withdraw_delay)).then_some(5))
    }
}

/// A withdrawal that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    /// At most so much.
    pub amount: u128,
    /// When.
    pub initiated_at: Time,
}

/// What happened to a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Channel {
    /// Came in, in all.
    pub deposited: u128,
    /// Went back to the payer, in all.
    pub returned: u128,
    /// Of what is left, the receiver's.
    pub claimed: u128,
    /// The highest ceiling that a claim has shown.
    pub signed: u128,
    /// Asked for and not had yet.
    pub withdrawal: Option<Withdrawal>,
    /// How many refunds there were, those that moved nothing too.
    pub refunds: u64,
}

impl Channel {
    /// What the contract calls its balance: claimed or not.
    pub fn balance(&self) -> u128 {
        self.deposited - self.returned
    }

    /// What may still be claimed, or go back.
    pub fn unclaimed(&self) -> u128 {
        self.balance() - self.claimed
    }
}

/// What was claimed for a receiver in a coin, and how much of it has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the type says it")]
pub struct Receiver {
    pub claimed: u128,
    pub settled: u128,
}

/// One row of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Of which channel.
    pub channel: ChannelConfig,
    /// The voucher's.
    pub ceiling: u128,
    /// What will have been claimed in all.
    pub claimed: u128,
    /// Whose signature the voucher has; none: nobody's.
    pub signed_by: Option<Address>,
}

/// Why something was refused. The names are the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each message says it")]
pub enum ChannelError {
    #[error("field {0} of the channel is none that a channel can have")]
    BadChannel(u8),
    #[error("the amount is zero")]
    ZeroAmount,
    #[error("{arrived} arrived, and {asked} was said")]
    WrongDeposit { arrived: u128, asked: u128 },
    #[error("there are no rows")]
    NothingToClaim,
    #[error("{0} is neither receiver nor its authorizer")]
    NotReceiver(Address),
    #[error("{0} is neither payer nor its authorizer")]
    NotPayer(Address),
    #[error("a row's authorizer is {0}, not the first row's")]
    OtherAuthorizer(Address),
    #[error("{claimed} is above the voucher's ceiling {ceiling}")]
    OverVoucher { claimed: u128, ceiling: u128 },
    #[error("{claimed} is above the channel's balance {balance}")]
    OverBalance { claimed: u128, balance: u128 },
    #[error("it is not signed by {0}")]
    BadSignature(Address),
    #[error("nonce {nonce} is not the next one, {next}")]
    WrongNonce { nonce: u64, next: u64 },
    #[error("a withdrawal of {amount} can be had from {from}")]
    WithdrawalPending { amount: u128, from: Time },
    #[error("no withdrawal was asked for")]
    NoWithdrawal,
    #[error("{asked} was asked for, and {unclaimed} are not claimed")]
    TooMuch { asked: u128, unclaimed: u128 },
    #[error("the withdrawal can be had from {0}")]
    TooEarly(Time),
}

/// All channels of one chain.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Channels {
    /// Those that anything ever happened to.
    pub channels: BTreeMap<ChannelConfig, Channel>,
    /// By receiver and coin.
    pub receivers: BTreeMap<(Address, Address), Receiver>,
}

impl Channels {
    /// A channel's state.
    pub fn of(&self, channel: &ChannelConfig) -> Channel {
        self.channels.get(channel).copied().unwrap_or_default()
    }

    /// A receiver's.
    pub fn receiver(&self, receiver: Address, token: Address) -> Receiver {
        self.receivers.get(&(receiver, token)).copied().unwrap_or_default()
    }

    /// What may be asked to come into a channel.
    pub fn check_deposit(&self, channel: &ChannelConfig, amount: u128) -> Result<(), ChannelError> {
        match channel.bad_field() {
            Some(field) => Err(ChannelError::BadChannel(field)),
            None if amount == 0 => Err(ChannelError::ZeroAmount),
            None => Ok(()),
        }
    }

    /// Coins came into a channel.
    pub fn deposit(
        &mut self,
        channel: ChannelConfig,
        amount: u128,
        arrived: u128,
    ) -> Result<(), ChannelError> {
        self.check_deposit(&channel, amount)?;
        if arrived != amount {
            return Err(ChannelError::WrongDeposit { arrived, asked: amount });
        }
        self.channels.entry(channel).or_default().deposited += amount;
        Ok(())
    }

    /// Counts what was spent, all rows or none. A row below what was claimed before does nothing.
    pub fn claim(&mut self, caller: Address, rows: &[Row]) -> Result<(), ChannelError> {
        let may = |row: &Row| [row.channel.receiver, row.channel.receiver_authorizer].contains(&caller);
        self.claim_rows(rows, |row| if may(row) { Ok(()) } else { Err(ChannelError::NotReceiver(caller)) })
    }

    /// The same by the authorizer's signature over all rows.
    pub fn claim_signed(&mut self, rows: &[Row], signed_by: Option<Address>) -> Result<(), ChannelError> {
        let first = rows.first().ok_or(ChannelError::NothingToClaim)?.channel.receiver_authorizer;
        if signed_by != Some(first) {
            return Err(ChannelError::BadSignature(first));
        }
        self.claim_rows(rows, |row| match row.channel.receiver_authorizer {
            authorizer if authorizer == first => Ok(()),
            other => Err(ChannelError::OtherAuthorizer(other)),
        })
    }

    fn claim_rows(
        &mut self,
        rows: &[Row],
        check: impl Fn(&Row) -> Result<(), ChannelError>,
    ) -> Result<(), ChannelError> {
        if rows.is_empty() {
            return Err(ChannelError::NothingToClaim);
        }
        let mut after = self.clone();
        for row in rows {
            check(row)?;
            after.claim_row(row)?;
        }
        *self = after;
        Ok(())
    }

    fn claim_row(&mut self, row: &Row) -> Result<(), ChannelError> {
        let Row { channel: config, ceiling, claimed, signed_by } = *row;
        let channel = self.of(&config);
        if claimed <= channel.claimed {
            return Ok(());
        }
        if claimed > ceiling {
            return Err(ChannelError::OverVoucher { claimed, ceiling });
        }
        if claimed > channel.balance() {
            return Err(ChannelError::OverBalance { claimed, balance: channel.balance() });
        }
        let signer = config.voucher_signer();
        if signed_by != Some(signer) {
            return Err(ChannelError::BadSignature(signer));
        }
        let receiver = self.receivers.entry((config.receiver, config.token)).or_default();
        receiver.claimed += claimed - channel.claimed;
        let signed = channel.signed.max(ceiling);
        self.channels.insert(config, Channel { claimed, signed, ..channel });
        Ok(())
    }

    /// Moves what was claimed for a receiver; returns how much.
    pub fn settle(&mut self, receiver: Address, token: Address) -> u128 {
        let Some(receiver) = self.receivers.get_mut(&(receiver, token)) else { return 0 };
        let amount = receiver.claimed - receiver.settled;
        receiver.settled = receiver.claimed;
        amount
    }

    /// Asks for what is not claimed.
    pub fn initiate_withdraw(
        &mut self,
        now: Time,
        caller: Address,
        config: ChannelConfig,
        amount: u128,
    ) -> Result<(), ChannelError> {
        check_payer(caller, &config)?;
        if amount == 0 {
            return Err(ChannelError::ZeroAmount);
        }
        let channel = self.of(&config);
        if let Some(Withdrawal { amount, initiated_at }) = channel.withdrawal {
            let from = initiated_at + config.withdraw_delay;
            return Err(ChannelError::WithdrawalPending { amount, from });
        }
        if amount > channel.unclaimed() {
            return Err(ChannelError::TooMuch { asked: amount, unclaimed: channel.unclaimed() });
        }
        let withdrawal = Some(Withdrawal { amount, initiated_at: now });
        self.channels.insert(config, Channel { withdrawal, ..channel });
        Ok(())
    }

    /// Takes what was asked for, as far as it is still not claimed; returns how much goes to the payer.
    pub fn finalize_withdraw(
        &mut self,
        now: Time,
        caller: Address,
        config: ChannelConfig,
    ) -> Result<u128, ChannelError> {
        check_payer(caller, &config)?;
        let channel = self.of(&config);
        let pending = channel.withdrawal.ok_or(ChannelError::NoWithdrawal)?;
        let from = pending.initiated_at + config.withdraw_delay;
        if now < from {
            return Err(ChannelError::TooEarly(from));
        }
        let amount = pending.amount.min(channel.unclaimed());
        let returned = channel.returned + amount;
        self.channels.insert(config, Channel { returned, withdrawal: None, ..channel });
        Ok(amount)
    }

    /// Gives back what is not claimed; returns how much goes to the payer.
    pub fn refund(
        &mut self,
        caller: Address,
        config: ChannelConfig,
        amount: u128,
    ) -> Result<u128, ChannelError> {
        if ![config.receiver, config.receiver_authorizer].contains(&caller) {
            return Err(ChannelError::NotReceiver(caller));
        }
        self.give_back(config, amount)
    }

    /// The same by the authorizer's signature.
    pub fn refund_signed(
        &mut self,
        config: ChannelConfig,
        amount: u128,
        nonce: u64,
        signed_by: Option<Address>,
    ) -> Result<u128, ChannelError> {
        let next = self.of(&config).refunds;
        if nonce != next {
            return Err(ChannelError::WrongNonce { nonce, next });
        }
        if signed_by != Some(config.receiver_authorizer) {
            return Err(ChannelError::BadSignature(config.receiver_authorizer));
        }
        self.give_back(config, amount)
    }

    fn give_back(&mut self, config: ChannelConfig, amount: u128) -> Result<u128, ChannelError> {
        if amount == 0 {
            return Err(ChannelError::ZeroAmount);
        }
        let channel = self.of(&config);
        let amount = amount.min(channel.unclaimed());
        let rest = |pending: Withdrawal| pending.amount.checked_sub(amount).filter(|&rest| rest > 0);
        let withdrawal =
            channel.withdrawal.and_then(|pending| Some(Withdrawal { amount: rest(pending)?, ..pending }));
        let (returned, refunds) = (channel.returned + amount, channel.refunds + 1);
        self.channels.insert(config, Channel { returned, refunds, withdrawal, ..channel });
        Ok(amount)
    }

    /// What the contract must hold of a coin.
    pub fn holds(&self, token: Address) -> u128 {
        let channels = self.channels.iter().filter(|(config, _)| config.token == token);
        let unclaimed: u128 = channels.map(|(_, channel)| channel.unclaimed()).sum();
        let receivers = self.receivers.iter().filter(|((_, coin), _)| *coin == token);
        unclaimed + receivers.map(|(_, receiver)| receiver.claimed - receiver.settled).sum::<u128>()
    }
}

fn check_payer(caller: Address, config: &ChannelConfig) -> Result<(), ChannelError> {
    if [config.payer, config.payer_authorizer].contains(&caller) {
        Ok(())
    } else {
        Err(ChannelError::NotPayer(caller))
    }
}
