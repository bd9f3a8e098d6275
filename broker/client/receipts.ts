// Fetches receipts from a gateway: one by its id, or those of a lane in order. verify-receipt.ts
// checks what they claim.
import type { Hex } from '../../contracts/libraries/keccak.ts';
import type { Call, Execution, Receipt } from '../../contracts/libraries/receipts.ts';
import type { BatchReceipt } from './batch-format.ts';
import type { Connection } from './connection.ts';
import {
  type Json,
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
import type { LaneName } from './sign-in.ts';

/** Most receipts in one answer. */
const PAGE_LENGTH = 200;

/** A receipt with its proof, as the gateway shows it. */
export interface ReceiptDocument extends Omit<BatchReceipt, 'attempts'> {
  /** The receipt's hash. */
  readonly id: Hex;
  /** The salt of the `input` and `output` hashes; only the payer gets it. */
  readonly salt?: Hex;
  /** The item from which a mandated call's nonce is made; only the payer gets it. */
  readonly item?: Hex;
  /** `owner/name@number`. */
  readonly function: string;
  /** The cloud that ran it. */
  readonly provider: string;
  readonly settled: boolean;
}

/** @throws RECEIPT_UNKNOWN, GATEWAY_UNREACHABLE, GATEWAY_PROTOCOL */
export async function fetchReceipt(
  from: Pick<Connection | Session, 'request'>,
  id: string,
): Promise<ReceiptDocument> {
  const reply = await from.request(`/receipts/${encodeURIComponent(id)}`);
  return parseReceipt(await readJson(reply, 'the receipt'));
}

/** A lane's receipts with seq above `after`, in order, page by page. @throws as `fetchReceipt` */
export async function* fetchReceipts(
  session: Pick<Session, 'request'>,
  lane: LaneName,
  after = 0,
): AsyncGenerator<ReceiptDocument> {
  for (let last = after; ; ) {
    const query = `lane=${lane.payer}:${lane.signer}&after=${last}&limit=${PAGE_LENGTH}`;
    const reply = await session.request(`/receipts?${query}`);
    const page = await readJson(reply, 'the receipts');
    const receipts = readArray(page.receipts, 'receipts').map((item) =>
      parseReceipt(readObject(item, 'a receipt')),
    );
    yield* receipts;
    const newest = receipts.at(-1);
    // A page without a newer receipt is the last one, whatever `next` says.
    if (!newest || newest.receipt.seq <= last || !page.next) return;
    last = newest.receipt.seq;
  }
}

/** A receipt document as a gateway shows it. @throws GATEWAY_PROTOCOL */
export function parseReceipt(value: Json): ReceiptDocument {
  const group = readObject(value.group, 'group');
  return {
    id: readHex(value.id, 32, 'id'),
    receipt: parseFields(readObject(value.receipt, 'receipt')),
    call: parseCall(readObject(value.call, 'call')),
    ...(typeof value.callSignature === 'string' && {
      callSignature: readHex(value.callSignature, 65, 'callSignature'),
    }),
    execution: parseExecution(readObject(value.execution, 'execution')),
    ...(typeof value.salt === 'string' ? { salt: readHex(value.salt, 32, 'salt') } : {}),
    ...(typeof value.item === 'string' && { item: readHex(value.item, 32, 'item') }),
    group: {
      root: readHex(group.root, 32, 'group.root'),
      index: readCount(group.index, 'group.index'),
      count: readCount(group.count, 'group.count'),
      path: readArray(group.path, 'group.path').map((node) => readHex(node, 32, 'group.path')),
      signature: readHex(group.signature, 65, 'group.signature'),
    },
    ...(typeof value.reason === 'string' ? { reason: value.reason } : {}),
    function: readText(value.function, 'function'),
    provider: readText(value.provider, 'provider'),
    settled: value.settled === true,
  };
}

function parseFields(value: Json): Receipt {
  return {
    ...parseLaneFields(value),
    seq: readCount(value.seq, 'receipt.seq'),
    call: readHex(value.call, 32, 'receipt.call'),
    execution: readHex(value.execution, 32, 'receipt.execution'),
    provider: readAddress(value.provider, 'receipt.provider'),
    attempt: readCount(value.attempt, 'receipt.attempt'),
    atBlock: readCount(value.atBlock, 'receipt.atBlock'),
    price: readUnits(value.price, 'receipt.price'),
    cumulative: readUnits(value.cumulative, 'receipt.cumulative'),
  };
}

function parseCall(value: Json): Call {
  return {
    ...parseLaneFields(value),
    nonce: readHex(value.nonce, 32, 'call.nonce'),
    functionVersion: readHex(value.functionVersion, 32, 'call.functionVersion'),
    input: readHex(value.input, 32, 'call.input'),
    maxPrice: readUnits(value.maxPrice, 'call.maxPrice'),
    deadlineSec: readCount(value.deadlineSec, 'call.deadlineSec'),
    beacon: readCount(value.beacon, 'call.beacon'),
    authority: readHex(value.authority, 32, 'call.authority'),
  };
}

function parseExecution(value: Json): Execution {
  return {
    deployment: readCount(value.deployment, 'execution.deployment'),
    request: readHex(value.request, 32, 'execution.request'),
    billedMs: readCount(value.billedMs, 'execution.billedMs'),
    initMs: readCount(value.initMs, 'execution.initMs'),
    memoryMiB: readCount(value.memoryMiB, 'execution.memoryMiB'),
    status: readCount(value.status, 'execution.status'),
    input: readHex(value.input, 32, 'execution.input'),
    output: readHex(value.output, 32, 'execution.output'),
    finishedAtSec: readCount(value.finishedAtSec, 'execution.finishedAtSec'),
  };
}

function parseLaneFields(value: Json) {
  return {
    payer: readAddress(value.payer, 'payer'),
    gateway: readAddress(value.gateway, 'gateway'),
    signer: readAddress(value.signer, 'signer'),
  };
}
