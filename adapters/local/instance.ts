// One instance of a function of the `local` provider: a process in a place of its own, spoken to over a pipe, frozen between
// calls, and killed when it does anything but answer in time.

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
  /** Absolute paths of what runs inside; the first is the program. */
  readonly programs: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly memoryMiB: number;
  readonly timeoutMs: number;
  readonly maxResponseBytes: number;
  /** A line that the function wrote, with the call that it belongs to. */
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
}

/** How a call ended. After anything but an answer the instance takes no more. */
export type Ending =
  | {
      readonly kind: 'answer';
      /** `error`: the body is JSON `{kind: 'thrown' | 'init', type, message}`. */
      readonly outcome: 'ok' | 'error';
      readonly status: number;
      readonly headers: readonly (readonly [name: string, value: string])[];
      readonly body: Uint8Array;
    }
  /** The answer is above the limit, and was not sent. */
  | { readonly kind: 'too-large' }
  /** It did not keep to the form of frames, or answered out of turn. */
  | { readonly kind: 'broken' }
  | { readonly kind: 'timeout' }
  | { readonly kind: 'exit'; readonly exit: Exit };

export interface CallOutcome {
  readonly ending: Ending;
  readonly durationMs: number;
  /** Time that the function's module took to load, when this call waited for it. */
  readonly initMs?: number;
  readonly peakMemoryMiB: number;
}

export interface LocalInstance extends Instance {
  /**
   * One call at a time. Never rejects because of the function.
   * @throws NotStartedError the place for the function could not be made; nothing of it ran
   */
  invoke(call: InstanceCall): Promise<CallOutcome>;
}

export class NotStartedError extends Error {
  override readonly name = 'NotStartedError';
}

/** Time the module may take to load, as on Lambda. */
const MAX_INIT_MS = 10_000;
const CHANNEL = 3;

/** Starts the process at once; the first call waits for it. @throws Error the process could not be started */
export function createLocalInstance(options: LocalInstanceOptions): LocalInstance {
  const { children, isolation, codeDir, memoryMiB } = options;
  const place = isolation.enclose({ codeDir, programs: options.programs, memoryMiB });
  let requestId: string | undefined;
  let onEnding: ((ending: Ending) => void) | undefined;
  /** The first ending that nobody waited for: what the next call is told. */
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
    // It is gone; `exited` tells how.
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
        // Inside bubblewrap this is a folder of its own.
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
    // What the function wrote is in the pipe before its answer is: one round of the loop reads it.
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
    const timer = setTimeout(() => resolve({ kind: 'timeout' }), MAX_INIT_MS);
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

/** What a stranger's process says is its answer; undefined where it is none. */
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
    // RFC 9110 section 5: what a header may be made of; the instance's Headers have checked it, if it used them.
    if (!/^[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(name)) return undefined;
    if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) return undefined;
    pairs.push([name, value]);
  }
  return { kind: 'answer', outcome, status: Number(status), headers: pairs, body };
}
