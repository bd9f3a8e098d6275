// Authenticates service accounts: a JWT signed by their registered key, usable once (RFC 7523;
// OpenID's private_key_jwt).
import { decodeJwt, errors, importJWK, jwtVerify } from 'jose';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { DefaasError } from '../errors.ts';
import type { Ledger, ServiceClient } from '../ledger/ledger.ts';
import type { TakesOnce } from './kept-once.ts';
import { PROOF_ALGORITHMS } from './public-jwk.ts';

/** Longest life of an assertion, and allowed clock difference, seconds. */
const MAX_LIFE_SEC = 300;
const CLOCKS_APART_SEC = 10;
/**
 * For how long a used assertion is remembered, ms, and how many: more than one process can verify.
 * The clock difference counts twice: `exp` of a fast clock lies that much further ahead, and an
 * assertion is accepted that much after its `exp`.
 */
export const USED_ASSERTIONS = {
  lifeMs: (MAX_LIFE_SEC + 2 * CLOCKS_APART_SEC) * 1000,
  max: 1_000_000,
} as const;
const MAX_JTI_LENGTH = 128;

/** The client id under which a service account registers: `<payer>:<id>`. */
export function clientIdOf({ payer, id }: Pick<ServiceClient, 'payer' | 'id'>): string {
  return `${payer}:${id}`;
}

export interface ClientAssertions {
  /**
   * Verifies an assertion and returns its client. `audiences` are the allowed `aud` values: our
   * issuers and token endpoints.
   * @throws DefaasError SIGN_IN_REFUSED  unknown client, wrong key, time or audience, or used
   *   before
   */
  verify(assertion: string, audiences: readonly string[]): Promise<ServiceClient>;
}

export function createClientAssertions(
  ledger: Pick<Ledger, 'client'>,
  used: TakesOnce,
  nowMs: () => number,
): ClientAssertions {
  return {
    verify: async (assertion, audiences) => {
      const client = await clientNamed(ledger, assertion);
      const name = clientIdOf(client);
      const { payload } = await jwtVerify(
        assertion,
        await importJWK({ ...client.jwk }, client.jwk.kty === 'EC' ? 'ES256' : 'EdDSA'),
        {
          algorithms: [...PROOF_ALGORITHMS],
          issuer: name,
          subject: name,
          audience: [...audiences],
          requiredClaims: ['exp', 'iat', 'jti'],
          clockTolerance: CLOCKS_APART_SEC,
          currentDate: new Date(nowMs()),
        },
      ).catch((cause: unknown) => {
        throw refused(faultIn(cause), cause);
      });
      const { exp = 0, iat = 0, jti = '' } = payload;
      const nowSec = nowMs() / 1000;
      if (exp > nowSec + MAX_LIFE_SEC + CLOCKS_APART_SEC) {
        throw refused(`exp may lie ${MAX_LIFE_SEC} s ahead at most`);
      }
      const behindSec = Math.round(nowSec - iat);
      if (behindSec < -CLOCKS_APART_SEC || behindSec > MAX_LIFE_SEC + CLOCKS_APART_SEC) {
        const where = behindSec < 0 ? 'ahead of' : 'behind';
        throw refused(`iat is ${Math.abs(behindSec)} s ${where} the gateway's clock`);
      }
      if (typeof jti !== 'string' || jti === '' || jti.length > MAX_JTI_LENGTH) {
        throw refused(`jti must be a text of at most ${MAX_JTI_LENGTH} characters`);
      }
      if (!(await used.take(`${name} ${jti}`))) throw refused('its jti was used before');
      return client;
    },
  };
}

function faultIn(cause: unknown): string {
  if (cause instanceof errors.JWTExpired) return "it is over by the gateway's clock";
  if (cause instanceof errors.JWTClaimValidationFailed) return `its ${cause.claim} is not right`;
  return 'it is not signed by the registered key';
}

/** Looks up the client that the assertion names; nothing is verified yet. */
async function clientNamed(
  ledger: Pick<Ledger, 'client'>,
  assertion: string,
): Promise<ServiceClient> {
  let subject: unknown;
  try {
    subject = decodeJwt(assertion).sub;
  } catch (cause) {
    throw refused('it is no JWT', cause);
  }
  const [, payer, id] =
    /^(0x[0-9a-f]{40}):([a-z0-9-]{1,63})$/.exec(typeof subject === 'string' ? subject : '') ?? [];
  // Safe: the pattern above matches lower-case addresses only.
  const client = payer && id && (await ledger.client(payer as Address, id));
  if (client) return client;
  throw refused('its sub is no registered client');
}

function refused(why: string, cause?: unknown): DefaasError {
  return new DefaasError(
    'SIGN_IN_REFUSED',
    `the client assertion is refused: ${why}, make another`,
    {
      cause,
      members: { error: 'invalid_client', error_description: why },
    },
  );
}
