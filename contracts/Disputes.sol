// SPDX-License-Identifier: Apache-2.0
// Fraud proofs against receipts and demands for withheld ones; what keeps an invocation's bill
// honest.
pragma solidity 0.8.37;

import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {Epoch, IBeacon} from "./interfaces/IBeacon.sol";
import {IBilling} from "./interfaces/IBilling.sol";
import {Bucket, Demand, DisputeTerms, IDisputes, Leaf, Place, SignedReceipt} from "./interfaces/IDisputes.sol";
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
    /// The slash of a proof, and the figures that it follows from.
    struct Slash {
        /// Nothing was proven under this id before.
        bool isFirst;
        bytes32 claim;
        uint256 bond;
        /// Amounts that the payer got for this id, and for this claim.
        uint256 paid;
        uint256 repaid;
        /// Damage that is not paid yet.
        uint256 damage;
        /// The slash without a cap, and with it.
        uint256 wanted;
        uint256 amount;
        /// The part of `amount` that counts against the cap.
        uint256 counted;
        Bucket bucket;
    }

    uint8 private constant D2_OMISSION = 2;
    uint8 private constant D3_BREAK = 3;
    uint8 private constant D4_OVERCHARGE = 4;
    uint8 private constant D5_OVER_LIMIT = 5;
    uint8 private constant D6_MISROUTE = 6;
    uint8 private constant D9_SILENCE = 9;
    /// Used in ids only: a wrong edge of a claim and a break before its last receipt are two
    /// frauds.
    uint8 private constant D3_EDGE = 7;

    uint8 private constant ROLE_GATEWAY = 1;
    uint8 private constant MODE_SIGNED = 2;
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

    mapping(bytes32 id => Demand) private _demands;
    /// 0 = not proven, else what the payer got, plus 1.
    mapping(bytes32 id => uint256) private _paid;
    mapping(bytes32 claim => uint256) private _repaid;
    mapping(address gateway => Bucket) private _buckets;

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
        _checkWithin("charge", terms.charge, unit, 1_000 * unit);
        _checkWithin("misroute", terms.misroute, 0, 10 * unit);
        _checkWithin("silence", terms.silence, 5 * unit, 1_000 * unit);
        _checkWithin("pledge", terms.pledge, unit / 10, billing.MAX_PLEDGE());
        _checkWithin("demandWindow", terms.demandWindow, 1 days, 30 days);
        _checkWithin("answerWindow", terms.answerWindow, 24 hours, 14 days);
        // There must be time left to prove what an answer shows.
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
        isFraud = _verifySigned(signed, place.settledAt) != node;
        if (opened.length > 0) {
            if (opened.length > 1 || Receipts.hashReceipt(opened[0]) != node) revert InvalidProof();
            damage = _damageAt(place, _excess(opened[0].price, r.price));
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
        if (_isForeign(place, a) || _isForeign(place, b)) return (true, _deltaOf(place));
        uint256 due = uint256(a.receipt.cumulative) + b.receipt.price;
        isFraud = b.receipt.cumulative != due;
        damage = _damageAt(place, _excess(b.receipt.cumulative, due));
    }

    /// @inheritdoc IDisputes
    function proveEdge(Place calldata place, Leaf calldata leaf) external {
        (bool isFraud, uint256 damage) = checkEdge(place, leaf);
        // A foreign leaf is one fraud, whichever function proves it.
        uint8 kindOfId = _isForeign(place, leaf) ? D3_BREAK : D3_EDGE;
        _prove(D3_BREAK, _idAt(kindOfId, place, _seqAt(place, leaf)), place, isFraud, damage);
    }

    /// @inheritdoc IDisputes
    function checkEdge(
        Place calldata place,
        Leaf calldata leaf
    ) public view returns (bool isFraud, uint256 damage) {
        _verifyRecent(place);
        _verifyLeaf(place, leaf);
        if (_isForeign(place, leaf)) return (true, _deltaOf(place));
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
        damage = _damageAt(place, damage);
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
        damage = _damageAt(place, damage);
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
        uint256 price = leaf.receipt.price;
        damage = _damageAt(place, price);
        isFraud =
            price > 0 &&
            (price > call.maxPrice ||
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
        damage = _damageAt(laterPlace, later.receipt.price);
        isFraud =
            later.receipt.price > 0 &&
            first.receipt.price > 0 &&
            first.receipt.call == later.receipt.call;
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
        bytes32 id = idOfMisroute(place.gateway, call.beacon, execution.deployment);
        _prove(D6_MISROUTE, id, place, isFraud, damage);
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
            !_isDrawn(
                Draw.seedOf(epoch.value, call.payer, call.signer, call.nonce),
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
        id = _idAt(D9_SILENCE, place, place.seqFrom + 1 + index);
        uint40 deadline = _demands[id].deadline;
        if (deadline == ANSWERED) revert AnsweredBefore(id);
        if (deadline != 0) revert DemandOpen(id);
        // The bond may have been too small to repay the claim: then the leaf can be demanded again.
        if (_paid[id] != 0 && _repaid[_claimAt(place)] >= _deltaOf(place)) revert AlreadyProven(id);

        deadline = uint40(block.timestamp + ANSWER_WINDOW);
        _demands[id] = Demand(msg.sender, deadline, index, _hashPlace(place));
        emit Demanded(id, place.gateway, msg.sender, place.batch, place.claim, index, deadline);
        BILLING.pledge(msg.sender, DEMAND_PLEDGE);
    }

    /// @inheritdoc IDisputes
    function answer(
        Place calldata place,
        Leaf calldata leaf,
        Call calldata call,
        Execution calldata execution,
        bytes calldata callSignature
    ) external {
        (bytes32 id, Demand memory d) = _demandAt(place, leaf.index);
        if (block.timestamp > d.deadline) revert WindowClosed(d.deadline);
        _verifyOwnLeaf(place, leaf);
        _verifyOpening(leaf, call, execution);
        if (BILLING.laneOf(place.payer, place.gateway, place.signer).mode == MODE_SIGNED) {
            bytes32 digest = _billingDigest(leaf.receipt.call);
            if (!Signatures.isFromKey(place.signer, digest, callSignature)) revert InvalidProof();
        } else {
            callSignature = callSignature[:0];
        }

        delete _demands[id];
        _demands[id].deadline = ANSWERED;
        emit Answered(id, place.gateway, leaf.receipt, leaf.path, call, execution, callSignature);
        BILLING.unpledge(place.gateway, DEMAND_PLEDGE);
    }

    /// @inheritdoc IDisputes
    function expire(Place calldata place, uint40 index) external {
        (bytes32 id, Demand memory d) = _demandAt(place, index);
        if (block.timestamp <= d.deadline) revert StillOpen(d.deadline);
        delete _demands[id];
        uint256 damage = _deltaOf(place);
        Slash memory s = _weigh(D9_SILENCE, id, place, damage);
        // Without a bond, or room under the cap, nothing is proven. The pledge is returned anyway.
        uint256 paid = s.amount > 0 ? _take(s, id, place, d.demander) : 0;
        emit Expired(id, place.gateway, place.payer, d.demander, place.batch, place.claim, damage, paid, s.amount);
        BILLING.unpledge(d.demander, DEMAND_PLEDGE);
    }

    /* INTERNAL: SLASHING */

    function _proveAt(uint8 kind, Place calldata place, uint40 seq, bool isFraud, uint256 damage) private {
        _prove(kind, _idAt(kind, place, seq), place, isFraud, damage);
    }

    function _prove(uint8 kind, bytes32 id, Place calldata place, bool isFraud, uint256 damage) private {
        if (!isFraud) revert NoFraud();
        Slash memory s = _weigh(kind, id, place, damage);
        if (!s.isFirst && s.damage == 0) revert AlreadyProven(id);
        // Only D6's floor can be 0: then it is on record and takes nothing.
        if (s.amount == 0 && s.wanted > 0) {
            if (s.bond == 0) revert NothingToSlash(place.gateway);
            revert CapReached(_roomFrom(s.bond, s.bucket));
        }
        uint256 paid = _take(s, id, place, msg.sender);
        emit FraudProven(
            id,
            kind,
            place.gateway,
            place.payer,
            msg.sender,
            place.batch,
            place.claim,
            damage,
            paid,
            s.amount
        );
    }

    /// @dev The slash that a proof takes now: see IDisputes. `free` is the part that is not capped.
    /// The cap is a quarter of the bond in two neighbouring buckets, which cover any DEMAND_WINDOW.
    function _weigh(
        uint8 kind,
        bytes32 id,
        Place calldata place,
        uint256 damage
    ) private view returns (Slash memory s) {
        (s.bond, , , ) = BILLING.standing(place.gateway);
        s.claim = _claimAt(place);
        uint256 mark = _paid[id];
        s.isFirst = mark == 0;
        if (damage > 0) {
            s.paid = s.isFirst ? 0 : mark - 1;
            s.repaid = _repaid[s.claim];
            s.damage = Math.min(_excess(damage, s.paid), _deltaOf(place) - s.repaid);
        }
        // delta < 2^88
        uint256 free = 3 * s.damage;
        s.wanted = s.isFirst ? Math.max(floorOf(kind), free) : free;
        if (kind == D2_OMISSION) free = 0;
        s.bucket = bucketOf(place.gateway);
        uint256 tied = Math.min(s.wanted - free, _room(s.bond, uint256(s.bucket.current) + s.bucket.previous));
        s.amount = Math.min(s.bond, free + tied);
        s.counted = _excess(s.amount, free);
    }

    /// @dev At most 5/12 goes to payer and reporter, so that a gateway cannot get its bond out
    /// through friends.
    function _take(
        Slash memory s,
        bytes32 id,
        Place calldata place,
        address reporter
    ) private returns (uint256 toPayer) {
        toPayer = Math.min(s.damage, s.amount / 3);
        _paid[id] = s.paid + toPayer + 1;
        if (toPayer > 0) _repaid[s.claim] = s.repaid + toPayer;
        if (s.counted > 0) {
            // Both numbers are at most a quarter of a bond, which is below 2^96.
            s.bucket.current += uint96(s.counted);
            _buckets[place.gateway] = s.bucket;
        }
        if (s.amount > 0) BILLING.slash(place.gateway, s.amount, place.payer, toPayer, reporter, s.amount / 12);
    }

    /// @dev A quarter of the bond as it was before the capped slashes `used`, less those.
    function _room(uint256 bond, uint256 used) private pure returns (uint256) {
        return _excess((bond + used) / 4, used);
    }

    /// @dev When there is room again if nothing else is taken, seconds.
    function _roomFrom(uint256 bond, Bucket memory bucket) private view returns (uint256) {
        return (bucket.n + (_room(bond, bucket.current) > 0 ? 1 : 2)) * DEMAND_WINDOW;
    }

    /* INTERNAL: EVIDENCE */

    /// @return hash Of the receipt.
    function _verifySigned(
        SignedReceipt calldata signed,
        uint64 settledAt
    ) private view returns (bytes32 hash) {
        hash = Receipts.hashReceipt(signed.receipt);
        bytes32 root = OrderedMerkle.follow(hash, signed.index, signed.count, signed.path);
        address gateway = signed.receipt.gateway;
        bytes32 digest = _billingDigest(Receipts.hashReceiptGroup(gateway, root, signed.count));
        address key = Signatures.recover(digest, signed.signature);
        if (root == 0 || !IDENTITY.isEvidenceKey(key, gateway, ROLE_GATEWAY, settledAt)) revert InvalidProof();
    }

    function _verifyPlace(Place calldata place) private view {
        bytes32 root = OrderedMerkle.follow(_hashClaim(place), place.claim, place.claims, place.path);
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
        _verifyOpening(leaf, call, execution);
    }

    function _verifyOpening(Leaf calldata leaf, Call calldata call, Execution calldata execution) private pure {
        if (
            Receipts.hashCall(call) != leaf.receipt.call ||
            Receipts.hashExecution(execution) != leaf.receipt.execution
        ) revert InvalidProof();
    }

    /// @dev The open demand for the leaf at `index`. The place needs no other proof than its hash,
    /// which `demand` stored after it had verified the place.
    function _demandAt(Place calldata place, uint40 index) private view returns (bytes32 id, Demand memory d) {
        // Below 2^40 for every demanded leaf. No other index of the same place wraps to that
        // number.
        unchecked {
            id = _idAt(D9_SILENCE, place, place.seqFrom + 1 + index);
        }
        d = _demands[id];
        if (d.demander == address(0)) revert NotDemanded(id);
        if (d.place != _hashPlace(place)) revert InvalidProof();
    }

    /// @dev The set must be the last one with fromEpoch <= the Call's epoch; without one there are
    /// no ids.
    function _verifySet(address gateway, Call calldata call, uint32 setNo, uint64[] memory ids) private view {
        (bool isInForce, bytes32 hash) = REGISTRY.isSetInForce(call.functionVersion, gateway, setNo, call.beacon);
        if (!isInForce || hash != (setNo == 0 && ids.length == 0 ? bytes32(0) : keccak256(abi.encode(ids)))) {
            revert InvalidProof();
        }
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

    function _idAt(uint8 kind, Place calldata place, uint40 seq) private pure returns (bytes32) {
        return idOf(kind, place.gateway, place.payer, place.signer, seq);
    }

    function _claimAt(Place calldata place) private pure returns (bytes32) {
        return _claimOf(place.gateway, place.batch, place.claim);
    }

    function _claimOf(address gateway, uint256 batch, uint256 claim) private pure returns (bytes32) {
        return keccak256(abi.encode(gateway, batch, claim));
    }

    function _hashClaim(Place calldata place) private pure returns (bytes32) {
        return
            Receipts.hashClaim(
                place.payer,
                place.signer,
                place.settledFrom,
                place.settledTo,
                place.seqFrom,
                place.seqTo,
                place.receipts
            );
    }

    /// @dev Of all that a verified place says about its claim.
    function _hashPlace(Place calldata place) private pure returns (bytes32) {
        return keccak256(abi.encode(_claimAt(place), _hashClaim(place)));
    }

    /// @dev What the claim took; Billing never settles downwards.
    function _deltaOf(Place calldata place) private pure returns (uint256) {
        return place.settledTo - place.settledFrom;
    }

    /// @dev No damage is more than its claim took.
    function _damageAt(Place calldata place, uint256 damage) private pure returns (uint256) {
        return Math.min(damage, _deltaOf(place));
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
    function idOfMisroute(address gateway, uint64 epoch, uint64 deployment) public pure returns (bytes32) {
        return keccak256(abi.encode(D6_MISROUTE, gateway, epoch, deployment));
    }

    /// @inheritdoc IDisputes
    function isProven(bytes32 id) external view returns (bool) {
        return _paid[id] != 0;
    }

    /// @inheritdoc IDisputes
    function paidOf(bytes32 id) external view returns (uint256) {
        return _excess(_paid[id], 1);
    }

    /// @inheritdoc IDisputes
    function repaidOf(address gateway, uint64 batch, uint32 claim) external view returns (uint256) {
        return _repaid[_claimOf(gateway, batch, claim)];
    }

    /// @inheritdoc IDisputes
    function bucketOf(address gateway) public view returns (Bucket memory bucket) {
        bucket = _buckets[gateway];
        uint32 n = uint32(block.timestamp / DEMAND_WINDOW);
        if (bucket.n != n) {
            bucket.previous = uint256(bucket.n) + 1 == n ? bucket.current : 0;
            bucket.current = 0;
            bucket.n = n;
        }
    }

    /// @inheritdoc IDisputes
    function roomOf(address gateway) external view returns (uint256) {
        (uint256 bond, , , ) = BILLING.standing(gateway);
        Bucket memory bucket = bucketOf(gateway);
        return _room(bond, uint256(bucket.current) + bucket.previous);
    }

    /// @inheritdoc IDisputes
    function demandOf(bytes32 id) external view returns (Demand memory) {
        return _demands[id];
    }

    /// @inheritdoc IDisputes
    function floorOf(uint8 kind) public view returns (uint256) {
        if (kind == D2_OMISSION || kind == D3_BREAK) return _GRAVE;
        if (kind == D4_OVERCHARGE || kind == D5_OVER_LIMIT) return _CHARGE;
        if (kind == D6_MISROUTE) return _MISROUTE;
        return kind == D9_SILENCE ? _SILENCE : 0;
    }
}
