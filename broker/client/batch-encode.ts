// Encodes a batch for IPFS: the rows of its pages, and the claims of its root block. Settlement
// writes what is read back by batch-decode.ts.
import { encode } from '@ipld/dag-cbor';
import { type Address, fromHex, type Hex } from '../../contracts/libraries/keccak.ts';
import {
  type Claim,
  hashCall,
  hashExecution,
  NO_AUTHORITY,
} from '../../contracts/libraries/receipts.ts';
import {
  type BatchHeader,
  type BatchReceipt,
  MAX_PAGE_BYTES,
  PLACE,
  VERSION,
} from './batch-format.ts';
import { DefaasClientError } from './errors.ts';

/** Size of a page without rows, bytes, rounded up. */
const PAGE_OVERHEAD_BYTES = 64;
/** Placeholder of a group's number while a row's size is computed: no page holds more groups. */
const MAX_GROUPS = 0xffff;

export interface LaneToEncode {
  readonly claim: Claim;
  /** All with seqFrom < seq <= seqTo, ascending. */
  readonly receipts: Iterable<BatchReceipt> | AsyncIterable<BatchReceipt>;
}

/**
 * Pages of one lane. An upper bound of the page's size is kept while rows are collected, so each
 * row is encoded once.
 */
export async function* encodePages(
  header: BatchHeader,
  lane: LaneToEncode,
): AsyncGenerator<Uint8Array> {
  let groups = new Map<string, number>();
  let groupRows: unknown[] = [];
  let rows: unknown[] = [];
  let size = PAGE_OVERHEAD_BYTES;
  const takePage = () => {
    const bytes = encode({ version: VERSION, groups: groupRows, receipts: rows });
    groups = new Map();
    groupRows = [];
    rows = [];
    size = PAGE_OVERHEAD_BYTES;
    return bytes;
  };
  for await (const item of lane.receipts) {
    const row = receiptRow(item, header, lane.claim);
    const groupRow = [fromHex(item.group.root), item.group.count, fromHex(item.group.signature)];
    const key = `${item.group.root} ${item.group.count} ${item.group.signature}`;
    const groupBytes = groups.has(key) ? 0 : sizeBound(groupRow);
    if (rows.length > 0 && size + sizeBound(row) + groupBytes > MAX_PAGE_BYTES) yield takePage();
    const isNewGroup = !groups.has(key);
    const group = groups.get(key) ?? groups.size;
    if (isNewGroup) {
      groups.set(key, group);
      groupRows.push(groupRow);
    }
    row[PLACE] = [group, item.group.index, pathBytes(item.group.path)];
    rows.push(row);
    size += sizeBound(row) + (isNewGroup ? sizeBound(groupRow) : 0);
  }
  if (rows.length > 0) yield takePage();
}

function receiptRow(item: BatchReceipt, header: BatchHeader, claim: Claim): unknown[] {
  const { receipt, call, execution } = item;
  if (receipt.call !== hashCall(call) || receipt.execution !== hashExecution(execution)) {
    throw new DefaasClientError(
      'BATCH_INCONSISTENT',
      `receipt ${receipt.seq} of lane ${claim.payer}:${claim.signer} is not over the Call and Execution given with it`,
    );
  }
  return [
    receipt.seq,
    bigintBytes(receipt.price),
    bigintBytes(receipt.cumulative),
    fromHex(receipt.provider),
    receipt.attempt,
    receipt.atBlock,
    laneRow(receipt, header, claim),
    [
      fromHex(call.nonce),
      fromHex(call.functionVersion),
      fromHex(call.input),
      bigintBytes(call.maxPrice),
      call.deadlineSec,
      call.beacon,
      laneRow(call, header, claim),
      item.callSignature === undefined ? null : fromHex(item.callSignature),
      call.authority === NO_AUTHORITY ? null : fromHex(call.authority),
    ],
    [
      execution.deployment,
      fromHex(execution.request),
      execution.billedMs,
      execution.initMs,
      execution.memoryMiB,
      execution.status,
      execution.input === call.input ? null : fromHex(execution.input),
      fromHex(execution.output),
      execution.finishedAtSec,
    ],
    [MAX_GROUPS, item.group.index, pathBytes(item.group.path)],
    item.attempts.map((failed) => [failed.deployment, failed.ran, failed.code, failed.measuredMs]),
    item.reason ?? null,
  ];
}

function laneRow(
  named: { payer: Address; gateway: Address; signer: Address },
  header: BatchHeader,
  claim: Claim,
) {
  const same =
    named.payer === claim.payer &&
    named.gateway === header.gateway &&
    named.signer === claim.signer;
  return same ? null : [fromHex(named.payer), fromHex(named.gateway), fromHex(named.signer)];
}

export function claimRow(claim: Claim) {
  return [
    fromHex(claim.payer),
    fromHex(claim.signer),
    bigintBytes(claim.settledFrom),
    bigintBytes(claim.settledTo),
    claim.seqFrom,
    claim.seqTo,
    fromHex(claim.receipts),
  ];
}

function pathBytes(path: readonly Hex[]): Uint8Array {
  const bytes = new Uint8Array(path.length * 32);
  path.forEach((node, index) => {
    bytes.set(fromHex(node), index * 32);
  });
  return bytes;
}

function bigintBytes(value: bigint): Uint8Array {
  if (value === 0n) return new Uint8Array(0);
  const digits = value.toString(16);
  return fromHex(`0x${digits.length % 2 === 1 ? '0' : ''}${digits}`);
}

/** Upper bound of a value's size as dag-cbor, bytes. */
function sizeBound(value: unknown): number {
  if (typeof value === 'number') return headBytes(value);
  if (value instanceof Uint8Array) return headBytes(value.length) + value.length;
  if (typeof value === 'string') return headBytes(3 * value.length) + 3 * value.length;
  if (Array.isArray(value)) {
    return value.reduce((sum, item) => sum + sizeBound(item), headBytes(value.length));
  }
  return 1;
}

/** Size of an integer, or of the head of a value of this length, bytes (RFC 8949, 3). */
function headBytes(value: number): number {
  if (value < 24) return 1;
  if (value < 2 ** 8) return 2;
  if (value < 2 ** 16) return 3;
  return value < 2 ** 32 ? 5 : 9;
}
