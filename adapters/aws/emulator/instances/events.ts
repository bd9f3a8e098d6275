// Asynchronous invocation in the Lambda emulator. An event stays on disk until its function has
// succeeded, is out of retries, or the event is too old. Delivery is at least once, as at Lambda: a
// call that a crash has cut off runs again.

import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { writeWhole } from '../../../runtime/whole-file.ts';
import { AwsError } from '../model/errors.ts';
import type { Functions } from '../model/functions.ts';
import { MAX_EVENT_AGE_SEC, MAX_EVENT_RETRIES } from '../model/limits.ts';
import type { Invocations } from './invocations.ts';

/** An accepted event. */
export interface LambdaEvent {
  /** Id of the request that brought the event. All its attempts have it. */
  readonly requestId: string;
  readonly functionName: string;
  readonly qualifier?: string | undefined;
  readonly payload: Buffer;
  readonly clientContext?: string;
}

export interface Events {
  /** When it resolves, the event is durable and its first attempt has begun. */
  accept(event: LambdaEvent): Promise<void>;
  /** Events that are not finished. */
  size(): number;
  /** Leaves waiting events on disk. Does not wait for running attempts. */
  close(): void;
}

/** Calls `work` after a time. The function that it returns cancels that. */
export type Schedule = (work: () => void, delayMs: number) => () => void;

/** An event as it is stored. */
interface Kept extends Omit<LambdaEvent, 'payload'> {
  readonly payloadBase64: string;
  readonly receivedAtMs: number;
  readonly dueAtMs: number;
  /** Attempts that ended with an error of the function. */
  readonly failures: number;
  /** Attempts in a row that were throttled. */
  readonly refusals: number;
}

/** Waits before the second and third attempt (Lambda developer guide, asynchronous invocation). */
const RETRY_WAITS_MS = [60_000, 120_000];
/** A throttled event waits 1 s, then doubled each time up to 5 min (same page). */
const FIRST_REFUSAL_WAIT_MS = 1000;
const MAX_REFUSAL_WAIT_MS = 300_000;

/** Opens the queue and continues with the events that an earlier process left in `dir`. */
export function openEvents(parts: {
  readonly dir: string;
  readonly functions: Functions;
  readonly invocations: Invocations;
  readonly nowMs: () => number;
  readonly schedule: Schedule;
  readonly log?: ((message: string, fields: Readonly<Record<string, unknown>>) => void) | undefined;
}): Events {
  const { dir, functions, invocations, nowMs, schedule, log } = parts;
  mkdirSync(dir, { recursive: true });
  const kept = new Map<string, Kept>();
  const timers = new Map<string, () => void>();
  let isClosed = false;

  for (const file of readdirSync(dir)) {
    if (!file.endsWith('.json')) continue;
    // `keep` writes whole files of this type.
    const event: Kept = JSON.parse(readFileSync(join(dir, file), 'utf8'));
    kept.set(event.requestId, event);
    plan(event);
  }

  async function keep(event: Kept): Promise<void> {
    kept.set(event.requestId, event);
    await writeWhole(join(dir, `${event.requestId}.json`), JSON.stringify(event));
  }

  function plan(event: Kept): void {
    if (isClosed) return;
    const work = () => {
      timers.delete(event.requestId);
      run(event);
    };
    timers.set(event.requestId, schedule(work, Math.max(0, event.dueAtMs - nowMs())));
  }

  function drop({ requestId, functionName }: Kept, why?: string): void {
    kept.delete(requestId);
    rmSync(join(dir, `${requestId}.json`), { force: true });
    if (why !== undefined) log?.('event dropped', { requestId, functionName, why });
  }

  function run(event: Kept): void {
    // Only a write to disk can reject. The event is read again at the next start.
    attempt(event).catch((error: unknown) =>
      log?.('event not kept', { requestId: event.requestId, error }),
    );
  }

  async function attempt(event: Kept): Promise<void> {
    const of = functions.find(event.functionName);
    if (!of) return drop(event, 'the function is gone');
    const config = of.eventInvoke?.[event.qualifier ?? '$LATEST'];
    const maxAgeMs = (config?.MaximumEventAgeInSeconds ?? MAX_EVENT_AGE_SEC) * 1000;
    if (nowMs() - event.receivedAtMs > maxAgeMs) return drop(event, 'too old');

    const { requestId, qualifier, clientContext } = event;
    try {
      const { failed } = await invocations.invoke(of, {
        qualifier,
        requestId,
        payload: Buffer.from(event.payloadBase64, 'base64'),
        ...(clientContext !== undefined && { clientContext }),
      });
      if (isClosed) return;
      if (!failed) return drop(event);
      const failures = event.failures + 1;
      const waitMs = RETRY_WAITS_MS[failures - 1];
      const maxRetries = config?.MaximumRetryAttempts ?? MAX_EVENT_RETRIES;
      if (waitMs === undefined || failures > maxRetries) return drop(event, 'out of retries');
      await again({ ...event, failures, refusals: 0 }, waitMs);
    } catch (error) {
      if (isClosed) return;
      if (!(error instanceof AwsError)) log?.('event failed', { requestId, error });
      if (error instanceof AwsError && error.status === 404) return drop(event, error.type);
      // Throttled or not ready yet: the function has not run, so no retry is used up.
      const waitMs = Math.min(FIRST_REFUSAL_WAIT_MS * 2 ** event.refusals, MAX_REFUSAL_WAIT_MS);
      await again({ ...event, refusals: event.refusals + 1 }, waitMs);
    }
  }

  async function again(event: Kept, waitMs: number): Promise<void> {
    const next = { ...event, dueAtMs: nowMs() + waitMs };
    await keep(next);
    plan(next);
  }

  return {
    async accept({ payload, ...event }) {
      const atMs = nowMs();
      const payloadBase64 = payload.toString('base64');
      const first = { receivedAtMs: atMs, dueAtMs: atMs, failures: 0, refusals: 0 };
      const accepted = { ...event, payloadBase64, ...first };
      await keep(accepted);
      run(accepted);
    },

    size: () => kept.size,

    close() {
      isClosed = true;
      for (const cancel of timers.values()) cancel();
      timers.clear();
    },
  };
}
