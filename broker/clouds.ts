// Selects the clouds that this gateway uses: the emulators of the local house, or the real ones,
// configured by their own variables.

import type { ProviderSettings } from '../adapters/providers.ts';
import { readState, StateFileError } from '../adapters/runtime/whole-file.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** Written by `scripts/emulators.ts`: each emulator's endpoint and credentials. */
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

/** Poll quickly: the emulators finish long-running operations at once. */
const EMULATOR_POLL_MS = 50;
/** The emulator's token never expires; the SDK asks for it again each hour. */
const TOKEN_LIFE_MS = 3_600_000;

const EMULATORS = {
  what: 'the addresses of the three emulated clouds',
  isWhole: (value: unknown) =>
    typeof value === 'object' &&
    value !== null &&
    ['aws', 'google', 'azure'].every((name) => name in value),
  remedy: 'run npm start again: it writes the file anew',
};

/** Settings of the three emulated clouds. @throws StateFileError */
export function emulatedClouds(
  file: string,
  env: Environment = {},
): Omit<ProviderSettings, 'local'> {
  const known = readState<EmulatorsFile>(file, EMULATORS);
  if (known === undefined) throw new StateFileError(`no file ${file}, run npm start: it writes it`);
  const { aws, google, azure } = known;
  return {
    'aws-lambda': aws,
    'google-cloud-functions': { ...google, regions: [google.region] },
    'azure-functions': {
      ...azure,
      // Default to y1: Flex Consumption bills at least 1 s for a call without concurrent ones, and
      // no template tariff covers that at 1 GiB.
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
 * Settings of the real clouds that the environment configures; credentials come from each cloud's
 * own credential chain. A cloud is used when its first variable is set; missing further variables
 * are reported through `fault`.
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

/** Flex Consumption unless DEFAAS_AZURE_PLAN names the older plan. */
function azurePlan(name: string, fault: (line: string) => void): 'flex' | 'y1' {
  if (name === 'flex' || name === 'y1') return name;
  fault('DEFAAS_AZURE_PLAN must be flex or y1');
  return 'flex';
}
