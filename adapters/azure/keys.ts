// The host keys that calls carry. Reads them from the control plane, and reads one again when a
// call shows that the cloud has changed it.

import { setTimeout as wait } from 'node:timers/promises';
import { guard, protocolError, statusOf } from './errors.ts';
import type { SdkLoader } from './sdk.ts';

export interface KeysParts {
  readonly sdk: Pick<SdkLoader, 'open'>;
  readonly resourceGroup: string;
  /** Pause between two reads of a key that is not there yet. */
  readonly pollMs: number | undefined;
  /** Monotonic clock in milliseconds. */
  readonly nowMs: () => number;
}

export interface Keys {
  /** The host key of the app's default function keys. Waits until the app has one. */
  read(name: string, signal: AbortSignal): Promise<string>;
  /** The key that replaced the deployment's. Undefined while no call has refused that one. */
  renewed(url: string): Promise<string> | undefined;
  /** Reads the key of the app at `url` again, for `renewed` to return. @throws ProviderError */
  renew(name: string, url: string, signal: AbortSignal): Promise<string>;
}

/** Longest wait for the first key of a new app. */
const READY_MS = 120_000;
const POLL_MS = 2000;

export function createKeys(parts: KeysParts): Keys {
  const renewed = new Map<string, Promise<string>>();
  return {
    read: (name, signal) => readKey(parts, name, signal),
    renewed: (url) => renewed.get(url),
    renew(name, url, signal) {
      const reading = guard('invoke', name, signal, () => readKey(parts, name, signal));
      renewed.set(url, reading);
      reading.catch(() => renewed.delete(url));
      return reading;
    },
  };
}

/** A new app has no key until its host has started once. */
async function readKey(parts: KeysParts, name: string, signal: AbortSignal): Promise<string> {
  const { sdk, resourceGroup, pollMs, nowMs } = parts;
  const { client } = await sdk.open();
  const untilMs = nowMs() + READY_MS;
  for (;;) {
    try {
      const options = { abortSignal: signal };
      const keys = await client.webApps.listHostKeys(resourceGroup, name, options);
      const key = keys.functionKeys?.default ?? keys.masterKey;
      if (key) return key;
    } catch (error) {
      // Status 400 or 5xx: the host that keeps the keys has not started yet.
      const status = statusOf(error) ?? 0;
      if (nowMs() > untilMs || (status !== 400 && status < 500)) throw error;
    }
    if (nowMs() > untilMs) throw protocolError('deploy', name, 'the app has no host key');
    await wait(pollMs ?? POLL_MS, undefined, { signal });
  }
}
