//! The gateway's books of one channel: what was deposited, signed, leased, reserved, charged and claimed (CHAN-1). A
//! request reserves the most it can cost before it goes upstream and charges what it cost afterwards; nothing here
//! knows a clock, a disk or a socket.

use thiserror::Error;

/// Where a channel is in its life. A channel whose credit was stopped is never used again: an old voucher would be good
/// for what a later deposit brings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Serves.
    #[default]
    Open,
    /// No more requests; those in flight end, the truth is claimed.
    Closing,
    /// Nothing in flight, nothing to claim.
    Closed,
}

/// The books. Amounts are in base units of the channel's coin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Deposits less what went back, as the chain has it.
    pub deposited: u128,
    /// Signed: what may be claimed at most.
    pub ceiling: u128,
    /// On the disk: what may be charged before more is written down.
    pub leased: u128,
    /// The most that requests in flight can cost.
    pub reserved: u128,
    /// What requests have cost. At this door it is the truth, too.
    pub charged: u128,
    /// Of that, what the chain has.
    pub claimed: u128,
    /// Requests in flight.
    pub in_flight: u64,
    /// Where it is in its life.
    pub state: State,
    /// Number of the look at the chain that `deposited` is of.
    pub look: u64,
}

/// What a look at the chain found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnChain {
    /// Deposits less what went back.
    pub deposited: u128,
    /// Claimed in all.
    pub claimed: u128,
    /// A withdrawal has begun.
    pub withdrawing: bool,
}

/// Why a request is not let in, or a voucher not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// What is signed for does not reach.
    #[error("the request may cost {reserve} and {left} is left of what the channel's voucher allows")]
    Ceiling {
        /// The most it may cost.
        reserve: u128,
        /// What is left.
        left: u128,
    },
    /// What is deposited does not reach.
    #[error("the request may cost {reserve} and {left} is left of the channel's deposit")]
    Deposit {
        /// The most it may cost.
        reserve: u128,
        /// What is left.
        left: u128,
    },
    /// Its credit was stopped.
    #[error("the channel is closed, or a withdrawal from it has begun")]
    Stopped,
    /// Vouchers only rise.
    #[error("a voucher of {offered} does not exceed {signed}, which is signed already")]
    Lower {
        /// The new one.
        offered: u128,
        /// The last one.
        signed: u128,
    },
    /// More is signed for than there is.
    #[error("a voucher of {offered} is more than the {deposited} deposited")]
    Uncovered {
        /// The voucher.
        offered: u128,
        /// The deposit.
        deposited: u128,
    },
}

impl Account {
    /// What further requests may cost at most.
    pub fn left(&self) -> u128 {
        self.ceiling.min(self.deposited).saturating_sub(self.charged + self.reserved)
    }

    /// What was charged, and what requests in flight can add to it.
    pub fn spoken_for(&self) -> u128 {
        self.charged + self.reserved
    }

    /// Takes a request in. Its answer, if any, is a lease to be put on the disk: `chunk` more than is spoken for. It is taken
    /// while half a chunk is left of the last one, so that it is there before it is needed: a request's first byte leaves
    /// once a lease is on the disk that reaches as far as what is spoken for now.
    pub fn admit(&mut self, reserve: u128, chunk: u128) -> Result<Option<u128>, Refused> {
        if self.state != State::Open {
            return Err(Refused::Stopped);
        }
        let spoken_for = self.spoken_for();
        let left = self.ceiling.saturating_sub(spoken_for);
        if reserve > left {
            return Err(Refused::Ceiling { reserve, left });
        }
        let left = self.deposited.saturating_sub(spoken_for);
        if reserve > left {
            return Err(Refused::Deposit { reserve, left });
        }
        self.reserved += reserve;
        self.in_flight += 1;
        let needed = spoken_for + reserve;
        let upto = needed.saturating_add(chunk).min(self.ceiling.min(self.deposited));
        if needed.saturating_add(chunk / 2) <= self.leased || upto <= self.leased {
            return Ok(None);
        }
        self.leased = upto;
        Ok(Some(upto))
    }

    /// A request is over; `charge` is never more than was reserved.
    pub fn settle(&mut self, reserve: u128, charge: u128) {
        assert!(
            charge <= reserve && reserve <= self.reserved && self.in_flight > 0,
            "only what was admitted is settled"
        );
        self.reserved -= reserve;
        self.charged += charge;
        self.in_flight -= 1;
    }

    /// A voucher comes in. The same one again is no error.
    pub fn renew(&mut self, offered: u128) -> Result<(), Refused> {
        if self.state != State::Open {
            return Err(Refused::Stopped);
        }
        if offered < self.ceiling {
            return Err(Refused::Lower { offered, signed: self.ceiling });
        }
        if offered > self.deposited {
            return Err(Refused::Uncovered { offered, deposited: self.deposited });
        }
        self.ceiling = offered;
        Ok(())
    }

    /// What the chain said at a look; looks are numbered in the order of their answers, from 1. A balance that fell, or a
    /// withdrawal that has begun, stops credit for good. Gives the gap where the chain has claimed more than was charged
    /// here: these books are older than the chain, and `charged` rises to what was claimed (CHAN-1).
    pub fn on_chain(&mut self, look: u64, seen: OnChain) -> u128 {
        let newer = look > self.look;
        // Claims only rise and withdrawals stay begun, however old the answer is; a balance goes both ways.
        if seen.withdrawing || (newer && seen.deposited < self.deposited) {
            self.stop();
        }
        if newer {
            (self.look, self.deposited) = (look, seen.deposited);
        }
        self.claimed = self.claimed.max(seen.claimed);
        let gap = self.claimed.saturating_sub(self.charged);
        self.charged += gap;
        self.leased = self.leased.max(self.charged + self.reserved);
        gap
    }

    /// Gives no more credit. What is in flight ends, and the truth is claimed.
    pub fn stop(&mut self) {
        if self.state == State::Open {
            self.state = State::Closing;
        }
    }

    /// What can be claimed now, as a running total: never more than is signed and there.
    pub fn claimable(&self) -> u128 {
        self.charged.min(self.ceiling).min(self.deposited)
    }

    /// CHAN-1, as far as one channel's books can break it.
    pub fn holds(&self) -> bool {
        let within = self.charged + self.reserved <= self.ceiling;
        within && self.claimed <= self.charged && self.claimed <= self.deposited
    }
}

/// Limits of one API key, and what it has spent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Most in all.
    pub total: Option<u128>,
    /// Most in a day (UTC).
    pub per_day: Option<u128>,
    /// Spent in all.
    pub spent: u128,
    /// The day that `spent_today` is of.
    pub day: u64,
    /// Spent on that day.
    pub spent_today: u128,
    /// The most that its requests in flight can cost.
    pub reserved: u128,
}

/// Which limit of a key does not reach.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the request may cost {reserve} and {left} is left of this key's limit {which}")]
pub struct OverLimit {
    /// `in all` or `for today`.
    pub which: &'static str,
    /// The most it may cost.
    pub reserve: u128,
    /// What is left.
    pub left: u128,
}

impl Budget {
    /// Takes a request in, or says which limit stands against it.
    pub fn admit(&mut self, reserve: u128, day: u64) -> Result<(), OverLimit> {
        self.turn(day);
        for (which, limit, spent) in
            [("in all", self.total, self.spent), ("for today", self.per_day, self.spent_today)]
        {
            let left = limit.map_or(u128::MAX, |limit| limit.saturating_sub(spent + self.reserved));
            if reserve > left {
                return Err(OverLimit { which, reserve, left });
            }
        }
        self.reserved += reserve;
        Ok(())
    }

    /// A request is over.
    pub fn settle(&mut self, reserve: u128, charge: u128, day: u64) {
        self.turn(day);
        self.reserved -= reserve;
        self.spent += charge;
        self.spent_today += charge;
    }

    fn turn(&mut self, day: u64) {
        if day > self.day {
            (self.day, self.spent_today) = (day, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn funded() -> Account {
        Account { deposited: 1_000, ceiling: 100, ..Account::default() }
    }

    fn seen(deposited: u128, claimed: u128) -> OnChain {
        OnChain { deposited, claimed, withdrawing: false }
    }

    #[test]
    fn requests_in_flight_count_against_the_ceiling() {
        let mut account = funded();
        assert_eq!(account.admit(50, 20), Ok(Some(70)));
        assert_eq!(account.admit(10, 20), Ok(None), "half of the lease is left");
        assert_eq!(account.admit(20, 20), Ok(Some(100)), "the next one is taken before it is needed");
        assert_eq!(account.admit(21, 20), Err(Refused::Ceiling { reserve: 21, left: 20 }));
        account.settle(20, 0);
        account.settle(10, 0);
        account.settle(50, 0);
        assert_eq!(account.admit(60, 20), Ok(None), "a lease is not given back");
        account.settle(60, 10);
        assert_eq!(account.left(), 90);
        assert_eq!(account.admit(90, 20), Ok(None), "a lease never exceeds what is signed");
        assert_eq!(account.leased, 100);
    }

    #[test]
    fn a_lower_voucher_is_refused_and_so_is_one_beyond_the_deposit() {
        let mut account = funded();
        assert_eq!(account.renew(99), Err(Refused::Lower { offered: 99, signed: 100 }));
        assert_eq!(account.renew(1_001), Err(Refused::Uncovered { offered: 1_001, deposited: 1_000 }));
        assert_eq!(account.renew(100), Ok(()));
    }

    #[test]
    fn a_balance_that_falls_stops_credit_for_good() {
        let mut account = funded();
        account.admit(50, 0).unwrap();
        account.on_chain(1, seen(999, 0));
        assert_eq!(account.admit(1, 0), Err(Refused::Stopped));
        account.on_chain(2, seen(5_000, 0));
        assert_eq!(account.renew(200), Err(Refused::Stopped), "a top-up does not wake an old voucher");
        account.settle(50, 50);
        assert_eq!(account.claimable(), 50);
    }

    #[test]
    fn an_older_look_that_comes_later_changes_no_balance() {
        let mut account = funded();
        account.on_chain(2, seen(5_000, 0));
        account.on_chain(1, seen(1_000, 0));
        assert_eq!((account.deposited, account.state), (5_000, State::Open));
        // What cannot be undone counts, however late it is heard.
        account.on_chain(1, OnChain { withdrawing: true, ..seen(1_000, 0) });
        assert_eq!((account.deposited, account.state), (5_000, State::Closing));
    }

    #[test]
    fn books_that_are_older_than_the_chain_charge_what_was_claimed() {
        let mut account = funded();
        account.admit(50, 0).unwrap();
        assert_eq!(account.on_chain(1, seen(1_000, 40)), 40);
        assert_eq!((account.claimed, account.charged, account.left()), (40, 40, 10));
        assert_eq!(account.on_chain(2, seen(1_000, 40)), 0);
        assert!(account.holds() && account.charged + account.reserved <= account.leased);
    }

    #[test]
    fn limits_of_a_key_count_by_day_and_in_all() {
        let mut budget = Budget { total: Some(100), per_day: Some(40), ..Budget::default() };
        budget.admit(30, 1).unwrap();
        assert_eq!(budget.admit(11, 1).unwrap_err().which, "for today");
        budget.settle(30, 30, 1);
        budget.admit(40, 2).unwrap();
        budget.settle(40, 40, 2);
        assert_eq!(budget.admit(31, 3).unwrap_err(), OverLimit { which: "in all", reserve: 31, left: 30 });
    }

    #[test]
    fn whatever_happens_the_books_hold() {
        for seed in 0..200 {
            let mut dice = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
            let mut account = Account::default();
            let mut open: Vec<u128> = Vec::new();
            for look in 1..=400 {
                match dice.random_range(0..6) {
                    0 => {
                        let more = dice.random_range(0..500u128);
                        account.on_chain(look, seen(account.deposited + more, account.claimed));
                    }
                    1 => drop(account.renew(dice.random_range(0..2_000))),
                    2 | 3 => {
                        let reserve = dice.random_range(1..100);
                        let chunk = dice.random_range(0..200);
                        if account.admit(reserve, chunk).is_ok() {
                            open.push(reserve);
                        }
                    }
                    4 if !open.is_empty() => {
                        let reserve = open.swap_remove(dice.random_range(0..open.len()));
                        account.settle(reserve, dice.random_range(0..=reserve));
                    }
                    _ => {
                        let withdrawing = dice.random_ratio(1, 200);
                        let seen = seen(account.deposited, account.claimable());
                        account.on_chain(look, OnChain { withdrawing, ..seen });
                    }
                }
                assert!(account.holds(), "seed {seed}: {account:?}");
                assert!(account.charged + account.reserved <= account.leased, "seed {seed}: {account:?}");
                assert_eq!(open.iter().sum::<u128>(), account.reserved);
            }
        }
    }
}
