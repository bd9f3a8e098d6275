// An operator's requests to its own gateway: settle now, and list what needs the operator's
// attention.
import type { Address } from '../../contracts/libraries/keccak.ts';
import {
  readAddress,
  readArray,
  readCount,
  readHex,
  readJson,
  readObject,
  readText,
  readUnits,
} from './parse.ts';
import type { Session } from './session.ts';

/** Longest wait for the transaction of a settlement, ms. */
const SETTLE_TIMEOUT_MS = 120_000;

export interface Settlement {
  readonly tx: string;
  readonly batch: number;
  readonly lanes: number;
  readonly receipts: number;
  readonly totalUnits: bigint;
  /**
   * Lanes that could not be settled, each with the contract's error, `TooLargeAlone` or
   * `NodeRefused`.
   */
  readonly refused: readonly { payer: Address; signer: Address; reason: string }[];
  /** Number of lanes that did not fit into the transaction: settle again. */
  readonly left: number;
}

/**
 * Settles as much as fits into one transaction: up to 256 lanes, those that owe most first.
 * @throws OPERATOR_ONLY, NOTHING_TO_SETTLE, SETTLEMENT_REFUSED, CHAIN_UNREACHABLE
 */
export async function settle(session: Session): Promise<Settlement> {
  const reply = await session.request('/settlements', {
    method: 'POST',
    timeoutMs: SETTLE_TIMEOUT_MS,
  });
  const settled = await readJson(reply, 'the settlement');
  return {
    tx: readHex(settled.tx, 32, 'tx'),
    batch: readCount(settled.batch, 'batch'),
    lanes: readCount(settled.lanes, 'lanes'),
    receipts: readCount(settled.receipts, 'receipts'),
    totalUnits: readUnits(settled.totalUnits, 'totalUnits'),
    left: readCount(settled.left, 'left'),
    refused: readArray(settled.refused, 'refused').map((one) => {
      const { payer, signer, reason } = readObject(one, 'a refused lane');
      return {
        payer: readAddress(payer, 'payer'),
        signer: readAddress(signer, 'signer'),
        reason: readText(reason, 'reason'),
      };
    }),
  };
}

/** Something that needs the attention of the gateway's operator. */
export interface GatewayAlarm {
  /** `DEMAND_OPEN`, `KEY_STOLEN`, ... */
  readonly kind: string;
  /** What it is about, such as a demand's id. */
  readonly about: string;
  readonly message: string;
  readonly sinceMs: number;
}

/** @throws OPERATOR_ONLY, GATEWAY_UNREACHABLE */
export async function fetchAlarms(session: Pick<Session, 'request'>): Promise<GatewayAlarm[]> {
  const { alarms } = await readJson(await session.request('/alarms'), 'the alarms');
  return readArray(alarms, 'alarms').map((one) => {
    const { kind, about, message, sinceMs } = readObject(one, 'an alarm');
    return {
      kind: readText(kind, 'kind'),
      about: readText(about, 'about'),
      message: readText(message, 'message'),
      sinceMs: readCount(sinceMs, 'sinceMs'),
    };
  });
}
