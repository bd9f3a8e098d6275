// How many calls may be hedged: sent to a second cloud because the first is slower than it mostly is. The second run is the gateway's
// expense, so it is a small share of the calls whatever the clouds do.

/** Hedges that one call allows: at most a tenth of the calls is hedged. */
const SHARE = 0.1;
/** Saved up at most, so that a cloud that turns slow does not get a storm of second calls. */
const SAVED = 5;

export interface HedgeBudget {
  /** A call that may be hedged has come. */
  call(): void;
  /** Takes one hedge, where there is one left. */
  take(): boolean;
}

export function createHedgeBudget(): HedgeBudget {
  let left = 0;
  return {
    call: () => {
      left = Math.min(left + SHARE, SAVED);
    },
    take: () => {
      if (left < 1) return false;
      left -= 1;
      return true;
    },
  };
}
