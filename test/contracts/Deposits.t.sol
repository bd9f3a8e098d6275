// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ERC3009} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Billing} from "../../contracts/Billing.sol";
import {IBilling} from "../../contracts/interfaces/IBilling.sol";
import {HostileToken} from "../../contracts/test-tokens/HostileToken.sol";
import {Wallet1271} from "../../contracts/test-tokens/Wallets.sol";
import {World} from "./World.sol";

/// @dev Has more decimals than packed amounts can hold.
contract FineToken {
    uint8 public constant decimals = 19;
}

/// @dev As the first USDC: an authorization is (v, r, s), never bytes. Has 18 decimals, and may
///   keep a hundredth of each transfer.
contract OldToken is ERC20, ERC3009 {
    bool internal keeps;

    constructor() ERC20("Old", "OLD") EIP712("Old", "1") {}

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function keep() external {
        keeps = true;
    }

    function _update(address from, address to, uint256 amount) internal override {
        super._update(from, to, amount);
        if (keeps) super._update(to, address(0), amount / 100);
    }
}

contract DepositsTest is World {
    address internal constant ALICE = address(0xA);

    /* CONSTRUCTOR */

    function make(uint256 minBond, uint256 thaw, uint256 delay, uint256 unbond, uint256 proof) internal {
        new Billing(IERC20(address(token)), identity, address(1), GUARD, minBond, thaw, delay, unbond, proof);
    }

    function refuses(string memory name, uint256 value) internal {
        vm.expectRevert(abi.encodeWithSelector(IBilling.InvalidPeriod.selector, name, value));
    }

    function test_ImmutablesAreBounded() public {
        uint256 most = 10_000_000 * UNIT;
        vm.expectRevert(abi.encodeWithSelector(IBilling.InvalidBond.selector, 10 * UNIT - 1));
        make(10 * UNIT - 1, 1 days, 2 days, 14 days, 12 days);
        vm.expectRevert(abi.encodeWithSelector(IBilling.InvalidBond.selector, most + 1));
        make(most + 1, 1 days, 2 days, 14 days, 12 days);
        refuses("LINE_THAW", 1 hours - 1);
        make(most, 1 hours - 1, 2 days, 14 days, 12 days);
        refuses("LINE_THAW", 30 days + 1);
        make(most, 30 days + 1, 2 days, 100 days, 12 days);
        refuses("FEE_DELAY", 1 hours - 1);
        make(most, 1 days, 1 hours - 1, 14 days, 12 days);
        refuses("FEE_DELAY", 30 days + 1);
        make(most, 1 days, 30 days + 1, 14 days, 12 days);
        refuses("PROOF_WINDOW", 1 days - 1);
        make(most, 1 days, 2 days, 14 days, 1 days - 1);
        refuses("PROOF_WINDOW", 180 days + 1);
        make(most, 1 days, 2 days, 365 days, 180 days + 1);
        refuses("UNBOND", 13 days);
        make(most, 1 days, 2 days, 13 days, 12 days);
        refuses("UNBOND", 365 days + 1);
        make(most, 1 days, 2 days, 365 days + 1, 12 days);
        make(10 * UNIT, 1 hours, 1 hours, 1 days + 1 hours + 1, 1 days);
        make(most, 30 days, 30 days, 365 days, 180 days);
        IERC20 fine = IERC20(address(new FineToken()));
        vm.expectRevert(abi.encodeWithSelector(IBilling.InvalidToken.selector, address(fine)));
        new Billing(fine, identity, address(1), GUARD, 1e22, 1 days, 2 days, 14 days, 12 days);
    }

    /* DEPOSIT */

    function testFuzz_DepositCreditsTheAccount(uint256 amount) public {
        amount = bound(amount, 1, type(uint128).max);
        mintTo(REPORTER, amount);
        vm.expectEmit(true, false, false, true, address(billing));
        emit IBilling.Deposited(ALICE, amount);
        vm.prank(REPORTER);
        billing.deposit(ALICE, amount);
        eq(billing.free(ALICE), amount, "free");
        eq(token.balanceOf(REPORTER), 0, "paid");
    }

    function test_NothingIsNoDeposit() public {
        vm.expectRevert(abi.encodeWithSelector(IBilling.UnexpectedAmount.selector, 0, 0));
        billing.deposit(ALICE, 0);
    }

    function permit(uint256 amount, uint256 deadline) internal view returns (uint8, bytes32, bytes32) {
        bytes32 typeHash = keccak256(
            "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
        );
        bytes32 structHash = keccak256(abi.encode(typeHash, PAYER, address(billing), amount, token.nonces(PAYER), deadline));
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), structHash));
        return vm.sign(PAYER_KEY, digest);
    }

    function test_PermitIsRelayedAndMustSucceed() public {
        token.mint(PAYER, 30 * UNIT);
        vm.prank(PAYER);
        token.approve(address(billing), 0);
        uint256 had = billing.free(PAYER);
        (uint8 v, bytes32 r, bytes32 s) = permit(10 * UNIT, block.timestamp);
        billing.depositWithPermit(PAYER, 10 * UNIT, block.timestamp, v, r, s);
        eq(billing.free(PAYER) - had, 10 * UNIT, "relayed");

        (v, r, s) = permit(20 * UNIT, block.timestamp);
        token.permit(PAYER, address(billing), 20 * UNIT, block.timestamp, v, r, s);
        // Relayed by somebody before, it is used up: the allowance stands, for the account itself
        // alone.
        permitFails(20 * UNIT, v, r, s);
        vm.prank(PAYER);
        billing.deposit(PAYER, 20 * UNIT);
        eq(billing.free(PAYER) - had, 30 * UNIT, "front-run");
    }

    /// A standing allowance moves by the will of its owner only: a stranger can force no deposit
    /// with it.
    function testFuzz_AllowanceAloneLetsNobodyDeposit(uint8 v, bytes32 r, bytes32 s) public {
        mintTo(PAYER, UNIT);
        permitFails(UNIT, v, r, s);
        permitFails(UNIT, 0, 0, 0);
        // Signed by the owner, for another amount.
        (v, r, s) = permit(UNIT + 1, block.timestamp);
        permitFails(UNIT, v, r, s);
        eq(token.balanceOf(PAYER), UNIT, "still its own");
    }

    function permitFails(uint256 amount, uint8 v, bytes32 r, bytes32 s) internal {
        (bool ok, ) = address(billing).call(
            abi.encodeCall(IBilling.depositWithPermit, (PAYER, amount, block.timestamp, v, r, s))
        );
        no(ok, "a permit that failed");
    }

    function authorization(bytes32 domain, address from, bytes32 salt) internal view returns (bytes32) {
        bytes32 typeHash = keccak256(
            "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
        );
        bytes32 nonce = keccak256(abi.encode(from, salt));
        bytes32 structHash = keccak256(abi.encode(typeHash, from, address(billing), UNIT, 0, START + 1, nonce));
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }

    function test_AuthorizationOfAKeyAndOfAWallet() public {
        bytes32 domain = token.DOMAIN_SEPARATOR();
        token.mint(PAYER, UNIT);
        uint256 had = billing.free(PAYER);
        bytes memory signature = sign(PAYER_KEY, authorization(domain, PAYER, "a"));
        billing.depositWithAuthorization(PAYER, UNIT, 0, START + 1, "a", signature);
        eq(billing.free(PAYER) - had, UNIT, "key");

        address wallet = address(new LongWallet(PAYER));
        token.mint(wallet, UNIT);
        signature = bytes.concat(sign(PAYER_KEY, authorization(domain, wallet, "b")), "x");
        billing.depositWithAuthorization(wallet, UNIT, 0, START + 1, "b", signature);
        eq(billing.free(wallet), UNIT, "wallet");
    }

    function test_AuthorizationToATokenThatKnowsKeysOnly() public {
        OldToken old = new OldToken();
        billing = new Billing(
            IERC20(address(old)),
            identity,
            address(1),
            GUARD,
            10 ether,
            1 days,
            2 days,
            14 days,
            12 days
        );
        bytes32 domain = separator("Old", address(old));
        old.mint(PAYER, 2 * UNIT);
        bytes memory signature = sign(PAYER_KEY, authorization(domain, PAYER, "a"));
        billing.depositWithAuthorization(PAYER, UNIT, 0, START + 1, "a", signature);
        eq(billing.free(PAYER), UNIT, "free");

        old.keep();
        signature = sign(PAYER_KEY, authorization(domain, PAYER, "b"));
        vm.expectRevert(
            abi.encodeWithSelector(IBilling.UnexpectedAmount.selector, (UNIT * 99) / 100, UNIT)
        );
        billing.depositWithAuthorization(PAYER, UNIT, 0, START + 1, "b", signature);
    }

    function test_PauseStopsDepositsAndBondsOnly() public {
        openLane(1);
        mintTo(PAYER, 10 * UNIT);
        vm.expectRevert(abi.encodeWithSelector(IBilling.NotGuardian.selector, ALICE));
        vm.prank(ALICE);
        billing.pause();
        vm.expectEmit(false, false, false, true, address(billing));
        emit IBilling.Paused();
        vm.prank(GUARD);
        billing.pause();
        yes(billing.paused(), "paused");

        bytes4 stopped = IBilling.DepositsPaused.selector;
        vm.startPrank(PAYER);
        vm.expectRevert(stopped);
        billing.deposit(PAYER, UNIT);
        vm.expectRevert(stopped);
        billing.depositWithPermit(PAYER, UNIT, 0, 0, 0, 0);
        vm.expectRevert(stopped);
        billing.depositWithAuthorization(PAYER, UNIT, 0, 0, 0, "");
        vm.expectRevert(stopped);
        billing.bond(GATEWAY, UNIT);

        billing.allot(GATEWAY, uint128(UNIT));
        billing.setLimit(GATEWAY, 1);
        billing.extendLane(GATEWAY, SESSION, uint128(400 * UNIT), type(uint32).max);
        billing.closeLane(GATEWAY, SESSION);
        billing.withdraw(PAYER, uint128(UNIT));
        vm.stopPrank();
        settleOne(claimOf(uint88(UNIT), 1, "root"), uint128(UNIT));
        billing.payOut(GATEWAY, PROVIDER);
        vm.prank(PAYER);
        billing.thaw(GATEWAY, uint128(UNIT));
        vm.prank(GATEWAY);
        billing.unbond(uint96(UNIT));
        vm.warp(block.timestamp + 14 days);
        billing.release(PAYER, GATEWAY);
        billing.leave(GATEWAY);

        vm.expectRevert(abi.encodeWithSelector(IBilling.NotGuardian.selector, ALICE));
        vm.prank(ALICE);
        billing.unpause();
        vm.expectEmit(false, false, false, true, address(billing));
        emit IBilling.Unpaused();
        vm.prank(GUARD);
        billing.unpause();
        vm.prank(PAYER);
        billing.deposit(PAYER, UNIT);
    }

    /* WITHDRAW */

    function testFuzz_WithdrawIsAtOnceAndNeverTooMuch(uint256 amount) public {
        uint256 have = billing.free(PAYER);
        amount = bound(amount, 0, have);
        vm.startPrank(PAYER);
        vm.expectRevert(abi.encodeWithSelector(IBilling.InsufficientFree.selector, have, have + 1));
        billing.withdraw(ALICE, uint128(have + 1));
        vm.expectEmit(true, true, false, true, address(billing));
        emit IBilling.Withdrawn(PAYER, ALICE, amount);
        billing.withdraw(ALICE, uint128(amount));
        vm.stopPrank();
        eq(token.balanceOf(ALICE), amount, "received");
        eq(billing.free(PAYER), have - amount, "left");
    }

    /* HOSTILE TOKENS */

    function hostile(HostileToken.Behaviour behaviour) internal returns (HostileToken bad) {
        bad = new HostileToken();
        deployAll(IERC20(address(bad)));
        bad.mint(PAYER, 100 * UNIT);
        bad.mint(GATEWAY, 2_000 * UNIT);
        vm.prank(GATEWAY);
        bad.approve(address(billing), type(uint256).max);
        vm.prank(GATEWAY);
        billing.bond(GATEWAY, 2_000 * UNIT);
        vm.startPrank(PAYER);
        bad.approve(address(billing), type(uint256).max);
        billing.deposit(PAYER, 50 * UNIT);
        billing.allot(GATEWAY, uint128(20 * UNIT));
        vm.stopPrank();
        vm.prank(GATEWAY);
        billing.setSettler(SETTLER);
        bad.behave(behaviour);
    }

    function test_FeeOnTransferIsRefused() public {
        hostile(HostileToken.Behaviour.Fee);
        vm.startPrank(PAYER);
        vm.expectRevert(
            abi.encodeWithSelector(IBilling.UnexpectedAmount.selector, (UNIT * 99) / 100, UNIT)
        );
        billing.deposit(PAYER, UNIT);
        vm.expectRevert(
            abi.encodeWithSelector(IBilling.UnexpectedAmount.selector, (UNIT * 99) / 100, UNIT)
        );
        billing.bond(GATEWAY, UNIT);
        vm.stopPrank();
    }

    function test_FalseIsAFailure() public {
        HostileToken bad = hostile(HostileToken.Behaviour.ReturnsFalse);
        bytes memory failed = abi.encodeWithSignature("SafeERC20FailedOperation(address)", address(bad));
        vm.startPrank(PAYER);
        vm.expectRevert(failed);
        billing.deposit(PAYER, UNIT);
        vm.expectRevert(failed);
        billing.withdraw(PAYER, uint128(UNIT));
        vm.stopPrank();
        eq(billing.free(PAYER), 30 * UNIT, "nothing lost");
    }

    function test_NothingReturnedIsFine() public {
        HostileToken bad = hostile(HostileToken.Behaviour.ReturnsNothing);
        vm.startPrank(PAYER);
        billing.deposit(PAYER, UNIT);
        billing.withdraw(ALICE, uint128(2 * UNIT));
        vm.stopPrank();
        eq(bad.balanceOf(ALICE), 2 * UNIT, "received");
    }

    function test_BlacklistFreezesOnePayeeOnly() public {
        HostileToken bad = hostile(HostileToken.Behaviour.Blacklist);
        openLane(1);
        settleOne(claimOf(uint88(UNIT), 1, "root"), uint128(UNIT));
        settleOne(claimOf(uint88(2 * UNIT), 2, "root"), uint128(UNIT));
        bad.freeze(PROVIDER);
        vm.expectRevert("frozen");
        billing.payOut(GATEWAY, PROVIDER);
        settleOne(claimOf(uint88(3 * UNIT), 3, "root"), uint128(UNIT));
        bad.freeze(address(0));
        billing.payOut(GATEWAY, PROVIDER);
        eq(bad.balanceOf(PROVIDER), 3 * UNIT, "pulled later");
    }

    function test_ReentryGetsNothing() public {
        HostileToken bad = hostile(HostileToken.Behaviour.Reentrant);
        Wallet1271 wallet = new Wallet1271(PAYER);
        bytes4 guarded = bytes4(keccak256("ReentrancyGuardReentrantCall()"));
        bytes[8] memory again = [
            abi.encodeCall(IBilling.withdraw, (ALICE, 1)),
            abi.encodeCall(IBilling.withdrawBySig, (PAYER, ALICE, 1, 0, 0, "")),
            abi.encodeCall(IBilling.deposit, (ALICE, 1)),
            abi.encodeCall(IBilling.depositWithPermit, (ALICE, 1, 0, 0, 0, 0)),
            abi.encodeCall(IBilling.depositWithAuthorization, (ALICE, 1, 0, 0, 0, "")),
            abi.encodeCall(IBilling.bond, (GATEWAY, 1)),
            abi.encodeCall(IBilling.payOut, (GATEWAY, PROVIDER)),
            abi.encodeWithSignature("multicall(bytes[])", oneCall(abi.encodeCall(IBilling.withdraw, (ALICE, 1))))
        ];
        for (uint256 i = 0; i < again.length; ++i) {
            bad.onTransfer(address(wallet), abi.encodeCall(Wallet1271.run, (address(billing), again[i])));
            uint256 had = billing.free(PAYER);
            vm.startPrank(PAYER);
            billing.withdraw(REPORTER, uint128(UNIT));
            vm.stopPrank();
            eq(bytes32(bad.callbackError()), bytes32(guarded), "refused by the guard");
            eq(billing.free(PAYER), had - UNIT, "once");
        }
        eq(bad.balanceOf(REPORTER), again.length * UNIT, "the withdrawals");
        eq(bad.balanceOf(ALICE), 0, "nothing else");
    }

    function oneCall(bytes memory data) internal pure returns (bytes[] memory calls_) {
        calls_ = new bytes[](1);
        calls_[0] = data;
    }
}

/// @dev A wallet whose signatures are 66 bytes.
contract LongWallet {
    Wallet1271 internal immutable INNER;

    constructor(address owner) {
        INNER = new Wallet1271(owner);
    }

    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        return INNER.isValidSignature(hash, signature[:65]);
    }
}
