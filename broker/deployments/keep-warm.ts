// Keeps the instances warm that versions ask for (`minWarm`): those that traffic leaves idle are called, and the shim answers. No
// receipt, no charge; what the cloud bills is the operator's.
import { setTimeout as wait } from 'node:timers/promises';
import type { ProviderName } from '../../adapters/provider.ts';
import type { Manifest } from '../../ipfs/manifest.ts';
import { toDefaasError } from '../errors.ts';
import type { Route } from '../routing/choose.ts';
import type { DeploymentParts } from './parts.ts';

/** How long a call stays in its instance, so that those at once reach instances apart, ms; shorter than a call that is estimated. */
const HOLD_MS = 75;
/** Longest time of such a call, a cold start included, ms. */
const CALL_MS = 30_000;
/** Deployments that are called at once. */
const AT_ONCE = 16;

/** How many instances of a deployment a version asks for; on this machine there is no cloud that ends them for others. */
export function warmInstances(
  manifest: Pick<Manifest, 'minWarm'> | undefined,
  provider: ProviderName,
): number {
  return provider === 'local' ? 0 : (manifest?.minWarm ?? 0);
}

/** Looks, then again after `warmEverySec`, until the gateway closes; never rejects. */
export async function keepWarm(gateway: DeploymentParts): Promise<void> {
  const { closing, config, log } = gateway;
  const look = createLook(gateway);
  while (!closing.aborted) {
    await look().catch((err) => log.error({ err }, 'instances were not kept warm'));
    await wait(config.warmEverySec * 1000, undefined, { signal: closing, ref: false }).catch(() => {
      // The gateway closes.
    });
  }
}

/** One round over all deployments; resolves when every call has ended, well or not. A deployment's failure is logged once. */
export function createLook(
  gateway: Pick<
    DeploymentParts,
    'chain' | 'closing' | 'deployments' | 'log' | 'nowMs' | 'stoppedPublishers'
  >,
): () => Promise<void> {
  const failing = new WeakSet<Route>();

  async function warm({ route, calls }: ReturnType<typeof idleRoutes>[number]): Promise<void> {
    const signal = AbortSignal.any([gateway.closing, AbortSignal.timeout(CALL_MS)]);
    const options = { holdMs: HOLD_MS, signal };
    const ended = await Promise.allSettled(
      Array.from({ length: calls }, async () => {
        const startedMs = gateway.nowMs();
        await route.provider.warm?.(route.deployment, options).finally(() => {
          const endedMs = gateway.nowMs();
          // Nobody is billed for it, and the cloud counts it.
          route.executions?.add({ startedMs, endedMs, ms: endedMs - startedMs });
        });
      }),
    );
    const failed = ended.find(({ status }) => status === 'rejected');
    if (failed === undefined) {
      failing.delete(route);
    } else if (failed.status === 'rejected' && !failing.has(route) && !gateway.closing.aborted) {
      failing.add(route);
      const { code, message } = toDefaasError(failed.reason);
      const { provider, name } = route.deployment;
      gateway.log.warn({ provider, name, code, message }, 'instances were not kept warm');
    }
  }

  return async () => {
    // Taken by all in turn.
    const waiting = idleRoutes(gateway).values();
    const one = async (): Promise<void> => {
      for (const idle of waiting) await warm(idle);
    };
    await Promise.all(Array.from({ length: AT_ONCE }, one));
  };
}

/** Deployments that had fewer calls at once than they shall have instances, and how many calls are missing now. */
function idleRoutes({
  deployments,
  chain,
  stoppedPublishers,
}: Pick<DeploymentParts, 'deployments' | 'chain' | 'stoppedPublishers'>) {
  return deployments.records().flatMap(({ functionVersion, chainId, provider }) => {
    const instances = warmInstances(deployments.manifest(functionVersion), provider);
    const route = deployments.routes(functionVersion).get(chainId ?? 0);
    if (instances === 0 || route === undefined) return [];
    // No call reaches a version that its owner has withdrawn, or one of a publisher who is stopped.
    const version = chain.view.versionByHash(functionVersion);
    if (version?.deprecated !== false) return [];
    const owner = chain.view.functionById(version.functionId)?.owner;
    if (owner !== undefined && stoppedPublishers.isStopped(owner)) return [];
    const { peakInFlight, inFlight } = route;
    route.peakInFlight = inFlight;
    return peakInFlight >= instances ? [] : [{ route, calls: instances - inFlight }];
  });
}
