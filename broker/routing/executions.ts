// Counts executions by deployment and hour, for comparison with the cloud's own count
// (`deployments/metering-drift.ts`): the billed time, rounded as that cloud rounds. Kept in memory:
// an hour interrupted by a restart is not compared.
import { LEAST_BYTES_PER_MS } from '../../adapters/http/send.ts';
import type {
  Deployment,
  ExecutionMetric,
  ExecutionTotal,
  Provider,
  ProviderName,
} from '../../adapters/provider.ts';
import type { Hex } from '../../contracts/libraries/keccak.ts';

export const HOUR_MS = 3_600_000;
/** Hours kept per deployment; an hour that the cloud has not reported by then is not compared. */
export const KEPT_HOURS = 8;

/** One execution: a call, a probe or a keep-warm request. */
export interface Run {
  /** Unix time before the request was made, and after the answer was complete, ms. */
  readonly startedMs: number;
  readonly endedMs: number;
  /** Time that was billed, or would have been, ms. */
  readonly ms: number;
  /** Size of both bodies, bytes. A cloud may count the time of their transfer as execution. */
  readonly bodyBytes?: number;
}

type CountedName = Pick<Deployment, 'name' | 'region' | 'memoryMiB'>;

/** Counts the executions of one deployment. */
export interface ExecutionCount {
  add(run: Run): void;
}

/** A deployment whose cloud reports its own count, with this gateway's count. */
export interface CountedDeployment {
  readonly metric: ExecutionMetric;
  readonly deployment: CountedName;
  /** Undefined for the gateway's own probe function. */
  readonly functionVersion: Hex | undefined;
  /** Total of the hour that begins at `fromMs`. */
  hour(fromMs: number): ExecutionTotal;
}

export interface Executions {
  /**
   * Returns the same object for a deployment while it is known; undefined if the cloud reports no
   * count.
   */
  of(
    provider: Pick<Provider, 'name' | 'executionMetric'>,
    deployment: CountedName,
    functionVersion?: Hex,
  ): ExecutionCount | undefined;
  at(provider: ProviderName): readonly CountedDeployment[];
  /** Forgets a deployment that is deleted and whose hours have been compared. */
  forget(provider: ProviderName, of: Pick<Deployment, 'name' | 'region'>): void;
}

interface Counted extends CountedDeployment, ExecutionCount {
  readonly provider: ProviderName;
  deployment: CountedName;
}

export function createExecutions(): Executions {
  const known = new Map<string, Counted>();
  const keyOf = (provider: ProviderName, of: Pick<Deployment, 'name' | 'region'>): string =>
    `${provider} ${of.region} ${of.name}`;
  return {
    of: ({ name: provider, executionMetric: metric }, deployment, functionVersion) => {
      if (metric === undefined) return undefined;
      const { name, region, memoryMiB } = deployment;
      const key = keyOf(provider, deployment);
      const counted = known.get(key) ?? {
        ...{ provider, metric, functionVersion, deployment },
        ...createCount(metric),
      };
      // Keep the counts when the deployment changes.
      counted.deployment = { name, region, memoryMiB };
      known.set(key, counted);
      return counted;
    },
    at: (provider) => [...known.values()].filter((one) => one.provider === provider),
    forget: (provider, of) => void known.delete(keyOf(provider, of)),
  };
}

function createCount({
  leastMs,
  stepMs,
  skewMs,
}: Pick<ExecutionMetric, 'leastMs' | 'stepMs' | 'skewMs'>): Pick<Counted, 'add' | 'hour'> {
  const hours = new Map<number, { count: number; ms: number }>();
  return {
    add: ({ startedMs, endedMs, ms, bodyBytes = 0 }) => {
      const onItsWayMs = bodyBytes / LEAST_BYTES_PER_MS;
      const wholeMs = Math.max(ms, Math.min(ms + onItsWayMs, endedMs - startedMs));
      const rounded = Math.max(leastMs, Math.ceil(wholeMs / stepMs) * stepMs);
      // Near an hour's boundary the cloud may count the execution in either hour. Count it in both,
      // so that this gateway's count is never the smaller one for that reason.
      const last = hourOf(endedMs + skewMs);
      for (let hour = hourOf(startedMs - skewMs); hour <= last; hour += HOUR_MS) {
        const total = hours.get(hour);
        if (total === undefined) {
          hours.set(hour, { count: 1, ms: rounded });
          if (hours.size > KEPT_HOURS) hours.delete(Math.min(...hours.keys()));
        } else {
          total.count += 1;
          total.ms += rounded;
        }
      }
    },
    hour: (fromMs) => hours.get(fromMs) ?? { count: 0, ms: 0 },
  };
}

/** Start of the hour that contains a Unix time, ms. */
export function hourOf(atMs: number): number {
  return Math.floor(atMs / HOUR_MS) * HOUR_MS;
}
