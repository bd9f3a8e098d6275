import assert from 'node:assert/strict';
import { memoize } from '../../../adapters/http/memoize.ts';

describe('memoize', () => {
  it('computes each cached text once, also when the result is undefined, and drops the oldest text', () => {
    const made: string[] = [];
    const read = memoize(2, (text) => {
      made.push(text);
      return text === 'none' ? undefined : text.length;
    });

    const values = ['a', 'none', 'a', 'none', 'bb', 'none', 'a'].map(read);

    assert.deepEqual(values, [1, undefined, 1, undefined, 2, undefined, 1]);
    assert.deepEqual(made, ['a', 'none', 'bb', 'a']);
  });

  it('does not cache an exception', () => {
    let calls = 0;
    const read = memoize(2, () => {
      calls += 1;
      throw new Error('no');
    });

    for (let n = 0; n < 2; n += 1) assert.throws(() => read('a'), /no/);

    assert.equal(calls, 2);
  });

  it('distinguishes texts that differ in one code unit, including lone surrogates', () => {
    const read = memoize(9, (text) => text);

    for (const text of ['\u00e9', 'e\u0301', '\ud800', '\u0416', ''])
      assert.equal(read(text), text);
    for (const text of ['\ud800', '\u0416']) assert.equal(read(text), text);
  });
});
