// The HTTP edge: Fastify, one plugin per resource, every error a problem document (RFC 9457).
import fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
} from 'fastify';
import { DefaasError, problemOf, toDefaasError } from './errors.ts';
import type { Gateway } from './gateway.ts';
import { PROOF_ALGORITHMS } from './public-jwk.ts';
import { artifactRoutes } from './routes/artifacts.ts';
import { checkRoutes } from './routes/check.ts';
import { clientRoutes } from './routes/clients.ts';
import { deploymentRoutes } from './routes/deployments.ts';
import { epochRoutes } from './routes/epochs.ts';
import { functionRoutes } from './routes/functions.ts';
import { houseRoutes } from './routes/house.ts';
import { laneRoutes } from './routes/lanes.ts';
import { logRoutes } from './routes/logs.ts';
import { oauthRoutes } from './routes/oauth.ts';
import { receiptRoutes } from './routes/receipts.ts';
import { secretRoutes } from './routes/secrets.ts';
import { settlementRoutes } from './routes/settlements.ts';

/** A client that sends its request more slowly than this is cut off, ms. */
const REQUEST_TIMEOUT_MS = 120_000;

/** The gateway as a web server; `listen` and `close` are the caller's. */
export function createServer(gateway: Gateway): FastifyInstance {
  const loggerInstance: FastifyBaseLogger = gateway.log;
  const server = fastify({
    loggerInstance,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: gateway.config.bodyMaxBytes,
    requestTimeout: REQUEST_TIMEOUT_MS,
    routerOptions: { maxParamLength: 256 },
    genReqId: () => crypto.randomUUID(),
  });
  server.setErrorHandler((error, request, reply) =>
    sendError(request, reply, fromFastify(error, gateway)),
  );
  server.setNotFoundHandler((request, reply) =>
    sendError(
      request,
      reply,
      new DefaasError('ROUTE_UNKNOWN', `nothing is at ${request.method} ${pathOf(request)}, see /`),
    ),
  );
  // Bodies are bytes everywhere; the few routes that take JSON or forms parse them themselves.
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) =>
    done(null, body),
  );
  server.register(functionRoutes, { gateway });
  server.register(oauthRoutes, { gateway });
  server.register(clientRoutes, { gateway });
  server.register(epochRoutes, { gateway });
  server.register(artifactRoutes, { gateway });
  server.register(deploymentRoutes, { gateway });
  server.register(checkRoutes, { gateway });
  server.register(secretRoutes, { gateway });
  server.register(logRoutes, { gateway });
  server.register(laneRoutes, { gateway });
  server.register(receiptRoutes, { gateway });
  server.register(settlementRoutes, { gateway });
  server.register(houseRoutes, { gateway });
  return server;
}

function sendError(request: FastifyRequest, reply: FastifyReply, error: DefaasError): FastifyReply {
  if (error.status >= 500 && error.code === 'INTERNAL') {
    request.log.error({ err: error.cause ?? error, invocationId: request.id }, 'request failed');
  }
  if (error.retryAfterSec !== undefined) reply.header('retry-after', `${error.retryAfterSec}`);
  if (error.status === 401) {
    // RFC 6750 section 3 and RFC 9449 section 7.1: both schemes are taken, and the one that was tried says what was wrong.
    const why = error.members.error === undefined ? '' : ` error="${error.members.error}"`;
    const isDpop = /^DPoP /i.test(request.headers.authorization ?? '');
    const algorithms = `algs="${PROOF_ALGORITHMS.join(' ')}"`;
    reply.header('www-authenticate', [
      `Bearer${isDpop ? '' : why}`,
      `DPoP ${algorithms}${isDpop && why ? `,${why}` : ''}`,
    ]);
  }
  // Fastify would close the connection under a client that still sends, which then never reads why; Node throws the rest away.
  if (error.code === 'BODY_TOO_LARGE') reply.removeHeader('connection');
  return reply
    .code(error.status)
    .header('content-type', 'application/problem+json')
    .header('cache-control', 'no-store')
    .send(JSON.stringify(problemOf(error, request.id)));
}

function fromFastify(error: unknown, gateway: Gateway): DefaasError {
  if (error instanceof Error && 'code' in error) {
    if (error.code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
      return new DefaasError(
        'BODY_TOO_LARGE',
        `the body is larger than ${gateway.config.bodyMaxBytes} bytes, send less`,
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

function pathOf(request: FastifyRequest): string {
  return request.url.split('?', 1)[0]?.slice(0, 200) ?? '';
}
