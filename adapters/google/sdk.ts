// Loads the official SDK on first use, and runs calls of it under a signal and with retries.

import { setTimeout as wait } from 'node:timers/promises';
import type { v2 } from '@google-cloud/functions';
import { controlError, isTemporary } from './errors.ts';
import type { GoogleTokens } from './tokens.ts';

/** The SDK's client of the control plane. */
export type FunctionsApi = v2.FunctionServiceClient;

export interface SdkLoader {
  /** The same client on each call. @throws CredentialsError no credentials were found */
  open(): Promise<FunctionsApi>;
  /** Closes the client if there is one. */
  close(): Promise<void>;
}

/** What an error of a control-plane operation names, and the signal that ends the operation. */
export interface Operation {
  readonly operation: string;
  readonly target: string;
  readonly signal: AbortSignal;
}

/** Most tries of a read, and most writing rounds of a deploy. */
export const MAX_TRIES = 3;
const RETRY_FIRST_MS = 200;
/** Pauses between two polls: the first, the factor of growth, the longest. */
const POLL_FIRST_MS = 100;
const POLL_GROWTH = 1.5;
const POLL_MAX_MS = 2_000;

export function createSdkLoader(options: {
  readonly projectId: string;
  /** Control plane of an emulator. */
  readonly endpoint: string | undefined;
  readonly auth: GoogleTokens['auth'];
}): SdkLoader {
  let opening: Promise<FunctionsApi> | undefined;
  return {
    open() {
      opening ??= openClient(options).catch((error: unknown) => {
        // The next call searches again: the credentials may be there by then.
        opening = undefined;
        throw error;
      });
      return opening;
    },
    async close() {
      const opened = await opening?.catch(() => undefined);
      await opened?.close();
    },
  };
}

async function openClient({
  projectId,
  endpoint,
  auth: findAuth,
}: Parameters<typeof createSdkLoader>[0]): Promise<FunctionsApi> {
  const [{ v2: api }, auth] = await Promise.all([import('@google-cloud/functions'), findAuth()]);
  const url = endpoint === undefined ? undefined : new URL(endpoint);
  return new api.FunctionServiceClient({
    fallback: true,
    projectId,
    auth,
    ...(url && {
      apiEndpoint: url.hostname,
      port: Number(url.port),
      protocol: url.protocol.slice(0, -1),
    }),
  });
}

/** One call of the SDK, ended by the signal. @throws ProviderError */
export async function once<T>(
  sdk: Pick<SdkLoader, 'open'>,
  of: Operation,
  call: (api: FunctionsApi) => Promise<T>,
): Promise<T> {
  try {
    return await abortable(of.signal, async () => call(await sdk.open()));
  } catch (error) {
    throw controlError(error, of);
  }
}

/** A call that changes nothing. Tries again when Google is busy or cannot be reached. */
export async function retried<T>(
  sdk: Pick<SdkLoader, 'open'>,
  of: Operation,
  call: (api: FunctionsApi) => Promise<T>,
): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await once(sdk, of, call);
    } catch (error) {
      if (tries === MAX_TRIES || !isTemporary(error)) throw error;
      await pauseBeforeRetry(tries, of);
    }
  }
}

/** Waits longer after each try. @throws ProviderError PROVIDER_DEADLINE */
export function pauseBeforeRetry(tries: number, of: Operation): Promise<void> {
  return pause(RETRY_FIRST_MS * 2 ** (tries - 1), of);
}

/** Polls with growing pauses until `look` returns true. @throws ProviderError PROVIDER_DEADLINE */
export async function poll(of: Operation, look: () => Promise<boolean>): Promise<void> {
  for (let ms = POLL_FIRST_MS; ; ms = Math.min(ms * POLL_GROWTH, POLL_MAX_MS)) {
    await pause(ms, of);
    if (await look()) return;
  }
}

async function pause(ms: number, of: Operation): Promise<void> {
  try {
    await wait(ms, undefined, { signal: of.signal });
  } catch (error) {
    throw controlError(error, of);
  }
}

/** The SDK takes no signal. Rejects when the signal aborts, whether or not the work has ended. */
export function abortable<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    work()
      .then(resolve, reject)
      .finally(() => signal.removeEventListener('abort', onAbort));
  });
}
