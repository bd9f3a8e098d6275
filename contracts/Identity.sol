// SPDX-License-Identifier: Apache-2.0
// Gateways, providers, their operator keys; grants and policies. Authorize reads it.
pragma solidity 0.8.37;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";
import {NoncesKeyed} from "@openzeppelin/contracts/utils/NoncesKeyed.sol";
import {IFunctionRegistry} from "./interfaces/IFunctionRegistry.sol";
import {Grant, IIdentity, IPolicy, OperatorKey, Party} from "./interfaces/IIdentity.sol";
import {Signatures} from "./libraries/Signatures.sol";
import {TypedData} from "./libraries/TypedData.sol";

/// @title Identity
contract Identity is IIdentity, EIP712, NoncesKeyed, Multicall {
    uint8 private constant ROLE_GATEWAY = 1;
    uint8 private constant ROLES = 3;
    uint256 private constant POLICY_GAS = 100_000;

    /* IMMUTABLES */

    /// @inheritdoc IIdentity
    IFunctionRegistry public immutable REGISTRY;
    /// @inheritdoc IIdentity
    uint40 public immutable KEY_OVERLAP;
    /// @inheritdoc IIdentity
    uint40 public immutable KEY_EVIDENCE;

    /* STORAGE */

    mapping(address account => Party) private _parties;
    mapping(address key => OperatorKey) private _keys;
    mapping(uint256 functionId => mapping(address subject => Grant)) private _grants;
    mapping(uint256 functionId => uint32) private _epochs;
    mapping(uint256 functionId => address) private _policies;

    /* CONSTRUCTOR */

    constructor(
        IFunctionRegistry registry,
        uint40 keyOverlap,
        uint40 keyEvidence
    ) EIP712(TypedData.IDENTITY_NAME, TypedData.VERSION) {
        if (keyOverlap < 1 hours || keyOverlap > 7 days) revert InvalidPeriod("KEY_OVERLAP", keyOverlap);
        if (keyEvidence < 1 days || keyEvidence > 365 days) revert InvalidPeriod("KEY_EVIDENCE", keyEvidence);
        REGISTRY = registry;
        KEY_OVERLAP = keyOverlap;
        KEY_EVIDENCE = keyEvidence;
    }

    /* PARTIES AND KEYS */

    /// @inheritdoc IIdentity
    function registerParty(uint8 roles, string calldata uri, bytes32 jwksThumbprint) external {
        if (_parties[msg.sender].roles != 0) revert AlreadyRegistered(msg.sender);
        if (roles == 0 || roles > ROLES) revert InvalidRoles(roles);
        _parties[msg.sender] = Party(roles, uint40(block.timestamp), jwksThumbprint);
        emit PartyRegistered(msg.sender, roles, uri, jwksThumbprint);
    }

    /// @inheritdoc IIdentity
    function updateParty(uint8 roles, string calldata uri, bytes32 jwksThumbprint) external {
        Party storage party = _parties[msg.sender];
        if (party.roles == 0) revert NotRegistered(msg.sender);
        if (roles == 0 || roles > ROLES) revert InvalidRoles(roles);
        party.roles = roles;
        party.jwksThumbprint = jwksThumbprint;
        emit PartyUpdated(msg.sender, roles, uri, jwksThumbprint);
    }

    /// @inheritdoc IIdentity
    function addKey(address key, uint8 role, uint40 deadline, bytes calldata keySignature) external {
        uint8 roles = _parties[msg.sender].roles;
        if (roles == 0) revert NotRegistered(msg.sender);
        if (role == 0 || role & ~roles != 0) revert InvalidRoles(role);
        if (block.timestamp > deadline) revert Expired(deadline);
        if (_keys[key].party != address(0)) revert KeyTaken(key);
        bytes32 digest = _hashTypedDataV4(
            keccak256(abi.encode(TypedData.OPERATOR_KEY_TYPEHASH, msg.sender, key, role, deadline))
        );
        if (!Signatures.isFromKey(key, digest, keySignature)) revert InvalidSignature(key);
        _keys[key] = OperatorKey(msg.sender, uint40(block.timestamp), 0, role);
        emit KeyAdded(msg.sender, key, role);
    }

    /// @inheritdoc IIdentity
    function retireKey(address key) external {
        OperatorKey storage operatorKey = _keys[key];
        if (operatorKey.party != msg.sender || operatorKey.until != 0) revert UnknownKey(key);
        uint40 until = uint40(block.timestamp) + KEY_OVERLAP;
        operatorKey.until = until;
        emit KeyRetired(msg.sender, key, until);
    }

    /* GRANTS */

    /// @inheritdoc IIdentity
    function grant(uint256 functionId, address subject, uint40 expiry, uint32 scopes) external {
        _grant(functionId, subject, expiry, scopes, msg.sender);
    }

    /// @inheritdoc IIdentity
    function grantBySig(
        uint256 functionId,
        address subject,
        uint40 expiry,
        uint32 scopes,
        address granter,
        uint256 nonce,
        uint40 deadline,
        bytes calldata signature
    ) external {
        bytes32 structHash = keccak256(
            abi.encode(TypedData.GRANT_TYPEHASH, functionId, subject, expiry, scopes, granter, nonce, deadline)
        );
        _authorize(granter, structHash, nonce, deadline, signature);
        _grant(functionId, subject, expiry, scopes, granter);
    }

    /// @inheritdoc IIdentity
    function revokeGrant(uint256 functionId, address subject) external {
        _revokeGrant(functionId, subject, msg.sender);
    }

    /// @inheritdoc IIdentity
    function revokeGrantBySig(
        uint256 functionId,
        address subject,
        address granter,
        uint256 nonce,
        uint40 deadline,
        bytes calldata signature
    ) external {
        bytes32 structHash = keccak256(
            abi.encode(TypedData.REVOKE_GRANT_TYPEHASH, functionId, subject, granter, nonce, deadline)
        );
        _authorize(granter, structHash, nonce, deadline, signature);
        _revokeGrant(functionId, subject, granter);
    }

    /// @inheritdoc IIdentity
    function revokeAll(uint256 functionId) external {
        _checkOwner(functionId, msg.sender);
        uint32 epoch = ++_epochs[functionId];
        emit EpochRaised(functionId, epoch);
    }

    /// @inheritdoc IIdentity
    function setPolicy(uint256 functionId, address policy) external {
        _checkOwner(functionId, msg.sender);
        _policies[functionId] = policy;
        emit PolicySet(functionId, policy);
    }

    /* INTERNAL */

    function _authorize(
        address account,
        bytes32 structHash,
        uint256 nonce,
        uint40 deadline,
        bytes calldata signature
    ) private {
        if (block.timestamp > deadline) revert Expired(deadline);
        if (!Signatures.isFromAccount(account, _hashTypedDataV4(structHash), signature)) {
            revert InvalidSignature(account);
        }
        _useCheckedNonce(account, nonce);
    }

    function _checkOwner(uint256 functionId, address account) private view {
        if (!REGISTRY.isOwner(functionId, account)) revert NotOwner(functionId, account);
    }

    function _grant(uint256 functionId, address subject, uint40 expiry, uint32 scopes, address granter) private {
        _checkOwner(functionId, granter);
        if (expiry <= block.timestamp) revert Expired(expiry);
        uint32 epoch = _epochs[functionId];
        _grants[functionId][subject] = Grant(expiry, scopes, epoch);
        emit Granted(functionId, subject, expiry, scopes, epoch);
    }

    function _revokeGrant(uint256 functionId, address subject, address granter) private {
        _checkOwner(functionId, granter);
        delete _grants[functionId][subject];
        emit GrantRevoked(functionId, subject);
    }

    function _isGranted(uint256 functionId, address subject, uint32 scopes) private view returns (bool) {
        Grant memory given = _grants[functionId][subject];
        return
            given.epoch == _epochs[functionId] && given.expiry > block.timestamp && given.scopes & scopes == scopes;
    }

    /// @dev A low-level call, because a policy may answer anything: only exactly one word of value
    /// 1 is a yes, and at most one word is copied.
    function _askPolicy(uint256 functionId, address subject, uint32 scopes) private view returns (bool isYes) {
        address policy = _policies[functionId];
        bytes memory question = abi.encodeCall(IPolicy.allowed, (functionId, subject, scopes));
        assembly ("memory-safe") {
            let ok := staticcall(POLICY_GAS, policy, add(question, 0x20), mload(question), 0x00, 0x20)
            isYes := and(and(ok, eq(returndatasize(), 0x20)), eq(mload(0x00), 1))
        }
    }

    /* VIEW */

    /// @inheritdoc IIdentity
    function isAllowed(bytes32 functionVersion, address subject, uint32 scopes) external view returns (bool) {
        (uint256 functionId, address owner, uint8 accessMode) = REGISTRY.accessOf(functionVersion);
        if (owner == address(0)) return false;
        if (accessMode == 0) return true;
        if (accessMode == 1) return subject == owner || _isGranted(functionId, subject, scopes);
        return _askPolicy(functionId, subject, scopes);
    }

    /// @inheritdoc IIdentity
    function isKeyInForce(address key, address party, uint8 role) public view returns (bool) {
        OperatorKey memory k = _keys[key];
        return
            k.party == party &&
            party != address(0) &&
            k.role & role == role &&
            (k.until == 0 || block.timestamp <= k.until);
    }

    /// @inheritdoc IIdentity
    function isEvidenceKey(
        address key,
        address party,
        uint8 role,
        uint256 settledAt
    ) external view returns (bool) {
        OperatorKey memory k = _keys[key];
        return
            k.party == party &&
            party != address(0) &&
            k.role & role == role &&
            k.from <= settledAt &&
            (k.until == 0 || settledAt <= uint256(k.until) + KEY_EVIDENCE);
    }

    /// @inheritdoc IIdentity
    function gatewayOf(address account) external view returns (address) {
        if (hasRole(account, ROLE_GATEWAY)) return account;
        address party = _keys[account].party;
        return isKeyInForce(account, party, ROLE_GATEWAY) ? party : address(0);
    }

    /// @inheritdoc IIdentity
    function hasRole(address account, uint8 role) public view returns (bool) {
        return _parties[account].roles & role == role;
    }

    /// @inheritdoc IIdentity
    function partyOf(address account) external view returns (Party memory) {
        return _parties[account];
    }

    /// @inheritdoc IIdentity
    function keyOf(address key) external view returns (OperatorKey memory) {
        return _keys[key];
    }

    /// @inheritdoc IIdentity
    function grantOf(uint256 functionId, address subject) external view returns (Grant memory) {
        return _grants[functionId][subject];
    }

    /// @inheritdoc IIdentity
    function epochOf(uint256 functionId) external view returns (uint32) {
        return _epochs[functionId];
    }

    /// @inheritdoc IIdentity
    function policyOf(uint256 functionId) external view returns (address) {
        return _policies[functionId];
    }
}
