//! The rules of `Offering.sol` as a model: rounds, bids, clearing, positions, attestations and delivery. Every method
//! checks everything first, in the contract's order, and changes nothing when it refuses.

mod bids;
mod clear;
mod error;
mod positions;

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256};

use crate::bid::{Bid, BidId, Position};
use crate::clearing::{Bucket, Prices};
use crate::curve::Ladder;
use crate::money::{Bps, Cash, weight};
use crate::permit::PurchasePermit;
use crate::plan::Time;
use crate::schedule::Schedule;

pub use error::OfferingError;

/// Seconds in a day.
pub const DAY: u64 = 86_400;
/// Subject of the attestation that the service is live; milestones count from 1.
pub const LIVE: u8 = 0;
/// Bucket of all bids above an auction's marginal tick.
pub const ABOVE: u16 = 0xffff;

/// Everything fixed at deployment.
#[derive(Clone, Debug, PartialEq)]
pub struct OfferingSetup {
    /// Draws the tap, rotates attesters.
    pub issuer: Address,
    /// Attests.
    pub certifier: Address,
    /// Objects and pauses.
    pub guardian: Address,
    /// At first.
    pub attesters: Vec<Address>,
    /// What permits must carry.
    pub terms_hash: B256,
    /// Least proceeds of all rounds; 0: none.
    pub soft_cap: u64,
    /// When they must be there.
    pub soft_cap_date: Time,
    /// Live by then.
    pub deadline: Time,
    /// Between an attestation and its effect.
    pub notice_secs: u64,
    /// Most objections to one subject.
    pub objections: u8,
    /// How many there are.
    pub milestones: u8,
    /// By index.
    pub schedules: Vec<Schedule>,
    /// Discount of each schedule.
    pub discounts: Vec<Bps>,
    /// Days of each lock class.
    pub lock_days: Vec<u16>,
    /// By index.
    pub rounds: Vec<RoundSetup>,
}

/// A round as agreed.
#[derive(Clone, Debug, PartialEq)]
pub struct RoundSetup {
    /// How it sells.
    pub sale: Sale,
    /// First second of bidding.
    pub open: Time,
    /// First second after it.
    pub close: Time,
    /// Most seconds of pause.
    pub pause_limit: u64,
    /// Longest cooling-off of any buyer here.
    pub cooling_off_days: u8,
    /// Most cash that may be withdrawable at once.
    pub withdrawable_most: u64,
    /// Bit i: schedule i may be chosen.
    pub schedules: u16,
}

/// How a round sells.
#[derive(Clone, Debug, PartialEq)]
pub enum Sale {
    /// One price; fixed and private rounds.
    Fixed {
        /// Credits for sale.
        supply: u128,
        /// In price units.
        price: u64,
        /// Refuse what is beyond the supply.
        first_come: bool,
        /// Offered without general solicitation.
        private: bool,
    },
    /// One uniform price, found from limits.
    Auction {
        /// Supply and ladder of prices.
        prices: Prices,
        /// Number of ticks.
        ticks: u16,
    },
    /// A price for each window.
    Rising {
        /// Length of a window.
        window_secs: u64,
        /// How many there are.
        windows: u16,
        /// Most weight of a window.
        window_cap: u64,
        /// Most weight of the round.
        cap: u64,
        /// Weight before the round.
        start: u64,
        /// Index of a round whose proceeds are added to `start`.
        follows: Option<u8>,
        /// Credits over weight.
        ladder: Ladder,
    },
}

/// How far a round has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Nothing was cleared, whether or not bids are still taken.
    Open,
    /// Clearing has begun, in pieces.
    Clearing,
    /// For good.
    Cleared,
}

/// What happened to a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// How far it has come.
    pub status: Status,
    /// Moved by pauses.
    pub open: Time,
    /// Moved by pauses.
    pub close: Time,
    /// End of the last pause.
    pub paused_until: Time,
    /// Seconds of pause the guardian still has.
    pub pause_left: u64,
    /// Cash of bids in cooling-off.
    pub withdrawable: u64,
    /// Auction: lowest tick seen. Rising: next window.
    pub cursor: u16,
    /// Rising: knot of the ladder below the weight sold so far.
    pub knot: u16,
    /// Auction: cash above. Rising: weight at the start.
    pub cash_above: u64,
    /// Auction: weight above. Rising: weight sold so far, start included.
    pub weight_above: u64,
    /// Auction, cleared: from this tick up bids are filled whole.
    pub whole_from: u16,
    /// Auction, cleared: tick `whole_from − 1` is pro rata.
    pub marginal: bool,
    /// Cash sold for.
    pub proceeds: u64,
    /// What roundings of refunds left over.
    pub dust: u64,
    /// Of both, what went to the treasury.
    pub swept: u64,
    /// Cash that settled affiliates paid.
    pub affiliate_paid: u64,
    /// Credits sold.
    pub sold: u128,
    /// Credits delivered.
    pub delivered: u128,
    /// When the last piece was cleared.
    pub cleared_at: Time,
    /// Bids of affiliates not yet settled.
    pub affiliates_left: u32,
}

/// Live or a milestone, as attested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Attestation {
    /// When it takes effect unless objected to; 0: not attested.
    pub effective_at: Time,
    /// How often it was objected to.
    pub objections: u8,
}

/// The whole state of an offering.
#[derive(Clone, Debug, PartialEq)]
pub struct Offering {
    /// What was agreed.
    pub setup: OfferingSetup,
    /// First opening: day 0.
    pub origin: Time,
    /// By index.
    pub rounds: Vec<Round>,
    /// By round and tick, window, 0, or [`ABOVE`].
    pub buckets: BTreeMap<(u8, u16), Bucket>,
    /// Ticks that ever had a bid, by round.
    pub occupied: BTreeMap<(u8, u16), ()>,
    /// Bids, and totals of rising rounds.
    pub bids: BTreeMap<BidId, Bid>,
    /// Of settled bids.
    pub positions: BTreeMap<BidId, Position>,
    /// Current (0: removed) and highest generation of attesters.
    pub generations: BTreeMap<Address, (u32, u32)>,
    /// By subject.
    pub attestations: BTreeMap<u8, Attestation>,
    /// Of all cleared rounds.
    pub total_proceeds: u64,
}

use OfferingError as Error;

type Result<T> = std::result::Result<T, OfferingError>;

/// A bid to be placed, or what it shall be raised to.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// The attester's word.
    pub permit: PurchasePermit,
    /// Who signed it, as recovered; `None`: no valid signature.
    pub signed_by: Option<Address>,
    /// Cash in all.
    pub cash: u64,
    /// Limit in an auction, else 0.
    pub tick: u16,
    /// Index of the vesting schedule.
    pub schedule: u8,
}

/// An owner's signature as the contract sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consent {
    /// Good until then.
    pub expiry: Time,
    /// The owner signed just this.
    pub by_owner: bool,
}

impl Consent {
    /// What a signature is worth at a time.
    pub(crate) fn check(self, now: Time) -> Result<()> {
        if now > self.expiry {
            return Err(Error::Expired(self.expiry));
        }
        if self.by_owner { Ok(()) } else { Err(Error::BadSignature) }
    }
}

impl RoundSetup {
    /// Ticks of an auction, windows of a rising round, else 1.
    pub fn ticks(&self) -> u16 {
        match self.sale {
            Sale::Fixed { .. } => 1,
            Sale::Auction { ticks, .. } => ticks,
            Sale::Rising { windows, .. } => windows,
        }
    }

    /// Whether it is a rising one.
    pub fn is_rising(&self) -> bool {
        matches!(self.sale, Sale::Rising { .. })
    }

    /// Most credits the round can sell.
    pub fn supply(&self) -> u128 {
        match &self.sale {
            Sale::Fixed { supply, .. } => *supply,
            Sale::Auction { prices, .. } => prices.supply,
            Sale::Rising { ladder, .. } => {
                let knots = ladder.knots();
                knots[knots.len() - 1].credits - knots[0].credits
            }
        }
    }
}

impl Offering {
    /// Before the first bid.
    pub fn new(setup: OfferingSetup) -> Self {
        let round = |setup: &RoundSetup| Round {
            status: Status::Open,
            open: setup.open,
            close: setup.close,
            paused_until: 0,
            pause_left: setup.pause_limit,
            withdrawable: 0,
            cursor: 0,
            knot: 0,
            cash_above: 0,
            weight_above: 0,
            whole_from: 0,
            marginal: false,
            proceeds: 0,
            dust: 0,
            swept: 0,
            affiliate_paid: 0,
            sold: 0,
            delivered: 0,
            cleared_at: 0,
            affiliates_left: 0,
        };
        Offering {
            origin: setup.rounds.iter().map(|round| round.open).min().unwrap_or(0),
            rounds: setup.rounds.iter().map(round).collect(),
            generations: setup.attesters.iter().map(|&attester| (attester, (1, 1))).collect(),
            buckets: BTreeMap::new(),
            occupied: BTreeMap::new(),
            bids: BTreeMap::new(),
            positions: BTreeMap::new(),
            attestations: BTreeMap::new(),
            total_proceeds: 0,
            setup,
        }
    }

    /// The slot of a bid; empty where there is none.
    pub fn bid(&self, id: BidId) -> Bid {
        self.bids.get(&id).copied().unwrap_or_default()
    }

    /// A bucket; empty where there is none.
    pub fn bucket(&self, round: u8, place: u16) -> Bucket {
        self.buckets.get(&(round, place)).copied().unwrap_or_default()
    }

    /// An attestation; empty where there is none.
    pub fn attestation(&self, subject: u8) -> Attestation {
        self.attestations.get(&subject).copied().unwrap_or_default()
    }

    /// Attested, and the notice has passed without objection.
    pub fn is_effective(&self, subject: u8, now: Time) -> bool {
        let at = self.attestation(subject).effective_at;
        at != 0 && now >= at
    }

    /// The soft cap was missed.
    pub fn failed(&self, now: Time) -> bool {
        self.setup.soft_cap != 0
            && now >= self.setup.soft_cap_date
            && self.total_proceeds < self.setup.soft_cap
    }

    /// First second at which a round may be cleared: a whole day more than its cooling-off, which ends with a day.
    pub fn clearable_at(&self, round: u8) -> Result<Time> {
        self.check_round(round)?;
        let days = u64::from(self.setup.rounds[usize::from(round)].cooling_off_days);
        Ok(self.round(round).close + if days == 0 { 0 } else { (days + 1) * DAY })
    }

    /// First second at which the lock of a bid in a cleared round is over.
    pub fn unlock_at(&self, id: BidId) -> Time {
        let days = self.setup.lock_days.get(usize::from(self.bid(id).lock_class)).copied().unwrap_or(0);
        self.round(id.round).cleared_at + u64::from(days) * DAY
    }

    fn round(&self, round: u8) -> &Round {
        &self.rounds[usize::from(round)]
    }

    fn round_mut(&mut self, round: u8) -> &mut Round {
        &mut self.rounds[usize::from(round)]
    }

    fn round_setup(&self, round: u8) -> &RoundSetup {
        &self.setup.rounds[usize::from(round)]
    }

    fn check_round(&self, round: u8) -> Result<()> {
        if usize::from(round) < self.rounds.len() { Ok(()) } else { Err(Error::NoSuchRound(round)) }
    }

    /// The weight of cash under a schedule.
    pub fn weight(&self, cash: u64, schedule: u8) -> u64 {
        let discount = self.setup.discounts.get(usize::from(schedule)).copied().unwrap_or_default();
        weight(Cash::from_units(cash), discount)
    }

    fn window_now(&self, round: u8, now: Time) -> u64 {
        let Sale::Rising { window_secs, .. } = self.round_setup(round).sale else { return 0 };
        let Round { open, paused_until, .. } = *self.round(round);
        (now.max(paused_until) - open) / window_secs
    }

    /// First second at which a bid with cooling-off can no longer be withdrawn.
    pub fn cooling_off_ends(&self, round: u8, bid: &Bid) -> Time {
        let days = u64::from(bid.day) + 1 + u64::from(self.round_setup(round).cooling_off_days);
        self.origin + days * DAY
    }

    // ---- attesters and the guardian's pause

    /// Adds, renews or (generation 0) removes an attester.
    pub fn set_attester(&mut self, caller: Address, attester: Address, generation: u32) -> Result<()> {
        if caller != self.setup.issuer {
            return Err(Error::NotIssuer(caller));
        }
        let (_, highest) = self.generations.get(&attester).copied().unwrap_or_default();
        if generation != 0 && generation <= highest {
            return Err(Error::OldGeneration { attester, signed: generation, current: highest });
        }
        self.generations.insert(attester, (generation, highest.max(generation)));
        Ok(())
    }

    /// No bids for so many seconds from now; the end moves by as much.
    pub fn pause(&mut self, now: Time, caller: Address, index: u8, secs: u64) -> Result<()> {
        if caller != self.setup.guardian {
            return Err(Error::NotGuardian(caller));
        }
        self.check_round(index)?;
        let round = self.round_mut(index);
        // A pause moves the opening too, beyond now if it began early in the round.
        if now < round.open && now >= round.paused_until || now >= round.close {
            return Err(Error::NotOpen { round: index, from: round.open, to: round.close, time: now });
        }
        let unused = round.paused_until.saturating_sub(now);
        let left = round.pause_left + unused;
        if secs > left {
            return Err(Error::PauseTooLong { asked: secs, left });
        }
        round.open = round.open + secs - unused;
        round.close = round.close + secs - unused;
        round.paused_until = now + secs;
        round.pause_left = left - secs;
        Ok(())
    }

    // ---- attestations

    /// A milestone is reached, or the service is live.
    pub fn attest(&mut self, now: Time, caller: Address, subject: u8) -> Result<()> {
        if caller != self.setup.certifier {
            return Err(Error::NotCertifier(caller));
        }
        if subject > self.setup.milestones {
            return Err(Error::NoSuchSubject(subject));
        }
        let attestation = self.attestation(subject);
        if attestation.effective_at != 0 {
            return Err(Error::AlreadyAttested { subject, effective_at: attestation.effective_at });
        }
        let effective_at = now + self.setup.notice_secs;
        if subject == LIVE {
            let deadline = self.setup.deadline;
            if effective_at > deadline {
                return Err(Error::AfterDeadline { effective_at, deadline });
            }
            let (proceeds, soft_cap) = (self.total_proceeds, self.setup.soft_cap);
            if proceeds < soft_cap {
                return Err(Error::SoftCapNotMet { proceeds, soft_cap });
            }
        }
        self.attestations.insert(subject, Attestation { effective_at, ..attestation });
        Ok(())
    }

    /// The guardian's no, before it takes effect.
    pub fn object(&mut self, now: Time, caller: Address, subject: u8) -> Result<()> {
        if caller != self.setup.guardian {
            return Err(Error::NotGuardian(caller));
        }
        let attestation = self.attestation(subject);
        if now >= attestation.effective_at {
            return Err(Error::NothingToObject(subject));
        }
        if attestation.objections >= self.setup.objections {
            return Err(Error::NoObjectionsLeft(subject));
        }
        let objections = attestation.objections + 1;
        self.attestations.insert(subject, Attestation { effective_at: 0, objections });
        Ok(())
    }
}
