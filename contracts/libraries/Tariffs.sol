// SPDX-License-Identifier: Apache-2.0
// What an invocation costs. Twin: tariffs.ts.
pragma solidity 0.8.37;

/// @notice The publisher's price of a version; amounts in token units.
struct Tariff {
    uint64 perCall;
    uint64 perGiBSecond;
    /// The most one invocation may cost.
    uint64 maxPrice;
    uint32 minBilledMs;
    /// Duration is billed per started roundMs, 1 to 60 000.
    uint32 roundMs;
    /// The publisher's royalty on what the gateway's fee leaves, basis points.
    uint16 publisherBps;
}

/// @notice All that a price depends on besides the Execution.
struct PriceTerms {
    Tariff tariff;
    uint32 memoryMiB;
    uint32 timeoutMs;
}

/// @title Tariffs
library Tariffs {
    /// @notice Price of one invocation, token units, rounded up, never above the tariff's maxPrice.
    /// @dev The largest product is below 2^129. A version that does not exist has roundMs 0 and is
    /// worth nothing.
    /// @param billedMs,memoryMiB What the provider reported; more than the version's limits is not
    /// charged.
    /// @param status 0 = failed, free.
    function priceOf(
        PriceTerms memory terms,
        uint256 billedMs,
        uint256 memoryMiB,
        uint256 status
    ) internal pure returns (uint256 price) {
        Tariff memory tariff = terms.tariff;
        if (status == 0 || tariff.roundMs == 0) return 0;
        uint256 ms = billedMs < terms.timeoutMs ? billedMs : terms.timeoutMs;
        if (ms < tariff.minBilledMs) ms = tariff.minBilledMs;
        ms = ((ms + tariff.roundMs - 1) / tariff.roundMs) * tariff.roundMs;
        uint256 mib = memoryMiB < terms.memoryMiB ? memoryMiB : terms.memoryMiB;
        price = tariff.perCall + (tariff.perGiBSecond * mib * ms + 1_023_999) / 1_024_000;
        if (price > tariff.maxPrice) price = tariff.maxPrice;
    }
}
