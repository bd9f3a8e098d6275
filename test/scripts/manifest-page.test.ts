// docs/manifest.md, the reference of `defaas.json`.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { manifestPage } from '../../scripts/generate-manifest-page.ts';

describe('the reference of defaas.json', () => {
  it('is as its schema makes it, and says of every member what it is', () => {
    const page = readFileSync('docs/manifest.md', 'utf8');
    const rows = page.split('\n').filter((line) => line.startsWith('| `'));

    assert.equal(page, manifestPage());
    assert.ok(rows.length > 30);
    assert.deepEqual(
      rows.filter((row) => !/\| [^|]+\. \|$/.test(row)),
      [],
    );
  });
});
