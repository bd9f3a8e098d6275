// Sends one call of a function: one signed request on a pooled connection, never a second one.

import type { Sender } from '../http/send.ts';
import type { Deployment, InvokeResult } from '../provider.ts';
import type { CredentialsSource } from './credentials.ts';
import { createFail, sendFailure } from './errors.ts';
import {
  createRequestSigner,
  MAX_ANSWER_BYTES,
  MAX_PAYLOAD_BYTES,
  readAnswer,
} from './invocation.ts';

/** The alias that every call goes to. A deploy moves it to the new version as its last step. */
export const ALIAS = 'live';
const QUERY = `Qualifier=${ALIAS}`;

/** @throws ProviderError  the payload is too large, or the API gave no result */
export type Call = (
  deployment: Deployment,
  payload: Uint8Array,
  signal: AbortSignal,
) => Promise<InvokeResult>;

export function createCall(parts: {
  /** Origin of the Lambda API. */
  readonly origin: string;
  readonly region: string;
  readonly send: Sender['send'];
  readonly credentials: CredentialsSource;
  /** Unix time in milliseconds. */
  readonly clock: () => number;
  /** Receives usage that was disputed. */
  readonly log: ((message: string, fields: Readonly<Record<string, unknown>>) => void) | undefined;
}): Call {
  const { origin, region, send, credentials, clock, log } = parts;
  const sign = createRequestSigner(origin, region);
  return async (deployment, payload, signal) => {
    const { name } = deployment;
    const fail = createFail(region, 'invoke', name);
    if (payload.length > MAX_PAYLOAD_BYTES) {
      const what = `payload is ${payload.length} bytes, limit ${MAX_PAYLOAD_BYTES}`;
      throw fail('PROVIDER_TOO_LARGE', 'no', what);
    }
    const signer = await credentials(fail);
    // Sign for the configured origin, not for the deployment's URL: an emulator that restarts
    // listens on another port.
    const signed = sign(pathOf(name), QUERY, payload, signer, clock());
    const options = { signal, maxResponseBytes: MAX_ANSWER_BYTES };
    const answer = await send(signed, options).catch((error: unknown) => {
      throw sendFailure(error, fail);
    });
    const result = readAnswer(answer, deployment, clock());
    if ('code' in result) {
      const { code, ran, message, retryAfterMs } = result;
      throw fail(code, ran, message, { status: answer.status, retryAfterMs });
    }
    if (result.usage.disputed) log?.('usage disputed', { name, ...result.usage });
    return result;
  };
}

/** The URL that a call of the function is sent to. */
export function invokeUrl(origin: string, name: string): string {
  return `${origin}${pathOf(name)}?${QUERY}`;
}

/**
 * A payload that `shims/aws.mjs` answers itself after `holdMs`, without the publisher's handler.
 * No payload of a call has this member at its top level.
 */
export function probePayload(holdMs: number): Buffer {
  return Buffer.from(JSON.stringify({ 'x-defaas-probe': holdMs }));
}

function pathOf(name: string): string {
  return `/2015-03-31/functions/${name}/invocations`;
}
