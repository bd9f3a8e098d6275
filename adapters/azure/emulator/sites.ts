// The operations on function apps (Microsoft.Web/sites): the app, its settings, keys, functions and
// tags, and the long-running creation.

import { randomBytes, randomUUID } from 'node:crypto';
import type { Fault } from '../../emulators/faults.ts';
import { checkSite } from './check-site.ts';
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
  warn,
} from './resource.ts';
import { SITE_SETTINGS } from './settings.ts';
import { etagOf, siteBody } from './site-body.ts';
import type { FunctionAppConfig, SiteRecord } from './store.ts';

/** Apps per page of a list. */
const PAGE_SIZE = 50;

export async function putSite({
  parts,
  path: [name = ''],
  body,
  fault,
}: ArmRequest): Promise<ArmAnswer> {
  const { location, kind, tags, identity, properties } = asRecord(body);
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
  const appConfig = functionAppConfig ?? known?.functionAppConfig;
  const wanted = {
    name,
    location,
    kind: String(kind ?? 'functionapp,linux'),
    plan: plan.name,
    tags: asTexts(tags),
    ...(identity ? { identity } : {}),
    siteConfig: config,
    // Safe: checkSite refuses what has another form.
    ...(appConfig ? { functionAppConfig: appConfig as FunctionAppConfig } : {}),
    settings: appSettings ? settingsOf(appSettings) : (known?.settings ?? {}),
    given: givenOf(properties),
    modifiedAtMs: Date.now(),
  };
  const { refused, warnings } = checkSite(body, wanted, plan);
  if (refused) return failed(400, 'BadRequest', refused);

  const failing = fault?.kind === 'operation-fails' || fault?.kind === 'stuck-operation';
  const operation = longRunning(parts, name, location, fault);
  if (failing) return operation ?? failed(500, 'InternalServerError', 'The app could not be made.');
  const site: SiteRecord = { ...(known ?? (await newSite(parts, name))), ...wanted };
  await parts.store.putSite(site);
  if (known) parts.replaceApp(name);
  return warn(parts, name, warnings, operation ?? shown(parts, site));
}

async function newSite(
  parts: AzureParts,
  name: string,
): Promise<
  Pick<
    SiteRecord,
    'sitePort' | 'scmPort' | 'masterKey' | 'functionKeys' | 'publishing' | 'publishes' | 'functions'
  >
> {
  return {
    ...(await parts.openSite(name)),
    masterKey: newKey(),
    functionKeys: { default: newKey() },
    publishing: { user: `$${name}`, password: newKey() },
    publishes: [],
    functions: [],
  };
}

function newKey(): string {
  return randomBytes(40).toString('base64url');
}

/** The answer with its etag. */
function shown(parts: AzureParts, site: SiteRecord): ArmAnswer {
  return { status: 200, headers: { etag: etagOf(site) }, body: siteBody(parts, site) };
}

/** The settings of a site that are kept as they were sent. */
function givenOf(properties: unknown): Record<string, unknown> {
  const kept = Object.entries(asRecord(properties)).filter(([name, value]) => {
    const setting = SITE_SETTINGS[`properties.${name}`];
    return value !== null && name !== 'serverFarmId' && setting && setting.treatment !== 'output';
  });
  return Object.fromEntries(kept);
}

export function getSite({ parts, path: [name = ''] }: ArmRequest): ArmAnswer {
  const site = parts.store.sites.get(name);
  return site ? shown(parts, site) : missing(parts, 'sites', name);
}

export async function patchSite({
  parts,
  path: [name = ''],
  body,
}: ArmRequest): Promise<ArmAnswer> {
  const site = parts.store.sites.get(name);
  if (!site) return missing(parts, 'sites', name);
  const { tags, identity, properties } = asRecord(body);
  const { siteConfig, functionAppConfig, serverFarmId } = asRecord(properties);
  if (serverFarmId && String(serverFarmId).split('/').at(-1) !== site.plan)
    return failed(400, 'BadRequest', 'properties.serverFarmId: an app stays on its plan here.');
  const { appSettings, ...config } = asRecord(siteConfig);
  const changed: SiteRecord = {
    ...site,
    siteConfig: { ...site.siteConfig, ...config },
    // Safe: checkSite refuses what has another form.
    ...(functionAppConfig ? { functionAppConfig: functionAppConfig as FunctionAppConfig } : {}),
    ...(tags !== undefined && { tags: asTexts(tags) }),
    ...(identity ? { identity } : {}),
    ...(appSettings !== undefined && { settings: settingsOf(appSettings) }),
    given: { ...site.given, ...givenOf(properties) },
    modifiedAtMs: Date.now(),
  };
  const { refused, warnings } = checkSite(body, changed, planOf(parts, site));
  if (refused) return failed(400, 'BadRequest', refused);
  await parts.store.putSite(changed);
  if (siteConfig !== undefined || functionAppConfig) parts.replaceApp(name);
  return warn(parts, name, warnings, shown(parts, changed));
}

function planOf({ store }: AzureParts, site: SiteRecord) {
  return store.plans.get(site.plan) ?? { sku: { name: site.functionAppConfig ? 'FC1' : 'Y1' } };
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
  const { refused, warnings } = checkSite({}, changed, planOf(parts, site));
  if (refused) return failed(400, 'BadRequest', refused);
  await parts.store.putSite(changed);
  parts.replaceApp(name);
  return warn(parts, name, warnings, { status: 200, body: settingsBody(parts, changed) });
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
  return site ? shown(parts, site) : missing(parts, 'sites', name);
}

function settingsOf(list: unknown): Record<string, string> {
  const settings: Record<string, string> = {};
  for (const entry of Array.isArray(list) ? list : []) {
    const { name, value } = asRecord(entry);
    if (typeof name === 'string') settings[name] = String(value ?? '');
  }
  return settings;
}
