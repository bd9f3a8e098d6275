// Access tokens of this gateway: RFC 9068 JWTs, ES256, ten minutes. They identify the caller;
// whether it can pay is checked against the chain on every call.

import {
  calculateJwkThumbprint,
  errors,
  exportJWK,
  generateKeyPair,
  importJWK,
  type JWK,
  jwtVerify,
  SignJWT,
} from 'jose';
import {
  hasTexts,
  readState,
  refuseExposed,
  writeWholeSync,
} from '../../adapters/runtime/whole-file.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { tokenSubject } from '../client/mandates.ts';
import { DefaasError } from '../errors.ts';
import type { FunctionDetail } from './authorization-details.ts';

/** Life of an access token, seconds (docs/contracts.md 8.3: at most 10 minutes). */
export const TOKEN_LIFE_SEC = 600;

/** The only lane that a token may spend from. */
export interface TokenLane {
  readonly payer: Address;
  readonly signer: Address;
}

/** Who a token is for, and what it may be used for. */
export interface TokenSubject {
  /**
   * The account that signed in. A session key may spend from its lane and do nothing else for its
   * payer. Undefined for a service account, which has no account on the chain and may only use its
   * lane.
   */
  readonly signedBy: Address | undefined;
  /** A service account's client id, `<payer>:<id>`. */
  readonly client?: string | undefined;
  readonly lane: TokenLane | undefined;
  /**
   * Thumbprint of the key that the token is bound to (RFC 9449 section 6); undefined for a bearer
   * token.
   */
  readonly jkt?: string | undefined;
  /** The functions that it may invoke; it may then do nothing else. Undefined: no restriction. */
  readonly details?: readonly FunctionDetail[] | undefined;
}

export interface AccessToken extends TokenSubject {
  readonly expiresAtSec: number;
  /**
   * The names that a mandate may identify it by, the most lasting first: its service account, its
   * key, its own id.
   */
  readonly subjects: readonly Hex[];
}

export interface Tokens {
  /** The public key as a JWK Set (RFC 7517). */
  readonly jwks: { readonly keys: readonly JWK[] };
  /** SHA-256 thumbprint of the key (RFC 7638), base64url. The Identity contract holds it. */
  readonly thumbprint: string;
  issue(subject: TokenSubject): Promise<string>;
  /** @throws DefaasError TOKEN_INVALID */
  verify(token: string): Promise<AccessToken>;
}

interface TokensOptions {
  /** File of the signing key; created on first use, mode 0600. */
  readonly keyFile: string;
  readonly gateway: Address;
  readonly chainId: number;
  readonly billing: Address;
  /** Number of the newest block, recorded in the token. */
  readonly headBlock: () => number;
  readonly nowMs: () => number;
}

/** Issues and verifies this gateway's tokens. `iss` and `aud` are both the gateway's account. */
export async function createTokens(options: TokensOptions): Promise<Tokens> {
  const { gateway, chainId } = options;
  const privateJwk = await loadKey(options.keyFile);
  const { d: _private, ...publicJwk } = privateJwk;
  const signingKey = await importJWK(privateJwk, 'ES256');
  const publicKey = await importJWK(publicJwk, 'ES256');
  const thumbprint = await calculateJwkThumbprint(publicJwk);
  const issuer = didOf(chainId, gateway);
  return {
    jwks: { keys: [{ ...publicJwk, kid: thumbprint, alg: 'ES256', use: 'sig' }] },
    thumbprint,
    issue: ({ signedBy, client, lane, jkt, details }) => {
      const nowSec = Math.floor(options.nowMs() / 1000);
      return new SignJWT({
        client_id: signedBy === undefined ? client : didOf(chainId, signedBy),
        ...(lane && { lane: { ...lane, gateway } }),
        ...(jkt !== undefined && { cnf: { jkt } }),
        ...(details && { authorization_details: details }),
        chain: { id: chainId, billing: options.billing, block: options.headBlock() },
      })
        .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: thumbprint })
        .setIssuer(issuer)
        .setAudience(issuer)
        .setSubject(didOf(chainId, payerOf({ signedBy, lane })))
        .setJti(crypto.randomUUID())
        .setIssuedAt(nowSec)
        .setExpirationTime(nowSec + TOKEN_LIFE_SEC)
        .sign(signingKey);
    },
    verify: async (token) => {
      try {
        const { payload } = await jwtVerify(token, publicKey, {
          issuer,
          audience: issuer,
          typ: 'at+jwt',
          algorithms: ['ES256'],
          currentDate: new Date(options.nowMs()),
        });
        // Safe: only `issue` above signs with this key, and the signature holds.
        const claims = payload as {
          client_id: string;
          exp: number;
          jti?: string;
          lane?: TokenLane;
          cnf?: { jkt: string };
          authorization_details?: readonly FunctionDetail[];
          chain?: { id: number; billing: Address };
        };
        // Other sets of contracts use the same signing key. A token of another set names a lane of
        // that set's Billing.
        if (claims.chain?.billing !== options.billing)
          throw new Error('a token of another Billing');
        return {
          ...nameIn(claims.client_id),
          lane: claims.lane && { payer: claims.lane.payer, signer: claims.lane.signer },
          jkt: claims.cnf?.jkt,
          details: claims.authorization_details,
          expiresAtSec: claims.exp,
          subjects: subjectsOf(claims),
        };
      } catch (cause) {
        const why = cause instanceof errors.JWTExpired ? 'has expired' : 'is not one of ours';
        throw new DefaasError('TOKEN_INVALID', `the access token ${why}, sign in again`, { cause });
      }
    },
  };
}

function subjectsOf(claims: {
  readonly client_id: string;
  readonly jti?: string;
  readonly cnf?: { readonly jkt: string };
}): Hex[] {
  const account = claims.client_id.startsWith('did:') ? undefined : claims.client_id;
  return [account, claims.cnf?.jkt, claims.jti].flatMap((name) =>
    name === undefined ? [] : tokenSubject(name),
  );
}

/** `did:pkh` of an account (CAIP-10). */
export function didOf(chainId: number, account: Address): string {
  return `did:pkh:eip155:${chainId}:${account}`;
}

function payerOf({ signedBy, lane }: TokenSubject): Address {
  const payer = lane?.payer ?? signedBy;
  if (payer === undefined) throw new TypeError('a token is for an account, a lane or both');
  return payer;
}

function nameIn(clientId: string): Pick<TokenSubject, 'signedBy' | 'client'> {
  if (!clientId.startsWith('did:')) return { signedBy: undefined, client: clientId };
  // Safe: `didOf` built it from an Address.
  return { signedBy: clientId.slice(clientId.lastIndexOf(':') + 1) as Address };
}

const TOKEN_KEY = {
  what: 'the private key of access tokens, a JWK',
  isWhole: (value: unknown) => hasTexts(value, ['kty', 'crv', 'x', 'y', 'd']),
  remedy: 'restore it; if it is removed, a new key is made and callers sign in again',
};

async function loadKey(file: string): Promise<JWK> {
  refuseExposed(file);
  const known = readState<JWK>(file, TOKEN_KEY);
  if (known !== undefined) return known;
  const { privateKey } = await generateKeyPair('ES256', { extractable: true });
  const jwk = await exportJWK(privateKey);
  writeWholeSync(file, JSON.stringify(jwk));
  return jwk;
}
