// Which idempotency keys may have been used: a Bloom filter, so that a fresh key, by far the most of them, costs no read.

/** 8 MiB of bits: one in a thousand fresh keys costs a read at 4 million keys, one in a hundred at 7 million. */
const BITS = 2 ** 26;
/** Bits set per key, from different digits of its hash. */
const HASHES = 6;
/** 26 bits of a hash are in 7 digits of its hex. */
const DIGITS = 7;

export interface SeenKeys {
  /** The filter itself, to hand it to another thread. */
  readonly bits: Uint8Array;
  /** `scope` is 64 digits of hex, a hash. */
  add(scope: string): void;
  /** False: certainly never added. */
  mayHave(scope: string): boolean;
}

/** Forgets nothing while the process runs; a restart begins with the keys that still answer. */
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
