// A bounded list of the largest of many items, for input that a stranger can make endless.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { createLargest, createLargestOfEach } from '../../../broker/client/largest.ts';

describe('the largest of many', () => {
  it('are kept in the order in which they came, the earlier of two that are alike, and all are counted', () => {
    fc.assert(
      fc.property(
        fc.array(fc.bigInt({ min: 0n, max: 5n })),
        fc.integer({ min: 1, max: 8 }),
        (amounts, most) => {
          const items = amounts.map((units, order) => ({ units, order }));
          const largest = createLargest<{ units: bigint; order: number }>(most);

          for (const item of items) largest.add(item);

          const ranked = items.toSorted((a, b) => Number(b.units - a.units) || a.order - b.order);
          const expected = ranked.slice(0, most).toSorted((a, b) => a.order - b.order);
          assert.deepEqual(largest.items(), expected);
          assert.equal(largest.count, items.length);
        },
      ),
    );
  });

  it('are kept of each kind as if there were no other', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ kind: fc.constantFrom('a', 'b'), units: fc.bigInt(0n, 5n) })),
        fc.integer({ min: 1, max: 8 }),
        (amounts, most) => {
          const items = amounts.map((one, order) => ({ ...one, order }));
          const ofEach = createLargestOfEach<(typeof items)[number]>(most, {
            kindOf: ({ kind }) => kind,
            unitsOf: ({ units }) => units,
          });
          for (const item of items) ofEach.add(item);

          const expected = ['a', 'b'].flatMap((kind) => {
            const alone = createLargest<(typeof items)[number]>(most);
            for (const item of items) if (item.kind === kind) alone.add(item);
            return alone.items();
          });
          assert.deepEqual(
            ofEach.items(),
            expected.toSorted((a, b) => a.order - b.order),
          );
          assert.equal(ofEach.count, items.length);
        },
      ),
    );
  });
});
