// Public keys of callers, for DPoP proofs and service accounts: two key types, each with one
// algorithm.
import type { PublicJwk } from '../ledger/ledger.ts';

/** Signature algorithms accepted from callers; the metadata document lists them. */
export const PROOF_ALGORITHMS = ['ES256', 'EdDSA'] as const;

/** The public members of a JWK (RFC 7517), or a text that says what is wrong with it. */
export function publicKeyIn(value: unknown): PublicJwk | string {
  if (typeof value !== 'object' || value === null) return 'is missing';
  if ('d' in value || 'k' in value) return 'is a private key, which is not private any more';
  // Safe: JSON objects have string keys, and every member is checked below.
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
