// Which cold starts of a deployment are believed. The shim's word on a cold start is the publisher's to forge, so it counts only where
// the cloud must have needed one more instance.

/** An instance that is idle is expected to be kept for at least so long, ms. */
const KEPT_MS = 120_000;

export interface ColdStarts {
  /** A call begins, with `inFlight` calls of the deployment under way, itself included. @returns whether it may need a new instance */
  begins(inFlight: number, nowMs: number): boolean;
}

/** One instance takes one call at a time: a call needs a new one when more are under way than at any moment of the last 2 to 4 minutes. */
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
