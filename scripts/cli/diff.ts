// `defaas diff <function>`: shows what a deploy would change at each cloud, and what a call would
// cost there. It changes nothing.

import { planDeployment } from '../../broker/client/deployments.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import { cloudsOf, parseClouds } from './clouds.ts';
import { type Flags, note, type Outcome, openGateway, openSession } from './context.ts';
import { formatCost, lossLines } from './deployment-lines.ts';
import { parseFunctionName } from './function-name.ts';
import { formatTable } from './table.ts';

/**
 * Succeeds also if there is something to change.
 * @throws CliError USAGE, PROVIDER_INVALID, FUNCTION_UNKNOWN, NOT_OWNER, SECRET_MISSING
 */
export async function diff(
  flags: Flags,
  target: string,
  { to }: { readonly to?: string },
): Promise<Outcome> {
  const chosen = to === undefined ? undefined : parseClouds(to);
  const opened = await openGateway(flags);
  try {
    const name = parseFunctionName(target, opened.account.address);
    const providers = chosen ?? (await cloudsOf(opened, name));
    const session = await openSession(opened, opened.account);
    const plan = await planDeployment(session, {
      owner: name.owner,
      name: name.name,
      version: name.reference,
      providers,
    });
    for (const line of lossLines(plan.clouds)) note(flags, `  ${line}`);
    return {
      document: {
        name: name.name,
        owner: name.owner,
        version: plan.version,
        changes: plan.clouds.some(({ action }) => action !== 'keep'),
        clouds: plan.clouds,
      },
      text: formatTable(
        ['cloud', 'region', 'action', 'resource', 'cost a call, tokens', 'price, tokens', ''],
        plan.clouds.flatMap(({ provider, region, steps, cost, error }) => {
          const money = cost ? [formatCost(cost), formatTokens(cost.priceUnits)] : ['-', '-'];
          if (error)
            return [[provider, region, '!', '', ...money, `${error.code}: ${error.message}`]];
          return steps.map((step, index) => [
            ...(index === 0 ? [provider, region] : ['', '']),
            step.action,
            step.resource,
            ...(index === 0 ? money : ['', '']),
            step.why,
          ]);
        }),
      ),
    };
  } finally {
    opened.close();
  }
}
