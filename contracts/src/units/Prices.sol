// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

// `credits base units × price ÷ PRICE_SCALE = cash base units`: prices are in 10⁻¹² cash per whole credit of 10¹⁸.
// Unchecked: with cash under 2⁶⁴, weights under 2⁷⁶, credits under 2⁹⁶ and prices under 2⁶⁴ no product reaches 2²⁵⁶.
uint256 constant PRICE_SCALE = 1e24;

/// Cash that buys `credits` at `price`, rounded down: up would oversell.
function need(uint256 credits, uint256 price) pure returns (uint256) {
    unchecked {
        return credits * price / PRICE_SCALE;
    }
}

/// Credits that `weight` of cash buys at `price`, rounded down.
function creditsFor(uint256 weight, uint256 price) pure returns (uint256) {
    unchecked {
        return weight * PRICE_SCALE / price;
    }
}

/// Cash used of a pro rata bucket, `ceil(cash × sold × price ÷ weight)`, at most all of it.
function proRata(uint256 cash, uint256 sold, uint256 price, uint256 weight) pure returns (uint256) {
    unchecked {
        uint256 divisor = weight * PRICE_SCALE;
        uint256 used = (cash * sold * price + divisor - 1) / divisor;
        return used < cash ? used : cash;
    }
}
