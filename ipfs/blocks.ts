// Checks a block against its CID. Every block that leaves the store or comes from outside passes
// here.
import * as dagCbor from '@ipld/dag-cbor';
import * as dagPb from '@ipld/dag-pb';
import { createUnsafe } from 'multiformats/block';
import { CID } from 'multiformats/cid';
import type { BlockDecoder } from 'multiformats/codecs/interface';
import * as raw from 'multiformats/codecs/raw';
import { sha256 } from 'multiformats/hashes/sha2';
import { ArtifactError } from './artifact-error.ts';

export interface Block {
  readonly cid: CID;
  readonly bytes: Uint8Array;
}

/** Largest block, bytes: with its frame it fits into one message of bitswap (2 097 152). */
export const MAX_BLOCK_BYTES = 2_000_000;

/**
 * Codecs that a CID on the chain can have: those of artifacts (dag-pb), manifests (raw) and batches
 * (dag-cbor).
 */
const CODECS = new Map<number, BlockDecoder<number, unknown>>([
  [raw.code, raw],
  [dagPb.code, dagPb],
  [dagCbor.code, dagCbor],
]);

/** @throws ArtifactError ARTIFACT_INVALID  not a CIDv1 of raw, dag-pb or dag-cbor with sha2-256 */
export function parseCid(text: string): CID {
  try {
    return checkCid(CID.parse(text));
  } catch (cause) {
    if (cause instanceof ArtifactError) throw cause;
    throw new ArtifactError('ARTIFACT_INVALID', `"${text.slice(0, 80)}" is not a CID`, cause);
  }
}

/** Whether the bytes match the CID and fit the size limit of a block. */
export async function isIntact({ cid, bytes }: Block): Promise<boolean> {
  if (bytes.length > MAX_BLOCK_BYTES) return false;
  const { digest } = await sha256.digest(bytes);
  return Buffer.compare(digest, cid.multihash.digest) === 0;
}

/** @throws ArtifactError ARTIFACT_INVALID  the bytes are not what the codec says */
export function linksOf({ cid, bytes }: Block): CID[] {
  const codec = CODECS.get(checkCid(cid).code);
  try {
    if (!codec) return [];
    const links = createUnsafe({ cid, bytes, codec }).links();
    return Array.from(links, ([, link]) => checkCid(link));
  } catch (cause) {
    if (cause instanceof ArtifactError) throw cause;
    throw new ArtifactError('ARTIFACT_INVALID', `block ${cid} is not what its codec says`, cause);
  }
}

/** Walks a DAG depth first in link order, each block once: the order of blocks in our CARs. */
export async function* walk(
  root: CID,
  getBlock: (cid: CID) => Promise<Block> | Block,
): AsyncGenerator<Block> {
  const seen = new Set<string>();
  const ahead = [root];
  for (let cid = ahead.pop(); cid; cid = ahead.pop()) {
    if (seen.has(cid.toString())) continue;
    seen.add(cid.toString());
    const block = await getBlock(cid);
    yield block;
    for (const link of linksOf(block).reverse()) ahead.push(link);
  }
}

export async function concat(
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<Uint8Array> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}

function checkCid(cid: CID): CID {
  const isOurs =
    cid.version === 1 &&
    CODECS.has(cid.code) &&
    cid.multihash.code === sha256.code &&
    cid.multihash.digest.length === 32;
  if (isOurs) return cid;
  throw new ArtifactError(
    'ARTIFACT_INVALID',
    `${cid} is not a CIDv1 of raw, dag-pb or dag-cbor with sha2-256`,
  );
}
