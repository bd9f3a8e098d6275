// Converts an artifact's files to a UnixFS directory and back. The same files give the same CID on
// every machine.
import { decode } from '@ipld/dag-pb';
import { UnixFS } from 'ipfs-unixfs';
import { importer } from 'ipfs-unixfs-importer';
import { fixedSize } from 'ipfs-unixfs-importer/chunker';
import { balanced } from 'ipfs-unixfs-importer/layout';
import type { CID } from 'multiformats/cid';
import * as raw from 'multiformats/codecs/raw';
import { ArtifactError } from './artifact-error.ts';
import { type Block, concat } from './blocks.ts';

/**
 * Most files of an artifact: npm packages that stay as they are have many (jsdom 1033). A single
 * directory of them is far below the size at which it would be split into shards.
 */
const MAX_FILES = 4000;

/** Most bytes of an artifact's files together (Lambda: 262 144 000 unpacked, 52 428 800 packed). */
const MAX_FILES_BYTES = 256_000_000;

/** Most blocks read for one artifact, so that a small DAG of repeated links cannot keep us busy. */
const MAX_BLOCKS = 10_000;

/**
 * Profile `unixfs-v1-2025` of IPIP-499, spelled out so that no default of a library can change a
 * CID.
 */
const LAYOUT = {
  cidVersion: 1,
  rawLeaves: true,
  reduceSingleLeafToSelf: true,
  chunker: fixedSize({ chunkSize: 1_048_576 }),
  layout: balanced({ maxChildrenPerNode: 1024 }),
  wrapWithDirectory: true,
} as const;

/**
 * The directory of the files: entries sorted by bytes, a fixed chunker, no time, no mode. A file of
 * at most 1 MiB is one raw block, so its CID is that of its bytes.
 * @param files path (relative, `/`) -> bytes, at least one
 * @throws ArtifactError ARTIFACT_INVALID, ARTIFACT_TOO_LARGE
 */
export async function filesToBlocks(
  files: ReadonlyMap<string, Uint8Array>,
): Promise<{ root: CID; blocks: Map<string, Block> }> {
  const blocks = new Map<string, Block>();
  const paths = [...files.keys()].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  const budget = createBudget('artifact');
  const candidates = paths.map((path) => {
    const content = files.get(path) ?? new Uint8Array();
    budget.count(checkPath(path), content.length);
    return { path, content };
  });

  let root: CID | undefined;
  const keep = {
    put: async (cid: CID, bytes: Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>) => {
      blocks.set(cid.toString(), {
        cid,
        bytes: bytes instanceof Uint8Array ? bytes : await concat(bytes),
      });
      return cid;
    },
  };
  // The importer yields the directory last, after its entries.
  for await (const { cid } of importer(candidates, keep, LAYOUT)) root = cid;
  if (root && candidates.length > 0) return { root, blocks };
  throw new ArtifactError('ARTIFACT_INVALID', 'an artifact has at least one file');
}

/**
 * All files under a directory, by path. `getBlock` must return verified blocks. Their content is
 * not trusted: paths that leave the directory, symbolic links and sharded directories are refused,
 * files and bytes are counted. With `only`, the one file of this path, and no block is fetched for
 * the others.
 * @throws ArtifactError ARTIFACT_INVALID, ARTIFACT_TOO_LARGE, and what `getBlock` throws
 */
export async function filesFromBlocks(
  root: CID,
  getBlock: (cid: CID) => Promise<Block>,
  only?: string,
): Promise<Map<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>();
  const budget = createBudget(`artifact ${root}`);

  const readNode = async (cid: CID, path: string): Promise<Node> => {
    const node = decodeNode(await getBlock(cid));
    budget.spend(path, node.data.length);
    return node;
  };
  const readDirectory = async (links: Node['links'], prefix: string): Promise<void> => {
    for (const { name, cid } of links) {
      const path = checkPath(`${prefix}${name}`);
      budget.count(path, 0);
      if (only !== undefined && path !== only && !only.startsWith(`${path}/`)) continue;
      const node = await readNode(cid, path);
      if (node.type === 'directory') await readDirectory(node.links, `${path}/`);
      else files.set(path, await readFile(node, path));
    }
  };
  const readFile = async ({ data, links }: Node, path: string): Promise<Uint8Array> => {
    if (links.length === 0) return data;
    const parts = [data];
    for (const { cid } of links) parts.push(await readFile(await readNode(cid, path), path));
    return Buffer.concat(parts);
  };

  const { type, links } = await readNode(root, '');
  if (type !== 'directory') throw unreadable(root, 'is not a directory');
  await readDirectory(links, '');
  return files;
}

interface Node {
  readonly type: 'directory' | 'file';
  readonly data: Uint8Array;
  readonly links: readonly { readonly name: string; readonly cid: CID }[];
}

function decodeNode({ cid, bytes }: Block): Node {
  if (cid.code === raw.code) return { type: 'file', data: bytes, links: [] };
  try {
    const { Data, Links } = decode(bytes);
    const { type, data } = UnixFS.unmarshal(Data ?? new Uint8Array());
    if (type !== 'directory' && type !== 'file') throw new TypeError(`${type} is not supported`);
    const links = Links.map(({ Name, Hash }) => ({ name: Name ?? '', cid: Hash }));
    return { type, data: data ?? new Uint8Array(), links };
  } catch (cause) {
    throw unreadable(cid, 'is not a UnixFS file or directory', cause);
  }
}

function checkPath(path: string): string {
  const isPlain = path.split('/').every((part) => part !== '' && part !== '.' && part !== '..');
  if (isPlain && !/[\\\0]/.test(path)) return path;
  throw new ArtifactError('ARTIFACT_INVALID', `"${path.slice(0, 80)}" is not a relative path`);
}

function createBudget(what: string) {
  let files = 0;
  let blocks = 0;
  let bytes = 0;
  const refuse = (why: string) => new ArtifactError('ARTIFACT_TOO_LARGE', `${what} ${why}`);
  const spend = (path: string, length: number) => {
    bytes += length;
    blocks += 1;
    if (bytes > MAX_FILES_BYTES) throw refuse(`is above ${MAX_FILES_BYTES} bytes at ${path}`);
    if (blocks > MAX_BLOCKS) throw refuse(`has more than ${MAX_BLOCKS} blocks at ${path}`);
  };
  const count = (path: string, length: number) => {
    files += 1;
    if (files > MAX_FILES) throw refuse(`has more than ${MAX_FILES} files`);
    spend(path, length);
  };
  return { spend, count };
}

function unreadable(cid: CID, why: string, cause?: unknown): ArtifactError {
  return new ArtifactError('ARTIFACT_INVALID', `block ${cid} ${why}`, cause);
}
