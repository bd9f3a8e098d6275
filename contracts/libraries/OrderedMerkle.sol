// SPDX-License-Identifier: Apache-2.0
// The Merkle tree of receipt groups, lanes and batches. Twin: ordered-merkle.ts.
pragma solidity 0.8.37;

/// @title OrderedMerkle
/// @notice Ordered Merkle tree. Parent = keccak256(left || right); a last node without a partner
/// moves up unchanged; pairs are never sorted, so a path proves the position too.
library OrderedMerkle {
    /// @notice Root of `leaves`, at least one. Works in place: `leaves` is destroyed.
    function rootOf(bytes32[] memory leaves) internal pure returns (bytes32) {
        uint256 count = leaves.length;
        while (count > 1) {
            uint256 parents = count >> 1;
            assembly ("memory-safe") {
                // Reads pair i at 2i, 2i+1 and writes node i <= 2i: never ahead of the reading.
                let to := add(leaves, 0x20)
                let from := to
                for {
                    let end := add(to, shl(5, parents))
                } lt(to, end) {
                    to := add(to, 0x20)
                    from := add(from, 0x40)
                } {
                    mstore(to, keccak256(from, 0x40))
                }
                if and(count, 1) {
                    mstore(to, mload(from))
                    parents := add(parents, 1)
                }
            }
            count = parents;
        }
        return leaves[0];
    }

    /// @notice The root that `path` leads to from `leaf` at `index` of `count` leaves.
    /// @return root Zero, which no tree has, when index >= count or the path is too short or too
    /// long.
    function follow(
        bytes32 leaf,
        uint256 index,
        uint256 count,
        bytes32[] calldata path
    ) internal pure returns (bytes32 root) {
        if (index >= count) return 0;
        uint256 used = 0;
        uint256 last = count - 1;
        root = leaf;
        while (last > 0) {
            bool isRight = index & 1 == 1;
            if (isRight || index < last) {
                if (used == path.length) return 0;
                bytes32 sibling = path[used++];
                root = isRight ? _hash(sibling, root) : _hash(root, sibling);
            }
            index >>= 1;
            last >>= 1;
        }
        if (used != path.length) return 0;
    }

    /// @notice Whether `leaf` stands at `index` of the tree of `count` leaves with root `root`;
    /// every path element must be used.
    function verify(
        bytes32 leaf,
        uint256 index,
        uint256 count,
        bytes32[] calldata path,
        bytes32 root
    ) internal pure returns (bool) {
        return root != 0 && follow(leaf, index, count, path) == root;
    }

    function _hash(bytes32 left, bytes32 right) private pure returns (bytes32 node) {
        assembly ("memory-safe") {
            mstore(0x00, left)
            mstore(0x20, right)
            node := keccak256(0x00, 0x40)
        }
    }
}
