// How Google and Azure count a function's executions: by the time outside its process, whatever the
// function reports itself.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Deployment, ExecutionTotal } from '../../adapters/provider.ts';
import { createRequest, createSpec } from './conformance.ts';
import { type MeteredCloud, openAzure, openGoogle } from './fixtures/metered-clouds.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const WORK_MS = 150;
const CALLS = 4;

/** Works for 150 ms and reports 0 ms to the gateway. */
const FORGER = `
  import { ServerResponse } from 'node:http';
  const { setHeader } = ServerResponse.prototype;
  ServerResponse.prototype.setHeader = function (name, value) {
    return setHeader.call(this, name, name === 'x-defaas-duration-ms' ? '0' : value);
  };
  const { fromEntries } = Object;
  Object.fromEntries = (pairs) => {
    const object = fromEntries(pairs);
    return 'x-defaas-outcome' in object ? { ...object, 'x-defaas-duration-ms': '0' } : object;
  };
  export default async () => {
    await new Promise((resolve) => setTimeout(resolve, ${WORK_MS}));
    return new Response('done');
  };`;

describe('the execution metric', function () {
  this.timeout(120_000);
  let dir: string;
  let aheadMs = 0;
  const nowMs = () => Date.now() + aheadMs;
  const within = () => ({ signal: AbortSignal.timeout(30_000) });
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'defaas-metric-'));
    // In the middle of an hour.
    aheadMs = HOUR_MS - (Date.now() % HOUR_MS) + HOUR_MS / 2;
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const window = () => {
    const fromMs = Math.floor(nowMs() / HOUR_MS) * HOUR_MS;
    return { fromMs, toMs: fromMs + HOUR_MS };
  };
  const read = ({ provider }: MeteredCloud, deployment: Deployment): Promise<ExecutionTotal> =>
    provider.executionMetric?.read(deployment, window(), within()) ?? assert.fail('none');
  const deployTo = (cloud: MeteredCloud): Promise<Deployment> =>
    cloud.provider.deploy(
      createSpec(cloud.region, { name: 'df-forger', handler: FORGER }),
      within(),
    );

  const clouds = [
    // 150 ms each; the deploy's own probes take a moment.
    { name: 'Google', open: openGoogle, leastMs: CALLS * (WORK_MS - 1) },
    // Each call is counted as at least a second of an instance.
    { name: 'Azure', open: openAzure, leastMs: CALLS * 1_000 },
  ];
  for (const { name, open, leastMs } of clouds) {
    it(`counts on ${name} each execution of a function that forges its marks, once the minute is over`, async () => {
      const cloud = await open({ dir, nowMs });
      try {
        const deployment = await deployTo(cloud);
        aheadMs += 2 * MINUTE_MS;
        const before = await read(cloud, deployment);
        let toldMs = 0;
        for (let call = 0; call < CALLS; call += 1) {
          const result = await cloud.provider.invoke(deployment, createRequest(), within());
          assert.ok(result.ok, JSON.stringify(result));
          toldMs += result.usage.billedMs;
        }
        const tooSoon = await read(cloud, deployment);
        aheadMs += 2 * MINUTE_MS;
        const after = await read(cloud, deployment);

        assert.deepEqual(tooSoon, before);
        assert.equal(after.count - before.count, CALLS);
        assert.ok(after.ms - before.ms >= leastMs, `${after.ms - before.ms}`);
        // The forged marks reached the gateway.
        assert.ok(toldMs <= CALLS, `${toldMs}`);
      } finally {
        await cloud.close();
      }
    });

    it(`is 0 on ${name} in a window without executions, and reports the cloud’s refusal`, async () => {
      const cloud = await open({ dir, nowMs });
      try {
        const deployment = await deployTo(cloud);
        const { executionMetric: metric } = cloud.provider;
        const { fromMs } = window();
        const earlier = { fromMs: fromMs - HOUR_MS, toMs: fromMs };
        const code = async (rules: Parameters<typeof cloud.faults.set>[0]) => {
          await cloud.faults.set(rules);
          const refused = await metric?.read(deployment, earlier, within()).then(
            () => 'read',
            (error) => error.code,
          );
          await cloud.faults.clear();
          return refused;
        };

        assert.deepEqual(await metric?.read(deployment, earlier, within()), { count: 0, ms: 0 });
        assert.deepEqual(
          [
            await code([{ kind: 'expire-credentials' }]),
            await code([{ kind: 'throttle' }]),
            await code([{ kind: 'status', code: 503 }]),
            await code([{ kind: 'outage' }]),
          ],
          [
            'PROVIDER_UNAUTHENTICATED',
            'PROVIDER_THROTTLED',
            'PROVIDER_UNAVAILABLE',
            'PROVIDER_CONNECTION',
          ],
        );
      } finally {
        await cloud.close();
      }
    });
  }

  it('counts on Azure an instance once, however many executions run in it at once', async () => {
    const cloud = await openAzure({ dir, nowMs });
    try {
      const deployment = await deployTo(cloud);
      await cloud.provider.invoke(deployment, createRequest(), within());
      aheadMs += 2 * MINUTE_MS;
      const before = await read(cloud, deployment);
      const calls = Array.from({ length: 4 }, () =>
        cloud.provider.invoke(deployment, createRequest(), within()),
      );
      await Promise.all(calls);
      aheadMs += 2 * MINUTE_MS;
      const after = await read(cloud, deployment);

      assert.equal(after.count - before.count, 4);
      // All four run in one interval of the instance, or in two on a busy machine.
      assert.ok(after.ms - before.ms <= 2_000, `${after.ms - before.ms}`);
    } finally {
      await cloud.close();
    }
  });

  it('does not exist on Azure’s older plan, and ends with its app', async () => {
    const older = await openAzure({ dir: join(dir, 'older'), nowMs, planKind: 'y1' });
    const cloud = await openAzure({ dir, nowMs });
    try {
      const deployment = await deployTo(cloud);
      await cloud.provider.remove(deployment, within());

      assert.equal(older.provider.executionMetric, undefined);
      await assert.rejects(read(cloud, deployment), { code: 'PROVIDER_NOT_FOUND', ran: 'no' });
    } finally {
      await cloud.close();
      await older.close();
    }
  });
});
