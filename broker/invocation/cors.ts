// CORS as a version declares it (`cors` in defaas.json, none by default). The gateway answers
// preflights for the function, free of charge.
import type { Manifest } from '../../ipfs/manifest.ts';
import type { Headers } from './invocation.ts';

type Cors = NonNullable<Manifest['cors']>;

/** Reply headers that a page may read, beside the safelisted ones. */
const EXPOSED =
  'Defaas-Receipt, Defaas-Price, Defaas-Price-Unit, Defaas-Provider, Defaas-Seq, Defaas-Low-Balance, Idempotent-Replayed, Link, Retry-After';

/** Request headers that the gateway itself reads: a page that may call may also pay. */
const OWN = [
  'Authorization',
  'DPoP',
  'Defaas-Call',
  'Defaas-Max-Price',
  'Defaas-Nonce',
  'Defaas-Routing',
  'Defaas-Voucher',
  'Idempotency-Key',
];

/**
 * Headers of a reply, or of a preflight (Fetch standard, "CORS protocol"). Nothing for an origin
 * that the version does not name. Credentials are never allowed: tokens travel in headers that the
 * page itself sets.
 */
export function corsHeaders(
  cors: Cors | undefined,
  origin: string | undefined,
  isPreflight: boolean,
): Headers {
  if (cors === undefined) return [];
  const isOpen = cors.origins.includes('*');
  const vary: Headers = isOpen ? [] : [['vary', 'Origin']];
  if (origin === undefined || !(isOpen || cors.origins.includes(origin))) return vary;
  const allowed: Headers = [...vary, ['access-control-allow-origin', isOpen ? '*' : origin]];
  if (!isPreflight) return [...allowed, ['access-control-expose-headers', EXPOSED]];
  return [
    ...allowed,
    ['access-control-allow-methods', cors.methods.join(', ')],
    ['access-control-allow-headers', [...new Set([...OWN, ...cors.headers])].join(', ')],
    ['access-control-max-age', `${cors.maxAgeSec}`],
  ];
}

/** A preflight, by the Fetch standard: OPTIONS with an origin and the method it asks for. */
export function isPreflight(method: string, headers: Headers): boolean {
  return (
    method === 'OPTIONS' &&
    headers.some(([name]) => name === 'origin') &&
    headers.some(([name]) => name === 'access-control-request-method')
  );
}
