// Decodes the blocks of a batch. They may come from anybody: the form and the bounds of every value
// are checked, and what does not follow the format is refused with BATCH_MALFORMED.
import { decode } from '@ipld/dag-cbor';
import { CID } from 'multiformats/cid';
import { sha256 } from 'multiformats/hashes/sha2';
import { type Hex, toHex } from '../../contracts/libraries/keccak.ts';
import { CODECS } from '../../contracts/libraries/names.ts';
import {
  type Call,
  type Claim,
  type Execution,
  hashCall,
  hashExecution,
  NO_AUTHORITY,
  type Receipt,
} from '../../contracts/libraries/receipts.ts';
import {
  type BatchHeader,
  type BatchReceipt,
  type FailedAttempt,
  type GroupPlace,
  MAX_LANES,
  MAX_PAGE_BYTES,
  MAX_ROOT_BYTES,
  PLACE,
  VERSION,
} from './batch-format.ts';
import { DefaasClientError } from './errors.ts';

/** Longest group path: a group has at most 2^32 receipts. */
const MAX_PATH_LENGTH = 32;
/**
 * Most failed attempts of one call: a candidate set has at most 32 deployments
 * (docs/contracts.md 8.1).
 */
const MAX_ATTEMPTS = 32;
const MAX_TEXT_LENGTH = 256;

export function decodeRoot(bytes: Uint8Array, cid: string) {
  const root = readMap(decodeBlock(bytes, MAX_ROOT_BYTES, cid), `root block ${cid}`);
  if (root.version !== VERSION) refuse(`root block ${cid}`, `version ${String(root.version)}`);
  const header: BatchHeader = {
    chainId: readUint(root.chainId, 53, 'chainId'),
    billing: readBytes(root.billing, 20, 'billing'),
    gateway: readBytes(root.gateway, 20, 'gateway'),
    batch: readUint(root.batch, 40, 'batch'),
    root: readBytes(root.root, 32, 'root'),
  };
  // Receipts differ, so an honest batch links no page twice. Repeated links are refused: reading
  // them would take hours.
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

export function decodePage(
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
  // Safe: dag-cbor decodes maps to plain objects with string keys. Each member is checked where it
  // is read.
  return value as Record<string, unknown>;
}

/** `most` bounds the length; without it, the size of the block does. */
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
