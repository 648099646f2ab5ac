//! The invariants that auditors cite by name, checked over a whole raise at any step. `docs/invariants.md` says each
//! in words.

use thiserror::Error;

use crate::bid::BidId;
use crate::offering::{Offering, Sale, Status};
use crate::plan::Time;
use crate::raise::{Holder, Raise};

/// Names of all that [`check`] looks at.
pub const NAMES: &[&str] =
    &["OFFER-1", "OFFER-2", "OFFER-3", "OFFER-4", "HOLD-1", "HOLD-2", "LOCK-1", "SUPPLY-1", "SUPPLY-2"];

/// An invariant does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{name} is broken: {what}")]
pub struct Broken {
    /// Such as `OFFER-2`.
    pub name: &'static str,
    /// The numbers.
    pub what: String,
}

pub(crate) fn must(name: &'static str, holds: bool, what: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken { name, what: what() }) }
}

/// Checks all of them, at a time.
pub fn check(raise: &Raise, now: Time) -> Result<(), Broken> {
    check_beside(raise, Outside::default(), now)
}

/// What people did with the coins beside the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// Credits that their holders burned.
    pub burned: u128,
    /// Cash given to the treasury unasked; it stays there.
    pub given: u128,
}

/// The same, beside what people did with the coins.
pub fn check_beside(raise: &Raise, outside: Outside, now: Time) -> Result<(), Broken> {
    offer_1(raise)?;
    offer_2(raise, now)?;
    offer_3_and_4(&raise.offering)?;
    hold_1(raise, outside.given)?;
    supply_1(raise, outside.burned)
}

fn bids_of(offering: &Offering, round: u8) -> impl Iterator<Item = (BidId, &crate::bid::Bid)> {
    let first = BidId { round, window: 0, entity: 0 };
    let last = BidId { round, window: BidId::TOTAL - 1, entity: u64::MAX };
    offering.bids.range(first..=last).map(|(&id, bid)| (id, bid))
}

/// Credits sold in a round ≤ its supply; Σ positions ≤ sold; delivered ≤ each position.
fn offer_1(raise: &Raise) -> Result<(), Broken> {
    let offering = &raise.offering;
    for ((index, round), setup) in (0u8..).zip(&offering.rounds).zip(&offering.setup.rounds) {
        let supply = setup.supply();
        must("OFFER-1", round.sold <= supply, || format!("round {index} sold {} of {supply}", round.sold))?;
        let first = BidId { round: index, window: 0, entity: 0 };
        let last = BidId { round: index, window: u16::MAX, entity: u64::MAX };
        let (mut credits, mut delivered, mut paid) = (0u128, 0u128, 0u64);
        for (id, position) in offering.positions.range(first..=last) {
            must("OFFER-1", position.delivered <= position.credits, || format!("{id:?} delivered too much"))?;
            credits += position.credits;
            delivered += position.delivered;
            paid += position.paid;
        }
        must("OFFER-1", credits <= round.sold, || {
            format!("positions of round {index} are {credits} of {}", round.sold)
        })?;
        must("OFFER-1", delivered == round.delivered, || format!("round {index} delivered {delivered}"))?;
        must("OFFER-1", paid <= round.proceeds, || {
            format!("positions paid {paid}, proceeds {}", round.proceeds)
        })?;
    }
    Ok(())
}

/// Escrow ≥ refunds owed + proceeds not yet swept, worst case, bid by bid.
fn offer_2(raise: &Raise, now: Time) -> Result<(), Broken> {
    let offering = &raise.offering;
    let escrow = raise.cash.of(Holder::Offering);
    // Before a round is cleared all its cash is owed back; after, what each bid gets back and the proceeds.
    let mut owed = 0u128;
    let mut standing = 0u128;
    for (index, round) in (0u8..).zip(&offering.rounds) {
        for (id, bid) in bids_of(offering, index) {
            standing += u128::from(bid.cash);
            if round.status != Status::Cleared {
                owed += u128::from(bid.cash);
            } else if !bid.refunded && bid.cash > 0 {
                owed += u128::from(offering.outcome(id).0.back);
            }
        }
        if round.status == Status::Cleared {
            owed += u128::from(round.proceeds + round.dust - round.swept);
        }
    }
    if offering.failed(now) {
        owed = standing;
    }
    must("OFFER-2", escrow >= owed, || format!("escrow {escrow} is less than {owed} owed"))?;
    // Should the soft cap still be missed, everything goes back: then nothing may have left.
    let may_fail = offering.setup.soft_cap != 0 && offering.total_proceeds < offering.setup.soft_cap;
    must("OFFER-2", !may_fail || escrow >= standing, || format!("escrow {escrow}, bids {standing}"))
}

/// No one pays above their limit, and all in a bucket pay one price within a unit; splitting a bid never gains.
fn offer_3_and_4(offering: &Offering) -> Result<(), Broken> {
    for ((index, round), setup) in (0u8..).zip(&offering.rounds).zip(&offering.setup.rounds) {
        if round.status != Status::Cleared {
            continue;
        }
        for (id, bid) in bids_of(offering, index) {
            if bid.cash == 0 || bid.refunded {
                continue;
            }
            let (share, _) = offering.outcome(id);
            must(
                "OFFER-3",
                share.paid + share.back <= bid.cash && share.paid + share.back + 1 >= bid.cash,
                || format!("{id:?} of {} pays {} and gets {} back", bid.cash, share.paid, share.back),
            )?;
            if let Sale::Auction { prices, .. } = setup.sale {
                // What is paid buys at least its weight's worth at the limit, but for one unit of cash and of credits.
                let weight = offering.weight(share.paid.saturating_sub(1), bid.schedule).saturating_sub(1);
                let least = crate::clearing::credits_for(weight, prices.at(bid.tick));
                must("OFFER-3", share.credits + 1 >= least, || {
                    format!("{id:?} paid {} above its limit for {} credits", share.paid, share.credits)
                })?;
            }
            // OFFER-4: floor(x) + floor(y) ≤ floor(x + y), for credits and for cash back.
            let half = bid.cash / 2;
            let (_, place) = offering.outcome(id);
            let place = place.unwrap_or(match setup.sale {
                Sale::Auction { .. } => crate::offering::ABOVE,
                _ => id.window,
            });
            let bucket = offering.bucket(index, place);
            if bucket.weight > 0 && share.paid > 0 {
                let part = |cash| bucket.share(cash, offering.weight(cash, bid.schedule));
                let (a, b) = (part(half), part(bid.cash - half));
                must(
                    "OFFER-4",
                    a.credits + b.credits <= share.credits && a.back + b.back <= share.back,
                    || format!("{id:?} would gain by splitting"),
                )?;
            }
        }
    }
    Ok(())
}

/// Σ pots + tap paid + refunds = proceeds swept; tap paid ≤ the highest ceiling. (HOLD-2 is what `draw` refuses.)
fn hold_1(raise: &Raise, given: u128) -> Result<(), Broken> {
    let (offering, treasury) = (&raise.offering, &raise.treasury);
    let held = treasury.held();
    let all = held + treasury.tap_paid + treasury.refunds_paid;
    let swept: u64 = offering.rounds.iter().map(|round| round.swept).sum();
    must("HOLD-1", all == swept, || format!("pots, tap and refunds are {all}, swept {swept}"))?;
    let balance = raise.cash.of(Holder::Treasury);
    must("HOLD-1", balance == u128::from(held) + given, || {
        format!("the treasury has {balance}, its pots say {held}")
    })?;
    let ceilings = treasury.setup.ceilings.iter().map(|&(cash, _)| cash);
    let most = ceilings.chain([treasury.setup.ceiling_at_start]).max().unwrap_or(0);
    must("HOLD-1", treasury.tap_paid <= most, || format!("the tap paid {} of {most}", treasury.tap_paid))?;
    let refunds: u64 = treasury.pots.iter().map(|pot| pot.refunded).sum();
    must("HOLD-2", refunds == treasury.refunds_paid, || format!("classes were refunded {refunds}"))
}

/// Minted = delivered (nothing is emitted yet, so SUPPLY-2 is that nothing is); and what is locked is in vaults.
fn supply_1(raise: &Raise, burned: u128) -> Result<(), Broken> {
    let delivered: u128 = raise.offering.rounds.iter().map(|round| round.delivered).sum();
    let minted = raise.credits.minted;
    must("SUPPLY-1", minted == delivered, || format!("minted {minted}, delivered {delivered}"))?;
    let held: u128 = raise.credits.balances.values().sum();
    must("SUPPLY-1", held + burned == minted, || format!("held {held}, burned {burned}, minted {minted}"))?;
    for &holder in raise.credits.balances.keys() {
        let allowed = matches!(holder, Holder::Account(_) | Holder::Vault(_));
        must("LOCK-1", allowed, || format!("{holder:?} has credits"))?;
    }
    must("SUPPLY-2", minted <= delivered, || format!("{} were emitted", minted - delivered))
}
