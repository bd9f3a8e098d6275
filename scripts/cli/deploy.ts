// `defaas deploy <function>`: shows what will change at each cloud and what a call costs there,
// then deploys and reports each step.
import {
  deploy as askToDeploy,
  type CallCost,
  type CloudPlan,
  type DeploymentOutcome,
  type DeploymentStep,
  planDeployment,
  type WarmCost,
} from '../../broker/client/deployments.ts';
import { cloudsOf, parseClouds } from './clouds.ts';
import { type Flags, type Outcome, openGateway, openSession } from './context.ts';
import { type FunctionName, parseFunctionName } from './function-name.ts';
import { runSteps } from './progress.ts';
import { formatTable } from './table.ts';
import { formatTokens } from './units.ts';

export interface DeployOptions {
  readonly to?: string;
  readonly acceptLoss?: boolean;
}

/**
 * A cloud that fails does not undo the others; the command then fails and reports what is live.
 * @throws PROVIDER_UNKNOWN, PROVIDER_INVALID, PROVIDER_TOO_LARGE, FUNCTION_UNKNOWN, NOT_OWNER,
 *   PUBLISHER_NOT_ALLOWED, SECRET_MISSING
 * @throws TARIFF_BELOW_COST  unless the loss is accepted
 */
export async function deploy(
  flags: Flags,
  target: string,
  { to, acceptLoss = false }: DeployOptions,
): Promise<Outcome> {
  const chosen = to === undefined ? undefined : parseClouds(to);
  const opened = await openGateway(flags);
  try {
    const name = parseFunctionName(target, opened.account.address);
    const { owner, reference: version } = name;
    const providers = chosen ?? (await cloudsOf(opened, name));
    const session = await openSession(opened, opened.account);
    const what = `${name.name}@${version} on ${providers.join(', ')}`;
    const request = { owner, name: name.name, version, providers };
    const planned: CloudPlan[] = [];
    const ended: DeploymentOutcome[] = [];
    await runSteps(flags, [
      {
        title: `planning ${what}`,
        run: async (report) => {
          planned.push(...(await planDeployment(session, request)).clouds);
          for (const cloud of planned) report(planLine(cloud));
          for (const line of lossLines(planned)) report(line);
        },
      },
      {
        title: `deploying ${what}`,
        run: async (report) => {
          const onStep = (step: DeploymentStep) => report(stepLine(step));
          ended.push(await askToDeploy(session, { ...request, acceptLoss, onStep }));
        },
      },
    ]);
    const [outcome] = ended;
    if (!outcome) throw new Error('the deployment ended without an outcome');
    return outcomeOf(name, outcome, planned);
  } finally {
    opened.close();
  }
}

export function stepLine({ provider, action, resource, state }: DeploymentStep): string {
  return `${provider}: ${action} ${resource} ${state}`;
}

/** Formats everything that is to be done at one cloud as one line. */
export function planLine({ provider, action, steps, cost, error }: CloudPlan): string {
  if (error) return `${provider}: ${error.code}: ${error.message}`;
  const parts = steps.filter((step) => step.action !== 'keep' && step.action !== 'wait');
  const changes = parts.map((step) => `${step.action} ${step.resource}`).join(', ');
  const costs = cost ? `; a call costs ${formatCost(cost)} of ${cost.priceUnits} units` : '';
  const warm = cost?.warm ? `; ${formatWarm(cost.warm)}` : '';
  return `${provider}: ${changes || action}${costs}${warm}`;
}

/** Formats what keeping instances warm costs the operator. */
export function formatWarm({ instances, costUnits, days }: WarmCost): string {
  return `${instances} kept warm cost its operator up to ${formatTokens(costUnits)} tokens in ${days} days`;
}

/** Estimated cost of a call in base units of the token, with three decimals. */
export function formatCost({ costPico }: CallCost): string {
  return (Number(costPico) / 1e6).toFixed(3);
}

/** One warning for each cloud where a call costs more than it earns. */
export function lossLines(clouds: readonly CloudPlan[]): string[] {
  return clouds.flatMap(({ provider, cost }) =>
    cost?.belowCost
      ? [
          `TARIFF_BELOW_COST: price ${cost.priceUnits} units, estimate ${cost.costUnits} units, on ${provider}, raise the tariff or pass --accept-loss`,
        ]
      : [],
  );
}

function outcomeOf(
  name: FunctionName,
  outcome: DeploymentOutcome,
  planned: readonly CloudPlan[],
): Outcome {
  const failed = outcome.providers.find((provider) => provider.error)?.error ?? outcome.error;
  const isLive = outcome.state === 'live';
  return {
    document: {
      name: name.name,
      owner: name.owner,
      version: name.reference,
      state: outcome.state,
      providers: outcome.providers,
      plan: planned,
    },
    text: formatTable(
      ['cloud', 'region', 'state', 'cost a call, units', ''],
      outcome.providers.map(({ provider, region, state, error }) => {
        const cost = planned.find((cloud) => cloud.provider === provider)?.cost;
        const why = error ? `${error.code}: ${error.message}` : '';
        return [provider, region, state, cost ? formatCost(cost) : '-', why];
      }),
    ),
    ...(!isLive && {
      failure: failed ?? {
        code: 'PROVIDER_DEPLOY_FAILED',
        message: `${name.name} is not live everywhere, run the command again`,
      },
    }),
  };
}
