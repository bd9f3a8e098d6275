// A function that runs unbilled within the bounds of metering: the cloud's own metrics show it, and
// its publisher is stopped.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import pino from 'pino';
import type { FaultRule } from '../../../adapters/emulators/faults.ts';
import type { ExecutionMetric } from '../../../adapters/provider.ts';
import { createAlarms } from '../../../broker/alarms.ts';
import { deploy } from '../../../broker/client/deployments.ts';
import { fetchAlarms } from '../../../broker/client/settlement.ts';
import { createDeployments } from '../../../broker/deployments/deployments.ts';
import { createLook } from '../../../broker/deployments/keep-warm.ts';
import { createDriftLook, isDrift } from '../../../broker/deployments/metering-drift.ts';
import { createProbes } from '../../../broker/deployments/probes.ts';
import { attempt } from '../../../broker/invocation/attempt.ts';
import { createDeadlines } from '../../../broker/invocation/deadlines.ts';
import { openSqliteLedger } from '../../../broker/ledger/sqlite.ts';
import { createFreeFailures } from '../../../broker/money/free-failures.ts';
import { createStoppedPublishers } from '../../../broker/money/stopped-publishers.ts';
import type { Candidate } from '../../../broker/routing/choose.ts';
import { createExecutions, HOUR_MS, hourOf } from '../../../broker/routing/executions.ts';
import { createOverheads } from '../../../broker/routing/overheads.ts';
import type { Hex } from '../../../contracts/libraries/keccak.ts';
import { doctor } from '../../../scripts/cli/doctor.ts';
import { createRequest, createSpec } from '../../adapters/conformance.ts';
import {
  type CloudOptions,
  type MeteredCloud,
  openAzure,
  openGoogle,
} from '../../adapters/fixtures/metered-clouds.ts';
import { createCommandLine, documentOf } from '../../scripts/cli/beside.ts';
import { createSpender } from '../invocation/in-process-cloud.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../small-house.ts';

const MINUTE_MS = 60_000;
const PUBLISHER = KEYS.publisher.address;
const DRIFT = { code: 'METERING_DRIFT', status: 503 };

/** Waits, and tells the gateway that it took no time and that its instance was new. */
const forgerOf = (workMs: number) => `
  import { ServerResponse } from 'node:http';
  const forged = { 'x-defaas-duration-ms': '0', 'x-defaas-cold': '1' };
  const { setHeader } = ServerResponse.prototype;
  ServerResponse.prototype.setHeader = function (name, value) {
    return setHeader.call(this, name, forged[name] ?? value);
  };
  const { fromEntries } = Object;
  Object.fromEntries = (pairs) => {
    const object = fromEntries(pairs);
    return 'x-defaas-outcome' in object ? { ...object, ...forged } : object;
  };
  export default async () => {
    await new Promise((resolve) => setTimeout(resolve, ${workMs}));
    return new Response('done');
  };`;

/** Stops the clocks that a shim could look at, and waits. */
const CLOCK_STOPPER = `
  performance.now = () => 0;
  Object.getPrototypeOf(performance).now = () => 0;
  Date.now = () => 0;
  export default async () => {
    await new Promise((resolve) => setTimeout(resolve, 65));
    return new Response('done');
  };`;

/** Takes 1 to 20 ms, as requested. */
const SHORT = `
  export default async (request) => {
    const ms = Number(new URL(request.url).searchParams.get('ms'));
    await new Promise((resolve) => setTimeout(resolve, ms));
    return new Response('done');
  };`;

describe('the comparison with the cloud’s metrics', function () {
  this.timeout(240_000);
  let house: SmallHouse;
  let dir: string;
  let atMs: number;
  let names = 0;
  const closing: (() => Promise<void>)[] = [];
  const nowMs = () => atMs + performance.now();
  before(async () => {
    house = await startSmallHouse();
  });
  after(() => house.close());
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'defaas-drift-'));
    // A quarter past, an hour after the gateway of the test has begun to count.
    atMs = hourOf(Date.now()) + HOUR_MS + 15 * MINUTE_MS - performance.now();
  });
  afterEach(async () => {
    for (const close of closing.splice(0).reverse()) await close();
    rmSync(dir, { recursive: true, force: true });
  });

  /**
   * What a gateway has of it, on a cloud with the test's clock; begun an hour ago unless otherwise
   * said.
   */
  async function openGateway(
    open: (options: CloudOptions) => Promise<MeteredCloud>,
    stopMs = 24 * HOUR_MS,
  ) {
    const cloud = await open({ dir, nowMs, gateway: house.account });
    closing.push(cloud.close);
    const { provider, region } = cloud;
    const lines: string[] = [];
    const log = pino({ level: 'warn' }, { write: (line) => lines.push(JSON.parse(line).msg) });
    const ledger = await openSqliteLedger(join(dir, 'ledger.sqlite'));
    closing.push(() => ledger.close());
    const executions = createExecutions();
    const overheads = createOverheads();
    const alarms = createAlarms({ log, nowMs });
    const file = join(dir, 'stopped-publishers.json');
    const deployments = createDeployments({
      ...{ ledger, overheads, executions, account: house.account },
      providers: new Map([[provider.name, provider]]),
      state: { deployments: [], manifests: [] },
      costPico: () => 0n,
    });
    const parts = {
      ...house.gateway(),
      ...{ alarms, deployments, executions, log, nowMs, overheads },
      stoppedPublishers: createStoppedPublishers({ file, stopMs, alarms, nowMs }),
      providerNames: [provider.name],
      provider: () => provider,
    };
    const lookFrom = (startedMs: number) => {
      const real = atMs;
      atMs = startedMs - performance.now();
      const look = createDriftLook(parts);
      atMs = real;
      return look;
    };
    const refused = () =>
      parts.stoppedPublishers.refuse({ label: 'f', function: { owner: PUBLISHER } });
    return {
      ...{ cloud, parts, lines, file, refused, region },
      look: lookFrom(nowMs() - HOUR_MS),
      lookFrom,
      place: overheads.of(provider.name, region),
      /** Publishes the source on the chain and puts it on the cloud. */
      put: async (source: string, memoryMiB = 256): Promise<Candidate> => {
        names += 1;
        const number = await house.register(`drift-${names}`, source);
        await house.gateway().chain.synced(house.view.view.head.number);
        const fn = house.view.view.functionOf(PUBLISHER, `drift-${names}`);
        const version = fn && house.view.view.versionOf(fn, number);
        const functionVersion: Hex = version?.functionVersion ?? assert.fail('not published');
        const name = `df-drift-${names}`;
        const spec = createSpec(region, { name, handler: source, memoryMiB });
        const within = { signal: AbortSignal.timeout(60_000) };
        const deployment = await provider.deploy(spec, within);
        const record = { functionVersion, provider: provider.name, region, name };
        await deployments.putRecord({ ...record, state: 'live', chainId: names, deployment });
        return deployments.live(functionVersion).get(names) ?? assert.fail('no candidate');
      },
    };
  }

  /** Calls one after the other, `atOnce` beside each other. @returns what was billed, ms */
  async function callMany(
    candidate: Candidate,
    of: { calls: number; atOnce?: number; query?: string },
  ) {
    const { calls, atOnce = 1, query = '' } = of;
    const freeFailures = createFreeFailures({ leastMs: 600_000, nowMs });
    const spender = createSpender({ timeoutMs: 10_000 });
    const waiting = Array.from({ length: calls }, (_, index) => index).values();
    let billedMs = 0;
    const work = async (): Promise<void> => {
      for (const index of waiting) {
        const request = createRequest({ query: query || `ms=${1 + (index % 20)}` });
        const outcome = await attempt([{ candidate, place: 0 }], request, {
          ...{ spender, freeFailures, nowMs, timeoutMs: 10_000, idempotent: false },
          answerBytes: 1_000_000,
          reservedMs: freeFailures.tryReserve(spender) ?? 0,
          deadlines: createDeadlines(new AbortController().signal),
          onFault: (error) => assert.fail(String(error)),
        });
        if (outcome.kind !== 'answered') assert.fail(JSON.stringify(outcome.failed));
        assert.ok(outcome.result.ok, JSON.stringify(outcome.result));
        billedMs += outcome.billedMs;
      }
    };
    await Promise.all(Array.from({ length: atOnce }, work));
    return billedMs;
  }

  /** Advances to the end of the hour, and on until the cloud's metrics cover it. */
  const passHour = (metric: Pick<ExecutionMetric, 'delayMs'> | undefined) => {
    const endMs = hourOf(nowMs()) + HOUR_MS;
    atMs = endMs + (metric?.delayMs ?? 0) + MINUTE_MS - performance.now();
  };

  it('stops on Google the publisher of a function that hides its time within the allowed overhead', async () => {
    const { cloud, parts, look, put, place, refused, lines } = await openGateway(openGoogle);
    const metric = cloud.provider.executionMetric;
    const candidate = await put(forgerOf(65));
    const probe = createProbes(parts);
    for (let round = 0; round < 4; round += 1) await probe();
    // The overhead of the place is at its upper bound.
    for (let sample = 0; sample < 64; sample += 1) place.add(100);
    await callMany(candidate, { calls: 1 });

    const billedMs = await callMany(candidate, { calls: 300, atOnce: 6 });
    await look();
    assert.doesNotThrow(refused);
    passHour(metric);
    await look();

    // Nearly nothing was billed of 19.5 s: 1 ms of each call, as long as this machine is not too
    // busy.
    assert.ok(billedMs < 10_000, `${billedMs}`);
    assert.throws(refused, DRIFT);
    assert.deepEqual(
      parts.alarms.list().map(({ kind, about }) => [kind, about]),
      [['METERING_DRIFT', PUBLISHER]],
    );
    assert.match(
      parts.alarms.list()[0]?.message ?? '',
      /^google-cloud-functions has counted \d+\.\d s in \d+ executions of 0x\w+\/drift-\d+@1 .* were billed; all functions .* are stopped here until /,
    );
    assert.ok(lines.includes('a cloud has counted more than was billed'), lines.join());
  });

  it('stops on Azure the publisher of a function that forges cold starts', async () => {
    const { cloud, look, put, refused } = await openGateway(openAzure);
    atMs -= 12 * MINUTE_MS;
    const candidate = await put(forgerOf(1_700), 512);
    // A new instance is believed when the last call is 4 minutes ago.
    let billedMs = 0;
    for (let call = 0; call < 10; call += 1) {
      billedMs += await callMany(candidate, { calls: 1 });
      atMs += 5 * MINUTE_MS;
    }
    passHour(cloud.provider.executionMetric);

    await look();

    assert.ok(billedMs < 5_000, `${billedMs}`);
    assert.throws(refused, DRIFT);
  });

  it('bills a function that stops its clocks for its time, and so does not stop its publisher', async () => {
    const { cloud, look, put, place, refused } = await openGateway(openGoogle);
    for (let sample = 0; sample < 64; sample += 1) place.add(100);
    const candidate = await put(CLOCK_STOPPER);

    const billedMs = await callMany(candidate, { calls: 150, atOnce: 5 });
    passHour(cloud.provider.executionMetric);
    await look();

    assert.ok(billedMs >= 150 * 65, `${billedMs}`);
    assert.doesNotThrow(refused);
  });

  for (const [name, open] of [
    ['Google', openGoogle],
    ['Azure', openAzure],
  ] as const) {
    it(`stops nobody on ${name} for 1,000 short calls, probes and calls that keep warm`, async () => {
      const { cloud, parts, look, put, refused, lines } = await openGateway(open);
      const candidate = await put(SHORT, 512);
      const probe = createProbes(parts);
      const { functionVersion = '0x' } = parts.deployments.records()[0] ?? {};
      const manifest = JSON.stringify({
        ...{ name: 'drift', entry: 'handler.ts', memoryMiB: 512, timeoutMs: 5_000, minWarm: 2 },
      });
      await parts.deployments.putManifest(functionVersion, Buffer.from(manifest));
      const warm = createLook(parts);

      for (let round = 0; round < 10; round += 1) {
        await probe();
        await warm();
        await warm();
        await callMany(candidate, { calls: 100, atOnce: 4 });
      }
      passHour(cloud.provider.executionMetric);
      await look();

      assert.doesNotThrow(refused);
      assert.deepEqual([parts.alarms.list(), lines], [[], []]);
      // It was compared: the cloud has counted what was counted here, and the calls that the deploy
      // has made.
      const hourMs = hourOf(nowMs()) - HOUR_MS;
      const [own] = parts.executions.at(cloud.provider.name).filter((one) => one.functionVersion);
      const window = { fromMs: hourMs, toMs: hourMs + HOUR_MS };
      const within = { signal: AbortSignal.timeout(30_000) };
      const told = await cloud.provider.executionMetric?.read(candidate.deployment, window, within);
      const ownCount = own?.hour(hourMs).count ?? 0;
      assert.ok(ownCount > 1_000, `${ownCount}`);
      const beside = (told?.count ?? 0) - ownCount;
      assert.ok(beside >= 1 && beside <= 5, `${beside}`);
    });
  }

  it('skips the hour in which the gateway started, and compares the next one', async () => {
    const { cloud, lookFrom, put, place, refused } = await openGateway(openGoogle);
    const metric = cloud.provider.executionMetric;
    for (let sample = 0; sample < 64; sample += 1) place.add(100);
    const candidate = await put(forgerOf(400));
    const look = lookFrom(nowMs());

    // The gateway does not know what an earlier process has billed.
    await callMany({ ...candidate, executions: undefined }, { calls: 60, atOnce: 6 });
    passHour(metric);
    await look();
    assert.doesNotThrow(refused);
    await callMany({ ...candidate, executions: undefined }, { calls: 60, atOnce: 6 });
    passHour(metric);
    await look();

    assert.throws(refused, DRIFT);
  });

  it('counts a call that crosses the end of an hour in both hours', async () => {
    const { cloud, parts, look, put, refused } = await openGateway(openGoogle);
    const metric = cloud.provider.executionMetric;
    const candidate = await put(SHORT);
    const hourMs = hourOf(nowMs());
    atMs = hourMs + HOUR_MS - 1_500 - performance.now();

    // 24 s of execution, of which the cloud has some in each hour.
    await callMany(candidate, { calls: 48, atOnce: 6, query: 'ms=500' });
    passHour(metric);
    await look();

    assert.doesNotThrow(refused);
    const [own] = parts.executions.at(cloud.provider.name);
    assert.deepEqual([own?.hour(hourMs).count, own?.hour(hourMs + HOUR_MS).count], [48, 48]);
  });

  it('stops nobody while the cloud’s metrics cannot be read, reports that after a day, and later compares what it still knows', async () => {
    const { cloud, parts, look, put, place, refused, lines } = await openGateway(openGoogle);
    const metric = cloud.provider.executionMetric;
    for (let sample = 0; sample < 64; sample += 1) place.add(100);
    const candidate = await put(forgerOf(400));
    const outage: FaultRule = { kind: 'status', code: 503, on: { operation: 'ListTimeSeries' } };
    await cloud.faults.set([outage]);
    const told: string[][] = [];

    for (let hour = 0; hour < 26; hour += 1) {
      // The gateway knows only the last hours when the metrics are readable again.
      if (hour === 23)
        await callMany({ ...candidate, executions: undefined }, { calls: 60, atOnce: 6 });
      passHour(metric);
      await look();
      await look();
      told.push(parts.alarms.list().map(({ kind }) => kind));
    }
    assert.doesNotThrow(refused);
    await cloud.faults.clear();
    atMs += 15 * MINUTE_MS;
    await look();

    assert.deepEqual(told[22], []);
    assert.deepEqual(told.at(-1), ['METERING_UNREAD']);
    assert.deepEqual([...new Set(lines)].sort(), [
      'a cloud has counted more than was billed',
      'alarm',
      'metering was not compared',
    ]);
    assert.equal(lines.filter((line) => line === 'metering was not compared').length, 1);
    assert.throws(refused, DRIFT);
    assert.deepEqual(
      parts.alarms.list().map(({ kind }) => kind),
      ['METERING_DRIFT'],
    );
  });

  it('names the rights that it needs when the account may not read metrics', async () => {
    const { cloud, parts, look, put, refused } = await openGateway(openAzure);
    await put(SHORT);
    await cloud.faults.set([{ kind: 'expire-credentials', on: { operation: 'Metrics_List' } }]);

    for (let hour = 0; hour < 25; hour += 1) {
      passHour(cloud.provider.executionMetric);
      await look();
    }

    assert.doesNotThrow(refused);
    const [alarm] = parts.alarms.list();
    assert.equal(alarm?.kind, 'METERING_UNREAD');
    assert.match(alarm?.message ?? '', /PROVIDER_UNAUTHENTICATED.*Monitoring Reader/);
  });

  it('ends a stop after its time, keeps it across a restart, and lifts it when the operator turns stops off', async () => {
    const { parts, file, refused } = await openGateway(openGoogle);
    const open = (stopMs: number) => {
      const alarms = createAlarms({ log: parts.log, nowMs });
      const stopped = createStoppedPublishers({ file, stopMs, alarms, nowMs });
      const kinds = () => alarms.list().map(({ kind }) => kind);
      return { stopped, kinds };
    };
    parts.stoppedPublishers.stop(PUBLISHER, 'the cloud has counted too much');
    assert.throws(refused, { ...DRIFT, retryAfterSec: 86_400 });

    const again = open(24 * HOUR_MS);
    const unwanted = open(0);
    assert.equal(again.stopped.isStopped(PUBLISHER), true);
    assert.deepEqual([again.kinds(), unwanted.kinds()], [['METERING_DRIFT'], ['METERING_DRIFT']]);
    assert.equal(unwanted.stopped.isStopped(PUBLISHER), false);
    assert.equal(open(1_000).stopped.isStopped(PUBLISHER), true);

    atMs += 24 * HOUR_MS;
    assert.doesNotThrow(refused);
    again.stopped.endOver();
    assert.deepEqual(again.kinds(), []);
    assert.equal(readFileSync(file, 'utf8'), '[]\n');
  });

  it('covers what a real gateway deploys and calls', async () => {
    const cloud = await openGoogle({ dir, nowMs: Date.now, gateway: house.account });
    closing.push(cloud.close);
    const { publisher } = KEYS;
    const own = await startSmallHouse({ clouds: { 'google-cloud-functions': cloud.settings } });
    closing.push(own.close);
    await own.register('counted', SHORT);
    const { state } = await deploy(await own.session(publisher), {
      owner: PUBLISHER,
      name: 'counted',
      version: '1',
      providers: ['google-cloud-functions'],
    });
    const counted = () => {
      const [one] = own.gateway().executions.at('google-cloud-functions');
      return one?.hour(hourOf(Date.now())).count ?? 0;
    };
    const before = counted();
    const lane = await own.openLane(KEYS.user);
    const call = async () => {
      const caller = await own.caller(KEYS.user, lane);
      return (await caller.invoke({ function: `${PUBLISHER}/counted` })).response.status;
    };

    assert.equal(state, 'live');
    assert.equal(await call(), 200);
    assert.ok(before >= 1 && counted() > before, `${before}, ${counted()}`);

    own.gateway().stoppedPublishers.stop(PUBLISHER, 'the cloud has counted too much');
    await assert.rejects(call(), { code: 'METERING_DRIFT' });
    await own.restart();
    await assert.rejects(call(), { code: 'METERING_DRIFT' });
    const alarms = await fetchAlarms(await own.session(KEYS.gateway));
    assert.deepEqual(
      alarms.filter(({ kind }) => kind !== 'BOND_LOW').map(({ about }) => about),
      [PUBLISHER],
    );
    const cli = createCommandLine(own);
    try {
      const { checks } = await documentOf(doctor(cli.flags()));
      const found = checks.find((one: { name: string }) => one.name === 'alarms');
      assert.match(found?.found ?? '', /^GATEWAY_ALARM: .*METERING_DRIFT: the cloud has counted/);
    } finally {
      cli.remove();
    }
    await own.restart({ meteringStopSec: 0 });
    assert.equal(await call(), 200);
  });
});

describe('isDrift', () => {
  const rules = fc.constantFrom(
    { leastMs: 0, stepMs: 1 },
    { leastMs: 100, stepMs: 1 },
    { leastMs: 1_000, stepMs: 100 },
  );
  const calls = fc.array(
    fc.record({
      functionMs: fc.double({ min: 0, max: 3_000, noNaN: true }),
      platformMs: fc.double({ min: 0, max: 100, noNaN: true }),
      networkMs: fc.double({ min: 0, max: 100, noNaN: true }),
      wordIsTrue: fc.boolean(),
    }),
    { minLength: 1, maxLength: 300 },
  );

  it('is never true of times that the gateway’s clock bounds, however a cloud rounds', () => {
    fc.assert(
      fc.property(rules, calls, (rule, made) => {
        const metric = { ...rule, delayMs: 0, skewMs: 0, read: () => assert.fail() };
        const overheadMs = 100;
        const deployment = { name: 'df-one', region: 'here', memoryMiB: 128 };
        const executions = createExecutions();
        const count = executions.of({ name: 'local', executionMetric: metric }, deployment);
        const told = { count: made.length, ms: 0 };
        for (const { functionMs, platformMs, networkMs, wordIsTrue } of made) {
          const insideMs = functionMs + platformMs;
          const wallMs = insideMs + networkMs;
          const word = wordIsTrue ? functionMs : 0;
          const ms = Math.ceil(Math.max(word, wallMs - overheadMs));
          count?.add({ startedMs: 0, endedMs: wallMs, ms });
          told.ms += Math.max(rule.leastMs, Math.ceil(insideMs / rule.stepMs) * rule.stepMs);
        }
        const [own = assert.fail()] = executions.at('local');

        // With the whole overhead taken for the platform's: nobody is stopped for the network's
        // part of it.
        assert.equal(isDrift(told, own.hour(0), overheadMs), false);
      }),
    );
  });
});
