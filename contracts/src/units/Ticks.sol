// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// The book of an auction keeps two neighbouring ticks in a slot: the even one in the lower half, the odd one in the
/// upper; in each half cash 64, then its weight 64.
type Ticks is uint256;

using {cashAt, weightAt, plus, minus, isEmpty} for Ticks global;

function cashAt(Ticks pair, uint256 tick) pure returns (uint256) {
    return uint64(Ticks.unwrap(pair) >> _half(tick));
}

function weightAt(Ticks pair, uint256 tick) pure returns (uint256) {
    return uint64(Ticks.unwrap(pair) >> _half(tick) >> 64);
}

/// The caller has checked that the tick's weight stays below 2⁶⁴; its cash is never more.
function plus(Ticks pair, uint256 tick, uint256 cash, uint256 weight) pure returns (Ticks) {
    // Unchecked: by that no field carries into the next.
    unchecked {
        return Ticks.wrap(Ticks.unwrap(pair) + ((weight << 64 | cash) << _half(tick)));
    }
}

/// The caller takes out what was put in.
function minus(Ticks pair, uint256 tick, uint256 cash, uint256 weight) pure returns (Ticks) {
    // Unchecked: by that no field borrows from the next.
    unchecked {
        return Ticks.wrap(Ticks.unwrap(pair) - ((weight << 64 | cash) << _half(tick)));
    }
}

function isEmpty(Ticks pair) pure returns (bool) {
    return Ticks.unwrap(pair) == 0;
}

function _half(uint256 tick) pure returns (uint256) {
    return (tick & 1) << 7;
}
