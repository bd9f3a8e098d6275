// Counts the executions of an emulator as the metrics of a cloud do: one sum per function and
// minute, which can be read some time after the end of the minute.

const MINUTE_MS = 60_000;
/** Most minutes that are kept per function. */
const MAX_MINUTES = 2_880;

export interface ExecutionSum {
  readonly count: number;
  /** In the unit of the caller. */
  readonly amount: number;
}

export interface ExecutionSums {
  add(name: string, sum: ExecutionSum): void;
  /** The readable minutes of the window, oldest first. `atMs` is the beginning of a minute. */
  read(name: string, fromMs: number, toMs: number): readonly (ExecutionSum & { atMs: number })[];
  remove(name: string): void;
}

export function createExecutionSums(options: {
  /** Unix time in milliseconds. */
  readonly nowMs: () => number;
  /** Time between the end of a minute and its first reading. */
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
