// The audit of one lane's claim: its receipts are hashed into the lane's tree again, each receipt
// is checked, and the sum is compared with what the lane paid.
import type { ChainView, SettledBatch } from '../../contracts/chain/types.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { createRoot } from '../../contracts/libraries/ordered-merkle.ts';
import { type Claim, hashReceipt } from '../../contracts/libraries/receipts.ts';
import { splitPrice } from '../../contracts/libraries/tariffs.ts';
import type { BatchLane } from './batch.ts';
import { type BatchReceipt, PASSED_OVER, type PassedOver } from './batch-format.ts';
import { blockFault, type Fault, type Location, MAX_FINDINGS, type Report } from './findings.ts';
import { createLargestOfEach, type Largest } from './largest.ts';
import {
  capUnits,
  orderFaults,
  type ReceiptContext,
  type ReceiptView,
  receiptFaults,
} from './receipt-faults.ts';

/**
 * How often deployments of a draw did not give the answer, by reason. No receipt proves the reason,
 * but the rates show a gateway that steers calls.
 */
export type PassedOverCounts = Readonly<Record<PassedOver | 'HEDGED' | 'FAILED', number>>;

/** What an audit carries from lane to lane. */
export interface LaneContext extends ReceiptContext {
  readonly view: ReceiptView & Pick<ChainView, 'ownerAt'>;
  readonly passedOver: Record<keyof PassedOverCounts, number>;
  readonly totals: { proven: number; findings: number; unexplained: bigint };
}

export interface LaneAudit {
  readonly settled: SettledBatch;
  /** Index of the claim in its batch. */
  readonly number: number;
  readonly claim: Claim;
  readonly lane: BatchLane;
  /** Payee -> its share by the receipts, base units; added to. */
  readonly owed: Map<Address, bigint>;
  readonly report: Report;
}

/**
 * Audits one lane. Resolves to true when every receipt was read and its payees are known, so that
 * payouts can be checked.
 */
export async function auditLane(context: LaneContext, parts: LaneAudit): Promise<boolean> {
  const { claim, report } = parts;
  const location = { lane: { payer: claim.payer, signer: claim.signer }, claim: parts.number };
  let read: LaneReading;
  try {
    read = await readLane(context, parts);
  } catch (error) {
    report({ ...blockFault(error), units: claim.settledTo - claim.settledFrom }, location);
    return false;
  }
  if (!read.isSettledTree) {
    reportTree(context, parts, read, location);
    return false;
  }
  reportFaults(context, parts, read, location);
  context.totals.proven += read.proven;
  for (const [payee, units] of read.owed) {
    parts.owed.set(payee, (parts.owed.get(payee) ?? 0n) + units);
  }
  return read.hasPayees;
}

/** A receipt's fault, with the units by which it ranks among those of its code and lane. */
interface LaneFault {
  readonly fault: Fault;
  readonly seq: number;
  readonly index: number;
  readonly ownUnits: bigint;
}

/** What the receipts of one lane add up to. */
interface LaneReading {
  readonly count: number;
  /** The tree over them is the one that was settled. */
  readonly isSettledTree: boolean;
  readonly faults: Largest<LaneFault>;
  /** Sum over all faults, listed or not. */
  readonly faultUnits: bigint;
  /** The lane's first CUMULATIVE_BREAK. */
  readonly firstBreak: Fault | undefined;
  /** Receipts without a fault. */
  readonly proven: number;
  /** The last receipt's cumulative sum. */
  readonly cumulative: bigint;
  readonly prices: bigint;
  readonly owed: ReadonlyMap<Address, bigint>;
  /** Every receipt's payees are known. */
  readonly hasPayees: boolean;
}

/** @throws DefaasClientError the codes of BatchLane.receipts */
async function readLane(context: LaneContext, parts: LaneAudit): Promise<LaneReading> {
  const { settled, claim } = parts;
  const claimed = claim.settledTo - claim.settledFrom;
  const tree = createRoot();
  const faults = createLargestOfEach<LaneFault>(MAX_FINDINGS, {
    kindOf: ({ fault }) => fault.code,
    unitsOf: ({ ownUnits }) => ownUnits,
  });
  const owed = new Map<Address, bigint>();
  let faultUnits = 0n;
  let firstBreak: Fault | undefined;
  let proven = 0;
  let cumulative = claim.settledFrom;
  let prices = 0n;
  let hasPayees = true;
  for await (const item of parts.lane.receipts()) {
    const { receipt } = item;
    const leaf = hashReceipt(receipt);
    const found = [
      ...orderFaults(item, claim, settled.gateway, tree.count, cumulative),
      ...receiptFaults(context, settled, claim, item, leaf),
    ];
    tree.add(leaf);
    countPassedOver(context, item);
    // More receipts than were settled: the tree differs already. Reading on would have no bound.
    if (tree.count > claim.seqTo - claim.seqFrom) break;
    cumulative = receipt.cumulative;
    prices += receipt.price;
    hasPayees = addShares(context, settled, item, owed) && hasPayees;
    if (found.length === 0) proven += 1;
    // Each unit of a receipt counts once, and each fault ranks by all of its own: else one that
    // cannot be proven takes them from one that can.
    for (const [place, fault] of [...capUnits(found, receipt.price)].entries()) {
      const isFirstBreak = firstBreak === undefined && fault.code === 'CUMULATIVE_BREAK';
      if (isFirstBreak) firstBreak = fault;
      faultUnits += fault.units;
      // The first break stands for everything that the lane was overcharged, so it ranks first.
      const ownUnits = isFirstBreak ? claimed : (found[place]?.units ?? 0n);
      faults.add({ fault, seq: receipt.seq, index: tree.count - 1, ownUnits });
    }
  }
  const { count } = tree;
  const isSettledTree = count === claim.seqTo - claim.seqFrom && tree.root() === claim.receipts;
  return {
    count,
    isSettledTree,
    faults,
    faultUnits,
    firstBreak,
    proven,
    cumulative,
    prices,
    owed,
    hasPayees,
  };
}

function countPassedOver({ passedOver }: LaneContext, { attempts }: BatchReceipt): void {
  for (const { code } of attempts) {
    const reason = PASSED_OVER.find((one) => one === code);
    passedOver[reason ?? (code === 'HEDGED' ? 'HEDGED' : 'FAILED')] += 1;
  }
}

/**
 * The pages hold other receipts than those that were settled: no receipt explains the money, so the
 * whole claim is unexplained, and the receipts' own faults add no units.
 */
function reportTree(
  context: LaneContext,
  { claim, report }: LaneAudit,
  read: LaneReading,
  location: Location,
): void {
  const count = claim.seqTo - claim.seqFrom;
  const code = read.count < count ? 'RECEIPT_MISSING' : 'LANE_ROOT_MISMATCH';
  const message = `its pages have ${read.count} receipts, the chain ${count} with the root ${claim.receipts}; they are not those that were settled`;
  report({ code, units: claim.settledTo - claim.settledFrom, message }, location);
  const listed = read.faults.items();
  for (const { fault, seq } of listed) report({ ...fault, units: 0n }, { ...location, seq });
  countUnlisted(context, read.faults.count - listed.length, 0n);
}

function reportFaults(
  context: LaneContext,
  { claim, report }: LaneAudit,
  read: LaneReading,
  location: Location,
): void {
  const overchargedUnits = max(claim.settledTo - claim.settledFrom - read.prices, 0n);
  const isExact = read.cumulative === claim.settledTo;
  if (!isExact) {
    const message = `its last receipt has the sum ${read.cumulative}, taken were ${claim.settledTo}`;
    const last = { ...location, index: read.count - 1 };
    report({ code: 'CUMULATIVE_BREAK', units: overchargedUnits, message }, last);
  }
  let unlistedUnits = read.faultUnits;
  const listed = read.faults.items();
  for (const { fault, seq, index, ownUnits } of listed) {
    const isCounted = isExact && fault === read.firstBreak;
    const units = isCounted ? overchargedUnits : fault.units;
    report({ ...fault, units }, { ...location, seq, index, ...(ownUnits > units && { ownUnits }) });
    unlistedUnits -= fault.units;
  }
  countUnlisted(context, read.faults.count - listed.length, unlistedUnits);
}

function countUnlisted({ totals }: LaneContext, count: number, units: bigint): void {
  totals.findings += count;
  totals.unexplained += units;
}

/**
 * Adds the shares of a receipt's payees; the fee stays in the gateway's bond. False when the payees
 * are unknown.
 */
function addShares(
  context: LaneContext,
  settled: SettledBatch,
  { receipt, call }: BatchReceipt,
  owed: Map<Address, bigint>,
): boolean {
  const version = context.view.versionByHash(call.functionVersion);
  const owner = version && context.view.ownerAt(version.functionId, receipt.atBlock);
  if (!version || !owner) return false;
  const shares = splitPrice(receipt.price, settled.feeBps, version.tariff.publisherBps);
  owed.set(receipt.provider, (owed.get(receipt.provider) ?? 0n) + shares.provider);
  owed.set(owner, (owed.get(owner) ?? 0n) + shares.publisher);
  return true;
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
