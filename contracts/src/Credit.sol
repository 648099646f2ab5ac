// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Burnable} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Burnable.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {ICredit} from "./interfaces/ICredit.sol";
import {SignedTransfers} from "./SignedTransfers.sol";

/// The service credit. Only the offering mints, what it delivers; whoever holds credits may burn them (SUPPLY-1).
contract Credit is ICredit, SignedTransfers, ERC20Burnable, ERC20Permit {
    /// @inheritdoc ICredit
    address public immutable minter;

    constructor(string memory name_, string memory symbol_, address minter_) ERC20(name_, symbol_) ERC20Permit(name_) {
        minter = minter_;
    }

    /// @inheritdoc ICredit
    function mint(address to, uint256 credits) external {
        if (msg.sender != minter) revert NotMinter(msg.sender);
        _mint(to, credits);
    }
}
