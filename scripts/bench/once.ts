// `bench once`: sends 10,000 racing duplicates of 1,000 idempotency keys, half of them to a version
// that is not idempotent, against clouds that drop, delay and fail, and kills the gateway 20 times.
// The clouds record what really ran.
import { Pool } from 'undici';
import type { Hex } from '../../contracts/libraries/keccak.ts';
import { type FaultyCloud, type Mood, startFaultyCloud } from './http/faulty-cloud.ts';
import { nonceOf, type Target } from './http/load.ts';
import { type PaidGateway, startPaidGateway } from './http/paid-gateway.ts';
import type { Bar, Run } from './main.ts';

const KEYS = 1_000;
const DUPLICATES = 10;
/** Number of one key's duplicates that race; the others come later, after a kill of the gateway. */
const AT_ONCE = 5;
/** Keys that race at the same time. */
const KEYS_AT_ONCE = 10;
const KILLS = 20;
const CALLS_A_KILL = (KEYS * DUPLICATES) / KILLS;
const CONNECTIONS = 64;
/** Most tries of a duplicate without a final answer. */
const MAX_TRIES = 400;
const PAUSE_MS = 50;
const IDEMPOTENT = 'again';
const NOT_IDEMPOTENT = 'never-again';

const BARS: readonly Bar[] = [
  { figure: 'keysChargedTwice', limit: 0 },
  { figure: 'charges', limit: KEYS },
  { figure: 'duplicateRuns', limit: 0 },
  { figure: 'lostAnswers', limit: 0 },
];

/** Faults per 100 requests at a cloud. */
const MOODS: readonly (readonly [Mood, number])[] = [
  ['answer', 74],
  ['delay', 10],
  ['drop-before', 4],
  ['drop-after', 4],
  ['refuse', 4],
  ['throw', 4],
];

interface Final {
  readonly status: number;
  readonly body: string;
  readonly atMs: number;
}

export const run: Run = async (report) => {
  const mood = createMoods();
  const clouds = await Promise.all(['a', 'b', 'c'].map((name) => startFaultyCloud({ name, mood })));
  const upstreams = clouds.map((cloud) => cloud.url);
  const gateway = await startPaidGateway({
    functions: [
      { name: IDEMPOTENT, idempotent: true, upstreams },
      { name: NOT_IDEMPOTENT, idempotent: false, upstreams },
    ],
  });
  const pool = new Pool(gateway.origin, { connections: CONNECTIONS });
  try {
    report(`${KEYS * DUPLICATES} calls, ${KILLS} kills`);
    const finals = await race(gateway, pool, report);
    report('asking each key once more');
    const lostAnswers = await askAgain(gateway, pool, finals);
    const charges = await chargesByNonce(gateway);
    const figures = {
      keys: KEYS,
      charges: [...charges.values()].reduce((sum, count) => sum + count, 0),
      keysChargedTwice: [...charges.values()].filter((count) => count > 1).length,
      duplicateRuns: duplicateRuns(clouds, finals),
      lostAnswers,
    };
    const ran = clouds.reduce((sum, cloud) => sum + cloud.ran.length, 0);
    return {
      figures,
      bars: BARS,
      details: { ran, unanswered: unanswered(finals), statuses: statuses(finals) },
    };
  } finally {
    await pool.destroy();
    await gateway.close();
    for (const cloud of clouds) await cloud.close();
  }
};

const keyOf = (index: number): string => `key-${index}`;
const functionOf = (index: number): string => (index % 2 === 0 ? IDEMPOTENT : NOT_IDEMPOTENT);

/** Sends all duplicates of all keys, many at once, and kills the gateway again and again. */
async function race(
  gateway: PaidGateway,
  pool: Pool,
  report: (line: string) => void,
): Promise<Final[][]> {
  const finals: Final[][] = Array.from({ length: KEYS }, () => []);
  const targets = createTargets(gateway);
  const jobs = Array.from({ length: KEYS * DUPLICATES }, (_, n) => {
    const group = Math.floor((n % (KEYS * AT_ONCE)) / (KEYS_AT_ONCE * AT_ONCE));
    return group * KEYS_AT_ONCE + (n % KEYS_AT_ONCE);
  });
  let begun = 0;
  let kills = 0;
  const killer = (async () => {
    while (kills < KILLS) {
      // Kills it with many calls running.
      while (begun < (kills + 0.5) * CALLS_A_KILL) await pause(1);
      await gateway.killAndRestart();
      kills += 1;
      if (kills % 5 === 0) report(`killed ${kills} times, ${jobs.length - begun} calls to come`);
    }
  })();
  const worker = async (): Promise<void> => {
    while (begun < jobs.length) {
      if (begun >= (kills + 1) * CALLS_A_KILL) {
        await pause(PAUSE_MS);
        continue;
      }
      const index = jobs[begun] ?? 0;
      begun += 1;
      const final = await ask(pool, targets, index);
      if (final !== undefined) finals[index]?.push(final);
    }
  };
  await Promise.all([killer, ...Array.from({ length: 2 * CONNECTIONS }, worker)]);
  return finals;
}

type Targets = (name: string) => Promise<Target>;

/** Tokens live ten minutes and survive the gateway's death. */
function createTargets(gateway: PaidGateway): Targets {
  const targets = new Map<string, Promise<Target>>();
  return (name) => {
    const known = targets.get(name) ?? gateway.target('', name);
    targets.set(name, known);
    known.catch(() => targets.delete(name));
    return known;
  };
}

/** Repeats one duplicate until it has a final answer: the function's, or that there is none. */
async function ask(pool: Pool, targets: Targets, index: number): Promise<Final | undefined> {
  for (let tries = 0; tries < MAX_TRIES; tries += 1) {
    try {
      const target = await targets(functionOf(index));
      const { path, headers } = target;
      const nonce = nonceOf(target, keyOf(index));
      const reply = await pool.request({
        path: path as `/${string}`,
        method: 'POST',
        headers: { ...headers, 'idempotency-key': keyOf(index), 'defaas-nonce': nonce },
        body: keyOf(index),
        headersTimeout: 20_000,
      });
      const body = await reply.body.text();
      if (isFinal(reply.statusCode, index)) {
        return { status: reply.statusCode, body, atMs: performance.now() };
      }
    } catch {
      // The gateway is down or has just died: try again.
    }
    await pause(PAUSE_MS);
  }
  return undefined;
}

/**
 * The function's answer is final. If nothing may run twice, a failure or an unknown outcome is
 * final too.
 */
function isFinal(status: number, index: number): boolean {
  if (status === 200) return true;
  return (
    functionOf(index) === NOT_IDEMPOTENT && (status === 409 || status === 502 || status === 504)
  );
}

/** Keys with two different answers, then or now. */
async function askAgain(
  gateway: PaidGateway,
  pool: Pool,
  finals: readonly Final[][],
): Promise<number> {
  const targets = createTargets(gateway);
  const indexes = finals.map((_, index) => index);
  let lost = 0;
  const worker = async (): Promise<void> => {
    for (let index = indexes.pop(); index !== undefined; index = indexes.pop()) {
      const now = await ask(pool, targets, index);
      const all = [...(finals[index] ?? []), ...(now ? [now] : [])];
      const answers = new Set(all.map(({ status, body }) => (status === 200 ? body : `${status}`)));
      if (answers.size > 1 || now === undefined) lost += 1;
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, worker));
  return lost;
}

/**
 * Priced receipts by the call's nonce, which is derived from the key; the two versions never share
 * a key.
 */
async function chargesByNonce(gateway: PaidGateway): Promise<Map<Hex, number>> {
  const targets = createTargets(gateway);
  const known = new Set<Hex>();
  for (let index = 0; index < KEYS; index += 1) {
    known.add(nonceOf(await targets(functionOf(index)), keyOf(index)));
  }
  const charges = new Map<Hex, number>();
  for await (const { call, receipt } of gateway.documents()) {
    if (receipt.price === 0n) continue;
    if (!known.has(call.nonce)) throw new Error(`a receipt of an unknown call ${call.nonce}`);
    charges.set(call.nonce, (charges.get(call.nonce) ?? 0) + 1);
  }
  return charges;
}

/** Second runs of the version that is not idempotent, and runs after an answer was given. */
function duplicateRuns(clouds: readonly FaultyCloud[], finals: readonly Final[][]): number {
  const runs = new Map<string, number[]>();
  for (const { call, atMs } of clouds.flatMap((cloud) => cloud.ran)) {
    runs.set(call, [...(runs.get(call) ?? []), atMs]);
  }
  let duplicates = 0;
  for (let index = 0; index < KEYS; index += 1) {
    const times = runs.get(keyOf(index)) ?? [];
    const answers = (finals[index] ?? []).filter(({ status }) => status === 200);
    const answeredAtMs = Math.min(...answers.map(({ atMs }) => atMs));
    const isOnce = functionOf(index) === NOT_IDEMPOTENT;
    duplicates += isOnce
      ? Math.max(times.length - 1, 0)
      : times.filter((atMs) => atMs > answeredAtMs).length;
  }
  return duplicates;
}

function unanswered(finals: readonly Final[][]): number {
  return finals.reduce((sum, ofKey) => sum + DUPLICATES - ofKey.length, 0);
}

function statuses(finals: readonly Final[][]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { status } of finals.flat()) counts[status] = (counts[status] ?? 0) + 1;
  return counts;
}

/** Pseudo-random numbers, the same sequence every time. */
function createMoods(): () => Mood {
  let state = 20_261_122;
  return () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    let left = (state >>> 8) % 100;
    for (const [mood, share] of MOODS) {
      if (left < share) return mood;
      left -= share;
    }
    return 'answer';
  };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
