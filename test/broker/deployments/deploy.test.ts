// A publisher's deploys: planned first, refused before anything is written, and convergent after
// every interruption.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  checkDeployments,
  deploy,
  destroy,
  fetchDeployments,
  planDeployment,
  repairDeployments,
} from '../../../broker/client/deployments.ts';
import { fetchLogs } from '../../../broker/client/logs.ts';
import { listSecrets, setSecret, unsetSecret } from '../../../broker/client/secrets.ts';
import type { Session } from '../../../broker/client/session.ts';
import { prepare } from '../../../broker/deployments/prepare.ts';
import { resume, targetOf } from '../../../broker/deployments/resume.ts';
import type { DeploymentRecord } from '../../../broker/ledger/ledger.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../small-house.ts';

const HELLO = 'export default async () => new Response("hello");';
const SHOW_SECRET = 'export default async () => new Response(process.env.API_KEY ?? "none");';
const REGION = 'us-east-1';

describe('deployments', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  let owner: Session;
  let names = 0;
  before(async () => {
    house = await startSmallHouse();
    owner = await house.session(KEYS.publisher);
  });
  afterEach(() => house.aws.faults.clear());
  after(() => house.close());

  /** Registers a function of its own for each test. */
  async function register(handler = HELLO, manifest: object = {}): Promise<string> {
    names += 1;
    const name = `function-${names}`;
    await house.register(name, handler, { payer: 'publisher', ...manifest });
    return name;
  }

  const of = (name: string, version = 'latest') => ({
    owner: KEYS.publisher.address,
    name,
    version,
    providers: ['aws-lambda'],
  });
  const restart = async (): Promise<void> => {
    await house.restart();
    owner = await house.session(KEYS.publisher);
  };
  const recordsOf = (name: string): DeploymentRecord[] => {
    const { chain, deployments } = house.gateway();
    const fn = chain.view.functionOf(KEYS.publisher.address, name);
    return (fn?.versions ?? []).flatMap((version) => deployments.records(version));
  };
  /** The functions that the cloud itself lists. */
  const listed = async (): Promise<string[]> => {
    const found: string[] = [];
    const provider = house.gateway().provider('aws-lambda');
    for await (const { name } of provider.list(REGION, { signal: AbortSignal.timeout(10_000) })) {
      found.push(name);
    }
    return found;
  };
  const invoke = async (name: string): Promise<string> => {
    const [record] = recordsOf(name);
    assert.ok(record?.deployment);
    const result = await house
      .gateway()
      .provider('aws-lambda')
      .invoke(
        record.deployment,
        {
          callId: '0x01',
          method: 'GET',
          path: '/',
          query: '',
          headers: [],
          body: new Uint8Array(),
        },
        { signal: AbortSignal.timeout(10_000) },
      );
    assert.ok(result.ok);
    return Buffer.from(result.body).toString();
  };

  it('plans its steps and the cost of a call, and writes nothing', async () => {
    const name = await register();

    const plan = await planDeployment(owner, of(name));

    const [cloud] = plan.clouds;
    assert.equal(plan.version, 1);
    assert.equal(cloud?.action, 'create');
    assert.deepEqual(
      { ...cloud?.cost, asOf: '' },
      {
        plan: 'x86',
        asOf: '',
        durationMs: 100,
        costPico: 408_334n,
        costUnits: 1n,
        priceUnits: 21n,
        earnedUnits: 21n,
        belowCost: false,
      },
    );
    assert.deepEqual(recordsOf(name), []);
    assert.deepEqual(await listed(), []);
  });

  it('records each step, announces what is live, and repeats nothing when nothing has changed', async () => {
    const name = await register();

    const done = await deploy(owner, of(name));
    const [first] = recordsOf(name);
    const plan = await planDeployment(owner, of(name));
    const started = performance.now();
    const again = await deploy(owner, of(name));

    assert.equal(done.state, 'live');
    assert.deepEqual(
      first?.steps?.map(({ action, resource }) => `${action} ${resource}`),
      ['create function', 'wait function', 'create alias live'],
    );
    assert.equal(plan.clouds[0]?.action, 'keep');
    assert.equal(again.state, 'live');
    assert.ok(performance.now() - started < 2000);
    assert.deepEqual(recordsOf(name), [first]);
    const [shown] = await fetchDeployments(owner, { owner: KEYS.publisher.address, name });
    assert.deepEqual(
      [shown?.state, shown?.version, shown?.id, shown?.cost?.priceUnits],
      ['live', 1, first?.chainId, 21n],
    );
  });

  it('converges when the gateway ends at any step of a deploy', async () => {
    let cuts = 0;
    for (let wasCut = true; wasCut; ) {
      const name = await register();
      wasCut = false;
      let seen = 0;
      let restarting: Promise<void> | undefined;
      const ended = await deploy(owner, {
        ...of(name),
        onStep: () => {
          seen += 1;
          if (seen !== cuts + 1) return;
          wasCut = true;
          restarting = restart();
        },
      }).catch((error: unknown) => error);
      await restarting;
      if (wasCut) cuts += 1;
      else assert.ok(!(ended instanceof Error), String(ended));

      await resume(house.gateway());

      const [record, ...others] = recordsOf(name);
      assert.deepEqual([record?.state, others], ['live', []], `cut at step ${cuts}`);
      assert.equal(await invoke(name), 'hello');
      const { chain, address } = house.gateway();
      assert.ok(record?.chainId);
      const version = record.functionVersion;
      assert.deepEqual(chain.view.candidates(version, address)?.ids, [record.chainId]);
      assert.equal(chain.view.deployments(version).length, 1);
    }
    assert.ok(cuts >= 4, `${cuts} cuts`);
    assert.equal((await listed()).length, new Set(await listed()).size);
  });

  it('completes an update that was cut off, while the old deployment serves', async () => {
    const name = await register(SHOW_SECRET, { secrets: ['API_KEY'] });
    const key = { owner: KEYS.publisher.address, name, key: 'API_KEY' };
    await setSecret(owner, key, 'first-value');
    await deploy(owner, of(name));
    await setSecret(owner, key, 'second-value');
    let restarting: Promise<void> | undefined;

    const states: (string | undefined)[] = [];
    await deploy(owner, {
      ...of(name),
      onStep: () => {
        states.push(recordsOf(name)[0]?.state);
        restarting ??= restart();
      },
    }).catch(() => {});
    await restarting;
    const [cut] = recordsOf(name);
    const served = await invoke(name);
    await resume(house.gateway());

    assert.equal(states[0], 'updating');
    assert.equal(cut?.state, 'updating');
    assert.match(served, /^(first|second)-value$/);
    assert.equal(recordsOf(name)[0]?.state, 'live');
    assert.equal(await invoke(name), 'second-value');
  });

  it('destroys all versions, retires them on the chain, and goes on where it was cut off', async () => {
    const name = await register();
    await deploy(owner, of(name, '1'));
    await house.register(name, `${HELLO} // 2`, { payer: 'publisher' });
    await deploy(owner, of(name, '2'));
    const before = recordsOf(name).map((record) => record.name);
    let restarting: Promise<void> | undefined;

    await destroy(owner, {
      owner: KEYS.publisher.address,
      name,
      onStep: () => {
        restarting ??= restart();
      },
    }).catch(() => {});
    await restarting;
    await resume(house.gateway());
    const again = await destroy(owner, { owner: KEYS.publisher.address, name });

    assert.deepEqual(
      recordsOf(name).map(({ state }) => state),
      ['gone', 'gone'],
    );
    assert.deepEqual([again.state, again.providers], ['gone', []]);
    const left = await listed();
    assert.ok(!before.some((one) => left.includes(one)));
    const { view } = house.gateway().chain;
    for (const { functionVersion } of recordsOf(name)) {
      assert.ok(view.deployments(functionVersion).every(({ retired }) => retired));
    }
  });

  it('deploys a destroyed function again, as a new deployment on the chain', async () => {
    const name = await register();
    await deploy(owner, of(name));
    const [before] = recordsOf(name);
    await destroy(owner, { owner: KEYS.publisher.address, name, version: 'latest' });

    const done = await deploy(owner, of(name));

    assert.equal(done.state, 'live');
    assert.notEqual(recordsOf(name)[0]?.chainId, before?.chainId);
    assert.equal(await invoke(name), 'hello');
  });

  it('refuses what a cloud cannot take, before anything is written', async () => {
    const slow = await register(HELLO, { timeoutMs: 900_000 });
    house.gateway();
    const reserved = await register(HELLO, { env: { X: 'y'.repeat(4090) } });

    const refused = deploy(owner, of(reserved)).then(({ error }) => error?.code);
    const fine = planDeployment(owner, of(slow));

    assert.equal((await fine).clouds[0]?.action, 'create');
    assert.equal(await refused, 'PROVIDER_INVALID');
    assert.deepEqual(recordsOf(reserved), []);
  });

  it('names the cloud that fails in a plan, records why, and lets a later deploy mend it', async () => {
    const name = await register();
    house.aws.faults.set([{ kind: 'expire-credentials' }]);

    const plan = await planDeployment(owner, of(name));
    const failed = await deploy(owner, of(name));
    house.aws.faults.clear();
    const [record] = recordsOf(name);
    const mended = await deploy(owner, of(name));

    assert.equal(plan.clouds[0]?.error?.code, 'PROVIDER_UNAUTHENTICATED');
    assert.deepEqual(
      [failed.state, failed.providers[0]?.error?.code],
      ['failed', 'PROVIDER_UNAUTHENTICATED'],
    );
    assert.equal(record?.state, 'failed');
    assert.match(record.error ?? '', /^PROVIDER_UNAUTHENTICATED: /);
    assert.equal(mended.state, 'live');
    assert.equal(recordsOf(name)[0]?.error, undefined);
  });

  it('refuses a price below the cost with the figures, unless the loss is accepted', async () => {
    const tariff = { perCall: 0, perGiBSecond: 0, maxPrice: 100_000 };
    const name = await register(HELLO, { tariff });

    const plan = await planDeployment(owner, of(name));
    const refused = await owner.send(`/functions/${KEYS.publisher.address}/${name}/deployments`, {
      method: 'PUT',
      body: JSON.stringify({ providers: ['aws-lambda'] }),
    });
    const before = recordsOf(name);
    const accepted = await deploy(owner, { ...of(name), acceptLoss: true });

    assert.equal(plan.clouds[0]?.cost?.belowCost, true);
    const { code, status, clouds } = await refused.json();
    assert.deepEqual([refused.status, code, status], [409, 'TARIFF_BELOW_COST', 409]);
    assert.deepEqual(
      [clouds[0].provider, clouds[0].priceUnits, clouds[0].costUnits, clouds[0].costPico],
      ['aws-lambda', '0', '1', '408334'],
    );
    assert.deepEqual(before, []);
    assert.equal(accepted.state, 'live');
  });

  it('counts the publisher’s share as not earned', async () => {
    const name = await register(HELLO, { tariff: { publisherBps: 10_000 } });

    await assert.rejects(deploy(owner, of(name)), { code: 'TARIFF_BELOW_COST' });
  });

  it('limits a publisher to its share of the cloud accounts, and counts existing deployments once', async () => {
    const first = await register();
    const second = await register();
    await deploy(owner, of(first));
    const others = house
      .gateway()
      .deployments.records()
      .filter(({ state, name }) => state !== 'gone' && name !== recordsOf(first)[0]?.name);
    await house.restart({ publisherDeploymentsMax: others.length + 1 });
    owner = await house.session(KEYS.publisher);

    const again = await deploy(owner, of(first));
    await assert.rejects(deploy(owner, of(second)), { code: 'PUBLISHER_NOT_ALLOWED' });
    await house.restart({ publisherMemoryMaxMiB: 127 });
    owner = await house.session(KEYS.publisher);
    await assert.rejects(deploy(owner, of(first)), { code: 'PUBLISHER_NOT_ALLOWED' });
    await restart();

    assert.equal(again.state, 'live');
  });

  it('limits a publisher to its share also when deployments are requested at once', async () => {
    const names = [await register(), await register(), await register()];
    const { deployments } = house.gateway();
    const there = deployments.records().filter(({ state }) => state !== 'gone').length;
    await house.restart({ publisherDeploymentsMax: there + 1 });
    owner = await house.session(KEYS.publisher);

    const done = await Promise.allSettled(names.map((name) => deploy(owner, of(name))));
    // A refused deploy uses up nothing of the share.
    const rest = house.gateway().claims.of(KEYS.publisher.address);
    await restart();

    const refused = done.filter(({ status }) => status === 'rejected');
    assert.equal(refused.length, 2);
    for (const one of refused) {
      assert.ok(one.status === 'rejected' && one.reason.code === 'PUBLISHER_NOT_ALLOWED');
    }
    assert.deepEqual(rest, []);
  });

  describe('secrets', () => {
    it('reach the function and nobody else: not the ledger’s file, records, plan or errors', async () => {
      const value = 'quite-a-secret "value"';
      const name = await register(SHOW_SECRET, { secrets: ['API_KEY'] });
      const key = { owner: KEYS.publisher.address, name, key: 'API_KEY' };

      await assert.rejects(planDeployment(owner, of(name)), { code: 'SECRET_MISSING' });
      await assert.rejects(deploy(owner, of(name)), { code: 'SECRET_MISSING' });
      assert.deepEqual(recordsOf(name), []);
      const set = await setSecret(owner, key, value);
      await deploy(owner, of(name));

      assert.deepEqual(set, { revision: 1, isChanged: true });
      assert.equal(await invoke(name), value);
      const seen = [
        await listSecrets(owner, key),
        await planDeployment(owner, of(name)),
        await fetchDeployments(owner),
        recordsOf(name),
      ].map((shown) =>
        JSON.stringify(shown, (_, one) => (typeof one === 'bigint' ? `${one}` : one)),
      );
      const files = ['ledger.sqlite', 'ledger.sqlite-wal'].map((file) =>
        readFileSync(join(house.dir, 'gateway', file), 'latin1'),
      );
      for (const text of [...seen, ...files]) assert.ok(!text.includes('quite-a-secret'));
    });

    it('change the plan when their value changes, and only then', async () => {
      const name = await register(SHOW_SECRET, { secrets: ['API_KEY'] });
      const key = { owner: KEYS.publisher.address, name, key: 'API_KEY' };
      await setSecret(owner, key, 'one');
      await deploy(owner, of(name));

      const same = await setSecret(owner, key, 'one');
      const kept = await planDeployment(owner, of(name));
      const other = await setSecret(owner, key, 'two');
      const changed = await planDeployment(owner, of(name));
      await deploy(owner, of(name));

      assert.equal(same.isChanged, false);
      assert.equal(kept.clouds[0]?.action, 'keep');
      assert.deepEqual(other, { revision: 2, isChanged: true });
      assert.equal(changed.clouds[0]?.action, 'update');
      assert.equal(await invoke(name), 'two');
    });

    it('are missing again after they are unset', async () => {
      const name = await register(SHOW_SECRET, { secrets: ['API_KEY'] });
      const key = { owner: KEYS.publisher.address, name, key: 'API_KEY' };
      await setSecret(owner, key, 'one');

      assert.equal(await unsetSecret(owner, key), true);
      assert.equal(await unsetSecret(owner, key), false);

      assert.deepEqual(await listSecrets(owner, key), []);
      await assert.rejects(deploy(owner, of(name)), { code: 'SECRET_MISSING' });
    });

    it('are hidden where a cloud quotes them in its refusal', async () => {
      const name = await register(SHOW_SECRET, { secrets: ['API_KEY'] });
      const value = 'a "quoted" value/';
      await setSecret(owner, { owner: KEYS.publisher.address, name, key: 'API_KEY' }, value);
      const { view } = house.gateway().chain;
      const fn = view.functionOf(KEYS.publisher.address, name);
      const target = targetOf(view, fn?.versions[0] ?? '0x');
      assert.ok(target);

      const { hide } = await prepare(house.gateway(), target, []);

      const forms = [value, JSON.stringify({ API_KEY: value }), encodeURIComponent(value)];
      for (const text of forms) assert.doesNotMatch(hide(`env ${text} is bad`), /quoted/);
      assert.equal(hide('nothing of it'), 'nothing of it');
    });

    it('are refused when no environment can hold them, and from anybody but the owner', async () => {
      const name = await register();
      const user = await house.session(KEYS.user);
      const key = { owner: KEYS.publisher.address, name, key: 'API_KEY' };

      for (const value of ['', 'x\0y', 'x'.repeat(4097)]) {
        await assert.rejects(setSecret(owner, key, value), { code: 'SECRET_INVALID' });
      }
      await assert.rejects(setSecret(owner, { ...key, key: 'A B' }, 'x'), {
        code: 'SECRET_INVALID',
      });
      await assert.rejects(setSecret(user, key, 'x'), { code: 'NOT_OWNER' });
      await assert.rejects(listSecrets(user, key), { code: 'NOT_OWNER' });
      await assert.rejects(unsetSecret(user, key), { code: 'NOT_OWNER' });
    });
  });

  it('shows the owner the logs of a version, and why a cloud’s logs cannot be read', async () => {
    const name = await register('export default async (_, { log }) => (log("said so"), "ok");');
    await deploy(owner, of(name));
    await invoke(name);
    const question = { ...of(name), sinceMs: 0, limit: 10 };

    const read = await fetchLogs(owner, question);
    const one = await fetchLogs(owner, { ...question, limit: 1 });
    house.aws.faults.set([{ kind: 'throttle' }]);
    const throttled = await fetchLogs(owner, question);

    const said = read.lines.find(({ text }) => text === 'said so');
    assert.deepEqual([said?.provider, said?.level, read.silent], ['aws-lambda', 'info', []]);
    assert.equal(one.lines.length, 1);
    assert.deepEqual(
      throttled.silent.map(({ code }) => code),
      ['PROVIDER_THROTTLED'],
    );
    await assert.rejects(fetchLogs(await house.session(KEYS.user), question), {
      code: 'NOT_OWNER',
    });
  });

  describe('orphans and ghosts', () => {
    it('are shown to the operator alone, and repaired: removed or deployed again', async () => {
      const lost = await register();
      await deploy(owner, of(lost));
      const forgotten = await register();
      await deploy(owner, of(forgotten));
      const operator = await house.session(KEYS.gateway);
      const provider = house.gateway().provider('aws-lambda');
      const within = { signal: AbortSignal.timeout(10_000) };
      const [ghost] = recordsOf(lost);
      const [known] = recordsOf(forgotten);
      assert.ok(ghost && known);
      await provider.remove(ghost, within);
      await house.gateway().deployments.putRecord({ ...known, state: 'gone' });

      const { clouds } = await checkDeployments(operator);
      await assert.rejects(checkDeployments(owner), { code: 'OPERATOR_ONLY' });
      await assert.rejects(repairDeployments(owner), { code: 'OPERATOR_ONLY' });
      const repaired = await repairDeployments(operator);
      const after = await checkDeployments(operator);

      assert.deepEqual(
        clouds[0]?.orphans.map((one) => one.name),
        [known.name],
      );
      assert.deepEqual(
        clouds[0]?.ghosts.map((one) => one.name),
        [ghost.name],
      );
      assert.notEqual(repaired.state, 'failed');
      assert.deepEqual([after.clouds[0]?.orphans, after.clouds[0]?.ghosts], [[], []]);
      assert.equal(await invoke(lost), 'hello');
      assert.ok(!(await listed()).includes(known.name));
    });

    it('are not reported for a cloud that cannot be listed', async () => {
      const operator = await house.session(KEYS.gateway);
      house.aws.faults.set([{ kind: 'expire-credentials' }]);

      const { clouds } = await checkDeployments(operator);
      const repaired = await repairDeployments(operator);

      assert.equal(clouds[0]?.error?.code, 'PROVIDER_UNAUTHENTICATED');
      assert.deepEqual(clouds[0]?.ghosts, []);
      assert.equal(repaired.state, 'failed');
    });
  });
});
