// SPDX-License-Identifier: Apache-2.0
// The libraries as external functions, so that tests compare them with their TypeScript twins.
pragma solidity 0.8.37;

import {Draw} from "../libraries/Draw.sol";
import {Names} from "../libraries/Names.sol";
import {OrderedMerkle} from "../libraries/OrderedMerkle.sol";
import {Call, Execution, Receipt, Receipts} from "../libraries/Receipts.sol";
import {Signatures} from "../libraries/Signatures.sol";
import {PriceTerms, Tariffs} from "../libraries/Tariffs.sol";
import {TypedData} from "../libraries/TypedData.sol";

/// @title LibraryProbe
contract LibraryProbe {
    function hashReceipt(Receipt calldata r) external pure returns (bytes32) {
        return Receipts.hashReceipt(r);
    }

    function hashCall(Call calldata c) external pure returns (bytes32) {
        return Receipts.hashCall(c);
    }

    function hashExecution(Execution calldata e) external pure returns (bytes32) {
        return Receipts.hashExecution(e);
    }

    function hashReceiptGroup(address gateway, bytes32 root, uint32 count) external pure returns (bytes32) {
        return Receipts.hashReceiptGroup(gateway, root, count);
    }

    function hashClaim(
        address payer,
        address signer,
        uint256 settledFrom,
        uint256 settledTo,
        uint256 seqFrom,
        uint256 seqTo,
        bytes32 receipts
    ) external pure returns (bytes32) {
        return Receipts.hashClaim(payer, signer, settledFrom, settledTo, seqFrom, seqTo, receipts);
    }

    function batchWord(
        bytes32 root,
        bytes32 outside,
        uint256 claims,
        uint256 timestamp
    ) external pure returns (bytes32) {
        return Receipts.batchWord(root, outside, claims, timestamp);
    }

    function hashVoucher(
        address payer,
        address gateway,
        address signer,
        uint128 ceiling
    ) external pure returns (bytes32) {
        return TypedData.hashVoucher(payer, gateway, signer, ceiling);
    }

    function hashPayout(address gateway, address payee, uint128 cumulative) external pure returns (bytes32) {
        return TypedData.hashPayout(gateway, payee, cumulative);
    }

    function billingSeparator(address billing) external view returns (bytes32) {
        return TypedData.billingSeparator(billing);
    }

    function rootOf(bytes32[] memory leaves) external pure returns (bytes32) {
        return OrderedMerkle.rootOf(leaves);
    }

    function verify(
        bytes32 leaf,
        uint256 index,
        uint256 count,
        bytes32[] calldata path,
        bytes32 root
    ) external pure returns (bool) {
        return OrderedMerkle.verify(leaf, index, count, path, root);
    }

    function priceOf(
        PriceTerms memory terms,
        uint256 billedMs,
        uint256 memoryMiB,
        uint256 status
    ) external pure returns (uint256) {
        return Tariffs.priceOf(terms, billedMs, memoryMiB, status);
    }

    function seedOf(
        uint192 value,
        address payer,
        address signer,
        bytes32 nonce
    ) external pure returns (bytes32) {
        return Draw.seedOf(value, payer, signer, nonce);
    }

    function drawOrder(
        bytes32 seed,
        uint64[] memory ids,
        uint256 steps
    ) external pure returns (uint64[] memory) {
        Draw.shuffle(seed, ids, steps);
        return ids;
    }

    function functionIdOf(address namespace, string memory name) external pure returns (uint256) {
        return Names.functionIdOf(namespace, name);
    }

    function functionVersionOf(
        address registry,
        uint256 functionId,
        uint32 number
    ) external pure returns (bytes32) {
        return Names.functionVersionOf(registry, functionId, number);
    }

    function isName(string calldata name) external pure returns (bool) {
        return Names.isName(name);
    }

    function recover(bytes32 digest, bytes calldata signature) external pure returns (address) {
        return Signatures.recover(digest, signature);
    }
}
