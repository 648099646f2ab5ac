// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {ChannelConfig, IChannels, VoucherClaim} from "./interfaces/IChannels.sol";
import {IDepositCollector} from "./interfaces/IDepositCollector.sol";

/// Of every coin it holds Σ (balance − claimed) + Σ (claimed − settled), at every step: CHAN-1. Nothing in its code
/// depends on where it stands, so that the same bytes can be put at the scheme's address.
contract Channels is IChannels, Multicall, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// One slot.
    struct Channel {
        uint128 balance;
        uint128 totalClaimed;
    }

    /// One slot.
    struct Withdrawal {
        uint128 amount;
        uint40 initiatedAt;
    }

    /// One slot.
    struct Receiver {
        uint128 totalClaimed;
        uint128 totalSettled;
    }

    bytes32 public constant CHANNEL_CONFIG_TYPEHASH = keccak256(
        "ChannelConfig(address payer,address payerAuthorizer,address receiver,address receiverAuthorizer,address token,uint40 withdrawDelay,bytes32 salt)"
    );
    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant VOUCHER_TYPEHASH = keccak256("Voucher(bytes32 channelId,uint128 maxClaimableAmount)");
    bytes32 private constant REFUND_TYPEHASH = keccak256("Refund(bytes32 channelId,uint256 nonce,uint128 amount)");
    bytes32 private constant CLAIM_ENTRY_TYPEHASH =
        keccak256("ClaimEntry(bytes32 channelId,uint128 maxClaimableAmount,uint128 totalClaimed)");
    bytes32 private constant CLAIM_BATCH_TYPEHASH = keccak256(
        "ClaimBatch(ClaimEntry[] claims)ClaimEntry(bytes32 channelId,uint128 maxClaimableAmount,uint128 totalClaimed)"
    );

    uint256 private constant LEAST_DELAY = 15 minutes;
    uint256 private constant MOST_DELAY = 30 days;

    /// @inheritdoc IChannels
    mapping(bytes32 channelId => Channel) public channels;
    /// @inheritdoc IChannels
    mapping(bytes32 channelId => Withdrawal) public pendingWithdrawals;
    /// @inheritdoc IChannels
    mapping(address receiver => mapping(address token => Receiver)) public receivers;
    /// @inheritdoc IChannels
    mapping(bytes32 channelId => uint256) public refundNonce;

    // ---- in

    /// @inheritdoc IChannels
    function deposit(ChannelConfig calldata config, uint128 amount, address collector, bytes calldata collectorData)
        external
        nonReentrant
    {
        // Check:
        if (config.payer == address(0)) revert BadChannel(0);
        if (config.receiver == address(0)) revert BadChannel(2);
        if (config.receiverAuthorizer == address(0)) revert BadChannel(3);
        if (config.token == address(0)) revert BadChannel(4);
        if (config.withdrawDelay < LEAST_DELAY || config.withdrawDelay > MOST_DELAY) revert BadChannel(5);
        if (amount == 0) revert ZeroAmount();
        bytes32 id = getChannelId(config);
        // Effect: a collector that looks at it in between sees the deposit; one that fails takes it back.
        Channel storage channel = channels[id];
        uint128 balance = channel.balance + amount;
        if (balance == amount && channel.totalClaimed == 0) emit ChannelCreated(id, config);
        channel.balance = balance;
        emit Deposited(id, msg.sender, amount, balance);
        // Interaction: with whatever the caller names, and with the coin.
        IERC20 token = IERC20(config.token);
        uint256 before = token.balanceOf(address(this));
        IDepositCollector(collector).collect(config.payer, address(token), amount, id, collectorData);
        uint256 arrived = token.balanceOf(address(this)) - before;
        if (arrived != amount) revert WrongDeposit(arrived, amount);
    }

    // ---- to the receiver

    /// @inheritdoc IChannels
    function claim(VoucherClaim[] calldata voucherClaims) external nonReentrant {
        bytes32 domain = _domain();
        if (voucherClaims.length == 0) revert NothingToClaim();
        for (uint256 i = 0; i < voucherClaims.length; ++i) {
            ChannelConfig calldata config = voucherClaims[i].voucher.channel;
            bytes32 id = _channelId(domain, config);
            _checkReceiver(id, config);
            _claim(domain, id, voucherClaims[i]);
        }
    }

    /// @inheritdoc IChannels
    function claimWithSignature(VoucherClaim[] calldata voucherClaims, bytes calldata authorizerSignature)
        external
        nonReentrant
    {
        bytes32 domain = _domain();
        if (voucherClaims.length == 0) revert NothingToClaim();
        address authorizer = voucherClaims[0].voucher.channel.receiverAuthorizer;
        bytes32[] memory ids = _channelIds(domain, voucherClaims);
        bytes32 digest = _claimBatchDigest(domain, ids, voucherClaims);
        if (!SignatureChecker.isValidSignatureNowCalldata(authorizer, digest, authorizerSignature)) {
            revert BadSignature(authorizer);
        }
        for (uint256 i = 0; i < voucherClaims.length; ++i) {
            address of_ = voucherClaims[i].voucher.channel.receiverAuthorizer;
            if (of_ != authorizer) revert OtherAuthorizer(ids[i], of_);
            _claim(domain, ids[i], voucherClaims[i]);
        }
    }

    function _claim(bytes32 domain, bytes32 id, VoucherClaim calldata row) private {
        Channel storage channel = channels[id];
        (uint128 balance, uint128 before, uint128 claimed) = (channel.balance, channel.totalClaimed, row.totalClaimed);
        if (claimed <= before) return;
        // Check:
        uint128 ceiling = row.voucher.maxClaimableAmount;
        if (claimed > ceiling) revert OverVoucher(id, claimed, ceiling);
        if (claimed > balance) revert OverBalance(id, claimed, balance);
        ChannelConfig calldata config = row.voucher.channel;
        bytes32 digest = _voucherDigest(domain, id, ceiling);
        address signer = config.payerAuthorizer;
        bool signed;
        if (signer == address(0)) {
            signer = config.payer;
            signed = SignatureChecker.isValidSignatureNowCalldata(signer, digest, row.signature);
        } else {
            (address recovered,,) = ECDSA.tryRecoverCalldata(digest, row.signature);
            signed = recovered == signer;
        }
        if (!signed) revert BadSignature(signer);
        // Effect:
        channel.totalClaimed = claimed;
        uint128 amount = claimed - before;
        receivers[config.receiver][config.token].totalClaimed += amount;
        emit Claimed(id, msg.sender, amount, claimed);
    }

    /// @inheritdoc IChannels
    function settle(address receiver, address token) external nonReentrant {
        Receiver storage of_ = receivers[receiver][token];
        uint128 amount = of_.totalClaimed - of_.totalSettled;
        if (amount == 0) return;
        // Effect:
        of_.totalSettled += amount;
        emit Settled(receiver, token, msg.sender, amount);
        // Interaction:
        IERC20(token).safeTransfer(receiver, amount);
    }

    // ---- back to the payer

    /// @inheritdoc IChannels
    function initiateWithdraw(ChannelConfig calldata config, uint128 amount) external nonReentrant {
        bytes32 id = getChannelId(config);
        // Check:
        _checkPayer(id, config);
        if (amount == 0) revert ZeroAmount();
        Withdrawal storage pending = pendingWithdrawals[id];
        // Else whoever has the session key could put off the payer's withdrawal for ever.
        if (pending.initiatedAt != 0) {
            revert WithdrawalPending(pending.amount, uint256(pending.initiatedAt) + config.withdrawDelay);
        }
        uint128 unclaimed = channels[id].balance - channels[id].totalClaimed;
        if (amount > unclaimed) revert TooMuch(amount, unclaimed);
        // Effect:
        pending.amount = amount;
        pending.initiatedAt = uint40(block.timestamp);
        emit WithdrawInitiated(id, amount, uint40(block.timestamp) + config.withdrawDelay);
    }

    /// @inheritdoc IChannels
    function finalizeWithdraw(ChannelConfig calldata config) external nonReentrant {
        bytes32 id = getChannelId(config);
        // Check:
        _checkPayer(id, config);
        Withdrawal memory pending = pendingWithdrawals[id];
        if (pending.initiatedAt == 0) revert NoWithdrawal(id);
        uint256 from = uint256(pending.initiatedAt) + config.withdrawDelay;
        if (block.timestamp < from) revert TooEarly(from);
        // Effect: claims since then come first.
        delete pendingWithdrawals[id];
        uint128 amount = _takeBack(id, config, pending.amount);
        emit WithdrawFinalized(id, msg.sender, amount);
        // Interaction:
        if (amount != 0) IERC20(config.token).safeTransfer(config.payer, amount);
    }

    /// @inheritdoc IChannels
    function refund(ChannelConfig calldata config, uint128 amount) external nonReentrant {
        bytes32 id = getChannelId(config);
        // Check:
        _checkReceiver(id, config);
        _refund(id, config, amount);
    }

    /// @inheritdoc IChannels
    function refundWithSignature(
        ChannelConfig calldata config,
        uint128 amount,
        uint256 nonce,
        bytes calldata receiverAuthorizerSignature
    ) external nonReentrant {
        bytes32 domain = _domain();
        bytes32 id = _channelId(domain, config);
        // Check:
        uint256 next = refundNonce[id];
        if (nonce != next) revert WrongNonce(nonce, next);
        address signer = config.receiverAuthorizer;
        bytes32 digest = _refundDigest(domain, id, nonce, amount);
        if (!SignatureChecker.isValidSignatureNowCalldata(signer, digest, receiverAuthorizerSignature)) {
            revert BadSignature(signer);
        }
        _refund(id, config, amount);
    }

    function _refund(bytes32 id, ChannelConfig calldata config, uint128 amount) private {
        if (amount == 0) revert ZeroAmount();
        // Effect: the nonce first, so that one signature never refunds twice, not even one that moved nothing.
        ++refundNonce[id];
        amount = _takeBack(id, config, amount);
        if (amount == 0) return;
        Withdrawal storage pending = pendingWithdrawals[id];
        uint128 asked = pending.amount;
        // What comes back now need not come back later.
        if (asked > amount) pending.amount = asked - amount;
        else if (asked != 0) delete pendingWithdrawals[id];
        emit Refunded(id, msg.sender, amount);
        // Interaction:
        IERC20(config.token).safeTransfer(config.payer, amount);
    }

    /// Takes at most what is not claimed out of a channel's balance.
    function _takeBack(bytes32 id, ChannelConfig calldata config, uint128 most) private returns (uint128 amount) {
        Channel storage channel = channels[id];
        (uint128 balance, uint128 claimed) = (channel.balance, channel.totalClaimed);
        uint128 unclaimed = balance - claimed;
        amount = most < unclaimed ? most : unclaimed;
        if (amount == 0) return 0;
        channel.balance = balance - amount;
        if (balance == amount) emit ChannelClosed(id, config);
    }

    // ---- who

    function _checkReceiver(bytes32 id, ChannelConfig calldata config) private view {
        bool may = msg.sender == config.receiverAuthorizer || msg.sender == config.receiver;
        if (!may) revert NotReceiver(id, msg.sender);
    }

    function _checkPayer(bytes32 id, ChannelConfig calldata config) private view {
        bool may = msg.sender == config.payer || msg.sender == config.payerAuthorizer;
        if (!may) revert NotPayer(id, msg.sender);
    }

    // ---- what is signed

    /// @inheritdoc IChannels
    function getChannelId(ChannelConfig calldata config) public view returns (bytes32) {
        return _channelId(_domain(), config);
    }

    /// @inheritdoc IChannels
    function getVoucherDigest(bytes32 channelId, uint128 maxClaimableAmount) external view returns (bytes32) {
        return _voucherDigest(_domain(), channelId, maxClaimableAmount);
    }

    /// @inheritdoc IChannels
    function getRefundDigest(bytes32 channelId, uint256 nonce, uint128 amount) external view returns (bytes32) {
        return _refundDigest(_domain(), channelId, nonce, amount);
    }

    /// @inheritdoc IChannels
    function getClaimBatchDigest(VoucherClaim[] calldata voucherClaims) external view returns (bytes32) {
        bytes32 domain = _domain();
        return _claimBatchDigest(domain, _channelIds(domain, voucherClaims), voucherClaims);
    }

    function _domain() private view returns (bytes32) {
        return keccak256(
            abi.encode(
                DOMAIN_TYPEHASH, keccak256("x402 Batch Settlement"), keccak256("1"), block.chainid, address(this)
            )
        );
    }

    function _channelId(bytes32 domain, ChannelConfig calldata config) private pure returns (bytes32) {
        return MessageHashUtils.toTypedDataHash(domain, keccak256(abi.encode(CHANNEL_CONFIG_TYPEHASH, config)));
    }

    function _channelIds(bytes32 domain, VoucherClaim[] calldata rows) private pure returns (bytes32[] memory ids) {
        ids = new bytes32[](rows.length);
        for (uint256 i = 0; i < rows.length; ++i) {
            ids[i] = _channelId(domain, rows[i].voucher.channel);
        }
    }

    function _voucherDigest(bytes32 domain, bytes32 id, uint128 ceiling) private pure returns (bytes32) {
        return MessageHashUtils.toTypedDataHash(domain, keccak256(abi.encode(VOUCHER_TYPEHASH, id, ceiling)));
    }

    function _refundDigest(bytes32 domain, bytes32 id, uint256 nonce, uint128 amount) private pure returns (bytes32) {
        return MessageHashUtils.toTypedDataHash(domain, keccak256(abi.encode(REFUND_TYPEHASH, id, nonce, amount)));
    }

    function _claimBatchDigest(bytes32 domain, bytes32[] memory ids, VoucherClaim[] calldata rows)
        private
        pure
        returns (bytes32)
    {
        bytes32[] memory entries = new bytes32[](rows.length);
        for (uint256 i = 0; i < rows.length; ++i) {
            uint128 ceiling = rows[i].voucher.maxClaimableAmount;
            entries[i] = keccak256(abi.encode(CLAIM_ENTRY_TYPEHASH, ids[i], ceiling, rows[i].totalClaimed));
        }
        bytes32 claims = keccak256(abi.encodePacked(entries));
        return MessageHashUtils.toTypedDataHash(domain, keccak256(abi.encode(CLAIM_BATCH_TYPEHASH, claims)));
    }
}
