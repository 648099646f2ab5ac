//! The contracts as Rust types, made from the committed artifacts.

#![expect(missing_docs, reason = "generated; the natspec in contracts/src/interfaces says it")]
#![allow(clippy::too_many_arguments, clippy::pub_underscore_fields, reason = "generated")]

use alloy_sol_types::sol;

sol!(
    #[sol(all_derives)]
    Offering,
    "../../contracts/artifacts/Offering.json"
);
sol!(
    #[sol(all_derives)]
    Treasury,
    "../../contracts/artifacts/Treasury.json"
);
sol!(
    #[sol(all_derives)]
    Credit,
    "../../contracts/artifacts/Credit.json"
);
sol!(
    #[sol(all_derives)]
    Vault,
    "../../contracts/artifacts/Vault.json"
);
sol!(
    #[sol(all_derives)]
    Channels,
    "../../contracts/artifacts/Channels.json"
);
sol!(
    #[sol(all_derives)]
    DepositCollector,
    "../../contracts/artifacts/DepositCollector.json"
);
sol!(
    #[sol(all_derives)]
    Revenue,
    "../../contracts/artifacts/Revenue.json"
);
sol!(
    #[sol(all_derives)]
    PriceList,
    "../../contracts/artifacts/PriceList.json"
);
sol!(
    #[sol(all_derives)]
    DevCash,
    "../../contracts/artifacts/DevCash.json"
);
sol!(
    #[sol(all_derives)]
    LadderData,
    "../../contracts/artifacts/LadderData.json"
);

sol!(
    #[sol(all_derives)]
    Launchpad,
    "../../contracts/artifacts/Launchpad.json"
);
sol!(
    #[sol(all_derives)]
    Cradle,
    "../../contracts/artifacts/Cradle.json"
);
sol!(
    #[sol(all_derives)]
    Aggregate,
    "../../contracts/artifacts/Aggregate.json"
);

sol! {
    /// What an owner signs to be paid elsewhere.
    #[derive(Debug)]
    struct Payout {
        uint88 bid;
        address payee;
        uint40 expiry;
    }

    /// What an owner signs to have one delivery made.
    #[derive(Debug)]
    struct Deliver {
        uint88 bid;
        uint96 delivered;
        uint40 expiry;
    }
}

sol! {
    /// ERC-1271: a wallet that is a contract says whether a signature is its own.
    #[derive(Debug)]
    interface ContractWallet {
        function isValidSignature(bytes32 hash, bytes signature) external view returns (bytes4 magic);
    }
}
