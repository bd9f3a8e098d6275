// Time between request and answer that is not execution, per cloud and region; metering subtracts
// it from the gateway's clock. It is measured with the gateway's own probe function only, never
// from what a publisher's function reports.
import type { ProviderName } from '../../adapters/provider.ts';

/** Bounds of the overhead, ms. */
const LEAST_MS = 5;
const MOST_MS = 100;
/** Number of probe calls that the percentile is computed from. */
const KEPT = 64;

export interface Overhead {
  /** 95th percentile of the last 64 samples, clamped to 5..100; 5 if there are none. */
  readonly ms: number;
  /** Adds the duration of a warm call of the gateway's own probe function, ms. */
  add(sampleMs: number): void;
  /**
   * Whether the probe works there now; if so, a run that broke there counts as its function's
   * failure. True where there is no probe.
   */
  isWell(): boolean | Promise<boolean>;
  /** Sets the probe check, which must never reject; undefined removes it. */
  watch(check: (() => Promise<boolean>) | undefined): void;
}

export interface Overheads {
  /** Returns the same object per place for the life of the gateway. */
  of(provider: ProviderName, region: string): Overhead;
}

export function createOverheads(): Overheads {
  const places = new Map<string, Overhead>();
  return {
    of: (provider, region) => {
      const place = `${provider} ${region}`;
      const known = places.get(place) ?? createOverhead();
      places.set(place, known);
      return known;
    },
  };
}

export function createOverhead(): Overhead {
  const recent: number[] = [];
  let count = 0;
  let ms = LEAST_MS;
  let check: (() => Promise<boolean>) | undefined;
  let checking: Promise<boolean> | undefined;
  return {
    get ms() {
      return ms;
    },
    add: (sampleMs) => {
      recent[count % KEPT] = sampleMs;
      count += 1;
      const sorted = recent.toSorted((a, b) => a - b);
      const p95 = sorted[Math.ceil(0.95 * sorted.length) - 1] ?? LEAST_MS;
      ms = Math.min(Math.max(p95, LEAST_MS), MOST_MS);
    },
    isWell: () => {
      if (check === undefined) return true;
      // Concurrent callers share one check.
      checking ??= check().finally(() => {
        checking = undefined;
      });
      return checking;
    },
    watch: (probe) => {
      check = probe;
    },
  };
}
