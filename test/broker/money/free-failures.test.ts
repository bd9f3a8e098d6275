// The budget of uncharged execution under attack, and under honest load.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { createFreeFailures, type FreeFailures } from '../../../broker/money/free-failures.ts';
import { createSpender } from '../invocation/in-process-cloud.ts';

const HOUR_MS = 3_600_000;
const FAILING = { code: 'FUNCTION_FAILING' };
const CROWDED = { code: 'RATE_LIMITED', retryAfterSec: 1 };

describe('the budget of free failures', () => {
  let nowMs = 0;
  beforeEach(() => {
    nowMs = 0;
  });
  const createBudget = (leastMs: number, waitMs?: number): FreeFailures =>
    createFreeFailures({ leastMs, nowMs: () => nowMs, ...(waitMs !== undefined && { waitMs }) });
  const of = createSpender({ timeoutMs: 2_000 });
  const fail = (budget: FreeFailures, spender = of, ms = spender.version.timeoutMs): void => {
    const reservedMs = budget.tryReserve(spender);
    assert.ok(reservedMs !== undefined, 'no room');
    budget.settle(spender, reservedMs, ms, true);
  };

  it('admits 12 s of 40 simultaneous failures of 2 s through a budget of 3 s, and none after', async () => {
    const budget = createBudget(3_000);
    let freeMs = 0;
    const calls = Array.from({ length: 40 }, async () => {
      const reservedMs = await budget.reserve(of);
      // All that are let in begin before the first of them ends.
      await new Promise(setImmediate);
      freeMs += 2_000;
      budget.settle(of, reservedMs, 2_000, true);
    });

    const refused = await Promise.all(
      calls.map((call) =>
        call.then(
          () => '',
          ({ code }) => code,
        ),
      ),
    );

    assert.equal(freeMs, 12_000);
    assert.equal(refused.filter((code) => code === 'FUNCTION_FAILING').length, 34);
    assert.throws(() => budget.refuseFailing(of), { ...FAILING, retryAfterSec: 3_600 });
  });

  it('begins again with the next hour', async () => {
    const budget = createBudget(1_000);

    fail(budget);
    await assert.rejects(budget.reserve(of), FAILING);
    nowMs = HOUR_MS;

    budget.refuseFailing(of);
    fail(budget);
  });

  it('admits one run whose timeout exceeds the budget, as long as something is left', () => {
    const budget = createBudget(100);
    const long = createSpender({ timeoutMs: 900_000 });

    const reservedMs = budget.tryReserve(long) ?? assert.fail('one is always admitted');
    const second = budget.tryReserve(long);
    budget.settle(long, reservedMs, 99, true);
    const next = budget.tryReserve(long) ?? assert.fail('a millisecond is left');
    budget.settle(long, next, 1, true);

    assert.equal(second, undefined);
    assert.equal(budget.tryReserve(long), undefined);
  });

  it('calls a function one by one until its first failure where the operator allows none', () => {
    const budget = createBudget(0);

    const reservedMs = budget.tryReserve(of) ?? assert.fail('the first is admitted');
    const beside = budget.tryReserve(of);
    budget.settle(of, reservedMs, 0, false);
    fail(budget, of, 1);

    assert.equal(beside, undefined);
    assert.throws(() => budget.refuseFailing(of), FAILING);
  });

  it('is shared by all functions of a publisher', () => {
    const budget = createBudget(3_000);
    const functions = [1n, 2n, 3n].map((functionId) =>
      createSpender({ functionId, timeoutMs: 2_000 }),
    );
    const stranger = createSpender({ functionId: 4n, owner: `0x${'20'.repeat(20)}` });
    const [first, second, third] = functions;

    for (const one of [first, second]) if (one) fail(budget, one);

    assert.throws(() => third && budget.refuseFailing(third), FAILING);
    fail(budget, stranger);
  });

  it('makes a call wait in its turn for what others have reserved', async () => {
    const budget = createBudget(1_000);
    const first = [budget.tryReserve(of), budget.tryReserve(of)];
    const turns: number[] = [];
    const waiting = [1, 2].map(async (turn) => {
      const reservedMs = await budget.reserve(of);
      turns.push(turn);
      return reservedMs;
    });
    await new Promise(setImmediate);
    const before = [...turns];

    for (const reservedMs of first) budget.settle(of, reservedMs ?? 0, 0, false);
    await Promise.all(waiting);

    assert.deepEqual([before, turns], [[], [1, 2]]);
  });

  it('refuses a call that has waited too long, and a waiting call when the budget is used up', async () => {
    const budget = createBudget(1_000, 20);
    const patient = createBudget(1_000);
    const held = [of, of].map((spender) => [budget, patient].map((one) => one.tryReserve(spender)));

    await assert.rejects(budget.reserve(of), CROWDED);
    const waiting = patient.reserve(of);
    patient.settle(of, held[0]?.[1] ?? 0, 2_000, true);

    await assert.rejects(waiting, FAILING);
  });

  it('grows with paid calls, and stays so for the next hour', () => {
    const budget = createBudget(1_000);
    const paid = (ms: number): void => budget.charge(of, ms);

    paid(100_000);
    fail(budget, of, 9_999);
    budget.refuseFailing(of);
    fail(budget, of, 1);
    assert.throws(() => budget.refuseFailing(of), FAILING);
    nowMs = HOUR_MS;
    fail(budget, of, 9_999);
    budget.refuseFailing(of);
    nowMs = 2 * HOUR_MS;
    fail(budget, of, 1_000);

    assert.throws(() => budget.refuseFailing(of), FAILING);
  });

  it('never gives away more than four times its amount in an hour, however calls are mixed', () => {
    const call = fc.record({
      timeoutMs: fc.integer({ min: 100, max: 20_000 }),
      /** Of the timeout; a failure takes all of it. */
      share: fc.double({ min: 0, max: 1, noNaN: true }),
      fails: fc.boolean(),
      functionId: fc.bigInt({ min: 1n, max: 5n }),
      atOnce: fc.integer({ min: 1, max: 40 }),
    });
    fc.assert(
      fc.property(
        fc.array(call, { maxLength: 60 }),
        fc.integer({ min: 1, max: 60_000 }),
        (calls, leastMs) => {
          const budget = createBudget(leastMs);
          let freeMs = 0;
          let paidMs = 0;
          let longestMs = 0;
          for (const { timeoutMs, share, fails, functionId, atOnce } of calls) {
            const spender = createSpender({ functionId, timeoutMs });
            const running: number[] = [];
            for (let one = 0; one < atOnce; one += 1) {
              const reservedMs = budget.tryReserve(spender);
              if (reservedMs !== undefined) running.push(reservedMs);
            }
            longestMs = Math.max(longestMs, timeoutMs);
            for (const reservedMs of running) {
              budget.settle(spender, reservedMs, fails ? timeoutMs : 0, fails);
              if (fails) freeMs += timeoutMs;
              else budget.charge(spender, share * timeoutMs);
              if (!fails) paidMs += share * timeoutMs;
            }
          }
          const most = Math.max(leastMs, paidMs / 10);
          assert.ok(freeMs <= Math.max(4 * most, most + longestMs), `${freeMs} of ${most}`);
        },
      ),
    );
  });

  it('never refuses an honest function that fails now and then', () => {
    // Up to 64 calls at once for some hours, at most one in twenty fails, and in no more time than
    // the others take.
    const load = fc.record({
      atOnce: fc.integer({ min: 1, max: 64 }),
      timeoutMs: fc.integer({ min: 1_000, max: 10_000 }),
      oneIn: fc.integer({ min: 20, max: 200 }),
      seed: fc.integer({ min: 1, max: 2 ** 31 - 2 }),
    });
    fc.assert(
      fc.property(load, ({ atOnce, timeoutMs, oneIn, seed }) => {
        nowMs = 0;
        const budget = createBudget(600_000);
        const spender = createSpender({ timeoutMs });
        let state = seed;
        const random = (): number => {
          state = (state * 48_271) % 2_147_483_647;
          return state / 2_147_483_647;
        };
        const running: { endMs: number; reservedMs: number; ms: number }[] = [];
        for (let call = 0; call < 5_000; call += 1) {
          while (running.length >= atOnce) {
            running.sort((a, b) => b.endMs - a.endMs);
            const ended = running.pop();
            if (ended === undefined) break;
            nowMs = Math.max(nowMs, ended.endMs);
            const fails = random() * oneIn < 1;
            budget.settle(spender, ended.reservedMs, fails ? ended.ms : 0, fails);
            if (!fails) budget.charge(spender, ended.ms);
          }
          const reservedMs = budget.tryReserve(spender);
          assert.ok(reservedMs !== undefined, `call ${call} was not let in`);
          const ms = random() * timeoutMs;
          running.push({ endMs: nowMs + ms, reservedMs, ms });
        }
      }),
      { numRuns: 30 },
    );
  });
});
