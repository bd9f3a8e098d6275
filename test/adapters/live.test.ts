// The conformance suite on the real clouds, each where its variables are set (`.env.example`); its
// credentials come from the cloud's own chain. A run costs some cents and takes some minutes.
// Without the variables it is skipped, and says which.

import assert from 'node:assert/strict';
import type { Provider, ProviderName } from '../../adapters/provider.ts';
import { createProviders } from '../../adapters/providers.ts';
import { realClouds } from '../../broker/clouds.ts';
import { type ConformanceOptions, testProvider } from './conformance.ts';

/** Tells our functions from those of a gateway in the same account. */
const GATEWAY = 'defaas-conformance';
const HOUR_MS = 3_600_000;
/** Functions that an interrupted run left behind are removed after this time. */
const LEFT_MS = 24 * HOUR_MS;
/** Timeout of one test, and of the hooks before and after all. */
const TEST_MS = 30 * 60_000;

interface LiveCloud extends Pick<ConformanceOptions, 'tellsRetryAfter'> {
  readonly name: Exclude<ProviderName, 'local'>;
  /** The variables that this cloud needs. */
  readonly needs: string;
}

const CLOUDS: readonly LiveCloud[] = [
  {
    ...{ name: 'aws-lambda', needs: 'DEFAAS_AWS_ROLE_ARN and AWS_REGION' },
    ...{ tellsRetryAfter: true },
  },
  {
    ...{ name: 'google-cloud-functions', needs: 'GOOGLE_CLOUD_PROJECT and DEFAAS_GOOGLE_REGION' },
    ...{ tellsRetryAfter: true },
  },
  {
    ...{ name: 'azure-functions', needs: 'AZURE_SUBSCRIPTION_ID and the DEFAAS_AZURE_* variables' },
    ...{ tellsRetryAfter: true },
  },
];

const faults: string[] = [];
const settings = realClouds(process.env, (line) => faults.push(line));

for (const { name, needs, ...options } of CLOUDS) {
  describe(`${name}, the real cloud`, function () {
    this.timeout(TEST_MS);
    if (settings[name] === undefined) {
      it.skip(`passes the conformance suite (no account to test with: set ${needs})`);
      return;
    }
    const livePrefix = prefixAt(Date.now());
    testProvider(
      async () => {
        assert.deepEqual(faults, []);
        const provider = createProviders(settings, GATEWAY).get(name);
        assert.ok(provider);
        const region = provider.regions[0] ?? '';
        return { provider, region, close: () => sweep(provider, region, livePrefix) };
      },
      { ...options, livePrefix },
    );
  });
}

/** Names begin with the hour of their run, in base 36, and random letters. */
function prefixAt(nowMs: number): string {
  const chance = Math.random().toString(36).slice(2, 6);
  return `df-${Math.floor(nowMs / HOUR_MS).toString(36)}-${chance}-`;
}

/** Removes what this run made, and what runs of yesterday left behind. */
async function sweep(provider: Provider, region: string, prefix: string): Promise<void> {
  const signal = AbortSignal.timeout(TEST_MS);
  const oldest = (Date.now() - LEFT_MS) / HOUR_MS;
  for await (const { name } of provider.list(region, { signal })) {
    const [, hour = ''] = /^df-([0-9a-z]+)-[0-9a-z]+-/.exec(name) ?? [];
    const isLeft = hour !== '' && Number.parseInt(hour, 36) < oldest;
    if (isLeft || name.startsWith(prefix)) await provider.remove({ name, region }, { signal });
  }
  await provider.close();
}
