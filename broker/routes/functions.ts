// ANY /functions/{owner}/{name}[@version][/path]: an HTTP request or a CloudEvent becomes an Invocation, its Answer a reply.
// Straight on Node's http, below Fastify: of all requests these are the many, and Fastify's share of one is 50 us of CPU.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { DefaasError, ERRORS, problemOf, toDefaasError } from '../errors.ts';
import { eventOf } from '../events/codec.ts';
import type { Gateway } from '../gateway.ts';
import { corsHeaders, isPreflight } from '../invocation/cors.ts';
import type { Answer, Headers, Invocation } from '../invocation/invocation.ts';
import { invoke } from '../invocation/invoke.ts';
import { confined } from '../invocation/reply.ts';
import { resolveTarget } from '../invocation/resolve.ts';
import { createReadRouting } from '../invocation/routing.ts';
import { credentialIn } from './bearer.ts';
import { readBody } from './body.ts';
import { problemReply } from './problem.ts';
import type { SlowClients } from './slow-clients.ts';

const NO_BODY = new Uint8Array();
/** Owner, name, reference and the function's own path in a raw URL path. */
const FUNCTION_PATH =
  /^\/functions\/([0-9a-zA-Z-]{1,63})\/([a-z0-9-]{1,63})(?:(?:@|%40)([a-z0-9-]{1,63}))?(\/[^?]*)?(?:\?(.*))?$/;
/** Up to here a body is copied behind its head. */
const SMALL_BODY_BYTES = 16 * 1024;
/** Replies that have no body and no length of one (RFC 9110 section 8.6). */
const BODYLESS = new Set([204, 304]);

const readRouting = createReadRouting();

export interface FunctionCalls {
  /** Takes a request whose path is that of a function and of no other route; false leaves it to those. */
  take(request: IncomingMessage, response: ServerResponse): boolean;
  /** From now on a connection ends with its next answer. */
  end(): void;
}

interface FunctionCallsOptions {
  readonly gateway: Gateway;
  /** Where the gateway is reached: what a DPoP proof may name. */
  readonly origins: () => readonly string[];
  readonly slowClients: SlowClients;
  /** Whether the gateway has a route of its own for a path below a function's address. */
  readonly isOwn: (method: string, path: string) => boolean;
}

/** What a URL says. */
type FunctionAddress = Pick<Invocation, 'owner' | 'name' | 'reference' | 'path' | 'query'>;

interface Exchange {
  readonly id: string;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly address: FunctionAddress;
  /** It came to the origin that is for functions alone. */
  readonly isApart: boolean;
  /** What every reply carries, an answer or a problem: names and values in turn, as `writeHead` takes them. */
  readonly always: string[];
}

export function createFunctionCalls(options: FunctionCallsOptions): FunctionCalls {
  const { gateway, origins, slowClients } = options;
  const { functionsOrigin } = gateway.config;
  const functionsHost = functionsOrigin && new URL(functionsOrigin).host;
  let underWay = 0;
  let isEnding = false;

  const refuseOverload = (): void => {
    if (underWay < gateway.config.invocationsMax) return;
    throw new DefaasError('OVERLOADED', `${underWay} calls are under way, try again shortly`, {
      retryAfterSec: 1,
    });
  };
  const answer = async (exchange: Exchange): Promise<void> => {
    // Before the body, so that nothing is read in vain; and after it, for slow bodies take no places.
    refuseOverload();
    const body = await readBody(exchange.request, {
      slowClients,
      maxBytes: gateway.config.bodyMaxBytes,
    });
    refuseOverload();
    underWay += 1;
    try {
      const invocation = invocationOf(exchange, body, origins);
      if (declareCors(gateway, invocation, exchange)) return reply(exchange, 204, [], NO_BODY);
      sendAnswer(exchange, await invoke(gateway, invocation));
    } finally {
      underWay -= 1;
    }
  };

  return {
    take: (request, response) => {
      const address = addressIn(request.url ?? '');
      if (address === undefined || options.isOwn(request.method ?? '', address.path)) return false;
      const always = isEnding ? ['connection', 'close'] : [];
      const isApart = functionsHost !== undefined && request.headers.host === functionsHost;
      const exchange = { id: crypto.randomUUID(), request, response, address, isApart, always };
      answer(exchange)
        .catch((error: unknown) => sendProblem(gateway, exchange, error))
        // What the version's CORS says may be no header at all: then there is no reply that it could go with.
        .catch(() => response.destroy())
        .then(() => slowClients.awaitReader(response));
      return true;
    },
    end: () => {
      isEnding = true;
    },
  };
}

function addressIn(url: string): FunctionAddress | undefined {
  const [, owner, name, reference = 'latest', path = '/', query = ''] =
    FUNCTION_PATH.exec(url) ?? [];
  if (owner === undefined || name === undefined) return undefined;
  return { owner, name, reference, path, query };
}

/** Sets what the version's CORS says, also for problems. Whether the request is a preflight, which ends here, free of charge. */
function declareCors(gateway: Gateway, invocation: Invocation, { always }: Exchange): boolean {
  const origin = invocation.headers.find(([name]) => name === 'origin')?.[1];
  if (origin === undefined) return false;
  const { version } = resolveTarget(gateway.chain.view, invocation);
  const cors = gateway.deployments.manifest(version.functionVersion)?.cors;
  const asked = isPreflight(invocation.method, invocation.headers);
  for (const pair of corsHeaders(cors, origin, asked)) always.push(...pair);
  return asked;
}

function invocationOf(
  { id, request, address, isApart }: Exchange,
  body: Uint8Array,
  origins: FunctionCallsOptions['origins'],
): Invocation {
  const headers = headersOf(request.rawHeaders, isApart);
  const event = eventOf(headers, body);
  const routing = single(request, 'defaas-routing');
  return {
    id,
    ...address,
    method: request.method ?? 'GET',
    headers,
    body,
    credential: credentialIn(request, origins),
    signedCall: single(request, 'defaas-call'),
    voucher: single(request, 'defaas-voucher'),
    idempotencyKey: single(request, 'idempotency-key') ?? (event && `${event.source}\n${event.id}`),
    maxPriceUnits: maxPriceOf(single(request, 'defaas-max-price')),
    routing: routing === undefined ? undefined : readRouting(routing),
  };
}

function sendAnswer(exchange: Exchange, answer: Answer): void {
  const { receipt } = answer;
  const headers = [
    'defaas-receipt',
    receipt.id,
    'defaas-price',
    `${receipt.priceUnits}`,
    'defaas-provider',
    receipt.provider,
    'defaas-seq',
    `${receipt.seq}`,
    'link',
    `</receipts/${receipt.id}>; rel="receipt"`,
  ];
  const low = answer.lowBalanceUnits;
  if (low !== undefined) headers.push('defaas-low-balance', `${low}`);
  if (answer.isReplay) headers.push('idempotent-replayed', 'true');
  if (answer.ok) {
    const passed = exchange.isApart ? answer.headers : confined(answer.headers);
    for (const [name, value] of passed) headers.push(name, value);
    reply(exchange, answer.status, headers, answer.body);
    return;
  }
  const problem = problemOf(new DefaasError(answer.code, answer.message), exchange.id);
  headers.push('content-type', 'application/problem+json');
  const body = JSON.stringify({ ...problem, receipt: receipt.id });
  reply(exchange, ERRORS[answer.code].status, headers, Buffer.from(body));
}

function sendProblem(gateway: Gateway, exchange: Exchange, thrown: unknown): void {
  const error = toDefaasError(thrown);
  const { id, request } = exchange;
  if (error.code === 'INTERNAL') {
    gateway.log.error({ err: error.cause ?? error, invocationId: id }, 'request failed');
  }
  const { authorization } = request.headers;
  const { status, headers, body } = problemReply(error, { id, authorization });
  reply(exchange, status, headers.flat(), Buffer.from(body));
}

/** A repeated name stays apart: lists may (RFC 9110 section 5.2), `set-cookie` must. */
function reply(
  { response, always }: Exchange,
  status: number,
  headers: readonly string[],
  body: Uint8Array,
): void {
  // The caller has gone.
  if (response.destroyed) return;
  if (BODYLESS.has(status)) {
    response.writeHead(status, [...always, ...headers]).end();
    return;
  }
  response.writeHead(status, [...always, ...headers, 'content-length', String(body.length)]);
  // As one text with its head it goes out in one write, which costs half of two.
  if (body.length <= SMALL_BODY_BYTES) response.end(bytesToLatin1(body), 'latin1');
  else response.end(body);
}

function bytesToLatin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
}

/** Cookies are the origin's: of the gateway's own, and of whatever else runs on its host, a function sees none. */
function headersOf(raw: readonly string[], isApart: boolean): Headers {
  const headers: [string, string][] = [];
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i]?.toLowerCase() ?? '';
    if (isApart || name !== 'cookie') headers.push([name, raw[i + 1] ?? '']);
  }
  return headers;
}

function single(request: IncomingMessage, name: string): string | undefined {
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
