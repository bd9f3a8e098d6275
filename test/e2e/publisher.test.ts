// A publisher's day, typed at the command line: two functions, three releases while callers call,
// one function restricted, and the money that both have earned in the wallet.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { createHouse, type TestHouse } from './house.ts';

/** Pause between two calls of the load, ms. */
const CALL_EVERY_MS = 20;

describe('a publisher’s day at the command line', function () {
  this.timeout(600_000);
  let house: TestHouse;
  let owner: string;
  before(async () => {
    house = createHouse();
    await house.start();
  });
  after(() => house?.remove());

  const as = (...words: string[]) => house.json(...words, '--account', 'publisher');
  const edit = (name: string, change: (manifest: Record<string, unknown>) => object): void => {
    const file = join(house.folder, name, 'defaas.json');
    writeFileSync(file, JSON.stringify(change(JSON.parse(readFileSync(file, 'utf8')))));
  };
  const answer = (name: string, text: string): void =>
    writeFileSync(
      join(house.folder, name, 'handler.ts'),
      `export default () => new Response('${text}');`,
    );
  const urlOf = (name: string) => `${house.up().gateway}/functions/${owner}/${name}`;

  it('goes from an empty folder to an own function on three clouds in three commands', async () => {
    await house.json('init', 'open');
    answer('open', 'one');
    const released = await as('deploy', 'open', '--to', 'aws,google,azure');
    owner = released.owner;
    // The template says that the publisher pays: the third command.
    await as('sponsor', 'open', '--daily', '1', '--deposit', '5');

    const reply = await fetch(released.url);

    assert.deepEqual([released.state, released.latest, released.providers.length], ['live', 1, 3]);
    assert.deepEqual([reply.status, await reply.text()], [200, 'one']);
  });

  it('releases three times while callers call, and no call fails', async () => {
    const statuses = new Map<number, number>();
    const texts = new Set<string>();
    let isOver = false;
    const load = (async () => {
      while (!isOver) {
        const reply = await fetch(urlOf('open'));
        statuses.set(reply.status, (statuses.get(reply.status) ?? 0) + 1);
        texts.add(await reply.text());
        await setTimeout(CALL_EVERY_MS);
      }
    })();

    for (const text of ['two', 'three', 'four']) {
      answer('open', text);
      const { state } = await as('deploy', 'open');
      assert.equal(state, 'live');
    }
    await as('rollback', 'open');
    await setTimeout(10 * CALL_EVERY_MS);
    isOver = true;
    await load;

    assert.deepEqual([...statuses.keys()], [200]);
    assert.ok(texts.has('three') && texts.has('four'), [...texts].join());
  });

  it('restricts a function in all its versions, and lets one account in', async () => {
    await house.json('init', 'paid');
    edit('paid', (manifest) => ({ ...manifest, payer: 'caller' }));
    await as('deploy', 'paid', '--to', 'aws');
    edit('paid', (manifest) => ({ ...manifest, access: 'granted' }));
    const restricted = await as('deploy', 'paid', '--yes');
    await house.json('deposit', '5');
    const refused = await house.defaas('invoke', `${owner}/paid`);
    const old = await house.defaas('invoke', `${owner}/paid@1`);
    const { address } = (await house.json('account', 'list')).find(
      ({ name }: { name: string }) => name === 'user',
    );
    await as('grant', 'paid', address);
    const called = await house.json('invoke', `${owner}/paid`);

    assert.deepEqual([restricted.latest, restricted.open], [2, []]);
    assert.match(refused.stderr, /^NOT_GRANTED: /);
    assert.match(old.stderr, /^FUNCTION_DEPRECATED: /);
    assert.equal(called.status, 200);
    const [one] = await as('grants', 'paid');
    assert.equal(one.subject, address);
  });

  it('sees what both functions have earned, and has it in the wallet', async () => {
    await house.json('settle');
    const before = await as('balance');
    const earned = await as('earnings', '--by', 'function');
    await as('payouts', '--send');
    const after = await as('balance');

    assert.deepEqual(
      earned.rows.map(({ names }: { names: string[] }) => names[0]),
      ['open', 'paid'],
    );
    assert.ok(BigInt(earned.totalUnits) > 0n);
    assert.equal(before.claimableUnits, earned.creditedUnits);
    assert.equal(
      BigInt(after.tokenUnits) - BigInt(before.tokenUnits),
      BigInt(before.claimableUnits),
    );
    assert.equal(after.claimableUnits, '0');
  });
});
