// What Azure's answers mean: a call's result by the shim's mark, an error by the platform's status, and control errors
// without what the SDK's own carry (tokens, settings).

import { failureIn } from '../deployment/shim-failure.ts';
import { memoize } from '../http/memoize.ts';
import { type Answer, SendError } from '../http/send.ts';
import { codeOfStatus, retryAfterMs } from '../http/status.ts';
import {
  type Deployment,
  type InvokeRequest,
  type InvokeResult,
  ProviderError,
  type Usage,
} from '../provider.ts';

export const NAME = 'azure-functions';

/** Kudu's DeployStatus: 3 failed, 4 success; 5 and 6 are conflict and partial success, the rest is under way. */
export function isPublished(text: string, name: string): boolean {
  const { status, status_text: detail, message } = JSON.parse(text);
  if (status === 4) return true;
  if (status !== 3 && status !== 5 && status !== 6 && !(status < 0)) return false;
  const line = String(detail || message || `status ${status}`)
    .split('\n', 1)[0]
    ?.slice(0, 256);
  const said = `${line}, on ${name}, see the deployment's log at the app's SCM site`;
  throw new ProviderError('PROVIDER_DEPLOY_FAILED', said, about('publish', name));
}

/** An answer with the shim's mark is a result, whatever its status; one without is the platform's word. */
export function readAnswer(
  deployment: Deployment,
  request: InvokeRequest,
  answer: Answer,
  instanceMiB: number,
): InvokeResult {
  const outcome = headerOf(answer, 'x-defaas-outcome');
  if (!outcome) {
    throw statusError('invoke', deployment.name, answer);
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

/** The headers that the shim carries apart, which are mostly the same of a function's answers. */
const pairsIn = memoize(256, readPairs);

/** Base64url of JSON; undefined where it is no list of names and values. */
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

/** The shim's figures, never above what was measured from outside and what the instance has. */
function usageOf(deployment: Deployment, answer: Answer, instanceMiB: number): Usage {
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

export function headerOf(answer: Pick<Answer, 'headers'>, name: string): string | undefined {
  const value = answer.headers[name];
  return typeof value === 'string' ? value : value?.[0];
}

/** What the cloud's status says when it is not the function that speaks. 5xx: it may have run. */
export function statusError(
  operation: string,
  target: string,
  answer: Pick<Answer, 'status' | 'headers' | 'body'>,
): ProviderError {
  const { status } = answer;
  const isRefused = status >= 400 && status < 500;
  const text = Buffer.from(answer.body.subarray(0, 256)).toString().trim();
  const retryAfter = headerOf(answer, 'retry-after');
  return new ProviderError(codeOfStatus(status), `${text || `status ${status}`}, on ${target}`, {
    ...about(operation, target),
    ran: operation !== 'invoke' || isRefused ? 'no' : 'maybe',
    status,
    retryAfterMs: retryAfterMs(retryAfter, Date.now()),
  });
}

export function sendError(error: unknown, target: string, operation = 'invoke'): unknown {
  if (!(error instanceof SendError)) return error;
  const codes = {
    aborted: 'PROVIDER_DEADLINE',
    connection: 'PROVIDER_CONNECTION',
    'too-large': 'PROVIDER_TOO_LARGE',
  } as const;
  const ran = operation === 'invoke' && error.began ? 'maybe' : 'no';
  const where = { ...about(operation, target), ran, cause: error } as const;
  return new ProviderError(codes[error.reason], `${error.message}, on ${target}`, where);
}

/** Runs control work and tells its errors as ours, without what the SDK's errors carry (tokens, settings). */
export async function guard<T>(
  operation: string,
  target: string,
  signal: AbortSignal,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ProviderError) throw error;
    throw controlError(operation, target, signal, error);
  }
}

export function controlError(
  operation: string,
  target: string,
  signal: AbortSignal,
  error: unknown,
): ProviderError {
  const message = error instanceof Error ? error.message.slice(0, 256) : String(error);
  const where = { ...about(operation, target), cause: new Error(message) };
  if (signal.aborted) {
    return new ProviderError('PROVIDER_DEADLINE', `not done in time, on ${target}`, where);
  }
  const status = statusOf(error);
  if (status !== undefined) {
    // ARM says it in the code or, with status 401, in the message alone.
    const isQuota = /quota/i.test(`${textOf(error, 'code') ?? ''} ${message}`);
    const response: unknown = Reflect.get(Object(error), 'response');
    return new ProviderError(
      isQuota ? 'PROVIDER_QUOTA' : codeOfStatus(status),
      `${message}, on ${target}`,
      {
        ...where,
        status,
        retryAfterMs: retryAfterMs(headerOfResponse(response, 'retry-after'), Date.now()),
      },
    );
  }
  const name = textOf(error, 'name') ?? '';
  if (/Credential|Authentication/.test(name)) {
    const help = 'no credentials found, sign in with az login or set AZURE_CLIENT_ID and its like';
    return new ProviderError('PROVIDER_UNAUTHENTICATED', `${help}, on ${NAME}`, where);
  }
  if (message.startsWith('The long-running operation has failed')) {
    return new ProviderError('PROVIDER_DEPLOY_FAILED', `${message}, on ${target}`, where);
  }
  const isNetwork = name === 'RestError' || /^E[A-Z]+$/.test(textOf(error, 'code') ?? '');
  const code = isNetwork ? 'PROVIDER_CONNECTION' : 'PROVIDER_PROTOCOL';
  return new ProviderError(code, `${message}, on ${target}`, where);
}

/** `undefined` when the cloud says 404. */
export async function unlessMissing<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (statusOf(error) === 404) return undefined;
    throw error;
  }
}

/** HTTP status of an error of the SDK. */
export function statusOf(error: unknown): number | undefined {
  const status: unknown = Reflect.get(Object(error), 'statusCode');
  return typeof status === 'number' ? status : undefined;
}

function textOf(error: unknown, key: string): string | undefined {
  const value: unknown = Reflect.get(Object(error), key);
  return typeof value === 'string' ? value : undefined;
}

function headerOfResponse(response: unknown, name: string): string | undefined {
  const headers: unknown = Reflect.get(Object(response), 'headers');
  const get: unknown = Reflect.get(Object(headers), 'get');
  const value: unknown = typeof get === 'function' ? get.call(headers, name) : undefined;
  return typeof value === 'string' ? value : undefined;
}

export function protocolError(operation: string, target: string, message: string): ProviderError {
  return new ProviderError(
    'PROVIDER_PROTOCOL',
    `${message}, on ${target}`,
    about(operation, target),
  );
}

export function about(operation: string, target: string) {
  return { provider: NAME, operation, target, ran: 'no' } as const;
}
