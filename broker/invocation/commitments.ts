// What a receipt commits to: the whole request and the whole answer, hashed under the call's salt. Twin: broker/client/commitments.ts.
import { hash } from 'node:crypto';
import type { Hex } from '../../contracts/libraries/keccak.ts';

const HASH_BYTES = 32;
/** Salt and two hashes. Hashing is synchronous, so one buffer serves all calls. */
const committed = Buffer.alloc(3 * HASH_BYTES);

/**
 * `Call.input`: sha256(salt32 || sha256(method LF target) || sha256(body)). The salt keeps small bodies from being guessed, since
 * receipts are public.
 * @param target  what follows `/functions/{owner}/{name}[@version]` in the request line, byte for byte (latin1), `/` if empty
 */
export function commitRequest(
  salt: Uint8Array,
  method: string,
  target: string,
  body: Uint8Array,
): Hex {
  return commit(salt, Buffer.from(`${method}\n${target}`, 'latin1'), body);
}

/** `Execution.output`: sha256(salt32 || sha256(status in decimal) || sha256(body)); status 0 and no body when the call failed. */
export function commitAnswer(salt: Uint8Array, status: number, body: Uint8Array): Hex {
  return commit(salt, Buffer.from(`${status}`, 'latin1'), body);
}

function commit(salt: Uint8Array, head: Buffer, body: Uint8Array): Hex {
  committed.set(salt);
  committed.set(digest(head), HASH_BYTES);
  committed.set(digest(body), 2 * HASH_BYTES);
  return `0x${hash('sha256', committed, 'hex')}`;
}

function digest(bytes: Uint8Array): Buffer {
  return hash('sha256', bytes, 'buffer');
}
