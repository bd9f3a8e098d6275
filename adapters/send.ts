// The hot path's one HTTP attempt: no SDK, no retry, no redirect. Tells what no SDK tells: whether the request had begun
// to go out, which is what an adapter's `ran` rests on.

import { type Dispatcher, Pool } from 'undici';

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
  /** Lower-case names; a repeated header is a list. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
  /** From the first byte out to the last byte in. */
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

/** Most pools kept, one per origin; the least recently used one is closed beyond it. */
const MAX_ORIGINS = 1024;

export function createSender(
  options: {
    /** Most sockets per origin; further calls wait their turn. Default 256. */
    readonly connections?: number;
    /** How long an idle socket is kept, below what the cloud keeps it. Default 4000. */
    readonly keepAliveMs?: number;
    /** Certificate authority beside which no other is trusted, PEM. */
    readonly ca?: string;
  } = {},
): Sender {
  const pools = new Map<string, Pool>();

  function poolOf(origin: string): Pool {
    const known = pools.get(origin);
    if (known && pools.size === 1) return known;
    const pool = known ?? createPool(origin);
    // Set anew, so that the map's order is that of use.
    pools.delete(origin);
    pools.set(origin, pool);
    if (pools.size > MAX_ORIGINS) {
      const [oldest] = pools;
      pools.delete(oldest?.[0] ?? '');
      void oldest?.[1].close();
    }
    return pool;
  }

  function createPool(origin: string): Pool {
    return new Pool(origin, {
      connections: options.connections ?? 256,
      pipelining: 1,
      keepAliveTimeout: options.keepAliveMs ?? 4000,
      // The signal is the only deadline of a call.
      headersTimeout: 0,
      bodyTimeout: 0,
      allowH2: false,
      connect: { timeout: 10_000, ...(options.ca !== undefined && { ca: options.ca }) },
    });
  }

  return {
    send: (request, { signal, maxResponseBytes }) =>
      dispatch(poolOf(request.origin), request, signal, maxResponseBytes),
    async close() {
      await Promise.all([...pools.values()].map((pool) => pool.close()));
      pools.clear();
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

function dispatch(
  pool: Pool,
  request: OutboundRequest,
  signal: AbortSignal,
  maxResponseBytes: number,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    let controller: Dispatcher.DispatchController | undefined;
    let beganAtMs = 0;
    let status = 0;
    let headers: Answer['headers'] = {};
    const chunks: Buffer[] = [];
    let bytes = 0;

    const fail = (reason: SendError['reason'], cause?: unknown) => {
      signal.removeEventListener('abort', onAbort);
      const error = new SendError(reason, controller !== undefined, cause);
      reject(error);
      return error;
    };
    const onAbort = () => {
      const error = fail('aborted', signal.reason);
      controller?.abort(error);
    };
    if (signal.aborted) return void onAbort();
    signal.addEventListener('abort', onAbort, { once: true });

    pool.dispatch(
      {
        path: request.path,
        method: request.method,
        // undici takes the headers as they are and does not change them.
        headers: request.headers as Record<string, string | string[]> | string[],
        body: request.body,
        idempotent: false,
      },
      {
        onRequestStart(started) {
          // Aborted while it waited for a socket: it must not go out any more.
          if (signal.aborted) return started.abort(new SendError('aborted', false));
          controller = started;
          beganAtMs = performance.now();
        },
        onResponseStart(_, statusCode, responseHeaders) {
          if (statusCode < 200) return;
          status = statusCode;
          headers = responseHeaders;
        },
        onResponseData(current, chunk) {
          bytes += chunk.length;
          if (bytes > maxResponseBytes) return current.abort(fail('too-large'));
          chunks.push(chunk);
        },
        onResponseEnd() {
          signal.removeEventListener('abort', onAbort);
          const [first] = chunks;
          const body = first && chunks.length === 1 ? first : Buffer.concat(chunks, bytes);
          resolve({ status, headers, body, measuredMs: performance.now() - beganAtMs });
        },
        onResponseError(_, error) {
          fail('connection', error);
        },
      },
    );
  });
}
