// Azure Functions: one resource group as a Provider. The parts do the work: control.ts through
// Azure Resource Manager and the app's SCM site, call.ts by one keyed HTTP request to the app,
// logs.ts and metrics.ts by single requests.

import { createSender } from '../http/send.ts';
import type { Provider, ProviderLimits } from '../provider.ts';
import type { AppOptions } from './app.ts';
import { createCall } from './call.ts';
import { createControl } from './control.ts';
import { guard, PROVIDER } from './errors.ts';
import { createKeys } from './keys.ts';
import { limitsOf, type PlanKind } from './limits.ts';
import { createLogsReader, INSIGHTS_SCOPE } from './logs.ts';
import { createExecutionMetric } from './metrics.ts';
import { type AzureCredential, createSdkLoader } from './sdk.ts';

const ARM_ENDPOINT = 'https://management.azure.com';
/** Azure closes idle connections after 4 minutes (Azure Load Balancer, TCP idle timeout). */
const KEEP_ALIVE_MS = 60_000;

export interface AzureFunctionsOptions {
  readonly subscriptionId: string;
  /** An existing resource group that holds plans and apps. */
  readonly resourceGroup: string;
  /** Id of this gateway. Each of its apps has it as a tag. */
  readonly gateway: string;
  /** Azure locations to deploy to. */
  readonly regions: readonly string[];
  /** Storage account of the Functions host. Flex also needs the URL of a container for packages. */
  readonly storage: { readonly connectionString: string; readonly containerUrl?: string };
  /**
   * Application Insights component that keeps what functions write. Without it `logs` is
   * PROVIDER_UNSUPPORTED.
   */
  readonly insightsConnectionString?: string;
  /** `flex` (default) is Flex Consumption, `y1` the older Consumption plan on Linux. */
  readonly planKind?: PlanKind;
  /** Default: `DefaultAzureCredential`. */
  readonly credential?: AzureCredential;
  /** Azure Resource Manager of another cloud or of an emulator, https. */
  readonly endpoint?: string;
  /** PEM of the authority that signed the certificates of that endpoint and its apps. */
  readonly caPem?: string;
  /** Pause between two polls. Default: 1 or 2 s, depending on the work. */
  readonly pollMs?: number;
  /** Lowers the documented limits. */
  readonly limits?: Partial<ProviderLimits>;
  /** Monotonic clock in milliseconds. */
  readonly nowMs?: () => number;
}

export function createAzureFunctions(options: AzureFunctionsOptions): Provider {
  const { subscriptionId, resourceGroup, regions, endpoint, caPem, pollMs } = options;
  const planKind = options.planKind ?? 'flex';
  const nowMs = options.nowMs ?? (() => performance.now());
  const limits = limitsOf(planKind, options.limits);
  const ca = caPem === undefined ? {} : { ca: caPem };
  const sender = createSender({ keepAliveMs: KEEP_ALIVE_MS, ...ca });
  const { send } = sender;
  const sdk = createSdkLoader({ ...options, endpoint, caPem });
  const keys = createKeys({ sdk, resourceGroup, pollMs, nowMs });
  const call = createCall({ send, keys, planKind, limits, nowMs });
  const app: AppOptions = { ...options, planKind };
  const armOrigin = endpoint ?? ARM_ENDPOINT;
  const group = `/subscriptions/${subscriptionId}/resourceGroups/${resourceGroup}`;
  const web = `${group}/providers/Microsoft.Web`;
  const readLogs = createLogsReader({
    connectionString: options.insightsConnectionString,
    endpoint,
    send,
    accessToken: async () => (await (await sdk.signIn()).getToken(INSIGHTS_SCOPE))?.token ?? '',
  });

  return {
    name: PROVIDER,
    limits,
    regions,
    // The older plan counts memory observed during a call, in MB-milliseconds. That gives no time.
    ...(planKind === 'flex' && {
      executionMetric: createExecutionMetric({
        site: `${armOrigin}${web}/sites`,
        get: async (url, signal) => (await sdk.open()).send({ url, method: 'GET', signal }),
      }),
    }),
    ...createControl({
      ...{ app, limits, resourceGroup, web, armOrigin },
      ...{ sdk, send, readKey: keys.read, pollMs, nowMs },
    }),
    invoke: call.invoke,
    warm: call.warm,
    logs: ({ name }, query, { signal }) =>
      guard('logs', name, signal, () => readLogs({ name, ...query, signal })),
    close: () => sender.close(),
  };
}
