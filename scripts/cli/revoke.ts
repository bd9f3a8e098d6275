// `defaas revoke <function> <address> | --all`: revokes one grant or all of them, from the next
// block on.
import { awaitBlock } from './await-block.ts';
import { openChain } from './chain.ts';
import { CliError } from './cli-error.ts';
import { type Flags, type Outcome, openGateway } from './context.ts';
import { findOwnedFunction } from './owned-function.ts';
import { parseAddress } from './parse-address.ts';

/**
 * The owner needs no grant and keeps its access. `isRevoked` is false if there was nothing to
 * revoke.
 * @throws CliError USAGE, FUNCTION_UNKNOWN, NOT_OWNER; ChainError CHAIN_...
 */
export async function revoke(
  flags: Flags,
  target: string,
  address: string | undefined,
  { all = false }: { readonly all?: boolean },
): Promise<Outcome> {
  if ((address === undefined) !== all) {
    throw new CliError('USAGE', 'revoke takes an address or --all, one of them');
  }
  const subject = address === undefined ? undefined : parseAddress(address);
  const opened = await openGateway(flags);
  const chain = await openChain(opened);
  try {
    const { fn, label } = findOwnedFunction(opened, chain, target);
    const writer = chain.connect(opened.account);
    if (subject === undefined) {
      const block = await writer.revokeAll(fn.id);
      await awaitBlock(opened.connection, block);
      return {
        document: { function: label, all, isRevoked: true, block },
        text: `all grants of ${label} are revoked`,
      };
    }
    const isRevoked = (chain.view.grant(fn.id, subject)?.expirySec ?? 0) > 0;
    const block = isRevoked ? await writer.revokeGrant(fn.id, subject) : chain.view.head.number;
    await awaitBlock(opened.connection, block);
    return {
      document: { function: label, subject, all, isRevoked, block },
      text: isRevoked
        ? `${subject} may use ${label} no more`
        : `${subject} has no grant of ${label}, nothing is changed`,
    };
  } finally {
    chain.close();
    opened.close();
  }
}
