//! A whole raise as one state: the offering, its treasury and both coins. Everything that can be done to it is a
//! [`Call`], so that the same story runs through this model and through the contracts.

use std::collections::BTreeMap;

use alloy_primitives::Address;
use thiserror::Error;

use crate::bid::BidId;
use crate::offering::{Consent, Offering, OfferingError, OfferingSetup, Order};
use crate::plan::Time;
use crate::treasury::{Treasury, TreasuryError, TreasurySetup};

/// Who can hold a coin.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Holder {
    /// A wallet, or any other account.
    Account(Address),
    /// The vault of a locked position.
    Vault(BidId),
    /// The offering's escrow.
    Offering,
    /// The treasury.
    Treasury,
}

/// A coin's balances.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Coin {
    /// Nothing is not kept.
    pub balances: BTreeMap<Holder, u128>,
    /// Minted in all.
    pub minted: u128,
}

impl Coin {
    /// A balance.
    pub fn of(&self, holder: Holder) -> u128 {
        self.balances.get(&holder).copied().unwrap_or(0)
    }

    /// New coins.
    pub fn mint(&mut self, to: Holder, amount: u128) {
        self.minted += amount;
        *self.balances.entry(to).or_default() += amount;
    }

    /// The sender must have them.
    pub fn transfer(&mut self, from: Holder, to: Holder, amount: u128) {
        let balance = self.balances.entry(from).or_default();
        *balance = balance.checked_sub(amount).expect("checked before");
        *self.balances.entry(to).or_default() += amount;
    }
}

/// One thing done by one caller.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the methods they call say it")]
pub enum Call {
    SetAttester { attester: Address, generation: u32 },
    Pause { round: u8, secs: u64 },
    Bid(Order),
    Withdraw { id: BidId, payee: Address },
    Lapse { id: BidId },
    Clear { round: u8, steps: u64 },
    Settle { id: BidId },
    Refund { id: BidId },
    RefundTo { id: BidId, payee: Address, consent: Consent },
    Sweep { round: u8 },
    Attest { subject: u8 },
    Object { subject: u8 },
    Deliver { id: BidId },
    DeliverFor { id: BidId, consent: Consent },
    Sync,
    Draw { cash: u64, to: Address },
    PotRefund { id: BidId },
    PotRefundTo { id: BidId, payee: Address, consent: Consent },
    Release { id: BidId },
}

/// Why a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// By the offering.
    #[error(transparent)]
    Offering(#[from] OfferingError),
    /// By the treasury.
    #[error(transparent)]
    Treasury(#[from] TreasuryError),
    /// By a vault.
    #[error("the vault is locked until {0}")]
    Locked(Time),
}

impl Refused {
    /// The contract's name of the error.
    pub fn name(&self) -> String {
        let text = match self {
            Refused::Offering(error) | Refused::Treasury(TreasuryError::Consent(error)) => {
                format!("{error:?}")
            }
            Refused::Treasury(error) => format!("{error:?}"),
            Refused::Locked(_) => "Locked".into(),
        };
        text.chars().take_while(char::is_ascii_alphanumeric).collect()
    }
}

/// Offering, treasury and coins.
#[derive(Clone, Debug, PartialEq)]
pub struct Raise {
    /// Rounds, bids, positions.
    pub offering: Offering,
    /// Pots and tap.
    pub treasury: Treasury,
    /// The coin raised.
    pub cash: Coin,
    /// The coin delivered.
    pub credits: Coin,
}

impl Raise {
    /// Before the first bid.
    pub fn new(offering: OfferingSetup, treasury: TreasurySetup) -> Self {
        let classes = offering.rounds.len();
        Raise {
            offering: Offering::new(offering),
            treasury: Treasury::new(treasury, classes),
            cash: Coin::default(),
            credits: Coin::default(),
        }
    }

    /// Does one thing, or refuses it and changes nothing.
    pub fn apply(&mut self, now: Time, caller: Address, call: &Call) -> Result<(), Refused> {
        let offering = &mut self.offering;
        match call {
            Call::SetAttester { attester, generation } => {
                offering.set_attester(caller, *attester, *generation)?;
            }
            Call::Pause { round, secs } => offering.pause(now, caller, *round, *secs)?,
            Call::Bid(order) => {
                let balance = u64::try_from(self.cash.of(Holder::Account(caller))).unwrap_or(u64::MAX);
                let escrow = u64::try_from(self.cash.of(Holder::Offering)).unwrap_or(u64::MAX / 2);
                let (_, cash) = offering.place(now, caller, order, balance, escrow)?;
                self.cash.transfer(Holder::Account(caller), Holder::Offering, cash.into());
            }
            Call::Withdraw { id, payee } => {
                let cash = offering.withdraw(now, caller, *id)?;
                self.cash.transfer(Holder::Offering, Holder::Account(*payee), cash.into());
            }
            Call::Lapse { id } => offering.lapse(now, *id)?,
            Call::Clear { round, steps } => offering.clear(now, *round, *steps)?,
            Call::Settle { id } => offering.settle(now, *id)?,
            Call::Refund { id } => {
                let wallet = offering.bid(*id).wallet;
                let cash = offering.refund(now, caller, *id, None)?;
                self.cash.transfer(Holder::Offering, Holder::Account(wallet), cash.into());
            }
            Call::RefundTo { id, payee, consent } => {
                let cash = offering.refund(now, caller, *id, Some(*consent))?;
                self.cash.transfer(Holder::Offering, Holder::Account(*payee), cash.into());
            }
            Call::Sweep { round } => {
                let cash = offering.sweep(*round)?;
                self.cash.transfer(Holder::Offering, Holder::Treasury, cash.into());
                self.treasury.deposit(offering, *round, cash);
            }
            Call::Attest { subject } => offering.attest(now, caller, *subject)?,
            Call::Object { subject } => offering.object(now, caller, *subject)?,
            Call::Deliver { id } => self.deliver(now, caller, *id, None)?,
            Call::DeliverFor { id, consent } => self.deliver(now, caller, *id, Some(*consent))?,
            Call::Sync => self.treasury.sync(offering),
            Call::Draw { cash, to } => {
                self.treasury.draw(offering, now, caller, *cash)?;
                self.cash.transfer(Holder::Treasury, Holder::Account(*to), (*cash).into());
            }
            Call::PotRefund { id } => {
                let cash = self.treasury.refund(offering, now, caller, *id, None)?;
                let wallet = offering.bid(*id).wallet;
                self.cash.transfer(Holder::Treasury, Holder::Account(wallet), cash.into());
            }
            Call::PotRefundTo { id, payee, consent } => {
                let cash = self.treasury.refund(offering, now, caller, *id, Some(*consent))?;
                self.cash.transfer(Holder::Treasury, Holder::Account(*payee), cash.into());
            }
            Call::Release { id } => {
                let until = offering.unlock_at(*id);
                if now < until {
                    return Err(Refused::Locked(until));
                }
                let credits = self.credits.of(Holder::Vault(*id));
                let wallet = offering.bid(*id).wallet;
                self.credits.transfer(Holder::Vault(*id), Holder::Account(wallet), credits);
            }
        }
        Ok(())
    }

    fn deliver(
        &mut self,
        now: Time,
        caller: Address,
        id: BidId,
        consent: Option<Consent>,
    ) -> Result<(), Refused> {
        let (credits, locked) = self.offering.deliver(now, caller, id, consent)?;
        let wallet = self.offering.bid(id).wallet;
        self.credits.mint(if locked { Holder::Vault(id) } else { Holder::Account(wallet) }, credits);
        Ok(())
    }
}
