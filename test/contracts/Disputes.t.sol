// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Beacon} from "../../contracts/Beacon.sol";
import {Billing} from "../../contracts/Billing.sol";
import {Disputes} from "../../contracts/Disputes.sol";
import {FunctionRegistry} from "../../contracts/FunctionRegistry.sol";
import {Identity} from "../../contracts/Identity.sol";
import {Bucket, Demand, DisputeTerms, IDisputes, Leaf, Place, SignedReceipt} from "../../contracts/interfaces/IDisputes.sol";
import {IIdentity} from "../../contracts/interfaces/IIdentity.sol";
import {Call, Execution, Receipt} from "../../contracts/libraries/Receipts.sol";
import {IBilling} from "../../contracts/interfaces/IBilling.sol";
import {World} from "./World.sol";

/// @dev A lane with N receipts of an honest gateway, and what both kinds of lanes have in common.
abstract contract DisputesWorld is World {
    uint256 internal constant N = 12;
    Receipt[] internal none;

    function invalid() internal {
        vm.expectRevert(IDisputes.InvalidProof.selector);
    }

    function noFraud() internal {
        vm.expectRevert(IDisputes.NoFraud.selector);
        vm.prank(REPORTER);
    }

    function bonded() internal view returns (uint256 bond) {
        (bond, , , ) = billing.standing(GATEWAY);
    }

    /// @dev What a proof must take now, by the rules of IDisputes.
    function expectedOf(
        uint8 kind,
        bytes32 id,
        Place memory place,
        uint256 damage
    ) internal view returns (uint256 paid, uint256 slashed) {
        uint256 left = place.settledTo - place.settledFrom - disputes.repaidOf(GATEWAY, place.batch, place.claim);
        uint256 d = damage - least(damage, disputes.paidOf(id));
        if (d > left) d = left;
        uint256 want = 3 * d;
        if (!disputes.isProven(id) && want < disputes.floorOf(kind)) want = disputes.floorOf(kind);
        uint256 tied = kind == 2 ? want : want - 3 * d;
        uint256 room = disputes.roomOf(GATEWAY);
        if (tied > room) want -= tied - room;
        slashed = least(want, bonded());
        paid = least(d, slashed / 3);
    }

    function least(uint256 a, uint256 b) internal pure returns (uint256) {
        return a < b ? a : b;
    }

    /// @dev The next transaction proves kind `kind` at `seq` with `damage`.
    function expectFraud(uint8 kind, Place memory place, uint40 seq, uint256 damage) internal {
        expectId(kind, disputes.idOf(kind, GATEWAY, PAYER, SESSION, seq), place, damage);
    }

    function expectId(uint8 kind, bytes32 id, Place memory place, uint256 damage) internal {
        (uint256 paid, uint256 slashed) = expectedOf(kind, id, place, damage);
        vm.expectEmit(true, true, true, true, address(disputes));
        emit IDisputes.FraudProven(
            id,
            kind,
            GATEWAY,
            PAYER,
            REPORTER,
            place.batch,
            place.claim,
            damage,
            paid,
            slashed
        );
        vm.prank(REPORTER);
    }

    function again(uint8 kind, uint40 seq) internal {
        bytes32 id = disputes.idOf(kind, GATEWAY, PAYER, SESSION, seq);
        yes(disputes.isProven(id), "proven");
        vm.expectRevert(abi.encodeWithSelector(IDisputes.AlreadyProven.selector, id));
    }

    /// @dev Receipt i costs so much more, and the sums tell it.
    function overcharge(uint256 i, uint256 units) internal {
        receipts[i].price += uint128(units);
        for (uint256 k = i; k < N; ++k) receipts[k].cumulative += uint128(units);
    }

    /// @dev A receipt of place i as the gateway's key may have signed it: so much cheaper than the
    /// settled one.
    function cheaper(uint256 i, uint256 units) internal view returns (SignedReceipt memory) {
        Receipt memory r = receipts[i];
        r.price -= uint128(units);
        return handOut(r);
    }

    /// @dev Takes of the bond all but `left`.
    function leaveBond(uint256 left) internal {
        uint256 amount = bonded() - left;
        vm.prank(address(disputes));
        billing.slash(GATEWAY, amount, PAYER, 0, REPORTER, 0);
    }

    /* AN HONEST GATEWAY */

    function testFuzz_HonestGatewayIsNeverSlashable(uint256 i, uint256 cut) public {
        i = bound(i, 0, N - 1);
        cut = bound(cut, 0, N);
        // In one batch or in two.
        if (cut > 0 && cut <= i) settleBook(0, cut, uint88(receipts[cut - 1].cumulative));
        Place memory place = settleBook(cut <= i ? cut : 0, N, uint88(receipts[N - 1].cumulative));
        Leaf memory leaf = leafAt(place, i);
        SignedReceipt memory signed = handOut(receipts[i]);

        bytes32 node = probeHash(i);
        noFraud();
        disputes.proveOmission(signed, place, node, leaf.path, none);
        noFraud();
        disputes.proveEdge(place, leaf);
        noFraud();
        disputes.proveOvercharge(place, leaf, calls[i], executions[i]);
        noFraud();
        disputes.proveOverLimit(place, leaf, calls[i], executions[i]);
        noFraud();
        disputes.proveMisroute(place, leaf, calls[i], executions[i], 1, ids);
        if (i + 1 == N) return;
        Leaf memory next = leafAt(place, i + 1);
        noFraud();
        disputes.proveBreak(place, leaf, next);
        noFraud();
        disputes.proveDuplicate(place, leaf, place, next);
    }

    function probeHash(uint256 i) internal view returns (bytes32) {
        return probe.hashReceipt(receipts[i]);
    }

    function orderOf(uint256 i) internal view returns (uint64[] memory) {
        return probe.drawOrder(seedOf(calls[i]), ids, 32);
    }

    function misrouted(Place memory place, uint256 i, bool expected) internal view {
        (bool isFraud, uint256 damage) = disputes.checkMisroute(
            place,
            leafAt(place, i),
            calls[i],
            executions[i],
            1,
            ids
        );
        yes(isFraud == expected, expected ? "misrouted" : "well routed");
        eq(damage, 0, "no damage");
    }

    function openDemand(uint40 index) internal returns (Place memory place, bytes32 id) {
        place = settleAll();
        fund(REPORTER, 10 * UNIT);
        vm.prank(REPORTER);
        id = disputes.demand(place, index);
    }
}

contract DisputesTest is DisputesWorld {
    function setUp() public override {
        super.setUp();
        openLane(2);
        serveMany(N);
    }

    /* CONSTRUCTION */

    function refuses(DisputeTerms memory terms, string memory name, uint256 value) internal {
        vm.expectRevert(abi.encodeWithSelector(IDisputes.InvalidTerms.selector, name, value));
        new Disputes(billing, identity, registry, beacon, terms);
    }

    function test_TermsAreBounded() public {
        DisputeTerms memory t = defaultTerms();
        t.grave = uint96(10 * UNIT - 1);
        refuses(t, "grave", t.grave);
        t.grave = uint96(1_000 * UNIT + 1);
        refuses(t, "grave", t.grave);
        t = defaultTerms();
        t.charge = uint96(UNIT - 1);
        refuses(t, "charge", t.charge);
        t.charge = uint96(1_000 * UNIT + 1);
        refuses(t, "charge", t.charge);
        t = defaultTerms();
        t.misroute = uint96(10 * UNIT + 1);
        refuses(t, "misroute", t.misroute);
        t = defaultTerms();
        t.silence = uint96(5 * UNIT - 1);
        refuses(t, "silence", t.silence);
        t.silence = uint96(1_000 * UNIT + 1);
        refuses(t, "silence", t.silence);
        t = defaultTerms();
        t.pledge = uint96(UNIT / 10 - 1);
        refuses(t, "pledge", t.pledge);
        t.pledge = uint96(billing.MAX_PLEDGE() + 1);
        refuses(t, "pledge", t.pledge);
        t = defaultTerms();
        t.demandWindow = 1 days - 1;
        refuses(t, "demandWindow", t.demandWindow);
        t.demandWindow = 30 days + 1;
        refuses(t, "demandWindow", t.demandWindow);
        t = defaultTerms();
        t.answerWindow = 24 hours - 1;
        refuses(t, "answerWindow", t.answerWindow);
        t.answerWindow = 14 days + 1;
        refuses(t, "answerWindow", t.answerWindow);
        t = defaultTerms();
        t.proofWindow = 9 days;
        refuses(t, "proofWindow", t.proofWindow);
        t.proofWindow = 180 days + 1;
        refuses(t, "proofWindow", t.proofWindow);
    }

    function test_TermsMayStandAtTheirBounds() public {
        DisputeTerms memory t = DisputeTerms(
            uint96(10 * UNIT),
            uint96(UNIT),
            0,
            uint96(5 * UNIT),
            uint96(UNIT / 10),
            1 days,
            24 hours,
            1 days + 24 hours + 1
        );
        eq(new Disputes(billing, identity, registry, beacon, t).floorOf(6), 0, "least");
        t = DisputeTerms(
            uint96(1_000 * UNIT),
            uint96(1_000 * UNIT),
            uint96(10 * UNIT),
            uint96(1_000 * UNIT),
            uint96(billing.MAX_PLEDGE()),
            30 days,
            14 days,
            180 days
        );
        eq(new Disputes(billing, identity, registry, beacon, t).floorOf(9), 1_000 * UNIT, "greatest");
    }

    function test_WiringIsChecked() public {
        Disputes stranger = new Disputes(billing, identity, registry, beacon, defaultTerms());
        vm.expectRevert(abi.encodeWithSelector(IDisputes.Miswired.selector, "Billing.DISPUTES"));
        stranger.wired();
    }

    function test_EachPointerAndSharedValueIsChecked() public {
        DisputeTerms memory terms = defaultTerms();
        // Another registry, beacon or identity than the one the others point at.
        miswired(identity, "Billing.IDENTITY", new Identity(registry, 1 days, 3 days), registry, beacon, terms);
        FunctionRegistry other = new FunctionRegistry(beacon, identity);
        miswired(identity, "Identity.REGISTRY", identity, other, beacon, terms);
        miswired(identity, "FunctionRegistry.BEACON", identity, registry, new Beacon(1), terms);
        terms.proofWindow = 13 days;
        miswired(identity, "Billing.PROOF_WINDOW", identity, registry, beacon, terms);
        terms = defaultTerms();
        FunctionRegistry strange = new FunctionRegistry(beacon, identity);
        Identity lonely = new Identity(strange, 1 days, 3 days);
        miswired(lonely, "FunctionRegistry.IDENTITY", lonely, strange, beacon, terms);
    }

    /// @dev Deploys a Billing and a Disputes that point at each other; Billing's Identity is
    /// `billed`.
    function miswired(
        IIdentity billed,
        string memory what,
        Identity identity_,
        FunctionRegistry registry_,
        Beacon beacon_,
        DisputeTerms memory terms
    ) internal {
        address disputesAt = vm.computeCreateAddress(address(this), vm.getNonce(address(this)) + 1);
        Billing money = new Billing(token, billed, disputesAt, GUARD, 1_000 * UNIT, 1 days, 2 days, 14 days, 12 days);
        Disputes mine = new Disputes(money, identity_, registry_, beacon_, terms);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.Miswired.selector, what));
        mine.wired();
    }

    function test_FloorsByKind() public view {
        eq(disputes.floorOf(0), 0, "0");
        eq(disputes.floorOf(1), 0, "1");
        eq(disputes.floorOf(2), 100 * UNIT, "D2");
        eq(disputes.floorOf(3), 100 * UNIT, "D3");
        eq(disputes.floorOf(4), 10 * UNIT, "D4");
        eq(disputes.floorOf(5), 10 * UNIT, "D5");
        eq(disputes.floorOf(6), UNIT, "D6");
        eq(disputes.floorOf(7), 0, "7");
        eq(disputes.floorOf(9), 50 * UNIT, "D9");
    }

    /* EVIDENCE THAT DOES NOT HOLD TOGETHER */

    function test_PlaceMustBeInABatch() public {
        Place memory place = settleAll();
        Leaf memory leaf = leafAt(place, 0);
        disputes.checkEdge(place, leaf);
        for (uint256 k = 0; k < 13; ++k) {
            Place memory wrong = settledCopy(place);
            if (k == 0) wrong.gateway = PAYER;
            if (k == 1) wrong.batch += 1;
            if (k == 2) wrong.settledAt += 1;
            if (k == 3) wrong.claims += 1;
            if (k == 4) wrong.claim += 1;
            if (k == 5) wrong.path = new bytes32[](1);
            if (k == 6) wrong.payer = GATEWAY;
            if (k == 7) wrong.signer = GATEWAY;
            if (k == 8) wrong.settledFrom += 1;
            if (k == 9) wrong.settledTo += 1;
            if (k == 10) wrong.seqFrom += 1;
            if (k == 11) wrong.seqTo += 1;
            if (k == 12) wrong.outside = bytes32(uint256(1));
            invalid();
            disputes.checkEdge(wrong, leaf);
        }
        Place memory forged = settledCopy(place);
        forged.receipts ^= bytes32(uint256(1));
        invalid();
        disputes.checkEdge(forged, leaf);
    }

    function settledCopy(Place memory place) internal pure returns (Place memory) {
        return abi.decode(abi.encode(place), (Place));
    }

    function test_LeafMustBeInTheLaneTree() public {
        Place memory place = settleAll();
        Leaf memory leaf = leafAt(place, 3);
        leaf.index = 4;
        invalid();
        disputes.checkEdge(place, leaf);
        leaf = leafAt(place, 3);
        leaf.receipt.price += 1;
        invalid();
        disputes.checkEdge(place, leaf);
        Leaf memory other = leafAt(place, 5);
        leaf = leafAt(place, 3);
        invalid();
        disputes.checkBreak(place, leaf, other);
        invalid();
        disputes.checkDuplicate(place, other, place, leaf);
        invalid();
        disputes.checkOvercharge(place, leaf, calls[4], executions[3]);
        invalid();
        disputes.checkOvercharge(place, leaf, calls[3], executions[4]);
    }

    /// @dev All that takes a place, of neighbours at 0 and 1; the first four take no leaf b.
    function everyCheck(Place memory place, Leaf memory a, Leaf memory b) internal view returns (bytes[] memory all) {
        all = new bytes[](7);
        all[0] = abi.encodeCall(IDisputes.checkEdge, (place, a));
        all[1] = abi.encodeCall(IDisputes.checkOvercharge, (place, a, calls[0], executions[0]));
        all[2] = abi.encodeCall(IDisputes.checkOverLimit, (place, a, calls[0], executions[0]));
        all[3] = abi.encodeCall(IDisputes.checkMisroute, (place, a, calls[0], executions[0], 1, ids));
        all[4] = abi.encodeCall(IDisputes.checkBreak, (place, a, b));
        all[5] = abi.encodeCall(IDisputes.checkDuplicate, (place, a, place, b));
        SignedReceipt memory signed = handOut(receipts[0]);
        all[6] = abi.encodeCall(IDisputes.checkOmission, (signed, place, probeHash(0), a.path, none));
    }

    function answers(bytes memory check, bytes memory expected) internal view {
        (bool ok, bytes memory reason) = address(disputes).staticcall(check);
        no(ok, "accepted");
        eq(keccak256(reason), keccak256(expected), "reason");
    }

    function test_EveryCheckVerifiesItsPlaceItsTimeAndItsLeaves() public {
        Place memory place = settleAll();
        (Leaf memory a, Leaf memory b) = (leafAt(place, 0), leafAt(place, 1));
        bytes memory invalid_ = abi.encodeWithSelector(IDisputes.InvalidProof.selector);
        Place memory forged = settledCopy(place);
        // Leaves still verify under it.
        forged.settledAt -= 1;
        bytes[] memory bad = everyCheck(forged, a, b);
        for (uint256 i = 0; i < bad.length; ++i) answers(bad[i], invalid_);
        answers(abi.encodeCall(IDisputes.checkDuplicate, (forged, a, place, b)), invalid_);
        answers(abi.encodeCall(IDisputes.demand, (forged, 0)), invalid_);

        (Leaf memory badA, Leaf memory badB) = (leafAt(place, 0), leafAt(place, 1));
        badA.receipt.price += 1;
        badB.receipt.price += 1;
        bad = everyCheck(place, badA, b);
        for (uint256 i = 0; i < 6; ++i) answers(bad[i], invalid_);
        bad = everyCheck(place, a, badB);
        for (uint256 i = 4; i < 6; ++i) answers(bad[i], invalid_);

        vm.warp(place.settledAt + 12 days + 1);
        bytes memory late = abi.encodeWithSelector(IDisputes.WindowClosed.selector, place.settledAt + 12 days);
        bad = everyCheck(place, a, b);
        for (uint256 i = 0; i < bad.length; ++i) answers(bad[i], late);
    }

    function test_ProofsEndWithTheirWindow() public {
        Place memory place = settleAll();
        Leaf memory leaf = leafAt(place, 0);
        uint256 until = place.settledAt + 12 days;
        vm.warp(until);
        disputes.checkEdge(place, leaf);
        vm.warp(until + 1);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.WindowClosed.selector, until));
        disputes.checkEdge(place, leaf);
    }

    /* D2 */

    function test_D2_AnotherLeafAtItsPlace() public {
        SignedReceipt memory signed = handOut(receipts[6]);
        receipts[6].provider = GATEWAY;
        overcharge(6, 3);
        Place memory place = settleAll();
        Leaf memory leaf = leafAt(place, 6);
        bytes32 node = probeHash(6);
        (bool isFraud, uint256 damage) = disputes.checkOmission(signed, place, node, leaf.path, none);
        yes(isFraud, "fraud");
        eq(damage, 0, "not opened");
        Receipt[] memory opened = new Receipt[](1);
        opened[0] = receipts[6];
        expectFraud(2, place, 7, 3);
        disputes.proveOmission(signed, place, node, leaf.path, opened);
        again(2, 7);
        disputes.proveOmission(signed, place, node, leaf.path, none);
        again(2, 7);
        disputes.proveOmission(signed, place, node, leaf.path, opened);

        opened[0] = receipts[5];
        invalid();
        disputes.checkOmission(signed, place, node, leaf.path, opened);
        opened = new Receipt[](2);
        opened[0] = receipts[6];
        invalid();
        disputes.checkOmission(signed, place, node, leaf.path, opened);
        invalid();
        disputes.checkOmission(signed, place, node ^ bytes32(uint256(1)), leaf.path, none);
    }

    function test_D2_ACheaperLeafThanTheSignedOneIsNoDamage() public {
        SignedReceipt memory signed = handOut(receipts[6]);
        receipts[6].price -= 1;
        Place memory place = settleAll();
        Receipt[] memory opened = new Receipt[](1);
        opened[0] = receipts[6];
        (bool isFraud, uint256 damage) = disputes.checkOmission(signed, place, probeHash(6), leafAt(place, 6).path, opened);
        yes(isFraud && damage == 0, "less was taken");
    }

    function test_D2_NeedsAGoodSignatureOfTheGatewaysKey() public {
        SignedReceipt memory signed = cheaper(6, 1);
        Place memory place = settleAll();
        (bytes32 node, bytes32[] memory path) = (probeHash(6), leafAt(place, 6).path);
        disputes.checkOmission(signed, place, node, path, none);
        SignedReceipt memory other = handOut(receipts[6]);
        bytes memory good = signed.signature;
        signed.signature = other.signature;
        invalid();
        disputes.checkOmission(signed, place, node, path, none);
        signed.signature = good;
        signed.count = 0;
        invalid();
        disputes.checkOmission(signed, place, node, path, none);
        signed.count = 1;
        signed.signature = sign(PAYER_KEY, billingDigest(probe.hashReceiptGroup(GATEWAY, probe.hashReceipt(signed.receipt), 1)));
        invalid();
        disputes.checkOmission(signed, place, node, path, none);
    }

    /// @dev After a crash the same receipts are signed again in other groups: harmless.
    function test_D2_ResignedInAnotherGroupIsHarmless() public {
        bytes32[] memory group = leavesOf(0, 5);
        bytes memory signature = sign(
            OPERATOR_KEY,
            billingDigest(probe.hashReceiptGroup(GATEWAY, rootOf(group), 5))
        );
        SignedReceipt memory grouped = SignedReceipt(receipts[2], 2, 5, pathOf(group, 2), signature);
        Place memory place = settleAll();
        (bytes32 node, bytes32[] memory path) = (probeHash(2), leafAt(place, 2).path);
        noFraud();
        disputes.proveOmission(grouped, place, node, path, none);
    }

    /// @dev A retired key's evidence counts by when the batch was settled, not by when it is
    /// proven.
    function test_D2_EvidenceOfARetiredKeyLastsForBatchesOfItsTime() public {
        SignedReceipt memory inTime = cheaper(2, 1);
        SignedReceipt memory late = cheaper(8, 1);
        vm.prank(GATEWAY);
        identity.retireKey(OPERATOR);
        vm.warp(START + 1 days + 3 days);
        Place memory first = settleBook(0, 6, uint88(receipts[5].cumulative));
        vm.warp(START + 1 days + 3 days + 1);
        Place memory second = settleBook(6, N, uint88(receipts[N - 1].cumulative));
        vm.warp(START + 1 days + 3 days + 12 days);
        (bytes32 node, bytes32[] memory path) = (probeHash(2), leafAt(first, 2).path);
        expectFraud(2, first, 3, 0);
        disputes.proveOmission(inTime, first, node, path, none);
        (node, path) = (probeHash(8), leafAt(second, 8).path);
        invalid();
        disputes.checkOmission(late, second, node, path, none);
    }

    function test_D2_AKeyIsNoEvidenceForWhatWasSettledBeforeIt() public {
        Place memory place = settleAll();
        vm.warp(START + 1);
        vm.startPrank(GATEWAY);
        addKey(GATEWAY, 0xFA1E, 1);
        vm.stopPrank();
        SignedReceipt memory signed = cheaper(2, 1);
        bytes32 root = probe.hashReceipt(signed.receipt);
        signed.signature = sign(0xFA1E, billingDigest(probe.hashReceiptGroup(GATEWAY, root, 1)));
        (bytes32 node, bytes32[] memory path) = (probeHash(2), leafAt(place, 2).path);
        invalid();
        disputes.checkOmission(signed, place, node, path, none);
    }

    function test_D2_OnlyForTheLaneAndItsRange() public {
        settleBook(0, 4, uint88(receipts[3].cumulative));
        Place memory place = settleBook(4, 8, uint88(receipts[7].cumulative));
        bytes32[] memory path = leafAt(place, 4).path;
        bytes32 node = probeHash(4);
        for (uint256 k = 0; k < 5; ++k) {
            Receipt memory r = receipts[4];
            if (k == 0) r.seq = 4;
            if (k == 1) r.seq = 9;
            if (k == 2) r.payer = GATEWAY;
            if (k == 3) r.gateway = PAYER;
            if (k == 4) r.signer = GATEWAY;
            SignedReceipt memory signed = handOut(r);
            invalid();
            disputes.checkOmission(signed, place, node, path, none);
        }
    }

    /* D3 */

    function test_D3_CumulativesMustAddUp() public {
        for (uint256 i = 5; i < N; ++i) receipts[i].cumulative += 9;
        Place memory place = settleAll();
        (Leaf memory a, Leaf memory b) = (leafAt(place, 4), leafAt(place, 5));
        expectFraud(3, place, 6, 9);
        disputes.proveBreak(place, a, b);
        again(3, 6);
        disputes.proveBreak(place, a, b);
        (Leaf memory c, Leaf memory d) = (leafAt(place, 5), leafAt(place, 6));
        noFraud();
        disputes.proveBreak(place, c, d);
    }

    function test_D3_TooLittleIsABreakWithoutDamage() public {
        receipts[5].cumulative -= 2;
        Place memory place = settleAll();
        (Leaf memory a, Leaf memory b) = (leafAt(place, 4), leafAt(place, 5));
        expectFraud(3, place, 6, 0);
        disputes.proveBreak(place, a, b);
    }

    function test_D3_ForeignLeafOrSeq() public {
        for (uint256 k = 0; k < 5; ++k) {
            uint256 i = 2 * k + 1;
            if (k == 0) receipts[i].payer = GATEWAY;
            if (k == 1) receipts[i].gateway = PAYER;
            if (k == 2) receipts[i].signer = PAYER;
            if (k == 3) receipts[i].seq += 1;
            if (k == 4) receipts[i].seq = 1;
        }
        Place memory place = settleAll();
        for (uint256 k = 0; k < 5; ++k) {
            uint256 i = 2 * k + 1;
            (Leaf memory before, Leaf memory leaf, Leaf memory next) = (
                leafAt(place, i - 1),
                leafAt(place, i),
                leafAt(place, i + 1)
            );
            (bool isFraud, uint256 damage) = disputes.checkBreak(place, before, leaf);
            uint256 all = place.settledTo;
            yes(isFraud && damage == all, "as the later neighbour");
            (isFraud, damage) = disputes.checkBreak(place, leaf, next);
            yes(isFraud && damage == all, "as the earlier neighbour");
            (isFraud, damage) = disputes.checkEdge(place, leaf);
            yes(isFraud && damage == all, "alone");
            invalid();
            disputes.checkOvercharge(place, leaf, calls[i], executions[i]);
            invalid();
            disputes.checkDuplicate(place, leaf, place, next);
        }
        (Leaf memory first, Leaf memory bad, Leaf memory third) = (
            leafAt(place, 0),
            leafAt(place, 1),
            leafAt(place, 2)
        );
        expectFraud(3, place, 2, place.settledTo);
        disputes.proveBreak(place, bad, third);
        // It is one fraud, by whichever proof.
        again(3, 2);
        disputes.proveBreak(place, first, bad);
        again(3, 2);
        disputes.proveEdge(place, bad);
    }

    function test_D3_Edges() public {
        settleBook(0, 4, uint88(receipts[3].cumulative) + 5);
        uint88 taken = uint88(receipts[3].cumulative) + 5;
        Place memory place = settleBook(4, N, uint88(receipts[N - 1].cumulative) + 50);
        eq(place.settledFrom, taken, "from");
        Leaf memory first = leafAt(place, 4);
        Leaf memory last = leafAt(place, N - 1);
        Leaf memory middle = leafAt(place, 6);
        // An edge's id is its own: kind 7.
        expectId(3, disputes.idOf(7, GATEWAY, PAYER, SESSION, 5), place, 0);
        disputes.proveEdge(place, first);
        noFraud();
        disputes.proveEdge(place, middle);
        expectId(3, disputes.idOf(7, GATEWAY, PAYER, SESSION, uint40(N)), place, 50);
        disputes.proveEdge(place, last);
        again(7, uint40(N));
        disputes.proveEdge(place, last);
    }

    /// @dev Before the last receipt, and after it.
    function test_D3_BreakAndEdgeOfOneReceiptAreTwoFrauds() public {
        receipts[N - 1].cumulative += 30;
        Place memory place = settleBook(0, N, uint88(receipts[N - 1].cumulative) + 50);
        (Leaf memory a, Leaf memory b) = (leafAt(place, N - 2), leafAt(place, N - 1));
        expectFraud(3, place, uint40(N), 30);
        disputes.proveBreak(place, a, b);
        expectId(3, disputes.idOf(7, GATEWAY, PAYER, SESSION, uint40(N)), place, 50);
        disputes.proveEdge(place, b);
        eq(disputes.repaidOf(GATEWAY, place.batch, 0), 80, "both are repaid");
    }

    function test_D3_EdgeDamageIsWhatWasTakenTooMuch() public {
        receipts[0].cumulative += 4;
        Place memory place = settleBook(0, 1, uint88(receipts[0].cumulative) + 6);
        (bool isFraud, uint256 damage) = disputes.checkEdge(place, leafAt(place, 0));
        yes(isFraud, "fraud");
        eq(damage, 10, "both edges of one leaf");
    }

    /* D4 */

    function test_D4_AboveTheTariff() public {
        overcharge(2, 11);
        Place memory place = settleAll();
        Leaf memory leaf = leafAt(place, 2);
        expectFraud(4, place, 3, 11);
        disputes.proveOvercharge(place, leaf, calls[2], executions[2]);
        again(4, 3);
        disputes.proveOvercharge(place, leaf, calls[2], executions[2]);
    }

    function test_D4_ByOneUnit() public {
        receipts[2].price += 1;
        Place memory place = settleAll();
        (bool isFraud, uint256 damage) = disputes.checkOvercharge(place, leafAt(place, 2), calls[2], executions[2]);
        yes(isFraud && damage == 1, "one unit");
    }

    function test_D4_FailedCallsAreFreeAndUnknownVersionsWorthNothing() public {
        receipts[3].price = 5;
        calls[4].functionVersion = bytes32(uint256(1));
        rehash(4);
        Place memory place = settleAll();
        (bool isFraud, uint256 damage) = disputes.checkOvercharge(place, leafAt(place, 3), calls[3], executions[3]);
        yes(isFraud && damage == 5, "charged for a failure");
        (isFraud, damage) = disputes.checkOvercharge(place, leafAt(place, 4), calls[4], executions[4]);
        yes(isFraud && damage == receipts[4].price, "charged for no version");
    }

    /* D5 */

    function test_D5_EachLimitOfTheCall() public {
        calls[0].maxPrice = receipts[0].price - 1;
        executions[1].finishedAt = calls[1].deadline + 1;
        vm.prank(OWNER);
        bytes32 second = registry.publish(functionId, defaultVersion(), true);
        vm.prank(PROVIDER);
        uint64 stray = registry.enrol(second, "local", "here");
        executions[2].deployment = stray;
        // Receipt 3 is free: nothing to prove whatever it says.
        executions[3].input = 0;
        executions[4].input = 0;
        calls[5].payer = GATEWAY;
        calls[6].gateway = PAYER;
        executions[7].input = 0;
        calls[8].signer = PAYER;
        for (uint256 i = 0; i < 9; ++i) rehash(i);
        Place memory place = settleAll();
        for (uint256 i = 0; i < 9; ++i) {
            (bool isFraud, uint256 damage) = disputes.checkOverLimit(place, leafAt(place, i), calls[i], executions[i]);
            yes(isFraud == (i % 4 != 3), "charged");
            eq(damage, receipts[i].price, "the price");
        }
        Leaf memory leaf = leafAt(place, 0);
        expectFraud(5, place, 1, receipts[0].price);
        disputes.proveOverLimit(place, leaf, calls[0], executions[0]);
        again(5, 1);
        disputes.proveOverLimit(place, leaf, calls[0], executions[0]);
    }

    function test_D5_AtTheLimitsIsHonestAndOneUnitIsCharged() public {
        calls[0].maxPrice = receipts[0].price;
        executions[0].finishedAt = calls[0].deadline;
        executions[1].input = 0;
        receipts[1].price = 1;
        rehash(0);
        rehash(1);
        Place memory place = settleAll();
        (bool isFraud, ) = disputes.checkOverLimit(place, leafAt(place, 0), calls[0], executions[0]);
        no(isFraud, "at both limits");
        (isFraud, ) = disputes.checkOverLimit(place, leafAt(place, 1), calls[1], executions[1]);
        yes(isFraud, "one unit");
    }

    function test_D5_DuplicateNeedsTwoReceiptsBothCharged() public {
        for (uint256 i = 1; i < 5; ++i) receipts[i].call = receipts[0].call;
        receipts[0].price = 0;
        receipts[1].price = 1;
        receipts[2].price = 1;
        Place memory place = settleAll();
        (Leaf memory free, Leaf memory one, Leaf memory other) = (
            leafAt(place, 0),
            leafAt(place, 1),
            leafAt(place, 2)
        );
        (bool isFraud, uint256 damage) = disputes.checkDuplicate(place, free, place, one);
        no(isFraud, "the first was free");
        (isFraud, damage) = disputes.checkDuplicate(place, one, place, other);
        yes(isFraud && damage == 1, "one unit twice");
        invalid();
        disputes.checkDuplicate(place, one, place, one);
    }

    function test_D5_OneCallTwiceAcrossBatches() public {
        receipts[6].call = receipts[1].call;
        receipts[7].call = receipts[1].call;
        Place memory firstPlace = settleBook(0, 4, uint88(receipts[3].cumulative));
        vm.warp(block.timestamp + 13 days);
        Place memory laterPlace = settleBook(4, N, uint88(receipts[N - 1].cumulative));
        (Leaf memory first, Leaf memory later) = (leafAt(firstPlace, 1), leafAt(laterPlace, 6));
        Leaf memory failed = leafAt(laterPlace, 7);
        noFraud();
        disputes.proveDuplicate(firstPlace, first, laterPlace, failed);
        vm.expectRevert(
            abi.encodeWithSelector(IDisputes.WindowClosed.selector, firstPlace.settledAt + 12 days)
        );
        disputes.checkDuplicate(laterPlace, later, firstPlace, first);
        expectFraud(5, laterPlace, 7, receipts[6].price);
        disputes.proveDuplicate(firstPlace, first, laterPlace, later);
        again(5, 7);
        disputes.proveDuplicate(firstPlace, first, laterPlace, later);
    }

    /* D6 */

    function test_D6_MustStandAtItsPlaceInTheOrder() public {
        uint64[] memory order0 = orderOf(0);
        executions[0].deployment = order0[2];
        rehash(0);
        uint64[] memory order1 = orderOf(1);
        executions[1].deployment = order1[0];
        rehash(1);
        uint64[] memory order2 = orderOf(2);
        executions[2].deployment = order2[3];
        rehash(2);
        receipts[4].attempt = uint8(DEPLOYMENTS);
        receipts[5].provider = GATEWAY;
        Place memory place = settleAll();
        misrouted(place, 0, true);
        // Of the two candidates the gateway may take the one it likes.
        misrouted(place, 1, false);
        misrouted(place, 2, true);
        misrouted(place, 4, true);
        misrouted(place, 5, true);
        Leaf memory leaf = leafAt(place, 0);
        bytes32 id = disputes.idOfMisroute(GATEWAY, epoch, executions[0].deployment);
        expectId(6, id, place, 0);
        disputes.proveMisroute(place, leaf, calls[0], executions[0], 1, ids);
        yes(disputes.isProven(id), "proven");
        vm.expectRevert(abi.encodeWithSelector(IDisputes.AlreadyProven.selector, id));
        disputes.proveMisroute(place, leaf, calls[0], executions[0], 1, ids);
    }

    function test_D6_NeedsTheSetInForce() public {
        Place memory place = settleAll();
        Leaf memory leaf = leafAt(place, 0);
        invalid();
        disputes.checkMisroute(place, leaf, calls[0], executions[0], 2, ids);
        invalid();
        disputes.checkMisroute(place, leaf, calls[0], executions[0], 0, new uint64[](0));
        uint64[] memory fewer = new uint64[](1);
        fewer[0] = 1;
        invalid();
        disputes.checkMisroute(place, leaf, calls[0], executions[0], 1, fewer);
        vm.prank(GATEWAY);
        registry.setCandidates(version, fewer);
        (bool isFraud, ) = disputes.checkMisroute(place, leaf, calls[0], executions[0], 1, ids);
        no(isFraud, "a later set changes nothing");
        invalid();
        disputes.checkMisroute(place, leaf, calls[0], executions[0], 2, fewer);
    }

    function test_D6_WithoutASetOrAnEpochNothingIsDrawn() public {
        calls[0].beacon = epoch + 1;
        // Before the first set.
        calls[1].beacon = epoch - 1;
        rehash(0);
        // Where the draw would be, if no value were a value.
        executions[0].deployment = probe.drawOrder(probe.seedOf(0, PAYER, SESSION, 0), ids, 1)[0];
        rehash(0);
        rehash(1);
        beacon.checkpoint(epoch - 1);
        Place memory place = settleAll();
        misrouted(place, 0, true);
        (bool isFraud, ) = disputes.checkMisroute(
            place,
            leafAt(place, 1),
            calls[1],
            executions[1],
            0,
            new uint64[](0)
        );
        yes(isFraud, "no set");
        Leaf memory leaf = leafAt(place, 1);
        invalid();
        disputes.checkMisroute(place, leaf, calls[1], executions[1], 0, ids);
    }

    function test_D6_EitherOfTwoCandidates() public {
        uint64[] memory two = new uint64[](2);
        (two[0], two[1]) = (2, 4);
        vm.prank(GATEWAY);
        registry.setCandidates(version, two);
        epoch = beacon.nextEpoch();
        vm.roll(uint256(epoch) * beacon.K() + 1);
        beacon.checkpoint(epoch);
        uint64[3] memory used = [uint64(2), 4, 3];
        for (uint256 i = 0; i < 3; ++i) {
            calls[i].beacon = epoch;
            executions[i].deployment = used[i];
            receipts[i].attempt = 0;
            rehash(i);
        }
        Place memory place = settleAll();
        for (uint256 i = 0; i < 3; ++i) {
            (bool isFraud, ) = disputes.checkMisroute(place, leafAt(place, i), calls[i], executions[i], 2, two);
            yes(isFraud == (i == 2), "either of two");
        }
    }

    function test_D6_OneCandidateOnly() public {
        uint64[] memory single = new uint64[](1);
        single[0] = 2;
        vm.prank(GATEWAY);
        registry.setCandidates(version, single);
        epoch = beacon.nextEpoch();
        vm.roll(uint256(epoch) * beacon.K() + 1);
        beacon.checkpoint(epoch);
        for (uint256 i = 0; i < 3; ++i) {
            calls[i].beacon = epoch;
            executions[i].deployment = i == 1 ? 3 : 2;
            rehash(i);
        }
        Place memory place = settleAll();
        bool[3] memory expected = [false, true, true];
        for (uint256 i = 0; i < 3; ++i) {
            (bool isFraud, ) = disputes.checkMisroute(place, leafAt(place, i), calls[i], executions[i], 2, single);
            yes(isFraud == expected[i], "one candidate");
        }
    }

    function test_D6_AnyRecordedEpochWillDo() public {
        executions[0].finishedAt = uint40(START - 365 days);
        executions[1].finishedAt = uint40(START + 365 days);
        rehash(0);
        rehash(1);
        Place memory place = settleAll();
        misrouted(place, 0, false);
        misrouted(place, 1, false);
    }

    /// @dev Neither price, deadline, input nor version is in the seed: a gateway that writes the
    /// Call cannot grind it.
    function testFuzz_D6_OnlyTheNonceDraws(uint128 maxPrice, uint40 deadline, bytes32 input, bytes32 nonce) public {
        calls[0].maxPrice = maxPrice;
        calls[0].deadline = deadline;
        calls[0].input = input;
        rehash(0);
        calls[1].nonce = nonce;
        executions[1].deployment = orderOf(1)[1];
        rehash(1);
        Place memory place = settleAll();
        misrouted(place, 0, false);
        misrouted(place, 1, false);
    }

    /// @dev An honest gateway has drawn by a value that the chain then replaces: every receipt of
    /// the epoch may look misrouted.
    function test_D6_AReorganisedEpochCostsAtMostAFloorPerDeployment() public {
        uint256 wrong = 0;
        for (uint256 i = 0; i < N; ++i) {
            executions[i].deployment = probe.drawOrder(probe.seedOf(99, PAYER, SESSION, calls[i].nonce), ids, 32)[i % 3];
            rehash(i);
        }
        Place memory place = settleAll();
        for (uint256 i = 0; i < N; ++i) {
            (bool isFraud, ) = disputes.checkMisroute(place, leafAt(place, i), calls[i], executions[i], 1, ids);
            if (isFraud) ++wrong;
            bytes memory proof = abi.encodeCall(
                IDisputes.proveMisroute,
                (place, leafAt(place, i), calls[i], executions[i], 1, ids)
            );
            vm.prank(REPORTER);
            (bool ok, ) = address(disputes).call(proof);
            ok;
        }
        yes(wrong > DEPLOYMENTS, "more receipts than deployments are wrong");
        uint256 lost = 10_000 * UNIT - bonded();
        yes(lost > 0 && lost <= DEPLOYMENTS * UNIT, "a floor per deployment");
    }

    /* D9 */

    function callSignature(uint256 i, uint256 key) internal view returns (bytes memory) {
        return sign(key, billingDigest(probe.hashCall(calls[i])));
    }

    function answer(Place memory place, Leaf memory leaf, uint256 i) internal {
        disputes.answer(place, leaf, calls[i], executions[i], callSignature(i, SESSION_KEY));
    }

    function test_D9_DemandTakesThePledge() public {
        Place memory place = settleAll();
        fund(REPORTER, 10 * UNIT);
        bytes32 id = disputes.idOf(9, GATEWAY, PAYER, SESSION, 4);
        uint40 deadline = uint40(block.timestamp + 2 days);
        vm.expectEmit(true, true, true, true, address(disputes));
        emit IDisputes.Demanded(id, GATEWAY, REPORTER, place.batch, 0, 3, deadline);
        vm.prank(REPORTER);
        disputes.demand(place, 3);
        eq(billing.free(REPORTER), 9 * UNIT, "pledge taken");
        eq(billing.pledged(), UNIT, "pledged");
        Demand memory d = disputes.demandOf(id);
        eq(d.demander, REPORTER, "demander");
        eq(d.deadline, deadline, "deadline");
        eq(d.index, 3, "index");
        bytes32 leaf = probe.hashClaim(PAYER, SESSION, 0, place.settledTo, 0, N, place.receipts);
        bytes32 claim = keccak256(abi.encode(GATEWAY, uint256(place.batch), uint256(0)));
        eq(d.place, keccak256(abi.encode(claim, leaf)), "place");

        vm.expectRevert(abi.encodeWithSelector(IDisputes.DemandOpen.selector, id));
        vm.prank(REPORTER);
        disputes.demand(place, 3);
        invalid();
        disputes.demand(place, uint40(N));
        vm.expectRevert(abi.encodeWithSelector(IBilling.InsufficientFree.selector, 0, UNIT));
        vm.prank(OWNER);
        disputes.demand(place, 4);
        uint256 until = block.timestamp + 7 days;
        vm.warp(until);
        vm.prank(REPORTER);
        disputes.demand(place, 5);
        vm.warp(until + 1);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.WindowClosed.selector, until));
        vm.prank(REPORTER);
        disputes.demand(place, 4);
    }

    function test_D9_DemandInALaterBatch() public {
        settleBook(0, 4, uint88(receipts[3].cumulative));
        Place memory place = settleBook(4, N, uint88(receipts[N - 1].cumulative));
        fund(REPORTER, 10 * UNIT);
        uint40 count = uint40(N - 4);
        invalid();
        disputes.demand(place, count);
        vm.prank(REPORTER);
        bytes32 id = disputes.demand(place, count - 1);
        eq(id, disputes.idOf(9, GATEWAY, PAYER, SESSION, uint40(N)), "the last one's");
        vm.warp(block.timestamp + 2 days + 1);
        disputes.expire(place, count - 1);
        eq(disputes.paidOf(id), receipts[N - 1].cumulative - receipts[3].cumulative, "what its own claim took");
    }

    function test_D9_AnswerEarnsThePledgeAndShowsEverything() public {
        (Place memory place, bytes32 id) = openDemand(3);
        Leaf memory leaf = leafAt(place, 3);
        uint256 had = billing.free(GATEWAY);
        bytes memory signature = callSignature(3, SESSION_KEY);
        vm.expectEmit(true, true, false, true, address(disputes));
        emit IDisputes.Answered(id, GATEWAY, receipts[3], leaf.path, calls[3], executions[3], signature);
        disputes.answer(place, leaf, calls[3], executions[3], signature);
        eq(billing.free(GATEWAY), had + UNIT, "gateway");
        eq(disputes.demandOf(id).deadline, 1, "answered");
        eq(disputes.demandOf(id).demander, address(0), "nothing else is left");
        eq(disputes.demandOf(id).place, bytes32(0), "nor the place");
        eq(billing.pledged(), 0, "nothing pledged");
        bytes memory closed = abi.encodeWithSelector(IDisputes.NotDemanded.selector, id);
        vm.expectRevert(closed);
        disputes.answer(place, leaf, calls[3], executions[3], signature);
        vm.expectRevert(closed);
        disputes.expire(place, 3);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.AnsweredBefore.selector, id));
        vm.prank(REPORTER);
        disputes.demand(place, 3);
    }

    function test_D9_AnswerMustBeTheLeafItsCallAndItsExecution() public {
        (Place memory place, bytes32 id) = openDemand(3);
        Leaf memory leaf = leafAt(place, 3);
        Leaf memory other = leafAt(place, 4);
        bytes memory good = callSignature(3, SESSION_KEY);
        bytes memory bad = callSignature(3, PAYER_KEY);
        (Call memory call, Execution memory execution) = (calls[3], executions[3]);
        vm.expectRevert(
            abi.encodeWithSelector(
                IDisputes.NotDemanded.selector,
                disputes.idOf(9, GATEWAY, PAYER, SESSION, 5)
            )
        );
        disputes.answer(place, other, call, execution, good);
        invalid();
        disputes.answer(place, leaf, calls[4], execution, good);
        invalid();
        disputes.answer(place, leaf, call, executions[4], good);
        invalid();
        disputes.answer(place, leaf, call, execution, bad);
        invalid();
        disputes.answer(place, leaf, call, execution, "");
        other.index = 3;
        bytes memory others = callSignature(4, SESSION_KEY);
        invalid();
        disputes.answer(place, other, calls[4], executions[4], others);
        leaf.path[0] ^= bytes32(uint256(1));
        invalid();
        disputes.answer(place, leaf, call, execution, good);
        leaf = leafAt(place, 3);
        uint256 until = block.timestamp + 2 days;
        vm.warp(until + 1);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.WindowClosed.selector, until));
        disputes.answer(place, leaf, call, execution, good);
        vm.warp(until);
        disputes.answer(place, leaf, call, execution, good);
        eq(disputes.demandOf(id).deadline, 1, "answered");
    }

    /// @dev Of the place only what its claim says is asked for again.
    function test_D9_AnswerAndExpireHoldThePlaceToTheDemandedOne() public {
        (Place memory place, ) = openDemand(3);
        Leaf memory leaf = leafAt(place, 3);
        bytes memory signature = callSignature(3, SESSION_KEY);
        vm.warp(block.timestamp + 1 days);
        for (uint256 k = 0; k < 5; ++k) {
            Place memory wrong = settledCopy(place);
            if (k == 0) wrong.batch += 1;
            if (k == 1) wrong.claim += 1;
            if (k == 2) wrong.settledFrom += 1;
            if (k == 3) wrong.settledTo += 1;
            if (k == 4) wrong.receipts ^= bytes32(uint256(1));
            invalid();
            disputes.answer(wrong, leaf, calls[3], executions[3], signature);
            invalid();
            disputes.expire(wrong, 3);
        }
        Place memory longer = settledCopy(place);
        longer.seqTo += 1;
        invalid();
        disputes.expire(longer, 3);
        longer = settledCopy(place);
        longer.seqFrom += 1;
        invalid();
        disputes.expire(longer, 2);
        longer.seqFrom = type(uint40).max;
        invalid();
        disputes.expire(longer, 4);
        Place memory bare = settledCopy(place);
        (bare.settledAt, bare.claims, bare.outside, bare.path) = (0, 0, bytes32(uint256(1)), new bytes32[](0));
        disputes.answer(bare, leaf, calls[3], executions[3], signature);
    }

    /// @dev An answer opens and judges nothing: a Call of another lane is D5's, a wrong price D4's,
    /// both from the log alone.
    function test_D9_AnswerShowsWhatIsWrong() public {
        calls[4].maxPrice = 1;
        calls[4].payer = GATEWAY;
        rehash(4);
        overcharge(4, 7);
        (Place memory place, ) = openDemand(4);
        Leaf memory leaf = leafAt(place, 4);
        answer(place, leaf, 4);
        expectFraud(4, place, 5, 7);
        disputes.proveOvercharge(place, leaf, calls[4], executions[4]);
        expectFraud(5, place, 5, receipts[4].price);
        disputes.proveOverLimit(place, leaf, calls[4], executions[4]);
    }

    function test_D9_AForeignLeafIsNoAnswer() public {
        receipts[3].payer = GATEWAY;
        (Place memory place, ) = openDemand(3);
        Leaf memory leaf = leafAt(place, 3);
        bytes memory signature = callSignature(3, SESSION_KEY);
        invalid();
        disputes.answer(place, leaf, calls[3], executions[3], signature);
    }

    function test_D9_SilenceRepaysTheWholeClaimAndReturnsThePledge() public {
        overcharge(3, 90 * UNIT);
        (Place memory place, bytes32 id) = openDemand(7);
        uint256 until = block.timestamp + 2 days;
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.StillOpen.selector, until));
        disputes.expire(place, 7);
        vm.warp(until + 1);
        uint256 all = place.settledTo;
        uint256 had = billing.free(PAYER);
        vm.expectEmit(true, true, true, true, address(disputes));
        emit IDisputes.Expired(id, GATEWAY, PAYER, REPORTER, place.batch, 0, all, all, 3 * all);
        disputes.expire(place, 7);
        eq(bonded(), 10_000 * UNIT - 3 * all, "three times");
        eq(billing.free(PAYER) - had, all, "repaid");
        eq(billing.free(REPORTER), 10 * UNIT + (3 * all) / 12, "pledge and a twelfth");
        eq(billing.pledged(), 0, "nothing pledged");
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotDemanded.selector, id));
        disputes.expire(place, 7);
        again(9, 8);
        vm.prank(REPORTER);
        disputes.demand(place, 7);
    }

    /// @dev The claim has been repaid: a second silence takes the floor alone.
    function test_D9_AnotherLeafOfARepaidClaimTakesTheFloor() public {
        (Place memory place, ) = openDemand(3);
        vm.prank(REPORTER);
        disputes.demand(place, 4);
        vm.warp(block.timestamp + 2 days + 1);
        disputes.expire(place, 3);
        uint256 had = billing.free(PAYER);
        uint256 bond = bonded();
        disputes.expire(place, 4);
        eq(bond - bonded(), 50 * UNIT, "the floor");
        eq(billing.free(PAYER), had, "nothing more");
        yes(disputes.isProven(disputes.idOf(9, GATEWAY, PAYER, SESSION, 5)), "proven");
        // And what was never demanded still can be.
        vm.prank(REPORTER);
        disputes.demand(place, 5);
    }

    /// @dev What a receipt takes cannot be spread over others that are worth nothing.
    function testFuzz_D9_DamageDoesNotDependOnTheCount(uint256 count) public {
        count = bound(count, 1, N);
        overcharge(0, 90 * UNIT);
        Place memory place = settleBook(0, count, uint88(receipts[count - 1].cumulative));
        fund(REPORTER, 10 * UNIT);
        vm.prank(REPORTER);
        bytes32 id = disputes.demand(place, uint40(count - 1));
        vm.warp(block.timestamp + 2 days + 1);
        disputes.expire(place, uint40(count - 1));
        eq(disputes.paidOf(id), place.settledTo, "all that was taken");
    }

    function test_D9_WithoutABondThePledgeReturnsAndTheLeafCanBeDemandedAgain() public {
        (Place memory place, bytes32 id) = openDemand(3);
        leaveBond(0);
        vm.warp(block.timestamp + 2 days + 1);
        vm.expectEmit(true, true, true, true, address(disputes));
        emit IDisputes.Expired(id, GATEWAY, PAYER, REPORTER, place.batch, 0, place.settledTo, 0, 0);
        disputes.expire(place, 3);
        eq(billing.free(REPORTER), 10 * UNIT, "pledge");
        no(disputes.isProven(id), "not used up");
        bondGateway(1_000 * UNIT);
        vm.prank(REPORTER);
        disputes.demand(place, 3);
        vm.warp(block.timestamp + 2 days + 1);
        disputes.expire(place, 3);
        eq(disputes.paidOf(id), place.settledTo, "repaid");
    }

    function test_D9_WhatABondWasTooSmallForCanBeDemandedAgain() public {
        overcharge(0, 90 * UNIT);
        (Place memory place, bytes32 id) = openDemand(3);
        leaveBond(60 * UNIT);
        vm.warp(block.timestamp + 2 days + 1);
        disputes.expire(place, 3);
        eq(disputes.paidOf(id), 20 * UNIT, "a third of the bond");
        bondGateway(1_000 * UNIT);
        vm.prank(REPORTER);
        disputes.demand(place, 3);
        vm.warp(block.timestamp + 2 days + 1);
        uint256 left = place.settledTo - 20 * UNIT;
        disputes.expire(place, 3);
        eq(bonded(), 1_000 * UNIT - 3 * left, "three times what was left, and no second floor");
        eq(disputes.paidOf(id), place.settledTo, "repaid");
    }

    function test_D9_AtTheCapThePledgeReturnsToo() public {
        Place memory place = settleAll();
        leaveBond(1_000 * UNIT);
        fund(REPORTER, 10 * UNIT);
        vm.startPrank(REPORTER);
        for (uint40 i = 0; i < 7; ++i) disputes.demand(place, i);
        vm.stopPrank();
        vm.warp(block.timestamp + 2 days + 1);
        // Each takes 50 of the 250 that the cap allows, the first a little less, for it repays the
        // claim.
        for (uint40 i = 0; i < 6; ++i) disputes.expire(place, i);
        eq(disputes.roomOf(GATEWAY), 0, "no room");
        bytes32 id = disputes.idOf(9, GATEWAY, PAYER, SESSION, 7);
        vm.expectEmit(true, true, true, true, address(disputes));
        emit IDisputes.Expired(id, GATEWAY, PAYER, REPORTER, place.batch, 0, place.settledTo, 0, 0);
        disputes.expire(place, 6);
        no(disputes.isProven(id), "not used up");
        eq(billing.pledged(), 0, "all pledges are back");
    }

    /* THE SLASH */

    function test_SlashIsThreeTimesTheDamageAndAThirdOfItRepaysThePayer() public {
        overcharge(2, 60 * UNIT);
        Place memory place = settleAll();
        Leaf memory leaf = leafAt(place, 2);
        uint256 had = billing.free(PAYER);
        vm.prank(REPORTER);
        disputes.proveOvercharge(place, leaf, calls[2], executions[2]);
        eq(bonded(), 10_000 * UNIT - 180 * UNIT, "three times");
        eq(billing.free(PAYER) - had, 60 * UNIT, "repaid");
        eq(billing.free(REPORTER), 15 * UNIT, "a twelfth");
        eq(billing.burned(), 105 * UNIT, "the rest");
        eq(disputes.paidOf(disputes.idOf(4, GATEWAY, PAYER, SESSION, 3)), 60 * UNIT, "paid by this id");
        eq(disputes.repaidOf(GATEWAY, place.batch, 0), 60 * UNIT, "repaid for the claim");
        eq(disputes.bucketOf(GATEWAY).current, 0, "nothing of it counts against the cap");
    }

    function test_FloorCountsUntilThreeTimesTheDamageIsMore() public {
        // 3 x 3.3 is less than the floor of 10, 4 x 3.3 is not; and a third of 10 is more than 3.3,
        // a quarter is not.
        uint128 damage = uint128((33 * UNIT) / 10);
        overcharge(2, damage);
        Place memory place = settleAll();
        Leaf memory leaf = leafAt(place, 2);
        uint256 had = billing.free(PAYER);
        expectFraud(4, place, 3, damage);
        disputes.proveOvercharge(place, leaf, calls[2], executions[2]);
        eq(bonded(), 9_990 * UNIT, "the floor");
        eq(billing.free(PAYER) - had, damage, "all of the damage");
        eq(disputes.bucketOf(GATEWAY).current, 10 * UNIT - 3 * damage, "what the floor adds counts against the cap");
    }

    function test_OneUnitIsRepaidAndOneUnitCountsAgainstTheCap() public {
        overcharge(2, 1);
        // Three times this is one unit less than the floor.
        overcharge(6, 3_333_333);
        Place memory place = settleAll();
        (Leaf memory one, Leaf memory most) = (leafAt(place, 2), leafAt(place, 6));
        disputes.proveOvercharge(place, one, calls[2], executions[2]);
        eq(disputes.repaidOf(GATEWAY, place.batch, 0), 1, "repaid");
        uint256 counted = disputes.bucketOf(GATEWAY).current;
        disputes.proveOvercharge(place, most, calls[6], executions[6]);
        eq(disputes.bucketOf(GATEWAY).current - counted, 1, "counted");
    }

    /// @dev A friend of the gateway proves the fraud before the victim does, with as little damage
    /// as can be shown.
    function test_SmallDamageFirstLeavesTheRestToProve() public {
        SignedReceipt memory signed = handOut(receipts[6]);
        overcharge(6, 60 * UNIT);
        Place memory place = settleAll();
        (bytes32 node, bytes32[] memory path) = (probeHash(6), leafAt(place, 6).path);
        Receipt[] memory opened = new Receipt[](1);
        opened[0] = receipts[6];
        disputes.proveOmission(signed, place, node, path, none);
        eq(bonded(), 9_900 * UNIT, "the floor");
        uint256 had = billing.free(PAYER);
        expectFraud(2, place, 7, 60 * UNIT);
        disputes.proveOmission(signed, place, node, path, opened);
        eq(billing.free(PAYER) - had, 60 * UNIT, "the victim is repaid");
        eq(bonded(), 9_720 * UNIT, "three times, and no second floor");
        again(2, 7);
        disputes.proveOmission(signed, place, node, path, opened);
    }

    /// @dev With a small bond, which is topped up afterwards.
    function test_TopUpBetweenProofsPaysWhatIsStillUnpaid() public {
        overcharge(2, 50 * UNIT);
        Place memory place = settleAll();
        Leaf memory leaf = leafAt(place, 2);
        leaveBond(90 * UNIT);
        uint256 had = billing.free(PAYER);
        vm.prank(REPORTER);
        disputes.proveOvercharge(place, leaf, calls[2], executions[2]);
        eq(bonded(), 0, "all of the bond");
        eq(billing.free(PAYER) - had, 30 * UNIT, "a third of it");
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NothingToSlash.selector, GATEWAY));
        disputes.proveOvercharge(place, leaf, calls[2], executions[2]);
        bondGateway(1_000 * UNIT);
        expectFraud(4, place, 3, 50 * UNIT);
        disputes.proveOvercharge(place, leaf, calls[2], executions[2]);
        eq(billing.free(PAYER) - had, 50 * UNIT, "the rest");
        eq(bonded(), 940 * UNIT, "three times the rest");
        again(4, 3);
        disputes.proveOvercharge(place, leaf, calls[2], executions[2]);
    }

    /// @dev Whatever is proven about it, a claim repays what it took and no more; floors go on.
    function test_NoClaimRepaysMoreThanItTook() public {
        SignedReceipt memory signed = cheaper(10, 1);
        overcharge(2, 60 * UNIT);
        receipts[9].cumulative += uint128(40 * UNIT);
        executions[2].input = 0;
        executions[8].input = 0;
        rehash(2);
        rehash(8);
        // The lane took 20 tokens and no more, though its receipts say so.
        Place memory place = settleBook(0, N, uint88(20 * UNIT));
        uint256 had = billing.free(PAYER);
        Leaf memory leaf = leafAt(place, 2);
        (, uint256 damage) = disputes.checkOvercharge(place, leaf, calls[2], executions[2]);
        eq(damage, 20 * UNIT, "no damage is more");
        (, damage) = disputes.checkOverLimit(place, leaf, calls[2], executions[2]);
        eq(damage, 20 * UNIT, "of no kind");
        (, damage) = disputes.checkBreak(place, leafAt(place, 8), leafAt(place, 9));
        eq(damage, 20 * UNIT, "nor of a break");
        expectFraud(4, place, 3, 20 * UNIT);
        disputes.proveOvercharge(place, leaf, calls[2], executions[2]);
        eq(billing.free(PAYER) - had, 20 * UNIT, "repaid");
        uint256 bond = bonded();
        expectFraud(5, place, 3, 20 * UNIT);
        disputes.proveOverLimit(place, leaf, calls[2], executions[2]);
        eq(bond - bonded(), 10 * UNIT, "a floor");
        again(5, 3);
        disputes.proveOverLimit(place, leaf, calls[2], executions[2]);
        (Leaf memory a, Leaf memory b) = (leafAt(place, 8), leafAt(place, 9));
        expectFraud(3, place, 10, 20 * UNIT);
        disputes.proveBreak(place, a, b);
        eq(billing.free(PAYER) - had, 20 * UNIT, "once");
        // Nor does a proof without damage make it forget what it repaid.
        bytes32[] memory path = leafAt(place, 10).path;
        disputes.proveOmission(signed, place, probeHash(10), path, none);
        eq(disputes.repaidOf(GATEWAY, place.batch, 0), 20 * UNIT, "the claim");
    }

    function test_NoDamageOfAnOmissionEdgeOrDuplicateIsMoreThanItsClaimTook() public {
        SignedReceipt memory signed = handOut(receipts[6]);
        receipts[0].cumulative += 50;
        Place memory one = settleBook(0, 1, 5);
        (bool isFraud, uint256 damage) = disputes.checkEdge(one, leafAt(one, 0));
        yes(isFraud && damage == 5, "an edge");
        overcharge(6, 60 * UNIT);
        calls[6].nonce = calls[5].nonce;
        rehash(6);
        Place memory rest = settleBook(1, N, uint88(20 * UNIT));
        uint256 delta = 20 * UNIT - 5;
        (isFraud, damage) = disputes.checkDuplicate(rest, leafAt(rest, 5), rest, leafAt(rest, 6));
        yes(isFraud && damage == delta, "a duplicate");
        Receipt[] memory opened = new Receipt[](1);
        opened[0] = receipts[6];
        (isFraud, damage) = disputes.checkOmission(signed, rest, probeHash(6), leafAt(rest, 6).path, opened);
        yes(isFraud && damage == delta, "an omission");
    }

    function test_NothingIsConsumedWhileThereIsNoBond() public {
        overcharge(2, 11);
        Place memory place = settleAll();
        Leaf memory leaf = leafAt(place, 2);
        leaveBond(0);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NothingToSlash.selector, GATEWAY));
        disputes.proveOvercharge(place, leaf, calls[2], executions[2]);
        bondGateway(100 * UNIT);
        expectFraud(4, place, 3, 11);
        disputes.proveOvercharge(place, leaf, calls[2], executions[2]);
    }

    /* THE CAP */

    /// @dev The thief of an operator key proves that receipt i was signed another way.
    function steal(Place memory place, uint256 i) internal returns (bool ok, bytes memory answer_) {
        SignedReceipt memory signed = handOut(receipts[i]);
        signed.receipt.atBlock += 1;
        signed = handOut(signed.receipt);
        Receipt[] memory opened = new Receipt[](1);
        opened[0] = receipts[i];
        bytes memory proof = abi.encodeCall(
            IDisputes.proveOmission,
            (signed, place, probeHash(i), leafAt(place, i).path, opened)
        );
        vm.prank(REPORTER);
        (ok, answer_) = address(disputes).call(proof);
    }

    function test_AStolenKeyTakesAQuarterOfTheBondInTwoBuckets() public {
        // At the beginning of a bucket.
        uint256 n = START / 7 days + 1;
        vm.warp(n * 7 days);
        Place memory place = settleAll();
        leaveBond(1_800 * UNIT);
        bool ok;
        for (uint256 i = 0; i < 4; ++i) {
            (ok, ) = steal(place, i);
            yes(ok, "a floor each");
        }
        eq(bonded(), 1_400 * UNIT, "four floors");
        eq(disputes.roomOf(GATEWAY), 50 * UNIT, "half a floor is left");
        (ok, ) = steal(place, 4);
        yes(ok, "the fifth");
        eq(bonded(), 1_350 * UNIT, "a quarter");
        Bucket memory bucket = disputes.bucketOf(GATEWAY);
        yes(bucket.n == n && bucket.current == 450 * UNIT && bucket.previous == 0, "the bucket");
        bytes memory reason;
        (ok, reason) = steal(place, 5);
        uint256 until = (n + 2) * 7 days;
        eq(keccak256(reason), keccak256(abi.encodeWithSelector(IDisputes.CapReached.selector, until)), "capped");
        no(disputes.isProven(disputes.idOf(2, GATEWAY, PAYER, SESSION, 6)), "not used up");

        vm.warp(until - 1);
        bucket = disputes.bucketOf(GATEWAY);
        yes(bucket.n == n + 1 && bucket.current == 0 && bucket.previous == 450 * UNIT, "the bucket before");
        eq(disputes.roomOf(GATEWAY), 0, "no room yet");
        // Past the proof window of the first batch; the next is stolen of too.
        serveMany(N);
        place = settleBook(N, 2 * N, uint88(receipts[2 * N - 1].cumulative));
        (ok, ) = steal(place, N);
        no(ok, "still capped");
        vm.warp(until);
        (ok, ) = steal(place, N);
        yes(ok, "room again");
    }

    /// @dev A bucket that was not full leaves room as soon as the next one begins.
    function test_CapReachedNamesTheNextBucketWhenTheOneBeforeWasFull() public {
        uint256 n = START / 7 days + 1;
        vm.warp(n * 7 days);
        Place memory first = settleBook(0, 6, uint88(receipts[5].cumulative));
        leaveBond(1_000 * UNIT);
        (bool ok, bytes memory reason) = steal(first, 0);
        (ok, ) = steal(first, 1);
        yes(ok, "200 in the first");
        vm.warp((n + 1) * 7 days);
        (ok, ) = steal(first, 2);
        yes(ok, "50 in the second");
        (ok, reason) = steal(first, 3);
        uint256 until = (n + 2) * 7 days;
        eq(keccak256(reason), keccak256(abi.encodeWithSelector(IDisputes.CapReached.selector, until)), "the next");
        vm.warp(until - 1);
        (ok, ) = steal(first, 3);
        no(ok, "not before");
    }

    function test_AVictimIsRepaidThoughTheCapIsReached() public {
        overcharge(8, 60 * UNIT);
        Place memory place = settleAll();
        leaveBond(1_000 * UNIT);
        bool ok = true;
        for (uint256 i = 0; ok; ++i) (ok, ) = steal(place, i);
        eq(disputes.roomOf(GATEWAY), 0, "no room");
        Leaf memory leaf = leafAt(place, 8);
        uint256 had = billing.free(PAYER);
        expectFraud(4, place, 9, 60 * UNIT);
        disputes.proveOvercharge(place, leaf, calls[8], executions[8]);
        eq(billing.free(PAYER) - had, 60 * UNIT, "repaid");
    }

    /// @dev However a thief chooses its times and receipts: at most a quarter in any window, 44 %
    /// while the evidence lasts, and of what is slashed 5/12 come back.
    function testFuzz_AStolenKeyIsCapped(uint256 seed) public {
        for (uint256 i = 0; i < N; ++i) overcharge(i, 20 * UNIT);
        Place memory place = settleAll();
        leaveBond(300 * UNIT + (seed % (3_000 * UNIT)));
        uint256[] memory times = new uint256[](40);
        uint256[] memory bonds = new uint256[](41);
        uint256 had = billing.free(PAYER) + billing.free(REPORTER);
        (uint256 first, uint256 burned) = (bonded(), billing.burned());
        for (uint256 k = 0; k < 40; ++k) {
            seed = uint256(keccak256(abi.encode(seed)));
            vm.warp(times[k] = (k == 0 ? START : times[k - 1]) + (seed % 14 hours));
            bonds[k] = bonded();
            (bool ok, bytes memory reason) = steal(place, (seed >> 32) % N);
            bytes4 why = bytes4(reason);
            yes(ok || why == IDisputes.CapReached.selector || why == IDisputes.AlreadyProven.selector || why == IDisputes.WindowClosed.selector, "refused");
            bonds[k + 1] = bonded();
            for (uint256 j = 0; j <= k; ++j) {
                if (times[k] - times[j] <= 7 days) yes(4 * (bonds[j] - bonds[k + 1]) <= bonds[j], "a quarter");
            }
        }
        uint256 taken = first - bonded();
        yes(taken * 100 <= first * 44, "44 % in all");
        uint256 back = billing.free(PAYER) + billing.free(REPORTER) - had;
        yes(12 * back <= 5 * taken, "5/12 back");
        eq(billing.burned() - burned, taken - back, "the rest is burned");
    }

    /// @dev Whatever the lie is and whatever it takes: the payer gets that back, and the gateway
    /// loses three times as much.
    function testFuzz_NoLiePays(uint256 lie, uint256 units) public {
        lie = bound(lie, 0, 7);
        units = bound(units, 1, 300 * UNIT);
        (SignedReceipt memory signed, uint256 edge) = (handOut(receipts[6]), 0);
        if (lie == 3) edge = units;
        else if (lie == 2) for (uint256 k = 6; k < N; ++k) receipts[k].cumulative += uint128(units);
        else overcharge(6, units);
        if (lie == 1) calls[6].maxPrice = receipts[6].price - 1;
        if (lie == 4) receipts[6].signer = PAYER;
        if (lie == 5) calls[6].nonce = calls[5].nonce;
        rehash(6);
        Place memory place = settleBook(0, N, uint88(receipts[N - 1].cumulative + edge));
        uint256 had = billing.free(PAYER);
        convict(lie, place, signed);
        yes(billing.free(PAYER) - had >= units, "repaid");
        yes(10_000 * UNIT - bonded() >= 3 * units, "three times");
    }

    function convict(uint256 lie, Place memory place, SignedReceipt memory signed) internal {
        (Leaf memory before, Leaf memory leaf, Leaf memory last) = (
            leafAt(place, 5),
            leafAt(place, 6),
            leafAt(place, N - 1)
        );
        bytes32 node = probeHash(6);
        Receipt[] memory opened = new Receipt[](1);
        opened[0] = receipts[6];
        fund(REPORTER, UNIT);
        vm.startPrank(REPORTER);
        if (lie == 0) disputes.proveOvercharge(place, leaf, calls[6], executions[6]);
        else if (lie == 1) disputes.proveOverLimit(place, leaf, calls[6], executions[6]);
        else if (lie == 2) disputes.proveBreak(place, before, leaf);
        else if (lie == 3) disputes.proveEdge(place, last);
        else if (lie == 4) disputes.proveEdge(place, leaf);
        else if (lie == 5) disputes.proveDuplicate(place, before, place, leaf);
        else if (lie == 6) disputes.proveOmission(signed, place, node, leaf.path, opened);
        else disputes.demand(place, 6);
        vm.stopPrank();
        if (lie < 7) return;
        vm.warp(block.timestamp + 2 days + 1);
        disputes.expire(place, 6);
    }

    /// @dev A gateway that takes its own payer's money and proves it gets 5/12 of what that costs
    /// it, by any kind of proof.
    function testFuzz_SelfSlashLosesMoreThanHalf(uint256 damage, uint256 bond) public {
        damage = bound(damage, 1, 300 * UNIT);
        bond = bound(bond, 1, 10_000 * UNIT);
        overcharge(1, damage);
        executions[1].input = 0;
        rehash(1);
        Place memory place = settleAll();
        Leaf memory leaf = leafAt(place, 1);
        leaveBond(bond);
        uint256 burned = billing.burned();
        uint256 had = billing.free(PAYER) + billing.free(REPORTER);
        vm.startPrank(REPORTER);
        bytes[] memory proofs = new bytes[](3);
        proofs[0] = abi.encodeCall(IDisputes.proveOvercharge, (place, leaf, calls[1], executions[1]));
        proofs[1] = abi.encodeCall(IDisputes.proveOverLimit, (place, leaf, calls[1], executions[1]));
        proofs[2] = proofs[0];
        for (uint256 i = 0; i < 3; ++i) {
            (bool ok, ) = address(disputes).call(proofs[i]);
            ok;
        }
        vm.stopPrank();
        uint256 slashed = bond - bonded();
        uint256 back = billing.free(PAYER) + billing.free(REPORTER) - had;
        yes(slashed > 0, "slashed");
        yes(12 * back <= 5 * slashed, "5/12");
        eq(billing.burned() - burned, slashed - back, "the rest is burned");
    }

    /// @dev Of a D6 with the given floor against a gateway without a bond; the other terms are the
    /// usual ones.
    function misrouteWithoutBond(uint96 floor) internal returns (Disputes mine, bytes memory proof, bytes32 id) {
        DisputeTerms memory terms = defaultTerms();
        terms.misroute = floor;
        mine = new Disputes(billing, identity, registry, beacon, terms);
        receipts[5].provider = GATEWAY;
        Place memory place = settleAll();
        id = mine.idOfMisroute(GATEWAY, epoch, executions[5].deployment);
        proof = abi.encodeCall(
            IDisputes.proveMisroute,
            (place, leafAt(place, 5), calls[5], executions[5], uint32(1), ids)
        );
        leaveBond(0);
    }

    function test_D6_WithoutABondIsKeptForLater() public {
        (Disputes mine, bytes memory proof, bytes32 id) = misrouteWithoutBond(1);
        (bool ok, bytes memory reason) = address(mine).call(proof);
        no(ok, "taken");
        no(mine.isProven(id), "not used up");
        eq(bytes32(bytes4(reason)), bytes32(IDisputes.NothingToSlash.selector), "kept");
    }

    function test_D6_WithFloorZeroIsOnRecordOnly() public {
        (Disputes mine, bytes memory proof, bytes32 id) = misrouteWithoutBond(0);
        (bool ok, ) = address(mine).call(proof);
        yes(ok, "proven");
        yes(mine.isProven(id), "on record");
    }
}

contract PrepaidDisputesTest is DisputesWorld {
    function setUp() public override {
        super.setUp();
        openLane(1);
        serveMany(N);
    }

    function test_D9_AnswerNeedsNoSignatureButTheCall() public {
        (Place memory place, bytes32 id) = openDemand(3);
        Leaf memory leaf = leafAt(place, 3);
        Call memory nothing;
        invalid();
        disputes.answer(place, leaf, nothing, executions[3], "");
        // A signature that nobody asked for is not passed on as one.
        vm.expectEmit(true, true, false, true, address(disputes));
        emit IDisputes.Answered(id, GATEWAY, receipts[3], leaf.path, calls[3], executions[3], "");
        disputes.answer(place, leaf, calls[3], executions[3], hex"00112233");
        eq(billing.pledged(), 0, "answered");
    }
}
