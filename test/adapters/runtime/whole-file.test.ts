// Small state files are replaced as a whole, and a missing one is no error.
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readIfThere, writeWhole, writeWholeSync } from '../../../adapters/runtime/whole-file.ts';

describe('state files', () => {
  let dir = '';
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'whole-file-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  for (const [name, write] of [
    ['at once', async (path: string, text: string) => writeWholeSync(path, text)],
    ['asynchronously', writeWhole],
  ] as const) {
    it(`are replaced by another file when they are written ${name}, and nothing is left beside them`, async () => {
      const path = join(dir, 'state.json');
      writeFileSync(path, 'a longer text of before');
      const { ino } = statSync(path);

      await write(path, 'new');

      assert.equal(readFileSync(path, 'utf8'), 'new');
      assert.notEqual(statSync(path).ino, ino);
      assert.equal(statSync(path).mode & 0o777, 0o600);
      assert.deepEqual(readdirSync(dir), ['state.json']);
    });
  }

  it('are made together with their folder, and read as undefined before', () => {
    const path = join(dir, 'sets', 'state.json');

    assert.equal(readIfThere(path), undefined);
    writeWholeSync(path, 'first');

    assert.equal(readIfThere(path), 'first');
  });

  it('that cannot be read are an error', () => {
    assert.throws(() => readIfThere(dir), { code: 'EISDIR' });
  });
});
