// Turns failures of Google into ProviderErrors: gRPC codes of the SDK, and failures of requests
// that the adapter sends itself.

import { SendError } from '../http/send.ts';
import { ProviderError, type ProviderErrorCode } from '../provider.ts';

export const PROVIDER = 'google-cloud-functions';

/** No token could be had. The message says what to do. */
export class CredentialsError extends Error {
  override readonly name = 'CredentialsError';
}

/** gRPC codes by number (google/rpc/code.proto). */
const CODES: Readonly<Record<number, ProviderErrorCode>> = {
  3: 'PROVIDER_INVALID',
  4: 'PROVIDER_DEADLINE',
  5: 'PROVIDER_NOT_FOUND',
  6: 'PROVIDER_CONFLICT',
  7: 'PROVIDER_FORBIDDEN',
  8: 'PROVIDER_THROTTLED',
  9: 'PROVIDER_CONFLICT',
  10: 'PROVIDER_CONFLICT',
  11: 'PROVIDER_INVALID',
  13: 'PROVIDER_UNAVAILABLE',
  14: 'PROVIDER_UNAVAILABLE',
  16: 'PROVIDER_UNAUTHENTICATED',
};

/** The facts of an error of an operation that runs no function. */
export function about(operation: string, target: string) {
  return { provider: PROVIDER, operation, target, ran: 'no' } as const;
}

/**
 * An error of a control-plane operation or of a token source. Neither runs the function, so `ran`
 * is `no`. Keeps only the text of the SDK's error: the error carries requests and their secrets.
 */
export function controlError(
  error: unknown,
  { operation, target, signal }: { operation: string; target: string; signal: AbortSignal },
): ProviderError {
  const facts = about(operation, target);
  if (error instanceof ProviderError) return error;
  if (signal.aborted) {
    return new ProviderError('PROVIDER_DEADLINE', `${operation} of ${target} was stopped`, facts);
  }
  const noCredentials = credentialsErrorIn(error);
  if (noCredentials) {
    const message = `${firstLine(noCredentials.message)}, on ${target}`;
    return new ProviderError('PROVIDER_UNAUTHENTICATED', message, facts);
  }
  const { code: number, cause, message } = grpcError(error);
  // The SDK reports a request without an answer as UNAVAILABLE. Its cause has the socket's code.
  const isSocket = number === 14 && cause !== undefined;
  const code = isSocket ? 'PROVIDER_CONNECTION' : (CODES[number] ?? 'PROVIDER_PROTOCOL');
  return new ProviderError(code, `${firstLine(message)}, on ${target}`, {
    ...facts,
    cause: new Error(`${operation}: gRPC code ${number}, ${cause ?? 'answered'}`),
  });
}

/** An error of a long-running operation, with the first line of Google's message. */
export function operationError(
  { code, message }: { code?: number | null; message?: string | null },
  { operation, target }: { operation: string; target: string },
): ProviderError {
  const ours = code === 6 ? 'PROVIDER_CONFLICT' : code === 8 ? 'PROVIDER_QUOTA' : undefined;
  return new ProviderError(
    ours ?? 'PROVIDER_DEPLOY_FAILED',
    `${firstLine(message || 'no reason given')}, on ${target}`,
    about(operation, target),
  );
}

/** An error of a request that runs no function. Returns what is not a SendError unchanged. */
export function sendFailure(error: unknown, operation: string, target: string): unknown {
  if (!(error instanceof SendError)) return error;
  const code = error.reason === 'aborted' ? 'PROVIDER_DEADLINE' : 'PROVIDER_CONNECTION';
  const facts = { ...about(operation, target), cause: error };
  return new ProviderError(code, `${operation} of ${target}: ${error.message}`, facts);
}

/** Finds our own error in the causes: the SDK wraps what its token source throws. */
function credentialsErrorIn(error: unknown): CredentialsError | undefined {
  for (let one = error, depth = 0; one instanceof Error && depth < 8; one = one.cause, depth += 1) {
    if (one instanceof CredentialsError) return one;
  }
  return undefined;
}

/** Number and text of an error of the SDK, and the code of the socket error that caused it. */
function grpcError(error: unknown): { code: number; message: string; cause: string | undefined } {
  if (!(error instanceof Error)) return { code: 2, message: String(error), cause: undefined };
  const number = 'code' in error && typeof error.code === 'number' ? error.code : 2;
  const { cause } = error;
  const socket = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  return {
    code: number,
    message: error.message,
    cause: typeof socket === 'string' ? socket : undefined,
  };
}

/** Google is busy or cannot be reached: the same call may work later. */
export function isTemporary(error: unknown): boolean {
  return (
    error instanceof ProviderError &&
    ['PROVIDER_UNAVAILABLE', 'PROVIDER_CONNECTION', 'PROVIDER_THROTTLED'].includes(error.code)
  );
}

export function isConflict(error: unknown): boolean {
  return error instanceof ProviderError && error.code === 'PROVIDER_CONFLICT';
}

export function isMissing(error: unknown): boolean {
  return error instanceof ProviderError && error.code === 'PROVIDER_NOT_FOUND';
}

export function firstLine(text: string): string {
  return (text.split('\n', 1)[0] ?? '').slice(0, 256);
}
