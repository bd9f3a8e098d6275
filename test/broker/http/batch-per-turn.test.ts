import assert from 'node:assert/strict';
import { setImmediate as endOfTurn } from 'node:timers/promises';
import { batchPerTurn } from '../../../broker/http/batch-per-turn.ts';

describe('batchPerTurn', () => {
  it('handles the items of one turn at its end, in order and each once', async () => {
    const handled: number[] = [];
    const add = batchPerTurn((item: number) => handled.push(item));

    for (const item of [1, 2, 3]) add(item);
    const before = [...handled];
    await endOfTurn();
    const after = [...handled];
    await endOfTurn();

    assert.deepEqual([before, after, handled], [[], [1, 2, 3], [1, 2, 3]]);
  });

  it('handles in the next turn an item that is added while it handles one', async () => {
    const handled: number[] = [];
    const add = batchPerTurn((item: number) => {
      handled.push(item);
      if (item < 3) add(item + 1);
    });

    add(1);
    await endOfTurn();
    const first = [...handled];
    while (handled.length < 3) await endOfTurn();

    assert.deepEqual([first, handled], [[1], [1, 2, 3]]);
  });
});
