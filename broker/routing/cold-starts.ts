// Decides which reported cold starts are believed. The shim's report can be forged by the
// publisher, so it counts only when the cloud must have needed another instance.

/** An idle instance is expected to live at least this long, ms. */
const KEPT_MS = 120_000;

export interface ColdStarts {
  /**
   * A call begins; `inFlight` is the number of running calls of the deployment, this one included.
   * @returns whether it may need a new instance
   */
  begins(inFlight: number, nowMs: number): boolean;
}

/**
 * Assumes one call at a time per instance: a call needs a new instance when more calls run than at
 * any moment of the last 2 to 4 minutes.
 */
export function createColdStarts(): ColdStarts {
  let untilMs = 0;
  let most = 0;
  let mostBefore = 0;
  return {
    begins: (inFlight, nowMs) => {
      if (nowMs >= untilMs) {
        mostBefore = nowMs < untilMs + KEPT_MS ? most : 0;
        most = 0;
        untilMs = nowMs + KEPT_MS;
      }
      const isNew = inFlight > most && inFlight > mostBefore;
      if (inFlight > most) most = inFlight;
      return isNew;
    },
  };
}
