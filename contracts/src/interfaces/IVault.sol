// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ChannelConfig} from "./IChannels.sol";

/// What a vault's owner sends in place of a signature, so that the vault can see where its credits would go.
struct DepositProof {
    ChannelConfig channel;
    /// The deposit's own salt, out of which the collector makes the ERC-3009 nonce.
    uint256 salt;
    uint256 value;
    uint256 validAfter;
    uint256 validBefore;
    /// The owner's own signature of the same `ReceiveWithAuthorization` digest.
    bytes ownerSignature;
}

/// Holds locked credits. They leave it in two ways only: into a channel that pays this offering's service, whose
/// refunds and withdrawals come back here, and to the owner once the lock is over.
interface IVault {
    error Locked(uint256 until);

    /// Anyone, after the lock: everything to the owner.
    function release() external;

    /// EIP-1271: the magic value only for a deposit into a channel of the service; `proof` is an encoded DepositProof.
    function isValidSignature(bytes32 digest, bytes calldata proof) external view returns (bytes4);

    function owner() external view returns (address);
    function unlockAt() external view returns (uint256);
}
