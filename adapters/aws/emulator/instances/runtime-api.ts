// The Lambda Runtime API of one instance: a loopback server from which a runtime takes its calls
// and to which it gives their results.
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html

import { once } from 'node:events';
import {
  createServer,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Exit } from '../../../runtime/children.ts';

export type Ending =
  | { readonly kind: 'response' | 'error'; readonly body: Buffer }
  | { readonly kind: 'too-large' | 'timeout' }
  | { readonly kind: 'exit'; readonly exit: Exit };

export interface RuntimeApi {
  /** Host and port. */
  readonly address: string;
  readonly closed: Promise<unknown>;
  /** Begins a call. @returns the first ending that anything reports */
  begin(requestId: string): Promise<Ending>;
  /** Reports an ending of the call, for example that its time is up. */
  end(ending: Ending): void;
  /** The call is over: nothing more is reported for it. */
  finish(): void;
  /** Undefined when the runtime asks for a call, else the ending that came first. */
  ready(ended: Promise<Ending>): Promise<Ending | undefined>;
  /** Whether the runtime waits for a call. */
  isAsking(): boolean;
  /** Whether a call runs. */
  isBusy(): boolean;
  /** Gives the runtime, which asks, its call. */
  deliver(headers: OutgoingHttpHeaders, payload: Buffer): void;
  /** The runtime has exited. */
  forget(): void;
  close(): void;
}

/** Listens on a free port. `onIdle`: the runtime asks for a call, and there is none. */
export async function openRuntimeApi(
  maxResponseBytes: number,
  onIdle: () => void,
): Promise<RuntimeApi> {
  /** The runtime's open request for its next call. */
  let next: ServerResponse | undefined;
  let onNext: (() => void) | undefined;
  let onEnding: ((ending: Ending) => void) | undefined;
  let currentId: string | undefined;

  const server = createServer((request, response) => void answer(request, response));
  // The request of a frozen runtime stays open without limit.
  server.requestTimeout = 0;
  server.keepAliveTimeout = 0;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  // A server that listens on a port has an address object.
  const { port } = server.address() as AddressInfo;

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [, what, id, how] = /^\/2018-06-01\/runtime\/(\w+)\/([\w-]+)(?:\/(\w+))?$/.exec(
      request.url ?? '',
    ) ?? ['', '', '', ''];
    if (request.method === 'GET' && what === 'invocation' && id === 'next') {
      next = response;
      if (onNext) onNext();
      else if (!currentId) onIdle();
      return;
    }

    const body = await readUpTo(request, maxResponseBytes);
    const isCurrent = what === 'invocation' && id === currentId;
    if (request.method !== 'POST' || !(isCurrent || (what === 'init' && id === 'error'))) {
      const problem = { errorMessage: 'Invalid request ID', errorType: 'InvalidRequestID' };
      response.writeHead(400, { 'content-type': 'application/json' }).end(JSON.stringify(problem));
      return;
    }
    response.writeHead(202, { 'content-type': 'application/json' }).end('{"status":"OK"}');
    if (!body) onEnding?.({ kind: 'too-large' });
    else onEnding?.({ kind: isCurrent && how === 'response' ? 'response' : 'error', body });
  }

  return {
    address: `127.0.0.1:${port}`,
    closed: once(server, 'close'),
    begin(requestId) {
      currentId = requestId;
      return new Promise((resolve) => {
        onEnding = resolve;
      });
    },
    end: (ending) => onEnding?.(ending),
    finish() {
      onEnding = undefined;
      currentId = undefined;
    },
    ready(ended) {
      if (next) return Promise.resolve(undefined);
      const asked = new Promise<undefined>((resolve) => {
        onNext = () => resolve(undefined);
      });
      return Promise.race([asked, ended]).finally(() => {
        onNext = undefined;
      });
    },
    isAsking: () => next !== undefined,
    isBusy: () => currentId !== undefined,
    deliver(headers, payload) {
      next?.writeHead(200, headers);
      next?.end(payload);
      next = undefined;
    },
    forget() {
      next = undefined;
    },
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

/**
 * Reads a body. Drains a longer one and returns undefined; ends the connection of one that goes on
 * beyond twice the limit.
 */
async function readUpTo(request: IncomingMessage, maxBytes: number): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of request) {
      bytes += chunk.length;
      if (bytes <= maxBytes) chunks.push(chunk);
      // Leaving the loop destroys the request.
      if (bytes > 2 * maxBytes) return undefined;
    }
  } catch {
    // The process died while it answered. Its exit is reported instead.
    return Buffer.alloc(0);
  }
  return bytes <= maxBytes ? Buffer.concat(chunks, bytes) : undefined;
}
