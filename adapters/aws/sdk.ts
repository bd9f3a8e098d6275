// Loads the official SDK on first use and keeps one client of it.

import type { LambdaClient } from '@aws-sdk/client-lambda';

export type Sdk = typeof import('@aws-sdk/client-lambda');

/** The SDK's module and a client for one region. */
export interface LambdaApi {
  readonly sdk: Sdk;
  readonly client: LambdaClient;
}

export interface SdkLoader {
  /** The same client on each call. */
  open(): Promise<LambdaApi>;
  /** Destroys the client if there is one. */
  close(): Promise<void>;
}

/**
 * Loading the SDK takes a third of a second. Only a deploy, a removal, a list and the SDK's own
 * credential chain need it, so a gateway that just calls functions never loads it.
 */
export function createSdkLoader(options: {
  readonly region: string;
  readonly endpoint?: string;
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string };
}): SdkLoader {
  const { region, endpoint, credentials } = options;
  let opened: Promise<LambdaApi> | undefined;
  return {
    open() {
      opened ??= import('@aws-sdk/client-lambda').then((sdk) => {
        const client = new sdk.LambdaClient({
          region,
          maxAttempts: 3,
          ...(endpoint !== undefined && { endpoint }),
          ...(credentials && { credentials }),
        });
        return { sdk, client };
      });
      return opened;
    },
    async close() {
      (await opened)?.client.destroy();
    },
  };
}

/** The answer, or undefined when the API says ResourceNotFoundException. */
export async function orMissing<T>(sdk: Sdk, answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof sdk.ResourceNotFoundException) return undefined;
    throw error;
  }
}
