// The hot path's one HTTP attempt: no SDK, no retry, no redirect. Tells what no SDK tells: whether the request had begun
// to go out, which is what an adapter's `ran` rests on. On the sockets themselves and not by undici: an eighth of the CPU that a call
// costs, and what one turn of the event loop brings goes out in one go (bench http, in one run: 311 -> 285 us).
import { connect as connectTcp, isIP, type OnReadOpts, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { AnswerError, type AnswerHeaders, AnswerReader } from './answer.ts';
import { batchPerTurn } from './batch-per-turn.ts';
import { HEADER_NAME, headerText, piecesOf } from './message.ts';

export interface OutboundRequest {
  /** `http://host:port` or `https://host`, without a path. */
  readonly origin: string;
  /** Path and query, percent-encoded. */
  readonly path: string;
  readonly method: string;
  /** By name, or each name followed by its value, which costs less where a call is all that a core does. */
  readonly headers: Readonly<Record<string, string | string[]>> | readonly string[];
  readonly body: Uint8Array;
}

export interface Answer {
  readonly status: number;
  readonly headers: AnswerHeaders;
  readonly body: Buffer;
  /**
   * From the request written to the answer's last byte. A large request that goes out at less than 100 Mbit/s is measured as if it had
   * gone out at that: the other side may hold a request back while it works on it.
   */
  readonly measuredMs: number;
}

/** No answer. `began`: the request was put on a socket, so the other side may have got it. */
export class SendError extends Error {
  override readonly name = 'SendError';
  readonly reason: 'aborted' | 'connection' | 'too-large';
  readonly began: boolean;

  constructor(reason: SendError['reason'], began: boolean, cause?: unknown) {
    super(`${reason}, ${began ? 'after' : 'before'} the request was put on a socket`, { cause });
    this.reason = reason;
    this.began = began;
  }
}

export interface Sender {
  /** @throws SendError aborted by the signal, connection failed, answer above `maxResponseBytes` */
  send(
    request: OutboundRequest,
    options: { readonly signal: AbortSignal; readonly maxResponseBytes: number },
  ): Promise<Answer>;
  /** Ends the idle sockets and waits for the calls in flight. */
  close(): Promise<void>;
}

/** Most origins whose sockets are kept; those of the least recently used one go beyond it. */
const MAX_ORIGINS = 1024;
const CONNECT_MS = 10_000;
const SWEEP_MS = 1_000;
/** Up to here a request is taken as written when it is put on the socket, bytes. */
const WRITTEN_AT_ONCE_BYTES = 64 * 1024;
/** 100 Mbit/s. */
const LEAST_BYTES_PER_MS = 12_500;
/** What says how long a request is: said here, and by nobody else. */
const FRAMING = new Set(['content-length', 'transfer-encoding']);
const TARGET = /^[!-~]+$/;
/** Read into by all sockets: each read is done with before the next. */
const READ_BUFFER = Buffer.alloc(64 * 1024);

/** Of one signal: the exchanges that end with it, behind a single listener, for many calls may share a signal. */
class Watch {
  readonly exchanges = new Set<Exchange>();

  /** Of the signal. */
  handleEvent(): void {
    for (const exchange of this.exchanges) exchange.abort();
  }
}

interface SenderOptions {
  /** Most sockets per origin; further calls wait their turn. Default 256. */
  readonly connections?: number;
  /** How long an idle socket is kept, below what the cloud keeps it. Default 4000. */
  readonly keepAliveMs?: number;
  /** Certificate authority beside which no other is trusted, PEM. */
  readonly ca?: string;
}

export function createSender(options: SenderOptions = {}): Sender {
  const origins = new Map<string, Origin>();
  /** Left out of `origins`, with requests that are still on their way. */
  const leaving = new Set<Promise<void>>();
  let closing: Promise<unknown> | undefined;
  const watches = new Map<AbortSignal, Watch>();

  const watch = (signal: AbortSignal, exchange: Exchange): void => {
    let one = watches.get(signal);
    if (one === undefined) {
      one = new Watch();
      watches.set(signal, one);
      signal.addEventListener('abort', one, { once: true });
    }
    one.exchanges.add(exchange);
  };
  const unwatch = (signal: AbortSignal, exchange: Exchange): void => {
    const one = watches.get(signal);
    if (one === undefined) return;
    one.exchanges.delete(exchange);
    if (one.exchanges.size > 0) return;
    watches.delete(signal);
    signal.removeEventListener('abort', one);
  };
  // When all that this turn brings has been read, so that no request goes out on a socket which is known to have ended, nor before bytes
  // that belong to none. One after the other without anything in between: what is beside us is woken once, not once a call.
  const pump = batchPerTurn((origin: Origin) => origin.pump());
  const originOf = (name: string): Origin => {
    const known = origins.get(name);
    if (known && origins.size === 1) return known;
    const origin = known ?? new Origin(name, options, pump);
    // Set anew, so that the map's order is that of use.
    origins.delete(name);
    origins.set(name, origin);
    if (origins.size > MAX_ORIGINS) {
      const [[oldest, left] = [name, origin]] = origins;
      origins.delete(oldest);
      const gone = left.close().then(() => void leaving.delete(gone));
      leaving.add(gone);
    }
    return origin;
  };
  const sweeper = setInterval(() => {
    for (const origin of origins.values()) origin.sweep();
  }, SWEEP_MS).unref();

  return {
    send: (request, { signal, maxResponseBytes }) =>
      new Promise((resolve, reject) => {
        const refuse = (reason: SendError['reason'], cause: unknown): void =>
          reject(new SendError(reason, false, cause));
        if (signal.aborted) return refuse('aborted', signal.reason);
        if (closing) return refuse('connection', new Error('the sender is closed'));
        let origin: Origin;
        let head: string;
        try {
          origin = originOf(request.origin);
          head = headOf(request, origin.host);
        } catch (fault) {
          return refuse('connection', fault);
        }
        const exchange = new Exchange({
          request,
          head,
          maxResponseBytes,
          signal,
          onEnd: unwatch,
          resolve,
          reject,
        });
        watch(signal, exchange);
        origin.add(exchange);
      }),
    async close() {
      closing ??= Promise.all([...leaving, ...[...origins.values()].map((one) => one.close())]);
      await closing;
      clearInterval(sweeper);
      origins.clear();
    },
  };
}

/** The headers as pairs, as `InvokeResult` wants them. */
export function headerPairs(headers: Answer['headers']): [string, string][] {
  const pairs: [string, string][] = [];
  for (const [name, value] of Object.entries(headers)) {
    if (typeof value === 'string') pairs.push([name, value]);
    else for (const one of value ?? []) pairs.push([name, one]);
  }
  return pairs;
}

/** @throws TypeError  what could not be sent as one request */
function headOf({ method, path, headers, body }: OutboundRequest, host: string): string {
  if (!HEADER_NAME.test(method) || !TARGET.test(path)) throw new TypeError('no request line');
  const pairs = flatOf(headers);
  let hasHost = false;
  for (let i = 0; i < pairs.length; i += 2) {
    const name = pairs[i]?.toLowerCase() ?? '';
    if (FRAMING.has(name)) throw new TypeError(`not the caller's to say: ${name}`);
    hasHost ||= name === 'host';
  }
  let head = `${method} ${path} HTTP/1.1\r\n${headerText(pairs)}`;
  if (!hasHost) head += `host: ${host}\r\n`;
  if (body.length > 0 || (method !== 'GET' && method !== 'HEAD')) {
    head += `content-length: ${body.length}\r\n`;
  }
  return `${head}\r\n`;
}

/** Each name followed by its value. */
function flatOf(headers: OutboundRequest['headers']): readonly string[] {
  if (isFlat(headers)) return headers;
  return Object.entries(headers).flatMap(([name, values]) =>
    typeof values === 'string' ? [name, values] : values.flatMap((value) => [name, value]),
  );
}

function isFlat(headers: OutboundRequest['headers']): headers is readonly string[] {
  return Array.isArray(headers);
}

interface ExchangeOptions {
  readonly request: OutboundRequest;
  readonly head: string;
  readonly maxResponseBytes: number;
  readonly signal: AbortSignal;
  /** Its signal is of no interest any more. */
  readonly onEnd: (signal: AbortSignal, exchange: Exchange) => void;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: SendError) => void;
}

/** Where a request is: at its origin, waiting for a connection, or on one. */
interface Place {
  /** It has been given up: it waits no more, or the connection that it is on is broken. */
  drop(exchange: Exchange): void;
}

/** One request and what becomes of it. */
class Exchange {
  readonly reader: AnswerReader;
  place: Place | undefined;
  readonly #options: ExchangeOptions;
  #beganAtMs: number | undefined;
  /** Of a large request: when its last byte was given to the kernel. */
  #writtenAtMs: number | undefined;

  constructor(options: ExchangeOptions) {
    this.#options = options;
    this.reader = new AnswerReader(options.request.method, options.maxResponseBytes);
  }

  /** Puts it on a socket. */
  begin(socket: Socket): void {
    const { head, request } = this.#options;
    this.#beganAtMs = performance.now();
    const isLarge = request.body.length > WRITTEN_AT_ONCE_BYTES;
    for (const piece of piecesOf(head, request.body)) {
      if (isLarge && piece === request.body) socket.write(piece, () => this.#written());
      else socket.write(piece);
    }
  }

  /** The answer is whole. */
  answer(): void {
    const { signal, onEnd, resolve } = this.#options;
    onEnd(signal, this);
    const { status, headers, body } = this.reader;
    const measuredMs = this.#measuredMs();
    giveAnswer({ resolve, answer: { status, headers, body, measuredMs } });
  }

  #written(): void {
    this.#writtenAtMs = performance.now();
  }

  #measuredMs(): number {
    const nowMs = performance.now();
    const beganAtMs = this.#beganAtMs ?? nowMs;
    const bytes = this.#options.request.body.length;
    if (bytes <= WRITTEN_AT_ONCE_BYTES) return nowMs - beganAtMs;
    return nowMs - Math.min(this.#writtenAtMs ?? nowMs, beganAtMs + bytes / LEAST_BYTES_PER_MS);
  }

  fail(reason: SendError['reason'], cause: unknown): void {
    const { signal, onEnd, reject } = this.#options;
    onEnd(signal, this);
    reject(new SendError(reason, this.#beganAtMs !== undefined, cause));
  }

  /** Its signal says so. */
  abort(): void {
    this.fail('aborted', this.#options.signal.reason);
    this.place?.drop(this);
  }
}

/** Whoever waits goes on with all that this turn of the event loop has brought. */
const giveAnswer = batchPerTurn(
  ({ resolve, answer }: Pick<ExchangeOptions, 'resolve'> & { readonly answer: Answer }) =>
    resolve(answer),
);

/** The sockets to one origin, and the requests that wait for one. */
class Origin implements Place {
  readonly host: string;
  readonly #hostname: string;
  readonly #port: number;
  readonly #isTls: boolean;
  readonly #options: SenderOptions;
  /** Has `pump` called when what this turn of the event loop brings has been read. */
  readonly #onAsked: (origin: Origin) => void;
  #isAsked = false;
  readonly #lines = new Set<Line>();
  /** The last one was used last. */
  #idle: Line[] = [];
  /** Sockets that are being opened. */
  #opening = 0;
  readonly #waiting: Exchange[] = [];
  /** The newest TLS session, so that the next handshake is a short one. */
  #session: Buffer | undefined;
  #onEmpty: (() => void) | undefined;

  constructor(name: string, options: SenderOptions, onAsked: (origin: Origin) => void) {
    const { protocol, host, hostname, port } = new URL(name);
    if (protocol !== 'http:' && protocol !== 'https:') throw new TypeError(`no origin: ${name}`);
    this.host = host;
    this.#isTls = protocol === 'https:';
    this.#hostname = hostname.replace(/^\[|\]$/g, '');
    this.#port = Number(port || (this.#isTls ? 443 : 80));
    this.#options = options;
    this.#onAsked = onAsked;
  }

  add(exchange: Exchange): void {
    exchange.place = this;
    this.#waiting.push(exchange);
    this.#ask();
  }

  drop(exchange: Exchange): void {
    this.#waiting.splice(this.#waiting.indexOf(exchange), 1);
    this.#tellEmpty();
  }

  /** Gives each request that waits a socket, or opens one for it. */
  pump(): void {
    this.#isAsked = false;
    for (;;) {
      const line = this.#waiting.length > 0 ? this.#takeIdle() : undefined;
      const exchange = line && this.#waiting.shift();
      if (exchange === undefined) break;
      line?.begin(exchange);
    }
    const { connections = 256 } = this.#options;
    while (this.#opening < this.#waiting.length && this.#lines.size < connections) this.#open();
  }

  /** Closes what has been idle for too long. */
  sweep(): void {
    const nowMs = performance.now();
    const old = this.#idle.filter((line) => line.idleUntilMs <= nowMs);
    for (const { socket } of old) socket.destroy();
  }

  /** Resolves when no request waits or is on its way. */
  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#onEmpty = resolve;
      this.#tellEmpty();
    });
    for (const { socket } of this.#lines) socket.destroy();
  }

  /** Requests have come, or sockets have become free. */
  #ask(): void {
    if (this.#isAsked) return;
    this.#isAsked = true;
    this.#onAsked(this);
  }

  #tellEmpty(): void {
    if (this.#onEmpty === undefined || this.#waiting.length > 0) return;
    if (![...this.#lines].some((line) => line.isBusy)) this.#onEmpty();
  }

  #takeIdle(): Line | undefined {
    const nowMs = performance.now();
    for (;;) {
      const line = this.#idle.pop();
      if (line === undefined || (line.idleUntilMs > nowMs && line.isUsable)) return line;
      line.socket.destroy();
    }
  }

  #open(): void {
    let isOpen = false;
    const { keepAliveMs = 4000 } = this.#options;
    const line = new Line((onread) => this.#connect(onread), {
      keepAliveMs,
      onFree: () => {
        this.#idle.push(line);
        this.#ask();
        this.#tellEmpty();
      },
    });
    const { socket } = line;
    const tooSlow = setTimeout(
      () => socket.destroy(new Error(`no connection within ${CONNECT_MS} ms`)),
      CONNECT_MS,
    );
    this.#opening += 1;
    this.#lines.add(line);
    socket.once(this.#isTls ? 'secureConnect' : 'connect', () => {
      clearTimeout(tooSlow);
      // As in `pump`: it may have ended in the same moment, and then this was no connection.
      setImmediate(() => {
        if (socket.destroyed) return;
        isOpen = true;
        this.#opening -= 1;
        const exchange = this.#waiting.shift();
        if (exchange) line.begin(exchange);
        else line.rest(keepAliveMs);
      });
    });
    socket.on('session', (session: Buffer) => {
      this.#session = session;
    });
    socket.once('close', () => {
      clearTimeout(tooSlow);
      this.#lines.delete(line);
      this.#idle = this.#idle.filter((one) => one !== line);
      if (!isOpen) {
        this.#opening -= 1;
        this.#session = undefined;
        // It was opened for one of them.
        this.#waiting.shift()?.fail('connection', line.error);
      }
      this.#ask();
      this.#tellEmpty();
    });
  }

  #connect(onread: OnReadOpts): Socket {
    const where = { host: this.#hostname, port: this.#port, noDelay: true, onread };
    if (!this.#isTls) return connectTcp(where);
    const { ca } = this.#options;
    return connectTls({
      ...where,
      ALPNProtocols: ['http/1.1'],
      // RFC 6066 section 3: an address is no server name.
      ...(isIP(this.#hostname) === 0 && { servername: this.#hostname }),
      ...(ca !== undefined && { ca }),
      ...(this.#session && { session: this.#session }),
    });
  }
}

interface LineOptions {
  readonly keepAliveMs: number;
  /** It can take a request. */
  readonly onFree: () => void;
}

/** One connection, with at most one request on its way. */
class Line implements Place {
  readonly socket: Socket;
  /** What has broken it. */
  error: Error | undefined;
  idleUntilMs = 0;
  readonly #options: LineOptions;
  #exchange: Exchange | undefined;

  constructor(connect: (onread: OnReadOpts) => Socket, options: LineOptions) {
    this.#options = options;
    this.socket = connect({ buffer: READ_BUFFER, callback: (bytes) => this.#read(bytes) });
    this.socket.on('error', (error) => {
      this.error = error;
      // Node tells a fault of TLS and leaves the socket open.
      this.socket.destroy();
    });
    this.socket.once('end', () => {
      const exchange = this.#exchange;
      if (exchange?.reader.end()) {
        this.#exchange = undefined;
        exchange.answer();
      }
      // Nothing comes any more, though the other side might go on taking, or not taking, what is still to go out.
      this.socket.destroy();
    });
    this.socket.once('close', () => {
      this.#exchange?.fail('connection', this.error ?? new Error('closed before its answer'));
      this.#exchange = undefined;
    });
  }

  get isBusy(): boolean {
    return this.#exchange !== undefined;
  }

  /** Nobody has ended it, as far as is known, and nothing of an earlier request would go out before the next one. */
  get isUsable(): boolean {
    return this.socket.writable && this.socket.writableLength === 0;
  }

  begin(exchange: Exchange): void {
    exchange.place = this;
    this.#exchange = exchange;
    exchange.begin(this.socket);
  }

  drop(): void {
    this.#exchange = undefined;
    this.socket.destroy();
  }

  rest(keepAliveMs: number): void {
    this.idleUntilMs = performance.now() + keepAliveMs;
    this.#options.onFree();
  }

  /** Whether to go on reading. */
  #read(bytes: number): boolean {
    const exchange = this.#exchange;
    if (exchange === undefined) {
      // Nobody has asked.
      this.socket.destroy();
      return false;
    }
    try {
      if (!exchange.reader.read(READ_BUFFER.subarray(0, bytes))) return true;
    } catch (error) {
      this.#exchange = undefined;
      this.socket.destroy();
      const isTooLarge = error instanceof AnswerError && error.isTooLarge;
      exchange.fail(isTooLarge ? 'too-large' : 'connection', error);
      return false;
    }
    this.#exchange = undefined;
    exchange.answer();
    const keepAliveMs = Math.min(this.#options.keepAliveMs, hintMs(exchange.reader.headers));
    if (exchange.reader.isLast) this.socket.destroy();
    else this.rest(keepAliveMs);
    return true;
  }
}

/** A second less than the other side says that it keeps the connection (`Keep-Alive: timeout=5`, seconds). */
function hintMs({ 'keep-alive': hint }: AnswerHeaders): number {
  const [, seconds] = /(?:^|[ ,])timeout=(\d{1,6})/.exec(String(hint ?? '')) ?? [];
  return seconds === undefined ? Number.POSITIVE_INFINITY : (Number(seconds) - 1) * 1000;
}
