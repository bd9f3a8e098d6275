// Texts of which something is made once.
import assert from 'node:assert/strict';
import { remembered } from '../../../adapters/http/remembered.ts';

describe('remembered', () => {
  it('makes of each text once what it makes, undefined too, and forgets the oldest', () => {
    const made: string[] = [];
    const read = remembered(2, (text) => {
      made.push(text);
      return text === 'none' ? undefined : text.length;
    });

    const values = ['a', 'none', 'a', 'none', 'bb', 'none', 'a'].map(read);

    assert.deepEqual(values, [1, undefined, 1, undefined, 2, undefined, 1]);
    assert.deepEqual(made, ['a', 'none', 'bb', 'a']);
  });

  it('keeps nothing of a text of which nothing can be made', () => {
    let calls = 0;
    const read = remembered(2, () => {
      calls += 1;
      throw new Error('no');
    });

    for (let n = 0; n < 2; n += 1) assert.throws(() => read('a'), /no/);

    assert.equal(calls, 2);
  });

  it('takes every text for itself', () => {
    const read = remembered(9, (text) => text);

    for (const text of ['\u00e9', 'e\u0301', '\ud800', '\u0416', ''])
      assert.equal(read(text), text);
    for (const text of ['\ud800', '\u0416']) assert.equal(read(text), text);
  });
});
