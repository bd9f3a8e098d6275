// What each lane has to settle: its claim, and what its receipts give to whom. As many receipts as the line and one transaction
// have room for; the others wait for the next batch.
import type { Address } from '../../contracts/libraries/keccak.ts';
import { createRoot } from '../../contracts/libraries/ordered-merkle.ts';
import type { Claim } from '../../contracts/libraries/receipts.ts';
import { splitPrice } from '../../contracts/libraries/tariffs.ts';
import { hashVoucher } from '../../contracts/libraries/typed-data.ts';
import { recoverSigner } from '../ecdsa.ts';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import type { LaneState } from '../invocation/lanes.ts';
import type { StoredEntry, StoredVoucher } from '../ledger/ledger.ts';

/** Most lanes of one transaction (contracts.md section 11). */
const MAX_CLAIMS = 256;
/** Most payees of one transaction: 8 200 gas each, beside 256 lanes within what EIP-7825 allows. */
const MAX_PAYEES = 512;
/** Entries read from the ledger at once. */
const PAGE_ENTRIES = 500;

export interface LaneShare {
  readonly lane: LaneState;
  readonly claim: Claim;
  readonly voucher: StoredVoucher;
  /** Payee -> base units. */
  readonly payouts: ReadonlyMap<Address, bigint>;
}

interface SignedLane {
  readonly lane: LaneState;
  readonly voucher: StoredVoucher;
}

/**
 * The wanted lanes that come next, at most 256. A voucher that no key signed stands on the word of a
 * contract, which may change between our look and the block: such a lane comes alone, after all others.
 */
export async function nextLanes(
  gateway: Gateway,
  wanted: (lane: LaneState) => boolean,
): Promise<readonly SignedLane[]> {
  const byKey: SignedLane[] = [];
  let byContract: SignedLane | undefined;
  for (const lane of gateway.lanes.all()) {
    if (byKey.length === MAX_CLAIMS) break;
    const onChain = gateway.chain.view.lane(lane.payer, gateway.address, lane.signer);
    if (onChain === undefined || onChain.seq >= lane.seq || !wanted(lane)) continue;
    // Without one every receipt so far was free, and there is no claim without a voucher.
    const voucher = await gateway.ledger.voucher(lane.payer, lane.signer);
    if (voucher === undefined) continue;
    if (isSignedByKey(gateway, voucher)) byKey.push({ lane, voucher });
    else byContract ??= { lane, voucher };
  }
  return byKey.length === 0 && byContract !== undefined ? [byContract] : byKey;
}

/** What each of the lanes claims; told of those that can claim nothing, by the name of the contract's error. */
export async function sharesOf(
  gateway: Gateway,
  lanes: readonly SignedLane[],
  refuse: (lane: LaneState, reason: string) => void,
): Promise<LaneShare[]> {
  const shares: LaneShare[] = [];
  const room: Room = { lines: new Map(), payees: new Set() };
  for (const signed of lanes) {
    const share = await shareOf(gateway, signed, room);
    if (typeof share === 'string') refuse(signed.lane, share);
    else if (share !== undefined) shares.push(share);
  }
  return shares;
}

/** What the batch has taken so far of what is limited. */
interface Room {
  /** Payer -> base units claimed of its line. */
  readonly lines: Map<Address, bigint>;
  readonly payees: Set<Address>;
}

/** One lane's share; the error that keeps it from settling anything; undefined when the batch has no room left for its payees. */
async function shareOf(
  gateway: Gateway,
  { lane, voucher }: SignedLane,
  room: Room,
): Promise<LaneShare | string | undefined> {
  const { payer, signer } = lane;
  const { view } = gateway.chain;
  const onChain = view.lane(payer, gateway.address, signer);
  if (onChain === undefined) return 'LaneNotOpen';
  if (onChain.expirySec < gateway.nowMs() / 1000) return 'LaneExpired';
  const feeBps = view.gateway(gateway.address)?.feeBps ?? 0;
  const allotted = view.line(payer, gateway.address)?.allotted ?? 0n;
  const taken = room.lines.get(payer) ?? 0n;
  const root = createRoot();
  const payouts = new Map<Address, bigint>();
  let settledTo = onChain.settled;
  let isShort = false;
  for await (const entry of entriesOf(gateway, payer, signer, onChain.seq)) {
    const { cumulative } = entry.receipt;
    // A call that came after the voucher was read has a newer one; it comes with the next batch.
    if (cumulative > voucher.ceiling) break;
    const parts = partsOf(gateway, entry, feeBps);
    // A gateway that could not settle before a thaw ended has lost what the line no longer holds, and nothing else.
    isShort = taken + cumulative - onChain.settled > allotted;
    if (isShort || room.payees.size + parts.length > MAX_PAYEES) break;
    for (const [payee, units] of parts) {
      room.payees.add(payee);
      payouts.set(payee, (payouts.get(payee) ?? 0n) + units);
    }
    root.add(entry.id);
    settledTo = cumulative;
  }
  if (root.count === 0) return isShort ? 'InsufficientLine' : undefined;
  room.lines.set(payer, taken + settledTo - onChain.settled);
  const claim: Claim = {
    payer,
    signer,
    settledFrom: onChain.settled,
    settledTo,
    seqFrom: onChain.seq,
    seqTo: onChain.seq + root.count,
    receipts: root.root(),
  };
  return { lane, claim, voucher, payouts };
}

/** A lane's receipts in order, from the one after `afterSeq` to `toSeq`. */
export async function* entriesOf(
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
function partsOf(
  gateway: Gateway,
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
  return [
    [receipt.provider, parts.provider],
    [owner, parts.publisher],
  ];
}

function isSignedByKey(
  gateway: Gateway,
  { payer, signer, ceiling, signature }: StoredVoucher,
): boolean {
  const voucher = { payer, gateway: gateway.address, signer, ceiling };
  return recoverSigner(hashVoucher(gateway.chain.domain, voucher), signature) === signer;
}
