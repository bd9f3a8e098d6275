// SPDX-License-Identifier: Apache-2.0
// Names and the ids made from them. Twin: names.ts.
pragma solidity 0.8.37;

/// @title Names
library Names {
    /// @notice Id of a function: unique by construction, the same for ever.
    function functionIdOf(address namespace, string memory name) internal pure returns (uint256) {
        return uint256(keccak256(abi.encode(namespace, name)));
    }

    /// @notice Id of a version of a function in the registry at `registry`.
    function functionVersionOf(address registry, uint256 functionId, uint32 number) internal pure returns (bytes32) {
        return keccak256(abi.encode(registry, functionId, number));
    }

    /// @notice Whether `name` is 1 to 63 characters of [a-z0-9-].
    function isName(string calldata name) internal pure returns (bool) {
        bytes calldata text = bytes(name);
        if (text.length == 0 || text.length > 63) return false;
        for (uint256 i = 0; i < text.length; ++i) {
            bytes1 c = text[i];
            if (!((c >= "a" && c <= "z") || (c >= "0" && c <= "9") || c == "-")) return false;
        }
        return true;
    }
}
