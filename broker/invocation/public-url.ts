// Where a function is for its callers. A function sees its own paths at the root of the gateway's
// origin; in the gateway's URLs they follow `/functions/{owner}/{name}`. The function is told both,
// and a redirect of it is led back to where it is, as reverse proxies do.
import { isIPv6 } from 'node:net';
import type { Headers } from './invocation.ts';

/** The URL of a call in its parts; the function sees `origin`, `path` and `query`. */
export interface PublicUrl {
  /** `https://gateway.example` */
  readonly origin: string;
  /** `/functions/{owner}/{name}[@reference]` as the caller wrote it; empty: none. */
  readonly prefix: string;
  readonly path: string;
  readonly query: string;
}

/** Headers of an answer that hold a URL of the function (RFC 9110 sections 8.7 and 10.2.2). */
const LOCATIONS = new Set(['location', 'content-location']);

/**
 * The gateway's origin that the caller names in `Host`, else the first: a function may build links
 * from it, so a caller cannot choose it. The configured origins, or without any those where the
 * gateway listens.
 */
export function originOf(
  host: string | undefined,
  configured: readonly string[],
  own: () => readonly string[],
): string {
  const origins = configured.length > 0 ? configured : own();
  const isNamed = (origin: string): boolean => origin.endsWith(`//${host?.toLowerCase()}`);
  return origins.find(isNamed) ?? origins[0] ?? 'http://localhost';
}

/**
 * What the function is told of its caller and of its public URL: `Forwarded` (RFC 7239) and
 * `X-Forwarded-Prefix`. The caller's own such headers are not passed on.
 */
export function placeHeaders({ origin, prefix }: PublicUrl, peer: string): Headers {
  const [proto = '', host = ''] = origin.split('://');
  const client = isIPv6(peer) ? `[${peer}]` : peer || 'unknown';
  const forwarded = ['forwarded', `for="${client}";host="${host}";proto=${proto}`] as const;
  return prefix === '' ? [forwarded] : [forwarded, ['x-forwarded-prefix', prefix]];
}

/** The headers of an answer, with the function's own URLs as its callers reach them. */
export function publicHeaders(headers: Headers, of: PublicUrl): Headers {
  if (!headers.some(([name]) => LOCATIONS.has(name))) return headers;
  return headers.map(([name, value]) => [name, LOCATIONS.has(name) ? publicUrl(value, of) : value]);
}

function publicUrl(location: string, { origin, prefix, path, query }: PublicUrl): string {
  const seen = `${origin}${path}${query && `?${query}`}`;
  if (prefix === '' || !URL.canParse(location, seen)) return location;
  const url = new URL(location, seen);
  const isBelow = url.pathname === prefix || url.pathname.startsWith(`${prefix}/`);
  if (url.origin !== origin || isBelow) return location;
  const reference = `${prefix}${url.pathname}${url.search}${url.hash}`;
  const isAbsolute = /^([a-z][a-z\d+.-]*:|\/\/)/i.test(location);
  return isAbsolute ? `${origin}${reference}` : reference;
}
