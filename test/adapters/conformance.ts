// The conformance suite: what every provider must do, whichever cloud is behind it. Each provider's
// test calls `testProvider` with its emulator, `live.test.ts` with the real cloud.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { FaultRule, Faults } from '../../adapters/emulators/faults.ts';
import type {
  Deployment,
  DeploymentSpec,
  InvokeRequest,
  InvokeResult,
  LogLine,
  Provider,
  ProviderErrorCode,
} from '../../adapters/provider.ts';
import { ProviderError } from '../../adapters/provider.ts';

/** A provider and the cloud behind it, as the suite needs them. */
export interface TestBed {
  readonly provider: Provider;
  readonly region: string;
  readonly faults: Faults;
  /** Number of writing control-plane requests that the cloud has received so far. */
  writes(): number;
  close(): Promise<void>;
}

/** What the suite runs on: a real cloud has no fault switch and no request counter. */
export type Bed = Pick<TestBed, 'provider' | 'region' | 'close'> &
  Partial<Pick<TestBed, 'faults' | 'writes'>>;

export interface ConformanceOptions {
  /** Whether the cloud's 429 says when to retry. */
  readonly tellsRetryAfter: boolean;
  /** Whether there is no network between gateway and function, so that none can fail. */
  readonly isOnThisMachine?: boolean;
  /** Set for a real cloud: names of this run begin with it, and deadlines are longer. */
  readonly livePrefix?: string;
}

/**
 * Longest operation, and longest time until logs can be read, of an emulator and of a real cloud.
 */
const WORK_MS = { emulator: 30_000, live: 600_000 };
const LOGS_MS = { emulator: 20_000, live: 600_000 };
/** Interval between two reads of the logs. */
const LOOK_MS = { emulator: 20, live: 5_000 };

const HANDLER = readFileSync(new URL('./fixtures/conformance-handler.mjs', import.meta.url));

/** A spec as the gateway makes it; `handler` replaces the suite's function. */
export function createSpec(
  region: string,
  overrides: Partial<DeploymentSpec> & { readonly handler?: string } = {},
): DeploymentSpec {
  const { handler, ...rest } = overrides;
  return {
    name: 'df-conformance',
    region,
    files: new Map<string, Uint8Array>([
      ['handler.mjs', handler === undefined ? HANDLER : Buffer.from(handler)],
      ['defaas.json', Buffer.from('{"name":"conformance"}')],
    ]),
    artifactCid: 'bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi',
    functionName: '0x00000000000000000000000000000000000000aa/conformance',
    version: 7,
    memoryMiB: 256,
    timeoutMs: 10_000,
    env: { GREETING: 'grüß dich' },
    secrets: { TOKEN: 'not-for-logs' },
    ...rest,
  };
}

export function createRequest(overrides: Partial<InvokeRequest> = {}): InvokeRequest {
  return {
    callId: '0x01',
    method: 'POST',
    path: '/',
    query: '',
    headers: [],
    body: new Uint8Array(),
    ...overrides,
  };
}

/** Runs the suite against what `create` opens. */
export function testProvider(create: () => Promise<Bed>, options: ConformanceOptions): void {
  const kind = options.livePrefix === undefined ? 'emulator' : 'live';
  let bed: Bed;
  let deployment: Deployment;
  let dir: string;

  const within = (ms = WORK_MS[kind]) => ({ signal: AbortSignal.timeout(ms) });
  const named = (name: string) => `${options.livePrefix ?? ''}${name}`;
  const specOf = (overrides: Parameters<typeof createSpec>[1] = {}) =>
    createSpec(bed.region, { ...overrides, name: named(overrides.name ?? 'df-conformance') });
  const invoke = (request: Partial<InvokeRequest>, of = deployment) =>
    bed.provider.invoke(of, createRequest(request), within());
  const get = (path: string) => invoke({ method: 'GET', path });

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'defaas-conformance-'));
    bed = await create();
    deployment = await bed.provider.deploy(specOf(), within());
  });
  afterEach(() => bed.faults?.clear());
  after(async () => {
    await bed?.close();
    rmSync(dir, { recursive: true, force: true });
  });

  describe('on deploy', () => {
    it('writes nothing and returns the same deployment for a spec that is already deployed', async () => {
      const writes = bed.writes?.();

      const again = await bed.provider.deploy(specOf(), within());

      assert.equal(bed.writes?.(), writes);
      assert.deepEqual(again, deployment);
    });

    it('plans only the steps that are missing', async () => {
      const kept = await bed.provider.plan(specOf(), within());
      const other = specOf({ name: 'df-never-deployed' });
      const planned = await bed.provider.plan(other, within());

      assert.deepEqual([...new Set(kept.steps.map(({ action }) => action))], ['keep']);
      assert.ok(planned.steps.some(({ action }) => action === 'create'));
    });

    it('lists the deployment with its spec hash', async () => {
      const found = await listAll(bed);

      const { name, region, specHash } = deployment;
      assert.deepEqual(
        found.find((one) => one.name === name),
        { name, region, specHash },
      );
    });

    it('refuses a spec that the cloud cannot take before it sends a request', async () => {
      const { limits } = bed.provider;
      const writes = bed.writes?.();
      const tooLong = specOf({ timeoutMs: limits.maxTimeoutMs + 1 });
      const tooBig = specOf({ memoryMiB: limits.maxMemoryMiB + 1 });

      await rejects(bed.provider.deploy(tooLong, within()), 'PROVIDER_INVALID', 'no');
      await rejects(bed.provider.deploy(tooBig, within()), 'PROVIDER_INVALID', 'no');

      assert.equal(bed.writes?.(), writes);
    });

    it('replaces the artifact under the same name, and removes the deployment, both twice', async () => {
      const other = (text: string) =>
        specOf({
          name: 'df-conformance-2',
          handler: `export default () => new Response('${text}')`,
        });
      const first = await bed.provider.deploy(other('one'), within());
      assert.equal(text(await invoke({}, first)), 'one');

      const second = await bed.provider.deploy(other('two'), within());

      assert.equal(text(await invoke({}, second)), 'two');
      assert.notEqual(first.specHash, second.specHash);

      await bed.provider.remove(second, within());
      await bed.provider.remove(second, within());

      assert.ok(!(await listAll(bed)).some((one) => one.name === second.name));
      await rejects(invoke({}, second), 'PROVIDER_NOT_FOUND', 'no');
    });
  });

  describe('on invoke', () => {
    it('passes JSON in and out, and keeps the instance between calls', async () => {
      const body = Buffer.from('{"a":[1,"ü"]}');

      const first = await invoke({ path: '/json', body });
      const second = await invoke({ path: '/json', body });

      const [one, two] = [first, second].map((result) => JSON.parse(text(result)));
      assert.deepEqual(one.body, { a: [1, 'ü'] });
      assert.equal(two.calls, one.calls + 1);
      assert.equal(second.cold, false);
    });

    // The local provider has no instance to warm.
    if (!options.isOnThisMachine) {
      it('warms an instance without running the handler: the next call is the first of the handler, and not cold', async () => {
        const fresh = await bed.provider.deploy(specOf({ name: 'df-warm' }), within());
        const options = { ...within(), holdMs: 75 };
        const startedMs = performance.now();

        await Promise.all([1, 2].map(() => bed.provider.warm?.(fresh, options)));
        const heldMs = performance.now() - startedMs;
        const result = await invoke({ path: '/json' }, fresh);
        await bed.provider.remove(fresh, within());

        assert.ok(heldMs >= 74, `${heldMs} ms`);
        assert.equal(JSON.parse(text(result)).calls, 1);
        assert.equal(result.cold, false);
        await assert.rejects(Promise.resolve(bed.provider.warm?.(fresh, options)), ProviderError);
      });
    }

    it('passes method, path, query and headers', async () => {
      const result = await invoke({
        method: 'PUT',
        path: '/request/%C3%BC%20x',
        query: 'q=%C3%A4&q=2',
        headers: [['x-test', 'value']],
      });

      assert.deepEqual(JSON.parse(text(result)), {
        method: 'PUT',
        path: '/request/%C3%BC%20x',
        query: '?q=%C3%A4&q=2',
        header: 'value',
      });
    });

    for (const [title, body] of [
      ['text', Buffer.from('grüße, \u{1f600} \u0000 "quoted" \\')],
      ['binary', Uint8Array.from({ length: 512 }, (_, index) => index % 256)],
      ['an empty body', new Uint8Array()],
      ['a byte order mark', Uint8Array.of(0xef, 0xbb, 0xbf, 0x61)],
      ['one mebibyte of binary', Uint8Array.from({ length: 2 ** 20 }, (_, index) => index % 251)],
    ] as const) {
      it(`passes ${title} unchanged in both directions`, async () => {
        const headers = [['content-type', 'application/octet-stream']] as const;
        const result = await invoke({ path: '/echo', headers, body });

        assert.ok(result.ok);
        assert.deepEqual(Buffer.from(result.body), Buffer.from(body));
        assert.equal(header(result, 'content-type'), 'application/octet-stream');
        assert.ok(result.usage.egressBytes >= body.length);
      });
    }

    for (const status of [201, 204, 304, 404, 418, 500, 502, 503, 504]) {
      it(`returns status ${status} as the function’s answer`, async () => {
        const result = await get(`/status/${status}`);

        assert.ok(result.ok);
        assert.equal(result.status, status);
      });
    }

    it('keeps each cookie a header of its own and shows no header of the shim', async () => {
      const result = await get('/cookies');

      assert.ok(result.ok);
      const cookies = result.headers.filter(([name]) => name === 'set-cookie');
      assert.deepEqual(
        cookies.map(([, value]) => value),
        ['a=1; Path=/', 'b=2, with comma; Path=/'],
      );
      assert.equal(header(result, 'x-answer'), 'yes');
      assert.ok(!result.headers.some(([name]) => name.startsWith('x-defaas-')));
    });

    it('passes the function its place as the context, and its environment', async () => {
      const context = JSON.parse(text(await get('/context')));
      const env = JSON.parse(text(await get('/env')));

      assert.deepEqual(context, {
        provider: bed.provider.name,
        functionName: '0x00000000000000000000000000000000000000aa/conformance',
        version: 7,
        hasId: true,
        isFalling: true,
      });
      assert.deepEqual(env, { greeting: 'grüß dich', secret: 'not-for-logs' });
    });

    it('reports the load time of the module for a cold call, and for no other call', async () => {
      const handler = `for (const end = Date.now() + 50; Date.now() < end; );
        export default () => new Promise((resolve) => setTimeout(resolve, 300, 'loaded'));`;
      const slow = await bed.provider.deploy(specOf({ name: 'df-slow-load', handler }), within());

      const results = await Promise.all([1, 2, 3].map(() => invoke({}, slow)));
      await bed.provider.remove(slow, within());

      assert.ok(results.some(({ cold }) => cold));
      for (const { cold, usage } of results) {
        const { initMs, measuredMs } = usage;
        if (!cold) assert.equal(initMs, undefined);
        else assert.ok(initMs !== undefined && initMs >= 49 && initMs <= measuredMs, `${initMs}`);
      }
    });

    it('reports usage within the measured time, under a unique id', async () => {
      const first = await get('/sleep/20');
      const second = await get('/sleep/20');

      assert.ok(first.ok && second.ok);
      const { billedMs, measuredMs, memoryMiB, disputed } = second.usage;
      assert.ok(billedMs >= 20 && billedMs <= Math.ceil(measuredMs), `${billedMs}/${measuredMs}`);
      assert.equal(memoryMiB, 256);
      assert.equal(disputed ?? false, false);
      assert.notEqual(first.requestId, second.requestId);
      assert.ok(second.requestId !== '');
    });
  });

  describe('on reading logs', () => {
    it('returns what a function wrote, newest last, by the id of the call, from the requested time on', async () => {
      const said = randomUUID();
      const read = (sinceMs: number, limit = 1000) =>
        bed.provider.logs(deployment, { sinceMs, limit }, within());
      const first = await get(`/log/first-${said}`);
      const second = await get(`/log/second-${said}`);
      // A cloud ingests log lines after a delay.
      let lines: readonly LogLine[] = [];
      for (const deadlineMs = Date.now() + LOGS_MS[kind]; Date.now() < deadlineMs; ) {
        lines = (await read(0)).filter(({ text }) => text.includes(said));
        if (lines.length === 2) break;
        await wait(LOOK_MS[kind]);
      }

      assert.deepEqual(
        lines.map(({ text, requestId, level }) => ({ text, requestId, level })),
        [
          { text: `said first-${said}`, requestId: first.requestId, level: 'info' },
          { text: `said second-${said}`, requestId: second.requestId, level: 'info' },
        ],
      );
      const atMs = lines[1]?.atMs ?? 0;
      assert.ok(Math.abs(Date.now() - atMs) < 60_000, `${atMs}`);
      assert.deepEqual(await read(Date.now() + 3_600_000), []);
      assert.equal((await read(0, 1)).length, 1);
    });

    it('returns nothing for a function that never ran', async () => {
      const spec = specOf({ name: 'df-never-ran' });
      const fresh = await bed.provider.deploy(spec, within());

      const lines = await bed.provider.logs(fresh, { sinceMs: 0, limit: 9 }, within());

      await bed.provider.remove(fresh, within());
      // The cloud's own log lines include the probe at the end of the deploy.
      assert.deepEqual(
        lines.filter(({ level }) => level !== 'platform'),
        [],
      );
    });
  });

  describe('reports, when a function gives no answer, that', () => {
    for (const [path, type, message] of [
      ['/throw', 'RangeError', 'thrown on purpose'],
      ['/reject', 'Error', 'rejected on purpose'],
      ['/throw-text', undefined, 'just text'],
    ] as const) {
      it(`${path} is an error of the function`, async () => {
        const result = await get(path);

        assert.ok(!result.ok);
        assert.equal(result.error.kind, 'thrown');
        if (type) assert.equal(result.error.type, type);
        assert.equal(result.error.message, message);
      });
    }

    for (const [title, handler] of [
      ['throws when imported', "throw new Error('no start'); export default () => null;"],
      ['has no default export', 'export const other = 1;'],
      ['does not parse', 'export default function ('],
    ] as const) {
      it(`a module that ${title} is an error of its start`, async () => {
        const spec = specOf({ name: 'df-bad-start', handler });
        const bad = await bed.provider.deploy(spec, within());

        const result = await invoke({}, bad);
        await bed.provider.remove(bad, within());

        assert.ok(!result.ok);
        assert.equal(result.error.kind, 'init');
        assert.ok(result.error.message !== '');
      });
    }

    for (const code of [0, 1]) {
      it(`exit ${code} ends the call, not the function`, async () => {
        await endsWith(() => get(`/exit/${code}`), 'exit');

        assert.equal(text(await get('/')), 'hello');
      });
    }

    it('a sleep past the timeout, and an endless loop, are ended; the next call is served', async () => {
      const short = await bed.provider.deploy(
        specOf({ name: 'df-short', timeoutMs: 1000 }),
        within(),
      );

      const slept = await invoke({ path: '/sleep/60000' }, short);
      assert.ok(!slept.ok);
      assert.equal(slept.error.kind, 'timeout');

      await endsWith(() => invoke({ path: '/loop' }, short), 'timeout');
      assert.equal(text(await invoke({}, short)), 'hello');
      await bed.provider.remove(short, within());
    });

    it('an answer above the limit is the function’s failure', async () => {
      const result = await get(`/large/${bed.provider.limits.maxResponseBytes + 1}`);

      assert.ok(!result.ok);
      assert.equal(result.error.kind, 'too-large');
    });

    async function endsWith(call: () => Promise<InvokeResult>, kind: 'exit' | 'timeout') {
      const result = await call();
      assert.ok(!result.ok);
      assert.equal(result.error.kind, kind);
    }
  });

  describe('reports what failed and whether the function may have run:', () => {
    it('an answer slower than the deadline is DEADLINE with ran maybe, within 100 ms of the deadline', async () => {
      const started = performance.now();

      const request = createRequest({ path: '/sleep/1500' });
      const call = bed.provider.invoke(deployment, request, within(300));
      const error = await rejects(call, 'PROVIDER_DEADLINE', 'maybe');

      const tookMs = performance.now() - started;
      assert.ok(tookMs < 400, `${tookMs} ms`);
      assert.equal(error.operation, 'invoke');
    });

    it('a signal that is aborted before the call is DEADLINE with ran no', async () => {
      const signal = AbortSignal.abort();

      const call = bed.provider.invoke(deployment, createRequest(), { signal });

      await rejects(call, 'PROVIDER_DEADLINE', 'no');
    });

    it('a body above the limit is TOO_LARGE with ran no, and nothing is sent', async () => {
      const body = new Uint8Array(bed.provider.limits.maxRequestBytes + 1);

      await rejects(invoke({ body }), 'PROVIDER_TOO_LARGE', 'no');
    });

    it('a request with as many headers as fit is answered or TOO_LARGE with ran no, and never refused by the platform itself', async () => {
      const lists = [
        Array.from({ length: 1_000 }, (_, at) => [`h${at}`, 'v'] as const),
        Array.from({ length: 500 }, (_, at) => [`h${at}`, '"'.repeat(24)] as const),
      ];

      for (const headers of lists) {
        const ended = await invoke({ headers }).catch((error) => error);
        if (ended.ok) continue;
        const { code, ran, status } = ended;
        assert.deepEqual([code, ran, status], ['PROVIDER_TOO_LARGE', 'no', undefined]);
      }
    });

    it('a function that does not exist is NOT_FOUND with ran no', async () => {
      const spec = specOf({ name: 'df-soon-gone' });
      const gone = await bed.provider.deploy(spec, within());
      await bed.provider.remove(gone, within());

      const error = await rejects(invoke({}, gone), 'PROVIDER_NOT_FOUND', 'no');

      assert.ok(!`${error.message} ${String(error.cause)}`.includes('not-for-logs'));
    });
  });

  if (options.isOnThisMachine || kind === 'live') return;

  describe('reports, when the connection to the cloud fails, whether the function may have run:', () => {
    const cases: readonly {
      readonly rule: FaultRule;
      readonly code: ProviderErrorCode;
      readonly ran: 'no' | 'maybe';
      /** How many times the function really ran. */
      readonly runs: number;
    }[] = [
      { rule: { kind: 'throttle' }, code: 'PROVIDER_THROTTLED', ran: 'no', runs: 0 },
      { rule: { kind: 'outage' }, code: 'PROVIDER_CONNECTION', ran: 'no', runs: 0 },
      { rule: { kind: 'drop-before' }, code: 'PROVIDER_CONNECTION', ran: 'maybe', runs: 0 },
      { rule: { kind: 'drop-after' }, code: 'PROVIDER_CONNECTION', ran: 'maybe', runs: 1 },
      { rule: { kind: 'truncate' }, code: 'PROVIDER_CONNECTION', ran: 'maybe', runs: 1 },
      { rule: { kind: 'status', code: 500 }, code: 'PROVIDER_UNAVAILABLE', ran: 'maybe', runs: 0 },
      { rule: { kind: 'status', code: 502 }, code: 'PROVIDER_UNAVAILABLE', ran: 'maybe', runs: 0 },
      { rule: { kind: 'status', code: 503 }, code: 'PROVIDER_UNAVAILABLE', ran: 'maybe', runs: 0 },
    ];
    for (const { rule, code, ran, runs } of cases) {
      it(`${Object.values(rule).join(' ')}: ${code}, ran ${ran}, never more than one attempt`, async () => {
        const witness = join(dir, `${Object.values(rule).join('-')}`);
        await faultsOf(bed).set([rule]);

        await rejects(invoke({ headers: [['x-witness', witness]] }), code, ran);

        assert.equal(linesOf(witness), runs);
        await faultsOf(bed).clear();
        assert.equal(text(await get('/')), 'hello');
      });
    }

    it('a throttle carries the time to retry after, where the cloud gives one', async () => {
      await faultsOf(bed).set([
        { kind: 'throttle', retryAfterMs: 2000, on: { operation: 'invoke' } },
      ]);

      const error = await rejects(get('/'), 'PROVIDER_THROTTLED', 'no');

      assert.equal(error.retryAfterMs, options.tellsRetryAfter ? 2000 : undefined);
    });

    it('a cloud that reports more time than was measured is cut to the measured time', async () => {
      await faultsOf(bed).set([{ kind: 'lie', billedMs: 1000 }]);

      const result = await get('/sleep/20');

      assert.ok(result.ok);
      assert.equal(result.usage.disputed, true);
      assert.ok(result.usage.billedMs <= Math.ceil(result.usage.measuredMs));
    });
  });
}

function faultsOf({ faults }: Bed): Faults {
  assert.ok(faults, 'the cloud has no fault switch');
  return faults;
}

async function rejects(
  call: Promise<unknown>,
  code: ProviderErrorCode,
  ran: 'no' | 'maybe',
): Promise<ProviderError> {
  const error = await call.then(
    () => assert.fail(`expected ${code}`),
    (reason: unknown) => reason,
  );
  if (!(error instanceof ProviderError)) throw error;
  assert.deepEqual({ code: error.code, ran: error.ran }, { code, ran }, error.message);
  return error;
}

async function listAll(bed: Bed) {
  const found: Pick<Deployment, 'name' | 'region' | 'specHash'>[] = [];
  const signal = AbortSignal.timeout(10_000);
  for await (const one of bed.provider.list(bed.region, { signal })) found.push(one);
  return found;
}

function text(result: InvokeResult): string {
  assert.ok(result.ok, JSON.stringify(result));
  return Buffer.from(result.body).toString();
}

function header(result: InvokeResult, name: string): string | undefined {
  assert.ok(result.ok);
  return result.headers.find(([each]) => each === name)?.[1];
}

function linesOf(file: string): number {
  try {
    return readFileSync(file, 'utf8').split('\n').length - 1;
  } catch {
    // The file was never written.
    return 0;
  }
}
