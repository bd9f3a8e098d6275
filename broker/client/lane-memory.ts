// What a lane's owner remembers of it: how far it has signed and checked, its calls in flight, what
// was paid already, and whether the gateway was found lying.
import type { Hex } from '../../contracts/libraries/keccak.ts';
import type { Mandate } from '../../contracts/libraries/typed-data.ts';
import type { DefaasClientError } from './errors.ts';
import type { ReceiptDocument } from './receipts.ts';

/** How often calls are looked through for those whose answer will not come, ms. */
const SWEEP_EVERY_MS = 60_000;

/** Every number only grows, so a lost write costs no more than another signature. */
export interface LaneRecord {
  /** Highest ceiling signed, base units. */
  readonly ceilingUnits: bigint;
  /** All receipts up to this one were checked. */
  readonly verifiedSeq: number;
  /** Their sum, base units. */
  readonly verifiedUnits: bigint;
  /** Why nothing is signed for the lane any more: a contradiction was found, for good. */
  readonly stopped?: string;
}

/** One try of an own call, from before it is sent until its receipt is checked. */
export interface OpenCall {
  /** Names this try. */
  readonly id: string;
  /** `ownCallOf` its nonce. */
  readonly call: string;
  readonly maxPriceUnits: bigint;
  /** A call that has no answer by then will have none, Unix ms. */
  readonly expiresAtMs: number;
  /** What the reply's headers said of the receipt. */
  readonly answer?: {
    readonly seq: number;
    readonly id: Hex;
    readonly priceUnits: bigint;
    /** From sending to the answer, ms; left out for the answer of an earlier call. */
    readonly elapsedMs?: number;
  };
}

/**
 * What is left of an own call whose tries are over and that is not paid: a receipt over it may
 * still come, and is held to what was seen.
 */
export interface SeenCall {
  /** The longest of its answered tries, ms. */
  readonly elapsedMs?: number;
  /** The gateway has refused it, under a key that was made for this very call: it costs nothing. */
  readonly isRefused?: boolean;
  /** A try of it has no answer: how long that took is not known. */
  readonly isLost?: boolean;
}

/** The own calls in flight of all programs that share the memory. */
export interface OpenUnits {
  /** Sum of their maximum prices, base units. */
  readonly maxUnits: bigint;
  /** The same, where the answered ones count as their reply said. */
  readonly expectedUnits: bigint;
  /** How many are answered and not checked. */
  readonly answered: number;
}

/** A receipt that was paid, by what may be paid once: an own call, or a mandate's item. */
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
  /** When it was closed before its time, Unix ms. */
  readonly revokedAtMs?: number;
  /**
   * Receipts that say that they ended earlier count as if they ended then, Unix ms: the time of the
   * signature, later that of the last look at all receipts, less `GRACE_SEC`.
   */
  readonly countsFromMs: number;
  /** Base units by UTC day on which they count, `2026-11-22`. */
  readonly spent: ReadonlyMap<string, bigint>;
}

/** A mandate as its signer puts it into a memory. */
export interface NewMandate extends Pick<HeldMandate, 'hash' | 'mandate'> {
  /** Unix ms; the same when it is put again after a restart. */
  readonly signedAtMs: number;
}

/**
 * How far clocks may be apart, and how long after its end a receipt may first be shown, seconds. A
 * call that began before its mandate ended may also end so much later.
 */
export const GRACE_SEC = 20 * 60;

/** What a checked receipt changes. */
export interface Checked {
  readonly document: ReceiptDocument;
  /** What it is paid for: `ownCallOf` or a mandated nonce. */
  readonly call: string;
  /** When it was checked, Unix ms, by the clock by which the days of mandates go. */
  readonly atMs: number;
}

/** Keeps a lane's record. Each method is atomic, also between processes. */
export interface LaneMemory {
  read(): LaneRecord;
  /** `change` gets the newest of all. */
  update(change: (record: LaneRecord, open: OpenUnits) => LaneRecord): LaneRecord;
  openUnits(): OpenUnits;
  /** Over the try of the same id. */
  putCall(call: OpenCall): void;
  /** The try is over; `seen` is what is held against a receipt that comes all the same. */
  dropCall(id: string, seen?: SeenCall): void;
  /** Of a call that is not paid. A new try of it begins anew. */
  seenOf(call: string): SeenCall | undefined;
  /** All tries of an own call. */
  triesOf(call: string): readonly OpenCall[];
  /** Answered calls whose receipts are not checked, by `seq`. */
  answered(): ReadonlyMap<number, Hex>;
  paid(call: string): PaidReceipt | undefined;
  /** The call may be paid once more: its key is used again, and the gateway has forgotten it. */
  forgetPaid(call: string): void;
  /** Takes the next receipt as checked; one that is checked already changes nothing. */
  acknowledge(checked: Checked): void;
  mandates(): readonly HeldMandate[];
  putMandate(mandate: NewMandate): void;
  revokeMandate(hash: Hex, atMs: number): void;
  /**
   * All receipts that the gateway shows were checked at that time: what ended long before counts
   * now.
   */
  looked(atMs: number): void;
  /**
   * Nothing is signed any more; keeps what the error says and its evidence. The first one stays.
   */
  stop(found: DefaasClientError): void;
}

/**
 * A memory that ends with the program; on its next start the lane's newest voucher is asked for,
 * and the
 * gateway's receipts are checked again from the first. It takes about 100 bytes for each paid call.
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
      // A reply may have named the receipt of another call, or one that costs nothing: its own may
      // follow.
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

/** What an answered try has shown of its call. */
export function seenIn(call: OpenCall | undefined): SeenCall {
  const elapsedMs = call?.answer?.elapsedMs;
  return elapsedMs === undefined ? {} : { elapsedMs };
}

/** Both hold; of two times the longer. */
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

/** From when receipts count after a look, Unix ms. */
export function countedFrom(lookedAtMs: number): number {
  return lookedAtMs - GRACE_SEC * 1000;
}

/**
 * When a receipt counts that says that it ended at `finishedAtSec`, Unix seconds. What was not
 * shown at the last look is not of a day before it, whatever the gateway writes. A look that lies
 * ahead of `nowMs` was made by a clock that was wrong: then it counts now.
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
