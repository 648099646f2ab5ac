// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// The integer ladder of a rising-price round, kept as the code of a contract: a zero byte, then knots of
/// 20 bytes, weight 8 (cash base units sold so far) and credits 12 (base units sold by then), rising.
contract LadderData {
    /// Knots must rise in weight and must not fall in credits.
    error NotRising(uint256 index);

    constructor(bytes memory knots) {
        bytes memory code = bytes.concat(hex"00", knots);
        uint256 last;
        for (uint256 i = 0; i < knots.length; i += 20) {
            uint256 word;
            assembly ("memory-safe") {
                word := mload(add(add(knots, 32), i))
            }
            word >>= 96;
            bool rises = i == 0 || (word >> 96 > last >> 96 && uint96(word) >= uint96(last));
            if (!rises) revert NotRising(i / 20);
            last = word;
        }
        assembly ("memory-safe") {
            return(add(code, 32), mload(code))
        }
    }
}

/// The weight is beyond the last knot of the ladder or before its first.
error OffLadder(uint256 weight);

/// Credits sold once `weight` is sold, rounded down between knots, and the knot below it. The search goes up
/// from knot `from`, which must not be above the weight.
function creditsAt(address ladder, uint256 weight, uint256 from) view returns (uint256 credits, uint256 below) {
    (uint256 lowWeight, uint256 lowCredits) = knot(ladder, from);
    if (weight < lowWeight) revert OffLadder(weight);
    below = from;
    while (weight > lowWeight) {
        (uint256 highWeight, uint256 highCredits) = knot(ladder, below + 1);
        if (highWeight <= lowWeight) revert OffLadder(weight);
        if (weight < highWeight) {
            return (
                lowCredits + (weight - lowWeight) * (highCredits - lowCredits) / (highWeight - lowWeight),
                below
            );
        }
        (lowWeight, lowCredits) = (highWeight, highCredits);
        ++below;
    }
    credits = lowCredits;
}

/// Weight of the last knot.
function lastWeight(address ladder) view returns (uint256 weight) {
    (weight,) = knot(ladder, (ladder.code.length - 1) / 20 - 1);
}

/// A knot; beyond the last one its weight is 0.
function knot(address ladder, uint256 index) view returns (uint256 weight, uint256 credits) {
    uint256 word;
    assembly ("memory-safe") {
        mstore(0, 0)
        extcodecopy(ladder, 0, add(1, mul(index, 20)), 20)
        word := mload(0)
    }
    weight = word >> 192;
    credits = (word >> 96) & type(uint96).max;
}
