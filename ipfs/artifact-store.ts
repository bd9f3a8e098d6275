// Artifacts and batches on the node: input is verified as a whole, output block by block.
import type { CID } from 'multiformats/cid';
import { ArtifactError } from './artifact-error.ts';
import { type Block, isIntact, MAX_BLOCK_BYTES, parseCid, walk } from './blocks.ts';
import { decodeCar, encodeCar } from './car.ts';
import type { IpfsNode } from './node.ts';
import { filesFromBlocks, filesToBlocks } from './unixfs.ts';

export interface ArtifactStore {
  /**
   * Stores and pins the files of an artifact.
   * @returns its CID, the same for the same files everywhere
   */
  put(files: ReadonlyMap<string, Uint8Array>): Promise<string>;
  /**
   * All files of an artifact, every block verified.
   * @throws ArtifactError ARTIFACT_NOT_FOUND, ARTIFACT_CORRUPT, ARTIFACT_INVALID,
   *   ARTIFACT_TOO_LARGE
   */
  get(cid: string, options: WaitOptions): Promise<Map<string, Uint8Array>>;
  /**
   * Stores and pins the DAG of an untrusted CAR. A refused CAR leaves nothing behind.
   * @returns the CID of its one root
   * @throws ArtifactError ARTIFACT_INVALID, ARTIFACT_CORRUPT, ARTIFACT_TOO_LARGE
   */
  importCar(car: Uint8Array | AsyncIterable<Uint8Array>): Promise<string>;
  /** The DAG under a CID as a CAR, depth first. @throws as `get`, also in the middle */
  exportCar(cid: string, options: WaitOptions): AsyncGenerator<Uint8Array>;
  /**
   * Stores one block, unpinned.
   * @throws ArtifactError ARTIFACT_CORRUPT  the bytes are not those of the CID
   */
  putBlock(
    block: { readonly cid: string; readonly bytes: Uint8Array },
    options?: Partial<WaitOptions>,
  ): Promise<void>;
  /**
   * The verified bytes of one block; fetched from a connected node if it is not stored here.
   * @throws as `get`
   */
  block(cid: string, options: WaitOptions): Promise<Uint8Array>;
  /**
   * Pins the whole DAG under a CID against garbage collection; idempotent.
   * @throws ArtifactError ARTIFACT_NOT_FOUND
   */
  pin(cid: string, options: WaitOptions): Promise<void>;
  /** Whether this block is stored here. */
  has(cid: string): Promise<boolean>;
}

export interface WaitOptions {
  /** Without a limit, a block that nobody has would be awaited for ever. */
  readonly signal: AbortSignal;
}

export interface ArtifactStoreOptions {
  /** Largest accepted CAR, bytes. */
  readonly maxCarBytes?: number;
  /** Longest wait for one block from other nodes, ms. */
  readonly fetchMs?: number;
}

export function createArtifactStore(
  { helia, blockstore }: Pick<IpfsNode, 'helia' | 'blockstore'>,
  { maxCarBytes = 64 * 1024 * 1024, fetchMs = 10_000 }: ArtifactStoreOptions = {},
): ArtifactStore {
  async function put(files: ReadonlyMap<string, Uint8Array>): Promise<string> {
    const { root, blocks } = await filesToBlocks(files);
    return await keep(root, [...blocks.values()].reverse());
  }

  async function get(cid: string, { signal }: WaitOptions): Promise<Map<string, Uint8Array>> {
    return await filesFromBlocks(parseCid(cid), (link) => read(link, signal));
  }

  async function importCar(car: Uint8Array | AsyncIterable<Uint8Array>): Promise<string> {
    const { root, blocks } = await decodeCar(car, maxCarBytes);
    return await keep(root, blocks);
  }

  async function* exportCar(cid: string, { signal }: WaitOptions): AsyncGenerator<Uint8Array> {
    const root = parseCid(cid);
    yield* encodeCar(
      root,
      walk(root, (link) => read(link, signal)),
    );
  }

  async function putBlock(block: { readonly cid: string; readonly bytes: Uint8Array }) {
    const { cid, bytes } = { cid: parseCid(block.cid), bytes: block.bytes };
    if (!(await isIntact({ cid, bytes }))) throw corrupt(cid, 'given', 'send it again');
    await write({ cid, bytes });
  }

  async function pin(cid: string, { signal }: WaitOptions): Promise<void> {
    const root = parseCid(cid);
    // helia would wait for ever for missing blocks, and would pin altered ones.
    for await (const _ of walk(root, (link) => read(link, signal)));
    await pinStored(root);
  }

  /**
   * Takes blocks root first and writes them from the leaves up: a stored root always has its whole
   * DAG, even after a crash.
   */
  async function keep(root: CID, blocks: readonly Block[]): Promise<string> {
    for (const block of blocks.toReversed()) await write(block);
    await pinStored(root);
    return root.toString();
  }

  async function pinStored(root: CID): Promise<void> {
    try {
      for await (const _ of helia.pins.add(root));
    } catch (error) {
      if (!(error instanceof Error && error.name === 'AlreadyPinnedError')) throw error;
    }
  }

  async function write({ cid, bytes }: Block): Promise<void> {
    if (await helia.blockstore.has(cid)) {
      if (await isIntact({ cid, bytes: await collect(cid, { offline: true }) })) return;
      // helia never overwrites a block, so repair one that was altered on disk through the block
      // store.
      await blockstore.put(cid, bytes);
    } else {
      await helia.blockstore.put(cid, bytes);
    }
  }

  async function read(cid: CID, signal: AbortSignal): Promise<Block> {
    const peers = helia.libp2p.getPeers().length;
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(fetchMs)]);
    const bytes = await collect(cid, { offline: peers === 0, signal: deadline }).catch((cause) => {
      const where = peers === 0 ? 'here and no peer is connected' : `here and on ${peers} peers`;
      const line = `block ${cid} is not found ${where}, upload or pin its artifact again`;
      throw new ArtifactError('ARTIFACT_NOT_FOUND', line, cause);
    });
    if (await isIntact({ cid, bytes })) return { cid, bytes };
    throw corrupt(cid, 'stored', 'upload its artifact again');
  }

  async function collect(
    cid: CID,
    options: { readonly offline: boolean; readonly signal?: AbortSignal },
  ): Promise<Uint8Array> {
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    for await (const chunk of helia.blockstore.get(cid, options)) {
      chunks.push(chunk);
      bytes += chunk.length;
      // Longer than any valid block: it is corrupt, so stop reading.
      if (bytes > MAX_BLOCK_BYTES) break;
    }
    return Buffer.concat(chunks);
  }

  return {
    put,
    get,
    importCar,
    exportCar,
    putBlock,
    block: async (cid, { signal }) => (await read(parseCid(cid), signal)).bytes,
    pin,
    has: async (cid) => await helia.blockstore.has(parseCid(cid)),
  };
}

function corrupt(cid: CID, where: 'given' | 'stored', remedy: string): ArtifactError {
  const line = `block ${cid} as ${where} does not match its CID, ${remedy}`;
  return new ArtifactError('ARTIFACT_CORRUPT', line);
}
