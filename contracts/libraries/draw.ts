// The verifiable draw of candidates: the epoch's value and the caller's choices decide the order.
// Twin of Draw.sol.
import { type Hex, keccak256Hex } from './keccak.ts';
import type { Call } from './receipts.ts';
import { Words } from './words.ts';

/**
 * The fields of a Call that determine the draw, besides its epoch. In a payer's own calls its
 * client chooses them.
 */
export type DrawnCall = Pick<Call, 'payer' | 'signer' | 'nonce'>;

const seedWords = new Words(4);
const stepWords = new Words(2);

/**
 * The call's seed: keccak256(abi.encode(value, payer, signer, nonce)). `value` is the epoch's
 * uint192 as 24 bytes of hex.
 * @throws TypeError  one of them has another length
 */
export function drawSeed(value: Hex, { payer, signer, nonce }: DrawnCall): Hex {
  seedWords.uint192(0, value);
  seedWords.address(1, payer);
  seedWords.address(2, signer);
  seedWords.bytes32(3, nonce);
  return keccak256Hex(seedWords.bytes);
}

/**
 * The first `places` of the order in which `ids` are tried, all of them by default: a partial
 * Fisher-Yates shuffle. The first two (the candidates) come from the seed's own bits; each further
 * place costs one hash.
 */
export function drawOrder(seed: Hex, ids: readonly number[], places = ids.length): number[] {
  const order = [...ids];
  const end = Math.min(places, order.length);
  for (let k = 0; k < end; k += 1) {
    const left = order.length - k;
    if (left === 1) break;
    const other = k + remainderOf(stepDigits(seed, k), left);
    const drawn = order[other];
    const here = order[k];
    if (drawn === undefined || here === undefined) break;
    order[k] = drawn;
    order[other] = here;
  }
  return order.slice(0, end);
}

/**
 * s(k) in hex digits: the seed's high 128 bits, its low 128 bits, then keccak256(abi.encode(seed,
 * k)).
 */
function stepDigits(seed: Hex, k: number): string {
  if (k === 0) return seed.slice(2, 34);
  if (k === 1) return seed.slice(34);
  stepWords.bytes32(0, seed);
  stepWords.uint(1, k, Number.MAX_SAFE_INTEGER);
  return keccak256Hex(stepWords.bytes).slice(2);
}

/**
 * A long number modulo `divisor`, eight digits at a time: each step is below 2^53 while there are
 * at most 2^21 ids.
 */
function remainderOf(digits: string, divisor: number): number {
  let rest = 0;
  for (let i = 0; i < digits.length; i += 8) {
    rest = (rest * 0x1_0000_0000 + Number.parseInt(digits.slice(i, i + 8), 16)) % divisor;
  }
  return rest;
}
