// ANY /functions/{owner}/{name}[@version][/path]: an HTTP request or a CloudEvent becomes an Invocation, its Answer a reply.
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { DefaasError, ERRORS, problemOf } from '../errors.ts';
import { eventOf } from '../events/codec.ts';
import type { Gateway } from '../gateway.ts';
import { corsHeaders, isPreflight } from '../invocation/cors.ts';
import type { Answer, Headers, Invocation } from '../invocation/invocation.ts';
import { invoke } from '../invocation/invoke.ts';
import { resolveTarget } from '../invocation/resolve.ts';
import { credentialOf } from './bearer.ts';

const NO_BODY = new Uint8Array();
/** Owner, name, reference and the function's own path in a raw URL path. */
const FUNCTION_PATH =
  /^\/functions\/([0-9a-zA-Z-]{1,63})\/([a-z0-9-]{1,63})(?:(?:@|%40)([a-z0-9-]{1,63}))?(\/[^?]*)?(?:\?(.*))?$/;

export async function functionRoutes(
  server: FastifyInstance,
  { gateway }: { readonly gateway: Gateway },
): Promise<void> {
  let underWay = 0;
  const call = async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    if (underWay >= gateway.config.invocationsMax) {
      throw new DefaasError('OVERLOADED', `${underWay} calls are under way, try again shortly`, {
        retryAfterSec: 1,
      });
    }
    underWay += 1;
    try {
      const invocation = invocationOf(gateway, request);
      if (declareCors(gateway, invocation, reply)) return reply.code(204).send();
      const answer = await invoke(gateway, invocation);
      return sendAnswer(request, reply, answer);
    } finally {
      underWay -= 1;
    }
  };
  for (const url of ['/functions/:owner/:name', '/functions/:owner/:name/*']) {
    server.all(url, { exposeHeadRoute: false }, call);
  }
}

/** Sets what the version's CORS says, also for problems. Whether the request is a preflight, which ends here, free of charge. */
function declareCors(gateway: Gateway, invocation: Invocation, reply: FastifyReply): boolean {
  const origin = invocation.headers.find(([name]) => name === 'origin')?.[1];
  if (origin === undefined) return false;
  const { version } = resolveTarget(gateway.chain.view, invocation);
  const cors = gateway.deployments.manifest(version.functionVersion)?.cors;
  const asked = isPreflight(invocation.method, invocation.headers);
  for (const [name, value] of corsHeaders(cors, origin, asked)) reply.header(name, value);
  return asked;
}

function invocationOf(gateway: Gateway, request: FastifyRequest): Invocation {
  const [, owner, name, reference, path, query] = FUNCTION_PATH.exec(request.raw.url ?? '') ?? [];
  if (owner === undefined || name === undefined) {
    throw new DefaasError(
      'FUNCTION_UNKNOWN',
      'the address is not /functions/{owner}/{name}[@version], see defaas list',
    );
  }
  const body = Buffer.isBuffer(request.body) ? request.body : NO_BODY;
  const headers = headersOf(request.raw.rawHeaders);
  const event = eventOf(headers, body);
  return {
    id: request.id,
    owner,
    name,
    reference: reference ?? 'latest',
    method: request.method,
    path: path ?? '/',
    query: query ?? '',
    headers,
    body,
    credential: credentialOf(gateway, request),
    signedCall: single(request, 'defaas-call'),
    voucher: single(request, 'defaas-voucher'),
    idempotencyKey: single(request, 'idempotency-key') ?? (event && `${event.source}\n${event.id}`),
    maxPriceUnits: maxPriceOf(single(request, 'defaas-max-price')),
  };
}

function sendAnswer(request: FastifyRequest, reply: FastifyReply, answer: Answer): FastifyReply {
  const { receipt } = answer;
  if (answer.isReplay) reply.header('idempotent-replayed', 'true');
  reply.header('defaas-receipt', receipt.id);
  reply.header('defaas-price', `${receipt.priceUnits}`);
  reply.header('defaas-provider', receipt.provider);
  reply.header('defaas-seq', `${receipt.seq}`);
  const link = `</receipts/${receipt.id}>; rel="receipt"`;
  if (!answer.ok) {
    const problem = problemOf(new DefaasError(answer.code, answer.message), request.id);
    return reply
      .code(ERRORS[answer.code].status)
      .header('link', link)
      .header('content-type', 'application/problem+json')
      .send(JSON.stringify({ ...problem, receipt: receipt.id }));
  }
  const links = answer.headers.filter(([name]) => name === 'link').map(([, value]) => value);
  reply.header('link', [...links, link]);
  for (const [name, value] of answer.headers) {
    if (name === 'set-cookie') reply.header(name, value);
    else if (name !== 'link') appendHeader(reply, name, value);
  }
  const body = Buffer.from(answer.body.buffer, answer.body.byteOffset, answer.body.byteLength);
  return reply.code(answer.status).send(body);
}

/** Repeated headers are joined as RFC 9110 section 5.2 allows; `set-cookie` alone stays apart. */
function appendHeader(reply: FastifyReply, name: string, value: string): void {
  const known = reply.getHeader(name);
  reply.header(name, known === undefined ? value : `${String(known)}, ${value}`);
}

function headersOf(raw: readonly string[]): Headers {
  const headers: [string, string][] = [];
  for (let i = 0; i + 1 < raw.length; i += 2) {
    headers.push([raw[i]?.toLowerCase() ?? '', raw[i + 1] ?? '']);
  }
  return headers;
}

function single(request: FastifyRequest, name: string): string | undefined {
  const value = request.headers[name];
  if (Array.isArray(value)) {
    throw new DefaasError(
      'REQUEST_INVALID',
      `the header ${name} came more than once, send it once`,
    );
  }
  return value;
}

function maxPriceOf(text: string | undefined): bigint | undefined {
  if (text === undefined) return undefined;
  if (!/^\d{1,38}$/.test(text)) {
    throw new DefaasError(
      'REQUEST_INVALID',
      'Defaas-Max-Price must be a whole number of base units',
    );
  }
  return BigInt(text);
}
