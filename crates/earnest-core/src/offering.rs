//! The rules of `Offering.sol` as a model: rounds, bids, clearing, positions, attestations and delivery. Every method
//! checks everything first, in the contract's order, and changes nothing when it refuses.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256};
use thiserror::Error;

use crate::bid::{Bid, BidId, Position};
use crate::clearing::{Bucket, Prices, Share, Walk, clear_fixed, clear_window, credits_for};
use crate::curve::Ladder;
use crate::money::{Bps, CASH_MAX, Cash, weight};
use crate::permit::PurchasePermit;
use crate::plan::Time;
use crate::schedule::Schedule;

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

    fn cooling_off_ends(&self, round: u8, bid: &Bid) -> Time {
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
        if now < round.open || now >= round.close {
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

    // ---- bids

    /// Places or raises a bid of `caller`, whose balance is `balance`, beside `escrow`. Returns its id and the cash it
    /// takes in.
    pub fn place(
        &mut self,
        now: Time,
        caller: Address,
        order: &Order,
        balance: u64,
        escrow: u64,
    ) -> Result<(BidId, u64)> {
        let permit = &order.permit;
        let index = permit.round;
        self.check_round(index)?;
        let setup = self.round_setup(index);
        let rising = setup.is_rising();
        self.check_open(index, now)?;
        self.check_permit(now, caller, order)?;

        let window = u16::try_from(self.window_now(index, now)).expect("at most 4,096 windows");
        let place = if rising { window } else { order.tick };
        if place < permit.first || place > permit.last {
            return Err(Error::OutsidePermit { asked: place, first: permit.first, last: permit.last });
        }
        let ticks = if rising { 1 } else { setup.ticks() };
        if order.tick >= ticks {
            return Err(Error::NoSuchTick { tick: order.tick, ticks });
        }
        if order.schedule > 15 || setup.schedules >> order.schedule & 1 == 0 {
            return Err(Error::ScheduleNotOffered(order.schedule));
        }

        let id = BidId { round: index, window, entity: permit.entity };
        let old = self.bid(id);
        if !old.is_empty() {
            if old.cash == 0 {
                return Err(Error::Withdrawn(id));
            }
            if old.wallet != caller {
                return Err(Error::OtherWallet { caller, wallet: old.wallet });
            }
            let (cash_now, tick_now) = (old.cash, old.tick);
            let falls = order.cash < cash_now || order.tick < tick_now;
            if falls || (order.cash == cash_now && order.tick == tick_now) {
                return Err(Error::OnlyUp { cash: order.cash, tick: order.tick, cash_now, tick_now });
            }
            let as_made = (old.schedule, old.lock_class, old.affiliate);
            if (order.schedule, permit.lock_class, permit.affiliate) != as_made {
                return Err(Error::BidChanged(id));
            }
        }
        if order.cash == 0 {
            return Err(Error::OutsideLimits { cash: 0, least: permit.min_cash, most: permit.max_cash });
        }
        let added = order.cash - old.cash;
        let total = self.check_limits(caller, permit, rising, order.cash, added)?;

        let bid = Bid {
            wallet: caller,
            cash: order.cash,
            affiliate: permit.affiliate,
            cooling_off: permit.cooling_off || old.cooling_off,
            settled: false,
            refunded: false,
            tick: order.tick,
            schedule: order.schedule,
            lock_class: permit.lock_class,
            day: u16::try_from((now - self.origin) / DAY).expect("eleven years of days"),
        };
        let (weight, old_weight) = (self.weight(bid.cash, bid.schedule), self.weight(old.cash, bid.schedule));
        let mut bucket = self.bucket(index, place);
        let mut left = None;
        let auction = matches!(setup.sale, Sale::Auction { .. });
        if auction && old.cash != 0 && old.tick != place {
            let mut from = self.bucket(index, old.tick);
            from.cash -= old.cash;
            from.weight -= old_weight;
            left = Some(from);
            bucket.cash += bid.cash;
            bucket.weight += weight;
        } else {
            bucket.cash += added;
            bucket.weight += weight - old_weight;
        }
        if let Sale::Fixed { supply, price, first_come: true, .. } = setup.sale {
            let credits = credits_for(bucket.weight, price);
            if credits > supply {
                return Err(Error::SoldOut { credits, supply });
            }
        }
        let mut withdrawable = self.round(index).withdrawable;
        if bid.cooling_off {
            withdrawable += bid.cash - if old.cooling_off { old.cash } else { 0 };
            let most = setup.withdrawable_most;
            if withdrawable > most {
                return Err(Error::TooMuchWithdrawable { cash: withdrawable, most });
            }
        }
        if balance < added {
            return Err(Error::ERC20InsufficientBalance { wallet: caller, has: balance, needs: added });
        }
        if escrow + added > CASH_MAX {
            return Err(Error::EscrowFull(escrow + added));
        }

        if old.is_empty() && bid.affiliate {
            self.round_mut(index).affiliates_left += 1;
        }
        if auction {
            self.occupied.insert((index, place), ());
        }
        if let Some(from) = left {
            self.buckets.insert((index, old.tick), from);
        }
        if let Some(total) = total {
            self.bids.insert(id.total(), total);
        }
        self.buckets.insert((index, place), bucket);
        self.round_mut(index).withdrawable = withdrawable;
        self.bids.insert(id, bid);
        Ok((id, added))
    }

    fn check_open(&self, index: u8, now: Time) -> Result<()> {
        let round = self.round(index);
        if now < round.paused_until {
            return Err(Error::BidsPaused { round: index, until: round.paused_until });
        }
        if now < round.open || now >= round.close {
            return Err(Error::NotOpen { round: index, from: round.open, to: round.close, time: now });
        }
        Ok(())
    }

    fn check_permit(&self, now: Time, caller: Address, order: &Order) -> Result<()> {
        let permit = &order.permit;
        if permit.wallet != caller {
            return Err(Error::NotPermitted { caller, wallet: permit.wallet });
        }
        if permit.terms_hash != self.setup.terms_hash {
            return Err(Error::OtherTerms(permit.terms_hash));
        }
        if now < permit.not_before || now > permit.expiry {
            let (not_before, expiry) = (permit.not_before, permit.expiry);
            return Err(Error::PermitNotValidNow { not_before, expiry, time: now });
        }
        if permit.affiliate && permit.cooling_off {
            return Err(Error::AffiliateCoolingOff);
        }
        if permit.lock_class > 15 {
            return Err(Error::NoSuchLockClass(permit.lock_class));
        }
        let attester = order.signed_by.ok_or(Error::BadSignature)?;
        let (current, _) = self.generations.get(&attester).copied().unwrap_or_default();
        if current == 0 || permit.generation != current {
            return Err(Error::OldGeneration { attester, signed: permit.generation, current });
        }
        Ok(())
    }

    /// Returns the entity's new total where the round is a rising one.
    fn check_limits(
        &self,
        caller: Address,
        permit: &PurchasePermit,
        rising: bool,
        cash: u64,
        added: u64,
    ) -> Result<Option<Bid>> {
        let mut in_round = cash;
        let mut total = None;
        if rising {
            let id = BidId { round: permit.round, window: BidId::TOTAL, entity: permit.entity };
            let old = self.bid(id);
            if old.refunded {
                return Err(Error::Withdrawn(id));
            }
            if !old.is_empty() && old.wallet != caller {
                return Err(Error::OtherWallet { caller, wallet: old.wallet });
            }
            in_round = old.cash.saturating_add(added);
            total = Some(Bid { wallet: caller, cash: in_round, ..Bid::default() });
        }
        if in_round < permit.min_cash || in_round > permit.max_cash || in_round > CASH_MAX {
            return Err(Error::OutsideLimits {
                cash: in_round,
                least: permit.min_cash,
                most: permit.max_cash,
            });
        }
        if permit.max_total < CASH_MAX {
            let mut overall = in_round;
            for (round, setup) in (0u8..).zip(&self.setup.rounds) {
                if round != permit.round {
                    let window = if setup.is_rising() { BidId::TOTAL } else { 0 };
                    overall += self.bid(BidId { round, window, entity: permit.entity }).cash;
                }
            }
            if overall > permit.max_total {
                return Err(Error::OverTotal { cash: overall, most: permit.max_total });
            }
        }
        Ok(total)
    }

    /// Takes a whole bid back. Returns the cash.
    pub fn withdraw(&mut self, now: Time, caller: Address, id: BidId) -> Result<u64> {
        let mut bid = self.bid(id);
        self.check_round(id.round)?;
        if id.window == BidId::TOTAL || bid.cash == 0 {
            return Err(Error::NoBid(id));
        }
        if caller != bid.wallet {
            return Err(Error::NotOwner(id, caller));
        }
        if !bid.cooling_off {
            return Err(Error::NoCoolingOff(id));
        }
        let until = self.cooling_off_ends(id.round, &bid);
        if now >= until {
            return Err(Error::CoolingOffOver(id, until));
        }
        let end = self.clearable_at(id.round)?;
        if now >= end {
            return Err(Error::CoolingOffOver(id, end));
        }
        let rising = self.round_setup(id.round).is_rising();
        let (cash, weight) = (bid.cash, self.weight(bid.cash, bid.schedule));
        let ended = rising && u64::from(id.window) < self.window_now(id.round, now);
        let bucket = self.buckets.entry((id.round, if rising { id.window } else { bid.tick })).or_default();
        if ended {
            bucket.withdrawn_cash += cash;
            bucket.withdrawn_weight += weight;
        } else {
            bucket.cash -= cash;
            bucket.weight -= weight;
        }
        if rising {
            let total = self.bids.entry(id.total()).or_default();
            total.cash -= cash;
            total.refunded = true;
        }
        self.round_mut(id.round).withdrawable -= cash;
        (bid.cash, bid.cooling_off) = (0, false);
        self.bids.insert(id, bid);
        Ok(cash)
    }

    /// A bid whose cooling-off is over no longer counts as withdrawable.
    pub fn lapse(&mut self, now: Time, id: BidId) -> Result<()> {
        let mut bid = self.bid(id);
        self.check_round(id.round)?;
        if !bid.cooling_off {
            return Err(Error::NoCoolingOff(id));
        }
        let until = self.cooling_off_ends(id.round, &bid);
        if now < until {
            return Err(Error::CoolingOffNotOver(id, until));
        }
        self.round_mut(id.round).withdrawable -= bid.cash;
        bid.cooling_off = false;
        self.bids.insert(id, bid);
        Ok(())
    }

    // ---- clearing

    /// Clears a round, or the next piece of it: at most `steps` occupied ticks or windows.
    pub fn clear(&mut self, now: Time, index: u8, steps: u64) -> Result<()> {
        self.check_round(index)?;
        if self.round(index).status == Status::Cleared {
            return Err(Error::AlreadyCleared(index));
        }
        if self.failed(now) {
            return Err(Error::Failed);
        }
        let from = self.clearable_at(index)?;
        if now < from {
            return Err(Error::TooEarlyToClear { round: index, from });
        }
        match self.round_setup(index).sale.clone() {
            Sale::Fixed { supply, price, .. } => {
                let mut bucket = self.bucket(index, 0);
                let (sold, used) = clear_fixed(bucket.cash, bucket.weight, supply, price);
                bucket.close(sold, used, bucket.cash);
                self.buckets.insert((index, 0), bucket);
                self.finish(now, index, sold, used);
            }
            Sale::Auction { prices, ticks } => self.clear_auction(now, index, &prices, ticks, steps),
            Sale::Rising { windows, window_cap, cap, start, follows, ladder, .. } => {
                if self.round(index).status == Status::Open {
                    let before = match follows {
                        Some(before) if self.round(before).status != Status::Cleared => {
                            return Err(Error::NotCleared(before));
                        }
                        Some(before) => self.round(before).proceeds,
                        None => 0,
                    };
                    let start = (start + before).min(ladder.last_weight());
                    let round = self.round_mut(index);
                    (round.cash_above, round.weight_above) = (start, start);
                }
                let end = (self.round(index).cash_above + cap).min(ladder.last_weight());
                self.clear_windows(now, index, windows, window_cap, end, &ladder, steps);
            }
        }
        Ok(())
    }

    fn clear_auction(&mut self, now: Time, index: u8, prices: &Prices, ticks: u16, steps: u64) {
        let round = self.round(index);
        let mut walk = Walk { cash: round.cash_above, weight: round.weight_above };
        let mut below = if round.status == Status::Open { ticks } else { round.cursor };
        for _ in 0..steps {
            // A tick whose bids have all moved up or gone is passed over, as if it had never had any.
            let mut down = self.occupied.range((index, 0)..(index, below)).rev().map(|((_, tick), ())| *tick);
            let next = down.find(|&tick| self.bucket(index, tick).weight > 0);
            let cleared = match next {
                None => Some(walk.finish(prices)),
                Some(tick) => {
                    below = tick;
                    let bucket = self.bucket(index, tick);
                    walk.step(prices, tick, bucket.cash, bucket.weight)
                }
            };
            if let Some(cleared) = cleared {
                let mut above =
                    Bucket { cash: cleared.above.cash, weight: cleared.above.weight, ..Bucket::default() };
                above.close(cleared.sold_above, above.cash, above.cash);
                self.buckets.insert((index, ABOVE), above);
                if let Some((sold, used)) = cleared.marginal {
                    let bucket = self.buckets.entry((index, cleared.whole_from - 1)).or_default();
                    bucket.close(sold, used, bucket.cash);
                }
                let round = self.round_mut(index);
                (round.whole_from, round.marginal) = (cleared.whole_from, cleared.marginal.is_some());
                self.finish(now, index, cleared.sold(), cleared.proceeds());
                return;
            }
        }
        let round = self.round_mut(index);
        (round.status, round.cursor) = (Status::Clearing, below);
        (round.cash_above, round.weight_above) = (walk.cash, walk.weight);
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one round's sale")]
    fn clear_windows(
        &mut self,
        now: Time,
        index: u8,
        windows: u16,
        window_cap: u64,
        end: u64,
        ladder: &Ladder,
        steps: u64,
    ) {
        let Round { cursor: mut window, weight_above: mut x, mut sold, mut proceeds, .. } =
            *self.round(index);
        let mut left = steps;
        while left > 0 && window < windows {
            let mut bucket = self.bucket(index, window);
            if bucket.weight > 0 {
                let fits = window_cap.min(end - x);
                let (most, window_sold, used) = clear_window(ladder, x, fits, bucket.cash, bucket.weight);
                x += most;
                let kept = bucket.cash - bucket.withdrawn_cash;
                bucket.close(window_sold, used, kept);
                // What was withdrawn late goes unsold; the price of the others stands.
                let kept_used = (u128::from(kept) * u128::from(used)).div_ceil(u128::from(bucket.cash));
                proceeds += u64::try_from(kept_used).expect("at most kept");
                let kept_weight = u128::from(bucket.weight - bucket.withdrawn_weight);
                sold += crate::clearing::mul_div(window_sold, kept_weight, u128::from(bucket.weight));
                self.buckets.insert((index, window), bucket);
            }
            window += 1;
            left -= 1;
        }
        if window == windows {
            self.finish(now, index, sold, proceeds);
        } else {
            let round = self.round_mut(index);
            (round.status, round.cursor, round.knot) = (Status::Clearing, window, ladder.knot_below(x));
            (round.weight_above, round.sold, round.proceeds) = (x, sold, proceeds);
        }
    }

    fn finish(&mut self, now: Time, index: u8, sold: u128, proceeds: u64) {
        let round = self.round_mut(index);
        round.status = Status::Cleared;
        (round.sold, round.proceeds, round.cleared_at) = (sold, proceeds, now);
        self.total_proceeds += proceeds;
    }

    // ---- settling and refunds

    /// What a bid of a cleared round comes to, and the place of its bucket where that is pro rata.
    pub fn outcome(&self, id: BidId) -> (Share, Option<u16>) {
        let (bid, round) = (self.bid(id), self.round(id.round));
        let place = match self.round_setup(id.round).sale {
            Sale::Auction { .. } if bid.tick >= round.whole_from => ABOVE,
            Sale::Auction { .. } if bid.tick + 1 == round.whole_from && round.marginal => bid.tick,
            Sale::Auction { .. } => return (Share { back: bid.cash, ..Share::default() }, None),
            _ => id.window,
        };
        let bucket = self.bucket(id.round, place);
        let share = bucket.share(bid.cash, self.weight(bid.cash, bid.schedule));
        (share, (!bucket.whole).then_some(place))
    }

    /// Makes the position of a bid.
    pub fn settle(&mut self, now: Time, id: BidId) -> Result<()> {
        if self.bid(id).settled {
            return Err(Error::AlreadySettled(id));
        }
        self.check_settle(now, id)?;
        self.make_position(id);
        Ok(())
    }

    fn check_settle(&self, now: Time, id: BidId) -> Result<()> {
        self.check_round(id.round)?;
        if id.window == BidId::TOTAL || self.bid(id).cash == 0 {
            return Err(Error::NoBid(id));
        }
        if self.round(id.round).status != Status::Cleared {
            return Err(Error::NotCleared(id.round));
        }
        if self.failed(now) { Err(Error::Failed) } else { Ok(()) }
    }

    fn make_position(&mut self, id: BidId) {
        let (share, _) = self.outcome(id);
        let bid = self.bids.get_mut(&id).expect("checked");
        bid.settled = true;
        let affiliate = bid.affiliate;
        if share.credits != 0 || share.paid != 0 {
            self.positions.insert(id, Position { credits: share.credits, delivered: 0, paid: share.paid });
        }
        if affiliate {
            let round = self.round_mut(id.round);
            round.affiliates_left -= 1;
            round.affiliate_paid += share.paid;
        }
    }

    /// What a bid gets back, settling it on the way. `consent` is needed only to pay elsewhere than to the wallet.
    pub fn refund(&mut self, now: Time, caller: Address, id: BidId, consent: Option<Consent>) -> Result<u64> {
        let mut bid = self.bid(id);
        if let Some(consent) = consent
            && caller != bid.wallet
        {
            consent.check(now)?;
        }
        if id.window == BidId::TOTAL || bid.cash == 0 {
            return Err(Error::NothingToRefund(id));
        }
        let back = if self.failed(now) {
            bid.cash
        } else {
            if bid.refunded {
                return Err(Error::NothingToRefund(id));
            }
            if !bid.settled {
                self.check_settle(now, id)?;
            }
            let (share, pro_rata) = self.outcome(id);
            if share.back == 0 {
                return Err(Error::NothingToRefund(id));
            }
            if !bid.settled {
                self.make_position(id);
                bid.settled = true;
            }
            if let Some(place) = pro_rata {
                let bucket = self.buckets.get_mut(&(id.round, place)).expect("has an outcome");
                bucket.cash_left -= bid.cash;
                bucket.refunds_left -= share.back;
                if bucket.cash_left == 0 {
                    let dust = std::mem::take(&mut bucket.refunds_left);
                    self.round_mut(id.round).dust += dust;
                }
            }
            share.back
        };
        bid.cash -= back;
        bid.refunded = true;
        self.bids.insert(id, bid);
        if self.round_setup(id.round).is_rising() {
            self.bids.entry(id.total()).or_default().cash -= back;
        }
        Ok(back)
    }

    /// Moves a cleared round's proceeds to the treasury. Returns the cash.
    pub fn sweep(&mut self, index: u8) -> Result<u64> {
        self.check_round(index)?;
        if self.round(index).status != Status::Cleared {
            return Err(Error::NotCleared(index));
        }
        let (proceeds, soft_cap) = (self.total_proceeds, self.setup.soft_cap);
        if proceeds < soft_cap {
            return Err(Error::SoftCapNotMet { proceeds, soft_cap });
        }
        let round = self.round_mut(index);
        let cash = round.proceeds + round.dust - round.swept;
        if cash == 0 {
            return Err(Error::NothingToSweep(index));
        }
        round.swept += cash;
        Ok(cash)
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

    // ---- delivery

    /// What has vested of a position and was not delivered; returns it and whether it goes to the vault.
    pub fn deliver(
        &mut self,
        now: Time,
        caller: Address,
        id: BidId,
        consent: Option<Consent>,
    ) -> Result<(u128, bool)> {
        let bid = self.bid(id);
        match consent {
            Some(consent) => consent.check(now)?,
            None if caller != bid.wallet => return Err(Error::NotOwner(id, caller)),
            None => {}
        }
        let live_at = self.attestation(LIVE).effective_at;
        if !self.is_effective(LIVE, now) {
            return Err(Error::NotLive);
        }
        if !bid.settled {
            self.check_settle(now, id)?;
        }
        let mut position = if bid.settled {
            self.positions.get(&id).copied().unwrap_or_default()
        } else {
            let (share, _) = self.outcome(id);
            Position { credits: share.credits, delivered: 0, paid: share.paid }
        };
        let vested = self.setup.schedules[usize::from(bid.schedule)].vested(position.credits, now - live_at);
        let credits = vested - position.delivered;
        if credits == 0 {
            return Err(Error::NothingToDeliver(id));
        }
        if !bid.settled {
            self.make_position(id);
        }
        position.delivered = vested;
        self.positions.insert(id, position);
        self.round_mut(id.round).delivered += credits;
        Ok((credits, now < self.unlock_at(id)))
    }
}
