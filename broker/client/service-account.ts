// A service account: a program with its own key that spends from one lane of the payer who
// registered it (RFC 7523, private_key_jwt).
import { bytesToBase64Url, textToBase64Url } from './base64url.ts';
import type { Connection } from './connection.ts';
import { type Json, readJson } from './parse.ts';
import { createTokenSender, type Session, type TokenOptions, type TokenSender } from './session.ts';
import { requestToken } from './sign-in.ts';

/** Life of an assertion, seconds. The gateway accepts at most 300, and each assertion once. */
const ASSERTION_LIFE_SEC = 60;
/** WebCrypto's names of the two signature algorithms; the first uses P-256. */
const ECDSA = { name: 'ECDSA', hash: 'SHA-256' } as const;

export interface ServiceAccount {
  /** `<payer>:<id>`, as the registration said. */
  readonly clientId: string;
  /** P-256 (ECDSA) or Ed25519; may be non-extractable. */
  readonly privateKey: CryptoKey;
}

/**
 * Registers a key or replaces it. `session` is the payer's; the lane must be a prepaid lane of the
 * payer.
 * @throws LANE_UNKNOWN, NAME_INVALID, REQUEST_INVALID, GATEWAY_UNREACHABLE
 */
export async function registerServiceAccount(
  session: Pick<Session, 'request'>,
  registration: { readonly id: string; readonly publicKey: CryptoKey; readonly signer: string },
): Promise<Json> {
  const { id, publicKey, signer } = registration;
  const jwk = await crypto.subtle.exportKey('jwk', publicKey);
  const reply = await session.request(`/oauth/clients/${encodeURIComponent(id)}`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ jwk, lane: { signer } }),
  });
  return readJson(reply, 'the service account');
}

/**
 * Removes a key. Its tokens stay valid until they end, at most 10 minutes. `session` is the
 * payer's.
 * @throws CLIENT_UNKNOWN, GATEWAY_UNREACHABLE
 */
export async function removeServiceAccount(
  session: Pick<Session, 'request'>,
  id: string,
): Promise<void> {
  await session.request(`/oauth/clients/${encodeURIComponent(id)}`, { method: 'DELETE' });
}

/**
 * Sends requests with the account's token. They can invoke as far as a mandate of the lane allows,
 * and read the lane.
 * @example const reply = await account.send('/functions/0xabc…/hello', { method: 'POST', body });
 */
export function createServiceSender(options: TokenOptions & ServiceAccount): TokenSender {
  const { connection } = options;
  return createTokenSender(options, async (dpop) =>
    requestToken(
      connection,
      {
        grant_type: 'client_credentials',
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        client_assertion: await signAssertion(connection, options),
      },
      dpop,
    ),
  );
}

/** Signs a JWT that identifies the client to this gateway, for a single use. */
export async function signAssertion(
  { origin }: Pick<Connection, 'origin'>,
  { clientId, privateKey }: ServiceAccount,
): Promise<string> {
  const isEcdsa = privateKey.algorithm.name === ECDSA.name;
  const nowSec = Math.floor(Date.now() / 1000);
  const claims = {
    iss: clientId,
    sub: clientId,
    aud: origin,
    iat: nowSec,
    exp: nowSec + ASSERTION_LIFE_SEC,
    jti: crypto.randomUUID(),
  };
  const header = { typ: 'JWT', alg: isEcdsa ? 'ES256' : 'EdDSA' };
  const signed = [header, claims].map((part) => textToBase64Url(JSON.stringify(part))).join('.');
  const algorithm = isEcdsa ? ECDSA : { name: 'Ed25519' };
  const signature = await crypto.subtle.sign(
    algorithm,
    privateKey,
    new TextEncoder().encode(signed),
  );
  return `${signed}.${bytesToBase64Url(new Uint8Array(signature))}`;
}
