// The HTTP side of `defaas dev`: turns a request into a call as a gateway does, without token,
// price and receipt.
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type InvokeRequest, type InvokeResult, ProviderError } from '../../adapters/provider.ts';
import { originOf, placeHeaders } from '../../broker/invocation/public-url.ts';
import { forwardedHeaders, replyHeaders } from '../../broker/invocation/reply.ts';
import { CliError, errorLine } from './cli-error.ts';

export interface DevServer {
  /** `http://127.0.0.1:<port>` */
  readonly url: string;
  readonly calls: number;
  close(): Promise<void>;
}

export interface DevServerOptions {
  /** 0 = any free. */
  readonly port: number;
  readonly maxRequestBytes: number;
  /** Calls the function that is loaded now. @throws what keeps it from being called */
  readonly call: (request: InvokeRequest) => Promise<InvokeResult>;
  /** Called with one line per call. */
  readonly onCall: (line: string) => void;
}

/** @throws CliError PORT_TAKEN */
export async function startDevServer(options: DevServerOptions): Promise<DevServer> {
  let calls = 0;
  const server = createServer((request, response) => {
    calls += 1;
    void answer(request, response, options);
  });
  server.listen(options.port, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch (cause) {
    throw new CliError(
      'PORT_TAKEN',
      `port ${options.port} cannot be listened on, on 127.0.0.1, choose another with --port`,
      { cause },
    );
  }
  // A server that listens on a port has an address object.
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    get calls() {
      return calls;
    },
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  { maxRequestBytes, call, onCall }: DevServerOptions,
): Promise<void> {
  const target = request.url ?? '/';
  const beganAtMs = performance.now();
  const done = (status: number, what = '') => {
    const tookMs = (performance.now() - beganAtMs).toFixed(0);
    onCall(`${request.method} ${target} ${status} ${tookMs} ms${what}`);
  };
  const refuse = (status: number, code: string, detail: string) => {
    const problem = JSON.stringify({ title: code, status, code, detail });
    response.writeHead(status, { 'content-type': 'application/problem+json' }).end(problem);
    done(status, ` ${code}: ${detail}`);
  };
  try {
    const body = await readBody(request, maxRequestBytes);
    if (!body) {
      return refuse(413, 'BODY_TOO_LARGE', `the body is above ${maxRequestBytes} bytes`);
    }
    const result = await call(toInvokeRequest(request, target, body));
    if (!result.ok) {
      const { kind, type, message } = result.error;
      const isLate = kind === 'timeout';
      const detail = `${type}: ${message}`;
      return refuse(isLate ? 504 : 502, isLate ? 'FUNCTION_TIMEOUT' : 'FUNCTION_FAILED', detail);
    }
    const headers = replyHeaders(result.headers).flat();
    response.writeHead(result.status, headers).end(result.body);
    done(result.status);
  } catch (error) {
    const { code, detail } = problemOf(error);
    refuse(error instanceof ProviderError ? 503 : 500, code, detail);
  }
}

function problemOf(error: unknown): { code: string; detail: string } {
  const [, code = 'INTERNAL', detail = ''] = /^(\w+): (.*)$/s.exec(errorLine(error)) ?? [];
  return { code, detail };
}

function toInvokeRequest(
  request: IncomingMessage,
  target: string,
  body: Uint8Array,
): InvokeRequest {
  const at = target.indexOf('?');
  const raw = request.rawHeaders;
  const headers: [string, string][] = [];
  for (let index = 0; index + 1 < raw.length; index += 2) {
    headers.push([raw[index]?.toLowerCase() ?? '', raw[index + 1] ?? '']);
  }
  const path = at < 0 ? target : target.slice(0, at);
  const query = at < 0 ? '' : target.slice(at + 1);
  const { remoteAddress = '', localPort } = request.socket;
  const own = ['127.0.0.1', 'localhost'].map((host) => `http://${host}:${localPort}`);
  const place = { origin: originOf(request.headers.host, own, () => []), prefix: '', path, query };
  return {
    callId: 'dev',
    method: request.method ?? 'GET',
    path,
    query,
    headers: [...forwardedHeaders(headers), ...placeHeaders(place, remoteAddress)],
    body,
  };
}

async function readBody(
  request: IncomingMessage,
  maxBytes: number,
): Promise<Uint8Array | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes <= maxBytes) chunks.push(chunk);
  }
  return bytes <= maxBytes ? Buffer.concat(chunks, bytes) : undefined;
}
