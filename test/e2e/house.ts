// A whole house for end-to-end tests: every part a process of its own, in a folder of its own, and
// the command line beside it.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { FaultRule } from '../../adapters/emulators/faults.ts';

const ROOT = resolve(import.meta.dirname, '../..');
/** A house comes up in about 10 s, in more where other work runs beside it. */
const UP_MS = 120_000;
const LOOK_EVERY_MS = 50;

export type Cloud = 'aws' | 'google' | 'azure';

export interface Up {
  readonly pid: number;
  readonly gateway: string;
  readonly chain: { readonly rpcUrl: string };
  readonly emulators: { readonly faults: Readonly<Record<Cloud, string>> };
  readonly example: string;
}

export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface TestHouse {
  /** Where commands are typed; the house's home is in it. */
  readonly folder: string;
  readonly home: string;
  up(): Up;
  start(): Promise<Up>;
  /** SIGKILL to every process of the house at once. */
  kill(): Promise<void>;
  stop(): Promise<void>;
  /** One command of the command line, as a process of its own. */
  defaas(...words: string[]): Promise<Ended>;
  /** The same with `--json`, when it has to succeed. */
  json(...words: string[]): Promise<ReturnType<typeof JSON.parse>>;
  faults(cloud: Cloud, rules: readonly FaultRule[]): Promise<void>;
  /** Stops all processes and removes the folder. */
  remove(): Promise<void>;
}

export function createHouse(env: Readonly<Record<string, string>> = {}): TestHouse {
  const folder = mkdtempSync(join(tmpdir(), 'defaas-e2e-'));
  const home = join(folder, 'home');
  mkdirSync(home);
  const surroundings = {
    PATH: process.env.PATH ?? '',
    INIT_CWD: folder,
    DEFAAS_HOME: home,
    DEFAAS_PORT: '0',
    DEFAAS_EMULATORS_FAULTS: '1',
    ...env,
  };
  let supervisor: ChildProcess | undefined;
  let output = '';

  const up = (): Up => JSON.parse(readFileSync(join(home, 'up.json'), 'utf8'));
  const isUp = () => existsSync(join(home, 'up.json')) && up().pid === supervisor?.pid;
  const start = async () => {
    const child = spawn(process.execPath, ['scripts/up.ts'], { cwd: ROOT, env: surroundings });
    supervisor = child;
    output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    }
    const deadlineMs = Date.now() + UP_MS;
    while (!isUp()) {
      if (child.exitCode !== null || Date.now() > deadlineMs)
        throw new Error(`no house: ${output}`);
      await new Promise((done) => setTimeout(done, LOOK_EVERY_MS));
    }
    return up();
  };
  const end = async (signal: NodeJS.Signals, others: readonly number[] = []) => {
    const child = supervisor;
    supervisor = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'close');
    child.kill(signal);
    for (const pid of others) killIfThere(pid);
    await ended;
  };
  const defaas: TestHouse['defaas'] = (...words) =>
    new Promise((done) => {
      const args = [join(ROOT, 'scripts/defaas.ts'), ...words];
      const options = { cwd: tmpdir(), env: surroundings, maxBuffer: 64 * 1024 * 1024 };
      execFile(process.execPath, args, options, (error, stdout, stderr) => {
        done({ code: error ? Number(error.code) : 0, stdout, stderr });
      });
    });

  return {
    folder,
    home,
    up,
    start,
    kill: () => end('SIGKILL', pidsIn(home)),
    stop: () => end('SIGTERM'),
    defaas,
    json: async (...words) => {
      const { code, stdout, stderr } = await defaas(...words, '--json');
      if (code === 0 && stderr === '') return JSON.parse(stdout);
      throw new Error(`defaas ${words.join(' ')} ended with ${code}: ${stderr}`);
    },
    faults: async (cloud, rules) => {
      const url = `${up().emulators.faults[cloud]}/_faults`;
      const body = JSON.stringify(rules);
      const headers = { 'content-type': 'application/json' };
      const reply = await fetch(url, { method: 'PUT', headers, body });
      if (!reply.ok) throw new Error(`${url}: ${reply.status} ${await reply.text()}`);
    },
    remove: async () => {
      await end('SIGTERM');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** The house notes every process that it starts. */
function pidsIn(home: string): number[] {
  return readdirSync(join(home, 'pids'))
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && pid > 1);
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    // The process ended with its parent.
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}
