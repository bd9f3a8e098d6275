// Reads from Azure Monitor how long an app on Flex Consumption has executed. The gateway compares
// that with what it has billed (`broker/deployments/metering-drift.ts`).

import type { UpstreamResponse } from '../http/send.ts';
import { type ExecutionMetric, ProviderError } from '../provider.ts';
import { about, guard, statusError } from './errors.ts';
import { instanceMiB } from './limits.ts';

const UNITS = 'OnDemandFunctionExecutionUnits';
const COUNT = 'OnDemandFunctionExecutionCount';
const API_VERSION = '2023-10-01';

/**
 * Reads `OnDemandFunctionExecutionUnits`, the "total MB-milliseconds from on demand instances while
 * actively executing functions", and `OnDemandFunctionExecutionCount` (Microsoft Learn, "Estimating
 * consumption-based costs in Azure Functions"). The bill's meter is the units divided by 1 024 000,
 * so the units are assumed to be rounded as the bill is: at least 1,000 ms, then steps of 100 ms
 * (Azure Functions pricing). An instance has a known size, so units divided by that size are
 * milliseconds. Executions that overlap in one instance are counted once: the metric can be below
 * the sum of the executions, never above it.
 *
 * Open questions:
 * - Whether the metric is rounded, or only the bill. In the second case the metric is smaller than
 *   the gateway's figure, and less drift shows.
 * - By how many minutes a point can be late.
 *
 * Apps of the older Consumption plan are not read: their `FunctionExecutionUnits` depend on the
 * memory observed, in steps of 128 MB, which Azure does not report.
 *
 * The account needs `Monitoring Reader` on the resource group.
 * https://learn.microsoft.com/rest/api/monitor/metrics/list
 */
export function createExecutionMetric(options: {
  /** URL of the apps in Azure Resource Manager, ends with `/sites`. */
  readonly site: string;
  /** Sends a request that is signed as control calls are. */
  readonly get: (
    url: string,
    signal: AbortSignal,
  ) => Promise<Pick<UpstreamResponse, 'status' | 'headers' | 'body'>>;
}): ExecutionMetric {
  return {
    leastMs: 1_000,
    stepMs: 100,
    // Points come within minutes. Azure documents no upper bound.
    delayMs: 900_000,
    skewMs: 180_000,
    read: ({ name, memoryMiB }, { fromMs, toMs }, { signal }) =>
      guard('metrics', name, signal, async () => {
        const query = new URLSearchParams({
          'api-version': API_VERSION,
          metricnamespace: 'Microsoft.Web/sites',
          metricnames: `${UNITS},${COUNT}`,
          timespan: `${new Date(fromMs).toISOString()}/${new Date(toMs).toISOString()}`,
          interval: 'PT1M',
          aggregation: 'Total',
        });
        const url = `${options.site}/${name}/providers/Microsoft.Insights/metrics?${query}`;
        const answer = await options.get(url, signal);
        if (answer.status !== 200) throw statusError('metrics', name, answer);
        const totals = totalsIn(answer.body, name);
        const count = totals.get(COUNT) ?? 0;
        return { count, ms: (totals.get(UNITS) ?? 0) / instanceMiB(memoryMiB, 'flex') };
      }),
  };
}

/** Totals by the metric's name. A minute without executions has none. @throws PROVIDER_PROTOCOL */
function totalsIn(body: Buffer, name: string): ReadonlyMap<string, number> {
  const totals = new Map<string, number>();
  try {
    for (const metric of JSON.parse(body.toString()).value) {
      let sum = 0;
      for (const { data } of metric.timeseries) {
        for (const { total } of data) sum += Number(total ?? 0);
      }
      if (!(sum >= 0)) throw new TypeError('a total is no number');
      totals.set(String(metric.name.value), sum);
    }
  } catch (cause) {
    const message = `the answer is no list of metrics, on metrics of ${name}`;
    throw new ProviderError('PROVIDER_PROTOCOL', message, { ...about('metrics', name), cause });
  }
  return totals;
}
