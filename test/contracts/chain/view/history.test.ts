import assert from 'node:assert/strict';
import fc from 'fast-check';
import { createHistory } from '../../../../contracts/chain/view/history.ts';

describe('the history of changes', () => {
  it('reverts any changes to the end of any block', () => {
    const change = fc.record({
      block: fc.integer({ min: 1, max: 3 }),
      key: fc.integer({ min: 0, max: 5 }),
      value: fc.nat(),
      isPush: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(change), fc.nat(20), (changes, to) => {
        const history = createHistory(1_000);
        const [map, list] = [new Map<number, number>(), [] as number[]];
        let block = 0;
        let expected: unknown = [[], []];
        const state = () => [[...map].sort(), [...list]];
        for (const { block: ahead, key, value, isPush } of changes) {
          // Some changes share a block.
          block += ahead - 1;
          history.begin(block);
          if (isPush) history.push(list, value);
          else history.set(map, key, value);
          if (block <= to) expected = state();
        }

        assert.ok(history.rewind(to));
        assert.deepEqual(state(), expected);
      }),
    );
  });

  it('reports a block that is too long ago, and changes nothing', () => {
    const history = createHistory(2);
    const map = new Map<string, number>();
    for (const block of [10, 20, 30]) {
      history.begin(block);
      history.set(map, 'newest', block);
    }

    assert.ok(!history.rewind(9));
    assert.equal(map.get('newest'), 30);
    assert.ok(history.rewind(10));
    assert.equal(map.get('newest'), 10);
  });

  it('continues after a rewind with the same block numbers', () => {
    const history = createHistory(10);
    const list: string[] = [];
    history.begin(1);
    history.push(list, 'a');
    history.begin(2);
    history.push(list, 'b');

    history.rewind(1);
    history.begin(2);
    history.push(list, 'c');
    assert.deepEqual(list, ['a', 'c']);
    history.rewind(1);
    assert.deepEqual(list, ['a']);
  });
});
