// How long a function has executed by Google's own count: Cloud Monitoring's metric of the Cloud Run service behind it. The
// gateway compares it with what it has billed (`broker/deployments/metering-drift.ts`).

import { type Answer, SendError, type Sender } from '../http/send.ts';
import { codeOfStatus } from '../http/status.ts';
import { type ExecutionMetric, type ExecutionTotal, ProviderError } from '../provider.ts';
import { controlError, firstLine, PROVIDER } from './errors.ts';

const ORIGIN = 'https://monitoring.googleapis.com';
const METRIC = 'run.googleapis.com/request_latencies';
const MAX_PAGE_BYTES = 4 * 1024 * 1024;
const MAX_PAGES = 64;

/**
 * Reads `run.googleapis.com/request_latencies` (DELTA, DISTRIBUTION, ms) of resource
 * `cloud_run_revision`: "measured from when the request reaches the running container to when it
 * exits", without the start of the container; requests that reach no container, such as those that
 * are not authorized, are not in it; sampled every 60 s, visible after up to 180 s (Google Cloud
 * metrics list, "run"). Count times mean of a distribution is its sum. It is not rounded, where
 * `container/billable_instance_time` is, to 100 ms of an instance. A function of the second
 * generation is a Cloud Run service of its name.
 *
 * Not certain: whether the metric `cloudfunctions.googleapis.com/function/execution_times`
 * (resource `cloud_function`) also has second-generation functions, so it is not read; how much of
 * the platform's own work before and after the container a latency has (the gateway learns that
 * from its own probe); whether the time of a large body on its way counts (the gateway allows for
 * it).
 *
 * The account needs `roles/monitoring.viewer` in the project.
 * https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.timeSeries/list
 */
export function createExecutionMetric(options: {
  readonly projectId: string;
  /** Of an emulator. */
  readonly endpoint?: string;
  readonly send: Sender['send'];
  /** An access token of the control plane. */
  readonly accessToken: () => Promise<string>;
}): ExecutionMetric {
  async function ask(target: string, query: URLSearchParams, signal: AbortSignal): Promise<Answer> {
    const facts = { provider: PROVIDER, operation: 'metrics', target, ran: 'no' } as const;
    const token = await options.accessToken().catch((error: unknown) => {
      throw controlError(error, { operation: 'metrics', target, signal });
    });
    const answer = await options
      .send(
        {
          origin: options.endpoint ?? ORIGIN,
          method: 'GET',
          path: `/v3/projects/${options.projectId}/timeSeries?${query}`,
          headers: { authorization: `Bearer ${token}` },
          body: new Uint8Array(),
        },
        { signal, maxResponseBytes: MAX_PAGE_BYTES },
      )
      .catch((cause: unknown) => {
        if (!(cause instanceof SendError)) throw cause;
        const code = cause.reason === 'aborted' ? 'PROVIDER_DEADLINE' : 'PROVIDER_CONNECTION';
        throw new ProviderError(code, `metrics of ${target}: ${cause.message}`, {
          ...facts,
          cause,
        });
      });
    const { status } = answer;
    if (status === 200) return answer;
    const told = record(record(parse(answer.body)).error).message;
    const why = typeof told === 'string' ? firstLine(told) : `status ${status}`;
    throw new ProviderError(codeOfStatus(status), `${why}, on metrics of ${target}`, {
      ...facts,
      status,
    });
  }

  return {
    leastMs: 0,
    stepMs: 1,
    // 180 s, and as much again.
    delayMs: 360_000,
    skewMs: 60_000,
    async read({ name, region }, { fromMs, toMs }, { signal }) {
      const query = new URLSearchParams({
        filter: [
          `metric.type="${METRIC}"`,
          'resource.type="cloud_run_revision"',
          `resource.labels.service_name="${name}"`,
          `resource.labels.location="${region}"`,
        ].join(' AND '),
        'interval.startTime': new Date(fromMs).toISOString(),
        'interval.endTime': new Date(toMs).toISOString(),
        'aggregation.alignmentPeriod': `${(toMs - fromMs) / 1000}s`,
        'aggregation.perSeriesAligner': 'ALIGN_DELTA',
        'aggregation.crossSeriesReducer': 'REDUCE_SUM',
      });
      let total: ExecutionTotal = { count: 0, ms: 0 };
      for (let page = 0; page < MAX_PAGES; page += 1) {
        const { timeSeries, nextPageToken } = record(parse((await ask(name, query, signal)).body));
        total = added(total, timeSeries, name);
        if (typeof nextPageToken !== 'string' || nextPageToken === '') break;
        query.set('pageToken', nextPageToken);
      }
      return total;
    },
  };
}

/** @throws ProviderError PROVIDER_PROTOCOL  a point is no distribution */
function added(total: ExecutionTotal, timeSeries: unknown, target: string): ExecutionTotal {
  let { count, ms } = total;
  for (const series of list(timeSeries)) {
    for (const point of list(record(series).points)) {
      const distribution = record(record(record(point).value).distributionValue);
      // An int64 is a string in JSON, and a member that is 0 may be left out (proto3).
      const number = Number(distribution.count ?? 0);
      const mean = Number(distribution.mean ?? 0);
      if (!(number >= 0 && mean >= 0)) {
        const facts = { provider: PROVIDER, operation: 'metrics', target, ran: 'no' } as const;
        const message = `a point of ${METRIC} is no distribution, on metrics of ${target}`;
        throw new ProviderError('PROVIDER_PROTOCOL', message, facts);
      }
      count += number;
      ms += number * mean;
    }
  }
  return { count, ms };
}

function parse(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString());
  } catch {
    // Told by the status.
    return undefined;
  }
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null
    ? Object.fromEntries(Object.entries(value))
    : {};
}
