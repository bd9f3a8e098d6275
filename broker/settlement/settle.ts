// Settlement: what was served since the last time -> claims, payouts, pages on IPFS -> one transaction. Prepared before it is
// sent, so that a crash at any point is answered by what the chain says. A lane that the chain refuses holds up no other.
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
import { signPayouts } from './payouts.ts';
import { entriesOf, type LaneShare, nextLanes, sharesOf } from './shares.ts';

/** Groups whose tree is kept while a batch is written. */
const KEPT_GROUPS = 1_000;

/** A lane that could not be settled now, and the contract's error that says why. */
export interface RefusedLane {
  readonly lane: LaneState;
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
 * Settles one batch: at most 256 lanes that have receipts the chain has not, or one lane of a contract wallet, whose word
 * may change until the transaction is in. By default all lanes are `wanted`.
 * @throws DefaasError NOTHING_TO_SETTLE   every receipt is settled
 * @throws SettlementRefused  the chain takes none of what is left
 * @throws ChainError  the chain cannot be reached or refuses the batch as a whole; nothing is lost, the next run finds out what happened
 */
export async function settle(
  gateway: Gateway,
  wanted: (lane: LaneState) => boolean = () => true,
): Promise<SettleResult> {
  await gateway.chain.synced();
  await refuseUnseen(gateway);
  await gateway.journal.flush();
  const refused: RefusedLane[] = [];
  const refuse = (lane: LaneState, reason: string): void => {
    refused.push({ lane, reason });
    const { payer, signer } = lane;
    gateway.log.error({ payer, signer, reason }, 'a lane with receipts cannot be settled');
  };
  let shares: readonly LaneShare[] = [];
  for (;;) {
    if (shares.length === 0) {
      const isLeft = (lane: LaneState) => refused.every((one) => one.lane !== lane);
      const lanes = await nextLanes(gateway, (lane) => wanted(lane) && isLeft(lane));
      if (lanes.length === 0)
        throw refused.length === 0 ? nothing() : new SettlementRefused(refused);
      const refusedBefore = refused.length;
      shares = await sharesOf(gateway, lanes, refuse);
      if (shares.length === 0 && refused.length === refusedBefore) throw nothing();
      continue;
    }
    try {
      return { ...(await settleShares(gateway, shares)), refused };
    } catch (error) {
      const row = refusedRow(error);
      const share = shares[row?.index ?? -1];
      if (row === undefined || share === undefined) throw error;
      refuse(share.lane, row.reason);
      shares = shares.filter((one) => one !== share);
    }
  }
}

/** @throws ChainError  with the row that the chain refuses, before anything is written where it can be known */
async function settleShares(
  gateway: Gateway,
  shares: readonly LaneShare[],
): Promise<Omit<SettleResult, 'refused'>> {
  await resolvePrepared(gateway);
  const claims = shares.map(({ claim }) => claim);
  const rows = shares.map(settleClaim);
  const payouts = payoutRows(shares);
  await gateway.settler.checkSettle(gateway.address, rows, payouts);
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
  return [...sums]
    .filter(([, amount]) => amount > 0n)
    .map(([payee, amount]) => ({ payee, amount }));
}
