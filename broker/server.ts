// The HTTP edge. Function calls come straight from their sockets or from Node's server; everything
// else goes through Fastify, one plugin per resource. Every error is a problem document (RFC 9457).
import fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
} from 'fastify';
import { DefaasError, toDefaasError } from './errors.ts';
import type { Gateway } from './gateway.ts';
import { ownOrigins } from './http/bearer.ts';
import { readBody } from './http/body.ts';
import { openToPages } from './http/cors.ts';
import { createFastPath } from './http/fast-path.ts';
import { incomingCall } from './http/incoming-call.ts';
import { createNodeServer, refuseMalformed } from './http/node-server.ts';
import { problemReply } from './http/problem.ts';
import { createRouteMethods } from './http/route-methods.ts';
import { createSlowClients } from './http/slow-clients.ts';
import { alarmRoutes } from './routes/alarms.ts';
import { artifactRoutes } from './routes/artifacts.ts';
import { clientRoutes } from './routes/clients.ts';
import { deploymentRoutes } from './routes/deployments.ts';
import { DESCRIPTION_PATH, describeRoutes } from './routes/describe.ts';
import { epochRoutes } from './routes/epochs.ts';
import { createFunctionCalls } from './routes/functions.ts';
import { houseRoutes } from './routes/house.ts';
import { laneRoutes } from './routes/lanes.ts';
import { logRoutes } from './routes/logs.ts';
import { mandateRoutes } from './routes/mandates.ts';
import { oauthRoutes } from './routes/oauth.ts';
import { operatorRoutes } from './routes/operator.ts';
import { payoutRoutes } from './routes/payouts.ts';
import { receiptRoutes } from './routes/receipts.ts';
import { secretRoutes } from './routes/secrets.ts';
import { settlementRoutes } from './routes/settlements.ts';
import { sponsorshipRoutes } from './routes/sponsorships.ts';

/**
 * A request's headers must arrive within this, ms; the whole request within the configured
 * `requestTimeoutMs`.
 */
const HEADERS_TIMEOUT_MS = 30_000;
/** Largest body of the gateway's own routes except artifacts, bytes. */
const OWN_BODY_MAX_BYTES = 256 * 1024;
/**
 * An idle connection is kept open for this long, ms: longer than load balancers keep theirs, so
 * that they close first.
 */
const KEEP_ALIVE_MS = 72_000;

/** Creates the gateway's web server. The caller calls `listen` and `close`. */
export function createServer(gateway: Gateway): FastifyInstance {
  const loggerInstance: FastifyBaseLogger = gateway.log;
  const own = new Set<string>();
  const routes = createRouteMethods();
  const { requestTimeoutMs, waitingMaxBytes, functionsOrigin, bodyMaxBytes } = gateway.config;
  const headersTimeoutMs = Math.min(HEADERS_TIMEOUT_MS, requestTimeoutMs);
  const slowClients = createSlowClients({ maxBytes: waitingMaxBytes, stallMs: requestTimeoutMs });
  const calls = createFunctionCalls({
    gateway,
    // A DPoP proof may name the functions' own origin. A sign-in may not: pages there are not the
    // gateway's.
    origins: () => [...ownOrigins(server, gateway), ...(functionsOrigin ? [functionsOrigin] : [])],
    isOwn: (method, path) =>
      path !== '/' &&
      (own.has(`${method} ${path.split('/', 2)[1]}`) ||
        (path === DESCRIPTION_PATH && (method === 'GET' || method === 'HEAD'))),
  });
  const ofCalls = { slowClients, maxBytes: bodyMaxBytes };
  const fastPath = createFastPath({
    ...ofCalls,
    read: calls.read,
    take: calls.take,
    firstRequestMs: headersTimeoutMs,
    keepAliveMs: KEEP_ALIVE_MS,
  });
  const server: FastifyInstance = fastify({
    serverFactory: (handler) =>
      createNodeServer({
        requestTimeoutMs,
        headersTimeoutMs,
        keepAliveMs: KEEP_ALIVE_MS,
        serve: (request, response) => {
          const asked = calls.read(request);
          if (asked === undefined) handler(request, response);
          else calls.take(asked, incomingCall(request, response, ofCalls));
        },
        maxBytes: (request) =>
          calls.read(request) === undefined ? gateway.config.artifactMaxBytes : bodyMaxBytes,
        limits: { ...gateway.config, peers: gateway.peers },
        fastPath: gateway.config.fastPath ? fastPath : undefined,
      }),
    clientErrorHandler: refuseMalformed,
    loggerInstance,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: OWN_BODY_MAX_BYTES,
    routerOptions: { maxParamLength: 256 },
    genReqId: () => crypto.randomUUID(),
  });
  server.setErrorHandler((error, request, reply) =>
    sendError(request, reply, fromFastify(error, request.routeOptions.bodyLimit)),
  );
  server.setNotFoundHandler((request, reply) => {
    const path = pathOf(request);
    const allow = path === '*' ? ['OPTIONS'] : routes.of(path);
    if (allow.length === 0) return sendError(request, reply, notFound(request));
    if (request.method !== 'OPTIONS') return sendError(request, reply, notAllowed(request, allow));
    return reply.code(204).header('allow', allow.join(', ')).send();
  });
  // Every body is read as bytes; the few routes that take JSON or forms parse it themselves.
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('*', async (request: FastifyRequest) => {
    refuseEncoded(request);
    const maxBytes = request.routeOptions.bodyLimit ?? OWN_BODY_MAX_BYTES;
    const body = await readBody(request.raw, { slowClients, maxBytes });
    return Buffer.from(body.buffer, body.byteOffset, body.length);
  });
  openToPages(server);
  server.addHook('onRequest', async (_request, { raw }) => {
    raw.once('prefinish', () => slowClients.awaitReader(raw));
  });
  server.addHook('preClose', async () => {
    calls.end();
    fastPath.end();
  });
  server.addHook('onRoute', ({ method, url }) => {
    routes.add(url, [method].flat());
    const [, word] = /^\/functions\/:owner\/:name\/([a-z-]+)/.exec(url) ?? [];
    for (const one of word === undefined ? [] : [method].flat()) own.add(`${one} ${word}`);
  });
  server.register(oauthRoutes, { gateway });
  server.register(clientRoutes, { gateway });
  server.register(epochRoutes, { gateway });
  server.register(artifactRoutes, { gateway, slowClients });
  server.register(deploymentRoutes, { gateway });
  server.register(secretRoutes, { gateway });
  server.register(logRoutes, { gateway });
  server.register(laneRoutes, { gateway });
  server.register(mandateRoutes, { gateway });
  server.register(sponsorshipRoutes, { gateway });
  server.register(receiptRoutes, { gateway });
  server.register(settlementRoutes, { gateway });
  server.register(payoutRoutes, { gateway });
  server.register(alarmRoutes, { gateway });
  server.register(operatorRoutes, { gateway });
  server.register(describeRoutes, { gateway });
  server.register(houseRoutes, { gateway });
  return server;
}

function sendError(request: FastifyRequest, reply: FastifyReply, error: DefaasError): FastifyReply {
  if (error.status >= 500 && error.code === 'INTERNAL') {
    request.log.error({ err: error.cause ?? error, invocationId: request.id }, 'request failed');
  }
  const { authorization } = request.headers;
  const { status, headers, body } = problemReply(error, { id: request.id, authorization });
  const values = new Map<string, string[]>();
  for (const [name, value] of headers) values.set(name, [...(values.get(name) ?? []), value]);
  for (const [name, all] of values) reply.header(name, all.length === 1 ? all[0] : all);
  // Fastify would close the connection while the client still sends, and the client would never
  // read the reason. Node discards the rest of the body instead.
  if (error.code === 'BODY_TOO_LARGE') reply.removeHeader('connection');
  return reply.code(status).send(body);
}

/** @throws DefaasError MEDIA_TYPE_UNSUPPORTED  RFC 9110 section 8.4 */
function refuseEncoded({ headers }: FastifyRequest): void {
  const encoding = headers['content-encoding'];
  if (encoding === undefined || encoding.toLowerCase() === 'identity') return;
  throw new DefaasError(
    'MEDIA_TYPE_UNSUPPORTED',
    `a body in ${encoding.slice(0, 100)} is not taken here, send it without Content-Encoding`,
  );
}

function fromFastify(error: unknown, bodyMaxBytes: number | undefined): DefaasError {
  if (error instanceof Error && 'code' in error) {
    if (error.code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
      return new DefaasError(
        'BODY_TOO_LARGE',
        `the body is larger than ${bodyMaxBytes} bytes, send less`,
      );
    }
    if ('validation' in error) {
      return new DefaasError('REQUEST_INVALID', error.message, { cause: error });
    }
    if (String(error.code).startsWith('FST_ERR_')) {
      return new DefaasError('REQUEST_INVALID', error.message, { cause: error });
    }
  }
  return toDefaasError(error);
}

function notFound(request: FastifyRequest): DefaasError {
  if (request.url.startsWith('/functions/')) {
    return new DefaasError(
      'FUNCTION_UNKNOWN',
      'the address is not /functions/{owner}/{name}[@version], see defaas list',
    );
  }
  const what = `${request.method} ${pathOf(request)}`;
  return new DefaasError('ROUTE_UNKNOWN', `nothing is at ${what}, see /`);
}

function notAllowed({ method, url }: FastifyRequest, allow: readonly string[]): DefaasError {
  return new DefaasError(
    'METHOD_NOT_ALLOWED',
    `${method} is not for ${url.slice(0, 200)}, use ${allow.join(', ')}`,
    { allow },
  );
}

function pathOf(request: FastifyRequest): string {
  return request.url.split('?', 1)[0]?.slice(0, 200) ?? '';
}
