// Deployments that were let in and are not recorded yet: limits count them too, so that requests at once do not pass one limit together.
import type { ProviderName } from '../../adapters/provider.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';

export interface Claim {
  readonly owner: Address;
  readonly functionVersion: Hex;
  readonly providers: readonly ProviderName[];
  /** Instances kept warm on each cloud, once the manifest is known. */
  minWarm: number;
}

export interface Claims {
  /** Counts from now on. */
  add(claim: Claim): void;
  /** The deployments are recorded, or will not be. */
  release(claim: Claim): void;
  of(owner: Address): readonly Claim[];
}

export function createClaims(): Claims {
  const claims = new Set<Claim>();
  return {
    add: (claim) => void claims.add(claim),
    release: (claim) => void claims.delete(claim),
    of: (owner) => [...claims].filter((claim) => claim.owner === owner),
  };
}
