// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {BidId} from "../units/BidId.sol";
import {IOffering} from "./IOffering.sol";

/// What the tap may have released in all once its subject is attested: 0 live, 1 and up milestones.
struct Ceiling {
    uint64 cash;
    /// A milestone that counts before the service is live.
    bool beforeLive;
}

/// Everything fixed at deployment.
struct TreasurySetup {
    IERC20 cash;
    IOffering offering;
    address issuer;
    /// What backers' votes would act through; zero: this deployment has no votes, ever.
    address votes;
    uint40 deadline;
    /// When the tap starts counting; 0: once the service is live.
    uint40 tapStart;
    uint64 tapPerSec;
    uint64 ceilingAtStart;
    uint8 classes;
    /// Live first, then the milestones.
    Ceiling[] ceilings;
}

/// Holds proceeds, one pot a round (a class), and the circulating pot behind credits already delivered. The tap
/// releases by the second up to a ceiling; past the deadline without a live service every pot goes back to backers.
interface ITreasury {
    event Deposited(uint256 indexed class, uint256 cash);
    event Drawn(uint256 cash, address to);
    event Synced(uint256 indexed class, uint256 moved);
    event PotRefunded(BidId indexed id, uint256 cash, address payee);

    error BadSetup(uint256 place);
    error NotIssuer(address caller);
    error NotOffering(address caller);
    error CashMissing(uint256 held, uint256 owed);
    error PastDeadline(uint256 deadline);
    error NotRefunding();
    error OverTap(uint256 asked, uint256 available);
    error OverPots(uint256 asked, uint256 held);
    error NothingToDraw();
    error AffiliatesUnsettled(uint256 left);
    error NotSettled(BidId id);
    error NothingToRefund(BidId id);

    /// Offering: cash of this class has arrived. Its pot shares it with the circulating pot by what was synced before.
    function deposit(uint256 class, uint256 cash) external;

    /// Anyone: on delivery of Δ, `floor(pot × Δ ÷ undelivered)` moves to the circulating pot. Draws do it first.
    function sync() external;

    /// Issuer: takes from all pots in proportion, circulating included, at most what the tap has released.
    function draw(uint256 cash, address to) external;

    /// Anyone, past the deadline without a live service: pays a position its share of its class's pot, to its wallet.
    /// Shares are by cash paid; affiliates get what is left once all others could have all they paid.
    function refund(BidId id) external;

    /// The same to another payee, by the wallet itself or with its signature (EIP-712 `Payout`).
    function refundTo(BidId id, address payee, uint256 expiry, bytes calldata signature) external;

    /// What the tap may have paid in all by now.
    function released() external view returns (uint256);

    /// The deadline has passed and the service is not live.
    function refunding() external view returns (bool);

    /// What a settled position could take from its pot now, were it refunding.
    function refundOf(BidId id) external view returns (uint256);

    function pot(uint256 class) external view returns (uint256);
    function circulating() external view returns (uint256);
    function tapPaid() external view returns (uint256);
    function refundsPaid() external view returns (uint256);
    function votes() external view returns (address);
}
