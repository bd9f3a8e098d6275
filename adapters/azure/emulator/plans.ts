// The operations on plans (Microsoft.Web/serverfarms).

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
import type { PlanRecord } from './store.ts';

export function putPlan({
  parts,
  path: [name = ''],
  body,
  fault,
}: ArmRequest): Promise<ArmAnswer> | ArmAnswer {
  const { location, sku, kind, tags } = asRecord(body);
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
  const plan: PlanRecord = {
    name,
    location,
    kind: String(kind ?? 'functionapp'),
    sku: { name: skuName, tier: skuName === 'FC1' ? 'FlexConsumption' : 'Dynamic' },
    tags: asTexts(tags),
  };
  return parts.store.putPlan(plan).then(() => ({ status: 200, body: planBody(parts, plan) }));
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
