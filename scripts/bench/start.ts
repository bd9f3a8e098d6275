// `bench start`: measures a newcomer's first start. Installs and starts a copy of the tree in an
// empty folder, then compares a warm call of `hello` through the gateway (token, voucher, durable
// receipt) with the same call directly to the emulator.
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Pool } from 'undici';
import { createAwsLambda } from '../../adapters/aws/provider.ts';
import type { Deployment, InvokeRequest } from '../../adapters/provider.ts';
import { signVoucher, voucherHeader } from '../../broker/client/lane.ts';
import { ownNonce } from '../../broker/client/own-calls.ts';
import { emulatedClouds } from '../../broker/clouds.ts';
import { functionIdOf } from '../../contracts/libraries/names.ts';
import { readLaneKey } from '../cli/account.ts';
import { openGateway, openSession } from '../cli/context.ts';
import type { Bar, Run } from './main.ts';

const BARS: readonly Bar[] = [
  { figure: 'installMiB', limit: 620 },
  { figure: 'installSec', limit: 60 },
  { figure: 'firstStartSec', limit: 60 },
  { figure: 'warmStartSec', limit: 15 },
  { figure: 'residentMiB', limit: 1024 },
  { figure: 'addedP50Ms', limit: 5 },
];

const MIB = 1024 * 1024;
const UP_MS = 180_000;
const WARM_UP_CALLS = 300;
const ROUNDS = 6;
const CALLS_A_ROUND = 100;

export const run: Run = async (report) => {
  const folder = mkdtempSync(join(tmpdir(), 'bench-start-'));
  const tree = join(folder, 'tree');
  const home = join(folder, 'home');
  const houses: ChildProcess[] = [];
  const start = async (): Promise<number> => {
    const startedAtMs = performance.now();
    houses.push(startHouse(tree, home));
    await untilUp(home, houses.at(-1));
    return secondsSince(startedAtMs);
  };
  const stop = async (): Promise<void> => {
    const house = houses.pop();
    if (house === undefined || house.exitCode !== null) return;
    house.kill('SIGTERM');
    await once(house, 'exit');
  };
  try {
    copyTree(tree);
    report('installing from a warm cache');
    await install(tree);
    rmSync(join(tree, 'node_modules'), { recursive: true });
    const installSec = await install(tree);
    const installMiB = Math.round(diskBytes(join(tree, 'node_modules')) / MIB);
    report('first start');
    const firstStartSec = await start();
    await stop();
    report('warm start');
    const warmStartSec = await start();
    report('calls');
    const calls = await measureCalls(folder, home);
    const residentMiB = Math.round(residentBytes(houses.at(-1)?.pid ?? 0) / MIB);
    const { added, details } = calls;
    const figures = {
      installMiB,
      installSec,
      firstStartSec,
      warmStartSec,
      residentMiB,
      addedP50Ms: added,
    };
    return { figures, bars: BARS, details };
  } finally {
    await stop();
    rmSync(folder, { recursive: true, force: true });
  }
};

/**
 * Copies the checkout like a clone, including uncommitted changes and new files that git does not
 * ignore.
 */
function copyTree(to: string): void {
  const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], {
    encoding: 'utf8',
  });
  for (const file of files.split('\n').filter((path) => path !== '' && existsSync(path))) {
    cpSync(file, join(to, file), { recursive: true });
  }
}

async function install(tree: string): Promise<number> {
  const startedAtMs = performance.now();
  const args = ['ci', '--include=dev', '--include=optional', '--no-audit', '--no-fund'];
  await promisify(execFile)('npm', args, { cwd: tree, maxBuffer: 16 * MIB });
  return secondsSince(startedAtMs);
}

function startHouse(tree: string, home: string): ChildProcess {
  const env = {
    ...process.env,
    DEFAAS_HOME: home,
    DEFAAS_PORT: '0',
    NODE_COMPILE_CACHE: undefined,
  };
  return spawn(process.execPath, [join(tree, 'scripts/launch.mjs'), 'start'], {
    env,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}

async function untilUp(home: string, house: ChildProcess | undefined): Promise<void> {
  const deadlineMs = Date.now() + UP_MS;
  while (!existsSync(join(home, 'up.json'))) {
    if (house?.exitCode !== null) throw new Error('the house has ended, see its lines above');
    if (Date.now() > deadlineMs) throw new Error(`the house is not up after ${UP_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function secondsSince(startedAtMs: number): number {
  return Number(((performance.now() - startedAtMs) / 1000).toFixed(1));
}

/** Disk usage in blocks; a file with several hard links counts once. */
function diskBytes(folder: string, seen = new Set<number>()): number {
  let bytes = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    const { ino, blocks } = lstatSync(path);
    if (!seen.has(ino)) bytes += blocks * 512;
    seen.add(ino);
    if (entry.isDirectory()) bytes += diskBytes(path, seen);
  }
  return bytes;
}

/**
 * Memory of the house and its descendants: proportional set size if the system reports it, so that
 * shared pages count once.
 */
function residentBytes(root: number): number {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    const stat = readIfThere(`/proc/${name}/stat`);
    parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
  }
  const isBelow = (pid: number): boolean => {
    if (pid === root) return true;
    const parent = parents.get(pid);
    return parent !== undefined && parent > 1 && isBelow(parent);
  };
  let bytes = 0;
  for (const pid of [...parents.keys()].filter(isBelow)) {
    const rollup = readIfThere(`/proc/${pid}/smaps_rollup`);
    bytes += Number(/^Pss:\s+(\d+) kB/m.exec(rollup)?.[1] ?? 0) * 1024;
  }
  return bytes;
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** Alternating rounds of gateway and emulator, one call at a time; medians over all. */
async function measureCalls(folder: string, home: string) {
  const name = 'bench-hello';
  const cli = (...words: string[]) =>
    promisify(execFile)(process.execPath, ['scripts/defaas.ts', ...words, '--json'], {
      env: { ...process.env, DEFAAS_HOME: home, INIT_CWD: folder },
    });
  cpSync('scripts/examples/hello', join(folder, name), { recursive: true });
  const manifestFile = join(folder, name, 'defaas.json');
  const manifest = JSON.parse(readFileSync(manifestFile, 'utf8'));
  writeFileSync(manifestFile, JSON.stringify({ ...manifest, name, payer: 'caller' }));
  const aws = createAwsLambda({
    ...emulatedClouds(join(home, 'emulators', 'emulators.json'))['aws-lambda'],
    gateway: '',
  });
  const before = await namesAt(home);
  await cli('register', name);
  await cli('deploy', name, '--to', 'aws');
  await cli('deposit', '50');
  const [cloudName = ''] = (await namesAt(home)).filter((one) => !before.includes(one));
  const throughGateway = await openGatewayCalls(home, name);
  const direct = directCalls(aws, cloudName);
  try {
    for (let i = 0; i < WARM_UP_CALLS; i++) {
      await throughGateway.call();
      await direct();
    }
    const gatewayMs: number[] = [];
    const directMs: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      for (let i = 0; i < CALLS_A_ROUND; i++) gatewayMs.push(await timeOf(throughGateway.call));
      for (let i = 0; i < CALLS_A_ROUND; i++) directMs.push(await timeOf(direct));
    }
    const [gatewayP50Ms, directP50Ms] = [median(gatewayMs), median(directMs)];
    return {
      added: Number((gatewayP50Ms - directP50Ms).toFixed(2)),
      details: { gatewayP50Ms, directP50Ms, calls: ROUNDS * CALLS_A_ROUND },
    };
  } finally {
    await throughGateway.close();
    await aws.close();
  }
}

/** Cloud functions that the AWS emulator has: its state is a file for each. */
async function namesAt(home: string): Promise<string[]> {
  const folder = join(home, 'emulators', 'aws', 'functions');
  return readdirSync(folder).map((file) => file.replace(/\.json$/, ''));
}

/**
 * Calls the user's function with a token and a voucher of the user's lane over one keep-alive
 * connection.
 */
async function openGatewayCalls(home: string, name: string) {
  const { gateway, chain } = JSON.parse(readFileSync(join(home, 'up.json'), 'utf8'));
  process.env.DEFAAS_HOME = home;
  const flags = { json: true, account: 'user', gateway, rpc: chain.rpcUrl };
  const opened = await openGateway(flags);
  const { account, store, connection } = opened;
  const [lane] = store.lanes(account.address);
  if (lane === undefined) throw new Error('the deposit has opened no lane');
  const session = await openSession(opened, readLaneKey(home, lane.signer), lane);
  await session.request(`/lanes/${lane.payer}/${lane.signer}`);
  const token = store.token(lane.signer, lane)?.accessToken ?? '';
  const ceilingUnits = 40_000_000n;
  const signature = await signVoucher(connection, session.key, lane.payer, ceilingUnits);
  const pool = new Pool(connection.origin, { connections: 1 });
  const functionId = functionIdOf(account.address, name);
  const maxPriceUnits = ceilingUnits;
  const request = () =>
    ({
      path: `/functions/${account.address}/${name}`,
      method: 'GET',
      headers: {
        authorization: `Bearer ${token}`,
        'defaas-voucher': voucherHeader(ceilingUnits, signature),
        'defaas-nonce': ownNonce(session.ownCallsKey ?? '0x', { functionId, maxPriceUnits }),
        'defaas-max-price': `${maxPriceUnits}`,
      },
    }) as const;
  return {
    async call() {
      const { statusCode, headers, body } = await pool.request(request());
      const text = await body.text();
      if (statusCode !== 200 || headers['defaas-receipt'] === undefined) {
        throw new Error(`the gateway answered ${statusCode}: ${text}`);
      }
    },
    async close() {
      await pool.close();
      opened.close();
    },
  };
}

function directCalls(aws: ReturnType<typeof createAwsLambda>, name: string) {
  const request: InvokeRequest = {
    callId: 'bench',
    method: 'GET',
    path: '/',
    query: '',
    headers: [],
    body: new Uint8Array(),
  };
  const deployment: Deployment = {
    provider: 'aws-lambda',
    name,
    region: '',
    specHash: '',
    artifactCid: '',
    memoryMiB: 128,
    timeoutMs: 5_000,
    url: '',
  };
  return async (): Promise<void> => {
    const result = await aws.invoke(deployment, request, { signal: AbortSignal.timeout(10_000) });
    if (!result.ok) throw new Error(`the emulator answered ${result.error.message}`);
  };
}

async function timeOf(call: () => Promise<void>): Promise<number> {
  const startedAtMs = performance.now();
  await call();
  return performance.now() - startedAtMs;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
