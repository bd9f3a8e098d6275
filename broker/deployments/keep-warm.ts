// Keep-warm: calls idle instances so that each version has as many as its manifest requests
// (`minWarm`). The shim answers these calls itself. They make no receipt and are not charged; the
// operator pays the cloud.
import { setTimeout as wait } from 'node:timers/promises';
import type { ProviderName } from '../../adapters/provider.ts';
import type { Manifest } from '../../ipfs/manifest.ts';
import { toDefaasError } from '../errors.ts';
import type { Candidate } from '../routing/choose.ts';
import type { DeploymentParts } from './parts.ts';

/**
 * Time that a keep-warm call occupies its instance, ms, so that concurrent ones reach different
 * instances. Shorter than the estimated call of costs.ts.
 */
const HOLD_MS = 75;
/** Longest keep-warm call, cold start included, ms. */
const CALL_MS = 30_000;
/** Maximum number of deployments that are called concurrently. */
const AT_ONCE = 16;

/** Number of instances to keep warm. 0 on the local machine, where no cloud ends idle instances. */
export function warmInstances(
  manifest: Pick<Manifest, 'minWarm'> | undefined,
  provider: ProviderName,
): number {
  return provider === 'local' ? 0 : (manifest?.minWarm ?? 0);
}

/** Runs a round, then one every `warmEverySec`, until the gateway closes; never rejects. */
export async function keepWarm(gateway: DeploymentParts): Promise<void> {
  const { closing, config, log } = gateway;
  const look = createLook(gateway);
  while (!closing.aborted) {
    await look().catch((err) => log.error({ err }, 'instances were not kept warm'));
    await wait(config.warmEverySec * 1000, undefined, { signal: closing, ref: false }).catch(() => {
      // The gateway is closing.
    });
  }
}

/**
 * Runs one round over all deployments; resolves when every call has ended, successful or not. A
 * deployment's failure is logged once.
 */
export function createLook(
  gateway: Pick<
    DeploymentParts,
    'chain' | 'closing' | 'deployments' | 'log' | 'nowMs' | 'stoppedPublishers'
  >,
): () => Promise<void> {
  const failing = new WeakSet<Candidate>();

  async function warm({
    candidate,
    calls,
  }: ReturnType<typeof idleCandidates>[number]): Promise<void> {
    const signal = AbortSignal.any([gateway.closing, AbortSignal.timeout(CALL_MS)]);
    const options = { holdMs: HOLD_MS, signal };
    const ended = await Promise.allSettled(
      Array.from({ length: calls }, async () => {
        const startedMs = gateway.nowMs();
        await candidate.provider.warm?.(candidate.deployment, options).finally(() => {
          const endedMs = gateway.nowMs();
          // Nobody is billed for it, but the cloud counts it.
          candidate.executions?.add({ startedMs, endedMs, ms: endedMs - startedMs });
        });
      }),
    );
    const failed = ended.find(({ status }) => status === 'rejected');
    if (failed === undefined) {
      failing.delete(candidate);
    } else if (
      failed.status === 'rejected' &&
      !failing.has(candidate) &&
      !gateway.closing.aborted
    ) {
      failing.add(candidate);
      const { code, message } = toDefaasError(failed.reason);
      const { provider, name } = candidate.deployment;
      gateway.log.warn({ provider, name, code, message }, 'instances were not kept warm');
    }
  }

  return async () => {
    // One iterator shared by all workers.
    const waiting = idleCandidates(gateway).values();
    const one = async (): Promise<void> => {
      for (const idle of waiting) await warm(idle);
    };
    await Promise.all(Array.from({ length: AT_ONCE }, one));
  };
}

/**
 * Deployments whose peak of concurrent calls was below the requested number of instances, with the
 * number of calls to make.
 */
function idleCandidates({
  deployments,
  chain,
  stoppedPublishers,
}: Pick<DeploymentParts, 'deployments' | 'chain' | 'stoppedPublishers'>) {
  return deployments.records().flatMap(({ functionVersion, chainId, provider }) => {
    const instances = warmInstances(deployments.manifest(functionVersion), provider);
    const candidate = deployments.live(functionVersion).get(chainId ?? 0);
    if (instances === 0 || candidate === undefined) return [];
    // Skip versions that receive no calls: deprecated ones, and those of a stopped publisher.
    const version = chain.view.versionByHash(functionVersion);
    if (version?.deprecated !== false) return [];
    const owner = chain.view.functionById(version.functionId)?.owner;
    if (owner !== undefined && stoppedPublishers.isStopped(owner)) return [];
    const { peakInFlight, inFlight } = candidate;
    candidate.peakInFlight = inFlight;
    return peakInFlight >= instances ? [] : [{ candidate, calls: instances - inFlight }];
  });
}
