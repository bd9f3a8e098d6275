// Starts a process of the house in its own process group, with its output in a log file, and waits
// for its ready message.
import { fork } from 'node:child_process';
import { createWriteStream, mkdirSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { CliError } from '../cli/cli-error.ts';
import type { PidBook } from './pid-book.ts';

/** A log above this size is rotated, bytes; one old log is kept. */
const MAX_LOG_BYTES = 10 * 1024 * 1024;
/** Length of the stderr tail kept to explain why a process has ended, characters. */
const TAIL_CHARACTERS = 8_192;

export interface ChildOptions {
  readonly name: string;
  /** File that node runs. */
  readonly program: string;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly home: string;
  readonly book: PidBook;
  /** Longest wait for the ready message, ms. */
  readonly readyMs: number;
  /** Receives its progress reports. */
  readonly onStep?: (line: string) => void;
}

export interface HouseChild<Ready> {
  readonly name: string;
  /** Its ready message. @throws CliError its own code and line, or HOUSE_START */
  readonly ready: Promise<Ready>;
  /** Resolves with the cause when the process has ended. Never rejects. */
  readonly ended: Promise<string>;
  /** Sends SIGTERM, and SIGKILL after `graceMs`; settles when the process has ended. */
  stop(graceMs: number): Promise<void>;
}

/**
 * Messages of the child: `{spawned: pid}` for each process it starts, `{step: text}`, and `{ready:
 * ...}` once.
 */
export function startChild<Ready>(options: ChildOptions): HouseChild<Ready> {
  const { name, home, book } = options;
  const log = openLog(home, name);
  const child = fork(options.program, [...(options.args ?? [])], {
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    // The terminal's Ctrl-C must reach the supervisor alone: it stops its children in order.
    detached: true,
    env: { ...process.env, ...options.env },
  });
  const spawned = new Set<number>();
  const note = (pid: number): void => {
    spawned.add(pid);
    book.add(pid);
  };
  if (child.pid !== undefined) note(child.pid);
  let tail = '';
  child.stdout?.pipe(log, { end: false });
  child.stderr?.pipe(log, { end: false });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    tail = (tail + text).slice(-TAIL_CHARACTERS);
  });

  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) => {
      for (const pid of spawned) book.remove(pid);
      log.end();
      resolve(`ended with ${code ?? signal}`);
    });
  });
  const ready = new Promise<Ready>((resolve, reject) => {
    const late = setTimeout(
      () => reject(startFailed(name, `is not ready after ${options.readyMs / 1000} s`, home)),
      options.readyMs,
    );
    child.on('message', (message: { spawned?: number; step?: string; ready?: Ready }) => {
      if (message.spawned !== undefined) note(message.spawned);
      if (message.step !== undefined) options.onStep?.(message.step);
      if (message.ready === undefined) return;
      clearTimeout(late);
      resolve(message.ready);
    });
    void ended.then((why) => {
      clearTimeout(late);
      const own = /^([A-Z][A-Z0-9_]+): (.*)$/m.exec(tail);
      reject(own ? new CliError(own[1] ?? '', own[2] ?? '') : startFailed(name, why, home));
    });
  });
  ready.catch(() => {});

  return {
    name,
    ready,
    ended,
    async stop(graceMs) {
      child.kill('SIGTERM');
      const kill = setTimeout(() => {
        for (const pid of spawned) killOne(pid);
      }, graceMs);
      await ended;
      clearTimeout(kill);
    },
  };
}

function startFailed(name: string, why: string, home: string): CliError {
  return new CliError(
    'HOUSE_START',
    `the ${name} ${why}, see ${join(home, 'logs', `${name}.log`)}, then run npm start again`,
  );
}

function openLog(home: string, name: string) {
  const folder = join(home, 'logs');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, `${name}.log`);
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (size > MAX_LOG_BYTES) renameSync(path, `${path}.1`);
  return createWriteStream(path, { flags: 'a', mode: 0o600 });
}

function killOne(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}
