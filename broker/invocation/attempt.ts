// Step 6 of a call: try one deployment after the other until one answers. `ran` alone decides
// whether another attempt is allowed.
import { type InvokeRequest, type InvokeResult, ProviderError } from '../../adapters/provider.ts';
import type { FailedAttempt } from '../ledger/ledger.ts';
import type { FreeFailures, Spender } from '../money/free-failures.ts';
import type { Candidate, Choice } from '../routing/choose.ts';
import type { Deadlines } from './deadlines.ts';
import { billedMsOf } from './metering.ts';

/** Extra time for a cold start, beyond the version's timeout, ms. */
const COLD_START_MS = 15_000;
/** Extra time for all attempts together, so that the call ends before its deadline, ms. */
const ALL_ATTEMPTS_MS = 45_000;

export type Outcome =
  | {
      readonly kind: 'answered';
      readonly choice: Choice;
      readonly result: InvokeResult;
      /** Metered time. `result.usage` is only what the cloud or the shim claims. */
      readonly billedMs: number;
      readonly failed: readonly FailedAttempt[];
    }
  /** The function may have run and the outcome is unknown: not charged, not tried again. */
  | {
      readonly kind: 'unknown';
      readonly choice: Choice;
      readonly measuredMs: number;
      readonly failed: readonly FailedAttempt[];
    }
  /** Nothing ran anywhere. */
  | {
      readonly kind: 'none';
      readonly failed: readonly FailedAttempt[];
      readonly retryAfterMs: number | undefined;
    };

/** Whether a second run may begin; asked when the first one is slower than 95 % of calls. */
export type Hedge = () => boolean;

interface AttemptOptions {
  readonly timeoutMs: number;
  /** A longer answer is the function's failure, bytes. */
  readonly answerBytes: number;
  /** An idempotent version may be tried again when it may have run. */
  readonly idempotent: boolean;
  /** Only for idempotent versions. */
  readonly hedge?: Hedge | undefined;
  readonly freeFailures: Pick<FreeFailures, 'tryReserve' | 'settle' | 'spend'>;
  readonly spender: Spender;
  /** What the first run has reserved of the budget of free failures, ms. */
  readonly reservedMs: number;
  readonly deadlines: Deadlines;
  readonly nowMs: () => number;
  /** Called with an error that is not a ProviderError. */
  readonly onFault: (error: unknown) => void;
}

/** How one run ended. The promise of it never rejects. */
type End =
  | { readonly choice: Choice; readonly result: InvokeResult; readonly billedMs: number }
  | {
      readonly choice: Choice;
      readonly result?: undefined;
      readonly failure: FailedAttempt;
      readonly retryAfterMs?: number | undefined;
      /**
       * The part of the budget that is still reserved because nothing ran; 0 otherwise. The next
       * run takes it over, or it is given back.
       */
      readonly reservedMs: number;
    };

/**
 * Tries the choices in order. A `maybe` ends the call unless the version is idempotent. Each run
 * settles its own reservation.
 */
export async function attempt(
  choices: readonly Choice[],
  request: InvokeRequest,
  options: AttemptOptions,
): Promise<Outcome> {
  const { freeFailures, spender } = options;
  const failed: FailedAttempt[] = [];
  let unknown: Extract<Outcome, { kind: 'unknown' }> | undefined;
  let retryAfterMs: number | undefined;
  let { reservedMs } = options;
  const endMs = options.nowMs() + options.timeoutMs + ALL_ATTEMPTS_MS;
  const start = (choice: Choice, reserved: number): Promise<End> | undefined => {
    const deadlineMs = Math.min(options.timeoutMs + COLD_START_MS, endMs - options.nowMs());
    return deadlineMs > 0 ? run(choice, request, options, { deadlineMs, reserved }) : undefined;
  };
  const finish = (outcome: Outcome): Outcome => {
    if (reservedMs > 0) freeFailures.settle(spender, reservedMs, 0, false);
    return outcome;
  };
  for (let turn = 0; turn < choices.length; turn += 1) {
    const choice = choices[turn];
    if (reservedMs === 0) reservedMs = freeFailures.tryReserve(spender) ?? 0;
    const running = choice && reservedMs > 0 ? start(choice, reservedMs) : undefined;
    if (choice === undefined || running === undefined) break;
    reservedMs = 0;
    const second = turn === 0 && options.hedge ? choices[1] : undefined;
    const ends = second ? await hedged(choice, second, running, start, options) : [await running];
    turn += ends.length - 1;
    let answer: Extract<End, { result: InvokeResult }> | undefined;
    for (const end of ends) {
      if (end.result !== undefined) {
        answer = end;
        continue;
      }
      failed.push(end.failure);
      retryAfterMs = end.retryAfterMs ?? retryAfterMs;
      if (reservedMs === 0) reservedMs = end.reservedMs;
      else if (end.reservedMs > 0) freeFailures.settle(spender, end.reservedMs, 0, false);
      const { ran, measuredMs } = end.failure;
      if (ran === 'maybe') unknown = { kind: 'unknown', choice: end.choice, measuredMs, failed };
    }
    if (answer) return finish({ kind: 'answered', ...answer, failed });
    if (unknown && (!options.idempotent || options.deadlines.isClosing)) return finish(unknown);
  }
  return finish(unknown ?? { kind: 'none', failed, retryAfterMs });
}

/**
 * Starts a second run beside the first once the first is slower than 95 % of its deployment's
 * calls. The first answer counts. The other run continues to its end, because the cloud continues
 * it anyway; load, latency and circuit are recorded for both.
 */
async function hedged(
  first: Choice,
  second: Choice,
  running: Promise<End>,
  start: (choice: Choice, reserved: number) => Promise<End> | undefined,
  { hedge, nowMs, freeFailures, spender }: AttemptOptions,
): Promise<readonly End[]> {
  const usualMs = first.candidate.latency.p95Ms();
  if (usualMs === undefined) return [await running];
  const startedMs = nowMs();
  const inTime = await within(running, usualMs);
  if (inTime !== undefined) return [inTime];
  if (second.candidate.circuit.isOpen(nowMs()) || !hedge?.()) return [await running];
  const reservedMs = freeFailures.tryReserve(spender);
  if (reservedMs === undefined) return [await running];
  const secondMs = nowMs();
  const beside = start(second, reservedMs);
  if (beside === undefined) {
    freeFailures.settle(spender, reservedMs, 0, false);
    return [await running];
  }

  const end = await Promise.race([running, beside]);
  const isFirst = end.choice === first;
  const other = isFirst ? beside : running;
  if (end.result === undefined) return [end, await other];
  // The run whose answer does not count is not charged.
  void other.then((lost) => {
    if (lost.result === undefined) freeFailures.settle(spender, lost.reservedMs, 0, false);
    else if (lost.result.ok) freeFailures.spend(spender, lost.billedMs);
  });
  const { candidate } = isFirst ? second : first;
  const failure: FailedAttempt = {
    deployment: candidate.id,
    provider: candidate.provider.name,
    code: 'HEDGED',
    ran: 'maybe',
    measuredMs: Math.round(nowMs() - (isFirst ? secondMs : startedMs)),
  };
  return [{ choice: isFirst ? second : first, failure, reservedMs: 0 }, end];
}

/** The promise's value, or undefined when it takes longer than `ms`. */
async function within<Value>(promise: Promise<Value>, ms: number): Promise<Value | undefined> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

async function run(
  choice: Choice,
  request: InvokeRequest,
  options: AttemptOptions,
  { deadlineMs, reserved }: { readonly deadlineMs: number; readonly reserved: number },
): Promise<End> {
  const { candidate } = choice;
  const { freeFailures, spender } = options;
  const startedMs = options.nowMs();
  candidate.inFlight += 1;
  if (candidate.inFlight > candidate.peakInFlight) candidate.peakInFlight = candidate.inFlight;
  const mayBeCold = candidate.coldStarts.begins(candidate.inFlight, startedMs);
  candidate.circuit.began(startedMs);
  const { signal, clear } = options.deadlines.start(deadlineMs);
  try {
    const result = bounded(
      await candidate.provider.invoke(candidate.deployment, request, { signal }),
      options.answerBytes,
    );
    candidate.circuit.succeeded();
    candidate.latency.add(result.usage.measuredMs);
    const billedMs = billedMsOf(result, candidate, mayBeCold);
    freeFailures.settle(spender, reserved, result.ok ? 0 : billedMs, !result.ok);
    candidate.executions?.add({
      startedMs,
      endedMs: options.nowMs(),
      ms: billedMs,
      bodyBytes: request.body.length + result.usage.egressBytes,
    });
    return { choice, result, billedMs };
  } catch (error) {
    // Any other error is a fault of our own in the middle of an attempt: the function may have run.
    const known = error instanceof ProviderError ? error : undefined;
    if (known === undefined) options.onFault(error);
    const nowMs = options.nowMs();
    // What a place does not take of the request itself says nothing of the place: else any caller
    // could close it to all others.
    if (known?.code !== 'PROVIDER_TOO_LARGE') candidate.circuit.failed(nowMs);
    const failure: FailedAttempt = {
      deployment: candidate.id,
      provider: candidate.provider.name,
      code: known?.code ?? 'INTERNAL',
      ran: known?.ran ?? 'maybe',
      measuredMs: Math.round(nowMs - startedMs),
    };
    if (failure.ran === 'maybe') {
      // A lost connection says nothing about the execution, which may continue until its timeout.
      const isCut = failure.code === 'PROVIDER_CONNECTION' || failure.code === 'PROVIDER_DEADLINE';
      const ms = Math.max(nowMs - startedMs, isCut ? candidate.deployment.timeoutMs : 0);
      candidate.executions?.add({ startedMs, endedMs: startedMs + ms, ms });
      settleBroken(candidate, options, { reserved, measuredMs: failure.measuredMs });
      return { choice, failure, retryAfterMs: known?.retryAfterMs, reservedMs: 0 };
    }
    if (isOwnRefusal(candidate, known, failure.measuredMs)) {
      holdAgainst(candidate, (isWell) => isWell && freeFailures.spend(spender, failure.measuredMs));
    }
    return { choice, failure, retryAfterMs: known?.retryAfterMs, reservedMs: reserved };
  } finally {
    clear();
    candidate.inFlight -= 1;
  }
}

/** An answer that another cloud of the version could not give is a failure on every one. */
function bounded(result: InvokeResult, answerBytes: number): InvokeResult {
  const isTooLarge = result.ok
    ? result.body.length > answerBytes
    : result.error.kind === 'too-large' && result.error.type === 'ResponseSizeTooLarge';
  if (!isTooLarge) return result;
  const { requestId, cold, usage } = result;
  const message = `the answer is larger than ${answerBytes} bytes`;
  return {
    ok: false,
    error: { kind: 'too-large', type: 'ResponseSizeTooLarge', message },
    ...{ requestId, usage },
    ...(cold !== undefined && { cold }),
  };
}

/**
 * A run has broken, by its function (which can end its own process on some clouds, or hang) or by
 * its cloud. It is held against the function where the cloud runs the gateway's probe; what is
 * reserved stays so until that is known.
 */
function settleBroken(
  candidate: Candidate,
  { freeFailures, spender }: AttemptOptions,
  { reserved, measuredMs }: { readonly reserved: number; readonly measuredMs: number },
): void {
  holdAgainst(candidate, (isWell) =>
    freeFailures.settle(spender, reserved, isWell ? measuredMs : 0, isWell),
  );
}

/**
 * Whether a refusal without the shim's mark may be the function's own: it writes to the same
 * connection as its shim, and a 4xx says that nothing ran. A cloud refuses at once, except where it
 * lets a call wait for an instance and then throttles.
 */
function isOwnRefusal(
  { overhead }: Candidate,
  known: ProviderError | undefined,
  measuredMs: number,
): boolean {
  const isAnswer = known?.status !== undefined && known.code !== 'PROVIDER_THROTTLED';
  return isAnswer && measuredMs > overhead.ms;
}

function holdAgainst({ overhead }: Candidate, settle: (isWell: boolean) => void): void {
  const isWell = overhead.isWell();
  if (isWell instanceof Promise) void isWell.then(settle);
  else settle(isWell);
}
