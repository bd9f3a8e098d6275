// The names of the environment that a cloud, its host or the shim sets are refused before anything
// is sent, with the name in one line.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Provider, ProviderError } from '../../adapters/provider.ts';
import { createSpec } from './conformance.ts';
import { openProviders } from './fixtures/emulated-providers.ts';

/** By provider, with one secret each, for both ways are checked. */
const RESERVED: Readonly<Record<string, readonly string[]>> = {
  'aws-lambda': ['AWS_REGION', 'LAMBDA_TASK_ROOT', '_HANDLER', 'DEFAAS_VERSION'],
  'google-cloud-functions': ['PORT', 'K_SERVICE', 'X_GOOGLE_A', 'DEFAAS_VERSION'],
  'azure-functions': ['WEBSITE_SKU', 'AzureWebJobsStorage', 'FUNCTIONS_A', 'DEFAAS_VERSION'],
};
const FREE = ['AWS_LAMBDA_EXEC_WRAPPER', 'PORTAL', 'MY_PORT', 'K_SERVICES'];

describe('reserved names of the environment', () => {
  let dir: string;
  let providers: Provider[];
  const closing: (() => Promise<void>)[] = [];

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'defaas-reserved-'));
    providers = await openProviders(dir, closing);
  });
  after(async () => {
    for (const provider of providers) await provider.close();
    for (const close of closing) await close();
    rmSync(dir, { recursive: true, force: true });
  });

  for (const [name, names] of Object.entries(RESERVED)) {
    it(`are refused as PROVIDER_INVALID on ${name}, in env and in secrets`, async () => {
      const provider = providers.find((one) => one.name === name);
      assert.ok(provider);
      const region = provider.regions[0] ?? '';
      const plan = (more: object) =>
        provider.plan(createSpec(region, more), { signal: AbortSignal.timeout(600_000) });

      for (const taken of names) {
        for (const field of ['env', 'secrets']) {
          await assert.rejects(plan({ [field]: { [taken]: 'x' } }), (error: unknown) => {
            assert.ok(error instanceof ProviderError);
            assert.deepEqual([error.code, error.ran], ['PROVIDER_INVALID', 'no']);
            assert.match(error.message, new RegExp(`name ${taken} is reserved`));
            return true;
          });
        }
      }
      const free = Object.fromEntries(FREE.map((one) => [one, 'x']));
      assert.ok((await plan({ env: free })).steps.length > 0);
    });
  }
});
