// The sizes that a version takes and gives: the smallest of its clouds, so that no call depends on
// where the draw sends it.
import type { Candidate } from './choose.ts';

export interface CallLimits {
  /** Largest body of a request, bytes. */
  readonly requestBytes: number;
  /** Largest body of an answer, bytes. */
  readonly answerBytes: number;
}

/** Of the clouds where the version is live; no limit where there is none. */
export function callLimits(live: ReadonlyMap<number, Candidate>): CallLimits {
  let requestBytes = Number.POSITIVE_INFINITY;
  let answerBytes = Number.POSITIVE_INFINITY;
  for (const { provider } of live.values()) {
    requestBytes = Math.min(requestBytes, provider.limits.maxRequestBytes);
    answerBytes = Math.min(answerBytes, provider.limits.maxResponseBytes);
  }
  return { requestBytes, answerBytes };
}
