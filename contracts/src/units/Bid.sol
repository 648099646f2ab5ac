// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// One slot for an entity's bid in a round (rising price: in a window). From the lowest bit:
/// wallet 160, cash 60, flags 4, tick 12, schedule 4, lock class 4, day of last change 12.
type Bid is uint256;

using {
    wallet,
    cash,
    tick,
    schedule,
    lockClass,
    day,
    has,
    withFlag,
    withoutFlag,
    withCash,
    exists
} for Bid global;

uint256 constant AFFILIATE = 1 << 220;
uint256 constant COOLING_OFF = 1 << 221;
uint256 constant SETTLED = 1 << 222;
// In the slot of a bid: the refund was pulled, cash is what was paid. In the slot of an entity's total over the
// windows of a rising round: it has withdrawn and may not bid there again.
uint256 constant REFUNDED = 1 << 223;

uint256 constant CASH_MAX = (1 << 60) - 1;
uint256 constant DAY_MAX = (1 << 12) - 1;

function packBid(
    address owner,
    uint256 cash_,
    uint256 flags,
    uint256 tick_,
    uint256 schedule_,
    uint256 lockClass_,
    uint256 day_
) pure returns (Bid) {
    return Bid.wrap(
        uint256(uint160(owner)) | (cash_ << 160) | flags | (tick_ << 224) | (schedule_ << 236) | (lockClass_ << 240)
            | (day_ << 244)
    );
}

function wallet(Bid bid) pure returns (address) {
    return address(uint160(Bid.unwrap(bid)));
}

function cash(Bid bid) pure returns (uint256) {
    return (Bid.unwrap(bid) >> 160) & CASH_MAX;
}

function tick(Bid bid) pure returns (uint256) {
    return (Bid.unwrap(bid) >> 224) & 0xfff;
}

function schedule(Bid bid) pure returns (uint256) {
    return (Bid.unwrap(bid) >> 236) & 0xf;
}

function lockClass(Bid bid) pure returns (uint256) {
    return (Bid.unwrap(bid) >> 240) & 0xf;
}

/// Days since the offering's first opening.
function day(Bid bid) pure returns (uint256) {
    return Bid.unwrap(bid) >> 244;
}

function has(Bid bid, uint256 flag) pure returns (bool) {
    return Bid.unwrap(bid) & flag != 0;
}

function withFlag(Bid bid, uint256 flag) pure returns (Bid) {
    return Bid.wrap(Bid.unwrap(bid) | flag);
}

function withoutFlag(Bid bid, uint256 flag) pure returns (Bid) {
    return Bid.wrap(Bid.unwrap(bid) & ~flag);
}

function withCash(Bid bid, uint256 cash_) pure returns (Bid) {
    return Bid.wrap((Bid.unwrap(bid) & ~(CASH_MAX << 160)) | (cash_ << 160));
}

function exists(Bid bid) pure returns (bool) {
    return Bid.unwrap(bid) != 0;
}
