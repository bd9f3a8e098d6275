// Latency of one deployment's calls. `fastest` ranks by the mean; a hedge is due after the 95th
// percentile (docs/decisions/latency-window.md).

/** Weight of the newest call in the mean. */
const NEWEST = 1 / 16;
/** Number of newest calls that the percentile is computed from. */
const KEPT = 128;
/** With fewer calls there is no percentile: too few to tell the slowest 5 %. */
const LEAST = 32;
/** The calls are sorted again after this many new ones, because a sort takes 4 us. */
const SORT_EVERY = 16;

export interface Latency {
  /** Adds the latency of an answered call, ms by the gateway's clock. */
  add(ms: number): void;
  /**
   * Exponentially weighted mean, ms. It is 0 before the first call, so that a new deployment is
   * tried.
   */
  meanMs(): number;
  /** 95th percentile of the last 128 calls, ms; undefined until there are 32. */
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
