// One instance of a function of the `local` provider: a process in a sandbox that takes calls over
// a pipe. It is frozen between calls, and killed when it does not answer in time or breaks the
// protocol.

import type { Duplex } from 'node:stream';
import type { Child, Children, Exit } from '../runtime/children.ts';
import { readFrames, writeFrame } from '../runtime/frames.ts';
import type { Isolation } from '../runtime/isolation.ts';
import { createLineReader } from '../runtime/lines.ts';
import type { Instance } from '../runtime/pool.ts';

export interface LocalInstanceOptions {
  readonly children: Children;
  readonly isolation: Isolation;
  /** Folder of the artifact. */
  readonly codeDir: string;
  /** Absolute paths of the programs inside; the first is the one to start. */
  readonly programs: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly memoryMiB: number;
  readonly timeoutMs: number;
  /** Time that the module may take to load. Default 10 s, the same as on Lambda. */
  readonly maxInitMs?: number;
  readonly maxResponseBytes: number;
  /** Receives each line that the function writes, with the call that it belongs to. */
  readonly onLine: (line: InstanceLine) => void;
}

export interface InstanceLine {
  readonly requestId?: string;
  readonly level: 'info' | 'error';
  readonly text: string;
}

export interface InstanceCall {
  readonly requestId: string;
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Uint8Array;
  /** Loads the module as a first call does, and calls nothing. */
  readonly isLoadOnly?: true;
}

/** How a call ended. After `broken`, `timeout` and `exit` the instance takes no more calls. */
export type Ending =
  | {
      readonly kind: 'answer';
      /** `error`: the body is JSON `{kind: 'thrown' | 'init', type, message}`. */
      readonly outcome: 'ok' | 'error';
      readonly status: number;
      readonly headers: readonly (readonly [name: string, value: string])[];
      readonly body: Uint8Array;
    }
  /** The answer is above the limit; the shim did not send it. */
  | { readonly kind: 'too-large' }
  /** The process sent a malformed frame, or a frame that belongs to no call. */
  | { readonly kind: 'broken' }
  | { readonly kind: 'timeout' }
  | { readonly kind: 'exit'; readonly exit: Exit };

export interface CallOutcome {
  readonly ending: Ending;
  readonly durationMs: number;
  /** Time that the function's module took to load; in the first call of an instance only. */
  readonly initMs?: number;
  readonly peakMemoryMiB: number;
}

export interface LocalInstance extends Instance {
  /**
   * One call at a time. Never rejects because of the function.
   * @throws NotStartedError  the sandbox could not be made; nothing of the function ran
   */
  invoke(call: InstanceCall): Promise<CallOutcome>;
}

export class NotStartedError extends Error {
  override readonly name = 'NotStartedError';
}

export const MAX_INIT_MS = 10_000;
const CHANNEL = 3;

/**
 * Starts the process at once; the first call waits until it is ready.
 * @throws Error  the process could not be started
 */
export function createLocalInstance(options: LocalInstanceOptions): LocalInstance {
  const { children, isolation, codeDir, memoryMiB } = options;
  const place = isolation.enclose({ codeDir, programs: options.programs, memoryMiB });
  let requestId: string | undefined;
  let onEnding: ((ending: Ending) => void) | undefined;
  /** The first ending that came while no call ran; the next call gets it. */
  let ended: Ending | undefined;
  let startedAtMs: number | undefined;
  let readyAtMs: number | undefined;
  let isReported = false;
  const ready = Promise.withResolvers<void>();
  const lines = createLineReader((text, from) =>
    options.onLine({
      ...(requestId !== undefined && { requestId }),
      level: from === 'stdout' ? 'info' : 'error',
      text,
    }),
  );

  const child = startIn(place);
  const channel = child.process.stdio[CHANNEL] as Duplex;
  channel.on('error', () => {
    // The process is gone; `exited` tells how.
  });
  readFrames(channel, {
    maxBodyBytes: options.maxResponseBytes,
    onFrame: ({ head, body }) => hear(head, body),
    onFault: () => end({ kind: 'broken' }),
  });
  const gone = child.exited.then((exit) => {
    place.leave();
    lines.end();
    end({ kind: 'exit', exit });
    ready.resolve();
  });

  function startIn({ args, command, descriptors, entered }: typeof place): Child {
    try {
      return children.start({
        args,
        // Inside bubblewrap the process gets another working folder.
        cwd: codeDir,
        env: {},
        memoryMiB,
        onOutput: lines.read,
        descriptors,
        ...(command && { command }),
      });
    } catch (error) {
      place.leave();
      throw error;
    } finally {
      entered();
    }
  }

  function hear(head: Readonly<Record<string, unknown>>, body: Uint8Array): void {
    if (head.type === 'started' && startedAtMs === undefined) {
      startedAtMs = performance.now();
      child.follow(place.codePid(child.pid));
      writeFrame(channel, {
        type: 'start',
        handler: `${place.insideCodeDir}/handler.mjs`,
        maxResponseBytes: options.maxResponseBytes,
        env: { ...environmentIn(place.insideTemporaryDir), ...options.env },
      });
    } else if (head.type === 'ready' && startedAtMs !== undefined && readyAtMs === undefined) {
      readyAtMs = performance.now();
      ready.resolve();
    } else if (head.requestId !== requestId || requestId === undefined) {
      end({ kind: 'broken' });
    } else if (head.type === 'too-large') {
      end({ kind: 'too-large' });
    } else {
      end(readAnswer(head, body) ?? { kind: 'broken' });
    }
  }

  function end(ending: Ending): void {
    if (onEnding) onEnding(ending);
    else ended ??= ending;
  }

  async function invoke(call: InstanceCall): Promise<CallOutcome> {
    requestId = call.requestId;
    lines.restart();
    const calledAtMs = performance.now();
    const ending = await new Promise<Ending>((resolve) => {
      onEnding = resolve;
      if (ended) resolve(ended);
      else if (readyAtMs !== undefined) deliver(call, resolve);
      else awaitReady(call, resolve);
    });
    const endedAtMs = performance.now();
    onEnding = undefined;

    const isAnswered = ending.kind === 'answer' || ending.kind === 'too-large';
    const peakMemoryMiB = child.peakMemoryMiB();
    if (isAnswered) child.freeze();
    else child.kill();
    if (!isAnswered) await gone;
    // The function's output is in its pipe before the answer is sent: one turn of the event loop
    // reads it.
    else await new Promise((resolve) => setImmediate(resolve));
    if (startedAtMs === undefined) throw notStarted(ending);
    const isFirst = !isReported;
    isReported = true;
    const fromMs = Math.max(calledAtMs, readyAtMs ?? endedAtMs);
    return {
      ending,
      durationMs: endedAtMs - fromMs,
      ...(isFirst && { initMs: (readyAtMs ?? endedAtMs) - startedAtMs }),
      peakMemoryMiB,
    };
  }

  function awaitReady(call: InstanceCall, resolve: (ending: Ending) => void): void {
    const timer = setTimeout(() => resolve({ kind: 'timeout' }), options.maxInitMs ?? MAX_INIT_MS);
    void ready.promise.then(() => {
      clearTimeout(timer);
      if (readyAtMs !== undefined && requestId === call.requestId) deliver(call, resolve);
    });
  }

  function deliver(call: InstanceCall, resolve: (ending: Ending) => void): void {
    const { body, ...head } = call;
    const timer = setTimeout(() => resolve({ kind: 'timeout' }), options.timeoutMs);
    onEnding = (ending) => {
      clearTimeout(timer);
      resolve(ending);
    };
    child.thaw();
    const deadlineMs = Date.now() + options.timeoutMs;
    writeFrame(channel, { type: 'call', ...head, deadlineMs }, body);
  }

  function notStarted(ending: Ending): NotStartedError {
    const how = ending.kind === 'exit' ? `ended with ${ending.exit.code}` : 'did not begin in time';
    return new NotStartedError(`the process for the function ${how}: ${lines.last}`);
  }

  return { invoke, exited: gone, stop: child.kill };
}

function environmentIn(temporaryDir: string): Record<string, string> {
  return { HOME: temporaryDir, TMPDIR: temporaryDir, LANG: 'en_US.UTF-8', TZ: 'UTC' };
}

/** Parses an answer from the untrusted process; undefined when it is malformed. */
function readAnswer(
  { type, outcome, status, headers }: Readonly<Record<string, unknown>>,
  body: Uint8Array,
): Ending | undefined {
  if (type !== 'answer' || (outcome !== 'ok' && outcome !== 'error')) return undefined;
  if (!Number.isInteger(status) || Number(status) < 200 || Number(status) > 599) return undefined;
  if (!Array.isArray(headers)) return undefined;
  const pairs: [string, string][] = [];
  for (const pair of headers) {
    if (!Array.isArray(pair) || pair.length !== 2) return undefined;
    const [name, value] = pair;
    if (typeof name !== 'string' || typeof value !== 'string') return undefined;
    // RFC 9110 section 5. The shim's `Headers` check this too, but a function need not use the
    // shim's code.
    if (!/^[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(name)) return undefined;
    if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) return undefined;
    pairs.push([name, value]);
  }
  return { kind: 'answer', outcome, status: Number(status), headers: pairs, body };
}
