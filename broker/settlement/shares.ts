// Composes the claims of one batch: which lanes go in, how far each is claimed, and who is paid.
import type { Address } from '../../contracts/libraries/keccak.ts';
import { createRoot } from '../../contracts/libraries/ordered-merkle.ts';
import type { Claim } from '../../contracts/libraries/receipts.ts';
import { splitPrice } from '../../contracts/libraries/tariffs.ts';
import { hashVoucher } from '../../contracts/libraries/typed-data.ts';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import { recoverSigner } from '../identity/ecdsa.ts';
import type { StoredEntry, StoredVoucher } from '../ledger/ledger.ts';
import type { LaneState } from '../money/lanes.ts';
import { type BatchBounds, fits, signatureBytesOf } from './bounds.ts';

/** Entries read from the ledger per query. */
const PAGE_ENTRIES = 500;

export interface LaneShare {
  readonly lane: LaneState;
  readonly claim: Claim;
  readonly voucher: StoredVoucher;
  /** Payee -> base units, above 0. */
  readonly payouts: ReadonlyMap<Address, bigint>;
  /** Only part of its receipts fit into the transaction. */
  readonly isPart: boolean;
}

/** Why a lane can claim nothing. All but the last are names of contract errors. */
export type RefusalReason = 'LaneNotOpen' | 'LaneExpired' | 'InsufficientLine' | 'TooLargeAlone';

interface SignedLane {
  readonly lane: LaneState;
  readonly voucher: StoredVoucher;
}

/** The part of the waiting lanes that fits into one transaction. */
export interface Gathered {
  readonly shares: readonly LaneShare[];
  /** Number of lanes not included, or only in part. */
  readonly left: number;
}

/** What a lane owes, as far as its voucher covers it: base units not settled on the chain. */
export function owedOf(
  { chain, address }: Pick<Gateway, 'address' | 'chain'>,
  lane: LaneState,
): bigint {
  const onChain = chain.view.lane(lane.payer, address, lane.signer);
  if (onChain === undefined || onChain.seq >= lane.seq) return 0n;
  const signed = lane.cumulative < lane.ceiling ? lane.cumulative : lane.ceiling;
  return signed > onChain.settled ? signed - onChain.settled : 0n;
}

/**
 * Collects claims of the lanes in order, until one transaction is full. A voucher approved by a
 * contract wallet depends on the wallet's state, which may change before the block: such a lane
 * comes alone, after all others. Calls `refuse` for each lane that can claim nothing, with the
 * contract's error.
 */
export async function gatherShares(
  gateway: Pick<Gateway, 'address' | 'chain' | 'ledger' | 'nowMs'>,
  lanes: readonly LaneState[],
  bounds: BatchBounds,
  refuse: (lane: LaneState, reason: string) => void,
): Promise<Gathered> {
  const room: Room = {
    bounds,
    lines: new Map(),
    payees: new Set(),
    lanes: 0,
    receipts: 0,
    signatureBytes: 0,
  };
  const shares: LaneShare[] = [];
  const ofContracts: SignedLane[] = [];
  /** @returns whether the transaction is full */
  const take = async (signed: SignedLane): Promise<boolean> => {
    const share = await shareOf(gateway, signed, room);
    if (share === 'nothing') return false;
    if (share === 'full' && room.lanes > 0) return true;
    if (typeof share === 'string') {
      refuse(signed.lane, share === 'full' ? 'TooLargeAlone' : share);
      return false;
    }
    shares.push(share);
    return share.isPart;
  };

  for (const [index, lane] of lanes.entries()) {
    // No voucher: every receipt so far was free, and a claim needs a voucher.
    const voucher = await gateway.ledger.voucher(lane.payer, lane.signer);
    if (voucher === undefined) continue;
    if (!isSignedByKey(gateway, voucher)) ofContracts.push({ lane, voucher });
    else if (await take({ lane, voucher })) {
      return { shares, left: lanes.length - index + ofContracts.length };
    }
  }
  for (const [index, signed] of ofContracts.entries()) {
    if (shares.length > 0) return { shares, left: ofContracts.length - index };
    await take(signed);
  }
  return { shares, left: 0 };
}

/** Limited resources that the batch has used so far. */
interface Room {
  readonly bounds: BatchBounds;
  /** Payer -> base units claimed from its line. */
  readonly lines: Map<Address, bigint>;
  readonly payees: Set<Address>;
  lanes: number;
  receipts: number;
  signatureBytes: number;
}

/**
 * One lane's share, or why it has none: a contract error, no room, or nothing covered by the
 * voucher.
 */
async function shareOf(
  gateway: Pick<Gateway, 'address' | 'chain' | 'ledger' | 'nowMs'>,
  { lane, voucher }: SignedLane,
  room: Room,
): Promise<LaneShare | 'nothing' | 'full' | RefusalReason> {
  const { payer, signer } = lane;
  const { view } = gateway.chain;
  const onChain = view.lane(payer, gateway.address, signer);
  if (onChain === undefined) return 'LaneNotOpen';
  if (onChain.expirySec < gateway.nowMs() / 1000) return 'LaneExpired';
  const feeBps = view.gateway(gateway.address)?.feeBps ?? 0;
  const allotted = view.line(payer, gateway.address)?.allotted ?? 0n;
  const taken = room.lines.get(payer) ?? 0n;
  const signatureBytes = room.signatureBytes + signatureBytesOf(voucher.signature);
  const root = createRoot();
  const payouts = new Map<Address, bigint>();
  let freshPayees = 0;
  let settledTo = onChain.settled;
  let stop: 'full' | 'InsufficientLine' | undefined;
  for await (const entry of entriesOf(gateway, payer, signer, onChain.seq)) {
    const { cumulative } = entry.receipt;
    // A call that arrived after the voucher was read has a newer voucher; it goes into the next
    // batch.
    if (cumulative > voucher.ceiling) break;
    // The line holds too little if a thaw ended before the settlement; the gateway loses only the
    // missing amount.
    if (taken + cumulative - onChain.settled > allotted) {
      stop = 'InsufficientLine';
      break;
    }
    if (room.receipts + root.count === room.bounds.receipts) {
      stop = 'full';
      break;
    }
    const parts = partsOf(gateway, entry, feeBps);
    freshPayees += parts.filter(([payee]) => !room.payees.has(payee) && !payouts.has(payee)).length;
    const size = { lanes: room.lanes + 1, payees: room.payees.size + freshPayees, signatureBytes };
    if (!fits(size, room.bounds)) {
      stop = 'full';
      break;
    }
    for (const [payee, units] of parts) payouts.set(payee, (payouts.get(payee) ?? 0n) + units);
    root.add(entry.id);
    settledTo = cumulative;
  }
  // More free receipts in front of the paid ones than a batch holds: claim them at no charge.
  const isFreePart = stop === 'full' && root.count === room.bounds.receipts;
  if (settledTo === onChain.settled && !isFreePart) return stop ?? 'nothing';
  room.lines.set(payer, taken + settledTo - onChain.settled);
  room.lanes += 1;
  room.receipts += root.count;
  room.signatureBytes = signatureBytes;
  for (const payee of payouts.keys()) room.payees.add(payee);
  const claim: Claim = {
    payer,
    signer,
    settledFrom: onChain.settled,
    settledTo,
    seqFrom: onChain.seq,
    seqTo: onChain.seq + root.count,
    receipts: root.root(),
  };
  return { lane, claim, voucher, payouts, isPart: stop === 'full' };
}

/** Yields a lane's receipts in order, from the one after `afterSeq` up to `toSeq`. */
export async function* entriesOf(
  gateway: Pick<Gateway, 'ledger'>,
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

/**
 * The provider's and the publisher's part of one receipt's price; the rest is the gateway's fee
 * (docs/contracts.md 6.3).
 */
function partsOf(
  gateway: Pick<Gateway, 'chain'>,
  { receipt, call }: StoredEntry,
  feeBps: number,
): readonly (readonly [Address, bigint])[] {
  const { view } = gateway.chain;
  const version = view.versionByHash(call.functionVersion);
  const owner = version && view.ownerAt(version.functionId, receipt.atBlock);
  if (version === undefined || owner === undefined) {
    throw new DefaasError(
      'INTERNAL',
      `version ${call.functionVersion} of receipt ${receipt.seq} is not on the chain`,
    );
  }
  const parts = splitPrice(receipt.price, feeBps, version.tariff.publisherBps);
  const shares: readonly (readonly [Address, bigint])[] = [
    [receipt.provider, parts.provider],
    [owner, parts.publisher],
  ];
  return shares.filter(([, units]) => units > 0n);
}

function isSignedByKey(
  gateway: Pick<Gateway, 'address' | 'chain'>,
  { payer, signer, ceiling, signature }: StoredVoucher,
): boolean {
  const voucher = { payer, gateway: gateway.address, signer, ceiling };
  return recoverSigner(hashVoucher(gateway.chain.domain, voucher), signature) === signer;
}
