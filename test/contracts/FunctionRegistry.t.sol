// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Base64} from "@openzeppelin/contracts/utils/Base64.sol";
import {Strings} from "@openzeppelin/contracts/utils/Strings.sol";
import {CandidateSet, IFunctionRegistry, VersionTerms} from "../../contracts/interfaces/IFunctionRegistry.sol";
import {World} from "./World.sol";

contract FunctionRegistryTest is World {
    address internal constant ALICE = address(0xA);
    address internal constant BOB = address(0xB);

    function expectNotOwner(address account) internal {
        vm.expectRevert(abi.encodeWithSelector(IFunctionRegistry.NotOwner.selector, functionId, account));
    }

    /* NAMES */

    function test_LabelIsFirstComeAndOnePerAddress() public {
        vm.expectEmit(true, false, false, true, address(registry));
        emit IFunctionRegistry.NamespaceClaimed(ALICE, "alice");
        vm.prank(ALICE);
        registry.claimNamespace("alice");

        eq(registry.namespaceOf("alice"), ALICE, "namespace");
        eq(registry.labelOf(ALICE), "alice", "label");
        vm.expectRevert(abi.encodeWithSelector(IFunctionRegistry.NameTaken.selector, "alice"));
        vm.prank(BOB);
        registry.claimNamespace("alice");
        vm.expectRevert(abi.encodeWithSelector(IFunctionRegistry.NamespaceClaimedAlready.selector, ALICE));
        vm.prank(ALICE);
        registry.claimNamespace("alice2");
        vm.expectRevert(abi.encodeWithSelector(IFunctionRegistry.InvalidName.selector, "Bob"));
        vm.prank(BOB);
        registry.claimNamespace("Bob");
    }

    function test_RegisterMintsInTheCallersNamespace() public {
        uint256 id = uint256(keccak256(abi.encode(ALICE, "resize")));
        vm.expectEmit(true, true, false, true, address(registry));
        emit IFunctionRegistry.Registered(id, ALICE, "resize");
        vm.prank(ALICE);
        eq(registry.register("resize"), id, "id");

        (address namespace, string memory name, uint32 versions) = registry.functionOf(id);
        eq(namespace, ALICE, "namespace");
        eq(name, "resize", "name");
        eq(versions, 0, "versions");
        eq(registry.ownerOf(id), ALICE, "owner");
        vm.prank(BOB);
        yes(registry.register("resize") != id, "another namespace");
        vm.expectRevert(abi.encodeWithSelector(IFunctionRegistry.NameTaken.selector, "resize"));
        vm.prank(ALICE);
        registry.register("resize");
        vm.expectRevert(abi.encodeWithSelector(IFunctionRegistry.InvalidName.selector, ""));
        registry.register("");
    }

    function test_NamespaceStaysWhenTheTokenMoves() public {
        vm.startPrank(OWNER);
        registry.approve(ALICE, functionId);
        registry.transferFrom(OWNER, BOB, functionId);
        vm.stopPrank();

        (address namespace, , ) = registry.functionOf(functionId);
        eq(namespace, OWNER, "namespace");
        yes(registry.isOwner(functionId, BOB), "new owner");
        no(registry.isOwner(functionId, OWNER), "old owner");
        no(registry.isOwner(functionId, ALICE), "approval is cleared");
        no(registry.isOwner(12345, address(0)), "unknown function");
        no(registry.isOwner(12345, OWNER), "unknown function of somebody");
        no(registry.isOwner(functionId, address(0)), "nobody");
        vm.expectRevert(abi.encodeWithSelector(IFunctionRegistry.NameTaken.selector, "hello"));
        vm.prank(OWNER);
        registry.register("hello");
    }

    /* VERSIONS */

    function testFuzz_PublishStoresTheTermsAndMovesLatest(VersionTerms memory terms) public {
        terms.manifestCodec = uint8(bound(terms.manifestCodec, 0x70, 0x71));
        terms.artifactCodec = 0x55;
        terms.accessMode %= 3;
        terms.memoryMiB = uint32(bound(terms.memoryMiB, 1, type(uint32).max));
        terms.timeoutMs = uint32(bound(terms.timeoutMs, 1, type(uint32).max));
        terms.tariff.roundMs = uint32(bound(terms.tariff.roundMs, 1, 60_000));
        terms.tariff.perCall = uint64(bound(terms.tariff.perCall, 0, terms.tariff.maxPrice));
        terms.tariff.publisherBps %= 10_001;
        bytes32 expected = keccak256(abi.encode(address(registry), functionId, uint32(2)));

        vm.expectEmit(true, true, false, true, address(registry));
        emit IFunctionRegistry.VersionPublished(functionId, 2, expected, terms);
        vm.expectEmit(true, false, false, true, address(registry));
        emit IFunctionRegistry.AliasMoved(functionId, "latest", 2);
        vm.prank(OWNER);
        bytes32 published = registry.publish(functionId, terms, true);

        eq(published, expected, "function version");
        (uint256 id, uint32 number, bool deprecated, VersionTerms memory stored) = registry.versionOf(published);
        eq(id, functionId, "function");
        eq(number, 2, "number");
        no(deprecated, "deprecated");
        eq(keccak256(abi.encode(stored)), keccak256(abi.encode(terms)), "terms");
        eq(registry.aliasOf(functionId, "latest"), 2, "latest");
        eq(
            keccak256(abi.encode(registry.priceTermsOf(published))),
            keccak256(abi.encode(terms.tariff, terms.memoryMiB, terms.timeoutMs)),
            "price terms"
        );
        (uint256 accessId, address owner, uint8 mode) = registry.accessOf(published);
        eq(accessId, functionId, "access function");
        eq(owner, OWNER, "access owner");
        eq(mode, terms.accessMode, "access mode");
    }

    /// A release is no outage: `latest` stays where callers are served until its owner moves it.
    function test_PublishMovesLatestOnlyWhenAsked() public {
        vm.startPrank(OWNER);
        registry.publish(functionId, defaultVersion(), false);
        eq(registry.aliasOf(functionId, "latest"), 1, "stays");
        // Not `latest`, so it can be withdrawn at once.
        registry.deprecate(registry.functionVersionOf(functionId, 2));
        registry.publish(functionId, defaultVersion(), false);
        registry.moveAlias(functionId, "latest", 3);
        eq(registry.aliasOf(functionId, "latest"), 3, "moved apart");
        uint256 fresh = registry.register("fresh");
        registry.publish(fresh, defaultVersion(), false);
        eq(registry.aliasOf(fresh, "latest"), 0, "no latest yet");
        vm.stopPrank();
    }

    function test_PublishRefusesEachBadTerm() public {
        VersionTerms[9] memory bad;
        for (uint256 i = 0; i < 9; ++i) bad[i] = defaultVersion();
        bad[0].tariff.roundMs = 0;
        bad[1].tariff.roundMs = 60_001;
        bad[2].tariff.perCall = bad[2].tariff.maxPrice + 1;
        bad[3].tariff.publisherBps = 10_001;
        bad[4].memoryMiB = 0;
        bad[5].timeoutMs = 0;
        bad[6].manifestCodec = 0x56;
        bad[7].artifactCodec = 0x72;
        bad[8].accessMode = 3;
        string[9] memory fields = [
            "roundMs",
            "roundMs",
            "perCall",
            "publisherBps",
            "memoryMiB",
            "timeoutMs",
            "manifestCodec",
            "artifactCodec",
            "accessMode"
        ];
        for (uint256 i = 0; i < 9; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IFunctionRegistry.InvalidTerms.selector, fields[i]));
            vm.prank(OWNER);
            registry.publish(functionId, bad[i], true);
        }
    }

    function test_PublishTakesEachTermAtItsBound() public {
        VersionTerms memory terms = defaultVersion();
        terms.tariff.roundMs = 60_000;
        terms.tariff.publisherBps = 10_000;
        terms.tariff.perCall = terms.tariff.maxPrice;
        terms.accessMode = 2;
        (terms.memoryMiB, terms.timeoutMs) = (1, 1);
        vm.prank(OWNER);
        eq(registry.priceTermsOf(registry.publish(functionId, terms, true)).tariff.roundMs, 60_000, "published");
    }

    function test_OnlyTheOwnerOrAnApprovedPublishes() public {
        expectNotOwner(ALICE);
        vm.prank(ALICE);
        registry.publish(functionId, defaultVersion(), true);
        expectNotOwner(ALICE);
        vm.prank(ALICE);
        registry.moveAlias(functionId, "latest", 1);
        vm.prank(OWNER);
        registry.publish(functionId, defaultVersion(), true);
        expectNotOwner(ALICE);
        vm.prank(ALICE);
        registry.deprecate(version);
        expectNotOwner(ALICE);
        vm.prank(ALICE);
        registry.bar(1);

        vm.prank(OWNER);
        registry.approve(ALICE, functionId);
        vm.prank(ALICE);
        registry.publish(functionId, defaultVersion(), true);
        vm.prank(OWNER);
        registry.setApprovalForAll(BOB, true);
        vm.prank(BOB);
        registry.publish(functionId, defaultVersion(), true);
        eq(registry.aliasOf(functionId, "latest"), 4, "versions");
    }

    function test_AliasMovesBackAndForth() public {
        vm.startPrank(OWNER);
        registry.publish(functionId, defaultVersion(), true);
        vm.expectEmit(true, false, false, true, address(registry));
        emit IFunctionRegistry.AliasMoved(functionId, "latest", 1);
        registry.moveAlias(functionId, "latest", 1);
        registry.moveAlias(functionId, "beta", 2);
        eq(registry.aliasOf(functionId, "latest"), 1, "rolled back");
        eq(registry.aliasOf(functionId, "beta"), 2, "beta");
        bytes32 unknown = registry.functionVersionOf(functionId, 3);
        vm.expectRevert(abi.encodeWithSelector(IFunctionRegistry.UnknownVersion.selector, unknown));
        registry.moveAlias(functionId, "beta", 3);
        vm.expectRevert(abi.encodeWithSelector(IFunctionRegistry.InvalidName.selector, "Beta"));
        registry.moveAlias(functionId, "Beta", 1);
        vm.expectRevert(abi.encodeWithSelector(IFunctionRegistry.UnknownVersion.selector, unknown));
        registry.versionOf(unknown);
        vm.stopPrank();
    }

    function test_DeprecationIsForEverAndNotOfLatest() public {
        vm.startPrank(OWNER);
        vm.expectRevert(abi.encodeWithSelector(IFunctionRegistry.AliasedLatest.selector, version));
        registry.deprecate(version);
        registry.publish(functionId, defaultVersion(), true);
        vm.expectEmit(true, true, false, true, address(registry));
        emit IFunctionRegistry.VersionDeprecated(functionId, version);
        registry.deprecate(version);
        (, , bool deprecated, ) = registry.versionOf(version);
        yes(deprecated, "deprecated");
        vm.expectRevert(abi.encodeWithSelector(IFunctionRegistry.Deprecated.selector, version));
        registry.deprecate(version);
        vm.expectRevert(abi.encodeWithSelector(IFunctionRegistry.Deprecated.selector, version));
        registry.moveAlias(functionId, "latest", 1);
        vm.stopPrank();
        vm.expectRevert(abi.encodeWithSelector(IFunctionRegistry.Deprecated.selector, version));
        vm.prank(PROVIDER);
        registry.enrol(version, "aws-lambda", "us-east-1");
        vm.expectRevert(abi.encodeWithSelector(IFunctionRegistry.UnknownVersion.selector, bytes32(0)));
        registry.deprecate(0);
    }

    /* DEPLOYMENTS */

    function test_ProviderEnrolsAndRetiresOwnerBars() public {
        vm.expectEmit(true, true, true, true, address(registry));
        emit IFunctionRegistry.Enrolled(6, version, PROVIDER, "local", "here");
        vm.prank(PROVIDER);
        uint64 id = registry.enrol(version, "local", "here");
        eq(id, 6, "dense ids");
        eq(registry.deploymentOf(id).provider, PROVIDER, "provider");
        eq(registry.deploymentOf(id).functionVersion, version, "version");

        vm.expectRevert(abi.encodeWithSelector(IFunctionRegistry.NotProvider.selector, GATEWAY));
        vm.prank(GATEWAY);
        registry.enrol(version, "local", "here");
        vm.expectRevert(abi.encodeWithSelector(IFunctionRegistry.InvalidName.selector, "AWS"));
        vm.prank(PROVIDER);
        registry.enrol(version, "AWS", "here");
        vm.expectRevert(abi.encodeWithSelector(IFunctionRegistry.InvalidName.selector, ""));
        vm.prank(PROVIDER);
        registry.enrol(version, "local", "");
        vm.expectRevert(abi.encodeWithSelector(IFunctionRegistry.UnknownVersion.selector, bytes32(uint256(1))));
        vm.prank(PROVIDER);
        registry.enrol(bytes32(uint256(1)), "local", "here");

        vm.expectRevert(abi.encodeWithSelector(IFunctionRegistry.NotProvider.selector, OWNER));
        vm.prank(OWNER);
        registry.retire(id);
        vm.expectEmit(true, false, false, true, address(registry));
        emit IFunctionRegistry.Retired(id);
        vm.prank(PROVIDER);
        registry.retire(id);
        yes(registry.deploymentOf(id).retired, "retired");

        vm.expectRevert(abi.encodeWithSelector(IFunctionRegistry.UnknownDeployment.selector, 99));
        vm.prank(OWNER);
        registry.bar(99);
        vm.expectEmit(true, false, false, true, address(registry));
        emit IFunctionRegistry.Barred(1);
        vm.prank(OWNER);
        registry.bar(1);
        yes(registry.deploymentOf(1).barred, "barred");
    }

    function test_CandidatesAreOfTheNextEpoch() public {
        uint64 next = beacon.nextEpoch();
        vm.expectEmit(true, true, false, true, address(registry));
        emit IFunctionRegistry.CandidatesSet(version, GATEWAY, 2, next, ids);
        vm.prank(OPERATOR);
        eq(registry.setCandidates(version, ids), 2, "set number");

        eq(registry.candidateSets(version, GATEWAY), 2, "count");
        CandidateSet memory set = registry.candidatesOf(version, GATEWAY, 2);
        eq(set.hash, keccak256(abi.encode(ids)), "hash");
        eq(set.fromEpoch, next, "from");
        inForce(1, next - 1, true);
        inForce(1, next, false);
        inForce(2, next - 1, false);
        inForce(2, next, true);
        inForce(3, next, false);
        inForce(0, next, false);
        inForce(0, epoch - 1, true);
    }

    function test_OfTwoSetsInOneEpochTheLaterHolds() public {
        vm.startPrank(GATEWAY);
        registry.setCandidates(version, ids);
        registry.setCandidates(version, ids);
        vm.stopPrank();
        inForce(2, beacon.nextEpoch(), false);
        inForce(3, beacon.nextEpoch(), true);
    }

    function inForce(uint32 setNo, uint64 at, bool expected) internal view {
        (bool isInForce, bytes32 hash) = registry.isSetInForce(version, GATEWAY, setNo, at);
        yes(isInForce == expected, "set in force");
        bool exists = setNo > 0 && setNo <= registry.candidateSets(version, GATEWAY);
        eq(hash, exists ? keccak256(abi.encode(ids)) : bytes32(0), "hash");
    }

    function expectInvalid(uint64[] memory set, uint64 id) internal {
        vm.expectRevert(abi.encodeWithSelector(IFunctionRegistry.InvalidSet.selector, id));
        vm.prank(GATEWAY);
        registry.setCandidates(version, set);
    }

    function test_CandidatesMustBeAscendingLiveAndOfTheVersion() public {
        expectInvalid(new uint64[](0), 0);
        uint64[] memory many = new uint64[](33);
        for (uint64 i = 0; i < 33; ++i) {
            many[i] = i + 1;
            if (i < DEPLOYMENTS) continue;
            vm.prank(PROVIDER);
            registry.enrol(version, "local", "here");
        }
        expectInvalid(many, 0);
        assembly {
            mstore(many, 32)
        }
        vm.prank(GATEWAY);
        registry.setCandidates(version, many);
        uint64[] memory set = new uint64[](2);
        (set[0], set[1]) = (2, 2);
        expectInvalid(set, 2);
        (set[0], set[1]) = (2, 99);
        expectInvalid(set, 99);
        vm.prank(PROVIDER);
        registry.retire(3);
        (set[0], set[1]) = (2, 3);
        expectInvalid(set, 3);
        vm.prank(OWNER);
        registry.bar(4);
        (set[0], set[1]) = (2, 4);
        expectInvalid(set, 4);
        vm.prank(OWNER);
        bytes32 second = registry.publish(functionId, defaultVersion(), true);
        vm.prank(PROVIDER);
        uint64 other = registry.enrol(second, "local", "here");
        (set[0], set[1]) = (2, other);
        expectInvalid(set, other);
        vm.expectRevert(abi.encodeWithSelector(IFunctionRegistry.NotGateway.selector, PROVIDER));
        vm.prank(PROVIDER);
        registry.setCandidates(version, ids);
        vm.expectRevert(abi.encodeWithSelector(IFunctionRegistry.UnknownVersion.selector, bytes32(0)));
        vm.prank(GATEWAY);
        registry.setCandidates(0, ids);
    }

    /* TOKEN URI */

    function test_TokenUriIsARegistrationFile() public {
        string
            memory services = '[{"name":"defaas-manifest","endpoint":"ipfs://f015512200000000000000000000000000000000000000000000000000000000000000001"}]';
        eq(registry.tokenURI(functionId), fileOf(functionId, "hello", services), "with a version");
        vm.prank(OWNER);
        uint256 empty = registry.register("empty");
        eq(registry.tokenURI(empty), fileOf(empty, "empty", "[]"), "without a version");
        eq(registry.name(), "DeFaaS Functions", "name");
        eq(registry.symbol(), "FUNC", "symbol");
        vm.expectRevert(abi.encodeWithSignature("ERC721NonexistentToken(uint256)", 1));
        registry.tokenURI(1);
    }

    function fileOf(uint256 id, string memory name, string memory services) internal view returns (string memory) {
        string memory head = string.concat(
            '{"type":"https://eips.ethereum.org/EIPS/eip-8004#registration-v1","name":"',
            name,
            '","description":"DeFaaS function ',
            Strings.toHexString(OWNER),
            "/",
            name,
            '","services":'
        );
        string memory tail = string.concat(
            ',"registrations":[{"agentId":"',
            Strings.toString(id),
            '","agentRegistry":"eip155:',
            Strings.toString(block.chainid),
            ":",
            Strings.toHexString(address(registry)),
            '"}],"supportedTrust":["crypto-economic"]}'
        );
        return
            string.concat("data:application/json;base64,", Base64.encode(bytes(string.concat(head, services, tail))));
    }
}
