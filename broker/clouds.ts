// Which clouds this gateway uses: the emulators of the local house, or the real ones through their own variables.
import { readFileSync } from 'node:fs';
import type { ProviderSettings } from '../adapters/providers.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** What `scripts/emulators.ts` writes: where each emulator is and what it takes as credentials. */
export interface EmulatorsFile {
  readonly aws: {
    readonly endpoint: string;
    readonly region: string;
    readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string };
    readonly roleArn: string;
  };
  readonly google: {
    readonly endpoint: string;
    readonly metadataHost: string;
    readonly projectId: string;
    readonly region: string;
  };
  readonly azure: {
    readonly endpoint: string;
    readonly caPem: string;
    readonly token: string;
    readonly subscriptionId: string;
    readonly resourceGroup: string;
    readonly location: string;
    readonly storage: { readonly connectionString: string; readonly containerUrl: string };
    readonly insightsConnectionString: string;
  };
}

/** The emulators do their long-running work at once. */
const EMULATOR_POLL_MS = 50;
/** An emulator's one token is good for ever; the SDK asks again each hour. */
const TOKEN_LIFE_MS = 3_600_000;

/** Settings of the three emulated clouds. @throws SyntaxError, Error  the file cannot be read */
export function emulatedClouds(
  file: string,
  env: Environment = {},
): Omit<ProviderSettings, 'local'> {
  // Safe: the house writes this file for its own gateway.
  const { aws, google, azure } = JSON.parse(readFileSync(file, 'utf8')) as EmulatorsFile;
  return {
    'aws-lambda': aws,
    'google-cloud-functions': { ...google, regions: [google.region] },
    'azure-functions': {
      ...azure,
      // Flex Consumption bills a call that is alone for a whole second: no template tariff covers that at 1 GiB.
      planKind: env.DEFAAS_AZURE_PLAN === 'flex' ? 'flex' : 'y1',
      regions: [azure.location],
      pollMs: EMULATOR_POLL_MS,
      credential: {
        getToken: async () => ({
          token: azure.token,
          expiresOnTimestamp: Date.now() + TOKEN_LIFE_MS,
        }),
      },
    },
  };
}

/**
 * Settings of the real clouds that the environment names; credentials come from each cloud's own chain. A cloud is used when its
 * first variable is set; what it then lacks is told through `fault`.
 */
export function realClouds(
  env: Environment,
  fault: (line: string) => void,
): Partial<ProviderSettings> {
  const needed = (name: string): string => {
    const value = env[name] ?? '';
    if (value === '') fault(`${name} is required`);
    return value;
  };
  return {
    ...(env.DEFAAS_AWS_ROLE_ARN && {
      'aws-lambda': { region: needed('AWS_REGION'), roleArn: env.DEFAAS_AWS_ROLE_ARN },
    }),
    ...(env.GOOGLE_CLOUD_PROJECT && {
      'google-cloud-functions': {
        projectId: env.GOOGLE_CLOUD_PROJECT,
        regions: [needed('DEFAAS_GOOGLE_REGION')],
      },
    }),
    ...(env.AZURE_SUBSCRIPTION_ID && {
      'azure-functions': {
        subscriptionId: env.AZURE_SUBSCRIPTION_ID,
        resourceGroup: needed('DEFAAS_AZURE_RESOURCE_GROUP'),
        regions: [needed('DEFAAS_AZURE_LOCATION')],
        planKind: azurePlan(env.DEFAAS_AZURE_PLAN ?? 'flex', fault),
        storage: {
          connectionString: needed('DEFAAS_AZURE_STORAGE_CONNECTION'),
          containerUrl: needed('DEFAAS_AZURE_STORAGE_CONTAINER_URL'),
        },
        ...(env.DEFAAS_AZURE_INSIGHTS_CONNECTION && {
          insightsConnectionString: env.DEFAAS_AZURE_INSIGHTS_CONNECTION,
        }),
      },
    }),
  };
}

/** Flex Consumption unless the older plan is named. */
function azurePlan(name: string, fault: (line: string) => void): 'flex' | 'y1' {
  if (name === 'flex' || name === 'y1') return name;
  fault('DEFAAS_AZURE_PLAN must be flex or y1');
  return 'flex';
}
