// From a spec to the function that is wanted on this machine, checked before anything is written.

import { checkSpec } from '../deployment/check-spec.ts';
import { specHash } from '../deployment/names.ts';
import { sortedPaths } from '../deployment/zip.ts';
import type { DeploymentSpec, ProviderLimits } from '../provider.ts';
import { createFail, PROVIDER } from './errors.ts';
import type { LocalFunction } from './functions.ts';
import { REGION } from './limits.ts';
import { SHIM } from './programs.ts';
import { refuseUntrusted, type Trust } from './trust.ts';

export interface WantedOptions {
  /** Id of this gateway. */
  readonly gateway: string;
  readonly limits: ProviderLimits;
  readonly trust: Trust;
}

/**
 * @throws ProviderError PROVIDER_INVALID, PROVIDER_TOO_LARGE, PROVIDER_FORBIDDEN  it cannot run
 * here
 */
export function createWanted(
  spec: DeploymentSpec,
  { gateway, limits, trust }: WantedOptions,
): LocalFunction {
  const fail = createFail('deploy', spec.name);
  if (!/^[a-z0-9-]{1,64}$/i.test(spec.name)) {
    throw fail('PROVIDER_INVALID', 'no', `${spec.name} is not a name`);
  }
  try {
    sortedPaths(spec.files);
  } catch (cause) {
    throw fail('PROVIDER_INVALID', 'no', 'the artifact has a path that leads outside', cause);
  }
  const wanted = functionOf(spec, gateway);
  checkSpec(spec, { provider: PROVIDER, limits, regions: [REGION], variables: wanted.env });
  refuseUntrusted(trust, wanted, 'deploy');
  return wanted;
}

function functionOf(spec: DeploymentSpec, gateway: string): LocalFunction {
  const { name, memoryMiB, timeoutMs, maxConcurrency, functionName, version } = spec;
  return {
    name,
    specHash: specHash(spec, SHIM),
    publisher: (functionName.split('/')[0] ?? '').toLowerCase(),
    gateway,
    memoryMiB,
    timeoutMs,
    ...(maxConcurrency !== undefined && { maxConcurrency }),
    env: {
      ...spec.env,
      ...spec.secrets,
      DEFAAS_FUNCTION: functionName,
      DEFAAS_VERSION: String(version),
    },
  };
}
