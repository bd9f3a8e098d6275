// How far a lane's owner signs: the checked receipts, plus what its calls in flight and its
// mandates may cost today. A ceiling never rises by a number that the gateway states, only by
// receipts that were checked.
import type { Hex } from '../../contracts/libraries/keccak.ts';
import type { CallChain } from './call-terms.ts';
import { DefaasClientError } from './errors.ts';
import { fetchLane, putVoucher, signedCeiling, signVoucher, voucherHeader } from './lane.ts';
import type { LaneMemory, LaneRecord } from './lane-memory.ts';
import { allowanceOfAll, overdrawnOfAll } from './mandates.ts';
import { fetchReceipts, type ReceiptDocument } from './receipts.ts';
import type { Session } from './session.ts';
import type { LaneName } from './sign-in.ts';
import { verifyReceipt } from './verify-receipt.ts';

/** Most answered calls whose receipts are unchecked; at this count the receipts are checked. */
const MAX_UNCHECKED = 1_000;
/** Longest time of one check of receipts, ms. Receipts checked by then stay checked. */
const MAX_CHECK_MS = 600_000;

export interface Cover {
  /**
   * Checks all receipts since the last time.
   * @throws RECEIPT_INVALID, RECEIPTS_MISSING, LANE_STOPPED
   */
  acknowledge(): Promise<void>;
  /**
   * Raises the ceiling, within `ceilingFor`, until it covers the calls in flight.
   * @throws as `acknowledge`
   */
  coverOpen(): Promise<void>;
  /**
   * Raises the ceiling even if it seems to cover them: the gateway has served calls whose receipts
   * are unchecked.
   */
  raise(): Promise<void>;
  /**
   * Checks all receipts, raises the ceiling within `ceilingFor`, and sends its voucher to the
   * gateway. A lane whose mandates others spend needs this each day.
   * @throws as `acknowledge`, and what the gateway says
   */
  renew(): Promise<void>;
  /** The newest voucher as a header; undefined while nothing is signed. */
  voucher(): Promise<string | undefined>;
  /** @throws LANE_STOPPED the gateway was caught lying; nothing is signed for the lane any more */
  refuseStopped(): void;
}

interface CoverOptions {
  readonly session: Session;
  readonly lane: LaneName;
  readonly memory: LaneMemory;
  readonly chain: CallChain;
  readonly ownCallsKey: Hex;
  readonly isSigned: boolean;
  readonly stepUnits: bigint;
  readonly onReceipt?: ((receipt: ReceiptDocument) => void | Promise<void>) | undefined;
  /** Unix ms; decides the UTC day of mandates. */
  readonly nowMs?: (() => number) | undefined;
}

/**
 * The highest ceiling that may be signed, never below the signed one. It is the sum of three: the
 * checked units; the larger of the step (less what mandates have overdrawn today) and the maximum
 * prices of the calls in flight; and what the mandates still allow. None of these numbers comes
 * from the gateway. What lies beyond `verifiedUnits` is the most that a lying gateway could take.
 */
export function ceilingFor(
  { ceilingUnits, verifiedUnits }: Pick<LaneRecord, 'ceilingUnits' | 'verifiedUnits'>,
  open: {
    readonly maxUnits: bigint;
    readonly allowanceUnits: bigint;
    readonly overdrawnUnits: bigint;
    readonly stepUnits: bigint;
  },
): bigint {
  const step = open.stepUnits - open.overdrawnUnits;
  const inFlight = open.maxUnits > step ? open.maxUnits : step;
  const next = verifiedUnits + inFlight + open.allowanceUnits;
  return next > ceilingUnits ? next : ceilingUnits;
}

/** What all open mandates of a lane allow today, base units. */
function allowanceIn(memory: Pick<LaneMemory, 'mandates'>, nowMs: number): bigint {
  return allowanceOfAll(memory.mandates(), nowMs);
}

export function createCover(options: CoverOptions): Cover {
  const { session, lane, memory, stepUnits, nowMs = Date.now } = options;
  const { connection, key } = session;
  let checking: Promise<void> | undefined;
  let voucher = { ceilingUnits: 0n, header: '' };

  const refuseStopped = () => {
    const { stopped } = memory.read();
    if (stopped === undefined) return;
    throw new DefaasClientError(
      'LANE_STOPPED',
      `nothing is signed for lane ${lane.signer} any more: ${stopped}`,
    );
  };
  const acknowledge = async () => {
    refuseStopped();
    checking ??= checkReceipts({ ...options, nowMs })
      .catch((error) => {
        if (error instanceof DefaasClientError && error.evidence) memory.stop(error);
        throw error;
      })
      .finally(() => {
        checking = undefined;
      });
    return checking;
  };
  const raise = async () => {
    await acknowledge();
    const mandates = memory.mandates();
    const allowanceUnits = allowanceOfAll(mandates, nowMs());
    const overdrawnUnits = overdrawnOfAll(mandates, nowMs());
    memory.update((record, { maxUnits }) => {
      if (record.stopped !== undefined) return record;
      const open = { maxUnits, allowanceUnits, overdrawnUnits, stepUnits };
      return { ...record, ceilingUnits: ceilingFor(record, open) };
    });
    refuseStopped();
  };
  return {
    acknowledge,
    raise,
    renew: async () => {
      await raise();
      const { ceilingUnits } = memory.read();
      if (ceilingUnits === 0n) return;
      const signature = await signVoucher(connection, key, lane.payer, ceilingUnits);
      await putVoucher(session, lane, ceilingUnits, signature);
    },
    refuseStopped,
    coverOpen: async () => {
      const { ceilingUnits, verifiedUnits } = memory.read();
      const { expectedUnits, answered } = memory.openUnits();
      const needed = verifiedUnits + expectedUnits + allowanceIn(memory, nowMs());
      if (ceilingUnits < needed || answered >= MAX_UNCHECKED) await raise();
    },
    voucher: async () => {
      const { ceilingUnits } = memory.read();
      if (ceilingUnits === 0n) return undefined;
      if (ceilingUnits !== voucher.ceilingUnits) {
        const signature = await signVoucher(connection, key, lane.payer, ceilingUnits);
        voucher = { ceilingUnits, header: voucherHeader(ceilingUnits, signature) };
      }
      return voucher.header;
    },
  };
}

type Clocked = CoverOptions & { readonly nowMs: () => number };

/**
 * @throws RECEIPT_INVALID one is wrong; RECEIPTS_MISSING one is not shown: that may heal by itself
 */
async function checkReceipts(options: Clocked): Promise<void> {
  const { session, lane, memory, nowMs } = options;
  const untilMs = Date.now() + MAX_CHECK_MS;
  const lookedAtMs = nowMs();
  // Read before the receipts are fetched. A receipt that a reply has named is durable, so the
  // gateway must be able to show it.
  const named = memory.answered();
  for await (const document of fetchReceipts(session, lane, memory.read().verifiedSeq)) {
    const { verifiedSeq } = memory.read();
    const { seq } = document.receipt;
    // Another program on this lane may have checked it in the meantime.
    if (seq <= verifiedSeq) continue;
    if (seq > verifiedSeq + 1) throw missing(`receipt ${verifiedSeq + 1} before receipt ${seq}`);
    await check(options, document, named.get(seq));
    if (Date.now() > untilMs) throw missing(`an end of its receipts, ${seq} were checked`);
  }
  const { verifiedSeq } = memory.read();
  for (const [seq, id] of named) {
    if (seq > verifiedSeq) throw missing(`receipt ${id} (seq ${seq}), which it has named`);
  }
  memory.looked(lookedAtMs);
}

async function check(
  options: Clocked,
  document: ReceiptDocument,
  named: Hex | undefined,
): Promise<void> {
  const { session, lane, memory, chain, ownCallsKey, isSigned } = options;
  const { connection } = session;
  const { seq, cumulative, price } = document.receipt;
  if (cumulative > memory.read().ceilingUnits) await recall(options);
  const atMs = options.nowMs();
  const paidFor = await verifyReceipt(document, {
    domain: connection.domain,
    gateway: connection.document.gateway,
    lane,
    chain,
    isSigned,
    after: memory.read(),
    ownCallsKey,
    mandates: memory.mandates(),
    nowMs: atMs,
    elapsedMsOf: (call) => elapsedOf(memory, call),
  });
  if (named !== undefined && named !== document.id) {
    throw contradiction(document, `stands at seq ${seq}, where a reply has named ${named}`);
  }
  const seen = memory.seenOf(paidFor);
  if (price > 0n && seen?.isRefused && !seen.isLost && memory.triesOf(paidFor).length === 0) {
    throw contradiction(document, 'is of a call that the gateway has refused');
  }
  const before = price > 0n ? memory.paid(paidFor) : undefined;
  if (before && before.id !== document.id) {
    throw contradiction(document, `is of a call that receipt ${before.id} was paid for`);
  }
  if (document.salt === undefined) {
    throw missing(`the salt of receipt ${document.id} (seq ${seq}), so that it does not open`);
  }
  await options.onReceipt?.(document);
  memory.acknowledge({ document, call: paidFor, atMs });
}

/**
 * The longest of the call's tries, ms. Undefined if none was answered or if the duration of one is
 * unknown because it was not answered.
 */
export function elapsedOf(memory: LaneMemory, call: string): number | undefined {
  const tries = memory.triesOf(call);
  const { elapsedMs, isLost } = memory.seenOf(call) ?? {};
  if (isLost || tries.some(({ answer }) => !answer)) return undefined;
  const times = tries.flatMap(({ answer }) => answer?.elapsedMs ?? []);
  if (elapsedMs !== undefined) times.push(elapsedMs);
  return times.length > 0 ? Math.max(...times) : undefined;
}

/**
 * Raises the remembered ceiling to one that the lane's key has signed but this memory does not
 * know: the memory was lost, or another program signs too. Only the key's own signature counts.
 */
async function recall({ session, lane, memory }: CoverOptions): Promise<void> {
  const { document, domain } = session.connection;
  const shown = await fetchLane(session, lane);
  const signed = signedCeiling(domain, { ...shown, ...lane, gateway: document.gateway });
  memory.update((record) =>
    record.ceilingUnits >= signed ? record : { ...record, ceilingUnits: signed },
  );
}

function contradiction(document: ReceiptDocument, why: string): DefaasClientError {
  const { id, receipt } = document;
  return new DefaasClientError(
    'RECEIPT_INVALID',
    `receipt ${id} (seq ${receipt.seq}) ${why}; nothing more is signed for this gateway`,
    { evidence: [document] },
  );
}

function missing(what: string): DefaasClientError {
  return new DefaasClientError(
    'RECEIPTS_MISSING',
    `the gateway does not show ${what}; nothing more is signed until it does`,
  );
}
