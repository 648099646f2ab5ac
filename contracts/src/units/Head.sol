// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Kind, Round} from "../interfaces/IOffering.sol";

/// Slot 0 of a `Round` in one word, so that a bid reads it once. From the lowest bit, as Solidity packs it: kind 8,
/// status 8, first come 8, cooling-off days 8, follows 8, marginal 8, ticks 16, schedules 16, whole from 16, open 40,
/// close 40, paused until 40, pause left 24.
type Head is uint256;

using {isAuction, isRising, isFirstCome, ticks, offers, open, close, pausedUntil} for Head global;

function headOf(Round storage round) view returns (Head head) {
    assembly ("memory-safe") {
        head := sload(round.slot)
    }
}

function isAuction(Head head) pure returns (bool) {
    return uint8(Head.unwrap(head)) == uint8(Kind.Auction);
}

function isRising(Head head) pure returns (bool) {
    return uint8(Head.unwrap(head)) == uint8(Kind.Rising);
}

function isFirstCome(Head head) pure returns (bool) {
    return uint8(Head.unwrap(head) >> 16) != 0;
}

function ticks(Head head) pure returns (uint256) {
    return uint16(Head.unwrap(head) >> 48);
}

/// Whether a schedule may be chosen.
function offers(Head head, uint256 schedule) pure returns (bool) {
    return (uint256(uint16(Head.unwrap(head) >> 64)) >> schedule) & 1 != 0;
}

function open(Head head) pure returns (uint256) {
    return uint40(Head.unwrap(head) >> 96);
}

function close(Head head) pure returns (uint256) {
    return uint40(Head.unwrap(head) >> 136);
}

function pausedUntil(Head head) pure returns (uint256) {
    return uint40(Head.unwrap(head) >> 176);
}

/// Whether a value is below `least` or above `most`, without the second jump of `||`.
function outside(uint256 value, uint256 least, uint256 most) pure returns (bool is_) {
    assembly ("memory-safe") {
        is_ := or(lt(value, least), gt(value, most))
    }
}
