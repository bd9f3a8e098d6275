// What stands between a publisher's code and this machine: bubblewrap with Node's permission model
// and limits inside it, or, where that does not work, the permission model alone, which is for
// trusted code only (docs/providers.md 3.1).

import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { limitFlags } from './children.ts';
import { createFilter } from './seccomp.ts';

export interface Isolation {
  /** `sandbox`: for any code. `trusted`: only for code that the operator trusts. */
  readonly kind: 'sandbox' | 'trusted';
  /** What was found on this machine, one line for the log and for people. */
  readonly found: string;
  /** Makes the place for one instance; `leave` it when the instance is gone. */
  enclose(options: EncloseOptions): Enclosure;
}

export interface EncloseOptions {
  /** Folder of the artifact's files; inside it can only be read. */
  readonly codeDir: string;
  /** Absolute paths of our own files inside; the first is what node runs. Descriptor 3 is its channel. */
  readonly programs: readonly string[];
  readonly memoryMiB: number;
}

export interface Enclosure {
  /** Arguments of node. */
  readonly args: readonly string[];
  /** The command line that runs node with arguments; undefined: node as it is. */
  readonly command?: (args: readonly string[]) => readonly string[];
  /** From 3 on; the first is the channel. */
  readonly descriptors: readonly ('pipe' | number)[];
  /** Folder of the artifact as the code inside sees it. */
  readonly insideCodeDir: string;
  /** The one folder that the code can write to. */
  readonly insideTemporaryDir: string;
  /** The process was started, or could not be: what it needed to start is given back. */
  entered(): void;
  /** The process that runs the code, once it does, of the process that was started. */
  codePid(startedPid: number): number;
  leave(): void;
}

/** Room in the temporary folder of an instance. Inside bubblewrap it is memory, beside that of the process. */
export const TEMPORARY_MIB = 64;

const BWRAP = ['/usr/bin/bwrap', '/usr/local/bin/bwrap', '/run/current-system/sw/bin/bwrap'];
const PRLIMIT = '/usr/bin/prlimit';
const SETPRIV = '/usr/bin/setpriv';
/** Where Node's libraries are; the rest of /usr stays outside. */
const LIBRARIES = ['/usr/lib', '/usr/lib32', '/usr/lib64', '/usr/local/lib'];
const LIBRARY_LINKS = ['/lib', '/lib32', '/lib64'];
/** Paths inside the sandbox. */
const PROGRAMS = '/var/runtime';
const CODE = '/var/task';
const TEMPORARY = '/tmp';
const NODE = '/opt/node';
const FOLDERS = ['/opt', '/usr', '/usr/local', '/var', PROGRAMS];
/** Nobody, on Linux by convention. */
const NOBODY = '65534';
/**
 * From here on, each instance of a gateway that runs as root has a user of its own on this machine: root in a user namespace
 * would still be the owner of what lies in /proc/sys. Outside of what systemd gives to containers and users.
 */
const FIRST_UID = 2_000_000_000;
const UIDS = 100_000;
/** Descriptor inside where bubblewrap reads the filter: behind the channel, which is 3. */
const FILTER = 4;
/** Threads that code may have; Node takes about 12. */
const MAX_THREADS = 64;
const MAX_FILES = 256;
const PROBE_MS = 10_000;
const MIB = 1024 * 1024;

/** Tries what this machine can do. Keeps files under `dir`. Takes about a tenth of a second, once. */
export function probeIsolation(dir: string): Isolation {
  mkdirSync(dir, { recursive: true });
  if (process.platform !== 'linux') {
    return trustCode(dir, `no sandbox on ${process.platform}`);
  }
  const bwrap = BWRAP.find((path) => existsSync(path));
  if (!bwrap) return trustCode(dir, 'no sandbox: bubblewrap is not installed');
  const missing = [PRLIMIT, SETPRIV].find((path) => !existsSync(path));
  if (missing) return trustCode(dir, `no sandbox: ${missing} is not installed`);
  if (childOf(process.ppid) === undefined) {
    return trustCode(dir, 'no sandbox: the kernel does not tell children (CONFIG_PROC_CHILDREN)');
  }
  const sandbox = createSandbox(dir, bwrap);
  const fault = tryOut(sandbox, dir);
  return fault ? trustCode(dir, `no sandbox: ${fault}`) : sandbox;
}

/** The permission model alone: code can still signal processes and use up the disk. */
export function trustCode(dir: string, why: string): Isolation {
  return {
    kind: 'trusted',
    found: `${why}; trusted code only`,
    enclose({ codeDir, programs, memoryMiB }) {
      const temporaryDir = join(dir, 'tmp', randomUUID());
      mkdirSync(temporaryDir, { recursive: true, mode: 0o700 });
      const [program = ''] = programs;
      const readable = [codeDir, temporaryDir, ...programs];
      return {
        args: [...nodeFlags({ readable, writable: temporaryDir, memoryMiB }), program],
        descriptors: ['pipe'],
        insideCodeDir: codeDir,
        insideTemporaryDir: temporaryDir,
        entered() {},
        codePid: (startedPid) => startedPid,
        leave: () => rmSync(temporaryDir, { recursive: true, force: true }),
      };
    },
  };
}

function createSandbox(dir: string, bwrap: string): Isolation {
  const filter = createFilter();
  const filterFile = join(dir, 'seccomp.bpf');
  if (filter) writeFileSync(filterFile, filter);
  const libraries = libraryFlags();
  const isRoot = process.getuid?.() === 0;
  let places = 0;

  return {
    kind: 'sandbox',
    found: `bubblewrap, Node's permission model, prlimit${filter ? ', seccomp' : ''}`,
    enclose({ codeDir, programs, memoryMiB }) {
      places += 1;
      const identity = isRoot ? ownUser(FIRST_UID + (places % UIDS)) : NOBODY_IN_NAMESPACE;
      const filterFd = filter && openSync(filterFile, 'r');
      const [program = ''] = programs.map((path) => `${PROGRAMS}/${basename(path)}`);
      const readable = [CODE, TEMPORARY, PROGRAMS];
      return {
        args: [...nodeFlags({ readable, writable: TEMPORARY, memoryMiB }), program],
        command: (args) => [
          bwrap,
          ...['--unshare-pid', '--unshare-net', '--unshare-ipc', '--unshare-uts'],
          ...['--unshare-cgroup-try', '--cap-drop', 'ALL', ...identity.flags],
          ...['--die-with-parent', '--new-session', '--clearenv', '--hostname', 'function'],
          ...FOLDERS.flatMap((path) => ['--perms', '0755', '--dir', path]),
          ...libraries,
          ...['--proc', '/proc', '--dev', '/dev'],
          ...['--perms', '1777', '--size', String(TEMPORARY_MIB * MIB), '--tmpfs', TEMPORARY],
          ...readOnly(process.execPath, NODE),
          ...[PRLIMIT, SETPRIV].flatMap((path) => readOnly(path, `/opt/${basename(path)}`)),
          ...programs.flatMap((path) => readOnly(path, `${PROGRAMS}/${basename(path)}`)),
          ...readOnly(codeDir, CODE),
          ...['--remount-ro', '/dev', '--remount-ro', '/', '--chdir', CODE],
          ...(filter ? ['--seccomp', String(FILTER)] : []),
          ...['/opt/prlimit', ...limitFlags(memoryMiB), `--nproc=${MAX_THREADS}`],
          ...[`--fsize=${TEMPORARY_MIB * MIB}`, `--nofile=${MAX_FILES}`],
          ...identity.command,
          ...[NODE, ...args],
        ],
        descriptors: ['pipe', ...(filterFd === undefined ? [] : [filterFd])],
        insideCodeDir: CODE,
        insideTemporaryDir: TEMPORARY,
        entered() {
          if (filterFd !== undefined) closeSync(filterFd);
        },
        codePid(startedPid) {
          // bubblewrap, its first process inside, the code; or the code is the first.
          const inside = childOf(startedPid) ?? startedPid;
          return childOf(inside) ?? inside;
        },
        leave() {},
      };
    },
  };
}

/** Who the code is. `flags` of bubblewrap, and what is run inside it to become that. */
interface Identity {
  readonly flags: readonly string[];
  readonly command: readonly string[];
}

/** Outside it is the user that the gateway runs as. */
const NOBODY_IN_NAMESPACE: Identity = {
  flags: ['--unshare-user', '--uid', NOBODY, '--gid', NOBODY, '--as-pid-1'],
  command: [],
};

/** Outside it is a user that owns nothing. Takes root, which is given up before the code begins. */
function ownUser(uid: number): Identity {
  return {
    flags: ['SETUID', 'SETGID', 'SETPCAP'].flatMap((name) => ['--cap-add', `CAP_${name}`]),
    command: [
      ...['/opt/setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups'],
      ...['--inh-caps=-all', '--bounding-set=-all', '--no-new-privs'],
    ],
  };
}

function readOnly(path: string, inside: string): string[] {
  return ['--ro-bind', path, inside];
}

/** Node's own walls: it reads and writes nothing else; no network, no process, no worker, no addon, no inspector. */
function nodeFlags(of: {
  readonly readable: readonly string[];
  readonly writable: string;
  readonly memoryMiB: number;
}): string[] {
  return [
    '--permission',
    ...of.readable.map((path) => `--allow-fs-read=${path}`),
    `--allow-fs-write=${of.writable}`,
    '--disable-sigusr1',
    ...heapFlags(of.memoryMiB),
  ];
}

/** The heap ends below the memory, so that a leak ends as a heap error where it can. */
function heapFlags(memoryMiB: number): string[] {
  return [`--max-old-space-size=${Math.floor(memoryMiB * 0.9)}`, '--max-semi-space-size=16'];
}

function libraryFlags(): string[] {
  return [
    ...LIBRARIES.filter((path) => existsSync(path)).flatMap((path) => ['--ro-bind', path, path]),
    ...LIBRARY_LINKS.filter((path) => existsSync(path)).flatMap((path) =>
      lstatSync(path).isSymbolicLink()
        ? ['--symlink', readlinkSync(path), path]
        : ['--ro-bind', path, path],
    ),
  ];
}

/** Runs nothing, exactly as a function would run. @returns why it does not work */
function tryOut(sandbox: Isolation, dir: string): string | undefined {
  const codeDir = join(dir, 'probe');
  mkdirSync(codeDir, { recursive: true });
  const place = sandbox.enclose({ codeDir, programs: [], memoryMiB: 64 });
  const [command = '', ...args] = place.command?.([...place.args.slice(0, -1), '-e', '0']) ?? [];
  const filter = place.descriptors.filter((each) => typeof each === 'number');
  const { status, error, stderr } = spawnSync(command, args, {
    env: {},
    stdio: ['ignore', 'ignore', 'pipe', 'pipe', ...filter],
    timeout: PROBE_MS,
    killSignal: 'SIGKILL',
    encoding: 'utf8',
  });
  place.entered();
  if (status === 0) return undefined;
  return error?.message ?? (stderr.split('\n')[0]?.slice(0, 256) || `bubblewrap ended ${status}`);
}

/** The first child of a process, as proc(5) tells it. */
function childOf(pid: number): number | undefined {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
    return Number(children.split(' ')[0]) || undefined;
  } catch {
    // Gone, or a kernel that does not tell.
    return undefined;
  }
}
