// SPDX-License-Identifier: Apache-2.0
// Public randomness from block hashes; feeds the draw of candidates.
pragma solidity 0.8.37;

import {Epoch, IBeacon} from "./interfaces/IBeacon.sol";

/// @title Beacon
contract Beacon is IBeacon {
    /// History contract of EIP-2935, if the chain has it: the hashes of the last 8 191 blocks.
    address private constant HISTORY = 0x0000F90827F1C53a10cb7A02335B175320002935;
    /// Reach of the BLOCKHASH opcode, blocks.
    uint256 private constant RECENT = 256;

    /* IMMUTABLES */

    /// @inheritdoc IBeacon
    uint64 public immutable K;

    /* STORAGE */

    mapping(uint64 epoch => Epoch) private _epochs;

    /* CONSTRUCTOR */

    constructor(uint64 k) {
        if (k == 0 || k > 256) revert InvalidK(k);
        K = k;
    }

    /* EXTERNAL */

    /// @inheritdoc IBeacon
    function checkpoint(uint64 epoch) external returns (uint192 value) {
        if (_epochs[epoch].time != 0) revert Known(epoch);
        uint256 height = uint256(epoch) * K;
        if (height >= block.number) revert NotYet(height);
        bytes32 hash = block.number - height <= RECENT ? blockhash(height) : _historicHash(height);
        if (hash == 0) revert TooLate(height);
        value = uint192(uint256(keccak256(abi.encode(block.chainid, epoch, hash))));
        _epochs[epoch] = Epoch(value, uint64(block.timestamp));
        emit Checkpointed(epoch, value);
    }

    /* INTERNAL */

    /// @return hash Zero when it is too old, or the chain has no history contract.
    function _historicHash(uint256 height) private view returns (bytes32 hash) {
        (bool ok, bytes memory answer) = HISTORY.staticcall(abi.encode(height));
        // The data of a revert is no hash.
        if (ok && answer.length == 32) hash = bytes32(answer);
    }

    /* VIEW */

    /// @inheritdoc IBeacon
    function epochOf(uint64 epoch) external view returns (Epoch memory) {
        return _epochs[epoch];
    }

    /// @inheritdoc IBeacon
    function nextEpoch() external view returns (uint64) {
        return uint64(block.number / K) + 1;
    }
}
