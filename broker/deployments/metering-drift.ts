// Compares, per hour and deployment, the execution time that a cloud counted with the time that
// this gateway billed. The shim measures in the same process as the publisher's code, which can
// forge its report. Per call, the gateway's clock limits the forgery to the place's overhead
// (`invocation/metering.ts`); free execution within that limit is detected here.
import { setTimeout as wait } from 'node:timers/promises';
import type { ExecutionTotal, Provider, ProviderName } from '../../adapters/provider.ts';
import type { Alarms } from '../alarms.ts';
import { toDefaasError } from '../errors.ts';
import { type CountedDeployment, HOUR_MS, hourOf, KEPT_HOURS } from '../routing/executions.ts';
import type { DeploymentParts } from './parts.ts';
import { probeName } from './probes.ts';
import { targetOf } from './resume.ts';

/** Allowed excess of the cloud's count over the billed time, as a share. */
const MOST_DRIFT = 0.1;
/**
 * Minimum of an hour that may stop a publisher: executions by the cloud's count, and excess over
 * the billed time, ms.
 */
const LEAST_EXECUTIONS = 10;
const LEAST_EXCESS_MS = 5_000;
/**
 * Lower bound of the time that a cloud counts per call outside the shim's measurement, ms; equal to
 * the least overhead of a place.
 */
const LEAST_PLATFORM_MS = 5;
/** Number of probe calls needed to measure that time. */
const LEAST_PROBES = 20;

/** Interval between looks, ms; most looks find no complete hour. */
const LOOK_MS = 60_000;
/** A cloud that could not be read is read again after this, ms. */
const AGAIN_MS = 600_000;
/** Longest time of one read, ms. */
const READ_MS = 30_000;
const AT_ONCE = 8;
/** The operator is alerted when a cloud's metrics could not be read for this long, ms. */
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

/** Runs a look at each interval until the gateway closes; never rejects. */
export async function watchDrift(gateway: Parts): Promise<void> {
  const { closing, log } = gateway;
  const look = createDriftLook(gateway);
  while (!closing.aborted) {
    await look().catch((err) => log.error({ err }, 'metering was not compared'));
    await wait(LOOK_MS, undefined, { signal: closing, ref: false }).catch(() => {
      // The gateway is closing.
    });
  }
}

/** A cloud that reports execution counts, and the progress of the comparison. */
interface Cloud {
  readonly provider: Provider & Required<Pick<Provider, 'executionMetric'>>;
  /** The next hour to compare. */
  hourMs: number;
  /** Deployments already compared for that hour. */
  readonly done: Set<CountedDeployment>;
  againAtMs: number;
  /** When it was last read, or when watching began, Unix ms. */
  readAtMs: number;
  isUnread: boolean;
}

/**
 * One look: compares the hours for which the clouds' counts are complete. Starts with the first
 * full hour after creation, because nothing is known of what was billed before. A deployment with
 * more counted than billed time stops its publisher; a cloud that cannot be read stops nobody.
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

/** @returns whether the hour is finished: completely compared, or too long ago */
async function compareHour(gateway: Parts, cloud: Cloud): Promise<boolean> {
  const { name } = cloud.provider;
  const counted = gateway.executions.at(name).filter((one) => !cloud.done.has(one));
  const isProbe = (one: CountedDeployment): boolean => one.functionVersion === undefined;
  const platforms = new Map<string, number>();
  let failed = 0;
  // Compare the probes first: they measure the platform time used for all other deployments of
  // their place.
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

  /**
   * The platform time per call, at most the place's overhead: an honest call is billed for at least
   * its duration minus that overhead.
   */
  function platformOf({ deployment: { region } }: CountedDeployment): number {
    const mostMs = gateway.overheads.of(name, region).ms;
    return Math.min(Math.max(platforms.get(region) ?? mostMs, LEAST_PLATFORM_MS), mostMs);
  }
}

/** @returns undefined if the count could not be read; a later read may succeed */
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
    // The deployment was removed, and its cloud no longer has its metrics.
    if (code === 'PROVIDER_NOT_FOUND') return { count: 0, ms: 0 };
    if (!cloud.isUnread) {
      const { name, region } = deployment;
      gateway.log.warn({ provider, region, name, code, message }, 'metering was not compared');
    }
    cloud.isUnread = true;
    const sinceMs = cloud.readAtMs;
    if (gateway.nowMs() - sinceMs >= UNREAD_MS) {
      const since = new Date(sinceMs).toISOString();
      const why = `the execution counts of ${provider} could not be read since ${since} (${code}: ${message}): billing is not compared with them, check the account's rights there (monitoring.viewer, Monitoring Reader)`;
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
 * Whether a cloud counted too much more than was billed. `own` is rounded as the cloud rounds;
 * `platformMs` is the time per call that the cloud counts beside the function.
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

/** Forgets deleted deployments whose last hour has been compared. */
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
