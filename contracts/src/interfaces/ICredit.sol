// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// What the service credit adds to ERC-20, ERC-2612 and ERC-3009.
interface ICredit {
    /// Only the offering may mint.
    error NotMinter(address caller);

    /// Mints delivered credits.
    /// @param to A holder, or the vault of a locked position.
    /// @param credits In base units of 10⁻¹⁸.
    function mint(address to, uint256 credits) external;

    /// The offering.
    function minter() external view returns (address);
}
