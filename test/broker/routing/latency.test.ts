import assert from 'node:assert/strict';
import fc from 'fast-check';
import { createLatency } from '../../../broker/routing/latency.ts';

describe('the usual latency', () => {
  it('is unknown for fewer than 32 calls', () => {
    const latency = createLatency();
    for (let call = 1; call < 32; call += 1) latency.add(1);
    assert.equal(latency.p95Ms(), undefined);

    latency.add(1);

    assert.equal(latency.p95Ms(), 1);
  });

  it('is the value that 95 of 100 recent calls do not exceed', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(10_000), { minLength: 128, maxLength: 400 }), (samples) => {
        const latency = createLatency();
        for (const ms of samples) latency.add(ms);

        const p95 = latency.p95Ms() ?? assert.fail('no p95');

        const recent = samples.slice(-128);
        assert.ok(recent.filter((ms) => ms <= p95).length >= 0.95 * recent.length);
        assert.ok(recent.filter((ms) => ms < p95).length < 0.95 * recent.length);
      }),
    );
  });

  it('forgets a slow time after enough faster calls', () => {
    const latency = createLatency();
    for (let call = 0; call < 128; call += 1) latency.add(1_000);
    for (let call = 0; call < 128; call += 1) latency.add(1);

    assert.equal(latency.p95Ms(), 1);
    assert.ok(latency.meanMs() < 2);
  });
});
