// Spending limits per UTC day: of a sponsored function, charged to its publisher's lane, and of a
// session key, charged to its lane.

import type { RegisteredFunction } from '../../contracts/chain/types.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import type { Spending, SpendingScope } from '../ledger/ledger.ts';

export function functionScope({
  id,
  owner,
}: Pick<RegisteredFunction, 'id' | 'owner'>): SpendingScope {
  return `function:${id.toString(16)}:${owner}`;
}

export function laneScope(payer: Address, signer: Address): SpendingScope {
  return `lane:${payer}:${signer}`;
}

/** Amount reserved for one call until its price is known. */
export interface DailyHold {
  /** Counts the price and releases the rest. Returns undefined when no limit is set. */
  spend(units: bigint): Spending | undefined;
  /** Releases the whole reservation. */
  release(): void;
}

export interface DailyLimits {
  /** Whether a limit was set explicitly; the gateway's default does not count. */
  isSet(scope: SpendingScope): boolean;
  limitOf(scope: SpendingScope): bigint | undefined;
  /** Sets the limit in memory; the caller has already made it durable. */
  setLimit(scope: SpendingScope, units: bigint | undefined): void;
  /** Spent today plus reserved by running calls. */
  spentToday(scope: SpendingScope): bigint;
  /**
   * Reserves `units` for a call; undefined if the day's limit leaves too little. Synchronous, so
   * concurrent calls cannot exceed the limit.
   */
  hold(scope: SpendingScope, units: bigint): DailyHold | undefined;
}

interface DailyLimitsOptions {
  /** Limit of functions that have none of their own. */
  readonly functionDefaultUnits: bigint;
  readonly limits: readonly { readonly scope: SpendingScope; readonly units: bigint }[];
  readonly spentToday: readonly { readonly scope: SpendingScope; readonly units: bigint }[];
  readonly nowMs: () => number;
}

const WITHOUT_LIMIT: DailyHold = { spend: () => undefined, release: () => {} };

/** Counts the current day only; the first call of a new day clears the counts. */
export function createDailyLimits(options: DailyLimitsOptions): DailyLimits {
  const limits = new Map(options.limits.map(({ scope, units }) => [scope, units]));
  const taken = new Map(options.spentToday.map(({ scope, units }) => [scope, units]));
  let day = utcDay(options.nowMs());

  const today = (): string => {
    const now = utcDay(options.nowMs());
    if (now !== day) taken.clear();
    day = now;
    return day;
  };
  const add = (scope: SpendingScope, units: bigint): void => {
    const sum = (taken.get(scope) ?? 0n) + units;
    taken.set(scope, sum > 0n ? sum : 0n);
  };
  const limitOf = (scope: SpendingScope): bigint | undefined =>
    limits.get(scope) ?? (scope.startsWith('function:') ? options.functionDefaultUnits : undefined);

  return {
    isSet: (scope) => limits.has(scope),
    limitOf,
    setLimit: (scope, units) => {
      if (units === undefined) limits.delete(scope);
      else limits.set(scope, units);
    },
    spentToday: (scope) => {
      today();
      return taken.get(scope) ?? 0n;
    },
    hold: (scope, units) => {
      const limit = limitOf(scope);
      if (limit === undefined) return WITHOUT_LIMIT;
      const heldOn = today();
      if ((taken.get(scope) ?? 0n) + units > limit) return undefined;
      add(scope, units);
      const giveBack = (rest: bigint): void => {
        if (today() === heldOn) add(scope, -rest);
      };
      let isOpen = true;
      return {
        spend: (price) => {
          isOpen = false;
          giveBack(units - price);
          return { scope, day: heldOn, units: price };
        },
        release: () => {
          if (isOpen) giveBack(units);
          isOpen = false;
        },
      };
    },
  };
}

/** The UTC day of a time, `2026-11-22`. */
export function utcDay(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}
