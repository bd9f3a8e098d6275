// What a version is at Google: the files that its package gets beside the artifact, the function resource with its labels,
// and the limits that a specification is checked against before any call.

import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { protos } from '@google-cloud/functions';
import {
  type Deployment,
  type DeploymentSpec,
  ProviderError,
  type ProviderLimits,
} from '../provider.ts';
import { PROVIDER } from './errors.ts';

export type CloudFunction = protos.google.cloud.functions.v2.IFunction;

const RUNTIME = 'nodejs22';
const ENTRY_POINT = 'main';
const FRAMEWORK_VERSION = '5.0.5';

/** The cloud's own timeout is at least this much later than the shim's, so that the shim answers first. */
const SHIM_LEAD_MS = 250;

/** Cloud Run functions quotas, 2026-11 (doc); package sizes and environment are those of the first generation. */
export const LIMITS: ProviderLimits = {
  maxRequestBytes: 32 * 1024 * 1024,
  maxResponseBytes: 32 * 1024 * 1024,
  maxTimeoutMs: 3_600_000,
  minMemoryMiB: 128,
  maxMemoryMiB: 32_768,
  maxPackageBytes: 100 * 1024 * 1024,
  maxUnpackedBytes: 500 * 1024 * 1024,
  maxEnvBytes: 32 * 1024,
  // No figure of Google's: published measurements of Node functions lie between 0.5 and 3 s (mikhail.io/serverless/coldstarts/gcp).
  coldStartMs: 3000,
};

/** What the adapter adds to the artifact; the same for every function. */
export async function readShim(): Promise<ReadonlyMap<string, Uint8Array>> {
  const [gcp, fetchCall] = await Promise.all(
    ['gcp.mjs', 'fetch-call.mjs'].map((file) =>
      readFile(new URL(`../shims/${file}`, import.meta.url)),
    ),
  );
  const manifest = {
    private: true,
    main: 'gcp.mjs',
    dependencies: { '@google-cloud/functions-framework': FRAMEWORK_VERSION },
  };
  return new Map<string, Uint8Array>([
    ['package.json', Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`)],
    ['gcp.mjs', gcp ?? new Uint8Array()],
    ['fetch-call.mjs', fetchCall ?? new Uint8Array()],
  ]);
}

/** What an update sets: everything that the spec decides. */
export const UPDATED_FIELDS = [
  'build_config.runtime',
  'build_config.entry_point',
  'build_config.source',
  'service_config.timeout_seconds',
  'service_config.available_memory',
  'service_config.max_instance_count',
  'service_config.max_instance_request_concurrency',
  'service_config.environment_variables',
  'labels',
] as const;

export function functionOf(
  spec: DeploymentSpec,
  hash: string,
  name: string,
  gateway: string,
  storageSource: protos.google.cloud.functions.v2.IStorageSource | null | undefined,
): CloudFunction {
  return {
    name,
    buildConfig: {
      runtime: RUNTIME,
      entryPoint: ENTRY_POINT,
      source: { storageSource: storageSource ?? null },
    },
    serviceConfig: {
      timeoutSeconds: timeoutSecondsOf(spec),
      availableMemory: `${spec.memoryMiB}Mi`,
      // Module state is not shared by calls that overlap, as on AWS.
      maxInstanceRequestConcurrency: 1,
      ...(spec.maxConcurrency !== undefined && { maxInstanceCount: spec.maxConcurrency }),
      environmentVariables: variablesOf(spec),
    },
    labels: {
      'defaas-function': labelValue(spec.functionName),
      'defaas-version': String(spec.version),
      'defaas-cid': labelValue(spec.artifactCid),
      'defaas-gateway': labelValue(gateway),
      'defaas-spec': hash,
    },
  };
}

/** The function's whole environment, ours included. */
export function variablesOf(spec: DeploymentSpec): Record<string, string> {
  const timeoutMs = Math.min(spec.timeoutMs, timeoutSecondsOf(spec) * 1000 - SHIM_LEAD_MS);
  return {
    ...spec.env,
    ...spec.secrets,
    DEFAAS_FUNCTION: spec.functionName,
    DEFAAS_VERSION: String(spec.version),
    DEFAAS_TIMEOUT_MS: String(timeoutMs),
  };
}

/** Whole seconds, at most the cloud's 3600, with room for the shim to answer first. */
function timeoutSecondsOf({ timeoutMs }: { readonly timeoutMs: number }): number {
  return Math.min(3600, Math.ceil((timeoutMs + SHIM_LEAD_MS) / 1000));
}

/** Labels allow `[a-z0-9_-]`, 63 characters; a text that is not so is cut and told apart by its hash. */
export function labelValue(text: string): string {
  const plain = text.toLowerCase().replace(/[^a-z0-9_-]/g, '_');
  if (plain.length <= 63) return plain;
  return `${plain.slice(0, 54)}-${createHash('sha256').update(text).digest('hex').slice(0, 8)}`;
}

export function deploymentOf(spec: DeploymentSpec, hash: string, found: CloudFunction): Deployment {
  const url = found.serviceConfig?.uri;
  if (!url) {
    throw new ProviderError('PROVIDER_PROTOCOL', `${spec.name} is active but has no address`, {
      provider: PROVIDER,
      operation: 'GetFunction',
      target: spec.name,
      ran: 'no',
    });
  }
  return {
    provider: PROVIDER,
    name: spec.name,
    region: spec.region,
    specHash: hash,
    artifactCid: spec.artifactCid,
    memoryMiB: spec.memoryMiB,
    timeoutMs: spec.timeoutMs,
    url: new URL(url).origin,
  };
}

/** States of `google.cloud.functions.v2.Function`; the wire has numbers or names. */
const STATES = ['STATE_UNSPECIFIED', 'ACTIVE', 'FAILED', 'DEPLOYING', 'DELETING', 'UNKNOWN'];

export function stateOf({ state }: CloudFunction): string {
  return typeof state === 'number' ? (STATES[state] ?? 'UNKNOWN') : (state ?? 'UNKNOWN');
}
