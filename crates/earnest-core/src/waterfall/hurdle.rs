//! The hurdle balance behind an IRR cap: what a claimant would still have to be paid now for its investment to have
//! earned the rate.
//!
//! Contributions less payments earn simple interest by whole days, actual/365, which is added to the balance every
//! 365 days from the first contribution. So at each anniversary the rate is exact and compounded yearly; between
//! two, the straight line asks for a little more than the curve would. The balance is exact, however often it is
//! looked at; what is due is rounded down. It is negative where more than the rate was earned, and counts against
//! later contributions.

use crate::offering::DAY;
use crate::plan::Time;

/// Days in a year.
const YEAR: u64 = 365;
/// Interest is in parts of a base unit: basis points times days.
const SCALE: i128 = 10_000 * 365;
/// Far from where a year's interest of any rate might overflow.
const MAX: i128 = 1 << 80;

/// A claimant's balance at one rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Hurdle {
    /// Earns interest, cash base units.
    balance: i128,
    /// Since the last anniversary, in `SCALE` parts.
    interest: i128,
    /// Whole days since the first contribution.
    day: u64,
}

impl Hurdle {
    /// Earns nothing yet for what was invested and not paid back.
    pub(super) fn new(invested: u64, paid: u64, first: Time, now: Time) -> Self {
        let balance = i128::from(invested) - i128::from(paid);
        Hurdle { balance, interest: 0, day: now.saturating_sub(first) / DAY }
    }

    /// Earns interest until now. `None` where it does not fit.
    pub(super) fn accrue(&mut self, rate_bps: u32, first: Time, now: Time) -> Option<()> {
        let today = now.saturating_sub(first) / DAY;
        while self.day < today {
            let until = today.min((self.day / YEAR + 1) * YEAR);
            self.interest += self.balance * i128::from(rate_bps) * i128::from(until - self.day);
            self.day = until;
            if until.is_multiple_of(YEAR) {
                self.balance += self.interest.div_euclid(SCALE);
                self.interest = self.interest.rem_euclid(SCALE);
            }
            if self.balance.abs() > MAX {
                return None;
            }
        }
        Some(())
    }

    /// A contribution.
    pub(super) fn add(&mut self, cash: u64) {
        self.balance += i128::from(cash);
    }

    /// A payment.
    pub(super) fn pay(&mut self, cash: u64) {
        self.balance -= i128::from(cash);
    }

    /// What is due, cash base units, rounded down.
    pub(super) fn due(&self) -> u64 {
        let due = self.balance + self.interest.div_euclid(SCALE);
        u64::try_from(due.max(0)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_more_often_changes_nothing() {
        let mut once = Hurdle::new(123_456_789, 0, 0, 0);
        let mut daily = once;
        once.accrue(777, 0, 1_000 * DAY).unwrap();
        for hour in 0..=24_000 {
            daily.accrue(777, 0, hour * 3_600).unwrap();
        }
        assert_eq!(once, daily);
    }

    #[test]
    fn a_year_pays_the_rate_and_half_a_year_half_of_it() {
        // 100 at 10%: 100 × 1.1² = 121 after two years; 146 days of the third: 121 × (1 + 0.1 × 146/365) = 125.84.
        let mut hurdle = Hurdle::new(100_000_000, 0, 50, 50);
        hurdle.accrue(1_000, 50, 50 + 730 * DAY).unwrap();
        assert_eq!(hurdle.due(), 121_000_000);
        hurdle.accrue(1_000, 50, 50 + 876 * DAY).unwrap();
        assert_eq!(hurdle.due(), 125_840_000);
    }

    #[test]
    fn what_was_earned_beyond_the_rate_counts_later() {
        // Paid 110 of 100 at once at 10%: 10 ahead, 11 after a year. Then 100 more: 89 due.
        let mut hurdle = Hurdle::new(100, 110, 0, 0);
        hurdle.accrue(1_000, 0, 365 * DAY).unwrap();
        assert_eq!(hurdle.due(), 0);
        hurdle.add(100);
        assert_eq!(hurdle.due(), 89);
    }

    #[test]
    fn a_balance_that_explodes_is_refused() {
        let mut hurdle = Hurdle::new(u64::MAX, 0, 0, 0);
        assert_eq!(hurdle.accrue(u32::MAX, 0, 3_650 * DAY), None);
    }
}
