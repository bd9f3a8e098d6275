// `bench memory`: checks whether the gateway's memory grows with the number of calls. Sends a
// million calls, half with an Idempotency-Key, settles once on the way, and samples the heap after
// a full collection. Measures idle keep-alive connections first. Takes about five minutes.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { HeapSample } from './http/heap-probe.ts';
import { type Load, startLoad } from './http/load.ts';
import { type PaidGateway, startPaidGateway } from './http/paid-gateway.ts';
import { pssMiB } from './http/processes.ts';
import type { Bar, Run } from './main.ts';

const LEGS = 20;
const CALLS_A_LEG = 50_000;
/**
 * Legs before the first sample: after them and one settlement, all one-time allocations exist
 * (code, tables, a filter of keys).
 */
const FIRST_LEG = 2;
const CONNECTIONS = 64;
const LEG_MS = 120_000;
const IDLE_CONNECTIONS = 2_000;
const FUNCTION = 'memory';
const BODY = JSON.stringify({ text: 'x'.repeat(118) });
/** Longer than receipts wait for their index: until then up to 10,000 of them may be in memory. */
const REST_MS = 3_000;
const MIB = 1024 * 1024;

const BARS: readonly Bar[] = [
  { figure: 'heapGrowthMiB', limit: 8 },
  { figure: 'idle2000ConnectionsMiB', limit: 50 },
];

interface Sample {
  readonly calls: number;
  readonly heapMiB: number;
  readonly externalMiB: number;
  readonly pssMiB: number;
}

export const run: Run = async (report) => {
  const stub = fork(join(import.meta.dirname, 'http/stub-upstream.ts'));
  const load = startLoad();
  let gateway: PaidGateway | undefined;
  try {
    const [{ ready }] = await once(stub, 'message');
    gateway = await startPaidGateway({
      functions: [
        { name: FUNCTION, idempotent: true, upstreams: [`http://127.0.0.1:${ready.port}`] },
      ],
      execArgv: ['--expose-gc', '--import', join(import.meta.dirname, 'http/heap-probe.ts')],
    });
    const samples: Sample[] = [];
    let idleMiB = 0;
    for (let leg = 1; leg <= LEGS; leg += 1) {
      await call(load, gateway, leg);
      if (leg === FIRST_LEG) {
        idleMiB = await idleConnections(gateway);
        report(`${IDLE_CONNECTIONS} idle connections: ${idleMiB} MiB; settling`);
        await gateway.settle();
      }
      const sample = await sampleOf(gateway, leg * CALLS_A_LEG);
      report(
        `${sample.calls} calls: heap ${sample.heapMiB} MiB, beside it ${sample.externalMiB}, in all ${sample.pssMiB}`,
      );
      samples.push(sample);
    }
    const receipts = await gateway.receipts();
    if (receipts < LEGS * CALLS_A_LEG) throw new Error(`only ${receipts} receipts`);
    const first = samples[FIRST_LEG - 1];
    const last = samples.at(-1);
    if (first === undefined || last === undefined) throw new Error('no sample was taken');
    const figures = {
      calls: receipts,
      heapGrowthMiB: rounded(last.heapMiB + last.externalMiB - first.heapMiB - first.externalMiB),
      heapBytesPerCall: rounded(slopeOf(samples.slice(FIRST_LEG - 1)) * MIB),
      idle2000ConnectionsMiB: idleMiB,
    };
    return { figures, bars: BARS, details: { samples } };
  } finally {
    load.close();
    await gateway?.close();
    stub.kill('SIGTERM');
  }
};

/** One leg of calls, every second one with a fresh key. */
async function call(load: Load, gateway: PaidGateway, leg: number): Promise<void> {
  const each = Array.from(
    { length: CALLS_A_LEG },
    (_, n): Record<string, string> => (n % 2 === 0 ? { 'idempotency-key': `${leg}-${n}` } : {}),
  );
  const target = { ...(await gateway.target(BODY)), each };
  const { requests, failures, failure } = await load.run({
    target,
    connections: CONNECTIONS,
    warmUpMs: 0,
    durationMs: LEG_MS,
  });
  if (failures > 0 || requests < CALLS_A_LEG) {
    throw new Error(`${requests} calls were answered, ${failures} failed: ${failure}`);
  }
}

/**
 * Compares the process's memory with and without the connections, both after a collection; a
 * separate load process holds them.
 */
async function idleConnections(gateway: PaidGateway): Promise<number> {
  const holder = startLoad();
  try {
    const before = await sampleOf(gateway, 0);
    await holder.hold(await gateway.target(BODY), IDLE_CONNECTIONS);
    const after = await sampleOf(gateway, 0);
    // Memory that the process reuses could hide part of the cost; then the heap is the better
    // figure.
    const heapMiB = after.heapMiB + after.externalMiB - before.heapMiB - before.externalMiB;
    return rounded(Math.max(after.pssMiB - before.pssMiB, heapMiB));
  } finally {
    holder.close();
  }
}

async function sampleOf({ process, pid }: PaidGateway, calls: number): Promise<Sample> {
  await sleep(REST_MS);
  const { heapBytes, externalBytes } = await askHeap(process);
  return {
    calls,
    heapMiB: rounded(heapBytes / MIB),
    externalMiB: rounded(externalBytes / MIB),
    pssMiB: rounded(pssMiB([pid])),
  };
}

function askHeap(child: ChildProcess): Promise<HeapSample> {
  return new Promise((resolve) => {
    const hear = (message: { readonly heap?: HeapSample }): void => {
      if (message.heap === undefined) return;
      child.off('message', hear);
      resolve(message.heap);
    };
    child.on('message', hear);
    child.send('heap');
  });
}

/** MiB a call, by least squares. */
function slopeOf(samples: readonly Sample[]): number {
  const points = samples.map(({ calls, heapMiB, externalMiB }) => ({
    x: calls,
    y: heapMiB + externalMiB,
  }));
  const mean = (of: (point: { x: number; y: number }) => number): number =>
    points.reduce((sum, point) => sum + of(point), 0) / points.length;
  const [x, y] = [mean((point) => point.x), mean((point) => point.y)];
  return mean((point) => (point.x - x) * (point.y - y)) / mean((point) => (point.x - x) ** 2);
}

function rounded(value: number): number {
  return Number(value.toFixed(2));
}
