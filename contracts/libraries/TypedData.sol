// SPDX-License-Identifier: Apache-2.0
// hashStruct of the EIP-712 types of Billing and Identity (evidence types: Receipts.sol). Twin:
// typed-data.ts.
pragma solidity 0.8.37;

/// @title TypedData
library TypedData {
    string internal constant BILLING_NAME = "DeFaaS Billing";
    string internal constant IDENTITY_NAME = "DeFaaS Identity";
    string internal constant VERSION = "1";

    bytes32 internal constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");

    bytes32 internal constant VOUCHER_TYPEHASH =
        keccak256("Voucher(address payer,address gateway,address signer,uint128 ceiling)");
    bytes32 internal constant PAYOUT_TYPEHASH =
        keccak256("Payout(address gateway,address payee,uint128 cumulative)");
    bytes32 internal constant ALLOT_TYPEHASH =
        keccak256("Allot(address payer,address gateway,uint128 amount,uint256 nonce,uint40 deadline)");
    bytes32 internal constant SET_LIMIT_TYPEHASH =
        keccak256("SetLimit(address payer,address gateway,uint128 limit,uint256 nonce,uint40 deadline)");
    bytes32 internal constant OPEN_LANE_TYPEHASH =
        keccak256(
            "OpenLane(address payer,address gateway,address signer,uint128 cap,uint32 expiry,uint8 mode,uint256 nonce,uint40 deadline)"
        );
    bytes32 internal constant EXTEND_LANE_TYPEHASH =
        keccak256(
            "ExtendLane(address payer,address gateway,address signer,uint128 cap,uint32 expiry,uint256 nonce,uint40 deadline)"
        );
    bytes32 internal constant CLOSE_LANE_TYPEHASH =
        keccak256("CloseLane(address payer,address gateway,address signer,uint256 nonce,uint40 deadline)");
    bytes32 internal constant THAW_TYPEHASH =
        keccak256("Thaw(address payer,address gateway,uint128 amount,uint256 nonce,uint40 deadline)");
    bytes32 internal constant CANCEL_THAW_TYPEHASH =
        keccak256("CancelThaw(address payer,address gateway,uint256 nonce,uint40 deadline)");
    bytes32 internal constant WITHDRAW_TYPEHASH =
        keccak256("Withdraw(address account,address to,uint128 amount,uint256 nonce,uint40 deadline)");

    bytes32 internal constant OPERATOR_KEY_TYPEHASH =
        keccak256("OperatorKey(address party,address key,uint8 role,uint40 deadline)");
    bytes32 internal constant GRANT_TYPEHASH =
        keccak256(
            "Grant(uint256 functionId,address subject,uint40 expiry,uint32 scopes,address granter,uint256 nonce,uint40 deadline)"
        );
    bytes32 internal constant REVOKE_GRANT_TYPEHASH =
        keccak256("RevokeGrant(uint256 functionId,address subject,address granter,uint256 nonce,uint40 deadline)");

    /// @notice Domain separator of the Billing at `billing`, under which receipts, vouchers and
    /// Calls are signed.
    function billingSeparator(address billing) internal view returns (bytes32) {
        return
            keccak256(
                abi.encode(
                    DOMAIN_TYPEHASH,
                    keccak256(bytes(BILLING_NAME)),
                    keccak256(bytes(VERSION)),
                    block.chainid,
                    billing
                )
            );
    }

    function hashVoucher(
        address payer,
        address gateway,
        address signer,
        uint128 ceiling
    ) internal pure returns (bytes32) {
        return keccak256(abi.encode(VOUCHER_TYPEHASH, payer, gateway, signer, ceiling));
    }

    function hashPayout(address gateway, address payee, uint128 cumulative) internal pure returns (bytes32) {
        return keccak256(abi.encode(PAYOUT_TYPEHASH, gateway, payee, cumulative));
    }
}
