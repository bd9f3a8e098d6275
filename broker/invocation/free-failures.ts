// The budget of uncharged execution: failures are free, so that they do not become free compute (architecture.md).
import { DefaasError } from '../errors.ts';

const HOUR_MS = 3_600_000;
/** Functions remembered; the oldest goes first. */
const MAX_FUNCTIONS = 10_000;

export interface FreeFailures {
  /** @throws DefaasError FUNCTION_FAILING  the function has used its hour's budget */
  refuseFailing(functionId: bigint, label: string): void;
  /** Whether half of it is used: from then on no second runs are begun that nobody pays for. */
  isHalfSpent(functionId: bigint): boolean;
  /** Counts the time of a run that cost nothing: it failed, or another one's answer counted. */
  add(functionId: bigint, ms: number): void;
}

interface Spent {
  ms: number;
  untilMs: number;
}

/** A budget per function and hour, in ms of execution. An hour begins with its first failure. */
export function createFreeFailures(budgetMs: number, nowMs: () => number): FreeFailures {
  const functions = new Map<bigint, Spent>();
  const current = (functionId: bigint): Spent | undefined => {
    const spent = functions.get(functionId);
    if (spent === undefined || nowMs() < spent.untilMs) return spent;
    functions.delete(functionId);
    return undefined;
  };
  return {
    refuseFailing: (functionId, label) => {
      const spent = current(functionId);
      if (spent === undefined || spent.ms < budgetMs) return;
      throw new DefaasError(
        'FUNCTION_FAILING',
        `${label} has failed for ${Math.round(spent.ms / 1000)} s within the hour, mend it; it is called again later`,
        { retryAfterSec: Math.ceil((spent.untilMs - nowMs()) / 1000) },
      );
    },
    isHalfSpent: (functionId) => 2 * (current(functionId)?.ms ?? 0) >= budgetMs,
    add: (functionId, ms) => {
      const spent = current(functionId) ?? { ms: 0, untilMs: nowMs() + HOUR_MS };
      spent.ms += ms;
      functions.set(functionId, spent);
      const oldest = functions.keys().next();
      if (functions.size > MAX_FUNCTIONS && !oldest.done) functions.delete(oldest.value);
    },
  };
}
