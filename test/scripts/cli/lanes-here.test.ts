// Lanes whose keys are lost: another one pays, a deposit opens a new one, and only where none is
// left there is an error.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Address } from '../../../contracts/libraries/keccak.ts';
import { deposit } from '../../../scripts/cli/deposit.ts';
import { invoke } from '../../../scripts/cli/invoke.ts';
import { sponsor } from '../../../scripts/cli/sponsor.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../../broker/small-house.ts';
import { type CommandLine, createCommandLine, documentOf } from './beside.ts';

const HELLO = `export default async () => new Response('hello');`;

describe('a lane whose key is lost', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  let cli: CommandLine;
  let hello: string;
  let free: string;
  before(async () => {
    house = await startSmallHouse();
    hello = await house.publish('hello', HELLO);
    free = await house.publish('free', HELLO, { payer: 'publisher' });
  });
  after(() => house.close());
  beforeEach(() => {
    cli = createCommandLine(house);
  });
  afterEach(() => cli.remove());

  const call = (name = hello) => documentOf(invoke(cli.flags(), name, { header: [] }));
  const open = async (account: 'user' | 'publisher' = 'user') => {
    const { lane } = await documentOf(deposit(cli.flags(account), '1', { to: 'lane' }));
    await house.gateway().chain.synced();
    return lane.signer;
  };
  const calls = (signer: Address) => house.gateway().lanes.lane(KEYS.user.address, signer).seq;
  const lose = (signer?: string) => {
    const keys = join(cli.home, 'keys');
    const lost = signer ? [`lane-${signer}.json`] : readdirSync(keys).filter(isOfLane);
    for (const file of lost) rmSync(join(keys, file));
  };
  const isOfLane = (file: string) => file.startsWith('lane-');

  it('is skipped: a deposit opens another lane, which pays', async () => {
    const first = await open();
    lose(first);

    const second = await open();

    assert.notEqual(second, first);
    assert.equal((await call()).status, 200);
    assert.equal(calls(second), 1);
  });

  it('leaves the older lane to pay', async () => {
    const first = await open();
    const hidden = join(cli.home, 'keys', `lane-${first}.json`);
    const key = readFileSync(hidden);
    lose(first);
    const second = await open();
    writeFileSync(hidden, key, { mode: 0o600 });
    lose(second);

    assert.equal((await call()).status, 200);
    assert.equal(calls(first), 1);
    assert.equal(await open(), first);
  });

  it('is named when no other is left, and a function whose publisher pays is called all the same', async () => {
    await open();
    lose();
    await open('publisher');
    await sponsor(cli.flags('publisher'), free, { deposit: '1', daily: '1' });
    lose();

    await assert.rejects(call(), { code: 'KEY_MISSING', message: /run defaas deposit$/ });
    assert.equal((await call(free)).status, 200);
  });
});
