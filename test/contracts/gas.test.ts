// Gas of every action against the bars and the committed snapshot, on the bytecode that gets
// deployed.
import assert from 'node:assert/strict';
import { type Measurement, measureGas } from '../../scripts/bench/gas/measure.ts';
import { changesOf, readSnapshot } from '../../scripts/bench/gas/snapshot.ts';
import { BARS, MISSES } from '../../scripts/bench/gas.ts';

/** EIP-170 allows 24 576 bytes; the rest is kept for what a fix may need. */
const MAX_CODE_BYTES = 24_000;

describe('the gas snapshot', () => {
  let measured: Measurement;

  before(async () => {
    measured = await measureGas();
  });

  it('keeps every contract below the size limit', () => {
    const tooLarge = Object.entries(measured.codeBytes).filter(
      ([, size]) => size >= MAX_CODE_BYTES,
    );

    assert.equal(Object.keys(measured.codeBytes).length, 5);
    assert.deepEqual(tooLarge, []);
  });

  it('stays within the bars, except where the reason is written down', () => {
    const missed = BARS.filter(({ figure, limit }) => {
      const used = measured.figures[figure];
      return used === undefined || used > limit;
    });

    assert.deepEqual(
      missed.map(({ figure }) => figure),
      MISSES,
    );
  });

  it('equals the measured gas; after an intended change run: npm run gas -- --update', () => {
    assert.deepEqual(changesOf(readSnapshot(), measured.figures), []);
  });
});
