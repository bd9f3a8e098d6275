// Public keys that callers bring: of DPoP proofs and of service accounts. Two kinds, each with its one algorithm.
import type { PublicJwk } from '../ledger/ledger.ts';

/** What callers sign with; the metadata document says so. */
export const PROOF_ALGORITHMS = ['ES256', 'EdDSA'] as const;

/** The public members alone of a JWK (RFC 7517), or what is wrong with it. */
export function publicKeyIn(value: unknown): PublicJwk | string {
  if (typeof value !== 'object' || value === null) return 'is missing';
  if ('d' in value || 'k' in value) return 'is a private key, which is not private any more';
  // Safe: objects of JSON have string keys; every member is read with a check.
  const { kty, crv, x, y } = value as Record<string, unknown>;
  if (!isCoordinate(x)) return 'has no x of 32 bytes';
  if (kty === 'OKP' && crv === 'Ed25519') return { kty, crv, x };
  if (kty === 'EC' && crv === 'P-256' && isCoordinate(y)) return { kty, crv, x, y };
  return 'is neither a P-256 nor an Ed25519 key';
}

/** 32 bytes of base64url. */
function isCoordinate(value: unknown): value is string {
  return typeof value === 'string' && /^[\w-]{43}$/.test(value);
}
