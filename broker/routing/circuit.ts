// A circuit breaker per deployment: one that keeps failing is tried last, and looked at again after a pause.

/** Failures in a row that open it. */
const OPEN_AFTER = 3;
const FIRST_PAUSE_MS = 500;
/** A cloud that has come back is found within this time. */
const MAX_PAUSE_MS = 5_000;

export interface Circuit {
  /** Whether to pass it over now: no once its pause is over, until somebody tries it. */
  isOpen(nowMs: number): boolean;
  /** A call tries it: the others wait for how that goes. */
  began(nowMs: number): void;
  succeeded(): void;
  failed(nowMs: number): void;
}

/** Closed at first. The pause doubles with each failed look, up to 5 s. */
export function createCircuit(): Circuit {
  let failures = 0;
  let pauseMs = FIRST_PAUSE_MS;
  let lookAgainMs = 0;
  return {
    isOpen: (nowMs) => failures >= OPEN_AFTER && nowMs < lookAgainMs,
    began: (nowMs) => {
      if (failures >= OPEN_AFTER) lookAgainMs = nowMs + pauseMs;
    },
    succeeded: () => {
      failures = 0;
      pauseMs = FIRST_PAUSE_MS;
    },
    failed: (nowMs) => {
      failures += 1;
      if (failures < OPEN_AFTER) return;
      if (failures > OPEN_AFTER) pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS);
      lookAgainMs = nowMs + pauseMs;
    },
  };
}
