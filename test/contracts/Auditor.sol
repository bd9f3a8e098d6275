// SPDX-License-Identifier: Apache-2.0
// Makes proofs of what a gateway has handed out and published, of pieces that belong together and of any pieces.
pragma solidity 0.8.37;

import {IDisputes, Leaf, Place, SignedReceipt} from "../../contracts/interfaces/IDisputes.sol";
import {Call, Receipt} from "../../contracts/libraries/Receipts.sol";
import {Entry, GatewayModel} from "./GatewayModel.sol";

abstract contract Auditor is GatewayModel {
    uint256 internal constant EQUIVOCATION = 0;
    uint256 internal constant OMISSION = 1;
    uint256 internal constant BREAK = 2;
    uint256 internal constant EDGE = 3;
    uint256 internal constant OVERCHARGE = 4;
    uint256 internal constant OVER_LIMIT = 5;
    uint256 internal constant DUPLICATE = 6;
    uint256 internal constant MISROUTE = 7;
    uint256 internal constant SILENCE = 8;
    uint256 public constant PROOFS = 9;

    /// @dev Sends a proof; returns whether the gateway was slashed.
    function accuse(uint256 proof, bytes memory data) internal virtual returns (bool);

    /// @dev Throws at place p each proof there is, until one hits.
    function audit(uint256 p) internal returns (bool) {
        for (uint256 i = 0; i < sizeOf(p); ++i) {
            for (uint256 proof = 0; proof < SILENCE; ++proof) {
                if (proof != DUPLICATE && accuse(proof, fitting(proof, p, i, i + 1))) return true;
            }
            for (uint256 q = 0; q <= p; ++q) {
                if (bookOf[q] != bookOf[p]) continue;
                uint256 before = q == p ? i : sizeOf(q);
                for (uint256 j = 0; j < before; ++j) {
                    if (accuse(DUPLICATE, committed(DUPLICATE, [q, j], [p, i], [p, i]))) return true;
                }
            }
        }
        return false;
    }

    /* EVIDENCE */

    /// @dev Receipt i of a settled place, as its published page shows it.
    function leafOf(uint256 p, uint256 i) internal view returns (Leaf memory) {
        Place storage place = places[p];
        bytes32[] memory leaves = leavesOf(bookOf[p], place.seqFrom, place.seqTo);
        return Leaf(entryOf(p, i).receipt, uint32(i), pathOf(leaves, i));
    }

    function entryOf(uint256 p, uint256 i) internal view returns (Entry memory) {
        return books[bookOf[p]].entries[places[p].seqFrom + i];
    }

    function sizeOf(uint256 p) internal view returns (uint256) {
        return places[p].seqTo - places[p].seqFrom;
    }

    /// @dev About receipt i of place p, with receipt j of it as the neighbour or later one if there is one.
    function fitting(uint256 proof, uint256 p, uint256 i, uint256 j) internal view returns (bytes memory) {
        (SignedReceipt memory first, SignedReceipt memory other) = handedOutAt(places[p].signer, places[p].seqFrom + i + 1);
        if (proof == EQUIVOCATION) return abi.encodeCall(IDisputes.proveEquivocation, (first, other));
        if (proof == OMISSION) return omission(p, i, first);
        return committed(proof, [p, i], [p, j < sizeOf(p) ? j : i], [p, i]);
    }

    /// @dev Any place with any leaves, calls, executions and sets of any others.
    function anyhow(uint256 proof, uint256 seed) internal view returns (bytes memory) {
        SignedReceipt memory signed = shown[uint32(seed) % shown.length];
        if (proof == EQUIVOCATION) {
            return abi.encodeCall(IDisputes.proveEquivocation, (signed, shown[uint32(seed >> 32) % shown.length]));
        }
        uint256[2] memory a = anyReceipt(seed >> 64);
        if (proof == OMISSION) return omission(a[0], a[1], signed);
        return committed(proof, a, anyReceipt(seed >> 128), anyReceipt(seed >> 192));
    }

    /// @dev A settled place and one in it.
    function anyReceipt(uint256 seed) internal view returns (uint256[2] memory) {
        uint256 p = uint32(seed) % places.length;
        return [p, uint32(seed >> 32) % sizeOf(p)];
    }

    /// @dev What was handed out first at a seq, and another one if there is one, in other words if there are any.
    function handedOutAt(
        address signer,
        uint256 seq
    ) internal view returns (SignedReceipt memory first, SignedReceipt memory other) {
        bytes32 hash;
        for (uint256 i = 0; i < shown.length; ++i) {
            if (shown[i].receipt.signer != signer || shown[i].receipt.seq != seq) continue;
            if (hash == 0) (first, hash) = (shown[i], probe.hashReceipt(shown[i].receipt));
            other = shown[i];
            if (probe.hashReceipt(other.receipt) != hash) break;
        }
    }

    function omission(uint256 p, uint256 i, SignedReceipt memory signed) internal view returns (bytes memory) {
        Leaf memory leaf = leafOf(p, i);
        // With the node opened and without.
        Receipt[] memory opened = new Receipt[](i % 2);
        if (opened.length == 1) opened[0] = leaf.receipt;
        bytes32 node = leafHash(bookOf[p], places[p].seqFrom + i);
        return abi.encodeCall(IDisputes.proveOmission, (signed, places[p], node, leaf.path, opened));
    }

    /// @dev Of receipts a, b; Call, Execution and set are those of c. Each is a place and one in it.
    function committed(
        uint256 proof,
        uint256[2] memory a,
        uint256[2] memory b,
        uint256[2] memory c
    ) internal view returns (bytes memory) {
        Place memory place = places[a[0]];
        Leaf memory leaf = leafOf(a[0], a[1]);
        if (proof == EDGE) return abi.encodeCall(IDisputes.proveEdge, (place, leaf));
        if (proof == BREAK) return abi.encodeCall(IDisputes.proveBreak, (place, leaf, leafOf(b[0], b[1])));
        if (proof == DUPLICATE) {
            return abi.encodeCall(IDisputes.proveDuplicate, (place, leaf, places[b[0]], leafOf(b[0], b[1])));
        }
        Entry memory e = entryOf(c[0], c[1]);
        if (proof == OVERCHARGE) return abi.encodeCall(IDisputes.proveOvercharge, (place, leaf, e.call, e.execution));
        if (proof == OVER_LIMIT) return abi.encodeCall(IDisputes.proveOverLimit, (place, leaf, e.call, e.execution));
        (uint32 setNo, uint64[] memory set) = setOf(e.call);
        return abi.encodeCall(IDisputes.proveMisroute, (place, leaf, e.call, e.execution, setNo, set));
    }

    function setOf(Call memory call) internal view returns (uint32 setNo, uint64[] memory set) {
        uint256 v = versionNo(call);
        setNo = setAt(v, call.beacon);
        set = sets[v][setNo - 1].ids;
    }
}
