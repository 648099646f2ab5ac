// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// Identity of a channel: its EIP-712 hash is the channel's id, so nothing of it ever changes.
struct ChannelConfig {
    /// Whose coins they are: refunds and withdrawals go there and nowhere else.
    address payer;
    /// The plain key that signs vouchers; zero: the payer itself, by EIP-1271 if it is a contract.
    address payerAuthorizer;
    /// Whom the claimed coins go to.
    address receiver;
    /// Claims and refunds, by calling or by signature; never zero.
    address receiverAuthorizer;
    address token;
    /// Seconds between asking for a withdrawal and having it, in which vouchers can still be claimed.
    uint40 withdrawDelay;
    bytes32 salt;
}

/// What the payer's side signs: at most so much may be claimed from this channel, ever.
struct Voucher {
    ChannelConfig channel;
    uint128 maxClaimableAmount;
}

/// One row of a claim.
struct VoucherClaim {
    Voucher voucher;
    bytes signature;
    /// What will have been claimed from the channel in all; at most the voucher's ceiling.
    uint128 totalClaimed;
}

/// Payment channels by the x402 version 2 `batch-settlement` scheme: a payer deposits once, signs running totals off
/// chain, and the receiver claims the last of them, many channels at a time. Names, types and events are the scheme's.
interface IChannels {
    /// The first deposit into a channel that has nothing, and from which nothing was claimed.
    event ChannelCreated(bytes32 indexed channelId, ChannelConfig config);
    /// Everything went back before anything was claimed.
    event ChannelClosed(bytes32 indexed channelId, ChannelConfig config);
    event Deposited(bytes32 indexed channelId, address indexed sender, uint128 amount, uint128 newBalance);
    event Claimed(bytes32 indexed channelId, address indexed sender, uint128 claimAmount, uint128 newTotalClaimed);
    event Settled(address indexed receiver, address indexed token, address indexed sender, uint128 amount);
    event Refunded(bytes32 indexed channelId, address indexed sender, uint128 amount);
    event WithdrawInitiated(bytes32 indexed channelId, uint128 amount, uint40 finalizeAfter);
    event WithdrawFinalized(bytes32 indexed channelId, address indexed sender, uint128 amount);

    /// Field of the config, from 0, that no channel can have.
    error BadChannel(uint256 field);
    error ZeroAmount();
    /// The collector brought something else than it was asked for: it cheats, or the coin takes a fee.
    error WrongDeposit(uint256 arrived, uint256 asked);
    error NothingToClaim();
    error NotReceiver(bytes32 channelId, address caller);
    error NotPayer(bytes32 channelId, address caller);
    /// All rows of a signed batch must have one authorizer.
    error OtherAuthorizer(bytes32 channelId, address authorizer);
    error OverVoucher(bytes32 channelId, uint128 claimed, uint128 ceiling);
    error OverBalance(bytes32 channelId, uint128 claimed, uint128 balance);
    /// Neither this voucher, nor this batch or refund, was signed by whom the channel names.
    error BadSignature(address signer);
    error WrongNonce(uint256 nonce, uint256 next);
    error WithdrawalPending(uint128 amount, uint256 finalizeAfter);
    error NoWithdrawal(bytes32 channelId);
    error TooMuch(uint128 asked, uint128 unclaimed);
    error TooEarly(uint256 finalizeAfter);

    /// Anyone: brings `amount` into a channel by way of a collector, which knows how the payer agreed. Nothing of a
    /// collector is believed: what it brought is counted.
    function deposit(ChannelConfig calldata config, uint128 amount, address collector, bytes calldata collectorData)
        external;

    /// Receiver or receiverAuthorizer of every row: counts what was spent. A row that claims no more than was claimed
    /// before does nothing, so that batches may overlap.
    function claim(VoucherClaim[] calldata voucherClaims) external;

    /// Anyone with the receiverAuthorizer's signature over the batch (EIP-712 `ClaimBatch`).
    function claimWithSignature(VoucherClaim[] calldata voucherClaims, bytes calldata authorizerSignature) external;

    /// Anyone: moves all that was claimed for a receiver in a coin to it.
    function settle(address receiver, address token) external;

    /// Payer or payerAuthorizer: asks for what is not claimed, at most, after the channel's delay.
    function initiateWithdraw(ChannelConfig calldata config, uint128 amount) external;

    /// The same, once the delay is over: as much of it as is still not claimed goes to the payer.
    function finalizeWithdraw(ChannelConfig calldata config) external;

    /// Receiver or receiverAuthorizer: gives back what is not claimed, at most `amount`, to the payer.
    function refund(ChannelConfig calldata config, uint128 amount) external;

    /// Anyone with the receiverAuthorizer's signature over channel, nonce and amount (EIP-712 `Refund`).
    function refundWithSignature(
        ChannelConfig calldata config,
        uint128 amount,
        uint256 nonce,
        bytes calldata receiverAuthorizerSignature
    ) external;

    function getChannelId(ChannelConfig calldata config) external view returns (bytes32);
    function getVoucherDigest(bytes32 channelId, uint128 maxClaimableAmount) external view returns (bytes32);
    function getRefundDigest(bytes32 channelId, uint256 nonce, uint128 amount) external view returns (bytes32);
    function getClaimBatchDigest(VoucherClaim[] calldata voucherClaims) external view returns (bytes32);

    /// `balance`: deposited less what went back; `totalClaimed` of it is the receiver's.
    function channels(bytes32 channelId) external view returns (uint128 balance, uint128 totalClaimed);
    function pendingWithdrawals(bytes32 channelId) external view returns (uint128 amount, uint40 initiatedAt);
    function receivers(address receiver, address token)
        external
        view
        returns (uint128 totalClaimed, uint128 totalSettled);
    /// What the next signed refund must carry; every refund uses one up, even one that moves nothing.
    function refundNonce(bytes32 channelId) external view returns (uint256);
}
