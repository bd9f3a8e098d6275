// What a call costs: worked examples, the meters' rounding, and the table itself.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  estimate,
  findMeter,
  METERS,
  type Meter,
  type MeteredUsage,
  PRICES_AS_OF_MS,
  unitsOf,
} from '../../adapters/prices.ts';
import type { ProviderName } from '../../adapters/provider.ts';
import { readVectors } from '../vectors/read-vectors.ts';

interface Vectors {
  readonly estimates: readonly {
    readonly title: string;
    readonly provider: ProviderName;
    readonly plan: string;
    readonly usage: MeteredUsage;
    readonly pico: bigint;
  }[];
}

const { estimates } = readVectors<Vectors>('prices.json');

function meter(provider: ProviderName, plan?: string): Meter {
  const found = findMeter(provider, plan);
  assert.ok(found, `${provider} ${plan}`);
  return found;
}

describe('a price estimate', () => {
  for (const { title, provider, plan, usage, pico } of estimates) {
    it(`equals the worked example: ${title}`, () => {
      assert.equal(estimate(meter(provider, plan), usage), pico);
    });
  }

  it('bills only steps that were started, whatever the fractions add up to', () => {
    const lambda = meter('aws-lambda');
    const whole = estimate(lambda, { durationMs: 3, memoryMiB: 1024 });

    assert.equal(estimate(lambda, { durationMs: 0.1 + 0.2 + 2.7, memoryMiB: 1024 }), whole);
    assert.ok(estimate(lambda, { durationMs: 3.001, memoryMiB: 1024 }) > whole);
  });

  it('bills observed memory in steps, or the whole instance, as the cloud does', () => {
    const y1 = meter('azure-functions', 'y1');
    const flex = meter('azure-functions', 'flex');
    const call = { durationMs: 1000, memoryMiB: 1024 };

    assert.equal(estimate(y1, { ...call, peakMemoryMiB: 129 }), 200_000n + 4_000_000n);
    assert.equal(estimate(y1, { ...call, peakMemoryMiB: 1 }), 200_000n + 2_000_000n);
    assert.equal(estimate(flex, { ...call, peakMemoryMiB: 1 }), 400_000n + 52_000_000n);
    assert.equal(estimate(flex, { ...call, memoryMiB: 512 }), 400_000n + 13_000_000n);
  });

  it('divides the cost of an instance among the calls that share it, but not the cost of requests', () => {
    const flex = meter('azure-functions', 'flex');
    const lambda = meter('aws-lambda');
    const call = { durationMs: 100, memoryMiB: 2048 };

    assert.equal(estimate(flex, { ...call, sharedBy: 8 }), 400_000n + 6_500_000n);
    assert.equal(estimate(lambda, { ...call, sharedBy: 8 }), estimate(lambda, call));
  });

  it('never falls when a call takes longer or is given more memory', () => {
    const usages = fc.record({
      durationMs: fc.double({ min: 0, max: 900_000, noNaN: true }),
      memoryMiB: fc.integer({ min: 128, max: 4096 }),
    });

    fc.assert(
      fc.property(fc.constantFrom(...METERS), usages, usages, (one, a, b) => {
        const low = {
          durationMs: Math.min(a.durationMs, b.durationMs),
          memoryMiB: Math.min(a.memoryMiB, b.memoryMiB),
        };
        const high = {
          durationMs: Math.max(a.durationMs, b.durationMs),
          memoryMiB: Math.max(a.memoryMiB, b.memoryMiB),
        };
        return estimate(one, low) <= estimate(one, high);
      }),
    );
  });
});

describe('prices.json', () => {
  it('has a dated source for every meter, and a meter for every cloud that sends bills', () => {
    for (const { asOf, source, currency, compute, provider } of METERS) {
      assert.match(asOf, /^\d{4}-\d\d-\d\d$/);
      assert.match(source, /^https:/);
      assert.equal(currency, 'USD');
      assert.ok(compute.every(({ unit }) => ['GiB-second', 'vCPU-second'].includes(unit)));
      assert.equal(findMeter(provider)?.provider, provider);
    }
    assert.ok(PRICES_AS_OF_MS > Date.parse('2026-01-01'));
    assert.equal(findMeter('local'), undefined);
  });

  it('counts one token as one dollar', () => {
    assert.equal(unitsOf(1_000_000n), 1n);
    assert.equal(unitsOf(1_000_001n), 2n);
    assert.equal(unitsOf(52_400_000n), 53n);
  });
});
