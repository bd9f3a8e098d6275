// SPDX-License-Identifier: Apache-2.0
// ECDSA first, then ERC-1271. Off-chain counterpart: contracts/signatures.ts.
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

/// @title Signatures
library Signatures {
    /// @notice Signer of `digest`, or zero when `signature` is malformed (not 65 bytes, high s, bad
    /// v).
    function recover(bytes32 digest, bytes calldata signature) internal pure returns (address signer) {
        // On any error tryRecover returns the zero address.
        (signer, , ) = ECDSA.tryRecoverCalldata(digest, signature);
    }

    /// @notice Whether `signature` is `account`'s own ECDSA signature; contracts are not asked.
    function isFromKey(address account, bytes32 digest, bytes calldata signature) internal pure returns (bool) {
        address signer = recover(digest, signature);
        return signer != address(0) && signer == account;
    }

    /// @notice Whether `account` signed `digest`: by ECDSA, also when it has code (EIP-7702), else
    /// by its ERC-1271 answer.
    /// @dev Warning: an ERC-1271 answer may differ from one call to the next.
    function isFromAccount(address account, bytes32 digest, bytes calldata signature) internal view returns (bool) {
        return
            isFromKey(account, digest, signature) ||
            (account.code.length > 0 &&
                SignatureChecker.isValidERC1271SignatureNowCalldata(account, digest, signature));
    }
}
