// CARv1, the transport format for artifacts to and from a gateway. The CID alone binds the bytes.
import { CarBlockIterator } from '@ipld/car/iterator';
import { encode as encodeDagCbor } from '@ipld/dag-cbor';
import { varint } from 'multiformats';
import { CID } from 'multiformats/cid';
import * as raw from 'multiformats/codecs/raw';
import { sha256 } from 'multiformats/hashes/sha2';
import { ArtifactError } from './artifact-error.ts';
import { type Block, concat, isIntact, walk } from './blocks.ts';
import { filesToBlocks } from './unixfs.ts';

/**
 * The artifact of these files, as its CID (CIDv1 base32, codec 0x70) and as the CAR that `POST
 * /artifacts` takes. Needs no node.
 * @throws ArtifactError ARTIFACT_INVALID, ARTIFACT_TOO_LARGE
 */
export async function filesToCar(
  files: ReadonlyMap<string, Uint8Array>,
): Promise<{ cid: string; car: Uint8Array }> {
  const { root, blocks } = await filesToBlocks(files);
  const car = encodeCar(root, walk(root, pick(blocks)));
  return { cid: root.toString(), car: await concat(car) };
}

/**
 * CID of raw bytes (CIDv1 base32, codec 0x55): how the chain names a manifest, which is also a
 * block of the artifact.
 */
export async function rawCid(bytes: Uint8Array): Promise<string> {
  return CID.createV1(raw.code, await sha256.digest(bytes)).toString();
}

/** @see https://ipld.io/specs/transport/car/carv1/ */
export async function* encodeCar(
  root: CID,
  blocks: AsyncIterable<Block> | Iterable<Block>,
): AsyncGenerator<Uint8Array> {
  yield section(encodeDagCbor({ roots: [root], version: 1 }));
  for await (const { cid, bytes } of blocks) yield section(cid.bytes, bytes);
}

/**
 * Reads an untrusted CAR: it must have one root, every block must match its CID, and the DAG must
 * be complete. Blocks that the root does not reach are left out.
 * @throws ArtifactError ARTIFACT_TOO_LARGE  above `maxBytes`
 * @throws ArtifactError ARTIFACT_INVALID  not a CAR, not one root, a block missing or of a foreign
 *   codec
 * @throws ArtifactError ARTIFACT_CORRUPT  a block's bytes are not those that its CID names
 */
export async function decodeCar(
  car: Uint8Array | AsyncIterable<Uint8Array>,
  maxBytes: number,
): Promise<{ root: CID; blocks: Block[] }> {
  const { roots, all } = await readBlocks(bounded(car, maxBytes));
  const [root] = roots;
  if (!root || roots.length !== 1) {
    throw new ArtifactError('ARTIFACT_INVALID', `the CAR names ${roots.length} roots instead of 1`);
  }
  return { root, blocks: await wholeDag(root, all) };
}

/**
 * The blocks of a DAG, root first, each checked against its CID, none missing.
 * @throws ArtifactError ARTIFACT_INVALID, ARTIFACT_CORRUPT
 */
export async function wholeDag(root: CID, blocks: ReadonlyMap<string, Block>): Promise<Block[]> {
  const checked = walk(root, async (cid) => {
    const block = pick(blocks)(cid);
    if (await isIntact(block)) return block;
    throw new ArtifactError(
      'ARTIFACT_CORRUPT',
      `block ${cid} does not match its CID, send it again`,
    );
  });
  const dag: Block[] = [];
  for await (const block of checked) dag.push(block);
  return dag;
}

async function readBlocks(source: AsyncIterable<Uint8Array>) {
  const all = new Map<string, Block>();
  try {
    const reader = await CarBlockIterator.fromIterable(source);
    for await (const { cid, bytes } of reader) all.set(cid.toString(), { cid, bytes });
    return { roots: await reader.getRoots(), all };
  } catch (cause) {
    if (cause instanceof ArtifactError) throw cause;
    throw new ArtifactError('ARTIFACT_INVALID', 'the bytes are not a CAR, send it again', cause);
  }
}

async function* bounded(car: Uint8Array | AsyncIterable<Uint8Array>, maxBytes: number) {
  let bytes = 0;
  for await (const chunk of car instanceof Uint8Array ? [car] : car) {
    bytes += chunk.length;
    if (bytes > maxBytes) {
      throw new ArtifactError('ARTIFACT_TOO_LARGE', `the CAR is above ${maxBytes} bytes`);
    }
    yield chunk;
  }
}

function pick(blocks: ReadonlyMap<string, Block>): (cid: CID) => Block {
  return (cid) => {
    const block = blocks.get(cid.toString());
    if (block) return block;
    throw new ArtifactError('ARTIFACT_INVALID', `block ${cid} is missing, send the whole artifact`);
  };
}

function section(...parts: Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([
    varint.encodeTo(length, new Uint8Array(varint.encodingLength(length))),
    ...parts,
  ]);
}
