// What a function on this machine may take: Lambda's limits, so that what runs here also runs
// there.

import { totalmem } from 'node:os';
import type { ProviderLimits } from '../provider.ts';

export const REGION = 'local';
export const MIB = 1024 * 1024;

export const LIMITS: ProviderLimits = {
  maxRequestBytes: 6 * MIB,
  maxResponseBytes: 6_291_556,
  maxTimeoutMs: 900_000,
  minMemoryMiB: 64,
  maxMemoryMiB: Math.floor(totalmem() / MIB),
  maxPackageBytes: 52_428_800,
  maxUnpackedBytes: 262_144_000,
  maxEnvBytes: 4096,
  // The gateway measures an instance itself, from outside and without its start.
  coldStartMs: 0,
};
