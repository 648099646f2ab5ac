// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {ChannelConfig, IChannels, VoucherClaim} from "./interfaces/IChannels.sol";
import {IDepositCollector} from "./interfaces/IDepositCollector.sol";
import {Totals, totals} from "./units/Totals.sol";

/// Of every coin it holds Σ (balance − claimed) + Σ (claimed − settled), at every step: CHAN-1. Nothing in its code
/// depends on where it stands, so that the same bytes can be put at the scheme's address.
contract Channels is IChannels, Multicall, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// One slot.
    struct Withdrawal {
        uint128 amount;
        uint40 initiatedAt;
    }

    /// One slot, by way of a struct so that its place is worked out once.
    struct Slot {
        Totals totals;
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

    /// What is in it, and what of that was claimed.
    mapping(bytes32 channelId => Slot) private _channels;
    /// @inheritdoc IChannels
    mapping(bytes32 channelId => Withdrawal) public pendingWithdrawals;
    /// What was claimed, and what of that was settled.
    mapping(address receiver => mapping(address token => Slot)) private _receivers;
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
        Slot storage channel = _channels[id];
        uint256 claimed = channel.totals.part();
        uint256 balance = channel.totals.whole() + amount;
        if (balance > type(uint128).max) revert TooMuch(amount, uint128(type(uint128).max - (balance - amount)));
        if (balance == amount) emit ChannelCreated(id, config);
        channel.totals = totals(balance, claimed);
        emit Deposited(id, msg.sender, amount, uint128(balance));
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
        _claimAll(_frame(), voucherClaims, address(0));
    }

    /// @inheritdoc IChannels
    function claimWithSignature(VoucherClaim[] calldata voucherClaims, bytes calldata authorizerSignature)
        external
        nonReentrant
    {
        if (voucherClaims.length == 0) revert NothingToClaim();
        bytes memory frame = _frame();
        address authorizer = voucherClaims[0].voucher.channel.receiverAuthorizer;
        bytes32 digest = _claimBatchDigest(frame, voucherClaims);
        if (!SignatureChecker.isValidSignatureNowCalldata(authorizer, digest, authorizerSignature)) {
            revert BadSignature(authorizer);
        }
        _claimAll(frame, voucherClaims, authorizer);
    }

    /// `authorizer`: who signed for all rows; zero: nobody did, and the caller must be entitled to each.
    function _claimAll(bytes memory frame, VoucherClaim[] calldata rows, address authorizer) private {
        if (rows.length == 0) revert NothingToClaim();
        // What rows of one receiver and coin, one after the other, have claimed is counted for it at once.
        (address receiver, address token, uint256 claimed) = (address(0), address(0), 0);
        for (uint256 i = 0; i < rows.length; ++i) {
            VoucherClaim calldata row = rows[i];
            ChannelConfig calldata config = row.voucher.channel;
            bytes32 id = _channelId(frame, config);
            (address signer, address to, address by, address coin) = _parties(config);
            if (authorizer != address(0)) {
                if (by != authorizer) revert OtherAuthorizer(id, by);
            } else if (msg.sender != to && msg.sender != by) {
                revert NotReceiver(id, msg.sender);
            }
            if (to != receiver || coin != token) {
                _count(receiver, token, claimed);
                (receiver, token, claimed) = (to, coin, 0);
            }
            // Unchecked: fewer than 2¹²⁸ rows of less than 2¹²⁸ each.
            unchecked {
                claimed += _claim(frame, id, row, signer);
            }
        }
        _count(receiver, token, claimed);
    }

    /// Unchecked: that an address has more than 20 bytes gives the config the id of a channel in which nothing ever is.
    function _parties(ChannelConfig calldata config)
        private
        pure
        returns (address payerAuthorizer, address receiver, address receiverAuthorizer, address token)
    {
        assembly ("memory-safe") {
            payerAuthorizer := calldataload(add(config, 32))
            receiver := calldataload(add(config, 64))
            receiverAuthorizer := calldataload(add(config, 96))
            token := calldataload(add(config, 128))
        }
    }

    function _claim(bytes memory frame, bytes32 id, VoucherClaim calldata row, address signer)
        private
        returns (uint256 amount)
    {
        Slot storage channel = _channels[id];
        (uint256 balance, uint256 before) = (channel.totals.whole(), channel.totals.part());
        uint256 claimed = row.totalClaimed;
        if (claimed <= before) return 0;
        // Check:
        uint256 ceiling = row.voucher.maxClaimableAmount;
        if (claimed > ceiling) revert OverVoucher(id, uint128(claimed), uint128(ceiling));
        if (claimed > balance) revert OverBalance(id, uint128(claimed), uint128(balance));
        bytes32 digest = _voucherDigest(frame, id, ceiling);
        bool signed;
        if (signer == address(0)) {
            signer = row.voucher.channel.payer;
            signed = SignatureChecker.isValidSignatureNowCalldata(signer, digest, row.signature);
        } else {
            (address recovered,,) = ECDSA.tryRecoverCalldata(digest, row.signature);
            signed = recovered == signer;
        }
        if (!signed) revert BadSignature(signer);
        // Effect:
        channel.totals = totals(balance, claimed);
        // Unchecked: it was compared above.
        unchecked {
            amount = claimed - before;
        }
        emit Claimed(id, msg.sender, uint128(amount), uint128(claimed));
    }

    function _count(address receiver, address token, uint256 claimed) private {
        if (claimed == 0) return;
        Slot storage of_ = _receivers[receiver][token];
        claimed += of_.totals.whole();
        // No coin has so many; a made-up one may say so, and harms its own channels alone.
        if (claimed > type(uint128).max) revert TooMuch(type(uint128).max, uint128(of_.totals.whole()));
        of_.totals = totals(claimed, of_.totals.part());
    }

    /// @inheritdoc IChannels
    function settle(address receiver, address token) external nonReentrant {
        Slot storage of_ = _receivers[receiver][token];
        uint128 amount = uint128(of_.totals.left());
        if (amount == 0) return;
        // Effect:
        of_.totals = totals(of_.totals.whole(), of_.totals.whole());
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
        uint128 unclaimed = uint128(_channels[id].totals.left());
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
        bytes memory frame = _frame();
        bytes32 id = _channelId(frame, config);
        // Check:
        uint256 next = refundNonce[id];
        if (nonce != next) revert WrongNonce(nonce, next);
        address signer = config.receiverAuthorizer;
        bytes32 digest = _refundDigest(frame, id, nonce, amount);
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
        Slot storage channel = _channels[id];
        uint128 unclaimed = uint128(channel.totals.left());
        amount = most < unclaimed ? most : unclaimed;
        if (amount == 0) return 0;
        uint256 balance = channel.totals.whole() - amount;
        channel.totals = totals(balance, channel.totals.part());
        if (balance == 0) emit ChannelClosed(id, config);
    }

    // ---- who

    function _checkReceiver(bytes32 id, ChannelConfig calldata config) private view {
        bool may = msg.sender == config.receiver || msg.sender == config.receiverAuthorizer;
        if (!may) revert NotReceiver(id, msg.sender);
    }

    function _checkPayer(bytes32 id, ChannelConfig calldata config) private view {
        bool may = msg.sender == config.payer || msg.sender == config.payerAuthorizer;
        if (!may) revert NotPayer(id, msg.sender);
    }

    // ---- what there is

    /// @inheritdoc IChannels
    function channels(bytes32 channelId) external view returns (uint128 balance, uint128 totalClaimed) {
        Totals of_ = _channels[channelId].totals;
        return (uint128(of_.whole()), uint128(of_.part()));
    }

    /// @inheritdoc IChannels
    function receivers(address receiver, address token)
        external
        view
        returns (uint128 totalClaimed, uint128 totalSettled)
    {
        Totals of_ = _receivers[receiver][token].totals;
        return (uint128(of_.whole()), uint128(of_.part()));
    }

    // ---- what is signed

    /// @inheritdoc IChannels
    function getChannelId(ChannelConfig calldata config) public view returns (bytes32) {
        return _channelId(_frame(), config);
    }

    /// @inheritdoc IChannels
    function getVoucherDigest(bytes32 channelId, uint128 maxClaimableAmount) external view returns (bytes32) {
        return _voucherDigest(_frame(), channelId, maxClaimableAmount);
    }

    /// @inheritdoc IChannels
    function getRefundDigest(bytes32 channelId, uint256 nonce, uint128 amount) external view returns (bytes32) {
        return _refundDigest(_frame(), channelId, nonce, amount);
    }

    /// @inheritdoc IChannels
    function getClaimBatchDigest(VoucherClaim[] calldata voucherClaims) external view returns (bytes32) {
        return _claimBatchDigest(_frame(), voucherClaims);
    }

    /// EIP-712: two bytes, the domain, and room for what is signed, so that many things can be hashed one by one.
    function _frame() private view returns (bytes memory) {
        bytes32 domain = keccak256(
            abi.encode(
                DOMAIN_TYPEHASH, keccak256("x402 Batch Settlement"), keccak256("1"), block.chainid, address(this)
            )
        );
        return abi.encodePacked(hex"1901", domain, bytes32(0));
    }

    function _typed(bytes memory frame, bytes32 structHash) private pure returns (bytes32 digest) {
        assembly ("memory-safe") {
            mstore(add(frame, 66), structHash)
            digest := keccak256(add(frame, 32), 66)
        }
    }

    function _channelId(bytes memory frame, ChannelConfig calldata config) private pure returns (bytes32 id) {
        bytes32 typehash = CHANNEL_CONFIG_TYPEHASH;
        assembly ("memory-safe") {
            let data := mload(0x40)
            mstore(data, typehash)
            calldatacopy(add(data, 32), config, 224)
            id := keccak256(data, 256)
        }
        return _typed(frame, id);
    }

    function _voucherDigest(bytes memory frame, bytes32 id, uint256 ceiling) private pure returns (bytes32 digest) {
        bytes32 typehash = VOUCHER_TYPEHASH;
        assembly ("memory-safe") {
            let data := mload(0x40)
            mstore(data, typehash)
            mstore(add(data, 32), id)
            mstore(add(data, 64), ceiling)
            digest := keccak256(data, 96)
        }
        return _typed(frame, digest);
    }

    function _refundDigest(bytes memory frame, bytes32 id, uint256 nonce, uint128 amount) private pure returns (bytes32) {
        return _typed(frame, keccak256(abi.encode(REFUND_TYPEHASH, id, nonce, amount)));
    }

    function _claimBatchDigest(bytes memory frame, VoucherClaim[] calldata rows) private pure returns (bytes32) {
        bytes32[] memory entries = new bytes32[](rows.length);
        for (uint256 i = 0; i < rows.length; ++i) {
            VoucherClaim calldata row = rows[i];
            bytes32 id = _channelId(frame, row.voucher.channel);
            entries[i] = keccak256(
                abi.encode(CLAIM_ENTRY_TYPEHASH, id, row.voucher.maxClaimableAmount, row.totalClaimed)
            );
        }
        bytes32 claims = keccak256(abi.encodePacked(entries));
        return _typed(frame, keccak256(abi.encode(CLAIM_BATCH_TYPEHASH, claims)));
    }
}
