// Records which processes a house has started, so that only one house runs in a folder and the
// leftovers of a killed one are ended first.
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

/** Longest wait for a killed process to end, and the poll interval, ms. */
const END_MS = 1_000;
const LOOK_EVERY_MS = 5;

interface Owner {
  readonly pid: number;
  /** When it began; another process with its pid began at another time. */
  readonly start: string;
}

export interface PidBook {
  /** Records a process of this house. */
  add(pid: number): void;
  remove(pid: number): void;
  /** Releases the folder for the next house. */
  close(): void;
}

/**
 * Claims the folder for this process and ends, with SIGKILL, the processes that an earlier house
 * left running, also stopped ones (SIGSTOP). A pid that another program has by now is left alone:
 * its start time differs.
 * @throws CliError HOUSE_RUNNING  another house is up in this folder
 */
export function openPidBook(home: string): PidBook {
  const folder = join(home, 'pids');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const lock = lockOf(home);
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

/** The process that runs the house of the folder; undefined if none does. */
export function houseOwner(home: string): Owner | undefined {
  const owner = readOwner(lockOf(home));
  return owner !== undefined && startOf(owner.pid) === owner.start ? owner : undefined;
}

function lockOf(home: string): string {
  return join(home, 'pids', 'house');
}

/**
 * Waits until the process has ended, because it holds ports and files until then. The wait is
 * bounded, because an unreaped zombie holds none.
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
    const owner = houseOwner(home);
    if (owner !== undefined) {
      throw new CliError(
        'HOUSE_RUNNING',
        `a house is up already (process ${owner.pid}), on ${home}, use that one, stop it, or set another DEFAAS_HOME`,
      );
    }
    rmSync(lock, { force: true });
  }
}

function readOwner(lock: string): Owner | undefined {
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
