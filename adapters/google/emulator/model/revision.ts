// The revision that serves a function: what of its resource its instances need.

import { basename } from 'node:path';
import type { Revision } from '../instances/instance.ts';
import type { FunctionResource, StoredFunction } from './state.ts';

/** Names the signature of the entry point in the build's environment (Google's buildpacks). */
export const SIGNATURE_VARIABLE = 'GOOGLE_FUNCTION_SIGNATURE_TYPE';

/** A restart changes the address when another program has taken the port. */
export function readdress(stored: StoredFunction, uri: string): void {
  const at = (resource: FunctionResource): FunctionResource =>
    resource.serviceConfig.uri === undefined
      ? resource
      : { ...resource, url: uri, serviceConfig: { ...resource.serviceConfig, uri } };
  stored.resource = at(stored.resource);
  if (stored.serving) stored.serving = { ...stored.serving, resource: at(stored.serving.resource) };
}

export function revisionOf(resource: FunctionResource, codeDir: string): Revision {
  const { serviceConfig, buildConfig } = resource;
  return {
    service: basename(resource.name),
    name: serviceConfig.revision ?? '',
    codeDir,
    entryPoint: buildConfig.entryPoint,
    signature: signatureOf(resource),
    env: serviceConfig.environmentVariables ?? {},
    memoryMiB: memoryMiBOf(serviceConfig.availableMemory) ?? 256,
    timeoutSec: serviceConfig.timeoutSeconds,
    concurrency: serviceConfig.maxInstanceRequestConcurrency,
    maxInstances: serviceConfig.maxInstanceCount,
  };
}

/** As Google's build decides: the build's environment, else the trigger. */
function signatureOf({ buildConfig, eventTrigger }: FunctionResource): string {
  const named = buildConfig.environmentVariables?.[SIGNATURE_VARIABLE];
  return named ?? (eventTrigger ? 'cloudevent' : 'http');
}

/** Bytes per unit of a Kubernetes quantity, as `availableMemory` is written. */
const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
};

/** Undefined when the text is not a quantity. */
export function memoryMiBOf(quantity: string): number | undefined {
  const [, number, unit] = /^(\d+(?:\.\d+)?)(k|M|G|Ki|Mi|Gi)?$/.exec(quantity) ?? [];
  if (number === undefined) return undefined;
  return Math.ceil((Number(number) * (UNITS[unit ?? ''] ?? 1)) / 2 ** 20);
}
