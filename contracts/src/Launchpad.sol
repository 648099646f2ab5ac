// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// Creates what it is sent. Its own address does not depend on that, and so neither does that of its first creation.
contract Cradle {
    function create(bytes memory code) external returns (address made) {
        assembly ("memory-safe") {
            made := create(0, add(code, 32), mload(code))
            if iszero(made) {
                let answer := mload(0x40)
                returndatacopy(answer, 0, returndatasize())
                revert(answer, returndatasize())
            }
        }
    }
}

/// Puts contracts at addresses that follow from who deploys and a salt alone, so that contracts can name each other in
/// their constructors, and a deployment that stopped half-way goes on from any machine: what has code is there. Both steps
/// are one transaction and the sender is part of the salt, so that nobody can take an address first.
contract Launchpad {
    function launch(bytes32 salt, bytes calldata code) external returns (address made) {
        made = new Cradle{salt: keccak256(abi.encode(msg.sender, salt))}().create(code);
    }
}
