// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Claim, GatewayBond, IBilling, Lane, Line, PayoutRow} from "../../contracts/interfaces/IBilling.sol";
import {LibraryProbe} from "../../contracts/test-tokens/LibraryProbe.sol";
import {MockUSDC} from "../../contracts/test-tokens/MockUSDC.sol";
import {Test} from "./Vm.sol";
import {World} from "./World.sol";

/// @notice Plays all parties: two payers with two lanes each at two gateways, two payees. Every
///   call is made valid, so that a revert
/// fails the run, and what really happened is counted.
contract Play is World {
    uint256 internal constant PAYERS = 2;
    uint256 internal constant GATEWAYS = 2;
    uint256 internal constant LANES = 2;
    uint256 public constant ACTIONS = 21;

    mapping(uint256 action => uint256) public counts;
    mapping(uint256 action => uint256) public whilePaused;
    mapping(address payer => mapping(address gateway => mapping(address signer => uint256))) public ceilings;
    string public broken;
    /// Settlements of a gateway whose bond was too small.
    uint256 public refused;

    constructor() {
        vm.warp(START);
        setUpMoney();
    }

    function setUp() public override {}

    function setUpMoney() internal {
        vm.roll(1000);
        token = new MockUSDC();
        probe = new LibraryProbe();
        deployAll(IERC20(address(token)));
        for (uint256 g = 0; g < GATEWAYS; ++g) {
            mintTo(gatewayAt(g), 100_000 * UNIT);
            vm.startPrank(gatewayAt(g));
            billing.bond(gatewayAt(g), 50_000 * UNIT);
            billing.deposit(gatewayAt(g), 20_000 * UNIT);
            // Its floats, from which payees collect.
            for (uint256 i = 0; i < 2; ++i) billing.allot(payeeAt(i), uint128(10_000 * UNIT));
            identity.registerParty(1, "", 0);
            addKey(gatewayAt(g), operatorKeyOf(g), 1);
            vm.stopPrank();
            for (uint256 p = 0; p < PAYERS; ++p) {
                mintTo(payerAt(p), 1_000_000 * UNIT);
                for (uint256 l = 0; l < LANES; ++l) {
                    vm.prank(payerAt(p));
                    billing.openLane(gatewayAt(g), signerAt(l), uint128(100_000 * UNIT), type(uint32).max, 1);
                }
            }
        }
    }

    function payerAt(uint256 i) public pure returns (address) {
        return vm.addr(100 + (i % PAYERS));
    }

    function gatewayAt(uint256 i) public pure returns (address) {
        return vm.addr(200 + (i % GATEWAYS));
    }

    function operatorKeyOf(uint256 i) internal pure returns (uint256) {
        return 500 + (i % GATEWAYS);
    }

    function signerAt(uint256 i) public pure returns (address) {
        return vm.addr(300 + (i % LANES));
    }

    function payeeAt(uint256 i) public pure returns (address) {
        return vm.addr(400 + (i % 2));
    }

    function must(bool condition, string memory what) internal {
        if (!condition && bytes(broken).length == 0) broken = what;
    }

    function done(uint256 action) internal {
        ++counts[action];
        if (billing.paused()) ++whilePaused[action];
    }

    function isStopped(bytes memory action) internal returns (bool) {
        if (!billing.paused()) return false;
        (bool ok, bytes memory reason) = address(billing).call(action);
        must(!ok && bytes4(reason) == IBilling.DepositsPaused.selector, "not stopped by the pause");
        return true;
    }

    /* ACTIONS */

    function deposit(uint256 p, uint256 amount) external {
        amount = bound(amount, 1, 1_000 * UNIT);
        if (isStopped(abi.encodeCall(IBilling.deposit, (payerAt(p), amount)))) return;
        vm.prank(payerAt(p));
        billing.deposit(payerAt(p), amount);
        done(0);
    }

    function withdraw(uint256 p, uint256 amount) external {
        amount = bound(amount, 0, billing.free(payerAt(p)));
        vm.prank(payerAt(p));
        billing.withdraw(payerAt(p), uint128(amount));
        done(1);
    }

    function allot(uint256 p, uint256 g, uint256 amount) external {
        amount = bound(amount, 0, billing.free(payerAt(p)));
        vm.prank(payerAt(p));
        billing.allot(gatewayAt(g), uint128(amount));
        done(2);
    }

    function topUp(uint256 p, uint256 g, uint256 limit) external {
        (address payer, address gateway) = (payerAt(p), gatewayAt(g));
        Line memory line = billing.lineOf(payer, gateway);
        limit = bound(limit, uint256(line.allotted) + 1, uint256(line.allotted) + 100 * UNIT);
        vm.prank(payer);
        billing.setLimit(gateway, uint128(limit));
        if (line.thawing != 0 || billing.free(payer) == 0) return;
        address[] memory payers = new address[](1);
        payers[0] = payer;
        vm.prank(gateway);
        billing.topUp(gateway, payers);
        must(billing.lineOf(payer, gateway).allotted <= limit, "topped above the limit");
        done(3);
    }

    function thaw(uint256 p, uint256 g, uint256 amount) external {
        (address payer, address gateway) = (payerAt(p), gatewayAt(g));
        amount = bound(amount, 0, billing.lineOf(payer, gateway).allotted);
        vm.prank(payer);
        billing.thaw(gateway, uint128(amount));
        done(4);
    }

    function cancelThaw(uint256 p, uint256 g) external {
        if (billing.lineOf(payerAt(p), gatewayAt(g)).thawing == 0) return;
        vm.prank(payerAt(p));
        billing.cancelThaw(gatewayAt(g));
        done(5);
    }

    /// I4
    function release(uint256 p, uint256 g) external {
        (address payer, address gateway) = (payerAt(p), gatewayAt(g));
        Line memory line = billing.lineOf(payer, gateway);
        if (line.thawing == 0) return;
        uint256 had = billing.free(payer);
        try billing.release(payer, gateway) {
            must(block.timestamp >= line.thawEnd, "released early");
        } catch {
            must(block.timestamp < line.thawEnd, "not released in time");
            return;
        }
        uint256 given = billing.free(payer) - had;
        must(given <= line.thawing && given <= line.allotted, "released too much");
        done(6);
    }

    function wait(uint256 time) external {
        vm.warp(block.timestamp + bound(time, 1, 5 days));
        done(7);
    }

    /// I2, I5
    function settle(uint256 p, uint256 g, uint256 l, uint256 amount, uint256 payee) external {
        (address payer, address gateway) = (payerAt(p), gatewayAt(g));
        if (isUncovered(gateway, p, l)) return;
        if (block.timestamp > billing.laneOf(payer, gateway, signerAt(l)).expiry) extendLane(p, g, l, 0);
        uint256 allotted = billing.lineOf(payer, gateway).allotted;
        uint256 total = settleLane(payer, gateway, 300 + (l % LANES), amount, payeeAt(payee));
        must(allotted - billing.lineOf(payer, gateway).allotted == total, "the line paid something else");
        done(8);
    }

    /// @dev Whether the gateway may not settle any longer; then it cannot.
    function isUncovered(address gateway, uint256 p, uint256 l) internal returns (bool) {
        GatewayBond memory bond = billing.gatewayBondOf(gateway);
        uint256 standingBond = bond.bond > bond.unbonding ? bond.bond - bond.unbonding : 0;
        if (standingBond >= billing.MIN_BOND()) return false;
        if (block.timestamp <= bond.settleUntil) {
            bool isProvable = bond.unbonding == 0 ||
                bond.unbondEnd <= block.timestamp ||
                bond.unbondEnd >= block.timestamp + billing.PROOF_WINDOW();
            must(isProvable, "a batch outlives its collateral");
            return false;
        }
        Lane memory lane = billing.laneOf(payerAt(p), gateway, signerAt(l));
        Claim[] memory claims = claimFor(payerAt(p), gateway, 300 + (l % LANES), lane.settled);
        bytes memory data = abi.encodeCall(IBilling.settle, (gateway, claims, new PayoutRow[](0), "cid"));
        vm.prank(gateway);
        (bool ok, bytes memory reason) = address(billing).call(data);
        must(!ok && bytes4(reason) == IBilling.Underbonded.selector, "settled without collateral");
        ++refused;
        return true;
    }

    function settleLane(
        address payer,
        address gateway,
        uint256 key,
        uint256 amount,
        address payee
    ) internal returns (uint256 total) {
        Lane memory lane = billing.laneOf(payer, gateway, vm.addr(key));
        uint256 room = billing.lineOf(payer, gateway).allotted;
        if (room > lane.cap - lane.settled) room = lane.cap - lane.settled;
        total = bound(amount, 0, room);
        Claim[] memory claims = claimFor(payer, gateway, key, lane.settled + total);
        settleClaims(gateway, claims, total, payee);
        Lane memory then = billing.laneOf(payer, gateway, vm.addr(key));
        must(then.settled == lane.settled + total && then.seq > lane.seq, "a counter fell");
    }

    function settleClaims(address gateway, Claim[] memory claims, uint256 total, address payee) internal {
        uint256 bond = billing.gatewayBondOf(gateway).bond;
        uint256 paid = (total * (10_000 - billing.feeOf(gateway)) + 9_999) / 10_000;
        PayoutRow[] memory payouts = new PayoutRow[](1);
        payouts[0] = PayoutRow(payee, uint128(paid));
        vm.prank(gateway);
        billing.settle(gateway, claims, payouts, "cid");
        must(billing.gatewayBondOf(gateway).bond - bond == total - paid, "paid + fee is not the total");
    }

    /// @dev Signs a higher ceiling only when the old one does not do.
    function claimFor(
        address payer,
        address gateway,
        uint256 key,
        uint256 amount
    ) internal returns (Claim[] memory claims) {
        address signer = vm.addr(key);
        uint40 seq = billing.laneOf(payer, gateway, signer).seq;
        uint256 ceiling = ceilings[payer][gateway][signer];
        if (amount > ceiling) ceiling = amount;
        ceilings[payer][gateway][signer] = ceiling;
        bytes32 digest = billingDigest(probe.hashVoucher(payer, gateway, signer, uint128(ceiling)));
        claims = new Claim[](1);
        claims[0] = Claim(
            payer,
            signer,
            uint88(amount),
            uint88(ceiling),
            seq,
            seq + 1,
            bytes32(amount),
            sign(key, digest)
        );
    }

    function payOut(uint256 g, uint256 payee) external {
        if (billing.claimable(gatewayAt(g), payeeAt(payee)) == 0) return;
        billing.payOut(gatewayAt(g), payeeAt(payee));
        done(9);
    }

    function bondMore(uint256 g, uint256 amount) external {
        amount = bound(amount, 1, UNIT);
        if (isStopped(abi.encodeCall(IBilling.bond, (gatewayAt(g), amount)))) return;
        mintTo(gatewayAt(g), amount);
        vm.prank(gatewayAt(g));
        billing.bond(gatewayAt(g), amount);
        done(10);
    }

    /// @dev Whatever became of its bond, the gateway may settle again.
    function standAgain(uint256 g) external {
        if (billing.paused()) return;
        uint256 amount = 5 * billing.MIN_BOND();
        mintTo(gatewayAt(g), amount);
        vm.startPrank(gatewayAt(g));
        billing.unbond(0);
        billing.bond(gatewayAt(g), amount);
        vm.stopPrank();
    }

    function unbond(uint256 g, uint256 amount) external {
        GatewayBond memory bond = billing.gatewayBondOf(gatewayAt(g));
        // Mostly lets an unbonding under way come to its end.
        if (bond.unbonding != 0 && amount % 8 != 0) return;
        // Now and then all of it.
        amount = amount % 8 == 1 ? bond.bond : bound(amount, 0, bond.bond / 4);
        vm.prank(gatewayAt(g));
        billing.unbond(uint96(amount));
        done(11);
    }

    function leave(uint256 g) external {
        GatewayBond memory bond = billing.gatewayBondOf(gatewayAt(g));
        if (bond.unbonding == 0 || block.timestamp < bond.unbondEnd) return;
        billing.leave(gatewayAt(g));
        done(12);
    }

    function announceFee(uint256 g, uint16 bps) external {
        vm.prank(gatewayAt(g));
        billing.announceFee(bps % 3_001);
        done(13);
    }

    /// I8
    function slash(uint256 g, uint256 p, uint256 amount, uint256 toPayer) external {
        // What is unbonded and not fetched yet is the gateway's own.
        (uint256 atStake, , , ) = billing.standing(gatewayAt(g));
        if (atStake < 20) return;
        amount = bound(amount, 20, atStake < 10 * UNIT ? atStake : 10 * UNIT);
        toPayer = bound(toPayer, 0, amount / 4);
        (uint256 free, uint256 due) = (sumFree(), sumDues());
        uint256 lines = sumLines();
        vm.prank(address(disputes));
        billing.slash(gatewayAt(g), amount, payerAt(p), toPayer, payeeAt(p), amount / 5);
        must(sumFree() == free + toPayer + amount / 5, "shares");
        must(sumDues() == due && sumLines() == lines, "a slash took from payers or payees");
        must(2 * (toPayer + amount / 5) < amount, "more than half came back");
        done(14);
    }

    function pledge(uint256 p, uint256 amount) external {
        uint256 free = billing.free(payerAt(p));
        amount = bound(amount, 0, free < UNIT ? free : UNIT);
        vm.prank(address(disputes));
        billing.pledge(payerAt(p), amount);
        done(15);
    }

    function unpledge(uint256 g, uint256 amount) external {
        uint256 pledged = billing.pledged();
        amount = bound(amount, 0, pledged < UNIT ? pledged : UNIT);
        vm.prank(address(disputes));
        billing.unpledge(gatewayAt(g), amount);
        done(16);
    }

    function togglePause() external {
        bool was = billing.paused();
        vm.startPrank(GUARD);
        if (was) billing.unpause();
        else billing.pause();
        vm.stopPrank();
        done(17);
    }

    function closeLane(uint256 p, uint256 g, uint256 l) external {
        vm.prank(payerAt(p));
        billing.closeLane(gatewayAt(g), signerAt(l));
        uint256 expiry = billing.laneOf(payerAt(p), gatewayAt(g), signerAt(l)).expiry;
        must(expiry <= block.timestamp + billing.LINE_THAW(), "a closed lane lives on");
        done(18);
    }

    function extendLane(uint256 p, uint256 g, uint256 l, uint256 more) public {
        Lane memory lane = billing.laneOf(payerAt(p), gatewayAt(g), signerAt(l));
        vm.prank(payerAt(p));
        billing.extendLane(gatewayAt(g), signerAt(l), uint128(lane.cap + (more % UNIT)), type(uint32).max);
        done(19);
    }

    /// @dev A payee takes from the gateway's float what no batch gave it.
    function collect(uint256 g, uint256 payee, uint256 amount) external {
        (address gateway, address to) = (gatewayAt(g), payeeAt(payee));
        uint256 float = billing.lineOf(gateway, to).allotted;
        if (float == 0) return;
        amount = bound(amount, 1, float < UNIT ? float : UNIT);
        uint256 had = billing.claimable(gateway, to);
        uint128 cumulative = uint128(billing.dueOf(gateway, to).credited + amount);
        bytes32 digest = billingDigest(probe.hashPayout(gateway, to, cumulative));
        billing.collect(gateway, to, cumulative, sign(operatorKeyOf(g), digest));
        must(billing.claimable(gateway, to) == had + amount, "collected something else");
        must(billing.lineOf(gateway, to).allotted == float - amount, "the float paid something else");
        done(20);
    }

    /* SUMS */

    function sumFree() public view returns (uint256 sum) {
        for (uint256 i = 0; i < 2; ++i) {
            sum += billing.free(payerAt(i)) + billing.free(gatewayAt(i)) + billing.free(payeeAt(i));
        }
    }

    function sumLines() public view returns (uint256 sum) {
        for (uint256 p = 0; p < PAYERS; ++p) {
            for (uint256 g = 0; g < GATEWAYS; ++g) sum += billing.lineOf(payerAt(p), gatewayAt(g)).allotted;
        }
        for (uint256 g = 0; g < GATEWAYS; ++g) {
            for (uint256 i = 0; i < 2; ++i) sum += billing.lineOf(gatewayAt(g), payeeAt(i)).allotted;
        }
    }

    function sumDues() public view returns (uint256 sum) {
        for (uint256 g = 0; g < GATEWAYS; ++g) {
            for (uint256 i = 0; i < 2; ++i) sum += billing.claimable(gatewayAt(g), payeeAt(i));
        }
    }

    /// What payees collected ahead of batches is what the floats lack: no batch has paid it twice,
    /// none has lost it.
    function floatsHold() external view returns (bool) {
        for (uint256 g = 0; g < GATEWAYS; ++g) {
            for (uint256 i = 0; i < 2; ++i) {
                uint256 advanced = billing.dueOf(gatewayAt(g), payeeAt(i)).advanced;
                if (billing.lineOf(gatewayAt(g), payeeAt(i)).allotted + advanced != 10_000 * UNIT) return false;
            }
        }
        return true;
    }

    function sumBonds() public view returns (uint256 sum) {
        for (uint256 g = 0; g < GATEWAYS; ++g) sum += billing.gatewayBondOf(gatewayAt(g)).bond;
    }

    function isPaused() external view returns (bool) {
        return billing.paused();
    }

    function held() external view returns (uint256) {
        return token.balanceOf(address(billing));
    }

    function owned() external view returns (uint256) {
        return sumFree() + sumLines() + sumDues() + sumBonds() + billing.pledged() + billing.burned();
    }

    /// I2: never above the largest ceiling signed, nor the cap.
    function lanesHold() external view returns (bool) {
        for (uint256 p = 0; p < PAYERS; ++p) {
            for (uint256 g = 0; g < GATEWAYS; ++g) {
                for (uint256 l = 0; l < LANES; ++l) {
                    (address payer, address gateway, address signer) = (payerAt(p), gatewayAt(g), signerAt(l));
                    Lane memory lane = billing.laneOf(payer, gateway, signer);
                    if (lane.settled > ceilings[payer][gateway][signer] || lane.settled > lane.cap) return false;
                }
            }
        }
        return true;
    }
}

contract InvariantsTest is Test {
    Play internal play;

    function setUp() public {
        play = new Play();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(play);
    }

    function check() internal view {
        eq(play.held(), play.owned(), "I1: the balance is the sum of all positions");
        yes(play.lanesHold(), "I2: a lane above its ceiling or cap");
        yes(play.floatsHold(), "a float lacks something else than what was advanced");
        eq(play.broken(), "", "I2-I5, I8");
    }

    function invariant_MoneyIsConservedAndNobodyIsRobbed() public view {
        check();
    }

    /// @dev One long game per run, after which every action has really happened.
    /// hardhat-config: fuzz.runs = 24
    function testFuzz_LongGame(uint256 seed) public {
        uint256 actions = play.ACTIONS();
        for (uint256 i = 0; i < 17 * actions; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            act(i % actions, seed);
            if (i % 17 == 0) check();
        }
        finish();
        check();
        for (uint256 k = 0; k < actions; ++k) yes(play.counts(k) > 0, "an action never happened");
        yes(play.refused() > 0, "every gateway stood all the time");
        // I10: all but deposits and bonds; how proofs and demands take and give is slash, pledge
        // and unpledge.
        for (uint256 k = 1; k < actions; ++k) yes(k == 10 || play.whilePaused(k) > 0, "an exit was stopped");
        eq(play.whilePaused(0) + play.whilePaused(10), 0, "a pause stops deposits and bonds");
    }

    /// @dev What needs a long wait or luck comes to its end here, in a pause.
    function finish() internal {
        if (play.isPaused()) play.togglePause();
        play.standAgain(0);
        play.deposit(0, 100e6);
        play.bondMore(0, 1);
        play.togglePause();
        play.allot(0, 0, 50e6);
        play.cancelThaw(0, 1);
        play.topUp(0, 1, 1);
        play.thaw(0, 0, 1e6);
        play.cancelThaw(0, 0);
        play.thaw(0, 0, 1e6);
        play.unbond(0, 8e6);
        for (uint256 i = 0; i < 4; ++i) play.wait(5 days - 1);
        play.release(0, 0);
        play.leave(0);
        play.extendLane(0, 0, 0, 1);
        play.settle(0, 0, 0, 1e6, 0);
        // First: a batch may give the payee nothing that it has not had from the float.
        play.collect(0, 0, 1);
        play.payOut(0, 0);
        play.closeLane(0, 0, 0);
        play.announceFee(0, 1);
        play.slash(0, 0, 1e6, 1);
        play.pledge(0, 1e6);
        play.unpledge(0, 1e6);
        play.withdraw(0, 1);
        // All of the bond on its way out, and the time to settle over.
        play.unbond(0, 1);
        play.wait(5 days - 1);
        play.settle(0, 0, 0, 1, 0);
    }

    function act(uint256 action, uint256 s) internal {
        (uint256 p, uint256 g, uint256 l, uint256 payee) = (s & 1, (s >> 1) & 1, (s >> 2) & 1, (s >> 3) & 1);
        uint256 amount = s >> 8;
        if (action == 0) play.deposit(p, amount);
        else if (action == 1) play.withdraw(p, amount % 1e6);
        else if (action == 2) play.allot(p, g, amount);
        else if (action == 3) play.topUp(p, g, amount);
        else if (action == 4) play.thaw(p, g, amount);
        else if (action == 5) play.cancelThaw(p, g);
        else if (action == 6) play.release(p, g);
        else if (action == 7) play.wait(amount);
        else if (action == 8) play.settle(p, g, l, amount, payee);
        else if (action == 9) play.payOut(g, payee);
        else if (action == 10) play.bondMore(g, amount);
        else if (action == 11) play.unbond(g, amount);
        else if (action == 12) play.leave(g);
        else if (action == 13) play.announceFee(g, uint16(amount));
        else if (action == 14) play.slash(g, p, amount, amount >> 64);
        else if (action == 15) play.pledge(p, amount);
        else if (action == 16) play.unpledge(g, amount);
        else if (action == 17) play.togglePause();
        else if (action == 18) play.closeLane(p, g, l);
        else if (action == 19) play.extendLane(p, g, l, amount);
        else play.collect(g, payee, amount);
    }
}
