// The request of a call as a caller states it, as it is sent to the gateway, and as its receipt
// commits to it.
import type { CommittedRequest } from './commitments.ts';
import type { RequestOptions } from './connection.ts';
import { DefaasClientError } from './errors.ts';

/** Longest wait for a call, ms: the longest timeout of a function plus its cold start. */
export const TIMEOUT_MS = 330_000;

export interface InvokeRequest {
  /**
   * `owner/name`, `owner/name@version` or `owner/name@alias`; the owner is an address or a label.
   */
  readonly function: string;
  /** Path and query below the function, `/thumb?width=100`; `/` when left out. */
  readonly path?: string;
  /** `POST` when there is a body, else `GET`. */
  readonly method?: string;
  readonly headers?: HeadersInit;
  readonly body?: Uint8Array<ArrayBuffer>;
  /** The most that the call may cost, base units. */
  readonly maxPriceUnits?: bigint;
  /**
   * Where the call may run, and in which order of preference. It only narrows what the version
   * allows.
   */
  readonly routing?: Routing;
  /**
   * A call repeated with the same key is charged once. By default the one in `headers`, or a new
   * one.
   */
  readonly idempotencyKey?: string;
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
  /** Longest wait for receipts that allow a higher ceiling, ms; `timeoutMs` by default. */
  readonly patienceMs?: number;
}

export interface Routing {
  readonly strategy?: 'balanced' | 'cheapest' | 'fastest';
  /** The only clouds that may run it, such as `aws-lambda`. */
  readonly providers?: readonly string[];
  /** Regions, as the clouds name them. */
  readonly excludedRegions?: readonly string[];
}

export type KeyedRequest = InvokeRequest & {
  readonly idempotencyKey: string;
  /** The key was generated for this call, so no earlier answer can belong to it. */
  readonly isFreshKey?: boolean;
};

/** The request with its idempotency key: its own, that of its headers, or a new one. */
export function withKey(request: InvokeRequest | KeyedRequest): KeyedRequest {
  const own = request.idempotencyKey ?? new Headers(request.headers).get('idempotency-key');
  if (own !== null) return { ...request, idempotencyKey: own };
  return { ...request, idempotencyKey: crypto.randomUUID(), isFreshKey: true };
}

export function requestOf(request: InvokeRequest, headers: Headers): [string, RequestOptions] {
  const options: RequestOptions = {
    method: methodOf(request),
    headers,
    ...(request.body && { body: request.body }),
    ...(request.signal && { signal: request.signal }),
    timeoutMs: request.timeoutMs ?? TIMEOUT_MS,
    redirect: 'manual',
  };
  targetOf(request);
  return [`/functions/${request.function}${pathOf(request)}`, options];
}

/**
 * The request as its receipt commits to it.
 * @throws REQUEST_INVALID its path leaves the function
 */
export function committedOf(request: InvokeRequest): CommittedRequest {
  const body = request.body ?? new Uint8Array();
  return { method: methodOf(request), target: targetOf(request), body };
}

/** The method as fetch sends it: fetch upper-cases the common methods. */
function methodOf(request: InvokeRequest): string {
  return new Request('http://localhost', {
    method: request.method ?? (request.body ? 'POST' : 'GET'),
  }).method;
}

/** Path and query below the function, as fetch sends them. @throws REQUEST_INVALID */
export function targetOf(request: InvokeRequest): string {
  const root = `/functions/${request.function}`;
  const [base, whole] = [root, `${root}${pathOf(request)}`].map(
    (one) => new URL(one, 'http://localhost'),
  );
  // An untrusted path must not reach another function, or a route of the gateway with our token.
  if (
    base?.pathname.split('/').length !== 4 ||
    !whole ||
    !`${whole.pathname}/`.startsWith(`${base.pathname}/`)
  ) {
    throw new DefaasClientError(
      'REQUEST_INVALID',
      `"${root}${pathOf(request)}" leads out of the function`,
    );
  }
  return `${whole.pathname}${whole.search}`.slice(base.pathname.length) || '/';
}

export function headersOf(request: KeyedRequest): Headers {
  const headers = new Headers(request.headers);
  headers.set('idempotency-key', request.idempotencyKey);
  if (request.maxPriceUnits !== undefined) {
    headers.set('defaas-max-price', `${request.maxPriceUnits}`);
  }
  if (request.routing) headers.set('defaas-routing', routingText(request.routing));
  return headers;
}

/** The header `Defaas-Routing`: a dictionary (RFC 9651) with names as strings. */
function routingText({ strategy, providers, excludedRegions }: Routing): string {
  const list = (names: readonly string[]) => `(${names.map((name) => `"${name}"`).join(' ')})`;
  return [
    ...(strategy ? [`strategy=${strategy}`] : []),
    ...(providers ? [`providers=${list(providers)}`] : []),
    ...(excludedRegions ? [`exclude-regions=${list(excludedRegions)}`] : []),
  ].join(', ');
}

function pathOf(request: InvokeRequest): string {
  const path = request.path ?? '';
  return path === '' || path.startsWith('/') || path.startsWith('?') ? path : `/${path}`;
}

/** `owner/name@2/a/b?c` -> the function, and the path below it. @throws FUNCTION_UNKNOWN */
export function splitTarget(target: string): { name: string; path: string } {
  const [, name, path = ''] = /^\/?([^/?]+\/[^/?]+)(.*)$/.exec(target) ?? [];
  if (name === undefined) {
    throw new DefaasClientError('FUNCTION_UNKNOWN', `"${target}" is not of the form owner/name`);
  }
  return { name, path: path.startsWith('/') ? path : `/${path}` };
}
