// The key that signs a gateway's access tokens. Its thumbprint is stored in Identity, so that a
// verifier of tokens need not trust a name service or a certificate.
import type { Hex } from '../../contracts/libraries/keccak.ts';
import type { Connection } from './connection.ts';
import { readArray, readJson, readObject, readText } from './parse.ts';

/**
 * SHA-256 thumbprints (RFC 7638) of the keys that a gateway publishes, all of them P-256.
 * @throws GATEWAY_UNREACHABLE, GATEWAY_PROTOCOL
 */
export async function fetchTokenKeys({
  request,
}: Pick<Connection, 'request'>): Promise<readonly Hex[]> {
  const jwks = await readJson(await request('/.well-known/jwks.json'), 'the key set');
  return Promise.all(readArray(jwks.keys, 'keys').map(thumbprintOf));
}

/** Hashes the members that RFC 7638 section 3.2 names, in its order. */
async function thumbprintOf(key: unknown): Promise<Hex> {
  const { crv, kty, x, y } = readObject(key, 'a key');
  const members = { crv, kty, x: readText(x, 'x'), y: readText(y, 'y') };
  const bytes = new TextEncoder().encode(JSON.stringify(members));
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return `0x${Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}
