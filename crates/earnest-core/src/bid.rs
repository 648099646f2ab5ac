//! Bids and the positions they become: one slot for an entity in a round (rising price: in a window), laid out to
//! the bit as `contracts/src/units/Bid.sol` keeps it.

use alloy_primitives::{Address, U256};

use crate::clearing::mul_div;

/// Names a bid and its position: round 8 bits, window 16 (0 but in rising rounds), entity 64, from the top.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BidId {
    /// Index of the round in the plan.
    pub round: u8,
    /// Window of a rising round, [`BidId::TOTAL`] for the entity's total over the windows, else 0.
    pub window: u16,
    /// Who buys, by the attesters' number.
    pub entity: u64,
}

/// A bid's slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bid {
    /// Who bid, and who may deliver and send refunds elsewhere.
    pub wallet: Address,
    /// Cash that stands in the round, in base units; after the refund, what was paid.
    pub cash: u64,
    /// Affiliate of the issuer.
    pub affiliate: bool,
    /// May still be withdrawn.
    pub cooling_off: bool,
    /// Its position was made.
    pub settled: bool,
    /// Its refund was pulled. In an entity's total: it has withdrawn and is barred.
    pub refunded: bool,
    /// Limit in an auction, else 0.
    pub tick: u16,
    /// Index of the vesting schedule.
    pub schedule: u8,
    /// Index of the regime, for the lock.
    pub lock_class: u8,
    /// Days from the offering's first opening to the last change.
    pub day: u16,
}

/// What a settled bid became.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Position {
    /// Credits it will deliver in all.
    pub credits: u128,
    /// Delivered so far.
    pub delivered: u128,
    /// Cash paid, rounded down.
    pub paid: u64,
}

impl Position {
    /// Credits it has still to deliver.
    pub fn undelivered(&self) -> u128 {
        self.credits - self.delivered
    }

    /// What it can claim of its pot, and its weight in a vote: cash paid × undelivered share, rounded down. Without
    /// credits there is no share, and a unit of cash that bought nothing must not keep its class from ending.
    pub fn claim(&self) -> u64 {
        if self.credits == 0 {
            return 0;
        }
        let claim = mul_div(self.paid.into(), self.undelivered(), self.credits);
        u64::try_from(claim).expect("at most what was paid")
    }

    /// What is left once its claim is settled: credits delivered stay its owner's, nothing more will come.
    #[must_use]
    pub fn gone(&self) -> Self {
        Position { credits: self.delivered, delivered: self.delivered, paid: 0 }
    }
}

impl BidId {
    /// In place of a window: the entity's total over the windows of a rising round.
    pub const TOTAL: u16 = 0xffff;

    /// As the contract packs it, 88 bits.
    pub fn pack(self) -> u128 {
        u128::from(self.round) << 80 | u128::from(self.window) << 64 | u128::from(self.entity)
    }

    /// From 88 bits; higher ones are dropped.
    #[expect(clippy::cast_possible_truncation, reason = "each field is cut out of its bits")]
    pub fn unpack(packed: u128) -> Self {
        BidId { round: (packed >> 80) as u8, window: (packed >> 64) as u16, entity: packed as u64 }
    }

    /// The total that this window's bid counts into.
    pub fn total(self) -> Self {
        BidId { window: Self::TOTAL, ..self }
    }
}

impl Bid {
    /// Nothing was ever bid here. A withdrawn bid keeps its wallet.
    pub fn is_empty(&self) -> bool {
        *self == Bid::default()
    }

    /// The slot's word.
    pub fn pack(&self) -> U256 {
        let flags = u64::from(self.affiliate)
            | u64::from(self.cooling_off) << 1
            | u64::from(self.settled) << 2
            | u64::from(self.refunded) << 3;
        U256::from_be_slice(self.wallet.as_slice())
            | U256::from(self.cash) << 160
            | U256::from(flags) << 220
            | U256::from(self.tick) << 224
            | U256::from(self.schedule) << 236
            | U256::from(self.lock_class) << 240
            | U256::from(self.day) << 244
    }

    /// From the slot's word.
    pub fn unpack(word: U256) -> Self {
        let field = |shift: usize, bits: usize| -> u64 {
            let mask = (U256::from(1) << bits) - U256::from(1);
            (word >> shift & mask).to()
        };
        let small = |shift, bits| u16::try_from(field(shift, bits)).expect("at most 12 bits");
        let tiny = |shift| u8::try_from(field(shift, 4)).expect("4 bits");
        Bid {
            wallet: Address::from_slice(&word.to_be_bytes::<32>()[12..]),
            cash: field(160, 60),
            affiliate: field(220, 1) == 1,
            cooling_off: field(221, 1) == 1,
            settled: field(222, 1) == 1,
            refunded: field(223, 1) == 1,
            tick: small(224, 12),
            schedule: tiny(236),
            lock_class: tiny(240),
            day: small(244, 12),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_holds_every_field_at_its_largest() {
        let full = Bid {
            wallet: Address::repeat_byte(0xff),
            cash: crate::money::CASH_MAX,
            affiliate: true,
            cooling_off: true,
            settled: true,
            refunded: true,
            tick: 0xfff,
            schedule: 15,
            lock_class: 15,
            day: 0xfff,
        };
        assert_eq!(full.pack(), U256::MAX);
        assert_eq!(Bid::unpack(U256::MAX), full);
        let one = Bid { wallet: Address::repeat_byte(7), cash: 1_000_000, tick: 9, day: 3, ..Bid::default() };
        assert_eq!(Bid::unpack(one.pack()), one);
        let id = BidId { round: 7, window: 40_000, entity: u64::MAX };
        assert_eq!(BidId::unpack(id.pack()), id);
    }
}
