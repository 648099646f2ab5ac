// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// Two totals in one slot: of a channel what is in it and what of that was claimed, of a receiver what was claimed for
/// it and what of that was settled. The second is in the upper half and never exceeds the first.
type Totals is uint256;

using {whole, part, left} for Totals global;

/// Both below 2¹²⁸, which callers see to.
function totals(uint256 whole_, uint256 part_) pure returns (Totals) {
    return Totals.wrap(part_ << 128 | whole_);
}

function whole(Totals self) pure returns (uint256) {
    return uint128(Totals.unwrap(self));
}

function part(Totals self) pure returns (uint256) {
    return Totals.unwrap(self) >> 128;
}

function left(Totals self) pure returns (uint256) {
    // Unchecked: the part never exceeds the whole.
    unchecked {
        return self.whole() - self.part();
    }
}
