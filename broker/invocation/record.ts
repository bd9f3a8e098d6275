// Step 8 of a call: the receipt, durable and signed before the reply.
import { type Address, type Hex, keccak256Hex, toHex } from '../../contracts/libraries/keccak.ts';
import {
  type Execution,
  hashExecution,
  hashReceipt,
  type Receipt,
} from '../../contracts/libraries/receipts.ts';
import type { JournalEntry, StoredAnswer } from '../ledger/ledger.ts';
import type { DailyHold } from '../money/daily-limits.ts';
import type { LaneState, Lanes } from '../money/lanes.ts';
import { type Choices, passedOver } from '../routing/choose.ts';
import type { Target } from '../routing/target.ts';
import type { OpenCall } from './call.ts';
import { commitAnswer } from './commitments.ts';
import type { Answer, Reply } from './invocation.ts';
import type { Journal } from './journal.ts';
import type { Priced, Ran } from './price.ts';

const NOTHING = new Uint8Array();

/** What a receipt needs of the gateway. */
export interface RecordParts {
  readonly address: Address;
  readonly journal: Pick<Journal, 'append'>;
  readonly lanes: Pick<Lanes, 'charge'>;
}

interface Finished {
  readonly target: Target;
  readonly lane: LaneState;
  readonly opened: OpenCall;
  readonly atBlock: number;
  readonly choices: Choices;
  readonly outcome: Ran;
  readonly priced: Priced;
  /** Room that the call holds under limits per day. */
  readonly daily: readonly DailyHold[];
  readonly reply: Reply;
  /** Of a keyed call: the row that answers the same key again. */
  readonly store: ((answer: Answer) => StoredAnswer | undefined) | undefined;
}

/** A call's place in its lane. */
type LanePosition = Pick<Receipt, 'seq' | 'cumulative'>;

/**
 * Numbers the receipt in its lane, at once and without a gap, and resolves when it is durable and
 * its group signed.
 * @throws DefaasError LEDGER_FAILED
 */
export async function record(parts: RecordParts, finished: Finished): Promise<Answer> {
  const { lane, outcome, reply, priced } = finished;
  const { price } = priced;
  const place = parts.lanes.charge(lane, price);
  const spending = finished.daily.flatMap((hold) => hold.spend(price) ?? []);
  const provider = outcome.choice.candidate.provider.name;
  const line = { priceUnits: price, provider, seq: place.seq };
  const id = await parts.journal.append(() => {
    const entry = entryOf(parts.address, finished, place);
    const answer = finished.store?.({ ...reply, receipt: { id: entry.id, ...line } });
    return { entry, spending, answer };
  });
  return { ...reply, receipt: { id, ...line } };
}

/** The receipt with everything it opens to, hashed. */
function entryOf(
  gateway: Address,
  finished: Finished,
  { seq, cumulative }: LanePosition,
): JournalEntry {
  const { lane, opened, priced, choices, outcome, target } = finished;
  const { call, callHash, salt, item, callSignature } = opened;
  const { billedMs, initMs, memoryMiB, status, finishedAtSec, price } = priced;
  const { candidate, place } = outcome.choice;
  const result = outcome.kind === 'unknown' ? undefined : outcome.result;
  const execution: Execution = {
    deployment: candidate.id,
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
    provider: candidate.account,
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
    cloud: candidate.provider.name,
    functionName: target.label,
    attempts: [
      ...passedOver(choices, place, outcome.failed),
      ...outcome.failed.filter((one) => one.deployment !== candidate.id),
    ],
    ...(item !== undefined && { item }),
    ...(callSignature !== undefined && { callSignature }),
    ...(reason !== undefined && { reason }),
  };
}

function textHash(text: string): Hex {
  return keccak256Hex(Buffer.from(text, 'utf8'));
}
