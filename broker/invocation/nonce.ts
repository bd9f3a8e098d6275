// `Call.nonce` of a prepaid call. The payer's client makes it to recognise its receipts; the
// gateway refuses one that was used a short time ago.
import type { Hex } from '../../contracts/libraries/keccak.ts';
import { DefaasError } from '../errors.ts';

/** Nonces in a generation; two generations are kept. */
export const GENERATION = 8_192;

/** The value of a `Defaas-Nonce` header. @throws DefaasError REQUEST_INVALID */
export function readNonce(text: string): Hex {
  const nonce = text.toLowerCase();
  // Safe: the pattern is that of Hex.
  if (/^0x[0-9a-f]{64}$/.test(nonce)) return nonce as Hex;
  throw new DefaasError('REQUEST_INVALID', 'Defaas-Nonce must be 0x and 64 hex digits, send it so');
}

/**
 * Nonces of the newest calls without a key: a request that a proxy repeats must not be charged
 * twice.
 */
export interface SeenNonces {
  /** @throws DefaasError NONCE_USED */
  begin(nonce: Hex): void;
  /** The call was not charged: its nonce may be used again. */
  forget(nonce: Hex): void;
}

/**
 * Keeps at least the last 8,192 nonces, those of charged calls before the start too. The payer's
 * client refuses a second receipt under an older one.
 */
export function createSeenNonces(beforeStart: readonly Hex[]): SeenNonces {
  let newer = new Set(beforeStart);
  let older = new Set<Hex>();
  return {
    begin: (nonce) => {
      if (newer.has(nonce) || older.has(nonce)) {
        throw new DefaasError(
          'NONCE_USED',
          'a call with this Defaas-Nonce has run or is under way, nothing ran now; make a fresh nonce, or send an Idempotency-Key to have the first answer again',
        );
      }
      if (newer.size >= GENERATION) {
        older = newer;
        newer = new Set();
      }
      newer.add(nonce);
    },
    forget: (nonce) => {
      newer.delete(nonce);
      older.delete(nonce);
    },
  };
}
