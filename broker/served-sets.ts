// Sets of contracts served by one process while payers move from an old set to its replacement.
// Each set has its own gateway and origin. They share everything that does not depend on Billing:
// clouds, functions, IPFS and the operator's key.
import type { Gateway, ServedSet } from './gateway.ts';

/** The other sets that are served now. */
export function otherSets({ chain, sets }: Pick<Gateway, 'chain' | 'sets'>): readonly ServedSet[] {
  return [...sets.values()].filter(
    ({ gateway }) => gateway.chain.contracts.billing !== chain.contracts.billing,
  );
}

/** The gateways of all sets, this one first. */
export function gatewaysOf(gateway: Gateway): readonly Gateway[] {
  return [gateway, ...otherSets(gateway).map((other) => other.gateway)];
}
