// What a call costs at each cloud, from the dated table `prices.json`.

import table from './prices.json' with { type: 'json' };
import type { ProviderName } from './provider.ts';

/**
 * The prices of one plan of a cloud, in 1e-12 USD. A "GB" of the clouds' pages is 1024 MiB, as in
 * their own examples.
 */
export interface Meter {
  readonly provider: ProviderName;
  /** Names one of several plans of a cloud: `x86` and `arm64`, `y1` and `flex`. */
  readonly plan: string;
  /** Region whose prices these are. */
  readonly region: string;
  /** Day on which the source had these prices, RFC 3339 full-date. */
  readonly asOf: string;
  readonly source: string;
  readonly currency: 'USD';
  readonly requestPico: bigint;
  readonly compute: readonly {
    readonly unit: 'GiB-second' | 'vCPU-second';
    readonly pico: bigint;
  }[];
  /** Memory size -> CPU of that size, for a cloud that bills CPU separately. */
  readonly milliCpuByMemoryMiB?: ReadonlyMap<number, number>;
  /** Sizes of an instance, for a cloud that bills whole instances. */
  readonly instanceMiB?: readonly number[];
  readonly timeStepMs: number;
  readonly timeMinMs: number;
  readonly memoryStepMiB: number;
  readonly memoryMinMiB: number;
  readonly memoryMaxMiB: number;
  readonly memoryBasis: 'configured' | 'observed' | 'instance';
  readonly initBilled: boolean;
  /** Calls that overlap in an instance share its bill. */
  readonly sharedByConcurrency: boolean;
  /** Free units per month. Estimates ignore them. */
  readonly free: Readonly<Record<string, number>>;
}

/** The metered usage of one call. */
export interface MeteredUsage {
  /** May have fractions. */
  readonly durationMs: number;
  /** Time of the instance's start, for a cold call. */
  readonly initMs?: number;
  /** Configured memory. */
  readonly memoryMiB: number;
  /** Memory that the call used. Default: all. */
  readonly peakMemoryMiB?: number;
  /** Concurrent calls in the instance, with this one. Default: 1. */
  readonly sharedBy?: number;
}

/** 1e-12 USD in one base unit of the billing token: 1 token = 1 USD, 6 decimals. */
export const PICO_PER_UNIT = 1_000_000n;

/** All meters. The first one of a cloud is that of the adapter's default plan. */
export const METERS: readonly Meter[] = table.map(meterOf);

/** Day of the oldest entry, Unix ms. */
export const PRICES_AS_OF_MS = Math.min(...METERS.map(({ asOf }) => Date.parse(asOf)));

/**
 * The meter of a cloud's plan, or of its first plan. Undefined for a provider that bills nothing,
 * such as `local`.
 */
export function findMeter(provider: ProviderName, plan?: string): Meter | undefined {
  return METERS.find(
    (meter) => meter.provider === provider && (plan === undefined || meter.plan === plan),
  );
}

/**
 * The cloud's price of one call, 1e-12 USD, rounded up once, without a free tier.
 * @see test/vectors/prices.json
 */
export function estimate(meter: Meter, usage: MeteredUsage): bigint {
  const memoryMiB = billedMiB(meter, usage);
  const ms = billedMs(meter, usage);
  let work = 0n;
  for (const { unit, pico } of meter.compute) {
    // A GiB-second is 1024 MiB x 1000 ms, a vCPU-second is 1000 mCPU x 1000 ms. Both get the
    // denominator 1 024 000 000.
    const size =
      unit === 'GiB-second' ? BigInt(memoryMiB) * 1000n : milliCpuOf(meter, memoryMiB) * 1024n;
    work += pico * size * ms;
  }
  const sharedBy = meter.sharedByConcurrency ? BigInt(usage.sharedBy ?? 1) : 1n;
  return meter.requestPico + ceilDivide(work, 1_024_000_000n * sharedBy);
}

/** The amount in base units of the token, rounded up. */
export function unitsOf(pico: bigint): bigint {
  return ceilDivide(pico, PICO_PER_UNIT);
}

function billedMs(meter: Meter, { durationMs, initMs = 0 }: MeteredUsage): bigint {
  // In whole nanoseconds, so that a rounding error of a sum does not start another step.
  const ns = Math.round((durationMs + (meter.initBilled ? initMs : 0)) * 1e6);
  const stepNs = meter.timeStepMs * 1e6;
  return BigInt(Math.max(Math.ceil(ns / stepNs) * meter.timeStepMs, meter.timeMinMs));
}

function billedMiB(meter: Meter, { memoryMiB, peakMemoryMiB }: MeteredUsage): number {
  if (meter.memoryBasis === 'instance') {
    return meter.instanceMiB?.find((size) => size >= memoryMiB) ?? meter.memoryMaxMiB;
  }
  const counted =
    meter.memoryBasis === 'observed' ? Math.min(peakMemoryMiB ?? memoryMiB, memoryMiB) : memoryMiB;
  const stepped = Math.ceil(counted / meter.memoryStepMiB) * meter.memoryStepMiB;
  return Math.min(Math.max(stepped, meter.memoryMinMiB), meter.memoryMaxMiB);
}

/** CPU of the smallest listed size that has the memory. */
function milliCpuOf({ milliCpuByMemoryMiB }: Meter, memoryMiB: number): bigint {
  let largest = 0;
  for (const [sizeMiB, milliCpu] of milliCpuByMemoryMiB ?? []) {
    if (sizeMiB >= memoryMiB) return BigInt(milliCpu);
    largest = milliCpu;
  }
  return BigInt(largest);
}

function ceilDivide(value: bigint, by: bigint): bigint {
  return (value + by - 1n) / by;
}

function meterOf(entry: (typeof table)[number]): Meter {
  const { requestPico, compute, milliCpuByMemoryMiB, instanceMiB, ...rest } = entry;
  // Safe: prices.json is part of this repository, and its test reads every entry.
  return {
    ...rest,
    requestPico: BigInt(requestPico),
    compute: compute.map(({ unit, pico }) => ({ unit, pico: BigInt(pico) })),
    ...(milliCpuByMemoryMiB && {
      milliCpuByMemoryMiB: new Map(
        Object.entries(milliCpuByMemoryMiB)
          .map(([size, milliCpu]) => [Number(size), milliCpu] as const)
          .sort(([a], [b]) => a - b),
      ),
    }),
    ...(instanceMiB && { instanceMiB }),
  } as Meter;
}
