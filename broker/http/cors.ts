// CORS of the gateway's own routes: web pages may use them like any other client. Cookies are not
// used; only what the page sends explicitly counts.
import type { FastifyInstance } from 'fastify';
import { corsHeaders } from '../invocation/cors.ts';

const ANY_ORIGIN = {
  origins: ['*'],
  methods: ['GET', 'POST', 'PUT', 'DELETE'],
  headers: ['Content-Type'],
  maxAgeSec: 600,
};

/**
 * Answers preflights of all routes and lets pages read the replies, except pages with an opaque
 * origin, such as sandboxed pages of functions.
 */
export function openToPages(server: FastifyInstance): void {
  server.addHook('onRequest', async (request, reply) => {
    const { origin, 'access-control-request-method': method } = request.headers;
    reply.header('vary', 'Origin').header('x-content-type-options', 'nosniff');
    if (origin === undefined || origin === 'null') return;
    const isPreflight = request.method === 'OPTIONS' && method !== undefined;
    for (const [name, value] of corsHeaders(ANY_ORIGIN, origin, isPreflight)) {
      reply.header(name, value);
    }
    if (isPreflight) return reply.code(204).send();
  });
}
