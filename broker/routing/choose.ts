// Step 5 of a call: the order in which deployments are tried. The beacon and the call draw the
// order, routing narrows and reorders it, and load may swap its first two.
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
 * Out of 256 calls with strategy `fastest`, this many use the drawn order instead, so that a cloud
 * that was slow is measured again.
 */
const EXPLORING = 16;

/** A deployment that this gateway can reach, with its routing state. */
export interface Candidate {
  /** Id in the FunctionRegistry. */
  readonly id: number;
  /** The provider's account. */
  readonly account: Address;
  readonly provider: Provider;
  readonly deployment: Deployment;
  /** What the cloud is expected to bill for a call, 1e-12 USD. */
  readonly costPico: bigint;
  /** Number of running calls. */
  inFlight: number;
  /** Peak of `inFlight` since keep-warm last read it. */
  peakInFlight: number;
  readonly circuit: Circuit;
  readonly latency: Latency;
  /** Metering overhead of its cloud and region. */
  readonly overhead: Overhead;
  readonly coldStarts: ColdStarts;
  /** Counts its executions, if the cloud reports its own count. */
  readonly executions: ExecutionCount | undefined;
}

export interface Choice {
  readonly candidate: Candidate;
  /** Place in the drawn order, as the receipt records it. */
  readonly place: number;
}

export interface Choices {
  /** The deployments to try, in this order. */
  readonly inTurn: readonly Choice[];
  /** The drawn order. */
  readonly order: readonly number[];
  /** Why a deployment is not tried in its drawn order; index is the place in `order`. */
  readonly behind: readonly (PassedOver | undefined)[];
}

/**
 * The order in which to try a candidate set (docs/contracts.md 9). `candidates` holds the live
 * deployments by id; ids that are not live are skipped but keep their place. Strategy `balanced`
 * takes the less loaded of the first two first; `cheapest` and `fastest` sort all, ties in drawn
 * order. Deployments with an open circuit come last.
 */
export function choose(
  draw: { readonly value: Hex; readonly call: DrawnCall; readonly ids: readonly number[] },
  candidates: ReadonlyMap<number, Candidate>,
  routing: Routing,
  nowMs: number,
): Choices {
  const seed = drawSeed(draw.value, draw.call);
  const order = drawOrder(seed, draw.ids);
  const inTurn: Choice[] = [];
  const failing: Choice[] = [];
  const behind: (PassedOver | undefined)[] = [];
  order.forEach((id, place) => {
    const candidate = candidates.get(id);
    if (candidate === undefined) {
      behind[place] = 'NOT_LIVE';
    } else if (!allows(routing, candidate.deployment)) {
      behind[place] = 'POLICY';
    } else if (candidate.circuit.isOpen(nowMs)) {
      behind[place] = 'CIRCUIT_OPEN';
      failing.push({ candidate, place });
    } else {
      inTurn.push({ candidate, place });
    }
  });
  const { strategy } = routing;
  if (strategy === 'cheapest') inTurn.sort(byCost);
  else if (strategy === 'fastest' && !isExploring(seed)) inTurn.sort(byLatency);
  else swapByLoad(inTurn, behind);
  return { inTurn: failing.length === 0 ? inTurn : [...inTurn, ...failing], order, behind };
}

/**
 * The places before the used one that were not tried, as listed on the receipt's page: with the
 * failed attempts they account for the whole draw.
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
  if (second.candidate.inFlight >= first.candidate.inFlight) return;
  inTurn[0] = second;
  inTurn[1] = first;
  behind[first.place] = 'LOAD';
}

function byCost({ candidate: a }: Choice, { candidate: b }: Choice): number {
  return a.costPico < b.costPico ? -1 : a.costPico > b.costPico ? 1 : 0;
}

function byLatency({ candidate: a }: Choice, { candidate: b }: Choice): number {
  return a.latency.meanMs() - b.latency.meanMs();
}

/**
 * Decide by the seed's first byte: deterministic, and almost independent of the drawn order, which
 * comes from remainders of the whole number.
 */
function isExploring(seed: Hex): boolean {
  return Number.parseInt(seed.slice(2, 4), 16) < EXPLORING;
}
