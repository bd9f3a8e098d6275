// Settlement: what was served since the last time -> claims, payouts, pages on IPFS -> one transaction. Prepared before it is
// sent, so that a crash at any point is answered by what the chain says. A lane that the chain refuses holds up no other.

import type { TransactionSize } from '../../contracts/chain/account.ts';
import { ChainError } from '../../contracts/chain/chain-error.ts';
import type { SettleClaim } from '../../contracts/chain/writer.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { digestOf } from '../../contracts/libraries/names.ts';
import { createTree, type OrderedTree, rootOf } from '../../contracts/libraries/ordered-merkle.ts';
import { type Claim, hashClaim } from '../../contracts/libraries/receipts.ts';
import { type BatchReceipt, encodeBatch } from '../client/batch.ts';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import type { LaneState } from '../invocation/lanes.ts';
import type { BatchRecord, StoredGroup } from '../ledger/ledger.ts';
import { type BatchBounds, isWithin, readBounds } from './bounds.ts';
import { signPayouts } from './payouts.ts';
import { entriesOf, type Gathered, gatherShares, type LaneShare, owedOf } from './shares.ts';

/** Groups whose tree is kept while a batch is written. */
const KEPT_GROUPS = 1_000;
/** Most lanes of one run that are set aside because a node refuses each alone: then it refuses everything. */
const MAX_REFUSALS = 16;

/** A lane that could not be settled now. */
export interface RefusedLane {
  readonly lane: LaneState;
  /** The contract's error; `TooLargeAlone` or `NodeRefused` when no transaction of this lane alone goes through. */
  readonly reason: string;
}

export interface SettleResult {
  readonly tx: Hex;
  readonly batch: number;
  readonly lanes: number;
  readonly receipts: number;
  readonly totalUnits: bigint;
  /** Lanes left out of this batch, because the chain would not take them. */
  readonly refused: readonly RefusedLane[];
  /** Lanes that owe something and wait for the next batch, because this one has no room for them. */
  readonly left: number;
}

/** Nothing could be settled: what the chain said of the lanes that have something. */
export class SettlementRefused extends DefaasError {
  readonly refused: readonly RefusedLane[];

  constructor(refused: readonly RefusedLane[]) {
    const lanes = refused.map(({ lane, reason }) => `${lane.payer}:${lane.signer} ${reason}`);
    super(
      'SETTLEMENT_REFUSED',
      `the chain settles none of the lanes that are left (${lanes.slice(0, 3).join(', ')}), their payers are charged nothing`,
    );
    this.refused = refused;
  }
}

/**
 * Settles one batch: as many of the wanted lanes as one transaction takes, those that owe most first, or one lane of a contract
 * wallet, whose word may change until the transaction is in. A lane with free receipts only waits for a paid one. By default all
 * lanes are `wanted`.
 * @throws DefaasError NOTHING_TO_SETTLE   every receipt is settled
 * @throws DefaasError BOND_TOO_LOW  the chain takes nothing from this gateway until it has bonded more
 * @throws SettlementRefused  the chain takes none of what is left
 * @throws ChainError  the chain cannot be reached or refuses the batch as a whole; nothing is lost, the next run finds out what happened
 */
export async function settle(
  gateway: Gateway,
  wanted: (lane: LaneState) => boolean = () => true,
): Promise<SettleResult> {
  await gateway.chain.synced();
  refuseUnbonded(gateway);
  await refuseUnseen(gateway);
  await gateway.journal.flush();
  const refused: RefusedLane[] = [];
  const refuse = (lane: LaneState, reason: string): void => {
    refused.push({ lane, reason });
    const { payer, signer } = lane;
    gateway.log.error({ payer, signer, reason }, 'a lane with receipts cannot be settled');
  };
  const isLeft = (lane: LaneState): boolean => refused.every((one) => one.lane !== lane);
  const lanes = lanesByOwed(gateway, wanted);
  const whole = await readBounds(gateway);
  let bounds = whole;
  let gathered: Gathered = { shares: [], left: 0 };
  /** Lanes that a node refused without a reason that names them. */
  let refusals = 0;
  for (;;) {
    if (gathered.shares.length === 0) {
      gathered = await gatherShares(gateway, lanes.filter(isLeft), bounds, refuse);
      if (gathered.shares.length === 0) {
        throw refused.length === 0 ? nothing() : new SettlementRefused(refused);
      }
    }
    const { shares, left } = gathered;
    try {
      return { ...(await settleShares(gateway, shares, bounds)), refused, left };
    } catch (error) {
      const row = refusedRow(error);
      const share = shares[row?.index ?? -1];
      if (row !== undefined && share !== undefined) {
        refuse(share.lane, row.reason);
        gathered = { shares: shares.filter((one) => one !== share), left };
        continue;
      }
      if (!(await isRefusal(gateway, error))) throw error;
      const half = await halve(gateway, gathered, bounds);
      if (half !== undefined) {
        bounds = { ...bounds, lanes: half.shares.length };
        gathered = half;
        continue;
      }
      refusals += 1;
      const [alone] = shares;
      if (alone === undefined) throw error;
      gateway.log.error({ err: error }, 'a batch of one lane is refused');
      refuse(alone.lane, error instanceof OutOfBounds ? 'TooLargeAlone' : 'NodeRefused');
      if (refusals >= MAX_REFUSALS) throw new SettlementRefused(refused);
      bounds = whole;
      gathered = { shares: [], left };
    }
  }
}

/** Billing takes nothing from a gateway that stands for too little. @throws DefaasError BOND_TOO_LOW */
function refuseUnbonded({ chain, address, nowMs }: Gateway): void {
  const standing = chain.view.gateway(address);
  const { bond = 0n, unbonding = 0n, settleUntilSec = 0 } = standing ?? {};
  const { minBond } = chain.constants;
  const nowSec = Math.max(nowMs() / 1000, chain.view.head.timestampSec);
  if (bond - unbonding >= minBond || nowSec <= settleUntilSec) return;
  throw new DefaasError(
    'BOND_TOO_LOW',
    `the bond of ${address} is ${bond} units, ${unbonding} of them on their way out, and at least ${minBond} must stay for it to settle: run defaas bond`,
  );
}

/** The wanted lanes that owe something, those that owe most first. */
function lanesByOwed(gateway: Gateway, wanted: (lane: LaneState) => boolean): LaneState[] {
  return gateway.lanes
    .all()
    .filter(wanted)
    .map((lane) => ({ lane, owed: owedOf(gateway, lane) }))
    .filter(({ owed }) => owed > 0n)
    .sort((a, b) => (a.owed === b.owed ? 0 : a.owed < b.owed ? 1 : -1))
    .map(({ lane }) => lane);
}

/** The node has estimated more than one transaction may take. */
class OutOfBounds extends Error {
  constructor({ gas, bytes }: TransactionSize) {
    super(`a settlement of ${bytes} bytes and ${gas} gas is too large for one transaction`);
  }
}

/** Whether a smaller batch may go through: the node refused this one, and not for one of the contract's reasons. */
async function isRefusal({ chain }: Gateway, error: unknown): Promise<boolean> {
  if (error instanceof OutOfBounds) return true;
  if (!(error instanceof ChainError)) return false;
  if (error.code === 'CHAIN_REVERTED') return error.revert === undefined;
  if (error.code !== 'CHAIN_UNREACHABLE') return false;
  // Some nodes do not answer on a transaction that is too large for them.
  return chain.provider.getBlockNumber().then(
    () => true,
    () => false,
  );
}

/** Half of a batch's lanes, or of a lone lane's payees; undefined when there is no half. */
async function halve(
  gateway: Gateway,
  { shares, left }: Gathered,
  bounds: BatchBounds,
): Promise<Gathered | undefined> {
  const [first] = shares;
  if (first === undefined) return undefined;
  if (shares.length > 1) {
    const half = Math.ceil(shares.length / 2);
    return { shares: shares.slice(0, half), left: left + shares.length - half };
  }
  const payees = Math.ceil(first.payouts.size / 2);
  if (payees === first.payouts.size) return undefined;
  const part = await gatherShares(gateway, [first.lane], { ...bounds, payees }, () => {});
  return part.shares.length === 0 ? undefined : { shares: part.shares, left: left + 1 };
}

/** @throws ChainError  with the row that the chain refuses, before anything is written where it can be known */
async function settleShares(
  gateway: Gateway,
  shares: readonly LaneShare[],
  bounds: BatchBounds,
): Promise<Omit<SettleResult, 'refused' | 'left'>> {
  await resolvePrepared(gateway);
  const claims = shares.map(({ claim }) => claim);
  const rows = shares.map(settleClaim);
  const payouts = payoutRows(shares);
  const size = await gateway.settler.estimateSettle(gateway.address, rows, payouts);
  if (!isWithin(size, bounds)) throw new OutOfBounds(size);
  const number = gateway.chain.view.gateway(gateway.address)?.batches ?? 0;
  const cid = await writePages(gateway, claims, number);
  const totalUnits = claims.reduce((sum, claim) => sum + claim.settledTo - claim.settledFrom, 0n);
  const receipts = claims.reduce((sum, claim) => sum + claim.seqTo - claim.seqFrom, 0);
  const prepared: BatchRecord = {
    n: (await gateway.ledger.batches()).length + 1,
    state: 'prepared',
    cid,
    claims: claims.map((claim) => ({
      ...claim,
      settledFrom: `${claim.settledFrom}`,
      settledTo: `${claim.settledTo}`,
    })),
    receipts,
    totalUnits: `${totalUnits}`,
  };
  await gateway.ledger.putBatch(prepared, await signPayouts(gateway, payouts));
  const { digest } = digestOf(cid);
  const sent = await gateway.settler.settle(gateway.address, rows, payouts, digest);
  await gateway.ledger.putBatch({ ...prepared, state: 'settled', tx: sent.tx, batch: sent.batch });
  await gateway.chain.synced(sent.blockNumber);
  gateway.log.info({ batch: sent.batch, tx: sent.tx, receipts, lanes: claims.length }, 'settled');
  return { tx: sent.tx, batch: sent.batch, lanes: claims.length, receipts, totalUnits };
}

/**
 * Billing takes a claim from its own state on, so one that is made while an earlier batch is on its way would commit a tree of another
 * shape than the chain says: nothing is claimed before the view has all that was sent.
 * @throws ChainError CHAIN_PENDING  an earlier settlement is not in the view
 */
async function refuseUnseen({ chain, address, settler }: Gateway): Promise<void> {
  const [[, , , batches], latest, pending] = await Promise.all([
    chain.read('billing', 'standing', [address]),
    chain.provider.getTransactionCount(settler.address, 'latest'),
    chain.provider.getTransactionCount(settler.address, 'pending'),
  ]);
  const seen = chain.view.gateway(address)?.batches ?? 0;
  if (Number(batches) === seen && pending <= latest) return;
  throw new ChainError(
    'CHAIN_PENDING',
    `an earlier settlement of ${address} is not confirmed yet (${seen} of ${batches} batches, ${pending - latest} transactions on their way); it is tried again later`,
  );
}

function nothing(): DefaasError {
  return new DefaasError(
    'NOTHING_TO_SETTLE',
    'every receipt of this gateway is settled, call a function first',
  );
}

/** The claim that a settlement failed at; undefined when it failed as a whole. */
function refusedRow(
  error: unknown,
): { readonly index: number; readonly reason: string } | undefined {
  if (!(error instanceof ChainError) || error.revert?.name !== 'ClaimFailed') return undefined;
  const [index, reason] = error.revert.args;
  return { index: Number(index), reason: String(reason) };
}

/** A batch that was prepared before a crash has either reached the chain or not; the chain says which. */
async function resolvePrepared(gateway: Gateway): Promise<void> {
  for (const record of await gateway.ledger.batches('prepared')) {
    const { digest } = digestOf(record.cid);
    const found = gateway.chain.view
      .batches(gateway.address)
      .find((batch) => batch.cidDigest === digest);
    await gateway.ledger.putBatch(
      found === undefined
        ? { ...record, state: 'void' }
        : { ...record, state: 'settled', tx: found.tx, batch: found.batch },
    );
  }
}

/** Writes the batch's blocks and pins them; the CID of the root block. */
async function writePages(
  gateway: Gateway,
  claims: readonly Claim[],
  batch: number,
): Promise<string> {
  const groups = createGroups(gateway);
  const { root } = await encodeBatch({
    header: {
      chainId: gateway.chain.chainId,
      billing: gateway.chain.contracts.billing,
      gateway: gateway.address,
      batch,
      root: rootOf(claims.map(hashClaim)),
    },
    lanes: claims.map((claim) => ({ claim, receipts: batchReceipts(gateway, claim, groups) })),
    put: (block) => gateway.artifacts.putBlock(block, { signal: gateway.closing }),
  });
  await gateway.artifacts.pin(root, { signal: gateway.closing });
  return root;
}

async function* batchReceipts(
  gateway: Gateway,
  { payer, signer, seqFrom, seqTo }: Claim,
  groups: (group: number) => Promise<SignedTree>,
): AsyncGenerator<BatchReceipt> {
  for await (const entry of entriesOf(gateway, payer, signer, seqFrom, seqTo)) {
    const { tree, group, signature } = await groups(entry.group);
    yield {
      receipt: entry.receipt,
      call: entry.call,
      execution: entry.execution,
      group: {
        root: group.root,
        index: entry.groupIndex,
        count: group.count,
        path: tree.path(entry.groupIndex),
        signature,
      },
      attempts: entry.attempts.map(({ deployment, ran, code, measuredMs }) => ({
        deployment,
        ran,
        code,
        measuredMs,
      })),
      ...(entry.callSignature !== undefined && { callSignature: entry.callSignature }),
      ...(entry.reason !== undefined && { reason: entry.reason }),
    };
  }
}

interface SignedTree {
  readonly tree: OrderedTree;
  readonly group: StoredGroup;
  readonly signature: Hex;
}

/** Each group's tree is built once; the oldest is dropped. */
function createGroups(gateway: Gateway): (group: number) => Promise<SignedTree> {
  const trees = new Map<number, SignedTree>();
  return async (number) => {
    const known = trees.get(number);
    if (known !== undefined) return known;
    const stored = await gateway.ledger.group(number);
    if (stored === undefined) {
      throw new DefaasError('INTERNAL', `receipt group ${number} is not in the ledger`);
    }
    const { group, ids } = stored;
    // Signing again gives the same signature (RFC 6979): the newest group's is not stored yet.
    const signature = group.signature ?? gateway.groupSigner.sign(group.root, group.count);
    const fresh = { tree: createTree(ids), group, signature };
    const oldest = trees.keys().next();
    if (trees.size >= KEPT_GROUPS && !oldest.done) trees.delete(oldest.value);
    trees.set(number, fresh);
    return fresh;
  };
}

function settleClaim({ claim, voucher }: LaneShare): SettleClaim {
  return {
    payer: claim.payer,
    signer: claim.signer,
    amount: claim.settledTo,
    ceiling: voucher.ceiling,
    seqFrom: claim.seqFrom,
    seq: claim.seqTo,
    receipts: claim.receipts,
    signature: voucher.signature,
  };
}

function payoutRows(shares: readonly LaneShare[]) {
  const sums = new Map<Address, bigint>();
  for (const [payee, units] of shares.flatMap(({ payouts }) => [...payouts])) {
    sums.set(payee, (sums.get(payee) ?? 0n) + units);
  }
  return [...sums].map(([payee, amount]) => ({ payee, amount }));
}
