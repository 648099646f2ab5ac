// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// What a thief may bring along: a wallet that signs anything, a collector that brings what it likes, a coin that says
/// anything of itself, a receiver. It makes the calls it was told to, at once or when it is called next.
contract Accomplice {
    struct Move {
        address to;
        bytes data;
    }

    Move[] private _moves;
    /// What everyone has of it as a coin, if it is asked.
    uint256 public shown;
    uint256 private _gain;
    uint256 private _answer = 1;
    /// How many calls from within others went through.
    uint256 public made;
    /// What the last one that did not was refused with.
    bytes public why;

    /// Makes calls in its own name; those that fail are passed over.
    function act(Move[] calldata moves) external {
        for (uint256 i = 0; i < moves.length; ++i) {
            _make(moves[i].to, moves[i].data);
        }
    }

    /// The calls to make when it is called next, by how much everyone's balance then grows, and what it returns.
    function prepare(Move[] calldata moves, uint256 gain, uint256 answer) external {
        delete _moves;
        for (uint256 i = 0; i < moves.length; ++i) {
            _moves.push(moves[i]);
        }
        (_gain, _answer) = (gain, answer);
    }

    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        return 0x1626ba7e;
    }

    function balanceOf(address) external view returns (uint256) {
        return shown;
    }

    /// As collector, as coin, as whatever: makes the prepared calls, once.
    fallback() external {
        shown += _gain;
        Move[] memory moves = _moves;
        delete _moves;
        for (uint256 i = 0; i < moves.length; ++i) {
            if (_make(moves[i].to, moves[i].data)) ++made;
        }
        uint256 answer = _answer;
        assembly ("memory-safe") {
            mstore(0, answer)
            return(0, 32)
        }
    }

    function _make(address to, bytes memory data) private returns (bool ok) {
        bytes memory returned;
        (ok, returned) = to.call(data);
        if (!ok) why = returned;
    }
}
