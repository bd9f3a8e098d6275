// Compares the clouds with the records. Orphans are functions of ours without a record; ghosts are
// records without a function.
import type { ProviderName } from '../../adapters/provider.ts';
import type { Hex } from '../../contracts/libraries/keccak.ts';
import { toDefaasError } from '../errors.ts';
import type { DeploymentRecord } from '../ledger/ledger.ts';
import { type DeployOptions, deploy } from './deploy.ts';
import type { DeployedProvider, Failure } from './deploy-step.ts';
import type { DeploymentParts } from './parts.ts';
import { prepare } from './prepare.ts';
import { probeName } from './probes.ts';
import { endOf, queueOf, targetOf } from './resume.ts';

/** Longest time to list one cloud, ms. */
const LIST_MS = 60_000;
const REMOVE_MS = 600_000;

export interface Orphan {
  /** The function's name at the cloud. */
  readonly name: string;
}

export interface Ghost {
  readonly name: string;
  readonly functionVersion: Hex;
  /** `owner/name@number`; undefined for a version of another chain. */
  readonly function: string | undefined;
}

export interface CloudCheck {
  readonly provider: ProviderName;
  readonly region: string;
  readonly functions: number;
  readonly orphans: readonly Orphan[];
  readonly ghosts: readonly Ghost[];
  /** Set if the cloud could not be listed; nothing is known about it then. */
  readonly error?: Failure;
}

/** Lists every region of every cloud. `list` returns only functions tagged with this gateway. */
export function check(gateway: DeploymentParts): Promise<CloudCheck[]> {
  const places = gateway.providerNames.flatMap((provider) =>
    gateway.provider(provider).regions.map((region) => ({ provider, region })),
  );
  return Promise.all(places.map((place) => checkPlace(gateway, place)));
}

/** Removes orphans, and deploys again the versions whose function a cloud has lost. */
export async function repair(
  gateway: DeploymentParts,
  { onStep }: DeployOptions,
): Promise<DeployedProvider[]> {
  const checks = await check(gateway);
  const removed = checks.flatMap(({ provider, region, orphans }) =>
    orphans.map(({ name }) => removeOrphan(gateway, { provider, region, name }, { onStep })),
  );
  const ghosts = new Map<Hex, { provider: ProviderName; region: string }[]>();
  for (const { provider, region, ghosts: found } of checks) {
    for (const { functionVersion } of found) {
      const places = ghosts.get(functionVersion) ?? [];
      ghosts.set(functionVersion, [...places, { provider, region }]);
    }
  }
  const revived = [...ghosts].map(([functionVersion, places]) =>
    redeploy(gateway, functionVersion, places, { onStep }),
  );
  const unlisted = checks.flatMap(({ provider, region, error }): DeployedProvider[] =>
    error === undefined ? [] : [{ provider, region, state: 'failed', error }],
  );
  return [...unlisted, ...(await Promise.all(removed)), ...(await Promise.all(revived)).flat()];
}

async function checkPlace(
  gateway: DeploymentParts,
  { provider, region }: Pick<CloudCheck, 'provider' | 'region'>,
): Promise<CloudCheck> {
  const place = { provider, region };
  const signal = AbortSignal.any([gateway.closing, AbortSignal.timeout(LIST_MS)]);
  try {
    const listed = new Set<string>();
    for await (const { name } of gateway.provider(provider).list(region, { signal })) {
      listed.add(name);
    }
    // If probing is disabled, a leftover probe is an ordinary orphan.
    if (gateway.config.probeEverySec > 0) listed.delete(probeName(gateway.address));
    // Read the records after listing: a function is recorded before it is created.
    const records = new Map(
      gateway.deployments
        .records()
        .filter((record) => record.provider === provider && record.region === region)
        .map((record) => [record.name, record]),
    );
    const orphans = [...listed]
      .filter((name) => isOrphan(records.get(name)))
      .map((name) => ({ name }));
    const ghosts = [...records.values()]
      .filter(({ state, name }) => state === 'live' && !listed.has(name))
      .map(({ name, functionVersion }) => ({
        name,
        functionVersion,
        function: targetOf(gateway.chain.view, functionVersion)?.label,
      }));
    return { ...place, functions: listed.size, orphans, ghosts };
  } catch (error) {
    const { code, message } = toDefaasError(error);
    return { ...place, functions: 0, orphans: [], ghosts: [], error: { code, message } };
  }
}

function isOrphan(record: DeploymentRecord | undefined): boolean {
  return record === undefined || record.state === 'gone';
}

async function removeOrphan(
  gateway: DeploymentParts,
  { provider, region, name }: { provider: ProviderName; region: string; name: string },
  { onStep }: DeployOptions,
): Promise<DeployedProvider> {
  const now = gateway.deployments
    .records()
    .find((one) => one.provider === provider && one.region === region && one.name === name);
  // It is being deployed right now.
  if (!isOrphan(now)) return { provider, region, state: 'live' };
  try {
    await gateway.provider(provider).remove(
      { name, region },
      {
        signal: AbortSignal.any([gateway.closing, AbortSignal.timeout(REMOVE_MS)]),
        onStep: ({ action, resource }) =>
          onStep({ provider, action, resource, state: 'done', message: `${name}: an orphan` }),
      },
    );
    return { provider, region, state: 'gone' };
  } catch (error) {
    const { code, message } = toDefaasError(error);
    onStep({ provider, action: 'remove', resource: 'function', state: 'failed', message });
    return { provider, region, state: 'failed', error: { code, message } };
  }
}

async function redeploy(
  gateway: DeploymentParts,
  functionVersion: Hex,
  places: readonly { readonly provider: ProviderName; readonly region: string }[],
  { onStep }: DeployOptions,
): Promise<readonly DeployedProvider[]> {
  const target = targetOf(gateway.chain.view, functionVersion);
  if (target === undefined) {
    const message = `no version ${functionVersion} on this chain, remove it by hand`;
    const error = { code: 'FUNCTION_UNKNOWN', message } as const;
    return places.map((place) => ({ ...place, state: 'failed', error }));
  }
  const job = gateway.jobs.start(
    { owner: target.function.namespace, function: target.label, queue: queueOf(target) },
    async (tell) => {
      const prepared = await prepare(gateway, target, places);
      return deploy(gateway, prepared, {
        onStep: (step) => {
          tell(step);
          onStep(step);
        },
      });
    },
  );
  const { providers, error, state } = await endOf(gateway, job);
  if (error === undefined) return state === 'running' ? [] : providers;
  return places.map((place) => ({ ...place, state: 'failed', error }));
}
