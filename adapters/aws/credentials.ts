// The credentials that sign a call: the configured ones, or those of the SDK's chain.

import type { Fail } from './errors.ts';
import type { SdkLoader } from './sdk.ts';
import type { AwsCredentials } from './signature.ts';

/** Renew this long before the credentials expire. */
const MARGIN_MS = 5 * 60 * 1000;

/** @throws ProviderError PROVIDER_UNAUTHENTICATED  no source of the SDK's chain has credentials */
export type CredentialsSource = (fail: Fail) => Promise<AwsCredentials>;

/** Loads the SDK only when no credentials are configured, or when those of its chain expire. */
export function createCredentialsSource(parts: {
  readonly configured: AwsCredentials | undefined;
  readonly sdk: Pick<SdkLoader, 'open'>;
  /** Unix time in milliseconds. */
  readonly clock: () => number;
}): CredentialsSource {
  let current = parts.configured;
  return async (fail) => {
    const endMs = current?.expiration?.getTime() ?? Number.POSITIVE_INFINITY;
    if (current && endMs - parts.clock() > MARGIN_MS) return current;
    try {
      const { client } = await parts.sdk.open();
      current = await client.config.credentials();
      return current;
    } catch (cause) {
      throw fail('PROVIDER_UNAUTHENTICATED', 'no', 'no credentials found', { cause });
    }
  };
}
