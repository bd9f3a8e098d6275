// SPDX-License-Identifier: Apache-2.0
// Public randomness: one value per epoch of K blocks.
pragma solidity 0.8.37;

/// @notice A recorded epoch, one word.
/// @param value Low 192 bits of keccak256(abi.encode(chainid, epoch, blockhash(epoch x K))).
/// @param time Block timestamp of the checkpoint, seconds; 0 = not recorded.
struct Epoch {
    uint192 value;
    uint64 time;
}

/// @title IBeacon
/// @notice Records the hash of the block at an exact height, so that the caller of `checkpoint` has
/// no choice at all.
/// @dev Warning: a block proposer has about one bit of influence. Uses block hashes only, never
/// `prevrandao`.
interface IBeacon {
    /// @notice Epoch `epoch` has its value, for ever. Its time is the timestamp of this block.
    event Checkpointed(uint64 indexed epoch, uint192 value);

    /// @notice The block of the epoch is not behind the current one yet.
    error NotYet(uint256 height);
    /// @notice The block's hash is no longer available: 256 blocks, or 8 191 on chains with
    /// EIP-2935.
    error TooLate(uint256 height);
    /// @notice The epoch is recorded already.
    error Known(uint64 epoch);
    /// @notice K must be 1 to 256, so that each epoch can be recorded on any chain.
    error InvalidK(uint256 k);

    /// @notice Blocks per epoch.
    function K() external view returns (uint64);

    /// @notice Records the value of `epoch`, whose height is epoch x K. Anyone may call, once per
    /// epoch.
    function checkpoint(uint64 epoch) external returns (uint192 value);

    /// @notice The record of `epoch`; all zero when not recorded.
    function epochOf(uint64 epoch) external view returns (Epoch memory);

    /// @notice The first epoch whose block does not exist yet: floor(block.number / K) + 1.
    function nextEpoch() external view returns (uint64);
}
