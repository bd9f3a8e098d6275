// What may be spent per UTC day: by a sponsored function out of its publisher's lane, and by a session key out of its lane.

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

/** Room taken for one call, until it is known what it cost. */
export interface DailyHold {
  /** Counts the price and gives back the rest; nothing when no limit is kept. */
  spend(units: bigint): Spending | undefined;
  /** Gives everything back. */
  release(): void;
}

export interface DailyLimits {
  /** Whether somebody has set it; the gateway's default does not count. */
  isSet(scope: SpendingScope): boolean;
  limitOf(scope: SpendingScope): bigint | undefined;
  /** Already durable when it is set here. */
  setLimit(scope: SpendingScope, units: bigint | undefined): void;
  /** Spent today and held by calls under way. */
  spentToday(scope: SpendingScope): bigint;
  /** Takes room for a call that may cost `units`; undefined when the day's limit leaves none. No await, so no race exceeds it. */
  hold(scope: SpendingScope, units: bigint): DailyHold | undefined;
}

interface DailyLimitsOptions {
  /** Of functions that have none of their own. */
  readonly functionDefaultUnits: bigint;
  readonly limits: readonly { readonly scope: SpendingScope; readonly units: bigint }[];
  readonly spentToday: readonly { readonly scope: SpendingScope; readonly units: bigint }[];
  readonly nowMs: () => number;
}

const WITHOUT_LIMIT: DailyHold = { spend: () => undefined, release: () => {} };

/** Counts the current day; yesterday's is forgotten at the first call of a new one. */
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
