// The resource of a function app: its settings and tags, and what it refuses.

import type { Site } from '@azure/arm-appservice';
import { checkSpec } from '../deployment/check-spec.ts';
import { type DeploymentSpec, ProviderError, type ProviderLimits } from '../provider.ts';
import { about, PROVIDER } from './errors.ts';
import { instanceMiB, type PlanKind } from './limits.ts';
import { CONNECTION_SETTING } from './logs.ts';

export interface AppOptions {
  readonly planKind: PlanKind;
  /** Id of this gateway, for the tags. */
  readonly gateway: string;
  readonly regions: readonly string[];
  readonly storage: { readonly connectionString: string; readonly containerUrl?: string };
  readonly insightsConnectionString?: string;
}

/** Names of settings that the host or the shim reads. A function's environment may not set them. */
const RESERVED_ENV =
  /^(APPLICATIONINSIGHTS_|AZUREWEBJOBS|AZUREFUNCTIONS|FUNCTIONS_|WEBSITE|SCM_|DEPLOYMENT_|DEFAAS_)/i;

/** The app without the tag that says that it is deployed. */
export function siteOf(spec: DeploymentSpec, serverFarmId: string, options: AppOptions): Site {
  const { connectionString, containerUrl } = options.storage;
  const isFlex = options.planKind === 'flex';
  const settings: Record<string, string> = {
    ...spec.env,
    ...spec.secrets,
    AzureWebJobsStorage: connectionString,
    // Otherwise the host answers GET / with a page of its own.
    AzureWebJobsDisableHomepage: 'true',
    DEFAAS_FUNCTION: spec.functionName,
    DEFAAS_VERSION: String(spec.version),
    DEFAAS_TIMEOUT_MS: String(spec.timeoutMs),
    ...(options.insightsConnectionString && {
      [CONNECTION_SETTING]: options.insightsConnectionString,
    }),
    ...(isFlex
      ? { DEPLOYMENT_STORAGE_CONNECTION_STRING: connectionString }
      : { FUNCTIONS_WORKER_RUNTIME: 'node', FUNCTIONS_EXTENSION_VERSION: '~4' }),
  };
  const appSettings = Object.entries(settings).map(([name, value]) => ({ name, value }));
  const common: Site = {
    location: spec.region,
    kind: 'functionapp,linux',
    serverFarmId,
    reserved: true,
    httpsOnly: true,
    tags: tagsOf(spec, options.gateway),
  };
  if (!isFlex) return { ...common, siteConfig: { linuxFxVersion: 'Node|22', appSettings } };
  return {
    ...common,
    siteConfig: { appSettings },
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer',
          value: containerUrl ?? '',
          authentication: {
            type: 'StorageAccountConnectionString',
            storageAccountConnectionStringName: 'DEPLOYMENT_STORAGE_CONNECTION_STRING',
          },
        },
      },
      runtime: { name: 'node', version: '22' },
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMiB(spec.memoryMiB, 'flex'),
        // Azure limits concurrent calls per instance only, so a limit needs one instance.
        maximumInstanceCount: spec.maxConcurrency === undefined ? 100 : 1,
        ...(spec.maxConcurrency !== undefined && {
          triggers: { http: { perInstanceConcurrency: Math.min(spec.maxConcurrency, 1000) } },
        }),
      },
    },
  };
}

export function tagsOf(spec: DeploymentSpec, gateway: string): Record<string, string> {
  return {
    'defaas-function': spec.functionName,
    'defaas-version': String(spec.version),
    'defaas-cid': spec.artifactCid,
    'defaas-gateway': gateway,
  };
}

/** Sends nothing. @throws ProviderError PROVIDER_INVALID, PROVIDER_TOO_LARGE */
export function checkApp(spec: DeploymentSpec, options: AppOptions, limits: ProviderLimits): void {
  const { regions, planKind, storage } = options;
  const variables = { ...spec.env, ...spec.secrets };
  const reserved = RESERVED_ENV;
  checkSpec(spec, { provider: PROVIDER, limits, regions, variables, reserved });
  if (planKind === 'flex' && !storage.containerUrl) {
    const what = `Flex Consumption needs the URL of a blob container for packages, on ${PROVIDER}`;
    throw new ProviderError('PROVIDER_INVALID', what, about('deploy', spec.name));
  }
}
