// The headers of a call to Google, and the meaning of its answer. An answer with the shim's mark is
// the function's, whatever its status.

import { failureIn } from '../deployment/shim-failure.ts';
import { headerPairs, type UpstreamResponse } from '../http/send.ts';
import { codeOfStatus, retryAfterMs } from '../http/status.ts';
import {
  type Deployment,
  type FunctionFailure,
  type InvokeRequest,
  type InvokeResult,
  ProviderError,
  type Usage,
} from '../provider.ts';
import { about, firstLine, PROVIDER } from './errors.ts';

/** Prefix of the caller's headers on their way to the shim and back; see `shims/gcp.mjs`. */
const CARRIED = 'x-defaas-h-';

/**
 * Most bytes of headers as they are sent. Node in the container accepts 16 KiB
 * (`--max-http-header-size`), of which Google's front needs some. The container answers more with a
 * 431 that has no mark of the shim.
 */
const MAX_HEADER_BYTES = 15 * 1024;
/** Bytes of a header line beside its name and value. */
const LINE_BYTES = ': \r\n'.length;

/** @throws ProviderError PROVIDER_TOO_LARGE  the container does not accept so many bytes */
export function requestHeaders(
  request: InvokeRequest,
  token: string,
): Record<string, string | string[]> {
  const headers: Record<string, string | string[]> = {
    authorization: `Bearer ${token}`,
    'x-defaas-path': request.query === '' ? request.path : `${request.path}?${request.query}`,
  };
  // The framework ignores a body without a type.
  if (request.body.length > 0) headers['content-type'] = 'application/octet-stream';
  let bytes = token.length + request.path.length + request.query.length;
  for (const [name, value] of request.headers) {
    const carried = CARRIED + name;
    bytes += carried.length + value.length + LINE_BYTES;
    const before = headers[carried];
    headers[carried] = before === undefined ? value : [before, value].flat();
  }
  if (bytes > MAX_HEADER_BYTES) {
    const what = `path and headers are ${bytes} bytes as they are sent`;
    const message = `${what}, limit ${MAX_HEADER_BYTES}, on ${PROVIDER}`;
    throw new ProviderError('PROVIDER_TOO_LARGE', message, about('invoke', 'headers'));
  }
  return headers;
}

/** The result of a call, or undefined when the platform and not the function answered. */
export function resultOf(
  answer: UpstreamResponse,
  deployment: Deployment,
  callId: string,
): InvokeResult | undefined {
  const { headers, body, status, measuredMs } = answer;
  const requestId =
    one(headers, 'x-defaas-request-id') ?? one(headers, 'function-execution-id') ?? callId;
  const outcome = one(headers, 'x-defaas-outcome');
  if (outcome === undefined) {
    if (status !== 504 || measuredMs < deployment.timeoutMs) return undefined;
    return failed(timeoutAfter(deployment), clockUsage(deployment, measuredMs, 0), requestId);
  }

  const usage = shimUsage(answer, deployment);
  const cold = one(headers, 'x-defaas-cold') === '1';
  if (outcome !== 'ok')
    return { ...failed(failureOf(outcome, body, deployment), usage, requestId), cold };
  return {
    ok: true,
    status,
    headers: ownHeaders(headers),
    body,
    usage,
    requestId,
    cold,
  };
}

export function failed(error: FunctionFailure, usage: Usage, requestId: string): InvokeResult {
  return { ok: false, error, usage, requestId };
}

function timeoutAfter({ timeoutMs }: Deployment): FunctionFailure {
  return { kind: 'timeout', type: 'Timeout', message: `no answer within ${timeoutMs} ms` };
}

function failureOf(outcome: string, body: Buffer, deployment: Deployment): FunctionFailure {
  return outcome === 'timeout' ? timeoutAfter(deployment) : failureIn(body);
}

function shimUsage({ headers, body, measuredMs }: UpstreamResponse, deployment: Deployment): Usage {
  const saidMs = numberIn(headers, 'x-defaas-duration-ms');
  const saidMiB = numberIn(headers, 'x-defaas-memory-mib');
  const initMs = numberIn(headers, 'x-defaas-init-ms');
  if (saidMs === undefined) return clockUsage(deployment, measuredMs, body.length);
  const mostMs = Math.ceil(measuredMs);
  const billedMs = Math.ceil(saidMs);
  return {
    billedMs: Math.min(billedMs, mostMs),
    memoryMiB: deployment.memoryMiB,
    ...(saidMiB !== undefined && { peakMemoryMiB: saidMiB }),
    ...(initMs !== undefined && { initMs: Math.min(initMs, measuredMs) }),
    egressBytes: body.length,
    measuredMs,
    source: 'shim',
    ...(billedMs > mostMs && { disputed: true }),
  };
}

export function clockUsage(deployment: Deployment, measuredMs: number, egressBytes: number): Usage {
  return {
    billedMs: Math.ceil(measuredMs),
    memoryMiB: deployment.memoryMiB,
    egressBytes,
    measuredMs,
    source: 'gateway',
  };
}

/** The error of an answer without the shim's mark, which the platform gave. */
export function platformError(
  answer: UpstreamResponse,
  target: string,
  nowMs: number,
): ProviderError {
  const { status, headers } = answer;
  const isRefusal = status >= 400 && status < 500;
  const said = firstLine(answer.body.toString('utf8', 0, 1024));
  return new ProviderError(
    codeOfStatus(status),
    `${target} was answered ${status} by the platform: ${said}`,
    {
      provider: PROVIDER,
      operation: 'invoke',
      target,
      ran: isRefusal ? 'no' : 'maybe',
      status,
      retryAfterMs: retryAfterMs(one(headers, 'retry-after'), nowMs),
    },
  );
}

function ownHeaders(headers: UpstreamResponse['headers']): [string, string][] {
  const own: [string, string][] = [];
  for (const [name, value] of headerPairs(headers)) {
    if (name.startsWith(CARRIED)) own.push([name.slice(CARRIED.length), value]);
    else if (name === 'set-cookie') own.push([name, value]);
  }
  return own;
}

function one(headers: UpstreamResponse['headers'], name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value[0] : value;
}

function numberIn(headers: UpstreamResponse['headers'], name: string): number | undefined {
  const number = Number(one(headers, name) ?? Number.NaN);
  return Number.isFinite(number) && number >= 0 ? number : undefined;
}
