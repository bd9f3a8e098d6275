// SPDX-License-Identifier: Apache-2.0
// The verifiable draw of candidates: a partial Fisher-Yates shuffle. Twin: draw.ts.
pragma solidity 0.8.37;

/// @title Draw
library Draw {
    /// @notice Seed of a call: the recorded value of its epoch, and the fields of the Call that its
    /// caller chooses. The gateway cannot change them in the payer's own calls, so it cannot try
    /// several Calls until it likes the draw. Under a mandate for tokens or sponsors it can.
    function seedOf(uint192 value, address payer, address signer, bytes32 nonce) internal pure returns (bytes32) {
        return keccak256(abi.encode(value, payer, signer, nonce));
    }

    /// @notice Puts the first `steps` places of the drawn order at the front of `ids`, in place.
    /// @dev Step k swaps k with k + (s(k) mod (n - k)); s(0) and s(1) are the seed's halves, so
    /// that the usual two need no hash.
    function shuffle(bytes32 seed, uint64[] memory ids, uint256 steps) internal pure {
        uint256 n = ids.length;
        if (steps > n) steps = n;
        for (uint256 k = 0; k < steps; ++k) {
            uint256 s;
            if (k == 0) s = uint256(seed) >> 128;
            else if (k == 1) s = uint128(uint256(seed));
            else s = _hash(seed, k);
            // k < n
            uint256 other;
            unchecked {
                other = k + (s % (n - k));
            }
            (ids[k], ids[other]) = (ids[other], ids[k]);
        }
    }

    /// @dev uint256(keccak256(abi.encode(seed, k))) without taking memory.
    function _hash(bytes32 seed, uint256 k) private pure returns (uint256 s) {
        assembly ("memory-safe") {
            mstore(0x00, seed)
            mstore(0x20, k)
            s := keccak256(0x00, 0x40)
        }
    }
}
