// `defaas deprecate <function>@<version> ...`: ends versions for good. Nobody can call them any
// more, at any gateway; receipts and bills stay.
import { awaitBlock } from './await-block.ts';
import { openChain } from './chain.ts';
import { CliError } from './cli-error.ts';
import { type Flags, type Outcome, openGateway } from './context.ts';
import { findOwnedFunction } from './owned-function.ts';

/**
 * Repeating it is no error. All names are checked before the first is deprecated.
 * @throws CliError USAGE, FUNCTION_UNKNOWN, NOT_OWNER, VERSION_IN_USE; ChainError CHAIN_...
 */
export async function deprecate(flags: Flags, targets: readonly string[]): Promise<Outcome> {
  const opened = await openGateway(flags);
  const chain = await openChain(opened);
  try {
    const found = targets.map((target) => {
      const { fn, named, label } = findOwnedFunction(opened, chain, target);
      if (!/^[1-9]\d{0,8}$/.test(named.reference)) {
        throw new CliError('USAGE', `"${target}" names no version, write ${label}@<number>`);
      }
      const version = chain.view.versionOf(fn, Number(named.reference));
      if (version === undefined) {
        throw new CliError(
          'FUNCTION_UNKNOWN',
          `no version ${label}@${named.reference}, on the chain, see defaas versions ${named.name}`,
        );
      }
      if (fn.latest === version.number && !version.deprecated) {
        throw new CliError(
          'VERSION_IN_USE',
          `${label}@${version.number} is latest, point latest elsewhere first: defaas rollback, or deploy another version`,
        );
      }
      return { version, name: `${named.name}@${version.number}` };
    });
    const writer = chain.connect(opened.account);
    for (const { version } of found) {
      if (version.deprecated) continue;
      await awaitBlock(opened.connection, await writer.deprecate(version.functionVersion));
    }
    const names = found.map(({ name }) => name);
    return {
      document: { deprecated: names },
      text: `${names.join(', ')} ${names.length === 1 ? 'is' : 'are'} deprecated: nobody can call ${names.length === 1 ? 'it' : 'them'} any more`,
    };
  } finally {
    chain.close();
    opened.close();
  }
}
