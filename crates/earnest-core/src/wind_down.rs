//! How a class ends and what its positions and the holders of credits get: the share of one that leaves, the claims on a
//! closed pot, and, when every class has ended, the circulating pot against burned credits. What is paid out never
//! exceeds what was there, nothing of a closed pot reaches the issuer (HOLD-2), and the order of claims is worth at most
//! one base unit.

use thiserror::Error;

use crate::bid::Position;
use crate::clearing::mul_div;
use crate::treasury::{Claims, Pot};

/// A class as its positions make it, beside its [`Pot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Class {
    /// Credits of its positions, delivered ones included, less what those who left gave up.
    pub credits: u128,
    /// Σ [`Position::claim`]; from the closing on as it was then.
    pub claims: Claims,
    /// Cash that positions took which left.
    pub left: u64,
    /// For good.
    pub closed: Option<Closed>,
}

/// What a closed class has for its positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Closed {
    /// Cash set aside for claims, at most their sum.
    pub cash: u64,
    /// Of it, paid.
    pub paid: u64,
    /// Claims not yet made.
    pub unclaimed: u64,
}

/// The circulating pot, open to whoever burns credits. Whoever has one mints no more credits: all classes are closed.
///
/// Burns are paid by their running total: once b of the supply s are burned `floor(pot × b ÷ s)` is paid. So a burn gets
/// `floor(credits × pot ÷ supply)` or one unit more, whoever came before, nobody gains by splitting it, and the last one
/// gets all that is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Redemption {
    /// Cash in it, what was paid since included.
    pub pot: u64,
    /// Credits that there were for it, what was burned since included.
    pub supply: u128,
    /// Of the supply, burned for cash.
    pub burned: u128,
    /// Of the pot, paid.
    pub paid: u64,
}

/// Why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each message says it")]
pub enum WindDownError {
    #[error("the class was closed with {cash} for its positions")]
    AlreadyClosed { cash: u64 },
    #[error("the class is not closed, {claims} can still be claimed of it")]
    NotClosed { claims: u64 },
    #[error("{asked} credits are more than the {undelivered} undelivered")]
    OverPosition { asked: u128, undelivered: u128 },
    #[error("the position of {paid} has nothing to claim")]
    NothingToClaim { paid: u64 },
    #[error("affiliates are paid last and cannot leave before, with a claim of {claim}")]
    AffiliateStays { claim: u64 },
    #[error("class {class} is open, with claims of {claims}")]
    StillOpen { class: usize, claims: u64 },
    #[error("{asked} credits are more than the supply of {supply}")]
    OverSupply { asked: u128, supply: u128 },
    #[error("nothing was burned")]
    NothingBurned,
}

use WindDownError as Error;
type Result<T> = std::result::Result<T, WindDownError>;

impl Class {
    /// A settled position comes in.
    pub fn add(&mut self, position: &Position, affiliate: bool) {
        self.credits += position.credits;
        *self.claims_of(affiliate) += position.claim();
    }

    /// Delivers credits of a position; returns the cash that moves to the circulating pot with them, as [`Pot::sync`]
    /// says.
    pub fn deliver(
        &mut self,
        pot: &mut Pot,
        position: &mut Position,
        affiliate: bool,
        credits: u128,
    ) -> Result<u64> {
        self.check_open()?;
        if credits > position.undelivered() {
            return Err(Error::OverPosition { asked: credits, undelivered: position.undelivered() });
        }
        let claim = position.claim();
        position.delivered += credits;
        *self.claims_of(affiliate) -= claim - position.claim();
        Ok(pot.sync(pot.delivered + credits, self.credits))
    }

    /// What a position would take if it left now, rounded down. An affiliate's stays: what affiliates paid bears
    /// draws first, and an exit would put that burden on those who remain.
    pub fn share(&self, pot: &Pot, position: &Position, affiliate: bool) -> Result<u64> {
        self.check_open()?;
        let claim = position.claim();
        if claim == 0 {
            return Err(Error::NothingToClaim { paid: position.paid });
        }
        if affiliate {
            return Err(Error::AffiliateStays { claim });
        }
        Ok(self.claims.share(pot.cash, claim, false))
    }

    /// A position takes its share of the pot as it stands and is gone, with the credits it has not had delivered. When
    /// that may be, [`Ballot::may_leave`](crate::votes::Ballot::may_leave) says. Returns the cash.
    pub fn leave(&mut self, pot: &mut Pot, position: &mut Position, affiliate: bool) -> Result<u64> {
        let cash = self.share(pot, position, affiliate)?;
        pot.cash -= cash;
        self.left += cash;
        self.claims.others -= position.claim();
        self.credits -= position.undelivered();
        *position = position.gone();
        Ok(cash)
    }

    /// Ends the class, by vote or past the deadline; its proceeds were swept before. Sets aside what its positions
    /// claim, and returns what is beyond for the circulating pot: that came from positions which paid more for a credit
    /// and had theirs delivered. What is swept later, dust, goes there too.
    pub fn close(&mut self, pot: &mut Pot) -> Result<u64> {
        self.check_open()?;
        let claims = self.claims.others + self.claims.affiliates;
        let cash = pot.cash.min(claims);
        let beyond = pot.cash - cash;
        pot.cash = 0;
        self.closed = Some(Closed { cash, paid: 0, unclaimed: claims });
        Ok(beyond)
    }

    /// Pays a position of a closed class and takes it away; anyone may do so for it. Returns its cash, by
    /// [`Claims::share`] of all that was set aside, so that the order does not matter; and, with the last claim, the dust
    /// of all roundings for the circulating pot.
    pub fn claim(&mut self, position: &mut Position, affiliate: bool) -> Result<(u64, u64)> {
        let claims = self.claims;
        let Some(closed) = &mut self.closed else {
            return Err(Error::NotClosed { claims: claims.others + claims.affiliates });
        };
        let claim = position.claim();
        if claim == 0 {
            return Err(Error::NothingToClaim { paid: position.paid });
        }
        let cash = claims.share(closed.cash, claim, affiliate);
        closed.paid += cash;
        closed.unclaimed -= claim;
        *position = position.gone();
        let dust = if closed.unclaimed == 0 { closed.cash - closed.paid } else { 0 };
        closed.cash -= dust;
        Ok((cash, dust))
    }

    /// It is closed, or nobody is left who could vote for that: affiliates alone must not hold up holders of credits.
    pub fn is_over(&self) -> bool {
        self.closed.is_some() || self.claims.others == 0
    }

    /// Weight of its votes, in cash.
    pub fn weight(&self) -> u64 {
        if self.closed.is_some() { 0 } else { self.claims.others }
    }

    fn claims_of(&mut self, affiliate: bool) -> &mut u64 {
        if affiliate { &mut self.claims.affiliates } else { &mut self.claims.others }
    }

    fn check_open(&self) -> Result<()> {
        self.closed.map_or(Ok(()), |closed| Err(Error::AlreadyClosed { cash: closed.cash }))
    }
}

impl Closed {
    /// Cash still in it.
    pub fn held(&self) -> u64 {
        self.cash - self.paid
    }
}

impl Redemption {
    /// Opens the circulating pot once every class is over, closing those that only affiliates are left in. Every round
    /// is cleared and its bids are settled; the supply is what is left of all credits ever minted.
    ///
    /// Cash behind a supply of nothing stays where it is for ever: whoever it went to would gain by emptying the supply.
    pub fn open(
        classes: &mut [Class],
        pots: &mut [Pot],
        circulating: &mut u64,
        supply: u128,
    ) -> Result<Redemption> {
        if let Some(class) = classes.iter().position(|class| !class.is_over()) {
            return Err(Error::StillOpen { class, claims: classes[class].claims.others });
        }
        for (class, pot) in classes.iter_mut().zip(pots) {
            if class.closed.is_none() {
                *circulating += class.close(pot)?;
            }
        }
        Ok(Redemption { pot: std::mem::take(circulating), supply, burned: 0, paid: 0 })
    }

    /// Cash still in it.
    pub fn held(&self) -> u64 {
        self.pot - self.paid
    }

    /// Credits that can still be burned.
    pub fn supply_left(&self) -> u128 {
        self.supply - self.burned
    }

    /// A holder burns credits; returns the cash.
    pub fn burn(&mut self, credits: u128) -> Result<u64> {
        if credits == 0 {
            return Err(Error::NothingBurned);
        }
        if credits > self.supply_left() {
            return Err(Error::OverSupply { asked: credits, supply: self.supply_left() });
        }
        self.burned += credits;
        let paid = mul_div(self.pot.into(), self.burned, self.supply);
        let cash = u64::try_from(paid).expect("at most the pot") - self.paid;
        self.paid += cash;
        Ok(cash)
    }

    /// Credits in channels may still be claimed and burned for service: they leave the supply without cash, and the rest
    /// is worth more.
    pub fn burn_for_service(&mut self, credits: u128) -> Result<()> {
        let supply = self.supply_left();
        let supply = supply.checked_sub(credits).ok_or(Error::OverSupply { asked: credits, supply })?;
        *self = Redemption { pot: self.held(), supply, burned: 0, paid: 0 };
        Ok(())
    }

    /// Dust of a class that was claimed to the end, or swept late, belongs to those who have not burned yet.
    pub fn add(&mut self, cash: u64) {
        *self = Redemption { pot: self.held() + cash, supply: self.supply_left(), burned: 0, paid: 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(paid: u64, credits: u128) -> Position {
        Position { credits, delivered: 0, paid }
    }

    fn class_of(positions: &[(Position, bool)], cash: u64) -> (Class, Pot) {
        let mut class = Class::default();
        positions.iter().for_each(|(position, affiliate)| class.add(position, *affiliate));
        (class, Pot { cash, ..Pot::default() })
    }

    #[test]
    fn a_wind_down_pays_by_cash_paid_and_undelivered_share_affiliates_last() {
        let [mut half, mut whole, mut own] = [position(100, 1_000), position(60, 600), position(40, 400)];
        let (mut class, mut pot) = class_of(&[(half, false), (whole, false), (own, true)], 200);
        // 500 of 2,000 credits take floor(200 × 500 ÷ 2,000) = 50 along; 150 remain against claims of 50 + 60 + 40.
        assert_eq!(class.deliver(&mut pot, &mut half, false, 500), Ok(50));
        assert_eq!((pot.cash, class.claims), (150, Claims { others: 110, affiliates: 40 }));
        // The tap took 60 meanwhile: affiliates bear 40 of it, the others 20.
        pot.cash -= 60;
        assert_eq!(class.close(&mut pot), Ok(0));
        assert_eq!(class.close(&mut pot), Err(Error::AlreadyClosed { cash: 90 }));
        assert_eq!(pot.cash, 0);
        let late = class.deliver(&mut pot, &mut half, false, 1);
        assert_eq!(late, Err(Error::AlreadyClosed { cash: 90 }));
        // floor(90 × 50 ÷ 110) = 40; floor(90 × 60 ÷ 110) = 49; nothing; the unit of dust is for the circulating pot.
        assert_eq!(class.claim(&mut half, false), Ok((40, 0)));
        assert_eq!(class.claim(&mut half, false), Err(Error::NothingToClaim { paid: 0 }));
        assert_eq!(class.claim(&mut whole, false), Ok((49, 0)));
        assert_eq!(class.claim(&mut own, true), Ok((0, 1)));
        assert_eq!(class.closed.unwrap().held(), 0);
    }

    #[test]
    fn what_a_pot_holds_beyond_its_claims_stands_behind_the_credits() {
        // 100 cash bought 100 credits, and 100 with slower vesting 125. The first are delivered: floor(200 × 100 ÷ 225) = 88.
        let (mut fast, slow) = (position(100, 100), position(100, 125));
        let (mut class, mut pot) = class_of(&[(fast, false), (slow, false)], 200);
        assert_eq!(class.deliver(&mut pot, &mut fast, false, 100), Ok(88));
        // 112 are there, 100 can be claimed.
        assert_eq!(class.close(&mut pot), Ok(12));
    }

    #[test]
    fn who_leaves_takes_its_share_as_it_stands_and_nothing_else() {
        let [mut leaves, stays, mut own] = [position(30, 300), position(60, 600), position(10, 100)];
        let (mut class, mut pot) = class_of(&[(leaves, false), (stays, false), (own, true)], 72);
        let refused = class.leave(&mut pot, &mut own, true);
        assert_eq!(refused, Err(Error::AffiliateStays { claim: 10 }));
        // floor(72 × 30 ÷ 90) = 24. What stays has 48 for 60, as before.
        assert_eq!(class.leave(&mut pot, &mut leaves, false), Ok(24));
        assert_eq!((class.share(&pot, &stays, false), class.credits), (Ok(48), 700));
        assert_eq!(class.leave(&mut pot, &mut leaves, false), Err(Error::NothingToClaim { paid: 0 }));
        let late = class.deliver(&mut pot, &mut leaves, false, 1);
        assert_eq!(late, Err(Error::OverPosition { asked: 1, undelivered: 0 }));
    }

    #[test]
    fn burns_are_paid_by_the_running_total() {
        let mut redemption = Redemption { pot: 10, supply: 3, ..Redemption::default() };
        // floor(10 × 1 ÷ 3) = 3, floor(10 × 2 ÷ 3) − 3 = 3, 10 − 6 = 4.
        assert_eq!([(); 3].map(|()| redemption.burn(1)), [Ok(3), Ok(3), Ok(4)]);
        assert_eq!(redemption.burn(1), Err(Error::OverSupply { asked: 1, supply: 0 }));
        assert_eq!(redemption.burn(0), Err(Error::NothingBurned));
    }

    #[test]
    fn service_paid_after_the_opening_makes_the_rest_worth_more() {
        let mut redemption = Redemption { pot: 100, supply: 10, ..Redemption::default() };
        assert_eq!(redemption.burn(4), Ok(40));
        redemption.burn_for_service(2).unwrap();
        redemption.add(1);
        // 61 cash for 4 credits.
        assert_eq!(redemption.burn(2), Ok(30));
        assert_eq!(redemption.burn(2), Ok(31));
        assert_eq!(redemption.burn_for_service(1), Err(Error::OverSupply { asked: 1, supply: 0 }));
    }

    #[test]
    fn the_circulating_pot_opens_when_every_class_is_over() {
        let sold = (position(50, 500), false);
        let (mut open, pot) = class_of(&[sold], 50);
        let (affiliates, affiliates_pot) = class_of(&[(position(7, 70), true)], 9);
        let mut pots = [pot, affiliates_pot];
        let mut circulating = 5;
        let early = Redemption::open(&mut [open, affiliates], &mut pots, &mut circulating, 1);
        assert_eq!(early, Err(Error::StillOpen { class: 0, claims: 50 }));
        circulating += open.close(&mut pots[0]).unwrap();
        let mut classes = [open, affiliates];
        let redemption = Redemption::open(&mut classes, &mut pots, &mut circulating, 1).unwrap();
        // The class of affiliates alone closes with the others: 7 for them, 2 beyond.
        assert_eq!((redemption.held(), circulating, classes[1].closed.unwrap().cash), (7, 0, 7));
    }
}
