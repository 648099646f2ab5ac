// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// Brings a payer's coins to the settlement contract.
interface IDepositCollector {
    /// Whoever else could call could spend an authorization on a channel of their own.
    error NotSettlement(address caller);

    /// @param collectorData How the payer agreed; for ERC-3009 `abi.encode(uint256 validAfter, uint256 validBefore,
    /// uint256 salt, bytes signature)` of a `receiveWithAuthorization` whose nonce is `keccak256(abi.encode(channelId,
    /// salt))`, so that it pays into this channel only.
    function collect(address payer, address token, uint256 amount, bytes32 channelId, bytes calldata collectorData)
        external;
}
