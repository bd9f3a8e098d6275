// SPDX-License-Identifier: Apache-2.0
// A deployed world for tests: five contracts with the default windows, a bonded gateway with an
// operator key, a payer with a deposit and a line, a published function with deployments; and an
// honest gateway's book of receipts, which tests may falsify.
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {Beacon} from "../../contracts/Beacon.sol";
import {Billing} from "../../contracts/Billing.sol";
import {Disputes} from "../../contracts/Disputes.sol";
import {FunctionRegistry} from "../../contracts/FunctionRegistry.sol";
import {Identity} from "../../contracts/Identity.sol";
import {IBeacon} from "../../contracts/interfaces/IBeacon.sol";
import {Claim, IBilling, PayoutRow} from "../../contracts/interfaces/IBilling.sol";
import {DisputeTerms, Leaf, Place, SignedReceipt} from "../../contracts/interfaces/IDisputes.sol";
import {IFunctionRegistry, VersionTerms} from "../../contracts/interfaces/IFunctionRegistry.sol";
import {IIdentity} from "../../contracts/interfaces/IIdentity.sol";
import {Draw} from "../../contracts/libraries/Draw.sol";
import {Call, Execution, Receipt} from "../../contracts/libraries/Receipts.sol";
import {Tariff} from "../../contracts/libraries/Tariffs.sol";
import {LibraryProbe} from "../../contracts/test-tokens/LibraryProbe.sol";
import {MockUSDC} from "../../contracts/test-tokens/MockUSDC.sol";
import {Test} from "./Vm.sol";

abstract contract World is Test {
    uint256 internal constant UNIT = 1e6;
    uint256 internal constant OPERATOR_KEY = 0xA11CE;
    uint256 internal constant SESSION_KEY = 0xB0B;
    uint256 internal constant OWNER_KEY = 0xCAFE;
    uint256 internal constant PAYER_KEY = 0xDAD;
    // A test that moves time or chain and needs the old value counts from these: solc takes
    // block.timestamp and block.chainid for constant in one call, and in the production profile
    // reads them again instead of keeping them.
    uint256 internal constant START = 1_800_000_000;
    uint256 internal constant HOME_CHAIN = 31_337;
    uint256 internal constant DEPLOYMENTS = 5;

    address internal immutable GATEWAY = vm.addr(0x6A7E);
    address internal immutable SETTLER = vm.addr(0x5E77);
    address internal immutable GUARD = vm.addr(0x6A2D);
    address internal immutable REPORTER = vm.addr(0x2E90);
    address internal immutable PROVIDER = vm.addr(0x9209);
    address internal immutable OWNER = vm.addr(OWNER_KEY);
    address internal immutable PAYER = vm.addr(PAYER_KEY);
    address internal immutable SESSION = vm.addr(SESSION_KEY);
    address internal immutable OPERATOR = vm.addr(OPERATOR_KEY);

    MockUSDC internal token;
    Beacon internal beacon;
    FunctionRegistry internal registry;
    Identity internal identity;
    Billing internal billing;
    Disputes internal disputes;
    LibraryProbe internal probe;

    uint256 internal functionId;
    bytes32 internal version;
    uint64[] internal ids;
    uint64 internal epoch;

    // The book of one lane: PAYER, GATEWAY, SESSION.
    Call[] internal calls;
    Execution[] internal executions;
    Receipt[] internal receipts;

    function setUp() public virtual {
        vm.warp(START);
        vm.roll(1000);
        token = new MockUSDC();
        probe = new LibraryProbe();
        deployAll(IERC20(address(token)));
        registerParties();
        publishFunction();
        fund(PAYER, 1_000 * UNIT);
        vm.prank(PAYER);
        billing.allot(GATEWAY, uint128(500 * UNIT));
    }

    /* DEPLOYMENT */

    function defaultTerms() internal pure returns (DisputeTerms memory) {
        return
            DisputeTerms({
                grave: uint96(100 * UNIT),
                charge: uint96(10 * UNIT),
                misroute: uint96(UNIT),
                silence: uint96(50 * UNIT),
                pledge: uint96(UNIT),
                demandWindow: 7 days,
                answerWindow: 2 days,
                proofWindow: 12 days
            });
    }

    function deployAll(IERC20 money) internal {
        uint256 nonce = vm.getNonce(address(this));
        address deployer = address(this);
        address identityAt = vm.computeCreateAddress(deployer, nonce + 2);
        beacon = new Beacon(4);
        registry = new FunctionRegistry(beacon, IIdentity(identityAt));
        identity = new Identity(registry, 1 days, 3 days);
        address disputesAt = vm.computeCreateAddress(deployer, nonce + 4);
        billing = new Billing(
            money,
            identity,
            disputesAt,
            GUARD,
            1_000 * UNIT,
            1 days,
            2 days,
            14 days,
            12 days
        );
        disputes = new Disputes(billing, identity, registry, beacon, defaultTerms());
        disputes.wired();
    }

    function registerParties() internal {
        vm.startPrank(GATEWAY);
        identity.registerParty(1, "http://127.0.0.1", bytes32(uint256(1)));
        addKey(GATEWAY, OPERATOR_KEY, 1);
        billing.setSettler(SETTLER);
        vm.stopPrank();
        vm.prank(PROVIDER);
        identity.registerParty(2, "", 0);
        bondGateway(10_000 * UNIT);
    }

    /// @dev Within a prank of `party`.
    function addKey(address party, uint256 key, uint8 role) internal {
        uint40 deadline = uint40(block.timestamp + 1 hours);
        bytes32 digest = identityDigest(
            keccak256(
                abi.encode(
                    keccak256("OperatorKey(address party,address key,uint8 role,uint40 deadline)"),
                    party,
                    vm.addr(key),
                    role,
                    deadline
                )
            )
        );
        identity.addKey(vm.addr(key), role, deadline, sign(key, digest));
    }

    function publishFunction() internal {
        vm.startPrank(OWNER);
        functionId = registry.register("hello");
        version = registry.publish(functionId, defaultVersion(), true);
        vm.stopPrank();
        vm.startPrank(PROVIDER);
        for (uint256 i = 0; i < DEPLOYMENTS; ++i) ids.push(registry.enrol(version, "aws-lambda", "us-east-1"));
        vm.stopPrank();
        vm.prank(GATEWAY);
        registry.setCandidates(version, ids);
        epoch = beacon.nextEpoch();
        vm.roll(uint256(epoch) * beacon.K() + 1);
        beacon.checkpoint(epoch);
    }

    function defaultVersion() internal pure returns (VersionTerms memory) {
        return
            VersionTerms({
                manifest: bytes32(uint256(1)),
                artifact: bytes32(uint256(2)),
                manifestCodec: 0x55,
                artifactCodec: 0x70,
                tariff: Tariff(20, 40, 100_000, 0, 1, 1_000),
                accessMode: 0,
                memoryMiB: 128,
                timeoutMs: 10_000,
                idempotent: false,
                deterministic: true
            });
    }

    /* MONEY */

    function mintTo(address account, uint256 amount) internal {
        token.mint(account, amount);
        vm.prank(account);
        token.approve(address(billing), type(uint256).max);
    }

    function fund(address account, uint256 amount) internal {
        mintTo(account, amount);
        vm.prank(account);
        billing.deposit(account, amount);
    }

    function bondGateway(uint256 amount) internal {
        mintTo(GATEWAY, amount);
        vm.prank(GATEWAY);
        billing.bond(GATEWAY, amount);
    }

    function openLane(uint8 mode) internal {
        vm.prank(PAYER);
        billing.openLane(GATEWAY, SESSION, uint128(400 * UNIT), uint32(block.timestamp + 30 days), mode);
    }

    /// @dev A claim made on the lane as it stands.
    function claimOf(uint88 amount, uint40 seq, bytes32 root) internal view returns (Claim memory) {
        uint40 seqFrom = billing.laneOf(PAYER, GATEWAY, SESSION).seq;
        return Claim(PAYER, SESSION, amount, amount, seqFrom, seq, root, voucher(SESSION_KEY, PAYER, amount));
    }

    function voucher(uint256 key, address payer, uint128 ceiling) internal view returns (bytes memory) {
        return sign(key, billingDigest(probe.hashVoucher(payer, GATEWAY, vm.addr(key), ceiling)));
    }

    /// @dev Settles one claim and pays all of it to the provider.
    function settleOne(Claim memory claim, uint128 paid) internal returns (uint32) {
        (Claim[] memory claims, PayoutRow[] memory payouts) = (new Claim[](1), new PayoutRow[](1));
        claims[0] = claim;
        payouts[0] = PayoutRow(PROVIDER, paid);
        vm.prank(SETTLER);
        return billing.settle(GATEWAY, claims, payouts, bytes32(uint256(9)));
    }

    /* SIGNATURES */

    function sign(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function billingDigest(bytes32 structHash) internal view returns (bytes32) {
        return MessageHashUtils.toTypedDataHash(separator("DeFaaS Billing", address(billing)), structHash);
    }

    function identityDigest(bytes32 structHash) internal view returns (bytes32) {
        return MessageHashUtils.toTypedDataHash(separator("DeFaaS Identity", address(identity)), structHash);
    }

    function separator(string memory name, address verifier) internal view returns (bytes32) {
        return
            keccak256(
                abi.encode(
                    keccak256(
                        "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                    ),
                    keccak256(bytes(name)),
                    keccak256("1"),
                    block.chainid,
                    verifier
                )
            );
    }

    /* TREES */

    function levelsOf(bytes32[] memory leaves) internal pure returns (bytes32[][] memory levels) {
        uint256 height = 1;
        for (uint256 n = leaves.length; n > 1; n = (n + 1) / 2) ++height;
        levels = new bytes32[][](height);
        levels[0] = leaves;
        for (uint256 h = 1; h < height; ++h) {
            bytes32[] memory below = levels[h - 1];
            levels[h] = new bytes32[]((below.length + 1) / 2);
            for (uint256 i = 0; i < levels[h].length; ++i) {
                levels[h][i] = 2 * i + 1 < below.length
                    ? keccak256(bytes.concat(below[2 * i], below[2 * i + 1]))
                    : below[2 * i];
            }
        }
    }

    function rootOf(bytes32[] memory leaves) internal pure returns (bytes32) {
        bytes32[][] memory levels = levelsOf(leaves);
        return levels[levels.length - 1][0];
    }

    function pathOf(bytes32[] memory leaves, uint256 index) internal pure returns (bytes32[] memory path) {
        bytes32[][] memory levels = levelsOf(leaves);
        bytes32[] memory found = new bytes32[](levels.length);
        uint256 used = 0;
        for (uint256 h = 0; h + 1 < levels.length; ++h) {
            uint256 sibling = (index >> h) ^ 1;
            if (sibling < levels[h].length) found[used++] = levels[h][sibling];
        }
        path = new bytes32[](used);
        for (uint256 i = 0; i < used; ++i) path[i] = found[i];
    }

    /* THE BOOK OF AN HONEST GATEWAY */

    /// @dev Serves one more call in the lane and writes its receipt. `billedMs` 0 = it failed.
    function serve(uint32 billedMs) internal {
        uint256 i = receipts.length;
        Call memory call = Call({
            payer: PAYER,
            gateway: GATEWAY,
            signer: SESSION,
            nonce: bytes32(i),
            functionVersion: version,
            input: bytes32(uint256(77)),
            maxPrice: 100_000,
            deadline: uint40(block.timestamp + 60),
            beacon: epoch,
            authority: 0
        });
        bytes32 callHash = probe.hashCall(call);
        uint64[] memory order = probe.drawOrder(seedOf(call), ids, 32);
        // By turns the first candidate, the second, and one after a failover.
        uint256 attempt = i % 3;
        Execution memory execution = Execution({
            deployment: order[attempt],
            request: bytes32(i),
            billedMs: billedMs,
            initMs: 0,
            memoryMiB: 64,
            status: billedMs == 0 ? 0 : 200,
            input: bytes32(uint256(77)),
            output: bytes32(uint256(78)),
            finishedAt: uint40(block.timestamp)
        });
        uint256 price = billedMs == 0 ? 0 : probe.priceOf(registry.priceTermsOf(version), billedMs, 64, 200);
        calls.push(call);
        executions.push(execution);
        receipts.push(
            Receipt({
                payer: PAYER,
                gateway: GATEWAY,
                signer: SESSION,
                seq: uint40(i + 1),
                call: callHash,
                execution: probe.hashExecution(execution),
                provider: PROVIDER,
                attempt: uint8(attempt),
                atBlock: uint64(block.number),
                price: uint128(price),
                cumulative: uint128(price) + (i == 0 ? 0 : receipts[i - 1].cumulative)
            })
        );
    }

    function seedOf(Call memory call) internal view returns (bytes32) {
        return probe.seedOf(beacon.epochOf(call.beacon).value, call.payer, call.signer, call.nonce);
    }

    function serveMany(uint256 count) internal {
        for (uint256 i = 0; i < count; ++i) serve(uint32(i % 4 == 3 ? 0 : 10 + i));
    }

    /// @dev Puts the call and execution of place i back under its receipt, after a test has changed
    ///   them.
    function rehash(uint256 i) internal {
        receipts[i].call = probe.hashCall(calls[i]);
        receipts[i].execution = probe.hashExecution(executions[i]);
    }

    function leavesOf(uint256 from, uint256 to) internal view returns (bytes32[] memory leaves) {
        leaves = new bytes32[](to - from);
        for (uint256 i = from; i < to; ++i) leaves[i - from] = probe.hashReceipt(receipts[i]);
    }

    /// @dev Settles the receipts from place `from` up to `to` and takes `settledTo`.
    function settleBook(uint256 from, uint256 to, uint88 settledTo) internal returns (Place memory place) {
        place.settledFrom = billing.laneOf(PAYER, GATEWAY, SESSION).settled;
        place.receipts = rootOf(leavesOf(from, to));
        place.batch = settleOne(
            claimOf(settledTo, uint40(to), place.receipts),
            uint128(settledTo - place.settledFrom)
        );
        place.gateway = GATEWAY;
        place.settledAt = uint64(block.timestamp);
        place.claims = 1;
        place.payer = PAYER;
        place.signer = SESSION;
        place.settledTo = settledTo;
        place.seqFrom = uint40(from);
        place.seqTo = uint40(to);
    }

    function settleAll() internal returns (Place memory) {
        return settleBook(0, receipts.length, uint88(receipts[receipts.length - 1].cumulative));
    }

    function leafAt(Place memory place, uint256 i) internal view returns (Leaf memory) {
        uint256 index = i - place.seqFrom;
        return Leaf(receipts[i], uint32(index), pathOf(leavesOf(place.seqFrom, place.seqTo), index));
    }

    /// @dev A receipt handed out alone in its group.
    function handOut(Receipt memory receipt) internal view returns (SignedReceipt memory) {
        bytes32 root = probe.hashReceipt(receipt);
        bytes memory signature = sign(OPERATOR_KEY, billingDigest(probe.hashReceiptGroup(receipt.gateway, root, 1)));
        return SignedReceipt(receipt, 0, 1, new bytes32[](0), signature);
    }
}
