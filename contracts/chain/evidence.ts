// Builds the evidence that Disputes judges: a claim's place in its batch, leaves of its lane tree,
// and the arguments for each kind of fraud. Runs in a browser too.

import type { Address, Hex } from '../libraries/keccak.ts';
import { keccak256Hex } from '../libraries/keccak.ts';
import { pathOf } from '../libraries/ordered-merkle.ts';
import {
  type Call,
  type Execution,
  hashClaim,
  hashReceipt,
  NO_RECEIPTS,
  type Receipt,
} from '../libraries/receipts.ts';
import { Words } from '../libraries/words.ts';
import type { SettledBatch } from './types.ts';

/** A claim in a settled batch: its index `claim` among `claims`, and the fields of its leaf. */
export interface Place {
  readonly gateway: Address;
  readonly batch: number;
  /** The block's time, Unix seconds. */
  readonly settledAtSec: number;
  readonly claims: number;
  readonly claim: number;
  /** Root of the receipts that the batch settles outside lanes; always `NO_RECEIPTS` today. */
  readonly outside: Hex;
  /** From the claim's leaf to the batch's root. */
  readonly path: readonly Hex[];
  readonly payer: Address;
  readonly signer: Address;
  readonly settledFrom: bigint;
  readonly settledTo: bigint;
  readonly seqFrom: number;
  readonly seqTo: number;
  /** Root of the lane tree. */
  readonly receipts: Hex;
}

/** A receipt at `index` of a claim's lane tree. */
export interface Leaf {
  readonly receipt: Receipt;
  readonly index: number;
  readonly path: readonly Hex[];
}

/**
 * A receipt as the gateway issued it: leaf `index` of a group of `count`, whose root an operator
 * key signed.
 */
export interface SignedReceipt {
  readonly receipt: Receipt;
  readonly index: number;
  readonly count: number;
  readonly path: readonly Hex[];
  readonly signature: Hex;
}

/** A leaf with the Call and the Execution behind its hashes. */
export interface OpenedLeaf {
  readonly place: Place;
  readonly leaf: Leaf;
  readonly call: Call;
  readonly execution: Execution;
}

/** The kinds of fraud, as IDisputes describes them. */
export type Evidence =
  | {
      readonly kind: 'omission';
      readonly signed: SignedReceipt;
      readonly place: Place;
      /** The node in the lane tree at the receipt's index, and its path. */
      readonly node: Hex;
      readonly path: readonly Hex[];
      /** The receipt that hashes to `node`; without it the damage is 0. */
      readonly opened?: Receipt;
    }
  | { readonly kind: 'break'; readonly place: Place; readonly a: Leaf; readonly b: Leaf }
  | { readonly kind: 'edge'; readonly place: Place; readonly leaf: Leaf }
  | ({ readonly kind: 'overcharge' } & OpenedLeaf)
  | ({ readonly kind: 'over-limit' } & OpenedLeaf)
  | {
      readonly kind: 'duplicate';
      readonly firstPlace: Place;
      readonly first: Leaf;
      readonly laterPlace: Place;
      readonly later: Leaf;
    }
  | ({
      readonly kind: 'misroute';
      /**
       * The gateway's candidate set in force at the Call's epoch, 0 for none, and its deployments.
       */
      readonly setNo: number;
      readonly ids: readonly number[];
    } & OpenedLeaf);

export type EvidenceKind = Evidence['kind'];

/** Number of each kind of fraud in ids, floors and events. */
export const FRAUD_KIND = {
  omission: 2,
  break: 3,
  edge: 3,
  overcharge: 4,
  'over-limit': 5,
  duplicate: 5,
  misroute: 6,
  silence: 9,
} as const;

/**
 * Locates the claim with that index in a settled batch, from the chain's logs alone.
 * @throws RangeError  there is none
 */
export function placeAt(batch: SettledBatch, claim: number): Place {
  const row = batch.claims[claim];
  if (row === undefined) {
    throw new RangeError(`batch ${batch.batch} of ${batch.gateway} has no claim ${claim}`);
  }
  const leaves = batch.claims.map((one) =>
    hashClaim({ ...one, settledTo: one.settled, seqTo: one.seq }),
  );
  return {
    gateway: batch.gateway,
    batch: batch.batch,
    settledAtSec: batch.timestampSec,
    claims: batch.claims.length,
    claim,
    outside: NO_RECEIPTS,
    path: pathOf(leaves, claim),
    payer: row.payer,
    signer: row.signer,
    settledFrom: row.settledFrom,
    settledTo: row.settled,
    seqFrom: row.seqFrom,
    seqTo: row.seq,
    receipts: row.receipts,
  };
}

/**
 * Builds the leaf at `index` of a lane tree from all receipts of its claim, in order.
 * @throws RangeError  there is none
 */
export function leafAt(receipts: readonly Receipt[], index: number): Leaf {
  const receipt = receipts[index];
  if (receipt === undefined) throw new RangeError(`the claim has no receipt ${index}`);
  return { receipt, index, path: pathOf(receipts.map(hashReceipt), index) };
}

const idWords = new Words(5);

type OfLane = Pick<Place, 'gateway' | 'payer' | 'signer' | 'seqFrom'>;

/** Id of the demand for the leaf at `index`, as Disputes.idOf computes it. */
export function demandIdOf(place: OfLane, index: number): Hex {
  return idAt(FRAUD_KIND.silence, place, place.seqFrom + 1 + index);
}

/** Id of the fraud that evidence shows, as Disputes computes it. */
export function proofIdOf(evidence: Evidence): Hex {
  const { kind } = evidence;
  switch (kind) {
    case 'omission':
      return idAt(FRAUD_KIND[kind], evidence.place, evidence.signed.receipt.seq);
    case 'break': {
      const { place, a, b } = evidence;
      return idAt(FRAUD_KIND[kind], place, seqAt(place, isForeign(place, a) ? a : b));
    }
    case 'edge': {
      const { place, leaf } = evidence;
      return idAt(isForeign(place, leaf) ? FRAUD_KIND.break : EDGE_ID, place, seqAt(place, leaf));
    }
    case 'duplicate':
      return idAt(FRAUD_KIND[kind], evidence.laterPlace, evidence.later.receipt.seq);
    case 'misroute': {
      const { place, call, execution } = evidence;
      misrouteWords.uint(0, FRAUD_KIND[kind], 255);
      misrouteWords.address(1, place.gateway);
      misrouteWords.uint(2, call.beacon, Number.MAX_SAFE_INTEGER);
      misrouteWords.uint(3, execution.deployment, Number.MAX_SAFE_INTEGER);
      return keccak256Hex(misrouteWords.bytes);
    }
    default:
      return idAt(FRAUD_KIND[kind], evidence.place, evidence.leaf.receipt.seq);
  }
}

/** Kind in the id of a break at an edge of a claim. */
const EDGE_ID = 7;
const misrouteWords = new Words(4);

function idAt(kind: number, { gateway, payer, signer }: OfLane, seq: number): Hex {
  idWords.uint(0, kind, 255);
  idWords.address(1, gateway);
  idWords.address(2, payer);
  idWords.address(3, signer);
  idWords.uint(4, seq, MAX_UINT40);
  return keccak256Hex(idWords.bytes);
}

function seqAt({ seqFrom }: Place, { index }: Leaf): number {
  return seqFrom + 1 + index;
}

function isForeign(place: Place, leaf: Leaf): boolean {
  const { receipt } = leaf;
  const isOfLane =
    receipt.payer === place.payer &&
    receipt.gateway === place.gateway &&
    receipt.signer === place.signer;
  return !isOfLane || receipt.seq !== seqAt(place, leaf);
}

const MAX_UINT40 = 0xff_ffff_ffff;

/**
 * The suffix of Disputes' `check...` and `prove...` functions for evidence, and their arguments.
 */
export function callOf(evidence: Evidence): { readonly name: string; readonly args: unknown[] } {
  switch (evidence.kind) {
    case 'omission': {
      const { signed, place, node, path, opened } = evidence;
      const receipts = opened === undefined ? [] : [opened];
      return { name: 'Omission', args: [signed, placeStruct(place), node, path, receipts] };
    }
    case 'break':
      return { name: 'Break', args: [placeStruct(evidence.place), evidence.a, evidence.b] };
    case 'edge':
      return { name: 'Edge', args: [placeStruct(evidence.place), evidence.leaf] };
    case 'overcharge':
      return { name: 'Overcharge', args: openedArguments(evidence) };
    case 'over-limit':
      return { name: 'OverLimit', args: openedArguments(evidence) };
    case 'duplicate': {
      const { firstPlace, first, laterPlace, later } = evidence;
      const args = [placeStruct(firstPlace), first, placeStruct(laterPlace), later];
      return { name: 'Duplicate', args };
    }
    case 'misroute':
      return {
        name: 'Misroute',
        args: [...openedArguments(evidence), evidence.setNo, evidence.ids],
      };
    default:
      return assertNever(evidence);
  }
}

function assertNever(evidence: never): never {
  throw new TypeError(`unknown evidence ${JSON.stringify(evidence)}`);
}

export function openedArguments({ place, leaf, call, execution }: OpenedLeaf): unknown[] {
  return [placeStruct(place), leaf, callStruct(call), executionStruct(execution)];
}

/** As the ABI names its fields. */
export function placeStruct({ settledAtSec, ...place }: Place): Record<string, unknown> {
  return { ...place, settledAt: settledAtSec };
}

function callStruct({ deadlineSec, ...call }: Call): Record<string, unknown> {
  return { ...call, deadline: deadlineSec };
}

function executionStruct({ finishedAtSec, ...execution }: Execution): Record<string, unknown> {
  return { ...execution, finishedAt: finishedAtSec };
}
