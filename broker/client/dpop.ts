// DPoP (RFC 9449) from the caller's side: a P-256 key that never leaves WebCrypto, and a proof of
// it for each request.
import { bytesToBase64Url, textToBase64Url } from './base64url.ts';

const KEY = { name: 'ECDSA', namedCurve: 'P-256' } as const;
const SIGNATURE = { name: 'ECDSA', hash: 'SHA-256' } as const;

export interface DpopKey {
  /**
   * A proof for one request: `url` with or without its query, and the access token that goes with
   * it.
   * @example headers.set('dpop', await key.prove('POST', url, accessToken));
   */
  prove(method: string, url: string, accessToken?: string): Promise<string>;
}

/**
 * Creates a key that cannot be extracted: code that reads the page or the process memory later
 * cannot use the token elsewhere.
 */
export async function createDpopKey(): Promise<DpopKey> {
  const { privateKey, publicKey } = await crypto.subtle.generateKey(KEY, false, ['sign', 'verify']);
  const { kty, crv, x, y } = await crypto.subtle.exportKey('jwk', publicKey);
  const header = textToBase64Url(
    JSON.stringify({ typ: 'dpop+jwt', alg: 'ES256', jwk: { kty, crv, x, y } }),
  );
  // Cache the hash of the last token: one token serves many requests.
  let hashed = { token: '', ath: '' };
  const hashOf = async (token: string): Promise<string> => {
    if (hashed.token !== token) {
      const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(token));
      hashed = { token, ath: bytesToBase64Url(new Uint8Array(digest)) };
    }
    return hashed.ath;
  };
  return {
    prove: async (method, url, accessToken) => {
      const { origin, pathname } = new URL(url);
      const claims = {
        jti: crypto.randomUUID(),
        htm: method,
        htu: `${origin}${pathname}`,
        iat: Math.floor(Date.now() / 1000),
        ...(accessToken !== undefined && { ath: await hashOf(accessToken) }),
      };
      const signed = `${header}.${textToBase64Url(JSON.stringify(claims))}`;
      const bytes = new TextEncoder().encode(signed);
      const signature = await crypto.subtle.sign(SIGNATURE, privateKey, bytes);
      return `${signed}.${bytesToBase64Url(new Uint8Array(signature))}`;
    },
  };
}
