// This machine as a cloud. An artifact is a folder of files, an instance is a process in a sandbox,
// and a call is a message over its pipe. Without a sandbox, only publishers whom the operator
// trusts may deploy. The parts do the work: control.ts deploys, running.ts keeps the instances,
// invocation.ts calls them.

import { totalmem } from 'node:os';
import { join } from 'node:path';
import type { LogLine, Provider, ProviderLimits } from '../provider.ts';
import { createChildren } from '../runtime/children.ts';
import { type Isolation, probeIsolation } from '../runtime/isolation.ts';
import { createControl } from './control.ts';
import { createFail, PROVIDER } from './errors.ts';
import { openLocalFunctions } from './functions.ts';
import { createInvoke } from './invocation.ts';
import { LIMITS, MIB, REGION } from './limits.ts';
import { createLogs } from './logs.ts';
import { writePrograms } from './programs.ts';
import { createRunning } from './running.ts';

export interface LocalOptions {
  /** Folder of the state: functions, their files, their logs. */
  readonly dir: string;
  /** Id of this gateway; `list` returns its functions only. */
  readonly gateway: string;
  /** Owners, lower-case, whose code may run without a sandbox. Default none. */
  readonly trustedPublishers?: 'any' | readonly string[];
  /** Memory of all instances together. Default half of the machine's memory. */
  readonly totalMemoryMiB?: number;
  /** Limits that replace the default ones, which are Lambda's. */
  readonly limits?: Partial<ProviderLimits>;
  /** How long an instance without calls is kept. Default one minute. */
  readonly idleMs?: number;
  /** Default: the strongest that this machine supports. */
  readonly isolation?: Isolation;
  /** Unix time in milliseconds. */
  readonly clock?: () => number;
  readonly log?: (message: string, fields: Readonly<Record<string, unknown>>) => void;
  /** Receives each line that a function writes. */
  readonly onLine?: (name: string, line: LogLine) => void;
}

const IDLE_MS = 60_000;

/**
 * Tests at once what isolation the machine supports, which takes about 0.1 s, and ends processes
 * that an earlier run left behind.
 */
export function createLocal(options: LocalOptions): Provider {
  const { dir, gateway, trustedPublishers = [], clock = Date.now, idleMs = IDLE_MS } = options;
  const totalMemoryMiB = options.totalMemoryMiB ?? Math.floor(totalmem() / MIB / 2);
  const limits = { ...LIMITS, ...options.limits };
  const functions = openLocalFunctions(dir);
  const logs = createLogs(join(dir, 'logs'), options.onLine);
  const isolation = options.isolation ?? probeIsolation(join(dir, 'isolation'));
  const children = createChildren(join(dir, 'children'));
  const programs = writePrograms(join(dir, 'programs'));
  const trust = { isolation, trustedPublishers };
  const running = createRunning({
    ...{ functions, children, isolation, programs, totalMemoryMiB, idleMs },
    maxResponseBytes: limits.maxResponseBytes,
    onLine: (name, line) => logs.append(name, { atMs: clock(), ...line }),
  });
  const control = createControl({ gateway, limits, trust, functions, running, logs });
  options.log?.('functions on this machine', {
    isolation: isolation.kind,
    found: isolation.found,
    functions: functions.all().length,
  });

  return {
    name: PROVIDER,
    limits,
    regions: [REGION],
    isolation: isolation.kind,
    plan: control.plan,
    deploy: control.deploy,
    remove: control.remove,
    list: control.list,
    invoke: createInvoke({ limits, trust, functions, running, logs, clock }),

    async logs({ name }, query) {
      if (functions.get(name)) return logs.read(name, query);
      throw createFail('logs', name)('PROVIDER_NOT_FOUND', 'no', 'no such function');
    },

    async close() {
      await control.settled();
      await children.close();
      await running.close();
      await logs.flush();
    },
  };
}
