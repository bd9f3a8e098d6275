// The price of one execution and how it is split. Twin of Tariffs.sol (docs/contracts.md 8.1 and
// 6.3).
import type { Execution } from './receipts.ts';

/**
 * The tariff of a version, the same for all its providers. Money in base units of the billing
 * token.
 */
export interface Tariff {
  readonly perCall: bigint;
  /** Per GiB of memory and second of billed time. */
  readonly perGiBSecond: bigint;
  /** Highest price of one call. */
  readonly maxPrice: bigint;
  /** Minimum billed time of a call, ms. */
  readonly minBilledMs: number;
  /** Time is billed per started step of this many milliseconds, 1 to 60 000. */
  readonly roundMs: number;
  /** The publisher's share of what the gateway's fee leaves, in 1/10 000. */
  readonly publisherBps: number;
}

/** The fields of a version that affect the price. */
export interface PriceTerms {
  readonly tariff: Tariff;
  readonly memoryMiB: number;
  readonly timeoutMs: number;
}

/** A price's three shares; they add up to it. */
export interface Shares {
  readonly gateway: bigint;
  readonly publisher: bigint;
  readonly provider: bigint;
}

/** 1024 MiB x 1000 ms: what `perGiBSecond` is per. */
const MIB_MS_PER_GIB_SECOND = 1_024_000n;
const BPS = 10_000n;

/**
 * Price of an execution in base units, rounded up, never above the tariff's `maxPrice`; 0 if it
 * failed (status 0). Time above the version's timeout and memory above the version's are not
 * charged.
 * @see test/vectors/tariffs.json
 */
export function priceOf(
  execution: Pick<Execution, 'billedMs' | 'memoryMiB' | 'status'>,
  terms: PriceTerms,
): bigint {
  if (execution.status === 0) return 0n;
  const { tariff } = terms;
  const charged = Math.max(Math.min(execution.billedMs, terms.timeoutMs), tariff.minBilledMs);
  const ms = BigInt(Math.ceil(charged / tariff.roundMs) * tariff.roundMs);
  const mib = BigInt(Math.min(execution.memoryMiB, terms.memoryMiB));
  const work = tariff.perGiBSecond * mib * ms;
  const price = tariff.perCall + (work + MIB_MS_PER_GIB_SECOND - 1n) / MIB_MS_PER_GIB_SECOND;
  return price < tariff.maxPrice ? price : tariff.maxPrice;
}

/**
 * Splits a price: the gateway's fee and the publisher's share are rounded down, the provider has
 * the rest.
 */
export function splitPrice(price: bigint, feeBps: number, publisherBps: number): Shares {
  const gateway = (price * BigInt(feeBps)) / BPS;
  const publisher = ((price - gateway) * BigInt(publisherBps)) / BPS;
  return { gateway, publisher, provider: price - gateway - publisher };
}
