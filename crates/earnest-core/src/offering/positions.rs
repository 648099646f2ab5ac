//! From a cleared round to positions, refunds, proceeds and delivered credits.

use alloy_primitives::Address;

use super::{ABOVE, Consent, Error, LIVE, Offering, Result, Sale, Status};
use crate::bid::{BidId, Position};
use crate::clearing::Share;
use crate::plan::Time;

impl Offering {
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
        let (share, pro_rata) = self.outcome(id);
        let bid = self.bids.get_mut(&id).expect("checked");
        bid.settled = true;
        let (cash, affiliate) = (bid.cash, bid.affiliate);
        // Who gets nothing back pulls no refund; the bucket's dust need not wait for it.
        if let Some(place) = pro_rata.filter(|_| share.back == 0) {
            self.release(id.round, place, cash, 0);
        }
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
                self.release(id.round, place, bid.cash, share.back);
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

    /// The last refund of a pro rata bucket leaves the dust of all its roundings.
    fn release(&mut self, round: u8, place: u16, cash: u64, back: u64) {
        let bucket = self.buckets.get_mut(&(round, place)).expect("has an outcome");
        bucket.cash_left -= cash;
        bucket.refunds_left -= back;
        if bucket.cash_left == 0 {
            let dust = std::mem::take(&mut bucket.refunds_left);
            self.round_mut(round).dust += dust;
        }
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
