// Signing in at a gateway: an ERC-4361 message of the account or of a lane's key, exchanged for a
// short-lived token (RFC 8693).
import { getAddress } from 'ethers';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { textToBase64Url } from './base64url.ts';
import type { Connection } from './connection.ts';
import type { DpopKey } from './dpop.ts';
import type { KeySigner } from './key.ts';
import { readCount, readJson, readText } from './parse.ts';

/** Life of a signed message, ms: at most 5 minutes (docs/contracts.md 8.3). */
const MESSAGE_LIFE_MS = 240_000;

/** The name of a lane at one gateway. */
export interface LaneName {
  readonly payer: Address;
  readonly signer: Address;
}

export interface Token {
  readonly accessToken: string;
  /** By the client's clock, counted from the request. */
  readonly expiresAtMs: number;
  /** The key to which the token is bound; a bearer token has none. */
  readonly dpop?: DpopKey;
}

/** The ERC-4361 text of the message. Without a lane the token can spend nothing. */
export function signInMessage(options: {
  readonly connection: Pick<Connection, 'origin' | 'document'>;
  readonly address: Address;
  readonly nonce: string;
  readonly issuedAtMs: number;
  readonly lane?: LaneName | undefined;
}): string {
  const { connection, address, nonce, issuedAtMs, lane } = options;
  const { gateway, chainId } = connection.document;
  const lines = [
    `${new URL(connection.origin).host} wants you to sign in with your Ethereum account:`,
    getAddress(address),
    '',
    '',
    `URI: ${connection.origin}`,
    'Version: 1',
    `Chain ID: ${chainId}`,
    `Nonce: ${nonce}`,
    `Issued At: ${new Date(issuedAtMs).toISOString()}`,
    `Expiration Time: ${new Date(issuedAtMs + MESSAGE_LIFE_MS).toISOString()}`,
  ];
  if (lane) {
    lines.push('Resources:', `- urn:defaas:lane:${lane.payer}:${gateway}:${lane.signer}`);
  }
  return lines.join('\n');
}

/**
 * Signs in and returns the token. The token may spend from `lane`; the lane's payer or its key may
 * sign. With a `dpop` key the token is bound to it if the gateway supports that.
 * @throws SIGN_IN_REFUSED the gateway does not accept the message; GATEWAY_UNREACHABLE
 */
export async function signIn(
  connection: Connection,
  key: KeySigner,
  lane?: LaneName,
  dpop?: DpopKey,
): Promise<Token> {
  const asked = await connection.request('/oauth/nonce', { method: 'POST' });
  const nonce = readText((await readJson(asked, 'the nonce')).nonce, 'nonce');
  const issuedAtMs = Date.now();
  const message = signInMessage({ connection, address: key.address, nonce, issuedAtMs, lane });
  const signature = await key.signText(message);
  return requestToken(
    connection,
    {
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      subject_token: textToBase64Url(JSON.stringify({ message, signature })),
      subject_token_type: 'urn:defaas:params:oauth:token-type:siwe',
    },
    dpop,
  );
}

/**
 * Requests a token. With a `dpop` key the token is bound to it if the gateway supports that.
 * @throws SIGN_IN_REFUSED, GATEWAY_UNREACHABLE
 */
export async function requestToken(
  connection: Connection,
  form: Readonly<Record<string, string>>,
  dpop: DpopKey | undefined,
): Promise<Token> {
  const askedAtMs = Date.now();
  const proof = await dpop?.prove('POST', `${connection.origin}/oauth/token`);
  const reply = await connection.request('/oauth/token', {
    method: 'POST',
    headers: proof ? { dpop: proof } : {},
    body: new URLSearchParams(form),
  });
  const token = await readJson(reply, 'the token reply');
  return {
    accessToken: readText(token.access_token, 'access_token'),
    expiresAtMs: askedAtMs + readCount(token.expires_in, 'expires_in') * 1000,
    ...(dpop && token.token_type === 'DPoP' && { dpop }),
  };
}
