// After a crash: completes unfinished deployments, and announces live ones that are not announced.
import type { ChainView } from '../../contracts/chain/types.ts';
import type { Hex } from '../../contracts/libraries/keccak.ts';
import { toDefaasError } from '../errors.ts';
import type { DeploymentRecord } from '../ledger/ledger.ts';
import type { Target } from '../routing/target.ts';
import { announce, isAnnounced } from './announce.ts';
import { type DeployOptions, deploy } from './deploy.ts';
import type { DeployedProvider } from './deploy-step.ts';
import type { Job } from './jobs.ts';
import type { DeploymentParts } from './parts.ts';
import { prepare } from './prepare.ts';
import { undeploy } from './undeploy.ts';

/**
 * Resolves when everything has ended, successful or not; the result of each version is logged. Runs
 * while calls are served.
 */
export async function resume(gateway: DeploymentParts): Promise<void> {
  const versions = new Set(gateway.deployments.records().map((record) => record.functionVersion));
  await Promise.all(
    [...versions].map(async (functionVersion) => {
      const isMoving = gateway.deployments.records(functionVersion).some(isOnItsWay);
      if (!isMoving && isAnnounced(gateway, functionVersion)) return;
      const target = targetOf(gateway.chain.view, functionVersion);
      if (target === undefined) {
        gateway.log.warn({ functionVersion }, 'a deployment belongs to no version on this chain');
        return;
      }
      const { label, function: fn } = target;
      gateway.log.info({ function: label }, 'deployment resumed');
      const job = gateway.jobs.start(
        { owner: fn.namespace, function: label, queue: queueOf(target) },
        (onStep) => driveOn(gateway, target, { onStep }),
      );
      const { state, providers, error } = await endOf(gateway, job);
      gateway.log.info({ function: label, state, providers, error }, 'deployment ended');
    }),
  );
}

/** Jobs of one function run one after the other. */
export function queueOf({ function: fn }: Pick<Target, 'function'>): string {
  return fn.id.toString();
}

/** The job when it has ended, or its current state when the gateway closes. */
export async function endOf(gateway: DeploymentParts, job: Job): Promise<Job> {
  let last = job;
  try {
    for await (const current of gateway.jobs.watch(job.id, gateway.closing)) last = current;
  } catch (error) {
    if (!gateway.closing.aborted) throw error;
  }
  return last;
}

/** A version as the target of calls, deprecated or not. */
export function targetOf(view: ChainView, functionVersion: Hex): Target | undefined {
  const version = view.versionByHash(functionVersion);
  const fn = version && view.functionById(version.functionId);
  if (!fn) return undefined;
  return { function: fn, version, label: `${fn.namespace}/${fn.name}@${version.number}` };
}

/**
 * Deploys and removes what the records say, and announces the result. The price was checked against
 * the cost when the deployment was requested.
 */
export async function driveOn(
  gateway: DeploymentParts,
  target: Target,
  { onStep }: DeployOptions,
): Promise<DeployedProvider[]> {
  const { functionVersion } = target.version;
  const records = gateway.deployments.records(functionVersion);
  const removing = records.filter(({ state }) => state === 'removing');
  const coming = records.filter(({ state }) => state === 'deploying' || state === 'updating');
  const gone = await undeploy(gateway, removing, { onStep });
  if (coming.length === 0) {
    await announce(gateway, functionVersion, onStep);
    return gone;
  }
  try {
    const prepared = await prepare(gateway, target, coming);
    return [...gone, ...(await deploy(gateway, prepared, { onStep }))];
  } catch (error) {
    await giveUp(gateway, coming, error);
    throw error;
  }
}

/** No cloud was contacted: what was live still is. */
async function giveUp(
  gateway: DeploymentParts,
  records: readonly DeploymentRecord[],
  error: unknown,
): Promise<void> {
  if (gateway.closing.aborted) return;
  const { code, message } = toDefaasError(error);
  for (const { provider, region, functionVersion } of records) {
    const record = gateway.deployments
      .records(functionVersion)
      .find((one) => one.provider === provider && one.region === region);
    if (record === undefined || !isOnItsWay(record)) continue;
    const state = record.state === 'updating' ? 'live' : 'failed';
    await gateway.deployments.putRecord({ ...record, state, error: `${code}: ${message}` });
  }
}

function isOnItsWay({ state }: DeploymentRecord): boolean {
  return state === 'deploying' || state === 'updating' || state === 'removing';
}
