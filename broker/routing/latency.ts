// How long the calls of one deployment take: what "fastest" goes by, and when a hedge is due.

/** Weight of the newest call in the moving mean. */
const NEWEST = 1 / 16;
/** Calls that the percentile is taken over. */
const KEPT = 128;
/** Fewer calls say nothing of the slowest twentieth. */
const LEAST = 32;
/** The percentile is sorted out anew after so many calls: 4 us each time. */
const SORT_EVERY = 16;

export interface Latency {
  /** An answered call, ms by the gateway's clock. */
  add(ms: number): void;
  /** Exponentially weighted mean, ms; 0 before the first call, so that it is tried. */
  meanMs(): number;
  /** Of the last 128 calls, ms; undefined until there are 32. */
  p95Ms(): number | undefined;
}

export function createLatency(): Latency {
  const recent = new Float32Array(KEPT);
  let count = 0;
  let mean = 0;
  let p95: number | undefined;
  let sortedAt = 0;
  return {
    add: (ms) => {
      mean = count === 0 ? ms : mean + NEWEST * (ms - mean);
      recent[count % KEPT] = ms;
      count += 1;
    },
    meanMs: () => mean,
    p95Ms: () => {
      if (count < LEAST) return undefined;
      if (p95 === undefined || count - sortedAt >= SORT_EVERY) {
        const sorted = recent.slice(0, Math.min(count, KEPT)).sort();
        p95 = sorted[Math.ceil(0.95 * sorted.length) - 1];
        sortedAt = count;
      }
      return p95;
    },
  };
}
