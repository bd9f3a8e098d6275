// The function resource that the control plane gets: settings, environment and labels of a version.

import { createHash } from 'node:crypto';
import type { protos } from '@google-cloud/functions';
import type { DeploymentSpec } from '../provider.ts';
import type { CloudFunction } from './found.ts';

const RUNTIME = 'nodejs22';
const ENTRY_POINT = 'main';
/** Google's timeout ends at least this much after the shim's: the shim answers first. */
const SHIM_LEAD_MS = 250;
/** Longest timeout of a function, s (Cloud Run functions quotas). */
const MAX_TIMEOUT_SEC = 3600;
/** Longest value of a label, characters (Google Cloud, "Requirements for labels"). */
const MAX_LABEL_CHARACTERS = 63;

/** The fields that an update sets: everything that the spec decides. */
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

/** What a function resource has beside the spec. */
export interface FunctionFacts {
  readonly hash: string;
  /** Full resource name, `projects/<project>/locations/<region>/functions/<name>`. */
  readonly path: string;
  readonly gateway: string;
  /** Where the package was uploaded to. */
  readonly storageSource: protos.google.cloud.functions.v2.IStorageSource | null | undefined;
}

export function functionOf(
  spec: DeploymentSpec,
  { hash, path, gateway, storageSource }: FunctionFacts,
): CloudFunction {
  return {
    name: path,
    buildConfig: {
      runtime: RUNTIME,
      entryPoint: ENTRY_POINT,
      source: { storageSource: storageSource ?? null },
    },
    serviceConfig: {
      timeoutSeconds: timeoutSecondsOf(spec),
      availableMemory: `${spec.memoryMiB}Mi`,
      // As on AWS, calls that overlap do not share module state.
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

/** The function's whole environment, with the variables that the shim reads. */
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

/** Whole seconds, with time for the shim to answer first. */
function timeoutSecondsOf({ timeoutMs }: Pick<DeploymentSpec, 'timeoutMs'>): number {
  return Math.min(MAX_TIMEOUT_SEC, Math.ceil((timeoutMs + SHIM_LEAD_MS) / 1000));
}

/** A label's value has `[a-z0-9_-]` only. A longer text is cut and ends with its hash. */
export function labelValue(text: string): string {
  const plain = text.toLowerCase().replace(/[^a-z0-9_-]/g, '_');
  if (plain.length <= MAX_LABEL_CHARACTERS) return plain;
  return `${plain.slice(0, 54)}-${createHash('sha256').update(text).digest('hex').slice(0, 8)}`;
}
