// SPDX-License-Identifier: Apache-2.0
// Deposits, lines, lanes, settlement, payouts, bonds. Money moves here once per many invocations.
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IERC3009} from "@openzeppelin/contracts/interfaces/draft-IERC3009.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";
import {NoncesKeyed} from "@openzeppelin/contracts/utils/NoncesKeyed.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Claim, Due, GatewayBond, IBilling, Lane, Line, PayoutRow} from "./interfaces/IBilling.sol";
import {IIdentity} from "./interfaces/IIdentity.sol";
import {OrderedMerkle} from "./libraries/OrderedMerkle.sol";
import {Receipts} from "./libraries/Receipts.sol";
import {Signatures} from "./libraries/Signatures.sol";
import {TypedData} from "./libraries/TypedData.sol";

/// @notice The ERC-3009 overload that takes the signature as bytes, for smart accounts; newer USDC
/// has it.
interface IERC3009Bytes {
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external;
}

/// @notice A Line in storage. The word has a flag for the limit, so that a thaw without a limit
/// need not read the limit's word.
struct StoredLine {
    uint104 allotted;
    uint104 thawing;
    uint40 thawEnd;
    bool isLimited;
}

/// @title Billing
contract Billing is IBilling, EIP712, NoncesKeyed, Multicall, ReentrancyGuardTransient {
    using SafeCast for uint256;
    using SafeERC20 for IERC20;

    uint8 private constant ROLE_GATEWAY = 1;
    uint8 private constant MAX_MODE = 2;
    uint256 private constant BPS = 10_000;
    uint256 private constant MAX_CLAIMS = 256;

    /// @inheritdoc IBilling
    uint16 public constant MAX_FEE_BPS = 3_000;

    /* IMMUTABLES */

    /// @inheritdoc IBilling
    IERC20 public immutable TOKEN;
    /// @inheritdoc IBilling
    IIdentity public immutable IDENTITY;
    /// @inheritdoc IBilling
    address public immutable DISPUTES;
    /// @inheritdoc IBilling
    address public immutable GUARDIAN;
    /// @inheritdoc IBilling
    uint256 public immutable MIN_BOND;
    /// @inheritdoc IBilling
    uint256 public immutable LINE_THAW;
    /// @inheritdoc IBilling
    uint256 public immutable FEE_DELAY;
    /// @inheritdoc IBilling
    uint256 public immutable UNBOND;
    /// @inheritdoc IBilling
    uint256 public immutable PROOF_WINDOW;
    /// @inheritdoc IBilling
    uint256 public immutable MAX_PLEDGE;

    /* STORAGE */

    /// @inheritdoc IBilling
    mapping(address account => uint256) public free;
    mapping(address payer => mapping(address gateway => StoredLine)) private _lines;
    mapping(address payer => mapping(address gateway => uint128)) private _limits;
    mapping(address payer => mapping(address gateway => mapping(address signer => Lane))) private _lanes;
    mapping(address gateway => mapping(address payee => Due)) private _dues;
    mapping(address gateway => GatewayBond) private _gateways;
    mapping(address gateway => mapping(uint256 batch => bytes32)) private _roots;
    uint128 private _pledged;
    uint128 private _burned;
    /// @inheritdoc IBilling
    bool public paused;

    /* CONSTRUCTOR */

    constructor(
        IERC20 token,
        IIdentity identity,
        address disputes,
        address guardian,
        uint256 minBond,
        uint256 lineThaw,
        uint256 feeDelay,
        uint256 unbondPeriod,
        uint256 proofWindow
    ) EIP712(TypedData.BILLING_NAME, TypedData.VERSION) {
        uint8 decimals = IERC20Metadata(address(token)).decimals();
        // Packed amounts hold 300 million tokens of 18 decimals.
        if (decimals > 18) revert InvalidToken(address(token));
        uint256 unit = 10 ** decimals;
        if (minBond < 10 * unit || minBond > 10_000_000 * unit) revert InvalidBond(minBond);
        if (lineThaw < 1 hours || lineThaw > 30 days) revert InvalidPeriod("LINE_THAW", lineThaw);
        if (feeDelay < 1 hours || feeDelay > 30 days) revert InvalidPeriod("FEE_DELAY", feeDelay);
        if (proofWindow < 1 days || proofWindow > 180 days) revert InvalidPeriod("PROOF_WINDOW", proofWindow);
        // A retiring gateway needs time to settle the thawing lines, and its last batch must not
        // outlive its bond.
        if (unbondPeriod <= proofWindow + lineThaw || unbondPeriod > 365 days) {
            revert InvalidPeriod("UNBOND", unbondPeriod);
        }
        TOKEN = token;
        IDENTITY = identity;
        DISPUTES = disputes;
        GUARDIAN = guardian;
        MIN_BOND = minBond;
        LINE_THAW = lineThaw;
        FEE_DELAY = feeDelay;
        UNBOND = unbondPeriod;
        PROOF_WINDOW = proofWindow;
        MAX_PLEDGE = 100 * unit;
    }

    modifier whenNotPaused() {
        if (paused) revert DepositsPaused();
        _;
    }

    modifier onlyDisputes() {
        if (msg.sender != DISPUTES) revert NotDisputes(msg.sender);
        _;
    }

    /* DEPOSITS */

    /// @inheritdoc IBilling
    function deposit(address account, uint256 amount) external nonReentrant whenNotPaused {
        _pull(msg.sender, amount);
        _deposited(account, amount);
    }

    /// @inheritdoc IBilling
    function depositWithPermit(
        address account,
        uint256 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external nonReentrant whenNotPaused {
        IERC20Permit(address(TOKEN)).permit(account, address(this), amount, deadline, v, r, s);
        _pull(account, amount);
        _deposited(account, amount);
    }

    /// @inheritdoc IBilling
    function depositWithAuthorization(
        address account,
        uint256 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 salt,
        bytes calldata signature
    ) external nonReentrant whenNotPaused {
        uint256 before = TOKEN.balanceOf(address(this));
        bytes32 nonce = keccak256(abi.encode(account, salt));
        if (signature.length == 65) {
            (uint8 v, bytes32 r, bytes32 s) = ECDSA.parseCalldata(signature);
            IERC3009(address(TOKEN)).receiveWithAuthorization(
                account,
                address(this),
                amount,
                validAfter,
                validBefore,
                nonce,
                v,
                r,
                s
            );
        } else {
            IERC3009Bytes(address(TOKEN)).receiveWithAuthorization(
                account,
                address(this),
                amount,
                validAfter,
                validBefore,
                nonce,
                signature
            );
        }
        _checkReceived(before, amount);
        _deposited(account, amount);
    }

    /// @inheritdoc IBilling
    function withdraw(address to, uint128 amount) external nonReentrant {
        _withdraw(msg.sender, to, amount);
    }

    /// @inheritdoc IBilling
    function withdrawBySig(
        address account,
        address to,
        uint128 amount,
        uint256 nonce,
        uint40 deadline,
        bytes calldata signature
    ) external nonReentrant {
        bytes32 structHash = keccak256(
            abi.encode(TypedData.WITHDRAW_TYPEHASH, account, to, amount, nonce, deadline)
        );
        _authorize(account, structHash, nonce, deadline, signature);
        _withdraw(account, to, amount);
    }

    /* LINES */

    /// @inheritdoc IBilling
    function allot(address gateway, uint128 amount) external {
        _allot(msg.sender, gateway, amount);
    }

    /// @inheritdoc IBilling
    function allotBySig(
        address payer,
        address gateway,
        uint128 amount,
        uint256 nonce,
        uint40 deadline,
        bytes calldata signature
    ) external {
        bytes32 structHash = keccak256(
            abi.encode(TypedData.ALLOT_TYPEHASH, payer, gateway, amount, nonce, deadline)
        );
        _authorize(payer, structHash, nonce, deadline, signature);
        _allot(payer, gateway, amount);
    }

    /// @inheritdoc IBilling
    function setLimit(address gateway, uint128 limit) external {
        _setLimit(msg.sender, gateway, limit);
    }

    /// @inheritdoc IBilling
    function setLimitBySig(
        address payer,
        address gateway,
        uint128 limit,
        uint256 nonce,
        uint40 deadline,
        bytes calldata signature
    ) external {
        bytes32 structHash = keccak256(
            abi.encode(TypedData.SET_LIMIT_TYPEHASH, payer, gateway, limit, nonce, deadline)
        );
        _authorize(payer, structHash, nonce, deadline, signature);
        _setLimit(payer, gateway, limit);
    }

    /// @inheritdoc IBilling
    function topUp(address gateway, address[] calldata payers) external {
        if (msg.sender != gateway && msg.sender != _gateways[gateway].settler) revert NotSettler(msg.sender);
        for (uint256 i = 0; i < payers.length; ++i) {
            address payer = payers[i];
            StoredLine storage line = _lines[payer][gateway];
            uint256 limit = _limits[payer][gateway];
            uint256 allotted = line.allotted;
            uint256 amount = free[payer];
            if (line.thawing != 0 || allotted >= limit || amount == 0) continue;
            if (amount > limit - allotted) amount = limit - allotted;
            _allot(payer, gateway, amount);
        }
    }

    /// @inheritdoc IBilling
    function thaw(address gateway, uint128 amount) external {
        _thaw(msg.sender, gateway, amount);
    }

    /// @inheritdoc IBilling
    function thawBySig(
        address payer,
        address gateway,
        uint128 amount,
        uint256 nonce,
        uint40 deadline,
        bytes calldata signature
    ) external {
        bytes32 structHash = keccak256(
            abi.encode(TypedData.THAW_TYPEHASH, payer, gateway, amount, nonce, deadline)
        );
        _authorize(payer, structHash, nonce, deadline, signature);
        _thaw(payer, gateway, amount);
    }

    /// @inheritdoc IBilling
    function cancelThaw(address gateway) external {
        _cancelThaw(msg.sender, gateway);
    }

    /// @inheritdoc IBilling
    function cancelThawBySig(
        address payer,
        address gateway,
        uint256 nonce,
        uint40 deadline,
        bytes calldata signature
    ) external {
        bytes32 structHash = keccak256(
            abi.encode(TypedData.CANCEL_THAW_TYPEHASH, payer, gateway, nonce, deadline)
        );
        _authorize(payer, structHash, nonce, deadline, signature);
        _cancelThaw(payer, gateway);
    }

    /// @inheritdoc IBilling
    function release(address payer, address gateway) external {
        StoredLine storage stored = _lines[payer][gateway];
        StoredLine memory line = stored;
        if (line.thawing == 0) revert NotThawing();
        if (block.timestamp < line.thawEnd) revert StillThawing(line.thawEnd);
        uint104 amount = line.thawing < line.allotted ? line.thawing : line.allotted;
        unchecked {
            // amount <= allotted
            line.allotted -= amount;
        }
        line.thawing = 0;
        line.thawEnd = 0;
        _write(stored, line);
        free[payer] += amount;
        emit Released(payer, gateway, amount);
    }

    /* LANES */

    /// @inheritdoc IBilling
    function openLane(address gateway, address signer, uint128 cap, uint32 expiry, uint8 mode) external {
        _openLane(msg.sender, gateway, signer, cap, expiry, mode);
    }

    /// @inheritdoc IBilling
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
    ) external {
        bytes32 structHash = keccak256(
            abi.encode(
                TypedData.OPEN_LANE_TYPEHASH,
                payer,
                gateway,
                signer,
                cap,
                expiry,
                mode,
                nonce,
                deadline
            )
        );
        _authorize(payer, structHash, nonce, deadline, signature);
        _openLane(payer, gateway, signer, cap, expiry, mode);
    }

    /// @inheritdoc IBilling
    function extendLane(address gateway, address signer, uint128 cap, uint32 expiry) external {
        _extendLane(msg.sender, gateway, signer, cap, expiry);
    }

    /// @inheritdoc IBilling
    function extendLaneBySig(
        address payer,
        address gateway,
        address signer,
        uint128 cap,
        uint32 expiry,
        uint256 nonce,
        uint40 deadline,
        bytes calldata signature
    ) external {
        bytes32 structHash = keccak256(
            abi.encode(TypedData.EXTEND_LANE_TYPEHASH, payer, gateway, signer, cap, expiry, nonce, deadline)
        );
        _authorize(payer, structHash, nonce, deadline, signature);
        _extendLane(payer, gateway, signer, cap, expiry);
    }

    /// @inheritdoc IBilling
    function closeLane(address gateway, address signer) external {
        _closeLane(msg.sender, gateway, signer);
    }

    /// @inheritdoc IBilling
    function closeLaneBySig(
        address payer,
        address gateway,
        address signer,
        uint256 nonce,
        uint40 deadline,
        bytes calldata signature
    ) external {
        bytes32 structHash = keccak256(
            abi.encode(TypedData.CLOSE_LANE_TYPEHASH, payer, gateway, signer, nonce, deadline)
        );
        _authorize(payer, structHash, nonce, deadline, signature);
        _closeLane(payer, gateway, signer);
    }

    /* SETTLEMENT */

    /// @inheritdoc IBilling
    function settle(
        address gateway,
        Claim[] calldata claims,
        PayoutRow[] calldata payouts,
        bytes32 cid
    ) external returns (uint32 batch) {
        GatewayBond storage stored = _gateways[gateway];
        GatewayBond memory g = stored;
        if (msg.sender != gateway && msg.sender != g.settler) revert NotSettler(msg.sender);
        uint256 standingBond = _standingBond(g.bond, g.unbonding);
        if (standingBond < MIN_BOND && block.timestamp > g.settleUntil) {
            revert Underbonded(standingBond, MIN_BOND);
        }
        if (claims.length == 0 || claims.length > MAX_CLAIMS) revert InvalidBatch(claims.length);

        (bytes32 root, uint256 total) = _take(gateway, claims);
        uint256 paid = _credit(gateway, payouts);
        _checkShare(total, paid, _fee(g));

        batch = g.batches;
        g.bond = (g.bond + total - paid).toUint96();
        g.batches = batch + 1;
        _write(stored, g);
        _roots[gateway][batch] = Receipts.batchWord(root, 0, claims.length, block.timestamp);
        emit BatchSettled(gateway, batch, root, cid, total, total - paid);
    }

    /// @inheritdoc IBilling
    function collect(address gateway, address payee, uint128 cumulative, bytes calldata signature) external {
        address key = Signatures.recover(
            _hashTypedDataV4(TypedData.hashPayout(gateway, payee, cumulative)),
            signature
        );
        if (!IDENTITY.isKeyInForce(key, gateway, ROLE_GATEWAY)) revert InvalidSignature(key);
        Due storage stored = _dues[gateway][payee];
        Due memory due = stored;
        if (cumulative <= due.credited) revert StaleVoucher();
        uint256 amount = cumulative - due.credited;
        StoredLine storage line = _lines[gateway][payee];
        if (amount > line.allotted) revert InsufficientLine(line.allotted, amount);
        // amount <= allotted < 2^104
        line.allotted -= uint104(amount);
        _write(
            stored,
            Due(uint256(cumulative).toUint88(), due.withdrawn, (due.advanced + amount).toUint80())
        );
        emit Collected(gateway, payee, amount);
    }

    /// @inheritdoc IBilling
    function payOut(address gateway, address payee) external nonReentrant {
        Due storage due = _dues[gateway][payee];
        uint88 credited = due.credited;
        uint256 amount = credited - due.withdrawn;
        if (amount == 0) revert NothingDue();
        due.withdrawn = credited;
        emit PaidOut(gateway, payee, amount);
        TOKEN.safeTransfer(payee, amount);
    }

    /* BONDS AND TERMS */

    /// @inheritdoc IBilling
    function bond(address gateway, uint256 amount) external nonReentrant whenNotPaused {
        _pull(msg.sender, amount);
        GatewayBond storage g = _gateways[gateway];
        uint96 bonded = (g.bond + amount).toUint96();
        g.bond = bonded;
        emit Bonded(gateway, amount, bonded);
    }

    /// @inheritdoc IBilling
    function unbond(uint96 amount) external {
        GatewayBond storage g = _gateways[msg.sender];
        uint96 bonded = g.bond;
        if (amount > bonded) revert InsufficientBond(bonded, amount);
        uint32 until = g.settleUntil;
        if (_standingBond(bonded, g.unbonding) >= MIN_BOND && _standingBond(bonded, amount) < MIN_BOND) {
            until = _timeIn(UNBOND - PROOF_WINDOW);
            g.settleUntil = until;
        }
        uint32 end = amount == 0 ? 0 : _timeIn(UNBOND);
        g.unbonding = amount;
        g.unbondEnd = end;
        emit Unbonding(msg.sender, amount, end, until);
    }

    /// @inheritdoc IBilling
    function leave(address gateway) external {
        GatewayBond storage g = _gateways[gateway];
        (uint96 bonded, uint96 amount) = (g.bond, g.unbonding);
        if (amount == 0) revert NotUnbonding();
        if (block.timestamp < g.unbondEnd) revert StillThawing(g.unbondEnd);
        if (amount > bonded) amount = bonded;
        g.bond = bonded - amount;
        g.unbonding = 0;
        g.unbondEnd = 0;
        free[gateway] += amount;
        emit Left(gateway, amount);
    }

    /// @inheritdoc IBilling
    function announceFee(uint16 bps) external {
        if (bps > MAX_FEE_BPS) revert FeeTooHigh(bps);
        GatewayBond storage g = _gateways[msg.sender];
        g.feeBps = _fee(g);
        g.nextFeeBps = bps;
        uint32 from = _timeIn(FEE_DELAY);
        g.feeFrom = from;
        emit FeeAnnounced(msg.sender, bps, from);
    }

    /// @inheritdoc IBilling
    function setSettler(address settler) external {
        _gateways[msg.sender].settler = settler;
        emit SettlerSet(msg.sender, settler);
    }

    /* DISPUTES */

    /// @inheritdoc IBilling
    function slash(
        address gateway,
        uint256 amount,
        address payer,
        uint256 toPayer,
        address reporter,
        uint256 toReporter
    ) external onlyDisputes {
        GatewayBond storage stored = _gateways[gateway];
        GatewayBond memory g = stored;
        (uint256 atStake, uint256 unbonding) = _atStake(g);
        if (amount > atStake) revert InsufficientBond(atStake, amount);
        uint256 shares = toPayer + toReporter;
        if (2 * shares >= amount) revert SlashedToFriends(shares, amount);
        bool stood = _standingBond(g.bond, g.unbonding) >= MIN_BOND;
        // amount <= bond < 2^96
        g.bond -= uint96(amount);
        stored.bond = g.bond;
        if (_standingBond(g.bond, g.unbonding) < MIN_BOND) {
            uint32 until = _timeIn(LINE_THAW);
            if (stood || (g.bond < MIN_BOND && until < g.settleUntil)) g.settleUntil = until;
        }
        if (unbonding > 0) {
            // No later batch may outlive the collateral at stake.
            uint32 least = _timeIn(LINE_THAW + PROOF_WINDOW);
            if (g.unbondEnd < least) g.unbondEnd = least;
        }
        (stored.unbondEnd, stored.settleUntil) = (g.unbondEnd, g.settleUntil);
        if (toPayer > 0) free[payer] += toPayer;
        if (toReporter > 0) free[reporter] += toReporter;
        _burned += uint128(amount - shares);
        emit Slashed(gateway, payer, reporter, amount, toPayer, toReporter, g.unbondEnd, g.settleUntil);
    }

    /// @inheritdoc IBilling
    function pledge(address account, uint256 amount) external onlyDisputes {
        if (amount > MAX_PLEDGE) revert PledgeTooHigh(amount);
        _spendFree(account, amount);
        _pledged += uint128(amount);
        emit Pledged(account, amount);
    }

    /// @inheritdoc IBilling
    function unpledge(address to, uint256 amount) external onlyDisputes {
        if (amount > MAX_PLEDGE) revert PledgeTooHigh(amount);
        if (amount > _pledged) revert InsufficientFree(_pledged, amount);
        _pledged -= uint128(amount);
        free[to] += amount;
        emit Unpledged(to, amount);
    }

    /* PAUSE */

    /// @inheritdoc IBilling
    function pause() external {
        if (msg.sender != GUARDIAN) revert NotGuardian(msg.sender);
        paused = true;
        emit Paused();
    }

    /// @inheritdoc IBilling
    function unpause() external {
        if (msg.sender != GUARDIAN) revert NotGuardian(msg.sender);
        paused = false;
        emit Unpaused();
    }

    /* INTERNAL: TOKENS AND SIGNATURES */

    function _pull(address from, uint256 amount) private {
        uint256 before = TOKEN.balanceOf(address(this));
        TOKEN.safeTransferFrom(from, address(this), amount);
        _checkReceived(before, amount);
    }

    function _checkReceived(uint256 before, uint256 amount) private view {
        uint256 received = TOKEN.balanceOf(address(this)) - before;
        if (received != amount || amount == 0) revert UnexpectedAmount(received, amount);
    }

    function _deposited(address account, uint256 amount) private {
        free[account] += amount;
        emit Deposited(account, amount);
    }

    function _spendFree(address account, uint256 amount) private {
        uint256 have = free[account];
        if (amount > have) revert InsufficientFree(have, amount);
        free[account] = have - amount;
    }

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

    /* INTERNAL: POSITIONS OF A PAYER */

    function _withdraw(address account, address to, uint256 amount) private {
        _spendFree(account, amount);
        emit Withdrawn(account, to, amount);
        TOKEN.safeTransfer(to, amount);
    }

    function _allot(address payer, address gateway, uint256 amount) private {
        _spendFree(payer, amount);
        StoredLine storage line = _lines[payer][gateway];
        uint104 allotted = (line.allotted + amount).toUint104();
        line.allotted = allotted;
        emit Allotted(payer, gateway, amount, allotted);
    }

    function _setLimit(address payer, address gateway, uint128 limit) private {
        // A limit that no line can hold would make every topUp that lists the payer revert.
        _limits[payer][gateway] = uint256(limit).toUint104();
        _lines[payer][gateway].isLimited = limit != 0;
        emit LimitSet(payer, gateway, limit);
    }

    function _thaw(address payer, address gateway, uint256 amount) private {
        StoredLine storage stored = _lines[payer][gateway];
        StoredLine memory line = stored;
        if (amount > line.allotted) revert InsufficientLine(line.allotted, amount);
        uint40 end;
        unchecked {
            // a time of the chain and at most 30 days
            end = uint40(block.timestamp + LINE_THAW);
        }
        // amount <= allotted < 2^104
        _write(stored, StoredLine(line.allotted, uint104(amount), end, false));
        if (line.isLimited) _limits[payer][gateway] = 0;
        emit ThawStarted(payer, gateway, amount, end);
    }

    function _cancelThaw(address payer, address gateway) private {
        StoredLine storage line = _lines[payer][gateway];
        if (line.thawing == 0) revert NotThawing();
        line.thawing = 0;
        line.thawEnd = 0;
        emit ThawCancelled(payer, gateway);
    }

    function _openLane(
        address payer,
        address gateway,
        address signer,
        uint256 cap,
        uint32 expiry,
        uint8 mode
    ) private {
        if (mode == 0 || mode > MAX_MODE) revert InvalidMode(mode);
        if (expiry <= block.timestamp) revert InvalidExpiry(expiry);
        Lane storage lane = _lanes[payer][gateway][signer];
        if (lane.mode != 0) revert LaneExists();
        GatewayBond storage g = _gateways[gateway];
        uint256 standingBond = _standingBond(g.bond, g.unbonding);
        if (standingBond < MIN_BOND) revert Underbonded(standingBond, MIN_BOND);
        uint88 packedCap = cap.toUint88();
        _write(lane, Lane(0, packedCap, 0, expiry, mode));
        emit LaneOpened(payer, gateway, signer, packedCap, expiry, mode);
    }

    function _extendLane(address payer, address gateway, address signer, uint256 cap, uint32 expiry) private {
        Lane storage lane = _lanes[payer][gateway][signer];
        if (lane.mode == 0) revert LaneNotOpen();
        uint88 packedCap = cap.toUint88();
        if (packedCap < lane.cap || expiry < lane.expiry) revert WouldShrink();
        lane.cap = packedCap;
        lane.expiry = expiry;
        emit LaneExtended(payer, gateway, signer, packedCap, expiry);
    }

    function _closeLane(address payer, address gateway, address signer) private {
        Lane storage lane = _lanes[payer][gateway][signer];
        if (lane.mode == 0) revert LaneNotOpen();
        uint256 end = block.timestamp + LINE_THAW;
        // the smaller of the two, so it fits
        if (end < lane.expiry) lane.expiry = uint32(end);
        emit LaneClosing(payer, gateway, signer, lane.expiry);
    }

    /* INTERNAL: SETTLEMENT */

    function _take(address gateway, Claim[] calldata claims) private returns (bytes32 root, uint256 total) {
        bytes32 separator = _domainSeparatorV4();
        bytes32[] memory leaves = new bytes32[](claims.length);
        for (uint256 i = 0; i < claims.length; ++i) {
            Claim calldata claim = claims[i];
            Lane storage lane = _lanes[claim.payer][gateway][claim.signer];
            StoredLine storage line = _lines[claim.payer][gateway];
            (bytes4 reason, Lane memory was) = _check(gateway, claim, lane, separator);
            // A claim that passed has amount >= settled.
            uint104 allotted = line.allotted;
            uint104 delta = reason == 0 ? claim.amount - was.settled : 0;
            if (delta > allotted) reason = InsufficientLine.selector;
            if (reason != 0) revert ClaimFailed(i, reason);

            line.allotted = allotted - delta;
            _write(lane, Lane(claim.amount, was.cap, claim.seq, was.expiry, was.mode));
            total += delta;
            leaves[i] = Receipts.hashClaim(
                claim.payer,
                claim.signer,
                was.settled,
                claim.amount,
                was.seq,
                claim.seq,
                claim.receipts
            );
            emit Claimed(claim.payer, gateway, claim.signer, claim.amount, claim.seq, claim.receipts);
        }
        root = OrderedMerkle.rootOf(leaves);
    }

    /// @return reason Selector of the error, or 0.
    function _check(
        address gateway,
        Claim calldata claim,
        Lane storage stored,
        bytes32 separator
    ) private view returns (bytes4 reason, Lane memory lane) {
        lane = stored;
        if (lane.mode == 0) return (LaneNotOpen.selector, lane);
        if (block.timestamp > lane.expiry) return (LaneExpired.selector, lane);
        if (claim.seqFrom != lane.seq || claim.seq <= lane.seq || claim.amount < lane.settled) {
            return (StaleVoucher.selector, lane);
        }
        if (claim.amount > claim.ceiling) return (OverCeiling.selector, lane);
        if (claim.amount > lane.cap) return (OverCap.selector, lane);
        bytes32 digest = MessageHashUtils.toTypedDataHash(
            separator,
            TypedData.hashVoucher(claim.payer, gateway, claim.signer, claim.ceiling)
        );
        bool isSigned = claim.signer == claim.payer
            ? Signatures.isFromAccount(claim.signer, digest, claim.signature)
            : Signatures.isFromKey(claim.signer, digest, claim.signature);
        if (!isSigned) reason = InvalidSignature.selector;
    }

    function _credit(address gateway, PayoutRow[] calldata payouts) private returns (uint256 paid) {
        for (uint256 i = 0; i < payouts.length; ++i) {
            (address payee, uint256 amount) = (payouts[i].payee, payouts[i].amount);
            // amount < 2^128, and a batch has few payouts
            unchecked {
                paid += amount;
            }
            emit Paid(gateway, payee, amount);
            Due storage due = _dues[gateway][payee];
            if (due.advanced > 0 && amount > 0) amount -= _refill(gateway, payee, due, amount);
            due.credited = (due.credited + amount).toUint88();
        }
    }

    /// @dev Refills the float by what the payee collected ahead of this batch.
    function _refill(
        address gateway,
        address payee,
        Due storage due,
        uint256 amount
    ) private returns (uint256 refilled) {
        uint80 advanced = due.advanced;
        refilled = amount < advanced ? amount : advanced;
        // refilled <= advanced < 2^80
        due.advanced = advanced - uint80(refilled);
        _lines[gateway][payee].allotted += uint104(refilled);
        emit Refilled(gateway, payee, refilled);
    }

    function _checkShare(uint256 total, uint256 paid, uint256 feeBps) private pure {
        if (paid > total) revert Overpaid(paid, total);
        uint256 least = (total * (BPS - feeBps) + BPS - 1) / BPS;
        if (paid < least) revert ShareTooLow(paid, least);
    }

    /// @dev The amount that a slash can take, and the unbonding part of it. After its unbonding
    /// money belongs to the gateway.
    function _atStake(GatewayBond memory g) private view returns (uint256 bonded, uint256 unbonding) {
        if (block.timestamp >= g.unbondEnd) return (_standingBond(g.bond, g.unbonding), 0);
        return (g.bond, g.unbonding);
    }

    function _standingBond(uint256 bonded, uint256 unbonding) private pure returns (uint256) {
        return bonded > unbonding ? bonded - unbonding : 0;
    }

    /// @dev Times have 32 bits, to February 2106, when every lane has expired. Later times are
    /// capped there, so that no exit gets stuck.
    function _timeIn(uint256 delay) private view returns (uint32) {
        uint256 time = block.timestamp + delay;
        return time < type(uint32).max ? uint32(time) : type(uint32).max;
    }

    function _fee(GatewayBond memory g) private view returns (uint16) {
        return block.timestamp >= g.feeFrom ? g.nextFeeBps : g.feeBps;
    }

    /* INTERNAL: PACKING */

    /// @dev Writes the word once; the compiler would write each field separately.
    function _write(StoredLine storage to, StoredLine memory line) private {
        uint256 word = uint256(line.allotted) |
            (uint256(line.thawing) << 104) |
            (uint256(line.thawEnd) << 208);
        bool isLimited = line.isLimited;
        assembly ("memory-safe") {
            sstore(to.slot, or(word, shl(248, isLimited)))
        }
    }

    /// @dev Writes the word once, as for a line.
    function _write(Lane storage to, Lane memory lane) private {
        uint256 word = uint256(lane.settled) |
            (uint256(lane.cap) << 88) |
            (uint256(lane.seq) << 176) |
            (uint256(lane.expiry) << 216) |
            (uint256(lane.mode) << 248);
        assembly ("memory-safe") {
            sstore(to.slot, word)
        }
    }

    /// @dev Writes the first of the two words once, as for a line.
    function _write(GatewayBond storage to, GatewayBond memory g) private {
        uint256 word = uint256(g.bond) |
            (uint256(g.unbonding) << 96) |
            (uint256(g.batches) << 192) |
            (uint256(g.feeBps) << 224) |
            (uint256(g.nextFeeBps) << 240);
        assembly ("memory-safe") {
            sstore(to.slot, word)
        }
    }

    /// @dev Writes the word once, as for a line.
    function _write(Due storage to, Due memory due) private {
        uint256 word = uint256(due.credited) |
            (uint256(due.withdrawn) << 88) |
            (uint256(due.advanced) << 176);
        assembly ("memory-safe") {
            sstore(to.slot, word)
        }
    }

    /* VIEW */

    /// @inheritdoc IBilling
    function available(address payer, address gateway) external view returns (uint256) {
        StoredLine memory line = _lines[payer][gateway];
        return line.allotted > line.thawing ? line.allotted - line.thawing : 0;
    }

    /// @inheritdoc IBilling
    function lineOf(address payer, address gateway) external view returns (Line memory) {
        StoredLine memory line = _lines[payer][gateway];
        return Line(line.allotted, line.thawing, line.thawEnd);
    }

    /// @inheritdoc IBilling
    function limitOf(address payer, address gateway) external view returns (uint128) {
        return _limits[payer][gateway];
    }

    /// @inheritdoc IBilling
    function laneOf(address payer, address gateway, address signer) external view returns (Lane memory) {
        return _lanes[payer][gateway][signer];
    }

    /// @inheritdoc IBilling
    function dueOf(address gateway, address payee) external view returns (Due memory) {
        return _dues[gateway][payee];
    }

    /// @inheritdoc IBilling
    function claimable(address gateway, address payee) external view returns (uint256) {
        Due memory due = _dues[gateway][payee];
        return due.credited - due.withdrawn;
    }

    /// @inheritdoc IBilling
    function gatewayBondOf(address gateway) external view returns (GatewayBond memory) {
        return _gateways[gateway];
    }

    /// @inheritdoc IBilling
    function feeOf(address gateway) external view returns (uint16) {
        return _fee(_gateways[gateway]);
    }

    /// @inheritdoc IBilling
    function standing(
        address gateway
    ) external view returns (uint256 bonded, uint256 unbonding, uint256 minBond, uint256 batches) {
        GatewayBond memory g = _gateways[gateway];
        (bonded, unbonding) = _atStake(g);
        return (bonded, unbonding, MIN_BOND, g.batches);
    }

    /// @inheritdoc IBilling
    function rootOf(address gateway, uint256 batch) external view returns (bytes32) {
        return _roots[gateway][batch];
    }

    /// @inheritdoc IBilling
    function pledged() external view returns (uint256) {
        return _pledged;
    }

    /// @inheritdoc IBilling
    function burned() external view returns (uint256) {
        return _burned;
    }
}
