// `Call.nonce` of a prepaid call: the payer's client makes it, so that it knows its receipts again;
// the gateway only looks that it is not used twice in a row.
import type { Hex } from '../../contracts/libraries/keccak.ts';
import { DefaasError } from '../errors.ts';

/** Nonces of a generation; two of them are kept. */
const GENERATION = 8_192;

/** The value of a `Defaas-Nonce` header. @throws DefaasError REQUEST_INVALID */
export function readNonce(text: string): Hex {
  const nonce = text.toLowerCase();
  // Safe: the pattern is that of Hex.
  if (/^0x[0-9a-f]{64}$/.test(nonce)) return nonce as Hex;
  throw new DefaasError('REQUEST_INVALID', 'Defaas-Nonce must be 0x and 64 hex digits, send it so');
}

/**
 * Nonces of the newest calls that came without a key: a request that something on the way repeats
 * must not be charged twice.
 */
export interface SeenNonces {
  /** @throws DefaasError NONCE_USED */
  begin(nonce: Hex): void;
  /** It cost nothing: it may be used again. */
  forget(nonce: Hex): void;
}

/**
 * What is older than the last 8,192 is forgotten: then the payer's own client refuses the second
 * receipt.
 */
export function createSeenNonces(): SeenNonces {
  let newer = new Set<Hex>();
  let older = new Set<Hex>();
  return {
    begin: (nonce) => {
      if (newer.has(nonce) || older.has(nonce)) {
        throw new DefaasError(
          'NONCE_USED',
          'a call with this Defaas-Nonce has run or is under way, nothing ran now; make a fresh nonce, or send an Idempotency-Key to have the first answer again',
        );
      }
      if (newer.size === GENERATION) {
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
