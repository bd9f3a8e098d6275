// Reads from Cloud Monitoring how long a function has executed. The gateway compares that with what
// it has billed (`broker/deployments/metering-drift.ts`).

import { type ExecutionMetric, type ExecutionTotal, ProviderError } from '../provider.ts';
import { about } from './errors.ts';
import { listOf, objectOf, type ReadParts, read } from './read.ts';

const ORIGIN = 'https://monitoring.googleapis.com';
const METRIC = 'run.googleapis.com/request_latencies';
const MAX_PAGE_BYTES = 4 * 1024 * 1024;
const MAX_PAGES = 64;

/**
 * Reads `run.googleapis.com/request_latencies` (DELTA, DISTRIBUTION, ms) of resource
 * `cloud_run_revision` (Google Cloud metrics list, "run"). Its time is "measured from when the
 * request reaches the running container to when it exits". It excludes the start of the container.
 * Requests that reach no container, such as unauthorized ones, are not counted. It is sampled every
 * 60 s and visible after up to 180 s. Count times mean of a distribution is its sum. It is not
 * rounded, whereas `container/billable_instance_time` is rounded to 100 ms of an instance. A
 * function of the second generation is a Cloud Run service of the same name.
 *
 * Open questions:
 * - Whether `cloudfunctions.googleapis.com/function/execution_times` (resource `cloud_function`)
 *   covers second-generation functions. It is not read.
 * - How much of the platform's own work before and after the container a latency contains. The
 *   gateway learns that from its own probe.
 * - Whether the time of transferring a large body counts. The gateway allows for it.
 *
 * The account needs `roles/monitoring.viewer` in the project.
 * https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.timeSeries/list
 */
export function createExecutionMetric(parts: ReadParts): ExecutionMetric {
  return {
    leastMs: 0,
    stepMs: 1,
    // Twice the documented 180 s.
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
        const { timeSeries, nextPageToken } = await read(parts, {
          ...{ operation: 'metrics', target: name, signal, origin: ORIGIN },
          path: `/v3/projects/${parts.projectId}/timeSeries?${query}`,
          maxBytes: MAX_PAGE_BYTES,
        });
        total = added(total, timeSeries, name);
        if (typeof nextPageToken !== 'string' || nextPageToken === '') break;
        query.set('pageToken', nextPageToken);
      }
      return total;
    },
  };
}

/** @throws ProviderError PROVIDER_PROTOCOL  a point is not a distribution */
function added(total: ExecutionTotal, timeSeries: unknown, target: string): ExecutionTotal {
  let { count, ms } = total;
  for (const series of listOf(timeSeries)) {
    for (const point of listOf(objectOf(series).points)) {
      const distribution = objectOf(objectOf(objectOf(point).value).distributionValue);
      // In JSON an int64 is a string, and a member whose value is 0 may be missing (proto3).
      const number = Number(distribution.count ?? 0);
      const mean = Number(distribution.mean ?? 0);
      if (!(number >= 0 && mean >= 0)) {
        const message = `a point of ${METRIC} is no distribution, on metrics of ${target}`;
        throw new ProviderError('PROVIDER_PROTOCOL', message, about('metrics', target));
      }
      count += number;
      ms += number * mean;
    }
  }
  return { count, ms };
}
