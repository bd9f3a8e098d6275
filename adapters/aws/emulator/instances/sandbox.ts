// One instance of a Lambda function: a process that talks to a loopback server of its own over the
// real Runtime API. It is frozen between calls and killed at its timeout. The next process of the
// instance has the same temporary folder.

import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Child, Children, Exit } from '../../../runtime/children.ts';
import type { Instance } from '../../../runtime/pool.ts';
import { type Ending, openRuntimeApi, type RuntimeApi } from './runtime-api.ts';

/** `env` is the whole environment, except for the address of the Runtime API. */
export interface SandboxOptions {
  readonly children: Children;
  readonly codeDir: string;
  /** What the function sees as `/opt` in the paths of its settings. */
  readonly layersDir: string;
  readonly env: Readonly<Record<string, string>>;
  readonly memoryMiB: number;
  readonly timeoutMs: number;
}

export interface SandboxCall {
  readonly requestId: string;
  readonly payload: Buffer;
  /** The function's ARN with the qualifier that was called. */
  readonly invokedArn: string;
  /** The decoded JSON of `x-amz-client-context`. */
  readonly clientContext?: string;
}

export interface SandboxOutcome {
  /** The function's JSON, or Lambda's description of its failure. */
  readonly payload: Buffer;
  readonly failed: boolean;
  readonly durationMs: number;
  /** Time until the runtime asked for its first call, if this call started it. */
  readonly initMs?: number;
  readonly peakMemoryMiB: number;
  /** The last `MAX_LOG_BYTES` that the function wrote. */
  readonly log: string;
}

export interface Sandbox extends Instance {
  /** Name of its log stream. */
  readonly logStream: string;
  /** One call at a time. Never rejects because of the function. */
  invoke(call: SandboxCall): Promise<SandboxOutcome>;
}

/** Largest synchronous answer, bytes (Lambda quotas; the API's error names it). */
const MAX_RESPONSE_BYTES = 6_291_556;
/** Time the init phase may take (Lambda execution environment lifecycle). */
const MAX_INIT_MS = 10_000;
/** After it reports an error, a runtime is killed unless it asks for its next call in this time. */
const MAX_SETTLE_MS = 1_000;
const MAX_LOG_BYTES = 64 * 1024;
const BOOTSTRAP = fileURLToPath(new URL('./bootstrap.mjs', import.meta.url));

/**
 * Opens the Runtime API. The process starts with the first call, which waits for it and reports its
 * init time.
 */
export async function createSandbox(options: SandboxOptions): Promise<Sandbox> {
  let child: Child | undefined;
  let log: Buffer[] = [];
  let logBytes = 0;
  let isStopped = false;
  const api = await openRuntimeApi(MAX_RESPONSE_BYTES, () => child?.freeze());

  function start(): Child {
    const started = options.children.start({
      args: [...heapFlags(options.memoryMiB), BOOTSTRAP],
      cwd: options.codeDir,
      env: { ...options.env, AWS_LAMBDA_RUNTIME_API: api.address },
      memoryMiB: options.memoryMiB,
      onOutput: collect,
      ...wrapperOf(options),
    });
    void started.exited.then((exit) => {
      if (child === started) child = undefined;
      api.forget();
      api.end({ kind: 'exit', exit });
    });
    return started;
  }

  function collect(chunk: Buffer): void {
    log.push(chunk);
    logBytes += chunk.length;
    while (logBytes > MAX_LOG_BYTES && log.length > 1) logBytes -= log.shift()?.length ?? 0;
  }

  async function invoke(call: SandboxCall): Promise<SandboxOutcome> {
    log = [];
    logBytes = 0;
    const ended = api.begin(call.requestId);
    const initFromMs = performance.now();
    const isCold = child === undefined;
    child ??= start();
    const running = child;
    running.thaw();

    const initTimer = setTimeout(() => api.end({ kind: 'timeout' }), MAX_INIT_MS);
    let ending = await api.ready(ended);
    clearTimeout(initTimer);
    const calledAtMs = performance.now();
    if (!ending) {
      const timer = setTimeout(() => api.end({ kind: 'timeout' }), options.timeoutMs);
      deliver(api, call, options.timeoutMs);
      ending = await ended;
      clearTimeout(timer);
    }
    const endedAtMs = performance.now();

    api.finish();
    const peakMemoryMiB = running.peakMemoryMiB();
    if (ending.kind === 'response') {
      // The function writes to the pipe before it answers on the socket, so one turn of the event
      // loop reads the rest of its output.
      await new Promise((resolve) => setImmediate(resolve));
    } else {
      await settle(ending, running);
    }
    if (api.isAsking() && !api.isBusy()) running.freeze();
    return {
      ...conclude(ending, call.requestId, options),
      durationMs: endedAtMs - calledAtMs,
      ...(isCold && { initMs: calledAtMs - initFromMs }),
      peakMemoryMiB,
      log: Buffer.concat(log).toString(),
    };
  }

  /**
   * After a failure: waits until the runtime asks for a call or has exited, so that the next call
   * does not meet a dying process.
   */
  async function settle(ending: Ending, running: Child): Promise<void> {
    const isReusable = ending.kind === 'error' || ending.kind === 'too-large';
    const timer = setTimeout(() => running.kill(), isReusable ? MAX_SETTLE_MS : 0);
    if (isReusable) await api.ready(running.exited.then((exit) => ({ kind: 'exit', exit })));
    else await running.exited;
    clearTimeout(timer);
    if (!api.isAsking()) await running.exited;
  }

  async function stop(): Promise<void> {
    if (isStopped) return;
    isStopped = true;
    const running = child;
    running?.kill();
    await running?.exited;
    api.close();
  }

  const logStream = options.env.AWS_LAMBDA_LOG_STREAM_NAME ?? '';
  return { logStream, invoke, exited: api.closed, stop: () => void stop() };
}

function deliver(api: RuntimeApi, call: SandboxCall, timeoutMs: number): void {
  const deadlineMs = Date.now() + timeoutMs;
  const headers = {
    'content-type': 'application/json',
    'content-length': call.payload.length,
    'lambda-runtime-aws-request-id': call.requestId,
    'lambda-runtime-deadline-ms': deadlineMs,
    'lambda-runtime-invoked-function-arn': call.invokedArn,
    'lambda-runtime-trace-id': traceId(deadlineMs),
    ...(call.clientContext && { 'lambda-runtime-client-context': call.clientContext }),
  };
  api.deliver(headers, call.payload);
}

/**
 * The script of `AWS_LAMBDA_EXEC_WRAPPER`, which starts the runtime by its arguments. A path below
 * `/opt` is that of a layer, one below `/var/task` that of the code.
 */
function wrapperOf({ env, layersDir, codeDir }: SandboxOptions) {
  const given = env.AWS_LAMBDA_EXEC_WRAPPER;
  if (given === undefined) return {};
  const path = given.replace(/^\/opt\//, `${layersDir}/`).replace(/^\/var\/task\//, `${codeDir}/`);
  if (!existsSync(path)) return {};
  // A zip is unpacked without its modes.
  if (path !== given) chmodSync(path, 0o755);
  return { command: (args: readonly string[]) => [path, process.execPath, ...args] };
}

/** Lambda bounds the heap below the memory size, so that a leak usually ends as a heap error. */
function heapFlags(memoryMiB: number): string[] {
  return [`--max-old-space-size=${Math.floor(memoryMiB * 0.9)}`, '--max-semi-space-size=16'];
}

function conclude(
  ending: Ending,
  requestId: string,
  { timeoutMs }: SandboxOptions,
): { payload: Buffer; failed: boolean } {
  switch (ending.kind) {
    case 'response':
      return { payload: ending.body, failed: false };
    case 'error':
      return { payload: ending.body, failed: true };
    case 'too-large':
      return failure(
        'Function.ResponseSizeTooLarge',
        `Response payload size exceeded maximum allowed payload size (${MAX_RESPONSE_BYTES} bytes).`,
      );
    case 'timeout':
      return failure(
        'Sandbox.Timedout',
        `RequestId: ${requestId} Error: Task timed out after ${(timeoutMs / 1000).toFixed(2)} seconds`,
      );
    case 'exit':
      return failure(
        'Runtime.ExitError',
        `RequestId: ${requestId} Error: ${exitText(ending.exit)}`,
      );
    default:
      return assertNever(ending);
  }
}

function failure(errorType: string, errorMessage: string): { payload: Buffer; failed: boolean } {
  return { payload: Buffer.from(JSON.stringify({ errorType, errorMessage })), failed: true };
}

function exitText({ code, signal }: Exit): string {
  if (signal === 'SIGKILL') return 'Runtime exited with error: signal: killed';
  if (signal) return `Runtime exited with error: signal: ${signal}`;
  if (code === 0) return 'Runtime exited without providing a reason';
  return `Runtime exited with error: exit status ${code}`;
}

function traceId(nowMs: number): string {
  const seconds = Math.floor(nowMs / 1000).toString(16);
  const [root, parent] = [randomBytes(12).toString('hex'), randomBytes(8).toString('hex')];
  return `Root=1-${seconds}-${root};Parent=${parent};Sampled=0`;
}

function assertNever(value: never): never {
  throw new TypeError(`unexpected ${JSON.stringify(value)}`);
}
