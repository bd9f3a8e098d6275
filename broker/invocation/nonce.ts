// `Call.nonce`: unique in its lane, from the caller's Idempotency-Key where there is one, so that the caller can check the draw.
import { randomBytes } from 'node:crypto';
import { keccak256Hex } from '../../contracts/libraries/keccak.ts';

/** The first 8 bytes of the key's keccak256, else 8 random ones (contracts.md section 4). */
export function nonceOf(idempotencyKey: string | undefined): bigint {
  if (idempotencyKey === undefined) return randomBytes(8).readBigUInt64BE();
  return BigInt(keccak256Hex(Buffer.from(idempotencyKey, 'utf8')).slice(0, 18));
}
