// What the control routes ask of a token: that there is one, and who signed it.
import type { FastifyRequest } from 'fastify';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import type { AccessToken } from '../tokens.ts';

/** The token of `Authorization: Bearer …` (RFC 6750 section 2.1). @throws DefaasError TOKEN_INVALID  another scheme */
export function bearerOf(request: FastifyRequest): string | undefined {
  const header = request.headers.authorization;
  if (header === undefined) return undefined;
  const [, token] = /^Bearer +([\w.~+/=-]{1,8192})$/i.exec(header) ?? [];
  if (token !== undefined) return token;
  throw new DefaasError('TOKEN_INVALID', 'Authorization is not "Bearer <token>", sign in again');
}

/** @throws DefaasError TOKEN_MISSING, TOKEN_INVALID */
export async function signedIn(gateway: Gateway, request: FastifyRequest): Promise<AccessToken> {
  const token = bearerOf(request);
  if (token === undefined) {
    throw new DefaasError(
      'TOKEN_MISSING',
      `${request.method} ${request.routeOptions.url} needs a token, sign in at /oauth/token`,
    );
  }
  return gateway.authenticate(token);
}
