// The batch of a settlement as it stands on IPFS (dag-cbor): a root block with one claim per lane,
// and pages of opened receipts. Settlement writes it; audit, payees and the web page read it page
// by page. The format is final (docs/contracts.md 5.5):
//
//   Root    { version: 1, chainId, billing, gateway, batch, root, lanes: [[Claim, [link to a Page, ...]], ...] }   lanes as in the transaction
//   Claim   [payer, signer, settledFrom, settledTo, seqFrom, seqTo, receipts]
//   Page    { version: 1, groups: [[root, count, signature], ...], receipts: [Row, ...] }   consecutive receipts of one lane
//   Row     [seq, price, cumulative, provider, attempt, atBlock, Lane | null, Call, Execution, Place, [Attempt, ...], reason | null]
//   Lane    [payer, gateway, signer]   null: the claim's and the header's, as it has to be
//   Call    [nonce, functionVersion, input, maxPrice, deadline, beacon, Lane | null, signature | null, authority | null]
//           authority null: zero, the payer's own call
//   Execution [deployment, request, billedMs, initMs, memoryMiB, status, input | null, output, finishedAt]   input null: the Call's
//   Place   [group (index into groups), index, path]
//   Attempt [deployment, ran, code, measuredMs]   those that did not give the answer: passed over (PASSED_OVER, 'no', 0), then tried, in turn;
//           with the one that counts they account for every place of the draw up to its own
//
// Addresses (20 bytes), hashes (32), signatures (65) and paths (32 each, concatenated) are byte strings; money is big-endian byte
// strings without leading zeros (zero is empty), since dag-cbor's integers end at 64 bits; the rest are integers. A receipt's `call` and
// `execution` are not stored: they are the hashes of the opened Call and Execution.

import { decode, encode } from '@ipld/dag-cbor';
import { CID } from 'multiformats/cid';
import { sha256 } from 'multiformats/hashes/sha2';
import { type Address, fromHex, type Hex, toHex } from '../../contracts/libraries/keccak.ts';
import { CODECS, cidOf } from '../../contracts/libraries/names.ts';
import {
  type Call,
  type Claim,
  type Execution,
  hashCall,
  hashExecution,
  NO_AUTHORITY,
  type Receipt,
} from '../../contracts/libraries/receipts.ts';
import { DefaasClientError } from './errors.ts';

/** Largest page, bytes (docs/contracts.md 5.5). */
export const MAX_PAGE_BYTES = 512 * 1024;
/** Largest root block, bytes: half of bitswap's default message; about 25 million receipts. */
export const MAX_ROOT_BYTES = 1024 * 1024;
/** Most lanes of one transaction (docs/contracts.md 6.1). */
const MAX_LANES = 256;
/** Longest group path: a group has at most 2^32 receipts. */
const MAX_PATH_LENGTH = 32;
/**
 * Most failed attempts of one call: a candidate set has at most 32 deployments
 * (docs/contracts.md 8.1).
 */
const MAX_ATTEMPTS = 32;
/** Codes of a deployment that was not tried; why is the gateway's word. */
export const PASSED_OVER = [
  /** The gateway could not reach it: taken down, or not up yet. */
  'NOT_LIVE',
  /** The version's routing or the call's excludes it, or puts it behind the one that ran. */
  'POLICY',
  /** It kept failing. */
  'CIRCUIT_OPEN',
  /** It had more calls under way than the next one, which ran. */
  'LOAD',
] as const;
const MAX_TEXT_LENGTH = 256;
const VERSION = 1;

export interface BatchHeader {
  readonly chainId: number;
  readonly billing: Address;
  readonly gateway: Address;
  /** Number of the batch at this gateway, dense from 0. */
  readonly batch: number;
  /** Root of the batch tree: the claims' hashes in the order of the lanes. */
  readonly root: Hex;
}

/** Where a receipt stands in the signed group of its durable commit. */
export interface GroupPlace {
  readonly root: Hex;
  readonly index: number;
  readonly count: number;
  readonly path: readonly Hex[];
  /** Over ReceiptGroup(gateway, root, count), by an operator key of the gateway. */
  readonly signature: Hex;
}

export type PassedOver = (typeof PASSED_OVER)[number];

/** A deployment that did not give the answer, with the reason why it was passed over, `HEDGED` where another run answered first, or the provider's error code and the time it took by the gateway's clock. */
export interface FailedAttempt {
  readonly deployment: number;
  readonly ran: 'no' | 'maybe';
  readonly code: string;
  readonly measuredMs: number;
}

/** A receipt with everything that is needed to check it. */
export interface BatchReceipt {
  readonly receipt: Receipt;
  readonly call: Call;
  readonly execution: Execution;
  /** Over the Call, by the lane's signer; only in signed lanes. */
  readonly callSignature?: Hex;
  readonly group: GroupPlace;
  readonly attempts: readonly FailedAttempt[];
  /** Why, where the status is 0. */
  readonly reason?: string;
}

/** A block by its CIDv1 (base32); its bytes are what the CID was made of. */
export interface BatchBlock {
  readonly cid: string;
  readonly bytes: Uint8Array;
}

/** Gives the bytes of a block; what it gives is checked against the CID here. Rejects when it has none. */
export type GetBlock = (cid: string) => Promise<Uint8Array>;

export interface LaneToEncode {
  readonly claim: Claim;
  /** Those with seqFrom < seq <= seqTo, ascending. */
  readonly receipts: Iterable<BatchReceipt> | AsyncIterable<BatchReceipt>;
}

export interface BatchLane {
  readonly claim: Claim;
  /** CIDs of the pages, in order. */
  readonly pages: readonly string[];
  /** Page by page: one page is in memory at a time. Rejects with BATCH_BLOCK_MISSING, BATCH_BLOCK_ALTERED or BATCH_MALFORMED. */
  receipts(): AsyncGenerator<BatchReceipt>;
}

export interface Batch {
  readonly header: BatchHeader;
  readonly lanes: readonly BatchLane[];
}

/**
 * Writes a batch: `put` gets each block once, pages first and the root last, and is awaited before the next one is made, so memory holds one page.
 * The same input gives the same blocks. `digest` is the sha2-256 of the root block, as `settle` takes it.
 * It writes what it is given and judges only its form; whether the receipts are right is the audit's to say.
 * @throws BATCH_INCONSISTENT a receipt's `call` or `execution` is not the hash of what stands beside it; BATCH_TOO_LARGE more lanes or pages than a root block holds
 */
export async function encodeBatch(options: {
  readonly header: BatchHeader;
  readonly lanes: Iterable<LaneToEncode> | AsyncIterable<LaneToEncode>;
  readonly put: (block: BatchBlock) => Promise<void> | void;
}): Promise<{ root: string; digest: Hex }> {
  const { header, put } = options;
  const lanes: [unknown, CID[]][] = [];
  for await (const lane of options.lanes) {
    const links: CID[] = [];
    for await (const page of encodePages(header, lane)) links.push(await putBlock(page, put));
    lanes.push([claimRow(lane.claim), links]);
  }
  const bytes = encode({
    version: VERSION,
    chainId: header.chainId,
    billing: fromHex(header.billing),
    gateway: fromHex(header.gateway),
    batch: header.batch,
    root: fromHex(header.root),
    lanes,
  });
  if (lanes.length > MAX_LANES || bytes.length > MAX_ROOT_BYTES) {
    throw new DefaasClientError(
      'BATCH_TOO_LARGE',
      `batch ${header.batch} has ${lanes.length} lanes and a root block of ${bytes.length} bytes; settle at most ${MAX_LANES} lanes and ${MAX_ROOT_BYTES} bytes at once`,
    );
  }
  const root = await putBlock(bytes, put);
  return { root: root.toString(), digest: toHex(root.multihash.digest) };
}

/**
 * Opens a batch by the CID of its root block. Blocks are fetched as they are needed and checked against their CIDs.
 * @throws BATCH_BLOCK_MISSING `getBlock` had none; BATCH_BLOCK_ALTERED its bytes are not those of the CID; BATCH_MALFORMED they are, but do not follow the format
 */
export async function readBatch(root: string, getBlock: GetBlock): Promise<Batch> {
  const { header, lanes } = decodeRoot(await checkedBlock(root, getBlock), root);
  return {
    header,
    lanes: lanes.map(({ claim, pages }) => ({
      claim,
      pages,
      async *receipts() {
        for (const page of pages) {
          yield* decodePage(await checkedBlock(page, getBlock), header, claim, page);
        }
      },
    })),
  };
}

/** CID of a batch's root block from the digest in its BatchSettled event. */
export function batchCid(digest: Hex): string {
  return cidOf(CODECS.dagCbor, digest);
}

async function putBlock(bytes: Uint8Array, put: (block: BatchBlock) => Promise<void> | void) {
  const cid = CID.createV1(CODECS.dagCbor, await sha256.digest(bytes));
  await put({ cid: cid.toString(), bytes });
  return cid;
}

async function checkedBlock(cid: string, getBlock: GetBlock): Promise<Uint8Array> {
  let bytes: Uint8Array;
  try {
    bytes = await getBlock(cid);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new DefaasClientError('BATCH_BLOCK_MISSING', `no block ${cid}: ${why}`, { cause });
  }
  const digest = CID.parse(cid).multihash.digest;
  const found = (await sha256.digest(bytes)).digest;
  if (toHex(found) !== toHex(digest)) {
    throw new DefaasClientError(
      'BATCH_BLOCK_ALTERED',
      `block ${cid} has sha2-256 ${toHex(found)}, its ${bytes.length} bytes are not those of its CID`,
    );
  }
  return bytes;
}

// ---- writing -----------------------------------------------------------------------------------------------------------------

/** Pages of one lane. A page's size is bounded from above while rows are gathered, so that each row is encoded once. */
async function* encodePages(header: BatchHeader, lane: LaneToEncode): AsyncGenerator<Uint8Array> {
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

/** Keys and headers of a page without rows, bytes, rounded up. */
const PAGE_OVERHEAD_BYTES = 64;
/** Position of Place in a Row. */
const PLACE = 9;
/** More groups than a page holds; stands for the group's number while a row's size is taken. */
const MAX_GROUPS = 0xffff;

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

function claimRow(claim: Claim) {
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

/** At most so many bytes has a value as dag-cbor. */
function sizeBound(value: unknown): number {
  if (typeof value === 'number') return headBytes(value);
  if (value instanceof Uint8Array) return headBytes(value.length) + value.length;
  if (typeof value === 'string') return headBytes(3 * value.length) + 3 * value.length;
  if (Array.isArray(value)) {
    return value.reduce((sum, item) => sum + sizeBound(item), headBytes(value.length));
  }
  return 1;
}

/** Bytes of an integer, or of the head of a value of this length (RFC 8949, 3). */
function headBytes(value: number): number {
  if (value < 24) return 1;
  if (value < 2 ** 8) return 2;
  if (value < 2 ** 16) return 3;
  return value < 2 ** 32 ? 5 : 9;
}

// ---- reading: everything that comes from outside is checked for its form -----------------------------------------------------------

function decodeRoot(bytes: Uint8Array, cid: string) {
  const root = readMap(decodeBlock(bytes, MAX_ROOT_BYTES, cid), `root block ${cid}`);
  if (root.version !== VERSION) refuse(`root block ${cid}`, `version ${String(root.version)}`);
  const header: BatchHeader = {
    chainId: readUint(root.chainId, 53, 'chainId'),
    billing: readBytes(root.billing, 20, 'billing'),
    gateway: readBytes(root.gateway, 20, 'gateway'),
    batch: readUint(root.batch, 40, 'batch'),
    root: readBytes(root.root, 32, 'root'),
  };
  // No two receipts have one place, so no page stands twice: a root block of repeated links would be read for hours.
  const known = new Set<string>();
  const lanes = readList(root.lanes, 'lanes', MAX_LANES).map((lane, index) => {
    const where = `lanes[${index}]`;
    const [claim, links] = readTuple(lane, 2, where);
    const pages = readList(links, `${where} pages`).map((link) => {
      const cid = CID.asCID(link);
      if (cid?.code !== CODECS.dagCbor || cid.multihash.code !== sha256.code) {
        refuse(`${where} pages`, 'a link that is no dag-cbor CID with sha2-256');
      }
      const name = cid.toString();
      if (known.has(name)) refuse(`${where} pages`, `page ${name} twice`);
      known.add(name);
      return name;
    });
    return { claim: readClaim(claim, `${where} claim`), pages };
  });
  return { header, lanes };
}

function readClaim(value: unknown, where: string): Claim {
  const row = readTuple(value, 7, where);
  return {
    payer: readBytes(row[0], 20, `${where} payer`),
    signer: readBytes(row[1], 20, `${where} signer`),
    settledFrom: readBigint(row[2], 16, `${where} settledFrom`),
    settledTo: readBigint(row[3], 16, `${where} settledTo`),
    seqFrom: readUint(row[4], 40, `${where} seqFrom`),
    seqTo: readUint(row[5], 40, `${where} seqTo`),
    receipts: readBytes(row[6], 32, `${where} receipts`),
  };
}

function decodePage(
  bytes: Uint8Array,
  header: BatchHeader,
  claim: Claim,
  cid: string,
): BatchReceipt[] {
  const page = readMap(decodeBlock(bytes, MAX_PAGE_BYTES, cid), `page ${cid}`);
  if (page.version !== VERSION) refuse(`page ${cid}`, `version ${String(page.version)}`);
  const groups = readList(page.groups, 'groups').map((group, index) => {
    const row = readTuple(group, 3, `groups[${index}]`);
    return {
      root: readBytes(row[0], 32, `groups[${index}] root`),
      count: readUint(row[1], 32, `groups[${index}] count`),
      signature: readBytes(row[2], 65, `groups[${index}] signature`),
    };
  });
  return readList(page.receipts, 'receipts').map((row, index) =>
    readReceipt(row, { header, claim, groups, where: `page ${cid} receipts[${index}]` }),
  );
}

interface PageContext {
  readonly header: BatchHeader;
  readonly claim: Claim;
  readonly groups: readonly Pick<GroupPlace, 'root' | 'count' | 'signature'>[];
  readonly where: string;
}

function readReceipt(value: unknown, page: PageContext): BatchReceipt {
  const { where } = page;
  const row = readTuple(value, 12, where);
  const { call, callSignature } = readCall(row[7], page);
  const execution = readExecution(row[8], call, where);
  const [group, index, path] = readTuple(row[PLACE], 3, `${where} place`);
  const signed = page.groups[readUint(group, 32, `${where} group`)];
  if (!signed) refuse(where, 'a group that is not on its page');
  const receipt: Receipt = {
    ...readLane(row[6], page),
    seq: readUint(row[0], 40, `${where} seq`),
    call: hashCall(call),
    execution: hashExecution(execution),
    provider: readBytes(row[3], 20, `${where} provider`),
    attempt: readUint(row[4], 8, `${where} attempt`),
    atBlock: readUint(row[5], 53, `${where} atBlock`),
    price: readBigint(row[1], 16, `${where} price`),
    cumulative: readBigint(row[2], 16, `${where} cumulative`),
  };
  return {
    receipt,
    call,
    execution,
    ...(callSignature === undefined ? {} : { callSignature }),
    group: {
      ...signed,
      index: readUint(index, 32, `${where} index`),
      path: readPath(path, `${where} path`),
    },
    attempts: readList(row[10], `${where} attempts`, MAX_ATTEMPTS).map((failed) =>
      readAttempt(failed, `${where} attempts`),
    ),
    ...(row[11] === null ? {} : { reason: readText(row[11], `${where} reason`) }),
  };
}

function readLane(value: unknown, { header, claim, where }: PageContext) {
  if (value === null) return { payer: claim.payer, gateway: header.gateway, signer: claim.signer };
  const row = readTuple(value, 3, `${where} lane`);
  return {
    payer: readBytes(row[0], 20, `${where} payer`),
    gateway: readBytes(row[1], 20, `${where} gateway`),
    signer: readBytes(row[2], 20, `${where} signer`),
  };
}

function readCall(value: unknown, page: PageContext): { call: Call; callSignature?: Hex } {
  const where = `${page.where} call`;
  const row = readTuple(value, 9, where);
  const call: Call = {
    ...readLane(row[6], page),
    nonce: readBytes(row[0], 32, `${where} nonce`),
    functionVersion: readBytes(row[1], 32, `${where} functionVersion`),
    input: readBytes(row[2], 32, `${where} input`),
    maxPrice: readBigint(row[3], 16, `${where} maxPrice`),
    deadlineSec: readUint(row[4], 40, `${where} deadline`),
    beacon: readUint(row[5], 53, `${where} beacon`),
    authority: row[8] === null ? NO_AUTHORITY : readBytes(row[8], 32, `${where} authority`),
  };
  if (row[7] === null) return { call };
  return { call, callSignature: readBytes(row[7], 65, `${where} signature`) };
}

function readExecution(value: unknown, call: Call, receiptWhere: string): Execution {
  const where = `${receiptWhere} execution`;
  const row = readTuple(value, 9, where);
  return {
    deployment: readUint(row[0], 53, `${where} deployment`),
    request: readBytes(row[1], 32, `${where} request`),
    billedMs: readUint(row[2], 32, `${where} billedMs`),
    initMs: readUint(row[3], 32, `${where} initMs`),
    memoryMiB: readUint(row[4], 32, `${where} memoryMiB`),
    status: readUint(row[5], 16, `${where} status`),
    input: row[6] === null ? call.input : readBytes(row[6], 32, `${where} input`),
    output: readBytes(row[7], 32, `${where} output`),
    finishedAtSec: readUint(row[8], 40, `${where} finishedAt`),
  };
}

function readAttempt(value: unknown, where: string): FailedAttempt {
  const row = readTuple(value, 4, where);
  const ran = row[1];
  if (ran !== 'no' && ran !== 'maybe') refuse(where, 'a `ran` that is neither no nor maybe');
  return {
    deployment: readUint(row[0], 53, `${where} deployment`),
    ran,
    code: readText(row[2], `${where} code`),
    measuredMs: readUint(row[3], 32, `${where} measuredMs`),
  };
}

function readPath(value: unknown, where: string): Hex[] {
  if (!(value instanceof Uint8Array) || value.length % 32 !== 0) refuse(where, 'no path');
  if (value.length > MAX_PATH_LENGTH * 32) refuse(where, `a path of ${value.length / 32}`);
  return Array.from({ length: value.length / 32 }, (_, index) =>
    toHex(value.subarray(index * 32, index * 32 + 32)),
  );
}

function decodeBlock(bytes: Uint8Array, maxBytes: number, cid: string): unknown {
  if (bytes.length > maxBytes) refuse(`block ${cid}`, `${bytes.length} bytes, above ${maxBytes}`);
  try {
    return decode(bytes);
  } catch (cause) {
    throw new DefaasClientError('BATCH_MALFORMED', `block ${cid} is no dag-cbor`, { cause });
  }
}

function readMap(value: unknown, where: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) refuse(where, 'no map');
  // Safe: dag-cbor makes plain objects with string keys of maps; each member is checked where it is read.
  return value as Record<string, unknown>;
}

/** Without `most` the block's size is the bound. */
function readList(value: unknown, where: string, most = MAX_ROOT_BYTES): unknown[] {
  if (!Array.isArray(value) || value.length > most) refuse(where, `no list of at most ${most}`);
  return value;
}

function readTuple(value: unknown, length: number, where: string): unknown[] {
  if (!Array.isArray(value) || value.length !== length) refuse(where, `no list of ${length}`);
  return value;
}

function readBytes(value: unknown, length: number, where: string): Hex {
  if (!(value instanceof Uint8Array) || value.length !== length)
    refuse(where, `no ${length} bytes`);
  return toHex(value);
}

function readUint(value: unknown, bits: number, where: string): number {
  if (
    typeof value !== 'number' ||
    !Number.isSafeInteger(value) ||
    value < 0 ||
    value >= 2 ** bits
  ) {
    refuse(where, `no integer of ${bits} bits`);
  }
  return value;
}

function readBigint(value: unknown, maxBytes: number, where: string): bigint {
  if (!(value instanceof Uint8Array) || value.length > maxBytes || value[0] === 0) {
    refuse(where, `no big-endian integer of at most ${maxBytes} bytes without leading zeros`);
  }
  return value.length === 0 ? 0n : BigInt(toHex(value));
}

function readText(value: unknown, where: string): string {
  if (typeof value !== 'string' || value.length > MAX_TEXT_LENGTH) {
    refuse(where, `no text of at most ${MAX_TEXT_LENGTH} characters`);
  }
  return value;
}

function refuse(where: string, found: string): never {
  throw new DefaasClientError('BATCH_MALFORMED', `${where}: ${found}; not a batch of format 1`);
}
