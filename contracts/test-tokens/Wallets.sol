// SPDX-License-Identifier: Apache-2.0
// Contract accounts for tests: an ERC-1271 wallet, which may also change its mind.
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";

/// @title Wallet1271
/// @notice Accepts its owner's signatures; `flip` makes it refuse, and accept again. Does any call
/// for anybody.
contract Wallet1271 is IERC1271 {
    address public immutable OWNER;
    bool public refuses;

    constructor(address owner) {
        OWNER = owner;
    }

    function flip() external {
        refuses = !refuses;
    }

    function run(address target, bytes calldata data) external returns (bytes memory answer) {
        bool ok;
        (ok, answer) = target.call(data);
        if (!ok) {
            assembly {
                revert(add(answer, 0x20), mload(answer))
            }
        }
    }

    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        return
            !refuses && ECDSA.recoverCalldata(hash, signature) == OWNER
                ? IERC1271.isValidSignature.selector
                : bytes4(0xffffffff);
    }
}

/// @title WalletFactory
/// @notice Makes a wallet at an address that is known before, so that ERC-6492 signatures can be
/// tested.
contract WalletFactory {
    function create(address owner) external returns (address) {
        return address(new Wallet1271{salt: 0}(owner));
    }
}
