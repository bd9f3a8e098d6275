// An operator's request to its own gateway: sign with the key that its file holds now.
import type { Address } from '../../contracts/libraries/keccak.ts';
import type { Connection } from './connection.ts';
import { readAddress, readCount, readJson } from './parse.ts';
import type { Session } from './session.ts';

/** Longest wait, ms: all unsettled receipts are signed again. */
const SWITCH_TIMEOUT_MS = 120_000;

export interface SwitchedKey {
  /** The key that signs from now on. */
  readonly key: Address;
  /** Number of groups of unsettled receipts that it has signed again. */
  readonly signedAgain: number;
}

/**
 * The key with which the gateway says that it signs.
 * @throws GATEWAY_UNREACHABLE, GATEWAY_PROTOCOL
 */
export async function fetchOperatorKey(connection: Pick<Connection, 'request'>): Promise<Address> {
  const said = await readJson(await connection.request('/.well-known/defaas'), 'the document');
  return readAddress(said.operatorKey, 'operatorKey');
}

/**
 * Makes the gateway read its operator key again.
 * @throws OPERATOR_ONLY, KEY_NOT_IN_FORCE the gateway does not see it on the chain (yet)
 */
export async function switchOperatorKey(session: Session): Promise<SwitchedKey> {
  const reply = await session.request('/operator-key', {
    method: 'POST',
    timeoutMs: SWITCH_TIMEOUT_MS,
  });
  const said = await readJson(reply, 'the answer');
  return {
    key: readAddress(said.key, 'key'),
    signedAgain: readCount(said.signedAgain, 'signedAgain'),
  };
}
