// SPDX-License-Identifier: Apache-2.0
// Makes proofs of what a gateway has handed out and published, of pieces that belong together and
// of any pieces.
pragma solidity 0.8.37;

import {IDisputes, Leaf, Place, SignedReceipt} from "../../contracts/interfaces/IDisputes.sol";
import {Call, Receipt} from "../../contracts/libraries/Receipts.sol";
import {Entry, GatewayModel} from "./GatewayModel.sol";

abstract contract Auditor is GatewayModel {
    uint256 internal constant OMISSION = 0;
    uint256 internal constant BREAK = 1;
    uint256 internal constant EDGE = 2;
    uint256 internal constant OVERCHARGE = 3;
    uint256 internal constant OVER_LIMIT = 4;
    uint256 internal constant DUPLICATE = 5;
    uint256 internal constant MISROUTE = 6;
    uint256 internal constant SILENCE = 7;
    uint256 public constant PROOFS = 8;

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

    /// @dev About receipt i of place p, with receipt j of it as the neighbour or later one if there
    ///   is one.
    function fitting(uint256 proof, uint256 p, uint256 i, uint256 j) internal view returns (bytes memory) {
        if (proof == OMISSION) return omission(p, i, handedOutAt(p, i));
        return committed(proof, [p, i], [p, j < sizeOf(p) ? j : i], [p, i]);
    }

    /// @dev Any place with any leaves, calls, executions and sets of any others.
    function anyhow(uint256 proof, uint256 seed) internal view returns (bytes memory) {
        uint256[2] memory a = anyReceipt(seed >> 64);
        if (proof == OMISSION) return omission(a[0], a[1], shown[uint32(seed) % shown.length]);
        return committed(proof, a, anyReceipt(seed >> 128), anyReceipt(seed >> 192));
    }

    /// @dev A settled place and one in it.
    function anyReceipt(uint256 seed) internal view returns (uint256[2] memory) {
        uint256 p = uint32(seed) % places.length;
        return [p, uint32(seed >> 32) % sizeOf(p)];
    }

    /// @dev What was handed out for the seq of receipt i of place p: another receipt than the
    ///   settled one, if there is one.
    function handedOutAt(uint256 p, uint256 i) internal view returns (SignedReceipt memory found) {
        bytes32 settled = leafHash(bookOf[p], places[p].seqFrom + i);
        for (uint256 k = 0; k < shown.length; ++k) {
            Receipt storage r = shown[k].receipt;
            if (r.signer != places[p].signer || r.seq != places[p].seqFrom + i + 1) continue;
            found = shown[k];
            if (probe.hashReceipt(found.receipt) != settled) break;
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

    /// @dev Of receipts a, b; Call, Execution and set are those of c. Each is a place and one in
    ///   it.
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
