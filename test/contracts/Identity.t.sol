// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Identity} from "../../contracts/Identity.sol";
import {Grant, IIdentity, IPolicy} from "../../contracts/interfaces/IIdentity.sol";
import {VersionTerms} from "../../contracts/interfaces/IFunctionRegistry.sol";
import {Wallet1271} from "../../contracts/test-tokens/Wallets.sol";
import {World} from "./World.sol";

/// @dev A policy that lets nobody in but those who ask exactly what it was told.
contract StrictPolicy is IPolicy {
    bytes32 internal immutable QUESTION;

    constructor(uint256 functionId, address subject, uint32 scopes) {
        QUESTION = keccak256(abi.encode(functionId, subject, scopes));
    }

    function allowed(uint256 functionId, address subject, uint32 scopes) external view returns (bool) {
        return keccak256(abi.encode(functionId, subject, scopes)) == QUESTION;
    }
}

/// @dev A policy that answers whatever bytes it is told to.
contract Policy {
    bytes internal answer;
    bool internal burns;

    function set(bytes calldata to, bool burnsGas) external {
        (answer, burns) = (to, burnsGas);
    }

    fallback() external {
        while (burns) {}
        bytes memory data = answer;
        assembly {
            return(add(data, 0x20), mload(data))
        }
    }
}

contract IdentityTest is World {
    address internal constant ALICE = address(0xA);
    uint256 internal constant NEW_KEY = 0x77;

    function expectInvalidPeriod(string memory name, uint256 value) internal {
        vm.expectRevert(abi.encodeWithSelector(IIdentity.InvalidPeriod.selector, name, value));
    }

    function test_PeriodsAreBounded() public {
        expectInvalidPeriod("KEY_OVERLAP", 1 hours - 1);
        new Identity(registry, 1 hours - 1, 14 days);
        expectInvalidPeriod("KEY_OVERLAP", 7 days + 1);
        new Identity(registry, 7 days + 1, 14 days);
        expectInvalidPeriod("KEY_EVIDENCE", 1 days - 1);
        new Identity(registry, 1 hours, 1 days - 1);
        expectInvalidPeriod("KEY_EVIDENCE", 365 days + 1);
        new Identity(registry, 7 days, 365 days + 1);
        new Identity(registry, 1 hours, 1 days);
        new Identity(registry, 7 days, 365 days);
    }

    /* PARTIES AND KEYS */

    function test_PartyRegistersOnceAndUpdates() public {
        vm.expectEmit(true, false, false, true, address(identity));
        emit IIdentity.PartyRegistered(ALICE, 3, "https://a", bytes32(uint256(5)));
        vm.prank(ALICE);
        identity.registerParty(3, "https://a", bytes32(uint256(5)));
        eq(identity.partyOf(ALICE).roles, 3, "roles");
        eq(identity.partyOf(ALICE).since, block.timestamp, "since");
        eq(identity.partyOf(ALICE).jwksThumbprint, bytes32(uint256(5)), "thumbprint");
        yes(identity.hasRole(ALICE, 3) && identity.hasRole(ALICE, 1), "has roles");

        vm.expectRevert(abi.encodeWithSelector(IIdentity.AlreadyRegistered.selector, ALICE));
        vm.prank(ALICE);
        identity.registerParty(1, "", 0);
        vm.expectEmit(true, false, false, true, address(identity));
        emit IIdentity.PartyUpdated(ALICE, 2, "https://b", bytes32(uint256(6)));
        vm.prank(ALICE);
        identity.updateParty(2, "https://b", bytes32(uint256(6)));
        no(identity.hasRole(ALICE, 1), "no gateway any more");
        eq(identity.partyOf(ALICE).jwksThumbprint, bytes32(uint256(6)), "new thumbprint");
    }

    function test_RolesAreChecked() public {
        vm.expectRevert(abi.encodeWithSelector(IIdentity.InvalidRoles.selector, 0));
        identity.registerParty(0, "", 0);
        vm.expectRevert(abi.encodeWithSelector(IIdentity.InvalidRoles.selector, 4));
        identity.registerParty(4, "", 0);
        vm.expectRevert(abi.encodeWithSelector(IIdentity.NotRegistered.selector, address(this)));
        identity.updateParty(1, "", 0);
        identity.registerParty(1, "", 0);
        vm.expectRevert(abi.encodeWithSelector(IIdentity.InvalidRoles.selector, 0));
        identity.updateParty(0, "", 0);
        vm.expectRevert(abi.encodeWithSelector(IIdentity.InvalidRoles.selector, 4));
        identity.updateParty(4, "", 0);
    }

    function possession(address party, uint256 key, uint8 role, uint40 deadline) internal view returns (bytes memory) {
        bytes32 typeHash = keccak256("OperatorKey(address party,address key,uint8 role,uint40 deadline)");
        return sign(key, identityDigest(keccak256(abi.encode(typeHash, party, vm.addr(key), role, deadline))));
    }

    function test_KeyProvesItsPossession() public {
        address key = vm.addr(NEW_KEY);
        uint40 deadline = uint40(block.timestamp);
        bytes memory good = possession(GATEWAY, NEW_KEY, 1, deadline);
        vm.startPrank(GATEWAY);
        vm.expectRevert(abi.encodeWithSelector(IIdentity.InvalidRoles.selector, 2));
        identity.addKey(key, 2, deadline, good);
        vm.expectRevert(abi.encodeWithSelector(IIdentity.InvalidRoles.selector, 0));
        identity.addKey(key, 0, deadline, good);
        vm.expectRevert(abi.encodeWithSelector(IIdentity.InvalidSignature.selector, key));
        identity.addKey(key, 1, deadline + 1, good);
        vm.expectRevert(abi.encodeWithSelector(IIdentity.InvalidSignature.selector, address(0)));
        identity.addKey(address(0), 1, deadline, hex"");
        vm.expectRevert(abi.encodeWithSelector(IIdentity.Expired.selector, deadline - 1));
        identity.addKey(key, 1, deadline - 1, good);
        vm.expectEmit(true, true, false, true, address(identity));
        emit IIdentity.KeyAdded(GATEWAY, key, 1);
        identity.addKey(key, 1, deadline, good);
        vm.stopPrank();

        eq(identity.keyOf(key).party, GATEWAY, "party");
        eq(identity.keyOf(key).from, block.timestamp, "from");
        yes(identity.isKeyInForce(key, GATEWAY, 1), "in force");
        no(identity.isKeyInForce(key, GATEWAY, 2), "another role");
        no(identity.isKeyInForce(key, ALICE, 1), "another party");
        no(identity.isKeyInForce(ALICE, address(0), 1), "no key");
        no(identity.isEvidenceKey(ALICE, address(0), 1, START), "no evidence key");
        vm.expectRevert(abi.encodeWithSelector(IIdentity.NotRegistered.selector, ALICE));
        vm.prank(ALICE);
        identity.addKey(key, 1, deadline, good);
    }

    function test_KeyBelongsToOnePartyForEver() public {
        bytes memory proof = possession(ALICE, OPERATOR_KEY, 1, uint40(block.timestamp));
        vm.prank(GATEWAY);
        identity.retireKey(OPERATOR);
        vm.startPrank(ALICE);
        identity.registerParty(1, "", 0);
        vm.expectRevert(abi.encodeWithSelector(IIdentity.KeyTaken.selector, OPERATOR));
        identity.addKey(OPERATOR, 1, uint40(block.timestamp), proof);
        vm.stopPrank();
    }

    function test_RetiredKeyOverlapsAndStaysEvidence() public {
        uint40 until = uint40(block.timestamp + 1 days);
        vm.expectRevert(abi.encodeWithSelector(IIdentity.UnknownKey.selector, OPERATOR));
        vm.prank(ALICE);
        identity.retireKey(OPERATOR);
        vm.expectEmit(true, true, false, true, address(identity));
        emit IIdentity.KeyRetired(GATEWAY, OPERATOR, until);
        vm.prank(GATEWAY);
        identity.retireKey(OPERATOR);
        vm.expectRevert(abi.encodeWithSelector(IIdentity.UnknownKey.selector, OPERATOR));
        vm.prank(GATEWAY);
        identity.retireKey(OPERATOR);

        vm.warp(until);
        yes(identity.isKeyInForce(OPERATOR, GATEWAY, 1), "overlap");
        eq(identity.gatewayOf(OPERATOR), GATEWAY, "acts");
        vm.warp(until + 1);
        no(identity.isKeyInForce(OPERATOR, GATEWAY, 1), "over");
        eq(identity.gatewayOf(OPERATOR), address(0), "acts no more");
        uint256 last = until + 3 days;
        yes(identity.isEvidenceKey(OPERATOR, GATEWAY, 1, last), "evidence");
        no(identity.isEvidenceKey(OPERATOR, GATEWAY, 2, last), "evidence of another role");
        no(identity.isEvidenceKey(OPERATOR, ALICE, 1, last), "evidence of another party");
        no(identity.isEvidenceKey(OPERATOR, GATEWAY, 1, last + 1), "for later batches not");
        // It goes by the batch's time, not by now.
        vm.warp(until + 365 days);
        yes(identity.isEvidenceKey(OPERATOR, GATEWAY, 1, last), "evidence for ever");
        yes(identity.isEvidenceKey(OPERATOR, GATEWAY, 1, START), "from when it was added");
        no(identity.isEvidenceKey(OPERATOR, GATEWAY, 1, START - 1), "not before");
    }

    function test_GatewayOf() public {
        eq(identity.gatewayOf(GATEWAY), GATEWAY, "itself");
        eq(identity.gatewayOf(OPERATOR), GATEWAY, "key");
        eq(identity.gatewayOf(PROVIDER), address(0), "provider");
        eq(identity.gatewayOf(ALICE), address(0), "stranger");
        uint40 deadline = uint40(block.timestamp);
        bytes memory proof = possession(PROVIDER, NEW_KEY, 2, deadline);
        vm.prank(PROVIDER);
        identity.addKey(vm.addr(NEW_KEY), 2, deadline, proof);
        eq(identity.gatewayOf(vm.addr(NEW_KEY)), address(0), "provider's key");
    }

    /* ACCESS */

    function restricted(uint8 mode) internal returns (bytes32) {
        VersionTerms memory terms = defaultVersion();
        terms.accessMode = mode;
        vm.prank(OWNER);
        return registry.publish(functionId, terms, true);
    }

    function test_PublicIsForAllAndUnknownForNobody() public view {
        yes(identity.isAllowed(version, ALICE, 7), "public");
        no(identity.isAllowed(bytes32(uint256(1)), ALICE, 1), "unknown version");
    }

    function testFuzz_GrantNeedsAllScopesAndTime(uint32 scopes, uint32 asked, uint40 expiry, uint40 now_) public {
        expiry = uint40(bound(expiry, START + 1, START + 1000 days));
        now_ = uint40(bound(now_, START, START + 1000 days));
        bytes32 closed = restricted(1);
        no(identity.isAllowed(closed, ALICE, 0), "not yet");
        vm.expectEmit(true, true, false, true, address(identity));
        emit IIdentity.Granted(functionId, ALICE, expiry, scopes, 0);
        vm.prank(OWNER);
        identity.grant(functionId, ALICE, expiry, scopes);
        vm.warp(now_);
        yes(identity.isAllowed(closed, ALICE, asked) == (now_ < expiry && asked & ~scopes == 0), "grant");
        yes(identity.isAllowed(closed, OWNER, asked), "owner");
        Grant memory given = identity.grantOf(functionId, ALICE);
        eq(given.expiry, expiry, "expiry");
        eq(given.scopes, scopes, "scopes");
    }

    function test_RevokeOneAndAll() public {
        bytes32 closed = restricted(1);
        uint40 expiry = uint40(block.timestamp + 1);
        vm.startPrank(OWNER);
        identity.grant(functionId, ALICE, expiry, 1);
        identity.grant(functionId, REPORTER, expiry, 1);
        vm.expectEmit(true, true, false, true, address(identity));
        emit IIdentity.GrantRevoked(functionId, ALICE);
        identity.revokeGrant(functionId, ALICE);
        no(identity.isAllowed(closed, ALICE, 1), "revoked");
        yes(identity.isAllowed(closed, REPORTER, 1), "other stays");
        vm.expectEmit(true, false, false, true, address(identity));
        emit IIdentity.EpochRaised(functionId, 1);
        identity.revokeAll(functionId);
        no(identity.isAllowed(closed, REPORTER, 1), "all revoked");
        eq(identity.epochOf(functionId), 1, "epoch");
        identity.grant(functionId, REPORTER, expiry, 1);
        yes(identity.isAllowed(closed, REPORTER, 1), "granted anew");
        vm.warp(expiry);
        no(identity.isAllowed(closed, REPORTER, 1), "over at its expiry");
        vm.expectRevert(abi.encodeWithSelector(IIdentity.Expired.selector, block.timestamp));
        identity.grant(functionId, ALICE, uint40(block.timestamp), 1);
        vm.stopPrank();
    }

    function test_OnlyTheOwnerDecides() public {
        bytes memory refused = abi.encodeWithSelector(IIdentity.NotOwner.selector, functionId, ALICE);
        vm.startPrank(ALICE);
        vm.expectRevert(refused);
        identity.grant(functionId, ALICE, uint40(block.timestamp + 1), 1);
        vm.expectRevert(refused);
        identity.revokeGrant(functionId, ALICE);
        vm.expectRevert(refused);
        identity.revokeAll(functionId);
        vm.expectRevert(refused);
        identity.setPolicy(functionId, ALICE);
        vm.stopPrank();
    }

    function test_PolicyMustSayACleanYes() public {
        bytes32 closed = restricted(2);
        no(identity.isAllowed(closed, ALICE, 1), "no policy");
        Policy policy = new Policy();
        vm.expectEmit(true, false, false, true, address(identity));
        emit IIdentity.PolicySet(functionId, address(policy));
        vm.prank(OWNER);
        identity.setPolicy(functionId, address(policy));
        eq(identity.policyOf(functionId), address(policy), "policy");
        policy.set(abi.encode(true), false);
        yes(identity.isAllowed(closed, ALICE, 1), "yes");
        policy.set(abi.encode(false), false);
        no(identity.isAllowed(closed, ALICE, 1), "no");
        policy.set(abi.encode(2), false);
        no(identity.isAllowed(closed, ALICE, 1), "not a bool");
        policy.set(abi.encode(true, true), false);
        no(identity.isAllowed(closed, ALICE, 1), "too long");
        policy.set(hex"01", false);
        no(identity.isAllowed(closed, ALICE, 1), "too short");
        policy.set(abi.encode(true), true);
        no(identity.isAllowed(closed, ALICE, 1), "burns all gas");
    }

    function test_PolicyIsAskedAboutTheFunctionSubjectAndScopes() public {
        bytes32 closed = restricted(2);
        StrictPolicy policy = new StrictPolicy(functionId, ALICE, 5);
        vm.prank(OWNER);
        identity.setPolicy(functionId, address(policy));
        yes(identity.isAllowed(closed, ALICE, 5), "asked in full");
        no(identity.isAllowed(closed, ALICE, 4), "other scopes");
        no(identity.isAllowed(closed, REPORTER, 5), "another subject");
        // Answers whether it began with 100 000 gas, less the 2 of its first instruction: GAS == 99
        // 998.
        vm.etch(address(policy), hex"5a6201869e145f5260205ff3");
        yes(identity.isAllowed(closed, ALICE, 5), "its gas");
    }

    function test_KeyOfBothRolesIsGoodForEach() public {
        uint40 deadline = uint40(block.timestamp);
        bytes memory proof = possession(GATEWAY, NEW_KEY, 3, deadline);
        address key = vm.addr(NEW_KEY);
        vm.startPrank(GATEWAY);
        identity.updateParty(3, "", 0);
        identity.addKey(key, 3, deadline, proof);
        vm.stopPrank();
        for (uint8 role = 1; role <= 3; ++role) {
            yes(identity.isKeyInForce(key, GATEWAY, role), "in force");
            yes(identity.isEvidenceKey(key, GATEWAY, role, type(uint256).max), "evidence, though not retired");
        }
        no(identity.isKeyInForce(ALICE, address(0), 0), "no key has no role");
        no(identity.isEvidenceKey(ALICE, address(0), 0, START), "nor as evidence");
    }

    /* RELAYED */

    function grantDigest(address granter, uint256 nonce, uint40 deadline) internal view returns (bytes32) {
        bytes32 typeHash = keccak256(
            "Grant(uint256 functionId,address subject,uint40 expiry,uint32 scopes,address granter,uint256 nonce,uint40 deadline)"
        );
        uint40 expiry = uint40(START + 1 days);
        return
            identityDigest(keccak256(abi.encode(typeHash, functionId, ALICE, expiry, uint32(3), granter, nonce, deadline)));
    }

    function grantBySig(address granter, uint256 nonce, uint40 deadline, bytes memory signature) internal {
        identity.grantBySig(functionId, ALICE, uint40(START + 1 days), 3, granter, nonce, deadline, signature);
    }

    function test_GrantAndRevokeBySignature() public {
        bytes32 closed = restricted(1);
        uint40 deadline = uint40(block.timestamp);
        uint256 nonce = 7 << 64;
        bytes memory signature = sign(OWNER_KEY, grantDigest(OWNER, nonce, deadline));
        vm.expectRevert(abi.encodeWithSelector(IIdentity.InvalidSignature.selector, OWNER));
        grantBySig(OWNER, nonce + 1, deadline, signature);
        grantBySig(OWNER, nonce, deadline, signature);
        yes(identity.isAllowed(closed, ALICE, 3), "granted");
        vm.expectRevert(abi.encodeWithSignature("InvalidAccountNonce(address,uint256)", OWNER, nonce + 1));
        grantBySig(OWNER, nonce, deadline, signature);

        bytes32 typeHash = keccak256(
            "RevokeGrant(uint256 functionId,address subject,address granter,uint256 nonce,uint40 deadline)"
        );
        bytes32 digest = identityDigest(keccak256(abi.encode(typeHash, functionId, ALICE, OWNER, nonce + 1, deadline)));
        signature = sign(OWNER_KEY, digest);
        identity.revokeGrantBySig(functionId, ALICE, OWNER, nonce + 1, deadline, signature);
        no(identity.isAllowed(closed, ALICE, 1), "revoked");
        vm.warp(deadline + 1);
        vm.expectRevert(abi.encodeWithSelector(IIdentity.Expired.selector, deadline));
        identity.revokeGrantBySig(functionId, ALICE, OWNER, nonce + 1, deadline, signature);
    }

    function test_OwnerMayBeAContractAndMustBeTheOwner() public {
        uint40 deadline = uint40(block.timestamp);
        Wallet1271 wallet = new Wallet1271(OWNER);
        bytes memory signature = sign(OWNER_KEY, grantDigest(address(wallet), 0, deadline));
        vm.expectRevert(abi.encodeWithSignature("NotOwner(uint256,address)", functionId, address(wallet)));
        grantBySig(address(wallet), 0, deadline, signature);
        vm.prank(OWNER);
        registry.transferFrom(OWNER, address(wallet), functionId);
        grantBySig(address(wallet), 0, deadline, signature);
        eq(identity.grantOf(functionId, ALICE).scopes, 3, "granted");
    }
}
