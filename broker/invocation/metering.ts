// What a run is billed for: the word of the cloud or of the shim, held between two figures of the gateway's own clock. The publisher's code
// runs in the process of the shim, so a word alone would let it run for nothing.
import type { InvokeResult } from '../../adapters/provider.ts';
import type { Route } from '../routing/choose.ts';

/**
 * Billed time of a run, whole ms: at most the time measured, rounded up, and at least that time less the place's overhead, and less the
 * cloud's allowance for a cold start where there was one. `mayBeCold` is `ColdStarts.begins` at the start of the run: the shim's word on a
 * cold start needs it, the cloud's does not. What the gateway has measured itself is taken as it is.
 */
export function billedMsOf(
  { usage, cold }: InvokeResult,
  { provider, overhead }: Pick<Route, 'provider' | 'overhead'>,
  mayBeCold: boolean,
): number {
  const { billedMs, measuredMs, source } = usage;
  const mostMs = Math.ceil(measuredMs);
  if (source === 'gateway') return Math.min(Math.ceil(billedMs), mostMs);
  const isCold = cold === true && (mayBeCold || source === 'provider');
  const startMs = isCold ? provider.limits.coldStartMs : 0;
  const leastMs = Math.ceil(measuredMs - overhead.ms - startMs);
  return Math.min(Math.max(Math.ceil(billedMs), leastMs), mostMs);
}

/** Time that the call waited for the function's module to load, whole ms; 0 where it waited for none. It changes no price. */
export function initMsOf({ usage }: InvokeResult): number {
  return Math.ceil(Math.min(usage.initMs ?? 0, usage.measuredMs));
}
