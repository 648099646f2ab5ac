//! Where all credits are and whose, as balances, channels and events on the chain have it: locked ones, those of
//! thieves, those of the honest. From one look to the next LOCK-1 says which of them may change.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256, Log, U256};
use alloy_sol_types::SolEvent;
use earnest_chain::bindings::{Channels, Credit, Revenue};
use earnest_chain::deploy::Deployment;
use earnest_chain::embedded::{Embedded, mapping_slot, nested_slot};
use earnest_core::channel::ChannelConfig;

/// Slot of an ERC-20's supply in OpenZeppelin's layout.
const SUPPLY: u64 = 2;

/// What everyone has at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Purse {
    /// By vault: in it, and in channels of the service that it pays, claimed from them or not.
    pub(crate) locked: BTreeMap<Address, u128>,
    /// In wallets and contracts of thieves, in channels that pay no service or are the thieves' own, and claimed from such.
    pub(crate) thieves: u128,
    /// The same for everyone else but the service.
    pub(crate) honest: u128,
    /// Claimed for the service from the channels of vaults and thieves.
    pub(crate) claimed: u128,
}

/// Hears what the chain says, and looks.
pub(crate) struct Watch {
    at: Deployment,
    /// Of those who are watched; some may not be there yet.
    vaults: BTreeSet<Address>,
    /// Wallets, and vaults of which nothing is feared.
    honest: BTreeSet<Address>,
    /// Most of what was claimed that may be pay, in hundredths of a percent.
    share: u128,
    holders: BTreeSet<Address>,
    /// All channels that ever had something.
    pub(crate) channels: BTreeMap<B256, ChannelConfig>,
    /// Minted into the vaults.
    pub(crate) delivered: u128,
    /// Came into vaults and their channels out of the thieves' own pockets.
    pub(crate) gifts: u128,
    /// Paid to thieves by the service.
    pub(crate) pay: u128,
    pub(crate) purse: Purse,
    /// How often what happened.
    pub(crate) seen: BTreeMap<&'static str, u64>,
}

fn config_of(config: &Channels::ChannelConfig) -> ChannelConfig {
    ChannelConfig {
        payer: config.payer,
        payer_authorizer: config.payerAuthorizer,
        receiver: config.receiver,
        receiver_authorizer: config.receiverAuthorizer,
        token: config.token,
        withdraw_delay: config.withdrawDelay.to(),
        salt: config.salt,
    }
}

impl Watch {
    /// `holders`: everyone who has credits already.
    pub(crate) fn new(
        at: &Deployment,
        vaults: &[Address],
        honest: &[Address],
        holders: &[Address],
        share: u128,
    ) -> Self {
        Watch {
            at: at.clone(),
            vaults: vaults.iter().copied().collect(),
            honest: honest.iter().copied().collect(),
            share,
            holders: holders.iter().chain(vaults).chain(honest).copied().collect(),
            channels: BTreeMap::new(),
            delivered: 0,
            gifts: 0,
            pay: 0,
            purse: Purse::default(),
            seen: BTreeMap::new(),
        }
    }

    fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// Receiver and authorizer are the service.
    pub(crate) fn is_service(&self, config: &ChannelConfig) -> bool {
        (config.receiver, config.receiver_authorizer, config.token)
            == (self.at.revenue, self.at.revenue, self.at.credit)
    }

    /// Whether a channel is paid by a vault that is watched.
    pub(crate) fn is_locked(&self, config: &ChannelConfig) -> bool {
        self.is_service(config) && self.vaults.contains(&config.payer)
    }

    /// Whether it is the channel of an honest holder.
    pub(crate) fn is_honest(&self, config: &ChannelConfig) -> bool {
        self.is_service(config) && self.honest.contains(&config.payer)
    }

    /// What is in a channel, and what of that was claimed.
    pub(crate) fn state(&self, chain: &Embedded, id: B256) -> (u128, u128) {
        halves(chain.storage(self.at.channels, mapping_slot(id, 0)))
    }

    fn hear(&mut self, chain: &Embedded, logs: &[Log]) {
        let mut from_vaults = false;
        let credit = self.at.credit;
        for log in logs.iter().filter(|log| log.address == credit) {
            let Ok(moved) = Credit::Transfer::decode_log(log) else { continue };
            let (from, to) = (moved.from, moved.to);
            self.holders.extend([from, to]);
            from_vaults |= self.vaults.contains(&from);
            if self.vaults.contains(&to) {
                if from.is_zero() {
                    self.delivered += moved.value.to::<u128>();
                    self.saw("delivered into a vault");
                } else if chain.code(to).is_empty() {
                    self.saw("into a vault that is not there yet");
                } else if from != self.at.channels {
                    self.saw("given to a vault");
                }
            }
            if from == self.at.revenue && !to.is_zero() && !self.honest.contains(&to) {
                self.pay += moved.value.to::<u128>();
                self.saw("pay of a thief");
            }
        }
        let channels = self.at.channels;
        for log in logs.iter().filter(|log| log.address == channels) {
            if let Ok(created) = Channels::ChannelCreated::decode_log(log) {
                self.channels.insert(created.channelId, config_of(&created.config));
            }
        }
        for log in logs {
            if log.address == self.at.revenue && Revenue::Published::decode_log(log).is_ok() {
                self.saw("published");
            }
            if log.address != self.at.channels {
                continue;
            }
            let Some(config) = log.topics().get(1).and_then(|id| self.channels.get(id)).copied() else {
                continue;
            };
            let words: [&'static str; 4] =
                match (self.is_locked(&config), self.vaults.contains(&config.payer)) {
                    (true, _) if from_vaults => {
                        ["locked deposit", "locked claim", "locked refund", "locked withdrawal"]
                    }
                    (true, _) => {
                        ["deposit for a vault", "locked claim", "locked refund", "locked withdrawal"]
                    }
                    (_, true) => [
                        "foreign deposit for a vault",
                        "foreign claim",
                        "foreign refund to a vault",
                        "foreign withdrawal to a vault",
                    ],
                    _ if self.is_honest(&config) => {
                        ["honest deposit", "honest claim", "honest refund", "honest withdrawal"]
                    }
                    _ => ["thief's deposit", "thief's claim", "thief's refund", "thief's withdrawal"],
                };
            let topics = [
                Channels::Deposited::SIGNATURE_HASH,
                Channels::Claimed::SIGNATURE_HASH,
                Channels::Refunded::SIGNATURE_HASH,
                Channels::WithdrawFinalized::SIGNATURE_HASH,
            ];
            if let Some(which) = topics.iter().position(|topic| *topic == log.topics()[0]) {
                self.saw(words[which]);
            }
        }
    }

    fn balance(&self, chain: &Embedded, of: Address) -> u128 {
        chain.storage(self.at.credit, mapping_slot(of, 0)).to()
    }

    /// Counts everything. An error: it does not add up.
    pub(crate) fn look(&self, chain: &Embedded) -> Result<Purse, String> {
        let Deployment { channels, revenue, credit, .. } = self.at;
        let mut purse = Purse {
            locked: self.vaults.iter().map(|&vault| (vault, self.balance(chain, vault))).collect(),
            ..Purse::default()
        };
        let mut all = 0;
        for &holder in &self.holders {
            let has = self.balance(chain, holder);
            all += has;
            if self.vaults.contains(&holder) || [channels, revenue, Address::ZERO].contains(&holder) {
                continue;
            }
            *(if self.honest.contains(&holder) { &mut purse.honest } else { &mut purse.thieves }) += has;
        }
        let supply: u128 = chain.storage(credit, U256::from(SUPPLY)).to();
        if all != supply {
            return Err(format!("known holders have {all} of {supply}"));
        }
        let (mut owed, mut receivers) = (0, BTreeSet::new());
        for (&id, config) in self.channels.iter().filter(|(_, config)| config.token == credit) {
            let (balance, claimed) = self.state(chain, id);
            let left = balance
                .checked_sub(claimed)
                .ok_or_else(|| format!("CHAN-1: {claimed} of {balance} claimed from {config:?}"))?;
            owed += left;
            receivers.insert(config.receiver);
            if self.is_locked(config) {
                *purse.locked.entry(config.payer).or_default() += balance;
            } else if self.is_honest(config) {
                purse.honest += balance;
            } else {
                purse.thieves += left;
            }
            if config.receiver == revenue && !self.is_honest(config) {
                purse.claimed += claimed;
            }
        }
        for receiver in receivers {
            let (claimed, settled) = halves(chain.storage(channels, nested_slot(receiver, credit, 2)));
            owed += claimed - settled;
            purse.thieves += if receiver == revenue { 0 } else { claimed - settled };
        }
        let has = self.balance(chain, channels);
        if has < owed {
            return Err(format!("CHAN-1: channels have {has} and owe {owed}"));
        }
        Ok(purse)
    }

    /// Hears, looks, and compares with the last look: what is locked never falls, thieves never have more but by pay
    /// within the share of what they spent, and nobody honest loses (LOCK-1).
    pub(crate) fn check(&mut self, chain: &Embedded, logs: &[Log]) -> Result<(), String> {
        let (delivered, pay) = (self.delivered, self.pay);
        self.hear(chain, logs);
        let (delivered, pay) = (self.delivered - delivered, self.pay - pay);
        let (was, now) = (std::mem::take(&mut self.purse), self.look(chain)?);
        let fell = was.locked.iter().find(|(vault, had)| now.locked[*vault] < **had);
        if let Some((vault, had)) = fell {
            return Err(format!("LOCK-1: {} of {had} are left of {vault}", now.locked[vault]));
        }
        if now.thieves > was.thieves + pay {
            return Err(format!(
                "LOCK-1: thieves had {}, got {pay} of pay, have {}",
                was.thieves, now.thieves
            ));
        }
        if now.honest < was.honest {
            return Err(format!("the honest had {} and have {}", was.honest, now.honest));
        }
        let most = now.claimed * self.share / 10_000;
        if self.pay > most {
            return Err(format!("LOCK-1: thieves were paid {} and may have {most}", self.pay));
        }
        // What vaults have beyond deliveries is what thieves have lost to them.
        let grew = now.locked.values().sum::<u128>() - was.locked.values().sum::<u128>();
        let Some(gift) = grew.checked_sub(delivered) else {
            return Err(format!("LOCK-1: {delivered} were delivered and {grew} came"));
        };
        if gift > was.thieves + pay - now.thieves {
            return Err(format!("{gift} came into vaults out of nowhere"));
        }
        self.gifts += gift;
        if now.locked.values().sum::<u128>() != self.delivered + self.gifts {
            return Err(format!("LOCK-1: {} delivered, {} given, {now:?}", self.delivered, self.gifts));
        }
        self.purse = now;
        Ok(())
    }
}

fn halves(word: U256) -> (u128, u128) {
    (word.wrapping_to(), (word >> 128usize).to())
}
