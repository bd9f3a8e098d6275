// What this gateway knows of the executions that a cloud counts too, by deployment and hour: what was billed, rounded as that
// cloud rounds, so that its own count can be compared (`deployments/metering-drift.ts`). In memory: an hour that a restart has cut is
// not compared.
import type {
  Deployment,
  ExecutionMetric,
  ExecutionTotal,
  Provider,
  ProviderName,
} from '../../adapters/provider.ts';
import type { Hex } from '../../contracts/libraries/keccak.ts';

export const HOUR_MS = 3_600_000;
/** Hours kept of a deployment; one that the cloud has not told by then is not compared. */
export const KEPT_HOURS = 8;
/** As the sender does with a slow request, it is taken that bytes go at 100 Mbit/s at least. */
const LEAST_BYTES_PER_MS = 12_500;

/** One execution: a call, a probe, or one that keeps an instance warm. */
export interface Run {
  /** Unix times before the request was made and when all was over, ms. */
  readonly startedMs: number;
  readonly endedMs: number;
  /** What was billed, or what it would have been, ms. */
  readonly ms: number;
  /** Bytes of both bodies: while they are on their way a cloud may count an execution already, or still. */
  readonly bodyBytes?: number;
}

type CountedName = Pick<Deployment, 'name' | 'region' | 'memoryMiB'>;

/** Of one deployment. */
export interface ExecutionCount {
  add(run: Run): void;
}

/** A deployment of a cloud that counts, with what was counted here. */
export interface CountedDeployment {
  readonly metric: ExecutionMetric;
  readonly deployment: CountedName;
  /** Undefined: the gateway's own probe. */
  readonly functionVersion: Hex | undefined;
  /** Of the hour that begins then. */
  hour(fromMs: number): ExecutionTotal;
}

export interface Executions {
  /** The same one for a deployment as long as it is known; undefined where the cloud does not count. */
  of(
    provider: Pick<Provider, 'name' | 'executionMetric'>,
    deployment: CountedName,
    functionVersion?: Hex,
  ): ExecutionCount | undefined;
  at(provider: ProviderName): readonly CountedDeployment[];
  /** It is not there any more, and what it has had was compared. */
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
      // What was counted stays through a change of the deployment.
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
      // Near the hour's border the cloud may have it on the other side: it counts on both, so that none is missed here.
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

/** Where the hour begins that a Unix time lies in, ms. */
export function hourOf(atMs: number): number {
  return Math.floor(atMs / HOUR_MS) * HOUR_MS;
}
