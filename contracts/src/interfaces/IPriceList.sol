// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// What a price is for: 0 to 3 for a million model tokens, 4 for an image, 5 for a second of audio, 6 for one of compute.
enum Unit {
    Input,
    Cached,
    Output,
    Embedding,
    Image,
    AudioSecond,
    ComputeSecond
}

/// A price of one unit of one model, in base units of either coin; 0: not sold for that coin.
struct Entry {
    /// As the API knows it: up to 64 printable ASCII characters without spaces.
    string model;
    uint8 unit;
    uint128 credits;
    uint64 cash;
}

/// Everything fixed at deployment, and the first version.
struct PriceListSetup {
    address issuer;
    /// Seconds between publishing a rise and its effect.
    uint32 notice;
    /// The tier of the covenant; empty: none was promised.
    string tier;
    /// Most credits for a million model tokens written by the model that meets the tier.
    uint128 tierOutput;
    string tierModel;
    Entry[] entries;
}

/// The promised prices. They fall at once and rise after notice only; and where the plan has a covenant, some model is
/// named in every version that meets the tier at or below its price. Whether it does meet it, no contract can see.
interface IPriceList {
    event Published(uint32 indexed version, uint40 validFrom, string tierModel, Entry[] entries);
    event Cancelled(uint32 indexed version);

    error NotIssuer(address caller);
    error NoEntries();
    error TooManyEntries(uint256 count, uint256 most);
    error BadModel(uint256 entry);
    error BadUnit(uint256 entry, uint8 unit);
    error NoPrice(uint256 entry);
    /// Another entry has the same model and unit.
    error Twice(uint256 entry);
    /// The tier's model is not sold for credits at or below the covenant's price.
    error Uncovenanted(string model, uint128 most);
    error NoVersion(uint256 id);

    /// Issuer: the next version, the whole list. It takes effect at once where nothing rises or goes away against the
    /// version in force, and cancels what was waiting; else after the notice. A first price of reading from cache rises
    /// where it is above that of reading, which it cost until then.
    function publish(Entry[] calldata entries, string calldata tierModel) external returns (uint32 version);

    /// The version in force at a time, by what is published now, and from when until before when it is.
    function versionAt(uint256 time) external view returns (uint32 version, uint40 validFrom, uint40 validUntil);

    function entries(uint32 version) external view returns (Entry[] memory);
    /// The model that meets the covenant's tier in a version.
    function tierModel(uint32 version) external view returns (string memory);
    function tier() external view returns (string memory);
    function tierOutput() external view returns (uint128);
    function issuer() external view returns (address);
    function notice() external view returns (uint32);
}
