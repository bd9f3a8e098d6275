// Step 5 of a call: the order in which deployments are tried. The beacon and the call decide it, the load swaps the first two.
import type { Deployment, Provider } from '../../adapters/provider.ts';
import { drawOrder, drawSeed } from '../../contracts/libraries/draw.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import type { Circuit } from './circuit.ts';

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
  readonly circuit: Circuit;
}

export interface Choice {
  readonly route: Route;
  /** Place in the drawn order, as the receipt records it. */
  readonly place: number;
}

/**
 * The drawn order of a candidate set, less loaded candidate first (contracts.md section 9). `routes` are those of the set
 * that are live; a place without a route is passed over, and its number with it. Deployments whose circuit is open stand last.
 */
export function choose(
  draw: { readonly value: Hex; readonly call: Hex; readonly ids: readonly number[] },
  routes: ReadonlyMap<number, Route>,
  nowMs: number,
): Choice[] {
  const order = drawOrder(drawSeed(draw.value, draw.call), draw.ids);
  const choices: Choice[] = [];
  const failing: Choice[] = [];
  order.forEach((id, place) => {
    const route = routes.get(id);
    if (route === undefined) return;
    (route.circuit.isOpen(nowMs) ? failing : choices).push({ route, place });
  });
  const [first, second] = choices;
  const bothCandidates = first?.place === 0 && second?.place === 1;
  if (bothCandidates && second.route.inFlight < first.route.inFlight) {
    choices[0] = second;
    choices[1] = first;
  }
  return failing.length === 0 ? choices : [...choices, ...failing];
}
