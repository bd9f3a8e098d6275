// Which processes a house has started: so that one house runs in a folder, and what a killed one
// left is ended first.
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { startOf } from '../../adapters/runtime/children.ts';
import { CliError } from '../cli/cli-error.ts';

/** Longest wait for a killed process to be gone, and time between two looks, ms. */
const END_MS = 1_000;
const LOOK_EVERY_MS = 5;

export interface PidBook {
  /** Notes a process of this house. */
  add(pid: number): void;
  remove(pid: number): void;
  /** Gives the folder free for the next house. */
  close(): void;
}

/**
 * Takes the folder for this process and ends, with SIGKILL, what an earlier house left running
 * there; a stopped process (SIGSTOP) too. A pid that another program has by now is left alone: its
 * start time differs.
 * @throws CliError HOUSE_RUNNING  another house is up in this folder
 */
export function openPidBook(home: string): PidBook {
  const folder = join(home, 'pids');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const lock = join(folder, 'house');
  takeLock(lock, home);
  for (const name of readdirSync(folder)) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const record = join(folder, name);
    if (isStillOurs(pid, record)) {
      process.kill(pid, 'SIGKILL');
      awaitEnd(() => isStillOurs(pid, record));
    }
    rmSync(record, { force: true });
  }
  return {
    add: (pid) => writeFileSync(join(folder, String(pid)), startOf(pid) ?? ''),
    remove: (pid) => rmSync(join(folder, String(pid)), { force: true }),
    close: () => rmSync(lock, { force: true }),
  };
}

/**
 * Its ports and files are free only when it is gone; a zombie that nobody reaps holds none, so the
 * wait is bounded.
 */
function awaitEnd(isThere: () => boolean): void {
  for (let waitedMs = 0; waitedMs < END_MS && isThere(); waitedMs += LOOK_EVERY_MS) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOOK_EVERY_MS);
  }
}

function takeLock(lock: string, home: string): void {
  for (;;) {
    try {
      const file = openSync(lock, 'wx', 0o600);
      writeSync(file, JSON.stringify({ pid: process.pid, start: startOf(process.pid) }));
      closeSync(file);
      return;
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    }
    const owner = readOwner(lock);
    if (owner !== undefined && startOf(owner.pid) === owner.start) {
      throw new CliError(
        'HOUSE_RUNNING',
        `a house is up already (process ${owner.pid}), on ${home}, use that one, stop it, or set another DEFAAS_HOME`,
      );
    }
    rmSync(lock, { force: true });
  }
}

function readOwner(lock: string): { pid: number; start: string } | undefined {
  try {
    return JSON.parse(readFileSync(lock, 'utf8'));
  } catch {
    return undefined;
  }
}

function isStillOurs(pid: number, record: string): boolean {
  const start = readFileSync(record, 'utf8');
  return start !== '' && start === startOf(pid);
}
