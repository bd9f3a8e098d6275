// What publishers pay for calls without a token: bounded per UTC day by the gateway (architecture.md, "Who pays").
import type { Address } from '../../contracts/libraries/keccak.ts';
import type { Sponsorship } from './journal.ts';

export interface Sponsors {
  /** Whether today's limit leaves room for a call that may cost `units`. */
  covers(payer: Address, units: bigint): boolean;
  /** Counts a price; what is returned goes into the journal with the receipt. */
  spend(payer: Address, units: bigint): Sponsorship;
}

interface SponsorsOptions {
  readonly dailyUnits: bigint;
  readonly spentToday: readonly { readonly payer: Address; readonly units: bigint }[];
  readonly nowMs: () => number;
}

/** Sponsors' spending of the current day; yesterday's is forgotten at the first call of a new day. */
export function createSponsors(options: SponsorsOptions): Sponsors {
  const spent = new Map(options.spentToday.map(({ payer, units }) => [payer, units]));
  let day = utcDay(options.nowMs());
  const roll = (): void => {
    const today = utcDay(options.nowMs());
    if (today !== day) spent.clear();
    day = today;
  };
  return {
    covers: (payer, units) => {
      roll();
      return (spent.get(payer) ?? 0n) + units <= options.dailyUnits;
    },
    spend: (payer, units) => {
      roll();
      spent.set(payer, (spent.get(payer) ?? 0n) + units);
      return { payer, day, units };
    },
  };
}

/** The UTC day of a time, `2026-11-22`. */
export function utcDay(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}
