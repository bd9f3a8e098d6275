// The gateway's own probe: an empty function in each cloud and region where this gateway has
// deployments. The duration of its calls gives the overhead that metering subtracts there, so it
// must not be a publisher's function.
import { setTimeout as wait } from 'node:timers/promises';
import { deploymentName } from '../../adapters/deployment/names.ts';
import {
  type Deployment,
  type DeploymentSpec,
  type InvokeRequest,
  type Provider,
  ProviderError,
  type ProviderErrorCode,
  type ProviderName,
} from '../../adapters/provider.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { toDefaasError } from '../errors.ts';
import type { DeploymentParts } from './parts.ts';

/** Longest time for a cloud to deploy or remove the probe, ms. */
const DEPLOY_MS = 600_000;
/** Longest call, cold start included, ms. */
const CALL_MS = 30_000;
/** A healthy cloud answers the probe within this time, cold start included, ms. */
const WELL_MS = 10_000;
/** Errors of a probe call that mean its cloud is down. */
const DOWN: ReadonlySet<ProviderErrorCode> = new Set([
  'PROVIDER_CONNECTION',
  'PROVIDER_UNAVAILABLE',
  'PROVIDER_DEADLINE',
]);
/** Consecutive calls per look: the first may be a cold start. */
const CALLS = 2;
/** Number of calls in the first look at a site. */
const FIRST_CALLS = 16;
const MEMORY_MIB = 128;
const TIMEOUT_MS = 10_000;
/** Longest pause before retrying to deploy a probe, ms. */
const MAX_PAUSE_MS = 3_600_000;

const FILES: ReadonlyMap<string, Uint8Array> = new Map([
  ['handler.mjs', Buffer.from('export default () => new Response(null, { status: 204 });\n')],
  ['defaas.json', Buffer.from('{"name":"probe"}\n')],
]);
const REQUEST: InvokeRequest = {
  callId: 'probe',
  method: 'GET',
  path: '/',
  query: '',
  headers: [],
  body: new Uint8Array(),
};

/** Name of this gateway's probe at every cloud. */
export function probeName(gateway: Address): string {
  return deploymentName({ functionId: 'probe', version: 1, gateway });
}

/**
 * Runs a round, then one every `probeEverySec`, until the gateway closes; never rejects. 0 s: no
 * probe, and the minimum overhead everywhere.
 */
export async function probeClouds(gateway: DeploymentParts): Promise<void> {
  const { closing, config, log } = gateway;
  if (config.probeEverySec === 0) return;
  const look = createProbes(gateway);
  while (!closing.aborted) {
    await look().catch((err) => log.error({ err }, 'clouds were not probed'));
    await wait(config.probeEverySec * 1000, undefined, { signal: closing, ref: false }).catch(
      () => {
        // The gateway is closing.
      },
    );
  }
}

type Parts = Pick<
  DeploymentParts,
  | 'address'
  | 'closing'
  | 'config'
  | 'deployments'
  | 'executions'
  | 'log'
  | 'nowMs'
  | 'overheads'
  | 'provider'
  | 'providerNames'
>;

/** A cloud and region that has, or had, deployments of this gateway. */
interface ProbeSite {
  readonly provider: Provider;
  readonly region: string;
  state: 'none' | 'up' | 'removed';
  deployment?: Deployment;
  failures: number;
  againAtMs: number;
}

/**
 * Runs one round over all sites: deploys the probe where there are deployments, calls it, and
 * removes it where none are left. Resolves when everything has ended, successful or not; the first
 * failure of a site is logged.
 */
export function createProbes(gateway: Parts): () => Promise<void> {
  const sites = new Map<string, ProbeSite>();

  const within = (ms: number) => ({
    signal: AbortSignal.any([gateway.closing, AbortSignal.timeout(ms)]),
  });

  /**
   * The cloud counts these calls like others, with more time than the shim reports: the difference
   * is platform time.
   */
  async function counted(provider: Provider, deployment: Deployment, ms: number) {
    const count = gateway.executions.of(provider, deployment);
    const startedMs = gateway.nowMs();
    let usedMs: number | undefined;
    try {
      const result = await provider.invoke(deployment, REQUEST, within(ms));
      usedMs = result.usage.billedMs;
      return result;
    } finally {
      const endedMs = gateway.nowMs();
      count?.add({ startedMs, endedMs, ms: usedMs ?? endedMs - startedMs });
    }
  }

  async function call({ provider, region }: ProbeSite, deployment: Deployment): Promise<void> {
    const result = await counted(provider, deployment, CALL_MS);
    if (!result.ok) throw new Error(`the probe failed: ${result.error.message}`);
    const { measuredMs } = result.usage;
    if (result.cold !== true) gateway.overheads.of(provider.name, region).add(measuredMs);
  }

  async function isWell({ provider }: ProbeSite, deployment: Deployment): Promise<boolean> {
    try {
      await counted(provider, deployment, WELL_MS);
      return true;
    } catch (error) {
      return !(error instanceof ProviderError && DOWN.has(error.code));
    }
  }

  async function probe(site: ProbeSite): Promise<void> {
    const { provider, region, state } = site;
    const spec = specOf(gateway, provider, region);
    const deployment = site.deployment ?? (await provider.deploy(spec, within(DEPLOY_MS)));
    if (site.deployment === undefined) {
      gateway.overheads.of(provider.name, region).watch(() => isWell(site, deployment));
    }
    site.deployment = deployment;
    site.state = 'up';
    const calls = state === 'up' ? CALLS : FIRST_CALLS;
    for (let one = 0; one < calls; one += 1) await call(site, deployment);
  }

  async function remove(site: ProbeSite): Promise<void> {
    const { provider, region } = site;
    gateway.overheads.of(provider.name, region).watch(undefined);
    await provider.remove({ name: probeName(gateway.address), region }, within(DEPLOY_MS));
    site.state = 'removed';
    delete site.deployment;
  }

  async function lookAt(site: ProbeSite, hasFunctions: boolean): Promise<void> {
    if (gateway.nowMs() < site.againAtMs) return;
    if (!hasFunctions && site.state === 'removed') return;
    try {
      await (hasFunctions ? probe(site) : remove(site));
      site.failures = 0;
    } catch (error) {
      site.failures += 1;
      // It may have been removed at the cloud: let the next round deploy it again.
      delete site.deployment;
      const pauseMs = gateway.config.probeEverySec * 1000 * 2 ** site.failures;
      site.againAtMs = gateway.nowMs() + Math.min(pauseMs, MAX_PAUSE_MS);
      if (site.failures > 1 || gateway.closing.aborted) return;
      const { code, message } = toDefaasError(error);
      const { provider, region } = site;
      gateway.log.warn(
        { provider: provider.name, region, code, message },
        'a cloud was not probed',
      );
    }
  }

  return async () => {
    const live = new Set<string>();
    for (const { provider: name, region, state } of gateway.deployments.records()) {
      if (!isProbed(gateway, name)) continue;
      const key = `${name} ${region}`;
      const provider = gateway.provider(name);
      const fresh: ProbeSite = { provider, region, state: 'none', failures: 0, againAtMs: 0 };
      if (!sites.has(key)) sites.set(key, fresh);
      if (state === 'live' || state === 'updating') live.add(key);
    }
    await Promise.all([...sites].map(([key, site]) => lookAt(site, live.has(key))));
  };
}

/** No probe on this machine: the gateway measures its own instances directly. */
function isProbed({ providerNames }: Parts, name: ProviderName): boolean {
  return name !== 'local' && providerNames.includes(name);
}

function specOf({ address }: Parts, { limits }: Provider, region: string): DeploymentSpec {
  return {
    name: probeName(address),
    region,
    files: FILES,
    artifactCid: 'probe',
    functionName: `${address}/probe`,
    version: 1,
    memoryMiB: Math.max(MEMORY_MIB, limits.minMemoryMiB),
    timeoutMs: Math.min(TIMEOUT_MS, limits.maxTimeoutMs),
    env: {},
    secrets: {},
  };
}
