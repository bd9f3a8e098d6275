// This machine as a cloud: the artifact's files lie in a folder, an instance is a process in a sandbox, a call is a message
// over its pipe. Where there is no sandbox, only publishers whom the operator trusts may deploy.

import { randomUUID } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { checkSpec } from '../deployment/check-spec.ts';
import { specHash } from '../deployment/names.ts';
import { failureIn } from '../deployment/shim-failure.ts';
import { sortedPaths } from '../deployment/zip.ts';
import {
  type ControlOptions,
  type Deployment,
  type DeploymentSpec,
  type FunctionFailure,
  type InvokeResult,
  type LogLine,
  type PlanStep,
  type Provider,
  ProviderError,
  type ProviderErrorCode,
  type ProviderLimits,
  type Usage,
} from '../provider.ts';
import { createChildren, type Exit } from '../runtime/children.ts';
import { type Isolation, probeIsolation, TEMPORARY_MIB } from '../runtime/isolation.ts';
import { createLogFile, type LogFile } from '../runtime/log-file.ts';
import { createPool, type Lease, type Pool } from '../runtime/pool.ts';
import { type LocalFunction, openLocalFunctions } from './functions.ts';
import {
  type CallOutcome,
  createLocalInstance,
  type Ending,
  type LocalInstance,
} from './instance.ts';

export interface LocalOptions {
  /** Folder of the state: functions, their files, their logs. */
  readonly dir: string;
  /** Id of this gateway; `list` tells only its own. */
  readonly gateway: string;
  /** Owners, lower-case, whose code may run where there is no sandbox. Default none. */
  readonly trustedPublishers?: 'any' | readonly string[];
  /** What all instances together may take. Default half of the machine's memory. */
  readonly totalMemoryMiB?: number;
  /** Lower or other limits than Lambda's. */
  readonly limits?: Partial<ProviderLimits>;
  /** How long an instance without calls is kept. Default one minute. */
  readonly idleMs?: number;
  /** Default: the best that this machine can do. */
  readonly isolation?: Isolation;
  /** Unix time in milliseconds. */
  readonly clock?: () => number;
  readonly log?: (message: string, fields: Readonly<Record<string, unknown>>) => void;
  /** Told of each line that a function writes. */
  readonly onLine?: (name: string, line: LogLine) => void;
}

interface Running {
  readonly of: LocalFunction;
  readonly pool: Pool<LocalInstance>;
}

const NAME = 'local';
const REGION = 'local';
const IDLE_MS = 60_000;
const MIB = 1024 * 1024;

/** Those of Lambda, so that what runs here runs there. */
const LIMITS: ProviderLimits = {
  maxRequestBytes: 6 * MIB,
  maxResponseBytes: 6_291_556,
  maxTimeoutMs: 900_000,
  minMemoryMiB: 64,
  maxMemoryMiB: Math.floor(totalmem() / MIB),
  maxPackageBytes: 52_428_800,
  maxUnpackedBytes: 262_144_000,
  maxEnvBytes: 4096,
  // The gateway measures the instance itself, from outside and without its start.
  coldStartMs: 0,
};

/** The first is what runs in each instance. */
const SHIM: ReadonlyMap<string, Uint8Array> = new Map(
  ['local.mjs', 'fetch-call.mjs'].map((file) => [
    file,
    readFileSync(new URL(`../shims/${file}`, import.meta.url)),
  ]),
);

/** Looks at once what the machine can do (about a tenth of a second), and ends what an earlier run left running. */
export function createLocal(options: LocalOptions): Provider {
  const { dir, gateway, clock = Date.now, idleMs = IDLE_MS } = options;
  const limits = { ...LIMITS, ...options.limits };
  const totalMemoryMiB = options.totalMemoryMiB ?? Math.floor(totalmem() / MIB / 2);
  const functions = openLocalFunctions(dir);
  mkdirSync(join(dir, 'logs'), { recursive: true, mode: 0o700 });
  const isolation = options.isolation ?? probeIsolation(join(dir, 'isolation'));
  const children = createChildren(join(dir, 'children'));
  const programs = writePrograms(join(dir, 'programs'));
  /** By name and spec, in the order of their last use. */
  const running = new Map<string, Running>();
  const logFiles = new Map<string, LogFile>();
  /** Functions that are no more, until their last call has ended. */
  const leaving = new Set<Promise<void>>();
  let writing: Promise<unknown> = Promise.resolve();
  options.log?.('functions on this machine', {
    isolation: isolation.kind,
    found: isolation.found,
    functions: functions.all().length,
  });

  function errorOf(operation: string, target: string) {
    return (code: ProviderErrorCode, ran: 'no' | 'maybe', what: string, cause?: unknown) =>
      new ProviderError(code, `${what}, on ${NAME} ${target}`, {
        provider: NAME,
        operation,
        target,
        ran,
        cause,
      });
  }

  /** Control work is done one at a time; what the file system says becomes ours. */
  function control<T>(
    operation: string,
    target: string,
    { signal }: ControlOptions,
    work: () => Promise<T>,
  ): Promise<T> {
    const fail = errorOf(operation, target);
    const turn = async () => {
      if (signal.aborted) throw fail('PROVIDER_DEADLINE', 'no', 'not done in time', signal.reason);
      try {
        return await work();
      } catch (error) {
        if (error instanceof ProviderError) throw error;
        const what = error instanceof Error ? error.message.slice(0, 256) : 'the disk failed';
        throw fail('PROVIDER_DEPLOY_FAILED', 'no', what, error);
      }
    };
    const done = writing.then(turn);
    writing = done.catch(() => {});
    return done;
  }

  /** Refuses what cannot be run here, before anything is written. */
  function check(spec: DeploymentSpec): LocalFunction {
    const refuse = errorOf('deploy', spec.name);
    const invalid = (what: string) => refuse('PROVIDER_INVALID', 'no', what);
    if (!/^[a-z0-9-]{1,64}$/i.test(spec.name)) throw invalid(`${spec.name} is not a name`);
    try {
      sortedPaths(spec.files);
    } catch (cause) {
      throw refuse('PROVIDER_INVALID', 'no', 'the artifact has a path that leads outside', cause);
    }
    const of = functionOf(spec);
    checkSpec(spec, { provider: NAME, limits, regions: [REGION], variables: of.env });
    refuseUntrusted(of, 'deploy');
    return of;
  }

  function functionOf(spec: DeploymentSpec): LocalFunction {
    const { name, memoryMiB, timeoutMs, maxConcurrency, functionName, version } = spec;
    return {
      name,
      specHash: specHash(spec, SHIM),
      publisher: (functionName.split('/')[0] ?? '').toLowerCase(),
      gateway,
      memoryMiB,
      timeoutMs,
      ...(maxConcurrency !== undefined && { maxConcurrency }),
      env: {
        ...spec.env,
        ...spec.secrets,
        DEFAAS_FUNCTION: functionName,
        DEFAAS_VERSION: String(version),
      },
    };
  }

  /** Asked at each call too: the sandbox of the day of the deploy may be gone. */
  function refuseUntrusted({ name, publisher }: LocalFunction, operation: string): void {
    const { trustedPublishers = [] } = options;
    if (isolation.kind === 'sandbox' || trustedPublishers === 'any') return;
    if (trustedPublishers.includes(publisher)) return;
    throw errorOf(operation, name)(
      'PROVIDER_FORBIDDEN',
      'no',
      `${publisher} is not a trusted publisher, and there is no sandbox here (${isolation.found})`,
    );
  }

  function stepsFor(of: LocalFunction): PlanStep[] {
    const { name } = of;
    const found = functions.get(name);
    if (found?.specHash === of.specHash) {
      return [{ action: 'keep', resource: 'function', name, why: 'it is as wanted' }];
    }
    const isNew = found === undefined;
    return [
      { action: 'create', resource: 'files', name, why: 'they are not there' },
      {
        action: isNew ? 'create' : 'update',
        resource: 'function',
        name,
        why: isNew ? 'it is not there' : 'the spec has changed',
      },
    ];
  }

  function poolOf(of: LocalFunction): Pool<LocalInstance> {
    const key = `${of.name} ${of.specHash}`;
    const known = running.get(key) ?? { of, pool: openPool(of) };
    running.delete(key);
    running.set(key, known);
    return known.pool;
  }

  function openPool(of: LocalFunction): Pool<LocalInstance> {
    const { name, memoryMiB, timeoutMs, env, maxConcurrency } = of;
    return createPool({
      start: async () =>
        createLocalInstance({
          children,
          isolation,
          codeDir: functions.codeDir(of),
          programs,
          env,
          memoryMiB,
          timeoutMs,
          maxResponseBytes: limits.maxResponseBytes,
          onLine: (line) => tell(name, { atMs: clock(), ...line }),
        }),
      hasRoom: () => makeRoom(needMiB(of)),
      idleMs,
      ...(maxConcurrency !== undefined && { maxInstances: maxConcurrency }),
    });
  }

  function needMiB({ memoryMiB }: LocalFunction): number {
    return memoryMiB + (isolation.kind === 'sandbox' ? TEMPORARY_MIB : 0);
  }

  /** Idle instances give way, those of the function that was called longest ago first. */
  function makeRoom(wantedMiB: number): boolean {
    let takenMiB = 0;
    for (const { of, pool } of running.values()) takenMiB += pool.size() * needMiB(of);
    for (const { of, pool } of running.values()) {
      while (takenMiB + wantedMiB > totalMemoryMiB && pool.reclaim()) takenMiB -= needMiB(of);
    }
    return takenMiB + wantedMiB <= totalMemoryMiB;
  }

  /** No more calls; when the last has ended, its files go. */
  function leave(of: LocalFunction): void {
    const key = `${of.name} ${of.specHash}`;
    const drained = running.get(key)?.pool.drain() ?? Promise.resolve();
    const left = drained.then(async () => {
      running.delete(key);
      // It may have come back in the meantime.
      if (functions.get(of.name)?.specHash !== of.specHash) await functions.clean(of);
      leaving.delete(left);
    });
    leaving.add(left);
  }

  function logOf(name: string): LogFile {
    const log = logFiles.get(name) ?? createLogFile(join(dir, 'logs', `${name}.jsonl`));
    logFiles.set(name, log);
    return log;
  }

  function tell(name: string, line: LogLine): void {
    logOf(name).append(line);
    options.onLine?.(name, line);
  }

  return {
    name: NAME,
    limits,
    regions: [REGION],
    isolation: isolation.kind,

    async plan(spec, controlOptions) {
      const of = check(spec);
      return control('plan', of.name, controlOptions, async () => ({ steps: stepsFor(of) }));
    },

    async deploy(spec, controlOptions) {
      const of = check(spec);
      return control('deploy', of.name, controlOptions, async () => {
        const steps = stepsFor(of);
        const before = functions.get(of.name);
        if (before?.specHash !== of.specHash) {
          await functions.put(of, spec.files);
          if (before) leave(before);
        }
        for (const step of steps) controlOptions.onStep?.(step);
        return deploymentOf(of, spec.artifactCid);
      });
    },

    async invoke({ name }, request, { signal }) {
      const fail = errorOf('invoke', name);
      const bodyBytes = request.body.length;
      if (bodyBytes > limits.maxRequestBytes) {
        const what = `body is ${bodyBytes} bytes, limit ${limits.maxRequestBytes}`;
        throw fail('PROVIDER_TOO_LARGE', 'no', what);
      }
      if (signal.aborted) throw fail('PROVIDER_DEADLINE', 'no', 'no time is left', signal.reason);
      const of = functions.get(name);
      if (!of) throw fail('PROVIDER_NOT_FOUND', 'no', 'no such function');
      refuseUntrusted(of, 'invoke');
      const lease = poolOf(of).take();
      if (!lease) throw fail('PROVIDER_THROTTLED', 'no', 'no place for one more call');

      const beganAtMs = performance.now();
      const requestId = randomUUID();
      const { method, path, query, headers, body } = request;
      const call = { requestId, method, path, query, headers, body };
      const outcome = await callOnce(lease, call, signal).catch((error: unknown) => {
        if (signal.aborted) throw fail('PROVIDER_DEADLINE', 'maybe', 'no answer in time', error);
        throw fail('PROVIDER_UNAVAILABLE', 'no', 'no instance could be started', error);
      });
      const measuredMs = performance.now() - beganAtMs;
      const result = resultOf(of, outcome, { requestId, measuredMs, cold: lease.isCold });
      if (!result.ok && result.error.kind !== 'thrown' && result.error.kind !== 'init') {
        const text = `${result.error.type}: ${result.error.message}`;
        tell(name, { atMs: clock(), requestId, level: 'error', text });
      }
      return result;
    },

    remove({ name }, controlOptions) {
      return control('remove', name, controlOptions, async () => {
        const of = functions.get(name);
        if (!of) return;
        await functions.remove(name);
        leave(of);
        await logFiles.get(name)?.remove();
        logFiles.delete(name);
        controlOptions.onStep?.({ action: 'remove', resource: 'function', name, why: 'asked for' });
      });
    },

    async *list(region) {
      if (region !== REGION) return;
      for (const { name, specHash: hash, gateway: owner } of functions.all()) {
        if (owner === gateway) yield { name, region, specHash: hash };
      }
    },

    async logs({ name }, query) {
      if (!functions.get(name)) {
        throw errorOf('logs', name)('PROVIDER_NOT_FOUND', 'no', 'no such function');
      }
      return logOf(name).read(query);
    },

    async close() {
      await writing;
      await children.close();
      await Promise.all([...running.values()].map(({ pool }) => pool.close()));
      await Promise.all(leaving);
      await Promise.all([...logFiles.values()].map((log) => log.flush()));
    },
  };
}

/** A copy that the user of an instance can read, whoever may read ours. */
function writePrograms(dir: string): string[] {
  mkdirSync(dir, { recursive: true });
  return [...SHIM].map(([file, bytes]) => {
    const path = join(dir, file);
    writeFileSync(path, bytes);
    chmodSync(path, 0o644);
    return path;
  });
}

function deploymentOf(of: LocalFunction, artifactCid: string): Deployment {
  const { name, specHash: hash, memoryMiB, timeoutMs } = of;
  return {
    provider: NAME,
    name,
    region: REGION,
    specHash: hash,
    artifactCid,
    memoryMiB,
    timeoutMs,
    url: `local:${name}`,
  };
}

/** Takes the place and gives it back as the call has left it. @throws  the signal's reason, or why there is no instance */
async function callOnce(
  lease: Lease<LocalInstance>,
  call: Parameters<LocalInstance['invoke']>[0],
  signal: AbortSignal,
): Promise<CallOutcome> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = () => reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  try {
    const work = lease.instance.then((instance) => instance.invoke(call));
    // It ends when the instance is stopped; nobody waits for it then.
    work.catch(() => {});
    const outcome = await Promise.race([work, aborted]);
    const { kind } = outcome.ending;
    if (kind === 'answer' || kind === 'too-large') lease.release();
    else lease.discard();
    return outcome;
  } catch (error) {
    lease.discard();
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

function resultOf(
  of: LocalFunction,
  { ending, durationMs, initMs, peakMemoryMiB }: CallOutcome,
  call: { readonly requestId: string; readonly measuredMs: number; readonly cold: boolean },
): InvokeResult {
  const { requestId, measuredMs, cold } = call;
  const usage: Usage = {
    billedMs: Math.min(Math.ceil(durationMs + (initMs ?? 0)), Math.ceil(measuredMs)),
    memoryMiB: of.memoryMiB,
    peakMemoryMiB,
    ...(initMs !== undefined && { initMs: Math.min(initMs, measuredMs) }),
    egressBytes: ending.kind === 'answer' ? ending.body.length : 0,
    measuredMs,
    source: 'gateway',
  };
  const told = { requestId, usage, cold };
  if (ending.kind !== 'answer') return { ...told, ok: false, error: failureOf(of, ending) };
  const { outcome, status, headers, body } = ending;
  if (outcome === 'ok') return { ...told, ok: true, status, headers, body };
  return { ...told, ok: false, error: failureIn(body) };
}

function failureOf(
  { timeoutMs, memoryMiB }: LocalFunction,
  ending: Exclude<Ending, { kind: 'answer' }>,
): FunctionFailure {
  switch (ending.kind) {
    case 'timeout':
      return { kind: 'timeout', type: 'Timeout', message: `no answer within ${timeoutMs} ms` };
    case 'too-large':
      return { kind: 'too-large', type: 'TooLarge', message: 'the answer is above the limit' };
    case 'broken':
      return { kind: 'exit', type: 'Protocol', message: 'the process sent what is no answer' };
    case 'exit':
      return exitFailure(ending.exit, memoryMiB);
    default:
      return ending satisfies never;
  }
}

function exitFailure({ code, signal, isOverMemory }: Exit, memoryMiB: number): FunctionFailure {
  if (isOverMemory) {
    const message = `it took more than ${memoryMiB} MiB of memory and was ended`;
    return { kind: 'exit', type: 'OutOfMemory', message };
  }
  const how = signal === null ? `exit status ${code}` : signal;
  return { kind: 'exit', type: 'Exit', message: `the process ended: ${how}` };
}
