// Generates load on one HTTP target from a separate process, over a number of connections: closed
// loop per connection, or at a fixed rate. Raw sockets and prepared requests take about 10 us of
// CPU a request, which leaves the machine to the target.
import { fork } from 'node:child_process';
import { connect, type Socket } from 'node:net';
import { createHistogram } from 'node:perf_hooks';
import { ownNonce } from '../../../broker/client/own-calls.ts';
import type { Hex } from '../../../contracts/libraries/keccak.ts';

/** A request that is sent again and again. */
export interface Target {
  readonly origin: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /**
   * Extra headers, one entry per request, in order; the run ends when all these requests are
   * answered.
   */
  readonly each?: readonly Readonly<Record<string, string>>[];
  /** For prepaid calls: the inputs of each nonce; decimal numbers as text. */
  readonly nonces?: {
    readonly key: Hex;
    readonly functionId: string;
    readonly maxPriceUnits: string;
  };
}

export interface LoadOptions {
  readonly target: Target;
  readonly connections: number;
  /** Warm-up before the counting begins, ms. */
  readonly warmUpMs: number;
  /** Longest counted time, ms. */
  readonly durationMs: number;
  /**
   * Requests a second, however slow the answers; latency counts from the due time. Default: as fast
   * as answers come.
   */
  readonly ratePerSec?: number;
}

export interface LoadResult {
  readonly requests: number;
  /** Answers other than 2xx, and broken connections. */
  readonly failures: number;
  /** The first of them. */
  readonly failure?: string;
  readonly requestsPerSec: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

export interface Load {
  /** `onCounting` is called when the warm-up is over. @throws Error the process has ended */
  run(options: LoadOptions, onCounting?: () => void): Promise<LoadResult>;
  /** Opens connections, one answered request on each, and keeps them until the process ends. */
  hold(target: Target, connections: number): Promise<void>;
  close(): void;
}

type Command =
  | { readonly run: LoadOptions }
  | { readonly hold: Target; readonly connections: number };
type Message =
  | { readonly counting: true }
  | { readonly held: true }
  | { readonly result: LoadResult }
  | { readonly error: string };

const MAX_REPLY_BYTES = 64 * 1024;
const TICK_MS = 1;
/** Below a gateway's limit of concurrent calls of one payer. */
const HELD_AT_ONCE = 100;
const NS_PER_MS = 1e6;
const HEAD_END = Buffer.from('\r\n\r\n');
/** Where a call's nonce goes. */
const NO_NONCE = `0x${'0'.repeat(64)}`;

/** Starts the process; it is kept over many runs, so that its code stays warm. */
export function startLoad(): Load {
  const child = fork(import.meta.filename);
  const ask = (command: Command, onMessage: (message: Message) => boolean): Promise<void> =>
    new Promise((resolve, reject) => {
      const end = (error?: Error): void => {
        child.off('message', hear).off('exit', gone);
        if (error === undefined) resolve();
        else reject(error);
      };
      const gone = (): void => end(new Error('the load generator has ended'));
      const hear = (message: Message): void => {
        if ('error' in message) end(new Error(message.error));
        else if (onMessage(message)) end();
      };
      child.on('message', hear).once('exit', gone);
      child.send(command);
    });
  return {
    run: async (options, onCounting) => {
      let result: LoadResult | undefined;
      await ask({ run: options }, (message) => {
        if ('counting' in message) onCounting?.();
        if ('result' in message) result = message.result;
        return result !== undefined;
      });
      if (result === undefined) throw new Error('a load without a result');
      return result;
    },
    hold: (target, connections) =>
      ask({ hold: target, connections }, (message) => 'held' in message),
    close: () => child.kill('SIGTERM'),
  };
}

/** One keep-alive connection with at most one pending request. */
class ClientConnection {
  readonly #socket: Socket;
  readonly #next: Requests;
  readonly #onAnswer: (connection: ClientConnection, failure: string | undefined) => void;
  #pending: Buffer | undefined;
  /** Due time of the pending request, ns. */
  dueNs = 0n;

  constructor(
    target: Target,
    next: Requests,
    onAnswer: (connection: ClientConnection, failure: string | undefined) => void,
    onOpen: (connection: ClientConnection) => void,
  ) {
    const { hostname, port } = new URL(target.origin);
    this.#next = next;
    this.#onAnswer = onAnswer;
    this.#socket = connect({
      host: hostname,
      port: Number(port),
      noDelay: true,
      onread: { buffer: readBuffer, callback: (length) => this.#read(length) },
    });
    this.#socket.once('connect', () => onOpen(this));
    this.#socket.once('close', () => this.#onAnswer(this, 'connection closed'));
    this.#socket.on('error', () => {});
  }

  /** Returns false if there are no more requests. */
  send(dueNs: bigint): boolean {
    const request = this.#next();
    this.dueNs = dueNs;
    if (request !== undefined) this.#socket.write(request);
    return request !== undefined;
  }

  close(): void {
    this.#socket.removeAllListeners('close');
    this.#socket.destroy();
  }

  #read(length: number): boolean {
    const chunk = readBuffer.subarray(0, length);
    const bytes = this.#pending === undefined ? chunk : Buffer.concat([this.#pending, chunk]);
    const headEnd = bytes.indexOf(HEAD_END);
    const head = headEnd < 0 ? '' : bytes.toString('latin1', 0, headEnd);
    const [, bodyBytes] = /\r\ncontent-length: *(\d+)/i.exec(head) ?? [];
    if (headEnd >= 0 && bodyBytes === undefined) return this.#end('an answer without a length');
    const whole = headEnd + HEAD_END.length + Number(bodyBytes);
    if (headEnd < 0 || bytes.length < whole) {
      // All connections share the buffer, so copy what must be kept.
      this.#pending = Buffer.from(bytes);
      return bytes.length < MAX_REPLY_BYTES || this.#end('an answer too large');
    }
    this.#pending = undefined;
    const isGood = head.startsWith('HTTP/1.1 2');
    this.#onAnswer(
      this,
      isGood ? undefined : `${head.slice(9, 12)} ${bytes.toString('latin1', headEnd + 4, 512)}`,
    );
    return true;
  }

  #end(failure: string): boolean {
    this.close();
    this.#onAnswer(this, failure);
    return false;
  }
}

/** Read buffer of all sockets; each read is processed before the next. */
const readBuffer = Buffer.alloc(MAX_REPLY_BYTES);

/** The bytes of the next request; undefined after the last. */
type Requests = () => Buffer | undefined;

function requestsOf(target: Target): Requests {
  const next = preparedOf(target);
  if (target.nonces === undefined) return next;
  return () => {
    const bytes = next();
    const at = bytes?.indexOf(NO_NONCE) ?? -1;
    if (bytes === undefined || at < 0) return bytes;
    // Copies, because the socket may still hold the last request.
    const own = Buffer.from(bytes);
    own.write(nonceOf(target), at, 'latin1');
    return own;
  };
}

/** The nonce of one call; under a key it is always the same. */
export function nonceOf({ nonces }: Target, idempotencyKey?: string): Hex {
  if (nonces === undefined) throw new TypeError('the target’s calls have no nonces');
  const { key, functionId, maxPriceUnits } = nonces;
  const call = { functionId: BigInt(functionId), maxPriceUnits: BigInt(maxPriceUnits) };
  return ownNonce(key, call, idempotencyKey);
}

function preparedOf(target: Target): Requests {
  const nonce = target.nonces && { 'defaas-nonce': NO_NONCE };
  const headers = { ...target.headers, ...nonce };
  if (target.each === undefined) {
    const bytes = requestBytes({ ...target, headers });
    return () => bytes;
  }
  const requests = target.each.map((more) =>
    requestBytes({ ...target, headers: { ...headers, ...more } }),
  );
  let used = 0;
  return () => requests[used++];
}

function requestBytes({ origin, path, headers, body }: Target): Buffer {
  const lines = Object.entries({
    host: new URL(origin).host,
    'content-length': String(Buffer.byteLength(body)),
    ...headers,
  }).map(([name, value]) => `${name}: ${value}`);
  return Buffer.from(`POST ${path} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n${body}`);
}

async function openConnections(
  target: Target,
  connections: number,
  onAnswer: (connection: ClientConnection, failure: string | undefined) => void,
): Promise<ClientConnection[]> {
  const next = requestsOf(target);
  const opening = Array.from(
    { length: connections },
    () =>
      new Promise<ClientConnection>(
        (resolve) => void new ClientConnection(target, next, onAnswer, resolve),
      ),
  );
  return Promise.all(opening);
}

async function run(options: LoadOptions, onCounting: () => void): Promise<LoadResult> {
  const { target, connections, ratePerSec } = options;
  const histogram = createHistogram();
  let isCounting = false;
  let requests = 0;
  let failures = 0;
  let failure: string | undefined;
  const idle: ClientConnection[] = [];
  const usedUp = Promise.withResolvers<void>();
  let answering = connections;
  const sendNext = (connection: ClientConnection, nowNs: bigint): void => {
    if (connection.send(nowNs)) return;
    answering -= 1;
    if (answering === 0) usedUp.resolve();
  };
  const onAnswer = (connection: ClientConnection, why: string | undefined): void => {
    const nowNs = process.hrtime.bigint();
    if (why !== undefined) {
      failures += 1;
      failure ??= why;
    }
    if (isCounting) {
      requests += 1;
      histogram.record(nowNs - connection.dueNs + 1n);
    }
    if (ratePerSec === undefined) sendNext(connection, nowNs);
    else idle.push(connection);
  };
  const opened = await openConnections(target, connections, onAnswer);
  let stop = (): void => {};
  if (ratePerSec === undefined)
    for (const connection of opened) sendNext(connection, process.hrtime.bigint());
  else stop = startPaced(opened, idle, ratePerSec);
  await Promise.race([waitMs(options.warmUpMs), usedUp.promise]);
  onCounting();
  isCounting = true;
  const startedAtMs = performance.now();
  await Promise.race([waitMs(options.durationMs), usedUp.promise]);
  isCounting = false;
  const seconds = (performance.now() - startedAtMs) / 1000;
  stop();
  for (const connection of opened) connection.close();
  return {
    requests,
    failures,
    ...(failure !== undefined && { failure }),
    requestsPerSec: requests / seconds,
    p50Ms: histogram.percentile(50) / NS_PER_MS,
    p99Ms: histogram.percentile(99) / NS_PER_MS,
    maxMs: requests === 0 ? 0 : histogram.max / NS_PER_MS,
  };
}

/**
 * Sends the due requests every millisecond. Without a free connection a request waits, and its
 * latency runs.
 */
function startPaced(
  opened: readonly ClientConnection[],
  idle: ClientConnection[],
  ratePerSec: number,
): () => void {
  idle.push(...opened);
  const startedNs = process.hrtime.bigint();
  let ticks = 0;
  let sent = 0;
  const timer = setInterval(() => {
    const elapsedMs = Number(process.hrtime.bigint() - startedNs) / NS_PER_MS;
    while (ticks * TICK_MS <= elapsedMs) {
      const due = Math.floor((ticks * TICK_MS * ratePerSec) / 1000);
      const dueNs = startedNs + BigInt(ticks * TICK_MS * NS_PER_MS);
      for (; sent < due; sent += 1) {
        const connection = idle.pop();
        if (connection === undefined) return;
        connection.send(dueNs);
      }
      ticks += 1;
    }
  }, TICK_MS);
  return () => clearInterval(timer);
}

async function hold(target: Target, connections: number): Promise<void> {
  for (let held = 0; held < connections; held += HELD_AT_ONCE) {
    await holdSome(target, Math.min(HELD_AT_ONCE, connections - held));
  }
}

async function holdSome(target: Target, connections: number): Promise<void> {
  let failure: string | undefined;
  let answers = 0;
  const { promise, resolve } = Promise.withResolvers<void>();
  const opened = await openConnections(target, connections, (_line, why) => {
    failure ??= why;
    answers += 1;
    if (answers === connections || why !== undefined) resolve();
  });
  for (const connection of opened) connection.send(0n);
  await promise;
  if (failure !== undefined) throw new Error(failure);
}

function waitMs(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

if (import.meta.main) {
  const tell = (message: Message): void => {
    process.send?.(message);
  };
  process.on('message', async (command: Command) => {
    try {
      if ('run' in command) {
        tell({ result: await run(command.run, () => tell({ counting: true })) });
        return;
      }
      await hold(command.hold, command.connections);
      tell({ held: true });
    } catch (error) {
      tell({ error: error instanceof Error ? error.message : String(error) });
    }
  });
  process.on('disconnect', () => process.exit(0));
}
