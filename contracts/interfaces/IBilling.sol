// SPDX-License-Identifier: Apache-2.0
// Money: deposits, lines, lanes, vouchers, settlement, payouts, bonds.
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IIdentity} from "./IIdentity.sol";

/// @notice A payer's money set aside for one gateway, one word. No other gateway can claim any of
/// it.
/// @param allotted Token units the gateway may still settle against.
/// @param thawing The part being taken back; the gateway can claim it until it is released. May
/// exceed `allotted` after a settlement.
/// @param thawEnd Seconds; 0 = no thaw.
struct Line {
    uint104 allotted;
    uint104 thawing;
    uint48 thawEnd;
}

/// @notice One session key's counter inside a line, one word. Counters never go back, so nothing
/// can be replayed.
/// @param settled Token units taken through the lane so far.
/// @param cap The most that may ever be taken through the lane.
/// @param seq Newest settled receipt.
/// @param expiry Seconds; nothing is settled after it.
/// @param mode 0 never opened, 1 prepaid, 2 signed.
struct Lane {
    uint88 settled;
    uint88 cap;
    uint40 seq;
    uint32 expiry;
    uint8 mode;
}

/// @notice What a gateway owes a payee, token units, one word; the first two only grow.
/// @param credited All that was ever credited to the payee, by batches and from the float.
/// @param withdrawn The part of `credited` that was paid out.
/// @param advanced The part of `credited` that came from the float and that no batch has paid back
/// yet.
struct Due {
    uint88 credited;
    uint88 withdrawn;
    uint80 advanced;
}

/// @notice A gateway's collateral and terms, two words: settle writes only the first.
/// @param bond Token units at stake; the gateway's fees accrue here.
/// @param unbonding The part of `bond` that unbonds: at stake until `unbondEnd`, the gateway's own
/// from then on.
/// @param batches Number of batches settled, which is the number of the next.
/// @param feeBps Fee until `feeFrom`; `nextFeeBps` from then on. Basis points.
/// @param unbondEnd Seconds; 0 = nothing is unbonding.
/// @param settleUntil While `bond` less `unbonding` is below MIN_BOND: last second in which the
/// gateway may settle; 0 = never.
struct GatewayBond {
    uint96 bond;
    uint96 unbonding;
    uint32 batches;
    uint16 feeBps;
    uint16 nextFeeBps;
    address settler;
    uint32 feeFrom;
    uint32 unbondEnd;
    uint32 settleUntil;
}

/// @notice One lane's row of a batch.
/// @param amount The lane's `settled` after this claim, token units.
/// @param ceiling The signed Voucher's ceiling, token units.
/// @param seqFrom The lane's newest settled receipt before this claim; a batch made on another
/// state fails.
/// @param seq The newest receipt that the claim covers.
/// @param receipts Root of the tree of the lane's receipts after its settled seq up to `seq`.
/// @param signature Over Voucher(payer, gateway, signer, ceiling), by the signer.
struct Claim {
    address payer;
    address signer;
    uint88 amount;
    uint88 ceiling;
    uint40 seqFrom;
    uint40 seq;
    bytes32 receipts;
    bytes signature;
}

/// @notice A payee's share of a batch, token units.
struct PayoutRow {
    address payee;
    uint128 amount;
}

/// @title IBilling
/// @notice All amounts are base units of TOKEN, all times seconds of the chain, all rates basis
/// points. The sum of events is the state: a replay of logs rebuilds every position. `...BySig`
/// does the same with the signer in place of the sender: EIP-712 domain "DeFaaS Billing" version 1,
/// keyed nonces, ECDSA first, then ERC-1271; fails also with Expired, InvalidSignature,
/// InvalidAccountNonce.
/// @dev Warning: TOKEN must be a plain ERC-20. Fees on transfer are refused at deposit; a rebasing
/// token breaks the sums; a token that can freeze accounts can freeze a payee, whom pull payments
/// isolate.
/// @dev Assumes timestamps that block producers can move by seconds, not by hours.
interface IBilling {
    event Deposited(address indexed account, uint256 amount);
    event Withdrawn(address indexed account, address indexed to, uint256 amount);
    /// @param allotted The line after the event.
    event Allotted(address indexed payer, address indexed gateway, uint256 amount, uint256 allotted);
    event LimitSet(address indexed payer, address indexed gateway, uint128 limit);
    event LaneOpened(
        address indexed payer,
        address indexed gateway,
        address indexed signer,
        uint88 cap,
        uint32 expiry,
        uint8 mode
    );
    event LaneExtended(
        address indexed payer,
        address indexed gateway,
        address indexed signer,
        uint88 cap,
        uint32 expiry
    );
    event LaneClosing(address indexed payer, address indexed gateway, address indexed signer, uint32 expiry);
    /// @notice The line's thawing part is `amount` (not more by `amount`), and its limit is 0.
    event ThawStarted(address indexed payer, address indexed gateway, uint256 amount, uint256 end);
    event ThawCancelled(address indexed payer, address indexed gateway);
    event Released(address indexed payer, address indexed gateway, uint256 amount);
    /// @notice With the lane's former values this is the claim leaf of the batch tree.
    event Claimed(
        address indexed payer,
        address indexed gateway,
        address indexed signer,
        uint88 settled,
        uint40 seq,
        bytes32 receipts
    );
    event Paid(address indexed gateway, address indexed payee, uint256 amount);
    /// @notice Moves `amount` of the preceding Paid to the float line[gateway][payee], from which
    /// the payee had collected it.
    event Refilled(address indexed gateway, address indexed payee, uint256 amount);
    /// @param root Root of the tree of this transaction's Claimed events in order.
    /// @param cid sha2-256 digest of the batch's root block, dag-cbor.
    /// @param total Taken from lines.
    /// @param fee The part of `total` that went to the gateway's bond.
    event BatchSettled(
        address indexed gateway,
        uint32 indexed batch,
        bytes32 root,
        bytes32 cid,
        uint256 total,
        uint256 fee
    );
    /// @notice Credited from the float line[gateway][payee], and advanced until batches pay it
    /// back.
    event Collected(address indexed gateway, address indexed payee, uint256 amount);
    event PaidOut(address indexed gateway, address indexed payee, uint256 amount);
    /// @param bond The bond after the event.
    event Bonded(address indexed gateway, uint256 amount, uint256 bond);
    /// @notice The gateway's unbonding part is `amount`, its own from `end` on (0 with `amount`).
    /// @param settleUntil As in GatewayBond, after the event.
    event Unbonding(address indexed gateway, uint256 amount, uint256 end, uint256 settleUntil);
    event Left(address indexed gateway, uint256 amount);
    event FeeAnnounced(address indexed gateway, uint16 bps, uint256 from);
    event SettlerSet(address indexed gateway, address settler);
    /// @param unbondEnd,settleUntil As in GatewayBond, after the event.
    event Slashed(
        address indexed gateway,
        address indexed payer,
        address indexed reporter,
        uint256 amount,
        uint256 toPayer,
        uint256 toReporter,
        uint256 unbondEnd,
        uint256 settleUntil
    );
    event Pledged(address indexed account, uint256 amount);
    event Unpledged(address indexed to, uint256 amount);
    event Paused();
    event Unpaused();

    error InvalidPeriod(string name, uint256 value);
    error InvalidBond(uint256 minBond);
    error InvalidToken(address token);
    /// @notice The contract received another amount than `amount`, or nothing.
    error UnexpectedAmount(uint256 received, uint256 amount);
    error DepositsPaused();
    error NotGuardian(address account);
    error InsufficientFree(uint256 have, uint256 want);
    error InsufficientLine(uint256 have, uint256 want);
    error InsufficientBond(uint256 have, uint256 want);
    error LaneExists();
    error LaneNotOpen();
    error LaneExpired();
    error InvalidMode(uint8 mode);
    error InvalidExpiry(uint32 expiry);
    /// @notice The bond, less what is unbonding, is too small to open lanes, or to settle any
    /// longer.
    error Underbonded(uint256 have, uint256 least);
    error WouldShrink();
    error NotThawing();
    error StillThawing(uint256 until);
    error NotUnbonding();
    /// @notice Row `index` of a batch fails with the error of selector `reason`; drop it and send
    /// again.
    error ClaimFailed(uint256 index, bytes4 reason);
    error StaleVoucher();
    error OverCeiling();
    error OverCap();
    /// @notice A batch has 1 to 256 claims.
    error InvalidBatch(uint256 claims);
    error ShareTooLow(uint256 paid, uint256 least);
    error Overpaid(uint256 paid, uint256 total);
    error NotSettler(address account);
    error NothingDue();
    error FeeTooHigh(uint16 bps);
    error NotDisputes(address account);
    /// @notice Payer and reporter together get less than half of a slash.
    error SlashedToFriends(uint256 shares, uint256 amount);
    error PledgeTooHigh(uint256 amount);
    error Expired(uint256 deadline);
    error InvalidSignature(address signer);

    /// @notice The token of all amounts here, in its smallest unit.
    function TOKEN() external view returns (IERC20);
    /// @notice Where the operator keys that sign payouts are looked up.
    function IDENTITY() external view returns (IIdentity);
    /// @notice The only contract that may slash, pledge and unpledge.
    function DISPUTES() external view returns (address);
    /// @notice May pause deposits and bonds and nothing else; zero = nobody may.
    function GUARDIAN() external view returns (address);
    /// @notice Least standing bond (bond less unbonding) with which lanes can be opened for a
    /// gateway (10 to 10 000 000 whole tokens).
    function MIN_BOND() external view returns (uint256);
    /// @notice Time from thaw to release and from closeLane to the lane's end (1 h to 30 d).
    function LINE_THAW() external view returns (uint256);
    /// @notice Time from the announcement of a fee to its start (1 h to 30 d).
    function FEE_DELAY() external view returns (uint256);
    /// @notice Time from unbond to leave (more than PROOF_WINDOW, to 365 d).
    function UNBOND() external view returns (uint256);
    /// @notice How long a batch can be disputed (1 d to 180 d).
    function PROOF_WINDOW() external view returns (uint256);
    /// @notice Greatest fee, basis points.
    function MAX_FEE_BPS() external view returns (uint16);
    /// @notice Greatest pledge for one demand: 100 whole tokens.
    function MAX_PLEDGE() external view returns (uint256);

    // Deposits

    /// @notice Takes `amount` from the sender, by allowance, into `account`'s free money. Anyone.
    /// Fails with DepositsPaused, UnexpectedAmount.
    function deposit(address account, uint256 amount) external;

    /// @notice Relays `account`'s ERC-2612 permit to this contract and deposits for it. Anyone.
    /// Fails with DepositsPaused, UnexpectedAmount, and as the token's permit and transferFrom do.
    /// @dev Warning: somebody can relay the permit to the token first. Then this call fails, but
    /// the allowance stands and `account` alone can `deposit` with it. An allowance by itself lets
    /// nobody else move `account`'s tokens.
    function depositWithPermit(
        address account,
        uint256 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice Relays `account`'s ERC-3009 receiveWithAuthorization, nonce
    /// keccak256(abi.encode(account, salt)). Fails with DepositsPaused, UnexpectedAmount, and as
    /// the token does.
    /// @param signature 65 bytes (v, r, s form of the standard), else the form with bytes that
    /// newer USDC has.
    function depositWithAuthorization(
        address account,
        uint256 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 salt,
        bytes calldata signature
    ) external;

    /// @notice Sends free money of the sender to `to`, at once. Fails with InsufficientFree.
    function withdraw(address to, uint128 amount) external;
    /// @notice Relays withdraw signed by `account` (ECDSA, else ERC-1271) until `deadline`,
    /// seconds. Anyone.
    /// Fails with Expired, InvalidSignature, InvalidAccountNonce and as withdraw.
    function withdrawBySig(
        address account,
        address to,
        uint128 amount,
        uint256 nonce,
        uint40 deadline,
        bytes calldata signature
    ) external;

    // Lines

    /// @notice Moves free money of the sender to its line for `gateway`. Fails with
    /// InsufficientFree.
    function allot(address gateway, uint128 amount) external;
    /// @notice Relays allot signed by `payer` (ECDSA, else ERC-1271) until `deadline`, seconds.
    /// Anyone.
    /// Fails with Expired, InvalidSignature, InvalidAccountNonce and as allot.
    function allotBySig(
        address payer,
        address gateway,
        uint128 amount,
        uint256 nonce,
        uint40 deadline,
        bytes calldata signature
    ) external;

    /// @notice Standing order: `gateway` may top the sender's line up to `limit` from its free
    /// money. 0 ends it. Fails if no line can hold so much (2^104).
    /// @dev Warning: a top-up may land before a withdrawal that is on its way. A payer who wants
    /// its free money out sets the limit to 0 first; `thaw` does so too.
    function setLimit(address gateway, uint128 limit) external;
    /// @notice Relays setLimit signed by `payer` (ECDSA, else ERC-1271) until `deadline`, seconds.
    /// Anyone.
    /// Fails with Expired, InvalidSignature, InvalidAccountNonce and as setLimit.
    function setLimitBySig(
        address payer,
        address gateway,
        uint128 limit,
        uint256 nonce,
        uint40 deadline,
        bytes calldata signature
    ) external;

    /// @notice Tops lines up to their limits. The gateway or its settler. A payer whose line is
    /// thawing or full, or who has nothing free, is skipped. Fails with NotSettler.
    function topUp(address gateway, address[] calldata payers) external;

    /// @notice Starts to take back `amount` of the sender's line. It can be released after
    /// LINE_THAW; until the release the gateway may settle against it. Replaces a running thaw and
    /// restarts its clock; sets the limit to 0. Fails with InsufficientLine.
    function thaw(address gateway, uint128 amount) external;
    /// @notice Relays thaw signed by `payer` (ECDSA, else ERC-1271) until `deadline`, seconds.
    /// Anyone.
    /// Fails with Expired, InvalidSignature, InvalidAccountNonce and as thaw.
    function thawBySig(
        address payer,
        address gateway,
        uint128 amount,
        uint256 nonce,
        uint40 deadline,
        bytes calldata signature
    ) external;

    /// @notice Fails with NotThawing.
    function cancelThaw(address gateway) external;
    /// @notice Relays cancelThaw signed by `payer` (ECDSA, else ERC-1271) until `deadline`,
    /// seconds. Anyone.
    /// Fails with Expired, InvalidSignature, InvalidAccountNonce and as cancelThaw.
    function cancelThawBySig(
        address payer,
        address gateway,
        uint256 nonce,
        uint40 deadline,
        bytes calldata signature
    ) external;

    /// @notice Returns the thawed amount, as far as settlements have left it, to `payer`'s free
    /// money. Anyone. Fails with NotThawing, StillThawing.
    function release(address payer, address gateway) external;

    // Lanes

    /// @notice Opens the lane of session key `signer` in the sender's line for `gateway`; also
    /// needed when signer = sender. The mode never changes. Fails with InvalidMode, LaneExists,
    /// InvalidExpiry (not in the future), Underbonded.
    /// @dev Warning: `signer` can spend up to `cap` of the line; a lost key costs at most its
    /// unacknowledged ceiling.
    function openLane(address gateway, address signer, uint128 cap, uint32 expiry, uint8 mode) external;
    /// @notice Relays openLane signed by `payer` (ECDSA, else ERC-1271) until `deadline`, seconds.
    /// Anyone.
    /// Fails with Expired, InvalidSignature, InvalidAccountNonce and as openLane.
    function openLaneBySig(
        address payer,
        address gateway,
        address signer,
        uint128 cap,
        uint32 expiry,
        uint8 mode,
        uint256 nonce,
        uint40 deadline,
        bytes calldata signature
    ) external;

    /// @notice Raises cap and expiry; neither may fall. Fails with LaneNotOpen, WouldShrink.
    function extendLane(address gateway, address signer, uint128 cap, uint32 expiry) external;
    /// @notice Relays extendLane signed by `payer` (ECDSA, else ERC-1271) until `deadline`,
    /// seconds. Anyone.
    /// Fails with Expired, InvalidSignature, InvalidAccountNonce and as extendLane.
    function extendLaneBySig(
        address payer,
        address gateway,
        address signer,
        uint128 cap,
        uint32 expiry,
        uint256 nonce,
        uint40 deadline,
        bytes calldata signature
    ) external;

    /// @notice Ends the lane after LINE_THAW at the latest. Until then the gateway may settle what
    /// it served. Fails with LaneNotOpen.
    function closeLane(address gateway, address signer) external;
    /// @notice Relays closeLane signed by `payer` (ECDSA, else ERC-1271) until `deadline`, seconds.
    /// Anyone.
    /// Fails with Expired, InvalidSignature, InvalidAccountNonce and as closeLane.
    function closeLaneBySig(
        address payer,
        address gateway,
        address signer,
        uint256 nonce,
        uint40 deadline,
        bytes calldata signature
    ) external;

    // Settlement

    /// @notice Takes the amounts that payers have signed, credits payees, and binds both to the
    /// receipts. The gateway or its settler; 1 to 256 claims. No token moves: payees pull. Works
    /// while paused. Payees get at least (10 000 - fee) / 10 000 of the total; the rest is added to
    /// the gateway's bond. A payee's share first refills the float by what the payee has collected
    /// ahead of its batches; the rest is credited.
    /// Fails with NotSettler, Underbonded, InvalidBatch, ShareTooLow, Overpaid, and ClaimFailed
    /// with one of LaneNotOpen, LaneExpired, StaleVoucher, OverCeiling, OverCap, InvalidSignature,
    /// InsufficientLine. StaleVoucher: the lane's seq is not `seqFrom`, or the claim takes nothing
    /// more.
    /// @dev Warning: an ERC-1271 payer may change its answer and fail a batch; put such payers in
    /// batches of their own.
    /// @param cid sha2-256 digest of the batch's root block on IPFS, dag-cbor; not checked.
    function settle(
        address gateway,
        Claim[] calldata claims,
        PayoutRow[] calldata payouts,
        bytes32 cid
    ) external returns (uint32 batch);

    /// @notice Credits a payee from the gateway's float line[gateway][payee], ahead of batches or
    /// if batches left it out. Anyone. The next batches that name the payee refill the float before
    /// they credit the payee, so nothing is paid twice.
    /// @param cumulative All that was ever owed to the payee, signed as Payout(gateway, payee,
    /// cumulative) by a key of the gateway in force.
    /// Fails with InvalidSignature, StaleVoucher, InsufficientLine.
    function collect(address gateway, address payee, uint128 cumulative, bytes calldata signature) external;

    /// @notice Sends a payee all it is credited by `gateway`. Anyone. Fails with NothingDue.
    function payOut(address gateway, address payee) external;

    // Bonds and terms

    /// @notice Takes `amount` from the sender, by allowance, into `gateway`'s bond. Anyone. Fails
    /// with DepositsPaused, UnexpectedAmount.
    function bond(address gateway, uint256 amount) external;

    /// @notice Starts to unbond `amount` of the sender's bond; replaces a running unbonding and
    /// restarts its clock. 0 cancels it. If less than MIN_BOND stays, the gateway can settle only
    /// until UNBOND - PROOF_WINDOW from now, so that no batch outlives its collateral. Fails with
    /// InsufficientBond.
    function unbond(uint96 amount) external;

    /// @notice Moves the unbonded amount, less slashes, to `gateway`'s free money. Anyone. Fails
    /// with NotUnbonding, StillThawing.
    function leave(address gateway) external;

    /// @notice Announces the sender's fee, in force after FEE_DELAY. Fails with FeeTooHigh.
    function announceFee(uint16 bps) external;

    /// @notice Lets `settler` send the sender's settlements and top-ups.
    function setSettler(address settler) external;

    // Disputes

    /// @notice Takes `amount` of a bond: shares to payer and reporter, the rest is burned (stays
    /// here for ever). Disputes only. The unbonding part is at stake until its end, which a slash
    /// moves to at least LINE_THAW + PROOF_WINDOW from now. With less than MIN_BOND left the
    /// gateway can settle for LINE_THAW at most. Fails with NotDisputes, InsufficientBond,
    /// SlashedToFriends.
    function slash(
        address gateway,
        uint256 amount,
        address payer,
        uint256 toPayer,
        address reporter,
        uint256 toReporter
    ) external;

    /// @notice Sets free money of `account` aside for a demand. Disputes only. Fails with
    /// NotDisputes, PledgeTooHigh, InsufficientFree.
    function pledge(address account, uint256 amount) external;

    /// @notice Returns a pledge to free money of `to`. Disputes only. Fails with NotDisputes,
    /// PledgeTooHigh, InsufficientFree.
    function unpledge(address to, uint256 amount) external;

    // Pause

    /// @notice Stops deposits and bonds; everything else keeps working. Guardian only. Fails with
    /// NotGuardian.
    function pause() external;
    /// @notice Guardian only. Fails with NotGuardian.
    function unpause() external;

    // Views

    /// @notice Deposited amount that is neither allotted nor pledged, token units.
    function free(address account) external view returns (uint256);
    /// @notice The part of a line that is not thawing, token units.
    function available(address payer, address gateway) external view returns (uint256);
    /// @notice The line of `payer` for `gateway`, token units; all zero if there is none.
    function lineOf(address payer, address gateway) external view returns (Line memory);
    /// @notice The limit up to which `gateway` may top the line up, token units; 0 = no standing
    /// order.
    function limitOf(address payer, address gateway) external view returns (uint128);
    /// @notice A lane's counters, token units and seconds; mode 0 = never opened.
    function laneOf(address payer, address gateway, address signer) external view returns (Lane memory);
    /// @notice What `gateway` has credited to `payee`, has paid out of that, and has advanced,
    /// token units.
    function dueOf(address gateway, address payee) external view returns (Due memory);
    /// @notice Credited and not yet paid out, token units.
    function claimable(address gateway, address payee) external view returns (uint256);
    /// @notice Bond, fee and settler of `gateway`; all zero if it never bonded.
    function gatewayBondOf(address gateway) external view returns (GatewayBond memory);
    /// @notice The fee in force, basis points.
    function feeOf(address gateway) external view returns (uint16);
    /// @notice Bond at stake and what of it is unbonding, MIN_BOND (token units), and the number of
    /// batches settled. A finished unbonding counts in neither, even before `leave`.
    function standing(
        address gateway
    ) external view returns (uint256 bonded, uint256 unbonding, uint256 minBond, uint256 batches);
    /// @notice keccak256(abi.encode(root, outside, claims, timestamp)) of a batch
    /// (Receipts.batchWord), or zero.
    function rootOf(address gateway, uint256 batch) external view returns (bytes32);
    /// @notice Sum of the pledges of open demands.
    function pledged() external view returns (uint256);
    /// @notice Slashed money that nobody may spend.
    function burned() external view returns (uint256);
    /// @notice Whether deposits and bonds are stopped.
    function paused() external view returns (bool);
}
