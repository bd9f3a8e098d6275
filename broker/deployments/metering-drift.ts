// Compares, hour by hour, what a cloud has counted of each deployment's executions with what this gateway has billed of them.
// The shim measures in the process of the publisher's code, which can forge its word; per call the gateway's clock bounds that
// but for the place's overhead (`invocation/metering.ts`). What is run within that bound for nothing shows here.
import { setTimeout as wait } from 'node:timers/promises';
import type { ExecutionTotal, Provider, ProviderName } from '../../adapters/provider.ts';
import type { Alarms } from '../alarms.ts';
import { toDefaasError } from '../errors.ts';
import { type CountedDeployment, HOUR_MS, hourOf, KEPT_HOURS } from '../routing/executions.ts';
import type { DeploymentParts } from './parts.ts';
import { probeName } from './probes.ts';
import { targetOf } from './resume.ts';

/** The cloud may count so much more than was billed. */
const MOST_DRIFT = 0.1;
/** An hour with less is no ground to stop anybody: executions by the cloud's count, and what they are more than was billed, ms. */
const LEAST_EXECUTIONS = 10;
const LEAST_EXCESS_MS = 5_000;
/** What a cloud may count of a call before and after the shim measures, at least, ms; the least overhead of a place. */
const LEAST_PLATFORM_MS = 5;
/** Calls of the gateway's own probe that say what it is. */
const LEAST_PROBES = 20;

/** Between two looks, ms; most of them find no hour that is complete. */
const LOOK_MS = 60_000;
/** A cloud that could not be read is asked again after this long, ms. */
const AGAIN_MS = 600_000;
/** Longest time of one reading, ms. */
const READ_MS = 30_000;
const AT_ONCE = 8;
/** The operator is told that a cloud's metrics cannot be read after this long, ms. */
const UNREAD_MS = 86_400_000;

type Parts = Pick<
  DeploymentParts,
  | 'address'
  | 'chain'
  | 'closing'
  | 'deployments'
  | 'executions'
  | 'log'
  | 'nowMs'
  | 'overheads'
  | 'provider'
  | 'providerNames'
  | 'stoppedPublishers'
> & { readonly alarms: Pick<Alarms, 'raise' | 'clear'> };

/** Looks until the gateway closes; never rejects. */
export async function watchDrift(gateway: Parts): Promise<void> {
  const { closing, log } = gateway;
  const look = createDriftLook(gateway);
  while (!closing.aborted) {
    await look().catch((err) => log.error({ err }, 'metering was not compared'));
    await wait(LOOK_MS, undefined, { signal: closing, ref: false }).catch(() => {
      // The gateway closes.
    });
  }
}

/** A cloud that counts, and how far it was compared. */
interface Cloud {
  readonly provider: Provider & Required<Pick<Provider, 'executionMetric'>>;
  /** The next hour to compare. */
  hourMs: number;
  /** Deployments of that hour that were compared. */
  readonly done: Set<CountedDeployment>;
  againAtMs: number;
  /** When it was last read, or begun with. */
  readAtMs: number;
  isUnread: boolean;
}

/**
 * One look: compares the hours that the clouds can tell completely by now. The first hour is the first that lies whole after this was
 * made, as nobody knows what was billed before. A deployment of which more was counted than was billed stops its publisher; a
 * cloud that cannot be read stops nobody.
 */
export function createDriftLook(gateway: Parts): () => Promise<void> {
  const { nowMs, stoppedPublishers } = gateway;
  const startedMs = nowMs();
  const clouds = gateway.providerNames.flatMap((name) =>
    cloudOf(gateway.provider(name), startedMs),
  );
  return async () => {
    stoppedPublishers.endOver();
    for (const cloud of clouds) {
      while (!gateway.closing.aborted && isComplete(cloud, nowMs())) {
        if (!(await compareHour(gateway, cloud))) break;
        cloud.hourMs += HOUR_MS;
        cloud.done.clear();
      }
    }
  };
}

function cloudOf(provider: Provider, startedMs: number): Cloud[] {
  const { executionMetric } = provider;
  if (executionMetric === undefined) return [];
  return [
    {
      provider: { ...provider, executionMetric },
      hourMs: hourOf(startedMs + executionMetric.skewMs) + HOUR_MS,
      done: new Set(),
      againAtMs: 0,
      readAtMs: startedMs,
      isUnread: false,
    },
  ];
}

function isComplete({ provider, hourMs, againAtMs }: Cloud, nowMs: number): boolean {
  return nowMs >= Math.max(againAtMs, hourMs + HOUR_MS + provider.executionMetric.delayMs);
}

/** @returns whether the hour is done with: all of it is compared, or it is too long ago */
async function compareHour(gateway: Parts, cloud: Cloud): Promise<boolean> {
  const { name } = cloud.provider;
  const counted = gateway.executions.at(name).filter((one) => !cloud.done.has(one));
  const isProbe = (one: CountedDeployment): boolean => one.functionVersion === undefined;
  const platforms = new Map<string, number>();
  let failed = 0;
  // The probes first: what they say of their place counts for all others there.
  for (const group of [counted.filter(isProbe), counted.filter((one) => !isProbe(one))]) {
    const waiting = group.values();
    const work = async (): Promise<void> => {
      for (const one of waiting) {
        if (gateway.closing.aborted) return;
        const told = await readHour(gateway, cloud, one);
        if (told === undefined) failed += 1;
        else if (isProbe(one)) learnPlatform(one, told);
        else judge(gateway, cloud, { one, told, platformMs: platformOf(one) });
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  }
  if (gateway.closing.aborted) return false;
  if (failed === 0) {
    forgetGone(gateway, name);
    return true;
  }
  cloud.againAtMs = gateway.nowMs() + AGAIN_MS;
  return gateway.nowMs() >= cloud.hourMs + (KEPT_HOURS - 1) * HOUR_MS;

  function learnPlatform(probe: CountedDeployment, { count, ms }: ExecutionTotal): void {
    const own = probe.hour(cloud.hourMs);
    if (Math.min(own.count, count) < LEAST_PROBES) return;
    platforms.set(probe.deployment.region, (ms - own.ms) / count);
  }

  /** An honest call is billed at most the place's overhead less than it took, so no more can be the platform's. */
  function platformOf({ deployment: { region } }: CountedDeployment): number {
    const mostMs = gateway.overheads.of(name, region).ms;
    return Math.min(Math.max(platforms.get(region) ?? mostMs, LEAST_PLATFORM_MS), mostMs);
  }
}

/** @returns undefined: it could not be read, and may be later */
async function readHour(
  gateway: Parts,
  cloud: Cloud,
  { deployment }: CountedDeployment,
): Promise<ExecutionTotal | undefined> {
  const { name: provider, executionMetric } = cloud.provider;
  const window = { fromMs: cloud.hourMs, toMs: cloud.hourMs + HOUR_MS };
  const signal = AbortSignal.any([gateway.closing, AbortSignal.timeout(READ_MS)]);
  try {
    const told = await executionMetric.read(deployment, window, { signal });
    cloud.readAtMs = gateway.nowMs();
    if (cloud.isUnread) gateway.alarms.clear('METERING_UNREAD', provider);
    cloud.isUnread = false;
    return told;
  } catch (error) {
    if (gateway.closing.aborted) return undefined;
    const { code, message } = toDefaasError(error);
    // Removed since, and its cloud has forgotten it.
    if (code === 'PROVIDER_NOT_FOUND') return { count: 0, ms: 0 };
    if (!cloud.isUnread) {
      const { name, region } = deployment;
      gateway.log.warn({ provider, region, name, code, message }, 'metering was not compared');
    }
    cloud.isUnread = true;
    const sinceMs = cloud.readAtMs;
    if (gateway.nowMs() - sinceMs >= UNREAD_MS) {
      const since = new Date(sinceMs).toISOString();
      const why = `what ${provider} has counted of executions could not be read since ${since} (${code}: ${message}): nobody compares it with what was billed, look at the account's rights there (monitoring.viewer, Monitoring Reader)`;
      gateway.alarms.raise('METERING_UNREAD', provider, why);
    }
    return undefined;
  }
}

function judge(
  gateway: Parts,
  cloud: Cloud,
  of: {
    readonly one: CountedDeployment;
    readonly told: ExecutionTotal;
    readonly platformMs: number;
  },
): void {
  const { one, told, platformMs } = of;
  cloud.done.add(one);
  const own = one.hour(cloud.hourMs);
  if (!isDrift(told, own, platformMs)) return;
  const target = one.functionVersion && targetOf(gateway.chain.view, one.functionVersion);
  const { name, region } = one.deployment;
  const provider = cloud.provider.name;
  const hour = new Date(cloud.hourMs).toISOString();
  gateway.log.error(
    { provider, region, name, hour, told, own, platformMs, function: target?.label },
    'a cloud has counted more than was billed',
  );
  if (!target) return;
  const why = `${provider} has counted ${secondsOf(told)} of ${target.label} (${name}) in the hour from ${hour}, ${secondsOf(own)} were billed`;
  gateway.stoppedPublishers.stop(target.function.owner, why);
}

/**
 * Whether a cloud has counted too much more than was billed. `own` is rounded as the cloud rounds; `platformMs` is what the cloud counts of
 * a call beside the function.
 */
export function isDrift(told: ExecutionTotal, own: ExecutionTotal, platformMs: number): boolean {
  const expectedMs = own.ms + own.count * platformMs;
  return (
    told.count >= LEAST_EXECUTIONS &&
    told.ms - expectedMs >= LEAST_EXCESS_MS &&
    told.ms > expectedMs * (1 + MOST_DRIFT)
  );
}

function secondsOf({ count, ms }: ExecutionTotal): string {
  return `${(ms / 1000).toFixed(1)} s in ${count} executions`;
}

/** Those that were removed: the hour in which they were has been compared. */
function forgetGone(
  { deployments, executions, address, nowMs }: Parts,
  provider: ProviderName,
): void {
  const there = new Set(
    deployments
      .records()
      .filter((one) => one.provider === provider && one.state !== 'gone')
      .map(({ region, name }) => `${region} ${name}`),
  );
  const hours = [0, 1, 2].map((back) => hourOf(nowMs()) - back * HOUR_MS);
  for (const one of executions.at(provider)) {
    const { name, region } = one.deployment;
    if (name === probeName(address) || there.has(`${region} ${name}`)) continue;
    if (hours.every((hour) => one.hour(hour).count === 0)) {
      executions.forget(provider, one.deployment);
    }
  }
}
