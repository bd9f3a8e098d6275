// SPDX-License-Identifier: Apache-2.0
// Fraud proofs against receipts and demands for withheld ones; what keeps an invocation's bill honest.
pragma solidity 0.8.37;

import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {Epoch, IBeacon} from "./interfaces/IBeacon.sol";
import {IBilling} from "./interfaces/IBilling.sol";
import {Demand, DisputeTerms, IDisputes, Leaf, Place, SignedReceipt} from "./interfaces/IDisputes.sol";
import {IFunctionRegistry} from "./interfaces/IFunctionRegistry.sol";
import {IIdentity} from "./interfaces/IIdentity.sol";
import {Draw} from "./libraries/Draw.sol";
import {OrderedMerkle} from "./libraries/OrderedMerkle.sol";
import {Call, Execution, Receipt, Receipts} from "./libraries/Receipts.sol";
import {Signatures} from "./libraries/Signatures.sol";
import {Tariffs} from "./libraries/Tariffs.sol";
import {TypedData} from "./libraries/TypedData.sol";

/// @title Disputes
contract Disputes is IDisputes {
    uint8 private constant D1_EQUIVOCATION = 1;
    uint8 private constant D2_OMISSION = 2;
    uint8 private constant D3_BREAK = 3;
    uint8 private constant D4_OVERCHARGE = 4;
    uint8 private constant D5_OVER_LIMIT = 5;
    uint8 private constant D6_MISROUTE = 6;
    uint8 private constant D9_SILENCE = 9;

    uint8 private constant ROLE_GATEWAY = 1;
    uint8 private constant MODE_PREPAID = 1;
    uint8 private constant MODE_SIGNED = 2;
    /// How far a call may end before its epoch is recorded, seconds: clocks differ.
    uint256 private constant EPOCH_SKEW = 60;
    /// How old an epoch may be when a call in a prepaid lane begins, seconds.
    uint256 private constant EPOCH_LIFE = 10 minutes;
    /// Value of `deadline` that marks an answered demand.
    uint40 private constant ANSWERED = 1;

    /* IMMUTABLES */

    /// @inheritdoc IDisputes
    IBilling public immutable BILLING;
    /// @inheritdoc IDisputes
    IIdentity public immutable IDENTITY;
    /// @inheritdoc IDisputes
    IFunctionRegistry public immutable REGISTRY;
    /// @inheritdoc IDisputes
    IBeacon public immutable BEACON;
    /// @inheritdoc IDisputes
    uint256 public immutable DEMAND_PLEDGE;
    /// @inheritdoc IDisputes
    uint256 public immutable DEMAND_WINDOW;
    /// @inheritdoc IDisputes
    uint256 public immutable ANSWER_WINDOW;
    /// @inheritdoc IDisputes
    uint256 public immutable PROOF_WINDOW;
    uint256 private immutable _GRAVE;
    uint256 private immutable _CHARGE;
    uint256 private immutable _MISROUTE;
    uint256 private immutable _SILENCE;

    /* STORAGE */

    /// @inheritdoc IDisputes
    mapping(bytes32 id => bool) public isProven;
    mapping(bytes32 id => Demand) private _demands;
    /// @inheritdoc IDisputes
    mapping(address gateway => uint256) public lastGraveOf;

    /* CONSTRUCTOR */

    /// @dev Billing must be deployed before, for its token's decimals.
    constructor(
        IBilling billing,
        IIdentity identity,
        IFunctionRegistry registry,
        IBeacon beacon,
        DisputeTerms memory terms
    ) {
        uint256 unit = 10 ** IERC20Metadata(address(billing.TOKEN())).decimals();
        _checkWithin("grave", terms.grave, 10 * unit, 1_000 * unit);
        _checkWithin("charge", terms.charge, unit, 100 * unit);
        _checkWithin("misroute", terms.misroute, 0, 10 * unit);
        _checkWithin("silence", terms.silence, 5 * unit, 500 * unit);
        _checkWithin("pledge", terms.pledge, unit / 10, 10 * unit);
        _checkWithin("demandWindow", terms.demandWindow, 1 days, 30 days);
        _checkWithin("answerWindow", terms.answerWindow, 12 hours, 14 days);
        // What an answer shows must still be provable.
        _checkWithin("proofWindow", terms.proofWindow, terms.demandWindow + terms.answerWindow + 1, 180 days);
        BILLING = billing;
        IDENTITY = identity;
        REGISTRY = registry;
        BEACON = beacon;
        DEMAND_PLEDGE = terms.pledge;
        DEMAND_WINDOW = terms.demandWindow;
        ANSWER_WINDOW = terms.answerWindow;
        PROOF_WINDOW = terms.proofWindow;
        _GRAVE = terms.grave;
        _CHARGE = terms.charge;
        _MISROUTE = terms.misroute;
        _SILENCE = terms.silence;
    }

    /* D1 EQUIVOCATION */

    /// @inheritdoc IDisputes
    function proveEquivocation(SignedReceipt calldata a, SignedReceipt calldata b) external {
        (bool isFraud, uint256 damage) = checkEquivocation(a, b);
        Receipt calldata r = a.receipt;
        _prove(D1_EQUIVOCATION, r.gateway, r.payer, r.signer, r.seq, isFraud, damage);
    }

    /// @inheritdoc IDisputes
    function checkEquivocation(
        SignedReceipt calldata a,
        SignedReceipt calldata b
    ) public view returns (bool isFraud, uint256 damage) {
        if (
            a.receipt.payer != b.receipt.payer ||
            a.receipt.gateway != b.receipt.gateway ||
            a.receipt.signer != b.receipt.signer ||
            a.receipt.seq != b.receipt.seq
        ) revert InvalidProof();
        isFraud = _verifySigned(a) != _verifySigned(b);
        damage = _difference(a.receipt.price, b.receipt.price);
    }

    /* D2 OMISSION */

    /// @inheritdoc IDisputes
    function proveOmission(
        SignedReceipt calldata signed,
        Place calldata place,
        bytes32 node,
        bytes32[] calldata path,
        Receipt[] calldata opened
    ) external {
        (bool isFraud, uint256 damage) = checkOmission(signed, place, node, path, opened);
        _proveAt(D2_OMISSION, place, signed.receipt.seq, isFraud, damage);
    }

    /// @inheritdoc IDisputes
    function checkOmission(
        SignedReceipt calldata signed,
        Place calldata place,
        bytes32 node,
        bytes32[] calldata path,
        Receipt[] calldata opened
    ) public view returns (bool isFraud, uint256 damage) {
        _verifyRecent(place);
        Receipt calldata r = signed.receipt;
        if (
            !_isOfLane(r, place) ||
            r.seq <= place.seqFrom ||
            r.seq > place.seqTo ||
            !OrderedMerkle.verify(
                node,
                r.seq - place.seqFrom - 1,
                place.seqTo - place.seqFrom,
                path,
                place.receipts
            )
        ) revert InvalidProof();
        isFraud = _verifySigned(signed) != node;
        if (opened.length > 0) {
            if (opened.length > 1 || Receipts.hashReceipt(opened[0]) != node) revert InvalidProof();
            damage = _difference(opened[0].price, r.price);
        }
    }

    /* D3 BREAK */

    /// @inheritdoc IDisputes
    function proveBreak(Place calldata place, Leaf calldata a, Leaf calldata b) external {
        (bool isFraud, uint256 damage) = checkBreak(place, a, b);
        _proveAt(D3_BREAK, place, _seqAt(place, _isForeign(place, a) ? a : b), isFraud, damage);
    }

    /// @inheritdoc IDisputes
    function checkBreak(
        Place calldata place,
        Leaf calldata a,
        Leaf calldata b
    ) public view returns (bool isFraud, uint256 damage) {
        _verifyRecent(place);
        _verifyLeaf(place, a);
        _verifyLeaf(place, b);
        if (uint256(b.index) != uint256(a.index) + 1) revert InvalidProof();
        if (_isForeign(place, a) || _isForeign(place, b)) return (true, 0);
        uint256 due = uint256(a.receipt.cumulative) + b.receipt.price;
        isFraud = b.receipt.cumulative != due;
        damage = _excess(b.receipt.cumulative, due);
    }

    /// @inheritdoc IDisputes
    function proveEdge(Place calldata place, Leaf calldata leaf) external {
        (bool isFraud, uint256 damage) = checkEdge(place, leaf);
        _proveAt(D3_BREAK, place, _seqAt(place, leaf), isFraud, damage);
    }

    /// @inheritdoc IDisputes
    function checkEdge(
        Place calldata place,
        Leaf calldata leaf
    ) public view returns (bool isFraud, uint256 damage) {
        _verifyRecent(place);
        _verifyLeaf(place, leaf);
        if (_isForeign(place, leaf)) return (true, 0);
        uint256 cumulative = leaf.receipt.cumulative;
        if (leaf.index == 0) {
            uint256 due = uint256(place.settledFrom) + leaf.receipt.price;
            isFraud = cumulative != due;
            damage = _excess(cumulative, due);
        }
        if (_seqAt(place, leaf) == place.seqTo) {
            isFraud = isFraud || cumulative != place.settledTo;
            damage += _excess(place.settledTo, cumulative);
        }
    }

    /* D4 OVERCHARGE */

    /// @inheritdoc IDisputes
    function proveOvercharge(
        Place calldata place,
        Leaf calldata leaf,
        Call calldata call,
        Execution calldata execution
    ) external {
        (bool isFraud, uint256 damage) = checkOvercharge(place, leaf, call, execution);
        _proveAt(D4_OVERCHARGE, place, leaf.receipt.seq, isFraud, damage);
    }

    /// @inheritdoc IDisputes
    function checkOvercharge(
        Place calldata place,
        Leaf calldata leaf,
        Call calldata call,
        Execution calldata execution
    ) public view returns (bool isFraud, uint256 damage) {
        _open(place, leaf, call, execution);
        damage = _excess(
            leaf.receipt.price,
            Tariffs.priceOf(
                REGISTRY.priceTermsOf(call.functionVersion),
                execution.billedMs,
                execution.memoryMiB,
                execution.status
            )
        );
        isFraud = damage > 0;
    }

    /* D5 AGAINST THE CALL */

    /// @inheritdoc IDisputes
    function proveOverLimit(
        Place calldata place,
        Leaf calldata leaf,
        Call calldata call,
        Execution calldata execution
    ) external {
        (bool isFraud, uint256 damage) = checkOverLimit(place, leaf, call, execution);
        _proveAt(D5_OVER_LIMIT, place, leaf.receipt.seq, isFraud, damage);
    }

    /// @inheritdoc IDisputes
    function checkOverLimit(
        Place calldata place,
        Leaf calldata leaf,
        Call calldata call,
        Execution calldata execution
    ) public view returns (bool isFraud, uint256 damage) {
        _open(place, leaf, call, execution);
        damage = leaf.receipt.price;
        isFraud =
            damage > 0 &&
            (damage > call.maxPrice ||
                execution.finishedAt > call.deadline ||
                execution.input != call.input ||
                !_isCallOfLane(call, leaf.receipt) ||
                REGISTRY.deploymentOf(execution.deployment).functionVersion != call.functionVersion);
    }

    /// @inheritdoc IDisputes
    function proveDuplicate(
        Place calldata firstPlace,
        Leaf calldata first,
        Place calldata laterPlace,
        Leaf calldata later
    ) external {
        (bool isFraud, uint256 damage) = checkDuplicate(firstPlace, first, laterPlace, later);
        _proveAt(D5_OVER_LIMIT, laterPlace, later.receipt.seq, isFraud, damage);
    }

    /// @inheritdoc IDisputes
    function checkDuplicate(
        Place calldata firstPlace,
        Leaf calldata first,
        Place calldata laterPlace,
        Leaf calldata later
    ) public view returns (bool isFraud, uint256 damage) {
        _verifyPlace(firstPlace);
        _verifyRecent(laterPlace);
        _verifyOwnLeaf(firstPlace, first);
        _verifyOwnLeaf(laterPlace, later);
        if (!_isOfLane(first.receipt, laterPlace) || first.receipt.seq >= later.receipt.seq) revert InvalidProof();
        damage = later.receipt.price;
        isFraud = damage > 0 && first.receipt.price > 0 && first.receipt.call == later.receipt.call;
    }

    /* D6 MISROUTE */

    /// @inheritdoc IDisputes
    function proveMisroute(
        Place calldata place,
        Leaf calldata leaf,
        Call calldata call,
        Execution calldata execution,
        uint32 setNo,
        uint64[] calldata ids
    ) external {
        (bool isFraud, uint256 damage) = checkMisroute(place, leaf, call, execution, setNo, ids);
        _proveAt(D6_MISROUTE, place, leaf.receipt.seq, isFraud, damage);
    }

    /// @inheritdoc IDisputes
    function checkMisroute(
        Place calldata place,
        Leaf calldata leaf,
        Call calldata call,
        Execution calldata execution,
        uint32 setNo,
        uint64[] calldata ids
    ) public view returns (bool isFraud, uint256 damage) {
        _open(place, leaf, call, execution);
        uint64[] memory order = ids;
        _verifySet(place.gateway, call, setNo, order);
        Epoch memory epoch = BEACON.epochOf(call.beacon);
        isFraud =
            epoch.time == 0 ||
            REGISTRY.deploymentOf(execution.deployment).provider != leaf.receipt.provider ||
            _isStale(leaf.receipt, call, execution, epoch.time) ||
            !_isDrawn(
                Draw.seedOf(epoch.value, leaf.receipt.call),
                order,
                leaf.receipt.attempt,
                execution.deployment
            );
        return (isFraud, 0);
    }

    /* D9 SILENCE */

    /// @inheritdoc IDisputes
    function demand(Place calldata place, uint40 index) external returns (bytes32 id) {
        _verifyPlace(place);
        uint256 until = place.settledAt + DEMAND_WINDOW;
        if (block.timestamp > until) revert WindowClosed(until);
        uint40 count = place.seqTo - place.seqFrom;
        if (index >= count) revert InvalidProof();
        id = idOf(D9_SILENCE, place.gateway, place.payer, place.signer, place.seqFrom + 1 + index);
        uint40 deadline = _demands[id].deadline;
        if (deadline == ANSWERED) revert AnsweredBefore(id);
        if (deadline != 0) revert DemandOpen(id);
        if (isProven[id]) revert AlreadyProven(id);

        deadline = uint40(block.timestamp + ANSWER_WINDOW);
        _demands[id] = Demand({
            demander: msg.sender,
            deadline: deadline,
            index: index,
            gateway: place.gateway,
            damage: (place.settledTo - place.settledFrom) / count,
            payer: place.payer,
            count: count,
            receipts: place.receipts
        });
        emit Demanded(id, place.gateway, msg.sender, place.batch, place.claim, index, deadline);
        BILLING.pledge(msg.sender, DEMAND_PLEDGE);
    }

    /// @inheritdoc IDisputes
    function answer(
        bytes32 id,
        Leaf calldata leaf,
        Call calldata call,
        bytes calldata callSignature
    ) external {
        Demand memory d = _demands[id];
        if (d.demander == address(0)) revert NotDemanded(id);
        if (block.timestamp > d.deadline) revert WindowClosed(d.deadline);
        Receipt calldata r = leaf.receipt;
        if (
            leaf.index != d.index ||
            idOf(D9_SILENCE, r.gateway, r.payer, r.signer, r.seq) != id ||
            !OrderedMerkle.verify(Receipts.hashReceipt(r), d.index, d.count, leaf.path, d.receipts) ||
            (BILLING.laneOf(r.payer, r.gateway, r.signer).mode == MODE_SIGNED &&
                !_isSignedCall(r, call, callSignature))
        ) revert InvalidProof();

        delete _demands[id];
        _demands[id].deadline = ANSWERED;
        emit Answered(id, r.gateway, r);
        BILLING.unpledge(r.gateway, DEMAND_PLEDGE);
    }

    /// @inheritdoc IDisputes
    function expire(bytes32 id) external {
        Demand memory d = _demands[id];
        if (d.demander == address(0)) revert NotDemanded(id);
        if (block.timestamp <= d.deadline) revert StillOpen(d.deadline);
        delete _demands[id];
        isProven[id] = true;
        // A gateway without a bond keeps nobody from getting the pledge back.
        uint256 slashed = _slash(D9_SILENCE, d.gateway, d.payer, d.demander, d.damage);
        emit Expired(id, d.gateway, d.damage, slashed);
        BILLING.unpledge(d.demander, DEMAND_PLEDGE);
    }

    /* INTERNAL: SLASHING */

    function _proveAt(uint8 kind, Place calldata place, uint40 seq, bool isFraud, uint256 damage) private {
        _prove(kind, place.gateway, place.payer, place.signer, seq, isFraud, damage);
    }

    function _prove(
        uint8 kind,
        address gateway,
        address payer,
        address signer,
        uint40 seq,
        bool isFraud,
        uint256 damage
    ) private {
        if (!isFraud) revert NoFraud();
        bytes32 id = idOf(kind, gateway, payer, signer, seq);
        if (isProven[id]) revert AlreadyProven(id);
        isProven[id] = true;
        uint256 slashed = _slash(kind, gateway, payer, msg.sender, damage);
        // Not consumed while there is nothing to take, unless the kind's floor is 0, which only D6's can be; and D6 has no damage.
        if (slashed == 0 && floorOf(kind) > 0) revert NothingToSlash(gateway);
        emit FraudProven(id, kind, gateway, payer, msg.sender, damage, slashed);
    }

    /// @dev At most 45 % goes to payer and reporter, so that a gateway cannot get its bond out through friends.
    function _slash(
        uint8 kind,
        address gateway,
        address payer,
        address reporter,
        uint256 damage
    ) private returns (uint256 amount) {
        (uint256 bond, , , ) = BILLING.standing(gateway);
        uint256 cap = bond / 10;
        if (kind <= D3_BREAK) {
            uint256 last = lastGraveOf[gateway];
            if (last != 0 && block.timestamp <= last + DEMAND_WINDOW) cap = bond;
            lastGraveOf[gateway] = block.timestamp;
        }
        amount = floorOf(kind);
        // Amounts of receipts are below 2^128.
        if (amount < 4 * damage) amount = 4 * damage;
        if (amount > cap) amount = cap;
        if (amount == 0) return 0;
        uint256 toPayer = damage < amount / 4 ? damage : amount / 4;
        BILLING.slash(gateway, amount, payer, toPayer, reporter, amount / 5);
    }

    /* INTERNAL: EVIDENCE */

    /// @return hash Of the receipt.
    function _verifySigned(SignedReceipt calldata signed) private view returns (bytes32 hash) {
        hash = Receipts.hashReceipt(signed.receipt);
        bytes32 root = OrderedMerkle.follow(hash, signed.index, signed.count, signed.path);
        address gateway = signed.receipt.gateway;
        bytes32 digest = _billingDigest(Receipts.hashReceiptGroup(gateway, root, signed.count));
        address key = Signatures.recover(digest, signed.signature);
        if (root == 0 || !IDENTITY.isEvidenceKey(key, gateway, ROLE_GATEWAY)) revert InvalidProof();
    }

    function _verifyPlace(Place calldata place) private view {
        bytes32 leaf = Receipts.hashClaim(
            place.payer,
            place.signer,
            place.settledFrom,
            place.settledTo,
            place.seqFrom,
            place.seqTo,
            place.receipts
        );
        bytes32 root = OrderedMerkle.follow(leaf, place.claim, place.claims, place.path);
        bytes32 word = Receipts.batchWord(root, place.outside, place.claims, place.settledAt);
        if (root == 0 || word != BILLING.rootOf(place.gateway, place.batch)) revert InvalidProof();
    }

    function _verifyRecent(Place calldata place) private view {
        _verifyPlace(place);
        uint256 until = place.settledAt + PROOF_WINDOW;
        if (block.timestamp > until) revert WindowClosed(until);
    }

    function _verifyLeaf(Place calldata place, Leaf calldata leaf) private pure {
        bool isThere = OrderedMerkle.verify(
            Receipts.hashReceipt(leaf.receipt),
            leaf.index,
            place.seqTo - place.seqFrom,
            leaf.path,
            place.receipts
        );
        if (!isThere) revert InvalidProof();
    }

    /// @dev A foreign leaf is D3's.
    function _verifyOwnLeaf(Place calldata place, Leaf calldata leaf) private pure {
        _verifyLeaf(place, leaf);
        if (_isForeign(place, leaf)) revert InvalidProof();
    }

    function _open(
        Place calldata place,
        Leaf calldata leaf,
        Call calldata call,
        Execution calldata execution
    ) private view {
        _verifyRecent(place);
        _verifyOwnLeaf(place, leaf);
        if (
            Receipts.hashCall(call) != leaf.receipt.call ||
            Receipts.hashExecution(execution) != leaf.receipt.execution
        ) revert InvalidProof();
    }

    /// @dev The set must be the last one with fromEpoch <= the Call's epoch; without one there are no ids.
    function _verifySet(address gateway, Call calldata call, uint32 setNo, uint64[] memory ids) private view {
        (bool isInForce, bytes32 hash) = REGISTRY.isSetInForce(call.functionVersion, gateway, setNo, call.beacon);
        if (!isInForce || hash != (setNo == 0 && ids.length == 0 ? bytes32(0) : keccak256(abi.encode(ids)))) {
            revert InvalidProof();
        }
    }

    function _isSignedCall(
        Receipt calldata r,
        Call calldata call,
        bytes calldata signature
    ) private view returns (bool) {
        bytes32 hash = Receipts.hashCall(call);
        return
            hash == r.call &&
            _isCallOfLane(call, r) &&
            Signatures.isFromKey(r.signer, _billingDigest(hash), signature);
    }

    function _isStale(
        Receipt calldata r,
        Call calldata call,
        Execution calldata execution,
        uint256 time
    ) private view returns (bool) {
        if (BILLING.laneOf(r.payer, r.gateway, r.signer).mode != MODE_PREPAID) return false;
        uint256 finishedAt = execution.finishedAt;
        uint256 timeoutMs = REGISTRY.priceTermsOf(call.functionVersion).timeoutMs;
        return finishedAt + EPOCH_SKEW < time || finishedAt * 1000 > (time + EPOCH_LIFE) * 1000 + timeoutMs;
    }

    function _isDrawn(
        bytes32 seed,
        uint64[] memory ids,
        uint256 attempt,
        uint64 deployment
    ) private pure returns (bool) {
        uint256 n = ids.length;
        if (attempt < 2) {
            Draw.shuffle(seed, ids, 2);
            return (n > 0 && ids[0] == deployment) || (n > 1 && ids[1] == deployment);
        }
        if (attempt >= n) return false;
        Draw.shuffle(seed, ids, attempt + 1);
        return ids[attempt] == deployment;
    }

    /// @dev Under Billing's domain: a receipt belongs to one chain and one token.
    function _billingDigest(bytes32 structHash) private view returns (bytes32) {
        return MessageHashUtils.toTypedDataHash(TypedData.billingSeparator(address(BILLING)), structHash);
    }

    function _isOfLane(Receipt calldata r, Place calldata place) private pure returns (bool) {
        return r.payer == place.payer && r.gateway == place.gateway && r.signer == place.signer;
    }

    function _isCallOfLane(Call calldata call, Receipt calldata r) private pure returns (bool) {
        return call.payer == r.payer && call.gateway == r.gateway && call.signer == r.signer;
    }

    function _isForeign(Place calldata place, Leaf calldata leaf) private pure returns (bool) {
        return !_isOfLane(leaf.receipt, place) || leaf.receipt.seq != _seqAt(place, leaf);
    }

    /// @dev Of a verified leaf, whose index is below seqTo - seqFrom.
    function _seqAt(Place calldata place, Leaf calldata leaf) private pure returns (uint40) {
        return place.seqFrom + 1 + leaf.index;
    }

    function _difference(uint256 a, uint256 b) private pure returns (uint256) {
        return a > b ? a - b : b - a;
    }

    function _excess(uint256 have, uint256 due) private pure returns (uint256) {
        return have > due ? have - due : 0;
    }

    function _checkWithin(string memory name, uint256 value, uint256 least, uint256 greatest) private pure {
        if (value < least || value > greatest) revert InvalidTerms(name, value);
    }

    /* VIEW */

    /// @inheritdoc IDisputes
    function wired() external view {
        if (BILLING.DISPUTES() != address(this)) revert Miswired("Billing.DISPUTES");
        if (address(BILLING.IDENTITY()) != address(IDENTITY)) revert Miswired("Billing.IDENTITY");
        if (address(IDENTITY.REGISTRY()) != address(REGISTRY)) revert Miswired("Identity.REGISTRY");
        if (address(REGISTRY.IDENTITY()) != address(IDENTITY)) revert Miswired("FunctionRegistry.IDENTITY");
        if (address(REGISTRY.BEACON()) != address(BEACON)) revert Miswired("FunctionRegistry.BEACON");
        if (BILLING.PROOF_WINDOW() != PROOF_WINDOW) revert Miswired("Billing.PROOF_WINDOW");
        // A retired key's receipts must stay evidence as long as the batches they are in.
        if (IDENTITY.KEY_EVIDENCE() <= PROOF_WINDOW) revert Miswired("Identity.KEY_EVIDENCE");
    }

    /// @inheritdoc IDisputes
    function idOf(
        uint8 kind,
        address gateway,
        address payer,
        address signer,
        uint40 seq
    ) public pure returns (bytes32) {
        return keccak256(abi.encode(kind, gateway, payer, signer, seq));
    }

    /// @inheritdoc IDisputes
    function demandOf(bytes32 id) external view returns (Demand memory) {
        return _demands[id];
    }

    /// @inheritdoc IDisputes
    function floorOf(uint8 kind) public view returns (uint256) {
        if (kind == 0) return 0;
        if (kind <= D3_BREAK) return _GRAVE;
        if (kind <= D5_OVER_LIMIT) return _CHARGE;
        if (kind == D6_MISROUTE) return _MISROUTE;
        return kind == D9_SILENCE ? _SILENCE : 0;
    }
}
