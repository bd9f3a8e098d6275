// `bench http`: measures the gateway's cost between a caller and a function, compared with nginx as
// a plain reverse proxy to the same stub. Alternating rounds, medians; CPU time is the target's,
// from /proc. Takes about five minutes. Without nginx it prints the reason and exits with 1.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from 'node:fs';
import { loadavg, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Load, type LoadResult, startLoad, type Target } from './http/load.ts';
import { type Nginx, startNginx } from './http/nginx.ts';
import { type PaidGateway, startPaidGateway } from './http/paid-gateway.ts';
import { dpopTarget, signedTarget } from './http/prepared.ts';
import { cpuUs, pssMiB, withChildren } from './http/processes.ts';
import type { Bar, Run } from './main.ts';

const BARS: readonly Bar[] = [
  { figure: 'cpuVsNginx64', limit: 6.5 },
  { figure: 'p50At1VsNginxAndSync', limit: 4 },
  { figure: 'reqPerSec64VsNginx', limit: 0.2, kind: 'least' },
  { figure: 'p99Ms256VsNginx', limit: 3.5 },
];

const ROUNDS = 5;
/**
 * Warm-up of each target before the first round, then of each cell, ms. JavaScript needs it to
 * compile.
 */
const WARM_UP_MS = 8_000;
const CELL_WARM_UP_MS = 500;
/** 129 bytes. */
const BODY = JSON.stringify({ text: 'x'.repeat(118) });
/** A rate that each target can sustain. */
const PACED_PER_SEC = 1_900;

/**
 * The stub itself, nginx, and the gateway with bearer tokens, with a DPoP proof per request, and
 * with signed Calls.
 */
type Name = 'stub' | 'nginx' | 'gateway' | 'dpop' | 'signed';

interface Cell {
  readonly connections: number;
  readonly durationMs: number;
  readonly ratePerSec?: number;
  readonly targets: readonly Name[];
}

const CELLS: readonly Cell[] = [
  { connections: 1, durationMs: 2_500, targets: ['stub', 'nginx', 'gateway'] },
  { connections: 16, durationMs: 2_000, targets: ['nginx', 'gateway'] },
  { connections: 64, durationMs: 3_000, targets: ['stub', 'nginx', 'gateway', 'dpop', 'signed'] },
  { connections: 256, durationMs: 3_000, targets: ['nginx', 'gateway'] },
  {
    connections: 64,
    durationMs: 2_500,
    ratePerSec: PACED_PER_SEC,
    targets: ['nginx', 'gateway'],
  },
];

/** Individually signed requests of one cell: about two seconds' worth. */
const PREPARED = 6_000;
const FUNCTION = 'bench';

interface Contestant {
  readonly name: Name;
  pids(): readonly number[];
  /** Created anew for each cell: a token lives ten minutes, a proof one. */
  target(): Promise<Target>;
}

interface Row extends LoadResult {
  readonly target: Name;
  readonly round: number;
  readonly connections: number;
  readonly ratePerSec?: number;
  readonly cpuUsPerReq: number;
  readonly pssMiB: number;
}

export const run: Run = async (report) => {
  const stub = fork(join(import.meta.dirname, 'http/stub-upstream.ts'));
  const load = startLoad();
  let nginx: Nginx | undefined;
  let gateway: PaidGateway | undefined;
  try {
    const upstream = await stubAddress(stub);
    nginx = await startNginx(upstream);
    if (nginx === undefined) {
      report(
        'no nginx on this machine: every bar is a ratio to it; install the package nginx-light',
      );
    }
    gateway = await startPaidGateway({
      functions: [{ name: FUNCTION, idempotent: true, upstreams: [`http://${upstream}`] }],
    });
    const contestants = contestantsOf(stub, upstream, nginx, gateway);
    for (const contestant of contestants) await warmUp(load, contestant);
    const before = await gateway.receipts();
    const rows: Row[] = [];
    const syncMs: number[] = [];
    for (let round = 1; round <= ROUNDS; round += 1) {
      syncMs.push(fdatasyncP50Ms());
      for (const cell of CELLS) {
        for (const contestant of contestants) {
          if (!cell.targets.includes(contestant.name)) continue;
          const row = await measure(load, contestant, cell, round);
          report(lineOf(row));
          rows.push(row);
        }
      }
    }
    const receipts = (await gateway.receipts()) - before;
    refuseUnpaid(rows, receipts);
    const figures = figuresOf(rows, median(syncMs));
    return {
      figures,
      bars: BARS,
      details: {
        conditions: conditionsOf(nginx, receipts, syncMs),
        medians: mediansOf(rows),
        rounds: rows,
      },
    };
  } finally {
    load.close();
    await gateway?.close();
    await nginx?.close();
    stub.kill('SIGTERM');
  }
};

async function stubAddress(stub: ChildProcess): Promise<string> {
  const [{ ready }] = await once(stub, 'message');
  return `127.0.0.1:${ready.port}`;
}

function contestantsOf(
  stub: ChildProcess,
  upstream: string,
  nginx: Nginx | undefined,
  gateway: PaidGateway,
): Contestant[] {
  const plain = async (origin: string): Promise<Target> => ({
    ...(await gateway.target(BODY)),
    origin,
  });
  const contestants: Contestant[] = [
    { name: 'stub', pids: () => [stub.pid ?? 0], target: () => plain(`http://${upstream}`) },
  ];
  if (nginx !== undefined) {
    const { pid, origin } = nginx;
    contestants.push({ name: 'nginx', pids: () => withChildren(pid), target: () => plain(origin) });
  }
  const pids = () => [gateway.pid];
  const prepared = { name: FUNCTION, body: BODY, count: PREPARED };
  contestants.push(
    { name: 'gateway', pids, target: () => gateway.target(BODY) },
    { name: 'dpop', pids, target: () => dpopTarget(gateway, prepared) },
    { name: 'signed', pids, target: () => signedTarget(gateway, prepared) },
  );
  return contestants;
}

async function warmUp(load: Load, contestant: Contestant): Promise<void> {
  const target = await contestant.target();
  await load.run({ target, connections: 64, warmUpMs: 0, durationMs: WARM_UP_MS });
}

async function measure(
  load: Load,
  contestant: Contestant,
  cell: Cell,
  round: number,
): Promise<Row> {
  const { targets: _targets, ...how } = cell;
  const target = await contestant.target();
  let usedUs = 0;
  const result = await load.run({ target, warmUpMs: CELL_WARM_UP_MS, ...how }, () => {
    usedUs = cpuUs(contestant.pids());
  });
  usedUs = cpuUs(contestant.pids()) - usedUs;
  if (result.failures > 0) {
    const where = `${contestant.name} at ${cell.connections} connections`;
    throw new Error(`${result.failures} requests failed, on ${where}: ${result.failure}`);
  }
  const { connections, ratePerSec } = cell;
  return {
    target: contestant.name,
    round,
    connections,
    ...(ratePerSec !== undefined && { ratePerSec }),
    ...result,
    cpuUsPerReq: usedUs / result.requests,
    pssMiB: pssMiB(contestant.pids()),
  };
}

/** Checks that every counted call of the gateway has a receipt: none bypassed the metering. */
function refuseUnpaid(rows: readonly Row[], receipts: number): void {
  const paid = rows.filter(({ target }) => target !== 'stub' && target !== 'nginx');
  const calls = paid.reduce((sum, row) => sum + row.requests, 0);
  if (receipts < calls) throw new Error(`${calls} calls were answered, ${receipts} have a receipt`);
}

/**
 * @param syncMs  what one small append and its sync take on this disk, for the gateway's answers
 *   wait for one
 */
function figuresOf(rows: readonly Row[], syncMs: number): Record<string, number | null> {
  const of = (target: Name, connections: number, figure: (row: Row) => number): number =>
    median(rowsOf(rows, target, connections).map(figure));
  const hasNginx = rows.some((row) => row.target === 'nginx');
  const ratio = (connections: number, figure: (row: Row) => number): number | null =>
    hasNginx
      ? rounded(of('gateway', connections, figure) / of('nginx', connections, figure))
      : null;
  return {
    cpuVsNginx64: ratio(64, (row) => row.cpuUsPerReq),
    p50At1VsNginxAndSync: hasNginx
      ? rounded(
          of('gateway', 1, (row) => row.p50Ms) / (of('nginx', 1, (row) => row.p50Ms) + syncMs),
        )
      : null,
    reqPerSec64VsNginx: ratio(64, (row) => row.requestsPerSec),
    p99Ms256VsNginx: ratio(256, (row) => row.p99Ms),
    cpuUsPerReq64: rounded(of('gateway', 64, (row) => row.cpuUsPerReq)),
    dpopCpuUsPerReq: rounded(of('dpop', 64, (row) => row.cpuUsPerReq)),
    signedCallCpuUsPerReq: rounded(of('signed', 64, (row) => row.cpuUsPerReq)),
  };
}

function rowsOf(rows: readonly Row[], target: Name, connections: number, ratePerSec?: number) {
  return rows.filter(
    (row) =>
      row.target === target && row.connections === connections && row.ratePerSec === ratePerSec,
  );
}

function mediansOf(rows: readonly Row[]) {
  return CELLS.flatMap(({ connections, ratePerSec, targets }) =>
    targets.flatMap((target) => {
      const cell = rowsOf(rows, target, connections, ratePerSec);
      if (cell.length === 0) return [];
      const of = (figure: (row: Row) => number) => rounded(median(cell.map(figure)));
      return {
        target,
        connections,
        ...(ratePerSec !== undefined && { ratePerSec }),
        requestsPerSec: of((row) => row.requestsPerSec),
        p50Ms: of((row) => row.p50Ms),
        p99Ms: of((row) => row.p99Ms),
        cpuUsPerReq: of((row) => row.cpuUsPerReq),
        pssMiB: of((row) => row.pssMiB),
      };
    }),
  );
}

/** Notes that a reader needs beside the figures. */
function conditionsOf(nginx: Nginx | undefined, receipts: number, syncMs: readonly number[]) {
  return {
    loadAverage: loadavg().map(rounded),
    kernel: release(),
    fdatasyncP50Ms: syncMs,
    stub: 'raw sockets on Node, answers 46 bytes of JSON when the whole body is in; one process',
    nginx:
      nginx &&
      `${nginx.version}, 2 workers, keep-alive on both sides; no authentication, no metering`,
    gateway: `one process, default configuration: bearer token, prepaid lane, ${receipts} receipts durable and signed before each reply`,
    load: 'one process on the same machine, closed loop; paced rows count from when a request was due',
  };
}

/** Measures one small append and its sync on the disk of the gateway's ledger. */
function fdatasyncP50Ms(): number {
  const file = join(tmpdir(), `bench-http-disk-${process.pid}`);
  const descriptor = openSync(file, 'w');
  const times: number[] = [];
  for (let i = 0; i < 100; i += 1) {
    const startedAtMs = performance.now();
    writeSync(descriptor, BODY);
    fdatasyncSync(descriptor);
    times.push(performance.now() - startedAtMs);
  }
  closeSync(descriptor);
  rmSync(file);
  return rounded(median(times));
}

function lineOf(row: Row): string {
  const rate = row.ratePerSec === undefined ? '' : ` paced ${row.ratePerSec}/s`;
  const figures = [
    `${row.requestsPerSec.toFixed(0)} req/s`,
    `p50 ${row.p50Ms.toFixed(2)} ms`,
    `p99 ${row.p99Ms.toFixed(2)} ms`,
    `${row.cpuUsPerReq.toFixed(0)} us CPU`,
  ];
  return `${row.round} ${row.target} c=${row.connections}${rate}: ${figures.join(', ')}`;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

function rounded(value: number): number {
  return Number(value.toPrecision(3));
}
