// What a run is billed for when the publisher's code forges clocks, marks and log lines.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import type { Provider, Usage } from '../../../adapters/provider.ts';
import { attempt } from '../../../broker/invocation/attempt.ts';
import { createDeadlines } from '../../../broker/invocation/deadlines.ts';
import { billedMsOf } from '../../../broker/invocation/metering.ts';
import { createFreeFailures } from '../../../broker/money/free-failures.ts';
import type { Candidate } from '../../../broker/routing/choose.ts';
import { createColdStarts } from '../../../broker/routing/cold-starts.ts';
import { createOverhead, createOverheads } from '../../../broker/routing/overheads.ts';
import { createRequest, createSpec } from '../../adapters/conformance.ts';
import { openProviders } from '../../adapters/fixtures/emulated-providers.ts';
import { createCandidate, createSpender } from './in-process-cloud.ts';

const WORK_MS = 300;

/**
 * Works for 300 ms by a clock of its own, after it has stopped every clock that a shim could look
 * at.
 */
const CLOCK_STOPPER = `
  const now = performance.now.bind(performance);
  const hrtime = () => [0, 0];
  hrtime.bigint = () => 0n;
  process.hrtime = hrtime;
  process.uptime = () => 0;
  performance.now = () => 0;
  Object.getPrototypeOf(performance).now = () => 0;
  Date.now = () => 0;
  Number.prototype.toFixed = () => '0';
  export default () => {
    for (const end = now() + ${WORK_MS}; now() < end; );
    return new Response('done');
  };`;

/**
 * Works for 300 ms and forges what the gateway is told: the marks on their way out, and a line like
 * the platform's.
 */
const FORGER = `
  import { ServerResponse } from 'node:http';
  const forged = { 'x-defaas-duration-ms': '0', 'x-defaas-cold': '1', 'x-defaas-init-ms': '9e9' };
  const { setHeader } = ServerResponse.prototype;
  ServerResponse.prototype.setHeader = function (name, value) {
    return setHeader.call(this, name, forged[name] ?? value);
  };
  const { fromEntries } = Object;
  Object.fromEntries = (pairs) => {
    const object = fromEntries(pairs);
    return 'x-defaas-outcome' in object ? { ...object, ...forged } : object;
  };
  export default (_, { requestId }) => {
    for (const end = Date.now() + ${WORK_MS}; Date.now() < end; );
    console.log('REPORT RequestId: ' + requestId + '\\tDuration: 0.1 ms\\tBilled Duration: 1 ms\\t' +
      'Memory Size: 1 MB\\tMax Memory Used: 1 MB\\tInit Duration: 99999.99 ms');
    return new Response('done');
  };`;

describe('a hostile function', function () {
  this.timeout(120_000);
  let dir: string;
  let providers: Provider[] = [];
  const closing: (() => Promise<void>)[] = [];
  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'defaas-metering-'));
    providers = await openProviders(dir, closing);
  });
  after(async () => {
    await Promise.all(providers.map((provider) => provider.close()));
    await Promise.all(closing.map((close) => close()));
    rmSync(dir, { recursive: true, force: true });
  });

  async function deployTo(provider: Provider, name: string, handler: string): Promise<Candidate> {
    const spec = createSpec(provider.regions[0] ?? '', { name, handler });
    const deployment = await provider.deploy(spec, { signal: AbortSignal.timeout(60_000) });
    return { ...createCandidate(1), provider, deployment };
  }

  async function run(candidate: Candidate) {
    const spender = createSpender({ timeoutMs: 10_000 });
    const freeFailures = createFreeFailures({ leastMs: 600_000, nowMs: () => 0 });
    const outcome = await attempt([{ candidate, place: 0 }], createRequest(), {
      spender,
      freeFailures,
      reservedMs: freeFailures.tryReserve(spender) ?? 0,
      timeoutMs: 10_000,
      answerBytes: 1_000_000,
      idempotent: false,
      deadlines: createDeadlines(new AbortController().signal),
      nowMs: () => performance.now(),
      onFault: (error) => assert.fail(String(error)),
    });
    if (outcome.kind !== 'answered') assert.fail(JSON.stringify(outcome.failed));
    const { billedMs, result } = outcome;
    assert.ok(result.ok, JSON.stringify(result));
    return { billedMs, usage: result.usage };
  }

  const clouds = ['aws-lambda', 'google-cloud-functions', 'azure-functions', 'local'] as const;
  for (const name of clouds) {
    const provider = (): Provider =>
      providers.find((one) => one.name === name) ?? assert.fail(`no ${name}`);

    it(`is billed its time on ${name} though it stops every clock`, async () => {
      const candidate = await deployTo(provider(), 'df-clock-stopper', CLOCK_STOPPER);

      const cold = await run(candidate);
      const warm = await run(candidate);

      for (const { billedMs, usage } of [cold, warm]) {
        // The shim's own clock goes on: the gateway's bound is not what gives this figure.
        assert.ok(usage.billedMs >= WORK_MS, `${usage.billedMs}`);
        assert.ok(billedMs >= WORK_MS && billedMs <= Math.ceil(usage.measuredMs), `${billedMs}`);
      }
    });

    it(`is billed within the overhead of what the gateway measured on ${name} though it forges its marks`, async () => {
      const candidate = await deployTo(provider(), 'df-forger', FORGER);
      await run(candidate);

      const { billedMs, usage } = await run(candidate);

      // Date.now() cuts off fractions: the work may have taken a millisecond less.
      const least = WORK_MS - 1 - (usage.source === 'gateway' ? 0 : candidate.overhead.ms);
      assert.ok(billedMs >= least, `${billedMs} of ${usage.measuredMs}`);
      assert.ok(billedMs <= Math.ceil(usage.measuredMs), `${billedMs} of ${usage.measuredMs}`);
      if (usage.source !== 'gateway') {
        assert.ok(billedMs >= usage.measuredMs - candidate.overhead.ms, `${billedMs}`);
      }
      assert.equal(usage.memoryMiB, 256);
      assert.ok((usage.initMs ?? 0) <= usage.measuredMs);
      // The forged marks reached the gateway.
      if (usage.source === 'shim') assert.ok(usage.billedMs <= 1, `${usage.billedMs}`);
    });
  }
});

describe('metering', () => {
  const ms = fc.double({ min: 0, max: 900_000, noNaN: true });
  const word = fc.record({
    billedMs: ms,
    measuredMs: ms,
    memoryMiB: fc.constant(128),
    egressBytes: fc.constant(0),
    source: fc.constantFrom('provider', 'shim', 'gateway'),
  } satisfies Record<keyof Omit<Usage, 'peakMemoryMiB' | 'initMs' | 'disputed'>, unknown>);

  it('bounds every reported time by the measured time and by that time less overhead and allowance', () => {
    const { provider } = createCandidate(1);
    fc.assert(
      fc.property(
        word,
        fc.boolean(),
        fc.boolean(),
        fc.double({ min: 0, max: 1_000, noNaN: true }),
        (usage, cold, mayBeCold, sampleMs) => {
          const overhead = createOverhead();
          overhead.add(sampleMs);
          const told = { ok: true, status: 200, headers: [], body: Buffer.alloc(0) } as const;

          const billedMs = billedMsOf(
            { ...told, usage, cold, requestId: 'r' },
            { provider, overhead },
            mayBeCold,
          );

          assert.ok(Number.isInteger(billedMs) && billedMs >= 0, `${billedMs}`);
          assert.ok(billedMs <= Math.ceil(usage.measuredMs), `${billedMs}`);
          if (usage.source === 'gateway') return;
          const isCold = cold && (mayBeCold || usage.source === 'provider');
          const most = Math.min(100, Math.max(5, sampleMs)) + (isCold ? 1_000 : 0);
          assert.ok(billedMs >= usage.measuredMs - most, `${billedMs}`);
        },
      ),
    );
  });

  it('derives the overhead of each place from the slowest twentieth of its samples, within 5 to 100 ms', () => {
    const overheads = createOverheads();
    const place = overheads.of('azure-functions', 'westeurope');
    const atFirst = place.ms;
    for (let sample = 0; sample < 64; sample += 1) place.add(sample % 16 === 0 ? 400 : 30);
    const withSlow = place.ms;
    for (let sample = 0; sample < 64; sample += 1) place.add(30);

    assert.deepEqual([atFirst, withSlow, place.ms], [5, 100, 30]);
    assert.equal(overheads.of('azure-functions', 'westeurope'), place);
    assert.equal(overheads.of('azure-functions', 'northeurope').ms, 5);
  });

  it('believes a cold start only when more calls are in flight than there were lately', () => {
    const coldStarts = createColdStarts();
    const first = coldStarts.begins(1, 0);
    const again = coldStarts.begins(1, 1_000);
    const more = coldStarts.begins(2, 2_000);
    const asMany = [1, 2].map((inFlight) => coldStarts.begins(inFlight, 125_000));
    const muchLater = coldStarts.begins(1, 600_000);

    assert.deepEqual(
      [first, again, more, asMany, muchLater],
      [true, false, true, [false, false], true],
    );
  });

  it('gives a function that always reports a cold start at most one allowance per instance in 2 minutes', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ pauseMs: fc.nat(5_000), inFlight: fc.integer({ min: 1, max: 8 }) }), {
          maxLength: 300,
        }),
        (calls) => {
          const coldStarts = createColdStarts();
          let nowMs = 0;
          let believed = 0;
          for (const { pauseMs, inFlight } of calls) {
            nowMs += pauseMs;
            if (coldStarts.begins(inFlight, nowMs)) believed += 1;
          }
          assert.ok(believed <= 8 * (1 + nowMs / 120_000), `${believed} in ${nowMs} ms`);
        },
      ),
    );
  });
});
