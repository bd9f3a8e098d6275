// The sets of contracts that one process serves while payers move from one to the one that replaces it: a gateway for each, at a place
// of its own. They share what is of the house and not of a Billing: clouds, functions, IPFS, the operator's key.
import type { Gateway, ServedSet } from './gateway.ts';

/** The other sets that are served now, and where. */
export function otherSets({ chain, sets }: Pick<Gateway, 'chain' | 'sets'>): readonly ServedSet[] {
  return [...sets.values()].filter(
    ({ gateway }) => gateway.chain.contracts.billing !== chain.contracts.billing,
  );
}

/** The gateways of all sets, this one first. */
export function gatewaysOf(gateway: Gateway): readonly Gateway[] {
  return [gateway, ...otherSets(gateway).map((other) => other.gateway)];
}
