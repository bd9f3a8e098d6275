// Checks a function resource as the cloud does, and applies an update to the fields of its mask.

import { judge } from '../../../emulators/settings.ts';
import type { Functions } from '../model/functions.ts';
import { memoryMiBOf } from '../model/revision.ts';
import type { BuildConfig, FunctionResource, ServiceConfig } from '../model/state.ts';
import { checkTrigger } from './check-trigger.ts';
import { type Json, recordAt } from './operation.ts';
import { Refusal } from './refusal.ts';
import { ENUMS, FUNCTION_SETTINGS, RUNTIMES } from './settings.ts';

/** Name of an uploaded package. */
const OBJECT = /^[0-9a-f-]{36}\.zip$/;

/** Cloud Run functions, "Environment variables set automatically". */
const RESERVED_VARIABLES = [
  ...['PORT', 'K_SERVICE', 'K_REVISION', 'K_CONFIGURATION', 'CLOUD_RUN_TIMEOUT_SECONDS'],
  ...['FUNCTION_TARGET', 'FUNCTION_SIGNATURE_TYPE'],
];

/**
 * The function as an update leaves it: `former` with the fields that the mask names. Without a
 * mask, all fields of `body` are named but those that the cloud sets.
 * @throws Refusal INVALID_ARGUMENT  the mask names a field that cannot be updated
 */
export function updated(former: Json, body: Json, mask: string | null): Json {
  const paths = mask
    ? mask.split(',').map(camelCased)
    : Object.keys(body).filter((path) => FUNCTION_SETTINGS[path]?.treatment !== 'output');
  let wanted = former;
  for (const path of paths) {
    if (!isUpdatable(path)) refuse(`Invalid field ${path} in update_mask`);
    wanted = replaced(wanted, path.split('.'), body);
  }
  return wanted;
}

/** Whether an update may name the path, alone or with all that is below it. */
function isUpdatable(path: string): boolean {
  const setting = FUNCTION_SETTINGS[path];
  if (setting) return setting.treatment !== 'output';
  return Object.keys(FUNCTION_SETTINGS).some((one) => one.startsWith(`${path}.`));
}

/**
 * Fills in the cloud's defaults. A setting without an effect becomes a warning in `stateMessages`.
 * @throws Refusal INVALID_ARGUMENT
 */
export function checked(given: Json, functions: Functions): FunctionResource {
  const resource = withNames(given);
  const warnings = checkSettings(resource);
  const former = functions.find(String(resource.name))?.eventTrigger;
  const eventTrigger = checkTrigger(resource, former);
  // Each of the four parts is checked. The emulator sets the other members itself.
  return {
    ...resource,
    environment: 'GEN_2',
    stateMessages: warnings.map((message) => ({
      severity: 'WARNING',
      type: 'NotEmulated',
      message,
    })),
    ...(eventTrigger && { eventTrigger }),
    buildConfig: checkBuild(resource, functions),
    serviceConfig: checkService(recordAt(resource, 'serviceConfig')),
    labels: checkLabels(resource),
  } as unknown as FunctionResource;
}

/** The resource with enumerations as names. The first name of each means that it is not set. */
function withNames(resource: Json): Json {
  let named = resource;
  for (const [path, names] of Object.entries(ENUMS)) {
    const keys = path.split('.');
    const leaf = keys.at(-1) ?? '';
    const parent = keys.length === 1 ? named : recordAt(named, keys[0] ?? '');
    const value = parent[leaf];
    if (value === undefined || value === null) continue;
    const name = typeof value === 'number' ? names[value] : value;
    if (!names.includes(String(name))) {
      refuse(`Invalid value at 'function.${snakeCased(path)}': ${JSON.stringify(value)}`);
    }
    named = replaced(named, keys, nest(keys, name === names[0] ? undefined : name));
  }
  return named;
}

/** @returns the warnings. @throws Refusal INVALID_ARGUMENT */
function checkSettings(resource: Json): readonly string[] {
  const { unknown, refused, ignored } = judge(FUNCTION_SETTINGS, resource);
  const [foreign] = unknown;
  if (foreign !== undefined) {
    const at = ['function', ...foreign.split('.').slice(0, -1)].join('.');
    const name = foreign.split('.').at(-1);
    refuse(
      `Invalid JSON payload received. Unknown name "${name}" at '${snakeCased(at)}': Cannot find field.`,
    );
  }
  if (refused.length > 0) refuse(refused.join('; '));
  return ignored;
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
  const environmentVariables = texts(build, 'environmentVariables');
  const source = { storageSource: { bucket, object } };
  return { ...build, runtime, entryPoint, source, environmentVariables };
}

function checkService(service: Json): ServiceConfig {
  const availableMemory = String(service.availableMemory || '256Mi');
  const config: ServiceConfig = {
    ...service,
    timeoutSeconds: wholeNumber(service, 'timeoutSeconds', 60, 3600),
    availableMemory,
    maxInstanceCount: wholeNumber(service, 'maxInstanceCount', 100, 3000),
    maxInstanceRequestConcurrency: wholeNumber(service, 'maxInstanceRequestConcurrency', 1, 1000),
    environmentVariables: checkVariables(service),
    ingressSettings: String(service.ingressSettings ?? 'ALLOW_ALL'),
  };
  const memoryMiB = memoryMiBOf(availableMemory);
  if (memoryMiB === undefined || memoryMiB < 128 || memoryMiB > 32_768) {
    return refuse(`Invalid value for service_config.available_memory: ${availableMemory}`);
  }
  return config;
}

/** @throws Refusal INVALID_ARGUMENT  a name that the cloud sets itself, or cannot set */
function checkVariables(service: Json): Record<string, string> {
  const variables = texts(service, 'environmentVariables');
  const reserved = Object.keys(variables).filter(
    (name) => RESERVED_VARIABLES.includes(name) || /^(X_GOOGLE_.*|.*=.*|)$/.test(name),
  );
  if (reserved.length === 0) return variables;
  return refuse(`The following reserved env names were provided: ${reserved.join(', ')}`);
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

function snakeCased(path: string): string {
  return path.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function nest(keys: readonly string[], value: unknown): Json {
  return keys.reduceRight<unknown>((below, key) => ({ [key]: below }), value) as Json;
}

/** `into` with the value that `from` has at `path`. Unsets what `from` does not have. */
function replaced(into: Json, [key = '', ...rest]: string[], from: Json): Json {
  if (rest.length === 0) return { ...into, [key]: from[key] };
  return { ...into, [key]: replaced(recordAt(into, key), rest, recordAt(from, key)) };
}

function refuse(message: string): never {
  throw new Refusal('INVALID_ARGUMENT', message);
}
