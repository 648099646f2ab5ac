// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Entry, IPriceList, PriceListSetup, Unit} from "./interfaces/IPriceList.sol";

/// At every time, every price is at most what it was a notice before, or was published a notice before.
contract PriceList is IPriceList {
    /// What fits into one transaction of 2²⁴ gas, with the longest names and everything compared.
    uint256 private constant MOST_ENTRIES = 96;

    /// @inheritdoc IPriceList
    address public immutable issuer;
    /// @inheritdoc IPriceList
    uint32 public immutable notice;
    /// @inheritdoc IPriceList
    uint128 public immutable tierOutput;
    /// @inheritdoc IPriceList
    string public tier;

    /// A version that was not cancelled, with the time from which it counts.
    struct Turn {
        uint32 version;
        uint40 validFrom;
    }

    /// In order of time; those that wait are at the end.
    Turn[] private _turns;
    uint32 private _versions;
    mapping(uint32 version => Entry[]) private _entries;
    mapping(uint32 version => string) private _tierModels;

    constructor(PriceListSetup memory setup) {
        issuer = setup.issuer;
        notice = setup.notice;
        tier = setup.tier;
        tierOutput = setup.tierOutput;
        bool promised = bytes(setup.tier).length != 0;
        _checkEntries(setup.entries, setup.tierModel, promised, setup.tierOutput);
        _add(setup.entries, setup.tierModel, block.timestamp);
    }

    /// @inheritdoc IPriceList
    function publish(Entry[] memory entries_, string memory tierModel_) external returns (uint32 version) {
        // Check:
        if (msg.sender != issuer) revert NotIssuer(msg.sender);
        _checkEntries(entries_, tierModel_, bytes(tier).length != 0, tierOutput);
        // Effect:
        uint256 last = _turnAt(block.timestamp);
        if (_rises(_entries[_turns[last].version], entries_)) {
            return _add(entries_, tierModel_, block.timestamp + notice);
        }
        for (uint256 waiting = _turns.length - 1; waiting > last; --waiting) {
            emit Cancelled(_turns[waiting].version);
            _turns.pop();
        }
        return _add(entries_, tierModel_, block.timestamp);
    }

    function _add(Entry[] memory entries_, string memory tierModel_, uint256 validFrom)
        private
        returns (uint32 version)
    {
        version = ++_versions;
        _turns.push(Turn(version, uint40(validFrom)));
        Entry[] storage to = _entries[version];
        for (uint256 i = 0; i < entries_.length; ++i) {
            to.push(entries_[i]);
        }
        _tierModels[version] = tierModel_;
        emit Published(version, uint40(validFrom), tierModel_, entries_);
    }

    function _checkEntries(Entry[] memory entries_, string memory tierModel_, bool promised, uint128 most)
        private
        pure
    {
        if (entries_.length == 0) revert NoEntries();
        if (entries_.length > MOST_ENTRIES) revert TooManyEntries(entries_.length, MOST_ENTRIES);
        bytes32[] memory names = new bytes32[](entries_.length);
        bytes32 covenant = _name(tierModel_, uint8(Unit.Output));
        for (uint256 i = 0; i < entries_.length; ++i) {
            Entry memory entry = entries_[i];
            if (entry.unit > uint8(type(Unit).max)) revert BadUnit(i, entry.unit);
            if (entry.credits == 0 && entry.cash == 0) revert NoPrice(i);
            bytes memory model = bytes(entry.model);
            if (model.length == 0 || model.length > 64) revert BadModel(i);
            for (uint256 j = 0; j < model.length; ++j) {
                if (model[j] < 0x21 || model[j] > 0x7e) revert BadModel(i);
            }
            names[i] = _name(entry.model, entry.unit);
            for (uint256 other = 0; other < i; ++other) {
                if (names[other] == names[i]) revert Twice(i);
            }
            if (names[i] == covenant && entry.credits != 0 && entry.credits <= most) promised = false;
        }
        if (promised) revert Uncovenanted(tierModel_, most);
    }

    /// Whether a price of the old list is higher in the new one, or gone. Model tokens read from cache that have no price of
    /// their own cost what those that are read cost, so the first such price is held against that one.
    function _rises(Entry[] memory was, Entry[] memory new_) private pure returns (bool) {
        bytes32[] memory names = _names(new_);
        for (uint256 i = 0; i < was.length; ++i) {
            uint256 same = _find(names, was[i].model, was[i].unit);
            if (same == names.length || _above(new_[same], was[i])) return true;
        }
        names = _names(was);
        for (uint256 i = 0; i < new_.length; ++i) {
            if (new_[i].unit != uint8(Unit.Cached)) continue;
            uint256 read = _find(names, new_[i].model, uint8(Unit.Input));
            if (read == names.length) continue;
            uint256 cached = _find(names, new_[i].model, uint8(Unit.Cached));
            (uint128 credits, uint64 cash) = (was[read].credits, was[read].cash);
            if (cached != names.length) {
                // Held against its own price already.
                if (was[cached].credits != 0) credits = 0;
                if (was[cached].cash != 0) cash = 0;
            }
            if (credits != 0 && new_[i].credits > credits || cash != 0 && new_[i].cash > cash) return true;
        }
        return false;
    }

    /// Whether something that was sold costs more now, or is not sold for that coin any more.
    function _above(Entry memory now_, Entry memory was) private pure returns (bool) {
        if (was.credits != 0 && (now_.credits == 0 || now_.credits > was.credits)) return true;
        return was.cash != 0 && (now_.cash == 0 || now_.cash > was.cash);
    }

    function _names(Entry[] memory entries_) private pure returns (bytes32[] memory names) {
        names = new bytes32[](entries_.length);
        for (uint256 i = 0; i < entries_.length; ++i) {
            names[i] = _name(entries_[i].model, entries_[i].unit);
        }
    }

    /// Where a name stands; the list's length: nowhere.
    function _find(bytes32[] memory names, string memory model, uint8 unit) private pure returns (uint256 index) {
        bytes32 name = _name(model, unit);
        while (index < names.length && names[index] != name) ++index;
    }

    function _name(string memory model, uint8 unit) private pure returns (bytes32) {
        return keccak256(abi.encodePacked(model, unit));
    }

    /// Index of the turn that a time falls in.
    function _turnAt(uint256 time) private view returns (uint256 index) {
        index = _turns.length;
        while (index != 0) {
            if (_turns[--index].validFrom <= time) return index;
        }
        revert NoVersion(time);
    }

    /// @inheritdoc IPriceList
    function versionAt(uint256 time) external view returns (uint32 version, uint40 validFrom, uint40 validUntil) {
        uint256 index = _turnAt(time);
        bool open = index + 1 == _turns.length;
        validUntil = open ? type(uint40).max : _turns[index + 1].validFrom;
        return (_turns[index].version, _turns[index].validFrom, validUntil);
    }

    /// @inheritdoc IPriceList
    function entries(uint32 version) external view returns (Entry[] memory) {
        if (version == 0 || version > _versions) revert NoVersion(version);
        return _entries[version];
    }

    /// @inheritdoc IPriceList
    function tierModel(uint32 version) external view returns (string memory) {
        if (version == 0 || version > _versions) revert NoVersion(version);
        return _tierModels[version];
    }
}
