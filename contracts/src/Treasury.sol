// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {IOffering, Position} from "./interfaces/IOffering.sol";
import {Ceiling, ITreasury, TreasurySetup} from "./interfaces/ITreasury.sol";
import {Signed} from "./Signed.sol";
import {AFFILIATE, Bid} from "./units/Bid.sol";
import {BidId} from "./units/BidId.sol";

/// Σ pots + tap paid + refunds = proceeds, to the unit, at every step (HOLD-1).
contract Treasury is ITreasury, Signed, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    IERC20 public immutable cash;
    IOffering public immutable offering;
    address public immutable issuer;
    /// @inheritdoc ITreasury
    address public immutable votes;
    uint256 public immutable deadline;
    uint256 public immutable tapStart;
    uint256 public immutable tapPerSec;
    uint256 public immutable ceilingAtStart;
    uint256 public immutable classes;

    /// A class's money, in two slots.
    struct Pot {
        uint128 cash;
        /// All that refunds of this class have paid, so that shares are of a total that never shrinks.
        uint128 refunded;
        /// Delivered credits that have moved their share already.
        uint256 delivered;
    }

    mapping(uint256 class => Pot) private _pots;
    mapping(BidId => uint256) private _refunded;
    Ceiling[] private _ceilings;
    /// @inheritdoc ITreasury
    uint256 public circulating;
    /// @inheritdoc ITreasury
    uint256 public tapPaid;
    /// @inheritdoc ITreasury
    uint256 public refundsPaid;

    constructor(TreasurySetup memory setup) EIP712("Earnest Treasury", "1") {
        cash = setup.cash;
        offering = setup.offering;
        issuer = setup.issuer;
        votes = setup.votes;
        deadline = setup.deadline;
        tapStart = setup.tapStart;
        tapPerSec = setup.tapPerSec;
        ceilingAtStart = setup.ceilingAtStart;
        classes = setup.classes;
        if (setup.ceilings.length == 0 || setup.ceilings.length > 9) revert BadSetup(0);
        for (uint256 i = 0; i < setup.ceilings.length; ++i) {
            _ceilings.push(setup.ceilings[i]);
        }
    }

    /// @inheritdoc ITreasury
    function deposit(uint256 class, uint256 amount) external {
        if (msg.sender != address(offering)) revert NotOffering(msg.sender);
        uint256 owed = circulating + amount;
        for (uint256 i = 0; i < classes; ++i) {
            owed += _pots[i].cash;
        }
        uint256 held = cash.balanceOf(address(this));
        if (held < owed) revert CashMissing(held, owed);
        Pot storage pot_ = _pots[class];
        uint256 part;
        uint256 seen = pot_.delivered;
        // What is swept late stands behind the credits that were delivered before, as if it had been here then.
        if (seen != 0) {
            (uint256 sold,,,,) = offering.classOf(class);
            part = amount * seen / sold;
            circulating += part;
            emit Synced(class, part);
        }
        pot_.cash += uint128(amount - part);
        emit Deposited(class, amount);
    }

    /// @inheritdoc ITreasury
    function sync() public {
        uint256 moved;
        for (uint256 i = 0; i < classes; ++i) {
            (uint256 sold, uint256 delivered,,,) = offering.classOf(i);
            Pot storage pot_ = _pots[i];
            uint256 seen = pot_.delivered;
            if (delivered == seen) continue;
            // Down: what rounding leaves stays behind the credits still to be delivered.
            uint256 part = uint256(pot_.cash) * (delivered - seen) / (sold - seen);
            pot_.delivered = delivered;
            pot_.cash -= uint128(part);
            moved += part;
            emit Synced(i, part);
        }
        if (moved != 0) circulating += moved;
    }

    /// @inheritdoc ITreasury
    function draw(uint256 amount, address to) external nonReentrant {
        if (msg.sender != issuer) revert NotIssuer(msg.sender);
        if (refunding()) revert PastDeadline(deadline);
        if (amount == 0) revert NothingToDraw();
        uint256 available = released() - tapPaid;
        if (amount > available) revert OverTap(amount, available);
        sync();
        uint256 held = circulating;
        for (uint256 i = 0; i < classes; ++i) {
            held += _pots[i].cash;
        }
        if (amount > held) revert OverPots(amount, held);
        // Effect: each pot in turn gives floor(rest × pot ÷ rest of pots); the last, circulating, gives the remainder.
        tapPaid += amount;
        uint256 rest = amount;
        for (uint256 i = 0; i < classes; ++i) {
            uint256 inPot = _pots[i].cash;
            if (inPot == 0) continue;
            uint256 part = rest * inPot / held;
            _pots[i].cash = uint128(inPot - part);
            rest -= part;
            held -= inPot;
        }
        if (rest != 0) circulating -= rest;
        emit Drawn(amount, to);
        // Interaction:
        cash.safeTransfer(to, amount);
    }

    /// @inheritdoc ITreasury
    function refund(BidId id) external nonReentrant {
        _refund(id, offering.getBid(id).wallet());
    }

    /// @inheritdoc ITreasury
    function refundTo(BidId id, address payee, uint256 expiry, bytes calldata signature) external nonReentrant {
        _checkPayout(id, offering.getBid(id).wallet(), payee, expiry, signature);
        _refund(id, payee);
    }

    function _refund(BidId id, address payee) private {
        if (!refunding()) revert NotRefunding();
        uint256 amount = refundOf(id);
        if (amount == 0) revert NothingToRefund(id);
        Pot storage pot_ = _pots[id.round()];
        pot_.cash -= uint128(amount);
        pot_.refunded += uint128(amount);
        _refunded[id] += amount;
        refundsPaid += amount;
        emit PotRefunded(id, amount, payee);
        // Interaction:
        cash.safeTransfer(payee, amount);
    }

    /// @inheritdoc ITreasury
    function refundOf(BidId id) public view returns (uint256) {
        Position memory position = offering.getPosition(id);
        uint256 paid = position.paid;
        if (paid == 0) return 0;
        (,, uint256 proceeds, uint256 affiliatePaid, uint256 affiliatesLeft) = offering.classOf(id.round());
        if (affiliatesLeft != 0) revert AffiliatesUnsettled(affiliatesLeft);
        Pot storage pot_ = _pots[id.round()];
        // Shares are of all the class ever had to refund, so that the order of refunds does not matter, and a late
        // sweep reaches those who were refunded before it.
        uint256 all = uint256(pot_.cash) + pot_.refunded;
        uint256 othersPaid = proceeds - affiliatePaid;
        uint256 share;
        if (offering.getBid(id).has(AFFILIATE)) {
            uint256 left = all > othersPaid ? all - othersPaid : 0;
            share = left * paid / affiliatePaid;
        } else {
            share = (all < othersPaid ? all : othersPaid) * paid / othersPaid;
        }
        // Dust may make a pot larger than what was paid.
        if (share > paid) share = paid;
        return share - _refunded[id];
    }

    /// @inheritdoc ITreasury
    function released() public view returns (uint256) {
        bool live = offering.isEffective(0);
        uint256 start = tapStart;
        if (start == 0) {
            if (!live) return 0;
            start = offering.getAttestation(0).effectiveAt;
        }
        if (block.timestamp < start) return 0;
        uint256 most = ceilingAtStart;
        for (uint256 i = 0; i < _ceilings.length; ++i) {
            Ceiling memory ceiling = _ceilings[i];
            if (ceiling.cash <= most || !(live || ceiling.beforeLive)) continue;
            if (offering.isEffective(i)) most = ceiling.cash;
        }
        uint256 accrued = tapPerSec * (block.timestamp - start);
        return accrued < most ? accrued : most;
    }

    /// @inheritdoc ITreasury
    function refunding() public view returns (bool) {
        return block.timestamp >= deadline && !offering.isEffective(0);
    }

    /// @inheritdoc ITreasury
    function pot(uint256 class) external view returns (uint256) {
        return _pots[class].cash;
    }
}
