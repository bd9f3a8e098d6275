// What a function app is at Azure: the bounds of its plan, its settings and tags, and what it refuses.

import type { Site } from '@azure/arm-appservice';
import { checkSpec } from '../deployment/check-spec.ts';
import { type DeploymentSpec, ProviderError, type ProviderLimits } from '../provider.ts';
import { about, NAME } from './invocation.ts';
import { CONNECTION_SETTING } from './logs.ts';

/** Flex Consumption, or the older Consumption plan on Linux. */
export type PlanKind = 'flex' | 'y1';

export interface AppOptions {
  readonly planKind: PlanKind;
  readonly gateway: string;
  readonly regions: readonly string[];
  readonly storage: { readonly connectionString: string; readonly containerUrl?: string };
  readonly insightsConnectionString?: string;
}

const MiB = 1024 * 1024;
/** Sizes of a Flex Consumption instance, MiB (Azure Functions, Flex Consumption plan, instance sizes). */
const FLEX_INSTANCE_MIB = [512, 2048, 4096];
/** Memory of a Consumption (Y1) instance, MiB (Azure Functions scale and hosting, service limits). */
const Y1_INSTANCE_MIB = 1536;
/** Settings that belong to the host or to us; a function's environment may not set them. */
const RESERVED_ENV =
  /^(APPLICATIONINSIGHTS_|AZUREWEBJOBS|AZUREFUNCTIONS|FUNCTIONS_|WEBSITE|SCM_|DEPLOYMENT_|DEFAAS_)/i;

/** The app as Azure Resource Manager takes it, without the tag that says it is whole. */
export function siteOf(spec: DeploymentSpec, serverFarmId: string, options: AppOptions): Site {
  const { connectionString, containerUrl } = options.storage;
  const isFlex = options.planKind === 'flex';
  const settings: Record<string, string> = {
    ...spec.env,
    ...spec.secrets,
    AzureWebJobsStorage: connectionString,
    // Else GET / is answered by the host's own page.
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
        // One instance, for what an app runs at once is bounded per instance only.
        maximumInstanceCount: spec.maxConcurrency === undefined ? 100 : 1,
        ...(spec.maxConcurrency !== undefined && {
          triggers: { http: { perInstanceConcurrency: Math.min(spec.maxConcurrency, 1000) } },
        }),
      },
    },
  };
}

/** Smallest instance that holds the memory asked for, MiB. */
export function instanceMiB(memoryMiB: number, planKind: PlanKind): number {
  if (planKind === 'y1') return Y1_INSTANCE_MIB;
  return FLEX_INSTANCE_MIB.find((size) => size >= memoryMiB) ?? memoryMiB;
}

export function tagsOf(spec: DeploymentSpec, gateway: string): Record<string, string> {
  return {
    'defaas-function': spec.functionName,
    'defaas-version': String(spec.version),
    'defaas-cid': spec.artifactCid,
    'defaas-gateway': gateway,
  };
}

export function limitsOf(
  planKind: PlanKind,
  lowered: Partial<ProviderLimits> = {},
): ProviderLimits {
  return {
    // HTTP request size (Azure Functions scale and hosting, service limits).
    maxRequestBytes: 100 * MiB,
    // Not documented: the bound that the shim keeps.
    maxResponseBytes: 32 * MiB,
    // The load balancer's idle timeout (the same page).
    maxTimeoutMs: 230_000,
    minMemoryMiB: 1,
    maxMemoryMiB: planKind === 'flex' ? Math.max(...FLEX_INSTANCE_MIB) : Y1_INSTANCE_MIB,
    // Not documented: a bound of our own.
    maxPackageBytes: 256 * MiB,
    maxUnpackedBytes: 512 * MiB,
    maxEnvBytes: 32 * 1024,
    // No figure of Azure's: "typical cold start latency spans from 1 to 3 seconds" (mikhail.io/serverless/coldstarts/azure).
    coldStartMs: 3000,
    ...lowered,
  };
}

/** Refuses what Azure cannot take, before any network call. @throws ProviderError */
export function checkApp(spec: DeploymentSpec, options: AppOptions, limits: ProviderLimits): void {
  const { regions, planKind, storage } = options;
  const variables = { ...spec.env, ...spec.secrets };
  checkSpec(spec, { provider: NAME, limits, regions, variables });
  const refuse = (message: string) => {
    throw new ProviderError(
      'PROVIDER_INVALID',
      `${message}, on ${NAME}`,
      about('deploy', spec.name),
    );
  };
  if (planKind === 'flex' && !storage.containerUrl) {
    refuse('Flex Consumption needs the URL of a blob container for packages');
  }
  const reserved = Object.keys(variables).find((name) => RESERVED_ENV.test(name));
  if (reserved !== undefined) refuse(`the name ${reserved} is reserved by the host`);
}
