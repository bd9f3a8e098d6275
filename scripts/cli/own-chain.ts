// The chain with the active account, for commands that need no gateway: money in the contracts can
// be taken out even if no gateway answers.
import { type Chain, createChain } from '../../contracts/chain.ts';
import { addressesOf, type ContractSet } from '../../contracts/deployments.ts';
import { type Account, readAccount } from './account.ts';
import { accountTurns } from './account-turn.ts';
import { CliError } from './cli-error.ts';
import { confirmHome } from './confirm.ts';
import type { Flags, OpenOptions } from './context.ts';
import { findHouse, type House, locateHome } from './house.ts';
import { type Confirmed, openConfirmed } from './store.ts';
import { namedSet, openTrust, type Trusted } from './trust.ts';

export interface OwnChain {
  readonly house: House;
  readonly account: Account;
  readonly trust: Trusted;
  readonly set: ContractSet;
  readonly confirmed: Confirmed;
  /** Caught up from the logs. */
  readonly chain: Chain;
  close(): void;
}

/**
 * Opens the newest set of the trust root, or the named one, with the same checks as every command.
 * @throws CliError USAGE no such set, HOUSE_DOWN, KEY_MISSING, RPC_REQUIRED, DEPLOYMENT_MISSING,
 * DEPLOYMENT_UNCONFIRMED
 * @throws ChainError DEPLOYMENT_CODE, DEPLOYMENT_INVALID, CHAIN_UNREACHABLE
 */
export async function openOwnChain(
  flags: Flags,
  { role = flags.account, allowRevoked = false }: OpenOptions = {},
): Promise<OwnChain> {
  await confirmHome(flags, locateHome());
  const house = findHouse(flags);
  const account = readAccount(house.home, role);
  const confirmed = openConfirmed(house.home);
  let chain: Chain | undefined;
  try {
    const trust = await openTrust(flags, house, confirmed);
    const set = flags.set === undefined ? newestOf(trust.sets) : namedSet(trust, flags.set);
    if (set.status === 'revoked' && !allowRevoked) {
      throw new CliError(
        'DEPLOYMENT_REVOKED',
        `the contracts of set ${set.id} are revoked, on ${trust.file}, nothing was signed or sent, take your money out`,
      );
    }
    await trust.check(set);
    const { chainId, rpcUrl } = trust;
    const exclusively = accountTurns(house.home);
    const contracts = addressesOf(set);
    chain = await createChain({ rpcUrls: [rpcUrl], contracts, chainId, exclusively });
    await chain.start();
    const opened = chain;
    const close = () => {
      opened.close();
      confirmed.close();
    };
    return { house, account, trust, set, confirmed, chain, close };
  } catch (error) {
    chain?.close();
    confirmed.close();
    throw error;
  }
}

/** The current set, else the last one. A file has at least one set. */
function newestOf(sets: readonly ContractSet[]): ContractSet {
  const found = sets.find(({ status }) => status === 'current') ?? sets.at(-1);
  if (found === undefined) throw new Error('a trust root without contracts');
  return found;
}
