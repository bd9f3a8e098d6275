// Checks a function resource as the cloud does, and applies an update to the fields of its mask.

import { type Functions, memoryMiBOf } from '../model/functions.ts';
import type { BuildConfig, FunctionResource, ServiceConfig } from '../model/state.ts';
import { type Json, recordAt } from './operation.ts';
import { Refusal } from './refusal.ts';

const RUNTIMES = ['nodejs20', 'nodejs22', 'nodejs24'];
/** Name of an uploaded package. */
const OBJECT = /^[0-9a-f-]{36}\.zip$/;

/** The paths that an update may name. */
const UPDATABLE =
  /^(description|labels|buildConfig|serviceConfig|buildConfig\.(runtime|entryPoint|source|environmentVariables)|serviceConfig\.(timeoutSeconds|availableMemory|availableCpu|maxInstanceCount|minInstanceCount|maxInstanceRequestConcurrency|environmentVariables|ingressSettings|serviceAccountEmail))$/;

/**
 * The function as an update leaves it: `former` with the fields that the mask names. Without a
 * mask, all fields of `body` are named.
 * @throws Refusal INVALID_ARGUMENT  the mask names a field that cannot be updated
 */
export function updated(former: Json, body: Json, mask: string | null): Json {
  const paths = mask ? mask.split(',').map(camelCased) : Object.keys(body);
  let wanted = former;
  for (const path of paths) {
    if (!UPDATABLE.test(path)) refuse(`Invalid field ${path} in update_mask`);
    wanted = replaced(wanted, path.split('.'), body);
  }
  return wanted;
}

/** Fills in the cloud's defaults. @throws Refusal INVALID_ARGUMENT */
export function checked(resource: Json, functions: Functions): FunctionResource {
  // Each of the three parts is checked. The emulator sets the other members itself.
  return {
    ...resource,
    buildConfig: checkBuild(resource, functions),
    serviceConfig: checkService(recordAt(resource, 'serviceConfig')),
    labels: checkLabels(resource),
  } as unknown as FunctionResource;
}

function checkBuild(resource: Json, functions: Functions): BuildConfig {
  const build = recordAt(resource, 'buildConfig');
  const { runtime, entryPoint } = build;
  if (typeof runtime !== 'string' || !RUNTIMES.includes(runtime)) {
    return refuse(`Runtime ${String(runtime)} is not supported. Supported: ${RUNTIMES.join(', ')}`);
  }
  if (typeof entryPoint !== 'string' || entryPoint === '') {
    return refuse('build_config.entry_point is required');
  }
  const { bucket, object } = recordAt(recordAt(build, 'source'), 'storageSource');
  if (typeof bucket !== 'string' || typeof object !== 'string' || !OBJECT.test(object)) {
    return refuse('build_config.source.storage_source is required');
  }
  const isUnchanged =
    functions.find(String(resource.name))?.buildConfig.source.storageSource.object === object;
  if (!isUnchanged && !functions.hasSource(object)) {
    return refuse(`Source object gs://${bucket}/${object} not found`);
  }
  return { ...build, runtime, entryPoint, source: { storageSource: { bucket, object } } };
}

function checkService(service: Json): ServiceConfig {
  const availableMemory = String(service.availableMemory || '256Mi');
  const config: ServiceConfig = {
    ...service,
    timeoutSeconds: wholeNumber(service, 'timeoutSeconds', 60, 3600),
    availableMemory,
    maxInstanceCount: wholeNumber(service, 'maxInstanceCount', 100, 3000),
    maxInstanceRequestConcurrency: wholeNumber(service, 'maxInstanceRequestConcurrency', 1, 1000),
    environmentVariables: texts(service, 'environmentVariables'),
    ingressSettings: 'ALLOW_ALL',
  };
  const memoryMiB = memoryMiBOf(availableMemory);
  if (memoryMiB === undefined || memoryMiB < 128 || memoryMiB > 32_768) {
    return refuse(`Invalid value for service_config.available_memory: ${availableMemory}`);
  }
  return config;
}

function checkLabels(resource: Json): Record<string, string> {
  const labels = texts(resource, 'labels');
  for (const [name, value] of Object.entries(labels)) {
    if (!/^[a-z][a-z0-9_-]{0,62}$/.test(name) || !/^[a-z0-9_-]{0,63}$/.test(value)) {
      return refuse(`Invalid label ${name}=${value}`);
    }
  }
  return labels;
}

function wholeNumber(record: Json, key: string, unset: number, most: number): number {
  const value = Number(record[key] || unset);
  if (Number.isInteger(value) && value >= 1 && value <= most) return value;
  return refuse(`${key} must be from 1 to ${most}, is ${value}`);
}

function texts(record: Json, key: string): Record<string, string> {
  return Object.fromEntries(
    Object.entries(recordAt(record, key)).map(([name, value]) => [name, String(value)]),
  );
}

function camelCased(path: string): string {
  return path.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

/** `into` with the value that `from` has at `path`. Unsets what `from` does not have. */
function replaced(into: Json, [key = '', ...rest]: string[], from: Json): Json {
  if (rest.length === 0) return { ...into, [key]: from[key] };
  return { ...into, [key]: replaced(recordAt(into, key), rest, recordAt(from, key)) };
}

function refuse(message: string): never {
  throw new Refusal('INVALID_ARGUMENT', message);
}
