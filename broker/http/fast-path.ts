// Fast path for plain calls, straight from the socket: one whole request in one chunk, in a form
// that can be parsed in one way only. For everything else, even a head in two chunks, the
// connection passes to Node's HTTP server for good. Nearly all calls are plain, and Node's parser,
// streams and messages take a fifth of the CPU of a call (bench http, one run: 395 -> 305 us).
// Cache the last parsed request head per connection; clients usually resend the same bytes except
// for the call's nonce. It costs memory while a connection is idle: it holds short heads of
// successful calls only.
import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { HEADER_LINES, headersIn, headerText, piecesOf } from '../../adapters/http/message.ts';
import { batchPerTurn } from './batch-per-turn.ts';
import {
  BODYLESS,
  type IncomingCall,
  NONCE_HEADER,
  RESET_CONTENT,
  type RequestHead,
} from './incoming-call.ts';
import { HOST } from './request-faults.ts';
import type { SlowClients } from './slow-clients.ts';

const HEAD_END = Buffer.from('\r\n\r\n');
/** Half of Node's own limit for a head. */
const MAX_HEAD_BYTES = 8 * 1024;
/**
 * Longest head that is cached, and most headers in it: a call with an access token has about 1.4
 * KiB and a dozen. With its interpretation it takes about 10 KiB.
 */
const MAX_KNOWN_HEAD_BYTES = 2048;
const MAX_KNOWN_HEADERS = 32;
/** Most heads cached, of all connections. */
const MAX_KNOWN_HEADS = 4096;
/** RFC 9112 sections 2 to 5, without anything ambiguous. */
const PLAIN_HEAD = new RegExp(
  `^(?:GET|POST|PUT|PATCH|DELETE) /functions/[!-~]+ HTTP/1\\.1${HEADER_LINES}$`,
);
const PLAIN_LENGTH = /^\d{1,9}$/;
/**
 * The line of a call's nonce as our client writes it, and the length of the nonce in characters.
 */
const NONCE_LINE = Buffer.from(`\r\n${NONCE_HEADER}: 0x`);
const NONCE_CHARACTERS = 66;
const DIGIT_0 = 0x30;
const DIGIT_9 = 0x39;
const DIGIT_A = 0x61;
const DIGIT_F = 0x66;
/**
 * Headers that change how the rest is parsed or what happens to the connection, and `set-cookie`,
 * which Node turns into a list.
 */
const NOT_PLAIN = new Set([
  'expect',
  'proxy-connection',
  'set-cookie',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);
/**
 * Keep an idle connection open for longer than the client was told, as Node's server does: a
 * request may be in transit.
 */
const KEEP_ALIVE_SLACK_MS = 1000;

export interface FastPath {
  /**
   * Serves the connection's requests until one is not plain. Then passes the connection to
   * `toNode`, with all unread bytes.
   */
  serve(socket: Socket, toNode: (socket: Socket) => void): void;
  /** Closes idle connections now and busy ones after their reply. Later connections go to Node. */
  end(): void;
  /** Closes the connections that wait for a further request. */
  closeIdle(): void;
  /** Closes all connections at once, busy ones too. */
  destroy(): void;
}

interface FastPathOptions<Asked> {
  /** Interprets a head; undefined if the request is not for a function. */
  readonly read: (head: RequestHead) => Asked | undefined;
  readonly take: (asked: Asked, call: IncomingCall) => void;
  readonly slowClients: SlowClients;
  /** Maximum size of a body, bytes. */
  readonly maxBytes: number;
  /** A connection's first request must arrive within this, ms. */
  readonly firstRequestMs: number;
  /** Keep-alive time announced to the client, ms. */
  readonly keepAliveMs: number;
}

export function createFastPath<Asked>(options: FastPathOptions<Asked>): FastPath {
  const connections = new Set<Connection<Asked>>();
  const begin = batchPerTurn(({ asked, call }: Begun<Asked>) => options.take(asked, call));
  const known: KnownHeads = { count: 0 };
  let isEnding = false;
  return {
    serve: (socket, toNode) => {
      if (isEnding) return toNode(socket);
      const onLeave = (isGone: boolean): void => {
        connections.delete(connection);
        if (!isGone) toNode(socket);
      };
      const connection = new Connection(socket, { ...options, known, begin, onLeave });
      connections.add(connection);
    },
    end: () => {
      isEnding = true;
      for (const connection of connections) connection.end();
    },
    closeIdle: () => {
      for (const connection of connections) connection.closeIdle();
    },
    destroy: () => {
      for (const connection of connections) connection.destroy();
    },
  };
}

/** A request head and its interpretation. */
interface KnownHead<Asked> {
  /** Includes the empty line. */
  readonly bytes: Buffer;
  /** Offset of the nonce, which differs in each call; -1 if there is none. */
  readonly nonceAt: number;
  readonly bodyBytes: number;
  readonly headerCount: number;
  readonly asked: Asked;
}

/** The number of cached heads. */
interface KnownHeads {
  count: number;
}

interface Begun<Asked> {
  readonly asked: Asked;
  readonly call: IncomingCall;
}

interface ConnectionOptions<Asked> extends Omit<FastPathOptions<Asked>, 'take'> {
  /** Starts the call at the end of this turn of the event loop. */
  readonly begin: (begun: Begun<Asked>) => void;
  readonly known: KnownHeads;
  readonly onLeave: (isGone: boolean) => void;
}

class Connection<Asked> {
  readonly #socket: Socket;
  readonly #options: ConnectionOptions<Asked>;
  #state: 'idle' | 'running' | 'sending' = 'idle';
  /** No further call is accepted after the running one. */
  #isEnding = false;
  #isServed = false;
  /** Bytes that arrived during a call. They go to Node when the call has ended. */
  #rest: Buffer | undefined;
  /** The head of the running call, unless it is the cached one. Its bytes are the chunk's. */
  #newHead: KnownHead<Asked> | undefined;
  #lastHead: KnownHead<Asked> | undefined;

  constructor(socket: Socket, options: ConnectionOptions<Asked>) {
    this.#socket = socket;
    this.#options = options;
    socket.setTimeout(options.firstRequestMs);
    socket.on('data', this.#onData);
    socket.on('timeout', this.#onTimeout);
    socket.on('end', this.#onEnd);
    socket.on('error', ignore);
    socket.on('close', this.#onClose);
  }

  get isGone(): boolean {
    return this.#socket.destroyed;
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** Its first request may be on the way: it stays. */
  closeIdle(): void {
    if (this.#state === 'idle' && this.#isServed) this.destroy();
  }

  end(): void {
    this.#isEnding = true;
    // Not `destroySoon`: before it finishes, another call could arrive, run and be charged, and get
    // no answer.
    if (this.#state === 'idle') this.destroy();
  }

  /** All replies of one turn of the event loop are written together. */
  reply(status: number, head: string, body: Uint8Array): void {
    if (this.#newHead !== undefined) this.#learn(status, this.#newHead);
    const last = this.#isEnding ? 'connection: close' : this.#keepAlive();
    const text = `${head}date: ${httpDate()}\r\n${last}\r\n\r\n`;
    writeReply({ connection: this, pieces: piecesOf(text, body) });
  }

  write(pieces: readonly Uint8Array[]): void {
    const socket = this.#socket;
    for (const piece of pieces) socket.write(piece);
    if (socket.writableLength === 0) {
      this.#next();
      return;
    }
    this.#state = 'sending';
    this.#options.slowClients.awaitSent(socket, () => this.#next());
  }

  /** The reply is sent: become idle, close, or pass the connection to Node. */
  #next(): void {
    const socket = this.#socket;
    const keptMs = this.#options.keepAliveMs + KEEP_ALIVE_SLACK_MS;
    this.#state = 'idle';
    this.#isServed = true;
    if (this.#isEnding) socket.destroy();
    else if (this.#rest !== undefined) this.#leave(this.#rest);
    else if (socket.timeout !== keptMs) socket.setTimeout(keptMs);
  }

  /** Caches the head of a call that succeeded, instead of the one before. */
  #learn(status: number, head: KnownHead<Asked>): void {
    this.#newHead = undefined;
    if (status >= 400 || head.headerCount > MAX_KNOWN_HEADERS) return;
    if (head.bytes.length > MAX_KNOWN_HEAD_BYTES || this.isGone) return;
    const { known } = this.#options;
    if (this.#lastHead === undefined) {
      if (known.count >= MAX_KNOWN_HEADS) return;
      known.count += 1;
    }
    // Copy the head: the chunk also holds the body.
    this.#lastHead = { ...head, bytes: Buffer.from(head.bytes) };
  }

  #forget(): void {
    if (this.#lastHead !== undefined) this.#options.known.count -= 1;
    this.#lastHead = undefined;
  }

  #keepAlive(): string {
    return `connection: keep-alive\r\nkeep-alive: timeout=${Math.floor(this.#options.keepAliveMs / 1000)}`;
  }

  readonly #onData = (chunk: Buffer): void => {
    if (this.#state !== 'idle') {
      this.#rest = chunk;
      // Later bytes wait in the socket, which makes the client wait.
      this.#socket.pause();
      return;
    }
    const head = this.#readHead(chunk);
    if (head === undefined || chunk.length !== head.bytes.length + head.bodyBytes) {
      this.#leave(chunk);
      return;
    }
    this.#state = 'running';
    const body = chunk.subarray(head.bytes.length);
    const { nonceAt, asked } = head;
    const nonce =
      nonceAt < 0 ? undefined : chunk.toString('latin1', nonceAt, nonceAt + NONCE_CHARACTERS);
    this.#options.begin({ asked, call: new PlainCall(body, nonce, this) });
  };

  #readHead(chunk: Buffer): KnownHead<Asked> | undefined {
    const last = this.#lastHead;
    if (last !== undefined && startsWith(chunk, last)) return last;
    const { maxBytes, read } = this.#options;
    const plain = readPlain(chunk, maxBytes, this.#socket);
    if (plain === undefined) return undefined;
    const asked = read(plain);
    if (asked === undefined) return undefined;
    const { headBytes, bodyBytes } = plain;
    const bytes = chunk.subarray(0, headBytes);
    const headerCount = plain.rawHeaders.length / 2;
    this.#newHead = { bytes, nonceAt: nonceIn(bytes), bodyBytes, headerCount, asked };
    return this.#newHead;
  }

  #leave(rest: Buffer): void {
    const socket = this.#socket;
    if (socket.destroyed) return;
    this.#forget();
    socket.off('data', this.#onData);
    socket.off('timeout', this.#onTimeout);
    socket.off('end', this.#onEnd);
    socket.off('error', ignore);
    socket.off('close', this.#onClose);
    socket.setTimeout(0);
    socket.pause();
    socket.unshift(rest);
    this.#options.onLeave(false);
    socket.resume();
  }

  readonly #onTimeout = (): void => {
    if (this.#state !== 'running') this.#socket.destroy();
  };

  /** The client has finished sending; it may still read the reply. */
  readonly #onEnd = (): void => this.end();

  readonly #onClose = (): void => {
    this.#forget();
    this.#options.onLeave(true);
  };
}

class PlainCall<Asked> implements IncomingCall {
  readonly nonce: string | undefined;
  readonly #body: Uint8Array;
  readonly #connection: Connection<Asked>;

  constructor(body: Uint8Array, nonce: string | undefined, connection: Connection<Asked>) {
    this.nonce = nonce;
    this.#body = body;
    this.#connection = connection;
  }

  get isGone(): boolean {
    return this.#connection.isGone;
  }

  body(): Uint8Array {
    return this.#body;
  }

  reply(status: number, headers: readonly string[], body: Uint8Array): void {
    const head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${headerText(headers)}`;
    if (BODYLESS.has(status)) {
      this.#connection.reply(status, head, NO_BODY);
      return;
    }
    const sent = status === RESET_CONTENT ? NO_BODY : body;
    this.#connection.reply(status, `${head}content-length: ${sent.length}\r\n`, sent);
  }

  destroy(): void {
    this.#connection.destroy();
  }
}

const NO_BODY = new Uint8Array();

interface PlainHead extends RequestHead {
  /** Includes the empty line. */
  readonly headBytes: number;
  readonly bodyBytes: number;
}

/** Whether `chunk` begins with this head, ignoring the nonce. */
function startsWith(
  chunk: Buffer,
  { bytes, nonceAt }: Pick<KnownHead<unknown>, 'bytes' | 'nonceAt'>,
): boolean {
  const { length } = bytes;
  if (chunk.length < length) return false;
  if (nonceAt < 0) return chunk.compare(bytes, 0, length, 0, length) === 0;
  const nonceEnd = nonceAt + NONCE_CHARACTERS;
  return (
    chunk.compare(bytes, 0, nonceAt, 0, nonceAt) === 0 &&
    chunk.compare(bytes, nonceEnd, length, nonceEnd, length) === 0 &&
    isHex(chunk, nonceAt + 2, nonceEnd) &&
    chunk[nonceAt] === bytes[nonceAt] &&
    chunk[nonceAt + 1] === bytes[nonceAt + 1]
  );
}

/** Offset of the nonce in a head that has one in our client's form; -1 otherwise. */
function nonceIn(head: Buffer): number {
  const at = head.indexOf(NONCE_LINE);
  if (at < 0) return -1;
  const nonceAt = at + NONCE_LINE.length - 2;
  const nonceEnd = nonceAt + NONCE_CHARACTERS;
  const isWhole = isHex(head, nonceAt + 2, nonceEnd) && head[nonceEnd] === HEAD_END[0];
  return isWhole ? nonceAt : -1;
}

function isHex(bytes: Buffer, from: number, to: number): boolean {
  for (let at = from; at < to; at += 1) {
    const byte = bytes[at] ?? 0;
    const isDigit = (byte >= DIGIT_0 && byte <= DIGIT_9) || (byte >= DIGIT_A && byte <= DIGIT_F);
    if (!isDigit) return false;
  }
  return true;
}

/** Parses the head at the start of `chunk`, if it is complete and plain. */
function readPlain(chunk: Buffer, maxBytes: number, socket: Socket): PlainHead | undefined {
  const headEnd = chunk.indexOf(HEAD_END);
  if (headEnd < 0 || headEnd > MAX_HEAD_BYTES) return undefined;
  const text = chunk.toString('latin1', 0, headEnd);
  if (!PLAIN_HEAD.test(text)) return undefined;
  // No prototype: a header may have the name of a property of Object.
  const headers: Record<string, string> = Object.create(null);
  const lineEnd = text.indexOf('\r\n');
  const rawHeaders = headersIn(text, lineEnd);
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] ?? '';
    // Repeated header: its meaning depends on the name, so leave it to Node.
    if (headers[name] !== undefined || NOT_PLAIN.has(name)) return undefined;
    headers[name] = rawHeaders[i + 1] ?? '';
  }
  const { host, connection, 'content-length': length = '0' } = headers;
  if (host === undefined || !HOST.test(host) || !PLAIN_LENGTH.test(length)) return undefined;
  if (connection !== undefined && connection.toLowerCase() !== 'keep-alive') return undefined;
  const bodyBytes = Number(length);
  if (bodyBytes > maxBytes) return undefined;
  const methodEnd = text.indexOf(' ');
  return {
    method: text.slice(0, methodEnd),
    url: text.slice(methodEnd + 1, lineEnd - ' HTTP/1.1'.length),
    headers,
    rawHeaders,
    socket,
    headBytes: headEnd + HEAD_END.length,
    bodyBytes,
  };
}

let dateText = '';
let dateSec = 0;

/** The current time as an HTTP date (RFC 9110 section 5.6.7), formatted once a second. */
function httpDate(): string {
  const nowSec = Math.floor(Date.now() / 1000);
  if (nowSec !== dateSec) {
    dateSec = nowSec;
    dateText = new Date(nowSec * 1000).toUTCString();
  }
  return dateText;
}

/** A target of queued replies. */
interface Writer {
  write(pieces: readonly Uint8Array[]): void;
}

interface Outgoing {
  readonly connection: Writer;
  readonly pieces: readonly Uint8Array[];
}

const writeReply = batchPerTurn(({ connection, pieces }: Outgoing) => connection.write(pieces));

/** Ignore errors: an error closes the connection, and `close` is handled. */
function ignore(): void {}
