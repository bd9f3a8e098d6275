// One line for a step, a plan and a cost of a deployment.
import type {
  CallCost,
  CloudPlan,
  DeploymentStep,
  WarmCost,
} from '../../broker/client/deployments.ts';
import { DECIMALS, formatTokens } from '../../contracts/libraries/tokens.ts';

export function stepLine({ provider, action, resource, state }: DeploymentStep): string {
  return `${provider}: ${action} ${resource} ${state}`;
}

/** Formats everything that is to be done at one cloud as one line. */
export function planLine({ provider, action, steps, cost, error }: CloudPlan): string {
  if (error) return `${provider}: ${error.code}: ${error.message}`;
  const parts = steps.filter((step) => step.action !== 'keep' && step.action !== 'wait');
  const changes = parts.map((step) => `${step.action} ${step.resource}`).join(', ');
  const costs = cost
    ? `; a call costs ${formatCost(cost)} of its price of ${formatTokens(cost.priceUnits)} tokens, ${formatTokens(cost.priceUnits - cost.earnedUnits)} are its publisher's`
    : '';
  const warm = cost?.warm ? `; ${formatWarm(cost.warm)}` : '';
  return `${provider}: ${changes || action}${costs}${warm}`;
}

/** The sizes that calls may have, which are those of the smallest cloud. */
export function limitsLine(clouds: readonly Pick<CloudPlan, 'limits'>[]): string {
  const least = (of: (limits: CloudPlan['limits']) => number): string =>
    `${(Math.min(...clouds.map(({ limits }) => of(limits))) / 1e6).toFixed(1)} MB`;
  return `a request may have ${least((one) => one.requestBytes)}, an answer ${least((one) => one.answerBytes)}: the least of its clouds; an answer's headers 8 KiB`;
}

/** Formats what keeping instances warm costs the operator. */
export function formatWarm({ instances, costUnits, days }: WarmCost): string {
  return `${instances} kept warm cost its operator up to ${formatTokens(costUnits)} tokens in ${days} days`;
}

/** Estimated cost of a call in tokens, to a thousandth of a base unit. */
export function formatCost({ costPico }: CallCost): string {
  return (Number(costPico) / 1e12).toFixed(DECIMALS + 3).replace(/\.?0+$/, '');
}

/** One warning for each cloud where a call costs more than it earns. */
export function lossLines(clouds: readonly CloudPlan[]): string[] {
  return clouds.flatMap(({ provider, cost }) =>
    cost?.belowCost
      ? [
          `TARIFF_BELOW_COST: price ${formatTokens(cost.priceUnits)} tokens, estimate ${formatTokens(cost.costUnits)} tokens, on ${provider}, raise the tariff or pass --accept-loss`,
        ]
      : [],
  );
}
