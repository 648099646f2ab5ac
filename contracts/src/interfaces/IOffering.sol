// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Bid} from "../units/Bid.sol";
import {BidId} from "../units/BidId.sol";
import {Schedule} from "../units/Schedule.sol";
import {ICredit} from "./ICredit.sol";
import {ITreasury} from "./ITreasury.sol";

/// How a round sells. Private settles as Fixed does; it is offered differently.
enum Kind {
    Fixed,
    Private,
    Auction,
    Rising
}

/// Open: until cleared in full, whether or not bids are still taken. Clearing: begun in pieces. Cleared: for good.
enum Status {
    Open,
    Clearing,
    Cleared
}

/// An attester's word that this entity may bid with this wallet, within these limits, under these terms. Numbers have no
/// narrower type, for that would be checked at every look, and most are only compared.
struct PurchasePermit {
    /// Who buys: the same number, of 64 bits, in every round and from every attester.
    uint256 entity;
    address wallet;
    uint256 round;
    /// Least and most cash of the entity in this round.
    uint256 minCash;
    uint256 maxCash;
    /// Most cash of the entity over all rounds; 2⁶⁰ − 1 or more: no such limit.
    uint256 maxTotal;
    /// Ticks of an auction, or windows of a rising round, in which it may bid, both included.
    uint256 first;
    uint256 last;
    uint256 notBefore;
    uint256 expiry;
    /// ISO 3166-1 alpha-2, its two letters in 16 bits; 0: not stated.
    uint256 jurisdiction;
    uint256 lockClass;
    bool affiliate;
    bool coolingOff;
    /// The attester's current generation; an older one is void.
    uint256 generation;
    bytes32 termsHash;
}

/// A round as the constructor is told it.
struct RoundSetup {
    Kind kind;
    bool firstCome;
    uint8 coolingOffDays;
    /// A round whose proceeds count as sold before this one, or 255.
    uint8 follows;
    /// Ticks of an auction, windows of a rising round, else 1.
    uint16 ticks;
    /// Bit i: schedule i may be chosen.
    uint16 schedules;
    uint40 open;
    uint40 close;
    uint24 pauseLimit;
    uint96 supply;
    /// Fixed: the price. Auction: of tick 0.
    uint64 price;
    uint64 step;
    uint32 windowSecs;
    uint64 windowCap;
    uint64 cap;
    uint64 start;
    uint64 withdrawableMost;
    address ladder;
}

/// A round as it is kept, seven slots.
struct Round {
    // slot 0: all that bidding and settling need
    Kind kind;
    Status status;
    bool firstCome;
    uint8 coolingOffDays;
    uint8 follows;
    /// Auction, cleared: tick `wholeFrom − 1` is pro rata; else it and all below lost.
    bool marginal;
    uint16 ticks;
    uint16 schedules;
    /// Auction, cleared: from this tick up bids are filled whole.
    uint16 wholeFrom;
    uint40 open;
    uint40 close;
    uint40 pausedUntil;
    uint24 pauseLeft;
    // slot 1
    uint96 supply;
    uint64 price;
    uint64 step;
    uint32 windowSecs;
    // slot 2
    address ladder;
    uint64 windowCap;
    // slot 3
    uint64 cap;
    uint64 start;
    uint64 withdrawableMost;
    uint64 withdrawable;
    // slot 4: where clearing stands, and what the round sold for. Auction: the lowest tick seen, cash and weight from it up.
    // Rising: the next window, the ladder's knot, weight at the start and sold so far (start included).
    uint16 cursor;
    uint16 knot;
    uint64 cashAbove;
    uint64 weightAbove;
    uint64 proceeds;
    // slot 5: what roundings of refunds left over, what of it and of proceeds went to the treasury
    uint64 dust;
    uint64 swept;
    uint64 affiliatePaid;
    uint24 affiliatesLeft;
    // slot 6
    uint96 sold;
    uint96 delivered;
    uint40 clearedAt;
}

/// Bids that pay one price and are cut alike: a fixed round, a window; of a cleared auction 0xffff, all above the
/// marginal tick, and 0xfffe, that tick (the book itself has cash and weight of a tick only, see units/Ticks.sol).
struct Bucket {
    // slot 0
    uint64 cash;
    uint64 weight;
    uint96 sold;
    /// All cash was used: slot 1 is empty.
    bool whole;
    // slot 1: only for a bucket cut pro rata, or with late withdrawals
    uint64 used;
    /// Bids' cash and refunds that have not been pulled; what is left once cash is 0 is dust.
    uint64 cashLeft;
    uint64 refundsLeft;
    /// Withdrawn after the window had ended, so that its price stands; the weight is in slot 2.
    uint64 withdrawnCash;
    uint64 withdrawnWeight;
}

/// What a settled bid became.
struct Position {
    uint96 credits;
    uint96 delivered;
    /// Rounded down, so that the sum over a round never exceeds its proceeds.
    uint64 paid;
}

/// Live (subject 0) or a milestone (1 and up), as attested.
struct Attestation {
    /// When it takes effect, unless objected to before; 0: not attested.
    uint40 effectiveAt;
    uint8 objections;
}

/// Everything fixed at deployment.
struct OfferingSetup {
    IERC20 cash;
    ICredit credit;
    ITreasury treasury;
    address vault;
    address issuer;
    address certifier;
    address guardian;
    bytes32 termsHash;
    uint64 softCap;
    uint40 softCapDate;
    uint40 deadline;
    uint32 notice;
    uint8 objections;
    uint8 milestones;
    /// Sixteen discounts of 16 bits in basis points, by schedule.
    uint256 discounts;
    /// Sixteen locks of 16 bits in days, by lock class.
    uint256 locks;
    Schedule[] schedules;
    address[] attesters;
    RoundSetup[] rounds;
}

/// Rounds, bids, clearing, positions and delivery. Holds the cash of bids until it is refunded or swept into the
/// treasury; no one, the issuer included, can take it any other way.
interface IOffering {
    event AttesterChanged(address indexed attester, uint32 generation);
    /// A bid was placed or raised: its slot as it stands now (see units/Bid.sol).
    event BidPlaced(BidId indexed id, Bid slot, uint256 jurisdiction);
    event BidWithdrawn(BidId indexed id, uint256 cash, address payee);
    event CoolingOffLapsed(BidId indexed id);
    event Paused(uint256 indexed round, uint256 until);
    /// A piece of clearing ended here: at this tick of an auction, or before this window.
    event ClearingAdvanced(uint256 indexed round, uint256 cursor);
    event Cleared(uint256 indexed round, uint256 sold, uint256 proceeds);
    event WindowCleared(uint256 indexed round, uint256 indexed window, uint256 sold, uint256 used);
    event Settled(BidId indexed id, uint256 credits, uint256 paid, uint256 refund);
    event Refunded(BidId indexed id, uint256 cash, address payee);
    event Swept(uint256 indexed round, uint256 cash);
    event Attested(uint256 indexed subject, bytes32 evidence, uint256 effectiveAt);
    event Objected(uint256 indexed subject);
    event Delivered(BidId indexed id, uint256 credits, address to);

    error BadSetup(uint256 place);
    error NotIssuer(address caller);
    error NotGuardian(address caller);
    error NotCertifier(address caller);
    error NotOwner(BidId id, address caller);
    error NoSuchRound(uint256 round);
    error NotOpen(uint256 round, uint256 from, uint256 to, uint256 time);
    error BidsPaused(uint256 round, uint256 until);
    error PauseTooLong(uint256 asked, uint256 left);
    error NotPermitted(address caller, address wallet);
    error NoSuchEntity(uint256 entity);
    error OtherTerms(bytes32 signed, bytes32 terms);
    error PermitNotValidNow(uint256 notBefore, uint256 expiry, uint256 time);
    error OldGeneration(address attester, uint256 signed, uint256 current);
    error OutsidePermit(uint256 asked, uint256 first, uint256 last);
    error OutsideLimits(uint256 cash, uint256 least, uint256 most);
    error OverTotal(uint256 cash, uint256 most);
    error AffiliateCoolingOff();
    error NoSuchTick(uint256 tick, uint256 ticks);
    error ScheduleNotOffered(uint256 schedule);
    error NoSuchLockClass(uint256 lockClass);
    error OnlyUp(uint256 cash, uint256 tick, uint256 cashNow, uint256 tickNow);
    error OtherWallet(address caller, address wallet);
    error BidChanged(BidId id);
    error Withdrawn(BidId id);
    error SoldOut(uint256 credits, uint256 supply);
    error TooMuchWithdrawable(uint256 cash, uint256 most);
    error WrongCash(uint256 received, uint256 expected);
    error EscrowFull(uint256 cash);
    error NoBid(BidId id);
    error NoCoolingOff(BidId id);
    error CoolingOffOver(BidId id, uint256 since);
    error CoolingOffNotOver(BidId id, uint256 until);
    error TooEarlyToClear(uint256 round, uint256 from);
    error AlreadyCleared(uint256 round);
    error NotCleared(uint256 round);
    error Failed();
    error AlreadySettled(BidId id);
    error NothingToRefund(BidId id);
    error SoftCapNotMet(uint256 proceeds, uint256 softCap);
    error NothingToSweep(uint256 round);
    error NoSuchSubject(uint256 subject);
    error AlreadyAttested(uint256 subject, uint256 effectiveAt);
    error AfterDeadline(uint256 effectiveAt, uint256 deadline);
    error NothingToObject(uint256 subject);
    error NoObjectionsLeft(uint256 subject);
    error NotLive();
    error NothingToDeliver(BidId id);

    /// Adds, renews or (generation 0) removes an attester. Generations only rise; older permits are void.
    function setAttester(address attester, uint32 generation) external;

    /// Guardian: no bids in this round for so many seconds; its end moves by as much. 0 ends a pause early.
    function pause(uint256 round, uint256 secs) external;

    /// Several calls of one sender in one transaction, all or none.
    function multicall(bytes[] calldata calls) external;

    /// An ERC-2612 signature in place of an approval, for a `bid` in the same `multicall`. A refusal by the coin is passed
    /// over: whoever saw the signature may have used it first, and what counts is the allowance.
    /// @param args The encoded arguments of the coin's `permit`, which anyone may send.
    function permitCash(bytes calldata args) external;

    /// Places a bid of `cash` in all, or raises it to that; cash and tick only rise. The caller is the wallet.
    /// @param tick The limit in an auction, 0 elsewhere.
    /// @param schedule How the position shall vest.
    function bid(
        uint256 cash,
        uint256 tick,
        uint256 schedule,
        PurchasePermit calldata permit,
        bytes calldata signature
    ) external;

    /// Takes a whole bid back in its cooling-off; it bars the entity from the round.
    function withdraw(BidId id, address payee) external;

    /// Anyone: a bid whose cooling-off is over no longer counts as withdrawable.
    function lapse(BidId id) external;

    /// Anyone, from `clearableAt` on: looks at up to `steps` ticks with bids, or windows, and goes on there next time.
    function clear(uint256 round, uint256 steps) external;

    /// Anyone: makes the position of a bid in a cleared round.
    function settle(BidId id) external;

    /// Anyone: pays to the wallet what a bid gets back: what was not used, or all of it if the soft cap was missed.
    function refund(BidId id) external;

    /// The same to another payee, by the wallet itself or with its signature (EIP-712 `Payout`).
    function refundTo(BidId id, address payee, uint256 expiry, bytes calldata signature) external;

    /// Anyone, once the soft cap is met: moves a cleared round's proceeds into its pot of the treasury.
    function sweep(uint256 round) external;

    /// Certifier: this milestone is reached (subject 1 and up), or the service is live (0).
    /// @param evidence Hash of what shows it.
    function attest(uint256 subject, bytes32 evidence) external;

    /// Guardian, before it takes effect: no.
    function object(uint256 subject) external;

    /// The owner: mints what has vested, to the wallet or, while locked, to the position's vault.
    function deliver(BidId id) external;

    /// The same for the owner, with its signature (EIP-712 `Deliver`), good for this one delivery.
    function deliverFor(BidId id, uint256 expiry, bytes calldata signature) external;

    function getRound(uint256 round) external view returns (Round memory);
    function getBucket(uint256 round, uint256 index) external view returns (Bucket memory);
    function getBid(BidId id) external view returns (Bid);
    function getPosition(BidId id) external view returns (Position memory);
    function getAttestation(uint256 subject) external view returns (Attestation memory);
    function generationOf(address attester) external view returns (uint32);

    /// Undelivered and delivered credits of a class, and what affiliates paid, for the treasury.
    function classOf(uint256 round)
        external
        view
        returns (uint256 sold, uint256 delivered, uint256 proceeds, uint256 affiliatePaid, uint256 affiliatesLeft);

    /// First second at which a round may be cleared.
    function clearableAt(uint256 round) external view returns (uint256);

    /// The soft cap was missed: everything goes back.
    function failed() external view returns (bool);

    /// Whether a subject was attested and its notice has passed without objection.
    function isEffective(uint256 subject) external view returns (bool);

    /// Where locked credits of a position go.
    function vaultOf(BidId id) external view returns (address);
}
