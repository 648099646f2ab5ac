// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// Names a bid and the position it becomes: round 8, window 16 (0 but in rising rounds), entity 64, from the top.
type BidId is uint88;

// In place of a window: the entity's total over the windows of a rising round.
uint256 constant TOTAL = 0xffff;

using {round, window} for BidId global;

function bidId(uint256 round_, uint256 window_, uint256 entity) pure returns (BidId) {
    return BidId.wrap(uint88((round_ << 80) | (window_ << 64) | entity));
}

function round(BidId id) pure returns (uint256) {
    return BidId.unwrap(id) >> 80;
}

function window(BidId id) pure returns (uint256) {
    return (BidId.unwrap(id) >> 64) & 0xffff;
}
