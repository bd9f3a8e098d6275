// `minWarm`: instances that stay warm at the operator's cost, up to what it allows a publisher.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import pino from 'pino';
import { deploy, fetchDeployments, planDeployment } from '../../../broker/client/deployments.ts';
import { createLook, keepWarm } from '../../../broker/deployments/keep-warm.ts';
import type { Candidate } from '../../../broker/routing/choose.ts';
import { planLine } from '../../../scripts/cli/deployment-lines.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../small-house.ts';

const COUNT = 'let calls = 0; export default async () => ({ calls: ++calls });';
const TWO_WARM = { minWarm: 2 };

const logTo = (lines: string[]) => pino({ level: 'warn' }, { write: (line) => lines.push(line) });

describe('keep-warm', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  beforeEach(async () => {
    house = await startSmallHouse({ publisherWarmMax: 2 });
  });
  afterEach(() => house.close());

  /** Answers once the file is there. @returns  the function, and what writes the file */
  async function publishHeld(): Promise<{ label: string; release(): void }> {
    const file = join(house.dir, 'go');
    const handler = `import { existsSync } from 'node:fs';
      export default async () => {
        while (!existsSync(${JSON.stringify(file)})) await new Promise((go) => setTimeout(go, 5));
        return {};
      };`;
    const label = await house.publish('held', handler, TWO_WARM);
    return { label, release: () => writeFileSync(file, '') };
  }

  const of = (name: string) => ({
    owner: KEYS.publisher.address,
    name,
    version: 'latest',
    providers: ['aws-lambda'],
  });
  const onlyCandidate = (): Candidate => {
    const { deployments } = house.gateway();
    const [record] = deployments.records();
    const [candidate] = record ? deployments.live(record.functionVersion).values() : [];
    assert.ok(candidate);
    return candidate;
  };
  const until = async (holds: () => boolean): Promise<void> => {
    for (const endMs = Date.now() + 10_000; !holds(); await wait(5)) {
      assert.ok(Date.now() < endMs, 'it did not come to be in 10 s');
    }
  };

  it('keeps as many instances warm as a version asks for, without running its handler', async () => {
    await house.publish('warm', COUNT, TWO_WARM);
    const atFirst = house.aws.instances();
    const look = createLook(house.gateway());

    await look();
    const kept = house.aws.instances();
    await look();
    const keptAgain = house.aws.instances();
    const { provider, deployment } = onlyCandidate();
    const request = { callId: '0x01', method: 'GET', path: '/', query: '', headers: [] };
    const results = await Promise.all(
      [1, 2].map(() =>
        provider.invoke(
          deployment,
          { ...request, body: new Uint8Array() },
          { signal: AbortSignal.timeout(10_000) },
        ),
      ),
    );

    assert.deepEqual([atFirst, kept, keptAgain], [1, 2, 2]);
    assert.deepEqual(
      results.map((result) => [result.cold, result.ok && Buffer.from(result.body).toString()]),
      [
        [false, '{"calls":1}'],
        [false, '{"calls":1}'],
      ],
    );
  });

  it('calls only instances that traffic leaves idle', async () => {
    const { label, release } = await publishHeld();
    const caller = await house.caller(KEYS.user, await house.openLane(KEYS.user));
    const candidate = onlyCandidate();
    const lines: string[] = [];
    const look = createLook({ ...house.gateway(), log: logTo(lines) });

    const first = caller.invoke({ function: label });
    await until(() => candidate.inFlight === 1);
    await look();
    const besideOne = house.aws.instances();
    const second = caller.invoke({ function: label });
    await until(() => candidate.inFlight === 2);
    await look();
    const besideTwo = house.aws.instances();
    release();
    await Promise.all([first, second]);
    // From here on each call fails and is logged.
    house.aws.faults.set([{ kind: 'throttle' }]);
    await look();
    const afterBoth = lines.length;
    await look();

    assert.deepEqual([besideOne, besideTwo], [2, 2]);
    assert.deepEqual([afterBoth, lines.length], [0, 1]);
  });

  it('warms no version that asks for no instance or that its owner has withdrawn', async () => {
    await house.publish('warm', COUNT, TWO_WARM);
    await house.publish('warm', `${COUNT} // 2`);
    const { chain, deployments } = house.gateway();
    const before = house.aws.instances();
    const [record] = deployments.records();
    assert.ok(record);
    const block = await house.view.connect(KEYS.publisher).deprecate(record.functionVersion);
    await chain.synced(block);

    await createLook(house.gateway())();

    assert.deepEqual([before, house.aws.instances()], [2, 2]);
  });

  it('logs a failure once, and counts it against no candidate', async () => {
    await house.publish('warm', COUNT, TWO_WARM);
    const lines: string[] = [];
    const look = createLook({ ...house.gateway(), log: logTo(lines) });
    const candidate = onlyCandidate();

    house.aws.faults.set([{ kind: 'throttle' }]);
    for (let round = 0; round < 4; round += 1) await look();
    const atFirst = lines.length;
    house.aws.faults.clear();
    await look();
    house.aws.faults.set([{ kind: 'throttle' }]);
    await look();

    assert.deepEqual([atFirst, lines.length], [1, 2]);
    assert.equal(JSON.parse(lines[0] ?? '').code, 'PROVIDER_THROTTLED');
    assert.equal(candidate.circuit.isOpen(Date.now()), false);
  });

  it('ends when the gateway closes', async () => {
    const kept = keepWarm(house.gateway());

    await house.restart();

    await kept;
  });

  it('shows the operator’s cost before and after the deploy', async () => {
    await house.publish('plain', COUNT);
    await house.register('warm', COUNT, TWO_WARM);
    const owner = await house.session(KEYS.publisher);

    const { clouds } = await planDeployment(owner, of('warm'));
    await deploy(owner, of('warm'));
    const shown = await fetchDeployments(owner);

    // 2 instances, 10 800 rounds of 240 s, at 408 334 each.
    const warm = {
      instances: 2,
      everySec: 240,
      days: 30,
      costPico: 8_820_014_400n,
      costUnits: 8_821n,
    };
    const [cloud] = clouds;
    assert.ok(cloud);
    assert.deepEqual(cloud.cost?.warm, warm);
    assert.match(
      planLine(cloud),
      /; 2 kept warm cost its operator up to 0\.008821 tokens in 30 days$/,
    );
    assert.deepEqual(
      shown.map(({ cost }) => cost?.warm),
      [undefined, warm],
    );
  });

  it('limits a publisher to what the operator allows, and counts existing instances once', async () => {
    await house.publish('warm', COUNT, TWO_WARM);
    await house.register('more', COUNT, { minWarm: 1 });
    const owner = await house.session(KEYS.publisher);

    const again = await deploy(owner, of('warm'));
    await assert.rejects(planDeployment(owner, of('more')), { code: 'PUBLISHER_NOT_ALLOWED' });
    await assert.rejects(deploy(owner, of('more')), { code: 'PUBLISHER_NOT_ALLOWED' });

    assert.equal(again.state, 'live');
  });

  it('limits a publisher also when two deploys are requested at once', async () => {
    for (const name of ['one', 'two']) await house.register(name, COUNT, TWO_WARM);
    const owner = await house.session(KEYS.publisher);

    const done = await Promise.allSettled(['one', 'two'].map((name) => deploy(owner, of(name))));

    const codes = done.map((one) =>
      one.status === 'rejected' ? one.reason.code : one.value.state,
    );
    assert.deepEqual(codes.sort(), ['PUBLISHER_NOT_ALLOWED', 'live']);
  });
});
