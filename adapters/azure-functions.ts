// Azure Functions: a function app per version through Azure Resource Manager, its code by a zip to the app's SCM site, and
// each call as one keyed HTTP request to the app.

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { AppServicePlan, Site, WebSiteManagementClient } from '@azure/arm-appservice';
import { specHash } from './names.ts';
import {
  type ControlOptions,
  type Deployment,
  type DeploymentSpec,
  type FunctionFailure,
  type InvokeOptions,
  type InvokeRequest,
  type InvokeResult,
  type Plan,
  type PlanStep,
  type Provider,
  ProviderError,
  type ProviderErrorCode,
  type ProviderLimits,
  type Usage,
} from './provider.ts';
import { type Answer, createSender, SendError } from './send.ts';
import { zip } from './zip.ts';

const NAME = 'azure-functions';
const MiB = 1024 * 1024;

/** Sizes of a Flex Consumption instance, MiB (Azure Functions, Flex Consumption plan, instance sizes). */
const FLEX_INSTANCE_MIB = [512, 2048, 4096];
/** Memory of a Consumption (Y1) instance, MiB (Azure Functions scale and hosting, service limits). */
const Y1_INSTANCE_MIB = 1536;
/** Settings that belong to the host or to us; a function's environment may not set them. */
const RESERVED_ENV = /^(AZUREWEBJOBS|AZUREFUNCTIONS|FUNCTIONS_|WEBSITE|SCM_|DEPLOYMENT_|DEFAAS_)/i;
const ARM_ENDPOINT = 'https://management.azure.com';
/** Room for the shim to answer a late call itself before the host ends it, seconds. */
const HOST_TIMEOUT_SLACK_SEC = 5;
/** Longest wait for keys and for the first answer of a new app. */
const READY_MS = 120_000;

/** Anything that gives access tokens for Azure Resource Manager; `@azure/identity` has them all. */
export interface AzureCredential {
  getToken(
    scopes: string | string[],
  ): Promise<{ token: string; expiresOnTimestamp: number } | null>;
}

export interface AzureFunctionsOptions {
  readonly subscriptionId: string;
  /** An existing resource group that holds plans and apps. */
  readonly resourceGroup: string;
  /** Opaque text that tells this gateway's apps from others'. */
  readonly gateway: string;
  /** Azure locations to deploy to. */
  readonly regions: readonly string[];
  /** The storage account that the Functions host needs, and (Flex) the blob container URL for packages. */
  readonly storage: { readonly connectionString: string; readonly containerUrl?: string };
  /** `flex` (default) is Flex Consumption, `y1` the older Consumption plan on Linux. */
  readonly planKind?: 'flex' | 'y1';
  /** Default: `DefaultAzureCredential`. */
  readonly credential?: AzureCredential;
  /** Azure Resource Manager elsewhere than in the public cloud, https. */
  readonly endpoint?: string;
  /** PEM of the certificate authority of that endpoint and its apps, if the system does not know it. */
  readonly caPem?: string;
  /** Time between two looks at long-running work; default the SDK's own (2 s). */
  readonly pollMs?: number;
  /** Lowers the documented limits. */
  readonly limits?: Partial<ProviderLimits>;
  /** Monotonic clock in milliseconds. */
  readonly nowMs?: () => number;
}

/** The SDK's client, and how to reach an app's own hosts through it. */
interface Control {
  readonly client: WebSiteManagementClient;
  send(request: {
    url: string;
    method: 'GET' | 'POST' | 'PATCH';
    headers?: Record<string, string>;
    body?: Uint8Array | string;
    signal: AbortSignal;
  }): Promise<Pick<Answer, 'status' | 'headers' | 'body'>>;
}

export function createAzureFunctions(options: AzureFunctionsOptions): Provider {
  const { resourceGroup, gateway } = options;
  const planKind = options.planKind ?? 'flex';
  const nowMs = options.nowMs ?? (() => performance.now());
  const limits = limitsOf(options);
  const sender = createSender({
    // Azure closes idle connections after 4 minutes (Azure Load Balancer, TCP idle timeout).
    keepAliveMs: 60_000,
    ...(options.caPem === undefined ? {} : { ca: options.caPem }),
  });
  /** Keys read anew after a 401, by app; newer than those stored with the deployments. */
  const renewedKeys = new Map<string, Promise<string>>();
  let opening: Promise<Control> | undefined;
  let model: Promise<ReadonlyMap<string, Uint8Array>> | undefined;

  async function build(spec: DeploymentSpec): Promise<Package> {
    checkSpec(spec, options, limits);
    model ??= readProgrammingModel();
    return packageOf(spec, planKind, await model);
  }

  function control(): Promise<Control> {
    opening ??= openControl(options).catch((error) => {
      opening = undefined;
      throw error;
    });
    return opening;
  }

  /** What there is of a deployment: the app, if any, and the hash of the spec that was last deployed whole. */
  async function readSite(name: string, signal: AbortSignal): Promise<Site | undefined> {
    const { client } = await control();
    return unlessMissing(client.webApps.get(resourceGroup, name, { abortSignal: signal }));
  }

  async function plan(spec: DeploymentSpec, { signal }: ControlOptions): Promise<Plan> {
    const { hash } = await build(spec);
    return guard('plan', spec.name, signal, async () => {
      const { client } = await control();
      const site = await readSite(spec.name, signal);
      if (isDeployed(site, hash)) return { steps: [keep('app', spec.name)] };
      const farm = await unlessMissing(
        client.appServicePlans.get(resourceGroup, spec.name, { abortSignal: signal }),
      );
      const action = site ? 'update' : 'create';
      const why = site ? 'the spec has changed, or the last deploy did not end' : 'missing';
      return {
        steps: [
          farm ? keep('plan', spec.name) : step('create', 'plan', spec.name, 'missing'),
          step(action, 'app', spec.name, why),
          step(action, 'package', spec.name, why),
          step('wait', 'app', spec.name, 'until the new code answers'),
        ],
      };
    });
  }

  async function deploy(
    spec: DeploymentSpec,
    { signal, onStep }: ControlOptions,
  ): Promise<Deployment> {
    const { hash, bytes } = await build(spec);
    return guard('deploy', spec.name, signal, async () => {
      const found = await readSite(spec.name, signal);
      if (found && isDeployed(found, hash)) {
        onStep?.(keep('app', spec.name));
        return deploymentOf(spec, hash, found, await readKey(spec.name, signal));
      }

      const farm = await writePlan(spec, signal);
      onStep?.(farm);
      // The tag with the hash is written last: while it is missing, the next deploy begins anew.
      const site = await writeSite(spec, signal);
      onStep?.(step(found ? 'update' : 'create', 'app', spec.name, 'settings and tags'));

      await publish(site, bytes(), signal);
      onStep?.(step(found ? 'update' : 'create', 'package', spec.name, 'code and shim'));

      const key = await readKey(spec.name, signal);
      await probe(originOf(site), key, hash, spec.name, signal);
      onStep?.(step('wait', 'app', spec.name, 'the new code answers'));

      await tagWhole(site, hash, signal);
      return deploymentOf(spec, hash, site, key);
    });
  }

  async function writePlan(spec: DeploymentSpec, signal: AbortSignal): Promise<PlanStep> {
    const { client } = await control();
    const abortSignal = signal;
    const { name, region } = spec;
    const known = await unlessMissing(
      client.appServicePlans.get(resourceGroup, name, { abortSignal }),
    );
    if (known) return keep('plan', name);
    const farm: AppServicePlan = {
      location: region,
      kind: 'functionapp',
      reserved: true,
      sku:
        planKind === 'flex'
          ? { name: 'FC1', tier: 'FlexConsumption' }
          : { name: 'Y1', tier: 'Dynamic' },
      tags: tagsOf(spec, gateway),
    };
    await client.appServicePlans
      .createOrUpdate(resourceGroup, name, farm, { abortSignal, ...pollOptions(options) })
      .pollUntilDone({ abortSignal });
    return step('create', 'plan', name, 'missing');
  }

  async function writeSite(spec: DeploymentSpec, signal: AbortSignal): Promise<Site> {
    const { client } = await control();
    const { name } = spec;
    const serverFarmId = `/subscriptions/${options.subscriptionId}/resourceGroups/${resourceGroup}/providers/Microsoft.Web/serverfarms/${name}`;
    const poller = client.webApps.createOrUpdate(
      resourceGroup,
      name,
      siteOf(spec, serverFarmId, options),
      { abortSignal: signal, ...pollOptions(options) },
    );
    await poller.submitted();
    try {
      await poller.pollUntilDone({ abortSignal: signal });
    } catch (error) {
      if (signal.aborted || (statusOf(error) ?? 409) !== 409) throw error;
      // Accepted, then failed: some apps tell it as a failed operation, some as a conflict at the result's URL.
      const { message } = controlError('deploy', name, signal, error);
      throw new ProviderError('PROVIDER_DEPLOY_FAILED', message, about('deploy', name));
    }
    const site = await readSite(name, signal);
    if (!site) throw protocolError('deploy', name, 'the app is gone after it was made');
    return site;
  }

  async function publish(site: Site, bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    const name = site.name ?? '';
    const scm = site.hostNameSslStates?.find((host) => host.hostType === 'Repository')?.name;
    if (!scm) throw protocolError('deploy', name, 'the app has no SCM host');
    const { send } = await control();
    const path =
      planKind === 'flex'
        ? '/api/publish?RemoteBuild=false&Deployer=defaas'
        : '/api/zipdeploy?isAsync=true&deployer=defaas';
    const answer = await send({
      url: `https://${scm}${path}`,
      method: 'POST',
      headers: { 'content-type': 'application/zip' },
      body: bytes,
      signal,
    });
    if (answer.status !== 200 && answer.status !== 202) throw statusError('publish', name, answer);

    // Flex answers with the id of the deployment as a JSON string; the older way knows only the latest.
    const id = /^"([\w-]+)"$/.exec(answer.body.toString().trim())?.[1] ?? 'latest';
    for (;;) {
      const url = `https://${scm}/api/deployments/${id}`;
      const polled = await send({ url, method: 'GET', signal });
      if (polled.status === 200 && isPublished(polled.body.toString(), name)) return;
      // Not listed yet, or the SCM site restarts.
      const isEarly = polled.status === 200 || polled.status === 202 || polled.status === 404;
      if (!isEarly) throw statusError('publish', name, polled);
      await wait(options.pollMs ?? 1000, undefined, { signal });
    }
  }

  /** The host key of the app's default function keys. A new app has none until its host has started once. */
  async function readKey(name: string, signal: AbortSignal): Promise<string> {
    const { client } = await control();
    const until = nowMs() + READY_MS;
    for (;;) {
      try {
        const keys = await client.webApps.listHostKeys(resourceGroup, name, {
          abortSignal: signal,
        });
        const key = keys.functionKeys?.default ?? keys.masterKey;
        if (key) return key;
      } catch (error) {
        // The host that keeps the keys is not up yet (400 or 5xx); what else goes wrong is told.
        const status = statusOf(error) ?? 0;
        if (nowMs() > until || (status !== 400 && status < 500)) throw error;
      }
      if (nowMs() > until) throw protocolError('deploy', name, 'the app has no host key');
      await wait(options.pollMs ?? 2000, undefined, { signal });
    }
  }

  /** Waits until the route answers with the new code; the publisher's code does not run. */
  async function probe(
    origin: string,
    key: string,
    hash: string,
    name: string,
    signal: AbortSignal,
  ): Promise<void> {
    const until = nowMs() + READY_MS;
    const request = {
      origin,
      path: '/',
      method: 'POST',
      headers: { 'x-functions-key': key, 'x-defaas-probe': '1' },
      body: new Uint8Array(),
    };
    let seen = 'no answer';
    do {
      try {
        const answer = await sender.send(request, { signal, maxResponseBytes: MiB });
        if (headerOf(answer, 'x-defaas-spec') === hash) return;
        seen = `status ${answer.status}`;
      } catch (error) {
        if (signal.aborted) throw error;
        seen = String(error);
      }
      await wait(options.pollMs ?? 1000, undefined, { signal });
    } while (nowMs() < until);
    const message = `the new code does not answer (${seen}), on ${name}, see the app's log stream`;
    throw new ProviderError('PROVIDER_DEPLOY_FAILED', message, about('deploy', name));
  }

  /** By Azure's tags API, for an update of the app through the SDK takes no tags. */
  async function tagWhole(site: Site, hash: string, signal: AbortSignal): Promise<void> {
    const { send } = await control();
    const tags = { 'defaas-spec': hash };
    const answer = await send({
      url: `${options.endpoint ?? ARM_ENDPOINT}${site.id}/providers/Microsoft.Resources/tags/default?api-version=2021-04-01`,
      method: 'PATCH',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ operation: 'Merge', properties: { tags } }),
      signal,
    });
    if (answer.status !== 200 && answer.status !== 202) {
      throw statusError('deploy', site.name ?? '', answer);
    }
  }

  async function invoke(
    deployment: Deployment,
    request: InvokeRequest,
    { signal }: InvokeOptions,
  ): Promise<InvokeResult> {
    const { name, url } = deployment;
    if (request.body.length > limits.maxRequestBytes) {
      const message = `request is ${request.body.length} bytes, limit ${limits.maxRequestBytes}`;
      throw new ProviderError(
        'PROVIDER_TOO_LARGE',
        `${message}, on ${name}`,
        about('invoke', name),
      );
    }
    const renewed = renewedKeys.get(url);
    const key = renewed === undefined ? deployment.key : await renewed;
    const answer = await attempt(deployment, request, key, signal);
    if (answer.status !== 401 || headerOf(answer, 'x-defaas-outcome')) {
      return readAnswer(deployment, request, answer, planKind);
    }

    // A 401 without the shim's mark: the host refused the key and nothing ran. It may have been changed at the cloud.
    const newKey = await renewKey(name, url, signal);
    if (newKey === key) throw statusError('invoke', name, answer);
    const second = await attempt(deployment, request, newKey, signal);
    return readAnswer(deployment, request, second, planKind);
  }

  function renewKey(name: string, url: string, signal: AbortSignal): Promise<string> {
    const reading = guard('invoke', name, signal, () => readKey(name, signal));
    renewedKeys.set(url, reading);
    reading.catch(() => renewedKeys.delete(url));
    return reading;
  }

  async function attempt(
    { name, url }: Deployment,
    { callId, body, ...call }: InvokeRequest,
    key: string | undefined,
    signal: AbortSignal,
  ): Promise<Answer> {
    const headers = {
      'x-functions-key': key ?? '',
      'x-defaas-call': Buffer.from(JSON.stringify(call)).toString('base64url'),
      'x-ms-client-request-id': callId,
      // So that nothing on the way takes the body for text.
      'content-type': 'application/octet-stream',
    };
    try {
      const request = { origin: url, path: '/', method: 'POST', headers, body };
      return await sender.send(request, { signal, maxResponseBytes: limits.maxResponseBytes });
    } catch (error) {
      throw sendError(error, name);
    }
  }

  async function remove(
    { name }: Pick<Deployment, 'name' | 'region'>,
    { signal, onStep }: ControlOptions,
  ): Promise<void> {
    await guard('remove', name, signal, async () => {
      const { client } = await control();
      const abortSignal = signal;
      if (await readSite(name, signal)) {
        await unlessMissing(
          client.webApps.delete(resourceGroup, name, { abortSignal, deleteEmptyServerFarm: true }),
        );
        onStep?.(step('remove', 'app', name, 'asked for'));
        while (await readSite(name, signal)) {
          await wait(options.pollMs ?? 1000, undefined, { signal });
        }
      }
      // Left by a deploy that was cut off before it made the app.
      const farm = await unlessMissing(
        client.appServicePlans.get(resourceGroup, name, { abortSignal }),
      );
      if (!farm) return;
      await unlessMissing(client.appServicePlans.delete(resourceGroup, name, { abortSignal }));
      onStep?.(step('remove', 'plan', name, 'asked for'));
    });
  }

  async function* list(
    region: string,
    { signal }: ControlOptions,
  ): AsyncGenerator<Pick<Deployment, 'name' | 'region' | 'specHash'>> {
    const { client } = await guard('list', resourceGroup, signal, control);
    const sites = client.webApps.listByResourceGroup(resourceGroup, { abortSignal: signal });
    for (;;) {
      const { done, value: site } = await guard('list', resourceGroup, signal, () => sites.next());
      if (done) return;
      const isOurs = site.tags?.['defaas-gateway'] === gateway;
      if (!isOurs || locationOf(site.location ?? '') !== locationOf(region)) continue;
      yield { name: site.name ?? '', region, specHash: site.tags?.['defaas-spec'] ?? '' };
    }
  }

  async function logs(deployment: Pick<Deployment, 'name'>): Promise<never> {
    const message = `logs are kept by Application Insights, not by the app, on ${deployment.name}, look there`;
    throw new ProviderError('PROVIDER_UNSUPPORTED', message, about('logs', deployment.name));
  }

  return {
    name: NAME,
    limits,
    regions: options.regions,
    plan,
    deploy,
    invoke,
    remove,
    list,
    logs,
    close: () => sender.close(),
  };
}

async function openControl(options: AzureFunctionsOptions): Promise<Control> {
  // Imported at the first use: 40 MB and 0.25 s that a gateway without Azure does not pay.
  const { WebSiteManagementClient } = await import('@azure/arm-appservice');
  const rest = await import('@azure/core-rest-pipeline');
  const credential = options.credential ?? (await defaultCredential());
  const client = new WebSiteManagementClient(credential, options.subscriptionId, {
    retryOptions: { maxRetries: 2, retryDelayInMs: 200, maxRetryDelayInMs: 2000 },
    ...(options.endpoint === undefined ? {} : { endpoint: options.endpoint }),
    ...(options.caPem === undefined ? {} : { tlsOptions: { ca: options.caPem } }),
  });
  const http = rest.createDefaultHttpClient();

  return {
    client,
    async send({ url, method, headers, body, signal }) {
      const request = rest.createPipelineRequest({
        url,
        method,
        headers: rest.createHttpHeaders(headers),
        abortSignal: signal,
        ...(body === undefined ? {} : { body }),
      });
      const response = await client.pipeline.sendRequest(http, request);
      const text = response.bodyAsText ?? '';
      return {
        status: response.status,
        headers: response.headers.toJSON(),
        body: Buffer.from(text),
      };
    },
  };
}

async function defaultCredential(): Promise<AzureCredential> {
  const { DefaultAzureCredential } = await import('@azure/identity');
  return new DefaultAzureCredential();
}

/** The app as Azure Resource Manager takes it, without the tag that says it is whole. */
function siteOf(spec: DeploymentSpec, serverFarmId: string, options: AzureFunctionsOptions): Site {
  const { connectionString, containerUrl } = options.storage;
  const isFlex = options.planKind !== 'y1';
  const settings: Record<string, string> = {
    ...spec.env,
    ...spec.secrets,
    AzureWebJobsStorage: connectionString,
    // Else GET / is answered by the host's own page.
    AzureWebJobsDisableHomepage: 'true',
    DEFAAS_FUNCTION: spec.functionName,
    DEFAAS_VERSION: String(spec.version),
    DEFAAS_TIMEOUT_MS: String(spec.timeoutMs),
    ...(isFlex
      ? { DEPLOYMENT_STORAGE_CONNECTION_STRING: connectionString }
      : { FUNCTIONS_WORKER_RUNTIME: 'node', FUNCTIONS_EXTENSION_VERSION: '~4' }),
  };
  const appSettings = Object.entries(settings).map(([name, value]) => ({ name, value }));
  const common: Site = {
    location: spec.region,
    kind: 'functionapp,linux',
    serverFarmId,
    reserved: true,
    httpsOnly: true,
    tags: tagsOf(spec, options.gateway),
  };
  if (!isFlex) return { ...common, siteConfig: { linuxFxVersion: 'Node|22', appSettings } };
  return {
    ...common,
    siteConfig: { appSettings },
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer',
          value: containerUrl ?? '',
          authentication: {
            type: 'StorageAccountConnectionString',
            storageAccountConnectionStringName: 'DEPLOYMENT_STORAGE_CONNECTION_STRING',
          },
        },
      },
      runtime: { name: 'node', version: '22' },
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMiB(spec.memoryMiB, 'flex'),
        // One instance, for what an app runs at once is bounded per instance only.
        maximumInstanceCount: spec.maxConcurrency === undefined ? 100 : 1,
        ...(spec.maxConcurrency !== undefined && {
          triggers: { http: { perInstanceConcurrency: Math.min(spec.maxConcurrency, 1000) } },
        }),
      },
    },
  };
}

/** Smallest instance that holds the memory asked for, MiB. */
function instanceMiB(memoryMiB: number, planKind: 'flex' | 'y1'): number {
  if (planKind === 'y1') return Y1_INSTANCE_MIB;
  return FLEX_INSTANCE_MIB.find((size) => size >= memoryMiB) ?? memoryMiB;
}

function tagsOf(spec: DeploymentSpec, gateway: string): Record<string, string> {
  return {
    'defaas-function': spec.functionName,
    'defaas-version': String(spec.version),
    'defaas-cid': spec.artifactCid,
    'defaas-gateway': gateway,
  };
}

/** The zip of a deployment and the hash it is known by. */
interface Package {
  readonly hash: string;
  bytes(): Uint8Array;
}

async function packageOf(
  spec: DeploymentSpec,
  planKind: 'flex' | 'y1',
  model: ReadonlyMap<string, Uint8Array>,
): Promise<Package> {
  const shims = new URL('./shims/', import.meta.url);
  const host = {
    version: '2.0',
    functionTimeout: timeSpan(Math.ceil(spec.timeoutMs / 1000) + HOST_TIMEOUT_SLACK_SEC),
    extensions: {
      http: {
        routePrefix: '',
        ...(spec.maxConcurrency !== undefined && {
          maxConcurrentRequests: spec.maxConcurrency,
          maxOutstandingRequests: spec.maxConcurrency,
        }),
      },
    },
  };
  const added = new Map<string, Uint8Array>([
    ...model,
    ['azure.cjs', await readFile(new URL('azure.cjs', shims))],
    ['fetch-call.mjs', await readFile(new URL('fetch-call.mjs', shims))],
    ['host.json', Buffer.from(JSON.stringify(host))],
  ]);
  for (const path of [...added.keys(), 'package.json']) {
    if (!spec.files.has(path)) continue;
    const message = `the artifact has a file ${path}, which Azure's shim needs for itself, on ${spec.name}, rename it`;
    throw new ProviderError('PROVIDER_INVALID', message, about('deploy', spec.name));
  }

  const hash = specHash(spec, new Map([...added, ['plan', Buffer.from(planKind)]]));
  const manifest = { name: spec.name, private: true, main: 'azure.cjs', defaas: { spec: hash } };
  return {
    hash,
    bytes() {
      const own = ['package.json', Buffer.from(JSON.stringify(manifest))] as const;
      return zip(new Map([...spec.files, ...added, own]));
    },
  };
}

/** What an app needs of `@azure/functions`, from our own node_modules: code, package.json and licence of its 3 packages. */
async function readProgrammingModel(): Promise<Map<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>();
  const ours = createRequire(import.meta.url).resolve('@azure/functions');
  const its = createRequire(ours);
  for (const name of ['@azure/functions', '@azure/functions-extensions-base', 'cookie']) {
    const main = name === '@azure/functions' ? ours : its.resolve(name);
    const root = main.slice(0, main.lastIndexOf(join('node_modules', name)));
    for (const path of [
      join('node_modules', name, 'package.json'),
      join('node_modules', name, 'LICENSE'),
      main.slice(root.length),
    ]) {
      files.set(path.replaceAll('\\', '/'), await readFile(join(root, path)));
    }
  }
  return files;
}

/** `hh:mm:ss`, as host.json has it. */
function timeSpan(seconds: number): string {
  return [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60]
    .map((part) => String(part).padStart(2, '0'))
    .join(':');
}

/** `West Europe`, as Azure shows it, and `westeurope`, as it takes it, are one place. */
function locationOf(region: string): string {
  return region.toLowerCase().replaceAll(' ', '');
}

function limitsOf(options: AzureFunctionsOptions): ProviderLimits {
  const isFlex = options.planKind !== 'y1';
  return {
    // HTTP request size (Azure Functions scale and hosting, service limits).
    maxRequestBytes: 100 * MiB,
    // Not documented: the bound that the shim keeps.
    maxResponseBytes: 32 * MiB,
    // The load balancer's idle timeout (the same page).
    maxTimeoutMs: 230_000,
    minMemoryMiB: 1,
    maxMemoryMiB: isFlex ? Math.max(...FLEX_INSTANCE_MIB) : Y1_INSTANCE_MIB,
    // Not documented: a bound of our own.
    maxPackageBytes: 256 * MiB,
    maxUnpackedBytes: 512 * MiB,
    maxEnvBytes: 32 * 1024,
    ...options.limits,
  };
}

/** Refuses what Azure cannot take, before any network call. @throws ProviderError */
function checkSpec(
  spec: DeploymentSpec,
  options: AzureFunctionsOptions,
  limits: ProviderLimits,
): void {
  const refuse = (code: ProviderErrorCode, message: string) => {
    throw new ProviderError(code, `${message}, on ${NAME}`, about('deploy', spec.name));
  };
  if (!options.regions.some((region) => locationOf(region) === locationOf(spec.region))) {
    refuse('PROVIDER_INVALID', `region ${spec.region} is not one of ${options.regions.join(', ')}`);
  }
  if (spec.timeoutMs > limits.maxTimeoutMs) {
    refuse('PROVIDER_INVALID', `timeoutMs ${spec.timeoutMs} is above ${limits.maxTimeoutMs}`);
  }
  if (spec.memoryMiB < limits.minMemoryMiB || spec.memoryMiB > limits.maxMemoryMiB) {
    const range = `${limits.minMemoryMiB} to ${limits.maxMemoryMiB}`;
    refuse('PROVIDER_INVALID', `memoryMiB ${spec.memoryMiB} is not in ${range}`);
  }
  const variables = Object.entries({ ...spec.env, ...spec.secrets });
  const envBytes = variables.reduce(
    (sum, [name, value]) => sum + Buffer.byteLength(name) + Buffer.byteLength(value) + 2,
    0,
  );
  if (envBytes > limits.maxEnvBytes) {
    refuse('PROVIDER_TOO_LARGE', `environment is ${envBytes} bytes, limit ${limits.maxEnvBytes}`);
  }
  const reserved = variables.find(([name]) => RESERVED_ENV.test(name));
  if (reserved) refuse('PROVIDER_INVALID', `the name ${reserved[0]} is reserved by the host`);
  const bytes = [...spec.files.values()].reduce((sum, file) => sum + file.length, 0);
  if (bytes > limits.maxUnpackedBytes) {
    refuse('PROVIDER_TOO_LARGE', `artifact is ${bytes} bytes, limit ${limits.maxUnpackedBytes}`);
  }
}

function deploymentOf(spec: DeploymentSpec, hash: string, site: Site, key: string): Deployment {
  const { name, region, artifactCid, memoryMiB, timeoutMs } = spec;
  const url = originOf(site);
  return {
    provider: NAME,
    name,
    region,
    specHash: hash,
    artifactCid,
    memoryMiB,
    timeoutMs,
    url,
    key,
  };
}

/** Hosts are read from the cloud's answer, never built from the name. */
function originOf(site: Site): string {
  if (!site.defaultHostName)
    throw protocolError('deploy', site.name ?? '', 'the app has no host name');
  return `https://${site.defaultHostName}`;
}

function isDeployed(site: Site | undefined, hash: string): boolean {
  return site?.tags?.['defaas-spec'] === hash && site.state === 'Running';
}

/** Kudu's DeployStatus: 3 failed, 4 success; 5 and 6 are conflict and partial success, the rest is under way. */
function isPublished(text: string, name: string): boolean {
  const { status, status_text: detail, message } = JSON.parse(text);
  if (status === 4) return true;
  if (status !== 3 && status !== 5 && status !== 6 && !(status < 0)) return false;
  const line = String(detail || message || `status ${status}`)
    .split('\n', 1)[0]
    ?.slice(0, 256);
  const said = `${line}, on ${name}, see the deployment's log at the app's SCM site`;
  throw new ProviderError('PROVIDER_DEPLOY_FAILED', said, about('publish', name));
}

/** An answer with the shim's mark is a result, whatever its status; one without is the platform's word. */
function readAnswer(
  deployment: Deployment,
  request: InvokeRequest,
  answer: Answer,
  planKind: 'flex' | 'y1',
): InvokeResult {
  const outcome = headerOf(answer, 'x-defaas-outcome');
  if (!outcome) {
    throw statusError('invoke', deployment.name, answer);
  }
  const common = {
    usage: usageOf(deployment, answer, planKind),
    requestId: headerOf(answer, 'x-defaas-request-id') ?? request.callId,
    cold: headerOf(answer, 'x-defaas-cold') === '1',
  };
  try {
    if (outcome !== 'ok') {
      const error: FunctionFailure = JSON.parse(Buffer.from(answer.body).toString());
      return { ...common, ok: false, error };
    }
    const carried = Buffer.from(headerOf(answer, 'x-defaas-headers') ?? '', 'base64url');
    const headers: [string, string][] = JSON.parse(carried.toString());
    return { ...common, ok: true, status: answer.status, headers, body: answer.body };
  } catch (cause) {
    const message = `the shim's answer cannot be read, on ${deployment.name}`;
    const where = { ...about('invoke', deployment.name), ran: 'maybe', cause } as const;
    throw new ProviderError('PROVIDER_PROTOCOL', message, where);
  }
}

/** The shim's figures, never above what was measured from outside and what the instance has. */
function usageOf(deployment: Deployment, answer: Answer, planKind: 'flex' | 'y1'): Usage {
  const { measuredMs } = answer;
  const cap = Math.max(1, Math.ceil(measuredMs));
  const told = Number(headerOf(answer, 'x-defaas-duration-ms') ?? Number.NaN);
  const isTold = Number.isFinite(told) && told >= 0;
  const billed = isTold ? Math.max(1, Math.ceil(told)) : cap;
  const most = instanceMiB(deployment.memoryMiB, planKind);
  const peak = Number(headerOf(answer, 'x-defaas-memory-mib')) || 0;
  return {
    billedMs: Math.min(billed, cap),
    memoryMiB: deployment.memoryMiB,
    ...(peak > 0 && { peakMemoryMiB: Math.min(peak, most) }),
    egressBytes: answer.body.length,
    measuredMs,
    source: isTold ? 'shim' : 'gateway',
    ...((billed > cap || peak > most) && { disputed: true }),
  };
}

function headerOf(answer: Pick<Answer, 'headers'>, name: string): string | undefined {
  const value = answer.headers[name];
  return typeof value === 'string' ? value : value?.[0];
}

/** What the cloud's status says when it is not the function that speaks. 5xx: it may have run. */
function statusError(
  operation: string,
  target: string,
  answer: Pick<Answer, 'status' | 'headers' | 'body'>,
): ProviderError {
  const { status } = answer;
  const isRefused = status >= 400 && status < 500;
  const text = Buffer.from(answer.body.subarray(0, 256)).toString().trim();
  const retryAfter = headerOf(answer, 'retry-after');
  return new ProviderError(codeOf(status), `${text || `status ${status}`}, on ${target}`, {
    ...about(operation, target),
    ran: operation !== 'invoke' || isRefused ? 'no' : 'maybe',
    status,
    retryAfterMs: retryAfterMsOf(retryAfter),
  });
}

function codeOf(status: number): ProviderErrorCode {
  if (status >= 500) return 'PROVIDER_UNAVAILABLE';
  switch (status) {
    case 400:
      return 'PROVIDER_INVALID';
    case 401:
      return 'PROVIDER_UNAUTHENTICATED';
    case 403:
      return 'PROVIDER_FORBIDDEN';
    case 404:
      return 'PROVIDER_NOT_FOUND';
    case 409:
      return 'PROVIDER_CONFLICT';
    case 413:
      return 'PROVIDER_TOO_LARGE';
    case 429:
      return 'PROVIDER_THROTTLED';
    default:
      return 'PROVIDER_PROTOCOL';
  }
}

/** RFC 9110 section 10.2.3: seconds or a date. */
function retryAfterMsOf(value: string | null | undefined): number | undefined {
  if (!value) return undefined;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}

function sendError(error: unknown, target: string): unknown {
  if (!(error instanceof SendError)) return error;
  const codes = {
    aborted: 'PROVIDER_DEADLINE',
    connection: 'PROVIDER_CONNECTION',
    'too-large': 'PROVIDER_TOO_LARGE',
  } as const;
  const ran = error.began ? 'maybe' : 'no';
  const where = { ...about('invoke', target), ran, cause: error } as const;
  return new ProviderError(codes[error.reason], `${error.message}, on ${target}`, where);
}

/** Runs control work and tells its errors as ours, without what the SDK's errors carry (tokens, settings). */
async function guard<T>(
  operation: string,
  target: string,
  signal: AbortSignal,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ProviderError) throw error;
    throw controlError(operation, target, signal, error);
  }
}

function controlError(
  operation: string,
  target: string,
  signal: AbortSignal,
  error: unknown,
): ProviderError {
  const message = error instanceof Error ? error.message.slice(0, 256) : String(error);
  const where = { ...about(operation, target), cause: new Error(message) };
  if (signal.aborted) {
    return new ProviderError('PROVIDER_DEADLINE', `not done in time, on ${target}`, where);
  }
  const status = statusOf(error);
  if (status !== undefined) {
    const isQuota = /quota/i.test(textOf(error, 'code') ?? '');
    const response: unknown = Reflect.get(Object(error), 'response');
    return new ProviderError(
      isQuota ? 'PROVIDER_QUOTA' : codeOf(status),
      `${message}, on ${target}`,
      {
        ...where,
        status,
        retryAfterMs: retryAfterMsOf(headerOfResponse(response, 'retry-after')),
      },
    );
  }
  const name = textOf(error, 'name') ?? '';
  if (/Credential|Authentication/.test(name)) {
    const help = 'no credentials found, sign in with az login or set AZURE_CLIENT_ID and its like';
    return new ProviderError('PROVIDER_UNAUTHENTICATED', `${help}, on ${NAME}`, where);
  }
  if (message.startsWith('The long-running operation has failed')) {
    return new ProviderError('PROVIDER_DEPLOY_FAILED', `${message}, on ${target}`, where);
  }
  const isNetwork = name === 'RestError' || /^E[A-Z]+$/.test(textOf(error, 'code') ?? '');
  const code = isNetwork ? 'PROVIDER_CONNECTION' : 'PROVIDER_PROTOCOL';
  return new ProviderError(code, `${message}, on ${target}`, where);
}

/** `undefined` when the cloud says 404. */
async function unlessMissing<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (statusOf(error) === 404) return undefined;
    throw error;
  }
}

/** HTTP status of an error of the SDK. */
function statusOf(error: unknown): number | undefined {
  const status: unknown = Reflect.get(Object(error), 'statusCode');
  return typeof status === 'number' ? status : undefined;
}

function textOf(error: unknown, key: string): string | undefined {
  const value: unknown = Reflect.get(Object(error), key);
  return typeof value === 'string' ? value : undefined;
}

function headerOfResponse(response: unknown, name: string): string | undefined {
  const headers: unknown = Reflect.get(Object(response), 'headers');
  const get: unknown = Reflect.get(Object(headers), 'get');
  const value: unknown = typeof get === 'function' ? get.call(headers, name) : undefined;
  return typeof value === 'string' ? value : undefined;
}

function protocolError(operation: string, target: string, message: string): ProviderError {
  return new ProviderError(
    'PROVIDER_PROTOCOL',
    `${message}, on ${target}`,
    about(operation, target),
  );
}

function about(operation: string, target: string) {
  return { provider: NAME, operation, target, ran: 'no' } as const;
}

function step(action: PlanStep['action'], resource: string, name: string, why: string): PlanStep {
  return { action, resource, name, why };
}

function keep(resource: string, name: string): PlanStep {
  return step('keep', resource, name, 'as it should be');
}

function pollOptions({ pollMs }: AzureFunctionsOptions) {
  return pollMs === undefined ? {} : { updateIntervalInMs: pollMs };
}
