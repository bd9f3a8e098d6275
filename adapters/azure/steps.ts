// Compares what Azure has with what is wanted and lists the steps between the two, in order.

import type { AppServicePlan, Site } from '@azure/arm-appservice';
import type { PlanStep } from '../provider.ts';
import type { PlanKind } from './limits.ts';

/** Names of the two kinds of plans in Azure Resource Manager. */
export const SKUS = {
  flex: { name: 'FC1', tier: 'FlexConsumption' },
  y1: { name: 'Y1', tier: 'Dynamic' },
} as const;

/** Sends nothing. `farm` is the App Service plan that the app runs on. */
export function listSteps(
  name: string,
  { site, farm }: { site: Site | undefined; farm: AppServicePlan | undefined },
  planKind: PlanKind,
): PlanStep[] {
  const isMoved = farm !== undefined && !isOfKind(farm, planKind);
  const action = site && !isMoved ? 'update' : 'create';
  const why =
    action === 'update' ? 'the spec has changed, or the last deploy did not end' : 'missing';
  return [
    ...(isMoved ? [step('remove', 'app', name, 'it is on another kind of plan')] : []),
    farm && !isMoved ? keep('plan', name) : step('create', 'plan', name, 'missing'),
    step(action, 'app', name, why),
    step(action, 'package', name, why),
    step('wait', 'app', name, 'until the new code answers'),
  ];
}

/** Whether a deploy of this spec has ended: its last step writes the tag. */
export function isDeployed(site: Site | undefined, hash: string): site is Site {
  return site?.tags?.['defaas-spec'] === hash && site.state === 'Running';
}

export function isOfKind({ sku }: AppServicePlan, planKind: PlanKind): boolean {
  return sku?.name === SKUS[planKind].name;
}

export function step(
  action: PlanStep['action'],
  resource: string,
  name: string,
  why: string,
): PlanStep {
  return { action, resource, name, why };
}

export function keep(resource: string, name: string): PlanStep {
  return step('keep', resource, name, 'as it should be');
}
