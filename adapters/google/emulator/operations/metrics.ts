// The part of Cloud Monitoring that the Google emulator has: the request latencies of each
// function, and `timeSeries.list` to read them.
// https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.timeSeries/list

import type { ExecutionSum, ExecutionSums } from '../../../emulators/executions.ts';

const METRIC = 'run.googleapis.com/request_latencies';
const RESOURCE = 'cloud_run_revision';
/** The supported clauses of a filter. AND joins them. */
const CLAUSES = {
  metric: /^metric\.type ?= ?"(.+)"$/,
  resource: /^resource\.type ?= ?"(.+)"$/,
  service: /^resource\.labels?\.service_name ?= ?"([\w-]{1,63})"$/,
  location: /^resource\.labels?\.location ?= ?"(.+)"$/,
} as const;
type Clause = keyof typeof CLAUSES;

/** The body of the answer, or why the request is invalid. Aligns over the whole interval only. */
export function listTimeSeries(
  query: URLSearchParams,
  { sums, projectId }: { readonly sums: ExecutionSums; readonly projectId: string },
): object | { readonly refusal: string } {
  const filter = parseFilter(query.get('filter') ?? '');
  if (filter?.metric === undefined) {
    return { refusal: "The 'filter' argument must specify a single metric type." };
  }
  const { metric, resource, service, location = '' } = filter;
  const fromMs = Date.parse(query.get('interval.startTime') ?? '');
  const toMs = Date.parse(query.get('interval.endTime') ?? '');
  if (!(fromMs < toMs)) return { refusal: 'Field interval.startTime had an invalid value.' };
  const asked = ['alignmentPeriod', 'perSeriesAligner', 'crossSeriesReducer'].map((name) =>
    query.get(`aggregation.${name}`),
  );
  if (`${asked}` !== `${[`${(toMs - fromMs) / 1000}s`, 'ALIGN_DELTA', 'REDUCE_SUM']}`) {
    return { refusal: `The aggregation ${asked} is not emulated.` };
  }
  const isOurs = metric === METRIC && (resource ?? RESOURCE) === RESOURCE;
  const minutes = isOurs && service !== undefined ? sums.read(service, fromMs, toMs) : [];
  if (minutes.length === 0) return { unit: 'ms' };
  return {
    timeSeries: [
      {
        metric: { type: METRIC },
        resource: { type: RESOURCE, labels: { project_id: projectId, location } },
        metricKind: 'DELTA',
        valueType: 'DISTRIBUTION',
        points: [
          {
            interval: {
              startTime: new Date(fromMs).toISOString(),
              endTime: new Date(toMs).toISOString(),
            },
            value: { distributionValue: distributionOf(minutes) },
          },
        ],
      },
    ],
    unit: 'ms',
  };
}

/** An int64 is a string (proto3's JSON). */
function distributionOf(minutes: readonly ExecutionSum[]) {
  const count = minutes.reduce((sum, one) => sum + one.count, 0);
  const amount = minutes.reduce((sum, one) => sum + one.amount, 0);
  return { count: `${count}`, mean: count === 0 ? 0 : amount / count };
}

function parseFilter(filter: string): Partial<Record<Clause, string>> | undefined {
  const found: Partial<Record<Clause, string>> = {};
  for (const clause of filter.split(/ AND |\n/).map((part) => part.trim())) {
    const known = Object.entries(CLAUSES).find(([, form]) => form.test(clause));
    if (!known) return undefined;
    // Safe: it is a name of CLAUSES.
    found[known[0] as Clause] = known[1].exec(clause)?.[1] ?? '';
  }
  return found;
}
