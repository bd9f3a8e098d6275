// A Bloom filter of the idempotency keys that were used. Most keys are new, and a new key then
// costs no read of the database.

/**
 * 8 MiB. False positives: one in a thousand with 4 million keys in it, one in a hundred with 7
 * million.
 */
const BITS = 2 ** 26;
/** Bits set per key, each from other digits of its hash. */
const HASHES = 6;
/** 7 hex digits hold the 26 bits of one position. */
const DIGITS = 7;

export interface SeenKeys {
  /** The bits of the filter, to pass it to another thread. */
  readonly bits: Uint8Array;
  /** `scope` is 64 digits of hex, a hash. */
  add(scope: string): void;
  /** False: the key was certainly never added. */
  mayHave(scope: string): boolean;
}

/**
 * Keys are never removed while the process runs. After a restart the filter has the stored keys.
 */
export function createSeenKeys(bits: Uint8Array = new Uint8Array(BITS / 8)): SeenKeys {
  const place = (scope: string, n: number): number =>
    Number.parseInt(scope.slice(n * DIGITS, (n + 1) * DIGITS), 16) % BITS;
  return {
    bits,
    add: (scope) => {
      for (let n = 0; n < HASHES; n += 1) {
        const at = place(scope, n);
        bits[at >> 3] = (bits[at >> 3] ?? 0) | (1 << (at & 7));
      }
    },
    mayHave: (scope) => {
      for (let n = 0; n < HASHES; n += 1) {
        const at = place(scope, n);
        if (((bits[at >> 3] ?? 0) & (1 << (at & 7))) === 0) return false;
      }
      return true;
    },
  };
}
