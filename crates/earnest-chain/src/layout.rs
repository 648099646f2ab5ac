//! The model's state as the contracts' storage: every slot that is not zero, to compare with what a chain has. The
//! slot numbers are those of the committed artifacts; a test holds them to it.

use std::collections::HashMap;

use alloy_primitives::{Address, U256};
use earnest_core::bid::{Bid, BidId, Position};
use earnest_core::channel::Channels;
use earnest_core::clearing::Bucket;
use earnest_core::offering::{ABOVE, Attestation, Offering, Sale, Status};
use earnest_core::raise::{Coin, Holder};
use earnest_core::statement::Revenue;
use earnest_core::treasury::Treasury;

use crate::channel::{channel_id, domain};
use crate::deploy::Deployment;
use crate::embedded::{mapping_slot, nested_slot};

/// Slots of one contract that are not zero.
pub type Slots = HashMap<U256, U256>;

/// Bucket of an auction's marginal tick, once it is cleared.
const MARGINAL: u16 = 0xfffe;

/// Packs fields into words from the lowest bit up, as Solidity does.
#[derive(Default)]
struct Word {
    value: U256,
    bits: usize,
}

impl Word {
    fn put(mut self, value: impl Into<u128>, bits: usize) -> Self {
        self.value |= U256::from(value.into()) << self.bits;
        self.bits += bits;
        self
    }
}

fn keep(slots: &mut Slots, first: U256, words: &[Word]) {
    for (offset, word) in words.iter().enumerate() {
        if !word.value.is_zero() {
            slots.insert(first + U256::from(offset), word.value);
        }
    }
}

/// Round `index`: seven slots.
pub fn round(slots: &mut Slots, offering: &Offering, index: u8, ladder: Option<Address>) {
    let (setup, round) = (&offering.setup.rounds[usize::from(index)], &offering.rounds[usize::from(index)]);
    let status = match round.status {
        Status::Open => 0u8,
        Status::Clearing => 1,
        Status::Cleared => 2,
    };
    let kind: u8;
    let (mut first_come, mut follows, mut price, mut step) = (false, 255u8, 0u64, 0u64);
    let (mut window_secs, mut window_cap, mut cap, mut start) = (0u64, 0u64, 0u64, 0u64);
    match &setup.sale {
        Sale::Fixed { price: p, first_come: first, private, .. } => {
            (kind, price, first_come) = (u8::from(*private), *p, *first);
        }
        Sale::Auction { prices, .. } => (kind, price, step) = (2, prices.floor, prices.step),
        Sale::Rising {
            window_secs: secs,
            window_cap: window,
            cap: most,
            start: from,
            follows: after,
            ..
        } => {
            (kind, window_secs, window_cap, cap, start) = (3, *secs, *window, *most, *from);
            follows = after.unwrap_or(255);
        }
    }
    let words = [
        Word::default()
            .put(kind, 8)
            .put(status, 8)
            .put(first_come, 8)
            .put(setup.cooling_off_days, 8)
            .put(follows, 8)
            .put(round.marginal, 8)
            .put(setup.ticks(), 16)
            .put(setup.schedules, 16)
            .put(round.whole_from, 16)
            .put(round.open, 40)
            .put(round.close, 40)
            .put(round.paused_until, 40)
            .put(round.pause_left, 24),
        Word::default().put(setup.supply(), 96).put(price, 64).put(step, 64).put(window_secs, 32),
        Word { value: U256::from_be_slice(ladder.unwrap_or_default().as_slice()), bits: 160 }
            .put(window_cap, 64),
        Word::default()
            .put(cap, 64)
            .put(start, 64)
            .put(setup.withdrawable_most, 64)
            .put(round.withdrawable, 64),
        Word::default()
            .put(round.cursor, 16)
            .put(round.knot, 16)
            .put(round.cash_above, 64)
            .put(round.weight_above, 64)
            .put(round.proceeds, 64),
        Word::default()
            .put(round.dust, 64)
            .put(round.swept, 64)
            .put(round.affiliate_paid, 64)
            .put(round.affiliates_left, 24),
        Word::default().put(round.sold, 96).put(round.delivered, 96).put(round.cleared_at, 40),
    ];
    keep(slots, mapping_slot(U256::from(index), 2), &words);
}

/// A place of a round's book: of an auction a tick, which shares its slot with its neighbour, else a bucket.
pub fn place(slots: &mut Slots, offering: &Offering, index: u8, place: u16) {
    let state = offering.bucket(index, place);
    let (setup, round) = (&offering.setup.rounds[usize::from(index)], &offering.rounds[usize::from(index)]);
    if !matches!(setup.sale, Sale::Auction { .. }) || place == ABOVE {
        return bucket(slots, index, place, &state);
    }
    if round.marginal && place + 1 == round.whole_from {
        bucket(slots, index, MARGINAL, &state);
    }
    let pair = [place & !1, place | 1].map(|tick| offering.bucket(index, tick));
    let word = pair.iter().fold(Word::default(), |word, tick| word.put(tick.cash, 64).put(tick.weight, 64));
    keep(slots, mapping_slot(key(index, place / 2), 9), &[word]);
}

fn key(index: u8, place: u16) -> U256 {
    (U256::from(index) + U256::from(1)) << 16 | U256::from(place)
}

/// A bucket: three slots.
fn bucket(slots: &mut Slots, index: u8, place: u16, bucket: &Bucket) {
    // Five fields of 64 bits: Solidity fills slot 1 with four of them.
    let words = [
        Word::default().put(bucket.cash, 64).put(bucket.weight, 64).put(bucket.sold, 96).put(bucket.whole, 8),
        Word::default()
            .put(bucket.used, 64)
            .put(bucket.cash_left, 64)
            .put(bucket.refunds_left, 64)
            .put(bucket.withdrawn_cash, 64),
        Word::default().put(bucket.withdrawn_weight, 64),
    ];
    keep(slots, mapping_slot(key(index, place), 3), &words);
}

/// A bid, or an entity's total.
pub fn bid(slots: &mut Slots, id: BidId, bid: &Bid) {
    keep(slots, mapping_slot(U256::from(id.pack()), 5), &[Word { value: bid.pack(), bits: 256 }]);
}

/// A position.
pub fn position(slots: &mut Slots, id: BidId, position: &Position) {
    let word = Word::default().put(position.credits, 96).put(position.delivered, 96).put(position.paid, 64);
    keep(slots, mapping_slot(U256::from(id.pack()), 6), &[word]);
}

/// An attestation.
pub fn attestation(slots: &mut Slots, subject: u8, attestation: &Attestation) {
    let word = Word::default().put(attestation.effective_at, 40).put(attestation.objections, 8);
    keep(slots, mapping_slot(U256::from(subject), 8), &[word]);
}

/// Everything in `Offering.sol`.
pub fn offering(offering: &Offering, at: &Deployment) -> Slots {
    let mut slots = Slots::new();
    for (index, ladder) in (0u8..).zip(&at.ladders) {
        round(&mut slots, offering, index, *ladder);
    }
    for &(index, at) in offering.buckets.keys() {
        place(&mut slots, offering, index, at);
    }
    for &(index, tick) in offering.occupied.keys() {
        let word = U256::from(index) << 8 | U256::from(tick >> 9);
        *slots.entry(mapping_slot(word, 4)).or_default() |= U256::from(1) << (tick >> 1 & 0xff);
    }
    for (&id, state) in &offering.bids {
        bid(&mut slots, id, state);
    }
    for (&id, state) in &offering.positions {
        position(&mut slots, id, state);
    }
    for (&attester, &(current, highest)) in &offering.generations {
        let word = Word::default().put(current, 32).put(highest, 32);
        keep(&mut slots, mapping_slot(attester, 7), &[word]);
    }
    for (&subject, state) in &offering.attestations {
        attestation(&mut slots, subject, state);
    }
    keep(&mut slots, U256::from(10), &[Word::default().put(offering.total_proceeds, 64)]);
    slots
}

/// Everything in `Treasury.sol`.
pub fn treasury(treasury: &Treasury) -> Slots {
    let mut slots = Slots::new();
    for (class, pot) in treasury.pots.iter().enumerate() {
        let words = [
            Word::default().put(pot.cash, 128).put(pot.refunded, 128),
            Word::default().put(pot.delivered, 128),
        ];
        keep(&mut slots, mapping_slot(U256::from(class), 2), &words);
    }
    for (id, cash) in &treasury.refunded {
        keep(&mut slots, mapping_slot(U256::from(id.pack()), 3), &[Word::default().put(*cash, 64)]);
    }
    let ceilings = &treasury.setup.ceilings;
    slots.insert(U256::from(4), U256::from(ceilings.len()));
    let first = U256::from_be_bytes(alloy_primitives::keccak256(U256::from(4).to_be_bytes::<32>()).0);
    for (index, &(cash, before_live)) in ceilings.iter().enumerate() {
        keep(&mut slots, first + U256::from(index), &[Word::default().put(cash, 64).put(before_live, 8)]);
    }
    let words =
        [treasury.circulating, treasury.tap_paid, treasury.refunds_paid].map(|v| Word::default().put(v, 64));
    keep(&mut slots, U256::from(5), &words);
    slots
}

/// Everything in `Channels.sol` at an address.
pub fn channels(channels: &Channels, chain_id: u64, at: Address) -> Slots {
    let (mut slots, domain) = (Slots::new(), domain(chain_id, at));
    for (config, channel) in &channels.channels {
        let id = channel_id(&domain, config);
        let balances = Word::default().put(channel.balance(), 128).put(channel.claimed, 128);
        keep(&mut slots, mapping_slot(id, 0), &[balances]);
        if let Some(pending) = channel.withdrawal {
            let word = Word::default().put(pending.amount, 128).put(pending.initiated_at, 40);
            keep(&mut slots, mapping_slot(id, 1), &[word]);
        }
        keep(&mut slots, mapping_slot(id, 3), &[Word::default().put(channel.refunds, 64)]);
    }
    for (&(receiver, token), earned) in &channels.receivers {
        let word = Word::default().put(earned.claimed, 128).put(earned.settled, 128);
        keep(&mut slots, nested_slot(receiver, token, 2), &[word]);
    }
    slots
}

/// Everything in `Revenue.sol`.
pub fn revenue(revenue: &Revenue) -> Slots {
    let mut slots = Slots::new();
    for (role, holder) in (0u8..).zip(revenue.roles) {
        let value = U256::from_be_slice(holder.as_slice());
        keep(&mut slots, mapping_slot(U256::from(role), 0), &[Word { value, bits: 160 }]);
    }
    for (coin, statement) in revenue.coins.into_iter().zip(&revenue.statements) {
        let words = [
            Word { value: statement.root.into(), bits: 256 },
            Word::default().put(statement.pay, 128).put(statement.paid, 128),
            Word::default().put(statement.settled, 128).put(statement.rest_paid, 128),
            Word::default().put(statement.number, 32),
        ];
        keep(&mut slots, mapping_slot(coin, 1), &words);
        for (&provider, &paid) in &statement.paid_to {
            keep(&mut slots, nested_slot(coin, provider, 2), &[Word::default().put(paid, 128)]);
        }
    }
    slots
}

/// Balances and supply of an ERC-20 of OpenZeppelin's; allowances and nonces are not the model's.
pub fn coin(coin: &Coin, burned: u128, place: impl Fn(Holder) -> Address) -> Slots {
    let mut slots = Slots::new();
    for (&holder, &balance) in &coin.balances {
        keep(&mut slots, mapping_slot(place(holder), 0), &[Word::default().put(balance, 128)]);
    }
    keep(&mut slots, U256::from(2), &[Word::default().put(coin.minted - burned, 128)]);
    slots
}
