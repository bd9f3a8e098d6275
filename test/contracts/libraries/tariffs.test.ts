import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  type PriceTerms,
  priceOf,
  type Shares,
  splitPrice,
} from '../../../contracts/libraries/tariffs.ts';
import { readVectors } from '../../vectors/read-vectors.ts';
import * as any from './arbitraries.ts';

type Priced = Parameters<typeof priceOf>[0];
interface Vectors {
  prices: { execution: Priced; terms: PriceTerms; price: bigint }[];
  splits: { price: bigint; feeBps: number; publisherBps: number; shares: Shares }[];
}

const bps = fc.integer({ min: 0, max: 10_000 });
const uint32 = fc.integer({ min: 0, max: 0xffff_ffff });

describe('the price by a tariff', () => {
  it('equals the prices and shares of the vectors', () => {
    const vectors = readVectors<Vectors>('tariffs.json');

    for (const { execution, terms, price } of vectors.prices) {
      assert.equal(priceOf(execution, terms), price);
    }
    for (const { price, feeBps, publisherBps, shares } of vectors.splits) {
      assert.deepEqual(splitPrice(price, feeBps, publisherBps), shares);
    }
  });

  it('never exceeds the maximum, is 0 for a failure, and does not fall with more time', () => {
    const terms = fc.record({
      tariff: fc.record({
        perCall: any.uint(64),
        perGiBSecond: any.uint(64),
        maxPrice: any.uint(64),
        minBilledMs: uint32,
        roundMs: fc.integer({ min: 1, max: 60_000 }),
        publisherBps: bps,
      }),
      memoryMiB: uint32,
      timeoutMs: uint32,
    });
    fc.assert(
      fc.property(terms, uint32, uint32, uint32, (priceTerms, billedMs, moreMs, memoryMiB) => {
        const price = priceOf({ billedMs, memoryMiB, status: 200 }, priceTerms);
        const later = priceOf({ billedMs: billedMs + moreMs, memoryMiB, status: 200 }, priceTerms);

        assert.ok(price <= priceTerms.tariff.maxPrice);
        assert.ok(price <= later);
        assert.equal(priceOf({ billedMs, memoryMiB, status: 0 }, priceTerms), 0n);
      }),
    );
  });

  it('is split into shares that add up to it, with the fee never above its rate', () => {
    fc.assert(
      fc.property(any.uint(64), bps, bps, (price, feeBps, publisherBps) => {
        const shares = splitPrice(price, feeBps, publisherBps);

        assert.equal(shares.gateway + shares.publisher + shares.provider, price);
        assert.ok(shares.provider >= 0n);
        assert.ok(
          (shares.publisher + shares.provider) * 10_000n >= price * BigInt(10_000 - feeBps),
        );
      }),
    );
  });
});
