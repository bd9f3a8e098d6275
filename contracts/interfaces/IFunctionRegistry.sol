// SPDX-License-Identifier: Apache-2.0
// Functions (ERC-721), their immutable versions, aliases, deployments and candidate sets.
pragma solidity 0.8.37;

import {PriceTerms, Tariff} from "../libraries/Tariffs.sol";
import {IBeacon} from "./IBeacon.sol";
import {IIdentity} from "./IIdentity.sol";

/// @notice The immutable terms of one version.
struct VersionTerms {
    /// sha2-256 digests of the CIDs; codecs 0x55 raw, 0x70 dag-pb, 0x71 dag-cbor.
    bytes32 manifest;
    bytes32 artifact;
    uint8 manifestCodec;
    uint8 artifactCodec;
    Tariff tariff;
    /// 0 public, 1 granted, 2 policy.
    uint8 accessMode;
    uint32 memoryMiB;
    uint32 timeoutMs;
    bool idempotent;
    bool deterministic;
}

/// @notice A version living in a provider's account; cloud and region stand in the event.
struct Deployment {
    bytes32 functionVersion;
    address provider;
    bool retired;
    bool barred;
}

/// @notice A gateway's numbered set of deployments for a version.
/// @param hash keccak256(abi.encode(ids)).
/// @param fromEpoch First Beacon epoch it decides; the set in force at an epoch is the last with
/// fromEpoch <= epoch.
struct CandidateSet {
    bytes32 hash;
    uint64 fromEpoch;
}

/// @title IFunctionRegistry
/// @notice "Owner" is the ERC-721 owner of the function or whoever it approved. Names and labels
/// are 1 to 63 of [a-z0-9-].
interface IFunctionRegistry {
    /// @notice A publisher's readable form. One per address, first come.
    event NamespaceClaimed(address indexed namespace, string label);
    event Registered(uint256 indexed functionId, address indexed namespace, string name);
    event VersionPublished(
        uint256 indexed functionId,
        uint32 number,
        bytes32 indexed functionVersion,
        VersionTerms terms
    );
    event AliasMoved(uint256 indexed functionId, string label, uint32 number);
    event VersionDeprecated(uint256 indexed functionId, bytes32 indexed functionVersion);
    event Enrolled(
        uint64 indexed id,
        bytes32 indexed functionVersion,
        address indexed provider,
        string cloud,
        string region
    );
    event Retired(uint64 indexed id);
    event Barred(uint64 indexed id);
    event CandidatesSet(
        bytes32 indexed functionVersion,
        address indexed gateway,
        uint32 setNo,
        uint64 fromEpoch,
        uint64[] ids
    );

    error InvalidName(string name);
    error NameTaken(string name);
    /// @notice The account has claimed a label before.
    error NamespaceClaimedAlready(address namespace);
    error NotOwner(uint256 functionId, address account);
    error InvalidTerms(string field);
    error UnknownVersion(bytes32 functionVersion);
    error Deprecated(bytes32 functionVersion);
    error AliasedLatest(bytes32 functionVersion);
    error UnknownDeployment(uint64 id);
    error NotProvider(address account);
    error NotGateway(address account);
    /// @notice `id` is unknown, out of order, of another version, retired or barred; 0 = the set
    /// has not 1 to 32 ids.
    error InvalidSet(uint64 id);

    /// @notice The Beacon, whose epochs say from when a candidate set is in force.
    function BEACON() external view returns (IBeacon);
    /// @notice Where gateways and providers are registered.
    function IDENTITY() external view returns (IIdentity);

    /// @notice Gives the caller's namespace a readable label. Fails with NameTaken,
    /// NamespaceClaimedAlready, InvalidName.
    function claimNamespace(string calldata label) external;

    /// @notice Mints the function `name` in the caller's namespace, which it keeps when the token
    /// moves.
    /// Fails with InvalidName, NameTaken.
    function register(string calldata name) external returns (uint256 functionId);

    /// @notice Publishes the next version. Owner only. Fails with NotOwner, InvalidTerms.
    /// @param asLatest Whether the alias `latest` moves to it at once.
    /// @dev Warning: callers of `latest` then get a version that no gateway may have deployed yet.
    function publish(
        uint256 functionId,
        VersionTerms calldata terms,
        bool asLatest
    ) external returns (bytes32 functionVersion);

    /// @notice Points `label` at version `number`; backwards is a rollback. Owner only.
    /// Fails with NotOwner, InvalidName, UnknownVersion, Deprecated.
    function moveAlias(uint256 functionId, string calldata label, uint32 number) external;

    /// @notice Marks a version as not to be served any more, for ever; its receipts stay provable.
    /// Owner only.
    /// Fails with UnknownVersion, NotOwner, Deprecated, and AliasedLatest while `latest` points at
    /// it.
    function deprecate(bytes32 functionVersion) external;

    /// @notice Records that the caller, a provider registered in Identity, runs a live version. Ids
    /// are dense from 1. `cloud` and `region` are names. Fails with NotProvider, UnknownVersion,
    /// Deprecated, InvalidName.
    function enrol(
        bytes32 functionVersion,
        string calldata cloud,
        string calldata region
    ) external returns (uint64 id);

    /// @notice Ends a deployment; its provider only. Fails with NotProvider.
    function retire(uint64 id) external;

    /// @notice Forbids a deployment of the caller's function; owner only. Fails with
    /// UnknownDeployment, NotOwner.
    function bar(uint64 id) external;

    /// @notice Sets the caller's candidates from the next epoch on, whose seed nobody knows yet. By
    /// a gateway or one of its operator keys in force. `ids`: 1 to 32, ascending, of this version,
    /// not retired, not barred.
    /// Fails with NotGateway, UnknownVersion, InvalidSet.
    function setCandidates(bytes32 functionVersion, uint64[] calldata ids) external returns (uint32 setNo);

    /// @notice Owner or approved; false for an unknown function.
    function isOwner(uint256 functionId, address account) external view returns (bool);

    /// @notice Address that claimed `label`, or zero.
    function namespaceOf(string calldata label) external view returns (address);
    /// @notice Label that `namespace` claimed, or the empty string.
    function labelOf(address namespace) external view returns (string memory);

    /// @notice Namespace, name and number of versions; all empty for an unknown function.
    function functionOf(
        uint256 functionId
    ) external view returns (address namespace, string memory name, uint32 versions);

    /// @notice Number of the version `label` points at, or 0.
    function aliasOf(uint256 functionId, string calldata label) external view returns (uint32);

    /// @notice Id of version `number`, published or not.
    function functionVersionOf(uint256 functionId, uint32 number) external view returns (bytes32);

    /// @notice The terms of a version. Fails with UnknownVersion.
    function versionOf(
        bytes32 functionVersion
    ) external view returns (uint256 functionId, uint32 number, bool deprecated, VersionTerms memory terms);

    /// @notice The terms that the price of a call depends on; all zero for an unknown version.
    function priceTermsOf(bytes32 functionVersion) external view returns (PriceTerms memory);

    /// @notice Function, its ERC-721 owner and the access mode; all zero for an unknown version.
    function accessOf(
        bytes32 functionVersion
    ) external view returns (uint256 functionId, address owner, uint8 accessMode);

    /// @notice Deployment `id`; all zero when unknown.
    function deploymentOf(uint64 id) external view returns (Deployment memory);

    /// @notice How many sets `gateway` has set for a version.
    function candidateSets(bytes32 functionVersion, address gateway) external view returns (uint32);

    /// @notice Set number `setNo`, from 1; all zero when unknown.
    function candidatesOf(
        bytes32 functionVersion,
        address gateway,
        uint32 setNo
    ) external view returns (CandidateSet memory);

    /// @notice Whether set `setNo` is the last with fromEpoch <= `epoch`, and its hash; setNo 0 =
    /// no set is, hash 0.
    function isSetInForce(
        bytes32 functionVersion,
        address gateway,
        uint32 setNo,
        uint64 epoch
    ) external view returns (bool isInForce, bytes32 hash);
}
