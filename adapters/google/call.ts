// Sends one call of a function: one request with an ID token on a pooled connection, never a retry.

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
import { about, controlError, PROVIDER, sendFailure } from './errors.ts';
import { clockUsage, failed, platformError, requestHeaders, resultOf } from './invocation.ts';
import { abortable } from './sdk.ts';
import type { GoogleTokens } from './tokens.ts';

export interface CallParts {
  readonly send: Sender['send'];
  readonly tokens: Pick<GoogleTokens, 'idToken' | 'forget'>;
  readonly limits: Pick<ProviderLimits, 'maxRequestBytes' | 'maxResponseBytes'>;
  /** Unix time in milliseconds. */
  readonly nowMs: () => number;
}

/** Room above the limit for a refusal by the shim or the platform, bytes. */
const REFUSAL_BYTES = 64 * 1024;

export interface Call {
  readonly invoke: Provider['invoke'];
  /** One call that the shim answers itself. Fails when the account has no right to call. */
  probe(deployment: Deployment, options: WarmOptions): Promise<void>;
}

export function createCall(parts: CallParts): Call {
  return {
    invoke: (deployment, request, { signal }) => invoke(parts, deployment, request, signal),
    probe: (deployment, options) => probe(parts, deployment, options),
  };
}

async function invoke(
  parts: CallParts,
  deployment: Deployment,
  request: InvokeRequest,
  signal: AbortSignal,
): Promise<InvokeResult> {
  const { send, tokens, limits, nowMs } = parts;
  const { name: target, url } = deployment;
  const { body } = request;
  if (body.length > limits.maxRequestBytes) {
    const message = `request of ${body.length} bytes, limit ${limits.maxRequestBytes}, on ${PROVIDER}`;
    throw new ProviderError('PROVIDER_TOO_LARGE', message, about('invoke', target));
  }

  const token = await tokenFor(parts, deployment, signal);
  const startedMs = performance.now();
  const headers = requestHeaders(request, token);
  let answer: UpstreamResponse;
  try {
    answer = await send(
      { origin: url, method: request.method, path: '/', headers, body },
      { signal, maxResponseBytes: limits.maxResponseBytes + REFUSAL_BYTES },
    );
  } catch (error) {
    if (!(error instanceof SendError)) throw error;
    if (error.reason !== 'too-large') throw callError(error, target);
    return failed(
      { kind: 'too-large', type: 'ResponseSizeTooLarge', message: error.message },
      clockUsage(deployment, performance.now() - startedMs, limits.maxResponseBytes),
      request.callId,
    );
  }

  const result = resultOf(answer, deployment, request.callId);
  if (result) return result;
  if (answer.status === 401) tokens.forget(url);
  throw platformError(answer, target, nowMs());
}

function callError(error: SendError, target: string): ProviderError {
  const code = error.reason === 'aborted' ? 'PROVIDER_DEADLINE' : 'PROVIDER_CONNECTION';
  return new ProviderError(code, `call of ${target}: ${error.message}`, {
    ...about('invoke', target),
    ran: error.began ? 'maybe' : 'no',
    cause: error,
  });
}

async function probe(
  parts: CallParts,
  deployment: Deployment,
  { holdMs, signal }: WarmOptions,
): Promise<void> {
  const { name: target, url: origin } = deployment;
  const token = await tokenFor(parts, deployment, signal);
  const headers = { authorization: `Bearer ${token}`, 'x-defaas-probe': `${holdMs}` };
  const request = { origin, method: 'POST', path: '/', headers, body: new Uint8Array() };
  const options = { signal, maxResponseBytes: REFUSAL_BYTES };
  const answer = await parts.send(request, options).catch((error: unknown) => {
    throw sendFailure(error, 'probe', target);
  });
  if (answer.headers['x-defaas-outcome'] === 'ok') return;
  parts.tokens.forget(origin);
  const { code, message, status } = platformError(answer, target, parts.nowMs());
  throw new ProviderError(code, message, { ...about('probe', target), status });
}

async function tokenFor(
  { tokens }: CallParts,
  { name, url }: Deployment,
  signal: AbortSignal,
): Promise<string> {
  try {
    const cached = tokens.idToken(url);
    return typeof cached === 'string' ? cached : await abortable(signal, () => cached);
  } catch (error) {
    throw controlError(error, { operation: 'invoke', target: name, signal });
  }
}
