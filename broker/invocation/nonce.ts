// `Call.nonce`: unique in its lane, from the caller's Idempotency-Key where there is one, so that the caller can check the draw.
import { type Hex, keccak256Hex, toHex } from '../../contracts/libraries/keccak.ts';
import { drawBytes } from './random.ts';

/** The key's keccak256, else 32 random bytes. */
export function nonceOf(idempotencyKey: string | undefined): Hex {
  if (idempotencyKey === undefined) return toHex(drawBytes(32));
  return keccak256Hex(Buffer.from(idempotencyKey, 'utf8'));
}
