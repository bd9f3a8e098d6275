// Service accounts' proof of who they are: a JWT that their registered key has signed, once (RFC 7523, OpenID's private_key_jwt).
import { decodeJwt, importJWK, jwtVerify } from 'jose';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { DefaasError } from '../errors.ts';
import type { Ledger, ServiceClient } from '../ledger/ledger.ts';
import { createOnce } from './once.ts';
import { PROOF_ALGORITHMS } from './public-jwk.ts';

/** Longest life of an assertion, and how far clocks may be apart, seconds. */
const MAX_LIFE_SEC = 300;
const CLOCKS_APART_SEC = 10;
/** More than one process can verify in the life of an assertion. */
const MAX_ASSERTIONS = 1_000_000;
const MAX_JTI_LENGTH = 128;

/** What a client registers under: `<payer>:<id>`. */
export function clientIdOf({ payer, id }: Pick<ServiceClient, 'payer' | 'id'>): string {
  return `${payer}:${id}`;
}

export interface ClientAssertions {
  /**
   * The registered client that signed. `audiences`: what an assertion may be for, our issuers and token endpoints.
   * @throws DefaasError SIGN_IN_REFUSED  unknown client, wrong key, time or audience, or used before
   */
  verify(assertion: string, audiences: readonly string[]): Promise<ServiceClient>;
}

export function createClientAssertions(
  ledger: Pick<Ledger, 'client'>,
  nowMs: () => number,
): ClientAssertions {
  // `exp` may lie that much further ahead for a clock that is fast, and is overlooked that much longer for one that is slow.
  const lifeMs = (MAX_LIFE_SEC + 2 * CLOCKS_APART_SEC) * 1000;
  const used = createOnce({ lifeMs, max: MAX_ASSERTIONS, nowMs });
  // What was used before a restart is not known any more, so what was made before it is refused. `iat` has whole seconds.
  const startedSec = Math.floor(nowMs() / 1000);

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
        throw refused('it is not signed by the registered key, over, or for another server', cause);
      });
      const { exp = 0, iat = 0, jti = '' } = payload;
      const nowSec = nowMs() / 1000;
      if (exp > nowSec + MAX_LIFE_SEC + CLOCKS_APART_SEC) {
        throw refused(`exp may lie ${MAX_LIFE_SEC} s ahead at most`);
      }
      if (iat < startedSec || iat > nowSec + CLOCKS_APART_SEC) {
        throw refused('iat is before the start of the gateway or ahead of its clock');
      }
      if (typeof jti !== 'string' || jti === '' || jti.length > MAX_JTI_LENGTH) {
        throw refused(`jti must be a text of at most ${MAX_JTI_LENGTH} characters`);
      }
      if (!used.take(`${name} ${jti}`)) throw refused('its jti was used before');
      return client;
    },
  };
}

/** Whom the assertion says it is of; nothing of it is verified yet. */
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
  // Safe: the pattern above is that of lower-case addresses.
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
