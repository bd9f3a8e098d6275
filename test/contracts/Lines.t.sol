// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IBilling, Lane, Line} from "../../contracts/interfaces/IBilling.sol";
import {Wallet1271} from "../../contracts/test-tokens/Wallets.sol";
import {World} from "./World.sol";

contract LinesTest is World {
    address internal constant ALICE = address(0xA);

    function line() internal view returns (Line memory) {
        return billing.lineOf(PAYER, GATEWAY);
    }

    /* ALLOT AND TOP UP */

    function testFuzz_AllotMovesFreeMoneyToTheLine(uint256 amount) public {
        uint256 had = billing.free(PAYER);
        amount = bound(amount, 0, had);
        vm.startPrank(PAYER);
        vm.expectEmit(true, true, false, true, address(billing));
        emit IBilling.Allotted(PAYER, GATEWAY, amount, 500 * UNIT + amount);
        billing.allot(GATEWAY, uint128(amount));
        eq(billing.free(PAYER), had - amount, "free");
        eq(line().allotted, 500 * UNIT + amount, "line");
        eq(billing.available(PAYER, GATEWAY), 500 * UNIT + amount, "available");
        vm.expectRevert(abi.encodeWithSelector(IBilling.InsufficientFree.selector, had - amount, had - amount + 1));
        billing.allot(GATEWAY, uint128(had - amount + 1));
        vm.stopPrank();
    }

    function test_TopUpToTheLimitFromFreeMoney() public {
        address[] memory payers = new address[](1);
        payers[0] = PAYER;
        vm.prank(PAYER);
        vm.expectEmit(true, true, false, true, address(billing));
        emit IBilling.LimitSet(PAYER, GATEWAY, uint128(700 * UNIT));
        billing.setLimit(GATEWAY, uint128(700 * UNIT));
        vm.expectRevert(abi.encodeWithSelector(IBilling.NotSettler.selector, ALICE));
        vm.prank(ALICE);
        billing.topUp(GATEWAY, payers);

        vm.prank(SETTLER);
        billing.topUp(GATEWAY, payers);
        eq(line().allotted, 700 * UNIT, "to the limit");
        nothing(payers);
        vm.prank(PAYER);
        billing.setLimit(GATEWAY, uint128(5_000 * UNIT));
        vm.prank(GATEWAY);
        billing.topUp(GATEWAY, payers);
        eq(line().allotted, 1_000 * UNIT, "all that is free");
        nothing(payers);
        fund(PAYER, UNIT);
        vm.prank(PAYER);
        billing.thaw(GATEWAY, 1);
        eq(billing.limitOf(PAYER, GATEWAY), 0, "limit ends with a thaw");
        vm.prank(PAYER);
        billing.setLimit(GATEWAY, uint128(5_000 * UNIT));
        nothing(payers);
    }

    function nothing(address[] memory payers) internal {
        (uint256 had, Line memory before) = (billing.free(PAYER), line());
        vm.prank(SETTLER);
        billing.topUp(GATEWAY, payers);
        eq(billing.free(PAYER), had, "free stays");
        eq(keccak256(abi.encode(line())), keccak256(abi.encode(before)), "line stays");
    }

    /// One payer who has nothing, thaws, is full or set no limit does not keep the others from
    /// being topped up.
    function test_TopUpPassesOverPayersWithNothing() public {
        address[] memory payers = new address[](5);
        for (uint256 i = 0; i < 5; ++i) {
            payers[i] = vm.addr(7_000 + i);
            fund(payers[i], 10);
            vm.startPrank(payers[i]);
            billing.allot(GATEWAY, 4);
            if (i == 1) billing.thaw(GATEWAY, 1);
            if (i != 3) billing.setLimit(GATEWAY, i == 2 ? 4 : 7);
            if (i == 0) billing.withdraw(ALICE, 6);
            vm.stopPrank();
        }
        vm.expectEmit(true, true, false, true, address(billing));
        emit IBilling.Allotted(payers[4], GATEWAY, 3, 7);
        vm.prank(SETTLER);
        billing.topUp(GATEWAY, payers);
        for (uint256 i = 0; i < 4; ++i) eq(billing.lineOf(payers[i], GATEWAY).allotted, 4, "passed over");
        eq(billing.lineOf(payers[4], GATEWAY).allotted, 7, "topped up");
        eq(billing.free(payers[4]), 3, "the rest");
        // Twice in one list is once.
        payers[0] = payers[4];
        vm.prank(SETTLER);
        billing.topUp(GATEWAY, payers);
        eq(billing.free(payers[4]), 3, "once");
    }

    /// A limit that no line can reach is refused when it is set: it would stop the whole list
    /// later.
    function test_LimitFitsALine() public {
        uint256 most = type(uint104).max;
        vm.startPrank(PAYER);
        vm.expectRevert(abi.encodeWithSignature("SafeCastOverflowedUintDowncast(uint8,uint256)", 104, most + 1));
        billing.setLimit(GATEWAY, uint128(most + 1));
        billing.setLimit(GATEWAY, uint128(most));
        vm.stopPrank();
        fund(PAYER, 2 * most);
        address[] memory payers = new address[](1);
        payers[0] = PAYER;
        vm.prank(SETTLER);
        billing.topUp(GATEWAY, payers);
        eq(line().allotted, most, "all that a line holds");
    }

    /// A top-up can come before a withdrawal; a limit of 0 that comes before the top-up keeps the
    /// money free.
    function test_LimitOfZeroKeepsFreeMoneyFree() public {
        address[] memory payers = new address[](1);
        payers[0] = PAYER;
        vm.startPrank(PAYER);
        billing.setLimit(GATEWAY, uint128(1_000 * UNIT));
        billing.setLimit(GATEWAY, 0);
        vm.stopPrank();
        nothing(payers);
        vm.prank(PAYER);
        billing.withdraw(ALICE, uint128(500 * UNIT));
        eq(token.balanceOf(ALICE), 500 * UNIT, "all of it");
    }

    /* THAW AND RELEASE */

    function testFuzz_ThawIsReleasedAfterItsTimeOnly(uint256 amount, uint256 wait) public {
        amount = bound(amount, 1, 500 * UNIT);
        wait = bound(wait, 0, 2 days);
        uint256 end = block.timestamp + 1 days;
        vm.expectEmit(true, true, false, true, address(billing));
        emit IBilling.ThawStarted(PAYER, GATEWAY, amount, end);
        vm.prank(PAYER);
        billing.thaw(GATEWAY, uint128(amount));
        eq(line().thawing, amount, "thawing");
        eq(billing.available(PAYER, GATEWAY), 500 * UNIT - amount, "available");

        vm.warp(block.timestamp + wait);
        if (wait < 1 days) {
            vm.expectRevert(abi.encodeWithSelector(IBilling.StillThawing.selector, end));
            billing.release(PAYER, GATEWAY);
            return;
        }
        vm.expectEmit(true, true, false, true, address(billing));
        emit IBilling.Released(PAYER, GATEWAY, amount);
        billing.release(PAYER, GATEWAY);
        eq(billing.free(PAYER), 500 * UNIT + amount, "free");
        eq(line().allotted, 500 * UNIT - amount, "line");
        eq(line().thawing, 0, "thawing over");
        eq(line().thawEnd, 0, "clock over");
        vm.expectRevert(IBilling.NotThawing.selector);
        billing.release(PAYER, GATEWAY);
    }

    /// The line's own word remembers that there is a limit: no other change of the line may lose
    /// that.
    function test_EveryThawEndsTheLimitWhateverCameBefore() public {
        vm.startPrank(PAYER);
        billing.thaw(GATEWAY, 5);
        billing.setLimit(GATEWAY, 9);
        billing.allot(GATEWAY, 1);
        vm.warp(block.timestamp + 1 days);
        billing.release(PAYER, GATEWAY);
        eq(billing.limitOf(PAYER, GATEWAY), 9, "set while thawing");
        billing.thaw(GATEWAY, 5);
        eq(billing.limitOf(PAYER, GATEWAY), 0, "after a release");
        billing.setLimit(GATEWAY, 1);
        billing.cancelThaw(GATEWAY);
        eq(billing.limitOf(PAYER, GATEWAY), 1, "set before a cancel");
        billing.thaw(GATEWAY, 5);
        eq(billing.limitOf(PAYER, GATEWAY), 0, "after a cancel");
        billing.setLimit(GATEWAY, 7);
        billing.setLimit(GATEWAY, 0);
        eq(billing.limitOf(PAYER, GATEWAY), 0, "ended by itself");
        eq(line().allotted, 500 * UNIT + 1 - 5, "line");
        eq(line().thawEnd, START + 2 days, "clock");
        vm.stopPrank();
    }

    function test_ThawIsBoundedRestartedAndCancelled() public {
        vm.startPrank(PAYER);
        vm.expectRevert(
            abi.encodeWithSelector(IBilling.InsufficientLine.selector, 500 * UNIT, 500 * UNIT + 1)
        );
        billing.thaw(GATEWAY, uint128(500 * UNIT + 1));
        vm.expectRevert(IBilling.NotThawing.selector);
        billing.cancelThaw(GATEWAY);
        billing.thaw(GATEWAY, 5);
        vm.warp(block.timestamp + 12 hours);
        billing.thaw(GATEWAY, 3);
        eq(line().thawing, 3, "replaced");
        eq(line().thawEnd, block.timestamp + 1 days, "restarted");
        vm.expectEmit(true, true, false, true, address(billing));
        emit IBilling.ThawCancelled(PAYER, GATEWAY);
        billing.cancelThaw(GATEWAY);
        eq(line().thawing + line().thawEnd, 0, "cancelled");
        billing.thaw(GATEWAY, uint128(500 * UNIT));
        eq(line().thawing, 500 * UNIT, "all of it");
        vm.stopPrank();
    }

    function test_ThawingMoneyStaysClaimableAndTheRestIsReleased() public {
        openLane(1);
        vm.prank(PAYER);
        billing.thaw(GATEWAY, uint128(450 * UNIT));
        settleOne(claimOf(uint88(100 * UNIT), 1, "root"), uint128(100 * UNIT));
        eq(line().allotted, 400 * UNIT, "claimed");
        eq(billing.available(PAYER, GATEWAY), 0, "nothing available");
        vm.warp(block.timestamp + 1 days);
        billing.release(PAYER, GATEWAY);
        eq(billing.free(PAYER), 900 * UNIT, "what was still there");
        eq(line().allotted, 0, "empty");
    }

    /* LANES */

    function test_LaneOpensOnceForABondedGateway() public {
        uint32 expiry = uint32(block.timestamp + 1);
        vm.startPrank(PAYER);
        vm.expectEmit(true, true, true, true, address(billing));
        emit IBilling.LaneOpened(PAYER, GATEWAY, SESSION, 7, expiry, 2);
        billing.openLane(GATEWAY, SESSION, 7, expiry, 2);
        Lane memory lane = billing.laneOf(PAYER, GATEWAY, SESSION);
        eq(
            keccak256(abi.encode(lane)),
            keccak256(abi.encode(Lane({settled: 0, cap: 7, seq: 0, expiry: expiry, mode: 2}))),
            "lane"
        );
        vm.expectRevert(IBilling.LaneExists.selector);
        billing.openLane(GATEWAY, SESSION, 7, expiry, 1);
        vm.expectRevert(abi.encodeWithSelector(IBilling.InvalidMode.selector, 0));
        billing.openLane(GATEWAY, ALICE, 7, expiry, 0);
        vm.expectRevert(abi.encodeWithSelector(IBilling.InvalidMode.selector, 3));
        billing.openLane(GATEWAY, ALICE, 7, expiry, 3);
        vm.expectRevert(abi.encodeWithSelector(IBilling.InvalidExpiry.selector, expiry - 1));
        billing.openLane(GATEWAY, ALICE, 7, expiry - 1, 1);
        vm.expectRevert(abi.encodeWithSelector(IBilling.Underbonded.selector, 0, 1_000 * UNIT));
        billing.openLane(ALICE, SESSION, 7, expiry, 1);
        vm.expectRevert(abi.encodeWithSignature("SafeCastOverflowedUintDowncast(uint8,uint256)", 88, 2 ** 88));
        billing.openLane(GATEWAY, ALICE, 2 ** 88, expiry, 1);
        vm.stopPrank();
    }

    function test_UnbondingMoneyCountsNotForLanes() public {
        vm.prank(GATEWAY);
        billing.unbond(uint96(9_000 * UNIT));
        openLane(1);
        vm.prank(GATEWAY);
        billing.unbond(uint96(9_000 * UNIT + 1));
        vm.expectRevert(
            abi.encodeWithSelector(IBilling.Underbonded.selector, 1_000 * UNIT - 1, 1_000 * UNIT)
        );
        vm.prank(PAYER);
        billing.openLane(GATEWAY, ALICE, 7, type(uint32).max, 1);
    }

    function testFuzz_LaneOnlyGrows(uint88 cap, uint32 expiry, uint88 newCap, uint32 newExpiry) public {
        expiry = uint32(bound(expiry, block.timestamp + 1, type(uint32).max));
        vm.startPrank(PAYER);
        vm.expectRevert(IBilling.LaneNotOpen.selector);
        billing.extendLane(GATEWAY, SESSION, newCap, newExpiry);
        billing.openLane(GATEWAY, SESSION, cap, expiry, 2);
        bool grows = newCap >= cap && newExpiry >= expiry;
        if (grows) {
            vm.expectEmit(true, true, true, true, address(billing));
            emit IBilling.LaneExtended(PAYER, GATEWAY, SESSION, newCap, newExpiry);
        } else {
            vm.expectRevert(IBilling.WouldShrink.selector);
        }
        billing.extendLane(GATEWAY, SESSION, newCap, newExpiry);
        vm.stopPrank();
        Lane memory lane = billing.laneOf(PAYER, GATEWAY, SESSION);
        eq(lane.cap, grows ? newCap : cap, "cap");
        eq(lane.expiry, grows ? newExpiry : expiry, "expiry");
        eq(lane.mode, 2, "mode");
    }

    function testFuzz_CloseEndsAfterTheThawAtTheLatest(uint32 expiry) public {
        expiry = uint32(bound(expiry, block.timestamp + 1, type(uint32).max));
        uint256 end = expiry < block.timestamp + 1 days ? expiry : block.timestamp + 1 days;
        vm.startPrank(PAYER);
        vm.expectRevert(IBilling.LaneNotOpen.selector);
        billing.closeLane(GATEWAY, SESSION);
        billing.openLane(GATEWAY, SESSION, 7, expiry, 1);
        vm.expectEmit(true, true, true, true, address(billing));
        emit IBilling.LaneClosing(PAYER, GATEWAY, SESSION, uint32(end));
        billing.closeLane(GATEWAY, SESSION);
        vm.stopPrank();
        eq(billing.laneOf(PAYER, GATEWAY, SESSION).expiry, end, "expiry");
    }

    /* RELAYED */

    uint256 internal nonce;
    uint40 internal deadline;

    /// @dev Signs `fields`, 32 bytes each, followed by the next nonce and the deadline.
    function relay(string memory typeString, bytes memory fields) internal returns (bytes memory) {
        deadline = uint40(block.timestamp + 60);
        nonce = billing.nonces(PAYER, 3);
        bytes memory all = bytes.concat(keccak256(bytes(typeString)), fields, abi.encode(nonce, deadline));
        return sign(PAYER_KEY, billingDigest(keccak256(all)));
    }

    function test_EveryActionOfAPayerWithoutGas() public {
        bytes memory signature = relay(
            "Allot(address payer,address gateway,uint128 amount,uint256 nonce,uint40 deadline)",
            abi.encode(PAYER, GATEWAY, 5)
        );
        billing.allotBySig(PAYER, GATEWAY, 5, nonce, deadline, signature);
        eq(line().allotted, 500 * UNIT + 5, "allot");

        signature = relay(
            "SetLimit(address payer,address gateway,uint128 limit,uint256 nonce,uint40 deadline)",
            abi.encode(PAYER, GATEWAY, 6)
        );
        billing.setLimitBySig(PAYER, GATEWAY, 6, nonce, deadline, signature);
        eq(billing.limitOf(PAYER, GATEWAY), 6, "limit");

        uint32 expiry = uint32(block.timestamp + 2 days);
        signature = relay(
            "OpenLane(address payer,address gateway,address signer,uint128 cap,uint32 expiry,uint8 mode,uint256 nonce,uint40 deadline)",
            abi.encode(PAYER, GATEWAY, SESSION, 7, expiry, 2)
        );
        billing.openLaneBySig(PAYER, GATEWAY, SESSION, 7, expiry, 2, nonce, deadline, signature);
        eq(billing.laneOf(PAYER, GATEWAY, SESSION).cap, 7, "lane");

        signature = relay(
            "ExtendLane(address payer,address gateway,address signer,uint128 cap,uint32 expiry,uint256 nonce,uint40 deadline)",
            abi.encode(PAYER, GATEWAY, SESSION, 8, expiry)
        );
        vm.expectEmit(true, true, true, true, address(billing));
        emit IBilling.LaneExtended(PAYER, GATEWAY, SESSION, 8, expiry);
        billing.extendLaneBySig(PAYER, GATEWAY, SESSION, 8, expiry, nonce, deadline, signature);
        eq(billing.laneOf(PAYER, GATEWAY, SESSION).cap, 8, "extended");

        signature = relay(
            "CloseLane(address payer,address gateway,address signer,uint256 nonce,uint40 deadline)",
            abi.encode(PAYER, GATEWAY, SESSION)
        );
        billing.closeLaneBySig(PAYER, GATEWAY, SESSION, nonce, deadline, signature);
        eq(billing.laneOf(PAYER, GATEWAY, SESSION).expiry, block.timestamp + 1 days, "closing");

        signature = relay(
            "Thaw(address payer,address gateway,uint128 amount,uint256 nonce,uint40 deadline)",
            abi.encode(PAYER, GATEWAY, 9)
        );
        billing.thawBySig(PAYER, GATEWAY, 9, nonce, deadline, signature);
        eq(line().thawing, 9, "thaw");

        signature = relay(
            "CancelThaw(address payer,address gateway,uint256 nonce,uint40 deadline)",
            abi.encode(PAYER, GATEWAY)
        );
        billing.cancelThawBySig(PAYER, GATEWAY, nonce, deadline, signature);
        eq(line().thawing, 0, "cancelled");

        signature = relay(
            "Withdraw(address account,address to,uint128 amount,uint256 nonce,uint40 deadline)",
            abi.encode(PAYER, ALICE, 10)
        );
        billing.withdrawBySig(PAYER, ALICE, 10, nonce, deadline, signature);
        eq(token.balanceOf(ALICE), 10, "withdrawn");
        eq(uint64(billing.nonces(PAYER, 3)), 8, "eight nonces");
    }

    function test_RelayIsForOnceOneChainOneSignerAndATime() public {
        string
            memory typeString = "Allot(address payer,address gateway,uint128 amount,uint256 nonce,uint40 deadline)";
        bytes memory signature = relay(typeString, abi.encode(PAYER, GATEWAY, 5));
        vm.expectRevert(abi.encodeWithSelector(IBilling.InvalidSignature.selector, PAYER));
        billing.allotBySig(PAYER, GATEWAY, 6, nonce, deadline, signature);
        vm.expectRevert(abi.encodeWithSelector(IBilling.InvalidSignature.selector, ALICE));
        billing.allotBySig(ALICE, GATEWAY, 5, nonce, deadline, signature);
        vm.expectRevert(abi.encodeWithSelector(IBilling.InvalidSignature.selector, address(0)));
        billing.allotBySig(address(0), GATEWAY, 5, nonce, deadline, hex"00");
        vm.chainId(HOME_CHAIN + 1);
        vm.expectRevert(abi.encodeWithSelector(IBilling.InvalidSignature.selector, PAYER));
        billing.allotBySig(PAYER, GATEWAY, 5, nonce, deadline, signature);
        vm.chainId(HOME_CHAIN);
        vm.warp(deadline);
        billing.allotBySig(PAYER, GATEWAY, 5, nonce, deadline, signature);
        vm.expectRevert(abi.encodeWithSignature("InvalidAccountNonce(address,uint256)", PAYER, nonce + 1));
        billing.allotBySig(PAYER, GATEWAY, 5, nonce, deadline, signature);
        vm.warp(deadline + 1);
        vm.expectRevert(abi.encodeWithSelector(IBilling.Expired.selector, deadline));
        billing.allotBySig(PAYER, GATEWAY, 5, nonce, deadline, signature);
    }

    /// @dev EIP-7702: the account has code that answers nothing, and its own key still counts.
    function test_DelegatedAccountSignsByItsKey() public {
        vm.etch(PAYER, hex"60006000fd");
        bytes memory signature = relay(
            "Allot(address payer,address gateway,uint128 amount,uint256 nonce,uint40 deadline)",
            abi.encode(PAYER, GATEWAY, 5)
        );
        billing.allotBySig(PAYER, GATEWAY, 5, nonce, deadline, signature);
        eq(line().allotted, 500 * UNIT + 5, "allot");
    }

    function test_MulticallActsAsItsSender() public {
        bytes[] memory both = new bytes[](2);
        both[0] = abi.encodeCall(IBilling.allot, (GATEWAY, 5));
        both[1] = abi.encodeCall(IBilling.setLimit, (GATEWAY, 9));
        vm.prank(PAYER);
        billing.multicall(both);
        eq(line().allotted, 500 * UNIT + 5, "allot");
        eq(billing.limitOf(PAYER, GATEWAY), 9, "limit");
    }
}
