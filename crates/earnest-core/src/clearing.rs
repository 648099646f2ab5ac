//! The one settlement rule. A bucket holds the cash bid C, its weight W, the credits sold T and the cash used U; a
//! bid b of weight w in it gets `floor(w·T ÷ W)` credits and `floor(b·(C−U) ÷ C)` back. The kinds of round differ
//! only in how they find T and U.

use alloy_primitives::U256;

use crate::curve::Ladder;
use crate::money::PRICE_SCALE;

/// `floor(a·b ÷ c)`, exact; the result must fit. `c` is not zero.
pub fn mul_div(a: u128, b: u128, c: u128) -> u128 {
    match a.checked_mul(b) {
        Some(product) => product / c,
        None => (U256::from(a) * U256::from(b) / U256::from(c)).to(),
    }
}

/// Cash that buys `credits` at `price`, rounded down: up would oversell.
pub fn need(credits: u128, price: u64) -> u128 {
    mul_div(credits, u128::from(price), PRICE_SCALE)
}

/// Credits that a weight of cash buys at a price, rounded down. More than 128 bits is `u128::MAX`, beyond any supply.
pub fn credits_for(weight: u64, price: u64) -> u128 {
    let credits = U256::from(weight) * U256::from(PRICE_SCALE) / U256::from(price);
    u128::try_from(credits).unwrap_or(u128::MAX)
}

/// Cash used of a pro rata bucket, `ceil(C·T·p ÷ W)`, at most all of it.
pub fn pro_rata(cash: u64, sold: u128, price: u64, weight: u64) -> u64 {
    let divisor = U256::from(weight) * U256::from(PRICE_SCALE);
    let product = U256::from(cash) * U256::from(sold) * U256::from(price);
    let used = (product + divisor - U256::from(1)) / divisor;
    u64::try_from(used).map_or(cash, |used| used.min(cash))
}

/// Bids that pay one price and are cut alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bucket {
    /// Cash bid, C.
    pub cash: u64,
    /// Its weight, W.
    pub weight: u64,
    /// Credits sold, T.
    pub sold: u128,
    /// Every unit of cash was used; `used` and the rest stay 0.
    pub whole: bool,
    /// Cash used, U.
    pub used: u64,
    /// Cash of bids whose refund has not been pulled.
    pub cash_left: u64,
    /// Refunds not pulled yet; what is left once `cash_left` is 0 is dust.
    pub refunds_left: u64,
    /// Withdrawn after the window had ended.
    pub withdrawn_cash: u64,
    /// Its weight.
    pub withdrawn_weight: u64,
}

/// What one bid of a bucket comes to; all rounded down.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Share {
    /// `floor(w·T ÷ W)`
    pub credits: u128,
    /// `floor(b·U ÷ C)`
    pub paid: u64,
    /// `floor(b·(C−U) ÷ C)`
    pub back: u64,
}

impl Bucket {
    /// A bid's share.
    pub fn share(&self, cash: u64, weight: u64) -> Share {
        let credits = mul_div(u128::from(weight), self.sold, u128::from(self.weight));
        if self.whole {
            return Share { credits, paid: cash, back: 0 };
        }
        let part = |of: u64| {
            let part = u128::from(cash) * u128::from(of) / u128::from(self.cash);
            u64::try_from(part).expect("a part of 64 bits")
        };
        Share { credits, paid: part(self.used), back: part(self.cash - self.used) }
    }

    /// Writes the outcome. `kept` is the cash of bids that were not withdrawn late.
    pub fn close(&mut self, sold: u128, used: u64, kept: u64) {
        self.sold = sold;
        if used == self.cash {
            self.whole = true;
            return;
        }
        self.used = used;
        self.cash_left = kept;
        let back = u128::from(kept) * u128::from(self.cash - used) / u128::from(self.cash);
        self.refunds_left = u64::try_from(back).expect("at most kept");
    }
}

/// Credits sold and cash used of a round at one price, pro rata over the supply.
pub fn clear_fixed(cash: u64, weight: u64, supply: u128, price: u64) -> (u128, u64) {
    let sold = credits_for(weight, price);
    if sold > supply { (supply, pro_rata(cash, supply, price, weight)) } else { (sold, cash) }
}

/// An auction's supply and ladder of prices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prices {
    /// Credits for sale.
    pub supply: u128,
    /// Price of tick 0, the floor.
    pub floor: u64,
    /// Between ticks.
    pub step: u64,
}

impl Prices {
    /// Price of a tick.
    pub fn at(&self, tick: u16) -> u64 {
        self.floor + self.step * u64::from(tick)
    }
}

/// Where a clearing walk stands: cash and weight of all ticks it has passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Walk {
    /// Cash above.
    pub cash: u64,
    /// Its weight.
    pub weight: u64,
}

/// How an auction cleared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cleared {
    /// From this tick up bids are filled whole.
    pub whole_from: u16,
    /// What is above, with the credits sold there.
    pub above: Walk,
    /// Credits sold above.
    pub sold_above: u128,
    /// Credits sold and cash used of tick `whole_from − 1`, where that one is pro rata.
    pub marginal: Option<(u128, u64)>,
}

impl Cleared {
    /// Credits sold in all.
    pub fn sold(&self) -> u128 {
        self.sold_above + self.marginal.map_or(0, |(sold, _)| sold)
    }

    /// Cash taken in all.
    pub fn proceeds(&self) -> u64 {
        self.above.cash + self.marginal.map_or(0, |(_, used)| used)
    }
}

impl Walk {
    /// Looks at the next occupied tick down. Some: cleared there. None: passed, go on.
    ///
    /// The price is found at the first tick k with `W(≥k) ≥ floor(S·p_k)`. If `W(>k)` alone suffices the price is the
    /// rational `W(>k) ÷ S` and tick k is outbid; else it is `p_k` and tick k is pro rata.
    pub fn step(&mut self, prices: &Prices, tick: u16, cash: u64, weight: u64) -> Option<Cleared> {
        let price = prices.at(tick);
        let enough = need(prices.supply, price);
        if u128::from(self.weight) >= enough {
            let (above, sold_above) = (*self, prices.supply);
            return Some(Cleared { whole_from: tick + 1, above, sold_above, marginal: None });
        }
        if u128::from(self.weight) + u128::from(weight) >= enough {
            let sold_above = credits_for(self.weight, price);
            let sold = prices.supply - sold_above;
            let marginal = Some((sold, pro_rata(cash, sold, price, weight)));
            return Some(Cleared { whole_from: tick + 1, above: *self, sold_above, marginal });
        }
        self.cash += cash;
        self.weight += weight;
        None
    }

    /// The book is exhausted: everyone is filled whole, at `W ÷ S` if that beats the floor, else at the floor.
    pub fn finish(self, prices: &Prices) -> Cleared {
        let outbid = u128::from(self.weight) > need(prices.supply, prices.floor);
        let sold_above = if outbid { prices.supply } else { credits_for(self.weight, prices.floor) };
        Cleared { whole_from: 0, above: self, sold_above, marginal: None }
    }
}

/// Clears a whole book, given its occupied ticks from the top down.
pub fn clear_auction(book: impl IntoIterator<Item = (u16, u64, u64)>, prices: &Prices) -> Cleared {
    let mut walk = Walk::default();
    for (tick, cash, weight) in book {
        if let Some(cleared) = walk.step(prices, tick, cash, weight) {
            return cleared;
        }
    }
    walk.finish(prices)
}

/// A bid as bulk clearing takes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// Cash bid.
    pub cash: u64,
    /// Its weight.
    pub weight: u64,
    /// Highest tick it would pay.
    pub tick: u16,
}

/// Clears and allocates an auction in bulk over all cores, as the contract does one by one: the same buckets, the
/// same shares. Shares come in the order of the bids.
pub fn allocate(bids: &[Limit], ticks: u16, prices: &Prices) -> (Cleared, Vec<Share>) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let chunk = bids.len().div_ceil(threads).max(1);
    let tally = |bids: &[Limit]| {
        let mut book = vec![Walk::default(); usize::from(ticks)];
        for bid in bids {
            let at = &mut book[usize::from(bid.tick)];
            at.cash += bid.cash;
            at.weight += bid.weight;
        }
        book
    };
    let book = std::thread::scope(|scope| {
        let parts: Vec<_> = bids.chunks(chunk).map(|part| scope.spawn(move || tally(part))).collect();
        let mut book = vec![Walk::default(); usize::from(ticks)];
        for part in parts {
            for (at, add) in book.iter_mut().zip(part.join().expect("tally does not panic")) {
                at.cash += add.cash;
                at.weight += add.weight;
            }
        }
        book
    });
    let down = (0..ticks).rev().zip(book.iter().rev()).filter(|(_, at)| at.weight > 0);
    let cleared = clear_auction(down.map(|(tick, at)| (tick, at.cash, at.weight)), prices);

    let mut above = Bucket { cash: cleared.above.cash, weight: cleared.above.weight, ..Bucket::default() };
    above.close(cleared.sold_above, above.cash, above.cash);
    let marginal = cleared.marginal.map(|(sold, used)| {
        let at = book[usize::from(cleared.whole_from - 1)];
        let mut bucket = Bucket { cash: at.cash, weight: at.weight, ..Bucket::default() };
        bucket.close(sold, used, at.cash);
        bucket
    });
    let share = |bid: &Limit| match marginal {
        _ if bid.tick >= cleared.whole_from => above.share(bid.cash, bid.weight),
        Some(bucket) if bid.tick + 1 == cleared.whole_from => bucket.share(bid.cash, bid.weight),
        _ => Share { back: bid.cash, ..Share::default() },
    };
    let mut shares = vec![Share::default(); bids.len()];
    std::thread::scope(|scope| {
        for (bids, shares) in bids.chunks(chunk).zip(shares.chunks_mut(chunk)) {
            scope.spawn(move || bids.iter().zip(shares).for_each(|(bid, out)| *out = share(bid)));
        }
    });
    (cleared, shares)
}

/// One window of a rising round from weight `from` on: the weight that fits, credits sold and cash used.
pub fn clear_window(ladder: &Ladder, from: u64, fits: u64, cash: u64, weight: u64) -> (u64, u128, u64) {
    let most = fits.min(weight);
    let at = |x| ladder.credits_at(x).expect("clearing stays on the ladder");
    let sold = at(from + most) - at(from);
    // Rounded up: the last unit of cash is used, not refunded twice.
    let used = (u128::from(cash) * u128::from(most)).div_ceil(u128::from(weight));
    (most, sold, u64::try_from(used).expect("at most the cash"))
}
