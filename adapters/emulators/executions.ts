// What an emulator counts of the executions it has run, as a cloud's metrics do: one sum per function and minute, seen some
// time after the minute's end.

const MINUTE_MS = 60_000;
/** Minutes kept of a function. */
const MAX_MINUTES = 2_880;

export interface ExecutionSum {
  readonly count: number;
  /** In the unit of whoever adds. */
  readonly amount: number;
}

export interface ExecutionSums {
  add(name: string, sum: ExecutionSum): void;
  /** Of the minutes that lie in the window and can be seen, oldest first; `atMs` is where one begins. */
  read(name: string, fromMs: number, toMs: number): readonly (ExecutionSum & { atMs: number })[];
  remove(name: string): void;
}

export function createExecutionSums(options: {
  /** Unix time in milliseconds. */
  readonly nowMs: () => number;
  /** A minute is seen so long after its end. */
  readonly delayMs: number;
}): ExecutionSums {
  const { nowMs, delayMs } = options;
  const functions = new Map<string, Map<number, ExecutionSum>>();
  return {
    add(name, { count, amount }) {
      const minutes = functions.get(name) ?? new Map<number, ExecutionSum>();
      functions.set(name, minutes);
      const atMs = Math.floor(nowMs() / MINUTE_MS) * MINUTE_MS;
      const sum = minutes.get(atMs) ?? { count: 0, amount: 0 };
      minutes.set(atMs, { count: sum.count + count, amount: sum.amount + amount });
      if (minutes.size > MAX_MINUTES) minutes.delete(Math.min(...minutes.keys()));
    },
    read(name, fromMs, toMs) {
      const seenMs = Math.min(toMs, nowMs() - delayMs);
      return [...(functions.get(name) ?? [])]
        .filter(([atMs]) => atMs >= fromMs && atMs + MINUTE_MS <= seenMs)
        .map(([atMs, sum]) => ({ ...sum, atMs }))
        .sort((a, b) => a.atMs - b.atMs);
    },
    remove: (name) => void functions.delete(name),
  };
}
