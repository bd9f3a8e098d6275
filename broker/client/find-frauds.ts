// One pass of a watcher: opens the batches that may still be judged, compares them with what the
// payer holds, and yields evidence of everything that the chain would punish or that is withheld.
// It sends nothing.

import { ChainError } from '../../contracts/chain/chain-error.ts';
import { createDisputeReads, type DisputeTerms } from '../../contracts/chain/dispute-reads.ts';
import {
  demandIdOf,
  type Evidence,
  type OpenedLeaf as Opened,
  type Place,
  placeAt,
  proofIdOf,
} from '../../contracts/chain/evidence.ts';
import type { Demand, SettledBatch } from '../../contracts/chain/types.ts';
import type { Chain } from '../../contracts/chain.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { rootOf } from '../../contracts/libraries/ordered-merkle.ts';
import { hashReceipt } from '../../contracts/libraries/receipts.ts';
import { auditBatches, type BatchAudit } from './audit.ts';
import { batchCid, type GetBlock, readBatch } from './batch.ts';
import { DefaasClientError } from './errors.ts';
import type { HeldReceipt, Withheld } from './exhibits.ts';
import type { Finding } from './findings.ts';
import {
  gatherEvidence,
  isWithheld,
  misrouteOf,
  openLane,
  passWithheld,
} from './gather-evidence.ts';
import type { Recover } from './receipt-faults.ts';
import { readLeft } from './weigh-proof.ts';

export interface WatchedLane {
  readonly gateway: Address;
  readonly payer: Address;
  readonly signer: Address;
}

export interface FindFraudsOptions {
  readonly chain: Pick<Chain, 'view' | 'domain' | 'read' | 'provider' | 'contracts'>;
  /**
   * Fetches blocks from a gateway, a mirror or a node of your own. They are checked against the
   * CID.
   */
  getBlock(gateway: Address): GetBlock;
  readonly isWanted: (batch: SettledBatch) => boolean;
  readonly isLaneWanted?: (lane: WatchedLane) => boolean;
  /**
   * The receipts that the gateway has signed for a lane and the payer has kept. A lying gateway may
   * have signed several for one seq.
   */
  readonly held?: (lane: WatchedLane) => readonly HeldReceipt[];
  readonly pick?: (count: number) => number;
  readonly recover?: Recover;
}

export interface Found {
  readonly evidence: Evidence | Withheld;
  /** One line: what is wrong. */
  readonly message: string;
  /**
   * Base units: what the chain's `check` returns; for a withheld receipt, all that its claim took.
   */
  readonly damage: bigint;
}

/**
 * Yields what can be proven or demanded now: confirmed by the chain, not proven before, and within
 * its window.
 * @throws ChainError CHAIN_UNREACHABLE
 */
export async function* findFrauds(options: FindFraudsOptions): AsyncGenerator<Found> {
  const { chain, isWanted, isLaneWanted = () => true } = options;
  const disputes = createDisputeReads(chain);
  const terms = await disputes.readTerms();
  const look: Look = { ...options, isLaneWanted, disputes, terms, seen: new Set() };
  const isOpen = ({ timestampSec }: SettledBatch) =>
    timestampSec + terms.proofWindowSec >= chain.view.head.timestampSec;
  const batches = chain.view.batches().filter((one) => isOpen(one) && isWanted(one));
  for await (const { settled, findings } of auditAll(look, batches)) {
    yield* judge(look, findInPages(look, settled, findings));
    yield* judge(look, findOmissions(look, settled));
    yield* judge(look, findInAnswers(look, settled, findings));
  }
}

/**
 * What a payer's receipt proves by now: that another one was settled in its place, or that it is
 * wrong itself. Undefined if it is not settled, or is honest.
 * @throws DefaasClientError BATCH_BLOCK_MISSING it is settled, and nobody shows the pages
 */
export async function evidenceOfHeld(
  { chain, getBlock }: Pick<FindFraudsOptions, 'chain' | 'getBlock'>,
  held: HeldReceipt,
): Promise<Evidence | undefined> {
  const { receipt } = held.signed;
  const { payer, gateway, signer, seq } = receipt;
  for (const settled of chain.view.batches(gateway)) {
    const claim = settled.claims.findIndex((row) => {
      return row.payer === payer && row.signer === signer && seq > row.seqFrom && seq <= row.seq;
    });
    if (claim < 0) continue;
    const place = placeAt(settled, claim);
    const index = seq - place.seqFrom - 1;
    const cid = batchCid(settled.cidDigest);
    const batch = await readBatch(cid, getBlock(gateway)).catch(passWithheld);
    const opened = (await openLane(batch, place, new Set([index])))?.get(index);
    if (opened === undefined) {
      throw new DefaasClientError(
        'BATCH_BLOCK_MISSING',
        `nobody shows receipt ${index} in claim ${claim} of batch ${settled.batch} of gateway ${gateway} as it was settled, run defaas demand ${gateway} ${settled.batch} ${claim} ${index}`,
      );
    }
    const { leaf, call, execution } = opened;
    if (hashReceipt(leaf.receipt) !== hashReceipt(receipt)) {
      return omissionOf(place, held, leaf).evidence;
    }
    const disputes = createDisputeReads(chain);
    for (const kind of ['overcharge', 'over-limit'] as const) {
      const evidence: Evidence = { kind, place, leaf, call, execution };
      if ((await disputes.check(evidence)).isFraud) return evidence;
    }
  }
  return undefined;
}

interface Look extends FindFraudsOptions {
  readonly isLaneWanted: (lane: WatchedLane) => boolean;
  readonly disputes: ReturnType<typeof createDisputeReads>;
  readonly terms: DisputeTerms;
  /** Evidence that this pass has reported. */
  readonly seen: Set<string>;
}

type Suspicion = Omit<Found, 'damage'>;

/** Yields each batch with the audit's findings, gateway by gateway. */
async function* auditAll(
  { chain, isLaneWanted, getBlock, recover }: Look,
  batches: readonly SettledBatch[],
): AsyncGenerator<BatchAudit> {
  const wanted = new Set(batches);
  for (const gateway of new Set(batches.map((one) => one.gateway))) {
    yield* auditBatches({
      view: chain.view,
      domain: chain.domain,
      getBlock: getBlock(gateway),
      gateway,
      isWanted: (batch) => wanted.has(batch),
      ...(recover && { recover }),
      isLaneWanted: ({ payer, signer }) => isLaneWanted({ gateway, payer, signer }),
    });
  }
}

async function* findInPages(
  look: Look,
  settled: SettledBatch,
  findings: readonly Finding[],
): AsyncGenerator<Suspicion> {
  const getBlock = look.getBlock(settled.gateway);
  const { pick } = look;
  const gathering = { view: look.chain.view, getBlock, settled, findings, ...(pick && { pick }) };
  for await (const { evidence, finding } of gatherEvidence(gathering)) {
    if (evidence.kind !== 'withheld') yield { evidence, message: finding.message };
    else if (finding.index !== undefined) yield { evidence, message: finding.message };
    else yield* demandable(look, evidence.place, finding.message);
  }
}

/**
 * For a claim whose pages nobody shows. The payer's own receipts may explain it; otherwise a leaf
 * that they do not explain is to be demanded.
 */
function* demandable(look: Look, place: Place, message: string): Generator<Suspicion> {
  if (!look.isLaneWanted(place)) return;
  const count = place.seqTo - place.seqFrom;
  const held = heldBy(look, place);
  /** The receipt held for a leaf; undefined if there is none or there are several. */
  const idAt = (index: number) => {
    const [one, ...others] = held.get(index) ?? [];
    return one && others.length === 0 ? hashReceipt(one.signed.receipt) : undefined;
  };
  const ids = held.size < count ? [] : Array.from({ length: count }, (_, index) => idAt(index));
  const known = ids.filter((id) => id !== undefined);
  if (known.length === count && rootOf(known) === place.receipts) return;
  const { pick = (of) => Math.floor(Math.random() * of) } = look;
  const start = pick(count);
  // Picks a leaf for which the gateway has signed two receipts, or else the next leaf without a
  // held receipt: an answer shows little about a receipt that is held.
  const [twice] = [...held].find(([, ofLeaf]) => ofLeaf.length > 1) ?? [];
  const steps = Array.from({ length: Math.min(count, held.size + 1) }, (_, step) => step);
  const free = steps.find((step) => idAt((start + step) % count) === undefined) ?? 0;
  const index = twice ?? (start + free) % count;
  yield { evidence: { kind: 'withheld', place, index }, message };
}

/** The held receipts of a claim, by index in its lane tree, without duplicates. */
function heldBy(look: Look, place: Place): ReadonlyMap<number, readonly HeldReceipt[]> {
  const byId = new Map(
    (look.held?.(place) ?? []).map((one) => [hashReceipt(one.signed.receipt), one]),
  );
  const inClaim = [...byId.values()].filter(({ signed: { receipt } }) => {
    return receipt.seq > place.seqFrom && receipt.seq <= place.seqTo;
  });
  return Map.groupBy(inClaim, ({ signed }) => signed.receipt.seq - place.seqFrom - 1);
}

/** D2: a receipt that the gateway signed for the payer, and the one settled in its place. */
async function* findOmissions(look: Look, settled: SettledBatch): AsyncGenerator<Suspicion> {
  for (const claim of settled.claims.keys()) {
    const place = placeAt(settled, claim);
    if (look.held === undefined || !look.isLaneWanted(place)) continue;
    const indexes = heldBy(look, place);
    if (indexes.size === 0) continue;
    const getBlock = look.getBlock(settled.gateway);
    const batch = await readBatch(batchCid(settled.cidDigest), getBlock).catch(passWithheld);
    const leaves = await openLane(batch, place, new Set(indexes.keys()));
    for (const [index, { leaf }] of leaves ?? []) {
      for (const one of indexes.get(index) ?? []) {
        const isSettled = hashReceipt(one.signed.receipt) === hashReceipt(leaf.receipt);
        if (!isSettled) yield omissionOf(place, one, leaf);
      }
    }
  }
}

function omissionOf(
  place: Place,
  { signed }: HeldReceipt,
  leaf: Opened['leaf'],
): { evidence: Evidence; message: string } {
  const { receipt: opened, path } = leaf;
  const message = `receipt ${signed.receipt.seq} was signed as ${hashReceipt(signed.receipt)} and settled as ${hashReceipt(opened)}`;
  const node = hashReceipt(opened);
  return { evidence: { kind: 'omission', signed, place, node, path, opened }, message };
}

/**
 * For receipts that only an answer to a demand has opened: tries every fraud that one opened
 * receipt can prove.
 */
async function* findInAnswers(
  look: Look,
  settled: SettledBatch,
  findings: readonly Finding[],
): AsyncGenerator<Suspicion> {
  const { chain } = look;
  const withheld = findings.filter(({ code, index }) => isWithheld(code) && index === undefined);
  const answered = chain.view.demands(settled.gateway).filter(({ batch, claim, answer }) => {
    const isHidden = withheld.some((finding) => (finding.claim ?? claim) === claim);
    return batch === settled.batch && answer !== undefined && isHidden;
  });
  for (const demand of answered) {
    const place = placeAt(settled, demand.claim);
    if (look.isLaneWanted(place)) yield* findInAnswer(look, place, demand);
  }
}

function* findInAnswer(
  look: Look,
  place: Place,
  { id, index, answer }: Demand,
): Generator<Suspicion> {
  if (answer === undefined) return;
  const { receipt, path, call, execution } = answer;
  const leaf = { receipt, index, path };
  const opened = { place, leaf, call, execution };
  const message = `the answer to demand ${id} shows receipt ${receipt.seq}`;
  yield { evidence: { kind: 'edge', place, leaf }, message };
  yield { evidence: { kind: 'overcharge', ...opened }, message };
  yield { evidence: { kind: 'over-limit', ...opened }, message };
  yield { evidence: misrouteOf(look.chain.view, opened), message };
  for (const one of heldBy(look, place).get(leaf.index) ?? []) {
    const isSettled = hashReceipt(one.signed.receipt) === hashReceipt(receipt);
    if (!isSettled) yield omissionOf(place, one, leaf);
  }
}

/** Passes on the candidates that the chain confirms: it alone decides. */
async function* judge(look: Look, candidates: AsyncGenerator<Suspicion>): AsyncGenerator<Found> {
  for await (const candidate of candidates) {
    const { evidence } = candidate;
    const name =
      evidence.kind === 'withheld'
        ? demandIdOf(evidence.place, evidence.index)
        : proofIdOf(evidence);
    if (look.seen.has(name)) continue;
    look.seen.add(name);
    const damage =
      evidence.kind === 'withheld'
        ? demandDamage(look, evidence)
        : await fraudDamage(look, evidence);
    if (damage !== undefined) yield { ...candidate, damage };
  }
}

/** Undefined if it is too late, or if somebody has demanded it already. */
function demandDamage({ chain, terms }: Look, { place, index }: Withheld): bigint | undefined {
  const { view } = chain;
  if (place.settledAtSec + terms.demandWindowSec < view.head.timestampSec) return undefined;
  const id = demandIdOf(place, index);
  const ofClaim = view.demands(place.gateway).filter(({ batch, claim, state }) => {
    return batch === place.batch && claim === place.claim && state !== 'answered';
  });
  // One unanswered demand returns all that the claim took.
  if (ofClaim.length > 0) return undefined;
  if (view.demands(place.gateway).some((demand) => demand.id === id)) return undefined;
  return place.settledTo - place.settledFrom;
}

/** Undefined if the chain finds no fraud in it, or if it is proven and paid. */
async function fraudDamage({ disputes }: Look, evidence: Evidence): Promise<bigint | undefined> {
  try {
    const { isFraud, damage } = await disputes.check(evidence);
    if (!isFraud) return undefined;
    const { isFirst, leftUnits } = await readLeft(disputes, evidence, damage);
    return isFirst || leftUnits > 0n ? damage : undefined;
  } catch (error) {
    if (error instanceof ChainError && error.revert !== undefined) return undefined;
    throw error;
  }
}
