// Mistakes of an operator and failures of a cloud, on each cloud: each gives one clear line with a
// code and no secret, and the same deploy run again converges once the fault is gone. The
// conformance suite covers modules that do not start.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { startAwsLambda } from '../../adapters/aws/emulator/emulator.ts';
import { createAwsLambda } from '../../adapters/aws/provider.ts';
import { startAzureFunctions } from '../../adapters/azure/emulator/emulator.ts';
import { createAzureFunctions } from '../../adapters/azure/provider.ts';
import type { FaultRule } from '../../adapters/emulators/faults.ts';
import { startGoogleCloudFunctions } from '../../adapters/google/emulator/emulator.ts';
import { createGoogleCloudFunctions } from '../../adapters/google/provider.ts';
import { ProviderError, type ProviderErrorCode } from '../../adapters/provider.ts';
import { createRequest, createSpec, type TestBed } from './conformance.ts';

interface Cloud {
  readonly open: (dir: string) => Promise<Omit<TestBed, 'writes'>>;
  /** The operation that uploads the code to the cloud. */
  readonly upload: string;
  /** The operation with which a deploy waits for the cloud to create a function. */
  readonly poll: string;
  /**
   * Code of a deploy whose last step, one call, is refused. Azure waits for its keys until the
   * deadline.
   */
  readonly refusedCall: 'PROVIDER_UNAUTHENTICATED' | 'PROVIDER_DEADLINE';
  /** The cloud loads the module before the first call. */
  readonly loadsAtStart: boolean;
}

const MiB = 1024 * 1024;
const gateway = '0x00000000000000000000000000000000000000bb';
/** Longer than any test here takes under load: a test that fails by a deadline of its own sets it. */
const DEADLINE_MS = 10 * 60_000;
const within = (signal = AbortSignal.timeout(DEADLINE_MS)) => ({ signal });

const CLOUDS: Readonly<Record<string, Cloud>> = {
  'aws-lambda': {
    ...{ open: openAws, upload: 'CreateFunction', poll: 'GetFunctionConfiguration' },
    ...{ refusedCall: 'PROVIDER_UNAUTHENTICATED', loadsAtStart: true },
  },
  'google-cloud-functions': {
    ...{ open: openGoogle, upload: 'Upload', poll: 'GetOperation' },
    ...{ refusedCall: 'PROVIDER_UNAUTHENTICATED', loadsAtStart: true },
  },
  'azure-functions': {
    ...{ open: openAzure, upload: 'publish', poll: 'GetOperationResult' },
    ...{ refusedCall: 'PROVIDER_DEADLINE', loadsAtStart: false },
  },
};

for (const [cloud, { open, upload, poll, ...told }] of Object.entries(CLOUDS)) {
  const { refusedCall, loadsAtStart } = told;

  describe(`bad input on ${cloud}`, function () {
    this.timeout(DEADLINE_MS);
    let dir: string;
    let bed: Omit<TestBed, 'writes'>;
    before(async () => {
      dir = mkdtempSync(join(tmpdir(), 'defaas-bad-'));
      bed = await open(dir);
    });
    after(async () => {
      await bed?.close();
      rmSync(dir, { recursive: true, force: true });
    });

    const deploy = (overrides: Parameters<typeof createSpec>[1] = {}, signal?: AbortSignal) =>
      bed.provider.deploy(createSpec(bed.region, { name: 'df-bad', ...overrides }), within(signal));

    it('refuses a package that is too large, and an unknown region, before any request', async () => {
      const { maxUnpackedBytes } = bed.provider.limits;
      const files = new Map([['handler.mjs', Buffer.alloc(maxUnpackedBytes + 1)]]);

      await fails(deploy({ files }), 'PROVIDER_TOO_LARGE');
      await fails(deploy({ region: 'nowhere-1' }), 'PROVIDER_INVALID');

      assert.deepEqual(await names(), []);
    });

    const cases: readonly (readonly [title: string, rule: FaultRule, code: ProviderErrorCode])[] = [
      ['refused credentials', { kind: 'expire-credentials' }, 'PROVIDER_UNAUTHENTICATED'],
      ['too many requests', { kind: 'throttle', retryAfterMs: 0 }, 'PROVIDER_THROTTLED'],
      ['an unreachable cloud', { kind: 'outage' }, 'PROVIDER_CONNECTION'],
      ['an operation that fails', { kind: 'operation-fails' }, 'PROVIDER_DEPLOY_FAILED'],
      ['a reached quota', { kind: 'quota' }, 'PROVIDER_QUOTA'],
    ];
    for (const [title, rule, code] of cases) {
      it(`gives ${code} for ${title}, and the same deploy run again succeeds`, async () => {
        await bed.faults.set([rule]);
        await fails(deploy(), code);
        await bed.faults.clear();

        await converges();
      });
    }

    it('gives PROVIDER_DEADLINE for work that does not end, and a deploy after a removal succeeds', async () => {
      // The first rule counts the polls: the cloud has begun the operation when there is one.
      const counted = { kind: 'delay', ms: 0, where: 'before', on: { operation: poll } } as const;
      await bed.faults.set([counted, { kind: 'stuck-operation' }]);
      const deadline = new AbortController();
      const deploying = fails(deploy({}, deadline.signal), 'PROVIDER_DEADLINE');
      await until(() => (bed.faults.hits()[0] ?? 0) > 0);
      deadline.abort();
      await deploying;
      await bed.faults.clear();
      await bed.provider.remove({ name: 'df-bad', region: bed.region }, within());

      await converges();
    });

    it('fails when the network breaks in the middle of the upload, and the same deploy run again succeeds', async () => {
      // Larger than the socket buffers: the sender is still writing when the connection breaks.
      const files = new Map([...createSpec(bed.region).files, ['noise', randomBytes(24 * MiB)]]);
      await bed.faults.set([{ kind: 'drop-before', on: { operation: upload } }]);
      await fails(deploy({ files }), 'PROVIDER_CONNECTION');
      assert.ok((bed.faults.hits()[0] ?? 0) > 0, 'nothing was uploaded');
      await bed.faults.clear();

      await converges();
    });

    it(`gives ${refusedCall} for a refused first call, and the same deploy run again succeeds`, async () => {
      await bed.faults.set([{ kind: 'expire-credentials', on: { operation: 'invoke' } }]);
      const deadline = new AbortController();
      const deploying = fails(deploy({}, deadline.signal), refusedCall);
      await until(() => (bed.faults.hits()[0] ?? 0) > 0);
      if (refusedCall === 'PROVIDER_DEADLINE') deadline.abort();
      await deploying;
      await bed.faults.clear();

      await converges();
    });

    if (loadsAtStart) {
      it('gives PROVIDER_DEPLOY_FAILED for code that exits at its start, and a deploy of corrected code succeeds', async () => {
        await fails(deploy({ handler: 'process.exit(3);' }), 'PROVIDER_DEPLOY_FAILED');

        await converges();
      });
    }

    it('leaves no secret of a removed function on the disk of the emulator', async () => {
      const secret = randomBytes(16).toString('hex');
      const deployment = await deploy({ secrets: { TOKEN: secret } });
      assert.ok(holds(dir, secret), 'the secret was never on the disk');

      await bed.provider.remove(deployment, within());

      await until(() => !holds(dir, secret));
    });

    /** Asserts that the same deploy succeeds, writes nothing when repeated, and can be removed. */
    async function converges(): Promise<void> {
      const deployment = await deploy();
      const plan = await bed.provider.plan(createSpec(bed.region, { name: 'df-bad' }), within());
      const result = await bed.provider.invoke(deployment, createRequest(), within());
      const found = await names();
      await bed.provider.remove(deployment, within());

      assert.ok(result.ok);
      assert.deepEqual([...new Set(plan.steps.map(({ action }) => action))], ['keep']);
      assert.deepEqual(found, ['df-bad']);
      assert.deepEqual(await names(), []);
    }

    async function names(): Promise<string[]> {
      const found: string[] = [];
      for await (const { name } of bed.provider.list(bed.region, within())) found.push(name);
      return found;
    }
  });
}

/** Whether a file below the folder contains the text. */
function holds(dir: string, text: string): boolean {
  return readdirSync(dir, { recursive: true, withFileTypes: true }).some(
    (entry) => entry.isFile() && readText(join(entry.parentPath, entry.name)).includes(text),
  );
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    // The file was renamed or removed during the scan.
    return '';
  }
}

/** Polls until the condition holds. The timeout of the test ends it. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await wait(20);
}

async function fails(work: Promise<unknown>, code: ProviderErrorCode): Promise<void> {
  await assert.rejects(work, (error) => {
    assert.ok(error instanceof ProviderError, String(error));
    assert.deepEqual([error.code, error.ran], [code, 'no'], error.message);
    assert.ok(!error.message.includes('\n') && error.message.length < 400, error.message);
    assert.ok(!`${error.message} ${String(error.cause)}`.includes('not-for-logs'));
    return true;
  });
}

async function openAws(dir: string) {
  const credentials = { accessKeyId: 'emulator', secretAccessKey: 'test-key-of-the-emulator' };
  const region = 'us-east-1';
  const emulator = await startAwsLambda({ dir, credentials, region });
  const { endpoint } = emulator;
  return bedOf(emulator, createAwsLambda({ region, endpoint, credentials, gateway }));
}

async function openGoogle(dir: string) {
  const emulator = await startGoogleCloudFunctions({ dir, projectId: 'defaas-local' });
  const { endpoint, metadataHost, projectId } = emulator;
  const regions = ['us-central1'];
  const google = { endpoint, metadataHost, projectId, regions, gateway };
  return bedOf(emulator, createGoogleCloudFunctions(google));
}

async function openAzure(dir: string) {
  const emulator = await startAzureFunctions({ dir });
  const { endpoint, caPem, token, subscriptionId, resourceGroup, storage } = emulator;
  const azure = {
    ...{ endpoint, caPem, subscriptionId, resourceGroup, storage, gateway },
    regions: ['westeurope'],
    credential: { getToken: async () => ({ token, expiresOnTimestamp: Date.now() + 3_600_000 }) },
    pollMs: 20,
  };
  return bedOf(emulator, createAzureFunctions(azure));
}

function bedOf(
  emulator: { readonly faults: TestBed['faults']; close(): Promise<void> },
  provider: TestBed['provider'],
): Omit<TestBed, 'writes'> {
  return {
    provider,
    region: provider.regions[0] ?? '',
    faults: emulator.faults,
    async close() {
      await provider.close();
      await emulator.close();
    },
  };
}
