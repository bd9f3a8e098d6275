// SPDX-License-Identifier: Apache-2.0
// Fraud proofs against receipts, demands for withheld ones; slashing.
pragma solidity 0.8.37;

import {Call, Execution, Receipt} from "../libraries/Receipts.sol";
import {IBeacon} from "./IBeacon.sol";
import {IBilling} from "./IBilling.sol";
import {IFunctionRegistry} from "./IFunctionRegistry.sol";
import {IIdentity} from "./IIdentity.sol";

/// @notice A receipt as the gateway issued it: `path` leads from place `index` of `count` to the
/// root that an operator key of its gateway signed.
struct SignedReceipt {
    Receipt receipt;
    uint32 index;
    uint32 count;
    bytes32[] path;
    bytes signature;
}

/// @notice A claim in a settled batch: place `claim` of `claims` in the batch tree, and the seven
/// fields of its leaf.
/// @param outside Root of the receipts that the batch settles outside lanes; always 0 today.
struct Place {
    address gateway;
    uint64 batch;
    /// Timestamp of the settlement, seconds.
    uint64 settledAt;
    uint32 claims;
    uint32 claim;
    bytes32 outside;
    bytes32[] path;
    address payer;
    address signer;
    uint88 settledFrom;
    uint88 settledTo;
    uint40 seqFrom;
    uint40 seqTo;
    bytes32 receipts;
}

/// @notice A receipt at place `index` of the lane tree of a claim, whose count is seqTo - seqFrom.
struct Leaf {
    Receipt receipt;
    uint32 index;
    bytes32[] path;
}

/// @notice An open demand for the leaf at `index` of a place.
/// @param deadline Last moment to answer, seconds.
/// @param place Hash of the claim's key and leaf:
/// keccak256(abi.encode(keccak256(abi.encode(gateway, batch, claim)), claim leaf)).
struct Demand {
    address demander;
    uint40 deadline;
    uint40 index;
    bytes32 place;
}

/// @notice Capped slashes of a gateway, token units.
/// @param n Number of the bucket: time / DEMAND_WINDOW.
/// @param current Taken in bucket n.
/// @param previous Taken in bucket n - 1.
struct Bucket {
    uint32 n;
    uint96 current;
    uint96 previous;
}

/// @notice Constructor arguments. Slash floors in token units, in brackets whole tokens; windows in
/// seconds.
/// @param grave D2, D3 (10 to 1 000).
/// @param charge D4, D5 (1 to 1 000).
/// @param misroute D6 (0 to 10); at 0 a D6 is on record and takes nothing.
/// @param silence D9 (5 to 1 000).
/// @param pledge What a demand costs if it is answered (0.1 to Billing's MAX_PLEDGE); it should pay
/// for the gas of an answer.
/// @param demandWindow Time after a batch to demand a leaf (1 d to 30 d); also the length of a
/// bucket.
/// @param answerWindow Time to answer (24 h to 14 d).
/// @param proofWindow Time after a batch to prove; as Billing's, more than the two together.
struct DisputeTerms {
    uint96 grave;
    uint96 charge;
    uint96 misroute;
    uint96 silence;
    uint96 pledge;
    uint40 demandWindow;
    uint40 answerWindow;
    uint40 proofWindow;
}

/// @title IDisputes
/// @notice Each kind of fraud has a free view `check...` and a transaction `prove...` with the same
/// evidence. Both fail with InvalidProof when the evidence does not hold together, and WindowClosed
/// when the batch is too old. `prove...` also fails with NoFraud and AlreadyProven. It fails with
/// NothingToSlash while the gateway has no bond, and with CapReached while the cap leaves nothing
/// to take: the evidence is not used up then. Anyone may prove.
///
/// The slash: three times the damage that neither this id nor this claim has repaid yet. The first
/// proof of an id takes at least the kind's floor. The payer gets the damage, at most a third of
/// the slash; the reporter gets a twelfth; the rest is burned. No damage exceeds what its claim
/// took. An id can be proven again while part of its damage is unpaid.
///
/// The cap: at most a quarter of the bond in any DEMAND_WINDOW, for all D2 slashes and, in the
/// other kinds, for what a floor adds to three times the damage. Whoever has an operator key can
/// make evidence for a D2. The uncapped part follows from a settlement, which takes the settler's
/// key.
/// @dev Warning: a proof is public once sent; whoever copies it first is the reporter.
/// @dev Warning: a gateway can settle a lie against its own payer and prove it itself. It gets 5/12
/// of the slash back. Nothing here protects against a gateway that burns its own bond first.
interface IDisputes {
    /// @param kind 2 to 6: D2 to D6.
    /// @param damage The damage that the check finds.
    /// @param paid The part of `damage` that the payer gets now.
    event FraudProven(
        bytes32 indexed id,
        uint8 kind,
        address indexed gateway,
        address indexed payer,
        address reporter,
        uint64 batch,
        uint32 claim,
        uint256 damage,
        uint256 paid,
        uint256 slashed
    );
    event Demanded(
        bytes32 indexed id,
        address indexed gateway,
        address indexed demander,
        uint64 batch,
        uint32 claim,
        uint40 index,
        uint40 deadline
    );
    /// @notice The demanded leaf with all that D4, D5 and D6 need, whatever contract the answer
    /// came through.
    /// @param path From the leaf to the root of its lane tree; Demanded has its index.
    /// @param callSignature The session key's signature over the Call in a signed lane, else empty.
    event Answered(
        bytes32 indexed id,
        address indexed gateway,
        Receipt receipt,
        bytes32[] path,
        Call call,
        Execution execution,
        bytes callSignature
    );
    /// @notice A demand that was not answered in time. The pledge is always returned. If `slashed`
    /// is 0, the gateway has no bond, or the claim is repaid and the cap leaves nothing to take.
    /// Nothing is proven then, and the leaf can be demanded again.
    event Expired(
        bytes32 indexed id,
        address indexed gateway,
        address indexed payer,
        address demander,
        uint64 batch,
        uint32 claim,
        uint256 damage,
        uint256 paid,
        uint256 slashed
    );

    error InvalidTerms(string name, uint256 value);
    /// @notice Two contracts point at different ones, or differ in a shared value.
    error Miswired(string what);
    error InvalidProof();
    error NoFraud();
    /// @notice The id is proven and all of its damage is paid.
    error AlreadyProven(bytes32 id);
    /// @notice The cap leaves nothing to take. There is room again from `until` on, seconds, unless
    /// another proof takes it.
    error CapReached(uint256 until);
    error WindowClosed(uint256 until);
    error NothingToSlash(address gateway);
    error DemandOpen(bytes32 id);
    /// @notice The leaf was demanded and answered before; the event Answered has it.
    error AnsweredBefore(bytes32 id);
    error NotDemanded(bytes32 id);
    error StillOpen(uint256 until);

    /// @notice Whose receipts and bonds are judged here.
    function BILLING() external view returns (IBilling);
    /// @notice Where operator keys are looked up.
    function IDENTITY() external view returns (IIdentity);
    /// @notice Where tariffs, deployments and candidate sets are looked up.
    function REGISTRY() external view returns (IFunctionRegistry);
    /// @notice Where the epochs of draws are looked up.
    function BEACON() external view returns (IBeacon);
    /// @notice What a demand takes from the demander until it is answered, token units.
    function DEMAND_PLEDGE() external view returns (uint256);
    /// @notice How long after a batch a leaf of it can be demanded, seconds.
    function DEMAND_WINDOW() external view returns (uint256);
    /// @notice How long after a demand it can be answered, seconds.
    function ANSWER_WINDOW() external view returns (uint256);
    /// @notice How long after a batch its frauds can be proven, seconds.
    function PROOF_WINDOW() external view returns (uint256);
    /// @notice Least slash of a kind of fraud, token units; 0 for an unknown kind.
    function floorOf(uint8 kind) external view returns (uint256);

    /// @notice Returns when all five contracts point at each other and agree on what they share,
    /// else fails with Miswired. Every deployment must end with it.
    function wired() external view;

    // D2 omission

    /// @notice A receipt handed out, signed by a key that is evidence for the batch, and a claim
    /// that covers its seq with another leaf there.
    /// @param node The leaf at index seq - seqFrom - 1 of the lane tree, with its path.
    /// @param opened Empty, or the one receipt that hashes to `node`. With it the damage is the
    /// excess of its price over the signed receipt's.
    function checkOmission(
        SignedReceipt calldata signed,
        Place calldata place,
        bytes32 node,
        bytes32[] calldata path,
        Receipt[] calldata opened
    ) external view returns (bool isFraud, uint256 damage);
    /// @notice Proves what checkOmission finds and slashes the gateway. All of it counts against
    /// the cap. Anyone.
    /// Fails with NoFraud, NothingToSlash, CapReached, AlreadyProven, InvalidProof, WindowClosed.
    function proveOmission(
        SignedReceipt calldata signed,
        Place calldata place,
        bytes32 node,
        bytes32[] calldata path,
        Receipt[] calldata opened
    ) external;

    // D3 break

    /// @notice Neighbours a, b of a lane tree: one is foreign (of another lane, or with another seq
    /// than its place), or b's cumulative is not a's plus b's price. Damage: the excess that was
    /// taken; for a foreign leaf all that the claim took, because it explains nothing.
    function checkBreak(
        Place calldata place,
        Leaf calldata a,
        Leaf calldata b
    ) external view returns (bool isFraud, uint256 damage);
    /// @notice Proves what checkBreak finds and slashes the gateway. Anyone.
    /// Fails with NoFraud, NothingToSlash, CapReached, AlreadyProven, InvalidProof, WindowClosed.
    function proveBreak(Place calldata place, Leaf calldata a, Leaf calldata b) external;

    /// @notice One leaf: foreign; the first one's cumulative is not settledFrom plus its price, or
    /// the last one's is not settledTo. Damage: as of checkBreak.
    function checkEdge(
        Place calldata place,
        Leaf calldata leaf
    ) external view returns (bool isFraud, uint256 damage);
    /// @notice Proves what checkEdge finds and slashes the gateway. Anyone.
    /// Fails with NoFraud, NothingToSlash, CapReached, AlreadyProven, InvalidProof, WindowClosed.
    function proveEdge(Place calldata place, Leaf calldata leaf) external;

    // D4 overcharge

    /// @notice The price is above what the version's tariff gives for the Execution. Damage: the
    /// excess.
    function checkOvercharge(
        Place calldata place,
        Leaf calldata leaf,
        Call calldata call,
        Execution calldata execution
    ) external view returns (bool isFraud, uint256 damage);
    /// @notice Proves what checkOvercharge finds and slashes the gateway. Anyone.
    /// Fails with NoFraud, NothingToSlash, CapReached, AlreadyProven, InvalidProof, WindowClosed.
    function proveOvercharge(
        Place calldata place,
        Leaf calldata leaf,
        Call calldata call,
        Execution calldata execution
    ) external;

    // D5 against the Call

    /// @notice A charge above maxPrice, after the deadline, by a deployment of another version, for
    /// another input, or under a Call of another lane. Damage: the price.
    function checkOverLimit(
        Place calldata place,
        Leaf calldata leaf,
        Call calldata call,
        Execution calldata execution
    ) external view returns (bool isFraud, uint256 damage);
    /// @notice Proves what checkOverLimit finds and slashes the gateway. Anyone.
    /// Fails with NoFraud, NothingToSlash, CapReached, AlreadyProven, InvalidProof, WindowClosed.
    function proveOverLimit(
        Place calldata place,
        Leaf calldata leaf,
        Call calldata call,
        Execution calldata execution
    ) external;

    /// @notice One Call charged twice in a lane. Damage: the price of the later receipt, whose
    /// batch must be within its window.
    function checkDuplicate(
        Place calldata firstPlace,
        Leaf calldata first,
        Place calldata laterPlace,
        Leaf calldata later
    ) external view returns (bool isFraud, uint256 damage);
    /// @notice Proves what checkDuplicate finds and slashes the gateway. Anyone.
    /// Fails with NoFraud, NothingToSlash, CapReached, AlreadyProven, InvalidProof, WindowClosed.
    function proveDuplicate(
        Place calldata firstPlace,
        Leaf calldata first,
        Place calldata laterPlace,
        Leaf calldata later
    ) external;

    // D6 misroute

    /// @notice The call ran on another deployment than the draw gives, or names another provider
    /// than the deployment's. An epoch that is not recorded draws nothing. The age of the epoch
    /// does not matter. Damage: none. Its id is idOfMisroute: when a reorganisation replaces an
    /// epoch's value, an honest gateway loses at most one floor per deployment.
    /// @param setNo The gateway's set in force at the Call's epoch; 0 = there was none.
    /// @param ids Its deployments.
    function checkMisroute(
        Place calldata place,
        Leaf calldata leaf,
        Call calldata call,
        Execution calldata execution,
        uint32 setNo,
        uint64[] calldata ids
    ) external view returns (bool isFraud, uint256 damage);
    /// @notice Proves what checkMisroute finds and slashes the gateway. Anyone.
    /// Fails with NoFraud, NothingToSlash, CapReached, AlreadyProven, InvalidProof, WindowClosed.
    function proveMisroute(
        Place calldata place,
        Leaf calldata leaf,
        Call calldata call,
        Execution calldata execution,
        uint32 setNo,
        uint64[] calldata ids
    ) external;

    // D9 silence

    /// @notice Demands the leaf at `index` of a claim's lane tree. Takes DEMAND_PLEDGE of the
    /// sender's free money in Billing, which the gateway gets for an answer. Anyone, within
    /// DEMAND_WINDOW of the batch.
    /// Fails with InvalidProof, WindowClosed, DemandOpen, AnsweredBefore, AlreadyProven,
    /// InsufficientFree.
    function demand(Place calldata place, uint40 index) external returns (bytes32 id);

    /// @notice Opens the demanded leaf at `leaf.index`. Anyone, until the deadline. Judges nothing:
    /// what it shows is for D2 to D6.
    /// Fails with NotDemanded, WindowClosed, InvalidProof.
    /// @param place As demanded; settledAt, claims, outside and path are ignored.
    /// @param callSignature In a signed lane the session key's ECDSA signature over the Call; in a
    /// prepaid lane ignored.
    function answer(
        Place calldata place,
        Leaf calldata leaf,
        Call calldata call,
        Execution calldata execution,
        bytes calldata callSignature
    ) external;

    /// @notice Slashes for a demand without an answer and returns the pledge; the demander is the
    /// reporter. Damage: all that the claim took, so that one demand covers a claim that is
    /// withheld whole. Anyone.
    /// Fails with NotDemanded, StillOpen, InvalidProof.
    /// @param place As demanded; settledAt, claims, outside and path are ignored.
    function expire(Place calldata place, uint40 index) external;

    // Views

    /// @notice Id of a fraud or demand: keccak256(abi.encode(kind, gateway, payer, signer, seq)).
    /// Kind is 7 for proveEdge, so that an edge and a break before the same receipt are two frauds,
    /// but 3 for a foreign leaf, whichever function proves it. For a D6 use idOfMisroute.
    function idOf(
        uint8 kind,
        address gateway,
        address payer,
        address signer,
        uint40 seq
    ) external pure returns (bytes32);
    /// @notice Id of a D6: keccak256(abi.encode(uint8(6), gateway, epoch, deployment)).
    function idOfMisroute(address gateway, uint64 epoch, uint64 deployment) external pure returns (bytes32);
    /// @notice Whether a fraud is proven, or a demand expired.
    function isProven(bytes32 id) external view returns (bool);
    /// @notice Amount that the payer got for one id, token units.
    function paidOf(bytes32 id) external view returns (uint256);
    /// @notice Amount that the payer got for a claim over all ids, token units; at most what the
    /// claim took.
    function repaidOf(address gateway, uint64 batch, uint32 claim) external view returns (uint256);
    /// @notice A gateway's capped slashes as of now.
    function bucketOf(address gateway) external view returns (Bucket memory);
    /// @notice Amount that the cap still allows to take of a gateway's bond now, token units.
    function roomOf(address gateway) external view returns (uint256);
    /// @notice An open demand; all zero when none. After an answer only `deadline` remains, as 1.
    function demandOf(bytes32 id) external view returns (Demand memory);
}
