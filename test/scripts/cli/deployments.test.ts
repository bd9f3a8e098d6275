// deploy, diff, rollback, destroy, logs, secret, list and doctor beside a gateway, in one process.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { deploy } from '../../../scripts/cli/deploy.ts';
import { destroy } from '../../../scripts/cli/destroy.ts';
import { diff } from '../../../scripts/cli/diff.ts';
import { checkPrices, doctor } from '../../../scripts/cli/doctor.ts';
import { list } from '../../../scripts/cli/list.ts';
import { logs } from '../../../scripts/cli/logs.ts';
import { open } from '../../../scripts/cli/open.ts';
import { rollback } from '../../../scripts/cli/rollback.ts';
import { secret } from '../../../scripts/cli/secret.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../../broker/small-house.ts';
import { type CommandLine, createCommandLine, documentOf, notesOf } from './beside.ts';

const HELLO = (version: number): string =>
  `export default async () => new Response('${version} ' + (process.env.API_KEY ?? ''));`;
const DAY_MS = 86_400_000;

describe('the command line for deployments', function () {
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

  const flags = () => line.flags('publisher');
  const to = 'aws';

  it('shows the changes and the cost of a call, deploys, and then finds nothing to change', async () => {
    await house.register('shown', HELLO(1), {});

    const before = await documentOf(diff(flags(), 'shown', { to }));
    const deployed = await documentOf(deploy(flags(), 'shown', { to }));
    const after = await documentOf(diff(flags(), 'shown', { to }));
    const listed = await documentOf(list(flags()));

    assert.deepEqual([before.changes, before.clouds[0].action], [true, 'create']);
    assert.equal(deployed.state, 'live');
    assert.equal(deployed.plan[0].cost.costPico, '408334');
    assert.deepEqual([after.changes, after.clouds[0].action], [false, 'keep']);
    const [{ name, version, deployments }] = listed;
    assert.deepEqual([name, version], ['shown', 1]);
    assert.deepEqual(
      [deployments[0].provider, deployments[0].state, deployments[0].cost.priceUnits],
      ['aws-lambda', 'live', '21'],
    );
  });

  it('opens a function by its address', async () => {
    await house.register('opened', HELLO(1), {});
    const url = `${house.url()}/functions/${KEYS.publisher.address}/opened`;

    assert.equal((await documentOf(open(flags(), 'opened'))).url, url);
    await assert.rejects(open(flags(), 'closed'), { code: 'FUNCTION_UNKNOWN' });
  });

  it('deploys on all clouds of the gateway when neither the command nor the manifest names one', async () => {
    await house.register('anywhere', HELLO(1), {});

    const { providers } = await documentOf(deploy(flags(), 'anywhere', {}));

    assert.deepEqual(
      providers.map((one: { provider: string }) => one.provider),
      ['aws-lambda'],
    );
  });

  it('warns of a price below the cost and refuses, unless the loss is accepted', async () => {
    await house.register('cheap', HELLO(1), { tariff: { perCall: 0, perGiBSecond: 0 } });

    await assert.rejects(deploy(flags(), 'cheap', { to }), { code: 'TARIFF_BELOW_COST' });
    const plan = await documentOf(diff(flags(), 'cheap', { to }));
    const { text = '' } = await diff(flags(), 'cheap', { to });
    const { state } = await documentOf(deploy(flags(), 'cheap', { to, acceptLoss: true }));

    assert.equal(plan.clouds[0].cost.belowCost, true);
    assert.match(text, /cost a call, tokens +price, tokens/);
    assert.match(text, / 0\.0000\d+ +0 /);
    assert.equal(state, 'live');
  });

  it('rolls back to the previous version or a named one, and says where it runs', async () => {
    await house.publish('rolled', HELLO(1), { payer: 'publisher' });
    await house.register('rolled', HELLO(2), { payer: 'publisher' });

    const back = await documentOf(rollback(flags(), 'rolled', {}));
    const [row] = (await documentOf(list(flags()))).filter(
      ({ name }: { name: string }) => name === 'rolled',
    );
    const forward = await documentOf(rollback(flags(), 'rolled', { to: '2' }));

    assert.deepEqual([back.from, back.to], [2, 1]);
    assert.deepEqual(
      back.deployments.map((one: { provider: string }) => one.provider),
      ['aws-lambda'],
    );
    assert.equal(row.version, 1);
    assert.deepEqual([forward.from, forward.to, forward.deployments], [1, 2, []]);
    await rollback(flags(), 'rolled', { to: '1' });
    await assert.rejects(rollback(flags(), 'rolled', {}), { code: 'FUNCTION_UNKNOWN' });
    await assert.rejects(rollback(flags(), 'rolled', { to: '7' }), { code: 'FUNCTION_UNKNOWN' });
    await assert.rejects(rollback(flags(), 'rolled', { to: 'x' }), { code: 'USAGE' });
    const stranger = `${KEYS.publisher.address}/rolled`;
    await assert.rejects(rollback(line.flags('user'), stranger, { to: '2' }), {
      code: 'NOT_OWNER',
    });
  });

  it('destroys a version, then all of a function, and succeeds when nothing is left', async () => {
    await house.publish('gone', HELLO(1), {});
    await house.publish('gone', HELLO(2), {});

    const yes = { ...flags(), yes: true };
    await assert.rejects(destroy(flags(), 'gone', {}), (error: Error) => {
      assert.match(error.message, /gone will be removed: @1 on aws-lambda .*, @2 on aws-lambda /);
      return 'code' in error && error.code === 'NOT_CONFIRMED';
    });
    const one = await documentOf(destroy(yes, 'gone@1', {}));
    const rest = await documentOf(destroy(yes, 'gone', { from: 'aws' }));
    const none = await documentOf(destroy(yes, 'gone', {}));

    assert.deepEqual([one.state, one.providers.length], ['gone', 1]);
    assert.deepEqual([rest.state, rest.providers.length], ['gone', 1]);
    assert.deepEqual([none.state, none.providers], ['gone', []]);
    const [row] = (await documentOf(list(flags()))).filter(
      ({ name }: { name: string }) => name === 'gone',
    );
    assert.ok(row.deployments.every(({ state }: { state: string }) => state === 'retired'));
  });

  it('sets a secret from a file, lists its name, and demands it before a deploy', async () => {
    await house.register('secretive', HELLO(1), { secrets: ['API_KEY'] });
    const valueFile = join(line.home, 'value');
    writeFileSync(valueFile, 'hush-hush\n');

    await assert.rejects(deploy(flags(), 'secretive', { to }), { code: 'SECRET_MISSING' });
    await assert.rejects(diff(flags(), 'secretive', { to }), { code: 'SECRET_MISSING' });
    const set = await secret(flags(), 'set', 'secretive', 'API_KEY', { valueFile });
    const same = await documentOf(secret(flags(), 'set', 'secretive', 'API_KEY', { valueFile }));
    const listed = await secret(flags(), 'list', 'secretive', undefined, {});
    const deployed = await deploy(flags(), 'secretive', { to });
    const unset = await documentOf(secret(flags(), 'unset', 'secretive', 'API_KEY', {}));

    assert.deepEqual([same.isChanged, same.revision], [false, 1]);
    assert.equal(unset.isChanged, true);
    for (const outcome of [set, listed, deployed]) {
      const shown = JSON.stringify(outcome, (_, one) => (typeof one === 'bigint' ? `${one}` : one));
      assert.doesNotMatch(shown, /hush/);
    }
    assert.match(String(listed.text), /API_KEY/);
    for (const [action, key] of [
      ['show', 'API_KEY'],
      ['set', undefined],
      ['list', 'API_KEY'],
    ] as const) {
      await assert.rejects(secret(flags(), action, 'secretive', key, { valueFile }), {
        code: 'USAGE',
      });
    }
  });

  it('says of a secret that no version declares which ones are declared', async () => {
    await house.register('slip', HELLO(1), { secrets: ['API_KEY'] });
    const valueFile = join(line.home, 'value');
    writeFileSync(valueFile, 'hush-hush\n');
    const set = (key: string) => () =>
      secret({ ...flags(), json: false }, 'set', 'slip', key, { valueFile });

    assert.equal(
      await notesOf(set('API_KEX')),
      'slip@latest declares API_KEY in defaas.json, not API_KEX: it is set for a version that does\n',
    );
    assert.equal(await notesOf(set('API_KEY')), '');
  });

  it('reads logs', async () => {
    const handler = 'export default async (_, { log }) => (log("said so"), "ok");';
    const name = await house.publish('logged', handler, {});
    const lane = await house.openLane(KEYS.user);
    await (await house.caller(KEYS.user, lane)).invoke({ function: name });

    const read = await documentOf(logs(flags(), 'logged', { since: '1h', limit: '10' }));

    assert.ok(read.lines.some(({ text }: { text: string }) => text === 'said so'));
    assert.deepEqual(read.silent, []);
    await assert.rejects(logs(flags(), 'logged', { since: 'never', limit: '1' }), {
      code: 'USAGE',
    });
    await assert.rejects(logs(flags(), 'logged', { since: '1h', limit: '0' }), { code: 'USAGE' });
  });

  it('finds what a cloud has lost with doctor, and deploys it again with --fix', async () => {
    await house.publish('lost', HELLO(1), {});
    const { deployments, chain, provider } = house.gateway();
    const fn = chain.view.functionOf(KEYS.publisher.address, 'lost');
    const [record] = deployments.records(fn?.versions[0] ?? '0x');
    assert.ok(record);
    await provider('aws-lambda').remove(record, { signal: AbortSignal.timeout(10_000) });
    const found = async (fix: boolean) => {
      const { checks } = await documentOf(doctor(flags(), { fix }));
      return checks.find(({ name }: { name: string }) => name === 'functions');
    };

    const sick = await found(false);
    const mended = await found(true);
    const well = await found(false);

    assert.equal(sick.ok, false);
    assert.match(sick.found, /^DEPLOYMENTS_ASTRAY: .*lost@1 is lost at aws-lambda/);
    assert.equal(mended.ok, true);
    assert.equal(well.ok, true);
  });

  it('finds with doctor whether the chain names the key of the gateway’s tokens', async () => {
    const tokens = async () => {
      const { checks } = await documentOf(doctor(flags()));
      return checks.find(({ name }: { name: string }) => name === 'tokens');
    };
    const strange = await tokens();
    const { thumbprint } = house.gateway().tokens;
    await house.view.connect(KEYS.gateway).updateParty({
      roles: 3,
      uri: house.url(),
      jwksThumbprint: `0x${Buffer.from(thumbprint, 'base64url').toString('hex')}`,
    });

    const known = await tokens();

    assert.equal(strange.ok, false);
    assert.match(strange.found, /^TOKEN_KEY_MISMATCH: /);
    assert.equal(known.ok, true);
  });

  it('warns of prices that are older than 90 days, and still works', () => {
    const asOfMs = Date.parse('2026-11-22');

    const fresh = checkPrices(asOfMs, asOfMs + 90 * DAY_MS);
    const old = checkPrices(asOfMs, asOfMs + 91 * DAY_MS);

    assert.deepEqual([fresh.isOk, fresh.isWarning], [true, undefined]);
    assert.deepEqual([old.isOk, old.isWarning], [true, true]);
    assert.match(old.found, /^PRICES_OLD: .*2026-11-22/);
  });
});
