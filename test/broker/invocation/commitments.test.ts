// Random bytes drawn in pieces: fresh every time, and never overwritten.
import assert from 'node:assert/strict';
import { drawBytes } from '../../../broker/invocation/commitments.ts';

describe('random bytes', () => {
  it('are never given out twice, and never overwritten', () => {
    const drawn = Array.from({ length: 500 }, (_, index) => drawBytes(index % 2 === 0 ? 32 : 8));
    const before = drawn.map((bytes) => Buffer.from(bytes).toString('hex'));

    for (let i = 0; i < 500; i += 1) drawBytes(32);

    assert.deepEqual(
      drawn.map((bytes) => Buffer.from(bytes).toString('hex')),
      before,
    );
    assert.equal(new Set(before).size, 500);
  });
});
