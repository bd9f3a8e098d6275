// Processes that run a publisher's code. Each has a process group of its own, none of our
// environment and a bound on memory. It ends together with all that it has started. After a
// `kill -9` of ours, the next start ends what was left.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type From, readPaced } from './paced.ts';

export interface ChildOptions {
  /** Arguments of node: flags, file, arguments. */
  readonly args: readonly string[];
  readonly cwd: string;
  /** The whole environment. Nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
  /** Resident memory above which the group is killed. */
  readonly memoryMiB: number;
  /** Receives stdout and stderr, at a bounded pace. */
  readonly onOutput: (chunk: Buffer, from: From) => void;
  /** Opens an `ipc` channel (`child.process.send`). */
  readonly ipc?: boolean;
  /** Makes the command line that runs node, for example in a sandbox. Default: under prlimit. */
  readonly command?: (args: readonly string[]) => readonly string[];
  /** Descriptors from 3 on: a two-way pipe at `child.process.stdio`, or a descriptor of ours. */
  readonly descriptors?: readonly ('pipe' | number)[];
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Whether it was killed because it used more than its memory. */
  readonly isOverMemory: boolean;
}

export interface Child {
  readonly pid: number;
  readonly process: ChildProcess;
  /** Settles when the process has exited and its output is read to the end. Never rejects. */
  readonly exited: Promise<Exit>;
  /** SIGSTOP to the group: no CPU until `thaw`. */
  freeze(): void;
  thaw(): void;
  /** SIGKILL to the group, frozen or not. */
  kill(): void;
  /** Most resident memory so far, rounded up. 0 on a system that does not report it. */
  peakMemoryMiB(): number;
  /**
   * From now on measures and freezes this process instead: the one that the started process runs in
   * a sandbox.
   */
  follow(pid: number): void;
}

export interface Children {
  /** @throws Error the process could not be started */
  start(options: ChildOptions): Child;
  /** Kills all groups and waits until they are gone. */
  close(): Promise<void>;
}

/** Interval of the checks of a child's memory. In between, RLIMIT_DATA is the bound. */
const MEMORY_POLL_MS = 50;

/**
 * What RLIMIT_DATA allows above the memory limit. The kernel holds it whatever the gateway does
 * (docs/decisions/memory-bound.md). Node 26 reserves 562 MiB as data before it runs a line.
 * `threads`: for code that may start worker threads.
 */
const DATA_MARGIN_MIB = { plain: 640, threads: 768 };

const PAGE_BYTES = 4096;
const PRLIMIT = '/usr/bin/prlimit';

/** `recordsDir` has a file per running child. The next start ends those of a killed process. */
export function createChildren(recordsDir: string): Children {
  mkdirSync(recordsDir, { recursive: true });
  endStrays(recordsDir);
  const running = new Set<Child>();
  const killAll = () => {
    for (const child of running) child.kill();
  };
  process.on('exit', killAll);

  return {
    start(options) {
      const child = startChild(options);
      const record = join(recordsDir, String(child.pid));
      writeFileSync(record, startOf(child.pid) ?? '');
      running.add(child);
      void child.exited.then(() => {
        running.delete(child);
        rmSync(record, { force: true });
      });
      return child;
    },

    async close() {
      killAll();
      await Promise.all([...running].map((child) => child.exited));
      process.off('exit', killAll);
    },
  };
}

/** The arguments of `prlimit`: a bound on memory, and no core files. */
export function limitFlags(memoryMiB: number, margin: keyof typeof DATA_MARGIN_MIB): string[] {
  return [`--data=${(memoryMiB + DATA_MARGIN_MIB[margin]) * 1024 * 1024}`, '--core=0'];
}

function startChild(options: ChildOptions): Child {
  const limits = existsSync(PRLIMIT) ? [PRLIMIT, ...limitFlags(options.memoryMiB, 'threads')] : [];
  const [command, ...args] = options.command?.(options.args) ?? [
    ...limits,
    process.execPath,
    ...options.args,
  ];
  const spawned = spawn(command ?? process.execPath, args, {
    cwd: options.cwd,
    env: options.env,
    // A new session, and with it a process group that one signal reaches.
    detached: true,
    stdio: [
      ...(['ignore', 'pipe', 'pipe'] as const),
      ...(options.ipc ? (['ipc'] as const) : []),
      ...(options.descriptors ?? []),
    ],
    // Structured clone keeps bytes as bytes.
    serialization: 'advanced',
  });
  const { pid, stdout, stderr } = spawned;
  if (pid === undefined || !stdout || !stderr) throw new Error(`cannot start ${command}`);
  const readRest = readPaced({ stdout, stderr }, options.onOutput);

  let isOverMemory = false;
  let isFrozen = false;
  let isGone = false;
  let peakBytes = 0;
  let inside: number | undefined;
  const signal = (name: NodeJS.Signals) => signalGroup(pid, name);
  /** A sandbox is a session of its own. A signal to the group does not reach it. */
  const pause = (name: 'SIGSTOP' | 'SIGCONT') => {
    if (isGone) return;
    if (inside === undefined) signal(name);
    else signalProcess(inside, name);
  };
  const look = () => {
    if (isFrozen) return;
    const bytes = residentBytes(inside ?? pid);
    peakBytes = Math.max(peakBytes, bytes);
    if (bytes <= options.memoryMiB * 1024 * 1024) return;
    isOverMemory = true;
    signal('SIGKILL');
  };
  const poll = setInterval(look, MEMORY_POLL_MS);
  poll.unref();

  const exited = once(spawned, 'close').then(
    ([code, signalName]) => ({ code, signal: signalName, isOverMemory }),
    () => ({ code: null, signal: null, isOverMemory }),
  );
  // Processes that it has started must not outlive it.
  spawned.once('exit', () => {
    isGone = true;
    clearInterval(poll);
    signal('SIGKILL');
    readRest();
  });

  return {
    pid,
    process: spawned,
    exited,
    freeze() {
      isFrozen = true;
      pause('SIGSTOP');
    },
    thaw() {
      isFrozen = false;
      pause('SIGCONT');
    },
    kill() {
      signal('SIGKILL');
      // The sandbox also dies with its outer process. Do not wait for that.
      if (inside !== undefined && !isGone) signalProcess(inside, 'SIGKILL');
    },
    peakMemoryMiB() {
      peakBytes = Math.max(peakBytes, residentBytes(inside ?? pid));
      return Math.ceil(peakBytes / 1024 / 1024);
    },
    follow(sandboxed) {
      inside = sandboxed;
    },
  };
}

/** Ends the groups that an earlier process has recorded. Spares a pid that was used again. */
function endStrays(recordsDir: string): void {
  for (const name of readdirSync(recordsDir)) {
    const pid = Number(name);
    const record = join(recordsDir, name);
    const start = readFileSync(record, 'utf8');
    if (start !== '' && start === startOf(pid)) signalGroup(pid, 'SIGKILL');
    rmSync(record, { force: true });
  }
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  signalProcess(-pid, signal);
}

function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    // ESRCH: it has exited. EPERM: macOS reports it for a group of zombies.
    if (!isErrno(error, 'ESRCH') && !isErrno(error, 'EPERM')) throw error;
  }
}

/** When a process started, as the system reports it. With the pid it names exactly one process. */
export function startOf(pid: number): string | undefined {
  try {
    if (!existsSync('/proc/self/stat')) {
      return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim();
    }
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // Field 22 of proc(5), counted from behind the command name, which may contain spaces.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    // No such process.
    return undefined;
  }
}

function residentBytes(pid: number): number {
  try {
    return Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]) * PAGE_BYTES;
  } catch {
    // It has exited, or the system has no /proc.
    return 0;
  }
}

function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
