// Step 1 of a call: who asks. A bearer token that was verified once is known by its hash until it expires.
import { createHash } from 'node:crypto';
import { DefaasError } from '../errors.ts';
import type { AccessToken, Tokens } from '../tokens.ts';

/** Verified tokens kept; the oldest goes first. */
const CACHE_TOKENS = 10_000;

export type Authenticate = (token: string) => Promise<AccessToken>;

/**
 * Checks access tokens (RFC 9068, by RFC 6750 in `Authorization: Bearer`).
 * @throws DefaasError TOKEN_INVALID  not ours, expired, or altered
 */
export function createAuthenticate(tokens: Tokens, nowMs: () => number): Authenticate {
  const verified = new Map<string, AccessToken>();
  return async (token) => {
    const hash = createHash('sha256').update(token).digest('base64');
    const known = verified.get(hash);
    if (known !== undefined) {
      if (known.expiresAtSec * 1000 > nowMs()) return known;
      verified.delete(hash);
      throw new DefaasError('TOKEN_INVALID', 'the access token has expired, sign in again');
    }
    const claims = await tokens.verify(token);
    if (verified.size >= CACHE_TOKENS) {
      const oldest = verified.keys().next();
      if (!oldest.done) verified.delete(oldest.value);
    }
    verified.set(hash, claims);
    return claims;
  };
}
