// Runs the functions of the Lambda emulator: chooses the instance of a call, limits concurrent
// calls and writes the log of each.

import { randomBytes, randomUUID } from 'node:crypto';
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Fault } from '../../../emulators/faults.ts';
import { createChildren } from '../../../runtime/children.ts';
import { createPool, type Pool } from '../../../runtime/pool.ts';
import { conflict, throttled } from '../model/errors.ts';
import type { Functions } from '../model/functions.ts';
import type { Layers } from '../model/layers.ts';

import type { Configuration, LambdaFunction } from '../model/records.ts';
import type { Logs } from './logs.ts';
import { createSandbox, type Sandbox, type SandboxOutcome } from './sandbox.ts';

export interface Invocation {
  readonly requestId: string;
  readonly payload: Buffer;
  readonly failed: boolean;
  readonly executedVersion: string;
  /** START, what the function wrote, END, REPORT. */
  readonly log: string;
}

export interface Invocations {
  /**
   * Runs the function once. `lie` spoils the report, not the answer.
   * @throws AwsError 429 the concurrency is used up, 409 the function is not ready yet
   */
  invoke(
    of: LambdaFunction,
    call: {
      readonly qualifier: string | undefined;
      readonly payload: Buffer;
      readonly requestId: string;
      readonly clientContext?: string;
      readonly fault?: Fault | undefined;
    },
  ): Promise<Invocation>;
  /** Stops the instances of removed and changed versions once their calls have ended. */
  retire(name: string): void;
  /** Most concurrent calls of the account. */
  readonly concurrency: number;
  /** Instances, idle ones included. */
  size(): number;
  close(): Promise<void>;
}

export function createInvocations(options: {
  readonly dir: string;
  readonly functions: Functions;
  readonly layers: Layers;
  readonly idleMs: number;
  /** Most concurrent calls of the functions without a reserved concurrency. */
  readonly accountConcurrency: number;
  /** Receives the log of each call. */
  readonly logs: Pick<Logs, 'append' | 'remove'>;
}): Invocations {
  const { functions, idleMs } = options;
  const children = createChildren(join(options.dir, 'children'));
  const tmpRoot = join(options.dir, 'tmp');
  rmSync(tmpRoot, { recursive: true, force: true });

  const pools = new Map<string, { readonly name: string; readonly pool: Pool<Sandbox> }>();
  const running = new Map<string, number>();
  let runningUnreserved = 0;

  const keyOf = ({ FunctionName, Version, RevisionId, CodeSha256 }: Configuration) =>
    // A published version keeps its RevisionId. `$LATEST` gets a new one with each change.
    [FunctionName, Version, RevisionId, CodeSha256].join(' ');

  function poolOf(configuration: Configuration): Pool<Sandbox> {
    const key = keyOf(configuration);
    const known = pools.get(key);
    if (known) return known.pool;
    const pool = createPool({ start: () => start(configuration), idleMs });
    pools.set(key, { name: configuration.FunctionName, pool });
    return pool;
  }

  async function start(configuration: Configuration): Promise<Sandbox> {
    const codeDir = functions.codeDir(configuration.CodeSha256);
    const tmpDir = join(tmpRoot, randomUUID());
    const layersDir = join(tmpDir, 'opt');
    mkdirSync(layersDir, { recursive: true });
    for (const { Arn } of configuration.Layers ?? []) {
      const found = options.layers.byArn(Arn);
      // Later layers replace the files of earlier ones.
      if (found) cpSync(functions.codeDir(found.codeSha256), layersDir, { recursive: true });
    }
    const place = { codeDir, tmpDir, layersDir, region: functions.region };
    const sandbox = await createSandbox({
      children,
      codeDir,
      layersDir,
      env: environmentOf(configuration, place),
      memoryMiB: configuration.MemorySize,
      timeoutMs: configuration.Timeout * 1000,
    });
    void sandbox.exited.then(() => rmSync(tmpDir, { recursive: true, force: true }));
    return sandbox;
  }

  /** Counts the call before anything is awaited. @returns a function that ends the count */
  function enter({ name, reservedConcurrency }: LambdaFunction): () => void {
    const here = running.get(name) ?? 0;
    const isReserved = reservedConcurrency !== undefined;
    if (isReserved && here >= reservedConcurrency) {
      throw throttled('ReservedFunctionConcurrentInvocationLimitExceeded', 'Rate Exceeded.');
    }
    if (!isReserved && runningUnreserved >= options.accountConcurrency) {
      throw throttled('ConcurrentInvocationLimitExceeded', 'Rate Exceeded.');
    }
    running.set(name, here + 1);
    if (!isReserved) runningUnreserved += 1;
    return () => {
      const left = (running.get(name) ?? 1) - 1;
      if (left === 0) running.delete(name);
      else running.set(name, left);
      if (!isReserved) runningUnreserved -= 1;
    };
  }

  return {
    async invoke(of, { qualifier, payload, requestId, clientContext, fault }) {
      const configuration = functions.version(of, qualifier);
      if (configuration.State !== 'Active') {
        throw conflict(
          `The operation cannot be performed at this time. The function is currently in the following state: ${configuration.State}`,
        );
      }
      const leave = enter(of);
      try {
        const lease = poolOf(configuration).take();
        if (!lease) throw conflict(`The function is being removed: ${configuration.FunctionArn}`);
        try {
          const sandbox = await lease.instance;
          const outcome = await sandbox.invoke({
            requestId,
            payload,
            invokedArn: functions.arn(of.name, qualifier),
            ...(clientContext !== undefined && { clientContext }),
          });
          const log = describe(configuration, requestId, outcome, fault);
          options.logs.append(configuration.FunctionName, log, sandbox.logStream);
          return {
            requestId,
            payload: outcome.payload,
            failed: outcome.failed,
            executedVersion: configuration.Version,
            log,
          };
        } finally {
          lease.release();
        }
      } finally {
        leave();
      }
    },

    retire(name) {
      const kept = functions.find(name);
      if (kept === undefined) void options.logs.remove(name);
      const keys = new Set(kept ? [kept.latest, ...kept.versions].map(keyOf) : []);
      for (const [key, entry] of pools) {
        if (entry.name !== name || keys.has(key)) continue;
        pools.delete(key);
        void entry.pool.drain();
      }
    },

    concurrency: options.accountConcurrency,
    size: () => [...pools.values()].reduce((sum, { pool }) => sum + pool.size(), 0),

    async close() {
      await Promise.all([...pools.values()].map(({ pool }) => pool.close()));
      await children.close();
    },
  };
}

/**
 * The environment of an instance: the variables that a function may replace, its own, and those
 * that are Lambda's (Lambda developer guide, environment variables).
 */
function environmentOf(
  configuration: Configuration,
  place: {
    readonly codeDir: string;
    readonly tmpDir: string;
    readonly layersDir: string;
    readonly region: string;
  },
): Record<string, string> {
  const { FunctionName, Version, MemorySize, Handler, Runtime, LoggingConfig } = configuration;
  const { codeDir, layersDir, region } = place;
  const major = /\d+/.exec(Runtime)?.[0] ?? '';
  const day = new Date().toISOString().slice(0, 10).replaceAll('-', '/');
  return {
    PATH: `/usr/local/bin:/usr/bin:/bin:${layersDir}/bin`,
    LANG: 'en_US.UTF-8',
    TZ: ':UTC',
    TMPDIR: place.tmpDir,
    NODE_PATH: [
      `${layersDir}/nodejs/node${major}/node_modules`,
      ...[`${layersDir}/nodejs/node_modules`, codeDir],
    ].join(':'),
    LD_LIBRARY_PATH: `${codeDir}:${codeDir}/lib:${layersDir}/lib`,
    AWS_XRAY_CONTEXT_MISSING: 'LOG_ERROR',
    // Nothing listens there: the emulator has no X-Ray.
    AWS_XRAY_DAEMON_ADDRESS: '169.254.100.1:2000',
    _AWS_XRAY_DAEMON_ADDRESS: '169.254.100.1',
    _AWS_XRAY_DAEMON_PORT: '2000',
    ...configuration.Environment?.Variables,
    _HANDLER: Handler,
    LAMBDA_TASK_ROOT: codeDir,
    LAMBDA_RUNTIME_DIR: codeDir,
    AWS_LAMBDA_FUNCTION_NAME: FunctionName,
    AWS_LAMBDA_FUNCTION_VERSION: Version,
    AWS_LAMBDA_FUNCTION_MEMORY_SIZE: String(MemorySize),
    AWS_LAMBDA_LOG_GROUP_NAME: LoggingConfig.LogGroup,
    AWS_LAMBDA_LOG_STREAM_NAME: `${day}/[${Version}]${randomBytes(16).toString('hex')}`,
    AWS_LAMBDA_LOG_FORMAT: LoggingConfig.LogFormat,
    ...(LoggingConfig.ApplicationLogLevel && {
      AWS_LAMBDA_LOG_LEVEL: LoggingConfig.ApplicationLogLevel,
    }),
    AWS_REGION: region,
    AWS_DEFAULT_REGION: region,
    AWS_EXECUTION_ENV: `AWS_Lambda_${Runtime}`,
    AWS_LAMBDA_INITIALIZATION_TYPE: 'on-demand',
    ...roleCredentials(),
  };
}

/** In the form of a role's. They sign, but no service accepts them. */
function roleCredentials(): Record<string, string> {
  return {
    AWS_ACCESS_KEY_ID: `ASIA${randomBytes(8).toString('hex').toUpperCase()}`,
    AWS_SECRET_ACCESS_KEY: randomBytes(30).toString('base64'),
    AWS_SESSION_TOKEN: randomBytes(96).toString('base64'),
  };
}

function describe(
  { Version, MemorySize }: Configuration,
  requestId: string,
  outcome: SandboxOutcome,
  fault: Fault | undefined,
): string {
  const lie = fault?.kind === 'lie' ? fault : undefined;
  const spentMs = outcome.durationMs + (outcome.initMs ?? 0);
  const billedMs = Math.ceil(Math.ceil(spentMs) * (lie?.billedMs ?? 1));
  const report = [
    `REPORT RequestId: ${requestId}`,
    `Duration: ${outcome.durationMs.toFixed(2)} ms`,
    `Billed Duration: ${billedMs} ms`,
    `Memory Size: ${Math.ceil(MemorySize * (lie?.memoryMiB ?? 1))} MB`,
    `Max Memory Used: ${outcome.peakMemoryMiB} MB`,
    ...(outcome.initMs === undefined ? [] : [`Init Duration: ${outcome.initMs.toFixed(2)} ms`]),
  ];
  const text = outcome.log === '' || outcome.log.endsWith('\n') ? outcome.log : `${outcome.log}\n`;
  return `START RequestId: ${requestId} Version: ${Version}\n${text}END RequestId: ${requestId}\n${report.join('\t')}\t\n`;
}
