// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// A coin that turns bad when told to: takes a fee, refuses a payee, or calls somewhere in the middle of a transfer.
contract HostileCash is ERC20("Hostile", "HOST") {
    uint256 public feeBps;
    address public refused;
    address public callee;
    bytes public data;
    /// Outcome of the last call made in mid-transfer.
    bool public reentered;
    bytes public returned;

    error Refused(address payee);

    function mint(address to, uint256 units) external {
        _mint(to, units);
    }

    function setFee(uint256 bps) external {
        feeBps = bps;
    }

    function refuse(address payee) external {
        refused = payee;
    }

    function callBack(address callee_, bytes calldata data_) external {
        (callee, data) = (callee_, data_);
    }

    function decimals() public pure override returns (uint8) {
        return 6;
    }

    function _update(address from, address to, uint256 units) internal override {
        if (to == refused && to != address(0)) revert Refused(to);
        uint256 fee = from == address(0) ? 0 : units * feeBps / 10_000;
        if (fee != 0) super._update(from, address(this), fee);
        super._update(from, to, units - fee);
        if (callee != address(0)) (reentered, returned) = callee.call(data);
    }
}
