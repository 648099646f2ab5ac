// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {
    Attestation,
    Bucket,
    IOffering,
    Kind,
    OfferingSetup,
    Position,
    PurchasePermit,
    Round,
    RoundSetup,
    Status
} from "./interfaces/IOffering.sol";
import {ICredit} from "./interfaces/ICredit.sol";
import {ITreasury} from "./interfaces/ITreasury.sol";
import {Schedules} from "./Schedules.sol";
import {Signed} from "./Signed.sol";
import {AFFILIATE, Bid, CASH_MAX, COOLING_OFF, packBid, REFUNDED, SETTLED} from "./units/Bid.sol";
import {BidId, bidId, TOTAL} from "./units/BidId.sol";
import {Head, headOf, outside} from "./units/Head.sol";
import {creditsAt, knot, lastWeight} from "./units/Ladder.sol";
import {creditsFor, need, proRata} from "./units/Prices.sol";
import {Ticks} from "./units/Ticks.sol";

/// Where a walk down an auction's book is: the word of its bitmap and the pair of ticks that were read last.
struct Walk {
    uint256 word;
    uint256 slots;
    uint256 place;
    Ticks pair;
}

/// One settlement rule for every kind of round: a bucket holds the cash bid C, its weight W, the credits sold T and
/// the cash used U; a bid b of weight w in it gets floor(w·T/W) credits, and floor(b·(C−U)/C) back.
contract Offering is IOffering, Signed, Schedules, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    bytes32 private constant PERMIT_TYPEHASH = keccak256(
        "PurchasePermit(uint256 entity,address wallet,uint256 round,uint256 minCash,uint256 maxCash,uint256 maxTotal,uint256 first,uint256 last,uint256 notBefore,uint256 expiry,uint256 jurisdiction,uint256 lockClass,bool affiliate,bool coolingOff,uint256 generation,bytes32 termsHash)"
    );
    bytes32 private constant DELIVER_TYPEHASH = keccak256("Deliver(uint88 bid,uint96 delivered,uint40 expiry)");

    /// Bucket of all bids above an auction's marginal tick.
    uint256 private constant ABOVE = 0xffff;
    /// Bucket of an auction's marginal tick, once it is cleared.
    uint256 private constant MARGINAL = 0xfffe;
    /// Subject of the attestation that the service is live.
    uint256 private constant LIVE = 0;

    IERC20 public immutable cash;
    ICredit public immutable credit;
    ITreasury public immutable treasury;
    /// Code of every vault.
    address public immutable vault;
    address public immutable issuer;
    address public immutable certifier;
    address public immutable guardian;
    bytes32 public immutable termsHash;
    uint256 public immutable softCap;
    uint256 public immutable softCapDate;
    uint256 public immutable deadline;
    uint256 public immutable notice;
    uint256 public immutable roundCount;
    /// Day 0 of the days kept in bids: the first opening.
    uint256 public immutable origin;

    uint256 private immutable _objections;
    uint256 private immutable _subjects;
    uint256 private immutable _discounts;
    uint256 private immutable _locks;
    /// Bit r: round r is a rising one, where an entity's cash stands in its total.
    uint256 private immutable _risingRounds;
    /// Byte r: the rounds in which there can be bids while round r takes them; a limit over all rounds looks at no other.
    uint256 private immutable _together;

    mapping(uint256 round => Round) private _rounds;
    mapping(uint256 key => Bucket) private _buckets;
    /// By round 8 bits and word: bit i says that one of ticks 2·(256·word + i) and the next has, or had, bids.
    mapping(uint256 key => uint256) private _occupied;
    mapping(BidId => Bid) private _bids;
    mapping(BidId => Position) private _positions;
    mapping(address attester => uint256) private _generations;
    mapping(uint256 subject => Attestation) private _attestations;
    /// An auction's ticks, by round and half the tick.
    mapping(uint256 key => Ticks) private _ticks;
    /// Proceeds of all cleared rounds, for the soft cap.
    uint256 public totalProceeds;

    constructor(OfferingSetup memory setup) EIP712("Earnest Offering", "1") Schedules(setup.schedules) {
        cash = setup.cash;
        credit = setup.credit;
        treasury = setup.treasury;
        vault = setup.vault;
        issuer = setup.issuer;
        certifier = setup.certifier;
        guardian = setup.guardian;
        termsHash = setup.termsHash;
        softCap = setup.softCap;
        softCapDate = setup.softCapDate;
        deadline = setup.deadline;
        notice = setup.notice;
        _objections = setup.objections;
        _subjects = 1 + uint256(setup.milestones);
        _discounts = setup.discounts;
        _locks = setup.locks;
        uint256 count = setup.rounds.length;
        if (count == 0 || count > 8) revert BadSetup(0);
        if (setup.certifier == setup.issuer) revert BadSetup(1);
        roundCount = count;
        uint256 first = type(uint256).max;
        uint256 rising;
        for (uint256 i = 0; i < count; ++i) {
            RoundSetup memory from = setup.rounds[i];
            _addRound(i, from);
            if (from.schedules >> setup.schedules.length != 0) revert BadSetup(600 + i);
            if (from.open < first) first = from.open;
            if (from.kind == Kind.Rising) rising |= 1 << i;
        }
        origin = first;
        _risingRounds = rising;
        _together = _roundsTogether(setup.rounds);
        for (uint256 i = 0; i < 16; ++i) {
            if (uint16(setup.discounts >> (16 * i)) > 9000) revert BadSetup(2);
        }
        for (uint256 i = 0; i < setup.schedules.length; ++i) {
            if (!setup.schedules[i].isSound()) revert BadSetup(3);
        }
        for (uint256 i = 0; i < setup.attesters.length; ++i) {
            _generations[setup.attesters[i]] = 1 << 32 | 1;
            emit AttesterChanged(setup.attesters[i], 1);
        }
    }

    /// A round that opens only after another must have closed, its longest pause included, has no bids before that.
    function _roundsTogether(RoundSetup[] memory all) private pure returns (uint256 together) {
        for (uint256 r = 0; r < all.length; ++r) {
            for (uint256 i = 0; i < all.length; ++i) {
                bool may = i != r && all[i].open < uint256(all[r].close) + all[r].pauseLimit;
                if (may) together |= 1 << (8 * r + i);
            }
        }
    }

    function _addRound(uint256 index, RoundSetup memory from) private {
        bool rising = from.kind == Kind.Rising;
        if (from.close <= from.open || from.ticks == 0 || from.ticks > 4096) revert BadSetup(100 + index);
        // A bid after the last window would never be cleared.
        bool sells = rising
            ? uint256(from.windowSecs) * from.ticks >= from.close - from.open
            : need(from.supply, from.price) != 0;
        if (!sells) revert BadSetup(200 + index);
        if (from.follows != 255 && from.follows >= index) revert BadSetup(300 + index);
        if (uint256(from.price) + uint256(from.ticks) * from.step > type(uint64).max) revert BadSetup(400 + index);
        if (rising) {
            // Without two knots it could never be cleared.
            (uint256 weight,) = knot(from.ladder, 0);
            if (from.ladder.code.length < 41 || weight > from.start) revert BadSetup(500 + index);
        }
        Round storage round = _rounds[index];
        round.kind = from.kind;
        round.firstCome = from.firstCome;
        round.coolingOffDays = from.coolingOffDays;
        round.follows = from.follows;
        round.ticks = from.ticks;
        round.schedules = from.schedules;
        round.open = from.open;
        round.close = from.close;
        round.pauseLeft = from.pauseLimit;
        round.supply = from.supply;
        round.price = from.price;
        round.step = from.step;
        round.windowSecs = from.windowSecs;
        round.ladder = from.ladder;
        round.windowCap = from.windowCap;
        round.cap = from.cap;
        round.start = from.start;
        round.withdrawableMost = from.withdrawableMost;
    }

    // ---- attesters and the guardian's pause

    /// @inheritdoc IOffering
    function setAttester(address attester, uint32 generation) external {
        if (msg.sender != issuer) revert NotIssuer(msg.sender);
        // The highest generation ever used stays in the upper half, so that a removed attester's permits never revive.
        uint256 highest = _generations[attester] >> 32;
        if (generation != 0 && generation <= highest) revert OldGeneration(attester, generation, highest);
        if (generation != 0) highest = generation;
        _generations[attester] = highest << 32 | generation;
        emit AttesterChanged(attester, generation);
    }

    /// @inheritdoc IOffering
    function pause(uint256 index, uint256 secs) external {
        if (msg.sender != guardian) revert NotGuardian(msg.sender);
        Round storage round = _round(index);
        (uint256 open, uint256 close) = (round.open, round.close);
        uint256 until = round.pausedUntil;
        // A pause moves the opening too, beyond now if it began early in the round.
        if ((block.timestamp < open && block.timestamp >= until) || block.timestamp >= close) {
            revert NotOpen(index, open, close, block.timestamp);
        }
        // What is left of a pause is taken back before the new one is added.
        uint256 unused = until > block.timestamp ? until - block.timestamp : 0;
        uint256 left = round.pauseLeft + unused;
        if (secs > left) revert PauseTooLong(secs, left);
        round.open = uint40(open + secs - unused);
        round.close = uint40(close + secs - unused);
        round.pausedUntil = uint40(block.timestamp + secs);
        round.pauseLeft = uint24(left - secs);
        emit Paused(index, block.timestamp + secs);
    }

    // ---- bids

    /// @inheritdoc IOffering
    function multicall(bytes[] calldata calls) external {
        for (uint256 i = 0; i < calls.length; ++i) {
            (bool done, bytes memory answer) = address(this).delegatecall(calls[i]);
            if (done) continue;
            assembly ("memory-safe") {
                revert(add(answer, 32), mload(answer))
            }
        }
    }

    /// @inheritdoc IOffering
    function permitCash(bytes calldata args) external {
        (bool ignored,) = address(cash).call(bytes.concat(IERC20Permit.permit.selector, args));
        ignored;
    }

    /// @inheritdoc IOffering
    function bid(
        uint256 cash_,
        uint256 tick,
        uint256 schedule,
        PurchasePermit calldata permit,
        bytes calldata signature
    ) external nonReentrant {
        uint256 index = permit.round;
        Round storage round = _round(index);
        Head head = headOf(round);
        _checkOpen(index, head);
        uint256 flags = _checkPermit(permit, signature);

        bool rising = head.isRising();
        (uint256 window, uint256 place, uint256 ticks) = (0, tick, head.ticks());
        if (rising) {
            place = window = _windowNow(head, round);
            ticks = 1;
        }
        if (outside(place, permit.first, permit.last)) revert OutsidePermit(place, permit.first, permit.last);
        if (tick >= ticks) revert NoSuchTick(tick, ticks);
        if (!head.offers(schedule)) revert ScheduleNotOffered(schedule);

        uint256 entity = permit.entity;
        if (entity >> 64 != 0) revert NoSuchEntity(entity);
        BidId id = bidId(index, window, entity);
        Bid old = _bids[id];
        uint256 lockClass = permit.lockClass;
        if (old.exists()) {
            _checkChange(id, old, cash_, tick, schedule, lockClass, flags);
            flags |= Bid.unwrap(old) & COOLING_OFF;
        } else if (flags & AFFILIATE != 0) {
            round.affiliatesLeft += 1;
        }
        uint256 added;
        // Unchecked: cash only rises, as was just checked.
        unchecked {
            added = cash_ - old.cash();
        }
        _checkLimits(permit, index, entity, rising, cash_, added);

        // Effect: the slot, the book, then the cash comes in.
        Bid slot;
        // Unchecked: no round opens before the first.
        unchecked {
            uint256 today = (block.timestamp - origin) / 1 days;
            slot = packBid(msg.sender, cash_, flags, tick, schedule, lockClass, today);
        }
        _bids[id] = slot;
        if (head.isAuction()) _bookTick(index, tick, old, cash_, schedule);
        else _book(round, head, _buckets[_key(index, place)], old, cash_, schedule);
        if (flags & COOLING_OFF != 0) {
            uint256 withdrawable = round.withdrawable + (old.has(COOLING_OFF) ? added : cash_);
            if (withdrawable > round.withdrawableMost) revert TooMuchWithdrawable(withdrawable, round.withdrawableMost);
            round.withdrawable = uint64(withdrawable);
        }
        emit BidPlaced(id, slot, permit.jurisdiction);
        // Interaction:
        if (added != 0) _pull(added);
    }

    /// @inheritdoc IOffering
    function withdraw(BidId id, address payee) external nonReentrant {
        Bid slot = _bids[id];
        uint256 index = id.round();
        Round storage round = _round(index);
        uint256 amount = slot.cash();
        if (id.window() == TOTAL || amount == 0) revert NoBid(id);
        if (msg.sender != slot.wallet()) revert NotOwner(id, msg.sender);
        if (!slot.has(COOLING_OFF)) revert NoCoolingOff(id);
        uint256 until = _coolingOffEnds(round, slot);
        if (block.timestamp >= until) revert CoolingOffOver(id, until);
        uint256 end = clearableAt(index);
        if (block.timestamp >= end) revert CoolingOffOver(id, end);

        // Effect: cash 0 in a slot with a wallet says withdrawn.
        bool rising = round.kind == Kind.Rising;
        uint256 weight = _weight(amount, slot.schedule());
        if (rising) {
            BidId totalId = _totalOf(id);
            Bid total = _bids[totalId];
            _bids[totalId] = total.withCash(total.cash() - amount).withFlag(REFUNDED);
        }
        if (round.kind == Kind.Auction) {
            uint256 key = _key(index, slot.tick() >> 1);
            _ticks[key] = _ticks[key].minus(slot.tick(), amount, weight);
        } else {
            Bucket storage bucket = _buckets[_key(index, id.window())];
            if (rising && id.window() < _windowNow(headOf(round), round)) {
                bucket.withdrawnCash += uint64(amount);
                bucket.withdrawnWeight += uint64(weight);
            } else {
                bucket.cash -= uint64(amount);
                bucket.weight -= uint64(weight);
            }
        }
        round.withdrawable -= uint64(amount);
        _bids[id] = slot.withCash(0).withoutFlag(COOLING_OFF);
        emit BidWithdrawn(id, amount, payee);
        // Interaction:
        cash.safeTransfer(payee, amount);
    }

    /// @inheritdoc IOffering
    function lapse(BidId id) external {
        Bid slot = _bids[id];
        Round storage round = _round(id.round());
        if (!slot.has(COOLING_OFF)) revert NoCoolingOff(id);
        uint256 until = _coolingOffEnds(round, slot);
        if (block.timestamp < until) revert CoolingOffNotOver(id, until);
        round.withdrawable -= uint64(slot.cash());
        _bids[id] = slot.withoutFlag(COOLING_OFF);
        emit CoolingOffLapsed(id);
    }

    function _checkOpen(uint256 index, Head head) private view {
        (uint256 open, uint256 close, uint256 pausedUntil) = (head.open(), head.close(), head.pausedUntil());
        if (block.timestamp < pausedUntil) revert BidsPaused(index, pausedUntil);
        // Unchecked: a round closes after it opens.
        unchecked {
            if (outside(block.timestamp, open, close - 1)) revert NotOpen(index, open, close, block.timestamp);
        }
    }

    /// Returns the flags that the permit puts on a bid.
    function _checkPermit(PurchasePermit calldata permit, bytes calldata signature)
        private
        view
        returns (uint256 flags)
    {
        if (permit.wallet != msg.sender) revert NotPermitted(msg.sender, permit.wallet);
        if (permit.termsHash != termsHash) revert OtherTerms(permit.termsHash, termsHash);
        if (outside(block.timestamp, permit.notBefore, permit.expiry)) {
            revert PermitNotValidNow(permit.notBefore, permit.expiry, block.timestamp);
        }
        if (permit.affiliate) flags = AFFILIATE;
        if (permit.coolingOff) flags |= COOLING_OFF;
        if (flags == (AFFILIATE | COOLING_OFF)) revert AffiliateCoolingOff();
        if (permit.lockClass > 15) revert NoSuchLockClass(permit.lockClass);
        address attester = ECDSA.recoverCalldata(_hashTypedDataV4(_hashPermit(permit)), signature);
        uint256 generation = uint32(_generations[attester]);
        if (generation == 0 || permit.generation != generation) {
            revert OldGeneration(attester, permit.generation, generation);
        }
    }

    /// `keccak256(abi.encode(PERMIT_TYPEHASH, permit))`: calldata has the struct's sixteen words as they are hashed, and
    /// those of a narrower type are checked to be in its range where they are read.
    function _hashPermit(PurchasePermit calldata permit) private pure returns (bytes32 hash) {
        bytes32 typehash = PERMIT_TYPEHASH;
        assembly ("memory-safe") {
            let words := mload(0x40)
            mstore(words, typehash)
            calldatacopy(add(words, 32), permit, 512)
            hash := keccak256(words, 544)
        }
    }

    /// Check: amount and tick only rise, and something does; the rest of the bid stands as it was made.
    function _checkChange(
        BidId id,
        Bid old,
        uint256 cash_,
        uint256 tick,
        uint256 schedule,
        uint256 lockClass,
        uint256 flags
    ) private view {
        (uint256 oldCash, uint256 oldTick) = (old.cash(), old.tick());
        if (oldCash == 0) revert Withdrawn(id);
        if (old.wallet() != msg.sender) revert OtherWallet(msg.sender, old.wallet());
        if (cash_ < oldCash || tick < oldTick || (cash_ == oldCash && tick == oldTick)) {
            revert OnlyUp(cash_, tick, oldCash, oldTick);
        }
        bool same = schedule == old.schedule() && lockClass == old.lockClass()
            && (flags & AFFILIATE != 0) == old.has(AFFILIATE);
        if (!same) revert BidChanged(id);
    }

    function _checkLimits(
        PurchasePermit calldata permit,
        uint256 index,
        uint256 entity,
        bool rising,
        uint256 cash_,
        uint256 added
    ) private {
        (uint256 least, uint256 most) = (permit.minCash, permit.maxCash);
        if (cash_ == 0) revert OutsideLimits(0, least, most);
        uint256 overall = cash_;
        if (rising) {
            BidId totalId = bidId(index, TOTAL, entity);
            Bid total = _bids[totalId];
            if (total.has(REFUNDED)) revert Withdrawn(totalId);
            if (total.exists() && total.wallet() != msg.sender) revert OtherWallet(msg.sender, total.wallet());
            overall = total.cash() + added;
            _bids[totalId] = packBid(msg.sender, overall, 0, 0, 0, 0, 0);
        }
        if (outside(overall, least, most) || overall > CASH_MAX) revert OutsideLimits(overall, least, most);
        most = permit.maxTotal;
        if (most >= CASH_MAX) return;
        // Unchecked: at most eight amounts below 2⁶⁰.
        unchecked {
            uint256 others = uint8(_together >> (8 * index));
            for (uint256 i = 0; others != 0; (++i, others >>= 1)) {
                if (others & 1 == 0) continue;
                overall += _bids[bidId(i, ((_risingRounds >> i) & 1) * TOTAL, entity)].cash();
            }
        }
        if (overall > most) revert OverTotal(overall, most);
    }

    /// Effect: the bid's tick, which it may have moved up to.
    function _bookTick(uint256 index, uint256 tick, Bid old, uint256 cash_, uint256 schedule) private {
        (uint256 addedCash, uint256 addedWeight) = (cash_, _weight(cash_, schedule));
        if (old.exists()) {
            (uint256 oldCash, uint256 oldTick) = (old.cash(), old.tick());
            uint256 oldWeight = _weight(oldCash, schedule);
            if (oldTick == tick) {
                // Unchecked: cash only rises, and weight with it.
                unchecked {
                    addedCash -= oldCash;
                    addedWeight -= oldWeight;
                }
            } else {
                uint256 from = _key(index, oldTick >> 1);
                _ticks[from] = _ticks[from].minus(oldTick, oldCash, oldWeight);
            }
        }
        uint256 key = _key(index, tick >> 1);
        Ticks pair = _ticks[key];
        // Unchecked: both are below 2⁶⁴.
        unchecked {
            if (pair.weightAt(tick) + addedWeight > type(uint64).max) revert OutsideLimits(cash_, 0, CASH_MAX);
        }
        _ticks[key] = pair.plus(tick, addedCash, addedWeight);
        if (pair.isEmpty()) {
            // One bit a slot: what clearing reads is what it needs, however far apart the bids are.
            _occupied[index << 8 | tick >> 9] |= 1 << uint8(tick >> 1);
        }
    }

    /// Effect: the bucket of a fixed round or of a window.
    function _book(Round storage round, Head head, Bucket storage bucket, Bid old, uint256 cash_, uint256 schedule)
        private
    {
        uint256 cashNow = bucket.cash + cash_ - old.cash();
        uint256 weightNow = bucket.weight + _weight(cash_, schedule) - _weight(old.cash(), schedule);
        if (weightNow > type(uint64).max) revert OutsideLimits(cash_, 0, CASH_MAX);
        (bucket.cash, bucket.weight) = (uint64(cashNow), uint64(weightNow));
        if (head.isFirstCome()) {
            uint256 sold = creditsFor(weightNow, round.price);
            if (sold > round.supply) revert SoldOut(sold, round.supply);
        }
    }

    /// A coin that takes a fee, or gives back control half-way, would break Σ in = Σ out: refused by what arrives.
    function _pull(uint256 amount) private {
        uint256 before = _held();
        cash.safeTransferFrom(msg.sender, address(this), amount);
        uint256 received;
        // Unchecked: what a coin took away instead would show as far too much.
        unchecked {
            received = _held() - before;
        }
        if (received != amount) revert WrongCash(received, amount);
        // So that no sum of weights, at most ten times the cash, reaches 2⁶⁴.
        if (before + amount > CASH_MAX) revert EscrowFull(before + amount);
    }

    /// `cash.balanceOf(address(this))`, in scratch space.
    function _held() private view returns (uint256 units) {
        address coin = address(cash);
        bytes4 selector = IERC20.balanceOf.selector;
        bool answered;
        assembly ("memory-safe") {
            mstore(0, selector)
            mstore(4, address())
            // Arguments are evaluated from the right: the call comes first.
            answered := and(gt(returndatasize(), 31), staticcall(gas(), coin, 0, 36, 0, 32))
            units := mload(0)
        }
        if (!answered) revert SafeERC20.SafeERC20FailedOperation(coin);
    }

    // ---- clearing

    /// @inheritdoc IOffering
    function clear(uint256 index, uint256 steps) external nonReentrant {
        Round storage round = _round(index);
        if (round.status == Status.Cleared) revert AlreadyCleared(index);
        if (failed()) revert Failed();
        uint256 from = clearableAt(index);
        if (block.timestamp < from) revert TooEarlyToClear(index, from);
        if (round.kind == Kind.Auction) _clearAuction(index, round, steps);
        else if (round.kind == Kind.Rising) _clearRising(index, round, steps);
        else _clearFixed(index, round);
    }

    function _clearFixed(uint256 index, Round storage round) private {
        Bucket storage bucket = _buckets[_key(index, 0)];
        uint256 sold = creditsFor(bucket.weight, round.price);
        uint256 used = bucket.cash;
        if (sold > round.supply) {
            sold = round.supply;
            used = proRata(bucket.cash, sold, round.price, bucket.weight);
        }
        _close(bucket, sold, used, bucket.cash);
        _finish(index, round, sold, used);
    }

    /// Walks down from the top to the first tick k with W(≥k) ≥ floor(S·p_k); tick 0 is the floor. Ticks without bids
    /// are no step.
    function _clearAuction(uint256 index, Round storage round, uint256 steps) private {
        uint256 tick = round.status == Status.Open ? round.ticks : round.cursor;
        (uint256 cashAbove, uint256 weightAbove) = (round.cashAbove, round.weightAbove);
        (uint256 supply, uint256 price, uint256 step) = (round.supply, round.price, round.step);
        uint256 none = type(uint256).max;
        Walk memory walk = Walk({word: none, slots: 0, place: none, pair: Ticks.wrap(0)});
        for (; steps != 0;) {
            // Unchecked: it was not 0.
            unchecked {
                --steps;
            }
            uint256 cash_;
            uint256 weight;
            (tick, cash_, weight) = _nextTick(index, walk, tick);
            if (weight == 0) {
                // Undersubscribed sells at the floor price; else the floor was outbid by all.
                bool outbid = weightAbove > need(supply, price);
                _finishAuction(index, round, cashAbove, weightAbove, outbid ? supply : creditsFor(weightAbove, price));
                return;
            }
            uint256 tickPrice;
            // Unchecked: prices of all ticks are below 2⁶⁴ (constructor), sums of 4,096 ticks below 2⁷⁶.
            unchecked {
                tickPrice = price + tick * step;
                cashAbove += cash_;
                weightAbove += weight;
            }
            uint256 enough = need(supply, tickPrice);
            if (weightAbove >= enough) {
                // Without this tick again.
                (cashAbove, weightAbove) = (cashAbove - cash_, weightAbove - weight);
                round.wholeFrom = uint16(tick + 1);
                if (weightAbove >= enough) {
                    _finishAuction(index, round, cashAbove, weightAbove, supply);
                    return;
                }
                round.marginal = true;
                uint256 soldAbove = creditsFor(weightAbove, tickPrice);
                uint256 used = proRata(cash_, supply - soldAbove, tickPrice, weight);
                _close(_sum(index, MARGINAL, cash_, weight), supply - soldAbove, used, cash_);
                _close(_sum(index, ABOVE, cashAbove, weightAbove), soldAbove, cashAbove, cashAbove);
                _finish(index, round, supply, cashAbove + used);
                return;
            }
        }
        round.status = Status.Clearing;
        round.cursor = uint16(tick);
        (round.cashAbove, round.weightAbove) = (uint64(cashAbove), uint64(weightAbove));
        emit ClearingAdvanced(index, tick);
    }

    /// The highest tick below `tick` with bids, or weight 0.
    function _nextTick(uint256 index, Walk memory walk, uint256 tick)
        private
        view
        returns (uint256 next, uint256 cash_, uint256 weight)
    {
        next = tick;
        // Unchecked: it ends at tick 0.
        unchecked {
            while (next != 0) {
                --next;
                uint256 word = next >> 9;
                if (word != walk.word) (walk.word, walk.slots) = (word, _occupied[index << 8 | word]);
                if (next >> 1 != walk.place) {
                    // The highest occupied slot of this word, at or below the tick's.
                    uint256 slots = walk.slots & (type(uint256).max >> (255 - ((next >> 1) & 0xff)));
                    if (slots == 0) {
                        next = word << 9;
                        continue;
                    }
                    uint256 place = (word << 8) + Math.log2(slots);
                    if (place != next >> 1) next = place << 1 | 1;
                    (walk.place, walk.pair) = (place, _ticks[_key(index, place)]);
                }
                weight = walk.pair.weightAt(next);
                if (weight != 0) return (next, walk.pair.cashAt(next), weight);
            }
        }
    }

    function _finishAuction(uint256 index, Round storage round, uint256 cash_, uint256 weight, uint256 sold) private {
        _close(_sum(index, ABOVE, cash_, weight), sold, cash_, cash_);
        _finish(index, round, sold, cash_);
    }

    /// The bucket of all bids above the marginal tick, or of that tick.
    function _sum(uint256 index, uint256 place, uint256 cash_, uint256 weight) private returns (Bucket storage bucket) {
        bucket = _buckets[_key(index, place)];
        (bucket.cash, bucket.weight) = (uint64(cash_), uint64(weight));
    }

    /// Window after window: from x sold so far along the ladder, at most the window's cap, the rest pro rata.
    function _clearRising(uint256 index, Round storage round, uint256 steps) private {
        address ladder = round.ladder;
        if (round.status == Status.Open) round.cashAbove = round.weightAbove = uint64(_startOf(round, ladder));
        (uint256 window, uint256 below, uint256 x) = (round.cursor, round.knot, round.weightAbove);
        (uint256 sold, uint256 proceeds) = (round.sold, round.proceeds);
        uint256 end = Math.min(uint256(round.cashAbove) + round.cap, lastWeight(ladder));
        uint256 before;
        (before, below) = creditsAt(ladder, x, below);
        for (; steps != 0 && window < round.ticks; (--steps, ++window)) {
            Bucket storage bucket = _buckets[_key(index, window)];
            (uint256 cash_, uint256 weight) = (bucket.cash, bucket.weight);
            if (weight == 0) continue;
            uint256 most = Math.min(Math.min(weight, round.windowCap), end - x);
            uint256 upTo;
            (upTo, below) = creditsAt(ladder, x + most, below);
            uint256 windowSold = upTo - before;
            // Rounded up: the last unit of cash is used, not refunded twice.
            uint256 used = (cash_ * most + weight - 1) / weight;
            (x, before) = (x + most, upTo);

            (uint256 goneCash, uint256 goneWeight) = (bucket.withdrawnCash, bucket.withdrawnWeight);
            uint256 keptCash = cash_ - goneCash;
            _close(bucket, windowSold, used, keptCash);
            // What was withdrawn late goes unsold; the price of the others stands.
            uint256 keptUsed = (keptCash * used + cash_ - 1) / cash_;
            windowSold = windowSold * (weight - goneWeight) / weight;
            proceeds += keptUsed;
            sold += windowSold;
            emit WindowCleared(index, window, windowSold, keptUsed);
        }
        if (window == round.ticks) {
            _finish(index, round, sold, proceeds);
        } else {
            round.status = Status.Clearing;
            (round.cursor, round.knot, round.weightAbove) = (uint16(window), uint16(below), uint64(x));
            (round.sold, round.proceeds) = (uint96(sold), uint64(proceeds));
            emit ClearingAdvanced(index, window);
        }
    }

    /// Never beyond the ladder, so that nothing can keep a round from being cleared.
    function _startOf(Round storage round, address ladder) private view returns (uint256 start) {
        start = round.start;
        uint256 follows = round.follows;
        if (follows != 255) {
            Round storage before = _rounds[follows];
            if (before.status != Status.Cleared) revert NotCleared(follows);
            start += before.proceeds;
        }
        start = Math.min(start, lastWeight(ladder));
    }

    /// Writes a bucket's outcome. `kept` is the cash of bids that were not withdrawn.
    function _close(Bucket storage bucket, uint256 sold, uint256 used, uint256 kept) private {
        bucket.sold = uint96(sold);
        if (used == bucket.cash) {
            bucket.whole = true;
        } else {
            bucket.used = uint64(used);
            bucket.cashLeft = uint64(kept);
            // floor(kept × (C − U) ÷ C), which is what kept leaves of ceil(kept × U ÷ C)
            bucket.refundsLeft = uint64(kept * (bucket.cash - used) / bucket.cash);
        }
    }

    function _finish(uint256 index, Round storage round, uint256 sold, uint256 proceeds) private {
        round.status = Status.Cleared;
        round.sold = uint96(sold);
        round.proceeds = uint64(proceeds);
        round.clearedAt = uint40(block.timestamp);
        totalProceeds += proceeds;
        emit Cleared(index, sold, proceeds);
    }

    // ---- settling and refunds

    /// @inheritdoc IOffering
    function settle(BidId id) external {
        Bid slot = _bids[id];
        if (slot.has(SETTLED)) revert AlreadySettled(id);
        _settle(id, slot);
    }

    function _settle(BidId id, Bid slot) private returns (Bid) {
        uint256 index = id.round();
        Round storage round = _round(index);
        if (id.window() == TOTAL || slot.cash() == 0) revert NoBid(id);
        if (round.status != Status.Cleared) revert NotCleared(index);
        if (failed()) revert Failed();
        (uint256 credits, uint256 paid, uint256 back, uint256 key) = _outcome(id, slot, round);
        // Who gets nothing back pulls no refund; the bucket's dust need not wait for it.
        if (back == 0 && key != 0) _release(round, _buckets[key], slot.cash(), 0);
        slot = slot.withFlag(SETTLED);
        _bids[id] = slot;
        if (credits | paid != 0) _positions[id] = Position(uint96(credits), 0, uint64(paid));
        if (slot.has(AFFILIATE)) {
            round.affiliatesLeft -= 1;
            round.affiliatePaid += uint64(paid);
        }
        emit Settled(id, credits, paid, back);
        return slot;
    }

    /// Credits, cash paid and cash back of a bid in a cleared round, each rounded down; and the key of its bucket
    /// where that is pro rata, else 0.
    function _outcome(BidId id, Bid slot, Round storage round)
        private
        view
        returns (uint256 credits, uint256 paid, uint256 back, uint256 proRataKey)
    {
        uint256 amount = slot.cash();
        uint256 index = id.round();
        uint256 key;
        if (round.kind == Kind.Auction) {
            uint256 above = slot.tick() + 1;
            uint256 wholeFrom = round.wholeFrom;
            if (above > wholeFrom) key = _key(index, ABOVE);
            else if (above == wholeFrom && round.marginal) key = _key(index, MARGINAL);
            else return (0, 0, amount, 0);
        } else {
            key = _key(index, id.window());
        }
        Bucket storage bucket = _buckets[key];
        credits = _weight(amount, slot.schedule()) * bucket.sold / bucket.weight;
        if (bucket.whole) return (credits, amount, 0, 0);
        (uint256 all, uint256 used) = (bucket.cash, bucket.used);
        return (credits, amount * used / all, amount * (all - used) / all, key);
    }

    /// @inheritdoc IOffering
    function refund(BidId id) external nonReentrant {
        _refund(id, _bids[id].wallet());
    }

    /// @inheritdoc IOffering
    function refundTo(BidId id, address payee, uint256 expiry, bytes calldata signature) external nonReentrant {
        _checkPayout(id, _bids[id].wallet(), payee, expiry, signature);
        _refund(id, payee);
    }

    function _refund(BidId id, address payee) private {
        Bid slot = _bids[id];
        uint256 back;
        if (id.window() == TOTAL || slot.cash() == 0) revert NothingToRefund(id);
        if (failed()) {
            back = slot.cash();
        } else {
            if (slot.has(REFUNDED)) revert NothingToRefund(id);
            if (!slot.has(SETTLED)) slot = _settle(id, slot);
            Round storage round = _rounds[id.round()];
            uint256 key;
            (,, back, key) = _outcome(id, slot, round);
            if (back == 0) revert NothingToRefund(id);
            if (key != 0) _release(round, _buckets[key], slot.cash(), back);
        }
        // Effect: the slot keeps what was paid, so that an entity's total counts only that from here on.
        _bids[id] = slot.withCash(slot.cash() - back).withFlag(REFUNDED);
        if ((_risingRounds >> id.round()) & 1 != 0) {
            BidId totalId = _totalOf(id);
            _bids[totalId] = _bids[totalId].withCash(_bids[totalId].cash() - back);
        }
        emit Refunded(id, back, payee);
        // Interaction:
        cash.safeTransfer(payee, back);
    }

    /// The last refund of a pro rata bucket leaves the dust of all its roundings, which goes to the class's pot.
    function _release(Round storage round, Bucket storage bucket, uint256 amount, uint256 back) private {
        uint256 cashLeft = bucket.cashLeft - amount;
        uint256 refundsLeft = bucket.refundsLeft - back;
        if (cashLeft == 0) {
            round.dust += uint64(refundsLeft);
            refundsLeft = 0;
        }
        (bucket.cashLeft, bucket.refundsLeft) = (uint64(cashLeft), uint64(refundsLeft));
    }

    /// @inheritdoc IOffering
    function sweep(uint256 index) external nonReentrant {
        Round storage round = _round(index);
        if (round.status != Status.Cleared) revert NotCleared(index);
        if (totalProceeds < softCap) revert SoftCapNotMet(totalProceeds, softCap);
        uint256 all = uint256(round.proceeds) + round.dust;
        uint256 amount = all - round.swept;
        if (amount == 0) revert NothingToSweep(index);
        round.swept = uint64(all);
        emit Swept(index, amount);
        // Interaction:
        cash.safeTransfer(address(treasury), amount);
        treasury.deposit(index, amount);
    }

    // ---- attestations

    /// @inheritdoc IOffering
    function attest(uint256 subject, bytes32 evidence) external {
        if (msg.sender != certifier) revert NotCertifier(msg.sender);
        if (subject >= _subjects) revert NoSuchSubject(subject);
        Attestation storage attestation = _attestations[subject];
        if (attestation.effectiveAt != 0) revert AlreadyAttested(subject, attestation.effectiveAt);
        uint256 effectiveAt = block.timestamp + notice;
        if (subject == LIVE) {
            if (effectiveAt > deadline) revert AfterDeadline(effectiveAt, deadline);
            // Live and failed exclude each other, so that delivery need not ask.
            if (totalProceeds < softCap) revert SoftCapNotMet(totalProceeds, softCap);
        }
        attestation.effectiveAt = uint40(effectiveAt);
        emit Attested(subject, evidence, effectiveAt);
    }

    /// @inheritdoc IOffering
    function object(uint256 subject) external {
        if (msg.sender != guardian) revert NotGuardian(msg.sender);
        Attestation storage attestation = _attestations[subject];
        if (block.timestamp >= attestation.effectiveAt) revert NothingToObject(subject);
        if (attestation.objections >= _objections) revert NoObjectionsLeft(subject);
        attestation.effectiveAt = 0;
        attestation.objections += 1;
        emit Objected(subject);
    }

    // ---- delivery

    /// @inheritdoc IOffering
    function deliver(BidId id) external {
        Bid slot = _bids[id];
        if (msg.sender != slot.wallet()) revert NotOwner(id, msg.sender);
        _deliver(id, slot);
    }

    /// @inheritdoc IOffering
    function deliverFor(BidId id, uint256 expiry, bytes calldata signature) external {
        Bid slot = _bids[id];
        bytes32 structHash = keccak256(abi.encode(DELIVER_TYPEHASH, id, _positions[id].delivered, expiry));
        _checkSigned(slot.wallet(), structHash, expiry, signature);
        _deliver(id, slot);
    }

    function _deliver(BidId id, Bid slot) private {
        uint256 liveAt = _attestations[LIVE].effectiveAt;
        if (liveAt == 0 || block.timestamp < liveAt) revert NotLive();
        if (!slot.has(SETTLED)) slot = _settle(id, slot);
        Position storage position = _positions[id];
        uint256 vested = _schedule(slot.schedule()).vested(position.credits, block.timestamp - liveAt);
        uint256 added = vested - position.delivered;
        if (added == 0) revert NothingToDeliver(id);
        position.delivered = uint96(vested);
        Round storage round = _rounds[id.round()];
        uint256 unlockAt = _unlockAt(round, slot);
        round.delivered += uint96(added);
        address to = slot.wallet();
        if (block.timestamp < unlockAt) to = _openVault(id, to, unlockAt);
        emit Delivered(id, added, to);
        // Interaction: our own coin, which calls no one back.
        credit.mint(to, added);
    }

    function _unlockAt(Round storage round, Bid slot) private view returns (uint256) {
        return round.clearedAt + uint256(uint16(_locks >> (16 * slot.lockClass()))) * 1 days;
    }

    function _openVault(BidId id, address owner, uint256 unlockAt) private returns (address to) {
        bytes memory args = abi.encodePacked(owner, uint40(unlockAt));
        bytes32 salt = bytes32(uint256(BidId.unwrap(id)));
        to = Clones.predictDeterministicAddressWithImmutableArgs(vault, args, salt);
        if (to.code.length == 0) Clones.cloneDeterministicWithImmutableArgs(vault, args, salt);
    }

    // ---- views

    /// @inheritdoc IOffering
    function clearableAt(uint256 index) public view returns (uint256) {
        Round storage round = _round(index);
        uint256 coolingOffDays = round.coolingOffDays;
        // A whole day more, for cooling-off ends with a day.
        return round.close + (coolingOffDays == 0 ? 0 : (coolingOffDays + 1) * 1 days);
    }

    /// @inheritdoc IOffering
    function failed() public view returns (bool) {
        return softCap != 0 && block.timestamp >= softCapDate && totalProceeds < softCap;
    }

    /// @inheritdoc IOffering
    function isEffective(uint256 subject) external view returns (bool) {
        uint256 from = _attestations[subject].effectiveAt;
        return from != 0 && block.timestamp >= from;
    }

    /// @inheritdoc IOffering
    function vaultOf(BidId id) external view returns (address) {
        Bid slot = _bids[id];
        bytes memory args = abi.encodePacked(slot.wallet(), uint40(_unlockAt(_rounds[id.round()], slot)));
        bytes32 salt = bytes32(uint256(BidId.unwrap(id)));
        return Clones.predictDeterministicAddressWithImmutableArgs(vault, args, salt);
    }

    /// @inheritdoc IOffering
    function classOf(uint256 index)
        external
        view
        returns (uint256 sold, uint256 delivered, uint256 proceeds, uint256 affiliatePaid, uint256 affiliatesLeft)
    {
        Round storage round = _rounds[index];
        return (round.sold, round.delivered, round.proceeds, round.affiliatePaid, round.affiliatesLeft);
    }

    /// @inheritdoc IOffering
    function getRound(uint256 index) external view returns (Round memory) {
        return _round(index);
    }

    /// @inheritdoc IOffering
    function getBucket(uint256 index, uint256 place) external view returns (Bucket memory bucket) {
        Round storage round = _rounds[index];
        if (round.kind != Kind.Auction || place >= MARGINAL) return _buckets[_key(index, place)];
        if (round.marginal && place + 1 == round.wholeFrom) return _buckets[_key(index, MARGINAL)];
        Ticks pair = _ticks[_key(index, place >> 1)];
        (bucket.cash, bucket.weight) = (uint64(pair.cashAt(place)), uint64(pair.weightAt(place)));
    }

    /// @inheritdoc IOffering
    function getBid(BidId id) external view returns (Bid) {
        return _bids[id];
    }

    /// @inheritdoc IOffering
    function getPosition(BidId id) external view returns (Position memory) {
        return _positions[id];
    }

    /// @inheritdoc IOffering
    function getAttestation(uint256 subject) external view returns (Attestation memory) {
        return _attestations[subject];
    }

    /// @inheritdoc IOffering
    function generationOf(address attester) external view returns (uint32) {
        return uint32(_generations[attester]);
    }

    // ---- small things

    function _round(uint256 index) private view returns (Round storage) {
        if (index >= roundCount) revert NoSuchRound(index);
        return _rounds[index];
    }

    function _key(uint256 index, uint256 place) private pure returns (uint256) {
        // One more, so that no key is 0. Unchecked: there are eight rounds.
        unchecked {
            return ((index + 1) << 16) | place;
        }
    }

    function _totalOf(BidId id) private pure returns (BidId) {
        return BidId.wrap(BidId.unwrap(id) | uint88(TOTAL << 64));
    }

    /// `floor(b ÷ (1 − d))`
    function _weight(uint256 amount, uint256 schedule) private view returns (uint256) {
        // Unchecked: cash is below 2⁶⁰ and no discount above 9,000.
        unchecked {
            return amount * 10_000 / (10_000 - uint16(_discounts >> (16 * schedule)));
        }
    }

    /// The window that bids go to now, or after the pause that is running: then the clock of windows stands still.
    function _windowNow(Head head, Round storage round) private view returns (uint256) {
        uint256 time = block.timestamp < head.pausedUntil() ? head.pausedUntil() : block.timestamp;
        return (time - head.open()) / round.windowSecs;
    }

    function _coolingOffEnds(Round storage round, Bid slot) private view returns (uint256) {
        return origin + (slot.day() + 1 + round.coolingOffDays) * 1 days;
    }
}
