// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Claim, GatewayBond, IBilling, PayoutRow} from "../../contracts/interfaces/IBilling.sol";
import {World} from "./World.sol";

/// @notice Who may settle with how much at stake, and when money at stake may leave.
contract BondsTest is World {
    address internal constant ALICE = address(0xA);
    uint256 internal constant LEAST = 1_000 * UNIT;

    uint40 internal seq;

    function setUp() public override {
        super.setUp();
        openLane(1);
    }

    function bondOf() internal view returns (GatewayBond memory) {
        return billing.gatewayBondOf(GATEWAY);
    }

    function unbond(uint256 amount) internal {
        vm.prank(GATEWAY);
        billing.unbond(uint96(amount));
    }

    function slash(uint256 amount) internal {
        vm.prank(address(disputes));
        billing.slash(GATEWAY, amount, PAYER, 0, REPORTER, 0);
    }

    function nextClaim() internal returns (Claim memory) {
        return claimOf(1, ++seq, "root");
    }

    function settles() internal {
        (Claim memory claim, uint128 paid) = (nextClaim(), seq == 1 ? 1 : 0);
        settleOne(claim, paid);
    }

    function mayNotSettle(uint256 standing) internal {
        Claim memory claim = nextClaim();
        vm.expectRevert(abi.encodeWithSelector(IBilling.Underbonded.selector, standing, LEAST));
        settleOne(claim, 0);
        --seq;
    }

    function settlesUntil(uint256 until, uint256 standing) internal {
        eq(bondOf().settleUntil, until, "until");
        vm.warp(until);
        settles();
        vm.warp(until + 1);
        mayNotSettle(standing);
    }

    /* BOND AND LEAVE */

    function test_AnybodyBondsAGateway() public {
        mintTo(ALICE, 5);
        vm.expectEmit(true, false, false, true, address(billing));
        emit IBilling.Bonded(GATEWAY, 5, 10_000 * UNIT + 5);
        vm.prank(ALICE);
        billing.bond(GATEWAY, 5);
        vm.expectRevert(abi.encodeWithSelector(IBilling.UnexpectedAmount.selector, 0, 0));
        billing.bond(GATEWAY, 0);
    }

    function testFuzz_UnbondLeavesAfterItsTime(uint256 amount) public {
        amount = bound(amount, 1, 10_000 * UNIT);
        uint256 end = block.timestamp + 14 days;
        fund(GATEWAY, 7);
        vm.startPrank(GATEWAY);
        vm.expectRevert(
            abi.encodeWithSelector(IBilling.InsufficientBond.selector, 10_000 * UNIT, 10_000 * UNIT + 1)
        );
        billing.unbond(uint96(10_000 * UNIT + 1));
        vm.expectEmit(true, false, false, true, address(billing));
        emit IBilling.Unbonding(GATEWAY, amount, end, amount <= 9_000 * UNIT ? 0 : START + 2 days);
        billing.unbond(uint96(amount));
        vm.stopPrank();
        vm.warp(end - 1);
        vm.expectRevert(abi.encodeWithSelector(IBilling.StillThawing.selector, end));
        billing.leave(GATEWAY);
        vm.warp(end);
        vm.expectEmit(true, false, false, true, address(billing));
        emit IBilling.Left(GATEWAY, amount);
        billing.leave(GATEWAY);
        eq(billing.free(GATEWAY), 7 + amount, "free");
        (uint256 bonded, uint256 unbonding, , ) = billing.standing(GATEWAY);
        eq(bonded, 10_000 * UNIT - amount, "bond");
        eq(unbonding, 0, "unbonding over");
        eq(billing.gatewayBondOf(GATEWAY).unbondEnd, 0, "clock over");
        vm.expectRevert(IBilling.NotUnbonding.selector);
        billing.leave(GATEWAY);
    }

    function test_WordsHoldEachFieldApart() public {
        vm.startPrank(GATEWAY);
        billing.announceFee(1_000);
        vm.warp(START + 2 days);
        billing.announceFee(2_000);
        vm.stopPrank();
        unbond(9_500 * UNIT);
        settles();
        slash(UNIT);
        GatewayBond memory expected = GatewayBond({
            bond: uint96(9_999 * UNIT),
            unbonding: uint96(9_500 * UNIT),
            batches: 1,
            feeBps: 1_000,
            nextFeeBps: 2_000,
            settler: SETTLER,
            feeFrom: uint32(START + 4 days),
            unbondEnd: uint32(START + 16 days),
            settleUntil: uint32(START + 4 days)
        });
        eq(keccak256(abi.encode(bondOf())), keccak256(abi.encode(expected)), "both words");
    }

    /* WHO NEVER HAD ENOUGH */

    function test_GatewayThatNeverBondedCannotSettle() public {
        Claim[] memory claims = new Claim[](1);
        vm.startPrank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(IBilling.Underbonded.selector, 0, LEAST));
        billing.settle(ALICE, claims, new PayoutRow[](0), "cid");
        vm.stopPrank();
        mintTo(ALICE, LEAST);
        vm.startPrank(ALICE);
        billing.bond(ALICE, LEAST - 1);
        // Neither starting nor cancelling an exit gives it time.
        billing.unbond(1);
        billing.unbond(0);
        eq(billing.gatewayBondOf(ALICE).settleUntil, 0, "never");
        vm.expectRevert(abi.encodeWithSelector(IBilling.Underbonded.selector, LEAST - 1, LEAST));
        billing.settle(ALICE, claims, new PayoutRow[](0), "cid");
        vm.stopPrank();
        vm.prank(address(disputes));
        billing.slash(ALICE, 5, PAYER, 0, REPORTER, 0);
        eq(billing.gatewayBondOf(ALICE).settleUntil, 0, "nor does a slash");
    }

    /* WHO LEAVES */

    function test_RetiringGatewaySettlesForTwoDays() public {
        unbond(9_000 * UNIT + 1);
        settlesUntil(START + 2 days, LEAST - 1);
        // Asking again gives no more time, in either direction.
        unbond(9_500 * UNIT);
        eq(bondOf().settleUntil, START + 2 days, "unchanged");
        mayNotSettle(500 * UNIT);
        unbond(9_000 * UNIT + 1);
        mayNotSettle(LEAST - 1);
        // Cancelled, all of it is at stake, and it goes on.
        unbond(0);
        eq(bondOf().unbondEnd, 0, "cancelled");
        settles();
        unbond(9_000 * UNIT + 1);
        settlesUntil(START + 4 days + 1, LEAST - 1);
    }

    function test_UnbondingAboveTheLeastBondDoesNotRetire() public {
        unbond(1);
        eq(bondOf().unbondEnd, block.timestamp + 14 days, "the least is something");
        unbond(9_000 * UNIT);
        eq(bondOf().settleUntil, 0, "stands");
        vm.warp(block.timestamp + 14 days);
        settles();
        billing.leave(GATEWAY);
        eq(bondOf().unbondEnd, 0, "clock over");
        settles();
        unbond(1);
        settlesUntil(START + 16 days, LEAST - 1);
    }

    function test_GatewayThatLeftCannotSettleWithoutCollateral() public {
        unbond(10_000 * UNIT);
        vm.warp(block.timestamp + 14 days);
        billing.leave(GATEWAY);
        mayNotSettle(0);
        unbond(0);
        mayNotSettle(0);
        bondGateway(LEAST - 1);
        mayNotSettle(LEAST - 1);
        bondGateway(1);
        settles();
    }

    /* WHO IS SLASHED */

    function test_GatewaySlashedBelowTheLeastBondSettlesWhatThaws() public {
        slash(9_000 * UNIT);
        eq(bondOf().settleUntil, 0, "still enough");
        vm.warp(START + 5 days);
        settles();
        slash(1);
        vm.warp(START + 5 days + 20 hours);
        // A second one gives no more time.
        slash(1);
        settlesUntil(START + 6 days, LEAST - 2);
        slash(1);
        eq(bondOf().settleUntil, START + 6 days, "over");
        mayNotSettle(LEAST - 3);
        // Bonded again it goes on, and the next slash gives the time of a thaw again.
        bondGateway(3);
        settles();
        vm.warp(START + 10 days);
        slash(2);
        settlesUntil(START + 11 days, LEAST - 2);
        // An exit from below gives none.
        unbond(5);
        mayNotSettle(LEAST - 7);
    }

    function test_SlashOfARetiringGatewayLeavesItsTimeWhileEnoughIsAtStake() public {
        unbond(9_500 * UNIT);
        vm.warp(START + 12 hours);
        slash(9_000 * UNIT);
        eq(bondOf().settleUntil, START + 2 days, "enough at stake");
        slash(1);
        settlesUntil(START + 36 hours, 0);
    }

    function test_SlashNeverLengthensTheTimeOfARetiringGateway() public {
        unbond(9_500 * UNIT);
        vm.warp(START + 36 hours);
        slash(9_001 * UNIT);
        settlesUntil(START + 2 days, 0);
    }

    function test_SlashThatCrossesWhileUnbonding() public {
        unbond(8_000 * UNIT);
        vm.warp(START + 3 days);
        slash(1_500 * UNIT);
        settlesUntil(START + 4 days, 500 * UNIT);
        eq(bondOf().unbondEnd, START + 16 days, "the last batch can be disputed");
    }

    /* WHAT A SLASH REACHES */

    function test_SlashReachesUnbondingMoney() public {
        vm.prank(GATEWAY);
        billing.unbond(uint96(10_000 * UNIT));
        vm.prank(address(disputes));
        billing.slash(GATEWAY, 4_000 * UNIT, PAYER, 0, REPORTER, 0);
        vm.warp(START + 14 days);
        billing.leave(GATEWAY);
        eq(billing.free(GATEWAY), 6_000 * UNIT, "what is left");
    }

    function test_SlashHoldsWhatIsUnbonding() public {
        unbond(1);
        vm.warp(START + 1 days);
        slash(1);
        eq(bondOf().unbondEnd, START + 14 days, "13 days are left anyway");
        vm.warp(START + 14 days - 1);
        vm.expectEmit(true, true, true, true, address(billing));
        emit IBilling.Slashed(GATEWAY, PAYER, REPORTER, 1, 0, 0, START + 27 days - 1, 0);
        slash(1);
        vm.warp(START + 14 days);
        vm.expectRevert(abi.encodeWithSelector(IBilling.StillThawing.selector, START + 27 days - 1));
        billing.leave(GATEWAY);
        vm.warp(START + 27 days - 1);
        billing.leave(GATEWAY);
        eq(billing.free(GATEWAY), 1, "later, and whole");
    }

    function test_MoneyWhoseUnbondingIsOverIsTheGateways() public {
        unbond(4_000 * UNIT);
        vm.warp(START + 14 days - 1);
        standingIs(10_000 * UNIT, 4_000 * UNIT);
        vm.warp(START + 14 days);
        standingIs(6_000 * UNIT, 0);
        vm.expectRevert(
            abi.encodeWithSelector(IBilling.InsufficientBond.selector, 6_000 * UNIT, 6_000 * UNIT + 1)
        );
        vm.prank(address(disputes));
        billing.slash(GATEWAY, 6_000 * UNIT + 1, PAYER, 0, REPORTER, 0);
        slash(5_500 * UNIT);
        standingIs(500 * UNIT, 0);
        eq(bondOf().settleUntil, START + 15 days, "below the least bond");
        billing.leave(GATEWAY);
        eq(billing.free(GATEWAY), 4_000 * UNIT, "untouched");
        eq(bondOf().bond, 500 * UNIT, "rest");
        standingIs(500 * UNIT, 0);
    }

    function test_UnbondingAboveTheBondStandsForNothing() public {
        unbond(10_000 * UNIT);
        slash(9_000 * UNIT);
        standingIs(1_000 * UNIT, 10_000 * UNIT);
        vm.warp(START + 14 days);
        standingIs(0, 0);
    }

    function standingIs(uint256 bonded, uint256 unbonding) internal view {
        (uint256 isBonded, uint256 isUnbonding, uint256 least, ) = billing.standing(GATEWAY);
        eq(isBonded, bonded, "at stake");
        eq(isUnbonding, unbonding, "on its way out");
        eq(least, LEAST, "least");
    }

    /* TIME */

    /// Times have 32 bits. Those of after February 2106 are that February: no exit is stuck, and no
    /// lane is open by then.
    function test_TimesEndAndExitsDoNot() public {
        uint256 end = type(uint32).max;
        vm.warp(end - 14 days - 1);
        unbond(1);
        eq(bondOf().unbondEnd, end - 1, "the last in time");
        vm.warp(end - 14 days);
        unbond(9_000 * UNIT + 1);
        eq(bondOf().unbondEnd, end, "at the end");
        eq(bondOf().settleUntil, end - 12 days, "until");
        vm.warp(end - 1 days + 1);
        vm.prank(GATEWAY);
        billing.announceFee(7);
        slash(1);
        eq(bondOf().feeFrom, end, "fee");
        eq(bondOf().unbondEnd, end, "not later");
        slash(9_999 * UNIT);
        eq(bondOf().settleUntil, end - 12 days, "not later either");
        vm.warp(end + 1 days);
        unbond(1);
        billing.leave(GATEWAY);
        eq(billing.feeOf(GATEWAY), 7, "in force");
    }

    /* ALL TOGETHER */

    /// @dev When what can be slashed fell below the least bond; 0 while it is enough.
    uint256 internal belowSince;

    /// Whatever happens to a bond: a batch is taken only while the least bond stands, or while what
    /// is at stake can be slashed until its proof window ends; and with less than that at stake for
    /// no longer than a thaw.
    function testFuzz_NobodySettlesWithoutCollateral(uint256 seed) public {
        vm.prank(PAYER);
        billing.extendLane(GATEWAY, SESSION, uint128(400 * UNIT), type(uint32).max);
        for (uint256 i = 0; i < 40; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            change(seed % 8, seed >> 8);
            note(seed % 8 < 3);
            settleIfTaken();
        }
    }

    function change(uint256 action, uint256 amount) internal {
        GatewayBond memory g = bondOf();
        if (action < 3) {
            // Mostly hours, sometimes past an unbonding.
            vm.warp(block.timestamp + bound(amount, 1, amount % 3 == 0 ? 15 days : 20 hours));
        } else if (action == 3) {
            bondGateway(bound(amount, 1, LEAST));
        } else if (action < 6) {
            unbond(bound(amount, 0, g.bond));
        } else if (action == 6) {
            (uint256 atStake, , , ) = billing.standing(GATEWAY);
            if (atStake > 0) slash(bound(amount, 1, atStake));
        } else if (g.unbonding > 0 && block.timestamp >= g.unbondEnd) {
            billing.leave(GATEWAY);
        }
    }

    /// @dev While time passes, only the end of an unbonding takes something out of reach.
    function note(bool timePassed) internal {
        (uint256 atStake, , , ) = billing.standing(GATEWAY);
        if (atStake >= LEAST) belowSince = 0;
        else if (belowSince == 0) belowSince = timePassed ? bondOf().unbondEnd : block.timestamp;
    }

    function settleIfTaken() internal {
        Claim memory claim = nextClaim();
        Claim[] memory claims = new Claim[](1);
        claims[0] = claim;
        (uint256 atStake, uint256 unbonding, , ) = billing.standing(GATEWAY);
        uint256 standing = atStake > unbonding ? atStake - unbonding : 0;
        PayoutRow[] memory payouts = new PayoutRow[](1);
        payouts[0] = PayoutRow(PROVIDER, seq == 1 ? 1 : 0);
        vm.prank(GATEWAY);
        try billing.settle(GATEWAY, claims, payouts, "cid") {
            if (standing >= LEAST) return;
            if (unbonding > 0) yes(bondOf().unbondEnd >= block.timestamp + 12 days, "leaves before it can be proven");
            if (atStake < LEAST) yes(block.timestamp <= belowSince + 1 days, "settles on without collateral");
        } catch (bytes memory reason) {
            eq(bytes32(bytes4(reason)), bytes32(IBilling.Underbonded.selector), "another reason");
            yes(standing < LEAST, "refused with the least bond");
            --seq;
        }
    }
}
