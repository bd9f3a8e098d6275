// `bench draws`: runs the gateway's chooser against simulated clouds. Measures whether candidates
// are uniform, whether load is spread with outdated load figures, and whether calls avoid a cloud
// that has become slow. Deterministic.
import {
  type Provider,
  ProviderError,
  type ProviderErrorOptions,
} from '../../adapters/provider.ts';
import { type Candidate, type Choices, choose } from '../../broker/routing/choose.ts';
import { createCircuit } from '../../broker/routing/circuit.ts';
import { createColdStarts } from '../../broker/routing/cold-starts.ts';
import { createLatency } from '../../broker/routing/latency.ts';
import { createOverhead } from '../../broker/routing/overheads.ts';
import { BALANCED } from '../../broker/routing/routing.ts';
import type { DrawnCall } from '../../contracts/libraries/draw.ts';
import type { Hex } from '../../contracts/libraries/keccak.ts';
import type { Bar, Run } from './main.ts';

const DRAWS = 100_000;
const DEPLOYMENTS = 10;
/** Calls that a deployment runs at once; more of them wait there, first come, first served. */
const SLOTS = 8;
const SERVICE_MS = 10;
/** Share of busy slots while all deployments are healthy. */
const LOAD = 0.45;
/** How much longer calls take at the slow one: sent a tenth of the calls it is nearly full. */
const SLOWNESS = 2;
/** Maximum age of the load figures that the chooser uses: 36 calls arrive in that time. */
const STALE_MS = 10;
/**
 * Critical value of chi-square at 1 % with 89 degrees of freedom: 90 ordered pairs of candidates.
 */
const CRITICAL = 122.94;
const VALUE: Hex = `0x${'5e'.repeat(24)}`;

const BARS: readonly Bar[] = [
  { figure: 'candidatesChiSquare', limit: CRITICAL },
  { figure: 'busiestVsMean', limit: 1.05 },
  { figure: 'slowMeanVsRandom', limit: 1 },
  { figure: 'slowMeanVsRoundRobin', limit: 1 },
  { figure: 'slowP99VsRandom', limit: 1 },
  { figure: 'slowP99VsRoundRobin', limit: 1 },
];

export const run: Run = async (report) => {
  report(`${DRAWS} draws among ${DEPLOYMENTS} deployments`);
  const pairs = new Map<string, number>();
  const equal = simulate(byLoad, { staleMs: STALE_MS }, ({ order }) => {
    const pair = `${order[0]} ${order[1]}`;
    pairs.set(pair, (pairs.get(pair) ?? 0) + 1);
  });
  report('one deployment is slow');
  const slow = { slowness: SLOWNESS };
  const [chosen, random, roundRobin] = [
    simulate(byLoad, slow),
    simulate(asDrawn, slow),
    simulate(createRoundRobin(), slow),
  ];
  const figures = {
    draws: DRAWS,
    candidatesChiSquare: round(chiSquare(pairs)),
    busiestVsMean: round((DEPLOYMENTS * Math.max(...equal.calls)) / DRAWS),
    slowMeanVsRandom: round(chosen.meanMs / random.meanMs),
    slowMeanVsRoundRobin: round(chosen.meanMs / roundRobin.meanMs),
    slowP99VsRandom: round(chosen.p99Ms / random.p99Ms),
    slowP99VsRoundRobin: round(chosen.p99Ms / roundRobin.p99Ms),
  };
  return { figures, bars: BARS, details: { equal, slow: { chosen, random, roundRobin } } };
};

type Pick = (choices: Choices) => number;

/** The gateway's choice: the first candidate in its order. */
const byLoad: Pick = ({ inTurn }) => inTurn[0]?.candidate.id ?? 0;
/** A random choice: the draw, ignoring the load. */
const asDrawn: Pick = ({ order }) => order[0] ?? 0;
function createRoundRobin(): Pick {
  let call = 0;
  return () => {
    call += 1;
    return call % DEPLOYMENTS;
  };
}

interface Simulated {
  readonly calls: readonly number[];
  readonly meanMs: number;
  readonly p99Ms: number;
}

/**
 * Calls come as a Poisson process; service times are exponential, the last deployment's `slowness`
 * times as long.
 */
function simulate(
  pick: Pick,
  { slowness = 1, staleMs = 0 }: { readonly slowness?: number; readonly staleMs?: number },
  onDraw: (choices: Choices) => void = () => {},
): Simulated {
  const random = createRandom();
  const candidates = Array.from({ length: DEPLOYMENTS }, (_, id) => createCandidate(id));
  const byId = new Map(candidates.map((candidate) => [candidate.id, candidate]));
  const ids = candidates.map(({ id }) => id);
  /** When each slot becomes free, and when the running calls end. */
  const free = candidates.map(() => new Float64Array(SLOTS));
  const ends: number[][] = candidates.map(() => []);
  const calls = candidates.map(() => 0);
  const took = new Float64Array(DRAWS);
  const everyMs = SERVICE_MS / (DEPLOYMENTS * SLOTS * LOAD);
  let nowMs = 0;
  let reportedMs = 0;
  for (let draw = 0; draw < DRAWS; draw += 1) {
    nowMs += exponential(random, everyMs);
    if (nowMs >= reportedMs + staleMs) {
      reportedMs = nowMs;
      for (const candidate of candidates) {
        const left = ends[candidate.id]?.filter((endMs) => endMs > nowMs) ?? [];
        ends[candidate.id] = left;
        candidate.inFlight = left.length;
      }
    }
    const choices = choose({ value: VALUE, call: callOf(draw), ids }, byId, BALANCED, nowMs);
    onDraw(choices);
    const id = pick(choices);
    const slots = free[id] ?? new Float64Array();
    const slot = slots.indexOf(Math.min(...slots));
    const isSlow = id === DEPLOYMENTS - 1;
    const serviceMs = exponential(random, SERVICE_MS * (isSlow ? slowness : 1));
    const endMs = Math.max(nowMs, slots[slot] ?? 0) + serviceMs;
    slots[slot] = endMs;
    ends[id]?.push(endMs);
    calls[id] = (calls[id] ?? 0) + 1;
    took[draw] = endMs - nowMs;
  }
  const sorted = took.toSorted();
  const meanMs = took.reduce((sum, ms) => sum + ms, 0) / DRAWS;
  return { calls, meanMs: round(meanMs), p99Ms: round(sorted[Math.floor(0.99 * DRAWS)] ?? 0) };
}

function chiSquare(pairs: ReadonlyMap<string, number>): number {
  const cells = DEPLOYMENTS * (DEPLOYMENTS - 1);
  const expected = DRAWS / cells;
  let sum = (cells - pairs.size) * expected;
  for (const count of pairs.values()) sum += (count - expected) ** 2 / expected;
  return sum;
}

/** Calls of one lane differ in their nonce. */
function callOf(nonce: number): DrawnCall {
  return {
    payer: `0x${'a1'.repeat(20)}`,
    signer: `0x${'c3'.repeat(20)}`,
    nonce: `0x${nonce.toString(16).padStart(64, '0')}`,
  };
}

function createCandidate(id: number): Candidate {
  return {
    id,
    account: `0x${'f6'.repeat(20)}`,
    provider: NOWHERE,
    deployment: {
      provider: NOWHERE.name,
      name: `df-${id}`,
      region: `${id}`,
      specHash: '',
      artifactCid: '',
      memoryMiB: 128,
      timeoutMs: 1_000,
      url: '',
    },
    costPico: 0n,
    inFlight: 0,
    peakInFlight: 0,
    circuit: createCircuit(),
    latency: createLatency(),
    overhead: createOverhead(),
    coldStarts: createColdStarts(),
    executions: undefined,
  };
}

/** Never called: the duration of a call is simulated. */
const NOWHERE = createNowhere();

function createNowhere(): Provider {
  const options: ProviderErrorOptions = {
    provider: 'local',
    operation: 'simulate',
    target: 'nowhere',
    ran: 'no',
  };
  const never = (): never => {
    throw new ProviderError('PROVIDER_UNSUPPORTED', 'it is simulated', options);
  };
  return {
    name: 'local',
    limits: {
      maxRequestBytes: 0,
      maxResponseBytes: 0,
      maxTimeoutMs: 0,
      minMemoryMiB: 0,
      maxMemoryMiB: 0,
      maxPackageBytes: 0,
      maxUnpackedBytes: 0,
      maxEnvBytes: 0,
      coldStartMs: 0,
    },
    regions: [],
    plan: never,
    deploy: never,
    invoke: never,
    remove: never,
    list: never,
    logs: never,
    close: async () => {},
  };
}

function exponential(random: () => number, mean: number): number {
  return -mean * Math.log(1 - random());
}

/**
 * Pseudo-random numbers from 0 to 1, the same sequence every time (mulberry32, 32 bits of state).
 */
function createRandom(): () => number {
  let state = 20_261_122;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function round(value: number): number {
  return Number(value.toFixed(4));
}
