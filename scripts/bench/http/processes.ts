// Resource usage of a target's processes from /proc: nginx with its workers, the gateway with all
// threads.
import { readFileSync } from 'node:fs';

/** USER_HZ, the unit of CPU time in /proc; 100 on every Linux that Node runs on. */
const TICKS_PER_SEC = 100;

/** `pid` and its children. */
export function withChildren(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return [pid, ...(children === '' ? [] : children.split(' ').map(Number))];
}

/** User and system time of the processes with all their threads, us; steps of 10 ms. */
export function cpuUs(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of pids) {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // Counted from the end of the name, which may hold anything: state is the first, utime and
    // stime the 12th and 13th.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return (ticks * 1e6) / TICKS_PER_SEC;
}

/** Proportional set size, so that pages shared between a target's processes count once. */
export function pssMiB(pids: readonly number[]): number {
  let kiB = 0;
  for (const pid of pids) {
    const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    kiB += Number(/^Pss:\s+(\d+) kB/m.exec(rollup)?.[1] ?? 0);
  }
  return kiB / 1024;
}
