// The Google provider, through the official SDK, against the emulator, which runs the real framework.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import {
  type GoogleCloudFunctionsEmulator,
  startGoogleCloudFunctions,
} from '../../../adapters/google/emulator/emulator.ts';
import { createGoogleCloudFunctions } from '../../../adapters/google/provider.ts';
import type { InvokeRequest, InvokeResult, Provider } from '../../../adapters/provider.ts';
import { ProviderError } from '../../../adapters/provider.ts';
import { createRequest, createSpec, type TestBed, testProvider } from '../conformance.ts';

const PROJECT = 'defaas-local';
const REGION = 'us-central1';
const SPEC = createSpec(REGION);

interface GoogleBed extends TestBed {
  readonly emulator: GoogleCloudFunctionsEmulator;
  /** Requests to the control plane so far, in order. */
  readonly asked: string[];
  /** Called at each request, before the answer. */
  onRequest: (count: number) => void;
}

async function createBed(nowMs?: () => number): Promise<GoogleBed> {
  const dir = mkdtempSync(join(tmpdir(), 'defaas-google-'));
  const asked: string[] = [];
  let writes = 0;
  const emulator = await startGoogleCloudFunctions({
    dir,
    projectId: PROJECT,
    ...(nowMs && { nowMs }),
    log(event, facts) {
      if (event !== 'request') return;
      const { method, operation } = facts as { method: string; operation: string };
      if (method !== 'GET') writes += 1;
      asked.push(operation);
      bed.onRequest(asked.length);
    },
  });
  const provider = createGoogleCloudFunctions({ ...optionsOf(emulator), ...(nowMs && { nowMs }) });
  const bed: GoogleBed = {
    emulator,
    provider,
    region: REGION,
    faults: emulator.faults,
    asked,
    onRequest: () => undefined,
    writes: () => writes,
    async close() {
      await provider.close();
      await emulator.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
  return bed;
}

function optionsOf({ endpoint, metadataHost }: GoogleCloudFunctionsEmulator) {
  return { projectId: PROJECT, gateway: '0xgateway', endpoint, metadataHost };
}

/** Longer than any test takes on a loaded machine. */
const DEADLINE_MS = 10 * 60_000;
const within = (signal = AbortSignal.timeout(DEADLINE_MS)) => ({ signal });

describe('Google Cloud Functions', () => {
  testProvider(() => createBed(), { tellsRetryAfter: true });
});

describe('Google Cloud Functions, the adapter', function () {
  this.timeout(DEADLINE_MS);
  let bed: GoogleBed;
  let provider: Provider;
  before(async () => {
    bed = await createBed();
    provider = bed.provider;
  });
  afterEach(() => bed.faults.clear());
  after(() => bed?.close());

  it('finishes a deploy that was cut off at any request, and leaves one function', async () => {
    for (let cutAt = 1; ; cutAt += 1) {
      const spec = createSpec(REGION, { name: `df-cut-${cutAt}` });
      const killed = new AbortController();
      const before = bed.asked.length;
      bed.onRequest = (count) => {
        if (count - before === cutAt) killed.abort();
      };

      const cut = await provider.deploy(spec, { signal: killed.signal }).catch((error) => error);
      bed.onRequest = () => undefined;
      const deployed = await provider.deploy(spec, within());

      const result = await provider.invoke(deployed, createRequest({ method: 'GET' }), within());
      assert.ok(result.ok);
      if (!(cut instanceof ProviderError)) {
        assert.ok(cutAt > 4, 'every request of the deploy was cut once');
        break;
      }
      assert.equal(cut.code, 'PROVIDER_DEADLINE');
    }
    const names = (await listNames(provider)).filter((name) => name.startsWith('df-cut-'));
    assert.equal(new Set(names).size, names.length);
  });

  it('sends a write only once when its answer is lost', async () => {
    await bed.faults.set([{ kind: 'drop-after', on: { operation: 'CreateFunction' }, times: 1 }]);
    const before = bed.asked.length;

    await provider.deploy(createSpec(REGION, { name: 'df-lost-answer' }), within());

    const creates = bed.asked.slice(before).filter((one) => one === 'CreateFunction');
    assert.equal(creates.length, 1);
  });

  it('gives the same function to two concurrent deploys of one spec', async () => {
    const spec = createSpec(REGION, { name: 'df-twice-at-once' });

    const [one, two] = await Promise.all([
      provider.deploy(spec, within()),
      provider.deploy(spec, within()),
    ]);

    assert.deepEqual(one, two);
  });

  it('reports each step, and plans an update for another specification', async () => {
    const name = 'df-steps';
    const steps: string[] = [];
    const onStep = ({ action }: { action: string }) => void steps.push(action);
    await provider.deploy(createSpec(REGION, { name }), { ...within(), onStep });
    const changed = createSpec(REGION, { name, timeoutMs: 2000 });

    const { steps: planned } = await provider.plan(changed, within());
    await provider.deploy(changed, { ...within(), onStep });
    await provider.deploy(changed, { ...within(), onStep });
    await provider.remove({ name, region: REGION }, { ...within(), onStep });

    assert.deepEqual(
      planned.map(({ action }) => action),
      ['update'],
    );
    assert.deepEqual(steps, ['create', 'update', 'keep', 'remove']);
  });

  it('does not change or list a function of another gateway', async () => {
    const stranger = createGoogleCloudFunctions({ ...optionsOf(bed.emulator), gateway: '0xother' });
    const spec = createSpec(REGION, { name: 'df-of-another' });
    await stranger.deploy(spec, within());

    const error = await provider.deploy(spec, within()).catch((reason) => reason);
    await stranger.close();

    assert.equal(error.code, 'PROVIDER_CONFLICT');
    assert.ok(!(await listNames(provider)).includes('df-of-another'));
  });

  it('reports why an operation failed, and the next deploy repairs the function', async () => {
    const spec = createSpec(REGION, { name: 'df-operation-fails' });
    await bed.faults.set([{ kind: 'operation-fails', on: { operation: 'CreateFunction' } }]);

    const error = await provider.deploy(spec, within()).catch((reason) => reason);
    await bed.faults.clear();
    const deployed = await provider.deploy(spec, within());

    assert.equal(error.code, 'PROVIDER_DEPLOY_FAILED');
    assert.match(error.message, /^Build failed: .* df-operation-fails$/);
    assert.equal(deployed.name, spec.name);
  });

  it('waits for a stuck operation until the deadline, and accepts its later result', async () => {
    const spec = createSpec(REGION, { name: 'df-stuck' });
    const deadline = new AbortController();
    bed.onRequest = () => {
      if (bed.asked.at(-1) === 'GetOperation') deadline.abort();
    };
    await bed.faults.set([{ kind: 'stuck-operation', on: { operation: 'CreateFunction' } }]);

    const error = await provider.deploy(spec, within(deadline.signal)).catch((reason) => reason);
    bed.onRequest = () => undefined;
    const { steps } = await provider.plan(spec, within());
    await bed.faults.clear();
    const deployed = await provider.deploy(spec, within());

    assert.equal(error.code, 'PROVIDER_DEADLINE');
    assert.deepEqual(
      steps.map(({ action }) => action),
      ['wait'],
    );
    assert.equal(deployed.name, spec.name);
  });

  it('reports a connection that breaks while it polls, and the next deploy finishes the work', async () => {
    const spec = createSpec(REGION, { name: 'df-cloud-away' });
    bed.onRequest = () => {
      if (bed.asked.at(-1) !== 'GetOperation') return;
      bed.onRequest = () => undefined;
      void bed.faults.set([{ kind: 'outage', scope: 'control' }]);
    };

    const error = await provider.deploy(spec, within()).catch((reason) => reason);
    await bed.faults.clear();
    const deployed = await provider.deploy(spec, within());

    assert.equal(error.code, 'PROVIDER_CONNECTION');
    assert.equal(deployed.name, spec.name);
  });

  it('retries reads while the cloud throttles, and reports a throttle that lasts', async () => {
    const rule = { kind: 'throttle', on: { operation: 'GetFunction' } } as const;
    await bed.faults.set([{ ...rule, times: 2 }]);
    await provider.plan(SPEC, within());
    await bed.faults.set([rule]);

    const error = await provider.plan(SPEC, within()).catch((reason) => reason);

    assert.equal(error.code, 'PROVIDER_THROTTLED');
    assert.deepEqual(bed.faults.hits(), [3]);
  });

  it('has different codes for refused credentials, an unreachable cloud and an unknown region', async () => {
    const code = async (call: Promise<unknown>) => {
      const error = await call.catch((reason: unknown) => reason);
      assert.ok(error instanceof ProviderError);
      return error.code;
    };
    await bed.faults.set([{ kind: 'expire-credentials' }]);
    assert.equal(await code(provider.plan(SPEC, within())), 'PROVIDER_UNAUTHENTICATED');
    await bed.faults.set([{ kind: 'outage', scope: 'control' }]);
    assert.equal(await code(provider.plan(SPEC, within())), 'PROVIDER_CONNECTION');
    await bed.faults.clear();
    const nowhere = createSpec('mars-north1');

    assert.equal(await code(provider.plan(nowhere, within())), 'PROVIDER_INVALID');
  });

  it('reports that no credentials are found', async () => {
    const closed = createGoogleCloudFunctions({
      ...optionsOf(bed.emulator),
      metadataHost: '127.0.0.1:1',
    });
    const deployed = await provider.deploy(createSpec(REGION, { name: 'df-nobody' }), within());

    const planned = await closed.plan(SPEC, within()).catch((reason) => reason);
    const invoked = await closed
      .invoke(deployed, createRequest(), within())
      .catch((reason) => reason);
    await closed.close();

    assert.equal(planned.code, 'PROVIDER_UNAUTHENTICATED');
    assert.deepEqual([invoked.code, invoked.ran], ['PROVIDER_UNAUTHENTICATED', 'no']);
    assert.match(invoked.message, /^metadata server 127\.0\.0\.1:1 gave no /);
  });

  it('passes types, encodings, tokens and paths that the framework would otherwise read or refuse', async () => {
    const handler = `export default async (request) => {
      const { pathname, search } = new URL(request.url);
      const bytes = Buffer.from(await request.arrayBuffer()).toString('base64');
      return Response.json({ pathname, search, headers: [...request.headers], bytes });
    };`;
    const deployed = await provider.deploy(
      createSpec(REGION, { name: 'df-echo', handler }),
      within(),
    );
    const echo = async (request: Partial<InvokeRequest>) => {
      const result = await provider.invoke(deployed, createRequest(request), within());
      return JSON.parse(text(result));
    };
    const zipped = gzipSync('zipped');
    const headers: [string, string][] = [
      ['authorization', 'Bearer of-the-caller'],
      ['content-encoding', 'gzip'],
      ['traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'],
      ['x-forwarded-for', '192.0.2.1'],
    ];

    const broken = await echo({
      headers: [['content-type', 'application/json']],
      body: Buffer.from('{"not json'),
    });
    const packed = await echo({ headers, body: zipped, path: '/favicon.ico', query: 'a=%2F&a=2' });

    assert.deepEqual(broken.headers, [['content-type', 'application/json']]);
    assert.equal(Buffer.from(broken.bytes, 'base64').toString(), '{"not json');
    assert.deepEqual(packed.headers, headers);
    assert.equal(packed.bytes, zipped.toString('base64'));
    assert.equal(packed.pathname + packed.search, '/favicon.ico?a=%2F&a=2');
  });

  it('throttles the calls above the maxConcurrency of a deployment', async () => {
    const spec = createSpec(REGION, { name: 'df-two-at-once', maxConcurrency: 2 });
    const deployed = await provider.deploy(spec, within());
    const call = () =>
      provider
        .invoke(deployed, createRequest({ method: 'GET', path: '/sleep/1500' }), within())
        .then(
          () => 'ok',
          (error: ProviderError) => `${error.code} ${error.ran}`,
        );

    const outcomes = await Promise.all(Array.from({ length: 5 }, call));

    assert.deepEqual(outcomes.sort(), [
      ...Array.from({ length: 3 }, () => 'PROVIDER_THROTTLED no'),
      'ok',
      'ok',
    ]);
  });

  it('loses no call during an update of the function', async () => {
    const name = 'df-updated';
    const version = (word: string) =>
      createSpec(REGION, { name, handler: `export default () => new Response('${word}')` });
    const deployed = await provider.deploy(version('old'), within());
    let isDone = false;
    const seen = new Set<string>();
    const calls = (async () => {
      while (!isDone) {
        seen.add(text(await provider.invoke(deployed, createRequest(), within())));
      }
    })();

    await provider.deploy(version('new'), within());
    isDone = true;
    await calls;

    assert.ok(seen.has('old'));
    assert.equal(text(await provider.invoke(deployed, createRequest(), within())), 'new');
  });

  it('fetches a new ID token when the front refuses the cached one', async () => {
    const fresh = createGoogleCloudFunctions(optionsOf(bed.emulator));
    const deployed = await fresh.deploy(createSpec(REGION, { name: 'df-token' }), within());
    const call = () => fresh.invoke(deployed, createRequest({ method: 'GET' }), within());
    await bed.faults.set([{ kind: 'expire-credentials', on: { operation: 'invoke' }, times: 1 }]);

    const refused = await call().catch((reason) => reason);
    const accepted = await call();
    await fresh.close();

    assert.deepEqual([refused.code, refused.ran], ['PROVIDER_UNAUTHENTICATED', 'no']);
    assert.ok(accepted.ok);
  });

  it('finds credentials by the search of Google’s library when no source is configured', async () => {
    const { endpoint, metadataHost } = bed.emulator;
    const module = new URL('../../../adapters/google/provider.ts', import.meta.url).href;
    const suite = new URL('../conformance.ts', import.meta.url).href;
    // A process of its own, because the environment of this one must not change.
    const program = `
      import { createGoogleCloudFunctions } from '${module}';
      import { createSpec, createRequest } from '${suite}';
      const provider = createGoogleCloudFunctions({ projectId: '${PROJECT}', gateway: '0xgateway', endpoint: '${endpoint}' });
      const options = { signal: AbortSignal.timeout(20000) };
      const deployed = await provider.deploy(createSpec('${REGION}', { name: 'df-default' }), options);
      const result = await provider.invoke(deployed, createRequest({ method: 'GET' }), options);
      console.log(Buffer.from(result.body).toString());
      await provider.close();`;
    const env = {
      HOME: tmpdir(),
      GCE_METADATA_HOST: metadataHost,
      METADATA_SERVER_DETECTION: 'assume-present',
    };

    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--input-type=module', '--eval', program],
      { env },
    );

    assert.equal(stdout, 'hello\n');
  });
});

describe('Google Cloud Functions, ID tokens', () => {
  it('are renewed in the background from five minutes before they expire', async () => {
    let nowMs = Date.now();
    const bed = await createBed(() => nowMs);
    try {
      const deployed = await bed.provider.deploy(SPEC, within());
      const call = () => bed.provider.invoke(deployed, createRequest({ method: 'GET' }), within());

      assert.ok((await call()).ok);
      nowMs += 58 * 60_000;
      assert.ok((await call()).ok);
      // The first token has expired now. The one fetched in the meantime has not.
      nowMs += 3 * 60_000;
      assert.ok((await call()).ok);
      nowMs += 3 * 60 * 60_000;
      assert.ok((await call()).ok);
    } finally {
      await bed.close();
    }
  });
});

async function listNames(provider: Provider): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of provider.list(REGION, within())) names.push(name);
  return names;
}

function text(result: InvokeResult): string {
  assert.ok(result.ok, JSON.stringify(result));
  return Buffer.from(result.body).toString();
}
