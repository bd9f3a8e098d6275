// ANY /functions/{owner}/{name}[@version][/path]: turns an HTTP request or a CloudEvent into an
// Invocation, and its Answer into a reply. Not through Fastify, which takes 50 us of CPU per
// request: most requests are function calls.
import { randomUUID } from 'node:crypto';
import type { Hex } from '../../contracts/libraries/keccak.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import { DefaasError, ERRORS, problemOf, toDefaasError } from '../errors.ts';
import { eventOf, mayBeEvent } from '../events/codec.ts';
import type { Gateway } from '../gateway.ts';
import { credentialIn } from '../http/bearer.ts';
import { type IncomingCall, NONCE_HEADER, type RequestHead } from '../http/incoming-call.ts';
import { problemReply } from '../http/problem.ts';
import { corsHeaders, isPreflight } from '../invocation/cors.ts';
import type { Answer, Headers, Invocation } from '../invocation/invocation.ts';
import { invoke } from '../invocation/invoke.ts';
import { readNonce } from '../invocation/nonce.ts';
import { originOf, type PublicUrl, placeHeaders, publicHeaders } from '../invocation/public-url.ts';
import { confined, forwardedHeaders } from '../invocation/reply.ts';
import { resolveTarget } from '../invocation/resolve.ts';
import { readRouting } from '../routing/routing.ts';
import { DESCRIPTION_PATH } from './describe.ts';

const NO_BODY = new Uint8Array();
/** Of `Defaas-Price` and `Defaas-Low-Balance`. */
const PRICE_UNIT = `${formatTokens(1n)} token`;
/** Parses a raw URL path into owner, name, reference and the function's own path. */
const FUNCTION_PATH =
  /^\/functions\/([0-9a-zA-Z-]{1,63})\/([a-z0-9-]{1,63})(?:(?:@|%40)([a-z0-9-]{1,63}))?((\/[^?]*)?(?:\?(.*))?)$/;

/**
 * Everything that a request's head says. It depends on the head's bytes alone, so it can be cached.
 */
export interface Asked {
  /** The call without its body, or the error in the head. */
  readonly call: Omit<Invocation, 'id' | 'body'> | DefaasError;
  readonly authorization: string | undefined;
  /** All headers, including those of an event and of CORS. */
  readonly headers: Headers;
  readonly mayBeEvent: boolean;
  readonly publicUrl: PublicUrl;
  /** The request came to the origin that serves functions only. */
  readonly isFunctionsOrigin: boolean;
}

export interface FunctionCalls {
  /**
   * Interprets a head; the result is valid for all requests with this head. Undefined if the path
   * is not a function's, or belongs to another route.
   */
  read(head: RequestHead): Asked | undefined;
  take(asked: Asked, call: IncomingCall): void;
  /** Closes each connection after its next reply from now on. */
  end(): void;
}

interface FunctionCallsOptions {
  readonly gateway: Gateway;
  /** The gateway's origins, which a DPoP proof may name. */
  readonly origins: () => readonly string[];
  /** Whether the gateway has a route of its own for a path below a function's address. */
  readonly isOwn: (method: string, path: string) => boolean;
}

/** What comes from the URL: parts of an Invocation, and what stands before the target. */
interface FunctionAddress
  extends Pick<Invocation, 'owner' | 'name' | 'reference' | 'target' | 'path' | 'query'>,
    Pick<PublicUrl, 'prefix'> {}

interface Exchange {
  readonly id: string;
  readonly asked: Asked;
  readonly call: IncomingCall;
  /** Headers of every reply, answer or problem: alternating names and values. */
  readonly always: string[];
}

export function createFunctionCalls(options: FunctionCallsOptions): FunctionCalls {
  const { gateway } = options;
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
    // Check before reading the body, to avoid reading in vain, and again after it: a slow body does
    // not occupy a slot.
    refuseOverload();
    const reading = exchange.call.body();
    const body = reading instanceof Promise ? await reading : reading;
    refuseOverload();
    underWay += 1;
    try {
      const invocation = invocationOf(exchange, body);
      if (declareCors(gateway, invocation, exchange)) return reply(exchange, 204, [], NO_BODY);
      sendAnswer(exchange, await invoke(gateway, invocation));
    } finally {
      underWay -= 1;
    }
  };

  return {
    read: (head) => {
      const address = addressIn(head.url ?? '');
      if (address === undefined || options.isOwn(head.method ?? '', address.path)) return undefined;
      const isFunctionsOrigin = functionsHost !== undefined && head.headers.host === functionsHost;
      const headers = headersOf(head.rawHeaders, isFunctionsOrigin);
      const { prefix, ...ofCall } = address;
      const { path, query } = address;
      const configured = isFunctionsOrigin ? [functionsOrigin ?? ''] : gateway.config.publicOrigins;
      const origin = originOf(head.headers.host, configured, options.origins);
      const publicUrl = { origin, prefix, path, query };
      return {
        call: callIn(head, ofCall, { headers, publicUrl }, options),
        publicUrl,
        authorization: head.headers.authorization,
        headers,
        mayBeEvent: mayBeEvent(headers),
        isFunctionsOrigin,
      };
    },
    take: (asked, call) => {
      const always = isEnding ? ['connection', 'close'] : [];
      const exchange = { id: randomUUID(), asked, call, always };
      answer(exchange)
        .catch((error: unknown) => sendProblem(gateway, exchange, error))
        // The version's CORS settings may contain an invalid header value. Then no reply can be
        // sent with it, so close the connection.
        .catch(() => call.destroy());
    },
    end: () => {
      isEnding = true;
    },
  };
}

function addressIn(url: string): FunctionAddress | undefined {
  const [, owner, name, reference = 'latest', target = '', path = '/', query = ''] =
    FUNCTION_PATH.exec(url) ?? [];
  if (owner === undefined || name === undefined) return undefined;
  const prefix = url.slice(0, url.length - target.length);
  return { owner, name, reference, target: target || '/', path, query, prefix };
}

/**
 * Adds the version's CORS headers to all replies, problems too. Returns whether the request is a
 * preflight, which ends here free of charge.
 */
function declareCors(
  gateway: Pick<Gateway, 'chain' | 'deployments'>,
  invocation: Invocation,
  exchange: Exchange,
): boolean {
  const { headers } = exchange.asked;
  const origin = headers.find(([name]) => name === 'origin')?.[1];
  // Only a reply that may be cached must say that it depends on the origin.
  if (origin === undefined && invocation.method !== 'GET') return false;
  const { version } = resolveTarget(gateway.chain, invocation);
  const cors = gateway.deployments.manifest(version.functionVersion)?.cors;
  const endsHere = isPreflight(invocation.method, headers);
  for (const pair of corsHeaders(cors, origin, endsHere)) exchange.always.push(...pair);
  return endsHere;
}

/** The call that a head describes, or the error in the head. */
function callIn(
  head: RequestHead,
  address: Omit<FunctionAddress, 'prefix'>,
  { headers, publicUrl }: Pick<Asked, 'headers' | 'publicUrl'>,
  { gateway, origins }: FunctionCallsOptions,
): Asked['call'] {
  try {
    const peer = gateway.peers.peerOf(head);
    const routing = single(head, 'defaas-routing');
    return {
      ...address,
      peer,
      method: head.method ?? 'GET',
      headers: [...forwardedHeaders(headers), ...placeHeaders(publicUrl, peer)],
      credential: credentialIn(head, origins),
      signedCall: single(head, 'defaas-call'),
      voucher: single(head, 'defaas-voucher'),
      idempotencyKey: keyIn(head),
      ...nonceAndPriceIn(head),
      routing: routing === undefined ? undefined : readRouting(routing),
    };
  } catch (error) {
    return toDefaasError(error);
  }
}

/** An event's source and id serve as the idempotency key, if the caller sends none. */
function invocationOf(
  { id, asked, call: { nonce: apart } }: Exchange,
  body: Uint8Array,
): Invocation {
  const { call, headers } = asked;
  const event = asked.mayBeEvent ? eventOf(headers, body) : undefined;
  if (call instanceof DefaasError) throw call;
  const { source, id: eventId } = event?.attributes ?? {};
  const idempotencyKey = call.idempotencyKey ?? (event && `${source}\n${eventId}`);
  // Safe: the fast path reads a nonce separately only if it has the right form.
  const nonce = (apart as Hex | undefined) ?? call.nonce;
  return { id, ...call, idempotencyKey, nonce, body, eventDigest: event?.digest };
}

function sendAnswer(exchange: Exchange, answer: Answer): void {
  const { receipt } = answer;
  const headers = [
    'defaas-receipt',
    receipt.id,
    'defaas-price',
    `${receipt.priceUnits}`,
    'defaas-price-unit',
    PRICE_UNIT,
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
    const { isFunctionsOrigin, publicUrl } = exchange.asked;
    const own = publicHeaders(answer.headers, publicUrl);
    const passed = isFunctionsOrigin ? own : confined(own);
    for (const [name, value] of passed) headers.push(name, value);
    reply(exchange, answer.status, headers, answer.body);
    return;
  }
  const problem = problemOf(new DefaasError(answer.code, answer.message), exchange.id);
  headers.push('content-type', 'application/problem+json');
  const body = JSON.stringify({ ...problem, receipt: receipt.id });
  reply(exchange, ERRORS[answer.code].status, headers, Buffer.from(body));
}

function sendProblem(gateway: Pick<Gateway, 'log'>, exchange: Exchange, thrown: unknown): void {
  const error = toDefaasError(thrown);
  const { id, asked } = exchange;
  if (error.code === 'INTERNAL') {
    gateway.log.error({ err: error.cause ?? error, invocationId: id }, 'request failed');
  }
  const { authorization, call } = asked;
  const describedBy =
    call instanceof DefaasError
      ? undefined
      : `/functions/${call.owner}/${call.name}${DESCRIPTION_PATH}`;
  const { status, headers, body } = problemReply(error, { id, authorization, describedBy });
  reply(exchange, status, headers.flat(), Buffer.from(body));
}

/**
 * Keep repeated names as separate headers: lists may be (RFC 9110 section 5.2), `set-cookie` must
 * be.
 */
function reply(
  { call, always }: Exchange,
  status: number,
  headers: readonly string[],
  body: Uint8Array,
): void {
  if (!call.isGone) call.reply(status, [...always, ...headers], body);
}

/**
 * Functions receive no cookies on the gateway's main origin: they belong to the gateway and to
 * other services on its host.
 */
function headersOf(raw: readonly string[], isFunctionsOrigin: boolean): Headers {
  const headers: [string, string][] = [];
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i]?.toLowerCase() ?? '';
    if (isFunctionsOrigin || name !== 'cookie') headers.push([name, raw[i + 1] ?? '']);
  }
  return headers;
}

function single({ headers }: RequestHead, name: string): string | undefined {
  const value = headers[name];
  if (Array.isArray(value)) {
    throw new DefaasError(
      'REQUEST_INVALID',
      `the header ${name} came more than once, send it once`,
    );
  }
  return value;
}

/** Look at the raw headers, because Node joins repeated ones: two keys would become a third. */
function keyIn(call: RequestHead): string | undefined {
  const key = single(call, 'idempotency-key');
  if (key === undefined) return undefined;
  const isKey = (text: string, at: number): boolean =>
    at % 2 === 0 && text.toLowerCase() === 'idempotency-key';
  if (key !== '' && call.rawHeaders.filter(isKey).length === 1) return key;
  throw new DefaasError('REQUEST_INVALID', 'Idempotency-Key is empty or came twice, send one');
}

/** @throws DefaasError REQUEST_INVALID  a nonce without the maximum price that it was made for */
function nonceAndPriceIn(head: RequestHead): Pick<Invocation, 'nonce' | 'maxPriceUnits'> {
  const maxPriceUnits = maxPriceOf(single(head, 'defaas-max-price'));
  const text = single(head, NONCE_HEADER);
  if (text === undefined) return { nonce: undefined, maxPriceUnits };
  if (maxPriceUnits !== undefined) return { nonce: readNonce(text), maxPriceUnits };
  throw new DefaasError(
    'REQUEST_INVALID',
    'Defaas-Nonce came without the maximum price that it was made for, send Defaas-Max-Price',
  );
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
