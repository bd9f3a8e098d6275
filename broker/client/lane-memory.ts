// What a lane's owner remembers: how far it has signed and checked, its calls in flight, what was
// paid, and whether the gateway was caught lying.
import type { Hex } from '../../contracts/libraries/keccak.ts';
import type { Mandate } from '../../contracts/libraries/typed-data.ts';
import type { DefaasClientError } from './errors.ts';
import type { ReceiptDocument } from './receipts.ts';

/** How often expired calls without an answer are removed, ms. */
const SWEEP_EVERY_MS = 60_000;

/** Every number only grows, so a lost write costs at most another signature. */
export interface LaneRecord {
  /** Highest ceiling signed, base units. */
  readonly ceilingUnits: bigint;
  /** All receipts up to this one were checked. */
  readonly verifiedSeq: number;
  /** Their sum, base units. */
  readonly verifiedUnits: bigint;
  /** Why nothing is signed for the lane any more: a contradiction was found. It is permanent. */
  readonly stopped?: string;
}

/** One try of an own call, from before it is sent until its receipt is checked. */
export interface OpenCall {
  /** Names this try. */
  readonly id: string;
  /** `ownCallOf` its nonce. */
  readonly call: string;
  readonly maxPriceUnits: bigint;
  /** The latest time at which an answer can come, Unix ms. */
  readonly expiresAtMs: number;
  /** What the reply's headers said of the receipt. */
  readonly answer?: {
    readonly seq: number;
    readonly id: Hex;
    readonly priceUnits: bigint;
    /** Time from sending to the answer, ms; left out for a replayed answer of an earlier call. */
    readonly elapsedMs?: number;
  };
}

/**
 * What is kept of an unpaid own call whose tries are over. A receipt for it may still come and is
 * checked against this.
 */
export interface SeenCall {
  /** The longest of its answered tries, ms. */
  readonly elapsedMs?: number;
  /**
   * The gateway has refused it, under an idempotency key made for this call alone, so it costs
   * nothing.
   */
  readonly isRefused?: boolean;
  /** One of its tries has no answer, so its duration is unknown. */
  readonly isLost?: boolean;
}

/** The own calls in flight of all programs that share the memory. */
export interface OpenUnits {
  /** Sum of their maximum prices, base units. */
  readonly maxUnits: bigint;
  /** The same sum, but an answered call counts with the price that its reply named. */
  readonly expectedUnits: bigint;
  /** Number of answered calls whose receipts are unchecked. */
  readonly answered: number;
}

/**
 * A paid receipt, recorded per thing that may be paid once: an own call, or an item of a mandate.
 */
export interface PaidReceipt {
  readonly seq: number;
  readonly id: Hex;
  /** When it was checked, Unix ms. */
  readonly atMs: number;
}

/** A mandate that was signed for the lane, and what was charged under it. */
export interface HeldMandate {
  readonly hash: Hex;
  readonly mandate: Mandate;
  /** When it was revoked before its end, Unix ms. */
  readonly revokedAtMs?: number;
  /**
   * Earliest time at which a receipt counts, Unix ms; one that claims an earlier end counts at this
   * time. It is the time of the signature, later that of the last check of all receipts less
   * `GRACE_SEC`.
   */
  readonly countsFromMs: number;
  /** Base units per UTC day on which they count, such as `2026-11-22`. */
  readonly spent: ReadonlyMap<string, bigint>;
}

/** A mandate as its signer puts it into a memory. */
export interface NewMandate extends Pick<HeldMandate, 'hash' | 'mandate'> {
  /** Unix ms; stays the same when the mandate is put again after a restart. */
  readonly signedAtMs: number;
}

/**
 * How far clocks may differ, and how long after its end a receipt may first be shown, seconds. A
 * call that began before its mandate ended may also end this much later.
 */
export const GRACE_SEC = 20 * 60;

/** What a checked receipt changes. */
export interface Checked {
  readonly document: ReceiptDocument;
  /** What it is paid for: `ownCallOf` or a mandated nonce. */
  readonly call: string;
  /** When it was checked, Unix ms, by the clock that decides the UTC day of mandates. */
  readonly atMs: number;
}

/** Keeps a lane's record. Each method is atomic, also between processes. */
export interface LaneMemory {
  read(): LaneRecord;
  /** Applies `change` to the newest record, across all processes. */
  update(change: (record: LaneRecord, open: OpenUnits) => LaneRecord): LaneRecord;
  openUnits(): OpenUnits;
  /** Stores a try and replaces one with the same id. */
  putCall(call: OpenCall): void;
  /** Ends a try; `seen` is kept to check a receipt that still comes. */
  dropCall(id: string, seen?: SeenCall): void;
  /** What is kept of an unpaid call. A new try of it starts from nothing. */
  seenOf(call: string): SeenCall | undefined;
  /** All tries of an own call. */
  triesOf(call: string): readonly OpenCall[];
  /** Answered calls whose receipts are not checked, by `seq`. */
  answered(): ReadonlyMap<number, Hex>;
  paid(call: string): PaidReceipt | undefined;
  /**
   * Allows the call to be paid once more: its idempotency key is used again, and the gateway has
   * forgotten it.
   */
  forgetPaid(call: string): void;
  /** Records the next receipt as checked. One that is already checked changes nothing. */
  acknowledge(checked: Checked): void;
  mandates(): readonly HeldMandate[];
  putMandate(mandate: NewMandate): void;
  revokeMandate(hash: Hex, atMs: number): void;
  /**
   * Records that all receipts shown by the gateway were checked at that time. A receipt that
   * appears later but claims an older end counts as if it ended then.
   */
  looked(atMs: number): void;
  /** Stops all signing and keeps the error's message and evidence. The first call wins. */
  stop(found: DefaasClientError): void;
}

/**
 * A memory that ends with the program. At the next start the lane's newest voucher is fetched, and
 * the gateway's receipts are checked again from the first. It takes about 100 bytes for each paid
 * call.
 */
export function createLaneMemory(): LaneMemory {
  let record: LaneRecord = { ceilingUnits: 0n, verifiedSeq: 0, verifiedUnits: 0n };
  const calls = new Map<string, OpenCall>();
  const byCall = new Map<string, Set<string>>();
  const bySeq = new Map<number, Set<string>>();
  const paid = new Map<string, PaidReceipt>();
  const seen = new Map<string, SeenCall>();
  const mandates = new Map<Hex, HeldMandate>();
  let open = { maxUnits: 0n, expectedUnits: 0n, answered: 0 };
  let sweptAtMs = 0;

  const count = ({ maxPriceUnits, answer }: OpenCall, times: 1 | -1): void => {
    open = {
      maxUnits: open.maxUnits + BigInt(times) * maxPriceUnits,
      expectedUnits: open.expectedUnits + BigInt(times) * (answer?.priceUnits ?? maxPriceUnits),
      answered: open.answered + (answer ? times : 0),
    };
  };
  const dropCall = (id: string, outcome?: SeenCall): void => {
    const found = calls.get(id);
    if (!found) return;
    if (outcome) seen.set(found.call, seenTogether(seen.get(found.call), outcome));
    calls.delete(id);
    count(found, -1);
    remove(byCall, found.call, id);
    if (found.answer) remove(bySeq, found.answer.seq, id);
  };
  const sweep = (): void => {
    const nowMs = Date.now();
    if (nowMs - sweptAtMs < SWEEP_EVERY_MS) return;
    sweptAtMs = nowMs;
    for (const { id, answer, expiresAtMs } of calls.values()) {
      if (!answer && expiresAtMs < nowMs) dropCall(id, { isLost: true });
    }
  };
  return {
    read: () => record,
    update: (change) => {
      sweep();
      record = change(record, open);
      return record;
    },
    openUnits: () => open,
    putCall: (call) => {
      dropCall(call.id);
      if (!call.answer) seen.delete(call.call);
      calls.set(call.id, call);
      count(call, 1);
      add(byCall, call.call, call.id);
      if (call.answer) add(bySeq, call.answer.seq, call.id);
    },
    dropCall,
    seenOf: (call) => seen.get(call),
    triesOf: (call) => [...(byCall.get(call) ?? [])].flatMap((id) => calls.get(id) ?? []),
    answered: () =>
      new Map(
        [...calls.values()].flatMap(({ answer }) => (answer ? [[answer.seq, answer.id]] : [])),
      ),
    paid: (call) => paid.get(call),
    forgetPaid: (call) => void paid.delete(call),
    acknowledge: ({ document, call, atMs }) => {
      const { id, receipt, execution } = document;
      if (receipt.seq <= record.verifiedSeq) return;
      const { seq, price, cumulative } = receipt;
      record = { ...record, verifiedSeq: seq, verifiedUnits: cumulative };
      // A reply may have named the receipt of another call, or a free one; the call's own receipt
      // may follow.
      for (const one of [...(bySeq.get(seq) ?? [])]) dropCall(one, seenIn(calls.get(one)));
      if (price === 0n) return;
      for (const one of [...(byCall.get(call) ?? [])]) dropCall(one);
      seen.delete(call);
      paid.set(call, { seq, id, atMs: Date.now() });
      const held = mandates.get(document.call.authority);
      if (held) {
        const countedSec = countedSecOf(held, execution.finishedAtSec, atMs);
        mandates.set(held.hash, spentUnder(held, countedSec, price));
      }
    },
    mandates: () => [...mandates.values()],
    putMandate: ({ hash, mandate, signedAtMs }) => {
      if (mandates.has(hash)) return;
      mandates.set(hash, { hash, mandate, countsFromMs: signedAtMs, spent: new Map() });
    },
    revokeMandate: (hash, revokedAtMs) => {
      const held = mandates.get(hash);
      if (held && held.revokedAtMs === undefined) mandates.set(hash, { ...held, revokedAtMs });
    },
    looked: (atMs) => {
      for (const held of mandates.values()) {
        const countsFromMs = Math.max(held.countsFromMs, countedFrom(atMs));
        mandates.set(held.hash, { ...held, countsFromMs });
      }
    },
    stop: ({ message }) => {
      record = { ...record, stopped: record.stopped ?? message };
    },
  };
}

/** What an answered try reveals about its call. */
export function seenIn(call: OpenCall | undefined): SeenCall {
  const elapsedMs = call?.answer?.elapsedMs;
  return elapsedMs === undefined ? {} : { elapsedMs };
}

/** Merges both: a flag set in either stays set, and the longer time wins. */
export function seenTogether(before: SeenCall = {}, now: SeenCall): SeenCall {
  const times = [before.elapsedMs, now.elapsedMs].filter((ms) => ms !== undefined);
  return {
    ...before,
    ...now,
    ...(times.length > 0 && { elapsedMs: Math.max(...times) }),
  };
}

function add<K>(sets: Map<K, Set<string>>, key: K, id: string): void {
  const set = sets.get(key);
  if (set) set.add(id);
  else sets.set(key, new Set([id]));
}

function remove<K>(sets: Map<K, Set<string>>, key: K, id: string): void {
  const set = sets.get(key);
  set?.delete(id);
  if (set?.size === 0) sets.delete(key);
}

function spentUnder(held: HeldMandate, countedSec: number, price: bigint): HeldMandate {
  const day = utcDayOf(countedSec);
  return { ...held, spent: new Map(held.spent).set(day, (held.spent.get(day) ?? 0n) + price) };
}

/** Earliest time at which receipts count after a check of all receipts, Unix ms. */
export function countedFrom(lookedAtMs: number): number {
  return lookedAtMs - GRACE_SEC * 1000;
}

/**
 * When a receipt counts that claims an end at `finishedAtSec`, Unix seconds. A receipt that was not
 * shown at the last check cannot count on a day before it, whatever the gateway claims. If that
 * check lies after `nowMs`, its clock was wrong, and the receipt counts now.
 */
export function countedSecOf(
  { countsFromMs }: Pick<HeldMandate, 'countsFromMs'>,
  finishedAtSec: number,
  nowMs: number,
): number {
  return Math.max(finishedAtSec, Math.floor(Math.min(countsFromMs, nowMs) / 1000));
}

/** The UTC day of Unix seconds, `2026-11-22`. */
export function utcDayOf(sec: number): string {
  return new Date(sec * 1000).toISOString().slice(0, 10);
}
