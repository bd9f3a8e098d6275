// Turns the audit's findings into evidence for Disputes: opens the leaves behind a batch's findings
// again, with their paths, and builds the evidence of each fraud that they may show. `check`
// decides whether one is a fraud; not every finding is provable.
import {
  type Evidence,
  type EvidenceKind,
  type OpenedLeaf as Opened,
  type Place,
  placeAt,
} from '../../contracts/chain/evidence.ts';
import type { SettledBatch } from '../../contracts/chain/types.ts';
import type { Hex } from '../../contracts/libraries/keccak.ts';
import type { AuditView } from './audit.ts';
import { type Batch, batchCid, type GetBlock, readBatch } from './batch.ts';
import { DefaasClientError } from './errors.ts';
import type { Withheld } from './exhibits.ts';
import { createFindings, type Finding, type FindingCode } from './findings.ts';
import { type OpenedLeaf, openClaim } from './open-claim.ts';

/**
 * Most findings followed per claim and code, those with the most units first. Each proof slashes
 * its floor, and the claim's damage is bounded.
 */
const MAX_LEAVES = 100;
/** Most calls per batch whose earlier charge is searched. Each search may read the whole lane. */
const MAX_SEARCHES = 16;

type Proof = Exclude<EvidenceKind, 'omission'> | 'withheld';

/**
 * What a finding may prove. `withheld`: nobody can open the receipt as it was settled, so it is to
 * be demanded.
 */
const PROOFS: Readonly<Record<FindingCode, readonly Proof[]>> = {
  BATCH_BLOCK_MISSING: ['withheld'],
  BATCH_BLOCK_ALTERED: ['withheld'],
  BATCH_MALFORMED: ['withheld'],
  HEADER_MISMATCH: ['withheld'],
  CLAIM_MISMATCH: ['withheld'],
  LANE_ROOT_MISMATCH: ['withheld'],
  RECEIPT_MISSING: ['withheld'],
  RECEIPT_MISPLACED: ['edge'],
  RECEIPT_OF_OTHER_LANE: ['edge'],
  CUMULATIVE_BREAK: ['break', 'edge'],
  GROUP_PATH_INVALID: [],
  GROUP_SIGNATURE_INVALID: [],
  VERSION_UNKNOWN: ['over-limit'],
  PRICE_ABOVE_TARIFF: ['overcharge'],
  PRICE_ABOVE_MAX: ['over-limit'],
  DEADLINE_PASSED: ['over-limit'],
  INPUT_MISMATCH: ['over-limit'],
  CALL_OF_OTHER_LANE: ['over-limit'],
  CALL_CHARGED_TWICE: ['duplicate'],
  CALL_UNSIGNED: ['withheld'],
  DEPLOYMENT_MISMATCH: ['over-limit', 'misroute'],
  PROVIDER_MISMATCH: ['misroute'],
  EPOCH_UNRECORDED: ['misroute'],
  EPOCH_STALE: [],
  OUT_OF_DRAW: ['misroute'],
  PLACE_UNACCOUNTED: [],
  PAYOUT_SHORT: [],
  PAYOUT_OVER: [],
};

/** Whether the finding is about a receipt that nobody can open. */
export function isWithheld(code: FindingCode): boolean {
  return PROOFS[code].includes('withheld');
}

export interface Gathered {
  readonly evidence: Evidence | Withheld;
  /** The audit's finding that it comes from. */
  readonly finding: Finding;
}

export interface GatherOptions {
  readonly view: Pick<AuditView, 'batches' | 'candidates'>;
  readonly getBlock: GetBlock;
  readonly settled: SettledBatch;
  /** Findings of this batch. */
  readonly findings: readonly Finding[];
  /** Chooses the leaf of a withheld claim to demand; random by default. */
  readonly pick?: (count: number) => number;
}

/**
 * Yields evidence for the findings that can be proven or demanded. Claims whose blocks have
 * disappeared since the audit become withheld.
 */
export async function* gatherEvidence(options: GatherOptions): AsyncGenerator<Gathered> {
  const { settled, findings, getBlock } = options;
  const provable = findings.filter(({ code }) => PROOFS[code].length > 0);
  if (provable.length === 0) return;
  const batch = await readBatch(batchCid(settled.cidDigest), getBlock).catch(passWithheld);
  const gathering: Gathering = { ...options, searches: 0 };
  for (const claim of settled.claims.keys()) {
    const place = placeAt(settled, claim);
    // A finding about the whole batch applies to each of its claims.
    const ofClaim = provable.filter((finding) => (finding.claim ?? claim) === claim);
    if (ofClaim.length > 0) yield* evidenceOfClaim(gathering, place, batch, ofClaim);
  }
}

interface Gathering extends GatherOptions {
  /** Searches for earlier charges made so far. */
  searches: number;
}

async function* evidenceOfClaim(
  options: Gathering,
  place: Place,
  batch: Batch | undefined,
  findings: readonly Finding[],
): AsyncGenerator<Gathered> {
  const count = place.seqTo - place.seqFrom;
  const { pick = (of) => Math.floor(Math.random() * of) } = options;
  const indexes = new Map<number, Finding[]>();
  const ofLeaves = createFindings(MAX_LEAVES);
  for (const finding of findings) if (finding.index !== undefined) ofLeaves.add(finding);
  for (const finding of ofLeaves.items()) {
    const index = finding.index ?? 0;
    indexes.set(index, [...(indexes.get(index) ?? []), finding]);
  }
  const wanted = new Set([...indexes.keys()].flatMap((index) => [index - 1, index]));
  const leaves = await openLane(batch, place, wanted);
  const withheld = findings.find(({ code, index }) => {
    return isWithheld(code) && index === undefined;
  });
  if (leaves === undefined || withheld !== undefined) {
    const [first] = findings;
    const finding = withheld ?? first;
    if (finding) yield { evidence: { kind: 'withheld', place, index: pick(count) }, finding };
    return;
  }
  for (const [index, found] of indexes) {
    const opened = leaves.get(index);
    if (opened === undefined) continue;
    for (const finding of found) {
      for (const proof of PROOFS[finding.code]) {
        const evidence = await evidenceOf(options, proof, { place, opened, leaves });
        if (evidence !== undefined) yield { evidence, finding };
      }
    }
  }
}

interface AtLeaf {
  readonly place: Place;
  readonly opened: OpenedLeaf;
  readonly leaves: ReadonlyMap<number, OpenedLeaf>;
}

async function evidenceOf(
  options: Gathering,
  proof: Proof,
  { place, opened, leaves }: AtLeaf,
): Promise<Evidence | Withheld | undefined> {
  const { leaf, call, execution } = opened;
  switch (proof) {
    case 'withheld':
      return { kind: 'withheld', place, index: leaf.index };
    case 'edge':
      return { kind: 'edge', place, leaf };
    case 'break': {
      const before = leaves.get(leaf.index - 1);
      return before && { kind: 'break', place, a: before.leaf, b: leaf };
    }
    case 'duplicate':
      options.searches += 1;
      if (options.searches > MAX_SEARCHES) return undefined;
      return findFirst(options, { place, opened, leaves });
    case 'misroute':
      return misrouteOf(options.view, { place, leaf, call, execution });
    case 'overcharge':
    case 'over-limit':
      return { kind: proof, place, leaf, call, execution };
    default:
      return assertNever(proof);
  }
}

/** Adds the candidate set that the contract will check. */
export function misrouteOf(view: GatherOptions['view'], opened: Opened): Evidence {
  const { call, place } = opened;
  const set = view.candidates(call.functionVersion, place.gateway, call.beacon);
  return { kind: 'misroute', ...opened, setNo: set?.setNo ?? 0, ids: set?.ids ?? [] };
}

/**
 * Finds the receipt that charged the same Call before, in an earlier claim of the lane or earlier
 * in this one.
 */
async function findFirst(
  { view, getBlock, settled }: GatherOptions,
  { place, opened }: AtLeaf,
): Promise<Evidence | undefined> {
  const { call, seq } = opened.leaf.receipt;
  const earlier = view.batches(place.gateway).filter(({ batch }) => batch <= settled.batch);
  for (const candidate of earlier.toReversed()) {
    for (const [claim, row] of candidate.claims.entries()) {
      const isOfLane = row.payer === place.payer && row.signer === place.signer;
      if (!isOfLane || row.seqFrom + 1 >= seq) continue;
      const batch = await readBatch(batchCid(candidate.cidDigest), getBlock).catch(passWithheld);
      const firstPlace = placeAt(candidate, claim);
      const index = await indexOfCall(batch, firstPlace, call, seq);
      if (index === undefined) continue;
      const first = (await openLane(batch, firstPlace, new Set([index])))?.get(index)?.leaf;
      if (first)
        return { kind: 'duplicate', firstPlace, first, laterPlace: place, later: opened.leaf };
    }
  }
  return undefined;
}

async function indexOfCall(
  batch: Batch | undefined,
  { claim }: Place,
  call: Hex,
  beforeSeq: number,
): Promise<number | undefined> {
  let index = 0;
  try {
    for await (const { receipt } of batch?.lanes[claim]?.receipts() ?? []) {
      if (receipt.call === call && receipt.price > 0n && receipt.seq < beforeSeq) return index;
      index += 1;
    }
  } catch (error) {
    passWithheld(error);
  }
  return undefined;
}

/** Undefined if the pages are missing or are not those of the claim. */
export async function openLane(
  batch: Batch | undefined,
  place: Place,
  indexes: ReadonlySet<number>,
): Promise<ReadonlyMap<number, OpenedLeaf> | undefined> {
  const lane = batch?.lanes[place.claim];
  if (lane === undefined) return undefined;
  try {
    return await openClaim(place, lane.receipts(), indexes);
  } catch (error) {
    return passWithheld(error);
  }
}

/**
 * Swallows errors of missing or malformed blocks, for which a demand exists; rethrows all others.
 */
export function passWithheld(error: unknown): undefined {
  if (error instanceof DefaasClientError && error.code.startsWith('BATCH_')) return undefined;
  throw error;
}

function assertNever(proof: never): never {
  throw new TypeError(`unknown proof ${String(proof)}`);
}
