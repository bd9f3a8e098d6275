// A filter of system calls in classic BPF, as seccomp(2) and bubblewrap take it: what Node needs is
// allowed, everything else does not exist. It holds even after code has broken out of Node's
// permission model: the code starts no process, opens no socket and cannot reach the parts of the
// kernel that exploits use.

import { ALLOWED, CHECKED, NONE } from './system-calls.ts';

/** AUDIT_ARCH_* of linux/audit.h, by `process.arch`, in the order of the numbers of a call. */
const MACHINES: readonly (readonly [name: string, audit: number])[] = [
  ['x64', 0xc000003e],
  ['arm64', 0xc00000b7],
];

/** Offsets in struct seccomp_data (linux/seccomp.h), of an argument its lower half. */
const NUMBER = 0;
const ARCHITECTURE = 4;
const ARGUMENTS = [16, 24, 32] as const;
/** Codes of linux/bpf_common.h: load a word; jump if equal, at least, any bit set; return. */
const LOAD = 0x20;
const JUMP_EQUAL = 0x15;
const JUMP_AT_LEAST = 0x35;
const JUMP_ANY_BIT = 0x45;
const RETURN = 0x06;
/** Return values of linux/seccomp.h, the last four with an errno. */
const ALLOW = 0x7fff0000;
const KILL = 0x80000000;
const EPERM = 0x00050001;
const ENOTTY = 0x00050019;
const ENOSYS = 0x00050026;
const EAFNOSUPPORT = 0x00050061;
/** First number of the x32 interface on x64. */
const X32 = 0x40000000;

/** Flags of clone(2) with which libc makes a thread: glibc's, and CLONE_DETACHED of musl. */
const CLONE_THREAD = 0x00010000;
const THREAD_FLAGS = 0x003d0f00 | 0x00400000;
/** The one socket that is allowed lists the network interfaces: AF_NETLINK, NETLINK_ROUTE. */
const AF_NETLINK = 16;
const NETLINK_ROUTE = 0;
/** TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX: none writes to a terminal. */
const REQUESTS = [0x5401, 0x5413, 0x541b, 0x5421, 0x5450, 0x5451] as const;

type Line = readonly [code: number, ifTrue: number, ifFalse: number, value: number];

/** The program as bytes, or undefined on a machine whose numbers are not in the table. */
export function createFilter(architecture: string = process.arch): Uint8Array | undefined {
  const at = MACHINES.findIndex(([name]) => name === architecture);
  const [, audit] = MACHINES[at] ?? [];
  if (audit === undefined) return undefined;
  const numberOf = (call: readonly number[]) => call[at] ?? NONE;
  const allowed = Object.values(ALLOWED).map(numberOf);
  return toBytes([
    [LOAD, 0, 0, ARCHITECTURE],
    [JUMP_EQUAL, 1, 0, audit],
    [RETURN, 0, 0, KILL],
    [LOAD, 0, 0, NUMBER],
    [JUMP_AT_LEAST, 0, 1, X32],
    [RETURN, 0, 0, ENOSYS],
    ...ifEqual(numberOf(CHECKED.clone), threadsOnly()),
    ...ifEqual(numberOf(CHECKED.socket), interfacesOnly()),
    ...ifEqual(numberOf(CHECKED.ioctl), [
      [LOAD, 0, 0, ARGUMENTS[1]],
      ...REQUESTS.flatMap((request) => ifEqual(request, [[RETURN, 0, 0, ALLOW]])),
      [RETURN, 0, 0, ENOTTY],
    ]),
    ...allowed
      .filter((number) => number !== NONE)
      .flatMap((number) => ifEqual(number, [[RETURN, 0, 0, ALLOW]])),
    // The flags of clone3 are in memory, which a filter cannot read. libc falls back to clone.
    [RETURN, 0, 0, ENOSYS],
  ]);
}

/** Refuses a process, and every flag that a thread does not have: those of namespaces too. */
function threadsOnly(): Line[] {
  return [
    [LOAD, 0, 0, ARGUMENTS[0]],
    [JUMP_ANY_BIT, 2, 0, ~THREAD_FLAGS >>> 0],
    [JUMP_ANY_BIT, 0, 1, CLONE_THREAD],
    [RETURN, 0, 0, ALLOW],
    [RETURN, 0, 0, EPERM],
  ];
}

function interfacesOnly(): Line[] {
  return [
    [LOAD, 0, 0, ARGUMENTS[0]],
    [JUMP_EQUAL, 0, 3, AF_NETLINK],
    [LOAD, 0, 0, ARGUMENTS[2]],
    [JUMP_EQUAL, 0, 1, NETLINK_ROUTE],
    [RETURN, 0, 0, ALLOW],
    [RETURN, 0, 0, EAFNOSUPPORT],
  ];
}

/** The lines run when the loaded word is `value`, and are jumped over otherwise. */
function ifEqual(value: number, lines: readonly Line[]): Line[] {
  return [[JUMP_EQUAL, 0, lines.length, value], ...lines];
}

function toBytes(lines: readonly Line[]): Uint8Array {
  const bytes = Buffer.alloc(lines.length * 8);
  lines.forEach(([code, ifTrue, ifFalse, value], index) => {
    const at = index * 8;
    bytes.writeUInt16LE(code, at);
    bytes.writeUInt8(ifTrue, at + 2);
    bytes.writeUInt8(ifFalse, at + 3);
    bytes.writeUInt32LE(value, at + 4);
  });
  return bytes;
}
