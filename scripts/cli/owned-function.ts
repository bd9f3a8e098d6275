// Finds a function on the chain by `[owner/]name`, and checks that the active account owns it.

import type { RegisteredFunction } from '../../contracts/chain/types.ts';
import type { Chain } from '../../contracts/chain.ts';
import { CliError } from './cli-error.ts';
import type { Opened } from './context.ts';
import { type FunctionName, parseFunctionName } from './function-name.ts';

export interface FoundFunction {
  readonly fn: RegisteredFunction;
  readonly named: FunctionName;
  /** `owner/name`, the owner as it was written. */
  readonly label: string;
}

/** @throws CliError USAGE, FUNCTION_UNKNOWN */
export function findFunction(
  { account }: Pick<Opened, 'account'>,
  { view }: Pick<Chain, 'view'>,
  text: string,
): FoundFunction {
  const named = parseFunctionName(text, account.address);
  const namespace = view.resolveNamespace(named.owner);
  const fn = namespace && view.functionOf(namespace, named.name);
  const label = `${named.owner}/${named.name}`;
  if (fn) return { fn, named, label };
  throw new CliError('FUNCTION_UNKNOWN', `no function ${label}, on the chain, see defaas list`);
}

/** @throws CliError USAGE, FUNCTION_UNKNOWN, NOT_OWNER */
export function findOwnedFunction(
  opened: Pick<Opened, 'account'>,
  chain: Pick<Chain, 'view'>,
  text: string,
): FoundFunction {
  const found = findFunction(opened, chain, text);
  if (found.fn.owner === opened.account.address) return found;
  throw new CliError(
    'NOT_OWNER',
    `account ${opened.account.address} does not own ${found.label}, ${found.fn.owner} does, use its account with --account`,
  );
}
