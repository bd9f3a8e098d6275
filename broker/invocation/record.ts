// Steps 7 and 8 of a call: its price, and the receipt that is durable and signed before the reply.
import { type Address, type Hex, keccak256Hex, toHex } from '../../contracts/libraries/keccak.ts';
import {
  type Call,
  type Execution,
  hashExecution,
  hashReceipt,
  type Receipt,
} from '../../contracts/libraries/receipts.ts';
import { priceOf } from '../../contracts/libraries/tariffs.ts';
import type { Gateway } from '../gateway.ts';
import type { JournalEntry, StoredAnswer } from '../ledger/ledger.ts';
import type { DailyHold } from '../money/daily-limits.ts';
import type { LaneState } from '../money/lanes.ts';
import { type Choices, passedOver } from '../routing/choose.ts';
import type { Target } from '../routing/target.ts';
import type { Outcome } from './attempt.ts';
import { commitAnswer } from './commitments.ts';
import type { Answer, Reply } from './invocation.ts';
import { initMsOf } from './metering.ts';

const NOTHING = new Uint8Array();

interface Finished {
  readonly target: Target;
  readonly lane: LaneState;
  readonly call: Call;
  /** `hashCall` of it. */
  readonly callHash: Hex;
  /** Of the lane's key, in a signed lane. */
  readonly callSignature: Hex | undefined;
  readonly salt: Uint8Array;
  /** Of a mandated call. */
  readonly item: Hex | undefined;
  readonly atBlock: number;
  readonly choices: Choices;
  readonly outcome: Exclude<Outcome, { kind: 'none' }>;
  /** Room that the call holds under limits per day. */
  readonly daily: readonly DailyHold[];
  readonly reply: Reply;
  /** Of a keyed call: the row that answers the same key again. */
  readonly store: ((answer: Answer) => StoredAnswer | undefined) | undefined;
}

type Used = Pick<Execution, 'billedMs' | 'initMs' | 'memoryMiB' | 'status'>;

/** A finished call's place in its lane. */
type Numbered = Used &
  Pick<Execution, 'finishedAtSec'> &
  Pick<Receipt, 'price' | 'seq' | 'cumulative'>;

/**
 * Numbers the receipt in its lane, at once and without a gap, and resolves when it is durable and its group signed.
 * @throws DefaasError LEDGER_FAILED
 */
export async function record(gateway: Gateway, finished: Finished): Promise<Answer> {
  const { target, lane, call, outcome, reply } = finished;
  const { route } = outcome.choice;
  const used = usageOf(finished);
  const finishedAtSec = Math.floor(gateway.nowMs() / 1000);
  // What ended after the deadline that was agreed costs nothing (Disputes.proveOverLimit).
  const price = finishedAtSec > call.deadlineSec ? 0n : priceOf(used, target.version);
  lane.seq += 1;
  lane.cumulative += price;
  const numbered = { ...used, finishedAtSec, price, seq: lane.seq, cumulative: lane.cumulative };
  const spending = finished.daily.flatMap((hold) => hold.spend(price) ?? []);
  const line = { priceUnits: price, provider: route.provider.name, seq: numbered.seq };
  const id = await gateway.journal.append(() => {
    const entry = entryOf(gateway.address, finished, numbered);
    const answer = finished.store?.({ ...reply, receipt: { id: entry.id, ...line } });
    return { entry, spending, answer };
  });
  return { ...reply, receipt: { id, ...line } };
}

/** What the call used, as it is priced: nothing of a call whose outcome is unknown. */
function usageOf({ outcome, target }: Finished): Used {
  if (outcome.kind === 'unknown') {
    return { billedMs: 0, initMs: 0, memoryMiB: target.version.memoryMiB, status: 0 };
  }
  const { result } = outcome;
  return {
    billedMs: outcome.billedMs,
    initMs: initMsOf(result),
    memoryMiB: Math.ceil(result.usage.memoryMiB),
    status: result.ok ? result.status : 0,
  };
}

/** The receipt with everything it opens to, hashed. */
function entryOf(gateway: Address, finished: Finished, numbered: Numbered): JournalEntry {
  const { lane, call, callHash, salt, choices, outcome, target } = finished;
  const { route, place } = outcome.choice;
  const { billedMs, initMs, memoryMiB, status, finishedAtSec, price, seq, cumulative } = numbered;
  const result = outcome.kind === 'unknown' ? undefined : outcome.result;
  const execution: Execution = {
    deployment: route.id,
    request: textHash(result?.requestId ?? ''),
    billedMs,
    initMs,
    memoryMiB,
    status,
    input: call.input,
    output: commitAnswer(salt, status, result?.ok ? result.body : NOTHING),
    finishedAtSec,
  };
  const receipt: Receipt = {
    payer: lane.payer,
    gateway,
    signer: lane.signer,
    seq,
    call: callHash,
    execution: hashExecution(execution),
    provider: route.account,
    attempt: place,
    atBlock: finished.atBlock,
    price,
    cumulative,
  };
  const reason = result?.ok ? undefined : (result?.error.kind ?? 'unknown');
  return {
    id: hashReceipt(receipt),
    receipt,
    call,
    execution,
    salt: toHex(salt),
    cloud: route.provider.name,
    functionName: target.label,
    attempts: [
      ...passedOver(choices, place, outcome.failed),
      ...outcome.failed.filter((one) => one.deployment !== route.id),
    ],
    ...(finished.item !== undefined && { item: finished.item }),
    ...(finished.callSignature !== undefined && { callSignature: finished.callSignature }),
    ...(reason !== undefined && { reason }),
  };
}

function textHash(text: string): Hex {
  return keccak256Hex(Buffer.from(text, 'utf8'));
}
