// What an operator asks of its own gateway: to settle now.
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

/** A settlement waits for its transaction, ms. */
const SETTLE_TIMEOUT_MS = 120_000;

export interface Settlement {
  readonly tx: string;
  readonly batch: number;
  readonly lanes: number;
  readonly receipts: number;
  readonly totalUnits: bigint;
  /** Lanes that the chain would not take, each with the contract's error, `TooLargeAlone` or `NodeRefused`. */
  readonly refused: readonly { payer: Address; signer: Address; reason: string }[];
  /** Lanes that one transaction had no room for: settle again. */
  readonly left: number;
}

/**
 * Settles what one transaction takes: up to 256 lanes, those that owe most first.
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
