// `defaas destroy <function>`: removes a function from its clouds and retires its deployments on
// the chain. Versions and receipts stay.
import {
  destroy as askToDestroy,
  type DeploymentOutcome,
  fetchDeployments,
} from '../../broker/client/deployments.ts';
import type { Session } from '../../broker/client/session.ts';
import { parseClouds } from './clouds.ts';
import { confirmNow } from './confirm.ts';
import { type Flags, type Outcome, openGateway, openSession } from './context.ts';
import { stepLine } from './deployment-lines.ts';
import { type FunctionName, parseFunctionName } from './function-name.ts';
import { runSteps } from './progress.ts';
import { formatTable } from './table.ts';

/**
 * Removes all versions or the named one, from all clouds or those of `--from`. Repeating it is no
 * error.
 * @throws FUNCTION_UNKNOWN, NOT_OWNER
 */
export async function destroy(
  flags: Flags,
  target: string,
  { from }: { readonly from?: string },
): Promise<Outcome> {
  const providers = from === undefined ? undefined : parseClouds(from);
  const opened = await openGateway(flags);
  try {
    const { owner, name, reference } = parseFunctionName(target, opened.account.address);
    const session = await openSession(opened, opened.account);
    await confirmNow(
      flags,
      await removalOf(session, { owner, name, reference }, target, providers),
      'Remove it?',
    );
    const ended: DeploymentOutcome[] = [];
    await runSteps(flags, [
      {
        title: `taking ${target} off ${providers?.join(', ') ?? 'all its clouds'}`,
        run: async (report) => {
          ended.push(
            await askToDestroy(session, {
              owner,
              name,
              ...(target.includes('@') && { version: reference }),
              ...(providers && { providers }),
              onStep: (step) => report(stepLine(step)),
            }),
          );
        },
      },
    ]);
    const [outcome] = ended;
    if (!outcome) throw new Error('it ended without an outcome');
    const failed = outcome.providers.find((provider) => provider.error)?.error ?? outcome.error;
    return {
      document: { name, owner, state: outcome.state, providers: outcome.providers },
      text:
        outcome.providers.length === 0
          ? `${name} was on no cloud`
          : formatTable(
              ['cloud', 'region', 'state', ''],
              outcome.providers.map(({ provider, region, state, error }) => [
                provider,
                region,
                state,
                error ? `${error.code}: ${error.message}` : '',
              ]),
            ),
      ...(outcome.state === 'failed' && {
        failure: failed ?? {
          code: 'PROVIDER_DEPLOY_FAILED',
          message: `${name} is not gone everywhere, run the command again`,
        },
      }),
    };
  } finally {
    opened.close();
  }
}

/** What is about to be removed, as one line. */
async function removalOf(
  session: Session,
  { owner, name, reference }: FunctionName,
  target: string,
  providers: readonly string[] | undefined,
): Promise<string> {
  const deployed = await fetchDeployments(session, { owner, name });
  const removed = deployed
    .filter(({ version }) => !target.includes('@') || `${version}` === reference)
    .filter(({ provider }) => providers?.includes(provider) ?? true)
    .map(({ version, provider, region }) => `@${version} on ${provider} ${region}`);
  return removed.length === 0
    ? `${target} runs nowhere here`
    : `${name} will be removed: ${removed.join(', ')}; callers of these get an error`;
}
