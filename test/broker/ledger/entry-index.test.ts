// The index of receipts in the journal: every entered receipt is found, whatever the batches.
import assert from 'node:assert/strict';
import { DatabaseSync } from 'node:sqlite';
import fc from 'fast-check';
import { createEntryIndex, shortId } from '../../../broker/ledger/entry-index.ts';
import type { Hex } from '../../../contracts/libraries/keccak.ts';

/** An id that begins with these 48 bits. */
const idOf = (short: number): Hex => `0x${short.toString(16).padStart(12, '0')}${'5e'.repeat(26)}`;

describe('the index of receipts', () => {
  it('finds every receipt that was entered, and all receipts that share 48 bits of their id', () => {
    const short = fc.oneof(fc.nat(2 ** 31 - 1), fc.nat(40), fc.constant(2 ** 48 - 1));
    const batches = fc.array(fc.array(short, { maxLength: 300 }), { maxLength: 12 });
    fc.assert(
      fc.property(batches, fc.nat(40), (shorts, other) => {
        const index = createEntryIndex(new DatabaseSync(':memory:'));
        const expected = new Map<number, number[]>([[other, []]]);
        let at = 2 ** 47;
        for (const batch of shorts) {
          const places = batch.map((id) => ({ id, at: at++ }));
          index.enter(places);
          for (const place of places) {
            expected.set(place.id, [...(expected.get(place.id) ?? []), place.at]);
          }
        }

        for (const [id, places] of expected) {
          assert.deepEqual([...index.placesOf(idOf(id))].sort(), places.sort());
        }
      }),
      { numRuns: 60 },
    );
  });

  it('keeps few segments, whatever the sizes of the batches', () => {
    const db = new DatabaseSync(':memory:');
    const index = createEntryIndex(db);
    const ids = Array.from({ length: 601_000 }, (_, n) => (n * 7_919_777_777) % 2 ** 48);
    let entered = 0;
    const enter = (count: number): void => {
      const batch = ids.slice(entered, entered + count);
      index.enter(batch.map((id, n) => ({ id, at: entered + n })));
      entered += count;
    };

    for (let count = 400; count > 0; count -= 1) enter(count);
    while (entered < ids.length) enter(10_000);

    const [row] = db
      .prepare('SELECT count(*) AS segments, sum(count) AS sum FROM entry_segments')
      .all();
    assert.equal(row?.sum, ids.length);
    assert.ok(Number(row?.segments) <= 8, `${row?.segments} segments`);
    for (const n of [0, 999, 100_000, ids.length - 1]) {
      assert.deepEqual(index.placesOf(idOf(ids[n] ?? 0)), [n]);
    }
    assert.deepEqual(index.placesOf(idOf(5)), []);
  });

  it('stores the first 12 digits of an id', () => {
    assert.equal(shortId(idOf(0xabcdef012345)), 0xabcdef012345);
  });
});
