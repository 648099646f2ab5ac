//! What a bid has come to: its place among the winners and losers, and the position it is or would become.

use earnest_core::bid::{Bid, BidId, Position};
use earnest_core::offering::{Offering, Sale, Status};
use earnest_core::plan::Time;

/// How a bid of a cleared round fared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// All its cash bought.
    Whole,
    /// A part of its cash bought.
    ProRata,
    /// All its cash goes back.
    Lost,
    /// Its owner took it back in time.
    Withdrawn,
}

/// All bids, without the totals that rising rounds keep beside them.
pub fn bids(offering: &Offering) -> impl Iterator<Item = (BidId, &Bid)> {
    let real = |(id, bid): &(&BidId, &Bid)| id.window != BidId::TOTAL && !bid.is_empty();
    offering.bids.iter().filter(real).map(|(id, bid)| (*id, bid))
}

/// A withdrawn bid keeps its wallet and nothing else; a loser that was refunded is marked as such.
pub fn is_withdrawn(bid: &Bid) -> bool {
    bid.cash == 0 && !bid.refunded && !bid.settled
}

/// How a bid fared; `None` while its round is not cleared. Holds before and after settling and refund alike, so it
/// looks at the bid's bucket and never at its cash, which a refund changes.
pub fn fate(offering: &Offering, id: BidId, bid: &Bid) -> Option<Fate> {
    let round = offering.rounds.get(usize::from(id.round))?;
    if is_withdrawn(bid) {
        return Some(Fate::Withdrawn);
    }
    if round.status != Status::Cleared {
        return None;
    }
    let place = match offering.setup.rounds[usize::from(id.round)].sale {
        Sale::Auction { .. } if bid.tick >= round.whole_from => return Some(Fate::Whole),
        Sale::Auction { .. } if bid.tick + 1 == round.whole_from && round.marginal => bid.tick,
        Sale::Auction { .. } => return Some(Fate::Lost),
        Sale::Fixed { .. } | Sale::Rising { .. } => id.window,
    };
    let bucket = offering.bucket(id.round, place);
    Some(match bucket {
        bucket if bucket.whole => Fate::Whole,
        bucket if bucket.used == 0 => Fate::Lost,
        _ => Fate::ProRata,
    })
}

/// The position a bid became, or would become were it settled now; `None` while its round is not cleared, if it
/// was withdrawn, or if the offering failed.
pub fn position(offering: &Offering, id: BidId, bid: &Bid, now: Time) -> Option<Position> {
    let round = offering.rounds.get(usize::from(id.round))?;
    if round.status != Status::Cleared || is_withdrawn(bid) || offering.failed(now) {
        return None;
    }
    if bid.settled {
        return Some(offering.positions.get(&id).copied().unwrap_or_default());
    }
    let (share, _) = offering.outcome(id);
    Some(Position { credits: share.credits, delivered: 0, paid: share.paid })
}
