// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {ChannelConfig} from "./interfaces/IChannels.sol";
import {DepositProof, IVault} from "./interfaces/IVault.sol";

/// Code of all vaults; each is a clone that carries its owner and the end of its lock (LOCK-1). It never approves,
/// never permits and never calls a stranger: what it signs for is recomputed here from its parts.
contract Vault is IVault {
    using SafeERC20 for IERC20;

    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant CHANNEL_TYPEHASH = keccak256(
        "ChannelConfig(address payer,address payerAuthorizer,address receiver,address receiverAuthorizer,address token,uint40 withdrawDelay,bytes32 salt)"
    );
    bytes32 private constant RECEIVE_TYPEHASH = keccak256(
        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );

    address public immutable credit;
    /// The x402 settlement contract and its ERC-3009 deposit collector on this chain.
    address public immutable channels;
    address public immutable collector;
    /// Receiver and receiverAuthorizer of every channel that pays for the service; zero: none can be funded.
    address public immutable revenue;

    constructor(address credit_, address channels_, address collector_, address revenue_) {
        credit = credit_;
        channels = channels_;
        collector = collector_;
        revenue = revenue_;
    }

    /// @inheritdoc IVault
    function release() external {
        (address to, uint256 until) = _args();
        if (block.timestamp < until) revert Locked(until);
        IERC20(credit).safeTransfer(to, IERC20(credit).balanceOf(address(this)));
    }

    /// @inheritdoc IVault
    function isValidSignature(bytes32 digest, bytes calldata proof) external view returns (bytes4) {
        DepositProof memory deposit = abi.decode(proof, (DepositProof));
        ChannelConfig memory channel = deposit.channel;
        bool ours = revenue != address(0) && channel.payer == address(this) && channel.receiver == revenue
            && channel.receiverAuthorizer == revenue && channel.token == credit;
        if (!ours) return 0xffffffff;
        bytes32 nonce = keccak256(abi.encode(_channelId(channel), deposit.salt));
        bytes32 authorization = keccak256(
            abi.encode(
                RECEIVE_TYPEHASH,
                address(this),
                collector,
                deposit.value,
                deposit.validAfter,
                deposit.validBefore,
                nonce
            )
        );
        bytes32 expected =
            MessageHashUtils.toTypedDataHash(IERC20Permit(credit).DOMAIN_SEPARATOR(), authorization);
        (address owner_,) = _args();
        bool signed = digest == expected
            && SignatureChecker.isValidSignatureNow(owner_, digest, deposit.ownerSignature);
        return signed ? IERC1271.isValidSignature.selector : bytes4(0xffffffff);
    }

    /// @inheritdoc IVault
    function owner() external view returns (address owner_) {
        (owner_,) = _args();
    }

    /// @inheritdoc IVault
    function unlockAt() external view returns (uint256 until) {
        (, until) = _args();
    }

    function _channelId(ChannelConfig memory channel) private view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                DOMAIN_TYPEHASH, keccak256("x402 Batch Settlement"), keccak256("1"), block.chainid, channels
            )
        );
        return MessageHashUtils.toTypedDataHash(domain, keccak256(abi.encode(CHANNEL_TYPEHASH, channel)));
    }

    /// Owner 20 bytes, end of the lock 5 bytes, behind the clone's code.
    function _args() private view returns (address owner_, uint256 until) {
        bytes memory args = Clones.fetchCloneArgs(address(this));
        assembly ("memory-safe") {
            let word := mload(add(args, 32))
            owner_ := shr(96, word)
            until := and(shr(56, word), 0xffffffffff)
        }
    }
}
