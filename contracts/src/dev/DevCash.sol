// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {SignedTransfers} from "../SignedTransfers.sol";

/// Play money for development chains, shaped like USDC: 6 decimals, ERC-2612, ERC-3009. One account mints.
contract DevCash is SignedTransfers, ERC20Permit {
    error NotMinter(address caller);

    address public immutable minter;

    constructor(string memory name_, string memory symbol_, address minter_) ERC20(name_, symbol_) ERC20Permit(name_) {
        minter = minter_;
    }

    function mint(address to, uint256 units) external {
        if (msg.sender != minter) revert NotMinter(msg.sender);
        _mint(to, units);
    }

    function decimals() public pure override returns (uint8) {
        return 6;
    }
}
