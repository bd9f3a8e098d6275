// Admitted deployments that are not recorded yet. Limits count them, so that concurrent requests
// cannot exceed a limit together.
import type { ProviderName } from '../../adapters/provider.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';

export interface Claim {
  readonly owner: Address;
  readonly functionVersion: Hex;
  readonly providers: readonly ProviderName[];
  /** Instances kept warm on each cloud; set when the manifest is known. */
  minWarm: number;
}

export interface Claims {
  /** Counts the claim until it is released. */
  add(claim: Claim): void;
  /** Ends the claim: its deployments are recorded, or given up. */
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
