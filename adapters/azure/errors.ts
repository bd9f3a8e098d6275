// Turns failures of Azure into ProviderErrors: errors of the SDK, errors of the sender of calls,
// and statuses. An error of the SDK carries tokens and settings, so only its text is kept.

import { SendError, type UpstreamResponse } from '../http/send.ts';
import { codeOfStatus, retryAfterMs } from '../http/status.ts';
import { ProviderError } from '../provider.ts';

export const PROVIDER = 'azure-functions';

/** The error of an answer that the platform gave. After a 5xx the function may have run. */
export function statusError(
  operation: string,
  target: string,
  answer: Pick<UpstreamResponse, 'status' | 'headers' | 'body'>,
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

/** Runs work of the control plane, and turns every error into a ProviderError. */
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
    // Azure Resource Manager says it in the code or, with status 401, only in the message.
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
    return new ProviderError('PROVIDER_UNAUTHENTICATED', `${help}, on ${PROVIDER}`, where);
  }
  if (message.startsWith('The long-running operation has failed')) {
    return new ProviderError('PROVIDER_DEPLOY_FAILED', `${message}, on ${target}`, where);
  }
  const isNetwork = name === 'RestError' || /^E[A-Z]+$/.test(textOf(error, 'code') ?? '');
  const code = isNetwork ? 'PROVIDER_CONNECTION' : 'PROVIDER_PROTOCOL';
  return new ProviderError(code, `${message}, on ${target}`, where);
}

/** The result, or undefined when the cloud answers 404. */
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

/** The facts of an error of an operation that runs no function. */
export function about(operation: string, target: string) {
  return { provider: PROVIDER, operation, target, ran: 'no' } as const;
}

export function headerOf(
  answer: Pick<UpstreamResponse, 'headers'>,
  name: string,
): string | undefined {
  const value = answer.headers[name];
  return typeof value === 'string' ? value : value?.[0];
}
