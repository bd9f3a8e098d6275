// The AWS provider against the emulator: the suite of all providers, then cases of Lambda alone.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  CreateAliasCommand,
  InvokeCommand,
  LambdaClient,
  PutFunctionConcurrencyCommand,
} from '@aws-sdk/client-lambda';
import { type AwsLambda, startAwsLambda } from '../../../adapters/aws/emulator/emulator.ts';
import { toPayload } from '../../../adapters/aws/invocation.ts';
import { createAwsLambda } from '../../../adapters/aws/provider.ts';
import { type Provider, ProviderError } from '../../../adapters/provider.ts';
import { createRequest, createSpec, type TestBed, testProvider } from '../conformance.ts';

const credentials = { accessKeyId: 'emulator', secretAccessKey: 'test-key-of-the-emulator' };
const region = 'us-east-1';
const within = (ms = 30_000) => ({ signal: AbortSignal.timeout(ms) });

describe('aws-lambda', () => {
  testProvider(openBed, { tellsRetryAfter: true });

  describe('a deploy', () => {
    let bed: Awaited<ReturnType<typeof openBed>>;
    beforeEach(async () => {
      bed = await openBed();
    });
    afterEach(() => bed.close());

    // Three faults in a row: the SDK sends a request up to three times when its answer is lost.
    const cuts = [
      ...['GetFunction', 'CreateFunction', 'GetFunctionConfiguration', 'CreateAlias'],
      ...['PutFunctionConcurrency', 'UpdateFunctionCode', 'UpdateFunctionConfiguration'],
      ...['PublishVersion', 'UpdateAlias', 'TagResource'],
    ];
    for (const kind of ['drop-before', 'drop-after'] as const) {
      it(`is completed by a second run after a ${kind} of any request`, async () => {
        for (const operation of cuts) {
          const { provider, faults } = bed;
          const name = `df-cut-${operation.toLowerCase()}`;
          const isUpdate = /^Update|Publish|Tag/.test(operation);
          if (isUpdate) await provider.deploy(createSpec(region, { name }), within());
          const spec = createSpec(region, { name, version: 8, maxConcurrency: 3 });

          await faults.set([{ kind, on: { operation }, times: 3 }]);
          const first = await provider.deploy(spec, within()).catch((error: unknown) => error);
          const [hits = 0] = faults.hits();
          await faults.clear();
          const second = await provider.deploy(spec, within());

          assert.ok(hits > 0, operation);
          if (first instanceof Error) assert.ok(first instanceof ProviderError, String(first));
          const plan = await provider.plan(spec, within());
          assert.deepEqual(
            plan.steps.map(({ action }) => action),
            ['keep'],
          );
          const result = await provider.invoke(
            second,
            createRequest({ path: '/context' }),
            within(),
          );
          assert.ok(result.ok);
          assert.equal(JSON.parse(Buffer.from(result.body).toString()).version, 8);
        }
      });
    }

    it('fails no call while one version replaces another', async () => {
      const { provider } = bed;
      const deployment = await provider.deploy(createSpec(region), within());
      const versions: number[] = [];

      const calling = (async () => {
        while (versions.at(-1) !== 8) {
          const request = createRequest({ path: '/context' });
          const result = await provider.invoke(deployment, request, within());
          assert.ok(result.ok);
          versions.push(JSON.parse(Buffer.from(result.body).toString()).version);
        }
      })();
      await provider.deploy(createSpec(region, { version: 8 }), within());
      await calling;

      assert.equal(versions[0], 7);
    });

    it('reports that the cloud’s asynchronous work failed or did not end in time', async () => {
      const { provider, faults } = bed;

      await faults.set([{ kind: 'operation-fails', on: { operation: 'CreateFunction' } }]);
      await rejectsWith(provider.deploy(createSpec(region), within()), 'PROVIDER_DEPLOY_FAILED');
      await faults.clear();
      await provider.deploy(createSpec(region), within());

      await faults.set([{ kind: 'stuck-operation' }]);
      const stuck = provider.deploy(createSpec(region, { name: 'df-stuck' }), within(300));
      await rejectsWith(stuck, 'PROVIDER_DEADLINE');
    });

    it('reports an API error at once while it waits for a new function', async () => {
      const { provider, faults } = bed;
      const on = { operation: 'GetFunctionConfiguration' };

      await faults.set([{ kind: 'expire-credentials', on }]);

      await rejectsWith(provider.deploy(createSpec(region), within()), 'PROVIDER_UNAUTHENTICATED');
    });

    it('replaces a function whose creation failed, with its alias and concurrency', async () => {
      const { provider, faults, endpoint } = bed;
      const spec = createSpec(region, { maxConcurrency: 3 });
      const FunctionName = spec.name;
      await faults.set([{ kind: 'operation-fails', on: { operation: 'CreateFunction' } }]);
      await rejectsWith(provider.deploy(spec, within()), 'PROVIDER_DEPLOY_FAILED');
      await faults.clear();
      const client = new LambdaClient({ region, endpoint, credentials });
      const alias = { FunctionName, Name: 'live', FunctionVersion: '1' };
      await client.send(new CreateAliasCommand(alias));
      const concurrency = { FunctionName, ReservedConcurrentExecutions: 3 };
      await client.send(new PutFunctionConcurrencyCommand(concurrency));
      client.destroy();

      const deployment = await provider.deploy(spec, within());
      const result = await provider.invoke(deployment, createRequest(), within());
      const { steps } = await provider.plan(spec, within());

      assert.ok(result.ok);
      assert.deepEqual(
        steps.map(({ action }) => action),
        ['keep'],
      );
    });

    it('limits concurrent calls: Lambda throttles the calls above the limit and does not run them', async () => {
      const { provider } = bed;
      const spec = createSpec(region, { maxConcurrency: 2 });
      const deployment = await provider.deploy(spec, within());

      const calls = Array.from({ length: 6 }, () =>
        provider.invoke(deployment, createRequest({ path: '/sleep/300' }), within()),
      );
      const settled = await Promise.allSettled(calls);

      const refused = settled.flatMap((each) => (each.status === 'rejected' ? [each.reason] : []));
      assert.equal(settled.length - refused.length, 2);
      for (const error of refused) {
        assert.ok(error instanceof ProviderError);
        assert.deepEqual([error.code, error.ran], ['PROVIDER_THROTTLED', 'no']);
      }
    });
  });

  describe('calls', () => {
    let dir: string;
    let emulator: AwsLambda;
    let provider: Provider;
    beforeEach(async () => {
      dir = mkdtempSync(join(tmpdir(), 'defaas-aws-'));
      emulator = await startAwsLambda({ dir, credentials, region, idleMs: 50 });
      const { endpoint } = emulator;
      provider = createAwsLambda({ region, endpoint, credentials, gateway: '0xgateway' });
    });
    afterEach(async () => {
      await provider.close();
      await emulator.close();
      rmSync(dir, { recursive: true, force: true });
    });

    it('get the same outcome as Invoke of the SDK', async () => {
      const deployment = await provider.deploy(createSpec(region), within());
      const { endpoint } = emulator;
      const client = new LambdaClient({ region, endpoint, credentials });
      const request = createRequest({ path: '/echo', body: Buffer.from('grüße') });

      const ours = await provider.invoke(deployment, request, within());
      const Payload = toPayload(request);
      const command = { FunctionName: deployment.name, Qualifier: 'live', Payload };
      const theirs = await client.send(new InvokeCommand(command));
      client.destroy();

      assert.ok(ours.ok);
      const answer = JSON.parse(Buffer.from(theirs.Payload ?? []).toString());
      assert.equal(answer.body, Buffer.from(ours.body).toString());
      assert.equal(theirs.ExecutedVersion, '1');
    });

    it('are refused with wrong credentials, and so is a deploy', async () => {
      const deployment = await provider.deploy(createSpec(region), within());
      const { endpoint } = emulator;
      for (const wrong of [
        { ...credentials, secretAccessKey: 'wrong' },
        { ...credentials, accessKeyId: 'wrong' },
      ]) {
        const stranger = createAwsLambda({ region, endpoint, credentials: wrong, gateway: 'g' });

        const call = stranger.invoke(deployment, createRequest(), within());
        await rejectsWith(call, 'PROVIDER_UNAUTHENTICATED');
        await rejectsWith(
          stranger.deploy(createSpec(region), within()),
          'PROVIDER_UNAUTHENTICATED',
        );
        await stranger.close();
      }
      await emulator.faults.set([{ kind: 'expire-credentials' }]);
      const expired = provider.invoke(deployment, createRequest(), within());
      await rejectsWith(expired, 'PROVIDER_UNAUTHENTICATED');
    });

    it('end with an exit when heap or buffers exceed the memory size', async () => {
      const handler = `export default async (request) => {
        const kept = [];
        for (;;) kept.push(request.url.endsWith('heap') ? { a: kept.length } : Buffer.alloc(1e6, 1));
      }`;
      const spec = createSpec(region, { handler, memoryMiB: 128 });
      const deployment = await provider.deploy(spec, within());

      for (const path of ['/heap', '/buffer']) {
        const result = await provider.invoke(deployment, createRequest({ path }), within());

        assert.ok(!result.ok);
        assert.equal(result.error.kind, 'exit');
      }
    });

    it('find fresh memory and the same temporary folder after an exit', async () => {
      const handler = `import { appendFileSync, readFileSync } from 'node:fs';
        import { tmpdir } from 'node:os';
        let calls = 0;
        export default (request) => {
          appendFileSync(tmpdir() + '/seen', 'x');
          if (request.url.endsWith('/exit')) process.exit(3);
          return { calls: ++calls, seen: readFileSync(tmpdir() + '/seen', 'utf8') };
        }`;
      const deployment = await provider.deploy(createSpec(region, { handler }), within());
      const call = (path: string) => provider.invoke(deployment, createRequest({ path }), within());

      await call('/');
      const exited = await call('/exit');
      const after = await call('/');

      assert.ok(!exited.ok);
      assert.match(exited.error.message, /exit status 3$/);
      assert.ok(after.ok);
      assert.equal(after.cold, true);
      assert.deepEqual(JSON.parse(Buffer.from(after.body).toString()), { calls: 1, seen: 'xxx' });
    });

    it('start a new instance after the idle one was stopped', async () => {
      const deployment = await provider.deploy(createSpec(region), within());
      await provider.invoke(deployment, createRequest(), within());
      assert.equal(emulator.instances(), 1);

      await until(() => emulator.instances() === 0);

      const again = await provider.invoke(deployment, createRequest(), within());
      assert.equal(again.cold, true);
    });
  });

  it('finds its functions again after the emulator is killed, and ends the instances that are left over', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'defaas-aws-'));
    const fixture = fileURLToPath(new URL('../fixtures/aws-emulator.ts', import.meta.url));
    const child = spawn(process.execPath, [fixture, dir], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = await once(child.stdout, 'data');
    const endpoint = String(line).trim();
    const before = createAwsLambda({ region, endpoint, credentials, gateway: 'g' });
    const deployment = await before.deploy(createSpec(region), within());
    assert.ok((await before.invoke(deployment, createRequest(), within())).ok);
    const [stray] = readdirSync(join(dir, 'children'));

    child.kill('SIGKILL');
    await once(child, 'exit');
    await before.close();
    const emulator = await startAwsLambda({ dir, credentials });
    const after = createAwsLambda({
      region,
      endpoint: emulator.endpoint,
      credentials,
      gateway: 'g',
    });
    const plan = await after.plan(createSpec(region), within());
    const result = await after.invoke(deployment, createRequest(), within());
    await after.close();
    await emulator.close();
    rmSync(dir, { recursive: true, force: true });

    assert.equal(plan.steps[0]?.action, 'keep');
    assert.ok(result.ok);
    await until(() => !isRunning(Number(stray)));
  });
});

async function openBed(): Promise<TestBed & { readonly endpoint: string }> {
  const dir = mkdtempSync(join(tmpdir(), 'defaas-aws-'));
  const emulator = await startAwsLambda({ dir, credentials, region });
  const { endpoint, faults, writes } = emulator;
  const provider = createAwsLambda({ region, endpoint, credentials, gateway: '0xgateway' });
  return {
    provider,
    region,
    endpoint,
    faults,
    writes,
    async close() {
      await provider.close();
      await emulator.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

async function rejectsWith(call: Promise<unknown>, code: string): Promise<void> {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof ProviderError, String(error));
    assert.equal(error.code, code);
    assert.equal(error.ran, 'no');
    return true;
  });
}

/** Polls until the condition holds; fails after 5 s. */
async function until(isSo: () => boolean): Promise<void> {
  const endMs = performance.now() + 5000;
  while (!isSo()) {
    assert.ok(performance.now() < endMs, 'not so within 5 s');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function isRunning(pid: number): boolean {
  if (existsSync('/proc/self')) return existsSync(`/proc/${pid}`);
  try {
    return process.kill(pid, 0);
  } catch {
    // No such process.
    return false;
  }
}
