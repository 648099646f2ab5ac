//! Clearing a round, whole or in pieces.

use super::{ABOVE, Error, Offering, Result, Round, Sale, Status};
use crate::clearing::{Bucket, Prices, Walk, clear_fixed, clear_window, mul_div};
use crate::curve::Ladder;
use crate::plan::Time;

impl Offering {
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
                sold += mul_div(window_sold, kept_weight, u128::from(bucket.weight));
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
}
