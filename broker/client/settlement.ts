// What an operator asks of its own gateway: to settle now.
import { readCount, readHex, readJson, readUnits } from './parse.ts';
import type { Session } from './session.ts';

/** A settlement waits for its transaction, ms. */
const SETTLE_TIMEOUT_MS = 120_000;

export interface Settlement {
  readonly tx: string;
  readonly batch: number;
  readonly lanes: number;
  readonly receipts: number;
  readonly totalUnits: bigint;
}

/** Settles everything that can be settled, in one transaction. @throws OPERATOR_ONLY, NOTHING_TO_SETTLE, CHAIN_UNREACHABLE */
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
  };
}
