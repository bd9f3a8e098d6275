// What a payer checks of a receipt before it signs for more: its hashes, the gateway's signature,
// and its price.
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { verifyPath } from '../../contracts/libraries/ordered-merkle.ts';
import {
  hashCall,
  hashExecution,
  hashReceipt,
  NO_AUTHORITY,
} from '../../contracts/libraries/receipts.ts';
import { type PriceTerms, priceOf } from '../../contracts/libraries/tariffs.ts';
import {
  type Eip712Domain,
  hashReceiptGroup,
  hashToSign,
} from '../../contracts/libraries/typed-data.ts';
import { recoverAddress } from '../../contracts/signatures.ts';
import { type CommittedRequest, commitAnswer, commitRequest } from './commitments.ts';
import { DefaasClientError } from './errors.ts';
import type { HeldMandate, LaneRecord } from './lane-memory.ts';
import { faultUnder } from './mandates.ts';
import { isNonceOfKey, isOwnNonce, ownCallOf } from './own-calls.ts';
import type { ReceiptDocument } from './receipts.ts';
import type { LaneName } from './sign-in.ts';

/** The chain data that a receipt is checked against; `chain-reader.ts` reads it by RPC. */
export interface ReceiptChain {
  isKeyInForce(key: Address, gateway: Address): Promise<boolean>;
  priceTerms(functionVersion: Hex): Promise<PriceTerms | undefined>;
  /** The function to which a version belongs; undefined while it is not published. */
  functionOf(functionVersion: Hex): Promise<bigint | undefined>;
}

export interface ReceiptExpectations {
  readonly domain: Eip712Domain;
  readonly gateway: Address;
  readonly lane: LaneName;
  readonly chain: ReceiptChain;
  /**
   * The lane's record before this receipt: what was checked, and how far it has signed. Left out if
   * unknown.
   */
  readonly after?: LaneRecord;
  /** The lane is `signed`: a call that its key has not signed is not paid. */
  readonly isSigned?: boolean;
  /** The id by which the receipt was requested. */
  readonly id?: Hex;
  /** The version that was called, and the most it might cost. */
  readonly functionVersion?: Hex | undefined;
  readonly maxPriceUnits?: bigint | undefined;
  /** The key of the lane's own calls. A call that is neither own nor mandated is not paid. */
  readonly ownCallsKey?: Hex | undefined;
  /** The call's own `Idempotency-Key`; only with `ownCallsKey`. */
  readonly idempotencyKey?: string;
  /** The lane's mandates. Calls that they allow are paid too. */
  readonly mandates?: readonly HeldMandate[];
  /** Unix ms, decides the UTC day of mandates; this machine's clock by default. */
  readonly nowMs?: number;
  /**
   * Observed time from sending a call to its answer, ms; undefined if unknown. A longer billed time
   * is not paid.
   */
  readonly elapsedMsOf?: (call: string) => number | undefined;
  /** What was sent and what came back. */
  readonly request?: CommittedRequest;
  readonly output?: Uint8Array;
}

/**
 * Checks everything about a receipt that its payer can check, in the order of
 * docs/contracts.md 6.2.
 * @returns what it is paid for: an own call by `ownCallOf`, or a mandated nonce
 * @throws RECEIPT_INVALID naming the first thing that is wrong. With `evidence` the gateway's own
 *   signature stands under it: then nothing more is ever signed for the lane
 */
export async function verifyReceipt(
  document: ReceiptDocument,
  expected: ReceiptExpectations,
): Promise<string> {
  const { receipt, call } = document;
  const refuse: Refuse = (why) => fail(document, why);
  const contradict: Refuse = (why) => fail(document, why, [document]);
  await verifySigned(document, expected, refuse);
  if (expected.after) {
    const { verifiedSeq, verifiedUnits } = expected.after;
    if (receipt.seq !== verifiedSeq + 1) refuse(`follows seq ${verifiedSeq}`);
    if (receipt.cumulative !== verifiedUnits + receipt.price) {
      contradict(`has the sum ${receipt.cumulative} after ${verifiedUnits} and ${receipt.price}`);
    }
  }
  const { chain } = expected;
  const terms = await chain.priceTerms(call.functionVersion);
  const functionId = await chain.functionOf(call.functionVersion);
  // The queried node may be behind.
  if (!terms || functionId === undefined)
    return refuse('is for a version that was never published');
  if (expected.isSigned && call.authority === NO_AUTHORITY) {
    const by = recoverAddress(
      hashToSign(expected.domain, receipt.call),
      document.callSignature ?? '0x',
    );
    if (by !== expected.lane.signer)
      contradict('is over a Call that the lane’s key has not signed');
  }
  const paidFor = verifyOwner(document, expected, functionId, { refuse, contradict });
  verifyPrice(document, terms, expected.elapsedMsOf?.(paidFor), contradict);
  // An honest gateway serves below the ceiling. A receipt above it must not lead to the next
  // voucher.
  const { ceilingUnits = receipt.cumulative } = expected.after ?? {};
  if (receipt.cumulative > ceilingUnits) {
    refuse(`comes to ${receipt.cumulative}, signed were ${ceilingUnits}`);
  }
  await verifyAsked(document, expected, refuse);
  return paidFor;
}

type Refuse = (why: string) => never;

function fail(
  { id, receipt }: ReceiptDocument,
  why: string,
  evidence?: readonly ReceiptDocument[],
): never {
  throw new DefaasClientError(
    'RECEIPT_INVALID',
    `receipt ${id} (seq ${receipt.seq}) ${why}; nothing more is signed for this gateway`,
    evidence && { evidence },
  );
}

/**
 * Checks that the receipt is consistent, of this lane, and signed by the gateway. Only then it
 * counts as the gateway's statement.
 */
async function verifySigned(
  { id, receipt, call, execution, group }: ReceiptDocument,
  expected: ReceiptExpectations,
  refuse: Refuse,
): Promise<void> {
  if (hashReceipt(receipt) !== id) refuse('is not what its id says');
  if (id !== (expected.id ?? id)) refuse(`is not ${expected.id}`);
  if (hashCall(call) !== receipt.call || hashExecution(execution) !== receipt.execution) {
    refuse('is over another Call or Execution than is shown');
  }
  for (const named of [receipt, call]) {
    const isOurs =
      named.payer === expected.lane.payer &&
      named.signer === expected.lane.signer &&
      named.gateway === expected.gateway;
    if (!isOurs) refuse(`names the lane ${named.payer}:${named.signer} at ${named.gateway}`);
  }
  if (!verifyPath(id, group.index, group.count, group.path, group.root)) {
    refuse('does not stand in its signed group');
  }
  const digest = hashReceiptGroup(expected.domain, { ...group, gateway: expected.gateway });
  const signer = recoverAddress(digest, group.signature);
  if (!signer || !(await expected.chain.isKeyInForce(signer, expected.gateway))) {
    refuse(`is signed by ${signer ?? 'nobody'}, no key of the gateway in force`);
  }
}

/**
 * Checks that the lane's owner has made the call, for this function and maximum price, or has
 * mandated it.
 */
function verifyOwner(
  document: ReceiptDocument,
  { ownCallsKey, mandates, nowMs = Date.now() }: ReceiptExpectations,
  functionId: bigint,
  { refuse, contradict }: { readonly refuse: Refuse; readonly contradict: Refuse },
): string {
  const { nonce, authority, maxPrice: maxPriceUnits } = document.call;
  if (authority !== NO_AUTHORITY && (mandates || ownCallsKey)) {
    const held = mandates?.find(({ hash }) => hash === authority);
    if (!held) return contradict('is under a mandate that the lane’s key has not signed');
    const fault = faultUnder(held, document, functionId, nowMs);
    if (fault === undefined) return nonce;
    return isByClock(held, document, functionId, nowMs) ? refuse(fault) : contradict(fault);
  }
  if (ownCallsKey && !isOwnNonce(ownCallsKey, nonce, { functionId, maxPriceUnits })) {
    contradict('is of a call that nobody with the lane’s key has made');
  }
  return ownCallOf(nonce, functionId);
}

/**
 * Whether a receipt fails its mandate only by this machine's clock, which may be wrong: it lies in
 * the future, or it would have passed if it had been shown in time.
 */
function isByClock(
  held: HeldMandate,
  document: ReceiptDocument,
  functionId: bigint,
  nowMs: number,
): boolean {
  const atMs = Math.max(nowMs, document.execution.finishedAtSec * 1000);
  return faultUnder({ ...held, countsFromMs: 0 }, document, functionId, atMs) === undefined;
}

function verifyPrice(
  { receipt, call, execution }: ReceiptDocument,
  terms: PriceTerms,
  elapsedMs: number | undefined,
  contradict: Refuse,
): void {
  const { price } = receipt;
  if (price > call.maxPrice) contradict(`costs ${price}, agreed were ${call.maxPrice}`);
  const owed = priceOf(execution, terms);
  if (price > owed) contradict(`costs ${price}, by the tariff ${owed}`);
  if (elapsedMs === undefined) return;
  const mostMs = Math.ceil(elapsedMs) + 1;
  const billedMs = Math.min(execution.billedMs, mostMs);
  if (price > priceOf({ ...execution, billedMs }, terms)) {
    contradict(`bills ${execution.billedMs} ms, its answer took ${mostMs}`);
  }
}

/**
 * Checks the receipt against this call's own request. A reply that names another call's receipt
 * proves no fault of that receipt.
 */
async function verifyAsked(
  document: ReceiptDocument,
  expected: ReceiptExpectations,
  refuse: Refuse,
): Promise<void> {
  const { receipt, call } = document;
  const { functionVersion = call.functionVersion, maxPriceUnits = receipt.price } = expected;
  const { ownCallsKey, idempotencyKey } = expected;
  if (call.functionVersion !== functionVersion) refuse('is for another version than was called');
  if (receipt.price > maxPriceUnits) {
    refuse(`costs ${receipt.price}, the caller allowed ${maxPriceUnits}`);
  }
  if (ownCallsKey && idempotencyKey !== undefined) {
    if (!isNonceOfKey(ownCallsKey, call.nonce, idempotencyKey)) {
      refuse('has another nonce than the call’s Idempotency-Key gives');
    }
  }
  await verifyBodies(document, expected, refuse);
}

async function verifyBodies(
  { execution, salt }: ReceiptDocument,
  expected: ReceiptExpectations,
  refuse: Refuse,
): Promise<void> {
  if (!expected.request && !expected.output) return;
  if (salt === undefined)
    return refuse('is shown without its salt, so that its bodies cannot be checked');
  if (expected.request && (await commitRequest(salt, expected.request)) !== execution.input) {
    refuse('is for another request than was sent');
  }
  // A failed execution has no output that the caller could have seen.
  if (execution.status === 0 || !expected.output) return;
  if ((await commitAnswer(salt, execution.status, expected.output)) !== execution.output) {
    refuse('is for another output than came back');
  }
}
