// The part of Azure Monitor that the Azure emulator has: the execution metrics of Flex apps.
// https://learn.microsoft.com/rest/api/monitor/metrics/list

import { type ArmAnswer, type ArmRequest, displayName, failed, idOf, missing } from './resource.ts';
import type { SiteRecord } from './store.ts';

/**
 * The shortest billed time of an instance, and the step above it, ms (Azure Functions pricing, Flex
 * Consumption).
 */
const LEAST_MS = 1_000;
const STEP_MS = 100;
/** Lengths of the supported intervals, ms. */
const INTERVALS_MS: Readonly<Record<string, number>> = { PT1M: 60_000, PT1H: 3_600_000 };
const METRICS: Readonly<
  Record<string, { readonly label: string; readonly of: 'amount' | 'count' }>
> = {
  OnDemandFunctionExecutionUnits: { label: 'On Demand Function Execution Units', of: 'amount' },
  OnDemandFunctionExecutionCount: { label: 'On Demand Function Execution Count', of: 'count' },
};

/**
 * MB-milliseconds of an instance that has executed for `ms`. 0 on the older plan, which has other
 * metrics.
 */
export function unitsOf({ functionAppConfig }: SiteRecord, ms: number): number {
  const sizeMiB = functionAppConfig?.scaleAndConcurrency?.instanceMemoryMB ?? 0;
  return sizeMiB * Math.max(LEAST_MS, Math.ceil(ms / STEP_MS) * STEP_MS);
}

export function listMetrics({ parts, path: [name = ''], url }: ArmRequest): ArmAnswer {
  const site = parts.store.sites.get(name);
  if (!site) return missing(parts, 'sites', name);
  const asked = url.searchParams;
  const refuse = (message: string) => failed(400, 'BadRequest', message);
  const names = (asked.get('metricnames') ?? '').split(',');
  const unknown = names.find((one) => METRICS[one] === undefined || !site.functionAppConfig);
  if (unknown !== undefined) {
    return refuse(
      `Failed to find metric configuration for provider: Microsoft.Web, resource Type: sites, metric: ${unknown}, Valid metrics: ${Object.keys(METRICS)}`,
    );
  }
  const [fromMs = Number.NaN, toMs = Number.NaN] = (asked.get('timespan') ?? '')
    .split('/')
    .map((time) => Date.parse(time));
  const interval = asked.get('interval') ?? 'PT1M';
  const stepMs = INTERVALS_MS[interval];
  if (!(fromMs < toMs)) return refuse('Detected invalid time range input.');
  if (stepMs === undefined) return refuse(`Detected invalid time grain input: ${interval}.`);
  if (asked.get('aggregation') !== 'Total') return refuse('The aggregation is not emulated.');

  const minutes = parts.sums.read(name, fromMs, toMs);
  const data = (of: 'amount' | 'count') =>
    Array.from({ length: Math.ceil((toMs - fromMs) / stepMs) }, (_, index) => {
      const atMs = fromMs + index * stepMs;
      const inside = minutes.filter((one) => one.atMs >= atMs && one.atMs < atMs + stepMs);
      const total = inside.reduce((sum, one) => sum + one[of], 0);
      const timeStamp = new Date(atMs).toISOString();
      return inside.length > 0 ? { timeStamp, total } : { timeStamp };
    });
  const value = names.flatMap((one) => {
    const metric = METRICS[one];
    if (metric === undefined) return [];
    return {
      id: `${idOf(parts, 'sites', name)}/providers/Microsoft.Insights/metrics/${one}`,
      type: 'Microsoft.Insights/metrics',
      name: { value: one, localizedValue: metric.label },
      unit: 'Count',
      timeseries: [{ metadatavalues: [], data: data(metric.of) }],
      errorCode: 'Success',
    };
  });
  return {
    status: 200,
    body: {
      cost: 0,
      timespan: asked.get('timespan'),
      interval,
      namespace: 'Microsoft.Web/sites',
      resourceregion: displayName(site.location),
      value,
    },
  };
}
