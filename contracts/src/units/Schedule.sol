// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// How a position vests once the service is live. From the lowest bit: five points of seconds 32 and cumulative basis
/// points 16 (the unused repeat the last), straight lines (or else steps) 1.
type Schedule is uint256;

using {isSound, vested} for Schedule global;

/// Neither seconds nor basis points fall, and nothing vests beyond the whole; the constructor has checked it.
function isSound(Schedule schedule) pure returns (bool) {
    uint256 word = Schedule.unwrap(schedule);
    uint256 fromSecs;
    uint256 fromBps;
    for (uint256 i = 0; i < 5; ++i) {
        uint256 secs = word & 0xffffffff;
        uint256 bps = (word >> 32) & 0xffff;
        if (secs < fromSecs || bps < fromBps || bps > 10_000) return false;
        (fromSecs, fromBps) = (secs, bps);
        word >>= 48;
    }
    return true;
}

/// Credits vested `elapsed` seconds after the service went live, rounded down.
function vested(Schedule schedule, uint256 credits, uint256 elapsed) pure returns (uint256) {
    // Unchecked: the schedule is sound, credits are below 2⁹⁶.
    unchecked {
        uint256 word = Schedule.unwrap(schedule);
        bool linear = word >> 240 != 0;
        uint256 fromSecs;
        uint256 fromBps;
        for (uint256 i = 0; i < 5; ++i) {
            uint256 secs = word & 0xffffffff;
            uint256 bps = (word >> 32) & 0xffff;
            if (elapsed < secs) {
                if (!linear) return credits * fromBps / 10_000;
                uint256 span = secs - fromSecs;
                return credits * (fromBps * span + (bps - fromBps) * (elapsed - fromSecs)) / (10_000 * span);
            }
            fromSecs = secs;
            fromBps = bps;
            word >>= 48;
        }
        return credits;
    }
}
