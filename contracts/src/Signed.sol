// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {BidId} from "./units/BidId.sol";

/// What an owner may let others do for them by signature: send their cash elsewhere, deliver.
abstract contract Signed is EIP712 {
    /// The signature's time is over.
    error Expired(uint256 expiry);
    /// The owner did not sign this.
    error BadSignature();

    bytes32 private constant PAYOUT_TYPEHASH = keccak256("Payout(uint88 bid,address payee,uint40 expiry)");

    /// Passes for the owner, or with the owner's signature over this payout.
    function _checkPayout(BidId id, address owner, address payee, uint256 expiry, bytes calldata signature)
        internal
        view
    {
        if (msg.sender != owner) {
            _checkSigned(owner, keccak256(abi.encode(PAYOUT_TYPEHASH, id, payee, expiry)), expiry, signature);
        }
    }

    function _checkSigned(address owner, bytes32 structHash, uint256 expiry, bytes calldata signature) internal view {
        if (block.timestamp > expiry) revert Expired(expiry);
        bool signed = SignatureChecker.isValidSignatureNowCalldata(owner, _hashTypedDataV4(structHash), signature);
        if (!signed) revert BadSignature();
    }
}
