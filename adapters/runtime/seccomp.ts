// Refuses the system calls that code in the sandbox never needs: a filter in classic BPF, as
// seccomp(2) and bubblewrap take it. It holds even after code has broken out of Node's permission
// model: the code starts no process and cannot reach the parts of the kernel that exploits use.

/** The numbers of system calls on one machine (asm/unistd.h of the kernel). */
interface Machine {
  /** AUDIT_ARCH_* of linux/audit.h. */
  readonly audit: number;
  readonly clone: number;
  readonly clone3: number;
  readonly refused: readonly number[];
}

/** By `process.arch`. The comment behind each line names the calls that it refuses. */
const MACHINES: Readonly<Record<string, Machine>> = {
  x64: {
    audit: 0xc000003e,
    clone: 56,
    clone3: 435,
    refused: [
      ...[57, 58], // fork, vfork
      ...[101, 310, 311, 312], // ptrace, process_vm_readv, process_vm_writev, kcmp
      ...[155, 165, 166, 161, 272, 308], // pivot_root, mount, umount2, chroot, unshare, setns
      ...[428, 429, 430, 431, 432, 433, 442], // open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, mount_setattr
      ...[175, 176, 313, 246, 320], // init_module, delete_module, finit_module, kexec_load, kexec_file_load
      ...[298, 321, 323, 248, 249, 250], // perf_event_open, bpf, userfaultfd, add_key, request_key, keyctl
      ...[304, 425, 426, 427], // open_by_handle_at, io_uring_setup, io_uring_enter, io_uring_register
    ],
  },
  arm64: {
    audit: 0xc00000b7,
    clone: 220,
    clone3: 435,
    refused: [
      ...[117, 270, 271, 272], // ptrace, process_vm_readv, process_vm_writev, kcmp
      ...[41, 40, 39, 51, 97, 268], // pivot_root, mount, umount2, chroot, unshare, setns
      ...[428, 429, 430, 431, 432, 433, 442], // open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, mount_setattr
      ...[105, 106, 273, 104, 294], // init_module, delete_module, finit_module, kexec_load, kexec_file_load
      ...[241, 280, 282, 217, 218, 219], // perf_event_open, bpf, userfaultfd, add_key, request_key, keyctl
      ...[265, 425, 426, 427], // open_by_handle_at, io_uring_setup, io_uring_enter, io_uring_register
    ],
  },
};

/** Offsets in struct seccomp_data (linux/seccomp.h). FIRST_ARGUMENT: its lower half. */
const NUMBER = 0;
const ARCHITECTURE = 4;
const FIRST_ARGUMENT = 16;
/** Codes of linux/bpf_common.h: load a word; jump if equal, at least, any bit set; return. */
const LOAD = 0x20;
const JUMP_EQUAL = 0x15;
const JUMP_AT_LEAST = 0x35;
const JUMP_ANY_BIT = 0x45;
const RETURN = 0x06;
/** Return values of linux/seccomp.h. EPERM is 1, ENOSYS is 38. */
const ALLOW = 0x7fff0000;
const KILL = 0x80000000;
const REFUSE = 0x00050001;
const UNKNOWN = 0x00050026;
/** First number of the x32 interface on x64. */
const X32 = 0x40000000;
const CLONE_THREAD = 0x00010000;

/** The program as bytes, or undefined on a machine whose numbers are not in the table. */
export function createFilter(architecture: string = process.arch): Uint8Array | undefined {
  const machine = MACHINES[architecture];
  if (!machine) return undefined;
  const lines: (readonly [code: number, ifTrue: number, ifFalse: number, value: number])[] = [
    [LOAD, 0, 0, ARCHITECTURE],
    [JUMP_EQUAL, 1, 0, machine.audit],
    [RETURN, 0, 0, KILL],
    [LOAD, 0, 0, NUMBER],
    [JUMP_AT_LEAST, 0, 1, X32],
    [RETURN, 0, 0, UNKNOWN],
    // The flags of clone3 are in memory, which a filter cannot read. libc falls back to clone.
    [JUMP_EQUAL, 0, 1, machine.clone3],
    [RETURN, 0, 0, UNKNOWN],
    ...machine.refused.flatMap(
      (number) =>
        [
          [JUMP_EQUAL, 0, 1, number],
          [RETURN, 0, 0, REFUSE],
        ] as const,
    ),
    // Allows threads, refuses processes.
    [JUMP_EQUAL, 0, 3, machine.clone],
    [LOAD, 0, 0, FIRST_ARGUMENT],
    [JUMP_ANY_BIT, 1, 0, CLONE_THREAD],
    [RETURN, 0, 0, REFUSE],
    [RETURN, 0, 0, ALLOW],
  ];
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
