// Step 5 of a call: the order in which deployments are tried. The beacon and the call decide it, the load swaps the first two.
import type { Deployment, Provider } from '../../adapters/provider.ts';
import { drawOrder, drawSeed } from '../../contracts/libraries/draw.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';

/** A deployment that this gateway can reach, with what routing knows of it. */
export interface Route {
  /** Id in the FunctionRegistry. */
  readonly id: number;
  /** The provider's account. */
  readonly account: Address;
  readonly provider: Provider;
  readonly deployment: Deployment;
  /** Calls under way. */
  inFlight: number;
}

export interface Choice {
  readonly route: Route;
  /** Place in the drawn order, as the receipt records it. */
  readonly place: number;
}

/**
 * The drawn order of a candidate set, less loaded candidate first (contracts.md section 9). `routes` are those of the set
 * that can be reached now; a place without a route is passed over, and its number with it.
 */
export function choose(
  draw: { readonly value: Hex; readonly call: Hex; readonly ids: readonly number[] },
  routes: ReadonlyMap<number, Route>,
): Choice[] {
  const order = drawOrder(drawSeed(draw.value, draw.call), draw.ids);
  const choices: Choice[] = [];
  order.forEach((id, place) => {
    const route = routes.get(id);
    if (route !== undefined) choices.push({ route, place });
  });
  const [first, second] = choices;
  const bothCandidates = first?.place === 0 && second?.place === 1;
  if (bothCandidates && second.route.inFlight < first.route.inFlight) {
    choices[0] = second;
    choices[1] = first;
  }
  return choices;
}
