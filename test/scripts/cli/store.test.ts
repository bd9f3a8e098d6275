// The command line's store on disk, which holds bearer tokens.
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openStore, storeFiles } from '../../../scripts/cli/store.ts';

describe('the store of the command line', () => {
  let home: string;
  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'defaas-store-'));
  });
  afterEach(() => {
    rmSync(home, { recursive: true });
  });

  const modes = () => storeFiles(home).map((file) => statSync(file).mode & 0o777);

  it('is readable by its owner alone, in all its files', () => {
    const before = process.umask(0);

    const store = openStore(home, 'house');

    process.umask(before);
    assert.deepEqual(modes(), [0o600, 0o600, 0o600]);
    store.close();
  });

  it('removes the access of others to existing files', () => {
    const other = openStore(home, 'house');
    other.addLane({ payer: `0x${'11'.repeat(20)}`, signer: `0x${'22'.repeat(20)}` });
    for (const file of storeFiles(home)) chmodSync(file, 0o644);

    const store = openStore(home, 'house');

    assert.deepEqual(modes(), [0o600, 0o600, 0o600]);
    assert.equal(store.lanes(`0x${'11'.repeat(20)}`).length, 1);
    for (const one of [store, other]) one.close();
  });
});
