import assert from 'node:assert/strict';
import { setImmediate as endOfTurn } from 'node:timers/promises';
import { atEndOfTurn } from '../../../adapters/http/end-of-turn.ts';

describe('atEndOfTurn', () => {
  it('handles what a turn brings at its end, in order and each once', async () => {
    const handled: number[] = [];
    const add = atEndOfTurn((item: number) => handled.push(item));

    for (const item of [1, 2, 3]) add(item);
    const before = [...handled];
    await endOfTurn();
    const after = [...handled];
    await endOfTurn();

    assert.deepEqual([before, after, handled], [[], [1, 2, 3], [1, 2, 3]]);
  });

  it('handles what comes while it handles in the next turn', async () => {
    const handled: number[] = [];
    const add = atEndOfTurn((item: number) => {
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
