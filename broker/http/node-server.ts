// Node's HTTP server as the gateway uses it. It counts connections before it reads from them, lets
// the fast path serve them first, and answers what is no valid request with a problem document.
import { randomUUID } from 'node:crypto';
import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
  STATUS_CODES,
} from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { headerText } from '../../adapters/http/message.ts';
import { DefaasError } from '../errors.ts';
import { tooLarge } from './body.ts';
import { type ConnectionLimits, createConnectionLimits } from './connections.ts';
import type { FastPath } from './fast-path.ts';
import { problemReply } from './problem.ts';
import { faultIn, faultOf, toOriginForm, unsupported } from './request-faults.ts';

export interface NodeServerOptions {
  readonly requestTimeoutMs: number;
  readonly headersTimeoutMs: number;
  readonly keepAliveMs: number;
  readonly serve: (request: IncomingMessage, response: ServerResponse) => void;
  /** A body above this is refused before the client sends it, if it waits for `100 Continue`. */
  readonly maxBytes: (request: IncomingMessage) => number;
  readonly limits: ConnectionLimits;
  /** Undefined: Node reads every request. */
  readonly fastPath: FastPath | undefined;
}

/** Connections that close after a refusal. What they still send must not run. */
const refused = new WeakSet<Duplex>();
/** The last reply of each connection. */
const replies = new WeakMap<Duplex, ServerResponse>();

export function createNodeServer(options: NodeServerOptions): Server {
  const { headersTimeoutMs, serve } = options;
  const server = createServer({
    requestTimeout: options.requestTimeoutMs,
    headersTimeout: headersTimeoutMs,
    connectionsCheckingInterval: headersTimeoutMs / 2,
    keepAliveTimeout: options.keepAliveMs,
    // `faultIn` asks for it, and says so in a problem document.
    requireHostHeader: false,
  });
  const take = (request: IncomingMessage, response: ServerResponse): void => {
    if (refused.has(request.socket)) return;
    replies.set(request.socket, response);
    toOriginForm(request);
    const fault = faultIn(request);
    if (fault === undefined) serve(request, response);
    else refuse(response, fault);
  };
  server.on('request', take);
  server.on('checkContinue', (request, response) => {
    const length = Number(request.headers['content-length'] ?? 0);
    toOriginForm(request);
    if (refused.has(request.socket) || faultIn(request) !== undefined) {
      take(request, response);
    } else if (length > options.maxBytes(request)) {
      refuse(response, tooLarge(options.maxBytes(request)));
    } else {
      response.writeContinue();
      take(request, response);
    }
  });
  server.on('checkExpectation', (request, response) => {
    if (refused.has(request.socket)) return;
    refuse(
      response,
      new DefaasError('EXPECTATION_FAILED', 'Expect is not 100-continue, leave it out'),
    );
  });
  server.on('connect', (_request, socket) => refuseOn(socket, unsupported('CONNECT')));
  // A client that has sent all and closed its side still gets its answer, as on the fast path.
  // Node would end the connection while the call runs.
  Object.assign(server, { httpAllowHalfOpen: true });
  admit(server, options);
  return server;
}

/**
 * For `clientError`: what Node's parser takes for no request, or no request in time. The replies to
 * the requests before it are sent first: those calls run and are charged.
 */
export function refuseMalformed(error: Error, socket: Socket): void {
  if (refused.has(socket)) return;
  refused.add(socket);
  const last = replies.get(socket);
  const close = (): void => {
    // One reply is all to a request that was answered before its body ended. Nothing is read behind
    // the last request of a connection.
    const isOver = last?.req.complete ? !last.shouldKeepAlive : last?.headersSent;
    if (!socket.writable || isOver) socket.destroySoon();
    else refuseOn(socket, faultOf(error));
  };
  // Before Node's own listener: it ends the connection if the client has closed its side.
  if (last?.req.complete && !last.writableFinished) last.prependOnceListener('finish', close);
  else close();
}

/** Puts the limits and the fast path before Node's own listener. */
function admit(server: Server, { fastPath, limits }: NodeServerOptions): void {
  const countConnection = createConnectionLimits(limits, () => {
    fastPath?.closeIdle();
    server.closeIdleConnections();
  });
  const listeners = server.listeners('connection');
  server.removeAllListeners('connection');
  const toNode = (socket: Socket): void => {
    for (const listener of listeners) listener.call(server, socket);
  };
  server.on('connection', (socket: Socket) => {
    const fault = countConnection(socket);
    if (fault !== undefined) {
      socket.on('error', () => {});
      refuseOn(socket, fault);
    } else if (fastPath === undefined) toNode(socket);
    else fastPath.serve(socket, toNode);
  });
  if (fastPath === undefined) return;
  // Node's own method only closes the connections that were passed to it.
  const { closeAllConnections } = server;
  server.closeAllConnections = () => {
    fastPath.destroy();
    closeAllConnections.call(server);
  };
}

/** Answers and closes the connection: the rest of the request is not read. */
function refuse(response: ServerResponse, error: DefaasError): void {
  const { status, headers, body } = problemOfRequest(error);
  // Not the reply's own: it has none while an earlier reply is on its way.
  refused.add(response.req.socket);
  response.writeHead(status, headers).end(body);
}

function refuseOn(socket: Duplex, error: DefaasError): void {
  const { status, headers, body } = problemOfRequest(error);
  const head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${headerText(headers)}`;
  refused.add(socket);
  const date = new Date().toUTCString();
  socket.end(`${head}date: ${date}\r\n\r\n${body}`, () => socket.destroy());
}

function problemOfRequest(error: DefaasError) {
  const { status, headers, body } = problemReply(error, {
    id: randomUUID(),
    authorization: undefined,
  });
  const length = `${Buffer.byteLength(body)}`;
  const all = [...headers.flat(), 'content-length', length, 'connection', 'close'];
  return { status, headers: all, body };
}
