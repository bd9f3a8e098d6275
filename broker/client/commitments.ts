// What a receipt commits to: the whole request and the whole answer, hashed under the call's salt.
// Twin: broker/invocation/commitments.ts.
import { fromHex, type Hex, toHex } from '../../contracts/libraries/keccak.ts';

/** A request as its receipt commits to it. */
export interface CommittedRequest {
  /** As sent: `POST`, `GET`, ... */
  readonly method: string;
  /**
   * What follows `/functions/{owner}/{name}[@version]` in the request line, byte for byte, `/` if
   * empty.
   */
  readonly target: string;
  readonly body: Uint8Array;
}

/** `Call.input`: sha256(salt32 || sha256(method LF target) || sha256(body)). */
export function commitRequest(salt: Hex, { method, target, body }: CommittedRequest): Promise<Hex> {
  return commit(salt, `${method}\n${target}`, body);
}

/**
 * `Execution.output`: sha256(salt32 || sha256(status in decimal) || sha256(body)); status 0 and no
 * body when the call failed.
 */
export function commitAnswer(salt: Hex, status: number, body: Uint8Array): Promise<Hex> {
  return commit(salt, `${status}`, body);
}

async function commit(salt: Hex, head: string, body: Uint8Array): Promise<Hex> {
  const committed = new Uint8Array(96);
  committed.set(fromHex(salt));
  committed.set(await digest(new TextEncoder().encode(head)), 32);
  committed.set(await digest(body), 64);
  return toHex(await digest(committed));
}

async function digest(bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', new Uint8Array(bytes)));
}
