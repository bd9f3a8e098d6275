// AWS Lambda: one region of one account as a Provider. The parts do the work: control.ts through
// the official SDK, call.ts by one signed request on a pooled connection, logs.ts.

import { createSender } from '../http/send.ts';
import type { Provider } from '../provider.ts';
import { createCall, probePayload } from './call.ts';
import { createControl } from './control.ts';
import { createCredentialsSource } from './credentials.ts';
import { createFail, PROVIDER, sendFailure } from './errors.ts';
import { toPayload } from './invocation.ts';
import { LIMITS } from './limits.ts';
import { createLogsReader } from './logs.ts';
import { createSdkLoader } from './sdk.ts';

export interface AwsLambdaOptions {
  readonly region: string;
  /** URL of an emulator. The default is the region's own endpoint. */
  readonly endpoint?: string;
  /** Default: the SDK's chain (environment, shared files, SSO, web identity, ECS, IMDS). */
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string };
  /** The role that the functions run as. A deploy needs it, except on an emulator. */
  readonly roleArn?: string;
  /** Id of this gateway, for the tags. */
  readonly gateway: string;
  /** Unix time in milliseconds. */
  readonly clock?: () => number;
  /** Receives usage that was disputed. */
  readonly log?: (message: string, fields: Readonly<Record<string, unknown>>) => void;
}

export function createAwsLambda(options: AwsLambdaOptions): Provider {
  const { region, endpoint, gateway, roleArn, log, clock = Date.now } = options;
  const origin = endpoint ?? originOf(region);
  const isEmulator = endpoint !== undefined;
  const sender = createSender();
  const { send } = sender;
  const sdk = createSdkLoader(options);
  const credentials = createCredentialsSource({ configured: options.credentials, sdk, clock });
  const call = createCall({ origin, region, send, credentials, clock, log });
  // An emulator serves both Lambda and CloudWatch Logs at its one address.
  const logsOrigin = endpoint ?? origin.replace('//lambda.', '//logs.');
  const readLogs = createLogsReader({ origin: logsOrigin, region, send, clock });

  return {
    name: PROVIDER,
    limits: LIMITS,
    regions: [region],
    ...createControl({ origin, region, gateway, roleArn, isEmulator, sdk, call, clock }),

    async invoke(deployment, request, { signal }) {
      if (request.body.length > LIMITS.maxRequestBytes) {
        const what = `body is ${request.body.length} bytes, limit ${LIMITS.maxRequestBytes}`;
        throw createFail(region, 'invoke', deployment.name)('PROVIDER_TOO_LARGE', 'no', what);
      }
      return call(deployment, toPayload(request), signal);
    },

    async warm(deployment, { holdMs, signal }) {
      const result = await call(deployment, probePayload(holdMs), signal);
      if (result.ok) return;
      const what = `${result.error.type}: ${result.error.message}`.slice(0, 256);
      throw createFail(region, 'warm', deployment.name)('PROVIDER_UNAVAILABLE', 'maybe', what);
    },

    async logs({ name }, query, { signal }) {
      const fail = createFail(region, 'logs', name);
      const signer = await credentials(fail);
      const read = await readLogs({ name, ...query, signal }, signer).catch((error: unknown) => {
        throw sendFailure(error, fail);
      });
      if (!('code' in read)) return read;
      throw fail(read.code, 'no', read.message, { status: read.status });
    },

    async close() {
      await sender.close();
      await sdk.close();
    },
  };
}

function originOf(region: string): string {
  return `https://lambda.${region}.amazonaws.com${region.startsWith('cn-') ? '.cn' : ''}`;
}
