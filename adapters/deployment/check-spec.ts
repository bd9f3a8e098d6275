// Checks a spec against the limits of a cloud, before any request.

import {
  type DeploymentSpec,
  ProviderError,
  type ProviderErrorCode,
  type ProviderLimits,
  type ProviderName,
} from '../provider.ts';

/**
 * A cloud and its limits. `variables` is the function's whole environment there, with the variables
 * that the shim reads.
 */
export interface CloudBounds {
  readonly provider: ProviderName;
  readonly limits: ProviderLimits;
  readonly regions: readonly string[];
  readonly variables: Readonly<Record<string, string>>;
  /** Names that the cloud, its host or the shim sets: no function's environment may have them. */
  readonly reserved?: RegExp;
}

/** Sends nothing. @throws ProviderError PROVIDER_INVALID, PROVIDER_TOO_LARGE */
export function checkSpec(
  spec: DeploymentSpec,
  { provider, limits, regions, variables, reserved }: CloudBounds,
): void {
  const refuse = (what: string, hint: string, code: ProviderErrorCode = 'PROVIDER_INVALID') => {
    const message = `${what}, on ${provider} ${spec.name}, ${hint}`;
    const where = { provider, operation: 'deploy', target: spec.name, ran: 'no' } as const;
    throw new ProviderError(code, message, where);
  };
  const { timeoutMs, memoryMiB, region } = spec;
  const { minMemoryMiB, maxMemoryMiB } = limits;
  const dropIt = `change it or drop ${provider} from providers`;
  if (!regions.some((one) => placeOf(one) === placeOf(region))) {
    refuse(`region ${region} is not one of ${regions.join(', ')}`, 'choose another');
  }
  if (timeoutMs < 1 || timeoutMs > limits.maxTimeoutMs) {
    refuse(`timeoutMs ${timeoutMs} is not within 1 and ${limits.maxTimeoutMs}`, dropIt);
  }
  if (memoryMiB < minMemoryMiB || memoryMiB > maxMemoryMiB) {
    refuse(`memoryMiB ${memoryMiB} is not within ${minMemoryMiB} and ${maxMemoryMiB}`, dropIt);
  }
  const names = [...Object.keys(spec.env), ...Object.keys(spec.secrets)];
  const taken = names.find((name) => reserved?.test(name));
  if (taken !== undefined) refuse(`the environment name ${taken} is reserved`, 'rename it');
  const envBytes = Buffer.byteLength(JSON.stringify(variables));
  if (envBytes > limits.maxEnvBytes) {
    refuse(`env and secrets take ${envBytes} bytes, limit ${limits.maxEnvBytes}`, 'shorten them');
  }
  let bytes = 0;
  for (const file of spec.files.values()) bytes += file.length;
  if (bytes > limits.maxUnpackedBytes) {
    const what = `artifact is ${bytes} bytes, limit ${limits.maxUnpackedBytes}`;
    refuse(what, `largest: ${largestOf(spec)}`, 'PROVIDER_TOO_LARGE');
  }
}

/** Checks the size of the zip, with the shim. @throws ProviderError PROVIDER_TOO_LARGE */
export function checkPackage(
  spec: DeploymentSpec,
  bytes: number,
  { provider, limits }: Pick<CloudBounds, 'provider' | 'limits'>,
): void {
  if (bytes <= limits.maxPackageBytes) return;
  const message = `package is ${bytes} bytes, limit ${limits.maxPackageBytes}, on ${provider} ${spec.name}, largest: ${largestOf(spec)}`;
  const where = { provider, operation: 'deploy', target: spec.name, ran: 'no' } as const;
  throw new ProviderError('PROVIDER_TOO_LARGE', message, where);
}

/** Azure shows `West Europe` for the location that its API calls `westeurope`. */
export function placeOf(region: string): string {
  return region.toLowerCase().replaceAll(' ', '');
}

function largestOf({ files }: DeploymentSpec): string {
  const [first, ...rest] = files;
  const [path, { length }] = rest.reduce(
    (a, b) => (b[1].length > a[1].length ? b : a),
    first ?? ['nothing', new Uint8Array()],
  );
  return `${path} ${length} bytes`;
}
