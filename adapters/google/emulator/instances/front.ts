// The front of a function, at its address: checks the ID token, finds or starts an instance, ends a
// call at its timeout, and answers as Google's front does. The address stays when the function is
// deleted, and answers 404 then.

import { randomBytes, randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { ExecutionSums } from '../../../emulators/executions.ts';
import { type Fault, type Faults, sendAnswer, spoilBefore } from '../../../emulators/faults.ts';
import { openPort } from '../../../emulators/port.ts';
import { readBody } from '../../../emulators/request-body.ts';
import { createPool, type Lease, type Pool } from '../../../runtime/pool.ts';
import {
  type FunctionInstance,
  type InstanceParts,
  type Revision,
  startInstance,
} from './instance.ts';
import type { Issuer } from './issuer.ts';

export interface Front {
  readonly port: number;
  /** Origin of the function, `http://127.0.0.1:P`, and the audience of its ID tokens. */
  readonly uri: string;
  /**
   * New calls go to this revision, or to none. Resolves when the former revision has ended its
   * calls.
   */
  serve(revision: Revision | undefined): Promise<void>;
  refuse(isOut: boolean): Promise<void>;
  close(): Promise<void>;
}

export interface FrontParts extends InstanceParts {
  readonly issuer: Issuer;
  readonly faults: Faults;
  /** Sums of the time that requests spend in containers, ms. */
  readonly sums: ExecutionSums;
  /** Stops an instance that has had no call for this time. */
  readonly idleMs: number;
}

interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body: Uint8Array;
}

/** Largest request and answer, bytes (Cloud Run quotas, HTTP/1 without streaming). */
const MAX_BODY_BYTES = 32 * 1024 * 1024;

/** RFC 9110 section 7.6.1. */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/**
 * The ports of functions. They lie below the ports that the system gives to outgoing connections.
 */
const FIRST_PORT = 20_000;
const PORTS = 10_000;
const PORT_TRIES = 20;

/** Listens on the port of `address` if it is free, else on one that `seed` leads to. */
export async function openFront(
  service: string,
  address: { readonly port: number | undefined; readonly seed: number },
  parts: FrontParts,
): Promise<Front> {
  let current: { revision: Revision; pool: Pool<FunctionInstance> } | undefined;
  const former = new Set<Pool<FunctionInstance>>();

  const server = createServer(
    { keepAliveTimeout: 60_000, requestTimeout: 0 },
    (request, response) =>
      void answerCall(request, response).catch(() => {
        // The connection broke during the answer.
        response.destroy();
      }),
  );
  const port = await openNear(server, address);
  const uri = `http://127.0.0.1:${port.port}`;

  async function answerCall(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const executionId = randomBytes(9).toString('base64url').replace(/[-_]/g, '0');
    const fault = parts.faults.take('invoke', service);
    const body = await readBody(request, MAX_BODY_BYTES);
    if (!(await spoilBefore(response, fault))) return;
    const trace = request.headers['x-cloud-trace-context'] ?? newTrace();
    const { status, headers, body: bytes } = await replyTo(request, body, executionId, fault);
    await sendAnswer(
      response,
      {
        status,
        headers: {
          ...headers,
          'function-execution-id': executionId,
          'x-cloud-trace-context': trace,
          server: 'Google Frontend',
        },
        body: bytes,
      },
      fault,
    );
  }

  async function replyTo(
    request: IncomingMessage,
    body: Buffer | undefined,
    executionId: string,
    fault: Fault | undefined,
  ): Promise<Reply> {
    if (fault?.kind === 'status') return page(fault.code, 'Server Error');
    if (fault?.kind === 'throttle') return tooMany(fault.retryAfterMs);
    const refusal = fault?.kind === 'expire-credentials' ? unauthorized() : refuseToken(request);
    if (!current) return page(404, 'Page not found');
    if (refusal) return refusal;
    if (body === undefined) return page(413, 'Request Entity Too Large');

    const { revision, pool } = current;
    for (;;) {
      const lease = pool.take();
      if (!lease) return tooMany();
      const reply = await callInstance(revision, lease, request, body, executionId);
      if (reply) return fault?.kind === 'lie' ? lie(reply, fault) : reply;
    }
  }

  function refuseToken(request: IncomingMessage): Reply | undefined {
    // With both headers the cloud checks the first only. The other belongs to the function.
    const value = request.headers['x-serverless-authorization'] ?? request.headers.authorization;
    if (value === undefined) {
      return page(
        403,
        'Forbidden',
        'Your client does not have permission to get URL / from this server.',
      );
    }
    const [scheme, token] = String(value).split(' ');
    const isGood = scheme?.toLowerCase() === 'bearer' && token && !parts.issuer.checkId(token, uri);
    return isGood ? undefined : unauthorized();
  }

  /** @returns undefined when the instance had died before it got the call */
  async function callInstance(
    revision: Revision,
    lease: Lease<FunctionInstance>,
    request: IncomingMessage,
    body: Buffer,
    executionId: string,
  ): Promise<Reply | undefined> {
    let instance: FunctionInstance;
    try {
      instance = await lease.instance;
    } catch {
      lease.discard();
      return page(500, 'Server Error', 'The container failed to start.');
    }

    const late = AbortSignal.timeout(revision.timeoutSec * 1000);
    const startedMs = performance.now();
    // Measured outside of the container, as Cloud Run does: the function cannot change it.
    const count = () =>
      parts.sums.add(service, { count: 1, amount: performance.now() - startedMs });
    try {
      const answer = await instance.http.request({
        path: request.url ?? '/',
        method: request.method ?? 'GET',
        headers: forwardedHeaders(request, executionId),
        body,
        signal: late,
      });
      const bytes = Buffer.from(await answer.body.arrayBuffer());
      count();
      const headers = ownHeaders(answer.headers);
      // The framework sets this header when it ends its process after the answer.
      if (headers['x-google-status'] === undefined) lease.release();
      else lease.discard();
      if (bytes.length > MAX_BODY_BYTES)
        return page(500, 'Server Error', 'Response size too large.');
      return { status: answer.statusCode, headers, body: bytes };
    } catch (error) {
      if (late.aborted) {
        // The instance may loop for ever. It gets no more calls, and ends after those it has.
        lease.retire();
        count();
        return plain(504, 'upstream request timeout');
      }
      lease.discard();
      if (error instanceof Error && 'code' in error && error.code === 'ECONNREFUSED')
        return undefined;
      count();
      const { isOverMemory } = await instance.exited;
      return isOverMemory
        ? page(500, 'Server Error', `Memory limit of ${revision.memoryMiB} MiB exceeded.`)
        : page(503, 'Service Unavailable', 'The connection to the instance had an error.');
    }
  }

  async function serve(revision: Revision | undefined): Promise<void> {
    const old = current?.pool;
    current = revision && {
      revision,
      pool: createPool<FunctionInstance>({
        start: () => startInstance(revision, parts),
        maxInstances: revision.maxInstances,
        concurrency: revision.concurrency,
        idleMs: parts.idleMs,
      }),
    };
    if (!old) return;
    former.add(old);
    await old.drain();
    former.delete(old);
  }

  return {
    port: port.port,
    uri,
    serve,
    refuse: port.refuse,
    async close() {
      await port.close();
      await Promise.all([current?.pool, ...former].map((pool) => pool?.close()));
    },
  };
}

async function openNear(
  server: Parameters<typeof openPort>[0],
  { port, seed }: { readonly port: number | undefined; readonly seed: number },
): ReturnType<typeof openPort> {
  const wanted = port === undefined ? [] : [port];
  for (let tries = 0; tries < PORT_TRIES; tries += 1) {
    wanted.push(FIRST_PORT + ((seed + tries) % PORTS));
  }
  for (const one of wanted) {
    try {
      return await openPort(server, one);
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EADDRINUSE')) throw error;
    }
  }
  return openPort(server);
}

/** The headers that the container gets. They have the token without its signature. */
function forwardedHeaders(request: IncomingMessage, executionId: string): string[] {
  const headers: string[] = [];
  const raw = request.rawHeaders;
  const tokenHeader =
    request.headers['x-serverless-authorization'] === undefined
      ? 'authorization'
      : 'x-serverless-authorization';
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = (raw[at] ?? '').toLowerCase();
    const value = raw[at + 1] ?? '';
    if (HOP_BY_HOP.has(name) || name === 'content-length' || name === 'expect') continue;
    headers.push(
      name,
      name === tokenHeader ? value.replace(/\.[^.]*$/, '.SIGNATURE_REMOVED_BY_GOOGLE') : value,
    );
  }
  headers.push('function-execution-id', executionId);
  headers.push('x-forwarded-for', request.socket.remoteAddress ?? '127.0.0.1');
  headers.push('x-forwarded-proto', 'http');
  if (!request.headers['x-cloud-trace-context']) headers.push('x-cloud-trace-context', newTrace());
  return headers;
}

function ownHeaders(
  headers: Readonly<Record<string, string | string[] | undefined>>,
): Record<string, string | readonly string[]> {
  const own: Record<string, string | readonly string[]> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined && !HOP_BY_HOP.has(name)) own[name] = value;
  }
  return own;
}

function newTrace(): string {
  return `${randomUUID().replaceAll('-', '')}/${randomBytes(6).readUIntBE(0, 6)};o=0`;
}

/** Falsifies the shim's figures, as a dishonest function could. */
function lie(reply: Reply, fault: Fault & { kind: 'lie' }): Reply {
  const headers = { ...reply.headers };
  const times = (name: string, factor: number | undefined) => {
    if (factor !== undefined && headers[name] !== undefined) {
      headers[name] = String(Number(headers[name]) * factor);
    }
  };
  times('x-defaas-duration-ms', fault.billedMs);
  times('x-defaas-memory-mib', fault.memoryMiB);
  return { ...reply, headers };
}

function plain(status: number, text: string, headers: Record<string, string> = {}): Reply {
  return { status, headers: { 'content-type': 'text/plain', ...headers }, body: Buffer.from(text) };
}

function tooMany(retryAfterMs?: number): Reply {
  return plain(
    429,
    'Rate exceeded.',
    retryAfterMs === undefined ? {} : { 'retry-after': String(Math.ceil(retryAfterMs / 1000)) },
  );
}

function unauthorized(): Reply {
  const reply = page(
    401,
    'Unauthorized',
    'Your client does not have permission to the requested URL <code>/</code>.',
  );
  return {
    ...reply,
    headers: { ...reply.headers, 'www-authenticate': 'Bearer error="invalid_token"' },
  };
}

function page(status: number, title: string, text = ''): Reply {
  const html = `<html><head>
<meta http-equiv="content-type" content="text/html;charset=utf-8">
<title>${status} ${title}</title>
</head>
<body text=#000000 bgcolor=#ffffff>
<h1>Error: ${title}</h1>
<h2>${text}</h2>
<h2></h2>
</body></html>
`;
  return {
    status,
    headers: { 'content-type': 'text/html; charset=UTF-8' },
    body: Buffer.from(html),
  };
}
