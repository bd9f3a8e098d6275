// DPoP (RFC 9449): each request carries a fresh proof that the sender holds the key that its token
// is bound to.

import { calculateJwkThumbprint, importJWK, type JWTHeaderParameters, jwtVerify } from 'jose';
import { LRUCache } from 'lru-cache';
import { DefaasError } from '../errors.ts';
import type { TakesOnce } from './kept-once.ts';
import { PROOF_ALGORITHMS, publicKeyIn } from './public-jwk.ts';

/** Allowed difference of a proof's `iat` from the gateway's clock, in either direction, seconds. */
const WINDOW_SEC = 60;
/**
 * For how long a used proof is remembered, ms, and how many: more than one process can verify
 * within the window (measured: below 5 000 a second).
 */
export const USED_PROOFS = { lifeMs: 2 * WINDOW_SEC * 1000, max: 600_000 } as const;
/** Maximum number of imported public keys in the cache; a client uses one key per session. */
const MAX_KEYS = 2_000;
const MAX_JTI_LENGTH = 128;

/** A DPoP proof, with the request that it must match. */
export interface DpopProof {
  readonly jwt: string;
  readonly method: string;
  /**
   * The request's URL without its query, under each of our own origins. Never built from the Host
   * header.
   */
  readonly urls: readonly string[];
}

/** A proof that holds, and was not used yet. */
export interface CheckedProof {
  /** RFC 7638 thumbprint of the key that signed it. */
  readonly thumbprint: string;
  readonly jti: string;
}

export interface DpopProofs {
  /**
   * Checks all but whether the proof was used before. `accessTokenHash` is the base64url SHA-256 of
   * the accompanying token.
   * @throws DefaasError DPOP_INVALID  typ, alg, key, signature, htm, htu, iat or ath wrong
   */
  check(proof: DpopProof, accessTokenHash?: string): Promise<CheckedProof>;
  /**
   * Uses the proof up, which is written to a file: after all that may refuse the request.
   * @throws DefaasError DPOP_INVALID  it was used before, also before a restart
   */
  use(proof: CheckedProof): Promise<void>;
}

interface ProofKey {
  readonly key: Awaited<ReturnType<typeof importJWK>>;
  readonly thumbprint: string;
}

export function createDpopProofs(used: TakesOnce, nowMs: () => number): DpopProofs {
  const keys = new LRUCache<string, ProofKey>({ max: MAX_KEYS });

  const keyOf = async (header: JWTHeaderParameters): Promise<ProofKey> => {
    const jwk = publicKeyIn(header.jwk);
    if (typeof jwk === 'string') throw invalid(`its jwk ${jwk}`);
    const name = `${header.alg} ${JSON.stringify(jwk)}`;
    const known = keys.get(name);
    if (known !== undefined) return known;
    const fresh = {
      key: await importJWK(jwk, header.alg),
      thumbprint: await calculateJwkThumbprint(jwk),
    };
    keys.set(name, fresh);
    return fresh;
  };

  return {
    check: async ({ jwt, method, urls }, accessTokenHash) => {
      let thumbprint = '';
      const { payload } = await jwtVerify(
        jwt,
        async (header) => {
          const known = await keyOf(header);
          thumbprint = known.thumbprint;
          return known.key;
        },
        {
          typ: 'dpop+jwt',
          algorithms: [...PROOF_ALGORITHMS],
          requiredClaims: ['jti', 'htm', 'htu', 'iat'],
          currentDate: new Date(nowMs()),
        },
      ).catch((cause: unknown) => {
        if (cause instanceof DefaasError) throw cause;
        throw invalid('it is not a signed dpop+jwt with jti, htm, htu and iat', cause);
      });
      const { jti, htm, htu, iat, ath } = payload;
      if (htm !== method) throw invalid(`htm is ${JSON.stringify(htm)}, not ${method}`);
      if (typeof htu !== 'string' || !urls.includes(normal(htu))) {
        throw invalid(`htu is not ${urls[0] ?? 'an address of this gateway'}`);
      }
      const behindSec = typeof iat === 'number' ? nowMs() / 1000 - iat : Number.NaN;
      if (!(Math.abs(behindSec) <= WINDOW_SEC)) {
        const where = behindSec < 0 ? 'ahead of' : 'behind';
        throw invalid(
          `iat is ${Math.round(Math.abs(behindSec))} s ${where} the gateway's clock, which may be ${WINDOW_SEC}: set your clock`,
        );
      }
      if (ath !== accessTokenHash) throw invalid('ath is not the hash of the access token');
      if (typeof jti !== 'string' || jti.length > MAX_JTI_LENGTH) {
        throw invalid(`jti must be a text of at most ${MAX_JTI_LENGTH} characters`);
      }
      return { thumbprint, jti };
    },
    use: async ({ thumbprint, jti }) => {
      if (!(await used.take(`${thumbprint} ${jti}`))) throw invalid('its jti was used before');
    },
  };
}

/**
 * Normalises a URL as a URL parser does, without query and fragment (RFC 9449 section 4.3, step 9).
 */
function normal(htu: string): string {
  if (!URL.canParse(htu)) return '';
  const url = new URL(htu);
  return `${url.origin}${url.pathname}`;
}

function invalid(why: string, cause?: unknown): DefaasError {
  return new DefaasError('DPOP_INVALID', `the DPoP proof is refused: ${why}, make a fresh one`, {
    cause,
    members: { error: 'invalid_dpop_proof' },
  });
}
