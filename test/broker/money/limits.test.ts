import assert from 'node:assert/strict';
import fc from 'fast-check';
import { createLimits } from '../../../broker/money/limits.ts';

const NONE = { payerRatePerSec: 0, payerConcurrency: 1_000, functionConcurrency: 1_000 };

describe('limits on calls', () => {
  it('bound the concurrent calls of a payer and of a function, and give places back', () => {
    const limits = createLimits({
      ...NONE,
      payerConcurrency: 2,
      functionConcurrency: 3,
      nowMs: () => 0,
    });

    const leave = limits.enter('p', 1n);
    limits.enter('p', 1n);
    assert.throws(() => limits.enter('p', 2n), { code: 'RATE_LIMITED', status: 429 });
    limits.enter('q', 1n);
    assert.throws(() => limits.enter('r', 1n), { code: 'RATE_LIMITED' });
    leave();

    limits.enter('p', 1n);
  });

  it('never let a payer exceed its rate over any run of calls', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 400 }), { maxLength: 200 }), (pausesMs) => {
        let nowMs = 0;
        const limits = createLimits({ ...NONE, payerRatePerSec: 10, nowMs: () => nowMs });
        let taken = 0;
        for (const pauseMs of pausesMs) {
          nowMs += pauseMs;
          try {
            limits.enter('p', 1n)();
            taken += 1;
          } catch {
            // Refused: that is the point.
          }
        }
        assert.ok(taken <= 20 + (nowMs / 1000) * 10, `${taken} in ${nowMs} ms`);
      }),
    );
  });

  it('say when to retry', () => {
    const limits = createLimits({ ...NONE, payerRatePerSec: 1, nowMs: () => 0 });
    limits.enter('p', 1n);
    limits.enter('p', 1n);

    assert.throws(() => limits.enter('p', 1n), { retryAfterSec: 1 });
  });
});
