// Isolates a publisher's code from this machine: bubblewrap with Node's permission model and limits
// inside it. Where that does not work, the permission model alone, which is for trusted code only
// (docs/providers.md 3.1).

import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  closeSync,
  copyFileSync,
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
  /** One line about what this machine offers, for the log and for people. */
  readonly found: string;
  /** Makes the place for one instance. Call its `leave` when the instance has exited. */
  enclose(options: EncloseOptions): Enclosure;
}

export interface EncloseOptions {
  /** Folder of the artifact's files. Read-only inside. */
  readonly codeDir: string;
  /** Absolute paths of our own files inside. Node runs the first. Descriptor 3 is its channel. */
  readonly programs: readonly string[];
  readonly memoryMiB: number;
}

export interface Enclosure {
  /** Arguments of node. */
  readonly args: readonly string[];
  /** Makes the command line that runs node. Undefined: node itself. */
  readonly command?: (args: readonly string[]) => readonly string[];
  /** Descriptors from 3 on. The first is the channel. */
  readonly descriptors: readonly ('pipe' | number)[];
  /** Path of the artifact's folder inside. */
  readonly insideCodeDir: string;
  /** The only folder that the code can write to. */
  readonly insideTemporaryDir: string;
  /** Releases what only the start needs. Call it when the process was started or could not be. */
  entered(): void;
  /** The pid of the process that runs the code, found from the pid of the started one. */
  codePid(startedPid: number): number;
  leave(): void;
}

/** Size of a temporary folder. In bubblewrap it is memory beside that of the process. */
export const TEMPORARY_MIB = 64;

const BWRAP = ['/usr/bin/bwrap', '/usr/local/bin/bwrap', '/run/current-system/sw/bin/bwrap'];
const PRLIMIT = '/usr/bin/prlimit';
const SETPRIV = '/usr/bin/setpriv';
/** The folders of Node's libraries. The rest of /usr stays outside. */
const LIBRARIES = ['/usr/lib', '/usr/lib32', '/usr/lib64', '/usr/local/lib'];
const LIBRARY_LINKS = ['/lib', '/lib32', '/lib64'];
/** Paths inside the sandbox. */
const PROGRAMS = '/var/runtime';
const CODE = '/var/task';
const TEMPORARY = '/tmp';
const NODE = '/opt/node';
const FOLDERS = ['/opt', '/usr', '/usr/local', '/var', PROGRAMS];
/** The user nobody, on Linux by convention. */
const NOBODY = '65534';
/**
 * First uid for instances of a gateway that runs as root. Each instance has one of its own: root in
 * a user namespace would still own the files in /proc/sys. Not a uid that systemd gives to
 * containers and users.
 */
const FIRST_UID = 2_000_000_000;
const UIDS = 100_000;
/** Descriptor from which bubblewrap reads the filter. Descriptor 3 is the channel. */
const FILTER = 4;
/** Most threads of an instance. Node itself uses about 12. */
const MAX_THREADS = 64;
const MAX_FILES = 256;
const PROBE_MS = 10_000;
const MIB = 1024 * 1024;

/** Tries which isolation works on this machine, in about 0.1 s. Keeps files under `dir`. */
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

/**
 * The permission model, and a preloaded file for what it does not refuse. The code can still fill
 * the disk, and learn whether a path exists.
 */
export function trustCode(dir: string, why: string): Isolation {
  mkdirSync(dir, { recursive: true });
  const walls = join(dir, 'walls.cjs');
  copyFileSync(new URL('./trusted-walls.cjs', import.meta.url), walls);
  return {
    kind: 'trusted',
    found: `${why}; trusted code only`,
    enclose({ codeDir, programs, memoryMiB }) {
      const temporaryDir = join(dir, 'tmp', randomUUID());
      mkdirSync(temporaryDir, { recursive: true, mode: 0o700 });
      const [program = ''] = programs;
      const readable = [codeDir, temporaryDir, walls, ...programs];
      const flags = nodeFlags({ readable, writable: temporaryDir, memoryMiB });
      return {
        // SQLite opens files without asking the permission model.
        args: [...flags, '--no-experimental-sqlite', '--require', walls, program],
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
          ...['/opt/prlimit', ...limitFlags(memoryMiB, 'plain'), `--nproc=${MAX_THREADS}`],
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
          // bubblewrap, then its first process inside, then the code; or the code is that first.
          const inside = childOf(startedPid) ?? startedPid;
          return childOf(inside) ?? inside;
        },
        leave() {},
      };
    },
  };
}

/** The user of the code: `flags` of bubblewrap, and a command inside that becomes the user. */
interface Identity {
  readonly flags: readonly string[];
  readonly command: readonly string[];
}

/** Outside the sandbox, the code is the gateway's user. */
const NOBODY_IN_NAMESPACE: Identity = {
  flags: ['--unshare-user', '--uid', NOBODY, '--gid', NOBODY, '--as-pid-1'],
  command: [],
};

/** Outside the sandbox, the code is a user that owns nothing. Needs root until the code starts. */
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

/** Node's permission model: these folders only, no network, process, worker, addon or inspector. */
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

/** The heap limit is below the memory limit, so that a leak usually ends as a heap error. */
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

/** Runs an empty program as a function would run. @returns why that does not work */
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

/** The first child of a process, from proc(5). */
function childOf(pid: number): number | undefined {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
    return Number(children.split(' ')[0]) || undefined;
  } catch {
    // It has exited, or the kernel does not report children.
    return undefined;
  }
}
