// SPDX-License-Identifier: Apache-2.0
// Functions as ERC-721 tokens, their immutable versions, deployments and candidate sets. Resolve
// and price read it.
pragma solidity 0.8.37;

import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {Base64} from "@openzeppelin/contracts/utils/Base64.sol";
import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";
import {Strings} from "@openzeppelin/contracts/utils/Strings.sol";
import {IBeacon} from "./interfaces/IBeacon.sol";
import {CandidateSet, Deployment, IFunctionRegistry, VersionTerms} from "./interfaces/IFunctionRegistry.sol";
import {IIdentity} from "./interfaces/IIdentity.sol";
import {Names} from "./libraries/Names.sol";
import {PriceTerms, Tariff} from "./libraries/Tariffs.sol";

/// @title FunctionRegistry
contract FunctionRegistry is IFunctionRegistry, ERC721, Multicall {
    using Strings for uint256;
    using Strings for address;

    struct RegisteredFunction {
        address namespace;
        uint32 versions;
        string name;
    }

    /// Five words; the tariff's five prices share one of them.
    struct Version {
        uint256 functionId;
        bytes32 manifest;
        bytes32 artifact;
        uint64 perCall;
        uint64 perGiBSecond;
        uint64 maxPrice;
        uint32 minBilledMs;
        uint32 roundMs;
        uint16 publisherBps;
        uint32 memoryMiB;
        uint32 timeoutMs;
        uint32 number;
        uint8 manifestCodec;
        uint8 artifactCodec;
        uint8 accessMode;
        bool idempotent;
        bool deterministic;
        bool deprecated;
    }

    uint8 private constant ROLE_PROVIDER = 2;
    uint256 private constant MAX_CANDIDATES = 32;
    uint32 private constant MAX_ROUND_MS = 60_000;
    string private constant LATEST = "latest";

    /* IMMUTABLES */

    /// @inheritdoc IFunctionRegistry
    IBeacon public immutable BEACON;
    /// @inheritdoc IFunctionRegistry
    IIdentity public immutable IDENTITY;

    /* STORAGE */

    mapping(uint256 functionId => RegisteredFunction) private _functions;
    mapping(bytes32 functionVersion => Version) private _versions;
    mapping(uint256 functionId => mapping(bytes32 labelHash => uint32 number)) private _aliases;
    mapping(bytes32 labelHash => address namespace) private _namespaces;
    mapping(address namespace => string label) private _labels;
    mapping(uint64 id => Deployment) private _deployments;
    mapping(bytes32 functionVersion => mapping(address gateway => uint32)) private _setCounts;
    mapping(bytes32 functionVersion => mapping(address gateway => mapping(uint32 setNo => CandidateSet))) private _sets;
    uint64 private _lastDeployment;

    /* CONSTRUCTOR */

    constructor(IBeacon beacon, IIdentity identity) ERC721("DeFaaS Functions", "FUNC") {
        BEACON = beacon;
        IDENTITY = identity;
    }

    /* NAMES */

    /// @inheritdoc IFunctionRegistry
    function claimNamespace(string calldata label) external {
        bytes32 key = _labelHash(label);
        if (_namespaces[key] != address(0)) revert NameTaken(label);
        if (bytes(_labels[msg.sender]).length != 0) revert NamespaceClaimedAlready(msg.sender);
        _namespaces[key] = msg.sender;
        _labels[msg.sender] = label;
        emit NamespaceClaimed(msg.sender, label);
    }

    /// @inheritdoc IFunctionRegistry
    function register(string calldata name) external returns (uint256 functionId) {
        if (!Names.isName(name)) revert InvalidName(name);
        functionId = Names.functionIdOf(msg.sender, name);
        if (_functions[functionId].namespace != address(0)) revert NameTaken(name);
        _functions[functionId] = RegisteredFunction(msg.sender, 0, name);
        _mint(msg.sender, functionId);
        emit Registered(functionId, msg.sender, name);
    }

    /* VERSIONS */

    /// @inheritdoc IFunctionRegistry
    function publish(
        uint256 functionId,
        VersionTerms calldata terms,
        bool asLatest
    ) external returns (bytes32 functionVersion) {
        _checkOwner(functionId);
        _checkTerms(terms);
        uint32 number = ++_functions[functionId].versions;
        functionVersion = functionVersionOf(functionId, number);
        _store(_versions[functionVersion], functionId, number, terms);
        emit VersionPublished(functionId, number, functionVersion, terms);
        if (!asLatest) return functionVersion;
        _aliases[functionId][keccak256(bytes(LATEST))] = number;
        emit AliasMoved(functionId, LATEST, number);
    }

    /// @inheritdoc IFunctionRegistry
    function moveAlias(uint256 functionId, string calldata label, uint32 number) external {
        _checkOwner(functionId);
        bytes32 key = _labelHash(label);
        _checkLive(functionVersionOf(functionId, number));
        _aliases[functionId][key] = number;
        emit AliasMoved(functionId, label, number);
    }

    /// @inheritdoc IFunctionRegistry
    function deprecate(bytes32 functionVersion) external {
        _checkLive(functionVersion);
        Version storage version = _versions[functionVersion];
        uint256 functionId = version.functionId;
        _checkOwner(functionId);
        if (_aliases[functionId][keccak256(bytes(LATEST))] == version.number) revert AliasedLatest(functionVersion);
        version.deprecated = true;
        emit VersionDeprecated(functionId, functionVersion);
    }

    /* DEPLOYMENTS */

    /// @inheritdoc IFunctionRegistry
    function enrol(
        bytes32 functionVersion,
        string calldata cloud,
        string calldata region
    ) external returns (uint64 id) {
        if (!IDENTITY.hasRole(msg.sender, ROLE_PROVIDER)) revert NotProvider(msg.sender);
        _checkLive(functionVersion);
        if (!Names.isName(cloud)) revert InvalidName(cloud);
        if (!Names.isName(region)) revert InvalidName(region);
        id = ++_lastDeployment;
        _deployments[id] = Deployment(functionVersion, msg.sender, false, false);
        emit Enrolled(id, functionVersion, msg.sender, cloud, region);
    }

    /// @inheritdoc IFunctionRegistry
    function retire(uint64 id) external {
        Deployment storage deployment = _deployments[id];
        if (msg.sender != deployment.provider) revert NotProvider(msg.sender);
        deployment.retired = true;
        emit Retired(id);
    }

    /// @inheritdoc IFunctionRegistry
    function bar(uint64 id) external {
        Deployment storage deployment = _deployments[id];
        if (deployment.provider == address(0)) revert UnknownDeployment(id);
        _checkOwner(_versions[deployment.functionVersion].functionId);
        deployment.barred = true;
        emit Barred(id);
    }

    /// @inheritdoc IFunctionRegistry
    function setCandidates(bytes32 functionVersion, uint64[] calldata ids) external returns (uint32 setNo) {
        address gateway = IDENTITY.gatewayOf(msg.sender);
        if (gateway == address(0)) revert NotGateway(msg.sender);
        if (_versions[functionVersion].number == 0) revert UnknownVersion(functionVersion);
        if (ids.length == 0 || ids.length > MAX_CANDIDATES) revert InvalidSet(0);
        uint64 previous = 0;
        for (uint256 i = 0; i < ids.length; ++i) {
            uint64 id = ids[i];
            Deployment storage deployment = _deployments[id];
            if (
                id <= previous ||
                deployment.functionVersion != functionVersion ||
                deployment.retired ||
                deployment.barred
            ) revert InvalidSet(id);
            previous = id;
        }
        setNo = ++_setCounts[functionVersion][gateway];
        uint64 fromEpoch = BEACON.nextEpoch();
        _sets[functionVersion][gateway][setNo] = CandidateSet(keccak256(abi.encode(ids)), fromEpoch);
        emit CandidatesSet(functionVersion, gateway, setNo, fromEpoch, ids);
    }

    /* INTERNAL */

    function _labelHash(string calldata label) private pure returns (bytes32) {
        if (!Names.isName(label)) revert InvalidName(label);
        return keccak256(bytes(label));
    }

    function _checkOwner(uint256 functionId) private view {
        if (!isOwner(functionId, msg.sender)) revert NotOwner(functionId, msg.sender);
    }

    function _checkLive(bytes32 functionVersion) private view {
        Version storage version = _versions[functionVersion];
        if (version.number == 0) revert UnknownVersion(functionVersion);
        if (version.deprecated) revert Deprecated(functionVersion);
    }

    function _checkTerms(VersionTerms calldata terms) private pure {
        Tariff calldata tariff = terms.tariff;
        if (tariff.roundMs == 0 || tariff.roundMs > MAX_ROUND_MS) revert InvalidTerms("roundMs");
        if (tariff.perCall > tariff.maxPrice) revert InvalidTerms("perCall");
        if (tariff.publisherBps > 10_000) revert InvalidTerms("publisherBps");
        if (terms.memoryMiB == 0) revert InvalidTerms("memoryMiB");
        if (terms.timeoutMs == 0) revert InvalidTerms("timeoutMs");
        if (!_isCodec(terms.manifestCodec)) revert InvalidTerms("manifestCodec");
        if (!_isCodec(terms.artifactCodec)) revert InvalidTerms("artifactCodec");
        if (terms.accessMode > 2) revert InvalidTerms("accessMode");
    }

    /// @dev Multicodec: raw, dag-pb, dag-cbor.
    function _isCodec(uint8 codec) private pure returns (bool) {
        return codec == 0x55 || codec == 0x70 || codec == 0x71;
    }

    function _store(Version storage to, uint256 functionId, uint32 number, VersionTerms calldata terms) private {
        Tariff calldata tariff = terms.tariff;
        to.functionId = functionId;
        to.manifest = terms.manifest;
        to.artifact = terms.artifact;
        to.perCall = tariff.perCall;
        to.perGiBSecond = tariff.perGiBSecond;
        to.maxPrice = tariff.maxPrice;
        to.minBilledMs = tariff.minBilledMs;
        to.roundMs = tariff.roundMs;
        to.publisherBps = tariff.publisherBps;
        to.memoryMiB = terms.memoryMiB;
        to.timeoutMs = terms.timeoutMs;
        to.number = number;
        to.manifestCodec = terms.manifestCodec;
        to.artifactCodec = terms.artifactCodec;
        to.accessMode = terms.accessMode;
        to.idempotent = terms.idempotent;
        to.deterministic = terms.deterministic;
    }

    function _tariff(Version storage version) private view returns (Tariff memory) {
        return
            Tariff(
                version.perCall,
                version.perGiBSecond,
                version.maxPrice,
                version.minBilledMs,
                version.roundMs,
                version.publisherBps
            );
    }

    function _services(uint256 functionId) private view returns (string memory) {
        uint32 latest = aliasOf(functionId, LATEST);
        if (latest == 0) return "[]";
        Version storage version = _versions[functionVersionOf(functionId, latest)];
        // A base-16 CID needs no encoder: f, version 1, codec, sha2-256, 32 bytes, digest.
        return
            string.concat(
                '[{"name":"defaas-manifest","endpoint":"ipfs://f01',
                _hex(version.manifestCodec, 1),
                "1220",
                _hex(uint256(version.manifest), 32),
                '"}]'
            );
    }

    /// @dev Lower-case hex of `size` bytes without 0x.
    function _hex(uint256 value, uint256 size) private pure returns (string memory) {
        bytes memory text = new bytes(2 * size);
        for (uint256 i = 2 * size; i > 0; --i) {
            text[i - 1] = bytes16("0123456789abcdef")[value & 0xf];
            value >>= 4;
        }
        return string(text);
    }

    /* VIEW */

    /// @notice ERC-8004 registration file of a function, as a data URI, for the version `latest`
    /// points at.
    function tokenURI(uint256 functionId) public view override returns (string memory) {
        _requireOwned(functionId);
        RegisteredFunction storage fn = _functions[functionId];
        string memory json = string.concat(
            '{"type":"https://eips.ethereum.org/EIPS/eip-8004#registration-v1","name":"',
            fn.name,
            '","description":"DeFaaS function ',
            fn.namespace.toHexString(),
            "/",
            fn.name,
            '","services":',
            _services(functionId),
            ',"registrations":[{"agentId":"',
            functionId.toString(),
            '","agentRegistry":"eip155:',
            block.chainid.toString(),
            ":",
            address(this).toHexString(),
            '"}],"supportedTrust":["crypto-economic"]}'
        );
        return string.concat("data:application/json;base64,", Base64.encode(bytes(json)));
    }

    /// @inheritdoc IFunctionRegistry
    function isOwner(uint256 functionId, address account) public view returns (bool) {
        return _isAuthorized(_ownerOf(functionId), account, functionId);
    }

    /// @inheritdoc IFunctionRegistry
    function namespaceOf(string calldata label) external view returns (address) {
        return _namespaces[keccak256(bytes(label))];
    }

    /// @inheritdoc IFunctionRegistry
    function labelOf(address namespace) external view returns (string memory) {
        return _labels[namespace];
    }

    /// @inheritdoc IFunctionRegistry
    function functionOf(
        uint256 functionId
    ) external view returns (address namespace, string memory name, uint32 versions) {
        RegisteredFunction storage fn = _functions[functionId];
        return (fn.namespace, fn.name, fn.versions);
    }

    /// @inheritdoc IFunctionRegistry
    function aliasOf(uint256 functionId, string memory label) public view returns (uint32) {
        return _aliases[functionId][keccak256(bytes(label))];
    }

    /// @inheritdoc IFunctionRegistry
    function functionVersionOf(uint256 functionId, uint32 number) public view returns (bytes32) {
        return Names.functionVersionOf(address(this), functionId, number);
    }

    /// @inheritdoc IFunctionRegistry
    function versionOf(
        bytes32 functionVersion
    ) external view returns (uint256 functionId, uint32 number, bool deprecated, VersionTerms memory terms) {
        Version storage version = _versions[functionVersion];
        if (version.number == 0) revert UnknownVersion(functionVersion);
        functionId = version.functionId;
        number = version.number;
        deprecated = version.deprecated;
        terms.manifest = version.manifest;
        terms.artifact = version.artifact;
        terms.manifestCodec = version.manifestCodec;
        terms.artifactCodec = version.artifactCodec;
        terms.tariff = _tariff(version);
        terms.accessMode = version.accessMode;
        terms.memoryMiB = version.memoryMiB;
        terms.timeoutMs = version.timeoutMs;
        terms.idempotent = version.idempotent;
        terms.deterministic = version.deterministic;
    }

    /// @inheritdoc IFunctionRegistry
    function priceTermsOf(bytes32 functionVersion) external view returns (PriceTerms memory) {
        Version storage version = _versions[functionVersion];
        return PriceTerms(_tariff(version), version.memoryMiB, version.timeoutMs);
    }

    /// @inheritdoc IFunctionRegistry
    function accessOf(
        bytes32 functionVersion
    ) external view returns (uint256 functionId, address owner, uint8 accessMode) {
        Version storage version = _versions[functionVersion];
        functionId = version.functionId;
        owner = _ownerOf(functionId);
        accessMode = version.accessMode;
    }

    /// @inheritdoc IFunctionRegistry
    function deploymentOf(uint64 id) external view returns (Deployment memory) {
        return _deployments[id];
    }

    /// @inheritdoc IFunctionRegistry
    function candidateSets(bytes32 functionVersion, address gateway) external view returns (uint32) {
        return _setCounts[functionVersion][gateway];
    }

    /// @inheritdoc IFunctionRegistry
    function candidatesOf(
        bytes32 functionVersion,
        address gateway,
        uint32 setNo
    ) external view returns (CandidateSet memory) {
        return _sets[functionVersion][gateway][setNo];
    }

    /// @inheritdoc IFunctionRegistry
    function isSetInForce(
        bytes32 functionVersion,
        address gateway,
        uint32 setNo,
        uint64 epoch
    ) external view returns (bool isInForce, bytes32 hash) {
        mapping(uint32 setNo => CandidateSet) storage sets = _sets[functionVersion][gateway];
        uint32 last = _setCounts[functionVersion][gateway];
        CandidateSet storage set = sets[setNo];
        // Set 0 does not exist: its hash and fromEpoch are 0.
        hash = set.hash;
        isInForce =
            setNo <= last &&
            set.fromEpoch <= epoch &&
            (setNo == last || sets[setNo + 1].fromEpoch > epoch);
    }
}
