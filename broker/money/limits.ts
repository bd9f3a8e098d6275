// Limits of calls per second and concurrent calls, per payer and per function, so that one caller
// cannot overload the gateway for others.
import { LRUCache } from 'lru-cache';
import { DefaasError } from '../errors.ts';

export interface Limits {
  /**
   * Takes a slot for a call. Call the returned function to release it.
   * @throws DefaasError RATE_LIMITED  the payer's rate or concurrency, or the function's
   *   concurrency is used up
   */
  enter(payer: string, functionId: bigint): () => void;
}

interface LimitsOptions {
  /** Calls per second of one payer, with bursts of twice as many after a pause. 0: no limit. */
  readonly payerRatePerSec: number;
  readonly payerConcurrency: number;
  readonly functionConcurrency: number;
  readonly nowMs: () => number;
}

interface Bucket {
  tokens: number;
  atMs: number;
}

/** Maximum number of payers in the cache. An evicted payer starts again with a full bucket. */
const MAX_BUCKETS = 50_000;

export function createLimits(options: LimitsOptions): Limits {
  const { payerRatePerSec, nowMs } = options;
  const buckets = new LRUCache<string, Bucket>({ max: MAX_BUCKETS });
  const payers = new Map<string, number>();
  const functions = new Map<bigint, number>();

  const takeToken = (payer: string): void => {
    if (payerRatePerSec === 0) return;
    const now = nowMs();
    const full = 2 * payerRatePerSec;
    const bucket = buckets.get(payer) ?? { tokens: full, atMs: now };
    bucket.tokens = Math.min(full, bucket.tokens + ((now - bucket.atMs) / 1000) * payerRatePerSec);
    bucket.atMs = now;
    buckets.set(payer, bucket);
    if (bucket.tokens < 1) {
      throw limited(
        `${payer} may call ${payerRatePerSec} times a second`,
        (1 - bucket.tokens) / payerRatePerSec,
      );
    }
    bucket.tokens -= 1;
  };

  return {
    enter: (payer, functionId) => {
      const ofPayer = payers.get(payer) ?? 0;
      const ofFunction = functions.get(functionId) ?? 0;
      if (ofPayer >= options.payerConcurrency) {
        throw limited(`${payer} has ${ofPayer} calls under way`, 1);
      }
      if (ofFunction >= options.functionConcurrency) {
        throw limited(`the function has ${ofFunction} calls under way`, 1);
      }
      takeToken(payer);
      payers.set(payer, ofPayer + 1);
      functions.set(functionId, ofFunction + 1);
      return () => {
        leave(payers, payer);
        leave(functions, functionId);
      };
    },
  };
}

/** Decrements a count and deletes it at 0, so that the map holds current callers only. */
function leave<Key>(counts: Map<Key, number>, key: Key): void {
  const left = (counts.get(key) ?? 1) - 1;
  if (left === 0) counts.delete(key);
  else counts.set(key, left);
}

function limited(what: string, afterSec: number): DefaasError {
  return new DefaasError('RATE_LIMITED', `${what} at this gateway, try again shortly`, {
    retryAfterSec: Math.max(1, Math.ceil(afterSec)),
  });
}
