// Format 1 of a settlement's batch on IPFS (dag-cbor): a root block with one claim per lane, and
// pages of opened receipts. The format is final (docs/protocol.md 13):
//
//   Root       { version: 1, chainId, billing, gateway, batch, root, lanes: [[Claim, Pages], ...] }
//              lanes stand in the order of the transaction
//   Claim      [payer, signer, settledFrom, settledTo, seqFrom, seqTo, receipts]
//   Pages      [link to a Page, ...]
//   Page       { version: 1, groups: [[root, count, signature], ...], receipts: [Row, ...] }
//              the receipts are consecutive and of one lane
//   Row        [seq, price, cumulative, provider, attempt, atBlock, Lane | null, Call, Execution,
//               Place, [Attempt, ...], reason | null]
//   Lane       [payer, gateway, signer]; null: those of the claim and the header, the normal case
//   Call       [nonce, functionVersion, input, maxPrice, deadline, beacon, Lane | null,
//               signature | null, authority | null]; authority null: zero, the payer's own call
//   Execution  [deployment, request, billedMs, initMs, memoryMiB, status, input | null, output,
//               finishedAt]; input null: the Call's
//   Place      [group, index, path]; group is an index into the page's groups
//   Attempt    [deployment, ran, code, measuredMs], one for each deployment that did not answer:
//              first those that were passed over (PASSED_OVER, 'no', 0), then those that were
//              tried, in order. With the one that answered, they account for every place of the
//              draw up to the used one.
//
// Addresses (20 bytes), hashes (32), signatures (65) and paths (32 a node, concatenated) are byte
// strings. Money is a big-endian byte string without leading zeros (zero is empty), since integers
// of dag-cbor end at 64 bits. Everything else is an integer. A receipt's `call` and `execution` are
// not stored: they are the hashes of the opened Call and Execution.
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import type { Call, Execution, Receipt } from '../../contracts/libraries/receipts.ts';

/** Version of the format; every block carries it. */
export const VERSION = 1;
/** Largest page, bytes. */
export const MAX_PAGE_BYTES = 512 * 1024;
/** Largest root block, bytes: half of bitswap's default message; about 25 million receipts. */
export const MAX_ROOT_BYTES = 1024 * 1024;
/** Most lanes of one transaction (docs/contracts.md 6.1). */
export const MAX_LANES = 256;
/** Position of Place in a Row. */
export const PLACE = 9;
/** Why a deployment was not tried. No receipt proves the reason: it is the gateway's word. */
export const PASSED_OVER = [
  /** It was not deployed when the call came: taken down, or not up yet. */
  'NOT_LIVE',
  /** The routing of the version or of the call excludes it, or prefers the one that ran. */
  'POLICY',
  /** Its circuit breaker was open after repeated failures. */
  'CIRCUIT_OPEN',
  /** It had more calls in flight than the next one, which ran. */
  'LOAD',
] as const;

export interface BatchHeader {
  readonly chainId: number;
  readonly billing: Address;
  readonly gateway: Address;
  /** Number of the batch at this gateway, dense from 0. */
  readonly batch: number;
  /** Root of the batch tree: the claims' hashes in the order of the lanes. */
  readonly root: Hex;
}

/** Position of a receipt in its signed group: the receipts of one durable commit. */
export interface GroupPlace {
  readonly root: Hex;
  readonly index: number;
  readonly count: number;
  readonly path: readonly Hex[];
  /** Over ReceiptGroup(gateway, root, count), by an operator key of the gateway. */
  readonly signature: Hex;
}

export type PassedOver = (typeof PASSED_OVER)[number];

/**
 * A deployment that did not give the answer. `code` is one of PASSED_OVER, `HEDGED` where another
 * run answered first, or the provider's error code. `measuredMs` is the time that it took by the
 * gateway's clock.
 */
export interface FailedAttempt {
  readonly deployment: number;
  readonly ran: 'no' | 'maybe';
  readonly code: string;
  readonly measuredMs: number;
}

/** A receipt with everything that its check needs. */
export interface BatchReceipt {
  readonly receipt: Receipt;
  readonly call: Call;
  readonly execution: Execution;
  /** Over the Call, by the lane's signer; only in signed lanes. */
  readonly callSignature?: Hex;
  readonly group: GroupPlace;
  readonly attempts: readonly FailedAttempt[];
  /** Why the call failed; present where the status is 0. */
  readonly reason?: string;
}
