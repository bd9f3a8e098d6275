// Issues and checks the tokens of the Google emulator: access tokens for the control plane, ID
// tokens for functions. Both are RS256 JWTs. The key is created at the first start and kept, so
// that tokens stay valid over a restart.

import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomUUID,
  sign,
  verify,
} from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeWhole } from '../../../runtime/whole-file.ts';

/** Why a token is refused. */
export type TokenFault = 'malformed' | 'signature' | 'audience' | 'expired';

export interface Issuer {
  /** Email address of the account whose tokens the metadata server hands out. */
  readonly email: string;
  accessToken(): { token: string; expiresInSec: number };
  idToken(audience: string): string;
  checkAccess(token: string): TokenFault | undefined;
  checkId(token: string, audience: string): TokenFault | undefined;
}

interface Claims {
  readonly iss: string;
  readonly aud: string;
  readonly exp: number;
}

/** Lifetime of both kinds of token, as at Google. */
const LIFE_SEC = 3600;
const ISSUER = 'https://accounts.google.com';
/** Audience of our access tokens. Google's are opaque. */
const ACCESS = 'access';
const ACCESS_PREFIX = 'ya29.';
/** Most tokens in the cache of checked signatures. */
const MAX_CHECKED = 4096;

/** `nowMs` is Unix time. The key is a file in `dir` that only its owner can read. */
export async function createIssuer(options: {
  readonly dir: string;
  readonly projectId: string;
  readonly nowMs: () => number;
}): Promise<Issuer> {
  const { nowMs } = options;
  const key = await readKey(join(options.dir, 'key.pem'));
  const publicKey = createPublicKey(key);
  const email = `defaas@${options.projectId}.iam.gserviceaccount.com`;
  const checked = new Map<string, Claims>();

  function issue(audience: string): string {
    const issuedSec = Math.floor(nowMs() / 1000);
    return signJwt(key, {
      iss: ISSUER,
      aud: audience,
      azp: email,
      sub: '100000000000000000000',
      email,
      email_verified: true,
      iat: issuedSec,
      exp: issuedSec + LIFE_SEC,
      jti: randomUUID(),
    });
  }

  function check(token: string, audience: string): TokenFault | undefined {
    const claims = checked.get(token) ?? readJwt(token, publicKey);
    if (typeof claims === 'string') return claims;
    if (checked.size >= MAX_CHECKED) checked.clear();
    checked.set(token, claims);
    if (claims.iss !== ISSUER || claims.aud !== audience) return 'audience';
    return claims.exp * 1000 <= nowMs() ? 'expired' : undefined;
  }

  return {
    email,
    accessToken: () => ({ token: ACCESS_PREFIX + issue(ACCESS), expiresInSec: LIFE_SEC }),
    idToken: issue,
    checkAccess: (token) =>
      token.startsWith(ACCESS_PREFIX)
        ? check(token.slice(ACCESS_PREFIX.length), ACCESS)
        : 'malformed',
    checkId: check,
  };
}

async function readKey(file: string): Promise<KeyObject> {
  if (!existsSync(file)) {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    await writeWhole(file, privateKey.export({ type: 'pkcs8', format: 'pem' }));
  }
  return createPrivateKey(readFileSync(file));
}

function signJwt(key: KeyObject, claims: object): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ alg: 'RS256', kid: 'emulator', typ: 'JWT' })}.${part(claims)}`;
  return `${text}.${sign('RSA-SHA256', Buffer.from(text), key).toString('base64url')}`;
}

function readJwt(token: string, key: KeyObject): Claims | 'malformed' | 'signature' {
  const [header, payload, signature, ...rest] = token.split('.');
  if (!header || !payload || !signature || rest.length > 0) return 'malformed';
  const bytes = Buffer.from(`${header}.${payload}`);
  try {
    const { alg } = JSON.parse(Buffer.from(header, 'base64url').toString()) as { alg: unknown };
    const isOurs =
      alg === 'RS256' && verify('RSA-SHA256', bytes, key, Buffer.from(signature, 'base64url'));
    // Safe: we signed it, so it has our claims.
    return isOurs
      ? (JSON.parse(Buffer.from(payload, 'base64url').toString()) as Claims)
      : 'signature';
  } catch {
    return 'malformed';
  }
}
