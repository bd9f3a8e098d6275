// Step 1 of a call: who asks. A token that was verified once is known until it expires; a DPoP proof is checked each time.
import { hash } from 'node:crypto';
import { DefaasError } from '../errors.ts';
import type { DpopProof, DpopProofs } from '../identity/dpop.ts';
import type { AccessToken, Tokens } from '../identity/tokens.ts';

/** Verified tokens kept; the oldest goes first. */
const CACHE_TOKENS = 10_000;

/** What a request shows for itself: `Authorization: Bearer <token>`, or `DPoP <token>` and a proof. */
export interface Credential {
  readonly token: string;
  readonly proof?: DpopProof;
}

interface KnownToken {
  readonly token: string;
  readonly claims: AccessToken;
  /** What a DPoP proof names it by (RFC 9449 `ath`). */
  readonly hash: string;
}

/** At once for a known token that needs no proof. */
export type Authenticate = (credential: Credential) => AccessToken | Promise<AccessToken>;

/**
 * Checks access tokens (RFC 9068): one that is bound to a key comes with a proof of it (RFC 9449 section 7), any other one as
 * Bearer (RFC 6750).
 * @throws DefaasError TOKEN_INVALID  not ours, expired, altered, or sent in the other scheme than its own
 * @throws DefaasError DPOP_INVALID   the proof is wrong, or of another key
 */
export function createAuthenticate(
  tokens: Tokens,
  proofs: DpopProofs,
  nowMs: () => number,
): Authenticate {
  // By the token's signature, which is short, and then by the whole: a long text costs as a key more than all else here.
  const verified = new Map<string, KnownToken>();

  const read = async (sent: string): Promise<KnownToken> => {
    const claims = await tokens.verify(sent);
    // A copy: what was sent may be a slice of a whole head, which would be kept with it.
    const token = Buffer.from(sent, 'latin1').toString('latin1');
    if (verified.size >= CACHE_TOKENS) {
      const oldest = verified.keys().next();
      if (!oldest.done) verified.delete(oldest.value);
    }
    const known = { token, claims, hash: hash('sha256', token, 'base64url') };
    verified.set(signatureOf(token), known);
    return known;
  };
  const find = (token: string): KnownToken | undefined => {
    const known = verified.get(signatureOf(token));
    return known?.token === token ? known : undefined;
  };

  const check = (
    { token, claims, hash }: KnownToken,
    proof: DpopProof | undefined,
  ): AccessToken | Promise<AccessToken> => {
    if (claims.expiresAtSec * 1000 <= nowMs()) {
      verified.delete(signatureOf(token));
      throw invalid('has expired, sign in again');
    }
    if (proof === undefined) {
      if (claims.jkt === undefined) return claims;
      throw invalid('is bound to a key, send it as Authorization: DPoP with a proof');
    }
    if (claims.jkt === undefined) throw invalid('is bound to no key, send it as Bearer');
    return proofs.verify(proof, hash).then((jkt) => {
      if (jkt === claims.jkt) return claims;
      throw new DefaasError(
        'DPOP_INVALID',
        'the DPoP proof is refused: it is of another key than the token, sign in again',
        { members: { error: 'invalid_token' } },
      );
    });
  };

  return ({ token, proof }) => {
    const known = find(token);
    return known === undefined
      ? read(token).then((fresh) => check(fresh, proof))
      : check(known, proof);
  };
}

/** The last part of a JWT; of what is none, all of it. */
function signatureOf(token: string): string {
  return token.slice(token.lastIndexOf('.') + 1);
}

function invalid(why: string): DefaasError {
  return new DefaasError('TOKEN_INVALID', `the access token ${why}`, {
    members: { error: 'invalid_token' },
  });
}
