// Puts a version on clouds: recorded first, then made, then announced on-chain, then in force. Run again, it converges.
import { deploymentName } from '../../adapters/names.ts';
import type { DeploymentSpec, PlanStep, Provider, ProviderName } from '../../adapters/provider.ts';
import type { FunctionVersion } from '../../contracts/chain.ts';
import { type Manifest, parseManifest } from '../../ipfs/manifest.ts';
import { DefaasError, toDefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import type { Target } from '../invocation/resolve.ts';
import type { DeploymentRecord } from '../ledger/ledger.ts';

/** Longest time one cloud may take, ms. */
const DEPLOY_MS = 600_000;

/** What happened at a cloud, as the deployment's event stream tells it. */
export interface DeployStep {
  readonly provider: ProviderName;
  readonly action: PlanStep['action'] | 'enrol' | 'announce' | 'fetch';
  readonly resource: string;
  readonly state: 'done' | 'failed';
  readonly message: string;
}

export interface DeployedProvider {
  readonly provider: ProviderName;
  readonly region: string;
  readonly state: 'live' | 'failed' | 'gone';
  readonly error?: { readonly code: string; readonly message: string };
}

export interface DeployOptions {
  readonly target: Target;
  readonly providers: readonly ProviderName[];
  readonly onStep: (step: DeployStep) => void;
}

/**
 * Deploys to all the named clouds side by side; one that fails does not undo the others.
 * @throws DefaasError PROVIDER_INVALID, PROVIDER_TOO_LARGE  a cloud's limits are below the version's; nothing was done
 * @throws DefaasError ARTIFACT_NOT_FOUND, ARTIFACT_CORRUPT  the artifact cannot be had whole
 */
export async function deploy(
  gateway: Gateway,
  options: DeployOptions,
): Promise<DeployedProvider[]> {
  const { target } = options;
  const { version } = target;
  const signal = AbortSignal.any([gateway.closing, AbortSignal.timeout(DEPLOY_MS)]);
  const files = await gateway.artifacts.get(version.artifactCid, { signal });
  const manifestBytes = files.get('defaas.json');
  if (manifestBytes === undefined) {
    throw new DefaasError(
      'ARTIFACT_INVALID',
      `artifact ${version.artifactCid} has no defaas.json, register it again`,
    );
  }
  const manifest = parseManifest(manifestBytes);
  const wanted = options.providers.map((name) => {
    const provider = gateway.provider(name);
    const region = provider.regions[0] ?? '';
    const spec = specOf(gateway, target, { files, manifest, region });
    refuseBeyondLimits(provider, version, files);
    return { provider, region, spec };
  });
  await gateway.deployments.putManifest(version.functionVersion, manifestBytes);
  const done = await Promise.all(
    wanted.map(({ provider, spec }) => deployTo(gateway, { ...options, provider, spec, signal })),
  );
  await announce(gateway, options);
  return done;
}

/** Takes a version off the named clouds: withdrawn from the candidates first, then removed. */
export async function undeploy(
  gateway: Gateway,
  options: DeployOptions,
): Promise<DeployedProvider[]> {
  const { functionVersion } = options.target.version;
  const signal = AbortSignal.any([gateway.closing, AbortSignal.timeout(DEPLOY_MS)]);
  const records = gateway.deployments
    .records(functionVersion)
    .filter((record) => options.providers.includes(record.provider) && record.state !== 'gone');
  for (const record of records) {
    await gateway.deployments.putRecord({ ...record, state: 'removing' });
  }
  await announce(gateway, options);
  return Promise.all(
    records.map(async (record): Promise<DeployedProvider> => {
      const { provider, region, chainId } = record;
      try {
        await gateway.provider(provider).remove(record, {
          signal,
          onStep: (step) => options.onStep(stepDone(provider, step)),
        });
        if (chainId !== undefined && !gateway.chain.view.deploymentById(chainId)?.retired) {
          await gateway.account.retire(chainId);
        }
        await gateway.deployments.putRecord({ ...record, state: 'gone' });
        return { provider, region, state: 'gone' };
      } catch (error) {
        return failed(gateway, options, record, error);
      }
    }),
  );
}

interface OneCloud extends DeployOptions {
  readonly provider: Provider;
  readonly spec: DeploymentSpec;
  readonly signal: AbortSignal;
}

async function deployTo(gateway: Gateway, options: OneCloud): Promise<DeployedProvider> {
  const { provider, spec, target, signal } = options;
  const { functionVersion } = target.version;
  const earlier = gateway.deployments
    .records(functionVersion)
    .find((one) => one.provider === provider.name && one.region === spec.region);
  const record: DeploymentRecord = {
    functionVersion,
    provider: provider.name,
    region: spec.region,
    name: spec.name,
    state: earlier?.state === 'live' ? 'live' : 'deploying',
    ...(earlier?.deployment && { deployment: earlier.deployment }),
    ...(earlier?.chainId !== undefined && { chainId: earlier.chainId }),
  };
  await gateway.deployments.putRecord(record);
  try {
    const deployment = await provider.deploy(spec, {
      signal,
      onStep: (step) => options.onStep(stepDone(provider.name, step)),
    });
    const chainId = await enrol(gateway, options);
    await gateway.deployments.putRecord({ ...record, state: 'live', deployment, chainId });
    return { provider: provider.name, region: spec.region, state: 'live' };
  } catch (error) {
    return failed(gateway, options, record, error);
  }
}

/** The deployment's id on-chain: the one enrolled before, else a new one. */
async function enrol(
  gateway: Gateway,
  { target, provider, spec, onStep }: OneCloud,
): Promise<number> {
  const { functionVersion } = target.version;
  const known = gateway.chain.view
    .deployments(functionVersion)
    .find(
      (one) =>
        one.provider === gateway.account.address &&
        one.cloud === provider.name &&
        one.region === spec.region &&
        !one.retired &&
        !one.barred,
    );
  if (known !== undefined) return known.id;
  const id = await gateway.account.enrol(functionVersion, provider.name, spec.region);
  onStep({
    provider: provider.name,
    action: 'enrol',
    resource: 'deployment',
    state: 'done',
    message: `enrolled on-chain as deployment ${id}`,
  });
  return id;
}

/** Makes the live deployments the candidate set, in force at once. */
async function announce(gateway: Gateway, { target, onStep }: DeployOptions): Promise<void> {
  const { functionVersion } = target.version;
  const ids = gateway.deployments
    .records(functionVersion)
    .flatMap((one) => (one.state === 'live' && one.chainId !== undefined ? [one.chainId] : []))
    .sort((a, b) => a - b);
  const current = gateway.chain.view.candidates(functionVersion, gateway.address);
  if (ids.length === 0 || current?.ids.join() === ids.join()) return;
  const block = await gateway.account.setCandidates(functionVersion, ids);
  await gateway.chain.synced(block);
  const announced = gateway.chain.view.candidates(functionVersion, gateway.address);
  if (announced !== undefined) await gateway.beacon.renew(announced.fromEpoch);
  for (const one of gateway.deployments.records(functionVersion)) {
    if (one.state !== 'live') continue;
    onStep({
      provider: one.provider,
      action: 'announce',
      resource: 'candidate set',
      state: 'done',
      message: `candidate ${one.chainId} of ${ids.length}`,
    });
  }
}

async function failed(
  gateway: Gateway,
  options: DeployOptions,
  record: DeploymentRecord,
  error: unknown,
): Promise<DeployedProvider> {
  const { code, message } = toDefaasError(error);
  gateway.log.warn(
    { err: error, provider: record.provider, name: record.name },
    'deployment failed',
  );
  const { provider, region } = record;
  if (record.state !== 'live') {
    const state = record.state === 'removing' ? 'removing' : 'failed';
    await gateway.deployments.putRecord({ ...record, state, error: `${code}: ${message}` });
  }
  options.onStep({ provider, action: 'wait', resource: 'deployment', state: 'failed', message });
  return { provider, region, state: 'failed', error: { code, message } };
}

function stepDone(provider: ProviderName, step: PlanStep): DeployStep {
  const { action, resource } = step;
  return { provider, action, resource, state: 'done', message: `${step.name}: ${step.why}` };
}

function specOf(
  gateway: Gateway,
  target: Target,
  of: { files: ReadonlyMap<string, Uint8Array>; manifest: Manifest; region: string },
): DeploymentSpec {
  const { version } = target;
  return {
    name: deploymentName({
      functionId: version.functionId.toString(),
      version: version.number,
      gateway: gateway.address,
    }),
    region: of.region,
    files: of.files,
    artifactCid: version.artifactCid,
    functionName: `${target.function.namespace}/${target.function.name}`,
    version: version.number,
    memoryMiB: version.memoryMiB,
    timeoutMs: version.timeoutMs,
    env: of.manifest.env,
    secrets: {},
  };
}

function refuseBeyondLimits(
  provider: Provider,
  version: FunctionVersion,
  files: ReadonlyMap<string, Uint8Array>,
): void {
  const { name, limits } = provider;
  const beyond = (what: string, value: number, limit: number): DefaasError =>
    new DefaasError(
      'PROVIDER_INVALID',
      `${what} ${value} is above ${limit}, on ${name}, lower it or drop ${name} from providers`,
    );
  if (version.timeoutMs > limits.maxTimeoutMs) {
    throw beyond('timeoutMs', version.timeoutMs, limits.maxTimeoutMs);
  }
  if (version.memoryMiB > limits.maxMemoryMiB) {
    throw beyond('memoryMiB', version.memoryMiB, limits.maxMemoryMiB);
  }
  let unpackedBytes = 0;
  for (const bytes of files.values()) unpackedBytes += bytes.length;
  if (unpackedBytes > limits.maxUnpackedBytes) {
    throw new DefaasError(
      'PROVIDER_TOO_LARGE',
      `the artifact has ${unpackedBytes} bytes, limit ${limits.maxUnpackedBytes}, on ${name}, make it smaller or drop ${name}`,
    );
  }
}
