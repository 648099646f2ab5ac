//! What was bid and what it pays: an auction's demand by price, a rising round's price by window. Where nothing is
//! cleared yet, what would come of clearing the bids as they stand, by the rules that will clear them.

use earnest_core::clearing::{Bucket, Cleared, Prices, clear_auction, clear_window, mul_div, need};
use earnest_core::money::{Cash, Credits, PRICE_SCALE, Price};
use earnest_core::offering::{ABOVE, Offering, Sale, Status};
use earnest_core::plan::Time;

/// An auction's bids and price.
pub(crate) struct AuctionBook {
    pub(crate) prices: Prices,
    pub(crate) ticks: u16,
    /// Occupied ticks from the bottom up: tick, cash, weight.
    bids: Vec<(u16, u64, u64)>,
    /// The price; `None` where nothing would be sold.
    pub(crate) price: Option<Price>,
    /// The price stands; else it is what clearing now would give.
    pub(crate) is_final: bool,
}

/// Neighbouring ticks, taken together.
pub(crate) struct Level {
    /// Price of the lowest of them.
    pub(crate) lowest: Price,
    /// Price of the highest of them.
    pub(crate) highest: Price,
    pub(crate) cash: Cash,
    /// Weight from this level up.
    pub(crate) weight_from_here_up: u64,
}

/// One window of a rising round.
pub(crate) struct Window {
    pub(crate) opens_at: Time,
    /// Bid and not withdrawn.
    pub(crate) cash: Cash,
    /// Of it, what buys.
    pub(crate) used: Cash,
    pub(crate) sold: Credits,
    /// Before discount; `None` where nothing is sold, or not known yet.
    pub(crate) price: Option<Price>,
    /// Its outcome stands.
    pub(crate) is_final: bool,
}

impl AuctionBook {
    /// `None` if the round is no auction.
    pub(crate) fn of(offering: &Offering, round: u8) -> Option<AuctionBook> {
        let Sale::Auction { prices, ticks } = offering.setup.rounds[usize::from(round)].sale else {
            return None;
        };
        let bids: Vec<_> = offering
            .buckets
            .range((round, 0)..(round, ticks))
            .filter(|(_, bucket)| bucket.weight > 0)
            .map(|((_, tick), bucket)| (*tick, bucket.cash, bucket.weight))
            .collect();
        let state = &offering.rounds[usize::from(round)];
        let is_final = state.status == Status::Cleared;
        let price = if is_final {
            let weight_above = offering.bucket(round, ABOVE).weight;
            auction_price(&prices, state.whole_from, state.marginal, weight_above)
        } else {
            let Cleared { whole_from, above, marginal, .. } =
                clear_auction(bids.iter().rev().copied(), &prices);
            auction_price(&prices, whole_from, marginal.is_some(), above.weight)
        };
        Some(AuctionBook { prices, ticks, bids, price, is_final })
    }

    /// Demand by price from the top down, in at most `rows` levels of equally many ticks. Levels reach over all
    /// that was bid and over the price.
    pub(crate) fn levels(&self, rows: u16) -> Vec<Level> {
        let (Some(&(mut first, ..)), Some(&(mut last, ..))) = (self.bids.first(), self.bids.last()) else {
            return Vec::new();
        };
        if let Some(tick) = self.price.map(|price| self.tick_at(price)) {
            (first, last) = (first.min(tick), last.max(tick));
        }
        let step = (last - first + 1).div_ceil(rows);
        let mut levels: Vec<Level> = Vec::new();
        let mut weight_above = 0;
        let starts: Vec<u16> = (first..=last).step_by(usize::from(step)).collect();
        for lowest in starts.into_iter().rev() {
            let highest = (lowest + (step - 1)).min(last);
            let here = || self.bids.iter().filter(|(tick, ..)| (lowest..=highest).contains(tick));
            weight_above += here().map(|(_, _, weight)| weight).sum::<u64>();
            levels.push(Level {
                lowest: self.at(lowest),
                highest: self.at(highest),
                cash: Cash::from_units(here().map(|(_, cash, _)| cash).sum()),
                weight_from_here_up: weight_above,
            });
        }
        levels
    }

    /// The price of a tick.
    pub(crate) fn at(&self, tick: u16) -> Price {
        Price::from_units(self.prices.at(tick))
    }

    /// The highest tick at or below a price.
    fn tick_at(&self, price: Price) -> u16 {
        let above_floor = price.units().saturating_sub(self.prices.floor);
        let tick = above_floor.checked_div(self.prices.step).unwrap_or(0);
        u16::try_from(tick).unwrap_or(u16::MAX).min(self.ticks - 1)
    }
}

impl Level {
    /// Credits wanted at this level's lowest price, rounded down.
    pub(crate) fn demand(&self) -> Credits {
        let credits = self.lowest.credits_for(self.weight_from_here_up).unwrap_or_default();
        Credits::from_units(u128::try_from(credits).unwrap_or(u128::MAX))
    }

    /// Whether this is the level a price falls into: at or above its lowest tick, below the next level.
    pub(crate) fn holds(&self, price: Price, next_above: Option<&Level>) -> bool {
        price >= self.lowest && next_above.is_none_or(|above| price < above.lowest)
    }
}

/// The one price of an auction: the marginal tick's, or that of the weight above it over the whole supply, or the
/// floor. The rational one is rounded down.
fn auction_price(prices: &Prices, whole_from: u16, marginal: bool, weight_above: u64) -> Option<Price> {
    if marginal {
        return Some(Price::from_units(prices.at(whole_from - 1)));
    }
    if weight_above == 0 {
        return None;
    }
    let undersubscribed = whole_from == 0 && u128::from(weight_above) <= need(prices.supply, prices.floor);
    if undersubscribed {
        return Some(Price::from_units(prices.floor));
    }
    let units = mul_div(weight_above.into(), PRICE_SCALE, prices.supply);
    u64::try_from(units).ok().map(Price::from_units)
}

/// The weight a rising round starts from; `None` while the round it follows is not cleared.
pub(crate) fn rising_start(offering: &Offering, round: u8) -> Option<u64> {
    let Sale::Rising { start, follows, ladder, .. } = &offering.setup.rounds[usize::from(round)].sale else {
        return None;
    };
    let state = &offering.rounds[usize::from(round)];
    let before = match follows.map(|index| &offering.rounds[usize::from(index)]) {
        _ if state.status != Status::Open => return Some(state.cash_above),
        Some(followed) if followed.status != Status::Cleared => return None,
        Some(followed) => followed.proceeds,
        None => 0,
    };
    Some((start + before).min(ladder.last_weight()))
}

/// A rising round's windows in order; empty if the round is of another kind.
pub(crate) fn windows(offering: &Offering, round: u8) -> Vec<Window> {
    let Sale::Rising { window_secs, windows, window_cap, cap, ladder, .. } =
        &offering.setup.rounds[usize::from(round)].sale
    else {
        return Vec::new();
    };
    let state = &offering.rounds[usize::from(round)];
    let cleared_before = match state.status {
        Status::Open => 0,
        Status::Clearing => state.cursor,
        Status::Cleared => *windows,
    };
    let start = rising_start(offering, round);
    let mut reached = if state.status == Status::Clearing { Some(state.weight_above) } else { start };
    let window = |index: u16| {
        let mut bucket = offering.bucket(round, index);
        let is_final = index < cleared_before;
        let mut weight_used = weight_used(&bucket);
        if let (false, Some(from), Some(start)) = (is_final, reached, start)
            && bucket.weight > 0
        {
            let end = (start + cap).min(ladder.last_weight());
            let fits = (*window_cap).min(end - from);
            let (most, sold, used) = clear_window(ladder, from, fits, bucket.cash, bucket.weight);
            bucket.close(sold, used, bucket.cash - bucket.withdrawn_cash);
            weight_used = most;
            reached = Some(from + most);
        }
        let opens_at = state.open + u64::from(index) * window_secs;
        shown_window(opens_at, &bucket, weight_used, is_final)
    };
    (0..*windows).map(window).collect()
}

/// What bids of a window come to without those that were withdrawn after it had ended.
fn shown_window(opens_at: Time, bucket: &Bucket, weight_used: u64, is_final: bool) -> Window {
    let kept = bucket.cash - bucket.withdrawn_cash;
    let kept_weight = bucket.weight - bucket.withdrawn_weight;
    let (mut used, mut sold) = (0, 0);
    if bucket.sold > 0 {
        let share = bucket.share(kept, kept_weight);
        (used, sold) = (share.paid, share.credits);
    }
    let price = Price::average(Cash::from_units(weight_used), Credits::from_units(bucket.sold));
    Window {
        opens_at,
        cash: Cash::from_units(kept),
        used: Cash::from_units(used),
        sold: Credits::from_units(sold),
        price: (bucket.sold > 0).then_some(price),
        is_final,
    }
}

/// Weight of the part of a closed bucket that bought.
fn weight_used(bucket: &Bucket) -> u64 {
    if bucket.whole || bucket.cash == 0 {
        return bucket.weight;
    }
    let weight = mul_div(bucket.weight.into(), bucket.used.into(), bucket.cash.into());
    u64::try_from(weight).expect("a part of 64 bits")
}

/// The most a credit can cost before discount in the window that is open, were it bid full: what is known when bidding,
/// for the windows before it have their bids. `None` while the start of the round is not known, or at its end.
pub(crate) fn worst_window_price(offering: &Offering, round: u8, window: u16) -> Option<Price> {
    let Sale::Rising { window_cap, cap, ladder, .. } = &offering.setup.rounds[usize::from(round)].sale else {
        return None;
    };
    let start = rising_start(offering, round)?;
    let end = (start + cap).min(ladder.last_weight());
    let mut reached = start;
    for before in 0..window {
        let bucket = offering.bucket(round, before);
        if bucket.weight > 0 {
            let fits = (*window_cap).min(end - reached);
            reached += clear_window(ladder, reached, fits, bucket.cash, bucket.weight).0;
        }
    }
    let most = (reached + window_cap).min(end);
    let sold = ladder.credits_at(most)? - ladder.credits_at(reached)?;
    (sold > 0).then(|| Price::average(Cash::from_units(most - reached), Credits::from_units(sold)))
}
