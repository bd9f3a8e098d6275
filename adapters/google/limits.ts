// What Cloud Run functions accept. Checked before the first request.

import type { ProviderLimits } from '../provider.ts';

const MiB = 1024 * 1024;

/**
 * Cloud Run functions quotas (Google Cloud documentation, 2026-11). The sizes of the package and of
 * the environment are those of the first generation.
 */
export const LIMITS: ProviderLimits = {
  maxRequestBytes: 32 * MiB,
  maxResponseBytes: 32 * MiB,
  maxTimeoutMs: 3_600_000,
  minMemoryMiB: 128,
  maxMemoryMiB: 32_768,
  maxPackageBytes: 100 * MiB,
  maxUnpackedBytes: 500 * MiB,
  maxEnvBytes: 32 * 1024,
  // Google publishes no figure. Published measurements of Node functions lie between 0.5 and 3 s
  // (mikhail.io/serverless/coldstarts/gcp).
  coldStartMs: 3000,
};
