// `defaas rollback <function>`: points `latest` at an earlier version on the chain, and says where
// that one runs.

import type { RegisteredFunction } from '../../contracts/chain/types.ts';
import type { Chain } from '../../contracts/chain.ts';
import { awaitBlock } from './await-block.ts';
import { openChain } from './chain.ts';
import { CliError } from './cli-error.ts';
import { type Flags, type Outcome, openGateway } from './context.ts';
import { liveDeployments } from './list.ts';
import { findFunction } from './owned-function.ts';
import { formatTable } from './table.ts';

/**
 * Goes back to the previous version, or to that of `--to`. Clouds are not contacted.
 * @throws FUNCTION_UNKNOWN no such or no earlier version; NOT_OWNER, CHAIN_...
 */
export async function rollback(
  flags: Flags,
  target: string,
  { to }: { readonly to?: string },
): Promise<Outcome> {
  if (to !== undefined && !/^[1-9]\d{0,8}$/.test(to)) {
    throw new CliError('USAGE', `--to takes the number of a version, got "${to}"`);
  }
  const opened = await openGateway(flags);
  const chain = await openChain(opened);
  try {
    const { fn, named } = findFunction(opened, chain, target);
    const { owner, name } = named;
    const number = to === undefined ? versionBefore(chain, fn) : Number(to);
    const version = chain.view.versionOf(fn, number);
    if (!version || version.deprecated) {
      throw new CliError(
        'FUNCTION_UNKNOWN',
        `no version ${number} of ${name} that may be served, on the chain, see defaas list`,
      );
    }
    if (fn.latest !== number) {
      const block = await chain.connect(opened.account).moveAlias(fn.id, 'latest', number);
      await chain.synced(block);
      await awaitBlock(opened.connection, block);
    }
    const { gateway } = opened.connection.document;
    const deployments = liveDeployments(chain.view, version, gateway);
    const runs = deployments.map(({ provider, region }) => [provider, region]);
    return {
      document: { name, owner, from: fn.latest, to: number, deployments },
      text:
        deployments.length > 0
          ? `latest of ${name} is ${number} now, it was ${fn.latest}; it runs on\n${formatTable(['cloud', 'region'], runs)}`
          : `latest of ${name} is ${number} now, it was ${fn.latest}; it runs nowhere here, next: defaas deploy ${name}@${number}`,
    };
  } finally {
    chain.close();
    opened.close();
  }
}

function versionBefore({ view }: Pick<Chain, 'view'>, fn: RegisteredFunction): number {
  for (let number = fn.latest - 1; number > 0; number -= 1) {
    if (view.versionOf(fn, number)?.deprecated === false) return number;
  }
  throw new CliError(
    'FUNCTION_UNKNOWN',
    `no version before ${fn.latest}, on ${fn.name}, name one with --to`,
  );
}
