// Step 6 of a call: one deployment after the other, until one answers. `ran` is the only ground for another attempt.
import { type InvokeRequest, type InvokeResult, ProviderError } from '../../adapters/provider.ts';
import type { FailedAttempt } from '../ledger/ledger.ts';
import type { Choice } from './choose.ts';

/** What a cold start may take beyond the version's own timeout, ms. */
const COLD_START_MS = 15_000;
/** What all attempts together may take beyond it, so that the call ends before its own deadline, ms. */
const ALL_ATTEMPTS_MS = 45_000;

export type Outcome =
  | {
      readonly kind: 'answered';
      readonly choice: Choice;
      readonly result: InvokeResult;
      readonly failed: readonly FailedAttempt[];
    }
  /** Something may have run and nothing is known of it: charged nothing, not tried again. */
  | {
      readonly kind: 'unknown';
      readonly choice: Choice;
      readonly measuredMs: number;
      readonly failed: readonly FailedAttempt[];
    }
  /** Nothing ran anywhere. */
  | {
      readonly kind: 'none';
      readonly failed: readonly FailedAttempt[];
      readonly retryAfterMs: number | undefined;
    };

interface AttemptOptions {
  readonly timeoutMs: number;
  /** An idempotent version may be tried again when it may have run. */
  readonly idempotent: boolean;
  readonly signal: AbortSignal;
  readonly nowMs: () => number;
  /** Told of what is no ProviderError. */
  readonly onFault: (error: unknown) => void;
}

/** Tries the choices in order; a `maybe` ends it unless the version is idempotent. */
export async function attempt(
  choices: readonly Choice[],
  request: InvokeRequest,
  options: AttemptOptions,
): Promise<Outcome> {
  const failed: FailedAttempt[] = [];
  let unknown: Extract<Outcome, { kind: 'unknown' }> | undefined;
  let retryAfterMs: number | undefined;
  const endMs = options.nowMs() + options.timeoutMs + ALL_ATTEMPTS_MS;
  for (const choice of choices) {
    const { route } = choice;
    const startedMs = options.nowMs();
    const deadlineMs = Math.min(options.timeoutMs + COLD_START_MS, endMs - startedMs);
    if (deadlineMs <= 0) break;
    route.inFlight += 1;
    route.circuit.began(startedMs);
    const deadline = startDeadline(options.signal, deadlineMs);
    try {
      const { signal } = deadline;
      const result = await route.provider.invoke(route.deployment, request, { signal });
      route.circuit.succeeded();
      route.latency.add(result.usage.measuredMs);
      return { kind: 'answered', choice, result, failed };
    } catch (error) {
      // Anything but a ProviderError is a fault of ours in the middle of an attempt: it may have run.
      const known = error instanceof ProviderError ? error : undefined;
      if (known === undefined) options.onFault(error);
      const ran = known?.ran ?? 'maybe';
      const measuredMs = Math.round(options.nowMs() - startedMs);
      failed.push({
        deployment: route.id,
        provider: route.provider.name,
        code: known?.code ?? 'INTERNAL',
        ran,
        measuredMs,
      });
      route.circuit.failed(options.nowMs());
      retryAfterMs = known?.retryAfterMs ?? retryAfterMs;
      if (ran === 'maybe') {
        unknown = { kind: 'unknown', choice, measuredMs, failed };
        if (!options.idempotent || options.signal.aborted) return unknown;
      }
    } finally {
      deadline.clear();
      route.inFlight -= 1;
    }
  }
  return unknown ?? { kind: 'none', failed, retryAfterMs };
}

/** A signal that aborts after `ms`, or with `outer`. By hand: `AbortSignal.any` and `.timeout` cost 20 us a call, this 2. */
function startDeadline(
  outer: AbortSignal,
  ms: number,
): { readonly signal: AbortSignal; clear(): void } {
  const controller = new AbortController();
  const end = (): void => controller.abort(outer.reason);
  const timer = setTimeout(
    () => controller.abort(new DOMException(`no answer within ${ms} ms`, 'TimeoutError')),
    ms,
  );
  if (outer.aborted) end();
  outer.addEventListener('abort', end);
  return {
    signal: controller.signal,
    clear: () => {
      clearTimeout(timer);
      outer.removeEventListener('abort', end);
    },
  };
}
