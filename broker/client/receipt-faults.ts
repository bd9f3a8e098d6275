// The checks of one receipt of a settled batch against the chain (docs/trust.md): its group's
// signature, its price, its Call, the draw of its deployment. The audit runs them on every receipt.
import type { ChainView, SettledBatch } from '../../contracts/chain/types.ts';
import { drawOrder, drawSeed } from '../../contracts/libraries/draw.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { verifyPath } from '../../contracts/libraries/ordered-merkle.ts';
import type { Claim } from '../../contracts/libraries/receipts.ts';
import { priceOf } from '../../contracts/libraries/tariffs.ts';
import {
  type Eip712Domain,
  hashReceiptGroup,
  hashToSign,
} from '../../contracts/libraries/typed-data.ts';
import { type BatchReceipt, type FailedAttempt, PASSED_OVER } from './batch-format.ts';
import type { Fault } from './findings.ts';

/** Most group signers in memory: receipts of one group stand close together. */
const MAX_SIGNERS = 4096;
/** Lane mode in which the payer's key signs every Call (docs/contracts.md 3). */
const SIGNED = 2;
/** Hex digits kept of a charged call's hash, to find a second charge: 64 bits. */
const CALL_MARK_LENGTH = 18;

/** What the checks read of the chain. */
export type ReceiptView = Pick<
  ChainView,
  | 'versionByHash'
  | 'deploymentById'
  | 'candidates'
  | 'epochOf'
  | 'latestEpochAt'
  | 'operatorKeys'
  | 'lane'
>;

/** The account that signed a digest by ECDSA; undefined where the signature recovers to nobody. */
export type Recover = (digest: Hex, signature: Hex) => Address | undefined;

/** What the checks need, and what they remember from receipt to receipt. */
export interface ReceiptContext {
  readonly view: ReceiptView;
  /** Billing's domain: receipts belong to one chain and one token. */
  readonly domain: Eip712Domain;
  readonly recover: Recover;
  /** As in AuditOptions. */
  readonly finalAfterBlocks?: number;
  /** Marks of the charged calls of each lane. */
  readonly charged: Map<string, Set<string>>;
  /** Group -> its signer; undefined when the signature recovers to nobody. */
  readonly signers: Map<string, Address | undefined>;
}

/** D3: the receipt names its lane, has the next seq, and continues the cumulative sum. */
export function* orderFaults(
  { receipt }: BatchReceipt,
  claim: Claim,
  gateway: Address,
  index: number,
  before: bigint,
): Generator<Fault> {
  const expected = claim.seqFrom + 1 + index;
  if (receipt.seq !== expected) {
    const message = `seq ${receipt.seq} stands where ${expected} belongs`;
    yield { code: 'RECEIPT_MISPLACED', units: receipt.price, message };
  }
  if (!isOfLane(receipt, claim, gateway)) {
    const message = `names the lane ${receipt.payer}:${receipt.signer} at ${receipt.gateway}`;
    yield { code: 'RECEIPT_OF_OTHER_LANE', units: receipt.price, message };
  }
  const sum = before + receipt.price;
  if (receipt.cumulative !== sum) {
    const message = `has the sum ${receipt.cumulative} after ${before} and a price of ${receipt.price}`;
    // The units are known at the end of the lane only: breaks may cancel each other out.
    yield { code: 'CUMULATIVE_BREAK', units: 0n, message };
  }
}

/** D4, D5, D6: the receipt's contents against the chain. */
export function* receiptFaults(
  context: ReceiptContext,
  settled: SettledBatch,
  claim: Claim,
  item: BatchReceipt,
  leaf: Hex,
): Generator<Fault> {
  yield* groupFaults(context, settled, item, leaf);
  yield* priceFaults(context, item);
  yield* callFaults(context, settled, claim, item);
  yield* drawFaults(context, settled, claim, item);
}

function* groupFaults(
  context: ReceiptContext,
  settled: SettledBatch,
  { receipt, execution, group }: BatchReceipt,
  leaf: Hex,
): Generator<Fault> {
  const units = receipt.price;
  if (!verifyPath(leaf, group.index, group.count, group.path, group.root)) {
    const message = `does not stand at ${group.index} of the signed group ${group.root}`;
    yield { code: 'GROUP_PATH_INVALID', units, message };
  }
  const signer = groupSigner(context, settled.gateway, group);
  const key = context.view.operatorKeys(settled.gateway).find((known) => known.key === signer);
  const isInForce =
    key !== undefined &&
    key.fromSec <= settled.timestampSec &&
    (key.untilSec === 0 || execution.finishedAtSec <= key.untilSec);
  if (!isInForce) {
    const message = `its group is signed by ${signer ?? 'nobody'}, no key of the gateway in force then`;
    yield { code: 'GROUP_SIGNATURE_INVALID', units, message };
  }
}

function* priceFaults(
  context: ReceiptContext,
  { receipt, call, execution }: BatchReceipt,
): Generator<Fault> {
  const terms = context.view.versionByHash(call.functionVersion);
  if (!terms) {
    const message = `is for the version ${call.functionVersion}, which was never published`;
    yield { code: 'VERSION_UNKNOWN', units: receipt.price, message };
    return;
  }
  const price = priceOf(execution, terms);
  if (receipt.price > price) {
    const units = receipt.price - price;
    const message = `costs ${receipt.price}, by the version's tariff ${price}`;
    yield { code: 'PRICE_ABOVE_TARIFF', units, message };
  }
}

/** D5: against the Call. A receipt with price 0 charges nothing, so it is not checked. */
function* callFaults(
  context: ReceiptContext,
  settled: SettledBatch,
  claim: Claim,
  { receipt, call, callSignature, execution }: BatchReceipt,
): Generator<Fault> {
  if (receipt.price === 0n) return;
  const units = receipt.price;
  if (receipt.price > call.maxPrice) {
    const message = `costs ${receipt.price}, at most ${call.maxPrice} was agreed`;
    yield { code: 'PRICE_ABOVE_MAX', units: receipt.price - call.maxPrice, message };
  }
  if (execution.finishedAtSec > call.deadlineSec) {
    const message = `ended at ${execution.finishedAtSec}, its deadline was ${call.deadlineSec}`;
    yield { code: 'DEADLINE_PASSED', units, message };
  }
  if (execution.input !== call.input) {
    yield { code: 'INPUT_MISMATCH', units, message: 'ran on another input than the Call’s' };
  }
  if (!isOfLane(call, claim, settled.gateway)) {
    const message = `its Call names the lane ${call.payer}:${call.signer} at ${call.gateway}`;
    yield { code: 'CALL_OF_OTHER_LANE', units, message };
  }
  const charged = chargedCalls(context, laneKey(settled.gateway, claim.payer, claim.signer));
  const mark = receipt.call.slice(0, CALL_MARK_LENGTH);
  if (charged.has(mark)) {
    const message = `the call ${receipt.call} was charged before`;
    yield { code: 'CALL_CHARGED_TWICE', units, message };
  }
  charged.add(mark);
  if (!isSignedLane(context, settled.gateway, claim)) return;
  const digest = hashToSign(context.domain, receipt.call);
  if (!callSignature || context.recover(digest, callSignature) !== claim.signer) {
    yield { code: 'CALL_UNSIGNED', units, message: 'the lane’s key has not signed its Call' };
  }
}

/**
 * D6: the deployment that ran is at the receipt's place in the drawn order, the places before it
 * are accounted for, and its provider is the one that is paid.
 */
function* drawFaults(
  context: ReceiptContext,
  settled: SettledBatch,
  claim: Claim,
  { receipt, call, execution, attempts }: BatchReceipt,
): Generator<Fault> {
  const units = receipt.price;
  const deployment = context.view.deploymentById(execution.deployment);
  if (deployment?.functionVersion !== call.functionVersion) {
    const message = `ran on deployment ${execution.deployment}, which is none of its version`;
    yield { code: 'DEPLOYMENT_MISMATCH', units, message };
    return;
  }
  if (deployment.provider !== receipt.provider) {
    const message = `names the provider ${receipt.provider}, deployment ${execution.deployment} is ${deployment.provider}'s`;
    yield { code: 'PROVIDER_MISMATCH', units, message };
  }
  const epoch = context.view.epochOf(call.beacon);
  if (!epoch) {
    const message = `is drawn by epoch ${call.beacon}, which has no recorded value`;
    yield { code: 'EPOCH_UNRECORDED', units, message };
    return;
  }
  const ids =
    context.view.candidates(call.functionVersion, settled.gateway, call.beacon)?.ids ?? [];
  const order = drawOrder(drawSeed(epoch.value, call), ids);
  const places = attempts.map((attempt) => order.indexOf(attempt.deployment));
  // On-chain, D6 accepts either candidate for the places 0 and 1. An honest gateway names the exact
  // one, so the audit expects that.
  if (order[receipt.attempt] !== execution.deployment || places.includes(-1)) {
    const message = `ran on deployment ${execution.deployment} at attempt ${receipt.attempt}, the order drawn was ${order.join(', ')}`;
    yield { code: 'OUT_OF_DRAW', units, message };
  } else {
    const message = unaccounted(receipt.attempt, attempts, places);
    if (message !== undefined) yield { code: 'PLACE_UNACCOUNTED', units, message };
  }
  if (isSignedLane(context, settled.gateway, claim)) return;
  // In a prepaid lane the gateway writes the Call. If it could choose the epoch, it could choose
  // the draw.
  const newest = context.view.latestEpochAt(receipt.atBlock - (context.finalAfterBlocks ?? 0));
  if (newest !== undefined && call.beacon < newest.epoch) {
    const message = `is drawn by epoch ${call.beacon}, at block ${receipt.atBlock} epoch ${newest.epoch} was final`;
    yield { code: 'EPOCH_STALE', units, message };
  }
}

/**
 * What is wrong with a receipt's account of the places before the used one, undefined when nothing
 * is. Each of them was tried, or passed over for a possible reason. `places` are the places of the
 * attempts in the drawn order.
 */
export function unaccounted(
  used: number,
  attempts: readonly FailedAttempt[],
  places: readonly number[],
): string | undefined {
  const known = new Set(places);
  if (known.size !== places.length || known.has(used)) return 'lists a deployment twice';
  for (let place = 0; place < used; place += 1) {
    if (!known.has(place)) return `ran at place ${used} and says nothing of place ${place}`;
  }
  const isTried = ({ code }: FailedAttempt) => !PASSED_OVER.some((one) => one === code);
  const idle = attempts.find(
    (one, index) =>
      !isTried(one) && (one.ran !== 'no' || one.measuredMs !== 0 || (places[index] ?? 0) > used),
  );
  if (idle) return `passed deployment ${idle.deployment} over (${idle.code}), and yet tried it`;
  // The gateway compares load once, between the first two candidates that may run the call. When
  // it passes the first over, the second runs.
  const loads = attempts.filter(({ code }) => code === 'LOAD').length;
  if (loads > 1 || (loads === 1 && attempts.some(isTried))) return 'compares the load twice';
  return undefined;
}

function groupSigner(
  context: ReceiptContext,
  gateway: Address,
  group: BatchReceipt['group'],
): Address | undefined {
  const key = `${gateway} ${group.root} ${group.count} ${group.signature}`;
  if (context.signers.has(key)) return context.signers.get(key);
  const digest = hashReceiptGroup(context.domain, {
    gateway,
    root: group.root,
    count: group.count,
  });
  const signer = context.recover(digest, group.signature);
  if (context.signers.size >= MAX_SIGNERS) context.signers.clear();
  context.signers.set(key, signer);
  return signer;
}

function isSignedLane(context: ReceiptContext, gateway: Address, claim: Claim): boolean {
  return context.view.lane(claim.payer, gateway, claim.signer)?.mode === SIGNED;
}

function isOfLane(
  named: { payer: Address; gateway: Address; signer: Address },
  claim: Claim,
  gateway: Address,
): boolean {
  return named.payer === claim.payer && named.signer === claim.signer && named.gateway === gateway;
}

function chargedCalls(context: ReceiptContext, key: string): Set<string> {
  const known = context.charged.get(key) ?? new Set();
  context.charged.set(key, known);
  return known;
}

/** Caps the units of a receipt's faults: together at most its price. */
export function* capUnits(faults: readonly Fault[], price: bigint): Generator<Fault> {
  let left = price;
  for (const fault of faults) {
    const units = fault.units < left ? fault.units : left;
    left -= units;
    yield { ...fault, units };
  }
}

function laneKey(gateway: Address, payer: Address, signer: Address): string {
  return `${gateway}:${payer}:${signer}`;
}
