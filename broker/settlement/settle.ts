// Settlement: what was served since the last time -> claims, payouts, pages on IPFS -> one transaction. Prepared before it is
// sent, so that a crash at any point is answered by what the chain says.
import type { SettleClaim } from '../../contracts/chain/writer.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { digestOf } from '../../contracts/libraries/names.ts';
import { createTree, type OrderedTree, rootOf } from '../../contracts/libraries/ordered-merkle.ts';
import { type Claim, hashClaim } from '../../contracts/libraries/receipts.ts';
import { splitPrice } from '../../contracts/libraries/tariffs.ts';
import { type BatchReceipt, encodeBatch } from '../client/batch.ts';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import type { BatchRecord, StoredEntry, StoredGroup } from '../ledger/ledger.ts';

/** Most lanes of one transaction (contracts.md section 11). */
const MAX_CLAIMS = 256;
/** Entries read from the ledger at once. */
const PAGE_ENTRIES = 500;
/** Groups whose tree is kept while a batch is written. */
const KEPT_GROUPS = 1_000;

export interface SettleResult {
  readonly tx: Hex;
  readonly batch: number;
  readonly lanes: number;
  readonly receipts: number;
  readonly totalUnits: bigint;
}

interface LaneShare {
  readonly claim: Claim;
  readonly ceiling: bigint;
  readonly signature: Hex;
}

/**
 * Settles every lane that has receipts the chain has not, at most 256 of them.
 * @throws DefaasError NOTHING_TO_SETTLE  every receipt is settled
 * @throws ChainError  the chain cannot be reached or refuses; nothing is lost, the next run finds out what happened
 */
export async function settle(gateway: Gateway): Promise<SettleResult> {
  await gateway.chain.synced();
  await resolvePrepared(gateway);
  await gateway.journal.flush();
  const payouts = new Map<Address, bigint>();
  const feeBps = gateway.chain.view.gateway(gateway.address)?.feeBps ?? 0;
  const shares: LaneShare[] = [];
  for (const lane of gateway.lanes.all()) {
    if (shares.length === MAX_CLAIMS) break;
    const share = await shareOf(gateway, lane, feeBps, payouts);
    if (share !== undefined) shares.push(share);
  }
  if (shares.length === 0) {
    throw new DefaasError(
      'NOTHING_TO_SETTLE',
      'every receipt of this gateway is settled, call a function first',
    );
  }
  const claims = shares.map((share) => share.claim);
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
  await gateway.ledger.putBatch(prepared);
  const sent = await gateway.settler.settle(
    gateway.address,
    shares.map(settleClaim),
    payoutRows(payouts),
    digestOf(cid).digest,
  );
  await gateway.ledger.putBatch({ ...prepared, state: 'settled', tx: sent.tx, batch: sent.batch });
  await gateway.chain.synced(sent.blockNumber);
  gateway.log.info({ batch: sent.batch, tx: sent.tx, receipts, lanes: claims.length }, 'settled');
  return { tx: sent.tx, batch: sent.batch, lanes: claims.length, receipts, totalUnits };
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

/** What one lane has to settle, its shares added to `payouts`; undefined when there is nothing, or the lane is closed on-chain. */
async function shareOf(
  gateway: Gateway,
  { payer, signer }: { readonly payer: Address; readonly signer: Address },
  feeBps: number,
  payouts: Map<Address, bigint>,
): Promise<LaneShare | undefined> {
  const onChain = gateway.chain.view.lane(payer, gateway.address, signer);
  if (onChain?.seq === gateway.lanes.lane(payer, signer).seq) return undefined;
  const voucher = await gateway.ledger.voucher(payer, signer);
  if (onChain === undefined || voucher === undefined) return undefined;
  if (onChain.expirySec < gateway.nowMs() / 1000) {
    gateway.log.error({ payer, signer }, 'a lane expired with receipts that were not settled');
    return undefined;
  }
  const ids: Hex[] = [];
  let settledTo = onChain.settled;
  for await (const entry of entriesOf(gateway, payer, signer, onChain.seq)) {
    ids.push(entry.id);
    settledTo = entry.receipt.cumulative;
    addShares(gateway, entry, feeBps, payouts);
  }
  if (ids.length === 0) return undefined;
  return {
    claim: {
      payer,
      signer,
      settledFrom: onChain.settled,
      settledTo,
      seqFrom: onChain.seq,
      seqTo: onChain.seq + ids.length,
      receipts: rootOf(ids),
    },
    ceiling: voucher.ceiling,
    signature: voucher.signature,
  };
}

async function* entriesOf(
  gateway: Gateway,
  payer: Address,
  signer: Address,
  afterSeq: number,
  toSeq = Number.MAX_SAFE_INTEGER,
): AsyncGenerator<StoredEntry> {
  let last = afterSeq;
  while (last < toSeq) {
    const limit = Math.min(PAGE_ENTRIES, toSeq - last);
    const page = await gateway.ledger.laneEntries({ payer, signer, afterSeq: last, limit });
    yield* page;
    last += page.length;
    if (page.length < limit) return;
  }
}

/** The provider's and the publisher's part of one receipt; the gateway's fee is what remains (contracts.md 6.3). */
function addShares(
  gateway: Gateway,
  { receipt, call }: StoredEntry,
  feeBps: number,
  payouts: Map<Address, bigint>,
): void {
  const { view } = gateway.chain;
  const version = view.versionByHash(call.functionVersion);
  const owner = version && view.ownerAt(version.functionId, receipt.atBlock);
  if (version === undefined || owner === undefined) {
    throw new DefaasError(
      'INTERNAL',
      `version ${call.functionVersion} of receipt ${receipt.seq} is not on the chain`,
    );
  }
  const shares = splitPrice(receipt.price, feeBps, version.tariff.publisherBps);
  payouts.set(receipt.provider, (payouts.get(receipt.provider) ?? 0n) + shares.provider);
  payouts.set(owner, (payouts.get(owner) ?? 0n) + shares.publisher);
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
    if (stored?.group.signature === undefined) {
      throw new DefaasError('INTERNAL', `receipt group ${number} is not signed`);
    }
    const { group, ids } = stored;
    const fresh = { tree: createTree(ids), group, signature: stored.group.signature };
    const oldest = trees.keys().next();
    if (trees.size >= KEPT_GROUPS && !oldest.done) trees.delete(oldest.value);
    trees.set(number, fresh);
    return fresh;
  };
}

function settleClaim({ claim, ceiling, signature }: LaneShare): SettleClaim {
  return {
    payer: claim.payer,
    signer: claim.signer,
    amount: claim.settledTo,
    ceiling,
    seq: claim.seqTo,
    receipts: claim.receipts,
    signature,
  };
}

function payoutRows(payouts: ReadonlyMap<Address, bigint>) {
  return [...payouts]
    .filter(([, amount]) => amount > 0n)
    .map(([payee, amount]) => ({ payee, amount }));
}
