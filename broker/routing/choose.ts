// Step 5 of a call: the order in which deployments are tried. The beacon and the call draw it,
// routing narrows and reorders it, the load swaps its first two.
import type { Deployment, Provider } from '../../adapters/provider.ts';
import { type DrawnCall, drawOrder, drawSeed } from '../../contracts/libraries/draw.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import type { PassedOver } from '../client/batch-format.ts';
import type { FailedAttempt } from '../ledger/ledger.ts';
import type { Circuit } from './circuit.ts';
import type { ColdStarts } from './cold-starts.ts';
import type { ExecutionCount } from './executions.ts';
import type { Latency } from './latency.ts';
import type { Overhead } from './overheads.ts';
import { allows, type Routing } from './routing.ts';

/**
 * Of 256 calls that go by `fastest`, so many go by the draw instead: a cloud that was slow is
 * looked at again.
 */
const EXPLORING = 16;

/** A deployment that this gateway can reach, with what routing knows of it. */
export interface Route {
  /** Id in the FunctionRegistry. */
  readonly id: number;
  /** The provider's account. */
  readonly account: Address;
  readonly provider: Provider;
  readonly deployment: Deployment;
  /** What the cloud is expected to bill for a call, 1e-12 USD. */
  readonly costPico: bigint;
  /** Calls under way. */
  inFlight: number;
  /** The most of them at once since whoever keeps instances warm has last looked. */
  peakInFlight: number;
  readonly circuit: Circuit;
  readonly latency: Latency;
  /** Of its cloud and region. */
  readonly overhead: Overhead;
  readonly coldStarts: ColdStarts;
  /** Where the cloud counts executions itself. */
  readonly executions: ExecutionCount | undefined;
}

export interface Choice {
  readonly route: Route;
  /** Place in the drawn order, as the receipt records it. */
  readonly place: number;
}

export interface Choices {
  /** Those to try, one after the other. */
  readonly inTurn: readonly Choice[];
  /** The drawn order. */
  readonly order: readonly number[];
  /** By place in it: why it does not come in its turn. */
  readonly behind: readonly (PassedOver | undefined)[];
}

/**
 * The drawn order of a candidate set (docs/contracts.md 9). `routes` are those of the set that are
 * live; a place without a route is passed over, and its number with it. Of the first two that
 * remain the less loaded one comes first; `cheapest` and `fastest` order all of them, equal ones as
 * drawn. Deployments whose circuit is open stand last.
 */
export function choose(
  draw: { readonly value: Hex; readonly call: DrawnCall; readonly ids: readonly number[] },
  routes: ReadonlyMap<number, Route>,
  routing: Routing,
  nowMs: number,
): Choices {
  const seed = drawSeed(draw.value, draw.call);
  const order = drawOrder(seed, draw.ids);
  const inTurn: Choice[] = [];
  const failing: Choice[] = [];
  const behind: (PassedOver | undefined)[] = [];
  order.forEach((id, place) => {
    const route = routes.get(id);
    if (route === undefined) {
      behind[place] = 'NOT_LIVE';
    } else if (!allows(routing, route.deployment)) {
      behind[place] = 'POLICY';
    } else if (route.circuit.isOpen(nowMs)) {
      behind[place] = 'CIRCUIT_OPEN';
      failing.push({ route, place });
    } else {
      inTurn.push({ route, place });
    }
  });
  const { strategy } = routing;
  if (strategy === 'cheapest') inTurn.sort(byCost);
  else if (strategy === 'fastest' && !isExploring(seed)) inTurn.sort(byLatency);
  else swapByLoad(inTurn, behind);
  return { inTurn: failing.length === 0 ? inTurn : [...inTurn, ...failing], order, behind };
}

/**
 * The places before the used one that were not tried, as the receipt's page lists them: with them
 * it accounts for the whole draw.
 */
export function passedOver(
  { order, behind }: Choices,
  used: number,
  failed: readonly FailedAttempt[],
): FailedAttempt[] {
  const passed: FailedAttempt[] = [];
  for (let place = 0; place < used; place += 1) {
    const deployment = order[place];
    if (deployment === undefined || failed.some((one) => one.deployment === deployment)) continue;
    passed.push({ deployment, code: behind[place] ?? 'POLICY', ran: 'no', measuredMs: 0 });
  }
  return passed;
}

function swapByLoad(inTurn: Choice[], behind: (PassedOver | undefined)[]): void {
  const [first, second] = inTurn;
  if (first === undefined || second === undefined) return;
  if (second.route.inFlight >= first.route.inFlight) return;
  inTurn[0] = second;
  inTurn[1] = first;
  behind[first.place] = 'LOAD';
}

function byCost({ route: a }: Choice, { route: b }: Choice): number {
  return a.costPico < b.costPico ? -1 : a.costPico > b.costPico ? 1 : 0;
}

function byLatency({ route: a }: Choice, { route: b }: Choice): number {
  return a.latency.meanMs() - b.latency.meanMs();
}

/**
 * By the seed's first byte: the draw itself decides, and hardly depends on it, being a long
 * number's remainder.
 */
function isExploring(seed: Hex): boolean {
  return Number.parseInt(seed.slice(2, 4), 16) < EXPLORING;
}
