// Checks the access token of a request. Verified tokens are cached until they expire; a DPoP proof
// is checked on every request.
import { hash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { DefaasError } from '../errors.ts';
import type { DpopProof, DpopProofs } from './dpop.ts';
import type { AccessToken, Tokens } from './tokens.ts';

/** Maximum number of verified tokens in the cache. */
const CACHE_TOKENS = 10_000;

/** The credential of a request: `Authorization: Bearer <token>`, or `DPoP <token>` with a proof. */
export interface Credential {
  readonly token: string;
  readonly proof?: DpopProof;
}

export type Authenticate = (credential: Credential) => Promise<AccessToken>;

/**
 * Checks access tokens (RFC 9068). A token that is bound to a key needs a proof of that key
 * (RFC 9449 section 7); any other token is sent as Bearer (RFC 6750).
 * @throws DefaasError TOKEN_INVALID  not ours, expired, altered, or sent in the wrong scheme
 * @throws DefaasError DPOP_INVALID   the proof is wrong, or of another key
 */
export function createAuthenticate(
  tokens: Tokens,
  proofs: DpopProofs,
  nowMs: () => number,
): Authenticate {
  /** Keyed by the token's SHA-256, which a DPoP proof also contains as `ath` (RFC 9449). */
  const verified = new LRUCache<string, AccessToken>({ max: CACHE_TOKENS });
  return async ({ token, proof }) => {
    const tokenHash = hash('sha256', token, 'base64url');
    let claims = verified.get(tokenHash);
    if (claims === undefined) {
      claims = await tokens.verify(token);
      verified.set(tokenHash, claims);
    }
    if (claims.expiresAtSec * 1000 <= nowMs()) {
      verified.delete(tokenHash);
      throw invalid('has expired, sign in again');
    }
    if (proof === undefined) {
      if (claims.jkt === undefined) return claims;
      throw invalid('is bound to a key, send it as Authorization: DPoP with a proof');
    }
    if (claims.jkt === undefined) throw invalid('is bound to no key, send it as Bearer');
    const checked = await proofs.check(proof, tokenHash);
    if (checked.thumbprint !== claims.jkt) {
      throw new DefaasError(
        'DPOP_INVALID',
        'the DPoP proof is refused: it is of another key than the token, sign in again',
        { members: { error: 'invalid_token' } },
      );
    }
    await proofs.use(checked);
    return claims;
  };
}

function invalid(why: string): DefaasError {
  return new DefaasError('TOKEN_INVALID', `the access token ${why}`, {
    members: { error: 'invalid_token' },
  });
}
