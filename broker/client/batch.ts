// The batch of a settlement on IPFS: written block by block by settlement, read page by page by the
// audit, payees, watchers and the web page. batch-format.ts describes its form.
import { encode } from '@ipld/dag-cbor';
import { CID } from 'multiformats/cid';
import { sha256 } from 'multiformats/hashes/sha2';
import { fromHex, type Hex, toHex } from '../../contracts/libraries/keccak.ts';
import { CODECS, cidOf } from '../../contracts/libraries/names.ts';
import type { Claim } from '../../contracts/libraries/receipts.ts';
import { decodePage, decodeRoot } from './batch-decode.ts';
import { claimRow, encodePages, type LaneToEncode } from './batch-encode.ts';
import {
  type BatchHeader,
  type BatchReceipt,
  MAX_LANES,
  MAX_ROOT_BYTES,
  VERSION,
} from './batch-format.ts';
import { DefaasClientError } from './errors.ts';

/** A block and its CIDv1 (base32). */
export interface BatchBlock {
  readonly cid: string;
  readonly bytes: Uint8Array;
}

/**
 * Returns the bytes of a block, which are checked against the CID here. Rejects when it has none.
 */
export type GetBlock = (cid: string) => Promise<Uint8Array>;

export interface BatchLane {
  readonly claim: Claim;
  /** CIDs of the pages, in order. */
  readonly pages: readonly string[];
  /**
   * Reads page by page; one page is in memory at a time.
   * @throws BATCH_BLOCK_MISSING, BATCH_BLOCK_ALTERED, BATCH_MALFORMED
   */
  receipts(): AsyncGenerator<BatchReceipt>;
}

export interface Batch {
  readonly header: BatchHeader;
  readonly lanes: readonly BatchLane[];
}

/**
 * Writes a batch. `put` gets each block once, the pages first and the root last. It is awaited
 * before the next block is encoded, so memory holds one page. The same input gives the same blocks.
 * Only the form is checked here; `audit` checks whether the receipts are right.
 * @returns `root`, the CID of the root block, and `digest`, its sha2-256 as `settle` takes it
 * @throws BATCH_INCONSISTENT a receipt's `call` or `execution` is not the hash of the Call or
 *   Execution beside it; BATCH_TOO_LARGE more lanes or pages than a root block holds
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
 * Opens a batch by the CID of its root block. Blocks are fetched on demand and checked against
 * their CIDs.
 * @throws BATCH_BLOCK_MISSING `getBlock` had none; BATCH_BLOCK_ALTERED its bytes are not those of
 *   the CID; BATCH_MALFORMED its bytes are right, but do not follow the format
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
