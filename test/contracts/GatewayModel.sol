// SPDX-License-Identifier: Apache-2.0
// An honest gateway as a model: it serves calls, numbers receipts, signs them in groups, crashes,
// is restored, settles, answers. What it has handed out and published is kept, so that tests can
// accuse it with any of it.
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Claim, PayoutRow} from "../../contracts/interfaces/IBilling.sol";
import {Leaf, Place, SignedReceipt} from "../../contracts/interfaces/IDisputes.sol";
import {VersionTerms} from "../../contracts/interfaces/IFunctionRegistry.sol";
import {Call, Execution, Receipt} from "../../contracts/libraries/Receipts.sol";
import {LibraryProbe} from "../../contracts/test-tokens/LibraryProbe.sol";
import {MockUSDC} from "../../contracts/test-tokens/MockUSDC.sol";
import {World} from "./World.sol";

struct Entry {
    Call call;
    Execution execution;
    Receipt receipt;
}

/// @notice One lane's receipts by seq. Those from `durable` on are not on disk, and nobody has seen
///   them.
/// @param settled How many are in batches.
/// @param isClosed Receipts were handed out that the gateway no longer has: it signs nothing more
///   in this lane.
struct Book {
    uint256 key;
    uint8 mode;
    bool isClosed;
    uint256 durable;
    uint256 settled;
    Entry[] entries;
}

struct Candidates {
    uint64 fromEpoch;
    uint64[] ids;
}

abstract contract GatewayModel is World {
    uint256 internal constant VERSIONS = 2;
    uint256 internal constant BOND = 110_000 * UNIT;
    uint256 internal constant FIRST_SESSION = 0x5E5510;

    Book[] internal books;
    /// Durable receipts in the order they became so: book and place in it.
    uint256[2][] internal journal;
    /// Numbered, not durable yet, in that order.
    uint256[2][] internal pending;
    /// All that any caller ever got.
    SignedReceipt[] internal shown;
    /// All that was ever settled, and the book it is from.
    Place[] internal places;
    uint256[] internal bookOf;
    bytes32[] internal versions;
    mapping(uint256 v => uint64[]) internal deployments;
    mapping(uint256 v => Candidates[]) internal sets;
    uint256 internal operatorKey = OPERATOR_KEY;

    function setUp() public override {}

    /// @dev For the constructor: all money there is, one prepaid and one signed lane, two versions
    ///   of different prices.
    function begin() internal {
        vm.warp(START);
        vm.roll(1000);
        token = new MockUSDC();
        probe = new LibraryProbe();
        deployAll(IERC20(address(token)));
        registerParties();
        publishFunction();
        versions.push(version);
        deployments[0] = ids;
        sets[0].push(Candidates(registry.candidatesOf(version, GATEWAY, 1).fromEpoch, ids));
        publishSecond();
        bondGateway(BOND - 10_000 * UNIT);
        fund(REPORTER, 1_000 * UNIT);
        fund(PAYER, 10_000 * UNIT);
        vm.prank(PAYER);
        billing.allot(GATEWAY, uint128(10_000 * UNIT));
        open(1);
        open(2);
        nextEpoch();
        // Each lane has one.
        for (uint256 b = 0; b < 2; ++b) serveIn(b, b);
        commit();
    }

    function publishSecond() private {
        VersionTerms memory terms = defaultVersion();
        terms.tariff.perCall = 7;
        terms.tariff.minBilledMs = 100;
        terms.tariff.roundMs = 100;
        terms.memoryMiB = 1_024;
        vm.prank(OWNER);
        versions.push(registry.publish(functionId, terms, true));
        vm.prank(OWNER);
        identity.registerParty(2, "", 0);
        for (uint256 i = 0; i < 3; ++i) {
            vm.prank(i == 0 ? OWNER : PROVIDER);
            deployments[1].push(registry.enrol(versions[1], "local", "here"));
        }
        choose(1, 7);
    }

    /* WHAT IT DOES */

    function open(uint8 mode) internal returns (uint256 b) {
        b = books.length;
        Book storage book = books.push();
        (book.key, book.mode) = (FIRST_SESSION + b, mode);
        vm.prank(PAYER);
        billing.openLane(GATEWAY, vm.addr(book.key), uint128(10_000 * UNIT), type(uint32).max, mode);
    }

    /// @dev Records the next epoch, for which it must mine up to K blocks.
    function nextEpoch() internal {
        epoch = beacon.nextEpoch();
        vm.roll(uint256(epoch) * beacon.K() + 1);
        vm.warp(block.timestamp + 1);
        beacon.checkpoint(epoch);
    }

    /// @dev Those of version v whose bits are set in `mask` become its candidates.
    function choose(uint256 v, uint256 mask) internal {
        uint64[] storage all = deployments[v];
        mask %= 1 << all.length;
        if (mask == 0) mask = 1;
        uint256 count = 0;
        for (uint256 i = 0; i < all.length; ++i) count += (mask >> i) & 1;
        uint64[] memory chosen = new uint64[](count);
        for (uint256 i = all.length; i > 0; --i) {
            if ((mask >> (i - 1)) & 1 == 1) chosen[--count] = all[i - 1];
        }
        vm.prank(GATEWAY);
        uint32 setNo = registry.setCandidates(versions[v], chosen);
        sets[v].push(Candidates(registry.candidatesOf(versions[v], GATEWAY, setNo).fromEpoch, chosen));
    }

    function setAt(uint256 v, uint64 epoch_) internal view returns (uint32 setNo) {
        for (uint256 i = 0; i < sets[v].length; ++i) if (sets[v][i].fromEpoch <= epoch_) setNo = uint32(i + 1);
    }

    /// @dev Serves a call in lane b and numbers its receipt. Some fail, some end too late, some
    ///   cost more than the caller gives.
    function serveIn(uint256 b, uint256 seed) internal {
        if (block.timestamp > uint256(beacon.epochOf(epoch).time) + 9 minutes) nextEpoch();
        Book storage book = books[b];
        uint256 n = book.entries.length;
        Entry memory entry;
        entry.call = Call({
            payer: PAYER,
            gateway: GATEWAY,
            signer: vm.addr(book.key),
            nonce: bytes32(seed >> 8),
            functionVersion: versions[seed % VERSIONS],
            input: bytes32(seed),
            maxPrice: uint128(bound(seed >> 16, 5, 2_000)),
            deadline: uint40(block.timestamp + 60),
            beacon: epoch,
            authority: 0
        });
        // The next attempt of a call that failed: one Call, several receipts.
        if (n > 0 && book.entries[n - 1].execution.status == 0 && block.timestamp <= book.entries[n - 1].call.deadline) {
            entry.call = book.entries[n - 1].call;
        }
        run(entry, seed);
        entry.receipt.seq = uint40(n + 1);
        entry.receipt.cumulative = entry.receipt.price + (n == 0 ? 0 : book.entries[n - 1].receipt.cumulative);
        book.entries.push(entry);
        pending.push([b, n]);
    }

    function versionNo(Call memory call) internal view returns (uint256) {
        return call.functionVersion == versions[0] ? 0 : 1;
    }

    function orderOf(Call memory call) internal view returns (uint64[] memory) {
        uint256 v = versionNo(call);
        return probe.drawOrder(seedOf(call), sets[v][setAt(v, call.beacon) - 1].ids, 32);
    }

    /// @dev Where the draw says, and what it costs.
    function run(Entry memory entry, uint256 seed) private view {
        Call memory call = entry.call;
        uint64[] memory order = orderOf(call);
        uint256 attempt = (seed >> 32) % order.length;
        uint256 kind = (seed >> 40) % 8;
        entry.execution = Execution({
            deployment: order[attempt],
            request: bytes32(seed >> 1),
            billedMs: uint32((seed >> 48) % 12_000),
            initMs: uint32((seed >> 56) % 3_000),
            memoryMiB: uint32((seed >> 64) % 2_000),
            status: kind == 0 ? 0 : kind == 1 ? 500 : 200,
            input: call.input,
            output: bytes32(seed >> 2),
            finishedAt: kind == 2 ? call.deadline + 1 : uint40(block.timestamp)
        });
        entry.receipt = Receipt({
            payer: PAYER,
            gateway: GATEWAY,
            signer: call.signer,
            seq: 0,
            call: probe.hashCall(call),
            execution: probe.hashExecution(entry.execution),
            provider: registry.deploymentOf(order[attempt]).provider,
            attempt: uint8(attempt),
            atBlock: uint64(block.number),
            price: kind == 2 ? 0 : priceOf(entry),
            cumulative: 0
        });
    }

    function priceOf(Entry memory entry) internal view returns (uint128) {
        Execution memory e = entry.execution;
        uint256 price = probe.priceOf(
            registry.priceTermsOf(entry.call.functionVersion),
            e.billedMs,
            e.memoryMiB,
            e.status
        );
        return uint128(price > entry.call.maxPrice ? entry.call.maxPrice : price);
    }

    /// @dev What is pending goes to disk; then its group is signed and handed out.
    function commit() internal {
        uint256[2][] memory group = pending;
        for (uint256 i = 0; i < group.length; ++i) {
            books[group[i][0]].durable = group[i][1] + 1;
            journal.push(group[i]);
        }
        delete pending;
        handOutGroup(group);
    }

    function handOutGroup(uint256[2][] memory group) internal {
        if (group.length == 0) return;
        bytes32[] memory leaves = new bytes32[](group.length);
        for (uint256 i = 0; i < group.length; ++i) leaves[i] = probe.hashReceipt(receiptAt(group[i]));
        bytes32 digest = billingDigest(probe.hashReceiptGroup(GATEWAY, rootOf(leaves), uint32(group.length)));
        bytes memory signature = sign(operatorKey, digest);
        for (uint256 i = 0; i < group.length; ++i) {
            shown.push(
                SignedReceipt(
                    receiptAt(group[i]),
                    uint32(i),
                    uint32(group.length),
                    pathOf(leaves, i),
                    signature
                )
            );
        }
    }

    function receiptAt(uint256[2] memory ref) private view returns (Receipt memory) {
        return books[ref[0]].entries[ref[1]].receipt;
    }

    /// @dev What was not durable is gone and its numbers are free; durable receipts are signed
    ///   again in groups of another cut.
    function crash(uint256 from, uint256 count) internal {
        for (uint256 i = pending.length; i > 0; --i) books[pending[i - 1][0]].entries.pop();
        delete pending;
        uint256[2][] memory group = new uint256[2][](count);
        uint256 found = 0;
        for (uint256 i = from; i < journal.length && found < count; ++i) {
            // Not what a restore has lost.
            if (journal[i][1] < books[journal[i][0]].durable) group[found++] = journal[i];
        }
        uint256[2][] memory cut = new uint256[2][](found);
        for (uint256 i = 0; i < found; ++i) cut[i] = group[i];
        handOutGroup(cut);
    }

    /// @dev From a copy that has `copied` of lane b's receipts. What is settled is published; the
    ///   rest is what callers still have. A
    /// caller who does not answer may hold receipts at numbers that the copy has free: that lane is
    /// closed.
    function restore(uint256 b, uint256 copied, bool callerAnswers) internal {
        crash(journal.length, 0);
        Book storage book = books[b];
        if (callerAnswers || copied >= book.durable) return;
        uint256 left = copied < book.settled ? book.settled : copied;
        while (book.entries.length > left) book.entries.pop();
        book.durable = left;
        book.isClosed = true;
    }

    /* SETTLEMENT */

    /// @dev Settles up to `most` receipts of each lane in `mask`. Returns how many lanes were in
    ///   the batch.
    function settleLanes(uint256 mask, uint256 most) internal returns (uint256 rows) {
        uint256[] memory chosen = new uint256[](books.length);
        for (uint256 b = 0; b < books.length; ++b) {
            if ((mask >> b) & 1 == 1 && books[b].durable > books[b].settled) chosen[rows++] = b;
        }
        if (rows == 0) return 0;
        Place[] memory batch = new Place[](rows);
        for (uint256 i = 0; i < rows; ++i) {
            Book storage book = books[chosen[i]];
            uint256 to = book.settled + most > book.durable ? book.durable : book.settled + most;
            batch[i] = placeOf(chosen[i], to, book.entries[to - 1].receipt.cumulative);
        }
        settleBatch(batch, chosen);
    }

    function leavesOf(uint256 b, uint256 from, uint256 to) internal view returns (bytes32[] memory leaves) {
        leaves = new bytes32[](to - from);
        for (uint256 i = from; i < to; ++i) leaves[i - from] = leafHash(b, i);
    }

    function leafHash(uint256 b, uint256 i) internal view virtual returns (bytes32) {
        return probe.hashReceipt(books[b].entries[i].receipt);
    }

    /// @dev Lane b's receipts up to place `to` and the money up to `settledTo`; what only a settled
    ///   claim has comes with its batch.
    function placeOf(uint256 b, uint256 to, uint256 settledTo) internal view returns (Place memory place) {
        place.gateway = GATEWAY;
        place.payer = PAYER;
        place.signer = vm.addr(books[b].key);
        place.settledFrom = billing.laneOf(PAYER, GATEWAY, place.signer).settled;
        place.settledTo = uint88(settledTo);
        (place.seqFrom, place.seqTo) = (uint40(books[b].settled), uint40(to));
        place.receipts = rootOf(leavesOf(b, books[b].settled, to));
    }

    function settleBatch(Place[] memory batch, uint256[] memory lanes) internal {
        Claim[] memory claims = new Claim[](batch.length);
        bytes32[] memory leaves = new bytes32[](batch.length);
        PayoutRow[] memory payouts = new PayoutRow[](1);
        payouts[0].payee = PROVIDER;
        for (uint256 i = 0; i < batch.length; ++i) {
            (claims[i], leaves[i]) = claimAt(batch[i]);
            payouts[0].amount += batch[i].settledTo - batch[i].settledFrom;
        }
        vm.prank(SETTLER);
        uint40 no = billing.settle(GATEWAY, claims, payouts, bytes32(uint256(9)));
        for (uint256 i = 0; i < batch.length; ++i) {
            (batch[i].batch, batch[i].settledAt) = (no, uint64(block.timestamp));
            (batch[i].claims, batch[i].claim) = (uint32(batch.length), uint32(i));
            batch[i].path = pathOf(leaves, i);
            places.push(batch[i]);
            bookOf.push(lanes[i]);
            books[lanes[i]].settled = batch[i].seqTo;
        }
    }

    function claimAt(Place memory p) private view returns (Claim memory claim, bytes32 leaf) {
        bytes32 digest = billingDigest(probe.hashVoucher(PAYER, GATEWAY, p.signer, p.settledTo));
        bytes memory signature = sign(keyOf(p.signer), digest);
        claim = Claim(PAYER, p.signer, p.settledTo, p.settledTo, p.seqFrom, p.seqTo, p.receipts, signature);
        leaf = probe.hashClaim(p.payer, p.signer, p.settledFrom, p.settledTo, p.seqFrom, p.seqTo, p.receipts);
    }

    function callSignatureOf(Call memory call) internal view returns (bytes memory) {
        return sign(keyOf(call.signer), billingDigest(probe.hashCall(call)));
    }

    function keyOf(address signer) internal view returns (uint256) {
        for (uint256 b = 0; b < books.length; ++b) if (vm.addr(books[b].key) == signer) return books[b].key;
        return 0;
    }
}
