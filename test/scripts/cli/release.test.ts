// A publisher's releases: a version takes the place of another without a failed call, a release that
// fails leaves callers where they were, and a function that is restricted is restricted in all its
// versions.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { Caller } from '../../../broker/client/invoke.ts';
import { deploy } from '../../../scripts/cli/deploy.ts';
import { deprecate } from '../../../scripts/cli/deprecate.ts';
import { grant } from '../../../scripts/cli/grant.ts';
import { grants } from '../../../scripts/cli/grants.ts';
import { rollback } from '../../../scripts/cli/rollback.ts';
import { secret } from '../../../scripts/cli/secret.ts';
import { versions } from '../../../scripts/cli/versions.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../../broker/small-house.ts';
import { type CommandLine, createCommandLine, documentOf } from './beside.ts';

const RELEASES = 20;
const ROLLBACKS = 5;
const CALLS_PER_SEC = 200;

describe('releases of a function', function () {
  this.timeout(300_000);
  let house: SmallHouse;
  let line: CommandLine;
  let caller: Caller;
  before(async () => {
    house = await startSmallHouse();
    line = createCommandLine(house);
    caller = await house.caller(KEYS.user, await house.openLane(KEYS.user));
  });
  after(async () => {
    line.remove();
    await house.close();
  });

  const flags = (yes = false) => ({ ...line.flags('publisher'), yes });
  /** Writes the folder of a function, which answers with `text`. @returns its path */
  const folder = (name: string, text: string, manifest: object = {}): string => {
    const path = join(line.home, name);
    mkdirSync(path, { recursive: true });
    writeFileSync(join(path, 'handler.ts'), `export default () => new Response('${text}');`);
    const terms = { name, entry: 'handler.ts', memoryMiB: 128, timeoutMs: 5000, ...manifest };
    writeFileSync(join(path, 'defaas.json'), JSON.stringify(terms));
    return path;
  };
  const release = (name: string, text: string, manifest: object = {}, yes = false) =>
    documentOf(deploy(flags(yes), folder(name, text, manifest), { to: 'aws' }));
  const call = async (name: string): Promise<string> => {
    const { response } = await caller.invoke({ function: `${KEYS.publisher.address}/${name}` });
    assert.equal(response.status, 200);
    return response.text();
  };

  it('publishes a folder, deploys it, and moves latest, with one command', async () => {
    const first = await release('whole', 'one');
    const answer = await call('whole');
    const second = await release('whole', 'two');
    const unchanged = await release('whole', 'two');

    assert.deepEqual([first.version, first.state, first.latest], ['1', 'live', 1]);
    assert.equal(first.url, `${house.url()}/functions/${KEYS.publisher.address}/whole`);
    assert.equal(answer, 'one');
    assert.deepEqual([second.version, second.latest, second.isNew], ['2', 2, true]);
    assert.deepEqual([unchanged.version, unchanged.latest, unchanged.isNew], ['2', 2, false]);
    assert.equal(await call('whole'), 'two');
  });

  it('goes back to a version when its folder is deployed again', async () => {
    await release('back', 'one');
    await release('back', 'two');

    const again = await release('back', 'one');

    assert.deepEqual([again.version, again.latest, again.isNew], ['1', 1, false]);
    assert.equal(await call('back'), 'one');
  });

  it('deploys to the clouds that the version before has', async () => {
    await release('kept', 'one');

    const { providers } = await documentOf(deploy(flags(), folder('kept', 'two'), {}));

    assert.deepEqual(
      providers.map(({ provider }: { provider: string }) => provider),
      ['aws-lambda'],
    );
  });

  it('leaves callers at the version before when a release fails, and goes on from there', async () => {
    await release('broken', 'one');
    const secrets = { secrets: ['API_KEY'] };
    await assert.rejects(release('broken', 'two', secrets), { code: 'SECRET_MISSING' });
    const answer = await call('broken');
    const file = join(line.home, 'value');
    writeFileSync(file, 'a-value');
    await secret(flags(), 'set', 'broken', 'API_KEY', { valueFile: file });

    const again = await release('broken', 'two', secrets);

    assert.equal(answer, 'one');
    assert.deepEqual([again.version, again.latest, again.isNew], ['2', 2, false]);
    assert.equal(await call('broken'), 'two');
  });

  it('fails no call while versions take the place of others', async () => {
    await release('busy', '0');
    const failures: unknown[] = [];
    const seen = new Set<string>();
    let calls = 0;
    let isOver = false;
    const pending = new Set<Promise<void>>();
    const callers = (async () => {
      while (!isOver) {
        const one = call('busy')
          .then((text) => void seen.add(text))
          .catch((error) => void failures.push(error))
          .finally(() => pending.delete(one));
        pending.add(one);
        calls += 1;
        // A slow machine makes fewer calls, not more at a time.
        if (pending.size >= CALLS_PER_SEC) await Promise.race(pending);
        await setTimeout(1000 / CALLS_PER_SEC);
      }
      await Promise.all(pending);
    })();

    for (let number = 1; number <= RELEASES; number += 1) {
      await release('busy', `${number}`);
      if (number % (RELEASES / ROLLBACKS) === 0) await rollback(flags(), 'busy', {});
    }
    isOver = true;
    await callers;

    assert.deepEqual(failures.slice(0, 3), [], `${failures.length} of ${calls} calls failed`);
    assert.ok(seen.size > RELEASES / 2, `answers of ${seen.size} versions were seen`);
  });

  it('names the versions that stay public, and deprecates them if the user says yes', async () => {
    await release('shut', 'one');
    await release('shut', 'two');

    const named = await release('shut', 'three', { access: 'granted' });
    const still = await caller.invoke({ function: `${KEYS.publisher.address}/shut@2` });
    const agreed = await release('shut', 'four', { access: 'granted' }, true);

    assert.deepEqual(named.open, [1, 2]);
    assert.equal(await still.response.text(), 'two');
    assert.deepEqual(agreed.open, []);
    await assert.rejects(caller.invoke({ function: `${KEYS.publisher.address}/shut@2` }), {
      code: 'FUNCTION_DEPRECATED',
    });
    const listed = await documentOf(versions(flags(), 'shut'));
    assert.deepEqual(
      listed.map((one: Record<string, unknown>) => [one.version, one.access, one.deprecated]),
      [
        [4, 'granted', false],
        [3, 'granted', false],
        [2, 'public', true],
        [1, 'public', true],
      ],
    );
    assert.deepEqual([listed[0].isLatest, listed[0].clouds], [true, ['aws-lambda']]);
  });

  it('lists the grants in force, and not the revoked or expired ones', async () => {
    await release('given', 'one', { access: 'granted' });
    const user = KEYS.user.address;

    const none = await documentOf(grants(flags(), 'given'));
    await grant(flags(), 'given', user, { expires: '7', scopes: 'invoke,logs' });
    const [one, ...others] = await documentOf(grants(flags(), 'given'));

    assert.deepEqual([none, others], [[], []]);
    assert.deepEqual([one.subject, one.scopes], [user, ['invoke', 'logs']]);
  });

  it('deprecates versions by number, never the one that latest names', async () => {
    await release('old', 'one');
    await release('old', 'two');

    await assert.rejects(deprecate(flags(), ['old@1', 'old@2']), { code: 'VERSION_IN_USE' });
    await assert.rejects(deprecate(flags(), ['old']), { code: 'USAGE' });
    await assert.rejects(deprecate(flags(), ['old@3']), { code: 'FUNCTION_UNKNOWN' });
    const [, untouched] = await documentOf(versions(flags(), 'old'));
    const done = await documentOf(deprecate(flags(), ['old@1']));
    const again = await documentOf(deprecate(flags(), ['old@1']));

    assert.equal(untouched.deprecated, false);
    assert.deepEqual([done, again], [{ deprecated: ['old@1'] }, { deprecated: ['old@1'] }]);
    const [, gone] = await documentOf(versions(flags(), 'old'));
    assert.equal(gone.deprecated, true);
  });
});
