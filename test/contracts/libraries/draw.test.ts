import assert from 'node:assert/strict';
import fc from 'fast-check';
import { type DrawnCall, drawOrder, drawSeed } from '../../../contracts/libraries/draw.ts';
import type { Address, Hex } from '../../../contracts/libraries/keccak.ts';
import { readVectors } from '../../vectors/read-vectors.ts';
import { address, bytes32, bytesOf } from './arbitraries.ts';

interface Vectors {
  draws: (DrawnCall & { value: Hex; seed: Hex; ids: number[]; order: number[] })[];
}

describe('the draw', () => {
  it('gives the seeds and orders of the vectors', () => {
    for (const { value, seed, ids, order, ...call } of readVectors<Vectors>('draw.json').draws) {
      assert.equal(drawSeed(value, call), seed);
      assert.deepEqual(drawOrder(seed, ids), order);
    }
  });

  it('orders all ids, and its first places do not depend on how many are drawn', () => {
    const sets = fc.uniqueArray(fc.maxSafeNat(), { minLength: 1, maxLength: 32 });
    fc.assert(
      fc.property(bytes32, sets, fc.nat(32), (seed, ids, places) => {
        const order = drawOrder(seed, ids);

        assert.deepEqual([...order].sort(), [...ids].sort());
        assert.deepEqual(drawOrder(seed, ids, places), order.slice(0, places));
      }),
    );
  });

  it('is fair: each of five ids comes first about equally often', () => {
    const counts = new Map<number, number>();
    fc.assert(
      fc.property(bytesOf(24), address, bytes32, (value, payer, nonce) => {
        const seed = drawSeed(value, { payer, signer: payer, nonce });
        const [first = -1] = drawOrder(seed, [1, 2, 3, 4, 5], 1);
        counts.set(first, (counts.get(first) ?? 0) + 1);
      }),
      { numRuns: 5000, seed: 1 },
    );

    // Chi-square with four degrees of freedom: above 18.5 once in a thousand; the seed of the run
    // is fixed.
    const chiSquare = [...counts.values()].reduce((sum, n) => sum + (n - 1000) ** 2 / 1000, 0);
    assert.equal(counts.size, 5);
    assert.ok(chiSquare < 18.5, `chi-square ${chiSquare}`);
  });

  it('refuses an epoch value that is not 24 bytes', () => {
    const account: Address = `0x${'00'.repeat(20)}`;
    const call: DrawnCall = { payer: account, signer: account, nonce: `0x${'00'.repeat(32)}` };

    assert.throws(() => drawSeed('0x1234', call), TypeError);
  });
});
