// The filter of system calls, tried from inside: bubblewrap starts Python under it, which makes the
// calls with ctypes. Numbers are those of x64.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createFilter } from '../../../adapters/runtime/seccomp.ts';
import { ALLOWED, CHECKED, NONE } from '../../../adapters/runtime/system-calls.ts';

const HEADER = '/usr/include/x86_64-linux-gnu/asm/unistd_64.h';
const EPERM = 1;
const ENOTTY = 25;
const ENOSYS = 38;
const EAFNOSUPPORT = 97;

/** Name, number and arguments of a call, and the errno that the filter gives. */
type Attempt = readonly [name: string, number: number, args: readonly number[], errno: number];

const socket = (name: string, domain: number, type: number, protocol = 0): Attempt => [
  `socket ${name}`,
  ...([41, [domain, type, protocol], EAFNOSUPPORT] as const),
];
/** Flags of a thread. */
const THREAD = 0x3d0f00;

const REFUSED: readonly Attempt[] = [
  socket('AF_UNIX', 1, 1),
  socket('AF_INET', 2, 1),
  socket('AF_INET6', 10, 1),
  socket('AF_INET raw', 2, 3, 1),
  socket('NETLINK_NETFILTER', 16, 3, 12),
  socket('NETLINK_XFRM', 16, 3, 6),
  socket('AF_PACKET', 17, 3),
  socket('AF_CAN', 29, 3, 1),
  socket('AF_TIPC', 30, 1),
  socket('AF_BLUETOOTH', 31, 3, 1),
  socket('AF_ALG', 38, 5),
  socket('AF_VSOCK', 40, 1),
  socket('AF_KCM', 41, 2),
  socket('AF_XDP', 44, 3),
  ['socketpair', 53, [1, 1, 0, 0], ENOSYS],
  ['connect', 42, [0, 0, 0], ENOSYS],
  ['fork', 57, [], ENOSYS],
  ['vfork', 58, [], ENOSYS],
  ['clone of a process', 56, [17, 0, 0, 0, 0], EPERM],
  ['clone with a user namespace', 56, [0x10000000 | 17, 0, 0, 0, 0], EPERM],
  ['clone of a thread with a network namespace', 56, [THREAD | 0x40000000, 0, 0, 0, 0], EPERM],
  ['clone3', 435, [0, 0], ENOSYS],
  ['unshare', 272, [0x10000000], ENOSYS],
  ['setns', 308, [0, 0], ENOSYS],
  ['mount', 165, [0, 0, 0, 0, 0], ENOSYS],
  ['open_tree', 428, [0, 0, 0], ENOSYS],
  ['fsopen', 430, [0, 0], ENOSYS],
  ['chroot', 161, [0], ENOSYS],
  ['pivot_root', 155, [0, 0], ENOSYS],
  ['ptrace', 101, [0, 0, 0, 0], ENOSYS],
  ['process_vm_readv', 310, [1, 0, 0, 0, 0, 0], ENOSYS],
  ['pidfd_open', 434, [1, 0], ENOSYS],
  ['pidfd_getfd', 438, [0, 0, 0], ENOSYS],
  ['io_uring_setup', 425, [1, 0], ENOSYS],
  ['io_uring_enter', 426, [0, 0, 0, 0, 0], ENOSYS],
  ['bpf', 321, [0, 0, 0], ENOSYS],
  ['userfaultfd', 323, [0], ENOSYS],
  ['perf_event_open', 298, [0, 0, 0, 0, 0], ENOSYS],
  ['add_key', 248, [0, 0, 0, 0, 0], ENOSYS],
  ['request_key', 249, [0, 0, 0, 0], ENOSYS],
  ['keyctl', 250, [0, 0, 0, 0, 0], ENOSYS],
  ['memfd_create', 319, [0, 0], ENOSYS],
  ['open_by_handle_at', 304, [0, 0, 0], ENOSYS],
  ['init_module', 175, [0, 0, 0], ENOSYS],
  ['kexec_load', 246, [0, 0, 0, 0], ENOSYS],
  ['splice', 275, [0, 0, 0, 0, 0, 0], ENOSYS],
  ['vmsplice', 278, [0, 0, 0, 0], ENOSYS],
  ['modify_ldt', 154, [0, 0, 0], ENOSYS],
  ['personality', 135, [0], ENOSYS],
  ['a call of the x32 interface', 0x40000000 + 39, [], ENOSYS],
  ['a call that no kernel has', 5000, [], ENOSYS],
  ['ioctl TIOCSTI', 16, [0, 0x5412, 0], ENOTTY],
  ['ioctl TIOCLINUX', 16, [0, 0x541c, 0], ENOTTY],
];

const CODE = `
import ctypes, json, sys
call = ctypes.CDLL(None, use_errno=True).syscall
call.restype = ctypes.c_long
def attempt(number, args):
    got = call(ctypes.c_long(number), *[ctypes.c_long(arg) for arg in args])
    return ctypes.get_errno() if got == -1 else 0
print(json.dumps([attempt(number, args) for number, args in json.loads(sys.argv[1])]))
`;

const BWRAP = '/usr/bin/bwrap';
const python = spawnSync('python3', ['-c', 'import ctypes, sys; print(sys.executable)'], {
  encoding: 'utf8',
});
const missing =
  process.arch !== 'x64'
    ? 'not x64'
    : !existsSync(BWRAP)
      ? 'no bwrap'
      : python.status !== 0
        ? 'no python3'
        : '';

describe('the filter of system calls', () => {
  const itInside = missing ? it.skip : it;
  let dir: string;
  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'defaas-seccomp-'));
    writeFileSync(join(dir, 'filter'), createFilter() ?? '');
  });
  after(() => rmSync(dir, { recursive: true, force: true }));

  /** The errno of each attempt; 0 when it succeeds. */
  const errnosOf = (attempts: readonly Attempt[]): number[] => {
    const filter = openSync(join(dir, 'filter'), 'r');
    const calls = JSON.stringify(attempts.map(([, number, args]) => [number, args]));
    const { stdout, stderr } = spawnSync(
      BWRAP,
      ['--dev-bind', '/', '/', '--seccomp', '3', python.stdout.trim(), '-c', CODE, calls],
      { stdio: ['ignore', 'pipe', 'pipe', filter], encoding: 'utf8' },
    );
    closeSync(filter);
    assert.notEqual(stdout, '', stderr);
    return JSON.parse(stdout);
  };

  itInside(`refuses what Node never needs${missing && ` (skipped: ${missing})`}`, () => {
    const errnos = errnosOf(REFUSED);

    assert.deepEqual(
      REFUSED.map(([name], index) => [name, errnos[index]]),
      REFUSED.map(([name, , , errno]) => [name, errno]),
    );
  });

  itInside(`allows the list of network interfaces${missing && ` (skipped: ${missing})`}`, () => {
    assert.deepEqual(errnosOf([socket('NETLINK_ROUTE', 16, 3)]), [0]);
  });

  const itWithHeader = existsSync(HEADER) ? it : it.skip;
  itWithHeader('has the numbers of the kernel’s header', () => {
    const header = readFileSync(HEADER, 'utf8');
    const inHeader = new Map(
      [...header.matchAll(/__NR_(\w+) (\d+)/g)].map(([, name, number]) => [name, Number(number)]),
    );

    for (const [name, [x64]] of Object.entries({ ...ALLOWED, ...CHECKED })) {
      // The header may be older than the call.
      assert.equal(inHeader.get(name) ?? x64, x64, name);
    }
  });

  it('has no number twice', () => {
    for (const at of [0, 1]) {
      const numbers = Object.values({ ...ALLOWED, ...CHECKED })
        .map((call: readonly number[]) => call[at])
        .filter((number) => (number ?? NONE) !== NONE);
      assert.equal(new Set(numbers).size, numbers.length);
    }
  });
});
