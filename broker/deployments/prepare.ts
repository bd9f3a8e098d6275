// Validates a deployment before anything is written: manifest, limits of every cloud, secrets and
// cost. Returns the wanted state for each cloud.
import { deploymentName } from '../../adapters/deployment/names.ts';
import { zip } from '../../adapters/deployment/zip.ts';
import type { DeploymentSpec, Provider, ProviderName } from '../../adapters/provider.ts';
import type { FunctionVersion } from '../../contracts/chain/types.ts';
import { type Manifest, parseManifest } from '../../ipfs/manifest.ts';
import { DefaasError } from '../errors.ts';
import type { Target } from '../routing/target.ts';
import { type CallCost, callCost } from './costs.ts';
import { warmInstances } from './keep-warm.ts';
import type { DeploymentParts } from './parts.ts';
import type { OpenedSecret } from './secrets.ts';

/** Longest time to find the artifact, ms. */
const FIND_MS = 60_000;
/** Shorter values are not hidden: they occur in too many texts by chance. */
const LEAST_HIDDEN_LENGTH = 4;

/** A cloud and region. */
export interface CloudRegion {
  readonly provider: ProviderName;
  /** Defaults to the cloud's first region. */
  readonly region?: string;
}

/** The wanted state at one cloud. */
export interface Wanted {
  readonly provider: Provider;
  readonly spec: DeploymentSpec;
  /** Undefined if nothing is billed. */
  readonly cost: CallCost | undefined;
}

export interface Prepared {
  readonly target: Target;
  readonly manifestBytes: Uint8Array;
  readonly manifest: Manifest;
  readonly clouds: readonly Wanted[];
  /** Removes the values of secrets from a text written by a cloud. */
  hide(text: string): string;
}

/**
 * Changes nothing and contacts no cloud.
 * @throws DefaasError ARTIFACT_NOT_FOUND, ARTIFACT_CORRUPT, ARTIFACT_INVALID, ARTIFACT_MANIFEST
 *   the complete artifact is not available
 * @throws DefaasError PROVIDER_UNKNOWN, PROVIDER_INVALID, PROVIDER_TOO_LARGE  the version exceeds a
 *   cloud's limits
 * @throws DefaasError SECRET_MISSING, SECRET_UNREADABLE
 */
export async function prepare(
  gateway: DeploymentParts,
  target: Target,
  regions: readonly CloudRegion[],
): Promise<Prepared> {
  const { version } = target;
  const signal = AbortSignal.any([gateway.closing, AbortSignal.timeout(FIND_MS)]);
  const files = await gateway.artifacts.get(version.artifactCid, { signal });
  const manifestBytes = files.get('defaas.json');
  if (manifestBytes === undefined) {
    throw new DefaasError(
      'ARTIFACT_INVALID',
      `artifact ${version.artifactCid} has no defaas.json, register it again`,
    );
  }
  const manifest = parseManifest(manifestBytes);
  const found = regions.map(({ provider: name, region }) => {
    const provider = gateway.provider(name);
    return { provider, region: region ?? provider.regions[0] ?? '' };
  });
  for (const { provider } of found) refuseBeyondLimits(provider, version, files);
  const secrets = await openSecrets(gateway, target, manifest);
  return {
    target,
    manifestBytes,
    manifest,
    clouds: found.map(({ provider, region }) => ({
      provider,
      spec: specOf(gateway, target, { files, manifest, region, secrets }),
      cost: callCost(gateway.config, provider.name, {
        version,
        minWarm: warmInstances(manifest, provider.name),
      }),
    })),
    hide: createHide([...secrets.values()].map(({ value }) => value.reveal())),
  };
}

async function openSecrets(
  gateway: DeploymentParts,
  { function: fn, label }: Target,
  { secrets: names }: Manifest,
): Promise<ReadonlyMap<string, OpenedSecret>> {
  const opened = await gateway.secrets.open(fn.id.toString(), names);
  const missing = names.filter((name) => !opened.has(name));
  if (missing.length === 0) return opened;
  throw new DefaasError(
    'SECRET_MISSING',
    `no value for ${missing.join(', ')}, on ${label}, run defaas secret set ${fn.name} ${missing[0]}`,
    { members: { missing } },
  );
}

function specOf(
  gateway: DeploymentParts,
  { function: fn, version }: Target,
  of: {
    readonly files: ReadonlyMap<string, Uint8Array>;
    readonly manifest: Manifest;
    readonly region: string;
    readonly secrets: ReadonlyMap<string, OpenedSecret>;
  },
): DeploymentSpec {
  const secrets = [...of.secrets];
  return {
    name: deploymentName({
      functionId: version.functionId.toString(),
      version: version.number,
      gateway: gateway.address,
    }),
    region: of.region,
    files: of.files,
    artifactCid: version.artifactCid,
    functionName: `${fn.namespace}/${fn.name}`,
    version: version.number,
    memoryMiB: version.memoryMiB,
    timeoutMs: version.timeoutMs,
    env: of.manifest.env,
    secrets: Object.fromEntries(secrets.map(([name, { value }]) => [name, value.reveal()])),
    secretRevisions: Object.fromEntries(secrets.map(([name, { revision }]) => [name, revision])),
  };
}

/** A cloud's error message may quote the settings that it refuses. */
function createHide(values: readonly string[]): (text: string) => string {
  const forms = values
    .filter((value) => value.length >= LEAST_HIDDEN_LENGTH)
    .flatMap((value) => [value, JSON.stringify(value).slice(1, -1), encodeURIComponent(value)])
    .sort((a, b) => b.length - a.length);
  return (text) => forms.reduce((left, form) => left.replaceAll(form, '[secret]'), text);
}

function refuseBeyondLimits(
  { name, limits }: Provider,
  { timeoutMs, memoryMiB }: FunctionVersion,
  files: ReadonlyMap<string, Uint8Array>,
): void {
  const refuse = (what: string, value: number, how: string): never => {
    throw new DefaasError(
      'PROVIDER_INVALID',
      `${what} ${value} is ${how}, on ${name}, change it or drop ${name} from providers`,
    );
  };
  const { maxTimeoutMs, minMemoryMiB, maxMemoryMiB } = limits;
  if (timeoutMs > maxTimeoutMs) refuse('timeoutMs', timeoutMs, `above ${maxTimeoutMs}`);
  if (memoryMiB > maxMemoryMiB) refuse('memoryMiB', memoryMiB, `above ${maxMemoryMiB}`);
  if (memoryMiB < minMemoryMiB) refuse('memoryMiB', memoryMiB, `below ${minMemoryMiB}`);

  const tooLarge = (bytes: number, limit: number): never => {
    const [path, { length }] = [...files].reduce((a, b) => (b[1].length > a[1].length ? b : a));
    throw new DefaasError(
      'PROVIDER_TOO_LARGE',
      `package is ${megabytes(bytes)}, limit ${megabytes(limit)}, on ${name}, largest: ${path} ${megabytes(length)}`,
    );
  };
  let bytes = 0;
  for (const file of files.values()) bytes += file.length;
  if (bytes > limits.maxUnpackedBytes) tooLarge(bytes, limits.maxUnpackedBytes);
  // Pack it only if its unpacked size is above the limit.
  if (bytes <= limits.maxPackageBytes) return;
  const packed = zip(files).length;
  if (packed > limits.maxPackageBytes) tooLarge(packed, limits.maxPackageBytes);
}

function megabytes(bytes: number): string {
  return `${(bytes / 1024 / 1024).toFixed(1)} MB`;
}
