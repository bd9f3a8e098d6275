// The end of a deploy: one call that the shim answers itself, so that nothing is announced which the gateway cannot call.
// It finds what the control plane does not tell: a missing right to invoke, code that ends at its start, an address not up.

import { setTimeout as wait } from 'node:timers/promises';
import { ProviderError, type ProviderErrorCode, type ProviderName } from '../provider.ts';

/** Longest time in which a new function may still be throttled, unknown or away. */
const READY_MS = 30_000;
const FIRST_PAUSE_MS = 100;
const MAX_PAUSE_MS = 2000;
/** What a cloud says of a function that it has just made, or that has all its instances busy. */
const PASSING: ReadonlySet<ProviderErrorCode> = new Set([
  ...(['PROVIDER_THROTTLED', 'PROVIDER_UNAVAILABLE'] as const),
  ...(['PROVIDER_CONNECTION', 'PROVIDER_NOT_FOUND'] as const),
]);

/**
 * Calls until the shim answers. The publisher's handler does not run; its module is loaded, as by any first call.
 * @throws ProviderError PROVIDER_DEPLOY_FAILED  it does not answer; what `call` threw otherwise, such as PROVIDER_FORBIDDEN
 */
export async function probe(
  call: () => Promise<void>,
  of: { readonly provider: ProviderName; readonly target: string; readonly signal: AbortSignal },
): Promise<void> {
  const endMs = performance.now() + READY_MS;
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS)) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof ProviderError) || of.signal.aborted || !PASSING.has(error.code)) {
        throw error;
      }
      if (performance.now() + pauseMs > endMs) throw notAnswering(of, error.message, error);
    }
    await wait(pauseMs, undefined, { signal: of.signal });
  }
}

export function notAnswering(
  { provider, target }: { readonly provider: ProviderName; readonly target: string },
  why: string,
  cause?: unknown,
): ProviderError {
  const message = `the new code does not answer (${why}), on ${provider} ${target}, see defaas logs`;
  const where = { provider, operation: 'deploy', target, ran: 'no', cause } as const;
  return new ProviderError('PROVIDER_DEPLOY_FAILED', message, where);
}
