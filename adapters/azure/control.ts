// Azure Functions: a function app per version through Azure Resource Manager, its code by a zip to the app's SCM site, and
// each call as one keyed HTTP request to the app.

import { setTimeout as wait } from 'node:timers/promises';
import type { AppServicePlan, Site, WebSiteManagementClient } from '@azure/arm-appservice';
import { placeOf } from '../deployment/check-spec.ts';
import { type Answer, createSender, SendError } from '../http/send.ts';
import {
  type ControlOptions,
  type Deployment,
  type DeploymentSpec,
  type InvokeOptions,
  type InvokeRequest,
  type InvokeResult,
  type Plan,
  type PlanStep,
  type Provider,
  ProviderError,
  type ProviderLimits,
  type WarmOptions,
} from '../provider.ts';
import { type AppOptions, checkApp, instanceMiB, limitsOf, siteOf, tagsOf } from './app.ts';
import {
  about,
  controlError,
  guard,
  headerOf,
  isPublished,
  NAME,
  protocolError,
  readAnswer,
  sendError,
  statusError,
  statusOf,
  unlessMissing,
} from './invocation.ts';
import { createLogsReader, INSIGHTS_SCOPE } from './logs.ts';
import { createExecutionMetric } from './metrics.ts';
import { type Package, packageOf, readProgrammingModel } from './package.ts';

const ARM_ENDPOINT = 'https://management.azure.com';
/** Longest wait for keys and for the first answer of a new app. */
const READY_MS = 120_000;
/** As ARM names the two kinds of plans. */
const SKUS = {
  flex: { name: 'FC1', tier: 'FlexConsumption' },
  y1: { name: 'Y1', tier: 'Dynamic' },
} as const;
const MOVED = 'it is on another kind of plan';
const MAX_PROBE_BYTES = 64 * 1024;

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
  /** Of the Application Insights component that keeps what functions write; without it `logs` is PROVIDER_UNSUPPORTED. */
  readonly insightsConnectionString?: string;
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
  const limits = limitsOf(planKind, options.limits);
  const appOptions: AppOptions = { ...options, planKind };
  const sender = createSender({
    // Azure closes idle connections after 4 minutes (Azure Load Balancer, TCP idle timeout).
    keepAliveMs: 60_000,
    ...(options.caPem === undefined ? {} : { ca: options.caPem }),
  });
  const readLogs = createLogsReader({
    connectionString: options.insightsConnectionString,
    ...(options.endpoint !== undefined && { endpoint: options.endpoint }),
    send: sender.send,
    accessToken: async () => (await (await credential()).getToken(INSIGHTS_SCOPE))?.token ?? '',
  });
  /** Keys read anew after a 401, by app; newer than those stored with the deployments. */
  const renewedKeys = new Map<string, Promise<string>>();
  let opening: Promise<Control> | undefined;
  let signIn: Promise<AzureCredential> | undefined;
  let model: Promise<ReadonlyMap<string, Uint8Array>> | undefined;

  async function build(spec: DeploymentSpec): Promise<Package> {
    checkApp(spec, appOptions, limits);
    model ??= readProgrammingModel();
    return packageOf(spec, planKind, await model);
  }

  function credential(): Promise<AzureCredential> {
    signIn ??= options.credential ? Promise.resolve(options.credential) : defaultCredential();
    return signIn;
  }

  function control(): Promise<Control> {
    opening ??= openControl(options, credential).catch((error) => {
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
      const isMoved = farm !== undefined && !isOfKind(farm, planKind);
      const action = site && !isMoved ? 'update' : 'create';
      const why =
        action === 'update' ? 'the spec has changed, or the last deploy did not end' : 'missing';
      return {
        steps: [
          ...(isMoved ? [step('remove', 'app', spec.name, MOVED)] : []),
          farm && !isMoved ? keep('plan', spec.name) : step('create', 'plan', spec.name, 'missing'),
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
      let found = await readSite(spec.name, signal);
      if (found && isDeployed(found, hash)) {
        onStep?.(keep('app', spec.name));
        return deploymentOf(spec, hash, found, await readKey(spec.name, signal));
      }

      if (await leavePlan(spec, { signal, ...(onStep && { onStep }) })) found = undefined;
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

  /** An app cannot move between the two kinds of plans: it goes with the old one and is made anew. */
  async function leavePlan(spec: DeploymentSpec, options: ControlOptions): Promise<boolean> {
    const { client } = await control();
    const farm = await unlessMissing(
      client.appServicePlans.get(resourceGroup, spec.name, { abortSignal: options.signal }),
    );
    if (!farm || isOfKind(farm, planKind)) return false;
    await remove(spec, options);
    return true;
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
      sku: SKUS[planKind],
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
      siteOf(spec, serverFarmId, appOptions),
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
      headers: { 'x-functions-key': key, 'x-defaas-probe': '0' },
      body: new Uint8Array(),
    };
    let seen = 'no answer';
    do {
      try {
        const answer = await sender.send(request, { signal, maxResponseBytes: MAX_PROBE_BYTES });
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

  /** Calls at once may share an instance here: then one is kept. */
  async function warm({ name, url, ...of }: Deployment, options: WarmOptions): Promise<void> {
    const { holdMs, signal } = options;
    const send = (key = '') =>
      sender.send(
        {
          origin: url,
          path: '/',
          method: 'POST',
          headers: { 'x-functions-key': key, 'x-defaas-probe': `${holdMs}` },
          body: new Uint8Array(),
        },
        { signal, maxResponseBytes: MAX_PROBE_BYTES },
      );
    try {
      const answer = await send((await renewedKeys.get(url)) ?? of.key);
      if (headerOf(answer, 'x-defaas-spec')) return;
      if (answer.status !== 401) throw statusError('warm', name, answer);
      // As in `invoke`: the key may have been changed at the cloud.
      const second = await send(await renewKey(name, url, signal));
      if (!headerOf(second, 'x-defaas-spec')) throw statusError('warm', name, second);
    } catch (error) {
      throw sendError(error, name, 'warm');
    }
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
    const startedMs = nowMs();
    const renewed = renewedKeys.get(url);
    const key = renewed === undefined ? deployment.key : await renewed;
    const memoryMiB = instanceMiB(deployment.memoryMiB, planKind);
    try {
      const answer = await attempt(deployment, request, key, signal);
      if (answer.status !== 401 || headerOf(answer, 'x-defaas-outcome')) {
        return readAnswer(deployment, request, answer, memoryMiB);
      }
      // A 401 without the shim's mark: the host refused the key and nothing ran. It may have been changed at the cloud.
      const newKey = await renewKey(name, url, signal);
      if (newKey === key) throw statusError('invoke', name, answer);
      const second = await attempt(deployment, request, newKey, signal);
      return readAnswer(deployment, request, second, memoryMiB);
    } catch (error) {
      if (!(error instanceof SendError)) throw error;
      if (error.reason !== 'too-large') throw sendError(error, name);
      return tooLarge(deployment, request, nowMs() - startedMs);
    }
  }

  /** The operator's bound is below the shim's: the function answered more than we take. */
  function tooLarge(
    { memoryMiB }: Deployment,
    { callId }: InvokeRequest,
    measuredMs: number,
  ): InvokeResult {
    const message = `answer is longer than ${limits.maxResponseBytes} bytes`;
    const egressBytes = limits.maxResponseBytes;
    const billedMs = Math.ceil(measuredMs);
    return {
      ok: false,
      error: { kind: 'too-large', type: 'ResponseSizeTooLarge', message },
      usage: { billedMs, memoryMiB, egressBytes, measuredMs, source: 'gateway' },
      requestId: callId,
    };
  }

  function renewKey(name: string, url: string, signal: AbortSignal): Promise<string> {
    const reading = guard('invoke', name, signal, () => readKey(name, signal));
    renewedKeys.set(url, reading);
    reading.catch(() => renewedKeys.delete(url));
    return reading;
  }

  function attempt(
    { url }: Deployment,
    { callId, method, path, query, headers: ofCall, body }: InvokeRequest,
    key: string | undefined,
    signal: AbortSignal,
  ): Promise<Answer> {
    const headers = [
      'x-functions-key',
      key ?? '',
      'x-defaas-call',
      boundedCall({ method, path, query, headers: ofCall }),
      'x-ms-client-request-id',
      callId,
      // So that nothing on the way takes the body for text.
      'content-type',
      'application/octet-stream',
    ];
    const request = { origin: url, path: '/', method: 'POST', headers, body };
    return sender.send(request, { signal, maxResponseBytes: limits.maxResponseBytes });
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
      if (!isOurs || placeOf(site.location ?? '') !== placeOf(region)) continue;
      yield { name: site.name ?? '', region, specHash: site.tags?.['defaas-spec'] ?? '' };
    }
  }

  return {
    name: NAME,
    limits,
    regions: options.regions,
    // The older plan counts the memory that it has seen a call take, in MB-milliseconds: no time can be read from that.
    ...(planKind === 'flex' && {
      executionMetric: createExecutionMetric({
        site: `${options.endpoint ?? ARM_ENDPOINT}/subscriptions/${options.subscriptionId}/resourceGroups/${resourceGroup}/providers/Microsoft.Web/sites`,
        get: async (url, signal) => (await control()).send({ url, method: 'GET', signal }),
      }),
    }),
    plan,
    deploy,
    invoke,
    warm,
    remove,
    list,
    logs: ({ name }, query, { signal }) =>
      guard('logs', name, signal, () => readLogs({ name, ...query, signal })),
    close: () => sender.close(),
  };
}

async function openControl(
  options: AzureFunctionsOptions,
  signIn: () => Promise<AzureCredential>,
): Promise<Control> {
  // Imported at the first use: 40 MB and 0.25 s that a gateway without Azure does not pay.
  const { WebSiteManagementClient } = await import('@azure/arm-appservice');
  const rest = await import('@azure/core-rest-pipeline');
  const credential = await signIn();
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

/**
 * Most of `x-defaas-call`, characters: the host takes 32 KiB of headers in all (Kestrel,
 * `MaxRequestHeadersTotalSize`). Beyond it the host would answer 431 without a mark.
 */
const MAX_CALL_CHARACTERS = 30 * 1024;

/** What the shim reads of `x-defaas-call`. */
type ShimCall = Pick<InvokeRequest, 'method' | 'path' | 'query' | 'headers'>;

/** By the headers they were made of: on a connection the same come again and again, as the same list. */
const shimCalls = new WeakMap<ShimCall['headers'], ShimCall & { readonly text: string }>();

/** @throws ProviderError PROVIDER_TOO_LARGE  more than the host takes; nothing was sent */
function boundedCall(call: ShimCall): string {
  const text = shimCall(call);
  if (text.length <= MAX_CALL_CHARACTERS) return text;
  const message = `path and headers are ${text.length} bytes as they are sent, limit ${MAX_CALL_CHARACTERS}`;
  throw new ProviderError(
    'PROVIDER_TOO_LARGE',
    `${message}, on ${NAME}`,
    about('invoke', 'headers'),
  );
}

/** base64url of the call's JSON. */
function shimCall(call: ShimCall): string {
  const { method, path, query, headers } = call;
  const known = shimCalls.get(headers);
  if (known?.method === method && known.path === path && known.query === query) return known.text;
  const text = Buffer.from(JSON.stringify(call)).toString('base64url');
  shimCalls.set(headers, { ...call, text });
  return text;
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

function isOfKind({ sku }: AppServicePlan, planKind: keyof typeof SKUS): boolean {
  return sku?.name === SKUS[planKind].name;
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
