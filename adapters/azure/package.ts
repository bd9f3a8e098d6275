// The zip of one app: the publisher's artifact, the shim, and what the Functions host needs.

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { specHash } from '../deployment/names.ts';
import { zip } from '../deployment/zip.ts';
import { type DeploymentSpec, ProviderError } from '../provider.ts';
import { about } from './errors.ts';
import type { PlanKind } from './limits.ts';

/** Time for the shim to answer a late call itself before the host ends it, seconds. */
const HOST_TIMEOUT_SLACK_SEC = 1;

/** The zip of a deployment, and the hash that its spec has. */
export interface Package {
  readonly hash: string;
  bytes(): Uint8Array;
}

/** @throws ProviderError PROVIDER_INVALID  the artifact has a file with a name of the shim */
export async function packageOf(
  spec: DeploymentSpec,
  planKind: PlanKind,
  model: ReadonlyMap<string, Uint8Array>,
): Promise<Package> {
  const shims = new URL('../shims/', import.meta.url);
  const host = {
    version: '2.0',
    functionTimeout: timeSpan(Math.ceil(spec.timeoutMs / 1000) + HOST_TIMEOUT_SLACK_SEC),
    extensions: {
      http: {
        routePrefix: '',
        ...(spec.maxConcurrency !== undefined && {
          maxConcurrentRequests: spec.maxConcurrency,
          maxOutstandingRequests: spec.maxConcurrency,
        }),
      },
    },
  };
  const added = new Map<string, Uint8Array>([
    ...model,
    ['azure.cjs', await readFile(new URL('azure.cjs', shims))],
    ['fetch-call.mjs', await readFile(new URL('fetch-call.mjs', shims))],
    ['fetch-answer.mjs', await readFile(new URL('fetch-answer.mjs', shims))],
    ['host.json', Buffer.from(JSON.stringify(host))],
  ]);
  for (const path of [...added.keys(), 'package.json']) {
    if (!spec.files.has(path)) continue;
    const message = `the artifact has a file ${path}, which Azure's shim needs for itself, on ${spec.name}, rename it`;
    throw new ProviderError('PROVIDER_INVALID', message, about('deploy', spec.name));
  }

  const hash = specHash(spec, new Map([...added, ['plan', Buffer.from(planKind)]]));
  const manifest = { name: spec.name, private: true, main: 'azure.cjs', defaas: { spec: hash } };
  return {
    hash,
    bytes() {
      const own = ['package.json', Buffer.from(JSON.stringify(manifest))] as const;
      return zip(new Map([...spec.files, ...added, own]));
    },
  };
}

/**
 * What an app needs of `@azure/functions`, read from the gateway's own node_modules: code,
 * package.json and licence of three packages.
 */
export async function readProgrammingModel(): Promise<Map<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>();
  const ours = createRequire(import.meta.url).resolve('@azure/functions');
  const its = createRequire(ours);
  for (const name of ['@azure/functions', '@azure/functions-extensions-base', 'cookie']) {
    const main = name === '@azure/functions' ? ours : its.resolve(name);
    const root = main.slice(0, main.lastIndexOf(join('node_modules', name)));
    for (const path of [
      join('node_modules', name, 'package.json'),
      join('node_modules', name, 'LICENSE'),
      main.slice(root.length),
    ]) {
      files.set(path.replaceAll('\\', '/'), await readFile(join(root, path)));
    }
  }
  return files;
}

/** `hh:mm:ss`, the form of host.json. */
function timeSpan(seconds: number): string {
  return [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60]
    .map((part) => String(part).padStart(2, '0'))
    .join(':');
}
