// Loads an artifact's module once, as the first call of an instance does, and calls nothing.

import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { failureIn } from '../deployment/shim-failure.ts';
import type { FunctionFailure } from '../provider.ts';
import { createChildren } from '../runtime/children.ts';
import { probeIsolation } from '../runtime/isolation.ts';
import { openLocalFunctions } from './functions.ts';
import { createLocalInstance, MAX_INIT_MS } from './instance.ts';
import { failureOf } from './invocation.ts';
import { LIMITS } from './limits.ts';
import { writePrograms } from './programs.ts';

export interface LoadOptions {
  /** An empty folder for the state of the check. */
  readonly dir: string;
  readonly memoryMiB: number;
  /** Variables of the version. */
  readonly env: Readonly<Record<string, string>>;
  /** Default: as long as a call waits for it. */
  readonly maxLoadMs?: number;
}

export interface Loaded {
  /** Why the module cannot be called; undefined when it can. */
  readonly failure?: FunctionFailure;
  /** What the module has written while it loaded, with the stack of what it threw. */
  readonly lines: readonly string[];
}

/** @throws NotStartedError  no process could be started on this machine */
export async function loadArtifact(
  files: ReadonlyMap<string, Uint8Array>,
  { dir, memoryMiB, maxLoadMs = MAX_INIT_MS, ...options }: LoadOptions,
): Promise<Loaded> {
  const env = { ...options.env, DEFAAS_FUNCTION: 'load', DEFAAS_VERSION: '0' };
  const of = {
    ...{ name: 'load', specHash: 'load', publisher: '', gateway: '', memoryMiB, env },
    timeoutMs: LIMITS.maxTimeoutMs,
  };
  const functions = openLocalFunctions(dir);
  const isolation = probeIsolation(join(dir, 'isolation'));
  const children = createChildren(join(dir, 'children'));
  const lines: string[] = [];
  try {
    await functions.put(of, files);
    const instance = createLocalInstance({
      ...{ children, isolation, memoryMiB, env, timeoutMs: of.timeoutMs, maxInitMs: maxLoadMs },
      codeDir: functions.codeDir(of),
      programs: writePrograms(join(dir, 'programs')),
      maxResponseBytes: LIMITS.maxResponseBytes,
      onLine: ({ text }) => lines.push(text),
    });
    const { ending } = await instance.invoke({
      ...{ requestId: randomUUID(), method: 'GET', path: '/', query: '', headers: [] },
      body: new Uint8Array(),
      isLoadOnly: true,
    });
    if (ending.kind === 'timeout') {
      const message = `it did not load within ${maxLoadMs} ms`;
      return { failure: { kind: 'timeout', type: 'Timeout', message }, lines };
    }
    if (ending.kind !== 'answer') return { failure: failureOf(of, ending), lines };
    return { ...(ending.outcome === 'error' && { failure: failureIn(ending.body) }), lines };
  } finally {
    await children.close();
  }
}
