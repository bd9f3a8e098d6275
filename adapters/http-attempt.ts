// One HTTP request on a pooled, kept-alive connection: the last step of `invoke` on every cloud.
// Never a retry, never a redirect; whether the request was put on a socket decides `ran`.

import { Pool } from 'undici';

export interface HttpRequest {
  readonly method: string;
  /** Path and query, beginning with `/`. */
  readonly path: string;
  /** Flat list name, value, name, value; latin1, repeated names allowed. */
  readonly headers: string[];
  readonly body?: Uint8Array;
}

export interface HttpAnswer {
  readonly status: number;
  /** Lower-case names; a repeated name has one entry per value. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Uint8Array;
  /** First byte out to last byte in. */
  readonly measuredMs: number;
}

export interface HttpPoolsOptions {
  /** Most sockets per origin; further requests wait for one. */
  readonly connections?: number;
  /** Idle sockets are closed after this time; keep it below the cloud's own. */
  readonly keepAliveMs?: number;
  readonly connectTimeoutMs?: number;
  /** PEM of a certificate authority to trust in place of the system's. */
  readonly ca?: string;
  /** Monotonic clock in milliseconds. */
  readonly nowMs?: () => number;
}

export interface AttemptOptions {
  readonly signal: AbortSignal;
  /** An answer with a longer body ends the attempt as `too-large`. */
  readonly maxResponseBytes: number;
}

export interface HttpPools {
  /** @throws AttemptError  the answer did not come whole */
  attempt(origin: string, request: HttpRequest, options: AttemptOptions): Promise<HttpAnswer>;
  /** Closes all sockets; running attempts fail with `connection`. */
  close(): Promise<void>;
}

/** Why an attempt has no answer. `ran: 'no'` is certain: no byte of the request was given to a socket. */
export class AttemptError extends Error {
  override readonly name = 'AttemptError';
  readonly kind: 'connection' | 'aborted' | 'too-large';
  readonly ran: 'no' | 'maybe';

  constructor(kind: AttemptError['kind'], ran: AttemptError['ran'], cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
    this.kind = kind;
    this.ran = ran;
  }
}

/** One pool per origin, made at its first attempt. */
export function createHttpPools(options: HttpPoolsOptions = {}): HttpPools {
  const pools = new Map<string, Pool>();
  const nowMs = options.nowMs ?? (() => performance.now());

  function poolOf(origin: string): Pool {
    const known = pools.get(origin);
    if (known) return known;
    const pool = new Pool(origin, {
      connections: options.connections ?? 256,
      pipelining: 1,
      allowH2: false,
      keepAliveTimeout: options.keepAliveMs ?? 4_000,
      // The signal is the only deadline.
      headersTimeout: 0,
      bodyTimeout: 0,
      connect: {
        timeout: options.connectTimeoutMs ?? 5_000,
        ...(options.ca === undefined ? {} : { ca: options.ca }),
      },
    });
    pools.set(origin, pool);
    return pool;
  }

  function attempt(
    origin: string,
    request: HttpRequest,
    { signal, maxResponseBytes }: AttemptOptions,
  ): Promise<HttpAnswer> {
    return new Promise((resolve, reject) => {
      let begun = false;
      let startedMs = 0;
      let status = 0;
      let headers: HttpAnswer['headers'] = [];
      let chunks: Buffer[] = [];
      let bytes = 0;
      let stop: ((reason: Error) => void) | undefined;

      const fail = (kind: AttemptError['kind'], cause: unknown) => {
        signal.removeEventListener('abort', onAbort);
        chunks = [];
        reject(new AttemptError(kind, begun ? 'maybe' : 'no', cause));
      };
      // A request that still waits for a socket is stopped in onRequestStart, before its first byte.
      const onAbort = () => {
        fail('aborted', signal.reason);
        stop?.(new Error('aborted'));
      };
      if (signal.aborted) {
        fail('aborted', signal.reason);
        return;
      }
      signal.addEventListener('abort', onAbort, { once: true });

      poolOf(origin).dispatch(
        {
          path: request.path,
          method: request.method,
          headers: request.headers,
          body: request.body && request.body.length > 0 ? request.body : null,
          idempotent: false,
        },
        {
          onRequestStart(controller) {
            if (signal.aborted) {
              controller.abort(new Error('aborted'));
              return;
            }
            stop = (reason) => controller.abort(reason);
            begun = true;
            startedMs = nowMs();
          },
          onResponseStart(_controller, statusCode, fields) {
            if (statusCode < 200) return;
            status = statusCode;
            headers = listHeaders(fields);
          },
          onResponseData(controller, chunk) {
            bytes += chunk.length;
            if (bytes > maxResponseBytes) {
              const reason = new Error(`answer is longer than ${maxResponseBytes} bytes`);
              fail('too-large', reason);
              controller.abort(reason);
              return;
            }
            chunks.push(chunk);
          },
          onResponseEnd() {
            signal.removeEventListener('abort', onAbort);
            const [first] = chunks;
            const body = chunks.length === 1 && first ? first : Buffer.concat(chunks, bytes);
            resolve({ status, headers, body, measuredMs: nowMs() - startedMs });
          },
          onResponseError(_controller, error) {
            fail('connection', error);
          },
        },
      );
    });
  }

  async function close(): Promise<void> {
    const all = [...pools.values()];
    pools.clear();
    await Promise.all(all.map((pool) => pool.destroy()));
  }

  return { attempt, close };
}

function listHeaders(
  fields: Readonly<Record<string, string | string[] | undefined>>,
): HttpAnswer['headers'] {
  const headers: [string, string][] = [];
  for (const name in fields) {
    const value = fields[name];
    if (typeof value === 'string') headers.push([name, value]);
    else if (value) for (const one of value) headers.push([name, one]);
  }
  return headers;
}
