// The books of the gateway in a game: the calls that it serves, the batches that it commits, and
// what it shows of them.
import { keccak256 } from 'ethers';
import type { DigestSigner } from '../../../broker/identity/ecdsa.ts';
import { drawOrder, drawSeed } from '../../../contracts/libraries/draw.ts';
import type { Hex } from '../../../contracts/libraries/keccak.ts';
import { createTree, type OrderedTree } from '../../../contracts/libraries/ordered-merkle.ts';
import {
  type Call,
  type Execution,
  hashCall,
  hashClaim,
  hashExecution,
  hashReceipt,
  NO_AUTHORITY,
  NO_RECEIPTS,
  type Receipt,
} from '../../../contracts/libraries/receipts.ts';
import { priceOf } from '../../../contracts/libraries/tariffs.ts';
import {
  billingDomain,
  hashReceiptGroup,
  hashSignedCall,
  hashVoucher,
} from '../../../contracts/libraries/typed-data.ts';
import { DAY, type Entry, FEE_BPS, type House, type Lane, TERMS, TOKEN, word } from './house.ts';

/**
 * `pages`: the pages are on IPFS; `hidden`: they are not, but the leaves are receipts; `nothing`:
 * the leaves are no receipts.
 */
export type Shown = 'pages' | 'hidden' | 'nothing';

/** A settled claim, and its receipts as far as the gateway shows them. */
export interface Claimed {
  readonly lane: Lane;
  readonly place: Readonly<Record<string, unknown>>;
  readonly entries: readonly Entry[];
  readonly tree: OrderedTree;
  readonly shown: Shown;
  readonly deltaUnits: bigint;
  /** The part of the delta that the payer does not owe. */
  readonly excessUnits: bigint;
}

/** What the gateway commits of a lane. */
export interface ToCommit {
  readonly lane: Lane;
  readonly entries: readonly Entry[];
  readonly settledTo: bigint;
  readonly shown?: Shown;
}

/**
 * Fields of a receipt, its Call and its Execution that differ from what an honest gateway would
 * write.
 */
export interface Changes {
  readonly call?: Partial<Call>;
  readonly execution?: Partial<Execution>;
  readonly receipt?: Partial<Receipt>;
  /** In a signed lane the payer's key has not signed the Call. */
  readonly isInvented?: boolean;
}

let nonces = 0;

/** The receipt at `spot.seq` after the sum `spot.before`: honest except for the changes. */
export function entryAt(
  house: House,
  lane: Lane,
  spot: { readonly seq: number; readonly before: bigint; readonly billedMs: number },
  changes: Changes = {},
): Entry {
  const { of, evm } = house;
  const named = { payer: of[lane.payer], gateway: of.gateway, signer: lane.key.address };
  nonces += 1;
  const call: Call = {
    ...named,
    nonce: word(nonces),
    functionVersion: house.versions[0] ?? word(0),
    input: word(77),
    maxPrice: 1_000_000n * TOKEN,
    deadlineSec: evm.nowSec() + DAY,
    beacon: house.epoch,
    authority: NO_AUTHORITY,
    ...changes.call,
  };
  const [first = 1] = drawOrder(drawSeed(house.epochValue, call), house.ids);
  const execution: Execution = {
    deployment: first,
    request: word(1),
    billedMs: spot.billedMs,
    initMs: 0,
    memoryMiB: 1_024,
    status: 200,
    input: call.input,
    output: word(78),
    finishedAtSec: evm.nowSec(),
    ...changes.execution,
  };
  const price = changes.receipt?.price ?? priceOf(execution, TERMS);
  const receipt: Receipt = {
    ...named,
    seq: spot.seq,
    call: hashCall(call),
    execution: hashExecution(execution),
    provider: execution.deployment === 5 ? of.crony : of.provider,
    attempt: 0,
    atBlock: 1,
    price,
    cumulative: spot.before + price,
    ...changes.receipt,
  };
  const isSigned = lane.mode === 'signed' && !changes.isInvented;
  const domain = billingDomain(evm.chainId, evm.at('Billing'));
  const callSignature = isSigned ? lane.key.sign(hashSignedCall(domain, call)) : undefined;
  return { receipt, call, execution, callSignature };
}

/** Serves one more honest call in the lane. A failed one costs nothing. */
export function serve(house: House, lane: Lane, billedMs: number, hasFailed = false): Entry {
  const last = lane.served.at(-1)?.receipt;
  const seq = (last?.seq ?? lane.settledSeq) + 1;
  const before = last?.cumulative ?? lane.settledUnits;
  const changes = hasFailed ? { execution: { status: 0 } } : {};
  const entry = entryAt(house, lane, { seq, before, billedMs }, changes);
  lane.served.push(entry);
  lane.worthUnits += entry.receipt.price;
  return entry;
}

/** The receipt as the gateway hands it out: the only one of its group, signed by `by`. */
export function handOut(house: House, receipt: Receipt, by: DigestSigner = house.operator) {
  const { evm, of } = house;
  const domain = billingDomain(evm.chainId, evm.at('Billing'));
  const group = { gateway: of.gateway, root: hashReceipt(receipt), count: 1 };
  const signature = by.sign(hashReceiptGroup(domain, group));
  return { receipt, index: 0, count: 1, path: [], signature };
}

/** Settles one claim for each lane. Honest payees get their honest share, the crony the rest. */
export async function settle(
  house: House,
  lanes: readonly ToCommit[],
): Promise<
  | { readonly ok: true; readonly claimed: readonly Claimed[] }
  | { readonly ok: false; readonly error: string }
> {
  const prepared = lanes.map((lane) => prepare(house, lane));
  const sent = await house.send(
    'gateway',
    'Billing',
    'settle',
    house.of.gateway,
    prepared.map(({ row }) => row),
    payoutsOf(house, prepared),
    word(9),
  );
  if (!sent.ok) return sent;
  const batch = sent.logs.find(({ name }) => name === 'BatchSettled')?.args.batch;
  const tree = createTree(prepared.map(({ claim }) => hashClaim(claim)));
  const about = { gateway: house.of.gateway, batch, settledAt: house.evm.nowSec() };
  const claimed = prepared.map((one, claim): Claimed => {
    const path = tree.path(claim);
    const head = { ...about, claims: prepared.length, claim, outside: NO_RECEIPTS, path };
    return claimedOf(one, { ...head, ...one.claim });
  });
  return { ok: true, claimed };
}

type Prepared = ReturnType<typeof prepare>;

/** The claim of a lane, its row in the transaction, and the price of what its payer called. */
function prepare(house: House, { lane, entries, settledTo, shown = 'pages' }: ToCommit) {
  const { of, evm } = house;
  const domain = billingDomain(evm.chainId, evm.at('Billing'));
  const hashes = entries.map(({ receipt }) => {
    const hash = hashReceipt(receipt);
    return shown === 'nothing' ? (keccak256(hash) as Hex) : hash;
  });
  const tree = createTree(hashes);
  const [payer, signer] = [of[lane.payer], lane.key.address];
  const [seqFrom, seqTo] = [lane.settledSeq, lane.settledSeq + entries.length];
  const receipts = tree.root;
  const settledFrom = lane.settledUnits;
  const claim = { payer, signer, settledFrom, settledTo, seqFrom, seqTo, receipts };
  const voucher = { payer, gateway: of.gateway, signer, ceiling: settledTo };
  const signature = lane.key.sign(hashVoucher(domain, voucher));
  const amounts = { amount: settledTo, ceiling: settledTo };
  const row = { payer, signer, ...amounts, seqFrom, seq: seqTo, receipts, signature };
  const honest = lane.served.reduce((sum, { receipt }) => sum + receipt.price, 0n);
  return { lane, entries, tree, claim, row, shown, honest };
}

function payoutsOf({ of }: House, prepared: readonly Prepared[]) {
  const total = prepared.reduce((sum, { claim }) => sum + claim.settledTo - claim.settledFrom, 0n);
  const owed = prepared.reduce(
    (sum, { honest, lane }) => sum + (lane.payer === 'friend' ? 0n : honest),
    0n,
  );
  const least = (total * (10_000n - FEE_BPS) + 9_999n) / 10_000n;
  const honestShare = owed - (owed * FEE_BPS) / 10_000n;
  const toProvider = honestShare < total ? honestShare : total;
  return [
    { payee: of.provider, amount: toProvider },
    { payee: of.crony, amount: least > toProvider ? least - toProvider : 0n },
  ].filter(({ amount }) => amount > 0n);
}

/** The claim as it is settled. Moves its lane on. */
function claimedOf(prepared: Prepared, place: Claimed['place']): Claimed {
  const { lane, entries, tree, claim, shown, honest } = prepared;
  const deltaUnits = claim.settledTo - claim.settledFrom;
  lane.settledSeq = claim.seqTo;
  lane.settledUnits = claim.settledTo;
  lane.served = [];
  const excessUnits = deltaUnits > honest ? deltaUnits - honest : 0n;
  return { lane, entries, tree, shown, deltaUnits, excessUnits, place };
}

/** A committed receipt with its path, as Disputes takes it. */
export function leafOf({ entries, tree }: Claimed, index: number) {
  return { receipt: entries[index]?.receipt, index, path: tree.path(index) };
}

export function callOf({ deadlineSec, ...call }: Call) {
  return { ...call, deadline: deadlineSec };
}

export function executionOf({ finishedAtSec, ...execution }: Execution) {
  return { ...execution, finishedAt: finishedAtSec };
}
