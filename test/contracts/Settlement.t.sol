// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Claim, Due, IBilling, Lane, PayoutRow} from "../../contracts/interfaces/IBilling.sol";
import {Wallet1271} from "../../contracts/test-tokens/Wallets.sol";
import {World} from "./World.sol";

contract SettlementTest is World {
    address internal constant ALICE = address(0xA);

    function setUp() public override {
        super.setUp();
        openLane(1);
    }

    function settle(Claim[] memory claims, PayoutRow[] memory payouts) internal returns (uint32) {
        vm.prank(GATEWAY);
        return billing.settle(GATEWAY, claims, payouts, "cid");
    }

    function one(Claim memory claim) internal pure returns (Claim[] memory claims) {
        claims = new Claim[](1);
        claims[0] = claim;
    }

    function paying(uint128 amount) internal view returns (PayoutRow[] memory payouts) {
        payouts = new PayoutRow[](1);
        payouts[0] = PayoutRow(PROVIDER, amount);
    }

    function fails(Claim memory claim, bytes4 reason) internal {
        vm.expectRevert(abi.encodeWithSelector(IBilling.ClaimFailed.selector, 0, reason));
        settle(one(claim), new PayoutRow[](0));
    }

    /* WHAT IT DOES */

    function testFuzz_SettleTakesCreditsAndCommits(uint256 amount, uint40 seq, bytes32 root) public {
        amount = bound(amount, 0, 400 * UNIT);
        seq = uint40(bound(seq, 1, type(uint40).max));
        bytes32 batchRoot = keccak256(abi.encode(PAYER, SESSION, 0, amount, 0, seq, root));

        vm.expectEmit(true, true, true, true, address(billing));
        emit IBilling.Claimed(PAYER, GATEWAY, SESSION, uint88(amount), seq, root);
        vm.expectEmit(true, true, false, true, address(billing));
        emit IBilling.Paid(GATEWAY, PROVIDER, amount);
        vm.expectEmit(true, true, false, true, address(billing));
        emit IBilling.BatchSettled(GATEWAY, 0, batchRoot, "cid", amount, 0);
        eq(settle(one(claimOf(uint88(amount), seq, root)), paying(uint128(amount))), 0, "batch");

        Lane memory lane = billing.laneOf(PAYER, GATEWAY, SESSION);
        eq(lane.settled, amount, "settled");
        eq(lane.seq, seq, "seq");
        eq(lane.cap, 400 * UNIT, "cap stays");
        eq(lane.mode, 1, "mode stays");
        eq(billing.lineOf(PAYER, GATEWAY).allotted, 500 * UNIT - amount, "line");
        eq(billing.claimable(GATEWAY, PROVIDER), amount, "due");
        eq(billing.rootOf(GATEWAY, 0), keccak256(abi.encode(batchRoot, bytes32(0), 1, block.timestamp)), "word");
        (uint256 bonded, , , uint256 batches) = billing.standing(GATEWAY);
        eq(batches, 1, "batches");
        eq(bonded, 10_000 * UNIT, "bond");
    }

    function test_RootIsTheTreeOfTheClaimedEvents() public {
        uint256 n = 7;
        Claim[] memory claims = new Claim[](n);
        bytes32[] memory leaves = new bytes32[](n);
        for (uint256 i = 0; i < n; ++i) {
            uint256 key = 1000 + i;
            vm.prank(PAYER);
            billing.openLane(GATEWAY, vm.addr(key), 1000, type(uint32).max, 1);
            uint88 amount = uint88(10 * i);
            claims[i] = Claim(PAYER, vm.addr(key), amount, 900, 0, uint40(i + 1), bytes32(i), voucher(key, PAYER, 900));
            leaves[i] = keccak256(abi.encode(PAYER, vm.addr(key), 0, amount, 0, i + 1, bytes32(i)));
        }
        settle(claims, paying(210));
        eq(
            billing.rootOf(GATEWAY, 0),
            keccak256(abi.encode(rootOf(leaves), bytes32(0), n, block.timestamp)),
            "tree of seven"
        );
    }

    function test_LeafStartsWhereTheLaneStood() public {
        settleOne(claimOf(100, 5, "one"), 100);
        vm.warp(block.timestamp + 1 hours);
        settleOne(claimOf(100, 6, "free receipts only"), 0);
        bytes32 leaf = keccak256(abi.encode(PAYER, SESSION, 100, 100, 5, 6, bytes32("free receipts only")));
        eq(billing.rootOf(GATEWAY, 1), keccak256(abi.encode(leaf, bytes32(0), 1, block.timestamp)), "second");
    }

    /* WHO AND HOW MANY */

    function test_OnlyTheGatewayAndItsSettlerSettle() public {
        Claim[] memory claims = one(claimOf(100, 1, "root"));
        vm.expectRevert(abi.encodeWithSelector(IBilling.NotSettler.selector, ALICE));
        vm.prank(ALICE);
        billing.settle(GATEWAY, claims, paying(100), "cid");
        vm.expectEmit(true, false, false, true, address(billing));
        emit IBilling.SettlerSet(GATEWAY, ALICE);
        vm.prank(GATEWAY);
        billing.setSettler(ALICE);
        vm.prank(ALICE);
        billing.settle(GATEWAY, claims, paying(100), "cid");
        vm.expectRevert(abi.encodeWithSelector(IBilling.NotSettler.selector, SETTLER));
        vm.prank(SETTLER);
        billing.settle(GATEWAY, claims, paying(100), "cid");
    }

    function test_OneTo256Claims() public {
        vm.expectRevert(abi.encodeWithSelector(IBilling.InvalidBatch.selector, 0));
        settle(new Claim[](0), new PayoutRow[](0));
        vm.expectRevert(abi.encodeWithSelector(IBilling.InvalidBatch.selector, 257));
        settle(new Claim[](257), new PayoutRow[](0));
    }

    function test_256LanesWithOneBadRowNameIt() public {
        Claim[] memory claims = new Claim[](256);
        for (uint256 i = 0; i < 256; ++i) {
            uint256 key = 1000 + i;
            vm.prank(PAYER);
            billing.openLane(GATEWAY, vm.addr(key), 1000, type(uint32).max, 1);
            claims[i] = Claim(PAYER, vm.addr(key), 10, 10, 0, 1, "root", voucher(key, PAYER, 10));
        }
        claims[200].ceiling = 11;
        vm.expectRevert(
            abi.encodeWithSelector(IBilling.ClaimFailed.selector, 200, IBilling.InvalidSignature.selector)
        );
        settle(claims, paying(2560));
        claims[200].ceiling = 10;
        settle(claims, paying(2560));
        eq(billing.claimable(GATEWAY, PROVIDER), 2560, "all but none");
    }

    /* EACH REASON OF A CLAIM */

    function test_LaneMustBeOpenAndNotExpired() public {
        Claim memory claim = claimOf(100, 1, "root");
        claim.signer = ALICE;
        fails(claim, IBilling.LaneNotOpen.selector);
        // Also where the line is empty: the first reason counts.
        claim.payer = ALICE;
        fails(claim, IBilling.LaneNotOpen.selector);
        claim = claimOf(100, 1, "root");
        vm.warp(block.timestamp + 30 days);
        settle(one(claim), paying(100));
        vm.warp(block.timestamp + 1);
        fails(claimOf(100, 2, "root"), IBilling.LaneExpired.selector);
    }

    function test_AmountAndSeqMustGrow() public {
        settleOne(claimOf(100, 5, "root"), 100);
        fails(claimOf(99, 6, "root"), IBilling.StaleVoucher.selector);
        fails(claimOf(200, 5, "root"), IBilling.StaleVoucher.selector);
    }

    /// A batch made while another was on its way, or on one that a reorganisation took back, never
    /// lands.
    function testFuzz_ClaimIsMadeOnTheLaneAsItStands(uint40 seqFrom) public {
        Claim memory first = claimOf(100, 5, "root");
        Claim memory onNothing = claimOf(200, 9, "root");
        fails(claimFrom(5, claimOf(100, 9, "root")), IBilling.StaleVoucher.selector);
        settle(one(first), paying(100));
        fails(onNothing, IBilling.StaleVoucher.selector);
        Claim memory claim = claimFrom(seqFrom, claimOf(200, 9, "root"));
        if (seqFrom == 5) settle(one(claim), paying(100));
        else fails(claim, IBilling.StaleVoucher.selector);
        eq(billing.laneOf(PAYER, GATEWAY, SESSION).seq, seqFrom == 5 ? 9 : 5, "seq");
    }

    function test_ClaimMadeOnTheLaneAsItStandsLands() public {
        testFuzz_ClaimIsMadeOnTheLaneAsItStands(5);
    }

    function claimFrom(uint40 seqFrom, Claim memory claim) internal pure returns (Claim memory) {
        claim.seqFrom = seqFrom;
        return claim;
    }

    function test_NeverAboveCeilingCapOrLine() public {
        Claim memory claim = claimOf(100, 1, "root");
        claim.amount = 101;
        fails(claim, IBilling.OverCeiling.selector);
        fails(claimOf(uint88(400 * UNIT + 1), 1, "root"), IBilling.OverCap.selector);
        settleOne(claimOf(uint88(400 * UNIT), 1, "root"), uint128(400 * UNIT));
        vm.prank(PAYER);
        billing.extendLane(GATEWAY, SESSION, uint128(600 * UNIT), type(uint32).max);
        fails(claimOf(uint88(500 * UNIT + 1), 2, "root"), IBilling.InsufficientLine.selector);
        settleOne(claimOf(uint88(500 * UNIT), 2, "root"), uint128(100 * UNIT));
    }

    function test_VoucherIsOfThisLaneSignerChainAndContract() public {
        Claim memory claim = claimOf(100, 1, "root");
        claim.signature = voucher(PAYER_KEY, PAYER, 100);
        fails(claim, IBilling.InvalidSignature.selector);
        claim.signature = voucher(SESSION_KEY, ALICE, 100);
        fails(claim, IBilling.InvalidSignature.selector);
        claim.signature = hex"";
        fails(claim, IBilling.InvalidSignature.selector);
        claim = claimOf(100, 1, "root");
        vm.chainId(HOME_CHAIN + 1);
        fails(claim, IBilling.InvalidSignature.selector);
        vm.chainId(HOME_CHAIN);
        settle(one(claim), paying(100));
    }

    function test_LaneOfSignerZeroIsNobodys() public {
        vm.prank(PAYER);
        billing.openLane(GATEWAY, address(0), 1000, type(uint32).max, 1);
        fails(Claim(PAYER, address(0), 1, 1, 0, 1, "root", hex"00"), IBilling.InvalidSignature.selector);
    }

    function test_WalletMayPayForItselfAndChangeItsMind() public {
        Wallet1271 wallet = new Wallet1271(PAYER);
        Wallet1271 session = new Wallet1271(PAYER);
        fund(address(wallet), 10 * UNIT);
        vm.startPrank(address(wallet));
        billing.allot(GATEWAY, uint128(10 * UNIT));
        billing.openLane(GATEWAY, address(wallet), 1000, type(uint32).max, 1);
        billing.openLane(GATEWAY, address(session), 1000, type(uint32).max, 1);
        vm.stopPrank();
        bytes32 digest = billingDigest(probe.hashVoucher(address(wallet), GATEWAY, address(wallet), 100));
        Claim memory claim = Claim(address(wallet), address(wallet), 100, 100, 0, 1, "root", sign(PAYER_KEY, digest));
        settle(one(claim), paying(100));
        wallet.flip();
        (claim.seqFrom, claim.seq) = (1, 2);
        fails(claim, IBilling.InvalidSignature.selector);
        wallet.flip();
        settle(one(claim), paying(0));

        digest = billingDigest(probe.hashVoucher(address(wallet), GATEWAY, address(session), 100));
        claim = Claim(address(wallet), address(session), 100, 100, 0, 1, "root", sign(PAYER_KEY, digest));
        fails(claim, IBilling.InvalidSignature.selector);
    }

    /* SHARES AND FEE */

    function testFuzz_PayeesGetTheirShare(uint256 total, uint256 paid, uint16 feeBps) public {
        feeBps = uint16(bound(feeBps, 0, 3_000));
        total = bound(total, 0, 400 * UNIT);
        paid = bound(paid, 0, total + 2);
        vm.prank(GATEWAY);
        billing.announceFee(feeBps);
        vm.warp(block.timestamp + 2 days);
        uint256 least = (total * (10_000 - feeBps) + 9_999) / 10_000;
        bool isGood = paid >= least && paid <= total;
        Claim memory claim = claimOf(uint88(total), 1, "root");
        if (paid > total) vm.expectRevert(abi.encodeWithSelector(IBilling.Overpaid.selector, paid, total));
        else if (paid < least) vm.expectRevert(abi.encodeWithSelector(IBilling.ShareTooLow.selector, paid, least));
        else {
            bytes32 root = keccak256(abi.encode(PAYER, SESSION, 0, total, 0, 1, bytes32("root")));
            vm.expectEmit(true, true, false, true, address(billing));
            emit IBilling.BatchSettled(GATEWAY, 0, root, "cid", total, total - paid);
        }
        settle(one(claim), paying(uint128(paid)));
        if (!isGood) return;
        (uint256 bonded, , , ) = billing.standing(GATEWAY);
        eq(bonded, 10_000 * UNIT + total - paid, "the fee accrues into the bond");
    }

    function test_SharesAreRoundedUpAndNeverMoreThanAll() public {
        vm.prank(GATEWAY);
        billing.announceFee(1);
        vm.warp(block.timestamp + 2 days);
        Claim[] memory claims = one(claimOf(9_999, 1, "root"));
        // 9 998.0001
        vm.expectRevert(abi.encodeWithSelector(IBilling.ShareTooLow.selector, 9_998, 9_999));
        settle(claims, paying(9_998));
        vm.expectRevert(abi.encodeWithSelector(IBilling.Overpaid.selector, 10_000, 9_999));
        settle(claims, paying(10_000));
        settle(claims, paying(9_999));
    }

    function test_EachRowOfAPayoutIsCredited() public {
        PayoutRow[] memory payouts = new PayoutRow[](3);
        payouts[0] = PayoutRow(PROVIDER, 60);
        payouts[1] = PayoutRow(OWNER, 30);
        payouts[2] = PayoutRow(PROVIDER, 10);
        settle(one(claimOf(100, 1, "root")), payouts);
        eq(billing.claimable(GATEWAY, PROVIDER), 70, "provider");
        eq(billing.claimable(GATEWAY, OWNER), 30, "publisher");
    }

    function test_FeeStartsAfterItsDelayAndFolds() public {
        vm.startPrank(GATEWAY);
        vm.expectRevert(abi.encodeWithSelector(IBilling.FeeTooHigh.selector, 3_001));
        billing.announceFee(3_001);
        billing.announceFee(3_000);
        vm.expectEmit(true, false, false, true, address(billing));
        emit IBilling.FeeAnnounced(GATEWAY, 300, block.timestamp + 2 days);
        billing.announceFee(300);
        vm.warp(START + 2 days - 1);
        eq(billing.feeOf(GATEWAY), 0, "not yet");
        vm.warp(START + 2 days);
        eq(billing.feeOf(GATEWAY), 300, "now");
        billing.announceFee(500);
        eq(billing.feeOf(GATEWAY), 300, "folded");
        eq(billing.gatewayBondOf(GATEWAY).feeBps, 300, "stored");
        billing.announceFee(700);
        eq(billing.feeOf(GATEWAY), 300, "replaced before it started");
        vm.warp(START + 4 days);
        eq(billing.feeOf(GATEWAY), 700, "next");
        vm.stopPrank();
    }

    /* PAYEES */

    function test_PayeesPullOnce() public {
        settleOne(claimOf(100, 1, "root"), 100);
        vm.expectEmit(true, true, false, true, address(billing));
        emit IBilling.PaidOut(GATEWAY, PROVIDER, 100);
        vm.prank(ALICE);
        billing.payOut(GATEWAY, PROVIDER);
        eq(token.balanceOf(PROVIDER), 100, "received");
        eq(billing.claimable(GATEWAY, PROVIDER), 0, "nothing left");
        vm.expectRevert(IBilling.NothingDue.selector);
        billing.payOut(GATEWAY, PROVIDER);
        settleOne(claimOf(130, 2, "root"), 30);
        billing.payOut(GATEWAY, PROVIDER);
        eq(token.balanceOf(PROVIDER), 130, "the rest");
        Due memory due = billing.dueOf(GATEWAY, PROVIDER);
        eq(due.credited, 130, "credited");
        eq(due.withdrawn, 130, "withdrawn");
    }

    function payout(uint256 key, uint128 cumulative) internal view returns (bytes memory) {
        return sign(key, billingDigest(probe.hashPayout(GATEWAY, PROVIDER, cumulative)));
    }

    function test_PayeeLeftOutCollectsFromTheFloat() public {
        fund(GATEWAY, 100);
        vm.prank(GATEWAY);
        billing.allot(PROVIDER, 100);
        settleOne(claimOf(50, 1, "root"), 50);

        bytes memory stranger = payout(SESSION_KEY, 120);
        bytes memory good = payout(OPERATOR_KEY, 120);
        collectFails(120, stranger, abi.encodeWithSelector(IBilling.InvalidSignature.selector, SESSION));
        collectFails(50, payout(OPERATOR_KEY, 50), abi.encodeWithSelector(IBilling.StaleVoucher.selector));
        collectFails(
            151,
            payout(OPERATOR_KEY, 151),
            abi.encodeWithSelector(IBilling.InsufficientLine.selector, 100, 101)
        );
        vm.expectEmit(true, true, false, true, address(billing));
        emit IBilling.Collected(GATEWAY, PROVIDER, 70);
        billing.collect(GATEWAY, PROVIDER, 120, good);
        eq(billing.claimable(GATEWAY, PROVIDER), 120, "credited");
        eq(billing.lineOf(GATEWAY, PROVIDER).allotted, 30, "float");
        collectFails(120, good, abi.encodeWithSelector(IBilling.StaleVoucher.selector));
        billing.collect(GATEWAY, PROVIDER, 150, payout(OPERATOR_KEY, 150));
        eq(billing.lineOf(GATEWAY, PROVIDER).allotted, 0, "all of the float");

        vm.prank(GATEWAY);
        identity.retireKey(OPERATOR);
        vm.warp(block.timestamp + 1 days + 1);
        collectFails(
            160,
            payout(OPERATOR_KEY, 160),
            abi.encodeWithSelector(IBilling.InvalidSignature.selector, OPERATOR)
        );
    }

    function allotFloat(uint256 amount) internal {
        fund(GATEWAY, amount);
        vm.prank(GATEWAY);
        billing.allot(PROVIDER, uint128(amount));
    }

    function float() internal view returns (uint256) {
        return billing.lineOf(GATEWAY, PROVIDER).allotted;
    }

    /// What was collected ahead of its batch is paid once: the batch fills the float, then credits
    /// the rest.
    function test_BatchAfterACollectionPaysTheFloatBackFirst() public {
        allotFloat(100);
        billing.collect(GATEWAY, PROVIDER, 70, payout(OPERATOR_KEY, 70));
        billing.payOut(GATEWAY, PROVIDER);
        eq(billing.dueOf(GATEWAY, PROVIDER).advanced, 70, "advanced");

        vm.expectEmit(true, true, false, true, address(billing));
        emit IBilling.Paid(GATEWAY, PROVIDER, 30);
        vm.expectEmit(true, true, false, true, address(billing));
        emit IBilling.Refilled(GATEWAY, PROVIDER, 30);
        settleOne(claimOf(30, 1, "root"), 30);
        eq(float(), 60, "partly filled");
        eq(billing.claimable(GATEWAY, PROVIDER), 0, "had it before");

        vm.expectEmit(true, true, false, true, address(billing));
        emit IBilling.Refilled(GATEWAY, PROVIDER, 40);
        settleOne(claimOf(95, 2, "root"), 65);
        eq(float(), 100, "whole again");
        eq(billing.claimable(GATEWAY, PROVIDER), 25, "the rest is credited");
        eq(billing.dueOf(GATEWAY, PROVIDER).advanced, 0, "nothing advanced");
        eq(billing.dueOf(GATEWAY, PROVIDER).credited, 95, "what was owed, once");
        // The voucher of before gives nothing more.
        collectFails(70, payout(OPERATOR_KEY, 70), abi.encodeWithSelector(IBilling.StaleVoucher.selector));
        settleOne(claimOf(100, 3, "root"), 5);
        eq(float(), 100, "filled once");
    }

    /// Whatever the order of batches and collections, a payee has in the end what it was owed and
    /// the float what it had.
    function testFuzz_NothingIsPaidTwice(uint256 seed) public {
        uint256 cumulative = 0;
        uint256 settled = 0;
        allotFloat(10_000);
        for (uint256 i = 1; i < 12; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            cumulative += seed % 100;
            if (seed & 0x100 != 0 && cumulative > billing.dueOf(GATEWAY, PROVIDER).credited) {
                billing.collect(
                    GATEWAY,
                    PROVIDER,
                    uint128(cumulative),
                    payout(OPERATOR_KEY, uint128(cumulative))
                );
            }
            if (seed & 0x200 != 0 && billing.claimable(GATEWAY, PROVIDER) > 0) pull();
            if (seed & 0x400 == 0) continue;
            uint256 amount = bound(seed >> 32, settled, cumulative);
            settleOne(claimOf(uint88(amount), uint40(i), "root"), uint128(amount - settled));
            settled = amount;
        }
        settleOne(claimOf(uint88(cumulative), 20, "root"), uint128(cumulative - settled));
        if (billing.claimable(GATEWAY, PROVIDER) > 0) pull();
        eq(token.balanceOf(PROVIDER), cumulative, "what it was owed");
        eq(float(), 10_000, "the float is whole");
        eq(billing.dueOf(GATEWAY, PROVIDER).advanced, 0, "nothing advanced");
    }

    function pull() internal {
        billing.payOut(GATEWAY, PROVIDER);
    }

    function test_AdvanceReachesItsBoundAndNotFurther() public {
        uint256 most = type(uint80).max;
        allotFloat(2 * most);
        bytes memory tooMuch = payout(OPERATOR_KEY, uint128(most + 1));
        collectFails(
            uint128(most + 1),
            tooMuch,
            abi.encodeWithSignature("SafeCastOverflowedUintDowncast(uint8,uint256)", 80, most + 1)
        );
        billing.collect(GATEWAY, PROVIDER, uint128(most), payout(OPERATOR_KEY, uint128(most)));
        settleOne(claimOf(10, 1, "root"), 10);
        billing.collect(GATEWAY, PROVIDER, uint128(most + 10), payout(OPERATOR_KEY, uint128(most + 10)));
        eq(billing.dueOf(GATEWAY, PROVIDER).advanced, most, "full again");
        eq(billing.dueOf(GATEWAY, PROVIDER).credited, most + 10, "credited");
    }

    function test_DuesHaveTheirOwnBits() public {
        allotFloat(1_000);
        billing.collect(GATEWAY, PROVIDER, 500, payout(OPERATOR_KEY, 500));
        pull();
        billing.collect(GATEWAY, PROVIDER, 600, payout(OPERATOR_KEY, 600));
        settleOne(claimOf(40, 1, "root"), 40);
        Due memory due = billing.dueOf(GATEWAY, PROVIDER);
        eq(keccak256(abi.encode(due)), keccak256(abi.encode(Due(600, 500, 560))), "due");
        // A payee that nothing was advanced to is credited at once, whatever others have, and
        // nothing is refilled.
        PayoutRow[] memory payouts = new PayoutRow[](1);
        payouts[0] = PayoutRow(OWNER, 7);
        Claim[] memory claims = one(claimOf(47, 2, "root"));
        vm.recordLogs();
        settle(claims, payouts);
        eq(vm.getRecordedLogs().length, 3, "Claimed, Paid, BatchSettled");
        payouts[0] = PayoutRow(PROVIDER, 0);
        claims = one(claimOf(47, 3, "root"));
        vm.recordLogs();
        settle(claims, payouts);
        eq(vm.getRecordedLogs().length, 3, "nothing to refill with");
        eq(keccak256(abi.encode(billing.dueOf(GATEWAY, OWNER))), keccak256(abi.encode(Due(7, 0, 0))), "other");
    }

    function collectFails(uint128 cumulative, bytes memory signature, bytes memory reason) internal {
        vm.expectRevert(reason);
        billing.collect(GATEWAY, PROVIDER, cumulative, signature);
    }

    /* WHAT ONLY DISPUTES MAY */

    function testFuzz_SlashBurnsMoreThanHalf(uint256 amount, uint256 toPayer, uint256 toReporter) public {
        amount = bound(amount, 0, 10_000 * UNIT);
        toPayer = bound(toPayer, 0, amount);
        toReporter = bound(toReporter, 0, amount);
        uint256 had = billing.free(PAYER);
        bool isFair = 2 * (toPayer + toReporter) < amount;
        if (!isFair) {
            vm.expectRevert(
                abi.encodeWithSelector(IBilling.SlashedToFriends.selector, toPayer + toReporter, amount)
            );
        } else {
            vm.expectEmit(true, true, true, true, address(billing));
            bool stands = amount <= 9_000 * UNIT;
            emit IBilling.Slashed(
                GATEWAY,
                PAYER,
                REPORTER,
                amount,
                toPayer,
                toReporter,
                0,
                stands ? 0 : START + 1 days
            );
        }
        vm.prank(address(disputes));
        billing.slash(GATEWAY, amount, PAYER, toPayer, REPORTER, toReporter);
        if (!isFair) return;
        (uint256 bonded, , , ) = billing.standing(GATEWAY);
        eq(bonded, 10_000 * UNIT - amount, "bond");
        eq(billing.free(PAYER), had + toPayer, "payer");
        eq(billing.free(REPORTER), toReporter, "reporter");
        eq(billing.burned(), amount - toPayer - toReporter, "burned");
        yes(2 * billing.burned() > amount, "more than half");
    }

    function test_SlashesAddUpAndHalfIsTooMuch() public {
        fund(REPORTER, 5);
        vm.startPrank(address(disputes));
        vm.expectRevert(abi.encodeWithSelector(IBilling.SlashedToFriends.selector, 50, 100));
        billing.slash(GATEWAY, 100, PAYER, 25, REPORTER, 25);
        billing.slash(GATEWAY, 100, PAYER, 1, REPORTER, 1);
        billing.slash(GATEWAY, 10_000 * UNIT - 100, PAYER, 1, REPORTER, 1);
        vm.stopPrank();
        (uint256 bonded, , , ) = billing.standing(GATEWAY);
        eq(bonded, 0, "all of the bond");
        eq(billing.free(PAYER), 500 * UNIT + 2, "payer");
        eq(billing.free(REPORTER), 5 + 2, "reporter");
        eq(billing.burned(), 10_000 * UNIT - 4, "burned");
    }

    function test_PledgesMoveBetweenFreeAndPledged() public {
        vm.startPrank(address(disputes));
        vm.expectRevert(abi.encodeWithSelector(IBilling.PledgeTooHigh.selector, 100 * UNIT + 1));
        billing.pledge(PAYER, 100 * UNIT + 1);
        vm.expectRevert(abi.encodeWithSelector(IBilling.InsufficientFree.selector, 0, 1));
        billing.pledge(ALICE, 1);
        vm.expectEmit(true, false, false, true, address(billing));
        emit IBilling.Pledged(PAYER, 100 * UNIT);
        billing.pledge(PAYER, 100 * UNIT);
        eq(billing.free(PAYER), 400 * UNIT, "free");
        eq(billing.pledged(), 100 * UNIT, "pledged");
        vm.expectRevert(abi.encodeWithSelector(IBilling.PledgeTooHigh.selector, 100 * UNIT + 1));
        billing.unpledge(ALICE, 100 * UNIT + 1);
        vm.expectEmit(true, false, false, true, address(billing));
        emit IBilling.Unpledged(ALICE, 4 * UNIT);
        billing.unpledge(ALICE, 4 * UNIT);
        eq(billing.free(ALICE), 4 * UNIT, "returned");
        vm.expectRevert(abi.encodeWithSelector(IBilling.InsufficientFree.selector, 96 * UNIT, 97 * UNIT));
        billing.unpledge(ALICE, 97 * UNIT);
        billing.pledge(PAYER, 4 * UNIT);
        billing.unpledge(ALICE, 100 * UNIT);
        eq(billing.pledged(), 0, "none left");
        eq(billing.free(ALICE), 104 * UNIT, "returned too");
        vm.expectRevert(
            abi.encodeWithSelector(IBilling.InsufficientBond.selector, 10_000 * UNIT, 10_000 * UNIT + 1)
        );
        billing.slash(GATEWAY, 10_000 * UNIT + 1, PAYER, 0, PAYER, 0);
        vm.stopPrank();
    }

    function test_NobodyElseMay() public {
        bytes memory refused = abi.encodeWithSelector(IBilling.NotDisputes.selector, address(this));
        vm.expectRevert(refused);
        billing.slash(GATEWAY, 1, PAYER, 0, PAYER, 0);
        vm.expectRevert(refused);
        billing.pledge(PAYER, 1);
        vm.expectRevert(refused);
        billing.unpledge(PAYER, 1);
    }
}
