// One instance of a Lambda function: a process that talks to a loopback server of its own over the
// real Runtime API. It is frozen between calls and killed at its timeout. The next process of the
// instance has the same temporary folder.

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, existsSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { Child, Children, Exit } from '../../../runtime/children.ts';
import type { Instance } from '../../../runtime/pool.ts';

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

type Ending =
  | { readonly kind: 'response' | 'error'; readonly body: Buffer }
  | { readonly kind: 'too-large' | 'timeout' }
  | { readonly kind: 'exit'; readonly exit: Exit };

/**
 * Opens the Runtime API. The process starts with the first call, which waits for it and reports its
 * init time.
 */
export async function createSandbox(options: SandboxOptions): Promise<Sandbox> {
  let child: Child | undefined;
  /** The runtime's open request for its next call. */
  let next: ServerResponse | undefined;
  let onNext: (() => void) | undefined;
  let onEnding: ((ending: Ending) => void) | undefined;
  let currentId: string | undefined;
  let log: Buffer[] = [];
  let logBytes = 0;
  let isStopped = false;

  const server = createServer((request, response) => void answerRuntime(request, response));
  // The request of a frozen runtime stays open without limit.
  server.requestTimeout = 0;
  server.keepAliveTimeout = 0;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  // A server that listens on a port has an address object.
  const { port } = server.address() as AddressInfo;
  const gone = once(server, 'close');

  async function answerRuntime(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [, what, id, how] = /^\/2018-06-01\/runtime\/(\w+)\/([\w-]+)(?:\/(\w+))?$/.exec(
      request.url ?? '',
    ) ?? ['', '', '', ''];
    if (request.method === 'GET' && what === 'invocation' && id === 'next') {
      next = response;
      if (onNext) onNext();
      else if (!currentId) child?.freeze();
      return;
    }

    const body = await readUpTo(request, MAX_RESPONSE_BYTES);
    const isCurrent = what === 'invocation' && id === currentId;
    if (request.method !== 'POST' || !(isCurrent || (what === 'init' && id === 'error'))) {
      const problem = { errorMessage: 'Invalid request ID', errorType: 'InvalidRequestID' };
      response.writeHead(400, { 'content-type': 'application/json' }).end(JSON.stringify(problem));
      return;
    }
    response.writeHead(202, { 'content-type': 'application/json' }).end('{"status":"OK"}');
    if (!body) onEnding?.({ kind: 'too-large' });
    else onEnding?.({ kind: isCurrent && how === 'response' ? 'response' : 'error', body });
  }

  function start(): Child {
    const started = options.children.start({
      args: [...heapFlags(options.memoryMiB), BOOTSTRAP],
      cwd: options.codeDir,
      env: { ...options.env, AWS_LAMBDA_RUNTIME_API: `127.0.0.1:${port}` },
      memoryMiB: options.memoryMiB,
      onOutput: collect,
      ...wrapperOf(options),
    });
    void started.exited.then((exit) => {
      if (child === started) child = undefined;
      next = undefined;
      onEnding?.({ kind: 'exit', exit });
    });
    return started;
  }

  function collect(chunk: Buffer): void {
    log.push(chunk);
    logBytes += chunk.length;
    while (logBytes > MAX_LOG_BYTES && log.length > 1) logBytes -= log.shift()?.length ?? 0;
  }

  /** Undefined when the runtime asks for a call, else the ending that came first. */
  function ready(ended: Promise<Ending>): Promise<Ending | undefined> {
    if (next) return Promise.resolve(undefined);
    const asked = new Promise<undefined>((resolve) => {
      onNext = () => resolve(undefined);
    });
    return Promise.race([asked, ended]).finally(() => {
      onNext = undefined;
    });
  }

  async function invoke(call: SandboxCall): Promise<SandboxOutcome> {
    currentId = call.requestId;
    log = [];
    logBytes = 0;
    const ended = new Promise<Ending>((resolve) => {
      onEnding = resolve;
    });
    const initFromMs = performance.now();
    const isCold = child === undefined;
    child ??= start();
    const running = child;
    running.thaw();

    const initTimer = setTimeout(() => onEnding?.({ kind: 'timeout' }), MAX_INIT_MS);
    let ending = await ready(ended);
    clearTimeout(initTimer);
    const calledAtMs = performance.now();
    if (!ending) {
      const timer = setTimeout(() => onEnding?.({ kind: 'timeout' }), options.timeoutMs);
      deliver(call);
      ending = await ended;
      clearTimeout(timer);
    }
    const endedAtMs = performance.now();

    onEnding = undefined;
    currentId = undefined;
    const peakMemoryMiB = running.peakMemoryMiB();
    if (ending.kind === 'response') {
      // The function writes to the pipe before it answers on the socket, so one turn of the event
      // loop reads the rest of its output.
      await new Promise((resolve) => setImmediate(resolve));
    } else {
      await settle(ending, running);
    }
    if (next && !currentId) running.freeze();
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
    if (isReusable) await ready(running.exited.then((exit) => ({ kind: 'exit', exit })));
    else await running.exited;
    clearTimeout(timer);
    if (!next) await running.exited;
  }

  function deliver(call: SandboxCall): void {
    const deadlineMs = Date.now() + options.timeoutMs;
    next?.writeHead(200, {
      'content-type': 'application/json',
      'content-length': call.payload.length,
      'lambda-runtime-aws-request-id': call.requestId,
      'lambda-runtime-deadline-ms': deadlineMs,
      'lambda-runtime-invoked-function-arn': call.invokedArn,
      'lambda-runtime-trace-id': traceId(deadlineMs),
      ...(call.clientContext && { 'lambda-runtime-client-context': call.clientContext }),
    });
    next?.end(call.payload);
    next = undefined;
  }

  async function stop(): Promise<void> {
    if (isStopped) return;
    isStopped = true;
    const running = child;
    running?.kill();
    await running?.exited;
    server.close();
    server.closeAllConnections();
  }

  const logStream = options.env.AWS_LAMBDA_LOG_STREAM_NAME ?? '';
  return { logStream, invoke, exited: gone, stop: () => void stop() };
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

/** Reads a body. Drains a longer one and returns undefined. */
async function readUpTo(request: IncomingMessage, maxBytes: number): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of request) {
      bytes += chunk.length;
      if (bytes <= maxBytes) chunks.push(chunk);
    }
  } catch {
    // The process died while it answered. Its exit is reported instead.
    return Buffer.alloc(0);
  }
  return bytes <= maxBytes ? Buffer.concat(chunks, bytes) : undefined;
}

function traceId(nowMs: number): string {
  const seconds = Math.floor(nowMs / 1000).toString(16);
  const [root, parent] = [randomBytes(12).toString('hex'), randomBytes(8).toString('hex')];
  return `Root=1-${seconds}-${root};Parent=${parent};Sampled=0`;
}

function assertNever(value: never): never {
  throw new TypeError(`unexpected ${JSON.stringify(value)}`);
}
