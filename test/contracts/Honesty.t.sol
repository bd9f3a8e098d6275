// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDisputes, Leaf, Place} from "../../contracts/interfaces/IDisputes.sol";
import {Receipt} from "../../contracts/libraries/Receipts.sol";
import {Auditor} from "./Auditor.sol";
import {Entry} from "./GatewayModel.sol";
import {Test} from "./Vm.sol";

/// @notice Plays an honest gateway's life and throws at it every proof that can be made of what it
///   ever handed out or published: of
/// pieces that belong together, of any pieces, and with any byte changed.
contract HonestLife is Auditor {
    uint256 public constant ACTIONS = 14;
    uint256 private constant LANES = 6;

    mapping(uint256 action => uint256) public counts;
    /// Proofs that held together and found no fraud.
    mapping(uint256 proof => uint256) public acquittals;
    /// Demanded receipts, place and one in it: those not answered yet, and all.
    uint256[2][] private _open;
    uint256[2][] private _asked;

    constructor() {
        begin();
    }

    function isUnharmed() external view returns (bool) {
        for (uint256 i = 0; i < _asked.length; ++i) if (disputes.isProven(demandId(_asked[i]))) return false;
        (uint256 bond, , , ) = billing.standing(GATEWAY);
        return billing.burned() == 0 && disputes.bucketOf(GATEWAY).current == 0 && bond == BOND;
    }

    /* WHAT THE GATEWAY DOES */

    function serve(uint256 b, uint256 seed) external {
        b %= books.length;
        if (books[b].isClosed) return;
        serveIn(b, seed);
        ++counts[0];
    }

    function commitAll() external {
        if (pending.length == 0) return;
        commit();
        ++counts[1];
    }

    function crashAndResign(uint256 from, uint256 most) external {
        if (journal.length == 0) return;
        uint256 had = shown.length;
        crash(from % journal.length, 1 + (most % 6));
        if (shown.length > had) ++counts[2];
    }

    function restoreOlderCopy(uint256 b, uint256 copied, uint256 dice) external {
        b %= books.length;
        bool was = books[b].isClosed;
        restore(b, copied % (books[b].durable + 1), dice % 4 != 0);
        // The payer opens another lane.
        if (!was && books[b].isClosed && books.length < LANES) open(1 + uint8(dice % 2));
        ++counts[3];
    }

    function settle(uint256 mask, uint256 most) external {
        if (settleLanes(mask, 1 + (most % 7)) > 0) ++counts[4];
    }

    function rotate() external {
        vm.startPrank(GATEWAY);
        identity.retireKey(vm.addr(operatorKey));
        addKey(GATEWAY, ++operatorKey, 1);
        vm.stopPrank();
        ++counts[5];
    }

    function setCandidates(uint256 v, uint256 mask) external {
        choose(v % VERSIONS, mask);
        ++counts[6];
    }

    function checkpoint() external {
        nextEpoch();
        ++counts[7];
    }

    /// @dev It never sleeps through a demand.
    function wait(uint256 time) external {
        answerAll();
        vm.warp(block.timestamp + bound(time, 1, 1 days));
        ++counts[8];
    }

    function answerAll() public {
        for (; _open.length > 0; _open.pop()) {
            (uint256 p, uint256 i) = (_open[_open.length - 1][0], _open[_open.length - 1][1]);
            Entry memory e = entryOf(p, i);
            disputes.answer(places[p], leafOf(p, i), e.call, e.execution, callSignatureOf(e.call));
        }
    }

    function demandId(uint256[2] memory receipt) private view returns (bytes32) {
        Place storage place = places[receipt[0]];
        return disputes.idOf(9, GATEWAY, place.payer, place.signer, uint40(place.seqFrom + receipt[1] + 1));
    }

    /* WHAT OTHERS DO TO IT */

    function demand(uint256 seed) external {
        if (places.length == 0) return;
        uint256[2] memory receipt = anyReceipt(seed);
        Place memory place = places[receipt[0]];
        if (disputes.demandOf(demandId(receipt)).deadline != 0 || block.timestamp > place.settledAt + 7 days) return;
        vm.prank(REPORTER);
        disputes.demand(place, uint40(receipt[1]));
        _open.push(receipt);
        _asked.push(receipt);
        ++counts[9];
    }

    function expire(uint256 seed) external {
        if (_asked.length == 0) return;
        uint256[2] memory receipt = _asked[seed % _asked.length];
        accuse(SILENCE, abi.encodeCall(IDisputes.expire, (places[receipt[0]], uint40(receipt[1]))));
        ++counts[10];
    }

    function accuseFitting(uint256 proof, uint256 seed) external {
        if (places.length == 0) return;
        uint256[2] memory one = anyReceipt(seed);
        accuse(proof % SILENCE, fitting(proof % SILENCE, one[0], one[1], one[1] + 1));
        ++counts[11];
    }

    function accuseAnyhow(uint256 proof, uint256 seed) external {
        if (places.length == 0) return;
        accuse(proof % SILENCE, anyhow(proof % SILENCE, seed));
        ++counts[12];
    }

    function accuseBent(uint256 proof, uint256 seed, uint256 at_) external {
        if (places.length == 0) return;
        uint256[2] memory one = anyReceipt(seed);
        bytes memory data = fitting(proof % SILENCE, one[0], one[1], one[1] + 1);
        at_ = bound(at_, 4, data.length - 1);
        data[at_] ^= bytes1(uint8(1 + ((seed >> 64) % 255)));
        vm.prank(REPORTER);
        (bool ok, ) = address(disputes).call(data);
        no(ok, "slashed by bent evidence");
        ++counts[13];
    }

    /// @dev Of all it ever settled.
    function auditAll() external {
        for (uint256 p = 0; p < places.length; ++p) audit(p);
    }

    function accuse(uint256 proof, bytes memory data) internal override returns (bool) {
        vm.prank(REPORTER);
        (bool ok, bytes memory answer) = address(disputes).call(data);
        no(ok, "an honest gateway is slashed");
        bytes4 reason = bytes4(answer);
        bool isAnswered = reason == IDisputes.NotDemanded.selector || reason == IDisputes.StillOpen.selector;
        if (reason == IDisputes.NoFraud.selector || isAnswered) ++acquittals[proof];
        else if (reason != IDisputes.InvalidProof.selector) {
            yes(reason == IDisputes.WindowClosed.selector, "refused for another reason");
        }
        return false;
    }
}

/// @notice Plays gateways that lie once each, in every way there is. An auditor who knows what they
///   handed out and published throws
/// its proofs, and asks for what was not published.
contract LyingLife is Auditor {
    enum Lie {
        None,
        Drop,
        DropAndLeaveTheGap,
        RepeatLeaf,
        RepeatCall,
        Move,
        MoveToAnotherLane,
        RepriceAboveTariff,
        ChargeLate,
        ResumInside,
        ResumEdge,
        SwapProvider,
        Steer,
        ForkHandedOut,
        ForkSettled,
        Withhold,
        Garbage,
        Invent
    }

    /// Convictions by lie, and by proof.
    mapping(Lie lie => uint256) public caught;
    mapping(uint256 proof => uint256) public convictions;
    mapping(bool isPaused => uint256) public caughtWhile;
    mapping(uint256 b => mapping(uint256 i => bytes32)) private _garbage;
    mapping(bytes32 callHash => bool) private _isInvented;

    constructor() {
        begin();
    }

    function leafHash(uint256 b, uint256 i) internal view override returns (bytes32) {
        return _garbage[b][i] == 0 ? super.leafHash(b, i) : _garbage[b][i];
    }

    /// @dev Something honest in between, in one of the first two lanes.
    function live(uint256 seed) external {
        for (uint256 i = 0; i < 3; ++i) serveIn(seed % 2, uint256(keccak256(abi.encode(seed, i))));
        commit();
        if (seed % 3 == 0) crash(seed % journal.length, 3);
        if (seed % 3 == 1) settleLanes(3, 5);
        vm.warp(block.timestamp + (seed % 1 days));
    }

    /* THE LIE */

    function tell(Lie lie, uint256 seed) external {
        bondGateway(BOND);
        bool isPaused = seed % 2 == 0;
        vm.startPrank(GUARD);
        if (isPaused) billing.pause();
        vm.stopPrank();
        uint256 p = settleWith(lie, seed);
        (uint256 bond, , , ) = billing.standing(GATEWAY);
        bool isCaught = audit(p) || demandAll(p, lie == Lie.Withhold);
        (uint256 left, , , ) = billing.standing(GATEWAY);
        yes(isCaught == (lie != Lie.None), isCaught ? "an honest batch is slashed" : "a lie is not slashable");
        yes(isCaught == (left < bond), "the bond");
        ++caught[lie];
        if (isCaught) ++caughtWhile[isPaused];
        vm.startPrank(GUARD);
        if (isPaused) billing.unpause();
        vm.stopPrank();
    }

    /// @dev A new lane with some receipts, the first of them settled honestly, the others with a
    ///   lie about one or two.
    function settleWith(Lie lie, uint256 seed) private returns (uint256 p) {
        uint256 b = open(lie == Lie.Invent ? 2 : 1 + uint8((seed >> 1) % 2));
        uint256 j = serveCharged(b, seed);
        bool isHandedOut = lie != Lie.ResumInside && lie < Lie.Withhold;
        // Told to the callers too, or only settled.
        if (isHandedOut && !isToldEarly(lie, seed)) handOutAll(b);
        falsify(lie, b, j, seed);
        if (isHandedOut && isToldEarly(lie, seed)) handOutAll(b);
        if (lie == Lie.ForkHandedOut) handOutGroup(only(b, j));
        delete pending;

        uint256 count = books[b].entries.length;
        books[b].durable = count;
        uint256 settledTo = books[b].entries[count - 1].receipt.cumulative;
        if (lie == Lie.ResumEdge) settledTo += 1 + (seed % 9);
        (Place[] memory batch, uint256[] memory lanes) = (new Place[](1), new uint256[](1));
        (batch[0], lanes[0]) = (placeOf(b, count, settledTo), b);
        settleBatch(batch, lanes);
        return places.length - 1;
    }

    function isToldEarly(Lie lie, uint256 seed) private pure returns (bool) {
        if (lie == Lie.Drop || lie == Lie.ForkHandedOut || lie == Lie.ForkSettled) return false;
        bool isInOneReceipt = lie == Lie.RepeatCall || (lie >= Lie.RepriceAboveTariff && lie <= Lie.ChargeLate);
        return isInOneReceipt || lie == Lie.SwapProvider || lie == Lie.Steer || seed % 3 == 0;
    }

    /// @dev Returns the second of three charged ones, after which and before which there is
    ///   another.
    function serveCharged(uint256 b, uint256 seed) private returns (uint256 j) {
        serveIn(b, seed);
        commit();
        settleLanes(1 << b, 1);
        uint256 charged = 0;
        for (uint256 i = 1; charged < 3; ++i) {
            serveIn(b, uint256(keccak256(abi.encode(seed, i))));
            if (books[b].entries[i].receipt.price > 0 && ++charged == 2) j = i;
        }
    }

    function handOutAll(uint256 b) private {
        delete pending;
        for (uint256 i = books[b].settled; i < books[b].entries.length; ++i) pending.push([b, i]);
        commit();
    }

    function only(uint256 b, uint256 j) private pure returns (uint256[2][] memory group) {
        group = new uint256[2][](1);
        group[0] = [b, j];
    }

    function falsify(Lie lie, uint256 b, uint256 j, uint256 seed) private {
        Entry[] storage entries = books[b].entries;
        Entry storage e = entries[j];
        if (lie == Lie.Drop || lie == Lie.DropAndLeaveTheGap) {
            for (uint256 i = j; i + 1 < entries.length; ++i) entries[i] = entries[i + 1];
            entries.pop();
        } else if (lie == Lie.RepeatLeaf || lie == Lie.RepeatCall) {
            entries.push(e);
        } else if (lie == Lie.Move) {
            Entry memory moved = e;
            entries[j] = entries[j - 1];
            entries[j - 1] = moved;
        } else if (lie == Lie.MoveToAnotherLane) {
            entries[j] = books[seed % 2].entries[0];
        } else if (lie == Lie.RepriceAboveTariff) {
            e.receipt.price = tariffOf(e) + uint128(1 + (seed % 100));
        } else if (lie == Lie.ChargeLate) {
            e.execution.finishedAt = e.call.deadline + 1;
        } else if (lie == Lie.ResumInside) {
            for (uint256 i = j; i < entries.length; ++i) entries[i].receipt.cumulative += uint128(1 + (seed % 100));
        } else if (lie == Lie.SwapProvider) {
            e.receipt.provider = GATEWAY;
        } else if (lie == Lie.Steer) {
            e.execution.deployment = astray(e);
            e.receipt.provider = registry.deploymentOf(e.execution.deployment).provider;
        } else if (lie == Lie.ForkHandedOut || lie == Lie.ForkSettled) {
            e.execution.output = bytes32(seed);
        } else if (lie == Lie.Garbage) {
            _garbage[b][j] = keccak256(abi.encode(seed));
        } else if (lie == Lie.Invent) {
            _isInvented[e.receipt.call] = true;
        }
        bool isRenumbered = lie == Lie.Drop || lie == Lie.RepeatCall || lie == Lie.RepriceAboveTariff;
        if (isRenumbered) renumber(entries);
        entries[j].receipt.execution = probe.hashExecution(entries[j].execution);
    }

    function renumber(Entry[] storage entries) private {
        for (uint256 i = 1; i < entries.length; ++i) {
            Receipt storage r = entries[i].receipt;
            r.seq = uint40(i + 1);
            r.cumulative = entries[i - 1].receipt.cumulative + r.price;
        }
    }

    function tariffOf(Entry memory e) private view returns (uint128) {
        e.call.maxPrice = type(uint128).max;
        return priceOf(e);
    }

    /// @dev A deployment of the version that the draw does not allow at the receipt's attempt.
    function astray(Entry memory e) private view returns (uint64) {
        uint64[] memory order = orderOf(e.call);
        uint64[] memory all = deployments[versionNo(e.call)];
        uint256 attempt = e.receipt.attempt;
        for (uint256 i = 0; i < all.length; ++i) {
            bool isDrawn = attempt < 2 ? all[i] == order[0] || all[i] == order[1] : all[i] == order[attempt];
            if (!isDrawn) return all[i];
        }
        return 0;
    }

    /* THE PROOF */

    function accuse(uint256 proof, bytes memory data) internal override returns (bool isHit) {
        bytes memory answer;
        vm.prank(REPORTER);
        (isHit, answer) = address(disputes).call(data);
        if (isHit) ++convictions[proof];
        else yes(bytes4(answer) == IDisputes.NoFraud.selector || bytes4(answer) == IDisputes.InvalidProof.selector, "refused");
    }

    /// @dev Each receipt of the batch is demanded. A gateway that is not silent answers what it
    ///   can.
    function demandAll(uint256 p, bool isSilent) private returns (bool isHit) {
        bool[] memory isUnanswered = new bool[](sizeOf(p));
        for (uint256 i = 0; i < sizeOf(p); ++i) {
            vm.prank(REPORTER);
            disputes.demand(places[p], uint40(i));
            isUnanswered[i] = isSilent || !tryAnswer(p, i);
        }
        for (uint256 i = 0; i < sizeOf(p); ++i) {
            if (!isUnanswered[i]) continue;
            if (!isHit) vm.warp(block.timestamp + 2 days + 1);
            isHit = accuse(SILENCE, abi.encodeCall(IDisputes.expire, (places[p], uint40(i))));
        }
    }

    function tryAnswer(uint256 p, uint256 i) private returns (bool) {
        Entry memory e = entryOf(p, i);
        bytes32 hash = probe.hashCall(e.call);
        bytes memory signature = _isInvented[hash] ? sign(operatorKey, billingDigest(hash)) : callSignatureOf(e.call);
        try disputes.answer(places[p], leafOf(p, i), e.call, e.execution, signature) {
            return true;
        } catch (bytes memory reason) {
            yes(bytes4(reason) == IDisputes.InvalidProof.selector, "an answer is refused for another reason");
            return false;
        }
    }
}

contract HonestyTest is Test {
    HonestLife internal life;

    function setUp() public {
        life = new HonestLife();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(life);
    }

    function invariant_HonestGatewayIsNeverSlashed() public view {
        yes(life.isUnharmed(), "I6");
    }

    /// @dev One long life per run, after which every action has really happened and each proof has
    ///   held together.
    /// hardhat-config: fuzz.runs = 16
    function testFuzz_LongHonestLife(uint256 seed) public {
        uint256 actions = life.ACTIONS();
        for (uint256 i = 0; i < 280; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            act(i % 2 == 0 ? 0 : (i / 2) % actions, seed);
        }
        life.auditAll();
        life.answerAll();
        yes(life.isUnharmed(), "I6");
        for (uint256 k = 0; k < actions; ++k) yes(life.counts(k) > 0, "an action never happened");
        for (uint256 k = 0; k < life.PROOFS(); ++k) yes(life.acquittals(k) > 0, "a proof never held together");
    }

    function act(uint256 action, uint256 s) internal {
        (uint256 a, uint256 b, uint256 c) = (uint64(s), uint64(s >> 64), s >> 128);
        if (action == 0) life.serve(a, s);
        else if (action == 1) life.commitAll();
        else if (action == 2) life.crashAndResign(a, b);
        else if (action == 3) life.restoreOlderCopy(a, b, c);
        else if (action == 4) life.settle(a, b);
        else if (action == 5) life.rotate();
        else if (action == 6) life.setCandidates(a, b);
        else if (action == 7) life.checkpoint();
        else if (action == 8) life.wait(a);
        else if (action == 9) life.demand(s);
        else if (action == 10) life.expire(a);
        else if (action == 11) life.accuseFitting(a, s >> 64);
        else if (action == 12) life.accuseAnyhow(a, s);
        else life.accuseBent(a, s >> 64, c);
    }
}

contract LyingTest is Test {
    /// @dev Every lie once per run, each after some more of an honest life.
    /// hardhat-config: fuzz.runs = 16
    function testFuzz_EveryLieIsSlashableAndNoTruth(uint256 seed) public {
        LyingLife life = new LyingLife();
        uint256 lies = uint256(type(LyingLife.Lie).max) + 1;
        for (uint256 i = 0; i < lies; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            life.live(seed);
            life.tell(LyingLife.Lie(i), seed >> 8);
        }
        for (uint256 i = 0; i < lies; ++i) eq(life.caught(LyingLife.Lie(i)), 1, "each lie, and none");
        for (uint256 k = 0; k < life.PROOFS(); ++k) yes(life.convictions(k) > 0, "a proof never hit");
        // I10: proofs and demands go on while Billing is paused.
        yes(life.caughtWhile(true) > 0 && life.caughtWhile(false) > 0, "paused and not");
    }
}
