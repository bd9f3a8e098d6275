// SPDX-License-Identifier: Apache-2.0
// Public randomness from block hashes; feeds the draw of candidates.
pragma solidity 0.8.37;

import {Blockhash} from "@openzeppelin/contracts/utils/Blockhash.sol";
import {Epoch, IBeacon} from "./interfaces/IBeacon.sol";

/// @title Beacon
contract Beacon is IBeacon {
    /// How far back EIP-2935 remembers, blocks. Beyond it the history contract reverts, and what it then returns is no hash.
    uint256 private constant HISTORY = 8_191;

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
        if (block.number - height > HISTORY) revert TooLate(height);
        bytes32 hash = Blockhash.blockHash(height);
        if (hash == 0) revert TooLate(height);
        value = uint192(uint256(keccak256(abi.encode(block.chainid, epoch, hash))));
        _epochs[epoch] = Epoch(value, uint64(block.timestamp));
        emit Checkpointed(epoch, value);
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
