// A zip has the same bytes on every machine, and `unzip` returns its files.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { zip } from '../../../adapters/deployment/zip.ts';
import { readZip } from '../../../adapters/runtime/unzip.ts';

const NO_LIMIT = 2 ** 31;
const utf8 = (text: string) => Buffer.from(text);

describe('zip', () => {
  it('writes the same bytes for any order of the files', () => {
    const files: [string, Uint8Array][] = [
      ['b.mjs', utf8('b')],
      ['a/ü.txt', utf8('ü')],
      ['a.mjs', utf8('a'.repeat(1000))],
    ];

    const one = zip(new Map(files));
    const other = zip(new Map(files.toReversed()));

    assert.deepEqual(one, other);
  });

  it('writes the same bytes in another time zone', () => {
    const code = `
      import { zip } from ${JSON.stringify(new URL('../../../adapters/deployment/zip.ts', import.meta.url).href)};
      import { createHash } from 'node:crypto';
      const bytes = zip(new Map([['handler.mjs', Buffer.from('export default 1')]]));
      process.stdout.write(createHash('sha256').update(bytes).digest('hex'));`;
    const hashIn = (zone: string) =>
      execFileSync(process.execPath, ['--input-type=module', '-e', code], {
        env: { TZ: zone },
        encoding: 'utf8',
      });

    const here = createHash('sha256')
      .update(zip(new Map([['handler.mjs', utf8('export default 1')]])))
      .digest('hex');

    assert.equal(hashIn('Pacific/Kiritimati'), here);
    assert.equal(hashIn('America/Los_Angeles'), here);
  });

  it('writes archives that unzip reads back unchanged', () => {
    const path = fc
      .array(fc.stringMatching(/^[a-zA-Z0-9_\-ü]{1,12}$/), { minLength: 1, maxLength: 3 })
      .filter((parts) => !parts.includes('__proto__'))
      .map((parts) => parts.join('/'));
    const file = fc.tuple(path, fc.uint8Array({ maxLength: 500 }));
    const law = fc.property(fc.array(file, { maxLength: 8 }), (entries) => {
      const files = new Map(entries);

      const read = readZip(zip(files), NO_LIMIT);

      assert.equal(read.size, files.size);
      for (const [name, bytes] of files) {
        assert.deepEqual(Buffer.from(read.get(name) ?? []), Buffer.from(bytes));
      }
    });
    fc.assert(law, { numRuns: 100 });
  });

  for (const path of ['/abs', '../up', 'a/../b', 'a//b', '', 'a\\b', './a', 'a/__proto__']) {
    it(`refuses the path ${JSON.stringify(path)}`, () => {
      assert.throws(() => zip(new Map([[path, utf8('x')]])), TypeError);
    });
  }
});
