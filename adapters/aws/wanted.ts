// What a deploy is to reach: a function's settings, tags and package, made from a DeploymentSpec.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { checkPackage, checkSpec } from '../deployment/check-spec.ts';
import { specHash } from '../deployment/names.ts';
import { zip } from '../deployment/zip.ts';
import type { DeploymentSpec } from '../provider.ts';
import { createFail, PROVIDER } from './errors.ts';
import { LIMITS } from './limits.ts';

/** The settings in the API's own spelling. */
export interface FunctionSettings {
  readonly FunctionName: string;
  readonly Role: string;
  readonly Runtime: 'nodejs22.x';
  readonly Handler: string;
  readonly Description: string;
  /** Seconds. */
  readonly Timeout: number;
  /** MiB. */
  readonly MemorySize: number;
  readonly Environment: { readonly Variables: Record<string, string> };
}

export interface Wanted {
  readonly spec: DeploymentSpec;
  readonly hash: string;
  readonly settings: FunctionSettings;
  readonly tags: Readonly<Record<string, string>>;
  /** Zips on first use: an upload or a comparison of the code. An unchanged spec needs neither. */
  readonly package: () => { readonly bytes: Uint8Array; readonly codeSha256: string };
}

export interface WantedOptions {
  readonly region: string;
  /** Id of this gateway, for the tags. */
  readonly gateway: string;
  /** The role that the functions run as. */
  readonly roleArn: string | undefined;
  /** An emulator checks only the form of a role, so it needs none configured. */
  readonly isEmulator: boolean;
}

const EMULATOR_ROLE = 'arn:aws:iam::000000000000:role/defaas';

const SHIM: ReadonlyMap<string, Uint8Array> = new Map(
  ['aws.mjs', 'fetch-call.mjs', 'fetch-answer.mjs'].map((file) => [
    file,
    readFileSync(new URL(`../shims/${file}`, import.meta.url)),
  ]),
);

/**
 * Sends nothing.
 * @throws ProviderError PROVIDER_INVALID, PROVIDER_TOO_LARGE  Lambda cannot take the spec
 */
export function createWanted(spec: DeploymentSpec, options: WantedOptions): Wanted {
  const variables = variablesOf(spec);
  check(spec, variables, options);
  const hash = specHash(spec, SHIM);
  let made: ReturnType<Wanted['package']> | undefined;
  return {
    spec,
    hash,
    settings: {
      FunctionName: spec.name,
      Role: options.roleArn ?? EMULATOR_ROLE,
      Runtime: 'nodejs22.x',
      Handler: 'aws.handler',
      // The description belongs to a published version. Tags belong to the function and may
      // already name a spec that no version has yet.
      Description: `defaas-spec ${hash}`,
      Timeout: Math.ceil(spec.timeoutMs / 1000),
      MemorySize: spec.memoryMiB,
      Environment: { Variables: variables },
    },
    tags: {
      'defaas-function': spec.functionName,
      'defaas-version': String(spec.version),
      'defaas-cid': spec.artifactCid,
      'defaas-gateway': options.gateway,
      'defaas-spec': hash,
    },
    package() {
      if (made) return made;
      const bytes = zip(new Map([...spec.files, ...SHIM]));
      checkPackage(spec, bytes.length, { provider: PROVIDER, limits: LIMITS });
      made = { bytes, codeSha256: createHash('sha256').update(bytes).digest('base64') };
      return made;
    },
  };
}

/** Names that Lambda or the shim sets (Lambda guide, "Reserved environment variables"). */
const RESERVED_ENV =
  /^(_HANDLER|_X_AMZN_TRACE_ID|AWS_(DEFAULT_)?REGION|AWS_EXECUTION_ENV|AWS_LAMBDA_(FUNCTION_NAME|FUNCTION_MEMORY_SIZE|FUNCTION_VERSION|INITIALIZATION_TYPE|LOG_GROUP_NAME|LOG_STREAM_NAME|RUNTIME_API)|AWS_ACCESS_KEY(_ID)?|AWS_SECRET_ACCESS_KEY|AWS_SESSION_TOKEN|LAMBDA_TASK_ROOT|LAMBDA_RUNTIME_DIR|DEFAAS_.*)$/;

function check(
  spec: DeploymentSpec,
  variables: Readonly<Record<string, string>>,
  { region, roleArn, isEmulator }: WantedOptions,
): void {
  const reserved = RESERVED_ENV;
  checkSpec(spec, { provider: PROVIDER, limits: LIMITS, regions: [region], variables, reserved });
  const fail = createFail(region, 'deploy', spec.name);
  for (const path of spec.files.keys()) {
    if (!SHIM.has(path)) continue;
    const what = `the artifact has a file ${path}, which is the shim's name`;
    throw fail('PROVIDER_INVALID', 'no', what);
  }
  if (!roleArn && !isEmulator) {
    throw fail('PROVIDER_INVALID', 'no', 'no role for functions is configured');
  }
}

function variablesOf(spec: DeploymentSpec): Record<string, string> {
  return {
    ...spec.env,
    ...spec.secrets,
    DEFAAS_FUNCTION: spec.functionName,
    DEFAAS_VERSION: String(spec.version),
  };
}
