// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Call, Execution, Receipt} from "../../contracts/libraries/Receipts.sol";
import {PriceTerms, Tariff} from "../../contracts/libraries/Tariffs.sol";
import {World} from "./World.sol";

contract LibrariesTest is World {
    function leaves(uint256 n, bytes32 seed) internal pure returns (bytes32[] memory all) {
        all = new bytes32[](n);
        for (uint256 i = 0; i < n; ++i) all[i] = keccak256(abi.encode(seed, i));
    }

    function test_TreeOfEverySizeHasTheNaiveRootAndProvesEachPlaceOnly() public view {
        for (uint256 n = 1; n <= 40; ++n) {
            bytes32[] memory all = leaves(n, bytes32(n));
            bytes32 root = probe.rootOf(all);
            eq(root, rootOf(leaves(n, bytes32(n))), "root");
            for (uint256 i = 0; i < n; ++i) {
                bytes32[] memory path = pathOf(all, i);
                yes(probe.verify(all[i], i, n, path, root), "own place");
                no(probe.verify(all[i], (i + 1) % n == i ? n : (i + 1) % n, n, path, root), "another place");
                no(probe.verify(all[i], i + n, n, path, root), "outside");
            }
        }
    }

    function testFuzz_PathMustHaveTheRightLength(uint256 n, uint256 i, bytes32 seed) public view {
        n = bound(n, 1, 300);
        i = bound(i, 0, n - 1);
        bytes32[] memory all = leaves(n, seed);
        bytes32 root = rootOf(all);
        bytes32[] memory path = pathOf(all, i);
        yes(probe.verify(all[i], i, n, path, root), "right");
        bytes32[] memory long = new bytes32[](path.length + 1);
        for (uint256 k = 0; k < path.length; ++k) long[k] = path[k];
        no(probe.verify(all[i], i, n, long, root), "too long");
        if (path.length > 0) {
            bytes32[] memory short = new bytes32[](path.length - 1);
            for (uint256 k = 0; k < short.length; ++k) short[k] = path[k];
            no(probe.verify(all[i], i, n, short, root), "too short");
            path[uint256(seed) % path.length] ^= bytes32(uint256(1));
            no(probe.verify(all[i], i, n, path, root), "altered");
        }
    }

    function test_NoLeavesProveNothing() public view {
        no(probe.verify(0, 0, 0, new bytes32[](0), 0), "empty tree");
        no(probe.verify(0, 0, 1, new bytes32[](0), 0), "zero root");
    }

    function testFuzz_HashesAreEip712Structs(Call memory c, Execution memory e, Receipt memory r) public view {
        bytes32 callType = keccak256(
            "Call(address payer,address gateway,address signer,bytes32 nonce,bytes32 functionVersion,bytes32 input,uint128 maxPrice,uint40 deadline,uint64 beacon,bytes32 authority)"
        );
        bytes32 executionType = keccak256(
            "Execution(uint64 deployment,bytes32 request,uint32 billedMs,uint32 initMs,uint32 memoryMiB,uint16 status,bytes32 input,bytes32 output,uint40 finishedAt)"
        );
        bytes32 receiptType = keccak256(
            "Receipt(address payer,address gateway,address signer,uint40 seq,bytes32 call,bytes32 execution,address provider,uint8 attempt,uint64 atBlock,uint128 price,uint128 cumulative)"
        );
        bytes memory callBytes = abi.encode(callType, c);
        bytes memory executionBytes = abi.encode(executionType, e);
        bytes memory receiptBytes = abi.encode(receiptType, r);
        eq(callBytes.length, 352, "call length");
        eq(executionBytes.length, 320, "execution length");
        eq(receiptBytes.length, 384, "receipt length");
        eq(probe.hashCall(c), keccak256(callBytes), "call");
        eq(probe.hashExecution(e), keccak256(executionBytes), "execution");
        eq(probe.hashReceipt(r), keccak256(receiptBytes), "receipt");
    }

    function testFuzz_OtherHashesAreOfTheirFieldsInOrder(address a, address b, address c, uint128 n, bytes32 root) public view {
        uint32 count = uint32(n);
        bytes32 groupType = keccak256("ReceiptGroup(address gateway,bytes32 root,uint32 count)");
        eq(probe.hashReceiptGroup(a, root, count), keccak256(abi.encode(groupType, a, root, count)), "group");
        eq(
            probe.hashClaim(a, b, n, 2, 3, 4, root),
            keccak256(abi.encode(a, b, uint256(n), uint256(2), uint256(3), uint256(4), root)),
            "claim"
        );
        eq(probe.batchWord(root, groupType, n, 5), keccak256(abi.encode(root, groupType, uint256(n), uint256(5))), "batch");
        bytes32 voucherType = keccak256("Voucher(address payer,address gateway,address signer,uint128 ceiling)");
        eq(probe.hashVoucher(a, b, c, n), keccak256(abi.encode(voucherType, a, b, c, n)), "voucher");
        bytes32 payoutType = keccak256("Payout(address gateway,address payee,uint128 cumulative)");
        eq(probe.hashPayout(a, b, n), keccak256(abi.encode(payoutType, a, b, n)), "payout");
        bytes32 domainType = keccak256(
            "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
        );
        eq(
            probe.billingSeparator(a),
            keccak256(abi.encode(domainType, keccak256("DeFaaS Billing"), keccak256("1"), block.chainid, a)),
            "domain"
        );
    }

    function test_PriceByHand() public view {
        PriceTerms memory terms = PriceTerms(Tariff(20, 40, 100_000, 100, 100, 0), 128, 10_000);
        // 101 ms -> 200 ms at 64 MiB: 40 x 64 x 200 / 1 024 000 = 0.5 -> 1
        eq(probe.priceOf(terms, 101, 64, 200), 21, "rounded up");
        eq(probe.priceOf(terms, 0, 64, 500), 21, "least duration; a 5xx of the function is charged");
        eq(probe.priceOf(terms, 5_000, 128, 0), 0, "failed");
        // 10 000 ms x 128 MiB: 40 x 128 x 10 000 / 1 024 000 = 50
        eq(probe.priceOf(terms, 20_000, 4096, 200), 70, "never above the limits");
        terms.tariff.maxPrice = 60;
        eq(probe.priceOf(terms, 20_000, 4096, 200), 60, "never above the maximum");
        terms.tariff.roundMs = 0;
        eq(probe.priceOf(terms, 20_000, 4096, 200), 0, "no version");
    }

    function test_PriceOfOneGiBSecondIsTheTariffs() public view {
        PriceTerms memory terms = PriceTerms(Tariff(7, 1e9, 1e18, 1, 250, 0), 1_024, 60_000);
        eq(probe.priceOf(terms, 1_000, 1_024, 200), 7 + 1e9, "a GiB second");
        eq(probe.priceOf(terms, 1_001, 1_024, 200), 7 + 1.25e9, "a round begun");
        eq(probe.priceOf(terms, 1_250, 1_024, 200), 7 + 1.25e9, "a round ended");
        eq(probe.priceOf(terms, 251, 512, 200), 7 + 0.25e9, "half the memory, two rounds");
        eq(probe.priceOf(terms, 0, 1_024, 200), 7 + 0.25e9, "at least one");
    }

    function testFuzz_PriceIsBoundedAndGrows(PriceTerms memory terms, uint32 ms, uint32 mib, uint16 status) public view {
        terms.tariff.roundMs = uint32(bound(terms.tariff.roundMs, 1, 60_000));
        uint256 price = probe.priceOf(terms, ms, mib, status);
        yes(price <= terms.tariff.maxPrice, "bounded");
        if (status != 0 && ms < type(uint32).max) {
            yes(probe.priceOf(terms, uint256(ms) + 1, mib, status) >= price, "grows with time");
            yes(probe.priceOf(terms, ms, uint256(mib) + 1, status) >= price, "grows with memory");
        }
    }

    function testFuzz_DrawIsAPermutationAndSteppable(bytes32 seed, uint256 n) public view {
        n = bound(n, 1, 32);
        uint64[] memory all = new uint64[](n);
        for (uint256 i = 0; i < n; ++i) all[i] = uint64(i + 1);
        uint64[] memory order = probe.drawOrder(seed, all, n);
        uint256 seen = 0;
        for (uint256 i = 0; i < n; ++i) seen |= 1 << order[i];
        eq(seen, (1 << (n + 1)) - 2, "each once");
        eq(order[0], 1 + ((uint256(seed) >> 128) % n), "first by the high half");
        uint64[] memory two = probe.drawOrder(seed, all, 2);
        eq(two[0], order[0], "first of two");
        if (n > 1) eq(two[1], order[1], "second of two");
        eq(probe.drawOrder(seed, all, 99)[n - 1], order[n - 1], "more steps than ids");
    }

    function testFuzz_DrawIsThePartialShuffleOfTheSeed(
        uint192 value,
        address payer,
        address signer,
        bytes32 nonce,
        uint256 n
    ) public view {
        n = bound(n, 1, 32);
        bytes32 seed = keccak256(abi.encode(value, payer, signer, nonce));
        eq(probe.seedOf(value, payer, signer, nonce), seed, "seed");
        uint64[] memory all = new uint64[](n);
        uint64[] memory expected = new uint64[](n);
        for (uint256 i = 0; i < n; ++i) all[i] = expected[i] = uint64(7 * i + 1);
        for (uint256 k = 0; k < n; ++k) {
            uint256 s = uint256(keccak256(abi.encode(seed, k)));
            if (k == 0) s = uint256(seed) / 2 ** 128;
            if (k == 1) s = uint256(seed) % 2 ** 128;
            uint256 other = k + (s % (n - k));
            uint64 taken = expected[k];
            expected[k] = expected[other];
            expected[other] = taken;
        }
        uint64[] memory order = probe.drawOrder(seed, all, n);
        for (uint256 i = 0; i < n; ++i) eq(order[i], expected[i], "place");
        uint64[] memory one = probe.drawOrder(seed, all, 1);
        uint256 moved = 0;
        for (uint256 i = 0; i < n; ++i) if (one[i] != all[i]) ++moved;
        yes(moved == 0 || moved == 2, "one step swaps once");
    }

    function testFuzz_IdsAreHashesOfWhatNamesThem(address a, string calldata name, uint256 id, uint32 number) public view {
        eq(probe.functionIdOf(a, name), uint256(keccak256(abi.encode(a, name))), "function");
        eq(probe.functionVersionOf(a, id, number), keccak256(abi.encode(a, id, number)), "version");
    }

    function test_Names() public view {
        yes(probe.isName("a"), "one");
        yes(probe.isName("az-09"), "all kinds");
        no(probe.isName(""), "empty");
        no(probe.isName("A"), "upper case");
        no(probe.isName("a_b"), "underscore");
        no(probe.isName("a`"), "below a");
        no(probe.isName("{"), "above z");
        no(probe.isName("/"), "below 0");
        no(probe.isName(":"), "above 9");
        bytes memory long = new bytes(64);
        for (uint256 i = 0; i < 64; ++i) long[i] = "x";
        no(probe.isName(string(long)), "64");
        assembly {
            mstore(long, 63)
        }
        yes(probe.isName(string(long)), "63");
    }

    function test_RecoverGivesZeroForMalformedSignatures() public view {
        bytes memory signature = sign(SESSION_KEY, bytes32(uint256(1)));
        eq(probe.recover(bytes32(uint256(1)), signature), SESSION, "good");
        signature[64] = 0x05;
        eq(probe.recover(bytes32(uint256(1)), signature), address(0), "bad v");
        eq(probe.recover(bytes32(uint256(1)), hex"00"), address(0), "short");
    }
}
