// Deadlines of attempts: a signal that aborts when the time is over, or when the gateway closes.

/** Width of a timer slot, ms. Attempts that end within the same slot share one signal. */
const STEP_MS = 50;

export interface Deadline {
  /** Shared with other attempts: it may abort after this attempt has ended. */
  readonly signal: AbortSignal;
  /** Call it once, when the attempt has ended. */
  clear(): void;
}

export interface Deadlines {
  readonly isClosing: boolean;
  /**
   * A signal that aborts after `ms`, up to 50 ms later, with a TimeoutError; or with the gateway.
   */
  start(ms: number): Deadline;
}

interface Step {
  readonly number: number;
  readonly controller: AbortController;
  readonly timer: NodeJS.Timeout;
  /** Number of attempts that have not ended. */
  running: number;
}

/**
 * Own timer slots, because `AbortSignal.any` and `AbortSignal.timeout` cost 20 us per call.
 * `closing` has one listener for all calls.
 */
export function createDeadlines(closing: AbortSignal): Deadlines {
  const steps = new Map<number, Step>();
  /** Kept after all its attempts have ended: the next attempt usually falls into the same slot. */
  let newest: Step | undefined;
  closing.addEventListener(
    'abort',
    () => {
      for (const { controller } of steps.values()) controller.abort(closing.reason);
    },
    { once: true },
  );

  const leave = (step: Step | undefined): void => {
    if (step === undefined || step.running > 0) return;
    clearTimeout(step.timer);
    if (steps.get(step.number) === step) steps.delete(step.number);
  };
  const stepAt = (number: number): Step => {
    const known = steps.get(number);
    if (known !== undefined) return known;
    const controller = new AbortController();
    const end = (): void => {
      steps.delete(number);
      controller.abort(new DOMException('no answer in time', 'TimeoutError'));
    };
    const timer = setTimeout(end, Math.ceil(number * STEP_MS - performance.now())).unref();
    if (closing.aborted) controller.abort(closing.reason);
    const step = { number, controller, timer, running: 0 };
    steps.set(number, step);
    const before = newest;
    newest = step;
    leave(before);
    return step;
  };

  return {
    get isClosing() {
      return closing.aborted;
    },
    start: (ms) => {
      const number = Math.ceil((performance.now() + ms) / STEP_MS);
      const step = stepAt(number);
      step.running += 1;
      return {
        signal: step.controller.signal,
        clear: () => {
          step.running -= 1;
          if (step !== newest) leave(step);
        },
      };
    },
  };
}
