// Budget for hedging: sending a call to a second cloud because the first is slower than usual. The
// gateway pays for the second run, so only a small share of calls is hedged, whatever the clouds
// do.

/** Hedges earned per call: at most a tenth of the calls is hedged. */
const SHARE = 0.1;
/** Most hedges saved up, so that a cloud that turns slow does not cause a burst of second calls. */
const SAVED = 5;

export interface HedgeBudget {
  /** Counts a call that may be hedged. */
  call(): void;
  /** Takes one hedge from the budget. Returns false if none is left. */
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
