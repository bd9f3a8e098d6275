// Secrets at rest: sealed under a key of their own, each in its own place.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { Secret } from '../../../broker/config.ts';
import { createSecrets, type Secrets } from '../../../broker/deployments/secrets.ts';
import type { Ledger } from '../../../broker/ledger/ledger.ts';
import { openSqliteLedger } from '../../../broker/ledger/sqlite.ts';

describe('sealed secrets', () => {
  let dir: string;
  let ledger: Ledger;
  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'defaas-secrets-'));
    ledger = await openSqliteLedger(join(dir, 'ledger.sqlite'));
  });
  afterEach(async () => {
    await ledger.close();
    rmSync(dir, { recursive: true });
  });
  const keyFile = (): string => join(dir, 'key');
  const open = (): Secrets => createSecrets({ ledger, keyFile: keyFile(), nowMs: () => 5 });
  const reveal = async (secrets: Secrets, functionId: string): Promise<string | undefined> =>
    (await secrets.open(functionId, ['A'])).get('A')?.value.reveal();

  it('are read back unchanged, also in another process', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'grapheme', minLength: 1 }), async (text) => {
        await open().set('1', 'A', new Secret(text));

        assert.equal(await reveal(open(), '1'), text);
      }),
      { numRuns: 20 },
    );
  });

  it('use a key that is made once and readable by its owner only', async () => {
    await open().set('1', 'A', new Secret('x'));
    await open().set('2', 'A', new Secret('y'));

    assert.equal(statSync(keyFile()).mode & 0o777, 0o600);
    assert.equal(await reveal(open(), '1'), 'x');
  });

  it('open neither in another place nor with another key, and can then be set again', async () => {
    await open().set('1', 'A', new Secret('x'));
    const [stored] = await ledger.secrets('1');
    assert.ok(stored);
    await ledger.putSecret({ ...stored, functionId: '2' });

    await assert.rejects(open().open('2', ['A']), { code: 'SECRET_UNREADABLE' });
    writeFileSync(keyFile(), '00'.repeat(32));
    await assert.rejects(open().open('1', ['A']), { code: 'SECRET_UNREADABLE' });
    assert.deepEqual(await open().set('1', 'A', new Secret('x')), { revision: 2, isChanged: true });
    assert.equal(await reveal(open(), '1'), 'x');
  });

  it('show their names only, and give the values of those that are requested', async () => {
    const secrets = open();
    await secrets.set('1', 'A', new Secret('x'));
    await secrets.set('1', 'B', new Secret('y'));
    await secrets.unset('1', 'B');

    assert.deepEqual(await secrets.list('1'), [{ name: 'A', revision: 1, atMs: 5 }]);
    assert.deepEqual([...(await secrets.open('1', ['A', 'B'])).keys()], ['A']);
    assert.equal(
      JSON.stringify([...(await secrets.open('1', ['A'])).values()]).includes('x"'),
      false,
    );
  });
});
