// Keys of this machine: made, imported, exported, listed, chosen and funded.
import assert from 'node:assert/strict';
import { chmodSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { defaultAccount } from '../../../scripts/cli/account.ts';
import { account, whoami } from '../../../scripts/cli/accounts.ts';
import { balance } from '../../../scripts/cli/balance.ts';
import { deposit } from '../../../scripts/cli/deposit.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../../broker/small-house.ts';
import { testKey } from '../../contracts/hardhat-chain.ts';
import { type CommandLine, createCommandLine, documentOf } from './beside.ts';

describe('defaas account', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  let line: CommandLine;
  before(async () => {
    house = await startSmallHouse();
    line = createCommandLine(house);
  });
  after(async () => {
    line.remove();
    await house.close();
  });

  const flags = (yes = false) => ({ ...line.flags(), yes });
  const run = (action: string, name?: string, keyFile?: string) =>
    documentOf(account(flags(), action, name, keyFile === undefined ? {} : { keyFile }));
  const keyFileWith = (text: string): string => {
    const path = join(line.home, 'given');
    writeFileSync(path, text);
    return path;
  };

  it('makes a key that its owner alone can read, and never over another', async () => {
    const made = await run('new', 'alice');

    assert.match(made.address, /^0x[0-9a-f]{40}$/);
    assert.equal(statSync(made.file).mode & 0o777, 0o600);
    assert.equal(made.privateKey, undefined);
    await assert.rejects(run('new', 'alice'), { code: 'ACCOUNT_EXISTS' });
    assert.equal(JSON.parse(readFileSync(made.file, 'utf8')).address, made.address);
  });

  it('tells whose key commands use, and where it is', async () => {
    const named = await documentOf(whoami(flags()));

    assert.deepEqual(named, {
      account: 'user',
      address: KEYS.user.address,
      keyFile: join(line.home, 'keys/user.json'),
    });
    await assert.rejects(whoami({ ...flags(), account: 'nobody' }), { code: 'KEY_MISSING' });
  });

  it('refuses a key that others can read', async () => {
    const { file } = await run('new', 'open');
    chmodSync(file, 0o640);

    await assert.rejects(whoami({ ...flags(), account: 'open' }), {
      code: 'KEY_EXPOSED',
      message: `others can read a key, on ${file}, run chmod 600 on it`,
    });
    await assert.rejects(run('use', 'open'), { code: 'KEY_EXPOSED' });
    rmSync(file);
  });

  it('imports a key, as hex or as a file of its own, and exports it only when told to', async () => {
    const { privateKey, address } = testKey(12);

    const imported = await run(
      'import',
      'bob',
      keyFileWith(`${privateKey.slice(2).toUpperCase()}\n`),
    );
    const exported = await documentOf(account(flags(true), 'export', 'bob'));
    const again = await run('import', 'bob-again', keyFileWith(JSON.stringify(exported)));

    assert.deepEqual([imported.address, exported.privateKey], [address, privateKey]);
    assert.equal(again.address, address);
    await assert.rejects(Promise.resolve(account(flags(), 'export', 'bob')), {
      code: 'NOT_CONFIRMED',
    });
  });

  it('refuses what is no key, without repeating it', async () => {
    for (const text of ['', 'abc', '0'.repeat(64), 'f'.repeat(64), '{"privateKey":"0x12"}']) {
      await assert.rejects(run('import', 'nobody', keyFileWith(text)), (error: Error) => {
        assert.match(error.message, /no private key/);
        return text === '' || !error.message.includes(text);
      });
    }
    for (const name of ['../x', 'lane-1', 'A', '']) {
      await assert.rejects(run('new', name), { code: 'USAGE' });
    }
    await assert.rejects(run('use', 'nobody'), { code: 'KEY_MISSING' });
    await assert.rejects(run('list', 'nobody'), { code: 'USAGE' });
    await assert.rejects(run('new'), { code: 'USAGE' });
    await assert.rejects(run('drop', 'alice'), { code: 'USAGE' });
  });

  it('chooses the account that commands use', async () => {
    await run('new', 'carol');
    const before = defaultAccount(line.home);
    await run('use', 'carol');
    const chosen = defaultAccount(line.home);
    await run('use', 'user');

    assert.deepEqual([before, chosen, defaultAccount(line.home)], ['user', 'carol', 'user']);
    const listed = await run('list');
    const user = listed.find(({ name }: { name: string }) => name === 'user');
    assert.deepEqual(user, { name: 'user', address: KEYS.user.address, used: true });
    assert.ok(listed.some(({ name }: { name: string }) => name === 'carol'));
  });

  it('funds an account on the local chain, so that it can deposit at once', async () => {
    await run('new', 'dave');

    const funded = await run('fund', 'dave');
    const as = { ...flags(), account: 'dave' };
    await documentOf(deposit(as, '5', { to: 'lane' }));
    const { lines } = await documentOf(balance(as));

    assert.equal(funded.tokenUnits, '1000000000');
    assert.equal(lines[0].allottedUnits, '5000000');
  });
});
