// A gateway that lies under its own key: receipts changed or invented, and signed again by its
// operator.
import { parseReceipt, type ReceiptDocument } from '../../broker/client/receipts.ts';
import type { Hex } from '../../contracts/libraries/keccak.ts';
import { createTree } from '../../contracts/libraries/ordered-merkle.ts';
import {
  type Call,
  type Execution,
  hashCall,
  hashExecution,
  hashReceipt,
  type Receipt,
} from '../../contracts/libraries/receipts.ts';
import { type Eip712Domain, hashReceiptGroup } from '../../contracts/libraries/typed-data.ts';
import { signDigest } from '../../contracts/signatures.ts';
import { KEYS } from './small-house.ts';

export interface Changes {
  readonly call?: Partial<Call>;
  readonly execution?: Partial<Execution>;
  readonly receipt?: Partial<Receipt>;
}

/** The receipt with other fields, signed by the gateway's operator key as if it were so. */
export function forge(
  domain: Eip712Domain,
  honest: ReceiptDocument,
  changes: Changes,
): ReceiptDocument {
  const call = { ...honest.call, ...changes.call };
  const execution = { ...honest.execution, ...changes.execution };
  const receipt = {
    ...honest.receipt,
    call: hashCall(call),
    execution: hashExecution(execution),
    ...changes.receipt,
  };
  const id = hashReceipt(receipt);
  const { root } = createTree([id]);
  const digest = hashReceiptGroup(domain, { gateway: receipt.gateway, root, count: 1 });
  const signature = signDigest(KEYS.operator.privateKey, digest);
  return {
    ...honest,
    id,
    receipt,
    call,
    execution,
    group: { root, index: 0, count: 1, path: [], signature },
  };
}

/** `count` receipts of calls that nobody made, on top of an honest one. */
export function invent(
  domain: Eip712Domain,
  honest: ReceiptDocument,
  count: number,
): ReceiptDocument[] {
  const { seq, cumulative, price } = honest.receipt;
  return Array.from({ length: count }, (_, index) => {
    const n = index + 1;
    const nonce: Hex = `0x${n.toString(16).padStart(64, '0')}`;
    const receipt = { seq: seq + n, cumulative: cumulative + BigInt(n) * price };
    return forge(domain, honest, { call: { nonce }, receipt });
  });
}

/** The body of an answer to `GET /receipts`. */
export function pageOf(documents: readonly ReceiptDocument[]): string {
  return JSON.stringify({ receipts: documents, next: null }, (_, value) =>
    typeof value === 'bigint' ? `${value}` : value,
  );
}

/** The receipts in an answer to `GET /receipts`. */
export function documentsIn(page: string): ReceiptDocument[] {
  return JSON.parse(page).receipts.map(parseReceipt);
}
