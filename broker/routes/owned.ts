// Checks common to the control routes of a function: the function exists, and the caller is its
// owner.
import type { FastifyRequest } from 'fastify';
import type { FunctionVersion, RegisteredFunction } from '../../contracts/chain/types.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import { signedIn } from '../http/bearer.ts';

export interface FunctionParams {
  readonly Params: { readonly owner: string; readonly name: string };
}

export interface Named {
  readonly function: RegisteredFunction;
  /** `owner/name`, owner as an address. */
  readonly label: string;
  readonly signedBy: Address;
}

/** @throws DefaasError TOKEN_MISSING, TOKEN_INVALID, FUNCTION_UNKNOWN, NOT_OWNER */
export async function ownedFunction<Request extends FunctionParams>(
  gateway: Pick<Gateway, 'authenticate' | 'chain' | 'config'>,
  request: FastifyRequest<Request>,
): Promise<Named> {
  const named = await namedFunction(gateway, request);
  if (named.function.owner !== named.signedBy) throw notOwner(named);
  return named;
}

export function notOwner({ signedBy, label }: Named): DefaasError {
  return new DefaasError('NOT_OWNER', `${signedBy} does not own ${label}, use the owner's account`);
}

/**
 * The function in the path, for any signed-in caller.
 * @throws DefaasError TOKEN_MISSING, TOKEN_INVALID, FUNCTION_UNKNOWN
 */
export async function namedFunction<Request extends FunctionParams>(
  gateway: Pick<Gateway, 'authenticate' | 'chain' | 'config'>,
  request: FastifyRequest<Request>,
): Promise<Named> {
  const { signedBy } = await signedIn(gateway, request);
  const { owner, name } = parameters(request);
  // The client may have published it just now: bring the view up to the chain's head first.
  await gateway.chain.synced();
  const { view } = gateway.chain;
  const namespace = view.resolveNamespace(owner.toLowerCase());
  const fn = namespace && view.functionOf(namespace, name);
  if (!fn) {
    throw new DefaasError(
      'FUNCTION_UNKNOWN',
      `no function ${owner}/${name} on this chain, see defaas list`,
    );
  }
  return { function: fn, label: `${fn.namespace}/${fn.name}`, signedBy };
}

/**
 * Resolves a version number or an alias.
 * @throws DefaasError FUNCTION_UNKNOWN
 * @throws DefaasError FUNCTION_DEPRECATED  unless deprecated versions are allowed
 */
export function versionOf(
  { chain }: Pick<Gateway, 'chain'>,
  { function: fn, label }: Named,
  reference: string,
  options: { readonly allowDeprecated?: boolean } = {},
): FunctionVersion {
  const version = chain.view.versionOf(fn, reference);
  if (version === undefined) {
    throw new DefaasError(
      'FUNCTION_UNKNOWN',
      `no version ${label}@${reference} on this chain, see defaas list`,
    );
  }
  if (version.deprecated && !options.allowDeprecated) {
    throw new DefaasError(
      'FUNCTION_DEPRECATED',
      `${label}@${version.number} is deprecated, choose a newer version`,
    );
  }
  return version;
}

/** @throws DefaasError TOKEN_MISSING, TOKEN_INVALID, OPERATOR_ONLY */
export async function refuseOthers(
  gateway: Pick<Gateway, 'address' | 'authenticate' | 'config' | 'settler'>,
  request: FastifyRequest,
): Promise<void> {
  const { signedBy } = await signedIn(gateway, request);
  if (signedBy === gateway.address || signedBy === gateway.settler.address) return;
  throw new DefaasError(
    'OPERATOR_ONLY',
    `${signedBy} may not ask for ${request.routeOptions.url}, sign in with the gateway's key`,
  );
}

function parameters({ params }: { readonly params: unknown }): FunctionParams['Params'] {
  // Safe: every route that calls this has both parameters in its path.
  return params as FunctionParams['Params'];
}
