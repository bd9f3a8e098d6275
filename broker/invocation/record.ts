// Steps 7 and 8 of a call: its price, and the receipt that is durable and signed before the reply.
import { createHash, hash } from 'node:crypto';
import { type Hex, keccak256Hex, toHex } from '../../contracts/libraries/keccak.ts';
import {
  type Call,
  type Execution,
  hashExecution,
  hashReceipt,
  type Receipt,
} from '../../contracts/libraries/receipts.ts';
import { priceOf } from '../../contracts/libraries/tariffs.ts';
import type { Gateway } from '../gateway.ts';
import type { StoredAnswer } from '../ledger/ledger.ts';
import type { Outcome } from './attempt.ts';
import { type Choices, passedOver } from './choose.ts';
import type { DailyHold } from './daily-limits.ts';
import type { Answer, Reply } from './invocation.ts';
import type { LaneState } from './lanes.ts';
import type { Target } from './resolve.ts';

const NOTHING = new Uint8Array();
const SALT_BYTES = 32;
/** Up to here a body is hashed in one call, behind its salt: half of what an object for it costs. */
const SMALL_BYTES = 16 * 1024;
/** Written over by every hash, which is synchronous. */
const salted = new Uint8Array(SALT_BYTES + SMALL_BYTES);

interface Finished {
  readonly target: Target;
  readonly lane: LaneState;
  readonly call: Call;
  /** `hashCall` of it. */
  readonly callHash: Hex;
  /** Of the lane's key, in a signed lane. */
  readonly callSignature: Hex | undefined;
  readonly salt: Uint8Array;
  readonly atBlock: number;
  readonly choices: Choices;
  readonly outcome: Exclude<Outcome, { kind: 'none' }>;
  /** Room that the call holds under limits per day. */
  readonly daily: readonly DailyHold[];
  readonly reply: Reply;
  /** Of a keyed call: the row that answers the same key again. */
  readonly store: ((answer: Answer) => StoredAnswer | undefined) | undefined;
}

/**
 * Numbers the receipt in its lane, at once and without a gap, and resolves when it is durable and its group signed.
 * @throws DefaasError LEDGER_FAILED
 */
export async function record(gateway: Gateway, finished: Finished): Promise<Answer> {
  const { target, lane, call, outcome } = finished;
  const { route, place } = outcome.choice;
  const { execution, reason } = executionOf(gateway, finished);
  // What ended after the deadline that was agreed costs nothing (contracts.md D5).
  const isLate = execution.finishedAtSec > call.deadlineSec;
  const price = isLate ? 0n : priceOf(execution, target.version);
  lane.seq += 1;
  lane.cumulative += price;
  const receipt: Receipt = {
    payer: lane.payer,
    gateway: gateway.address,
    signer: lane.signer,
    seq: lane.seq,
    call: finished.callHash,
    execution: hashExecution(execution),
    provider: route.account,
    attempt: place,
    atBlock: finished.atBlock,
    price,
    cumulative: lane.cumulative,
  };
  const entry = {
    id: hashReceipt(receipt),
    receipt,
    call,
    execution,
    salt: toHex(finished.salt),
    cloud: route.provider.name,
    functionName: target.label,
    attempts: [
      ...passedOver(finished.choices, place, outcome.failed),
      ...outcome.failed.filter((one) => one.deployment !== route.id),
    ],
    ...(finished.callSignature !== undefined && { callSignature: finished.callSignature }),
    ...(reason !== undefined && { reason }),
  };
  const answer: Answer = {
    ...finished.reply,
    receipt: {
      id: entry.id,
      priceUnits: price,
      provider: route.provider.name,
      seq: receipt.seq,
    },
  };
  await gateway.journal.append(entry, {
    spending: finished.daily.flatMap((hold) => hold.spend(price) ?? []),
    answer: finished.store?.(answer),
  });
  return answer;
}

/** sha256(salt || bytes): receipts are public, and a small body could be guessed without the salt (contracts.md section 4). */
export function saltedHash(salt: Uint8Array, bytes: Uint8Array): Hex {
  if (bytes.length > SMALL_BYTES) {
    return `0x${createHash('sha256').update(salt).update(bytes).digest('hex')}`;
  }
  salted.set(salt);
  salted.set(bytes, SALT_BYTES);
  return `0x${hash('sha256', salted.subarray(0, SALT_BYTES + bytes.length), 'hex')}`;
}

function executionOf(
  gateway: Gateway,
  { call, salt, outcome, target }: Finished,
): { execution: Execution; reason: string | undefined } {
  const base = {
    deployment: outcome.choice.route.id,
    input: call.input,
    finishedAtSec: Math.floor(gateway.nowMs() / 1000),
  };
  if (outcome.kind === 'unknown') {
    const usage = { billedMs: 0, memoryMiB: target.version.memoryMiB, status: 0 };
    const request = textHash('');
    const output = saltedHash(salt, NOTHING);
    return { execution: { ...base, ...usage, request, output }, reason: 'unknown' };
  }
  const { result } = outcome;
  const execution = {
    ...base,
    request: textHash(result.requestId),
    billedMs: Math.ceil(result.usage.billedMs),
    memoryMiB: Math.ceil(result.usage.memoryMiB),
    status: result.ok ? result.status : 0,
    output: saltedHash(salt, result.ok ? result.body : NOTHING),
  };
  return { execution, reason: result.ok ? undefined : result.error.kind };
}

function textHash(text: string): Hex {
  return keccak256Hex(Buffer.from(text, 'utf8'));
}
