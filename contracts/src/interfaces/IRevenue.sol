// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ChannelConfig, VoucherClaim} from "./IChannels.sol";

/// Keys of the gateway, apart from each other so that each can lie where it is needed and be changed alone.
enum Role {
    Claimer,
    Refunder,
    Publisher,
    /// Signs receipts, which no contract reads: clients find the address here.
    ReceiptSigner
}

/// Everything fixed at deployment, and who holds the roles at first.
struct RevenueSetup {
    address issuer;
    address credit;
    address cash;
    address channels;
    /// Most of what is settled that may go to providers, in hundredths of a percent.
    uint16 share;
    address[4] roles;
}

/// One coin's last statement, and what was paid by it.
struct Statement {
    /// Of the tree over (provider, cumulative pay).
    bytes32 root;
    uint128 pay;
    uint128 paid;
    uint128 settled;
    /// What is not pay, as far as it was burned or sent to the issuer.
    uint128 rest;
    uint32 number;
}

/// Receiver and receiverAuthorizer of every channel that pays for the service. What channels settle to it is split by
/// numbered cumulative statements: providers' pay, and the rest, which is burned where it is credits and goes to the
/// issuer where it is cash (PAY-1). Nobody's key can send coins anywhere else.
interface IRevenue {
    event Rotated(Role indexed role, address holder);
    event Published(
        address indexed coin, uint32 indexed number, uint128 settled, uint128 pay, bytes32 root, bytes32 document
    );
    event Paid(address indexed coin, address indexed provider, uint128 amount, uint128 cumulative);

    error BadSetup(uint256 place);
    error NotIssuer(address caller);
    error NotInRole(Role role, address caller);
    error UnknownCoin(address coin);
    error WrongNumber(uint32 number, uint32 next);
    error OverSettled(uint128 asked, uint128 settled);
    error OverShare(uint128 pay, uint128 most);
    /// One of settled, pay and rest would be less than in the statement before.
    error Falls(uint128 now_, uint128 before);
    error BadProof(address provider, uint128 cumulative);
    error NothingToPay(address provider, uint128 paid);
    /// The root promises more than the statement says is pay.
    error OverPay(uint128 asked, uint128 left);

    /// Claimer: claims these rows of the channels, in credits and cash only, and settles each coin that they are in.
    function claim(VoucherClaim[] calldata voucherClaims) external;

    /// Refunder: gives what is not claimed back to a channel's payer.
    function refund(ChannelConfig calldata config, uint128 amount) external;

    /// Publisher: the next statement of a coin. All amounts are totals since the beginning and never fall.
    /// @param number One more than the last.
    /// @param settled How much of what the channels have settled is split by it.
    /// @param pay Of that, providers' pay; at most the share, rounded down.
    /// @param root Of the tree over (provider, cumulative pay), as OpenZeppelin's library has it.
    /// @param document Hash of the file from which anyone can make the root again.
    function publish(address coin, uint32 number, uint128 settled, uint128 pay, bytes32 root, bytes32 document) external;

    /// Anyone: pays a provider what the last statement says and it has not had yet.
    function claimPay(address coin, address provider, uint128 cumulative, bytes32[] calldata proof) external;

    /// Issuer: gives a role to another key.
    function rotate(Role role, address holder) external;

    function role(Role which) external view returns (address);
    function statement(address coin)
        external
        view
        returns (uint32 number, uint128 settled, uint128 pay, uint128 paid, bytes32 root);
    /// What a provider has had in all.
    function paidTo(address coin, address provider) external view returns (uint128);
    /// The part of the statement's rest that has left already; less than all of it only where the issuer cannot take cash.
    function restPaid(address coin) external view returns (uint128);
}
