// The time between request and answer that is not execution, for each cloud and region: what metering subtracts from the gateway's clock.
// It is learnt from the gateway's own probe function alone, never from what a publisher's function says.
import type { ProviderName } from '../../adapters/provider.ts';

/** Bounds of the overhead, ms. */
const LEAST_MS = 5;
const MOST_MS = 100;
/** Calls of the probe that the percentile is taken over. */
const KEPT = 64;

export interface Overhead {
  /** 95th percentile of the last 64 samples, 5 to 100; 5 while there is none. */
  readonly ms: number;
  /** A warm call of the gateway's own probe function took so long, ms. */
  add(sampleMs: number): void;
  /** Whether the place runs the probe now: a run that broke there is then held against its function. True where there is no probe. */
  isWell(): boolean | Promise<boolean>;
  /** Gives it a probe to ask, which never rejects; undefined: it has none any more. */
  watch(check: (() => Promise<boolean>) | undefined): void;
}

export interface Overheads {
  /** One object per place for the life of the gateway. */
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
      // All that break at once ask once.
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
