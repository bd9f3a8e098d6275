// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Beacon} from "../../contracts/Beacon.sol";
import {Billing} from "../../contracts/Billing.sol";
import {Disputes} from "../../contracts/Disputes.sol";
import {FunctionRegistry} from "../../contracts/FunctionRegistry.sol";
import {Identity} from "../../contracts/Identity.sol";
import {Demand, DisputeTerms, IDisputes, Leaf, Place, SignedReceipt} from "../../contracts/interfaces/IDisputes.sol";
import {IIdentity} from "../../contracts/interfaces/IIdentity.sol";
import {Call, Receipt} from "../../contracts/libraries/Receipts.sol";
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

    /// @dev The next transaction proves kind `kind` at `seq` with `damage`; afterwards the money must have moved as 7.3 says.
    function slashOf(uint8 kind, uint256 damage, uint256 cap) internal view returns (uint256 slash) {
        slash = disputes.floorOf(kind);
        if (slash < 4 * damage) slash = 4 * damage;
        if (slash > cap) slash = cap;
    }

    function expectFraud(uint8 kind, uint40 seq, uint256 damage) internal {
        uint256 slash = slashOf(kind, damage, bonded() / 10);
        bytes32 id = disputes.idOf(kind, GATEWAY, PAYER, SESSION, seq);
        vm.expectEmit(true, true, true, true, address(disputes));
        emit IDisputes.FraudProven(id, kind, GATEWAY, PAYER, REPORTER, damage, slash);
        vm.prank(REPORTER);
    }

    function again(uint8 kind, uint40 seq) internal {
        bytes32 id = disputes.idOf(kind, GATEWAY, PAYER, SESSION, seq);
        yes(disputes.isProven(id), "proven");
        vm.expectRevert(abi.encodeWithSelector(IDisputes.AlreadyProven.selector, id));
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

        noFraud();
        disputes.proveEquivocation(signed, signed);
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
        return probe.drawOrder(probe.seedOf(beacon.epochOf(epoch).value, receipts[i].call), ids, 32);
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
        t.charge = uint96(100 * UNIT + 1);
        refuses(t, "charge", t.charge);
        t = defaultTerms();
        t.misroute = uint96(10 * UNIT + 1);
        refuses(t, "misroute", t.misroute);
        t = defaultTerms();
        t.silence = uint96(5 * UNIT - 1);
        refuses(t, "silence", t.silence);
        t.silence = uint96(500 * UNIT + 1);
        refuses(t, "silence", t.silence);
        t = defaultTerms();
        t.pledge = uint96(UNIT / 10 - 1);
        refuses(t, "pledge", t.pledge);
        t.pledge = uint96(10 * UNIT + 1);
        refuses(t, "pledge", t.pledge);
        t = defaultTerms();
        t.demandWindow = 1 days - 1;
        refuses(t, "demandWindow", t.demandWindow);
        t.demandWindow = 30 days + 1;
        refuses(t, "demandWindow", t.demandWindow);
        t = defaultTerms();
        t.answerWindow = 12 hours - 1;
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
            12 hours,
            1 days + 12 hours + 1
        );
        eq(new Disputes(billing, identity, registry, beacon, t).floorOf(6), 0, "least");
        t = DisputeTerms(
            uint96(1_000 * UNIT),
            uint96(100 * UNIT),
            uint96(10 * UNIT),
            uint96(500 * UNIT),
            uint96(10 * UNIT),
            30 days,
            14 days,
            180 days
        );
        eq(new Disputes(billing, identity, registry, beacon, t).floorOf(9), 500 * UNIT, "greatest");
    }

    function test_WiringIsChecked() public {
        Disputes stranger = new Disputes(billing, identity, registry, beacon, defaultTerms());
        vm.expectRevert(abi.encodeWithSelector(IDisputes.Miswired.selector, "Billing.DISPUTES"));
        stranger.wired();
    }

    function test_EachPointerAndSharedValueIsChecked() public {
        DisputeTerms memory terms = defaultTerms();
        // Another registry, beacon or identity than the one the others point at.
        miswired(identity, "Billing.IDENTITY", new Identity(registry, 1 days, 14 days), registry, beacon, terms);
        FunctionRegistry other = new FunctionRegistry(beacon, identity);
        miswired(identity, "Identity.REGISTRY", identity, other, beacon, terms);
        miswired(identity, "FunctionRegistry.BEACON", identity, registry, new Beacon(1), terms);
        terms.proofWindow = 13 days;
        miswired(identity, "Billing.PROOF_WINDOW", identity, registry, beacon, terms);
        terms = defaultTerms();
        FunctionRegistry strange = new FunctionRegistry(beacon, identity);
        Identity lonely = new Identity(strange, 1 days, 14 days);
        miswired(lonely, "FunctionRegistry.IDENTITY", lonely, strange, beacon, terms);
        FunctionRegistry fresh = new FunctionRegistry(
            beacon,
            IIdentity(vm.computeCreateAddress(address(this), vm.getNonce(address(this)) + 1))
        );
        Identity forgetful = new Identity(fresh, 1 days, 12 days);
        miswired(forgetful, "Identity.KEY_EVIDENCE", forgetful, fresh, beacon, terms);
    }

    /// @dev Deploys a Billing and a Disputes that point at each other; Billing's Identity is `billed`.
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
        eq(disputes.floorOf(1), 100 * UNIT, "D1");
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
        for (uint256 k = 0; k < 12; ++k) {
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
        (bool ok, bytes memory answer) = address(disputes).staticcall(check);
        no(ok, "accepted");
        eq(keccak256(answer), keccak256(expected), "reason");
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

    /* D1 */

    function test_D1_TwoReceiptsForOnePlace() public {
        SignedReceipt memory a = handOut(receipts[4]);
        Receipt memory other = receipts[4];
        other.price += 7;
        SignedReceipt memory b = handOut(other);
        uint256 had = billing.free(PAYER);
        expectFraud(1, 5, 7);
        disputes.proveEquivocation(a, b);
        eq(bonded(), 9_900 * UNIT, "slashed");
        eq(billing.free(PAYER), had + 7, "payer");
        eq(billing.free(REPORTER), 20 * UNIT, "reporter");
        eq(billing.burned(), 80 * UNIT - 7, "burned");
        again(1, 5);
        disputes.proveEquivocation(b, a);
    }

    function test_D1_NeedsTheSamePlaceAndGoodSignatures() public {
        SignedReceipt memory a = handOut(receipts[4]);
        Receipt memory other = receipts[4];
        other.price += 7;
        for (uint256 k = 0; k < 4; ++k) {
            Receipt memory moved = abi.decode(abi.encode(other), (Receipt));
            if (k == 0) moved.payer = GATEWAY;
            if (k == 1) moved.gateway = PAYER;
            if (k == 2) moved.signer = GATEWAY;
            if (k == 3) moved.seq += 1;
            SignedReceipt memory c = handOut(moved);
            invalid();
            disputes.checkEquivocation(a, c);
        }
        SignedReceipt memory b = handOut(other);
        b.signature = a.signature;
        invalid();
        disputes.checkEquivocation(a, b);
        b = handOut(other);
        b.count = 0;
        invalid();
        disputes.checkEquivocation(a, b);
        b = handOut(other);
        vm.prank(GATEWAY);
        identity.retireKey(OPERATOR);
        vm.warp(block.timestamp + 15 days);
        (bool isFraud, ) = disputes.checkEquivocation(a, b);
        yes(isFraud, "still evidence");
        vm.warp(block.timestamp + 1);
        invalid();
        disputes.checkEquivocation(a, b);
    }

    /// @dev After a crash the same receipts are signed again in other groups: harmless.
    function test_D1_ResignedInAnotherGroupIsHarmless() public {
        bytes32[] memory group = leavesOf(0, 5);
        bytes memory signature = sign(
            OPERATOR_KEY,
            billingDigest(probe.hashReceiptGroup(GATEWAY, rootOf(group), 5))
        );
        SignedReceipt memory grouped = SignedReceipt(receipts[2], 2, 5, pathOf(group, 2), signature);
        SignedReceipt memory alone = handOut(receipts[2]);
        noFraud();
        disputes.proveEquivocation(grouped, alone);
    }

    /* D2 */

    function test_D2_AnotherLeafAtItsPlace() public {
        SignedReceipt memory signed = handOut(receipts[6]);
        receipts[6].provider = GATEWAY;
        receipts[6].price += 3;
        Place memory place = settleAll();
        Leaf memory leaf = leafAt(place, 6);
        bytes32 node = probeHash(6);
        (bool isFraud, uint256 damage) = disputes.checkOmission(signed, place, node, leaf.path, none);
        yes(isFraud, "fraud");
        eq(damage, 0, "not opened");
        Receipt[] memory opened = new Receipt[](1);
        opened[0] = receipts[6];
        expectFraud(2, 7, 3);
        disputes.proveOmission(signed, place, node, leaf.path, opened);
        again(2, 7);
        disputes.proveOmission(signed, place, node, leaf.path, none);

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
        expectFraud(3, 6, 9);
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
        expectFraud(3, 6, 0);
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
            yes(isFraud && damage == 0, "as the later neighbour");
            (isFraud, damage) = disputes.checkBreak(place, leaf, next);
            yes(isFraud && damage == 0, "as the earlier neighbour");
            (isFraud, damage) = disputes.checkEdge(place, leaf);
            yes(isFraud && damage == 0, "alone");
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
        expectFraud(3, 2, 0);
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
        expectFraud(3, 5, 0);
        disputes.proveEdge(place, first);
        noFraud();
        disputes.proveEdge(place, middle);
        uint256 bondBefore = bonded();
        // A second grave fraud within the demand window: up to the whole bond.
        vm.prank(REPORTER);
        disputes.proveEdge(place, last);
        eq(bondBefore - bonded(), 100 * UNIT, "floor");
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
        receipts[2].price += 11;
        Place memory place = settleAll();
        Leaf memory leaf = leafAt(place, 2);
        expectFraud(4, 3, 11);
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
        expectFraud(5, 1, receipts[0].price);
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
        expectFraud(5, 7, receipts[6].price);
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
        expectFraud(6, 1, 0);
        disputes.proveMisroute(place, leaf, calls[0], executions[0], 1, ids);
        again(6, 1);
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
        executions[0].deployment = probe.drawOrder(probe.seedOf(0, receipts[0].call), ids, 1)[0];
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

    function test_D6_PayerOfASignedLaneChoosesTheEpoch() public {
        executions[0].finishedAt = uint40(START - 61);
        executions[1].finishedAt = uint40(START + 10 minutes + 11);
        rehash(0);
        rehash(1);
        for (uint256 i = 0; i < 2; ++i) {
            executions[i].deployment = orderOf(i)[0];
            rehash(i);
        }
        Place memory place = settleAll();
        misrouted(place, 0, false);
        misrouted(place, 1, false);
    }

    /* D9 */

    function callSignature(uint256 i, uint256 key) internal view returns (bytes memory) {
        return sign(key, billingDigest(probe.hashCall(calls[i])));
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
        eq(d.damage, receipts[N - 1].cumulative / N, "mean price");
        eq(d.index, 3, "index");
        eq(d.count, N, "count");

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
        Demand memory d = disputes.demandOf(disputes.demand(place, count - 1));
        eq(d.count, count, "its own receipts");
        eq(d.damage, (receipts[N - 1].cumulative - receipts[3].cumulative) / count, "its own mean");
    }

    function test_D9_AnswerEarnsThePledge() public {
        (Place memory place, bytes32 id) = openDemand(3);
        Leaf memory leaf = leafAt(place, 3);
        uint256 had = billing.free(GATEWAY);
        bytes memory signature = callSignature(3, SESSION_KEY);
        vm.expectEmit(true, true, false, true, address(disputes));
        emit IDisputes.Answered(id, GATEWAY, receipts[3]);
        disputes.answer(id, leaf, calls[3], signature);
        eq(billing.free(GATEWAY), had + UNIT, "gateway");
        eq(disputes.demandOf(id).deadline, 1, "answered");
        eq(disputes.demandOf(id).demander, address(0), "nothing else is left");
        eq(billing.pledged(), 0, "nothing pledged");
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotDemanded.selector, id));
        disputes.answer(id, leaf, calls[3], signature);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotDemanded.selector, id));
        disputes.expire(id);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.AnsweredBefore.selector, id));
        vm.prank(REPORTER);
        disputes.demand(place, 3);
    }

    function test_D9_AnswerMustBeTheLeafAndInASignedLaneTheCall() public {
        (Place memory place, bytes32 id) = openDemand(3);
        Leaf memory leaf = leafAt(place, 3);
        Leaf memory other = leafAt(place, 4);
        bytes memory good = callSignature(3, SESSION_KEY);
        bytes memory bad = callSignature(3, PAYER_KEY);
        Call memory call = calls[3];
        invalid();
        disputes.answer(id, other, calls[4], good);
        invalid();
        disputes.answer(id, leaf, calls[4], good);
        invalid();
        disputes.answer(id, leaf, call, bad);
        leaf.path[0] ^= bytes32(uint256(1));
        invalid();
        disputes.answer(id, leaf, call, good);
        leaf = leafAt(place, 3);
        leaf.index = 4;
        invalid();
        disputes.answer(id, leaf, call, good);
        leaf = leafAt(place, 3);
        uint256 until = block.timestamp + 2 days;
        vm.warp(until + 1);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.WindowClosed.selector, until));
        disputes.answer(id, leaf, call, good);
        vm.warp(until);
        disputes.answer(id, leaf, call, good);
    }

    function test_D9_CallOfAnotherLaneIsNoAnswer() public {
        calls[3].payer = GATEWAY;
        rehash(3);
        (Place memory place, bytes32 id) = openDemand(3);
        Leaf memory leaf = leafAt(place, 3);
        bytes memory signature = callSignature(3, SESSION_KEY);
        invalid();
        disputes.answer(id, leaf, calls[3], signature);
    }

    function test_D9_SilenceSlashesAndReturnsThePledge() public {
        (Place memory place, bytes32 id) = openDemand(3);
        uint256 until = block.timestamp + 2 days;
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.StillOpen.selector, until));
        disputes.expire(id);
        vm.warp(until + 1);
        uint256 damage = receipts[N - 1].cumulative / N;
        vm.expectEmit(true, true, false, true, address(disputes));
        emit IDisputes.Expired(id, GATEWAY, damage, 50 * UNIT);
        disputes.expire(id);
        eq(bonded(), 9_950 * UNIT, "slashed");
        eq(billing.free(REPORTER), 20 * UNIT, "pledge and a fifth");
        eq(billing.pledged(), 0, "nothing pledged");
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotDemanded.selector, id));
        disputes.expire(id);
        again(9, 4);
        vm.prank(REPORTER);
        disputes.demand(place, 3);
    }

    function test_D9_ExpiresWithoutABondToo() public {
        (, bytes32 id) = openDemand(3);
        vm.prank(address(disputes));
        billing.slash(GATEWAY, 10_000 * UNIT, PAYER, 0, REPORTER, 0);
        vm.warp(block.timestamp + 2 days + 1);
        disputes.expire(id);
        eq(billing.free(REPORTER), 10 * UNIT, "pledge");
    }

    /* THE SLASH */

    function test_SlashIsATenthAtMostAndAllOfItTheSecondTime() public {
        receipts[2].price += uint128(200 * UNIT);
        for (uint256 i = 2; i < N; ++i) receipts[i].cumulative += uint128(200 * UNIT);
        SignedReceipt memory a = handOut(receipts[2]);
        Receipt memory cheap = receipts[2];
        cheap.price -= uint128(200 * UNIT);
        SignedReceipt memory b = handOut(cheap);
        (Receipt memory dear, Receipt memory free) = (receipts[4], receipts[4]);
        dear.price = uint128(5_000 * UNIT);
        free.price = 0;
        (SignedReceipt memory c, SignedReceipt memory d) = (handOut(dear), handOut(free));

        vm.startPrank(REPORTER);
        disputes.proveEquivocation(a, b);
        eq(bonded(), 9_200 * UNIT, "four times the damage is 800");
        eq(disputes.lastGraveOf(GATEWAY), block.timestamp, "grave");
        vm.warp(block.timestamp + 7 days);
        uint256 had = billing.free(PAYER);
        disputes.proveEquivocation(c, d);
        eq(bonded(), 0, "the whole bond");
        eq(billing.free(PAYER) - had, 2_300 * UNIT, "a quarter at most");
        vm.stopPrank();
    }

    function test_SlashIsATenthAgainAfterTheDemandWindow() public {
        for (uint256 i = 0; i < 2; ++i) {
            Receipt memory dear = receipts[i];
            dear.price = uint128(5_000 * UNIT);
            (SignedReceipt memory a, SignedReceipt memory b) = (handOut(receipts[i]), handOut(dear));
            uint256 had = bonded();
            vm.prank(REPORTER);
            disputes.proveEquivocation(a, b);
            eq(had - bonded(), had / 10, "a tenth");
            vm.warp(block.timestamp + 7 days + 1);
        }
    }

    function test_NothingIsConsumedWhileThereIsNoBond() public {
        receipts[2].price += 11;
        Place memory place = settleAll();
        Leaf memory leaf = leafAt(place, 2);
        vm.prank(address(disputes));
        billing.slash(GATEWAY, 10_000 * UNIT, PAYER, 0, REPORTER, 0);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NothingToSlash.selector, GATEWAY));
        disputes.proveOvercharge(place, leaf, calls[2], executions[2]);
        bondGateway(100 * UNIT);
        expectFraud(4, 3, 11);
        disputes.proveOvercharge(place, leaf, calls[2], executions[2]);
    }

    function test_FloorCountsUntilFourTimesTheDamageIsMore() public {
        // 4 x 2.2 is less than the floor of 10, 5 x 2.2 is not; and a quarter of 10 is more than 2.2, a fifth is not.
        uint128 damage = uint128((22 * UNIT) / 10);
        receipts[2].price += damage;
        Place memory place = settleAll();
        Leaf memory leaf = leafAt(place, 2);
        uint256 had = billing.free(PAYER);
        expectFraud(4, 3, damage);
        disputes.proveOvercharge(place, leaf, calls[2], executions[2]);
        eq(bonded(), 9_990 * UNIT, "the floor");
        eq(billing.free(PAYER) - had, damage, "all of the damage");
        eq(disputes.lastGraveOf(GATEWAY), 0, "not grave");
    }

    function test_D3_IsGrave() public {
        receipts[N - 1].cumulative += 1;
        Place memory place = settleAll();
        Leaf memory leaf = leafAt(place, N - 1);
        Leaf memory before = leafAt(place, N - 2);
        vm.prank(REPORTER);
        disputes.proveBreak(place, before, leaf);
        eq(disputes.lastGraveOf(GATEWAY), block.timestamp, "grave");
    }

    /// @dev On a chain younger than the window there was no fraud before the first either.
    function test_FirstFraudOfAYoungChainTakesATenth() public {
        Receipt memory dear = receipts[1];
        dear.price = uint128(5_000 * UNIT);
        (SignedReceipt memory a, SignedReceipt memory b) = (handOut(receipts[1]), handOut(dear));
        vm.warp(1 days);
        vm.prank(REPORTER);
        disputes.proveEquivocation(a, b);
        eq(bonded(), 9_000 * UNIT, "a tenth");
    }

    /// @dev Of a D6 with the given floor against a gateway without a bond; the other terms are the usual ones.
    function misrouteWithoutBond(uint96 floor) internal returns (Disputes mine, bytes memory proof) {
        DisputeTerms memory terms = defaultTerms();
        terms.misroute = floor;
        mine = new Disputes(billing, identity, registry, beacon, terms);
        receipts[5].provider = GATEWAY;
        Place memory place = settleAll();
        proof = abi.encodeCall(
            IDisputes.proveMisroute,
            (place, leafAt(place, 5), calls[5], executions[5], uint32(1), ids)
        );
        vm.prank(address(disputes));
        billing.slash(GATEWAY, 10_000 * UNIT, PAYER, 0, REPORTER, 0);
    }

    function test_D6_WithoutABondIsKeptForLater() public {
        (Disputes mine, bytes memory proof) = misrouteWithoutBond(1);
        (bool ok, bytes memory reason) = address(mine).call(proof);
        no(ok, "taken");
        eq(bytes32(bytes4(reason)), bytes32(IDisputes.NothingToSlash.selector), "kept");
    }

    function test_D6_WithFloorZeroIsOnRecordOnly() public {
        (Disputes mine, bytes memory proof) = misrouteWithoutBond(0);
        (bool ok, ) = address(mine).call(proof);
        yes(ok, "proven");
        yes(mine.isProven(mine.idOf(6, GATEWAY, PAYER, SESSION, 6)), "on record");
    }

    /// @dev A gateway that slashes itself through its own payer and reporter gets at most 45 % back.
    function testFuzz_LaunderingABondLosesMoreThanHalf(uint128 damage) public {
        Receipt memory dear = receipts[1];
        dear.price = damage;
        (SignedReceipt memory a, SignedReceipt memory b) = (handOut(receipts[1]), handOut(dear));
        if (probe.hashReceipt(dear) == probeHash(1)) return;
        uint256 had = billing.free(PAYER);
        vm.prank(REPORTER);
        disputes.proveEquivocation(a, b);
        uint256 slashed = 10_000 * UNIT - bonded();
        uint256 back = billing.free(PAYER) - had + billing.free(REPORTER);
        yes(back * 100 <= slashed * 45, "at most 45 %");
        eq(billing.burned(), slashed - back, "the rest is burned");
    }
}

contract PrepaidDisputesTest is DisputesWorld {
    function setUp() public override {
        super.setUp();
        openLane(1);
        serveMany(N);
    }

    function test_D6_EpochMustBeFresh() public {
        // 60 s of skew, 10 minutes of life plus the version's 10 s of time.
        uint40[4] memory finishedAt = [
            uint40(START - 61),
            uint40(START - 60),
            uint40(START + 10 minutes + 10),
            uint40(START + 10 minutes + 11)
        ];
        for (uint256 i = 0; i < 4; ++i) {
            executions[i].finishedAt = finishedAt[i];
            executions[i].deployment = orderOf(i)[0];
            receipts[i].attempt = 0;
            rehash(i);
        }
        Place memory place = settleAll();
        misrouted(place, 0, true);
        misrouted(place, 1, false);
        misrouted(place, 2, false);
        misrouted(place, 3, true);
    }

    function test_D9_AnswerNeedsNoCall() public {
        (Place memory place, bytes32 id) = openDemand(3);
        Leaf memory leaf = leafAt(place, 3);
        Call memory nothing;
        disputes.answer(id, leaf, nothing, "");
        eq(billing.pledged(), 0, "answered");
    }
}
