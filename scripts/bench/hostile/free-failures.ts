// How much uncharged time a publisher can get within an hour from functions that fail on purpose:
// the gateway's own budget under many runs at once, by a clock of its own.
import { createFreeFailures, type Spender } from '../../../broker/money/free-failures.ts';
import type { Address } from '../../../contracts/libraries/keccak.ts';

const BUDGET_MS = 60_000;
const TIMEOUT_MS = 10_000;
const FUNCTIONS = 50;
const ROUNDS = 40;
const RUNS_A_ROUND = 200;
const OWNER: Address = `0x${'b1'.repeat(20)}`;

/** Uncharged milliseconds above four times the budget and one timeout. */
export async function freeMsOverBudget(): Promise<{ over: number; freeMs: number }> {
  let nowMs = 0;
  const free = createFreeFailures({ leastMs: BUDGET_MS, nowMs: () => nowMs, waitMs: 0 });
  const spenders = Array.from({ length: FUNCTIONS }, (_, n): Spender => {
    const version = { functionId: BigInt(n), timeoutMs: TIMEOUT_MS };
    return { label: `bench-${n}`, function: { owner: OWNER }, version };
  });
  let freeMs = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    // All at once: each may run before the first has failed.
    const admitted: { readonly of: Spender; readonly ms: number }[] = [];
    for (let run = 0; run < RUNS_A_ROUND; run += 1) {
      const of = spenders[run % FUNCTIONS];
      const ms = of && free.tryReserve(of);
      if (of !== undefined && ms !== undefined) admitted.push({ of, ms });
    }
    nowMs += TIMEOUT_MS;
    for (const { of, ms } of admitted) {
      free.settle(of, ms, TIMEOUT_MS, true);
      freeMs += TIMEOUT_MS;
    }
  }
  return { over: Math.max(0, freeMs - (4 * BUDGET_MS + TIMEOUT_MS)), freeMs };
}
