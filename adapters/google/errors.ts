// Google's errors as ours: gRPC codes of the control plane, HTTP statuses of everything else.

import { ProviderError, type ProviderErrorCode } from '../provider.ts';

export const PROVIDER = 'google-cloud-functions';

/** The source of our tokens gave none; the message says what to do. */
export class CredentialsError extends Error {
  override readonly name = 'CredentialsError';
}

/** gRPC codes as `google.rpc.Code` numbers them. */
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

/** `ran` is `no`: neither the control plane nor a token's source runs the function. The SDK's error, which carries requests and so secrets, goes no further. */
export function controlError(
  error: unknown,
  { operation, target, signal }: { operation: string; target: string; signal: AbortSignal },
): ProviderError {
  const facts = { provider: PROVIDER, operation, target, ran: 'no' } as const;
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
  // The SDK calls a request that got no answer UNAVAILABLE; the cause has the socket's own code.
  const isSocket = number === 14 && cause !== undefined;
  const code = isSocket ? 'PROVIDER_CONNECTION' : (CODES[number] ?? 'PROVIDER_PROTOCOL');
  return new ProviderError(code, `${firstLine(message)}, on ${target}`, {
    ...facts,
    cause: new Error(`${operation}: gRPC code ${number}, ${cause ?? 'answered'}`),
  });
}

/** What a long-running operation ended with, in the cloud's words. */
export function operationError(
  { code, message }: { code?: number | null; message?: string | null },
  { operation, target }: { operation: string; target: string },
): ProviderError {
  const ours = code === 6 ? 'PROVIDER_CONFLICT' : code === 8 ? 'PROVIDER_QUOTA' : undefined;
  return new ProviderError(
    ours ?? 'PROVIDER_DEPLOY_FAILED',
    `${firstLine(message || 'no reason given')}, on ${target}`,
    { provider: PROVIDER, operation, target, ran: 'no' },
  );
}

/** No token was to be had, wherever the SDK has wrapped it. */
function credentialsErrorIn(error: unknown): CredentialsError | undefined {
  for (let one = error, depth = 0; one instanceof Error && depth < 8; one = one.cause, depth += 1) {
    if (one instanceof CredentialsError) return one;
  }
  return undefined;
}

/** Number and text of an SDK error, and the code of the socket error beneath it. */
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

/** The cloud is busy or away: the same call may work later. */
export function isPassing(error: unknown): boolean {
  return (
    error instanceof ProviderError &&
    ['PROVIDER_UNAVAILABLE', 'PROVIDER_CONNECTION', 'PROVIDER_THROTTLED'].includes(error.code)
  );
}

export function isConflict(error: unknown): boolean {
  return error instanceof ProviderError && error.code === 'PROVIDER_CONFLICT';
}

export function firstLine(text: string): string {
  return (text.split('\n', 1)[0] ?? '').slice(0, 256);
}
