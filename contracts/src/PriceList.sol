// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Entry, IPriceList, PriceListSetup, Unit} from "./interfaces/IPriceList.sol";

/// At every time, every price is at most what it was a notice before, or was published a notice before.
contract PriceList is IPriceList {
    uint256 private constant MOST_ENTRIES = 128;

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

    /// Whether a price of the old list is higher in the new one, or gone.
    function _rises(Entry[] storage old, Entry[] memory new_) private view returns (bool) {
        bytes32[] memory names = new bytes32[](new_.length);
        for (uint256 i = 0; i < new_.length; ++i) {
            names[i] = _name(new_[i].model, new_[i].unit);
        }
        for (uint256 i = 0; i < old.length; ++i) {
            Entry memory was = old[i];
            bytes32 name = _name(was.model, was.unit);
            uint256 same = 0;
            while (same < names.length && names[same] != name) ++same;
            if (same == names.length) return true;
            (uint128 credits, uint64 cash) = (new_[same].credits, new_[same].cash);
            if (was.credits != 0 && (credits == 0 || credits > was.credits)) return true;
            if (was.cash != 0 && (cash == 0 || cash > was.cash)) return true;
        }
        return false;
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
