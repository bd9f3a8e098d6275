// The audit: recomputes every settled batch of a gateway from the chain's logs and the batch's
// pages on IPFS, and reports the units that no receipt explains. It asks the gateway nothing and
// does not trust it. One page is in memory at a time.
import type { ChainView, SettledBatch } from '../../contracts/chain/types.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { rootOf } from '../../contracts/libraries/ordered-merkle.ts';
import { type Claim, hashClaim } from '../../contracts/libraries/receipts.ts';
import type { Eip712Domain } from '../../contracts/libraries/typed-data.ts';
import { recoverAddress } from '../../contracts/signatures.ts';
import { auditLane, type LaneContext, type PassedOverCounts } from './audit-lane.ts';
import { type Batch, batchCid, type GetBlock, readBatch } from './batch.ts';
import {
  blockFault,
  createFindings,
  type Fault,
  type Finding,
  type FindingCode,
  type Location,
  MAX_FINDINGS,
  type Report,
} from './findings.ts';
import { createLargest, type Largest } from './largest.ts';
import type { ReceiptView, Recover } from './receipt-faults.ts';

export interface AuditResult {
  readonly batches: number;
  /** Receipts that the chain says were settled. */
  readonly receipts: number;
  /** Those of them that were read, are leaves of their lane's tree and have no fault. */
  readonly proven: number;
  readonly totalUnits: bigint;
  /** Units taken from lanes that no receipt explains, and units that payees did not get. */
  readonly unexplainedUnits: bigint;
  /** The MAX_FINDINGS largest of each code, in order of appearance. */
  readonly findings: readonly Finding[];
  readonly findingCount: number;
  readonly passedOver: PassedOverCounts;
}

/** What the audit reads of the chain: a view built from logs alone. */
export type AuditView = ReceiptView & Pick<ChainView, 'batches' | 'ownerAt'>;

export interface AuditOptions {
  readonly view: AuditView;
  /** Billing's domain: receipts belong to one chain and one token. */
  readonly domain: Eip712Domain;
  /** From IPFS or any mirror: the bytes are checked against the CID. */
  readonly getBlock: GetBlock;
  /** The gateway whose batches are audited; all gateways by default. */
  readonly gateway?: Address;
  /** Selects batches; all by default. */
  readonly isWanted?: (batch: SettledBatch) => boolean;
  /** Selects lanes, all by default. Payouts are checked only in a batch that is read whole. */
  readonly isLaneWanted?: (claim: Pick<Claim, 'payer' | 'signer'>) => boolean;
  /**
   * Blocks after which a recorded epoch counts as final on this chain. A prepaid call must be drawn
   * by the newest epoch that was final when the call was authorised. 0 by default, for chains whose
   * blocks are final at once.
   */
  readonly finalAfterBlocks?: number;
  /** Recovers a signer. ethers' by default; the broker's native one is faster in Node. */
  readonly recover?: Recover;
  /** Called after each batch, for progress. */
  readonly onBatch?: (done: number, of: number) => void;
}

/**
 * Audits all batches. A finding is a value, never an exception: the promise rejects only when the
 * view itself fails. It checks roots and claims against the logs, the order and sums in each lane,
 * prices against the version's tariff, group signatures by keys in force, signed Calls, the draw
 * against recorded epochs, deployments and their providers, and every payee's share.
 */
export async function audit(options: AuditOptions): Promise<AuditResult> {
  const run = createRun(options);
  const findings = createLargest<Finding>(MAX_FINDINGS);
  for await (const ofBatch of replay(run)) {
    for (const finding of ofBatch.findings) findings.add(finding);
  }
  return {
    batches: run.totals.batches,
    receipts: run.totals.receipts,
    proven: run.totals.proven,
    totalUnits: run.totals.total,
    unexplainedUnits: run.totals.unexplained,
    findings: findings.items(),
    findingCount: run.totals.findings,
    passedOver: run.passedOver,
  };
}

/** What the audit finds in one batch. */
export interface BatchAudit {
  readonly settled: SettledBatch;
  /** The MAX_FINDINGS largest of each code, in order of appearance. */
  readonly findings: readonly Finding[];
}

/** As `audit`, batch by batch: each batch has its own list of findings. */
export function auditBatches(options: AuditOptions): AsyncGenerator<BatchAudit> {
  return replay(createRun(options));
}

function createRun(options: AuditOptions): Run {
  return {
    ...options,
    recover: options.recover ?? recoverAddress,
    charged: new Map(),
    signers: new Map(),
    passedOver: { NOT_LIVE: 0, POLICY: 0, CIRCUIT_OPEN: 0, LOAD: 0, HEDGED: 0, FAILED: 0 },
    totals: { batches: 0, receipts: 0, proven: 0, findings: 0, total: 0n, unexplained: 0n },
  };
}

async function* replay(run: Run): AsyncGenerator<BatchAudit> {
  const { view, gateway, isWanted = () => true } = run;
  const batches = view.batches(gateway).filter(isWanted);
  for (const settled of batches) {
    const findings = createFindings(MAX_FINDINGS);
    await auditBatch(run, settled, findings);
    run.totals.batches += 1;
    run.onBatch?.(run.totals.batches, batches.length);
    yield { settled, findings: findings.items() };
  }
}

/** What one audit carries from batch to batch. */
interface Run extends AuditOptions, LaneContext {
  readonly view: AuditView;
  readonly recover: Recover;
  readonly totals: LaneContext['totals'] & { batches: number; receipts: number; total: bigint };
}

async function auditBatch(
  run: Run,
  settled: SettledBatch,
  findings: Largest<Finding>,
): Promise<void> {
  const claims = claimsOf(settled);
  run.totals.total += settled.total;
  for (const claim of claims) run.totals.receipts += claim.seqTo - claim.seqFrom;
  const report = ({ code, units, message }: Fault, location: Location = {}): void => {
    run.totals.findings += 1;
    run.totals.unexplained += units;
    const { gateway, batch } = settled;
    findings.add({ code, units, message, ...location, gateway, batch });
  };

  const batch = await openBatch(run, settled, claims, report);
  if (!batch) return;
  const owed = new Map<Address, bigint>();
  let isWhole = true;
  for (const [index, claim] of claims.entries()) {
    const lane = batch.lanes[index];
    const isRead = lane !== undefined && (run.isLaneWanted?.(claim) ?? true);
    isWhole =
      isRead &&
      (await auditLane(run, { settled, number: index, claim, lane, owed, report })) &&
      isWhole;
  }
  // The payees' shares can be summed only when every receipt was read.
  if (isWhole) checkPayouts(settled, owed, report);
}

/** The claims as Billing hashed them: from its logs and the state of each lane before. */
function claimsOf({ claims }: SettledBatch): Claim[] {
  return claims.map(({ settled: settledTo, seq: seqTo, ...row }) => ({ ...row, settledTo, seqTo }));
}

/**
 * Opens the root block and compares it with the logs. Undefined, with a finding over all units,
 * when it is missing or differs.
 */
async function openBatch(
  run: Run,
  settled: SettledBatch,
  claims: readonly Claim[],
  report: Report,
): Promise<Batch | undefined> {
  const fail = (code: FindingCode, message: string) => {
    report({ code, units: settled.total, message });
    return undefined;
  };
  let batch: Batch;
  try {
    batch = await readBatch(batchCid(settled.cidDigest), run.getBlock);
  } catch (error) {
    const { code, message } = blockFault(error);
    return fail(code, message);
  }
  const { header } = batch;
  const root = rootOf(claims.map(hashClaim));
  const isOurs =
    header.chainId === run.domain.chainId &&
    header.billing === run.domain.verifyingContract &&
    header.gateway === settled.gateway &&
    header.batch === settled.batch;
  if (!isOurs || header.root !== settled.root || root !== settled.root) {
    return fail(
      'HEADER_MISMATCH',
      `its root block is of batch ${header.batch} of ${header.gateway} with root ${header.root}; the chain has ${settled.root}`,
    );
  }
  const differs = claims.findIndex((claim, index) => {
    const shown = batch.lanes[index]?.claim;
    return shown === undefined || hashClaim(shown) !== hashClaim(claim);
  });
  if (differs >= 0 || batch.lanes.length !== claims.length) {
    return fail(
      'CLAIM_MISMATCH',
      `its root block has ${batch.lanes.length} lanes, the chain ${claims.length}; the first that differs is number ${differs}`,
    );
  }
  return batch;
}

function checkPayouts(
  settled: SettledBatch,
  owed: ReadonlyMap<Address, bigint>,
  report: Report,
): void {
  const paid = new Map<Address, bigint>();
  for (const { payee, amount } of settled.payouts) {
    paid.set(payee, (paid.get(payee) ?? 0n) + amount);
  }
  for (const payee of new Set([...owed.keys(), ...paid.keys()])) {
    const due = owed.get(payee) ?? 0n;
    const got = paid.get(payee) ?? 0n;
    if (got === due) continue;
    const message = `paid ${got} to ${payee}, by the receipts ${due}`;
    // One payee's surplus is another's shortfall, or the gateway's own fee. The units count once,
    // at the shortfall.
    if (got < due) report({ code: 'PAYOUT_SHORT', units: due - got, message }, { payee });
    else report({ code: 'PAYOUT_OVER', units: 0n, message }, { payee });
  }
}
