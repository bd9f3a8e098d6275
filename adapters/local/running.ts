// The instances that run on this machine, a pool per function and spec. Together they stay within
// the memory that the operator allows.

import type { Children } from '../runtime/children.ts';
import { type Isolation, TEMPORARY_MIB } from '../runtime/isolation.ts';
import { createPool, type Lease, type Pool } from '../runtime/pool.ts';
import type { LocalFunction, LocalFunctions } from './functions.ts';
import { createLocalInstance, type InstanceLine, type LocalInstance } from './instance.ts';

export interface RunningParts {
  readonly functions: Pick<LocalFunctions, 'get' | 'codeDir' | 'clean'>;
  readonly children: Children;
  readonly isolation: Isolation;
  /** Absolute paths of what runs inside an instance; the first is the program. */
  readonly programs: readonly string[];
  /** Memory of all instances together. */
  readonly totalMemoryMiB: number;
  /** How long an instance without calls is kept. */
  readonly idleMs: number;
  readonly maxResponseBytes: number;
  readonly onLine: (name: string, line: InstanceLine) => void;
}

export interface Running {
  /** A place in an instance for one call; undefined when there is no memory for one more. */
  take(of: LocalFunction): Lease<LocalInstance> | undefined;
  /** Takes no more calls for this spec. When the last call has ended, its files are removed. */
  leave(of: LocalFunction): void;
  /** Stops all instances, and resolves when all are gone. */
  close(): Promise<void>;
}

interface RunningFunction {
  readonly of: LocalFunction;
  readonly pool: Pool<LocalInstance>;
}

export function createRunning(parts: RunningParts): Running {
  const { functions, totalMemoryMiB } = parts;
  /** By name and spec, least recently called first. */
  const running = new Map<string, RunningFunction>();
  /** Pools that take no more calls and have not ended yet. */
  const leaving = new Set<Promise<void>>();

  const needMiB = ({ memoryMiB }: LocalFunction): number =>
    memoryMiB + (parts.isolation.kind === 'sandbox' ? TEMPORARY_MIB : 0);
  /** Stops idle instances, those of the least recently called function first. */
  const makeRoom = (wantedMiB: number): boolean => {
    let takenMiB = 0;
    for (const { of, pool } of running.values()) takenMiB += pool.size() * needMiB(of);
    for (const { of, pool } of running.values()) {
      while (takenMiB + wantedMiB > totalMemoryMiB && pool.reclaim()) takenMiB -= needMiB(of);
    }
    return takenMiB + wantedMiB <= totalMemoryMiB;
  };
  const poolOf = (of: LocalFunction): Pool<LocalInstance> => {
    const key = keyOf(of);
    const known = running.get(key) ?? {
      of,
      pool: openPool(of, parts, () => makeRoom(needMiB(of))),
    };
    running.delete(key);
    running.set(key, known);
    return known.pool;
  };

  return {
    take: (of) => poolOf(of).take(),

    leave(of) {
      const key = keyOf(of);
      const drained = running.get(key)?.pool.drain() ?? Promise.resolve();
      const left = drained.then(async () => {
        running.delete(key);
        // It may have been deployed again in the meantime.
        if (functions.get(of.name)?.specHash !== of.specHash) await functions.clean(of);
        leaving.delete(left);
      });
      leaving.add(left);
    },

    async close() {
      await Promise.all([...running.values()].map(({ pool }) => pool.close()));
      await Promise.all(leaving);
    },
  };
}

function keyOf({ name, specHash }: LocalFunction): string {
  return `${name} ${specHash}`;
}

function openPool(
  of: LocalFunction,
  parts: RunningParts,
  hasRoom: () => boolean,
): Pool<LocalInstance> {
  const { name, memoryMiB, timeoutMs, env, maxConcurrency } = of;
  const { children, isolation, programs, maxResponseBytes } = parts;
  return createPool({
    start: async () =>
      createLocalInstance({
        ...{ children, isolation, programs, env, memoryMiB, timeoutMs, maxResponseBytes },
        codeDir: parts.functions.codeDir(of),
        onLine: (line) => parts.onLine(name, line),
      }),
    hasRoom,
    idleMs: parts.idleMs,
    ...(maxConcurrency !== undefined && { maxInstances: maxConcurrency }),
  });
}
