// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// How a position vests once the service is live. From the lowest bit: five points of seconds 32 and cumulative basis
/// points 16 (the unused repeat the last), straight lines (or else steps) 1.
type Schedule is uint256;

using {vested} for Schedule global;

/// Credits vested `elapsed` seconds after the service went live, rounded down.
function vested(Schedule schedule, uint256 credits, uint256 elapsed) pure returns (uint256) {
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
