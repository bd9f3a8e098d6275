// Step 2 of a call: name -> function -> version, from the local view of the chain without an RPC. A
// version can be called from the block on that makes it final, until the block that deprecates it.

import type { Chain } from '../../contracts/chain.ts';
import { DefaasError } from '../errors.ts';
import type { Target } from '../routing/target.ts';

/**
 * Finds `[owner]/name@reference`; a reference is a version number or an alias, `latest` by default.
 * @throws DefaasError FUNCTION_UNKNOWN     no such owner, name or version
 * @throws DefaasError FUNCTION_DEPRECATED  the version's owner has withdrawn it
 */
export function resolveTarget(
  { view, final }: Pick<Chain, 'view' | 'final'>,
  wanted: { readonly owner: string; readonly name: string; readonly reference: string },
): Target {
  const unknown = (): DefaasError =>
    new DefaasError(
      'FUNCTION_UNKNOWN',
      `no function ${wanted.owner}/${wanted.name}@${wanted.reference} on this chain, see defaas list`,
    );
  const namespace = final.resolveNamespace(wanted.owner.toLowerCase());
  const found = namespace && final.functionOf(namespace, wanted.name);
  if (!found) throw unknown();
  const version = final.versionOf(found, wanted.reference);
  if (version === undefined) throw unknown();
  const label = `${found.namespace}/${found.name}@${version.number}`;
  if (view.versionByHash(version.functionVersion)?.deprecated !== false) {
    throw new DefaasError('FUNCTION_DEPRECATED', `${label} is deprecated, call a newer version`);
  }
  // Read the owner from the newest block: a former owner sponsors no more calls.
  return { function: view.functionById(found.id) ?? found, version, label };
}
