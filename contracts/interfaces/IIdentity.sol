// SPDX-License-Identifier: Apache-2.0
// Gateways, providers and their operator keys; who may call which function.
pragma solidity 0.8.37;

import {IFunctionRegistry} from "./IFunctionRegistry.sol";

/// @notice A registered gateway or provider; its endpoint is in the event.
/// @param roles Bits: 1 gateway, 2 provider.
/// @param since Registered at, seconds.
/// @param jwksThumbprint RFC 7638 thumbprint of the key that signs its access tokens.
struct Party {
    uint8 roles;
    uint40 since;
    bytes32 jwksThumbprint;
}

/// @notice A plain ECDSA key of a party, never a contract: a contract could later deny a signature.
/// @param from,until Seconds; until 0 = not retired.
/// @param role Bits: 1 signs for a gateway, 2 for a provider.
struct OperatorKey {
    address party;
    uint40 from;
    uint40 until;
    uint8 role;
}

/// @notice Right of a subject to a function.
/// @param expiry Seconds; the grant is void from then on.
/// @param scopes Bits: 1 invoke, 2 subscribe, 4 logs.
/// @param epoch The function's epoch when granted; a later epoch voids the grant.
struct Grant {
    uint40 expiry;
    uint32 scopes;
    uint32 epoch;
}

/// @title IPolicy
/// @notice Decides access for functions with accessMode 2: token gates, rules of a DAO.
interface IPolicy {
    /// @notice Asked by staticcall with 100 000 gas; anything but a clean `true` is a no.
    function allowed(uint256 functionId, address subject, uint32 scopes) external view returns (bool);
}

/// @title IIdentity
/// @notice Times in seconds of the chain. `...BySig` does the same with the signer in place of the
/// sender: EIP-712 domain "DeFaaS Identity" version 1, keyed nonces, ECDSA first, then ERC-1271.
interface IIdentity {
    event PartyRegistered(address indexed party, uint8 roles, string uri, bytes32 jwksThumbprint);
    event PartyUpdated(address indexed party, uint8 roles, string uri, bytes32 jwksThumbprint);
    event KeyAdded(address indexed party, address indexed key, uint8 role);
    event KeyRetired(address indexed party, address indexed key, uint40 until);
    event Granted(uint256 indexed functionId, address indexed subject, uint40 expiry, uint32 scopes, uint32 epoch);
    event GrantRevoked(uint256 indexed functionId, address indexed subject);
    /// @notice All earlier grants of the function are void.
    event EpochRaised(uint256 indexed functionId, uint32 epoch);
    event PolicySet(uint256 indexed functionId, address policy);

    error InvalidPeriod(string name, uint256 value);
    error AlreadyRegistered(address party);
    error NotRegistered(address party);
    /// @notice Roles are bits 1 and 2, at least one; a key's role is among its party's.
    error InvalidRoles(uint8 roles);
    /// @notice A key belongs to one party for ever.
    error KeyTaken(address key);
    /// @notice Not a key of the caller, or retired already.
    error UnknownKey(address key);
    error NotOwner(uint256 functionId, address account);
    error Expired(uint256 deadline);
    error InvalidSignature(address signer);

    /// @notice The registry of the functions that grants and policies refer to.
    function REGISTRY() external view returns (IFunctionRegistry);
    /// @notice How long a retired key's signatures stay valid, seconds (1 h to 7 d).
    function KEY_OVERLAP() external view returns (uint40);
    /// @notice How long after a retired key was last valid a batch may be settled for which the
    /// key's signatures are evidence, seconds (1 d to 365 d).
    function KEY_EVIDENCE() external view returns (uint40);

    /// @notice Registers the caller as gateway, provider or both. `uri`: its endpoint. Fails with
    /// AlreadyRegistered, InvalidRoles.
    function registerParty(uint8 roles, string calldata uri, bytes32 jwksThumbprint) external;

    /// @notice Replaces the caller's roles, endpoint and thumbprint; keys stay as they are. Fails
    /// with NotRegistered, InvalidRoles.
    function updateParty(uint8 roles, string calldata uri, bytes32 jwksThumbprint) external;

    /// @notice Adds an operator key. The key must sign OperatorKey(party, key, role, deadline), so
    /// that nobody can add another's key.
    /// Fails with NotRegistered, InvalidRoles, Expired, KeyTaken, InvalidSignature.
    function addKey(address key, uint8 role, uint40 deadline, bytes calldata keySignature) external;

    /// @notice Retires a key of the caller: valid for KEY_OVERLAP, evidence for batches settled up
    /// to KEY_EVIDENCE later. Fails with UnknownKey.
    /// @dev Warning: a stolen key can sign against its party as long as Disputes takes proofs of
    /// such batches.
    function retireKey(address key) external;

    /// @notice Grants `subject` the scopes until `expiry`, replacing an older grant. Function owner
    /// only.
    /// Fails with NotOwner, Expired (expiry not in the future).
    function grant(uint256 functionId, address subject, uint40 expiry, uint32 scopes) external;

    /// @notice Relays grant signed by `granter`, the function's owner, (ECDSA, else ERC-1271) until
    /// `deadline`, seconds. Anyone.
    /// Fails with Expired, InvalidSignature, InvalidAccountNonce and as grant.
    function grantBySig(
        uint256 functionId,
        address subject,
        uint40 expiry,
        uint32 scopes,
        address granter,
        uint256 nonce,
        uint40 deadline,
        bytes calldata signature
    ) external;

    /// @notice Ends a grant. Function owner only. Fails with NotOwner.
    function revokeGrant(uint256 functionId, address subject) external;

    /// @notice Relays revokeGrant signed by `granter`, the function's owner, (ECDSA, else ERC-1271)
    /// until `deadline`, seconds. Anyone.
    /// Fails with Expired, InvalidSignature, InvalidAccountNonce and as revokeGrant.
    function revokeGrantBySig(
        uint256 functionId,
        address subject,
        address granter,
        uint256 nonce,
        uint40 deadline,
        bytes calldata signature
    ) external;

    /// @notice Ends all grants of a function at once. Function owner only. Fails with NotOwner.
    function revokeAll(uint256 functionId) external;

    /// @notice Sets the contract asked for accessMode 2; zero = nobody is let in. Function owner
    /// only. Fails with NotOwner.
    function setPolicy(uint256 functionId, address policy) external;

    /// @notice Whether `subject`, the payer, may use a version now. Public: always; granted: the
    /// ERC-721 owner, or a valid grant with all of `scopes`; policy: the policy's answer; unknown
    /// version: never.
    /// @dev Warning: says nothing about deprecation.
    function isAllowed(bytes32 functionVersion, address subject, uint32 scopes) external view returns (bool);

    /// @notice Whether clients accept `key`'s signature for `party` in `role` now.
    function isKeyInForce(address key, address party, uint8 role) external view returns (bool);

    /// @notice Whether Disputes accepts it as evidence about a batch of that time: settled after
    /// the key was added, and not later than KEY_EVIDENCE after it was last valid.
    /// @param settledAt Time of the batch, seconds.
    function isEvidenceKey(
        address key,
        address party,
        uint8 role,
        uint256 settledAt
    ) external view returns (bool);

    /// @notice The gateway `account` acts for: itself when registered as one, else the party of its
    /// gateway key in force, else zero.
    function gatewayOf(address account) external view returns (address);

    /// @notice Whether `account` is registered with all bits of `role`.
    function hasRole(address account, uint8 role) external view returns (bool);

    /// @notice Roles and thumbprint of `party`; all zero if it is not registered.
    function partyOf(address account) external view returns (Party memory);
    /// @notice Party, role and times (seconds) of an operator key; all zero if it is unknown.
    function keyOf(address key) external view returns (OperatorKey memory);
    /// @notice The last grant to `subject`, even if it has ended: expiry (seconds), scopes, epoch.
    function grantOf(uint256 functionId, address subject) external view returns (Grant memory);
    /// @notice Grants of an older epoch are void; revokeAll raises it.
    function epochOf(uint256 functionId) external view returns (uint32);
    /// @notice The contract asked for accessMode 2, or zero.
    function policyOf(uint256 functionId) external view returns (address);
}
