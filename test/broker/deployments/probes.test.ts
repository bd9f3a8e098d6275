// The gateway's own probe: where it is deployed, what it measures, and that it is removed with the
// last function of its place.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import type { Provider } from '../../../adapters/provider.ts';
import { destroy } from '../../../broker/client/deployments.ts';
import { check } from '../../../broker/deployments/check.ts';
import { createDeployments } from '../../../broker/deployments/deployments.ts';
import { createProbes, probeClouds, probeName } from '../../../broker/deployments/probes.ts';
import type { DeploymentRecord } from '../../../broker/ledger/ledger.ts';
import { openSqliteLedger } from '../../../broker/ledger/sqlite.ts';
import { createExecutions } from '../../../broker/routing/executions.ts';
import { createOverheads } from '../../../broker/routing/overheads.ts';
import { openProviders } from '../../adapters/fixtures/emulated-providers.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../small-house.ts';

const HANDLER = 'export default () => new Response("ok");';
const logTo = (lines: string[]) => pino({ level: 'warn' }, { write: (line) => lines.push(line) });

async function namesAt(provider: Provider): Promise<string[]> {
  const names: string[] = [];
  const within = { signal: AbortSignal.timeout(30_000) };
  for await (const { name } of provider.list(provider.regions[0] ?? '', within)) names.push(name);
  return names;
}

describe('probes', function () {
  this.timeout(120_000);

  describe('of a gateway', () => {
    let house: SmallHouse;
    beforeEach(async () => {
      house = await startSmallHouse();
    });
    afterEach(() => house.close());

    const place = () => house.gateway().overheads.of('aws-lambda', 'us-east-1');
    const mine = () => probeName(house.gateway().address);
    const namesOnAws = () => namesAt(house.gateway().provider('aws-lambda'));

    it('are deployed where functions are, measure, count as no orphans, and are removed with the last function', async () => {
      const look = createProbes(house.gateway());
      await look();
      const before = await namesOnAws();
      await house.publish('one', HANDLER);

      await look();
      const measuredMs = place().ms;
      const during = await namesOnAws();
      const [found] = await check(house.gateway());
      await destroy(await house.session(KEYS.publisher), {
        owner: KEYS.publisher.address,
        name: 'one',
      });
      await look();

      assert.deepEqual(before, []);
      assert.ok(during.includes(mine()) && during.length === 2, during.join());
      assert.ok(measuredMs >= 5 && measuredMs <= 100, `${measuredMs}`);
      assert.deepEqual([found?.functions, found?.orphans], [1, []]);
      assert.deepEqual(await namesOnAws(), []);
    });

    it('are removed after a restart too, when the last function was removed before it', async () => {
      await house.publish('one', HANDLER);
      await createProbes(house.gateway())();
      await destroy(await house.session(KEYS.publisher), {
        owner: KEYS.publisher.address,
        name: 'one',
      });
      await house.restart();

      await createProbes(house.gateway())();

      assert.deepEqual(await namesOnAws(), []);
    });

    it('are deployed again after somebody has removed them, and the failure is logged once', async () => {
      await house.publish('one', HANDLER);
      let nowMs = Date.now();
      const lines: string[] = [];
      const parts = { ...house.gateway(), log: logTo(lines), nowMs: () => nowMs };
      const look = createProbes(parts);
      await look();
      const within = { signal: AbortSignal.timeout(30_000) };
      const region = 'us-east-1';
      await house.gateway().provider('aws-lambda').remove({ name: mine(), region }, within);

      await look();
      await look();
      const tooSoon = await namesOnAws();
      nowMs += 3_600_000;
      await look();

      assert.ok(!tooSoon.includes(mine()));
      assert.ok((await namesOnAws()).includes(mine()));
      assert.deepEqual(
        lines.map((line) => JSON.parse(line).code),
        ['PROVIDER_NOT_FOUND'],
      );
    });

    it('distinguish a cloud that is down from a function that fails: only the function’s failure uses up its budget', async () => {
      await house.restart({ freeFailureMsPerHour: 1 });
      const name = await house.publish('one', HANDLER);
      const own = house.gateway().deployments.records()[0]?.name ?? '';
      await createProbes(house.gateway())();
      const caller = await house.caller(KEYS.user, await house.openLane(KEYS.user));
      const call = () =>
        caller.invoke({ function: name }).then(
          ({ response }) => response.status,
          ({ code }) => code,
        );
      const broken = async (on: { operation: string; function?: string }) => {
        await house.aws.faults.set([{ kind: 'drop-after', on }]);
        const code = await call();
        await house.aws.faults.clear();
        return code;
      };

      const whenDown = await broken({ operation: 'invoke' });
      const afterDown = await call();
      const whenBroken = await broken({ operation: 'invoke', function: own });
      const afterBroken = await call();

      assert.deepEqual(
        [whenDown, afterDown, whenBroken, afterBroken],
        // 409: INVOCATION_UNKNOWN.
        [409, 200, 409, 'FUNCTION_FAILING'],
      );
    });

    it('stop when the gateway closes, and do not exist when the operator wants none', async () => {
      await house.publish('one', HANDLER);
      await createProbes(house.gateway())();
      const probing = probeClouds(house.gateway());
      await house.restart({ probeEverySec: 0 });
      await probing;
      const before = await namesOnAws();

      await probeClouds(house.gateway());
      const [found] = await check(house.gateway());

      assert.deepEqual(await namesOnAws(), before);
      // What was left of an earlier time is found, so that it can be removed.
      assert.deepEqual(
        found?.orphans,
        before.filter((name) => name === mine()).map((name) => ({ name })),
      );
    });
  });

  it('run on every cloud, and not on this machine', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'defaas-probes-'));
    const closing: (() => Promise<void>)[] = [];
    const providers = await openProviders(dir, closing);
    const byName = new Map(providers.map((provider) => [provider.name, provider]));
    const ledger = await openSqliteLedger(join(dir, 'ledger.sqlite'));
    const records = providers.map(
      (provider): DeploymentRecord => ({
        functionVersion: `0x${'11'.repeat(32)}`,
        provider: provider.name,
        region: provider.regions[0] ?? '',
        name: 'df-one',
        state: 'live',
      }),
    );
    const overheads = createOverheads();
    const address = KEYS.gateway.address;
    const deployments = createDeployments({
      ledger,
      overheads,
      executions: createExecutions(),
      providers: byName,
      state: { deployments: records, manifests: [] },
      account: address,
      costPico: () => 0n,
    });
    const house = await startSmallHouse();
    const lines: string[] = [];
    const look = createProbes({
      ...house.gateway(),
      address,
      deployments,
      overheads,
      log: logTo(lines),
      providerNames: [...byName.keys()],
      provider: (name) => byName.get(name) ?? assert.fail(name),
    });

    await look();
    const during = await Promise.all(providers.map(namesAt));
    const measured = records.map(({ provider, region }) => overheads.of(provider, region).ms);
    for (const record of records) await deployments.putRecord({ ...record, state: 'gone' });
    await look();
    const after = await Promise.all(providers.map(namesAt));
    await house.close();
    await ledger.close();
    await Promise.all(providers.map((provider) => provider.close()));
    await Promise.all(closing.map((close) => close()));
    rmSync(dir, { recursive: true, force: true });

    const name = probeName(address);
    assert.deepEqual(lines, []);
    assert.deepEqual(during, [[name], [name], [name], []]);
    assert.ok(
      measured.every((ms) => ms >= 5 && ms <= 100),
      measured.join(),
    );
    assert.deepEqual(after, [[], [], [], []]);
  });
});
