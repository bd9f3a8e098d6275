// The Azure provider against the emulator: the suite of all providers, then cases of Azure alone.

import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { inspect } from 'node:util';
import { Agent, type Dispatcher, request } from 'undici';
import { issueCertificate } from '../../../adapters/azure/emulator/certificate.ts';
import {
  type AzureFunctionsEmulator,
  type AzureFunctionsEmulatorOptions,
  startAzureFunctions,
} from '../../../adapters/azure/emulator/emulator.ts';
import {
  type AzureFunctionsOptions,
  createAzureFunctions,
} from '../../../adapters/azure/provider.ts';
import { zip } from '../../../adapters/deployment/zip.ts';
import {
  type Deployment,
  type InvokeRequest,
  type InvokeResult,
  type Provider,
  ProviderError,
} from '../../../adapters/provider.ts';
import { createRequest, createSpec, testProvider } from '../conformance.ts';

type Method = Dispatcher.HttpMethod;

const REGION = 'westeurope';
/** Longer than any test takes on a loaded machine. */
const DEADLINE_MS = 10 * 60_000;

function createProvider(
  emulator: AzureFunctionsEmulator,
  overrides: Partial<AzureFunctionsOptions> = {},
) {
  const { endpoint, caPem, token, subscriptionId, resourceGroup, storage } = emulator;
  const { insightsConnectionString } = emulator;
  return createAzureFunctions({
    endpoint,
    caPem,
    subscriptionId,
    resourceGroup,
    storage,
    insightsConnectionString,
    gateway: '0x00000000000000000000000000000000000000bb',
    regions: [REGION],
    credential: { getToken: async () => ({ token, expiresOnTimestamp: Date.now() + 3_600_000 }) },
    pollMs: 20,
    ...overrides,
  });
}

describe('Azure Functions, Flex Consumption', () => {
  testProvider(
    async () => {
      const dir = mkdtempSync(join(tmpdir(), 'defaas-azure-'));
      const emulator = await startAzureFunctions({ dir });
      const provider = createProvider(emulator);
      return {
        provider,
        region: REGION,
        faults: emulator.faults,
        writes: emulator.writes,
        async close() {
          await provider.close();
          await emulator.close();
          rmSync(dir, { recursive: true, force: true });
        },
      };
    },
    { tellsRetryAfter: true },
  );
});

describe('Azure Functions, cases of Azure alone', function () {
  this.timeout(DEADLINE_MS);
  let dir: string;
  let emulator: AzureFunctionsEmulator;
  let provider: Provider;

  async function open(
    options: Partial<AzureFunctionsEmulatorOptions> = {},
    overrides: Partial<AzureFunctionsOptions> = {},
  ) {
    emulator = await startAzureFunctions({ dir, ...options });
    provider = createProvider(emulator, overrides);
  }

  async function close() {
    await provider.close();
    await emulator.close();
  }

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'defaas-azure-'));
  });
  afterEach(async () => {
    await close();
    rmSync(dir, { recursive: true, force: true });
  });

  const deploy = (overrides: Parameters<typeof createSpec>[1] = {}) =>
    provider.deploy(createSpec(REGION, overrides), within());
  const invoke = (deployment: Deployment, request: Partial<InvokeRequest> = {}) =>
    provider.invoke(deployment, createRequest(request), within());

  it('keeps token, certificate, hosts, keys and code of the emulator over a restart', async () => {
    await open();
    const before = await deploy();
    const { token, caPem } = emulator;
    await close();

    await open();

    assert.deepEqual([emulator.token, emulator.caPem], [token, caPem]);
    assert.equal(emulator.instances(), 0);
    assert.equal(text(await invoke(before)), 'hello');
    assert.deepEqual(await deploy(), before);
    assert.equal(emulator.writes(), 0);
  });

  it('converges on one app when a deploy runs again after it was cut off at any step', async () => {
    await open();
    const whole = await deploy({ name: 'df-whole' });
    for (const cutAfter of [0, 1, 2, 3]) {
      const name = `df-cut-${cutAfter}`;
      const stop = new AbortController();
      let steps = 0;
      const onStep = () => {
        steps += 1;
        if (steps > cutAfter) stop.abort();
      };
      const cut = provider.deploy(createSpec(REGION, { name }), { signal: stop.signal, onStep });
      const error = await fails(cut, 'PROVIDER_DEADLINE');
      assert.equal(error.ran, 'no');

      const done = await deploy({ name });

      assert.equal(text(await invoke(done)), 'hello');
      const writes = emulator.writes();
      assert.deepEqual(await deploy({ name }), done);
      assert.equal(emulator.writes(), writes);
    }
    const names: string[] = [];
    for await (const one of provider.list(REGION, within())) names.push(one.name);
    assert.deepEqual(names.sort(), ['df-cut-0', 'df-cut-1', 'df-cut-2', 'df-cut-3', whole.name]);
  });

  for (const longRunning of ['none', 'location', 'azure-asyncoperation'] as const) {
    it(`waits for a creation that reports by ${longRunning}, and reports one that fails or never ends`, async () => {
      await open({ longRunning });
      const deployed = await deploy();
      assert.equal(text(await invoke(deployed)), 'hello');
      if (longRunning === 'none') return;

      await emulator.faults.set([{ kind: 'operation-fails' }]);
      await fails(deploy({ name: 'df-failing' }), 'PROVIDER_DEPLOY_FAILED');
      await emulator.faults.set([{ kind: 'stuck-operation' }]);
      const signal = AbortSignal.timeout(300);
      const stuck = provider.deploy(createSpec(REGION, { name: 'df-stuck' }), { signal });
      await fails(stuck, 'PROVIDER_DEADLINE');
      await emulator.faults.clear();

      assert.equal(text(await invoke(await deploy({ name: 'df-stuck' }))), 'hello');
    });
  }

  it('deploys to the older Consumption plan', async () => {
    await open({}, { planKind: 'y1' });

    const deployed = await deploy({ memoryMiB: 1536 });

    assert.equal(text(await invoke(deployed)), 'hello');
    await fails(deploy({ name: 'df-large', memoryMiB: 2048 }), 'PROVIDER_INVALID');
  });

  it('removes and creates an app again on the other kind of plan', async () => {
    await open();
    await deploy();
    await provider.close();
    provider = createProvider(emulator, { planKind: 'y1' });

    const { steps } = await provider.plan(createSpec(REGION), within());
    const moved = await deploy();
    const kept = await provider.plan(createSpec(REGION), within());

    assert.deepEqual(
      steps.map(({ action, resource }) => `${action} ${resource}`),
      ['remove app', 'create plan', 'create app', 'create package', 'wait app'],
    );
    assert.equal(text(await invoke(moved)), 'hello');
    assert.deepEqual(
      kept.steps.map(({ action }) => action),
      ['keep'],
    );
  });

  it('fails a deploy whose publish fails, with the message of the SCM site', async () => {
    await open();
    await emulator.faults.set([{ kind: 'operation-fails', on: { operation: 'publish' } }]);

    const error = await fails(deploy(), 'PROVIDER_DEPLOY_FAILED');

    assert.match(error.message, /Deployment failed: storage error/);
  });

  it('reports a publish that a restart has cut off as failed, and the next deploy succeeds', async () => {
    await open();
    await emulator.faults.set([{ kind: 'stuck-operation', on: { operation: 'publish' } }]);
    const deadline = new AbortController();
    const deploying = fails(
      provider.deploy(createSpec(REGION), { signal: deadline.signal }),
      'PROVIDER_DEADLINE',
    );
    // Abort when the publish is stuck, however long the steps before it take.
    await until(async () => {
      const url = await scmUrl('df-conformance').catch(() => undefined);
      if (url === undefined) return false;
      const { status } = await http(`${url}/api/deployments/latest`, { headers: auth() });
      return status === 200 || status === 202;
    });
    deadline.abort();
    await deploying;
    await close();

    await open();

    const scm = await scmUrl('df-conformance');
    const last = await http(`${scm}/api/deployments/latest`, { headers: auth() });
    assert.equal(JSON.parse(last.body).status, 3);
    assert.equal(text(await invoke(await deploy())), 'hello');
  });

  it('reports a refused token in one line without secrets', async () => {
    const credential = {
      getToken: async () => ({ token: 'wrong-token', expiresOnTimestamp: Date.now() + 3_600_000 }),
    };
    await open({}, { credential });

    const error = await fails(deploy(), 'PROVIDER_UNAUTHENTICATED');

    assert.doesNotMatch(inspect(error, { depth: 9 }), /wrong-token|not-for-logs/);
    assert.equal(emulator.writes(), 0);
  });

  it('reads the host key again, once, when the host refuses it', async () => {
    await open();
    const deployed = await deploy();
    const stale = { ...deployed, key: 'changed-since' };

    assert.equal(text(await invoke(stale)), 'hello');
    const hits = await countRequests('WebApps_ListHostKeys', () => invoke(stale));
    assert.equal(hits, 0);

    await emulator.faults.set([{ kind: 'expire-credentials', on: { operation: 'invoke' } }]);
    const error = await fails(invoke(deployed), 'PROVIDER_UNAUTHENTICATED');
    assert.equal(error.ran, 'no');
  });

  it('passes paths and queries that the host would otherwise take as its own', async () => {
    await open();
    const handler =
      'export default (r) => new URL(r.url).pathname + new URL(r.url).search + r.headers.get("x-functions-key")';
    const deployed = await deploy({ handler });

    for (const path of ['/admin/functions', '/api', '/runtime/x', '/a%2Fb/%25', '/']) {
      const headers = [['x-functions-key', 'mine']] as const;
      const result = await invoke(deployed, { method: 'GET', path, query: 'code=mine', headers });
      assert.equal(text(result), JSON.stringify(`${path}?code=minemine`));
    }
  });

  it('answers plain HTTP requests that have the key in a header or the query, and no others', async () => {
    await open();
    const { url, key = '' } = await deploy();
    const plain = async (path: string, headers: Record<string, string> = {}) => {
      const answer = await http(`${url}${path}`, { headers });
      return [answer.status, answer.headers['x-defaas-outcome'], answer.body];
    };

    assert.deepEqual(await plain('/x', { 'x-functions-key': key }), [200, 'ok', 'hello']);
    assert.deepEqual(await plain(`/x?code=${key}`), [200, 'ok', 'hello']);
    assert.deepEqual(await plain('/x'), [401, undefined, '']);
    assert.deepEqual(await plain('/x', { 'x-functions-key': 'wrong' }), [401, undefined, '']);
  });

  it('throttles calls above maxConcurrency with PROVIDER_THROTTLED, ran no', async () => {
    await open();
    const deployed = await deploy({ maxConcurrency: 2 });
    await invoke(deployed);

    const calls = Array.from({ length: 5 }, () => invoke(deployed, { path: '/sleep/1500' }));
    const results = await Promise.allSettled(calls);

    const refused = results.filter(({ status }) => status === 'rejected');
    assert.equal(refused.length, 3);
    for (const call of calls) {
      const error = await call.then(
        () => undefined,
        (reason: unknown) => reason,
      );
      if (error) await fails(Promise.reject(error), 'PROVIDER_THROTTLED');
    }
  });

  it('ends an instance above its memory, and serves the next call', async () => {
    await open();
    const handler = `const kept = [];
      export default async (r) => {
        if (!r.url.endsWith('bomb')) return new Response('hello');
        for (;;) { kept.push(Buffer.alloc(32 << 20, 1)); await new Promise((done) => setTimeout(done, 5)); }
      }`;
    const deployed = await deploy({ handler });

    const error = await fails(invoke(deployed, { path: '/bomb' }), 'PROVIDER_UNAVAILABLE');

    assert.equal(error.ran, 'maybe');
    assert.equal(text(await invoke(deployed)), 'hello');
  });

  it('ends idle instances and starts one again for the next call', async () => {
    await open({ idleMs: 50 });
    const deployed = await deploy();
    await until(async () => emulator.instances() === 0);

    const result = await invoke(deployed);

    assert.equal(text(result), 'hello');
    assert.equal(result.cold, true);
  });

  it('refuses a file that is not a zip, other triggers, and zipdeploy on Flex', async () => {
    await open();
    await deploy();
    const scm = await scmUrl('df-conformance');
    const files = new Map([
      ['host.json', Buffer.from('{"version":"2.0"}')],
      ['package.json', Buffer.from('{"main":"index.cjs"}')],
      [
        'index.cjs',
        Buffer.from(`const core = require('@azure/functions-core');
          core.registerFunction({ name: 'nightly', bindings: { t: { type: 'timerTrigger', direction: 'in' } } }, () => {});`),
      ],
    ]);

    assert.match(await publish(scm, Buffer.from('no zip')), /end of the central directory/);
    assert.match(await publish(scm, zip(files)), /timerTrigger of nightly/);
    const old = await http(`${scm}/api/zipdeploy`, { method: 'POST', headers: auth(), body: 'x' });
    assert.equal(old.status, 400);
    const unsigned = await http(`${scm}/api/publish`, { method: 'POST', body: 'x' });
    assert.equal(unsigned.status, 401);
    // A refused package does not replace the running code.
    assert.equal(text(await invoke(await deploy())), 'hello');
  });

  it('reports PROVIDER_UNSUPPORTED for logs when no Application Insights is configured', async () => {
    await open({}, { insightsConnectionString: '' });
    const deployment = await provider.deploy(createSpec(REGION, { name: 'df-mute' }), within());
    const query = { sinceMs: 0, limit: 9 };

    await fails(provider.logs(deployment, query, within()), 'PROVIDER_UNSUPPORTED');
  });

  it('keeps logs over a restart, with texts of several lines, and refuses a wrong token', async () => {
    await open();
    const handler = `export default (_, context) => { context.log('one\\ntwo'); return new Response(''); }`;
    const spec = createSpec(REGION, { name: 'df-lines', handler });
    const deployment = await provider.deploy(spec, within());
    const { requestId } = await provider.invoke(deployment, createRequest(), within());
    await close();
    await open();

    const lines = await provider.logs(deployment, { sinceMs: 0, limit: 9 }, within());

    assert.deepEqual(
      lines.map(({ text, level, requestId: id }) => [text, level, id]),
      [['one\ntwo', 'info', requestId]],
    );
    await emulator.faults.set([{ kind: 'expire-credentials' }]);
    const query = { sinceMs: 0, limit: 9 };
    await fails(provider.logs(deployment, query, within()), 'PROVIDER_UNAUTHENTICATED');
  });

  it('answers as Azure Resource Manager for missing, unknown and foreign resources', async () => {
    await open();
    await deploy();
    const base = `/subscriptions/${emulator.subscriptionId}/resourceGroups/defaas/providers/Microsoft.Web`;
    const ask = async (path: string, method = 'GET') => {
      const url = `${emulator.endpoint}${path}?api-version=2025-05-01`;
      const { status, body } = await http(url, { method, headers: auth() });
      return [status, body === '' ? '' : JSON.parse(body).error.code];
    };

    assert.deepEqual(await ask(`${base}/sites/none`), [404, 'ResourceNotFound']);
    assert.deepEqual(await ask(`${base}/sites/none`, 'DELETE'), [204, '']);
    assert.deepEqual(await ask(`${base}/nothing`), [404, 'InvalidResourceType']);
    assert.deepEqual(await ask(base.replace('/defaas/', '/other/').concat('/sites')), [
      404,
      'ResourceGroupNotFound',
    ]);
    assert.deepEqual(await ask(`${base}/serverfarms/df-conformance`, 'DELETE'), [409, 'Conflict']);
    const noVersion = await http(`${emulator.endpoint}${base}/sites`, { headers: auth() });
    assert.equal(noVersion.status, 400);
  });

  it('issues certificates that only its own authority has signed', () => {
    const [one, other] = [issueCertificate(), issueCertificate()];
    const leaf = new X509Certificate(one.certPem);

    assert.ok(leaf.checkIssued(new X509Certificate(one.caPem)));
    assert.ok(leaf.verify(new X509Certificate(one.caPem).publicKey));
    assert.ok(!leaf.verify(new X509Certificate(other.caPem).publicKey));
    assert.equal(leaf.checkIP('127.0.0.1'), '127.0.0.1');
    assert.equal(leaf.ca, false);
  });

  function auth() {
    return { authorization: `Bearer ${emulator.token}` };
  }

  /** A request of an ordinary HTTP client that trusts the emulator's authority. */
  async function http(
    url: string,
    init: { method?: Method; headers?: Record<string, string>; body?: string | Buffer },
  ) {
    const dispatcher = new Agent({ connect: { ca: emulator.caPem } });
    try {
      const { method = 'GET', headers = {}, body = null } = init;
      const answer = await request(url, { dispatcher, method, headers, body });
      return { status: answer.statusCode, headers: answer.headers, body: await answer.body.text() };
    } finally {
      await dispatcher.close();
    }
  }

  async function scmUrl(name: string): Promise<string> {
    const url = `${emulator.endpoint}/subscriptions/${emulator.subscriptionId}/resourceGroups/defaas/providers/Microsoft.Web/sites/${name}?api-version=2025-05-01`;
    const { body } = await http(url, { headers: auth() });
    const hosts: { name: string; hostType: string }[] =
      JSON.parse(body).properties.hostNameSslStates;
    return `https://${hosts.find(({ hostType }) => hostType === 'Repository')?.name}`;
  }

  /** The error text of a publish that fails, '' when it succeeds. */
  async function publish(scm: string, bytes: Uint8Array): Promise<string> {
    const sent = await http(`${scm}/api/publish?RemoteBuild=false`, {
      method: 'POST',
      headers: { ...auth(), 'content-type': 'application/zip' },
      body: Buffer.from(bytes),
    });
    assert.equal(sent.status, 202);
    const url = `${scm}/api/deployments/${JSON.parse(sent.body)}`;
    for (;;) {
      const { status, status_text } = JSON.parse((await http(url, { headers: auth() })).body);
      if (status >= 3) return status === 3 ? status_text : '';
      await wait(20);
    }
  }

  /** Number of requests for an operation during the work. */
  async function countRequests(operation: string, work: () => Promise<unknown>): Promise<number> {
    await emulator.faults.set([{ kind: 'delay', ms: 0, where: 'before', on: { operation } }]);
    await work();
    const [hits = 0] = emulator.faults.hits();
    await emulator.faults.clear();
    return hits;
  }
});

const within = () => ({ signal: AbortSignal.timeout(DEADLINE_MS) });

/** Polls until the condition holds. The timeout of the test ends it. */
async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await wait(20);
}

async function fails(call: Promise<unknown>, code: string): Promise<ProviderError> {
  const error = await call.then(
    () => assert.fail(`expected ${code}`),
    (reason: unknown) => reason,
  );
  if (!(error instanceof ProviderError)) throw error;
  assert.equal(error.code, code, error.message);
  return error;
}

function text(result: InvokeResult): string {
  assert.ok(result.ok, JSON.stringify(result));
  return Buffer.from(result.body).toString();
}
