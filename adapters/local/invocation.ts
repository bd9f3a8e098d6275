// One call of a function on this machine: takes a place in an instance, and makes the result of
// what the instance answers or of how its process ended.

import { randomUUID } from 'node:crypto';
import { failureIn } from '../deployment/shim-failure.ts';
import type {
  FunctionFailure,
  InvokeResult,
  Provider,
  ProviderLimits,
  Usage,
} from '../provider.ts';
import type { Exit } from '../runtime/children.ts';
import type { Lease } from '../runtime/pool.ts';
import { createFail } from './errors.ts';
import type { LocalFunction, LocalFunctions } from './functions.ts';
import type { CallOutcome, Ending, LocalInstance } from './instance.ts';
import type { Logs } from './logs.ts';
import type { Running } from './running.ts';
import { refuseUntrusted, type Trust } from './trust.ts';

export interface InvokeParts {
  readonly limits: ProviderLimits;
  readonly trust: Trust;
  readonly functions: Pick<LocalFunctions, 'get'>;
  readonly running: Pick<Running, 'take'>;
  readonly logs: Pick<Logs, 'append'>;
  /** Unix time in milliseconds. */
  readonly clock: () => number;
}

export function createInvoke(parts: InvokeParts): Provider['invoke'] {
  const { limits, trust, functions, running, logs, clock } = parts;
  return async ({ name }, request, { signal }) => {
    const fail = createFail('invoke', name);
    const bodyBytes = request.body.length;
    if (bodyBytes > limits.maxRequestBytes) {
      const what = `body is ${bodyBytes} bytes, limit ${limits.maxRequestBytes}`;
      throw fail('PROVIDER_TOO_LARGE', 'no', what);
    }
    if (signal.aborted) throw fail('PROVIDER_DEADLINE', 'no', 'no time is left', signal.reason);
    const of = functions.get(name);
    if (!of) throw fail('PROVIDER_NOT_FOUND', 'no', 'no such function');
    refuseUntrusted(trust, of, 'invoke');
    const lease = running.take(of);
    if (!lease) throw fail('PROVIDER_THROTTLED', 'no', 'no place for one more call');

    const beganAtMs = performance.now();
    const requestId = randomUUID();
    const { method, path, query, headers, body } = request;
    const call = { requestId, method, path, query, headers, body };
    const outcome = await callOnce(lease, call, signal).catch((error: unknown) => {
      if (signal.aborted) throw fail('PROVIDER_DEADLINE', 'maybe', 'no answer in time', error);
      throw fail('PROVIDER_UNAVAILABLE', 'no', 'no instance could be started', error);
    });
    const measuredMs = performance.now() - beganAtMs;
    const result = resultOf(of, outcome, { requestId, measuredMs, cold: lease.isCold });
    if (!result.ok && result.error.kind !== 'thrown' && result.error.kind !== 'init') {
      const text = `${result.error.type}: ${result.error.message}`;
      logs.append(name, { atMs: clock(), requestId, level: 'error', text });
    }
    return result;
  };
}

/**
 * Calls the leased instance once. Releases the lease after an answer, and discards the instance
 * after anything else.
 * @throws the signal's reason, or why the instance could not be started
 */
async function callOnce(
  lease: Lease<LocalInstance>,
  call: Parameters<LocalInstance['invoke']>[0],
  signal: AbortSignal,
): Promise<CallOutcome> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = () => reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  try {
    const work = lease.instance.then((instance) => instance.invoke(call));
    // After an abort nobody waits for it. It ends when the instance is stopped.
    work.catch(() => {});
    const outcome = await Promise.race([work, aborted]);
    const { kind } = outcome.ending;
    if (kind === 'answer' || kind === 'too-large') lease.release();
    else lease.discard();
    return outcome;
  } catch (error) {
    lease.discard();
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

function resultOf(
  of: LocalFunction,
  { ending, durationMs, initMs, peakMemoryMiB }: CallOutcome,
  call: { readonly requestId: string; readonly measuredMs: number; readonly cold: boolean },
): InvokeResult {
  const { requestId, measuredMs, cold } = call;
  const usage: Usage = {
    billedMs: Math.min(Math.ceil(durationMs + (initMs ?? 0)), Math.ceil(measuredMs)),
    memoryMiB: of.memoryMiB,
    peakMemoryMiB,
    ...(initMs !== undefined && { initMs: Math.min(initMs, measuredMs) }),
    egressBytes: ending.kind === 'answer' ? ending.body.length : 0,
    measuredMs,
    source: 'gateway',
  };
  const told = { requestId, usage, cold };
  if (ending.kind !== 'answer') return { ...told, ok: false, error: failureOf(of, ending) };
  const { outcome, status, headers, body } = ending;
  if (outcome === 'ok') return { ...told, ok: true, status, headers, body };
  return { ...told, ok: false, error: failureIn(body) };
}

export function failureOf(
  { timeoutMs, memoryMiB }: LocalFunction,
  ending: Exclude<Ending, { kind: 'answer' }>,
): FunctionFailure {
  switch (ending.kind) {
    case 'timeout':
      return { kind: 'timeout', type: 'Timeout', message: `no answer within ${timeoutMs} ms` };
    case 'too-large':
      return { kind: 'too-large', type: 'TooLarge', message: 'the answer is above the limit' };
    case 'broken':
      return { kind: 'exit', type: 'Protocol', message: 'the process sent what is no answer' };
    case 'exit':
      return exitFailure(ending.exit, memoryMiB);
    default:
      return ending satisfies never;
  }
}

function exitFailure({ code, signal, isOverMemory }: Exit, memoryMiB: number): FunctionFailure {
  if (isOverMemory) {
    const message = `it took more than ${memoryMiB} MiB of memory and was ended`;
    return { kind: 'exit', type: 'OutOfMemory', message };
  }
  const how = signal === null ? `exit status ${code}` : signal;
  return { kind: 'exit', type: 'Exit', message: `the process ended: ${how}` };
}
