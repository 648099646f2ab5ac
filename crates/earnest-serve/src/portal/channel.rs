//! Channels of a wallet that pay for service, as these pages open them. The wallet itself signs for them, so no browser
//! has a key to lose; and which there are can be found out from any browser: their salts are counted, and the coin
//! remembers each one's first deposit.

use std::fmt;

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::{SolCall, SolValue, sol};
use earnest_chain::bindings::{Channels, DevCash};
use earnest_chain::chain::{Chain, ChainError};
use earnest_chain::voucher::{Channel, Settlement};
use earnest_core::bid::BidId;
use earnest_core::offering::Status;
use earnest_core::plan::Time;
use earnest_report::position::bids;

use super::keeper::View;
use super::{Problem, Shared, positions};
use crate::gateway::journal::Coin;

/// Delays of withdrawals that these pages use, in days: a gateway that asks for less gets the first.
pub(super) const DELAYS: [u64; 3] = [1, 7, 30];
pub(super) const DAY: u64 = 86_400;
/// Begins the salt of every channel that is opened here.
const MARK: &[u8] = b"earnest portal";
/// Most channels of one kind.
pub(super) const MOST: u32 = 50;
/// Most vaults of a wallet that are looked at.
const MOST_VAULTS: usize = 20;

sol! {
    /// What ERC-3009 says of a deposit that was made.
    interface Authorized {
        function authorizationState(address authorizer, bytes32 nonce) external view returns (bool);
    }
}

/// What a channel is paid from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Cash of the wallet.
    Cash,
    /// Free credits of the wallet.
    Credits,
    /// Locked credits, in the vault of a position.
    Locked(BidId),
}

impl Source {
    pub(super) fn coin(self) -> Coin {
        if self == Source::Cash { Coin::Cash } else { Coin::Credits }
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        match text {
            "cash" => Some(Source::Cash),
            "credits" => Some(Source::Credits),
            other => Some(Source::Locked(positions::read(other.strip_prefix("locked:")?)?)),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Cash => to.write_str("cash"),
            Source::Credits => to.write_str("credits"),
            Source::Locked(id) => write!(to, "locked:{}", positions::show(*id)),
        }
    }
}

/// Which of a wallet's channels: source, days of delay, number. All the rest of its identity follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) source: Source,
    pub(super) days: u64,
    pub(super) number: u32,
}

impl fmt::Display for Name {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}-{}-{}", self.source, self.days, self.number)
    }
}

impl Name {
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut parts = text.rsplitn(3, '-');
        let number = parts.next()?.parse().ok().filter(|number| (1..=MOST).contains(number))?;
        let days = parts.next()?.parse().ok().filter(|days| DELAYS.contains(days))?;
        Some(Name { source: Source::read(parts.next()?)?, days, number })
    }

    /// The channel; none where the position is not this wallet's.
    pub(super) fn channel(self, shared: &Shared, view: &View, wallet: Address) -> Option<Channel> {
        let contracts = &shared.record.contracts;
        let payer = match self.source {
            Source::Locked(id) => {
                let offering = &view.raise.offering;
                let known = usize::from(id.round) < offering.rounds.len();
                (known && offering.bid(id).wallet == wallet).then(|| contracts.vault_of(offering, id))?
            }
            _ => wallet,
        };
        Some(Channel {
            payer,
            payer_authorizer: wallet,
            receiver: contracts.revenue,
            receiver_authorizer: contracts.revenue,
            token: if self.source == Source::Cash { contracts.cash } else { contracts.credit },
            withdraw_delay: self.days * DAY,
            salt: salt(self.number),
        })
    }

    /// As people call it.
    pub(super) fn words(self) -> String {
        match self.source {
            Source::Cash => format!("cash channel {}", self.number),
            Source::Credits => format!("credit channel {}", self.number),
            Source::Locked(id) => {
                format!("channel {} of locked position {}", self.number, positions::show(id))
            }
        }
    }
}

/// Counts, behind a mark that sets these channels apart from those that other programs open for the wallet.
fn salt(number: u32) -> B256 {
    let mut salt = B256::from(U256::from(number));
    salt[..MARK.len()].copy_from_slice(MARK);
    salt
}

pub(super) fn settlement(shared: &Shared) -> Settlement {
    Settlement { chain_id: shared.record.chain_id, at: shared.record.contracts.channels }
}

pub(super) fn id_of(shared: &Shared, channel: &Channel) -> Result<B256, Problem> {
    let id = settlement(shared).channel_id(channel);
    id.ok_or_else(|| Problem::bad("The channel\u{2019}s delay does not fit.", "Reload the page."))
}

/// A channel as the chain has it.
pub(super) struct Found {
    pub(super) name: Name,
    pub(super) channel: Channel,
    pub(super) id: B256,
    /// Deposits less what went back.
    pub(super) balance: u128,
    pub(super) claimed: u128,
    /// What was asked back, and when it can be had.
    pub(super) pending: Option<(u128, Time)>,
}

impl Found {
    pub(super) fn rest(&self) -> u128 {
        self.balance.saturating_sub(self.claimed)
    }
}

/// What a wallet can pay with.
pub(super) struct Purse {
    pub(super) cash: u128,
    pub(super) credits: u128,
    /// Vaults that stand, and what is in them.
    pub(super) vaults: Vec<(BidId, Address, u128)>,
}

pub(super) fn balance(chain: &mut Chain, coin: Address, of: Address) -> Result<u128, ChainError> {
    Ok(chain.call(coin, &DevCash::balanceOfCall { account: of })?.saturating_to())
}

/// Looks into a wallet and its vaults.
pub(super) fn purse(
    shared: &Shared,
    view: &View,
    chain: &mut Chain,
    wallet: Address,
) -> Result<Purse, ChainError> {
    let contracts = &shared.record.contracts;
    let offering = &view.raise.offering;
    let cleared = |id: BidId| offering.rounds[usize::from(id.round)].status == Status::Cleared;
    let mine = bids(offering).filter(|(id, bid)| bid.wallet == wallet && bid.settled && cleared(*id));
    let mut vaults = Vec::new();
    for (id, _) in mine.take(MOST_VAULTS) {
        let vault = contracts.vault_of(offering, id);
        if !chain.code(vault)?.is_empty() {
            vaults.push((id, vault, balance(chain, contracts.credit, vault)?));
        }
    }
    Ok(Purse {
        cash: balance(chain, contracts.cash, wallet)?,
        credits: balance(chain, contracts.credit, wallet)?,
        vaults,
    })
}

/// The first deposit's mark: the coin remembers for ever that it was used.
pub(super) fn was_opened(chain: &mut Chain, channel: &Channel, id: B256) -> Result<bool, ChainError> {
    let nonce = keccak256((id, U256::ZERO).abi_encode());
    chain.call(channel.token, &Authorized::authorizationStateCall { authorizer: channel.payer, nonce })
}

pub(super) fn seen(
    shared: &Shared,
    chain: &mut Chain,
    name: Name,
    channel: Channel,
    id: B256,
) -> Result<Found, ChainError> {
    // Both at once, so of one block.
    let data = vec![
        Channels::channelsCall { channelId: id }.abi_encode().into(),
        Channels::pendingWithdrawalsCall { channelId: id }.abi_encode().into(),
    ];
    let answers = chain.call(shared.record.contracts.channels, &Channels::multicallCall { data })?;
    let [state, asked] = answers.as_slice() else {
        return Err(ChainError::Answer(alloy_sol_types::Error::Overrun));
    };
    let state = Channels::channelsCall::abi_decode_returns(state)?;
    let asked = Channels::pendingWithdrawalsCall::abi_decode_returns(asked)?;
    let ends = asked.initiatedAt.to::<u64>() + channel.withdraw_delay;
    let pending = (!asked.initiatedAt.is_zero()).then_some((asked.amount, ends));
    Ok(Found { name, channel, id, balance: state.balance, claimed: state.totalClaimed, pending })
}

/// Every channel that this wallet has opened here.
pub(super) fn all(
    shared: &Shared,
    view: &View,
    chain: &mut Chain,
    wallet: Address,
    purse: &Purse,
) -> Result<Vec<Found>, ChainError> {
    let locked = purse.vaults.iter().map(|(id, ..)| Source::Locked(*id));
    let sources: Vec<Source> = [Source::Cash, Source::Credits].into_iter().chain(locked).collect();
    let mut all = Vec::new();
    for source in sources {
        for days in DELAYS {
            for number in 1..=MOST {
                let name = Name { source, days, number };
                let Some(channel) = name.channel(shared, view, wallet) else { break };
                let Some(id) = settlement(shared).channel_id(&channel) else { break };
                if !was_opened(chain, &channel, id)? {
                    break;
                }
                all.push(seen(shared, chain, name, channel, id)?);
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_named_as_it_is_read() {
        let id = BidId { round: 2, window: 3, entity: u64::MAX };
        for source in [Source::Cash, Source::Credits, Source::Locked(id)] {
            let name = Name { source, days: 7, number: 12 };
            assert_eq!(Name::read(&name.to_string()), Some(name));
        }
        for text in [
            "",
            "cash",
            "cash-1",
            "cash-1-0",
            "cash-2-1",
            "cash-1-51",
            "gold-1-1",
            "locked:-1-1",
            "locked:0/1/2/3-1-1",
        ] {
            assert_eq!(Name::read(text), None, "{text}");
        }
    }
}
