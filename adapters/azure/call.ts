// Sends one call of a function: one HTTP request with the app's key on a pooled connection. Sends a
// second one only when the host has refused the key: then nothing ran.

import { SendError, type Sender, type UpstreamResponse } from '../http/send.ts';
import {
  type Deployment,
  type InvokeRequest,
  type InvokeResult,
  type Provider,
  ProviderError,
  type ProviderLimits,
  type WarmOptions,
} from '../provider.ts';
import { about, headerOf, sendError, statusError } from './errors.ts';
import { callHeaders, probeRequest, readAnswer } from './invocation.ts';
import type { Keys } from './keys.ts';
import { instanceMiB, type PlanKind } from './limits.ts';

export interface CallParts {
  readonly send: Sender['send'];
  readonly keys: Pick<Keys, 'renewed' | 'renew'>;
  readonly planKind: PlanKind;
  readonly limits: Pick<ProviderLimits, 'maxRequestBytes' | 'maxResponseBytes'>;
  /** Monotonic clock in milliseconds. */
  readonly nowMs: () => number;
}

const MAX_PROBE_BYTES = 64 * 1024;

export function createCall(parts: CallParts): {
  readonly invoke: Provider['invoke'];
  readonly warm: (deployment: Deployment, options: WarmOptions) => Promise<void>;
} {
  return {
    invoke: (deployment, request, { signal }) => invoke(parts, deployment, request, signal),
    warm: (deployment, options) => warm(parts, deployment, options),
  };
}

async function invoke(
  parts: CallParts,
  deployment: Deployment,
  request: InvokeRequest,
  signal: AbortSignal,
): Promise<InvokeResult> {
  const { keys, limits, nowMs } = parts;
  const { name, url } = deployment;
  if (request.body.length > limits.maxRequestBytes) {
    const what = `request is ${request.body.length} bytes, limit ${limits.maxRequestBytes}`;
    throw new ProviderError('PROVIDER_TOO_LARGE', `${what}, on ${name}`, about('invoke', name));
  }
  const startedMs = nowMs();
  const renewed = keys.renewed(url);
  const key = renewed === undefined ? deployment.key : await renewed;
  const memoryMiB = instanceMiB(deployment.memoryMiB, parts.planKind);
  try {
    const answer = await attempt(parts, deployment, request, key, signal);
    if (answer.status !== 401 || headerOf(answer, 'x-defaas-outcome')) {
      return readAnswer(deployment, request, answer, memoryMiB);
    }
    // A 401 without the shim's mark: the host refused the key. The cloud may have changed it.
    const newKey = await keys.renew(name, url, signal);
    if (newKey === key) throw statusError('invoke', name, answer);
    const second = await attempt(parts, deployment, request, newKey, signal);
    return readAnswer(deployment, request, second, memoryMiB);
  } catch (error) {
    if (!(error instanceof SendError)) throw error;
    if (error.reason !== 'too-large') throw sendError(error, name);
    return tooLarge(deployment, request, limits.maxResponseBytes, nowMs() - startedMs);
  }
}

function attempt(
  { send, limits }: CallParts,
  { url }: Deployment,
  call: InvokeRequest,
  key: string | undefined,
  signal: AbortSignal,
): Promise<UpstreamResponse> {
  const headers = callHeaders(call, key ?? '');
  const request = { origin: url, path: '/', method: 'POST', headers, body: call.body };
  return send(request, { signal, maxResponseBytes: limits.maxResponseBytes });
}

/** The operator's limit is below the shim's, and the answer is above it. */
function tooLarge(
  { memoryMiB }: Deployment,
  { callId }: InvokeRequest,
  egressBytes: number,
  measuredMs: number,
): InvokeResult {
  const message = `answer is longer than ${egressBytes} bytes`;
  const billedMs = Math.ceil(measuredMs);
  return {
    ok: false,
    error: { kind: 'too-large', type: 'ResponseSizeTooLarge', message },
    usage: { billedMs, memoryMiB, egressBytes, measuredMs, source: 'gateway' },
    requestId: callId,
  };
}

/** Calls that overlap may share an instance here. Then one instance is kept warm. */
async function warm(
  { send, keys }: CallParts,
  { name, url, key }: Deployment,
  { holdMs, signal }: WarmOptions,
): Promise<void> {
  const ask = (current = '') =>
    send(probeRequest(url, current, holdMs), { signal, maxResponseBytes: MAX_PROBE_BYTES });
  try {
    const answer = await ask((await keys.renewed(url)) ?? key);
    if (headerOf(answer, 'x-defaas-spec')) return;
    if (answer.status !== 401) throw statusError('warm', name, answer);
    const second = await ask(await keys.renew(name, url, signal));
    if (!headerOf(second, 'x-defaas-spec')) throw statusError('warm', name, second);
  } catch (error) {
    throw sendError(error, name, 'warm');
  }
}
