//! Placing, raising and taking back bids.

use alloy_primitives::Address;

use super::{Error, Offering, Order, Result, Sale};
use crate::bid::{Bid, BidId};
use crate::clearing::credits_for;
use crate::money::CASH_MAX;
use crate::offering::DAY;
use crate::permit::PurchasePermit;
use crate::plan::Time;

impl Offering {
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
}
