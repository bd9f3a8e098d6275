// Google Cloud Functions (v2, now called Cloud Run functions): one project as a Provider. The parts
// do the work: control.ts through the official SDK, call.ts by one request with a cached ID token,
// logs.ts and metrics.ts by single requests.

import { createSender } from '../http/send.ts';
import type { Provider, ProviderLimits } from '../provider.ts';
import { createCall } from './call.ts';
import { createControl } from './control.ts';
import { controlError, PROVIDER } from './errors.ts';
import { LIMITS } from './limits.ts';
import { createLogsReader } from './logs.ts';
import { createExecutionMetric } from './metrics.ts';
import { createSdkLoader } from './sdk.ts';
import { createGoogleTokens } from './tokens.ts';

export interface GoogleCloudFunctionsOptions {
  readonly projectId: string;
  /** Id of this gateway. Each of its functions has it as a label. */
  readonly gateway: string;
  readonly regions?: readonly string[];
  /** Lowers the documented limits. */
  readonly limits?: Partial<ProviderLimits>;
  /** Control plane of an emulator, `http://127.0.0.1:P`. The default is Google's. */
  readonly endpoint?: string;
  /** `host:port` of a metadata server that issues the tokens. Default: Google's own search. */
  readonly metadataHost?: string;
  /** Most sockets per function. */
  readonly connections?: number;
  /** Unix time in milliseconds. */
  readonly nowMs?: () => number;
}

/**
 * The functions are private. The gateway calls them with ID tokens of its account, which needs
 * `roles/cloudfunctions.developer`, `roles/iam.serviceAccountUser` and `roles/run.invoker` in the
 * project. `roles/logging.viewer` is for logs, `roles/monitoring.viewer` for the execution metric.
 */
export function createGoogleCloudFunctions(options: GoogleCloudFunctionsOptions): Provider {
  const { projectId, gateway, endpoint, metadataHost, connections } = options;
  const limits: ProviderLimits = { ...LIMITS, ...options.limits };
  const regions = options.regions ?? ['us-central1'];
  const nowMs = options.nowMs ?? Date.now;
  const sender = createSender(connections === undefined ? {} : { connections });
  const { send } = sender;
  const tokens = createGoogleTokens({ projectId, metadataHost, send, nowMs });
  const sdk = createSdkLoader({ projectId, endpoint, auth: tokens.auth });
  const call = createCall({ send, tokens, limits, nowMs });
  const accessToken = async () => (await (await tokens.auth()).getAccessToken()) ?? '';
  const reading = { projectId, endpoint, send, accessToken };
  const readLogs = createLogsReader(reading);

  return {
    name: PROVIDER,
    limits,
    regions,
    executionMetric: createExecutionMetric(reading),
    ...createControl({ projectId, gateway, limits, regions, sdk, send, probe: call.probe }),
    invoke: call.invoke,
    warm: call.probe,

    async logs({ name, region }, query, { signal }) {
      try {
        return await readLogs({ name, region, ...query, signal });
      } catch (error) {
        throw controlError(error, { operation: 'logs', target: name, signal });
      }
    },

    async close() {
      await Promise.all([sdk.close(), sender.close()]);
    },
  };
}
