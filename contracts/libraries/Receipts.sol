// SPDX-License-Identifier: Apache-2.0
// The hashed and signed structs of evidence: Call, Execution, Receipt, ReceiptGroup, the claim leaf
// and the batch word. Twin: receipts.ts.
pragma solidity 0.8.37;

/// @notice The request of a caller. Signed by the session key in `signed` lanes, written by the
/// gateway in `prepaid` lanes.
struct Call {
    address payer;
    address gateway;
    address signer;
    /// Unique in the lane. Own calls: 16 bytes of the client's choice and a 16-byte tag under the
    /// lane's secret; calls under a mandate: keccak256(abi.encode(authority, item)).
    bytes32 nonce;
    bytes32 functionVersion;
    /// sha256(salt32 || sha256(method LF target) || sha256(body)): the whole request.
    bytes32 input;
    /// The most this call may cost, token units.
    uint128 maxPrice;
    /// Latest time of completion, seconds.
    uint40 deadline;
    /// The recorded Beacon epoch that draws the candidates.
    uint64 beacon;
    /// Hash of the payer's Mandate that allows the call; 0 = the payer's own call.
    bytes32 authority;
}

/// @notice The execution. Not signed by itself; the receipt's signature binds it.
struct Execution {
    /// Deployment id of FunctionRegistry.
    uint64 deployment;
    /// keccak256 of the provider's request id, UTF-8.
    bytes32 request;
    uint32 billedMs;
    /// The cold start's part of the time, as the cloud or the shim reports it; not priced.
    uint32 initMs;
    uint32 memoryMiB;
    /// HTTP status the function returned; 0 = failed, and then the price is 0.
    uint16 status;
    /// The same as the Call's.
    bytes32 input;
    /// sha256(salt32 || sha256(status in decimal) || sha256(body)): the whole answer.
    bytes32 output;
    /// Seconds.
    uint40 finishedAt;
}

/// @notice One charged or free invocation. Its hash is its public id and the leaf of the group tree
/// and the lane tree.
struct Receipt {
    address payer;
    address gateway;
    address signer;
    /// Dense in the lane, from 1.
    uint40 seq;
    /// hashCall of the Call.
    bytes32 call;
    /// hashExecution of the Execution.
    bytes32 execution;
    address provider;
    /// Place of the used deployment in the drawn order.
    uint8 attempt;
    /// Block as of which the call was authorised.
    uint64 atBlock;
    /// Token units.
    uint128 price;
    /// Sum of the prices of the lane up to and with this receipt, token units.
    uint128 cumulative;
}

/// @title Receipts
/// @notice Hashes of evidence. Every field is 32 bytes, big-endian, left-padded, in the order of
/// the struct.
library Receipts {
    bytes32 internal constant CALL_TYPEHASH =
        keccak256(
            "Call(address payer,address gateway,address signer,bytes32 nonce,bytes32 functionVersion,bytes32 input,uint128 maxPrice,uint40 deadline,uint64 beacon,bytes32 authority)"
        );
    bytes32 internal constant EXECUTION_TYPEHASH =
        keccak256(
            "Execution(uint64 deployment,bytes32 request,uint32 billedMs,uint32 initMs,uint32 memoryMiB,uint16 status,bytes32 input,bytes32 output,uint40 finishedAt)"
        );
    bytes32 internal constant RECEIPT_TYPEHASH =
        keccak256(
            "Receipt(address payer,address gateway,address signer,uint40 seq,bytes32 call,bytes32 execution,address provider,uint8 attempt,uint64 atBlock,uint128 price,uint128 cumulative)"
        );
    bytes32 internal constant RECEIPT_GROUP_TYPEHASH =
        keccak256("ReceiptGroup(address gateway,bytes32 root,uint32 count)");

    /// @notice hashStruct(Call), over 352 bytes. Reverts on a field with dirty high bits.
    function hashCall(Call calldata c) internal pure returns (bytes32) {
        return keccak256(abi.encode(CALL_TYPEHASH, c));
    }

    /// @notice hashStruct(Execution), over 320 bytes.
    function hashExecution(Execution calldata e) internal pure returns (bytes32) {
        return keccak256(abi.encode(EXECUTION_TYPEHASH, e));
    }

    /// @notice hashStruct(Receipt), over 384 bytes, without domain: the group's signature and the
    /// contract supply it.
    function hashReceipt(Receipt calldata r) internal pure returns (bytes32) {
        return keccak256(abi.encode(RECEIPT_TYPEHASH, r));
    }

    /// @notice hashStruct(ReceiptGroup): the receipts of one durable commit, signed once by an
    /// operator key of the gateway.
    function hashReceiptGroup(address gateway, bytes32 root, uint32 count) internal pure returns (bytes32) {
        return keccak256(abi.encode(RECEIPT_GROUP_TYPEHASH, gateway, root, count));
    }

    /// @notice Leaf of the batch tree, over 224 bytes.
    /// @param settledFrom,settledTo The lane's settled amount before and after the claim, token
    /// units.
    /// @param seqFrom,seqTo The lane's newest settled receipt before and after the claim.
    /// @param receipts Root of the lane tree.
    function hashClaim(
        address payer,
        address signer,
        uint256 settledFrom,
        uint256 settledTo,
        uint256 seqFrom,
        uint256 seqTo,
        bytes32 receipts
    ) internal pure returns (bytes32) {
        return keccak256(abi.encode(payer, signer, settledFrom, settledTo, seqFrom, seqTo, receipts));
    }

    /// @notice The word that Billing stores for a batch. It includes the time, so that proof
    /// windows need no further storage.
    /// @param outside Root of the receipts that are settled outside lanes; 0 while there are none.
    function batchWord(
        bytes32 root,
        bytes32 outside,
        uint256 claims,
        uint256 timestamp
    ) internal pure returns (bytes32) {
        return keccak256(abi.encode(root, outside, claims, timestamp));
    }
}
