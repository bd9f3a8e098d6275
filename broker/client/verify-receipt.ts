// What a payer checks of a receipt before it signs for more: that it is what it says, signed by the gateway, and not too dear.
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { verifyPath } from '../../contracts/libraries/ordered-merkle.ts';
import {
  type Call,
  hashCall,
  hashExecution,
  hashReceipt,
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
import type { LaneRecord } from './lane.ts';
import { isNonceOfKey, isOwnNonce } from './own-calls.ts';
import type { ReceiptDocument } from './receipts.ts';
import type { LaneName } from './sign-in.ts';

/** What of the chain a receipt is checked against; `chain-reader.ts` asks it by RPC. */
export interface ReceiptChain {
  isKeyInForce(key: Address, gateway: Address): Promise<boolean>;
  priceTerms(functionVersion: Hex): Promise<PriceTerms | undefined>;
  /** The function that a version is of; undefined while it is not published. */
  functionOf(functionVersion: Hex): Promise<bigint | undefined>;
}

export interface ReceiptExpectations {
  readonly domain: Eip712Domain;
  readonly gateway: Address;
  readonly lane: LaneName;
  readonly chain: ReceiptChain;
  /** Where the lane stood before this receipt, and how far it has signed; left out when that is not known. */
  readonly after?: LaneRecord;
  /** The lane is one of signed Calls: what its key has not signed is not paid. */
  readonly isSigned?: boolean;
  /** What the receipt was asked for by. */
  readonly id?: Hex;
  /** The version that was called, and the most it might cost. */
  readonly functionVersion?: Hex | undefined;
  readonly maxPriceUnits?: bigint | undefined;
  /** The key of the lane's own calls: a call of nobody's is not paid. */
  readonly ownCallsKey?: Hex | undefined;
  /** The call's own `Idempotency-Key`; only with `ownCallsKey`. */
  readonly idempotencyKey?: string;
  /** What was sent and what came back. */
  readonly request?: CommittedRequest;
  readonly output?: Uint8Array;
}

/**
 * Checks everything about a receipt that its payer can check, in the order of `contracts.md` 6.2.
 * @throws RECEIPT_INVALID naming the first thing that is wrong; a client then signs nothing more
 */
export async function verifyReceipt(
  document: ReceiptDocument,
  expected: ReceiptExpectations,
): Promise<void> {
  const { receipt, call, execution, group } = document;
  const refuse = (why: string): never => {
    throw new DefaasClientError(
      'RECEIPT_INVALID',
      `receipt ${document.id} (seq ${receipt.seq}) ${why}; nothing more is signed for this gateway`,
    );
  };
  if (hashReceipt(receipt) !== document.id) refuse('is not what its id says');
  if (document.id !== (expected.id ?? document.id)) refuse(`is not ${expected.id}`);
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
  if (expected.after) {
    const { verifiedSeq, verifiedUnits, ceilingUnits } = expected.after;
    if (receipt.seq !== verifiedSeq + 1) refuse(`follows seq ${verifiedSeq}`);
    if (receipt.cumulative !== verifiedUnits + receipt.price) {
      refuse(`has the sum ${receipt.cumulative} after ${verifiedUnits} and ${receipt.price}`);
    }
    // An honest gateway serves under the ceiling; above it a receipt must not bring the next voucher.
    if (receipt.cumulative > ceilingUnits) {
      refuse(`comes to ${receipt.cumulative}, signed were ${ceilingUnits}`);
    }
  }
  if (!verifyPath(document.id, group.index, group.count, group.path, group.root)) {
    refuse('does not stand in its signed group');
  }
  const digest = hashReceiptGroup(expected.domain, { ...group, gateway: expected.gateway });
  const signer = recoverAddress(digest, group.signature);
  if (!signer || !(await expected.chain.isKeyInForce(signer, expected.gateway))) {
    refuse(`is signed by ${signer ?? 'nobody'}, no key of the gateway in force`);
  }
  if (expected.isSigned) {
    const by = recoverAddress(
      hashToSign(expected.domain, receipt.call),
      document.callSignature ?? '0x',
    );
    if (by !== expected.lane.signer) refuse('is over a Call that the lane’s key has not signed');
  }
  const { functionVersion = call.functionVersion, maxPriceUnits = receipt.price } = expected;
  if (call.functionVersion !== functionVersion) refuse('is for another version than was called');
  if (receipt.price > maxPriceUnits) {
    refuse(`costs ${receipt.price}, the caller allowed ${maxPriceUnits}`);
  }
  if (receipt.price > call.maxPrice) refuse(`costs ${receipt.price}, agreed were ${call.maxPrice}`);
  const terms = await expected.chain.priceTerms(call.functionVersion);
  if (!terms) return refuse('is for a version that was never published');
  const price = priceOf(execution, terms);
  if (receipt.price > price) refuse(`costs ${receipt.price}, by the tariff ${price}`);
  await verifyOwner(call, expected, refuse);
  await verifyBodies(document, expected, refuse);
}

/** That the lane's owner has made the call: the nonce, for this function and maximum price. */
async function verifyOwner(
  call: Call,
  { ownCallsKey, idempotencyKey, chain }: ReceiptExpectations,
  refuse: (why: string) => never,
): Promise<void> {
  if (ownCallsKey === undefined) return;
  const functionId = (await chain.functionOf(call.functionVersion)) ?? 0n;
  if (!isOwnNonce(ownCallsKey, call.nonce, { functionId, maxPriceUnits: call.maxPrice })) {
    refuse('is of a call that nobody with the lane’s key has made');
  }
  if (idempotencyKey !== undefined && !isNonceOfKey(ownCallsKey, call.nonce, idempotencyKey)) {
    refuse('has another nonce than the call’s Idempotency-Key gives');
  }
}

async function verifyBodies(
  { execution, salt }: ReceiptDocument,
  expected: ReceiptExpectations,
  refuse: (why: string) => never,
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
