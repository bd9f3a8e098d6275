// The last step of a deploy: one call that the shim answers itself. It finds faults that the
// control plane does not report: a missing right to invoke, code that exits at its start, an
// address that does not answer yet.

import { setTimeout as wait } from 'node:timers/promises';
import { ProviderError, type ProviderErrorCode, type ProviderName } from '../provider.ts';

/** Longest time in which a new function may be throttled, unknown or unreachable. */
const READY_MS = 30_000;
const FIRST_PAUSE_MS = 100;
const MAX_PAUSE_MS = 2000;
/** Codes of a function that is new, or whose instances are all busy. */
const PASSING: ReadonlySet<ProviderErrorCode> = new Set([
  ...(['PROVIDER_THROTTLED', 'PROVIDER_UNAVAILABLE'] as const),
  ...(['PROVIDER_CONNECTION', 'PROVIDER_NOT_FOUND'] as const),
]);

/**
 * Calls until the shim answers. As any first call, this loads the publisher's module. The handler
 * does not run.
 * @throws ProviderError PROVIDER_DEPLOY_FAILED  the shim does not answer; passes other errors of
 * `call`, such as PROVIDER_FORBIDDEN
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
