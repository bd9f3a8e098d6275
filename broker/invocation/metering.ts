// Billed time of a run: the time that the cloud or the shim reports, clamped by the gateway's own
// clock. The publisher's code runs in the shim's process and could forge its report.
import type { InvokeResult } from '../../adapters/provider.ts';
import type { Candidate } from '../routing/choose.ts';

/**
 * Billed time of a run, whole ms: at most the measured time, rounded up; at least the measured time
 * less the overhead of the cloud and region, and less the cold-start allowance where there was a
 * cold start. `mayBeCold` is the result of `ColdStarts.begins`: a cold start that the shim reports
 * counts only with it, one that the cloud reports always counts. Time that the gateway measured
 * itself is not clamped.
 */
export function billedMsOf(
  { usage, cold }: InvokeResult,
  { provider, overhead }: Pick<Candidate, 'provider' | 'overhead'>,
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

/**
 * Time that the function's module took to load in this call, whole ms; 0 in a warm call. It does
 * not change the price.
 */
export function initMsOf({ usage }: InvokeResult): number {
  return Math.ceil(Math.min(usage.initMs ?? 0, usage.measuredMs));
}
