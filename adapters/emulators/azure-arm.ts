// Azure Resource Manager as far as function apps need it: plans, apps, settings, keys, tags, long-running work.
// Paths and bodies as in the Microsoft.Web resource provider, api-version 2025-05-01.

import { randomBytes, randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AzureParts } from './azure-functions.ts';
import type { FunctionAppConfig, PlanRecord, SiteRecord } from './azure-store.ts';
import { type Fault, sendAnswer, spoilBefore } from './faults.ts';
import { readBody } from './request-body.ts';

/** ARM's bound on a request. */
const MAX_BODY_BYTES = 4 * 1024 * 1024;
/** Apps per page of a list. */
const PAGE_SIZE = 50;
const FLEX_INSTANCE_MIB: readonly unknown[] = [512, 2048, 4096];
/** What Flex Consumption refuses among the settings (Azure Functions, Flex Consumption plan, deprecated settings). */
const NOT_ON_FLEX = [
  'FUNCTIONS_WORKER_RUNTIME',
  'FUNCTIONS_EXTENSION_VERSION',
  'WEBSITE_RUN_FROM_PACKAGE',
  'SCM_DO_BUILD_DURING_DEPLOYMENT',
];

interface Answer {
  readonly status: number;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

interface ArmRequest {
  readonly parts: AzureParts;
  readonly path: readonly string[];
  readonly url: URL;
  /** What the client sent, not checked yet. */
  readonly body: unknown;
  readonly fault: Fault | undefined;
}

interface Route {
  readonly method: string;
  readonly pattern: RegExp;
  /** As the REST API's specification names it. */
  readonly operation: string;
  /** Changes something; a POST that only reads does not. */
  readonly isWrite: boolean;
  answer(request: ArmRequest): Promise<Answer> | Answer;
}

const ROUTES: readonly Route[] = [
  route('PUT', 'serverfarms/:', 'AppServicePlans_CreateOrUpdate', putPlan),
  route('GET', 'serverfarms/:', 'AppServicePlans_Get', getPlan),
  route('DELETE', 'serverfarms/:', 'AppServicePlans_Delete', deletePlan),
  route('GET', 'serverfarms', 'AppServicePlans_ListByResourceGroup', listPlans),
  route('PUT', 'sites/:', 'WebApps_CreateOrUpdate', putSite),
  route('GET', 'sites/:', 'WebApps_Get', getSite),
  route('PATCH', 'sites/:', 'WebApps_Update', patchSite),
  route('DELETE', 'sites/:', 'WebApps_Delete', deleteSite),
  route('GET', 'sites', 'WebApps_ListByResourceGroup', listSites),
  route('PUT', 'sites/:/config/appsettings', 'WebApps_UpdateApplicationSettings', putSettings),
  route(
    'POST',
    'sites/:/config/appsettings/list',
    'WebApps_ListApplicationSettings',
    getSettings,
    false,
  ),
  route('POST', 'sites/:/host/default/listkeys', 'WebApps_ListHostKeys', listKeys, false),
  route('PUT', 'sites/:/host/default/functionKeys/:', 'WebApps_CreateOrUpdateHostSecret', putKey),
  route('GET', 'sites/:/functions', 'WebApps_ListFunctions', listFunctions),
  route('POST', 'sites/:/syncfunctiontriggers', 'WebApps_SyncFunctionTriggers', syncTriggers),
  route(
    'POST',
    'sites/:/config/publishingcredentials/list',
    'WebApps_ListPublishingCredentials',
    listPublishing,
    false,
  ),
  route(
    'PATCH',
    'sites/:/providers/Microsoft.Resources/tags/default',
    'Tags_UpdateAtScope',
    patchTags,
  ),
  route('GET', 'locations/:/operations/:', 'GetOperation', getOperation),
  route('GET', 'locations/:/operationresults/:', 'GetOperationResult', getOperationResult),
];

/** `under` is below `.../providers/Microsoft.Web/`, `:` one part of the path. ARM's paths are compared without case. */
function route(
  method: string,
  under: string,
  operation: string,
  answer: Route['answer'],
  isWrite = method !== 'GET',
): Route {
  const pattern = new RegExp(`^${under.replaceAll('.', '\\.').replaceAll(':', '([^/]+)')}$`, 'i');
  return { method, pattern, operation, isWrite, answer };
}

export async function answerArm(
  parts: AzureParts,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const url = new URL(request.url ?? '/', parts.endpoint());
  const found = findRoute(parts, request.method ?? 'GET', url.pathname);
  const operation = found?.route.operation ?? 'unknown';
  const fault = parts.faults.take(operation, found?.path[0]);
  if (!(await spoilBefore(response, fault))) return;

  const bytes = await readBody(request, MAX_BODY_BYTES);
  const answer = await answerRequest();
  const body = Buffer.from(answer.body === undefined ? '' : JSON.stringify(answer.body));
  const headers = {
    ...(body.length > 0 && { 'content-type': 'application/json; charset=utf-8' }),
    'x-ms-request-id': randomUUID(),
    ...answer.headers,
  };
  await sendAnswer(response, { status: answer.status, headers, body }, fault);

  async function answerRequest(): Promise<Answer> {
    if (fault?.kind === 'throttle') return throttled(fault);
    if (fault?.kind === 'status')
      return failed(fault.code, 'InternalServerError', 'An error occurred.');
    if (fault?.kind === 'expire-credentials') {
      return failed(
        401,
        'ExpiredAuthenticationToken',
        'The access token expiry UTC time is earlier than current UTC time.',
      );
    }
    if (!parts.isToken(request.headers.authorization)) {
      return failed(401, 'InvalidAuthenticationToken', 'The access token is invalid.');
    }
    if (!bytes) return failed(413, 'RequestEntityTooLarge', 'The request is too large.');
    if (!url.searchParams.has('api-version')) {
      return failed(
        400,
        'MissingApiVersionParameter',
        'The api-version query parameter (?api-version=) is required for all requests.',
      );
    }
    if (!found) {
      parts.log(`unsupported: arm ${request.method} ${url.pathname}`);
      return failed(
        404,
        'InvalidResourceType',
        `The resource at '${url.pathname}' could not be found.`,
      );
    }
    if (found.scope === 'other') {
      return failed(404, 'ResourceGroupNotFound', 'The resource group could not be found.');
    }
    let body: unknown;
    try {
      body = bytes.length > 0 ? JSON.parse(bytes.toString()) : undefined;
    } catch {
      return failed(
        400,
        'InvalidRequestContent',
        'The request content was invalid and could not be deserialized.',
      );
    }
    if (found.route.isWrite) parts.countWrite();
    return found.route.answer({ parts, path: found.path, url, body, fault });
  }
}

/** Splits off subscription and resource group; a list of apps may be asked for the whole subscription. */
function findRoute(parts: AzureParts, method: string, pathname: string) {
  const [, subscription, group, under] =
    /^\/subscriptions\/([^/]+)(?:\/resourceGroups\/([^/]+))?\/providers\/Microsoft\.Web\/(.+)$/i.exec(
      pathname,
    ) ?? [];
  if (under === undefined) return undefined;
  const isOurs =
    subscription === parts.subscriptionId &&
    (group === undefined || group.toLowerCase() === parts.resourceGroup.toLowerCase());
  for (const route of ROUTES) {
    const match = route.method === method ? route.pattern.exec(under) : null;
    if (!match) continue;
    const path = match.slice(1).map(decodeURIComponent);
    return { route, path, scope: isOurs ? ('ours' as const) : ('other' as const) };
  }
  return undefined;
}

function putPlan({ parts, path: [name = ''], body }: ArmRequest): Promise<Answer> | Answer {
  const { location, sku, kind, tags } = asRecord(body);
  const skuName = asRecord(sku).name;
  if (typeof location !== 'string')
    return failed(
      400,
      'LocationRequired',
      'The location property is required for this definition.',
    );
  if (skuName !== 'FC1' && skuName !== 'Y1') {
    parts.log(`unsupported: plan ${String(skuName)}`);
    return failed(400, 'BadRequest', `The pricing tier ${String(skuName)} is not allowed.`);
  }
  const plan: PlanRecord = {
    name,
    location,
    kind: String(kind ?? 'functionapp'),
    sku: { name: skuName, tier: skuName === 'FC1' ? 'FlexConsumption' : 'Dynamic' },
    tags: asTexts(tags),
  };
  return parts.store.putPlan(plan).then(() => ({ status: 200, body: planBody(parts, plan) }));
}

function getPlan({ parts, path: [name = ''] }: ArmRequest): Answer {
  const plan = parts.store.plans.get(name);
  return plan ? { status: 200, body: planBody(parts, plan) } : missing(parts, 'serverfarms', name);
}

async function deletePlan({ parts, path: [name = ''] }: ArmRequest): Promise<Answer> {
  if (!parts.store.plans.has(name)) return { status: 204 };
  const site = [...parts.store.sites.values()].find(({ plan }) => plan === name);
  if (site)
    return failed(
      409,
      'Conflict',
      `Server farm '${name}' cannot be deleted because it has web app(s) ${site.name} assigned to it.`,
    );
  await parts.store.deletePlan(name);
  return { status: 200 };
}

function listPlans({ parts }: ArmRequest): Answer {
  const value = [...parts.store.plans.values()].map((plan) => planBody(parts, plan));
  return { status: 200, body: { value, nextLink: null } };
}

async function putSite({ parts, path: [name = ''], body, fault }: ArmRequest): Promise<Answer> {
  const { location, kind, tags, properties } = asRecord(body);
  const { serverFarmId, siteConfig, functionAppConfig } = asRecord(properties);
  const known = parts.store.sites.get(name);
  if (!/^[A-Za-z0-9][A-Za-z0-9-]{0,58}[A-Za-z0-9]$/.test(name))
    return failed(400, 'BadRequest', `Site name ${name} is invalid.`);
  if (typeof location !== 'string')
    return failed(
      400,
      'LocationRequired',
      'The location property is required for this definition.',
    );
  const plan = parts.store.plans.get(String(serverFarmId).split('/').at(-1) ?? '');
  if (!plan)
    return failed(404, 'NotFound', `Cannot find serverfarm with name ${String(serverFarmId)}.`);
  const { appSettings, ...config } = asRecord(siteConfig);
  const settings = appSettings === undefined ? known?.settings : settingsOf(appSettings);
  const appConfig = functionAppConfig ?? known?.functionAppConfig;
  const problem =
    plan.sku.name === 'FC1' ? flexFault(appConfig, settings) : y1Fault(config, settings);
  if (problem) return failed(400, 'BadRequest', problem);

  const failing = fault?.kind === 'operation-fails' || fault?.kind === 'stuck-operation';
  const operation = longRunning(parts, name, location, fault);
  if (failing) return operation ?? failed(500, 'InternalServerError', 'The app could not be made.');
  const site: SiteRecord = {
    ...(known ?? (await newSite(parts, name))),
    name,
    location,
    kind: String(kind ?? 'functionapp,linux'),
    plan: plan.name,
    tags: asTexts(tags),
    siteConfig: config,
    // Checked by flexFault.
    ...(appConfig !== undefined && { functionAppConfig: appConfig as FunctionAppConfig }),
    settings: settings ?? {},
    modifiedAtMs: Date.now(),
  };
  await parts.store.putSite(site);
  if (known) parts.replaceApp(name);
  return operation ?? { status: 200, body: siteBody(parts, site) };
}

async function newSite(
  parts: AzureParts,
  name: string,
): Promise<Omit<SiteRecord, 'location' | 'kind' | 'plan' | 'tags' | 'siteConfig' | 'settings'>> {
  return {
    name,
    ...(await parts.openSite(name)),
    masterKey: newKey(),
    functionKeys: { default: newKey() },
    publishing: { user: `$${name}`, password: newKey() },
    modifiedAtMs: Date.now(),
    publishes: [],
    functions: [],
  };
}

function newKey(): string {
  return randomBytes(40).toString('base64url');
}

function flexFault(config: unknown, settings: Readonly<Record<string, string>> | undefined) {
  const { deployment, runtime, scaleAndConcurrency } = asRecord(config);
  const storage = asRecord(asRecord(deployment).storage);
  const scale = asRecord(scaleAndConcurrency);
  if (storage.type !== 'blobContainer' || !storage.value)
    return 'Site.FunctionAppConfig.Deployment.Storage is required.';
  if (asRecord(runtime).name !== 'node') return 'Site.FunctionAppConfig.Runtime.Name is invalid.';
  if (!FLEX_INSTANCE_MIB.includes(scale.instanceMemoryMB))
    return `Site.FunctionAppConfig.ScaleAndConcurrency.InstanceMemoryMB ${String(scale.instanceMemoryMB)} is invalid.`;
  const refused = NOT_ON_FLEX.find((name) => settings?.[name] !== undefined);
  if (refused)
    return `The following app setting (Site.SiteConfig.AppSettings.${refused}) for Flex Consumption sites is invalid. Please remove or rename it before retrying.`;
  return settings?.AzureWebJobsStorage
    ? undefined
    : 'Parameter Site.SiteConfig.AppSettings.AzureWebJobsStorage is required.';
}

function y1Fault(
  config: Record<string, unknown>,
  settings: Readonly<Record<string, string>> | undefined,
) {
  if (!/^node\|\d+$/i.test(String(config.linuxFxVersion)))
    return `The parameter LinuxFxVersion has an invalid value ${String(config.linuxFxVersion)}.`;
  if (settings?.FUNCTIONS_WORKER_RUNTIME !== 'node')
    return 'The app setting FUNCTIONS_WORKER_RUNTIME is required.';
  return settings.AzureWebJobsStorage
    ? undefined
    : 'The app setting AzureWebJobsStorage is required.';
}

function getSite({ parts, path: [name = ''] }: ArmRequest): Answer {
  const site = parts.store.sites.get(name);
  return site ? { status: 200, body: siteBody(parts, site) } : missing(parts, 'sites', name);
}

async function patchSite({ parts, path: [name = ''], body }: ArmRequest): Promise<Answer> {
  const site = parts.store.sites.get(name);
  if (!site) return missing(parts, 'sites', name);
  const { tags, properties } = asRecord(body);
  const { siteConfig } = asRecord(properties);
  const { appSettings, ...config } = asRecord(siteConfig);
  const changed: SiteRecord = {
    ...site,
    siteConfig: { ...site.siteConfig, ...config },
    ...(tags !== undefined && { tags: asTexts(tags) }),
    ...(appSettings !== undefined && { settings: settingsOf(appSettings) }),
    modifiedAtMs: Date.now(),
  };
  await parts.store.putSite(changed);
  if (siteConfig !== undefined) parts.replaceApp(name);
  return { status: 200, body: siteBody(parts, changed) };
}

async function deleteSite({ parts, path: [name = ''], url }: ArmRequest): Promise<Answer> {
  const site = parts.store.sites.get(name);
  if (!site) return { status: 204 };
  await parts.store.deleteSite(name);
  await parts.closeSite(name);
  await parts.store.trimPackages(name, undefined);
  const isLast = ![...parts.store.sites.values()].some(({ plan }) => plan === site.plan);
  if (isLast && url.searchParams.get('deleteEmptyServerFarm') !== 'false') {
    await parts.store.deletePlan(site.plan);
  }
  return { status: 200 };
}

function listSites({ parts, url }: ArmRequest): Answer {
  const sites = [...parts.store.sites.values()];
  const from = Number(url.searchParams.get('$skiptoken') ?? 0);
  const value = sites.slice(from, from + PAGE_SIZE).map((site) => siteBody(parts, site));
  const next = new URL(url);
  next.searchParams.set('$skiptoken', String(from + PAGE_SIZE));
  const nextLink = from + PAGE_SIZE < sites.length ? next.href : null;
  return { status: 200, body: { value, nextLink } };
}

async function putSettings({ parts, path: [name = ''], body }: ArmRequest): Promise<Answer> {
  const site = parts.store.sites.get(name);
  if (!site) return missing(parts, 'sites', name);
  const changed = {
    ...site,
    settings: asTexts(asRecord(body).properties),
    modifiedAtMs: Date.now(),
  };
  await parts.store.putSite(changed);
  parts.replaceApp(name);
  return { status: 200, body: settingsBody(parts, changed) };
}

function getSettings({ parts, path: [name = ''] }: ArmRequest): Answer {
  const site = parts.store.sites.get(name);
  return site ? { status: 200, body: settingsBody(parts, site) } : missing(parts, 'sites', name);
}

function settingsBody(parts: AzureParts, site: SiteRecord) {
  return {
    id: `${idOf(parts, 'sites', site.name)}/config/appsettings`,
    name: 'appsettings',
    type: 'Microsoft.Web/sites/config',
    location: displayName(site.location),
    properties: site.settings,
  };
}

function listKeys({ parts, path: [name = ''] }: ArmRequest): Answer {
  const site = parts.store.sites.get(name);
  if (!site) return missing(parts, 'sites', name);
  const { masterKey, functionKeys } = site;
  return { status: 200, body: { masterKey, functionKeys, systemKeys: {} } };
}

async function putKey({ parts, path: [name = '', key = ''], body }: ArmRequest): Promise<Answer> {
  const site = parts.store.sites.get(name);
  if (!site) return missing(parts, 'sites', name);
  const given = asRecord(asRecord(body).properties).value;
  const value = typeof given === 'string' && given !== '' ? given : newKey();
  const isNew = site.functionKeys[key] === undefined;
  await parts.store.putSite({ ...site, functionKeys: { ...site.functionKeys, [key]: value } });
  return {
    status: isNew ? 201 : 200,
    body: {
      id: `${idOf(parts, 'sites', name)}/host/default/functionKeys/${key}`,
      name: key,
      type: 'Microsoft.Web/sites/host/functionKeys',
      location: displayName(site.location),
      properties: { name: key, value },
    },
  };
}

function listFunctions({ parts, path: [name = ''] }: ArmRequest): Answer {
  const site = parts.store.sites.get(name);
  if (!site) return missing(parts, 'sites', name);
  const value = site.functions.map((one) => ({
    id: `${idOf(parts, 'sites', name)}/functions/${one.name}`,
    name: `${name}/${one.name}`,
    type: 'Microsoft.Web/sites/functions',
    location: displayName(site.location),
    properties: {
      name: one.name,
      function_app_id: null,
      invoke_url_template: `https://127.0.0.1:${site.sitePort}/${one.route.toLowerCase()}`,
      config: {
        name: one.name,
        bindings: [
          { type: one.type, route: one.route, methods: one.methods, authLevel: one.authLevel },
        ],
      },
      language: 'node',
      isDisabled: false,
    },
  }));
  return { status: 200, body: { value, nextLink: null } };
}

function syncTriggers({ parts, path: [name = ''] }: ArmRequest): Answer {
  return parts.store.sites.has(name) ? { status: 204 } : missing(parts, 'sites', name);
}

function listPublishing({ parts, path: [name = ''] }: ArmRequest): Answer {
  const site = parts.store.sites.get(name);
  if (!site) return missing(parts, 'sites', name);
  const { user, password } = site.publishing;
  const scmUri = `https://${encodeURIComponent(user)}:${password}@127.0.0.1:${site.scmPort}`;
  return {
    status: 200,
    body: {
      id: `${idOf(parts, 'sites', name)}/publishingcredentials/${user}`,
      name,
      type: 'Microsoft.Web/sites/publishingcredentials',
      location: displayName(site.location),
      properties: { publishingUserName: user, publishingPassword: password, scmUri },
    },
  };
}

async function patchTags({ parts, path: [name = ''], body }: ArmRequest): Promise<Answer> {
  const site = parts.store.sites.get(name);
  if (!site) return missing(parts, 'sites', name);
  const { operation, properties } = asRecord(body);
  const given = asTexts(asRecord(properties).tags);
  const tags = { ...site.tags };
  switch (operation) {
    case 'Merge':
      Object.assign(tags, given);
      break;
    case 'Delete':
      for (const key of Object.keys(given)) delete tags[key];
      break;
    case 'Replace':
      for (const key of Object.keys(tags)) delete tags[key];
      Object.assign(tags, given);
      break;
    default:
      return failed(400, 'InvalidTagsOperation', 'The operation is not Merge, Replace or Delete.');
  }
  await parts.store.putSite({ ...site, tags });
  const id = `${idOf(parts, 'sites', name)}/providers/Microsoft.Resources/tags/default`;
  const type = 'Microsoft.Resources/tags';
  return { status: 200, body: { id, name: 'default', type, properties: { tags } } };
}

/** An operation's id says all of it, so that it survives a restart: app, how it ends, and a random part. */
function longRunning(
  parts: AzureParts,
  site: string,
  location: string,
  fault: Fault | undefined,
): Answer | undefined {
  if (parts.longRunning === 'none') return undefined;
  const ends =
    fault?.kind === 'operation-fails'
      ? 'fails'
      : fault?.kind === 'stuck-operation'
        ? 'never'
        : 'well';
  const id = `${ends}.${site}.${randomUUID()}`;
  const kind = parts.longRunning === 'location' ? 'operationresults' : 'operations';
  const url = `${parts.endpoint()}/subscriptions/${parts.subscriptionId}/providers/Microsoft.Web/locations/${encodeURIComponent(location)}/${kind}/${id}?api-version=2025-05-01`;
  const header = parts.longRunning === 'location' ? 'location' : 'azure-asyncoperation';
  return { status: 202, headers: { [header]: url } };
}

function getOperation({ path: [, id = ''] }: ArmRequest): Answer {
  const [ends = ''] = id.split('.');
  const status = { fails: 'Failed', never: 'InProgress', well: 'Succeeded' }[ends];
  if (!status) return failed(404, 'NotFound', `Operation ${id} was not found.`);
  const error = { code: 'InternalServerError', message: 'The app could not be made.' };
  return { status: 200, body: { id, name: id, status, ...(status === 'Failed' && { error }) } };
}

function getOperationResult({ parts, path: [, id = ''], url }: ArmRequest): Answer {
  const [ends, name = ''] = id.split('.');
  if (ends === 'never') return { status: 202, headers: { location: url.href } };
  if (ends === 'fails') return failed(409, 'Conflict', 'The app could not be made.');
  const site = parts.store.sites.get(name);
  return site ? { status: 200, body: siteBody(parts, site) } : missing(parts, 'sites', name);
}

function planBody(parts: AzureParts, plan: PlanRecord) {
  const { name, location, kind, sku, tags } = plan;
  const numberOfSites = [...parts.store.sites.values()].filter((site) => site.plan === name).length;
  return {
    id: idOf(parts, 'serverfarms', name),
    name,
    type: 'Microsoft.Web/serverfarms',
    kind,
    location: displayName(location),
    tags,
    sku: { ...sku, size: sku.name, family: sku.name.slice(0, -1), capacity: 0 },
    properties: {
      status: 'Ready',
      provisioningState: 'Succeeded',
      reserved: true,
      numberOfSites,
      resourceGroup: parts.resourceGroup,
      subscription: parts.subscriptionId,
    },
  };
}

/** As ARM shows an app: settings are never among it. */
function siteBody(parts: AzureParts, site: SiteRecord) {
  const hosts = [`127.0.0.1:${site.sitePort}`, `127.0.0.1:${site.scmPort}`];
  return {
    id: idOf(parts, 'sites', site.name),
    name: site.name,
    type: 'Microsoft.Web/sites',
    kind: site.kind,
    location: displayName(site.location),
    tags: site.tags,
    properties: {
      name: site.name,
      state: 'Running',
      enabled: true,
      hostNames: [hosts[0]],
      enabledHostNames: hosts,
      hostNameSslStates: [
        { name: hosts[0], sslState: 'Disabled', hostType: 'Standard' },
        { name: hosts[1], sslState: 'Disabled', hostType: 'Repository' },
      ],
      defaultHostName: hosts[0],
      serverFarmId: idOf(parts, 'serverfarms', site.plan),
      reserved: true,
      httpsOnly: true,
      usageState: 'Normal',
      availabilityState: 'Normal',
      lastModifiedTimeUtc: new Date(site.modifiedAtMs).toISOString(),
      resourceGroup: parts.resourceGroup,
      siteConfig: { ...site.siteConfig, appSettings: null },
      ...(site.functionAppConfig !== undefined && { functionAppConfig: site.functionAppConfig }),
    },
  };
}

function idOf(parts: AzureParts, type: 'sites' | 'serverfarms', name: string): string {
  return `/subscriptions/${parts.subscriptionId}/resourceGroups/${parts.resourceGroup}/providers/Microsoft.Web/${type}/${name}`;
}

/** `westeurope` comes back as `West Europe`. */
function displayName(location: string): string {
  const [, place = location, rest = ''] =
    /^(north|south|east|west|central|france|germany|uk|japan|australia|canada|brazil|korea|swiss|sweden|poland|italy|spain|norway|uae)(.+)$/.exec(
      location,
    ) ?? [];
  const capital = (word: string) => word.charAt(0).toUpperCase() + word.slice(1);
  return [place, rest]
    .filter((word) => word !== '')
    .map(capital)
    .join(' ');
}

function settingsOf(list: unknown): Record<string, string> {
  const settings: Record<string, string> = {};
  for (const entry of Array.isArray(list) ? list : []) {
    const { name, value } = asRecord(entry);
    if (typeof name === 'string') settings[name] = String(value ?? '');
  }
  return settings;
}

function asRecord(value: unknown): Record<string, unknown> {
  const isObject = typeof value === 'object' && value !== null;
  return isObject ? Object.fromEntries(Object.entries(value)) : {};
}

function asTexts(value: unknown): Record<string, string> {
  return Object.fromEntries(
    Object.entries(asRecord(value)).map(([key, text]) => [key, String(text)]),
  );
}

function throttled({ retryAfterMs }: Fault & { kind: 'throttle' }): Answer {
  const headers = { 'retry-after': String(Math.ceil((retryAfterMs ?? 1000) / 1000)) };
  return { ...failed(429, 'TooManyRequests', 'The request is being throttled.'), headers };
}

function missing(parts: AzureParts, type: string, name: string): Answer {
  const message = `The Resource 'Microsoft.Web/${type}/${name}' under resource group '${parts.resourceGroup}' was not found.`;
  return failed(404, 'ResourceNotFound', message);
}

function failed(status: number, code: string, message: string): Answer {
  return { status, body: { error: { code, message } } };
}
