// `Call.nonce`: unique in its lane, from the caller's Idempotency-Key where there is one, so that the caller can check the draw.
import { keccak256Hex, toHex } from '../../contracts/libraries/keccak.ts';
import { drawBytes } from './random.ts';

/** The first 8 bytes of the key's keccak256, else 8 random ones (contracts.md section 4). */
export function nonceOf(idempotencyKey: string | undefined): bigint {
  if (idempotencyKey === undefined) return BigInt(toHex(drawBytes(8)));
  return BigInt(keccak256Hex(Buffer.from(idempotencyKey, 'utf8')).slice(0, 18));
}
