// The operations on function apps (Microsoft.Web/sites): the app, its settings, keys, functions and
// tags, and the long-running creation.

import { randomBytes, randomUUID } from 'node:crypto';
import type { Fault } from '../../emulators/faults.ts';
import type { AzureParts } from './parts.ts';
import {
  type ArmAnswer,
  type ArmRequest,
  asRecord,
  asTexts,
  displayName,
  failed,
  idOf,
  missing,
} from './resource.ts';
import type { FunctionAppConfig, SiteRecord } from './store.ts';

/** Apps per page of a list. */
const PAGE_SIZE = 50;
const FLEX_INSTANCE_MIB: readonly unknown[] = [512, 2048, 4096];
/** Settings that Flex Consumption refuses (Flex Consumption plan, "Deprecated settings"). */
const NOT_ON_FLEX = [
  'FUNCTIONS_WORKER_RUNTIME',
  'FUNCTIONS_EXTENSION_VERSION',
  'WEBSITE_RUN_FROM_PACKAGE',
  'SCM_DO_BUILD_DURING_DEPLOYMENT',
];

export async function putSite({
  parts,
  path: [name = ''],
  body,
  fault,
}: ArmRequest): Promise<ArmAnswer> {
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
    // Safe: flexFault has checked it.
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

export function getSite({ parts, path: [name = ''] }: ArmRequest): ArmAnswer {
  const site = parts.store.sites.get(name);
  return site ? { status: 200, body: siteBody(parts, site) } : missing(parts, 'sites', name);
}

export async function patchSite({
  parts,
  path: [name = ''],
  body,
}: ArmRequest): Promise<ArmAnswer> {
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

export async function deleteSite({
  parts,
  path: [name = ''],
  url,
}: ArmRequest): Promise<ArmAnswer> {
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

export function listSites({ parts, url }: ArmRequest): ArmAnswer {
  const sites = [...parts.store.sites.values()];
  const from = Number(url.searchParams.get('$skiptoken') ?? 0);
  const value = sites.slice(from, from + PAGE_SIZE).map((site) => siteBody(parts, site));
  const next = new URL(url);
  next.searchParams.set('$skiptoken', String(from + PAGE_SIZE));
  const nextLink = from + PAGE_SIZE < sites.length ? next.href : null;
  return { status: 200, body: { value, nextLink } };
}

export async function putSettings({
  parts,
  path: [name = ''],
  body,
}: ArmRequest): Promise<ArmAnswer> {
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

export function getSettings({ parts, path: [name = ''] }: ArmRequest): ArmAnswer {
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

export function listKeys({ parts, path: [name = ''] }: ArmRequest): ArmAnswer {
  const site = parts.store.sites.get(name);
  if (!site) return missing(parts, 'sites', name);
  const { masterKey, functionKeys } = site;
  return { status: 200, body: { masterKey, functionKeys, systemKeys: {} } };
}

export async function putKey({
  parts,
  path: [name = '', key = ''],
  body,
}: ArmRequest): Promise<ArmAnswer> {
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

export function listFunctions({ parts, path: [name = ''] }: ArmRequest): ArmAnswer {
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

export function syncTriggers({ parts, path: [name = ''] }: ArmRequest): ArmAnswer {
  return parts.store.sites.has(name) ? { status: 204 } : missing(parts, 'sites', name);
}

export function listPublishing({ parts, path: [name = ''] }: ArmRequest): ArmAnswer {
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

export async function patchTags({
  parts,
  path: [name = ''],
  body,
}: ArmRequest): Promise<ArmAnswer> {
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

/** The id of an operation has all its state, so it survives a restart: how it ends, and the app. */
function longRunning(
  parts: AzureParts,
  site: string,
  location: string,
  fault: Fault | undefined,
): ArmAnswer | undefined {
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

export function getOperation({ path: [, id = ''] }: ArmRequest): ArmAnswer {
  const [ends = ''] = id.split('.');
  const status = { fails: 'Failed', never: 'InProgress', well: 'Succeeded' }[ends];
  if (!status) return failed(404, 'NotFound', `Operation ${id} was not found.`);
  const error = { code: 'InternalServerError', message: 'The app could not be made.' };
  return { status: 200, body: { id, name: id, status, ...(status === 'Failed' && { error }) } };
}

export function getOperationResult({ parts, path: [, id = ''], url }: ArmRequest): ArmAnswer {
  const [ends, name = ''] = id.split('.');
  if (ends === 'never') return { status: 202, headers: { location: url.href } };
  if (ends === 'fails') return failed(409, 'Conflict', 'The app could not be made.');
  const site = parts.store.sites.get(name);
  return site ? { status: 200, body: siteBody(parts, site) } : missing(parts, 'sites', name);
}

/** An app as Azure Resource Manager shows it, without its settings. */
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

function settingsOf(list: unknown): Record<string, string> {
  const settings: Record<string, string> = {};
  for (const entry of Array.isArray(list) ? list : []) {
    const { name, value } = asRecord(entry);
    if (typeof name === 'string') settings[name] = String(value ?? '');
  }
  return settings;
}
