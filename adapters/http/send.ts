// Sends one HTTP/1.1 request by undici, without retries or redirects. An error says whether the
// request had begun to go out; adapters derive `ran` from that.
import { Readable } from 'node:stream';
import type { Dispatcher } from 'undici';
import { AnswerBody, AnswerError, type AnswerHeaders } from './answer.ts';
import { type ConnectionOptions, createDispatchers } from './dispatchers.ts';

export interface OutboundRequest {
  /** `http://host:port` or `https://host`, without a path. */
  readonly origin: string;
  /** Path and query, percent-encoded. */
  readonly path: string;
  readonly method: string;
  /** By name, or each name followed by its value. */
  readonly headers: Readonly<Record<string, string | string[]>> | readonly string[];
  readonly body: Uint8Array;
}

export interface UpstreamResponse {
  readonly status: number;
  readonly headers: AnswerHeaders;
  readonly body: Buffer;
  /**
   * From the request written to the answer's last byte. A large request that goes out at less than
   * 100 Mbit/s is measured as if it had gone out at that: the other side may hold a request back
   * while it works on it.
   */
  readonly measuredMs: number;
}

/**
 * There is no answer. `began`: a socket had the request, so the other side may have received it.
 */
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
  ): Promise<UpstreamResponse>;
  /** Ends the idle sockets and waits for the calls in flight. */
  close(): Promise<void>;
}

/** A body up to this size counts as written once it is put on the socket, bytes. */
const WRITTEN_AT_ONCE_BYTES = 64 * 1024;
/** Lowest rate assumed for the transfer of large bodies: 100 Mbit/s. */
export const LEAST_BYTES_PER_MS = 12_500;
/** Printable ASCII that begins with `/`. undici would also accept URLs and bytes above 0x7f. */
const TARGET = /^\/[!-~]*$/;

/** One abort listener per signal: many calls share a signal. */
class Watch {
  readonly exchanges = new Set<Exchange>();

  /** Called when the signal aborts. */
  handleEvent(): void {
    for (const exchange of this.exchanges) exchange.abort();
  }
}

export function createSender(options: ConnectionOptions = {}): Sender {
  const dispatchers = createDispatchers(options);
  const watches = new Map<AbortSignal, Watch>();
  let closing: Promise<void> | undefined;

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

  return {
    send: (request, { signal, maxResponseBytes }) =>
      new Promise((resolve, reject) => {
        const refuse = (reason: SendError['reason'], cause: unknown): void =>
          reject(new SendError(reason, false, cause));
        if (signal.aborted) return refuse('aborted', signal.reason);
        if (closing) return refuse('connection', new Error('the sender is closed'));
        let dispatcher: Dispatcher;
        let asked: Dispatcher.DispatchOptions;
        try {
          asked = askedOf(request);
          dispatcher = dispatchers.of(request.origin);
        } catch (fault) {
          return refuse('connection', fault);
        }
        const exchange = new Exchange({
          request,
          maxResponseBytes,
          signal,
          onEnd: unwatch,
          resolve,
          reject,
        });
        watch(signal, exchange);
        dispatcher.dispatch(asked, exchange);
      }),
    async close() {
      closing ??= dispatchers.close();
      await closing;
    },
  };
}

/** The headers as pairs, as `InvokeResult` wants them. */
export function headerPairs(headers: UpstreamResponse['headers']): [string, string][] {
  const pairs: [string, string][] = [];
  for (const [name, value] of Object.entries(headers)) {
    if (typeof value === 'string') pairs.push([name, value]);
    else for (const one of value ?? []) pairs.push([name, one]);
  }
  return pairs;
}

/**
 * Options for undici. It checks method and headers itself.
 * @throws TypeError  the path is malformed, or the headers set the framing
 */
function askedOf({
  origin,
  method,
  path,
  headers,
  body,
}: OutboundRequest): Dispatcher.DispatchOptions {
  if (!TARGET.test(path)) throw new TypeError('no path');
  const byName = byNameOf(headers);
  for (const name in byName) {
    if (name.length === 14 && name.toLowerCase() === 'content-length') {
      throw new TypeError("framing headers are not the caller's to set: content-length");
    }
  }
  if (body.length <= WRITTEN_AT_ONCE_BYTES) return { origin, path, method, headers: byName, body };
  // Pass a large body as a stream, so that undici reports when its last byte has gone to the
  // kernel.
  byName['content-length'] = `${body.length}`;
  return { origin, path, method, headers: byName, body: Readable.from(piecesOf(body)) };
}

/** Group repeated names: in a flat list, a proxy agent keeps only the last value of a name. */
function byNameOf(headers: OutboundRequest['headers']): Record<string, string | string[]> {
  if (!isFlat(headers)) return { ...headers };
  // No prototype: a header may be called `constructor`.
  const byName: Record<string, string | string[]> = Object.create(null);
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i] ?? '';
    const value = headers[i + 1] ?? '';
    const known = byName[name];
    byName[name] = known === undefined ? value : [known, value].flat();
  }
  return byName;
}

function isFlat(headers: OutboundRequest['headers']): headers is readonly string[] {
  return Array.isArray(headers);
}

function* piecesOf(body: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < body.length; at += WRITTEN_AT_ONCE_BYTES) {
    yield body.subarray(at, at + WRITTEN_AT_ONCE_BYTES);
  }
}

interface ExchangeOptions {
  readonly request: OutboundRequest;
  readonly maxResponseBytes: number;
  readonly signal: AbortSignal;
  /** Called once, when the exchange no longer needs the signal. */
  readonly onEnd: (signal: AbortSignal, exchange: Exchange) => void;
  readonly resolve: (answer: UpstreamResponse) => void;
  readonly reject: (error: SendError) => void;
}

/** One request from the queue to its answer or error. */
class Exchange implements Dispatcher.DispatchHandler {
  readonly #options: ExchangeOptions;
  /** Undefined until the request is put on a socket. */
  #controller: Dispatcher.DispatchController | undefined;
  #isSettled = false;
  #beganAtMs = 0;
  #writtenAtMs: number | undefined;
  #status = 0;
  #headers: AnswerHeaders = {};
  #body: AnswerBody | undefined;

  constructor(options: ExchangeOptions) {
    this.#options = options;
  }

  /**
   * undici calls it right before it writes. Throwing drops the request from the queue and keeps the
   * connection for the next one.
   */
  onRequestStart(controller: Dispatcher.DispatchController): void {
    if (this.#isSettled) throw new Error('given up while it waited');
    if (this.#controller !== undefined) throw new Error('an attempt is sent once');
    this.#controller = controller;
    this.#beganAtMs = performance.now();
  }

  onRequestSent(): void {
    this.#writtenAtMs = performance.now();
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: AnswerHeaders,
  ): void {
    // 1xx are heads before the answer (RFC 9110 section 15.2).
    if (status === 101) throw new AnswerError('a switch of protocols that nobody asked for');
    if (status < 200) return;
    const { request, maxResponseBytes } = this.#options;
    this.#status = status;
    this.#headers = headers;
    this.#body = new AnswerBody(request.method, status, headers, maxResponseBytes);
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#body?.add(chunk);
  }

  onResponseEnd(): void {
    const body = this.#body?.bytes;
    if (body === undefined || !this.#settle()) return;
    const measuredMs = this.#measuredMs();
    const answer = { status: this.#status, headers: this.#headers, body, measuredMs };
    // Resolve after undici has freed the connection, so that the caller's next call can reuse it.
    queueMicrotask(() => setImmediate(this.#options.resolve, answer));
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    const isTooLarge = error instanceof AnswerError && error.isTooLarge;
    this.#fail(isTooLarge ? 'too-large' : 'connection', error);
  }

  /** Called when the signal aborts. */
  abort(): void {
    const { reason } = this.#options.signal;
    this.#fail('aborted', reason);
    this.#controller?.abort(reason);
  }

  #fail(reason: SendError['reason'], cause: unknown): void {
    if (!this.#settle()) return;
    this.#options.reject(new SendError(reason, this.#controller !== undefined, cause));
  }

  /** @returns false if it was settled before */
  #settle(): boolean {
    if (this.#isSettled) return false;
    this.#isSettled = true;
    this.#options.onEnd(this.#options.signal, this);
    return true;
  }

  #measuredMs(): number {
    const nowMs = performance.now();
    const bytes = this.#options.request.body.length;
    if (bytes <= WRITTEN_AT_ONCE_BYTES) return nowMs - this.#beganAtMs;
    const writtenAtMs = this.#writtenAtMs ?? nowMs;
    return nowMs - Math.min(writtenAtMs, this.#beganAtMs + bytes / LEAST_BYTES_PER_MS);
  }
}
