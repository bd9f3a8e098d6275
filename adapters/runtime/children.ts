// Processes that run a publisher's code: each in a group of its own with nothing of our environment, bounded in memory,
// and ended with everything it started, also by the next start after we were killed.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface ChildOptions {
  /** What node runs: flags, file, arguments. */
  readonly args: readonly string[];
  readonly cwd: string;
  /** The whole environment; nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
  /** Resident memory above which the group is killed. */
  readonly memoryMiB: number;
  /** What the process writes to stdout and stderr. */
  readonly onOutput: (chunk: Buffer, from: 'stdout' | 'stderr') => void;
  /** Give it an `ipc` channel (`child.process.send`). */
  readonly ipc?: boolean;
  /** Makes the command line that runs node with `args`, as in a sandbox. Default: node under prlimit. */
  readonly command?: (args: readonly string[]) => readonly string[];
  /** Descriptors from 3 on: a two-way pipe at `child.process.stdio`, or one of ours that is passed on. */
  readonly descriptors?: readonly ('pipe' | number)[];
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Killed because it was above its memory. */
  readonly isOverMemory: boolean;
}

export interface Child {
  readonly pid: number;
  readonly process: ChildProcess;
  /** Settles when the process is gone and its output is read to the end. Never rejects. */
  readonly exited: Promise<Exit>;
  /** SIGSTOP to the group: no CPU until `thaw`. */
  freeze(): void;
  thaw(): void;
  /** SIGKILL to the group, frozen or not. */
  kill(): void;
  /** Most resident memory so far, rounded up; 0 where the system does not tell. */
  peakMemoryMiB(): number;
  /** From now on the memory and the freezing are those of this process, which the started one runs in a sandbox. */
  follow(pid: number): void;
}

export interface Children {
  /** @throws Error the process could not be started */
  start(options: ChildOptions): Child;
  /** Kills all groups and waits until they are gone. */
  close(): Promise<void>;
}

/** How often the memory of a running child is looked at (the bound between two looks is `DATA_MARGIN_MIB`). */
const MEMORY_POLL_MS = 50;

/**
 * What Node 26 reserves as data (RLIMIT_DATA) before it runs a line: 562 MiB measured on linux-x64. The limit is a
 * backstop for what is allocated between two looks; below this it would not start.
 */
const DATA_MARGIN_MIB = 768;

const PAGE_BYTES = 4096;
const PRLIMIT = '/usr/bin/prlimit';

/** `recordsDir` keeps a file per running child, so that strays of a killed process are ended here, at the next start. */
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

/** Memory as a backstop, and no core files: what `prlimit` is called with. */
export function limitFlags(memoryMiB: number): string[] {
  return [`--data=${(memoryMiB + DATA_MARGIN_MIB) * 1024 * 1024}`, '--core=0'];
}

function startChild(options: ChildOptions): Child {
  const limits = existsSync(PRLIMIT) ? [PRLIMIT, ...limitFlags(options.memoryMiB)] : [];
  const [command, ...args] = options.command?.(options.args) ?? [
    ...limits,
    process.execPath,
    ...options.args,
  ];
  const spawned = spawn(command ?? process.execPath, args, {
    cwd: options.cwd,
    env: options.env,
    // A session of its own, hence a group that a signal reaches whole.
    detached: true,
    stdio: [
      ...(['ignore', 'pipe', 'pipe'] as const),
      ...(options.ipc ? (['ipc'] as const) : []),
      ...(options.descriptors ?? []),
    ],
    // Structured clone: bytes stay bytes.
    serialization: 'advanced',
  });
  const { pid } = spawned;
  if (pid === undefined) throw new Error(`cannot start ${command}`);
  spawned.stdout?.on('data', (chunk: Buffer) => options.onOutput(chunk, 'stdout'));
  spawned.stderr?.on('data', (chunk: Buffer) => options.onOutput(chunk, 'stderr'));

  let isOverMemory = false;
  let isFrozen = false;
  let isGone = false;
  let peakBytes = 0;
  let inside: number | undefined;
  const signal = (name: NodeJS.Signals) => signalGroup(pid, name);
  /** A sandbox has a session of its own, which a signal to the group does not reach. */
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
  // What the process itself started must not outlive it.
  spawned.once('exit', () => {
    isGone = true;
    clearInterval(poll);
    signal('SIGKILL');
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
      // The sandbox dies with its outer process; this does not wait for it.
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

/** Ends the groups that a former process recorded and that still run; a pid taken by another program is left alone. */
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
    // ESRCH: gone already. EPERM: macOS says so of a group of zombies.
    if (!isErrno(error, 'ESRCH') && !isErrno(error, 'EPERM')) throw error;
  }
}

/** When a process started, as its system tells it; with the pid it names one process of this machine. */
export function startOf(pid: number): string | undefined {
  try {
    if (!existsSync('/proc/self/stat')) {
      return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim();
    }
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // proc(5): field 22, counted behind the command name, which may itself hold spaces.
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
    // Gone, or a system without /proc.
    return 0;
  }
}

function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
