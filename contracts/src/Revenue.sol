// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ERC20Burnable} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Burnable.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";

import {ChannelConfig, IChannels, VoucherClaim} from "./interfaces/IChannels.sol";
import {IRevenue, RevenueSetup, Role, Statement} from "./interfaces/IRevenue.sol";

/// Of each coin: paid ≤ pay, rest paid ≤ settled − pay, settled ≤ what came from the channels (PAY-1).
contract Revenue is IRevenue {
    using SafeERC20 for IERC20;

    address public immutable issuer;
    address public immutable credit;
    address public immutable cash;
    IChannels public immutable channels;
    /// Most of what is settled that may go to providers, in hundredths of a percent.
    uint256 public immutable share;

    /// @inheritdoc IRevenue
    mapping(Role => address) public role;
    mapping(address coin => Statement) private _statements;
    /// @inheritdoc IRevenue
    mapping(address coin => mapping(address provider => uint128)) public paidTo;

    constructor(RevenueSetup memory setup) {
        if (setup.share > 10_000) revert BadSetup(0);
        if (setup.credit == setup.cash) revert BadSetup(1);
        issuer = setup.issuer;
        credit = setup.credit;
        cash = setup.cash;
        channels = IChannels(setup.channels);
        share = setup.share;
        for (uint256 i = 0; i < 4; ++i) {
            _give(Role(i), setup.roles[i]);
        }
    }

    // ---- channels

    /// @inheritdoc IRevenue
    function claim(VoucherClaim[] calldata voucherClaims) external {
        // Check:
        _check(Role.Claimer);
        (bool credits, bool cashes) = (false, false);
        for (uint256 i = 0; i < voucherClaims.length; ++i) {
            address coin;
            // The token of row i's channel, unchecked: what is no row there, the channels refuse.
            assembly ("memory-safe") {
                let rows := voucherClaims.offset
                coin := calldataload(add(add(rows, calldataload(add(rows, shl(5, i)))), 128))
            }
            if (coin == credit) credits = true;
            else if (coin == cash) cashes = true;
            else revert UnknownCoin(coin);
        }
        // Interaction: `claim` has the same name and arguments there, so what was said here is passed on as it came.
        address to = address(channels);
        assembly ("memory-safe") {
            let data := mload(0x40)
            calldatacopy(data, 0, calldatasize())
            if iszero(call(gas(), to, 0, data, calldatasize(), 0, 0)) {
                returndatacopy(data, 0, returndatasize())
                revert(data, returndatasize())
            }
        }
        if (credits) channels.settle(address(this), credit);
        if (cashes) channels.settle(address(this), cash);
    }

    /// @inheritdoc IRevenue
    function refund(ChannelConfig calldata config, uint128 amount) external {
        _check(Role.Refunder);
        channels.refund(config, amount);
    }

    // ---- statements

    /// @inheritdoc IRevenue
    function publish(address coin, uint32 number, uint128 settled, uint128 pay, bytes32 root, bytes32 document)
        external
    {
        // Check:
        _check(Role.Publisher);
        if (coin != credit && coin != cash) revert UnknownCoin(coin);
        Statement storage last = _statements[coin];
        if (number != last.number + 1) revert WrongNumber(number, last.number + 1);
        (, uint128 most) = channels.receivers(address(this), coin);
        if (settled > most) revert OverSettled(settled, most);
        // Down: what rounding leaves is rest.
        most = uint128(uint256(settled) * share / 10_000);
        if (pay > most) revert OverShare(pay, most);
        uint128 rest = settled - pay;
        if (settled < last.settled) revert Falls(settled, last.settled);
        if (pay < last.pay) revert Falls(pay, last.pay);
        if (rest < last.settled - last.pay) revert Falls(rest, last.settled - last.pay);
        // Effect:
        uint128 due = rest - last.rest;
        last.number = number;
        last.settled = settled;
        last.pay = pay;
        last.root = root;
        last.rest = rest;
        emit Published(coin, number, settled, pay, root, document);
        // Interaction:
        if (due == 0) return;
        if (coin == credit) {
            ERC20Burnable(coin).burn(due);
        } else if (!IERC20(coin).trySafeTransfer(issuer, due)) {
            // An issuer who cannot be paid does not keep providers from their pay: the next statement tries again.
            last.rest = rest - due;
        }
    }

    /// @inheritdoc IRevenue
    function claimPay(address coin, address provider, uint128 cumulative, bytes32[] calldata proof) external {
        Statement storage last = _statements[coin];
        // Check: hashed twice, so that no inner node of the tree passes for a leaf.
        bytes32 leaf = keccak256(bytes.concat(keccak256(abi.encode(provider, cumulative))));
        if (!MerkleProof.verifyCalldata(proof, last.root, leaf)) revert BadProof(provider, cumulative);
        uint128 before = paidTo[coin][provider];
        if (cumulative <= before) revert NothingToPay(provider, before);
        uint128 amount = cumulative - before;
        (uint128 pay, uint128 paid) = (last.pay, last.paid);
        if (amount > pay - paid) revert OverPay(amount, pay - paid);
        // Effect:
        paidTo[coin][provider] = cumulative;
        last.paid = paid + amount;
        emit Paid(coin, provider, amount, cumulative);
        // Interaction:
        IERC20(coin).safeTransfer(provider, amount);
    }

    /// @inheritdoc IRevenue
    function statement(address coin)
        external
        view
        returns (uint32 number, uint128 settled, uint128 pay, uint128 paid, bytes32 root)
    {
        Statement storage last = _statements[coin];
        return (last.number, last.settled, last.pay, last.paid, last.root);
    }

    /// @inheritdoc IRevenue
    function restPaid(address coin) external view returns (uint128) {
        return _statements[coin].rest;
    }

    // ---- roles

    /// @inheritdoc IRevenue
    function rotate(Role which, address holder) external {
        if (msg.sender != issuer) revert NotIssuer(msg.sender);
        _give(which, holder);
    }

    function _give(Role which, address holder) private {
        role[which] = holder;
        emit Rotated(which, holder);
    }

    function _check(Role which) private view {
        if (msg.sender != role[which]) revert NotInRole(which, msg.sender);
    }
}
