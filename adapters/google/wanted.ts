// What a deploy is to reach: the spec with its hash and its package, made from a DeploymentSpec.

import { readFile } from 'node:fs/promises';
import { checkPackage, checkSpec } from '../deployment/check-spec.ts';
import { specHash } from '../deployment/names.ts';
import { zip } from '../deployment/zip.ts';
import type { DeploymentSpec, ProviderLimits } from '../provider.ts';
import { PROVIDER } from './errors.ts';
import { variablesOf } from './function.ts';

const FRAMEWORK_VERSION = '5.0.5';
/** Names that the cloud or the shim sets (Cloud Run functions, "Environment variables"). */
const RESERVED_ENV =
  /^(PORT|K_SERVICE|K_REVISION|K_CONFIGURATION|FUNCTION_TARGET|FUNCTION_SIGNATURE_TYPE|CLOUD_RUN_TIMEOUT_SECONDS|X_GOOGLE_.*|DEFAAS_.*)$/;

export interface Wanted {
  readonly spec: DeploymentSpec;
  readonly hash: string;
  /** Zips on first use. An unchanged spec needs no zip. @throws ProviderError PROVIDER_TOO_LARGE */
  readonly package: () => Uint8Array;
}

/**
 * Sends nothing.
 * @throws ProviderError PROVIDER_INVALID, PROVIDER_TOO_LARGE  Google cannot take the spec
 */
export async function createWanted(
  spec: DeploymentSpec,
  { limits, regions }: { readonly limits: ProviderLimits; readonly regions: readonly string[] },
): Promise<Wanted> {
  const reserved = RESERVED_ENV;
  checkSpec(spec, { provider: PROVIDER, limits, regions, variables: variablesOf(spec), reserved });
  const shim = await readShim();
  let made: Uint8Array | undefined;
  return {
    spec,
    hash: specHash(spec, shim),
    package() {
      if (made) return made;
      const bytes = zip(new Map([...spec.files, ...shim]));
      checkPackage(spec, bytes.length, { provider: PROVIDER, limits });
      made = bytes;
      return bytes;
    },
  };
}

/** The files that the adapter adds to the artifact. They are the same for every function. */
async function readShim(): Promise<ReadonlyMap<string, Uint8Array>> {
  const files = await Promise.all(
    ['gcp.mjs', 'fetch-call.mjs', 'fetch-answer.mjs'].map(
      async (file) => [file, await readFile(new URL(`../shims/${file}`, import.meta.url))] as const,
    ),
  );
  const manifest = {
    private: true,
    main: 'gcp.mjs',
    dependencies: { '@google-cloud/functions-framework': FRAMEWORK_VERSION },
  };
  return new Map<string, Uint8Array>([
    ['package.json', Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`)],
    ...files,
  ]);
}
