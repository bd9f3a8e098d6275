// What a call costs at each cloud, from the dated table `prices.json`: `deploy` and `list` show it, routing will weigh it.

import table from './prices.json' with { type: 'json' };
import type { ProviderName } from './provider.ts';

/** One way a cloud counts. Money in 1e-12 USD; a "GB" of the clouds' pages is 1024 MiB (their own examples count so). */
export interface Meter {
  readonly provider: ProviderName;
  /** Of several at one cloud: `x86` and `arm64`, `y1` and `flex`. */
  readonly plan: string;
  /** Where the prices are those of. */
  readonly region: string;
  /** Day on which the source said so, RFC 3339 full-date. */
  readonly asOf: string;
  readonly source: string;
  readonly currency: 'USD';
  readonly requestPico: bigint;
  readonly compute: readonly {
    readonly unit: 'GiB-second' | 'vCPU-second';
    readonly pico: bigint;
  }[];
  /** Memory size -> the CPU that comes with it, where CPU is billed apart. */
  readonly milliCpuByMemoryMiB?: ReadonlyMap<number, number>;
  /** Sizes of an instance, where whole instances are billed. */
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
  /** Units a month that cost nothing; no estimate counts on them. */
  readonly free: Readonly<Record<string, number>>;
}

/** What is metered of one call. */
export interface MeteredUsage {
  /** Fractions count. */
  readonly durationMs: number;
  /** Start of the instance, when the call was a cold one. */
  readonly initMs?: number;
  /** Configured. */
  readonly memoryMiB: number;
  /** What the call took of it; without it all is assumed. */
  readonly peakMemoryMiB?: number;
  /** Calls that ran in the instance at once, this one included; 1 by default. */
  readonly sharedBy?: number;
}

/** 1e-12 USD in one base unit of the billing token: 1 token = 1 USD, 6 decimals. */
export const PICO_PER_UNIT = 1_000_000n;

/** All meters; a cloud's first is that of its adapter's default plan. */
export const METERS: readonly Meter[] = table.map(meterOf);

/** Day of the oldest entry, Unix ms. */
export const PRICES_AS_OF_MS = Math.min(...METERS.map(({ asOf }) => Date.parse(asOf)));

/** The meter of a cloud's plan; without a plan the cloud's first. Undefined where nothing is metered, as on one's own machine. */
export function findMeter(provider: ProviderName, plan?: string): Meter | undefined {
  return METERS.find(
    (meter) => meter.provider === provider && (plan === undefined || meter.plan === plan),
  );
}

/**
 * What the cloud bills for one call, 1e-12 USD, rounded up once, without any free tier.
 * @see test/vectors/prices.json
 */
export function estimate(meter: Meter, usage: MeteredUsage): bigint {
  const memoryMiB = billedMiB(meter, usage);
  const ms = billedMs(meter, usage);
  let work = 0n;
  for (const { unit, pico } of meter.compute) {
    // A GiB-second is 1024 MiB x 1000 ms, a vCPU-second 1000 mCPU x 1000 ms: both over 1 024 000 000.
    const size =
      unit === 'GiB-second' ? BigInt(memoryMiB) * 1000n : milliCpuOf(meter, memoryMiB) * 1024n;
    work += pico * size * ms;
  }
  const sharedBy = meter.sharedByConcurrency ? BigInt(usage.sharedBy ?? 1) : 1n;
  return meter.requestPico + ceilDivide(work, 1_024_000_000n * sharedBy);
}

/** Base units of the token that cover so much, rounded up. */
export function unitsOf(pico: bigint): bigint {
  return ceilDivide(pico, PICO_PER_UNIT);
}

function billedMs(meter: Meter, { durationMs, initMs = 0 }: MeteredUsage): bigint {
  // Counted in whole nanoseconds: sums of fractions must not start a further step.
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

/** Of the smallest listed size that holds the memory. */
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
  // Safe: prices.json is ours, and its test reads every entry.
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
