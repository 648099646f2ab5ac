//! Every refusal of an offering, with its numbers.

use alloy_primitives::{Address, B256};
use thiserror::Error;

use crate::bid::BidId;
use crate::plan::Time;

/// Why something was refused. The names are the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each message says it")]
pub enum OfferingError {
    #[error("{0} is not the issuer")]
    NotIssuer(Address),
    #[error("{0} is not the guardian")]
    NotGuardian(Address),
    #[error("{0} is not the certifier")]
    NotCertifier(Address),
    #[error("{1} does not own bid {0:?}")]
    NotOwner(BidId, Address),
    #[error("there is no round {0}")]
    NoSuchRound(u8),
    #[error("round {round} takes bids from {from} to {to}, and it is {time}")]
    NotOpen { round: u8, from: Time, to: Time, time: Time },
    #[error("bids of round {round} are paused until {until}")]
    BidsPaused { round: u8, until: Time },
    #[error("a pause of {asked} s was asked for and {left} s are left")]
    PauseTooLong { asked: u64, left: u64 },
    #[error("the permit is for wallet {wallet}, and {caller} bids")]
    NotPermitted { caller: Address, wallet: Address },
    #[error("the permit is signed under other terms, {0}")]
    OtherTerms(B256),
    #[error("the permit is good from {not_before} to {expiry}, and it is {time}")]
    PermitNotValidNow { not_before: Time, expiry: Time, time: Time },
    #[error("the permit's generation is {signed}, and attester {attester} is at {current}")]
    OldGeneration { attester: Address, signed: u32, current: u32 },
    #[error("the permit is for {first} to {last}, and the bid is at {asked}")]
    OutsidePermit { asked: u16, first: u16, last: u16 },
    #[error("{cash} is outside the permit's {least} to {most}")]
    OutsideLimits { cash: u64, least: u64, most: u64 },
    #[error("{cash} over all rounds exceeds {most}")]
    OverTotal { cash: u64, most: u64 },
    #[error("an affiliate has no cooling-off")]
    AffiliateCoolingOff,
    #[error("tick {tick} is not one of {ticks}")]
    NoSuchTick { tick: u16, ticks: u16 },
    #[error("schedule {0} is not offered in this round")]
    ScheduleNotOffered(u8),
    #[error("lock class {0} does not exist")]
    NoSuchLockClass(u8),
    #[error("a bid only rises: {cash_now} at tick {tick_now} stands, {cash} at tick {tick} was asked")]
    OnlyUp { cash: u64, tick: u16, cash_now: u64, tick_now: u16 },
    #[error("the entity bids here with wallet {wallet}, not {caller}")]
    OtherWallet { caller: Address, wallet: Address },
    #[error("schedule, lock and affiliation of bid {0:?} stand as they were made")]
    BidChanged(BidId),
    #[error("{0:?} has withdrawn")]
    Withdrawn(BidId),
    #[error("{credits} credits are asked for in all and {supply} are for sale")]
    SoldOut { credits: u128, supply: u128 },
    #[error("{cash} would be withdrawable at once, and the plan allows {most}")]
    TooMuchWithdrawable { cash: u64, most: u64 },
    #[error("escrow would be {0}, more than a trillion")]
    EscrowFull(u64),
    #[error("there is no bid {0:?}")]
    NoBid(BidId),
    #[error("bid {0:?} has no cooling-off")]
    NoCoolingOff(BidId),
    #[error("the cooling-off of bid {0:?} was over at {1}")]
    CoolingOffOver(BidId, Time),
    #[error("the cooling-off of bid {0:?} lasts until {1}")]
    CoolingOffNotOver(BidId, Time),
    #[error("round {round} may be cleared from {from}")]
    TooEarlyToClear { round: u8, from: Time },
    #[error("round {0} is cleared already")]
    AlreadyCleared(u8),
    #[error("round {0} is not cleared")]
    NotCleared(u8),
    #[error("the soft cap was missed: everything goes back")]
    Failed,
    #[error("bid {0:?} is settled already")]
    AlreadySettled(BidId),
    #[error("bid {0:?} has nothing to be refunded")]
    NothingToRefund(BidId),
    #[error("proceeds are {proceeds} and the soft cap is {soft_cap}")]
    SoftCapNotMet { proceeds: u64, soft_cap: u64 },
    #[error("round {0} has nothing to sweep")]
    NothingToSweep(u8),
    #[error("there is no subject {0}")]
    NoSuchSubject(u8),
    #[error("subject {subject} is attested, in effect from {effective_at}")]
    AlreadyAttested { subject: u8, effective_at: Time },
    #[error("it would take effect at {effective_at}, after the deadline {deadline}")]
    AfterDeadline { effective_at: Time, deadline: Time },
    #[error("subject {0} has nothing to object to")]
    NothingToObject(u8),
    #[error("subject {0} was objected to as often as the plan allows")]
    NoObjectionsLeft(u8),
    #[error("the service is not live")]
    NotLive,
    #[error("position {0:?} has nothing to deliver now")]
    NothingToDeliver(BidId),
    #[error("the signature is not the owner's")]
    BadSignature,
    #[error("the signature was good until {0}")]
    Expired(Time),
    #[error("wallet {wallet} has {has} and the bid needs {needs}")]
    ERC20InsufficientBalance { wallet: Address, has: u64, needs: u64 },
}
