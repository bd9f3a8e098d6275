// `bench failover`: switches one of three clouds off and on again under 500 calls a second of an
// idempotent version. No call may fail; the traffic must move within one second and return within
// ten. Calls are sent at a fixed rate, however slow the answers.
import { Pool } from 'undici';
import { type FaultyCloud, startFaultyCloud } from './http/faulty-cloud.ts';
import { nonceOf } from './http/load.ts';
import { type PaidGateway, startPaidGateway } from './http/paid-gateway.ts';
import type { Bar, Run } from './main.ts';

const CALLS_PER_SEC = 500;
const WARM_UP_MS = 4_000;
const STEADY_MS = 3_000;
const OFF_MS = 6_000;
const BACK_MS = 12_000;
const CONNECTIONS = 128;
/** Shares are taken over windows of this length, ms. */
const WINDOW_MS = 100;
const MOVED_SHARE = 0.95;
/** Share at which the cloud counts as back; normally it has a third of the traffic. */
const BACK_SHARE = 0.2;
const BACK_WINDOW_MS = 500;
const NAME = 'failover';

const BARS: readonly Bar[] = [
  { figure: 'lostIdempotent', limit: 0 },
  { figure: 'movedSec', limit: 1 },
  { figure: 'backSec', limit: 10 },
];

interface Reply {
  /** When it was due to be sent, ms from the begin. */
  readonly dueMs: number;
  readonly tookMs: number;
  readonly status: number;
  /** The cloud that ran it. */
  readonly cloud: string;
}

export const run: Run = async (report) => {
  const [preferred, ...others] = await Promise.all(
    ['preferred', 'second', 'third'].map((name) =>
      startFaultyCloud({ name, mood: () => 'answer' }),
    ),
  );
  if (preferred === undefined) throw new Error('no cloud was started');
  const clouds = [preferred, ...others];
  const gateway = await startPaidGateway({
    functions: [{ name: NAME, idempotent: true, upstreams: clouds.map((cloud) => cloud.url) }],
  });
  const pool = new Pool(gateway.origin, { connections: CONNECTIONS });
  try {
    report(`${CALLS_PER_SEC} calls a second, one cloud off for ${OFF_MS / 1000} s`);
    await load(gateway, pool, { forMs: WARM_UP_MS, events: [] });
    const offMs = STEADY_MS;
    const onMs = STEADY_MS + OFF_MS;
    const replies = await load(gateway, pool, {
      forMs: onMs + BACK_MS,
      events: [
        { atMs: offMs, act: () => preferred.switchOff() },
        { atMs: onMs, act: () => preferred.switchOn() },
      ],
    });
    const figures = {
      lostIdempotent: replies.filter(({ status }) => status !== 200).length,
      movedSec: movedSec(replies, offMs, onMs),
      backSec: backSec(replies, onMs),
    };
    return { figures, bars: BARS, details: detailsOf(replies, clouds, offMs, onMs) };
  } finally {
    await pool.destroy();
    await gateway.close();
    for (const cloud of clouds) await cloud.close();
  }
};

interface LoadOptions {
  readonly forMs: number;
  readonly events: readonly { readonly atMs: number; readonly act: () => Promise<void> }[];
}

/** Sends at an even pace; an answer that is late does not hold back the next call. */
async function load(gateway: PaidGateway, pool: Pool, options: LoadOptions): Promise<Reply[]> {
  const target = await gateway.target('', NAME);
  const { path, headers } = target;
  const beganMs = performance.now();
  const nowMs = (): number => performance.now() - beganMs;
  const events = [...options.events];
  const replies: Promise<Reply>[] = [];
  const call = async (dueMs: number): Promise<Reply> => {
    try {
      const reply = await pool.request({
        path: path as `/${string}`,
        method: 'POST',
        headers: { ...headers, 'defaas-nonce': nonceOf(target) },
        body: `${dueMs}`,
      });
      const body = await reply.body.text();
      const cloud = reply.statusCode === 200 ? JSON.parse(body).cloud : '';
      return { dueMs, tookMs: nowMs() - dueMs, status: reply.statusCode, cloud };
    } catch {
      return { dueMs, tookMs: nowMs() - dueMs, status: 0, cloud: '' };
    }
  };
  for (let dueMs = 0; dueMs < options.forMs; ) {
    while (dueMs <= nowMs() && dueMs < options.forMs) {
      replies.push(call(dueMs));
      dueMs += 1000 / CALLS_PER_SEC;
    }
    while (events[0] !== undefined && events[0].atMs <= nowMs()) await events.shift()?.act();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return Promise.all(replies);
}

/**
 * Time from the switch until the other clouds answer 95 % of the calls in a window and in all later
 * ones.
 */
function movedSec(replies: readonly Reply[], offMs: number, onMs: number): number {
  let movedMs = offMs;
  for (let fromMs = offMs; fromMs < onMs; fromMs += WINDOW_MS) {
    const window = within(replies, fromMs, fromMs + WINDOW_MS);
    const moved = window.filter(({ status, cloud }) => status === 200 && cloud !== 'preferred');
    if (moved.length < MOVED_SHARE * window.length) movedMs = fromMs + WINDOW_MS;
  }
  return round((movedMs - offMs) / 1000);
}

/** Time from the return until the cloud has its traffic again; the whole time if it never has. */
function backSec(replies: readonly Reply[], onMs: number): number {
  for (let fromMs = onMs; fromMs < onMs + BACK_MS; fromMs += WINDOW_MS) {
    const window = within(replies, fromMs, fromMs + BACK_WINDOW_MS);
    const share = window.filter(({ cloud }) => cloud === 'preferred').length / window.length;
    if (share >= BACK_SHARE) return round((fromMs - onMs) / 1000);
  }
  return BACK_MS / 1000;
}

function within(replies: readonly Reply[], fromMs: number, toMs: number): Reply[] {
  return replies.filter(({ dueMs }) => dueMs >= fromMs && dueMs < toMs);
}

function detailsOf(
  replies: readonly Reply[],
  clouds: readonly FaultyCloud[],
  offMs: number,
  onMs: number,
) {
  const p = (part: readonly Reply[], share: number): number => {
    const took = part.map(({ tookMs }) => tookMs).sort((a, b) => a - b);
    return round(took[Math.floor(took.length * share)] ?? 0);
  };
  const phase = (part: readonly Reply[]) => ({
    calls: part.length,
    p50Ms: p(part, 0.5),
    p99Ms: p(part, 0.99),
  });
  return {
    calls: replies.length,
    ran: clouds.map((cloud) => cloud.ran.length),
    before: phase(within(replies, 0, offMs)),
    off: phase(within(replies, offMs, onMs)),
    after: phase(within(replies, onMs, Number.POSITIVE_INFINITY)),
  };
}

function round(value: number): number {
  return Number(value.toFixed(2));
}
