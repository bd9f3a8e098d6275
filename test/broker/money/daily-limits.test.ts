import assert from 'node:assert/strict';
import fc from 'fast-check';
import { createDailyLimits } from '../../../broker/money/daily-limits.ts';

const DAY_MS = 86_400_000;
const FUNCTION = `function:1:0x${'c3'.repeat(20)}` as const;
const LANE = `lane:0x${'a1'.repeat(20)}:0x${'b2'.repeat(20)}` as const;

function create(nowMs: () => number, spent = 0n) {
  return createDailyLimits({
    functionDefaultUnits: 100n,
    limits: [],
    spentToday: [{ scope: FUNCTION, units: spent }],
    nowMs,
  });
}

describe('daily limits', () => {
  it('begin with what was spent today according to the ledger', () => {
    const limits = create(() => 0, 99n);

    assert.equal(limits.hold(FUNCTION, 2n), undefined);
    assert.notEqual(limits.hold(FUNCTION, 1n), undefined);
  });

  it('keep no limit for a key without one, and use a function’s own instead of the default', () => {
    const limits = create(() => 0);

    assert.equal(limits.hold(LANE, 2n ** 80n)?.spend(5n), undefined);
    limits.setLimit(FUNCTION, 5n);
    assert.equal(limits.hold(FUNCTION, 6n), undefined);
    limits.setLimit(FUNCTION, undefined);
    assert.notEqual(limits.hold(FUNCTION, 100n), undefined);
  });

  it('begin again with the next UTC day, also for calls that were in flight at midnight', () => {
    let nowMs = DAY_MS - 1;
    const limits = create(() => nowMs);
    const hold = limits.hold(FUNCTION, 100n);
    nowMs = DAY_MS;

    assert.deepEqual(hold?.spend(40n), { scope: FUNCTION, day: '1970-01-01', units: 40n });
    assert.equal(limits.spentToday(FUNCTION), 0n);
  });

  it('are exceeded by no interleaving of calls that reserve, cost less than reserved, or fail', () => {
    const steps = fc.array(
      fc.record({ units: fc.bigInt(1n, 60n), cost: fc.bigInt(0n, 60n), ends: fc.boolean() }),
    );
    fc.assert(
      fc.property(steps, (calls) => {
        const limits = create(() => 0);
        const open: { hold: NonNullable<ReturnType<typeof limits.hold>>; cost: bigint }[] = [];
        let spent = 0n;
        const end = (): void => {
          const call = open.shift();
          spent += call?.hold.spend(call.cost)?.units ?? 0n;
          call?.hold.release();
        };
        for (const { units, cost, ends } of calls) {
          const hold = limits.hold(FUNCTION, units);
          if (hold !== undefined) open.push({ hold, cost: cost < units ? cost : units });
          if (ends) end();
          assert.ok(spent <= limits.spentToday(FUNCTION) && limits.spentToday(FUNCTION) <= 100n);
        }
        while (open.length > 0) end();
        assert.equal(limits.spentToday(FUNCTION), spent);
      }),
    );
  });
});
