// A circuit breaker per deployment: one that keeps failing is tried last, and retried after a
// pause.

/** Consecutive failures that open the circuit. */
const OPEN_AFTER = 3;
const FIRST_PAUSE_MS = 500;
/** Longest pause: a cloud that has recovered is retried within this time. */
const MAX_PAUSE_MS = 5_000;

export interface Circuit {
  /**
   * Whether to pass the deployment over now. False once the pause is over, until a call tries it.
   */
  isOpen(nowMs: number): boolean;
  /** A call tries the deployment; others pass it over until the result is known. */
  began(nowMs: number): void;
  succeeded(): void;
  failed(nowMs: number): void;
}

/** Closed at first. The pause doubles with each failed retry, up to 5 s. */
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
