// The audit: replays every batch of a gateway from the chain's logs and its pages on IPFS, and says which units nobody can explain.
// It asks the gateway nothing and trusts it in nothing; a page is in memory at a time.
import type { ChainView, SettledBatch } from '../../contracts/chain/types.ts';
import { drawOrder, drawSeed } from '../../contracts/libraries/draw.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { createRoot, rootOf, verifyPath } from '../../contracts/libraries/ordered-merkle.ts';
import { type Claim, hashClaim, hashReceipt } from '../../contracts/libraries/receipts.ts';
import { priceOf, splitPrice } from '../../contracts/libraries/tariffs.ts';
import {
  type Eip712Domain,
  hashReceiptGroup,
  hashToSign,
} from '../../contracts/libraries/typed-data.ts';
import { recoverAddress } from '../../contracts/signatures.ts';
import {
  type Batch,
  type BatchLane,
  type BatchReceipt,
  batchCid,
  type FailedAttempt,
  type GetBlock,
  PASSED_OVER,
  type PassedOver,
  readBatch,
} from './batch.ts';
import { DefaasClientError } from './errors.ts';
import { createLargest, type Largest } from './largest.ts';

/** Most findings that are listed, of a batch and of an audit, and kept of a lane that is read; all are counted. */
const MAX_FINDINGS = 1000;
/** Group signers remembered: receipts of one group stand close together. */
const MAX_SIGNERS = 4096;
/** Lane mode in which the payer's key signs every Call (docs/contracts.md 3). */
const SIGNED = 2;
/** Hex digits kept of a charged call's hash, to see it charged twice: 64 bits. */
const CALL_MARK_LENGTH = 18;

export type FindingCode =
  | 'BATCH_BLOCK_MISSING'
  | 'BATCH_BLOCK_ALTERED'
  | 'BATCH_MALFORMED'
  | 'HEADER_MISMATCH'
  | 'CLAIM_MISMATCH'
  | 'LANE_ROOT_MISMATCH'
  | 'RECEIPT_MISSING'
  | 'RECEIPT_MISPLACED'
  | 'RECEIPT_OF_OTHER_LANE'
  | 'CUMULATIVE_BREAK'
  | 'GROUP_PATH_INVALID'
  | 'GROUP_SIGNATURE_INVALID'
  | 'VERSION_UNKNOWN'
  | 'PRICE_ABOVE_TARIFF'
  | 'PRICE_ABOVE_MAX'
  | 'DEADLINE_PASSED'
  | 'INPUT_MISMATCH'
  | 'CALL_OF_OTHER_LANE'
  | 'CALL_CHARGED_TWICE'
  | 'CALL_UNSIGNED'
  | 'DEPLOYMENT_MISMATCH'
  | 'PROVIDER_MISMATCH'
  | 'EPOCH_UNRECORDED'
  | 'EPOCH_STALE'
  | 'OUT_OF_DRAW'
  | 'PLACE_UNACCOUNTED'
  | 'PAYOUT_SHORT'
  | 'PAYOUT_OVER';

/** Something that is not as it has to be: where, what, and how many base units it leaves unexplained. */
export interface Finding {
  readonly code: FindingCode;
  readonly gateway: Address;
  readonly batch: number;
  readonly lane?: { readonly payer: Address; readonly signer: Address };
  readonly seq?: number;
  /** Number of the claim in the batch, and of the receipt in its lane tree: where it stands, whatever it says. */
  readonly claim?: number;
  readonly index?: number;
  readonly units: bigint;
  /** Who is paid too little or too much. */
  readonly payee?: Address;
  /** One line for people. */
  readonly message: string;
}

export interface AuditResult {
  readonly batches: number;
  /** Receipts that the chain says were settled. */
  readonly receipts: number;
  /** Those of them that were read, stand in their lane's tree and show nothing wrong. */
  readonly proven: number;
  readonly totalUnits: bigint;
  /** Units taken from lanes without a receipt that explains them, and units that a payee was left without. */
  readonly unexplainedUnits: bigint;
  /** The 1000 largest, in their order. */
  readonly findings: readonly Finding[];
  readonly findingCount: number;
  readonly passedOver: PassedOverCounts;
}

/** How often deployments of a draw did not give the answer, by reason. No receipt proves the reason: a gateway that steers calls shows in the rates. */
export type PassedOverCounts = Readonly<Record<PassedOver | 'HEDGED' | 'FAILED', number>>;

/** What the audit reads of the chain: a view made of logs alone. */
export type AuditView = Pick<
  ChainView,
  | 'batches'
  | 'versionByHash'
  | 'deploymentById'
  | 'candidates'
  | 'epochOf'
  | 'latestEpochAt'
  | 'operatorKeys'
  | 'lane'
  | 'ownerAt'
>;

export interface AuditOptions {
  readonly view: AuditView;
  /** Billing's domain: receipts belong to one chain and one token. */
  readonly domain: Eip712Domain;
  /** From IPFS or any mirror: what it gives is checked against the CID. */
  readonly getBlock: GetBlock;
  /** All gateways, when left out. */
  readonly gateway?: Address;
  /** Of their batches, all when left out. */
  readonly isWanted?: (batch: SettledBatch) => boolean;
  /** Of a batch's lanes, all when left out; shares of payees are judged only in a batch that is read whole. */
  readonly isLaneWanted?: (claim: Pick<Claim, 'payer' | 'signer'>) => boolean;
  /**
   * Blocks after which a recorded epoch counts as final on this chain: a prepaid call must be drawn by the newest one that was final
   * when it was authorised. 0 by default, for chains whose blocks are final at once.
   */
  readonly finalAfterBlocks?: number;
  /** Who signed a digest. By ethers when left out; in Node the broker's native one is quicker. */
  readonly recover?: Recover;
  /** Called after each batch, for progress. */
  readonly onBatch?: (done: number, of: number) => void;
}

/** The account that signed a digest by ECDSA; undefined where nobody did. */
export type Recover = (digest: Hex, signature: Hex) => Address | undefined;

/**
 * Replays all batches. A finding is a value, never an exception: it rejects only when the view itself fails.
 * Judged are: roots and claims against the logs, the order and sums in each lane, prices against the version's tariff, group signatures by keys
 * in force, signed Calls, the draw against recorded epochs, deployments and their providers, and every payee's share.
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
  /** The 1000 largest, in their order. */
  readonly findings: readonly Finding[];
}

/** As `audit`, batch by batch: none of them leaves less room for what is wrong with another. */
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
    const findings = createLargest<Finding>(MAX_FINDINGS);
    await auditBatch(run, settled, findings);
    run.totals.batches += 1;
    run.onBatch?.(run.totals.batches, batches.length);
    yield { settled, findings: findings.items() };
  }
}

/** What one audit carries from batch to batch. */
interface Run extends AuditOptions {
  readonly recover: Recover;
  /** Marks of the charged calls of each lane. */
  readonly charged: Map<string, Set<string>>;
  /** Group -> its signer; undefined when the signature recovers to nobody. */
  readonly signers: Map<string, Address | undefined>;
  readonly passedOver: Record<keyof PassedOverCounts, number>;
  readonly totals: {
    batches: number;
    receipts: number;
    proven: number;
    findings: number;
    total: bigint;
    unexplained: bigint;
  };
}

interface Fault {
  readonly code: FindingCode;
  /** Base units that this leaves unexplained. */
  readonly units: bigint;
  readonly message: string;
}

/** Of a receipt, with what it ranks by among those of its lane. */
interface LaneFault {
  readonly fault: Fault;
  readonly seq: number;
  readonly index: number;
  readonly units: bigint;
}

type Place = Pick<Finding, 'lane' | 'seq' | 'claim' | 'index' | 'payee'>;

async function auditBatch(
  run: Run,
  settled: SettledBatch,
  findings: Largest<Finding>,
): Promise<void> {
  const claims = claimsOf(settled);
  run.totals.total += settled.total;
  for (const claim of claims) run.totals.receipts += claim.seqTo - claim.seqFrom;
  const report = ({ code, units, message }: Fault, place: Place = {}): void => {
    countFindings(run, 1, units);
    const { gateway, batch } = settled;
    findings.add({ code, units, message, ...place, gateway, batch });
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
  // What payees should have can be summed only over receipts that were all seen.
  if (isWhole) checkPayouts(settled, owed, report);
}

/** The claims as Billing made them: from its logs and from where each lane stood before. */
function claimsOf({ claims }: SettledBatch): Claim[] {
  return claims.map(({ settled: settledTo, seq: seqTo, ...row }) => ({ ...row, settledTo, seqTo }));
}

type Report = (fault: Fault, place?: Place) => void;

/** Opens the root block and holds it against the logs; undefined when nothing of the batch can be explained. */
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

interface LaneAudit {
  readonly settled: SettledBatch;
  /** Of the claim in its batch. */
  readonly number: number;
  readonly claim: Claim;
  readonly lane: BatchLane;
  /** Payee -> what the receipts give it; added to. */
  readonly owed: Map<Address, bigint>;
  readonly report: Report;
}

/** Replays one lane's receipts. Tells whether each was seen and its shares are known, so that payouts can be judged. */
async function auditLane(run: Run, parts: LaneAudit): Promise<boolean> {
  const { settled, claim, report } = parts;
  const place = { lane: { payer: claim.payer, signer: claim.signer }, claim: parts.number };
  const claimed = claim.settledTo - claim.settledFrom;
  const count = claim.seqTo - claim.seqFrom;
  const tree = createRoot();
  const faults = createLargest<LaneFault>(MAX_FINDINGS);
  let faultUnits = 0n;
  let firstBreak: Fault | undefined;
  let proven = 0;
  let cumulative = claim.settledFrom;
  let prices = 0n;
  let isKnown = true;
  const owed = new Map<Address, bigint>();
  try {
    for await (const item of parts.lane.receipts()) {
      const { receipt } = item;
      const leaf = hashReceipt(receipt);
      const found = [
        ...orderFaults(item, claim, settled.gateway, tree.count, cumulative),
        ...receiptFaults(run, settled, claim, item, leaf),
      ];
      tree.add(leaf);
      for (const { code } of item.attempts) {
        const passed = PASSED_OVER.find((one) => one === code);
        run.passedOver[passed ?? (code === 'HEDGED' ? 'HEDGED' : 'FAILED')] += 1;
      }
      // Pages without end are no reason to read on: the tree cannot be the settled one any more.
      if (tree.count > count) break;
      cumulative = receipt.cumulative;
      prices += receipt.price;
      isKnown = addShares(run, settled, item, owed) && isKnown;
      if (found.length === 0) proven += 1;
      for (const fault of capUnits(found, receipt.price)) {
        const isFirstBreak = firstBreak === undefined && fault.code === 'CUMULATIVE_BREAK';
        if (isFirstBreak) firstBreak = fault;
        faultUnits += fault.units;
        // The first break stands for all that is taken too much.
        const units = isFirstBreak ? claimed : fault.units;
        faults.add({ fault, seq: receipt.seq, index: tree.count - 1, units });
      }
    }
  } catch (error) {
    report({ ...blockFault(error), units: claimed }, place);
    return false;
  }
  const isTree = tree.count === count && tree.root() === claim.receipts;
  // Without the tree no receipt is tied to the money: the lane's claim stands alone.
  if (!isTree) {
    const code = tree.count < count ? 'RECEIPT_MISSING' : 'LANE_ROOT_MISMATCH';
    const message = `its pages have ${tree.count} receipts, the chain ${count} with the root ${claim.receipts}; they are not those that were settled`;
    report({ code, units: claimed, message }, place);
    const listed = faults.items();
    for (const { fault, seq } of listed) report({ ...fault, units: 0n }, { ...place, seq });
    countFindings(run, faults.count - listed.length, 0n);
    return false;
  }
  const isExact = cumulative === claim.settledTo;
  if (!isExact) {
    const message = `its last receipt has the sum ${cumulative}, taken were ${claim.settledTo}`;
    const last = { ...place, index: count - 1 };
    report({ code: 'CUMULATIVE_BREAK', units: max(claimed - prices, 0n), message }, last);
  }
  const listed = faults.items();
  for (const { fault, seq, index } of listed) {
    const isCounted = isExact && fault === firstBreak;
    const units = isCounted ? max(claimed - prices, 0n) : fault.units;
    report({ ...fault, units }, { ...place, seq, index });
    faultUnits -= fault.units;
  }
  countFindings(run, faults.count - listed.length, faultUnits);
  run.totals.proven += proven;
  for (const [payee, units] of owed) {
    parts.owed.set(payee, (parts.owed.get(payee) ?? 0n) + units);
  }
  return isKnown;
}

/** D3: every leaf is of its lane, at its place, and carries the sum on. */
function* orderFaults(
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
    // How much that comes to shows at the end of the lane: breaks may cancel each other.
    yield { code: 'CUMULATIVE_BREAK', units: 0n, message };
  }
}

/** D4, D5, D6: what a receipt says for itself, against the chain. */
function* receiptFaults(
  run: Run,
  settled: SettledBatch,
  claim: Claim,
  item: BatchReceipt,
  leaf: Hex,
): Generator<Fault> {
  yield* groupFaults(run, settled, item, leaf);
  yield* priceFaults(run, item);
  yield* callFaults(run, settled, claim, item);
  yield* drawFaults(run, settled, claim, item);
}

function* groupFaults(
  run: Run,
  settled: SettledBatch,
  { receipt, execution, group }: BatchReceipt,
  leaf: Hex,
): Generator<Fault> {
  const units = receipt.price;
  if (!verifyPath(leaf, group.index, group.count, group.path, group.root)) {
    const message = `does not stand at ${group.index} of the signed group ${group.root}`;
    yield { code: 'GROUP_PATH_INVALID', units, message };
  }
  const signer = groupSigner(run, settled.gateway, group);
  const key = run.view.operatorKeys(settled.gateway).find((known) => known.key === signer);
  const isInForce =
    key !== undefined &&
    key.fromSec <= settled.timestampSec &&
    (key.untilSec === 0 || execution.finishedAtSec <= key.untilSec);
  if (!isInForce) {
    const message = `its group is signed by ${signer ?? 'nobody'}, no key of the gateway in force then`;
    yield { code: 'GROUP_SIGNATURE_INVALID', units, message };
  }
}

function* priceFaults(run: Run, { receipt, call, execution }: BatchReceipt): Generator<Fault> {
  const terms = run.view.versionByHash(call.functionVersion);
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

/** D5: against the Call. What was not charged needs no excuse. */
function* callFaults(
  run: Run,
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
  const charged = chargedCalls(run, laneKey(settled.gateway, claim.payer, claim.signer));
  const mark = receipt.call.slice(0, CALL_MARK_LENGTH);
  if (charged.has(mark)) {
    const message = `the call ${receipt.call} was charged before`;
    yield { code: 'CALL_CHARGED_TWICE', units, message };
  }
  charged.add(mark);
  if (!isSignedLane(run, settled.gateway, claim)) return;
  const digest = hashToSign(run.domain, receipt.call);
  if (!callSignature || run.recover(digest, callSignature) !== claim.signer) {
    yield { code: 'CALL_UNSIGNED', units, message: 'the lane’s key has not signed its Call' };
  }
}

/** D6: the deployment that ran stands at its place of the order drawn for this call, the places before it are accounted for, and its provider is the one that is paid. */
function* drawFaults(
  run: Run,
  settled: SettledBatch,
  claim: Claim,
  { receipt, call, execution, attempts }: BatchReceipt,
): Generator<Fault> {
  const units = receipt.price;
  const deployment = run.view.deploymentById(execution.deployment);
  if (deployment?.functionVersion !== call.functionVersion) {
    const message = `ran on deployment ${execution.deployment}, which is none of its version`;
    yield { code: 'DEPLOYMENT_MISMATCH', units, message };
    return;
  }
  if (deployment.provider !== receipt.provider) {
    const message = `names the provider ${receipt.provider}, deployment ${execution.deployment} is ${deployment.provider}'s`;
    yield { code: 'PROVIDER_MISMATCH', units, message };
  }
  const epoch = run.view.epochOf(call.beacon);
  if (!epoch) {
    const message = `is drawn by epoch ${call.beacon}, which has no recorded value`;
    yield { code: 'EPOCH_UNRECORDED', units, message };
    return;
  }
  const ids = run.view.candidates(call.functionVersion, settled.gateway, call.beacon)?.ids ?? [];
  const order = drawOrder(drawSeed(epoch.value, call), ids);
  const places = attempts.map((attempt) => order.indexOf(attempt.deployment));
  // D6 takes either candidate for the places 0 and 1; an honest gateway names the very place.
  if (order[receipt.attempt] !== execution.deployment || places.includes(-1)) {
    const message = `ran on deployment ${execution.deployment} at attempt ${receipt.attempt}, the order drawn was ${order.join(', ')}`;
    yield { code: 'OUT_OF_DRAW', units, message };
  } else {
    const message = unaccounted(receipt.attempt, attempts, places);
    if (message !== undefined) yield { code: 'PLACE_UNACCOUNTED', units, message };
  }
  if (isSignedLane(run, settled.gateway, claim)) return;
  // In a prepaid lane the gateway writes the Call: a choice of epochs would be a choice of draws.
  const newest = run.view.latestEpochAt(receipt.atBlock - (run.finalAfterBlocks ?? 0));
  if (newest !== undefined && call.beacon < newest.epoch) {
    const message = `is drawn by epoch ${call.beacon}, at block ${receipt.atBlock} epoch ${newest.epoch} was final`;
    yield { code: 'EPOCH_STALE', units, message };
  }
}

/**
 * What is wrong with a receipt's account of the places before the used one: each was tried, or passed over for a reason that can be.
 * `places` are those of the attempts in the drawn order. Undefined when nothing is.
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
  // The load is compared once, between the first two that may run it; when the first is passed over, the second has run.
  const loads = attempts.filter(({ code }) => code === 'LOAD').length;
  if (loads > 1 || (loads === 1 && attempts.some(isTried))) return 'compares the load twice';
  return undefined;
}

/** Adds what this receipt gives to its payees; the fee stays with the gateway's bond. False when nobody knows the payees. */
function addShares(
  run: Run,
  settled: SettledBatch,
  { receipt, call }: BatchReceipt,
  owed: Map<Address, bigint>,
): boolean {
  const version = run.view.versionByHash(call.functionVersion);
  const owner = version && run.view.ownerAt(version.functionId, receipt.atBlock);
  if (!version || !owner) return false;
  const shares = splitPrice(receipt.price, settled.feeBps, version.tariff.publisherBps);
  owed.set(receipt.provider, (owed.get(receipt.provider) ?? 0n) + shares.provider);
  owed.set(owner, (owed.get(owner) ?? 0n) + shares.publisher);
  return true;
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
    // What one payee has too much is what another lacks, or the gateway's own fee: it is counted once, where it lacks.
    if (got < due) report({ code: 'PAYOUT_SHORT', units: due - got, message }, { payee });
    else report({ code: 'PAYOUT_OVER', units: 0n, message }, { payee });
  }
}

function groupSigner(
  run: Run,
  gateway: Address,
  group: BatchReceipt['group'],
): Address | undefined {
  const key = `${gateway} ${group.root} ${group.count} ${group.signature}`;
  if (run.signers.has(key)) return run.signers.get(key);
  const digest = hashReceiptGroup(run.domain, { gateway, root: group.root, count: group.count });
  const signer = run.recover(digest, group.signature);
  if (run.signers.size >= MAX_SIGNERS) run.signers.clear();
  run.signers.set(key, signer);
  return signer;
}

function isSignedLane(run: Run, gateway: Address, claim: Claim): boolean {
  return run.view.lane(claim.payer, gateway, claim.signer)?.mode === SIGNED;
}

function isOfLane(
  named: { payer: Address; gateway: Address; signer: Address },
  claim: Claim,
  gateway: Address,
): boolean {
  return named.payer === claim.payer && named.signer === claim.signer && named.gateway === gateway;
}

function chargedCalls(run: Run, key: string): Set<string> {
  const known = run.charged.get(key) ?? new Set();
  run.charged.set(key, known);
  return known;
}

/** One receipt leaves at most its price unexplained, however much is wrong with it. */
function* capUnits(faults: readonly Fault[], price: bigint): Generator<Fault> {
  let left = price;
  for (const fault of faults) {
    const units = fault.units < left ? fault.units : left;
    left -= units;
    yield { ...fault, units };
  }
}

function blockFault(error: unknown): Pick<Fault, 'code' | 'message'> {
  if (!(error instanceof DefaasClientError)) throw error;
  const { code, message } = error;
  if (
    code === 'BATCH_BLOCK_MISSING' ||
    code === 'BATCH_BLOCK_ALTERED' ||
    code === 'BATCH_MALFORMED'
  ) {
    return { code, message };
  }
  throw error;
}

function countFindings(run: Run, count: number, units: bigint): void {
  run.totals.findings += count;
  run.totals.unexplained += units;
}

function laneKey(gateway: Address, payer: Address, signer: Address): string {
  return `${gateway}:${payer}:${signer}`;
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
