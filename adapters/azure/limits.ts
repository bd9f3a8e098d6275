// What the two plans of Azure Functions accept. Checked before the first request.

import type { ProviderLimits } from '../provider.ts';

/** Flex Consumption, or the older Consumption plan on Linux. */
export type PlanKind = 'flex' | 'y1';

const MiB = 1024 * 1024;
/** Sizes of a Flex Consumption instance, MiB (Flex Consumption plan, "Instance sizes"). */
const FLEX_INSTANCE_MIB = [512, 2048, 4096];
/** Memory of a Consumption (Y1) instance, MiB (scale and hosting, "Service limits"). */
const Y1_INSTANCE_MIB = 1536;

/** Size of the smallest instance that has the wanted memory, MiB. */
export function instanceMiB(memoryMiB: number, planKind: PlanKind): number {
  if (planKind === 'y1') return Y1_INSTANCE_MIB;
  return FLEX_INSTANCE_MIB.find((size) => size >= memoryMiB) ?? memoryMiB;
}

/** "Service limits" is a section of Microsoft's page "Azure Functions scale and hosting". */
export function limitsOf(
  planKind: PlanKind,
  lowered: Partial<ProviderLimits> = {},
): ProviderLimits {
  return {
    // HTTP request size (Service limits).
    maxRequestBytes: 100 * MiB,
    // Azure documents no limit. This is the limit of the shim.
    maxResponseBytes: 32 * MiB,
    // The load balancer ends a call after 230 s (Service limits); the shim answers before that.
    maxTimeoutMs: 229_000,
    minMemoryMiB: 1,
    maxMemoryMiB: planKind === 'flex' ? Math.max(...FLEX_INSTANCE_MIB) : Y1_INSTANCE_MIB,
    // Azure documents no limits of the package. These are our own.
    maxPackageBytes: 256 * MiB,
    maxUnpackedBytes: 512 * MiB,
    maxEnvBytes: 32 * 1024,
    // Azure publishes no figure. "Typical cold start latency spans from 1 to 3 seconds"
    // (mikhail.io/serverless/coldstarts/azure).
    coldStartMs: 3000,
    ...lowered,
  };
}
