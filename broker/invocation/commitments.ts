// What a receipt commits to: the whole request and the whole answer, hashed under the call's salt.
// Twin: broker/client/commitments.ts.
import { hash, randomFillSync } from 'node:crypto';
import type { Hex } from '../../contracts/libraries/keccak.ts';

/**
 * Random bytes are fetched in pieces: a call of the system costs microseconds, whatever its size.
 */
const PIECE_BYTES = 4_096;

let piece: Uint8Array = new Uint8Array();
let used = 0;

/** `count` fresh random bytes, at most 4096. They are handed out once and never overwritten. */
export function drawBytes(count: number): Uint8Array {
  if (used + count > piece.length) {
    piece = randomFillSync(new Uint8Array(PIECE_BYTES));
    used = 0;
  }
  used += count;
  return piece.subarray(used - count, used);
}

/**
 * `Call.input`: sha256(salt32 || sha256(method LF target) || sha256(body)). Receipts are public;
 * the salt keeps small bodies from being guessed.
 * @param target  what follows `/functions/{owner}/{name}[@version]` in the request line, byte for
 *   byte (latin1), `/` if empty
 */
export function commitRequest(
  salt: Uint8Array,
  method: string,
  target: string,
  body: Uint8Array,
): Hex {
  return commit(salt, Buffer.from(`${method}\n${target}`, 'latin1'), body);
}

/**
 * `Execution.output`: sha256(salt32 || sha256(status in decimal) || sha256(body)). A failed call
 * has status 0 and no body.
 */
export function commitAnswer(salt: Uint8Array, status: number, body: Uint8Array): Hex {
  return commit(salt, Buffer.from(`${status}`, 'latin1'), body);
}

function commit(salt: Uint8Array, head: Buffer, body: Uint8Array): Hex {
  return `0x${hash('sha256', Buffer.concat([salt, digest(head), digest(body)]), 'hex')}`;
}

function digest(bytes: Uint8Array): Buffer {
  return hash('sha256', bytes, 'buffer');
}
