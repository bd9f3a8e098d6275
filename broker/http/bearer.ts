// Reads a request's credentials, and checks them for control routes: a token must be present, and
// an account must have signed in.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import type { Credential } from '../identity/access-tokens.ts';
import type { AccessToken, TokenLane } from '../identity/tokens.ts';
import type { RequestHead } from './incoming-call.ts';

/** Longest accepted token; ours are shorter. */
const MAX_TOKEN_CHARACTERS = 8_192;

/** `credentialIn` for a Fastify request. */
export function credentialOf(
  gateway: Pick<Gateway, 'config'>,
  request: FastifyRequest,
): Credential | undefined {
  return credentialIn(request.raw, () => ownOrigins(request.server, gateway));
}

/** `proofIn` for a Fastify request. */
export function proofOf(
  gateway: Pick<Gateway, 'config'>,
  request: FastifyRequest,
): Credential['proof'] {
  return proofIn(request.raw, () => ownOrigins(request.server, gateway));
}

/**
 * The credential of `Authorization: Bearer <token>` (RFC 6750 section 2.1), or of `DPoP <token>`
 * with a `DPoP` header (RFC 9449 section 7.1). `origins` are the origins that a proof may name.
 * @throws DefaasError TOKEN_INVALID  another scheme
 * @throws DefaasError DPOP_INVALID   no proof, or more than one
 */
export function credentialIn(
  request: RequestHead,
  origins: () => readonly string[],
): Credential | undefined {
  const header = request.headers.authorization;
  if (header === undefined) return undefined;
  // Do not check the token's characters here: verification refuses every token that is not ours.
  const space = header.indexOf(' ');
  const scheme = header.slice(0, space).toLowerCase();
  const token = header.slice(space + 1).trim();
  const isToken = space > 0 && token !== '' && token.length <= MAX_TOKEN_CHARACTERS;
  if (!isToken || (scheme !== 'bearer' && scheme !== 'dpop')) {
    throw new DefaasError(
      'TOKEN_INVALID',
      'Authorization is neither "Bearer <token>" nor "DPoP <token>", sign in again',
    );
  }
  if (scheme === 'bearer') return { token };
  const proof = proofIn(request, origins);
  if (proof !== undefined) return { token, proof };
  throw noProof('Authorization is DPoP and there is no DPoP header, send a proof');
}

/**
 * The DPoP proof of a request, with the method and URLs that it must match.
 * @throws DefaasError DPOP_INVALID  more than one, or none that could be a JWT
 */
function proofIn(request: RequestHead, origins: () => readonly string[]): Credential['proof'] {
  const { dpop } = request.headers;
  if (dpop === undefined) return undefined;
  if (typeof dpop !== 'string' || !/^[\w-]+\.[\w-]+\.[\w-]+$/.test(dpop)) {
    throw noProof('the DPoP header is not one JWT, send one proof');
  }
  const path = (request.url ?? '').split('?', 1)[0] ?? '';
  const urls = origins().map((origin) => `${origin}${path}`);
  return { jwt: dpop, method: request.method ?? 'GET', urls };
}

/**
 * Requires the unrestricted token of an account.
 * @throws DefaasError TOKEN_MISSING, TOKEN_INVALID, TOKEN_SCOPE, DPOP_INVALID, ACCOUNT_ONLY
 */
export async function signedIn(
  gateway: Pick<Gateway, 'authenticate' | 'config'>,
  request: FastifyRequest,
): Promise<AccessToken & { readonly signedBy: Address }> {
  const token = await tokenOf(gateway, request);
  const { signedBy } = token;
  if (token.details !== undefined) {
    throw new DefaasError(
      'TOKEN_SCOPE',
      `${request.method} ${request.routeOptions.url} is not allowed for this token, which may only call certain functions, sign in without authorization_details`,
      { members: { error: 'insufficient_scope' } },
    );
  }
  if (signedBy !== undefined) return { ...token, signedBy };
  throw new DefaasError(
    'ACCOUNT_ONLY',
    `${request.method} ${request.routeOptions.url} is not for service accounts, sign in with an account`,
  );
}

/**
 * Whether the token may access a lane: it was issued for this lane, or it is an unrestricted token
 * of the lane's payer or key.
 */
export function isOfLane(
  { signedBy, lane, details }: Pick<AccessToken, 'signedBy' | 'lane' | 'details'>,
  { payer, signer }: Pick<TokenLane, 'payer' | 'signer'>,
): boolean {
  if (lane?.payer === payer && lane.signer === signer) return true;
  return details === undefined && (signedBy === payer || signedBy === signer);
}

/** @throws DefaasError TOKEN_MISSING, TOKEN_INVALID, DPOP_INVALID */
export async function tokenOf(
  gateway: Pick<Gateway, 'authenticate' | 'config'>,
  request: FastifyRequest,
): Promise<AccessToken> {
  const credential = credentialOf(gateway, request);
  if (credential === undefined) {
    throw new DefaasError(
      'TOKEN_MISSING',
      `${request.method} ${request.routeOptions.url} needs a token, sign in at /oauth/token`,
    );
  }
  return gateway.authenticate(credential);
}

/**
 * The gateway's own origins: the address it listens on, and those that its operator configures.
 * Never the request's Host header: otherwise a phishing page could replay here what people signed
 * for it.
 */
export function ownOrigins(
  server: FastifyInstance,
  gateway: Pick<Gateway, 'config'>,
): readonly string[] {
  const local = server.addresses().flatMap((bound) => {
    if (typeof bound === 'string') return [];
    const host = bound.family === 'IPv6' ? `[${bound.address}]` : bound.address;
    return [`http://${host}:${bound.port}`, `http://localhost:${bound.port}`];
  });
  return [...gateway.config.publicOrigins, ...local];
}

function noProof(why: string): DefaasError {
  return new DefaasError('DPOP_INVALID', why, { members: { error: 'invalid_dpop_proof' } });
}
