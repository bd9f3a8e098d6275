// Versions that everybody may still call though the function is no longer public: named, and
// deprecated if the user agrees.
import type { FunctionVersion, RegisteredFunction } from '../../contracts/chain/types.ts';
import type { Chain } from '../../contracts/chain.ts';
import { awaitBlock } from './await-block.ts';
import { ask } from './confirm.ts';
import { type Flags, note, type Opened } from './context.ts';

/** Versions that are public and served, when `latest` is not public. */
export function openVersions(
  { view }: Pick<Chain, 'view'>,
  fn: RegisteredFunction,
): FunctionVersion[] {
  if ((view.versionOf(fn)?.accessMode ?? 0) === 0) return [];
  return fn.versions
    .flatMap((functionVersion) => view.versionByHash(functionVersion) ?? [])
    .filter(({ accessMode, deprecated }) => accessMode === 0 && !deprecated);
}

/**
 * Deprecates them if the user says so.
 * @returns the numbers of those that stay open
 */
export async function deprecateOpen(
  flags: Flags,
  { account, connection }: Pick<Opened, 'account' | 'connection'>,
  chain: Chain,
  fn: RegisteredFunction,
): Promise<readonly number[]> {
  const open = openVersions(chain, fn);
  if (open.length === 0) return [];
  const names = open.map(({ number }) => `${fn.name}@${number}`);
  const says = `${names.join(', ')} stay public: everybody may still call them by their number`;
  if (!flags.yes && !(await ask(says, 'Deprecate them now?'))) {
    note(flags, `${says}; defaas deprecate ${names.join(' ')} ends that`);
    return open.map(({ number }) => number);
  }
  const writer = chain.connect(account);
  for (const { functionVersion } of open) {
    await awaitBlock(connection, await writer.deprecate(functionVersion));
  }
  note(flags, `${names.join(', ')} are deprecated: nobody can call them any more`);
  return [];
}
