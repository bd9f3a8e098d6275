// The headers of a call to Azure, and the meaning of its answer. An answer with the shim's mark is
// the function's, whatever its status.

import { failureIn } from '../deployment/shim-failure.ts';
import { memoize } from '../http/memoize.ts';
import type { OutboundRequest, UpstreamResponse } from '../http/send.ts';
import {
  type Deployment,
  type FunctionFailure,
  type InvokeRequest,
  type InvokeResult,
  ProviderError,
  type Usage,
} from '../provider.ts';
import { about, headerOf, PROVIDER, statusError } from './errors.ts';

/**
 * Longest `x-defaas-call`, characters. The host accepts 32 KiB of headers in all (Kestrel,
 * `MaxRequestHeadersTotalSize`). It answers more with a 431 that has no mark of the shim.
 */
const MAX_CALL_CHARACTERS = 30 * 1024;

/** The part of a call that the shim reads from `x-defaas-call`. */
type ShimCall = Pick<InvokeRequest, 'method' | 'path' | 'query' | 'headers'>;

/**
 * Each name followed by its value.
 * @throws ProviderError PROVIDER_TOO_LARGE  the host does not accept so many bytes of headers
 */
export function callHeaders(call: InvokeRequest, key: string): readonly string[] {
  const { callId, method, path, query, headers } = call;
  return [
    'x-functions-key',
    key,
    'x-defaas-call',
    boundedCall({ method, path, query, headers }),
    'x-ms-client-request-id',
    callId,
    // Without a type, a proxy or the host may treat the body as text.
    'content-type',
    'application/octet-stream',
  ];
}

/** A call that the shim answers itself after `holdMs`, without the publisher's handler. */
export function probeRequest(origin: string, key: string, holdMs: number): OutboundRequest {
  return {
    origin,
    path: '/',
    method: 'POST',
    headers: { 'x-functions-key': key, 'x-defaas-probe': `${holdMs}` },
    body: new Uint8Array(),
  };
}

function boundedCall(call: ShimCall): string {
  const text = shimCall(call);
  if (text.length <= MAX_CALL_CHARACTERS) return text;
  const what = `path and headers are ${text.length} bytes as they are sent`;
  const message = `${what}, limit ${MAX_CALL_CHARACTERS}, on ${PROVIDER}`;
  throw new ProviderError('PROVIDER_TOO_LARGE', message, about('invoke', 'headers'));
}

/** The last call with these headers. A connection usually sends the same list of headers again. */
const shimCalls = new WeakMap<ShimCall['headers'], ShimCall & { readonly text: string }>();

/** base64url of the call's JSON. */
function shimCall(call: ShimCall): string {
  const { method, path, query, headers } = call;
  const known = shimCalls.get(headers);
  if (known?.method === method && known.path === path && known.query === query) return known.text;
  const text = Buffer.from(JSON.stringify(call)).toString('base64url');
  shimCalls.set(headers, { ...call, text });
  return text;
}

/** @throws ProviderError  the answer has no mark of the shim, so the platform gave it */
export function readAnswer(
  deployment: Deployment,
  request: InvokeRequest,
  answer: UpstreamResponse,
  instanceMiB: number,
): InvokeResult {
  const outcome = headerOf(answer, 'x-defaas-outcome');
  if (!outcome) {
    // The host ends a function that blocks its process with a bare 500. A 502 or 503 is of a host
    // without an instance.
    const isEnded = answer.status === 500 || answer.status === 504;
    if (!isEnded || answer.measuredMs < deployment.timeoutMs) {
      throw statusError('invoke', deployment.name, answer);
    }
    return {
      ok: false,
      error: timeoutAfter(deployment),
      usage: usageOf(deployment, answer, instanceMiB),
      requestId: request.callId,
    };
  }
  const common = {
    usage: usageOf(deployment, answer, instanceMiB),
    requestId: headerOf(answer, 'x-defaas-request-id') ?? request.callId,
    cold: headerOf(answer, 'x-defaas-cold') === '1',
  };
  if (outcome !== 'ok') return { ...common, ok: false, error: failureIn(answer.body) };
  const { status, body } = answer;
  const headers = pairsIn(headerOf(answer, 'x-defaas-headers') ?? '');
  if (headers === undefined || !(Number.isInteger(status) && status >= 200 && status <= 599)) {
    const message = `the shim's answer cannot be read, on ${deployment.name}`;
    const where = { ...about('invoke', deployment.name), ran: 'maybe' } as const;
    throw new ProviderError('PROVIDER_PROTOCOL', message, where);
  }
  return { ...common, ok: true, status, headers, body };
}

function timeoutAfter({ timeoutMs }: Deployment): FunctionFailure {
  return { kind: 'timeout', type: 'Timeout', message: `no answer within ${timeoutMs} ms` };
}

/** Memoized: a function's answers usually have the same headers. */
const pairsIn = memoize(256, readPairs);

/** Reads base64url of a JSON list of names and values. Undefined when it is something else. */
function readPairs(carried: string): readonly [string, string][] | undefined {
  let list: unknown;
  try {
    list = JSON.parse(Buffer.from(carried, 'base64url').toString());
  } catch {
    return undefined;
  }
  if (!Array.isArray(list)) return undefined;
  const pairs: [string, string][] = [];
  for (const pair of list) {
    if (!Array.isArray(pair) || pair.length !== 2) return undefined;
    const [name, value] = pair;
    if (typeof name !== 'string' || typeof value !== 'string') return undefined;
    pairs.push([name, value]);
  }
  return pairs;
}

/** The shim's figures, at most the measured time and the instance's memory. */
function usageOf(deployment: Deployment, answer: UpstreamResponse, instanceMiB: number): Usage {
  const { measuredMs } = answer;
  const cap = Math.max(1, Math.ceil(measuredMs));
  const told = Number(headerOf(answer, 'x-defaas-duration-ms') ?? Number.NaN);
  const isTold = Number.isFinite(told) && told >= 0;
  const initMs = Number(headerOf(answer, 'x-defaas-init-ms') ?? Number.NaN);
  const billed = isTold ? Math.max(1, Math.ceil(told)) : cap;
  const peak = Number(headerOf(answer, 'x-defaas-memory-mib')) || 0;
  return {
    billedMs: Math.min(billed, cap),
    memoryMiB: deployment.memoryMiB,
    ...(peak > 0 && { peakMemoryMiB: Math.min(peak, instanceMiB) }),
    ...(initMs >= 0 && { initMs: Math.min(initMs, measuredMs) }),
    egressBytes: answer.body.length,
    measuredMs,
    source: isTold ? 'shim' : 'gateway',
    ...((billed > cap || peak > instanceMiB) && { disputed: true }),
  };
}
