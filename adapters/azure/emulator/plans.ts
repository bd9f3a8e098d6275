// The operations on plans (Microsoft.Web/serverfarms).

import { checkPlan } from './check-site.ts';
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
import { PLAN_SETTINGS } from './settings.ts';
import { webSpaceOf } from './site-body.ts';
import type { PlanRecord } from './store.ts';

export function putPlan({
  parts,
  path: [name = ''],
  body,
  fault,
}: ArmRequest): Promise<ArmAnswer> | ArmAnswer {
  const { location, sku, kind, tags, properties } = asRecord(body);
  const skuName = asRecord(sku).name;
  // Azure answers 401 here, though the credentials are valid. Not verified against Azure.
  if (fault?.kind === 'quota')
    return failed(
      401,
      'Unauthorized',
      'Operation cannot be completed without additional quota. Current Limit (Dynamic VMs): 0.',
    );
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
  const { refused, warnings } = checkPlan(body);
  if (refused) return failed(400, 'BadRequest', refused);
  const plan: PlanRecord = {
    name,
    location,
    kind: String(kind ?? 'functionapp'),
    sku: { name: skuName, tier: skuName === 'FC1' ? 'FlexConsumption' : 'Dynamic' },
    tags: asTexts(tags),
    given: givenOf(properties),
  };
  const answer = { status: 200, body: planBody(parts, plan) };
  return parts.store.putPlan(plan).then(() => warn(parts, name, warnings, answer));
}

export function getPlan({ parts, path: [name = ''] }: ArmRequest): ArmAnswer {
  const plan = parts.store.plans.get(name);
  return plan ? { status: 200, body: planBody(parts, plan) } : missing(parts, 'serverfarms', name);
}

export async function deletePlan({ parts, path: [name = ''] }: ArmRequest): Promise<ArmAnswer> {
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

export function listPlans({ parts }: ArmRequest): ArmAnswer {
  const value = [...parts.store.plans.values()].map((plan) => planBody(parts, plan));
  return { status: 200, body: { value, nextLink: null } };
}

/** The settings of a plan that are kept as they were sent. */
function givenOf(properties: unknown): Record<string, unknown> {
  const kept = Object.entries(asRecord(properties)).filter(([name, value]) => {
    const setting = PLAN_SETTINGS[`properties.${name}`];
    return value !== null && setting && setting.treatment !== 'output';
  });
  return Object.fromEntries(kept);
}

/** With all usual fields, as recorded answers in the tests of azure-cli have them. */
function planBody(parts: AzureParts, plan: PlanRecord) {
  const { name, location, kind, tags, given } = plan;
  const numberOfSites = [...parts.store.sites.values()].filter((site) => site.plan === name).length;
  const sku = {
    ...plan.sku,
    size: plan.sku.name,
    family: plan.sku.name.slice(0, -1),
    capacity: 0,
  };
  return {
    id: idOf(parts, 'serverfarms', name),
    name,
    type: 'Microsoft.Web/serverfarms',
    kind,
    location: displayName(location),
    tags,
    sku,
    properties: {
      name,
      kind,
      tags,
      sku,
      ...DEFAULTS,
      computeMode: plan.sku.tier === 'Dynamic' ? 'Dynamic' : null,
      webSpace: webSpaceOf(parts, location),
      geoRegion: displayName(location),
      subscription: parts.subscriptionId,
      resourceGroup: parts.resourceGroup,
      numberOfSites,
      ...given,
    },
  };
}

const DEFAULTS = {
  workerSize: 'Default',
  workerSizeId: 0,
  workerTierName: null,
  numberOfWorkers: 0,
  currentWorkerSize: 'Default',
  currentWorkerSizeId: 0,
  currentNumberOfWorkers: 0,
  status: 'Ready',
  adminSiteName: null,
  adminRuntimeSiteName: null,
  hostingEnvironment: null,
  hostingEnvironmentProfile: null,
  hostingEnvironmentId: null,
  maximumNumberOfWorkers: 0,
  planName: 'VirtualDedicatedPlan',
  siteMode: null,
  perSiteScaling: false,
  elasticScaleEnabled: false,
  maximumElasticWorkerCount: 0,
  isSpot: false,
  spotExpirationTime: null,
  freeOfferExpirationTime: null,
  reserved: true,
  isXenon: false,
  hyperV: false,
  mdmId: 'emulator',
  targetWorkerCount: 0,
  targetWorkerSizeId: 0,
  provisioningState: 'Succeeded',
  webSiteId: null,
  existingServerFarmIds: null,
  kubeEnvironmentProfile: null,
  zoneRedundant: false,
};
