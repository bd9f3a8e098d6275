// Settlement: turns the receipts since the last one into claims, payouts and pages on IPFS, and
// sends them in one transaction. The batch is stored before it is sent, so that after a crash the
// chain tells what happened. A lane that the chain refuses does not delay the others.

import type { TransactionSize } from '../../contracts/chain/account.ts';
import { ChainError } from '../../contracts/chain/chain-error.ts';
import type { SignedTransaction } from '../../contracts/chain/nonce-line.ts';
import type { SettledBatch } from '../../contracts/chain/types.ts';
import type { SettleClaim } from '../../contracts/chain/writer.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { digestOf } from '../../contracts/libraries/names.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import type { BatchRecord } from '../ledger/ledger.ts';
import type { LaneState } from '../money/lanes.ts';
import { type BatchBounds, isWithin, readBounds } from './bounds.ts';
import type { SettlementParts } from './parts.ts';
import { signPayouts } from './payouts.ts';
import { isOver } from './sent.ts';
import { type Gathered, gatherShares, type LaneShare, owedOf } from './shares.ts';
import { resumeTopUps } from './top-up.ts';
import { writePages } from './write-pages.ts';

/**
 * Maximum number of lanes per run that a node may refuse alone. Beyond it, assume that the node
 * refuses everything.
 */
const MAX_REFUSALS = 16;
/** Number of blocks after which no reorganisation is expected. */
const FINAL_BLOCKS = 128;

/** A lane that could not be settled. */
export interface RefusedLane {
  readonly lane: LaneState;
  /**
   * The contract's error, or `TooLargeAlone` or `NodeRefused` if not even a transaction with this
   * lane alone goes through.
   */
  readonly reason: string;
}

export interface SettleResult {
  readonly tx: Hex;
  readonly batch: number;
  readonly lanes: number;
  readonly receipts: number;
  readonly totalUnits: bigint;
  /** Lanes left out of this batch because the chain refuses them. */
  readonly refused: readonly RefusedLane[];
  /** Number of lanes that wait for the next batch, because this one has no room. */
  readonly left: number;
}

/** Nothing could be settled; carries the chain's reason for each lane that owes something. */
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
 * Settles one batch: as many of the wanted lanes as fit into one transaction, largest debt first. A
 * lane whose signer is a contract wallet is settled alone, because the wallet's approval may change
 * until the transaction is included. A lane with only free receipts waits for a paid one. By
 * default all lanes are `wanted`.
 * @throws DefaasError NOTHING_TO_SETTLE  every receipt is settled
 * @throws DefaasError BOND_TOO_LOW       the chain accepts nothing from this gateway until it adds
 *   to its bond
 * @throws SettlementRefused  the chain accepts none of the remaining lanes
 * @throws ChainError  the chain cannot be reached, or refuses the batch as a whole; nothing is
 *   lost, and the next run finds out what happened
 */
export async function settle(
  gateway: SettlementParts,
  wanted: (lane: LaneState) => boolean = () => true,
): Promise<SettleResult> {
  await gateway.chain.synced();
  // In parallel: if both are stuck, the one with the later nonce waits for the earlier.
  const resumed = await Promise.allSettled([resolveSent(gateway), resumeTopUps(gateway)]);
  for (const one of resumed) if (one.status === 'rejected') throw one.reason;
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
  /** Number of lanes that a node refused without an error naming them. */
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
      if (!isRefusal(error)) throw error;
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

/**
 * Billing accepts nothing from a gateway whose bond is too low.
 * @throws DefaasError BOND_TOO_LOW
 */
function refuseUnbonded({
  chain,
  address,
  nowMs,
}: Pick<Gateway, 'address' | 'chain' | 'nowMs'>): void {
  const {
    bond = 0n,
    unbonding = 0n,
    standing = 0n,
    settleUntilSec = 0,
  } = chain.view.gateway(address) ?? {};
  const { minBond } = chain.constants;
  const nowSec = Math.max(nowMs() / 1000, chain.view.head.timestampSec);
  if (standing >= minBond || nowSec <= settleUntilSec) return;
  throw new DefaasError(
    'BOND_TOO_LOW',
    `the bond of ${address} is ${formatTokens(bond)} tokens, ${formatTokens(unbonding)} of them unbonding, and at least ${formatTokens(minBond)} must stay for it to settle: run defaas bond`,
  );
}

/** The wanted lanes that owe something, largest debt first. */
function lanesByOwed(
  gateway: Pick<Gateway, 'address' | 'chain' | 'lanes'>,
  wanted: (lane: LaneState) => boolean,
): LaneState[] {
  return gateway.lanes
    .all()
    .filter(wanted)
    .map((lane) => ({ lane, owed: owedOf(gateway, lane) }))
    .filter(({ owed }) => owed > 0n)
    .sort((a, b) => (a.owed === b.owed ? 0 : a.owed < b.owed ? 1 : -1))
    .map(({ lane }) => lane);
}

/** The node's estimate exceeds what one transaction may use. */
class OutOfBounds extends Error {
  constructor({ gas, bytes }: TransactionSize) {
    super(`a settlement of ${bytes} bytes and ${gas} gas is too large for one transaction`);
  }
}

/** The node is up but does not answer for this transaction. */
class NodeSilent extends Error {}

/**
 * Distinguishes an unreachable node from one that does not answer for a transaction that is too
 * large for it.
 */
async function silentOr({ chain }: Pick<Gateway, 'chain'>, error: unknown): Promise<never> {
  if (!(error instanceof ChainError) || error.code !== 'CHAIN_UNREACHABLE') throw error;
  const isUp = await chain.provider.getBlockNumber().then(
    () => true,
    () => false,
  );
  throw isUp
    ? new NodeSilent('the node answers, but not on this settlement', { cause: error })
    : error;
}

/**
 * Whether a smaller batch may go through: the node refused this one, and not with a contract error.
 */
function isRefusal(error: unknown): boolean {
  if (error instanceof OutOfBounds || error instanceof NodeSilent) return true;
  return (
    error instanceof ChainError && error.code === 'CHAIN_REVERTED' && error.revert === undefined
  );
}

/** Half of a batch's lanes, or of a single lane's payees; undefined if it cannot be halved. */
async function halve(
  gateway: Pick<Gateway, 'address' | 'chain' | 'ledger' | 'nowMs'>,
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

/**
 * @throws ChainError  with the refused row; before anything is written, where the refusal can be
 *   known by then
 */
async function settleShares(
  gateway: SettlementParts,
  shares: readonly LaneShare[],
  bounds: BatchBounds,
): Promise<Omit<SettleResult, 'refused' | 'left'>> {
  const claims = shares.map(({ claim }) => claim);
  const rows = shares.map(settleClaim);
  const payouts = payoutRows(shares);
  const size = await gateway.settler
    .estimateSettle(gateway.address, rows, payouts)
    .catch((error) => silentOr(gateway, error));
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
  const { digest } = digestOf(cid);
  await gateway.ledger.putBatch(prepared, await signPayouts(gateway, payouts));
  const kept = keeperOf(gateway, prepared);
  try {
    const sent = await gateway.settler.settle(gateway.address, rows, payouts, digest, kept);
    await gateway.ledger.putBatch(settledRecord(kept.record(), sent));
    await gateway.chain.synced(sent.blockNumber);
    gateway.log.info({ batch: sent.batch, tx: sent.tx, receipts, lanes: claims.length }, 'settled');
    return { tx: sent.tx, batch: sent.batch, lanes: claims.length, receipts, totalUnits };
  } catch (error) {
    if (isOver(error)) await gateway.ledger.putBatch(voidRecord(kept.record()));
    throw error;
  }
}

/** Stores each transaction of a batch before it is sent. */
function keeperOf({ ledger }: Pick<Gateway, 'ledger'>, prepared: BatchRecord) {
  let record = prepared;
  return {
    record: () => record,
    onSigned: async (fresh: SignedTransaction): Promise<void> => {
      const earlier = record.signed ?? [];
      // The nonce has changed: the node refused the earlier transactions, and they can no longer be
      // included.
      const signed = earlier[0]?.nonce === fresh.nonce ? [...earlier, fresh] : [fresh];
      record = { ...record, signed };
      await ledger.putBatch(record);
    },
  };
}

function settledRecord(
  record: BatchRecord,
  {
    tx,
    batch,
    blockNumber,
  }: { readonly tx: Hex; readonly batch: number; readonly blockNumber: number },
): BatchRecord {
  return { ...record, state: 'settled', tx, batch, blockNumber };
}

function voidRecord({ signed: _, ...record }: BatchRecord): BatchRecord {
  return { ...record, state: 'void' };
}

/**
 * Refuses to claim while an earlier settlement is not in the view. Billing counts a claim from its
 * current state, so a claim made while another batch is under way would commit to a tree of a
 * different shape.
 * @throws ChainError CHAIN_PENDING  an earlier settlement is not in the view
 */
async function refuseUnseen({
  chain,
  address,
  settler,
}: Pick<Gateway, 'address' | 'chain' | 'settler'>): Promise<void> {
  const [[, , , batches], latest, pending] = await Promise.all([
    chain.read('billing', 'standing', [address]),
    chain.provider.getTransactionCount(settler.address, 'latest'),
    chain.provider.getTransactionCount(settler.address, 'pending'),
  ]);
  const seen = chain.view.gateway(address)?.batches ?? 0;
  if (Number(batches) === seen && pending <= latest) return;
  throw new ChainError(
    'CHAIN_PENDING',
    `an earlier settlement of ${address} is not confirmed yet (${seen} of ${batches} batches, ${pending - latest} transactions pending); it is tried again later`,
  );
}

function nothing(): DefaasError {
  return new DefaasError(
    'NOTHING_TO_SETTLE',
    'every receipt of this gateway is settled, call a function first',
  );
}

/** The claim that made a settlement fail; undefined if it failed as a whole. */
function refusedRow(
  error: unknown,
): { readonly index: number; readonly reason: string } | undefined {
  if (!(error instanceof ChainError) || error.revert?.name !== 'ClaimFailed') return undefined;
  const [index, reason] = error.revert.args;
  return { index: Number(index), reason: String(reason) };
}

/**
 * Resolves the batches that were signed before: reads their result from the chain, or sends them
 * again if they are not in it, also after a reorganisation.
 * @throws ChainError CHAIN_PENDING  one is still under way
 */
async function resolveSent(
  gateway: Pick<Gateway, 'address' | 'chain' | 'ledger' | 'log' | 'settler'>,
): Promise<void> {
  const { chain, ledger } = gateway;
  const byDigest = new Map(chain.view.batches(gateway.address).map((one) => [one.cidDigest, one]));
  for (const record of await ledger.batches()) {
    const found = byDigest.get(digestOf(record.cid).digest);
    if (found !== undefined) await keepFound(gateway, record, found);
    else if (record.signed !== undefined && record.state !== 'void') {
      await resume(gateway, record, record.signed);
    } else if (record.state === 'prepared') await ledger.putBatch(voidRecord(record));
  }
}

/**
 * Stores a batch that is on the chain. Its signed transactions are kept until no reorganisation can
 * remove it.
 */
async function keepFound(
  { ledger, chain }: Pick<Gateway, 'chain' | 'ledger'>,
  record: BatchRecord,
  found: SettledBatch,
): Promise<void> {
  const { signed, ...rest } = settledRecord(record, found);
  const isFinal = chain.view.head.number - found.blockNumber >= FINAL_BLOCKS;
  if (record.state === 'settled' && record.blockNumber === found.blockNumber) {
    if (signed === undefined || !isFinal) return;
  }
  await ledger.putBatch(isFinal || signed === undefined ? rest : { ...rest, signed });
}

async function resume(
  gateway: Pick<Gateway, 'chain' | 'ledger' | 'log' | 'settler'>,
  record: BatchRecord,
  signed: readonly SignedTransaction[],
): Promise<void> {
  const { ledger, settler, log, chain } = gateway;
  const kept = keeperOf(gateway, record);
  log.warn(
    { n: record.n, tx: signed.at(-1)?.tx },
    'a settlement that was sent is not on the chain',
  );
  try {
    const sent = await settler.resumeSettle(signed, kept);
    await ledger.putBatch(settledRecord(kept.record(), sent));
    await chain.synced(sent.blockNumber);
  } catch (err) {
    if (!isOver(err)) throw err;
    log.warn({ err, n: record.n }, 'a settlement that was sent is void');
    await ledger.putBatch(voidRecord(kept.record()));
  }
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
