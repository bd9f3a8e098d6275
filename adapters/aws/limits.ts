// What Lambda accepts. Checked before the first request; see
// https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html

import type { ProviderLimits } from '../provider.ts';

export const LIMITS: ProviderLimits = {
  // Payloads are JSON of at most 6,291,456 bytes (Lambda quotas). A body that is no text is base64
  // in it, a third longer, and headers stand beside it.
  maxRequestBytes: 4_600_000,
  maxResponseBytes: 4_600_000,
  maxTimeoutMs: 900_000,
  minMemoryMiB: 128,
  maxMemoryMiB: 10_240,
  // The package limits are the figures that the API's own errors name.
  maxPackageBytes: 52_428_800,
  maxUnpackedBytes: 262_144_000,
  maxEnvBytes: 4096,
  // "from under 100 ms to over 1 second" (Lambda operator guide, execution environments).
  // The init phase itself is billed and stands in the REPORT line.
  coldStartMs: 1000,
};
