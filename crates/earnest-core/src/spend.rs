//! Everything that is spent, as one state: both coins, the vaults of locked credits, the channels and the revenue.
//! Everything that can be done to it is a [`Call`], so that the same story runs through this model and the contracts.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256};
use thiserror::Error;

use crate::channel::{ChannelConfig, ChannelError, Channels, Row};
use crate::invariants::{Broken, must};
use crate::plan::Time;
use crate::statement::{Publication, Revenue, RevenueError, Role};

/// What a payer agrees to a deposit by (ERC-3009), for one channel and one amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// Sets apart deposits into one channel.
    pub salt: u64,
    /// Good after this second.
    pub valid_after: Time,
    /// And before this one.
    pub valid_before: Time,
    /// Who signed it; none: nobody, or it was something else that they signed.
    pub signed_by: Option<Address>,
}

/// A coin with balances and used authorizations.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Coin {
    /// Nothing is not kept.
    pub balances: BTreeMap<Address, u128>,
    /// By payer.
    pub used: BTreeSet<(Address, ChannelConfig, u64)>,
}

/// Where locked credits lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vault {
    /// Signs for it.
    pub owner: Address,
    /// When its lock ends.
    pub unlock_at: Time,
    /// Delivered into it.
    pub delivered: u128,
    /// Went to the owner after the lock.
    pub released: u128,
}

/// One thing done by one caller.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the methods they call say it")]
pub enum Call {
    Deposit {
        channel: ChannelConfig,
        amount: u128,
        authorization: Authorization,
    },
    Claim {
        rows: Vec<Row>,
    },
    ClaimSigned {
        rows: Vec<Row>,
        signed_by: Option<Address>,
    },
    Settle {
        receiver: Address,
        coin: Address,
    },
    InitiateWithdraw {
        channel: ChannelConfig,
        amount: u128,
    },
    FinalizeWithdraw {
        channel: ChannelConfig,
    },
    Refund {
        channel: ChannelConfig,
        amount: u128,
    },
    RefundSigned {
        channel: ChannelConfig,
        amount: u128,
        nonce: u64,
        signed_by: Option<Address>,
    },
    /// By way of the revenue, which settles what it claimed.
    RevenueClaim {
        rows: Vec<Row>,
    },
    RevenueRefund {
        channel: ChannelConfig,
        amount: u128,
    },
    Rotate {
        role: Role,
        holder: Address,
    },
    Publish(Publication),
    ClaimPay {
        coin: Address,
        provider: Address,
        cumulative: u128,
        proof: Vec<B256>,
    },
    Release {
        vault: Address,
    },
}

/// Why a coin does not move. The names are its contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each message says it")]
pub enum CoinError {
    #[error("the payer did not sign this authorization")]
    ERC3009InvalidSignature,
    #[error("the authorization is good after {0} and before {1}")]
    ERC3009InvalidAuthorizationTime(Time, Time),
    #[error("the authorization was used")]
    ERC3009UsedAuthorization,
    #[error("{has} is less than {needs}")]
    ERC20InsufficientBalance { has: u128, needs: u128 },
}

/// Why a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// By the channels.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// By the revenue.
    #[error(transparent)]
    Revenue(#[from] RevenueError),
    /// By a coin.
    #[error(transparent)]
    Coin(#[from] CoinError),
    /// By a vault.
    #[error("the vault is locked until {0}")]
    Locked(Time),
}

impl Refused {
    /// The contract's name of the error.
    pub fn name(&self) -> String {
        let text = match self {
            Refused::Channel(error) => format!("{error:?}"),
            Refused::Revenue(error) => format!("{error:?}"),
            Refused::Coin(error) => format!("{error:?}"),
            Refused::Locked(_) => "Locked".into(),
        };
        text.chars().take_while(char::is_ascii_alphanumeric).collect()
    }
}

/// Where the contracts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Places {
    pub channels: Address,
    pub revenue: Address,
    pub credit: Address,
    pub cash: Address,
}

/// Coins, vaults, channels and revenue.
#[derive(Clone, Debug, PartialEq)]
pub struct Spend {
    /// Where the contracts are.
    pub at: Places,
    /// By address; a channel in another coin cannot be funded.
    pub coins: BTreeMap<Address, Coin>,
    /// By address.
    pub vaults: BTreeMap<Address, Vault>,
    /// All channels.
    pub channels: Channels,
    /// The split of what they bring.
    pub revenue: Revenue,
    /// Credits burned as rest.
    pub burned: u128,
}

impl Spend {
    /// Before the first deposit.
    pub fn new(at: Places, revenue: Revenue) -> Self {
        Spend {
            at,
            coins: [at.credit, at.cash].map(|coin| (coin, Coin::default())).into(),
            vaults: BTreeMap::new(),
            channels: Channels::default(),
            revenue,
            burned: 0,
        }
    }

    /// What an account has of a coin.
    pub fn balance(&self, coin: Address, of: Address) -> u128 {
        self.coins.get(&coin).and_then(|coin| coin.balances.get(&of)).copied().unwrap_or(0)
    }

    /// New coins for an account, before the story or beside it.
    pub fn mint(&mut self, coin: Address, to: Address, amount: u128) {
        *self.coins.entry(coin).or_default().balances.entry(to).or_default() += amount;
    }

    fn transfer(&mut self, coin: Address, from: Address, to: Address, amount: u128) -> Result<(), CoinError> {
        let has = self.balance(coin, from);
        let left =
            has.checked_sub(amount).ok_or(CoinError::ERC20InsufficientBalance { has, needs: amount })?;
        let balances = &mut self.coins.entry(coin).or_default().balances;
        balances.insert(from, left);
        *balances.entry(to).or_default() += amount;
        Ok(())
    }

    /// Does one thing, or refuses it and changes nothing.
    pub fn apply(&mut self, now: Time, caller: Address, call: &Call) -> Result<(), Refused> {
        let Places { channels, revenue, .. } = self.at;
        match call {
            Call::Deposit { channel, amount, authorization } => {
                self.channels.check_deposit(channel, *amount)?;
                self.receive(now, channel, *amount, authorization)?;
                self.channels.deposit(*channel, *amount, *amount)?;
            }
            Call::Claim { rows } => self.channels.claim(caller, rows)?,
            Call::ClaimSigned { rows, signed_by } => self.channels.claim_signed(rows, *signed_by)?,
            Call::Settle { receiver, coin } => self.settle(*receiver, *coin)?,
            Call::InitiateWithdraw { channel, amount } => {
                self.channels.initiate_withdraw(now, caller, *channel, *amount)?;
            }
            Call::FinalizeWithdraw { channel } => {
                let back = self.channels.finalize_withdraw(now, caller, *channel)?;
                self.transfer(channel.token, channels, channel.payer, back)?;
            }
            Call::Refund { channel, amount } => {
                let back = self.channels.refund(caller, *channel, *amount)?;
                self.transfer(channel.token, channels, channel.payer, back)?;
            }
            Call::RefundSigned { channel, amount, nonce, signed_by } => {
                let back = self.channels.refund_signed(*channel, *amount, *nonce, *signed_by)?;
                self.transfer(channel.token, channels, channel.payer, back)?;
            }
            Call::RevenueClaim { rows } => {
                self.revenue.check(Role::Claimer, caller)?;
                let known = rows.iter().map(|row| self.revenue.coin(row.channel.token));
                let coins = known.collect::<Result<BTreeSet<_>, _>>()?;
                self.channels.claim(revenue, rows)?;
                for coin in coins {
                    self.settle(revenue, self.revenue.coins[coin])?;
                }
            }
            Call::RevenueRefund { channel, amount } => {
                self.revenue.check(Role::Refunder, caller)?;
                let back = self.channels.refund(revenue, *channel, *amount)?;
                self.transfer(channel.token, channels, channel.payer, back)?;
            }
            Call::Rotate { role, holder } => self.revenue.rotate(caller, *role, *holder)?,
            Call::Publish(publication) => {
                let coin = publication.coin;
                let from_channels = self.channels.receiver(revenue, coin).settled;
                let rest = self.revenue.publish(caller, publication, from_channels)?;
                if coin == self.at.cash {
                    self.transfer(coin, revenue, self.revenue.setup.issuer, rest)?;
                } else {
                    self.transfer(coin, revenue, Address::ZERO, rest)?;
                    self.burned += rest;
                }
            }
            Call::ClaimPay { coin, provider, cumulative, proof } => {
                let pay = self.revenue.claim_pay(*coin, *provider, *cumulative, proof)?;
                self.transfer(*coin, revenue, *provider, pay)?;
            }
            Call::Release { vault } => {
                let Some(of) = self.vaults.get_mut(vault) else { return Ok(()) };
                if now < of.unlock_at {
                    return Err(Refused::Locked(of.unlock_at));
                }
                let owner = of.owner;
                let all = self.balance(self.at.credit, *vault);
                self.transfer(self.at.credit, *vault, owner, all)?;
                self.vaults.entry(*vault).and_modify(|of| of.released += all);
            }
        }
        Ok(())
    }

    fn settle(&mut self, receiver: Address, coin: Address) -> Result<(), CoinError> {
        let amount = self.channels.settle(receiver, coin);
        self.transfer(coin, self.at.channels, receiver, amount)
    }

    /// The coin's `receiveWithAuthorization`, as the collector calls it.
    fn receive(
        &mut self,
        now: Time,
        channel: &ChannelConfig,
        amount: u128,
        authorization: &Authorization,
    ) -> Result<(), CoinError> {
        let Authorization { salt, valid_after, valid_before, signed_by } = *authorization;
        if !self.agrees(channel, signed_by) {
            return Err(CoinError::ERC3009InvalidSignature);
        }
        if now <= valid_after || now >= valid_before {
            return Err(CoinError::ERC3009InvalidAuthorizationTime(valid_after, valid_before));
        }
        let used = (channel.payer, *channel, salt);
        if self.coins.get(&channel.token).is_some_and(|coin| coin.used.contains(&used)) {
            return Err(CoinError::ERC3009UsedAuthorization);
        }
        self.transfer(channel.token, channel.payer, self.at.channels, amount)?;
        self.coins.entry(channel.token).or_default().used.insert(used);
        Ok(())
    }

    /// A plain payer agrees to what it signed; a vault to what its owner signed, where it pays for the service.
    fn agrees(&self, channel: &ChannelConfig, signed_by: Option<Address>) -> bool {
        let Some(vault) = self.vaults.get(&channel.payer) else { return signed_by == Some(channel.payer) };
        let pays_service = channel.receiver == self.at.revenue
            && channel.receiver_authorizer == self.at.revenue
            && channel.token == self.at.credit;
        pays_service && signed_by == Some(vault.owner)
    }

    /// CHAN-1, LOCK-1 and PAY-1, at any step.
    pub fn check(&self) -> Result<(), Broken> {
        for (config, channel) in &self.channels.channels {
            must("CHAN-1", channel.claimed <= channel.signed, || format!("{config:?}: {channel:?}"))?;
            let left = channel.deposited.checked_sub(channel.returned);
            must("CHAN-1", left.is_some_and(|left| channel.claimed <= left), || {
                format!("{config:?}: {channel:?}")
            })?;
        }
        for &coin in self.coins.keys() {
            let (has, owes) = (self.balance(coin, self.at.channels), self.channels.holds(coin));
            must("CHAN-1", has == owes, || format!("channels hold {has} of {coin} and owe {owes}"))?;
        }
        for (&at, vault) in &self.vaults {
            let paid = self.channels.channels.iter().filter(|(config, _)| config.payer == at);
            let in_channels: u128 = paid.map(|(_, channel)| channel.balance()).sum();
            let kept = self.balance(self.at.credit, at) + in_channels + vault.released;
            must("LOCK-1", kept == vault.delivered, || {
                format!("{kept} of {} are left of {at}", vault.delivered)
            })?;
        }
        for (index, &coin) in self.revenue.coins.iter().enumerate() {
            let statement = &self.revenue.statements[index];
            let paid: u128 = statement.paid_to.values().sum();
            let sums = paid == statement.paid
                && statement.paid <= statement.pay
                && statement.pay + statement.rest_paid == statement.settled;
            must("PAY-1", sums, || format!("{statement:?}"))?;
            let settled = self.channels.receiver(self.at.revenue, coin).settled;
            let has = self.balance(coin, self.at.revenue);
            must("PAY-1", has == settled - statement.paid - statement.rest_paid, || {
                format!("revenue has {has} of {coin}, {settled} came, and {statement:?}")
            })?;
        }
        Ok(())
    }
}
