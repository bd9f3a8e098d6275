// The requests of the control plane to Azure Resource Manager, one function each. `control.ts`
// decides which of them run.

import { setTimeout as wait } from 'node:timers/promises';
import type { AppServicePlan, Site } from '@azure/arm-appservice';
import { placeOf } from '../deployment/check-spec.ts';
import { type Deployment, type DeploymentSpec, type PlanStep, ProviderError } from '../provider.ts';
import { type AppOptions, siteOf, tagsOf } from './app.ts';
import {
  about,
  controlError,
  guard,
  protocolError,
  statusError,
  statusOf,
  unlessMissing,
} from './errors.ts';
import type { SdkLoader } from './sdk.ts';
import { keep, SKUS, step } from './steps.ts';

export interface RequestsParts {
  readonly app: AppOptions;
  readonly resourceGroup: string;
  /** Path of the provider Microsoft.Web in the resource group. */
  readonly web: string;
  /** Origin of Azure Resource Manager. */
  readonly armOrigin: string;
  readonly sdk: Pick<SdkLoader, 'open'>;
  /** Pause between two polls. Default: 1 s here, 2 s in the SDK. */
  readonly pollMs: number | undefined;
}

const POLL_MS = 1000;

/** @returns undefined when Azure has no such app */
export async function readSite(
  { sdk, resourceGroup }: RequestsParts,
  name: string,
  abortSignal: AbortSignal,
): Promise<Site | undefined> {
  const { client } = await sdk.open();
  return unlessMissing(client.webApps.get(resourceGroup, name, { abortSignal }));
}

/** @returns undefined when Azure has no App Service plan of that name */
export async function readPlan(
  { sdk, resourceGroup }: RequestsParts,
  name: string,
  abortSignal: AbortSignal,
): Promise<AppServicePlan | undefined> {
  const { client } = await sdk.open();
  return unlessMissing(client.appServicePlans.get(resourceGroup, name, { abortSignal }));
}

/** Creates the App Service plan unless it is there. */
export async function writePlan(
  parts: RequestsParts,
  spec: DeploymentSpec,
  abortSignal: AbortSignal,
): Promise<PlanStep> {
  const { sdk, resourceGroup, app } = parts;
  const { name, region } = spec;
  if (await readPlan(parts, name, abortSignal)) return keep('plan', name);
  const farm: AppServicePlan = {
    location: region,
    kind: 'functionapp',
    reserved: true,
    sku: SKUS[app.planKind],
    tags: tagsOf(spec, app.gateway),
  };
  const { client } = await sdk.open();
  await client.appServicePlans
    .createOrUpdate(resourceGroup, name, farm, { abortSignal, ...pollOptions(parts) })
    .pollUntilDone({ abortSignal });
  return step('create', 'plan', name, 'missing');
}

/**
 * Creates or updates the app with its settings and tags. This drops the tag that says that the app
 * is deployed.
 * @throws ProviderError PROVIDER_DEPLOY_FAILED  Azure accepted the request, then could not do it
 */
export async function writeSite(
  parts: RequestsParts,
  spec: DeploymentSpec,
  signal: AbortSignal,
): Promise<Site> {
  const { sdk, resourceGroup, web, app } = parts;
  const { name } = spec;
  const wanted = siteOf(spec, `${web}/serverfarms/${name}`, app);
  const { client } = await sdk.open();
  const poller = client.webApps.createOrUpdate(resourceGroup, name, wanted, {
    abortSignal: signal,
    ...pollOptions(parts),
  });
  await poller.submitted();
  try {
    await poller.pollUntilDone({ abortSignal: signal });
  } catch (error) {
    if (signal.aborted || (statusOf(error) ?? 409) !== 409) throw error;
    // Azure reports the failure either as a failed operation, or as a conflict at the URL of the
    // result.
    const { message } = controlError('deploy', name, signal, error);
    throw new ProviderError('PROVIDER_DEPLOY_FAILED', message, about('deploy', name));
  }
  const site = await readSite(parts, name, signal);
  if (!site) throw protocolError('deploy', name, 'the app is gone after it was made');
  return site;
}

/** Tags the app as deployed, through Azure's tags API: the SDK's update of an app takes no tags. */
export async function tagDeployed(
  { sdk, armOrigin }: RequestsParts,
  site: Site,
  hash: string,
  signal: AbortSignal,
): Promise<void> {
  const { send } = await sdk.open();
  const tags = { 'defaas-spec': hash };
  const answer = await send({
    url: `${armOrigin}${site.id}/providers/Microsoft.Resources/tags/default?api-version=2021-04-01`,
    method: 'PATCH',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ operation: 'Merge', properties: { tags } }),
    signal,
  });
  if (answer.status !== 200 && answer.status !== 202) {
    throw statusError('deploy', site.name ?? '', answer);
  }
}

/** Deletes the app and waits until it is gone. @returns false when there was none */
export async function removeSite(
  parts: RequestsParts,
  name: string,
  signal: AbortSignal,
): Promise<boolean> {
  if (!(await readSite(parts, name, signal))) return false;
  const { client } = await parts.sdk.open();
  const options = { abortSignal: signal, deleteEmptyServerFarm: true };
  await unlessMissing(client.webApps.delete(parts.resourceGroup, name, options));
  return true;
}

export async function waitUntilGone(
  parts: RequestsParts,
  name: string,
  signal: AbortSignal,
): Promise<void> {
  while (await readSite(parts, name, signal)) {
    await wait(parts.pollMs ?? POLL_MS, undefined, { signal });
  }
}

/** Deletes the App Service plan. @returns false when there was none */
export async function removePlan(
  parts: RequestsParts,
  name: string,
  abortSignal: AbortSignal,
): Promise<boolean> {
  if (!(await readPlan(parts, name, abortSignal))) return false;
  const { client } = await parts.sdk.open();
  const removal = client.appServicePlans.delete(parts.resourceGroup, name, { abortSignal });
  await unlessMissing(removal);
  return true;
}

/** The apps of this gateway in one region. */
export async function* listSites(
  { sdk, resourceGroup, app }: RequestsParts,
  region: string,
  signal: AbortSignal,
): AsyncGenerator<Pick<Deployment, 'name' | 'region' | 'specHash'>> {
  const { client } = await guard('list', resourceGroup, signal, sdk.open);
  const sites = client.webApps.listByResourceGroup(resourceGroup, { abortSignal: signal });
  for (;;) {
    const { done, value: site } = await guard('list', resourceGroup, signal, () => sites.next());
    if (done) return;
    const isOurs = site.tags?.['defaas-gateway'] === app.gateway;
    if (!isOurs || placeOf(site.location ?? '') !== placeOf(region)) continue;
    yield { name: site.name ?? '', region, specHash: site.tags?.['defaas-spec'] ?? '' };
  }
}

function pollOptions({ pollMs }: RequestsParts) {
  return pollMs === undefined ? {} : { updateIntervalInMs: pollMs };
}
